//! The chunks of a new zarr directory as files.

use std::path::PathBuf;
use std::sync::Arc;

use zarrs::storage::{
    Bytes, OffsetBytesIterator, StorageError, StoreKey, StorePrefix, WritableStorageTraits,
};

/// Writes each chunk once, whole, to a directory that nobody reads yet. The file system store of
/// zarrs syncs every chunk to the disk; whoever publishes the directory does that for all of it, and
/// only where it is new.
#[derive(Debug)]
pub(super) struct ChunkFiles {
    /// The zarr directory.
    pub(super) root: PathBuf,
}

impl WritableStorageTraits for ChunkFiles {
    fn set(&self, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
        let path = self.root.join(key.as_str());
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, &value)
        };
        write().map_err(|e| StorageError::IOError(Arc::new(e)))
    }

    fn set_partial_many(
        &self,
        key: &StoreKey,
        _values: OffsetBytesIterator<'_>,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unsupported(format!(
            "`{key}` is written whole"
        )))
    }

    /// A chunk of fill values has no file.
    fn erase(&self, _key: &StoreKey) -> Result<(), StorageError> {
        Ok(())
    }

    fn erase_prefix(&self, _prefix: &StorePrefix) -> Result<(), StorageError> {
        Ok(())
    }

    fn supports_set_partial(&self) -> bool {
        false
    }
}
