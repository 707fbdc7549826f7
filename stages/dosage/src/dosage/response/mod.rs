//! Fits one gene's response to its copy number: a negative binomial regression of the clones' counts.
//!
//! For gene g and clone u of stratum s: `ln E N = ln(L size) + a_s + slope x + level`, variance `mu +
//! dispersion mu^2`. Strata are fixed effects; the level of malignant clones of a cell type is a random
//! effect, normal with mean 0 and one variance for all genes; a prior on the slope is optional. Fitted
//! by Fisher scoring (McCullagh and Nelder 1989, section 2.5): each step is the weighted line through
//! the working responses, with strata and levels eliminated. The log likelihood is concave in the
//! linear predictor, so it has one maximum, and shrinking the slope moves it towards the prior's mean
//! and never past it.
//!
//! Counts are used rather than their logarithms because a clone of 20 cells has 0 to 5 counts of most
//! genes: a logarithm needs a count added to it, which pulls all such clones to one value.

use clcc_numerics::math;
use clcc_numerics::stats::median;

/// Largest number of steps of Fisher scoring; twenty are ample where the slope is determined at all.
const STEPS: usize = 50;
/// Change of a linear predictor below which the fit has converged.
const TOLERANCE: f64 = 1e-9;
/// Largest change of the slope in one step.
const LARGEST_STEP: f64 = 2.0;
/// Standard deviation of the prior that keeps slopes and levels finite where all counts of a stratum
/// are on one side.
const WIDE: f64 = 10.0;

/// Design shared by all genes: offsets, strata, tumour indicators.
#[derive(Debug, Clone, Copy)]
pub(super) struct Design<'a> {
    /// ln(library size x size factor) of each clone.
    pub(super) offset: &'a [f64],
    /// Stratum of each clone.
    pub(super) strata: &'a [usize],
    pub(super) n_strata: usize,
    /// Per cell type, 1 for its malignant clones, else 0. No stratum has clones of two types.
    pub(super) tumour: &'a [Vec<f64>],
}

/// Variance parameters, the same for all genes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Model {
    /// Squared coefficient of variation between clones of equal copy number, excluding counting noise.
    pub(super) dispersion: f64,
    /// Variance of the levels of malignant clones; infinite for fixed effects without a prior.
    pub(super) level_variance: f64,
    /// Mean and variance of the slope's prior.
    pub(super) prior: (f64, f64),
}

impl Model {
    /// Model with fixed levels and a slope determined by the counts alone.
    pub(super) fn fixed(dispersion: f64) -> Self {
        Self {
            dispersion,
            level_variance: WIDE * WIDE,
            prior: (1.0, WIDE * WIDE),
        }
    }
}

/// Counts and local copy number of one gene.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gene<'a> {
    /// Local log copy ratio of each clone.
    pub(super) x: &'a [f64],
    pub(super) counts: &'a [f64],
    /// Whether each clone's expected counts suffice for it to be included.
    pub(super) included: &'a [bool],
}

/// Fit of one gene.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) slope: f64,
    /// Information on the slope: its variance is `1 / sxx` where the model's variance is right.
    pub(super) sxx: f64,
    /// Degrees of freedom: clones - strata - 1, minus those the levels use.
    pub(super) df: f64,
    /// Pearson's statistic divided by `df`.
    pub(super) residual_variance: f64,
    /// Expected count of each included clone, 0 for others.
    pub(super) fitted: Vec<f64>,
    /// Level of each cell type and its variance without a prior; `None` where its clones do not
    /// determine it.
    pub(super) levels: Vec<Option<(f64, f64)>>,
}

/// Sums of products of x, y and the levels z around the means of their strata.
struct Moments {
    /// Weight and weighted means of x and y, per stratum.
    means: Vec<(f64, f64, f64)>,
    /// Weighted mean of z, per level and stratum.
    level_means: Vec<Vec<f64>>,
    xx: f64,
    xy: f64,
    /// Sums of squares of z, and of z with x and with y, per level.
    zz: Vec<f64>,
    xz: Vec<f64>,
    zy: Vec<f64>,
}

