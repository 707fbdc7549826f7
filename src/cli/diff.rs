//! `diff`: two runs of a workflow, node by node, and what it did to the findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_cache::{Digest, Store};
use serde::Serialize;
use serde_json::Value;

use super::args::{DiffArgs, Format};
use super::error::{CliError, exit};
use super::findings::{self, TableChange};
use super::store_verbs::{open, runs};
use crate::decide::{Reason, value_changes};
use crate::results::{NodeRecord, NodeStatus, RunRecord};

/// What `diff --format json` prints.
#[derive(Debug, Serialize)]
struct DiffDocument<'a> {
    old: &'a str,
    new: &'a str,
    inputs: &'a [InputChange],
    nodes: &'a [NodeChange],
    findings: &'a [TableChange],
}

/// A value of either run; `null` where it has none.
#[derive(Debug, PartialEq, Serialize)]
struct OldNew<T> {
    old: Option<T>,
    new: Option<T>,
}

/// An input whose content differs.
#[derive(Debug, Serialize)]
struct InputChange {
    name: String,
    #[serde(flatten)]
    digest: OldNew<Digest>,
}

/// A node that is not the same in both runs.
#[derive(Debug, Serialize)]
struct NodeChange {
    id: String,
    status: OldNew<NodeStatus>,
    params: Vec<ParamChange>,
    /// Role and key, for example `counts[P1]`.
    outputs_changed: Vec<String>,
    code_version: OldNew<u32>,
}

#[derive(Debug, Serialize)]
struct ParamChange {
    path: String,
    old: Value,
    new: Value,
}

pub(super) fn diff(args: &DiffArgs) -> Result<i32, CliError> {
    let old = load(args, &args.old)?;
    let new = load(args, &args.new)?;
    let nodes = node_changes(&old, &new);
    let inputs = input_changes(&old, &new);
    let published = [&args.old, &args.new].map(|name| folder(name).join("tables"));
    let found = if published.iter().all(|dir| dir.is_dir()) {
        let of_others = [&old, &new].map(tables_of_other_runs).concat();
        findings::between([&published[0], &published[1]], args.fdr, &of_others)
    } else {
        match open(&args.cache) {
            Ok(store) => findings::changes(&store, &old, &new, args.fdr),
            // A run that stands in no cache has no tables.
            Err(_) => Vec::new(),
        }
    };
    match args.format {
        Format::Json => {
            let document = DiffDocument {
                old: &old.run,
                new: &new.run,
                inputs: &inputs,
                nodes: &nodes,
                findings: &found,
            };
            super::out::json(&serde_json::to_value(document).expect("plain values serialise"));
        }
        Format::Human => {
            print(&old, &new, &inputs, &nodes);
            findings::print(&found);
        }
    }
    Ok(exit::OK)
}

/// The results directory that is meant by its own name, or by that of its `run.json`.
fn folder(name: &str) -> &Path {
    let path = Path::new(name);
    match path.parent() {
        Some(parent) if path.is_file() => parent,
        _ => path,
    }
}

/// Tables in the results of a run that an earlier one left there.
fn tables_of_other_runs(run: &RunRecord) -> Vec<String> {
    let files = run.files_of_an_earlier_run.iter();
    files
        .filter_map(|f| Some(f.strip_prefix("tables/")?.to_string()))
        .collect()
}

