//! Numbers of an HDF5 file read into the vector that keeps them.
//!
//! An array whose numbers have the same bytes in the file as in memory, at one place or in chunks of one
//! dimension (packed with deflate or not, shuffled or not), needs no decoder: every piece is read,
//! or unpacked, where it belongs, on all threads. Everything else is for the library to read, and so
//! is what turns out to be odd here: it has the words for it.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use flate2::{Decompress, FlushDecompress, Status};
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, FloatingPointLayout, Layout};
use rayon::prelude::*;

use super::store::Values;

/// Deflate makes at most this many bytes of one.
const MOST_OF_A_BYTE: u64 = 1032;
/// Bytes of an array without chunks that one thread reads at once.
const PIECE: usize = 1 << 20;
/// HDF5's numbers of the filters.
const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;

/// Reads arrays of one file.
#[derive(Debug)]
pub(super) struct Direct {
    file: Arc<File>,
    len: u64,
    /// The pieces of each array; nothing for one that the library reads.
    arrays: Mutex<HashMap<String, Option<Arc<Array>>>>,
}

/// Where the file has the numbers of an array.
#[derive(Debug)]
struct Array {
    number: Number,
    /// Numbers of a row (of a dense matrix).
    wide: u64,
    /// Numbers of a chunk; of all where there are no chunks.
    chunk: u64,
    packed: bool,
    shuffled: bool,
    /// (place, bytes) of each chunk.
    pieces: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    F32,
    F64,
    I32,
    U32,
    I64,
    U64,
}

