//! Names that parameters state, looked up in the data before anything runs: columns of the cells'
//! table, labels, groups, layers.
//!
//! A stage that brings cells into the workflow surveys its files ([`clcc_stages::stage::Stage::survey`]:
//! columns only, through the code that it runs on); every other stage says which columns and values
//! its parameters name and which columns it adds. What nobody has is a problem at its place in the
//! workflow file, with what there is.
//!
//! A value counts as there if any cell of the files has it, also of patients that are not selected:
//! a cohort cut down to one patient keeps its list of labels. Of a list that is a parameter's default,
//! one value must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_cache::{Digest, digest_bytes};
use clcc_stages::StageError;
use clcc_stages::stage::{Branch, InputArtifact, ObsColumn, ObsRead};
use serde_json::Value;

use crate::decide::InputDigests;
use crate::plan::{Node, NodeInput, Plan, base_name, path_pointer};
use crate::workflow::{InputSpec, Problem, Workflow, did_you_mean, join};

/// Values that a message lists.
const SHOWN: usize = 20;

/// Every name that the data lack, and what surveyed inputs are not what they are said to be. Inputs that are
/// not there are left out: that is said elsewhere.
pub fn problems(workflow: &Workflow, plan: &Plan) -> Vec<Problem> {
    let mut found = Problems {
        workflow,
        plan,
        problems: Vec::new(),
    };
    // By stage: a label counts as there if any patient has it, also where each has files of its own.
    let mut obs: BTreeMap<&str, Vec<ObsColumn>> = BTreeMap::new();
    let mut half_known: BTreeSet<&str> = BTreeSet::new();
    for node in &plan.nodes {
        let (columns, errors) = survey(plan, node);
        // What is wrong with the files of a patient that is left out is no matter, but what they hold is not known.
        if node.cached_only && !errors.is_empty() {
            half_known.insert(&node.stage);
            continue;
        }
        for error in &errors {
            found.push(found.refusal(node, error));
        }
        if let Some(columns) = columns {
            let of_stage = obs.entry(&node.stage).or_default();
            columns.into_iter().for_each(|c| add(of_stage, c));
        }
    }
    for (id, node) in plan.nodes.iter().enumerate() {
        if node.cached_only || node.resolved.obs_reads.is_empty() {
            continue;
        }
        let before = plan.ancestors(id);
        let stages: BTreeSet<&str> = before
            .iter()
            .map(|&n| plan.nodes[n].stage.as_str())
            .collect();
        if !stages.is_disjoint(&half_known) {
            continue;
        }
        let mut columns: Vec<&ObsColumn> = stages
            .into_iter()
            .filter_map(|stage| obs.get(stage))
            .flatten()
            .collect();
        // Without a survey nothing is known of the cells.
        if columns.is_empty() {
            continue;
        }
        let added = before
            .iter()
            .flat_map(|&n| &plan.nodes[n].resolved.obs_writes);
        for column in added {
            // A stage's column takes the place of one of the data.
            columns.retain(|c| c.name != column.name);
            columns.push(column);
        }
        for read in &node.resolved.obs_reads {
            found.look_up(node, read, &columns);
        }
    }
    found.problems
}

/// Adds the cells of one patient to those of others.
fn add(columns: &mut Vec<ObsColumn>, new: ObsColumn) {
    let Some(there) = columns.iter_mut().find(|c| c.name == new.name) else {
        columns.push(new);
        return;
    };
    match (&mut there.values, new.values) {
        (Some(there), Some(new)) => {
            for (value, n) in new {
                *there.entry(value).or_default() += n;
            }
        }
        (there, _) => *there = None,
    }
}

/// Names of the inputs that a survey opens.
pub fn surveyed_inputs(plan: &Plan) -> BTreeSet<&str> {
    let surveyed = (0..plan.nodes.len()).filter(|&n| is_source(&plan.nodes[n]));
    surveyed.flat_map(|n| plan.file_inputs(n)).collect()
}

