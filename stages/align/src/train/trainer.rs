//! The training loop, top to bottom: batches, step, validation, early stopping, checkpoint.

use crate::train::error::TrainResult;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::adamw::{AdamMoments, AdamWStep};
use super::batches::{Drawing, StepCells, epoch_batches, validation_batches};
use super::encoder::{Encoder, NamedArray, Pass, square_sum};
use super::inputs::Modality;
use super::loss::{Objective, Temperature, hard_negative_margin, nce};
use super::params::TrainParams;
use crate::mine::Negatives;
use clcc_data::error::{StageError, StageResult};
use clcc_numerics::math;

/// Steps between two checkpoints. A checkpoint writes 16 bytes a weight and costs about as much as
/// three steps, each of which reads or writes 28 bytes a weight and does its products: so many
/// steps apart it stays near 1 % at any size of the model, and no clock decides anything.
pub(super) const CHECKPOINT_STEPS: u64 = 256;
/// The scale of a learnt temperature has this name in checkpoints and models.
const LOGIT_SCALE: &str = "logit_scale";
/// open_clip's bound on it.
const LARGEST_LOGIT_SCALE: f64 = 100.0;
/// An epoch's mean loss above so many times the first epoch's is divergence.
const DIVERGENCE: f64 = 3.0;

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
    /// InfoNCE's, at the end of the epoch.
    pub(super) temperature: f64,
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
    /// ln(1 / tau), where it is learnt.
    logit_scale: Option<Var>,
    /// Of the expression encoder's parameters, the copy-number encoder's, the scale.
    pub(super) moments: Vec<AdamMoments>,
    pub(super) cursor: Cursor,
    /// Weights of the best epoch; empty before the first.
    pub(super) best: Vec<NamedArray>,
    /// Steps between two checkpoints, [`CHECKPOINT_STEPS`].
    pub(super) checkpoint_steps: u64,
    /// Step of the last checkpoint, and where it lies.
    pub(super) saved: (u64, Option<PathBuf>),
    validation: Vec<Vec<u32>>,
}

/// Where a run that cannot go on can be looked at: the step of its last checkpoint and the file.
pub(super) fn last_checkpoint(saved: &(u64, Option<PathBuf>)) -> String {
    match saved {
        (step, Some(path)) => {
            format!(
                "the last checkpoint, of step {step}, is `{}`",
                path.display()
            )
        }
        _ => "there is no checkpoint yet".to_string(),
    }
}

