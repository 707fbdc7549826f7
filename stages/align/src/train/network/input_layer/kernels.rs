//! The three loops that nearly all of the time goes into, for the widest registers there are.
//!
//! Structs, since a closure's body is compiled apart from `dispatch`, for the narrowest registers. Multiply-adds
//! are fused on every processor, so that the bits are the same; x86-64 without the instruction is slow.

use super::LANES;
use super::batch::{ByFeature, Gathered};
use crate::train::network::real::Real;

/// `out[row] += sum over the row's entries of value * table[feature]`.
pub(super) struct AddRows<'a, T> {
    pub(super) out: &'a mut [[T; LANES]],
    pub(super) entries: &'a Gathered,
    pub(super) table: &'a [[T; LANES]],
}

impl<T: Real> pulp::WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            out,
            entries,
            table,
        } = self;
        for group in entries.groups() {
            for (&row, features, values) in group {
                let out = &mut out[row as usize];
                let mut sums = *out;
                for (&f, &v) in features.iter().zip(values) {
                    let weights = &table[f as usize];
                    let v = T::of(v);
                    for k in 0..LANES {
                        sums[k] = T::fused(v, weights[k], sums[k]);
                    }
                }
                *out = sums;
            }
        }
    }
}

/// `out[feature] += sum over the feature's entries of value * grads[row]`, less `shift * sums`.
pub(super) struct AddGradient<'a, T> {
    pub(super) out: &'a mut [[T; LANES]],
    pub(super) entries: &'a ByFeature,
    pub(super) grads: &'a [[T; LANES]],
    pub(super) sums: &'a [T; LANES],
    pub(super) shift: &'a [f32],
}

impl<T: Real> pulp::WithSimd for AddGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let features = self.entries.features().zip(self.shift);
        for (out, ((rows, values), &m)) in self.out.iter_mut().zip(features) {
            let mut gradient = *out;
            let m = T::of(m);
            for k in 0..LANES {
                gradient[k] -= m * self.sums[k];
            }
            for (&row, &v) in rows.iter().zip(values) {
                let grad = &self.grads[row as usize];
                let v = T::of(v);
                for k in 0..LANES {
                    gradient[k] = T::fused(v, grad[k], gradient[k]);
                }
            }
            *out = gradient;
        }
    }
}

/// `sums += sum over features of shift * table[feature]`, the block's part in the weight's own
/// precision.
pub(super) struct AddShift<'a, T> {
    pub(super) sums: &'a mut [f64; LANES],
    pub(super) shift: &'a [f32],
    pub(super) table: &'a [[T; LANES]],
}

impl<T: Real> pulp::WithSimd for AddShift<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let mut part = [T::zero(); LANES];
        for (row, &m) in self.table.iter().zip(self.shift) {
            let m = T::of(m);
            for k in 0..LANES {
                part[k] = T::fused(m, row[k], part[k]);
            }
        }
        for k in 0..LANES {
            self.sums[k] += part[k].to_f64();
        }
    }
}
