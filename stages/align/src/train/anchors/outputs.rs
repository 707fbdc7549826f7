//! The artifacts of method B.

use crate::train::error::TrainResult;
use clcc_stage::roles;
use std::collections::BTreeMap;

use ndarray::Array2;

use super::data::Inputs;
use super::objective::{AnchorObjective, Terms};
use crate::train::fit::{EpochRecord, Fit};
use crate::train::model::write_model;
use clcc_data::anndata::AnnData;
use clcc_data::error::StageResult;
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::matrix::Matrix;
use clcc_stage::rows::AnchorHistoryRow;
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Table;

/// Writes the four artifacts.
///
/// # Errors
/// [`clcc_data::StageError::Io`], and where an embedding is not a number.
pub(super) fn write(
    ctx: &StageContext<'_>,
    inputs: &Inputs,
    fit: &mut Fit<AnchorObjective<'_>>,
) -> TrainResult<()> {
    let mut weights = fit.keep_weights()?;
    let trained = &fit.objective;
    weights.extend(trained.frozen.snapshot()?);
    write_model(
        &ctx.output(roles::MODEL),
        &weights,
        &inputs.moments,
        trained.params,
        &inputs.anchors.genes,
        &[],
    )?;
    history(ctx, &fit.cursor.history)?;
    embeddings(ctx, inputs, trained)?;
    anchors(ctx, inputs, trained)?;
    Ok(())
}

fn history(ctx: &StageContext<'_>, history: &[EpochRecord<Terms>]) -> StageResult<()> {
    let row = |(epoch, e): (i64, &EpochRecord<Terms>)| AnchorHistoryRow {
        epoch,
        train_loss: e.train_loss,
        nce: e.own.nce,
        centroid: e.own.centroid.unwrap_or(f64::NAN),
        h: e.own.h,
        gradient: e.gradient_norm.unwrap_or(f64::NAN),
        val_loss: e.val_loss.unwrap_or(f64::NAN),
    };
    Table::new((1..).zip(history).map(row).collect())
        .note("objective: anchors. Means over the epoch's training cells: train_loss = nce + centroid_weight * centroid + h_weight * h; nce: InfoNCE against the top_k hardest anchors; centroid: squared distance to the centroid of the cell's anchor (from the second epoch on); h: squared distance of h to the anchor's")
        .note("gradient: mean length over the steps, before clipping; val_loss: nce of the validation cells in eval mode, which decides nothing; the weights of the last epoch are kept")
        .write_as(&ctx.output(roles::HISTORY))
}

/// Category of each cell, in the order of `names`.
fn category(codes: Vec<i32>, names: Vec<String>) -> Column {
    Column::Category(Categorical {
        codes,
        categories: names,
        ordered: false,
    })
}

fn embeddings(
    ctx: &StageContext<'_>,
    inputs: &Inputs,
    trained: &AnchorObjective<'_>,
) -> StageResult<()> {
    let all: Vec<u32> = (0..inputs.cells.len() as u32).collect();
    let embedded = trained.embed(&all)?;
    let anchors = &inputs.anchors;
    let mut obs = Frame::new(inputs.cells.clone());
    obs.set_category("patient", &inputs.patients);
    obs.set_category("split", &inputs.split.names());
    let names: Vec<String> = anchors.subclusters.concat();
    let number: BTreeMap<&str, i32> = names
        .iter()
        .zip(0..)
        .map(|(n, i)| (n.as_str(), i))
        .collect();
    let codes = anchors.subcluster_of.iter();
    let codes = codes.map(|s| number.get(s.as_str()).copied().unwrap_or(-1));
    obs.set("subcluster", category(codes.collect(), names.clone()));
    let codes = anchors.of.iter().map(|a| a.map_or(-1, |a| a as i32));
    obs.set("anchor", category(codes.collect(), anchors.names.clone()));
    AnnData {
        obs,
        obsm: BTreeMap::from([
            ("X_h".to_string(), Matrix::Dense(embedded.h)),
            ("X_z".to_string(), Matrix::Dense(embedded.z)),
        ]),
        ..AnnData::default()
    }
    .write_zarr(&ctx.output(roles::EMBEDDINGS))
}

fn anchors(
    ctx: &StageContext<'_>,
    inputs: &Inputs,
    trained: &AnchorObjective<'_>,
) -> StageResult<()> {
    let dense = |t: &candle_core::Tensor| -> TrainResult<Matrix> {
        let (n, width) = t.dims2()?;
        let values = t.flatten_all()?.to_vec1::<f32>()?;
        let rows = Array2::from_shape_vec((n, width), values).expect("one row an anchor");
        Ok(Matrix::Dense(rows))
    };
    AnnData {
        obs: inputs.anchor_frame(),
        var: Frame::new(inputs.anchors.genes.clone()),
        x: Some(Matrix::Csr(inputs.anchors.states.clone())),
        obsm: BTreeMap::from([
            ("X_h".to_string(), dense(&trained.bank.h)?),
            ("X_z".to_string(), dense(&trained.bank.z)?),
        ]),
        ..AnnData::default()
    }
    .write_zarr(&ctx.output(roles::ANCHORS))
}
