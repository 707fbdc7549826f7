//! Parameters of `export_cohort`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which genes the cohort has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Genes {
    /// Those that every patient has.
    #[default]
    Common,
    /// Those that any patient has.
    Any,
}

clcc_stage::params! {
    /// Parameters of the stage `export_cohort`.
    pub struct ExportCohortParams {
        /// `common` (default): the genes that every patient has, as `anndata.concat` takes them. `any`: all genes; a
        /// cell whose patient lacks one (`preprocess.min_cells`) has 0 there, and `var["n_patients"]` says how many
        /// patients have it. The two differ only where patients' genes do.
        pub genes: Genes = Genes::Common,
        /// Whether raw counts go along as `layers["counts"]`, where `export` wrote them (default `true`); they are
        /// about half of the size.
        pub counts: bool = true,
    }
}
