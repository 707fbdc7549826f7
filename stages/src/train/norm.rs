//! Batch norm, ReLU and dropout as one op.
//!
//! As torch: statistics over the rows, biased variance inside, unbiased in the running one,
//! `eps` 1e-5, momentum 0.1; dropout scales what it keeps by `1 / (1 - p)`. candle's own batch norm
//! takes about eight passes over the data and its dropout cannot be seeded on the CPU.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
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
    /// A value is kept where its draw is at least this.
    fn threshold(&self) -> u32 {
        (self.p * 4_294_967_296.0) as u32
    }

    /// The draws of the values of a part, in order.
    fn draws(&self, part: usize, draws: &mut [u32]) {
        if self.threshold() > 0 {
            let [a, b, c, d, e] = self.at;
            Rng::new(self.seed, "train.dropout", &[a, b, c, d, e, part as u64]).fill_u32(draws);
        }
    }

    /// What each value of `rows x width` is multiplied by: 0, or `1 / (1 - p)`.
    pub(super) fn mask(&self, rows: usize, width: usize) -> Vec<f32> {
        let (threshold, kept) = (self.threshold(), (1.0 / (1.0 - self.p)) as f32);
        let mut out = vec![kept; rows * width];
        let parts = out.par_chunks_mut(PART * width).enumerate();
        parts.for_each_init(Vec::new, |draws: &mut Vec<u32>, (part, out)| {
            draws.clear();
            draws.resize(out.len(), 0);
            self.draws(part, draws);
            for (o, &draw) in out.iter_mut().zip(&*draws) {
                *o = if draw >= threshold { *o } else { 0.0 };
            }
        });
        out
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

/// Sums over the rows of what `terms(first row, rows, sums)` adds for a part, in the order of the parts.
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
            terms(part * PART, rows, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0f64; n_sums];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}

/// Sums of the columns, or of the squares of their distances from `mean`.
struct ColumnSums<'a, T> {
    rows: &'a [T],
    mean: Option<&'a [f64]>,
    sums: &'a mut [f64],
}

impl<T: Real> pulp::WithSimd for ColumnSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let sums = self.sums;
        for row in self.rows.chunks_exact(sums.len()) {
            match self.mean {
                None => sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.to_f64()),
                Some(mean) => {
                    for ((s, v), m) in sums.iter_mut().zip(row).zip(mean) {
                        let d = v.to_f64() - m;
                        *s += d * d;
                    }
                }
            }
        }
    }
}

fn batch_stats<T: Real>(x: &[T], width: usize) -> BatchStats {
    let rows = x.len() / width;
    let arch = pulp::Arch::new();
    let column_means = |mean: Option<&[f64]>| {
        let mut sums = row_sums(x, width, width, |_, rows, sums| {
            arch.dispatch(ColumnSums { rows, mean, sums });
        });
        sums.iter_mut().for_each(|s| *s /= rows as f64);
        sums
    };
    let mean = column_means(None);
    let var = column_means(Some(&mean));
    BatchStats { mean, var, rows }
}

/// `max(0, a x + b)`, dropped or scaled.
struct NormPart<'a, T> {
    x: &'a [T],
    a: &'a [T],
    b: &'a [T],
    draws: &'a [u32],
    threshold: u32,
    kept: T,
    out: &'a mut [T],
}

impl<T: Real> pulp::WithSimd for NormPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let width = self.a.len();
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.draws.chunks_exact(width));
        for ((x, draws), out) in rows.zip(self.out.chunks_exact_mut(width)) {
            for h in 0..width {
                let y = self.a[h] * x[h] + self.b[h];
                // Written so that a broken value reaches the loss, where it is reported.
                let stopped = y <= T::zero() || draws[h] < self.threshold;
                out[h] = if stopped { T::zero() } else { y * self.kept };
            }
        }
    }
}

/// The upstream gradient's column sums, then those of its product with the normalised value.
struct UpstreamSums<'a, T> {
    x: &'a [T],
    res: &'a [T],
    grad: &'a [T],
    mean: &'a [f64],
    inverse: &'a [f64],
    sums: &'a mut [f64],
}

impl<T: Real> pulp::WithSimd for UpstreamSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let width = self.mean.len();
        let (sum_g, sum_gx) = self.sums.split_at_mut(width);
        let rows = self.x.chunks_exact(width).zip(self.res.chunks_exact(width));
        for ((x, res), grad) in rows.zip(self.grad.chunks_exact(width)) {
            for h in 0..width {
                // A value that ReLU or dropout stopped is exactly 0; every other is above 0.
                let g = if res[h] > T::zero() {
                    grad[h].to_f64()
                } else {
                    0.0
                };
                sum_g[h] += g;
                sum_gx[h] += g * ((x[h].to_f64() - self.mean[h]) * self.inverse[h]);
            }
        }
    }
}

/// The gradient of the input: `outer (g - mean g - normalised mean gx)`.
struct InputGradient<'a, T> {
    x: &'a [T],
    res: &'a [T],
    grad: &'a [T],
    mean: &'a [f64],
    inverse: &'a [f64],
    mean_g: &'a [f64],
    mean_gx: &'a [f64],
    outer: &'a [f64],
    out: &'a mut [T],
}

