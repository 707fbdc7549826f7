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
//! The weight is held as `features x width` (the transpose of torch's), so that a non-zero touches
//! one contiguous row of it in both directions. Each output element sums its terms in the order of
//! the features (or of the rows, for `dW`), whatever the number of threads.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, InplaceOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::adamw::{AdamMoments, AdamWStep};
use super::real::{Real, dtype, hold, output, tensor, values, with_real};
use crate::matrix::Csr;

/// Features whose weight rows are worked on together: 256 x 512 x 4 bytes stay in L2.
const FEATURE_BLOCK: usize = 256;
/// Outputs held in registers together.
const LANES: usize = 64;
/// Features per partial sum of `W m`; fixed, since it decides the rounding.
const SHIFT_BLOCK: usize = 1024;

/// All cells of one modality, z-scored in two parts.
#[derive(Debug)]
pub(super) struct SparseInput {
    /// `x / sd`, `n_cells x n_features`.
    pub(super) scaled: Csr,
    /// `mean / sd`, one per feature.
    pub(super) shift: Vec<f32>,
}

/// Some rows of a [`SparseInput`], to be multiplied by a weight.
#[derive(Debug, Clone)]
pub(super) struct SparseBatch {
    pub(super) input: Arc<SparseInput>,
    pub(super) rows: Arc<Vec<u32>>,
}

/// What the weight's gradient is made of: batches, and the gradients of their outputs.
pub(super) type Pending = Arc<Mutex<Vec<(SparseBatch, Tensor)>>>;

