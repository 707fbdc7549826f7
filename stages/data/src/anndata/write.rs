//! Writes an [`AnnData`] as zarr v3, byte for byte a function of the data.
//!
//! The metadata is what zarr-python 3 and anndata 0.12 write (consolidated in the root, zstd,
//! `encoding-type` of each element), so that `anndata.read_zarr` opens the store without a warning.
//! Left out on purpose: an absent `raw` (anndata writes a `null` that its older versions cannot read).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array3;
use rayon::prelude::*;
use serde_json::{Value, json};
use zarrs::array::Array;
use zarrs::metadata::ArrayMetadata;

use super::chunk_files::ChunkFiles;
use super::stored::Stored;
use super::{AnnData, Image, Uns};
use crate::error::{StageError, StageResult};
use crate::frame::{Column, Frame};
use crate::matrix::{Csr, Matrix};

/// Values per chunk: 8 to 16 MB, so that a store has few files and part of it can be read.
pub(super) const CHUNK_VALUES: usize = 2 << 20;

/// Writes `data` to `path`, which must not exist.
pub(super) fn write(data: &AnnData, path: &Path) -> StageResult<()> {
    check_shapes(data)?;
    absent(path)?;
    let mut w = Writer::create(path)?;
    w.frame("obs", &data.obs)?;
    w.frame("var", &data.var)?;
    if let Some(x) = &data.x {
        w.matrix("X", x)?;
    }
    w.matrices("layers", data.layers.iter())?;
    w.matrices("obsm", data.obsm.iter())?;
    w.matrices("varm", data.varm.iter())?;
    w.dict("obsp")?;
    for (name, graph) in &data.obsp {
        w.csr(&join("obsp", name)?, graph)?;
    }
    w.dict("varp")?;
    w.uns("uns", &Uns::Dict(data.uns.clone()))?;
    if let Some(raw) = &data.raw {
        w.group("raw", raw_encoding())?;
        w.matrix("raw/X", &raw.x)?;
        w.frame("raw/var", &raw.var)?;
        w.dict("raw/varm")?;
    }
    w.finish()
}

/// That there is nothing at `path` yet.
pub(super) fn absent(path: &Path) -> StageResult<()> {
    if !path.exists() {
        return Ok(());
    }
    let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    Err(StageError::Io {
        access: crate::error::Access::Create,
        path: path.to_path_buf(),
        source,
    })
}

/// That every matrix has the shape of `obs` and `var`.
pub(super) fn check_shapes(data: &AnnData) -> StageResult<()> {
    let (n_obs, n_vars) = (data.n_obs(), data.n_vars());
    let check = |name: String, found: (usize, usize), rows: usize, cols: Option<usize>| {
        if found.0 == rows && cols.is_none_or(|c| c == found.1) {
            return Ok(());
        }
        let cols = cols.map_or("any".to_string(), |c| c.to_string());
        Err(StageError::data(format!(
            "`{name}`: expected {rows} x {cols}, found {} x {}",
            found.0, found.1
        )))
    };
    if let Some(x) = &data.x {
        check("X".to_string(), x.shape(), n_obs, Some(n_vars))?;
    }
    for (name, m) in &data.layers {
        check(format!("layers/{name}"), m.shape(), n_obs, Some(n_vars))?;
    }
    for (name, m) in &data.obsm {
        check(format!("obsm/{name}"), m.shape(), n_obs, None)?;
    }
    for (name, m) in &data.varm {
        check(format!("varm/{name}"), m.shape(), n_vars, None)?;
    }
    if let Some(raw) = &data.raw {
        check(
            "raw/X".to_string(),
            raw.x.shape(),
            n_obs,
            Some(raw.var.len()),
        )?;
    }
    for (name, m) in &data.obsp {
        check(
            format!("obsp/{name}"),
            (m.n_rows(), m.n_cols()),
            n_obs,
            Some(n_obs),
        )?;
    }
    Ok(())
}

/// Why `name` cannot be the name of a column or another element, to follow the name: `has a slash in its
/// name`; nothing where it can.
pub fn name_problem(name: &str) -> Option<&'static str> {
    /// Bytes that file systems take.
    const LONGEST: usize = 255;
    if name.is_empty() {
        Some("has no name")
    } else if name.contains(['/', '\\']) {
        Some("has a slash in its name")
    } else if name.contains('\0') {
        Some("has a zero byte in its name")
    } else if name.bytes().all(|b| b == b'.') {
        Some("has a name of dots alone")
    } else if name.starts_with("__") {
        Some("has a name that starts with `__`")
    } else if matches!(name, "_index" | "zarr.json") {
        Some("has a name that the file needs for itself")
    } else if name.len() > LONGEST {
        Some("has a name of more than 255 bytes")
    } else {
        None
    }
}

