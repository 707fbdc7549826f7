//! Upper tail of the normal distribution, and its logarithm as far out as f64 goes.
//!
//! Own code because `statrs` 0.19's `erfc` is right to 11 digits only, and has no logarithm.

use super::PValue;
use crate::math;

const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_7;
/// From here on the continued fraction is used; 80 levels of it are exact to rounding.
const FAR: f64 = 2.0;

/// P(Z > z) of a standard normal Z, to a relative error near 1e-14.
///
/// Within 2 of the middle by the series `1/2 - pdf(z) (z + z^3/3 + z^5/(3 5) + ...)` (Abramowitz
/// and Stegun 26.2.11), whose terms all have one sign; beyond by the continued fraction of
/// [`normal_ln_sf`].
pub fn normal_sf(z: f64) -> f64 {
    if z < -FAR {
        return 1.0 - normal_sf(-z);
    }
    if z >= FAR {
        return normal_density(z) / continued_fraction(z);
    }
    let (mut term, mut sum, mut k) = (z, z, 1.0);
    while f64::abs(term) > 1e-17 * f64::abs(sum) {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 - normal_density(z) * sum
}

fn normal_density(z: f64) -> f64 {
    math::exp(-0.5 * z * z - LN_SQRT_TAU)
}

/// `pdf(z) / sf(z)`.
fn continued_fraction(z: f64) -> f64 {
    (1..=80).rev().fold(z, |tail, k| z + f64::from(k) / tail)
}

/// ln P(Z > z) of a standard normal Z; finite for every finite z up to about 1e154.
///
/// From 2 on Laplace's continued fraction `sf(z) = pdf(z) / (z + 1/(z + 2/(z + 3/...)))`
/// (Abramowitz and Stegun 26.2.14), so there is no underflow at z = 38, where the tail itself
/// leaves f64.
pub fn normal_ln_sf(z: f64) -> f64 {
    if z.is_nan() {
        f64::NAN
    } else if z < -FAR {
        math::ln_1p(-normal_sf(-z))
    } else if z < FAR {
        math::ln(normal_sf(z))
    } else {
        -0.5 * z * z - LN_SQRT_TAU - math::ln(continued_fraction(z))
    }
}

/// The two-sided p-value of a z score: `2 sf(|z|)`. An undefined z gives an undefined p.
pub fn two_sided_normal(z: f64) -> PValue {
    let z = z.abs();
    if z.is_nan() {
        return PValue::UNDEFINED;
    }
    if z < FAR {
        let p = 2.0 * normal_sf(z);
        return PValue {
            p,
            log10: math::log10(p),
        };
    }
    PValue::from_ln(normal_ln_sf(z) + std::f64::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_meet() {
        // The series a hair below the switch, the fraction on it; the slope of sf there is -pdf.
        let step = normal_sf(FAR - 1e-9) - normal_sf(FAR);
        assert!((step - 1e-9 * normal_density(FAR)).abs() < 1e-15, "{step}");
    }

    #[test]
    fn tails_add_up_to_one() {
        for z in [-8.0, -3.0, -0.5, 0.0, 0.7, 4.9, 6.0] {
            assert!((normal_sf(z) + normal_sf(-z) - 1.0).abs() < 1e-15);
            assert!((normal_ln_sf(z).exp() - normal_sf(z)).abs() <= 1e-13 * normal_sf(z));
        }
        assert_eq!(two_sided_normal(0.0), PValue { p: 1.0, log10: 0.0 });
    }
}
