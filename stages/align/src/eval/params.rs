//! Parameters of `eval`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalParams {
    /// Number of test cells in the similarity matrix, spread evenly over all of them; 1 to 4,096, default 64.
    #[schemars(range(min = 1, max = 4096))]
    pub matrix_cells: usize,
    /// Column of `obs` that names cell types; where it is absent there are no rows per type. Default `cell_type`.
    pub cell_type_column: String,
}

impl Default for EvalParams {
    fn default() -> Self {
        Self {
            matrix_cells: 64,
            cell_type_column: "cell_type".into(),
        }
    }
}
