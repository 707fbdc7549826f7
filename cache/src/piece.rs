//! Where the bytes of a file of an artifact are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Take};
use std::path::{Path, PathBuf};

use crate::plain::open_plain;

/// A file, or the part of an archive that holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    path: PathBuf,
    /// First byte, and bytes.
    part: Option<(u64, u64)>,
}

impl Piece {
    /// All of the file at `path`.
    pub fn whole(path: PathBuf) -> Self {
        Self { path, part: None }
    }

    /// `bytes` bytes of the file at `path`, from byte `at` on.
    pub(crate) fn part(path: PathBuf, at: u64, bytes: u64) -> Self {
        Self {
            path,
            part: Some((at, bytes)),
        }
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it to be read. A link in the place of the file is refused.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<Take<File>> {
        let mut file = open_plain(&self.path)?;
        let (at, bytes) = self.part.unwrap_or((0, u64::MAX));
        if at > 0 {
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(file.take(bytes))
    }
}
