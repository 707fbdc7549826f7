//! The annotation table: one row per cell, in any order, tab-, comma- or semicolon-separated, plain or gzip.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::StringRecord;

use super::params::DEFAULT_CELL_ID;
use super::text;
use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame, LeftOut, is_missing};
use clcc_data::table;

/// The table as text.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// Where it stands in the file, from 1.
    line: u64,
    fields: StringRecord,
}

/// Cells by id with their typed columns.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) frame: Frame,
    pub(super) left_out: Vec<LeftOut>,
}

impl Table {
    /// Reads the table.
    ///
    /// # Errors
    /// [`StageError::Format`] with the line where it is no table in UTF-8, or a row's length is not the
    /// header's.
    pub(super) fn read(path: &Path) -> StageResult<Self> {
        let bytes = unpacked(path)?;
        let mut rows = records(path, &bytes)?;
        if rows.is_empty() {
            return Err(StageError::format(
                path,
                "",
                "expected a header and one row per cell, found an empty file",
            ));
        }
        let first = rows.remove(0);
        let mut header: Vec<String> = first.fields.iter().map(str::to_string).collect();
        let differs = |r: &Row| r.fields.len() != header.len();
        if header[0].starts_with('#') && (header.len() == 1 || rows.iter().any(differs)) {
            let message = format!(
                "expected the names of the columns, found the comment `{}`",
                header[0]
            );
            return Err(
                StageError::format(path, format!("line {}", first.line), message)
                    .or_hint("remove the lines that begin with `#`"),
            );
        }
        // R leaves out the name of the row names.
        if !rows.is_empty() && rows.iter().all(|r| r.fields.len() == header.len() + 1) {
            header.insert(0, String::new());
        }
        for row in &rows {
            if row.fields.len() != header.len() {
                let message = format!(
                    "expected {} fields, found {}",
                    header.len(),
                    row.fields.len()
                );
                return Err(StageError::format(
                    path,
                    format!("line {}", row.line),
                    message,
                ));
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            header,
            rows,
        })
    }

    /// The cells under the ids of the column `cell_id`. Where no column has the name that is the default and the
    /// first has none (as R and pandas write row names), the first is taken.
    ///
    /// Columns are typed over the whole table, and only where the text can be had back from the type: whole
    /// numbers, numbers (both as they are printed: `1.10`, `1E2`, `+1` and `007` are text), flags (`True`,
    /// `False`), and else text as it is written, as a category where at most half of the values are distinct.
    /// What [`is_missing`] says is missing. A column without a name is left out, and so are columns of one
    /// name with different values.
    ///
    /// # Errors
    /// [`StageError::Param`] where there is no such column; [`StageError::Format`] with the line where a
    /// cell id is missing or comes twice.
    pub(super) fn cells(&self, cell_id: &str) -> StageResult<Annotations> {
        let id = self.id_column(cell_id)?;
        self.check_ids(id)?;
        let ids = self.rows.iter().map(|r| r.fields[id].to_string());
        Ok(self.typed(ids.collect(), |at| at == id))
    }

