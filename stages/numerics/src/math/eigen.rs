//! Eigenpairs of symmetric matrices, in a fixed order of operations.
//!
//! Householder's reduction to tridiagonal form and implicit QL steps (EISPACK's `tred2` and `tql2`, Bowdler,
//! Martin, Reinsch and Wilkinson 1968), over the transpose of their matrix, so that every inner loop
//! runs along memory.

use pulp::{Simd, WithSimd};

use super::hypot;
use super::lanes::{add_scaled, dot, rotate};

/// QL steps for one eigenvalue before it is given up; two or three are usual.
const MOST_STEPS: usize = 200;

/// Eigenvalues of the symmetric row-major `a` (`n x n`) in no order; row `k` of `a` becomes the unit
/// eigenvector of value `k`. About 9 n^3 operations on the calling thread. `None` where the steps do not
/// converge (values that are not finite).
///
/// # Panics
/// Where `a` does not hold `n x n` values.
pub fn symmetric_eigen_in_place(a: &mut [f64], n: usize) -> Option<Vec<f64>> {
    assert_eq!(a.len(), n * n, "a square matrix");
    crate::math::vectors().dispatch(Eigen { a, n })
}

struct Eigen<'a> {
    a: &'a mut [f64],
    n: usize,
}

impl WithSimd for Eigen<'_> {
    type Output = Option<Vec<f64>>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<Vec<f64>> {
        let Self { a, n } = self;
        if n == 0 {
            return Some(Vec::new());
        }
        let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
        tridiagonal(a, n, &mut diagonal, &mut beside);
        accumulate(a, n, &mut diagonal);
        steps(a, n, &mut diagonal, &mut beside).then_some(diagonal)
    }
}

/// Reduces the matrix; `h` of each reflection stays in `d`, its vector in the matrix.
#[inline(always)]
fn tridiagonal(v: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) {
    for j in 0..n {
        d[j] = v[j * n + n - 1];
    }
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[j * n + i - 1];
                v[j * n + i] = 0.0;
                v[i * n + j] = 0.0;
            }
            d[i] = 0.0;
            continue;
        }
        d[..i].iter_mut().for_each(|x| *x /= scale);
        let mut h = dot(&d[..i], &d[..i]);
        let f = d[i - 1];
        let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
        e[i] = scale * g;
        h -= f * g;
        d[i - 1] = f - g;
        e[..i].fill(0.0);
        for j in 0..i {
            let f = d[j];
            v[i * n + j] = f;
            let below = &v[j * n + j + 1..j * n + i];
            let own = f.mul_add(v[j * n + j], e[j]);
            e[j] = own + dot(below, &d[j + 1..i]);
            add_scaled(&mut e[j + 1..i], f, below);
        }
        e[..i].iter_mut().for_each(|x| *x /= h);
        let half = dot(&e[..i], &d[..i]) / (h + h);
        add_scaled(&mut e[..i], -half, &d[..i]);
        for j in 0..i {
            let (f, g) = (d[j], e[j]);
            let column = &mut v[j * n + j..j * n + i];
            add_scaled(column, -f, &e[j..i]);
            add_scaled(column, -g, &d[j..i]);
            d[j] = v[j * n + i - 1];
            v[j * n + i] = 0.0;
        }
        d[i] = h;
    }
}

/// Multiplies the reflections out.
#[inline(always)]
fn accumulate(v: &mut [f64], n: usize, d: &mut [f64]) {
    for i in 0..n - 1 {
        v[i * n + n - 1] = v[i * n + i];
        v[i * n + i] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            let (before, after) = v.split_at_mut((i + 1) * n);
            let reflection = &after[..=i];
            for (d, v) in d.iter_mut().zip(reflection) {
                *d = v / h;
            }
            for row in before.chunks_exact_mut(n) {
                let g = dot(reflection, &row[..=i]);
                add_scaled(&mut row[..=i], -g, &d[..=i]);
            }
        }
        v[(i + 1) * n..][..=i].fill(0.0);
    }
    for j in 0..n {
        d[j] = v[j * n + n - 1];
        v[j * n + n - 1] = 0.0;
    }
    v[n * n - 1] = 1.0;
}

