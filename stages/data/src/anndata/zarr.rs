//! A zarr directory, or an archive of one, as a [`Store`]: v3, and the v2 that anndata writes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use zarrs::array::{Array, ArraySubset, DataType, Element, ElementOwned};
use zarrs::filesystem::FilesystemStore;
use zarrs::storage::ReadableStorageTraits;

use super::store::{ArrayInfo, Attributes, Node, Store, Values, decoded};
use super::zip::Zip;
use crate::error::{StageError, StageResult};

/// An open zarr store.
#[derive(Debug)]
pub(super) struct ZarrStore {
    /// The directory, or the archive.
    root: PathBuf,
    files: Files,
    /// Bytes of the files of large arrays, as they are asked for.
    sizes: Mutex<BTreeMap<String, u64>>,
}

/// Where its files are.
#[derive(Debug)]
enum Files {
    Folder(Arc<FilesystemStore>),
    Archive(Arc<Zip>),
}

/// An array of either.
type Stored = Array<dyn ReadableStorageTraits>;

/// Files that a zarr store of either format begins with.
const ROOTS: [&str; 3] = ["zarr.json", ".zgroup", ".zattrs"];

/// Whether the directory at `path` is a zarr store, of either format.
pub fn is_zarr(path: &Path) -> bool {
    ROOTS.into_iter().any(|name| path.join(name).is_file())
}

impl ZarrStore {
    /// Opens the directory `root`.
    pub(super) fn open(root: &Path) -> StageResult<Self> {
        if !is_zarr(root) {
            return Err(StageError::format(
                root,
                "",
                "expected a zarr store, found a directory without `zarr.json` or `.zgroup`",
            ));
        }
        let store = FilesystemStore::new(root).map_err(|e| StageError::Io {
            access: crate::error::Access::Read,
            path: root.to_path_buf(),
            source: std::io::Error::other(e),
        })?;
        Ok(Self::of(root, Files::Folder(Arc::new(store))))
    }

    /// Opens the archive `file`.
    pub(super) fn open_archive(file: &Path) -> StageResult<Self> {
        let zip = Zip::open(file)?;
        if !ROOTS.into_iter().any(|name| zip.has(name)) {
            return Err(StageError::format(
                file,
                "",
                "expected a zarr store, found an archive without `zarr.json` or `.zgroup`",
            ));
        }
        Ok(Self::of(file, Files::Archive(Arc::new(zip))))
    }

    fn of(root: &Path, files: Files) -> Self {
        super::blosc::register();
        super::zstd::register();
        Self {
            root: root.to_path_buf(),
            files,
            sizes: Mutex::default(),
        }
    }

    fn json(&self, at: &str, name: &str) -> StageResult<Option<Value>> {
        let path = self.root.join(at).join(name);
        let found = match &self.files {
            Files::Folder(_) => std::fs::read(&path).map(Some),
            Files::Archive(zip) => zip.bytes(&below(at, name)),
        };
        let text = match found {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(StageError::reading(&path)(e)),
        };
        let value = serde_json::from_slice(&text)
            .map_err(|e| StageError::format(&path, "", format!("expected JSON metadata: {e}")))?;
        Ok(Some(value))
    }

    fn array(&self, at: &str) -> StageResult<Stored> {
        let store: Arc<dyn ReadableStorageTraits> = match &self.files {
            Files::Folder(store) => Arc::clone(store) as _,
            Files::Archive(zip) => Arc::clone(zip) as _,
        };
        Array::open(store, &format!("/{at}"))
            .map_err(|e| self.bad(at, format!("cannot open the array: {}", chain(&e))))
    }

    fn subset(&self, at: &str, array: &Stored, subset: &ArraySubset) -> StageResult<Values> {
        macro_rules! read {
            ($from:ty => $to:ident) => {
                self.values::<$from>(at, array, subset)
                    .map(|v| Values::$to(v.into_iter().map(Into::into).collect()))
            };
        }
        let stored = array.data_type();
        if is::<f32>(stored) {
            self.values(at, array, subset).map(Values::F32)
        } else if is::<f64>(stored) {
            self.values(at, array, subset).map(Values::F64)
        } else if is::<i32>(stored) {
            self.values(at, array, subset).map(Values::I32)
        } else if is::<i64>(stored) {
            self.values(at, array, subset).map(Values::I64)
        } else if is::<u32>(stored) {
            self.values(at, array, subset).map(Values::U32)
        } else if is::<u64>(stored) {
            self.values(at, array, subset).map(Values::U64)
        } else if is::<bool>(stored) {
            self.values(at, array, subset).map(Values::Bool)
        } else if is::<i8>(stored) {
            read!(i8 => I32)
        } else if is::<i16>(stored) {
            read!(i16 => I32)
        } else if is::<u8>(stored) {
            read!(u8 => I32)
        } else if is::<u16>(stored) {
            read!(u16 => I32)
        } else if is::<String>(stored) {
            self.values(at, array, subset).map(Values::Text)
        } else {
            Err(self.bad(
                at,
                format!("expected numbers, flags or text, found the data type `{stored:?}`"),
            ))
        }
    }

