//! Method B: cells against fixed anchors of copy number.
//!
//! An anchor is the vector of copy-number states that inferCNV's hidden Markov model gave a
//! subcluster, on the genes it retained; a frozen random map ([`bank`]) places the anchors once and
//! for all in `h` and, through a head, on the unit sphere `z`. Only the expression encoder (three
//! layers, batch norm and ReLU on all but the last) and its head are trained, so that a cell's `z`
//! is near its subcluster's anchor: by InfoNCE against the hardest other anchors of each cell, by the
//! squared distance to the centroid of the anchor's training cells, and by that of `h` to the anchor's
//! `h` ([`loss`]).
//! Adam (L2, not decoupled decay: the paper says Adam), clipped gradients, a constant rate, no early
//! stopping: the weights of the last epoch are kept, and validation cells are only monitored.
//!
//! The labels come from the same counts as the expression: see `docs/anchors.md` for what that means.

mod bank;
mod data;
mod head;
mod loss;
mod objective;
mod outputs;
mod params;
#[cfg(test)]
mod tests;

pub use params::{AnchorParams, CentroidSpace};

use candle_core::DType;
use serde_json::json;

use self::data::Inputs;
use self::objective::{AnchorObjective, new_fit};
use super::device;
use super::error::TrainError;
use super::fit::Fit;
use super::params::TrainParams;
use super::watch::fit_in_stage;
use clcc_data::error::StageResult;
use clcc_stage::stage::{Metrics, StageContext};

/// Trains, and writes `model`, `history`, `embeddings` and `anchors`.
///
/// # Errors
/// As [`Inputs::load`] and [`Fit::run`], and where an artifact cannot be written.
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
    if let Some(dtype) = device::resident_dtype(&opened.device, params.precision)? {
        let expr = &mut inputs.data.expr;
        expr.place_on(&opened.device, dtype)
            .map_err(TrainError::from)?;
    }
    let mut fit = new_fit(&inputs.data, params, ctx.seed, DType::F32, &opened.device)?;
    let run = format!(
        "clcc-flow train {code_version}, seed {}, {} cells, {} genes, {} anchors, {}",
        ctx.seed,
        inputs.cells.len(),
        inputs.anchors.genes.len(),
        inputs.anchors.len(),
        serde_json::to_string(params).expect("plain data")
    );
    fit_in_stage(ctx, &mut fit, &run)?;
    outputs::write(ctx, &inputs, &mut fit)?;
    Ok(metrics(&inputs, &fit, opened.name, without))
}

fn metrics(
    inputs: &Inputs,
    fit: &Fit<AnchorObjective<'_>>,
    device: &str,
    without: usize,
) -> Metrics {
    let (cursor, trained) = (&fit.cursor, &fit.objective);
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
    put("last_nce", json!(last.map(|e| e.own.nce)));
    put("last_centroid", json!(last.and_then(|e| e.own.centroid)));
    put("last_h", json!(last.map(|e| e.own.h)));
    put("last_val_loss", json!(last.and_then(|e| e.val_loss)));
    let head: usize = trained
        .head
        .parameters()
        .iter()
        .map(|p| p.1.elem_count())
        .sum();
    put("parameters", json!(trained.expr.n_parameters() + head));
    put("train_cells", json!(trained.data.train.len()));
    put("val_cells", json!(trained.data.val.len()));
    m
}
