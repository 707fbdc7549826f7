//! The artifacts `history` and `embeddings` of method A.

use std::path::Path;

use ndarray::Array2;

use super::objective::Epoch;
use crate::train::error::TrainResult;
use crate::train::fit::EpochRecord;
use crate::train::network::encoder::Encoder;
use crate::train::network::inputs::Modality;
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::Csr;
use clcc_numerics::linalg::{PcaOptions, pca};
use clcc_stage::rows::HistoryRow;
use clcc_stage::tables::Table;

/// Cells embedded together.
const BLOCK: usize = 1024;

/// Writes one row per epoch; `best_epoch`, counted from 1, is marked.
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn write_history(
    path: &Path,
    history: &[EpochRecord<Epoch>],
    best_epoch: usize,
) -> StageResult<()> {
    let row = |(epoch, e): (usize, &EpochRecord<Epoch>)| HistoryRow {
        epoch: epoch as i64,
        lr: e.learning_rate,
        train_loss: e.train_loss,
        nce: e.own.nce,
        margin: e.own.margin,
        val_loss: e.val_loss.unwrap_or(f64::NAN),
        temperature: e.own.temperature,
        best: epoch == best_epoch,
    };
    Table::new((1..).zip(history).map(row).collect())
        .note("training losses are means over the epoch's anchors (train_loss = nce + lambda * margin); val_loss is the NCE of fixed validation batches in eval mode; temperature is that of the epoch's end; `best` marks the epoch whose weights are kept")
        .write_as(path)
}

/// Embeds all cells in eval mode: `n_cells x dim`, unit rows.
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

/// The plane in which the mean of a cell's two embeddings varies most: principal components over all cells, `n_cells x
/// 2`. `None` where there are not two.
///
/// # Errors
/// [`StageError::Data`] where an embedding is not a number.
pub(super) fn joint(expr: &Array2<f32>, cnv: &Array2<f32>) -> StageResult<Option<Array2<f32>>> {
    let mut both = expr + cnv;
    both *= 0.5;
    let both = Csr::from_dense(&both);
    let options = PcaOptions {
        n_comps: 2,
        zero_center: true,
        exact_up_to: 4096,
        seed: 0,
    };
    let scores = pca(&both, &options)?.scores;
    Ok((scores.ncols() == 2).then(|| scores.mapv(|v| v as f32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// The mean of both is 1.5 times the first: of rank 2, so that distances in the plane are those of the mean.
    #[test]
    fn the_plane_keeps_distances_of_the_mean() {
        let expr = array![[6f32, 6.], [2., 0.], [0.5, 0.], [0., 0.], [1., 0.]];
        let joint = joint(&expr, &(&expr * 2.0)).unwrap().unwrap();
        let apart = |a: usize, b: usize| {
            let d = &joint.row(a) - &joint.row(b);
            f64::from(d.dot(&d)).sqrt()
        };
        assert!((apart(1, 4) - 1.5).abs() < 1e-5 && (apart(0, 3) - 162f64.sqrt()).abs() < 1e-5);
    }
}
