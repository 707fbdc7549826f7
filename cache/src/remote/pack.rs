//! A directory as one object: its listing, then its files in that order.
//!
//! A zarr has hundreds of files of a few kilobytes, and an object store takes as long for each as for one of a
//! megabyte; so a tree is one object (the figures are in docs/shared-cache.md).

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::trouble::Trouble;
use crate::archive::is_beneath;
use crate::digest::Digest;
use crate::error::CacheError;
use crate::piece::Piece;
use crate::tree::{TreeEntry, tree_digest};

/// First bytes of a packed tree.
const MAGIC: &[u8] = b"clcc-flow pack 1\n";
/// Bytes of a listing that are held while it arrives: about a million files.
const LONGEST_LISTING: usize = 128 << 20;

/// The bytes of a packed tree, from its files.
pub(crate) struct Packing {
    head: io::Cursor<Vec<u8>>,
    files: std::vec::IntoIter<Piece>,
    open: Option<io::Take<File>>,
}

impl Packing {
    /// The tree of these files, and how many bytes it will be.
    pub(crate) fn new(files: Vec<(TreeEntry, Piece)>) -> (Self, u64) {
        let (entries, files): (Vec<TreeEntry>, Vec<Piece>) = files.into_iter().unzip();
        let mut head = MAGIC.to_vec();
        head.extend(serde_json::to_vec(&entries).expect("plain values serialise"));
        head.push(b'\n');
        let bytes = head.len() as u64 + entries.iter().map(|e| e.size).sum::<u64>();
        let packing = Self {
            head: io::Cursor::new(head),
            files: files.into_iter(),
            open: None,
        };
        (packing, bytes)
    }
}

impl Read for Packing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.head.read(to)?;
        if n > 0 || to.is_empty() {
            return Ok(n);
        }
        loop {
            if let Some(file) = &mut self.open {
                let n = file.read(to)?;
                if n > 0 {
                    return Ok(n);
                }
            }
            match self.files.next() {
                Some(piece) => self.open = Some(piece.open()?),
                None => return Ok(0),
            }
        }
    }
}

/// Where what arrives goes: a file, or the files of a packed tree.
pub(crate) enum Arriving {
    File {
        path: PathBuf,
        file: File,
        left: u64,
    },
    Tree(Unpacking),
}

/// A packed tree that arrives in pieces.
pub(crate) struct Unpacking {
    root: PathBuf,
    digest: Digest,
    /// Bytes of all files, as the record says.
    bytes: u64,
    head: Vec<u8>,
    entries: Option<std::vec::IntoIter<TreeEntry>>,
    open: Option<(PathBuf, File, u64)>,
}

fn here(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    let error = CacheError::io(verb, path);
    move |e| Trouble::Here(error(e))
}

fn lies(text: impl Into<String>) -> Trouble {
    Trouble::Lies(text.into())
}

fn create(path: &Path) -> Result<File, Trouble> {
    File::create_new(path).map_err(here("create", path))
}

impl Arriving {
    /// A file of `bytes` at `path`, where nothing is yet.
    pub(crate) fn file(path: &Path, bytes: u64) -> Result<Self, Trouble> {
        Ok(Self::File {
            file: create(path)?,
            path: path.to_path_buf(),
            left: bytes,
        })
    }

    /// A tree of that digest with files of `bytes` in all, in the new directory `path`.
    pub(crate) fn tree(path: &Path, digest: Digest, bytes: u64) -> Result<Self, Trouble> {
        std::fs::create_dir(path).map_err(here("create", path))?;
        Ok(Self::Tree(Unpacking {
            root: path.to_path_buf(),
            digest,
            bytes,
            head: Vec::new(),
            entries: None,
            open: None,
        }))
    }

    /// Takes what has come. More than was announced is not written.
    pub(crate) fn take(&mut self, data: &[u8]) -> Result<(), Trouble> {
        crate::failpoint::reach("remote.write").map_err(here("write", self.path()))?;
        match self {
            Self::File { path, file, left } => {
                if data.len() as u64 > *left {
                    return Err(lies("it is longer than its record says"));
                }
                *left -= data.len() as u64;
                file.write_all(data).map_err(here("write", path))
            }
            Self::Tree(tree) => tree.take(data),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } => path,
            Self::Tree(tree) => &tree.root,
        }
    }

    /// Nothing more comes: whether all of it has.
    pub(crate) fn end(self) -> Result<(), Trouble> {
        let is_whole = match self {
            Self::File { left, .. } => left == 0,
            Self::Tree(mut tree) => tree.entries.is_some() && !tree.advance()?,
        };
        match is_whole {
            true => Ok(()),
            false => Err(lies("it is shorter than its record says")),
        }
    }
}

