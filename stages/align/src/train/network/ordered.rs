//! Operations of candle's graph with the same bits on every processor.
//!
//! candle's own sums follow the vector units that it was compiled for, and its exponentials are the C library's.
//! On the CPU, sums over rows and columns are products with ones here, in the order of
//! [`clcc_numerics::math`]'s, and the softmax is summed in f64; other devices use candle's operations.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, WithDType};
use candle_nn::ops;

use super::matmul::matmul_nt;
use super::real::{dtype, hold, output, tensor, values, with_real};
use clcc_numerics::math;

/// Adds `bias` (`width`) to each row of `x` (`n x width`).
///
/// # Errors
/// candle's.
pub(in crate::train) fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return x.broadcast_add(bias);
    }
    let (n, width) = x.dims2()?;
    let ones = Tensor::ones((n, 1), x.dtype(), x.device())?;
    x + matmul_nt(&ones, &bias.reshape((width, 1))?)?
}

/// Sums each row of `x` (`n x width`) into `n`.
///
/// # Errors
/// candle's.
pub(in crate::train) fn row_sums(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return x.sum(D::Minus1);
    }
    let (n, width) = x.dims2()?;
    let ones = Tensor::ones((1, width), x.dtype(), x.device())?;
    matmul_nt(x, &ones)?.reshape(n)
}

/// Averages the values of `x` (`n`).
///
/// # Errors
/// candle's.
pub(in crate::train) fn mean(x: &Tensor) -> Result<Tensor> {
    let n = x.dims1()?;
    (row_sums(&x.reshape((1, n))?)?.reshape(())? / n as f64)?.contiguous()
}

/// The logarithm of the softmax of each row of `x` (`n x width`).
///
/// # Errors
/// candle's.
pub(in crate::train) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op1(LogSoftmax)
    } else {
        ops::log_softmax(x, D::Minus1)
    }
}

struct LogSoftmax;

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        "log-softmax-in-order"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        with_real!(dtype(x), T => {
            let mut out = values::<T>(x, layout)?.to_vec();
            for row in out.chunks_exact_mut(width) {
                let largest = row.iter().map(|v| v.to_f64()).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|v| math::exp(v.to_f64() - largest)).sum();
                let log = largest + math::ln(sum);
                row.iter_mut().for_each(|v| *v = T::from_f64(v.to_f64() - log));
            }
            output(out, layout.shape().clone())
        })
    }

    /// `g - softmax(x) sum(g)`, row by row.
    fn bwd(&self, x: &Tensor, log: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let grad = grad.contiguous()?;
        let (log, held) = (hold(log), hold(&grad));
        with_real!(grad.dtype(), T => {
            let mut out = held.get::<T>()?.to_vec();
            for (g, log) in out.chunks_exact_mut(width).zip(log.get::<T>()?.chunks_exact(width)) {
                let sum: f64 = g.iter().map(|g| g.to_f64()).sum();
                for (g, log) in g.iter_mut().zip(log) {
                    *g = T::from_f64(g.to_f64() - math::exp(log.to_f64()) * sum);
                }
            }
            tensor(out, x.shape()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use clcc_numerics::rng::Rng;

    fn random(n: usize, m: usize) -> Var {
        let mut rng = Rng::new(1, "test.ordered", &[]);
        let v: Vec<f64> = (0..n * m).map(|_| 3.0 * rng.normal()).collect();
        Var::from_tensor(&Tensor::from_vec(v, (n, m), &Device::Cpu).unwrap()).unwrap()
    }

    /// The value and gradient of a scalar that weighs every output differently.
    fn run(x: &Var, f: impl Fn(&Tensor) -> Result<Tensor>) -> (Vec<f64>, Vec<f64>) {
        let y = f(x).unwrap().flatten_all().unwrap();
        let n = y.elem_count();
        let weights = Tensor::arange(0f64, n as f64, &Device::Cpu).unwrap();
        let total = (&y * weights.sqrt().unwrap()).unwrap().sum_all().unwrap();
        let grads = total.backward().unwrap();
        let gradient = grads.get(x).unwrap().flatten_all().unwrap();
        (y.to_vec1().unwrap(), gradient.to_vec1().unwrap())
    }

    fn assert_same(
        x: &Var,
        ours: impl Fn(&Tensor) -> Result<Tensor>,
        candle_s: impl Fn(&Tensor) -> Result<Tensor>,
    ) {
        let (a, b) = (run(x, ours), run(x, candle_s));
        for (a, b) in a.0.iter().zip(&b.0).chain(a.1.iter().zip(&b.1)) {
            assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    #[test]
    fn values_and_gradients_are_candle_s() {
        let x = random(7, 33);
        assert_same(&x, log_softmax, |x| ops::log_softmax(x, D::Minus1));
        assert_same(&x, row_sums, |x| x.sum(D::Minus1));
        assert_same(&x, |x| mean(&x.flatten_all()?), Tensor::mean_all);
        let other = random(5, 33);
        let bias = random(1, 33);
        assert_same(
            &bias,
            |b| add_bias(&other, &b.flatten_all()?),
            |b| other.broadcast_add(&b.flatten_all()?),
        );
    }
}
