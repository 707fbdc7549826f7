//! `doublets`: how likely each barcode of a patient holds two cells.
//!
//! Follows Scrublet (Wolock, Lopez and Klein 2019) as `scanpy.pp.scrublet` runs it: doublets are simulated by adding
//! the counts of two cells drawn at random; cells and simulated doublets are normalised, scaled and projected on the
//! principal components of the cells; a cell is scored by the share of simulated doublets among its nearest
//! neighbours; a cell above the minimum between the two peaks of the simulated doublets' scores is called.
//!
//! Doublets of two cells of one type are not found, by any such method. Deviations from scanpy: `n_top_genes` genes
//! are taken in place of scanpy's cuts in mean and dispersion; pairs are drawn from our own stream; neighbours are
//! exact; components are found to a residual of 1e-5.
//!
//! ```
//! use clcc_counts::doublets::{DoubletsParams, doublets};
//! use clcc_data::matrix::Csr;
//!
//! // Ten cells of a type that expresses the first 20 genes, and ten of one that expresses the others.
//! let counts = Csr::from_rows(40, (0..20u32).map(|i| {
//!     let first = if i < 10 { 0 } else { 20 };
//!     (0..20).map(|g| (first + g, 1.0 + ((i + g) % 3) as f32)).collect::<Vec<_>>()
//! }));
//! let found = doublets(&counts, &DoubletsParams::default(), 1)?;
//! assert_eq!(found.scores.len(), 20);
//! # Ok::<(), clcc_data::StageError>(())
//! ```

mod params;
mod score;

#[cfg(test)]
mod tests;

pub use params::DoubletsParams;

use clcc_data::StageResult;
use clcc_data::matrix::Csr;
use clcc_numerics::linalg::{Pca, PcaOptions, column_means, pca};
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::{highly_variable, median};
use clcc_stage::roles;
use clcc_stage::rows::DoubletRow;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, Table, TableSpec};
use ndarray::{Array2, Axis, concatenate};
use serde_json::json;

use crate::preprocess::log1p_normalize_total_in_place;
use score::{doublet_scores, threshold_minimum};

/// A gene in fewer cells says nothing, as in scanpy.
const MIN_CELLS: usize = 3;
/// Fewer cells than this are not scored: every cell is a neighbour of every other.
const MIN_SCORED: usize = 10;
/// Counts per cell after normalisation, scanpy's.
const TARGET_SUM: f64 = 1e6;
/// Up to this many cells or genes the components are found from all eigenvectors.
const EXACT_PCA_UP_TO: usize = 512;

/// The stage kind `doublets`.
#[derive(Debug, Clone, Copy)]
pub struct Doublets;

/// Scores of the cells of one library.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// One per cell, from 0 to 1; NaN where there are too few cells or genes.
    pub scores: Vec<f64>,
    /// Scores of the simulated doublets.
    pub simulated: Vec<f64>,
    /// Score above which a cell is called a doublet; `None` where the simulated scores have no two peaks.
    pub threshold: Option<f64>,
}

impl Scored {
    fn unscored(n_cells: usize, threshold: Option<f64>) -> Self {
        Self {
            scores: vec![f64::NAN; n_cells],
            simulated: Vec::new(),
            threshold,
        }
    }

    /// One flag per cell; `None` without a threshold or scores.
    pub fn calls(&self) -> Option<Vec<bool>> {
        let threshold = self.threshold.filter(|_| !self.simulated.is_empty())?;
        Some(self.scores.iter().map(|s| *s > threshold).collect())
    }
}

