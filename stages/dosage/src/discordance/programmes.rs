//! Sparse programmes of expression: what genes do together from cell to cell for reasons other than copy
//! number (cell cycle, stress, hypoxia, ...), to be taken out before cells are compared with their dosage.
//!
//! Sparse factor analysis of the Pearson residuals, `R ~ X B + noise` of variance 1, by variational Bayes
//! with a spike-and-slab prior on the loadings (Titsias and Lazaro-Gredilla 2011): loading k of gene g is not
//! 0 with probability `inc_k`, and then normal with standard deviation `tau_k b_g`, with b_g the root mean
//! square of `mu / sd` over cells, so that `tau_k` is a change of log expression. All genes take part,
//! altered or not, and copy number is not used. A programme of one gene in twenty is near the noise edge of
//! principal components, which do not remove it; sparse factors do.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::dosage::residual::Residuals;
use clcc_data::error::StageResult;
use clcc_numerics::linalg::{
    Cholesky, LinearOperator, SvdOptions, matmul, matmul_tn, randomized_svd,
};
use clcc_numerics::math;

/// Sweeps over all loadings and scores.
const SWEEPS: usize = 25;
/// Cells that a programme needs.
const LEAST_CELLS: usize = 20;
/// Initial value and bounds of the size of a programme's loadings, in log expression.
const SIZE: (f64, f64, f64) = (0.3, 0.1, 1.5);
/// Initial value and bounds of the share of genes in a programme.
const SHARE: (f64, f64, f64) = (0.04, 0.002, 0.5);
/// Genes whose sums are added up together.
const GENES_PER_TASK: usize = 256;
/// Planar rotations over all pairs of factors.
const VARIMAX_SWEEPS: usize = 50;

/// Programmes in units of Pearson residuals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Programmes {
    /// `n_cells x k`, each column with a mean square of about 1.
    pub(super) cells: Array2<f64>,
    /// `n_genes x k`.
    pub(super) genes: Array2<f64>,
}

impl Programmes {
    /// No programme.
    pub(super) fn none(n_cells: usize, n_genes: usize) -> Self {
        Self {
            cells: Array2::zeros((n_cells, 0)),
            genes: Array2::zeros((n_genes, 0)),
        }
    }

    /// Fit `k` programmes, fewer where the cells are few.
    ///
    /// # Errors
    /// What the decomposition reports.
    pub(super) fn fit(
        residuals: &Residuals,
        n_genes: usize,
        k: usize,
        seed: u64,
    ) -> StageResult<Self> {
        let n = residuals.n_cells();
        let k = k.min(n / LEAST_CELLS);
        if k == 0 {
            return Ok(Self::none(n, n_genes));
        }
        let scale = scales(residuals, n_genes);
        let n_clones = residuals.clone_of.iter().max().map_or(0, |u| u + 1);
        let root: Vec<f64> = scale.iter().map(|b| b.sqrt()).collect();
        let options = SvdOptions::new(k, seed);
        let svd = randomized_svd(&residuals.signed(&vec![root; n_clones]), &options)?;
        let mut x = svd.u;
        varimax(&mut x);
        x *= (n as f64).sqrt();
        let r = residuals.signed(&vec![vec![1.0; n_genes]; n_clones]);
        Ok(Factors::new(x, &r, &scale).fit(&r, &scale))
    }

    /// Expected residual of the cells in `rows` for gene `g`, into `out`.
    pub(super) fn offsets(&self, g: usize, rows: std::ops::Range<usize>, out: &mut [f64]) {
        let loadings = self.genes.row(g);
        for (i, out) in rows.zip(out) {
            let scores = self.cells.row(i);
            *out = scores.iter().zip(loadings).map(|(x, b)| x * b).sum();
        }
    }
}

