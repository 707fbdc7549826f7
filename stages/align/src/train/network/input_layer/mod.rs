//! The first linear layer over sparse, z-scored cells: never a dense matrix of cells by features.
//!
//! With `z = x / sd - mean / sd`, sparse `y = x / sd` and `m = mean / sd`:
//! `Z W^T + b = Y W^T + (b - W m)`, and `dW = dOut^T Y - (sum over rows of dOut) m^T`.
//! There is no gradient for the inputs, which are data.
//!
//! The weight's gradient is never laid out whole: a pass leaves `dOut` ([`Pending`]), and
//! [`InputLayerStep`] works out the gradient of some features at a time and hands it to AdamW while
//! it is still in the cache.
//!
//! The weight is held in panels of [`LANES`] outputs: `panels x features x LANES`, the last panel
//! filled up with zeros, which stay zeros. A non-zero then touches one contiguous piece of it in
//! both directions, the outputs of a panel (or their gradients) stay in L2, and the optimiser
//! streams through memory. The batch's entries are gathered once a step and direction, and the
//! features that most cells have are dense ([`batch`](self)).
//!
//! Each output element sums the dense features, then the others, in their order; each gradient its rows
//! in the order in which they were gathered, or the batch's where it is dense, whatever the number of threads.

mod batch;
mod kernels;

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use self::batch::{BLOCK, ByFeature, PART_ROWS};
use self::kernels::{AddGradient, AddRows, AddShift};
use super::matmul::{product, view};
use super::real::{Real, hold, tensor, with_real};
use crate::train::optimizer::{AdamMoments, AdamWStep};

pub(in crate::train) use self::batch::{SparseBatch, SparseInput, common_features};

/// Outputs of one panel, held in registers together.
pub(in crate::train) const LANES: usize = 64;
/// Blocks of features that one task of the optimiser takes; decides nothing else.
const BLOCKS_PER_TASK: usize = 16;

/// Number of panels of a layer's outputs.
pub(in crate::train) fn panels(width: usize) -> usize {
    width.div_ceil(LANES)
}

/// Place in the held weight of the weight from `feature` to `unit`.
pub(in crate::train) fn place(features: usize, feature: usize, unit: usize) -> usize {
    (unit / LANES * features + feature) * LANES + unit % LANES
}

/// Rows of [`LANES`] values.
fn lanes<T>(values: &[T]) -> &[[T; LANES]] {
    values.as_chunks().0
}

fn lanes_mut<T>(values: &mut [T]) -> &mut [[T; LANES]] {
    values.as_chunks_mut().0
}

/// Room that lets rows of [`LANES`] values start at a cache line: a vector across two lines costs two
/// loads, a third of the kernels' time.
const SPARE: usize = 16;

/// Zeros for so many rows, with the room.
fn spacious<T: Real>(rows: usize) -> Vec<T> {
    vec![T::zero(); rows * LANES + SPARE]
}

/// The first value at a cache line.
fn at_line<T>(values: &[T]) -> usize {
    values.as_ptr().align_offset(64).min(SPARE)
}

/// Rows of [`LANES`] values at cache lines, of what [`spacious`] made.
fn aligned<T>(values: &[T]) -> &[[T; LANES]] {
    let first = at_line(values);
    lanes(&values[first..values.len() - SPARE + first])
}

fn aligned_mut<T>(values: &mut [T]) -> &mut [[T; LANES]] {
    let (first, n) = (at_line(values), values.len() - SPARE);
    lanes_mut(&mut values[first..first + n])
}

impl SparseBatch {
    /// `Z weight + bias`: `rows x width` from a weight of `panels x features x LANES` and a bias of
    /// `width`, outside any graph.
    ///
    /// # Errors
    /// candle's, where the shapes do not fit.
    pub(in crate::train) fn linear(&self, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (n_panels, features, lanes) = weight.dims3()?;
        let width = bias.dims1()?;
        if (n_panels, features, lanes) != (panels(width), self.input.n_features(), LANES) {
            bail!(
                "a weight of {:?} and a bias of {:?} for {} features",
                weight.shape(),
                bias.shape(),
                self.input.n_features()
            );
        }
        let (w, b) = (hold(weight), hold(bias));
        with_real!(weight.dtype(), T => {
            tensor(forward(self, w.get::<T>()?, b.get::<T>()?), (self.n_rows(), width))
        })
    }
}