/// A run by its name, by the start of its name, or by a directory with a `run.json`.
fn load(args: &DiffArgs, name: &str) -> Result<RunRecord, CliError> {
    if let Some(run) = RunRecord::read(folder(name)) {
        return Ok(run);
    }
    let store = open(&args.cache)?;
    let dirs = runs(&store);
    let named = |dir: &Path| {
        dir.file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let found: Vec<_> = dirs.iter().filter(|d| named(d).starts_with(name)).collect();
    let usage = |message: String| CliError::new(exit::USAGE, message);
    match found.as_slice() {
        [one] => RunRecord::read(one)
            .map(|run| hydrate(&store, run))
            .ok_or_else(|| usage(format!("run `{name}` has no record: it was killed"))),
        [] => {
            let workflow = |d: &Path| RunRecord::read(d).map_or(String::new(), |r| r.workflow.name);
            let names: Vec<String> = dirs
                .iter()
                .take(5)
                .map(|d| format!("{} ({})", named(d), workflow(d)))
                .collect();
            let hint = format!("the last runs in this cache are {}", names.join(", "));
            Err(usage(format!("there is no run `{name}`")).hint(hint))
        }
        _ => Err(usage(format!(
            "`{name}` is the start of {} runs",
            found.len()
        ))),
    }
}

/// Puts parameters and outputs of each node next to its key.
fn hydrate(store: &Store, mut run: RunRecord) -> RunRecord {
    for node in &mut run.nodes {
        if let Some(record) = node.key.and_then(|key| store.record(&key)) {
            node.complete(&record);
        }
    }
    run
}

fn input_changes(old: &RunRecord, new: &RunRecord) -> Vec<InputChange> {
    let digests = |run: &RunRecord| -> BTreeMap<String, Digest> {
        let inputs = run.inputs.iter();
        inputs.map(|i| (i.name.clone(), i.digest)).collect()
    };
    let (old, new) = (digests(old), digests(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .map(|name| InputChange {
            name: name.clone(),
            digest: OldNew {
                old: old.get(name).copied(),
                new: new.get(name).copied(),
            },
        })
        .filter(|change| change.digest.old != change.digest.new)
        .collect()
}

/// Nodes of either run that are not the same in both: those of the new run in its order, then those it lacks.
fn node_changes(old: &RunRecord, new: &RunRecord) -> Vec<NodeChange> {
    let by_id = |run| -> BTreeMap<&str, &NodeRecord> {
        let run: &RunRecord = run;
        run.nodes.iter().map(|n| (n.id.as_str(), n)).collect()
    };
    let (a, b) = (by_id(old), by_id(new));
    let gone = old.nodes.iter().filter(|n| !b.contains_key(n.id.as_str()));
    let ids = new.nodes.iter().chain(gone).map(|n| n.id.as_str());
    ids.filter_map(|id| node_change(id, a.get(id).copied(), b.get(id).copied()))
        .collect()
}

fn node_change(id: &str, old: Option<&NodeRecord>, new: Option<&NodeRecord>) -> Option<NodeChange> {
    let status = OldNew {
        old: old.map(|n| n.status),
        new: new.map(|n| n.status),
    };
    let key = |n: Option<&NodeRecord>| n.and_then(|n| n.key);
    let same_key = key(old).is_some() && key(old) == key(new);
    let outputs_changed = outputs_changed(old, new);
    if same_key && (status.old == status.new || outputs_changed.is_empty()) {
        return None;
    }
    let params = match (old, new) {
        (Some(old), Some(new)) => value_changes(old.params(), new.params()),
        _ => Vec::new(),
    };
    let version = |n: Option<&NodeRecord>| n?.details.as_ref().map(|d| d.code_version);
    Some(NodeChange {
        id: id.to_string(),
        status,
        params: params.into_iter().filter_map(param_change).collect(),
        outputs_changed,
        code_version: OldNew {
            old: version(old),
            new: version(new),
        },
    })
}

fn param_change(reason: Reason) -> Option<ParamChange> {
    match reason {
        Reason::Param { path, old, new } => Some(ParamChange { path, old, new }),
        _ => None,
    }
}

fn outputs_changed(old: Option<&NodeRecord>, new: Option<&NodeRecord>) -> Vec<String> {
    let outputs = |node: Option<&NodeRecord>| -> BTreeMap<String, Digest> {
        let outputs = node.map_or(&[][..], NodeRecord::outputs).iter();
        outputs
            .map(|o| {
                let key = o.key.as_ref().map(|k| format!("[{k}]")).unwrap_or_default();
                (format!("{}{key}", o.role), o.digest)
            })
            .collect()
    };
    let (old, new) = (outputs(old), outputs(new));
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    all.into_iter()
        .filter(|role| old.get(*role) != new.get(*role))
        .cloned()
        .collect()
}

fn print(old: &RunRecord, new: &RunRecord, inputs: &[InputChange], nodes: &[NodeChange]) {
    say!("old {}  {}", old.run, old.started);
    say!("new {}  {}", new.run, new.started);
    for input in inputs {
        say!("input {}: other content", input.name);
    }
    for node in nodes {
        use NodeStatus::{Failed, Skipped};
        let what = match (node.status.old, node.status.new) {
            (None, _) => "only in the new run".to_string(),
            (_, None) => "only in the old run".to_string(),
            (Some(b), Some(n)) if b != n && (b == Failed || n == Failed || n == Skipped) => {
                format!("{} -> {}", b.word(), n.word())
            }
            _ if node.outputs_changed.is_empty() => "same outputs".to_string(),
            _ => format!("other {}", node.outputs_changed.join(", ")),
        };
        say!("{}: {what}", node.id);
        for p in &node.params {
            say!("    {}: {} -> {}", p.path, p.old, p.new);
        }
    }
    if inputs.is_empty() && nodes.is_empty() {
        say!("the same keys and outputs");
    }
}
