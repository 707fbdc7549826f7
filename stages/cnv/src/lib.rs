//! Copy number from expression: [`infercnv`] (against the patient's own normal cells, or those of all patients,
//! [`pool_normals`]), and the clones and malignant cells that follow from it,
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
pub mod pool_normals;
