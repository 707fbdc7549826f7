//! `inspect`: what is in an artifact, a result or an input, and where it comes from.

use std::path::Path;

use clcc_stages::table::TextTable;
use serde_json::{Map, Value, json};

use super::args::Format;
use super::error::{CliError, exit};
use super::provenance::provenance;

/// Rows of a table that are shown.
const HEAD: usize = 10;

pub(super) fn stage_error(e: &clcc_stages::StageError) -> CliError {
    CliError::from_error(exit::INVALID, e).with_hint(e.hint().map(str::to_string))
}

pub(super) fn inspect(path: &Path, format: Format) -> Result<i32, CliError> {
    if !path.exists() {
        return Err(CliError::new(
            exit::USAGE,
            format!("there is no `{}`", path.display()),
        ));
    }
    let mut document = describe(path)?;
    if let (Value::Object(map), Some(from)) = (&mut document, provenance(path)) {
        map.insert("provenance".into(), from);
    }
    match format {
        Format::Json => println!(
            "{}",
            serde_json::to_string_pretty(&document).expect("plain values serialise")
        ),
        Format::Human => print_value(&document, 0),
    }
    Ok(exit::OK)
}

fn describe(path: &Path) -> Result<Value, CliError> {
    let anndata = || clcc_stages::anndata::describe(path).map_err(|e| stage_error(&e));
    if path.is_dir() {
        let is_store = ["zarr.json", ".zgroup", ".zattrs"]
            .iter()
            .any(|n| path.join(n).is_file());
        return if is_store { anndata() } else { folder(path) };
    }
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let ends = |ending: &str| name.ends_with(ending);
    if ends(".h5ad") || ends(".h5") {
        return anndata();
    }
    if ends(".safetensors") {
        return tensors(path);
    }
    if ends(".gz") || [".txt", ".csv", ".mtx"].iter().any(|e| ends(e)) {
        return clcc_stages::ingest::preview(path).map_err(|e| stage_error(&e));
    }
    if ends(".tsv") {
        return table(path);
    }
    // Artifacts in the cache have no extension: try what they can be.
    tensors(path)
        .or_else(|_| table(path))
        .or_else(|_| anndata())
        .or_else(|_| clcc_stages::ingest::preview(path).map_err(|e| stage_error(&e)))
}

/// Each file of a folder.
fn folder(path: &Path) -> Result<Value, CliError> {
    let wrong = |e: std::io::Error| {
        CliError::new(
            exit::INVALID,
            format!("cannot read `{}`: {e}", path.display()),
        )
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        files.push(entry.map_err(wrong)?.path());
    }
    files.sort();
    let mut shown = Map::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let value = if file.is_dir() {
            json!("a folder")
        } else {
            describe(&file).unwrap_or_else(|e| json!(e.message))
        };
        shown.insert(name.into_owned(), value);
    }
    Ok(Value::Object(shown))
}

fn table(path: &Path) -> Result<Value, CliError> {
    let table = TextTable::read(path).map_err(|e| stage_error(&e))?;
    let head: Vec<Value> = table
        .rows
        .iter()
        .take(HEAD)
        .map(|r| json!(r.join("  ")))
        .collect();
    Ok(
        json!({"notes": table.notes, "columns": table.header.join("  "), "n_rows": table.rows.len(), "head": head}),
    )
}

fn tensors(path: &Path) -> Result<Value, CliError> {
    let wrong = |e: &dyn std::error::Error| CliError::from_error(exit::INVALID, e);
    let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| wrong(&e))?;
    let mut names = file.names();
    names.sort_unstable();
    let shapes: Map<String, Value> = names
        .into_iter()
        .filter_map(|n| {
            file.tensor(n).ok().map(|t| {
                (
                    n.to_string(),
                    json!(format!("{:?} {:?}", t.dtype(), t.shape())),
                )
            })
        })
        .collect();
    Ok(json!({ "tensors": shapes }))
}

/// Nested names with their values, indented.
pub(super) fn print_value(value: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, v) in map {
                match v {
                    Value::Object(m) if m.values().all(|x| !x.is_object() && !x.is_array()) => {
                        let text: Vec<String> = m
                            .iter()
                            .map(|(k, x)| format!("{k} {}", scalar(x)))
                            .collect();
                        println!("{pad}{key}: {}", text.join(", "));
                    }
                    Value::Object(_) | Value::Array(_) => {
                        println!("{pad}{key}:");
                        print_value(v, depth + 1);
                    }
                    other => println!("{pad}{key}: {}", scalar(other)),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| print_value(v, depth)),
        other => println!("{pad}{}", scalar(other)),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}
