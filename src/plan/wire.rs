//! Roles to artifacts: which node's output each node reads.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use clcc_stages::stage::Branch;

use indexmap::IndexMap;

use super::instances::{axes_of, name_at, not_fanned_out};
use super::{Node, NodeId, NodeInput};
use crate::workflow::{InputSpec, Problem, Workflow, join, unknown};

/// An artifact that a node will write.
struct Written {
    role: &'static str,
    branch: Branch,
    producer: NodeId,
    key: Option<String>,
}

/// Fills in `inputs` of every node.
pub(super) fn wire(
    workflow: &Workflow,
    inputs_given: &IndexMap<String, InputSpec>,
    nodes: &mut [Node],
) -> Vec<Problem> {
    let written = Index::of(nodes);
    let mut problems = Vec::new();
    for id in 0..nodes.len() {
        let mut inputs = file_inputs(workflow, inputs_given, &nodes[id], &mut problems);
        let node = &nodes[id];
        let needs = &workflow.stages[&node.stage].needs;
        for read in &node.resolved.reads {
            let providers: BTreeSet<&str> = needs
                .iter()
                .map(String::as_str)
                .filter(|stage| written.group(stage, read.role).is_some())
                .collect();
            if providers.len() != 1 {
                if read.required || providers.len() > 1 {
                    problems.push(provider_problem(
                        workflow, node, read.role, &providers, &written,
                    ));
                }
                continue;
            }
            // Producers stand in axis order, so a join sees its artifacts in axis order.
            let group = providers
                .first()
                .and_then(|stage| written.group(stage, read.role));
            let found: Vec<&Written> = group
                .into_iter()
                .flat_map(|g| g.agreeing(&node.branch))
                .collect();
            if read.single && found.len() > 1 {
                problems.push(join_problem(workflow, node, read.role, &found));
            }
            for w in found {
                inputs.push(artifact(w, node));
            }
        }
        nodes[id].inputs = inputs;
    }
    // A stage of many nodes has its problems once.
    let mut seen: Vec<Problem> = Vec::new();
    for problem in problems {
        if !seen.contains(&problem) {
            seen.push(problem);
        }
    }
    seen
}

/// What `node` reads of `w`, at its residual branch.
fn artifact(w: &Written, node: &Node) -> NodeInput {
    let branch = w
        .branch
        .iter()
        .filter(|(a, _)| !node.branch.contains_key(*a))
        .map(|(a, v)| (a.clone(), v.clone()));
    NodeInput::Artifact {
        role: w.role,
        branch: branch.collect(),
        producer: w.producer,
        key: w.key.clone(),
    }
}

/// Artifacts of one role that one stage writes.
#[derive(Default)]
struct Group {
    written: Vec<Written>,
    /// By the values on some of their axes: nodes that share those axes find theirs at once.
    by_axes: RefCell<BTreeMap<Vec<String>, BTreeMap<Vec<String>, Vec<usize>>>>,
}

impl Group {
    /// The artifacts that agree with `branch` on the axes that both have.
    fn agreeing(&self, branch: &Branch) -> Vec<&Written> {
        let Some(first) = self.written.first() else {
            return Vec::new();
        };
        let shared: Vec<String> = first
            .branch
            .keys()
            .filter(|axis| branch.contains_key(*axis))
            .cloned()
            .collect();
        let values = |b: &Branch| shared.iter().map(|a| b[a].clone()).collect::<Vec<_>>();
        let mut by_axes = self.by_axes.borrow_mut();
        let by_values = by_axes.entry(shared.clone()).or_insert_with(|| {
            let mut map: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
            for (i, w) in self.written.iter().enumerate() {
                map.entry(values(&w.branch)).or_default().push(i);
            }
            map
        });
        let found = by_values.get(&values(branch)).cloned();
        let found = found.unwrap_or_default().into_iter();
        found.map(|i| &self.written[i]).collect()
    }
}

/// Everything that is written, by stage and role.
#[derive(Default)]
struct Index {
    groups: BTreeMap<String, BTreeMap<&'static str, Group>>,
}

impl Index {
    fn group(&self, stage: &str, role: &str) -> Option<&Group> {
        self.groups.get(stage)?.get(role)
    }

    /// Stages that write a role.
    fn writers(&self, role: &str) -> Vec<&str> {
        self.groups
            .iter()
            .filter(|(_, roles)| roles.contains_key(role))
            .map(|(stage, _)| stage.as_str())
            .collect()
    }

