//! The data dictionary: the tables of every kind, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Kind;
use crate::results::JobUse;
use clcc_stages::tables::{ColumnSpec, Row as _, TableSpec};

/// Tables of the run itself, next to `run.json`, and the name of their part.
const OF_THE_RUN: (&str, &[TableSpec]) = ("the run", &[JobUse::SPEC]);

const HEAD: &str = "\
# Result tables

The tables in `results/<workflow>/tables` and the history next to the model, by the stage kind that writes them. \
Written by `clcc-flow schema --tables`; as JSON with `--format json`.

Lines that begin with `#` say how the numbers were made. A row is what the table's first sentence says, and its first \
column names it. A missing value is empty, and an optional column is left out where no row has a value. A name with \
`<...>` stands for several columns, named by the data. Of a stage that runs once per patient, the patient's name \
stands before the extension: `qc_checks.P0006.tsv`.
";

/// The dictionary of all kinds as Markdown, which reads as plain text; of one kind, its part.
pub fn tables_as_text(kinds: &[Kind], only: Option<&str>) -> String {
    let mut out = String::new();
    if only.is_none() {
        out.push_str(HEAD);
    }
    for (name, tables) in chosen(kinds, only) {
        let _ = write!(out, "\n## {name}\n");
        for table in tables {
            let _ = write!(out, "\n### {}\n\n{}\n\n", table.file, table.about.trim());
            table
                .columns
                .iter()
                .for_each(|c| column_as_text(&mut out, c));
        }
    }
    out.trim_start().to_string()
}

fn column_as_text(out: &mut String, column: &ColumnSpec) {
    let _ = write!(out, "- `{}`: {}", column.name, column.kind);
    if !column.unit.is_empty() {
        let _ = write!(out, " ({})", column.unit);
    }
    if column.is_family() {
        out.push_str(", several columns");
    } else if column.optional {
        out.push_str(", optional");
    }
    let _ = writeln!(out, ". {}", column.about.trim());
}

/// The same as a document: a list of tables, each with its kind, file, meaning and columns.
pub fn tables_as_json(kinds: &[Kind], only: Option<&str>) -> Value {
    let tables = chosen(kinds, only).flat_map(|(name, tables)| {
        let table = move |table: &TableSpec| {
            json!({
                "kind": name,
                "file": table.file,
                "about": table.about.trim(),
                "columns": table.columns.iter().map(column_as_json).collect::<Vec<_>>(),
            })
        };
        tables.iter().map(table)
    });
    json!({"tables": tables.collect::<Vec<_>>()})
}

fn column_as_json(column: &ColumnSpec) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "unit": Some(column.unit).filter(|unit| !unit.is_empty()),
        "optional": column.optional,
        "several": column.is_family(),
        "about": column.about.trim(),
    })
}

/// Parts of the dictionary: each kind with tables, and the run; or one of them.
fn chosen<'a>(
    kinds: &'a [Kind],
    only: Option<&'a str>,
) -> impl Iterator<Item = (&'static str, &'static [TableSpec])> + 'a {
    let of_kinds = kinds.iter().map(|kind| (kind.name, kind.tables));
    let has_tables = |part: &(&str, &[TableSpec])| !part.1.is_empty();
    let all = of_kinds.chain([OF_THE_RUN]).filter(has_tables);
    all.filter(move |part| only.is_none_or(|name| part.0 == name))
}