    /// Names of the columns.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Lines and fields of the rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u64, &StringRecord)> {
        self.rows.iter().map(|r| (r.line, &r.fields))
    }

    /// All columns, for cells that have no id here: what a parameter may name in spite of a wrong `cell_id`.
    pub(super) fn without_ids(&self) -> Annotations {
        let ids = (0..self.rows.len()).map(|r| r.to_string());
        self.typed(ids.collect(), |_| false)
    }

    fn typed(&self, index: Vec<String>, is_id: impl Fn(usize) -> bool) -> Annotations {
        let mut found = Annotations {
            frame: Frame::new(index),
            left_out: Vec::new(),
        };
        for (at, name) in self.header.iter().enumerate().filter(|(at, _)| !is_id(*at)) {
            let same_name = |other: &usize| self.header[*other] == *name;
            let others: Vec<usize> = (0..self.header.len()).filter(same_name).collect();
            let differs = others
                .iter()
                .any(|&o| self.rows.iter().any(|r| r.fields[o] != r.fields[at]));
            let why = if name.is_empty() {
                format!("(column {} of the annotations) has no name", at + 1)
            } else if others[0] != at && !differs {
                continue;
            } else if others.len() > 1 && differs {
                if others[0] != at {
                    continue;
                }
                format!("comes {} times, with different values", others.len())
            } else {
                let values: Vec<&str> = self.rows.iter().map(|r| &r.fields[at]).collect();
                found.frame.set(name, typed(&values));
                continue;
            };
            found.left_out.push(LeftOut {
                name: name.clone(),
                why,
            });
        }
        found
    }

    fn id_column(&self, cell_id: &str) -> StageResult<usize> {
        match self.header.iter().position(|h| h == cell_id) {
            Some(id) => Ok(id),
            None if self.header[0].is_empty() && cell_id == DEFAULT_CELL_ID => Ok(0),
            None => Err(StageError::Param {
                param: "cell_id".to_string(),
                message: format!(
                    "`{}` has no column `{cell_id}` of cell ids; the columns are {}",
                    self.path.display(),
                    list(&self.header)
                ),
                hint: Some(
                    "name the column that holds the matrix's cell ids with `cell_id`".into(),
                ),
            }),
        }
    }

    fn check_ids(&self, id: usize) -> StageResult<()> {
        let bad = |line: u64, message: String| {
            let error = StageError::format(&self.path, format!("line {line}"), message);
            Err(error.or_hint(&format!(
                "the cell ids are those of the column `{}`; `cell_id` names another",
                self.header[id]
            )))
        };
        let mut lines: HashMap<&str, u64> = HashMap::with_capacity(self.rows.len());
        for row in &self.rows {
            let cell = &row.fields[id];
            if is_missing(cell) {
                return bad(
                    row.line,
                    format!("expected a cell id, found {}", shown(cell)),
                );
            }
            if let Some(before) = lines.insert(cell, row.line) {
                return bad(
                    row.line,
                    format!("cell id `{cell}` is also on line {before}"),
                );
            }
        }
        Ok(())
    }
}

/// A value in backticks, or that there is none.
pub(super) fn shown(value: &str) -> String {
    if value.is_empty() {
        "nothing".to_string()
    } else {
        format!("`{value}`")
    }
}

fn unpacked(path: &Path) -> StageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    text::open(path, &Default::default())?
        .read_to_end(&mut bytes)
        .map_err(|e| StageError::format(path, "", format!("cannot unpack or read: {e}")))?;
    if let Some(what) = text::no_text(&bytes) {
        return Err(StageError::format(path, "", what));
    }
    if bytes.starts_with(text::BOM) {
        bytes.drain(..text::BOM.len());
    }
    Ok(bytes)
}

/// The rows that are not blank.
fn records(path: &Path, bytes: &[u8]) -> StageResult<Vec<Row>> {
    let is_end = |b: &u8| matches!(b, b'\n' | b'\r');
    let first = bytes.split(is_end).find(|line| !line.is_empty());
    let has = |b: u8| first.is_some_and(|line| line.contains(&b));
    // Blanks separate where names stand in quotes, as R's `write.table` leaves them.
    let quoted = first.is_some_and(|line| line.starts_with(b"\"")) && has(b' ');
    let delimiter = match (has(b'\t'), has(b','), has(b';')) {
        (true, ..) => b'\t',
        (false, false, true) => b';',
        (false, false, false) if quoted => b' ',
        _ => b',',
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut rows = Vec::new();
    let mut lines = LineNumbers::new(bytes);
    for record in reader.byte_records() {
        let record = record.map_err(|e| StageError::format(path, "", e.to_string()))?;
        let line = lines.at(record.position().map_or(0, |p| p.byte() as usize));
        let fields = StringRecord::from_byte_record(record).map_err(|e| {
            let field = e.utf8_error().field();
            let bytes = e.into_byte_record();
            let text = String::from_utf8_lossy(&bytes[field]).into_owned();
            let start: String = text.chars().take(60).collect();
            let message = format!("expected UTF-8, found `{start}`");
            StageError::format(path, format!("line {line}"), message)
        })?;
        // Spreadsheets end their tables with rows of nothing.
        if fields.iter().any(|f| !f.is_empty()) {
            rows.push(Row { line, fields });
        }
    }
    Ok(rows)
}

/// Numbers of lines: the reader of records leaves blank ones out of its count.
struct LineNumbers<'a> {
    bytes: &'a [u8],
    end: u8,
    at: usize,
    number: u64,
}

