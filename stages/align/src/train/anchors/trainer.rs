//! The loop of method B: bank and centroids, batches, step, checkpoint.

use crate::train::error::TrainResult;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::bank::{Bank, FrozenMap};
use super::data::AnchorData;
use super::head::Head;
use super::loss::{mean_square_distance, top_k_nce};
use super::params::CentroidSpace;
use crate::train::adamw::{AdamMoments, AdamWStep};
use crate::train::batches::epoch_batches;
use crate::train::checkpoint::{self, State};
use crate::train::encoder::{Encoder, NamedArray, Pass};
use crate::train::matmul::matmul_nt;
use crate::train::params::TrainParams;
use crate::train::trainer::{CHECKPOINT_STEPS, last_checkpoint};
use clcc_data::error::{StageError, StageResult};

/// Cells embedded together in eval mode.
const BLOCK: usize = 1024;
/// The centroids' name in a checkpoint.
const CENTROIDS: &str = "centroids";

/// One epoch of `history.tsv`. Training terms are means over the epoch's cells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochRecord {
    pub(super) train_loss: f64,
    pub(super) nce: f64,
    /// None in the first epoch, and without the term.
    pub(super) centroid: Option<f64>,
    pub(super) h: f64,
    /// Mean length of the gradient before clipping.
    pub(super) gradient: f64,
    /// NCE of the validation cells in eval mode; none without such cells.
    pub(super) val_loss: Option<f64>,
}

/// Sums over the cells of the epoch so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Sums {
    cells: f64,
    steps: f64,
    total: f64,
    nce: f64,
    centroid: f64,
    h: f64,
    pub(super) gradient: f64,
}

/// Where the run stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Epochs done.
    pub(super) epoch: usize,
    /// Batches done in the current epoch.
    pub(super) batch: usize,
    /// Optimiser steps done.
    pub(super) step: u64,
    pub(super) sums: Sums,
    pub(super) history: Vec<EpochRecord>,
}

/// The terms of one step, with their graph.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) total: Tensor,
    pub(super) nce: Tensor,
    pub(super) centroid: Option<Tensor>,
    pub(super) h: Tensor,
}

/// Rows of `h` and `z` of some cells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Embedded {
    pub(super) h: Array2<f32>,
    pub(super) z: Array2<f32>,
}

/// The expression encoder with its head, the frozen map, the optimiser and the cursor.
#[derive(Debug)]
pub(super) struct AnchorTrainer<'a> {
    pub(super) data: &'a AnchorData,
    pub(super) params: &'a TrainParams,
    pub(super) seed: u64,
    pub(super) expr: Encoder,
    pub(super) head: Head,
    pub(super) frozen: FrozenMap,
    pub(super) bank: Bank,
    /// Of the encoder's parameters, then of the head's.
    pub(super) moments: Vec<AdamMoments>,
    pub(super) cursor: Cursor,
    /// Centroids of the current epoch (`n_anchors x` width of their space); none in the first.
    pub(super) centroids: Option<NamedArray>,
    /// Steps between two checkpoints.
    pub(super) checkpoint_steps: u64,
    /// Step of the last checkpoint, and where it lies.
    pub(super) saved: (u64, Option<PathBuf>),
    device: Device,
}

