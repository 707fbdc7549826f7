//! Parameters of `benchmark`, with their defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `benchmark`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BenchmarkParams {
    /// Share of the malignant cells in which a gene must be expressed to be ranked; in [0, 1), default
    /// 0.05.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub min_expressed: f64,
    /// Number of malignant cells of a patient whose copy-number calls are compared with the truth,
    /// evenly spaced where there are more; 10 or more, default 300.
    #[schemars(range(min = 10))]
    pub max_cells: usize,
}

impl Default for BenchmarkParams {
    fn default() -> Self {
        Self {
            min_expressed: 0.05,
            max_cells: 300,
        }
    }
}
