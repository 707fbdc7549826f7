//! Rows divided by their length (L2 norm).
//!
//! On the CPU squares are summed in f64, in order, so the bits are the same on every processor; an accelerator
//! uses candle's operations.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::real::{Real, dtype, hold, output, tensor, values, with_real};

/// Rows that one thread takes at a time; no sum crosses rows, so it decides nothing.
const PART: usize = 64;
/// Added to the sum of squares, so that the gradient of an all-zero row is finite (torch's floor
/// of 1e-12 on the length, squared).
const SHORTEST: f64 = 1e-24;

/// Divides each row of `x` (`n x width`) by its length, within candle's graph.
///
/// # Errors
/// candle's.
pub(in crate::train) fn unit_rows(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(UnitRows);
    }
    let length = (x.sqr()?.sum_keepdim(1)? + SHORTEST)?.sqrt()?;
    x.broadcast_div(&length)
}

/// Divides each row of `x` (`n x width`) by its length, outside any graph.
///
/// # Errors
/// candle's.
pub(in crate::train) fn unit_rows_detached(x: &Tensor) -> Result<Tensor> {
    unit_rows(&x.detach())
}

struct UnitRows;

impl CustomOp1 for UnitRows {
    fn name(&self) -> &'static str {
        "unit-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        with_real!(dtype(x), T => {
            output(divided::<T>(values(x, layout)?, width), layout.shape().clone())
        })
    }

    fn bwd(&self, x: &Tensor, unit: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        with_real!(grad.dtype(), T => {
            tensor(gradient::<T>(x, unit, &grad)?, x.shape()).map(Some)
        })
    }
}

/// [`unit_rows_detached`] of a contiguous tensor on the CPU.
pub(super) fn on_cpu<T: Real>(x: &Tensor) -> Result<Tensor> {
    tensor(divided::<T>(hold(x).get()?, x.dim(1)?), x.shape())
}

fn divided<T: Real>(x: &[T], width: usize) -> Vec<T> {
    let mut out = x.to_vec();
    out.par_chunks_mut(PART * width).for_each(|rows| {
        for row in rows.chunks_exact_mut(width) {
            let inverse = 1.0 / length(row);
            row.iter_mut()
                .for_each(|v| *v = T::from_f64(v.to_f64() * inverse));
        }
    });
    out
}

fn length<T: Real>(row: &[T]) -> f64 {
    let squares = row.iter().map(|v| v.to_f64() * v.to_f64());
    (squares.sum::<f64>() + SHORTEST).sqrt()
}

/// The gradient of `x` from `grad`, that of `unit` = `x / |x|`: `(g - (g . u) u) / |x|`, row by row.
pub(super) fn gradient<T: Real>(x: &Tensor, unit: &Tensor, grad: &Tensor) -> Result<Vec<T>> {
    let width = x.dim(1)?;
    let (x, unit, grad) = (hold(x), hold(unit), hold(grad));
    let (x, unit, grad) = (x.get::<T>()?, unit.get::<T>()?, grad.get::<T>()?);
    let mut out = vec![T::zero(); x.len()];
    out.par_chunks_mut(width)
        .with_min_len(PART)
        .zip(x.par_chunks(width))
        .zip(unit.par_chunks(width).zip(grad.par_chunks(width)))
        .for_each(|((out, x), (u, g))| {
            let inverse = 1.0 / length(x);
            let along: f64 = u.iter().zip(g).map(|(u, g)| u.to_f64() * g.to_f64()).sum();
            for ((o, u), g) in out.iter_mut().zip(u).zip(g) {
                *o = T::from_f64((g.to_f64() - along * u.to_f64()) * inverse);
            }
        });
    Ok(out)
}
