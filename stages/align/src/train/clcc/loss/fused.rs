//! The loss of method A as one op on the CPU.
//!
//! Equal to the composed operations of [`super`], without their many small passes: one pass
//! for the cosines and both softmaxes, one over the pairs, and both gradients by hand.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::{LEFT_OUT, Pairs, Temperature};
use crate::train::network::matmul::{product, view};
use crate::train::network::real::{Real, dtype, hold, output, tensor, values, with_real};
use clcc_numerics::math;

/// The loss of one step, up to the embeddings.
#[derive(Debug, Clone)]
pub(in crate::train::clcc) struct ClccLoss {
    /// Anchors are the first rows.
    pub(in crate::train::clcc) n_anchors: usize,
    pub(in crate::train::clcc) pairs: Pairs,
    /// Weight of the margin loss.
    pub(in crate::train::clcc) lambda: f64,
    pub(in crate::train::clcc) margin: f64,
    /// Cluster of each anchor, where pairs of one are left out of InfoNCE.
    pub(in crate::train::clcc) clusters: Option<Vec<u32>>,
}

/// InfoNCE, and the margin loss where an anchor has a negative.
#[derive(Debug, Clone, Copy)]
pub(in crate::train::clcc) struct Terms {
    pub(in crate::train::clcc) nce: f64,
    pub(in crate::train::clcc) margin: Option<f64>,
}

impl ClccLoss {
    /// The loss of unit rows `e` and `c`, with its graph, and its terms.
    ///
    /// # Errors
    /// candle's.
    pub(in crate::train::clcc) fn apply(
        self,
        e: &Tensor,
        c: &Tensor,
        temperature: Temperature<'_>,
    ) -> Result<(Tensor, Terms)> {
        let (scale, fixed) = match temperature {
            Temperature::Fixed(t) => (Tensor::zeros((), e.dtype(), e.device())?, Some(1.0 / t)),
            Temperature::Learnt(s) => (s.clone(), None),
        };
        let op = Fused {
            objective: Arc::new(self),
            fixed,
            kept: Arc::default(),
        };
        let total = e.apply_op3(c, &scale, op.clone())?;
        let terms = op.kept.get().expect("the forward pass has run").terms;
        Ok((total, terms))
    }
}

#[derive(Debug, Clone)]
struct Fused {
    objective: Arc<ClccLoss>,
    /// What the cosines are multiplied by, where it is not learnt.
    fixed: Option<f64>,
    kept: Arc<OnceLock<Kept>>,
}

/// What the backward pass takes from the forward pass.
#[derive(Debug)]
struct Kept {
    terms: Terms,
    /// Logits of the anchors, `n x n`.
    logits: Vec<f64>,
    /// Softmax of the logits' rows, and of their columns (transposed).
    rows: Vec<f64>,
    columns: Vec<f64>,
    /// Whether the pair's hinge is open, for `e_i.c_j` and for `c_i.e_j`.
    open: Vec<[bool; 2]>,
}

/// Softmax of each row of `n x n` logits; and the mean of what the diagonal lacks of certainty.
fn softmax(n: usize, logit: impl Fn(usize, usize) -> f64 + Sync) -> (Vec<f64>, f64) {
    let mut out = vec![0f64; n * n];
    let losses: Vec<f64> = out
        .par_chunks_mut(n)
        .enumerate()
        .map(|(i, row)| {
            let mut largest = f64::NEG_INFINITY;
            for (j, v) in row.iter_mut().enumerate() {
                *v = logit(i, j);
                largest = largest.max(*v);
            }
            let mut sum = 0.0;
            let own = row[i] - largest;
            row.iter_mut().for_each(|v| *v -= largest);
            math::exp_in_place(row);
            row.iter().for_each(|v| sum += v);
            row.iter_mut().for_each(|v| *v /= sum);
            math::ln(sum) - own
        })
        .collect();
    (out, losses.iter().sum::<f64>() / n as f64)
}

fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64());
    products.sum()
}

/// `to += by from`.
fn add<T: Real>(to: &mut [T], by: T, from: &[T]) {
    to.iter_mut().zip(from).for_each(|(t, &f)| *t += by * f);
}

