//! The values of `uns`.

use std::collections::BTreeMap;

use ndarray::Array2;

use super::frame::{column, frame};
use super::{is_plain, named, unread};
use crate::anndata::Uns;
use crate::anndata::store::{Store, Values};
use crate::error::StageResult;

/// A value of `uns`; `None` for Python's `None`.
fn uns(store: &dyn Store, at: &str) -> StageResult<Option<Uns>> {
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
