//! Parameters of `ingest`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{Checks, ParamProblem};

/// What the counts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountKind {
    /// Whole numbers of molecules or reads; anything else is an error.
    #[default]
    Integer,
    /// Any number that is not negative (Smart-seq2 estimates, ambient-corrected counts).
    Any,
}

/// What names a gene in 10x data, which has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeneNames {
    /// The symbol; ids go on in the column `gene_ids`. A symbol that comes again gets a number.
    #[default]
    Symbol,
    /// The stable id; symbols go on in the column `gene_symbols`.
    Id,
}

/// Which source column holds which standard `obs` column. An empty name takes the first of the
/// usual spellings that the source has; where it has none, the column is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StandardColumns {
    /// The library or biopsy of a cell. Usual spellings: `sample`, `Sample`, `sample_id`.
    pub sample: String,
    /// The tissue of a sample (GSE131907: tLung, nLung, ...). Usual spellings: `sample_origin`,
    /// `Sample_Origin`, and `Sample_Origion` as some copies of GSE131907 have it.
    pub sample_origin: String,
    /// The cell type. Usual spellings: `cell_type`, `Cell_type`.
    pub cell_type: String,
}

/// The column of cell ids where none is named.
pub(super) const DEFAULT_CELL_ID: &str = "Index";

clcc_stage::params! {
    /// Parameters of `ingest`.
    pub struct IngestParams {
        /// The column of `obs` or of the annotations whose values `groups` lists. Empty (the default)
        /// takes the `sample` column.
        pub group_by: String = String::new(),
        /// The values of `group_by` that make up each patient, for example
        /// `{P0006: [LUNG_T06, LUNG_N06]}`. Empty (the default): a patient is the value of that name.
        pub groups: BTreeMap<String, Vec<String>> = BTreeMap::new(),
        /// The column of the annotation table that holds the cell ids of the matrix. Default `Index`
        /// (GSE131907).
        #[schemars(length(min = 1))]
        pub cell_id: String = DEFAULT_CELL_ID.to_string(),
        /// Source names of the standard columns.
        pub columns: StandardColumns = StandardColumns::default(),
        /// `integer` (default) or `any`.
        pub counts: CountKind = CountKind::default(),
        /// The layer of an h5ad or zarr input that holds the counts, or `raw` for its `raw` matrix with
        /// the genes of that. Empty (the default): `X`.
        pub layer: String = String::new(),
        /// The genome whose genes are read, where a 10x input (or the column `genome` of an h5ad's genes) holds
        /// several. Empty (the default): the
        /// only one.
        pub genome: String = String::new(),
        /// `symbol` (default) or `id`: what names a gene of a 10x input.
        pub gene_names: GeneNames = GeneNames::default(),
    }
}

impl IngestParams {
    /// A group without values, a value in two groups.
    pub fn check(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (patient, values) in &self.groups {
            let path = format!("groups.{patient}");
            checks.require(!values.is_empty(), &path, || {
                "expected at least one value, found none".to_string()
            });
            for value in values {
                let before = owner.insert(value, patient);
                checks.require(before.is_none(), &path, || {
                    format!(
                        "`{value}` is listed twice (also under `{}`)",
                        before.unwrap_or_default()
                    )
                });
            }
        }
        checks.finish()
    }
}
