//! A small data frame: `obs`, `var` and result tables.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::error::{StageError, StageResult};

/// Texts that stand for a missing value: those that pandas 2 reads as missing by default
/// (`pandas._libs.parsers.STR_NA_VALUES`).
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Whether a value of a cell that is written like this is missing: empty, or a word that pandas reads as
/// missing by default (`NA`, `NaN`, `None`, `<NA>`, `null`, ...), spelled exactly so. Names of genes are not
/// asked.
pub fn is_missing(text: &str) -> bool {
    MISSING.contains(&text)
}

/// A column that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name in the source; may be empty.
    pub name: String,
    /// Why, to follow the column's name: `has an encoding that is not read`.
    pub why: String,
}

/// Values from a fixed set; code -1 is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Categorical {
    /// One code per row, an index into `categories`, or -1.
    pub codes: Vec<i32>,
    /// The distinct values, in a stated order.
    pub categories: Vec<String>,
    /// Whether the order of the categories means something.
    pub ordered: bool,
}

impl Categorical {
    /// Categories in sorted order, as pandas makes them; empty strings are missing.
    pub fn from_values<S: AsRef<str>>(values: &[S]) -> Self {
        let mut categories: Vec<String> = values
            .iter()
            .map(|v| v.as_ref().to_string())
            .filter(|v| !v.is_empty())
            .collect();
        categories.sort();
        categories.dedup();
        let codes = values
            .iter()
            .map(|v| {
                categories
                    .binary_search_by(|c| c.as_str().cmp(v.as_ref()))
                    .map_or(-1, |i| i as i32)
            })
            .collect();
        Self {
            codes,
            categories,
            ordered: false,
        }
    }

    /// Drops categories; the rows that have them are missing then. The order of the others stays.
    pub fn drop_categories(&mut self, drop: impl Fn(&str) -> bool) {
        let mut new_code = Vec::with_capacity(self.categories.len());
        let mut kept = Vec::new();
        for name in std::mem::take(&mut self.categories) {
            if drop(&name) {
                new_code.push(-1);
            } else {
                new_code.push(kept.len() as i32);
                kept.push(name);
            }
        }
        self.categories = kept;
        for code in &mut self.codes {
            *code = usize::try_from(*code).map_or(-1, |c| new_code[c]);
        }
    }

    /// The value of a row, `None` where missing.
    pub fn get(&self, row: usize) -> Option<&str> {
        usize::try_from(self.codes[row])
            .ok()
            .map(|c| self.categories[c].as_str())
    }
}

/// A typed column.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Free text.
    Str(Vec<String>),
    /// Text from a fixed set.
    Category(Categorical),
    /// Numbers; NaN is missing.
    F64(Vec<f64>),
    /// Whole numbers.
    I64(Vec<i64>),
    /// Flags.
    Bool(Vec<bool>),
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Str(v) => v.len(),
            Self::Category(c) => c.codes.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows at `rows`, in that order. Categories are kept as they are.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        match self {
            Self::Str(v) => Self::Str(rows.iter().map(|&r| v[r].clone()).collect()),
            Self::Category(c) => Self::Category(Categorical {
                codes: rows.iter().map(|&r| c.codes[r]).collect(),
                categories: c.categories.clone(),
                ordered: c.ordered,
            }),
            Self::F64(v) => Self::F64(rows.iter().map(|&r| v[r]).collect()),
            Self::I64(v) => Self::I64(rows.iter().map(|&r| v[r]).collect()),
            Self::Bool(v) => Self::Bool(rows.iter().map(|&r| v[r]).collect()),
        }
    }

    /// The value of a row as text: what a TSV shows; empty where missing.
    pub fn text(&self, row: usize) -> String {
        match self {
            Self::Str(v) => v[row].clone(),
            Self::Category(c) => c.get(row).unwrap_or("").to_string(),
            Self::F64(v) if v[row].is_nan() => String::new(),
            Self::F64(v) => crate::table::number(v[row]),
            Self::I64(v) => v[row].to_string(),
            Self::Bool(v) => if v[row] { "True" } else { "False" }.to_string(),
        }
    }
}

/// Rows with names and typed columns of equal length.
///
/// ```
/// use clcc_data::frame::{Column, Frame};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// let mut obs = Frame::new(vec!["AAA-1".into(), "CCC-1".into()]);
/// obs.set_category("sample", &["T1", "N1"]);
/// obs.set("n_counts", Column::I64(vec![5210, 833]));
/// assert_eq!(obs.texts("sample")?, ["T1", "N1"]);
/// assert_eq!(obs.take(&[1]).numbers("n_counts")?, [833.0]);
/// let message = obs.numbers("n_count").unwrap_err().to_string();
/// assert!(message.contains("`n_count`"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// Row names, for example cell ids or gene symbols.
    pub index: Vec<String>,
    /// Columns in order.
    pub columns: IndexMap<String, Column>,
}

