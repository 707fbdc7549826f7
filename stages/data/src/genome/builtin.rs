//! The gene table that is part of the program: Ensembl genes of GRCh38.p12, gene build of November
//! 2018, without plain pseudogenes and without Rfam models that have no symbol (43,629 genes).
//!
//! `tests/reference/genome/make_grch38.py` makes the file and describes its layout.

use std::io::Read as _;

use super::table::{Gene, GeneClass, GeneTable};
use super::{Assembly, Position};

static GRCH38: &[u8] = include_bytes!("data/grch38.txt.gz");

/// The bytes of a built-in gene table, for a digest; `None` for an unknown name.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    (name == "grch38").then_some(GRCH38)
}

/// The names that [`builtin`] knows.
pub fn builtin_names() -> &'static [&'static str] {
    &["grch38"]
}

impl GeneTable {
    /// The built-in table of that name; `None` for an unknown name.
    pub fn builtin(name: &str) -> Option<Self> {
        builtin(name).map(parse)
    }

    /// The built-in table of GRCh38 (Ensembl, GRCh38.p12): natural chromosome order, then start.
    pub fn grch38() -> Self {
        parse(GRCH38)
    }
}

/// Parses the layout of `make_grch38.py`.
///
/// # Panics
/// Where the built-in file is broken, which a test excludes.
fn parse(bytes: &[u8]) -> GeneTable {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_string(&mut text)
        .expect("the built-in table is gzip text");
    let columns = Columns::of(&text);
    let mut genes = Vec::with_capacity(columns.names.len());
    for (chromosome, count) in &columns.chromosomes {
        let mut start = 0;
        for _ in 0..*count {
            let i = genes.len();
            start += int(columns.starts[i]);
            genes.push(Gene {
                name: columns.names[i].to_string(),
                id: Some(format!("ENSG{:0>11}", columns.ids[i])),
                chromosome: (*chromosome).to_string(),
                start: Position::from_one(start),
                end: Position::from_one(start + int(columns.lengths[i])),
                class: Some(columns.classes[i]),
            });
        }
    }
    GeneTable {
        genes,
        assembly: Some(Assembly::GRCh38),
        n_left_out: 0,
    }
}

/// The sections of the built-in table; all but the first have a value for each gene.
struct Columns<'a> {
    /// Chromosomes with their numbers of genes.
    chromosomes: Vec<(&'a str, usize)>,
    names: Vec<&'a str>,
    /// Each relative to the start of the gene before, on the same chromosome.
    starts: Vec<&'a str>,
    lengths: Vec<&'a str>,
    ids: Vec<&'a str>,
    classes: Vec<GeneClass>,
}

impl<'a> Columns<'a> {
    fn of(text: &'a str) -> Self {
        let mut lines = text.lines().skip_while(|l| l.starts_with('#'));
        let mut next = || lines.next().expect("the built-in table is whole");
        let n_chromosomes = int(next()
            .strip_prefix("chromosomes ")
            .expect("the chromosomes come first"));
        let chromosome = |line: &'a str| {
            let (name, n) = line.split_once('\t').expect("name and number of genes");
            (name, int(n) as usize)
        };
        let chromosomes: Vec<_> = (0..n_chromosomes).map(|_| chromosome(next())).collect();
        let n: usize = chromosomes.iter().map(|c| c.1).sum();
        let mut section = |title: &str| -> Vec<&'a str> {
            assert_eq!(next(), title, "sections of the built-in table are in order");
            (0..n).map(|_| next()).collect()
        };
        let [names, starts, lengths, ids] = ["names", "starts", "lengths", "ids"].map(&mut section);
        assert_eq!(next(), "classes", "the last section of the built-in table");
        let mut classes = Vec::with_capacity(n);
        for run in lines {
            let (letter, count) = run.split_once(' ').expect("a class and a count");
            classes.resize(classes.len() + int(count) as usize, class(letter));
        }
        assert_eq!(classes.len(), n, "every gene has a class");
        Self {
            chromosomes,
            names,
            starts,
            lengths,
            ids,
            classes,
        }
    }
}

fn int(text: &str) -> i64 {
    text.parse()
        .expect("numbers of the built-in table are whole")
}

fn class(letter: &str) -> GeneClass {
    match letter {
        "p" => GeneClass::ProteinCoding,
        "l" => GeneClass::LongNonCoding,
        "i" => GeneClass::ImmuneSegment,
        "s" => GeneClass::SmallRna,
        "g" => GeneClass::Pseudogene,
        _ => GeneClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::{Duplicates, natural_cmp};

    #[test]
    fn known_genes_are_where_ensembl_puts_them() {
        let table = GeneTable::grch38();
        assert_eq!(table.genes.len(), 43_629);
        let get = |name: &str| {
            let at = table.resolve(&[name], Duplicates::First)[0].unwrap();
            let g = &table.genes[at];
            (
                g.id.clone().unwrap(),
                g.chromosome.clone(),
                g.start.get(),
                g.end.get(),
                g.class.unwrap(),
            )
        };
        let coding = GeneClass::ProteinCoding;
        assert_eq!(
            get("TP53"),
            (
                "ENSG00000141510".into(),
                "chr17".into(),
                7_661_779,
                7_687_550,
                coding
            )
        );
        assert_eq!(
            get("MYC"),
            (
                "ENSG00000136997".into(),
                "chr8".into(),
                127_735_434,
                127_742_950,
                coding
            )
        );
        assert_eq!(get("MT-CO1").1, "chrM");
        assert_eq!(get("MALAT1").4, GeneClass::LongNonCoding);
        assert_eq!(get("IGKC").4, GeneClass::ImmuneSegment);
    }

    #[test]
    fn genes_are_in_genome_order() {
        let genes = GeneTable::grch38().genes;
        assert!(genes.windows(2).all(|w| {
            natural_cmp(&w[0].chromosome, &w[1].chromosome)
                .then(w[0].start.cmp(&w[1].start))
                .is_le()
        }));
        assert!(genes.iter().all(|g| g.start.get() >= 1 && g.end >= g.start));
    }
}