/// What the loop asks and tells while it runs.
pub(super) trait Watch {
    /// Whether to stop now.
    fn cancelled(&self) -> bool;
    /// After each step.
    fn step(&self, trainer: &AnchorTrainer<'_>, batches: usize, loss: f64);
    /// Every [`CHECKPOINT_STEPS`] steps, and before stopping on request; says where it was written.
    fn checkpoint(&self, state: &State<'_, Cursor>) -> StageResult<Option<PathBuf>>;
}

impl<'a> AnchorTrainer<'a> {
    /// Fresh weights.
    ///
    /// # Errors
    /// [`StageError::Data`] where fewer than two training cells have an anchor.
    pub(super) fn new(
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
        let expr = Encoder::new("expr", genes, hidden, p.h_dim, seed, dtype, device)?;
        let widths = [p.h_dim, p.head_hidden, p.z_dim];
        let head = Head::new("expr", widths, seed, dtype, device)?;
        let mut frozen = FrozenMap::new(data.states.n_features(), params, seed, dtype)?;
        let bank = frozen.bank(&data.states, data.n_anchors, device)?;
        let n = expr.parameters().len() + head.parameters().len();
        Ok(Self {
            data,
            params,
            seed,
            expr,
            head,
            frozen,
            bank,
            moments: vec![AdamMoments::default(); n],
            cursor: Cursor::default(),
            centroids: None,
            checkpoint_steps: CHECKPOINT_STEPS,
            saved: (0, None),
            device: device.clone(),
        })
    }

    /// Trains for `epochs`.
    ///
    /// # Errors
    /// [`StageError::Cancelled`], with a checkpoint written; [`StageError::Data`] where a loss is no
    /// longer a number.
    pub(super) fn run(&mut self, watch: &dyn Watch) -> TrainResult<()> {
        while self.cursor.epoch < self.params.epochs {
            let batches = epoch_batches(
                &self.data.train,
                self.params.anchors.batch_size,
                self.seed,
                self.cursor.epoch as u64,
            );
            if self.cursor.batch == 0 {
                self.begin_epoch()?;
            }
            while self.cursor.batch < batches.len() {
                if watch.cancelled() {
                    self.save(watch)?;
                    return Err(StageError::Cancelled.into());
                }
                let loss = self.step(&batches[self.cursor.batch])?;
                watch.step(self, batches.len(), loss);
                if self.cursor.step >= self.saved.0 + self.checkpoint_steps {
                    self.save(watch)?;
                }
            }
            self.end_epoch()?;
        }
        Ok(())
    }

    /// Recomputes the bank, and the centroids without a gradient. The first epoch has none: those of
    /// an encoder that knows nothing say nothing.
    fn begin_epoch(&mut self) -> TrainResult<()> {
        self.bank = self
            .frozen
            .bank(&self.data.states, self.data.n_anchors, &self.device)?;
        let wanted = self.cursor.epoch > 0 && self.params.anchors.centroid_weight > 0.0;
        self.centroids = if wanted {
            Some(self.centroids()?)
        } else {
            None
        };
        Ok(())
    }

    /// Mean of each anchor's training cells in eval mode (in `z` brought to unit length); zeros for an
    /// anchor without any, which no training cell points to.
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

    /// The anchors of cells that have one.
    fn own(&self, cells: &[u32]) -> Vec<u32> {
        let anchor =
            |&c: &u32| self.data.of[c as usize].expect("the loop sees cells with an anchor");
        cells.iter().map(anchor).collect()
    }

    /// `h` and unit `z` of cells, as running statistics have them.
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

    /// The terms of the loss of a batch.
    pub(super) fn terms(&mut self, cells: &[u32]) -> TrainResult<Terms> {
        let p = &self.params.anchors;
        let pass = Pass {
            seed: self.seed,
            dropout: 0.0,
            epoch: self.cursor.epoch as u64,
            batch: self.cursor.batch as u64,
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
        let h_term = mean_square_distance(&h, &self.bank.h.index_select(&index, 0)?)?;
        let mut total = (&nce + (&h_term * p.h_weight)?)?;
        let centroid = match &self.centroids {
            None => None,
            Some(c) => {
                let all = Tensor::from_slice(&c.values, c.shape.as_slice(), &self.device)?;
                let to = all.to_dtype(h.dtype())?.index_select(&index, 0)?;
                let term = match p.centroid_space {
                    CentroidSpace::Z => mean_square_distance(&z, &to)?,
                    CentroidSpace::H => mean_square_distance(&h, &to)?,
                };
                total = (total + (&term * p.centroid_weight)?)?;
                Some(term)
            }
        };
        Ok(Terms {
            total,
            nce,
            centroid,
            h: h_term,
        })
    }

    /// One optimiser step on a batch; its loss.
    pub(super) fn step(&mut self, cells: &[u32]) -> TrainResult<f64> {
        let terms = self.terms(cells)?;
        let total = scalar(&terms.total)?;
        if !total.is_finite() {
            return Err(self.diverged(total).into());
        }
        let length = self.update(&terms.total)?;
        let n = cells.len() as f64;
        let sums = &mut self.cursor.sums;
        sums.cells += n;
        sums.steps += 1.0;
        sums.total += n * total;
        sums.nce += n * scalar(&terms.nce)?;
        sums.h += n * scalar(&terms.h)?;
        sums.gradient += length;
        if let Some(term) = &terms.centroid {
            sums.centroid += n * scalar(term)?;
        }
        self.cursor.batch += 1;
        Ok(total)
    }

    /// Adam with L2 on the clipped gradient; its length before.
    fn update(&mut self, total: &Tensor) -> TrainResult<f64> {
        let grads = total.backward()?;
        let expr = self.expr.take_gradients(&grads)?;
        let head = self.head.gradients(&grads)?;
        let length = (expr.square_sum()? + Head::square_sum(&head)?).sqrt();
        self.cursor.step += 1;
        let scale = match self.params.anchors.clip_norm {
            // torch adds the same 1e-6.
            Some(longest) => (longest / (length + 1e-6)).min(1.0),
            None => 1.0,
        };
        let adam = AdamWStep {
            learning_rate: self.params.learning_rate,
            weight_decay: 0.0,
            l2: self.params.weight_decay,
            step: self.cursor.step,
            gradient_scale: scale,
        };
        let n = self.expr.parameters().len();
        let (first, second) = self.moments.split_at_mut(n);
        self.expr.update(expr, first, adam)?;
        self.head.update(&head, second, adam)?;
        Ok(length)
    }

    fn diverged(&self, loss: f64) -> StageError {
        let last = last_checkpoint(&self.saved);
        let (epoch, step) = (self.cursor.epoch + 1, self.cursor.step + 1);
        StageError::data_hint(
            format!("training loss is {loss} in epoch {epoch} (step {step}); {last}"),
            "lower `learning_rate`, or check the input for extreme values",
        )
    }

    fn end_epoch(&mut self) -> TrainResult<()> {
        let sums = std::mem::take(&mut self.cursor.sums);
        let val_loss = self.validation_loss()?;
        self.cursor.history.push(EpochRecord {
            train_loss: sums.total / sums.cells,
            nce: sums.nce / sums.cells,
            centroid: self.centroids.as_ref().map(|_| sums.centroid / sums.cells),
            h: sums.h / sums.cells,
            gradient: sums.gradient / sums.steps,
            val_loss,
        });
        self.cursor.epoch += 1;
        self.cursor.batch = 0;
        Ok(())
    }

    /// NCE of the validation cells in eval mode, averaged over them.
    pub(super) fn validation_loss(&self) -> TrainResult<Option<f64>> {
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

    /// Trained weights and running statistics.
    pub(super) fn snapshot(&self) -> TrainResult<Vec<NamedArray>> {
        let mut all = self.expr.snapshot()?;
        all.extend(self.head.snapshot()?);
        Ok(all)
    }

    /// Takes over a snapshot.
    pub(super) fn restore(&mut self, arrays: &[NamedArray]) -> TrainResult<()> {
        let find = |name: &str| {
            let array = arrays.iter().find(|a| a.name == name);
            array.map(|a| a.values.as_slice())
        };
        self.expr.restore(find)?;
        Ok(self.head.restore(find)?)
    }

    /// Writes a checkpoint, unless the weights are broken.
    fn save(&mut self, watch: &dyn Watch) -> TrainResult<()> {
        let now = self.snapshot()?;
        if now.iter().all(|a| a.values.iter().all(|v| v.is_finite())) {
            let kept: &[NamedArray] = self.centroids.as_slice();
            let state = State {
                cursor: &self.cursor,
                now: &now,
                kept,
                moments: &self.moments,
            };
            self.saved = (self.cursor.step, watch.checkpoint(&state)?);
        }
        Ok(())
    }

    /// Goes on where the checkpoint in `dir` left off; `false` where there is none.
    ///
    /// # Errors
    /// As [`checkpoint::load`].
    pub(super) fn resume(&mut self, dir: &std::path::Path, run: &str) -> TrainResult<bool> {
        let p = &self.params.anchors;
        let width = match p.centroid_space {
            CentroidSpace::Z => p.z_dim,
            CentroidSpace::H => p.h_dim,
        };
        let centroids = NamedArray {
            name: CENTROIDS.to_string(),
            shape: vec![self.data.n_anchors, width],
            values: Vec::new(),
        };
        // Those of an epoch that has begun; an epoch's own are computed where it begins.
        let kept = |cursor: &Cursor| {
            let there = cursor.batch > 0 && cursor.epoch > 0 && p.centroid_weight > 0.0;
            Vec::from_iter(there.then(|| centroids.clone()))
        };
        let now = self.snapshot()?;
        let Some(loaded) = checkpoint::load(dir, run, &now, kept, self.moments.len())? else {
            return Ok(false);
        };
        self.restore(&loaded.now)?;
        self.moments = loaded.moments;
        self.centroids = loaded.kept.into_iter().next();
        self.saved = (loaded.cursor.step, Some(loaded.path));
        self.cursor = loaded.cursor;
        Ok(true)
    }
}

pub(super) fn scalar(t: &Tensor) -> TrainResult<f64> {
    Ok(t.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}
