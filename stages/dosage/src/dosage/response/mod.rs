//! Fits one gene's response to its copy number: a negative binomial regression of the clones' counts.
//!
//! For gene g and clone u of stratum s: `ln E N = ln(L size) + a_s + slope x + level + own level`,
//! variance `mu + dispersion mu^2`. Strata are fixed effects. The level of malignant clones of a cell
//! type is a random effect that the patients share, and each patient's own difference from it another,
//! nested in the first: both normal with mean 0, each with one variance for all genes ([`variances`]).
//! The slope is one for all patients, or one for each; a prior on it is optional. Fitted by Fisher
//! scoring (McCullagh and Nelder 1989, section 2.5; with random effects, the penalised quasi-likelihood
//! of Breslow and Clayton 1993): each step is the weighted least squares of [`effects`]. The log
//! likelihood is concave in the linear predictor, so it has one maximum, and shrinking the slope moves
//! it towards the prior's mean and never past it.
//!
//! Counts are used rather than their logarithms because a clone of 20 cells has 0 to 5 counts of most
//! genes: a logarithm needs a count added to it, which pulls all such clones to one value.

pub(super) mod effects;
mod variances;

pub(super) use variances::level_variances;

use clcc_numerics::math;
use clcc_numerics::stats::median;
use effects::{Sums, System};

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
    /// 1 for the malignant clones that have a level, else 0.
    pub(super) tumour: &'a [f64],
    /// Shared level (one per cell type) of each stratum's malignant clones; `None` where they have none.
    pub(super) level_of: &'a [Option<usize>],
    pub(super) n_levels: usize,
    /// Slope of each stratum: all 0, or the patient.
    pub(super) slope_of: &'a [usize],
    pub(super) n_slopes: usize,
}

/// Variances of the levels of malignant clones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LevelVariances {
    /// Of the level that patients share.
    pub(super) shared: f64,
    /// Of each patient's own difference from it.
    pub(super) own: f64,
}

/// Variance parameters, the same for all genes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Model {
    /// Squared coefficient of variation between clones of equal copy number, excluding counting noise.
    pub(super) dispersion: f64,
    /// Variance of the levels of malignant clones; [`WIDE`] squared or more for fixed effects.
    pub(super) level_variance: f64,
    /// Variance of the patients' own levels around them; 0 for none.
    pub(super) patient_variance: f64,
    /// Mean and variance of the slope's prior.
    pub(super) prior: (f64, f64),
}

impl Model {
    /// Model with fixed levels and a slope determined by the counts alone.
    pub(super) fn fixed(dispersion: f64) -> Self {
        Self {
            dispersion,
            level_variance: WIDE * WIDE,
            patient_variance: 0.0,
            prior: (1.0, WIDE * WIDE),
        }
    }

    /// The same with random levels.
    pub(super) fn random(dispersion: f64, levels: LevelVariances) -> Self {
        Self {
            level_variance: levels.shared,
            patient_variance: levels.own,
            ..Self::fixed(dispersion)
        }
    }

