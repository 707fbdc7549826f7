//! What people see of a run: [`report`] (one HTML page), [`export`] and [`export_cohort`] (AnnData for scanpy) and [`compare`]
//! (two runs next to each other).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod compare;
pub mod export;
pub mod export_cohort;
pub mod report;
