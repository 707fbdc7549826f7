//! Whose genes these are, by their names.

use super::symbols::symbols;
use super::table::{Duplicates, GeneTable, species_prefix};
use crate::frame::Frame;

/// Genes that are looked at; more say no more.
const LOOKED_AT: usize = 5_000;
/// Share of the ids, or of the symbols, that must agree.
const MOST: f64 = 0.5;
/// Share of a human data set's symbols that the built-in table has at least: references differ by half of their genes.
const KNOWN: f64 = 0.25;

/// A species as the names of its genes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Species {
    /// Ids `ENSG...`, or symbols that the built-in table has.
    Human,
    /// Ids `ENSMUSG...`, or symbols as `Trp53` (which rats have too).
    Mouse,
    /// Ids of another species.
    Other,
}

impl std::fmt::Display for Species {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Mouse => "mouse",
            Self::Other => "another species than human or mouse",
        })
    }
}

impl Species {
    /// The species of these genes, by their Ensembl ids (`gene_ids`, or the names), else by their symbols; `None` where
    /// they do not tell.
    ///
    /// ```
    /// use clcc_data::frame::Frame;
    /// use clcc_data::genome::Species;
    ///
    /// let genes = |names: &[&str]| Frame::new(names.iter().map(|n| n.to_string()).collect());
    /// assert_eq!(Species::of(&genes(&["TP53", "MYC", "ACTB"])), Some(Species::Human));
    /// assert_eq!(Species::of(&genes(&["Trp53", "Myc", "Actb"])), Some(Species::Mouse));
    /// assert_eq!(Species::of(&genes(&["ENSRNOG00000010756"])), Some(Species::Other));
    /// assert_eq!(Species::of(&genes(&["peak1", "7157"])), None);
    /// ```
    pub fn of(var: &Frame) -> Option<Self> {
        let ids = var.texts("gene_ids").ok();
        let ids = ids.iter().flatten().chain(&var.index).take(LOOKED_AT);
        let prefixes: Vec<&str> = ids.filter_map(|id| species_prefix(id)).collect();
        let names = symbols(var);
        let names = &names[..names.len().min(LOOKED_AT)];
        let most = |n: usize, of: usize| of > 0 && n as f64 >= MOST * of as f64;
        let with = |prefix: &str| prefixes.iter().filter(|p| **p == prefix).count();
        // Spike-ins and genes of a virus come beside those of the species.
        if most(prefixes.len(), names.len()) {
            return Some(match prefixes.len() {
                n if most(with("ENSG"), n) => Self::Human,
                n if most(with("ENSMUSG"), n) => Self::Mouse,
                _ => Self::Other,
            });
        }
        let known = GeneTable::grch38().resolve(names, Duplicates::First);
        let n_known = known.iter().flatten().count();
        if !names.is_empty() && n_known as f64 >= KNOWN * names.len() as f64 {
            return Some(Self::Human);
        }
        let title = names.iter().filter(|name| is_title(name)).count();
        most(title, names.len()).then_some(Self::Mouse)
    }
}

/// `Trp53`: a capital, then small letters, digits or dashes.
fn is_title(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase())
        && chars.clone().any(|c| c.is_ascii_lowercase())
        && chars.all(|c| !c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Column;

    fn genes(names: &[&str], ids: &[&str]) -> Frame {
        let texts = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let mut frame = Frame::new(texts(names));
        if !ids.is_empty() {
            frame.set("gene_ids", Column::Str(texts(ids)));
        }
        frame
    }

    #[test]
    fn ids_come_before_symbols() {
        // A mouse data set whose symbols were written as human ones.
        let mouse = genes(
            &["TRP53", "MYC"],
            &["ENSMUSG00000059552", "ENSMUSG00000022346"],
        );
        assert_eq!(Species::of(&mouse), Some(Species::Mouse));
        let human = genes(
            &["a", "b", "spike"],
            &["ENSG00000141510.17", "ENSG00000136997", ""],
        );
        assert_eq!(Species::of(&human), Some(Species::Human));
        assert_eq!(
            Species::of(&genes(&["ENSG00000141510"], &[])),
            Some(Species::Human)
        );
    }

    #[test]
    fn names_that_tell_nothing_tell_nothing() {
        assert_eq!(Species::of(&genes(&[], &[])), None);
        assert_eq!(
            Species::of(&genes(&["chr1:1-100", "7157", "gene3"], &[])),
            None
        );
        // One known symbol among many unknown is chance.
        let few = ["TP53", "x1", "x2", "x3", "x4", "x5"];
        assert_eq!(Species::of(&genes(&few, &[])), None);
    }
}
