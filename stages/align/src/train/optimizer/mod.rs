//! One optimiser step: backward pass, clipping by the norm, AdamW or Adam.

mod adamw;

use candle_core::backprop::GradStore;

pub(super) use self::adamw::{AdamMoments, AdamWStep};
use super::error::TrainResult;
use super::objective::Model;

/// Added to the norm before the bound is divided by it, as torch's `clip_grad_norm_` does.
const CLIP_EPS: f64 = 1e-6;

/// How weights decay; at least 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum WeightDecay {
    /// AdamW's: the weights shrink by `rate x decay`, apart from the gradient.
    Decoupled(f64),
    /// Adam's: `decay x weight` joins the clipped gradient.
    L2(f64),
}

/// Settings of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OptimizerSettings {
    pub(super) decay: WeightDecay,
    /// Longest gradient, as the norm over all weights, above 0; `None` for no limit.
    pub(super) clip_norm: Option<f64>,
    /// Whether the norm is reported; it is computed only then, or where the gradient is clipped.
    pub(super) reports_norm: bool,
}

/// The settings, and the moments of each array of weights.
#[derive(Debug)]
pub(super) struct Optimizer {
    pub(super) settings: OptimizerSettings,
    /// In the order of the model's arrays.
    pub(super) moments: Vec<AdamMoments>,
}

impl Optimizer {
    /// Moments of zero for `n_arrays` arrays of weights.
    pub(super) fn new(settings: OptimizerSettings, n_arrays: usize) -> Self {
        Self {
            settings,
            moments: vec![AdamMoments::default(); n_arrays],
        }
    }

    /// Moves `model` down the gradients of a loss; `step` counts from 1. Gives the gradient's norm
    /// before clipping, where it was computed.
    ///
    /// # Errors
    /// candle's, and where an array of weights has no gradient.
    pub(super) fn step<M: Model>(
        &mut self,
        model: &mut M,
        gradients: &GradStore,
        learning_rate: f64,
        step: u64,
    ) -> TrainResult<Option<f64>> {
        let gradients = model.gradients(gradients)?;
        let wants_norm = self.settings.reports_norm || self.settings.clip_norm.is_some();
        let norm = if wants_norm {
            Some(M::square_sum(&gradients)?.sqrt())
        } else {
            None
        };
        let gradient_scale = match (self.settings.clip_norm, norm) {
            (Some(longest), Some(norm)) => (longest / (norm + CLIP_EPS)).min(1.0),
            _ => 1.0,
        };
        let (weight_decay, l2) = match self.settings.decay {
            WeightDecay::Decoupled(decay) => (decay, 0.0),
            WeightDecay::L2(decay) => (0.0, decay),
        };
        let adam = AdamWStep {
            learning_rate,
            weight_decay,
            l2,
            step,
            gradient_scale,
        };
        model.update(gradients, &mut self.moments, adam)?;
        Ok(norm)
    }
}
