//! Where an artifact or a result comes from: the record in its cache, or the `run.json` next to it.

use std::path::Path;

use clcc_cache::{ActionRecord, Digest, measure, read_plain};
use serde_json::{Value, json};

use crate::results::{NodeRecord, RunRecord};

/// What is known of the origin of `path`; nothing where no record names it.
pub(super) fn provenance(path: &Path) -> Option<Value> {
    let path = std::fs::canonicalize(path).ok()?;
    from_cache(&path).or_else(|| from_results(&path))
}

/// An artifact is at `<cache>/cas/<ab>/<digest>`, its record in `<cache>/ac/<ab>/<key>.json`.
fn from_cache(path: &Path) -> Option<Value> {
    let digest: Digest = path.file_name()?.to_str()?.parse().ok()?;
    let cas = path.parent()?.parent()?;
    if cas.file_name()? != "cas" {
        return None;
    }
    let mut records: Vec<_> = std::fs::read_dir(cas.parent()?.join("ac"))
        .ok()?
        .flatten()
        .filter_map(|shard| std::fs::read_dir(shard.path()).ok())
        .flat_map(|shard| shard.flatten().map(|e| e.path()))
        .collect();
    records.sort();
    records.iter().find_map(|file| {
        let bytes = read_plain(file).ok()?;
        let record = ActionRecord::from_file(&bytes)?;
        let output = record.outputs.iter().find(|o| o.digest == digest)?;
        Some(json!({
            "digest": digest.to_string(),
            "role": output.role,
            "patient": output.key,
            "stage_kind": record.preimage["kind"],
            "code_version": record.preimage["code_version"],
            "key": record.key.to_string(),
            "params": record.preimage["params"],
            "measured": record.measured,
        }))
    })
}

/// Results are in a folder with `run.json`, which names the content of every output.
fn from_results(path: &Path) -> Option<Value> {
    let folder = path
        .ancestors()
        .skip(1)
        .take(3)
        .find(|f| f.join("run.json").is_file() && f.join(".published.json").is_file())?;
    let run = RunRecord::read(folder)?;
    let rel = path.strip_prefix(folder).ok()?.to_str()?;
    if run.files_of_an_earlier_run.iter().any(|f| f == rel) {
        return Some(json!({
            "workflow": run.workflow.name,
            "run": "one before that of run.json, which did not make it",
        }));
    }
    let digest = measure(path).ok()?.digest;
    let mut found = json!({
        "workflow": run.workflow.name,
        "program": run.program.version,
        "run": run.run,
        "started": run.started,
    });
    let makes = |node: &&NodeRecord| node.outputs().iter().any(|o| o.digest == digest);
    if let Some(node) = run.nodes.iter().find(makes) {
        found["node"] = json!(node.id);
        found["key"] = json!(node.key);
        found["params"] = node.params().clone();
    }
    found["digest"] = json!(digest);
    Some(found)
}
