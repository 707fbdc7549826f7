//! Leading singular triplets of a matrix known through its products.

use ndarray::{Array1, Array2, s};

use super::{LinearOperator, matmul, matmul_nt, orthonormal_basis, symmetric_eigen};
use crate::rng::Rng;
use clcc_data::error::StageResult;

/// Options of [`randomized_svd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SvdOptions {
    /// Triplets wanted; fewer are returned where the matrix is smaller.
    pub n_comps: usize,
    /// Further directions that are carried along for accuracy; 10 or more.
    pub oversample: usize,
    /// Multiplications by `A Aᵀ`; 4 to 8 for spectra that fall slowly.
    pub n_power_iterations: usize,
    /// Seed of the random start.
    pub seed: u64,
}

impl SvdOptions {
    /// `n_comps` triplets with 10 further directions and 7 power iterations.
    pub fn new(n_comps: usize, seed: u64) -> Self {
        Self {
            n_comps,
            oversample: 10,
            n_power_iterations: 7,
            seed,
        }
    }
}

/// `A ~ u diag(s) vᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// `n_rows x k`, orthonormal columns.
    pub u: Array2<f64>,
    /// `k` singular values, falling.
    pub s: Array1<f64>,
    /// `n_cols x k`, orthonormal columns. The entry of largest size in each is positive (the
    /// first of them on ties), which fixes the signs, as scikit-learn's `svd_flip` does with
    /// `u_based_decision=False`.
    pub v: Array2<f64>,
}

/// The leading singular triplets by randomized subspace iteration (Halko, Martinsson and Tropp
/// 2011, algorithm 4.4 with 5.1), orthonormalised after every product.
///
/// The result depends on the operator and the options alone, at any number of threads. A triplet
/// whose singular value is 0 has arbitrary (orthonormal) vectors.
///
/// # Errors
/// [`clcc_data::StageError::Data`] where the operator gives values that are not finite.
pub fn randomized_svd(op: &dyn LinearOperator, options: &SvdOptions) -> StageResult<Svd> {
    let (n, p) = (op.n_rows(), op.n_cols());
    let k = options.n_comps.min(n).min(p);
    let width = (options.n_comps + options.oversample).min(n).min(p);
    let mut rng = Rng::new(options.seed, "randomized svd", &[]);
    let start = Array2::from_shape_simple_fn((p, width), || rng.normal());
    let mut q = orthonormal_basis(&op.apply(&start));
    for _ in 0..options.n_power_iterations {
        let z = orthonormal_basis(&op.apply_t(&q));
        q = orthonormal_basis(&op.apply(&z));
    }
    // Rayleigh-Ritz: Bᵀ = Aᵀ Q = W R, and the small R Rᵀ gives the rotation of both sides.
    let bt = op.apply_t(&q);
    let w = orthonormal_basis(&bt);
    let r = super::matmul_tn(&w.view(), &bt.view());
    // Singular values of the small square R from the symmetric [0 R; Rᵀ 0], which keeps small
    // ones accurate where R Rᵀ would square them away.
    let mut both = Array2::zeros((2 * width, 2 * width));
    both.slice_mut(s![..width, width..]).assign(&r);
    both.slice_mut(s![width.., ..width]).assign(&r.t());
    let eigen = symmetric_eigen(&both)?;
    let s = eigen.values.slice(s![..k]).mapv(|v| v.max(0.0));
    let right = unit_columns(&eigen.vectors.slice(s![..width, ..k]).to_owned());
    let left = unit_columns(&eigen.vectors.slice(s![width.., ..k]).to_owned());
    let mut v = matmul(&w.view(), &right.view());
    let mut u = matmul(&q.view(), &left.view());
    fix_signs(&mut v, &mut u);
    Ok(Svd { u, s, v })
}

/// Each half of an eigenvector of the doubled matrix has length 1/sqrt(2), unless its singular
/// value is 0: then the halves may have any lengths, and orthonormal columns are made again.
fn unit_columns(a: &Array2<f64>) -> Array2<f64> {
    let gram = super::matmul_tn(&a.view(), &a.view());
    let halves = gram
        .indexed_iter()
        .all(|((i, j), v)| (v - if i == j { 0.5 } else { 0.0 }).abs() < 1e-6);
    if halves {
        a * std::f64::consts::SQRT_2
    } else {
        orthonormal_keeping_directions(a)
    }
}

