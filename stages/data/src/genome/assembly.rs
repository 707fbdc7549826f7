//! Genome builds by name: their chromosomes and where the arms meet.

use std::sync::OnceLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::arms::Arm;
use super::chromosome::is_numbered;
use crate::frame::Frame;

/// A genome build. In a workflow it goes by any of its [`names`](Assembly::names), in any case, with or
/// without a patch (`GRCh38.p14`).
///
/// ```
/// use clcc_data::genome::{Arm, Assembly};
///
/// let hg38 = Assembly::named("hg38").expect("a known name");
/// assert_eq!((hg38, hg38.name()), (Assembly::GRCh38, "GRCh38"));
/// assert_eq!(hg38.chromosome("chr1").map(|c| c.length), Some(248_956_422));
/// assert_eq!(hg38.arm_of("chr17", 7_668_402, 7_687_550), Some(Arm::P));
/// assert_eq!(hg38.arm_of("chrM", 1, 100), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assembly {
    /// Human, 2009.
    GRCh37,
    /// Human, 2013.
    GRCh38,
    /// Human, telomere to telomere, 2022.
    ChM13,
    /// Mouse, 2011.
    GRCm38,
    /// Mouse, 2020.
    GRCm39,
    /// Any other: its chromosomes are taken as they are named, and it has no known arms.
    Other,
}

/// A chromosome of an assembly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chromosome {
    /// `chr1`, ..., `chrX`, `chrY`.
    pub name: &'static str,
    /// Bases.
    pub length: i64,
    /// Last base of the short arm, 1-based: the border of the two `acen` bands of UCSC's cytoBand
    /// table. 0 where all of the chromosome is its long arm.
    pub p_end: i64,
}

static ARMS: &str = include_str!("data/arms.tsv");

impl Assembly {
    /// Those whose chromosomes are known.
    pub const KNOWN: [Self; 5] = [
        Self::GRCh37,
        Self::GRCh38,
        Self::ChM13,
        Self::GRCm38,
        Self::GRCm39,
    ];

