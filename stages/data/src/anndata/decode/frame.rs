//! Data frames: `obs`, `var` and tables in `uns`.

use serde_json::Value;

use super::{is_plain, named};
use crate::anndata::store::{Store, Values, as_printed};
use crate::error::{StageError, StageResult};
use crate::frame::{Categorical, Column, Frame, LeftOut};

/// A data frame, and the columns that cannot be read: in another encoding, or broken.
pub(in crate::anndata) fn frame(store: &dyn Store, at: &str) -> StageResult<(Frame, Vec<LeftOut>)> {
    let node = store.require(at)?;
    if node.array.as_ref().is_some_and(|a| a.dtype == "compound") {
        return Err(store.bad(
            at,
            "expected a group of columns, found one compound dataset: a file of anndata 0.6 or older; \
             open and save it once with a newer anndata"
                .into(),
        ));
    }
    if node.array.is_some() || !matches!(node.encoding(), "dataframe" | "") {
        return Err(store.bad(at, format!("expected a data frame, found {}", named(&node))));
    }
    let index_name = match node.text("_index") {
        "" => "_index",
        name => name,
    };
    let index = match column(store, &format!("{at}/{index_name}"))? {
        Some(Column::Str(index)) => index,
        Some(index) => (0..index.len()).map(|r| index.text(r)).collect(),
        None => {
            return Err(store.bad(
                &format!("{at}/{index_name}"),
                "expected texts as row names".into(),
            ));
        }
    };
    let names: Vec<String> = match node.attributes.get("column-order") {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_string)
            .collect(),
        // h5py gives a list of one as text.
        Some(Value::String(name)) => vec![name.clone()],
        _ => store
            .children(at)?
            .into_iter()
            .filter(|n| n != index_name && n != "__categories")
            .collect(),
    };
    let mut frame = Frame::new(index);
    let mut left_out = Vec::new();
    for name in names {
        match named_column(store, at, &name, frame.len()) {
            Ok(Some(c)) => frame.set(&name, c),
            Ok(None) => left_out.push(LeftOut {
                name,
                why: "has an encoding that is not read".to_string(),
            }),
            Err(StageError::Format { message, .. }) => left_out.push(LeftOut {
                name,
                why: format!("cannot be read: {message}"),
            }),
            Err(other) => return Err(other),
        }
    }
    Ok((frame, left_out))
}

/// The column `name` of a data frame of `n` rows; `None` where its encoding is not read.
fn named_column(store: &dyn Store, at: &str, name: &str, n: usize) -> StageResult<Option<Column>> {
    let place = format!("{at}/{name}");
    if name.is_empty() {
        return Err(store.bad(&place, "it has no name".into()));
    }
    let found = match legacy_category(store, at, name)? {
        Some(column) => Some(column),
        None => column(store, &place)?,
    };
    match found {
        Some(c) if c.len() != n => {
            Err(store.bad(&place, format!("expected {n} values, found {}", c.len())))
        }
        found => Ok(found),
    }
}

/// Before anndata 0.8 the categories of column `c` lay in `__categories/c`, the codes in `c`.
fn legacy_category(store: &dyn Store, at: &str, name: &str) -> StageResult<Option<Column>> {
    let place = format!("{at}/__categories/{name}");
    let Some(node) = store.node(&place)? else {
        return Ok(None);
    };
    let categories = store.read(&place)?.into_text();
    let ordered = node.attributes.get("ordered").is_some_and(is_true);
    categorical(
        store,
        &format!("{at}/{name}"),
        store.read(&format!("{at}/{name}"))?,
        categories,
        ordered,
    )
    .map(Some)
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_i64() == Some(1))
}

