//! Result tables as types: one declaration holds a table's file, its columns with their types, units and meaning.
//!
//! [`table!`](crate::table!) declares a row. The declaration writes the TSV, reads it back with the same types, and
//! is the entry of the table in the data dictionary (`clcc-flow schema --tables`).
//!
//! ```
//! use clcc_stage::tables::{Row, Table};
//!
//! clcc_stage::table! {
//!     /// Arms and what their genes do.
//!     pub struct ArmRow = "arms.tsv" {
//!         /// Arm, for example `chr3q`.
//!         arm: String,
//!         /// Tested genes.
//!         n_genes: i64,
//!         /// Median log2 copy ratio.
//!         #[unit = "log2"]
//!         copy_ratio: f64,
//!     }
//! }
//!
//! let dir = tempfile::tempdir().unwrap();
//! let rows = vec![ArmRow { arm: "chr3q".into(), n_genes: 12, copy_ratio: 0.5 }];
//! Table::new(rows.clone()).note("made by hand").write(dir.path())?;
//! assert_eq!(ArmRow::read(&dir.path().join("arms.tsv"))?, rows);
//! # Ok::<(), clcc_data::StageError>(())
//! ```

use std::path::Path;

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame, is_missing};
use clcc_data::table::{TextTable, write_tsv};

/// A column as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Name in the header.
    pub name: &'static str,
    /// `number`, `integer`, `text` or `flag`.
    pub kind: &'static str,
    /// Whether a value may be missing; the column is left out where all are.
    pub optional: bool,
    /// Unit; empty for counts, names and shares.
    pub unit: &'static str,
    /// What a value says.
    pub about: &'static str,
}

/// A table as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    /// File name in the stage's directory of tables.
    pub file: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Columns in order; the first names the row.
    pub columns: &'static [ColumnSpec],
}

/// A row of a result table; declared by [`table!`](crate::table!).
pub trait Row: Sized {
    /// The declaration.
    const SPEC: TableSpec;

    /// Turn rows into columns. Optional columns without any value are left out.
    fn frame(rows: Vec<Self>) -> Frame;

    /// Read rows from a table that has all columns that are not optional, in any order.
    ///
    /// # Errors
    /// [`StageError::Data`] where a column is absent, or a value is not of its type.
    fn parse(table: &TextTable) -> StageResult<Vec<Self>>;

    /// Read rows from the file at `path`.
    ///
    /// # Errors
    /// What [`TextTable::read`] and [`Row::parse`] report; the file is named.
    fn read(path: &Path) -> StageResult<Vec<Self>> {
        Self::parse(&TextTable::read(path)?)
            .map_err(|e| StageError::format(path, "", e.to_string()))
    }
}

/// A table to be written: rows, the notes above them, and columns whose names are known only at run time.
#[derive(Debug)]
pub struct Table<R> {
    rows: Vec<R>,
    notes: Vec<String>,
    more: Vec<(String, Column)>,
}

impl<R: Row> Table<R> {
    /// A table of these rows.
    pub fn new(rows: Vec<R>) -> Self {
        Self {
            rows,
            notes: Vec::new(),
            more: Vec::new(),
        }
    }

    /// Add a `# ` line above the header.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Add a column after the declared ones, one value per row.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, column: Column) -> Self {
        self.more.push((name.into(), column));
        self
    }

    /// Write the table under its declared name into `dir`.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write(self, dir: &Path) -> StageResult<()> {
        let path = dir.join(R::SPEC.file);
        self.write_as(&path)
    }

    /// Write the table to `path`, for tables that are an artifact of their own.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write_as(self, path: &Path) -> StageResult<()> {
        let mut frame = R::frame(self.rows);
        for (name, column) in self.more {
            frame.set(&name, column);
        }
        let notes: Vec<&str> = self.notes.iter().map(String::as_str).collect();
        write_tsv(path, R::SPEC.columns[0].name, &frame, &notes)
    }
}

/// A value of a table: how it is written, and read back.
pub trait Cell: Sized {
    /// As in [`ColumnSpec::kind`].
    const KIND: &'static str;
    /// As in [`ColumnSpec::optional`].
    const OPTIONAL: bool = false;

    /// A column of these values; `None` where none of them is there.
    fn column(values: Vec<Self>) -> Option<Column>;

