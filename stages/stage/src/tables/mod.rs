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

mod cell;

pub use cell::{Cell, Family, Field, values};

use std::path::Path;

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::table::{TextTable, tsv, write_tsv};

/// A column as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Name in the header; of a family of columns a pattern, `<axis>` or `factor_<n>`.
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

impl ColumnSpec {
    /// Whether this is a family of columns.
    pub fn is_family(&self) -> bool {
        self.name.contains('<')
    }
}

/// Whether `name` is what a pattern like `factor_<n>` stands for: something in the place of each `<..>`.
fn is_member(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else {
        return pattern == name;
    };
    let (Some((_, after)), Some(name)) = (rest.split_once('>'), name.strip_prefix(before)) else {
        return false;
    };
    let mut ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.any(|end| is_member(after, &name[end..]))
}

/// Place of the declaration of the column that a header calls `column`: that of its name, else the family that it can
/// be a member of and whose pattern says most.
fn place(columns: &[ColumnSpec], column: &str) -> Option<usize> {
    let single = columns.iter().position(|spec| spec.name == column);
    let families = (0..columns.len()).filter(|&at| is_member(columns[at].name, column));
    single.or_else(|| families.max_by_key(|&at| columns[at].name.find('<')))
}

/// The declaration of the column that a header calls `column`.
fn declared<'a>(columns: &'a [ColumnSpec], column: &str) -> Option<&'a ColumnSpec> {
    place(columns, column).map(|at| &columns[at])
}

/// A table as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    /// File name in the stage's directory of tables; of a family of tables a pattern, `de.<patient>.tsv`.
    pub file: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Columns in order; the first names the row.
    pub columns: &'static [ColumnSpec],
}

impl TableSpec {
    /// Whether a file is this table: by its name, or as a member of a family of tables, `de.<patient>.tsv`.
    pub fn is_file(&self, name: &str) -> bool {
        is_member(self.file, name)
    }

    /// The declaration of the column that a header calls `name`; `None` where it is not declared.
    pub fn column(&self, name: &str) -> Option<&'static ColumnSpec> {
        declared(self.columns, name)
    }

    /// File name without its extension.
    pub fn name(&self) -> &'static str {
        self.file.strip_suffix(".tsv").unwrap_or(self.file)
    }

    /// Check that a header has every column that is not optional, and none that is not declared.
    ///
    /// # Errors
    /// [`StageError::Data`] that names the column.
    pub fn check_header(&self, header: &[String]) -> StageResult<()> {
        let absent = |c: &&ColumnSpec| !c.optional && !header.iter().any(|h| h == c.name);
        if let Some(column) = self.columns.iter().find(absent) {
            let message = format!("`{}` has no column `{}`", self.file, column.name);
            return Err(StageError::data(message));
        }
        match header.iter().find(|h| declared(self.columns, h).is_none()) {
            None => Ok(()),
            Some(column) => Err(StageError::data(format!(
                "`{}` has a column `{column}` that is not declared",
                self.file
            ))),
        }
    }
}

/// A row of a result table; declared by [`table!`](crate::table!).
pub trait Row: Sized {
    /// The declaration.
    const SPEC: TableSpec;
    /// Name of the file.
    const FILE: &'static str = Self::SPEC.file;

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
    kept: Vec<String>,
}

impl<R: Row> Table<R> {
    /// A table of these rows.
    pub fn new(rows: Vec<R>) -> Self {
        Self {
            rows,
            notes: Vec::new(),
            more: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Add a `# ` line above the header.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Add several of them.
    #[must_use]
    pub fn notes(mut self, notes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.notes.extend(notes.into_iter().map(Into::into));
        self
    }

    /// Add a column after the declared ones, one value per row.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, column: Column) -> Self {
        self.more.push((name.into(), column));
        self
    }

    /// Write these columns even where no row has a value in them: optional ones, and members of a family where
    /// there are no rows. In the order given where they are of one family.
    #[must_use]
    pub fn keep(mut self, columns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let columns = columns.into_iter().map(|name| name.as_ref().to_string());
        self.kept.extend(columns);
        self
    }

    /// Write the table under its declared name into `dir`.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write(self, dir: &Path) -> StageResult<()> {
        let path = dir.join(R::FILE);
        self.write_as(&path)
    }

