//! Tables of `dosage`.

use std::path::Path;
use std::sync::Arc;

use clcc_data::error::StageResult;
use clcc_numerics::stats::spearman;
use clcc_stage::cohort::Cohort;
use clcc_stage::rows::{
    DosageArmRow, DosageCellRow, DosageChromosomeRow, DosageFactorRow, DosageLoadingRow,
};
use clcc_stage::tables::{Family, Table};

use super::arms::{ArmSummary, Level, arms};
use super::factors::{CellScores, Factor};
use super::params::{CopyNumber, DosageParams};
use super::{Analysis, clone_genes, gene_tables};

/// Largest p-value at which a factor counts as above its null: with the default 39 permuted profiles,
/// the factor carries more of the sum than the best factor of each of them.
pub(super) const ABOVE_NULL: f64 = 0.025;

pub(super) fn all(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    gene_tables::write(dir, cohort, found, params)?;
    clone_genes::write(dir, cohort, found, params)?;
    cells(dir, cohort, found, params)?;
    factors(dir, cohort, found, params)?;
    loadings(dir, cohort, found, params)?;
    regions(dir, cohort, found, params)
}

/// Names of the columns of the factors.
fn factor_columns(scores: Option<&CellScores>) -> Arc<[String]> {
    let n = scores.map_or(0, |s| s.factors.len());
    Family::names((1..=n).map(|j| format!("factor_{j}")))
}

fn cells(dir: &Path, cohort: &Cohort, found: &Analysis, params: &DosageParams) -> StageResult<()> {
    let n_altered = |copy: &Vec<f64>| copy.iter().filter(|v| **v != 0.0).count() as i64;
    let altered: Vec<i64> = found.copy.iter().map(n_altered).collect();
    let scores = found.scores.as_ref();
    let columns = factor_columns(scores);
    let row = |(k, (&i, &clone)): (usize, (&usize, &usize))| {
        let id = &found.clones[clone].id;
        let factors = scores.map_or(&[][..], |s| &s.factors);
        DosageCellRow {
            cell: cohort.obs.index[i].clone(),
            patient: cohort.patients[cohort.patient_of[i] as usize].clone(),
            cell_type: id.cell_type.clone(),
            group: id.group.clone(),
            n_altered_genes: altered[clone],
            shortfall: scores.map(|s| s.shortfall[k]),
            shortfall_z: scores.map(|s| s.shortfall_z[k]),
            factors: Family::new(&columns, factors.iter().map(|f| f.scores[k]).collect()),
        }
    };
    let cells = found.cells.iter().zip(&found.clone_of);
    let mut table = Table::new(cells.enumerate().map(row).collect());
    if scores.is_some() {
        table = table
            .keep(["shortfall", "shortfall_z"])
            .keep(columns.iter());
    }
    table.notes(cell_notes(params)).write(dir)
}

/// Notes at the head of `dosage_cells.tsv`.
fn cell_notes(params: &DosageParams) -> [String; 7] {
    let altered_note = format!(
        "cells of tumour samples in clones of {} cells or more with altered genes (log copy ratio beyond {} in size)",
        params.min_cells, params.altered
    );
    let source = match params.copy_number {
        CopyNumber::Neighbours => {
            "local log copy ratio: interquartile mean of the clone's log rates beside those of the stratum's normal cells over the 100 nearest genes of the segment; from the nearest windows where the clone is not malignant, the stratum has no normal cells or the segment too few genes"
        }
        CopyNumber::Windows => {
            "local log copy ratio: the nearest windows that do not contain the gene, or those that do where every window of its chromosome does"
        }
    };
    let null = format!(
        "shortfall_z: against the cell's own values under {} profiles permuted along the genome",
        params.n_null
    );
    [
        "how far each cell falls short of its clone's dosage; group: the clone, or the copy-number cluster of cells without one".to_string(),
        altered_note,
        "S = Pearson residual of the raw counts around the clone's mean (library-scaled, negative-binomial variance) x the clone's local log copy ratio; shortfall = -(sum of S over altered genes) / length of the ratios: positive cells express gained genes less, and lost genes more, than their clone".to_string(),
        source.to_string(),
        null,
        "factor_k: the cell's score on factor k of S (dosage_factors.tsv), positive cells fall short".to_string(),
        "a normal cell or a doublet inside a malignant clone, or a subclone without the change, falls short as well".to_string(),
    ]
}

