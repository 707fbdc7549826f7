//! The start of a text file, for `inspect`.

use std::path::Path;

use serde_json::{Value, json};

use super::geo;
use super::text::Lines;
use clcc_data::error::StageResult;

/// Lines and fields that are shown.
const ROWS: usize = 6;
const FIELDS: usize = 8;

/// The first rows and fields of a text (plain or gzip), what separates the fields, and how many the
/// first row has. Reads no further, so it is quick on any size.
///
/// # Errors
/// [`clcc_data::StageError`] where the file cannot be read, is cut off, or is no text.
pub fn preview(path: &Path) -> StageResult<Value> {
    let mut lines = Lines::open(path)?;
    let mut head = Vec::new();
    let mut separator = b'\t';
    let mut n_fields = 0;
    while head.len() < ROWS {
        let Some(line) = lines.next()? else { break };
        if head.is_empty() {
            separator = geo::separator(line);
            n_fields = line.split(|b| *b == separator).count();
        }
        let shown: Vec<String> = line
            .split(|b| *b == separator)
            .take(FIELDS)
            .map(|f| String::from_utf8_lossy(f).into_owned())
            .collect();
        let more = if n_fields > FIELDS { "  ..." } else { "" };
        head.push(format!("{}{more}", shown.join("  ")));
    }
    let separator = match separator {
        b',' => "comma",
        b';' => "semicolon",
        b' ' => "blank",
        _ => "tab",
    };
    Ok(json!({"separator": separator, "fields": n_fields, "head": head}))
}
