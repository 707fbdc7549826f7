//! What the simple models of `baselines` reach, said beside the figures of the stages that they are compared with.
//!
//! Nothing is said where the workflow has no `baselines`.

use std::collections::{BTreeMap, HashMap};

use super::Inputs;
use crate::report::html::{count, percent, signed};
use crate::report::load::{rows, tables};
use crate::report::page::{Block, Tone};
use clcc_data::error::StageResult;
use clcc_numerics::stats::spearman;
use clcc_stage::roles;
use clcc_stage::rows::{
    BaselineCellRow, BaselineRetrievalRow, ConcordanceRow, DiscordanceCellRow, DosageCellRow,
    RetrievalRow,
};

/// Methods whose distance of two embeddings is comparable with that of `concordance`.
const BY_DISTANCE: [&str; 2] = ["cca", "linear"];
/// Methods that score how far a cell departs from its copy number.
const BY_DOSAGE: [&str; 3] = ["dosage_residual", "correlation", "mixture"];
/// Cells that a correlation needs.
const LEAST: usize = 10;

/// What a method is, for readers.
fn about(method: &str) -> &str {
    match method {
        "cca" => "canonical correlation (`cca`)",
        "linear" => "a linear projection (`linear`)",
        "dosage_residual" => "regression on local copy number (`dosage_residual`)",
        "correlation" => "correlation with local copy number (`correlation`)",
        "mixture" => "a mixture of residuals (`mixture`)",
        other => other,
    }
}

fn note(text: String) -> Block {
    Block::Note(Tone::Info, text)
}

/// The node's name before what it says, where there are several.
fn of_node(inputs: &Inputs<'_, '_>, node: Option<&String>) -> String {
    match node {
        Some(node) if inputs.ctx.all(roles::BASELINES).len() > 1 => format!(" of {node}"),
        _ => String::new(),
    }
}

/// Retrieval of the same test cells by the baselines' embeddings, beside that of the model, `pooled` in both directions.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn of_retrieval(
    inputs: &Inputs<'_, '_>,
    pooled: &[&RetrievalRow],
) -> StageResult<Vec<Block>> {
    let files = tables(inputs.ctx, roles::BASELINES)?;
    let mean = |of: fn(&RetrievalRow) -> f64| {
        pooled.iter().map(|row| of(row)).sum::<f64>() / pooled.len() as f64
    };
    let mut out = Vec::new();
    for (file, found) in rows::<BaselineRetrievalRow>(&files)? {
        let value = |method: &str, metric: &str| {
            let mut own = found.iter();
            own.find(|r| r.method == method && r.metric == metric)
        };
        let line = |method: &&str| {
            let (top1, top10) = (value(method, "top1")?, value(method, "top10")?);
            let (first, ten) = (percent(top1.value), percent(top10.value));
            Some(format!("{} {first} and {ten}", about(method)))
        };
        let lines: Vec<String> = BY_DISTANCE.iter().filter_map(line).collect();
        let Some(chance) = value(BY_DISTANCE[0], "top1").filter(|_| !lines.is_empty()) else {
            continue;
        };
        out.push(note(format!(
            "Baselines{}, the same test cells, both directions together, own partner first and among the first ten: {}; this model {} and {}; a guess {} \
             first.",
            of_node(inputs, file.patient.as_ref()),
            lines.join(", "),
            percent(mean(|r| r.top1)),
            percent(mean(|r| r.top10)),
            percent(chance.chance),
        )));
    }
    Ok(out)
}

/// Scores of each method by patient and cell.
type Scores<'a> = BTreeMap<&'a str, HashMap<(&'a str, &'a str), f64>>;

fn scores(found: &[BaselineCellRow]) -> Scores<'_> {
    let mut out = Scores::new();
    for row in found.iter().filter(|r| r.score.is_finite()) {
        let of = out.entry(row.method.as_str()).or_default();
        of.insert((row.patient.as_str(), row.cell.as_str()), row.score);
    }
    out
}

/// Which of the cells of the class discordant a baseline's distance finds as well.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn of_concordance(
    inputs: &Inputs<'_, '_>,
    cells: &[ConcordanceRow],
) -> StageResult<Vec<Block>> {
    let files = tables(inputs.ctx, roles::BASELINES)?;
    let mut out = Vec::new();
    for (file, found) in rows::<BaselineCellRow>(&files)? {
        let all = scores(&found);
        let line = |method: &&str| {
            let overlap = overlap(cells, all.get(method)?)?;
            Some(format!("{} {}", about(method), percent(overlap.0)))
        };
        let lines: Vec<String> = BY_DISTANCE.iter().filter_map(line).collect();
        let first = all.get(BY_DISTANCE[0]).or_else(|| all.get(BY_DISTANCE[1]));
        let Some((_, chance)) = first.and_then(|scores| overlap(cells, scores)) else {
            continue;
        };
        out.push(note(format!(
            "Baselines{}: of the cells called discordant here, the share that is also among as many farthest cells of the patient by another model's \
             distance: {}; cells drawn at random would share {}.",
            of_node(inputs, file.patient.as_ref()),
            lines.join(", "),
            percent(chance)
        )));
    }
    Ok(out)
}

