//! Why the genes of a data set are not in a gene table: what their names look like.

use std::collections::{BTreeMap, HashSet};

use super::table::{Duplicates, GeneTable, is_ensembl_id, species_prefix};

/// Names that are looked at; more say no more.
const LOOKED_AT: usize = 5000;
/// Share of the names that must look alike.
const MOST: f64 = 0.5;

/// The likely cause why `unplaced`, names of genes of the data, are not in `table`; `None` where the names
/// show none. It says what was seen and what to do.
pub fn likely_cause(unplaced: &[&str], table: &GeneTable) -> Option<String> {
    let names = &unplaced[..unplaced.len().min(LOOKED_AT)];
    if names.is_empty() {
        return None;
    }
    let most = |n: usize| n as f64 >= MOST * names.len() as f64;
    compound(names, table, &most)
        .or_else(|| by_id(names, table, &most))
        .or_else(|| other_case(names, table))
        .or_else(|| {
            let numbers = names.iter().filter(|n| n.parse::<u64>().is_ok()).count();
            most(numbers).then(|| {
                format!(
                    "the genes are named by numbers (`{}`), as by Entrez ids: name them by symbol or Ensembl id",
                    names[0]
                )
            })
        })
}

/// Names of two parts of which one is in the table: `GRCh38_TP53`, `ENSG00000141510_TP53`, `TP53|7157`.
fn compound(names: &[&str], table: &GeneTable, most: &dyn Fn(usize) -> bool) -> Option<String> {
    for separator in ['_', '|', ':', ';', '/', ' '] {
        let parts: Vec<Option<(&str, &str)>> = names
            .iter()
            .map(|n| n.split_once(separator))
            .map(|p| p.map(|(a, b)| (a, b.trim_start_matches(separator))))
            .collect();
        for after in [true, false] {
            let chosen: Vec<&str> = parts
                .iter()
                .map(|p| p.map_or("", |(a, b)| if after { b } else { a }))
                .collect();
            let known = table.resolve(&chosen, Duplicates::First);
            let n = known.iter().flatten().count();
            if !most(n) {
                continue;
            }
            let at = known.iter().position(Option::is_some)?;
            let (before, rest) = parts[at]?;
            let prefix = &names[at][..names[at].len() - rest.len()];
            let shared = names.iter().filter(|n| n.starts_with(prefix)).count();
            return Some(if after && most(shared) {
                format!(
                    "the names of the genes carry the prefix `{prefix}` (`{}`): without it {n} of {} are in the gene table; take it off",
                    names[at],
                    names.len()
                )
            } else {
                let kept = if after { rest } else { before };
                format!(
                    "the names of the genes are of two parts (`{}`), of which one (`{kept}`) is in the gene table: keep that one",
                    names[at]
                )
            });
        }
    }
    None
}

/// Ids on one side only, or of another species.
fn by_id(names: &[&str], table: &GeneTable, most: &dyn Fn(usize) -> bool) -> Option<String> {
    let theirs = most_frequent(
        table
            .genes
            .iter()
            .filter_map(|g| species_prefix(g.id.as_deref()?)),
    );
    let named_by_id = table
        .genes
        .iter()
        .filter(|g| is_ensembl_id(&g.name))
        .count();
    match (
        most_frequent(names.iter().filter_map(|n| species_prefix(n))),
        theirs,
    ) {
        (Some((prefix, n)), None) if most(n) => Some(format!(
            "the genes are named by Ensembl id (`{prefix}...`), and the gene table has no ids: give one that has, as a GTF"
        )),
        (Some((prefix, n)), Some((other, _))) if most(n) && prefix != other => Some(format!(
            "the genes are of another species than the gene table: `{prefix}...` where it has `{other}...`"
        )),
        (Some((_, n)), _) if most(n) => None,
        _ if 2 * named_by_id > table.genes.len() => Some(format!(
            "the gene table names its genes by id alone (`{}`), the data by symbol (`{}`): give one with both, as a GTF",
            table.genes[0].name, names[0]
        )),
        _ => None,
    }
}

fn most_frequent<'a>(all: impl Iterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.for_each(|p| *counts.entry(p).or_default() += 1);
    counts.into_iter().max_by_key(|(_, n)| *n)
}

/// How the letters of a symbol are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// `TP53`, as of human genes.
    Upper,
    /// `Tp53`, as of mouse and rat genes.
    Title,
    /// `tp53`, as of fish genes.
    Lower,
}

impl Case {
    /// `None` for names without letters, or mixed otherwise (`C1orf43`).
    fn of(name: &str) -> Option<Self> {
        let letters: Vec<char> = name.chars().filter(char::is_ascii_alphabetic).collect();
        let (first, rest) = letters.split_first()?;
        let upper = rest.iter().filter(|c| c.is_ascii_uppercase()).count();
        match (first.is_ascii_uppercase(), upper) {
            (true, n) if n == rest.len() => Some(Self::Upper),
            (true, 0) => Some(Self::Title),
            (false, 0) => Some(Self::Lower),
            _ => None,
        }
    }

