//! Batch norm, ReLU and dropout as one layer.
//!
//! As torch: statistics over the rows, biased variance inside, unbiased in the running one,
//! `eps` 1e-5, momentum 0.1; dropout scales what it keeps by `1 / (1 - p)`. candle's own batch norm
//! takes about eight passes over the data and its dropout cannot be seeded on the CPU.

use std::sync::OnceLock;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::real::Real;
use clcc_numerics::rng::Rng;

/// Added to the variance.
pub(in crate::train) const EPS: f64 = 1e-5;
/// Rows of one part of a sum, and of one stream of dropout draws; fixed, since it decides both.
const PART: usize = 64;

/// Where the dropout draws of one layer in one step come from.
#[derive(Debug, Clone)]
pub(in crate::train) struct DropoutStream {
    /// Probability of dropping, in [0, 1).
    pub(in crate::train) p: f64,
    pub(in crate::train) seed: u64,
    /// Epoch, batch, modality, pass, layer.
    pub(in crate::train) at: [u64; 5],
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
    pub(in crate::train) fn mask(&self, rows: usize, width: usize) -> Vec<f32> {
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
pub(in crate::train) struct BatchStats {
    pub(in crate::train) mean: Vec<f64>,
    pub(in crate::train) var: Vec<f64>,
    pub(in crate::train) rows: usize,
}

/// One use of the layer.
#[derive(Debug)]
pub(in crate::train) struct NormReluDropout {
    dropout: DropoutStream,
    /// Filled by the forward pass.
    stats: OnceLock<BatchStats>,
}

impl NormReluDropout {
    /// One use, whose statistics are those of the batch that it will see.
    pub(in crate::train) fn new(dropout: DropoutStream) -> Self {
        Self {
            dropout,
            stats: OnceLock::new(),
        }
    }

    /// The statistics of the batch, after the forward pass.
    pub(in crate::train) fn stats(&self) -> &BatchStats {
        self.stats.get().expect("the forward pass has run")
    }

    fn inverse_sd(&self) -> Vec<f64> {
        self.stats()
            .var
            .iter()
            .map(|v| 1.0 / (v + EPS).sqrt())
            .collect()
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
    let arch = clcc_numerics::math::vectors();
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
        let Self { a, b, .. } = self;
        let width = a.len();
        let rows = self.x.chunks_exact(width);
        let rows = rows.zip(self.draws.chunks_exact(width));
        for ((x, draws), out) in rows.zip(self.out.chunks_exact_mut(width)) {
            let columns = out.iter_mut().zip(x).zip(draws).zip(a).zip(b);
            for ((((o, &x), &draw), &a), &b) in columns {
                let y = a * x + b;
                // Written so that a broken value reaches the loss, where it is reported.
                let stopped = (y <= T::zero()) | (draw < self.threshold);
                *o = if stopped { T::zero() } else { y * self.kept };
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
    /// The same shape as `x`, `rows x width`, from a scale and a shift of `width`.
    pub(in crate::train) fn forward<T: Real>(&self, x: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
        let width = scale.len();
        let stats = self.stats.get_or_init(|| batch_stats(x, width));
        let inverse = self.inverse_sd();
        // y = a x + b with the norm folded in.
        let folded = |h: usize| scale[h].to_f64() * inverse[h];
        let a: Vec<T> = (0..width).map(|h| T::from_f64(folded(h))).collect();
        let b: Vec<T> = (0..width)
            .map(|h| T::from_f64(shift[h].to_f64() - folded(h) * stats.mean[h]))
            .collect();
        let arch = clcc_numerics::math::vectors();
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

    /// Gradients of the input, the scale and the shift, from the input, the output `res` and its
    /// gradient.
    pub(in crate::train) fn backward<T: Real>(
        &self,
        x: &[T],
        scale: &[T],
        res: &[T],
        grad: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let width = scale.len();
        let (inverse, stats) = (self.inverse_sd(), self.stats());
        let (mean, n) = (&stats.mean, stats.rows as f64);
        let kept = 1.0 / (1.0 - self.dropout.p);
        let arch = clcc_numerics::math::vectors();
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
    pub(in crate::train) fn composed(
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

#[cfg(test)]
mod tests;
