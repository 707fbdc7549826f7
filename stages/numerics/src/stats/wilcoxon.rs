//! The Wilcoxon rank-sum (Mann-Whitney) test, dense and over the columns of a sparse matrix.
//!
//! Expression is mostly zeros, so the sparse form ranks only the stored values: the zeros are one
//! block of ties (presto; Korsunsky et al. 2019). A gene's values are sorted once, and every
//! contrast reads its own cells off that order, so one pass gives rank sums, ties, means and
//! fractions for all contrasts.

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
    let sizes: Vec<(f64, f64)> = contrasts
        .iter()
        .map(|c| {
            assert_eq!(c.side.len(), genes.n_cols(), "one side per cell");
            let count = |s: u8| c.side.iter().filter(|&&x| x == s).count() as f64;
            let sizes = (count(1), count(2));
            assert!(sizes.0 > 0.0 && sizes.1 > 0.0, "both groups have cells");
            sizes
        })
        .collect();
    let by_gene: Vec<Vec<GeneTest>> = (0..genes.n_rows())
        .into_par_iter()
        .map_init(Vec::new, |sorted: &mut Vec<u64>, g| {
            sort_values(genes.row(g), sorted);
            contrasts
                .iter()
                .zip(&sizes)
                .map(|(c, &s)| test_sorted(sorted, &c.side, s, options))
                .collect()
        })
        .collect();
    (0..contrasts.len())
        .map(|c| by_gene.iter().map(|tests| tests[c]).collect())
        .collect()
}

/// The non-zero values in rising order, each with its cell: the value's order-preserving bits
/// above the cell's number.
pub(super) fn sort_values((cells, values): (&[u32], &[f32]), sorted: &mut Vec<u64>) {
    sorted.clear();
    sorted.extend(
        cells
            .iter()
            .zip(values)
            .filter(|(_, v)| **v != 0.0)
            .map(|(&cell, &v)| {
                let bits = v.to_bits();
                let key = if bits >> 31 == 0 {
                    bits | 0x8000_0000
                } else {
                    !bits
                };
                u64::from(key) << 32 | u64::from(cell)
            }),
    );
    sorted.sort_unstable();
}

pub(super) fn value_of(entry: u64) -> f32 {
    let key = (entry >> 32) as u32;
    f32::from_bits(if key >> 31 == 1 {
        key & 0x7fff_ffff
    } else {
        !key
    })
}

/// First key of a positive value.
pub(super) const ZERO_KEY: u64 = 0x8000_0000 << 32;

fn test_sorted(
    sorted: &[u64],
    side: &[u8],
    (n1, n2): (f64, f64),
    options: RankSumOptions,
) -> GeneTest {
    let mut sums = [0.0_f64; 3];
    let mut counts = [0_u64; 3];
    for &e in sorted {
        let s = side[e as u32 as usize] as usize;
        sums[s] += f64::from(value_of(e));
        counts[s] += 1;
    }
    let (zeros1, zeros2) = (n1 - counts[1] as f64, n2 - counts[2] as f64);
    let mut ranks = Ranking::default();
    let split = sorted.partition_point(|&e| e < ZERO_KEY);
    ranks.runs(&sorted[..split], side);
    ranks.block(zeros1 + zeros2, zeros1);
    ranks.runs(&sorted[split..], side);
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