/// That a name can be an element's.
pub(super) fn check_name(parent: &str, name: &str) -> StageResult<()> {
    match name_problem(name) {
        Some(why) => Err(StageError::data(format!(
            "`{name}` in `{parent}` cannot name an element: it {why}"
        ))),
        None => Ok(()),
    }
}

/// `parent/name`, where the name can be an element's.
pub(super) fn join(parent: &str, name: &str) -> StageResult<String> {
    check_name(parent, name)?;
    Ok(format!("{parent}/{name}"))
}

/// Column indices as scipy wants them: signed, and 32 bits where they do.
pub(super) fn scipy_indices(at: &str, m: &Csr) -> StageResult<Vec<i32>> {
    let indices = m.indices().iter().map(|&i| i32::try_from(i));
    indices.collect::<Result<_, _>>().map_err(|_| {
        StageError::data(format!(
            "`{at}`: more than 2^31 columns ({}) cannot be stored",
            m.n_cols()
        ))
    })
}

pub(super) struct Writer {
    root: PathBuf,
    store: Arc<ChunkFiles>,
    /// Metadata of every node, for the consolidated copy in the root.
    nodes: BTreeMap<String, Value>,
}

impl Writer {
    pub(super) fn create(root: &Path) -> StageResult<Self> {
        std::fs::create_dir_all(root).map_err(StageError::creating(root))?;
        let root = root.to_path_buf();
        Ok(Self {
            store: Arc::new(ChunkFiles { root: root.clone() }),
            root,
            nodes: BTreeMap::new(),
        })
    }

    /// Writes the root's metadata with a copy of every other node's, as zarr-python orders them.
    pub(super) fn finish(self) -> StageResult<()> {
        let mut nodes: Vec<(String, Value)> = self.nodes.into_iter().collect();
        nodes.sort_by_key(|(at, _)| at.matches('/').count());
        let metadata: serde_json::Map<String, Value> = nodes
            .into_iter()
            .map(|(at, mut node)| {
                if node["node_type"] == "group" {
                    node["consolidated_metadata"] = consolidated(serde_json::Map::new());
                }
                (at, node)
            })
            .collect();
        let root = json!({
            "attributes": {"encoding-type": "anndata", "encoding-version": "0.1.0"},
            "zarr_format": 3,
            "consolidated_metadata": consolidated(metadata),
            "node_type": "group",
        });
        write_json(&self.root, &root)
    }

    pub(super) fn group(&mut self, at: &str, attributes: Value) -> StageResult<()> {
        self.node(
            at,
            json!({"attributes": attributes, "zarr_format": 3, "node_type": "group"}),
        )
    }

    pub(super) fn dict(&mut self, at: &str) -> StageResult<()> {
        self.group(
            at,
            json!({"encoding-type": "dict", "encoding-version": "0.1.0"}),
        )
    }

    fn node(&mut self, at: &str, metadata: Value) -> StageResult<()> {
        write_json(&self.root.join(at), &metadata)?;
        self.nodes.insert(at.to_string(), metadata);
        Ok(())
    }

    /// An array of `shape`, row-major, cut along its first dimension.
    fn array<T: Stored>(
        &mut self,
        at: &str,
        shape: &[usize],
        values: &[T],
        attributes: Value,
    ) -> StageResult<()> {
        let row: usize = shape.iter().skip(1).product();
        let n_rows = shape.first().copied().unwrap_or(1);
        let chunk_rows = (CHUNK_VALUES / row.max(1)).clamp(1, n_rows.max(1));
        let chunk_shape: Vec<usize> = shape
            .iter()
            .enumerate()
            .map(|(d, &n)| if d == 0 { chunk_rows } else { n.max(1) })
            .collect();
        let array = self.open_array::<T>(at, shape, &chunk_shape, attributes)?;
        let whole = chunk_rows * row;
        store_chunks(&array, &self.root.join(at), 0, whole, values)
    }

    /// Adds the array to the metadata, for its chunks to be stored.
    pub(super) fn open_array<T: Stored>(
        &mut self,
        at: &str,
        shape: &[usize],
        chunk_shape: &[usize],
        attributes: Value,
    ) -> StageResult<Array<ChunkFiles>> {
        let metadata = array_metadata::<T>(shape, chunk_shape, attributes);
        let array = self.unlisted_array(at, metadata.clone())?;
        self.node(at, metadata)?;
        Ok(array)
    }