/// What the weight's gradient is made of: a batch by features, and the gradient of its outputs panel by
/// panel.
#[derive(Debug)]
pub(in crate::train) struct Pending {
    batch: SparseBatch,
    by_feature: Vec<ByFeature>,
    /// `panels x rows x LANES`, each panel [`spacious`].
    grads: Tensor,
    /// Their sums over the rows, `panels x LANES`.
    sums: Tensor,
    /// The gradient of the dense features, `n_dense x width`; `None` where there are none.
    dense: Option<Tensor>,
}

impl Pending {
    /// From the gradient of the outputs, `rows x width`; and its sum over the rows, the bias's.
    ///
    /// # Errors
    /// candle's.
    pub(in crate::train) fn new<T: Real>(
        batch: SparseBatch,
        grad: &[T],
        width: usize,
    ) -> Result<(Self, Tensor)> {
        let (n_panels, rows) = (panels(width), batch.n_rows());
        let room = rows * LANES + SPARE;
        let mut grads = vec![T::zero(); n_panels * room];
        let mut sums = vec![T::zero(); n_panels * LANES];
        grads
            .par_chunks_mut(room)
            .zip(sums.par_chunks_mut(LANES))
            .with_max_len(1)
            .enumerate()
            .for_each(|(panel, (to, sums))| {
                let n = LANES.min(width - panel * LANES);
                let mut sum = [0f64; LANES];
                for (to, from) in aligned_mut(to).iter_mut().zip(grad.chunks_exact(width)) {
                    let from = &from[panel * LANES..][..n];
                    to[..n].copy_from_slice(from);
                    sum.iter_mut().zip(from).for_each(|(s, g)| *s += g.to_f64());
                }
                sums.iter_mut()
                    .zip(sum)
                    .for_each(|(s, v)| *s = T::from_f64(v));
            });
        let bias = tensor(sums[..width].to_vec(), width)?;
        let n_dense = batch.input.dense().features.len();
        let dense = if n_dense > 0 {
            let values = T::from_stored(&batch.dense);
            let gradient = product(view(&values, n_dense).t(), view(grad, width));
            Some(tensor(gradient, (n_dense, width))?)
        } else {
            None
        };
        let pending = Self {
            by_feature: batch.by_feature(),
            batch,
            grads: tensor(grads, (n_panels, room))?,
            sums: tensor(sums, (n_panels, LANES))?,
            dense,
        };
        Ok((pending, bias))
    }
}

/// A [`Pending`] with its values at hand.
struct GradPanels<'a, T> {
    pending: &'a Pending,
    grads: &'a [T],
    sums: &'a [T],
    /// Empty where no feature is dense.
    dense: &'a [T],
}

/// Calls `$body` with `$grads`, the values of `$pending`.
macro_rules! with_panels {
    ($pending:expr, $t:ty, $grads:ident => $body:expr) => {{
        let held: Vec<_> = $pending
            .iter()
            .map(|p| (p, hold(&p.grads), hold(&p.sums), p.dense.as_ref().map(hold)))
            .collect();
        let $grads: Vec<GradPanels<'_, $t>> = held
            .iter()
            .map(|(pending, grads, sums, dense)| {
                Ok(GradPanels {
                    pending,
                    grads: grads.get()?,
                    sums: sums.get()?,
                    dense: dense.as_ref().map_or(Ok(&[][..]), |d| d.get())?,
                })
            })
            .collect::<Result<_>>()?;
        $body
    }};
}

/// AdamW on the weight, features by features, with the gradient of `pending`.
pub(in crate::train) struct InputLayerStep<'a> {
    pub(in crate::train) pending: Vec<Pending>,
    pub(in crate::train) moments: Mutex<&'a mut AdamMoments>,
    pub(in crate::train) adam: AdamWStep,
}

impl InplaceOp1 for InputLayerStep<'_> {
    fn name(&self) -> &'static str {
        "sparse-input-step"
    }

    fn cpu_fwd(&self, w: &mut CpuStorage, l: &Layout) -> Result<()> {
        let (_, features, _) = l.shape().dims3()?;
        let Some((start, end)) = l.contiguous_offsets() else {
            bail!("expected a contiguous weight")
        };
        let mut moments = self.moments.lock().expect("no update panicked");
        moments.fit(end - start)?;
        match w {
            CpuStorage::F32(w) => self.update(&mut w[start..end], features, &mut moments),
            CpuStorage::F64(w) => self.update(&mut w[start..end], features, &mut moments),
            _ => bail!("expected an f32 or f64 weight"),
        }
    }
}

