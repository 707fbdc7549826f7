//! What keeps a run from beginning or from publishing.

use std::io;
use std::path::PathBuf;

use clcc_cache::CacheError;

use crate::device::NoDevice;
use crate::results::ResultsError;
use crate::workflow::{InvalidWorkflow, LoadError};

/// Why a workflow could not be opened or run. Nodes that fail are no error: see [`super::Finished`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The workflow file cannot be read or is invalid.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The workflow is invalid, or an input file is missing.
    #[error("{}", .0.render())]
    Invalid(#[from] InvalidWorkflow),
    /// This build has no such device.
    #[error(transparent)]
    Device(#[from] NoDevice),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The cache's path is handed to child processes as JSON, so it must be text.
    #[error("the cache is at `{}`: expected a path that is UTF-8 text", .0.display())]
    CachePath(PathBuf),
    /// An input file cannot be read.
    #[error("input `{name}`")]
    Input {
        /// The input.
        name: String,
        /// Why.
        #[source]
        source: CacheError,
    },
    /// This build has no shared cache.
    #[error("this build has no shared cache")]
    NoRemote,
    /// The selection holds no node.
    #[error("the selection holds no node")]
    NothingSelected,
    /// A directory or file of the run cannot be created in the cache.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run cannot be started.
    #[error("cannot start the run")]
    Start(#[source] io::Error),
    /// The results could not be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
}
