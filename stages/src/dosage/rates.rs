//! Log expression rates of clones and genes, how much each says, and what a gene's neighbours say.

use super::units::Unit;
use crate::stats::median;

/// Standard deviation of log expression between clones of one copy number, beside counting noise.
const BETWEEN_CLONES: f64 = 0.2;
/// Counts added to a clone of mean library size before the logarithm.
const PRIOR_COUNT: f64 = 0.5;
/// Counts expected of the genes that a unit's size factor rests on, where it has such.
const SIZE_COUNT: f64 = 10.0;
/// Genes on each side of a gene that speak for its place.
pub(super) const NEIGHBOURS: usize = 50;
/// Fewer say more about themselves than about the place.
pub(super) const LEAST_NEIGHBOURS: usize = 10;

/// Log rates and weights, `[unit][gene]`.
pub(crate) struct Rates {
    pub(super) y: Vec<Vec<f64>>,
    pub(super) w: Vec<Vec<f64>>,
    /// Log size factor of each unit beside its library: already taken from `y`.
    pub(super) size: Vec<f64>,
    /// Sum of the weights of a gene over units.
    pub(super) information: Vec<f64>,
}

impl Rates {
    pub(crate) fn new(units: &[Unit], n_strata: usize, min_count: f64) -> Self {
        let n_genes = units.first().map_or(0, |u| u.counts.len());
        let mean_library = units.iter().map(|u| u.library).sum::<f64>() / units.len() as f64;
        let mut y: Vec<Vec<f64>> = units
            .iter()
            .map(|u| {
                u.counts
                    .iter()
                    .map(|n| (n / u.library + PRIOR_COUNT / mean_library).ln())
                    .collect()
            })
            .collect();
        let mut w = vec![vec![0.0; n_genes]; units.len()];
        let mut size = vec![0.0; units.len()];
        for s in 0..n_strata {
            let members: Vec<usize> = (0..units.len())
                .filter(|&u| units[u].stratum == s)
                .collect();
            let library: f64 = members.iter().map(|&u| units[u].library).sum();
            let mut rate = vec![0.0; n_genes];
            for g in 0..n_genes {
                rate[g] = members.iter().map(|&u| units[u].counts[g]).sum::<f64>() / library;
                for &u in &members {
                    let expected = rate[g] * units[u].library;
                    if expected >= min_count {
                        w[u][g] = 1.0 / (BETWEEN_CLONES * BETWEEN_CLONES + 1.0 / expected);
                    }
                }
            }
            let centre: Vec<f64> = (0..n_genes)
                .map(|g| members.iter().map(|&u| y[u][g]).sum::<f64>() / members.len() as f64)
                .collect();
            for &u in &members {
                // Genes with counts enough that the count added to them says nothing.
                let enough =
                    |g: &usize| w[u][*g] > 0.0 && rate[*g] * units[u].library >= SIZE_COUNT;
                let mut differences: Vec<f64> = (0..n_genes)
                    .filter(enough)
                    .map(|g| y[u][g] - centre[g])
                    .collect();
                if differences.is_empty() {
                    differences = (0..n_genes)
                        .filter(|&g| w[u][g] > 0.0)
                        .map(|g| y[u][g] - centre[g])
                        .collect();
                }
                if !differences.is_empty() {
                    size[u] = median(&differences);
                    y[u].iter_mut().for_each(|v| *v -= size[u]);
                }
            }
        }
        let information = (0..n_genes).map(|g| w.iter().map(|r| r[g]).sum()).collect();
        Self {
            y,
            w,
            size,
            information,
        }
    }

    /// `y` less its stratum's weighted mean; 0 where the unit does not speak for the gene.
    pub(super) fn centred(&self, strata: &[usize], n_strata: usize) -> Vec<Vec<f64>> {
        let n_genes = self.information.len();
        let mut out = vec![vec![0.0; n_genes]; self.y.len()];
        for s in 0..n_strata {
            let members: Vec<usize> = (0..strata.len()).filter(|&u| strata[u] == s).collect();
            for g in 0..n_genes {
                let total: f64 = members.iter().map(|&u| self.w[u][g]).sum();
                if total > 0.0 {
                    let mean = members
                        .iter()
                        .map(|&u| self.w[u][g] * self.y[u][g])
                        .sum::<f64>()
                        / total;
                    for &u in members.iter().filter(|&&u| self.w[u][g] > 0.0) {
                        out[u][g] = self.y[u][g] - mean;
                    }
                }
            }
        }
        out
    }
}

/// Mean centred log rate of the nearest informative genes of the same arm, per unit.
pub(super) fn neighbours(
    g: usize,
    centred: &[Vec<f64>],
    information: &[f64],
    arm: &[String],
) -> Option<Vec<f64>> {
    // Without a clone no gene is informative.
    if arm[g].is_empty() || centred.is_empty() {
        return None;
    }
    let usable = |h: &usize| information[*h] > 0.0;
    let same = |h: &usize| arm[*h] == arm[g];
    let left = (0..g)
        .rev()
        .take_while(same)
        .filter(usable)
        .take(NEIGHBOURS);
    let right = (g + 1..arm.len())
        .take_while(same)
        .filter(usable)
        .take(NEIGHBOURS);
    let near: Vec<usize> = left.chain(right).collect();
    if near.len() < LEAST_NEIGHBOURS {
        return None;
    }
    let total: f64 = near.iter().map(|&h| information[h]).sum();
    Some(
        centred
            .iter()
            .map(|y| near.iter().map(|&h| information[h] * y[h]).sum::<f64>() / total)
            .collect(),
    )
}
