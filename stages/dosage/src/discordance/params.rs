//! Parameters of `discordance`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::misplaced::Alternative;
use crate::dosage::{CopyNumber, Strata};
use clcc_stage::cells::Restrict;
use clcc_stage::cohort::GroupBy;

/// A part of the model, which can be left out to measure what it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The share of discordant cells in a clone's mean: without it concordant cells are expected at the mean.
    Shift,
    /// Messages without the receiver's own contribution: without them a gene is scored by cells that it
    /// helped to score.
    Cavities,
    /// Overdispersion of the counts: without it they are Poisson.
    Overdispersion,
}

/// Parameters of `discordance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiscordanceParams {
    /// Cancer cells to score: `all` (default), `epithelial`, or `malignant` (called so by `cluster`). Cells in
    /// clones without an altered gene are not scored.
    pub restrict: Restrict,
    /// Grouping of the cells of one patient and cell type into clones, as in `dosage`: `cnv_clone` (default) or
    /// `cnv_leiden`.
    pub group_by: GroupBy,
    /// Source of a clone's local copy number, as in `dosage`: `neighbours` (default) or `windows`.
    pub copy_number: CopyNumber,
    /// Cells that share one expression level per gene in normal cells: those of a `patient`, or of a
    /// `patient_cell_type` (default).
    pub strata: Strata,
    /// Cells that a clone needs; 2 or more, default 10.
    #[schemars(range(min = 2))]
    pub min_cells: usize,
    /// Size of a clone's log copy ratio from which a gene counts as altered; above 0, default 0.15 as in
    /// `dosage`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub altered: f64,
    /// Genes that are in no set and no neighbours of others, by name or symbol; a `*` at the end matches any further
    /// characters. Default none; segments of immunoglobulins and T-cell receptors are always left out. Give what
    /// `infercnv.exclude_genes` leaves out, and genes of a programme that is taken for a set (`RPL*`, `RPS*`).
    #[schemars(inner(length(min = 1)))]
    pub exclude_genes: Vec<String>,
    /// Sparse programmes of expression that are taken out before cells are compared; 0 to 100, default 14.
    /// Fewer where the cells are fewer than 20 for each.
    #[schemars(range(min = 0, max = 100))]
    pub n_programmes: usize,
    /// Shares of its dosage response that a discordant cell may lose in the genes of the set, of which the
    /// evidence chooses; each from 0.01 to 3, default 1 and 0.5. Where there is no evidence, cells and genes
    /// are ranked by the first of these and of `gene_shares`.
    #[schemars(length(min = 1), inner(range(min = 0.01, max = 3.0)))]
    pub losses: Vec<f64>,
    /// Shares of the altered genes that the set may be, of which the evidence chooses; each from 0.0001
    /// to 0.9, default 0.05, 0.03 and 0.1.
    #[schemars(length(min = 1), inner(range(min = 0.0001, max = 0.9)))]
    pub gene_shares: Vec<f64>,
    /// Share of discordant cells that is expected in a clone; above 0 and below 1, default 0.3.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub cell_share: f64,
    /// Share of a clone's cells that may be misplaced: that do not have its copy number. 0 for none, below 1, default
    /// 0.02. Such cells are neither discordant nor concordant and tell nothing of the set.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub misplaced_share: f64,
    /// What misplaced cells may be: `normal`, `doublet` (of a malignant and a normal cell), `other_clone`; default all
    /// three.
    pub misplaced: Vec<Alternative>,
    /// Profiles that the evidence is compared with: the clones' copy number laid elsewhere on the genome. A set is
    /// established only where its evidence is more than twice that of each, so that in 1 of `n_null` + 1 data sets at
    /// most it is by chance. They are fitted where there is evidence for a set, until one has half as much. 0 to 1,000,
    /// default 19.
    #[schemars(range(min = 0, max = 1000))]
    pub n_null: usize,
    /// Parts of the model to leave out, to measure what each brings: `shift`, `cavities`, `overdispersion`;
    /// default none.
    pub without: Vec<Part>,
}

impl DiscordanceParams {
    /// Whether a part of the model is there.
    pub(super) fn has(&self, part: Part) -> bool {
        !self.without.contains(&part)
    }
}

impl Default for DiscordanceParams {
    fn default() -> Self {
        Self {
            restrict: Restrict::All,
            group_by: GroupBy::CnvClone,
            copy_number: CopyNumber::Neighbours,
            strata: Strata::PatientCellType,
            min_cells: 10,
            altered: 0.15,
            exclude_genes: Vec::new(),
            n_programmes: 14,
            losses: vec![1.0, 0.5],
            gene_shares: vec![0.05, 0.03, 0.1],
            cell_share: 0.3,
            misplaced_share: 0.02,
            misplaced: vec![
                Alternative::Normal,
                Alternative::Doublet,
                Alternative::OtherClone,
            ],
            n_null: 19,
            without: Vec::new(),
        }
    }
}
