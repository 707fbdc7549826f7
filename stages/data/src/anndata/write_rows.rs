//! Writes a store whose matrices come a block of rows at a time, for what is too large for memory.
//!
//! The bytes are those of [`AnnData::write_zarr`](super::AnnData::write_zarr) of the whole. What is held is a chunk of
//! each array, and the row pointers of sparse matrices.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::stored::Stored;
use super::write::{
    CHUNK_VALUES, Writer, array_metadata, encoding, join, raw_encoding, scipy_indices, store_chunks,
};
use super::{Uns, write};
use crate::error::{StageError, StageResult};
use crate::frame::Frame;
use crate::matrix::{Csr, Matrix};

/// A zarr store that grows by rows.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use clcc_data::anndata::{Reader, RowsWriter};
/// use clcc_data::frame::Frame;
/// use clcc_data::matrix::{Csr, Matrix};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// # let dir = tempfile::tempdir().expect("a folder");
/// let path = dir.path().join("cohort.zarr");
/// let mut store = RowsWriter::create(&path)?;
/// store.append("X", &Matrix::Csr(Csr::from_rows(2, [vec![(0, 1.0)]])))?;
/// store.append("X", &Matrix::Csr(Csr::from_rows(2, [vec![(1, 2.0)], vec![]])))?;
/// let names = |names: &[&str]| Frame::new(names.iter().map(|n| n.to_string()).collect());
/// store.finish(&names(&["a", "b", "c"]), &names(&["MYC", "TP53"]), None, BTreeMap::new())?;
/// assert_eq!(Reader::open(&path)?.x()?.into_csr().get(1, 1), 2.0);
/// # Ok(())
/// # }
/// ```
pub struct RowsWriter {
    writer: Writer,
    matrices: BTreeMap<String, Growing>,
}

impl std::fmt::Debug for RowsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.matrices.keys()).finish()
    }
}

impl RowsWriter {
    /// Begins a store at `path`, which must not exist.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn create(path: &Path) -> StageResult<Self> {
        write::absent(path)?;
        Ok(Self {
            writer: Writer::create(path)?,
            matrices: BTreeMap::new(),
        })
    }

    /// Adds rows to the matrix `element`: `X`, `raw/X`, or a name in `layers` or `obsm`. The first block decides over
    /// its columns, and whether it is sparse.
    ///
    /// # Errors
    /// [`StageError::Data`] where the block has other columns than those before, [`StageError::Io`].
    pub fn append(&mut self, element: &str, block: &Matrix) -> StageResult<()> {
        if !self.matrices.contains_key(element) {
            if let Some((group, name)) = element.split_once('/') {
                join(group, name)?;
            }
            self.matrices
                .insert(element.to_string(), Growing::new(element, block));
        }
        let growing = self.matrices.get_mut(element).expect("just inserted");
        growing.append(&self.writer, element, block)
    }

    /// Writes cells, features, those of `raw` where it has a matrix, and `uns`; then the store is whole.
    ///
    /// # Errors
    /// [`StageError::Data`] where a matrix has not a row per cell, or not a column per feature.
    pub fn finish(
        mut self,
        obs: &Frame,
        var: &Frame,
        raw_var: Option<&Frame>,
        uns: BTreeMap<String, Uns>,
    ) -> StageResult<()> {
        for (element, matrix) in &self.matrices {
            let cols = match element.split('/').next() {
                Some("X" | "layers") => Some(var.len()),
                Some("raw") => Some(raw_var.map_or(0, Frame::len)),
                _ => None,
            };
            let (rows, found) = matrix.shape();
            if rows != obs.len() || cols.is_some_and(|c| c != found) {
                let cols = cols.map_or("any".to_string(), |c| c.to_string());
                return Err(StageError::data(format!(
                    "`{element}`: expected {} x {cols}, found {rows} x {found}",
                    obs.len()
                )));
            }
        }
        let w = &mut self.writer;
        w.frame("obs", obs)?;
        w.frame("var", var)?;
        for group in ["layers", "obsm", "varm", "obsp", "varp"] {
            w.dict(group)?;
        }
        w.uns("uns", &Uns::Dict(uns))?;
        if let Some(raw_var) = raw_var {
            w.group("raw", raw_encoding())?;
            w.frame("raw/var", raw_var)?;
            w.dict("raw/varm")?;
        }
        for (element, matrix) in self.matrices {
            matrix.finish(w, &element)?;
        }
        self.writer.finish()
    }
}

/// A matrix so far.
enum Growing {
    Csr {
        n_cols: usize,
        indptr: Vec<u64>,
        data: Strip<f32>,
        indices: Strip<i32>,
    },
    Dense {
        n_cols: usize,
        values: Strip<f32>,
    },
}

