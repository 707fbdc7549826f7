//! Parameters of `cluster`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// Distance between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Euclidean distance between principal component scores.
    #[default]
    Euclidean,
}

/// Coordinates by which cells are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The copy-number profile `X_cnv`, patient by patient.
    #[default]
    Cnv,
    /// The embedding `X_h` of a model that `train` made with `objective: anchors`, all cells of the
    /// model together.
    H,
}

clcc_stage::params! {
    /// Parameters of `cluster`: names, meanings and defaults of infercnvpy (`tl.pca`, `pp.neighbors`,
    /// `tl.leiden`, `tl.umap`), which are scanpy's but for `zero_center`.
    pub struct ClusterParams {
        /// Coordinates by which cells are compared. Default `cnv`; `h` reads `embeddings`, uses its rows as
        /// they are (no components), and computes maps in two and three dimensions.
        pub on: On = On::Cnv,
        /// Principal components of `X_cnv`; fewer where there are fewer cells or windows. At least 1;
        /// default 50 (scanpy).
        #[schemars(range(min = 1))]
        pub n_comps: usize = 50,
        /// Subtract the mean profile before the decomposition. Default `false` (infercnvpy), which keeps 0
        /// as "no change from normal".
        pub zero_center: bool = false,
        /// Cells of a neighbourhood, the cell itself included. At least 2; default 15 (scanpy). With
        /// fewer cells than this, half of the cells plus one, as scanpy does.
        #[schemars(range(min = 2))]
        pub n_neighbors: usize = 15,
        /// Distance between cells. Default `euclidean`.
        pub metric: Metric = Metric::Euclidean,
        /// Resolution of Leiden in leidenalg's `RBConfigurationVertexPartition`: higher gives more
        /// clusters. Above 0, at most 1000; default 1 (scanpy); the paper uses 0.5.
        #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0))]
        pub resolution: f64 = 1.0,
        /// Passes of Leiden over the graph; -1 repeats until a pass improves nothing. -1 or at least
        /// 1; default -1 (scanpy).
        #[schemars(range(min = -1))]
        pub n_iterations: i64 = -1,
        /// Randomness of Leiden's refinement: two merges whose gains differ by this (in edge weights)
        /// differ in probability by a factor of e. In [1e-6, 10]; default 0.01 (Traag et al. 2019).
        #[schemars(range(min = 1e-6, max = 10))]
        pub theta: f64 = 0.01,
        /// Distance in the UMAP plane below which neighbours are not drawn closer. In [0, `spread`];
        /// default 0.5 (scanpy).
        #[schemars(range(min = 0))]
        pub min_dist: f64 = 0.5,
        /// Scale of distances in the UMAP plane. In [0.01, 100]; default 1 (scanpy).
        #[schemars(range(min = 0.01, max = 100))]
        pub spread: f64 = 1.0,
        /// Passes of the UMAP layout. At least 1; default 500 up to 10,000 cells and 200 above
        /// (umap-learn).
        #[schemars(range(min = 1))]
        pub n_epochs: Option<usize> = None,
        /// Random cells that push each neighbour pair away, per draw of the pair, in the UMAP layout.
        /// At most 100; default 5 (umap-learn).
        #[schemars(range(min = 0, max = 100))]
        pub negative_sample_rate: usize = 5,
        /// Least confidence at which a segment of a cluster's profile is called a gain or a loss. In [0.5,
        /// 1); default 0.95.
        #[schemars(range(min = 0.5), extend("exclusiveMaximum" = 1))]
        pub segment_confidence: f64 = 0.95,
        /// Least absolute mean (natural log ratio) of a gain or loss. In [0, 10]; default 0.01.
        #[schemars(range(min = 0, max = 10))]
        pub min_amplitude: f64 = 0.01,
        /// Share of an arm's windows that must be in gains, or in losses, for the arm to be called as such. In
        /// [0.1, 1]; default 0.5.
        #[schemars(range(min = 0.1, max = 1))]
        pub arm_share: f64 = 0.5,
        /// Number of cells of a cluster whose pairs make its `ithcna`, drawn at random where it has more
        /// (infercnvpy uses all). 0 (none) to 20,000; default 500.
        #[schemars(range(min = 0, max = 20_000))]
        pub ithcna_cells: usize = 500,
        /// Score `cnv_malignancy` (in [0, 10]; 0: normal, 1: the typical malignant cell) above which a cell that
        /// is not a reference cell is called malignant, in every patient and every cluster. Default: where
        /// the component of the reference cells and the one fitted to the other cells of altered clusters
        /// cross; no calls where no cluster is altered, where the components are not distinct, and where more
        /// than half of the calls would be false. The report shows the scores.
        #[schemars(range(min = 0, max = 10))]
        pub malignancy_threshold: Option<f64> = None,
        /// Largest number of clones into which the malignant cells of a patient are divided (column
        /// `cnv_clone`), from the raw counts, where `needs` lists a stage that writes `expr`. In [1, 50];
        /// 1: clones are not sought; default 10.
        #[schemars(range(min = 1, max = 50))]
        pub max_clones: usize = 10,
        /// Fewest cells of a clone. At least 2; default 20.
        #[schemars(range(min = 2))]
        pub min_clone_cells: usize = 20,
    }
}

