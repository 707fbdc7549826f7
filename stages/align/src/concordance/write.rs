//! Writes the tables of `concordance`.

use std::path::Path;

use super::cross_fit::FoldSummary;
use super::load::Cells;
use super::params::{ConcordanceParams, ScoreBy};
use super::{Class, Composition, Null, PatientClasses};
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_stage::roles;
use clcc_stage::rows::{CompositionRow, ConcordanceFoldRow, ConcordancePatientRow, ConcordanceRow};
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Table;

/// Writes the artifact `concordance`: distance and class of every cell.
pub(super) fn cells(
    ctx: &StageContext<'_>,
    cells: &Cells,
    classes: &[Option<Class>],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let distance = if p.score == ScoreBy::Discordance {
        "distance: log odds that the cell is discordant (`discordance`; whether there is such a set at all, `established`, is in discordance_cells.tsv); all cells in cohort order"
    } else if cells.fit.is_some() {
        "Euclidean distance between a cell's expression and copy-number embeddings by the model that held it out (fold), shifted and scaled so that the held-out classed cells of every fold have the same median and interquartile range (concordance_folds.tsv); all cells in cohort order"
    } else {
        "Euclidean distance between a cell's expression and copy-number embeddings (unit vectors: 0 to 2), all cells in cohort order"
    };
    let of = Annotations { obs: &cells.obs };
    let rows = (0..cells.distance.len()).map(|i| ConcordanceRow {
        cell: cells.obs.index[i].clone(),
        patient: of.text("patient", i),
        sample: of.text("sample", i),
        cell_type: of.text("cell_type", i),
        cancer_vs_normal: of.text("cancer_vs_normal", i),
        split: of.text("split", i),
        fold: of.known("fold", i),
        distance: cells.distance[i],
        concordance_class: classes[i].map_or("", Class::name).to_string(),
    });
    Table::new(rows.collect())
        .note(distance)
        .note(p.rule())
        .write_as(&ctx.output(roles::CONCORDANCE))
}

/// What is known of each cell.
struct Annotations<'a> {
    obs: &'a Frame,
}

impl Annotations<'_> {
    fn known(&self, column: &str, cell: usize) -> Option<String> {
        Some(self.obs.columns.get(column)?.text(cell))
    }

    /// An annotation that the data do not have is empty.
    fn text(&self, column: &str, cell: usize) -> String {
        self.known(column, cell).unwrap_or_default()
    }
}

/// Writes `concordance_by_patient.tsv`.
pub(super) fn patients(
    dir: &Path,
    patients: &[String],
    found: &[PatientClasses],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let row = |(patient, c): (&String, &PatientClasses)| ConcordancePatientRow {
        patient: patient.clone(),
        n_cancer: c.n_cells as i64,
        n_discordant: c.counts[2] as i64,
        n_intermediate: c.counts[1] as i64,
        n_concordant: c.counts[0] as i64,
        lower_cut: c.lower,
        upper_cut: c.upper,
        mean_distance: c.mean_distance[0],
        mean_distance_concordant: c.mean_distance[1],
        mean_distance_intermediate: c.mean_distance[2],
        mean_distance_discordant: c.mean_distance[3],
    };
    Table::new(patients.iter().zip(found).map(row).collect())
        .note("cells in each concordance class, per patient; n_cancer counts the cells that were classed; classes within cell types have no common cut")
        .note(p.rule())
        .write(dir)
}

/// Writes `concordance_composition.tsv`.
pub(super) fn composition(
    dir: &Path,
    found: &[Composition],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let row = |c: &Composition| {
        let null = |f: fn(&Null) -> f64| c.null.as_ref().map(f);
        CompositionRow {
            patient: c.patient.clone(),
            variable: c.variable.clone(),
            kind: c.kind.to_string(),
            n_cells: c.n_cells as i64,
            cramers_v: c.cramers_v,
            cramers_v_corrected: c.cramers_v_corrected,
            cohens_d: c.cohens_d,
            auc: c.auc,
            pvals: c.pval,
            null_median: null(|n| n.median),
            null_95: null(|n| n.q95),
            null_pvals: null(|n| n.p),
            top_value: c.top_value.clone(),
            discordant: c.discordant,
            concordant: c.concordant,
            warning: c.warning.clone(),
        }
    };
    let mut table = Table::new(found.iter().map(row).collect());
    if p.n_null > 0 {
        table = table.keep(["null_median", "null_95", "null_pvals"]);
    }
    table
        .note("what the discordant class is made of, against the concordant one")
        .note("categories: Cramer's V of the 2 x k table, corrected for chance after Bergsma 2013, chi-squared test; top_value is the value with the largest excess among discordant cells, then its share of each class")
        .note("numbers: Cohen's d (discordant minus concordant), AUC, Wilcoxon rank-sum test with tie correction; then the two means")
        .note("cells are not independent samples: the p-values are descriptive")
        .note(format!(
            "null_*: Cramer's V, or the size of Cohen's d, under {} permutations of the labels within patient and cell type, which leave each class its cell types; null_pvals: share of permutations with as much, so a small value is an association beyond cell type (cell_type itself is 1 by construction)",
            p.n_null
        ))
        .note(format!(
            "warned of at a corrected Cramer's V of {} or more, or a Cohen's d of {} or more in size",
            p.warn_cramers_v, p.warn_cohens_d
        ))
        .note(p.rule())
        .write(dir)
}

/// Writes `concordance_folds.tsv`.
pub(super) fn folds(dir: &Path, found: &[FoldSummary]) -> StageResult<()> {
    let row = |f: &FoldSummary| ConcordanceFoldRow {
        fold: f.name.clone(),
        n_held_out: f.n_cells.0 as i64,
        n_classed: f.n_cells.1 as i64,
        median_held_out: f.median,
        iqr_held_out: f.iqr,
        median_train: f.median_train,
        spearman_other_folds: f.agreement,
    };
    Table::new(found.iter().map(row).collect())
        .note("models of the cross-fit: each cell's distance comes from the fold that held it out")
        .note("median_held_out and iqr_held_out: of the held-out classed cells before scaling; each fold is shifted and scaled to the mean of these over folds; median_train: the distance of classed cells that the model trained on, smaller where it remembers them")
        .note("spearman_other_folds: over the held-out classed cells, with the mean distance that the other folds give them, most of which trained on them: near 1, the order of cells does not hang on who was trained on")
        .write(dir)
}
