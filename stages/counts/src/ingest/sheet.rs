//! The sample sheet: one row per sample, with the file that holds its counts.
//!
//! The usual layout of a study is one folder or file per sample. A sheet says which patient each belongs to and
//! what else is known of it; [`super::samples`] reads the samples of one patient. Paths are relative to the sheet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::annotations::{Table, shown};
use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::is_missing;

/// The `format` of an input that is a sheet.
pub const SHEET: &str = "sheet";

/// Columns with a meaning of their own; every other column becomes one of the cells.
const KNOWN: [&str; 6] = ["patient", "sample", "path", "format", "annotations", "url"];

/// A table of samples.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// The table's file.
    pub path: PathBuf,
    /// Rows in the order of the file.
    pub samples: Vec<Sample>,
    /// Columns that go on as columns of the cells, in the order of the file.
    pub others: Vec<String>,
    /// Whether the sheet names its samples.
    pub has_samples: bool,
}

/// A row of the sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Line of the sheet, from 1.
    pub line: u64,
    /// Whose it is.
    pub patient: String,
    /// Its name; the patient's where the sheet names no samples.
    pub name: String,
    /// The counts, found from where the program runs.
    pub path: PathBuf,
    /// The layout, where the sheet states it.
    pub format: Option<String>,
    /// A table of this sample's cells.
    pub annotations: Option<PathBuf>,
    /// Where the counts can be downloaded from; not read here.
    pub url: Option<String>,
    /// Values of [`Sheet::others`]; empty where missing.
    pub values: Vec<String>,
}

impl Sheet {
    /// Reads the table: separated by tabs, commas or semicolons, the columns in any order.
    ///
    /// # Errors
    /// [`StageError::Format`] with line and column where a required column (`patient`, `path`) or value is missing,
    /// a patient's name cannot name files, a sample comes twice, or two rows have one file.
    pub fn read(path: &Path) -> StageResult<Self> {
        let table = Table::read(path)?;
        let header = table.header();
        let at = |name: &str| header.iter().position(|h| h.trim().to_lowercase() == name);
        for required in ["patient", "path"] {
            if at(required).is_none() {
                let message = format!(
                    "expected a column `{required}`, found the columns {}",
                    list(header)
                );
                let error = StageError::format(path, "line 1", message);
                return Err(error.or_hint(
                    "a sample sheet has the columns `patient`, `path` and, where a patient has several samples, `sample`",
                ));
            }
        }
        let is_other = |name: &&String| {
            !name.trim().is_empty() && !KNOWN.contains(&name.trim().to_lowercase().as_str())
        };
        let others: Vec<String> = header.iter().filter(is_other).cloned().collect();
        let columns: Vec<usize> = others
            .iter()
            .filter_map(|name| header.iter().position(|h| h == name))
            .collect();
        let columns_of = Columns {
            sheet: path,
            place: KNOWN.map(at),
            others: columns,
        };
        let rows = table.rows();
        let samples = rows.map(|(line, fields)| columns_of.sample(line, fields));
        let samples = samples.collect::<StageResult<Vec<Sample>>>()?;
        if samples.is_empty() {
            let message = "expected a row for each sample, found only the names of the columns";
            return Err(StageError::format(path, "", message));
        }
        let sheet = Self {
            path: path.to_path_buf(),
            samples,
            others,
            has_samples: at("sample").is_some(),
        };
        sheet.check_unique()?;
        Ok(sheet)
    }

