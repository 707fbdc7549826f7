//! anndata's encodings into our types, for every container alike.

mod frame;
mod matrix;
mod uns;

pub(super) use frame::frame;
pub(super) use matrix::{Layout, MatrixInfo, csr_part, matrix, matrix_info, row_pointers};
pub(super) use uns::uns_dict;

use super::store::{Node, Store, list};
use crate::error::StageError;

/// What a node is, for messages.
fn named(node: &Node) -> String {
    match (&node.array, node.encoding()) {
        (_, encoding) if !encoding.is_empty() => format!("the encoding `{encoding}`"),
        (Some(array), _) => format!("an array of `{}` with shape {:?}", array.dtype, array.shape),
        (None, _) => "a group without an encoding".to_string(),
    }
}

/// Whether an array of this type has values that are read: not compound ones, references, dates
/// (`<M8[ns]`), half floats and the like.
fn is_plain(dtype: &str) -> bool {
    let bits = dtype
        .trim_start_matches('u')
        .strip_prefix("int")
        .or_else(|| dtype.strip_prefix("float"));
    match bits {
        Some(bits) => {
            matches!(bits, "8" | "16" | "32" | "64") && dtype != "float16" && dtype != "float8"
        }
        None => matches!(dtype, "bool" | "string"),
    }
}

/// The error for columns in an encoding that is not read.
pub(super) fn unread(store: &dyn Store, at: &str, columns: &[String]) -> StageError {
    store.bad(
        at,
        format!("columns in an encoding that is not read: {}", list(columns)),
    )
}
