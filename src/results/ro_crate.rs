//! A run as a Research Object Crate: `ro-crate-metadata.json` next to the results, by the RO-Crate
//! 1.1 specification and the Workflow Run RO-Crate profiles (Process Run, Workflow Run and
//! Provenance Run, 0.5). Values that are not set are left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const WORKFLOW: &str = "#workflow";
const PROGRAM: &str = "#clcc-flow";

/// The crate of a run record, with the published files.
pub fn ro_crate<'a>(run: &Value, files: impl Iterator<Item = &'a str>) -> Value {
    let files: Vec<&str> = files.collect();
    let mut graph = documents(run, &files);
    let nodes: Vec<&Value> = run["nodes"].as_array().into_iter().flatten().collect();
    let stages = stages(&nodes);
    graph.push(json!({
        "@id": WORKFLOW,
        "@type": ["SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": run["workflow"]["name"],
        "programmingLanguage": reference(PROGRAM),
        "hasPart": stages.iter().map(|s| reference(&format!("#stage/{s}"))).collect::<Vec<_>>(),
    }));
    for stage in &stages {
        graph.push(json!({
            "@id": format!("#stage/{stage}"), "@type": "SoftwareApplication", "name": stage,
        }));
    }
    let inputs: Vec<&Value> = run["inputs"].as_array().into_iter().flatten().collect();
    for input in &inputs {
        graph.push(compact(json!({
            "@id": input_id(input), "@type": "File",
            "name": input["name"], "identifier": input["digest"], "encodingFormat": input["format"],
            "description": input["path"].as_str().or(input["builtin"].as_str()),
        })));
    }
    graph.push(json!({
        "@id": run_id(run), "@type": "CreateAction",
        "name": format!("Run {}", text(&run["run"])),
        "startTime": run["started"],
        "instrument": reference(WORKFLOW),
        "object": inputs.iter().map(|i| reference(&input_id(i))).collect::<Vec<_>>(),
        "result": files.iter().map(|f| reference(f)).collect::<Vec<_>>(),
        "actionStatus": status(run["summary"]["failed"].as_u64() == Some(0)),
    }));
    for file in &files {
        graph.push(json!({"@id": file, "@type": "File"}));
    }
    let mut artifacts = BTreeSet::new();
    for node in nodes {
        add_node(&mut graph, &mut artifacts, node);
    }
    json!({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph})
}

/// The crate itself, the results, the program and the run's record.
fn documents(run: &Value, files: &[&str]) -> Vec<Value> {
    let profiles: Vec<Value> = ["process", "workflow", "provenance"]
        .iter()
        .map(|p| reference(&format!("https://w3id.org/ro/wfrun/{p}/0.5")))
        .collect();
    vec![
        json!({
            "@id": "ro-crate-metadata.json", "@type": "CreativeWork",
            "conformsTo": [reference("https://w3id.org/ro/crate/1.1"), reference("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
            "about": reference("./"),
        }),
        json!({
            "@id": "./", "@type": "Dataset",
            "name": format!("Results of {}", text(&run["workflow"]["name"])),
            "description": format!("Outputs of the workflow {} and the record of the run that made them", text(&run["workflow"]["name"])),
            "datePublished": run["started"],
            "conformsTo": profiles,
            "hasPart": files.iter().map(|f| reference(f)).chain([reference("run.json")]).collect::<Vec<_>>(),
            "mainEntity": reference(WORKFLOW),
            "mentions": reference(&run_id(run)),
        }),
        json!({
            "@id": PROGRAM, "@type": "SoftwareApplication",
            "name": run["program"]["name"], "softwareVersion": run["program"]["version"],
        }),
        json!({
            "@id": "run.json", "@type": "File", "encodingFormat": "application/json",
            "name": "Record of the run: keys, parameters, digests, measurements",
        }),
    ]
}

/// One action for each node that has outputs, or failed.
fn add_node(graph: &mut Vec<Value>, artifacts: &mut BTreeSet<String>, node: &Value) {
    let outputs: Vec<&Value> = node["outputs"].as_array().into_iter().flatten().collect();
    let failed = node["status"] == "failed";
    if outputs.is_empty() && !failed {
        return;
    }
    let mut parameters = Vec::new();
    for (name, value) in node["params"].as_object().into_iter().flatten() {
        if value.is_null() {
            continue;
        }
        let id = format!("#param/{}/{name}", text(&node["id"]));
        let value = match value {
            Value::Object(_) | Value::Array(_) => Value::String(value.to_string()),
            plain => plain.clone(),
        };
        graph.push(json!({"@id": id, "@type": "PropertyValue", "name": name, "value": value}));
        parameters.push(reference(&id));
    }
    let results: Vec<Value> = outputs.iter().map(|o| reference(&artifact_id(o))).collect();
    for output in &outputs {
        let entity = compact(json!({
            "@id": artifact_id(output), "@type": "CreativeWork",
            "name": output["role"], "identifier": output["digest"], "contentSize": output["bytes"],
        }));
        if artifacts.insert(artifact_id(output)) {
            graph.push(entity);
        }
    }
    graph.push(compact(json!({
        "@id": format!("#node/{}", text(&node["id"])), "@type": "CreateAction",
        "name": node["id"],
        "instrument": reference(&format!("#stage/{}", text(&node["stage"]))),
        "identifier": node["key"],
        "object": parameters,
        "result": results,
        "actionStatus": status(!failed),
        "error": if failed { node["error"].clone() } else { Value::Null },
    })));
}

fn stages(nodes: &[&Value]) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    for node in nodes {
        let stage = text(&node["stage"]);
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    stages
}

fn status(completed: bool) -> Value {
    let word = if completed { "Completed" } else { "Failed" };
    reference(&format!("http://schema.org/{word}ActionStatus"))
}

fn run_id(run: &Value) -> String {
    format!("#run/{}", text(&run["run"]))
}

fn input_id(input: &Value) -> String {
    format!("#input/{}", text(&input["name"]))
}

fn artifact_id(output: &Value) -> String {
    format!("#blake3/{}", text(&output["digest"]))
}

fn reference(id: &str) -> Value {
    json!({ "@id": id })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// Without the fields that are null.
fn compact(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let kept: Map<String, Value> = map.into_iter().filter(|(_, v)| !v.is_null()).collect();
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Value {
        json!({
            "run": "20260101T000000Z-1", "started": "2026-01-01T00:00:00Z",
            "workflow": {"name": "w"}, "program": {"name": "clcc-flow", "version": "0.1.0"},
            "summary": {"failed": 1},
            "inputs": [{"name": "counts", "path": "a.h5ad", "builtin": null, "format": "h5ad", "digest": "aa"}],
            "nodes": [
                {"id": "cluster[P1]", "stage": "cluster", "status": "ran", "key": "kk", "error": null,
                 "params": {"resolution": 0.5, "unset": null, "list": [1]},
                 "outputs": [{"role": "clusters", "key": null, "digest": "dd", "bytes": 3}]},
                {"id": "de", "stage": "de", "status": "failed", "error": "no", "key": null, "params": {}, "outputs": null},
            ],
        })
    }

    /// Every `{"@id": X}` that is only a reference names an entity of the graph or a web address.
    #[test]
    fn every_reference_is_defined_once() {
        let document = ro_crate(&run(), ["tables/a.tsv", "report.html"].into_iter());
        let graph = document["@graph"].as_array().unwrap();
        let ids: Vec<&str> = graph.iter().map(|e| e["@id"].as_str().unwrap()).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{ids:?}");
        fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) if map.len() == 1 && map.contains_key("@id") => {
                    out.push(map["@id"].as_str().unwrap());
                }
                Value::Object(map) => map.values().for_each(|v| references(v, out)),
                Value::Array(items) => items.iter().for_each(|v| references(v, out)),
                _ => {}
            }
        }
        let mut used = Vec::new();
        references(&document["@graph"], &mut used);
        assert!(used.len() > 15);
        for id in used {
            assert!(unique.contains(id) || id.starts_with("http"), "{id}");
        }
    }

    #[test]
    fn unset_parameters_are_left_out_and_failures_say_why() {
        let document = ro_crate(&run(), std::iter::empty()).to_string();
        assert!(!document.contains("unset"));
        assert!(document.contains("FailedActionStatus") && document.contains("\"error\":\"no\""));
    }
}
