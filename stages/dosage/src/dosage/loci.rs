//! Genes that take no part in local copy number and its tests: clonal loci, and those the user names.
//!
//! The segments of immunoglobulins and T-cell receptors are neighbours of one locus that a clone of
//! lymphocytes expresses as it has rearranged it, a hundredfold or not at all. Averaged over neighbours
//! that looks like a copy number, and the genes around follow or escape it: of 101 genes tested in a
//! myeloma, 50 were called, 46 of them around IGK and IGH.

use crate::de::GeneFamily;

/// Whether a human gene symbol is a segment of an immunoglobulin or a T-cell receptor (`IGHV3-23`,
/// `IGKC`, `TRBC2`, `TRGJP1`; HGNC's names), and no other gene (`IGHMBP2`, `TRAF2`, `TRADD`, `JCHAIN`).
pub fn is_clonal_locus(symbol: &str) -> bool {
    is_receptor_segment(symbol)
        || (symbol.starts_with("IG") && GeneFamily::of(symbol) == Some(GeneFamily::Immunoglobulin))
}

/// `TR`, the chain, the kind of segment, and its number: `TRAV12-2`, `TRBD1`, `TRGVA`, `TRDC`.
fn is_receptor_segment(symbol: &str) -> bool {
    let Some(rest) = symbol.strip_prefix("TR") else {
        return false;
    };
    let mut letters = rest.chars();
    let (chain, kind, number) = (letters.next(), letters.next(), letters.as_str());
    let is_segment = match chain {
        Some('A' | 'G') => matches!(kind, Some('V' | 'J' | 'C')),
        Some('B' | 'D') => matches!(kind, Some('V' | 'D' | 'J' | 'C')),
        _ => false,
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let is_number = match kind {
        Some('C') => digits(number),
        _ => {
            number.starts_with(|c: char| c.is_ascii_digit())
                || number.strip_prefix('P').is_some_and(digits)
                || (number.len() == 1 && number.bytes().all(|b| b.is_ascii_uppercase()))
        }
    };
    is_segment && is_number
}

/// Whether each gene is excluded: where it is a clonal locus and `clonal_loci` are excluded, or an entry
/// of `entries` names it (`MALAT1`, or its beginning: `HLA-*`). `symbols` are the genes' symbols, `names`
/// what the data calls them; an entry may be either.
pub(crate) fn excluded(
    names: &[String],
    symbols: &[String],
    clonal_loci: bool,
    entries: &[String],
) -> Vec<bool> {
    let is_named = |gene: &str| {
        entries.iter().any(|entry| match entry.strip_suffix('*') {
            Some(start) => gene.starts_with(start),
            None => gene == entry,
        })
    };
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
    use clcc_data::genome::GeneTable;

    #[test]
    fn segments_by_symbol() {
        for segment in "IGHV3-23 IGHD IGHD3-10 IGHJ6 IGHM IGHG1 IGHA2 IGHE IGKC IGKV1D-39 IGKJ2 IGLC3 IGLV2-14 IGLJ1 IGLL5 TRAC TRAV12-2 TRAV38-2DV8 TRAJ10 TRBC2 TRBV20-1 TRBVA TRBV20OR9-2 TRBD1 TRBJ2-7 TRGC1 TRGV9 TRGVA TRGJP TRGJP1 TRDC TRDV2 TRDD3 TRDJ1"
            .split(' ')
        {
            assert!(is_clonal_locus(segment), "{segment}");
        }
        for gene in "IGHMBP2 IGLON5 IGF1 IGSF8 JCHAIN TRAF2 TRAF3IP2 TRAP1 TRAPPC1 TRADD TRAIP TRAK1 TRAM1 TRANK1 TRAT1 TRABD TRDMT1 TRDN TRIM5 TREM2 TRBP TRAC1X TR TRA"
            .split(' ')
        {
            assert!(!is_clonal_locus(gene), "{gene}");
        }
    }

    /// The genes taken of GRCh38 lie at the receptors' loci, apart from their copies elsewhere (`OR`
    /// and the chromosome in the name, and one pseudogene).
    #[test]
    fn the_genes_taken_lie_at_their_loci() {
        let table = GeneTable::grch38();
        let mut n = 0;
        for gene in table.genes.iter().filter(|g| is_clonal_locus(&g.name)) {
            let main = match &gene.name[..3] {
                "IGH" | "TRA" | "TRD" => "chr14",
                "IGK" => "chr2",
                "IGL" => "chr22",
                _ => "chr7",
            };
            let elsewhere = gene.name.contains("OR") || gene.name == "IGHEP2";
            assert!(
                gene.chromosome == main || elsewhere,
                "{} {}",
                gene.name,
                gene.chromosome
            );
            n += 1;
        }
        assert!(n > 300, "{n} segments");
    }

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
