//! One computation of a key at a time: a kernel lock that dies with its holder.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{CacheError, CacheResult};
use crate::failpoint;

/// A held lock; released when dropped or when the process ends, however it ends.
/// Correctness never rests on it, only economy.
#[derive(Debug)]
pub struct KeyLock {
    /// `None` where the file system has no locks.
    file: Option<File>,
}

impl KeyLock {
    /// Takes the lock of `path` together with other readers, if no writer holds it.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the lock file cannot be opened, [`CacheError::NotPlain`] where it is no file.
    pub fn try_acquire_shared(path: &Path) -> CacheResult<Option<Self>> {
        Self::try_lock(path, FlockOperation::NonBlockingLockShared)
    }

    /// Takes the lock of `path` if it is free.
    ///
    /// # Errors
    /// As [`Self::try_acquire_shared`].
    pub fn try_acquire(path: &Path) -> CacheResult<Option<Self>> {
        Self::try_lock(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// What stands for a lock where there can be none.
    pub fn without_kernel() -> Self {
        Self { file: None }
    }

    /// Whether the kernel holds it, so that nobody else does. `false` on a file system without locks.
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }

    /// Whether another process holds the lock of `path`; `None` where that cannot be told. Makes no file.
    pub fn is_taken(path: &Path) -> Option<bool> {
        let file = open_existing(path, OFlags::RDONLY).ok()?;
        match lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Some(false),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some(true),
            Err(_) => None,
        }
    }

    fn try_lock(path: &Path, operation: FlockOperation) -> CacheResult<Option<Self>> {
        let file = open(path)?;
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            let path = path.to_path_buf();
            return Err(CacheError::NotPlain { path });
        }
        match lock(&file, operation) {
            Ok(()) => Ok(Some(Self { file: Some(file) })),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) if has_no_locks(&e) => Ok(Some(Self::without_kernel())),
            Err(e) => Err(CacheError::io("lock", path)(e)),
        }
    }
}

/// Whether the error says that the file system has no locks, as some network ones have none.
pub fn has_no_locks(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK]
            .iter()
            .any(|e| code == Some(e.raw_os_error()))
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    failpoint::reach("lock")?;
    Ok(rustix::io::retry_on_intr(|| flock(file, operation))?)
}

/// Opens a lock file as it is, made where there is none. A link is refused: what it leads to is not ours. Another
/// user's file may be read only for us; a network file system wants one to write for a lock alone.
fn open(path: &Path) -> CacheResult<File> {
    let failed = |e: Errno| match e {
        Errno::LOOP => CacheError::NotPlain {
            path: path.to_path_buf(),
        },
        e => CacheError::io("open", path)(e.into()),
    };
    match open_existing(path, OFlags::RDWR | OFlags::CREATE) {
        Ok(file) => Ok(file),
        Err(e @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => open_existing(path, OFlags::RDWR)
            .or_else(|_| open_existing(path, OFlags::RDONLY))
            .map_err(|_| failed(e)),
        Err(e) => Err(failed(e)),
    }
}

fn open_existing(path: &Path, how: OFlags) -> Result<File, Errno> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_lock_is_one_holder_s_and_its_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "somebody's").unwrap();
        let held = KeyLock::try_acquire(&path).unwrap().expect("free");
        assert!(held.is_held());
        assert!(KeyLock::try_acquire(&path).unwrap().is_none());
        assert!(KeyLock::try_acquire_shared(&path).unwrap().is_none());
        assert_eq!(KeyLock::is_taken(&path), Some(true));
        drop(held);
        assert_eq!(KeyLock::is_taken(&path), Some(false));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
        assert_eq!(KeyLock::is_taken(&dir.path().join("none")), None);
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn links_folders_and_pipes_are_no_locks() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, link) = (dir.path().join("precious"), dir.path().join("link"));
        std::fs::write(&precious, "data").unwrap();
        symlink(&precious, &link).unwrap();
        assert!(matches!(
            KeyLock::try_acquire(&link),
            Err(CacheError::NotPlain { .. })
        ));
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
        symlink(dir.path().join("new"), dir.path().join("dangling")).unwrap();
        assert!(KeyLock::try_acquire(&dir.path().join("dangling")).is_err());
        assert!(!dir.path().join("new").exists());
        assert!(KeyLock::try_acquire(dir.path()).is_err());
    }
}
