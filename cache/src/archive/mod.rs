//! A directory artifact as one file: a ZIP archive of its files, stored as they are.
//!
//! An AnnData store is a hundred files of a few hundred bytes. As files, each costs a sync when it is published, a
//! `stat` on every hit and a look-up on a network file system; in an archive all of them cost one. The archive is a
//! function of the files' paths and content: sorted by path, no times, and nothing in it but what is written here.
//! zarr-python opens one as a `ZipStore`.
//!
//! ```text
//! for each file   local header, path, sizes (zip64), the file's bytes
//! for each file   central header, path, sizes and offset (zip64), blake3 digest of the bytes (field 0xC1CC)
//! once            zip64 end, zip64 locator, end
//! ```
//!
//! The artifact's digest stays that of the listing of paths, sizes and digests: it does not tell whether a directory
//! or an archive holds them.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path};

use rustix::fs::OFlags;

use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::failpoint;
use crate::piece::Piece;
use crate::plain::open_sized;
use crate::tree::{Artifact, ArtifactForm, TreeEntry, files_below, tree_digest};

/// Bytes before the path of a local header, and after it.
const LOCAL: u64 = 30;
const LOCAL_EXTRA: u64 = 20;
/// Bytes of the three records that end an archive.
const ENDS: usize = 56 + 20 + 22;
/// Number of the field with the digest.
const DIGEST_FIELD: u16 = 0xC1CC;
/// 1980-01-01, the first day that the format knows.
const NO_DATE: u16 = 0x21;
/// Version 4.5, the first with zip64; names in UTF-8.
const VERSION: u16 = 45;
const UTF8: u16 = 0x0800;
/// Bytes that are read at once.
const BLOCK: usize = 4 << 20;
/// Archives up to here are checked from memory.
const SMALL: u64 = 16 << 20;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) entry: TreeEntry,
    crc: u32,
    /// Where its bytes begin.
    pub(crate) at: u64,
}

impl Member {
    fn header_at(&self) -> u64 {
        self.at - LOCAL - LOCAL_EXTRA - self.entry.path.len() as u64
    }

    fn local_header(&self) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        put16(&mut bytes, &[VERSION, UTF8, 0, 0, NO_DATE]);
        put32(&mut bytes, &[self.crc, u32::MAX, u32::MAX]);
        put16(
            &mut bytes,
            &[self.entry.path.len() as u16, LOCAL_EXTRA as u16],
        );
        bytes.extend(self.entry.path.as_bytes());
        put16(&mut bytes, &[1, 16]);
        put64(&mut bytes, &[self.entry.size, self.entry.size]);
        bytes
    }

    fn central_header(&self, to: &mut Vec<u8>) {
        to.extend(b"PK\x01\x02");
        put16(to, &[3 << 8 | VERSION, VERSION, UTF8, 0, 0, NO_DATE]);
        put32(to, &[self.crc, u32::MAX, u32::MAX]);
        put16(to, &[self.entry.path.len() as u16, 28 + 36, 0, 0, 0]);
        // A regular file that everybody may read.
        put32(to, &[0o100_444 << 16, u32::MAX]);
        to.extend(self.entry.path.as_bytes());
        put16(to, &[1, 24]);
        put64(to, &[self.entry.size, self.entry.size, self.header_at()]);
        put16(to, &[DIGEST_FIELD, 32]);
        to.extend(self.entry.digest.as_bytes());
    }
}

