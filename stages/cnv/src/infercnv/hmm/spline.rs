//! Smoothing spline for many points.

use clcc_numerics::linalg::Cholesky;
use clcc_numerics::math;
/// Number of pieces of the curve.
const PIECES: usize = 20;
/// Number of basis functions.
const N_BASIS: usize = PIECES + 3;

/// A cubic spline with a penalty on its second differences.
#[derive(Debug, Clone)]
pub(super) struct Spline {
    low: f64,
    width: f64,
    coefficients: Vec<f64>,
}

impl Spline {
    /// Fit y over x, with the penalty that has the least generalised cross-validation error.
    ///
    /// **Source**: P-splines (Eilers and Marx 1996) on 20 equal pieces. **Deviation** from R's
    /// `smooth.spline`, which has a knot at most points and a penalty on the second derivative; both
    /// choose the penalty by cross-validation, and their curves differ by less than the points' noise.
    ///
    /// Without two distinct x, the curve is constant at the mean.
    pub(super) fn fit(x: &[f64], y: &[f64]) -> Self {
        let (low, high) = x
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| {
                (a.min(v), b.max(v))
            });
        let mean = y.iter().sum::<f64>() / y.len().max(1) as f64;
        if x.is_empty() || high <= low {
            return Self {
                low: 0.0,
                width: 1.0,
                coefficients: vec![mean; N_BASIS],
            };
        }
        let mut curve = Self {
            low,
            width: (high - low) / PIECES as f64,
            coefficients: vec![0.0; N_BASIS],
        };
        let normal = Normal::new(&curve, x, y);
        let penalty = second_differences();
        let mut best = f64::INFINITY;
        for step in 0..37 {
            let lambda = math::pow(10f64, -6.0 + f64::from(step) / 3.0);
            let (error, c) = normal.solve(lambda, &penalty);
            if error < best {
                (best, curve.coefficients) = (error, c);
            }
        }
        curve
    }

    /// Index of the first basis function that is not 0 at x, and the values of the four that are not.
    fn basis(&self, x: f64) -> (usize, [f64; 4]) {
        let at = ((x - self.low) / self.width).clamp(0.0, PIECES as f64);
        let piece = (at as usize).min(PIECES - 1);
        let t = at - piece as f64;
        let (t2, t3) = (t * t, t * t * t);
        let weights = [
            (1.0 - 3.0 * t + 3.0 * t2 - t3) / 6.0,
            (4.0 - 6.0 * t2 + 3.0 * t3) / 6.0,
            (1.0 + 3.0 * t + 3.0 * t2 - 3.0 * t3) / 6.0,
            t3 / 6.0,
        ];
        (piece, weights)
    }

    fn inside(&self, x: f64) -> f64 {
        let (first, weights) = self.basis(x);
        weights
            .iter()
            .zip(&self.coefficients[first..])
            .map(|(w, c)| w * c)
            .sum()
    }

    /// Value of the curve at x. Beyond the points it is a straight line with the mean slope of the
    /// nearest quarter of the curve, since the slope at the very end depends on the last few points.
    pub(super) fn at(&self, x: f64) -> f64 {
        let high = self.low + self.width * PIECES as f64;
        let quarter = self.width * (PIECES / 4) as f64;
        if x < self.low {
            let slope = (self.inside(self.low + quarter) - self.inside(self.low)) / quarter;
            self.inside(self.low) + (x - self.low) * slope
        } else if x > high {
            let slope = (self.inside(high) - self.inside(high - quarter)) / quarter;
            self.inside(high) + (x - high) * slope
        } else {
            self.inside(x)
        }
    }
}

/// Normal equations of the unpenalised fit.
struct Normal {
    /// `N_BASIS x N_BASIS`: inner products of the basis functions over the points.
    gram: Vec<f64>,
    /// Inner products of the basis functions with y.
    right: Vec<f64>,
    /// Sum of squares of y.
    yy: f64,
    /// Number of points.
    points: f64,
}

