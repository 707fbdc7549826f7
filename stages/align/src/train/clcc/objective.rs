//! Method A as an [`Objective`]: two encoders, InfoNCE and the margin loss on hard negatives.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::data::TrainingData;
use super::loss::{ClccLoss, Temperature, hard_negative_margin, nce};
use super::step_cells::{Drawing, StepCells};
use crate::train::batches::{epoch_batches, validation_batches};
use crate::train::early_stopping::EarlyStopping;
use crate::train::error::TrainResult;
use crate::train::fit::{Fit, Recipe, Sums};
use crate::train::network::encoder::{Encoder, Gradients, NamedArray, Pass, by_name, square_sum};
use crate::train::network::inputs::Modality;
use crate::train::network::scalar;
use crate::train::objective::{self, BatchIndex, Loss, Model, Objective};
use crate::train::optimizer::{AdamMoments, AdamWStep, OptimizerSettings, WeightDecay};
use crate::train::params::TrainParams;
use crate::train::schedule::Schedule;
use clcc_data::error::StageError;
use clcc_numerics::math;

/// The scale of a learnt temperature has this name in checkpoints and models.
const LOGIT_SCALE: &str = "logit_scale";
/// open_clip's bound on it.
const LARGEST_LOGIT_SCALE: f64 = 100.0;

/// Both encoders, and the temperature where it is learnt.
#[derive(Debug)]
pub(super) struct Clcc<'a> {
    pub(super) data: &'a TrainingData,
    pub(super) params: &'a TrainParams,
    seed: u64,
    pub(super) expr: Encoder,
    pub(super) cnv: Encoder,
    /// ln(1 / tau), where it is learnt.
    logit_scale: Option<Var>,
    validation: Vec<Vec<u32>>,
}

/// InfoNCE and the margin loss, unweighted; the loss is `nce + lambda margin`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) nce: f64,
    /// 0 where no anchor has a negative.
    pub(super) margin: f64,
}

impl objective::Terms for Terms {
    fn add(&mut self, batch: &Self, n_cells: f64) {
        self.nce += n_cells * batch.nce;
        self.margin += n_cells * batch.margin;
    }
}

/// Columns of `history.tsv` that this method alone has. Losses are means over the epoch's anchors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Epoch {
    pub(super) nce: f64,
    pub(super) margin: f64,
    /// InfoNCE's, at the end of the epoch.
    pub(super) temperature: f64,
}

/// Gradients of both encoders and of the logits' scale.
#[derive(Debug)]
pub(super) struct ClccGradients {
    expr: Gradients,
    cnv: Gradients,
    logit_scale: Option<Tensor>,
}

/// A run of method A at its start, with fresh weights.
///
/// # Errors
/// As [`Clcc::new`].
pub(super) fn new_fit<'a>(
    data: &'a TrainingData,
    params: &'a TrainParams,
    seed: u64,
    dtype: DType,
    device: &Device,
) -> TrainResult<Fit<Clcc<'a>>> {
    let recipe = Recipe {
        seed,
        epochs: params.epochs,
        batch_size: params.batch_size,
        schedule: Schedule::WarmupCosine {
            rate: params.learning_rate,
            warmup_epochs: params.warmup_epochs,
            epochs: params.epochs,
        },
        optimizer: OptimizerSettings {
            decay: WeightDecay::Decoupled(params.weight_decay),
            clip_norm: params.clip_norm,
            reports_norm: false,
        },
        early_stopping: Some(EarlyStopping {
            patience: params.patience,
        }),
    };
    let objective = Clcc::new(data, params, seed, dtype, device)?;
    Ok(Fit::new(objective, recipe))
}

impl<'a> Clcc<'a> {
    /// Draws fresh weights.
    ///
    /// # Errors
    /// [`StageError::Data`] where the split has fewer than two training or validation cells.
    fn new(
        data: &'a TrainingData,
        params: &'a TrainParams,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> TrainResult<Self> {
        let too_few = |part: &str| {
            StageError::data(format!(
                "{part} needs at least 2 cells, found fewer in the split"
            ))
        };
        let batch = params.batch_size;
        if epoch_batches(&data.train, batch, seed, 0).is_empty() {
            return Err(too_few("training").into());
        }
        let validation = validation_batches(&data.val, batch, seed);
        if validation.is_empty() {
            return Err(too_few("validation").into());
        }
        let encoder = |name, modality: &Modality, hidden: &[usize]| {
            let (features, dim) = (modality.n_features(), params.embedding_dim);
            Encoder::new(name, features, hidden, dim, seed, dtype, device)
        };
        let logit_scale = if params.learn_temperature {
            let start = Tensor::new(-math::ln(params.temperature), device)?;
            Some(Var::from_tensor(&start.to_dtype(dtype)?)?)
        } else {
            None
        };
        Ok(Self {
            data,
            params,
            seed,
            expr: encoder("expr", &data.expr, &params.expr_hidden)?,
            cnv: encoder("cnv", &data.cnv, &params.cnv_hidden)?,
            logit_scale,
            validation,
        })
    }

