//! Genes that escape in some patients: rankings and calls patient by patient.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, mean_ranking};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;

const TARGET: &str = "patient_escape";

/// Scores of genes by name.
type Scores = HashMap<String, f64>;

/// Score one ranking for all patients: genes that escape in a patient against those that escape only in
/// others or nowhere, of those altered there. Nothing where patients do not differ.
pub(super) fn pooled(truth: &Truth, method: &str, scores: &Scores) -> Vec<Score> {
    of(truth, method, |_| Some(scores))
}

/// Score the slopes and calls of each patient in `dosage_patients.tsv`, where it is written.
pub(super) fn own(truth: &Truth, dosage: &Path) -> StageResult<Vec<Score>> {
    let path = dosage.join("dosage_patients.tsv");
    if truth.escape_in.is_none() || !path.exists() {
        return Ok(Vec::new());
    }
    let table = TextTable::read(&path)?;
    let mut out = Vec::new();
    for (method, column, sign) in [
        ("dosage_patient_slope", "slope", -1.0),
        ("dosage_patient_prob_insensitive", "prob_insensitive", 1.0),
    ] {
        if table.position(column).is_some() {
            let by_patient = by_patient(&table, column, sign)?;
            out.extend(of(truth, method, |p| by_patient.get(p)));
        }
    }
    if table.position("insensitive").is_some() {
        out.extend(calls(truth, &table)?);
    }
    Ok(out)
}

fn by_patient(table: &TextTable, column: &str, sign: f64) -> StageResult<HashMap<String, Scores>> {
    let (names, patients) = (table.texts("names")?, table.texts("patient")?);
    let values = table.numbers(column)?;
    let mut out: HashMap<String, Scores> = HashMap::new();
    for ((name, patient), value) in names.iter().zip(patients).zip(values) {
        let own = out.entry(patient.to_string()).or_default();
        own.insert((*name).to_string(), sign * value);
    }
    Ok(out)
}

/// Mean over patients, whose scores are looked up under their names in the tables of other stages.
fn of<'a>(truth: &Truth, method: &str, scores: impl Fn(&str) -> Option<&'a Scores>) -> Vec<Score> {
    let Some(escape_in) = &truth.escape_in else {
        return Vec::new();
    };
    let of_patient = |(patient, key): (&String, &String)| {
        let own = scores(key);
        let eligible = truth.eligible_in(patient);
        let (mut score, mut positive) = (Vec::new(), Vec::new());
        for (g, name) in truth.gene_names.iter().enumerate() {
            if eligible[g] && !truth.genes[g].state {
                score.push(own.and_then(|s| s.get(name).copied()).unwrap_or(f64::NAN));
                positive.push(escape_in.contains(&(patient.clone(), name.clone())));
            }
        }
        ranking(&score, &positive)
    };
    let patients = truth.patients.iter().zip(&truth.joined_as);
    let rankings: Vec<_> = patients.map(of_patient).collect();
    mean_ranking(&rankings)
        .map(|m| Score::of_ranking(TARGET, method, m))
        .unwrap_or_default()
}

/// Genes called in a patient, over all patients: how many, how many of them escape there, and how many of
/// those that could be found are called. Genes of cell-state escape are left out: they leave their dosage
/// in some cells of every patient.
fn calls(truth: &Truth, table: &TextTable) -> StageResult<Vec<Score>> {
    let Some(escape_in) = &truth.escape_in else {
        return Ok(Vec::new());
    };
    let (names, patients) = (table.texts("names")?, table.texts("patient")?);
    let called = table.texts("insensitive")?;
    let planted_as: HashMap<&str, &String> = truth
        .joined_as
        .iter()
        .map(String::as_str)
        .zip(&truth.patients)
        .collect();
    let genes = truth.gene_names.iter().zip(&truth.genes);
    let of_states: HashSet<&str> = genes
        .filter(|(_, g)| g.state)
        .map(|(name, _)| name.as_str())
        .collect();
    let (mut n_called, mut n_right, mut n_tested) = (0, 0, 0);
    for ((name, patient), call) in names.iter().zip(patients).zip(called) {
        if of_states.contains(name) {
            continue;
        }
        n_tested += 1;
        if !call.eq_ignore_ascii_case("true") {
            continue;
        }
        n_called += 1;
        let escapes = planted_as
            .get(patient)
            .is_some_and(|p| escape_in.contains(&((*p).clone(), (*name).to_string())));
        n_right += usize::from(escapes);
    }
    let findable: usize = truth
        .patients
        .iter()
        .map(|patient| {
            let eligible = truth.eligible_in(patient);
            let genes = truth.gene_names.iter().zip(eligible);
            genes
                .filter(|(g, e)| *e && escape_in.contains(&(patient.clone(), (*g).clone())))
                .count()
        })
        .sum();
    let score = |metric: &str, value: f64, n: usize| Score {
        n_positive: findable,
        ..Score::single(TARGET, "dosage", metric, value, n)
    };
    let mut out = vec![score("n_called", f64::from(n_called), n_tested)];
    if n_called > 0 {
        let precision = n_right as f64 / f64::from(n_called);
        out.push(score("precision", precision, n_called as usize));
    }
    if findable > 0 {
        let recall = n_right as f64 / findable as f64;
        out.push(score("recall", recall, findable));
    }
    Ok(out)
}
