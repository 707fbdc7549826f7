//! Elementary and special functions with the same bits on every machine.
//!
//! The standard library's `exp`, `ln` and the like are those of the C library, which chooses among
//! several by the processor: results differ in the last bit between machines, and a draw that accepts
//! or rejects by such a value may differ altogether. Everything in this crate that reaches an output
//! calls these instead (clippy's `disallowed-methods` holds it): `libm`, a port of musl's functions to Rust
//! that uses no instruction beyond IEEE 754's, and what is built on it here. `sqrt`, `mul_add`, `floor` and
//! `abs` are exact everywhere and stay the standard library's; `powi` multiplies.
//!
//! Largest error against the correctly rounded value: 1 ulp for `exp`, `ln`, `ln_1p`, `exp_m1`, `log2`,
//! `log10`, `sin` and `cos`; see `benches/math.rs` for accuracy and speed compared with the standard
//! library's.

mod eigen;
mod gamma;
mod lanes;
mod normal;
mod product;
mod qr;
mod vector;
mod width;

pub use eigen::symmetric_eigen_in_place;
pub use gamma::{chi_squared_sf, digamma, ln_gamma};
pub use normal::normal_quantile;
pub use product::{Element, View, add_product, add_product_in_task, product_into};
pub use qr::orthonormal_columns;
pub use vector::exp_in_place;
pub use width::vectors;

/// `f32` or `f64`.
pub trait Real: Copy + sealed::Functions {}

impl Real for f32 {}
impl Real for f64 {}

mod sealed {
    /// Each function in the precision of its argument.
    pub trait Functions: Sized {
        fn exp(self) -> Self;
        fn exp2(self) -> Self;
        fn exp_m1(self) -> Self;
        fn ln(self) -> Self;
        fn ln_1p(self) -> Self;
        fn log2(self) -> Self;
        fn log10(self) -> Self;
        fn sin(self) -> Self;
        fn cos(self) -> Self;
        fn atan(self) -> Self;
        fn hypot(self, other: Self) -> Self;
        fn pow(self, exponent: Self) -> Self;
    }

    macro_rules! functions {
        ($float:ty: $exp:ident $exp2:ident $expm1:ident $log:ident $log1p:ident $log2:ident $log10:ident
         $sin:ident $cos:ident $atan:ident $hypot:ident $pow:ident) => {
            impl Functions for $float {
                fn exp(self) -> Self {
                    libm::$exp(self)
                }
                fn exp2(self) -> Self {
                    libm::$exp2(self)
                }
                fn exp_m1(self) -> Self {
                    libm::$expm1(self)
                }
                fn ln(self) -> Self {
                    libm::$log(self)
                }
                fn ln_1p(self) -> Self {
                    libm::$log1p(self)
                }
                fn log2(self) -> Self {
                    libm::$log2(self)
                }
                fn log10(self) -> Self {
                    libm::$log10(self)
                }
                fn sin(self) -> Self {
                    libm::$sin(self)
                }
                fn cos(self) -> Self {
                    libm::$cos(self)
                }
                fn atan(self) -> Self {
                    libm::$atan(self)
                }
                fn hypot(self, other: Self) -> Self {
                    libm::$hypot(self, other)
                }
                fn pow(self, exponent: Self) -> Self {
                    libm::$pow(self, exponent)
                }
            }
        };
    }

    functions!(f64: exp exp2 expm1 log log1p log2 log10 sin cos atan hypot pow);
    functions!(f32: expf exp2f expm1f logf log1pf log2f log10f sinf cosf atanf hypotf powf);
}

/// e to the power of `x`.
#[inline]
pub fn exp<T: Real>(x: T) -> T {
    sealed::Functions::exp(x)
}

/// 2 to the power of `x`.
#[inline]
pub fn exp2<T: Real>(x: T) -> T {
    sealed::Functions::exp2(x)
}

/// e to the power of `x`, less 1; exact in the digits where `x` is near 0.
#[inline]
pub fn exp_m1<T: Real>(x: T) -> T {
    sealed::Functions::exp_m1(x)
}

/// Natural logarithm; negative infinity of 0, NaN below.
#[inline]
pub fn ln<T: Real>(x: T) -> T {
    sealed::Functions::ln(x)
}

/// Natural logarithm of `1 + x`; exact in the digits where `x` is near 0.
#[inline]
pub fn ln_1p<T: Real>(x: T) -> T {
    sealed::Functions::ln_1p(x)
}

/// Logarithm to base 2.
#[inline]
pub fn log2<T: Real>(x: T) -> T {
    sealed::Functions::log2(x)
}

/// Logarithm to base 10.
#[inline]
pub fn log10<T: Real>(x: T) -> T {
    sealed::Functions::log10(x)
}

