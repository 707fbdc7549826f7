//! What the columns of the cells suggest: who the patients are, what the cell types, which cells are cancer.
//! Nothing is taken for granted: every proposal is written into the workflow as a comment with its values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clcc_stages::ingest::Values;
use indexmap::IndexMap;

use crate::cli::args::InitArgs;

type Columns = IndexMap<String, Values>;

/// Columns that usually tell patients apart, the likeliest first; compared without case, `_`, `.` and spaces.
const PATIENT: [&str; 14] = [
    "patient",
    "patientid",
    "donor",
    "donorid",
    "individual",
    "individualid",
    "subject",
    "subjectid",
    "case",
    "caseid",
    "sample",
    "sampleid",
    "samplename",
    "origident",
];
const SAMPLE: [&str; 6] = [
    "sample",
    "sampleid",
    "samplename",
    "library",
    "libraryid",
    "origident",
];
const CELL_TYPE: [&str; 12] = [
    "celltype",
    "celltypemajor",
    "majorcelltype",
    "celltypemain",
    "celltypes",
    "celltypeannotation",
    "celltypeannotations",
    "cellannotation",
    "annotation",
    "celllabel",
    "celltypeontologyterm",
    "leidencelltype",
];
/// Columns that usually tell tumour from normal samples.
const ORIGIN: [&str; 11] = [
    "sampleorigin",
    "origin",
    "tissue",
    "tissuetype",
    "sampletype",
    "condition",
    "disease",
    "diseasestate",
    "status",
    "group",
    "malignant",
];
/// Words of a value that means cells of no tumour.
const NORMAL: [&str; 8] = [
    "normal",
    "healthy",
    "control",
    "adjacent",
    "nontumor",
    "nontumour",
    "nonmalignant",
    "benign",
];
/// Words of a cell type that means tumour cells, before those of the tissue that most tumours come from.
const MALIGNANT: [&str; 9] = [
    "malignant",
    "cancer",
    "tumor",
    "tumour",
    "neoplastic",
    "carcinoma",
    "adenocarcinoma",
    "melanoma",
    "glioma",
];
const EPITHELIAL: [&str; 2] = ["epithelial", "epithelium"];
/// More values than this are no patients or cell types.
const MOST: usize = 300;

/// A patient of the workflow and its value in the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patient {
    pub(super) name: String,
    pub(super) value: String,
}

/// Which cells are cancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) column: String,
    pub(super) values: Vec<String>,
    /// Whether the values are the normal ones.
    pub(super) normal: bool,
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.normal { "not " } else { "" };
        write!(f, "{not}{}={}", self.column, self.values.join(","))
    }
}

impl Labels {
    /// `COLUMN=VALUE,VALUE`, or with `not` before it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (normal, text) = match text.strip_prefix("not ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (column, values) = text.split_once('=')?;
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_string()).collect();
        Some(Self {
            column: column.trim().to_string(),
            values,
            normal,
        })
    }

    /// Whether the data have the column and the values.
    pub(super) fn check(&self, columns: &Columns) -> Result<(), String> {
        let Some(values) = columns.get(&self.column) else {
            return Err(format!("the cells have no column `{}`", self.column));
        };
        match self.values.iter().find(|v| !values.counts.contains_key(*v)) {
            Some(value) => Err(format!(
                "no cell has `{value}` in the column `{}`; there are {}",
                self.column,
                super::propose::values(values, super::SHOWN)
            )),
            None => Ok(()),
        }
    }

    /// The parameter `cancer_vs_normal`; `column` is what `ingest` calls the column.
    pub(super) fn yaml(&self, column: &str) -> String {
        let which = if self.normal { "normal" } else { "cancer" };
        format!(
            "{{column: {}, {which}: {}}}",
            super::quoted(column),
            super::list(&self.values)
        )
    }
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    /// The column that tells patients apart; `None`: one patient.
    pub(super) patient: Option<String>,
    pub(super) sample: Option<String>,
    pub(super) cell_type: Option<String>,
    pub(super) labels: Option<Labels>,
    /// A table of the positions of genes; `None`: the built-in one, of human genes.
    pub(super) genes: Option<PathBuf>,
}

