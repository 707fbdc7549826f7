//! Method B as an [`Objective`]: an expression encoder and its head against fixed anchors.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::bank::{Bank, FrozenMap};
use super::data::AnchorData;
use super::head::Head;
use super::loss::{mean_square_distance, top_k_nce};
use super::params::CentroidSpace;
use crate::train::batches::epoch_batches;
use crate::train::error::TrainResult;
use crate::train::fit::{Fit, Recipe, Sums};
use crate::train::network::encoder::{Encoder, Gradients, NamedArray, Pass, by_name};
use crate::train::network::matmul::matmul_nt;
use crate::train::network::scalar;
use crate::train::objective::{self, BatchIndex, Loss, Model, Objective};
use crate::train::optimizer::{AdamMoments, AdamWStep, OptimizerSettings, WeightDecay};
use crate::train::params::TrainParams;
use crate::train::schedule::Schedule;
use clcc_data::error::StageError;

/// Cells embedded together in eval mode.
const BLOCK: usize = 1024;
/// The centroids' name among the state of a checkpoint.
const CENTROIDS: &str = "centroids";

/// The expression encoder with its head, and what they are drawn to.
#[derive(Debug)]
pub(super) struct AnchorObjective<'a> {
    pub(super) data: &'a AnchorData,
    pub(super) params: &'a TrainParams,
    seed: u64,
    pub(super) expr: Encoder,
    pub(super) head: Head,
    pub(super) frozen: FrozenMap,
    pub(super) bank: Bank,
    /// Centroids of the current epoch (`n_anchors x` width of their space); none in the first.
    pub(super) centroids: Option<NamedArray>,
    device: Device,
}

/// The terms of the loss, unweighted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) nce: f64,
    /// `None` in the first epoch, and without the term.
    pub(super) centroid: Option<f64>,
    pub(super) h: f64,
}

impl objective::Terms for Terms {
    fn add(&mut self, batch: &Self, n_cells: f64) {
        self.nce += n_cells * batch.nce;
        self.h += n_cells * batch.h;
        if let Some(centroid) = batch.centroid {
            *self.centroid.get_or_insert(0.0) += n_cells * centroid;
        }
    }
}

/// Gradients of the encoder and of the head.
#[derive(Debug)]
pub(super) struct AnchorGradients {
    expr: Gradients,
    head: Vec<Tensor>,
}

/// Rows of `h` and `z` of some cells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Embedded {
    /// `cells x h_dim`.
    pub(super) h: Array2<f32>,
    /// `cells x z_dim`, unit rows.
    pub(super) z: Array2<f32>,
}

/// A run of method B at its start, with fresh weights.
///
/// # Errors
/// As [`AnchorObjective::new`].
pub(super) fn new_fit<'a>(
    data: &'a AnchorData,
    params: &'a TrainParams,
    seed: u64,
    dtype: DType,
    device: &Device,
) -> TrainResult<Fit<AnchorObjective<'a>>> {
    let recipe = Recipe {
        seed,
        epochs: params.epochs,
        batch_size: params.anchors.batch_size,
        schedule: Schedule::Constant {
            rate: params.learning_rate,
        },
        optimizer: OptimizerSettings {
            decay: WeightDecay::L2(params.weight_decay),
            clip_norm: params.anchors.clip_norm,
            reports_norm: true,
        },
        early_stopping: None,
    };
    let objective = AnchorObjective::new(data, params, seed, dtype, device)?;
    Ok(Fit::new(objective, recipe))
}

impl<'a> AnchorObjective<'a> {
    /// Draws fresh weights, and places the anchors.
    ///
    /// # Errors
    /// [`StageError::Data`] where fewer than two training cells have an anchor.
    fn new(
        data: &'a AnchorData,
        params: &'a TrainParams,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> TrainResult<Self> {
        let p = &params.anchors;
        if epoch_batches(&data.train, p.batch_size, seed, 0).is_empty() {
            return Err(StageError::data(format!(
                "training needs at least 2 cells with an anchor, found {}",
                data.train.len()
            ))
            .into());
        }
        let (genes, hidden) = (data.expr.n_features(), &params.expr_hidden);
        let widths = [p.h_dim, p.head_hidden, p.z_dim];
        let mut frozen = FrozenMap::new(data.states.n_features(), params, seed, dtype)?;
        let bank = frozen.bank(&data.states, data.n_anchors, device)?;
        Ok(Self {
            data,
            params,
            seed,
            expr: Encoder::new("expr", genes, hidden, p.h_dim, seed, dtype, device)?,
            head: Head::new("expr", widths, seed, dtype, device)?,
            frozen,
            bank,
            centroids: None,
            device: device.clone(),
        })
    }

