//! anndata's encodings into our types, for every container alike.

use std::collections::BTreeMap;

use ndarray::Array2;
use serde_json::Value;

use super::Uns;
use super::store::{Node, Store, Values};
use crate::error::{StageError, StageResult};
use crate::frame::{Categorical, Column, Frame};
use crate::matrix::{Csr, Matrix};

/// A data frame, and the names of columns in an encoding that is not read.
pub(super) fn frame(store: &dyn Store, at: &str) -> StageResult<(Frame, Vec<String>)> {
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
    let mut skipped = Vec::new();
    for name in names {
        let place = format!("{at}/{name}");
        match legacy_category(store, at, &name)?
            .map_or_else(|| column(store, &place), |c| Ok(Some(c)))?
        {
            Some(c) if c.len() == frame.len() => frame.set(&name, c),
            Some(c) => {
                return Err(store.bad(
                    &place,
                    format!("expected {} values, found {}", frame.len(), c.len()),
                ));
            }
            None => skipped.push(name),
        }
    }
    Ok((frame, skipped))
}

fn named(node: &Node) -> String {
    match (&node.array, node.encoding()) {
        (_, encoding) if !encoding.is_empty() => format!("the encoding `{encoding}`"),
        (Some(array), _) => format!("an array of `{}` with shape {:?}", array.dtype, array.shape),
        (None, _) => "a group without an encoding".to_string(),
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
fn column(store: &dyn Store, at: &str) -> StageResult<Option<Column>> {
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

fn is_plain(dtype: &str) -> bool {
    // Not `compound`, references, dates (`<M8[ns]`) and the like.
    let d = dtype.trim_start_matches(['<', '>', '|', '=']);
    [
        "int", "uint", "float", "bool", "string", "i", "u", "f", "b1", "O",
    ]
    .iter()
    .any(|p| d.starts_with(p))
}

fn plain_column(values: Values) -> Result<Column, String> {
    Ok(match values {
        Values::Bool(v) => Column::Bool(v),
        Values::F32(v) => Column::F64(v.into_iter().map(f64::from).collect()),
        Values::F64(v) => Column::F64(v),
        Values::Text(v) => Column::Str(v),
        integers => Column::I64(integers.into_i64()?),
    })
}

/// Missing whole numbers turn the column into numbers with NaN, missing flags into a category.
fn with_missing(values: Column, mask: &[bool]) -> Column {
    if !mask.contains(&true) {
        return values;
    }
    match values {
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

/// Rows and columns of a matrix, and how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MatrixInfo {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) layout: Layout,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Dense,
    Csr,
    Csc,
}

/// What matrix lies at `at`.
pub(super) fn matrix_info(store: &dyn Store, at: &str) -> StageResult<MatrixInfo> {
    let node = store.require(at)?;
    if node.is_null() {
        return Err(store.bad(at, "expected a matrix, found none".into()));
    }
    let no_matrix = || {
        store.bad(
            at,
            format!(
                "expected a dense, CSR or CSC matrix, found {}",
                named(&node)
            ),
        )
    };
    if let Some(array) = &node.array {
        let [rows, cols] = array.shape[..] else {
            return Err(no_matrix());
        };
        return Ok(MatrixInfo {
            rows: rows as usize,
            cols: cols as usize,
            layout: Layout::Dense,
        });
    }
    let layout = match (node.encoding(), node.text("h5sparse_format")) {
        ("csr_matrix", _) | ("", "csr") => Layout::Csr,
        ("csc_matrix", _) | ("", "csc") => Layout::Csc,
        _ => return Err(no_matrix()),
    };
    let shape = node
        .attributes
        .get("shape")
        .or_else(|| node.attributes.get("h5sparse_shape"));
    let shape: Vec<usize> = shape
        .and_then(Value::as_array)
        .map(|s| {
            s.iter()
                .filter_map(|v| v.as_u64().map(|v| v as usize))
                .collect()
        })
        .unwrap_or_default();
    match shape[..] {
        [rows, cols] => Ok(MatrixInfo { rows, cols, layout }),
        _ => Err(store.bad(at, "expected a `shape` of two numbers".into())),
    }
}

/// The matrix at `at`; a CSC one is turned.
pub(super) fn matrix(store: &dyn Store, at: &str) -> StageResult<Matrix> {
    let info = matrix_info(store, at)?;
    if info.layout == Layout::Dense {
        let values = store.read(at)?.into_f32().map_err(|e| store.bad(at, e))?;
        let dense = Array2::from_shape_vec((info.rows, info.cols), values)
            .map_err(|e| store.bad(at, format!("values do not fill the shape: {e}")))?;
        return Ok(Matrix::Dense(dense));
    }
    let (major, minor) = if info.layout == Layout::Csr {
        (info.rows, info.cols)
    } else {
        (info.cols, info.rows)
    };
    let indptr = row_pointers(store, at, major)?;
    let compressed = csr_part(store, at, minor, indptr, None)?;
    Ok(Matrix::Csr(if info.layout == Layout::Csr {
        compressed
    } else {
        compressed.transpose()
    }))
}

/// The row pointers of a compressed matrix.
pub(super) fn row_pointers(store: &dyn Store, at: &str, rows: usize) -> StageResult<Vec<u64>> {
    let place = format!("{at}/indptr");
    let indptr = store
        .read(&place)?
        .into_u64()
        .map_err(|e| store.bad(&place, e))?;
    if indptr.len() == rows + 1 && indptr.windows(2).all(|w| w[0] <= w[1]) {
        return Ok(indptr);
    }
    Err(store.bad(
        &place,
        format!(
            "expected {} pointers that never fall, found {}",
            rows + 1,
            indptr.len()
        ),
    ))
}

/// A compressed matrix from its pointers (which start at 0) and the entries at `entries`, or all.
pub(super) fn csr_part(
    store: &dyn Store,
    at: &str,
    n_cols: usize,
    indptr: Vec<u64>,
    entries: Option<std::ops::Range<u64>>,
) -> StageResult<Csr> {
    let read = |name: &str| {
        let place = format!("{at}/{name}");
        let values = match &entries {
            Some(range) => store.read_rows(&place, range.clone()),
            None => store.read(&place),
        };
        (values, place)
    };
    let (indices, place) = read("indices");
    let indices = indices?.into_u32().map_err(|e| store.bad(&place, e))?;
    let (data, place) = read("data");
    let data = data?.into_f32().map_err(|e| store.bad(&place, e))?;
    Csr::new(n_cols, indptr, indices, data).map_err(|e| store.bad(at, e.to_string()))
}

/// A value of `uns`; `None` for Python's `None`.
pub(super) fn uns(store: &dyn Store, at: &str) -> StageResult<Option<Uns>> {
    let node = store.require(at)?;
    let unknown = || {
        Err(store.bad(
            at,
            format!(
                "expected a value, an array or a table, found {}",
                named(&node)
            ),
        ))
    };
    if node.is_null() {
        return Ok(None);
    }
    let Some(array) = &node.array else {
        return match node.encoding() {
            "dataframe" => match frame(store, at)? {
                (frame, skipped) if skipped.is_empty() => Ok(Some(Uns::Frame(frame))),
                (_, skipped) => Err(unread(store, at, &skipped)),
            },
            "dict" | "" if node.text("h5sparse_format").is_empty() => {
                uns_dict(store, at).map(|d| Some(Uns::Dict(d)))
            }
            "categorical" | "nullable-integer" | "nullable-boolean" | "nullable-string-array" => {
                match column(store, at)? {
                    Some(c) => Ok(Some(Uns::Strings(
                        (0..c.len()).map(|r| c.text(r)).collect(),
                    ))),
                    None => unknown(),
                }
            }
            _ => unknown(),
        };
    };
    if !is_plain(&array.dtype) {
        return unknown();
    }
    let shape = array.shape.clone();
    let values = store.read(at)?;
    let scalar = || store.bad(at, "expected one value".into());
    Ok(Some(match shape[..] {
        [] => match values {
            Values::Bool(v) => Uns::Bool(*v.first().ok_or_else(scalar)?),
            Values::Text(mut v) => Uns::Str(v.pop().ok_or_else(scalar)?),
            Values::F32(_) | Values::F64(_) => Uns::F64(
                *values
                    .to_f64()
                    .and_then(|v| v.first().copied())
                    .as_ref()
                    .ok_or_else(scalar)?,
            ),
            integers => Uns::I64(
                *integers
                    .into_i64()
                    .map_err(|e| store.bad(at, e))?
                    .first()
                    .ok_or_else(scalar)?,
            ),
        },
        [_] => match values {
            Values::Text(v) => Uns::Strings(v),
            Values::F32(_) | Values::F64(_) => Uns::Numbers(values.to_f64().unwrap_or_default()),
            Values::Bool(v) => Uns::Integers(v.into_iter().map(i64::from).collect()),
            integers => Uns::Integers(integers.into_i64().map_err(|e| store.bad(at, e))?),
        },
        [rows, cols] => match values.to_f64() {
            Some(v) => Uns::Matrix(
                Array2::from_shape_vec((rows as usize, cols as usize), v)
                    .map_err(|e| store.bad(at, format!("values do not fill the shape: {e}")))?,
            ),
            None => return unknown(),
        },
        _ => return unknown(),
    }))
}

/// All values of a group of `uns`.
pub(super) fn uns_dict(store: &dyn Store, at: &str) -> StageResult<BTreeMap<String, Uns>> {
    let mut values = BTreeMap::new();
    for name in store.children(at)? {
        if let Some(value) = uns(store, &format!("{at}/{name}"))? {
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// The error for columns in an encoding that is not read.
pub(super) fn unread(store: &dyn Store, at: &str, columns: &[String]) -> StageError {
    store.bad(
        at,
        format!(
            "columns in an encoding that is not read: {}",
            super::store::list(columns)
        ),
    )
}
