//! Cross-modal retrieval: does a cell's embedding in one modality find the same cell in the other?
//!
//! Rows of the two matrices are the same cells, of unit length. A cell's rank is 1 plus the number
//! of *other* cells of the gallery that are at least as similar to it: ties count against us. Cost
//! is `n^2 x dim` products, memory a few numbers per cell.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Queries that share one pass over the gallery.
const QUERIES: usize = 16;
/// Partial sums of a dot product; fixed, so that equal rows give equal cosines to the bit.
const LANES: usize = 8;

/// What is known of each query of one direction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranked {
    /// Rank of the matching cell, from 1.
    pub rank: Vec<u32>,
    /// Cosine with the matching cell.
    pub positive: Vec<f64>,
    /// Mean cosine with the other cells of the gallery; NaN where there is none.
    pub mean_negative: Vec<f64>,
}

impl Ranked {
    /// Ranks every query among all rows of `gallery`; row `i` of both is the same cell.
    pub fn compute(queries: ArrayView2<'_, f32>, gallery: ArrayView2<'_, f32>) -> Self {
        let n = queries.nrows();
        let (queries, gallery) = (queries.as_standard_layout(), gallery.as_standard_layout());
        let total: Array1<f64> = gallery.map(|&v| f64::from(v)).sum_axis(Axis(0));
        let starts: Vec<usize> = (0..n).step_by(QUERIES).collect();
        let parts: Vec<Vec<u32>> = starts
            .par_iter()
            .map(|&start| {
                ranks_of(
                    start..n.min(start + QUERIES),
                    queries.view(),
                    gallery.view(),
                )
            })
            .collect();
        let positive: Vec<f64> = (0..n)
            .map(|i| wide_dot(queries.row(i), gallery.row(i)))
            .collect();
        let mean_negative = (0..n)
            .map(|i| {
                let all: f64 = queries
                    .row(i)
                    .iter()
                    .zip(&total)
                    .map(|(q, t)| f64::from(*q) * t)
                    .sum();
                (all - positive[i]) / (n as f64 - 1.0)
            })
            .map(|mean| if n > 1 { mean } else { f64::NAN })
            .collect();
        Self {
            rank: parts.concat(),
            positive,
            mean_negative,
        }
    }

    /// The queries at `rows`.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        let pick = |v: &[f64]| rows.iter().map(|&r| v[r]).collect();
        Self {
            rank: rows.iter().map(|&r| self.rank[r]).collect(),
            positive: pick(&self.positive),
            mean_negative: pick(&self.mean_negative),
        }
    }
}

