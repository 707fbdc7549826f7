//! The Wilcoxon rank-sum (Mann-Whitney) test, dense and over the columns of a sparse matrix.
//!
//! Expression is mostly zeros, so the sparse form ranks only the stored values: the zeros are one
//! block of ties (presto; Korsunsky et al. 2019). A gene's values are sorted once, and every
//! contrast reads its own cells off that order, so one pass gives rank sums, ties, means and
//! fractions for all contrasts: sixteen contrasts walk together (`lanes`), one alone needs no cell's number (`one`).

mod lanes;
mod one;
pub(super) mod order;

use rayon::prelude::*;

use super::{PValue, two_sided_normal};
use clcc_data::matrix::Csr;

/// Conventions of the z score. The default is scanpy's `rank_genes_groups(method="wilcoxon")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RankSumOptions {
    /// Shrinks the variance by the ties (scipy always does; scanpy's `tie_correct`).
    pub tie_correct: bool,
    /// Moves the statistic half a rank towards its mean (scipy's `use_continuity`).
    pub continuity: bool,
}

impl RankSumOptions {
    /// `scanpy.tl.rank_genes_groups(method="wilcoxon")`: neither.
    pub const SCANPY: Self = Self {
        tie_correct: false,
        continuity: false,
    };
    /// `scipy.stats.mannwhitneyu(method="asymptotic")`: both.
    pub const SCIPY: Self = Self {
        tie_correct: true,
        continuity: true,
    };
}

/// Two groups of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contrast {
    /// Per row: 1 in the group, 2 in the reference, 0 in neither.
    pub side: Vec<u8>,
}

/// Result of one contrast for one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneTest {
    /// z score, positive where the group ranks higher; 0 where nothing varies.
    pub z: f64,
    /// Two-sided, from the normal approximation.
    pub p: PValue,
    /// Rank sum of the group.
    pub rank_sum: f64,
    /// Mean of the group, over all its rows.
    pub mean_group: f64,
    /// Mean of the reference, over all its rows.
    pub mean_reference: f64,
    /// Fraction of the group's rows that are not zero.
    pub pct_group: f64,
    /// Fraction of the reference's rows that are not zero.
    pub pct_reference: f64,
}

/// z of a rank sum `r1` of `n1` values among `n1 + n2`, with `ties` = sum of t^3 - t.
///
/// `z = (r1 - n1 (N+1)/2) / sqrt(c n1 n2 (N+1)/12)`, `c = 1 - ties/(N^3 - N)` with `tie_correct`
/// and 1 without. 0 where the variance is 0.
pub fn rank_sum(r1: f64, n1: f64, n2: f64, ties: f64, options: RankSumOptions) -> f64 {
    let n = n1 + n2;
    let c = if options.tie_correct {
        1.0 - ties / (n * n * n - n)
    } else {
        1.0
    };
    let sd = (c * n1 * n2 * (n + 1.0) / 12.0).sqrt();
    let mut distance = r1 - n1 * (n + 1.0) / 2.0;
    if options.continuity {
        distance = distance.signum() * (distance.abs() - 0.5).max(0.0);
    }
    if sd > 0.0 { distance / sd } else { 0.0 }
}

/// The test of two samples: z and the two-sided p of the normal approximation
/// (`scipy.stats.mannwhitneyu(method="asymptotic")` with both options on).
///
/// ```
/// use clcc_numerics::stats::{RankSumOptions, rank_sum_dense};
///
/// // The first sample ranks highest throughout: 9 of 9 pairs, z = (15 - 10.5) / sqrt(5.25).
/// let (z, p) = rank_sum_dense(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0], RankSumOptions::SCANPY);
/// assert!((z - 4.5 / 5.25_f64.sqrt()).abs() < 1e-12);
/// assert!((p.p - 0.0495).abs() < 1e-4);
/// ```
pub fn rank_sum_dense(a: &[f64], b: &[f64], options: RankSumOptions) -> (f64, PValue) {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = super::average_ranks(&all);
    let mut sorted = ranks.clone();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|x, y| x == y)
        .map(|t| (t.len() as f64).powi(3) - t.len() as f64)
        .sum();
    let z = rank_sum(
        ranks[..a.len()].iter().sum(),
        a.len() as f64,
        b.len() as f64,
        ties,
        options,
    );
    (z, two_sided_normal(z))
}

