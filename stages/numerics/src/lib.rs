//! Numerics with the same bits at any number of threads and on any processor.
//!
//! - [`math`]: elementary functions, dense products, eigenvalues, QR.
//! - [`rng`]: counter-based random streams, keyed by seed and purpose.
//! - [`linalg`]: products with sparse matrices, principal components, singular values.
//! - [`stats`]: rank tests, t statistics, multiple testing, moderated variances.
//! - [`graph`]: nearest neighbours, UMAP's connectivities and layout, Leiden.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod graph;
pub mod linalg;
pub mod math;
pub mod rng;
pub mod stats;
