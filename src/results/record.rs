//! `run.json`: what was run, from what, with which keys, how long and how big.

use serde_json::{Value, json};

use super::status_word;
use crate::decide::InputDigests;
use crate::key::KEY_FORMAT;
use crate::plan::Plan;
use crate::schedule::{Options, Outcome, RunOutcome};

/// The record of a run.
pub fn run_record(
    plan: &Plan,
    outcome: &RunOutcome,
    inputs: &InputDigests,
    options: &Options,
    started: &str,
) -> Value {
    let (ran, cached, failed, skipped) = outcome.counts();
    let nodes: Vec<Value> = plan
        .nodes
        .iter()
        .zip(&outcome.nodes)
        .map(|(node, end)| {
            let record = end.record();
            json!({
                "id": node.id,
                "stage": node.stage,
                "kind": node.kind.name,
                "code_version": node.kind.code_version,
                "axes": node.branch,
                "status": status_word(end),
                "error": match end { Outcome::Failed(f) => Some(f.message.as_str()), Outcome::Skipped(why) => Some(why.as_str()), _ => None },
                "key": record.map(|r| r.key.to_string()),
                "params": node.resolved.params,
                "outputs": record.map(|r| r.outputs.iter().map(|o| json!({
                    "role": o.role, "key": o.key, "digest": o.digest, "bytes": o.bytes,
                })).collect::<Vec<_>>()),
                "measured": record.map(|r| r.measured.clone()),
                "warnings": record.map(|r| r.warnings.clone()),
                "needs": plan.producers(plan.find(&node.id).unwrap_or_default()).into_iter()
                    .map(|p| plan.nodes[p].id.clone()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let inputs: Vec<Value> = inputs
        .iter()
        .map(|(name, (digest, format))| {
            let spec = &plan.inputs[name];
            json!({"name": name, "path": spec.path, "builtin": spec.builtin, "format": format, "digest": digest})
        })
        .collect();
    json!({
        "run": options.run,
        "started": started,
        "seconds": outcome.seconds,
        "workflow": {"name": plan.name, "file": plan.file, "seed": plan.seed},
        "program": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "key_format": KEY_FORMAT},
        "machine": {"os": std::env::consts::OS, "arch": std::env::consts::ARCH, "jobs": options.jobs, "device": options.device},
        "summary": {"ran": ran, "cached": cached, "failed": failed, "skipped": skipped},
        "inputs": inputs,
        "nodes": nodes,
    })
}