    /// An array of which only chunks are written.
    pub(super) fn unlisted_array(
        &self,
        at: &str,
        metadata: Value,
    ) -> StageResult<Array<ChunkFiles>> {
        let place = self.root.join(at);
        let parsed: ArrayMetadata =
            serde_json::from_value(metadata).map_err(|e| write_error(&place, e))?;
        Array::new_with_metadata(self.store.clone(), &format!("/{at}"), parsed)
            .map_err(|e| write_error(&place, e))
    }

    /// Where an element is.
    pub(super) fn place(&self, at: &str) -> PathBuf {
        self.root.join(at)
    }

    fn plain<T: Stored>(&mut self, at: &str, values: &[T]) -> StageResult<()> {
        self.array(at, &[values.len()], values, encoding("array"))
    }

    fn texts(&mut self, at: &str, values: &[String]) -> StageResult<()> {
        self.array(at, &[values.len()], values, encoding("string-array"))
    }

    fn scalar<T: Stored>(&mut self, at: &str, value: T) -> StageResult<()> {
        self.array(at, &[], &[value], encoding("numeric-scalar"))
    }

    pub(super) fn frame(&mut self, at: &str, frame: &Frame) -> StageResult<()> {
        let names: Vec<&str> = frame.columns.keys().map(String::as_str).collect();
        if names.contains(&"_index") {
            return Err(StageError::data(format!(
                "`{at}`: a column cannot be named `_index`, the name of the index"
            )));
        }
        self.group(
            at,
            json!({"column-order": names, "_index": "_index", "encoding-type": "dataframe", "encoding-version": "0.2.0"}),
        )?;
        self.texts(&format!("{at}/_index"), &frame.index)?;
        for (name, column) in &frame.columns {
            let at = join(at, name)?;
            match column {
                Column::Str(v) => self.texts(&at, v)?,
                Column::F64(v) => self.plain(&at, v)?,
                Column::I64(v) => self.plain(&at, v)?,
                Column::Bool(v) => self.plain(&at, v)?,
                Column::Category(c) => {
                    let attributes = json!({"ordered": c.ordered, "encoding-type": "categorical", "encoding-version": "0.2.0"});
                    self.group(&at, attributes)?;
                    self.texts(&format!("{at}/categories"), &c.categories)?;
                    self.codes(&format!("{at}/codes"), &c.codes, c.categories.len())?;
                }
            }
        }
        Ok(())
    }

    /// Codes in pandas' choice of width.
    fn codes(&mut self, at: &str, codes: &[i32], n_categories: usize) -> StageResult<()> {
        if n_categories <= i8::MAX as usize {
            self.plain(at, &codes.iter().map(|&c| c as i8).collect::<Vec<_>>())
        } else if n_categories <= i16::MAX as usize {
            self.plain(at, &codes.iter().map(|&c| c as i16).collect::<Vec<_>>())
        } else {
            self.plain(at, codes)
        }
    }