impl Moments {
    fn new(x: &[f64], y: &[f64], w: &[f64], design: &Design<'_>) -> Self {
        let mut means = vec![(0.0, 0.0, 0.0); design.n_strata];
        for u in 0..x.len() {
            let m = &mut means[design.strata[u]];
            m.0 += w[u];
            m.1 += w[u] * x[u];
            m.2 += w[u] * y[u];
        }
        for m in means.iter_mut().filter(|m| m.0 > 0.0) {
            m.1 /= m.0;
            m.2 /= m.0;
        }
        let level_means: Vec<Vec<f64>> = design
            .tumour
            .iter()
            .map(|z| {
                let mut sums = vec![0.0; design.n_strata];
                for u in 0..x.len() {
                    sums[design.strata[u]] += w[u] * z[u];
                }
                sums.iter_mut()
                    .zip(&means)
                    .for_each(|(s, m)| *s = if m.0 > 0.0 { *s / m.0 } else { 0.0 });
                sums
            })
            .collect();
        let n = design.tumour.len();
        let mut out = Self {
            means,
            level_means,
            xx: 0.0,
            xy: 0.0,
            zz: vec![0.0; n],
            xz: vec![0.0; n],
            zy: vec![0.0; n],
        };
        for u in (0..x.len()).filter(|&u| w[u] > 0.0) {
            let s = design.strata[u];
            let (dx, dy) = (x[u] - out.means[s].1, y[u] - out.means[s].2);
            out.xx += w[u] * dx * dx;
            out.xy += w[u] * dx * dy;
            for k in 0..n {
                let dz = design.tumour[k][u] - out.level_means[k][s];
                out.zz[k] += w[u] * dz * dz;
                out.xz[k] += w[u] * dx * dz;
                out.zy[k] += w[u] * dz * dy;
            }
        }
        out
    }

    /// Precision of level `k`, including its prior's; `None` where it is not determined.
    fn precision(&self, k: usize, model: &Model) -> Option<f64> {
        (self.zz[k] > 1e-12).then(|| self.zz[k] + 1.0 / model.level_variance)
    }

    /// Sum of squares of x, and sum of products of x and y, with the levels eliminated.
    fn without_levels(&self, model: &Model) -> (f64, f64) {
        let (mut xx, mut xy) = (self.xx, self.xy);
        for k in 0..self.zz.len() {
            if let Some(precision) = self.precision(k, model) {
                xx -= self.xz[k] * self.xz[k] / precision;
                xy -= self.xz[k] * self.zy[k] / precision;
            }
        }
        (xx, xy)
    }

    fn level(&self, k: usize, slope: f64, model: &Model) -> Option<f64> {
        let precision = self.precision(k, model)?;
        Some((self.zy[k] - slope * self.xz[k]) / precision)
    }
}

/// Fit a gene, starting from the prior mean of the slope. `None` where x does not vary within a stratum
/// beyond what the levels explain, or fewer than one degree of freedom is left.
pub(super) fn fit(gene: Gene<'_>, design: &Design<'_>, model: &Model) -> Option<Response> {
    let mut scoring = Scoring::new(gene, design, model);
    let magnitude: f64 = (0..gene.x.len())
        .map(|u| scoring.w[u] * gene.x[u] * gene.x[u])
        .sum();
    for _ in 0..STEPS {
        let (xx, xy) = scoring.moments.without_levels(model);
        if xx <= 1e-12 * magnitude || xx.is_nan() {
            return None;
        }
        let wanted = (xy + model.prior.0 / model.prior.1) / (xx + 1.0 / model.prior.1);
        if scoring.step_towards(wanted) < TOLERANCE {
            break;
        }
    }
    scoring.response()
}

/// State of Fisher scoring for one gene. Vectors have one value per clone, 0 for excluded ones.
struct Scoring<'a> {
    gene: Gene<'a>,
    design: &'a Design<'a>,
    model: &'a Model,
    /// Included clones of the strata with a count.
    included: Vec<usize>,
    /// Number of strata with a count.
    n_strata: usize,
    slope: f64,
    /// Linear predictors without the offset.
    eta: Vec<f64>,
    /// Expected counts.
    mu: Vec<f64>,
    /// Weights of the working responses.
    w: Vec<f64>,
    /// Working responses without the offset.
    y: Vec<f64>,
    moments: Moments,
}

impl<'a> Scoring<'a> {
    /// Start from the prior mean of the slope, with each stratum at its own mean count.
    fn new(gene: Gene<'a>, design: &'a Design<'a>, model: &'a Model) -> Self {
        let n = gene.x.len();
        let mut totals = vec![(0.0, 0.0); design.n_strata];
        for u in (0..n).filter(|&u| gene.included[u]) {
            let t = &mut totals[design.strata[u]];
            t.0 += gene.counts[u];
            t.1 += math::exp(design.offset[u] + model.prior.0 * gene.x[u]);
        }
        let included: Vec<usize> = (0..n)
            .filter(|&u| gene.included[u] && totals[design.strata[u]].0 > 0.0)
            .collect();
        let mut eta = vec![0.0; n];
        for &u in &included {
            let t = totals[design.strata[u]];
            eta[u] = math::ln(t.0 / t.1) + model.prior.0 * gene.x[u];
        }
        let mut out = Self {
            gene,
            design,
            model,
            included,
            n_strata: totals.iter().filter(|t| t.0 > 0.0).count(),
            slope: model.prior.0,
            eta,
            mu: vec![0.0; n],
            w: vec![0.0; n],
            y: vec![0.0; n],
            moments: Moments::new(gene.x, &vec![0.0; n], &vec![0.0; n], design),
        };
        out.weigh();
        out
    }

