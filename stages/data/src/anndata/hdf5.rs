//! An HDF5 file (h5ad) as a [`Store`].

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_pure::{AttrValue, DType, Dataset, Error, File, FormatError, Layout};
use serde_json::Value;

use super::blocks::Blocks;
use super::direct::Direct;
use super::store::{ArrayInfo, Attributes, Node, Store, Values, decoded};
use crate::error::{StageError, StageResult};

/// An open HDF5 file; nothing is read before it is asked for.
#[derive(Debug)]
pub(super) struct Hdf5Store {
    path: PathBuf,
    file: File,
    direct: Direct,
    /// Size of the file in bytes.
    len: u64,
    /// Datasets whose chunks were looked at.
    checked: Mutex<BTreeSet<String>>,
}

impl Hdf5Store {
    /// Opens the file `path`.
    pub(super) fn open(path: &Path) -> StageResult<Self> {
        let is_hdf5 = hdf5_pure::is_hdf5(path).map_err(StageError::reading(path))?;
        if !is_hdf5 {
            let size = std::fs::metadata(path)
                .map_err(StageError::reading(path))?
                .len();
            let message = if size == 0 {
                "expected an HDF5 file (h5ad, 10x h5), found an empty file"
            } else {
                "expected an HDF5 file (h5ad, 10x h5), found other data: the file is encrypted, or of another format"
            };
            return Err(StageError::format(path, "", message));
        }
        if let Some((said, there)) = cut_off(path).map_err(StageError::reading(path))? {
            let message =
                format!("the file is cut off: it says that it has {said} bytes, there are {there}");
            return Err(StageError::format(path, "", message));
        }
        let bytes = Arc::new(std::fs::File::open(path).map_err(StageError::reading(path))?);
        let len = bytes.metadata().map_err(StageError::reading(path))?.len();
        let file = File::from_source(Blocks::new(bytes.clone(), len))
            .map_err(|e| StageError::format(path, "", format!("cannot open as HDF5: {e}")))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            direct: Direct::new(bytes, len),
            len,
            checked: Mutex::default(),
        })
    }

    fn dataset(&self, at: &str) -> StageResult<Dataset> {
        self.file.dataset(at).map_err(|e| self.failed(at, &e))
    }

    fn failed(&self, at: &str, error: &Error) -> StageError {
        self.bad(at, format!("cannot read: {error}"))
    }
}

/// The size that the superblock states and the size there is, where the file is shorter. libhdf5
/// makes the same check; without it a file cut in half opens, and fails somewhere in its middle.
fn cut_off(path: &Path) -> std::io::Result<Option<(u64, u64)>> {
    let mut file = std::fs::File::open(path)?;
    let there = file.metadata()?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(64).read_to_end(&mut head)?;
    // Where the end-of-file address is, with addresses of eight bytes.
    let at = match (head.get(8), head.get(9), head.get(13)) {
        (Some(0), _, Some(8)) => 40,
        (Some(1), _, Some(8)) => 44,
        (Some(2 | 3), Some(8), _) => 28,
        // A user block before the file, or other sizes: the reader says what is wrong.
        _ => return Ok(None),
    };
    let Some(bytes) = head.get(at..at + 8) else {
        return Ok(Some((at as u64 + 8, there)));
    };
    let said = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    Ok((said > there).then_some((said, there)))
}

/// Reads a dataset whole, or a range of its rows.
macro_rules! read_as {
    ($dataset:expr, $rows:expr, $all:ident, $some:ident) => {
        match $rows {
            None => $dataset.$all(),
            Some(Range { start, end }) => $dataset.$some(start, end - start),
        }
    };
}

fn values(dataset: &Dataset, rows: Option<Range<u64>>) -> Result<Option<Values>, Error> {
    fn widen<T: Into<i32>>(v: Vec<T>) -> Values {
        Values::I32(v.into_iter().map(Into::into).collect())
    }
    Ok(Some(match dataset.dtype()? {
        DType::F32 => Values::F32(read_as!(dataset, rows, read_f32, read_f32_rows)?),
        DType::F64 => Values::F64(read_as!(dataset, rows, read_f64, read_f64_rows)?),
        DType::I8 => widen(read_as!(dataset, rows, read_i8, read_i8_rows)?),
        DType::I16 => widen(read_as!(dataset, rows, read_i16, read_i16_rows)?),
        DType::U8 => widen(read_as!(dataset, rows, read_u8, read_u8_rows)?),
        DType::U16 => widen(read_as!(dataset, rows, read_u16, read_u16_rows)?),
        DType::I32 => Values::I32(read_as!(dataset, rows, read_i32, read_i32_rows)?),
        DType::U32 => Values::U32(read_as!(dataset, rows, read_u32, read_u32_rows)?),
        DType::I64 => Values::I64(read_as!(dataset, rows, read_i64, read_i64_rows)?),
        DType::U64 => Values::U64(read_as!(dataset, rows, read_u64, read_u64_rows)?),
        DType::String | DType::VariableLengthString => {
            Values::Text(read_as!(dataset, rows, read_string, read_string_rows)?)
        }
        DType::Enum(names) if is_flag(&names) => {
            let bytes = read_as!(dataset, rows, read_u8, read_u8_rows)?;
            Values::Bool(bytes.into_iter().map(|b| b != 0).collect())
        }
        _ => return Ok(None),
    }))
}

/// h5py stores numpy's bool as this enumeration.
fn is_flag(names: &[String]) -> bool {
    matches!(names, [f, t] if f == "FALSE" && t == "TRUE")
}

