//! The annotation table: one row per cell, in any order, tab- or comma-separated, plain or gzip.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use super::text;
use crate::anndata::list;
use crate::error::{StageError, StageResult};
use crate::frame::{Categorical, Column, Frame};

/// Reads the table; the column `cell_id` becomes the index. Where no column has that name and the
/// first has none (as R and pandas write row names), the first is taken.
///
/// Columns are typed over the whole table: whole numbers, numbers, flags, and else text, as a
/// category where at most half of the values are distinct. Empty, `NA` and `NaN` are missing.
///
/// # Errors
/// [`StageError::Format`] with the line where a row's length is not the header's or a cell id
/// comes twice, and where there is no such column.
pub(super) fn read(path: &Path, cell_id: &str) -> StageResult<Frame> {
    let (header, rows) = fields(path)?;
    let id = match header.iter().position(|h| h == cell_id) {
        Some(id) => id,
        None if header[0].is_empty() => 0,
        None => {
            let message = format!(
                "no column `{cell_id}` of cell ids; the columns are {}",
                list(&header)
            );
            return Err(StageError::format(path, "line 1", message));
        }
    };
    if let Some(twice) = duplicate(&header) {
        return Err(StageError::format(
            path,
            "line 1",
            format!("two columns are named `{twice}`"),
        ));
    }
    let mut lines: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
    for (row, fields) in rows.iter().enumerate() {
        if let Some(before) = lines.insert(&fields[id], row) {
            let message = format!("cell id `{}` is also on line {}", &fields[id], before + 2);
            return Err(StageError::format(
                path,
                format!("line {}", row + 2),
                message,
            ));
        }
    }
    let mut frame = Frame::new(rows.iter().map(|f| f[id].to_string()).collect());
    for (at, name) in header.iter().enumerate().filter(|(at, _)| *at != id) {
        let values: Vec<&str> = rows.iter().map(|f| &f[at]).collect();
        frame.set(name, typed(&values));
    }
    Ok(frame)
}

fn fields(path: &Path) -> StageResult<(Vec<String>, Vec<csv::StringRecord>)> {
    let mut bytes = Vec::new();
    text::open(path, &Default::default())?
        .read_to_end(&mut bytes)
        .map_err(|e| StageError::format(path, "", format!("cannot unpack or read: {e}")))?;
    if let Some(what) = text::no_text(&bytes) {
        return Err(StageError::format(path, "", what));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let first = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())];
    let delimiter = if first.contains(&b'\t') { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut records = Vec::new();
    for (line, record) in reader.records().enumerate() {
        records.push(
            record.map_err(|e| {
                StageError::format(path, format!("line {}", line + 1), e.to_string())
            })?,
        );
    }
    if records.is_empty() {
        return Err(StageError::format(
            path,
            "",
            "expected a header and one row per cell, found an empty file",
        ));
    }
    let mut header: Vec<String> = records.remove(0).iter().map(str::to_string).collect();
    // R leaves out the name of the row names.
    if !records.is_empty() && records.iter().all(|r| r.len() == header.len() + 1) {
        header.insert(0, String::new());
    }
    for (row, record) in records.iter().enumerate() {
        if record.len() != header.len() {
            let message = format!("expected {} fields, found {}", header.len(), record.len());
            return Err(StageError::format(
                path,
                format!("line {}", row + 2),
                message,
            ));
        }
    }
    Ok((header, records))
}

fn duplicate(names: &[String]) -> Option<&String> {
    let mut seen = HashSet::new();
    names.iter().find(|n| !seen.insert(n.as_str()))
}