fn ranks_of(
    cells: std::ops::Range<usize>,
    queries: ArrayView2<'_, f32>,
    gallery: ArrayView2<'_, f32>,
) -> Vec<u32> {
    let row = |m: &ArrayView2<'_, f32>, i: usize| m.row(i).to_slice().map(<[f32]>::to_vec);
    let own: Vec<Vec<f32>> = cells
        .clone()
        .map(|i| row(&queries, i).expect("standard layout"))
        .collect();
    let mut ranks = vec![1u32; own.len()];
    let dim = gallery.ncols();
    let flat = gallery.to_slice().expect("standard layout");
    let positive: Vec<f32> = cells
        .clone()
        .zip(&own)
        .map(|(i, q)| dot(q, &flat[i * dim..(i + 1) * dim]))
        .collect();
    for (j, other) in flat.chunks_exact(dim).enumerate() {
        for (k, i) in cells.clone().enumerate() {
            // Written so that a cosine that is not a number counts against us too.
            let behind = dot(&own[k], other) < positive[k];
            ranks[k] += u32::from(j != i && !behind);
        }
    }
    ranks
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_parts, a_rest) = a.as_chunks::<LANES>();
    let (b_parts, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_parts.iter().zip(b_parts) {
        for k in 0..LANES {
            sums[k] += x[k] * y[k];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

fn wide_dot(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

/// Retrieval figures of one direction over one set of queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of queries.
    pub queries: usize,
    /// Number of cells to choose from.
    pub gallery: usize,
    /// Share of queries whose match is among the first 1, 5, 10.
    pub top: [f64; 3],
    /// Mean of 1 / rank.
    pub mrr: f64,
    /// Mean rank.
    pub mean_rank: f64,
    /// Median rank (mean of the two middle ones).
    pub median_rank: f64,
    /// Mean cosine of matching pairs.
    pub mean_positive: f64,
    /// Mean over queries of their mean cosine with the other cells of the gallery.
    pub mean_negative: f64,
    /// Share of queries whose match is more similar than the mean of the others.
    pub positive_gap_fraction: f64,
}

/// The `k` of the top-k shares.
pub const TOP: [usize; 3] = [1, 5, 10];

impl Summary {
    /// Figures of these queries; `gallery` is the number of cells that each was ranked among.
    pub fn of(ranked: &Ranked, gallery: usize) -> Self {
        let n = ranked.rank.len();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n as f64;
        let mut sorted = ranked.rank.clone();
        sorted.sort_unstable();
        let median = if n == 0 {
            f64::NAN
        } else {
            f64::from(sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
        };
        let share = |k: usize| {
            mean(
                &mut ranked
                    .rank
                    .iter()
                    .map(|&r| f64::from(u8::from(r as usize <= k))),
            )
        };
        let pairs = || ranked.positive.iter().zip(&ranked.mean_negative);
        Self {
            queries: n,
            gallery,
            top: TOP.map(share),
            mrr: mean(&mut ranked.rank.iter().map(|&r| 1.0 / f64::from(r))),
            mean_rank: mean(&mut ranked.rank.iter().map(|&r| f64::from(r))),
            median_rank: median,
            mean_positive: mean(&mut ranked.positive.iter().copied()),
            mean_negative: mean(&mut ranked.mean_negative.iter().copied()),
            positive_gap_fraction: if gallery > 1 {
                mean(&mut pairs().map(|(p, m)| f64::from(u8::from(p > m))))
            } else {
                f64::NAN
            },
        }
    }

    /// What a ranking drawn at random would reach on average.
    pub fn chance(queries: usize, gallery: usize) -> Self {
        let n = gallery as f64;
        Self {
            queries,
            gallery,
            top: TOP.map(|k| k.min(gallery) as f64 / n),
            mrr: (1..=gallery).map(|r| 1.0 / r as f64).sum::<f64>() / n,
            mean_rank: (n + 1.0) / 2.0,
            median_rank: (n + 1.0) / 2.0,
            mean_positive: f64::NAN,
            mean_negative: f64::NAN,
            positive_gap_fraction: f64::NAN,
        }
    }

    /// Mean positive less mean negative cosine.
    pub fn alignment_gap(&self) -> f64 {
        self.mean_positive - self.mean_negative
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use ndarray::{Array2, array};

    fn unit_rows(n: usize, dim: usize, seed: u64) -> Array2<f32> {
        let mut rng = Rng::new(seed, "test.eval", &[]);
        let mut a = Array2::from_shape_fn((n, dim), |_| rng.normal() as f32);
        for mut row in a.rows_mut() {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.mapv_inplace(|v| v / norm);
        }
        a
    }

    /// Three cells on axes: cell 0 matches, cells 1 and 2 have swapped matches.
    #[test]
    fn ranks_of_three_cells_by_hand() {
        let q = array![[1f32, 0., 0.], [0., 1., 0.], [0., 0., 1.]];
        let g = array![[1f32, 0., 0.], [0., 0., 1.], [0., 1., 0.]];
        let r = Ranked::compute(q.view(), g.view());
        // Cell 1: own match 0, cell 0's 0 (a tie, against us), cell 2's 1: rank 3.
        assert_eq!(r.rank, [1, 3, 3]);
        assert_eq!(r.positive, [1.0, 0.0, 0.0]);
        assert_eq!(r.mean_negative, [0.0, 0.5, 0.5]);
        let s = Summary::of(&r, 3);
        assert_eq!(
            (s.top, s.mean_rank, s.median_rank),
            ([1.0 / 3.0, 1.0, 1.0], 7.0 / 3.0, 3.0)
        );
        assert!((s.mrr - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((s.alignment_gap() - 0.0).abs() < 1e-12);
        assert_eq!(s.positive_gap_fraction, 1.0 / 3.0);
    }

    #[test]
    fn equal_gallery_rows_all_count_against_us() {
        let q = unit_rows(40, 19, 1);
        // Everyone has the same match.
        let g = Array2::from_shape_fn((40, 19), |(_, k)| q[[0, k]]);
        assert!(
            Ranked::compute(q.view(), g.view())
                .rank
                .iter()
                .all(|&r| r == 40)
        );
    }

    #[test]
    fn blocks_agree_with_sorting_each_row() {
        let (q, g) = (unit_rows(57, 21, 2), unit_rows(57, 21, 3));
        let r = Ranked::compute(q.view(), g.view());
        let cosines = q.dot(&g.t());
        for i in 0..57 {
            let mut row: Vec<f32> = cosines.row(i).to_vec();
            row.sort_by(|a, b| b.total_cmp(a));
            let expected = row
                .iter()
                .position(|&v| (v - cosines[[i, i]]).abs() < 1e-6)
                .unwrap()
                + 1;
            assert_eq!(r.rank[i] as usize, expected, "query {i}");
            let others = (cosines.row(i).sum() - cosines[[i, i]]) / 56.0;
            assert!((r.mean_negative[i] - f64::from(others)).abs() < 1e-6);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(pool.install(|| Ranked::compute(q.view(), g.view())), r);
    }

    #[test]
    fn random_embeddings_are_at_chance() {
        let (q, g) = (unit_rows(600, 16, 4), unit_rows(600, 16, 5));
        let (s, chance) = (
            Summary::of(&Ranked::compute(q.view(), g.view()), 600),
            Summary::chance(600, 600),
        );
        // Ranks are uniform on 1..600: standard error of their mean 7.1.
        assert!((s.mean_rank - chance.mean_rank).abs() < 30.0, "{s:?}");
        assert!(
            (s.top[2] - chance.top[2]).abs() < 0.02 && s.alignment_gap().abs() < 0.05,
            "{s:?}"
        );
        assert_eq!(Summary::chance(3, 4).top, [0.25, 1.0, 1.0]);
        assert!((Summary::chance(3, 4).mrr - 25.0 / 48.0).abs() < 1e-12);
    }

    #[test]
    fn a_gallery_of_one_has_no_negatives() {
        let q = unit_rows(1, 4, 6);
        let s = Summary::of(&Ranked::compute(q.view(), q.view()), 1);
        assert_eq!(s.top, [1.0; 3]);
        assert!(s.mean_negative.is_nan() && s.positive_gap_fraction.is_nan());
    }
}