impl Store for Hdf5Store {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self, at: &str) -> StageResult<Option<Node>> {
        let failed = |e: Error| self.failed(at, &e);
        if at.is_empty() {
            let attributes = attributes(self.file.root().attrs().map_err(failed)?);
            return Ok(Some(Node {
                attributes,
                array: None,
            }));
        }
        match self.file.dataset(at) {
            Ok(dataset) => {
                let dtype = match dataset.dtype().map_err(failed)? {
                    DType::Enum(names) if is_flag(&names) => "bool".to_string(),
                    dtype => numpy_name(&dtype),
                };
                let shape = dataset.shape().map_err(failed)?;
                let attributes = attributes(dataset.attrs().map_err(failed)?);
                Ok(Some(Node {
                    attributes,
                    array: Some(ArrayInfo { shape, dtype }),
                }))
            }
            Err(Error::NotADataset(_)) => {
                let group = self.file.group(at).map_err(failed)?;
                Ok(Some(Node {
                    attributes: attributes(group.attrs().map_err(failed)?),
                    array: None,
                }))
            }
            Err(Error::NotAGroup(_) | Error::Format(FormatError::PathNotFound(_))) => Ok(None),
            Err(e) => Err(self.failed(at, &e)),
        }
    }

    fn children(&self, at: &str) -> StageResult<Vec<String>> {
        let failed = |e: Error| self.failed(at, &e);
        let group = if at.is_empty() {
            self.file.root()
        } else {
            self.file.group(at).map_err(failed)?
        };
        let mut names = group.groups().map_err(failed)?;
        names.extend(group.datasets().map_err(failed)?);
        names.sort();
        Ok(names)
    }

    fn read(&self, at: &str) -> StageResult<Values> {
        let dataset = self.dataset(at)?;
        self.fits(at, &dataset)?;
        if let Some(values) = self.direct.read(at, &dataset, None) {
            return Ok(values);
        }
        self.chunks_fit(at, &dataset)?;
        decoded(|| values(&dataset, None))
            .map_err(|e| self.bad(at, format!("cannot read: {e}")))?
            .ok_or_else(|| self.no_values(at, &dataset))
    }

    fn read_rows(&self, at: &str, rows: Range<u64>) -> StageResult<Values> {
        let dataset = self.dataset(at)?;
        self.fits(at, &dataset)?;
        let shape = dataset.shape().map_err(|e| self.failed(at, &e))?;
        if shape.first().is_none_or(|&n| n < rows.end) {
            return Err(self.bad(
                at,
                format!("expected at least {} rows, found {shape:?}", rows.end),
            ));
        }
        if let Some(values) = self.direct.read(at, &dataset, Some(rows.clone())) {
            return Ok(values);
        }
        self.chunks_fit(at, &dataset)?;
        decoded(|| values(&dataset, Some(rows)))
            .map_err(|e| self.bad(at, format!("cannot read: {e}")))?
            .ok_or_else(|| self.no_values(at, &dataset))
    }
}

impl Hdf5Store {
    /// Refuses a dataset of more values than the file can hold.
    fn fits(&self, at: &str, dataset: &Dataset) -> StageResult<()> {
        /// Deflate packs at most 1,032 bytes into one.
        const MOST_PACKED: u64 = 1100;
        let failed = |e: Error| self.failed(at, &e);
        let shape = dataset.shape().map_err(failed)?;
        let value_bytes = match dataset.dtype().map_err(failed)? {
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::I16 | DType::U16 => 2,
            DType::VariableLengthString => 16,
            _ => 1,
        };
        self.can_hold(at, &shape, value_bytes, &|| self.len, MOST_PACKED)
    }

    /// Refuses a dataset with a chunk that goes beyond the file: the library reserves what a chunk states.
    fn chunks_fit(&self, at: &str, dataset: &Dataset) -> StageResult<()> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.contains(at) || !matches!(dataset.layout(), Ok(Layout::Chunked { .. })) {
            return Ok(());
        }
        // What cannot be listed is the library's to refuse.
        for chunk in dataset.chunks().unwrap_or_default() {
            let end = chunk.address.checked_add(chunk.storage_size);
            if end.is_none_or(|end| end > self.len) {
                let message = format!(
                    "it is damaged: a chunk of {} bytes at byte {} goes beyond the {} bytes of the file",
                    chunk.storage_size, chunk.address, self.len
                );
                return Err(self.bad(at, message));
            }
        }
        checked.insert(at.to_string());
        Ok(())
    }

    fn no_values(&self, at: &str, dataset: &Dataset) -> StageError {
        let found = dataset
            .dtype()
            .map_or_else(|e| e.to_string(), |d| d.to_string());
        self.bad(
            at,
            format!("expected numbers, flags or text, found the data type `{found}`"),
        )
    }
}

fn numpy_name(dtype: &DType) -> String {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::I8 => "int8",
        DType::I16 => "int16",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::U8 => "uint8",
        DType::U16 => "uint16",
        DType::U32 => "uint32",
        DType::U64 => "uint64",
        DType::String | DType::VariableLengthString => "string",
        DType::Compound(_) => "compound",
        other => return other.to_string(),
    }
    .to_string()
}

fn attributes(found: std::collections::HashMap<String, AttrValue>) -> Attributes {
    // The map's order is random; names are looked up, and sorted for whoever lists them.
    let mut pairs: Vec<(String, AttrValue)> = found.into_iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
        .into_iter()
        .map(|(name, value)| (name, json(&value)))
        .collect()
}

fn json(value: &AttrValue) -> Value {
    if let Some(text) = value.as_str() {
        text.into()
    } else if let Some(texts) = value.as_strings() {
        texts.to_vec().into()
    } else if let Some(number) = value.as_i64() {
        number.into()
    } else if let Some(numbers) = value.to_i64s() {
        numbers.into()
    } else if let Some(number) = value.as_f64() {
        number.into()
    } else if let Some(numbers) = value.to_f64s() {
        numbers.into()
    } else {
        Value::Null
    }
}
