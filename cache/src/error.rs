//! Errors of the store: which call on which path.

use std::path::{Path, PathBuf};

/// Result of a store operation.
pub type CacheResult<T> = Result<T, CacheError>;

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A filesystem call failed.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// `read`, `write`, `rename`, ...
        verb: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// An artifact holds something that is neither a file nor a directory.
    #[error("`{}` is neither a regular file nor a directory", path.display())]
    NotPlain {
        /// The path.
        path: PathBuf,
    },
    /// A place of the cache is a link: nothing beyond it is written or removed.
    #[error("`{}` is a symbolic link; the cache follows none", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// A digest in text form is not 64 hexadecimal digits.
    #[error("expected 64 hexadecimal digits, found `{0}`")]
    BadDigest(String),
}

impl CacheError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { verb, path, source }
    }

    /// Whether the cause is that nothing may be written there.
    pub fn is_read_only(&self) -> bool {
        use std::io::ErrorKind as K;
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), K::PermissionDenied | K::ReadOnlyFilesystem))
    }

    /// Whether the cause is a full disk, a quota or a missing permission.
    pub fn is_disk_or_permission(&self) -> bool {
        use std::io::ErrorKind as K;
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            K::StorageFull | K::QuotaExceeded | K::PermissionDenied | K::ReadOnlyFilesystem
        ))
    }
}
