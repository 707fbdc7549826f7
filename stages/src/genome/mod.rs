//! Where genes lie: chromosome names and their order, arms, gene tables.
//!
//! Positions are 1-based and inclusive, as a GTF writes them. The program carries one gene table
//! ([`GeneTable::grch38`]); a workflow may hand in a file instead ([`GeneTable::read`]). Every chromosome
//! name passes [`normalise_chromosome`], so `1`, `chr1` and `MT` become `chr1`, `chr1` and `chrM` whatever
//! the file says. Arms are those of a declared [`Assembly`], and of none where none is declared.
//!
//! This module does not lift positions from one assembly to another and does not translate outdated
//! gene symbols.

mod arms;
mod assembly;
mod builtin;
mod chromosome;
mod naming;
mod read;
mod table;

pub use arms::{Arm, arm_name};
pub use assembly::{Assembly, Chromosome, Misfit, annotate_arms};
pub use builtin::{builtin, builtin_names};
pub use chromosome::{natural_cmp, normalise_chromosome};
pub use naming::likely_cause;
pub(crate) use table::is_ensembl_id;
pub use table::{Duplicates, Gene, GeneClass, GeneTable};

/// A file of the data folder that lies beside the workspace (`../shared/data`, or further up), where
/// there is one. Tests on real data return early without it.
#[cfg(test)]
pub(crate) fn shared(name: &str) -> Option<std::path::PathBuf> {
    let ancestors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    ancestors
        .map(|a| a.join("shared/data").join(name))
        .find(|p| p.exists())
}
