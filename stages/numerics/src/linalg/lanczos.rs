//! Leading right singular vectors of a matrix known through its products, to a stated accuracy.

use ndarray::{Array1, Array2, Axis, concatenate, s};

use super::{LinearOperator, matmul, matmul_tn, orthonormal_basis, symmetric_eigen};
use crate::rng::Rng;
use clcc_data::error::StageResult;

/// Columns that go through the operator together.
const BLOCK: usize = 16;
/// A pair is good when its residual is below this share of the largest eigenvalue.
const TOLERANCE: f64 = 1e-5;

/// Leading eigenpairs of `AᵀA`.
#[derive(Debug, Clone, PartialEq)]
pub struct Leading {
    /// Singular values of `A`, falling.
    pub singular: Array1<f64>,
    /// `n_cols x k`, orthonormal.
    pub vectors: Array2<f64>,
}

/// The `k` leading eigenpairs of `AᵀA` by block Lanczos with full reorthogonalisation and a
/// Rayleigh-Ritz step (Golub and Underwood 1977), each with a residual of at most 1e-5 of the largest
/// eigenvalue, or over a basis as large as the smaller side where that comes first. Only products with
/// `A` are used, so nothing of `n_cols x n_cols` is made.
///
/// `None` where the space that the start can reach is smaller than `k` (a matrix of low rank).
///
/// # Errors
/// [`clcc_data::StageError::Data`] where the operator gives values that are not finite.
pub fn leading_right(op: &dyn LinearOperator, k: usize, seed: u64) -> StageResult<Option<Leading>> {
    let (n, p) = (op.n_rows(), op.n_cols());
    let most = n.min(p);
    let mut rng = Rng::new(seed, "block lanczos", &[]);
    // From the row space, in which the basis then stays.
    let start = Array2::from_shape_simple_fn((n, BLOCK.min(most)), || rng.normal());
    let image = op.apply_t(&start);
    let first = orthonormal_basis(&image);
    let size = largest(&image);
    let mut block = reached(
        &first,
        &matmul_tn(&first.view(), &image.view()),
        1e-12 * size,
    );
    if block.ncols() == 0 {
        return Ok(None);
    }
    let mut basis = Array2::<f64>::zeros((p, 0));
    // `A basis`, block by block, and its inner products.
    let mut images: Vec<Array2<f64>> = Vec::new();
    let mut inner = Array2::<f64>::zeros((0, 0));
    let mut check_at = (4 * k).min(most);
    loop {
        let image = op.apply(&block);
        basis = append(&basis, &block);
        inner = bordered(&inner, &images, &image);
        let mut next = op.apply_t(&image);
        images.push(image);
        let size = largest(&next);
        let (fresh, rest) = beyond(&basis, &mut next);
        let width = basis.ncols();
        let fresh_reached = reached(&fresh, &rest, 1e-12 * size);
        let exhausted = fresh_reached.ncols() == 0 || width >= most;
        if exhausted && width < k {
            return Ok(None);
        }
        if width >= check_at || exhausted {
            let eigen = symmetric_eigen(&inner)?;
            let last = s![width - block.ncols().., ..k];
            let worst = longest(&matmul(
                &rest.view(),
                &eigen.vectors.slice(last).to_owned().view(),
            ));
            if exhausted || worst <= TOLERANCE * eigen.values[0] {
                let vectors = matmul(&basis.view(), &eigen.vectors.slice(s![.., ..k]));
                let singular = eigen.values.slice(s![..k]).mapv(|v| v.max(0.0).sqrt());
                return Ok(Some(Leading { singular, vectors }));
            }
            check_at = width + width / 4;
        }
        let room = fresh_reached.ncols().min(most - width);
        block = fresh_reached.slice(s![.., ..room]).to_owned();
    }
}

/// Orthonormal columns that `next` needs beyond the basis, and its coordinates in them. `next` loses what is in the
/// basis.
fn beyond(basis: &Array2<f64>, next: &mut Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    for _ in 0..2 {
        let overlap = matmul_tn(&basis.view(), &next.view());
        *next -= &matmul(&basis.view(), &overlap.view());
    }
    let fresh = orthonormal_basis(next);
    // Where the block lost rank, the completing directions may be in the span of the basis.
    let overlap = matmul_tn(&basis.view(), &fresh.view());
    let fresh = orthonormal_basis(&(&fresh - &matmul(&basis.view(), &overlap.view())));
    let rest = matmul_tn(&fresh.view(), &next.view());
    (fresh, rest)
}