    /// InfoNCE's temperature as it is now.
    ///
    /// # Errors
    /// candle's.
    pub(super) fn temperature_now(&self) -> TrainResult<f64> {
        match &self.logit_scale {
            Some(s) => Ok(math::exp(-scalar(s)?)),
            None => Ok(self.params.temperature),
        }
    }

    fn temperature(&self) -> Temperature<'_> {
        match &self.logit_scale {
            Some(s) => Temperature::Learnt(s),
            None => Temperature::Fixed(self.params.temperature),
        }
    }

    /// Whether the batches are sparse, and all that is heavy is done by this program's own loops.
    fn is_on_cpu(&self) -> bool {
        !self.data.expr.is_resident() && !self.data.cnv.is_resident()
    }

    fn clusters(&self, cells: &[u32]) -> Option<Vec<u32>> {
        let of = self.data.masked_clusters.as_ref()?;
        Some(cells.iter().map(|&c| of[c as usize]).collect())
    }

    /// Embeddings of the step's cells in training mode, unit rows, pass by pass: expression, copy number.
    fn encode(&mut self, cells: &StepCells, at: BatchIndex) -> TrainResult<Vec<(Tensor, Tensor)>> {
        let (seed, dropout) = (self.seed, self.params.dropout);
        let pass = |part| Pass {
            seed,
            dropout,
            epoch: at.epoch,
            batch: at.batch,
            part,
        };
        let on_cpu = self.is_on_cpu();
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
        let mut passes = vec![run(0, &cells.first)?];
        if !cells.second.is_empty() {
            passes.push(run(1, &cells.second)?);
        }
        Ok(passes)
    }

    /// The loss with its gradients, without a graph.
    fn fused_loss(
        &self,
        passes: &[(Tensor, Tensor)],
        cells: StepCells,
        clusters: Option<Vec<u32>>,
    ) -> TrainResult<Loss<Terms>> {
        let loss = ClccLoss {
            n_anchors: cells.n_anchors,
            pairs: cells.pairs,
            lambda: self.params.lambda,
            margin: self.params.margin,
            clusters,
        };
        let (e, c) = joined(passes)?;
        let found = loss.evaluate(&e, &c, self.temperature())?;
        let (mut known, mut first) = (Vec::new(), 0);
        for (e, c) in passes {
            let n = e.dim(0)?;
            known.push((e.clone(), found.e.narrow(0, first, n)?));
            known.push((c.clone(), found.c.narrow(0, first, n)?));
            first += n;
        }
        if let (Some(scale), Some(gradient)) = (&self.logit_scale, found.scale) {
            known.push((scale.as_tensor().clone(), gradient));
        }
        // In the precision of the total, which is their sum.
        let rounded = |v: f64| match e.dtype() {
            DType::F64 => v,
            _ => f64::from(v as f32),
        };
        Ok(Loss {
            total: found.total,
            known: Some(known),
            terms: Terms {
                nce: rounded(found.terms.nce),
                margin: found.terms.margin.map_or(0.0, rounded),
            },
            cells_encoded: first,
        })
    }

    /// The same loss of candle's operations.
    fn composed_loss(
        &self,
        passes: &[(Tensor, Tensor)],
        cells: &StepCells,
        clusters: Option<&[u32]>,
    ) -> TrainResult<Loss<Terms>> {
        let p = self.params;
        let (e, c) = joined(passes)?;
        let anchors = |t: &Tensor| t.narrow(0, 0, cells.n_anchors);
        let nce = nce(&anchors(&e)?, &anchors(&c)?, self.temperature(), clusters)?;
        let margin = hard_negative_margin(&e, &c, &cells.pairs, p.margin)?;
        let total = match &margin {
            Some(margin) => (&nce + (margin * p.lambda)?)?,
            None => nce.clone(),
        };
        Ok(Loss {
            total,
            known: None,
            terms: Terms {
                nce: scalar(&nce)?,
                margin: margin.as_ref().map_or(Ok(0.0), scalar)?,
            },
            cells_encoded: e.dim(0)?,
        })
    }
}

