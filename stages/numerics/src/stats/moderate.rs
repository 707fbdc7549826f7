//! Variances of many genes, each shrunk towards a common variance.

use crate::math;
use crate::math::digamma;

/// Prior of the variances: a common variance and its degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VariancePrior {
    /// Variance that genes are shrunk towards; NaN without genes.
    pub variance: f64,
    /// Degrees of freedom of the prior, its weight; infinite where the variances differ no more than
    /// their estimation explains, 0 where no prior could be fitted.
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
            .map(|(v, d)| math::ln(*v) - digamma(d / 2.0) + math::ln(d / 2.0))
            .collect();
        let mean = e.iter().sum::<f64>() / n;
        let expected = usable.iter().map(|(_, d)| trigamma(d / 2.0)).sum::<f64>() / n;
        let excess = e.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) - expected;
        if excess <= 0.0 {
            return Self {
                variance: math::exp(mean),
                df: f64::INFINITY,
            };
        }
        let half = trigamma_inverse(excess);
        Self {
            variance: math::exp(mean + digamma(half) - math::ln(half)),
            df: 2.0 * half,
        }
    }

    /// The same with a prior variance that follows `covariate` (mean log expression): log variances are
    /// regressed on a natural cubic spline with four degrees of freedom, knots at the thirds (limma's
    /// `fitFDist` with a covariate, Sartor et al. 2006). One prior per gene, all of the same weight.
    /// With fewer than 30 usable variances, or a covariate that hardly varies, all have
    /// [`VariancePrior::fit`]'s.
    pub fn fit_along(variances: &[f64], df: f64, covariate: &[f64]) -> Vec<Self> {
        let usable: Vec<usize> = (0..variances.len())
            .filter(|&g| variances[g] > 0.0 && variances[g].is_finite())
            .collect();
        let spline = Spline::new(&usable.iter().map(|&g| covariate[g]).collect::<Vec<_>>());
        let e: Vec<f64> = usable
            .iter()
            .map(|&g| math::ln(variances[g]) - digamma(df / 2.0) + math::ln(df / 2.0))
            .collect();
        let fitted = spline.filter(|_| usable.len() >= 30).and_then(|s| {
            let weights = s.regress(usable.iter().map(|&g| covariate[g]), &e)?;
            Some((s, weights))
        });
        let Some((spline, weights)) = fitted else {
            return vec![Self::fit(variances, &vec![df; variances.len()]); variances.len()];
        };
        let residual: f64 = usable
            .iter()
            .zip(&e)
            .map(|(&g, e)| (e - spline.value(covariate[g], &weights)).powi(2))
            .sum();
        let excess = residual / (usable.len() - SPLINE) as f64 - trigamma(df / 2.0);
        let (shift, prior_df) = if excess <= 0.0 {
            (0.0, f64::INFINITY)
        } else {
            let half = trigamma_inverse(excess);
            (digamma(half) - math::ln(half), 2.0 * half)
        };
        covariate
            .iter()
            .map(|&x| Self {
                variance: math::exp(spline.value(x, &weights) + shift),
                df: prior_df,
            })
            .collect()
    }

    /// Moderate the variance of a gene; returns it with its degrees of freedom, including the prior's.
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

/// Degrees of freedom of the spline.
const SPLINE: usize = 4;

/// A natural cubic spline on four knots: both ends of the covariate and its thirds.
struct Spline {
    knots: [f64; SPLINE],
}

impl Spline {
    /// `None` where the knots are not apart.
    fn new(x: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = x.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&lo, &hi) = (sorted.first()?, sorted.last()?);
        let third = |q: f64| crate::stats::quantile_sorted(&sorted, q);
        let knots = [lo, third(1.0 / 3.0), third(2.0 / 3.0), hi];
        knots
            .windows(2)
            .all(|k| k[1] - k[0] > 1e-9 * (hi - lo))
            .then_some(Self { knots })
    }

    /// The basis at `x` (Hastie, Tibshirani and Friedman 2009, equations 5.4 and 5.5), on the range
    /// scaled to 1; linear beyond the ends.
    fn basis(&self, x: f64) -> [f64; SPLINE] {
        let [lo, _, _, hi] = self.knots;
        let u = |v: f64| (v - lo) / (hi - lo);
        let x = u(x);
        let cube = |k: usize| (x - u(self.knots[k])).max(0.0).powi(3);
        let d = |k: usize| (cube(k) - cube(3)) / (1.0 - u(self.knots[k]));
        [1.0, x, d(0) - d(2), d(1) - d(2)]
    }

    fn value(&self, x: f64, weights: &[f64; SPLINE]) -> f64 {
        self.basis(x).iter().zip(weights).map(|(b, w)| b * w).sum()
    }

    /// Least squares of `y` on the basis.
    fn regress(&self, x: impl Iterator<Item = f64>, y: &[f64]) -> Option<[f64; SPLINE]> {
        let mut a = [[0.0; SPLINE + 1]; SPLINE];
        for (x, y) in x.zip(y) {
            let b = self.basis(x);
            for i in 0..SPLINE {
                for j in 0..SPLINE {
                    a[i][j] += b[i] * b[j];
                }
                a[i][SPLINE] += b[i] * y;
            }
        }
        // Gauss-Jordan with the largest pivot.
        for i in 0..SPLINE {
            let pivot = (i..SPLINE).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs()))?;
            a.swap(i, pivot);
            if a[i][i].abs() < 1e-12 {
                return None;
            }
            for r in (0..SPLINE).filter(|&r| r != i) {
                let f = a[r][i] / a[i][i];
                for c in 0..=SPLINE {
                    a[r][c] -= f * a[i][c];
                }
            }
        }
        Some(std::array::from_fn(|i| a[i][SPLINE] / a[i][i]))
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
        // A variance that falls with expression is followed; without a trend the two fits agree.
        let x: Vec<f64> = (0..s2.len()).map(|i| (i % 100) as f64 / 10.0).collect();
        let falling: Vec<f64> = s2
            .iter()
            .zip(&x)
            .map(|(v, x)| v * (-0.3 * x).exp())
            .collect();
        let along = VariancePrior::fit_along(&falling, 5.0, &x);
        for i in [3, 47, 95] {
            let wanted = 0.3 * (-0.3 * x[i]).exp();
            assert!(
                (along[i].variance / wanted - 1.0).abs() < 0.1
                    && (along[i].df / 6.0 - 1.0).abs() < 0.1,
                "{:?} {wanted}",
                along[i]
            );
        }
        let flat = VariancePrior::fit_along(&s2, 5.0, &x);
        assert!((flat[50].variance / prior.variance - 1.0).abs() < 0.05);
        let few = VariancePrior::fit_along(&s2[..20], 5.0, &x[..20]);
        assert_eq!(few[3], VariancePrior::fit(&s2[..20], &[5.0; 20]));
        // Equal variances need no spread of their own.
        let same: Vec<f64> = (0..500).map(|_| chi2(5.0) / 5.0).collect();
        assert!(VariancePrior::fit(&same, &vec![5.0; 500]).df > 30.0);
    }
}
