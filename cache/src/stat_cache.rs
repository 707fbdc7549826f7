//! Digests of input files, remembered by what `stat` says, so that an unchanged 400 MB matrix is
//! not read again. A changed stat costs a read, never a rerun: the verdict is by content.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::journal::Journal;
use crate::tree::{measure, measure_linked};

/// A file changed within this time before it was hashed may change again without its stat
/// telling (git's racy rule): not remembered.
const RACY: Duration = Duration::from_secs(2);

/// The remembered digests.
#[derive(Debug)]
pub struct StatCache {
    journal: Journal<Digest>,
    fresh: Vec<(String, Digest)>,
    trust: bool,
}

impl StatCache {
    /// Reads the journal at `path`; with `trust` false every file is read again.
    pub fn open(path: &Path, trust: bool) -> Self {
        Self {
            journal: Journal::open(path),
            fresh: Vec::new(),
            trust,
        }
    }

    /// Digest of the file or directory at `path`, links followed.
    ///
    /// # Errors
    /// [`CacheError::Io`] where it cannot be read.
    pub fn digest(&mut self, path: &Path) -> CacheResult<Digest> {
        let real = std::fs::canonicalize(path).map_err(CacheError::io("open", path))?;
        let before = std::fs::metadata(&real).map_err(CacheError::io("stat", path))?;
        if before.is_dir() {
            return Ok(measure_linked(&real)?.digest);
        }
        let name = stat_name(&before);
        if self.trust
            && let Some(known) = self.journal.get(&name)
        {
            return Ok(*known);
        }
        let digest = measure(&real)?.digest;
        let after = std::fs::metadata(&real).map_err(CacheError::io("stat", path))?;
        let settled = after
            .modified()
            .ok()
            .and_then(|m| SystemTime::now().duration_since(m).ok());
        if stat_name(&after) == name && settled.is_some_and(|age| age > RACY) {
            self.fresh.push((name, digest));
        }
        Ok(digest)
    }

    /// Digest of the file at `path` where it is remembered: nothing is read.
    pub fn remembered(&self, path: &Path) -> Option<Digest> {
        self.journal.get(&stat_of(path)?).copied()
    }

    /// Appends what was learnt.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the journal cannot be written.
    pub fn save(&mut self) -> CacheResult<()> {
        self.journal.set_all(std::mem::take(&mut self.fresh))
    }
}

/// What `stat` says of the file at `path`, links followed: unchanged while the file is. `None` for a
/// directory and where there is nothing.
pub fn stat_of(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    meta.is_file().then(|| stat_name(&meta))
}

/// The same of what `stat` has said already.
pub fn stat_name(m: &std::fs::Metadata) -> String {
    format!(
        "{}:{}:{}:{}.{}:{}.{}",
        m.dev(),
        m.ino(),
        m.len(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec()
    )
}
