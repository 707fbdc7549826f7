//! Parameters of `simulate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell_types::CellType;
use super::events::N_ARMS;
use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// Largest number of arms altered in one clone.
const MOST_ARMS: usize = N_ARMS / 2;

clcc_stage::params! {
    /// Parameters of the stage `simulate`. The defaults resemble a patient of GSE131907 (median 4,000 UMI
    /// per cell, 94 % zeros) with more malignant cells than most of them have.
    pub struct SimulateParams {
        /// Cells per patient, at least 40, default 1000.
        #[schemars(range(min = 40))]
        pub n_cells: usize = 1000,
        /// Share of the cells in the tumour sample; the others come from the normal sample. 0.1 to 0.9,
        /// default 0.5.
        #[schemars(range(min = 0.1, max = 0.9))]
        pub tumour_share: f64 = 0.5,
        /// Share of the tumour sample's cells that are malignant (purity), 0 to 0.95, default 0.45.
        #[schemars(range(min = 0, max = 0.95))]
        pub malignant_share: f64 = 0.45,
        /// Number of genes, 500 to 30000, default 20000. They are drawn from the built-in GRCh38 table;
        /// markers, mitochondrial and cell-cycle genes are always included.
        #[schemars(range(min = 500, max = 30_000))]
        pub n_genes: usize = 20_000,
        /// Median counts of a patient's cells, 100 to 100000, default 4000.
        #[schemars(range(min = 100, max = 100_000))]
        pub median_counts: f64 = 4000.0,
        /// Standard deviation of the log of a cell's depth within its type, 0 to 2, default 0.35.
        #[schemars(range(min = 0, max = 2))]
        pub depth_sd: f64 = 0.35,
        /// Share of a cell's counts that come from its sample's ambient RNA, on average; 0 to 0.5, default
        /// 0.05.
        #[schemars(range(min = 0, max = 0.5))]
        pub ambient: f64 = 0.05,
        /// Variance of a gene's rate divided by its squared mean (gamma-Poisson), 0 to 5, default 0.25.
        #[schemars(range(min = 0, max = 5))]
        pub dispersion: f64 = 0.25,
        /// Clones per patient, 1 to 10, default 3.
        #[schemars(range(min = 1, max = 10))]
        pub n_clones: usize = 3,
        /// Number of chromosome arms altered in all clones of a patient, 0 to 19 together with
        /// `clone_events`, default 10: with those of the clones a third of the autosomal arms, as in an
        /// aneuploid lung adenocarcinoma.
        #[schemars(range(min = 0, max = MOST_ARMS))]
        pub trunk_events: usize = 10,
        /// Number of further arms altered in each clone alone, 0 to 19 together with `trunk_events`,
        /// default 4.
        #[schemars(range(min = 0, max = MOST_ARMS))]
        pub clone_events: usize = 4,
        /// Mean of the dosage slopes: expression is multiplied by ratio^slope. -1 to 2, default 0.85.
        #[schemars(range(min = -1, max = 2))]
        pub slope_mean: f64 = 0.85,
        /// Standard deviation of the slopes, 0 to 1, default 0.2.
        #[schemars(range(min = 0, max = 1))]
        pub slope_sd: f64 = 0.2,
        /// Share of genes whose slope is 0 in every malignant cell (constitutive escape), 0 to 1, default
        /// 0.05.
        #[schemars(range(min = 0, max = 1))]
        pub constitutive_share: f64 = 0.05,
        /// Share of the other genes that depart from their dosage in discordant cells (cell-state escape),
        /// 0 to 1, default 0.1.
        #[schemars(range(min = 0, max = 1))]
        pub state_gene_share: f64 = 0.1,
        /// Share of each clone's cells that are discordant, 0 to 1, default 0.3.
        #[schemars(range(min = 0, max = 1))]
        pub discordant_share: f64 = 0.3,
        /// Share of the malignant cells that are cycling; of other cells it is a fifth of this. 0 to 1,
        /// default 0.15.
        #[schemars(range(min = 0, max = 1))]
        pub cycling_share: f64 = 0.15,
        /// Standard deviation of the log of the eight programmes with which three of ten genes vary from
        /// cell to cell; 0 to 2, default 0.3. Programmes, cycle, depth, ambient RNA and mitochondrial share
        /// are what the two halves of a genome share in one cell apart from copy number.
        #[schemars(range(min = 0, max = 2))]
        pub programme_sd: f64 = 0.3,
        /// Standard deviation of the log of the mitochondrial genes' common variation from cell to cell; 0
        /// to 2, default 0.5.
        #[schemars(range(min = 0, max = 2))]
        pub mt_sd: f64 = 0.5,
        /// Slope of the cell-state genes in discordant cells: 0 (default) ignores the copy number, below 0
        /// goes against it. -2 to 1.
        #[schemars(range(min = -2, max = 1))]
        pub state_slope: f64 = 0.0,
        /// Probability that an event of an arm covers a part of it only, 25 to 60 % of its genes; 0 to 1,
        /// default 0.
        #[schemars(range(min = 0, max = 1))]
        pub sub_arm_share: f64 = 0.0,
        /// Number of focal events in all clones of a patient, 0 to 20, default 0: copies times 0.5, 2 or 3
        /// of what the place has otherwise.
        #[schemars(range(min = 0, max = 20))]
        pub focal_events: usize = 0,
        /// Number of further focal events in each clone alone, 0 to 20, default 0.
        #[schemars(range(min = 0, max = 20))]
        pub clone_focal_events: usize = 0,
        /// Length of the longest focal events in megabases, 1 to 50, default 20; the shortest have a tenth
        /// of it, and the logarithm is uniform between.
        #[schemars(range(min = 1, max = 50))]
        pub focal_mb: f64 = 20.0,
        /// Probability that a patient's genome is doubled, 0 to 1, default 0. Half of the events of arms then
        /// came after doubling and are of one copy in four (ratio .75, 1.25 or 1.5 in place of .5, 1.5 or
        /// 2); the cells have 1.5 times the counts.
        #[schemars(range(min = 0, max = 1))]
        pub genome_doubling: f64 = 0.0,
        /// Standard deviation of the log of each gene's own level in the tumour of each patient, 0 to 2,
        /// default 0. Without it one gene in 20 has such a level (standard deviation .6).
        #[schemars(range(min = 0, max = 2))]
        pub tumour_level_sd: f64 = 0.0,
        /// Standard deviation of the log of each clone's own programme, which knows nothing of copy number;
        /// 0 to 2, default 0. A programme shifts one gene in ten.
        #[schemars(range(min = 0, max = 2))]
        pub clone_programme_sd: f64 = 0.0,
        /// Number of patients in which a gene of constitutive escape does escape, drawn gene by gene; the
        /// gene has an ordinary slope in the others. 1 or more, null (default): in all.
        #[schemars(range(min = 1))]
        pub escape_patients: Option<usize> = None,
        /// Graded discordance: z of each malignant cell is beta distributed with mean `discordant_share` and
        /// a + b of this much (in steps of .05), and its cell-state genes have the slope (1 - z) slope + z
        /// `state_slope`. .1 to 100, null (default): z is 0 or 1.
        #[schemars(range(min = 0.1, max = 100))]
        pub discordance_concentration: Option<f64> = None,
        /// Share of the droplets that hold a second cell of the same sample, 0 to 0.5, default 0.
        #[schemars(range(min = 0, max = 0.5))]
        pub doublet_share: f64 = 0.0,
        /// Share of the cells of the tumour that are normal but for their expression, which is that of a
        /// clone (its neighbourhood); 0 to 0.9, default 0.
        #[schemars(range(min = 0, max = 0.9))]
        pub tumour_like_share: f64 = 0.0,
        /// Share of a tumour sample's normal cells of each type that are annotated as the type of the
        /// malignant cells; 0 to 0.5, default 0.
        #[schemars(range(min = 0, max = 0.5))]
        pub mislabelled_share: f64 = 0.0,
        /// Standard deviation of the log of each gene's shift in each sample, which is a batch; 0 to 2, default
        /// 0.
        #[schemars(range(min = 0, max = 2))]
        pub batch_sd: f64 = 0.0,
        /// Clonal immunoglobulins: `none` (default); `plasma`: half of the B cells are plasma cells, and those
        /// of the tumour sample are one clone with one heavy and one light chain; `malignant`: further the
        /// malignant cells are B lymphocytes and all have one set, as in a myeloma.
        pub immunoglobulin: Immunoglobulin = Immunoglobulin::None,
        /// Share of the clonal genes in the counts of a cell that secretes them, 0.01 to 0.9, default 0.3.
        #[schemars(range(min = 0.01, max = 0.9))]
        pub immunoglobulin_share: f64 = 0.3,
    }
}

/// Which cells express immunoglobulins of one clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Immunoglobulin {
    /// None.
    #[default]
    None,
    /// Plasma cells.
    Plasma,
    /// Plasma cells and malignant cells.
    Malignant,
}

impl SimulateParams {
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[
        OnlyWith {
            params: &["focal_mb"],
            any: &[
                When::Above("focal_events", 0.0),
                When::Above("clone_focal_events", 0.0),
            ],
        },
        OnlyWith {
            params: &["immunoglobulin_share"],
            any: &[When::Is("immunoglobulin", &["plasma", "malignant"])],
        },
    ];

    /// Type of the malignant cells.
    pub(super) fn malignant_type(&self) -> CellType {
        match self.immunoglobulin {
            Immunoglobulin::Malignant => CellType::B,
            _ => CellType::Epithelial,
        }
    }

    pub(super) fn check(&self) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        let n = self.trunk_events + self.clone_events;
        c.require(n <= MOST_ARMS, "trunk_events", || {
            format!("expected at most {MOST_ARMS} altered arms in a clone (half of all), found {n} with `clone_events`")
        });
        c.finish()
    }
}