impl Proposal {
    /// What the flags say, else what the columns suggest.
    pub(super) fn of(args: &InitArgs, columns: &Columns) -> Self {
        let cell_type = args
            .cell_type
            .clone()
            .or_else(|| find(columns, &CELL_TYPE, 2));
        Self {
            patient: args.patient.clone().or_else(|| find(columns, &PATIENT, 1)),
            sample: args.sample.clone().or_else(|| find(columns, &SAMPLE, 1)),
            labels: labels(args, columns, cell_type.as_deref()),
            cell_type,
            genes: args.genes.clone(),
        }
    }

    /// What `ingest` calls a column of the data: standard columns get their standard names.
    pub(super) fn name_after_ingest<'a>(&self, column: &'a str) -> &'a str {
        let is = |standard: &Option<String>| standard.as_deref() == Some(column);
        match column {
            _ if is(&self.cell_type) => "cell_type",
            _ if is(&self.sample) => "sample",
            "Sample_Origin" | "Sample_Origion" => "sample_origin",
            other => other,
        }
    }

    /// The patients, in natural order; one, of the data's name, where no column tells any apart.
    pub(super) fn patients(&self, columns: &Columns, data: &str) -> Vec<Patient> {
        let Some(column) = &self.patient else {
            let name: String = data
                .chars()
                .map(|c| if plain(c) { c } else { '_' })
                .collect();
            return vec![Patient {
                name,
                value: String::new(),
            }];
        };
        let mut values: Vec<&String> = columns[column].counts.keys().collect();
        values.sort_by(|a, b| clcc_stages::genome::natural_cmp(a, b));
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        values
            .into_iter()
            .map(|value| {
                let mut name: String = value
                    .chars()
                    .map(|c| if plain(c) { c } else { '_' })
                    .collect();
                let again = taken.entry(name.clone()).or_default();
                *again += 1;
                if *again > 1 {
                    name = format!("{name}_{again}");
                }
                Patient {
                    name,
                    value: value.clone(),
                }
            })
            .collect()
    }
}

/// What names of files and nodes are made of.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.".contains(c)
}

