//! `run.json`: what was run, from what, with which keys, how long and how big.

use std::path::Path;

use serde_json::{Value, json};

use super::status_word;
use crate::decide::InputDigests;
use crate::key::KEY_FORMAT;
use crate::plan::Plan;
use crate::schedule::{Options, Outcome, RunOutcome, SkipReason};

/// What the cache keeps of a run: which node had which key. The rest stands in the records of the
/// keys, so that a run that does nothing writes next to nothing.
pub fn run_history(
    plan: &Plan,
    outcome: &RunOutcome,
    inputs: &InputDigests,
    options: &Options,
    started: &str,
) -> Value {
    let mut history = head(plan, outcome, inputs, options, started);
    let nodes = plan.nodes.iter().zip(&outcome.nodes).map(|(node, end)| {
        json!({
            "id": node.id, "stage": node.stage, "status": status_word(end), "error": error(end),
            "skipped_as": skipped_as(end),
            "key": end.record().map(|r| r.key.to_string()),
        })
    });
    history["nodes"] = nodes.collect();
    history
}

fn error(end: &Outcome) -> Option<String> {
    match end {
        Outcome::Failed(f) => Some(f.message.clone()),
        Outcome::Skipped(why) => Some(why.to_string()),
        Outcome::Cached(_) | Outcome::Ran(..) => None,
    }
}

fn skipped_as(end: &Outcome) -> Option<&SkipReason> {
    match end {
        Outcome::Skipped(why) => Some(why),
        Outcome::Failed(_) | Outcome::Cached(_) | Outcome::Ran(..) => None,
    }
}

/// The whole record of a run, as it stands beside the results.
pub fn run_record(
    plan: &Plan,
    outcome: &RunOutcome,
    inputs: &InputDigests,
    options: &Options,
    started: &str,
) -> Value {
    let mut record = head(plan, outcome, inputs, options, started);
    let nodes: Vec<Value> = plan
        .nodes
        .iter()
        .zip(&outcome.nodes)
        .enumerate()
        .map(|(i, (node, end))| {
            let record = end.record();
            json!({
                "id": node.id,
                "stage": node.stage,
                "kind": node.kind.name,
                "code_version": node.kind.code_version,
                "axes": node.branch,
                "status": status_word(end),
                "error": error(end),
                "skipped_as": skipped_as(end),
                "key": record.map(|r| r.key.to_string()),
                "params": node.resolved.params,
                "outputs": record.map(|r| r.outputs.iter().map(|o| json!({
                    "role": o.role, "key": o.key, "form": o.form, "digest": o.digest, "bytes": o.bytes,
                })).collect::<Vec<_>>()),
                "measured": record.map(|r| r.measured.clone()),
                "warnings": record.map(|r| r.warnings.clone()),
                "needs": plan.producers(i).into_iter()
                    .map(|p| plan.nodes[p].id.clone()).collect::<Vec<_>>(),
            })
        })
        .collect();
    record["nodes"] = nodes.into();
    record
}

fn head(
    plan: &Plan,
    outcome: &RunOutcome,
    inputs: &InputDigests,
    options: &Options,
    started: &str,
) -> Value {
    let (ran, cached, failed, skipped) = outcome.counts();
    let inputs: Vec<Value> = inputs
        .iter()
        .map(|(name, (digest, format))| {
            let spec = &plan.inputs[name];
            json!({"name": name, "path": spec.path.as_deref().map(Path::to_string_lossy), "builtin": spec.builtin, "format": format, "digest": digest})
        })
        .collect();
    json!({
        "run": options.run,
        "started": started,
        "seconds": outcome.seconds,
        "workflow": {"name": plan.name, "file": plan.file.to_string_lossy(), "seed": plan.seed},
        "program": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "key_format": KEY_FORMAT},
        "machine": {"os": std::env::consts::OS, "arch": std::env::consts::ARCH, "jobs": options.jobs, "memory": options.memory, "device": options.device},
        "summary": {"ran": ran, "cached": cached, "failed": failed, "skipped": skipped},
        "inputs": inputs,
        "nodes": [],
    })
}
