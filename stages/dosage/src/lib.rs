//! Genes and cells that escape copy-number dosage: [`dosage`] (a slope per gene), [`de`] (differential
//! expression and cis effects) and [`baselines`] (the methods that the alignment is measured against).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod baselines;
pub mod de;
pub mod dosage;
