//! `train`: two encoders that place a cell's expression and its copy number side by side.
//!
//! Stands between `mine`, which owns the split, the moments and the hard negatives, and `eval`,
//! `concordance` and `export`, which read the embeddings. Method A's objective ([`Objective::Clcc`]):
//! symmetric InfoNCE and a two-sided margin loss on hard negatives, AdamW with a cosine schedule,
//! early stopping on the validation NCE; the weights of the best epoch are kept. Method B's
//! ([`Objective::Anchors`]) is in [`anchors`](self).
//!
//! The text reads as plain training code: [`trainer`](self) holds the loop, one file each the
//! layers, the loss, the batches, the optimiser and the checkpoint. Expression stays sparse from
//! the artifact to the gradient of the first layer.
//!
//! Same seed, same bytes, at any number of threads, and for a run that was killed and resumed.
//! Nothing here sees a test cell before the embeddings are written.

mod adamw;
mod anchors;
mod batches;
mod checkpoint;
mod device;
mod encoder;
mod error;
mod input_layer;
mod inputs;
mod loss;
mod matmul;
mod norm;
mod outputs;
mod params;
mod real;
mod tape;
mod trainer;

pub use anchors::{AnchorParams, CentroidSpace};
pub use device::{device_name, resolve_device};
pub use params::{BnScope, CnvInput, Objective, Precision, TrainParams};

use crate::train::error::TrainError;
use clcc_stage::roles;
use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device};
use serde_json::json;

use self::encoder::NamedArray;
use self::inputs::Modality;
use self::outputs::{embed, write_history, write_model};
use self::trainer::{StepLoss, Trainer, TrainingData, Watch};
use crate::mine::{Moments, Negatives, Part, Split};
use clcc_data::anndata::AnnData;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::Matrix;
use clcc_numerics::math;
use clcc_stage::cohort::{Cohort, CohortCnv};
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};

/// The stage kind `train`.
#[derive(Debug, Clone, Copy)]
pub struct Train;

impl Stage for Train {
    type Params = TrainParams;
    const KIND: &'static str = "train";
    // 5: one set of bytes for every processor: elementary functions, products and decompositions of
    //    `math`.
    const CODE_VERSION: u32 = 5;
    const ABOUT: &'static str =
        "train an expression and a copy-number encoder to agree on each cell, and embed all cells";
    const USES_SEED: bool = true;
    const DEVICE_SENSITIVE: bool = true;
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = TrainParams::ONLY_WITH;

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
        if params.objective == Objective::Clcc {
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
            Objective::Clcc => vec![
                model("weights of the best epoch, running statistics, moments (safetensors)"),
                history,
                OutputDecl::new(
                    roles::EMBEDDINGS,
                    "obsm X_clcc_expr and X_clcc_cnv of every cell, in cohort order",
                ),
            ],
            Objective::Anchors => vec![
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
        if params.objective == Objective::Anchors {
            return anchors::run(ctx, params, Self::CODE_VERSION);
        }
        let opened = device::open(ctx.device)?;
        let mut inputs = Inputs::load(ctx, params)?;
        inputs.place_on(&opened.device, params.precision)?;
        let mut trainer = Trainer::new(&inputs.data, params, ctx.seed, DType::F32, &opened.device)?;
        let run = format!(
            "clcc-flow train {}, seed {}, {} cells, {} genes, {} windows, {}",
            Self::CODE_VERSION,
            ctx.seed,
            inputs.cells.len(),
            inputs.genes.len(),
            inputs.windows.len(),
            serde_json::to_string(params).expect("plain data")
        );
        let watch = StageWatch { ctx, run: &run };
        watch.resume(&mut trainer)?;
        trainer.run(&watch)?;

        let best = std::mem::take(&mut trainer.best);
        trainer.restore(&best)?;
        write_model(
            &ctx.output(roles::MODEL),
            &best,
            &inputs.moments,
            params,
            &inputs.genes,
            &inputs.windows,
        )?;
        write_history(
            &ctx.output(roles::HISTORY),
            &trainer.cursor.history,
            trainer.cursor.best_epoch,
        )?;
        let (n, dim) = (inputs.cells.len(), params.embedding_dim);
        let expr = embed(&trainer.expr, &inputs.data.expr, n, dim)?;
        let cnv = embed(&trainer.cnv, &inputs.data.cnv, n, dim)?;
        let mut obs = Frame::new(inputs.cells.clone());
        obs.set_category("patient", &inputs.patients);
        obs.set_category("split", &inputs.split.names());
        let obsm = BTreeMap::from([
            ("X_clcc_expr".to_string(), Matrix::Dense(expr)),
            ("X_clcc_cnv".to_string(), Matrix::Dense(cnv)),
        ]);
        AnnData {
            obs,
            obsm,
            ..AnnData::default()
        }
        .write_zarr(&ctx.output(roles::EMBEDDINGS))?;
        warn_if_nothing_was_learnt(ctx, &trainer);
        metrics(&trainer, opened.name)
    }
}

/// The inputs of a run.
struct Inputs {
    data: TrainingData,
    moments: Moments,
    split: Split,
    cells: Vec<String>,
    patients: Vec<String>,
    genes: Vec<String>,
    windows: Vec<String>,
}

impl Inputs {
    fn load(ctx: &StageContext<'_>, params: &TrainParams) -> StageResult<Self> {
        let cohort = Cohort::load(ctx)?;
        let cnv = CohortCnv::load(ctx)?;
        let n = cohort.n_cells();
        if cnv.x.n_rows() != n {
            return Err(StageError::data(format!(
                "`cnv` has {} cells, `expr` has {n}",
                cnv.x.n_rows()
            )));
        }
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &cohort.obs.index)?;
        let moments = Moments::read(
            &ctx.one(roles::MOMENTS)?.path,
            cohort.x.n_cols(),
            cnv.x.n_cols(),
        )?;
        let negatives = Negatives::read(&ctx.one(roles::NEGATIVES)?.path, n)?;
        let clusters = if params.needs_clusters() {
            Some(cohort.load_clusters(ctx)?)
        } else {
            None
        };
        let chosen = |names: &[String]| match &moments.genes {
            Some(genes) => genes.iter().map(|&g| names[g as usize].clone()).collect(),
            None => names.to_vec(),
        };
        let (genes, expr) = (
            chosen(&cohort.var.index),
            Moments::chosen(cohort.x, moments.genes.as_deref()),
        );
        let cnv_modality = match (&clusters, params.cnv_input) {
            (Some(clusters), CnvInput::ClusterMean) => {
                Modality::cluster_means(&cnv.x, clusters, &split, &moments.cnv)
            }
            _ => Modality::cells(&cnv.x, &moments.cnv),
        };
        let data = TrainingData {
            expr: Modality::cells(&expr, &moments.expr),
            cnv: cnv_modality,
            negatives,
            train: split.cells(Part::Train),
            val: split.cells(Part::Val),
            masked_clusters: clusters.filter(|_| params.mask_same_cluster),
        };
        Ok(Self {
            data,
            moments,
            split,
            patients: cohort.obs.texts("patient")?,
            genes,
            windows: cnv.windows.index,
            cells: cohort.obs.index,
        })
    }
}

