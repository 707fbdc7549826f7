//! The data that every stage of clcc-flow reads and writes.
//!
//! ```text
//! zarr v2, v3 ─┐                   ┌─ obs, var: Frame ──── table::write_tsv ──▶ results
//! h5ad ────────┼─▶ Reader ─▶ AnnData ─ X, layers: Csr or dense
//! 10x h5 ──────┘ (one element at   └─ obsm, obsp, uns ──── write_zarr, write_h5ad ──▶ zarr v3, h5ad
//!                 a time, or all)
//! GTF, BED, tables ─▶ GeneTable ─▶ positions and arms of genes, in an Assembly
//! ```
//!
//! - [`anndata`]: AnnData stores in zarr and HDF5, read lazily, written as anndata writes them.
//! - [`matrix`]: [`matrix::Csr`], the sparse `cells x genes` matrix; cells are rows everywhere.
//! - [`frame`]: [`frame::Frame`], the columns of `obs`, `var` and of every result table.
//! - [`table`]: tab-separated tables with notes.
//! - [`genome`]: chromosomes, arms, gene positions.
//! - [`error`]: [`StageError`], what went wrong on which file, with what was expected and found.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod anndata;
pub mod error;
pub mod frame;
pub mod genome;
pub mod gzip;
pub mod matrix;
pub mod table;

pub use error::{StageError, StageResult};
