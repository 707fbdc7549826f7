//! The loss of method A.
//!
//! `L = NCE + lambda L_HN` on unit rows, with `d(u, v) = 1 - u.v`. NCE is half the sum of the row
//! and column cross-entropies of `E C^T / tau` with the diagonal as labels. `L_HN` is the two-sided
//! margin loss over the anchors that have a negative, each anchor's negatives averaged first.

mod fused;

use candle_core::{Result, Tensor};
use candle_nn::ops;

pub(super) use self::fused::ClccLoss;
use crate::train::network::matmul::matmul_nt;

/// Added to a logit that is left out: `exp` of it is 0, without the NaN that an infinity risks.
const LEFT_OUT: f32 = -1e9;

/// Anchor and negative of each pair, as rows of the embeddings; anchors are rows `0..n_anchors`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pairs {
    pub(super) anchor: Vec<u32>,
    pub(super) negative: Vec<u32>,
    /// `1 / (2 |I| |H_i|)`: the loss is the weighted sum of both sides' hinges.
    pub(super) weight: Vec<f64>,
}

impl Pairs {
    /// Lists the pairs of each anchor with its negatives, given as rows of the embeddings.
    pub(super) fn new(negatives: &[Vec<u32>]) -> Self {
        let anchors = negatives.iter().filter(|n| !n.is_empty()).count();
        let mut pairs = Self::default();
        for (i, list) in negatives.iter().enumerate() {
            for &j in list {
                pairs.anchor.push(i as u32);
                pairs.negative.push(j);
                pairs
                    .weight
                    .push(1.0 / (2.0 * anchors as f64 * list.len() as f64));
            }
        }
        pairs
    }
}

/// What the cosines are divided by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Temperature<'a> {
    /// A constant.
    Fixed(f64),
    /// `exp(-s)` of a learnt scalar `s`, the logarithm of the logits' scale.
    Learnt(&'a Tensor),
}

/// Computes the symmetric InfoNCE of matching rows (`n x dim` each, unit rows); pairs of different cells
/// of one `cluster` are left out.
pub(super) fn nce(
    e: &Tensor,
    c: &Tensor,
    temperature: Temperature<'_>,
    cluster: Option<&[u32]>,
) -> Result<Tensor> {
    let cosines = matmul_nt(e, c)?;
    let mut logits = match temperature {
        Temperature::Fixed(t) => (cosines * (1.0 / t))?,
        Temperature::Learnt(s) => cosines.broadcast_mul(&s.exp()?)?,
    };
    if let Some(cluster) = cluster {
        let n = cluster.len();
        let left_out = |i: usize, j: usize| i != j && cluster[i] == cluster[j];
        let mask: Vec<f32> = (0..n * n)
            .map(|at| {
                if left_out(at / n, at % n) {
                    LEFT_OUT
                } else {
                    0.0
                }
            })
            .collect();
        logits = (logits + Tensor::from_vec(mask, (n, n), e.device())?.to_dtype(e.dtype())?)?;
    }
    let columns = logits.t()?.contiguous()?;
    (diagonal_cross_entropy(&logits)? + diagonal_cross_entropy(&columns)?)? * 0.5
}

/// Log-softmax of the rows at the diagonal, averaged and negated.
fn diagonal_cross_entropy(logits: &Tensor) -> Result<Tensor> {
    let n = logits.dim(0)?;
    let target = Tensor::arange(0u32, n as u32, logits.device())?.unsqueeze(1)?;
    ops::log_softmax(logits, 1)?
        .gather(&target, 1)?
        .mean_all()?
        .neg()
}

/// Computes the margin loss; `None` where no anchor has a negative.
pub(super) fn hard_negative_margin(
    e: &Tensor,
    c: &Tensor,
    pairs: &Pairs,
    margin: f64,
) -> Result<Option<Tensor>> {
    if pairs.anchor.is_empty() {
        return Ok(None);
    }
    let index = |v: &[u32]| Tensor::new(v, e.device());
    let (anchor, negative) = (index(&pairs.anchor)?, index(&pairs.negative)?);
    let (ea, ca) = (e.index_select(&anchor, 0)?, c.index_select(&anchor, 0)?);
    let (en, cn) = (e.index_select(&negative, 0)?, c.index_select(&negative, 0)?);
    let cosine = |a: &Tensor, b: &Tensor| (a * b)?.sum(1);
    let positive = cosine(&ea, &ca)?;
    // d(e_i, c_i) - d(e_i, c_j) + m = e_i.c_j - e_i.c_i + m.
    let hinge = |other: Tensor| ((other - &positive)? + margin)?.relu();
    let both = (hinge(cosine(&ea, &cn)?)? + hinge(cosine(&ca, &en)?)?)?;
    let weight = index_weights(pairs, e)?;
    Ok(Some((both * weight)?.sum_all()?))
}

