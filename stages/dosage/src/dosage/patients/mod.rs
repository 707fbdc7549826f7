//! Slopes of the patients: which of them a gene escapes in.
//!
//! A gene's patients need not share a slope: an enhancer lost, or a locus silenced, in two tumours of ten
//! leaves the slope of all patients together near the genome's mean. So each patient's slope is
//! estimated (`response`), its heterogeneity tested (Cochran 1954), and all of a gene's slopes are read
//! together, in the manner of mashr (Urbut et al. 2019) with patterns that mean something here. A gene
//!
//! - **follows** its copy number in all patients, with one slope from the genome's distribution;
//! - **escapes** in all;
//! - or is **mixed**: each patient escapes with probability [`MIXED_SHARE`], the others share a slope.
//!
//! Patients' slopes scatter by [`BETWEEN`] around these. The shares of the three kinds are estimated from
//! all tested genes, the genome's distribution is that of [`SlopePrior`]. A patient's slope thus borrows
//! from the gene's other patients, and from how often genes are mixed at all.
//!
//! Deviation: the slopes' errors are taken as independent between patients; the shared tumour level, which
//! is estimated from all, correlates them slightly. Cochran's Q takes account of it.

use rayon::prelude::*;

use super::posterior::{ESCAPE_SD, Scales, SlopePrior};
use clcc_numerics::math::{self, chi_squared_sf};
use clcc_numerics::stats::normal_sf;

/// Share of the patients in which a mixed gene escapes.
pub const MIXED_SHARE: f64 = 0.3;
/// Standard deviation of patients' slopes around their gene's.
pub const BETWEEN: f64 = 0.1;
/// Nodes of the integral over a gene's slope, on each side of the genome's mean, and their distance in
/// standard deviations.
const NODES: i32 = 14;
const NODE_STEP: f64 = 0.25;
/// Steps of EM, and change of a share at which it ends.
const STEPS: usize = 1000;
const TOLERANCE: f64 = 1e-6;

/// A patient's slope of one gene; NaN where its clones do not determine it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatientSlope {
    /// Estimate.
    pub slope: f64,
    /// Standard error.
    pub se: f64,
    /// Posterior probability that the slope is below the bound asked for.
    pub below: f64,
    /// Cumulative posterior error of the claim, over all tested genes' patients.
    pub q: f64,
}

/// A gene's slopes before they are read together.
#[derive(Debug, Clone)]
pub(super) struct PatientEstimates {
    /// Slope and standard error, per patient; NaN where unknown.
    pub(super) slopes: Vec<(f64, f64)>,
    /// Degrees of freedom of the standard errors.
    pub(super) df: f64,
}

/// Test of equal slopes: Cochran's `q` in units of the variance that was estimated with `variance_df`
/// degrees of freedom, so an F test.
pub(super) fn heterogeneity_p(q: f64, df: f64, variance_df: f64) -> f64 {
    if df < 1.0 || q.is_nan() {
        return f64::NAN;
    }
    Scales::new(variance_df)
        .iter()
        .map(|(scale, weight)| weight * chi_squared_sf(q / (scale * scale), df))
        .sum()
}

/// Shares of genes that follow, are mixed, and escape.
pub(super) type Shares = [f64; 3];

/// Likelihoods of a gene's kinds (up to one factor), and under each the probability that a patient's
/// slope is below the bound.
struct Kinds {
    likelihood: Shares,
    below: Vec<Shares>,
}

/// Fit the shares of the kinds and the posterior of every patient's slope, `[gene][patient]`: the
/// probability that it is below `bound`, NaN where the patient has no slope. A gene with fewer than two
/// slopes is read alike, but has no part in the shares.
pub(super) fn posteriors(
    genes: &[PatientEstimates],
    prior: &SlopePrior,
    bound: f64,
) -> (Vec<Vec<f64>>, Shares) {
    let kinds: Vec<Kinds> = genes
        .par_iter()
        .map(|g| Kinds::new(g, prior, bound))
        .collect();
    let several: Vec<&Kinds> = genes
        .iter()
        .zip(&kinds)
        .filter(|(g, _)| g.slopes.iter().filter(|s| s.0.is_finite()).count() > 1)
        .map(|(_, k)| k)
        .collect();
    let mut shares: Shares = [
        1.0 - prior.escape - 0.5 * prior.escape,
        0.5 * prior.escape,
        prior.escape,
    ];
    for _ in 0..STEPS {
        // One gene's worth of evidence for those that follow.
        let mut sums = [1.0, 0.0, 0.0];
        for kind in &several {
            let p = kind.posterior(&shares);
            (0..3).for_each(|k| sums[k] += p[k]);
        }
        let total: f64 = sums.iter().sum();
        let next = sums.map(|s| s / total);
        let moved = (0..3).fold(0.0f64, |m, k| m.max((next[k] - shares[k]).abs()));
        shares = next;
        if moved < TOLERANCE {
            break;
        }
    }
    let below = kinds
        .iter()
        .map(|kind| {
            let p = kind.posterior(&shares);
            let of = |b: &Shares| (0..3).map(|k| p[k] * b[k]).sum::<f64>().clamp(0.0, 1.0);
            kind.below.iter().map(of).collect()
        })
        .collect();
    (below, shares)
}

