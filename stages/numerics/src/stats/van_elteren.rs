//! The rank-sum test within strata (van Elteren 1960), over the columns of a sparse matrix.
//!
//! Cells are ranked within their stratum only, so a difference between strata (cell types, patients)
//! does not count as a difference between the groups.

use rayon::prelude::*;

use super::wilcoxon::Ranking;
use super::wilcoxon::order::{Order, positive_from, value_of};
use super::{Contrast, PValue, two_sided_normal};
use clcc_data::matrix::Csr;

/// The stratum of each cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strata {
    /// Per cell, in `0..n`.
    pub of: Vec<u32>,
    /// Number of strata.
    pub n: usize,
}

/// Result of the stratified test for one gene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StratifiedRank {
    /// z score, positive where the group ranks higher; 0 where nothing varies.
    pub z: f64,
    /// Two-sided, from the normal approximation.
    pub p: PValue,
    /// Means of the group's and of the reference's cells, each stratum weighted by its cells of
    /// both groups together: what the means would be if both groups were composed alike.
    pub mean_group: f64,
    /// See `mean_group`.
    pub mean_reference: f64,
    /// Fractions of cells above 0, weighted likewise.
    pub pct_group: f64,
    /// See `pct_group`.
    pub pct_reference: f64,
}

/// Cells that the test rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Strata with cells of both groups.
    pub strata: usize,
    /// Cells of the group in them.
    pub group: usize,
    /// Cells of the reference in them.
    pub reference: usize,
}

/// Van Elteren's test of one contrast on every row of `genes` (gene x cell).
///
/// `z = sum_k (R_k - n1_k (N_k+1)/2) / (N_k+1) / sqrt(sum_k V_k / (N_k+1)^2)` over the strata that
/// have cells of both groups, with V_k the tie-corrected variance of the rank sum in stratum k: the
/// locally most powerful weights where the shift is the same everywhere (van Elteren 1960; Lehmann,
/// Nonparametrics, 3.3). No continuity correction. With one stratum it is the tie-corrected
/// rank-sum test. `None` where no stratum has both groups.
///
/// Parallel over genes, and the same bits at any number of threads.
///
/// # Panics
/// Where the lengths differ.
pub fn van_elteren(
    genes: &Csr,
    contrast: &Contrast,
    strata: &Strata,
) -> Option<(Used, Vec<StratifiedRank>)> {
    let side = &contrast.side;
    assert!(
        side.len() == genes.n_cols() && strata.of.len() == genes.n_cols(),
        "one side and one stratum per cell"
    );
    let mut sizes = vec![(0_usize, 0_usize); strata.n];
    for (&s, &k) in side.iter().zip(&strata.of) {
        match s {
            1 => sizes[k as usize].0 += 1,
            2 => sizes[k as usize].1 += 1,
            _ => {}
        }
    }
    let live: Vec<usize> = (0..strata.n)
        .filter(|&k| sizes[k].0 > 0 && sizes[k].1 > 0)
        .collect();
    if live.is_empty() {
        return None;
    }
    let used = Used {
        strata: live.len(),
        group: live.iter().map(|&k| sizes[k].0).sum(),
        reference: live.iter().map(|&k| sizes[k].1).sum(),
    };
    let total = (used.group + used.reference) as f64;
    let tests = (0..genes.n_rows())
        .into_par_iter()
        .map_init(
            || (Order::default(), vec![Vec::new(); strata.n]),
            |(order, parts): &mut (Order, Vec<Vec<u64>>), g| {
                parts.iter_mut().for_each(Vec::clear);
                for &e in order.sort(genes.row(g)) {
                    let cell = e as u32 as usize;
                    if side[cell] != 0 {
                        parts[strata.of[cell] as usize].push(e);
                    }
                }
                test(&live, &sizes, parts, side, total)
            },
        )
        .collect();
    Some((used, tests))
}