    /// Update expected counts, weights, working responses and their moments.
    fn weigh(&mut self) {
        for &u in &self.included {
            let mu = math::exp((self.eta[u] + self.design.offset[u]).clamp(-30.0, 30.0));
            self.mu[u] = mu;
            self.w[u] = 1.0 / (1.0 / mu + self.model.dispersion);
            self.y[u] = self.eta[u] + (self.gene.counts[u] - mu) / mu;
        }
        self.moments = Moments::new(self.gene.x, &self.y, &self.w, self.design);
    }

    /// Move the slope towards `wanted`, and levels and strata with it. Returns the largest change of a
    /// linear predictor.
    fn step_towards(&mut self, wanted: f64) -> f64 {
        self.slope += (wanted - self.slope).clamp(-LARGEST_STEP, LARGEST_STEP);
        let (slope, moments) = (self.slope, &self.moments);
        let levels: Vec<f64> = (0..self.design.tumour.len())
            .map(|k| moments.level(k, slope, self.model).unwrap_or(0.0))
            .collect();
        let mut moved = 0.0f64;
        for &u in &self.included {
            let s = self.design.strata[u];
            let (_, x, y) = moments.means[s];
            let mut to = y + slope * (self.gene.x[u] - x);
            for (k, level) in levels.iter().enumerate() {
                to += level * (self.design.tumour[k][u] - moments.level_means[k][s]);
            }
            moved = moved.max((to - self.eta[u]).abs());
            self.eta[u] = to;
        }
        self.weigh();
        moved
    }

    /// The fit at the current state; `None` where fewer than one degree of freedom is left.
    fn response(self) -> Option<Response> {
        let (moments, model) = (&self.moments, self.model);
        let (sxx, _) = moments.without_levels(model);
        let spent: f64 = (0..moments.zz.len())
            .filter_map(|k| Some(moments.zz[k] / moments.precision(k, model)?))
            .sum();
        let df = self.included.len() as f64 - self.n_strata as f64 - 1.0 - spent;
        if df < 1.0 - 1e-9 {
            return None;
        }
        let pearson: f64 = self
            .included
            .iter()
            .map(|&u| self.w[u] * ((self.gene.counts[u] - self.mu[u]) / self.mu[u]).powi(2))
            .sum();
        let levels = (0..moments.zz.len())
            .map(|k| {
                let level = moments.level(k, self.slope, model)?;
                // Given the slope; the other levels are in other strata.
                let alone = moments.zz[k] - moments.xz[k] * moments.xz[k] / moments.xx;
                (alone > 1e-9 * moments.zz[k]).then(|| (level, 1.0 / alone))
            })
            .collect();
        Some(Response {
            slope: self.slope,
            sxx,
            df,
            residual_variance: pearson / df,
            fitted: self.mu,
            levels,
        })
    }
}

/// Estimate the dispersion at which half of the genes have a Pearson statistic above the median of
/// their chi-squared distribution, between 1e-4 and 1. Each fit is paired with its gene's counts, one
/// per clone.
pub(super) fn common_dispersion(fits: &[(&Response, &[f64])]) -> f64 {
    // Wilson and Hilferty 1931: the median of chi-squared over its degrees of freedom.
    let half = |df: f64| (1.0 - 2.0 / (9.0 * df)).powi(3);
    let ratio = |dispersion: f64| {
        let all: Vec<f64> = fits
            .iter()
            .map(|(fit, counts)| {
                let sum: f64 = fit
                    .fitted
                    .iter()
                    .zip(*counts)
                    .filter(|(mu, _)| **mu > 0.0)
                    .map(|(mu, n)| (n - mu).powi(2) / (mu + dispersion * mu * mu))
                    .sum();
                sum / (fit.df * half(fit.df))
            })
            .collect();
        median(&all)
    };
    let (mut low, mut high) = (math::ln(1e-4f64), 0.0f64);
    if fits.is_empty() {
        return math::exp(low);
    }
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        // The statistic falls with rising dispersion.
        if ratio(math::exp(middle)) > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    math::exp(f64::midpoint(low, high))
}

/// Variance of estimates around `mean` in excess of their own variances (DerSimonian and Laird 1986,
/// with known mean); 0 where there is no excess. Pairs are (estimate, variance).
pub(super) fn excess_variance(estimates: impl Iterator<Item = (f64, f64)>, mean: f64) -> f64 {
    let (mut excess, mut weight) = (0.0, 0.0);
    for (estimate, variance) in estimates {
        let w = 1.0 / variance;
        excess += w * (estimate - mean).powi(2) - 1.0;
        weight += w;
    }
    if weight > 0.0 {
        (excess / weight).max(0.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests;
