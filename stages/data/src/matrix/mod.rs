//! Matrices: cells are rows. Sparse rows ([`Csr`]) for counts and expression, `ndarray` for dense.

mod csr;

pub use csr::Csr;

use ndarray::Array2;

/// A dense or sparse matrix of f32 (whole counts are exact to 16,777,216).
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// Row-major.
    Dense(Array2<f32>),
    /// Compressed sparse rows.
    Csr(Csr),
}

impl Matrix {
    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense(a) => a.dim(),
            Self::Csr(m) => (m.n_rows(), m.n_cols()),
        }
    }

    /// The rows at `rows`, in that order.
    #[must_use]
    pub fn take_rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Dense(a) => Self::Dense(a.select(ndarray::Axis(0), rows)),
            Self::Csr(m) => Self::Csr(m.take_rows(rows)),
        }
    }

    /// Dense, row-major.
    pub fn into_dense(self) -> Array2<f32> {
        match self {
            Self::Dense(a) => a,
            Self::Csr(m) => m.to_dense(),
        }
    }

    /// Sparse rows, zeros dropped.
    pub fn into_csr(self) -> Csr {
        match self {
            Self::Dense(a) => Csr::from_dense(&a),
            Self::Csr(m) => m,
        }
    }
}