/// Every contrast on every row of `genes` (a gene x cell matrix: the transpose of expression).
///
/// Result: `[contrast][gene]`. Values may be negative; stored zeros count as zeros; no NaN.
/// Parallel over genes, and the same bits at any number of threads. O(stored values x contrasts).
///
/// # Panics
/// Where a contrast has not one side per cell, or an empty group.
pub fn sparse_wilcoxon(
    genes: &Csr,
    contrasts: &[Contrast],
    options: RankSumOptions,
) -> Vec<Vec<GeneTest>> {
    let sizes = sizes(genes, contrasts);
    let test = |tally: &Tally, sizes: (f64, f64)| tally.test(sizes, options);
    let mut out: Vec<Vec<GeneTest>> = Vec::with_capacity(contrasts.len());
    if let [only] = contrasts {
        let tallies = one::tallies(genes, &only.side, options.tie_correct);
        out.push(tallies.par_iter().map(|t| test(t, sizes[0])).collect());
        return out;
    }
    let sides: Vec<&[u8]> = contrasts.iter().map(|c| c.side.as_slice()).collect();
    for (tallies, &size) in lanes::tallies(genes, &sides).into_iter().zip(&sizes) {
        out.push(tallies.into_par_iter().map(|t| test(&t, size)).collect());
    }
    out
}

/// z and means of one contrast for one gene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankScore {
    /// As [`GeneTest::z`].
    pub z: f64,
    /// Mean of the group, over all its rows.
    pub mean_group: f64,
    /// Mean of the reference, over all its rows.
    pub mean_reference: f64,
}

/// As [`sparse_wilcoxon`], without p-values and fractions, for many contrasts of which few genes are looked at:
/// the same z and means, to the bit. `[contrast][gene]`.
///
/// # Panics
/// As [`sparse_wilcoxon`].
pub fn rank_scores(
    genes: &Csr,
    contrasts: &[Contrast],
    options: RankSumOptions,
) -> Vec<Vec<RankScore>> {
    let sides: Vec<&[u8]> = contrasts.iter().map(|c| c.side.as_slice()).collect();
    let score = |tally: &Tally, (n1, n2): (f64, f64)| RankScore {
        z: tally.z((n1, n2), options),
        mean_group: tally.sums[0] / n1,
        mean_reference: tally.sums[1] / n2,
    };
    let sizes = sizes(genes, contrasts);
    let tallies = lanes::tallies(genes, &sides).into_iter().zip(&sizes);
    tallies
        .map(|(genes, &size)| genes.iter().map(|t| score(t, size)).collect())
        .collect()
}

/// Rows of the group and of the reference of each contrast.
fn sizes(genes: &Csr, contrasts: &[Contrast]) -> Vec<(f64, f64)> {
    let of = |c: &Contrast| {
        assert_eq!(c.side.len(), genes.n_cols(), "one side per cell");
        let count = |s: u8| c.side.iter().filter(|&&x| x == s).count() as f64;
        let sizes = (count(1), count(2));
        assert!(sizes.0 > 0.0 && sizes.1 > 0.0, "both groups have cells");
        sizes
    };
    contrasts.iter().map(of).collect()
}

/// What the test of one contrast for one gene rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    rank_sum: f64,
    ties: f64,
    /// Sums of the group's and of the reference's values, added in rising order.
    sums: [f64; 2],
    /// Their values that are not 0.
    counts: [u32; 2],
}

impl Tally {
    fn z(&self, (n1, n2): (f64, f64), options: RankSumOptions) -> f64 {
        rank_sum(self.rank_sum, n1, n2, self.ties, options)
    }

