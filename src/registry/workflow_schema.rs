//! JSON Schema of a workflow file, for editors.

use serde_json::{Map, Value, json};

use super::{Kind, kinds};

/// JSON Schema of a workflow file. `params` are those of the stage's kind, which is `kind`, or the
/// stage's name.
///
/// An editor sees one place at a time: a parameter that only another method reads is flagged next to the
/// method, or its default, that stands in the same mapping. Parameters that axis values set are checked
/// by `clcc-flow check`, which knows what they are merged into.
pub fn workflow_schema() -> Value {
    let defs: Map<String, Value> = kinds()
        .iter()
        .map(|kind| {
            let mut schema = kind.schema();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("$schema");
            }
            (kind.name.to_string(), schema)
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clcc-flow workflow",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "stages"],
        "properties": {
            "version": {"const": 1, "description": "Version of this format."},
            "name": {"type": ["string", "number"], "description": "Names the results; default: the file's name."},
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "What is random follows it."},
            "axes": axes(),
            "inputs": inputs(),
            "stages": {
                "type": "object",
                "minProperties": 1,
                "description": "The work, by name.",
                "properties": kinds().iter().map(named).collect::<Map<String, Value>>(),
                "additionalProperties": of_any_kind(),
            },
        },
        "$defs": defs,
    })
}

fn axes() -> Value {
    let change = json!({
        "type": ["object", "null"],
        "description": "What this value changes: parameters by stage.",
        "properties": {
            "seed": {"type": "integer", "minimum": 0, "description": "In place of the workflow's seed; default: that."},
        },
        "additionalProperties": {"type": "object"},
    });
    json!({
        "type": "object",
        "default": {},
        "description": "What stages fan out over: a list of values, or values with the parameters that each sets.",
        "additionalProperties": {"type": ["array", "object"], "additionalProperties": change},
    })
}

fn inputs() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "type": "object",
        "default": {},
        "description": "Files and tables that stages read.",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "path": text("File or folder, relative to the working directory; `{patient}` stands for the value of that axis."),
                "sheet": text("A table of samples with the columns patient, sample, path: one file per sample."),
                "builtin": text("A table of the program, in place of a path: grch38."),
                "format": text("How the file is laid out, where its name does not say it; see docs/inputs.md."),
                "url": text("Where `run` downloads it from, if it is absent."),
                "digest": text("sha256: or blake3: of what is downloaded."),
                "about": text("Said where it is missing: what it is and where to get it."),
            },
        },
    })
}

/// A name, or several.
fn names(about: &str) -> Value {
    let name = json!({"type": ["string", "number"]});
    json!({
        "oneOf": [name, {"type": "array", "items": name}],
        "default": [],
        "description": about,
    })
}

/// The stage that has the name of a kind.
fn named(kind: &Kind) -> (String, Value) {
    (kind.name.to_string(), stage(kind.about, params_of(kind)))
}

fn params_of(kind: &Kind) -> Value {
    json!({
        "$ref": format!("#/$defs/{}", kind.name),
        "default": {},
        "description": format!("Parameters of `{}`.", kind.name),
    })
}

/// A stage with a name of its own.
fn of_any_kind() -> Value {
    let params = json!({"type": "object", "default": {}, "description": "Parameters of the kind."});
    let mut schema = stage("A stage of the kind that `kind` names.", params);
    let by_kind = kinds().iter().map(|kind| {
        json!({
            "if": {"required": ["kind"], "properties": {"kind": {"const": kind.name}}},
            "then": {"properties": {"params": params_of(kind)}},
        })
    });
    schema["allOf"] = by_kind.collect();
    schema
}

fn stage(about: &str, params: Value) -> Value {
    let mut inputs =
        names("Inputs of the workflow that it reads: their names, or `{role: input}`.");
    if let Some(Value::Array(forms)) = inputs.get_mut("oneOf") {
        forms.push(json!({"type": "object"}));
    }
    json!({
        "description": about,
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "kind": {
                "enum": kinds().iter().map(|k| k.name).collect::<Vec<_>>(),
                "description": "What it runs, where that is not the stage's name.",
            },
            "per": names("One node for each value of this axis, or these axes."),
            "keyed_by": {"type": "string", "description": "Axis whose values name what it writes: one artifact for each; default: patient, or the only axis."},
            "needs": names("Stages whose artifacts it reads; each goes where its role is asked for."),
            "inputs": inputs,
            "params": params,
            "join": {
                "type": "object",
                "additionalProperties": false,
                "required": ["min"],
                "description": "Run on the axis values that did not fail, if at least so many are left; default: all of them.",
                "properties": {"min": {"type": "integer", "minimum": 1, "description": "Values that must be left."}},
            },
            "resources": resources(),
        },
    })
}

fn resources() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "default": {},
        "description": "What it may take; never part of a key.",
        "properties": {
            "memory": {"type": ["string", "integer"], "minimum": 1, "description": "Memory to set aside, for example 20G, or bytes; default: what earlier runs took."},
            "timeout_secs": {"type": "integer", "minimum": 1, "description": "Ended after so long; default: never."},
            "cores": {"type": "integer", "minimum": 1, "description": "At most so many threads; default: all that are granted."},
        },
    })
}
