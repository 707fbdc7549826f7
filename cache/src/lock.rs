//! One computation of a key at a time: a kernel lock that dies with its holder.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{CacheError, CacheResult};

/// A held lock; released when dropped or when the process ends, however it ends.
/// Correctness never rests on it, only economy.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

impl KeyLock {
    /// Takes the lock of `path` if it is free.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the lock file cannot be made.
    pub fn try_acquire(path: &Path) -> CacheResult<Option<Self>> {
        let file = File::create(path).map_err(CacheError::io("create", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(e) => Err(CacheError::Io {
                verb: "lock",
                path: path.to_path_buf(),
                source: e.into(),
            }),
        }
    }
}