    fn species(self) -> &'static str {
        match self {
            Self::Upper => "human",
            Self::Title => "mouse or rat",
            Self::Lower => "fish",
        }
    }

    /// That of most names.
    fn of_most<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut n = 0;
        let mut counts = [(Self::Upper, 0), (Self::Title, 0), (Self::Lower, 0)];
        for name in names {
            n += 1;
            if let Some(case) = Self::of(name) {
                counts
                    .iter_mut()
                    .for_each(|c| c.1 += usize::from(c.0 == case));
            }
        }
        let (case, most) = counts.into_iter().max_by_key(|c| c.1)?;
        (most as f64 >= MOST * f64::from(n)).then_some(case)
    }
}

/// Symbols that are capitalised otherwise than the table's.
fn other_case(names: &[&str], table: &GeneTable) -> Option<String> {
    let symbols = || table.genes.iter().map(|g| g.name.as_str());
    let (ours, theirs) = (
        Case::of_most(names.iter().copied())?,
        Case::of_most(symbols().filter(|n| !is_ensembl_id(n)))?,
    );
    if ours == theirs {
        return None;
    }
    let plain: HashSet<String> = symbols().map(str::to_ascii_uppercase).collect();
    let same = |n: &&&str| plain.contains(&n.to_ascii_uppercase());
    let n = names.iter().filter(same).count();
    let shown = names.iter().find(|n| Case::of(n) == Some(ours))?;
    Some(format!(
        "the genes are of another species than the gene table: written as those of {} (`{shown}`), the table's as those of {} (`{}`){}",
        ours.species(),
        theirs.species(),
        symbols().find(|n| Case::of(n) == Some(theirs))?,
        match n {
            0 => String::new(),
            n => format!("; {n} of {} are the same but for capitals", names.len()),
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::{Gene, Position};

    fn cause(names: &[&str], table: &GeneTable) -> String {
        likely_cause(names, table).unwrap_or_default()
    }

    fn table(genes: &[(&str, Option<&str>)]) -> GeneTable {
        let gene = |(name, id): &(&str, Option<&str>)| Gene {
            name: (*name).to_string(),
            id: id.map(str::to_string),
            chromosome: "chr1".into(),
            start: Position::from_one(1),
            end: Position::from_one(2),
            class: None,
        };
        GeneTable {
            genes: genes.iter().map(gene).collect(),
            ..GeneTable::default()
        }
    }

    #[test]
    fn what_the_names_look_like_is_said() {
        let human = GeneTable::grch38();
        for (names, part) in [
            (
                ["GRCh38_TP53", "GRCh38_MYC", "GRCh38_EGFR"],
                "the prefix `GRCh38_`",
            ),
            (
                ["hg19_TP53", "hg19_MYC", "hg19_no"],
                "2 of 3 are in the gene table",
            ),
            (
                ["GRCh38______TP53", "GRCh38______MYC", "x"],
                "the prefix `GRCh38______`",
            ),
            (["ENSG1_TP53", "ENSG2_MYC", "ENSG3_EGFR"], "one (`TP53`)"),
            (["TP53|7157", "MYC|4609", "EGFR|1956"], "one (`TP53`)"),
            (
                ["TP53_ENSG00000141510", "MYC_ENSG00000136997", "x"],
                "one (`ENSG00000141510`)",
            ),
            (
                ["Trp53", "Myc", "Gm1234"],
                "written as those of mouse or rat (`Trp53`)",
            ),
            (
                ["trp53", "myca", "egfra"],
                "written as those of fish (`trp53`)",
            ),
            (["Gm1", "Gm2", "Rik3"], "another species"),
            (
                [
                    "ENSMUSG00000059552",
                    "ENSMUSG00000022346",
                    "ENSMUSG00000020122.3",
                ],
                "`ENSMUSG...` where it has `ENSG...`",
            ),
            (["7157", "4609", "1956"], "as by Entrez ids"),
            (["A1", "B2", "C3"], ""),
        ] {
            let said = cause(&names, &human);
            assert!(
                said.contains(part) && part.is_empty() == said.is_empty(),
                "{names:?}: {said}"
            );
        }
    }

    #[test]
    fn the_table_may_be_the_one_that_is_otherwise() {
        let symbols = table(&[("TP53", None), ("MYC", None)]);
        let said = cause(&["ENSG00000141510", "ENSG00000136997"], &symbols);
        assert!(said.contains("the gene table has no ids"), "{said}");
        let mouse = table(&[("Trp53", Some("ENSMUSG00000059552")), ("Myc", None)]);
        let said = cause(&["TP53", "MYC"], &mouse);
        assert!(
            said.contains("1 of 2 are the same but for capitals"),
            "{said}"
        );
        let ids = table(&[("ENSG00000141510", None), ("ENSG00000136997", None)]);
        let said = cause(&["TP53", "MYC"], &ids);
        assert!(said.contains("by id alone"), "{said}");
        assert_eq!(likely_cause(&[], &ids), None);
    }
}
