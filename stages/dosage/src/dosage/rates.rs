//! Log expression rates of clones and genes, and their precision.

use super::clones::ClonePseudobulk;
use clcc_numerics::math;
use clcc_numerics::stats::median;

/// Standard deviation of log expression between clones of equal copy number, excluding counting noise.
const BETWEEN_CLONES: f64 = 0.2;
/// Counts added to a clone of mean library size before the logarithm.
const PRIOR_COUNT: f64 = 0.5;
/// Expected counts from which a gene is used for a clone's size factor, where the clone has such genes.
const SIZE_COUNT: f64 = 10.0;
/// Genes on each side of a gene that determine its local copy number.
pub(super) const NEIGHBOURS: usize = 50;
/// Fewer neighbours than this reflect themselves rather than the region.
pub(super) const LEAST_NEIGHBOURS: usize = 10;

/// Log rates `y` and their weights `w` (precision), both `[clone][gene]`.
pub(crate) struct Rates {
    pub(super) y: Vec<Vec<f64>>,
    pub(super) w: Vec<Vec<f64>>,
    /// Log size factor of each clone, in addition to its library size; already subtracted from `y`.
    pub(super) size: Vec<f64>,
}

impl Rates {
    pub(crate) fn new(clones: &[ClonePseudobulk], n_strata: usize, min_count: f64) -> Self {
        let n_genes = clones.first().map_or(0, |u| u.counts.len());
        let mean_library = clones.iter().map(|u| u.library).sum::<f64>() / clones.len() as f64;
        let y: Vec<Vec<f64>> = clones
            .iter()
            .map(|u| {
                u.counts
                    .iter()
                    .map(|n| math::ln(n / u.library + PRIOR_COUNT / mean_library))
                    .collect()
            })
            .collect();
        let mut out = Self {
            y,
            w: vec![vec![0.0; n_genes]; clones.len()],
            size: vec![0.0; clones.len()],
        };
        for s in 0..n_strata {
            let members: Vec<usize> = (0..clones.len())
                .filter(|&u| clones[u].stratum == s)
                .collect();
            let rate = out.weigh(clones, &members, min_count);
            out.normalise(clones, &members, &rate);
        }
        out
    }

    /// Set the weights of a stratum's clones; returns the stratum's rate of each gene. Genes with fewer
    /// than `min_count` expected counts in a clone have weight 0 there.
    fn weigh(&mut self, clones: &[ClonePseudobulk], members: &[usize], min_count: f64) -> Vec<f64> {
        let n_genes = self.y.first().map_or(0, Vec::len);
        let library: f64 = members.iter().map(|&u| clones[u].library).sum();
        let mut rate = vec![0.0; n_genes];
        for g in 0..n_genes {
            rate[g] = members.iter().map(|&u| clones[u].counts[g]).sum::<f64>() / library;
            for &u in members {
                let expected = rate[g] * clones[u].library;
                if expected >= min_count {
                    self.w[u][g] = 1.0 / (BETWEEN_CLONES * BETWEEN_CLONES + 1.0 / expected);
                }
            }
        }
        rate
    }

    /// Set the size factors of a stratum's clones and subtract them from `y`: the median difference from
    /// the stratum's mean over the genes with enough counts.
    fn normalise(&mut self, clones: &[ClonePseudobulk], members: &[usize], rate: &[f64]) {
        // Weighted, since the logarithm of a count near 0 in a small clone mostly reflects the count
        // added to it.
        let centre: Vec<f64> = (0..rate.len())
            .map(|g| level(g, members, &self.y, &self.w).map_or(0.0, |l| l.0))
            .collect();
        for &u in members {
            let (y, w) = (&mut self.y[u], &self.w[u]);
            let difference = |g: usize| y[g] - centre[g];
            // Genes with enough counts for the added count not to matter.
            let enough = |g: &usize| w[*g] > 0.0 && rate[*g] * clones[u].library >= SIZE_COUNT;
            let genes = 0..rate.len();
            let mut differences: Vec<f64> = genes.clone().filter(enough).map(difference).collect();
            if differences.is_empty() {
                differences = genes.filter(|&g| w[g] > 0.0).map(difference).collect();
            }
            if !differences.is_empty() {
                self.size[u] = median(&differences);
                y.iter_mut().for_each(|v| *v -= self.size[u]);
            }
        }
    }

    /// ln(library size x size factor) of each clone.
    pub(super) fn offsets(&self, clones: &[ClonePseudobulk]) -> Vec<f64> {
        clones
            .iter()
            .zip(&self.size)
            .map(|(u, size)| math::ln(u.library) + size)
            .collect()
    }
}

/// Weighted mean log rate of gene `g` over the clones `clones`, and its weight; `None` where it is
/// informative in none of them.
pub(super) fn level(
    g: usize,
    clones: &[usize],
    y: &[Vec<f64>],
    w: &[Vec<f64>],
) -> Option<(f64, f64)> {
    let total: f64 = clones.iter().map(|&u| w[u][g]).sum();
    (total > 0.0).then(|| {
        let sum: f64 = clones.iter().map(|&u| w[u][g] * y[u][g]).sum();
        (sum / total, total)
    })
}

#[cfg(test)]
mod tests {
    use super::super::clones::CloneId;
    use super::*;

    #[test]
    fn a_small_clone_does_not_move_the_size_of_the_others() {
        // One profile of expression from 10 to 10,000 counts, seen whole, by a tenth and by a thousandth.
        let clone = |share: f64| {
            let counts: Vec<f64> = (0..40u32)
                .map(|g| (10f64.powi(1 + (g % 4) as i32) * share).floor())
                .collect();
            ClonePseudobulk {
                id: CloneId {
                    patient: 0,
                    cell_type: String::new(),
                    cancer: false,
                    group: share.to_string(),
                    unplaced: false,
                },
                stratum: 0,
                cells: vec![0],
                library: counts.iter().sum(),
                counts,
                profile: Vec::new(),
            }
        };
        let clones = [clone(1.0), clone(0.1), clone(0.001)];
        let rates = Rates::new(&clones, 1, 2.0);
        assert!(
            (rates.size[0] - rates.size[1]).abs() < 0.01,
            "{:?}",
            rates.size
        );
        // The genes of 10 counts are not informative in the smallest.
        assert!(rates.w[2][0] == 0.0 && rates.w[0][0] > 0.0);
    }
}
