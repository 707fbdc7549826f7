//! AdamW in one pass over each parameter.
//!
//! Loshchilov and Hutter 2019, as torch computes it: decay first, then the Adam step with bias
//! corrections; betas 0.9 and 0.999, `eps` 1e-8 added after the root. Every parameter decays,
//! biases and batch norm included. candle's own takes about 18 passes and cannot save its moments,
//! so a resumed run could not be the uninterrupted one.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::real::{Real, values};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// Elements that one thread takes at a time; no sum crosses elements, so it decides nothing.
const PART: usize = 1 << 14;

/// First and second moments of one parameter.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct AdamMoments {
    pub(super) m: Vec<f32>,
    pub(super) v: Vec<f32>,
}

/// One step on one parameter: `parameter.inplace_op2(&gradient, &op)`.
pub(super) struct AdamWStep<'a> {
    pub(super) moments: Mutex<&'a mut AdamMoments>,
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
    /// Steps done, this one included.
    pub(super) step: u64,
}

impl AdamWStep<'_> {
    /// Updates `parameter` (contiguous, on the CPU) in place.
    pub(super) fn apply(&self, parameter: &Tensor, gradient: &Tensor) -> Result<()> {
        parameter.inplace_op2(&gradient.contiguous()?, self)
    }

    fn update<T: Real>(&self, parameter: &mut [T], gradient: &[T], moments: &mut AdamMoments) {
        let power = |beta: f64| 1.0 - beta.powf(self.step as f64);
        let decay = T::from_f64(1.0 - self.learning_rate * self.weight_decay);
        let rate = T::from_f64(self.learning_rate / power(BETA1));
        let root = T::from_f64(1.0 / power(BETA2).sqrt());
        let (b1, b2, eps) = (T::from_f64(BETA1), T::from_f64(BETA2), T::from_f64(EPS));
        let (c1, c2) = (T::from_f64(1.0 - BETA1), T::from_f64(1.0 - BETA2));
        let parts = parameter.par_chunks_mut(PART).zip(gradient.par_chunks(PART));
        let parts = parts.zip(moments.m.par_chunks_mut(PART)).zip(moments.v.par_chunks_mut(PART));
        let arch = pulp::Arch::new();
        parts.for_each(|(((p, g), m), v)| {
            arch.dispatch(
                #[inline(always)]
                || {
                    for i in 0..p.len() {
                        let m1 = b1 * T::of(m[i]) + c1 * g[i];
                        let v1 = b2 * T::of(v[i]) + c2 * g[i] * g[i];
                        p[i] = p[i] * decay - rate * m1 / (T::square_root(v1) * root + eps);
                        m[i] = T::narrow(m1);
                        v[i] = T::narrow(v1);
                    }
                },
            );
        });
    }
}

impl InplaceOp2 for AdamWStep<'_> {
    fn name(&self) -> &'static str {
        "adamw-step"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<()> {
        let Some((start, end)) = pl.contiguous_offsets() else { bail!("expected a contiguous parameter") };
        let mut moments = self.moments.lock().expect("no update panicked");
        if moments.m.is_empty() {
            **moments = AdamMoments { m: vec![0.0; end - start], v: vec![0.0; end - start] };
        }
        if moments.m.len() != end - start || gl.shape().elem_count() != end - start {
            bail!("parameter, gradient and moments differ in size");
        }
        match p {
            CpuStorage::F32(p) => self.update(&mut p[start..end], values::<f32>(g, gl)?, &mut moments),
            CpuStorage::F64(p) => self.update(&mut p[start..end], values::<f64>(g, gl)?, &mut moments),
            _ => bail!("expected an f32 or f64 parameter"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// torch 2: `p = tensor([1., -2., 0.5]); AdamW([p], lr=0.1, weight_decay=0.5)`, loss `(p**3).sum()`, by the
    /// published update, two steps in f64 written out here.
    #[test]
    fn two_steps_follow_the_published_update() {
        let p = Var::from_tensor(&Tensor::new(&[1.0f64, -2.0, 0.5], &Device::Cpu).unwrap()).unwrap();
        let mut moments = AdamMoments::default();
        let mut expected = [1.0f64, -2.0, 0.5];
        let (mut m, mut v) = ([0.0f64; 3], [0.0f64; 3]);
        for step in 1..=2u64 {
            let gradient = (p.as_tensor().sqr().unwrap() * 3.0).unwrap();
            let op = AdamWStep { moments: Mutex::new(&mut moments), learning_rate: 0.1, weight_decay: 0.5, step };
            op.apply(&p, &gradient).unwrap();
            for i in 0..3 {
                let g = 3.0 * expected[i] * expected[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let m_hat = m[i] / (1.0 - 0.9f64.powi(step as i32));
                let v_hat = v[i] / (1.0 - 0.999f64.powi(step as i32));
                expected[i] = expected[i] * (1.0 - 0.1 * 0.5) - 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
            }
            // Moments are kept in f32: relative 1e-7.
            let found = p.to_vec1::<f64>().unwrap();
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?} {expected:?}");
        }
    }
}
