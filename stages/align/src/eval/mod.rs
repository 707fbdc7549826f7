//! `eval`: retrieval of test cells across modalities, in both directions.
//!
//! Stands after `train`; reads its embeddings and the split of `mine`, and is the only stage that uses
//! the test part. Each test cell's expression embedding is a query for its own copy-number embedding
//! among those of all test cells, and the other way round. Cells of one clone have nearly the same copy
//! number, so an exact match is hard: the ranks, and the row of chance that follows each pair of rows,
//! say more than top-1 alone. Where `train` had anchors, cells and centroids are queries for their
//! anchor instead (`anchors`).

mod anchors;
pub mod grouped;
mod params;
mod retrieval;

pub use params::EvalParams;
pub use retrieval::{Ranked, Summary, TOP};

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Axis};
use serde_json::json;

use crate::mine::{Part, Split};
use clcc_data::error::{StageError, StageResult};
use clcc_numerics::linalg::matmul_nt;
use clcc_stage::cohort::stack_frames;
use clcc_stage::roles;
use clcc_stage::rows::{
    AnchorRetrievalRow, AnchorRow, AnchorSimilarityRow, CNV_TO_EXPR, CentroidSimilarityRow,
    EXPR_TO_CNV, RetrievalRow, SimilarityRow,
};
use clcc_stage::stage::{Metrics, ObsRead, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Family, Row as _, Table, TableSpec};

/// The kind `eval`: scores retrieval on the test cells.
#[derive(Debug, Clone, Copy)]
pub struct Eval;

impl Stage for Eval {
    type Params = EvalParams;
    const KIND: &'static str = "eval";
    // 3: gaps against the hardest negative; elementary functions, products and decompositions of
    //    `math`.
    const CODE_VERSION: u32 = 3;
    const ABOUT: &'static str =
        "cross-modal retrieval on the test cells: pooled, per patient, per cell type";
    const TABLES: &'static [TableSpec] = &[
        RetrievalRow::SPEC,
        SimilarityRow::SPEC,
        AnchorRetrievalRow::SPEC,
        AnchorRow::SPEC,
        AnchorSimilarityRow::SPEC,
        CentroidSimilarityRow::SPEC,
    ];

    fn reads(_: &EvalParams) -> Vec<Read> {
        vec![
            Read::one(roles::SPLIT),
            Read::one(roles::EMBEDDINGS),
            Read::optional(roles::EXPR),
            Read::optional_one(roles::ANCHORS),
        ]
    }

    fn outputs(_: &EvalParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::RETRIEVAL,
                "retrieval.tsv and similarity_matrix.tsv of the test cells; with anchors, how often they are found",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn obs_reads(params: &EvalParams) -> Vec<ObsRead> {
        vec![ObsRead {
            param: "cell_type_column",
            column: params.cell_type_column.clone(),
            required: false,
            values: Vec::new(),
        }]
    }

    fn run(ctx: &StageContext<'_>, params: &EvalParams) -> StageResult<Metrics> {
        if let Some(anchors) = ctx.optional(roles::ANCHORS) {
            return anchors::run(ctx, &anchors.path);
        }
        let test = TestCells::load(ctx, params)?;
        ctx.check_cancelled()?;
        let rows = evaluate(&test);
        let dir = ctx.output(roles::RETRIEVAL);
        write_retrieval(&dir, &rows)?;
        write_matrix(&dir, &test, params.matrix_cells)?;
        Ok(metrics(&rows))
    }
}

/// The cells of the test part, one entry or row each.
#[derive(Debug)]
struct TestCells {
    cell: Vec<String>,
    patient: Vec<String>,
    /// Empty where the type is unknown.
    cell_type: Vec<String>,
    expr: Array2<f32>,
    cnv: Array2<f32>,
}

