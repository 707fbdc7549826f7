//! AdamW, and Adam with L2, in one pass over each parameter.
//!
//! Loshchilov and Hutter 2019, as torch computes it: decay first, then the Adam step with bias
//! corrections; betas 0.9 and 0.999, `eps` 1e-8 added after the root. Every parameter decays,
//! biases and batch norm included. torch's `Adam(weight_decay)` is the other kind of decay: `l2`
//! times the parameter joins the gradient, after clipping, and so passes through the moments. candle's
//! own takes about 18 passes and cannot save its moments, so a resumed run could not equal an
//! uninterrupted one.

use std::borrow::Cow;
use std::sync::Mutex;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::train::network::real::{Real, values};
use clcc_numerics::math;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// Elements that one thread takes at a time; no sum crosses elements, so it decides nothing.
const PART: usize = 1 << 14;

/// First and second moments of one parameter.
#[derive(Debug, Clone, Default)]
pub(in crate::train) struct AdamMoments {
    pub(in crate::train) m: Vec<f32>,
    pub(in crate::train) v: Vec<f32>,
    /// The same in an accelerator's memory, where the parameter is there; then these are the newer.
    resident: Option<(Tensor, Tensor)>,
}

impl AdamMoments {
    /// Zeros where there is nothing yet.
    pub(in crate::train) fn fit(&mut self, n: usize) -> Result<()> {
        if self.m.is_empty() {
            self.m = vec![0.0; n];
            self.v = vec![0.0; n];
        }
        if self.m.len() != n || self.v.len() != n {
            bail!("moments of {} values for a parameter of {n}", self.m.len());
        }
        Ok(())
    }

    /// From stored values.
    pub(in crate::train) fn stored(m: Vec<f32>, v: Vec<f32>) -> Self {
        Self {
            m,
            v,
            resident: None,
        }
    }

    /// The values, wherever they are held.
    pub(in crate::train) fn values(&self) -> Result<(Cow<'_, [f32]>, Cow<'_, [f32]>)> {
        match &self.resident {
            None => Ok((Cow::Borrowed(&self.m), Cow::Borrowed(&self.v))),
            Some((m, v)) => {
                let host = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
                Ok((Cow::Owned(host(m)?), Cow::Owned(host(v)?)))
            }
        }
    }
}

/// The settings of one step.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct AdamWStep {
    pub(in crate::train) learning_rate: f64,
    /// Decoupled decay (AdamW).
    pub(in crate::train) weight_decay: f64,
    /// What is added to the gradient for each unit of the parameter (Adam).
    pub(in crate::train) l2: f64,
    /// Steps done, this one included.
    pub(in crate::train) step: u64,
    /// What the gradient is multiplied by first: below 1 where it is clipped.
    pub(in crate::train) gradient_scale: f64,
}

impl AdamWStep {
    /// Updates `parameter` and its moments.
    pub(in crate::train) fn apply(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut AdamMoments,
    ) -> Result<()> {
        if !parameter.device().is_cpu() {
            return self.composed(parameter, gradient, moments);
        }
        let op = ParameterStep {
            adam: *self,
            moments: Mutex::new(moments),
        };
        parameter.inplace_op2(&gradient.contiguous()?, &op)
    }

    /// The same by candle's own operations, with the moments where the parameter is.
    fn composed(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut AdamMoments,
    ) -> Result<()> {
        moments.fit(parameter.elem_count())?;
        let (m, v) = match moments.resident.take() {
            Some(both) => both,
            None => {
                let place = |values: &[f32]| {
                    Tensor::from_slice(values, parameter.shape(), parameter.device())
                };
                (place(&moments.m)?, place(&moments.v)?)
            }
        };
        let g = (gradient.to_dtype(DType::F32)? * self.gradient_scale)?;
        let g = if self.l2 > 0.0 {
            (g + (parameter.as_tensor().to_dtype(DType::F32)? * self.l2)?)?
        } else {
            g
        };
        let m = ((m * BETA1)? + (&g * (1.0 - BETA1))?)?;
        let v = ((v * BETA2)? + (g.sqr()? * (1.0 - BETA2))?)?;
        let root = ((v.sqrt()? * (1.0 / self.correction(BETA2).sqrt()))? + EPS)?;
        let step = ((&m / root)? * (self.learning_rate / self.correction(BETA1)))?;
        let decayed = (parameter.as_tensor() * (1.0 - self.learning_rate * self.weight_decay))?;
        parameter.set(&(decayed - step.to_dtype(parameter.dtype())?)?)?;
        moments.resident = Some((m, v));
        Ok(())
    }

    fn correction(&self, beta: f64) -> f64 {
        1.0 - math::pow(beta, self.step as f64)
    }

    /// Updates some elements and their moments.
    pub(in crate::train) fn update<T: Real>(
        &self,
        p: &mut [T],
        g: &[T],
        m: &mut [f32],
        v: &mut [f32],
    ) {
        let decay = T::from_f64(1.0 - self.learning_rate * self.weight_decay);
        let rate = T::from_f64(self.learning_rate / self.correction(BETA1));
        let root = T::from_f64(1.0 / self.correction(BETA2).sqrt());
        clcc_numerics::math::vectors().dispatch(AdamPart {
            p,
            g,
            m,
            v,
            decay,
            rate,
            root,
            scale: T::from_f64(self.gradient_scale),
            l2: T::from_f64(self.l2),
        });
    }
}