/// Root mean square over cells of `mu / sd` of each gene.
fn scales(residuals: &Residuals, n_genes: usize) -> Vec<f64> {
    let n_clones = residuals.clone_of.iter().max().map_or(0, |u| u + 1);
    let mut size = vec![0.0; n_clones];
    residuals.clone_of.iter().for_each(|&u| size[u] += 1.0);
    let n = residuals.n_cells() as f64;
    let of = |g: usize| {
        let clones = size.iter().enumerate().filter(|(_, n)| **n > 0.0);
        let sum: f64 = clones.map(|(u, n)| n * residuals.base(u, g).powi(2)).sum();
        (sum / n).sqrt()
    };
    (0..n_genes).map(of).collect()
}

/// Rotates the columns to the largest variance of squares (Kaiser 1958, raw varimax), pair by pair.
fn varimax(x: &mut Array2<f64>) {
    let (n, k) = x.dim();
    let mut columns: Vec<Vec<f64>> = x.columns().into_iter().map(|c| c.to_vec()).collect();
    for _ in 0..VARIMAX_SWEEPS {
        let mut turned = false;
        for a in 0..k {
            for b in a + 1..k {
                let (left, right) = columns.split_at_mut(b);
                turned |= rotate(&mut left[a], &mut right[0], n as f64);
            }
        }
        if !turned {
            break;
        }
    }
    for (k, column) in columns.iter().enumerate() {
        x.column_mut(k)
            .iter_mut()
            .zip(column)
            .for_each(|(x, v)| *x = *v);
    }
}

/// Turns a plane to its largest variance of squares; whether by more than rounding.
fn rotate(x: &mut [f64], y: &mut [f64], n: f64) -> bool {
    let (mut a, mut b, mut c, mut d) = (0.0, 0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(&*y) {
        let (u, v) = (x * x - y * y, 2.0 * x * y);
        a += u;
        b += v;
        c += u * u - v * v;
        d += 2.0 * u * v;
    }
    let (sine, cosine) = (d - 2.0 * a * b / n, c - (a * a - b * b) / n);
    let length = math::hypot(sine, cosine);
    if length == 0.0 {
        return false;
    }
    // A quarter of the angle, by halves: square roots alone.
    let cos2 = ((1.0 + cosine / length) / 2.0).max(0.0).sqrt();
    let sin2 = ((1.0 - cosine / length) / 2.0)
        .max(0.0)
        .sqrt()
        .copysign(sine);
    let cos = ((1.0 + cos2) / 2.0).sqrt();
    let sin = sin2 / (2.0 * cos);
    for (x, y) in x.iter_mut().zip(y) {
        let (p, q) = (*x, *y);
        *x = p * cos + q * sin;
        *y = q * cos - p * sin;
    }
    sin.abs() > 1e-6
}

/// State of the factor analysis.
struct Factors {
    /// Mean scores, `n x k`.
    x: Array2<f64>,
    /// Covariance of a cell's scores, the same for every cell, `k x k`.
    v: Array2<f64>,
    /// Mean loadings, `n_genes x k`.
    b: Array2<f64>,
    size: Vec<f64>,
    share: Vec<f64>,
}

/// Sums over genes of what a programme's hyperparameters and the cells' scores need, one per programme.
#[derive(Clone)]
struct Sums {
    variance: Vec<f64>,
    square: Vec<f64>,
    scale: Vec<f64>,
    included: Vec<f64>,
}

impl Sums {
    fn zero(k: usize) -> Self {
        let zeros = vec![0.0; k];
        Self {
            variance: zeros.clone(),
            square: zeros.clone(),
            scale: zeros.clone(),
            included: zeros,
        }
    }

    fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.variance, &other.variance),
            (&mut self.square, &other.square),
            (&mut self.scale, &other.scale),
            (&mut self.included, &other.included),
        ] {
            to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }
}

impl Factors {
    fn new(x: Array2<f64>, r: &dyn LinearOperator, scale: &[f64]) -> Self {
        let (n, k) = x.dim();
        let mut b = r.apply_t(&x) / n as f64;
        for (mut row, s) in b.rows_mut().into_iter().zip(scale) {
            if *s == 0.0 {
                row.fill(0.0);
            }
        }
        Self {
            x,
            v: Array2::zeros((k, k)),
            b,
            size: vec![SIZE.0; k],
            share: vec![SHARE.0; k],
        }
    }