impl Growing {
    fn new(at: &str, first: &Matrix) -> Self {
        match first {
            Matrix::Csr(m) => Self::Csr {
                n_cols: m.n_cols(),
                indptr: vec![0],
                data: Strip::new(format!("{at}/data"), None),
                indices: Strip::new(format!("{at}/indices"), None),
            },
            Matrix::Dense(a) => Self::Dense {
                n_cols: a.ncols(),
                values: Strip::new(at.to_string(), Some(a.ncols())),
            },
        }
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Csr { n_cols, indptr, .. } => (indptr.len() - 1, *n_cols),
            Self::Dense { n_cols, values } => (values.rows, *n_cols),
        }
    }

    fn append(&mut self, w: &Writer, element: &str, block: &Matrix) -> StageResult<()> {
        let (_, expected) = self.shape();
        if block.shape().1 != expected {
            return Err(StageError::data(format!(
                "`{element}`: expected {expected} columns as in the rows before, found {}",
                block.shape().1
            )));
        }
        match self {
            Self::Csr {
                indptr,
                data,
                indices,
                ..
            } => {
                let turned;
                let block = match block {
                    Matrix::Csr(m) => m,
                    Matrix::Dense(a) => {
                        turned = Csr::from_dense(a);
                        &turned
                    }
                };
                let before = *indptr.last().expect("one more than rows");
                indptr.extend(block.indptr()[1..].iter().map(|p| before + p));
                data.push(w, block.data(), block.nnz())?;
                indices.push(w, &scipy_indices(element, block)?, block.nnz())
            }
            Self::Dense { values, .. } => {
                let dense = block.clone().into_dense();
                let dense = dense.as_standard_layout();
                let flat = dense.as_slice().expect("standard layout");
                values.push(w, flat, dense.nrows())
            }
        }
    }

    fn finish(self, w: &mut Writer, at: &str) -> StageResult<()> {
        let shape = self.shape();
        match self {
            Self::Dense { values, .. } => values.finish(w, encoding("array")),
            Self::Csr {
                indptr,
                data,
                indices,
                ..
            } => {
                w.group(
                    at,
                    json!({"shape": [shape.0, shape.1], "encoding-type": "csr_matrix", "encoding-version": "0.1.0"}),
                )?;
                data.finish(w, json!({}))?;
                indices.finish(w, json!({}))?;
                w.pointers(at, &indptr)
            }
        }
    }
}

/// An array that grows along its first dimension, of which no more than a chunk is held.
struct Strip<T> {
    at: String,
    /// Columns of an array of two dimensions.
    n_cols: Option<usize>,
    rows: usize,
    stored_chunks: usize,
    held: Vec<T>,
}

impl<T: Stored> Strip<T> {
    const fn new(at: String, n_cols: Option<usize>) -> Self {
        Self {
            at,
            n_cols,
            rows: 0,
            stored_chunks: 0,
            held: Vec::new(),
        }
    }

    /// Values per row.
    fn row(&self) -> usize {
        self.n_cols.unwrap_or(1)
    }

    /// Rows of a chunk of an array of more than one chunk, as `write` cuts them.
    fn chunk_rows(&self) -> usize {
        (CHUNK_VALUES / self.row().max(1)).max(1)
    }

    /// Shape of the array if it has `rows` rows.
    fn of_rows(&self, rows: usize) -> Vec<usize> {
        std::iter::once(rows).chain(self.n_cols).collect()
    }

    fn chunk_shape(&self, rows: usize) -> Vec<usize> {
        let cols = self.n_cols.map(|c| c.max(1));
        std::iter::once(rows).chain(cols).collect()
    }

    fn push(&mut self, w: &Writer, values: &[T], rows: usize) -> StageResult<()> {
        self.rows += rows;
        self.held.extend_from_slice(values);
        let whole = self.chunk_rows() * self.row();
        let n_full = self.held.len().checked_div(whole).unwrap_or(0);
        if n_full == 0 {
            return Ok(());
        }
        let rest = self.held.split_off(n_full * whole);
        let full = std::mem::replace(&mut self.held, rest);
        // How long the array will be is not known yet, and does not matter to its chunks.
        let so_far = self.of_rows(self.rows);
        let metadata =
            array_metadata::<T>(&so_far, &self.chunk_shape(self.chunk_rows()), json!({}));
        let array = w.unlisted_array(&self.at, metadata)?;
        store_chunks(&array, &w.place(&self.at), self.stored_chunks, whole, &full)?;
        self.stored_chunks += n_full;
        Ok(())
    }

