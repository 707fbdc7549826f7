//! Simulated tumours with planted truth, [`simulate`], and scores of how well a pipeline recovers it,
//! [`benchmark`].

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod benchmark;
pub mod simulate;
