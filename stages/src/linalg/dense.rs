//! Products, orthonormal bases and symmetric eigenproblems of dense matrices.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::{evd, householder, matmul::matmul as faer_matmul, qr::no_pivoting::factor};
use faer::{Accum, Conj, Mat, MatMut, MatRef, Par};
use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use crate::error::{StageError, StageResult};

/// Rows (or columns) of a product that one task computes. Part of the numerics: blocks are
/// computed one by one, so the value may change last bits, but never the number of threads.
const BLOCK: usize = 128;

/// f32 or f64.
pub trait Element: faer::traits::ComplexField + ndarray::LinalgScalar + Send + Sync {}
impl Element for f32 {}
impl Element for f64 {}

/// `a b`, with `a` of `m x k` and `b` of `k x n`: `m x n`, row-major.
///
/// # Panics
/// Where the inner dimensions differ.
pub fn matmul<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    product(
        mat(a.as_slice().expect("standard layout"), a.dim()),
        mat(b.as_slice().expect("standard layout"), b.dim()),
    )
}

/// `aᵀ b`, with `a` of `k x m` and `b` of `k x n`: `m x n`, row-major.
///
/// # Panics
/// Where the numbers of rows differ.
pub fn matmul_tn<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let left = mat(a.as_slice().expect("standard layout"), a.dim()).transpose();
    product(left, mat(b.as_slice().expect("standard layout"), b.dim()))
}

/// `a bᵀ`, with `a` of `m x k` and `b` of `n x k`: `m x n`, row-major.
///
/// # Panics
/// Where the numbers of columns differ.
pub fn matmul_nt<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let right = mat(b.as_slice().expect("standard layout"), b.dim()).transpose();
    product(mat(a.as_slice().expect("standard layout"), a.dim()), right)
}

pub(super) fn mat<T>(slice: &[T], (rows, cols): (usize, usize)) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(slice, rows, cols)
}

fn product<T: Element>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> Array2<T> {
    assert_eq!(a.ncols(), b.nrows(), "inner dimensions agree");
    let (m, n) = (a.nrows(), b.ncols());
    let mut out = Array2::<T>::zeros((m, n));
    if m == 0 || n == 0 || a.ncols() == 0 {
        return out;
    }
    let slice = out.as_slice_mut().expect("standard layout");
    let one = T::one();
    if m >= n {
        slice
            .par_chunks_mut(BLOCK * n)
            .enumerate()
            .for_each(|(i, chunk)| {
                let rows = chunk.len() / n;
                let dst = MatMut::from_row_major_slice_mut(chunk, rows, n);
                faer_matmul(
                    dst,
                    Accum::Replace,
                    a.subrows(i * BLOCK, rows),
                    b,
                    one,
                    Par::Seq,
                );
            });
    } else {
        MatMut::from_row_major_slice_mut(slice, m, n)
            .par_col_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(j, dst)| {
                let cols = dst.ncols();
                faer_matmul(
                    dst,
                    Accum::Replace,
                    a,
                    b.subcols(j * BLOCK, cols),
                    one,
                    Par::Seq,
                );
            });
    }
    out
}

/// Eigenvalues and eigenvectors of a symmetric matrix, largest eigenvalue first.
#[derive(Debug, Clone)]
pub struct SymmetricEigen {
    /// `n` eigenvalues, falling.
    pub values: Array1<f64>,
    /// `n x n`, eigenvector `k` in column `k`; signs are not fixed.
    pub vectors: Array2<f64>,
}

