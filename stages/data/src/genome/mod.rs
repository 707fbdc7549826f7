//! Places of genes: chromosome names and their order, arms, gene tables.
//!
//! A [`Position`] is 1-based, as a GTF writes it, and the last base of a gene is part of it. The program carries one gene table
//! ([`GeneTable::grch38`]); a workflow may hand in a file instead ([`GeneTable::read`]). Every chromosome
//! name passes [`normalise_chromosome`], so `1`, `chr1` and `MT` become `chr1`, `chr1` and `chrM` whatever
//! the file has. Arms are those of a declared [`Assembly`], and of none where none is declared.
//!
//! This module does not lift positions from one assembly to another and does not translate outdated
//! gene symbols.

mod arms;
mod assembly;
mod builtin;
mod chromosome;
mod loci;
mod naming;
mod position;
mod read;
mod species;
mod symbols;
mod table;

pub use arms::{Arm, arm_name};
pub use assembly::{Assembly, Chromosome, Misfit, annotate_arms};
pub use builtin::{builtin, builtin_names};
pub use chromosome::{natural_cmp, normalise_chromosome};
pub use loci::{is_clonal_locus, is_immunoglobulin_segment, names_gene};
pub use naming::likely_cause;
pub use position::Position;
pub use species::Species;
pub use symbols::symbols;
pub use table::is_ensembl_id;
pub use table::{Duplicates, Gene, GeneClass, GeneTable};