    /// Whether the loss has a centroid term from the second epoch on.
    fn has_centroid_term(&self) -> bool {
        self.params.anchors.centroid_weight > 0.0
    }

    /// The mean of each anchor's training cells in eval mode (in `z` brought to unit length), `n_anchors x`
    /// width of the space; zeros for an anchor without any, which no training cell points to.
    fn centroids(&self) -> TrainResult<NamedArray> {
        let cells: Vec<u32> = self.data.train.iter().map(|&c| c as u32).collect();
        let embedded = self.embed(&cells)?;
        let space = self.params.anchors.centroid_space;
        let rows = match space {
            CentroidSpace::Z => embedded.z,
            CentroidSpace::H => embedded.h,
        };
        let own = self.own(&cells);
        let mut sums = Array2::<f64>::zeros((self.data.n_anchors, rows.ncols()));
        let mut counts = vec![0f64; self.data.n_anchors];
        for (row, &anchor) in rows.rows().into_iter().zip(&own) {
            counts[anchor as usize] += 1.0;
            let mut sum = sums.row_mut(anchor as usize);
            sum.zip_mut_with(&row, |s, v| *s += f64::from(*v));
        }
        for (mut sum, count) in sums.rows_mut().into_iter().zip(counts) {
            let scale = match space {
                CentroidSpace::Z => sum.dot(&sum).sqrt(),
                CentroidSpace::H => count,
            };
            if scale > 0.0 {
                sum /= scale;
            }
        }
        Ok(NamedArray {
            name: CENTROIDS.to_string(),
            shape: vec![sums.nrows(), sums.ncols()],
            values: sums.iter().map(|&v| v as f32).collect(),
        })
    }

    /// The anchor of each of these cells, which all have one.
    fn own(&self, cells: &[u32]) -> Vec<u32> {
        let anchor =
            |&c: &u32| self.data.of[c as usize].expect("the loop sees cells with an anchor");
        cells.iter().map(anchor).collect()
    }

    /// Embeds cells in eval mode.
    ///
    /// # Errors
    /// [`StageError::Data`] where an embedding is not a number.
    pub(super) fn embed(&self, cells: &[u32]) -> TrainResult<Embedded> {
        let p = &self.params.anchors;
        let (mut h, mut z) = (Vec::new(), Vec::new());
        for block in cells.chunks(BLOCK) {
            let rows = self.expr.hidden_eval(&self.data.expr.batch(block)?)?;
            let unit = self.head.forward_eval(&rows)?;
            let host = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
            h.extend(host(&rows)?);
            z.extend(host(&unit)?);
        }
        if let Some(at) = h.iter().position(|v| !v.is_finite()) {
            return Err(StageError::data(format!(
                "the embedding of cell number {} is not a number",
                cells[at / p.h_dim]
            ))
            .into());
        }
        let array = |values, width| {
            Array2::from_shape_vec((cells.len(), width), values).expect("one row a cell")
        };
        Ok(Embedded {
            h: array(h, p.h_dim),
            z: array(z, p.z_dim),
        })
    }
}

impl Model for AnchorObjective<'_> {
    type Gradients = AnchorGradients;

    /// Arrays of the encoder, then of the head.
    fn n_arrays(&self) -> usize {
        self.expr.parameters().len() + self.head.parameters().len()
    }

    fn gradients(&mut self, all: &GradStore) -> TrainResult<AnchorGradients> {
        Ok(AnchorGradients {
            expr: self.expr.take_gradients(all)?,
            head: self.head.gradients(all)?,
        })
    }

    fn square_sum(gradients: &AnchorGradients) -> TrainResult<f64> {
        Ok(gradients.expr.square_sum()? + Head::square_sum(&gradients.head)?)
    }

    fn update(
        &mut self,
        gradients: AnchorGradients,
        moments: &mut [AdamMoments],
        step: AdamWStep,
    ) -> TrainResult<()> {
        let (of_expr, of_head) = moments.split_at_mut(self.expr.parameters().len());
        self.expr.update(gradients.expr, of_expr, step)?;
        Ok(self.head.update(&gradients.head, of_head, step)?)
    }

    fn weights(&self) -> TrainResult<Vec<NamedArray>> {
        let mut all = self.expr.snapshot()?;
        all.extend(self.head.snapshot()?);
        Ok(all)
    }

    fn restore(&mut self, weights: &[NamedArray]) -> TrainResult<()> {
        let find = by_name(weights);
        self.expr.restore(&find)?;
        Ok(self.head.restore(&find)?)
    }
}