fn top_genes(loadings: &[f64], names: &[String]) -> String {
    let mut order: Vec<usize> = (0..loadings.len()).filter(|&g| loadings[g] > 0.0).collect();
    order.sort_by(|&a, &b| loadings[b].total_cmp(&loadings[a]));
    order
        .iter()
        .take(10)
        .map(|&g| names[g].as_str())
        .collect::<Vec<_>>()
        .join(",")
}

/// Chromosome with the largest share of a factor's squared loadings, and that share.
fn main_chromosome(loadings: &[f64], chromosome: &[String]) -> (String, f64) {
    let mut weight: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    loadings
        .iter()
        .zip(chromosome)
        .for_each(|(l, c)| *weight.entry(c).or_default() += l * l);
    let total: f64 = weight.values().sum();
    weight
        .into_iter()
        .fold((String::new(), 0.0), |best, (c, w)| {
            if w / total > best.1 {
                (c.to_string(), w / total)
            } else {
                best
            }
        })
}

fn factors(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let scores = found.scores.as_ref();
    let list = scores.map_or(&[][..], |s| &s.factors);
    let chromosome = cohort.var.texts("chromosome")?;
    let of_cells = |name: &str| -> Option<Vec<f64>> {
        let values = cohort.obs.numbers(name).ok()?;
        Some(found.cells.iter().map(|&i| values[i]).collect())
    };
    let [counts, s_score, g2m_score] = ["total_counts", "S_score", "G2M_score"].map(of_cells);
    let null_95 = scores.map_or(f64::NAN, |s| s.null_coherence);
    let row = |(j, f): (usize, &Factor)| {
        let (main_chromosome, main_chromosome_share) = main_chromosome(&f.loadings, &chromosome);
        let with = |values: &Option<Vec<f64>>| Some(spearman(&f.scores, values.as_ref()?).r);
        DosageFactorRow {
            factor: format!("factor_{}", j + 1),
            singular_value: f.singular_value,
            share: f.share,
            coherence: f.coherence,
            null_95,
            pvals: f.p,
            above_null: f.p <= ABOVE_NULL,
            main_chromosome,
            main_chromosome_share,
            spearman_total_counts: with(&counts),
            spearman_s_score: with(&s_score),
            spearman_g2m_score: with(&g2m_score),
            top_genes: top_genes(&f.loadings, &cohort.var.index),
        }
    };
    let known = [
        ("spearman_total_counts", counts.is_some()),
        ("spearman_S_score", s_score.is_some()),
        ("spearman_G2M_score", g2m_score.is_some()),
    ];
    Table::new(list.iter().enumerate().map(row).collect())
        .keep(known.iter().filter(|k| k.1).map(|k| k.0))
        .notes(factor_notes(found, params))
        .write(dir)
}

/// Notes at the head of `dosage_factors.tsv`.
fn factor_notes(found: &Analysis, params: &DosageParams) -> [String; 5] {
    let null_note = format!(
        "coherence = s |sum of loadings| / (sqrt(altered genes) x norm of S): how much of the sum over genes the factor carries; pvals: share of {} profiles permuted along the genome (chromosomes reordered, turned, rotated) whose best factor has as much; above_null at {ABOVE_NULL} holds for all factors together",
        params.n_null
    );
    let sum = found.scores.as_ref().map_or_else(
        || "no cell was scored".to_string(),
        |s: &CellScores| {
            format!(
                "the sum itself: standard deviation of shortfall over cells {:.4}, p = {} against the same permuted profiles",
                s.shortfall_sd.0,
                clcc_data::table::number(s.shortfall_sd.1)
            )
        },
    );
    [
        "leading factors of the copy-number-signed residuals S (randomized SVD, Halko et al. 2011)".to_string(),
        null_note,
        "a programme without relation to copy number is a factor of S too, but its genes go either way and it stays within the null".to_string(),
        "main_chromosome_share near 1: a subclone that lacks one change, rather than compensation".to_string(),
        sum,
    ]
}

