//! An encoder: Linear, BatchNorm, ReLU, Dropout blocks, a last Linear, unit rows.

use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::input_layer::{InputLayerStep, LANES, Pending, gradient_square_sum, panels, place};
use super::inputs::Batch;
use super::matmul::matmul_nt;
use super::norm::{BatchStats, DropoutStream, EPS, NormReluDropout};
use super::tape::Tape;
use super::unit_rows::{unit_rows, unit_rows_detached};
use crate::train::optimizer::{AdamMoments, AdamWStep};
use clcc_numerics::rng::Rng;

/// Share of the new batch in the running statistics, as torch's default.
const MOMENTUM: f64 = 0.1;

/// A pass's place in the run, which decides its dropout draws.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct Pass {
    pub(in crate::train) seed: u64,
    pub(in crate::train) dropout: f64,
    pub(in crate::train) epoch: u64,
    pub(in crate::train) batch: u64,
    /// 0 for anchors (and everything in the joint scope), 1 for negatives in the separate scope.
    pub(in crate::train) part: u64,
}

/// A linear layer.
#[derive(Debug)]
pub(in crate::train) struct Linear {
    /// `panels x in x LANES` in the first layer (see [`super::input_layer`]), `out x in` in the others.
    pub(in crate::train) weight: Var,
    pub(in crate::train) bias: Var,
}

/// A batch norm.
#[derive(Debug)]
pub(in crate::train) struct Norm {
    pub(in crate::train) scale: Var,
    pub(in crate::train) shift: Var,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
}

/// Weights of one modality's encoder.
#[derive(Debug)]
pub(in crate::train) struct Encoder {
    name: &'static str,
    linears: Vec<Linear>,
    norms: Vec<Norm>,
    /// On the CPU: the passes since the last step.
    tapes: Vec<Tape>,
    /// On an accelerator: the passes' inputs, and the first layer's outputs as the graph's leaves.
    leaves: Vec<(Tensor, Var)>,
}

/// The gradients of one step, in the order of [`Encoder::parameters`].
#[derive(Debug)]
pub(in crate::train) struct Gradients {
    /// Of the first weight.
    first: FirstGradient,
    others: Vec<Tensor>,
}

#[derive(Debug)]
enum FirstGradient {
    Pending(Vec<Pending>),
    Whole(Tensor),
}

/// A named array in the layout in which it is held in memory (see [`torch_layout`]).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct NamedArray {
    pub(in crate::train) name: String,
    pub(in crate::train) shape: Vec<usize>,
    pub(in crate::train) values: Vec<f32>,
}

/// Looks arrays up by name, for [`Encoder::restore`].
pub(in crate::train) fn by_name<'a>(
    arrays: &'a [NamedArray],
) -> impl Fn(&str) -> Option<&'a [f32]> {
    |name| {
        let array = arrays.iter().find(|a| a.name == name);
        array.map(|a| a.values.as_slice())
    }
}

impl Encoder {
    /// Weights and biases uniform in +-1 / sqrt(inputs), torch's default for `Linear`; scales 1,
    /// shifts 0. `name` (`expr` or `cnv`) keeps the two encoders' draws apart.
    pub(in crate::train) fn new(
        name: &'static str,
        n_features: usize,
        hidden: &[usize],
        dim: usize,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut encoder = Self {
            name,
            linears: Vec::new(),
            norms: Vec::new(),
            tapes: Vec::new(),
            leaves: Vec::new(),
        };
        let mut inputs = n_features;
        for (layer, &width) in hidden.iter().chain([&dim]).enumerate() {
            let mut rng = Rng::new(seed, &format!("train.init.{name}"), &[layer as u64]);
            let bound = 1.0 / (inputs as f64).sqrt();
            let mut draw = |n: usize| {
                (0..n)
                    .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
                    .collect::<Vec<f32>>()
            };
            let var = |values: Vec<f32>, shape: &[usize]| {
                Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
            };
            let weight = if layer == 0 {
                let mut held = vec![0f32; panels(width) * inputs * LANES];
                for feature in 0..inputs {
                    for (unit, value) in draw(width).into_iter().enumerate() {
                        held[place(inputs, feature, unit)] = value;
                    }
                }
                var(held, &[panels(width), inputs, LANES])?
            } else {
                var(draw(inputs * width), &[width, inputs])?
            };
            encoder.linears.push(Linear {
                weight,
                bias: var(draw(width), &[width])?,
            });
            if layer < hidden.len() {
                encoder.norms.push(Norm {
                    scale: var(vec![1.0; width], &[width])?,
                    shift: var(vec![0.0; width], &[width])?,
                    running_mean: vec![0.0; width],
                    running_var: vec![1.0; width],
                });
            }
            inputs = width;
        }
        Ok(encoder)
    }

