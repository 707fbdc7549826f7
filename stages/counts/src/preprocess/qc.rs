//! Quality metrics under scanpy's names.

use rayon::prelude::*;

use clcc_data::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::Csr;
use clcc_stage::rows::{QcCellRow, QcMetricRow};
use clcc_stage::stage::Metrics;
use clcc_stage::tables::Table;

/// Per-cell metrics over all genes of the input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QcMetrics {
    /// Sum of counts.
    pub total_counts: Vec<f64>,
    /// Genes with a count.
    pub n_genes_by_counts: Vec<i64>,
    /// Percentage of counts in mitochondrial genes; NaN for a cell without counts.
    pub pct_counts_mt: Vec<f64>,
}

/// Metrics of each cell. `mt` flags the mitochondrial genes, one per column of `x`.
///
/// **Source**: scanpy 1.11 `pp.calculate_qc_metrics`.
pub fn qc_metrics(x: &Csr, mt: &[bool]) -> QcMetrics {
    let cell = |r: usize| {
        let (cols, vals) = x.row(r);
        let (mut total, mut in_mt, mut genes) = (0.0, 0.0, 0);
        for (&c, &v) in cols.iter().zip(vals) {
            let v = f64::from(v);
            total += v;
            genes += i64::from(v > 0.0);
            if mt[c as usize] {
                in_mt += v;
            }
        }
        (total, genes, 100.0 * in_mt / total)
    };
    let rows = (0..x.n_rows()).into_par_iter().with_min_len(64);
    let cells: Vec<(f64, i64, f64)> = rows.map(cell).collect();
    QcMetrics {
        total_counts: cells.iter().map(|c| c.0).collect(),
        n_genes_by_counts: cells.iter().map(|c| c.1).collect(),
        pct_counts_mt: cells.iter().map(|c| c.2).collect(),
    }
}

impl QcMetrics {
    /// The cells at `rows`.
    pub(super) fn take(&self, rows: &[usize]) -> Self {
        Self {
            total_counts: rows.iter().map(|&r| self.total_counts[r]).collect(),
            n_genes_by_counts: rows.iter().map(|&r| self.n_genes_by_counts[r]).collect(),
            pct_counts_mt: rows.iter().map(|&r| self.pct_counts_mt[r]).collect(),
        }
    }

    pub(super) fn annotate(&self, obs: &mut Frame) {
        obs.set("total_counts", Column::F64(self.total_counts.clone()));
        obs.set(
            "n_genes_by_counts",
            Column::I64(self.n_genes_by_counts.clone()),
        );
        obs.set("pct_counts_mt", Column::F64(self.pct_counts_mt.clone()));
    }
}

/// For each gene the number of cells with a count.
pub(super) fn cells_per_gene(x: &Csr) -> Vec<i64> {
    let mut n = vec![0; x.n_cols()];
    for (&c, &v) in x.indices().iter().zip(x.data()) {
        n[c as usize] += i64::from(v > 0.0);
    }
    n
}

/// Median of the numbers that are not NaN; NaN without any.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut v: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

/// The metrics of every cell, from the columns that [`QcMetrics::annotate`] adds.
pub(super) fn cell_table(obs: &Frame) -> StageResult<Table<QcCellRow>> {
    let total_counts = obs.numbers("total_counts")?;
    let n_genes_by_counts = obs.numbers("n_genes_by_counts")?;
    let pct_counts_mt = obs.numbers("pct_counts_mt")?;
    let known = |column: &str, cell: usize| Some(obs.columns.get(column)?.text(cell));
    let rows = obs.index.iter().enumerate().map(|(i, cell)| QcCellRow {
        cell: cell.clone(),
        patient: known("patient", i),
        sample: known("sample", i),
        cancer_vs_normal: known("cancer_vs_normal", i),
        total_counts: total_counts[i],
        n_genes_by_counts: n_genes_by_counts[i] as i64,
        pct_counts_mt: pct_counts_mt[i],
    });
    Ok(Table::new(rows.collect())
        .note("one row a cell that stayed, over all genes of the input, before genes without a position leave")
        .note("total_counts: sum of the counts (UMI); n_genes_by_counts: genes with a count; pct_counts_mt: percent of the counts from mitochondrial genes"))
}

/// The headline numbers of a patient.
pub(super) fn summary_table(metrics: &Metrics) -> Table<QcMetricRow> {
    let row = |(metric, value): (&String, &serde_json::Value)| QcMetricRow {
        metric: metric.clone(),
        value: value.as_f64().unwrap_or(f64::NAN),
    };
    Table::new(metrics.iter().map(row).collect())
        .note("summary of one patient after preprocessing; medians are over the cells that stayed and over all genes of the input")
        .note("share_zero: zeros among the cells and genes that stayed")
}
