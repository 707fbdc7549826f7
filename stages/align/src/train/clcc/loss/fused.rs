//! The loss of method A and its gradients in one pass on the CPU.
//!
//! Equal to the composed operations of [`super`], without their many small passes and without a graph:
//! the exponentials of the logits are taken once for both directions, and all gradients by hand.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{LEFT_OUT, Pairs, Temperature};
use crate::train::network::matmul::{product, view};
use crate::train::network::real::{Real, hold, tensor, with_real};
use clcc_numerics::math;

/// Partial sums of a product of rows, element `k` in sum `k % 16`; fixed, since it decides the bits.
const SUMS: usize = 16;

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

/// The loss of a step with its gradients.
#[derive(Debug)]
pub(in crate::train::clcc) struct Evaluated {
    /// A constant: the gradients are below.
    pub(in crate::train::clcc) total: Tensor,
    pub(in crate::train::clcc) terms: Terms,
    /// Of the expression embeddings, the copy-number embeddings, and the learnt scale.
    pub(in crate::train::clcc) e: Tensor,
    pub(in crate::train::clcc) c: Tensor,
    pub(in crate::train::clcc) scale: Option<Tensor>,
}

impl ClccLoss {
    /// The loss of unit rows `e` and `c`, with its gradients.
    ///
    /// # Errors
    /// candle's, and where the rows are of different shapes or fewer than the anchors.
    pub(in crate::train::clcc) fn evaluate(
        &self,
        e: &Tensor,
        c: &Tensor,
        temperature: Temperature<'_>,
    ) -> Result<Evaluated> {
        if c.shape() != e.shape() || self.n_anchors > e.dim(0)? {
            bail!("losses of {:?} and {:?}", e.shape(), c.shape());
        }
        with_real!(e.dtype(), T => self.evaluate_as::<T>(e, c, temperature))
    }

    fn evaluate_as<T: Real>(
        &self,
        e: &Tensor,
        c: &Tensor,
        temperature: Temperature<'_>,
    ) -> Result<Evaluated> {
        let scale = match temperature {
            Temperature::Fixed(t) => 1.0 / t,
            Temperature::Learnt(s) => math::exp(hold(s).get::<T>()?[0].to_f64()),
        };
        let (he, hc) = (hold(e), hold(c));
        let rows = Rows {
            e: he.get::<T>()?,
            c: hc.get::<T>()?,
            width: e.dim(1)?,
        };
        let nce = self.nce(&rows, scale);
        let (margin, open) = self.margin(&rows);
        let (mut de, mut dc) = (nce.e, nce.c);
        de.resize(rows.e.len(), T::zero());
        dc.resize(rows.c.len(), T::zero());
        rayon::join(
            || self.add_pairs(&mut de, rows.c, rows.width, |at| open[at]),
            || self.add_pairs(&mut dc, rows.e, rows.width, |at| [open[at][1], open[at][0]]),
        );
        let margin = (!self.pairs.anchor.is_empty()).then_some(margin);
        let total = T::from_f64(nce.loss + self.lambda * margin.unwrap_or(0.0));
        Ok(Evaluated {
            total: tensor(vec![total], ())?,
            terms: Terms {
                nce: nce.loss,
                margin,
            },
            e: tensor(de, e.shape())?,
            c: tensor(dc, c.shape())?,
            scale: match temperature {
                Temperature::Fixed(_) => None,
                Temperature::Learnt(s) => Some(tensor(vec![T::from_f64(nce.scale)], s.shape())?),
            },
        })
    }

