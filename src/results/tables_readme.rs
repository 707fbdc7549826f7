//! `tables/README.md`: what each table of the results holds, in one line.

use std::collections::BTreeMap;

use crate::registry::kinds;

/// The lines for the published tables, by the declarations of the stage kinds; `None` where no table is published. Tables of
/// one name, of several patients, are one line.
pub(super) fn tables_readme<'a>(files: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut lines: BTreeMap<String, (usize, Option<&'static str>)> = BTreeMap::new();
    for file in files {
        let Some(name) = file.strip_prefix("tables/").filter(|n| n.ends_with(".tsv")) else {
            continue;
        };
        let (shown, about) = line(name);
        lines.entry(shown).or_insert((0, about)).0 += 1;
    }
    if lines.is_empty() {
        return None;
    }
    let mut out = "# Tables\n\nOne line for each table; lines of a table that begin with `#` say how its numbers were made. \
                   `clcc-flow schema --tables` lists the columns.\n\n"
        .to_string();
    for (name, (n, about)) in lines {
        let about = about.unwrap_or("Its own `#` lines say what it holds.");
        let several = if n > 1 {
            format!(" ({n} files)")
        } else {
            String::new()
        };
        out.push_str(&format!(
            "- `{name}`{several}: {}\n",
            about.trim().replace('\n', " ")
        ));
    }
    Some(out)
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
        let files = [
            "report.html",
            "tables/dosage_genes.tsv",
            "tables/qc_checks.P1.tsv",
            "tables/qc_checks.P2.tsv",
            "tables/new.tsv",
            "tables/dosage_clones.h5ad",
        ];
        let text = tables_readme(files.into_iter()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("- ")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[0],
            "- `dosage_genes.tsv`: Dosage sensitivity of each gene."
        );
        assert_eq!(
            lines[1],
            "- `new.tsv`: Its own `#` lines say what it holds."
        );
        assert!(
            lines[2].starts_with("- `qc_checks.*.tsv` (2 files): "),
            "{}",
            lines[2]
        );
        assert_eq!(tables_readme(files.into_iter().take(1)), None);
    }
}
