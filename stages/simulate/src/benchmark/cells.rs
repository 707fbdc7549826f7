//! Cell scores of every method compared with planted discordance, and retrieval.

use std::collections::{BTreeMap, HashMap};

use ndarray::Axis;

use super::genes::factor_columns;
use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, mean_ranking};
use clcc_align::eval::grouped::{Hits, groups, retrieval as retrieve};
use clcc_align::mine::{Part, Split};
use clcc_data::anndata::Reader;
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_numerics::stats::{mean, spearman};
use clcc_stage::roles;
use clcc_stage::rows::DiscordanceCellRow;
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

/// Scores of all cells, in cohort order; NaN where there is none.
struct CellScores {
    method: String,
    scores: Vec<f64>,
}

pub(super) fn scores(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let at = truth.cells_at();
    let mut found = Vec::new();
    if let Some(concordance) = ctx.optional(roles::CONCORDANCE) {
        let table = concordance.read()?;
        found.push(column(truth, &at, &table, "concordance", "distance")?);
    }
    if let Some(dosage) = ctx.optional(roles::DOSAGE) {
        let table = dosage.read("dosage_cells.tsv")?;
        for name in table.header.iter().filter(|h| h.starts_with("shortfall")) {
            found.push(column(truth, &at, &table, &format!("dosage_{name}"), name)?);
        }
        for (method, name) in factor_columns(&dosage.path)? {
            if table.position(&name).is_some() {
                found.push(column(truth, &at, &table, &method, &name)?);
            }
        }
    }
    if let Some(discordance) = ctx.optional(roles::DISCORDANCE) {
        let table = discordance.read(DiscordanceCellRow::FILE)?;
        found.push(column(truth, &at, &table, "discordance", "log_odds")?);
    }
    if let Some(baselines) = ctx.optional(roles::BASELINES) {
        let table = baselines.read("baselines_cells.tsv")?;
        found.extend(by_method(truth, &at, &table)?);
    }
    let mut out = Vec::new();
    for f in &found {
        let rankings: Vec<_> = (0..truth.patients.len())
            .map(|p| {
                let rows = malignant_of(truth, p);
                let scores: Vec<f64> = rows.iter().map(|&i| f.scores[i]).collect();
                let positive: Vec<bool> = rows.iter().map(|&i| truth.discordant[i]).collect();
                ranking(&scores, &positive)
            })
            .collect();
        if let Some(r) = mean_ranking(&rankings) {
            out.extend(Score::of_ranking("discordant_cells", &f.method, r));
        }
        out.extend(graded(truth, f));
    }
    Ok(out)
}

/// Malignant cells of a patient.
fn malignant_of(truth: &Truth, patient: usize) -> Vec<usize> {
    (0..truth.malignant.len())
        .filter(|&i| truth.patient_of[i] as usize == patient && truth.malignant[i])
        .collect()
}

/// Spearman's correlation of a score with graded discordance over each patient's malignant cells, mean
/// over patients; cells without a score stand last.
fn graded(truth: &Truth, f: &CellScores) -> Option<Score> {
    let z = truth.discordance.as_ref()?;
    let (mut values, mut n, mut scored) = (Vec::new(), 0, 0);
    for p in 0..truth.patients.len() {
        let rows = malignant_of(truth, p);
        let filled = |&i: &usize| match f.scores[i] {
            s if s.is_nan() => f64::NEG_INFINITY,
            s => s,
        };
        let scores: Vec<f64> = rows.iter().map(filled).collect();
        let planted: Vec<f64> = rows.iter().map(|&i| z[i]).collect();
        let r = spearman(&scores, &planted).r;
        if r.is_finite() {
            values.push(r);
        }
        n += rows.len();
        scored += scores.iter().filter(|s| s.is_finite()).count();
    }
    (!values.is_empty()).then(|| Score {
        chance: 0.0,
        coverage: scored as f64 / n as f64,
        ..Score::single("discordant_cells", &f.method, "spearman", mean(&values), n)
    })
}

fn column(
    truth: &Truth,
    at: &HashMap<(&str, &str), usize>,
    table: &TextTable,
    method: &str,
    name: &str,
) -> StageResult<CellScores> {
    let mut scores = vec![f64::NAN; truth.obs.len()];
    let (patient, cell, values) = (
        table.texts("patient")?,
        table.texts("cell")?,
        table.numbers(name)?,
    );
    for i in 0..values.len() {
        if let Some(&row) = at.get(&(patient[i], cell[i])) {
            scores[row] = values[i];
        }
    }
    Ok(CellScores {
        method: method.to_string(),
        scores,
    })
}

fn by_method(
    truth: &Truth,
    at: &HashMap<(&str, &str), usize>,
    table: &TextTable,
) -> StageResult<Vec<CellScores>> {
    let (patient, cell, method) = (
        table.texts("patient")?,
        table.texts("cell")?,
        table.texts("method")?,
    );
    let values = table.numbers("score")?;
    let mut out: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for i in 0..values.len() {
        let scores = out
            .entry(method[i])
            .or_insert_with(|| vec![f64::NAN; truth.obs.len()]);
        if let Some(&row) = at.get(&(patient[i], cell[i])) {
            scores[row] = values[i];
        }
    }
    Ok(out
        .into_iter()
        .map(|(method, scores)| CellScores {
            method: method.to_string(),
            scores,
        })
        .collect())
}

/// Score the retrieval of test cells with the trained embeddings, and collect the baselines' own
/// figures.
pub(super) fn retrieval(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let mut out = Vec::new();
    // Where cells are matched with anchors, there is no partner to retrieve.
    let embeddings = ctx.optional(roles::EMBEDDINGS).filter(|e| {
        ctx.optional(roles::ANCHORS)
            .is_none_or(|a| a.branch != e.branch)
    });
    if let (Some(embeddings), Some(split)) = (embeddings, ctx.optional(roles::SPLIT)) {
        let split = Split::read(&split.path, &truth.obs.index)?;
        let test = split.cells(Part::Test);
        let reader = Reader::open(&embeddings.path)?;
        let [expr, cnv] = ["X_clcc_expr", "X_clcc_cnv"].map(|name| reader.obsm(name));
        let rows = |m: clcc_data::matrix::Matrix| m.into_dense().select(Axis(0), &test);
        let hits = retrieve(
            &rows(expr?),
            &rows(cnv?),
            &groups(&truth.obs, &truth.patient_of, &test),
        );
        out.extend(hits.into_iter().map(|h| of_hits("trained", h)));
    }
    if let Some(baselines) = ctx.optional(roles::BASELINES) {
        let path = baselines.path.join("baselines_retrieval.tsv");
        if path.exists() {
            let table = TextTable::read(&path)?;
            let (method, metric) = (table.texts("method")?, table.texts("metric")?);
            let number = |name: &str| table.numbers(name);
            let (value, chance) = (number("value")?, number("chance")?);
            let (se, n) = (number("se")?, number("n")?);
            for i in 0..value.len() {
                let hits = Hits {
                    metric: metric[i].to_string(),
                    value: value[i],
                    chance: chance[i],
                    se: se[i],
                    n: n[i] as usize,
                };
                out.push(of_hits(method[i], hits));
            }
        }
    }
    Ok(out)
}

fn of_hits(method: &str, h: Hits) -> Score {
    Score {
        chance: h.chance,
        se: h.se,
        ..Score::single("retrieval", method, &h.metric, h.value, h.n)
    }
}
