//! Files that somebody else may have put there: opened only where they are files.
//!
//! To open a pipe that nobody writes to waits for ever, and a device may have no end. So nothing in a cache, in
//! results or among inputs is opened by `std::fs`: what is opened here is looked at before a byte is read, and
//! anything but a regular file is an error like any other.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Opens a regular file to be read. A link in its place is refused: for what the engine wrote itself.
///
/// # Errors
/// The system's; [`is_not_plain`] tells a link, pipe, socket, device or directory.
pub fn open_plain(path: &Path) -> io::Result<File> {
    open_sized(path, OFlags::NOFOLLOW).map(|(file, _)| file)
}

/// As [`open_plain`], links followed: for what the user names.
///
/// # Errors
/// As [`open_plain`].
pub fn open_plain_linked(path: &Path) -> io::Result<File> {
    open_sized(path, OFlags::empty()).map(|(file, _)| file)
}

/// Reads a regular file whole; a link in its place is refused.
///
/// # Errors
/// As [`open_plain`].
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    whole(open_sized(path, OFlags::NOFOLLOW)?)
}

/// As [`read_plain`], links followed.
///
/// # Errors
/// As [`open_plain`].
pub fn read_plain_linked(path: &Path) -> io::Result<Vec<u8>> {
    whole(open_sized(path, OFlags::empty())?)
}

/// Opens a regular file to write at its end, made where there is none. A link in its place is refused.
///
/// # Errors
/// As [`open_plain`].
pub fn append_plain(path: &Path) -> io::Result<File> {
    let how = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
    open_only_files(path, how)
}

/// Opens a regular file to be read and written as it is, made where there is none. A link in its place is refused.
///
/// # Errors
/// As [`open_plain`].
pub fn edit_plain(path: &Path) -> io::Result<File> {
    open_only_files(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW)
}

/// Whether the error says that there is something else than a regular file.
pub fn is_not_plain(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotPlain>())
}

/// There is something else than a regular file.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("expected a file, found {0}")]
struct NotPlain(&'static str);

impl From<NotPlain> for io::Error {
    fn from(found: NotPlain) -> Self {
        Self::new(io::ErrorKind::InvalidInput, found)
    }
}

/// Opens a regular file to be read, and says how many bytes it has.
pub(crate) fn open_sized(path: &Path, how: OFlags) -> io::Result<(File, u64)> {
    open_and_look(path, OFlags::RDONLY | how)
}

fn open_only_files(path: &Path, how: OFlags) -> io::Result<File> {
    open_and_look(path, how).map(|(file, _)| file)
}

fn open_and_look(path: &Path, how: OFlags) -> io::Result<(File, u64)> {
    // Without waiting for the other end of a pipe, or for a terminal to become ours.
    let flags = how | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened =
        rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)));
    let file = match opened {
        Ok(file) => File::from(file),
        // What cannot even be opened in this way: a link, a socket, a pipe that nobody reads, a directory to write.
        Err(e) => return Err(found_at(path, how).map_or(e.into(), io::Error::from)),
    };
    let stat = rustix::fs::fstat(&file)?;
    match not_plain(FileType::from_raw_mode(stat.st_mode)) {
        Some(found) => Err(found.into()),
        None => Ok((file, stat.st_size.unsigned_abs())),
    }
}

fn found_at(path: &Path, how: OFlags) -> Option<NotPlain> {
    let stat = if how.contains(OFlags::NOFOLLOW) {
        rustix::fs::lstat(path)
    } else {
        rustix::fs::stat(path)
    };
    not_plain(FileType::from_raw_mode(stat.ok()?.st_mode))
}

fn not_plain(kind: FileType) -> Option<NotPlain> {
    let found = match kind {
        FileType::RegularFile => return None,
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Some(NotPlain(found))
}

/// What the file had when it was opened: a record is one read. Files of the kernel have no length.
fn whole((mut file, length): (File, u64)) -> io::Result<Vec<u8>> {
    /// What is stated to be longer is read as it comes.
    const MOST: u64 = 64 << 20;
    let first = length.min(MOST) as usize;
    let mut bytes = vec![0; first];
    let mut filled = 0;
    while filled < first {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    if length == 0 || length > MOST {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// One of everything that is no file.
    fn others(dir: &Path) -> Vec<(PathBuf, &'static str)> {
        let at = |name: &str| dir.join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        vec![
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (at("folder"), "a directory"),
            (PathBuf::from("/dev/zero"), "a device"),
        ]
    }

    #[test]
    fn only_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        for (path, what) in others(dir.path()) {
            let ends: [io::Result<File>; 4] = [
                open_plain(&path),
                open_plain_linked(&path),
                append_plain(&path),
                edit_plain(&path),
            ];
            for end in ends {
                let error = end.unwrap_err();
                assert!(is_not_plain(&error), "{what}: {error}");
                assert_eq!(error.to_string(), format!("expected a file, found {what}"));
            }
        }
        let missing = read_plain(&dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!is_not_plain(&missing));
    }

    #[test]
    fn a_link_is_followed_only_where_the_user_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        append_plain(&file).unwrap().write_all(b"one").unwrap();
        append_plain(&file).unwrap().write_all(b", two").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read_plain(&file).unwrap(), b"one, two");
        assert_eq!(read_plain_linked(&link).unwrap(), b"one, two");
        let refused = [open_plain(&link), append_plain(&link), edit_plain(&link)];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.to_string(), "expected a file, found a symbolic link");
        }
    }
}
