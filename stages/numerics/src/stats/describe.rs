//! Means, variances, quantiles.

/// The mean; NaN of nothing.
pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The variance with `ddof` taken off the number of values (0: population, 1: sample).
/// Two passes. NaN where no degree of freedom is left.
pub fn variance(x: &[f64], ddof: usize) -> f64 {
    if x.len() <= ddof {
        return f64::NAN;
    }
    let m = mean(x);
    x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / (x.len() - ddof) as f64
}

/// The quantile `q` in [0, 1] by linear interpolation between order statistics, as
/// `numpy.quantile` does by default (Hyndman and Fan type 7). NaN of nothing.
pub fn quantile(x: &[f64], q: f64) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_sorted(&sorted, q)
}

/// [`quantile`] of values that are sorted already.
pub fn quantile_sorted(sorted: &[f64], q: f64) -> f64 {
    debug_assert!((0.0..=1.0).contains(&q));
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    let t = at - below as f64;
    let (a, b) = (sorted[below], sorted[above]);
    // numpy's lerp: from the nearer end, so that t = 1 gives b exactly.
    if t < 0.5 {
        a + (b - a) * t
    } else {
        b - (b - a) * (1.0 - t)
    }
}

/// The median; NaN of nothing.
pub fn median(x: &[f64]) -> f64 {
    quantile(x, 0.5)
}

/// The standard deviation of normal values around `centre`, from the median of their distances to it
/// (`scipy.stats.median_abs_deviation` with `scale="normal"`, to four digits): outliers do not widen it. NaN of
/// nothing.
pub fn median_deviation(x: &[f64], centre: f64) -> f64 {
    let away: Vec<f64> = x.iter().map(|v| (v - centre).abs()).collect();
    1.4826 * median(&away)
}

/// Mean of the middle half of `(value, weight)` by weight, in the order of the values (the interquartile
/// mean; Tukey's midmean where all weights are equal): nearly as sharp as the mean where errors are normal,
/// and unmoved by outliers. NaN of nothing. Weights are above 0.
pub fn interquartile_mean(values: &[(f64, f64)]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|v| v.1).sum();
    let (low, high) = (total / 4.0, total * 3.0 / 4.0);
    let (mut below, mut sum) = (0.0f64, 0.0);
    for (value, weight) in sorted {
        let inside = (below + weight).min(high) - below.max(low);
        sum += value * inside.max(0.0);
        below += weight;
    }
    sum / (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        // 4 values: positions 0..3, q = .25 is position .75: 1 + .75 (2 - 1).
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.25), 1.75);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[5.0], 0.9), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(variance(&[1.0, 3.0], 1), 2.0);
    }

    #[test]
    fn the_interquartile_mean_by_hand() {
        // Of weight 8 the middle 4: half of the second value's weight, both of the third's, half of the fourth's.
        let values = [(9.0, 2.0), (1.0, 2.0), (2.0, 2.0), (-7.0, 2.0)];
        assert_eq!(interquartile_mean(&values), 1.5);
        let values = [(0.0, 1.0), (1.0, 2.0), (3.0, 4.0), (50.0, 1.0)];
        assert_eq!(interquartile_mean(&values), (1.0 + 3.0 * 3.0) / 4.0);
        assert_eq!(interquartile_mean(&[(4.0, 0.3)]), 4.0);
        assert!(interquartile_mean(&[]).is_nan());
    }
}
