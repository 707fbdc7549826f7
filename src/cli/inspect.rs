//! `inspect` and `simulate`.

use std::path::Path;

use clcc_stages::simulate::geo;
use clcc_stages::stage::Progress;
use clcc_stages::table::TextTable;
use serde_json::{Map, Value, json};

use super::args::{Format, SimulateArgs};
use super::error::{CliError, exit};

/// Rows of a table that are shown.
const HEAD: usize = 10;

fn stage_error(e: &clcc_stages::StageError) -> CliError {
    CliError::from_error(exit::INVALID, e).with_hint(e.hint().map(str::to_string))
}

pub(super) fn inspect(path: &Path, format: Format) -> Result<i32, CliError> {
    if !path.exists() {
        return Err(CliError::new(
            exit::USAGE,
            format!("there is no `{}`", path.display()),
        ));
    }
    let document = if path.is_dir() {
        clcc_stages::anndata::describe(path).map_err(|e| stage_error(&e))?
    } else {
        match path.extension().and_then(|e| e.to_str()) {
            Some("h5ad") => clcc_stages::anndata::describe(path).map_err(|e| stage_error(&e))?,
            Some("tsv") => table(path)?,
            Some("safetensors") => tensors(path)?,
            // Artifacts in the cache have no extension: try what they can be.
            _ => tensors(path).or_else(|_| table(path))?,
        }
    };
    match format {
        Format::Json => println!(
            "{}",
            serde_json::to_string_pretty(&document).expect("plain values serialise")
        ),
        Format::Human => print_value(&document, 0),
    }
    Ok(exit::OK)
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
fn print_value(value: &Value, depth: usize) {
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

pub(super) fn simulate(args: &SimulateArgs) -> Result<i32, CliError> {
    if args.like != "gse131907" {
        let message = format!("--like {}: expected `gse131907`", args.like);
        return Err(CliError::new(exit::USAGE, message));
    }
    let taken = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        let message = format!("`{}` is not empty; nothing was written", args.out.display());
        return Err(CliError::new(exit::USAGE, message));
    }
    let mut params = geo::default_params();
    if let Some(genes) = args.genes {
        params.n_genes = genes;
    }
    let said = geo::write_file_set(&args.out, &params, args.seed, args.scale, &Lines)
        .map_err(|e| stage_error(&e))?;
    print_value(&Value::Object(said), 0);
    println!("wrote {}", args.out.display());
    Ok(exit::OK)
}

/// One line a patient.
struct Lines;

impl Progress for Lines {
    fn step(&self, done: u64, total: u64, message: &str) {
        eprintln!("({done:>2}/{total}) {message}");
    }

    fn warn(&self, message: &str) {
        eprintln!("warning: {message}");
    }
}