fn index_weights(pairs: &Pairs, like: &Tensor) -> Result<Tensor> {
    Tensor::new(pairs.weight.as_slice(), like.device())?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor<const N: usize>(rows: &[[f64; 2]; N]) -> Tensor {
        Tensor::new(rows, &Device::Cpu).unwrap()
    }

    fn value(t: &Tensor) -> f64 {
        t.to_scalar::<f64>().unwrap()
    }

    /// Two cells at right angles, matched perfectly: each row's logits are 1/tau and 0.
    #[test]
    fn nce_of_a_perfect_pair_is_the_softmax_of_its_gap() {
        let e = tensor(&[[1.0, 0.0], [0.0, 1.0]]);
        let expected = (1.0 + (-2.0f64).exp()).ln();
        assert!(
            (value(&nce(&e, &e, Temperature::Fixed(0.5), None).unwrap()) - expected).abs() < 1e-12
        );
        // With the only other cell left out there is nothing to tell apart.
        assert_eq!(
            value(&nce(&e, &e, Temperature::Fixed(0.5), Some(&[3, 3])).unwrap()),
            0.0
        );
        assert!(
            (value(&nce(&e, &e, Temperature::Fixed(0.5), Some(&[3, 4])).unwrap()) - expected).abs()
                < 1e-12
        );
    }

    /// With s = ln 2 the loss is that of temperature 0.5; d/ds ln(1 + exp(-exp s)) = -2 / (1 + exp 2).
    #[test]
    fn a_learnt_scale_has_its_gradient() {
        let e = tensor(&[[1.0, 0.0], [0.0, 1.0]]);
        let s = candle_core::Var::new(2.0f64.ln(), &Device::Cpu).unwrap();
        let loss = nce(&e, &e, Temperature::Learnt(&s), None).unwrap();
        assert!((value(&loss) - (1.0 + (-2.0f64).exp()).ln()).abs() < 1e-12);
        let gradient = value(loss.backward().unwrap().get(&s).unwrap());
        assert!(
            (gradient + 2.0 / (1.0 + 2.0f64.exp())).abs() < 1e-12,
            "{gradient}"
        );
    }

    /// Row 0 is the anchor, rows 2 and 3 its negatives; row 1 is an anchor without any.
    #[test]
    fn the_margin_loss_is_the_mean_over_anchors_that_have_a_negative() {
        let e = tensor(&[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.8]]);
        let c = tensor(&[[0.6, 0.8], [1.0, 0.0], [1.0, 0.0], [0.0, -1.0]]);
        // e0.c0 = 0.6. Negative 2: e0.c2 = 1, c0.e2 = 0.8; negative 3: e0.c3 = 0, c0.e3 = 1.
        // Hinges with m = 0.3: 0.7, 0.5, 0 (0 - 0.6 + 0.3 < 0), 0.7; mean over negatives 0.95; half of it.
        let pairs = Pairs::new(&[vec![2, 3], vec![]]);
        let loss = hard_negative_margin(&e, &c, &pairs, 0.3).unwrap().unwrap();
        assert!((value(&loss) - 0.475).abs() < 1e-7);
        assert!(
            hard_negative_margin(&e, &c, &Pairs::new(&[vec![], vec![]]), 0.3)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn anchors_weigh_the_same_whatever_their_number_of_negatives() {
        let pairs = Pairs::new(&[vec![4], vec![], vec![2, 5]]);
        assert_eq!(
            (pairs.anchor, pairs.negative),
            (vec![0, 2, 2], vec![4, 2, 5])
        );
        assert_eq!(pairs.weight, [0.25, 0.125, 0.125]);
    }
}
