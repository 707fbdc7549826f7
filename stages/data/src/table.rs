//! Result tables as TSV: `#` lines that state what the table is and how each number was made,
//! a header, rows.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{StageError, StageResult};
use crate::frame::{Frame, is_missing};

/// A number as the tables print it: shortest text that reads back to the same f64;
/// `NA` for NaN.
pub fn number(x: f64) -> String {
    if x.is_nan() {
        "NA".to_string()
    } else if x == 0.0 {
        "0".to_string()
    } else if (1e-4..1e15).contains(&x.abs()) {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

/// A number as people read it: `digits` significant ones (at least 3), without zeros at the end; whole numbers
/// below a million whole, and what is below a thousandth or above a million by its exponent.
pub fn shortened(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".to_string();
    }
    let size = x.abs();
    if x.fract() == 0.0 && size < 1e6 {
        return format!("{x}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{x:.*e}", digits - 2);
    }
    let exponent: i32 = format!("{size:e}")
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{x:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// Writes `frame` as TSV. The row names are the first column, named `index_name`; `notes` become
/// `# ` lines above the header.
///
/// # Errors
/// [`StageError::Io`] where the file cannot be written.
pub fn write_tsv(path: &Path, index_name: &str, frame: &Frame, notes: &[&str]) -> StageResult<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(StageError::creating(parent))?;
    }
    std::fs::write(path, tsv(index_name, frame, notes)).map_err(StageError::writing(path))
}

/// The text that [`write_tsv`] writes.
#[must_use]
pub fn tsv(index_name: &str, frame: &Frame, notes: &[&str]) -> String {
    let mut text = String::new();
    for note in notes {
        let _ = writeln!(text, "# {}", clean(note));
    }
    text.push_str(index_name);
    for name in frame.columns.keys() {
        text.push('\t');
        text.push_str(&clean(name));
    }
    text.push('\n');
    for row in 0..frame.len() {
        text.push_str(&clean(&frame.index[row]));
        for column in frame.columns.values() {
            text.push('\t');
            text.push_str(&clean(&column.text(row)));
        }
        text.push('\n');
    }
    text
}

fn clean(value: &str) -> String {
    value.replace(['\t', '\n', '\r'], " ")
}

/// A TSV read back: notes, header, rows of text.
///
/// ```
/// use clcc_data::frame::{Column, Frame};
/// use clcc_data::table::{TextTable, write_tsv};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// # let dir = tempfile::tempdir().expect("a folder");
/// # let path = dir.path().join("genes.tsv");
/// let mut genes = Frame::new(vec!["TP53".into(), "MYC".into()]);
/// genes.set("log2_fold_change", Column::F64(vec![-1.25, f64::NAN]));
/// write_tsv(&path, "gene", &genes, &["log2 of tumour over normal"])?;
///
/// let table = TextTable::read(&path)?;
/// assert_eq!(table.notes, ["log2 of tumour over normal"]);
/// assert_eq!(table.texts("log2_fold_change")?, ["-1.25", ""]);
/// assert_eq!(table.numbers("log2_fold_change")?[0], -1.25);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextTable {
    /// The `#` lines, without the mark.
    pub notes: Vec<String>,
    /// Column names, the row name's column first.
    pub header: Vec<String>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl TextTable {
    /// Reads what [`write_tsv`] wrote, or another program: a byte order mark and blank lines are passed over.
    ///
    /// # Errors
    /// [`StageError::Io`], or [`StageError::Format`] where a row's length is not the header's.
    pub fn read(path: &Path) -> StageResult<Self> {
        let text = std::fs::read_to_string(path).map_err(StageError::reading(path))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut table = Self::default();
        for (number, line) in text.lines().enumerate() {
            // Of one column a blank line is a row.
            if line.is_empty() && table.header.len() != 1 {
                continue;
            }
            if let Some(note) = line.strip_prefix('#') {
                table.notes.push(note.trim_start().to_string());
                continue;
            }
            let fields: Vec<String> = line.split('\t').map(str::to_string).collect();
            if table.header.is_empty() {
                table.header = fields;
            } else if fields.len() == table.header.len() {
                table.rows.push(fields);
            } else {
                return Err(StageError::format(
                    path,
                    format!("line {}", number + 1),
                    format!(
                        "expected {} fields, found {}",
                        table.header.len(),
                        fields.len()
                    ),
                ));
            }
        }
        Ok(table)
    }

    /// The position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h == name)
    }

    /// A column as text.
    ///
    /// # Errors
    /// [`StageError::Data`] where there is no such column.
    pub fn texts(&self, name: &str) -> StageResult<Vec<&str>> {
        let at = self.position(name).ok_or_else(|| {
            StageError::data(format!(
                "no column `{name}`; the columns are `{}`",
                self.header.join("`, `")
            ))
        })?;
        Ok(self.rows.iter().map(|r| r[at].as_str()).collect())
    }

    /// A column as numbers; what [`is_missing`] says is NaN.
    ///
    /// # Errors
    /// As [`TextTable::texts`], and where a value is no number.
    pub fn numbers(&self, name: &str) -> StageResult<Vec<f64>> {
        self.texts(name)?
            .into_iter()
            .map(|t| match t {
                t if is_missing(t) => Ok(f64::NAN),
                t => t.parse().map_err(|_| {
                    StageError::data(format!("column `{name}`: expected a number, found `{t}`"))
                }),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_other_programs_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.tsv");
        std::fs::write(
            &path,
            "\u{feff}# a note\r\n\r\nname\tx\r\na\t1\r\nb\tnull\r\nc\tN/A\r\n\r\n",
        )
        .unwrap();
        let table = TextTable::read(&path).unwrap();
        assert_eq!((table.notes.len(), table.rows.len()), (1, 3));
        assert_eq!(table.texts("name").unwrap(), ["a", "b", "c"]);
        let x = table.numbers("x").unwrap();
        assert!(x[0] == 1.0 && x[1].is_nan() && x[2].is_nan());
    }

    #[test]
    fn a_name_of_a_column_breaks_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.tsv");
        let mut frame = Frame::new(vec!["a".into()]);
        frame.set("odd\tname\n", crate::frame::Column::I64(vec![1]));
        write_tsv(&path, "row", &frame, &[]).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "row\todd name \na\t1\n"
        );
    }
}
