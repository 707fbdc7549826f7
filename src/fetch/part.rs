//! The part of a file that has arrived.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clcc_cache::{edit_plain, has_no_locks, read_plain};
use serde::{Deserialize, Serialize};

use super::FetchError;

/// An open, locked `<name>.part`.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    about_path: PathBuf,
    file: File,
    /// Bytes that are there.
    pub(super) len: u64,
    pub(super) about: About,
}

/// Of which version of which file it is a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) url: String,
    /// `ETag` (a strong one) or `Last-Modified`: what `If-Range` takes. Empty: cannot be resumed.
    pub(super) version: String,
    /// Length of the whole file, where known.
    pub(super) total: Option<u64>,
}

fn beside(to: &Path, ending: &str) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    to.with_file_name(name)
}

/// Whether the open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

impl Part {
    /// Opens the part of `to`, waiting for any other program that writes it; `None` where that one
    /// brought the file meanwhile. What is there from another url is dropped.
    pub(super) fn open(to: &Path, url: &str) -> Result<Option<Self>, FetchError> {
        let (path, about_path) = (beside(to, ".part"), beside(to, ".part.json"));
        let file = loop {
            let file = edit_plain(&path).map_err(FetchError::io("create", &path))?;
            match file.lock() {
                // Two programs may then bring the same file; a part that both wrote has another digest or length.
                Err(e) if has_no_locks(&e) => {}
                locked => locked.map_err(FetchError::io("lock", &path))?,
            }
            // Who held the lock may have moved the file into place: then this is no part any more.
            let here = is_at(&file, &path);
            if to.exists() {
                if here {
                    let _ = std::fs::remove_file(&path);
                }
                return Ok(None);
            }
            if here {
                break file;
            }
        };
        let len = file
            .metadata()
            .map_err(FetchError::io("read", &path))?
            .len();
        let about = read_plain(&about_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok())
            .filter(|about| about.url == url && !about.version.is_empty());
        let mut part = Self {
            path,
            about_path,
            file,
            len,
            about: About {
                url: url.to_string(),
                ..About::default()
            },
        };
        match about {
            Some(about) => part.about = about,
            None => part.reset()?,
        }
        Ok(Some(part))
    }

    /// Drops what is there.
    pub(super) fn reset(&mut self) -> Result<(), FetchError> {
        self.file
            .set_len(0)
            .map_err(FetchError::io("write", &self.path))?;
        self.len = 0;
        self.about = About {
            url: std::mem::take(&mut self.about.url),
            ..About::default()
        };
        match std::fs::remove_file(&self.about_path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(FetchError::io("remove", &self.about_path)(e))
            }
            _ => Ok(()),
        }
    }

    /// Starts anew, of this version.
    pub(super) fn begin(&mut self, version: String, total: Option<u64>) -> Result<(), FetchError> {
        self.reset()?;
        self.about.version = version;
        self.about.total = total;
        if self.about.version.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.about).expect("plain values serialise");
        std::fs::write(&self.about_path, text).map_err(FetchError::io("write", &self.about_path))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(bytes));
        written.map_err(FetchError::io("write", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), FetchError> {
        self.file
            .sync_all()
            .map_err(FetchError::io("write", &self.path))
    }

    /// The format that the target's name promises and the first bytes, where these are not its.
    pub(super) fn unlike(
        &mut self,
        to: &Path,
    ) -> Result<Option<(&'static str, String)>, FetchError> {
        let name = to
            .file_name()
            .map(|n| n.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let mark: (&'static str, &[u8]) = if name.ends_with(".gz") {
            ("a gzip file", b"\x1f\x8b")
        } else if name.ends_with(".h5") || name.ends_with(".h5ad") {
            ("an HDF5 file", b"\x89HDF\r\n\x1a\n")
        } else {
            return Ok(None);
        };
        let mut head = Vec::new();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| Read::by_ref(&mut self.file).take(32).read_to_end(&mut head))
            .map_err(FetchError::io("read", &self.path))?;
        let found = || String::from_utf8_lossy(&head).trim().to_string();
        Ok((!head.starts_with(mark.1)).then(|| (mark.0, found())))
    }

    /// Moves the part into place; the directory entry is on disk afterwards.
    pub(super) fn publish(&mut self, to: &Path) -> Result<(), FetchError> {
        std::fs::rename(&self.path, to).map_err(FetchError::io("move into place", to))?;
        let _ = std::fs::remove_file(&self.about_path);
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(FetchError::io("write", folder))
    }
}
