//! Ranks cells across modalities: does a cell's embedding in one find the same cell in the other?
//!
//! Row `i` of both matrices is the same cell, of unit length. Its rank is 1 plus the number of *other*
//! cells of the gallery whose cosine with it is at least that of its match, so ties worsen it. Its gap
//! is the cosine with its match less that with the most similar other cell (CLCC, section 5.1.7), so
//! a gap is above 0 exactly where the rank is 1. Cost is `n^2 x dim` products for both directions
//! together, memory a few numbers per cell.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Queries of one task, and cells of the gallery that it compares them with at a time.
const QUERIES: usize = 64;
const GALLERY: usize = 128;
/// Partial sums of a dot product.
const LANES: usize = 16;

/// The rank, cosine and gap of each query in one direction; all vectors have one entry per query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranked {
    /// Rank of the matching cell, from 1.
    pub rank: Vec<u32>,
    /// Cosine with the matching cell, in [-1, 1].
    pub positive: Vec<f64>,
    /// That cosine less the largest one with another cell of the gallery (the hardest negative), both
    /// from the products that are ranked: above 0 exactly where the rank is 1. NaN without another cell, and
    /// where a cosine is not a number.
    pub gap: Vec<f64>,
    /// Mean cosine with the other cells of the gallery; NaN where there is none.
    pub mean_negative: Vec<f64>,
}

impl Ranked {
    /// Ranks every row of `queries` among all rows of `gallery`, and every row of `gallery` among
    /// all rows of `queries`; row `i` of both is the same cell. One pass over the pairs serves both.
    pub fn both_ways(queries: ArrayView2<'_, f32>, gallery: ArrayView2<'_, f32>) -> (Self, Self) {
        let (n, dim) = queries.dim();
        let (a, b) = (Padded::new(queries), Padded::new(gallery));
        let arch = clcc_numerics::math::vectors();
        // The same sum as for every other pair, so that equal rows tie with the own match.
        let own: Vec<f32> = (0..n)
            .into_par_iter()
            .map(|i| {
                let mut out = [0f32];
                arch.dispatch(Cosines {
                    queries: a.rows(i..i + 1),
                    gallery: b.rows(i..i + 1),
                    width: a.width,
                    out: &mut out,
                });
                out[0]
            })
            .collect();
        let starts: Vec<usize> = (0..n).step_by(QUERIES).collect();
        let columns: Vec<Column> = (0..n).map(|_| Column::default()).collect();
        let rows: Vec<Vec<Row>> = starts
            .par_iter()
            .map(|&start| {
                let cells = start..n.min(start + QUERIES);
                let mut rows = vec![Row::default(); cells.len()];
                let mut cosines = vec![0f32; cells.len() * GALLERY];
                for first in (0..n).step_by(GALLERY) {
                    let others = first..n.min(first + GALLERY);
                    let cosines = &mut cosines[..cells.len() * others.len()];
                    arch.dispatch(Cosines {
                        queries: a.rows(cells.clone()),
                        gallery: b.rows(others.clone()),
                        width: a.width,
                        out: cosines,
                    });
                    count(&cells, &others, cosines, &own, &mut rows, &columns);
                }
                rows
            })
            .collect();
        let columns: Vec<Row> = columns.into_iter().map(Row::from).collect();
        debug_assert!(dim <= a.width);
        (
            Self::with_rows(&rows.concat(), &own, queries, gallery),
            Self::with_rows(&columns, &own, gallery, queries),
        )
    }

    /// Completes the counts `rows` of each query with cosines and gaps; `own` is its cosine with its match.
    fn with_rows(
        rows: &[Row],
        own: &[f32],
        queries: ArrayView2<'_, f32>,
        gallery: ArrayView2<'_, f32>,
    ) -> Self {
        let n = queries.nrows();
        let total: Array1<f64> = gallery.map(|&v| f64::from(v)).sum_axis(Axis(0));
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
        // The difference of two f32 is exact in sign.
        let gap = |(row, own): (&Row, &f32)| match row.hardest() {
            Some(hardest) => f64::from(*own) - f64::from(hardest),
            None => f64::NAN,
        };
        Self {
            rank: rows.iter().map(|r| 1 + r.ahead).collect(),
            gap: rows.iter().zip(own).map(gap).collect(),
            positive,
            mean_negative,
        }
    }

