//! The bytes of an HDF5 file, for the many small reads of its metadata and texts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_pure::{FormatError, Source};

/// Bytes that are read at once. Texts of a column are next to each other, 30,000 of them in a few blocks.
const BLOCK: usize = 32 << 10;
/// Blocks that are held; one of the file has one place.
const HELD: usize = 32;

type Held = Option<(u64, Vec<u8>)>;

/// Positioned reads of a file: small ones out of blocks that are held, large ones as they are.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<File>,
    len: u64,
    held: [Mutex<Held>; HELD],
}

impl Blocks {
    pub(super) fn new(file: Arc<File>, len: u64) -> Self {
        Self {
            file,
            len,
            held: std::array::from_fn(|_| Mutex::new(None)),
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        if buf.len() >= BLOCK {
            return self.file.read_exact_at(buf, offset);
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (block, skip) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let place = &self.held[block as usize % HELD];
            let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
            if held.as_ref().is_none_or(|(held, _)| *held != block) {
                let start = block * BLOCK as u64;
                let mut bytes = held.take().map(|(_, bytes)| bytes).unwrap_or_default();
                bytes.resize((self.len - start).min(BLOCK as u64) as usize, 0);
                self.file.read_exact_at(&mut bytes, start)?;
                *held = Some((block, bytes));
            }
            let (_, bytes) = held.as_ref().expect("read above");
            let n = (bytes.len() - skip).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&bytes[skip..skip + n]);
            done += n;
        }
        Ok(())
    }
}

impl Source for Blocks {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let length = buf.len() as u64;
        let end = offset
            .checked_add(length)
            .ok_or(FormatError::OffsetOverflow { offset, length })?;
        if end > self.len {
            return Err(FormatError::UnexpectedEof {
                expected: end as usize,
                available: self.len as usize,
            });
        }
        self.read(offset, buf)
            .map_err(|e| FormatError::Source(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_what_the_file_has_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..3 * BLOCK as u32 + 77)
            .map(|i| ((i * 7919) >> 5) as u8)
            .collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let blocks = Blocks::new(file, bytes.len() as u64);
        // Within a block, over one border and over two, larger than a block, the last byte, nothing.
        let block = BLOCK;
        for (at, n) in [
            (5, 9),
            (block - 3, 7),
            (block - 1, block - 1),
            (9, 2 * block + 50),
            (3 * block + 70, 7),
            (0, block),
            (2 * block, 0),
        ] {
            let mut piece = vec![0; n];
            blocks.read_at(at as u64, &mut piece).unwrap();
            assert_eq!(piece, bytes[at..at + n], "{n} bytes at {at}");
        }
        let mut piece = [0; 8];
        for at in [bytes.len() as u64 - 7, u64::MAX - 3] {
            assert!(blocks.read_at(at, &mut piece).is_err(), "{at}");
        }
    }
}