    /// Embeds a batch in training mode as unit rows: with batch statistics, which move the running ones,
    /// and dropout.
    pub(in crate::train) fn forward_train(&mut self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        self.train(batch, pass, true)
    }

    /// Embeds a batch in training mode without scaling the rows to unit length.
    pub(in crate::train) fn hidden_train(&mut self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        self.train(batch, pass, false)
    }

    /// Drops passes whose gradient is not wanted.
    pub(in crate::train) fn forget_passes(&mut self) {
        self.tapes.clear();
        self.leaves.clear();
    }

    fn train(&mut self, batch: &Batch, pass: Pass, unit: bool) -> Result<Tensor> {
        let modality = u64::from(self.name == "cnv");
        let dropout = |layer: usize| DropoutStream {
            p: pass.dropout,
            seed: pass.seed,
            at: [pass.epoch, pass.batch, modality, pass.part, layer as u64],
        };
        let z = match batch {
            Batch::Sparse(rows) => {
                if rows.n_rows() < 2 {
                    bail!("batch norm takes at least 2 rows");
                }
                let tape = Tape::record(&self.linears, &self.norms, rows, dropout, unit)?;
                for (norm, stats) in self.norms.iter_mut().zip(tape.stats()) {
                    norm.follow(stats);
                }
                let outputs = tape.leaf.as_tensor().clone();
                self.tapes.push(tape);
                return Ok(outputs);
            }
            Batch::Dense(z) => z,
        };
        let leaf = Var::from_tensor(&self.linears[0].dense(z)?)?;
        self.leaves.push((z.clone(), leaf.clone()));
        let mut x = leaf.into_inner();
        for (layer, norm) in self.norms.iter_mut().enumerate() {
            let (y, stats) =
                NormReluDropout::composed(&x, &norm.scale, &norm.shift, &dropout(layer))?;
            norm.follow(&stats);
            let next = &self.linears[layer + 1];
            x = matmul_nt(&y, &next.weight)?.broadcast_add(&next.bias)?;
        }
        if unit { unit_rows(&x) } else { Ok(x) }
    }

    /// Embeds a batch in eval mode as unit rows: with running statistics, without dropout, outside any
    /// graph.
    pub(in crate::train) fn forward_eval(&self, batch: &Batch) -> Result<Tensor> {
        unit_rows_detached(&self.hidden_eval(batch)?)
    }

    /// Embeds a batch in eval mode without scaling the rows to unit length.
    pub(in crate::train) fn hidden_eval(&self, batch: &Batch) -> Result<Tensor> {
        let plain = |v: &Var| v.as_tensor().detach();
        let first = &self.linears[0];
        let mut x = match batch {
            Batch::Sparse(rows) => rows.linear(&first.weight, &first.bias)?,
            Batch::Dense(z) => first.dense(z)?,
        };
        for (norm, next) in self.norms.iter().zip(&self.linears[1..]) {
            let vector = |v: &[f32]| Tensor::new(v, x.device())?.to_dtype(x.dtype());
            let inverse = (vector(&norm.running_var)? + EPS)?.sqrt()?.recip()?;
            let a = (plain(&norm.scale) * inverse)?;
            let b = (plain(&norm.shift) - (vector(&norm.running_mean)? * &a)?)?;
            let y = x.broadcast_mul(&a)?.broadcast_add(&b)?.relu()?;
            x = matmul_nt(&y, &plain(&next.weight))?.broadcast_add(&plain(&next.bias))?;
        }
        Ok(x)
    }

    /// Trainable arrays with their names, in a fixed order.
    pub(in crate::train) fn parameters(&self) -> Vec<(String, &Var)> {
        let mut out = Vec::new();
        for (layer, linear) in self.linears.iter().enumerate() {
            out.push((format!("{}.{layer}.weight", self.name), &linear.weight));
            out.push((format!("{}.{layer}.bias", self.name), &linear.bias));
            if let Some(norm) = self.norms.get(layer) {
                out.push((format!("{}.{layer}.norm.weight", self.name), &norm.scale));
                out.push((format!("{}.{layer}.norm.bias", self.name), &norm.shift));
            }
        }
        out
    }

    /// Number of trainable values.
    pub(in crate::train) fn n_parameters(&self) -> usize {
        let filling = |l: &Linear| match l.weight.dims() {
            &[n_panels, features, lanes] => (n_panels * lanes - l.width()) * features,
            _ => 0,
        };
        let held: usize = self.parameters().iter().map(|p| p.1.elem_count()).sum();
        held - filling(&self.linears[0])
    }