impl TestCells {
    fn load(ctx: &StageContext<'_>, params: &EvalParams) -> StageResult<Self> {
        let embeddings = ctx.one(roles::EMBEDDINGS)?.open()?;
        let obs = embeddings.obs()?;
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &obs.index)?;
        let test = split.cells(Part::Test);
        if test.is_empty() {
            return Err(StageError::data_hint(
                "the split has no test cell",
                "give the third share of `split` in `mine` a value above 0",
            ));
        }
        let types = cell_types(ctx, &params.cell_type_column, &obs.index)?;
        let pick = |values: &[String]| {
            test.iter()
                .map(|&c| values[c].clone())
                .collect::<Vec<String>>()
        };
        Ok(Self {
            cell: pick(&obs.index),
            patient: pick(&obs.texts("patient")?),
            cell_type: pick(&types),
            expr: embeddings.dense_rows("obsm/X_clcc_expr", &test)?,
            cnv: embeddings.dense_rows("obsm/X_clcc_cnv", &test)?,
        })
    }

    fn groups(&self, labels: &[String]) -> BTreeMap<String, Vec<usize>> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (row, label) in labels
            .iter()
            .enumerate()
            .filter(|(_, label)| !label.is_empty())
        {
            groups.entry(label.clone()).or_default().push(row);
        }
        debug_assert_eq!(labels.len(), self.cell.len());
        groups
    }
}

/// Each cell's type, empty where it is unknown or `expr` is not at hand; `cells` are in cohort order.
fn cell_types(ctx: &StageContext<'_>, column: &str, cells: &[String]) -> StageResult<Vec<String>> {
    let parts = ctx
        .all(roles::EXPR)
        .into_iter()
        .map(|input| input.open()?.obs())
        .collect::<StageResult<Vec<_>>>()?;
    let obs = stack_frames(&parts);
    if !obs.is_empty() && obs.index != cells {
        return Err(StageError::data(format!(
            "`expr` ({} cells) and `embeddings` ({}) do not have the same cells in the same order",
            obs.len(),
            cells.len()
        )));
    }
    if obs.columns.contains_key(column) {
        obs.texts(column)
    } else {
        Ok(vec![String::new(); cells.len()])
    }
}

/// One row of `retrieval.tsv`.
#[derive(Debug, Clone)]
struct Row {
    scope: &'static str,
    group: String,
    direction: &'static str,
    summary: Summary,
}

fn evaluate(test: &TestCells) -> Vec<Row> {
    let n = test.cell.len();
    let mut rows = Vec::new();
    let mut add = |scope, group: &str, forward: &Ranked, backward: &Ranked, gallery| {
        let summaries = [
            (EXPR_TO_CNV, Summary::of(forward, gallery)),
            (CNV_TO_EXPR, Summary::of(backward, gallery)),
            ("chance", Summary::chance(forward.rank.len(), gallery)),
        ];
        for (direction, summary) in summaries {
            rows.push(Row {
                scope,
                group: group.to_string(),
                direction,
                summary,
            });
        }
    };
    let both = |e: &Array2<f32>, c: &Array2<f32>| Ranked::both_ways(e.view(), c.view());
    let (forward, backward) = both(&test.expr, &test.cnv);
    add("pooled", "all", &forward, &backward, n);
    for (patient, cells) in test.groups(&test.patient) {
        let (f, b) = both(
            &test.expr.select(Axis(0), &cells),
            &test.cnv.select(Axis(0), &cells),
        );
        add("patient", &patient, &f, &b, cells.len());
    }
    for (cell_type, cells) in test.groups(&test.cell_type) {
        add(
            "cell_type",
            &cell_type,
            &forward.take(&cells),
            &backward.take(&cells),
            n,
        );
    }
    rows
}

