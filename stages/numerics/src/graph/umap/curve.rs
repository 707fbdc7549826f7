//! The curve that turns distance in the plane into membership.

use crate::math;
/// `1 / (1 + a d^(2b))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curve {
    /// Parameter of the curve; see the type.
    pub a: f64,
    /// Parameter of the curve; see the type.
    pub b: f64,
}

/// The curve of least squares through 1 below `min_dist` and `exp(-(d - min_dist) / spread)` above,
/// at 300 points up to three times `spread` (umap-learn's `find_ab_params`), by
/// Levenberg-Marquardt from a = b = 1.
pub fn fit_curve(spread: f64, min_dist: f64) -> Curve {
    // In units of `spread`, where a = b = 1 is never far off.
    let unit = fit_unit_curve(min_dist / spread);
    Curve {
        a: unit.a / math::pow(spread, 2.0 * unit.b),
        b: unit.b,
    }
}

fn fit_unit_curve(min_dist: f64) -> Curve {
    let points: Vec<(f64, f64)> = (0..300)
        .map(|i| {
            let x = 3.0 * f64::from(i) / 299.0;
            (
                x,
                if x < min_dist {
                    1.0
                } else {
                    math::exp(min_dist - x)
                },
            )
        })
        .collect();
    let residual =
        |c: Curve| -> f64 { points.iter().map(|&(x, y)| (y - value(c, x)).powi(2)).sum() };
    let mut curve = Curve { a: 1.0, b: 1.0 };
    let mut error = residual(curve);
    let mut damping = 1e-3;
    for _ in 0..500 {
        // Normal equations of the 2 x 2 problem, in ln a and ln b so that both stay positive.
        let (mut h11, mut h12, mut h22, mut g1, mut g2) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(x, y) in points.iter().filter(|p| p.0 > 0.0) {
            let f = value(curve, x);
            let slope = -f * (1.0 - f);
            let (da, db) = (slope, slope * 2.0 * curve.b * math::ln(x));
            let r = y - f;
            h11 += da * da;
            h12 += da * db;
            h22 += db * db;
            g1 += da * r;
            g2 += db * r;
        }
        let (d11, d22) = (h11 * (1.0 + damping), h22 * (1.0 + damping));
        let determinant = d11 * d22 - h12 * h12;
        let (step_a, step_b) = (
            (d22 * g1 - h12 * g2) / determinant,
            (d11 * g2 - h12 * g1) / determinant,
        );
        let next = Curve {
            a: curve.a * math::exp(step_a),
            b: curve.b * math::exp(step_b),
        };
        let reached = residual(next);
        if reached.is_finite() && reached <= error {
            let done = step_a.abs() + step_b.abs() < 1e-12;
            (curve, error, damping) = (next, reached, damping / 3.0);
            if done {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    curve
}

fn value(c: Curve, x: f64) -> f64 {
    1.0 / (1.0 + c.a * math::pow(x, 2.0 * c.b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values and script: tests/reference/cluster.
    #[test]
    fn curve_is_that_of_umap_learn() {
        let values = include_str!("../../../../../tests/reference/cluster/values.tsv");
        let mut checked = 0;
        for line in values.lines().filter(|l| l.starts_with("curve")) {
            let f: Vec<&str> = line.split('\t').collect();
            let parse =
                |text: &str| -> Vec<f64> { text.split(' ').map(|v| v.parse().unwrap()).collect() };
            let (given, expected) = (parse(f[1]), parse(f[2]));
            let curve = fit_curve(given[0], given[1]);
            assert!(
                (curve.a - expected[0]).abs() < 2e-5 && (curve.b - expected[1]).abs() < 2e-5,
                "{line}: {curve:?}"
            );
            checked += 1;
        }
        assert_eq!(checked, 3);
    }

    #[test]
    fn extremes_are_finite() {
        for (spread, min_dist) in [(0.01, 0.0), (0.01, 0.01), (100.0, 0.0), (100.0, 100.0)] {
            let c = fit_curve(spread, min_dist);
            assert!(
                c.a.is_finite() && c.b.is_finite() && c.a > 0.0 && c.b > 0.0,
                "{spread} {min_dist}: {c:?}"
            );
        }
    }
}