    fn levels_are_fixed(&self) -> bool {
        self.level_variance >= WIDE * WIDE
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
    /// The slope shared by the patients (of several, the first).
    pub(super) slope: f64,
    /// Information on the slope: its variance is `1 / sxx` where the model's variance is right.
    pub(super) sxx: f64,
    /// Degrees of freedom of the counts around their fitted values: clones - strata - slopes, minus
    /// those the levels use.
    pub(super) df: f64,
    /// Clones - strata - slopes: contrasts between clones that no fixed effect explains.
    pub(super) contrasts: f64,
    /// Variance in units of the model's: Pearson's statistic over `df` with fixed levels; with random
    /// ones the quadratic form of all contrasts, levels included, over `contrasts`, so that a gene whose
    /// level differs more than others' from patient to patient has a larger variance.
    pub(super) variance: f64,
    /// Degrees of freedom of `variance`.
    pub(super) variance_df: f64,
    /// Expected count of each included clone, 0 for others.
    pub(super) fitted: Vec<f64>,
    /// Shared level of each cell type; `None` where its clones do not determine it.
    pub(super) levels: Vec<Option<f64>>,
    /// Working sums of each stratum with a count.
    pub(super) sums: Vec<(usize, Sums)>,
    /// Log rate of the stratum's normal cells at no change of copy number, per clone, and each included
    /// clone's log rate relative to it without its levels, with its precision: the points that the slope
    /// goes through.
    pub(super) points: Vec<Option<Point>>,
    /// Slope and variance (in units of `variance`) of each patient, NaN where its clones do not
    /// determine one, and Cochran's Q of the slopes with its degrees of freedom.
    pub(super) slopes: Vec<(f64, f64)>,
    pub(super) q: (f64, f64),
}

/// A clone in the regression of one gene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Log rate relative to the stratum's at a copy ratio of 1, without the levels.
    pub(super) log_ratio: f64,
    /// Its precision: counting noise and dispersion.
    pub(super) weight: f64,
}

/// Variance of a slope beyond which a patient's clones do not determine one, a quarter of the prior's.
const UNDETERMINED: f64 = WIDE * WIDE / 4.0;

