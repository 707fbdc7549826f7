//! Stages at branches: axis products, parameters of each node, selection.

use std::collections::{BTreeMap, BTreeSet};

use clcc_stages::stage::Branch;
use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::DiGraph;
use serde_json::{Map, Value};

use super::instances::instances;
use super::layers::{Layer, Unused, label, layers, merged, place};
use super::published;
use super::wire;
use super::{Node, NodeId, NodeInput, Overrides, Plan};
use crate::registry::{Kind, Refused, Resolved, kind, kinds};
use crate::workflow::{InputSpec, Problem, StageSpec, Workflow, join, unknown};

/// Nodes of a workflow.
const MAX_NODES: usize = 200_000;

pub(super) fn expand(workflow: &Workflow, overrides: &Overrides) -> Result<Plan, Vec<Problem>> {
    let mut x = Expander {
        workflow,
        problems: Vec::new(),
        resolved: BTreeMap::new(),
        unused: Unused::default(),
        schemas: BTreeMap::new(),
    };
    x.check_size();
    if !x.problems.is_empty() {
        return Err(x.problems);
    }
    let order = x.stage_order();
    x.check_overrides(overrides);
    let given = x.inputs(overrides);
    let inputs = instances(workflow, &given, &mut x.problems);
    let mut nodes = x.nodes(&order, overrides);
    x.problems.extend(std::mem::take(&mut x.unused).problems());
    if x.problems.is_empty() {
        x.problems = wire::wire(workflow, &given, &mut nodes);
        x.problems.extend(published::clashes(workflow, &nodes));
    }
    if !x.problems.is_empty() {
        x.problems.dedup();
        return Err(x.problems);
    }
    select(workflow, &mut nodes, overrides);
    Ok(Plan {
        name: workflow.name.clone(),
        file: workflow.file.clone(),
        seed: overrides.seed().unwrap_or(workflow.seed),
        graph: graph(&nodes),
        nodes,
        inputs,
    })
}

/// An edge from each node to those that read what it writes.
fn graph(nodes: &[Node]) -> DiGraph<NodeId, ()> {
    let mut graph = DiGraph::new();
    let indices: Vec<_> = (0..nodes.len()).map(|i| graph.add_node(i)).collect();
    for (id, node) in nodes.iter().enumerate() {
        let producer = |input: &NodeInput| match input {
            NodeInput::Artifact { producer, .. } => Some(*producer),
            NodeInput::File { .. } => None,
        };
        let producers: BTreeSet<NodeId> = node.inputs.iter().filter_map(producer).collect();
        for p in producers {
            graph.add_edge(indices[p], indices[id], ());
        }
    }
    graph
}

struct Expander<'a> {
    workflow: &'a Workflow,
    problems: Vec<Problem>,
    /// By kind and parameters: most branches of a stage have the same.
    resolved: BTreeMap<(&'static str, String), Result<Resolved, Vec<Refused>>>,
    /// Parameters that were written and are not read.
    unused: Unused,
    /// JSON Schemas by kind.
    schemas: BTreeMap<&'static str, Value>,
}