/// The implicit QL steps; whether they converged.
#[inline(always)]
fn steps(v: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) -> bool {
    e.copy_within(1.., 0);
    e[n - 1] = 0.0;
    let (mut shift, mut largest) = (0.0, 0.0f64);
    for l in 0..n {
        largest = largest.max(d[l].abs() + e[l].abs());
        let is_small = |x: f64| x.abs() <= f64::EPSILON * largest;
        let Some(m) = (l..n).find(|&m| is_small(e[m])) else {
            return false;
        };
        if m > l
            && !(0..MOST_STEPS).any(|_| {
                shift += step(v, n, d, e, l, m);
                is_small(e[l])
            })
        {
            return false;
        }
        d[l] += shift;
        e[l] = 0.0;
    }
    true
}

/// One step on rows `l` to `m`; by how much it shifted what comes after.
#[inline(always)]
fn step(v: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64], l: usize, m: usize) -> f64 {
    let g = d[l];
    let p = (d[l + 1] - g) / (2.0 * e[l]);
    let r = hypot(p, 1.0).copysign(p);
    d[l] = e[l] / (p + r);
    d[l + 1] = e[l] * (p + r);
    let next = d[l + 1];
    let h = g - d[l];
    d[l + 2..].iter_mut().for_each(|x| *x -= h);
    let mut p = d[m];
    let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
    let (mut s, mut s2) = (0.0, 0.0);
    let beside = e[l + 1];
    for i in (l..m).rev() {
        (c3, c2, s2) = (c2, c, s);
        let (g, h) = (c * e[i], c * p);
        let r = hypot(p, e[i]);
        e[i + 1] = s * r;
        s = e[i] / r;
        c = p / r;
        p = c * d[i] - s * g;
        d[i + 1] = h + s * (c * g + s * d[i]);
        let (first, second) = v[i * n..(i + 2) * n].split_at_mut(n);
        rotate(first, second, c, s);
    }
    let p = -s * s2 * c3 * beside * e[l] / next;
    e[l] = s * p;
    d[l] = c * p;
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric(n: usize, rank: usize) -> Vec<f64> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let factor: Vec<f64> = (0..n * rank).map(|_| next()).collect();
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] = (0..rank)
                    .map(|k| factor[i * rank + k] * factor[j * rank + k])
                    .sum();
            }
        }
        a
    }

    #[test]
    fn pairs_are_eigenpairs_and_orthonormal() {
        for (n, rank) in [(1, 1), (2, 2), (3, 1), (17, 17), (60, 9), (130, 200)] {
            let a = symmetric(n, rank);
            let mut v = a.clone();
            let values = symmetric_eigen_in_place(&mut v, n).unwrap();
            let size = values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            for k in 0..n {
                let vector = &v[k * n..][..n];
                for i in 0..n {
                    let image: f64 = (0..n).map(|j| a[i * n + j] * vector[j]).sum();
                    assert!(
                        (image - values[k] * vector[i]).abs() < 1e-13 * n as f64 * size,
                        "{n} {k}"
                    );
                }
                for l in 0..n {
                    let product: f64 = (0..n).map(|j| vector[j] * v[l * n + j]).sum();
                    assert!((product - f64::from(u8::from(k == l))).abs() < 1e-13 * n as f64);
                }
            }
            let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
            assert!((trace - values.iter().sum::<f64>()).abs() < 1e-12 * n as f64 * size);
        }
    }

    #[test]
    fn a_diagonal_matrix_is_its_own_answer_and_nothing_finite_fails() {
        let mut a = vec![3.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0];
        assert_eq!(
            symmetric_eigen_in_place(&mut a, 3).unwrap(),
            [3.0, -1.0, 2.0]
        );
        assert_eq!(a, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(symmetric_eigen_in_place(&mut [], 0).unwrap().is_empty());
        assert!(symmetric_eigen_in_place(&mut [f64::NAN; 4], 2).is_none());
    }

    #[test]
    fn narrow_and_native_vectors_give_the_same_bits() {
        let a = symmetric(75, 80);
        let (mut narrow, mut native) = (a.clone(), a);
        let scalar = Eigen {
            a: &mut narrow,
            n: 75,
        }
        .with_simd(pulp::Scalar::new())
        .unwrap();
        let values = symmetric_eigen_in_place(&mut native, 75).unwrap();
        assert_eq!(scalar, values);
        assert_eq!(narrow, native);
    }
}