impl Stage for Doublets {
    type Params = DoubletsParams;
    const KIND: &'static str = "doublets";
    // 1: the first.
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str = "scores each barcode for holding two cells, as Scrublet does";
    const USES_SEED: bool = true;
    const TABLES: &'static [TableSpec] = &[DoubletRow::SPEC];
    const MULTI_THREADED: bool = true;

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![Read::one(roles::EXPR)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(roles::DOUBLETS, "doublet score and call of every cell")
                .publish(Publish::At("tables/doublets{.branch}.tsv")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let reader = ctx.one(roles::EXPR)?.open()?;
        let counts = reader.layer("counts")?.into_csr();
        ctx.check_cancelled()?;
        let found = doublets(&counts, params, ctx.seed)?;
        if found.simulated.is_empty() {
            ctx.progress.warn(&format!(
                "{} cells are too few to score doublets (at least {MIN_SCORED}, and two genes in {MIN_CELLS} cells): no score",
                counts.n_rows()
            ));
        } else if found.threshold.is_none() {
            ctx.progress.warn(
                "the scores of the simulated doublets have no two peaks, so that no threshold follows from them: no cell is called a doublet; set `threshold` to call them",
            );
        }
        let calls = found.calls();
        let rows = reader.obs()?.index.into_iter().zip(&found.scores);
        let rows = rows
            .enumerate()
            .map(|(i, (cell, &doublet_score))| DoubletRow {
                cell,
                doublet_score,
                predicted_doublet: calls.as_ref().map(|calls| calls[i]),
            });
        table(rows.collect(), &found, params).write_as(&ctx.output(roles::DOUBLETS))?;
        Ok(metrics(&found, params))
    }
}

fn table(rows: Vec<DoubletRow>, found: &Scored, params: &DoubletsParams) -> Table<DoubletRow> {
    let threshold = match found.threshold {
        Some(t) => format!("predicted_doublet: doublet_score above {t}"),
        None => "predicted_doublet: not called, as there is no threshold".to_string(),
    };
    Table::new(rows)
        .note(format!(
            "doublet_score: likelihood of being a doublet, by the share of simulated doublets among the nearest neighbours (Scrublet), at an expected doublet rate of {}",
            params.expected_doublet_rate
        ))
        .note(threshold)
        .note("doublets of two cells of one type are not found")
}

fn metrics(found: &Scored, params: &DoubletsParams) -> Metrics {
    let mut metrics = Metrics::new();
    metrics.insert("n_cells".into(), json!(found.scores.len()));
    metrics.insert("n_simulated".into(), json!(found.simulated.len()));
    metrics.insert(
        "expected_doublet_rate".into(),
        json!(params.expected_doublet_rate),
    );
    if let (Some(threshold), Some(calls)) = (found.threshold, found.calls()) {
        let called = calls.iter().filter(|c| **c).count();
        let above = found.simulated.iter().filter(|s| **s > threshold).count();
        let detected = called as f64 / calls.len() as f64;
        let detectable = above as f64 / found.simulated.len() as f64;
        metrics.insert("threshold".into(), json!(threshold));
        metrics.insert("n_predicted_doublets".into(), json!(called));
        metrics.insert("detected_doublet_rate".into(), json!(detected));
        metrics.insert("detectable_doublet_fraction".into(), json!(detectable));
        if detectable > 0.0 {
            metrics.insert("overall_doublet_rate".into(), json!(detected / detectable));
        }
    }
    metrics
}

/// Score the cells of one library by their raw `counts` (`n_cells x n_genes`). The same for the same seed at any
/// number of threads.
///
/// # Errors
/// [`clcc_data::StageError::Data`] where a count is not finite.
pub fn doublets(counts: &Csr, params: &DoubletsParams, seed: u64) -> StageResult<Scored> {
    let n_cells = counts.n_rows();
    let genes = informative_genes(counts, params.n_top_genes);
    if n_cells < MIN_SCORED || genes.len() < 2 {
        return Ok(Scored::unscored(n_cells, params.threshold));
    }
    let counts = counts.take_cols(&genes);
    let n_sim = ((n_cells as f64 * params.sim_doublet_ratio) as usize).max(1);
    let simulated = simulate_doublets(&counts, n_sim, seed)?;
    let coords = embed(&counts, &simulated, params.n_prin_comps, seed)?;
    let k = params
        .n_neighbors
        .unwrap_or_else(|| ((0.5 * (n_cells as f64).sqrt()).round_ties_even() as usize).max(1));
    let mut scores = doublet_scores(&coords, n_cells, k, params.expected_doublet_rate);
    let simulated = scores.split_off(n_cells);
    let threshold = params.threshold.or_else(|| threshold_minimum(&simulated));
    Ok(Scored {
        scores,
        simulated,
        threshold,
    })
}

/// The most variable genes of those in [`MIN_CELLS`] cells or more, in rising order.
fn informative_genes(counts: &Csr, n_top_genes: usize) -> Vec<usize> {
    let mut cells = vec![0usize; counts.n_cols()];
    for (&gene, &count) in counts.indices().iter().zip(counts.data()) {
        cells[gene as usize] += usize::from(count > 0.0);
    }
    let kept: Vec<usize> = (0..cells.len())
        .filter(|&g| cells[g] >= MIN_CELLS)
        .collect();
    if kept.len() < 2 || counts.n_rows() < 2 {
        return Vec::new();
    }
    let mut logged = counts.take_cols(&kept);
    let totals = logged.row_sums();
    log1p_normalize_total_in_place(&mut logged, &totals, median(&totals));
    let rows: Vec<usize> = (0..logged.n_rows()).collect();
    highly_variable(&logged, &rows, n_top_genes)
        .into_iter()
        .map(|g| kept[g as usize])
        .collect()
}

/// Scale each row to `target`; a row without counts stays.
fn scale_rows(x: &mut Csr, totals: &[f64], target: f64) {
    x.update_rows(|row, values| {
        if totals[row] > 0.0 {
            let factor = target / totals[row];
            values
                .iter_mut()
                .for_each(|v| *v = (f64::from(*v) * factor) as f32);
        }
    });
}

/// Sums of the counts of two cells, drawn with replacement.
fn simulate_doublets(counts: &Csr, n_sim: usize, seed: u64) -> StageResult<Csr> {
    let mut rng = Rng::new(seed, "doublets: pairs", &[]);
    let n = counts.n_rows() as u64;
    let (mut indptr, mut genes, mut values) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..n_sim {
        for cell in [rng.below(n), rng.below(n)] {
            let (of_cell, counts) = counts.row(cell as usize);
            genes.extend_from_slice(of_cell);
            values.extend_from_slice(counts);
        }
        indptr.push(genes.len() as u64);
    }
    // A gene of both cells stands twice in the row, and its counts are added up.
    Csr::new(counts.n_cols(), indptr, genes, values)
}

/// Coordinates of the cells, then of the simulated doublets, on the cells' principal components. Both are scaled to
/// [`TARGET_SUM`] counts, then each gene by the mean and standard deviation it has in the cells.
fn embed(counts: &Csr, simulated: &Csr, n_comps: usize, seed: u64) -> StageResult<Array2<f64>> {
    let normalised = |x: &Csr| {
        let mut x = x.clone();
        let totals = x.row_sums();
        scale_rows(&mut x, &totals, TARGET_SUM);
        x
    };
    let (mut cells, mut doublets) = (normalised(counts), normalised(simulated));
    let (mean, sd) = moments(&cells);
    // Dividing by the deviation keeps zeros; the mean is taken off in the decomposition and the projection.
    let scaled = |x: &Csr| x.map(|_, gene, v| (f64::from(v) / sd[gene]) as f32);
    (cells, doublets) = (scaled(&cells), scaled(&doublets));
    let options = PcaOptions {
        n_comps,
        zero_center: true,
        exact_up_to: EXACT_PCA_UP_TO,
        seed,
    };
    let found = pca(&cells, &options)?;
    let centre: Vec<f64> = mean.iter().zip(&sd).map(|(m, s)| m / s).collect();
    let projected = project(&doublets, &centre, &found);
    Ok(concatenate(Axis(0), &[found.scores.view(), projected.view()]).expect("as many components"))
}

/// Mean and standard deviation (over n) of each column; a deviation of 0 counts as 1.
fn moments(x: &Csr) -> (Vec<f64>, Vec<f64>) {
    let n = x.n_rows() as f64;
    let mean = column_means(x).to_vec();
    let mut stored = vec![0usize; x.n_cols()];
    for &gene in x.indices() {
        stored[gene as usize] += 1;
    }
    let mut square: Vec<f64> = mean
        .iter()
        .zip(&stored)
        .map(|(m, &s)| (n - s as f64) * m * m)
        .collect();
    for (&gene, &v) in x.indices().iter().zip(x.data()) {
        square[gene as usize] += (f64::from(v) - mean[gene as usize]).powi(2);
    }
    let sd = square.into_iter().map(|s| match (s / n).sqrt() {
        0.0 => 1.0,
        sd => sd,
    });
    (mean, sd.collect())
}

/// Rows of `x` minus `centre`, on the components of `found`.
fn project(x: &Csr, centre: &[f64], found: &Pca) -> Array2<f64> {
    let k = found.components.ncols();
    let mut origin = vec![0f64; k];
    for (gene, c) in centre.iter().enumerate() {
        for (o, v) in origin.iter_mut().zip(found.components.row(gene)) {
            *o += c * v;
        }
    }
    let mut out = Array2::zeros((x.n_rows(), k));
    for (row, mut coords) in out.rows_mut().into_iter().enumerate() {
        let (genes, values) = x.row(row);
        for (&gene, &value) in genes.iter().zip(values) {
            coords.scaled_add(f64::from(value), &found.components.row(gene as usize));
        }
        coords.iter_mut().zip(&origin).for_each(|(c, o)| *c -= o);
    }
    // A component without variance has scores of 0 for the cells, and none for the doublets.
    for (mut column, variance) in out.columns_mut().into_iter().zip(&found.variance) {
        if *variance == 0.0 {
            column.fill(0.0);
        }
    }
    out
}