/// What [`problems`] depends on: the same digest, the same answer.
pub fn digest(plan: &Plan, inputs: &InputDigests) -> Digest {
    let nodes = plan
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, n)| !n.cached_only);
    let relevant = nodes.filter(|(_, n)| is_source(n) || !n.resolved.obs_reads.is_empty());
    let facts = relevant.map(|(id, n)| {
        let content = plan.file_inputs(id).into_iter().map(|name| {
            let content = inputs.get(name);
            (name, content.map(|(digest, _)| digest.to_string()))
        });
        let content: BTreeMap<_, _> = content.collect();
        let reads: Vec<&str> = n
            .resolved
            .obs_reads
            .iter()
            .map(|r| r.column.as_str())
            .collect();
        (
            &n.id,
            n.kind.name,
            n.kind.code_version,
            &n.written,
            &n.keys,
            content,
            reads,
        )
    });
    let facts: Vec<_> = facts.collect();
    digest_bytes(&serde_json::to_vec(&facts).expect("plain values serialise"))
}

/// Whether a node may bring cells into the workflow: it reads nothing that another stage makes.
fn is_source(node: &Node) -> bool {
    node.resolved.reads.is_empty()
}

/// The columns that a source finds in its inputs, where it is one and they are there, and what is wrong with these.
fn survey(plan: &Plan, node: &Node) -> (Option<Vec<ObsColumn>>, Vec<StageError>) {
    let Some(inputs) = is_source(node).then(|| file_inputs(plan, node)).flatten() else {
        return (None, Vec::new());
    };
    match node.kind.survey(&node.resolved.params, &inputs, &node.keys) {
        Ok(Some(survey)) => (Some(survey.obs), survey.problems),
        Ok(None) => (None, Vec::new()),
        Err(error) => (None, vec![error]),
    }
}

struct Problems<'a> {
    workflow: &'a Workflow,
    plan: &'a Plan,
    problems: Vec<Problem>,
}

impl Problems<'_> {
    /// The same problem of many patients is said once.
    fn push(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A stage's error, at the parameter or the input that it is about.
    fn refusal(&self, node: &Node, error: &StageError) -> Problem {
        let positions = &self.workflow.positions;
        let mut about = format!("stage `{}`", node.stage);
        let place = match error {
            StageError::Param { param, .. } => positions.value(&self.pointer(node, param)),
            StageError::Format { path, .. } | StageError::Io { path, .. } => {
                let mut inputs = self.plan.inputs.iter();
                let named = inputs.find(|(_, spec)| {
                    let own = spec.path.as_ref().is_some_and(|p| path.starts_with(p));
                    own || is_of_a_sample(spec, path)
                });
                named.and_then(|(name, _)| {
                    about = format!("input `{}`", base_name(name));
                    positions.value(&path_pointer(self.workflow, name))
                })
            }
            _ => None,
        };
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        let problem = Problem::new(format!("{about}: {message}"))
            .at(place.or_else(|| positions.key(&join("/stages", &node.stage))));
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    fn look_up(&mut self, node: &Node, read: &ObsRead, columns: &[&ObsColumn]) {
        let names = || columns.iter().map(|c| c.name.as_str());
        if !names().any(|name| name == read.column) {
            if read.required || is_written(node, read.param) {
                self.no_column(node, read, columns);
            }
            // The values are looked up in the column that was meant: one look shows both slips.
            if let Some(near) = did_you_mean(&read.column, names()) {
                let meant = ObsRead {
                    column: near.to_string(),
                    ..read.clone()
                };
                self.look_up(node, &meant, columns);
            }
            return;
        }
        let with_name = columns.iter().filter(|c| c.name == read.column);
        let with_name: Vec<&&ObsColumn> = with_name.collect();
        // A column that a stage fills in later may have any value.
        if with_name.iter().any(|c| c.values.is_none()) {
            return;
        }
        let there: BTreeMap<&str, usize> = with_name
            .iter()
            .filter_map(|c| c.values.as_ref())
            .flatten()
            .map(|(value, n)| (value.as_str(), *n))
            .collect();
        for (param, values) in &read.values {
            let absent = values
                .iter()
                .enumerate()
                .filter(|(_, v)| !there.contains_key(v.as_str()));
            let absent: Vec<(usize, &String)> = absent.collect();
            if is_written(node, param) {
                for (i, value) in absent {
                    self.no_value(node, read, &format!("{param}.{i}"), value, &there);
                }
            } else if let (Some((_, first)), true) = (absent.first(), absent.len() == values.len())
            {
                self.no_value(node, read, param, first, &there);
            }
        }
    }

    fn no_column(&mut self, node: &Node, read: &ObsRead, columns: &[&ObsColumn]) {
        let mut names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let message = format!(
            "stage `{}`: parameter `{}`: the cells have no column `{}`; the columns are `{}`",
            node.stage,
            read.param,
            read.column,
            names.join("`, `")
        );
        let problem = self.at(node, read.param, message);
        self.push(match did_you_mean(&read.column, names) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(
                "columns that the counts lack come from a table of the cells, the input `annotations` of `ingest`",
            ),
        });
    }

    fn no_value(
        &mut self,
        node: &Node,
        read: &ObsRead,
        param: &str,
        value: &str,
        there: &BTreeMap<&str, usize>,
    ) {
        let name = param.trim_end_matches(|c: char| c.is_ascii_digit());
        let message = format!(
            "stage `{}`: parameter `{}`: no cell has `{value}` in `{}`, whose values are {}",
            node.stage,
            name.trim_end_matches('.'),
            read.column,
            values_text(there)
        );
        let problem = self.at(node, param, message);
        self.push(match did_you_mean(value, there.keys().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        });
    }

    fn at(&self, node: &Node, param: &str, message: String) -> Problem {
        let place = self.workflow.positions.value(&self.pointer(node, param));
        Problem::new(message).at(place)
    }

    /// Where a parameter of the node is written: under an axis value of its branch, or in the stage.
    fn pointer(&self, node: &Node, param: &str) -> String {
        let first = param.split('.').next().unwrap_or_default();
        let base = self.workflow.axes.iter().rev().find_map(|(axis, spec)| {
            let value = node.branch.get(axis)?;
            let params = spec.values.get(value)?.params.get(&node.stage)?;
            params
                .contains_key(first)
                .then(|| join(&join(&join("/axes", axis), value), &node.stage))
        });
        let base = base.unwrap_or_else(|| join(&join("/stages", &node.stage), "params"));
        param.split('.').fold(base, |at, part| join(&at, part))
    }
}

