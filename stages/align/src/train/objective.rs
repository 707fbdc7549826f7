//! What a training method brings to the loop of [`super::fit`]: a model, and what it minimises.

use std::fmt::Debug;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::TrainResult;
use super::fit::Sums;
use super::network::encoder::NamedArray;
use super::optimizer::{AdamMoments, AdamWStep};

/// The weights that training moves.
pub(super) trait Model {
    /// The gradients of one backward pass.
    type Gradients;

    /// Number of arrays of weights, each of which has its own moments in the optimiser.
    fn n_arrays(&self) -> usize;

    /// Takes this model's gradients out of those of a backward pass from the loss.
    ///
    /// # Errors
    /// candle's, and where an array of weights has no gradient.
    fn gradients(&mut self, all: &GradStore) -> TrainResult<Self::Gradients>;

    /// The sum of squares of all values of the gradients.
    ///
    /// # Errors
    /// candle's.
    fn square_sum(gradients: &Self::Gradients) -> TrainResult<f64>;

    /// Moves the weights by one optimiser step; `moments` holds [`Model::n_arrays`] entries.
    ///
    /// # Errors
    /// candle's.
    fn update(
        &mut self,
        gradients: Self::Gradients,
        moments: &mut [AdamMoments],
        step: AdamWStep,
    ) -> TrainResult<()>;

    /// Copies the weights and the running statistics of batch norms.
    ///
    /// # Errors
    /// candle's.
    fn weights(&self) -> TrainResult<Vec<NamedArray>>;

    /// Sets the weights and running statistics to what [`Model::weights`] gave.
    ///
    /// # Errors
    /// Where an array is missing or of another size.
    fn restore(&mut self, weights: &[NamedArray]) -> TrainResult<()>;
}

/// A method: a model, its training cells, and the loss of a batch of them.
///
/// Every random draw is a function of the seed and the [`BatchIndex`], so a run that is resumed at a
/// batch computes what the uninterrupted one did.
pub(super) trait Objective: Model {
    /// The terms of the loss.
    type Terms: Terms;
    /// What this method alone reports of an epoch.
    type Epoch: Debug + Clone + PartialEq + Serialize + DeserializeOwned;
    /// Path of the parameter that clips this method's gradient, for hints.
    const CLIP_PARAM: &'static str;

    /// Numbers of the cells that are trained on.
    fn train_cells(&self) -> &[usize];

    /// Prepares for an epoch (counted from 0); called once for each, also over interruptions.
    ///
    /// # Errors
    /// candle's.
    fn begin_epoch(&mut self, _epoch: usize) -> TrainResult<()> {
        Ok(())
    }

    /// Computes the loss of a batch of cells in training mode.
    ///
    /// # Errors
    /// candle's.
    fn loss(&mut self, cells: &[u32], at: BatchIndex) -> TrainResult<Loss<Self::Terms>>;

    /// Computes the mean loss of the validation cells in eval mode; `None` without such cells.
    ///
    /// # Errors
    /// candle's.
    fn validation_loss(&self) -> TrainResult<Option<f64>>;

    /// The first epoch (counted from 0) whose loss has all its terms: divergence is judged against it.
    fn first_whole_epoch(&self) -> usize {
        0
    }

    /// Sums up an epoch that is over, with the weights as they then are.
    ///
    /// # Errors
    /// candle's.
    fn epoch(&self, sums: &Sums<Self::Terms>) -> TrainResult<Self::Epoch>;

    /// Arrays other than the weights that a resumed run needs, by names of the method's own.
    fn state(&self) -> Vec<NamedArray> {
        Vec::new()
    }

    /// Takes over what [`Objective::state`] gave.
    ///
    /// # Errors
    /// Where an array is missing or of another size.
    fn restore_state(&mut self, _state: Vec<NamedArray>) -> TrainResult<()> {
        Ok(())
    }
}

/// The terms of a loss: of one batch, means over its cells; of an epoch, sums over its cells.
pub(super) trait Terms:
    Debug + Clone + Default + PartialEq + Serialize + DeserializeOwned
{
    /// Adds the terms of a batch, each times the number of its cells.
    fn add(&mut self, batch: &Self, n_cells: f64);
}

/// The loss of a batch.
#[derive(Debug)]
pub(super) struct Loss<T> {
    /// The mean over the batch's cells; with its graph, unless the gradients are known.
    pub(super) total: Tensor,
    /// Graph leaves with their gradients, where the method has worked them out by itself.
    pub(super) known: Option<Vec<(Tensor, Tensor)>>,
    /// Its terms, unweighted.
    pub(super) terms: T,
    /// Distinct cells that went through the encoders.
    pub(super) cells_encoded: usize,
}

impl<T> Loss<T> {
    /// The gradients of the graph's leaves.
    ///
    /// # Errors
    /// candle's.
    pub(super) fn gradients(&self) -> candle_core::Result<GradStore> {
        let Some(known) = &self.known else {
            return self.total.backward();
        };
        let mut all = GradStore::default();
        for (leaf, gradient) in known {
            all.insert(leaf, gradient.clone());
        }
        Ok(all)
    }
}

/// A batch's place in the run, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchIndex {
    pub(super) epoch: u64,
    pub(super) batch: u64,
}
