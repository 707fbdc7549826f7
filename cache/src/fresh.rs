//! New files and directories under names of their own.
//!
//! A process id names nobody: every container has a process 1, and they may share a cache. So names are
//! random, and a file or directory is made only where nothing is.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Random letters and digits of a name.
const RANDOM: usize = 12;

/// Makes the directory `<parent>/<prefix><random>`; its mode follows the umask.
///
/// # Errors
/// The system's.
pub fn fresh_dir(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    let made = names(prefix).make_in(parent, |path| std::fs::create_dir(path))?;
    let (_, path) = made.into_parts();
    path.keep().map_err(|e| e.error)
}

/// Makes the file `<parent>/<prefix><random>` with `mode` less the umask. It is removed when dropped, unless
/// it is given its name by [`publish`].
///
/// # Errors
/// The system's.
pub fn fresh_file(parent: &Path, prefix: &str, mode: u32) -> io::Result<NamedTempFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    names(prefix).make_in(parent, |path| options.open(path))
}

fn names<'a>(prefix: &'a str) -> Builder<'a, 'static> {
    let mut builder = Builder::new();
    builder.prefix(prefix).rand_bytes(RANDOM);
    builder
}

/// Renames a fresh file to `path`, in place of what is there.
///
/// # Errors
/// The system's.
pub fn publish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_errors_are_those_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (
            fresh_dir(dir.path(), "x.").unwrap(),
            fresh_dir(dir.path(), "x.").unwrap(),
        );
        assert!(a != b && a.is_dir() && b.is_dir());
        let file = fresh_file(&a, ".tmp.", 0o666).unwrap();
        let lies = file.path().to_path_buf();
        publish(file, &a.join("whole")).unwrap();
        assert!(a.join("whole").is_file() && !lies.exists());
        drop(fresh_file(&a, ".tmp.", 0o666).unwrap());
        assert_eq!(std::fs::read_dir(&a).unwrap().count(), 1);
        let missing = fresh_dir(&a.join("nowhere"), "x.").unwrap_err();
        assert_eq!(
            missing.raw_os_error(),
            Some(rustix::io::Errno::NOENT.raw_os_error())
        );
    }
}