    /// Write the table to `path`, for tables that are an artifact of their own.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write_as(self, path: &Path) -> StageResult<()> {
        let (frame, notes) = self.into_frame();
        let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
        write_tsv(path, R::SPEC.columns[0].name, &frame, &notes)
    }

    /// The text of the table, for those who write it on their own.
    #[must_use]
    pub fn text(self) -> String {
        let (frame, notes) = self.into_frame();
        let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
        tsv(R::SPEC.columns[0].name, &frame, &notes)
    }

    fn into_frame(self) -> (Frame, Vec<String>) {
        let mut frame = R::frame(self.rows);
        for name in self.kept {
            keep(&mut frame, &R::SPEC, name);
        }
        for (name, column) in self.more {
            frame.set(&name, column);
        }
        (frame, self.notes)
    }
}

/// What [`table!`](crate::table!) names, so that a crate that declares a table need not.
#[doc(hidden)]
pub mod macros {
    pub use clcc_data::StageResult;
    pub use clcc_data::frame::Frame;
    pub use clcc_data::table::TextTable;
}

/// A frame of named columns, the first of which names the rows.
#[doc(hidden)]
pub fn frame_of<const N: usize>(columns: [Vec<(String, Column)>; N]) -> Frame {
    let mut columns = columns.into_iter().flatten();
    let index = match columns.next() {
        Some((_, Column::Str(names))) => names,
        Some((_, other)) => (0..other.len()).map(|row| other.text(row)).collect(),
        None => Vec::new(),
    };
    let mut frame = Frame::new(index);
    for (name, column) in columns {
        frame.set(&name, column);
    }
    frame
}

/// Adds the declared column `name` without values, in its place, where the frame lacks it.
fn keep(frame: &mut Frame, spec: &TableSpec, name: String) {
    let Some(own) = place(spec.columns, &name) else {
        return;
    };
    if frame.columns.contains_key(&name) {
        return;
    }
    let is_before = |other: &&String| place(spec.columns, other).is_some_and(|at| at <= own);
    let at = frame.columns.keys().filter(is_before).count();
    let empty = Column::Str(vec![String::new(); frame.len()]);
    frame.columns.shift_insert(at, name, empty);
}