impl<T: Real> pulp::WithSimd for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let width = self.mean.len();
        let rows = self.x.chunks_exact(width).zip(self.res.chunks_exact(width));
        let rows = rows.zip(self.grad.chunks_exact(width));
        for (((x, res), grad), out) in rows.zip(self.out.chunks_exact_mut(width)) {
            for h in 0..width {
                let g = if res[h] > T::zero() {
                    grad[h].to_f64()
                } else {
                    0.0
                };
                let normalised = (x[h].to_f64() - self.mean[h]) * self.inverse[h];
                let centred = g - self.mean_g[h] - normalised * self.mean_gx[h];
                out[h] = T::from_f64(self.outer[h] * centred);
            }
        }
    }
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
        let arch = pulp::Arch::new();
        let mut out = vec![T::zero(); x.len()];
        let parts = out
            .par_chunks_mut(PART * width)
            .zip(x.par_chunks(PART * width));
        parts
            .enumerate()
            .for_each_init(Vec::new, |draws: &mut Vec<u32>, (part, (out, x))| {
                draws.clear();
                draws.resize(x.len(), 0);
                self.dropout.draws(part, draws);
                arch.dispatch(NormPart {
                    x,
                    a: &a,
                    b: &b,
                    draws,
                    threshold: self.dropout.threshold(),
                    kept: T::from_f64(1.0 / (1.0 - self.dropout.p)),
                    out,
                });
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
        let (mean, n) = (&stats.mean, stats.rows as f64);
        let kept = 1.0 / (1.0 - self.dropout.p);
        let arch = pulp::Arch::new();
        let sums = row_sums(x, width, 2 * width, |first, x, sums| {
            let range = first * width..first * width + x.len();
            arch.dispatch(UpstreamSums {
                x,
                res: &res[range.clone()],
                grad: &grad[range],
                mean,
                inverse: &inverse,
                sums,
            });
        });
        let (sum_g, sum_gx) = sums.split_at(width);
        let means = |sums: &[f64]| sums.iter().map(|s| s / n).collect::<Vec<f64>>();
        let (mean_g, mean_gx) = (means(sum_g), means(sum_gx));
        let outer: Vec<f64> = (0..width)
            .map(|h| scale[h].to_f64() * inverse[h] * kept)
            .collect();
        let mut dx = vec![T::zero(); x.len()];
        dx.par_chunks_mut(PART * width)
            .enumerate()
            .for_each(|(part, out)| {
                let range = part * PART * width..part * PART * width + out.len();
                arch.dispatch(InputGradient {
                    x: &x[range.clone()],
                    res: &res[range.clone()],
                    grad: &grad[range],
                    mean,
                    inverse: &inverse,
                    mean_g: &mean_g,
                    mean_gx: &mean_gx,
                    outer: &outer,
                    out,
                });
            });
        let column = |sums: &[f64]| sums.iter().map(|&s| T::from_f64(s * kept)).collect();
        (dx, column(sum_gx), column(sum_g))
    }

    /// The same by candle's own operations, for devices that this op has no kernels for; the same
    /// cells are dropped.
    pub(super) fn composed(
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        dropout: &DropoutStream,
    ) -> Result<(Tensor, BatchStats)> {
        let (rows, width) = x.dims2()?;
        let mean = x.mean_keepdim(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let var = centred.sqr()?.mean_keepdim(0)?;
        let normalised = centred.broadcast_div(&(&var + EPS)?.sqrt()?)?;
        let mut y = normalised
            .broadcast_mul(scale)?
            .broadcast_add(shift)?
            .relu()?;
        if dropout.p > 0.0 {
            let mask = Tensor::from_vec(dropout.mask(rows, width), (rows, width), x.device())?;
            y = (y * mask.to_dtype(x.dtype())?)?;
        }
        let numbers = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let stats = BatchStats {
            mean: numbers(&mean)?,
            var: numbers(&var)?,
            rows,
        };
        Ok((y, stats))
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
    use candle_core::{Device, Var};

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

    /// Values, statistics and gradients, with dropout on.
    #[test]
    fn the_composed_operations_do_the_same() {
        let (n, width) = (150, 7);
        let (x, scale, shift) = (
            random(n, width, 5),
            random(1, width, 6),
            random(1, width, 7),
        );
        let flat = |t: &Tensor| t.flatten_all().unwrap();
        let weights = random(n, width, 8);
        let run = |composed: bool| {
            let x = Var::from_tensor(&x).unwrap();
            let scale = Var::from_tensor(&flat(&scale)).unwrap();
            let shift = Var::from_tensor(&flat(&shift)).unwrap();
            let (y, stats) = if composed {
                NormReluDropout::composed(&x, &scale, &shift, &stream(0.3)).unwrap()
            } else {
                NormReluDropout::apply(&x, &scale, &shift, stream(0.3)).unwrap()
            };
            let grads = (&y * &weights)
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap();
            let of = |v: &Var| flat(grads.get(v).unwrap()).to_vec1::<f64>().unwrap();
            let y = flat(&y).to_vec1::<f64>().unwrap();
            [y, of(&x), of(&scale), of(&shift), stats.mean, stats.var]
        };
        for (a, b) in run(false).iter().zip(run(true)) {
            assert_eq!(a.len(), b.len());
            assert!(
                a.iter()
                    .zip(&b)
                    .all(|(a, b)| (a - b).abs() < 1e-6 * (1.0 + b.abs()))
            );
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
