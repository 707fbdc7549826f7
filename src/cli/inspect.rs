//! `inspect`: what is in an artifact, a result or an input, and where it comes from.

use std::path::Path;

use clcc_cache::read_plain_linked;
use clcc_stages::anndata::is_zarr;
use clcc_stages::table::{TextTable, shortened};
use serde_json::{Map, Value, json};

use super::args::Format;
use super::error::{CliError, exit};
use super::provenance::provenance;

/// Rows of a table that are shown.
const HEAD: usize = 10;

/// Significant digits of the numbers that are shown.
const DIGITS: usize = 6;

/// Characters of a field that are shown.
const WIDEST: usize = 60;

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
        Format::Json => super::out::json(&document),
        Format::Human => print_value(&cut(document), 0),
    }
    Ok(exit::OK)
}

/// Reads the head of an input: the layout of AnnData and 10x HDF5, the first lines of a text. A folder of
/// other files is not looked into.
pub(super) fn opens(path: &Path, format: Option<&str>) -> Result<(), CliError> {
    is_file_or_folder(path)?;
    let name = path.to_string_lossy().to_lowercase();
    let in_store = match format {
        Some("h5ad" | "zarr" | "10x_h5") => true,
        Some(_) => false,
        None => is_zarr(path) || [".h5ad", ".h5"].iter().any(|e| name.ends_with(e)),
    };
    let head = if in_store {
        clcc_stages::anndata::describe(path)
    } else if path.is_dir() {
        return Ok(());
    } else {
        clcc_stages::ingest::preview(path)
    };
    head.map(|_| ()).map_err(|e| stage_error(&e))
}

/// Reads a gene table as a run does, up to some size; of a larger one the head.
pub(super) fn reads_genes(path: &Path) -> Result<(), CliError> {
    const WHOLE: u64 = 32 << 20;
    is_file_or_folder(path)?;
    if size_of(path)? > WHOLE {
        return opens(path, None);
    }
    let read = clcc_stages::genome::GeneTable::read(path);
    read.map(|_| ()).map_err(|e| stage_error(&e))
}

/// Whether an input can be read at all: no pipe or device.
pub(super) fn is_file_or_folder(path: &Path) -> Result<(), CliError> {
    let kind = std::fs::metadata(path).map_err(unreadable(path))?;
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    let message = format!("`{}` is neither a file nor a folder", path.display());
    Err(CliError::new(exit::INVALID, message))
}

fn describe(path: &Path) -> Result<Value, CliError> {
    let anndata = || clcc_stages::anndata::describe(path).map_err(|e| stage_error(&e));
    if path.is_dir() {
        return if is_zarr(path) {
            anndata()
        } else {
            folder(path)
        };
    }
    is_file_or_folder(path)?;
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
    if ends(".json") {
        return json_document(path);
    }
    if ends(".html") {
        return Ok(json!({"format": "a page for a browser", "bytes": size_of(path)?}));
    }
    // Artifacts in the cache have no extension: try what they can be.
    if let Some(shown) = archive(path)? {
        return Ok(shown);
    }
    tensors(path)
        .or_else(|_| table(path))
        .or_else(|_| anndata())
        .or_else(|_| clcc_stages::ingest::preview(path).map_err(|e| stage_error(&e)))
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    move |e| {
        CliError::new(
            exit::INVALID,
            format!("cannot read `{}`: {e}", path.display()),
        )
    }
}

fn size_of(path: &Path) -> Result<u64, CliError> {
    Ok(std::fs::metadata(path).map_err(unreadable(path))?.len())
}

fn json_document(path: &Path) -> Result<Value, CliError> {
    let bytes = read_plain_linked(path).map_err(unreadable(path))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        CliError::new(
            exit::INVALID,
            format!("`{}`: expected JSON, found {e}", path.display()),
        )
    })
}

/// Lists of more than [`HEAD`] items by their first ones and how many there are.
fn cut(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let n = items.len();
            let mut shown: Vec<Value> = items.into_iter().take(HEAD).map(cut).collect();
            if n > HEAD {
                shown.push(json!(format!("... {n} in all")));
            }
            Value::Array(shown)
        }
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, cut(v))).collect(),
        other => other,
    }
}

/// Each file of a folder that the cache keeps as an archive; `None` where `path` is none, or an AnnData store, which is
/// read as it is.
fn archive(path: &Path) -> Result<Option<Value>, CliError> {
    let dir = tempfile::tempdir().map_err(unreadable(path))?;
    match clcc_cache::unpack_unless(path, "zarr.json", dir.path()) {
        Ok(true) => folder(dir.path()).map(Some),
        Ok(false) => Ok(None),
        Err(e) => Err(CliError::from_error(exit::INVALID, &e)),
    }
}