    /// The patients, in the order of their first rows.
    pub fn patients(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !out.contains(&sample.patient.as_str()) {
                out.push(&sample.patient);
            }
        }
        out
    }

    /// The samples of a patient, in the order of the file.
    ///
    /// # Errors
    /// [`StageError::Data`] where it has none.
    pub fn of(&self, patient: &str) -> StageResult<Vec<&Sample>> {
        let own: Vec<&Sample> = (self.samples.iter())
            .filter(|s| s.patient == patient)
            .collect();
        if own.is_empty() {
            return Err(StageError::data(format!(
                "patient `{patient}` has no row in `{}`, whose patients are {}",
                self.path.display(),
                list(&self.patients())
            )));
        }
        Ok(own)
    }

    /// What is wrong with the files of a patient: one that is not there.
    pub fn missing_files(&self, patient: &str) -> Vec<StageError> {
        let mut out = Vec::new();
        for sample in self.samples.iter().filter(|s| s.patient == patient) {
            let named = [
                ("path", Some(&sample.path)),
                ("annotations", sample.annotations.as_ref()),
            ];
            for (column, file) in named {
                let Some(file) = file.filter(|f| !f.exists()) else {
                    continue;
                };
                let message = format!(
                    "expected a file or folder, found nothing at `{}`",
                    file.display()
                );
                let error = self.error(sample.line, column, message);
                let hint = match &sample.url {
                    Some(url) if column == "path" => {
                        format!("`clcc-flow run` downloads it from {url}")
                    }
                    _ => "paths are relative to the folder of the sheet".to_string(),
                };
                out.push(error.or_hint(&hint));
            }
        }
        out
    }

    /// Everything about a patient's samples but the content of their files: what its digest is made of.
    pub fn facts(&self, patient: &str) -> Vec<Vec<String>> {
        let own = self.samples.iter().filter(|s| s.patient == patient);
        own.map(|s| {
            // The layout that the name says is part of what is read.
            let format = s.format.clone().or_else(|| {
                let name = s.path.file_name()?.to_str()?.to_lowercase();
                let name = name.strip_suffix(".gz").unwrap_or(&name).to_string();
                name.rsplit_once('.').map(|(_, end)| end.to_string())
            });
            let named = self.others.iter().zip(&s.values);
            // With their names: cells without a value differ from cells without the column.
            let values = named.flat_map(|(column, value)| [column.clone(), value.clone()]);
            let first = [
                if self.has_samples {
                    s.name.clone()
                } else {
                    String::new()
                },
                format.unwrap_or_default(),
                u8::from(s.annotations.is_some()).to_string(),
            ];
            first.into_iter().chain(values).collect()
        })
        .collect()
    }

    /// An error that names the sheet, the line and the column.
    pub fn error(&self, line: u64, column: &str, message: String) -> StageError {
        at_cell(&self.path, line, column, message)
    }

    fn check_unique(&self) -> StageResult<()> {
        let mut names: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut paths: BTreeMap<&Path, u64> = BTreeMap::new();
        for s in &self.samples {
            if let Some(before) = names.insert((&s.patient, &s.name), s.line) {
                let (column, message) = match self.has_samples {
                    true => (
                        "sample",
                        format!(
                            "patient `{}` has the sample `{}` on line {before} too",
                            s.patient, s.name
                        ),
                    ),
                    false => (
                        "patient",
                        format!(
                            "`{}` is on line {before} too, and no column `sample` tells the two apart",
                            s.patient
                        ),
                    ),
                };
                return Err(self.error(s.line, column, message));
            }
            if let Some(before) = paths.insert(&s.path, s.line) {
                let message = format!("`{}` is on line {before} too", s.path.display());
                let error = self.error(s.line, "path", message);
                return Err(error.or_hint(
                    "a file of several patients or samples is an input of its own: `path`, with `group_by` and `groups`",
                ));
            }
        }
        Ok(())
    }
}

fn at_cell(sheet: &Path, line: u64, column: &str, message: String) -> StageError {
    StageError::format(sheet, format!("line {line}, column `{column}`"), message)
}

/// Where the columns of a sheet stand.
struct Columns<'a> {
    sheet: &'a Path,
    place: [Option<usize>; KNOWN.len()],
    others: Vec<usize>,
}

impl Columns<'_> {
    fn sample(&self, line: u64, fields: &csv::StringRecord) -> StageResult<Sample> {
        let value = |column: usize| {
            let text = self.place[column].and_then(|at| fields.get(at));
            text.map(str::trim).filter(|t| !is_missing(t))
        };
        let needed = |column: usize, what: &str| {
            value(column).ok_or_else(|| {
                let found = self.place[column].and_then(|at| fields.get(at));
                let message = format!(
                    "expected {what}, found {}",
                    shown(found.unwrap_or_default())
                );
                at_cell(self.sheet, line, KNOWN[column], message)
            })
        };
        let patient = needed(0, "a patient")?;
        if !is_name(patient) {
            let message = format!(
                "expected a letter or digit, then at most 63 letters, digits, `_`, `.` or `-`, found `{patient}`"
            );
            return Err(at_cell(self.sheet, line, "patient", message));
        }
        let name = match self.place[1] {
            Some(_) => needed(1, "the sample's name")?,
            None => patient,
        };
        let folder = self.sheet.parent().unwrap_or(Path::new(""));
        let path = needed(2, "the path of its counts")?;
        if path.contains("://") {
            let message = format!("expected a path on this machine, found `{path}`");
            let error = at_cell(self.sheet, line, "path", message);
            return Err(error.or_hint(
                "an address stands in a column `url`; `path` says where the file is kept once it is downloaded",
            ));
        }
        let path = folder.join(path);
        let of = |&at: &usize| fields.get(at).unwrap_or_default();
        let known = |text: &str| match is_missing(text) {
            true => String::new(),
            false => text.to_string(),
        };
        Ok(Sample {
            line,
            patient: patient.to_string(),
            name: name.to_string(),
            path,
            format: value(3).map(str::to_string),
            annotations: value(4).map(|a| folder.join(a)),
            url: value(5).map(str::to_string),
            values: self.others.iter().map(of).map(known).collect(),
        })
    }
}