    fn test(&self, (n1, n2): (f64, f64), options: RankSumOptions) -> GeneTest {
        let z = self.z((n1, n2), options);
        GeneTest {
            z,
            p: two_sided_normal(z),
            rank_sum: self.rank_sum,
            mean_group: self.sums[0] / n1,
            mean_reference: self.sums[1] / n2,
            pct_group: f64::from(self.counts[0]) / n1,
            pct_reference: f64::from(self.counts[1]) / n2,
        }
    }
}

/// Rank sum of a group of `n1` values of which `wins_twice` is twice the number of pairs with a value of the
/// reference that it outranks, ties half: exact, as all of it is whole.
fn from_wins(n1: f64, wins_twice: u64) -> f64 {
    (n1 * (n1 + 1.0) + wins_twice as f64) / 2.0
}

/// Ranks as they are dealt out from below. All sums are multiples of one half, so they are exact.
#[derive(Default)]
pub(super) struct Ranking {
    below: f64,
    /// Of the group.
    pub(super) rank_sum: f64,
    /// Sum of t^3 - t.
    pub(super) ties: f64,
}

impl Ranking {
    /// `t` tied values, `t1` of them in the group.
    pub(super) fn block(&mut self, t: f64, t1: f64) {
        self.rank_sum += t1 * (self.below + (t + 1.0) / 2.0);
        self.ties += t * t * t - t;
        self.below += t;
    }

