//! `A B^T` on the CPU with the same bits at any number of threads.
//!
//! candle hands its products to `gemm`, whose order of operations follows the processor, with a thread count
//! of its own (an environment variable, or the machine's cores), which is not the count that this
//! stage was granted. Here they are [`clcc_numerics::math`]'s; other devices use candle's own.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::real::{Real, dtype, hold, output, tensor, values, with_real};
use clcc_numerics::math::{View, add_product};

/// `A B^T`: `n x m` from `n x k` and `m x k`, with gradients for both.
pub(in crate::train) fn matmul_nt(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() {
        a.contiguous()?.apply_op2(&b.contiguous()?, MatMulNt)
    } else {
        a.matmul(&b.t()?)
    }
}

struct MatMulNt;

/// A row-major matrix of so many columns; [`View::t`] is its transpose.
pub(in crate::train) fn view<T: Real>(values: &[T], cols: usize) -> View<'_, T> {
    View::row_major(values, values.len() / cols, cols)
}

/// `A B`, row-major.
pub(in crate::train) fn product<T: Real>(a: View<'_, T>, b: View<'_, T>) -> Vec<T> {
    product_plus(a, b, None)
}

/// `A B`, with `bias` added to each row.
pub(in crate::train) fn product_plus<T: Real>(
    a: View<'_, T>,
    b: View<'_, T>,
    bias: Option<&[T]>,
) -> Vec<T> {
    let m = b.cols();
    let mut out = vec![T::default(); a.rows() * m];
    add_product(a, b, &mut out);
    if let Some(bias) = bias {
        for row in out.chunks_exact_mut(m) {
            row.iter_mut().zip(bias).for_each(|(o, &b)| *o += b);
        }
    }
    out
}

impl CustomOp2 for MatMulNt {
    fn name(&self) -> &'static str {
        "matmul-nt"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, k), (m, kb)) = (al.shape().dims2()?, bl.shape().dims2()?);
        if k != kb || k == 0 {
            bail!("A B^T of {n} x {k} and {m} x {kb}");
        }
        with_real!(dtype(a), T => {
            let (a, b) = (view(values::<T>(a, al)?, k), view(values::<T>(b, bl)?, k));
            output(product(a, b.t()), (n, m))
        })
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (m, k) = b.dims2()?;
        let grad = grad.contiguous()?;
        let (ha, hb, hg) = (hold(a), hold(b), hold(&grad));
        with_real!(grad.dtype(), T => {
            let (va, vb) = (view(ha.get::<T>()?, k), view(hb.get::<T>()?, k));
            let vg = view(hg.get()?, m);
            let (da, db) = (product(vg, vb), product(vg.t(), va));
            Ok((Some(tensor(da, a.shape())?), Some(tensor(db, b.shape())?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};
    use clcc_numerics::rng::Rng;
    use clcc_testing::at_threads;

    fn random(n: usize, m: usize, seed: u64) -> Tensor {
        let mut rng = Rng::new(seed, "test.matmul", &[]);
        let v: Vec<f64> = (0..n * m).map(|_| rng.normal()).collect();
        Tensor::from_vec(v, (n, m), &Device::Cpu).unwrap()
    }

    fn worst(a: &Tensor, b: &Tensor) -> f64 {
        (a - b)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap()
    }

    #[test]
    fn product_and_gradients_are_candle_s() {
        let a = Var::from_tensor(&random(150, 33, 1)).unwrap();
        let b = Var::from_tensor(&random(70, 33, 2)).unwrap();
        let g = random(150, 70, 3);
        let run = |out: Tensor| {
            let grads = out.mul(&g).unwrap().sum_all().unwrap().backward().unwrap();
            (
                out,
                grads.get(&a).unwrap().clone(),
                grads.get(&b).unwrap().clone(),
            )
        };
        let ours = run(matmul_nt(&a, &b).unwrap());
        let theirs = run(a.matmul(&b.t().unwrap()).unwrap());
        assert!(worst(&ours.0, &theirs.0) < 1e-12);
        assert!(worst(&ours.1, &theirs.1) < 1e-12);
        assert!(worst(&ours.2, &theirs.2) < 1e-12);
    }

    #[test]
    fn one_and_three_threads_give_the_same_bits() {
        let (a, b) = (
            random(300, 257, 4).to_dtype(DType::F32).unwrap(),
            random(130, 257, 5).to_dtype(DType::F32).unwrap(),
        );
        let run = |threads: usize| {
            at_threads(threads, || {
                matmul_nt(&a, &b).unwrap().to_vec2::<f32>().unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }
}
