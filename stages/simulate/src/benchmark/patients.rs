//! Genes that escape in some patients: rankings and calls patient by patient.

use std::collections::{HashMap, HashSet};

use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, mean_ranking};
use clcc_stage::rows::DosagePatientRow;

const TARGET: &str = "patient_escape";

/// Scores of genes by name.
type Scores = HashMap<String, f64>;

/// Score one ranking for all patients: genes that escape in a patient against those that escape only in
/// others or nowhere, of those altered there. Nothing where patients do not differ.
pub(super) fn pooled(truth: &Truth, method: &str, scores: &Scores) -> Vec<Score> {
    of(truth, method, |_| Some(scores))
}

/// Score the slopes and calls of each patient.
pub(super) fn own(truth: &Truth, rows: &[DosagePatientRow]) -> Vec<Score> {
    let slopes = by_patient(rows, |row| Some(-row.slope));
    let mut out = of(truth, "dosage_patient_slope", |p| slopes.get(p));
    let called = by_patient(rows, |row| row.prob_insensitive);
    if !called.is_empty() {
        let method = "dosage_patient_prob_insensitive";
        out.extend(of(truth, method, |p| called.get(p)));
    }
    out.extend(calls(truth, rows));
    out
}

/// Scores of genes by patient, without the rows that have none.
fn by_patient(
    rows: &[DosagePatientRow],
    score: impl Fn(&DosagePatientRow) -> Option<f64>,
) -> HashMap<&str, Scores> {
    let mut out: HashMap<&str, Scores> = HashMap::new();
    for row in rows {
        if let Some(score) = score(row) {
            let own = out.entry(&row.patient).or_default();
            own.insert(row.names.clone(), score);
        }
    }
    out
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
fn calls(truth: &Truth, rows: &[DosagePatientRow]) -> Vec<Score> {
    let Some(escape_in) = &truth.escape_in else {
        return Vec::new();
    };
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
    for row in rows {
        if of_states.contains(row.names.as_str()) {
            continue;
        }
        n_tested += 1;
        if !row.insensitive {
            continue;
        }
        n_called += 1;
        let escapes = planted_as
            .get(row.patient.as_str())
            .is_some_and(|p| escape_in.contains(&((*p).clone(), row.names.clone())));
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
    out
}
