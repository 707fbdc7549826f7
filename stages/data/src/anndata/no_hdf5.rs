//! In place of HDF5 files where the crate is built without the feature `hdf5`.

use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

use super::store::{Node, Store, Values};
use crate::error::{StageError, StageResult};

/// An HDF5 file that cannot be opened.
#[derive(Debug)]
pub(super) struct Hdf5Store(Infallible);

pub(super) fn absent(path: &Path) -> StageError {
    let message = "an HDF5 file (h5ad, 10x h5) needs a build with the feature `hdf5`";
    StageError::format(path, "", message)
}

impl Hdf5Store {
    /// Fails: this build has no HDF5.
    pub(super) fn open(path: &Path) -> StageResult<Self> {
        Err(absent(path))
    }
}

impl Store for Hdf5Store {
    fn path(&self) -> &Path {
        match self.0 {}
    }

    fn node(&self, _: &str) -> StageResult<Option<Node>> {
        match self.0 {}
    }

    fn children(&self, _: &str) -> StageResult<Vec<String>> {
        match self.0 {}
    }

    fn read(&self, _: &str) -> StageResult<Values> {
        match self.0 {}
    }

    fn read_rows(&self, _: &str, _: Range<u64>) -> StageResult<Values> {
        match self.0 {}
    }
}