    /// The value from the text of a table; `None` where it is not of the type.
    fn parse(text: &str) -> Option<Self>;

    /// The value of an absent column; `None` where the column must be there.
    fn absent() -> Option<Self> {
        None
    }
}

impl Cell for f64 {
    const KIND: &'static str = "number";

    fn column(values: Vec<Self>) -> Option<Column> {
        Some(Column::F64(values))
    }

    fn parse(text: &str) -> Option<Self> {
        if is_missing(text) {
            Some(f64::NAN)
        } else {
            text.parse().ok()
        }
    }
}

impl Cell for i64 {
    const KIND: &'static str = "integer";

    fn column(values: Vec<Self>) -> Option<Column> {
        Some(Column::I64(values))
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Cell for bool {
    const KIND: &'static str = "flag";

    fn column(values: Vec<Self>) -> Option<Column> {
        Some(Column::Bool(values))
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "True" | "true" => Some(true),
            "False" | "false" => Some(false),
            _ => None,
        }
    }
}

impl Cell for String {
    const KIND: &'static str = "text";

    fn column(values: Vec<Self>) -> Option<Column> {
        Some(Column::Str(values))
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_string())
    }
}

/// Values that may be missing: `NA` among numbers, nothing among texts.
macro_rules! optional_cell {
    ($type:ty, $missing:expr, $column:ident, $as:ty) => {
        impl Cell for Option<$type> {
            const KIND: &'static str = <$type as Cell>::KIND;
            const OPTIONAL: bool = true;

            fn column(values: Vec<Self>) -> Option<Column> {
                values.iter().any(Option::is_some).then(|| {
                    let values = values.into_iter();
                    Column::$column(values.map(|v| v.map_or($missing, |v| v as $as)).collect())
                })
            }

            fn parse(text: &str) -> Option<Self> {
                if is_missing(text) {
                    Some(None)
                } else {
                    <$type as Cell>::parse(text).map(Some)
                }
            }

            fn absent() -> Option<Self> {
                Some(None)
            }
        }
    };
}

optional_cell!(f64, f64::NAN, F64, f64);
optional_cell!(i64, f64::NAN, F64, f64);
optional_cell!(String, String::new(), Str, String);

/// What [`table!`](crate::table!) names, so that a crate that declares a table need not.
#[doc(hidden)]
pub mod macros {
    pub use clcc_data::StageResult;
    pub use clcc_data::frame::Frame;
    pub use clcc_data::table::TextTable;
}

