//! The copy number at a gene's own place in the cells that are compared.

use crate::dosage::GeneWindows;
use crate::matrix::Csr;

/// Mean profile (`n_windows`) of some rows of `X_cnv`; `None` of no rows.
pub fn mean_profile(x: &Csr, rows: &[usize]) -> Option<Vec<f64>> {
    if rows.is_empty() {
        return None;
    }
    let mut out = vec![0.0; x.n_cols()];
    for &r in rows {
        let (cols, values) = x.row(r);
        for (&c, &v) in cols.iter().zip(values) {
            out[c as usize] += f64::from(v);
        }
    }
    out.iter_mut().for_each(|v| *v /= rows.len() as f64);
    Some(out)
}

/// State of a locus over both groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Above the threshold.
    Gain,
    /// Below minus the threshold.
    Loss,
    /// Between: there is nothing to escape from.
    Neutral,
    /// No window lies over the gene.
    Unknown,
}

impl State {
    /// The word in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
            Self::Neutral => "neutral",
            Self::Unknown => "unknown",
        }
    }
}

/// Local copy number of every gene in the discordant and in the concordant cells.
#[derive(Debug, Clone)]
pub struct Loci {
    /// Mean `X_cnv` of the windows over the gene, discordant cells.
    pub discordant: Vec<f64>,
    /// The same, concordant cells.
    pub concordant: Vec<f64>,
    /// From the mean of both.
    pub state: Vec<State>,
}

impl Loci {
    /// From the cells' rows; `None` where either group is empty.
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
        })
    }
}
