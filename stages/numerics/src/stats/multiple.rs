//! Multiple testing.

use super::two_sided_normal;
use crate::math;

/// Benjamini-Hochberg adjusted p-values in the order given (`statsmodels.stats.multitest`
/// `multipletests(method="fdr_bh")`): `min over k >= rank of p_(k) * n / k`, at most 1.
///
/// A NaN counts as a test with p = 1, as scanpy passes it to statsmodels; its adjusted value is 1.
///
/// ```
/// use clcc_numerics::stats::benjamini_hochberg;
///
/// // Times 4/1, 4/2, 4/3 and 4/4 in rising order, then the least of those that follow.
/// assert_eq!(benjamini_hochberg(&[0.5, 0.01, 0.125, 0.25]), [0.5, 0.04, 0.25, 1.0 / 3.0]);
/// ```
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let n = p.len();
    let value = |i: usize| if p[i].is_nan() { 1.0 } else { p[i] };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    let mut adjusted = vec![0.0; n];
    let mut least = 1.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(value(i) / ((rank + 1) as f64 / n as f64));
        adjusted[i] = least;
    }
    adjusted
}

/// [`benjamini_hochberg`] in decimal logarithms, which hold where the p-values underflow: the
/// logarithms of the adjusted values, 0 or less. NaN counts as 0 (p = 1).
pub fn benjamini_hochberg_log10(log10_p: &[f64]) -> Vec<f64> {
    let n = log10_p.len();
    let value = |i: usize| {
        if log10_p[i].is_nan() { 0.0 } else { log10_p[i] }
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    let mut adjusted = vec![0.0; n];
    let mut least = 0.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(value(i) + math::log10(n as f64 / (rank + 1) as f64));
        adjusted[i] = least;
    }
    adjusted
}

/// Which of these z scores [`benjamini_hochberg`] finds by their two-sided p-values: those with an adjusted value
/// below `fdr`, in rising order of place.
///
/// The same set as from the p-values of all, most of which it need not compute: an adjusted value is no less than
/// the p-value, so a score with a p-value of `fdr` or more neither is found nor changes whether others are.
pub fn found_by_normal(z: &[f64], fdr: f64) -> Vec<usize> {
    let n = z.len();
    let least = least_z(fdr);
    let far = (0..n).filter(|&i| z[i].abs() >= least);
    let mut near: Vec<(f64, usize)> = far
        .map(|i| (two_sided_normal(z[i]).p, i))
        .filter(|(p, _)| *p < fdr)
        .collect();
    near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let is_found = |rank: usize| near[rank].0 / ((rank + 1) as f64 / n as f64) < fdr;
    let n_found = (0..near.len())
        .rev()
        .find(|&k| is_found(k))
        .map_or(0, |k| k + 1);
    let mut found: Vec<usize> = near[..n_found].iter().map(|f| f.1).collect();
    found.sort_unstable();
    found
}

/// A z score below which the two-sided p-value is `fdr` or more for certain.
fn least_z(fdr: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 40.0_f64);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        // A millionth above: far more than the rounding of a p-value.
        if two_sided_normal(middle).p > fdr * (1.0 + 1e-6) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn found_is_what_the_adjusted_values_say() {
        let mut rng = Rng::new(1, "found", &[]);
        for (n, shift) in [(0, 0.0), (1, 9.0), (300, 0.0), (300, 2.0), (2000, 0.5)] {
            for fdr in [1e-9, 0.01, 0.05, 0.5, 1.0] {
                let mut z: Vec<f64> = (0..n)
                    .map(|i| rng.normal() + if i % 3 == 0 { shift } else { 0.0 })
                    .collect();
                // Ties, no variance, and beyond the smallest p-value.
                for (i, special) in [0.0, 45.0, -45.0, 2.5, 2.5, -2.5].into_iter().enumerate() {
                    if n > 10 {
                        z[i] = special;
                    }
                }
                let p: Vec<f64> = z.iter().map(|&z| two_sided_normal(z).p).collect();
                let q = benjamini_hochberg(&p);
                let want: Vec<usize> = (0..n).filter(|&i| q[i] < fdr).collect();
                assert_eq!(found_by_normal(&z, fdr), want, "{n} {shift} {fdr}");
            }
        }
    }

    #[test]
    fn hand_example() {
        // Sorted .01 .02 .03 1(NaN): .01*4, .02*4/2 = .04, .03*4/3 = .04, 1.
        let q = benjamini_hochberg(&[0.03, 0.01, f64::NAN, 0.02]);
        for (got, want) in q.iter().zip([0.04, 0.04, 1.0, 0.04]) {
            assert!((got - want).abs() < 1e-15, "{q:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn logarithms_hold_where_p_underflows() {
        let log10 = [-3.0, -2.0, f64::NAN, -0.5];
        let p: Vec<f64> = log10.iter().map(|l| 10.0_f64.powf(*l)).collect();
        for (got, want) in benjamini_hochberg_log10(&log10)
            .iter()
            .zip(benjamini_hochberg(&p))
        {
            assert!((got - want.log10()).abs() < 1e-14, "{got} {want}");
        }
        // Two of 1e-400: 1e-400 * 3 / 2.
        let far = benjamini_hochberg_log10(&[-400.0, -400.0, 0.0]);
        assert!((far[0] - (-400.0 + 1.5_f64.log10())).abs() < 1e-12 && far[0] == far[1]);
    }
}