fn put16(to: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

fn put32(to: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

fn put64(to: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|v| to.extend(v.to_le_bytes()));
}

/// What follows the files, whose last byte is before `at`.
fn directory(members: &[Member], at: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    members.iter().for_each(|m| m.central_header(&mut bytes));
    let size = bytes.len() as u64;
    let n = members.len() as u64;
    bytes.extend(b"PK\x06\x06");
    put64(&mut bytes, &[44]);
    put16(&mut bytes, &[3 << 8 | VERSION, VERSION]);
    put32(&mut bytes, &[0, 0]);
    put64(&mut bytes, &[n, n, size, at]);
    bytes.extend(b"PK\x06\x07");
    put32(&mut bytes, &[0]);
    put64(&mut bytes, &[at + size]);
    put32(&mut bytes, &[1]);
    bytes.extend(b"PK\x05\x06");
    put16(&mut bytes, &[0, 0, u16::MAX, u16::MAX]);
    put32(&mut bytes, &[u32::MAX, u32::MAX]);
    put16(&mut bytes, &[0]);
    bytes
}

/// Makes the archive `to`, which must not exist, of the files of `dir`. Not synced. Large files of `dir` are removed
/// as they are taken, so that no more than one is there twice; the rest of `dir` is left for the caller to remove.
///
/// # Errors
/// [`CacheError::NotPlain`] on links, devices and pipes in `dir`; [`CacheError::Io`].
pub fn pack(dir: &Path, to: &Path) -> CacheResult<Artifact> {
    let files = files_below(dir)?;
    let mut packing = Packing::create(to)?;
    for (path, size) in files {
        packing.add(dir, path, size)?;
    }
    packing.finish()
}

struct Packing<'a> {
    to: &'a Path,
    file: BufWriter<File>,
    at: u64,
    members: Vec<Member>,
    block: Vec<u8>,
}

impl<'a> Packing<'a> {
    fn create(to: &'a Path) -> CacheResult<Self> {
        let file = failpoint::reach("pack.create")
            .and_then(|()| File::create_new(to))
            .map_err(CacheError::io("create", to))?;
        Ok(Self {
            to,
            file: BufWriter::with_capacity(BLOCK / 16, file),
            at: 0,
            members: Vec::new(),
            block: Vec::new(),
        })
    }

