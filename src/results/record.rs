//! `run.json`: what was run, from what, with which keys, how long and how big. Written by `run`; `status`, `diff`
//! and `inspect` read it back.

use std::path::Path;

use clcc_cache::{ActionRecord, Digest, OutputRecord, read_plain_linked};
use clcc_stages::stage::{Branch, DeviceChoice};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decide::InputDigests;
use crate::key::KEY_FORMAT;
use crate::plan::{Node, Plan};
use crate::schedule::{Options, Outcome, RunOutcome, SkipReason, Summary};

/// The record of a run. Fields that an older version did not write are read as empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's name.
    pub run: String,
    /// When it began: RFC 3339, UTC, to the second.
    pub started: String,
    /// Wall time of its nodes.
    pub seconds: f64,
    /// The workflow.
    pub workflow: WorkflowRecord,
    /// The program.
    #[serde(default)]
    pub program: ProgramRecord,
    /// Where it ran.
    #[serde(default)]
    pub machine: MachineRecord,
    /// How many nodes ended how.
    #[serde(default)]
    pub summary: Summary,
    /// The file inputs that it read.
    #[serde(default)]
    pub inputs: Vec<InputRecord>,
    /// Its nodes, in the order of the plan.
    pub nodes: Vec<NodeRecord>,
    /// Files next to this one that an earlier run made.
    #[serde(default)]
    pub files_of_an_earlier_run: Vec<String>,
}

/// The workflow of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkflowRecord {
    /// Its name.
    pub name: String,
    /// Its file, as it was given.
    pub file: String,
    /// Its seed.
    pub seed: u64,
}

/// The program of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The format of its keys.
    pub key_format: u32,
}

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineRecord {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Cores in use.
    pub jobs: usize,
    /// Bytes of memory that the run might hold.
    pub memory: u64,
    /// Device of training.
    pub device: DeviceChoice,
}

/// A file input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Its name in the workflow.
    pub name: String,
    /// Its path, as it was given.
    pub path: Option<String>,
    /// The built-in table that it is.
    pub builtin: Option<String>,
    /// Its format, where one is declared.
    pub format: Option<String>,
    /// Digest of its content.
    pub digest: Digest,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Ran.
    Ran,
    /// Found in the cache.
    Cached,
    /// Failed.
    Failed,
    /// Not run.
    Skipped,
}

impl NodeStatus {
    /// The word in records and on the terminal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether the node has no outputs.
    pub fn is_without_result(self) -> bool {
        matches!(self, Self::Failed | Self::Skipped)
    }
}

impl From<&Outcome> for NodeStatus {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Cached(_) => Self::Cached,
            Outcome::Ran(..) => Self::Ran,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Skipped(_) => Self::Skipped,
        }
    }
}

/// A node of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node, for example `cluster[P0006]`.
    pub id: String,
    /// Its stage.
    pub stage: String,
    /// How it ended.
    pub status: NodeStatus,
    /// Why it failed or was skipped, in words.
    pub error: Option<String>,
    /// Why it was skipped.
    pub skipped_as: Option<SkipReason>,
    /// Its key, where it has outputs.
    pub key: Option<Digest>,
    /// The rest; absent in what the cache keeps of a run, as the key's record has it.
    #[serde(flatten)]
    pub details: Option<NodeDetails>,
}

/// What a node is and what it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeDetails {
    /// Its stage's kind.
    pub kind: String,
    /// The version of the kind's code.
    pub code_version: u32,
    /// Its values of the axes.
    pub axes: Branch,
    /// Its effective parameters.
    pub params: Value,
    /// Its outputs, where it has a key.
    pub outputs: Option<Vec<OutputRecord>>,
    /// Time, memory, threads and device of the run that made them.
    pub measured: Option<Value>,
    /// What that run warned of.
    pub warnings: Option<Vec<String>>,
    /// The nodes that it read from.
    pub needs: Vec<String>,
}

impl NodeRecord {
    /// Its outputs; none where it has no key or the record keeps no details.
    pub fn outputs(&self) -> &[OutputRecord] {
        let details = self.details.as_ref();
        details.and_then(|d| d.outputs.as_deref()).unwrap_or(&[])
    }

    /// Its parameters, as far as the record keeps them.
    pub fn params(&self) -> &Value {
        self.details.as_ref().map_or(&Value::Null, |d| &d.params)
    }