/// Sine of `x` in radians.
#[inline]
pub fn sin<T: Real>(x: T) -> T {
    sealed::Functions::sin(x)
}

/// Cosine of `x` in radians.
#[inline]
pub fn cos<T: Real>(x: T) -> T {
    sealed::Functions::cos(x)
}

/// Arc tangent in radians, in [-pi/2, pi/2].
#[inline]
pub fn atan<T: Real>(x: T) -> T {
    sealed::Functions::atan(x)
}

/// Length of the hypotenuse over `x` and `y`, without overflow on the way.
#[inline]
pub fn hypot<T: Real>(x: T, y: T) -> T {
    sealed::Functions::hypot(x, y)
}

/// `x` to the power of `exponent`.
#[inline]
pub fn pow<T: Real>(x: T, exponent: T) -> T {
    sealed::Functions::pow(x, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units in the last place.
    fn ulps(a: f64, b: f64) -> u64 {
        (a.to_bits() as i64).abs_diff(b.to_bits() as i64)
    }

    #[test]
    fn functions_are_within_two_units_of_the_standard_library() {
        let mut largest = 0;
        for i in 1..20_000 {
            let x = f64::from(i) * 0.001_7;
            let pairs = [
                (exp(x), x.exp()),
                (exp(-x), (-x).exp()),
                (exp2(x), x.exp2()),
                (exp_m1(x), x.exp_m1()),
                (ln(x), x.ln()),
                (ln_1p(x), x.ln_1p()),
                (log2(x), x.log2()),
                (log10(x), x.log10()),
                (sin(x), x.sin()),
                (cos(x), x.cos()),
                (atan(x), x.atan()),
                (hypot(x, 3.0), x.hypot(3.0)),
                (pow(x, 1.7), x.powf(1.7)),
            ];
            for (ours, std) in pairs {
                largest = largest.max(ulps(ours, std));
            }
        }
        assert!(largest <= 2, "{largest}");
        assert_eq!(exp(0.0f32), 1.0);
        assert!((ln_1p(1e-8f32) - 1e-8).abs() < 1e-15);
    }

    fn mixed(hash: u64, bits: u64) -> u64 {
        hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ bits
    }

    /// Bits that this module must have on any processor, in either precision.
    #[test]
    fn bits_are_these_everywhere() {
        let mut hash = 0u64;
        let mut mix = |bits: u64| hash = mixed(hash, bits);
        for i in 1..2_000 {
            let x = f64::from(i) * 0.013;
            for y in [
                exp(-x),
                ln(x),
                ln_1p(x),
                log2(x),
                log10(x),
                sin(x),
                cos(x),
                pow(x, 0.3),
                exp_m1(x),
            ] {
                mix(y.to_bits());
            }
            for y in [
                ln_gamma(x),
                digamma(x),
                chi_squared_sf(x, 3.0),
                normal_quantile(x / 27.0),
            ] {
                mix(y.to_bits());
            }
            let x = x as f32;
            for y in [exp(-x), ln(x), ln_1p(x), log2(x)] {
                mix(u64::from(y.to_bits()));
            }
        }
        assert_eq!(hash, BITS, "{hash:#x}");
    }

    #[test]
    fn products_and_decompositions_have_these_bits_everywhere() {
        let (m, k, n) = (37, 150, 61);
        let value = |i: usize| sin(i as f64 * 0.37);
        let a: Vec<f64> = (0..m * k).map(value).collect();
        let b: Vec<f64> = (0..k * n).map(|i| value(i + 5)).collect();
        let mut c = vec![0.0; m * n];
        product_into(View::row_major(&a, m, k), View::row_major(&b, k, n), &mut c);
        let (a32, b32): (Vec<f32>, Vec<f32>) = (
            a.iter().map(|v| *v as f32).collect(),
            b.iter().map(|v| *v as f32).collect(),
        );
        let mut c32 = vec![0.0f32; m * n];
        product_into(
            View::row_major(&a32, m, k),
            View::row_major(&b32, k, n),
            &mut c32,
        );
        let mut gram = vec![0.0; n * n];
        let view = View::row_major(&c, m, n);
        product_into(view.t(), view, &mut gram);
        let values = symmetric_eigen_in_place(&mut gram, n).unwrap();
        let basis = orthonormal_columns(c.clone(), n, m);
        let hash = [&c, &gram, &values, &basis]
            .into_iter()
            .flatten()
            .map(|v| v.to_bits())
            .chain(c32.iter().map(|v| u64::from(v.to_bits())))
            .fold(0, mixed);
        assert_eq!(hash, PRODUCT_BITS, "{hash:#x}");
    }

    const PRODUCT_BITS: u64 = 0x8cda3ee7b80203b1;

    /// Written down from x86-64 and the same on any machine.
    const BITS: u64 = 0x8b25_1b7e_aa20_d552;
}
