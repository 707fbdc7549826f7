//! `train`: encoders that embed a cell's expression next to its copy number.
//!
//! Stands between `mine`, which makes the split, the moments and the hard negatives, and `eval`,
//! `concordance` and `export`, which read the embeddings.
//!
//! - Method A ([`Method::Clcc`], in `clcc`): symmetric InfoNCE and a two-sided margin loss on hard
//!   negatives, AdamW with a cosine schedule, early stopping on the validation InfoNCE; the weights of
//!   the best epoch are kept.
//! - Method B ([`Method::Anchors`], in `anchors`): expression against fixed anchors of copy number,
//!   Adam at a constant rate; the weights of the last epoch are kept.
//!
//! Both are an `objective::Objective`, minimised by the one loop of `fit` with its parts `schedule`,
//! `optimizer`, `early_stopping`, `checkpoint` and `divergence`. `network` holds the layers:
//! expression stays sparse from the artifact to the gradient of the first layer.
//!
//! Same seed, same bytes, at any number of threads, and for a run that was killed and resumed.
//! Nothing here sees a test cell before the embeddings are written.

mod anchors;
mod batches;
mod checkpoint;
mod clcc;
mod device;
mod divergence;
mod early_stopping;
mod error;
mod fit;
mod model;
mod network;
mod objective;
mod optimizer;
mod params;
mod schedule;
#[cfg(test)]
mod test_support;
mod watch;

pub use anchors::{AnchorParams, CentroidSpace};
pub use device::{device_name, resolve_device};
pub use params::{BnScope, CnvInput, Method, Precision, TrainParams};

use clcc_data::error::StageResult;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::rows::{AnchorHistoryRow, HistoryRow};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

/// The kind `train`: fits the encoders and embeds every cell.
#[derive(Debug, Clone, Copy)]
pub struct Train;

impl Stage for Train {
    type Params = TrainParams;
    const KIND: &'static str = "train";
    // 5: one set of bytes for every processor: elementary functions, products and decompositions of
    //    `math`.
    // 6: a resumed run of `objective: anchors` writes the running statistics of an uninterrupted one, and
    //    stops where its loss diverges.
    // 7: `objective: anchors`: bias, unit rows and loss are summed in one order on every processor.
    // 8: the first layer sums common features apart and its gradient by feature; the exponentials of the loss are taken once.
    // 9: `X_clcc_joint` among the embeddings.
    const CODE_VERSION: u32 = 9;
    const ABOUT: &'static str =
        "train an expression and a copy-number encoder to agree on each cell, and embed all cells";
    const USES_SEED: bool = true;
    const DEVICE_SENSITIVE: bool = true;
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = TrainParams::ONLY_WITH;
    const TABLES: &'static [TableSpec] = &[HistoryRow::SPEC, AnchorHistoryRow::SPEC];

    fn check(params: &TrainParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(params: &TrainParams) -> Vec<Read> {
        let mut roles = vec![
            Read::required(roles::EXPR),
            Read::required(roles::CNV),
            Read::one(roles::SPLIT),
            Read::one(roles::MOMENTS),
        ];
        if params.objective == Method::Clcc {
            roles.push(Read::one(roles::NEGATIVES));
        }
        if params.needs_clusters() {
            roles.push(Read::required(roles::CLUSTERS));
        }
        roles
    }

    fn outputs(params: &TrainParams) -> Vec<OutputDecl> {
        let model = |about| {
            OutputDecl::new(roles::MODEL, about)
                .publish(Publish::At("model/model{.branch}.safetensors"))
        };
        let history = OutputDecl::new(roles::HISTORY, "losses of each epoch")
            .publish(Publish::At("model/history{.branch}.tsv"));
        match params.objective {
            Method::Clcc => vec![
                model("weights of the best epoch, running statistics, moments (safetensors)"),
                history,
                OutputDecl::new(
                    roles::EMBEDDINGS,
                    "obsm X_clcc_expr and X_clcc_cnv of every cell, in cohort order",
                ),
            ],
            Method::Anchors => vec![
                model("weights of the last epoch, the frozen map's, moments (safetensors)"),
                history,
                OutputDecl::new(
                    roles::EMBEDDINGS,
                    "obsm X_h and X_z of every cell, obs subcluster and anchor, in cohort order",
                ),
                OutputDecl::new(
                    roles::ANCHORS,
                    "states, X_h and X_z of every anchor (AnnData)",
                ),
            ],
        }
    }

    fn run(ctx: &StageContext<'_>, params: &TrainParams) -> StageResult<Metrics> {
        match params.objective {
            Method::Clcc => clcc::run(ctx, params, Self::CODE_VERSION),
            Method::Anchors => anchors::run(ctx, params, Self::CODE_VERSION),
        }
    }
}
