//! Exact nearest neighbours: products in f32 tell which cells may be near, distances in f64 decide.

use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2, Axis};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use clcc_data::matrix::Csr;

/// Queries of one task.
const QUERIES: usize = 128;
/// Candidates whose products with the queries are computed together.
const CANDIDATES: usize = 1024;
/// Candidates that are skipped together.
const STRIDE: usize = 32;

/// The nearest cells of each cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// `n x k`: the cell itself, then the others by rising distance, ties by index.
    pub indices: Array2<u32>,
    /// `n x k`: Euclidean distances, 0 first.
    pub distances: Array2<f64>,
}

impl Neighbors {
    /// Distances as sparse rows, without the cell itself (scanpy's `obsp["distances"]`). Distances
    /// of 0 to other cells are stored.
    pub fn distance_graph(&self) -> Csr {
        let n = self.indices.nrows();
        Csr::from_rows(
            n,
            (0..n).map(|i| {
                let pairs = self.indices.row(i).into_iter().zip(self.distances.row(i));
                let mut row: Vec<(u32, f32)> =
                    pairs.skip(1).map(|(&j, &d)| (j, d as f32)).collect();
                row.sort_unstable_by_key(|e| e.0);
                row
            }),
        )
    }
}

/// How many cells a neighbourhood has among `n` cells, the cell itself included: `n_neighbors`, or
/// `1 + n / 2` where there are fewer cells than that (scanpy's rule for very small data).
pub fn neighborhood_size(n: usize, n_neighbors: usize) -> usize {
    if n_neighbors > n {
        (1 + n / 2).min(n)
    } else {
        n_neighbors
    }
}

/// The `k` nearest rows of every row of `x` (`n x d`), the row itself first.
///
/// Exact: a blocked product in f32 gives `|b|² / 2 - ab` for all pairs, and every row that could be among the
/// nearest within a bound on that formula's rounding gets its distance in f64, from the differences of the
/// coordinates. So the result is that of the double loop with ties by index, whatever the blocks and threads, and
/// identical rows are at distance 0 exactly (where squares of distances neither overflow nor vanish). O(n² d) time,
/// O(n (d + k)) memory.
///
/// # Panics
/// Where `k` is 0 or above `n` (and `n` is not 0).
pub fn nearest_neighbors(x: &Array2<f64>, k: usize) -> Neighbors {
    let n = x.nrows();
    assert!(
        n == 0 || (1..=n).contains(&k),
        "a neighbourhood has between 1 and all {n} cells, not {k}"
    );
    let x = x.as_standard_layout();
    let mut indices = Array2::<u32>::zeros((n, k));
    let mut distances = Array2::<f64>::zeros((n, k));
    if n == 0 {
        return Neighbors { indices, distances };
    }
    let search = Search::new(x.view(), k);
    let indices_of = indices.as_slice_mut().expect("standard layout");
    let distances_of = distances.as_slice_mut().expect("standard layout");
    indices_of
        .par_chunks_mut(QUERIES * k)
        .zip(distances_of.par_chunks_mut(QUERIES * k))
        .enumerate()
        .for_each(|(block, (indices, distances))| {
            search.block(block * QUERIES, indices, distances);
        });
    Neighbors { indices, distances }
}

/// What the blocks of queries share.
struct Search<'a> {
    /// `n x d`.
    x: ArrayView2<'a, f64>,
    /// The rows about their mean, scaled to lengths of at most 1, row after row.
    scaled: Vec<f32>,
    /// Half their squared lengths.
    halves: Vec<f32>,
    /// Bound on the error of `|b|² / 2 - ab`, of any two of the scaled rows.
    margin: f32,
    k: usize,
}

/// A candidate and its `|b|² / 2 - ab`, which rises with the distance from the query.
type Near = (f32, u32);

impl<'a> Search<'a> {
    fn new(x: ArrayView2<'a, f64>, k: usize) -> Self {
        let d = x.ncols();
        let mean = x.mean_axis(Axis(0)).expect("there are rows");
        let centred = || {
            let rows = x.rows().into_iter();
            rows.flat_map(|row| row.into_iter().zip(&mean).map(|(v, m)| v - m))
        };
        let largest = centred().fold(0.0_f64, |most, v| most.max(v.abs()));
        // Coordinates of at most 1 / sqrt(d) make lengths of at most 1.
        let scale = 1.0 / (largest * (d as f64).sqrt()).max(f64::MIN_POSITIVE);
        let scaled: Vec<f32> = centred().map(|v| (v * scale) as f32).collect();
        let half = |row: &[f32]| {
            let squares = row.iter().map(|&v| f64::from(v) * f64::from(v));
            (squares.sum::<f64>() / 2.0) as f32
        };
        // In units of 2^-24 and of lengths of at most 1: each coordinate of both rows is rounded (4 with the scaling
        // in f64), d products are added in some order (d), and the half and the difference are rounded (2). Twice
        // that, and what is lost below the smallest normal number.
        let is_usable = largest.is_finite() && scale.is_finite();
        let margin = if is_usable {
            2.0 * (d as f32 + 8.0) * 2.0_f32.powi(-24)
        } else {
            f32::INFINITY
        };
        Self {
            halves: match d {
                0 => vec![0.0; x.nrows()],
                _ => scaled.chunks_exact(d).map(half).collect(),
            },
            x,
            scaled,
            margin,
            k,
        }
    }

