//! Table of `benchmark`.

use std::path::Path;

use super::Score;
use super::params::BenchmarkParams;
use clcc_align::eval::grouped::NOTE;
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;

/// Write `benchmark.tsv`.
pub(super) fn table(dir: &Path, scores: &[Score], params: &BenchmarkParams) -> StageResult<()> {
    let mut frame = Frame::new(scores.iter().map(|s| s.target.to_string()).collect());
    let text =
        |f: &dyn Fn(&Score) -> &str| Column::Str(scores.iter().map(|s| f(s).to_string()).collect());
    let num = |f: &dyn Fn(&Score) -> f64| Column::F64(scores.iter().map(f).collect());
    let int =
        |f: &dyn Fn(&Score) -> usize| Column::I64(scores.iter().map(|s| f(s) as i64).collect());
    frame.set("method", text(&|s| &s.method));
    frame.set("metric", text(&|s| &s.metric));
    frame.set("value", num(&|s| s.value));
    frame.set("chance", num(&|s| s.chance));
    frame.set("se", num(&|s| s.se));
    frame.set("n", int(&|s| s.n));
    frame.set("n_positive", int(&|s| s.n_positive));
    frame.set("coverage", num(&|s| s.coverage));
    let genes = format!(
        "constitutive_genes, state_genes: planted escape genes of that kind among genes without planted escape; genes in an arm that a clone of some patient has altered, expressed in {} % of the malignant cells or more; de rankings by size of the statistic",
        100.0 * params.min_expressed
    );
    let notes = [
        "each method against the planted truth; ap: average precision (chance: the base rate), auroc: area under the ROC curve; an item without a score stands last, coverage is the share with one",
        &genes,
        "discordant_cells: among the malignant cells of each patient, mean over patients; gains, losses: malignant cells x windows, a window is gained where more than half of its genes are; copy_number: Pearson's r of X_cnv and the planted log ratio",
        "escape_calls: genes called at the method's own thresholds (dosage: insensitive or over-compensated; de: escape or compensation, all patients together); precision, recall: planted genes of either kind in altered arms",
        NOTE,
    ];
    write_tsv(&dir.join("benchmark.tsv"), "target", &frame, &notes)
}