fn bare(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The first of the usual names that is a column of `least` to [`MOST`] values.
fn find(columns: &Columns, usual: &[&str], least: usize) -> Option<String> {
    let fits = |name: &&String| (least..=MOST).contains(&columns[*name].counts.len());
    usual.iter().find_map(|usual| {
        let mut named = columns.keys().filter(|name| bare(name) == *usual);
        named.find(fits).cloned()
    })
}

/// Values of which a word is one of `words`.
fn with_word(values: &Values, words: &[&str]) -> Vec<String> {
    let has = |value: &&String| {
        let lower = value.to_lowercase();
        let joined = lower.replace(['-', '_', ' '], "");
        words.iter().any(|word| {
            lower
                .split(|c: char| !c.is_alphanumeric())
                .any(|w| w == *word || w.strip_suffix('s') == Some(word))
                || joined == *word
        })
    };
    values.counts.keys().filter(has).cloned().collect()
}

fn labels(args: &InitArgs, columns: &Columns, cell_type: Option<&str>) -> Option<Labels> {
    if !args.cancer.is_empty() || !args.normal.is_empty() {
        let normal = args.cancer.is_empty();
        let values = if normal { &args.normal } else { &args.cancer };
        let has = |name: &&String| values.iter().all(|v| columns[*name].counts.contains_key(v));
        let guess = || {
            let first = cell_type.map(str::to_string).filter(|c| has(&c));
            first.or_else(|| columns.keys().find(has).cloned())
        };
        let column = args.by.clone().or_else(guess);
        return Some(Labels {
            // Without any column that has them, the check names what there is.
            column: column.or_else(|| cell_type.map(str::to_string))?,
            values: values.clone(),
            normal,
        });
    }
    let of = |column: &str, words: &[&str], normal: bool| {
        let values = with_word(columns.get(column)?, words);
        let some_not_all = !values.is_empty() && values.len() < columns[column].counts.len();
        some_not_all.then(|| Labels {
            column: column.to_string(),
            values,
            normal,
        })
    };
    if let Some(column) = &args.by {
        return of(column, &NORMAL, true).or_else(|| of(column, &MALIGNANT, false));
    }
    // Cells that are called malignant come first: a normal sample says less of a cell.
    cell_type
        .and_then(|c| of(c, &MALIGNANT, false))
        .or_else(|| find(columns, &ORIGIN, 2).and_then(|c| of(&c, &NORMAL, true)))
        .or_else(|| cell_type.and_then(|c| of(c, &EPITHELIAL, false)))
}

/// The values of a column with their numbers of cells, the commonest first.
pub(super) fn values(values: &Values, shown: usize) -> String {
    let mut counts: Vec<(&String, &usize)> = values.counts.iter().collect();
    counts.sort_by(|a, b| {
        b.1.cmp(a.1)
            .then(clcc_stages::genome::natural_cmp(a.0, b.0))
    });
    let more = match counts.len().saturating_sub(shown) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown: Vec<String> = counts
        .iter()
        .take(shown)
        .map(|(value, n)| format!("{value} ({n})"))
        .collect();
    format!("{}{more}", shown.join(", "))
}

/// The columns, with their values where they are few.
pub(super) fn overview(columns: &Columns) -> String {
    let column = |(name, of): (&String, &Values)| match of.counts.len() {
        1..=8 => format!(
            "`{name}` ({})",
            of.counts.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
        n => format!("`{name}` ({n} values)"),
    };
    columns.iter().map(column).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(columns: &[(&str, &[(&str, usize)])]) -> Columns {
        let values = |counts: &[(&str, usize)]| Values {
            counts: counts.iter().map(|(v, n)| (v.to_string(), *n)).collect(),
            missing: 0,
        };
        columns
            .iter()
            .map(|(name, counts)| (name.to_string(), values(counts)))
            .collect()
    }

    fn proposal(c: &Columns) -> Proposal {
        Proposal::of(&InitArgs::default(), c)
    }

    #[test]
    fn usual_columns_are_found_whatever_their_spelling() {
        let c = columns(&[
            ("n_genes", &[("1", 1), ("2", 1)]),
            ("orig.ident", &[("a", 2), ("b", 2)]),
            ("Donor_ID", &[("D1", 2), ("D2", 2)]),
            (
                "Cell Type",
                &[
                    ("T cells", 2),
                    ("Malignant cells", 1),
                    ("Epithelial cells", 1),
                ],
            ),
        ]);
        let p = proposal(&c);
        assert_eq!(p.patient.as_deref(), Some("Donor_ID"));
        assert_eq!(p.sample.as_deref(), Some("orig.ident"));
        assert_eq!(p.cell_type.as_deref(), Some("Cell Type"));
        assert_eq!(p.labels.unwrap().to_string(), "Cell Type=Malignant cells");
    }

    #[test]
    fn without_malignant_cells_normal_samples_count_before_epithelium() {
        let types: &[(&str, usize)] = &[("Epithelial", 5), ("B_cell", 3)];
        let with = columns(&[
            ("cell_type", types),
            ("tissue", &[("tumor", 4), ("normal", 4)]),
        ]);
        assert_eq!(
            proposal(&with).labels.unwrap().to_string(),
            "not tissue=normal"
        );
        let without = columns(&[("cell_type", types)]);
        assert_eq!(
            proposal(&without).labels.unwrap().to_string(),
            "cell_type=Epithelial"
        );
        // All cells alike say nothing, nor does a word within another.
        let none = columns(&[("cell_type", &[("Abnormal", 1), ("Paracancerous", 1)])]);
        assert_eq!(proposal(&none).labels, None);
    }

    #[test]
    fn patients_have_names_that_files_may_have_and_no_two_the_same() {
        let c = columns(&[("patient", &[("P 1", 1), ("P/1", 1), ("P10", 1), ("P2", 1)])]);
        let names: Vec<String> = proposal(&c)
            .patients(&c, "d")
            .into_iter()
            .map(|p| p.name)
            .collect();
        assert_eq!(names, ["P2", "P10", "P_1", "P_1_2"]);
        let one = columns(&[]);
        assert_eq!(proposal(&one).patients(&one, "my data")[0].name, "my_data");
    }

    #[test]
    fn answers_are_read_as_they_are_shown() {
        for text in ["cell_type=Epithelial,Malignant", "not tissue=normal"] {
            assert_eq!(Labels::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Labels::parse("Epithelial"), None);
        let c = columns(&[("tissue", &[("tumour", 1), ("normal", 1)])]);
        let wrong = Labels::parse("tissue=Normal")
            .unwrap()
            .check(&c)
            .unwrap_err();
        assert!(wrong.contains("normal (1)"), "{wrong}");
    }
}
