//! A cache that is shared through an object store: a bucket, a folder or a web server.
//!
//! [`Layered`] is an [`ActionStore`](crate::ActionStore) over the local [`Store`](crate::Store) and a remote one.
//! What is not here is looked up there; an artifact is fetched when something reads it, so what only stands between
//! two hits never travels. What is new is sent while the run goes on: artifacts first, the record last, and whoever
//! wrote a record first counts.
//!
//! A remote is never trusted with content (every artifact is compared with its digest before it is renamed into the
//! cache) and never fails a run: one that cannot be reached or refuses is set aside for the run, a damaged object is
//! not believed, and both are named.
//!
//! Without the feature `remote` there is only [`Address`].

mod address;
#[cfg(feature = "remote")]
mod gc;
#[cfg(feature = "remote")]
mod http;
#[cfg(feature = "remote")]
mod layered;
#[cfg(feature = "remote")]
mod note;
#[cfg(feature = "remote")]
mod objects;
#[cfg(feature = "remote")]
mod open;
#[cfg(feature = "remote")]
mod pack;
#[cfg(feature = "remote")]
mod read;
#[cfg(all(test, feature = "remote"))]
mod tests;
#[cfg(feature = "remote")]
mod trouble;

pub use address::{Address, ParseAddressError, Scheme};
#[cfg(feature = "remote")]
pub use gc::{RemoteGcReport, collect_remote};
#[cfg(feature = "remote")]
pub use layered::Layered;
#[cfg(feature = "remote")]
pub use read::{ReadError, Reading, read_object};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What may be done with a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteMode {
    /// Only what is there is used.
    Read,
    /// What is made is sent too.
    Write,
}

/// How a remote is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteUse {
    /// What may be done.
    pub mode: RemoteMode,
    /// Whether records that are found are kept in the cache at once; `false` to leave no trace, for a dry run.
    pub keeps_records: bool,
}

/// Something that a run may want to tell of its remote.
#[derive(Debug, Clone, PartialEq)]
pub enum RemoteNews {
    /// An artifact came.
    Fetched {
        /// Its digest.
        digest: Digest,
        /// Bytes that travelled.
        bytes: u64,
        /// Wall time.
        seconds: f64,
    },
    /// A record and what it names that was not there went.
    Sent {
        /// The key.
        key: Digest,
        /// Artifacts that travelled.
        artifacts: usize,
        /// Their bytes.
        bytes: u64,
        /// Wall time.
        seconds: f64,
    },
    /// Something is wrong; the run goes on.
    Trouble(String),
}

/// What travelled in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transfer {
    /// Nodes whose record was found there and not here.
    pub found: usize,
    /// Artifacts that came.
    pub fetched_artifacts: usize,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Records that went.
    pub sent: usize,
    /// Artifacts that went.
    pub sent_artifacts: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Records that were to go and did not.
    pub unsent: usize,
}