    /// The neighbours of the rows from `first` on, as many as `indices` has room for.
    fn block(&self, first: usize, indices: &mut [u32], distances: &mut [f64]) {
        let ((n, d), k) = (self.x.dim(), self.k);
        let queries = indices.len() / k;
        let all = MatRef::from_row_major_slice(&self.scaled, n, d);
        let mut found: Vec<Shortlist> = vec![Shortlist::new(k - 1, self.margin); queries];
        let mut products = vec![0f32; queries * CANDIDATES.min(n)];
        for start in (0..n).step_by(CANDIDATES) {
            let width = CANDIDATES.min(n - start);
            let products = &mut products[..queries * width];
            faer_matmul(
                MatMut::from_row_major_slice_mut(products, queries, width),
                Accum::Replace,
                all.subrows(first, queries),
                all.subrows(start, width).transpose(),
                1.0,
                Par::Seq,
            );
            crate::math::vectors().dispatch(Scan {
                products,
                halves: &self.halves[start..start + width],
                start,
                first,
                found: &mut found,
            });
        }
        let mut decided = Vec::new();
        for (q, found) in found.iter().enumerate() {
            let query = first + q;
            self.decide(query, &found.near, &mut decided);
            indices[q * k] = query as u32;
            for (slot, &(squared, other)) in decided.iter().take(k - 1).enumerate() {
                indices[q * k + slot + 1] = other;
                distances[q * k + slot + 1] = squared.sqrt();
            }
        }
    }

    /// The squared distances of the candidates from a query, rising, ties by index.
    fn decide(&self, query: usize, near: &[Near], out: &mut Vec<(f64, u32)>) {
        out.clear();
        let own = self.x.row(query);
        out.extend(near.iter().map(|&(_, other)| {
            let pairs = own.iter().zip(self.x.row(other as usize));
            let squared: f64 = pairs.map(|(x, y)| (x - y) * (x - y)).sum();
            (squared, other)
        }));
        out.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
}

/// The candidates that may be among the nearest of one query.
#[derive(Clone)]
struct Shortlist {
    /// How many are wanted.
    wanted: usize,
    margin: f32,
    /// What is beyond is not among the nearest.
    limit: f32,
    near: Vec<Near>,
    /// Entries from which on those beyond a new limit are dropped.
    full: usize,
}

impl Shortlist {
    fn new(wanted: usize, margin: f32) -> Self {
        Self {
            wanted,
            margin,
            limit: if wanted == 0 {
                f32::NEG_INFINITY
            } else {
                f32::INFINITY
            },
            near: Vec::new(),
            full: 4 * wanted + 32,
        }
    }

    fn push(&mut self, near: Near) {
        self.near.push(near);
        if self.wanted > 0 && self.near.len() >= self.full {
            self.tighten();
        }
    }

