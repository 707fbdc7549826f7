//! Writes the tables of `concordance`.

use std::path::Path;

use super::cross_fit::FoldSummary;
use super::load::Cells;
use super::params::ConcordanceParams;
use super::{Class, Composition, Null, PatientClasses};
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;
use clcc_stage::roles;
use clcc_stage::stage::StageContext;

/// Writes the artifact `concordance`: distance and class of every cell.
pub(super) fn cells(
    ctx: &StageContext<'_>,
    cells: &Cells,
    classes: &[Option<Class>],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let n = cells.distance.len();
    let mut frame = Frame::new(cells.obs.index.clone());
    for name in [
        "patient",
        "sample",
        "cell_type",
        "cancer_vs_normal",
        "split",
    ] {
        // An annotation that the data does not have is an empty column: readers find every name.
        let column = cells
            .obs
            .columns
            .get(name)
            .cloned()
            .unwrap_or_else(|| Column::Str(vec![String::new(); n]));
        frame.set(name, column);
    }
    if let Some(fold) = cells.obs.columns.get("fold") {
        frame.set("fold", fold.clone());
    }
    frame.set("distance", Column::F64(cells.distance.clone()));
    let names: Vec<&str> = classes.iter().map(|c| c.map_or("", Class::name)).collect();
    frame.set_category("concordance_class", &names);
    let distance = if cells.fit.is_some() {
        "Euclidean distance between a cell's expression and copy-number embeddings by the model that held it out (fold), shifted and scaled so that the held-out classed cells of every fold have the same median and interquartile range (concordance_folds.tsv); all cells in cohort order"
    } else {
        "Euclidean distance between a cell's expression and copy-number embeddings (unit vectors: 0 to 2), all cells in cohort order"
    };
    write_tsv(
        &ctx.output(roles::CONCORDANCE),
        "cell",
        &frame,
        &[distance, &p.rule()],
    )
}

/// Writes `concordance_by_patient.tsv`.
pub(super) fn patients(
    dir: &Path,
    patients: &[String],
    found: &[PatientClasses],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let mut frame = Frame::new(patients.to_vec());
    let int = |f: &dyn Fn(&PatientClasses) -> usize| {
        Column::I64(found.iter().map(|c| f(c) as i64).collect())
    };
    let num = |f: &dyn Fn(&PatientClasses) -> f64| Column::F64(found.iter().map(f).collect());
    frame.set("n_cancer", int(&|c| c.n_cells));
    frame.set("n_discordant", int(&|c| c.counts[2]));
    frame.set("n_intermediate", int(&|c| c.counts[1]));
    frame.set("n_concordant", int(&|c| c.counts[0]));
    frame.set("lower_cut", num(&|c| c.lower));
    frame.set("upper_cut", num(&|c| c.upper));
    frame.set("mean_distance", num(&|c| c.mean_distance[0]));
    frame.set("mean_distance_concordant", num(&|c| c.mean_distance[1]));
    frame.set("mean_distance_intermediate", num(&|c| c.mean_distance[2]));
    frame.set("mean_distance_discordant", num(&|c| c.mean_distance[3]));
    let notes = [
        "cells in each concordance class, per patient; n_cancer counts the cells that were classed; classes within cell types have no common cut",
        &p.rule(),
    ];
    write_tsv(
        &dir.join("concordance_by_patient.tsv"),
        "patient",
        &frame,
        &notes,
    )
}

/// Writes `concordance_composition.tsv`.
pub(super) fn composition(
    dir: &Path,
    found: &[Composition],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let mut frame = Frame::new(found.iter().map(|c| c.patient.clone()).collect());
    let text = |f: &dyn Fn(&Composition) -> &str| {
        Column::Str(found.iter().map(|c| f(c).to_string()).collect())
    };
    let num = |f: &dyn Fn(&Composition) -> f64| Column::F64(found.iter().map(f).collect());
    frame.set("variable", text(&|c| &c.variable));
    frame.set("kind", text(&|c| c.kind));
    frame.set(
        "n_cells",
        Column::I64(found.iter().map(|c| c.n_cells as i64).collect()),
    );
    frame.set("cramers_v", num(&|c| c.cramers_v));
    frame.set("cramers_v_corrected", num(&|c| c.cramers_v_corrected));
    frame.set("cohens_d", num(&|c| c.cohens_d));
    frame.set("auc", num(&|c| c.auc));
    frame.set("pvals", num(&|c| c.pval));
    if p.n_null > 0 {
        let null = |f: &dyn Fn(&Null) -> f64| num(&|c| c.null.as_ref().map_or(f64::NAN, f));
        frame.set("null_median", null(&|n| n.median));
        frame.set("null_95", null(&|n| n.q95));
        frame.set("null_pvals", null(&|n| n.p));
    }
    frame.set("top_value", text(&|c| &c.top_value));
    frame.set("discordant", num(&|c| c.discordant));
    frame.set("concordant", num(&|c| c.concordant));
    frame.set("warning", text(&|c| &c.warning));
    let limits = format!(
        "warned of at a corrected Cramer's V of {} or more, or a Cohen's d of {} or more in size",
        p.warn_cramers_v, p.warn_cohens_d
    );
    let null = format!(
        "null_*: Cramer's V, or the size of Cohen's d, under {} permutations of the labels within patient and cell type, which leave each class its cell types; null_pvals: share of permutations with as much, so a small value is an association beyond cell type (cell_type itself is 1 by construction)",
        p.n_null
    );
    let notes = [
        "what the discordant class is made of, against the concordant one",
        "categories: Cramer's V of the 2 x k table, corrected for chance after Bergsma 2013, chi-squared test; top_value is the value with the largest excess among discordant cells, then its share of each class",
        "numbers: Cohen's d (discordant minus concordant), AUC, Wilcoxon rank-sum test with tie correction; then the two means",
        "cells are not independent samples: the p-values are descriptive",
        &null,
        &limits,
        &p.rule(),
    ];
    write_tsv(
        &dir.join("concordance_composition.tsv"),
        "patient",
        &frame,
        &notes,
    )
}

/// Writes `concordance_folds.tsv`.
pub(super) fn folds(dir: &Path, found: &[FoldSummary]) -> StageResult<()> {
    let mut frame = Frame::new(found.iter().map(|f| f.name.clone()).collect());
    let int = |f: &dyn Fn(&FoldSummary) -> usize| {
        Column::I64(found.iter().map(|s| f(s) as i64).collect())
    };
    let num = |f: &dyn Fn(&FoldSummary) -> f64| Column::F64(found.iter().map(f).collect());
    frame.set("n_held_out", int(&|f| f.n_cells.0));
    frame.set("n_classed", int(&|f| f.n_cells.1));
    frame.set("median_held_out", num(&|f| f.median));
    frame.set("iqr_held_out", num(&|f| f.iqr));
    frame.set("median_train", num(&|f| f.median_train));
    frame.set("spearman_other_folds", num(&|f| f.agreement));
    let notes = [
        "models of the cross-fit: each cell's distance comes from the fold that held it out",
        "median_held_out and iqr_held_out: of the held-out classed cells before scaling; each fold is shifted and scaled to the mean of these over folds; median_train: the distance of classed cells that the model trained on, smaller where it remembers them",
        "spearman_other_folds: over the held-out classed cells, with the mean distance that the other folds give them, most of which trained on them: near 1, the order of cells does not hang on who was trained on",
    ];
    write_tsv(&dir.join("concordance_folds.tsv"), "fold", &frame, &notes)
}
