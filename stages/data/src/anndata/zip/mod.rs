//! The files of a zarr store in a ZIP archive, as zarr-python's `ZipStore` and the cache have them: not compressed.
//!
//! Any part of any file is read by itself: opening a store costs its list of files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use zarrs::storage::byte_range::{ByteRangeIterator, InvalidByteRangeError};
use zarrs::storage::{
    MaybeBytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey,
};

use crate::error::{StageError, StageResult};

/// Bytes of the record that ends an archive, of its longest comment, of a local header and of a central one.
const END: usize = 22;
const LONGEST_COMMENT: u64 = 0xFFFF;
const LOCAL: usize = 30;
const CENTRAL: usize = 46;
/// Bytes of a list of files that are held: about a million files.
const LONGEST_LIST: u64 = 256 << 20;

/// An open archive.
#[derive(Debug)]
pub(super) struct Zip {
    file: File,
    len: u64,
    files: BTreeMap<String, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where its local header is.
    header: u64,
    size: u64,
    is_plain: bool,
}

/// Whether the file at `path` begins as an archive does.
pub(super) fn is_zip(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut head, 0));
    read.is_ok() && [b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"].contains(&&head)
}

impl Zip {
    pub(super) fn open(path: &Path) -> StageResult<Self> {
        let open = || -> io::Result<Option<Self>> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            let files = list(&file, len)?;
            Ok(files.map(|files| Self { file, len, files }))
        };
        let zip = open().map_err(StageError::reading(path))?;
        let message = "expected a whole ZIP archive: its list of files cannot be read";
        zip.ok_or_else(|| StageError::format(path, "", message))
    }

    /// The bytes of a file; `None` where there is none of that name.
    pub(super) fn bytes(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.files.get(name) else {
            return Ok(None);
        };
        self.part(place, 0..place.size).map(Some)
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Names of files and folders directly in the folder `prefix`, sorted; it is empty or ends with a slash.
    pub(super) fn children(&self, prefix: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (name, _) in self.below(prefix) {
            let rest = &name[prefix.len()..];
            let child = rest.split('/').next().unwrap_or(rest);
            if found.last().is_none_or(|last| last != child) {
                found.push(child.to_string());
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Bytes of all files in the folder `prefix`, as they are stored.
    pub(super) fn bytes_below(&self, prefix: &str) -> u64 {
        let sum = self.below(prefix).map(|(_, place)| place.size);
        sum.fold(0, u64::saturating_add)
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Place)> {
        let from = self
            .files
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(prefix))
    }

    fn part(&self, place: &Place, part: Range<u64>) -> io::Result<Vec<u8>> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        if !place.is_plain {
            return Err(bad("it is compressed in its archive; expected it stored"));
        }
        let mut header = [0; LOCAL];
        self.file.read_exact_at(&mut header, place.header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(bad("its archive has no file where one is listed"));
        }
        let skip = LOCAL as u64 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let at = place.header + skip + part.start;
        let n = part.end - part.start;
        if at.checked_add(n).is_none_or(|end| end > self.len) {
            return Err(bad("its archive ends before it does"));
        }
        let mut bytes = vec![0; n as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The files of an archive of `len` bytes; `None` where that cannot be told.
fn list(file: &File, len: u64) -> io::Result<Option<BTreeMap<String, Place>>> {
    let tail_at = len.saturating_sub(END as u64 + LONGEST_COMMENT);
    let mut tail = vec![0; (len - tail_at) as usize];
    file.read_exact_at(&mut tail, tail_at)?;
    let ends = (0..=tail.len().saturating_sub(END)).rev();
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06")
            && tail.len() - at >= END
            && at + END + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let Some(end) = ends.into_iter().find(is_end) else {
        return Ok(None);
    };
    let (mut size, mut at) = (
        u64::from(u32_at(&tail, end + 12)),
        u64::from(u32_at(&tail, end + 16)),
    );
    // Archives beyond 4 GiB or 65,535 files say it in a second record, and a third says where that is.
    let locator = (tail_at + end as u64).checked_sub(20);
    let mut record = [0; 56];
    if let Some(locator) = locator {
        file.read_exact_at(&mut record[..20], locator)?;
        if record.starts_with(b"PK\x06\x07") {
            let place = u64_at(&record, 8);
            if place.checked_add(56).is_none_or(|end| end > len) {
                return Ok(None);
            }
            file.read_exact_at(&mut record, place)?;
            if !record.starts_with(b"PK\x06\x06") {
                return Ok(None);
            }
            (size, at) = (u64_at(&record, 40), u64_at(&record, 48));
        }
    }
    if size > LONGEST_LIST || at.checked_add(size).is_none_or(|end| end > len) {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(parse(&bytes, len))
}

/// The files of the central directory of an archive of `len` bytes.
fn parse(mut bytes: &[u8], len: u64) -> Option<BTreeMap<String, Place>> {
    let mut files = BTreeMap::new();
    while !bytes.is_empty() {
        if bytes.len() < CENTRAL || !bytes.starts_with(b"PK\x01\x02") {
            return None;
        }
        let length = |at| usize::from(u16_at(bytes, at));
        let (name, extra, comment) = (length(28), length(30), length(32));
        let rest = &bytes[CENTRAL..];
        let text = std::str::from_utf8(rest.get(..name)?).ok()?;
        let mut wide = wide(rest.get(name..name + extra)?).into_iter();
        let mut number = |at| match u32_at(bytes, at) {
            u32::MAX => wide.next(),
            n => Some(u64::from(n)),
        };
        // In the order in which the wide ones stand.
        let (size, packed, header) = (number(24)?, number(20)?, number(42)?);
        let is_within = header.checked_add(size).is_some_and(|end| end <= len);
        let is_plain = u16_at(bytes, 10) == 0 && size == packed && is_within;
        if !text.ends_with('/') {
            let place = Place {
                header,
                size,
                is_plain,
            };
            files.insert(text.to_string(), place);
        }
        bytes = rest.get(name + extra + comment..)?;
    }
    Some(files)
}

/// The numbers of 64 bits among the further fields of a file.
fn wide(mut extra: &[u8]) -> Vec<u64> {
    while extra.len() >= 4 {
        let (id, n) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(field) = extra.get(4..4 + n) else {
            break;
        };
        if id == 1 {
            return field.chunks_exact(8).map(|x| u64_at(x, 0)).collect();
        }
        extra = &extra[4 + n..];
    }
    Vec::new()
}

impl ReadableStorageTraits for Zip {
    fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        let bytes = self.bytes(key.as_str()).map_err(failed)?;
        Ok(bytes.map(Into::into))
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(&place) = self.files.get(key.as_str()) else {
            return Ok(None);
        };
        let parts = byte_ranges.map(move |range| {
            let part = range.start(place.size)..range.end(place.size);
            if part.end > place.size || part.start > part.end {
                return Err(InvalidByteRangeError::new(range, place.size).into());
            }
            let bytes = self.part(&place, part).map_err(failed)?;
            Ok(bytes.into())
        });
        Ok(Some(Box::new(parts)))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        Ok(self.files.get(key.as_str()).map(|place| place.size))
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

fn failed(error: io::Error) -> StorageError {
    StorageError::IOError(Arc::new(error))
}

#[cfg(test)]
mod tests;
