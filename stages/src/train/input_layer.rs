//! The first linear layer over sparse, z-scored cells: never a dense matrix of cells by features.
//!
//! With `z = x / sd - mean / sd`, sparse `y = x / sd` and `m = mean / sd`:
//! `Z W^T + b = Y W^T + (b - W m)`, and `dW = dOut^T Y - (sum over rows of dOut) m^T`.
//! There is no gradient for the inputs, which are data.
//!
//! In training the weight's gradient is never laid out whole either: the backward pass only keeps
//! `dOut` ([`Pending`]), and [`InputLayerStep`] works out the gradient of some features at a time
//! and hands it to AdamW while it is still in the cache.
//!
//! The weight is held in panels of [`LANES`] outputs: `panels x features x LANES`, the last panel
//! filled up with zeros, which stay zeros. A non-zero then touches one contiguous piece of it in
//! both directions, the outputs of a panel (or their gradients) for a whole batch stay in L2, and
//! the optimiser streams through memory. The batch's entries are gathered once a step into blocks
//! of [`BLOCK`] features ([`Gathered`]), of which one panel's weights (or gradients) stay in L1.
//! What bounds both directions is the traffic between L2 and L1.
//!
//! Each output element sums its terms in the order of the features (or of the rows, for `dW`),
//! whatever the number of threads.

use std::any::TypeId;
use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, InplaceOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::adamw::{AdamMoments, AdamWStep};
use super::real::{Real, dtype, hold, output, tensor, values, with_real};
use crate::matrix::Csr;

/// Outputs of one panel, held in registers together.
pub(super) const LANES: usize = 64;
/// Features whose weights (or gradients) are worked on together: 128 x 64 x 4 bytes are L1's size.
const BLOCK: usize = 128;
/// Blocks of features that one task of the optimiser takes; decides nothing else.
const BLOCKS_PER_TASK: usize = 16;

/// Number of panels of a layer's outputs.
pub(super) fn panels(width: usize) -> usize {
    width.div_ceil(LANES)
}

/// Place in the held weight of the weight from `feature` to `unit`.
pub(super) fn place(features: usize, feature: usize, unit: usize) -> usize {
    (unit / LANES * features + feature) * LANES + unit % LANES
}

/// All cells of one modality, z-scored in two parts.
#[derive(Debug)]
pub(super) struct SparseInput {
    /// `x / sd`, `n_cells x n_features`.
    scaled: Csr,
    /// `mean / sd`, one per feature.
    shift: Vec<f32>,
    /// Entries of each row that lie before each block of features: `n_cells x (n_blocks + 1)`.
    splits: Vec<u32>,
}

impl SparseInput {
    /// From `x / sd` and `mean / sd`.
    pub(super) fn new(scaled: Csr, shift: Vec<f32>) -> Self {
        assert_eq!(scaled.n_cols(), shift.len(), "one shift per feature");
        let n_blocks = scaled.n_cols().div_ceil(BLOCK);
        let mut splits = vec![0u32; scaled.n_rows() * (n_blocks + 1)];
        for (r, splits) in splits.chunks_exact_mut(n_blocks + 1).enumerate() {
            for &c in scaled.row(r).0 {
                splits[c as usize / BLOCK + 1] += 1;
            }
            for b in 0..n_blocks {
                splits[b + 1] += splits[b];
            }
        }
        Self {
            scaled,
            shift,
            splits,
        }
    }

    /// Number of features.
    pub(super) fn n_features(&self) -> usize {
        self.scaled.n_cols()
    }

    /// `x / sd`.
    pub(super) fn scaled(&self) -> &Csr {
        &self.scaled
    }

    /// `mean / sd`.
    pub(super) fn shift(&self) -> &[f32] {
        &self.shift
    }

    fn n_blocks(&self) -> usize {
        self.n_features().div_ceil(BLOCK)
    }

    fn splits(&self, row: usize) -> &[u32] {
        let n = self.n_blocks() + 1;
        &self.splits[row * n..(row + 1) * n]
    }
}

/// The entries of some rows in one block of features.
#[derive(Debug, Default)]
struct Gathered {
    /// Where each row's entries start; one more than rows.
    starts: Vec<u32>,
    /// Feature within the block.
    features: Vec<u8>,
    values: Vec<f32>,
}

/// Some rows of a [`SparseInput`], to be multiplied by a weight.
#[derive(Debug, Clone)]
pub(super) struct SparseBatch {
    input: Arc<SparseInput>,
    rows: usize,
    /// Block by block.
    gathered: Arc<Vec<Gathered>>,
}

