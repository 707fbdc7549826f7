//! Dense and sparse linear algebra shared by the stages: blocked products, symmetric
//! eigenproblems, principal components, randomized singular values.
//!
//! Every function here gives the same bits at any number of threads and on any processor: products and
//! decompositions are [`crate::math`]'s, and sums over blocks are taken in block order.
//!
//! Accumulation is in f64 throughout; sparse inputs are f32.

mod cholesky;
mod dense;
mod lanczos;
mod operator;
mod pca;
mod rsvd;
mod sparse;

pub use cholesky::Cholesky;
pub use dense::{
    Element, SymmetricEigen, matmul, matmul_nt, matmul_tn, orthonormal_basis, symmetric_eigen,
};
pub use lanczos::{Leading, leading_right};
pub use operator::{LinearOperator, SparseOperator};
pub use pca::{Pca, PcaOptions, pca};
pub use rsvd::{Svd, SvdOptions, randomized_svd};
pub use sparse::{column_means, csr_dot, csr_gram};