impl Expander<'_> {
    fn problem_key(&mut self, pointer: &str, problem: Problem) {
        let place = self.workflow.positions.key(pointer);
        self.problems.push(problem.at(place));
    }

    fn problem_value(&mut self, pointer: &str, problem: Problem) {
        let place = self.workflow.positions.value(pointer);
        self.problems.push(problem.at(place));
    }

    /// Stages after what they need, in the file's order where that leaves a choice.
    fn stage_order(&mut self) -> Vec<String> {
        let names: Vec<&String> = self.workflow.stages.keys().collect();
        let mut graph = DiGraph::<usize, ()>::new();
        let indices: Vec<_> = (0..names.len()).map(|i| graph.add_node(i)).collect();
        for (to, spec) in self.workflow.stages.values().enumerate() {
            for (i, need) in spec.needs.iter().enumerate() {
                match self.workflow.stages.get_index_of(need) {
                    Some(from) => {
                        graph.add_edge(indices[from], indices[to], ());
                    }
                    None => {
                        let known: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
                        let at = format!("{}/needs/{i}", join("/stages", names[to]));
                        self.problem_value(&at, unknown("stage", need, &known));
                    }
                }
            }
        }
        let sorted = match toposort(&graph, None) {
            Ok(sorted) => sorted,
            Err(cycle) => {
                let name = names[graph[cycle.node_id()]];
                let at = join("/stages", name);
                self.problem_key(
                    &at,
                    Problem::new(format!("stage `{name}` needs itself, through its `needs`")),
                );
                return Vec::new();
            }
        };
        // In the order in which passes over the file find a stage whose needs are done: each stage's pass follows
        // from those of its needs.
        let mut pass = vec![0usize; names.len()];
        for index in sorted {
            let to = graph[index];
            let before = graph.neighbors_directed(index, Direction::Incoming);
            let found = before
                .map(|i| graph[i])
                .map(|from| pass[from] + usize::from(from > to));
            pass[to] = found.max().unwrap_or(0);
        }
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&i| (pass[i], i));
        order.into_iter().map(|i| names[i].clone()).collect()
    }

    /// How many nodes there would be; what cannot be held in memory is refused before any is made.
    fn check_size(&mut self) {
        let axes = &self.workflow.axes;
        let values = |axis: &String| axes.get(axis).map_or(1, |a| a.values.len());
        let of = |spec: &StageSpec| spec.per.iter().map(values).fold(1, usize::saturating_mul);
        let n = self
            .workflow
            .stages
            .values()
            .map(of)
            .fold(0, usize::saturating_add);
        if n > MAX_NODES {
            let message = format!("expected a workflow of at most {MAX_NODES} nodes, found {n}");
            self.problem_key("/stages", Problem::new(message));
        }
    }

    fn kind_of(&mut self, name: &str, spec: &StageSpec) -> Option<&'static Kind> {
        let found = kind(&spec.kind);
        if found.is_none() {
            let known: Vec<&str> = kinds().iter().map(|k| k.name).collect();
            let at = join("/stages", name);
            let explicit = self.workflow.positions.value(&join(&at, "kind"));
            let place = if spec.kind == name {
                self.workflow.positions.key(&at)
            } else {
                explicit
            };
            self.problems
                .push(unknown("stage kind", &spec.kind, &known).at(place));
        }
        found
    }

    fn axis_known(&mut self, axis: &str, pointer: &str) {
        if !self.workflow.axes.contains_key(axis) {
            let known: Vec<&str> = self.workflow.axes.keys().map(String::as_str).collect();
            self.problem_value(pointer, unknown("axis", axis, &known));
        }
    }

    fn check_axes(&mut self, name: &str, spec: &StageSpec) {
        let at = join("/stages", name);
        for axis in &spec.per {
            self.axis_known(axis, &join(&at, "per"));
        }
        if let Some(axis) = &spec.keyed_by {
            self.axis_known(axis, &join(&at, "keyed_by"));
        }
    }

    /// The axis of keyed outputs: `keyed_by`, else `patient`, else the only axis there is.
    fn key_axis(&mut self, name: &str, spec: &StageSpec, kind: &Kind) -> Option<String> {
        let keyed = kind
            .resolve(&Map::new())
            .is_ok_and(|r| r.outputs.iter().any(|o| o.keyed));
        let at = join("/stages", name);
        if !keyed {
            if spec.keyed_by.is_some() {
                self.problem_key(
                    &join(&at, "keyed_by"),
                    Problem::new(format!(
                        "stage kind `{}` has no outputs keyed by an axis",
                        kind.name
                    )),
                );
            }
            return None;
        }
        let axes = &self.workflow.axes;
        let axis = match &spec.keyed_by {
            Some(axis) => Some(axis.clone()).filter(|a| axes.contains_key(a)),
            None if axes.contains_key("patient") => Some("patient".to_string()),
            None if axes.len() == 1 => axes.keys().next().cloned(),
            None => {
                let problem = Problem::new(format!(
                    "stage `{name}` writes one output per value of an axis, but which?"
                ))
                .hint("add `axes: {patient: [...]}`, or `keyed_by: AXIS` to the stage");
                self.problem_key(&at, problem);
                None
            }
        };
        let is_apart = kind.resolve(&Map::new());
        let is_apart = is_apart.is_ok_and(|r| kind.of_key(&r.params, "").is_some());
        let fanned_out = axis.as_ref().filter(|a| spec.per.contains(a));
        if let Some(axis) = fanned_out.filter(|_| !is_apart) {
            let problem = Problem::new(format!(
                "stage `{name}` is keyed by axis `{axis}` and cannot also be `per: {axis}`"
            ));
            self.problem_key(&join(&at, "per"), problem);
        }
        axis
    }

    /// Every combination of the stage's axis values, in axis order.
    fn branches(&self, spec: &StageSpec) -> Vec<Vec<(String, String)>> {
        let mut out: Vec<Vec<(String, String)>> = vec![vec![]];
        for (axis, values) in self
            .workflow
            .axes
            .iter()
            .filter(|(a, _)| spec.per.contains(a))
        {
            out = out
                .into_iter()
                .flat_map(|b| {
                    values.values.keys().map(move |v| {
                        let mut b = b.clone();
                        b.push((axis.clone(), v.clone()));
                        b
                    })
                })
                .collect();
        }
        out
    }

    /// The nodes of every stage, stages in `order`.
    fn nodes(&mut self, order: &[String], overrides: &Overrides) -> Vec<Node> {
        let mut nodes = Vec::new();
        for name in order {
            let spec = &self.workflow.stages[name];
            let Some(kind) = self.kind_of(name, spec) else {
                continue;
            };
            self.check_axes(name, spec);
            let key_axis = self.key_axis(name, spec, kind);
            for branch in self.branches(spec) {
                nodes.extend(self.node(name, spec, kind, &branch, key_axis.as_deref(), overrides));
            }
        }
        nodes
    }

    fn node(
        &mut self,
        name: &str,
        spec: &StageSpec,
        kind: &'static Kind,
        branch: &[(String, String)],
        key_axis: Option<&str>,
        overrides: &Overrides,
    ) -> Option<Node> {
        let schema = self.schemas.entry(kind.name);
        let schema = schema.or_insert_with(|| kind.schema());
        let layers = layers(self.workflow, schema, name, spec, branch, overrides);
        let params = merged(&layers);
        let of_branch =
            |(axis, value): &(String, String)| self.workflow.axes[axis].values[value].seed;
        let seed = branch.iter().rev().find_map(of_branch);
        let of_workflow = overrides.seed().unwrap_or(self.workflow.seed);
        let seed = seed.unwrap_or(of_workflow);
        let positions = &self.workflow.positions;
        self.unused
            .note(name, &layers, &kind.unread(&params), positions);
        let written = serde_json::to_string(&params).expect("plain values serialise");
        let resolved = self.resolved.entry((kind.name, written));
        let mut resolved = match resolved.or_insert_with(|| kind.resolve(&params)).clone() {
            Ok(resolved) => resolved,
            Err(problems) => {
                self.refused(name, &layers, problems);
                return None;
            }
        };
        let values: Vec<String> = branch.iter().map(|(_, v)| v.clone()).collect();
        let id = if values.is_empty() {
            name.to_string()
        } else {
            format!("{name}[{}]", values.join(","))
        };
        let keys = self.keys(kind, branch, key_axis, &mut resolved);
        Some(Node {
            id,
            stage: name.to_string(),
            kind,
            branch: branch.iter().cloned().collect::<Branch>(),
            branch_values: values,
            keys,
            key_axis: key_axis.map(str::to_string),
            written: params,
            resolved,
            seed,
            inputs: Vec::new(),
            join_min: spec.join_min,
            resources: spec.resources.clone(),
            cached_only: false,
        })
    }

    /// The values that keyed outputs are written for: the node's own where it fans out over that axis.
    fn keys(
        &self,
        kind: &Kind,
        branch: &[(String, String)],
        key_axis: Option<&str>,
        resolved: &mut Resolved,
    ) -> Vec<String> {
        let own = key_axis.and_then(|axis| branch.iter().find(|(a, _)| a == axis));
        match (own, key_axis) {
            (Some((_, value)), _) => {
                // What the parameters say of other values is no part of this node.
                if let Some(params) = kind.of_key(&resolved.params, value) {
                    resolved.params = params;
                }
                vec![value.clone()]
            }
            (None, Some(axis)) => self.workflow.axes[axis].values.keys().cloned().collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Reports parameters that a kind refuses, where they were written.
    fn refused(&mut self, stage: &str, layers: &[Layer], refused: Vec<Refused>) {
        for r in refused {
            let label = label(&r.pointer);
            let of_key = r.why.is_of_key();
            let message = match (of_key, label.is_empty()) {
                (true, _) | (_, true) => r.why.text(),
                (false, false) => format!("parameter `{label}`: {}", r.why.text()),
            };
            let place = place(layers, &r.pointer, of_key, &self.workflow.positions);
            let problem = Problem {
                hint: r.why.hint(),
                ..Problem::new(format!("stage `{stage}`: {message}")).at(place)
            };
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    fn inputs(&mut self, overrides: &Overrides) -> IndexMap<String, InputSpec> {
        let mut inputs = self.workflow.inputs.clone();
        for (name, path) in &overrides.input {
            match inputs.get_mut(name) {
                Some(spec) => {
                    spec.path = Some(path.clone());
                    spec.builtin = None;
                    spec.samples = None;
                    // What is downloaded is the workflow's file, not the one named here.
                    (spec.url, spec.digest) = (None, None);
                }
                None => {
                    let known: Vec<&str> =
                        self.workflow.inputs.keys().map(String::as_str).collect();
                    let mut problem = unknown("input", name, &known);
                    problem.message = format!("--input {name}=...: {}", problem.message);
                    self.problems.push(problem);
                }
            }
        }
        inputs
    }

    fn check_overrides(&mut self, overrides: &Overrides) {
        let stages: Vec<&str> = self.workflow.stages.keys().map(String::as_str).collect();
        let flags = overrides
            .set
            .iter()
            .filter(|s| s.seed().is_none())
            .map(|s| ("--set", &s.stage))
            .chain(overrides.until.iter().map(|s| ("--until", s)));
        for (flag, stage) in flags.filter(|(_, s)| !stages.contains(&s.as_str())) {
            let mut problem = unknown("stage", stage, &stages);
            problem.message = format!("{flag} {stage}: {}", problem.message);
            self.problems.push(problem);
        }
        for (axis, values) in &overrides.only {
            let axes: Vec<&str> = self.workflow.axes.keys().map(String::as_str).collect();
            match self.workflow.axes.get(axis) {
                None => {
                    let mut problem = unknown("axis", axis, &axes);
                    problem.message = format!("--only {axis}=...: {}", problem.message);
                    self.problems.push(problem);
                }
                Some(known) => {
                    for value in values.iter().filter(|v| !known.values.contains_key(*v)) {
                        let names: Vec<&str> = known.values.keys().map(String::as_str).collect();
                        let mut problem = unknown("axis value", value, &names);
                        problem.message = format!("--only {axis}={value}: {}", problem.message);
                        self.problems.push(problem);
                    }
                }
            }
        }
        // An axis value may only change stages that fan out over that axis.
        for (axis, spec) in &self.workflow.axes {
            for (value, changes) in &spec.values {
                for stage in changes.params.keys() {
                    let at = join(&join(&join("/axes", axis), value), stage);
                    match self.workflow.stages.get(stage) {
                        None => self.problem_key(&at, unknown("stage", stage, &stages)),
                        Some(s) if !s.per.contains(axis) => self.problem_key(
                            &at,
                            Problem::new(format!(
                                "stage `{stage}` does not fan out over axis `{axis}`"
                            ))
                            .hint(format!("add `per: {axis}` to the stage")),
                        ),
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

/// Marks the nodes that `--only` and `--until` leave out.
fn select(workflow: &Workflow, nodes: &mut [Node], overrides: &Overrides) {
    let mut wanted: BTreeSet<String> = workflow.stages.keys().cloned().collect();
    if !overrides.until.is_empty() {
        wanted = overrides.until.iter().cloned().collect();
        let mut todo = overrides.until.clone();
        while let Some(stage) = todo.pop() {
            for need in &workflow.stages[&stage].needs {
                if wanted.insert(need.clone()) {
                    todo.push(need.clone());
                }
            }
        }
    }
    for node in nodes {
        let other_value = overrides
            .only
            .iter()
            .any(|(axis, values)| node.branch.get(axis).is_some_and(|v| !values.contains(v)));
        node.cached_only = other_value || !wanted.contains(&node.stage);
    }
}