impl ClusterParams {
    /// Parameters that are read only under certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[
        OnlyWith {
            params: &[
                "n_comps",
                "zero_center",
                "segment_confidence",
                "min_amplitude",
                "arm_share",
                "ithcna_cells",
                "malignancy_threshold",
                "max_clones",
                "min_clone_cells",
            ],
            any: &[When::Is("on", &["cnv"])],
        },
        OnlyWith {
            params: &["min_clone_cells"],
            any: &[When::Above("max_clones", 1.0)],
        },
    ];

    /// Problems with values out of range.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        checks.require(self.n_iterations != 0, "n_iterations", || {
            "expected -1 (until stable) or at least 1, found `0`".into()
        });
        checks.require(self.min_dist <= self.spread, "min_dist", || {
            format!(
                "expected a value in [0, {}] (up to `spread`), found `{}`",
                self.spread, self.min_dist
            )
        });
        checks.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use clcc_stage::params::problems;

    #[test]
    fn every_value_out_of_range_is_reported_at_once() {
        assert!(problems::<Cluster>(&ClusterParams::default()).is_empty());
        let bad = ClusterParams {
            n_comps: 0,
            n_neighbors: 1,
            resolution: f64::NAN,
            n_iterations: 0,
            theta: 0.0,
            min_dist: -1.0,
            n_epochs: Some(0),
            negative_sample_rate: 101,
            segment_confidence: 1.0,
            min_amplitude: -0.1,
            arm_share: 0.0,
            ithcna_cells: 20_001,
            malignancy_threshold: Some(-0.1),
            max_clones: 0,
            min_clone_cells: 1,
            ..ClusterParams::default()
        };
        let paths: Vec<String> = problems::<Cluster>(&bad)
            .into_iter()
            .map(|p| p.path)
            .collect();
        let expected = [
            "n_comps",
            "n_neighbors",
            "resolution",
            "theta",
            "min_dist",
            "n_epochs",
            "negative_sample_rate",
            "segment_confidence",
            "min_amplitude",
            "arm_share",
            "ithcna_cells",
            "malignancy_threshold",
            "max_clones",
            "min_clone_cells",
            "n_iterations",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn unknown_and_misspelt_parameters_are_refused() {
        assert!(
            serde_json::from_str::<ClusterParams>(r#"{"resolution": 0.5, "metric": "euclidean"}"#)
                .is_ok()
        );
        assert!(serde_json::from_str::<ClusterParams>(r#"{"resolutoin": 0.5}"#).is_err());
        assert!(serde_json::from_str::<ClusterParams>(r#"{"metric": "cosine"}"#).is_err());
    }
}
