//! The science of clcc-flow: from raw counts to the genes that escape copy-number dosage.
//!
//! One stage kind is one folder: its typed parameters, its numerics as pure functions over
//! typed data, and the thin shell that loads inputs and saves outputs ([`stage::Stage`]).
//! Nothing here knows YAML, the cache, tokio or the command line; nothing prints, reads the wall
//! clock or draws an unseeded random number; only a stage's shell opens files.
//!
//! Cells are rows everywhere. Bytes written are a function of inputs, parameters and seed alone,
//! at any number of threads, on any processor ([`math`]).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod anndata;
pub mod cohort;
pub mod error;
pub mod frame;
pub mod genome;
mod gzip;
pub mod linalg;
pub mod math;
pub mod matrix;
pub mod params;
pub mod rng;
pub mod stage;
pub mod stats;
pub mod table;

pub mod baselines;
pub mod benchmark;
pub mod cluster;
pub mod compare;
pub mod concordance;
pub mod de;
pub mod dosage;
pub mod eval;
pub mod export;
pub mod infercnv;
pub mod ingest;
pub mod mine;
pub mod preprocess;
pub mod report;
pub mod simulate;
pub mod train;

pub use error::{StageError, StageResult};
