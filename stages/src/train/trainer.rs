//! The training loop, top to bottom: batches, step, validation, early stopping, checkpoint.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::adamw::{AdamMoments, AdamWStep};
use super::batches::{Drawing, StepCells, epoch_batches, validation_batches};
use super::encoder::{Encoder, NamedArray, Pass};
use super::inputs::Modality;
use super::loss::{hard_negative_margin, nce};
use super::params::TrainParams;
use crate::error::{StageError, StageResult};
use crate::mine::Negatives;

/// Everything that training reads; nothing of it changes.
#[derive(Debug)]
pub(super) struct TrainingData {
    pub(super) expr: Modality,
    pub(super) cnv: Modality,
    pub(super) negatives: Negatives,
    pub(super) train: Vec<usize>,
    pub(super) val: Vec<usize>,
    /// Cluster of each cell, where pairs of one cluster are left out of the loss.
    pub(super) masked_clusters: Option<Vec<u32>>,
}

/// One epoch of `history.tsv`. Losses are means over the epoch's anchors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochRecord {
    pub(super) learning_rate: f64,
    pub(super) train_loss: f64,
    pub(super) nce: f64,
    pub(super) margin: f64,
    pub(super) val_loss: f64,
}

/// Sums over the anchors of the epoch so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct EpochSums {
    pub(super) anchors: f64,
    pub(super) total: f64,
    pub(super) nce: f64,
    pub(super) margin: f64,
}

/// Where the run stands; with the arrays, all that a resumed run needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Epochs done.
    pub(super) epoch: usize,
    /// Batches done in the current epoch.
    pub(super) batch: usize,
    /// Optimiser steps done.
    pub(super) step: u64,
    /// Distinct cells encoded, over all steps.
    pub(super) cells_encoded: u64,
    pub(super) sums: EpochSums,
    pub(super) history: Vec<EpochRecord>,
    /// Epochs done when the validation loss was lowest; 0 before the first.
    pub(super) best_epoch: usize,
}

/// The losses of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepLoss {
    pub(super) total: f64,
    pub(super) nce: f64,
    pub(super) margin: f64,
}

/// Both encoders, the optimiser's moments and the cursor.
#[derive(Debug)]
pub(super) struct Trainer<'a> {
    pub(super) data: &'a TrainingData,
    pub(super) params: &'a TrainParams,
    pub(super) seed: u64,
    pub(super) expr: Encoder,
    pub(super) cnv: Encoder,
    pub(super) moments: Vec<AdamMoments>,
    pub(super) cursor: Cursor,
    /// Weights of the best epoch; empty before the first.
    pub(super) best: Vec<NamedArray>,
    validation: Vec<Vec<u32>>,
}