    fn matrices<'a>(
        &mut self,
        at: &str,
        matrices: impl Iterator<Item = (&'a String, &'a Matrix)>,
    ) -> StageResult<()> {
        self.dict(at)?;
        for (name, matrix) in matrices {
            self.matrix(&join(at, name)?, matrix)?;
        }
        Ok(())
    }

    fn matrix(&mut self, at: &str, matrix: &Matrix) -> StageResult<()> {
        match matrix {
            Matrix::Csr(m) => self.csr(at, m),
            Matrix::Dense(a) => {
                let a = a.as_standard_layout();
                let values = a.as_slice().expect("standard layout");
                self.array(at, &[a.nrows(), a.ncols()], values, encoding("array"))
            }
        }
    }

    fn csr(&mut self, at: &str, m: &Csr) -> StageResult<()> {
        let none = || json!({});
        self.group(
            at,
            json!({"shape": [m.n_rows(), m.n_cols()], "encoding-type": "csr_matrix", "encoding-version": "0.1.0"}),
        )?;
        self.array(&format!("{at}/data"), &[m.nnz()], m.data(), none())?;
        let indices = scipy_indices(at, m)?;
        self.array(&format!("{at}/indices"), &[m.nnz()], &indices, none())?;
        self.pointers(at, m.indptr())
    }

    /// The row pointers of the sparse matrix `at`, as scipy wants them: 32 bits where they do.
    pub(super) fn pointers(&mut self, at: &str, indptr: &[u64]) -> StageResult<()> {
        let entries = indptr.last().copied().unwrap_or(0);
        let at = format!("{at}/indptr");
        let n = [indptr.len()];
        if i32::try_from(entries).is_ok() {
            let narrow: Vec<i32> = indptr.iter().map(|&p| p as i32).collect();
            self.array(&at, &n, &narrow, json!({}))
        } else {
            let wide: Vec<i64> = indptr.iter().map(|&p| p as i64).collect();
            self.array(&at, &n, &wide, json!({}))
        }
    }

    fn image<T: Stored>(&mut self, at: &str, image: &Array3<T>) -> StageResult<()> {
        let image = image.as_standard_layout();
        let values = image.as_slice().expect("standard layout");
        self.array(at, image.shape(), values, encoding("array"))
    }

    pub(super) fn uns(&mut self, at: &str, value: &Uns) -> StageResult<()> {
        match value {
            Uns::Dict(d) => {
                self.dict(at)?;
                d.iter()
                    .try_for_each(|(name, v)| self.uns(&join(at, name)?, v))
            }
            Uns::Str(s) => self.array(at, &[], std::slice::from_ref(s), encoding("string")),
            Uns::F64(x) => self.scalar(at, *x),
            Uns::I64(x) => self.scalar(at, *x),
            Uns::Bool(x) => self.scalar(at, *x),
            Uns::Strings(v) => self.texts(at, v),
            Uns::Numbers(v) => self.plain(at, v),
            Uns::Integers(v) => self.plain(at, v),
            Uns::Matrix(a) => {
                let a = a.as_standard_layout();
                let values = a.as_slice().expect("standard layout");
                self.array(at, &[a.nrows(), a.ncols()], values, encoding("array"))
            }
            Uns::Frame(f) => self.frame(at, f),
            Uns::Image(Image::Bytes(a)) => self.image(at, a),
            Uns::Image(Image::Reals(a)) => self.image(at, a),
        }
    }
}

pub(super) fn encoding(kind: &str) -> Value {
    json!({"encoding-type": kind, "encoding-version": "0.2.0"})
}

/// The metadata of an array as zarr-python writes it.
pub(super) fn array_metadata<T: Stored>(
    shape: &[usize],
    chunk_shape: &[usize],
    attributes: Value,
) -> Value {
    json!({
        "shape": shape,
        "data_type": T::NAME,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": T::fill(),
        "codecs": [T::codec(), {"name": "zstd", "configuration": {"level": 0, "checksum": false}}],
        "attributes": attributes,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    })
}

/// Stores `values` as the chunks from `first` on, each of `whole` values.
pub(super) fn store_chunks<T: Stored>(
    array: &Array<ChunkFiles>,
    place: &Path,
    first: usize,
    whole: usize,
    values: &[T],
) -> StageResult<()> {
    if values.is_empty() {
        return Ok(());
    }
    values
        .par_chunks(whole)
        .enumerate()
        .try_for_each(|(i, chunk)| {
            let mut indices = vec![0u64; array.shape().len()];
            if let Some(index) = indices.first_mut() {
                *index = (first + i) as u64;
            }
            // The last chunk has the full shape too; what is outside the array is fill.
            let stored = if chunk.len() == whole {
                array.store_chunk(&indices, chunk)
            } else {
                let mut padded = chunk.to_vec();
                padded.resize(whole, T::default());
                array.store_chunk(&indices, padded)
            };
            stored.map_err(|e| write_error(place, e))
        })
}

/// The attributes of the group `raw`.
pub(super) fn raw_encoding() -> Value {
    json!({"encoding-type": "raw", "encoding-version": "0.1.0"})
}

fn consolidated(metadata: serde_json::Map<String, Value>) -> Value {
    json!({"kind": "inline", "must_understand": false, "metadata": metadata})
}

fn write_json(dir: &Path, value: &Value) -> StageResult<()> {
    std::fs::create_dir_all(dir).map_err(StageError::creating(dir))?;
    let path = dir.join("zarr.json");
    let text = serde_json::to_string_pretty(value).map_err(|e| write_error(&path, e))?;
    std::fs::write(&path, text).map_err(StageError::writing(&path))
}

fn write_error(
    path: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StageError {
    let error = error.into();
    // A full disk stays a full disk, however deep it was found.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    let mut kind = std::io::ErrorKind::Other;
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            kind = io.kind();
        } else if let Some(io) = e.downcast_ref::<Arc<std::io::Error>>() {
            kind = io.kind();
        }
        cause = e.source();
    }
    StageError::Io {
        access: crate::error::Access::Write,
        path: path.to_path_buf(),
        source: std::io::Error::new(kind, error),
    }
}
