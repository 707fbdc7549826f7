//! Batch norm, ReLU and dropout as one op.
//!
//! As torch: statistics over the rows, biased variance inside, unbiased in the running one,
//! `eps` 1e-5, momentum 0.1; dropout scales what it keeps by `1 / (1 - p)`. candle's own batch norm
//! takes about eight passes over the data and its dropout cannot be seeded on the CPU.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::real::{Real, dtype, hold, output, tensor, values, with_real};
use crate::rng::Rng;

/// Added to the variance.
pub(super) const EPS: f64 = 1e-5;
/// Rows of one part of a sum, and of one stream of dropout draws; fixed, since it decides both.
const PART: usize = 64;

/// Where the dropout draws of one layer in one step come from.
#[derive(Debug, Clone)]
pub(super) struct DropoutStream {
    /// Probability of dropping, in [0, 1).
    pub(super) p: f64,
    pub(super) seed: u64,
    /// Epoch, batch, modality, pass, layer.
    pub(super) at: [u64; 5],
}

impl DropoutStream {
    /// Whether each of the values of a part is kept, in order.
    fn keeps(&self, part: usize) -> impl FnMut() -> bool {
        let [a, b, c, d, e] = self.at;
        let mut rng = Rng::new(self.seed, "train.dropout", &[a, b, c, d, e, part as u64]);
        let (threshold, always) = ((self.p * 4_294_967_296.0) as u32, self.p == 0.0);
        move || always || rng.next_u32() >= threshold
    }
}

/// Mean and biased variance of each column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchStats {
    pub(super) mean: Vec<f64>,
    pub(super) var: Vec<f64>,
    pub(super) rows: usize,
}

/// One use of the op.
#[derive(Debug, Clone)]
pub(super) struct NormReluDropout {
    pub(super) dropout: DropoutStream,
    /// Filled by the forward pass.
    pub(super) stats: Arc<OnceLock<BatchStats>>,
}

impl NormReluDropout {
    /// `rows x width` of the same shape, from a scale and a shift of `width`; and the statistics
    /// of the batch.
    pub(super) fn apply(
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        dropout: DropoutStream,
    ) -> Result<(Tensor, BatchStats)> {
        let op = Self {
            dropout,
            stats: Arc::default(),
        };
        let out = x.apply_op3(scale, shift, op.clone())?;
        let stats = op.stats.get().expect("the forward pass has run").clone();
        Ok((out, stats))
    }

    fn inverse_sd(&self) -> Vec<f64> {
        let stats = self.stats.get().expect("the forward pass has run");
        stats.var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect()
    }
}

/// Sums over the rows of `terms(row number, value row, sums)`, part by part, in the order of the parts.
fn row_sums<T: Real>(
    x: &[T],
    width: usize,
    n_sums: usize,
    terms: impl Fn(usize, &[T], &mut [f64]) + Sync,
) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = x
        .par_chunks(PART * width)
        .enumerate()
        .map(|(part, rows)| {
            let mut sums = vec![0f64; n_sums];
            for (r, row) in rows.chunks_exact(width).enumerate() {
                terms(part * PART + r, row, &mut sums);
            }
            sums
        })
        .collect();
    let mut total = vec![0f64; n_sums];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

fn batch_stats<T: Real>(x: &[T], width: usize) -> BatchStats {
    let rows = x.len() / width;
    let mut mean = row_sums(x, width, width, |_, row, sums| {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.to_f64());
    });
    mean.iter_mut().for_each(|m| *m /= rows as f64);
    let mut var = row_sums(x, width, width, |_, row, sums| {
        for h in 0..width {
            let d = row[h].to_f64() - mean[h];
            sums[h] += d * d;
        }
    });
    var.iter_mut().for_each(|v| *v /= rows as f64);
    BatchStats { mean, var, rows }
}