    /// InfoNCE of the anchors, and its gradients of theirs.
    fn nce<T: Real>(&self, rows: &Rows<'_, T>, scale: f64) -> Nce<T> {
        let n = self.n_anchors;
        let e = view(&rows.e[..n * rows.width], rows.width);
        let c = view(&rows.c[..n * rows.width], rows.width);
        let cosines = product(e, c.t());
        let mut logits = vec![0f64; n * n];
        logits.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            let of_row = row.iter_mut().zip(&cosines[i * n..]);
            for (j, (logit, cosine)) in of_row.enumerate() {
                *logit = cosine.to_f64() * scale + self.left_out(i, j);
            }
        });
        // One shift for all: logits lie within twice the scale, at most 200, so no sum is lost in f64.
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut powers = vec![0f64; n * n];
        let row_sums: Vec<f64> = powers
            .par_chunks_mut(n)
            .zip(logits.par_chunks(n))
            .map(|(powers, logits)| {
                let shifted = powers.iter_mut().zip(logits);
                shifted.for_each(|(p, l)| *p = l - largest);
                math::exp_in_place(powers);
                powers.iter().sum()
            })
            .collect();
        let mut column_sums = vec![0f64; n];
        for row in powers.chunks_exact(n) {
            column_sums.iter_mut().zip(row).for_each(|(s, p)| *s += p);
        }
        let loss: f64 = (0..n)
            .map(|i| {
                let own = logits[i * n + i] - largest;
                0.5 * (math::ln(row_sums[i]) + math::ln(column_sums[i])) - own
            })
            .sum();
        // Each row's gradients of the logits, and their sum with the logits. A logit that was left out
        // has none: its power is 0.
        let mut slopes = vec![T::zero(); n * n];
        let of_scale: Vec<f64> = slopes
            .par_chunks_mut(n)
            .enumerate()
            .map(|(i, slopes)| {
                let at = i * n..(i + 1) * n;
                let pairs = powers[at.clone()].iter().zip(&logits[at]).zip(&column_sums);
                let mut sum = 0.0;
                for (j, (slope, ((p, logit), column))) in slopes.iter_mut().zip(pairs).enumerate() {
                    let own = if i == j { 2.0 } else { 0.0 };
                    let of_logit = 0.5 * (p / row_sums[i] + p / column - own) / n as f64;
                    *slope = T::from_f64(of_logit * scale);
                    sum += of_logit * logit;
                }
                sum
            })
            .collect();
        let slopes = view(&slopes, n);
        Nce {
            loss: loss / n as f64,
            e: product(slopes, c),
            c: product(slopes.t(), e),
            scale: of_scale.iter().sum(),
        }
    }

    fn left_out(&self, i: usize, j: usize) -> f64 {
        match &self.clusters {
            Some(of) if i != j && of[i] == of[j] => f64::from(LEFT_OUT),
            _ => 0.0,
        }
    }

    /// The margin loss, and whether each pair's hinge is open, for `e_i.c_j` and for `c_i.e_j`.
    fn margin<T: Real>(&self, rows: &Rows<'_, T>) -> (f64, Vec<[bool; 2]>) {
        let (pairs, width) = (&self.pairs, rows.width);
        let row = |i: u32| i as usize * width..(i as usize + 1) * width;
        let hinges: Vec<[f64; 2]> = (0..pairs.anchor.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|at| {
                let (i, j) = (row(pairs.anchor[at]), row(pairs.negative[at]));
                let positive = dot(&rows.e[i.clone()], &rows.c[i.clone()]);
                let hinge = |other: f64| other - positive + self.margin;
                [
                    hinge(dot(&rows.e[i.clone()], &rows.c[j.clone()])),
                    hinge(dot(&rows.c[i], &rows.e[j])),
                ]
            })
            .collect();
        let weighted = hinges.iter().zip(&pairs.weight);
        let sum = weighted
            // Written so that a broken value reaches the loss, where it is reported.
            .map(|(h, w)| {
                w * h
                    .map(|h| if h <= 0.0 { 0.0 } else { h })
                    .iter()
                    .sum::<f64>()
            })
            .sum();
        (sum, hinges.iter().map(|h| h.map(|h| h > 0.0)).collect())
    }

    /// Adds the margin loss's gradients of one side's rows, of which `other` are the other's: `open` tells
    /// of a pair whether the hinge of its anchor, and that of its negative, on this side is.
    fn add_pairs<T: Real>(
        &self,
        to: &mut [T],
        other: &[T],
        width: usize,
        open: impl Fn(usize) -> [bool; 2],
    ) {
        for (at, (&i, &j)) in self
            .pairs
            .anchor
            .iter()
            .zip(&self.pairs.negative)
            .enumerate()
        {
            let by = T::from_f64(self.pairs.weight[at] * self.lambda);
            let row = |i: u32| i as usize * width..(i as usize + 1) * width;
            let [of_anchor, of_negative] = open(at);
            if of_anchor {
                add(&mut to[row(i)], by, &other[row(j)]);
            }
            if of_negative {
                add(&mut to[row(j)], by, &other[row(i)]);
            }
            if of_anchor | of_negative {
                let times = T::from_f64(-(f64::from(of_anchor) + f64::from(of_negative)));
                add(&mut to[row(i)], times * by, &other[row(i)]);
            }
        }
    }
}

/// The embeddings, `rows x width` each.
struct Rows<'a, T> {
    e: &'a [T],
    c: &'a [T],
    width: usize,
}

/// InfoNCE with its gradients: of the anchors' embeddings, and of the logits' scale.
struct Nce<T> {
    loss: f64,
    e: Vec<T>,
    c: Vec<T>,
    scale: f64,
}

fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0f64; SUMS];
    for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
        let products = a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64());
        sums.iter_mut().zip(products).for_each(|(s, p)| *s += p);
    }
    sums.iter().sum()
}

/// `to += by from`.
fn add<T: Real>(to: &mut [T], by: T, from: &[T]) {
    to.iter_mut().zip(from).for_each(|(t, &f)| *t += by * f);
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
            let found = objective.evaluate(&e, &c, temperature).unwrap();
            let close = |a: &[f64], b: &[f64]| {
                assert_eq!(a.len(), b.len());
                assert!(
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-7),
                    "{a:?} {b:?}"
                );
            };
            close(&flat(&found.total), &flat(&expected));
            close(&[found.terms.nce], &flat(&expected_nce));
            assert_eq!(found.terms.margin.is_some(), expected_margin.is_some());
            let wanted = expected.backward().unwrap();
            close(&flat(&found.e), &flat(wanted.get(&e).unwrap()));
            close(&flat(&found.c), &flat(wanted.get(&c).unwrap()));
            assert_eq!(found.scale.is_some(), learnt);
            if let Some(of_scale) = &found.scale {
                close(&flat(of_scale), &flat(wanted.get(&scale).unwrap()));
            }
        }
    }
}
