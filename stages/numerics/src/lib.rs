//! Numerics with the same bits at any number of threads and on any processor.
//!
//! ```text
//! Csr, cells x genes ─▶ linalg::pca ─▶ scores ─▶ graph::nearest_neighbors ─▶ graph::connectivities ─┬─▶ graph::leiden
//!                  │                                                                              └─▶ graph::umap
//!                  └─▶ stats: rank tests, t, effect sizes ─▶ stats::benjamini_hochberg
//! ```
//! `math` is below all of them, and every random number comes from `rng`.
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
