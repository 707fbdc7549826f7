//! Parameters of `method: hmm`, under R inferCNV's names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::Checks;

/// The copy-number states of the hidden Markov model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HmmType {
    /// Six states: 0, 0.5, 1, 1.5, 2 and 3 times the normal copy number, with levels from simulated
    /// cells.
    #[default]
    I6,
    /// Three states: 0.5, 1 and 1.5 times, with levels from the spread of the reference cells.
    I3,
}

/// Cells whose mean profile is called together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisMode {
    /// Leiden subclusters of each group of `reference_key`.
    #[default]
    Subclusters,
    /// Each whole group of `reference_key`.
    Samples,
}

/// Graph on which subclusters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeidenMethod {
    /// Shared-neighbour (Jaccard) graph on ten principal components of every `step`-th gene.
    #[default]
    Pca,
    /// Exact neighbours on all genes, unweighted; memory grows with cells x genes.
    Simple,
}

/// Spread of a mean over n cells, relative to that of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SdTrend {
    /// Divided by the square root of the subcluster's cells, which is what R inferCNV describes.
    #[default]
    Cells,
    /// Divided by 10 whatever the subcluster's size, which is what R inferCNV 1.23 computes: it averages
    /// over its 100 rounds instead of over the cells.
    Rounds,
}

clcc_stage::params! {
    /// Parameters of `method: hmm`; defaults are R inferCNV's except for `cutoff`, which is its advice for
    /// 10x.
    pub struct HmmParams {
        /// States: `i6` (default) or `i3`.
        pub hmm_type: HmmType = HmmType::default(),
        /// Genes whose mean raw count over all cells is below this are left out; at least 0, default 0.1
        /// (R's advice for 10x data; 1 for Smart-seq2).
        #[schemars(range(min = 0))]
        pub cutoff: f64 = 0.1,
        /// Genes expressed in fewer cells are left out; default 3.
        pub min_cells_per_gene: usize = 3,
        /// Cells with fewer counts over the genes with a position are not included: no signal, no
        /// subcluster. Default 100.
        #[schemars(range(min = 0))]
        pub min_counts_per_cell: f64 = 100.0,
        /// Genes in the pyramid, an odd number of at least 3, default 101.
        #[schemars(range(min = 3))]
        pub window_length: usize = 101,
        /// Log2 ratios are clipped to +- this before smoothing; above 0, default 3.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub max_centered_threshold: f64 = 3.0,
        /// With several reference groups, a value between the lowest and the highest of their means counts
        /// as unchanged (`true`, default); otherwise the mean of the groups' means is subtracted.
        pub ref_subtract_use_mean_bounds: bool = true,
        /// Values closer to the reference's mean than this many of its standard deviations are treated as
        /// noise in `X_cnv`; at least 0, default 1.5; 0 keeps everything. The states do not depend on it.
        #[schemars(range(min = 0, max = 1_000_000))]
        pub sd_amplifier: f64 = 1.5,
        /// Cells whose mean is called together: `subclusters` (default) or `samples`.
        pub analysis_mode: AnalysisMode = AnalysisMode::default(),
        /// Graph of the subclusters: `pca` (default) or `simple`.
        pub leiden_method: LeidenMethod = LeidenMethod::default(),
        /// Resolution of Leiden (constant Potts model); null (default): (11.98 / n)^(1 / 1.165) for n cells.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub leiden_resolution: Option<f64> = None,
        /// Neighbours, the cell itself included, at least 2, default 20. A group with no more cells than this
        /// is one subcluster.
        #[schemars(range(min = 2))]
        pub k_nn: usize = 20,
        /// Genes whose mean absolute z-score over the reference cells reaches this are not used to find
        /// subclusters; at least 0, default 0.8; 0 keeps all.
        #[schemars(range(min = 0, max = 1_000_000))]
        pub z_score_filter: f64 = 0.8,
        /// Probability of each change of state between neighbouring genes; in (0, 0.1], default 1e-6.
        #[schemars(range(max = 0.1), extend("exclusiveMinimum" = 0))]
        pub hmm_transition_prob: f64 = 1e-6,
        /// Spread of a subcluster's mean in `i6`: `cells` (default) or `rounds`.
        pub sd_trend: SdTrend = SdTrend::default(),
        /// Overlap of the levels of `i3`: each level is where a reference value is beyond it with this
        /// probability. In (0, 0.5), default 0.05.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 0.5))]
        pub i3_p_val: f64 = 0.05,
        /// Gains and losses whose posterior probability of being normal is above this are dropped; in [0, 1],
        /// default 0.5; 0 keeps all and leaves the states as the model called them.
        #[schemars(range(min = 0, max = 1))]
        pub bayes_max_p_normal: f64 = 0.5,
        /// Seed of the simulated cells of `i6` and of Leiden. Default 0.
        pub random_state: u64 = 0,
    }
}

impl HmmParams {
    pub(in crate::infercnv) fn check(&self, checks: &mut Checks) {
        checks.require(self.window_length % 2 == 1, "hmm.window_length", || {
            format!("expected an odd number, found `{}`", self.window_length)
        });
    }
}
