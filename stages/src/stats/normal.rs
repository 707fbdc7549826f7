//! Upper tail of the normal distribution, and its logarithm as far out as f64 goes.

use statrs::function::erf::erfc;

use super::PValue;

const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_7;
/// From here on the continued fraction is used; 80 levels of it are exact to rounding.
const FAR: f64 = 5.0;

/// P(Z > z) of a standard normal Z.
pub fn normal_sf(z: f64) -> f64 {
    0.5 * erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// ln P(Z > z) of a standard normal Z; finite for every finite z up to about 1e154.
///
/// Below 5 the logarithm of `erfc`, from 5 on Laplace's continued fraction
/// `sf(z) = pdf(z) / (z + 1/(z + 2/(z + 3/...)))` (Abramowitz and Stegun 26.2.14), so there is no
/// underflow at z = 38, where the tail itself leaves f64.
pub fn normal_ln_sf(z: f64) -> f64 {
    if z.is_nan() {
        return f64::NAN;
    }
    if z < -FAR {
        return (-normal_sf(-z)).ln_1p();
    }
    if z < FAR {
        return normal_sf(z).ln();
    }
    let mut tail = z;
    for k in (1..=80).rev() {
        tail = z + f64::from(k) / tail;
    }
    -0.5 * z * z - LN_SQRT_TAU - tail.ln()
}

/// The two-sided p-value of a z score: `2 sf(|z|)`. An undefined z gives an undefined p.
pub fn two_sided_normal(z: f64) -> PValue {
    if z.is_nan() {
        return PValue::UNDEFINED;
    }
    let ln_p = (normal_ln_sf(z.abs()) + std::f64::consts::LN_2).min(0.0);
    // erfc itself, where it is a normal number: the exponential of a large logarithm loses digits.
    let p = erfc(z.abs() * std::f64::consts::FRAC_1_SQRT_2);
    if p > 1e-300 { PValue { p, log10: p.log10() } } else { PValue::from_ln(ln_p) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_meet() {
        // ln sf is smooth: its value just below and just above the switch differ by the slope.
        let below = normal_ln_sf(FAR - 1e-9);
        let above = normal_ln_sf(FAR);
        assert!((below - above).abs() < 2e-8, "{below} {above}");
        assert!((normal_ln_sf(FAR) - normal_sf(FAR).ln()).abs() < 1e-12);
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
