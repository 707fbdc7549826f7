//! Products, orthonormal bases and symmetric eigenproblems of dense matrices.

use ndarray::{Array1, Array2, ArrayView2};

pub use crate::math::Element;
use crate::math::{View, orthonormal_columns, product_into, symmetric_eigen_in_place};
use clcc_data::error::{StageError, StageResult};

/// `a b`, with `a` of `m x k` and `b` of `k x n`: `m x n`, row-major.
///
/// # Panics
/// Where the inner dimensions differ.
pub fn matmul<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    product(view(&a.view()), view(&b.view()))
}

/// `aᵀ b`, with `a` of `k x m` and `b` of `k x n`: `m x n`, row-major.
///
/// # Panics
/// Where the numbers of rows differ.
pub fn matmul_tn<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    product(view(&a.view()).t(), view(&b.view()))
}

/// `a bᵀ`, with `a` of `m x k` and `b` of `n x k`: `m x n`, row-major.
///
/// # Panics
/// Where the numbers of columns differ.
pub fn matmul_nt<T: Element>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>) -> Array2<T> {
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    product(view(&a.view()), view(&b.view()).t())
}

/// A matrix in standard layout.
fn view<'a, T: Element>(a: &ArrayView2<'a, T>) -> View<'a, T> {
    let values = a.to_slice().expect("standard layout");
    View::row_major(values, a.nrows(), a.ncols())
}

fn product<T: Element>(a: View<'_, T>, b: View<'_, T>) -> Array2<T> {
    let mut out = vec![T::default(); a.rows() * b.cols()];
    product_into(a, b, &mut out);
    Array2::from_shape_vec((a.rows(), b.cols()), out).expect("the product's size")
}

/// Eigenvalues and eigenvectors of a symmetric matrix, largest eigenvalue first.
#[derive(Debug, Clone)]
pub struct SymmetricEigen {
    /// `n` eigenvalues, falling.
    pub values: Array1<f64>,
    /// `n x n`, eigenvector `k` in column `k`; signs are not fixed.
    pub vectors: Array2<f64>,
}

/// All eigenpairs of the symmetric `a`, in about 9 n³ operations on one thread
/// ([`symmetric_eigen_in_place`]).
///
/// # Errors
/// [`StageError::Data`] where `a` holds a value that is not finite.
///
/// # Panics
/// Where `a` is not square.
pub fn symmetric_eigen(a: &Array2<f64>) -> StageResult<SymmetricEigen> {
    let n = a.nrows();
    assert_eq!(a.ncols(), n, "a symmetric matrix is square");
    if a.iter().any(|v| !v.is_finite()) {
        return Err(StageError::data(
            "eigenvalues: the matrix holds a value that is not finite",
        ));
    }
    let mut vectors: Vec<f64> = a.iter().copied().collect();
    let values = symmetric_eigen_in_place(&mut vectors, n).ok_or_else(|| {
        StageError::data(format!(
            "eigenvalues of a {n} x {n} matrix did not converge"
        ))
    })?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    Ok(SymmetricEigen {
        values: order.iter().map(|&k| values[k]).collect(),
        vectors: Array2::from_shape_fn((n, n), |(i, k)| vectors[order[k] * n + i]),
    })
}

/// An orthonormal basis that contains the column space of `a` (`n x k`): `n x min(n, k)`, by
/// Householder QR. Where `a` lacks full column rank, the basis is completed by other directions.
pub fn orthonormal_basis(a: &Array2<f64>) -> Array2<f64> {
    let (n, k) = a.dim();
    let size = n.min(k);
    let columns: Vec<f64> = a.t().iter().copied().collect();
    let basis = orthonormal_columns(columns, n, k);
    Array2::from_shape_vec((size, n), basis)
        .expect("columns one after the other")
        .reversed_axes()
        .as_standard_layout()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_testing::{at_threads, random};

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
