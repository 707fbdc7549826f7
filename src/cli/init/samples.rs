//! Several files: the table of samples that `init` reads or writes.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clcc_stages::ingest::Sheet;

use crate::cli::error::{CliError, exit};

/// Folders and files that every sample of Cell Ranger has, and that name none.
const NOT_NAMES: [&str; 11] = [
    "outs",
    "count",
    "counts",
    "per_sample_outs",
    "matrix",
    "filtered_feature_bc_matrix",
    "raw_feature_bc_matrix",
    "sample_filtered_feature_bc_matrix",
    "sample_raw_feature_bc_matrix",
    "filtered_gene_bc_matrices",
    "raw_gene_bc_matrices",
];

/// Whether a file is a table of samples: its first line has the columns `patient` and `path`.
pub(super) fn is_sheet(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    if !path.is_file() || ![".csv", ".tsv", ".txt"].iter().any(|e| name.ends_with(e)) {
        return false;
    }
    let mut start = vec![0u8; 4096];
    let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read(&mut f, &mut start));
    start.truncate(read.unwrap_or(0));
    let text = String::from_utf8_lossy(&start);
    let first = text
        .trim_start_matches('\u{feff}')
        .lines()
        .next()
        .unwrap_or_default();
    let columns: Vec<String> = first
        .split([',', ';', '\t'])
        .map(|c| c.trim().trim_matches('"').to_lowercase())
        .collect();
    ["patient", "path"]
        .iter()
        .all(|c| columns.iter().any(|found| found == c))
}

pub(super) fn read(path: &Path) -> Result<Sheet, CliError> {
    Sheet::read(path).map_err(super::stage_error)
}

/// The text of a table of samples in `sheet`: each file a patient of its own, named after it.
///
/// # Errors
/// Where a file is not there.
pub(super) fn sheet_of(
    files: &[PathBuf],
    sheet: &Path,
    format: Option<&str>,
) -> Result<String, CliError> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut text = String::from("patient,sample,path");
    text.push_str(if format.is_some() { ",format\n" } else { "\n" });
    let is_here = sheet
        .parent()
        .is_none_or(|folder| folder.as_os_str().is_empty());
    for file in files {
        if !file.exists() {
            let message = format!("there is no file `{}`", file.display());
            return Err(CliError::new(exit::USAGE, message));
        }
        let mut name = name_of(file);
        let again = taken.entry(name.clone()).or_default();
        *again += 1;
        if *again > 1 {
            name = format!("{name}_{again}");
        }
        // Paths are relative to the sheet.
        let path = match is_here {
            true => file.clone(),
            false => std::path::absolute(file).unwrap_or_else(|_| file.clone()),
        };
        let path = path.to_string_lossy().replace('"', "\"\"");
        text.push_str(&format!("{name},{name},\"{path}\""));
        text.push_str(&format.map_or("\n".to_string(), |f| format!(",{f}\n")));
    }
    Ok(text)
}

/// The last part of a path that tells it from those of other samples, as a name of files.
fn name_of(file: &Path) -> String {
    let parts: Vec<String> = file
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .collect();
    let stem = |part: &String| match part.split_once('.') {
        Some(("", _)) | None => part.clone(),
        Some((stem, _)) => stem.to_string(),
    };
    let stems: Vec<String> = parts.iter().map(stem).collect();
    let telling = stems
        .iter()
        .rev()
        .find(|s| !NOT_NAMES.contains(&s.to_lowercase().as_str()));
    let plain = |c: char| match c.is_ascii_alphanumeric() || "_-.".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = telling
        .map_or("sample", String::as_str)
        .chars()
        .map(plain)
        .collect();
    match name.trim_start_matches(['_', '-', '.']) {
        "" => "sample".to_string(),
        name => name.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_named_by_what_tells_them_apart() {
        for (path, name) in [
            ("P1/outs/filtered_feature_bc_matrix.h5", "P1"),
            ("runs/T 2/outs/filtered_feature_bc_matrix", "T_2"),
            ("data/Qian2020.Ovarian.h5ad", "Qian2020"),
            (
                "../x/per_sample_outs/S3/count/sample_filtered_feature_bc_matrix.h5",
                "S3",
            ),
            ("outs", "sample"),
        ] {
            assert_eq!(name_of(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn a_table_with_patients_and_paths_is_one_of_samples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.csv");
        for (text, expected) in [
            ("patient,path\nA,a\n", true),
            ("\u{feff}\"Path\";\"Patient\"\nA;a\n", true),
            ("gene,c1,c2\nTP53,1,0\n", false),
            ("patient,sample\nA,a\n", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(is_sheet(&path), expected, "{text}");
        }
        assert!(!is_sheet(dir.path()));
    }
}
