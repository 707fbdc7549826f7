//! AnnData in memory and on disk.
//!
//! On disk an `AnnData` is zarr v3 in anndata's own encoding (`encoding-type`,
//! `encoding-version`), with consolidated metadata, so every intermediate opens with
//! `anndata.read_zarr`. [`Reader`] opens a store (zarr v3, the part of zarr v2 that anndata writes,
//! h5ad) and reads only what is asked for.
//!
//! `store` is the narrow interface to a container of groups and arrays. `zarr` (directories, and archives by `zip`) and `hdf5` implement it; `blosc` and
//! `zstd` unpack zarr chunks, `direct` and `blocks` read most of an HDF5 file themselves. `decode` turns anndata's encodings
//! into our types, once for both containers, and `write` goes the other way. `tenx` reads the HDF5 layouts of 10x.
//! Not read: awkward arrays, arrays of more than three dimensions, sparse matrices inside `uns`. Each is named in the error or in the list of what was
//! left out, never dropped silently.

#[cfg(feature = "hdf5")]
mod blocks;
mod blosc;
mod chunk_files;
mod decode;
mod describe;
#[cfg(feature = "hdf5")]
mod direct;
#[cfg_attr(not(feature = "hdf5"), path = "no_hdf5.rs")]
mod hdf5;
mod reader;
mod store;
mod stored;
mod tenx;
mod write;
#[cfg(feature = "hdf5")]
mod write_h5ad;
mod write_rows;
mod zarr;
mod zip;
mod zstd;

pub use decode::NO_MATRIX;
pub use describe::describe;
pub use reader::Reader;
pub use reader::RowReader;
pub use store::list;
pub use tenx::{TenxFeatures, TenxFile};
pub use write::name_problem;
pub use write_rows::RowsWriter;
pub use zarr::is_zarr;

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Array3};

use crate::error::StageResult;
use crate::frame::Frame;
use crate::matrix::{Csr, Matrix};

/// Annotated data: cells are rows (`obs`), features are columns (`var`).
///
/// ```
/// use clcc_data::anndata::{AnnData, Reader};
/// use clcc_data::frame::Frame;
/// use clcc_data::matrix::{Csr, Matrix};
///
/// # fn main() -> clcc_data::StageResult<()> {
/// let mut obs = Frame::new(vec!["AAA-1".into(), "CCC-1".into()]);
/// obs.set_category("cell_type", &["T cell", "tumour"]);
/// let data = AnnData {
///     obs,
///     var: Frame::new(vec!["TP53".into(), "MYC".into(), "ACTB".into()]),
///     // Two cells, three genes: the first cell has 2 of MYC, the second 1 of TP53 and 7 of ACTB.
///     x: Some(Matrix::Csr(Csr::from_rows(3, [vec![(1, 2.0)], vec![(0, 1.0), (2, 7.0)]]))),
///     ..AnnData::default()
/// };
///
/// let dir = tempfile::tempdir().expect("a folder");
/// let (zarr, h5ad) = (dir.path().join("a.zarr"), dir.path().join("a.h5ad"));
/// data.write_zarr(&zarr)?;
/// data.write_h5ad(&h5ad)?;
/// assert_eq!(Reader::open(&zarr)?.read()?, data);
/// assert_eq!(Reader::open(&h5ad)?.read()?, data);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnnData {
    /// One row per cell; the index is the cell id.
    pub obs: Frame,
    /// One row per feature; the index is the gene.
    pub var: Frame,
    /// `n_obs x n_vars`, or nothing.
    pub x: Option<Matrix>,
    /// Other matrices of the shape of `x`.
    pub layers: BTreeMap<String, Matrix>,
    /// Per-cell arrays, `n_obs x anything`.
    pub obsm: BTreeMap<String, Matrix>,
    /// Per-feature arrays, `n_vars x anything`.
    pub varm: BTreeMap<String, Matrix>,
    /// Cell-by-cell graphs, `n_obs x n_obs`.
    pub obsp: BTreeMap<String, Csr>,
    /// Everything else.
    pub uns: BTreeMap<String, Uns>,
    /// Counts of the same cells, where `x` is something else.
    pub raw: Option<Raw>,
}

/// A matrix of the cells of an [`AnnData`] with features of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// `n_obs x` the length of `var`.
    pub x: Matrix,
    /// One row per feature.
    pub var: Frame,
}

/// A value of `uns`.
#[derive(Debug, Clone, PartialEq)]
pub enum Uns {
    /// Nested.
    Dict(BTreeMap<String, Uns>),
    /// Text.
    Str(String),
    /// A number.
    F64(f64),
    /// A whole number.
    I64(i64),
    /// A flag.
    Bool(bool),
    /// Texts.
    Strings(Vec<String>),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// A dense matrix.
    Matrix(Array2<f64>),
    /// A data frame.
    Frame(Frame),
    /// A picture: rows x columns x channels.
    Image(Image),
}

/// A picture in `uns`, with values of the type that it came with, which says whether white is 255 or 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// 0 to 255.
    Bytes(Array3<u8>),
    /// 0 to 1, usually.
    Reals(Array3<f32>),
}

impl Uns {
    /// The value at a path of nested dictionaries.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        match (path, self) {
            ([], value) => Some(value),
            ([first, rest @ ..], Self::Dict(d)) => d.get(*first)?.at(rest),
            _ => None,
        }
    }
}

impl AnnData {
    /// Number of cells.
    pub fn n_obs(&self) -> usize {
        self.obs.len()
    }

    /// Number of features.
    pub fn n_vars(&self) -> usize {
        self.var.len()
    }

    /// Writes a zarr v3 store at `path`, which must not exist. Same data, same bytes.
    ///
    /// # Errors
    /// [`crate::StageError::Io`] where the store cannot be written, and
    /// [`crate::StageError::Data`] where a matrix does not have the shape of `obs` and `var`, or a
    /// name cannot be the name of an element.
    pub fn write_zarr(&self, path: &Path) -> StageResult<()> {
        write::write(self, path)
    }

    /// Writes an h5ad file at `path`, which must not exist. Same data, same bytes. The file is built
    /// in memory, so this takes about as much again as the data.
    ///
    /// # Errors
    /// As [`AnnData::write_zarr`].
    #[cfg(feature = "hdf5")]
    pub fn write_h5ad(&self, path: &Path) -> StageResult<()> {
        write_h5ad::write(self, path)
    }

    /// Fails: this build has no HDF5.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "hdf5"))]
    pub fn write_h5ad(&self, path: &Path) -> StageResult<()> {
        Err(hdf5::absent(path))
    }
}

#[cfg(test)]
mod tests;
