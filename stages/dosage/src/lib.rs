//! Genes and cells that escape copy-number dosage: [`dosage`] (a dosage slope per gene, scores per
//! cell), [`discordance`] (cells that hold back a set of genes, and that set), [`enrichment`] (gene sets of the genes
//! that escape), [`de`] (differential expression and cis effects) and [`baselines`] (simple methods to measure the
//! alignment against).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod baselines;
mod by_gene;
pub mod de;
pub mod discordance;
pub mod dosage;
pub mod enrichment;

pub use by_gene::ByGene;
