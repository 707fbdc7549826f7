//! Table of `benchmark`.

use std::path::Path;

use super::Score;
use super::params::BenchmarkParams;
use clcc_align::eval::grouped::NOTE;
use clcc_data::error::StageResult;
use clcc_stage::rows::ScoreRow;
use clcc_stage::tables::Table;

/// Write `benchmark.tsv`.
pub(super) fn table(dir: &Path, scores: &[Score], params: &BenchmarkParams) -> StageResult<()> {
    let row = |s: &Score| ScoreRow {
        target: s.target.to_string(),
        method: s.method.clone(),
        metric: s.metric.clone(),
        value: s.value,
        chance: s.chance,
        se: s.se,
        n: s.n as i64,
        n_positive: s.n_positive as i64,
        coverage: s.coverage,
    };
    let genes = format!(
        "constitutive_genes, state_genes: planted escape genes of that kind among genes without planted escape; genes in an arm that a clone of some patient has altered, expressed in {} % of the malignant cells or more; de rankings by size of the statistic",
        100.0 * params.min_expressed
    );
    Table::new(scores.iter().map(row).collect())
        .note("each method against the planted truth; ap: average precision (chance: the base rate), auroc: area under the ROC curve; an item without a score stands last, coverage is the share with one")
        .note(genes)
        .note("discordant_cells: among the malignant cells of each patient, mean over patients; gains, losses: malignant cells x windows, a window is gained where more than half of its genes are; copy_number: Pearson's r of X_cnv and the planted log ratio")
        .note("patient_escape: genes that escape in a patient among those that are altered there, mean over patients; a method's pooled scores, or its own of each patient (dosage_patients.tsv); spearman: with graded discordance; arm_events, sub_arm_events, focal_events: share of the clones' events of which half of the genes are in calls of that direction in the clusters of half of the clone's cells (chance: share of all genes in such calls)")
        .note("malignant_calls, clone_members: share of the cells of each class that is called malignant, or is in a clone; false_share: share of these that are not malignant, doublets among them (chance: their share of all cells)")
        .note("escape_calls: genes called at the method's own thresholds (dosage: insensitive or over-compensated; de: escape or compensation, all patients together); precision, recall: planted genes of either kind in altered arms")
        .note(NOTE)
        .write(dir)
}
