//! Parameters of `enrichment`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `enrichment`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrichmentParams {
    /// Whether chromosome arms are sets; default `true`.
    pub arms: bool,
    /// Whether the subunits of large complexes are sets (cytosolic and mitochondrial ribosome, proteasome and others, by
    /// HGNC symbol); default `true`.
    pub complexes: bool,
    /// Tested genes that a set needs; 1 or more, default 5.
    #[schemars(range(min = 1))]
    pub min_size: usize,
    /// Tested genes that a set may have; 1 or more, default 1000: what is larger says little.
    #[schemars(range(min = 1))]
    pub max_size: usize,
    /// False discovery rate of the count of sets in the metrics; in (0, 1], default 0.05.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub fdr: f64,
}

impl Default for EnrichmentParams {
    fn default() -> Self {
        Self {
            arms: true,
            complexes: true,
            min_size: 5,
            max_size: 1000,
            fdr: 0.05,
        }
    }
}
