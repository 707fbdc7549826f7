//! Parameters of `concordance`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::cells::Restrict;
use clcc_stage::params::{OnlyWith, When};

/// A share of the cells that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedShare {
    /// A quarter.
    Quartiles,
    /// A third.
    Tertiles,
}

/// The share of cells in each outer class: a name, or a number in (0, 0.5].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected `quartiles`, `tertiles` or a number in (0, 0.5]"
)]
pub enum Share {
    /// As a number.
    Number(#[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))] f64),
    /// By its name.
    Named(NamedShare),
}

impl Share {
    /// The share as a number in (0, 0.5].
    pub fn value(self) -> f64 {
        match self {
            Self::Number(q) => q,
            Self::Named(NamedShare::Quartiles) => 0.25,
            Self::Named(NamedShare::Tertiles) => 1.0 / 3.0,
        }
    }
}

/// The groups of cells within which distances are ranked and cut into classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWithin {
    /// The cells of a patient (the paper).
    #[default]
    Patient,
    /// The cells of one type of a patient: every type then has the same share of each class.
    PatientCellType,
}

/// What cells are classed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreBy {
    /// The distance between a cell's two embeddings (the paper).
    #[default]
    Distance,
    /// The log odds of `discordance` that the cell is discordant.
    Discordance,
}

clcc_stage::params! {
    /// Parameters of `concordance`.
    pub struct ConcordanceParams {
        /// What cells are classed by: the `distance` between a cell's two embeddings (default, the paper), or
        /// `discordance`, the log odds of the stage of that name that the cell holds its dosage back. The latter
        /// needs no embeddings, and `de` then compares the classes that it makes.
        pub score: ScoreBy = ScoreBy::Distance,
        /// Share of each patient's cells in the concordant and in the discordant class: `quartiles`,
        /// `tertiles`, or a number in (0, 0.5]. Default 0.25: the paper's text says tertiles, but its
        /// Table 2 counts are quartiles (3,426 cells -> 857 and 857).
        pub quantile: Share = Share::Number(0.25),
        /// Which cells are classed: `all` cancer cells (default, as the paper), the `epithelial` ones
        /// among them, or the `malignant` ones, which `cluster` calls by their copy number. In an atlas
        /// most cells of a tumour sample are immune cells, and a class of all of them says more about
        /// cell type than about copy number.
        pub restrict: Restrict = Restrict::All,
        /// Groups within which the quantiles are taken: `patient` (default, the paper), or
        /// `patient_cell_type`, so that the class cannot stand for cell type; a type with fewer than four
        /// cells in a patient then has no classes.
        pub strata: ClassWithin = ClassWithin::Patient,
        /// Folds of a cross-fit, 2 to 50; `null` (default): one model, which has trained on most of the
        /// cells that it measures. With K the stage needs K models of an axis (`mine.cross_fit`), and
        /// takes each cell's distance from the one that held it out.
        #[schemars(range(min = 2, max = 50))]
        pub cross_fit: Option<usize> = None,
        /// Permutations of the class labels within patient and cell type, for the null of the
        /// composition table and of the genes that `de` finds; 0 (none) to 1000, default 39 (the least
        /// p-value is 1 / 40).
        #[schemars(range(min = 0, max = 1000))]
        pub n_null: usize = 39,
        /// A class that goes together with cell type, sample, split, cluster or cycle phase at a
        /// corrected Cramer's V of this or more is warned of; in [0, 1], default 0.3 (medium to large
        /// after Cohen 1988).
        #[schemars(range(min = 0, max = 1))]
        pub warn_cramers_v: f64 = 0.3,
        /// A class that differs in depth by this many pooled standard deviations or more (Cohen's d,
        /// either sign) is warned of; 0 or more, default 0.5 (medium after Cohen 1988).
        #[schemars(range(min = 0))]
        pub warn_cohens_d: f64 = 0.5,
    }
}

impl ConcordanceParams {
    /// Parameters that are read only with certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[OnlyWith {
        params: &["cross_fit"],
        any: &[When::Is("score", &["distance"])],
    }];

    /// The rule that makes the classes, in words, for the head of each table.
    pub(super) fn rule(&self) -> String {
        let who = match self.restrict {
            Restrict::All => "cancer cells (every cell with cancer_vs_normal = Cancer)",
            Restrict::Epithelial => "epithelial cancer cells (cell_type contains `pithelial`)",
            Restrict::Malignant => "malignant cancer cells (cnv_malignant of `cluster`)",
        };
        let within = match self.strata {
            ClassWithin::Patient => "within each patient",
            ClassWithin::PatientCellType => "within each cell type of each patient",
        };
        format!(
            "classes {within} over its {who}: concordant d <= quantile {0}, discordant d >= quantile 1 - {0}, linear interpolation, cuts inclusive; all other cells have no class",
            clcc_data::table::number(self.quantile.value())
        )
    }
}
