//! Copy number at each gene's locus in the compared cells.

use rayon::prelude::*;

use crate::dosage::GeneWindows;
use clcc_data::matrix::Csr;

/// Mean profile (`n_windows`) of some rows of `X_cnv`; `None` without rows.
pub fn mean_profile(x: &Csr, rows: &[usize]) -> Option<Vec<f64>> {
    if rows.is_empty() {
        return None;
    }
    let mut out = x.sum_rows(rows.iter().copied());
    out.iter_mut().for_each(|v| *v /= rows.len() as f64);
    Some(out)
}

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
        let (d, c) = (mean_profile(x, discordant)?, mean_profile(x, concordant)?);
        let of = |profile: &[f64]| -> Vec<f64> {
            (0..map.len()).map(|g| map.with_gene(g, profile)).collect()
        };
        let rows: Vec<usize> = discordant.iter().chain(concordant).copied().collect();
        let shares = shares(map, x, &rows, threshold);
        let (discordant, concordant) = (of(&d), of(&c));
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
        Some(Self {
            discordant,
            concordant,
            state,
            shares,
        })
    }
}

/// Shares of the rows, per gene, whose mean over the gene's windows is above `threshold`, and below
/// `-threshold`. Counts of cells, so the order of the sum does not matter.
fn shares(map: &GeneWindows, x: &Csr, rows: &[usize], threshold: f64) -> Vec<(f64, f64)> {
    let counts = rows
        .par_chunks(256)
        .map(|rows| {
            let mut counts = vec![(0_u32, 0_u32); map.len()];
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
        .reduce(
            || vec![(0, 0); map.len()],
            |mut a, b| {
                for (a, b) in a.iter_mut().zip(b) {
                    a.0 += b.0;
                    a.1 += b.1;
                }
                a
            },
        );
    let n = rows.len() as f64;
    counts
        .into_iter()
        .enumerate()
        .map(|(g, c)| {
            if map.own(g).is_empty() {
                (f64::NAN, f64::NAN)
            } else {
                (f64::from(c.0) / n, f64::from(c.1) / n)
            }
        })
        .collect()
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
