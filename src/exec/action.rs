//! The files between the engine and the child process.

use std::path::{Path, PathBuf};

use clcc_cache::{Artifact, Digest};
use clcc_stages::stage::{Branch, DeviceChoice};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a child process is asked to do; `action.json` in its attempt directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Stage kind.
    pub kind: String,
    /// Effective parameters.
    pub params: Value,
    /// Seed of the stage.
    pub seed: u64,
    /// Inputs in the order the stage sees them.
    pub inputs: Vec<ActionInput>,
    /// Outputs that must be there afterwards.
    pub outputs: Vec<ActionOutput>,
    /// Axis values of keyed outputs.
    pub keys: Vec<String>,
    /// Threads granted.
    pub threads: usize,
    /// Device asked for.
    pub device: DeviceChoice,
    /// Where checkpoints are kept.
    pub checkpoint_dir: PathBuf,
}

/// An input artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionInput {
    /// The role.
    pub role: String,
    /// Axis values that the node does not share.
    #[serde(default)]
    pub branch: Branch,
    /// File or directory, read only.
    pub path: PathBuf,
    /// Stated format of a file input.
    pub format: Option<String>,
    /// The patient whose part of a table of samples it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Name of a built-in table.
    pub builtin: Option<String>,
    /// Digest of the content, as it stands in the key. The child compares what it reads with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What `stat` said of a file input when it was digested: while it says the same, the content
    /// is not read a second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<String>,
    /// Whether it is in the cache, where nobody but the engine may change it.
    #[serde(default)]
    pub in_cache: bool,
}

/// An output that the stage must write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionOutput {
    /// The role.
    pub role: String,
    /// The axis value of a keyed output.
    pub key: Option<String>,
}

impl ActionOutput {
    /// Path inside the output directory.
    pub fn relative(&self) -> PathBuf {
        match &self.key {
            Some(key) => PathBuf::from(&self.role).join(key),
            None => PathBuf::from(&self.role),
        }
    }

    /// Where the stage writes it, in the directory of an attempt.
    pub fn written_at(&self, attempt: &Path) -> PathBuf {
        attempt.join("out").join(self.relative())
    }

    /// Where the archive of an output that is a directory is made.
    pub fn packed_at(&self, attempt: &Path) -> PathBuf {
        attempt.join("packed").join(self.relative())
    }

    /// Where what was measured is.
    pub fn measured_at(&self, attempt: &Path, artifact: &Artifact) -> PathBuf {
        match artifact.packed {
            Some(_) => self.packed_at(attempt),
            None => self.written_at(attempt),
        }
    }
}

/// A line of the child's standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum NodeMessage {
    /// Progress of the stage.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// Short text.
        text: String,
    },
    /// A warning of the stage.
    Warning {
        /// The text.
        text: String,
    },
    /// It failed. Said here too, as a full disk has no room for a result record.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// `result.json` in the attempt directory, written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeResult {
    /// Measured outputs, directories as archives; not synced. Empty after a failure.
    pub outputs: Vec<(ActionOutput, Artifact)>,
    /// Headline numbers.
    pub metrics: Value,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Peak resident memory of the child.
    pub peak_rss_bytes: u64,
    /// Wall time inside the child.
    pub seconds: f64,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed, and the causes below it.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
    /// What kind of failure it is: decides whether it is tried again, and the exit code.
    pub class: FailureClass,
}

impl Failure {
    /// A failure of that class, without a hint.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            class,
        }
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The stage said no: the same inputs would fail again.
    Stage,
    /// The run was being cancelled.
    Cancelled,
    /// Full disk, quota, read-only filesystem or missing permission.
    Disk,
    /// A passing fault of the machine (I/O error, timeout of a filesystem): tried again.
    Transient,
    /// Killed for memory: tried again once, alone.
    Memory,
    /// Longer than its `timeout_secs`.
    Timeout,
    /// The process ended without a result.
    Crash,
    /// An input in the cache is not what its digest says: it is made again.
    DamagedInput {
        /// The artifact.
        digest: Digest,
    },
    /// An input that a shared cache was to have cannot be fetched: it is made again.
    NotFetched,
    /// A file input was changed while it was read.
    ChangedInput,
}