/// A patient under one scale of its standard error.
struct Patient {
    slope: f64,
    /// Variance of the estimate.
    noise: f64,
    /// Density under escape, and the probability below the bound there.
    escape: (f64, f64),
}

impl Patient {
    fn new((slope, se): (f64, f64), scale: f64, bound: f64) -> Self {
        let noise = (se * scale).powi(2);
        let mut out = Self {
            slope,
            noise,
            escape: (0.0, 0.0),
        };
        out.escape = out.around(0.0, ESCAPE_SD, bound);
        out
    }

    /// Density of the estimate where the patient's slope is normal around `mean`, and the probability
    /// that this slope is below `bound`.
    fn around(&self, mean: f64, sd: f64, bound: f64) -> (f64, f64) {
        let (own, both) = (sd * sd, sd * sd + self.noise);
        let density = math::exp(-0.5 * (self.slope - mean).powi(2) / both) / both.sqrt();
        let centre = (mean * self.noise + self.slope * own) / both;
        let spread = (own * self.noise / both).sqrt();
        (density, normal_sf((centre - bound) / spread))
    }
}

impl Kinds {
    fn new(gene: &PatientEstimates, prior: &SlopePrior, bound: f64) -> Self {
        let known: Vec<usize> = (0..gene.slopes.len())
            .filter(|&p| gene.slopes[p].0.is_finite())
            .collect();
        let mut likelihood = [0.0; 3];
        // Sums of likelihood times the probability below the bound.
        let mut sums = vec![[0.0; 3]; gene.slopes.len()];
        for (scale, weight) in Scales::new(gene.df).with_wild(prior.wild).iter() {
            let patients: Vec<Patient> = known
                .iter()
                .map(|&p| Patient::new(gene.slopes[p], scale, bound))
                .collect();
            let all: f64 = patients.iter().map(|p| p.escape.0).product();
            likelihood[2] += weight * all;
            for (patient, &p) in patients.iter().zip(&known) {
                sums[p][2] += weight * all * patient.escape.1;
            }
            for i in -NODES..=NODES {
                let z = NODE_STEP * f64::from(i);
                let slope = prior.mean + prior.sd * z;
                let node = weight * NODE_STEP * math::exp(-0.5 * z * z) / ROOT_TAU;
                add_node(
                    &patients,
                    &known,
                    slope,
                    node,
                    bound,
                    &mut likelihood,
                    &mut sums,
                );
            }
        }
        let below = gene
            .slopes
            .iter()
            .zip(sums)
            .map(|(s, sums)| {
                let mut out = [f64::NAN; 3];
                for k in (0..3).filter(|_| s.0.is_finite()) {
                    out[k] = if likelihood[k] > 0.0 {
                        sums[k] / likelihood[k]
                    } else {
                        0.0
                    };
                }
                out
            })
            .collect();
        Self { likelihood, below }
    }

    /// Probabilities of the kinds.
    fn posterior(&self, shares: &Shares) -> Shares {
        let mut out = [0, 1, 2].map(|k| shares[k] * self.likelihood[k]);
        let total: f64 = out.iter().sum();
        if total > 0.0 {
            out.iter_mut().for_each(|p| *p /= total);
        } else {
            out = *shares;
        }
        out
    }
}

const ROOT_TAU: f64 = 2.506_628_274_631_000_5;

/// Add what the kinds that follow and are mixed say where the gene's slope is `slope`.
fn add_node(
    patients: &[Patient],
    known: &[usize],
    slope: f64,
    weight: f64,
    bound: f64,
    likelihood: &mut Shares,
    sums: &mut [Shares],
) {
    let follow: Vec<(f64, f64)> = patients
        .iter()
        .map(|p| p.around(slope, BETWEEN, bound))
        .collect();
    let mixed: Vec<f64> = patients
        .iter()
        .zip(&follow)
        .map(|(p, f)| (1.0 - MIXED_SHARE) * f.0 + MIXED_SHARE * p.escape.0)
        .collect();
    let all = weight * follow.iter().map(|f| f.0).product::<f64>();
    let each = weight * mixed.iter().product::<f64>();
    likelihood[0] += all;
    likelihood[1] += each;
    for (i, &p) in known.iter().enumerate() {
        sums[p][0] += all * follow[i].1;
        if mixed[i] > 0.0 {
            let escape = MIXED_SHARE * patients[i].escape.0 / mixed[i];
            sums[p][1] += each * (escape * patients[i].escape.1 + (1.0 - escape) * follow[i].1);
        }
    }
}

#[cfg(test)]
mod tests;
