//! A table of genes with positions, and the lookup of a data set's gene names in it.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chromosome::is_numbered;
use super::{Assembly, Position, natural_cmp};

/// What kind of product a gene has, as far as the stages care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneClass {
    /// Protein coding.
    ProteinCoding,
    /// Long non-coding RNA of any kind.
    LongNonCoding,
    /// A segment of an immune receptor.
    ImmuneSegment,
    /// Micro, nuclear, nucleolar, ribosomal, transfer RNA.
    SmallRna,
    /// A transcribed or segment pseudogene.
    Pseudogene,
    /// Everything else.
    Other,
}

impl GeneClass {
    /// The class of an Ensembl or GENCODE biotype.
    pub fn of_biotype(biotype: &str) -> Self {
        match biotype {
            "protein_coding" => Self::ProteinCoding,
            "lncRNA"
            | "lincRNA"
            | "antisense"
            | "sense_intronic"
            | "sense_overlapping"
            | "processed_transcript"
            | "macro_lncRNA"
            | "bidirectional_promoter_lncRNA"
            | "3prime_overlapping_ncRNA"
            | "non_coding" => Self::LongNonCoding,
            "misc_RNA" | "snRNA" | "miRNA" | "snoRNA" | "rRNA" | "scaRNA" | "sRNA" | "scRNA"
            | "ribozyme" | "vaultRNA" | "vault_RNA" | "Mt_tRNA" | "Mt_rRNA" => Self::SmallRna,
            b if b.ends_with("pseudogene") => Self::Pseudogene,
            b if (b.starts_with("IG_") || b.starts_with("TR_")) && b.ends_with("_gene") => {
                Self::ImmuneSegment
            }
            _ => Self::Other,
        }
    }
}

/// A gene and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Gene {
    /// Symbol.
    pub name: String,
    /// Stable id without version (`ENSG00000141510`), where the source has one.
    pub id: Option<String>,
    /// `chr1` .. `chr22`, `chrX`, `chrY`, `chrM`, or a scaffold's own name.
    pub chromosome: String,
    /// First base.
    pub start: Position,
    /// Last base, which is part of it.
    pub end: Position,
    /// Class, where the source has a biotype.
    pub class: Option<GeneClass>,
}

/// Which place counts for a symbol that occurs at several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// The first in the order of the source.
    #[default]
    First,
    /// The one with the most bases; the first of equals.
    Longest,
}

/// Genes in the order of their source.
///
/// ```
/// use clcc_data::genome::{Duplicates, GeneTable};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// # let dir = tempfile::tempdir().expect("a folder");
/// # let path = dir.path().join("genes.bed");
/// // BED counts starts from 0, a [`Position`](clcc_data::genome::Position) from 1 as a GTF does.
/// std::fs::write(&path, "17\t7668401\t7687550\tTP53\n8\t127735433\t127742951\tMYC\n").expect("written");
/// let table = GeneTable::read(&path)?;
/// let tp53 = &table.genes[0];
/// assert_eq!((tp53.chromosome.as_str(), tp53.start.get(), tp53.end.get()), ("chr17", 7668402, 7687550));
/// assert_eq!(table.resolve(&["MYC", "XIST"], Duplicates::First), [Some(1), None]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GeneTable {
    /// The genes; a symbol may occur several times.
    pub genes: Vec<Gene>,
    /// The assembly of the positions, where the source declares it.
    pub assembly: Option<Assembly>,
    /// Rows of the source that have no position, or neither name nor id.
    pub n_left_out: usize,
}

impl GeneTable {
    /// For each of `names` the position of its gene in `genes`, or `None`. A name is looked up as a
    /// symbol first and then as a stable id, with or without version. Of a gene at several places one on
    /// a chromosome goes before one on a scaffold or a patch; then `duplicates` decides.
    ///
    /// **Deviation**: infercnvpy drops every copy of a symbol that occurs twice; here one stays, by
    /// the rule `duplicates`.
    pub fn resolve<S: AsRef<str>>(
        &self,
        names: &[S],
        duplicates: Duplicates,
    ) -> Vec<Option<usize>> {
        let by_name = self.index(duplicates, |g| Some(g.name.as_str()));
        let by_id = self.index(duplicates, |g| g.id.as_deref());
        let one = |name: &str| {
            by_name
                .get(name)
                .or_else(|| by_id.get(name))
                .or_else(|| by_id.get(strip_version(name)))
                .copied()
        };
        names.iter().map(|n| one(n.as_ref())).collect()
    }

    /// As [`GeneTable::resolve`], by stable id alone, with or without version.
    pub fn resolve_ids<S: AsRef<str>>(
        &self,
        ids: &[S],
        duplicates: Duplicates,
    ) -> Vec<Option<usize>> {
        let by_id = self.index(duplicates, |g| g.id.as_deref());
        ids.iter()
            .map(|id| by_id.get(strip_version(id.as_ref())).copied())
            .collect()
    }

    /// How many of `names` the table has at several places.
    pub fn n_ambiguous<S: AsRef<str>>(&self, names: &[S]) -> usize {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for gene in &self.genes {
            *counts.entry(&gene.name).or_default() += 1;
        }
        let several = |n: &&S| counts.get(n.as_ref()).is_some_and(|&c| c > 1);
        names.iter().filter(several).count()
    }