    /// Selects the queries at `rows`.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        let pick = |v: &[f64]| rows.iter().map(|&r| v[r]).collect();
        Self {
            rank: rows.iter().map(|&r| self.rank[r]).collect(),
            positive: pick(&self.positive),
            gap: pick(&self.gap),
            mean_negative: pick(&self.mean_negative),
        }
    }
}

/// Rows padded with zeros to a multiple of [`LANES`].
struct Padded {
    values: Vec<f32>,
    width: usize,
}

impl Padded {
    fn new(rows: ArrayView2<'_, f32>) -> Self {
        let width = rows.ncols().next_multiple_of(LANES);
        let mut values = vec![0f32; rows.nrows() * width];
        for (to, from) in values.chunks_exact_mut(width.max(1)).zip(rows.rows()) {
            to.iter_mut().zip(from).for_each(|(to, &v)| *to = v);
        }
        Self { values, width }
    }

    fn rows(&self, rows: Range<usize>) -> &[f32] {
        &self.values[rows.start * self.width..rows.end * self.width]
    }
}

/// Computes `out[query, other]`. Every cosine is the same sum of [`LANES`] partial sums, so equal rows
/// give equal cosines, bit for bit, wherever they are.
struct Cosines<'a> {
    queries: &'a [f32],
    gallery: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Cosines<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            queries,
            gallery,
            width,
            out,
        } = self;
        let n = gallery.len() / width;
        for (query, out) in queries.chunks_exact(width).zip(out.chunks_exact_mut(n)) {
            let query = query.as_chunks::<LANES>().0;
            for (other, out) in gallery.chunks_exact(width).zip(out) {
                let mut sums = [0f32; LANES];
                for (x, y) in query.iter().zip(other.as_chunks::<LANES>().0) {
                    for k in 0..LANES {
                        sums[k] += x[k] * y[k];
                    }
                }
                // In this order always; written out, so that it stays in registers.
                let mut eight = [0f32; LANES / 2];
                for k in 0..LANES / 2 {
                    eight[k] = sums[k] + sums[k + LANES / 2];
                }
                let [a, b, c, d, e, f, g, h] = eight;
                *out = ((a + e) + (c + g)) + ((b + f) + (d + h));
            }
        }
    }
}

/// The other cells of the gallery that one query was compared with so far.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// Number of those that are at least as similar as the match.
    ahead: u32,
    /// [`place`] of the most similar; 0 before the first.
    hardest: u32,
}

impl Row {
    fn hardest(self) -> Option<f32> {
        (self.hardest > 0).then(|| cosine_at(self.hardest))
    }
}

/// [`Row`] of a cell of the gallery taken as a query. Tasks add to it concurrently: sums and maxima do
/// not depend on their order.
#[derive(Debug, Default)]
struct Column {
    ahead: AtomicU32,
    hardest: AtomicU32,
}

impl From<Column> for Row {
    fn from(column: Column) -> Self {
        Self {
            ahead: column.ahead.into_inner(),
            hardest: column.hardest.into_inner(),
        }
    }
}

