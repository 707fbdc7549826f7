//! `diff`: two runs of a workflow, node by node, and what it did to the findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_cache::{Digest, Store};
use serde_json::{Value, json};

use super::args::{DiffArgs, Format};
use super::error::{CliError, exit};
use super::findings;
use super::store_verbs::{open, read_run, runs, workflow_of};
use crate::decide::{Reason, value_changes};

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
            let document = json!({
                "old": old["run"], "new": new["run"], "inputs": inputs, "nodes": nodes, "findings": found,
            });
            super::out::json(&document);
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
fn tables_of_other_runs(run: &Value) -> Vec<String> {
    let files = run["files_of_an_earlier_run"].as_array();
    let files = files.into_iter().flatten().filter_map(Value::as_str);
    files
        .filter_map(|f| Some(f.strip_prefix("tables/")?.to_string()))
        .collect()
}

/// A run by its name, by the start of its name, or by a directory with a `run.json`.
fn load(args: &DiffArgs, name: &str) -> Result<Value, CliError> {
    if let Some(run) = read_run(folder(name)) {
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
        [one] => read_run(one)
            .map(|run| hydrate(&store, run))
            .ok_or_else(|| usage(format!("run `{name}` has no record: it was killed"))),
        [] => {
            let workflow = |d: &Path| read_run(d).map_or(String::new(), |r| workflow_of(&r));
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

/// Puts parameters, outputs and headline numbers of each node beside its key.
fn hydrate(store: &Store, mut run: Value) -> Value {
    for node in run["nodes"].as_array_mut().into_iter().flatten() {
        let key = node["key"].as_str().and_then(|k| k.parse::<Digest>().ok());
        if let Some(record) = key.and_then(|k| store.record(&k)) {
            node["params"] = record.preimage["params"].clone();
            node["code_version"] = record.preimage["code_version"].clone();
            node["outputs"] =
                serde_json::to_value(&record.outputs).expect("plain values serialise");
        }
    }
    run
}

fn by<'a>(run: &'a Value, list: &str, name: &str) -> BTreeMap<&'a str, &'a Value> {
    run[list]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| Some((v[name].as_str()?, v)))
        .collect()
}

fn input_changes(old: &Value, new: &Value) -> Vec<Value> {
    let (a, b) = (by(old, "inputs", "name"), by(new, "inputs", "name"));
    let names: BTreeSet<&&str> = a.keys().chain(b.keys()).collect();
    let digest =
        |m: &BTreeMap<&str, &Value>, n: &str| m.get(n).map_or(Value::Null, |v| v["digest"].clone());
    names
        .into_iter()
        .filter(|n| digest(&a, n) != digest(&b, n))
        .map(|n| json!({"name": n, "old": digest(&a, n), "new": digest(&b, n)}))
        .collect()
}

/// Nodes of either run that are not the same in both.
fn node_changes(old: &Value, new: &Value) -> Vec<Value> {
    let (a, b) = (by(old, "nodes", "id"), by(new, "nodes", "id"));
    let mut ids: Vec<&str> = b.keys().copied().collect();
    ids.extend(a.keys().filter(|id| !b.contains_key(*id)));
    let null = Value::Null;
    let mut changes = Vec::new();
    for id in ids {
        let (o, n) = (
            a.get(id).copied().unwrap_or(&null),
            b.get(id).copied().unwrap_or(&null),
        );
        let (ok, nk) = (&o["key"], &n["key"]);
        if ok == nk && o["status"] == n["status"] && !ok.is_null() {
            continue;
        }
        let outputs = |v: &Value| -> BTreeMap<String, Value> {
            v["outputs"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|o| {
                    (
                        format!("{}{}", text(&o["role"]), key_of(o)),
                        o["digest"].clone(),
                    )
                })
                .collect()
        };
        let (oo, no) = (outputs(o), outputs(n));
        let changed: Vec<&String> = oo
            .keys()
            .chain(no.keys())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|r| oo.get(*r) != no.get(*r))
            .collect();
        if ok == nk && changed.is_empty() && !ok.is_null() {
            continue;
        }
        let params: Vec<Value> = value_changes(&o["params"], &n["params"])
            .into_iter()
            .filter_map(|r| match r {
                Reason::Param { path, old, new } => {
                    Some(json!({"path": path, "old": old, "new": new}))
                }
                _ => None,
            })
            .collect();
        changes.push(json!({
            "id": id,
            "status": {"old": o["status"], "new": n["status"]},
            "params": if o.is_null() || n.is_null() { json!([]) } else { json!(params) },
            "outputs_changed": changed,
            "code_version": {"old": o["code_version"], "new": n["code_version"]},
        }));
    }
    changes
}

fn key_of(output: &Value) -> String {
    output["key"]
        .as_str()
        .map(|k| format!("[{k}]"))
        .unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn print(old: &Value, new: &Value, inputs: &[Value], nodes: &[Value]) {
    say!("old {}  {}", text(&old["run"]), text(&old["started"]));
    say!("new {}  {}", text(&new["run"]), text(&new["started"]));
    for input in inputs {
        say!("input {}: other content", text(&input["name"]));
    }
    for node in nodes {
        let (before, now) = (&node["status"]["old"], &node["status"]["new"]);
        let what = match (before.as_str(), now.as_str()) {
            (None, _) => "only in the new run".to_string(),
            (_, None) => "only in the old run".to_string(),
            (Some(b), Some(n)) if b != n && (b == "failed" || n == "failed" || n == "skipped") => {
                format!("{b} -> {n}")
            }
            _ => {
                let changed = node["outputs_changed"].as_array().map_or(0, Vec::len);
                match changed {
                    0 => "same outputs".to_string(),
                    _ => format!(
                        "other {}",
                        node["outputs_changed"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .map(text)
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                }
            }
        };
        say!("{}: {what}", text(&node["id"]));
        for p in node["params"].as_array().into_iter().flatten() {
            say!("    {}: {} -> {}", text(&p["path"]), p["old"], p["new"]);
        }
    }
    if inputs.is_empty() && nodes.is_empty() {
        say!("the same keys and outputs");
    }
}
