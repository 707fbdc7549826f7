//! Parameters of `export`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of `export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportParams {
    /// Whether the raw counts go along as `layers["counts"]` (default `true`); they are about half
    /// of the size.
    pub counts: bool,
    /// Whether the same data is also written as `<patient>.h5ad`, for programs that do not read zarr
    /// (default `false`).
    pub h5ad: bool,
}

impl Default for ExportParams {
    fn default() -> Self {
        Self {
            counts: true,
            h5ad: false,
        }
    }
}
