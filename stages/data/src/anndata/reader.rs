//! Reads the elements of a store one at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;

use super::decode::{self, Layout, MatrixInfo};
use super::hdf5::Hdf5Store;
use super::store::Store;
use super::zarr::ZarrStore;
use super::{AnnData, Raw, Uns};
use crate::error::{StageError, StageResult};
use crate::frame::{Frame, LeftOut};
use crate::matrix::{Csr, Matrix};

/// Values of a block of rows of [`Reader::dense_rows`].
const BLOCK: usize = 4 << 20;

/// An open store; each call reads just that element.
///
/// ```
/// use clcc_data::anndata::{AnnData, Reader};
/// use clcc_data::frame::Frame;
/// use clcc_data::matrix::{Csr, Matrix};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// # let dir = tempfile::tempdir().expect("a folder");
/// # let path = dir.path().join("counts.zarr");
/// # let rows = (0..4).map(|cell| vec![(cell % 3, 1.0 + cell as f32)]);
/// # AnnData {
/// #     obs: Frame::new((0..4).map(|i| format!("c{i}")).collect()),
/// #     var: Frame::new((0..3).map(|i| format!("g{i}")).collect()),
/// #     x: Some(Matrix::Csr(Csr::from_rows(3, rows))),
/// #     ..AnnData::default()
/// # }
/// # .write_zarr(&path)?;
/// // Four cells and three genes, one count a cell: too large for memory, say.
/// let store = Reader::open(&path)?;
/// let (obs, var) = (store.obs()?, store.var()?);
/// let rows = store.rows("X", (obs.len(), var.len()))?;
/// let mut counts = 0;
/// for block in rows.blocks(2) {
///     counts += rows.read(block)?.nnz();
/// }
/// assert_eq!(counts, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    store: Box<dyn Store>,
}

