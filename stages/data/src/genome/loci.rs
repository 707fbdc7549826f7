//! Groups of genes by symbol: clonal loci, and the genes that an entry of a list names.

/// Whether a human gene symbol is a segment of an immunoglobulin or a T-cell receptor (`IGHV3-23`,
/// `IGKC`, `TRBC2`, `TRGJP1`; HGNC's names), and no other gene (`IGHMBP2`, `TRAF2`, `TRADD`, `JCHAIN`).
///
/// A clone of lymphocytes expresses its own segments a hundredfold and no others, so that their neighbourhoods seem
/// gained or lost.
pub fn is_clonal_locus(symbol: &str) -> bool {
    is_immunoglobulin_segment(symbol) || is_receptor_segment(symbol)
}

/// Whether a human gene symbol is a segment or constant region of an immunoglobulin's chain: `IGH*`, `IGK*`, `IGL*`
/// but for `IGHMBP2` and `IGLON5`.
pub fn is_immunoglobulin_segment(symbol: &str) -> bool {
    let begins = |rest: &str, with: &str| rest.starts_with(|c: char| with.contains(c));
    if let Some(rest) = symbol.strip_prefix("IGH") {
        begins(rest, "VDJGAME") && !rest.starts_with("MBP")
    } else if let Some(rest) = symbol.strip_prefix("IGK") {
        begins(rest, "VJC")
    } else if let Some(rest) = symbol.strip_prefix("IGL") {
        begins(rest, "VJCL")
    } else {
        false
    }
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

/// Whether an entry of a list of genes names this one: the gene itself (`MALAT1`), or how it begins (`HLA-*`).
pub fn names_gene(entry: &str, gene: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(start) => gene.starts_with(start),
        None => gene == entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::GeneTable;

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

    /// The genes taken of GRCh38 are at the receptors' loci, apart from their copies elsewhere (`OR`
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
    fn receptor_genes_by_name() {
        for name in [
            "IGHV3-23", "IGKC", "IGHG1", "IGLL5", "IGHM", "TRAC", "TRBV20-1", "TRGC2", "TRDJ1",
            "IGHEP1",
        ] {
            assert!(is_clonal_locus(name), "{name}");
        }
        for name in [
            "IGHMBP2", "TRADD", "TRAF1", "TRDN", "TRDMT1", "TRAP1", "TRABD", "IGF1", "TRGX",
            "HLA-A",
        ] {
            assert!(!is_clonal_locus(name), "{name}");
        }
    }

    #[test]
    fn an_entry_names_a_gene_or_its_beginning() {
        assert!(names_gene("HLA-*", "HLA-A") && names_gene("HLA-A", "HLA-A"));
        assert!(!names_gene("HLA-A", "HLA-A2") && !names_gene("HLA-*", "MHLA-A"));
    }
}
