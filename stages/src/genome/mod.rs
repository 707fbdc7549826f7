//! Where genes lie: chromosome names and their order, arms, gene tables.
//!
//! Positions are GRCh38, 1-based and inclusive, as a GTF writes them. The program carries one gene
//! table ([`GeneTable::grch38`]); a workflow may hand in a GTF or a table of four columns instead
//! ([`GeneTable::read`]). Every chromosome name passes [`normalise_chromosome`], so `1`, `chr1` and
//! `MT` become `chr1`, `chr1` and `chrM` whatever the file says.
//!
//! This module does not lift positions from one assembly to another and does not translate outdated
//! gene symbols.

mod arms;
mod builtin;
mod chromosome;
mod read;
mod table;

pub use arms::{Arm, Centromere, arm_of, centromere, chromosome_length};
pub use builtin::{builtin, builtin_names};
pub use chromosome::{natural_cmp, normalise_chromosome};
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
