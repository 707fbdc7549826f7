//! Reads and writes named arrays as one safetensors file, with the same bytes for the same content.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use clcc_data::error::{StageError, StageResult};

/// An array: type, shape, little-endian bytes.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Arrays by name, and one text in the header.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TensorFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The text. It is stored as the header's only metadata entry: the header is a hash map in safetensors, so a
    /// second entry would make the bytes depend on the hash's order.
    pub(crate) about: Option<String>,
}

macro_rules! typed {
    ($put:ident, $get:ident, $type:ty, $dtype:expr) => {
        /// Adds an array.
        #[allow(
            dead_code,
            reason = "one method per type; not every type is used both ways"
        )]
        pub(crate) fn $put(&mut self, name: &str, shape: &[usize], values: &[$type]) {
            assert_eq!(
                shape.iter().product::<usize>(),
                values.len(),
                "`{name}` has the stated shape"
            );
            let mut bytes = vec![0u8; size_of_val(values)];
            let places = bytes.chunks_exact_mut(size_of::<$type>());
            places
                .zip(values)
                .for_each(|(place, v)| place.copy_from_slice(&v.to_le_bytes()));
            self.entries.insert(
                name.to_string(),
                Entry {
                    dtype: $dtype,
                    shape: shape.to_vec(),
                    bytes,
                },
            );
        }

        /// The values of an array.
        #[allow(
            dead_code,
            reason = "one method per type; not every type is used both ways"
        )]
        pub(crate) fn $get(&self, name: &str) -> StageResult<Vec<$type>> {
            let entry = self.entry(name, $dtype)?;
            let chunks = entry.bytes.chunks_exact(size_of::<$type>());
            Ok(chunks
                .map(|b| <$type>::from_le_bytes(b.try_into().expect("chunks of this size")))
                .collect())
        }
    };
}

impl TensorFile {
    typed!(put_f32, f32s, f32, Dtype::F32);
    typed!(put_f64, f64s, f64, Dtype::F64);
    typed!(put_u32, u32s, u32, Dtype::U32);
    typed!(put_i64, i64s, i64, Dtype::I64);

    fn entry(&self, name: &str, dtype: Dtype) -> StageResult<&Entry> {
        let problem =
            |message: String| StageError::format(&self.path, format!("array `{name}`"), message);
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| problem("expected it in the file, found none".into()))?;
        if entry.dtype != dtype {
            return Err(problem(format!(
                "expected {dtype:?}, found {:?}",
                entry.dtype
            )));
        }
        Ok(entry)
    }

    /// Whether there is an array of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of an array, where there is one of that name.
    #[cfg(test)]
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// The file as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let views = self.entries.iter().map(|(name, e)| {
            let view = TensorView::new(e.dtype, e.shape.clone(), &e.bytes);
            (
                name.as_str(),
                view.expect("bytes of the stated shape, by construction"),
            )
        });
        let about = self
            .about
            .as_ref()
            .map(|text| HashMap::from([("clcc_flow".to_string(), text.clone())]));
        safetensors::serialize(views, about)
            .expect("names are unique and shapes are right, by construction")
    }

    /// Writes the file at `path`.
    pub(crate) fn write(&self, path: &Path) -> StageResult<()> {
        std::fs::write(path, self.to_bytes()).map_err(StageError::writing(path))
    }

    /// Reads a whole file.
    pub(crate) fn read(path: &Path) -> StageResult<Self> {
        let bytes = std::fs::read(path).map_err(StageError::reading(path))?;
        Self::from_bytes(path, &bytes)
    }

    /// Parses the bytes of the file at `path`.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> StageResult<Self> {
        let bad = |e: safetensors::SafeTensorError| {
            StageError::format(path, "", format!("no safetensors file: {e}"))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(bad)?;
        let file = SafeTensors::deserialize(bytes).map_err(bad)?;
        let entries = file.tensors().into_iter().map(|(name, view)| {
            let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (
                name,
                Entry {
                    dtype,
                    shape,
                    bytes,
                },
            )
        });
        let about = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get("clcc_flow").cloned());
        Ok(Self {
            path: path.to_path_buf(),
            entries: entries.collect(),
            about,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_read_back_and_mistakes_are_named() {
        let mut file = TensorFile {
            about: Some("text".into()),
            ..TensorFile::default()
        };
        file.put_f32("b", &[2, 1], &[1.5, -2.0]);
        file.put_i64("a", &[3], &[0, -1, i64::MAX]);
        file.put_u32("c", &[0], &[]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        file.write(&path).unwrap();
        let back = TensorFile::read(&path).unwrap();
        assert_eq!(
            (back.f32s("b").unwrap(), back.i64s("a").unwrap()),
            (vec![1.5, -2.0], vec![0, -1, i64::MAX])
        );
        assert_eq!(
            (back.shape("b"), back.about.as_deref()),
            (Some(&[2usize, 1][..]), Some("text"))
        );
        assert_eq!(back.to_bytes(), file.to_bytes());
        assert!(
            back.f32s("a")
                .unwrap_err()
                .to_string()
                .contains("expected F32, found I64")
        );
        assert!(
            back.f32s("d")
                .unwrap_err()
                .to_string()
                .contains("array `d`")
        );
        std::fs::write(&path, b"not a tensor file").unwrap();
        assert!(TensorFile::read(&path).is_err());
    }
}
