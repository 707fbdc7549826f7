//! Effect sizes: the size of a difference rather than its significance.

use super::{average_ranks, mean, variance};
use crate::math;

/// Area under the ROC curve: the probability that a positive outranks a negative, ties half.
/// NaN where either is empty.
///
/// # Panics
/// Where the lengths differ.
pub fn auc(scores: &[f64], positive: &[bool]) -> f64 {
    assert_eq!(scores.len(), positive.len(), "one label per score");
    let n1 = positive.iter().filter(|&&p| p).count() as f64;
    let n0 = positive.len() as f64 - n1;
    let ranks = average_ranks(scores);
    let r1: f64 = ranks
        .iter()
        .zip(positive)
        .filter(|(_, p)| **p)
        .map(|(r, _)| r)
        .sum();
    (r1 - n1 * (n1 + 1.0) / 2.0) / (n1 * n0)
}

/// Cohen's d: the difference of means (first minus second) in pooled standard deviations.
/// NaN with fewer than two values in either, or without spread.
pub fn cohens_d(a: &[f64], b: &[f64]) -> f64 {
    let (na, nb) = (a.len() as f64, b.len() as f64);
    if a.len() < 2 || b.len() < 2 {
        return f64::NAN;
    }
    let pooled = ((na - 1.0) * variance(a, 1) + (nb - 1.0) * variance(b, 1)) / (na + nb - 2.0);
    if pooled == 0.0 {
        f64::NAN
    } else {
        (mean(a) - mean(b)) / pooled.sqrt()
    }
}

/// Association of two categorical variables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Association {
    /// Cramer's V in [0, 1]; NaN where either variable has fewer than two values.
    pub v: f64,
    /// Cramer's V corrected for its expectation under chance (Bergsma 2013).
    pub v_corrected: f64,
    /// Pearson's chi-squared, without continuity correction.
    pub chi2: f64,
    /// Its p-value with (r-1)(c-1) degrees of freedom.
    pub p: f64,
}

/// Cramer's V of a table of counts (`scipy.stats.contingency.association(method="cramer")`).
/// Empty rows and columns are left out first.
pub fn cramers_v(table: &[Vec<f64>]) -> Association {
    let rows: Vec<f64> = table.iter().map(|r| r.iter().sum()).collect();
    let width = table.first().map_or(0, Vec::len);
    let columns: Vec<f64> = (0..width)
        .map(|c| table.iter().map(|r| r[c]).sum())
        .collect();
    let n: f64 = rows.iter().sum();
    let live = |v: &[f64]| v.iter().filter(|&&s| s > 0.0).count() as f64;
    let (r, c) = (live(&rows), live(&columns));
    if r < 2.0 || c < 2.0 {
        return Association {
            v: f64::NAN,
            v_corrected: f64::NAN,
            chi2: f64::NAN,
            p: f64::NAN,
        };
    }
    let mut chi2 = 0.0;
    for (i, row) in table.iter().enumerate() {
        for (j, &observed) in row.iter().enumerate() {
            let expected = rows[i] * columns[j] / n;
            if expected > 0.0 {
                chi2 += (observed - expected) * (observed - expected) / expected;
            }
        }
    }
    let df = (r - 1.0) * (c - 1.0);
    let phi2 = chi2 / n;
    let phi2_corrected = (phi2 - df / (n - 1.0)).max(0.0);
    let (rc, cc) = (
        r - (r - 1.0).powi(2) / (n - 1.0),
        c - (c - 1.0).powi(2) / (n - 1.0),
    );
    let least = rc.min(cc) - 1.0;
    Association {
        v: (phi2 / (r.min(c) - 1.0)).sqrt(),
        v_corrected: if least > 0.0 {
            (phi2_corrected / least).sqrt().min(1.0)
        } else {
            0.0
        },
        chi2,
        p: math::chi_squared_sf(chi2, df),
    }
}

/// scanpy's log2 fold change of two means of log1p expression:
/// `log2((expm1(group) + 1e-9) / (expm1(reference) + 1e-9))`. The mean is taken in log space, so
/// this is not the fold change of the mean counts.
pub fn log2_fold_change(mean_group: f64, mean_reference: f64) -> f64 {
    math::log2((math::exp_m1(mean_group) + 1e-9) / (math::exp_m1(mean_reference) + 1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_ties_half() {
        // Positives 2 and 3 against negatives 1 and 2: wins 1, .5, 1, 1 of 4.
        assert_eq!(
            auc(&[1.0, 2.0, 2.0, 3.0], &[false, false, true, true]),
            0.875
        );
    }

    #[test]
    fn cramers_v_is_one_for_a_bijection_and_zero_for_independence() {
        let same = cramers_v(&[vec![5.0, 0.0, 0.0], vec![0.0, 7.0, 0.0]]);
        assert!((same.v - 1.0).abs() < 1e-15);
        let free = cramers_v(&[vec![2.0, 4.0], vec![3.0, 6.0]]);
        assert!(free.v.abs() < 1e-15 && (free.p - 1.0).abs() < 1e-15 && free.v_corrected == 0.0);
        assert!(cramers_v(&[vec![2.0, 4.0]]).v.is_nan());
    }

    #[test]
    fn cohens_d_by_hand() {
        // Means 2 and 5, variances 1 and 1.
        assert_eq!(cohens_d(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), -3.0);
        assert!(cohens_d(&[1.0, 1.0], &[1.0, 1.0]).is_nan());
    }
}