fn write_retrieval(dir: &Path, rows: &[Row]) -> StageResult<()> {
    let row = |r: &Row| {
        let s = &r.summary;
        let [top1, top5, top10] = s.top;
        RetrievalRow {
            scope: r.scope.to_string(),
            group: r.group.clone(),
            direction: r.direction.to_string(),
            queries: s.queries as i64,
            gallery: s.gallery as i64,
            top1,
            top5,
            top10,
            mrr: s.mrr,
            mean_rank: s.mean_rank,
            median_rank: s.median_rank,
            mean_positive: s.mean_positive,
            mean_negative: s.mean_negative,
            alignment_gap: s.alignment_gap,
            positive_gap_fraction: s.positive_gap_fraction,
            mean_negative_gap: s.mean_negative_gap(),
            mean_negative_gap_fraction: s.mean_negative_gap_fraction,
        }
    };
    Table::new(rows.iter().map(row).collect())
        .note("cross-modal retrieval of test cells by cosine; rank = 1 + number of other cells of the gallery that are at least as similar (ties count against us); `chance` is the expectation of a random order")
        .note("gallery: all test cells (pooled, cell_type: queries of one type among all test cells), or the patient's own test cells (patient)")
        .note("alignment_gap = mean over queries of the cosine with the match less that with the most similar other cell of the gallery (the hardest negative); positive_gap_fraction = share of queries in which it is above 0, which is top1 (CLCC, section 5.1.7)")
        .note("mean_negative_gap = mean cosine of matching pairs less mean cosine of each query with all other cells of the gallery; mean_negative_gap_fraction = share of queries whose match is above that mean of their own: easier, since few others come near")
        .write(dir)
}

/// Cosines of expression (rows) and copy-number (columns) embeddings of some test cells.
fn write_matrix(dir: &Path, test: &TestCells, most: usize) -> StageResult<()> {
    let n = test.cell.len();
    let m = most.min(n);
    let cells: Vec<usize> = (0..m).map(|k| k * n / m).collect();
    let names = Family::names(
        cells
            .iter()
            .map(|&c| format!("{}:{}", test.patient[c], test.cell[c])),
    );
    let cosines = matmul_nt(
        &test.expr.select(Axis(0), &cells).view(),
        &test.cnv.select(Axis(0), &cells).view(),
    );
    // Six decimals are the precision of the embeddings.
    let rounded = |v: &f32| (f64::from(*v) * 1e6).round() / 1e6;
    let rows = names
        .iter()
        .zip(cosines.rows())
        .map(|(cell, row)| SimilarityRow {
            cell: cell.clone(),
            cosine: Family::new(&names, row.iter().map(rounded).collect()),
        });
    Table::new(rows.collect())
        .note(format!(
            "cosine of expression (rows) and copy-number (columns) embeddings of {m} of {n} test cells, evenly spaced in cohort order; named patient:cell"
        ))
        .write(dir)
}

fn metrics(rows: &[Row]) -> Metrics {
    let mut m = Metrics::new();
    let number = |x: f64| json!(Some(x).filter(|x| x.is_finite()));
    for row in rows.iter().filter(|r| r.scope == "pooled") {
        let s = &row.summary;
        let mut put = |name: &str, value| m.insert(format!("{}_{name}", row.direction), value);
        for (at, k) in TOP.iter().enumerate() {
            put(&format!("top{k}"), number(s.top[at]));
        }
        put("mrr", number(s.mrr));
        put("median_rank", number(s.median_rank));
        if row.direction != "chance" {
            put("positive_gap_fraction", number(s.positive_gap_fraction));
        }
    }
    let pooled = &rows[0].summary;
    m.insert("test_cells".into(), json!(pooled.queries));
    m.insert("gallery".into(), json!(pooled.gallery));
    m.insert("alignment_gap".into(), number(pooled.alignment_gap));
    m.insert(
        "mean_negative_gap".into(),
        number(pooled.mean_negative_gap()),
    );
    // Mean of both directions, the one figure to compare models by.
    m.insert(
        "mrr".into(),
        number((rows[0].summary.mrr + rows[1].summary.mrr) / 2.0),
    );
    m
}

#[cfg(test)]
mod tests;