/// A [`FailureClass`] without what it carries, as events have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// [`FailureClass::Stage`].
    Stage,
    /// [`FailureClass::Cancelled`].
    Cancelled,
    /// [`FailureClass::Disk`].
    Disk,
    /// [`FailureClass::Transient`].
    Transient,
    /// [`FailureClass::Memory`].
    Memory,
    /// [`FailureClass::Timeout`].
    Timeout,
    /// [`FailureClass::Crash`].
    Crash,
    /// [`FailureClass::DamagedInput`].
    DamagedInput,
    /// [`FailureClass::NotFetched`].
    NotFetched,
    /// [`FailureClass::ChangedInput`].
    ChangedInput,
}

impl From<FailureClass> for FailureKind {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Stage => Self::Stage,
            FailureClass::Cancelled => Self::Cancelled,
            FailureClass::Disk => Self::Disk,
            FailureClass::Transient => Self::Transient,
            FailureClass::Memory => Self::Memory,
            FailureClass::Timeout => Self::Timeout,
            FailureClass::Crash => Self::Crash,
            FailureClass::DamagedInput { .. } => Self::DamagedInput,
            FailureClass::NotFetched => Self::NotFetched,
            FailureClass::ChangedInput => Self::ChangedInput,
        }
    }
}

/// What to do about a panic.
pub(super) const FAULT: &str = "this is a fault of the program; its log has the place";

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// The class of an I/O error: what the disk refuses, what may pass, and the rest.
pub fn io_class(error: &std::io::Error, writing: bool) -> FailureClass {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::ReadOnlyFilesystem => FailureClass::Disk,
        K::PermissionDenied if writing => FailureClass::Disk,
        K::TimedOut | K::Interrupted | K::StaleNetworkFileHandle | K::HostUnreachable => {
            FailureClass::Transient
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            FailureClass::Transient
        }
        _ => FailureClass::Stage,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn every_class_has_its_word_and_travels_from_the_child() {
        use FailureClass as C;
        let digest = clcc_cache::digest_bytes(b"x");
        for (class, word) in [
            (C::Stage, "stage"),
            (C::Cancelled, "cancelled"),
            (C::Disk, "disk"),
            (C::Transient, "transient"),
            (C::Memory, "memory"),
            (C::Timeout, "timeout"),
            (C::Crash, "crash"),
            (C::DamagedInput { digest }, "damaged_input"),
            (C::NotFetched, "not_fetched"),
            (C::ChangedInput, "changed_input"),
        ] {
            let kind = serde_json::to_value(FailureKind::from(class)).unwrap();
            assert_eq!(kind, word);
            let message = NodeMessage::Failed {
                failure: Failure::new(class, "as said"),
            };
            let line = serde_json::to_string(&message).unwrap();
            assert_eq!(
                serde_json::from_str::<NodeMessage>(&line).unwrap(),
                message,
                "{line}"
            );
        }
    }

    #[test]
    fn a_fault_of_the_system_is_classed_by_its_kind() {
        use FailureClass as C;
        for (kind, writing, reading) in [
            (ErrorKind::StorageFull, C::Disk, C::Disk),
            (ErrorKind::QuotaExceeded, C::Disk, C::Disk),
            (ErrorKind::ReadOnlyFilesystem, C::Disk, C::Disk),
            (ErrorKind::PermissionDenied, C::Disk, C::Stage),
            (ErrorKind::TimedOut, C::Transient, C::Transient),
            (ErrorKind::Interrupted, C::Transient, C::Transient),
            (
                ErrorKind::StaleNetworkFileHandle,
                C::Transient,
                C::Transient,
            ),
            (ErrorKind::HostUnreachable, C::Transient, C::Transient),
            (ErrorKind::NotFound, C::Stage, C::Stage),
            (ErrorKind::InvalidData, C::Stage, C::Stage),
        ] {
            assert_eq!(io_class(&Error::from(kind), true), writing, "{kind}");
            assert_eq!(io_class(&Error::from(kind), false), reading, "{kind}");
        }
        let io = Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        assert_eq!(io_class(&io, false), C::Transient);
    }
}