fn loadings(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let n_clones =
        |g: usize, sign: f64| found.copy.iter().filter(|c| sign * c[g] > 0.0).count() as i64;
    let scores = found.scores.as_ref();
    let columns = factor_columns(scores);
    let chromosome = cohort.var.texts("chromosome").ok();
    let [start, end] = ["start", "end"].map(|name| cohort.var.numbers(name).ok());
    let base = |values: &Option<Vec<f64>>, g: usize| {
        let value = values.as_ref()?[g];
        (!value.is_nan()).then_some(value as i64)
    };
    let row = |g: usize| {
        let factors = scores.map_or(&[][..], |s| &s.factors);
        DosageLoadingRow {
            names: cohort.var.index[g].clone(),
            chromosome: chromosome.as_ref().map(|c| c[g].clone()),
            start: base(&start, g),
            end: base(&end, g),
            n_clones_gained: n_clones(g, 1.0),
            n_clones_lost: n_clones(g, -1.0),
            loadings: Family::new(&columns, factors.iter().map(|f| f.loadings[g]).collect()),
        }
    };
    let altered = |g: &usize| found.copy.iter().any(|c| c[*g] != 0.0);
    let rows = (0..cohort.var.len()).filter(altered).map(row);
    let places = ["chromosome", "start", "end"].into_iter();
    Table::new(rows.collect())
        .keep(places.filter(|name| cohort.var.columns.contains_key(*name)))
        .keep(columns.iter())
        .note("gene loadings of the factors of dosage_factors.tsv: genes with a large positive loading are the ones held back in cells with a high score")
        .note(format!(
            "genes that are altered (log copy ratio beyond {} in size) in at least one malignant clone; loadings have unit length over all genes",
            params.altered
        ))
        .write(dir)
}

/// The row of a summary, in the table of arms or in that of chromosomes.
macro_rules! region_row {
    ($row:ident, $region:ident, $of:expr) => {{
        let of: &ArmSummary = $of;
        // In the order of `ArmSummary::classes`.
        let [sensitive, insensitive, over_compensated, unresolved] = of.classes.map(|n| n as i64);
        $row {
            $region: of.name.clone(),
            n_genes: of.n_genes as i64,
            n_tested: of.n_tested as i64,
            median_slope: of.median_slope,
            slope_q25: of.quartiles.0,
            slope_q75: of.quartiles.1,
            n_sensitive: sensitive,
            n_insensitive: insensitive,
            n_over_compensated: over_compensated,
            n_unresolved: unresolved,
            copy_lowest: of.copy.0,
            copy_highest: of.copy.1,
            n_clones_gained: of.gained_lost.0 as i64,
            n_clones_lost: of.gained_lost.1 as i64,
        }
    }};
}

/// Write `dosage_arms.tsv` and `dosage_chromosomes.tsv`.
fn regions(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let note = format!(
        "median_slope, slope_q25 and slope_q75 over the tested genes; copy_*: smallest and largest mean log copy ratio of the region over malignant clones; gained, lost: at least half of its genes beyond {} in size",
        params.altered
    );
    let list = arms(Level::Arm, &cohort.var, found)?;
    let rows = list.iter().map(|a| region_row!(DosageArmRow, arm, a));
    Table::new(rows.collect())
        .note("slopes and copy number of each arm (that of the gene's middle, by the border of the genome's `acen` bands; the chromosome, where the genome is not known)")
        .note(&note)
        .write(dir)?;
    let list = arms(Level::Chromosome, &cohort.var, found)?;
    let rows = list.iter();
    Table::new(
        rows.map(|a| region_row!(DosageChromosomeRow, chromosome, a))
            .collect(),
    )
    .note("slopes and copy number of each chromosome")
    .note(note)
    .write(dir)
}
