//! The zarr side of [`super::AnnData`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{AnnData, Uns};
use crate::error::StageResult;
use crate::frame::Frame;
use crate::matrix::{Csr, Matrix};

pub(super) fn write(_data: &AnnData, _path: &Path) -> StageResult<()> {
    unimplemented!("zarr writer")
}

/// An open store; each call reads just that element.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
}

impl Reader {
    /// Opens the zarr store at `path` (v2 or v3).
    ///
    /// # Errors
    /// [`crate::StageError::Io`] or [`crate::StageError::Format`] where this is no AnnData store.
    pub fn open(path: &Path) -> StageResult<Self> {
        Ok(Self { path: path.to_path_buf() })
    }

    /// Cells.
    pub fn obs(&self) -> StageResult<Frame> {
        unimplemented!("{}", self.path.display())
    }

    /// Features.
    pub fn var(&self) -> StageResult<Frame> {
        unimplemented!()
    }

    /// The main matrix; an error where the store has none.
    pub fn x(&self) -> StageResult<Matrix> {
        unimplemented!()
    }

    /// A layer.
    pub fn layer(&self, _name: &str) -> StageResult<Matrix> {
        unimplemented!()
    }

    /// A per-cell array.
    pub fn obsm(&self, _name: &str) -> StageResult<Matrix> {
        unimplemented!()
    }

    /// A cell-by-cell graph.
    pub fn obsp(&self, _name: &str) -> StageResult<Csr> {
        unimplemented!()
    }

    /// All of `uns`.
    pub fn uns(&self) -> StageResult<BTreeMap<String, Uns>> {
        unimplemented!()
    }

    /// Names of the elements of a group such as `layers` or `obsm`.
    pub fn names(&self, _group: &str) -> StageResult<Vec<String>> {
        unimplemented!()
    }

    /// Everything.
    pub fn read(&self) -> StageResult<AnnData> {
        unimplemented!()
    }
}