impl NormReluDropout {
    fn forward<T: Real>(&self, x: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
        let width = scale.len();
        let stats = self.stats.get_or_init(|| batch_stats(x, width));
        let inverse = self.inverse_sd();
        // y = a x + b with the norm folded in.
        let folded = |h: usize| scale[h].to_f64() * inverse[h];
        let a: Vec<T> = (0..width).map(|h| T::from_f64(folded(h))).collect();
        let b: Vec<T> = (0..width)
            .map(|h| T::from_f64(shift[h].to_f64() - folded(h) * stats.mean[h]))
            .collect();
        let keep_scale = T::from_f64(1.0 / (1.0 - self.dropout.p));
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(PART * width)
            .zip(x.par_chunks(PART * width))
            .enumerate()
            .for_each(|(part, (out, x))| {
                let mut keep = self.dropout.keeps(part);
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    for h in 0..width {
                        let y = a[h] * x[h] + b[h];
                        let kept = keep();
                        if y > T::zero() && kept {
                            out[h] = y * keep_scale;
                        } else if y.to_f64().is_nan() {
                            // A broken value must reach the loss, where it is reported.
                            out[h] = y;
                        }
                    }
                }
            });
        out
    }

    /// Gradients of the input, the scale and the shift.
    fn backward<T: Real>(
        &self,
        x: &[T],
        scale: &[T],
        res: &[T],
        grad: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let width = scale.len();
        let (inverse, stats) = (
            self.inverse_sd(),
            self.stats.get().expect("the forward pass has run"),
        );
        let mean = &stats.mean;
        let keep_scale = 1.0 / (1.0 - self.dropout.p);
        // A value that ReLU or dropout stopped is exactly 0; every other is above 0.
        let upstream = |at: usize| {
            if res[at] > T::zero() {
                grad[at].to_f64() * keep_scale
            } else {
                0.0
            }
        };
        // First the sums of the upstream gradient, then of its product with the normalised value.
        let sums = row_sums(x, width, 2 * width, |r, row, sums| {
            for h in 0..width {
                let g = upstream(r * width + h);
                sums[h] += g;
                sums[width + h] += g * (row[h].to_f64() - mean[h]) * inverse[h];
            }
        });
        let (sum_g, sum_gx) = sums.split_at(width);
        let mut dx = vec![T::zero(); x.len()];
        dx.par_chunks_mut(width).enumerate().for_each(|(r, dx)| {
            for h in 0..width {
                let at = r * width + h;
                let normalised = (x[at].to_f64() - mean[h]) * inverse[h];
                let centred =
                    upstream(at) - (sum_g[h] + normalised * sum_gx[h]) / stats.rows as f64;
                dx[h] = T::from_f64(scale[h].to_f64() * inverse[h] * centred);
            }
        });
        let column = |sums: &[f64]| sums.iter().map(|&s| T::from_f64(s)).collect();
        (dx, column(sum_gx), column(sum_g))
    }
}