impl Normal {
    fn new(curve: &Spline, x: &[f64], y: &[f64]) -> Self {
        let n = N_BASIS;
        let mut out = Self {
            gram: vec![0.0; n * n],
            right: vec![0.0; n],
            yy: 0.0,
            points: x.len() as f64,
        };
        for (&x, &y) in x.iter().zip(y) {
            let (first, weights) = curve.basis(x);
            out.yy += y * y;
            for i in 0..4 {
                out.right[first + i] += weights[i] * y;
                for j in 0..4 {
                    out.gram[(first + i) * n + first + j] += weights[i] * weights[j];
                }
            }
        }
        out
    }

    /// Solve with `lambda` times the penalty. Returns the generalised cross-validation error and the
    /// coefficients.
    fn solve(&self, lambda: f64, penalty: &[f64]) -> (f64, Vec<f64>) {
        let n = N_BASIS;
        let system: Vec<f64> = self
            .gram
            .iter()
            .zip(penalty)
            .enumerate()
            .map(|(i, (g, p))| g + lambda * p + if i % (n + 1) == 0 { 1e-9 } else { 0.0 })
            .collect();
        let factor = Cholesky::new(&system, n);
        let c = factor.solve(&self.right);
        let freedom: f64 = (0..n)
            .map(|j| {
                let column: Vec<f64> = (0..n).map(|i| self.gram[i * n + j]).collect();
                factor.solve(&column)[j]
            })
            .sum();
        let fitted: f64 = (0..n)
            .map(|i| c[i] * (0..n).map(|j| self.gram[i * n + j] * c[j]).sum::<f64>())
            .sum();
        let cross: f64 = c.iter().zip(&self.right).map(|(a, b)| a * b).sum();
        let residual = (self.yy - 2.0 * cross + fitted).max(0.0);
        // 1.4 guards against following single points (Kim and Gu 2004).
        let error = self.points * residual / (self.points - 1.4 * freedom).max(1e-9).powi(2);
        (error, c)
    }
}

/// Penalty matrix: squared second differences of the coefficients.
fn second_differences() -> Vec<f64> {
    let n = N_BASIS;
    let mut penalty = vec![0.0; n * n];
    let row = [1.0, -2.0, 1.0];
    for d in 0..n - 2 {
        for i in 0..3 {
            for j in 0..3 {
                penalty[(d + i) * n + d + j] += row[i] * row[j];
            }
        }
    }
    penalty
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;

    #[test]
    fn follows_a_curve_through_noise_and_goes_on_straight() {
        let mut rng = Rng::new(1, "spline test", &[]);
        let x: Vec<f64> = (0..3000).map(|_| 6.0 * rng.uniform()).collect();
        let y: Vec<f64> = x.iter().map(|x| x.sin() + 0.3 * rng.normal()).collect();
        let curve = Spline::fit(&x, &y);
        for i in 1..60 {
            let x = f64::from(i) / 10.0;
            // Noise .3 over about 100 points a piece: .03.
            assert!((curve.at(x) - x.sin()).abs() < 0.1, "{x}: {}", curve.at(x));
        }
        let slope = curve.at(8.0) - curve.at(7.0);
        assert!((curve.at(9.0) - curve.at(8.0) - slope).abs() < 1e-9);
    }

    #[test]
    fn a_line_stays_a_line_and_one_point_a_constant() {
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let curve = Spline::fit(&x, &x.iter().map(|x| 3.0 - 2.0 * x).collect::<Vec<_>>());
        for x in [-5.0, 0.0, 17.3, 49.0, 60.0] {
            assert!(
                (curve.at(x) - (3.0 - 2.0 * x)).abs() < 1e-3,
                "{x}: {}",
                curve.at(x)
            );
        }
        assert!((Spline::fit(&[2.0], &[5.0]).at(1.0) - 5.0).abs() < 1e-12);
    }
}
