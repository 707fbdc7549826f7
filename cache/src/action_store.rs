//! What the engine asks of a store.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::lock::KeyLock;
use crate::piece::Piece;
use crate::record::{ActionRecord, OutputRecord};
use crate::store::{Lookup, Store};
use crate::tree::{Artifact, TreeEntry};

/// Records by key and artifacts by digest. [`Store`] keeps them in a directory. A store that is
/// shared over a network ([`crate::remote`]) wraps one: it finds records when they are
/// [looked up](Self::lookup) and fetches artifacts when they are to be read ([`bring`](Self::bring)); stages read
/// local paths either way.
pub trait ActionStore: Debug + Send + Sync {
    /// See [`Store::lookup`].
    fn lookup(&self, key: &Digest) -> Lookup;
    /// See [`Store::record`].
    fn record(&self, key: &Digest) -> Option<ActionRecord>;
    /// See [`Store::artifact_path`].
    fn artifact_path(&self, digest: &Digest) -> PathBuf;
    /// See [`Store::files`].
    fn files(&self, digest: &Digest) -> Option<Vec<(TreeEntry, Piece)>>;
    /// See [`Store::checkpoint_dir`].
    fn checkpoint_dir(&self, key: &Digest) -> PathBuf;
    /// See [`Store::root`].
    fn root(&self) -> &Path;
    /// See [`Store::try_lock`].
    ///
    /// # Errors
    /// Where the lock cannot be made.
    fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>>;
    /// Whether a job somewhere works on this key: see [`Store::is_at_work`].
    fn is_at_work(&self, key: &Digest) -> bool;
    /// Whether a job was handed in for this key and has not ended: see [`Store::last_turn`].
    fn has_job(&self, key: &Digest) -> bool;
    /// See [`Store::new_attempt`].
    ///
    /// # Errors
    /// Where the directory cannot be made.
    fn new_attempt(&self, key: &Digest) -> CacheResult<PathBuf>;
    /// See [`Store::publish`].
    ///
    /// # Errors
    /// Where an output cannot be moved or the record cannot be written.
    fn publish(&self, outputs: &[(PathBuf, Artifact)], record: &ActionRecord) -> CacheResult<()>;
    /// See [`Store::quarantine`].
    ///
    /// # Errors
    /// Where the artifact cannot be set aside.
    fn quarantine(&self, digest: &Digest) -> CacheResult<()>;

    /// Whether an output is here: see [`Store::has`].
    fn has(&self, output: &OutputRecord) -> bool;

    /// Whether outputs of a record that was a hit are not here yet.
    fn is_elsewhere(&self, _record: &ActionRecord) -> bool {
        false
    }

    /// Fetches those of these artifacts that were found elsewhere and are not here; breaks off once `is_over` says so.
    ///
    /// # Errors
    /// [`NotBrought`].
    fn bring(
        &self,
        _digests: &[Digest],
        _is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), NotBrought> {
        Ok(())
    }
}

/// Why artifacts are not here.
#[derive(Debug, thiserror::Error)]
pub enum NotBrought {
    /// They cannot be had: they must be made again.
    #[error("{} artifacts cannot be fetched", .0.len())]
    Gone(Vec<Digest>),
    /// The local disk.
    #[error(transparent)]
    Disk(CacheError),
    /// The run ends.
    #[error("the run ends")]
    Stopped,
}

impl ActionStore for Store {
    fn lookup(&self, key: &Digest) -> Lookup {
        self.lookup(key)
    }

    fn record(&self, key: &Digest) -> Option<ActionRecord> {
        self.record(key)
    }

    fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.artifact_path(digest)
    }

    fn files(&self, digest: &Digest) -> Option<Vec<(TreeEntry, Piece)>> {
        self.files(digest)
    }

    fn checkpoint_dir(&self, key: &Digest) -> PathBuf {
        self.checkpoint_dir(key)
    }

    fn root(&self) -> &Path {
        self.root()
    }

    fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>> {
        self.try_lock(key)
    }

    fn is_at_work(&self, key: &Digest) -> bool {
        self.is_at_work(key, crate::SILENCE)
    }

    fn has_job(&self, key: &Digest) -> bool {
        self.last_turn(key).is_some_and(|turn| !turn.has_ended())
    }

    fn new_attempt(&self, key: &Digest) -> CacheResult<PathBuf> {
        self.new_attempt(key)
    }

    fn publish(&self, outputs: &[(PathBuf, Artifact)], record: &ActionRecord) -> CacheResult<()> {
        self.publish(outputs, record)
    }

    fn quarantine(&self, digest: &Digest) -> CacheResult<()> {
        self.quarantine(digest)
    }

    fn has(&self, output: &OutputRecord) -> bool {
        self.has(output)
    }
}
