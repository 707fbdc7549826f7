//! Lines of a text file, plain or gzip, unpacked on a thread of its own.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use clcc_data::error::{StageError, StageResult};
use clcc_data::gzip::Gunzip;

/// Bytes handed from the unpacking thread to the parser at a time.
const BLOCK: usize = 1 << 20;
/// Blocks that may wait: what bounds the memory.
const WAITING: usize = 4;

/// Longest line, in bytes: ten times the header of a matrix of a million cells.
const LONGEST: usize = 256 << 20;

/// The mark that UTF-8 text may start with.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Lines of a file; the thread that feeds them ends with the file or when this is dropped.
pub(super) struct Lines {
    path: PathBuf,
    blocks: Receiver<std::io::Result<Block>>,
    /// Read blocks go back to be filled again: fresh memory costs more than the parsing.
    back: Sender<Vec<u8>>,
    block: Block,
    at: usize,
    /// A line that spans blocks.
    carry: Vec<u8>,
    number: u64,
    /// Bytes beyond which it is no line.
    longest: usize,
    read: Arc<AtomicU64>,
    size: u64,
}

/// Bytes of which the first `filled` count.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    filled: usize,
}

/// Counts the bytes taken from the file, for the progress bar.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The text of a file, unpacked where it starts with gzip's mark, whatever its name is.
pub(super) fn open(path: &Path, read: &Arc<AtomicU64>) -> StageResult<Box<dyn Read + Send>> {
    let mut file = File::open(path).map_err(StageError::reading(path))?;
    let mut mark = Vec::new();
    Read::by_ref(&mut file)
        .take(3)
        .read_to_end(&mut mark)
        .map_err(StageError::reading(path))?;
    let gzip = mark.starts_with(&[0x1f, 0x8b]);
    let bom = mark == BOM;
    let start = Cursor::new(if bom { Vec::new() } else { mark });
    let whole = Counted {
        inner: start.chain(file),
        read: read.clone(),
    };
    if gzip {
        let packed = std::io::BufReader::with_capacity(BLOCK, whole);
        Ok(Box::new(Gunzip::new(packed)))
    } else {
        Ok(Box::new(whole))
    }
}

impl Lines {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`StageError::Io`] where it cannot be read.
    pub(super) fn open(path: &Path) -> StageResult<Self> {
        let size = std::fs::metadata(path)
            .map_err(StageError::reading(path))?
            .len();
        let read = Arc::new(AtomicU64::new(0));
        let mut text = open(path, &read)?;
        let (send, blocks) = sync_channel(WAITING);
        let (back, empty) = channel::<Vec<u8>>();
        std::thread::spawn(move || {
            loop {
                let mut bytes = empty.try_recv().unwrap_or_default();
                bytes.resize(BLOCK, 0);
                let filled = fill(&mut *text, &mut bytes);
                let last = !matches!(filled, Ok(BLOCK));
                let message = filled.map(|filled| Block { bytes, filled });
                if send.send(message).is_err() || last {
                    return;
                }
            }
        });
        let path = path.to_path_buf();
        Ok(Self {
            path,
            blocks,
            back,
            block: Block::default(),
            at: 0,
            carry: Vec::new(),
            number: 0,
            longest: LONGEST,
            read,
            size,
        })
    }

    /// The next line without its end (`\n` or `\r\n`); the byte order mark of the first is dropped.
    ///
    /// # Errors
    /// [`StageError::Format`] where the gzip stream is cut off or corrupt, a line does not end within
    /// 256 MiB, or the first has `\r` in its middle (a file whose lines end with that alone).
    pub(super) fn next(&mut self) -> StageResult<Option<&[u8]>> {
        self.carry.clear();
        self.number += 1;
        loop {
            let rest = self.at..self.block.filled;
            if let Some(end) = memchr::memchr(b'\n', &self.block.bytes[rest.clone()]) {
                let piece = self.at..self.at + end;
                self.at += end + 1;
                let line = if self.carry.is_empty() {
                    &self.block.bytes[piece]
                } else {
                    self.carry.extend_from_slice(&self.block.bytes[piece]);
                    &self.carry
                };
                return whole_line(&self.path, line, self.number).map(Some);
            }
            self.carry.extend_from_slice(&self.block.bytes[rest]);
            if self.carry.len() > self.longest {
                let returns = self.carry.contains(&b'\r');
                let why = if returns {
                    ": lines that end with `\\r` alone are not read"
                } else {
                    ""
                };
                let message = format!(
                    "expected the end of a line within {} MiB{why}",
                    self.longest >> 20
                );
                return Err(StageError::format(
                    &self.path,
                    format!("line {}", self.number),
                    message,
                ));
            }
            match self.blocks.recv() {
                Ok(Ok(block)) => {
                    if self.number == 1
                        && self.carry.is_empty()
                        && let Some(what) = no_text(&block.bytes[..block.filled])
                    {
                        return Err(StageError::format(&self.path, "", what));
                    }
                    let used = std::mem::replace(&mut self.block, block);
                    self.at = 0;
                    // The thread may have ended; then nobody needs it.
                    let _ = self.back.send(used.bytes);
                }
                Ok(Err(e)) => return Err(self.broken(&e)),
                // The thread has sent all it had.
                Err(_) if self.carry.is_empty() => return Ok(None),
                Err(_) => {
                    (self.block.filled, self.at) = (0, 0);
                    return whole_line(&self.path, &self.carry, self.number).map(Some);
                }
            }
        }
    }

    fn broken(&self, error: &std::io::Error) -> StageError {
        let message = match error.kind() {
            ErrorKind::UnexpectedEof => {
                "the gzip stream ends early: the file is cut off".to_string()
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                format!("the gzip stream is corrupt: {error}")
            }
            _ => format!("cannot read on: {error}"),
        };
        StageError::format(&self.path, format!("line {}", self.number), message)
    }

    /// The number of the line that was returned last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the file taken so far, and its size.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed).min(self.size), self.size)
    }
}

