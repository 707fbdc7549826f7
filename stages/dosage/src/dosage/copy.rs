//! Log copy ratios of malignant clones along the genome, by which the residuals of their cells are
//! signed.

use rayon::prelude::*;

use super::GeneWindows;
use super::by_counts::ByCounts;
use super::clones::ClonePseudobulk;
use super::params::CopyNumber;

/// Share of altered genes from which a clone counts as malignant.
const MALIGNANT_SHARE: f64 = 0.05;

/// Positions of the genes, their windows, and the scale of `X_cnv`.
#[derive(Clone, Copy)]
pub(crate) struct Along<'a> {
    /// Chromosome and arm of each gene, in genome order; empty where unknown.
    pub(crate) arm: &'a [String],
    /// Windows of each gene.
    pub(crate) map: &'a GeneWindows,
    /// Natural-log copy ratio per unit of `X_cnv`; NaN where the genes do not follow it.
    pub(crate) scale: f64,
    /// Genes that take no part ([`super::loci`]).
    pub(crate) excluded: &'a [bool],
}

/// Compute the local log copy ratio of each clone and gene, `[clone][gene]`; 0 in normal cells, NaN
/// where unknown or excluded.
///
/// `Neighbours`: the clone's log rates minus those of the normal cells of its stratum, summarised by
/// the interquartile mean, weighted by precision, over the nearest 50 genes on either side in the
/// segment, without the gene itself ([`ByCounts::typical`]). Genes that tumours express at another level
/// do not move it. The unit is the response of the typical gene, so no scale is needed. 0 is the clone's
/// median gene: a clone with more than half of its genes gained shows the others as lost, as inferred
/// profiles do.
///
/// `Windows` uses [`from_windows`], and so does `Neighbours` where the clone is not malignant
/// ([`malignant`]: other cells of a tumour differ from normal ones too, but not in copy number), its
/// stratum has no normal cells, or a segment has too few genes.
pub(crate) fn copy_ratios(
    clones: &[ClonePseudobulk],
    by_counts: &ByCounts,
    malignant: &[bool],
    along: Along<'_>,
    source: CopyNumber,
) -> Vec<Vec<f64>> {
    (0..clones.len())
        .into_par_iter()
        .map(|u| {
            if !clones[u].id.cancer {
                return vec![0.0; along.map.len()];
            }
            let mut out = from_windows(&clones[u], along);
            if source == CopyNumber::Neighbours && malignant[u] {
                for (g, c) in out.iter_mut().enumerate() {
                    *c = by_counts.typical(u, g).unwrap_or(*c);
                }
            }
            for (c, _) in out.iter_mut().zip(along.excluded).filter(|(_, e)| **e) {
                *c = f64::NAN;
            }
            out
        })
        .collect()
}

/// Which clones are malignant. Those of a tumour sample whose cells `cluster` called so (`called`, its call
/// of most of the clone's cells): it judged the genome of their cluster by raw counts. Where it made no
/// call, those of which a twentieth of the genes is altered by a log ratio of `least` or more, by the
/// windows next to them or by the clone's own counts ([`ByCounts::is_altered`]): a change shorter than a
/// window is none to the windows next to it. None where expression does not follow the windows.
pub(crate) fn malignant(
    clones: &[ClonePseudobulk],
    by_counts: &ByCounts,
    along: Along<'_>,
    called: &[Option<bool>],
    least: f64,
) -> Vec<bool> {
    let is_altered = |u: usize| {
        by_windows(&from_windows(&clones[u], along), least)
            || by_counts.is_altered(u, least, MALIGNANT_SHARE)
    };
    (0..clones.len())
        .into_par_iter()
        .map(|u| {
            let can_be = clones[u].id.cancer && along.scale.is_finite();
            can_be && called[u].unwrap_or_else(|| is_altered(u))
        })
        .collect()
}

/// Whether a twentieth of the genes has a log copy ratio of `least` or more by the windows next to it.
fn by_windows(from_windows: &[f64], least: f64) -> bool {
    let altered = from_windows.iter().filter(|c| c.abs() >= least).count();
    altered as f64 >= MALIGNANT_SHARE * from_windows.len() as f64
}

