//! Comparisons: which cells are the group and which the reference.

use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_numerics::stats::{Contrast, quantile};
use clcc_stage::cells::{is_cancer, is_epithelial, is_normal};

/// Kind of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Discordant against concordant cells.
    Discordance,
    /// All cells labelled `Cancer` (of tumour samples, in the paper) against all normal cells (CLCC,
    /// section 7.2.1).
    CancerNormal,
    /// Epithelial cancer cells against epithelial normal cells (the paper of the copy-number anchors).
    Epithelium,
    /// Cells of the highest against cells of the lowest copy-number burden, per patient.
    Burden,
}

impl Kind {
    /// All kinds, in the order of the tables.
    pub const ALL: [Self; 4] = [
        Self::Discordance,
        Self::CancerNormal,
        Self::Epithelium,
        Self::Burden,
    ];

    /// Index in [`Kind::ALL`].
    pub fn place(self) -> usize {
        self as usize
    }

    /// Name in tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discordance => "discordant_vs_concordant",
            Self::CancerNormal => "cancer_vs_normal",
            Self::Epithelium => "cancer_vs_normal_epithelial",
            Self::Burden => "high_vs_low_burden",
        }
    }

    /// The group and the reference, in words.
    pub fn groups(self) -> (&'static str, &'static str) {
        match self {
            Self::Discordance => ("discordant cells", "concordant cells"),
            Self::CancerNormal => ("all cancer cells", "all normal cells"),
            Self::Epithelium => (
                "epithelial cells of tumour samples",
                "epithelial cells of normal samples",
            ),
            Self::Burden => (
                "cells in the highest share of copy-number burden",
                "cells in the lowest share of copy-number burden",
            ),
        }
    }
}

/// One comparison of cells, with the reason where it cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Kind of comparison.
    pub kind: Kind,
    /// Side of each cell: 1 group, 2 reference, 0 neither.
    pub contrast: Contrast,
    /// Number of cells in the group.
    pub n_group: usize,
    /// Number of cells in the reference.
    pub n_reference: usize,
    /// Why the comparison cannot be made; `None` where it can.
    pub obstacle: Option<String>,
}

impl Comparison {
    /// Build a comparison from the side of each cell (1 group, 2 reference, 0 neither). It can be made
    /// with two or more cells per side.
    pub fn new(kind: Kind, side: Vec<u8>) -> Self {
        let count = |s: u8| side.iter().filter(|&&x| x == s).count();
        let (n_group, n_reference) = (count(1), count(2));
        let (group, reference) = kind.groups();
        let few =
            |n: usize, who: &str| (n < 2).then(|| format!("expected at least 2 {who}, found {n}"));
        let obstacle = few(n_group, group).or_else(|| few(n_reference, reference));
        Self {
            kind,
            contrast: Contrast { side },
            n_group,
            n_reference,
            obstacle,
        }
    }
}

/// For each kind, in the order of [`Kind::ALL`], the side of each cell: 1 group, 2 reference, 0
/// neither.
pub type Sides = [Vec<u8>; Kind::ALL.len()];

/// Assign each cell of the cohort its side in each comparison within its patient, which is also its
/// side in the pooled one.
///
/// `class` is the concordance class (empty: none); `burden` the mean absolute copy-number signal.
/// Burden groups are cut within each patient over its classed cells, inclusive at both cuts; a cell on
/// both sides (all burdens equal) is on neither. A cell labelled neither `Cancer` nor `Normal` is on no
/// side of the comparisons of origin.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where `obs` has no `cancer_vs_normal`.
pub fn sides<S: AsRef<str>>(
    obs: &Frame,
    patient_of: &[u32],
    n_patients: usize,
    class: &[S],
    burden: &[f64],
    q: f64,
) -> StageResult<Sides> {
    let discordance = class
        .iter()
        .map(|c| side(c.as_ref() == "discordant", c.as_ref() == "concordant"))
        .collect();
    let (cancer, normal, epithelial) = (is_cancer(obs)?, is_normal(obs)?, is_epithelial(obs));
    let origin: Vec<u8> = (0..obs.len()).map(|i| side(cancer[i], normal[i])).collect();
    let of_epithelium = |(&s, &e): (&u8, &bool)| if e { s } else { 0 };
    let epithelium = origin.iter().zip(&epithelial).map(of_epithelium).collect();
    let mut high_low = vec![0; obs.len()];
    for p in 0..n_patients as u32 {
        let rows: Vec<usize> = (0..obs.len())
            .filter(|&i| patient_of[i] == p && !class[i].as_ref().is_empty())
            .collect();
        let values: Vec<f64> = rows.iter().map(|&i| burden[i]).collect();
        let (low, high) = (quantile(&values, q), quantile(&values, 1.0 - q));
        for &i in &rows {
            high_low[i] = side(
                burden[i] >= high && burden[i] > low,
                burden[i] <= low && burden[i] < high,
            );
        }
    }
    Ok([discordance, origin, epithelium, high_low])
}

fn side(group: bool, reference: bool) -> u8 {
    match (group, reference) {
        (true, false) => 1,
        (false, true) => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_by_hand() {
        // The last cell has no label.
        let mut obs = Frame::new((0..7).map(|i| i.to_string()).collect());
        obs.set_category(
            "cancer_vs_normal",
            &[
                "Cancer", "Cancer", "Cancer", "Cancer", "Normal", "Cancer", "",
            ],
        );
        obs.set_category(
            "cell_type",
            &[
                "Epithelial cells",
                "T cell",
                "epithelial",
                "T cell",
                "Epithelial cells",
                "T cell",
                "Epithelial cells",
            ],
        );
        let class = [
            "discordant",
            "concordant",
            "intermediate",
            "discordant",
            "",
            "concordant",
            "",
        ];
        let burden = [0.4, 0.1, 0.2, 0.3, 9.0, 0.0, 0.0];
        let [d, all, c, b] = sides(&obs, &[0; 7], 1, &class, &burden, 0.25).unwrap();
        assert_eq!(d, [1, 2, 0, 1, 0, 2, 0]);
        assert_eq!(all, [1, 1, 1, 1, 2, 1, 0]);
        assert_eq!(c, [1, 0, 1, 0, 2, 0, 0]);
        // Five classed cells: the cuts are the second and the fourth burden, .1 and .3.
        assert_eq!(b, [1, 2, 0, 1, 0, 2, 0]);
        let one = Comparison::new(Kind::Epithelium, c);
        assert_eq!(
            one.obstacle.unwrap(),
            "expected at least 2 epithelial cells of normal samples, found 1"
        );
        assert!(Comparison::new(Kind::Discordance, d).obstacle.is_none());
    }
}
