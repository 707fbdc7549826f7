//! The exponential of many values at once.
//!
//! [`super::exp`] branches and is called a value at a time; this is the same algorithm (FreeBSD's `e_exp.c`,
//! as musl and `libm` have it) without branches, so that the compiler runs it on whole vectors. Every
//! operation is IEEE 754's own and none is fused, so the bits are the same at any width. They are not
//! promised to be those of [`super::exp`]: a call site uses one or the other.

/// e to the power of each value, in place; NaN stays NaN.
pub fn exp_in_place(values: &mut [f64]) {
    crate::math::vectors().dispatch(Exp(values));
}

struct Exp<'a>(&'a mut [f64]);

impl pulp::WithSimd for Exp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for value in self.0 {
            *value = exp(*value);
        }
    }
}

/// Adding it to a number of magnitude below 2^51 rounds to a whole number in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Below the first the result is 0, above the second infinite.
const LEAST: f64 = -745.2;
const MOST: f64 = 709.8;
/// The high part of ln 2, whose products with whole numbers to 2^11 are exact, and the rest.
const LN2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
/// Coefficients of r - r coth(r / 2) + 2 in r^2.
const P: [f64; 5] = [
    1.666_666_666_666_660_2e-1,
    -2.777_777_777_701_559_3e-3,
    6.613_756_321_437_934e-5,
    -1.653_390_220_546_525_2e-6,
    4.138_136_797_057_238_5e-8,
];

#[inline(always)]
fn exp(x: f64) -> f64 {
    let bounded = x.clamp(LEAST, MOST);
    let shifted = bounded * std::f64::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let (high, low) = (bounded - whole * LN2.0, whole * LN2.1);
    let r = high - low;
    let rr = r * r;
    let c = r - rr * (P[0] + rr * (P[1] + rr * (P[2] + rr * (P[3] + rr * P[4]))));
    let y = 1.0 + (r * c / (2.0 - c) - low + high);
    // 2^whole as two factors: one alone would leave the range of the normal numbers.
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let first = power.wrapping_add(2048) >> 1;
    let second = power.wrapping_add(2048).wrapping_sub(first);
    let factor = |p: u64| f64::from_bits(p.wrapping_sub(1).wrapping_shl(52));
    let scaled = y * factor(first) * factor(second);
    if x.is_nan() { x } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_the_bits_of_single_values_within_one_unit_of_the_standard_library() {
        let xs: Vec<f64> = (-80_000..80_000).map(|i| f64::from(i) * 0.009_3).collect();
        let mut ours = xs.clone();
        exp_in_place(&mut ours);
        for (x, y) in xs.iter().zip(&ours) {
            assert_eq!(y.to_bits(), exp(*x).to_bits(), "{x}");
            let std = x.exp();
            let apart = (y.to_bits() as i64).abs_diff(std.to_bits() as i64);
            assert!(apart <= 1, "{x}: {y} {std}");
        }
    }

    #[test]
    fn ends_of_the_range_are_zero_infinity_and_nan() {
        let mut values = [
            f64::NEG_INFINITY,
            -1e300,
            -745.2,
            -745.0,
            0.0,
            709.0,
            709.8,
            f64::INFINITY,
        ];
        exp_in_place(&mut values);
        assert_eq!(values[..3], [0.0; 3]);
        assert_eq!(values[3], (-745.0f64).exp());
        assert_eq!(values[4], 1.0);
        assert_eq!(values[5], 709.0f64.exp());
        assert_eq!(values[6..], [f64::INFINITY; 2]);
        let mut nan = [f64::NAN];
        exp_in_place(&mut nan);
        assert!(nan[0].is_nan());
    }
}