    fn add(&mut self, dir: &Path, path: String, size: u64) -> CacheResult<()> {
        let source = dir.join(&path);
        if u16::try_from(path.len()).is_err() {
            return Err(CacheError::NotPlain { path: source });
        }
        let at = self.at + LOCAL + path.len() as u64 + LOCAL_EXTRA;
        let mut member = Member {
            entry: TreeEntry {
                path,
                size,
                digest: Digest::from_bytes([0; 32]),
            },
            crc: 0,
            at,
        };
        let mut file = File::open(&source).map_err(CacheError::io("open", &source))?;
        let (mut hasher, mut crc) = (blake3::Hasher::new(), crc32fast::Hasher::new());
        let mut left = size;
        let mut is_first = true;
        while is_first || left > 0 {
            let n = left.min(BLOCK as u64) as usize;
            self.block.resize(n, 0);
            file.read_exact(&mut self.block)
                .map_err(CacheError::io("read", &source))?;
            hasher.update(&self.block);
            crc.update(&self.block);
            left -= n as u64;
            if is_first {
                // Of a file in one block everything is known before its header is written.
                member.crc = crc.clone().finalize();
                self.put(&member.local_header())?;
            }
            is_first = false;
            let block = std::mem::take(&mut self.block);
            self.put(&block)?;
            self.block = block;
        }
        member.entry.digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        member.crc = crc.finalize();
        if size > BLOCK as u64 {
            self.put_again(&member)?;
        }
        if size >= BLOCK as u64 / 4 {
            // It is in the archive: twice the room is not needed.
            let _ = std::fs::remove_file(&source);
        }
        self.members.push(member);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> CacheResult<()> {
        self.at += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(CacheError::io("write", self.to))
    }

    /// Writes the header of a file that took several blocks, now that its sum is known.
    fn put_again(&mut self, member: &Member) -> CacheResult<()> {
        let header = member.local_header();
        self.file
            .flush()
            .and_then(|()| {
                self.file
                    .get_ref()
                    .write_all_at(&header, member.header_at())
            })
            .and_then(|()| self.file.get_mut().seek(io::SeekFrom::Start(self.at)))
            .map(drop)
            .map_err(CacheError::io("write", self.to))
    }

    fn finish(mut self) -> CacheResult<Artifact> {
        let directory = directory(&self.members, self.at);
        self.put(&directory)?;
        failpoint::reach("pack.written")
            .and_then(|()| self.file.flush())
            .map_err(CacheError::io("write", self.to))?;
        let entries: Vec<TreeEntry> = self.members.into_iter().map(|m| m.entry).collect();
        Ok(Artifact {
            form: ArtifactForm::Tree,
            digest: tree_digest(&entries),
            bytes: entries.iter().map(|e| e.size).sum(),
            entries: Vec::new(),
            packed: Some(self.at),
        })
    }
}

/// An archive that was opened.
#[derive(Debug)]
pub(crate) struct Archive {
    bytes: Bytes,
    pub(crate) members: Vec<Member>,
}

/// Where the bytes of an archive are read from.
#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Bytes {
    fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(to, at),
            Self::Memory(bytes) => {
                let from = usize::try_from(at).ok();
                let part = from.and_then(|from| bytes.get(from..)?.get(..to.len()));
                to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

impl Archive {
    /// Opens the file at `path`; `None` where it is not an archive as [`pack`] makes them, byte for byte but for the
    /// files themselves and their headers.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let (file, len) = open_sized(path, OFlags::NOFOLLOW)?;
        Self::of(Bytes::File(file), len)
    }

    /// As [`Archive::open`], for all of it to be read: a small one is read at once.
    fn open_to_read(path: &Path) -> io::Result<Option<Self>> {
        let (mut file, len) = open_sized(path, OFlags::NOFOLLOW)?;
        if len > SMALL {
            return Self::of(Bytes::File(file), len);
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact(&mut bytes)?;
        Self::of(Bytes::Memory(bytes), len)
    }

    fn of(bytes: Bytes, len: u64) -> io::Result<Option<Self>> {
        let Some(ends_at) = len.checked_sub(ENDS as u64) else {
            return Ok(None);
        };
        let mut ends = [0; ENDS];
        bytes.read(ends_at, &mut ends)?;
        let number = |at: usize| u64::from_le_bytes(ends[at..at + 8].try_into().expect("eight"));
        let (size, at) = (number(40), number(48));
        if !ends.starts_with(b"PK\x06\x06") || at.checked_add(size) != Some(ends_at) {
            return Ok(None);
        }
        let mut whole = vec![0; (len - at) as usize];
        bytes.read(at, &mut whole)?;
        let members = members(&whole[..size as usize]).unwrap_or_default();
        // Every byte that is not a file's follows from the files: a wrong one shows here.
        Ok((directory(&members, at) == whole).then_some(Self { bytes, members }))
    }

    /// What it holds: every byte is read. `None` where a file or a header is not what it should be.
    fn measure(&self) -> io::Result<Option<Artifact>> {
        let (mut packed, mut header, mut block) = (0, Vec::new(), Vec::new());
        for member in &self.members {
            let expected = member.local_header();
            header.resize(expected.len(), 0);
            self.bytes.read(member.header_at(), &mut header)?;
            if header != expected {
                return Ok(None);
            }
            let mut hasher = blake3::Hasher::new();
            self.blocks(member, &mut block, |part| {
                match part.len() {
                    ..0x10_0000 => hasher.update(part),
                    _ => hasher.update_rayon(part),
                };
                Ok(())
            })?;
            if hasher.finalize().as_bytes() != member.entry.digest.as_bytes() {
                return Ok(None);
            }
            packed = member.at + member.entry.size;
        }
        packed += directory(&self.members, packed).len() as u64;
        let entries: Vec<TreeEntry> = self.members.iter().map(|m| m.entry.clone()).collect();
        Ok(Some(Artifact {
            form: ArtifactForm::Tree,
            digest: tree_digest(&entries),
            bytes: entries.iter().map(|e| e.size).sum(),
            entries,
            packed: Some(packed),
        }))
    }

    /// Reads a file a block at a time.
    fn blocks(
        &self,
        member: &Member,
        block: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, end) = (member.at, member.at + member.entry.size);
        while at < end {
            block.resize((end - at).min(BLOCK as u64) as usize, 0);
            self.bytes.read(at, block)?;
            each(block)?;
            at += block.len() as u64;
        }
        Ok(())
    }
}

/// The files of a central directory, one after the other from the first byte on; `None` where it is not as
/// [`directory`] writes it.
fn members(mut bytes: &[u8]) -> Option<Vec<Member>> {
    const FIXED: usize = 46;
    let mut members: Vec<Member> = Vec::new();
    let mut at = 0u64;
    while !bytes.is_empty() {
        let head = bytes.get(..FIXED)?;
        let crc = u32::from_le_bytes(head[16..20].try_into().ok()?);
        let length = usize::from(u16::from_le_bytes(head[28..30].try_into().ok()?));
        let path = std::str::from_utf8(bytes.get(FIXED..FIXED + length)?).ok()?;
        let extra = bytes.get(FIXED + length..FIXED + length + 64)?;
        let size = u64::from_le_bytes(extra[4..12].try_into().ok()?);
        let is_after = members.last().is_none_or(|m| *m.entry.path < *path);
        if !is_after || !is_beneath(path) {
            return None;
        }
        let begins = at.checked_add(LOCAL + length as u64 + LOCAL_EXTRA)?;
        at = begins.checked_add(size)?;
        members.push(Member {
            entry: TreeEntry {
                path: path.to_string(),
                size,
                digest: Digest::from_bytes(extra[32..].try_into().ok()?),
            },
            crc,
            at: begins,
        });
        bytes = &bytes[FIXED + length + 64..];
    }
    Some(members)
}

/// Only plain relative paths are written.
pub(crate) fn is_beneath(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
}

/// Reads and digests the artifact at `path`, as [`measure`](crate::measure) does: an archive as the directory that it
/// stands for.
///
/// # Errors
/// [`CacheError::NotPlain`] on links, devices and pipes; [`CacheError::Io`].
pub fn measure_stored(path: &Path) -> CacheResult<Artifact> {
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
    if is_file {
        let measured = Archive::open_to_read(path)
            .and_then(|archive| archive.map_or(Ok(None), |a| a.measure()))
            .map_err(CacheError::io("read", path))?;
        if let Some(artifact) = measured {
            return Ok(artifact);
        }
    }
    crate::tree::measure(path)
}

/// The files of the archive at `path` and where their bytes are; `None` where it is none.
pub(crate) fn files(path: &Path) -> Option<Vec<(TreeEntry, Piece)>> {
    let archive = Archive::open(path).ok()??;
    let file = |m: Member| {
        let piece = Piece::part(path.to_path_buf(), m.at, m.entry.size);
        (m.entry, piece)
    };
    Some(archive.members.into_iter().map(file).collect())
}

/// Writes the files of the archive at `path` beneath `to`, which is made. Not synced. `false` where `path` is no
/// archive, or has a file named `unless`.
///
/// # Errors
/// [`CacheError::Io`].
pub fn unpack_unless(path: &Path, unless: &str, to: &Path) -> CacheResult<bool> {
    if !std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file()) {
        return Ok(false);
    }
    let read = CacheError::io("read", path);
    let archive = match Archive::open(path) {
        Ok(Some(archive)) => archive,
        Ok(None) => return Ok(false),
        Err(e) => return Err(read(e)),
    };
    if archive.members.iter().any(|m| m.entry.path == unless) {
        return Ok(false);
    }
    std::fs::create_dir_all(to).map_err(CacheError::io("create", to))?;
    let mut block = Vec::new();
    for member in &archive.members {
        let target = to.join(&member.entry.path);
        let parent = target.parent().unwrap_or(to);
        if parent != to {
            std::fs::create_dir_all(parent).map_err(CacheError::io("create", parent))?;
        }
        File::create_new(&target)
            .and_then(|mut file| archive.blocks(member, &mut block, |part| file.write_all(part)))
            .map_err(CacheError::io("write", &target))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
