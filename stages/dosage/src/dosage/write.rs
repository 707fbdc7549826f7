//! Tables of `dosage`.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;
use clcc_numerics::stats::spearman;
use clcc_stage::cohort::Cohort;

use super::arms::{Level, arms};
use super::factors::CellScores;
use super::params::{CopyNumber, DosageParams};
use super::slope::Class;
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
    clone_genes::write(dir, cohort, found)?;
    cells(dir, cohort, found, params)?;
    factors(dir, cohort, found, params)?;
    loadings(dir, cohort, found, params)?;
    for level in [Level::Arm, Level::Chromosome] {
        arm_table(dir, level, cohort, found, params)?;
    }
    Ok(())
}

fn cells(dir: &Path, cohort: &Cohort, found: &Analysis, params: &DosageParams) -> StageResult<()> {
    let rows = &found.cells;
    let mut frame = Frame::new(rows.iter().map(|&i| cohort.obs.index[i].clone()).collect());
    frame.set(
        "patient",
        Column::Str(
            rows.iter()
                .map(|&i| cohort.patients[cohort.patient_of[i] as usize].clone())
                .collect(),
        ),
    );
    let of_clone = |f: &dyn Fn(&super::CloneId) -> String| {
        Column::Str(
            found
                .clone_of
                .iter()
                .map(|&u| f(&found.clones[u].id))
                .collect(),
        )
    };
    frame.set("cell_type", of_clone(&|id| id.cell_type.clone()));
    frame.set("group", of_clone(&|id| id.group.clone()));
    let altered: Vec<i64> = found
        .copy
        .iter()
        .map(|c| c.iter().filter(|v| **v != 0.0).count() as i64)
        .collect();
    frame.set(
        "n_altered_genes",
        Column::I64(found.clone_of.iter().map(|&u| altered[u]).collect()),
    );
    if let Some(scores) = &found.scores {
        frame.set("shortfall", Column::F64(scores.shortfall.clone()));
        frame.set("shortfall_z", Column::F64(scores.shortfall_z.clone()));
        for (j, factor) in scores.factors.iter().enumerate() {
            frame.set(
                &format!("factor_{}", j + 1),
                Column::F64(factor.scores.clone()),
            );
        }
    }
    let notes = cell_notes(params);
    let notes = notes.each_ref().map(String::as_str);
    write_tsv(&dir.join("dosage_cells.tsv"), "cell", &frame, &notes)
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
    let none: Vec<super::factors::Factor> = Vec::new();
    let list = found.scores.as_ref().map_or(&none, |s| &s.factors);
    let chromosome = cohort.var.texts("chromosome")?;
    let mut frame = Frame::new((1..=list.len()).map(|j| format!("factor_{j}")).collect());
    let num =
        |f: &dyn Fn(&super::factors::Factor) -> f64| Column::F64(list.iter().map(f).collect());
    frame.set("singular_value", num(&|f| f.singular_value));
    frame.set("share", num(&|f| f.share));
    frame.set("coherence", num(&|f| f.coherence));
    let null = found.scores.as_ref().map_or(f64::NAN, |s| s.null_coherence);
    frame.set("null_95", Column::F64(vec![null; list.len()]));
    frame.set("pvals", num(&|f| f.p));
    frame.set(
        "above_null",
        Column::Bool(list.iter().map(|f| f.p <= ABOVE_NULL).collect()),
    );
    let main: Vec<(String, f64)> = list
        .iter()
        .map(|f| main_chromosome(&f.loadings, &chromosome))
        .collect();
    frame.set(
        "main_chromosome",
        Column::Str(main.iter().map(|m| m.0.clone()).collect()),
    );
    frame.set(
        "main_chromosome_share",
        Column::F64(main.iter().map(|m| m.1).collect()),
    );
    for name in ["total_counts", "S_score", "G2M_score"] {
        if let Ok(values) = cohort.obs.numbers(name) {
            let values: Vec<f64> = found.cells.iter().map(|&i| values[i]).collect();
            frame.set(
                &format!("spearman_{name}"),
                num(&|f| spearman(&f.scores, &values).r),
            );
        }
    }
    frame.set(
        "top_genes",
        Column::Str(
            list.iter()
                .map(|f| top_genes(&f.loadings, &cohort.var.index))
                .collect(),
        ),
    );
    let notes = factor_notes(found, params);
    let notes = notes.each_ref().map(String::as_str);
    write_tsv(&dir.join("dosage_factors.tsv"), "factor", &frame, &notes)
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
    let rows: Vec<usize> = (0..cohort.var.len())
        .filter(|&g| found.copy.iter().any(|c| c[g] != 0.0))
        .collect();
    let mut frame = Frame::new(rows.iter().map(|&g| cohort.var.index[g].clone()).collect());
    for name in ["chromosome", "start", "end"] {
        if let Some(column) = cohort.var.columns.get(name) {
            frame.set(name, column.take(&rows));
        }
    }
    frame.set(
        "n_clones_gained",
        Column::I64(rows.iter().map(|&g| n_clones(g, 1.0)).collect()),
    );
    frame.set(
        "n_clones_lost",
        Column::I64(rows.iter().map(|&g| n_clones(g, -1.0)).collect()),
    );
    if let Some(scores) = &found.scores {
        for (j, factor) in scores.factors.iter().enumerate() {
            frame.set(
                &format!("factor_{}", j + 1),
                Column::F64(rows.iter().map(|&g| factor.loadings[g]).collect()),
            );
        }
    }
    let note = format!(
        "genes that are altered (log copy ratio beyond {} in size) in at least one malignant clone; loadings have unit length over all genes",
        params.altered
    );
    let notes = [
        "gene loadings of the factors of dosage_factors.tsv: genes with a large positive loading are the ones held back in cells with a high score",
        &note,
    ];
    write_tsv(&dir.join("dosage_loadings.tsv"), "names", &frame, &notes)
}

