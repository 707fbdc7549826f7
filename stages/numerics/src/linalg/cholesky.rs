//! Small positive definite systems.

/// Lower Cholesky factor of a positive definite matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Cholesky {
    /// Row-major, `n x n`; zeros above the diagonal.
    factor: Vec<f64>,
    n: usize,
}

impl Cholesky {
    /// Factors the row-major `n x n` matrix `a`, of which the lower triangle is read. What rounding takes below 0 on
    /// the diagonal is set to a very small number.
    ///
    /// # Panics
    /// Where `a` has not `n * n` values.
    pub fn new(a: &[f64], n: usize) -> Self {
        assert_eq!(a.len(), n * n, "a square matrix");
        let mut l = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
                let left = a[i * n + j] - sum;
                l[i * n + j] = if i == j {
                    left.max(1e-300).sqrt()
                } else {
                    left / l[j * n + j]
                };
            }
        }
        Self { factor: l, n }
    }

    /// Solves `a x = b`.
    ///
    /// # Panics
    /// Where `b` has not `n` values.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (l, n) = (&self.factor, self.n);
        assert_eq!(b.len(), n, "a value for each row");
        let mut x = b.to_vec();
        for i in 0..n {
            let sum: f64 = (0..i).map(|k| l[i * n + k] * x[k]).sum();
            x[i] = (x[i] - sum) / l[i * n + i];
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|k| l[k * n + i] * x[k]).sum();
            x[i] = (x[i] - sum) / l[i * n + i];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_solution_solves_the_system() {
        let (n, mut rng) = (7, Rng::new(1, "cholesky test", &[]));
        let g: Vec<f64> = (0..n * n).map(|_| rng.normal()).collect();
        let at = |i: usize, j: usize| (0..n).map(|k| g[i * n + k] * g[j * n + k]).sum::<f64>();
        let a: Vec<f64> = (0..n * n).map(|p| at(p / n, p % n)).collect();
        let x: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let b: Vec<f64> = (0..n)
            .map(|i| (0..n).map(|j| a[i * n + j] * x[j]).sum())
            .collect();
        for (found, x) in Cholesky::new(&a, n).solve(&b).iter().zip(&x) {
            assert!((found - x).abs() < 1e-9, "{found} {x}");
        }
        assert!(Cholesky::new(&[], 0).solve(&[]).is_empty());
    }
}