struct ParameterStep<'a> {
    adam: AdamWStep,
    moments: Mutex<&'a mut AdamMoments>,
}

impl ParameterStep<'_> {
    fn update<T: Real>(&self, p: &mut [T], g: &[T], moments: &mut AdamMoments) {
        let parts = p.par_chunks_mut(PART).zip(g.par_chunks(PART));
        let parts = parts
            .zip(moments.m.par_chunks_mut(PART))
            .zip(moments.v.par_chunks_mut(PART));
        parts.for_each(|(((p, g), m), v)| self.adam.update(p, g, m, v));
    }
}

/// The update of some elements.
struct AdamPart<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    m: &'a mut [f32],
    v: &'a mut [f32],
    /// `1 - rate * weight decay`.
    decay: T,
    /// Learning rate over the first bias correction.
    rate: T,
    /// One over the root of the second bias correction.
    root: T,
    /// Of the gradient.
    scale: T,
    l2: T,
}

impl<T: Real> pulp::WithSimd for AdamPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            p,
            g,
            m,
            v,
            decay,
            rate,
            root,
            scale,
            l2,
        } = self;
        let (b1, b2, eps) = (T::from_f64(BETA1), T::from_f64(BETA2), T::from_f64(EPS));
        let (c1, c2) = (T::from_f64(1.0 - BETA1), T::from_f64(1.0 - BETA2));
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * scale + l2 * *p;
            let m1 = b1 * T::of(*m) + c1 * g;
            let v1 = b2 * T::of(*v) + c2 * g * g;
            *p = *p * decay - rate * m1 / (T::square_root(v1) * root + eps);
            *m = T::narrow(m1);
            *v = T::narrow(v1);
        }
    }
}

impl InplaceOp2 for ParameterStep<'_> {
    fn name(&self) -> &'static str {
        "adamw-step"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<()> {
        let Some((start, end)) = pl.contiguous_offsets() else {
            bail!("expected a contiguous parameter")
        };
        if gl.shape().elem_count() != end - start {
            bail!(
                "a gradient of {:?} for a parameter of {:?}",
                gl.shape(),
                pl.shape()
            );
        }
        let mut moments = self.moments.lock().expect("no update panicked");
        moments.fit(end - start)?;
        match p {
            CpuStorage::F32(p) => {
                self.update(&mut p[start..end], values::<f32>(g, gl)?, &mut moments)
            }
            CpuStorage::F64(p) => {
                self.update(&mut p[start..end], values::<f64>(g, gl)?, &mut moments)
            }
            _ => bail!("expected an f32 or f64 parameter"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// torch 2: `p = tensor([1., -2., 0.5]); AdamW([p], lr=0.1, weight_decay=0.5)`, loss `(p**3).sum()`, by the
    /// published update, two steps in f64 written out here; fused, and of candle's own operations;
    /// and the same for `Adam`, whose decay joins the gradient.
    #[test]
    fn two_steps_follow_the_published_update() {
        for (composed, decay, l2) in [
            (false, 0.5, 0.0),
            (true, 0.5, 0.0),
            (false, 0.0, 0.5),
            (true, 0.0, 0.5),
        ] {
            let start = Tensor::new(&[1.0f64, -2.0, 0.5], &Device::Cpu).unwrap();
            let p = Var::from_tensor(&start).unwrap();
            let mut moments = AdamMoments::default();
            let mut expected = [1.0f64, -2.0, 0.5];
            let (mut m, mut v) = ([0.0f64; 3], [0.0f64; 3]);
            for step in 1..=2u64 {
                let gradient = (p.as_tensor().sqr().unwrap() * 6.0).unwrap();
                let adam = AdamWStep {
                    learning_rate: 0.1,
                    weight_decay: decay,
                    l2,
                    step,
                    // The gradient above is twice the loss's.
                    gradient_scale: 0.5,
                };
                if composed {
                    adam.composed(&p, &gradient, &mut moments).unwrap();
                } else {
                    adam.apply(&p, &gradient, &mut moments).unwrap();
                }
                for i in 0..3 {
                    let g = 3.0 * expected[i] * expected[i] + l2 * expected[i];
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let m_hat = m[i] / (1.0 - 0.9f64.powi(step as i32));
                    let v_hat = v[i] / (1.0 - 0.999f64.powi(step as i32));
                    expected[i] =
                        expected[i] * (1.0 - 0.1 * decay) - 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
                }
                // Moments are kept in f32, and so is the composed step: relative 1e-7.
                let found = p.to_vec1::<f64>().unwrap();
                let close = |(a, b): (&f64, f64)| (a - b).abs() < 2e-7;
                assert!(
                    found.iter().zip(expected).all(close),
                    "{found:?} {expected:?}"
                );
                let (held, _) = moments.values().unwrap();
                assert!(
                    held.iter()
                        .zip(m)
                        .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5)
                );
            }
        }
    }
}
