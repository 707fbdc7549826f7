//! Genes that take no part in local copy number and its tests: clonal loci, and those the user names.
//!
//! The segments of immunoglobulins and T-cell receptors are neighbours of one locus that a clone of
//! lymphocytes expresses as it has rearranged it, a hundredfold or not at all. Averaged over neighbours
//! that looks like a copy number, and the genes around follow or escape it: of 101 genes tested in a
//! myeloma, 50 were called, 46 of them around IGK and IGH.

use clcc_data::genome::{is_clonal_locus, names_gene};

/// Whether each gene is excluded: where it is a clonal locus and `clonal_loci` are excluded, or an entry
/// of `entries` names it (`MALAT1`, or its beginning: `HLA-*`). `symbols` are the genes' symbols, `names`
/// what the data calls them; an entry may be either.
pub(crate) fn excluded(
    names: &[String],
    symbols: &[String],
    clonal_loci: bool,
    entries: &[String],
) -> Vec<bool> {
    let is_named = |gene: &str| entries.iter().any(|entry| names_gene(entry, gene));
    names
        .iter()
        .zip(symbols)
        .map(|(name, symbol)| {
            (clonal_loci && is_clonal_locus(symbol)) || is_named(name) || is_named(symbol)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_genes_or_their_beginning_by_either_name() {
        let texts = |t: [&str; 4]| t.map(String::from).to_vec();
        let names = texts(["ENSG1", "ENSG2", "ENSG3", "ENSG4"]);
        let symbols = texts(["HLA-A", "IGKC", "MALAT1", "TP53"]);
        let entries = ["HLA-*".to_string(), "ENSG3".into()];
        assert_eq!(
            excluded(&names, &symbols, true, &entries),
            [true, true, true, false]
        );
        assert_eq!(
            excluded(&names, &symbols, false, &entries),
            [true, false, true, false]
        );
    }
}