/// Fit a gene, starting from the prior mean of the slope. `None` where x does not vary within a stratum
/// beyond what the levels explain, or fewer than one degree of freedom is left.
pub(super) fn fit(gene: Gene<'_>, design: &Design<'_>, model: &Model) -> Option<Response> {
    let mut scoring = Scoring::new(gene, design, model);
    let magnitude: f64 = (0..gene.x.len())
        .map(|u| scoring.w[u] * gene.x[u] * gene.x[u])
        .sum();
    for _ in 0..STEPS {
        let told = |p: usize| scoring.system.information(p) > 1e-12 * magnitude;
        if !(0..design.n_slopes).any(told) {
            return None;
        }
        let wanted = scoring.system.solve().slopes;
        if scoring.step_towards(&wanted) < TOLERANCE {
            break;
        }
    }
    scoring.response(magnitude)
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
    slopes: Vec<f64>,
    /// Linear predictors without the offset.
    eta: Vec<f64>,
    /// Expected counts.
    mu: Vec<f64>,
    /// Weights of the working responses.
    w: Vec<f64>,
    /// Working responses without the offset.
    y: Vec<f64>,
    system: System<'a>,
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
        let nothing = vec![0.0; n];
        let mut out = Self {
            gene,
            design,
            model,
            included,
            n_strata: totals.iter().filter(|t| t.0 > 0.0).count(),
            slopes: vec![model.prior.0; design.n_slopes],
            eta,
            mu: nothing.clone(),
            w: nothing.clone(),
            y: nothing.clone(),
            system: System::new(gene.x, &nothing, &nothing, design, model),
        };
        out.weigh();
        out
    }

    /// Update expected counts, weights, working responses and their normal equations.
    fn weigh(&mut self) {
        for &u in &self.included {
            let mu = math::exp((self.eta[u] + self.design.offset[u]).clamp(-30.0, 30.0));
            self.mu[u] = mu;
            self.w[u] = 1.0 / (1.0 / mu + self.model.dispersion);
            self.y[u] = self.eta[u] + (self.gene.counts[u] - mu) / mu;
        }
        self.system = System::new(self.gene.x, &self.y, &self.w, self.design, self.model);
    }

    /// Slope, shared and own level of each stratum, given the slopes.
    fn effects(&self) -> Vec<(f64, f64, f64)> {
        let levels = self.system.levels(&self.slopes);
        (0..self.design.n_strata)
            .map(|s| {
                let slope = self.slopes[self.design.slope_of[s]];
                let level = self.design.level_of[s]
                    .and_then(|k| levels[k])
                    .unwrap_or(0.0);
                (slope, level, self.system.own_level(s, slope, level))
            })
            .collect()
    }

    /// Move the slopes towards `wanted`, and levels and strata with them. Returns the largest change of
    /// a linear predictor.
    fn step_towards(&mut self, wanted: &[f64]) -> f64 {
        for (slope, wanted) in self.slopes.iter_mut().zip(wanted) {
            *slope += (wanted - *slope).clamp(-LARGEST_STEP, LARGEST_STEP);
        }
        let effects = self.effects();
        let mut moved = 0.0f64;
        for &u in &self.included {
            let s = self.design.strata[u];
            let ((slope, level, own), m) = (effects[s], self.system.means[s]);
            let to = m.y
                + slope * (self.gene.x[u] - m.x)
                + (level + own) * (self.design.tumour[u] - m.z);
            moved = moved.max((to - self.eta[u]).abs());
            self.eta[u] = to;
        }
        self.weigh();
        moved
    }

    /// The fit at the current state; `None` where fewer than one degree of freedom is left for one
    /// slope.
    fn response(self, magnitude: f64) -> Option<Response> {
        let (system, model) = (&self.system, self.model);
        let solution = system.solve();
        let told = |p: usize| {
            system.information(p) > 1e-12 * magnitude && solution.variances[p] < UNDETERMINED
        };
        let n_told = (0..self.slopes.len()).filter(|&p| told(p)).count().max(1);
        let contrasts = self.included.len() as f64 - self.n_strata as f64 - n_told as f64;
        let df = contrasts - system.spent();
        if df < 1.0 - 1e-9 && self.slopes.len() == 1 {
            return None;
        }
        let (variance, variance_df) = self.variance(df, contrasts);
        let slopes = (0..self.slopes.len())
            .map(|p| {
                if told(p) {
                    (self.slopes[p], solution.variances[p])
                } else {
                    (f64::NAN, f64::NAN)
                }
            })
            .collect();
        let has_counts = |s: &usize| system.means[*s].w > 0.0;
        Some(Response {
            slope: self.slopes[0],
            sxx: 1.0 / solution.variances[0] - 1.0 / model.prior.1,
            df,
            contrasts,
            variance,
            variance_df,
            levels: system.levels(&self.slopes),
            sums: (0..self.design.n_strata)
                .filter(has_counts)
                .map(|s| (s, system.raw[s]))
                .collect(),
            points: self.points(),
            q: system.heterogeneity(&self.slopes, magnitude),
            slopes,
            fitted: self.mu,
        })
    }

    /// Residual variance and its degrees of freedom, as [`Response::variance`] says.
    fn variance(&self, df: f64, contrasts: f64) -> (f64, f64) {
        let pearson: f64 = self
            .included
            .iter()
            .map(|&u| self.w[u] * ((self.gene.counts[u] - self.mu[u]) / self.mu[u]).powi(2))
            .sum();
        if self.model.levels_are_fixed() {
            return (pearson / df, df);
        }
        let shared: f64 = self
            .system
            .levels(&self.slopes)
            .into_iter()
            .flatten()
            .map(|l| l * l / self.model.level_variance)
            .sum();
        let own: f64 = if self.model.patient_variance > 0.0 {
            let squares = self.effects().into_iter().map(|(.., own)| own * own);
            squares.sum::<f64>() / self.model.patient_variance
        } else {
            0.0
        };
        ((pearson + shared + own) / contrasts, contrasts)
    }

    /// Each clone's log rate without intercept and levels.
    fn points(&self) -> Vec<Option<Point>> {
        let effects = self.effects();
        let mut out = vec![None; self.eta.len()];
        for &u in &self.included {
            let s = self.design.strata[u];
            let ((slope, level, own), m) = (effects[s], self.system.means[s]);
            let intercept = m.y - slope * m.x - (level + own) * m.z;
            out[u] = Some(Point {
                log_ratio: self.y[u] - intercept - (level + own) * self.design.tumour[u],
                weight: self.w[u],
            });
        }
        out
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
