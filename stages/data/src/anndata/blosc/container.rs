//! The container: a header, where each block starts, and the blocks.
//!
//! Source: c-blosc 1.21, `README_CHUNK_FORMAT.rst` and `blosc.c` (`blosc_d`), format version 2. Blosc 2's
//! extended header (version 3 and later), which zarr does not use, is refused.

use rayon::prelude::*;

use super::super::zstd::MOST_PACKED;
use super::{blosclz, shuffle};

/// Bytes of the header.
pub(super) const HEADER: usize = 16;
const VERSION: u8 = 2;
/// Elements of more bytes are never split, nor blocks of fewer elements (`MAX_SPLITS`, `MIN_BUFFERSIZE`).
const MOST_SPLITS: usize = 16;
const LEAST_SPLIT: usize = 128;

/// Why a chunk cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the chunk is cut off")]
    CutOff,
    #[error("expected format version {VERSION}, found `{0}`")]
    Version(u8),
    #[error("the compressor `{0}` is not read; `lz4`, `lz4hc`, `zstd`, `zlib` and `blosclz` are")]
    Compressor(&'static str),
    #[error("expected {expected} bytes, the header states {found}")]
    Size { expected: u64, found: u64 },
    #[error("the header is damaged: `{0}` cannot be")]
    Header(&'static str),
    #[error("block {0} is damaged")]
    Block(usize),
}

#[derive(Debug, Clone, Copy)]
enum Compressor {
    BloscLz,
    Lz4,
    Zlib,
    Zstd,
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    None,
    Bytes,
    Bits,
}

/// What the header states of how blocks are packed.
#[derive(Debug, Clone, Copy)]
struct Packing {
    compressor: Compressor,
    filter: Filter,
    is_split: bool,
    /// Bytes of an element, 1 to 255.
    type_size: usize,
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    let value = i32::from_le_bytes(four.try_into().ok()?);
    usize::try_from(value).ok()
}

/// The bytes that `packed` holds. `expected` is their number, where the array's metadata states it. A number that
/// the chunk cannot hold is refused before anything is reserved.
///
/// # Errors
/// [`Error`] where the chunk is damaged or packed in a way that is not read.
pub(super) fn unpack(packed: &[u8], expected: Option<u64>) -> Result<Vec<u8>, Error> {
    let (flags, sizes) = header(packed, expected)?;
    let Sizes { n_bytes, block } = sizes;
    if n_bytes == 0 {
        return Ok(Vec::new());
    }
    if flags & 0b10 != 0 {
        let stored = packed.get(HEADER..HEADER + n_bytes);
        return stored.map(<[u8]>::to_vec).ok_or(Error::CutOff);
    }
    if flags & 0b1000 != 0 {
        return Err(Error::Header("flags"));
    }
    let packing = Packing::new(flags, usize::from(packed[3]))?;
    if block == 0 || block > n_bytes {
        return Err(Error::Header("block size"));
    }
    let n_blocks = n_bytes.div_ceil(block);
    if n_blocks > (packed.len() - HEADER) / 4 {
        return Err(Error::CutOff);
    }
    let mut out = vec![0; n_bytes];
    out.par_chunks_mut(block)
        .enumerate()
        .try_for_each_init(Vec::new, |filtered, (i, out)| {
            number(packed, HEADER + 4 * i)
                .and_then(|start| packed.get(start..))
                .and_then(|from| packing.block(from, out, block, filtered))
                .ok_or(Error::Block(i))
        })?;
    Ok(out)
}

/// Numbers of bytes that a header states.
struct Sizes {
    /// Of everything, unpacked.
    n_bytes: usize,
    /// Of a block, unpacked.
    block: usize,
}

/// Flags and sizes of the header, after a check that the chunk can hold that much.
fn header(packed: &[u8], expected: Option<u64>) -> Result<(u8, Sizes), Error> {
    let Some(header) = packed.get(..HEADER) else {
        return Err(Error::CutOff);
    };
    if header[0] != VERSION {
        return Err(Error::Version(header[0]));
    }
    let n_bytes = number(header, 4).ok_or(Error::Header("number of bytes"))?;
    let block = number(header, 8).ok_or(Error::Header("block size"))?;
    let packed_size = number(header, 12).ok_or(Error::Header("packed size"))?;
    if packed.len() < packed_size {
        return Err(Error::CutOff);
    }
    let found = n_bytes as u64;
    if let Some(expected) = expected.filter(|size| *size != found) {
        return Err(Error::Size { expected, found });
    }
    if found > packed.len() as u64 * MOST_PACKED {
        return Err(Error::Header("number of bytes"));
    }
    Ok((header[2], Sizes { n_bytes, block }))
}

impl Packing {
    /// What the flags of a header say of values of that many bytes.
    fn new(flags: u8, type_size: usize) -> Result<Self, Error> {
        if type_size == 0 {
            return Err(Error::Header("type size"));
        }
        let compressor = match flags >> 5 {
            0 => Compressor::BloscLz,
            1 => Compressor::Lz4,
            2 => return Err(Error::Compressor("snappy")),
            3 => Compressor::Zlib,
            4 => Compressor::Zstd,
            _ => return Err(Error::Header("compressor")),
        };
        let filter = match (flags & 0b1 != 0, flags & 0b100 != 0) {
            (true, _) if type_size > 1 => Filter::Bytes,
            (_, true) => Filter::Bits,
            _ => Filter::None,
        };
        Ok(Self {
            compressor,
            filter,
            is_split: flags & 0b1_0000 == 0,
            type_size,
        })
    }

    /// Unpacks the block that starts at `from`. `filtered` is room for it, kept from block to block.
    fn block(
        self,
        from: &[u8],
        out: &mut [u8],
        block_size: usize,
        filtered: &mut Vec<u8>,
    ) -> Option<()> {
        match self.filter {
            // As c-blosc has it: a block of less than one element has no bits to turn.
            Filter::Bits if out.len() < self.type_size => self.streams(from, out, block_size),
            Filter::None => self.streams(from, out, block_size),
            filter => {
                filtered.resize(out.len(), 0);
                self.streams(from, filtered, block_size)?;
                match filter {
                    Filter::Bytes => shuffle::unshuffle(filtered, out, self.type_size),
                    _ => shuffle::bitunshuffle(filtered, out, self.type_size),
                }
                Some(())
            }
        }
    }

    /// Unpacks the streams of a block: one for each byte of an element, or one.
    fn streams(self, mut from: &[u8], out: &mut [u8], block_size: usize) -> Option<()> {
        let is_split = self.is_split
            && self.type_size <= MOST_SPLITS
            && out.len() / self.type_size >= LEAST_SPLIT
            && out.len() == block_size;
        let n_streams = if is_split { self.type_size } else { 1 };
        if !out.len().is_multiple_of(n_streams) {
            return None;
        }
        for stream in out.chunks_exact_mut(out.len() / n_streams) {
            let size = number(from, 0)?;
            let packed = from.get(4..size.checked_add(4)?)?;
            if packed.len() == stream.len() {
                stream.copy_from_slice(packed);
            } else {
                self.stream(packed, stream)?;
            }
            from = &from[4 + size..];
        }
        Some(())
    }

    fn stream(self, packed: &[u8], out: &mut [u8]) -> Option<()> {
        let n = match self.compressor {
            Compressor::BloscLz => blosclz::unpack(packed, out)?,
            Compressor::Lz4 => lz4_flex::block::decompress_into(packed, out).ok()?,
            Compressor::Zlib => {
                let mut decoder = flate2::Decompress::new(true);
                let flush = flate2::FlushDecompress::Finish;
                decoder.decompress(packed, out, flush).ok()?;
                decoder.total_out() as usize
            }
            Compressor::Zstd => zstd::bulk::decompress_to_buffer(packed, out).ok()?,
        };
        (n == out.len()).then_some(())
    }
}