impl<'a> LineNumbers<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
        Self {
            bytes,
            end,
            at: 0,
            number: 1,
        }
    }

    /// The number of the first line from `byte` on that is not blank. Bytes rise from call to call.
    fn at(&mut self, byte: usize) -> u64 {
        let blank = self.bytes[byte..]
            .iter()
            .take_while(|b| matches!(b, b'\n' | b'\r'));
        let start = byte + blank.count();
        self.number += memchr::memchr_iter(self.end, &self.bytes[self.at..start]).count() as u64;
        self.at = start;
        self.number
    }
}

/// The narrowest type that gives every text back.
fn typed(values: &[&str]) -> Column {
    let known = || values.iter().copied().filter(|v| !is_missing(v));
    let any = known().next().is_some();
    let none_missing = known().count() == values.len();
    let whole = |v: &str| v.parse::<i64>().ok().filter(|n| n.to_string() == v);
    if any && none_missing && known().all(|v| whole(v).is_some()) {
        return Column::I64(known().filter_map(whole).collect());
    }
    let number = |v: &str| v.parse::<f64>().ok().filter(|&x| table::number(x) == v);
    if any && known().all(|v| number(v).is_some()) {
        let value = |v: &&str| number(v).unwrap_or(f64::NAN);
        return Column::F64(values.iter().map(value).collect());
    }
    if any && none_missing && known().all(|v| matches!(v, "True" | "False")) {
        return Column::Bool(known().map(|v| v == "True").collect());
    }
    let text = |v: &&str| if is_missing(v) { "" } else { v }.to_string();
    let texts: Vec<String> = values.iter().map(text).collect();
    let distinct: HashSet<&String> = texts.iter().collect();
    if distinct.len() * 2 <= texts.len() {
        Column::Category(Categorical::from_values(&texts))
    } else {
        Column::Str(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> StageResult<Annotations> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        Table::read(&path)?.cells("Index")
    }

    fn table(text: &str) -> StageResult<Frame> {
        read(text.as_bytes()).map(|a| a.frame)
    }

    #[test]
    fn columns_get_the_type_of_all_their_values() {
        let f = table(
            "Index\tSample\tn\tscore\tflag\tsub\tcode\nc1\tA\t1\t0.5\tTrue\tx\t007\nc2\tA\t-2\tNA\tFalse\t\t010\nc3\tB\t3\t1e-5\tTrue\tx\t011\nc4\tB\t4\t2\tTrue\tNone\t012\n",
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
        assert!(score[1].is_nan() && score[2] == 1e-5);
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

    /// What would be the same number or flag, or print in another way, stays as it is written.
    #[test]
    fn texts_that_a_type_would_change_stay_texts() {
        for values in [
            ["1.1", "1.10"],
            ["1E2", "10E1"],
            ["1e3", "1000"],
            ["1.0", "1"],
            ["12345678901234567890", "12345678901234567891"],
            ["9007199254740993", "NA"],
            ["18446744073709551615", "1"],
            ["TRUE", "FALSE"],
            ["true", "False"],
            ["+1", "1"],
            ["007", "7"],
            ["-0", "0"],
            ["0x10", "16"],
            ["infinity", "inf"],
            ["Inf", "2"],
            [".5", "0.5"],
            ["5.", "5"],
            ["1_000", "1000"],
            [" 1", "1"],
        ] {
            let column = typed(&values);
            assert!(
                matches!(column, Column::Str(_)),
                "{values:?} became {column:?}"
            );
            for (row, value) in values.iter().enumerate() {
                let expected = if is_missing(value) { "" } else { value };
                assert_eq!(column.text(row), expected);
            }
        }
        assert_eq!(typed(&["11", "-3"]), Column::I64(vec![11, -3]));
        assert_eq!(typed(&["0.5", "-3"]), Column::F64(vec![0.5, -3.0]));
        assert!(matches!(typed(&["11", "", "13"]), Column::F64(_)));
    }

    proptest! {
        /// Whatever stands there is what a parameter must write.
        #[test]
        fn every_value_is_had_back(
            values in prop::collection::vec(
                "[-+]?[0-9]{0,3}([.][0-9]{0,3})?([eE][-+]?[0-9]{1,2})?|TRUE|True|False|nan|NA|inf|[a-z]{0,2}",
                1..9,
            )
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let column = typed(&values);
            for (row, value) in values.iter().enumerate() {
                let expected = if is_missing(value) { "" } else { value };
                prop_assert_eq!(column.text(row), expected);
            }
        }
    }

    #[test]
    fn bom_crlf_commas_quotes_and_r_row_names_are_understood() {
        let f = table("\u{feff}Index,Cell_type\r\n\"c,1\",B cell\r\nc2,T cell\r\n").unwrap();
        assert_eq!(f.index, ["c,1", "c2"]);
        assert_eq!(f.texts("Cell_type").unwrap(), ["B cell", "T cell"]);
        let f = table("\"Sample\"\t\"n\"\n\"c1\"\t\"A\"\t1\n\"c2\"\t\"B\"\t2\n").unwrap();
        assert_eq!(f.index, ["c1", "c2"]);
        assert_eq!(f.texts("Sample").unwrap(), ["A", "B"]);
        // Old Mac's line ends, blank lines, a spreadsheet's rows of nothing, semicolons.
        for text in [
            "Index\tSample\rc1\tA\rc2\tB\r",
            "\n\nIndex\tSample\nc1\tA\n\nc2\tB\n\t\n\t\n",
            "Index;Sample\nc1;A\nc2;B\n",
            "\"Sample\" \"kind\"\n\"c1\" \"A\" \"B cell\"\n\"c2\" \"B\" \"T cell\"\n",
        ] {
            let f = table(text).unwrap();
            assert_eq!(f.index, ["c1", "c2"], "{text}");
            assert_eq!(f.texts("Sample").unwrap(), ["A", "B"], "{text}");
        }
    }

    #[test]
    fn columns_that_cannot_be_told_apart_are_left_out() {
        // `same` comes twice with the same values, `a` with others, and the first has no name.
        let found = read(b",Index,a,same,a,same,Sample\n0,c1,1,x,2,x,S\n1,c2,1,y,3,y,T\n").unwrap();
        assert_eq!(found.frame.index, ["c1", "c2"]);
        let names: Vec<&String> = found.frame.columns.keys().collect();
        assert_eq!(names, ["same", "Sample"]);
        let left_out: Vec<String> = found
            .left_out
            .iter()
            .map(|c| format!("`{}` {}", c.name, c.why))
            .collect();
        assert_eq!(
            left_out,
            [
                "`` (column 1 of the annotations) has no name",
                "`a` comes 2 times, with different values"
            ]
        );
    }

    #[test]
    fn bad_tables_are_refused_with_their_line() {
        let message = |t: &str| table(t).unwrap_err().to_string();
        assert!(message("").contains("found an empty file"));
        assert!(message("Index\ta\nc1\t1\nc2\n").ends_with("line 3: expected 2 fields, found 1"));
        assert!(
            message("Index\ta\n\nc1\t1\nc1\t2\n")
                .ends_with("line 4: cell id `c1` is also on line 3")
        );
        assert!(
            message("Cell\ta\nc1\t1\n")
                .ends_with("has no column `Index` of cell ids; the columns are `Cell`, `a`")
        );
        assert!(
            message("Index\ta\nc1\t1\nNA\t2\n").ends_with("line 3: expected a cell id, found `NA`")
        );
        assert!(message("Index\ta\n\t1\n").ends_with("line 2: expected a cell id, found nothing"));
        assert!(message("# made by hand\nIndex\ta\nc1\t1\n").ends_with(
            "line 1: expected the names of the columns, found the comment `# made by hand`"
        ));
        // Only the default stands for a column without a name.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, ",sample\nc1,S\n").unwrap();
        let read_by = |id: &str| Table::read(&path).unwrap().cells(id);
        assert_eq!(read_by("Index").unwrap().frame.index, ["c1"]);
        assert!(
            read_by("barcode")
                .unwrap_err()
                .to_string()
                .contains("no column `barcode` of cell ids")
        );
        let error = read(b"Index\ta\nc1\tb\xe9b\xe9\n").unwrap_err().to_string();
        assert!(
            error.contains("line 2: expected UTF-8, found `b\u{fffd}b\u{fffd}`"),
            "{error}"
        );
        let utf16: Vec<u8> = "\u{feff}Index\ta\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let error = read(&utf16).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
