//! Parameters of `train`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::anchors::AnchorParams;
use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// The method that is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Objective")]
pub enum Method {
    /// Method A: two encoders, symmetric InfoNCE and a margin loss on hard negatives.
    #[default]
    Clcc,
    /// Method B: the expression encoder alone, against fixed anchors, the copy-number states of
    /// subclusters (`infercnv` with `method: hmm`).
    Anchors,
}

/// The cells over which batch-norm statistics are taken in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BnScope {
    /// Anchors and drawn negatives together, each distinct cell once: one pass per encoder.
    #[default]
    Joint,
    /// Anchors in one pass, drawn negatives (a cell drawn twice counts twice) in another.
    Separate,
}

/// The copy-number encoder's input for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CnvInput {
    /// The cell's own `X_cnv` row.
    #[default]
    Cell,
    /// The mean row of its CNV cluster (the paper's Fig. 3 aligns to cluster anchors). Cells of one
    /// cluster then have one copy-number embedding, and retrieval cannot tell them apart.
    ClusterMean,
}

/// Precision of the products of the first layers, which are nearly all of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// bf16 inputs and weights in the first layers' products, summed in 32 bits; everything else,
    /// weights and moments included, in 32 bits. On an accelerator only.
    Mixed,
}

clcc_stage::params! {
    /// Parameters of `train`.
    pub struct TrainParams {
        /// Method: `clcc` (default, method A) or `anchors` (method B).
        pub objective: Method = Method::Clcc,
        /// Most epochs, at least 1; also the length of the cosine schedule. Default 100 (the paper).
        #[schemars(range(min = 1))]
        pub epochs: usize = 100,
        /// Anchors in a step, at least 2; the last, smaller batch is kept unless it is of one cell.
        /// Default 256 (the paper).
        #[schemars(range(min = 2))]
        pub batch_size: usize = 256,
        /// AdamW's rate in the first epoch, above 0; falls along a cosine to 0 at `epochs`. Default 1e-3 (the paper).
        /// Constant, and Adam's, with `objective: anchors`.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub learning_rate: f64 = 1e-3,
        /// Epochs in which the rate rises in equal steps from `learning_rate / steps` to `learning_rate`,
        /// 0 to `epochs` - 1; the cosine then takes the epochs that are left. Default 0 (the paper);
        /// open_clip warms up.
        pub warmup_epochs: usize = 0,
        /// Largest norm of the gradient over all weights of both encoders; a larger one is scaled down to
        /// it. Above 0, or `null` for no limit. Default `null` (the paper
        /// names none for this method; torch's `clip_grad_norm_`).
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub clip_norm: Option<f64> = None,
        /// AdamW's decoupled decay of every parameter, biases and batch-norm included, as torch does; at
        /// least 0. Default 1e-4 (the paper). L2 in the gradient with `objective: anchors`.
        #[schemars(range(min = 0))]
        pub weight_decay: f64 = 1e-4,
        /// InfoNCE temperature tau, above 0. Default 0.07 (the paper).
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub temperature: f64 = 0.07,
        /// Learns ln(1 / tau) with the weights, from `temperature` on, kept in [0, ln 100] and without
        /// decay (open_clip's `logit_scale`; `temperature` is then 0.01 to 1). Default false (the paper).
        pub learn_temperature: bool = false,
        /// Weight of the hard-negative margin loss, at least 0; at 0 no negative is drawn. Default 0.5 (the paper).
        #[schemars(range(min = 0))]
        pub lambda: f64 = 0.5,
        /// Margin of that loss in cosine distance, at least 0. Default 0.3 (the paper).
        #[schemars(range(min = 0))]
        pub margin: f64 = 0.3,
        /// Hard negatives drawn for each anchor in each epoch, of those that `mine` kept; at least 1.
        /// Default 5 (the paper).
        #[schemars(range(min = 1))]
        pub n_negatives: usize = 5,
        /// Dropout after each hidden block, in [0, 1). Default 0.1 (the paper).
        #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
        pub dropout: f64 = 0.1,
        /// Epochs without a better validation loss before training stops, at least 1. Default 10 (the paper).
        #[schemars(range(min = 1))]
        pub patience: usize = 10,
        /// Hidden widths of the expression encoder, first to last; at least one. Default [512, 256] (the paper).
        #[schemars(length(min = 1), inner(range(min = 1)))]
        pub expr_hidden: Vec<usize> = vec![512, 256],
        /// Hidden widths of the copy-number encoder; at least one. Default [256, 128] (the paper).
        #[schemars(length(min = 1), inner(range(min = 1)))]
        pub cnv_hidden: Vec<usize> = vec![256, 128],
        /// Width of both embeddings, at least 2. Default 128 (the paper).
        #[schemars(range(min = 2))]
        pub embedding_dim: usize = 128,
        /// Set of the batch-norm statistics. Default `joint`.
        pub bn_scope: BnScope = BnScope::Joint,
        /// Precision of the first layers' products. Default `full`; `mixed` is for accelerators.
        pub precision: Precision = Precision::Full,
        /// The copy-number encoder's input for a cell. Default `cell`; `cluster_mean` reads `clusters`.
        pub cnv_input: CnvInput = CnvInput::Cell,
        /// Leaves pairs of different cells of one patient's CNV cluster out of InfoNCE, in training and
        /// validation: they share their copy number and are false negatives. Default false (the paper);
        /// true reads `clusters`.
        pub mask_same_cluster: bool = false,
        /// Parameters of `objective: anchors`.
        pub anchors: AnchorParams = AnchorParams::default(),
    }
}

impl TrainParams {
    /// Parameters that are read only with certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[
        OnlyWith {
            params: &[
                "batch_size",
                "warmup_epochs",
                "clip_norm",
                "temperature",
                "learn_temperature",
                "lambda",
                "margin",
                "n_negatives",
                "dropout",
                "patience",
                "embedding_dim",
                "bn_scope",
                "cnv_input",
                "mask_same_cluster",
            ],
            any: &[When::Is("objective", &["clcc"])],
        },
        OnlyWith {
            params: &["anchors"],
            any: &[When::Is("objective", &["anchors"])],
        },
        OnlyWith {
            params: &["margin", "n_negatives", "bn_scope"],
            any: &[When::Above("lambda", 0.0)],
        },
        OnlyWith {
            params: &["anchors.centroid_space"],
            any: &[When::Above("anchors.centroid_weight", 0.0)],
        },
    ];

    /// Whether the artifact `clusters` is read.
    pub(super) fn needs_clusters(&self) -> bool {
        self.objective == Method::Clcc
            && (self.mask_same_cluster || self.cnv_input == CnvInput::ClusterMean)
    }

    /// Lists the values that do not fit together.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        let warmup = self.warmup_epochs;
        checks.require(warmup < self.epochs.max(1), "warmup_epochs", || {
            format!(
                "expected fewer than `epochs` ({}), found `{warmup}`",
                self.epochs
            )
        });
        let tau = self.temperature;
        checks.require(
            !self.learn_temperature || (0.01..=1.0).contains(&tau),
            "temperature",
            || format!("expected a value in [0.01, 1] where it is learnt, found `{tau}`"),
        );
        checks.finish()
    }
}
