//! Dense and sparse linear algebra shared by the stages: blocked products, symmetric
//! eigenproblems, principal components, randomized singular values.
//!
//! Every function here gives the same bits at any number of threads and on any processor: products and
//! decompositions are [`crate::math`]'s, and sums over blocks are taken in block order.
//!
//! Accumulation is in f64 throughout; sparse inputs are f32.

mod dense;
mod lanczos;
mod operator;
mod pca;
mod rsvd;
mod sparse;

pub use dense::{
    Element, SymmetricEigen, matmul, matmul_nt, matmul_tn, orthonormal_basis, symmetric_eigen,
};
pub use lanczos::{Leading, leading_right};
pub use operator::{LinearOperator, SparseOperator};
pub use pca::{Pca, PcaOptions, pca};
pub use rsvd::{Svd, SvdOptions, randomized_svd};
pub use sparse::{column_means, csr_dot, csr_gram};

#[cfg(test)]
pub(crate) mod tests {
    use ndarray::Array2;

    use crate::matrix::Csr;
    use crate::rng::Rng;

    /// Standard normal entries.
    pub(crate) fn random(rows: usize, cols: usize, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed, "test matrix", &[]);
        Array2::from_shape_simple_fn((rows, cols), || rng.normal())
    }

    /// Standard normal entries, a share of them stored.
    pub(crate) fn random_csr(rows: usize, cols: usize, density: f64, seed: u64) -> Csr {
        let mut rng = Rng::new(seed, "test sparse matrix", &[]);
        let mut row = || {
            let mut entries = Vec::new();
            for c in 0..cols as u32 {
                if rng.uniform() < density {
                    entries.push((c, rng.normal() as f32));
                }
            }
            entries
        };
        let all: Vec<_> = (0..rows).map(|_| row()).collect();
        Csr::from_rows(cols, all)
    }

    /// Runs `f` in a pool of this many threads.
    pub(crate) fn at_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a thread pool")
            .install(f)
    }
}