/// What the start of a file is where it is no text, as an error says it.
pub(super) fn no_text(start: &[u8]) -> Option<String> {
    const UTF_16: &str = "is UTF-16: save it as UTF-8";
    const MARKS: [(&[u8], &str); 10] = [
        (b"\xff\xfe", UTF_16),
        (b"\xfe\xff", UTF_16),
        (b"Salted__", "is encrypted (openssl)"),
        (b"PK\x03\x04", "is a zip archive: unpack it first"),
        (
            b"BZh",
            "is packed with bzip2: unpack it, or pack it with gzip",
        ),
        (
            b"\xfd7zXZ",
            "is packed with xz: unpack it, or pack it with gzip",
        ),
        (
            b"\x28\xb5\x2f\xfd",
            "is packed with zstd: unpack it, or pack it with gzip",
        ),
        (b"\x1f\x8b", "is packed with gzip twice: unpack it once"),
        (
            b"\x89HDF\r\n",
            "is an HDF5 file: state its `format` (`h5ad`, `10x_h5`)",
        ),
        (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    ];
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| start.starts_with(mark)) {
        return Some(format!("expected text, found a file that {what}"));
    }
    let head = &start[..start.len().min(1 << 12)];
    let odd = |b: &u8| *b < 0x20 && !matches!(*b, b'\t' | b'\n' | b'\r');
    let n_odd = head.iter().filter(|b| odd(b)).count();
    // Without a mark: of each two bytes one is zero.
    let n_zero = head.iter().filter(|b| **b == 0).count();
    if n_zero * 5 > head.len() * 2 && n_odd == n_zero {
        return Some(format!("expected text, found a file that {UTF_16}"));
    }
    (n_odd * 50 > head.len()).then(|| {
        "expected text, found binary data: the file is encrypted, or of another format".to_string()
    })
}

/// Reads until `block` is full or the text ends.
fn fill(text: &mut dyn Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match text.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A line without its end and without the byte order mark, which is not seen on opening inside gzip.
fn whole_line<'a>(path: &Path, line: &'a [u8], number: u64) -> StageResult<&'a [u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if number > 1 {
        return Ok(line);
    }
    if line.contains(&b'\r') {
        let message = "expected lines that end with `\\n` or `\\r\\n`, found `\\r` alone (old Mac)";
        return Err(StageError::format(path, "line 1", message)
            .or_hint("turn the line ends, for example with `tr '\\r' '\\n' < old.txt > new.txt`"));
    }
    Ok(line.strip_prefix(BOM).unwrap_or(line))
}

/// A name as text, without the quotes that R writes around it.
///
/// # Errors
/// Says what is wrong where the bytes are no UTF-8.
pub(super) fn name(field: &[u8]) -> Result<&str, String> {
    let inner = match field {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    std::str::from_utf8(inner)
        .map_err(|_| format!("expected UTF-8, found `{}`", String::from_utf8_lossy(field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old mac.txt");
        std::fs::write(&file, "Index\n".to_string() + &"1\t2\r".repeat(600_000)).unwrap();
        let mut lines = Lines::open(&file).unwrap();
        lines.longest = 1 << 20;
        assert_eq!(lines.next().unwrap(), Some(&b"Index"[..]));
        let said = lines.next().unwrap_err().to_string();
        for expected in ["line 2", "within 1 MiB", "end with `\\r` alone"] {
            assert!(said.contains(expected), "{said}");
        }
        // At its usual length it is a line like any other.
        let mut lines = Lines::open(&file).unwrap();
        lines.next().unwrap();
        assert_eq!(lines.next().unwrap().map(<[u8]>::len), Some(2_399_999));
    }

    #[test]
    fn lines_that_end_with_a_return_alone_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old mac.txt");
        for text in ["Index\tc1\rA\t0\r", "Index\tc1\rA\t0\r\n"] {
            std::fs::write(&file, text).unwrap();
            let error = Lines::open(&file).unwrap().next().unwrap_err();
            assert!(error.to_string().contains("found `\\r` alone"), "{error}");
        }
        std::fs::write(&file, "Index\tc1\r\nA\t0\r\n").unwrap();
        let mut lines = Lines::open(&file).unwrap();
        assert_eq!(lines.next().unwrap(), Some(&b"Index\tc1"[..]));
        assert_eq!(lines.next().unwrap(), Some(&b"A\t0"[..]));
    }

    #[test]
    fn utf_16_is_named_with_and_without_its_mark() {
        for text in ["\u{feff}Index\tc1\n", "Index\tc1\n"] {
            for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                let bytes: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
                assert!(
                    no_text(&bytes)
                        .unwrap()
                        .ends_with("is UTF-16: save it as UTF-8")
                );
            }
        }
        assert_eq!(no_text("Index\tgène\n".as_bytes()), None);
    }
}