/// A column, or `None` where its encoding is not read.
pub(super) fn column(store: &dyn Store, at: &str) -> StageResult<Option<Column>> {
    let node = store.require(at)?;
    if let Some(array) = &node.array {
        if array.shape.len() != 1 || !is_plain(&array.dtype) {
            return Ok(None);
        }
        return plain_column(store.read(at)?)
            .map_err(|e| store.bad(at, e))
            .map(Some);
    }
    let part = |name: &str| store.read(&format!("{at}/{name}"));
    Ok(match node.encoding() {
        "categorical" => {
            let place = format!("{at}/categories");
            let categories = match column(store, &place)? {
                Some(c) => (0..c.len()).map(|r| c.text(r)).collect(),
                None => return Ok(None),
            };
            let ordered = node.attributes.get("ordered").is_some_and(is_true);
            Some(categorical(store, at, part("codes")?, categories, ordered)?)
        }
        "nullable-integer" | "nullable-boolean" | "nullable-string-array" => {
            let mask = part("mask")?
                .into_bool()
                .map_err(|e| store.bad(&format!("{at}/mask"), e))?;
            let values = plain_column(part("values")?).map_err(|e| store.bad(at, e))?;
            if mask.len() != values.len() {
                return Err(store.bad(
                    at,
                    format!(
                        "{} values, but {} marks of missing ones",
                        values.len(),
                        mask.len()
                    ),
                ));
            }
            Some(with_missing(values, &mask))
        }
        _ => None,
    })
}

fn plain_column(values: Values) -> Result<Column, String> {
    Ok(match values {
        Values::Bool(v) => Column::Bool(v),
        // A column may name things, and a name is what is printed.
        Values::F32(v) => Column::F64(v.into_iter().map(as_printed).collect()),
        Values::F64(v) => Column::F64(v),
        Values::Text(v) => Column::Str(v),
        // As digits where they do not fit: nothing wraps around.
        Values::U64(v) if v.iter().any(|&x| x > i64::MAX as u64) => {
            Column::Str(v.iter().map(ToString::to_string).collect())
        }
        integers => Column::I64(integers.into_i64()?),
    })
}

/// Whole numbers of this size and less are exact as f64.
const EXACT: u64 = 1 << 53;

/// Missing whole numbers turn the column into numbers with NaN (into text where those would round), missing
/// flags into a category.
fn with_missing(values: Column, mask: &[bool]) -> Column {
    if !mask.contains(&true) {
        return values;
    }
    match values {
        Column::I64(v)
            if v.iter()
                .zip(mask)
                .any(|(x, m)| !m && x.unsigned_abs() > EXACT) =>
        {
            let text = |(x, m): (&i64, &bool)| if *m { String::new() } else { x.to_string() };
            Column::Str(v.iter().zip(mask).map(text).collect())
        }
        Column::I64(v) => Column::F64(
            v.iter()
                .zip(mask)
                .map(|(&x, &m)| if m { f64::NAN } else { x as f64 })
                .collect(),
        ),
        Column::Str(mut v) => {
            v.iter_mut()
                .zip(mask)
                .filter(|(_, m)| **m)
                .for_each(|(x, _)| x.clear());
            Column::Str(v)
        }
        other => {
            let texts: Vec<String> = (0..other.len())
                .map(|r| {
                    if mask[r] {
                        String::new()
                    } else {
                        other.text(r)
                    }
                })
                .collect();
            Column::Category(Categorical::from_values(&texts))
        }
    }
}

fn categorical(
    store: &dyn Store,
    at: &str,
    codes: Values,
    categories: Vec<String>,
    ordered: bool,
) -> StageResult<Column> {
    let codes = codes.into_i64().map_err(|e| store.bad(at, e))?;
    let n = categories.len() as i64;
    if let Some(code) = codes.iter().find(|&&c| c < -1 || c >= n) {
        return Err(store.bad(at, format!("code `{code}` in a column of {n} categories")));
    }
    let codes = codes.into_iter().map(|c| c as i32).collect();
    Ok(Column::Category(Categorical {
        codes,
        categories,
        ordered,
    }))
}