/// A frame of named columns, the first of which names the rows; what is `None` is left out.
#[doc(hidden)]
pub fn frame_of<const N: usize>(columns: [(&'static str, Option<Column>); N]) -> Frame {
    let mut columns = columns.into_iter();
    let index = match columns.next() {
        Some((_, Some(Column::Str(names)))) => names,
        Some((_, Some(other))) => (0..other.len()).map(|row| other.text(row)).collect(),
        _ => Vec::new(),
    };
    let mut frame = Frame::new(index);
    for (name, column) in columns {
        if let Some(column) = column {
            frame.set(name, column);
        }
    }
    frame
}

/// Flags that may be missing are text, `True`, `False` or nothing.
impl Cell for Option<bool> {
    const KIND: &'static str = "flag";
    const OPTIONAL: bool = true;

    fn column(values: Vec<Self>) -> Option<Column> {
        let text = |v: &Option<bool>| match v {
            Some(true) => "True".to_string(),
            Some(false) => "False".to_string(),
            None => String::new(),
        };
        let any = values.iter().any(Option::is_some);
        any.then(|| Column::Str(values.iter().map(text).collect()))
    }

    fn parse(text: &str) -> Option<Self> {
        if is_missing(text) {
            Some(None)
        } else {
            bool::parse(text).map(Some)
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// The values of column `name` of a table.
///
/// # Errors
/// As [`Row::parse`].
pub fn values<T: Cell>(table: &TextTable, name: &str) -> StageResult<Vec<T>> {
    if table.position(name).is_none() && T::OPTIONAL {
        return Ok(table.rows.iter().filter_map(|_| T::absent()).collect());
    }
    table
        .texts(name)?
        .into_iter()
        .map(|text| {
            T::parse(text).ok_or_else(|| {
                StageError::data(format!(
                    "column `{name}`: expected a value of type {}, found `{text}`",
                    T::KIND
                ))
            })
        })
        .collect()
}

/// Declares a result table: see [`crate::tables`].
///
/// The first field names the row. A field is a column of its own name, or of the name after `as`; its doc comment
/// and `#[unit = ".."]` go to the data dictionary. Types are `String`, `f64`, `i64`, `bool`, and `Option` of the
/// first three for values that may be missing.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $row:ident = $file:literal {
            $(
                $(#[doc = $doc:literal])+
                $(#[unit = $unit:literal])?
                $field:ident $(as $name:literal)? : $type:ty
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $row {
            $($(#[doc = $doc])+ $vis $field: $type,)+
        }

        impl $crate::tables::Row for $row {
            const SPEC: $crate::tables::TableSpec = $crate::tables::TableSpec {
                file: $file,
                about: concat!($($about),+),
                columns: &[$($crate::tables::ColumnSpec {
                    name: $crate::table!(@name $field $($name)?),
                    kind: <$type as $crate::tables::Cell>::KIND,
                    optional: <$type as $crate::tables::Cell>::OPTIONAL,
                    unit: concat!($($unit)?),
                    about: concat!($($doc),+),
                }),+],
            };

            fn frame(rows: Vec<Self>) -> $crate::tables::macros::Frame {
                $(let mut $field: Vec<$type> = Vec::with_capacity(rows.len());)+
                for row in rows {
                    $($field.push(row.$field);)+
                }
                $crate::tables::frame_of([$((
                    $crate::table!(@name $field $($name)?),
                    $crate::tables::Cell::column($field),
                )),+])
            }

            fn parse(table: &$crate::tables::macros::TextTable) -> $crate::tables::macros::StageResult<Vec<Self>> {
                $(let mut $field = $crate::tables::values::<$type>(
                    table,
                    $crate::table!(@name $field $($name)?),
                )?.into_iter();)+
                let mut rows = Vec::with_capacity(table.rows.len());
                loop {
                    let ($(Some($field),)+) = ($($field.next(),)+) else {
                        return Ok(rows);
                    };
                    rows.push(Self { $($field),+ });
                }
            }
        }
    };
    (@name $field:ident $name:literal) => { $name };
    (@name $field:ident) => { stringify!($field) };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::table! {
        /// Rows of
        /// every type.
        struct Example = "example.tsv" {
            /// Name.
            names: String,
            /// Number.
            #[unit = "log2"]
            x as "x (log2)": f64,
            /// Whole number.
            n: i64,
            /// Flag.
            is_in: bool,
            /// Where known.
            place: Option<i64>,
            /// Where said.
            word: Option<String>,
        }
    }

    fn row(names: &str, place: Option<i64>) -> Example {
        Example {
            names: names.into(),
            x: 0.1,
            n: -3,
            is_in: true,
            place,
            word: None,
        }
    }

    #[test]
    fn rows_are_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.tsv");
        let rows = vec![row("a", Some(7)), row("b", None)];
        Table::new(rows.clone())
            .note("a note")
            .column("factor_1", Column::I64(vec![1, 2]))
            .write(dir.path())
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "# a note\nnames\tx (log2)\tn\tis_in\tplace\tfactor_1\na\t0.1\t-3\tTrue\t7\t1\nb\t0.1\t-3\tTrue\t\t2\n"
        );
        assert_eq!(Example::read(&path).unwrap(), rows);
        assert_eq!(Example::SPEC.about.trim(), "Rows of every type.");
        assert_eq!(Example::SPEC.columns[1].unit, "log2");
        assert!(Example::SPEC.columns[5].optional);
    }

    #[test]
    fn a_missing_column_and_a_value_of_another_type_are_named_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.tsv");
        std::fs::write(&path, "names\tx (log2)\tis_in\na\t1\tTrue\n").unwrap();
        let text = Example::read(&path).unwrap_err().to_string();
        assert!(
            text.contains("example.tsv") && text.contains("no column `n`"),
            "{text}"
        );
        std::fs::write(&path, "names\tx (log2)\tn\tis_in\na\t1\t2.5\tTrue\n").unwrap();
        let text = Example::read(&path).unwrap_err().to_string();
        assert!(text.contains("`2.5`") && text.contains("integer"), "{text}");
    }
}
