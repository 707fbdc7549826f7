//! Parameters of the stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::cells::Restrict;
use clcc_stage::cohort::GroupBy;

/// What shares one level of a gene's expression, so that only differences of copy number within it
/// speak for the slope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strata {
    /// A patient.
    Patient,
    /// A cell type of a patient: differences between cell types are no dosage.
    #[default]
    PatientCellType,
}

/// Whether malignant clones have a level of their own beside their copy number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TumourLevel {
    /// `shared` where three or more patients have malignant clones, else `none`.
    #[default]
    Auto,
    /// Every gene has one difference between malignant and other clones of a cell type, the same in
    /// all patients, which is no dosage.
    Shared,
    /// All of the difference between malignant and other clones speaks for the slope.
    None,
}

/// Where a gene's local copy number comes from. For slopes the other source serves where there is none, for
/// the scores of cells the windows alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyNumber {
    /// The clones' own expression of the 100 nearest genes of the arm, the gene itself left out; for the
    /// scores of cells that of malignant clones beside the stratum's normal cells.
    #[default]
    Neighbours,
    /// The windows beside the gene that do not contain it: the choice for `infercnv: {method: measured}`.
    Windows,
}

/// Parameters of `dosage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DosageParams {
    /// Which cancer cells take part: `all` (default), `epithelial`, or `malignant` (those that
    /// `cluster` calls so by their copy number). Normal cells always serve as
    /// the diploid level of their stratum.
    pub restrict: Restrict,
    /// What makes cells of one patient and cell type one clone: `cnv_clone` (default; where `cluster`
    /// found clones, its clusters elsewhere) or `cnv_leiden`, the clusters alone. Cells in no clone of a
    /// patient that has clones are scored, but say nothing about factors: normal and malignant ones are
    /// among them.
    pub group_by: GroupBy,
    /// What local copy number is taken from: `neighbours` (default) or `windows`.
    pub copy_number: CopyNumber,
    /// What shares one level of expression: `patient` or `patient_cell_type` (default).
    pub strata: Strata,
    /// Whether malignant clones have a level of their own, shared by all patients: `auto` (default),
    /// `shared` or `none`. A gene that tumours express more for other reasons than copies would
    /// otherwise seem to follow, or to escape, whatever change its region carries. A random effect: the
    /// more genes differ so, the more the slope rests on copy number that differs between patients and
    /// between clones.
    pub tumour_level: TumourLevel,
    /// Cells that a clone (a copy-number cluster of one cell type of one patient) needs; 2 or
    /// more, default 10.
    #[schemars(range(min = 2))]
    pub min_cells: usize,
    /// Counts that a gene is expected to have in a clone for the clone to speak for it; 1 or more,
    /// default 2. Genes with few counts get wide intervals, not wrong ones.
    #[schemars(range(min = 1))]
    pub min_count: f64,
    /// Spread of log copy ratio over the clones of a stratum, below which a gene is untested;
    /// above 0, default 0.1 (a gain of one copy of two is 0.405).
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 10))]
    pub min_spread: f64,
    /// Standard error of a slope above which a gene is not tested (its slope is told and ranked); above
    /// 0, default 0.5: its 95 % interval is then wider than from 0 (escape) to 2, so that nothing can be
    /// called.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1000))]
    pub max_se: f64,
    /// False discovery rate of the classes; in (0, 1), default 0.05.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub fdr: f64,
    /// Slope below which a gene that follows its dosage less than fully is insensitive; in (0, 1),
    /// default 0.5.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub insensitive_below: f64,
    /// Size of a clone's log copy ratio from which a gene counts as altered in the per-cell
    /// scores; above 0, default 0.15.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 10))]
    pub altered: f64,
    /// Factors of the per-cell residuals; 1 to 50, default 5.
    #[schemars(range(min = 1, max = 50))]
    pub n_factors: usize,
    /// Profiles permuted along the genome for the null; 39 or more, default 39 (the least p-value
    /// is 1 / 40, and a factor counts as above its null up to 0.025).
    #[schemars(range(min = 39, max = 10_000))]
    pub n_null: usize,
    /// Cells that the factors are found in, a fixed random choice where there are more; every cell
    /// gets a score. 100 or more, default 4000.
    #[schemars(range(min = 100))]
    pub max_cells: usize,
}

impl Default for DosageParams {
    fn default() -> Self {
        Self {
            restrict: Restrict::All,
            group_by: GroupBy::CnvClone,
            copy_number: CopyNumber::Neighbours,
            strata: Strata::PatientCellType,
            tumour_level: TumourLevel::Auto,
            min_cells: 10,
            min_count: 2.0,
            min_spread: 0.1,
            max_se: 0.5,
            fdr: 0.05,
            insensitive_below: 0.5,
            altered: 0.15,
            n_factors: 5,
            n_null: 39,
            max_cells: 4000,
        }
    }
}