impl Model for Clcc<'_> {
    type Gradients = ClccGradients;

    /// Arrays of the expression encoder, the copy-number encoder, the scale.
    fn n_arrays(&self) -> usize {
        let encoders = self.expr.parameters().len() + self.cnv.parameters().len();
        encoders + usize::from(self.logit_scale.is_some())
    }

    fn gradients(&mut self, all: &GradStore) -> TrainResult<ClccGradients> {
        let (expr, cnv) = both(
            self.is_on_cpu(),
            || self.expr.take_gradients(all),
            || self.cnv.take_gradients(all),
        );
        let scale = self.logit_scale.as_ref();
        Ok(ClccGradients {
            expr: expr?,
            cnv: cnv?,
            logit_scale: scale.and_then(|s| all.get(s).cloned()),
        })
    }

    fn square_sum(gradients: &ClccGradients) -> TrainResult<f64> {
        let mut squares = gradients.expr.square_sum()? + gradients.cnv.square_sum()?;
        if let Some(scale) = &gradients.logit_scale {
            squares += square_sum(scale)?;
        }
        Ok(squares)
    }

    fn update(
        &mut self,
        gradients: ClccGradients,
        moments: &mut [AdamMoments],
        step: AdamWStep,
    ) -> TrainResult<()> {
        let (of_expr, rest) = moments.split_at_mut(self.expr.parameters().len());
        let (of_cnv, of_scale) = rest.split_at_mut(self.cnv.parameters().len());
        let (expr, cnv) = both(
            self.is_on_cpu(),
            || self.expr.update(gradients.expr, of_expr, step),
            || self.cnv.update(gradients.cnv, of_cnv, step),
        );
        expr?;
        cnv?;
        if let (Some(s), Some(gradient), [moments]) =
            (&self.logit_scale, gradients.logit_scale, of_scale)
        {
            let step = AdamWStep {
                weight_decay: 0.0,
                ..step
            };
            step.apply(s, &gradient, moments)?;
            s.set(&s.clamp(0.0, math::ln(LARGEST_LOGIT_SCALE))?)?;
        }
        Ok(())
    }

    fn weights(&self) -> TrainResult<Vec<NamedArray>> {
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

    fn restore(&mut self, weights: &[NamedArray]) -> TrainResult<()> {
        let find = by_name(weights);
        self.expr.restore(&find)?;
        self.cnv.restore(&find)?;
        if let (Some(s), Some(&[value])) = (&self.logit_scale, find(LOGIT_SCALE)) {
            s.set(&Tensor::new(value, s.device())?.to_dtype(s.dtype())?)?;
        }
        Ok(())
    }
}

impl Objective for Clcc<'_> {
    type Terms = Terms;
    type Epoch = Epoch;
    const CLIP_PARAM: &'static str = "clip_norm";

    fn train_cells(&self) -> &[usize] {
        &self.data.train
    }

    fn loss(&mut self, anchors: &[u32], at: BatchIndex) -> TrainResult<Loss<Terms>> {
        let p = self.params;
        let drawing = Drawing {
            n_negatives: if p.lambda > 0.0 { p.n_negatives } else { 0 },
            scope: p.bn_scope,
            seed: self.seed,
            epoch: at.epoch,
        };
        let cells = StepCells::new(anchors, &self.data.negatives, drawing);
        let passes = self.encode(&cells, at)?;
        let clusters = self.clusters(anchors);
        if self.is_on_cpu() {
            self.fused_loss(&passes, cells, clusters)
        } else {
            self.composed_loss(&passes, &cells, clusters.as_deref())
        }
    }

    /// InfoNCE of the validation batches, averaged over cells.
    fn validation_loss(&self) -> TrainResult<Option<f64>> {
        let (mut sum, mut n) = (0.0, 0.0);
        for cells in &self.validation {
            let e = self.expr.forward_eval(&self.data.expr.batch(cells)?)?;
            let c = self.cnv.forward_eval(&self.data.cnv.batch(cells)?)?;
            let clusters = self.clusters(cells);
            let loss = scalar(&nce(&e, &c, self.temperature(), clusters.as_deref())?)?;
            sum += loss * cells.len() as f64;
            n += cells.len() as f64;
        }
        Ok(Some(sum / n))
    }

    fn epoch(&self, sums: &Sums<Terms>) -> TrainResult<Epoch> {
        Ok(Epoch {
            nce: sums.terms.nce / sums.cells,
            margin: sums.terms.margin / sums.cells,
            temperature: self.temperature_now()?,
        })
    }
}

/// The embeddings of all passes, one below the other.
fn joined(passes: &[(Tensor, Tensor)]) -> candle_core::Result<(Tensor, Tensor)> {
    if let [(e, c)] = passes {
        return Ok((e.clone(), c.clone()));
    }
    let (e, c): (Vec<_>, Vec<_>) = passes.iter().map(|(e, c)| (e, c)).unzip();
    Ok((Tensor::cat(&e, 0)?, Tensor::cat(&c, 0)?))
}

/// Runs both, at once where that is the CPU's work.
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