    /// The gradients of the passes since the last step, from a backward pass that reached their
    /// outputs.
    pub(in crate::train) fn take_gradients(&mut self, grads: &GradStore) -> Result<Gradients> {
        if self.leaves.is_empty() {
            self.tape_gradients(grads)
        } else {
            self.graph_gradients(grads)
        }
    }

    fn tape_gradients(&mut self, grads: &GradStore) -> Result<Gradients> {
        let (mut pending, mut others) = (Vec::new(), Vec::new());
        for tape in std::mem::take(&mut self.tapes) {
            let Some(g) = grads.get(&tape.leaf) else {
                bail!("the outputs of `{}` have no gradient", self.name)
            };
            let (first, rest) = tape.gradients(&self.linears, &self.norms, g)?;
            pending.push(first);
            others = if others.is_empty() {
                rest
            } else {
                let pairs = others.iter().zip(&rest);
                pairs.map(|(a, b)| a + b).collect::<Result<_>>()?
            };
        }
        Ok(Gradients {
            first: FirstGradient::Pending(pending),
            others,
        })
    }

    fn graph_gradients(&mut self, grads: &GradStore) -> Result<Gradients> {
        let mut whole: Option<[Tensor; 2]> = None;
        for (z, leaf) in std::mem::take(&mut self.leaves) {
            let Some(g) = grads.get(&leaf) else {
                bail!("the first layer of `{}` has no gradient", self.name)
            };
            let weight = self.linears[0].dense_gradient(&z, g)?;
            let bias = g.sum(0)?;
            whole = Some(match whole {
                None => [weight, bias],
                Some([w, b]) => [(w + weight)?, (b + bias)?],
            });
        }
        let [first, bias] = whole.expect("there is a pass");
        let mut others = vec![bias];
        for (name, var) in self.parameters().into_iter().skip(2) {
            match grads.get(var) {
                Some(gradient) => others.push(gradient.clone()),
                None => bail!("`{name}` has no gradient"),
            }
        }
        Ok(Gradients {
            first: FirstGradient::Whole(first),
            others,
        })
    }

    /// One optimiser step; `moments` are those of [`Encoder::parameters`], in their order.
    pub(in crate::train) fn update(
        &mut self,
        gradients: Gradients,
        moments: &mut [AdamMoments],
        adam: AdamWStep,
    ) -> Result<()> {
        let (first, others) = moments.split_at_mut(1);
        let weight = &self.linears[0].weight;
        match gradients.first {
            FirstGradient::Pending(pending) => weight.inplace_op1(&InputLayerStep {
                pending,
                moments: Mutex::new(&mut first[0]),
                adam,
            })?,
            FirstGradient::Whole(gradient) => adam.apply(weight, &gradient, &mut first[0])?,
        }
        let vars = self.parameters().into_iter().skip(1);
        for (((_, var), moments), gradient) in vars.zip(others).zip(&gradients.others) {
            adam.apply(var, gradient, moments)?;
        }
        Ok(())
    }

    /// The gradients of the last backward pass, in the order of the parameters.
    #[cfg(test)]
    pub(in crate::train) fn gradients(&mut self, grads: &GradStore) -> Vec<Tensor> {
        let gradients = self.take_gradients(grads).unwrap();
        let whole = match &gradients.first {
            FirstGradient::Pending(pending) => super::input_layer::whole_gradient(pending).unwrap(),
            FirstGradient::Whole(gradient) => gradient.clone(),
        };
        std::iter::once(whole).chain(gradients.others).collect()
    }

    /// Everything that inference needs: parameters first, then running statistics.
    pub(in crate::train) fn snapshot(&self) -> Result<Vec<NamedArray>> {
        let mut out = Vec::new();
        for (name, var) in self.parameters() {
            let values = var.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            out.push(NamedArray {
                name,
                shape: var.dims().to_vec(),
                values,
            });
        }
        out.extend(self.running_statistics());
        Ok(out)
    }

    /// Running mean and variance of each batch norm.
    pub(in crate::train) fn running_statistics(&self) -> Vec<NamedArray> {
        let of_norm = |(layer, norm): (usize, &Norm)| {
            let statistics = [
                ("running_mean", norm.running_mean.clone()),
                ("running_var", norm.running_var.clone()),
            ];
            statistics.map(|(what, values)| NamedArray {
                name: format!("{}.{layer}.norm.{what}", self.name),
                shape: vec![values.len()],
                values,
            })
        };
        self.norms.iter().enumerate().flat_map(of_norm).collect()
    }

