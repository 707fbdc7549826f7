//! Where an artifact or a result comes from: the record in its cache, or the `run.json` beside it.

use std::path::Path;

use clcc_cache::{ActionRecord, Digest, measure, read_plain, read_plain_linked};
use serde_json::{Map, Value, json};

/// What is known of the origin of `path`; nothing where no record names it.
pub(super) fn provenance(path: &Path) -> Option<Value> {
    let path = std::fs::canonicalize(path).ok()?;
    from_cache(&path).or_else(|| from_results(&path))
}

/// An artifact lies at `<cache>/cas/<ab>/<digest>`, its record in `<cache>/ac/<ab>/<key>.json`.
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

/// Results lie beneath a folder with `run.json`, which names the content of every output.
fn from_results(path: &Path) -> Option<Value> {
    let folder = path
        .ancestors()
        .skip(1)
        .take(3)
        .find(|f| f.join("run.json").is_file() && f.join(".published.json").is_file())?;
    let run: Value =
        serde_json::from_slice(&read_plain_linked(&folder.join("run.json")).ok()?).ok()?;
    let rel = path.strip_prefix(folder).ok()?.to_str()?;
    let earlier = run["files_of_an_earlier_run"].as_array();
    if earlier.is_some_and(|files| files.iter().any(|f| f == rel)) {
        return Some(json!({
            "workflow": run["workflow"]["name"],
            "run": "one before that of run.json, which did not make it",
        }));
    }
    let mut found = Map::new();
    for (name, value) in [
        ("workflow", &run["workflow"]["name"]),
        ("program", &run["program"]["version"]),
        ("run", &run["run"]),
        ("started", &run["started"]),
    ] {
        found.insert(name.into(), value.clone());
    }
    let digest = measure(path).ok()?.digest.to_string();
    let nodes = run["nodes"].as_array()?;
    let node = nodes.iter().find(|node| {
        let outputs = node["outputs"].as_array();
        outputs.is_some_and(|o| o.iter().any(|o| o["digest"] == digest.as_str()))
    });
    if let Some(node) = node {
        found.insert("node".into(), node["id"].clone());
        found.insert("key".into(), node["key"].clone());
        found.insert("params".into(), node["params"].clone());
    }
    found.insert("digest".into(), json!(digest));
    Some(Value::Object(found))
}
