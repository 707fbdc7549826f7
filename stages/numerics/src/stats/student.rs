//! Student's t: tails and their logarithm, quantiles, and the two-sample tests.

use crate::math::ln_gamma;

use super::{PValue, mean, variance};
use crate::math;

/// Result of a t test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// The statistic; NaN where undefined.
    pub t: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Two-sided p-value.
    pub p: PValue,
    /// The difference of means that is tested (first minus second).
    pub difference: f64,
    /// Its standard error.
    pub se: f64,
}

impl TTest {
    /// From a difference, its standard error and degrees of freedom.
    pub fn new(difference: f64, se: f64, df: f64) -> Self {
        // No spread at all: 0/0 is undefined, and a difference without spread is infinite.
        let t = difference / se;
        Self {
            t,
            df,
            p: two_sided_t(t, df),
            difference,
            se,
        }
    }
}

/// ln Gamma(a + 1/2) - ln Gamma(a), without the cancellation of two large logarithms.
fn ln_gamma_half_step(a: f64) -> f64 {
    if a < 40.0 {
        return ln_gamma(a + 0.5) - ln_gamma(a);
    }
    let r = 1.0 / (a * a);
    0.5 * math::ln(a) - (1.0 / 8.0 - r * (1.0 / 192.0 - r * (1.0 / 640.0 - r * 17.0 / 14336.0))) / a
}

/// The two-sided p-value of `t` with `df` degrees of freedom:
/// `I_x(df/2, 1/2)` with `x = df/(df + t^2)`, the regularised incomplete beta function.
///
/// Its logarithm comes from the continued fraction (Lentz's method, Press et al. 2007, 6.4) and
/// holds where the probability underflows. NaN where `t` or `df` is NaN or `df <= 0`; an infinite
/// `t` has p = 0, an infinite `df` is the normal distribution.
pub fn two_sided_t(t: f64, df: f64) -> PValue {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return PValue::UNDEFINED;
    }
    if t.is_infinite() {
        return PValue {
            p: 0.0,
            log10: f64::NEG_INFINITY,
        };
    }
    if t == 0.0 {
        return PValue { p: 1.0, log10: 0.0 };
    }
    if df.is_infinite() {
        return super::two_sided_normal(t);
    }
    let a = 0.5 * df;
    let t2 = t * t;
    let (x, y) = (df / (df + t2), t2 / (df + t2));
    // x^a y^(1/2) / B(a, 1/2)
    let ln_front = -a * math::ln_1p(t2 / df) + 0.5 * math::ln(y) + ln_gamma_half_step(a)
        - 0.5 * math::ln(std::f64::consts::PI);
    if x < (a + 1.0) / (a + 2.5) {
        PValue::from_ln(ln_front - math::ln(a) + math::ln(beta_fraction(a, 0.5, x)))
    } else {
        let p = 1.0 - math::exp(ln_front) * beta_fraction(0.5, a, y) / 0.5;
        PValue {
            p,
            log10: math::log10(p),
        }
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let keep = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        let change = d * c;
        h *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

/// The t that leaves probability `alpha` outside `[-t, t]` (for a `1 - alpha` interval).
/// `alpha` in (0, 1). By bisection of [`two_sided_t`], exact to rounding.
pub fn t_quantile(alpha: f64, df: f64) -> f64 {
    debug_assert!(alpha > 0.0 && alpha < 1.0);
    if df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    let (mut lo, mut hi) = (0.0, 1.0);
    while two_sided_t(hi, df).p > alpha {
        hi *= 2.0;
    }
    for _ in 0..200 {
        let mid = 0.5 * (lo + hi);
        if mid <= lo || mid >= hi {
            break;
        }
        if two_sided_t(mid, df).p > alpha {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    0.5 * (lo + hi)
}

/// Welch's t test of the means of two samples (`scipy.stats.ttest_ind(equal_var=False)`).
/// Undefined (NaN) with fewer than two values in either.
pub fn welch_t(a: &[f64], b: &[f64]) -> TTest {
    let (na, nb) = (a.len() as f64, b.len() as f64);
    if a.len() < 2 || b.len() < 2 {
        return TTest {
            t: f64::NAN,
            df: f64::NAN,
            p: PValue::UNDEFINED,
            difference: mean(a) - mean(b),
            se: f64::NAN,
        };
    }
    let (va, vb) = (variance(a, 1) / na, variance(b, 1) / nb);
    let df = (va + vb).powi(2) / (va * va / (na - 1.0) + vb * vb / (nb - 1.0));
    TTest::new(mean(a) - mean(b), (va + vb).sqrt(), df)
}

/// The paired t test (`scipy.stats.ttest_rel`): are the differences `a[i] - b[i]` 0 on average?
/// Degrees of freedom: pairs - 1. Undefined with fewer than two pairs.
///
/// # Panics
/// Where the samples differ in length.
pub fn paired_t(a: &[f64], b: &[f64]) -> TTest {
    assert_eq!(a.len(), b.len(), "pairs have two members");
    let differences: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    let n = differences.len() as f64;
    if differences.len() < 2 {
        return TTest {
            t: f64::NAN,
            df: n - 1.0,
            p: PValue::UNDEFINED,
            difference: mean(&differences),
            se: f64::NAN,
        };
    }
    TTest::new(
        mean(&differences),
        (variance(&differences, 1) / n).sqrt(),
        n - 1.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for t in [0.01_f64, 0.3, 1.0, 2.5, 40.0, 1e4] {
            // Cauchy: p = 1 - 2 atan(t)/pi = 2 atan(1/t)/pi; df = 2: p = 1 - t/sqrt(2 + t^2).
            let cauchy = 2.0 / std::f64::consts::PI * (1.0 / t).atan();
            assert!((two_sided_t(t, 1.0).p / cauchy - 1.0).abs() < 1e-12, "{t}");
            let s = (2.0 + t * t).sqrt();
            let two = 2.0 / (s * (s + t));
            assert!((two_sided_t(t, 2.0).p / two - 1.0).abs() < 1e-12, "{t}");
        }
    }

    #[test]
    fn quantile_is_the_inverse() {
        // Table value: t(0.975, 10) = 2.2281388520.
        assert!((t_quantile(0.05, 10.0) - 2.228_138_852_0).abs() < 1e-9);
        assert!((two_sided_t(t_quantile(0.01, 3.5), 3.5).p - 0.01).abs() < 1e-14);
    }

    #[test]
    fn no_spread_and_too_few_are_undefined() {
        assert!(paired_t(&[1.0, 2.0], &[1.0, 2.0]).p.p.is_nan());
        assert!(paired_t(&[1.0], &[0.0]).p.p.is_nan());
        assert!(welch_t(&[1.0], &[0.0, 1.0]).p.p.is_nan());
    }
}
