//! Pearson and Spearman correlation.

use super::{PValue, average_ranks, mean, two_sided_t};

/// A correlation with its test against none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlation {
    /// In [-1, 1]; NaN where a vector is constant or there are fewer than three pairs.
    pub r: f64,
    /// Two-sided, from `t = r sqrt((n-2)/(1-r^2))` with `n - 2` degrees of freedom.
    pub p: PValue,
    /// Number of pairs.
    pub n: usize,
}

impl Correlation {
    /// The test of a correlation `r` of `n` pairs, three or more.
    pub fn of_r(r: f64, n: usize) -> Self {
        let df = n as f64 - 2.0;
        let t = r * (df / ((1.0 - r) * (1.0 + r))).sqrt();
        Self {
            r,
            p: two_sided_t(t, df),
            n,
        }
    }
}

/// Pearson's correlation.
///
/// # Panics
/// Where the vectors differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Correlation {
    assert_eq!(x.len(), y.len(), "pairs have two members");
    let n = x.len();
    let (mx, my) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xx += (a - mx) * (a - mx);
        yy += (b - my) * (b - my);
        xy += (a - mx) * (b - my);
    }
    let constant = |v: &[f64]| v.iter().all(|&a| a == v[0]);
    if n < 3 || constant(x) || constant(y) {
        return Correlation {
            r: f64::NAN,
            p: PValue::UNDEFINED,
            n,
        };
    }
    Correlation::of_r((xy / xx.sqrt() / yy.sqrt()).clamp(-1.0, 1.0), n)
}

/// Spearman's rank correlation (`scipy.stats.spearmanr`): Pearson's of the average ranks.
///
/// # Panics
/// Where the vectors differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Correlation {
    pearson(&average_ranks(x), &average_ranks(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotone_is_one_and_constant_is_undefined() {
        let c = spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 4.0, 9.0, 100.0]);
        assert_eq!((c.r, c.p.p), (1.0, 0.0));
        assert!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]).r.is_nan());
    }
}
