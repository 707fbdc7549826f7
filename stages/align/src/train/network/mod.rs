//! The layers that both methods train, forward and backward.
//!
//! [`encoder`] stacks them; [`inputs`] feeds it batches of cells. On the CPU a training pass is the
//! hand-written one of [`tape`], over a sparse first layer ([`input_layer`]) and a fused batch norm,
//! ReLU and dropout ([`norm`]); on an accelerator it is candle's graph. [`matmul`] and [`real`] keep
//! the products' order of operations fixed.

pub(in crate::train) mod encoder;
pub(in crate::train) mod input_layer;
pub(in crate::train) mod inputs;
pub(in crate::train) mod matmul;
pub(in crate::train) mod norm;
pub(in crate::train) mod ordered;
pub(in crate::train) mod real;
pub(in crate::train) mod tape;
pub(in crate::train) mod unit_rows;

use candle_core::{DType, Result, Tensor};

/// The value of a tensor of no dimensions, in f64.
///
/// # Errors
/// candle's, where the tensor has dimensions.
pub(in crate::train) fn scalar(t: &Tensor) -> Result<f64> {
    t.to_dtype(DType::F64)?.to_scalar::<f64>()
}
