//! The straight line through weighted points, with one intercept per group.

use super::{PValue, t_quantile, two_sided_t};

/// A fitted slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Change of y per unit of x.
    pub slope: f64,
    /// Its standard error, from the residuals.
    pub se: f64,
    /// Points - groups - 1.
    pub df: f64,
    /// Weighted sum of squares of x around its group means: the information on the slope.
    pub sxx: f64,
    /// Weighted residual variance.
    pub residual_variance: f64,
}

impl Line {
    /// The two-sided test of `slope = value`.
    pub fn test(&self, value: f64) -> PValue {
        two_sided_t((self.slope - value) / self.se, self.df)
    }

    /// The interval that covers the slope with probability `1 - alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        let half = t_quantile(alpha, self.df) * self.se;
        (self.slope - half, self.slope + half)
    }
}

/// Least squares of `y` on `x` with an intercept for each group (fixed effects) and weights.
///
/// `groups[i]` is in `0..n_groups`; a group with one point adds nothing, and its point takes its
/// own degree of freedom away again. One group and unit weights give `scipy.stats.linregress`.
/// `None` where x does not vary within any group or no degree of freedom is left.
///
/// # Panics
/// Where the lengths differ.
pub fn weighted_line(
    x: &[f64],
    y: &[f64],
    weights: &[f64],
    groups: &[usize],
    n_groups: usize,
) -> Option<Line> {
    assert!(
        x.len() == y.len() && x.len() == weights.len() && x.len() == groups.len(),
        "equal lengths"
    );
    let mut sums = vec![(0.0, 0.0, 0.0); n_groups];
    for i in 0..x.len() {
        let s = &mut sums[groups[i]];
        s.0 += weights[i];
        s.1 += weights[i] * x[i];
        s.2 += weights[i] * y[i];
    }
    let used = sums.iter().filter(|s| s.0 > 0.0).count();
    let points = weights.iter().filter(|&&w| w > 0.0).count();
    let centred = |i: usize| {
        let s = &sums[groups[i]];
        (x[i] - s.1 / s.0, y[i] - s.2 / s.0)
    };
    let (mut sxx, mut sxy, mut magnitude) = (0.0, 0.0, 0.0);
    for i in (0..x.len()).filter(|&i| weights[i] > 0.0) {
        let (dx, dy) = centred(i);
        sxx += weights[i] * dx * dx;
        sxy += weights[i] * dx * dy;
        magnitude += weights[i] * x[i] * x[i];
    }
    let df = points as f64 - used as f64 - 1.0;
    if df < 1.0 || sxx <= 1e-20 * magnitude || sxx == 0.0 {
        return None;
    }
    let slope = sxy / sxx;
    let mut rss = 0.0;
    for i in (0..x.len()).filter(|&i| weights[i] > 0.0) {
        let (dx, dy) = centred(i);
        rss += weights[i] * (dy - slope * dx).powi(2);
    }
    let residual_variance = rss / df;
    Some(Line {
        slope,
        se: (residual_variance / sxx).sqrt(),
        df,
        sxx,
        residual_variance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_their_own_level_away() {
        // Slope 2 in both groups, levels 0 and 100; noise +-.1 that is orthogonal to x.
        let x = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let e = [0.1, -0.1, -0.1, 0.1, -0.1, 0.1, 0.1, -0.1];
        let y: Vec<f64> = (0..8)
            .map(|i| 2.0 * x[i] + if i < 4 { 0.0 } else { 100.0 } + e[i])
            .collect();
        let groups = [0, 0, 0, 0, 1, 1, 1, 1];
        let line = weighted_line(&x, &y, &[1.0; 8], &groups, 2).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-12 && line.df == 5.0);
        // Residual sum of squares 8 * .01, sxx = 2 * 5.
        assert!((line.se - (0.08 / 5.0 / 10.0_f64).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn equals_statsmodels() {
        // `tests/reference/dosage/make.py`: WLS with a dummy per stratum.
        let all = include_str!("../../../../tests/reference/dosage/values.json");
        let v: serde_json::Value = serde_json::from_str(all).unwrap();
        let of = |name: &str| -> Vec<f64> {
            let list = v[name].as_array().unwrap();
            list.iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let groups: Vec<usize> = of("groups").iter().map(|g| *g as usize).collect();
        let line = weighted_line(&of("x"), &of("y"), &of("weights"), &groups, 4).unwrap();
        let interval = line.interval(0.05);
        let want = of("interval");
        for (got, want) in [
            (line.slope, v["slope"].as_f64().unwrap()),
            (line.se, v["se"].as_f64().unwrap()),
            (line.df, v["df"].as_f64().unwrap()),
            (line.test(0.0).p, v["p_zero"].as_f64().unwrap()),
            (line.test(1.0).p, v["p_one"].as_f64().unwrap()),
            (interval.0, want[0]),
            (interval.1, want[1]),
        ] {
            assert!((got / want - 1.0).abs() < 1e-9, "{got} {want}");
        }
    }

    #[test]
    fn a_single_point_of_a_group_changes_nothing() {
        let (x, y) = ([0.0, 1.0, 2.0, 7.0], [0.0, 1.5, 1.8, -40.0]);
        let with = weighted_line(&x, &y, &[1.0; 4], &[0, 0, 0, 1], 2).unwrap();
        let without = weighted_line(&x[..3], &y[..3], &[1.0; 3], &[0, 0, 0], 1).unwrap();
        assert_eq!(
            (with.slope, with.se, with.df),
            (without.slope, without.se, without.df)
        );
        assert!(weighted_line(&[1.0; 4], &y, &[1.0; 4], &[0; 4], 1).is_none());
    }
}
