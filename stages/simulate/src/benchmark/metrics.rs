//! Metrics of rankings and partitions.

use std::collections::BTreeMap;

use clcc_numerics::stats::auc;

/// Metrics of a ranking, given the true positives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranking {
    /// Average precision; NaN without positives.
    pub ap: f64,
    /// Area under the ROC curve, ties half; NaN without positives or without negatives.
    pub auroc: f64,
    /// Share of positives, which is the average precision of a random order.
    pub base_rate: f64,
    /// Number of items.
    pub n: usize,
    /// Number of positives.
    pub n_positive: usize,
    /// Share of items that have a score. The others are ranked last, all tied: an item without a score
    /// counts as not found.
    pub coverage: f64,
}

/// Evaluate scores of items (NaN: none) against which of them are positive.
///
/// # Panics
/// Where the lengths differ.
pub fn ranking(scores: &[f64], positive: &[bool]) -> Ranking {
    assert_eq!(scores.len(), positive.len(), "one label per score");
    let n = scores.len();
    let n_positive = positive.iter().filter(|p| **p).count();
    let scored = scores.iter().filter(|s| !s.is_nan()).count();
    let filled: Vec<f64> = scores
        .iter()
        .map(|s| if s.is_nan() { f64::NEG_INFINITY } else { *s })
        .collect();
    Ranking {
        ap: average_precision(&filled, positive),
        auroc: auc(&filled, positive),
        base_rate: n_positive as f64 / n as f64,
        n,
        n_positive,
        coverage: scored as f64 / n as f64,
    }
}

/// Average precision as scikit-learn's `average_precision_score`: the sum over distinct thresholds of
/// (gain in recall) x precision; equal scores enter together. NaN without positives.
///
/// # Panics
/// Where the lengths differ.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> f64 {
    assert_eq!(scores.len(), positive.len(), "one label per score");
    let total = positive.iter().filter(|p| **p).count();
    if total == 0 {
        return f64::NAN;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut seen, mut found, mut sum) = (0usize, 0usize, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let hits = tied.iter().filter(|&&i| positive[i]).count();
        seen += tied.len();
        found += hits;
        sum += hits as f64 * found as f64 / seen as f64;
    }
    sum / total as f64
}

/// Adjusted Rand index of two partitions (Hubert and Arabie 1985); 1 for equal ones, 0 at chance.
///
/// # Panics
/// Where the lengths differ.
pub fn adjusted_rand<A: Ord, B: Ord>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len(), "two labels per item");
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let mut both: BTreeMap<(&A, &B), f64> = BTreeMap::new();
    let mut rows: BTreeMap<&A, f64> = BTreeMap::new();
    let mut columns: BTreeMap<&B, f64> = BTreeMap::new();
    for (x, y) in a.iter().zip(b) {
        *both.entry((x, y)).or_default() += 1.0;
        *rows.entry(x).or_default() += 1.0;
        *columns.entry(y).or_default() += 1.0;
    }
    let sum = |v: &mut dyn Iterator<Item = f64>| v.map(pairs).sum::<f64>();
    let index = sum(&mut both.values().copied());
    let (of_a, of_b) = (
        sum(&mut rows.values().copied()),
        sum(&mut columns.values().copied()),
    );
    let expected = of_a * of_b / pairs(a.len() as f64);
    let most = (of_a + of_b) / 2.0;
    if most == expected {
        1.0
    } else {
        (index - expected) / (most - expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sklearn 1.7: average_precision_score([1,0,1,0,1], [.9,.8,.7,.7,.1]) = 0.6999999999999998: precisions 1 at
    /// the first, 2/4 at the tie, 3/5 at the end.
    #[test]
    fn average_precision_by_hand() {
        let positive = [true, false, true, false, true];
        let ap = average_precision(&[0.9, 0.8, 0.7, 0.7, 0.1], &positive);
        assert!((ap - (1.0 + 0.5 + 0.6) / 3.0).abs() < 1e-12, "{ap}");
        // All tied: the base rate.
        assert_eq!(average_precision(&[1.0; 5], &positive), 0.6);
        assert!(average_precision(&[1.0; 2], &[false; 2]).is_nan());
    }

    #[test]
    fn what_has_no_score_stands_last() {
        let r = ranking(&[2.0, f64::NAN, 1.0, f64::NAN], &[true, true, false, false]);
        // Pairs (2, 1): won; (2, NaN): won; (NaN, 1): lost; (NaN, NaN): half.
        assert_eq!(r.auroc, 2.5 / 4.0);
        assert_eq!((r.coverage, r.base_rate, r.n_positive), (0.5, 0.5, 2));
    }

    /// sklearn: adjusted_rand_score([0,0,1,1], [0,0,1,2]) = 0.5714285714285714.
    #[test]
    fn adjusted_rand_by_the_book() {
        assert!(
            (adjusted_rand(&[0, 0, 1, 1], &[0, 0, 1, 2]) - 0.571_428_571_428_571_4).abs() < 1e-15
        );
        assert_eq!(adjusted_rand(&[0, 0, 1, 1], &["b", "b", "a", "a"]), 1.0);
    }
}