impl Number {
    /// The type in memory of the same bytes.
    fn of(stored: &Datatype) -> Option<Self> {
        if cfg!(target_endian = "big") {
            return None;
        }
        match stored {
            Datatype::FixedPoint {
                size,
                byte_order: DatatypeByteOrder::LittleEndian,
                layout,
            } if layout.bit_offset == 0
                && size.checked_mul(8) == Some(u32::from(layout.bit_precision)) =>
            {
                match (size, layout.signed) {
                    (4, true) => Some(Self::I32),
                    (4, false) => Some(Self::U32),
                    (8, true) => Some(Self::I64),
                    (8, false) => Some(Self::U64),
                    _ => None,
                }
            }
            Datatype::FloatingPoint {
                size,
                byte_order: DatatypeByteOrder::LittleEndian,
                layout,
            } => match (size, *layout) {
                (4, FloatingPointLayout::IEEE754_BINARY32) => Some(Self::F32),
                (8, FloatingPointLayout::IEEE754_BINARY64) => Some(Self::F64),
                _ => None,
            },
            _ => None,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

impl Direct {
    pub(super) fn new(file: Arc<File>, len: u64) -> Self {
        Self {
            file,
            len,
            arrays: Mutex::default(),
        }
    }

    /// The values at `rows`, or all; nothing where the library must read them.
    pub(super) fn read(
        &self,
        at: &str,
        dataset: &Dataset,
        rows: Option<Range<u64>>,
    ) -> Option<Values> {
        let array = self.array(at, dataset)?;
        let rows = match rows {
            Some(rows) => rows.start * array.wide..rows.end * array.wide,
            None => 0..dataset.shape().ok()?.iter().product(),
        };
        Some(match array.number {
            Number::F32 => Values::F32(array.read(&self.file, rows)?),
            Number::F64 => Values::F64(array.read(&self.file, rows)?),
            Number::I32 => Values::I32(array.read(&self.file, rows)?),
            Number::U32 => Values::U32(array.read(&self.file, rows)?),
            Number::I64 => Values::I64(array.read(&self.file, rows)?),
            Number::U64 => Values::U64(array.read(&self.file, rows)?),
        })
    }

    fn array(&self, at: &str, dataset: &Dataset) -> Option<Arc<Array>> {
        let mut arrays = self.arrays.lock().unwrap_or_else(PoisonError::into_inner);
        let known = arrays.entry(at.to_string());
        known
            .or_insert_with(|| Array::of(dataset, self.len).map(Arc::new))
            .clone()
    }
}

impl Array {
    /// Where a file of `len` bytes has the numbers of `dataset`. Nothing that the file states is
    /// believed: every piece must be within it, and no array may be larger than its pieces can make it.
    fn of(dataset: &Dataset, len: u64) -> Option<Self> {
        let number = Number::of(&dataset.datatype().ok()?)?;
        let shape = dataset.shape().ok()?;
        let (first, others) = shape.split_first()?;
        let wide = others.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
        let all = first.checked_mul(wide)?;
        let all_bytes = all.checked_mul(number.bytes())?;
        let is_within = |at: u64, size: u64| at.checked_add(size).is_some_and(|end| end <= len);
        match dataset.layout().ok()? {
            Layout::Contiguous {
                address: Some(address),
                size,
            } if size == all_bytes && is_within(address, size) => Some(Self {
                number,
                wide,
                chunk: all,
                packed: false,
                shuffled: false,
                pieces: vec![(address, size)],
            }),
            Layout::Chunked { chunk_shape, .. } if others.is_empty() => {
                let chunk = *chunk_shape.first().filter(|&&n| n > 0)?;
                let chunk_bytes = chunk.checked_mul(number.bytes())?;
                let (shuffled, packed) = match dataset.filters()[..] {
                    [] => (false, false),
                    [DEFLATE] => (false, true),
                    [SHUFFLE, DEFLATE] => (true, true),
                    _ => return None,
                };
                let mut chunks = dataset.chunks().ok()?;
                chunks.sort_unstable_by_key(|c| c.offset[0]);
                let is_known = |(i, c): (usize, &hdf5_pure::Chunk)| {
                    let most = c.storage_size.saturating_mul(MOST_OF_A_BYTE);
                    c.offset[0] == i as u64 * chunk
                        && c.filter_mask == 0
                        && is_within(c.address, c.storage_size)
                        && (packed || c.storage_size == chunk_bytes)
                        && (!packed || chunk_bytes <= most)
                };
                // A chunk that is not stored stands for the fill value.
                let is_whole = chunks.len() as u64 == all.div_ceil(chunk)
                    && chunks.iter().enumerate().all(is_known)
                    && chunks.iter().map(|c| c.storage_size).sum::<u64>() <= len;
                is_whole.then(|| Self {
                    number,
                    wide,
                    chunk,
                    packed,
                    shuffled,
                    pieces: chunks.iter().map(|c| (c.address, c.storage_size)).collect(),
                })
            }
            _ => None,
        }
    }

    fn read<T: Pod + Default + Send>(&self, file: &File, rows: Range<u64>) -> Option<Vec<T>> {
        let mut values = vec![T::default(); (rows.end - rows.start) as usize];
        let all_read = if self.pieces.len() == 1 && !self.packed {
            let start = self.pieces[0].0 + rows.start * self.number.bytes();
            let parts = bytemuck::cast_slice_mut::<T, u8>(&mut values).par_chunks_mut(PIECE);
            parts.enumerate().all(|(i, part)| {
                let at = start + (i * PIECE) as u64;
                file.read_exact_at(part, at).is_ok()
            })
        } else {
            let parts = self.by_chunk(rows, &mut values);
            parts
                .into_par_iter()
                .map_init(Unpacker::default, |unpacker, (chunk, skip, part)| {
                    self.read_chunk(file, chunk, skip, part, unpacker)
                })
                .all(|read| read.is_some())
        };
        all_read.then_some(values)
    }

    /// The chunks that `rows` touches: number, bytes of it before `rows`, and where the rest goes.
    fn by_chunk<'v, T: Pod>(
        &self,
        rows: Range<u64>,
        values: &'v mut [T],
    ) -> Vec<(usize, usize, &'v mut [u8])> {
        let mut rest = bytemuck::cast_slice_mut(values);
        let mut parts = Vec::new();
        let mut at = rows.start;
        while at < rows.end {
            let chunk = at / self.chunk;
            let end = ((chunk + 1) * self.chunk).min(rows.end);
            let bytes = |n: u64| (n * self.number.bytes()) as usize;
            let (part, tail) = rest.split_at_mut(bytes(end - at));
            parts.push((chunk as usize, bytes(at - chunk * self.chunk), part));
            rest = tail;
            at = end;
        }
        parts
    }

    /// Fills `part` with the bytes of a chunk after its first `skip`.
    fn read_chunk(
        &self,
        file: &File,
        chunk: usize,
        skip: usize,
        part: &mut [u8],
        unpacker: &mut Unpacker,
    ) -> Option<()> {
        let (at, size) = self.pieces[chunk];
        if !self.packed {
            return file.read_exact_at(part, at + skip as u64).ok();
        }
        let Unpacker {
            packed,
            plain,
            inflate,
        } = unpacker;
        packed.resize(size as usize, 0);
        file.read_exact_at(packed, at).ok()?;
        let whole = (self.chunk * self.number.bytes()) as usize;
        if !self.shuffled && part.len() == whole {
            return unpack(inflate, packed, part);
        }
        plain.resize(whole, 0);
        unpack(inflate, packed, plain)?;
        if self.shuffled {
            let first = skip / self.number.bytes() as usize;
            match self.number.bytes() {
                4 => unshuffle::<4>(plain, first, part),
                _ => unshuffle::<8>(plain, first, part),
            }
        } else {
            part.copy_from_slice(&plain[skip..skip + part.len()]);
        }
        Some(())
    }
}

/// What a thread keeps from chunk to chunk.
#[derive(Default)]
struct Unpacker {
    packed: Vec<u8>,
    plain: Vec<u8>,
    inflate: Option<Decompress>,
}

/// Fills `plain` from a zlib stream that makes exactly as many bytes.
fn unpack(inflate: &mut Option<Decompress>, packed: &[u8], plain: &mut [u8]) -> Option<()> {
    let inflate = inflate.get_or_insert_with(|| Decompress::new(true));
    inflate.reset(true);
    let end = inflate.decompress(packed, plain, FlushDecompress::Finish);
    let is_whole =
        matches!(end, Ok(Status::StreamEnd)) && inflate.total_out() == plain.len() as u64;
    is_whole.then_some(())
}

/// HDF5's shuffle lays the first bytes of all numbers first, then the second ones, and so on. Gathers
/// those of the numbers from `first` on.
fn unshuffle<const WIDTH: usize>(planes: &[u8], first: usize, values: &mut [u8]) {
    let (all, n) = (planes.len() / WIDTH, values.len() / WIDTH);
    let planes: [&[u8]; WIDTH] =
        std::array::from_fn(|k| &planes[k * all + first..k * all + first + n]);
    for (i, value) in values.chunks_exact_mut(WIDTH).enumerate() {
        value.copy_from_slice(&std::array::from_fn::<u8, WIDTH, _>(|k| planes[k][i]));
    }
}

#[cfg(test)]
mod tests;
