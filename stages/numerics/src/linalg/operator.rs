//! Matrices that are only ever multiplied: sparse rows, centred and scaled without being filled in.

use ndarray::{Array1, Array2, Axis};

use super::sparse::csr_dot;
use clcc_data::matrix::Csr;

/// A matrix `A` of `n_rows x n_cols` that is known through its products.
///
/// An implementation must give the same bits at any number of threads.
pub trait LinearOperator: Sync {
    /// Rows of `A`.
    fn n_rows(&self) -> usize;
    /// Columns of `A`.
    fn n_cols(&self) -> usize;
    /// `A x`, with `x` of `n_cols x k`: `n_rows x k`.
    fn apply(&self, x: &Array2<f64>) -> Array2<f64>;
    /// `Aᵀ y`, with `y` of `n_rows x k`: `n_cols x k`.
    fn apply_t(&self, y: &Array2<f64>) -> Array2<f64>;
}

impl LinearOperator for Array2<f64> {
    fn n_rows(&self) -> usize {
        self.nrows()
    }

    fn n_cols(&self) -> usize {
        self.ncols()
    }

    fn apply(&self, x: &Array2<f64>) -> Array2<f64> {
        super::matmul(&self.view(), &x.view())
    }

    fn apply_t(&self, y: &Array2<f64>) -> Array2<f64> {
        super::matmul_tn(&self.view(), &y.view())
    }
}

/// `(X - 1 meanᵀ) diag(scale)` of sparse `X`; without mean and scale, `X` itself. Holds the
/// transpose of `X` too, so that both products run over rows.
#[derive(Debug, Clone)]
pub struct SparseOperator<'a> {
    x: &'a Csr,
    xt: Csr,
    mean: Option<Array1<f64>>,
    scale: Option<Array1<f64>>,
}

impl<'a> SparseOperator<'a> {
    /// `X` itself.
    pub fn new(x: &'a Csr) -> Self {
        Self {
            x,
            xt: x.transpose(),
            mean: None,
            scale: None,
        }
    }

    /// Subtracts `mean` (one per column) from every row.
    ///
    /// # Panics
    /// Where there is not one mean per column.
    #[must_use]
    pub fn centred(mut self, mean: Array1<f64>) -> Self {
        assert_eq!(mean.len(), self.x.n_cols(), "one mean per column");
        self.mean = Some(mean);
        self
    }

    /// Multiplies each (centred) column by `scale`, for example 1 / sd, and 0 where a column is
    /// constant.
    ///
    /// # Panics
    /// Where there is not one scale per column.
    #[must_use]
    pub fn scaled(mut self, scale: Array1<f64>) -> Self {
        assert_eq!(scale.len(), self.x.n_cols(), "one scale per column");
        self.scale = Some(scale);
        self
    }
}

impl LinearOperator for SparseOperator<'_> {
    fn n_rows(&self) -> usize {
        self.x.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.x.n_cols()
    }

    fn apply(&self, x: &Array2<f64>) -> Array2<f64> {
        let scaled;
        let x = match &self.scale {
            Some(s) => {
                scaled = x * &s.view().insert_axis(Axis(1));
                &scaled
            }
            None => x,
        };
        let mut out = csr_dot(self.x, x);
        if let Some(mean) = &self.mean {
            out -= &mean.dot(x);
        }
        out
    }

    fn apply_t(&self, y: &Array2<f64>) -> Array2<f64> {
        let mut out = csr_dot(&self.xt, y);
        if let Some(mean) = &self.mean {
            let sums = y.sum_axis(Axis(0));
            for (mut row, &m) in out.rows_mut().into_iter().zip(mean) {
                row.scaled_add(-m, &sums);
            }
        }
        if let Some(s) = &self.scale {
            out *= &s.view().insert_axis(Axis(1));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_testing::{random, random_csr};

    #[test]
    fn centred_and_scaled_products_agree_with_the_filled_in_matrix() {
        let x = random_csr(40, 15, 0.3, 1);
        let mean = super::super::column_means(&x);
        let scale =
            Array1::from_iter((0..15).map(|i| if i == 4 { 0.0 } else { 0.5 + f64::from(i) }));
        let dense = (x.to_dense().mapv(f64::from) - &mean) * &scale;
        let op = SparseOperator::new(&x).centred(mean).scaled(scale);
        let (a, b) = (random(15, 3, 2), random(40, 3, 3));
        let close =
            |a: Array2<f64>, b: Array2<f64>| a.iter().zip(&b).all(|(x, y)| (x - y).abs() < 1e-12);
        assert!(close(op.apply(&a), dense.dot(&a)));
        assert!(close(op.apply_t(&b), dense.t().dot(&b)));
    }
}
