//! Copy number at each gene's locus in the compared cells.

use rayon::prelude::*;

use crate::dosage::GeneWindows;
use clcc_data::matrix::Csr;

/// Copy-number state of a locus, from the mean over both groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Above the threshold.
    Gain,
    /// Below minus the threshold.
    Loss,
    /// Between the two: nothing to escape from.
    Neutral,
    /// No window contains the gene.
    Unknown,
}

impl State {
    /// Name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
            Self::Neutral => "neutral",
            Self::Unknown => "unknown",
        }
    }

    /// The change that a gene escapes from if discordant cells express it more (`sign` 1) or less (-1):
    /// lower expression escapes a gain, higher expression a loss. A change in the direction of the copy
    /// number, or at a neutral locus, escapes nothing.
    pub fn escaped(self, sign: i8) -> &'static str {
        match (self, sign) {
            (Self::Gain, -1) => "gain",
            (Self::Loss, 1) => "loss",
            (Self::Gain, _) => "nothing: goes with the gain",
            (Self::Loss, _) => "nothing: goes with the loss",
            (Self::Neutral, _) => "nothing: neutral locus",
            (Self::Unknown, _) => "unknown",
        }
    }
}

/// Local copy number of every gene in discordant and in concordant cells.
#[derive(Debug, Clone)]
pub struct Loci {
    /// Mean `X_cnv` of the windows that contain the gene, over discordant cells.
    pub discordant: Vec<f64>,
    /// Mean `X_cnv` of those windows over concordant cells.
    pub concordant: Vec<f64>,
    /// State of each locus, from the mean of both groups.
    pub state: Vec<State>,
    /// Shares of the cells of both groups in which the locus is gained, and lost; NaN without windows.
    pub shares: Vec<(f64, f64)>,
}

impl Loci {
    /// Compute from the rows of the cells; `None` where either group is empty.
    pub fn new(
        map: &GeneWindows,
        x: &Csr,
        discordant: &[usize],
        concordant: &[usize],
        threshold: f64,
    ) -> Option<Self> {
        let mut sums = LociSums::new(map.len(), x.n_cols());
        let changed = changed(map, x, &[discordant, concordant].concat(), threshold);
        sums.add(x, discordant, concordant, &changed);
        sums.loci(map, threshold)
    }
}

/// Sums over cells from which [`Loci`] are told; cells are added part by part.
#[derive(Debug, Clone)]
pub(super) struct LociSums {
    /// Sums of `X_cnv` over discordant and concordant cells, and their numbers.
    profiles: [Vec<f64>; 2],
    n: [usize; 2],
    /// Cells of both in which each gene's locus is gained, and lost.
    changed: Vec<(u32, u32)>,
}

impl LociSums {
    pub(super) fn new(n_genes: usize, n_windows: usize) -> Self {
        Self {
            profiles: [vec![0.0; n_windows], vec![0.0; n_windows]],
            n: [0; 2],
            changed: vec![(0, 0); n_genes],
        }
    }

    /// Adds cells; `counts` is [`changed`] of all of them.
    pub(super) fn add(
        &mut self,
        x: &Csr,
        discordant: &[usize],
        concordant: &[usize],
        counts: &[(u32, u32)],
    ) {
        for (side, rows) in [discordant, concordant].into_iter().enumerate() {
            self.n[side] += rows.len();
            for &r in rows {
                let (cols, values) = x.row(r);
                for (&c, &v) in cols.iter().zip(values) {
                    self.profiles[side][c as usize] += f64::from(v);
                }
            }
        }
        add_counts(&mut self.changed, counts);
    }

    /// The copy number of every gene; `None` where either group is empty.
    pub(super) fn loci(&self, map: &GeneWindows, threshold: f64) -> Option<Loci> {
        if self.n.contains(&0) {
            return None;
        }
        let of = |side: usize| -> Vec<f64> {
            let n = self.n[side] as f64;
            let profile: Vec<f64> = self.profiles[side].iter().map(|v| v / n).collect();
            (0..map.len()).map(|g| map.with_gene(g, &profile)).collect()
        };
        let (discordant, concordant) = (of(0), of(1));
        let state = discordant
            .iter()
            .zip(&concordant)
            .map(|(a, b)| match 0.5 * (a + b) {
                m if m.is_nan() => State::Unknown,
                m if m > threshold => State::Gain,
                m if m < -threshold => State::Loss,
                _ => State::Neutral,
            })
            .collect();
        let n = (self.n[0] + self.n[1]) as f64;
        let share = |(g, c): (usize, &(u32, u32))| {
            if map.own(g).is_empty() {
                (f64::NAN, f64::NAN)
            } else {
                (f64::from(c.0) / n, f64::from(c.1) / n)
            }
        };
        Some(Loci {
            discordant,
            concordant,
            state,
            shares: self.changed.iter().enumerate().map(share).collect(),
        })
    }
}

/// Numbers of the rows, per gene, whose mean over the gene's windows is above `threshold`, and below
/// `-threshold`. Counts of cells, so the order of the sum does not matter.
pub(super) fn changed(
    map: &GeneWindows,
    x: &Csr,
    rows: &[usize],
    threshold: f64,
) -> Vec<(u32, u32)> {
    let none = || vec![(0_u32, 0_u32); map.len()];
    rows.par_chunks(256)
        .map(|rows| {
            let mut counts = none();
            let mut sums = vec![0.0; x.n_cols() + 1];
            for &r in rows {
                sums.fill(0.0);
                let (cols, values) = x.row(r);
                for (&c, &v) in cols.iter().zip(values) {
                    sums[c as usize + 1] = f64::from(v);
                }
                for w in 0..x.n_cols() {
                    sums[w + 1] += sums[w];
                }
                for (g, count) in counts.iter_mut().enumerate() {
                    let own = map.own(g);
                    let local = (sums[own.end] - sums[own.start]) / own.len() as f64;
                    count.0 += u32::from(local > threshold);
                    count.1 += u32::from(local < -threshold);
                }
            }
            counts
        })
        .reduce(none, |mut a, b| {
            add_counts(&mut a, &b);
            a
        })
}

fn add_counts(to: &mut [(u32, u32)], from: &[(u32, u32)]) {
    for (to, from) in to.iter_mut().zip(from) {
        to.0 += from.0;
        to.1 += from.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dosage::windows::tests::windows;
    use clcc_testing::genes;

    #[test]
    fn shares_count_cells_by_their_own_copy_number() {
        let sizes = [("chr4", 40)];
        let g = genes(&sizes);
        let map = GeneWindows::new(&g.index, &windows(&sizes, 20, 10), &g).unwrap();
        // Three windows; gene 5 is in the first, gene 15 in the first two.
        let x = Csr::from_dense(&ndarray::array![
            [0.4, 0.0, 0.0],
            [0.4, -0.4, 0.0],
            [-0.4, 0.1, 0.0],
            [0.0, 0.0, 0.0]
        ]);
        let loci = Loci::new(&map, &x, &[0, 1], &[2, 3], 0.05).unwrap();
        assert_eq!(loci.shares[5], (0.5, 0.25));
        // Means over both windows: .2, 0, -.15, 0.
        assert_eq!(loci.shares[15], (0.25, 0.25));
        assert_eq!(loci.shares[35], (0.0, 0.0));
        assert!((loci.discordant[5] - 0.4).abs() < 1e-6 && (loci.concordant[5] + 0.2).abs() < 1e-6);
        assert_eq!(loci.state[5], State::Gain);
        assert_eq!(State::Loss.escaped(1), "loss");
        assert_eq!(State::Gain.escaped(1), "nothing: goes with the gain");
    }
}