/// Length of the longest column.
fn longest(a: &Array2<f64>) -> f64 {
    let columns = a.columns().into_iter();
    columns.map(|c| c.dot(&c).sqrt()).fold(0.0, f64::max)
}

fn largest(a: &Array2<f64>) -> f64 {
    a.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// The columns of `q` that `q r` needs: those whose row of `r` is more than rounding. The others complete a
/// block that has lost rank, and lead out of the space.
fn reached(q: &Array2<f64>, r: &Array2<f64>, floor: f64) -> Array2<f64> {
    let length = |j: usize| r.row(j).dot(&r.row(j)).sqrt();
    let kept: Vec<usize> = (0..q.ncols()).filter(|&j| length(j) > floor).collect();
    q.select(Axis(1), &kept)
}

/// The inner products of all images, from those of the earlier ones.
fn bordered(inner: &Array2<f64>, images: &[Array2<f64>], image: &Array2<f64>) -> Array2<f64> {
    let (old, new) = (inner.nrows(), image.ncols());
    let mut out = Array2::zeros((old + new, old + new));
    out.slice_mut(s![..old, ..old]).assign(inner);
    let mut at = 0;
    for earlier in images.iter().chain([image]) {
        let product = matmul_tn(&earlier.view(), &image.view());
        let end = at + earlier.ncols();
        out.slice_mut(s![at..end, old..]).assign(&product);
        out.slice_mut(s![old.., at..end]).assign(&product.t());
        at = end;
    }
    out
}

fn append(a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    concatenate(Axis(1), &[a.view(), b.view()]).expect("the same number of rows")
}

#[cfg(test)]
mod tests {
    use super::super::{SparseOperator, column_means};
    use super::*;
    use clcc_testing::{at_threads, random, random_csr};

    #[test]
    fn pairs_are_those_of_the_dense_decomposition() {
        let x = random_csr(900, 300, 0.2, 1).map(|_, c, v| v * 0.98f32.powi(c as i32));
        let mean = column_means(&x);
        let dense = x.to_dense().mapv(f64::from) - &mean;
        let exact = symmetric_eigen(&matmul_tn(&dense.view(), &dense.view())).unwrap();
        let got = leading_right(&SparseOperator::new(&x).centred(mean), 20, 3)
            .unwrap()
            .unwrap();
        for k in 0..20 {
            let singular = exact.values[k].sqrt();
            // Twice the order of the residual: 1e-10 over a gap of .02, of .45.
            assert!((got.singular[k] - singular).abs() < 1e-7 * singular, "{k}");
            let overlap = exact.vectors.column(k).dot(&got.vectors.column(k)).abs();
            assert!(overlap > 1.0 - 1e-6, "{k}: {overlap}");
        }
    }

    /// A flat spectrum has no gaps: the residual still holds.
    #[test]
    fn residuals_are_small_without_gaps() {
        let a = random(700, 650, 2);
        let got = leading_right(&a, 30, 1).unwrap().unwrap();
        let image = a.apply_t(&a.apply(&got.vectors));
        for k in 0..30 {
            let value = got.singular[k].powi(2);
            let gap = &image.column(k) - &(&got.vectors.column(k) * value);
            assert!(
                gap.dot(&gap).sqrt() <= 2.0 * TOLERANCE * got.singular[0].powi(2),
                "{k}"
            );
        }
    }

    #[test]
    fn low_rank_is_reported_and_bits_do_not_depend_on_threads() {
        let a = random(600, 3, 1).dot(&random(3, 550, 2));
        assert_eq!(leading_right(&a, 20, 1).unwrap(), None);
        assert_eq!(
            leading_right(&Array2::<f64>::zeros((40, 30)), 5, 1).unwrap(),
            None
        );
        let three = leading_right(&a, 3, 1).unwrap().unwrap();
        let image = a.apply_t(&a.apply(&three.vectors));
        for k in 0..3 {
            let gap = &image.column(k) - &(&three.vectors.column(k) * three.singular[k].powi(2));
            assert!(gap.dot(&gap).sqrt() <= 1e-9 * three.singular[0].powi(2));
        }
        let x = random_csr(800, 620, 0.1, 5);
        let run = || leading_right(&SparseOperator::new(&x), 10, 2).unwrap();
        let one = at_threads(1, run);
        assert!(at_threads(3, run) == one);
    }
}
