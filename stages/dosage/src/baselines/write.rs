//! Tables of `baselines`.

use std::path::Path;

use ndarray::Axis;

use super::params::{BaselinesParams, CopyNumber};
use super::projection::Embedded;
use super::{Method, Ranked};
use clcc_align::eval::grouped::{Hits, retrieval as retrieve};
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;
use clcc_stage::cohort::Cohort;
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
    let rows: Vec<(&Method, usize)> = methods
        .iter()
        .flat_map(|m| (0..m.cells.len()).map(move |k| (m, k)))
        .collect();
    let cell = |r: &(&Method, usize)| r.0.cells[r.1];
    let mut frame = Frame::new(
        rows.iter()
            .map(|r| cohort.obs.index[cell(r)].clone())
            .collect(),
    );
    frame.set(
        "patient",
        Column::Str(
            rows.iter()
                .map(|r| cohort.patients[cohort.patient_of[cell(r)] as usize].clone())
                .collect(),
        ),
    );
    frame.set("method", Column::Str(names(&rows)));
    frame.set(
        "score",
        Column::F64(rows.iter().map(|r| r.0.scores[r.1]).collect()),
    );
    let copy = copy_note(params);
    let notes = [
        "baselines, cancer cells: a large score says that the cell's expression departs from its copy number",
        METHODS[0],
        METHODS[1],
        METHODS[2],
        METHODS[3],
        &copy,
    ];
    write_tsv(&dir.join("baselines_cells.tsv"), "cell", &frame, &notes)
}

/// Write `baselines_genes.tsv`: one row per method and gene, in genome order.
pub(super) fn genes(
    dir: &Path,
    cohort: &Cohort,
    methods: &[Method],
    params: &BaselinesParams,
) -> StageResult<()> {
    let rows: Vec<(&Method, usize)> = methods
        .iter()
        .flat_map(|m| (0..m.genes.len()).map(move |g| (m, g)))
        .collect();
    let num =
        |f: &dyn Fn(&Ranked) -> f64| Column::F64(rows.iter().map(|r| f(&r.0.genes[r.1])).collect());
    let mut frame = Frame::new(rows.iter().map(|r| cohort.var.index[r.1].clone()).collect());
    frame.set("method", Column::Str(names(&rows)));
    frame.set("score", num(&|g| g.score));
    frame.set("effect", num(&|g| g.effect));
    frame.set(
        "rank",
        Column::I64(methods.iter().flat_map(|m| ranks(&m.genes)).collect()),
    );
    let copy = copy_note(params);
    let notes = [
        "baselines, genes: a large score says that the gene departs from its copy number; rank 1 is the largest, NA scores come last",
        METHODS[0],
        METHODS[1],
        METHODS[2],
        METHODS[3],
        &copy,
    ];
    write_tsv(&dir.join("baselines_genes.tsv"), "names", &frame, &notes)
}

fn names(rows: &[(&Method, usize)]) -> Vec<String> {
    rows.iter().map(|r| r.0.name.to_string()).collect()
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

clcc_stage::table! {
    /// Retrieval of test cells with the embeddings of one method.
    pub(super) struct RetrievalRow = "baselines_retrieval.tsv" {
        /// `cca` or `linear`.
        method: String,
        /// Metric.
        metric: String,
        /// Value of the metric.
        value: f64,
        /// Expected value under chance.
        chance: f64,
        /// Standard deviation under chance.
        se: f64,
        /// Test cells.
        n: i64,
    }
}

/// Compute the retrieval of the test cells with these embeddings.
pub(super) fn retrieval_rows(
    method: &'static str,
    obs: &Frame,
    patient_of: &[u32],
    test: &[usize],
    embedded: &Embedded,
) -> Vec<RetrievalRow> {
    let hits: Vec<Hits> = retrieve(
        &embedded.expr.select(Axis(0), test),
        &embedded.cnv.select(Axis(0), test),
        &clcc_align::eval::grouped::groups(obs, patient_of, test),
    );
    let row = |h: Hits| RetrievalRow {
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
pub(super) fn retrieval(dir: &Path, rows: Vec<RetrievalRow>) -> StageResult<()> {
    Table::new(rows)
        .note("retrieval of test cells with the embeddings of `cca` and `linear`, which are learnt on training cells; ties count against us")
        .note(clcc_align::eval::grouped::NOTE)
        .write(dir)
}