/// Gram-Schmidt, twice, replacing columns that vanish by unit vectors: leading columns keep their
/// direction and sign.
fn orthonormal_keeping_directions(a: &Array2<f64>) -> Array2<f64> {
    let (n, k) = a.dim();
    let mut q = Array2::<f64>::zeros((n, k));
    for j in 0..k {
        let mut candidates = std::iter::once(a.column(j).to_owned())
            .chain((0..n).map(|i| Array1::from_shape_fn(n, |l| f64::from(u8::from(l == i)))));
        let column = candidates.find_map(|mut c| {
            for _ in 0..2 {
                for l in 0..j {
                    let overlap = q.column(l).dot(&c);
                    c.scaled_add(-overlap, &q.column(l));
                }
            }
            let length = c.dot(&c).sqrt();
            (length > 1e-3).then(|| c / length)
        });
        q.column_mut(j)
            .assign(&column.expect("some unit vector is outside a proper subspace"));
    }
    q
}

/// Makes the entry of largest size in each column of `leading` positive, and turns `following`
/// with it.
pub(super) fn fix_signs(leading: &mut Array2<f64>, following: &mut Array2<f64>) {
    for (mut l, mut f) in leading
        .columns_mut()
        .into_iter()
        .zip(following.columns_mut())
    {
        let largest = l.iter().fold(
            0.0f64,
            |best, &v| if v.abs() > best.abs() { v } else { best },
        );
        if largest < 0.0 {
            l.mapv_inplace(|v| -v);
            f.mapv_inplace(|v| -v);
        }
    }
}

impl Svd {
    /// Rebuild the matrix of rank `k` from the triplets, `n_rows x n_cols`.
    pub fn rebuild(&self) -> Array2<f64> {
        matmul_nt(&(&self.u * &self.s).view(), &self.v.view())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SparseOperator, column_means, matmul_tn};
    use super::*;
    use clcc_testing::{at_threads, random, random_csr};

    fn orthonormal(a: &Array2<f64>) -> bool {
        matmul_tn(&a.view(), &a.view())
            .indexed_iter()
            .all(|((i, j), v)| (v - f64::from(u8::from(i == j))).abs() < 1e-9)
    }

    #[test]
    fn leading_triplets_agree_with_the_dense_decomposition() {
        let x = random_csr(300, 80, 0.2, 1);
        let mean = column_means(&x);
        let dense = x.to_dense().mapv(f64::from) - &mean;
        let exact = symmetric_eigen(&matmul_tn(&dense.view(), &dense.view())).unwrap();
        let op = SparseOperator::new(&x).centred(mean);
        let options = SvdOptions {
            n_power_iterations: 60,
            ..SvdOptions::new(10, 7)
        };
        let svd = randomized_svd(&op, &options).unwrap();
        for k in 0..10 {
            let s = exact.values[k].sqrt();
            assert!((svd.s[k] - s).abs() < 1e-6 * s, "{k}: {} {s}", svd.s[k]);
            let overlap = exact.vectors.column(k).dot(&svd.v.column(k)).abs();
            assert!(overlap > 1.0 - 1e-4, "{k}: {overlap}");
        }
        assert!(orthonormal(&svd.u) && orthonormal(&svd.v));
        assert!(svd.v.columns().into_iter().all(|c| {
            c.iter()
                .fold(0.0f64, |b, &v| if v.abs() > b.abs() { v } else { b })
                > 0.0
        }));
    }

    #[test]
    fn a_matrix_of_low_rank_is_rebuilt() {
        let a = random(60, 3, 1).dot(&random(3, 25, 2));
        let svd = randomized_svd(&a, &SvdOptions::new(6, 3)).unwrap();
        assert!(
            a.iter()
                .zip(&svd.rebuild())
                .all(|(x, y)| (x - y).abs() < 1e-9)
        );
        assert!(svd.s.slice(s![3..]).iter().all(|&s| s < 1e-9));
        assert!(orthonormal(&svd.u) && orthonormal(&svd.v));
    }

    #[test]
    fn degenerate_shapes_have_no_nan() {
        let zero = randomized_svd(&Array2::<f64>::zeros((8, 5)), &SvdOptions::new(3, 1)).unwrap();
        assert!(zero.s.iter().all(|&s| s == 0.0) && orthonormal(&zero.u) && orthonormal(&zero.v));
        let tiny = randomized_svd(&random(3, 40, 1), &SvdOptions::new(10, 1)).unwrap();
        assert_eq!(
            (tiny.u.dim(), tiny.s.len(), tiny.v.dim()),
            ((3, 3), 3, (40, 3))
        );
        assert_eq!(
            randomized_svd(&Array2::<f64>::zeros((0, 5)), &SvdOptions::new(3, 1))
                .unwrap()
                .s
                .len(),
            0
        );
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let x = random_csr(900, 150, 0.1, 5);
        let run = || randomized_svd(&SparseOperator::new(&x), &SvdOptions::new(8, 2)).unwrap();
        let one = at_threads(1, run);
        assert!(at_threads(3, run) == one);
    }
}
