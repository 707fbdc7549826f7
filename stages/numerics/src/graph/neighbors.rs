//! Exact nearest neighbours.

use std::collections::BinaryHeap;

use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use clcc_data::matrix::Csr;

/// Queries of one task.
const QUERIES: usize = 64;
/// Candidates that are skipped together.
const STRIDE: usize = 16;
/// Candidates whose distances to the queries are computed together.
const CANDIDATES: usize = 1024;

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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    squared: f64,
    index: u32,
}

impl Eq for Candidate {}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.squared
            .total_cmp(&other.squared)
            .then(self.index.cmp(&other.index))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The `k` nearest rows of every row of `x` (`n x d`), the row itself first.
///
/// Exact: a blocked product gives |a|² + |b|² - 2ab for all pairs, and every pair that could be
/// among the nearest within that formula's rounding gets its distance from the differences of the
/// coordinates. So the result is that of the double loop with ties by index, whatever the blocks
/// and threads, and identical rows are at distance 0 exactly. O(n² d) time, O(n k) memory.
///
/// # Panics
/// Where `k` is 0 or above `n` (and `n` is not 0).
pub fn nearest_neighbors(x: &Array2<f64>, k: usize) -> Neighbors {
    let (n, d) = x.dim();
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
    let norms: Vec<f64> = x.rows().into_iter().map(|r| r.dot(&r)).collect();
    let search = Search {
        largest: norms.iter().copied().fold(0.0, f64::max),
        norms,
        all: MatRef::from_row_major_slice(x.as_slice().expect("standard layout"), n, d),
        x: x.view(),
        k,
    };
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
    /// The same for products.
    all: MatRef<'a, f64>,
    /// Squared lengths of the rows, and the largest of them.
    norms: Vec<f64>,
    largest: f64,
    k: usize,
}

impl Search<'_> {
    /// The neighbours of the rows from `first` on, as many as `indices` has room for.
    fn block(&self, first: usize, indices: &mut [u32], distances: &mut [f64]) {
        let (n, k) = (self.x.nrows(), self.k);
        let queries = indices.len() / k;
        let mut heaps: Vec<BinaryHeap<Candidate>> = vec![BinaryHeap::with_capacity(k + 1); queries];
        let mut products = vec![0f64; queries * CANDIDATES.min(n)];
        for start in (0..n).step_by(CANDIDATES) {
            let width = CANDIDATES.min(n - start);
            let products = &mut products[..queries * width];
            faer_matmul(
                MatMut::from_row_major_slice_mut(products, queries, width),
                Accum::Replace,
                self.all.subrows(first, queries),
                self.all.subrows(start, width).transpose(),
                1.0,
                Par::Seq,
            );
            for (q, (heap, row)) in heaps.iter_mut().zip(products.chunks(width)).enumerate() {
                self.consider(first + q, start, row, heap);
            }
        }
        for (q, heap) in heaps.into_iter().enumerate() {
            indices[q * k] = (first + q) as u32;
            for (slot, candidate) in heap.into_sorted_vec().into_iter().enumerate() {
                indices[q * k + slot + 1] = candidate.index;
                distances[q * k + slot + 1] = candidate.squared.sqrt();
            }
        }
    }

    /// Put those of the rows from `start` on into the heap that are among the nearest of `query` so far; `products`
    /// are their inner products with it.
    fn consider(
        &self,
        query: usize,
        start: usize,
        products: &[f64],
        heap: &mut BinaryHeap<Candidate>,
    ) {
        let k = self.k;
        // Rounding of the expanded formula: a few units in the last place of the norms.
        let margin = 1e-13 * (self.norms[query] + self.largest) * (self.x.ncols() as f64 + 4.0);
        // A product below this is of a pair that is too far, whatever the rounding.
        let own = self.norms[query] - margin;
        let mut limit = limit_of(heap, k);
        let norms = self.norms[start..start + products.len()].chunks(STRIDE);
        for (stretch, (row, norms)) in products.chunks(STRIDE).zip(norms).enumerate() {
            // The smallest estimate of a stretch decides for all of it; most are skipped.
            let least = row
                .iter()
                .zip(norms)
                .map(|(product, norm)| norm - 2.0 * product)
                .fold(f64::INFINITY, f64::min);
            if own + least > limit {
                continue;
            }
            for (c, (product, norm)) in row.iter().zip(norms).enumerate() {
                let other = start + stretch * STRIDE + c;
                if own + (norm - 2.0 * product) > limit || other == query {
                    continue;
                }
                let candidate = Candidate {
                    squared: squared_distance(self.x.row(query), self.x.row(other)),
                    index: other as u32,
                };
                if heap.len() < k - 1 {
                    heap.push(candidate);
                } else if let Some(mut worst) = heap.peek_mut()
                    && candidate < *worst
                {
                    *worst = candidate;
                }
                limit = limit_of(heap, k);
            }
        }
    }
}

/// The squared distance beyond which a cell is not among the `k - 1` nearest.
fn limit_of(heap: &BinaryHeap<Candidate>, k: usize) -> f64 {
    match heap.peek() {
        _ if k == 1 => f64::NEG_INFINITY,
        Some(worst) if heap.len() == k - 1 => worst.squared,
        _ => f64::INFINITY,
    }
}

fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
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
            let mut others: Vec<Candidate> = (0..n)
                .filter(|&j| j != i)
                .map(|j| Candidate {
                    squared: squared_distance(x.row(i), x.row(j)),
                    index: j as u32,
                })
                .collect();
            others.sort();
            indices[[i, 0]] = i as u32;
            for s in 1..k {
                indices[[i, s]] = others[s - 1].index;
                distances[[i, s]] = others[s - 1].squared.sqrt();
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