/// What the weight's gradient is made of: batches, and the gradients of their outputs.
pub(super) type Pending = Arc<Mutex<Vec<(SparseBatch, Tensor)>>>;

impl SparseBatch {
    /// Gathers these rows of `input`.
    pub(super) fn new(input: Arc<SparseInput>, rows: &[u32]) -> Self {
        let gathered = (0..input.n_blocks())
            .into_par_iter()
            .map(|block| {
                let ranges = rows.iter().map(|&r| {
                    let splits = input.splits(r as usize);
                    (
                        r as usize,
                        splits[block] as usize..splits[block + 1] as usize,
                    )
                });
                let n = ranges.clone().map(|(_, range)| range.len()).sum();
                let mut out = Gathered {
                    starts: Vec::with_capacity(rows.len() + 1),
                    features: Vec::with_capacity(n),
                    values: Vec::with_capacity(n),
                };
                out.starts.push(0);
                for (row, range) in ranges {
                    let (cols, vals) = input.scaled.row(row);
                    let local = cols[range.clone()]
                        .iter()
                        .map(|&c| (c as usize % BLOCK) as u8);
                    out.features.extend(local);
                    out.values.extend_from_slice(&vals[range]);
                    out.starts.push(out.values.len() as u32);
                }
                out
            })
            .collect();
        Self {
            rows: rows.len(),
            input,
            gathered: Arc::new(gathered),
        }
    }

    /// `Z weight + bias`: `rows x width` from a weight of `panels x features x LANES` and a bias of
    /// `width`. The backward pass leaves the weight's part in `pending`, or gives it to candle
    /// without one.
    pub(super) fn linear(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        pending: Option<&Pending>,
    ) -> Result<Tensor> {
        weight.apply_op2(
            bias,
            SparseLinear {
                batch: self.clone(),
                pending: pending.cloned(),
            },
        )
    }

    fn check(&self, weight: &Shape, bias: &Shape) -> Result<usize> {
        let (n_panels, features, lanes) = weight.dims3()?;
        let width = bias.dims1()?;
        if (n_panels, features, lanes) != (panels(width), self.input.n_features(), LANES) {
            bail!(
                "a weight of {weight:?} and a bias of {bias:?} for {} features",
                self.input.n_features()
            );
        }
        Ok(width)
    }
}

struct SparseLinear {
    batch: SparseBatch,
    pending: Option<Pending>,
}

impl CustomOp2 for SparseLinear {
    fn name(&self) -> &'static str {
        "sparse-input-linear"
    }

    fn cpu_fwd(
        &self,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = self.batch.check(wl.shape(), bl.shape())?;
        with_real!(dtype(w), T => {
            let (weight, bias) = (values::<T>(w, wl)?, values::<T>(b, bl)?);
            output(forward(&self.batch, weight, bias), (self.batch.rows, width))
        })
    }

    fn bwd(
        &self,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = self.batch.check(w.shape(), b.shape())?;
        let grad = grad.contiguous()?;
        let held = hold(&grad);
        let (dw, db) = with_real!(grad.dtype(), T => {
            let sums = column_sums(held.get::<T>()?, width);
            let dw = match &self.pending {
                Some(_) => None,
                None => {
                    let panels = GradPanels::new(&self.batch, held.get::<T>()?, width);
                    Some(tensor(whole_gradient(&[panels]), w.shape())?)
                }
            };
            (dw, tensor(sums, b.shape())?)
        });
        drop(held);
        if let Some(pending) = &self.pending {
            pending
                .lock()
                .expect("no pass panicked")
                .push((self.batch.clone(), grad));
        }
        Ok((dw, Some(db)))
    }
}

/// AdamW on the weight, features by features, with the gradient of `pending`.
pub(super) struct InputLayerStep<'a> {
    pub(super) pending: Vec<(SparseBatch, Tensor)>,
    pub(super) moments: Mutex<&'a mut AdamMoments>,
    pub(super) adam: AdamWStep,
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
        let grads = grad_panels::<T>(&self.pending)?;
        let (panel, task) = (features * LANES, BLOCKS_PER_TASK * BLOCK * LANES);
        let panels = weight
            .par_chunks_mut(panel)
            .zip(moments.m.par_chunks_mut(panel))
            .zip(moments.v.par_chunks_mut(panel));
        panels.enumerate().for_each(|(panel, ((weight, m), v))| {
            let tasks = weight
                .par_chunks_mut(task)
                .zip(m.par_chunks_mut(task))
                .zip(v.par_chunks_mut(task));
            tasks.enumerate().for_each(|(task, ((weight, m), v))| {
                let mut gradient = [T::zero(); BLOCK * LANES];
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
        });
        Ok(())
    }
}