impl CustomOp3 for NormReluDropout {
    fn name(&self) -> &'static str {
        "norm-relu-dropout"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        scale: &CpuStorage,
        scale_l: &Layout,
        shift: &CpuStorage,
        shift_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, width) = xl.shape().dims2()?;
        if n < 2 || scale_l.shape().dims1()? != width || shift_l.shape().dims1()? != width {
            bail!(
                "batch norm of {n} x {width} with {scale_l:?} and {shift_l:?}: at least 2 rows, and one scale and shift per column"
            );
        }
        with_real!(dtype(x), T => {
            output(self.forward::<T>(values(x, xl)?, values(scale, scale_l)?, values(shift, shift_l)?), (n, width))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (hx, hs, hr, hg) = (hold(x), hold(scale), hold(res), hold(&grad));
        with_real!(grad.dtype(), T => {
            let (dx, dscale, dshift) = self.backward::<T>(hx.get()?, hs.get()?, hr.get()?, hg.get()?);
            Ok((Some(tensor(dx, x.shape())?), Some(tensor(dscale, scale.shape())?), Some(tensor(dshift, shift.shape())?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn stream(p: f64) -> DropoutStream {
        DropoutStream {
            p,
            seed: 1,
            at: [0; 5],
        }
    }

    fn random(n: usize, m: usize, seed: u64) -> Tensor {
        let mut rng = Rng::new(seed, "test.norm", &[]);
        let v: Vec<f64> = (0..n * m).map(|_| 0.5 + 2.0 * rng.normal()).collect();
        Tensor::from_vec(v, (n, m), &Device::Cpu).unwrap()
    }

    /// By hand: column 0 is 1, 3 (mean 2, variance 1), column 1 is constant.
    #[test]
    fn a_small_batch_is_normalised_and_rectified() {
        let x = Tensor::new(&[[1.0f64, 4.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let (scale, shift) = (
            Tensor::new(&[2.0f64, 5.0], &Device::Cpu).unwrap(),
            Tensor::new(&[0.5f64, 0.25], &Device::Cpu).unwrap(),
        );
        let (y, stats) = NormReluDropout::apply(&x, &scale, &shift, stream(0.0)).unwrap();
        let high = 0.5 + 2.0 / (1.0 + EPS).sqrt();
        let y = y.to_vec2::<f64>().unwrap();
        assert_eq!(y[0], [0.0, 0.25]);
        assert!((y[1][0] - high).abs() < 1e-12 && y[1][1] == 0.25);
        assert_eq!(
            stats,
            BatchStats {
                mean: vec![2.0, 4.0],
                var: vec![1.0, 0.0],
                rows: 2
            }
        );
    }

    /// Central differences of a weighted sum of the outputs, with dropout on (the draws are fixed by the stream).
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (n, width) = (70, 3);
        let inputs = [
            random(n, width, 1),
            random(1, width, 2).flatten_all().unwrap(),
            random(1, width, 3).flatten_all().unwrap(),
        ];
        let weights = random(n, width, 4);
        let loss = |t: &[Tensor]| {
            let (y, _) = NormReluDropout::apply(&t[0], &t[1], &t[2], stream(0.3)).unwrap();
            (y * &weights).unwrap().sum_all().unwrap()
        };
        let vars: Vec<Var> = inputs
            .iter()
            .map(|t| Var::from_tensor(t).unwrap())
            .collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let grads = loss(&tensors).backward().unwrap();
        for (i, var) in vars.iter().enumerate() {
            let grad = grads
                .get(var)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f64>()
                .unwrap();
            let base = inputs[i].flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for at in (0..base.len()).step_by(7.min(base.len() / 3)) {
                let moved = |by: f64| {
                    let mut values = base.clone();
                    values[at] += by;
                    let mut t = inputs.to_vec();
                    t[i] = Tensor::from_vec(values, inputs[i].shape(), &Device::Cpu).unwrap();
                    loss(&t).to_scalar::<f64>().unwrap()
                };
                let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!(
                    (numeric - grad[at]).abs() < 1e-6 * (1.0 + numeric.abs()),
                    "input {i} at {at}: {numeric} {}",
                    grad[at]
                );
            }
        }
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        let x = random(4000, 5, 9);
        let (one, zero) = (
            Tensor::ones(5, DType::F64, &Device::Cpu).unwrap(),
            Tensor::zeros(5, DType::F64, &Device::Cpu).unwrap(),
        );
        let run = |p| {
            NormReluDropout::apply(&x, &one, &zero, stream(p))
                .unwrap()
                .0
        };
        let (all, kept) = (run(0.0), run(0.25));
        let positive = |t: &Tensor| {
            t.gt(0.0)
                .unwrap()
                .to_dtype(DType::F64)
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap()
        };
        // About 10,000 positive values: standard error of the kept share 0.0043.
        let share = positive(&kept) / positive(&all);
        assert!((share - 0.75).abs() < 0.02, "{share}");
        let sum = |t: &Tensor| t.sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((sum(&kept) / sum(&all) - 1.0).abs() < 0.03);
    }

    #[test]
    fn one_and_three_threads_give_the_same_bits() {
        let x = random(500, 40, 2).to_dtype(DType::F32).unwrap();
        let ones = Tensor::ones(40, DType::F32, &Device::Cpu).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let x = Var::from_tensor(&x).unwrap();
                let (y, _) = NormReluDropout::apply(&x, &ones, &ones, stream(0.1)).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                (
                    y.to_vec2::<f32>().unwrap(),
                    grads.get(&x).unwrap().to_vec2::<f32>().unwrap(),
                )
            })
        };
        assert_eq!(run(1), run(3));
    }
}