impl Frame {
    /// A frame without columns.
    pub fn new(index: Vec<String>) -> Self {
        Self {
            index,
            columns: IndexMap::new(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Adds or replaces a column.
    ///
    /// # Panics
    /// Where the column's length is not the number of rows.
    pub fn set(&mut self, name: &str, column: Column) {
        assert_eq!(
            column.len(),
            self.len(),
            "column `{name}` has as many values as the frame has rows"
        );
        self.columns.insert(name.to_string(), column);
    }

    /// Adds or replaces a column of text from a fixed set.
    pub fn set_category<S: AsRef<str>>(&mut self, name: &str, values: &[S]) {
        self.set(name, Column::Category(Categorical::from_values(values)));
    }

    /// The column.
    ///
    /// # Errors
    /// [`StageError::Data`] that lists the columns there are.
    pub fn column(&self, name: &str) -> StageResult<&Column> {
        self.columns.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.keys().map(String::as_str).collect();
            StageError::data(format!(
                "no column `{name}`; the columns are `{}`",
                known.join("`, `")
            ))
        })
    }

    /// The column's values as text, one per row; missing values are empty.
    ///
    /// # Errors
    /// As [`Frame::column`].
    pub fn texts(&self, name: &str) -> StageResult<Vec<String>> {
        let column = self.column(name)?;
        Ok((0..self.len()).map(|r| column.text(r)).collect())
    }

    /// The column's values as numbers; flags are 0 and 1.
    ///
    /// # Errors
    /// As [`Frame::column`], and where the column is text.
    pub fn numbers(&self, name: &str) -> StageResult<Vec<f64>> {
        match self.column(name)? {
            Column::F64(v) => Ok(v.clone()),
            Column::I64(v) => Ok(v.iter().map(|&x| x as f64).collect()),
            Column::Bool(v) => Ok(v.iter().map(|&x| f64::from(u8::from(x))).collect()),
            Column::Str(_) | Column::Category(_) => Err(StageError::data(format!(
                "column `{name}`: expected numbers, found text"
            ))),
        }
    }

    /// The column's flags.
    ///
    /// # Errors
    /// As [`Frame::column`], and where the column is not flags.
    pub fn flags(&self, name: &str) -> StageResult<&[bool]> {
        match self.column(name)? {
            Column::Bool(v) => Ok(v),
            _ => Err(StageError::data(format!(
                "column `{name}`: expected true or false values"
            ))),
        }
    }

    /// Makes the values of text columns missing that stand for it ([`is_missing`]).
    pub fn blank_missing(&mut self) {
        for column in self.columns.values_mut() {
            match column {
                Column::Str(values) => {
                    let missing = values.iter_mut().filter(|v| is_missing(v));
                    missing.for_each(String::clear);
                }
                Column::Category(c) => c.drop_categories(is_missing),
                Column::F64(_) | Column::I64(_) | Column::Bool(_) => {}
            }
        }
    }

    /// The rows at `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            index: rows.iter().map(|&r| self.index[r].clone()).collect(),
            columns: self
                .columns
                .iter()
                .map(|(k, c)| (k.clone(), c.take(rows)))
                .collect(),
        }
    }

    /// The first row name that occurs twice.
    pub fn first_duplicate(&self) -> Option<&str> {
        let mut seen = HashSet::with_capacity(self.len());
        self.index
            .iter()
            .find(|name| !seen.insert(name.as_str()))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_missing_are_those_of_pandas() {
        for word in [
            "", "NA", "NaN", "nan", "None", "<NA>", "N/A", "null", "#N/A N/A",
        ] {
            assert!(is_missing(word), "{word}");
        }
        // pandas takes these as they are.
        for word in [
            "none", "na", "Na", "Nan", "NONE", " ", "0", "unknown", "N.A.",
        ] {
            assert!(!is_missing(word), "{word}");
        }
    }

    #[test]
    fn missing_words_are_blanked_in_text_and_in_categories() {
        let mut f = Frame::new(["a", "b", "c", "NA"].map(String::from).to_vec());
        f.set(
            "text",
            Column::Str(["x", "null", "NA", "y"].map(String::from).to_vec()),
        );
        f.set_category("kind", &["T cell", "None", "<NA>", "B cell"]);
        f.blank_missing();
        assert_eq!(f.texts("text").unwrap(), ["x", "", "", "y"]);
        assert_eq!(f.texts("kind").unwrap(), ["T cell", "", "", "B cell"]);
        let Column::Category(kind) = &f.columns["kind"] else {
            panic!("a category")
        };
        assert_eq!(kind.categories, ["B cell", "T cell"]);
        assert_eq!(kind.codes, [1, -1, -1, 0]);
        // Row names are names.
        assert_eq!(f.index[3], "NA");
    }
}
