//! Digests of input files, remembered by what `stat` says, so that an unchanged 400 MB matrix is
//! not read again. A changed stat costs a read, never a rerun: the verdict is by content.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
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
        let name = stat_name(&real, &before);
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
        if stat_name(&real, &after) == name && settled.is_some_and(|age| age > RACY) {
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
    meta.is_file().then(|| stat_name(path, &meta))
}

/// The same of what `stat` has said already of the file at `path`.
pub fn stat_name(path: &Path, m: &std::fs::Metadata) -> String {
    let of_a_network = is_network(path, m.dev());
    format!(
        "{}:{}:{}:{}.{}:{}.{}",
        device(of_a_network, path, m.dev()),
        m.ino(),
        m.len(),
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec()
    )
}

/// Whether the file at `path` is on a network file system; asked once for each device.
fn is_network(path: &Path, device: u64) -> bool {
    static KNOWN: Mutex<BTreeMap<u64, bool>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(device).or_insert_with(|| {
        rustix::fs::statfs(path).is_ok_and(|fs| NETWORK.contains(&(fs.f_type as u32)))
    })
}

/// File systems whose inode numbers and times are those of a server: NFS, CIFS and SMB, Lustre, GPFS, BeeGFS, Ceph,
/// AFS, PanFS.
const NETWORK: [u32; 9] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x0bd0_0bd0,
    0x4750_4653,
    0x1983_0326,
    0x00c3_6400,
    0x5346_414f,
    0xaad7_aaea,
];

/// What tells file systems apart. The number of a device is of one machine: every client of a network file system
/// gives it another, and would read its inputs again. There the path stands in its place.
fn device(of_a_network: bool, path: &Path, dev: u64) -> String {
    match of_a_network {
        true => {
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
            format!("net:{}", real.display())
        }
        false => dev.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_network_the_name_is_the_same_for_every_client() {
        let path = Path::new("/shared/counts.tsv");
        assert_eq!(device(true, path, 51), device(true, path, 77));
        assert_ne!(
            device(true, path, 51),
            device(true, Path::new("/shared/other.tsv"), 51)
        );
        assert_ne!(device(false, path, 51), device(false, path, 77));
    }

    #[test]
    fn a_link_has_the_name_of_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(stat_of(&file).is_some());
        assert_eq!(stat_of(&file), stat_of(&link));
    }
}