/// Declares a result table: see [`crate::tables`].
///
/// The first field names the row. A field is a column of its own name, or of the name after `as`; its doc comment
/// and `#[unit = ".."]` go to the data dictionary. Types are `String`, `f64`, `i64`, `bool`, `Option` of these for
/// values that may be missing, and [`Family`](crate::tables::Family) for columns whose names the data decide. What is
/// in a `#[derive(..)]` after the doc comment is derived besides `Debug`, `Clone`, `PartialEq` and `Default`.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $(#[derive($($derive:path),+)])?
        $vis:vis struct $row:ident = $file:literal {
            $(
                $(#[doc = $doc:literal])+
                $(#[unit = $unit:literal])?
                $field:ident $(as $name:literal)? : $type:ty
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Default)]
        $(#[derive($($derive),+)])?
        $vis struct $row {
            $($(#[doc = $doc])+ $vis $field: $type,)+
        }

        impl $crate::tables::Row for $row {
            const SPEC: $crate::tables::TableSpec = $crate::tables::TableSpec {
                file: $file,
                about: concat!($($about),+),
                columns: &[$($crate::tables::ColumnSpec {
                    name: $crate::table!(@name $field $($name)?),
                    kind: <$type as $crate::tables::Field>::KIND,
                    optional: <$type as $crate::tables::Field>::OPTIONAL,
                    unit: concat!($($unit)?),
                    about: concat!($($doc),+),
                }),+],
            };

            fn frame(rows: Vec<Self>) -> $crate::tables::macros::Frame {
                $(let mut $field: Vec<$type> = Vec::with_capacity(rows.len());)+
                for row in rows {
                    $($field.push(row.$field);)+
                }
                $crate::tables::frame_of([$($crate::tables::Field::columns(
                    $crate::table!(@name $field $($name)?),
                    $field,
                )),+])
            }

            fn parse(table: &$crate::tables::macros::TextTable) -> $crate::tables::macros::StageResult<Vec<Self>> {
                $(let mut $field = <$type as $crate::tables::Field>::read(
                    table,
                    $crate::table!(@name $field $($name)?),
                    <Self as $crate::tables::Row>::SPEC.columns,
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

    crate::table! {
        /// Rows with a column for each axis.
        struct Branched = "branched.tsv" {
            /// Name.
            name: String,
            /// Value of the axis.
            axes as "<axis>": Family<String>,
            /// Loading on the factor.
            loadings as "factor_<n>": Family<f64>,
            /// Where asked for.
            difference: Option<f64>,
            /// Number.
            n: i64,
        }
    }

    #[test]
    fn families_of_columns_stand_in_their_place_and_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let axes = Family::names(["seed", "ablation"]);
        let factors = Family::names(["factor_1"]);
        let row = |name: &str, n: i64| Branched {
            name: name.into(),
            axes: Family::new(&axes, vec![format!("s{n}"), "full".into()]),
            loadings: Family::new(&factors, vec![0.5]),
            difference: None,
            n,
        };
        let rows = vec![row("a", 1), row("b", 2)];
        let table = Table::new(rows.clone()).keep(["difference"]);
        table.write(dir.path()).unwrap();
        let path = dir.path().join(Branched::FILE);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "name\tseed\tablation\tfactor_1\tdifference\tn\na\ts1\tfull\t0.5\t\t1\nb\ts2\tfull\t0.5\t\t2\n"
        );
        // `factor_1` could be an axis as well: the pattern that says more has it.
        let read = Branched::read(&path).unwrap();
        assert_eq!(read, rows);
        assert_eq!(read[0].loadings.get("factor_1"), Some(&0.5));
        let header = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let check = |names: &[&str]| Branched::SPEC.check_header(&header(names));
        check(&["name", "n", "difference", "anything"]).unwrap();
        assert!(check(&["name"]).unwrap_err().to_string().contains("`n`"));
        let undeclared =
            Example::SPEC.check_header(&header(&["names", "x (log2)", "n", "is_in", "more"]));
        assert!(undeclared.unwrap_err().to_string().contains("`more`"));
    }

    #[test]
    fn a_table_without_rows_keeps_the_columns_that_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let table = Table::<Branched>::new(Vec::new());
        let table = table.keep(["difference", "seed", "factor_1", "factor_2", "ablation"]);
        table.write(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(Branched::FILE)).unwrap();
        assert_eq!(
            text,
            "name\tseed\tablation\tfactor_1\tfactor_2\tdifference\tn\n"
        );
    }

    #[test]
    fn a_pattern_stands_for_names_with_something_in_each_place() {
        let pattern = "<group>_vs_<reference>.<patient>.tsv";
        for name in ["a_vs_b.P1.tsv", "a_vs_b_c.within.P1.tsv", "ä_vs_ö.ü.tsv"] {
            assert!(is_member(pattern, name), "{name}");
        }
        for name in [
            "a_vs_b.tsv",
            "_vs_b.P1.tsv",
            "a_vs_b.P1.txt",
            "a_vs_.P1.tsv",
        ] {
            assert!(!is_member(pattern, name), "{name}");
        }
        assert!(is_member("n_<direction>_<log2fc>", "n_up_0.5"));
        assert!(!is_member("n_<direction>_<log2fc>", "n_group"));
        assert!(is_member("x.tsv", "x.tsv") && !is_member("x.tsv", "y.tsv"));
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
