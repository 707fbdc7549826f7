//! Parameters of `simulate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::params::{Checks, ParamProblem};

/// Parameters of the stage `simulate`. The defaults resemble a patient of GSE131907 (median 4,000 UMI
/// a cell, 94 % zeros) with more malignant cells than most of them have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateParams {
    /// Cells per patient, at least 40, default 1000.
    pub n_cells: usize,
    /// Share of them in the tumour sample; the others come from the normal sample. 0.1 to 0.9,
    /// default 0.5.
    pub tumour_share: f64,
    /// Share of the tumour sample's cells that are malignant (purity), 0 to 0.95, default 0.45.
    pub malignant_share: f64,
    /// Genes, 500 to 30000, default 20000. They are drawn from the built-in GRCh38 table; markers,
    /// mitochondrial and cell-cycle genes always take part.
    pub n_genes: usize,
    /// Median counts of a patient's cells, 100 to 100000, default 4000.
    pub median_counts: f64,
    /// Standard deviation of the log of a cell's depth within its type, 0 to 2, default 0.35.
    pub depth_sd: f64,
    /// Share of a cell's counts that come from its sample's ambient RNA, on average; 0 to 0.5, default
    /// 0.05.
    pub ambient: f64,
    /// Variance of a gene's rate over its squared mean (gamma-Poisson), 0 to 5, default 0.25.
    pub dispersion: f64,
    /// Clones per patient, 1 to 10, default 3.
    pub n_clones: usize,
    /// Chromosome arms altered in all clones of a patient, default 10: with those of the clones a third
    /// of the autosomal arms, as in an aneuploid lung adenocarcinoma.
    pub trunk_events: usize,
    /// Further arms altered in each clone alone, default 4.
    pub clone_events: usize,
    /// Mean of the dosage slopes: expression is multiplied by ratio^slope. -1 to 2, default 0.85.
    pub slope_mean: f64,
    /// Standard deviation of the slopes, 0 to 1, default 0.2.
    pub slope_sd: f64,
    /// Share of genes whose slope is 0 in every malignant cell (constitutive escape), 0 to 1, default
    /// 0.05.
    pub constitutive_share: f64,
    /// Share of the other genes that leave their dosage in discordant cells (cell-state escape), 0 to
    /// 1, default 0.1.
    pub state_gene_share: f64,
    /// Share of each clone's cells that are discordant, 0 to 1, default 0.3.
    pub discordant_share: f64,
    /// Share of the malignant cells that cycle, a fifth of it of the others; 0 to 1, default 0.15.
    pub cycling_share: f64,
    /// Spread (standard deviation of the log) of the eight programmes that three of ten genes vary
    /// with from cell to cell; 0 to 2, default 0.3. Programmes, cycle, depth, ambient and mitochondrial
    /// share are what the two halves of a genome have in common in one cell without any copy number.
    pub programme_sd: f64,
    /// The same of the mitochondrial genes together; 0 to 2, default 0.5.
    pub mt_sd: f64,
    /// Slope of the cell-state genes in discordant cells: 0 (default) ignores the copy number, below 0
    /// goes against it. -2 to 1.
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
        c.at_least("n_cells", self.n_cells, 40);
        c.range("tumour_share", self.tumour_share, 0.1, 0.9);
        c.range("malignant_share", self.malignant_share, 0.0, 0.95);
        c.range("n_genes", self.n_genes, 500, 30_000);
        c.range("median_counts", self.median_counts, 100.0, 100_000.0);
        c.range("depth_sd", self.depth_sd, 0.0, 2.0);
        c.range("ambient", self.ambient, 0.0, 0.5);
        c.range("dispersion", self.dispersion, 0.0, 5.0);
        c.range("n_clones", self.n_clones, 1, 10);
        let arms = super::events::N_ARMS;
        c.require(self.trunk_events + self.clone_events <= arms / 2, "trunk_events", || {
            let n = self.trunk_events + self.clone_events;
            format!("expected at most {} altered arms in a clone (half of {arms}), found {n} with `clone_events`", arms / 2)
        });
        c.range("slope_mean", self.slope_mean, -1.0, 2.0);
        c.range("slope_sd", self.slope_sd, 0.0, 1.0);
        c.range("constitutive_share", self.constitutive_share, 0.0, 1.0);
        c.range("state_gene_share", self.state_gene_share, 0.0, 1.0);
        c.range("discordant_share", self.discordant_share, 0.0, 1.0);
        c.range("cycling_share", self.cycling_share, 0.0, 1.0);
        c.range("programme_sd", self.programme_sd, 0.0, 2.0);
        c.range("mt_sd", self.mt_sd, 0.0, 2.0);
        c.range("state_slope", self.state_slope, -2.0, 1.0);
        c.finish()
    }
}