    fn finish(self, w: &mut Writer, attributes: serde_json::Value) -> StageResult<()> {
        let chunk_rows = self.chunk_rows().min(self.rows.max(1));
        let array = w.open_array::<T>(
            &self.at,
            &self.of_rows(self.rows),
            &self.chunk_shape(chunk_rows),
            attributes,
        )?;
        let whole = chunk_rows * self.row();
        let place = w.place(&self.at);
        store_chunks(&array, &place, self.stored_chunks, whole, &self.held)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::anndata::{AnnData, Raw};
    use crate::frame::Column;

    /// 3,000 cells; with `wide` columns several chunks of the dense array, and of the sparse one's entries.
    fn whole(wide: usize) -> AnnData {
        let n = 3_000;
        let names = |p: &str, n: usize| (0..n).map(|i| format!("{p}{i}")).collect::<Vec<_>>();
        let mut obs = Frame::new(names("c", n));
        obs.set("n", Column::F64((0..n).map(|i| i as f64).collect()));
        let dense =
            |cols: usize| Array2::from_shape_fn((n, cols), |(r, c)| ((r * 7 + c) % 11) as f32);
        let counts = Matrix::Csr(Csr::from_dense(&dense(wide)));
        let var = Frame::new(names("g", wide));
        AnnData {
            obs,
            var: var.clone(),
            x: Some(counts.clone()),
            layers: BTreeMap::from([("counts".into(), counts.clone())]),
            obsm: BTreeMap::from([
                ("X_umap".into(), Matrix::Dense(dense(2))),
                ("X_wide".into(), Matrix::Dense(dense(wide))),
                ("X_none".into(), Matrix::Dense(dense(0))),
            ]),
            uns: BTreeMap::from([("genome".into(), Uns::Str("GRCh38".into()))]),
            raw: Some(Raw { x: counts, var }),
            ..AnnData::default()
        }
    }

    fn write_in_parts(data: &AnnData, cuts: &[usize], path: &Path) -> StageResult<()> {
        let mut store = RowsWriter::create(path)?;
        for pair in cuts.windows(2) {
            let rows: Vec<usize> = (pair[0]..pair[1]).collect();
            for (name, matrix) in &data.obsm {
                store.append(&format!("obsm/{name}"), &matrix.take_rows(&rows))?;
            }
            let x = data.x.as_ref().expect("has one").take_rows(&rows);
            for element in ["X", "layers/counts", "raw/X"] {
                store.append(element, &x)?;
            }
        }
        let raw = data.raw.as_ref().map(|raw| &raw.var);
        store.finish(&data.obs, &data.var, raw, data.uns.clone())
    }

    fn files(root: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![root.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("a file");
                    let name = path.strip_prefix(root).expect("below it").to_path_buf();
                    found.insert(name, bytes);
                }
            }
        }
        found
    }

    #[test]
    fn a_store_written_in_parts_has_the_bytes_of_the_whole() {
        // 2 << 20 values are a chunk: 3,000 x 1,600 are 4.8 million, 3,000 x 5 are one chunk.
        for wide in [5, 1_600] {
            let dir = tempfile::tempdir().expect("a folder");
            let data = whole(wide);
            let expected = dir.path().join("whole.zarr");
            data.write_zarr(&expected).expect("written");
            assert_eq!(
                crate::anndata::Reader::open(&expected)
                    .unwrap()
                    .read()
                    .unwrap(),
                data
            );
            for (i, cuts) in [&[0, 1, 1_500, 1_500, 2_999, 3_000][..], &[0, 3_000]]
                .into_iter()
                .enumerate()
            {
                let parts = dir.path().join(format!("{i}.zarr"));
                write_in_parts(&data, cuts, &parts).expect("written");
                assert!(
                    files(&parts) == files(&expected),
                    "{wide} columns, {cuts:?}"
                );
            }
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let rows = |cols: usize| Matrix::Dense(Array2::zeros((2, cols)));
        let mut store = RowsWriter::create(&dir.path().join("a")).unwrap();
        store.append("obsm/X_umap", &rows(2)).unwrap();
        let error = store.append("obsm/X_umap", &rows(3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`obsm/X_umap`: expected 2 columns as in the rows before, found 3"
        );
        let three = Frame::new(vec!["a".into(), "b".into(), "c".into()]);
        let error = store
            .finish(&three, &Frame::new(vec![]), None, BTreeMap::new())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`obsm/X_umap`: expected 3 x any, found 2 x 2"
        );
        assert!(RowsWriter::create(&dir.path().join("a")).is_err());
    }
}
