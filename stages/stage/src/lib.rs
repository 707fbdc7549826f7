//! What a stage kind is, and what the stages have in common.
//!
//! - [`stage`]: the trait [`stage::Stage`], roles, outputs, the context that a stage runs in.
//! - [`params`]: JSON Schema of the parameters, and what may be wrong with their values.
//! - [`roles`]: every role, with the type of its artifacts.
//! - [`tables`]: result tables as types.
//! - [`rows`]: the tables that a stage writes and another reads.
//! - [`cohort`]: the matrices of all patients, below one another.
//! - [`cells`]: names of the columns that several stages share, and which cancer cells an analysis is about.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod cells;
pub mod cohort;
pub mod params;
pub mod roles;
pub mod rows;
pub mod stage;
pub mod tables;