impl Inputs {
    /// On an accelerator the whole data set lies in its memory, dense.
    fn place_on(&mut self, device: &Device, precision: Precision) -> StageResult<()> {
        if device.is_cpu() {
            return match precision {
                Precision::Full => Ok(()),
                Precision::Mixed => Err(StageError::Param {
                    param: "precision".into(),
                    message: "`mixed` is for accelerators, and training runs on the cpu".into(),
                    hint: Some("use `precision: full`, or another `--device`".into()),
                }),
            };
        }
        let dtype = match precision {
            Precision::Full => DType::F32,
            Precision::Mixed => DType::BF16,
        };
        for modality in [&mut self.data.expr, &mut self.data.cnv] {
            modality.place_on(device, dtype).map_err(TrainError::from)?;
        }
        Ok(())
    }
}

/// Ties the loop to the stage's progress, cancel flag and checkpoint directory.
struct StageWatch<'a> {
    ctx: &'a StageContext<'a>,
    run: &'a str,
}

impl StageWatch<'_> {
    fn resume(&self, trainer: &mut Trainer<'_>) -> StageResult<()> {
        let Some(dir) = &self.ctx.checkpoint_dir else {
            return Ok(());
        };
        match checkpoint::resume(dir, self.run, trainer) {
            Ok(_) => Ok(()),
            Err(e @ StageError::Format { .. }) => {
                self.ctx
                    .progress
                    .warn(&format!("{e}; training starts anew"));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }
}

impl Watch for StageWatch<'_> {
    fn cancelled(&self) -> bool {
        self.ctx.check_cancelled().is_err()
    }

    fn step(&self, trainer: &Trainer<'_>, batches: usize, loss: StepLoss) {
        let at = &trainer.cursor;
        let total = (trainer.params.epochs * batches) as u64;
        let best = trainer
            .best_val_loss()
            .map(|v| format!("  best val {v:.4}"))
            .unwrap_or_default();
        let message = format!(
            "epoch {}/{}  loss {:.4}{best}",
            at.epoch + 1,
            trainer.params.epochs,
            loss.total
        );
        self.ctx
            .progress
            .step((at.epoch * batches + at.batch) as u64, total, &message);
    }

    fn checkpoint(
        &self,
        trainer: &Trainer<'_>,
        now: &[NamedArray],
    ) -> StageResult<Option<PathBuf>> {
        let dir = self.ctx.checkpoint_dir.as_ref();
        dir.map(|dir| checkpoint::save(dir, self.run, trainer, now))
            .transpose()
    }
}

/// The NCE of a model that cannot tell cells apart is the logarithm of the batch.
fn warn_if_nothing_was_learnt(ctx: &StageContext<'_>, trainer: &Trainer<'_>) {
    let chance = math::ln(trainer.params.batch_size.min(trainer.data.val.len()) as f64);
    if let Some(best) = trainer.best_val_loss()
        && best >= chance
    {
        ctx.progress.warn(&format!(
            "the best validation loss, {best:.3}, is not below chance ({chance:.3}): the two modalities were not aligned"
        ));
    }
}

fn metrics(trainer: &Trainer<'_>, device: &str) -> StageResult<Metrics> {
    let cursor = &trainer.cursor;
    let last = cursor.history.last();
    let mut m = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| m.insert(name.to_string(), value);
    put("device", json!(device));
    put("epochs", json!(cursor.epoch));
    put("stopped_early", json!(cursor.epoch < trainer.params.epochs));
    put("best_epoch", json!(cursor.best_epoch));
    put("best_val_loss", json!(trainer.best_val_loss()));
    put("last_train_loss", json!(last.map(|e| e.train_loss)));
    put("last_nce", json!(last.map(|e| e.nce)));
    put("last_margin", json!(last.map(|e| e.margin)));
    put("steps", json!(cursor.step));
    put(
        "cells_per_step",
        json!(cursor.cells_encoded as f64 / cursor.step.max(1) as f64),
    );
    put(
        "parameters",
        json!(trainer.expr.n_parameters() + trainer.cnv.n_parameters()),
    );
    put("temperature", json!(trainer.temperature_now()?));
    put("train_cells", json!(trainer.data.train.len()));
    put("val_cells", json!(trainer.data.val.len()));
    Ok(m)
}

#[cfg(test)]
mod tests;