    /// Drop what is farther than as many as are wanted, by more than both of their errors.
    fn tighten(&mut self) {
        let by_value = |a: &Near, b: &Near| a.0.total_cmp(&b.0);
        let (_, last, _) = self.near.select_nth_unstable_by(self.wanted - 1, by_value);
        let limit = last.0 + 2.0 * self.margin;
        self.limit = limit;
        // Not beyond, rather than within: what is no number stays.
        self.near.retain(|&(value, _)| is_within(value, limit));
        self.full = self.full.max(2 * self.near.len());
    }
}

/// Whether a value is not above the limit; one that is no number is not.
#[inline(always)]
fn is_within(value: f32, limit: f32) -> bool {
    !matches!(value.partial_cmp(&limit), Some(std::cmp::Ordering::Greater))
}

/// Look through the products of queries from `first` on with candidates from `start` on. A type and not a closure,
/// because only what is inlined into `with_simd` is compiled for the wide vectors.
struct Scan<'a> {
    products: &'a [f32],
    halves: &'a [f32],
    start: usize,
    first: usize,
    found: &'a mut [Shortlist],
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.products.chunks_exact(self.halves.len());
        for (q, (row, found)) in rows.zip(self.found).enumerate() {
            let stretches = row.chunks(STRIDE).zip(self.halves.chunks(STRIDE));
            for (stretch, (products, halves)) in stretches.enumerate() {
                let mut any = false;
                for (&half, &product) in halves.iter().zip(products) {
                    any |= is_within(half - product, found.limit);
                }
                // Most stretches have none.
                if !any {
                    continue;
                }
                for (c, (&half, &product)) in halves.iter().zip(products).enumerate() {
                    let other = self.start + stretch * STRIDE + c;
                    let value = half - product;
                    if is_within(value, found.limit) && other != self.first + q {
                        found.push((value, other as u32));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_testing::{at_threads, random};

    fn brute_force(x: &Array2<f64>, k: usize) -> Neighbors {
        let n = x.nrows();
        let mut indices = Array2::zeros((n, k));
        let mut distances = Array2::zeros((n, k));
        for i in 0..n {
            let squared = |j: usize| -> f64 {
                let pairs = x.row(i).into_iter().zip(x.row(j));
                pairs.map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let others = (0..n).filter(|&j| j != i);
            let mut others: Vec<(f64, u32)> = others.map(|j| (squared(j), j as u32)).collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            indices[[i, 0]] = i as u32;
            for s in 1..k {
                indices[[i, s]] = others[s - 1].1;
                distances[[i, s]] = others[s - 1].0.sqrt();
            }
        }
        Neighbors { indices, distances }
    }

    #[test]
    fn equals_the_double_loop_exactly() {
        for (n, d, k) in [
            (1, 3, 1),
            (2, 3, 2),
            (70, 5, 15),
            (1500, 8, 15),
            (200, 1, 4),
        ] {
            let x = random(n, d, 1);
            assert_eq!(nearest_neighbors(&x, k), brute_force(&x, k), "{n} {d} {k}");
        }
    }

    #[test]
    fn ties_go_by_index_and_copies_are_at_distance_zero() {
        // Far from the origin the expanded formula loses the small distances altogether.
        let mut x = random(300, 4, 2).mapv(|v| (v * 2.0).round() * 0.5) + 1e6;
        for i in 100..200 {
            let first = x.row(0).to_owned();
            x.row_mut(i).assign(&first);
        }
        let got = nearest_neighbors(&x, 15);
        assert_eq!(got, brute_force(&x, 15));
        assert_eq!(got.distances[[150, 14]], 0.0);
    }

    #[test]
    fn what_f32_cannot_tell_apart_is_decided_in_f64() {
        // Cells that differ in the tenth digit, of lengths far beyond the range of f32.
        for scale in [1e-100, 1e-20, 1.0, 1e18, 1e100] {
            let near = random(400, 6, 4).mapv(|v| scale * (3.0 + 1e-9 * v));
            assert_eq!(
                nearest_neighbors(&near, 9),
                brute_force(&near, 9),
                "{scale}"
            );
            // One cell far from all others takes the range of f32 for itself.
            let mut far = random(400, 6, 5).mapv(|v| scale * v);
            far.row_mut(7).fill(scale * 1e12);
            assert_eq!(nearest_neighbors(&far, 9), brute_force(&far, 9), "{scale}");
        }
        let same = Array2::<f64>::zeros((150, 3));
        assert_eq!(nearest_neighbors(&same, 5), brute_force(&same, 5));
        let none = Array2::<f64>::zeros((20, 0));
        assert_eq!(nearest_neighbors(&none, 5), brute_force(&none, 5));
    }

    #[test]
    fn a_line_of_cells_by_hand() {
        // Cells at 0, 1, 3, 7: the nearest of 1 is 0 (distance 1), of 3 is 1 (2), of 7 is 3 (4).
        let x = Array2::from_shape_vec((4, 1), vec![0.0, 1.0, 3.0, 7.0]).unwrap();
        let got = nearest_neighbors(&x, 2);
        assert_eq!(got.indices.column(1).to_vec(), [1, 0, 1, 2]);
        assert_eq!(got.distances.column(1).to_vec(), [1.0, 1.0, 2.0, 4.0]);
        assert_eq!(got.distance_graph().row(3), (&[2u32][..], &[4f32][..]));
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let x = random(500, 10, 3);
        let one = at_threads(1, || nearest_neighbors(&x, 15));
        assert!(at_threads(2, || nearest_neighbors(&x, 15)) == one);
    }

    #[test]
    fn small_data_has_smaller_neighbourhoods() {
        assert_eq!(
            [1, 2, 3, 14, 15, 100].map(|n| neighborhood_size(n, 15)),
            [1, 2, 2, 8, 15, 15]
        );
    }
}