/// Maps a cosine to a number above 0 in the same order; NaN maps to the largest.
fn place(cosine: f32) -> u32 {
    let bits = cosine.to_bits();
    if cosine.is_nan() {
        u32::MAX
    } else if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

/// The cosine at a [`place`].
fn cosine_at(place: u32) -> f32 {
    if place == u32::MAX {
        f32::NAN
    } else if place >> 31 == 1 {
        f32::from_bits(place & !(1 << 31))
    } else {
        f32::from_bits(!place)
    }
}

/// Counts a tile of `cosines` (`cells x others`): for the cells as queries into `rows`, for the others
/// as queries into `columns`.
fn count(
    cells: &Range<usize>,
    others: &Range<usize>,
    cosines: &[f32],
    own: &[f32],
    rows: &mut [Row],
    columns: &[Column],
) {
    let n = others.len();
    let mut here = vec![Row::default(); n];
    for ((i, query), row) in cells.clone().zip(rows).zip(cosines.chunks_exact(n)) {
        let mine = own[i];
        // Written so that a cosine that is not a number counts against us too.
        let behind = row.iter().map(|c| u32::from(*c < mine)).sum::<u32>();
        query.ahead += n as u32 - behind;
        for ((column, cosine), own) in here.iter_mut().zip(row).zip(&own[others.clone()]) {
            let behind = *cosine < *own;
            column.ahead += u32::from(!behind);
        }
        let own_at = others.contains(&i).then(|| i - others.start);
        if let Some(at) = own_at {
            // Itself, which is not behind.
            query.ahead -= 1;
            here[at].ahead -= 1;
        }
        let at = own_at.unwrap_or(n);
        for part in [0..at, (at + 1).min(n)..n] {
            for (column, &cosine) in here[part.clone()].iter_mut().zip(&row[part]) {
                let place = place(cosine);
                query.hardest = query.hardest.max(place);
                column.hardest = column.hardest.max(place);
            }
        }
    }
    for (column, here) in columns[others.clone()].iter().zip(here) {
        column.ahead.fetch_add(here.ahead, Ordering::Relaxed);
        column.hardest.fetch_max(here.hardest, Ordering::Relaxed);
    }
}

fn wide_dot(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

/// Retrieval metrics of one direction over one set of queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of queries.
    pub queries: usize,
    /// Number of cells that each query is ranked among.
    pub gallery: usize,
    /// Share of queries whose rank is at most 1, 5 and 10 ([`TOP`]).
    pub top: [f64; 3],
    /// Mean reciprocal rank, in (0, 1].
    pub mrr: f64,
    /// Mean rank.
    pub mean_rank: f64,
    /// Median rank (mean of the two middle ones).
    pub median_rank: f64,
    /// Mean cosine of matching pairs.
    pub mean_positive: f64,
    /// Mean over queries of their mean cosine with the other cells of the gallery.
    pub mean_negative: f64,
    /// Mean over queries of the cosine with the match minus that with the hardest negative.
    pub alignment_gap: f64,
    /// Share of queries whose match is more similar than every other cell: top-1, where there is
    /// another cell.
    pub positive_gap_fraction: f64,
    /// Share of queries whose match is more similar than the mean of the others.
    pub mean_negative_gap_fraction: f64,
}

/// The `k` of the top-k shares.
pub const TOP: [usize; 3] = [1, 5, 10];

impl Summary {
    /// Summarises queries that were each ranked among `gallery` cells.
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
        let where_others = |share: f64| if gallery > 1 { share } else { f64::NAN };
        Self {
            queries: n,
            gallery,
            top: TOP.map(share),
            mrr: mean(&mut ranked.rank.iter().map(|&r| 1.0 / f64::from(r))),
            mean_rank: mean(&mut ranked.rank.iter().map(|&r| f64::from(r))),
            median_rank: median,
            mean_positive: mean(&mut ranked.positive.iter().copied()),
            mean_negative: mean(&mut ranked.mean_negative.iter().copied()),
            alignment_gap: mean(&mut ranked.gap.iter().copied()),
            positive_gap_fraction: where_others(mean(
                &mut ranked.gap.iter().map(|&g| f64::from(u8::from(g > 0.0))),
            )),
            mean_negative_gap_fraction: where_others(mean(
                &mut pairs().map(|(p, m)| f64::from(u8::from(p > m))),
            )),
        }
    }

    /// The expectation of a random order of the gallery; NaN for what depends on cosines.
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
            alignment_gap: f64::NAN,
            positive_gap_fraction: f64::NAN,
            mean_negative_gap_fraction: f64::NAN,
        }
    }

    /// Mean cosine of matching pairs minus the mean cosine with all other cells. Easier to pass than
    /// `alignment_gap`, since few other cells come near.
    pub fn mean_negative_gap(&self) -> f64 {
        self.mean_positive - self.mean_negative
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;
    use clcc_testing::at_threads;
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
        let (r, _) = Ranked::both_ways(q.view(), g.view());
        // Cell 1: own match 0, cell 0's 0 (a tie, against us), cell 2's 1: rank 3.
        assert_eq!(r.rank, [1, 3, 3]);
        assert_eq!(r.positive, [1.0, 0.0, 0.0]);
        assert_eq!(r.mean_negative, [0.0, 0.5, 0.5]);
        // Against the hardest: 1 - 0, 0 - 1, 0 - 1.
        assert_eq!(r.gap, [1.0, -1.0, -1.0]);
        let s = Summary::of(&r, 3);
        assert_eq!(
            (s.top, s.mean_rank, s.median_rank),
            ([1.0 / 3.0, 1.0, 1.0], 7.0 / 3.0, 3.0)
        );
        assert!((s.mrr - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((s.alignment_gap + 1.0 / 3.0).abs() < 1e-12);
        assert!((s.mean_negative_gap() - 0.0).abs() < 1e-12);
        assert_eq!(s.positive_gap_fraction, 1.0 / 3.0);
        assert_eq!(s.mean_negative_gap_fraction, 1.0 / 3.0);
    }

    #[test]
    fn equal_gallery_rows_all_count_against_us() {
        let q = unit_rows(40, 19, 1);
        // Everyone has the same match.
        let g = Array2::from_shape_fn((40, 19), |(_, k)| q[[0, k]]);
        assert!(
            Ranked::both_ways(q.view(), g.view())
                .0
                .rank
                .iter()
                .all(|&r| r == 40)
        );
    }

    #[test]
    fn blocks_agree_with_sorting_each_row() {
        // More than one task and tile, and a width that is filled up.
        const N: usize = 200;
        let (q, g) = (unit_rows(N, 21, 2), unit_rows(N, 21, 3));
        let (r, _) = Ranked::both_ways(q.view(), g.view());
        let cosines = q.dot(&g.t());
        for i in 0..N {
            let mut row: Vec<f32> = cosines.row(i).to_vec();
            row.sort_by(|a, b| b.total_cmp(a));
            let expected = row
                .iter()
                .position(|&v| (v - cosines[[i, i]]).abs() < 1e-6)
                .unwrap()
                + 1;
            assert_eq!(r.rank[i] as usize, expected, "query {i}");
            let others = (cosines.row(i).sum() - cosines[[i, i]]) / (N as f32 - 1.0);
            assert!((r.mean_negative[i] - f64::from(others)).abs() < 1e-6);
        }
        // The other direction is the first one of the exchanged sides.
        assert_eq!(
            Ranked::both_ways(q.view(), g.view()).1,
            Ranked::both_ways(g.view(), q.view()).0
        );
        assert_eq!(at_threads(1, || Ranked::both_ways(q.view(), g.view())).0, r);
    }

    #[test]
    fn random_embeddings_are_at_chance() {
        let (q, g) = (unit_rows(600, 16, 4), unit_rows(600, 16, 5));
        let (s, chance) = (
            Summary::of(&Ranked::both_ways(q.view(), g.view()).0, 600),
            Summary::chance(600, 600),
        );
        // Ranks are uniform on 1..600: standard error of their mean 7.1.
        assert!((s.mean_rank - chance.mean_rank).abs() < 30.0, "{s:?}");
        assert!(
            (s.top[2] - chance.top[2]).abs() < 0.02 && s.mean_negative_gap().abs() < 0.05,
            "{s:?}"
        );
        // The hardest of 599 is far above a match at random: half a unit and more of 16 dimensions.
        assert!(s.alignment_gap < -0.5, "{s:?}");
        assert_eq!(Summary::chance(3, 4).top, [0.25, 1.0, 1.0]);
        assert!((Summary::chance(3, 4).mrr - 25.0 / 48.0).abs() < 1e-12);
    }

    #[test]
    fn a_gallery_of_one_has_no_negatives() {
        let q = unit_rows(1, 4, 6);
        let s = Summary::of(&Ranked::both_ways(q.view(), q.view()).0, 1);
        assert_eq!(s.top, [1.0; 3]);
        assert!(s.mean_negative.is_nan() && s.positive_gap_fraction.is_nan());
        assert!(s.alignment_gap.is_nan() && s.mean_negative_gap_fraction.is_nan());
    }

    /// Cosines of every pair, their largest off the diagonal and the two figures of CLCC 5.1.7, by
    /// plain loops over a matrix.
    fn figures_of_5_1_7(q: &Array2<f32>, g: &Array2<f32>) -> (f64, f64) {
        let s = q.mapv(f64::from).dot(&g.mapv(f64::from).t());
        let n = s.nrows();
        let (mut gaps, mut positive) = (0.0, 0);
        for i in 0..n {
            let mut hardest = f64::NEG_INFINITY;
            for j in 0..n {
                if j != i {
                    hardest = hardest.max(s[[i, j]]);
                }
            }
            gaps += s[[i, i]] - hardest;
            positive += usize::from(s[[i, i]] > hardest);
        }
        (gaps / n as f64, positive as f64 / n as f64)
    }

    #[test]
    fn the_gap_is_to_the_hardest_negative() {
        // Partly aligned, more than one tile, so that some gaps are above 0 and some below.
        const N: usize = 300;
        let q = unit_rows(N, 12, 7);
        let mut g = &q + &(unit_rows(N, 12, 8) * 0.7);
        for mut row in g.rows_mut() {
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let (forward, backward) = Ranked::both_ways(q.view(), g.view());
        for (ranked, expected) in [
            (forward, figures_of_5_1_7(&q, &g)),
            (backward, figures_of_5_1_7(&g, &q)),
        ] {
            let s = Summary::of(&ranked, N);
            assert!((0.05..0.95).contains(&expected.1), "{expected:?}");
            assert!(
                (s.alignment_gap - expected.0).abs() < 1e-6,
                "{s:?} {expected:?}"
            );
            assert_eq!(s.positive_gap_fraction, expected.1);
            assert!(s.mean_negative_gap() > s.alignment_gap + 0.1);
        }
    }

    proptest::proptest! {
        /// Few distinct values a coordinate, so that ties with the own match are common; now and then a
        /// value that is not a number.
        #[test]
        fn the_positive_fraction_is_top_1(
            q in proptest::collection::vec(-1i8..=1, 2..150),
            g in proptest::collection::vec(-1i8..=1, 150),
            holes in proptest::collection::vec(0usize..600, 0..3),
        ) {
            let n = q.len() / 2;
            let rows = |values: &[i8], holes: &[usize]| {
                let mut a = Array2::from_shape_fn((n, 2), |(i, k)| f32::from(values[2 * i + k]) * 0.6);
                for &h in holes.iter().filter(|h| **h < 2 * n) {
                    a[[h / 2, h % 2]] = f32::NAN;
                }
                a
            };
            let (q, g) = (rows(&q, &holes), rows(&g, &[]));
            let (forward, backward) = Ranked::both_ways(q.view(), g.view());
            for ranked in [forward, backward] {
                for (rank, gap) in ranked.rank.iter().zip(&ranked.gap) {
                    proptest::prop_assert_eq!(*rank == 1, *gap > 0.0 || n == 1);
                }
                let s = Summary::of(&ranked, n);
                if n > 1 {
                    proptest::prop_assert_eq!(s.positive_gap_fraction, s.top[0]);
                }
            }
        }
    }

    #[test]
    fn places_keep_the_order_of_cosines() {
        let rising = [
            f32::NEG_INFINITY,
            -1.0,
            -f32::MIN_POSITIVE,
            -0.0,
            0.0,
            f32::MIN_POSITIVE,
            0.5,
            1.0,
            f32::INFINITY,
        ];
        assert!(rising.windows(2).all(|w| place(w[0]) < place(w[1])));
        assert!(place(f32::NEG_INFINITY) > 0 && place(f32::NAN) > place(f32::INFINITY));
        assert!(
            rising
                .iter()
                .all(|&c| cosine_at(place(c)).to_bits() == c.to_bits())
        );
        assert!(cosine_at(place(f32::NAN)).is_nan());
    }
}
