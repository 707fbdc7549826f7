//! From a workflow to nodes and edges: axes fanned out, parameters resolved, roles wired.
//!
//! A node is one stage at one branch. What it reads is decided by role: each role a kind reads is
//! written by exactly one of the stages it needs, and the artifacts that agree with the node on
//! the axes they share are its inputs. Everything that can be wrong with a workflow short of
//! running it is reported here, all at once and with its place.

mod as_written;
mod expand;
mod instances;
mod layers;
mod overrides;
mod published;
mod wire;

pub(crate) use instances::{base_name, path_pointer};
pub use overrides::{Overrides, Setting, parse_input, parse_only, parse_set};
pub(crate) use published::{branch_in_paths, place, with_branch};

use std::collections::BTreeSet;
use std::path::PathBuf;

use clcc_stages::stage::Branch;
use indexmap::IndexMap;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Map, Value};

use crate::registry::{Kind, Resolved};
use crate::workflow::{InputSpec, InvalidWorkflow, Resources, Workflow};

/// Position of a node in [`Plan::nodes`].
pub type NodeId = usize;

/// A workflow ready to be decided and run.
#[derive(Debug)]
pub struct Plan {
    /// The workflow's name.
    pub name: String,
    /// The workflow file.
    pub file: PathBuf,
    /// The workflow's seed.
    pub seed: u64,
    /// Nodes; a node stands after everything it reads from.
    pub nodes: Vec<Node>,
    /// File inputs, with the command line's replacements.
    pub inputs: IndexMap<String, InputSpec>,
    /// Edges from producer to consumer.
    pub graph: DiGraph<NodeId, ()>,
}

/// One stage at one branch.
#[derive(Debug)]
pub struct Node {
    /// `stage` or `stage[value,...]` in axis order.
    pub id: String,
    /// The stage's name in the workflow.
    pub stage: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// Axis values.
    pub branch: Branch,
    /// Axis values in axis order, for names.
    pub branch_values: Vec<String>,
    /// The axis that keyed outputs are written for, and its values.
    pub keys: Vec<String>,
    /// Name of that axis.
    pub key_axis: Option<String>,
    /// Parameters that the workflow and the command line state; the others have their defaults.
    pub written: Map<String, Value>,
    /// Effective parameters, roles read and written.
    pub resolved: Resolved,
    /// Seed of the workflow or of the branch.
    pub seed: u64,
    /// What it reads, in the order the stage sees it.
    pub inputs: Vec<NodeInput>,
    /// A join that may go on without what failed: at least so many values must be there.
    pub join_min: Option<usize>,
    /// What the workflow says of its needs.
    pub resources: Resources,
    /// Not selected by `--only` or `--until`: never run, used where it is cached.
    pub cached_only: bool,
}

impl Node {
    /// What it reads, less the artifacts of these residual branches.
    pub fn inputs_without<'a>(
        &'a self,
        without: &'a BTreeSet<Branch>,
    ) -> impl Iterator<Item = &'a NodeInput> + 'a {
        self.inputs.iter().filter(|input| match input {
            NodeInput::Artifact { branch, .. } => !without.contains(branch),
            NodeInput::File { .. } => true,
        })
    }
}

/// One thing a node reads.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeInput {
    /// An output of another node.
    Artifact {
        /// The role.
        role: &'static str,
        /// Axis values that the reading node does not share.
        branch: Branch,
        /// The node that writes it.
        producer: NodeId,
        /// The axis value of a keyed output.
        key: Option<String>,
    },
    /// A file input of the workflow.
    File {
        /// The role.
        role: &'static str,
        /// The input's name.
        input: String,
    },
}

impl Plan {
    /// Expands and checks a workflow under the command line's overrides.
    ///
    /// # Errors
    /// [`InvalidWorkflow`] with every problem.
    pub fn new(workflow: &Workflow, overrides: &Overrides) -> Result<Self, InvalidWorkflow> {
        expand::expand(workflow, overrides).map_err(|p| InvalidWorkflow::new(&workflow.file, p))
    }

    /// Nodes that read from `node` directly.
    pub fn consumers(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.graph
            .neighbors(NodeIndex::new(node))
            .map(NodeIndex::index)
    }

    /// Nodes that `node` reads from directly.
    pub fn producers(&self, node: NodeId) -> BTreeSet<NodeId> {
        self.nodes[node]
            .inputs
            .iter()
            .filter_map(|i| match i {
                NodeInput::Artifact { producer, .. } => Some(*producer),
                NodeInput::File { .. } => None,
            })
            .collect()
    }

    /// Every node that `node` reads from, directly or not, in the order of the plan.
    pub fn ancestors(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut open = vec![node];
        while let Some(next) = open.pop() {
            open.extend(
                self.producers(next)
                    .into_iter()
                    .filter(|p| found.insert(*p)),
            );
        }
        found
    }

    /// Names of the file inputs that selected nodes read.
    pub fn used_inputs(&self) -> BTreeSet<&str> {
        Self::inputs_of(self.nodes.iter().filter(|n| !n.cached_only))
    }

    /// The residual branches that a join goes on without, where not every producer `has` outputs.
    ///
    /// # Errors
    /// The producers that have none, where the node cannot run without them.
    pub fn left_out(
        &self,
        node: NodeId,
        has: impl Fn(NodeId) -> bool,
    ) -> Result<BTreeSet<Branch>, BTreeSet<NodeId>> {
        let mut all: BTreeSet<&Branch> = BTreeSet::new();
        let mut lost: BTreeSet<&Branch> = BTreeSet::new();
        let mut blocked_by = BTreeSet::new();
        let n = &self.nodes[node];
        for input in &n.inputs {
            let NodeInput::Artifact {
                branch, producer, ..
            } = input
            else {
                continue;
            };
            if !branch.is_empty() {
                all.insert(branch);
            }
            if !has(*producer) {
                lost.insert(branch);
                blocked_by.insert(*producer);
            }
        }
        let enough = n.join_min.is_some_and(|min| {
            !lost.contains(&Branch::new()) && all.len() - lost.len() >= min.max(1)
        });
        if lost.is_empty() || enough {
            Ok(lost.into_iter().cloned().collect())
        } else {
            Err(blocked_by)
        }
    }

    /// Names of the file inputs that only nodes read which were not selected.
    pub fn unselected_inputs(&self) -> BTreeSet<&str> {
        let used = self.used_inputs();
        let mut all = Self::inputs_of(self.nodes.iter());
        all.retain(|name| !used.contains(name));
        all
    }

    /// Names of the file inputs that a node reads.
    pub fn file_inputs(&self, node: NodeId) -> BTreeSet<&str> {
        Self::inputs_of(std::iter::once(&self.nodes[node]))
    }

    fn inputs_of<'a>(nodes: impl Iterator<Item = &'a Node>) -> BTreeSet<&'a str> {
        nodes
            .flat_map(|n| &n.inputs)
            .filter_map(|i| match i {
                NodeInput::File { input, .. } => Some(input.as_str()),
                NodeInput::Artifact { .. } => None,
            })
            .collect()
    }

    /// The node of that id.
    pub fn find(&self, id: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.id == id)
    }
}
