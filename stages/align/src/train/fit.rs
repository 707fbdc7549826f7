//! The training loop of every method: batches, step, validation, early stopping, checkpoint.
//!
//! What is minimised comes from an [`Objective`]; how, from a [`Recipe`]. A run that is cancelled or
//! killed and resumed ends with the same bits as one that was not interrupted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::batches::epoch_batches;
use super::checkpoint::{Checkpoint, LoadError, State};
use super::divergence::{Diverged, Place, Reason};
use super::early_stopping::{Best, EarlyStopping};
use super::error::{TrainError, TrainResult};
use super::network::encoder::NamedArray;
use super::network::scalar;
use super::objective::{BatchIndex, Objective, Terms as _};
use super::optimizer::{Optimizer, OptimizerSettings};
use super::schedule::Schedule;
use clcc_data::error::StageError;

/// How an objective is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    pub(super) seed: u64,
    /// Most epochs, at least 1.
    pub(super) epochs: usize,
    /// Cells in a batch, at least 2.
    pub(super) batch_size: usize,
    pub(super) schedule: Schedule,
    pub(super) optimizer: OptimizerSettings,
    /// With it the weights of the best epoch are kept, without it those of the last.
    pub(super) early_stopping: Option<EarlyStopping>,
}

/// One epoch of a run; `own` is what the objective alone reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochRecord<E> {
    /// The rate of the epoch's last step.
    pub(super) learning_rate: f64,
    /// Mean over the epoch's cells.
    pub(super) train_loss: f64,
    /// Mean over the steps before clipping, where the optimiser reports it.
    pub(super) gradient_norm: Option<f64>,
    /// `None` without validation cells.
    pub(super) val_loss: Option<f64>,
    pub(super) own: E,
}

/// Sums over the current epoch so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Sums<T> {
    pub(super) cells: f64,
    pub(super) steps: f64,
    /// Of the loss, over cells.
    pub(super) total: f64,
    /// Of the gradient's norm, over steps.
    pub(super) gradient_norm: f64,
    /// Over cells.
    pub(super) terms: T,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Cursor<T, E> {
    /// Epochs done.
    pub(super) epoch: usize,
    /// Whether the objective has prepared for the current epoch.
    pub(super) has_begun: bool,
    /// Batches done in the current epoch.
    pub(super) batch: usize,
    /// Optimiser steps done.
    pub(super) step: u64,
    /// Distinct cells encoded in each step, summed over all steps.
    pub(super) cells_encoded: u64,
    pub(super) sums: Sums<T>,
    pub(super) history: Vec<EpochRecord<E>>,
    pub(super) best: Option<Best>,
}

/// The cursor of an objective's run.
pub(super) type CursorOf<O> = Cursor<<O as Objective>::Terms, <O as Objective>::Epoch>;

/// What the loop tells after each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepDone {
    /// Epochs done, and most of them.
    pub(super) epoch: usize,
    pub(super) epochs: usize,
    /// Batches done in the current epoch, and all of them.
    pub(super) batch: usize,
    pub(super) n_batches: usize,
    /// The batch's.
    pub(super) loss: f64,
    /// Lowest validation loss so far.
    pub(super) best_val_loss: Option<f64>,
}

/// What the loop asks and tells while it runs.
pub(super) trait Watch {
    /// Whether to stop now, with a checkpoint.
    fn is_cancelled(&self) -> bool;
    /// Called after each step, before the checkpoint that may be due.
    fn did_step(&self, step: StepDone);
}

