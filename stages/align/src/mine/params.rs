//! Parameters of `mine`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// The unit that is assigned at random to training, validation or test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// Single cells (the paper).
    #[default]
    Cell,
    /// Whole patients: no patient has cells in two parts.
    Patient,
}

/// The vectors whose cosines define hard negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// The encoders' inputs, z-scored with the moments of the training cells (the "input feature
    /// space" of the paper's section on the loss).
    #[default]
    Zscore,
    /// log1p expression and `X_cnv` as they are (the "raw" vectors of the paper's section on mining).
    Log1p,
}

clcc_stage::params! {
    /// Parameters of `mine`.
    pub struct MineParams {
        /// Shares of training, validation and test; they sum to 1. Default [0.8, 0.1, 0.1] (the paper).
        #[schemars(inner(range(min = 0, max = 1)))]
        pub split: [f64; 3] = [0.8, 0.1, 0.1],
        /// The unit that is drawn: `cell` (the paper), or whole `patient`s, which tests transfer to new
        /// patients and needs at least three of them.
        pub split_by: SplitBy = SplitBy::Cell,
        /// Folds of a cross-fit, 2 to 50; `null` (default): one split. With K the cells (or patients) are
        /// dealt into K equal folds; `fold` is held out as the test part, and the others are shared
        /// between training and validation in proportion to `split`, whose third share does not count.
        #[schemars(range(min = 2, max = 50))]
        pub cross_fit: Option<usize> = None,
        /// Which fold is held out, 1 to `cross_fit`, default 1: an axis gives each model its own
        /// (`fold: {f1: {mine: {fold: 1}}, f2: {mine: {fold: 2}}}`).
        #[schemars(range(min = 1, max = 50))]
        pub fold: usize = 1,
        /// Number of highly variable genes that make up expression vectors, here and in `train`; chosen on the
        /// training cells as `scanpy.pp.highly_variable_genes(flavor="seurat")` does. At least 2;
        /// `null` (default, the paper): all genes.
        #[schemars(range(min = 2))]
        pub n_top_genes: Option<usize> = None,
        /// Chromosomes whose genes expression vectors leave out, here and in `train`, with or without `chr`;
        /// default none. With the others left out of `infercnv`, expression of one half of the genome meets
        /// copy number of the other (a control).
        pub exclude_chromosomes: Vec<String> = Vec::new(),
        /// The vectors that are compared. `zscore` (default): the encoders' inputs; `log1p`: the paper's mining
        /// section, under which few anchors have a negative on real tumours (0.6 % on an ovarian set).
        pub space: Space = Space::Zscore,
        /// Lower bound (exclusive) of a negative's copy-number cosine with its anchor, in [-1, 1]. Default 0.5 (the paper).
        #[schemars(range(min = -1, max = 1))]
        pub cnv_cosine_min: f64 = 0.5,
        /// Upper bound (exclusive) of a negative's expression cosine with its anchor, in [-1, 1]. Default 0.3 (the paper).
        #[schemars(range(min = -1, max = 1))]
        pub expr_cosine_max: f64 = 0.3,
        /// Negatives kept per anchor: those with the smallest expression cosine. At least 1; default 10 (the paper).
        #[schemars(range(min = 1))]
        pub n_negatives: usize = 10,
        /// `null` (default): every training cell is a candidate for every anchor. A number: this many,
        /// drawn anew for each anchor, at least 1, which is the paper's subsample (5,000).
        #[schemars(range(min = 1))]
        pub candidates: Option<usize> = None,
    }
}

impl MineParams {
    /// Parameters that are read only with certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[OnlyWith {
        params: &["fold"],
        any: &[When::Given("cross_fit")],
    }];

    /// Lists the values that do not fit together.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        let [train, val, test] = self.split;
        let sum = train + val + test;
        let ok = (sum - 1.0).abs() < 1e-9 && train > 0.0 && val > 0.0;
        checks.require(ok, "split", || {
            format!("expected three shares that sum to 1, the first two above 0, found [{train}, {val}, {test}]")
        });
        if let Some(folds) = self.cross_fit {
            checks.require(self.fold <= folds, "fold", || {
                format!("expected 1 to {folds} (`cross_fit`), found `{}`", self.fold)
            });
        }
        checks.finish()
    }
}
