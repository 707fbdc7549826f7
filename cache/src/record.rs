//! Action records: what was computed under a key.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, digest_bytes};
use crate::tree::{Artifact, ArtifactForm};

/// Version of the record's layout; a record of another version is a miss.
pub const RECORD_FORMAT: u32 = 2;

/// An output of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The role, for example `expr`.
    pub role: String,
    /// The axis value of a keyed output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// File or directory.
    pub form: ArtifactForm,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the archive, of a directory that was published as one file; records of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<u64>,
}

impl OutputRecord {
    /// The output `artifact` of that role.
    pub fn new(role: impl Into<String>, key: Option<String>, artifact: &Artifact) -> Self {
        Self {
            role: role.into(),
            key,
            form: artifact.form,
            digest: artifact.digest,
            bytes: artifact.bytes,
            packed: artifact.packed,
        }
    }
}

/// What an action was and what it made. Measurements never enter a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The key.
    pub key: Digest,
    /// Every field that was hashed into the key.
    pub preimage: Value,
    /// In declared order.
    pub outputs: Vec<OutputRecord>,
    /// Headline numbers that the stage reported.
    pub metrics: Value,
    /// Warnings that the stage gave.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Wall time in seconds, peak memory in bytes, threads, device, build, start time.
    #[serde(default)]
    pub measured: Value,
}

impl ActionRecord {
    /// The record's file: the record as one JSON line, its digest as the next.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("plain values serialise");
        let seal = digest_bytes(&bytes);
        bytes.extend(format!("\n\"{seal}\"\n").bytes());
        bytes
    }

    /// Reads a record's file; `None` where a byte of it is not as it was written, or the layout is
    /// of another version.
    pub fn from_file(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|&b| b == b'\n')?;
        let (line, seal) = bytes.split_at(end);
        let sealed = format!("\n\"{}\"\n", digest_bytes(line));
        if seal != sealed.as_bytes() {
            return None;
        }
        let record: Self = serde_json::from_slice(line).ok()?;
        (record.format == RECORD_FORMAT).then_some(record)
    }
}
