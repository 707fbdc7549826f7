//! What a slope is, given its estimate and those of all other genes: an empirical-Bayes mixture.
//!
//! In the manner of ashr (Stephens 2017): the slopes of the tested genes are draws from a prior that is
//! estimated from all of them, so a slope's posterior holds what its own clones say and how rare escape
//! is. The prior has two components:
//!
//! - the genome's own slopes: normal, with their mean and standard deviation;
//! - escape: normal around 0 with a standard deviation of [`ESCAPE_SD`].
//!
//! Weights, mean and standard deviation maximise the marginal likelihood (EM, with one gene's worth of
//! evidence added to the genome's component). An estimate is distributed around its slope as Student's t
//! with its degrees of freedom, written as a scale mixture of normal distributions ([`Scales`]), under
//! which every posterior is a sum of normal ones.
//!
//! **Wild estimates.** Some genes' clones differ for reasons that the standard error does not know: a tumour's
//! own level far beyond that of other genes, a copy number that is wrong there. Their estimates lie anywhere,
//! and those far below 0 would be taken for escape, which is the nearer of the two components. So a share of the
//! estimates errs by three times its standard error; the share is estimated with the rest, and is near 0 where
//! the errors are what they seem.
//!
//! Deviations from ashr: the main component is centred on the genome's mean, not 0, and normal, not a
//! mixture over a grid of widths; the likelihood's degrees of freedom differ between genes. A third
//! component between 0 and the mean (uniform) gains little power and costs false calls among few genes.
//!
//! **Claims.** `P(slope < .5)` is a posterior probability, so its complement, averaged over the genes
//! called, is the share expected to be false: `q` of a gene is that average over it and all genes with
//! a higher probability (Storey 2003; Newton et al. 2004). This holds as far as the prior's form and the
//! standard errors do.

use clcc_numerics::math;
use clcc_numerics::stats::normal_sf;

/// Standard deviation of the slopes of genes that escape: how far from 0 a gene may be that ignores its
/// copy number, in units of the typical gene's response.
pub const ESCAPE_SD: f64 = 0.1;
/// Tested genes from which the distribution of slopes can be estimated.
pub const LEAST_GENES: usize = 100;
/// Steps of EM at most, and change of a parameter at which it ends.
const STEPS: usize = 500;
const TOLERANCE: f64 = 1e-5;
/// Factor by which the error of a wild estimate exceeds its standard error.
const WILD: f64 = 3.0;
/// Smallest standard deviation of the genome's slopes.
const LEAST_SD: f64 = 0.02;

/// Estimate of a gene's slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The slope.
    pub slope: f64,
    /// Its standard error, above 0.
    pub se: f64,
    /// Degrees of freedom of the standard error; may be infinite.
    pub df: f64,
}

/// Student's t with `df` degrees of freedom as a mixture of normal distributions of standard deviations
/// `scale`: the reciprocal root of a gamma variate of mean 1 and shape df / 2, on a grid of its log.
#[derive(Debug, Clone)]
pub(super) struct Scales(Vec<(f64, f64)>);

impl Scales {
    /// Standard deviations and weights, which sum to 1. The trapezoid rule on a smooth density with
    /// both tails: relative error below 1e-3 out to 9 standard errors, for 2 degrees of freedom and more.
    pub(super) fn new(df: f64) -> Self {
        if df > 1e4 {
            return Self(vec![(1.0, 1.0)]);
        }
        let a = 0.5 * df;
        // ln of the variate: density exp(a (y - e^y)) up to a factor, widest below its mode 0. Steps of
        // three quarters of its standard deviation there.
        let step = 0.75 / a.sqrt();
        let nodes: Vec<(f64, f64)> = (-60..=8)
            .map(|i| {
                let y = step * f64::from(i);
                (math::exp(-0.5 * y), math::exp(a * (y - math::exp(y) + 1.0)))
            })
            .filter(|(_, w)| *w > 1e-9)
            .collect();
        let total: f64 = nodes.iter().map(|n| n.1).sum();
        Self(nodes.into_iter().map(|(s, w)| (s, w / total)).collect())
    }

    /// The same where a share of the estimates is wild: first the others' scales, then theirs.
    pub(super) fn with_wild(&self, share: f64) -> Self {
        let tame = self.iter().map(|(s, w)| (s, w * (1.0 - share)));
        let wild = self.iter().map(|(s, w)| (WILD * s, w * share));
        Self(tame.chain(wild).collect())
    }

    /// Scale and weight of each normal distribution.
    pub(super) fn iter(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.0.iter().copied()
    }
}

/// Prior of the slopes: escape, and the genome's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlopePrior {
    /// Share of genes that escape.
    pub escape: f64,
    /// Mean slope of the others.
    pub mean: f64,
    /// Standard deviation of the others.
    pub sd: f64,
    /// Share of estimates that err by three times their standard error.
    pub wild: f64,
}

/// Posterior of one slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlopePosterior {
    /// Mean.
    pub mean: f64,
    /// Probability that the slope is below the bound asked for.
    pub below: f64,
    /// Probability that it is below 0.
    pub negative: f64,
    /// Local false sign rate (Stephens 2017): the probability that it has the less likely sign.
    pub false_sign: f64,
    /// Probability of the escape component.
    pub escape: f64,
}

/// Normal part of a posterior: weight, mean, variance.
type Part = (f64, f64, f64);