impl Unpacking {
    fn take(&mut self, mut data: &[u8]) -> Result<(), Trouble> {
        if self.entries.is_none() {
            self.head.extend_from_slice(data);
            let Some(rest) = self.read_head()? else {
                return Ok(());
            };
            let head = std::mem::take(&mut self.head);
            return self.take(&head[rest..]);
        }
        while !data.is_empty() {
            if !self.advance()? {
                return Err(lies("it is longer than its listing says"));
            }
            let Some((path, file, left)) = &mut self.open else {
                return Ok(());
            };
            let n = (data.len() as u64).min(*left) as usize;
            file.write_all(&data[..n]).map_err(here("write", path))?;
            *left -= n as u64;
            data = &data[n..];
        }
        Ok(())
    }

    /// Reads the listing once it is whole: where the files' bytes begin.
    fn read_head(&mut self) -> Result<Option<usize>, Trouble> {
        let magic = &self.head[..self.head.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(lies("it is no packed directory"));
        }
        let listing = self.head.get(MAGIC.len()..).unwrap_or_default();
        let Some(end) = listing.iter().position(|b| *b == b'\n') else {
            return match listing.len() < LONGEST_LISTING {
                true => Ok(None),
                false => Err(lies("its listing has no end")),
            };
        };
        let entries: Vec<TreeEntry> = serde_json::from_slice(&listing[..end])
            .map_err(|_| lies("its listing cannot be read"))?;
        let bytes = entries
            .iter()
            .try_fold(0u64, |sum, e| sum.checked_add(e.size));
        if tree_digest(&entries) != self.digest || bytes != Some(self.bytes) {
            return Err(lies("its listing has another digest"));
        }
        if !entries.iter().all(|e| is_beneath(&e.path)) {
            return Err(lies("its listing names a path outside of it"));
        }
        self.entries = Some(entries.into_iter());
        Ok(Some(MAGIC.len() + end + 1))
    }

    /// Goes on to the next file that is not full; `false` where all are.
    fn advance(&mut self) -> Result<bool, Trouble> {
        while self.open.as_ref().is_none_or(|(_, _, left)| *left == 0) {
            let Some(entry) = self.entries.as_mut().and_then(Iterator::next) else {
                return Ok(false);
            };
            let path = self.root.join(&entry.path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(here("create", parent))?;
            }
            self.open = Some((path.clone(), create(&path)?, entry.size));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_bytes;
    use crate::tree::measure;

    fn packed(root: &Path) -> (Vec<u8>, Digest, u64) {
        let artifact = measure(root).unwrap();
        let piece = |e: TreeEntry| (e.clone(), Piece::whole(root.join(e.path)));
        let files = artifact.entries.into_iter().map(piece).collect();
        let (mut packing, length) = Packing::new(files);
        let mut bytes = Vec::new();
        packing.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length);
        (bytes, artifact.digest, artifact.bytes)
    }

    fn unpack(
        bytes: &[u8],
        by: usize,
        digest: Digest,
        size: u64,
        to: &Path,
    ) -> Result<(), Trouble> {
        let mut arriving = Arriving::tree(to, digest, size)?;
        for piece in bytes.chunks(by) {
            arriving.take(piece)?;
        }
        arriving.end()
    }

    #[test]
    fn a_tree_comes_out_as_it_went_in_however_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("in");
        std::fs::create_dir_all(root.join("c/0")).unwrap();
        for (path, text) in [
            ("zarr.json", "{}"),
            ("c/0/0", "12345"),
            ("c/0/1", ""),
            ("c/last", ""),
        ] {
            std::fs::write(root.join(path), text).unwrap();
        }
        let (bytes, digest, size) = packed(&root);
        for by in [1, 2, 7, bytes.len()] {
            let to = dir.path().join(format!("out{by}"));
            unpack(&bytes, by, digest, size, &to).unwrap();
            assert_eq!(measure(&to).unwrap(), measure(&root).unwrap(), "by {by}");
        }
        for cut in 0..bytes.len() {
            let to = dir.path().join(format!("cut{cut}"));
            let error = unpack(&bytes[..cut], 5, digest, size, &to).unwrap_err();
            assert!(matches!(error, Trouble::Lies(_)), "{cut}: {error:?}");
        }
        let longer = [&bytes[..], b"x"].concat();
        let error = unpack(&longer, 9, digest, size, &dir.path().join("longer")).unwrap_err();
        assert!(matches!(error, Trouble::Lies(_)));
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../evil", "/tmp/evil", "a/../../evil", "", "a\0b"] {
            let entries = vec![TreeEntry {
                path: path.to_string(),
                size: 1,
                digest: digest_bytes(b"x"),
            }];
            let digest = tree_digest(&entries);
            let mut bytes = MAGIC.to_vec();
            bytes.extend(serde_json::to_vec(&entries).unwrap());
            bytes.extend(b"\nx");
            let to = dir.path().join(digest.short());
            let error = unpack(&bytes, 4, digest, 1, &to).unwrap_err();
            assert!(matches!(error, Trouble::Lies(_)), "{path}");
        }
        assert!(!dir.path().join("evil").exists());
    }
}
