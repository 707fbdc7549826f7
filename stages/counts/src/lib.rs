//! From files of counts to normalised expression: [`ingest`] and [`preprocess`].

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod ingest;
pub mod preprocess;
