//! Copy number from expression: [`infercnv`], and the clones and malignant cells that follow from it,
//! [`cluster`].

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod cluster;
pub mod infercnv;
