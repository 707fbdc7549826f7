//! Tables of `baselines`.

use std::path::Path;

use ndarray::Axis;

use super::params::{BaselinesParams, CopyNumber};
use super::projection::Embedded;
use super::{Method, Ranked};
use clcc_align::eval::grouped::{Hits, retrieval as retrieve};
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_stage::cohort::Cohort;
use clcc_stage::rows::{BaselineCellRow, BaselineGeneRow, BaselineRetrievalRow};
use clcc_stage::tables::Table;

const METHODS: [&str; 4] = [
    "dosage_residual: regression of log1p expression on local copy number, one level per stratum; gene: (slope of genes of like expression - slope) / se, effect: slope / that slope; cell: minus the precision-weighted sum of residual x expected change, in standard deviations",
    "correlation: gene: minus Pearson's r with local copy number around the strata's means, effect: r; cell: minus Pearson's r over genes of its deviation from the normal cells of its stratum with its local copy number",
    "cca, linear: cell: Euclidean distance of its two unit embeddings; gene: size of the z of a rank-sum test of discordant against concordant cells (quantiles within each patient), effect: log2 fold change",
    "mixture: log odds of cells that hold their dosage back, and of the genes they hold back (effect: the probability), of a mixture fitted to the residuals of all clones, on the clones' copy number as dosage has it for cells (clone_copy_number)",
];

fn copy_note(params: &BaselinesParams) -> String {
    let whose = match params.copy_number {
        CopyNumber::Cell => "the cell's own",
        CopyNumber::Cluster => "the mean of its CNV cluster",
    };
    format!(
        "local copy number: {whose} X_cnv in the nearest windows left and right that do not contain the gene"
    )
}

/// Write `baselines_cells.tsv`: one row per method and scored cell.
pub(super) fn cells(
    dir: &Path,
    cohort: &Cohort,
    methods: &[Method],
    params: &BaselinesParams,
) -> StageResult<()> {
    let of_method = |m: &Method| -> Vec<BaselineCellRow> {
        let row = |(&i, &score): (&usize, &f64)| BaselineCellRow {
            cell: cohort.obs.index[i].clone(),
            patient: cohort.patients[cohort.patient_of[i] as usize].clone(),
            method: m.name.to_string(),
            score,
        };
        m.cells.iter().zip(&m.scores).map(row).collect()
    };
    Table::new(methods.iter().flat_map(of_method).collect())
        .note("baselines, cancer cells: a large score says that the cell's expression departs from its copy number")
        .notes(METHODS)
        .note(copy_note(params))
        .write(dir)
}

/// Write `baselines_genes.tsv`: one row per method and gene, in genome order.
pub(super) fn genes(
    dir: &Path,
    cohort: &Cohort,
    methods: &[Method],
    params: &BaselinesParams,
) -> StageResult<()> {
    let of_method = |m: &Method| -> Vec<BaselineGeneRow> {
        let genes = cohort.var.index.iter().zip(&m.genes).zip(ranks(&m.genes));
        let row = |((name, gene), rank): ((&String, &Ranked), i64)| BaselineGeneRow {
            names: name.clone(),
            method: m.name.to_string(),
            score: gene.score,
            effect: gene.effect,
            rank,
        };
        genes.map(row).collect()
    };
    Table::new(methods.iter().flat_map(of_method).collect())
        .note("baselines, genes: a large score says that the gene departs from its copy number; rank 1 is the largest, NA scores come last")
        .notes(METHODS)
        .note(copy_note(params))
        .write(dir)
}

/// Ranks from 1 by descending score; ties in genome order.
fn ranks(genes: &[Ranked]) -> Vec<i64> {
    let key = |g: usize| match genes[g].score {
        s if s.is_nan() => f64::NEG_INFINITY,
        s => s,
    };
    let mut order: Vec<usize> = (0..genes.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
    let mut out = vec![0; genes.len()];
    for (at, g) in order.into_iter().enumerate() {
        out[g] = at as i64 + 1;
    }
    out
}

/// Compute the retrieval of the test cells with these embeddings.
pub(super) fn retrieval_rows(
    method: &'static str,
    obs: &Frame,
    patient_of: &[u32],
    test: &[usize],
    embedded: &Embedded,
) -> Vec<BaselineRetrievalRow> {
    let hits: Vec<Hits> = retrieve(
        &embedded.expr.select(Axis(0), test),
        &embedded.cnv.select(Axis(0), test),
        &clcc_align::eval::grouped::groups(obs, patient_of, test),
    );
    let row = |h: Hits| BaselineRetrievalRow {
        method: method.to_string(),
        metric: h.metric,
        value: h.value,
        chance: h.chance,
        se: h.se,
        n: h.n as i64,
    };
    hits.into_iter().map(row).collect()
}

/// Write `baselines_retrieval.tsv`.
pub(super) fn retrieval(dir: &Path, rows: Vec<BaselineRetrievalRow>) -> StageResult<()> {
    Table::new(rows)
        .note("retrieval of test cells with the embeddings of `cca` and `linear`, which are learnt on training cells; ties count against us")
        .note(clcc_align::eval::grouped::NOTE)
        .write(dir)
}
