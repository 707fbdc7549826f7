//! Genes and cells that escape copy-number dosage: [`dosage`] (a dosage slope per gene, scores per
//! cell), [`enrichment`] (gene sets of them), [`de`] (differential expression and cis effects) and [`baselines`]
//! (simple methods to measure the alignment against).

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
pub mod enrichment;