    /// Takes over what the record of its key says, where details are missing.
    pub fn complete(&mut self, record: &ActionRecord) {
        let preimage = |name: &str| record.preimage[name].clone();
        self.details.get_or_insert_with(|| NodeDetails {
            kind: preimage("kind").as_str().unwrap_or_default().to_string(),
            code_version: preimage("code_version").as_u64().unwrap_or(0) as u32,
            axes: Branch::new(),
            params: preimage("params"),
            outputs: Some(record.outputs.clone()),
            measured: Some(record.measured.clone()),
            warnings: Some(record.warnings.clone()),
            needs: Vec::new(),
        });
    }
}

impl RunRecord {
    /// What the cache keeps of a run: which node had which key. The rest stands in the records of the
    /// keys, so that a run that does nothing writes next to nothing.
    pub fn history(
        plan: &Plan,
        outcome: &RunOutcome,
        inputs: &InputDigests,
        options: &Options,
        started: &str,
    ) -> Self {
        let nodes = plan.nodes.iter().zip(&outcome.nodes);
        let nodes = nodes.map(|(node, end)| node_record(node, end, None));
        Self::of(plan, outcome, inputs, options, started, nodes.collect())
    }

    /// The whole record of a run, as it stands next to the results.
    pub fn whole(
        plan: &Plan,
        outcome: &RunOutcome,
        inputs: &InputDigests,
        options: &Options,
        started: &str,
    ) -> Self {
        let nodes = plan.nodes.iter().zip(&outcome.nodes).enumerate();
        let nodes = nodes.map(|(i, (node, end))| {
            let producers = plan.producers(i).into_iter();
            let needs = producers.map(|p| plan.nodes[p].id.clone()).collect();
            node_record(node, end, Some(needs))
        });
        Self::of(plan, outcome, inputs, options, started, nodes.collect())
    }

    fn of(
        plan: &Plan,
        outcome: &RunOutcome,
        inputs: &InputDigests,
        options: &Options,
        started: &str,
        nodes: Vec<NodeRecord>,
    ) -> Self {
        let input = |(name, (digest, format)): (&String, &(Digest, Option<String>))| {
            let spec = &plan.inputs[name];
            let path = spec.path.as_deref().map(Path::to_string_lossy);
            InputRecord {
                name: name.clone(),
                path: path.map(std::borrow::Cow::into_owned),
                builtin: spec.builtin.clone(),
                format: format.clone(),
                digest: *digest,
            }
        };
        Self {
            run: options.run.clone(),
            started: started.to_string(),
            seconds: outcome.seconds,
            workflow: WorkflowRecord {
                name: plan.name.clone(),
                file: plan.file.to_string_lossy().into_owned(),
                seed: plan.seed,
            },
            program: ProgramRecord {
                name: env!("CARGO_PKG_NAME").to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                key_format: KEY_FORMAT,
            },
            machine: MachineRecord {
                os: std::env::consts::OS.to_string(),
                arch: std::env::consts::ARCH.to_string(),
                jobs: options.jobs,
                memory: options.memory,
                device: options.device,
            },
            summary: outcome.summary(),
            inputs: inputs.iter().map(input).collect(),
            nodes,
            files_of_an_earlier_run: Vec::new(),
        }
    }

    /// The record in a directory: a run's in the cache, or one of results. `None` where there is none, or none
    /// that this version can read.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&read_plain_linked(&dir.join("run.json")).ok()?).ok()
    }
}

fn node_record(node: &Node, end: &Outcome, needs: Option<Vec<String>>) -> NodeRecord {
    let record = end.record();
    let details = needs.map(|needs| NodeDetails {
        kind: node.kind.name.to_string(),
        code_version: node.kind.code_version,
        axes: node.branch.clone(),
        params: node.resolved.params.clone(),
        outputs: record.map(|r| r.outputs.clone()),
        measured: record.map(|r| r.measured.clone()),
        warnings: record.map(|r| r.warnings.clone()),
        needs,
    });
    let (error, skipped_as) = match end {
        Outcome::Failed(f) => (Some(f.message.clone()), None),
        Outcome::Skipped(why) => (Some(why.to_string()), Some(why.clone())),
        Outcome::Cached(_) | Outcome::Ran(..) => (None, None),
    };
    NodeRecord {
        id: node.id.clone(),
        stage: node.stage.clone(),
        status: end.into(),
        error,
        skipped_as,
        key: record.map(|r| r.key),
        details,
    }
}
