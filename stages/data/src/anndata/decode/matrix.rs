//! Dense and compressed matrices.

use ndarray::Array2;
use serde_json::Value;

use super::named;
use crate::anndata::store::Store;
use crate::error::StageResult;
use crate::matrix::{Csr, Matrix};

/// Rows and columns of a matrix, and how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::anndata) struct MatrixInfo {
    pub(in crate::anndata) rows: usize,
    pub(in crate::anndata) cols: usize,
    pub(in crate::anndata) layout: Layout,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::anndata) enum Layout {
    Dense,
    Csr,
    Csc,
}

/// What is said where a matrix should be and there is none.
pub const NO_MATRIX: &str = "expected a matrix, found none";

/// What matrix is at `at`.
pub(in crate::anndata) fn matrix_info(store: &dyn Store, at: &str) -> StageResult<MatrixInfo> {
    // anndata 0.12 and later write no `X` at all where there is none.
    if at == "X" && store.node(at)?.is_none() {
        return Err(store.bad(at, NO_MATRIX.into()));
    }
    let node = store.require(at)?;
    if node.is_null() {
        return Err(store.bad(at, NO_MATRIX.into()));
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
        [rows, cols] if rows.max(cols) > i32::MAX as usize => Err(store.bad(
            at,
            format!("expected at most 2^31 rows and columns, found {rows} x {cols}"),
        )),
        [rows, cols] => Ok(MatrixInfo { rows, cols, layout }),
        _ => Err(store.bad(at, "expected a `shape` of two numbers".into())),
    }
}

/// The matrix at `at`; a CSC one is turned.
pub(in crate::anndata) fn matrix(store: &dyn Store, at: &str) -> StageResult<Matrix> {
    let info = matrix_info(store, at)?;
    if info.layout == Layout::Dense {
        let values = store.read(at)?.into_f32().map_err(|e| store.bad(at, e))?;
        let dense = Array2::from_shape_vec((info.rows, info.cols), values)
            .map_err(|e| store.bad(at, format!("values do not fill the shape: {e}")))?;
        return Ok(Matrix::Dense(dense));
    }
    let minor = if info.layout == Layout::Csr {
        info.cols
    } else {
        info.rows
    };
    let indptr = row_pointers(store, at, info)?;
    let (compressed, _) = csr_part(store, at, minor, indptr, None)?;
    Ok(Matrix::Csr(if info.layout == Layout::Csr {
        compressed
    } else {
        compressed.transpose()
    }))
}

/// The CSC matrix at `at` by rows, and the entries that were added to another.
pub(in crate::anndata) fn turned(
    store: &dyn Store,
    at: &str,
    info: MatrixInfo,
) -> StageResult<(Csr, u64)> {
    let indptr = row_pointers(store, at, info)?;
    let (columns, n_summed) = csr_part(store, at, info.rows, indptr, None)?;
    Ok((columns.transpose(), n_summed))
}

/// The pointers of a compressed matrix: one a row and one more (a column, for CSC).
pub(in crate::anndata) fn row_pointers(
    store: &dyn Store,
    at: &str,
    info: MatrixInfo,
) -> StageResult<Vec<u64>> {
    let place = format!("{at}/indptr");
    let indptr = store
        .read(&place)?
        .into_u64()
        .map_err(|e| store.bad(&place, e))?;
    let (major, minor, name, other) = match info.layout {
        Layout::Csc => (info.cols, info.rows, "csc", "csr"),
        _ => (info.rows, info.cols, "csr", "csc"),
    };
    let message = if indptr.len() != major + 1 {
        let mut message = format!(
            "expected {} pointers of a {name} matrix of {} x {}, found {}",
            major + 1,
            info.rows,
            info.cols,
            indptr.len()
        );
        if indptr.len() == minor + 1 {
            message.push_str(&format!(": this is a {other} matrix named {name}"));
        }
        message
    } else if let Some(i) = (1..indptr.len()).find(|&i| indptr[i] < indptr[i - 1]) {
        format!(
            "expected pointers that never fall, found {} after {}",
            indptr[i],
            indptr[i - 1]
        )
    } else if indptr[0] != 0 {
        format!("expected pointers that start at 0, found {}", indptr[0])
    } else {
        return Ok(indptr);
    };
    Err(store.bad(&place, message))
}

/// A compressed matrix from its pointers (which start at 0) and the entries at `entries`, or all; and the
/// entries that were added to another of their row and column.
pub(in crate::anndata) fn csr_part(
    store: &dyn Store,
    at: &str,
    n_cols: usize,
    indptr: Vec<u64>,
    entries: Option<std::ops::Range<u64>>,
) -> StageResult<(Csr, u64)> {
    let read = |name: &str| {
        let place = format!("{at}/{name}");
        let values = match &entries {
            Some(range) => store.read_rows(&place, range.clone()),
            None => store.read(&place),
        };
        (values, place)
    };
    // Two arrays of one size: what a thread has left over, it does of the other.
    let ((indices, indices_at), (data, data_at)) = rayon::join(|| read("indices"), || read("data"));
    let indices = indices?.into_u32().map_err(|e| store.bad(&indices_at, e))?;
    let data = data?.into_f32().map_err(|e| store.bad(&data_at, e))?;
    Csr::summed(n_cols, indptr, indices, data).map_err(|e| store.bad(at, e.to_string()))
}
