//! The gamma function and functions based on it.

use super::{exp, ln};

/// Logarithm of the absolute value of the gamma function (`libm::lgamma`, 2 ulp).
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Derivative of [`ln_gamma`] for `x` above 0; NaN otherwise. By the recurrence up to 10 and the asymptotic
/// series from there (Abramowitz and Stegun 6.3.5 and 6.3.18), whose first term left out is below
/// 1e-16.
pub fn digamma(x: f64) -> f64 {
    /// B(2k) / 2k for k = 1, 2, ...
    const TERMS: [f64; 7] = [
        1.0 / 12.0,
        -1.0 / 120.0,
        1.0 / 252.0,
        -1.0 / 240.0,
        1.0 / 132.0,
        -691.0 / 32_760.0,
        1.0 / 12.0,
    ];
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let (mut x, mut below) = (x, 0.0);
    while x < 10.0 {
        below += 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = TERMS
        .iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) * inverse);
    ln(x) - 0.5 / x - series - below
}

/// Probability that a chi-squared variable with `df` degrees of freedom is above `x`: the regularised upper
/// incomplete gamma function Q(df / 2, x / 2), by its series below the mean and Lentz's continued
/// fraction above (Numerical Recipes 6.2). NaN where `df` is not above 0 or `x` is NaN.
pub fn chi_squared_sf(x: f64, df: f64) -> f64 {
    if df.is_nan() || df <= 0.0 || x.is_nan() {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    let (a, x) = (0.5 * df, 0.5 * x);
    let front = exp(a * ln(x) - x - ln_gamma(a));
    if x < a + 1.0 {
        1.0 - front * lower_series(a, x)
    } else {
        front * upper_fraction(a, x)
    }
}

/// Sum of x^n / (a (a + 1) ... (a + n)).
fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
    while term > sum * f64::EPSILON {
        n += 1.0;
        term *= x / n;
        sum += term;
    }
    sum
}

/// 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)).
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const MOST: usize = 10_000;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut value = d;
    for i in 1..MOST {
        let step = -(i as f64) * (i as f64 - a);
        b += 2.0;
        let mut next = step * d + b;
        if next.abs() < TINY {
            next = TINY;
        }
        d = 1.0 / next;
        c = b + step / c;
        if c.abs() < TINY {
            c = TINY;
        }
        value *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    #[test]
    fn digamma_has_its_known_values_and_recurrence() {
        // -gamma and -gamma - 2 ln 2 (Abramowitz and Stegun 6.3.2 and 6.3.3).
        assert!((digamma(1.0) + 0.577_215_664_901_532_9).abs() < 1e-15);
        assert!((digamma(0.5) + 1.963_510_026_021_423_5).abs() < 4e-15);
        for i in 1..400 {
            let x = f64::from(i) * 0.11;
            let ours = digamma(x + 1.0) - digamma(x);
            assert!((ours - 1.0 / x).abs() < 1e-14 / x.min(1.0), "{x}");
            assert!(
                (digamma(x) - statrs::function::gamma::digamma(x)).abs() < 1e-11,
                "{x}"
            );
        }
        assert!(digamma(0.0).is_nan());
    }

    #[test]
    fn chi_squared_tail_agrees_with_statrs_and_with_the_exponential() {
        for df in [1.0, 2.0, 3.0, 10.0, 57.5, 400.0] {
            let peer = ChiSquared::new(df).unwrap();
            for i in 0..200 {
                let x = df * f64::from(i) * 0.03;
                let (ours, theirs) = (chi_squared_sf(x, df), peer.sf(x));
                let error = (ours - theirs).abs();
                assert!(
                    error < 1e-10 * theirs.max(1e-12) + 1e-13,
                    "{df} {x}: {ours} {theirs}"
                );
            }
        }
        for x in [0.1, 3.0, 80.0, 1400.0] {
            let exact = exp(-0.5 * x);
            assert!((chi_squared_sf(x, 2.0) / exact - 1.0).abs() < 1e-13, "{x}");
        }
        assert!(chi_squared_sf(1.0, 0.0).is_nan());
        assert_eq!(chi_squared_sf(-1.0, 2.0), 1.0);
    }
}
