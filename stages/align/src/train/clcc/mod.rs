//! Method A: a cell's expression and its copy number embed at the same point of the unit sphere.
//!
//! Two encoders are trained on symmetric InfoNCE between the two embeddings of each cell, and on a
//! margin loss that pushes away hard negatives: cells alike in expression and unlike in copy number
//! (`mine` finds them). [`objective`] is the method, [`loss`] its two terms, [`step_cells`] draws
//! the negatives, [`data`] and [`outputs`] read and write artifacts.

mod data;
#[cfg(test)]
mod loop_tests;
mod loss;
mod objective;
mod outputs;
mod step_cells;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::DType;
use serde_json::json;

use self::data::Inputs;
use self::objective::{Clcc, new_fit};
use self::outputs::{embed, joint, write_history};
use super::device;
use super::error::TrainResult;
use super::fit::Fit;
use super::model::write_model;
use super::params::TrainParams;
use super::watch::fit_in_stage;
use clcc_data::anndata::AnnData;
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::matrix::Matrix;
use clcc_numerics::math;
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, StageContext};

/// Trains, and writes `model`, `history` and `embeddings`.
///
/// # Errors
/// As [`Inputs::load`] and [`Fit::run`], and where an artifact cannot be written.
pub(super) fn run(
    ctx: &StageContext<'_>,
    params: &TrainParams,
    code_version: u32,
) -> StageResult<Metrics> {
    let opened = device::open(ctx.device)?;
    let mut inputs = Inputs::load(ctx, params)?;
    inputs.place_on(&opened.device, params.precision)?;
    let mut fit = new_fit(&inputs.data, params, ctx.seed, DType::F32, &opened.device)?;
    let run = format!(
        "clcc-flow train {code_version}, seed {}, {} cells, {} genes, {} windows, {}",
        ctx.seed,
        inputs.cells.len(),
        inputs.genes.len(),
        inputs.windows.len(),
        serde_json::to_string(params).expect("plain data")
    );
    fit_in_stage(ctx, &mut fit, &run)?;

    let best = fit.keep_weights()?;
    write_model(
        &ctx.output(roles::MODEL),
        &best,
        &inputs.moments,
        params,
        &inputs.genes,
        &inputs.windows,
    )?;
    let best_epoch = fit.cursor.best.map_or(0, |b| b.epoch);
    write_history(&ctx.output(roles::HISTORY), &fit.cursor.history, best_epoch)?;
    write_embeddings(ctx, &inputs, &fit.objective)?;
    warn_if_nothing_was_learnt(ctx, &fit);
    Ok(metrics(&fit, opened.name)?)
}

fn write_embeddings(ctx: &StageContext<'_>, inputs: &Inputs, model: &Clcc<'_>) -> TrainResult<()> {
    let (n, dim) = (inputs.cells.len(), model.params.embedding_dim);
    let expr = embed(&model.expr, &inputs.data.expr, n, dim)?;
    let cnv = embed(&model.cnv, &inputs.data.cnv, n, dim)?;
    let mut obs = Frame::new(inputs.cells.clone());
    obs.set_category("patient", &inputs.patients);
    obs.set_category("split", &inputs.split.names());
    let mut obsm = BTreeMap::new();
    if let Some(joint) = joint(&expr, &cnv)? {
        obsm.insert("X_clcc_joint".to_string(), Matrix::Dense(joint));
    }
    obsm.insert("X_clcc_expr".to_string(), Matrix::Dense(expr));
    obsm.insert("X_clcc_cnv".to_string(), Matrix::Dense(cnv));
    let embeddings = AnnData {
        obs,
        obsm,
        ..AnnData::default()
    };
    Ok(embeddings.write_zarr(&ctx.output(roles::EMBEDDINGS))?)
}

/// Warns where validation is no better than chance: InfoNCE of a model that cannot tell cells apart is
/// the logarithm of the batch size.
fn warn_if_nothing_was_learnt(ctx: &StageContext<'_>, fit: &Fit<Clcc<'_>>) {
    let n_val = fit.objective.data.val.len();
    let chance = math::ln(fit.recipe.batch_size.min(n_val) as f64);
    if let Some(best) = fit.cursor.best
        && best.val_loss >= chance
    {
        ctx.progress.warn(&format!(
            "the best validation loss, {:.3}, is not below chance ({chance:.3}): the two modalities were not aligned",
            best.val_loss
        ));
    }
}

fn metrics(fit: &Fit<Clcc<'_>>, device: &str) -> TrainResult<Metrics> {
    let (cursor, model) = (&fit.cursor, &fit.objective);
    let last = cursor.history.last();
    let mut m = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| m.insert(name.to_string(), value);
    put("device", json!(device));
    put("epochs", json!(cursor.epoch));
    put("stopped_early", json!(cursor.epoch < fit.recipe.epochs));
    put("best_epoch", json!(cursor.best.map_or(0, |b| b.epoch)));
    put("best_val_loss", json!(cursor.best.map(|b| b.val_loss)));
    put("last_train_loss", json!(last.map(|e| e.train_loss)));
    put("last_nce", json!(last.map(|e| e.own.nce)));
    put("last_margin", json!(last.map(|e| e.own.margin)));
    put("steps", json!(cursor.step));
    put(
        "cells_per_step",
        json!(cursor.cells_encoded as f64 / cursor.step.max(1) as f64),
    );
    put(
        "parameters",
        json!(model.expr.n_parameters() + model.cnv.n_parameters()),
    );
    put("temperature", json!(model.temperature_now()?));
    put("train_cells", json!(model.data.train.len()));
    put("val_cells", json!(model.data.val.len()));
    Ok(m)
}
