//! Parameters of `dosage`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::cells::Restrict;
use clcc_stage::cohort::GroupBy;

/// Cells that share one expression level per gene. Only differences of copy number within a stratum
/// determine the slope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strata {
    /// The cells of a patient.
    Patient,
    /// The cells of one cell type of a patient, so that differences between cell types do not count as
    /// dosage.
    #[default]
    PatientCellType,
}

/// Whether malignant clones have an expression level of their own, apart from the effect of copy
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TumourLevel {
    /// `shared` where three or more patients have malignant clones, else `none`.
    #[default]
    Auto,
    /// Each gene has one difference between malignant and other clones of a cell type that the patients
    /// share, and each patient one of its own from that; neither counts as dosage.
    Shared,
    /// The whole difference between malignant and other clones counts as dosage.
    None,
}

/// Source of a gene's local copy number. Where it gives none, slopes use the other source, and scores
/// of cells use the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CopyNumber {
    /// The clones' own expression of the 100 nearest genes of the segment, without the gene itself; for the
    /// scores of cells, that of malignant clones relative to the stratum's normal cells.
    #[default]
    Neighbours,
    /// The nearest windows that do not contain the gene: the choice for `infercnv: {method: measured}`.
    Windows,
}

clcc_stage::params! {
    /// Parameters of `dosage`.
    pub struct DosageParams {
        /// Cancer cells to include: `all` (default), `epithelial`, or `malignant` (called so by `cluster`
        /// from their copy number). Normal cells are always included, as the diploid level of their
        /// stratum.
        pub restrict: Restrict = Restrict::All,
        /// Grouping of the cells of one patient and cell type into clones: `cnv_clone` (default; the clones
        /// that `cluster` found, its clusters elsewhere) or `cnv_leiden`, the clusters alone. In a patient
        /// with clones, cells outside all of them are scored but not used to find factors, since they mix
        /// normal and malignant cells.
        pub group_by: GroupBy = GroupBy::CnvClone,
        /// Source of local copy number: `neighbours` (default) or `windows`.
        pub copy_number: CopyNumber = CopyNumber::Neighbours,
        /// Cells that share one expression level per gene: those of a `patient`, or of a
        /// `patient_cell_type` (default).
        pub strata: Strata = Strata::PatientCellType,
        /// Whether malignant clones have an expression level of their own: `auto` (default), `shared` or
        /// `none`. A gene that tumours express more for other reasons than copy number would otherwise seem
        /// to follow, or to escape, whatever change its region carries. Two random effects, the patients'
        /// common level and each patient's difference from it: the more genes differ in this way, the more
        /// the slope rests on copy number that differs between patients and between clones.
        pub tumour_level: TumourLevel = TumourLevel::Auto,
        /// Whether the segments of immunoglobulins and T-cell receptors (`IGHV3-23`, `TRBC2`) are left out, as
        /// neighbours and as tested genes; default true. A clone of lymphocytes expresses them as it has
        /// rearranged them, which among neighbours looks like copy number.
        pub exclude_clonal_loci: bool = true,
        /// Further genes left out in the same way, by name or symbol; a `*` at the end matches any further
        /// characters. Default none. Give what `infercnv.exclude_genes` leaves out of the windows.
        #[schemars(inner(length(min = 1)))]
        pub exclude_genes: Vec<String> = Vec::new(),
        /// Cells that a clone (a copy-number cluster of one cell type of one patient) needs; 2 or
        /// more, default 10.
        #[schemars(range(min = 2))]
        pub min_cells: usize = 10,
        /// Expected counts of a gene in a clone from which the clone is included in the gene's slope; 1 or
        /// more, default 2. Genes with few counts get wide intervals, not wrong ones.
        #[schemars(range(min = 1))]
        pub min_count: f64 = 2.0,
        /// Smallest spread of log copy ratio over the clones of a stratum at which a gene is tested; above
        /// 0, default 0.1 (a gain of one copy on two is 0.405).
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 10))]
        pub min_spread: f64 = 0.1,
        /// Largest standard error of a slope at which a gene is tested (above it, the slope is reported and
        /// ranked only); above 0, default 0.5: beyond it the 95 % interval is wider than from 0 (escape) to
        /// 2, so that no class can be called.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1000))]
        pub max_se: f64 = 0.5,
        /// False discovery rate of the classes; in (0, 1), default 0.05. Of escape it is the mean posterior
        /// probability that a called gene's slope is not below `insensitive_below`.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub fdr: f64 = 0.05,
        /// Slope below which a gene that follows its dosage less than fully is insensitive; in (0, 1),
        /// default 0.5.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub insensitive_below: f64 = 0.5,
        /// Absolute log copy ratio of a clone from which a gene counts as altered in the per-cell scores;
        /// above 0, default 0.15.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 10))]
        pub altered: f64 = 0.15,
        /// Number of factors of the per-cell residuals; 1 to 50, default 5.
        #[schemars(range(min = 1, max = 50))]
        pub n_factors: usize = 5,
        /// Number of profiles permuted along the genome for the null; 39 or more, default 39 (the smallest
        /// p-value is 1 / 40, and a factor counts as above its null up to 0.025).
        #[schemars(range(min = 39, max = 10_000))]
        pub n_null: usize = 39,
        /// Number of cells that the factors are computed from, a fixed random choice where there are more;
        /// every cell gets a score. 100 or more, default 4000.
        #[schemars(range(min = 100))]
        pub max_cells: usize = 4000,
    }
}