fn typed(values: &[&str]) -> Column {
    let missing = |v: &str| matches!(v, "" | "NA" | "NaN" | "nan");
    let known = || values.iter().copied().filter(|v| !missing(v));
    let any = known().next().is_some();
    let none_missing = known().count() == values.len();
    // `007` is a name.
    let whole = |v: &str| v.parse::<i64>().ok().filter(|n| n.to_string() == v);
    if any && none_missing && known().all(|v| whole(v).is_some()) {
        return Column::I64(known().filter_map(whole).collect());
    }
    let number = |v: &str| {
        let leading_zero =
            v.len() > 1 && v.starts_with('0') && v.bytes().all(|b| b.is_ascii_digit());
        if leading_zero {
            None
        } else {
            v.parse::<f64>().ok()
        }
    };
    if any && known().all(|v| number(v).is_some()) {
        return Column::F64(
            values
                .iter()
                .map(|v| {
                    if missing(v) {
                        f64::NAN
                    } else {
                        number(v).unwrap_or(f64::NAN)
                    }
                })
                .collect(),
        );
    }
    let flag = |v: &str| match v {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    };
    if any && none_missing && known().all(|v| flag(v).is_some()) {
        return Column::Bool(known().filter_map(flag).collect());
    }
    let texts: Vec<&str> = values
        .iter()
        .map(|v| if missing(v) { "" } else { v })
        .collect();
    let distinct: HashSet<&str> = texts.iter().copied().collect();
    if distinct.len() * 2 <= texts.len() {
        Column::Category(Categorical::from_values(&texts))
    } else {
        Column::Str(texts.iter().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> StageResult<Frame> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        read(&path, "Index")
    }

    #[test]
    fn columns_get_the_type_of_all_their_values() {
        let f = table(
            "Index\tSample\tn\tscore\tflag\tsub\tcode\nc1\tA\t1\t0.5\tTRUE\tx\t007\nc2\tA\t-2\tNA\tFALSE\t\t010\nc3\tB\t3\t1e3\tTRUE\tx\t011\nc4\tB\t4\t2\tTRUE\tNA\t012\n",
        )
        .unwrap();
        assert_eq!(f.index, ["c1", "c2", "c3", "c4"]);
        assert_eq!(f.columns["n"], Column::I64(vec![1, -2, 3, 4]));
        assert_eq!(
            f.columns["flag"],
            Column::Bool(vec![true, false, true, true])
        );
        let Column::F64(score) = &f.columns["score"] else {
            panic!("numbers")
        };
        assert!(score[1].is_nan() && score[2] == 1000.0);
        let Column::Category(sub) = &f.columns["sub"] else {
            panic!("a category")
        };
        assert_eq!(
            (sub.codes.as_slice(), sub.categories.as_slice()),
            (&[0, -1, 0, -1][..], &["x".to_string()][..])
        );
        assert_eq!(f.texts("code").unwrap(), ["007", "010", "011", "012"]);
        assert!(matches!(f.columns["Sample"], Column::Category(_)));
    }

    #[test]
    fn bom_crlf_commas_quotes_and_r_row_names_are_understood() {
        let f = table("\u{feff}Index,Cell_type\r\n\"c,1\",B cell\r\nc2,T cell\r\n").unwrap();
        assert_eq!(f.index, ["c,1", "c2"]);
        assert_eq!(f.texts("Cell_type").unwrap(), ["B cell", "T cell"]);
        let f = table("\"Sample\"\t\"n\"\n\"c1\"\t\"A\"\t1\n\"c2\"\t\"B\"\t2\n").unwrap();
        assert_eq!(f.index, ["c1", "c2"]);
        assert_eq!(f.texts("Sample").unwrap(), ["A", "B"]);
    }

    #[test]
    fn bad_tables_are_refused_with_their_line() {
        let message = |t: &str| table(t).unwrap_err().to_string();
        assert!(message("").contains("found an empty file"));
        assert!(message("Index\ta\nc1\t1\nc2\n").ends_with("line 3: expected 2 fields, found 1"));
        assert!(
            message("Index\ta\nc1\t1\nc1\t2\n").ends_with("line 3: cell id `c1` is also on line 2")
        );
        assert!(
            message("Cell\ta\nc1\t1\n")
                .ends_with("line 1: no column `Index` of cell ids; the columns are `Cell`, `a`")
        );
        assert!(message("Index\ta\ta\nc1\t1\t2\n").ends_with("two columns are named `a`"));
    }
}
