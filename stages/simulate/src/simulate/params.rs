//! Parameters of `simulate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events::N_ARMS;
use clcc_stage::params::{Checks, ParamProblem};

/// Largest number of arms altered in one clone.
const MOST_ARMS: usize = N_ARMS / 2;

/// Parameters of the stage `simulate`. The defaults resemble a patient of GSE131907 (median 4,000 UMI
/// per cell, 94 % zeros) with more malignant cells than most of them have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateParams {
    /// Cells per patient, at least 40, default 1000.
    #[schemars(range(min = 40))]
    pub n_cells: usize,
    /// Share of the cells in the tumour sample; the others come from the normal sample. 0.1 to 0.9,
    /// default 0.5.
    #[schemars(range(min = 0.1, max = 0.9))]
    pub tumour_share: f64,
    /// Share of the tumour sample's cells that are malignant (purity), 0 to 0.95, default 0.45.
    #[schemars(range(min = 0, max = 0.95))]
    pub malignant_share: f64,
    /// Number of genes, 500 to 30000, default 20000. They are drawn from the built-in GRCh38 table;
    /// markers, mitochondrial and cell-cycle genes are always included.
    #[schemars(range(min = 500, max = 30_000))]
    pub n_genes: usize,
    /// Median counts of a patient's cells, 100 to 100000, default 4000.
    #[schemars(range(min = 100, max = 100_000))]
    pub median_counts: f64,
    /// Standard deviation of the log of a cell's depth within its type, 0 to 2, default 0.35.
    #[schemars(range(min = 0, max = 2))]
    pub depth_sd: f64,
    /// Share of a cell's counts that come from its sample's ambient RNA, on average; 0 to 0.5, default
    /// 0.05.
    #[schemars(range(min = 0, max = 0.5))]
    pub ambient: f64,
    /// Variance of a gene's rate divided by its squared mean (gamma-Poisson), 0 to 5, default 0.25.
    #[schemars(range(min = 0, max = 5))]
    pub dispersion: f64,
    /// Clones per patient, 1 to 10, default 3.
    #[schemars(range(min = 1, max = 10))]
    pub n_clones: usize,
    /// Number of chromosome arms altered in all clones of a patient, 0 to 19 together with
    /// `clone_events`, default 10: with those of the clones a third of the autosomal arms, as in an
    /// aneuploid lung adenocarcinoma.
    #[schemars(range(min = 0, max = MOST_ARMS))]
    pub trunk_events: usize,
    /// Number of further arms altered in each clone alone, 0 to 19 together with `trunk_events`,
    /// default 4.
    #[schemars(range(min = 0, max = MOST_ARMS))]
    pub clone_events: usize,
    /// Mean of the dosage slopes: expression is multiplied by ratio^slope. -1 to 2, default 0.85.
    #[schemars(range(min = -1, max = 2))]
    pub slope_mean: f64,
    /// Standard deviation of the slopes, 0 to 1, default 0.2.
    #[schemars(range(min = 0, max = 1))]
    pub slope_sd: f64,
    /// Share of genes whose slope is 0 in every malignant cell (constitutive escape), 0 to 1, default
    /// 0.05.
    #[schemars(range(min = 0, max = 1))]
    pub constitutive_share: f64,
    /// Share of the other genes that depart from their dosage in discordant cells (cell-state escape),
    /// 0 to 1, default 0.1.
    #[schemars(range(min = 0, max = 1))]
    pub state_gene_share: f64,
    /// Share of each clone's cells that are discordant, 0 to 1, default 0.3.
    #[schemars(range(min = 0, max = 1))]
    pub discordant_share: f64,
    /// Share of the malignant cells that are cycling; of other cells it is a fifth of this. 0 to 1,
    /// default 0.15.
    #[schemars(range(min = 0, max = 1))]
    pub cycling_share: f64,
    /// Standard deviation of the log of the eight programmes with which three of ten genes vary from
    /// cell to cell; 0 to 2, default 0.3. Programmes, cycle, depth, ambient RNA and mitochondrial share
    /// are what the two halves of a genome share in one cell apart from copy number.
    #[schemars(range(min = 0, max = 2))]
    pub programme_sd: f64,
    /// Standard deviation of the log of the mitochondrial genes' common variation from cell to cell; 0
    /// to 2, default 0.5.
    #[schemars(range(min = 0, max = 2))]
    pub mt_sd: f64,
    /// Slope of the cell-state genes in discordant cells: 0 (default) ignores the copy number, below 0
    /// goes against it. -2 to 1.
    #[schemars(range(min = -2, max = 1))]
    pub state_slope: f64,
}

impl Default for SimulateParams {
    fn default() -> Self {
        Self {
            n_cells: 1000,
            tumour_share: 0.5,
            malignant_share: 0.45,
            n_genes: 20_000,
            median_counts: 4000.0,
            depth_sd: 0.35,
            ambient: 0.05,
            dispersion: 0.25,
            n_clones: 3,
            trunk_events: 10,
            clone_events: 4,
            slope_mean: 0.85,
            slope_sd: 0.2,
            constitutive_share: 0.05,
            state_gene_share: 0.1,
            discordant_share: 0.3,
            cycling_share: 0.15,
            programme_sd: 0.3,
            mt_sd: 0.5,
            state_slope: 0.0,
        }
    }
}

impl SimulateParams {
    pub(super) fn check(&self) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        let n = self.trunk_events + self.clone_events;
        c.require(n <= MOST_ARMS, "trunk_events", || {
            format!("expected at most {MOST_ARMS} altered arms in a clone (half of all), found {n} with `clone_events`")
        });
        c.finish()
    }
}