/// A run: the objective with its model, the optimiser, and where they stand.
#[derive(Debug)]
pub(super) struct Fit<O: Objective> {
    pub(super) objective: O,
    pub(super) recipe: Recipe,
    pub(super) optimizer: Optimizer,
    pub(super) cursor: CursorOf<O>,
    /// Weights of the best epoch; empty before the first, and without early stopping.
    pub(super) best: Vec<NamedArray>,
    /// `None` where no checkpoints are kept.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl<O: Objective> Fit<O> {
    /// Starts at the first epoch.
    pub(super) fn new(objective: O, recipe: Recipe) -> Self {
        Self {
            optimizer: Optimizer::new(recipe.optimizer, objective.n_arrays()),
            objective,
            recipe,
            cursor: Cursor {
                epoch: 0,
                has_begun: false,
                batch: 0,
                step: 0,
                cells_encoded: 0,
                sums: Sums::default(),
                history: Vec::new(),
                best: None,
            },
            best: Vec::new(),
            checkpoint: None,
        }
    }

    /// Keeps checkpoints in `dir` and goes on where the one there left off; `run` names what it
    /// belongs to. Gives `false` where there is none.
    ///
    /// # Errors
    /// [`LoadError`], after which the run is at its start; the next checkpoint replaces the unusable
    /// one.
    pub(super) fn resume(&mut self, dir: &Path, run: &str) -> Result<bool, ResumeError> {
        let checkpoint = self.checkpoint.insert(Checkpoint::new(dir, run));
        let like = self.objective.weights()?;
        let Some(loaded) = checkpoint.load(&like, self.optimizer.moments.len())? else {
            return Ok(false);
        };
        self.objective.restore(&loaded.weights)?;
        self.objective.restore_state(loaded.state)?;
        self.optimizer.moments = loaded.moments;
        self.best = loaded.best;
        self.cursor = loaded.cursor;
        checkpoint.did_load(self.cursor.step);
        Ok(true)
    }

    /// Trains until the epochs are done or early stopping ends it.
    ///
    /// # Errors
    /// [`StageError::Cancelled`], with a checkpoint written; [`TrainError::Diverged`].
    pub(super) fn run(&mut self, watch: &dyn Watch) -> TrainResult<()> {
        let Recipe {
            seed, batch_size, ..
        } = self.recipe;
        while !self.is_over() {
            let epoch = self.cursor.epoch;
            let batches =
                epoch_batches(self.objective.train_cells(), batch_size, seed, epoch as u64);
            if !self.cursor.has_begun {
                self.objective.begin_epoch(epoch)?;
                self.cursor.has_begun = true;
            }
            while self.cursor.batch < batches.len() {
                if watch.is_cancelled() {
                    self.save()?;
                    return Err(StageError::Cancelled.into());
                }
                let loss = self.step(&batches[self.cursor.batch], batches.len())?;
                watch.did_step(self.step_done(batches.len(), loss));
                let step = self.cursor.step;
                if self.checkpoint.as_ref().is_some_and(|c| c.is_due(step)) {
                    self.save()?;
                }
            }
            self.end_epoch(batches.len())?;
        }
        Ok(())
    }

    /// Whether training is over.
    pub(super) fn is_over(&self) -> bool {
        let (epoch, best) = (self.cursor.epoch, self.cursor.best);
        let stopping = self.recipe.early_stopping;
        epoch >= self.recipe.epochs || stopping.is_some_and(|s| s.is_over(epoch, best))
    }

    /// Takes one optimiser step on a batch of cells, of an epoch of `n_batches`; gives its loss.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the loss is not finite.
    pub(super) fn step(&mut self, cells: &[u32], n_batches: usize) -> TrainResult<f64> {
        let at = BatchIndex {
            epoch: self.cursor.epoch as u64,
            batch: self.cursor.batch as u64,
        };
        let loss = self.objective.loss(cells, at)?;
        let total = scalar(&loss.total)?;
        if let Some(reason) = Reason::of_batch(total) {
            return Err(self.diverged(reason));
        }
        let rate = self
            .recipe
            .schedule
            .rate(self.cursor.epoch, self.cursor.batch, n_batches);
        let step = self.cursor.step + 1;
        let norm = self
            .optimizer
            .step(&mut self.objective, &loss.gradients()?, rate, step)?;
        let n = cells.len() as f64;
        let sums = &mut self.cursor.sums;
        sums.cells += n;
        sums.steps += 1.0;
        sums.total += n * total;
        sums.gradient_norm += norm.unwrap_or(0.0);
        sums.terms.add(&loss.terms, n);
        self.cursor.cells_encoded += loss.cells_encoded as u64;
        self.cursor.step = step;
        self.cursor.batch += 1;
        Ok(total)
    }