    /// Its name, then the other names that it goes by.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::GRCh37 => &["GRCh37", "hg19", "b37", "hs37d5"],
            Self::GRCh38 => &["GRCh38", "hg38"],
            Self::ChM13 => &["T2T-CHM13v2", "T2T-CHM13v2.0", "CHM13v2", "CHM13", "hs1"],
            Self::GRCm38 => &["GRCm38", "mm10"],
            Self::GRCm39 => &["GRCm39", "mm39"],
            Self::Other => &["other"],
        }
    }

    /// `GRCh38`.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The assembly of that name; `None` for an unknown one.
    pub fn named(text: &str) -> Option<Self> {
        let text = match text.rsplit_once(".p") {
            Some((stem, patch)) if patch.parse::<u8>().is_ok() => stem,
            _ => text,
        };
        let known = Self::KNOWN.into_iter().chain([Self::Other]);
        known
            .into_iter()
            .find(|a| a.names().iter().any(|n| n.eq_ignore_ascii_case(text)))
    }

    /// Whether it is a human one.
    pub fn is_human(self) -> bool {
        matches!(self, Self::GRCh37 | Self::GRCh38 | Self::ChM13)
    }

    /// Its chromosomes in genome order; none of `Other`.
    pub fn chromosomes(self) -> impl Iterator<Item = &'static Chromosome> {
        let of = table().iter().filter(move |(a, _)| *a == self);
        of.map(|(_, c)| c)
    }

    /// The chromosome of that name; `None` for chrM and scaffolds.
    pub fn chromosome(self, name: &str) -> Option<&'static Chromosome> {
        self.chromosomes().find(|c| c.name == name)
    }

    /// The arm that contains the middle of `start..=end` (1-based), so that every gene of a chromosome
    /// with arms has one. `None` for chrM and scaffolds.
    pub fn arm_of(self, chromosome: &str, start: i64, end: i64) -> Option<Arm> {
        let c = self.chromosome(chromosome)?;
        let short = (start + end) / 2 <= c.p_end && c.p_end > 0;
        Some(if short { Arm::P } else { Arm::Q })
    }

    /// The first of the human and then the mouse assemblies, newest first, that has all of these chromosomes, and none of
    /// these last bases beyond its chromosome. Names without `chr` (scaffolds) and chrM are not judged; `None` where
    /// nothing is judged. A guess for drawings and for arms: genes of one assembly often fit another.
    pub fn that_fits<'a>(places: impl Iterator<Item = (&'a str, i64)>) -> Option<Self> {
        let mut last: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
        for (chromosome, end) in places {
            if chromosome.starts_with("chr") && chromosome != "chrM" {
                let at = last.entry(chromosome).or_default();
                *at = (*at).max(end);
            }
        }
        let holds = |a: &Self| {
            let fits =
                |(name, end): (&&str, &i64)| a.chromosome(name).is_some_and(|c| c.length >= *end);
            last.iter().all(fits)
        };
        let known = [
            Self::GRCh38,
            Self::GRCh37,
            Self::ChM13,
            Self::GRCm39,
            Self::GRCm38,
        ];
        known.into_iter().find(|a| !last.is_empty() && holds(a))
    }

    /// What places cannot be of this assembly: the first on a chromosome that it does not have, and the
    /// first of those that end beyond their chromosome, with their number. Scaffolds and chrM are not
    /// judged, unless more than half of the places are on names that it does not have, and nothing is of
    /// `Other`.
    pub fn misfit<'a>(self, places: impl Iterator<Item = (&'a str, i64)>) -> Misfit<'a> {
        let mut out = Misfit::default();
        if self == Self::Other {
            return out;
        }
        let (mut n, mut n_elsewhere, mut elsewhere) = (0, 0, None);
        for (chromosome, end) in places {
            n += 1;
            match self.chromosome(chromosome) {
                None if is_numbered(chromosome) => {
                    out.absent.get_or_insert(chromosome);
                }
                None if chromosome != "chrM" => {
                    n_elsewhere += 1;
                    elsewhere.get_or_insert(chromosome);
                }
                Some(c) if end > c.length => {
                    out.n_beyond += 1;
                    out.beyond.get_or_insert((chromosome, end, c.length));
                }
                _ => {}
            }
        }
        // Scaffolds hold a few genes, not most of them.
        const SOME: usize = 20;
        if n_elsewhere >= SOME && n_elsewhere * 2 > n {
            out.absent = out.absent.or(elsewhere);
        }
        out
    }
}

/// What [`Assembly::misfit`] finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Misfit<'a> {
    /// A chromosome that the assembly does not have.
    pub absent: Option<&'a str>,
    /// Chromosome, end of a gene, end of the chromosome.
    pub beyond: Option<(&'a str, i64, i64)>,
    /// Places that end beyond their chromosome.
    pub n_beyond: usize,
}

fn table() -> &'static [(Assembly, Chromosome)] {
    static TABLE: OnceLock<Vec<(Assembly, Chromosome)>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = ARMS.lines().filter(|l| !l.starts_with('#')).skip(1);
        lines
            .map(|line| row(line).expect("the table of arms is whole"))
            .collect()
    })
}

fn row(line: &'static str) -> Option<(Assembly, Chromosome)> {
    let f: Vec<&str> = line.split('\t').collect();
    let chromosome = Chromosome {
        // The names of all assemblies are those of a human's.
        name: CHROMOSOMES.iter().find(|c| c[3..] == *f[1])?,
        length: f[2].parse().ok()?,
        p_end: f[5].parse().ok()?,
    };
    Some((Assembly::named(f[0])?, chromosome))
}

const CHROMOSOMES: [&str; 24] = [
    "chr1", "chr2", "chr3", "chr4", "chr5", "chr6", "chr7", "chr8", "chr9", "chr10", "chr11",
    "chr12", "chr13", "chr14", "chr15", "chr16", "chr17", "chr18", "chr19", "chr20", "chr21",
    "chr22", "chrX", "chrY",
];

impl Serialize for Assembly {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Assembly {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::named(&text).ok_or_else(|| {
            const NAMES: &[&str] = &[
                "GRCh37",
                "GRCh38",
                "T2T-CHM13v2",
                "GRCm38",
                "GRCm39",
                "other",
            ];
            serde::de::Error::unknown_variant(&text, NAMES)
        })
    }
}