    fn fit(mut self, r: &dyn LinearOperator, scale: &[f64]) -> Programmes {
        let n_used = scale.iter().filter(|b| **b > 0.0).count() as f64;
        for _ in 0..SWEEPS {
            let sums = self.update_loadings(r, scale);
            for k in 0..self.size.len() {
                self.share[k] = (sums.included[k] / n_used).clamp(SHARE.1, SHARE.2);
                let size = (sums.square[k] / sums.scale[k]).sqrt();
                // Where no gene is in the programme, its size is unknown and stays.
                if size.is_finite() {
                    self.size[k] = size.clamp(SIZE.1, SIZE.2);
                }
            }
            self.update_scores(r, &sums.variance);
        }
        Programmes {
            cells: self.x,
            genes: self.b,
        }
    }

    /// Update the loadings of every gene, factor by factor, each given the others.
    fn update_loadings(&mut self, r: &dyn LinearOperator, scale: &[f64]) -> Sums {
        let (n, k) = self.x.dim();
        let xx = matmul_tn(&self.x.view(), &self.x.view()) + &self.v * n as f64;
        let xr = r.apply_t(&self.x);
        let (size, share) = (&self.size, &self.share);
        let tasks: Vec<Sums> = self
            .b
            .axis_chunks_iter_mut(Axis(0), GENES_PER_TASK)
            .into_par_iter()
            .enumerate()
            .map(|(task, mut rows)| {
                let mut sums = Sums::zero(k);
                for (at, mut loadings) in rows.rows_mut().into_iter().enumerate() {
                    let g = task * GENES_PER_TASK + at;
                    if scale[g] == 0.0 {
                        continue;
                    }
                    for f in 0..k {
                        let others: f64 = (0..k).map(|j| xx[[f, j]] * loadings[j]).sum();
                        let h = xr[[g, f]] - others + xx[[f, f]] * loadings[f];
                        let slab = (size[f] * scale[g]).powi(2);
                        let v = 1.0 / (xx[[f, f]] + 1.0 / slab);
                        let m = v * h;
                        let prior = math::ln(share[f] / (1.0 - share[f]));
                        let odds = 0.5 * math::ln(v / slab) + m * m / (2.0 * v) + prior;
                        let p = super::logistic(odds);
                        loadings[f] = p * m;
                        sums.variance[f] += p * (v + m * m) - (p * m).powi(2);
                        sums.square[f] += p * (v + m * m);
                        sums.scale[f] += p * scale[g].powi(2);
                        sums.included[f] += p;
                    }
                }
                sums
            })
            .collect();
        let mut sums = Sums::zero(k);
        tasks.iter().for_each(|t| sums.add(t));
        sums
    }

    /// Update the cells' scores, then bring each factor to a mean square of 1.
    fn update_scores(&mut self, r: &dyn LinearOperator, variance: &[f64]) {
        let (n, k) = self.x.dim();
        let mut precision = matmul_tn(&self.b.view(), &self.b.view());
        for f in 0..k {
            precision[[f, f]] += 1.0 + variance[f];
        }
        let factor = Cholesky::new(
            precision
                .as_standard_layout()
                .as_slice()
                .expect("standard layout"),
            k,
        );
        let unit = |f: usize| {
            (0..k)
                .map(|j| f64::from(u8::from(j == f)))
                .collect::<Vec<f64>>()
        };
        let columns: Vec<Vec<f64>> = (0..k).map(|f| factor.solve(&unit(f))).collect();
        self.v = Array2::from_shape_fn((k, k), |(i, j)| columns[j][i]);
        self.x = matmul(&r.apply(&self.b).view(), &self.v.view());
        for f in 0..k {
            let square: f64 = self.x.column(f).iter().map(|x| x * x).sum::<f64>() / n as f64;
            let s = (square + self.v[[f, f]]).sqrt();
            self.x.column_mut(f).mapv_inplace(|x| x / s);
            self.v.column_mut(f).mapv_inplace(|x| x / s);
            self.v.row_mut(f).mapv_inplace(|x| x / s);
            self.b.column_mut(f).mapv_inplace(|x| x * s);
        }
    }
}
