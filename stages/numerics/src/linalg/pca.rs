//! Principal components of sparse rows.

use ndarray::{Array1, Array2, Axis, s};

use super::rsvd::fix_signs;
use super::{
    LinearOperator, SparseOperator, SvdOptions, column_means, csr_gram, leading_right,
    randomized_svd, symmetric_eigen,
};
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;

/// Options of [`pca`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcaOptions {
    /// Components wanted; fewer are returned where the matrix has a smaller side.
    pub n_comps: usize,
    /// Subtract each column's mean first. `false`: truncated SVD of the matrix as it is.
    pub zero_center: bool,
    /// Smaller sides up to this are solved exactly; larger ones by randomized SVD.
    pub exact_up_to: usize,
    /// Seed of the randomized SVD.
    pub seed: u64,
}

/// Scores and axes, largest component first.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// `n_rows x k`: coordinates of the rows.
    pub scores: Array2<f64>,
    /// `n_cols x k`: unit axes; the entry of largest size is positive.
    pub components: Array2<f64>,
    /// Variance of each score column: divided by `n - 1` with `zero_center` (scanpy's PCA), by `n`
    /// without (scikit-learn's `TruncatedSVD`, which scanpy calls then).
    pub variance: Array1<f64>,
    /// The same, as a share of the summed variance of all columns; 0 where that is 0.
    pub variance_ratio: Array1<f64>,
}

/// Principal components of `x` (`n x p`): by the eigenvectors of the Gram matrix of the smaller
/// side where that is at most `exact_up_to`, else by block Lanczos ([`super::leading_right`]) to a
/// residual of 1e-5 of the largest eigenvalue. A matrix of so low a rank that this ends early takes the
/// randomized SVD.
///
/// Same subspace and scores as `scanpy.pp.pca` up to rounding (it uses ARPACK to machine
/// precision) in the first case, up to the residual in the second. Deviation: a component whose singular value is below 1e-7 of the largest is
/// rounding noise of the Gram matrix; its scores are set to 0.
///
/// ```
/// use clcc_data::matrix::Csr;
/// use clcc_numerics::linalg::{PcaOptions, pca};
///
/// // Three cells on a line in the plane of two genes: one component has all of the variance.
/// let x = Csr::from_rows(2, [vec![(0, 1.0), (1, 2.0)], vec![(0, 2.0), (1, 4.0)], vec![(0, 3.0), (1, 6.0)]]);
/// let options = PcaOptions { n_comps: 2, zero_center: true, exact_up_to: 1000, seed: 0 };
/// let found = pca(&x, &options).expect("finite values");
/// assert!((found.variance_ratio[0] - 1.0).abs() < 1e-12);
/// assert!((found.scores[[2, 0]] - 5.0_f64.sqrt()).abs() < 1e-12);
/// ```
///
/// # Errors
/// [`clcc_data::StageError::Data`] where `x` holds a value that is not finite.
pub fn pca(x: &Csr, options: &PcaOptions) -> StageResult<Pca> {
    let (n, p) = (x.n_rows(), x.n_cols());
    let k = options.n_comps.min(n).min(p);
    let mean = options.zero_center.then(|| column_means(x));
    let op = match &mean {
        Some(mean) => SparseOperator::new(x).centred(mean.clone()),
        None => SparseOperator::new(x),
    };
    let (mut components, singular) = if n.min(p) > options.exact_up_to {
        match leading_right(&op, k, options.seed)? {
            Some(found) => (found.vectors, found.singular),
            None => {
                let svd = randomized_svd(&op, &SvdOptions::new(k, options.seed))?;
                (svd.v, svd.s)
            }
        }
    } else if p <= n {
        let mut gram = csr_gram(x);
        if let Some(mean) = &mean {
            // Σ (x - m)(x - m)ᵀ = Σ x xᵀ - n m mᵀ
            for ((i, j), g) in gram.indexed_iter_mut() {
                *g -= n as f64 * (mean[i] * mean[j]);
            }
        }
        let eigen = symmetric_eigen(&gram)?;
        (
            eigen.vectors.slice(s![.., ..k]).to_owned(),
            eigen.values.slice(s![..k]).mapv(|v| v.max(0.0).sqrt()),
        )
    } else {
        dual(x, mean.as_ref(), &op, k)?
    };
    let mut scores = op.apply(&components);
    let floor = 1e-7 * singular.first().copied().unwrap_or(0.0);
    for (mut column, &s) in scores.columns_mut().into_iter().zip(&singular) {
        if s <= floor {
            column.fill(0.0);
        }
    }
    fix_signs(&mut components, &mut scores);
    let (variance, variance_ratio) = variances(x, &scores, options.zero_center);
    Ok(Pca {
        scores,
        components,
        variance,
        variance_ratio,
    })
}

