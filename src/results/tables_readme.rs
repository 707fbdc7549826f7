//! `tables/README.md`: what each table of the results holds, in one line.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use clcc_cache::open_plain;

use crate::registry::kinds;

const HEAD: &str = "# Tables\n\nOne line for each table; lines of a table that begin with `#` say how its numbers were made. \
                    `clcc-flow schema --tables` lists the columns.";

/// Whether a text was written by [`tables_readme`].
pub(super) fn is_ours(text: &[u8]) -> bool {
    text.starts_with(HEAD.as_bytes())
}

/// The lines for the tables published in `dir`, by the declarations of the stage kinds, else by the first `#` line of the
/// table; `None` where no table is published. Tables of one name, of several patients, are one line.
pub(super) fn tables_readme<'a>(
    dir: &Path,
    files: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let mut lines: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
    for file in files {
        let Some(name) = file.strip_prefix("tables/").filter(|n| n.ends_with(".tsv")) else {
            continue;
        };
        let (shown, about) = line(name);
        let about = about.map(str::to_string);
        let about = about.or_else(|| first_note(&dir.join(file)));
        lines.entry(shown).or_insert((0, about)).0 += 1;
    }
    if lines.is_empty() {
        return None;
    }
    let mut out = format!("{HEAD}\n\n");
    for (name, (n, about)) in lines {
        let about = about.unwrap_or_default();
        let several = if n > 1 {
            format!(" ({n} files)")
        } else {
            String::new()
        };
        let about = about.trim().replace('\n', " ");
        out.push_str(&format!("- `{name}`{several}: {about}\n"));
    }
    Some(out)
}

/// What the first line of a table says where it begins with `#`.
fn first_note(path: &Path) -> Option<String> {
    const MOST: u64 = 1_000;
    let file = open_plain(path).ok()?;
    let mut first = String::new();
    BufReader::new(file.take(MOST)).read_line(&mut first).ok()?;
    let note = first.strip_prefix('#')?.trim();
    (!note.is_empty()).then(|| note.to_string())
}

/// Name and meaning of a table: a member of a fan-out, `qc_checks.P1.tsv`, goes by `qc_checks.*.tsv`.
fn line(name: &str) -> (String, Option<&'static str>) {
    let specs = || kinds().iter().flat_map(|k| k.tables);
    if let Some(spec) = specs().find(|s| s.file == name) {
        return (name.to_string(), Some(spec.about));
    }
    let stem = name.strip_suffix(".tsv").unwrap_or(name);
    // The longest declared name that the file's begins with.
    let of_fan = specs()
        .filter(|s| {
            stem.strip_prefix(s.name())
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .max_by_key(|s| s.name().len());
    if let Some(spec) = of_fan {
        return (format!("{}.*.tsv", spec.name()), Some(spec.about));
    }
    let member = specs().find(|s| s.is_file(name));
    (name.to_string(), member.map(|s| s.about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tables")).unwrap();
        std::fs::write(dir.path().join("tables/new.tsv"), "# what it is\na\tb\n").unwrap();
        let files = [
            "report.html",
            "tables/dosage_genes.tsv",
            "tables/qc_checks.P1.tsv",
            "tables/qc_checks.P2.tsv",
            "tables/new.tsv",
            "tables/dosage_clones.h5ad",
        ];
        let text = tables_readme(dir.path(), files.into_iter()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("- ")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(is_ours(text.as_bytes()) && !is_ours(b"# Tables of mine"));
        assert_eq!(
            lines[0],
            "- `dosage_genes.tsv`: Dosage sensitivity of each gene."
        );
        assert_eq!(lines[1], "- `new.tsv`: what it is");
        assert!(
            lines[2].starts_with("- `qc_checks.*.tsv` (2 files): "),
            "{}",
            lines[2]
        );
        assert_eq!(tables_readme(dir.path(), files.into_iter().take(1)), None);
    }
}