impl JsonSchema for Assembly {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Assembly".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known = Self::KNOWN.into_iter().chain([Self::Other]);
        let names: Vec<&str> = known.flat_map(|a| a.names().iter().copied()).collect();
        json_schema!({
            "description": "A genome build by name.",
            "type": "string",
            "enum": names
        })
    }
}

/// Sets the column `arm` (`p`, `q`, missing off the chromosomes) of genes or windows with `chromosome`,
/// `start` and `end`. Where the genome is not known or has no known arms, there is no such column.
///
/// # Errors
/// Where a column of positions is missing.
pub fn annotate_arms(frame: &mut Frame, genome: Option<Assembly>) -> crate::error::StageResult<()> {
    frame.columns.shift_remove("arm");
    let Some(genome) = genome.filter(|g| *g != Assembly::Other) else {
        return Ok(());
    };
    let chromosome = frame.texts("chromosome")?;
    let (start, end) = (frame.numbers("start")?, frame.numbers("end")?);
    let arms = (0..frame.len())
        .map(|i| genome.arm_of(&chromosome[i], start[i] as i64, end[i] as i64))
        .collect::<Vec<_>>();
    frame.set("arm", Arm::column(&arms));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Column;

    #[test]
    fn known_genes_lie_on_their_arms() {
        // TP53 17p13, ERBB2 17q12, EGFR 7p11, MET 7q31, MYC 8q24, by both builds.
        let arm = |genome: Assembly, chromosome: &str, start, end| {
            genome.arm_of(chromosome, start, end).map(Arm::letter)
        };
        let (old, new) = (Assembly::GRCh37, Assembly::GRCh38);
        assert_eq!(arm(new, "chr17", 7_661_779, 7_687_550), Some('p'));
        assert_eq!(arm(new, "chr17", 39_687_914, 39_730_426), Some('q'));
        assert_eq!(arm(new, "chr7", 55_019_021, 55_211_628), Some('p'));
        assert_eq!(arm(old, "chr7", 55_086_725, 55_275_031), Some('p'));
        assert_eq!(arm(new, "chr7", 116_672_196, 116_798_386), Some('q'));
        assert_eq!(arm(old, "chr8", 128_748_315, 128_753_680), Some('q'));
        assert_eq!(arm(new, "chrM", 1, 100), None);
        // chr1:124,000,000 is on p in GRCh37 and CHM13, on q in GRCh38.
        assert_eq!(arm(old, "chr1", 124_000_000, 124_000_001), Some('p'));
        assert_eq!(
            arm(Assembly::ChM13, "chr1", 124_000_000, 124_000_001),
            Some('p')
        );
        assert_eq!(arm(new, "chr1", 124_000_000, 124_000_001), Some('q'));
        // The last base of the short arm and the next.
        assert_eq!(arm(new, "chr1", 123_400_000, 123_400_000), Some('p'));
        assert_eq!(arm(new, "chr1", 123_400_001, 123_400_001), Some('q'));
    }

    #[test]
    fn mouse_chromosomes_are_one_long_arm() {
        for genome in [Assembly::GRCm38, Assembly::GRCm39] {
            assert_eq!(genome.chromosomes().count(), 21);
            for c in genome.chromosomes() {
                assert_eq!(genome.arm_of(c.name, 1, 1), Some(Arm::Q), "{}", c.name);
                assert_eq!(genome.arm_of(c.name, c.length, c.length), Some(Arm::Q));
            }
            assert_eq!(genome.arm_of("chr20", 1, 2), None);
        }
        assert_eq!(Assembly::Other.arm_of("chr1", 1, 2), None);
    }

    #[test]
    fn arms_agree_with_the_cytobands_where_they_are_present() {
        let Some(path) = clcc_testing::shared_data("genes/hg38_chromosome_arms.tsv") else {
            return;
        };
        let text = std::fs::read_to_string(path).unwrap();
        let mut seen = 0;
        for line in text.lines().skip(1) {
            let f: Vec<&str> = line.split('\t').collect();
            let (start, end): (i64, i64) = (f[2].parse().unwrap(), f[3].parse().unwrap());
            let c = Assembly::GRCh38.chromosome(f[0]).unwrap();
            match f[1] {
                "centromere" => assert!(start < c.p_end && c.p_end < end, "{line}"),
                "q" => assert_eq!(c.length, end),
                _ => assert!(start == 0 && end < c.p_end, "{line}"),
            }
            seen += 1;
        }
        assert_eq!(seen, 72);
    }

    #[test]
    fn names_are_taken_in_any_spelling_and_given_back_in_one() {
        for (name, expected) in [
            ("hg19", Assembly::GRCh37),
            ("GRCh37.p13", Assembly::GRCh37),
            ("grch38", Assembly::GRCh38),
            ("GRCh38.p14", Assembly::GRCh38),
            ("HG38", Assembly::GRCh38),
            ("chm13", Assembly::ChM13),
            ("T2T-CHM13v2.0", Assembly::ChM13),
            ("hs1", Assembly::ChM13),
            ("mm10", Assembly::GRCm38),
            ("mm39", Assembly::GRCm39),
            ("other", Assembly::Other),
        ] {
            let read: Assembly = serde_json::from_value(name.into()).unwrap();
            assert_eq!(read, expected, "{name}");
        }
        assert_eq!(
            serde_json::to_value(Assembly::ChM13).unwrap(),
            "T2T-CHM13v2"
        );
        for name in ["hg18", "GRCh3", "CHM13v1.1", ""] {
            let error = serde_json::from_value::<Assembly>(name.into()).unwrap_err();
            assert!(error.to_string().contains("`GRCm39`"), "{error}");
        }
        let schema = schemars::schema_for!(Assembly).to_value();
        assert!(schema["enum"].as_array().unwrap().contains(&"hg38".into()));
    }

    #[test]
    fn places_of_another_build_do_not_fit() {
        // PGBD2 is the last gene of chr1: 249,214,145 in GRCh37, beyond the end of GRCh38's.
        let places = [("chr1", 1_000), ("chr1", 249_214_145), ("chrM", 99_999)];
        let fits = |a: Assembly| a.misfit(places.into_iter()) == Misfit::default();
        let fitting: Vec<_> = Assembly::KNOWN.into_iter().filter(|a| fits(*a)).collect();
        assert_eq!(fitting, [Assembly::GRCh37]);
        let found = Assembly::GRCh38.misfit(places.into_iter());
        assert_eq!(found.n_beyond, 1);
        assert_eq!(found.beyond, Some(("chr1", 249_214_145, 248_956_422)));
        let human = [("chr22", 5), ("KI270711.1", 5), ("chr1_alt", 5)];
        let absent = |a: Assembly| a.misfit(human.into_iter()).absent;
        assert_eq!(absent(Assembly::GRCm39), Some("chr22"));
        assert_eq!(absent(Assembly::ChM13), None);
        assert_eq!(absent(Assembly::Other), None);
        // Names of no assembly, for most of many places.
        let odd: Vec<(&str, i64)> = [("10q12", 5), ("chr1", 5), ("10q12", 5)].repeat(12);
        let absent = |a: Assembly| a.misfit(odd.iter().copied()).absent;
        assert_eq!(absent(Assembly::GRCh38), Some("10q12"));
        assert_eq!(absent(Assembly::Other), None);
    }

    #[test]
    fn arms_are_a_column_only_where_they_are_known() {
        let mut var = Frame::new(["a", "b", "c"].map(String::from).to_vec());
        var.set_category("chromosome", &["chr17", "chr17", ""]);
        var.set("start", Column::I64(vec![7_661_779, 39_687_914, -1]));
        var.set("end", Column::I64(vec![7_687_550, 39_730_426, -1]));
        annotate_arms(&mut var, Some(Assembly::GRCh38)).unwrap();
        assert_eq!(var.texts("arm").unwrap(), ["p", "q", ""]);
        assert_eq!(
            Arm::of_frame(&var).unwrap(),
            [Some(Arm::P), Some(Arm::Q), None]
        );
        annotate_arms(&mut var, Some(Assembly::GRCm39)).unwrap();
        assert_eq!(var.texts("arm").unwrap(), ["q", "q", ""]);
        for unknown in [None, Some(Assembly::Other)] {
            annotate_arms(&mut var, unknown).unwrap();
            assert!(!var.columns.contains_key("arm"));
            assert_eq!(Arm::of_frame(&var), None);
        }
    }
}