impl InputLayerStep<'_> {
    fn update<T: Real>(
        &self,
        weight: &mut [T],
        features: usize,
        moments: &mut AdamMoments,
    ) -> Result<()> {
        let (panel, task) = (features * LANES, BLOCKS_PER_TASK * BLOCK * LANES);
        let panels = weight
            .chunks_mut(panel)
            .zip(moments.m.chunks_mut(panel))
            .zip(moments.v.chunks_mut(panel));
        let tasks: Vec<_> = panels
            .enumerate()
            .flat_map(|(panel, ((weight, m), v))| {
                weight
                    .chunks_mut(task)
                    .zip(m.chunks_mut(task))
                    .zip(v.chunks_mut(task))
                    .enumerate()
                    .map(move |(task, ((weight, m), v))| (panel, task, weight, m, v))
            })
            .collect();
        with_panels!(self.pending, T, grads => {
            tasks.into_par_iter().with_max_len(1).for_each(|(panel, task, weight, m, v)| {
                let mut gradient = spacious::<T>(BLOCK);
                let gradient = aligned_mut(&mut gradient).as_flattened_mut();
                let parts = weight
                    .chunks_mut(BLOCK * LANES)
                    .zip(m.chunks_mut(BLOCK * LANES))
                    .zip(v.chunks_mut(BLOCK * LANES));
                for (at, ((weight, m), v)) in parts.enumerate() {
                    let gradient = &mut gradient[..weight.len()];
                    block_gradient(&grads, panel, task * BLOCKS_PER_TASK + at, gradient);
                    self.adam.update(weight, gradient, m, v);
                }
            });
            Ok(())
        })
    }
}

/// The sum of squares of the weight's gradient, for clipping by the norm.
///
/// # Errors
/// candle's.
pub(in crate::train) fn gradient_square_sum(pending: &[Pending]) -> Result<f64> {
    match pending.first() {
        None => Ok(0.0),
        Some(first) => with_real!(first.grads.dtype(), T => square_sum::<T>(pending)),
    }
}

fn square_sum<T: Real>(pending: &[Pending]) -> Result<f64> {
    let input = &pending[0].batch.input;
    let (n_panels, n_blocks) = (pending[0].sums.dim(0)?, input.n_blocks());
    with_panels!(pending, T, grads => {
        let parts: Vec<f64> = (0..n_panels * n_blocks)
            .into_par_iter()
            .map(|at| {
                let (panel, block) = (at / n_blocks, at % n_blocks);
                let mut gradient = spacious::<T>(BLOCK);
                let gradient = aligned_mut(&mut gradient).as_flattened_mut();
                let n = BLOCK.min(input.n_features() - block * BLOCK) * LANES;
                block_gradient(&grads, panel, block, &mut gradient[..n]);
                gradient[..n].iter().map(|g| g.to_f64() * g.to_f64()).sum()
            })
            .collect();
        Ok(parts.iter().sum())
    })
}

/// The whole gradient, in the weight's layout.
///
/// # Errors
/// candle's.
#[cfg(test)]
pub(in crate::train) fn whole_gradient(pending: &[Pending]) -> Result<Tensor> {
    with_real!(pending[0].grads.dtype(), T => whole_gradient_as::<T>(pending))
}

#[cfg(test)]
fn whole_gradient_as<T: Real>(pending: &[Pending]) -> Result<Tensor> {
    let first = &pending[0];
    let (n_panels, features) = (first.sums.dim(0)?, first.batch.input.n_features());
    with_panels!(pending, T, grads => {
        let mut out = vec![T::zero(); n_panels * features * LANES];
        for (panel, out) in out.chunks_mut(features * LANES).enumerate() {
            for (block, out) in out.chunks_mut(BLOCK * LANES).enumerate() {
                block_gradient(&grads, panel, block, out);
            }
        }
        tensor(out, (n_panels, features, LANES))
    })
}

/// The product of the dense features with their weights, `rows x width`.
fn dense_part<T: Real>(batch: &SparseBatch, weight: &[T], width: usize) -> Vec<T> {
    let (features, dense) = (batch.input.n_features(), batch.input.dense());
    if dense.features.is_empty() {
        return vec![T::zero(); batch.n_rows() * width];
    }
    let weight = lanes(weight);
    let mut rows = vec![T::zero(); dense.features.len() * width];
    for (row, &f) in rows.chunks_exact_mut(width).zip(&*dense.features) {
        for (panel, to) in row.chunks_mut(LANES).enumerate() {
            to.copy_from_slice(&weight[panel * features + f as usize][..to.len()]);
        }
    }
    let values = T::from_stored(&batch.dense);
    product(view(&values, dense.features.len()), view(&rows, width))
}