impl Reader {
    /// Opens the AnnData store at `path`: a zarr directory (v3, or v2 as anndata writes it) or an
    /// h5ad file (anndata 0.7 and later).
    ///
    /// # Errors
    /// [`StageError::Io`] where there is nothing to read, [`StageError::Format`] where this is no
    /// AnnData store.
    pub fn open(path: &Path) -> StageResult<Self> {
        let reader = Self {
            store: open_store(path)?,
        };
        for element in ["obs", "var"] {
            if reader.store.node(element)?.is_none() {
                let found = super::store::list(&reader.store.children("")?);
                return Err(StageError::format(
                    path,
                    "",
                    format!("expected an AnnData store with `obs` and `var`, found {found}"),
                ));
            }
        }
        Ok(reader)
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The file or directory that was opened.
    pub fn path(&self) -> PathBuf {
        self.store.path().to_path_buf()
    }

    /// Cells.
    ///
    /// # Errors
    /// [`StageError::Format`], also where a column's encoding is not read (dates, for example);
    /// [`Reader::obs_known`] leaves such columns out.
    pub fn obs(&self) -> StageResult<Frame> {
        self.frame("obs")
    }

    /// Features.
    ///
    /// # Errors
    /// As [`Reader::obs`].
    pub fn var(&self) -> StageResult<Frame> {
        self.frame("var")
    }

    fn frame(&self, at: &str) -> StageResult<Frame> {
        match decode::frame(self.store(), at)? {
            (frame, skipped) if skipped.is_empty() => Ok(frame),
            (_, skipped) => Err(decode::unread(self.store(), at, &skipped)),
        }
    }

    /// Cells without the columns that cannot be read (another encoding, broken), and those.
    ///
    /// # Errors
    /// [`StageError::Format`] where `obs` is no data frame.
    pub fn obs_known(&self) -> StageResult<(Frame, Vec<LeftOut>)> {
        decode::frame(self.store(), "obs")
    }

    /// Features, as [`Reader::obs_known`].
    ///
    /// # Errors
    /// As [`Reader::obs_known`].
    pub fn var_known(&self) -> StageResult<(Frame, Vec<LeftOut>)> {
        decode::frame(self.store(), "var")
    }

    /// A data frame such as `raw/var`, as [`Reader::obs_known`].
    ///
    /// # Errors
    /// As [`Reader::obs_known`].
    pub fn frame_known(&self, element: &str) -> StageResult<(Frame, Vec<LeftOut>)> {
        decode::frame(self.store(), element)
    }

    /// The main matrix; an error where the store has none.
    ///
    /// # Errors
    /// [`StageError::Format`] where it is missing or no matrix.
    pub fn x(&self) -> StageResult<Matrix> {
        decode::matrix(self.store(), "X")
    }

    /// A layer.
    ///
    /// # Errors
    /// [`StageError::Format`] that lists the layers there are.
    pub fn layer(&self, name: &str) -> StageResult<Matrix> {
        decode::matrix(self.store(), &format!("layers/{name}"))
    }

    /// A per-cell array.
    ///
    /// # Errors
    /// As [`Reader::layer`].
    pub fn obsm(&self, name: &str) -> StageResult<Matrix> {
        decode::matrix(self.store(), &format!("obsm/{name}"))
    }

    /// A per-feature array.
    ///
    /// # Errors
    /// As [`Reader::layer`].
    pub fn varm(&self, name: &str) -> StageResult<Matrix> {
        decode::matrix(self.store(), &format!("varm/{name}"))
    }

    /// A cell-by-cell graph.
    ///
    /// # Errors
    /// As [`Reader::layer`].
    pub fn obsp(&self, name: &str) -> StageResult<Csr> {
        Ok(decode::matrix(self.store(), &format!("obsp/{name}"))?.into_csr())
    }

    /// All of `uns`; `None`s are left out.
    ///
    /// # Errors
    /// [`StageError::Format`] where a value is neither a number, a text, a flag, an array of up to
    /// two dimensions, a table nor a dictionary of those.
    pub fn uns(&self) -> StageResult<BTreeMap<String, Uns>> {
        if self.store.node("uns")?.is_none() {
            return Ok(BTreeMap::new());
        }
        decode::uns_dict(self.store(), "uns")
    }

    /// One entry of `uns`, if it is there: a dictionary.
    ///
    /// # Errors
    /// As [`Reader::uns`].
    pub fn uns_of(&self, name: &str) -> StageResult<BTreeMap<String, Uns>> {
        let at = format!("uns/{name}");
        match self.store.node(&at)? {
            Some(node) if node.array.is_none() && !node.is_null() => {
                decode::uns_dict(self.store(), &at)
            }
            _ => Ok(BTreeMap::new()),
        }
    }

    /// Names of the elements of a group such as `layers` or `obsm`, sorted; none where there is no
    /// such group.
    ///
    /// # Errors
    /// [`StageError::Io`] where the store cannot be read.
    pub fn names(&self, group: &str) -> StageResult<Vec<String>> {
        match self.store.node(group)? {
            Some(node) if node.array.is_none() => self.store.children(group),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether the store has this element, for example `X` or `obsm/X_pca`.
    ///
    /// # Errors
    /// [`StageError::Io`] where the store cannot be read.
    pub fn has(&self, element: &str) -> StageResult<bool> {
        Ok(self.store.node(element)?.is_some_and(|n| !n.is_null()))
    }

    /// Everything that [`AnnData`] holds.
    ///
    /// # Errors
    /// As the single calls.
    pub fn read(&self) -> StageResult<AnnData> {
        let all = |group: &str| -> StageResult<BTreeMap<String, Matrix>> {
            let names = self.names(group)?.into_iter();
            names
                .map(|n| {
                    Ok((
                        n.clone(),
                        decode::matrix(self.store(), &format!("{group}/{n}"))?,
                    ))
                })
                .collect()
        };
        let x = || {
            let there = self.has("X")?;
            there.then(|| self.x()).transpose()
        };
        let ((obs, var), x) = rayon::join(|| rayon::join(|| self.obs(), || self.var()), x);
        Ok(AnnData {
            obs: obs?,
            var: var?,
            x: x?,
            layers: all("layers")?,
            obsm: all("obsm")?,
            varm: all("varm")?,
            obsp: all("obsp")?
                .into_iter()
                .map(|(n, m)| (n, m.into_csr()))
                .collect(),
            uns: self.uns()?,
            raw: self.raw()?,
        })
    }

    /// `raw`, if the store has one.
    ///
    /// # Errors
    /// As [`Reader::x`].
    pub fn raw(&self) -> StageResult<Option<Raw>> {
        if !self.has("raw/X")? {
            return Ok(None);
        }
        Ok(Some(Raw {
            x: decode::matrix(self.store(), "raw/X")?,
            var: self.frame("raw/var")?,
        }))
    }

    /// The matrix at `element` in blocks of rows, for files larger than memory. It must have `shape`,
    /// which is known from the names: what a file says of its matrix is not believed before.
    ///
    /// # Errors
    /// [`StageError::Format`] where it is missing, no matrix, or of another shape.
    pub fn rows(&self, element: &str, shape: (usize, usize)) -> StageResult<RowReader<'_>> {
        let info = self.info_of_shape(element, shape)?;
        let mut n_summed = 0;
        let source = match info.layout {
            Layout::Dense => RowSource::Dense,
            Layout::Csr => RowSource::Csr(decode::row_pointers(self.store(), element, info)?),
            Layout::Csc => {
                let (rows, n) = decode::turned(self.store(), element, info)?;
                n_summed = n;
                RowSource::Turned(rows)
            }
        };
        Ok(RowReader {
            store: self.store(),
            element: element.to_string(),
            info,
            source,
            n_summed: AtomicU64::new(n_summed),
        })
    }

    /// Some rows of the matrix at `element`, dense and in that order: what lies between them is read by blocks, and not
    /// kept.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    ///
    /// # Panics
    /// Where a row is not there.
    pub fn dense_rows(&self, element: &str, rows: &[usize]) -> StageResult<Array2<f32>> {
        let info = decode::matrix_info(self.store(), element)?;
        let source = self.rows(element, (info.rows, info.cols))?;
        let mut out = Array2::zeros((rows.len(), info.cols));
        let mut wanted: Vec<(usize, usize)> = rows.iter().copied().zip(0..).collect();
        wanted.sort_unstable();
        let most = (BLOCK / info.cols.max(1)).max(1);
        let mut rest = &wanted[..];
        while let Some(&(first, _)) = rest.first() {
            let (block, later) = rest.split_at(rest.partition_point(|w| w.0 < first + most));
            let end = block.last().map_or(first, |w| w.0 + 1);
            let dense = source.read_dense(first..end)?;
            for &(row, to) in block {
                out.row_mut(to).assign(&dense.row(row - first));
            }
            rest = later;
        }
        Ok(out)
    }

    /// That the matrix at `element` is there and has `shape`; nothing of it is read.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub fn check_shape(&self, element: &str, shape: (usize, usize)) -> StageResult<()> {
        self.info_of_shape(element, shape).map(|_| ())
    }

    /// The number of columns of the matrix at `element`; nothing of it is read.
    ///
    /// # Errors
    /// [`StageError::Format`] where it is missing or no matrix.
    pub fn columns(&self, element: &str) -> StageResult<usize> {
        Ok(decode::matrix_info(self.store(), element)?.cols)
    }

    fn info_of_shape(&self, element: &str, shape: (usize, usize)) -> StageResult<MatrixInfo> {
        let info = decode::matrix_info(self.store(), element)?;
        if (info.rows, info.cols) == shape {
            return Ok(info);
        }
        let why = match (info.cols, info.rows) == shape {
            true => ": the matrix is transposed",
            false => "",
        };
        let message = format!(
            "expected {} x {}, found {} x {}{why}",
            shape.0, shape.1, info.rows, info.cols
        );
        Err(self.store.bad(element, message))
    }
}

fn open_store(path: &Path) -> StageResult<Box<dyn Store>> {
    let kind = std::fs::metadata(path).map_err(StageError::reading(path))?;
    if kind.is_dir() {
        Ok(Box::new(ZarrStore::open(path)?))
    } else {
        Ok(Box::new(Hdf5Store::open(path)?))
    }
}

/// A matrix on disk, read in blocks of rows. One that is stored by columns is held whole.
#[derive(Debug)]
pub struct RowReader<'a> {
    store: &'a dyn Store,
    element: String,
    info: MatrixInfo,
    source: RowSource,
    /// Entries read so far that were added to another.
    n_summed: AtomicU64,
}