/// The sum of squares of the weight's gradient, for clipping by the norm.
pub(super) fn gradient_square_sum(pending: &[(SparseBatch, Tensor)]) -> Result<f64> {
    match pending.first() {
        None => Ok(0.0),
        Some((_, grad)) => with_real!(grad.dtype(), T => square_sum::<T>(pending)),
    }
}

fn square_sum<T: Real>(pending: &[(SparseBatch, Tensor)]) -> Result<f64> {
    let grads = grad_panels::<T>(pending)?;
    let input = &grads[0].batch.input;
    let (n_panels, n_blocks) = (grads[0].sums.len() / LANES, input.n_blocks());
    let parts: Vec<f64> = (0..n_panels * n_blocks)
        .into_par_iter()
        .map(|at| {
            let (panel, block) = (at / n_blocks, at % n_blocks);
            let mut gradient = [T::zero(); BLOCK * LANES];
            let n = BLOCK.min(input.n_features() - block * BLOCK) * LANES;
            block_gradient(&grads, panel, block, &mut gradient[..n]);
            gradient[..n].iter().map(|g| g.to_f64() * g.to_f64()).sum()
        })
        .collect();
    Ok(parts.iter().sum())
}

fn column_sums<T: Real>(grad: &[T], width: usize) -> Vec<T> {
    let mut sums = vec![0f64; width];
    for row in grad.chunks_exact(width) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(s, &g)| *s += g.to_f64());
    }
    sums.into_iter().map(T::from_f64).collect()
}

/// `Y weight + (bias - W m)`.
fn forward<T: Real>(batch: &SparseBatch, weight: &[T], bias: &[T]) -> Vec<T> {
    let (width, features) = (bias.len(), batch.input.n_features());
    let n_panels = panels(width);
    // The cut into parts follows the threads there are: an output is the same whoever computes it.
    let n_parts = rayon::current_num_threads().div_ceil(n_panels);
    let part = batch.rows.div_ceil(n_parts).max(1);
    let arch = pulp::Arch::new();
    let tasks: Vec<(usize, usize)> = (0..n_panels)
        .flat_map(|panel| {
            (0..batch.rows)
                .step_by(part)
                .map(move |first| (panel, first))
        })
        .collect();
    let pieces: Vec<Vec<T>> = tasks
        .par_iter()
        .map(|&(panel, first)| {
            let rows = first..batch.rows.min(first + part);
            let mut out = vec![T::zero(); rows.len() * LANES];
            let mut shift = [0f64; LANES];
            let weight = &weight[panel * features * LANES..][..features * LANES];
            for (block, table) in weight.chunks(BLOCK * LANES).enumerate() {
                arch.dispatch(AddShift {
                    sums: &mut shift,
                    shift: &batch.input.shift[block * BLOCK..],
                    table,
                });
                arch.dispatch(AddRows {
                    out: &mut out,
                    first: rows.start,
                    entries: &batch.gathered[block],
                    table,
                });
            }
            let base: Vec<T> = bias[panel * LANES..]
                .iter()
                .zip(shift)
                .map(|(b, s)| T::from_f64(b.to_f64() - s))
                .collect();
            for row in out.chunks_exact_mut(LANES) {
                row.iter_mut().zip(&base).for_each(|(o, &b)| *o += b);
            }
            out
        })
        .collect();
    let mut out = vec![T::zero(); batch.rows * width];
    out.par_chunks_mut(width)
        .enumerate()
        .for_each(|(row, out)| {
            for (panel, out) in out.chunks_mut(LANES).enumerate() {
                let piece = &pieces[panel * batch.rows.div_ceil(part) + row / part];
                out.copy_from_slice(&piece[row % part * LANES..][..out.len()]);
            }
        });
    out
}

/// Whether a fused multiply-add is an instruction here (elsewhere it is a slow call).
#[inline(always)]
fn is_fused<S: pulp::Simd>() -> bool {
    cfg!(target_arch = "aarch64") || TypeId::of::<S>() != TypeId::of::<pulp::Scalar>()
}

/// `a b + c`.
#[inline(always)]
fn multiply_add<S: pulp::Simd, T: Real>(a: T, b: T, c: T) -> T {
    if is_fused::<S>() {
        T::fused(a, b, c)
    } else {
        a * b + c
    }
}