impl SparseBatch {
    /// `Z weight + bias`: `rows x width` from a weight of `features x width` and a bias of `width`.
    /// The backward pass leaves the weight's part in `pending`, or gives it to candle without one.
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
        let (features, width) = weight.dims2()?;
        if features != self.input.scaled.n_cols() || bias.dims1()? != width {
            bail!(
                "a weight of {features} x {width} and a bias of {bias:?} for {} features",
                self.input.scaled.n_cols()
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
        let SparseBatch { input, rows } = &self.batch;
        let width = self.batch.check(wl.shape(), bl.shape())?;
        with_real!(dtype(w), T => {
            let (weight, bias) = (values::<T>(w, wl)?, values::<T>(b, bl)?);
            let base = shifted_bias(weight, bias, &input.shift);
            output(forward(&input.scaled, rows, weight, &base), (rows.len(), width))
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
                None => Some(tensor(backward(&self.batch, held.get::<T>()?, &sums), w.shape())?),
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
        let (features, width) = l.shape().dims2()?;
        let Some((start, end)) = l.contiguous_offsets() else {
            bail!("expected a contiguous weight")
        };
        let mut moments = self.moments.lock().expect("no update panicked");
        moments.fit(features * width)?;
        match w {
            CpuStorage::F32(w) => self.update(&mut w[start..end], width, &mut moments),
            CpuStorage::F64(w) => self.update(&mut w[start..end], width, &mut moments),
            _ => bail!("expected an f32 or f64 weight"),
        }
    }
}

impl InputLayerStep<'_> {
    fn update<T: Real>(
        &self,
        weight: &mut [T],
        width: usize,
        moments: &mut AdamMoments,
    ) -> Result<()> {
        let held: Vec<_> = self
            .pending
            .iter()
            .map(|(batch, grad)| (batch, hold(grad)))
            .collect();
        let grads = held
            .iter()
            .map(|(batch, grad)| Ok((*batch, grad.get::<T>()?)))
            .collect::<Result<Vec<_>>>()?;
        let sums: Vec<Vec<T>> = grads
            .iter()
            .map(|(_, grad)| column_sums(grad, width))
            .collect();
        let block = FEATURE_BLOCK * width;
        let parts = weight
            .par_chunks_mut(block)
            .zip(moments.m.par_chunks_mut(block))
            .zip(moments.v.par_chunks_mut(block));
        parts
            .enumerate()
            .for_each_init(Vec::new, |gradient, (at, ((weight, m), v))| {
                gradient.clear();
                gradient.resize(weight.len(), T::zero());
                for ((batch, grad), sums) in grads.iter().zip(&sums) {
                    add_gradient(batch, grad, sums, at * FEATURE_BLOCK, gradient);
                }
                self.adam.update(weight, gradient, m, v);
            });
        Ok(())
    }
}

/// `b - W m`: what a cell without entries gets.
fn shifted_bias<T: Real>(weight: &[T], bias: &[T], shift: &[f32]) -> Vec<T> {
    let width = bias.len();
    let parts: Vec<Vec<T>> = weight
        .par_chunks(SHIFT_BLOCK * width)
        .zip(shift.par_chunks(SHIFT_BLOCK))
        .map(|(rows, shift)| {
            let mut part = vec![T::zero(); width];
            for (row, &m) in rows.chunks_exact(width).zip(shift) {
                let m = T::of(m);
                part.iter_mut().zip(row).for_each(|(p, &w)| *p += m * w);
            }
            part
        })
        .collect();
    (0..width)
        .map(|h| T::from_f64(bias[h].to_f64() - parts.iter().map(|p| p[h].to_f64()).sum::<f64>()))
        .collect()
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

/// `Y weight + base`, row by row. The partition follows the threads there are: an output row is
/// the same whoever computes it, and larger parts read the weight less often.
fn forward<T: Real>(y: &Csr, rows: &[u32], weight: &[T], base: &[T]) -> Vec<T> {
    let width = base.len();
    let mut out = vec![T::zero(); rows.len() * width];
    let part = rows.len().div_ceil(rayon::current_num_threads()).max(1);
    let arch = pulp::Arch::new();
    out.par_chunks_mut(part * width)
        .zip(rows.par_chunks(part))
        .for_each(|(out, rows)| {
            for row in out.chunks_exact_mut(width) {
                row.copy_from_slice(base);
            }
            let mut next = vec![0usize; rows.len()];
            for first in (0..y.n_cols()).step_by(FEATURE_BLOCK) {
                let end = (first + FEATURE_BLOCK) as u32;
                for (r, row) in out.chunks_exact_mut(width).enumerate() {
                    let (cols, vals) = y.row(rows[r] as usize);
                    let start = next[r];
                    let stop = start + cols[start..].iter().take_while(|&&c| c < end).count();
                    next[r] = stop;
                    arch.dispatch(AddRows {
                        out: row,
                        indices: &cols[start..stop],
                        vals: &vals[start..stop],
                        table: weight,
                    });
                }
            }
        });
    out
}

/// `out += sum over entries of value * table[index]`, `LANES` outputs at a time, for the widest
/// registers that the machine has.
///
/// Product and sum are rounded separately: a fused one is a slow call where the machine lacks it,
/// and this way every machine gets the same bits. (A struct, since a closure's body is compiled
/// apart from `dispatch`, for the narrowest registers.)
struct AddRows<'a, T> {
    out: &'a mut [T],
    indices: &'a [u32],
    vals: &'a [f32],
    table: &'a [T],
}

impl<T: Real> pulp::WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            out,
            indices,
            vals,
            table,
        } = self;
        let width = out.len();
        let mut lane = 0;
        while lane + LANES <= width {
            let target: &mut [T; LANES] = (&mut out[lane..lane + LANES])
                .try_into()
                .expect("LANES values");
            let mut sums = *target;
            for (&i, &v) in indices.iter().zip(vals) {
                let at = i as usize * width + lane;
                let row: &[T; LANES] = table[at..at + LANES].try_into().expect("LANES values");
                let v = T::of(v);
                for k in 0..LANES {
                    sums[k] += v * row[k];
                }
            }
            *target = sums;
            lane += LANES;
        }
        for (&i, &v) in indices.iter().zip(vals) {
            let row = &table[i as usize * width + lane..(i as usize + 1) * width];
            for (o, &w) in out[lane..].iter_mut().zip(row) {
                *o += T::of(v) * w;
            }
        }
    }
}

/// `Y^T grad - m (column sums of grad)`, whole.
fn backward<T: Real>(batch: &SparseBatch, grad: &[T], sums: &[T]) -> Vec<T> {
    let width = sums.len();
    let mut out = vec![T::zero(); batch.input.scaled.n_cols() * width];
    out.par_chunks_mut(FEATURE_BLOCK * width)
        .enumerate()
        .for_each(|(block, out)| {
            add_gradient(batch, grad, sums, block * FEATURE_BLOCK, out);
        });
    out
}

/// Adds the gradient of the features from `first` on, as many as `out` has rows for.
fn add_gradient<T: Real>(batch: &SparseBatch, grad: &[T], sums: &[T], first: usize, out: &mut [T]) {
    let width = sums.len();
    let n = out.len() / width;
    let columns = Columns::of(&batch.input.scaled, &batch.rows, first, n);
    let arch = pulp::Arch::new();
    for (c, (out, &m)) in out
        .chunks_exact_mut(width)
        .zip(&batch.input.shift[first..first + n])
        .enumerate()
    {
        let m = T::of(m);
        out.iter_mut().zip(sums).for_each(|(o, &s)| *o -= m * s);
        let range = columns.starts[c]..columns.starts[c + 1];
        let (indices, vals) = (&columns.rows[range.clone()], &columns.values[range]);
        arch.dispatch(AddRows {
            out,
            indices,
            vals,
            table: grad,
        });
    }
}