fn arm_table(
    dir: &Path,
    level: Level,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let list = arms(level, &cohort.var, found)?;
    let mut frame = Frame::new(list.iter().map(|a| a.name.clone()).collect());
    let int = |f: &dyn Fn(&super::arms::ArmSummary) -> usize| {
        Column::I64(list.iter().map(|a| f(a) as i64).collect())
    };
    let num =
        |f: &dyn Fn(&super::arms::ArmSummary) -> f64| Column::F64(list.iter().map(f).collect());
    frame.set("n_genes", int(&|a| a.n_genes));
    frame.set("n_tested", int(&|a| a.n_tested));
    frame.set("median_slope", num(&|a| a.median_slope));
    frame.set("slope_q25", num(&|a| a.quartiles.0));
    frame.set("slope_q75", num(&|a| a.quartiles.1));
    for (k, class) in [
        Class::Sensitive,
        Class::Insensitive,
        Class::OverCompensated,
        Class::Unresolved,
    ]
    .into_iter()
    .enumerate()
    {
        frame.set(
            &format!("n_{}", class.name().replace('-', "_")),
            int(&|a| a.classes[k]),
        );
    }
    frame.set("copy_lowest", num(&|a| a.copy.0));
    frame.set("copy_highest", num(&|a| a.copy.1));
    frame.set("n_clones_gained", int(&|a| a.gained_lost.0));
    frame.set("n_clones_lost", int(&|a| a.gained_lost.1));
    let note = format!(
        "median_slope, slope_q25 and slope_q75 over the tested genes; copy_*: smallest and largest mean log copy ratio of the region over malignant clones; gained, lost: at least half of its genes beyond {} in size",
        params.altered
    );
    let (file, index, what) = match level {
        Level::Arm => (
            "dosage_arms.tsv",
            "arm",
            "slopes and copy number of each arm (that of the gene's middle, by the border of the genome's `acen` bands; the chromosome, where the genome is not known)",
        ),
        Level::Chromosome => (
            "dosage_chromosomes.tsv",
            "chromosome",
            "slopes and copy number of each chromosome",
        ),
    };
    write_tsv(&dir.join(file), index, &frame, &[what, &note])
}
