//! Matrices: cells are rows. Sparse rows ([`Csr`]) for counts and expression, `ndarray` for dense.

mod csr;
mod spool;

pub use csr::Csr;
pub use spool::{RowsView, Spool, SpooledRows, block_of, hold_at_most};

use std::borrow::Cow;
use std::fmt::Debug;

use ndarray::Array2;

use crate::error::StageResult;

/// Sparse rows that are read part by part, so that no more than a part need be in memory.
pub trait Parts: Debug + Sync {
    /// Number of rows.
    fn n_rows(&self) -> usize;

    /// Number of columns.
    fn n_cols(&self) -> usize;

    /// Number of parts.
    fn n_parts(&self) -> usize;

    /// The number of the first row of a part, and its rows.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn part(&self, at: usize) -> StageResult<(usize, Cow<'_, Csr>)>;

    /// Calls `f` with the number of the first row of each part, and the part, in order.
    ///
    /// # Errors
    /// Where a part cannot be read, and any error of `f`.
    fn each(&self, f: &mut dyn FnMut(usize, &Csr) -> StageResult<()>) -> StageResult<()> {
        for at in 0..self.n_parts() {
            let (first, part) = self.part(at)?;
            f(first, &part)?;
        }
        Ok(())
    }
}

/// A matrix in memory is one part.
impl Parts for Csr {
    fn n_rows(&self) -> usize {
        self.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.n_cols()
    }

    fn n_parts(&self) -> usize {
        1
    }

    fn part(&self, _: usize) -> StageResult<(usize, Cow<'_, Csr>)> {
        Ok((0, Cow::Borrowed(self)))
    }
}

/// Matrices in memory below one another, a part each; an empty list has no columns.
impl Parts for Vec<Csr> {
    fn n_rows(&self) -> usize {
        self.iter().map(Csr::n_rows).sum()
    }

    fn n_cols(&self) -> usize {
        self.first().map_or(0, Csr::n_cols)
    }

    fn n_parts(&self) -> usize {
        self.len()
    }

    fn part(&self, at: usize) -> StageResult<(usize, Cow<'_, Csr>)> {
        let first = self[..at].iter().map(Csr::n_rows).sum();
        Ok((first, Cow::Borrowed(&self[at])))
    }
}

/// Some columns of a matrix, in that order.
#[derive(Debug)]
pub struct Columns<'a> {
    /// The matrix.
    pub x: &'a dyn Parts,
    /// The columns.
    pub kept: &'a [usize],
}

impl Parts for Columns<'_> {
    fn n_rows(&self) -> usize {
        self.x.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.kept.len()
    }

    fn n_parts(&self) -> usize {
        self.x.n_parts()
    }

    fn part(&self, at: usize) -> StageResult<(usize, Cow<'_, Csr>)> {
        let (first, part) = self.x.part(at)?;
        Ok((first, Cow::Owned(part.take_cols(self.kept))))
    }
}

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