/// `out[row] += sum over the row's entries of value * table[feature]`, for the widest registers
/// that the machine has. (A struct, since a closure's body is compiled apart from `dispatch`, for
/// the narrowest registers.)
struct AddRows<'a, T> {
    out: &'a mut [T],
    /// The batch row of the first row of `out`.
    first: usize,
    entries: &'a Gathered,
    table: &'a [T],
}

impl<T: Real> pulp::WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            out,
            first,
            entries,
            table,
        } = self;
        let starts = &entries.starts[first..];
        for (out, range) in out.chunks_exact_mut(LANES).zip(starts.windows(2)) {
            let range = range[0] as usize..range[1] as usize;
            let out: &mut [T; LANES] = out.try_into().expect("LANES values");
            let mut sums = *out;
            let (features, values) = (&entries.features[range.clone()], &entries.values[range]);
            for (&f, &v) in features.iter().zip(values) {
                let at = f as usize * LANES;
                let row: &[T; LANES] = table[at..at + LANES].try_into().expect("LANES values");
                let v = T::of(v);
                for k in 0..LANES {
                    sums[k] = multiply_add::<S, T>(v, row[k], sums[k]);
                }
            }
            *out = sums;
        }
    }
}

/// `sums += sum over features of shift * table[feature]`, the block's part in the weight's own
/// precision.
struct AddShift<'a, T> {
    sums: &'a mut [f64; LANES],
    shift: &'a [f32],
    table: &'a [T],
}

impl<T: Real> pulp::WithSimd for AddShift<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let mut part = [T::zero(); LANES];
        for (row, &m) in self.table.chunks_exact(LANES).zip(self.shift) {
            let row: &[T; LANES] = row.try_into().expect("LANES values");
            let m = T::of(m);
            for k in 0..LANES {
                part[k] = multiply_add::<S, T>(m, row[k], part[k]);
            }
        }
        for k in 0..LANES {
            self.sums[k] += part[k].to_f64();
        }
    }
}

/// The gradient of a batch's outputs, panel by panel, and its sum over the rows.
struct GradPanels<'a, T> {
    batch: &'a SparseBatch,
    /// `panels x rows x LANES`.
    grads: Vec<T>,
    /// `panels x LANES`.
    sums: Vec<T>,
}

impl<'a, T: Real> GradPanels<'a, T> {
    fn new(batch: &'a SparseBatch, grad: &[T], width: usize) -> Self {
        let n_panels = panels(width);
        let mut grads = vec![T::zero(); n_panels * batch.rows * LANES];
        grads
            .par_chunks_mut((batch.rows * LANES).max(1))
            .enumerate()
            .for_each(|(panel, to)| {
                let n = LANES.min(width - panel * LANES);
                for (to, from) in to.chunks_exact_mut(LANES).zip(grad.chunks_exact(width)) {
                    to[..n].copy_from_slice(&from[panel * LANES..][..n]);
                }
            });
        let mut sums = column_sums(grad, width);
        sums.resize(n_panels * LANES, T::zero());
        Self { batch, grads, sums }
    }
}

fn grad_panels<T: Real>(pending: &[(SparseBatch, Tensor)]) -> Result<Vec<GradPanels<'_, T>>> {
    pending
        .iter()
        .map(|(batch, grad)| {
            let held = hold(grad);
            Ok(GradPanels::new(batch, held.get::<T>()?, grad.dim(1)?))
        })
        .collect()
}