/// All eigenpairs of the symmetric `a` (its lower triangle is read), in O(n³) on one thread.
///
/// # Errors
/// [`StageError::Data`] where `a` holds a value that is not finite.
pub fn symmetric_eigen(a: &Array2<f64>) -> StageResult<SymmetricEigen> {
    let n = a.nrows();
    assert_eq!(a.ncols(), n, "a symmetric matrix is square");
    if a.iter().any(|v| !v.is_finite()) {
        return Err(StageError::data(
            "eigenvalues: the matrix holds a value that is not finite",
        ));
    }
    if n == 0 {
        return Ok(SymmetricEigen {
            values: Array1::zeros(0),
            vectors: Array2::zeros((0, 0)),
        });
    }
    let mut vectors = Mat::<f64>::zeros(n, n);
    let mut values = faer::diag::Diag::<f64>::zeros(n);
    let a = a.as_standard_layout();
    let source = mat(a.as_slice().expect("standard layout"), (n, n));
    let scratch = evd::self_adjoint_evd_scratch::<f64>(
        n,
        evd::ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    evd::self_adjoint_evd(
        source,
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| {
        StageError::data(format!(
            "eigenvalues of a {n} x {n} matrix did not converge"
        ))
    })?;
    let column = values.column_vector();
    Ok(SymmetricEigen {
        values: Array1::from_shape_fn(n, |k| column[n - 1 - k]),
        vectors: Array2::from_shape_fn((n, n), |(i, k)| vectors[(i, n - 1 - k)]),
    })
}

/// An orthonormal basis that contains the column space of `a` (`n x k`): `n x min(n, k)`, by
/// Householder QR. Where `a` lacks full column rank, the basis is completed by other directions.
pub fn orthonormal_basis(a: &Array2<f64>) -> Array2<f64> {
    let (n, k) = a.dim();
    let size = n.min(k);
    if size == 0 {
        return Array2::zeros((n, 0));
    }
    let mut qr = Mat::from_fn(n, k, |i, j| a[[i, j]]);
    let block = factor::recommended_block_size::<f64>(n, k);
    let mut coefficients = Mat::<f64>::zeros(block, size);
    factor::qr_in_place(
        qr.as_mut(),
        coefficients.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(factor::qr_in_place_scratch::<f64>(
            n,
            k,
            block,
            Par::Seq,
            Default::default(),
        ))),
        Default::default(),
    );
    let mut q = Mat::<f64>::identity(n, size);
    let scratch = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
        n, block, size,
    );
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        qr.as_ref().subcols(0, size),
        coefficients.as_ref(),
        Conj::No,
        q.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
    Array2::from_shape_fn((n, size), |(i, j)| q[(i, j)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at_threads, random};
    use super::*;

    #[test]
    fn products_agree_with_the_triple_loop() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 2),
            (300, 70, 40),
            (40, 70, 300),
            (5, 0, 4),
            (0, 3, 2),
        ] {
            let (a, b) = (random(m, k, 1), random(k, n, 2));
            let slow = Array2::from_shape_fn((m, n), |(i, j)| {
                (0..k).map(|l| a[[i, l]] * b[[l, j]]).sum::<f64>()
            });
            for fast in [
                matmul(&a.view(), &b.view()),
                matmul_tn(&a.t().to_owned().view(), &b.view()),
                matmul_nt(&a.view(), &b.t().to_owned().view()),
                matmul(&a.t().to_owned().t(), &b.view()),
            ] {
                assert_eq!(fast.dim(), (m, n));
                assert!(
                    slow.iter()
                        .zip(&fast)
                        .all(|(s, f)| (s - f).abs() < 1e-12 * (k as f64 + 1.0)),
                    "{m} {k} {n}"
                );
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let (a, b) = (random(700, 333, 3), random(333, 210, 4));
        let run = || {
            let c = matmul(&a.view(), &b.view());
            let g = matmul_tn(&a.view(), &a.view());
            let e = symmetric_eigen(&g).unwrap();
            (c, e.values, e.vectors, orthonormal_basis(&a))
        };
        let one = at_threads(1, run);
        for threads in [2, 5] {
            assert!(at_threads(threads, run) == one, "{threads} threads");
        }
    }

    #[test]
    fn eigenpairs_rebuild_the_matrix_in_falling_order() {
        let b = random(30, 12, 5);
        let a = matmul_tn(&b.view(), &b.view());
        let e = symmetric_eigen(&a).unwrap();
        assert!(e.values.windows(2).into_iter().all(|w| w[0] >= w[1]));
        let rebuilt = e
            .vectors
            .dot(&Array2::from_diag(&e.values))
            .dot(&e.vectors.t());
        assert!(a.iter().zip(&rebuilt).all(|(x, y)| (x - y).abs() < 1e-12));
        assert!(symmetric_eigen(&Array2::from_elem((2, 2), f64::NAN)).is_err());
    }

    #[test]
    fn basis_is_orthonormal_and_spans_the_columns_even_without_full_rank() {
        let mut a = random(50, 6, 6);
        for i in 0..50 {
            a[[i, 3]] = 2.0 * a[[i, 1]];
        }
        let q = orthonormal_basis(&a);
        let identity = q.t().dot(&q);
        assert!(
            identity
                .indexed_iter()
                .all(|((i, j), v)| (v - f64::from(u8::from(i == j))).abs() < 1e-12)
        );
        let projected = q.dot(&q.t().dot(&a));
        assert!(a.iter().zip(&projected).all(|(x, y)| (x - y).abs() < 1e-12));
    }
}