/// The node's file inputs as its stage sees them; `None` where one is not there, or neither a file nor a
/// folder.
fn file_inputs(plan: &Plan, node: &Node) -> Option<Vec<InputArtifact>> {
    let mut inputs = Vec::new();
    for input in &node.inputs {
        let NodeInput::File { role, input } = input else {
            continue;
        };
        let spec = &plan.inputs[input];
        let is_readable = |p: &std::path::PathBuf| p.is_file() || p.is_dir();
        if !spec.path.as_ref().is_none_or(is_readable) {
            return None;
        }
        inputs.push(InputArtifact {
            role: (*role).to_string(),
            branch: Branch::new(),
            path: spec.path.clone().unwrap_or_default(),
            format: spec.format.clone(),
            builtin: spec.builtin.clone(),
        });
    }
    Some(inputs)
}

/// Whether a table of samples names the file, or the folder that it is in.
fn is_of_a_sample(spec: &InputSpec, path: &Path) -> bool {
    let samples = spec.samples.iter().flat_map(|sheet| &sheet.samples);
    let mut files = samples.flat_map(|s| std::iter::once(&s.path).chain(&s.annotations));
    files.any(|file| path.starts_with(file))
}

/// Whether the workflow or the command line states the parameter.
fn is_written(node: &Node, param: &str) -> bool {
    let mut parts = param.split('.');
    let first = parts.next().and_then(|p| node.written.get(p));
    parts
        .try_fold(first, |value, part| value.map(|v: &Value| v.get(part)))
        .flatten()
        .is_some()
}

/// `` `A` (12 cells), `B` ``, most frequent first.
fn values_text(there: &BTreeMap<&str, usize>) -> String {
    let mut values: Vec<(&str, usize)> = there.iter().map(|(v, n)| (*v, *n)).collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let shown = values.iter().take(SHOWN).map(|(value, n)| match n {
        0 => format!("`{value}`"),
        n => format!("`{value}` ({n})"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if values.len() > SHOWN {
        text.push_str(&format!(" and {} more", values.len() - SHOWN));
    }
    text
}