/// Share of the discordant cells that are among as many cells of their patient with the largest scores, and what a
/// random draw would share; `None` without discordant cells.
fn overlap(cells: &[ConcordanceRow], scores: &HashMap<(&str, &str), f64>) -> Option<(f64, f64)> {
    let mut patients: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
    for cell in cells.iter().filter(|c| !c.concordance_class.is_empty()) {
        if let Some(&score) = scores.get(&(cell.patient.as_str(), cell.cell.as_str())) {
            let discordant = cell.concordance_class == "discordant";
            let own = patients.entry(&cell.patient).or_default();
            own.push((score, discordant));
        }
    }
    let (mut shared, mut expected, mut all) = (0.0, 0.0, 0.0);
    for mut own in patients.into_values() {
        let n = own.iter().filter(|c| c.1).count();
        // The order of the cells breaks ties.
        own.sort_by(|a, b| b.0.total_cmp(&a.0));
        shared += own[..n].iter().filter(|c| c.1).count() as f64;
        expected += (n * n) as f64 / own.len() as f64;
        all += n as f64;
    }
    (all > 0.0).then(|| (shared / all, expected / all))
}

/// How the baselines order the cells that `dosage` scores by their shortfall.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn of_shortfall(
    inputs: &Inputs<'_, '_>,
    cells: &[DosageCellRow],
) -> StageResult<Vec<Block>> {
    let of = |c: &DosageCellRow| c.shortfall_z.unwrap_or(f64::NAN);
    let values = cells
        .iter()
        .map(|c| ((c.patient.as_str(), c.cell.as_str()), of(c)));
    agreement(inputs, "the shortfall (z) of the cells", values.collect())
}

/// How the baselines order the cells that `discordance` scores.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn of_discordance(
    inputs: &Inputs<'_, '_>,
    cells: &[DiscordanceCellRow],
) -> StageResult<Vec<Block>> {
    let values = cells
        .iter()
        .map(|c| ((c.patient.as_str(), c.cell.as_str()), c.log_odds));
    agreement(inputs, "the log odds of the cells", values.collect())
}

/// Rank correlation of each baseline's score with a value of the cells.
fn agreement(
    inputs: &Inputs<'_, '_>,
    what: &str,
    cells: Vec<((&str, &str), f64)>,
) -> StageResult<Vec<Block>> {
    let files = tables(inputs.ctx, roles::BASELINES)?;
    let mut out = Vec::new();
    for (file, found) in rows::<BaselineCellRow>(&files)? {
        let all = scores(&found);
        let line = |method: &&str| {
            let (rho, n) = correlation(&cells, all.get(method)?)?;
            let rho = signed(rho, 2);
            Some(format!("{} {rho} ({} cells)", about(method), count(n)))
        };
        let lines: Vec<String> = BY_DOSAGE.iter().filter_map(line).collect();
        if !lines.is_empty() {
            out.push(note(format!(
                "Baselines{}: rank correlation of {what} with the score of simpler models: {}. 1: they order the cells alike; 0: not at all. Where there is \
                 no truth beside, this says how much the model adds to them, not which is right.",
                of_node(inputs, file.patient.as_ref()),
                lines.join(", ")
            )));
        }
    }
    Ok(out)
}

/// The correlation over the cells that both know, and their number; `None` of too few, or without variation.
fn correlation(
    cells: &[((&str, &str), f64)],
    scores: &HashMap<(&str, &str), f64>,
) -> Option<(f64, usize)> {
    let known = cells.iter().filter(|c| c.1.is_finite());
    let pairs = known.filter_map(|(id, value)| Some((*value, *scores.get(id)?)));
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let rho = (a.len() >= LEAST).then(|| spearman(&a, &b).r)?;
    rho.is_finite().then_some((rho, a.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(patient: &str, cell: &str, class: &str) -> ConcordanceRow {
        ConcordanceRow {
            patient: patient.into(),
            cell: cell.into(),
            concordance_class: class.into(),
            ..ConcordanceRow::default()
        }
    }

    #[test]
    fn the_overlap_counts_within_patients() {
        // A: one discordant cell of four, and it has the largest score. B: one of two, with the smaller score. C: not scored.
        let cells = [
            cell("A", "1", "discordant"),
            cell("A", "2", "concordant"),
            cell("A", "3", "intermediate"),
            cell("A", "4", "intermediate"),
            cell("A", "5", ""),
            cell("B", "1", "discordant"),
            cell("B", "2", "concordant"),
            cell("C", "1", "discordant"),
        ];
        let scores = HashMap::from([
            (("A", "1"), 4.0),
            (("A", "2"), 3.0),
            (("A", "3"), 2.0),
            (("A", "4"), 1.0),
            (("A", "5"), 9.0),
            (("B", "1"), 0.0),
            (("B", "2"), 0.5),
        ]);
        // Shared: 1 of 2. By chance: 1 x 1/4 of A's and 1 x 1/2 of B's.
        assert_eq!(overlap(&cells, &scores), Some((0.5, 0.375)));
        assert_eq!(overlap(&cells[1..5], &scores), None);
    }

    #[test]
    fn a_correlation_takes_the_cells_that_both_know() {
        let names: Vec<String> = (0..12).map(|i| format!("c{i}")).collect();
        let mut cells: Vec<((&str, &str), f64)> = Vec::new();
        let mut scores = HashMap::new();
        for (i, name) in names.iter().enumerate() {
            cells.push((("A", name.as_str()), i as f64));
            scores.insert(("A", name.as_str()), (i * i) as f64);
        }
        cells.push((("B", "c1"), 100.0));
        cells[0].1 = f64::NAN;
        assert_eq!(correlation(&cells, &scores), Some((1.0, 11)));
        assert_eq!(correlation(&cells[..9], &scores), None);
    }
}
