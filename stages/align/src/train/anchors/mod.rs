//! Method B: cells against fixed anchors of copy number.
//!
//! An anchor is the vector of copy-number states that inferCNV's hidden Markov model gave a
//! subcluster, on the genes it retained; a frozen random map ([`bank`]) places the anchors once and
//! for all in `h` and, through a head, on the unit sphere `z`. Only the expression encoder (three
//! layers, batch norm and ReLU on all but the last) and its head are trained, so that a cell's `z`
//! lies at its subcluster's anchor: InfoNCE against the hardest other anchors of each row, a pull to the
//! centroid of the anchor's training cells, and a pull of `h` to the anchor's `h` ([`loss`]).
//! Adam (L2, not decoupled decay: the paper says Adam), clipped gradients, a constant rate, no early
//! stopping: the weights of the last epoch are kept, and validation cells are looked at only.
//!
//! The labels come from the same counts as the expression: see `docs/anchors.md` for what that means.

mod bank;
mod data;
mod head;
mod loss;
mod outputs;
mod params;
#[cfg(test)]
mod tests;
mod trainer;

pub use params::{AnchorParams, CentroidSpace};

use crate::train::error::TrainError;
use std::path::PathBuf;

use candle_core::DType;
use serde_json::json;

use self::data::Inputs;
use self::trainer::{AnchorTrainer, Cursor, Watch};
use super::checkpoint::{self, State};
use super::device;
use super::params::{Precision, TrainParams};
use clcc_data::error::{StageError, StageResult};
use clcc_stage::stage::{Metrics, StageContext};

/// Trains, and writes `model`, `history`, `embeddings` and `anchors`.
///
/// # Errors
/// As [`Inputs::load`] and [`AnchorTrainer::run`].
pub(super) fn run(
    ctx: &StageContext<'_>,
    params: &TrainParams,
    code_version: u32,
) -> StageResult<Metrics> {
    let opened = device::open(ctx.device)?;
    let mut inputs = Inputs::load(ctx)?;
    let without = inputs.anchors.of.iter().filter(|a| a.is_none()).count();
    if without > 0 {
        ctx.progress.warn(&format!(
            "{without} cells have no subcluster (too few counts for inferCNV): they are embedded, but have no anchor"
        ));
    }
    if !opened.device.is_cpu() {
        let dtype = match params.precision {
            Precision::Full => DType::F32,
            Precision::Mixed => DType::BF16,
        };
        inputs
            .data
            .expr
            .place_on(&opened.device, dtype)
            .map_err(TrainError::from)?;
    }
    let mut trainer =
        AnchorTrainer::new(&inputs.data, params, ctx.seed, DType::F32, &opened.device)?;
    let run = format!(
        "clcc-flow train {code_version}, seed {}, {} cells, {} genes, {} anchors, {}",
        ctx.seed,
        inputs.cells.len(),
        inputs.anchors.genes.len(),
        inputs.anchors.len(),
        serde_json::to_string(params).expect("plain data")
    );
    let watch = StageWatch { ctx, run: &run };
    if let Some(dir) = &ctx.checkpoint_dir {
        match trainer.resume(dir, &run) {
            Ok(_) => {}
            Err(TrainError::Stage(e @ StageError::Format { .. })) => {
                ctx.progress.warn(&format!("{e}; training starts anew"));
            }
            Err(e) => return Err(e.into()),
        }
    }
    trainer.run(&watch)?;
    outputs::write(ctx, &inputs, &trainer)?;
    metrics(&inputs, &trainer, opened.name, without)
}

/// Ties the loop to the stage's progress, cancel flag and checkpoint directory.
struct StageWatch<'a> {
    ctx: &'a StageContext<'a>,
    run: &'a str,
}

impl Watch for StageWatch<'_> {
    fn cancelled(&self) -> bool {
        self.ctx.check_cancelled().is_err()
    }

    fn step(&self, trainer: &AnchorTrainer<'_>, batches: usize, loss: f64) {
        let (at, epochs) = (&trainer.cursor, trainer.params.epochs);
        let message = format!("epoch {}/{epochs}  loss {loss:.4}", at.epoch + 1);
        let done = (at.epoch * batches + at.batch) as u64;
        let total = (epochs * batches) as u64;
        self.ctx.progress.step(done, total, &message);
    }

    fn checkpoint(&self, state: &State<'_, Cursor>) -> StageResult<Option<PathBuf>> {
        let dir = self.ctx.checkpoint_dir.as_ref();
        dir.map(|dir| Ok(checkpoint::write_state(dir, self.run, state)?))
            .transpose()
    }
}

fn metrics(
    inputs: &Inputs,
    trainer: &AnchorTrainer<'_>,
    device: &str,
    without: usize,
) -> StageResult<Metrics> {
    let cursor = &trainer.cursor;
    let last = cursor.history.last();
    let mut m = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| m.insert(name.to_string(), value);
    let subclusters = inputs.anchors.subclusters.iter().map(Vec::len);
    put("device", json!(device));
    put("anchors", json!(inputs.anchors.len()));
    put("subclusters", json!(subclusters.sum::<usize>()));
    put("genes", json!(inputs.anchors.genes.len()));
    put("cells_without_anchor", json!(without));
    put("epochs", json!(cursor.epoch));
    put("steps", json!(cursor.step));
    put("last_train_loss", json!(last.map(|e| e.train_loss)));
    put("last_nce", json!(last.map(|e| e.nce)));
    put("last_centroid", json!(last.and_then(|e| e.centroid)));
    put("last_h", json!(last.map(|e| e.h)));
    put("last_val_loss", json!(last.and_then(|e| e.val_loss)));
    let head: usize = trainer
        .head
        .parameters()
        .iter()
        .map(|p| p.1.elem_count())
        .sum();
    put("parameters", json!(trainer.expr.n_parameters() + head));
    put("train_cells", json!(trainer.data.train.len()));
    put("val_cells", json!(trainer.data.val.len()));
    Ok(m)
}