impl Fused {
    fn forward<T: Real>(&self, e: &[T], c: &[T], width: usize, scale: T) -> Kept {
        let ClccLoss {
            n_anchors: n,
            pairs,
            margin,
            clusters,
            lambda: _,
        } = &*self.objective;
        let n = *n;
        let scale = self.fixed.unwrap_or_else(|| math::exp(scale.to_f64()));
        let cosines = product(
            view(&e[..n * width], width),
            view(&c[..n * width], width).t(),
        );
        let left_out = |i: usize, j: usize| match clusters {
            Some(of) if i != j && of[i] == of[j] => f64::from(LEFT_OUT),
            _ => 0.0,
        };
        let logits: Vec<f64> = (0..n * n)
            .map(|at| cosines[at].to_f64() * scale + left_out(at / n, at % n))
            .collect();
        let (rows, row_loss) = softmax(n, |i, j| logits[i * n + j]);
        let (columns, column_loss) = softmax(n, |i, j| logits[j * n + i]);

        let row = |i: u32| i as usize * width..(i as usize + 1) * width;
        let hinges: Vec<[f64; 2]> = (0..pairs.anchor.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|at| {
                let (i, j) = (row(pairs.anchor[at]), row(pairs.negative[at]));
                let positive = dot(&e[i.clone()], &c[i.clone()]);
                let hinge = |other: f64| other - positive + margin;
                [
                    hinge(dot(&e[i.clone()], &c[j.clone()])),
                    hinge(dot(&c[i], &e[j])),
                ]
            })
            .collect();
        let weighted = hinges.iter().zip(&pairs.weight);
        let sum: f64 = weighted
            // Written so that a broken value reaches the loss, where it is reported.
            .map(|(h, w)| {
                w * h
                    .map(|h| if h <= 0.0 { 0.0 } else { h })
                    .iter()
                    .sum::<f64>()
            })
            .sum();
        Kept {
            terms: Terms {
                nce: 0.5 * (row_loss + column_loss),
                margin: (!pairs.anchor.is_empty()).then_some(sum),
            },
            logits,
            rows,
            columns,
            open: hinges.iter().map(|h| h.map(|h| h > 0.0)).collect(),
        }
    }

    /// Gradients of `e`, `c` and the learnt scale.
    fn backward<T: Real>(
        &self,
        e: &[T],
        c: &[T],
        width: usize,
        scale: T,
        grad: f64,
    ) -> (Vec<T>, Vec<T>, T) {
        let kept = self.kept.get().expect("the forward pass has run");
        let (pairs, n) = (&self.objective.pairs, self.objective.n_anchors);
        let scale = self.fixed.unwrap_or_else(|| math::exp(scale.to_f64()));
        let of_logit = |i: usize, j: usize| {
            let own = if i == j { 2.0 } else { 0.0 };
            let both = kept.rows[i * n + j] + kept.columns[j * n + i] - own;
            0.5 * grad * both / n as f64
        };
        let of_cosine: Vec<T> = (0..n * n)
            .map(|at| T::from_f64(of_logit(at / n, at % n) * scale))
            .collect();
        // A logit that was left out has no gradient: there both softmaxes are 0.
        let of_scale: f64 = (0..n * n)
            .map(|at| of_logit(at / n, at % n) * kept.logits[at])
            .sum();
        let slopes = view(&of_cosine, n);
        let mut de = product(slopes, view(&c[..n * width], width));
        let mut dc = product(slopes.t(), view(&e[..n * width], width));
        de.resize(e.len(), T::zero());
        dc.resize(c.len(), T::zero());
        for (at, open) in kept.open.iter().enumerate() {
            let by = T::from_f64(pairs.weight[at] * self.objective.lambda * grad);
            let row = |i: u32| i as usize * width..(i as usize + 1) * width;
            let (i, j) = (row(pairs.anchor[at]), row(pairs.negative[at]));
            if open[0] {
                add(&mut de[i.clone()], by, &c[j.clone()]);
                add(&mut dc[j.clone()], by, &e[i.clone()]);
            }
            if open[1] {
                add(&mut dc[i.clone()], by, &e[j.clone()]);
                add(&mut de[j], by, &c[i.clone()]);
            }
            let times = T::from_f64(-(f64::from(open[0]) + f64::from(open[1])));
            if open[0] | open[1] {
                add(&mut de[i.clone()], times * by, &c[i.clone()]);
                add(&mut dc[i.clone()], times * by, &e[i]);
            }
        }
        (de, dc, T::from_f64(of_scale))
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        "clcc-loss"
    }