/// The whole gradient, in the weight's layout.
fn whole_gradient<T: Real>(grads: &[GradPanels<'_, T>]) -> Vec<T> {
    let input = &grads[0].batch.input;
    let (panel, n_panels) = (input.n_features() * LANES, grads[0].sums.len() / LANES);
    let mut out = vec![T::zero(); n_panels * panel];
    out.par_chunks_mut(panel).enumerate().for_each(|(p, out)| {
        for (block, out) in out.chunks_mut(BLOCK * LANES).enumerate() {
            block_gradient(grads, p, block, out);
        }
    });
    out
}

/// `Y^T grad - m (column sums of grad)` for one panel and one block of features, over all batches.
fn block_gradient<T: Real>(grads: &[GradPanels<'_, T>], panel: usize, block: usize, out: &mut [T]) {
    out.fill(T::zero());
    let arch = pulp::Arch::new();
    for part in grads {
        let rows = part.batch.rows * LANES;
        arch.dispatch(AddGradient {
            out: &mut *out,
            entries: &part.batch.gathered[block],
            grads: &part.grads[panel * rows..][..rows],
            sums: &part.sums[panel * LANES..][..LANES],
            shift: &part.batch.input.shift[block * BLOCK..],
        });
    }
}

/// `out[feature] += sum over the rows' entries of value * grads[row]`, less `shift * sums`.
struct AddGradient<'a, T> {
    out: &'a mut [T],
    entries: &'a Gathered,
    grads: &'a [T],
    sums: &'a [T],
    shift: &'a [f32],
}

impl<T: Real> pulp::WithSimd for AddGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            out,
            entries,
            grads,
            sums,
            shift,
        } = self;
        for (out, &m) in out.chunks_exact_mut(LANES).zip(shift) {
            let m = T::of(m);
            for k in 0..LANES {
                out[k] -= m * sums[k];
            }
        }
        for (grad, range) in grads.chunks_exact(LANES).zip(entries.starts.windows(2)) {
            let range = range[0] as usize..range[1] as usize;
            let grad: [T; LANES] = grad.try_into().expect("LANES values");
            let (features, values) = (&entries.features[range.clone()], &entries.values[range]);
            for (&f, &v) in features.iter().zip(values) {
                let at = f as usize * LANES;
                let out: &mut [T; LANES] =
                    (&mut out[at..at + LANES]).try_into().expect("LANES values");
                let v = T::of(v);
                for k in 0..LANES {
                    out[k] = multiply_add::<S, T>(v, grad[k], out[k]);
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::Rng;
    use candle_core::{Device, Var};
    use ndarray::Array2;

    /// A sparse input with shifts, and the same cells dense and z-scored.
    pub(crate) fn example(n: usize, g: usize, seed: u64) -> (Arc<SparseInput>, Array2<f64>) {
        let mut rng = Rng::new(seed, "test.input", &[]);
        let y = Array2::from_shape_fn((n, g), |_| {
            if rng.uniform() < 0.2 {
                rng.normal() as f32
            } else {
                0.0
            }
        });
        let shift: Vec<f32> = (0..g).map(|_| rng.normal() as f32 * 0.2).collect();
        let z = Array2::from_shape_fn((n, g), |(i, j)| f64::from(y[[i, j]]) - f64::from(shift[j]));
        (Arc::new(SparseInput::new(Csr::from_dense(&y), shift)), z)
    }

    fn random(n: usize, m: usize, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed, "test.random", &[]);
        Array2::from_shape_fn((n, m), |_| rng.normal())
    }

    /// A weight of `features x width` as it is held.
    fn panelled(a: &Array2<f64>) -> Tensor {
        let (features, width) = a.dim();
        let mut held = vec![0f64; panels(width) * features * LANES];
        for ((f, unit), &v) in a.indexed_iter() {
            held[place(features, f, unit)] = v;
        }
        Tensor::from_vec(held, (panels(width), features, LANES), &Device::Cpu).unwrap()
    }

    /// The other way; what fills the last panel up must be zero.
    fn unpanelled(t: &Tensor, width: usize) -> Array2<f64> {
        let (_, features, _) = t.dims3().unwrap();
        let held = t
            .to_dtype(candle_core::DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap();
        let held = held.to_vec1::<f64>().unwrap();
        let out = Array2::from_shape_fn((features, width), |(f, u)| held[place(features, f, u)]);
        let sum = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>();
        let (all, kept) = (
            sum(&mut held.iter().copied()),
            sum(&mut out.iter().copied()),
        );
        assert!((all - kept).abs() <= 1e-12 * all);
        out
    }

    fn to_tensor(a: &Array2<f64>) -> Tensor {
        Tensor::from_vec(a.iter().copied().collect(), a.dim(), &Device::Cpu).unwrap()
    }

    fn close(found: &Tensor, expected: &Array2<f64>, tolerance: f64) {
        let found = found
            .to_dtype(candle_core::DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap();
        assert_eq!(found.len(), expected.len());
        let worst = found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst < tolerance, "{worst}");
    }

    /// More than one feature block, a width with and without a remainder, rows taken twice.
    #[test]
    fn both_directions_agree_with_the_dense_z_score() {
        for width in [64, 70, 5] {
            let (input, z) = example(12, 600, 1);
            let rows = vec![3u32, 0, 11, 3];
            let z = z.select(ndarray::Axis(0), &[3, 0, 11, 3]);
            let (w, b, g) = (
                random(600, width, 2),
                random(1, width, 3),
                random(4, width, 4),
            );
            for (dtype, tolerance) in [
                (candle_core::DType::F64, 1e-10),
                (candle_core::DType::F32, 2e-4),
            ] {
                let weight = Var::from_tensor(&panelled(&w).to_dtype(dtype).unwrap()).unwrap();
                let bias = Var::from_tensor(
                    &to_tensor(&b)
                        .flatten_all()
                        .unwrap()
                        .to_dtype(dtype)
                        .unwrap(),
                )
                .unwrap();
                let batch = SparseBatch::new(input.clone(), &rows);
                let out = batch.linear(&weight, &bias, None).unwrap();
                close(&out, &(z.dot(&w) + &b), tolerance);
                let loss = (out * to_tensor(&g).to_dtype(dtype).unwrap())
                    .unwrap()
                    .sum_all()
                    .unwrap();
                let grads = loss.backward().unwrap();
                let gradient = unpanelled(grads.get(&weight).unwrap(), width);
                close(&to_tensor(&gradient), &z.t().dot(&g), tolerance);
                close(
                    grads.get(&bias).unwrap(),
                    &g.sum_axis(ndarray::Axis(0)).insert_axis(ndarray::Axis(0)),
                    tolerance,
                );
            }
        }
    }

    /// Two pending batches of one step are the step with the sum of their gradients.
    #[test]
    fn a_pending_step_is_the_step_with_the_whole_gradient() {
        let (input, _) = example(12, 600, 1);
        let start = panelled(&random(600, 70, 2));
        let adam = AdamWStep {
            learning_rate: 0.1,
            weight_decay: 0.5,
            l2: 0.25,
            step: 1,
            gradient_scale: 1.0,
        };
        let bias = to_tensor(&random(1, 70, 3)).flatten_all().unwrap();
        let loss = |weight: &Var, pending: Option<&Pending>| {
            let part = |rows: Vec<u32>| {
                let batch = SparseBatch::new(input.clone(), &rows);
                let out = batch.linear(weight, &bias, pending).unwrap();
                out.sqr().unwrap().sum_all().unwrap()
            };
            (part(vec![3, 0, 11]) + part(vec![5, 3])).unwrap()
        };
        let whole = Var::from_tensor(&start).unwrap();
        let grads = loss(&whole, None).backward().unwrap();
        let mut moments = AdamMoments::default();
        let whole_grad = grads.get(&whole).unwrap().clone();
        adam.apply(&whole, &whole_grad, &mut moments).unwrap();

        let pieces = Var::from_tensor(&(&start * 1.0).unwrap()).unwrap();
        let pending = Pending::default();
        let grads = loss(&pieces, Some(&pending)).backward().unwrap();
        assert!(grads.get(&pieces).is_none());
        let pending = std::mem::take(&mut *pending.lock().unwrap());
        assert_eq!(pending.len(), 2);
        let squares = gradient_square_sum(&pending).unwrap();
        let gradient = unpanelled(&whole_grad, 70);
        let expected: f64 = gradient.iter().map(|g| g * g).sum();
        assert!(
            (squares / expected - 1.0).abs() < 1e-12,
            "{squares} {expected}"
        );
        let mut other = AdamMoments::default();
        pieces
            .inplace_op1(&InputLayerStep {
                pending,
                moments: Mutex::new(&mut other),
                adam,
            })
            .unwrap();
        close(
            &to_tensor(&unpanelled(&pieces, 70)),
            &unpanelled(&whole, 70),
            1e-12,
        );
        assert!(
            moments
                .m
                .iter()
                .zip(&other.m)
                .all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs())
        );
    }

    #[test]
    fn one_and_three_threads_give_the_same_bits() {
        let (input, _) = example(50, 3000, 5);
        let rows: Vec<u32> = (0..50).collect();
        let weight = panelled(&random(3000, 96, 6)).flatten_all().unwrap();
        let weight: Vec<f32> = weight
            .to_vec1::<f64>()
            .unwrap()
            .into_iter()
            .map(|x| x as f32)
            .collect();
        let grad: Vec<f32> = random(50, 96, 7).iter().map(|&x| x as f32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let batch = SparseBatch::new(input.clone(), &rows);
                let panels = GradPanels::new(&batch, &grad, 96);
                (
                    forward(&batch, &weight, &grad[..96]),
                    whole_gradient(&[panels]),
                )
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(7));
    }
}