/// `Y weight + (bias - W m)`.
fn forward<T: Real>(batch: &SparseBatch, weight: &[T], bias: &[T]) -> Vec<T> {
    let width = bias.len();
    let (n_panels, n_parts) = (panels(width), batch.parts.len());
    // A task takes a panel and some parts of the rows. How many follows the threads there are: an
    // output is the same whoever computes it.
    let runs = rayon::current_num_threads().div_ceil(n_panels);
    let run = n_parts.div_ceil(runs).max(1);
    let tasks: Vec<(usize, usize)> = (0..n_panels)
        .flat_map(|panel| (0..n_parts).step_by(run).map(move |first| (panel, first)))
        .collect();
    let pieces: Vec<Vec<T>> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|&(panel, first)| {
            let parts = first..n_parts.min(first + run);
            forward_panel(batch, weight, bias, panel, parts)
        })
        .collect();
    let runs = n_parts.div_ceil(run);
    let mut out = dense_part(batch, weight, width);
    out.par_chunks_mut(PART_ROWS * width)
        .enumerate()
        .for_each(|(part, out)| {
            for panel in 0..n_panels {
                let piece = &pieces[panel * runs + part / run];
                let piece = &aligned(piece)[part % run * PART_ROWS..];
                for (out, row) in out.chunks_exact_mut(width).zip(piece) {
                    let out = &mut out[panel * LANES..];
                    out.iter_mut().zip(row).for_each(|(o, &v)| *o += v);
                }
            }
        });
    out
}

/// The outputs of one panel for some parts of the rows, `rows x LANES`, [`spacious`].
fn forward_panel<T: Real>(
    batch: &SparseBatch,
    weight: &[T],
    bias: &[T],
    panel: usize,
    parts: std::ops::Range<usize>,
) -> Vec<T> {
    let arch = clcc_numerics::math::vectors();
    let features = batch.input.n_features();
    let rows = parts.start * PART_ROWS..batch.n_rows().min(parts.end * PART_ROWS);
    let parts = &batch.parts[parts];
    let mut spacious_out = spacious::<T>(rows.len());
    let out = aligned_mut(&mut spacious_out);
    let mut table = spacious::<T>(BLOCK);
    let table = aligned_mut(&mut table);
    let mut shift = [0f64; LANES];
    let weight = &lanes(weight)[panel * features..][..features];
    for (block, weight) in weight.chunks(BLOCK).enumerate() {
        let table = &mut table[..weight.len()];
        table.copy_from_slice(weight);
        arch.dispatch(AddShift {
            sums: &mut shift,
            shift: &batch.input.shift()[block * BLOCK..],
            table,
        });
        for (out, part) in out.chunks_mut(PART_ROWS).zip(parts) {
            arch.dispatch(AddRows {
                out,
                entries: &part[block],
                table,
            });
        }
    }
    let base: Vec<T> = bias[panel * LANES..]
        .iter()
        .zip(shift)
        .map(|(b, s)| T::from_f64(b.to_f64() - s))
        .collect();
    for row in out {
        row.iter_mut().zip(&base).for_each(|(o, &b)| *o += b);
    }
    spacious_out
}

/// `Y^T grad - m (column sums of grad)` for one panel and one block of features, over all batches.
fn block_gradient<T: Real>(grads: &[GradPanels<'_, T>], panel: usize, block: usize, out: &mut [T]) {
    out.fill(T::zero());
    let out = lanes_mut(out);
    let arch = clcc_numerics::math::vectors();
    for GradPanels {
        pending,
        grads,
        sums,
        dense,
    } in grads
    {
        let input = &pending.batch.input;
        let room = pending.batch.n_rows() * LANES + SPARE;
        arch.dispatch(AddGradient {
            out,
            entries: &pending.by_feature[block],
            grads: aligned(&grads[panel * room..][..room]),
            sums: &lanes(sums)[panel],
            shift: &input.shift()[block * BLOCK..],
        });
        let features = &input.dense().features;
        let width = dense.len() / features.len().max(1);
        for at in input.dense().of_block(block) {
            let out = &mut out[features[at] as usize % BLOCK];
            let from = &dense[at * width..][..width][panel * LANES..];
            out.iter_mut().zip(from).for_each(|(o, &g)| *o += g);
        }
    }
}

#[cfg(test)]
pub(in crate::train) mod tests;