impl SlopePrior {
    /// Fit the prior to tested genes. `None` with fewer than [`LEAST_GENES`], from which neither the share
    /// of escape nor the spread of the others can be told.
    pub fn fit(estimates: &[Estimate]) -> Option<Self> {
        if estimates.len() < LEAST_GENES {
            return None;
        }
        let scales: Vec<Scales> = estimates.iter().map(|e| Scales::new(e.df)).collect();
        let weight = |e: &Estimate| 1.0 / (e.se * e.se + 0.05);
        let total: f64 = estimates.iter().map(weight).sum();
        let mut prior = Self {
            escape: 0.05,
            mean: estimates.iter().map(|e| weight(e) * e.slope).sum::<f64>() / total,
            sd: 0.25,
            wild: 0.01,
        };
        for _ in 0..STEPS {
            let next = prior.step(estimates, &scales);
            let moved = (next.escape - prior.escape)
                .abs()
                .max((next.mean - prior.mean).abs())
                .max((next.sd - prior.sd).abs())
                .max((next.wild - prior.wild).abs());
            prior = next;
            if moved < TOLERANCE {
                break;
            }
        }
        Some(prior)
    }

    /// One step of EM: expected memberships and slopes, then the parameters they give.
    fn step(&self, estimates: &[Estimate], scales: &[Scales]) -> Self {
        // One gene's worth of evidence for the genome's component.
        let (mut n_escape, mut n_other) = (0.0, 1.0);
        let (mut w, mut sum, mut squares, mut wild) = (0.0, 0.0, 0.0, 0.0);
        for (e, scales) in estimates.iter().zip(scales) {
            let (parts, first_other) = self.parts(*e, &scales.with_wild(self.wild));
            let of_component = parts.chunks(first_other);
            wild += of_component
                .flat_map(|parts| &parts[first_other / 2..])
                .map(|p| p.0)
                .sum::<f64>();
            n_escape += parts[..first_other].iter().map(|p| p.0).sum::<f64>();
            for (weight, mean, variance) in &parts[first_other..] {
                n_other += weight;
                w += weight;
                sum += weight * mean;
                squares += weight * (mean * mean + variance);
            }
        }
        let mean = sum / w;
        Self {
            escape: n_escape / (n_escape + n_other),
            mean,
            sd: (squares / w - mean * mean).max(0.0).sqrt().max(LEAST_SD),
            wild: wild / (n_escape + n_other),
        }
    }

    /// Normal parts of a posterior, weights summing to 1: first those of escape, then, from the position
    /// that is also returned, the genome's own.
    fn parts(&self, e: Estimate, scales: &Scales) -> (Vec<Part>, usize) {
        let components = [
            (self.escape, 0.0, ESCAPE_SD),
            (1.0 - self.escape, self.mean, self.sd),
        ];
        // The exponent that is largest, so that not all weights underflow.
        let exponent = |mean: f64, sd: f64, scale: f64| {
            -0.5 * (e.slope - mean).powi(2) / ((e.se * scale).powi(2) + sd * sd)
        };
        let top = components
            .iter()
            .flat_map(|&(_, mean, sd)| scales.iter().map(move |(s, _)| exponent(mean, sd, s)))
            .fold(f64::NEG_INFINITY, f64::max);
        let mut parts: Vec<Part> = Vec::with_capacity(2 * scales.0.len());
        for (share, mean, sd) in components {
            for (scale, weight) in scales.iter() {
                let (noise, own) = ((e.se * scale).powi(2), sd * sd);
                let both = noise + own;
                let likelihood = math::exp(exponent(mean, sd, scale) - top) / both.sqrt();
                let posterior = (mean * noise + e.slope * own) / both;
                parts.push((share * weight * likelihood, posterior, own * noise / both));
            }
        }
        let total: f64 = parts.iter().map(|p| p.0).sum();
        if total > 0.0 {
            parts.iter_mut().for_each(|p| p.0 /= total);
        }
        let half = parts.len() / 2;
        (parts, half)
    }

    /// Posterior of a slope; `below` is that of a slope under `bound`.
    pub fn posterior(&self, e: Estimate, bound: f64) -> SlopePosterior {
        let scales = Scales::new(e.df).with_wild(self.wild);
        let (parts, first_other) = self.parts(e, &scales);
        let under = |bound: f64| -> f64 {
            parts
                .iter()
                .map(|(w, mean, variance)| w * normal_sf((mean - bound) / variance.sqrt()))
                .sum::<f64>()
                .min(1.0)
        };
        let negative = under(0.0);
        SlopePosterior {
            mean: parts.iter().map(|p| p.0 * p.1).sum(),
            below: under(bound),
            negative,
            false_sign: negative.min(1.0 - negative),
            escape: parts[..first_other].iter().map(|p| p.0).sum(),
        }
    }
}

/// Cumulative posterior error of claims with these probabilities: for each, the mean of `1 - p` over it
/// and all with a probability as high or higher. NaN is left out and stays NaN.
///
/// ```
/// use clcc_dosage::dosage::posterior::posterior_q;
///
/// // Of two genes with probabilities of .75 and 1, an eighth is expected to be called falsely.
/// assert_eq!(posterior_q(&[0.75, 1.0, 0.5]), [0.125, 0.0, 0.25]);
/// ```
pub fn posterior_q(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len())
        .filter(|&i| !probabilities[i].is_nan())
        .collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let mut out = vec![f64::NAN; probabilities.len()];
    let (mut error, mut start) = (0.0, 0);
    while start < order.len() {
        let p = probabilities[order[start]];
        let tied = order[start..]
            .iter()
            .take_while(|&&i| probabilities[i] == p)
            .count();
        error += tied as f64 * (1.0 - p);
        let q = error / (start + tied) as f64;
        order[start..start + tied].iter().for_each(|&i| out[i] = q);
        start += tied;
    }
    out
}

#[cfg(test)]
mod tests;
