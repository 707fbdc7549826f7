//! The values of `uns`.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3};

use super::frame::{column, frame};
use super::{is_plain, named, unread};
use crate::anndata::store::{Node, Store, Values};
use crate::anndata::{Image, Uns};
use crate::error::StageResult;
use crate::frame::Column;

/// A value of `uns`; `None` for Python's `None`.
fn uns(store: &dyn Store, at: &str) -> StageResult<Option<Uns>> {
    let node = store.require(at)?;
    if node.is_null() {
        return Ok(None);
    }
    let value = match &node.array {
        None => group(store, at, &node)?,
        Some(array) if is_plain(&array.dtype) => match array.shape[..] {
            [] => Some(scalar(store, at)?),
            [_] => Some(list(store, at)?),
            [rows, cols] => matrix(store, at, (rows as usize, cols as usize))?,
            [rows, cols, channels] => {
                let shape = (rows as usize, cols as usize, channels as usize);
                image(store, at, shape, &array.dtype)?
            }
            _ => None,
        },
        Some(_) => None,
    };
    let unknown = || {
        let found = named(&node);
        store.bad(
            at,
            format!("expected a value, an array or a table, found {found}"),
        )
    };
    value.ok_or_else(unknown).map(Some)
}

/// A value that is a group of arrays; `None` where it is of a kind that is not read.
fn group(store: &dyn Store, at: &str, node: &Node) -> StageResult<Option<Uns>> {
    match node.encoding() {
        "dataframe" => match frame(store, at)? {
            (frame, skipped) if skipped.is_empty() => Ok(Some(Uns::Frame(frame))),
            (_, skipped) => Err(unread(store, at, &skipped)),
        },
        "dict" | "" if node.text("h5sparse_format").is_empty() => {
            uns_dict(store, at).map(|d| Some(Uns::Dict(d)))
        }
        "categorical" | "nullable-integer" | "nullable-boolean" | "nullable-string-array" => {
            let texts = |c: Column| Uns::Strings((0..c.len()).map(|r| c.text(r)).collect());
            Ok(column(store, at)?.map(texts))
        }
        _ => Ok(None),
    }
}

/// A single value.
fn scalar(store: &dyn Store, at: &str) -> StageResult<Uns> {
    let none = || store.bad(at, "expected one value".into());
    Ok(match store.read(at)? {
        Values::Bool(v) => Uns::Bool(*v.first().ok_or_else(none)?),
        Values::Text(mut v) => Uns::Str(v.pop().ok_or_else(none)?),
        values @ (Values::F32(_) | Values::F64(_)) => {
            let first = values.to_f64().and_then(|v| v.first().copied());
            Uns::F64(first.ok_or_else(none)?)
        }
        integers => {
            let values = integers.into_i64().map_err(|e| store.bad(at, e))?;
            Uns::I64(*values.first().ok_or_else(none)?)
        }
    })
}

/// An array of one axis.
fn list(store: &dyn Store, at: &str) -> StageResult<Uns> {
    Ok(match store.read(at)? {
        Values::Text(v) => Uns::Strings(v),
        values @ (Values::F32(_) | Values::F64(_)) => {
            Uns::Numbers(values.to_f64().unwrap_or_default())
        }
        Values::Bool(v) => Uns::Integers(v.into_iter().map(i64::from).collect()),
        integers => Uns::Integers(integers.into_i64().map_err(|e| store.bad(at, e))?),
    })
}

/// An array of two axes; `None` where it is not of numbers.
fn matrix(store: &dyn Store, at: &str, shape: (usize, usize)) -> StageResult<Option<Uns>> {
    let fill = |values| {
        let matrix = Array2::from_shape_vec(shape, values);
        matrix.map_err(|e| store.bad(at, format!("values do not fill the shape: {e}")))
    };
    let values = store.read(at)?.to_f64();
    Ok(values.map(fill).transpose()?.map(Uns::Matrix))
}

/// An array of three axes; `None` where it is neither of bytes nor of real numbers.
fn image(
    store: &dyn Store,
    at: &str,
    shape: (usize, usize, usize),
    dtype: &str,
) -> StageResult<Option<Uns>> {
    let bad = |e: String| store.bad(at, format!("values do not fill the shape: {e}"));
    let image = match (dtype, store.read(at)?) {
        ("uint8", values) => {
            let values = values.into_i64().map_err(|e| store.bad(at, e))?;
            let bytes = values.into_iter().map(|v| v as u8).collect();
            Array3::from_shape_vec(shape, bytes).map(Image::Bytes)
        }
        (_, values @ (Values::F32(_) | Values::F64(_))) => {
            let values = values.to_f64().unwrap_or_default();
            let reals = values.into_iter().map(|v| v as f32).collect();
            Array3::from_shape_vec(shape, reals).map(Image::Reals)
        }
        _ => return Ok(None),
    };
    image
        .map(|i| Some(Uns::Image(i)))
        .map_err(|e| bad(e.to_string()))
}

/// All values of a group of `uns`. A link can make a group its own member, so there is an end to how deep groups
/// may be nested.
pub(in crate::anndata) fn uns_dict(
    store: &dyn Store,
    at: &str,
) -> StageResult<BTreeMap<String, Uns>> {
    const DEEPEST: usize = 32;
    if at.matches('/').count() > DEEPEST {
        let message = format!("groups are nested more than {DEEPEST} deep, or one contains itself");
        return Err(store.bad(at, message));
    }
    let mut values = BTreeMap::new();
    for name in store.children(at)? {
        if let Some(value) = uns(store, &format!("{at}/{name}"))? {
            values.insert(name, value);
        }
    }
    Ok(values)
}
