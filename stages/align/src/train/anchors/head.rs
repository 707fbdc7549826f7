//! The head that maps `h` to `z`: Linear, ReLU, Linear, unit rows.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};

use crate::train::network::encoder::{NamedArray, square_sum};
use crate::train::network::matmul::matmul_nt;
use crate::train::network::ordered::add_bias;
use crate::train::network::unit_rows::{unit_rows, unit_rows_detached};
use crate::train::optimizer::{AdamMoments, AdamWStep};
use clcc_numerics::rng::Rng;

/// The head `g`.
#[derive(Debug)]
pub(super) struct Head {
    name: &'static str,
    /// Weight (`out x in`) and bias of each layer, in order.
    vars: [Var; 4],
}

impl Head {
    /// Weights and biases uniform in +-1 / sqrt(inputs), torch's default for `Linear`.
    pub(super) fn new(
        name: &'static str,
        widths: [usize; 3],
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let var = |layer: usize, weight: bool| {
            let (inputs, outputs) = (widths[layer], widths[layer + 1]);
            let bound = 1.0 / (inputs as f64).sqrt();
            let purpose = format!("train.init.{name}.head");
            let mut rng = Rng::new(seed, &purpose, &[layer as u64, u64::from(weight)]);
            let n = if weight { inputs * outputs } else { outputs };
            let values: Vec<f32> = (0..n)
                .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
                .collect();
            let shape: &[usize] = if weight {
                &[outputs, inputs]
            } else {
                &[outputs]
            };
            Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
        };
        Ok(Self {
            name,
            vars: [var(0, true)?, var(0, false)?, var(1, true)?, var(1, false)?],
        })
    }

    /// Computes `z` (`n x z_dim`, unit rows) from `h` (`n x h_dim`), within candle's graph.
    pub(super) fn forward(&self, h: &Tensor) -> Result<Tensor> {
        let [w0, b0, w1, b1] = &self.vars;
        let x = add_bias(&matmul_nt(h, w0)?, b0)?.relu()?;
        unit_rows(&add_bias(&matmul_nt(&x, w1)?, b1)?)
    }

    /// Computes `z` from `h` outside any graph.
    pub(super) fn forward_eval(&self, h: &Tensor) -> Result<Tensor> {
        let [w0, b0, w1, b1] = self.vars.each_ref().map(|v| v.as_tensor().detach());
        let x = add_bias(&matmul_nt(h, &w0)?, &b0)?.relu()?;
        unit_rows_detached(&add_bias(&matmul_nt(&x, &w1)?, &b1)?)
    }

    /// Trainable arrays with their names.
    pub(super) fn parameters(&self) -> [(String, &Var); 4] {
        let name = |layer: usize, what: &str| format!("{}.head.{layer}.{what}", self.name);
        let [w0, b0, w1, b1] = &self.vars;
        [
            (name(0, "weight"), w0),
            (name(0, "bias"), b0),
            (name(1, "weight"), w1),
            (name(1, "bias"), b1),
        ]
    }

    /// The gradients of the last backward pass.
    pub(super) fn gradients(&self, grads: &GradStore) -> Result<Vec<Tensor>> {
        self.parameters()
            .into_iter()
            .map(|(name, var)| match grads.get(var) {
                Some(gradient) => Ok(gradient.clone()),
                None => bail!("`{name}` has no gradient"),
            })
            .collect()
    }

    /// The sum of squares of gradients.
    pub(super) fn square_sum(gradients: &[Tensor]) -> Result<f64> {
        gradients.iter().map(square_sum).sum()
    }

    /// One optimiser step.
    pub(super) fn update(
        &self,
        gradients: &[Tensor],
        moments: &mut [AdamMoments],
        adam: AdamWStep,
    ) -> Result<()> {
        for ((var, gradient), moments) in self.vars.iter().zip(gradients).zip(moments) {
            adam.apply(var, gradient, moments)?;
        }
        Ok(())
    }

    /// Copies all weights.
    pub(super) fn snapshot(&self) -> Result<Vec<NamedArray>> {
        self.parameters()
            .into_iter()
            .map(|(name, var)| {
                Ok(NamedArray {
                    name,
                    shape: var.dims().to_vec(),
                    values: var.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?,
                })
            })
            .collect()
    }

    /// Takes over what [`Head::snapshot`] gave.
    pub(super) fn restore<'a>(&self, find: impl Fn(&str) -> Option<&'a [f32]>) -> Result<()> {
        for (name, var) in self.parameters() {
            let Some(values) = find(&name).filter(|v| v.len() == var.elem_count()) else {
                bail!("`{name}` is missing or of another size");
            };
            let values = Tensor::from_slice(values, var.shape(), var.device())?;
            var.set(&values.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }
}
