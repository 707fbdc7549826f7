//! Values of a table: how a column of them is written, and read back.

use std::sync::Arc;

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, is_missing};
use clcc_data::table::TextTable;

use super::ColumnSpec;

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

/// A field of a row: one column ([`Cell`]), or a family of them ([`Family`]).
pub trait Field: Sized {
    /// As in [`ColumnSpec::kind`].
    const KIND: &'static str;
    /// As in [`ColumnSpec::optional`].
    const OPTIONAL: bool;

    /// The columns of these values, each with its name; none where an optional column has no value.
    fn columns(name: &'static str, values: Vec<Self>) -> Vec<(String, Column)>;

    /// The values of the field, one per row; `declared` are all columns of the table.
    ///
    /// # Errors
    /// [`StageError::Data`] where a column is absent, or a value is not of its type.
    fn read(table: &TextTable, name: &str, declared: &[ColumnSpec]) -> StageResult<Vec<Self>>;
}

impl<T: Cell> Field for T {
    const KIND: &'static str = <T as Cell>::KIND;
    const OPTIONAL: bool = <T as Cell>::OPTIONAL;

    fn columns(name: &'static str, values: Vec<Self>) -> Vec<(String, Column)> {
        let column = T::column(values).map(|column| (name.to_string(), column));
        column.into_iter().collect()
    }

    fn read(table: &TextTable, name: &str, _: &[ColumnSpec]) -> StageResult<Vec<Self>> {
        values(table, name)
    }
}

/// Columns of one meaning whose number and names depend on the data: one per cell, anchor or axis of the workflow.
///
/// The declaration names such a field by a pattern, `<axis>` or `factor_<n>`; every row has a value in each column.
/// A family without members is a table without such columns.
///
/// ```
/// use clcc_stage::tables::Family;
///
/// let axes = Family::names(["seed", "ablation"]);
/// let row = Family::new(&axes, vec!["s1".to_string(), "full".to_string()]);
/// assert_eq!(row.get("ablation").map(String::as_str), Some("full"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family<T> {
    names: Arc<[String]>,
    values: Vec<T>,
}

impl Family<()> {
    /// Names of the columns, which the rows share.
    pub fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Arc<[String]> {
        names.into_iter().map(Into::into).collect()
    }
}

impl<T> Family<T> {
    /// A row's values, one per name.
    ///
    /// # Panics
    /// Where there are not as many values as names.
    pub fn new(names: &Arc<[String]>, values: Vec<T>) -> Self {
        assert_eq!(names.len(), values.len(), "one value per column");
        Self {
            names: Arc::clone(names),
            values,
        }
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.names
    }

    /// The row's values, in the order of the columns.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The row's value in column `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        let at = self.names.iter().position(|n| n == name)?;
        self.values.get(at)
    }
}

impl<T: Cell> Field for Family<T> {
    const KIND: &'static str = <T as Cell>::KIND;
    const OPTIONAL: bool = true;

    fn columns(_: &'static str, rows: Vec<Self>) -> Vec<(String, Column)> {
        let Some(first) = rows.first() else {
            return Vec::new();
        };
        let names = Arc::clone(&first.names);
        let mut columns: Vec<Vec<T>> = names.iter().map(|_| Vec::new()).collect();
        for row in rows {
            assert!(
                Arc::ptr_eq(&row.names, &names) || row.names == names,
                "the rows of a table have the same columns"
            );
            for (column, value) in columns.iter_mut().zip(row.values) {
                column.push(value);
            }
        }
        let named = names.iter().cloned().zip(columns);
        named
            .filter_map(|(name, values)| Some((name, T::column(values)?)))
            .collect()
    }

    fn read(table: &TextTable, name: &str, declared: &[ColumnSpec]) -> StageResult<Vec<Self>> {
        let own = |column: &&String| {
            super::declared(declared, column).is_some_and(|spec| spec.name == name)
        };
        let names: Arc<[String]> = table.header.iter().filter(own).cloned().collect();
        let mut columns = names
            .iter()
            .map(|column| Ok(values::<T>(table, column)?.into_iter()))
            .collect::<StageResult<Vec<_>>>()?;
        let row = |_| Family {
            names: Arc::clone(&names),
            values: columns.iter_mut().filter_map(Iterator::next).collect(),
        };
        Ok(table.rows.iter().map(row).collect())
    }
}
