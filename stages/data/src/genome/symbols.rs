//! Symbols of genes that the data names otherwise.

use super::{Duplicates, GeneTable, is_ensembl_id};
use crate::frame::Frame;

/// Columns of `var` that may hold symbols where the index holds ids: those of `ingest`, scanpy's 10x
/// reader, CELLxGENE and Seurat's converters.
const COLUMNS: [&str; 5] = [
    "gene_symbols",
    "feature_name",
    "gene_name",
    "gene_symbol",
    "symbol",
];

/// Symbol of each gene of `var`, for matching against lists and families of genes: its name, unless that is
/// an Ensembl id. Then the symbol of the first column that has one (`gene_symbols`, `feature_name`, ...),
/// else that of the id in the built-in GRCh38 table, else the id itself.
pub fn symbols(var: &Frame) -> Vec<String> {
    let mut out = var.index.clone();
    let ids: Vec<usize> = (0..out.len()).filter(|&g| is_ensembl_id(&out[g])).collect();
    if ids.is_empty() {
        return out;
    }
    let columns: Vec<Vec<String>> = COLUMNS.iter().filter_map(|c| var.texts(c).ok()).collect();
    let usable = |s: &&String| !s.is_empty() && !is_ensembl_id(s);
    let mut left = Vec::new();
    for g in ids {
        match columns.iter().map(|c| &c[g]).find(usable) {
            Some(symbol) => out[g].clone_from(symbol),
            None => left.push(g),
        }
    }
    if !left.is_empty() {
        let table = GeneTable::grch38();
        let names: Vec<&str> = left.iter().map(|&g| var.index[g].as_str()).collect();
        let found = table.resolve_ids(&names, Duplicates::First);
        for (g, at) in left.iter().zip(found) {
            if let Some(gene) = at.map(|at| &table.genes[at]).filter(|g| !g.name.is_empty()) {
                out[*g].clone_from(&gene.name);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Column;

    #[test]
    fn a_symbol_comes_from_the_name_the_column_or_the_table() {
        let table = GeneTable::grch38();
        let tp53 = table.genes.iter().find(|g| g.name == "TP53").unwrap();
        let id = tp53.id.clone().unwrap();
        let names = ["MALAT1", "ENSG99999999999", "ENSG99999999998.2", &id];
        let mut var = Frame::new(names.map(String::from).to_vec());
        assert_eq!(symbols(&var), [names[0], names[1], names[2], "TP53"]);
        let column = ["x", "HLA-A", "", ""].map(String::from).to_vec();
        var.set("gene_symbols", Column::Str(column));
        assert_eq!(symbols(&var), ["MALAT1", "HLA-A", names[2], "TP53"]);
    }
}