    fn cpu_fwd(
        &self,
        e: &CpuStorage,
        el: &Layout,
        c: &CpuStorage,
        cl: &Layout,
        s: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = el.shape().dims2()?;
        if cl.shape() != el.shape() || self.objective.n_anchors > rows {
            bail!("losses of {el:?} and {cl:?}");
        }
        with_real!(dtype(e), T => {
            let scale = values::<T>(s, sl)?[0];
            let (e, c) = (values::<T>(e, el)?, values::<T>(c, cl)?);
            let kept = self.kept.get_or_init(|| self.forward(e, c, width, scale));
            let Terms { nce, margin } = kept.terms;
            let total = nce + self.objective.lambda * margin.unwrap_or(0.0);
            output(vec![T::from_f64(total)], ())
        })
    }

    fn bwd(
        &self,
        e: &Tensor,
        c: &Tensor,
        s: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = e.dim(1)?;
        let (he, hc, hs, hg) = (hold(e), hold(c), hold(s), hold(grad));
        with_real!(e.dtype(), T => {
            let (scale, grad) = (hs.get::<T>()?[0], hg.get::<T>()?[0].to_f64());
            let (de, dc, ds) = self.backward::<T>(he.get()?, hc.get()?, width, scale, grad);
            let ds = match self.fixed {
                Some(_) => None,
                None => Some(tensor(vec![ds], s.shape())?),
            };
            Ok((Some(tensor(de, e.shape())?), Some(tensor(dc, c.shape())?), ds))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::clcc::loss::{hard_negative_margin, nce};
    use crate::train::network::unit_rows::unit_rows;
    use candle_core::{Device, Var};
    use clcc_numerics::rng::Rng;

    /// Loss, terms and every gradient, with and without clusters, negatives and a learnt scale.
    #[test]
    fn it_is_what_the_composed_operations_give() {
        let (rows, width, n) = (40, 6, 16);
        let random = |seed: u64| {
            let mut rng = Rng::new(seed, "test.loss", &[]);
            let v: Vec<f64> = (0..rows * width).map(|_| rng.normal()).collect();
            let t = Tensor::from_vec(v, (rows, width), &Device::Cpu).unwrap();
            Var::from_tensor(&unit_rows(&t).unwrap()).unwrap()
        };
        let (e, c) = (random(1), random(2));
        let lists: Vec<Vec<u32>> = (0..n as u32)
            .map(|i| {
                (0..i % 4)
                    .map(|k| (7 * i + 11 * k + 1) % rows as u32)
                    .collect()
            })
            .collect();
        let clusters: Vec<u32> = (0..n as u32).map(|i| i % 5).collect();
        let scale = Var::new(1.5f64, &Device::Cpu).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (pairs, clusters, learnt) in [
            (Pairs::new(&lists), None, false),
            (Pairs::new(&lists), Some(clusters), true),
            (Pairs::default(), None, true),
        ] {
            let temperature = if learnt {
                Temperature::Learnt(&scale)
            } else {
                Temperature::Fixed(0.3)
            };
            let anchors = |t: &Var| t.narrow(0, 0, n).unwrap();
            let expected_nce =
                nce(&anchors(&e), &anchors(&c), temperature, clusters.as_deref()).unwrap();
            let expected_margin = hard_negative_margin(&e, &c, &pairs, 0.3).unwrap();
            let expected = match &expected_margin {
                Some(m) => (&expected_nce + (m * 0.7).unwrap()).unwrap(),
                None => expected_nce.clone(),
            };
            let objective = ClccLoss {
                n_anchors: n,
                pairs,
                lambda: 0.7,
                margin: 0.3,
                clusters,
            };
            let (total, terms) = objective.apply(&e, &c, temperature).unwrap();
            let close = |a: &[f64], b: &[f64]| {
                assert_eq!(a.len(), b.len());
                assert!(
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-7),
                    "{a:?} {b:?}"
                );
            };
            close(&flat(&total), &flat(&expected));
            close(&[terms.nce], &flat(&expected_nce));
            assert_eq!(terms.margin.is_some(), expected_margin.is_some());
            // A loss further down scales the gradients.
            let (found, wanted) = (
                (total * 3.0).unwrap().backward().unwrap(),
                (expected * 3.0).unwrap().backward().unwrap(),
            );
            let vars: &[&Var] = if learnt { &[&e, &c, &scale] } else { &[&e, &c] };
            for var in vars {
                close(
                    &flat(found.get(var).unwrap()),
                    &flat(wanted.get(var).unwrap()),
                );
            }
        }
    }
}
