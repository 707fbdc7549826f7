//! Mixture of normal components with shared variances, one per feature, fitted by expectation
//! maximisation.

use ndarray::{Array2, ArrayView2, ArrayViewMut1};
use rayon::prelude::*;

use clcc_numerics::math;
use clcc_numerics::rng::Rng;

/// Random starts per number of components.
const STARTS: usize = 8;
/// Largest number of steps of a fit.
const STEPS: usize = 200;
/// Relative growth of the log likelihood below which a fit has converged.
const TOLERANCE: f64 = 1e-7;
/// Smallest variance, as a share of the feature's own.
const LEAST_VARIANCE: f64 = 1e-3;

/// Fitted mixture.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    /// Log of weight times density of each component at each row, `n x k`.
    pub(super) log_joint: Array2<f64>,
    /// Bayesian information criterion: smaller is better.
    pub(super) bic: f64,
}

/// Fit `k` components to `x` (`n x d`): the best of several starts, the same at any number of threads.
/// `None` where there are fewer than `2 k` rows or no feature varies.
pub(super) fn fit(x: &ArrayView2<'_, f64>, k: usize, seed: u64) -> Option<Mixture> {
    let (n, d) = x.dim();
    let variance: Vec<f64> = (0..d).map(|j| x.column(j).var(0.0)).collect();
    if n < 2 * k || !variance.iter().any(|v| *v > 0.0) {
        return None;
    }
    let starts = if k == 1 { 1 } else { STARTS };
    let fits: Vec<(f64, Array2<f64>)> = (0..starts)
        .into_par_iter()
        .map(|s| {
            let mut rng = Rng::new(seed, "clones start", &[k as u64, s as u64]);
            maximise(x, &spread_rows(x, k, &variance, &mut rng), &variance)
        })
        .collect();
    let best = fits
        .into_iter()
        .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    let parameters = (k * d + d + k - 1) as f64;
    Some(Mixture {
        bic: parameters * math::ln(n as f64) - 2.0 * best.0,
        log_joint: best.1,
    })
}

/// Posterior probability of each component for each row.
pub(super) fn posterior(log_joint: &Array2<f64>) -> Array2<f64> {
    let mut out = log_joint.clone();
    out.rows_mut().into_iter().for_each(|mut row| {
        normalise(&mut row);
    });
    out
}

/// Turn logarithms into shares that sum to 1, in place; returns the logarithm of their sum.
fn normalise(row: &mut ArrayViewMut1<'_, f64>) -> f64 {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.mapv_inplace(|l| math::exp(l - top));
    let sum = row.sum();
    *row /= sum;
    top + math::ln(sum)
}

/// Choose `k` rows far from one another (k-means++ on standardised features).
fn spread_rows(x: &ArrayView2<'_, f64>, k: usize, variance: &[f64], rng: &mut Rng) -> Array2<f64> {
    let (n, d) = x.dim();
    let mut chosen = vec![rng.below(n as u64) as usize];
    let mut nearest = vec![f64::INFINITY; n];
    while chosen.len() < k {
        let last = x.row(chosen[chosen.len() - 1]);
        for (i, near) in nearest.iter_mut().enumerate() {
            let distance: f64 = (0..d)
                .filter(|&j| variance[j] > 0.0)
                .map(|j| (x[[i, j]] - last[j]).powi(2) / variance[j])
                .sum();
            *near = near.min(distance);
        }
        let total: f64 = nearest.iter().sum();
        let mut left = rng.uniform() * total;
        let mut next = n - 1;
        for (i, near) in nearest.iter().enumerate() {
            left -= near;
            if left < 0.0 {
                next = i;
                break;
            }
        }
        chosen.push(next);
    }
    x.select(ndarray::Axis(0), &chosen)
}

/// Run expectation maximisation from means `mu`; returns the log likelihood and the log joint density.
fn maximise(x: &ArrayView2<'_, f64>, mu: &Array2<f64>, variance: &[f64]) -> (f64, Array2<f64>) {
    let k = mu.nrows();
    let mut components = Components {
        mu: mu.clone(),
        variance: variance.to_vec(),
        floor: variance
            .iter()
            .map(|v| (LEAST_VARIANCE * v).max(f64::MIN_POSITIVE))
            .collect(),
        weight: vec![1.0 / k as f64; k],
    };
    let mut joint = Array2::zeros((x.nrows(), k));
    let mut likelihood = f64::NEG_INFINITY;
    for _ in 0..STEPS {
        components.log_joint(x, &mut joint);
        let mut posterior = joint.clone();
        let next = posterior
            .rows_mut()
            .into_iter()
            .map(|mut row| normalise(&mut row))
            .sum::<f64>();
        let done = next - likelihood <= TOLERANCE * next.abs();
        likelihood = next;
        if done {
            break;
        }
        components.update(x, &posterior);
    }
    (likelihood, joint)
}

/// Parameters of the mixture: means `k x d`, and the variances that all components share.
struct Components {
    mu: Array2<f64>,
    variance: Vec<f64>,
    /// Smallest variance of each feature.
    floor: Vec<f64>,
    weight: Vec<f64>,
}

impl Components {
    /// Log of weight times density of each component at each row, into `joint` (`n x k`).
    fn log_joint(&self, x: &ArrayView2<'_, f64>, joint: &mut Array2<f64>) {
        let precision: Vec<f64> = self
            .variance
            .iter()
            .zip(&self.floor)
            .map(|(v, f)| 1.0 / v.max(*f))
            .collect();
        let constant = precision
            .iter()
            .map(|p| 0.5 * (math::ln(*p) - math::ln(std::f64::consts::TAU)))
            .sum::<f64>();
        for (i, row) in x.rows().into_iter().enumerate() {
            for (c, centre) in self.mu.rows().into_iter().enumerate() {
                let distance: f64 = (0..x.ncols())
                    .map(|j| (row[j] - centre[j]).powi(2) * precision[j])
                    .sum();
                joint[[i, c]] = math::ln(self.weight[c]) + constant - 0.5 * distance;
            }
        }
    }

    /// Set weights, means and variances to their maximum likelihood under the posterior.
    fn update(&mut self, x: &ArrayView2<'_, f64>, posterior: &Array2<f64>) {
        let (n, d) = x.dim();
        let mut squares = vec![0.0; d];
        for c in 0..self.weight.len() {
            let p = posterior.column(c);
            let total = p.sum().max(1e-9);
            self.weight[c] = (total / n as f64).max(1e-12);
            let mut centre = self.mu.row_mut(c);
            centre.fill(0.0);
            for i in 0..n {
                centre.scaled_add(p[i], &x.row(i));
            }
            centre /= total;
            for i in 0..n {
                for j in 0..d {
                    squares[j] += p[i] * (x[[i, j]] - centre[j]).powi(2);
                }
            }
        }
        self.variance = squares
            .iter()
            .zip(&self.floor)
            .map(|(s, f)| (s / n as f64).max(*f))
            .collect();
    }
}
