//! The files between the engine and the child process.

use std::path::PathBuf;

use clcc_cache::Artifact;
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
    /// Name of a built-in table.
    pub builtin: Option<String>,
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
}

/// `result.json` in the attempt directory, written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeResult {
    /// Measured and synced outputs; empty after a failure.
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
    /// Whether the run was being cancelled.
    pub cancelled: bool,
    /// Whether the disk was full or a permission was missing.
    #[serde(default)]
    pub disk: bool,
}
