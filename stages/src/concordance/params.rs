//! Parameters of the stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Restrict;

/// Parameters of `concordance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConcordanceParams {
    /// Share of each patient's cells in the concordant and in the discordant class, in (0, 0.5].
    /// Default 0.25: the paper's text says tertiles, but its Table 2 counts are quartiles (3,426
    /// cells -> 857 and 857). 0.3333333333333333 gives tertiles.
    pub quantile: f64,
    /// Which cells are classed: `all` cancer cells (default, as the paper), or `epithelial` ones
    /// alone. In an atlas most cells of a tumour sample are immune cells, and a class of all of
    /// them says more about cell type than about copy number.
    pub restrict: Restrict,
    /// A class that goes together with cell type, sample, split, cluster or cycle phase at a
    /// corrected Cramer's V of this or more is warned of; in [0, 1], default 0.3 (medium to large
    /// after Cohen 1988).
    pub warn_cramers_v: f64,
    /// A class that differs in depth by this many pooled standard deviations or more (Cohen's d,
    /// either sign) is warned of; 0 or more, default 0.5 (medium after Cohen 1988).
    pub warn_cohens_d: f64,
}

impl Default for ConcordanceParams {
    fn default() -> Self {
        Self {
            quantile: 0.25,
            restrict: Restrict::All,
            warn_cramers_v: 0.3,
            warn_cohens_d: 0.5,
        }
    }
}