/// Each file of a folder.
fn folder(path: &Path) -> Result<Value, CliError> {
    let wrong = unreadable(path);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(&wrong)? {
        files.push(entry.map_err(&wrong)?.path());
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
    let bytes = read_plain_linked(path).map_err(|e| wrong(&e))?;
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

/// Nested names with their values, indented; numbers shortened, rows of tables in columns.
pub(super) fn print_value(value: &Value, depth: usize) {
    for line in lines(value, depth) {
        say!("{line}");
    }
}

fn lines(value: &Value, depth: usize) -> Vec<String> {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, v)| match (v, inline(v)) {
                (Value::Array(rows), _) if key == "head" => {
                    let mut out = vec![format!("{pad}{key}:")];
                    out.extend(aligned(rows).iter().map(|r| format!("{pad}  {r}")));
                    out
                }
                (_, Some(text)) => vec![format!("{pad}{key}: {text}")],
                (v, None) => {
                    let mut out = vec![format!("{pad}{key}:")];
                    out.extend(lines(v, depth + 1));
                    out
                }
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|v| item(v, depth)).collect(),
        other => vec![format!("{pad}{}", scalar(other))],
    }
}

/// A value of a list: what has names of its own begins with a dash.
fn item(value: &Value, depth: usize) -> Vec<String> {
    let mut out = lines(value, depth + usize::from(value.is_object()));
    if let Some(first) = out.first_mut().filter(|_| value.is_object()) {
        *first = format!("{}- {}", "  ".repeat(depth), first.trim_start());
    }
    out
}

/// The value on one line: a scalar, a list of numbers (a shape), or names with such values.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_number) => {
            Some(items.iter().map(scalar).collect::<Vec<_>>().join(" x "))
        }
        Value::Object(map) if map.values().all(|v| !v.is_object()) => map
            .iter()
            .map(|(k, v)| Some(format!("{k} {}", inline(v)?)))
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.join(", ")),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(scalar(other)),
    }
}

/// Rows whose cells two spaces part, each column as wide as its widest cell.
fn aligned(rows: &[Value]) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|r| scalar(r).split("  ").map(short).collect())
        .collect();
    let n = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width: Vec<usize> = (0..n)
        .map(|c| {
            let cells = rows.iter().filter_map(|r| r.get(c));
            let widest = cells.map(|v| v.chars().count()).max();
            widest.unwrap_or(0).min(WIDEST)
        })
        .collect();
    rows.iter()
        .map(|r| {
            let cells: Vec<String> = r
                .iter()
                .zip(&width)
                .map(|(v, &w)| format!("{v:w$}"))
                .collect();
            cells.join("  ").trim_end().to_string()
        })
        .collect()
}

/// A number with more than six digits as one with six; any other text as it is, or its start.
fn short(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && text.contains(['.', 'e']) => shortened(v, DIGITS),
        _ if text.chars().count() > WIDEST => {
            let start: String = text.chars().take(WIDEST - 1).collect();
            format!("{start}…")
        }
        _ => text.to_string(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Number(n) if n.is_f64() => shortened(n.as_f64().unwrap_or(f64::NAN), DIGITS),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads_is_short() {
        for (value, wanted) in [
            (json!(0.012445563471622909), "0.0124456"),
            (json!(-0.0), "0"),
            (json!(1234.5), "1234.5"),
            (json!(1_500_000), "1500000"),
            (json!(2.0e-7), "2.0000e-7"),
            (json!(99999.96), "100000"),
            (json!("0.5000000001"), "0.5000000001"),
        ] {
            assert_eq!(scalar(&value), wanted);
        }
        let matrix = json!({"X": {"shape": [1500, 50], "layout": "dense", "density": 1.0}});
        assert_eq!(
            lines(&matrix, 1),
            ["  X: shape 1500 x 50, layout dense, density 1"]
        );
        let list = json!([{"id": "a", "needs": [], "more": {"x": {"y": 1}}}, {"id": "b"}]);
        assert_eq!(
            lines(&list, 0),
            ["- id: a", "  needs:", "  more:", "    x: y 1", "- id: b"]
        );
        let long = json!({"head": [format!("a  {}  x", "y".repeat(70_000))]});
        assert_eq!(
            lines(&long, 0)[1],
            format!("  a  {}…  x", "y".repeat(WIDEST - 1))
        );
        let table = json!({"head": ["a  0.123456789  x", "longer  2  y"]});
        assert_eq!(
            lines(&table, 0),
            ["head:", "  a       0.123457  x", "  longer  2         y"]
        );
    }
}