#[derive(Debug)]
enum RowSource {
    Dense,
    Csr(Vec<u64>),
    Turned(Csr),
}

impl<'a> RowReader<'a> {
    /// Rows that are stored one after another at `element`, as in 10x files, which have no
    /// encoding to tell it.
    pub(super) fn compressed(
        store: &'a dyn Store,
        element: &str,
        rows: usize,
        cols: usize,
    ) -> StageResult<Self> {
        let info = MatrixInfo {
            rows,
            cols,
            layout: Layout::Csr,
        };
        let source = RowSource::Csr(decode::row_pointers(store, element, info)?);
        Ok(Self {
            store,
            element: element.to_string(),
            info,
            source,
            n_summed: AtomicU64::new(0),
        })
    }

    /// Entries of what was read that stand for a row and column that have another: they are added up.
    pub fn n_summed(&self) -> u64 {
        self.n_summed.load(Ordering::Relaxed)
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.info.rows, self.info.cols)
    }

    /// Cuts the rows into blocks of about `entries` stored values, at least one row each.
    pub fn blocks(&self, entries: usize) -> Vec<Range<usize>> {
        let size = |r: usize| match &self.source {
            RowSource::Dense => self.info.cols,
            RowSource::Csr(indptr) => (indptr[r + 1] - indptr[r]) as usize,
            RowSource::Turned(m) => m.row(r).0.len(),
        };
        let mut blocks = Vec::new();
        let (mut start, mut held) = (0, 0);
        for r in 0..self.info.rows {
            held += size(r);
            if held >= entries {
                blocks.push(start..r + 1);
                (start, held) = (r + 1, 0);
            }
        }
        if start < self.info.rows {
            blocks.push(start..self.info.rows);
        }
        blocks
    }

    /// The rows at `rows`, sparse.
    ///
    /// # Errors
    /// [`StageError::Format`] where the file breaks its format there.
    pub fn read(&self, rows: Range<usize>) -> StageResult<Csr> {
        match &self.source {
            RowSource::Turned(m) => Ok(m.take_rows(&rows.collect::<Vec<_>>())),
            RowSource::Csr(indptr) => {
                let first = indptr[rows.start];
                let local = indptr[rows.start..=rows.end]
                    .iter()
                    .map(|p| p - first)
                    .collect();
                let entries = first..indptr[rows.end];
                let (part, n) = decode::csr_part(
                    self.store,
                    &self.element,
                    self.info.cols,
                    local,
                    Some(entries),
                )?;
                self.n_summed.fetch_add(n, Ordering::Relaxed);
                Ok(part)
            }
            RowSource::Dense => Ok(Csr::from_dense(&self.read_dense(rows)?)),
        }
    }

    /// The same, dense.
    ///
    /// # Errors
    /// As [`RowReader::read`].
    pub fn read_dense(&self, rows: Range<usize>) -> StageResult<Array2<f32>> {
        let RowSource::Dense = self.source else {
            return Ok(self.read(rows)?.to_dense());
        };
        let shape = (rows.len(), self.info.cols);
        let values = self
            .store
            .read_rows(&self.element, rows.start as u64..rows.end as u64)?;
        let values = values
            .into_f32()
            .map_err(|e| self.store.bad(&self.element, e))?;
        Array2::from_shape_vec(shape, values)
            .map_err(|e| self.store.bad(&self.element, e.to_string()))
    }
}
