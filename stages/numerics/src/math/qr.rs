//! Orthonormal bases, in a fixed order of operations.
//!
//! Householder's QR in blocks (the compact WY form of Schreiber and Van Loan 1989): within a block of
//! columns one reflection after the other, then the whole block on what is left of the matrix by
//! dense products.

use pulp::{Simd, WithSimd};

use super::lanes::{add_scaled, dot};
use super::product::{View, add_product, product_into};

/// Reflections that are applied together.
const BLOCK: usize = 16;

/// An orthonormal basis that contains the span of `columns`, which are `k` columns of length `n`, one after the
/// other: `min(n, k)` columns of the same layout. Where they lack full rank, the basis is completed by other
/// directions. On rayon's threads.
///
/// # Panics
/// Where `columns` does not hold `n x k` values.
pub fn orthonormal_columns(mut columns: Vec<f64>, n: usize, k: usize) -> Vec<f64> {
    assert_eq!(columns.len(), n * k, "columns of one length");
    let size = n.min(k);
    let mut blocks = Vec::with_capacity(size.div_ceil(BLOCK));
    for first in (0..size).step_by(BLOCK) {
        let width = BLOCK.min(size - first);
        let (done, rest) = columns.split_at_mut((first + width) * n);
        let block = Block::of(&mut done[first * n..], n, first, width);
        block.apply(rest, true);
        blocks.push(block);
    }
    let mut basis = vec![0.0; n * size];
    for (j, column) in basis.chunks_exact_mut(n.max(1)).enumerate().take(size) {
        column[j] = 1.0;
    }
    for block in blocks.iter().rev() {
        // Columns before the block's are still those of the identity, which it does not touch.
        block.apply(&mut basis[block.first * n..], false);
    }
    basis
}

/// `I - V T V'` of a few reflections.
struct Block {
    n: usize,
    first: usize,
    width: usize,
    /// The reflections' vectors, column after column, from row `first` on.
    v: Vec<f64>,
    /// Upper triangular, row-major, `width x width`.
    t: Vec<f64>,
}

impl Block {
    /// Reduces the columns and keeps what did it.
    fn of(columns: &mut [f64], n: usize, first: usize, width: usize) -> Self {
        let rows = n - first;
        let mut block = Self {
            n,
            first,
            width,
            v: vec![0.0; rows * width],
            t: vec![0.0; width * width],
        };
        crate::math::vectors().dispatch(Reduce {
            columns,
            block: &mut block,
        });
        block
    }

    /// `(I - V T V') C`, or with `T'` where it is transposed, of the full columns `c`.
    fn apply(&self, c: &mut [f64], transposed: bool) {
        let (rows, width) = (self.n - self.first, self.width);
        let count = c.len() / self.n.max(1);
        if count == 0 {
            return;
        }
        // As rows: C' is `count x rows`, V' is `width x rows`.
        let mut below = vec![0.0; count * rows];
        for (below, column) in below.chunks_exact_mut(rows).zip(c.chunks_exact(self.n)) {
            below.copy_from_slice(&column[self.first..]);
        }
        let v = View::row_major(&self.v, width, rows);
        let t = View::row_major(&self.t, width, width);
        let mut inner = vec![0.0; count * width];
        product_into(View::row_major(&below, count, rows), v.t(), &mut inner);
        let mut turned = vec![0.0; count * width];
        // (T W)' = W' T', and W' T for the transpose.
        let t = if transposed { t } else { t.t() };
        product_into(View::row_major(&inner, count, width), t, &mut turned);
        turned.iter_mut().for_each(|x| *x = -*x);
        add_product(View::row_major(&turned, count, width), v, &mut below);
        for (below, column) in below.chunks_exact(rows).zip(c.chunks_exact_mut(self.n)) {
            column[self.first..].copy_from_slice(below);
        }
    }
}

/// The reflections of a block of columns, one after the other.
struct Reduce<'a> {
    columns: &'a mut [f64],
    block: &'a mut Block,
}

impl WithSimd for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { columns, block } = self;
        let (n, first, width) = (block.n, block.first, block.width);
        let rows = n - first;
        for j in 0..width {
            let (own, later) = columns.split_at_mut((j + 1) * n);
            let column = &mut own[j * n + first + j..];
            let v = &mut block.v[j * rows..][..rows];
            let tau = reflect(column, &mut v[j..]);
            for later in later.chunks_exact_mut(n).take(width - j - 1) {
                let later = &mut later[first + j..];
                let size = dot(later, &v[j..]);
                add_scaled(later, -tau * size, &v[j..]);
            }
            // T grows by a column: -tau T (V' v) above tau.
            let mut overlaps = [0.0; BLOCK];
            for i in 0..j {
                overlaps[i] = dot(
                    &block.v[i * rows + j..][..rows - j],
                    &block.v[j * rows + j..][..rows - j],
                );
            }
            for i in 0..j {
                let sum = dot(&block.t[i * width..][..j], &overlaps[..j]);
                block.t[i * width + j] = -tau * sum;
            }
            block.t[j * width + j] = tau;
        }
    }
}

/// The reflection that takes `x` to a multiple of the first axis: its vector, whose first entry is 1, goes to
/// `v`; its factor is returned. `x` keeps its image.
#[inline(always)]
fn reflect(x: &mut [f64], v: &mut [f64]) -> f64 {
    let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    v.fill(0.0);
    v[0] = 1.0;
    if x.len() == 1 || largest == 0.0 {
        return 0.0;
    }
    for (v, x) in v.iter_mut().zip(x.iter()) {
        *v = x / largest;
    }
    let length = dot(v, v).sqrt();
    let head = v[0];
    let image = if head > 0.0 { -length } else { length };
    let pivot = head - image;
    v[1..].iter_mut().for_each(|v| *v /= pivot);
    v[0] = 1.0;
    x[0] = image * largest;
    x[1..].fill(0.0);
    -pivot / image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(n: usize, k: usize) -> Vec<f64> {
        let mut state = 11u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        (0..n * k).map(|_| next()).collect()
    }

    fn inner(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn bases_are_orthonormal_and_hold_the_columns() {
        for (n, k) in [(1, 1), (5, 2), (40, 16), (300, 37), (20, 30), (64, 64)] {
            let mut a = columns(n, k);
            if k > 3 {
                // One column repeats, one is zero: rank is lost.
                let repeated: Vec<f64> = a[..n].iter().map(|v| 2.0 * v).collect();
                a[2 * n..3 * n].copy_from_slice(&repeated);
                a[n..2 * n].fill(0.0);
            }
            let q = orthonormal_columns(a.clone(), n, k);
            let q: Vec<&[f64]> = q.chunks_exact(n).collect();
            assert_eq!(q.len(), n.min(k));
            for (i, x) in q.iter().enumerate() {
                for (j, y) in q.iter().enumerate() {
                    let expected = f64::from(u8::from(i == j));
                    assert!((inner(x, y) - expected).abs() < 1e-13, "{n} {k}: {i} {j}");
                }
            }
            for column in a.chunks_exact(n) {
                let mut rest = column.to_vec();
                for x in &q {
                    let share = inner(x, column);
                    rest.iter_mut().zip(*x).for_each(|(r, x)| *r -= share * x);
                }
                assert!(rest.iter().all(|r| r.abs() < 1e-13 * n as f64), "{n} {k}");
            }
        }
        assert!(orthonormal_columns(Vec::new(), 0, 3).is_empty());
        assert!(orthonormal_columns(Vec::new(), 3, 0).is_empty());
    }
}