fn test(
    live: &[usize],
    sizes: &[(usize, usize)],
    parts: &[Vec<u64>],
    side: &[u8],
    total: f64,
) -> StratifiedRank {
    let (mut distance, mut variance) = (0.0, 0.0);
    let (mut means, mut pct) = ([0.0; 2], [0.0; 2]);
    for &k in live {
        let (n1, n2) = (sizes[k].0 as f64, sizes[k].1 as f64);
        let n = n1 + n2;
        let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
        for &e in &parts[k] {
            let at = usize::from(side[e as u32 as usize] - 1);
            sums[at] += f64::from(value_of(e));
            counts[at] += 1.0;
        }
        for (at, size) in [n1, n2].into_iter().enumerate() {
            means[at] += n / total * sums[at] / size;
            pct[at] += n / total * counts[at] / size;
        }
        let split = positive_from(&parts[k]);
        let mut ranks = Ranking::default();
        ranks.runs(&parts[k][..split], side);
        ranks.block(n - counts[0] - counts[1], n1 - counts[0]);
        ranks.runs(&parts[k][split..], side);
        let ties = 1.0 - ranks.ties / (n * n * n - n);
        let weight = 1.0 / (n + 1.0);
        distance += weight * (ranks.rank_sum - n1 * (n + 1.0) / 2.0);
        variance += weight * weight * ties * n1 * n2 * (n + 1.0) / 12.0;
    }
    let z = if variance > 0.0 {
        distance / variance.sqrt()
    } else {
        0.0
    };
    StratifiedRank {
        z,
        p: two_sided_normal(z),
        mean_group: means[0],
        mean_reference: means[1],
        pct_group: pct[0],
        pct_reference: pct[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::stats::{RankSumOptions, average_ranks, sparse_wilcoxon};

    /// Straight from the definition, with dense ranks.
    fn slow(x: &[f64], side: &[u8], strata: &[u32], n: usize) -> f64 {
        let (mut distance, mut variance) = (0.0, 0.0);
        for k in 0..n as u32 {
            let rows: Vec<usize> = (0..x.len())
                .filter(|&i| strata[i] == k && side[i] != 0)
                .collect();
            let n1 = rows.iter().filter(|&&i| side[i] == 1).count() as f64;
            let n = rows.len() as f64;
            if n1 == 0.0 || n1 == n {
                continue;
            }
            let ranks = average_ranks(&rows.iter().map(|&i| x[i]).collect::<Vec<_>>());
            let r: f64 = rows
                .iter()
                .zip(&ranks)
                .filter(|(i, _)| side[**i] == 1)
                .map(|(_, r)| r)
                .sum();
            // Permutation variance of a sum of n1 of the ranks.
            let s2 = crate::stats::variance(&ranks, 1);
            distance += (r - n1 * (n + 1.0) / 2.0) / (n + 1.0);
            variance += n1 * (n - n1) / n * s2 / (n + 1.0).powi(2);
        }
        distance / variance.sqrt()
    }

    #[test]
    fn equals_the_definition_and_one_stratum_is_the_rank_sum_test() {
        let mut rng = Rng::new(1, "van elteren test", &[]);
        let n = 200;
        let side: Vec<u8> = (0..n).map(|_| rng.below(3) as u8).collect();
        let strata: Vec<u32> = (0..n).map(|_| rng.below(4) as u32).collect();
        let x = ndarray::Array2::from_shape_fn((5, n), |(g, i)| {
            let mean = 0.3 + 0.4 * f64::from(strata[i]) + if side[i] == 1 { 0.3 } else { 0.0 };
            let n = rng.poisson(mean) as f32;
            // One gene with values below zero.
            if g == 4 { n - 1.0 } else { n }
        });
        let genes = Csr::from_dense(&x);
        let contrast = Contrast { side: side.clone() };
        let by =
            |of: Vec<u32>, n: usize| van_elteren(&genes, &contrast, &Strata { of, n }).unwrap();
        let (used, found) = by(strata.clone(), 5);
        assert_eq!(used.strata, 4);
        for (g, f) in found.iter().enumerate() {
            let dense: Vec<f64> = x.row(g).iter().map(|v| f64::from(*v)).collect();
            let want = slow(&dense, &side, &strata, 5);
            assert!((f.z - want).abs() < 1e-12, "{} {want}", f.z);
        }
        let options = RankSumOptions {
            tie_correct: true,
            continuity: false,
        };
        let plain = &sparse_wilcoxon(&genes, std::slice::from_ref(&contrast), options)[0];
        for (f, p) in by(vec![0; n], 1).1.iter().zip(plain) {
            assert!((f.z - p.z).abs() < 1e-12);
            assert!(
                (f.mean_group - p.mean_group).abs() < 1e-12 && f.pct_reference == p.pct_reference
            );
        }
    }

    #[test]
    fn a_difference_between_strata_is_none_between_groups() {
        // Group mostly in stratum 0, which is high; within strata both sides are alike.
        let side: Vec<u8> = (0..40)
            .map(|i| if i % 5 == 0 { 2 } else { 1 })
            .chain((0..40).map(|i| if i % 5 == 0 { 1 } else { 2 }))
            .collect();
        let strata: Vec<u32> = (0..80).map(|i| u32::from(i >= 40)).collect();
        let x = ndarray::Array2::from_shape_fn((1, 80), |(_, i)| {
            (i / 5 % 2) as f32 + if i < 40 { 3.0 } else { 0.0 }
        });
        let genes = Csr::from_dense(&x);
        let contrast = Contrast { side };
        let (_, found) = van_elteren(&genes, &contrast, &Strata { of: strata, n: 2 }).unwrap();
        assert_eq!(found[0].z, 0.0);
        assert!((found[0].mean_group - found[0].mean_reference).abs() < 1e-12);
        let plain = sparse_wilcoxon(&genes, &[contrast], RankSumOptions::SCANPY);
        assert!(plain[0][0].z > 4.0);
        let apart = Contrast {
            side: vec![1; 40].into_iter().chain(vec![2; 40]).collect(),
        };
        let strata = Strata {
            of: (0..80).map(|i| u32::from(i >= 40)).collect(),
            n: 2,
        };
        assert!(van_elteren(&genes, &apart, &strata).is_none());
    }
}
