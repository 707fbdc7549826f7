//! The terms of method B's loss.

use candle_core::{DType, Result, Tensor};

use crate::train::network::ordered::{log_softmax, mean, row_sums};

/// Computes InfoNCE of each row of `logits` between its `own` anchor and the `top_k` others with the
/// largest logits (ties by number), averaged over the rows.
///
/// `logits` are `n_cells x n_anchors`, cosine over temperature. The choice of anchors has no gradient.
pub(super) fn top_k_nce(logits: &Tensor, own: &[u32], top_k: usize) -> Result<Tensor> {
    let (n, m) = logits.dims2()?;
    let values = logits.detach().to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let k = top_k.min(m.saturating_sub(1));
    let mut picked = Vec::with_capacity(n * (k + 1));
    for (row, &own) in values.iter().zip(own) {
        let mut others: Vec<u32> = (0..m as u32).filter(|&a| a != own).collect();
        let order = |a: &u32, b: &u32| {
            let (x, y) = (row[*a as usize], row[*b as usize]);
            y.total_cmp(&x).then(a.cmp(b))
        };
        others.sort_unstable_by(order);
        picked.push(own);
        picked.extend_from_slice(&others[..k]);
    }
    let picked = Tensor::from_vec(picked, (n, k + 1), logits.device())?;
    let logits = logits.gather(&picked, 1)?;
    mean(&log_softmax(&logits)?.narrow(1, 0, 1)?.flatten_all()?)?.neg()
}

/// Computes the mean over the rows of the squared distance between `x` and `to` (`n x dim` each).
pub(super) fn mean_square_distance(x: &Tensor, to: &Tensor) -> Result<Tensor> {
    mean(&row_sums(&(x - to)?.sqr()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn value(t: &Tensor) -> f64 {
        t.to_scalar::<f64>().unwrap()
    }

    /// Row 0, own anchor 0, others 3, 3, 1 (anchors 1, 2, 3): one negative is anchor 1 by number. Row 1,
    /// own anchor 3, the largest: its one negative is anchor 2.
    #[test]
    fn each_row_is_told_apart_from_its_hardest_anchors() {
        let rows = [[2.0f64, 3.0, 3.0, 1.0], [0.0, 1.0, 2.0, 5.0]];
        let logits = Var::new(&rows, &Device::Cpu).unwrap();
        let one = top_k_nce(&logits, &[0, 3], 1).unwrap();
        let expected = ((1.0 + 1f64.exp()).ln() + (1.0 + (-3f64).exp()).ln()) / 2.0;
        assert!((value(&one) - expected).abs() < 1e-12);
        let gradient = one
            .backward()
            .unwrap()
            .get(&logits)
            .unwrap()
            .to_vec2::<f64>()
            .unwrap();
        let p = 1.0 / (1.0 + (-1f64).exp());
        assert!((gradient[0][1] - p / 2.0).abs() < 1e-12 && gradient[0][2] == 0.0);
        // As many as there are, or more, are all: the usual cross-entropy.
        for k in [3, 99] {
            let all = value(&top_k_nce(&logits, &[0, 3], k).unwrap());
            let cross = |row: &[f64; 4], own: usize| {
                row.iter().map(|v| v.exp()).sum::<f64>().ln() - row[own]
            };
            let expected = (cross(&rows[0], 0) + cross(&rows[1], 3)) / 2.0;
            assert!((all - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn distances_are_summed_over_the_width_and_averaged_over_the_rows() {
        let x = Tensor::new(&[[1.0f64, 2.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let to = Tensor::new(&[[0.0f64, 0.0], [3.0, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(value(&mean_square_distance(&x, &to).unwrap()), 7.0);
    }
}