/// The entries of some features in the batch, feature by feature, batch rows rising.
struct Columns {
    starts: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl Columns {
    fn of(y: &Csr, rows: &[u32], first: usize, n: usize) -> Self {
        let end = (first + n) as u32;
        let parts: Vec<(&[u32], &[f32])> = rows
            .iter()
            .map(|&r| {
                let (cols, vals) = y.row(r as usize);
                let range = cols.partition_point(|&c| (c as usize) < first)
                    ..cols.partition_point(|&c| c < end);
                (&cols[range.clone()], &vals[range])
            })
            .collect();
        let mut starts = vec![0usize; n + 1];
        for (cols, _) in &parts {
            cols.iter()
                .for_each(|&c| starts[c as usize - first + 1] += 1);
        }
        for c in 0..n {
            starts[c + 1] += starts[c];
        }
        let mut next = starts.clone();
        let mut out = Self {
            rows: vec![0; starts[n]],
            values: vec![0.0; starts[n]],
            starts,
        };
        for (r, (cols, vals)) in parts.into_iter().enumerate() {
            for (&c, &v) in cols.iter().zip(vals) {
                let at = &mut next[c as usize - first];
                out.rows[*at] = r as u32;
                out.values[*at] = v;
                *at += 1;
            }
        }
        out
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
        (
            Arc::new(SparseInput {
                scaled: Csr::from_dense(&y),
                shift,
            }),
            z,
        )
    }

    fn random(n: usize, m: usize, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed, "test.random", &[]);
        Array2::from_shape_fn((n, m), |_| rng.normal())
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
                let weight = Var::from_tensor(&to_tensor(&w).to_dtype(dtype).unwrap()).unwrap();
                let bias = Var::from_tensor(
                    &to_tensor(&b)
                        .flatten_all()
                        .unwrap()
                        .to_dtype(dtype)
                        .unwrap(),
                )
                .unwrap();
                let batch = SparseBatch {
                    input: input.clone(),
                    rows: Arc::new(rows.clone()),
                };
                let out = batch.linear(&weight, &bias, None).unwrap();
                close(&out, &(z.dot(&w) + &b), tolerance);
                let loss = (out * to_tensor(&g).to_dtype(dtype).unwrap())
                    .unwrap()
                    .sum_all()
                    .unwrap();
                let grads = loss.backward().unwrap();
                close(grads.get(&weight).unwrap(), &z.t().dot(&g), tolerance);
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
        let start = to_tensor(&random(600, 70, 2));
        let adam = AdamWStep {
            learning_rate: 0.1,
            weight_decay: 0.5,
            step: 1,
        };
        let bias = to_tensor(&random(1, 70, 3)).flatten_all().unwrap();
        let loss = |weight: &Var, pending: Option<&Pending>| {
            let part = |rows: Vec<u32>| {
                let out = SparseBatch {
                    input: input.clone(),
                    rows: Arc::new(rows),
                }
                .linear(weight, &bias, pending)
                .unwrap();
                out.sqr().unwrap().sum_all().unwrap()
            };
            (part(vec![3, 0, 11]) + part(vec![5, 3])).unwrap()
        };
        let whole = Var::from_tensor(&start).unwrap();
        let grads = loss(&whole, None).backward().unwrap();
        let mut moments = AdamMoments::default();
        adam.apply(&whole, grads.get(&whole).unwrap(), &mut moments)
            .unwrap();

        let pieces = Var::from_tensor(&(&start * 1.0).unwrap()).unwrap();
        let pending = Pending::default();
        let grads = loss(&pieces, Some(&pending)).backward().unwrap();
        assert!(grads.get(&pieces).is_none());
        let pending = std::mem::take(&mut *pending.lock().unwrap());
        assert_eq!(pending.len(), 2);
        let mut other = AdamMoments::default();
        pieces
            .inplace_op1(&InputLayerStep {
                pending,
                moments: Mutex::new(&mut other),
                adam,
            })
            .unwrap();
        let expected = whole.to_vec2::<f64>().unwrap().concat();
        close(
            &pieces,
            &Array2::from_shape_vec((600, 70), expected).unwrap(),
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
        let weight: Vec<f32> = random(3000, 96, 6).iter().map(|&x| x as f32).collect();
        let grad: Vec<f32> = random(50, 96, 7).iter().map(|&x| x as f32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let base = shifted_bias(&weight, &grad[..96], &input.shift);
                let sums = column_sums(&grad, 96);
                let batch = SparseBatch {
                    input: input.clone(),
                    rows: Arc::new(rows.clone()),
                };
                (
                    forward(&input.scaled, &rows, &weight, &base),
                    backward(&batch, &grad, &sums),
                )
            })
        };
        assert_eq!(run(1), run(3));
    }
}