    /// Takes over what [`Encoder::snapshot`] gave, found by name through `find`.
    ///
    /// # Errors
    /// Where an array is missing or of another size.
    pub(in crate::train) fn restore<'a>(
        &mut self,
        find: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<()> {
        for (name, var) in self.parameters() {
            let values = sized(&find, &name, var.elem_count())?.to_vec();
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?.to_dtype(var.dtype())?)?;
        }
        self.restore_running_statistics(find)
    }

    /// Takes over what [`Encoder::running_statistics`] gave, found by name through `find`.
    ///
    /// # Errors
    /// Where an array is missing or of another size.
    pub(in crate::train) fn restore_running_statistics<'a>(
        &mut self,
        find: impl Fn(&str) -> Option<&'a [f32]>,
    ) -> Result<()> {
        let prefix = self.name;
        for (layer, norm) in self.norms.iter_mut().enumerate() {
            let width = norm.running_mean.len();
            let name = |what: &str| format!("{prefix}.{layer}.norm.{what}");
            norm.running_mean = sized(&find, &name("running_mean"), width)?.to_vec();
            norm.running_var = sized(&find, &name("running_var"), width)?.to_vec();
        }
        Ok(())
    }
}

/// The `n` values of the array `name`.
fn sized<'a>(find: &impl Fn(&str) -> Option<&'a [f32]>, name: &str, n: usize) -> Result<&'a [f32]> {
    match find(name) {
        Some(values) if values.len() == n => Ok(values),
        Some(values) => bail!("`{name}`: expected {n} values, found {}", values.len()),
        None => bail!("`{name}` is missing"),
    }
}

impl Gradients {
    /// Computes the sum of squares of all values.
    pub(in crate::train) fn square_sum(&self) -> Result<f64> {
        let mut sum = match &self.first {
            FirstGradient::Pending(pending) => gradient_square_sum(pending)?,
            FirstGradient::Whole(gradient) => square_sum(gradient)?,
        };
        for gradient in &self.others {
            sum += square_sum(gradient)?;
        }
        Ok(sum)
    }
}

/// Computes the sum of squares; on the CPU in f64 and in the order of the values, whatever the number of
/// threads.
pub(in crate::train) fn square_sum(t: &Tensor) -> Result<f64> {
    if t.device().is_cpu() {
        let values = t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        return Ok(values.iter().map(|v| v * v).sum());
    }
    let sum = t.to_dtype(DType::F32)?.sqr()?.sum_all()?;
    Ok(f64::from(sum.to_scalar::<f32>()?))
}

impl Linear {
    /// Number of outputs.
    pub(in crate::train) fn width(&self) -> usize {
        self.bias.elem_count()
    }

    /// `z W + b` of a first layer on an accelerator, outside the graph; the product in `z`'s precision.
    fn dense(&self, z: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_tensor().detach();
        let (n_panels, features, lanes) = weight.dims3()?;
        let flat = weight
            .transpose(0, 1)?
            .reshape((features, n_panels * lanes))?;
        let flat = flat.narrow(1, 0, self.width())?.contiguous()?;
        let out = z.matmul(&flat.to_dtype(z.dtype())?)?;
        let bias = self.bias.as_tensor().detach();
        out.to_dtype(bias.dtype())?.broadcast_add(&bias)
    }

    /// `z^T g` in the layout of a first layer's weight.
    fn dense_gradient(&self, z: &Tensor, g: &Tensor) -> Result<Tensor> {
        let (n_panels, features, lanes) = self.weight.dims3()?;
        let flat = z.t()?.matmul(&g.to_dtype(z.dtype())?.contiguous()?)?;
        let filled = flat.pad_with_zeros(1, 0, n_panels * lanes - self.width())?;
        filled
            .reshape((features, n_panels, lanes))?
            .transpose(0, 1)?
            .contiguous()?
            .to_dtype(self.weight.dtype())
    }
}

/// Converts an array to torch's layout, where a weight is `out x in`: shape and values. `width` is the
/// number of outputs.
pub(in crate::train) fn torch_layout(array: &NamedArray, width: usize) -> (Vec<usize>, Vec<f32>) {
    match array.shape.as_slice() {
        &[_, features, _] => {
            let values = (0..width)
                .flat_map(|unit| (0..features).map(move |f| array.values[place(features, f, unit)]))
                .collect();
            (vec![width, features], values)
        }
        shape => (shape.to_vec(), array.values.clone()),
    }
}

impl Norm {
    fn follow(&mut self, stats: &BatchStats) {
        let unbiased = stats.rows as f64 / (stats.rows as f64 - 1.0);
        let towards = |old: &mut f32, new: f64| {
            *old = (f64::from(*old) * (1.0 - MOMENTUM) + new * MOMENTUM) as f32
        };
        self.running_mean
            .iter_mut()
            .zip(&stats.mean)
            .for_each(|(old, &new)| towards(old, new));
        self.running_var
            .iter_mut()
            .zip(&stats.var)
            .for_each(|(old, &new)| towards(old, new * unbiased));
    }
}
