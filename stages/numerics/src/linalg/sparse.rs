//! Products of sparse rows with dense matrices, and of sparse rows with themselves.

use ndarray::{Array1, Array2};
use rayon::prelude::*;

use crate::math::{View, add_product_in_task};
use clcc_data::matrix::Csr;

/// Rows that are made dense together in [`csr_gram`].
const GRAM_ROWS: usize = 512;
/// Side of a tile of the Gram matrix.
const GRAM_TILE: usize = 256;

/// `x b`, with sparse `x` of `n x p` and dense `b` of `p x k`: `n x k`. Each output row is one sum
/// over the stored entries in column order.
///
/// # Panics
/// Where `b` has not as many rows as `x` has columns.
pub fn csr_dot(x: &Csr, b: &Array2<f64>) -> Array2<f64> {
    assert_eq!(x.n_cols(), b.nrows(), "inner dimensions agree");
    let k = b.ncols();
    let mut out = Array2::zeros((x.n_rows(), k));
    if out.is_empty() {
        return out;
    }
    let b = b.as_standard_layout();
    let b = b.as_slice().expect("standard layout");
    let width = k.next_multiple_of(LANES);
    let b = widened(b, k);
    let rows = out.as_slice_mut().expect("standard layout");
    let arch = crate::math::vectors();
    rows.par_chunks_mut(DOT_ROWS * k)
        .enumerate()
        .for_each(|(chunk, out)| {
            let first = chunk * DOT_ROWS;
            arch.dispatch(DotRows {
                x,
                b: &b,
                width,
                k,
                first,
                out,
            });
        });
    out
}

/// Rows that one task of [`csr_dot`] makes.
const DOT_ROWS: usize = 64;
/// Sums of a row that are kept in registers.
const LANES: usize = 16;

/// Products of the rows of `x` from `first` on with `b`, whose `width` columns are a multiple of [`LANES`]; the first
/// `k` are kept. Each sum runs in column order, whatever the lanes. A type and not a closure, because only what is
/// inlined into `with_simd` is compiled for the wide vectors.
struct DotRows<'a> {
    x: &'a Csr,
    b: &'a [f64],
    width: usize,
    k: usize,
    first: usize,
    out: &'a mut [f64],
}

impl pulp::WithSimd for DotRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let (b, k, width) = (self.b, self.k, self.width);
        for (r, out) in self.out.chunks_exact_mut(k).enumerate() {
            let (cols, vals) = self.x.row(self.first + r);
            for (part, out) in out.chunks_mut(LANES).enumerate() {
                let at = part * LANES;
                let mut sums = [0.0; LANES];
                for (&c, &v) in cols.iter().zip(vals) {
                    let v = f64::from(v);
                    let from = c as usize * width + at;
                    let b: &[f64; LANES] = b[from..from + LANES].try_into().expect("LANES values");
                    for lane in 0..LANES {
                        sums[lane] += v * b[lane];
                    }
                }
                out.copy_from_slice(&sums[..out.len()]);
            }
        }
    }
}

/// The rows of `b` (`k` columns) with zeros behind them up to a multiple of [`LANES`]; nothing is copied where they
/// have that width.
fn widened(b: &[f64], k: usize) -> std::borrow::Cow<'_, [f64]> {
    let width = k.next_multiple_of(LANES);
    if width == k {
        return b.into();
    }
    let mut out = vec![0.0; b.len() / k * width];
    for (out, row) in out.chunks_exact_mut(width).zip(b.chunks_exact(k)) {
        out[..k].copy_from_slice(row);
    }
    out.into()
}

/// Mean of each column, zeros included; of no rows, zeros.
pub fn column_means(x: &Csr) -> Array1<f64> {
    let mut sums = Array1::zeros(x.n_cols());
    for (&c, &v) in x.indices().iter().zip(x.data()) {
        sums[c as usize] += f64::from(v);
    }
    if x.n_rows() > 0 {
        sums /= x.n_rows() as f64;
    }
    sums
}

/// `xᵀ x` of sparse rows, `p x p`, symmetric to the last bit.
///
/// Rows are made dense in blocks of 512, so the cost is `n p²` multiply-adds at the speed of a
/// dense product and the memory `512 p + p²` numbers: meant for `p` up to a few thousand.
pub fn csr_gram(x: &Csr) -> Array2<f64> {
    let p = x.n_cols();
    let n_tiles = p.div_ceil(GRAM_TILE);
    let side = |t: usize| GRAM_TILE.min(p - t * GRAM_TILE);
    let mut tiles: Vec<(usize, usize, Vec<f64>)> = (0..n_tiles)
        .flat_map(|i| (i..n_tiles).map(move |j| (i, j, vec![0.0; side(i) * side(j)])))
        .collect();
    let mut block = vec![0f64; GRAM_ROWS.min(x.n_rows()) * p];
    for first in (0..x.n_rows()).step_by(GRAM_ROWS) {
        let rows = GRAM_ROWS.min(x.n_rows() - first);
        if p == 0 {
            break;
        }
        block[..rows * p]
            .par_chunks_mut(p)
            .enumerate()
            .for_each(|(r, dense)| {
                dense.fill(0.0);
                let (cols, vals) = x.row(first + r);
                for (&c, &v) in cols.iter().zip(vals) {
                    dense[c as usize] = f64::from(v);
                }
            });
        let dense = View::row_major(&block[..rows * p], rows, p);
        tiles.par_iter_mut().for_each(|(i, j, tile)| {
            let left = dense.columns(*i * GRAM_TILE, side(*i)).t();
            let right = dense.columns(*j * GRAM_TILE, side(*j));
            add_product_in_task(left, right, tile);
        });
    }
    let mut gram = Array2::zeros((p, p));
    for (i, j, tile) in &tiles {
        for (at, &v) in tile.iter().enumerate() {
            let (r, c) = (i * GRAM_TILE + at / side(*j), j * GRAM_TILE + at % side(*j));
            if r <= c {
                gram[[r, c]] = v;
                gram[[c, r]] = v;
            }
        }
    }
    gram
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_testing::{at_threads, random, random_csr};

    #[test]
    fn sparse_products_agree_with_dense_ones() {
        for (n, p, k) in [(0, 4, 7), (5, 3, 1), (1100, 300, 16), (40, 600, 35)] {
            let x = random_csr(n, p, 0.2, 1);
            let dense = x.to_dense().mapv(f64::from);
            let b = random(p, k, 2);
            let close = |a: &Array2<f64>, b: &Array2<f64>| {
                a.dim() == b.dim() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-10)
            };
            assert!(close(&csr_dot(&x, &b), &dense.dot(&b)), "{n} {p}");
            assert!(close(&csr_gram(&x), &dense.t().dot(&dense)), "{n} {p}");
            if n > 0 {
                let means = dense.mean_axis(ndarray::Axis(0)).unwrap();
                assert!(
                    column_means(&x)
                        .iter()
                        .zip(&means)
                        .all(|(a, b)| (a - b).abs() < 1e-12)
                );
            }
        }
    }

    #[test]
    fn gram_bits_do_not_depend_on_the_number_of_threads() {
        let x = random_csr(1500, 600, 0.1, 3);
        let one = at_threads(1, || csr_gram(&x));
        assert!(at_threads(4, || csr_gram(&x)) == one);
        assert!(one == one.t());
    }
}
