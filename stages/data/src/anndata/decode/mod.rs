//! anndata's encodings into our types, for every container alike.

mod frame;
mod matrix;
mod uns;

pub(super) use frame::frame;
pub use matrix::NO_MATRIX;
pub(super) use matrix::{Layout, MatrixInfo, csr_part, matrix, matrix_info, row_pointers, turned};
pub(super) use uns::uns_dict;

use super::store::{Node, Store};
use crate::error::StageError;
use crate::frame::LeftOut;

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

/// The error for columns that cannot be read.
pub(super) fn unread(store: &dyn Store, at: &str, columns: &[LeftOut]) -> StageError {
    let each: Vec<String> = columns
        .iter()
        .map(|c| format!("column `{}` {}", c.name, c.why))
        .collect();
    store.bad(at, each.join("; "))
}