    fn values<T: ElementOwned>(
        &self,
        at: &str,
        array: &Stored,
        subset: &ArraySubset,
    ) -> StageResult<Vec<T>> {
        self.fits(at, array, size_of::<T>() as u64)?;
        decoded(|| array.retrieve_array_subset(subset).map_err(|e| chain(&e)))
            .map_err(|e| self.bad(at, format!("cannot read the array: {e}")))
    }

    /// Refuses an array of more values than its chunks can hold.
    fn fits(&self, at: &str, array: &Stored, value_bytes: u64) -> StageResult<()> {
        /// zstd and blosc pack runs of one value nearly without limit; real data by less than this.
        const MOST_PACKED: u64 = 40_000;
        let held = || {
            let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
            let size = sizes.entry(at.to_string());
            *size.or_insert_with(|| match &self.files {
                Files::Folder(_) => bytes_below(&self.root.join(at)),
                Files::Archive(zip) => zip.bytes_below(&below(at, "")),
            })
        };
        self.can_hold(at, array.shape(), value_bytes, &held, MOST_PACKED)
    }
}

impl Store for ZarrStore {
    fn path(&self) -> &Path {
        &self.root
    }

    fn node(&self, at: &str) -> StageResult<Option<Node>> {
        if let Some(v3) = self.json(at, "zarr.json")? {
            let array = (v3["node_type"] == "array").then(|| array_info(&v3, "data_type"));
            return Ok(Some(Node {
                attributes: object(v3.get("attributes")),
                array,
            }));
        }
        let attributes = self.json(at, ".zattrs")?;
        if let Some(array) = self.json(at, ".zarray")? {
            let array = Some(array_info(&array, "dtype"));
            return Ok(Some(Node {
                attributes: object(attributes.as_ref()),
                array,
            }));
        }
        let group = self.json(at, ".zgroup")?.is_some();
        Ok(group.then(|| Node {
            attributes: object(attributes.as_ref()),
            array: None,
        }))
    }

    fn children(&self, at: &str) -> StageResult<Vec<String>> {
        const NODES: [&str; 3] = ["zarr.json", ".zarray", ".zgroup"];
        let dir = self.root.join(at);
        let mut names = Vec::new();
        if let Files::Archive(zip) = &self.files {
            let children = zip.children(&below(at, "")).into_iter();
            let is_node =
                |child: &String| NODES.iter().any(|n| zip.has(&below(&below(at, child), n)));
            return Ok(children.filter(is_node).collect());
        }
        for entry in std::fs::read_dir(&dir).map_err(StageError::reading(&dir))? {
            let entry = entry.map_err(StageError::reading(&dir))?;
            let here = entry.path();
            if NODES.into_iter().any(|n| here.join(n).is_file()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, at: &str) -> StageResult<Values> {
        let array = self.array(at)?;
        let all = array.subset_all();
        self.subset(at, &array, &all)
    }

    fn read_rows(&self, at: &str, rows: Range<u64>) -> StageResult<Values> {
        let array = self.array(at)?;
        let mut ranges: Vec<Range<u64>> = array.shape().iter().map(|&n| 0..n).collect();
        match ranges.first_mut() {
            Some(first) if rows.end <= first.end => *first = rows,
            _ => {
                return Err(self.bad(
                    at,
                    format!(
                        "expected at least {} rows, found {:?}",
                        rows.end,
                        array.shape()
                    ),
                ));
            }
        }
        self.subset(at, &array, &ArraySubset::new_with_ranges(&ranges))
    }
}

/// `at/name`, where the root is `""`.
fn below(at: &str, name: &str) -> String {
    match at {
        "" => name.to_string(),
        at => format!("{at}/{name}"),
    }
}

/// Bytes of all files of a directory. What cannot be read counts as nothing: reading it says why.
fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        Ok(kind) => kind.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn is<T: Element>(stored: &DataType) -> bool {
    T::validate_data_type(stored).is_ok()
}

fn object(value: Option<&Value>) -> Attributes {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn array_info(metadata: &Value, dtype: &str) -> ArrayInfo {
    let shape = metadata["shape"]
        .as_array()
        .map(|s| s.iter().filter_map(Value::as_u64).collect())
        .unwrap_or_default();
    let dtype = match &metadata[dtype] {
        Value::String(text) => text.clone(),
        // zarr v2's list of fields.
        Value::Array(_) => "compound".to_string(),
        other => other["name"]
            .as_str()
            .map_or_else(|| other.to_string(), str::to_string),
    };
    ArrayInfo {
        shape,
        dtype: numpy_name(&dtype).map_or(dtype, str::to_string),
    }
}

/// The name of a zarr v2 type such as `<f4`.
fn numpy_name(v2: &str) -> Option<&'static str> {
    Some(match v2.trim_start_matches(['<', '>', '|', '=']) {
        "f4" => "float32",
        "f8" => "float64",
        "i1" => "int8",
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u1" => "uint8",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "b1" => "bool",
        "O" => "string",
        _ => return None,
    })
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
