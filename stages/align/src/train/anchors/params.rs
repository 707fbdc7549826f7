//! Parameters of `objective: anchors`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The space of the term that pulls cells to the centroid of their anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CentroidSpace {
    /// Unit `z`, in which retrieval is scored; centroids are the training cells' means at unit length.
    #[default]
    Z,
    /// `h`, from which maps and clusters are made; centroids are the training cells' means.
    H,
}

clcc_stage::params! {
    /// Parameters of `objective: anchors` (method B).
    pub struct AnchorParams {
        /// Cells in a batch, at least 2; the paper takes 512 to 4,096. Default 512.
        #[schemars(range(min = 2))]
        pub batch_size: usize = 512,
        /// InfoNCE temperature tau, above 0. Default 0.2 (the paper).
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub temperature: f64 = 0.2,
        /// Largest norm of the gradient over all weights; a larger one is scaled down. `null` for no limit. Above 0; default 1 (the paper).
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub clip_norm: Option<f64> = Some(1.0),
        /// Width of `h`, at least 2. Default 128; the paper gives 128 in one place and 256 in another.
        #[schemars(range(min = 2))]
        pub h_dim: usize = 128,
        /// Width between `h` and `z`, at least 1. Default 128 (the paper).
        #[schemars(range(min = 1))]
        pub head_hidden: usize = 128,
        /// Width of `z`, at least 2. Default 64 (the paper).
        #[schemars(range(min = 2))]
        pub z_dim: usize = 64,
        /// Number of negatives of a cell in InfoNCE: the anchors other than its own with the largest logits,
        /// ties by number. At least 1, default 10 (the paper gives none); all others, where those are fewer.
        #[schemars(range(min = 1))]
        pub top_k: usize = 10,
        /// Space of the centroid term: `z` (default) or `h`; the paper does not say.
        pub centroid_space: CentroidSpace = CentroidSpace::Z,
        /// Weight of the centroid term, at least 0; 0 leaves it out. Default 0.05 (the paper: 0.02 to 0.1).
        #[schemars(range(min = 0))]
        pub centroid_weight: f64 = 0.05,
        /// Weight of the mean of `||h_e - h_c||^2` between a cell and its anchor, at least 0. Default 0.001
        /// (the paper gives none).
        #[schemars(range(min = 0))]
        pub h_weight: f64 = 0.001,
    }
}
