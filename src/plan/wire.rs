//! Roles to artifacts: which node's output each node reads.

use std::collections::BTreeSet;

use clcc_stages::stage::Branch;

use super::{Node, NodeId, NodeInput};
use crate::workflow::{Problem, Workflow, join, unknown};

/// An artifact that a node will write.
struct Written {
    role: &'static str,
    branch: Branch,
    producer: NodeId,
    stage: String,
    key: Option<String>,
}

/// Fills in `inputs` of every node.
pub(super) fn wire(workflow: &Workflow, nodes: &mut [Node]) -> Vec<Problem> {
    let written = written(nodes);
    let mut problems = Vec::new();
    for id in 0..nodes.len() {
        let mut inputs = file_inputs(workflow, &nodes[id], &mut problems);
        let node = &nodes[id];
        let needs = &workflow.stages[&node.stage].needs;
        for read in &node.resolved.reads {
            let providers: BTreeSet<&str> = written
                .iter()
                .filter(|w| w.role == read.role && needs.contains(&w.stage))
                .map(|w| w.stage.as_str())
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
            for w in written
                .iter()
                .filter(|w| w.role == read.role && needs.contains(&w.stage))
            {
                let agrees = w
                    .branch
                    .iter()
                    .all(|(axis, value)| node.branch.get(axis).is_none_or(|v| v == value));
                if agrees {
                    let branch = w
                        .branch
                        .iter()
                        .filter(|(a, _)| !node.branch.contains_key(*a))
                        .map(|(a, v)| (a.clone(), v.clone()));
                    inputs.push(NodeInput::Artifact {
                        role: w.role,
                        branch: branch.collect(),
                        producer: w.producer,
                        key: w.key.clone(),
                    });
                }
            }
        }
        nodes[id].inputs = inputs;
    }
    problems.dedup();
    problems
}

fn written(nodes: &[Node]) -> Vec<Written> {
    let mut out = Vec::new();
    for (producer, node) in nodes.iter().enumerate() {
        for output in &node.resolved.outputs {
            let mut push = |key: Option<&String>| {
                let mut branch = node.branch.clone();
                if let (Some(axis), Some(key)) = (&node.key_axis, key) {
                    branch.insert(axis.clone(), key.clone());
                }
                out.push(Written {
                    role: output.role,
                    branch,
                    producer,
                    stage: node.stage.clone(),
                    key: key.cloned(),
                });
            };
            if output.keyed {
                node.keys.iter().for_each(|k| push(Some(k)))
            } else {
                push(None)
            }
        }
    }
    out
}

fn provider_problem(
    workflow: &Workflow,
    node: &Node,
    role: &str,
    providers: &BTreeSet<&str>,
    written: &[Written],
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
    let writers: BTreeSet<&str> = written
        .iter()
        .filter(|w| w.role == role)
        .map(|w| w.stage.as_str())
        .collect();
    match writers.iter().next() {
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

fn file_inputs(workflow: &Workflow, node: &Node, problems: &mut Vec<Problem>) -> Vec<NodeInput> {
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
            Some(input) => out.push(NodeInput::File {
                role: read.role,
                input: input.clone(),
            }),
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