    fn index<'a>(
        &'a self,
        duplicates: Duplicates,
        key: impl Fn(&'a Gene) -> Option<&'a str>,
    ) -> HashMap<&'a str, usize> {
        let mut at: HashMap<&str, usize> = HashMap::with_capacity(self.genes.len());
        for (i, gene) in self.genes.iter().enumerate() {
            let Some(key) = key(gene) else { continue };
            at.entry(key)
                .and_modify(|held| {
                    let other = &self.genes[*held];
                    let longer = duplicates == Duplicates::Longest && gene.bases() > other.bases();
                    if match (gene.on_chromosome(), other.on_chromosome()) {
                        (true, false) => true,
                        (false, true) => false,
                        _ => longer,
                    } {
                        *held = i;
                    }
                })
                .or_insert(i);
        }
        at
    }

    /// Number of symbols that occur more than once.
    pub fn n_duplicated_names(&self) -> usize {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for gene in &self.genes {
            *counts.entry(&gene.name).or_default() += 1;
        }
        counts.values().filter(|&&n| n > 1).count()
    }
}

impl Gene {
    /// Number of bases.
    pub fn bases(&self) -> i64 {
        self.end.get() - self.start.get() + 1
    }

    /// Whether it is on a chromosome, rather than a scaffold or a patch.
    fn on_chromosome(&self) -> bool {
        self.chromosome == "chrM" || is_numbered(&self.chromosome)
    }

    /// Genome order: chromosome (natural), start, end, name.
    pub fn genome_cmp(&self, other: &Self) -> std::cmp::Ordering {
        natural_cmp(&self.chromosome, &other.chromosome)
            .then(self.start.cmp(&other.start))
            .then(self.end.cmp(&other.end))
            .then_with(|| self.name.cmp(&other.name))
    }
}

/// `ENSG00000141510.17` without `.17`; other names as they are.
pub(super) fn strip_version(id: &str) -> &str {
    match id.rsplit_once('.') {
        Some((stem, version))
            if id.starts_with("ENS") && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            stem
        }
        _ => id,
    }
}

/// Whether a name is an Ensembl gene id of any species (`ENSG...`, `ENSMUSG...`).
pub fn is_ensembl_id(name: &str) -> bool {
    species_prefix(name).is_some()
}

/// `ENSG` of `ENSG00000141510.17`, `ENSMUSG` of a mouse's; `None` for other names.
pub(super) fn species_prefix(name: &str) -> Option<&str> {
    let (species, number) = name.strip_prefix("ENS")?.split_once('G')?;
    let numbered = number.len() >= 11 && number.as_bytes()[..11].iter().all(u8::is_ascii_digit);
    (species.len() <= 4 && numbered).then(|| &name[..4 + species.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gene(name: &str, id: &str, start: i64, end: i64) -> Gene {
        Gene {
            name: name.into(),
            id: Some(id.into()),
            chromosome: "chr1".into(),
            start: Position::from_one(start),
            end: Position::from_one(end),
            class: None,
        }
    }

    #[test]
    fn names_ids_and_versions_resolve() {
        let table = GeneTable {
            genes: vec![
                gene("A", "ENSG1", 1, 10),
                gene("B", "ENSG2", 5, 9),
                gene("A", "ENSG3", 100, 200),
            ],
            ..GeneTable::default()
        };
        let names = ["A", "ENSG2.7", "ENSG3", "C", "A.1"];
        assert_eq!(
            table.resolve(&names, Duplicates::First),
            [Some(0), Some(1), Some(2), None, None]
        );
        assert_eq!(
            table.resolve(&names, Duplicates::Longest),
            [Some(2), Some(1), Some(2), None, None]
        );
        assert_eq!(table.n_duplicated_names(), 1);
        assert_eq!(table.n_ambiguous(&names), 1);
        assert_eq!(
            table.resolve_ids(&["ENSG3.2", "A", "ENSG1"], Duplicates::First),
            [Some(2), None, Some(0)]
        );
    }

    #[test]
    fn longest_keeps_the_first_of_equals() {
        let table = GeneTable {
            genes: vec![
                gene("A", "1", 50, 60),
                gene("A", "2", 1, 11),
                gene("A", "3", 1, 5),
            ],
            ..GeneTable::default()
        };
        assert_eq!(table.resolve(&["A"], Duplicates::Longest), [Some(0)]);
    }
    #[test]
    fn a_chromosome_goes_before_a_patch() {
        let mut patch = gene("HLA-A", "1", 1, 900);
        patch.chromosome = "CHR_HSCHR6_MHC_APD_CTG1".into();
        let table = GeneTable {
            genes: vec![patch, gene("HLA-A", "2", 5, 9), gene("HLA-A", "3", 5, 19)],
            ..GeneTable::default()
        };
        assert_eq!(table.resolve(&["HLA-A"], Duplicates::First), [Some(1)]);
        assert_eq!(table.resolve(&["HLA-A"], Duplicates::Longest), [Some(2)]);
    }
}
