//! From files of counts to normalised expression: [`ingest`] and [`preprocess`]; and [`doublets`] among
//! the cells.
//!
//! ```text
//! text, 10x, h5ad, zarr ─┐
//! annotations of cells ──┴─▶ ingest ─▶ counts (one AnnData per patient) ─┬─▶ doublets
//! gene positions ────────────────────────────────────────────────────────┴─▶ preprocess ─▶ expr, qc
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod doublets;
pub mod ingest;
pub mod preprocess;