/// Patients name files and nodes.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StageResult<Sheet> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.csv");
        std::fs::write(&path, text).unwrap();
        Sheet::read(&path)
    }

    #[test]
    fn rows_are_samples_and_paths_are_relative_to_the_sheet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.csv");
        let text = "Path;Patient;sample;condition;age\na/x.h5;P2;T;tumour;61\nb;P1;T;tumour;NA\n/abs/c.h5ad;P1;N;normal;70\n";
        std::fs::write(&path, text).unwrap();
        let sheet = Sheet::read(&path).unwrap();
        assert_eq!(sheet.patients(), ["P2", "P1"]);
        assert_eq!(sheet.others, ["condition", "age"]);
        let own = sheet.of("P1").unwrap();
        assert_eq!(own[0].path, dir.path().join("b"));
        assert_eq!(own[1].path, Path::new("/abs/c.h5ad"));
        assert_eq!(own[0].values, ["tumour", ""]);
        assert_eq!((own[1].line, own[1].name.as_str()), (4, "N"));
        let absent = sheet.of("P3").unwrap_err().to_string();
        assert!(
            absent.ends_with("whose patients are `P2`, `P1`"),
            "{absent}"
        );
        let missing = sheet.missing_files("P2");
        let said = missing[0].to_string();
        assert!(
            said.contains("samples.csv`, line 2, column `path`: expected a file"),
            "{said}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        for (text, expected) in [
            (
                "sample,path\nS,a\n",
                "line 1: expected a column `patient`, found the columns `sample`, `path`",
            ),
            ("patient,path\n", "found only the names of the columns"),
            (
                "patient,path\nP1,a\n,b\n",
                "line 3, column `patient`: expected a patient, found nothing",
            ),
            (
                "patient,path\n\nP1,NA\n",
                "line 3, column `path`: expected the path of its counts, found `NA`",
            ),
            (
                "patient,path\nP 1,a\n",
                "line 2, column `patient`: expected a letter or digit",
            ),
            (
                "patient,sample,path\nP1,,a\n",
                "line 2, column `sample`: expected the sample's name, found nothing",
            ),
            (
                "patient,path\nP1,a\nP1,b\n",
                "line 3, column `patient`: `P1` is on line 2 too, and no column `sample`",
            ),
            (
                "patient,sample,path\nP1,T,a\nP1,T,b\n",
                "line 3, column `sample`: patient `P1` has the sample `T` on line 2 too",
            ),
            ("patient,path\nP1,a\nP2,a\n", "line 3, column `path`: `"),
            ("patient,path\nP1\n", "line 2: expected 2 fields, found 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn facts_of_a_patient_say_nothing_of_another_or_of_places() {
        let before = read("patient,sample,path,sex\nP1,T,a.h5,f\nP2,T,b.h5,m\n").unwrap();
        let after = read("sample,patient,path,sex\nT,P9,z.h5,m\nT,P1,elsewhere/q.h5,f\n").unwrap();
        assert_eq!(before.facts("P1"), after.facts("P1"));
        for other in [
            "patient,sample,path,sex\nP1,T,a.h5,m\n",
            "patient,sample,path,age\nP1,T,a.h5,f\n",
            "patient,sample,path,sex\nP1,N,a.h5,f\n",
            "patient,sample,path,sex\nP1,T,a.h5ad,f\n",
            "patient,path,sex\nP1,a.h5,f\n",
        ] {
            assert_ne!(
                before.facts("P1"),
                read(other).unwrap().facts("P1"),
                "{other}"
            );
        }
    }
}