/// What the loop asks and tells while it runs.
pub(super) trait Watch {
    /// Whether to stop now.
    fn cancelled(&self) -> bool;
    /// After each step.
    fn step(&self, trainer: &Trainer<'_>, batches: usize, loss: StepLoss);
    /// After each epoch, and before stopping on request.
    fn checkpoint(&self, trainer: &Trainer<'_>) -> StageResult<()>;
}

impl<'a> Trainer<'a> {
    /// Fresh weights.
    pub(super) fn new(
        data: &'a TrainingData,
        params: &'a TrainParams,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> StageResult<Self> {
        let batch = params.batch_size;
        if epoch_batches(&data.train, batch, seed, 0).is_empty() {
            return Err(StageError::data(
                "training needs at least 2 cells, found fewer in the split",
            ));
        }
        let validation = validation_batches(&data.val, batch, seed);
        if validation.is_empty() {
            return Err(StageError::data(
                "validation needs at least 2 cells, found fewer in the split",
            ));
        }
        let encoder = |name, modality: &Modality, hidden: &[usize]| {
            Encoder::new(
                name,
                modality.n_features(),
                hidden,
                params.embedding_dim,
                seed,
                dtype,
                device,
            )
        };
        let expr = encoder("expr", &data.expr, &params.expr_hidden)?;
        let cnv = encoder("cnv", &data.cnv, &params.cnv_hidden)?;
        let n = expr.parameters().len() + cnv.parameters().len();
        let moments = vec![AdamMoments::default(); n];
        Ok(Self {
            data,
            params,
            seed,
            expr,
            cnv,
            moments,
            cursor: Cursor::default(),
            best: Vec::new(),
            validation,
        })
    }

    /// Trains until the epochs are done or the validation loss has not fallen for `patience` epochs.
    ///
    /// # Errors
    /// [`StageError::Cancelled`], with a checkpoint written; [`StageError::Data`] where a loss is
    /// no longer a number.
    pub(super) fn run(&mut self, watch: &dyn Watch) -> StageResult<()> {
        while !self.finished() {
            let batches = epoch_batches(
                &self.data.train,
                self.params.batch_size,
                self.seed,
                self.cursor.epoch as u64,
            );
            while self.cursor.batch < batches.len() {
                if watch.cancelled() {
                    watch.checkpoint(self)?;
                    return Err(StageError::Cancelled);
                }
                let loss = self.step(&batches[self.cursor.batch])?;
                watch.step(self, batches.len(), loss);
            }
            self.end_epoch()?;
            watch.checkpoint(self)?;
        }
        Ok(())
    }

    /// Whether training is over.
    pub(super) fn finished(&self) -> bool {
        self.cursor.epoch >= self.params.epochs
            || self.cursor.epoch - self.cursor.best_epoch >= self.params.patience
    }

    /// The current epoch's rate: half a cosine from `learning_rate` to 0 at `epochs`.
    pub(super) fn learning_rate(&self) -> f64 {
        let done = self.cursor.epoch as f64 / self.params.epochs as f64;
        0.5 * self.params.learning_rate * (1.0 + (std::f64::consts::PI * done).cos())
    }

    /// The losses of a batch with their graph, and the number of cells encoded.
    pub(super) fn losses(
        &mut self,
        anchors: &[u32],
    ) -> StageResult<(Tensor, Tensor, Option<Tensor>, usize)> {
        let p = self.params;
        let n_negatives = if p.lambda > 0.0 { p.n_negatives } else { 0 };
        let epoch = self.cursor.epoch as u64;
        let drawing = Drawing {
            n_negatives,
            scope: p.bn_scope,
            seed: self.seed,
            epoch,
        };
        let cells = StepCells::new(anchors, &self.data.negatives, drawing);
        let batch = self.cursor.batch as u64;
        let pass = |part| Pass {
            seed: self.seed,
            dropout: p.dropout,
            epoch,
            batch,
            part,
        };
        let mut e = self
            .expr
            .forward_train(&self.data.expr.batch(&cells.first), pass(0))?;
        let mut c = self
            .cnv
            .forward_train(&self.data.cnv.batch(&cells.first), pass(0))?;
        if !cells.second.is_empty() {
            let e2 = self
                .expr
                .forward_train(&self.data.expr.batch(&cells.second), pass(1))?;
            let c2 = self
                .cnv
                .forward_train(&self.data.cnv.batch(&cells.second), pass(1))?;
            e = Tensor::cat(&[&e, &e2], 0)?;
            c = Tensor::cat(&[&c, &c2], 0)?;
        }
        let (ea, ca) = (
            e.narrow(0, 0, cells.n_anchors)?,
            c.narrow(0, 0, cells.n_anchors)?,
        );
        let clusters = self.clusters(anchors);
        let nce = nce(&ea, &ca, p.temperature, clusters.as_deref())?;
        let margin = hard_negative_margin(&e, &c, &cells.pairs, p.margin)?;
        let total = match &margin {
            Some(margin) => (&nce + (margin * p.lambda)?)?,
            None => nce.clone(),
        };
        Ok((total, nce, margin, cells.first.len() + cells.second.len()))
    }

    fn clusters(&self, cells: &[u32]) -> Option<Vec<u32>> {
        let of = self.data.masked_clusters.as_ref()?;
        Some(cells.iter().map(|&c| of[c as usize]).collect())
    }

    /// One optimiser step on a batch of anchors.
    pub(super) fn step(&mut self, anchors: &[u32]) -> StageResult<StepLoss> {
        let (total, nce, margin, encoded) = self.losses(anchors)?;
        let loss = StepLoss {
            total: scalar(&total)?,
            nce: scalar(&nce)?,
            margin: margin.as_ref().map(scalar).transpose()?.unwrap_or(0.0),
        };
        if !loss.total.is_finite() {
            return Err(self.diverged("training loss", loss.total));
        }
        let grads = total.backward()?;
        self.cursor.step += 1;
        let (learning_rate, weight_decay) = (self.learning_rate(), self.params.weight_decay);
        let adam = AdamWStep {
            learning_rate,
            weight_decay,
            step: self.cursor.step,
        };
        let (expr, cnv) = self.moments.split_at_mut(self.expr.parameters().len());
        self.expr.update(&grads, expr, adam)?;
        self.cnv.update(&grads, cnv, adam)?;
        let n = anchors.len() as f64;
        let sums = &mut self.cursor.sums;
        sums.anchors += n;
        sums.total += n * loss.total;
        sums.nce += n * loss.nce;
        sums.margin += n * loss.margin;
        self.cursor.cells_encoded += encoded as u64;
        self.cursor.batch += 1;
        Ok(loss)
    }

    fn diverged(&self, what: &str, value: f64) -> StageError {
        StageError::data_hint(
            format!(
                "{what} is {value} in epoch {}, batch {} (step {})",
                self.cursor.epoch + 1,
                self.cursor.batch + 1,
                self.cursor.step + 1
            ),
            "lower `learning_rate`, or check the input for extreme values",
        )
    }

    fn end_epoch(&mut self) -> StageResult<()> {
        let val_loss = self.validation_loss()?;
        if !val_loss.is_finite() {
            return Err(self.diverged("validation loss", val_loss));
        }
        let best = self.best_val_loss();
        let sums = self.cursor.sums;
        self.cursor.history.push(EpochRecord {
            learning_rate: self.learning_rate(),
            train_loss: sums.total / sums.anchors,
            nce: sums.nce / sums.anchors,
            margin: sums.margin / sums.anchors,
            val_loss,
        });
        self.cursor.epoch += 1;
        self.cursor.batch = 0;
        self.cursor.sums = EpochSums::default();
        if best.is_none_or(|best| val_loss < best) {
            self.cursor.best_epoch = self.cursor.epoch;
            self.best = self.snapshot()?;
        }
        Ok(())
    }

    /// The lowest validation loss so far.
    pub(super) fn best_val_loss(&self) -> Option<f64> {
        let at = self.cursor.best_epoch.checked_sub(1)?;
        Some(self.cursor.history[at].val_loss)
    }

    /// NCE of the validation batches in eval mode, averaged over cells.
    pub(super) fn validation_loss(&self) -> StageResult<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for cells in &self.validation {
            let e = self.expr.forward_eval(&self.data.expr.batch(cells))?;
            let c = self.cnv.forward_eval(&self.data.cnv.batch(cells))?;
            let loss = scalar(&nce(
                &e,
                &c,
                self.params.temperature,
                self.clusters(cells).as_deref(),
            )?)?;
            sum += loss * cells.len() as f64;
            n += cells.len() as f64;
        }
        Ok(sum / n)
    }

    /// All weights and running statistics as they are now.
    pub(super) fn snapshot(&self) -> StageResult<Vec<NamedArray>> {
        let mut all = self.expr.snapshot()?;
        all.extend(self.cnv.snapshot()?);
        Ok(all)
    }

    /// Takes over a snapshot.
    pub(super) fn restore(&mut self, arrays: &[NamedArray]) -> StageResult<()> {
        let find = |name: &str| {
            arrays
                .iter()
                .find(|a| a.name == name)
                .map(|a| a.values.as_slice())
        };
        self.expr.restore(find)?;
        self.cnv.restore(find)?;
        Ok(())
    }
}

fn scalar(t: &Tensor) -> StageResult<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}