/// Axes from the eigenvectors of `A Aᵀ`, where rows are fewer than columns.
fn dual(
    x: &Csr,
    mean: Option<&Array1<f64>>,
    op: &SparseOperator<'_>,
    k: usize,
) -> StageResult<(Array2<f64>, Array1<f64>)> {
    let mut gram = csr_gram(&x.transpose());
    if mean.is_some() && x.n_rows() > 0 {
        // Centring the columns of X is centring both sides of X Xᵀ.
        let rows = gram.mean_axis(Axis(1)).expect("at least one row");
        let all = rows.mean().expect("at least one row");
        for ((i, j), g) in gram.indexed_iter_mut() {
            *g += all - (rows[i] + rows[j]);
        }
    }
    let eigen = symmetric_eigen(&gram)?;
    let singular = eigen.values.slice(s![..k]).mapv(|v| v.max(0.0).sqrt());
    let mut components = op.apply_t(&eigen.vectors.slice(s![.., ..k]).to_owned());
    let floor = 1e-7 * singular.first().copied().unwrap_or(0.0);
    for (mut axis, &s) in components.columns_mut().into_iter().zip(&singular) {
        let length = axis.dot(&axis).sqrt();
        // An axis without variance is 0, not an arbitrary unit vector.
        axis.mapv_inplace(|v| {
            if s > floor && length > 0.0 {
                v / length
            } else {
                0.0
            }
        });
    }
    Ok((components, singular))
}

fn variances(x: &Csr, scores: &Array2<f64>, zero_center: bool) -> (Array1<f64>, Array1<f64>) {
    let n = x.n_rows() as f64;
    let freedom = if zero_center {
        (n - 1.0).max(1.0)
    } else {
        n.max(1.0)
    };
    let variance = Array1::from_iter(scores.columns().into_iter().map(|c| {
        let mean = c.sum() / n.max(1.0);
        c.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / freedom
    }));
    let means = column_means(x);
    let squares: f64 = x.data().iter().map(|&v| f64::from(v).powi(2)).sum();
    let total = (squares - n * means.dot(&means)) / freedom;
    let ratio = variance.mapv(|v| if total > 0.0 { v / total } else { 0.0 });
    (variance, ratio)
}

#[cfg(test)]
mod tests {
    use super::super::matmul_tn;
    use super::*;
    use clcc_testing::{at_threads, random_csr};

    fn options(n_comps: usize, zero_center: bool) -> PcaOptions {
        PcaOptions {
            n_comps,
            zero_center,
            exact_up_to: 3000,
            seed: 0,
        }
    }

    /// The covariance route on the filled-in matrix.
    fn slow(x: &Csr, zero_center: bool) -> (Array2<f64>, super::super::SymmetricEigen) {
        let mut dense = x.to_dense().mapv(f64::from);
        if zero_center {
            dense -= &column_means(x);
        }
        let eigen = symmetric_eigen(&matmul_tn(&dense.view(), &dense.view())).unwrap();
        (dense, eigen)
    }

    #[test]
    fn tall_wide_and_randomized_agree_with_the_dense_decomposition() {
        for (n, p, exact_up_to, tolerance) in [
            (200, 30, 3000, 1e-9),
            (30, 200, 3000, 1e-9),
            (200, 30, 10, 1e-5),
        ] {
            for zero_center in [false, true] {
                let x = random_csr(n, p, 0.3, 1).map(|_, c, v| v * 0.8f32.powi(c as i32));
                let (dense, eigen) = slow(&x, zero_center);
                let got = pca(
                    &x,
                    &PcaOptions {
                        exact_up_to,
                        ..options(5, zero_center)
                    },
                )
                .unwrap();
                for k in 0..5 {
                    let axis = eigen.vectors.column(k);
                    let sign = axis.dot(&got.components.column(k)).signum();
                    let scores = dense.dot(&axis) * sign;
                    let scale = eigen.values[k].sqrt();
                    let gap = (&scores - &got.scores.column(k))
                        .mapv(|v| v * v)
                        .sum()
                        .sqrt();
                    assert!(
                        gap < tolerance * scale,
                        "{n} x {p}, center {zero_center}, component {k}: {gap}"
                    );
                }
            }
        }
    }

    #[test]
    fn variance_of_all_components_is_the_whole() {
        let x = random_csr(60, 12, 0.4, 2);
        for zero_center in [false, true] {
            let got = pca(&x, &options(12, zero_center)).unwrap();
            assert!((got.variance_ratio.sum() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn few_cells_and_zero_rows_have_no_nan() {
        for x in [
            random_csr(3, 40, 0.3, 1),
            Csr::from_rows(6, vec![vec![]; 10]),
            Csr::from_rows(6, vec![vec![(1, 2.0)]; 4]),
        ] {
            for zero_center in [false, true] {
                let got = pca(&x, &options(50, zero_center)).unwrap();
                assert_eq!(got.scores.dim(), (x.n_rows(), x.n_rows().min(x.n_cols())));
                assert!(
                    got.scores
                        .iter()
                        .chain(&got.components)
                        .all(|v| v.is_finite())
                );
                assert!(
                    got.variance
                        .iter()
                        .chain(&got.variance_ratio)
                        .all(|v| v.is_finite())
                );
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let x = random_csr(700, 300, 0.2, 4);
        let run = || pca(&x, &options(20, true)).unwrap();
        let one = at_threads(1, run);
        assert!(at_threads(3, run) == one);
    }
}
