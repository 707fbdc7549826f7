//! What training leaves: weights, history, embeddings of all cells.

use crate::train::error::TrainResult;
use std::path::Path;

use ndarray::Array2;
use serde_json::json;

use super::encoder::{Encoder, NamedArray, torch_layout};
use super::inputs::Modality;
use super::params::{Objective, TrainParams};
use super::trainer::EpochRecord;
use crate::mine::Moments;
use crate::mine::tensors::TensorFile;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;

/// Cells embedded together.
const BLOCK: usize = 1024;

/// Writes the weights as safetensors in torch's layout (`weight` is `out x in`), with the running
/// statistics, the z-score moments, and the names of genes and windows in the header.
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn write_model(
    path: &Path,
    weights: &[NamedArray],
    moments: &Moments,
    params: &TrainParams,
    genes: &[String],
    windows: &[String],
) -> StageResult<()> {
    let mut file = TensorFile::default();
    for a in weights {
        let bias = a
            .name
            .strip_suffix("weight")
            .map(|stem| format!("{stem}bias"));
        let bias = weights.iter().find(|b| Some(&b.name) == bias.as_ref());
        let (shape, values) = torch_layout(a, bias.map_or(0, |b| b.values.len()));
        file.put_f32(&a.name, &shape, &values);
    }
    for (name, values) in moments.named() {
        file.put_f64(&format!("moments.{name}"), &[values.len()], values);
    }
    let (inputs, layers) = match params.objective {
        Objective::Clcc => (
            "z-scored log1p expression (1e4) and X_cnv, (x - mean) / sd, 0 where sd is 0",
            "linear, batch norm (eps 1e-5), ReLU for each but the last; linear; rows to unit length",
        ),
        Objective::Anchors => (
            "expr: z-scored log1p expression (1e4), (x - mean) / sd, 0 where sd is 0; cnv: copy-number states over the normal one, less 1",
            "linear, batch norm (eps 1e-5; of cnv over the anchors themselves), ReLU for each but the last; linear: h; head: linear, ReLU, linear; rows to unit length: z",
        ),
    };
    let about = json!({
        "inputs": inputs,
        "layers": layers,
        "params": params,
        "genes": genes,
        "windows": windows,
    });
    file.about = Some(about.to_string());
    file.write(path)
}

/// Writes one row per epoch.
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn write_history(
    path: &Path,
    history: &[EpochRecord],
    best_epoch: usize,
) -> StageResult<()> {
    let mut frame = Frame::new((1..=history.len()).map(|e| e.to_string()).collect());
    let mut column = |name: &str, f: fn(&EpochRecord) -> f64| {
        frame.set(name, Column::F64(history.iter().map(f).collect()));
    };
    column("lr", |e| e.learning_rate);
    column("train_loss", |e| e.train_loss);
    column("nce", |e| e.nce);
    column("margin", |e| e.margin);
    column("val_loss", |e| e.val_loss);
    column("temperature", |e| e.temperature);
    frame.set(
        "best",
        Column::Bool((1..=history.len()).map(|e| e == best_epoch).collect()),
    );
    let note = "training losses are means over the epoch's anchors (train_loss = nce + lambda * margin); val_loss is the NCE of fixed validation batches in eval mode; temperature is that of the epoch's end; `best` marks the epoch whose weights are kept";
    write_tsv(path, "epoch", &frame, &[note])
}

/// Unit rows of all cells in eval mode, block by block.
///
/// # Errors
/// [`StageError::Data`] where an embedding is not a number.
pub(super) fn embed(
    encoder: &Encoder,
    modality: &Modality,
    n_cells: usize,
    dim: usize,
) -> TrainResult<Array2<f32>> {
    let mut values = Vec::with_capacity(n_cells * dim);
    for start in (0..n_cells).step_by(BLOCK) {
        let cells: Vec<u32> = (start..n_cells.min(start + BLOCK))
            .map(|c| c as u32)
            .collect();
        values.extend(
            encoder
                .forward_eval(&modality.batch(&cells)?)?
                .flatten_all()?
                .to_vec1::<f32>()?,
        );
    }
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(StageError::data(format!(
            "the embedding of cell number {} is not a number",
            at / dim
        ))
        .into());
    }
    Ok(Array2::from_shape_vec((n_cells, dim), values).expect("one row of `dim` values per cell"))
}