/// Log copy ratio of each gene from the windows next to it; where every window of the chromosome
/// contains the gene, from those. The latter is harmless here: residuals are taken around the clone's
/// own mean of the gene, so the gene's contribution to its clone's copy number does not affect which
/// cells fall short.
pub(crate) fn from_windows(clone: &ClonePseudobulk, along: Along<'_>) -> Vec<f64> {
    let Along { map, scale, .. } = along;
    (0..map.len())
        .map(|g| {
            let adjacent = map.without_gene(g, &clone.profile);
            scale
                * if adjacent.is_nan() {
                    map.with_gene(g, &clone.profile)
                } else {
                    adjacent
                }
        })
        .collect()
}

/// Set log copy ratios below `least` in absolute value, and unknown ones, to 0.
pub(crate) fn altered(ratios: &[f64], least: f64) -> Vec<f64> {
    ratios
        .iter()
        .map(|&c| if c.abs() >= least { c } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::clones::CloneId;
    use super::super::rates::Rates;
    use super::super::windows::{arm_names, tests::windows};
    use super::*;
    use clcc_numerics::stats::interquartile_mean;
    use clcc_testing::genes;

    const SIZES: [(&str, usize); 2] = [("chr4", 120), ("chr5", 8)];

    /// Normal cells and clones of one stratum, a clone's rate of each gene relative to theirs; last,
    /// normal cells of another stratum with rates of their own. Every eleventh gene has too few counts
    /// to be informative.
    fn pseudobulks(clones: &[&dyn Fn(usize) -> f64]) -> Vec<ClonePseudobulk> {
        let clone = |stratum: usize, cancer: bool, ratio: &dyn Fn(usize) -> f64| {
            let level = |g: usize| if g % 11 == 5 { 0.5 } else { 1000.0 };
            let counts: Vec<f64> = (0..128).map(|g| level(g) * ratio(g)).collect();
            ClonePseudobulk {
                id: CloneId {
                    patient: 0,
                    cell_type: String::new(),
                    cancer,
                    group: String::new(),
                    unplaced: false,
                },
                stratum,
                cells: vec![0],
                library: counts.iter().sum(),
                counts,
                profile: vec![f64::from(u8::from(cancer)); 12],
            }
        };
        let mut out = vec![clone(0, false, &|_| 1.0), clone(0, false, &|_| 1.0)];
        out.extend(clones.iter().map(|c| clone(0, true, c)));
        out.push(clone(1, false, &|g| 1.0 + (g % 5) as f64));
        out
    }

    fn ratios(clones: &[ClonePseudobulk], source: CopyNumber, scale: f64) -> Vec<Vec<f64>> {
        let genes = genes(&SIZES);
        let map = GeneWindows::new(&genes.index, &windows(&SIZES, 20, 10), &genes).unwrap();
        let arm = arm_names(&genes).unwrap();
        let along = Along {
            arm: &arm,
            map: &map,
            scale,
            excluded: &vec![false; arm.len()],
        };
        let by_counts = ByCounts::new(clones, &Rates::new(clones, 2, 2.0), &arm, along.excluded);
        let malignant = malignant(clones, &by_counts, along, &vec![None; clones.len()], 0.15);
        copy_ratios(clones, &by_counts, &malignant, along, source)
    }

    /// Half as much again from gene 80 on (in chr4q), every ninth gene eight times as much.
    fn gained(g: usize) -> f64 {
        let copies = if (80..120).contains(&g) { 1.5 } else { 1.0 };
        if g.is_multiple_of(9) {
            8.0 * copies
        } else {
            copies
        }
    }

    #[test]
    fn a_gain_is_measured_against_the_normal_cells_and_outliers_do_not_move_it() {
        let found = &ratios(&pseudobulks(&[&gained]), CopyNumber::Neighbours, 0.2)[2];
        // Genes 0 to 49 are the p arm, 50 to 119 q, which is cut where the gain begins.
        assert!(found[..80].iter().all(|c| c.abs() < 1e-3), "{found:?}");
        let gain = &found[80..120];
        assert!(
            gain.iter().all(|c| (c - 1.5f64.ln()).abs() < 1e-3),
            "{found:?}"
        );
        // chr5 has too few genes: its windows, of 1 at scale 0.2.
        assert!(found[120..].iter().all(|c| *c == 0.2), "{found:?}");
    }

    #[test]
    fn every_value_is_the_interquartile_mean_of_the_neighbours_by_hand() {
        let clones = pseudobulks(&[&gained, &|g| 1.0 + (g % 7) as f64 / 10.0]);
        let rates = Rates::new(&clones, 2, 2.0);
        let arm = arm_names(&genes(&SIZES)).unwrap();
        let found = ratios(&clones, CopyNumber::Neighbours, 0.2);
        let mut of_arm: HashMap<(&str, bool), Vec<usize>> = HashMap::new();
        for (g, name) in arm.iter().enumerate().take(120) {
            // The gain of q is a segment of its own.
            of_arm.entry((name, g >= 80)).or_default().push(g);
        }
        assert_eq!(of_arm.len(), 3);
        assert!(rates.w[2][5] == 0.0 && rates.w[2][6] > 0.0);
        for u in [2, 3] {
            for g in 0..120 {
                let mut near: Vec<usize> = of_arm[&(arm[g].as_str(), g >= 80)].clone();
                let is_informative =
                    |h: usize| rates.w[u][h] > 0.0 && rates.w[0][h] + rates.w[1][h] > 0.0;
                near.retain(|&h| h != g && is_informative(h));
                let (mut left, mut right): (Vec<usize>, Vec<usize>) =
                    near.into_iter().partition(|&h| h < g);
                left.reverse();
                left.truncate(50);
                right.truncate(50);
                let values: Vec<(f64, f64)> = left
                    .iter()
                    .chain(&right)
                    .map(|&h| {
                        let (a, b) = (rates.w[0][h], rates.w[1][h]);
                        let level = (a * rates.y[0][h] + b * rates.y[1][h]) / (a + b);
                        let variance = 1.0 / rates.w[u][h] + 1.0 / (a + b);
                        (rates.y[u][h] - level, 1.0 / variance)
                    })
                    .collect();
                let by_hand = interquartile_mean(&values);
                assert!((found[u][g] - by_hand).abs() < 1e-12, "clone {u}, gene {g}");
            }
        }
    }

    #[test]
    fn windows_serve_where_neighbours_cannot() {
        let two = pseudobulks(&[&gained]);
        assert!(
            ratios(&two, CopyNumber::Neighbours, 0.2)[..2]
                .iter()
                .flatten()
                .all(|c| *c == 0.0)
        );
        let windows = |found: &[f64]| found.iter().all(|c| (c - 0.2).abs() < 1e-12);
        assert!(windows(&ratios(&two, CopyNumber::Windows, 0.2)[2]));
        // No normal cells in the stratum; there are in another.
        assert!(windows(&ratios(&two[2..], CopyNumber::Neighbours, 0.2)[0]));
        assert!(!windows(&ratios(&two, CopyNumber::Neighbours, 0.2)[2]));
        // Not malignant, neither by its windows nor by its counts; by its counts alone.
        let level = pseudobulks(&[&|_| 1.0]);
        let found = &ratios(&level, CopyNumber::Neighbours, 0.1)[2];
        assert!(found.iter().all(|c| (c - 0.1).abs() < 1e-12));
        let found = &ratios(&two, CopyNumber::Neighbours, 0.1)[2];
        assert!(found[119] > 0.3, "{found:?}");
        // Nothing follows the windows: nothing is known.
        let nothing = &ratios(&two, CopyNumber::Neighbours, f64::NAN)[2];
        assert!(nothing.iter().all(|c| c.is_nan()));
        assert!(altered(nothing, 0.15).iter().all(|c| *c == 0.0));
        assert_eq!(altered(&[0.1, -0.2, 0.15], 0.15), [0.0, -0.2, 0.15]);
    }
}
