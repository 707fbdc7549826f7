//! Genes of a GTF or a GFF3.

use std::path::Path;

use super::{GeneTable, Row, is_record, whole};
use crate::error::{StageError, StageResult};

/// Whether a line is one of a GTF or a GFF3: nine fields between tabs, whole numbers in the fourth and
/// fifth, a strand in the seventh and a phase in the eighth.
pub(super) fn is_annotation(line: &str) -> bool {
    let f: Vec<&str> = line.split('\t').collect();
    f.len() == 9
        && whole(f[3]).is_some()
        && whole(f[4]).is_some()
        && matches!(f[6], "+" | "-" | "." | "?")
        && matches!(f[7], "." | "0" | "1" | "2")
}

/// The genes, in the order of the file.
///
/// # Errors
/// [`StageError::Format`] where a line does not have nine fields, a gene has neither name nor id, or a
/// position is wrong.
pub(super) fn read(path: &Path, text: &str) -> StageResult<GeneTable> {
    let mut table = GeneTable::default();
    // A GFF3 may end with sequences.
    let lines = text.lines().take_while(|l| !l.starts_with("##FASTA"));
    for (number, line) in (1..).zip(lines).filter(|(_, l)| is_record(l)) {
        let f: Vec<&str> = line.split('\t').collect();
        if f.len() != 9 {
            let message = format!("expected the 9 fields of a GTF or GFF3, found {}", f.len());
            return Err(StageError::format(path, format!("line {number}"), message));
        }
        let attributes = Attributes::of(f[8].trim_end());
        if !attributes.of_gene(f[2]) {
            continue;
        }
        let id = attributes.first(&["gene_id", "ID"]).map(|id| {
            let bare = id.strip_prefix("gene:").or(id.strip_prefix("gene-"));
            bare.unwrap_or(id)
        });
        let name = attributes.first(&["gene_name", "Name", "gene"]);
        if name.or(id).is_none() {
            let message = "expected the attribute `gene_name`, `Name`, `gene_id` or `ID`";
            return Err(StageError::format(path, format!("line {number}"), message));
        }
        let row = Row {
            name: name.unwrap_or_default(),
            id,
            chromosome: f[0],
            start: f[3],
            end: f[4],
            biotype: attributes.first(&["gene_biotype", "gene_type", "biotype"]),
            zero_based: false,
        };
        match row.gene(path, number)? {
            Some(gene) => table.genes.push(gene),
            None => table.n_left_out += 1,
        }
    }
    Ok(table)
}

/// The last field of a line.
enum Attributes<'a> {
    /// `key "value"; key "value";`
    Gtf(&'a str),
    /// `key=value;key=value`
    Gff3(&'a str),
}

impl<'a> Attributes<'a> {
    fn of(field: &'a str) -> Self {
        // The key of a GTF ends with a blank, that of a GFF3 with `=`.
        match field.find(['=', ' ']) {
            Some(at) if field[at..].starts_with('=') => Self::Gff3(field),
            _ => Self::Gtf(field),
        }
    }

    /// Whether a line of this feature is a gene. Ensembl's GFF3 gives non-coding genes and pseudogenes
    /// features of their own.
    fn of_gene(&self, feature: &str) -> bool {
        match self {
            Self::Gtf(_) => feature == "gene",
            Self::Gff3(_) => matches!(feature, "gene" | "ncRNA_gene" | "pseudogene"),
        }
    }

    /// The value of the first of these keys that has one.
    fn first(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter()
            .find_map(|key| self.get(key).filter(|v| !v.is_empty()))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        match self {
            Self::Gtf(field) => gtf_value(field, key),
            Self::Gff3(field) => field
                .split(';')
                .filter_map(|pair| pair.trim().split_once('='))
                .find(|(k, _)| *k == key)
                .map(|(_, value)| value.trim()),
        }
    }
}

/// The value of `key "value";`.
fn gtf_value<'a>(field: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', ';']);
        let (name, tail) = rest.split_once(' ')?;
        let tail = tail.trim_start();
        let (value, after) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => tail.split_once(';').unwrap_or((tail, "")),
        };
        if name == key {
            return Some(value.trim());
        }
        rest = after;
    }
}