impl Objective for AnchorObjective<'_> {
    type Terms = Terms;
    /// Means over the epoch's cells.
    type Epoch = Terms;
    const CLIP_PARAM: &'static str = "anchors.clip_norm";

    fn train_cells(&self) -> &[usize] {
        &self.data.train
    }

    /// Recomputes the bank, and the centroids without a gradient. The first epoch has none: those of
    /// an untrained encoder carry no information.
    fn begin_epoch(&mut self, epoch: usize) -> TrainResult<()> {
        self.bank = self
            .frozen
            .bank(&self.data.states, self.data.n_anchors, &self.device)?;
        self.centroids = if epoch > 0 && self.has_centroid_term() {
            Some(self.centroids()?)
        } else {
            None
        };
        Ok(())
    }

    fn loss(&mut self, cells: &[u32], at: BatchIndex) -> TrainResult<Loss<Terms>> {
        let p = &self.params.anchors;
        let pass = Pass {
            seed: self.seed,
            dropout: 0.0,
            epoch: at.epoch,
            batch: at.batch,
            part: 0,
        };
        let own = self.own(cells);
        self.expr.forget_passes();
        let h = self
            .expr
            .hidden_train(&self.data.expr.batch(cells)?, pass)?;
        let z = self.head.forward(&h)?;
        let index = Tensor::new(own.as_slice(), &self.device)?;
        let logits = (matmul_nt(&z, &self.bank.z)? * (1.0 / p.temperature))?;
        let nce = top_k_nce(&logits, &own, p.top_k)?;
        let of_h = mean_square_distance(&h, &self.bank.h.index_select(&index, 0)?)?;
        let mut total = (&nce + (&of_h * p.h_weight)?)?;
        let mut centroid = None;
        if let Some(c) = &self.centroids {
            let all = Tensor::from_slice(&c.values, c.shape.as_slice(), &self.device)?;
            let to = all.to_dtype(h.dtype())?.index_select(&index, 0)?;
            let term = match p.centroid_space {
                CentroidSpace::Z => mean_square_distance(&z, &to)?,
                CentroidSpace::H => mean_square_distance(&h, &to)?,
            };
            total = (total + (&term * p.centroid_weight)?)?;
            centroid = Some(scalar(&term)?);
        }
        let terms = Terms {
            nce: scalar(&nce)?,
            centroid,
            h: scalar(&of_h)?,
        };
        Ok(Loss {
            total,
            known: None,
            terms,
            cells_encoded: cells.len(),
        })
    }

    /// InfoNCE of the validation cells, averaged over them.
    fn validation_loss(&self) -> TrainResult<Option<f64>> {
        let p = &self.params.anchors;
        let cells: Vec<u32> = self.data.val.iter().map(|&c| c as u32).collect();
        let mut sum = 0.0;
        for block in cells.chunks(BLOCK) {
            let h = self.expr.hidden_eval(&self.data.expr.batch(block)?)?;
            let z = self.head.forward_eval(&h)?;
            let logits = (matmul_nt(&z, &self.bank.z)? * (1.0 / p.temperature))?;
            let nce = scalar(&top_k_nce(&logits, &self.own(block), p.top_k)?)?;
            sum += nce * block.len() as f64;
        }
        Ok((!cells.is_empty()).then(|| sum / cells.len() as f64))
    }

    /// The second, where the first has no centroid term.
    fn first_whole_epoch(&self) -> usize {
        usize::from(self.has_centroid_term())
    }

    fn epoch(&self, sums: &Sums<Terms>) -> TrainResult<Terms> {
        let Terms { nce, centroid, h } = sums.terms;
        Ok(Terms {
            nce: nce / sums.cells,
            centroid: centroid.map(|c| c / sums.cells),
            h: h / sums.cells,
        })
    }

    /// The centroids, and the running statistics of the frozen map, which each epoch moves.
    fn state(&self) -> Vec<NamedArray> {
        let mut state = self.frozen.running_statistics();
        state.extend(self.centroids.clone());
        state
    }

    fn restore_state(&mut self, state: Vec<NamedArray>) -> TrainResult<()> {
        self.frozen.restore_running_statistics(&state)?;
        self.centroids = state.into_iter().find(|a| a.name == CENTROIDS);
        Ok(())
    }
}
