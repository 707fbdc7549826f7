//! The error every stage returns: what failed, on what, what was expected, what was found.

use std::path::{Path, PathBuf};

/// Result of a stage or of the data layer.
pub type StageResult<T> = Result<T, StageError>;

/// Why a stage could not produce its outputs. Texts are lower case, without a full stop, with
/// values in backticks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A file or directory could not be read or written.
    #[error("cannot {access} `{}`", path.display())]
    Io {
        /// What was tried.
        access: Access,
        /// The path as given.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it claims to be, or breaks its format.
    #[error("`{}`{}: {message}", path.display(), place.as_ref().map(|p| format!(", {p}")).unwrap_or_default())]
    Format {
        /// The path as given.
        path: PathBuf,
        /// Line, column, dataset or key where it goes wrong.
        place: Option<String>,
        /// What was expected and what was found.
        message: String,
        /// What the user can do, where there is something.
        hint: Option<String>,
    },
    /// The data is well formed but cannot be used as asked.
    #[error("{message}")]
    Data {
        /// What was expected and what was found.
        message: String,
        /// What the user can do, where there is something.
        hint: Option<String>,
    },
    /// A parameter does not fit the data (ranges are checked before anything runs).
    #[error("parameter `{param}`: {message}")]
    Param {
        /// Dotted path of the parameter.
        param: String,
        /// What was expected and what was found.
        message: String,
        /// What the user can do, where there is something.
        hint: Option<String>,
    },
    /// An input role that the stage reads was not handed to it.
    #[error("input `{role}` is missing")]
    MissingInput {
        /// The role.
        role: String,
    },
    /// The run was cancelled; a checkpoint may have been written.
    #[error("cancelled")]
    Cancelled,
    /// The tensor library reported an error.
    #[error("tensor operation failed")]
    Tensor(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StageError {
    /// A [`StageError::Data`] without a hint.
    pub fn data(message: impl Into<String>) -> Self {
        Self::Data {
            message: message.into(),
            hint: None,
        }
    }

    /// A [`StageError::Data`] with a hint.
    pub fn data_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Data {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// A [`StageError::Param`].
    pub fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Param {
            param: param.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// A [`StageError::Format`]; `place` may be empty.
    pub fn format(path: &Path, place: impl Into<String>, message: impl Into<String>) -> Self {
        let place = place.into();
        Self::Format {
            path: path.to_path_buf(),
            place: (!place.is_empty()).then_some(place),
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with a hint, where it can carry one and has none.
    #[must_use]
    pub fn or_hint(mut self, text: &str) -> Self {
        if let Self::Format { hint, .. } | Self::Data { hint, .. } | Self::Param { hint, .. } =
            &mut self
        {
            hint.get_or_insert_with(|| text.to_string());
        }
        self
    }

    /// A closure for `map_err` where a file or directory is read.
    pub fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(Access::Read, path)
    }

    /// A closure for `map_err` where a file is opened for reading.
    pub fn opening(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(Access::Open, path)
    }

    /// A closure for `map_err` where a packed file is read.
    pub fn decompressing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(Access::Decompress, path)
    }

    /// A closure for `map_err` where a file or directory is made.
    pub fn creating(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(Access::Create, path)
    }

    /// A closure for `map_err` where a file is written.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(Access::Write, path)
    }

    fn io(access: Access, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            access,
            path,
            source,
        }
    }

    /// The hint, where the error carries one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Format { hint, .. } | Self::Data { hint, .. } | Self::Param { hint, .. } => {
                hint.as_deref()
            }
            _ => None,
        }
    }
}

/// What was tried on a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading a file, or listing a directory.
    Read,
    /// Opening a file to read it.
    Open,
    /// Reading a packed file.
    Decompress,
    /// Making a file or directory.
    Create,
    /// Writing a file.
    Write,
}

impl Access {
    /// Whether something would have been changed.
    pub fn is_write(self) -> bool {
        match self {
            Self::Read | Self::Open | Self::Decompress => false,
            Self::Create | Self::Write => true,
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Open => "open",
            Self::Decompress => "decompress",
            Self::Create => "create",
            Self::Write => "write",
        })
    }
}

/// How many calls of [`catching`] go on.
static CATCHING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Whether a panic would be caught and become an error: a panic hook then has nothing to say.
pub fn is_catching() -> bool {
    CATCHING.load(std::sync::atomic::Ordering::Relaxed) > 0
}

/// What `work` gives, or what it said when it panicked. For decoders of other people that panic on damaged
/// data.
pub fn catching<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    use std::sync::atomic::Ordering::Relaxed;
    CATCHING.fetch_add(1, Relaxed);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    CATCHING.fetch_sub(1, Relaxed);
    caught.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("no message").to_string()
    })
}