/// What the loop asks and tells while it runs.
pub(super) trait Watch {
    /// Whether to stop now.
    fn cancelled(&self) -> bool;
    /// After each step.
    fn step(&self, trainer: &Trainer<'_>, batches: usize, loss: StepLoss);
    /// Every [`CHECKPOINT_STEPS`] steps, and before stopping on request, with the weights as they
    /// are `now`; says where it was written, if anywhere.
    fn checkpoint(&self, trainer: &Trainer<'_>, now: &[NamedArray])
    -> StageResult<Option<PathBuf>>;
}

impl<'a> Trainer<'a> {
    /// Fresh weights.
    pub(super) fn new(
        data: &'a TrainingData,
        params: &'a TrainParams,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> TrainResult<Self> {
        let batch = params.batch_size;
        if epoch_batches(&data.train, batch, seed, 0).is_empty() {
            return Err(StageError::data(
                "training needs at least 2 cells, found fewer in the split",
            )
            .into());
        }
        let validation = validation_batches(&data.val, batch, seed);
        if validation.is_empty() {
            return Err(StageError::data(
                "validation needs at least 2 cells, found fewer in the split",
            )
            .into());
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
        let logit_scale = params
            .learn_temperature
            .then(|| {
                Var::from_tensor(
                    &Tensor::new(-math::ln(params.temperature), device)?.to_dtype(dtype)?,
                )
            })
            .transpose()?;
        let n = expr.parameters().len() + cnv.parameters().len();
        let moments = vec![AdamMoments::default(); n + usize::from(logit_scale.is_some())];
        Ok(Self {
            data,
            params,
            seed,
            expr,
            cnv,
            logit_scale,
            moments,
            cursor: Cursor::default(),
            best: Vec::new(),
            checkpoint_steps: CHECKPOINT_STEPS,
            saved: (0, None),
            validation,
        })
    }

    /// Trains until the epochs are done or the validation loss has not fallen for `patience` epochs.
    ///
    /// # Errors
    /// [`StageError::Cancelled`], with a checkpoint written; [`StageError::Data`] where a loss is
    /// no longer a number, or an epoch's is far above the first one's.
    pub(super) fn run(&mut self, watch: &dyn Watch) -> TrainResult<()> {
        while !self.finished() {
            let batches = epoch_batches(
                &self.data.train,
                self.params.batch_size,
                self.seed,
                self.cursor.epoch as u64,
            );
            while self.cursor.batch < batches.len() {
                if watch.cancelled() {
                    self.save(watch)?;
                    return Err(StageError::Cancelled.into());
                }
                let loss = self.step(&batches[self.cursor.batch], batches.len())?;
                watch.step(self, batches.len(), loss);
                if self.cursor.step >= self.saved.0 + self.checkpoint_steps {
                    self.save(watch)?;
                }
            }
            self.end_epoch()?;
        }
        Ok(())
    }

    /// Writes a checkpoint, unless the weights are broken: the last good one then stays.
    fn save(&mut self, watch: &dyn Watch) -> TrainResult<()> {
        let now = self.snapshot()?;
        if now.iter().all(|a| a.values.iter().all(|v| v.is_finite())) {
            self.saved = (self.cursor.step, watch.checkpoint(self, &now)?);
        }
        Ok(())
    }

    /// Whether training is over.
    pub(super) fn finished(&self) -> bool {
        self.cursor.epoch >= self.params.epochs
            || self.cursor.epoch - self.cursor.best_epoch >= self.params.patience
    }

    /// The rate of the next step of an epoch of `batches`: rising through the warm-up's steps, then
    /// half a cosine over the epochs that are left, from `learning_rate` to 0.
    pub(super) fn learning_rate(&self, batches: usize) -> f64 {
        let (epoch, warmup) = (self.cursor.epoch, self.params.warmup_epochs);
        if epoch < warmup {
            let step = epoch * batches + self.cursor.batch + 1;
            return self.params.learning_rate * step as f64 / (warmup * batches) as f64;
        }
        let done = (epoch - warmup) as f64 / (self.params.epochs - warmup) as f64;
        0.5 * self.params.learning_rate * (1.0 + math::cos(std::f64::consts::PI * done))
    }

    fn temperature(&self) -> Temperature<'_> {
        match &self.logit_scale {
            Some(s) => Temperature::Learnt(s),
            None => Temperature::Fixed(self.params.temperature),
        }
    }

    /// InfoNCE's temperature as it is now.
    pub(super) fn temperature_now(&self) -> TrainResult<f64> {
        match &self.logit_scale {
            Some(s) => Ok(math::exp(-scalar(s)?)),
            None => Ok(self.params.temperature),
        }
    }

    /// The losses of a batch with their graph, and the number of cells encoded.
    pub(super) fn losses(
        &mut self,
        anchors: &[u32],
    ) -> TrainResult<(Tensor, Tensor, Option<Tensor>, usize)> {
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
        let on_cpu = self.on_cpu();
        let Self {
            data, expr, cnv, ..
        } = self;
        let mut run = |part: u64, of: &[u32]| {
            let encode = |encoder: &mut Encoder, modality: &Modality| -> candle_core::Result<_> {
                if part == 0 {
                    encoder.forget_passes();
                }
                encoder.forward_train(&modality.batch(of)?, pass(part))
            };
            let (e, c) = both(
                on_cpu,
                || encode(expr, &data.expr),
                || encode(cnv, &data.cnv),
            );
            candle_core::Result::Ok((e?, c?))
        };
        let (mut e, mut c) = run(0, &cells.first)?;
        if !cells.second.is_empty() {
            let (e2, c2) = run(1, &cells.second)?;
            e = Tensor::cat(&[&e, &e2], 0)?;
            c = Tensor::cat(&[&c, &c2], 0)?;
        }
        let encoded = cells.first.len() + cells.second.len();
        let clusters = self.clusters(anchors);
        if on_cpu {
            let objective = Objective {
                n_anchors: cells.n_anchors,
                pairs: cells.pairs,
                lambda: p.lambda,
                margin: p.margin,
                clusters,
            };
            let (total, terms) = objective.apply(&e, &c, self.temperature())?;
            // In the precision of the total, which is their sum.
            let value = |v: f64| Tensor::new(v, e.device())?.to_dtype(e.dtype());
            let margin = terms.margin.map(value).transpose()?;
            return Ok((total, value(terms.nce)?, margin, encoded));
        }
        let (ea, ca) = (
            e.narrow(0, 0, cells.n_anchors)?,
            c.narrow(0, 0, cells.n_anchors)?,
        );
        let nce = nce(&ea, &ca, self.temperature(), clusters.as_deref())?;
        let margin = hard_negative_margin(&e, &c, &cells.pairs, p.margin)?;
        let total = match &margin {
            Some(margin) => (&nce + (margin * p.lambda)?)?,
            None => nce.clone(),
        };
        Ok((total, nce, margin, encoded))
    }

    /// Whether the batches are sparse, and all that is heavy is done by this program's own loops.
    fn on_cpu(&self) -> bool {
        !self.data.expr.is_resident() && !self.data.cnv.is_resident()
    }

    fn clusters(&self, cells: &[u32]) -> Option<Vec<u32>> {
        let of = self.data.masked_clusters.as_ref()?;
        Some(cells.iter().map(|&c| of[c as usize]).collect())
    }

    /// One optimiser step on a batch of anchors, of an epoch of `batches`.
    pub(super) fn step(&mut self, anchors: &[u32], batches: usize) -> TrainResult<StepLoss> {
        let (total, nce, margin, encoded) = self.losses(anchors)?;
        let loss = StepLoss {
            total: scalar(&total)?,
            nce: scalar(&nce)?,
            margin: margin.as_ref().map(scalar).transpose()?.unwrap_or(0.0),
        };
        if !loss.total.is_finite() {
            return Err(self
                .diverged(&format!("training loss is {}", loss.total))
                .into());
        }
        self.update(&total, self.learning_rate(batches))?;
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

    fn update(&mut self, total: &Tensor, learning_rate: f64) -> TrainResult<()> {
        let grads = total.backward()?;
        let on_cpu = self.on_cpu();
        let (expr, cnv) = both(
            on_cpu,
            || self.expr.take_gradients(&grads),
            || self.cnv.take_gradients(&grads),
        );
        let (expr, cnv) = (expr?, cnv?);
        let scale = match &self.logit_scale {
            Some(s) => grads.get(s).cloned(),
            None => None,
        };
        self.cursor.step += 1;
        let mut adam = AdamWStep {
            learning_rate,
            weight_decay: self.params.weight_decay,
            l2: 0.0,
            step: self.cursor.step,
            gradient_scale: 1.0,
        };
        if let Some(longest) = self.params.clip_norm {
            let mut squares = expr.square_sum()? + cnv.square_sum()?;
            if let Some(scale) = &scale {
                squares += square_sum(scale)?;
            }
            // torch adds the same 1e-6.
            adam.gradient_scale = (longest / (squares.sqrt() + 1e-6)).min(1.0);
        }
        let n = self.expr.parameters().len();
        let m = n + self.cnv.parameters().len();
        let (of_expr, rest) = self.moments.split_at_mut(n);
        let of_cnv = &mut rest[..m - n];
        let (done, also) = both(
            on_cpu,
            || self.expr.update(expr, of_expr, adam),
            || self.cnv.update(cnv, of_cnv, adam),
        );
        done?;
        also?;
        if let (Some(s), Some(gradient)) = (&self.logit_scale, scale) {
            let adam = AdamWStep {
                weight_decay: 0.0,
                ..adam
            };
            adam.apply(s, &gradient, &mut self.moments[m])?;
            s.set(&s.clamp(0.0, math::ln(LARGEST_LOGIT_SCALE))?)?;
        }
        Ok(())
    }

    fn diverged(&self, what: &str) -> StageError {
        let last = last_checkpoint(&self.saved);
        StageError::data_hint(
            format!(
                "{what} in epoch {}, batch {} (step {}); {last}",
                self.cursor.epoch + 1,
                self.cursor.batch + 1,
                self.cursor.step + 1
            ),
            "lower `learning_rate`, set `clip_norm`, or check the input for extreme values",
        )
    }

    fn end_epoch(&mut self) -> TrainResult<()> {
        let val_loss = self.validation_loss()?;
        if !val_loss.is_finite() {
            return Err(self
                .diverged(&format!("validation loss is {val_loss}"))
                .into());
        }
        let best = self.best_val_loss();
        let sums = self.cursor.sums;
        let train_loss = sums.total / sums.anchors;
        if let Some(first) = self.cursor.history.first()
            && train_loss > DIVERGENCE * first.train_loss
        {
            return Err(self.diverged(&format!(
                "the training loss diverges: its mean is {train_loss:.3} where the first epoch's was {:.3},",
                first.train_loss
            )).into());
        }
        // The rate of the epoch's last step.
        self.cursor.batch -= 1;
        let learning_rate = self.learning_rate(self.cursor.batch + 1);
        self.cursor.history.push(EpochRecord {
            learning_rate,
            train_loss,
            nce: sums.nce / sums.anchors,
            margin: sums.margin / sums.anchors,
            val_loss,
            temperature: self.temperature_now()?,
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
    pub(super) fn validation_loss(&self) -> TrainResult<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for cells in &self.validation {
            let e = self.expr.forward_eval(&self.data.expr.batch(cells)?)?;
            let c = self.cnv.forward_eval(&self.data.cnv.batch(cells)?)?;
            let loss = scalar(&nce(
                &e,
                &c,
                self.temperature(),
                self.clusters(cells).as_deref(),
            )?)?;
            sum += loss * cells.len() as f64;
            n += cells.len() as f64;
        }
        Ok(sum / n)
    }

    /// All weights and running statistics as they are now.
    pub(super) fn snapshot(&self) -> TrainResult<Vec<NamedArray>> {
        let mut all = self.expr.snapshot()?;
        all.extend(self.cnv.snapshot()?);
        if let Some(s) = &self.logit_scale {
            all.push(NamedArray {
                name: LOGIT_SCALE.to_string(),
                shape: vec![],
                values: vec![scalar(s)? as f32],
            });
        }
        Ok(all)
    }

    /// Takes over a snapshot.
    pub(super) fn restore(&mut self, arrays: &[NamedArray]) -> TrainResult<()> {
        let find = |name: &str| {
            arrays
                .iter()
                .find(|a| a.name == name)
                .map(|a| a.values.as_slice())
        };
        self.expr.restore(find)?;
        self.cnv.restore(find)?;
        if let (Some(s), Some(&[value])) = (&self.logit_scale, find(LOGIT_SCALE)) {
            s.set(&Tensor::new(value, s.device())?.to_dtype(s.dtype())?)?;
        }
        Ok(())
    }
}

/// Both, side by side where that is the CPU's work.
fn both<A: Send, B: Send>(
    on_cpu: bool,
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    if on_cpu {
        rayon::join(a, b)
    } else {
        (a(), b())
    }
}

fn scalar(t: &Tensor) -> TrainResult<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}