    pub(super) fn runs(&mut self, sorted: &[u64], side: &[u8]) {
        let mut at = 0;
        while at < sorted.len() {
            let key = sorted[at] >> 32;
            let (mut t1, mut t2) = (0_u32, 0_u32);
            while at < sorted.len() && sorted[at] >> 32 == key {
                match side[sorted[at] as u32 as usize] {
                    1 => t1 += 1,
                    2 => t2 += 1,
                    _ => {}
                }
                at += 1;
            }
            if t1 + t2 > 0 {
                self.block(f64::from(t1 + t2), f64::from(t1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn dense_test(column: &[f32], side: &[u8], options: RankSumOptions) -> (f64, PValue) {
        let pick = |s: u8| -> Vec<f64> {
            column
                .iter()
                .zip(side)
                .filter(|(_, x)| **x == s)
                .map(|(v, _)| f64::from(*v))
                .collect()
        };
        rank_sum_dense(&pick(1), &pick(2), options)
    }

    proptest! {
        #[test]
        fn sparse_equals_dense(
            values in prop::collection::vec(prop_oneof![3 => Just(0.0_f32), 2 => (-2_i8..4).prop_map(f32::from), 1 => -3.0_f32..3.0], 40),
            sides in prop::collection::vec(0_u8..3, 20),
            tie_correct: bool, continuity: bool,
        ) {
            // 20 cells x 2 genes; both groups have a cell.
            let mut side = sides;
            (side[0], side[1]) = (1, 2);
            let options = RankSumOptions { tie_correct, continuity };
            let dense = ndarray::Array2::from_shape_vec((2, 20), values).unwrap();
            let got = sparse_wilcoxon(&Csr::from_dense(&dense), &[Contrast { side: side.clone() }], options);
            for g in 0..2 {
                let column = dense.row(g).to_vec();
                let (z, p) = dense_test(&column, &side, options);
                prop_assert!((got[0][g].z - z).abs() < 1e-12, "{} {}", got[0][g].z, z);
                prop_assert_eq!(got[0][g].p.p, p.p);
                let group: Vec<f64> = (0..20).filter(|&i| side[i] == 1).map(|i| f64::from(column[i])).collect();
                prop_assert!((got[0][g].mean_group - super::super::mean(&group)).abs() < 1e-12);
                let nonzero = group.iter().filter(|v| **v != 0.0).count() as f64 / group.len() as f64;
                prop_assert_eq!(got[0][g].pct_group, nonzero);
            }
        }
    }

    /// One contrast at a time, cell by cell, without anything shared.
    fn slow(row: (&[u32], &[f32]), side: &[u8], options: RankSumOptions) -> GeneTest {
        let mut order = order::Order::default();
        let sorted = order.sort(row);
        let size = |s: u8| side.iter().filter(|&&x| x == s).count() as f64;
        let (n1, n2) = (size(1), size(2));
        let (mut sums, mut counts) = ([0.0_f64; 3], [0_u64; 3]);
        for &e in sorted {
            let s = side[e as u32 as usize] as usize;
            sums[s] += f64::from(order::value_of(e));
            counts[s] += 1;
        }
        let zeros = (n1 - counts[1] as f64, n2 - counts[2] as f64);
        let mut ranks = Ranking::default();
        let (below, above) = sorted.split_at(order::positive_from(sorted));
        ranks.runs(below, side);
        ranks.block(zeros.0 + zeros.1, zeros.0);
        ranks.runs(above, side);
        let z = rank_sum(ranks.rank_sum, n1, n2, ranks.ties, options);
        GeneTest {
            z,
            p: two_sided_normal(z),
            rank_sum: ranks.rank_sum,
            mean_group: sums[1] / n1,
            mean_reference: sums[2] / n2,
            pct_group: counts[1] as f64 / n1,
            pct_reference: counts[2] as f64 / n2,
        }
    }

    /// Genes of whole numbers, of fractions, and of both signs.
    fn genes(rng: &mut Rng, n_cells: usize) -> Csr {
        Csr::from_dense(&ndarray::Array2::from_shape_fn((6, n_cells), |(g, _)| {
            let value = match g {
                0 => rng.poisson(1.0) as f32,
                1 => rng.poisson(0.3) as f32 * 0.7,
                2 => rng.normal() as f32,
                3 => rng.poisson(2.0) as f32 - 2.0,
                4 => rng.uniform() as f32,
                _ => 0.0,
            };
            if rng.uniform() < 0.3 { 0.0 } else { value }
        }))
    }

    #[test]
    fn contrasts_side_by_side_have_the_bits_of_each_alone() {
        let mut rng = Rng::new(4, "contrasts", &[]);
        // Below and above the sizes where the ways to sort change.
        for n_cells in [3, 40, 700, 4000] {
            let genes = genes(&mut rng, n_cells);
            let contrasts: Vec<Contrast> = (0..37)
                .map(|_| {
                    let mut side: Vec<u8> = (0..n_cells).map(|_| rng.below(3) as u8).collect();
                    (side[0], side[1]) = (1, 2);
                    Contrast { side }
                })
                .collect();
            for tie_correct in [false, true] {
                let options = RankSumOptions {
                    tie_correct,
                    continuity: false,
                };
                let many = sparse_wilcoxon(&genes, &contrasts, options);
                let scores = rank_scores(&genes, &contrasts, options);
                for (c, contrast) in contrasts.iter().enumerate() {
                    let alone = sparse_wilcoxon(&genes, std::slice::from_ref(contrast), options);
                    for g in 0..genes.n_rows() {
                        let want = slow(genes.row(g), &contrast.side, options);
                        assert_eq!(many[c][g], want, "{n_cells} {c} {g}");
                        assert_eq!(alone[0][g], want, "{n_cells} {c} {g}");
                        let score = scores[c][g];
                        assert_eq!(
                            (score.z, score.mean_group, score.mean_reference),
                            (want.z, want.mean_group, want.mean_reference)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn swapping_the_groups_turns_the_sign() {
        let genes = Csr::from_dense(&ndarray::array![[0.0, 0.0, 1.0, 2.0, 3.0, 0.5]]);
        let swap = |a: u8, b: u8| Contrast {
            side: vec![a, a, a, b, b, b],
        };
        let tests = sparse_wilcoxon(&genes, &[swap(1, 2), swap(2, 1)], RankSumOptions::default());
        assert_eq!(tests[0][0].z, -tests[1][0].z);
        assert_eq!(
            (tests[0][0].mean_group, tests[0][0].pct_group),
            (1.0 / 3.0, 1.0 / 3.0)
        );
        // Ranks of the group: zeros 1.5 each, 1.0 has rank 4: 7 against 3 * 7 / 2.
        assert_eq!(tests[0][0].rank_sum, 7.0);
    }
}
