//! Variances of many genes, each drawn towards what the genes have in common.

use statrs::function::gamma::digamma;

/// The common variance and how many degrees of freedom it is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VariancePrior {
    /// The variance that genes are drawn towards; NaN without genes.
    pub variance: f64,
    /// Its weight; infinite where the variances differ no more than their estimation explains,
    /// 0 where no prior could be fitted.
    pub df: f64,
}

impl VariancePrior {
    /// Fits a scaled F distribution to variances with `df` degrees of freedom each (Smyth 2004,
    /// section 6.2; limma's `fitFDist` with one `df`, here its mean). Variances that are not
    /// positive and finite are left out; with fewer than three the prior has no weight.
    pub fn fit(variances: &[f64], df: &[f64]) -> Self {
        let usable: Vec<(f64, f64)> = variances
            .iter()
            .zip(df)
            .filter(|(v, d)| **v > 0.0 && v.is_finite() && **d > 0.0)
            .map(|(v, d)| (*v, *d))
            .collect();
        if usable.len() < 3 {
            return Self {
                variance: f64::NAN,
                df: 0.0,
            };
        }
        let n = usable.len() as f64;
        let e: Vec<f64> = usable
            .iter()
            .map(|(v, d)| v.ln() - digamma(d / 2.0) + (d / 2.0).ln())
            .collect();
        let mean = e.iter().sum::<f64>() / n;
        let expected = usable.iter().map(|(_, d)| trigamma(d / 2.0)).sum::<f64>() / n;
        let excess = e.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) - expected;
        if excess <= 0.0 {
            return Self {
                variance: mean.exp(),
                df: f64::INFINITY,
            };
        }
        let half = trigamma_inverse(excess);
        Self {
            variance: (mean + digamma(half) - half.ln()).exp(),
            df: 2.0 * half,
        }
    }

    /// The variance of a gene and its degrees of freedom with the prior's share added.
    pub fn moderate(&self, variance: f64, df: f64) -> (f64, f64) {
        if self.df == 0.0 {
            (variance, df)
        } else if self.df.is_infinite() {
            (self.variance, f64::INFINITY)
        } else {
            (
                (self.df * self.variance + df * variance) / (self.df + df),
                self.df + df,
            )
        }
    }
}

/// The derivative of digamma, by recurrence up to 20 and the asymptotic series (Abramowitz and
/// Stegun 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 20.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    sum + 1.0 / x + 0.5 * r + r / x * (1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r / 30.0)))
}

fn trigamma_inverse(y: f64) -> f64 {
    // trigamma falls; bisection on a log scale.
    let (mut lo, mut hi) = (1e-8_f64, 1e8_f64);
    for _ in 0..200 {
        let mid = (lo * hi).sqrt();
        if trigamma(mid) > y {
            lo = mid
        } else {
            hi = mid
        }
    }
    (lo * hi).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn trigamma_at_known_points() {
        let pi2 = std::f64::consts::PI.powi(2);
        assert!((trigamma(1.0) - pi2 / 6.0).abs() < 1e-13);
        assert!((trigamma(0.5) - pi2 / 2.0).abs() < 1e-13);
        assert!((trigamma_inverse(trigamma(3.7)) - 3.7).abs() < 1e-9);
    }

    #[test]
    fn the_prior_that_drew_the_variances_is_found() {
        // sigma^2 = d0 s0^2 / chi2(d0), s^2 = sigma^2 chi2(d) / d, with d0 = 6, s0^2 = 0.3, d = 5.
        let mut rng = Rng::new(3, "prior", &[]);
        let mut chi2 = |df: f64| 2.0 * rng.gamma(df / 2.0);
        let s2: Vec<f64> = (0..20_000)
            .map(|_| 6.0 * 0.3 / chi2(6.0) * chi2(5.0) / 5.0)
            .collect();
        let prior = VariancePrior::fit(&s2, &vec![5.0; s2.len()]);
        assert!(
            (prior.variance / 0.3 - 1.0).abs() < 0.05 && (prior.df / 6.0 - 1.0).abs() < 0.1,
            "{prior:?}"
        );
        let (v, d) = prior.moderate(1.0, 5.0);
        assert!(
            (v - (prior.df * prior.variance + 5.0) / (prior.df + 5.0)).abs() < 1e-12
                && d == prior.df + 5.0
        );
        // Equal variances need no spread of their own.
        let same: Vec<f64> = (0..500).map(|_| chi2(5.0) / 5.0).collect();
        assert!(VariancePrior::fit(&same, &vec![5.0; 500]).df > 30.0);
    }
}