    fn of(nodes: &[Node]) -> Self {
        let mut index = Self::default();
        for (producer, node) in nodes.iter().enumerate() {
            for output in &node.resolved.outputs {
                let roles = index.groups.entry(node.stage.clone()).or_default();
                let group = roles.entry(output.role).or_default();
                let mut push = |key: Option<&String>| {
                    let mut branch = node.branch.clone();
                    if let (Some(axis), Some(key)) = (&node.key_axis, key) {
                        branch.insert(axis.clone(), key.clone());
                    }
                    group.written.push(Written {
                        role: output.role,
                        branch,
                        producer,
                        key: key.cloned(),
                    });
                };
                if output.keyed {
                    node.keys.iter().for_each(|k| push(Some(k)));
                } else {
                    push(None);
                }
            }
        }
        index
    }
}

/// A stage that cannot join what it reads.
fn join_problem(workflow: &Workflow, node: &Node, role: &str, found: &[&Written]) -> Problem {
    let axes: BTreeSet<&str> = found
        .iter()
        .flat_map(|w| w.branch.keys())
        .filter(|axis| !node.branch.contains_key(*axis))
        .map(String::as_str)
        .collect();
    let mut per: Vec<&str> = node.branch.keys().map(String::as_str).collect();
    per.extend(&axes);
    let axes: Vec<&str> = axes.into_iter().collect();
    let place = workflow.positions.key(&join("/stages", &node.stage));
    Problem::new(format!(
        "stage `{}` reads one `{role}` and is given {}, one for each value of `{}`",
        node.stage,
        found.len(),
        axes.join("`, `")
    ))
    .at(place)
    .hint(format!("add `per: [{}]` to the stage", per.join(", ")))
}

fn provider_problem(
    workflow: &Workflow,
    node: &Node,
    role: &str,
    providers: &BTreeSet<&str>,
    written: &Index,
) -> Problem {
    let at = join("/stages", &node.stage);
    let place = workflow.positions.key(&join(&at, "needs"));
    if providers.len() > 1 {
        let names: Vec<&str> = providers.iter().copied().collect();
        return Problem::new(format!(
            "stage `{}` reads `{role}`, which `{}` all write: needs must name one of them",
            node.stage,
            names.join("`, `")
        ))
        .at(place);
    }
    let problem = Problem::new(format!(
        "stage `{}` reads `{role}`, which none of its `needs` writes",
        node.stage
    ))
    .at(place);
    match written.writers(role).first() {
        Some(stage) => problem.hint(format!("add `{stage}` to `needs`")),
        None => {
            let kinds: Vec<&str> = crate::registry::kinds()
                .iter()
                .filter(|k| {
                    k.resolve(&serde_json::Map::new())
                        .is_ok_and(|r| r.outputs.iter().any(|o| o.role == role))
                })
                .map(|k| k.name)
                .collect();
            problem.hint(format!(
                "a stage of kind `{}` writes it",
                kinds.join("` or `")
            ))
        }
    }
}

fn file_inputs(
    workflow: &Workflow,
    given: &IndexMap<String, InputSpec>,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Vec<NodeInput> {
    let spec = &workflow.stages[&node.stage];
    let at = join("/stages", &node.stage);
    let known: Vec<&str> = node.resolved.file_inputs.iter().map(|r| r.role).collect();
    let inputs_at = join(&at, "inputs");
    let mut out = Vec::new();
    for (i, (role, input)) in spec.inputs.iter().enumerate() {
        let place = workflow
            .positions
            .value(&join(&inputs_at, role))
            .filter(|p| Some(*p) != workflow.positions.value(&inputs_at))
            .or_else(|| workflow.positions.value(&join(&inputs_at, &i.to_string())));
        if !known.contains(&role.as_str()) {
            let problem = if known.is_empty() {
                Problem::new(format!(
                    "stage kind `{}` reads no file inputs, found `{role}`",
                    node.kind.name
                ))
            } else {
                unknown(&format!("file input of `{}`", node.kind.name), role, &known)
            };
            problems.push(problem.at(place));
        }
        if !workflow.inputs.contains_key(input) {
            let names: Vec<&str> = workflow.inputs.keys().map(String::as_str).collect();
            problems.push(unknown("input", input, &names).at(place));
        }
    }
    for read in &node.resolved.file_inputs {
        match spec.inputs.get(read.role) {
            Some(input) => {
                let axes = given.get(input).map(|spec| axes_of(workflow, spec));
                let axes = axes.unwrap_or_default();
                match name_at(input, &axes, &node.branch) {
                    Some(input) => out.push(NodeInput::File {
                        role: read.role,
                        input,
                    }),
                    None => problems.push(not_fanned_out(workflow, &node.stage, input, &axes)),
                }
            }
            None if read.required => problems.push(
                Problem::new(format!(
                    "stage `{}` reads the file input `{}`, which it is not given",
                    node.stage, read.role
                ))
                .at(workflow.positions.key(&at))
                .hint(format!("add `inputs: [{}]` to the stage", read.role)),
            ),
            None => {}
        }
    }
    out
}
