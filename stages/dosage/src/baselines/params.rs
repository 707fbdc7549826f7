//! Parameters of `baselines`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dosage::{self, Strata};
use clcc_stage::cells::Restrict;
use clcc_stage::cohort::GroupBy;

/// Source of the copy number that a cell's expression is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyNumber {
    /// The cell's own `X_cnv` row.
    #[default]
    Cell,
    /// The mean row of its CNV cluster: less noise, and the cell's own contribution to its copy number
    /// shrinks as the cluster grows.
    Cluster,
}

clcc_stage::params! {
    /// Parameters of `baselines`.
    pub struct BaselinesParams {
        /// Cancer cells to score: `all` (default), `epithelial`, or `malignant` (called so by `cluster`).
        /// Normal cells are always included, as the reference level of their stratum.
        pub restrict: Restrict = Restrict::All,
        /// Cells that share one expression level per gene: those of a `patient`, or of a
        /// `patient_cell_type` (default).
        pub strata: Strata = Strata::PatientCellType,
        /// Copy number of a cell: its own (`cell`, default) or that of its `cluster`, which reads
        /// `clusters`.
        pub copy_number: CopyNumber = CopyNumber::Cell,
        /// Grouping of the cells of one patient and cell type into clones for `mixture`, as in `dosage`:
        /// `cnv_clone` (default) or `cnv_leiden`.
        pub group_by: GroupBy = GroupBy::CnvClone,
        /// Source of a clone's local copy number for `mixture`, as `copy_number` of `dosage`: `neighbours`
        /// (default) or `windows`.
        pub clone_copy_number: dosage::CopyNumber = dosage::CopyNumber::Neighbours,
        /// Normal cells that a stratum needs to set the reference level of its cells in `correlation`; with
        /// fewer, it is the mean of all its cells. 1 or more, default 10.
        #[schemars(range(min = 1))]
        pub min_cells: usize = 10,
        /// Genes of similar mean expression whose slopes are averaged to give the expected slope of each;
        /// 10 or more, default 100.
        #[schemars(range(min = 10))]
        pub genes_per_bin: usize = 100,
        /// Principal components of each modality in `cca` and `linear`; 2 to 200, default 30.
        #[schemars(range(min = 2, max = 200))]
        pub n_comps: usize = 30,
        /// Chromosomes whose genes `cca` and `linear` leave out, with or without `chr`; default none. As in
        /// `mine`, for the control with two halves of the genome.
        pub exclude_chromosomes: Vec<String> = Vec::new(),
        /// Ridge of `linear`, as a share of the mean variance of the expression components; 0 to 100,
        /// default 0.1.
        #[schemars(range(min = 0, max = 100))]
        pub ridge: f64 = 0.1,
        /// Size of a clone's log copy ratio from which a gene counts as altered in `mixture`; above 0,
        /// default 0.15 as in `dosage`.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub altered: f64 = 0.15,
        /// Permuted profiles of expected shifts that the gain of `mixture` is compared with; 0 to 10,000,
        /// default 19 (the smallest p-value is 1 / 20); 0 skips the test.
        #[schemars(range(min = 0, max = 10_000))]
        pub n_null: usize = 19,
        /// Share of each patient's cells in the discordant and in the concordant class of `cca` and
        /// `linear`, between which their genes are tested; in (0, 0.5], default 0.25 as in `concordance`.
        #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
        pub quantile: f64 = 0.25,
    }
}