    fn step_done(&self, n_batches: usize, loss: f64) -> StepDone {
        StepDone {
            epoch: self.cursor.epoch,
            epochs: self.recipe.epochs,
            batch: self.cursor.batch,
            n_batches,
            loss,
            best_val_loss: self.cursor.best.map(|b| b.val_loss),
        }
    }

    fn end_epoch(&mut self, n_batches: usize) -> TrainResult<()> {
        let val_loss = self.objective.validation_loss()?;
        let sums = &self.cursor.sums;
        let train_loss = sums.total / sums.cells;
        let whole = self.objective.first_whole_epoch();
        let first = self.cursor.history.get(whole);
        let first = first.map(|e| (e.train_loss, whole + 1));
        if let Some(reason) = Reason::of_epoch(train_loss, val_loss, first) {
            return Err(self.diverged(reason));
        }
        let reports_norm = self.recipe.optimizer.reports_norm;
        self.cursor.history.push(EpochRecord {
            learning_rate: self
                .recipe
                .schedule
                .rate(self.cursor.epoch, n_batches - 1, n_batches),
            train_loss,
            gradient_norm: reports_norm.then(|| sums.gradient_norm / sums.steps),
            val_loss,
            own: self.objective.epoch(sums)?,
        });
        self.cursor.epoch += 1;
        self.cursor.has_begun = false;
        self.cursor.batch = 0;
        self.cursor.sums = Sums::default();
        if let (Some(_), Some(val_loss)) = (self.recipe.early_stopping, val_loss)
            && let Some(best) =
                EarlyStopping::improved(self.cursor.epoch, val_loss, self.cursor.best)
        {
            self.cursor.best = Some(best);
            self.best = self.objective.weights()?;
        }
        Ok(())
    }

    /// Gives the weights that the run is to keep, and sets the model to them.
    ///
    /// # Errors
    /// candle's.
    pub(super) fn keep_weights(&mut self) -> TrainResult<Vec<NamedArray>> {
        if self.best.is_empty() {
            return self.objective.weights();
        }
        let best = std::mem::take(&mut self.best);
        self.objective.restore(&best)?;
        Ok(best)
    }

    /// Writes a checkpoint, where they are kept.
    fn save(&mut self) -> TrainResult<()> {
        let Some(checkpoint) = &mut self.checkpoint else {
            return Ok(());
        };
        let (weights, state) = (self.objective.weights()?, self.objective.state());
        let state = State {
            cursor: &self.cursor,
            weights: &weights,
            best: &self.best,
            state: &state,
        };
        checkpoint.save(self.cursor.step, &state, &self.optimizer.moments)
    }

    fn diverged(&self, reason: Reason) -> TrainError {
        let in_batch = matches!(reason, Reason::TrainingLoss { .. });
        let diverged = Diverged {
            reason,
            at: Place {
                epoch: self.cursor.epoch + 1,
                batch: in_batch.then_some(self.cursor.batch + 1),
                step: self.cursor.step + u64::from(in_batch),
            },
            checkpoint: self.checkpoint.as_ref().and_then(|c| c.last.clone()),
            clip_param: O::CLIP_PARAM,
        };
        Box::new(diverged).into()
    }
}

/// Why a run could not be resumed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResumeError {
    /// The checkpoint was not taken up.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It was, and the model could not take its weights.
    #[error(transparent)]
    Train(#[from] TrainError),
}
