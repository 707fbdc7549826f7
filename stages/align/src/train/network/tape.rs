//! A training pass of an encoder on the CPU, forward and backward by hand.
//!
//! candle's graph would make each gradient three times over (zeros, the gradient, their sum), and
//! its elementwise operations wait in a thread pool of their own, whose threads spin while rayon's work.
//! Here a pass computes its outputs outside any graph and keeps what its gradient needs; the graph of
//! the loss starts at the outputs ([`Tape::leaf`]).

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::encoder::{Linear, Norm};
use super::input_layer::{Pending, SparseBatch};
use super::matmul::{product, product_plus, view};
use super::norm::{BatchStats, DropoutStream, NormReluDropout};
use super::real::{Real, hold, tensor, with_real};
use super::unit_rows;

/// Rows of one part of a sum over rows; fixed, since it decides the order of the sum.
const PART: usize = 64;

/// What a pass leaves for its gradient.
#[derive(Debug)]
pub(in crate::train) struct Tape {
    batch: SparseBatch,
    blocks: Vec<Block>,
    /// The last layer's rows, where the outputs are these brought to unit length.
    unscaled: Option<Tensor>,
    /// The outputs.
    pub(in crate::train) leaf: Var,
}

/// One BatchNorm, ReLU, Dropout.
#[derive(Debug)]
struct Block {
    norm: NormReluDropout,
    /// Its inputs and outputs.
    x: Tensor,
    y: Tensor,
}

impl Tape {
    /// Runs a batch through the layers; with `unit`, rows of unit length.
    ///
    /// # Errors
    /// candle's.
    pub(in crate::train) fn record(
        linears: &[Linear],
        norms: &[Norm],
        batch: &SparseBatch,
        dropout: impl Fn(usize) -> DropoutStream,
        unit: bool,
    ) -> Result<Self> {
        let mut x = batch.linear(&linears[0].weight, &linears[0].bias)?;
        let mut blocks = Vec::with_capacity(norms.len());
        for (layer, (norm, next)) in norms.iter().zip(&linears[1..]).enumerate() {
            let part = NormReluDropout::new(dropout(layer));
            let (y, out) = with_real!(x.dtype(), T => block::<T>(&x, &part, norm, next)?);
            blocks.push(Block { norm: part, x, y });
            x = out;
        }
        let (outputs, unscaled) = if unit {
            (
                with_real!(x.dtype(), T => unit_rows::on_cpu::<T>(&x)?),
                Some(x),
            )
        } else {
            (x, None)
        };
        Ok(Self {
            batch: batch.clone(),
            blocks,
            unscaled,
            leaf: Var::from_tensor(&outputs)?,
        })
    }

    /// The statistics of each norm's batch.
    pub(in crate::train) fn stats(&self) -> impl Iterator<Item = &BatchStats> {
        self.blocks.iter().map(|b| b.norm.stats())
    }

    /// From the gradient of the outputs: what the first weight's is made of, and those of all other
    /// parameters, in the order of [`super::encoder::Encoder::parameters`].
    ///
    /// # Errors
    /// candle's.
    pub(in crate::train) fn gradients(
        self,
        linears: &[Linear],
        norms: &[Norm],
        grad: &Tensor,
    ) -> Result<(Pending, Vec<Tensor>)> {
        with_real!(grad.dtype(), T => self.gradients_as::<T>(linears, norms, grad))
    }

    fn gradients_as<T: Real>(
        self,
        linears: &[Linear],
        norms: &[Norm],
        grad: &Tensor,
    ) -> Result<(Pending, Vec<Tensor>)> {
        let grad = grad.contiguous()?;
        let mut g = match &self.unscaled {
            Some(x) => unit_rows::gradient::<T>(x, &self.leaf, &grad)?,
            None => hold(&grad).get::<T>()?.to_vec(),
        };
        // From the last parameter to the first.
        let mut found = Vec::new();
        for (block, (norm, next)) in self
            .blocks
            .iter()
            .zip(norms.iter().zip(&linears[1..]))
            .rev()
        {
            let (width, inputs) = next.weight.dims2()?;
            let (x, y) = (hold(&block.x), hold(&block.y));
            let (weight, scale) = (hold(&next.weight), hold(&norm.scale));
            let grad = view(&g, width);
            found.push(tensor(column_sums(&g, width), width)?);
            let of_weight = product(grad.t(), view(y.get()?, inputs));
            found.push(tensor(of_weight, (width, inputs))?);
            let dy = product(grad, view(weight.get()?, inputs));
            let (dx, dscale, dshift) = block.norm.backward(x.get()?, scale.get()?, y.get()?, &dy);
            found.push(tensor(dshift, inputs)?);
            found.push(tensor(dscale, inputs)?);
            g = dx;
        }
        let (pending, bias) = Pending::new(self.batch, &g, linears[0].width())?;
        found.push(bias);
        found.reverse();
        Ok((pending, found))
    }
}

/// Outputs of a norm and of the linear layer behind it.
fn block<T: Real>(
    x: &Tensor,
    part: &NormReluDropout,
    norm: &Norm,
    next: &Linear,
) -> Result<(Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let (x, scale, shift) = (hold(x), hold(&norm.scale), hold(&norm.shift));
    let y = part.forward::<T>(x.get()?, scale.get()?, shift.get()?);
    let (weight, bias) = (hold(&next.weight), hold(&next.bias));
    let weight = view(weight.get()?, width).t();
    let out = product_plus(view(&y, width), weight, Some(bias.get()?));
    Ok((
        tensor(y, (rows, width))?,
        tensor(out, (rows, next.width()))?,
    ))
}

/// Sums over the rows, in f64, part by part.
fn column_sums<T: Real>(values: &[T], width: usize) -> Vec<T> {
    let parts: Vec<Vec<f64>> = values
        .par_chunks(PART * width)
        .map(|rows| {
            let mut sums = vec![0f64; width];
            for row in rows.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.to_f64());
            }
            sums
        })
        .collect();
    let total = |h: usize| parts.iter().map(|p| p[h]).sum();
    (0..width).map(|h| T::from_f64(total(h))).collect()
}
