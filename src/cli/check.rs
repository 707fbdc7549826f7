//! `check`, `schema`, `init`, `completions`.

use std::path::Path;

use clap::CommandFactory as _;
use serde_json::{Map, Value, json};

use super::args::{Cli, WorkflowArgs};
use super::error::{CliError, exit};
use super::inspect;
use super::session::load_checked;
use crate::plan::Plan;
use crate::registry::{kind, kinds};
use crate::workflow::{Problem, Workflow, join};

pub(super) fn check(args: &WorkflowArgs) -> Result<i32, CliError> {
    let plan = load_checked(args, unreadable_inputs)?;
    say!(
        "{}: {} nodes, no problems",
        plan.file.display(),
        plan.nodes.len()
    );
    Ok(exit::OK)
}

/// Inputs that are there and cannot be opened.
fn unreadable_inputs(workflow: &Workflow, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in plan.used_inputs() {
        let spec = &plan.inputs[name];
        let Some(path) = spec.path.as_ref().filter(|p| p.exists()) else {
            continue;
        };
        if let Err(error) = inspect::opens(path, spec.format.as_deref()) {
            let place = join(&join("/inputs", name), "path");
            let mut problem = Problem::new(format!("input `{name}`: {}", error.message))
                .at(workflow.positions.value(&place));
            if let Some(hint) = error.hint {
                problem = problem.hint(hint);
            }
            problems.push(problem);
        }
    }
    problems
}

pub(super) fn schema(name: Option<&str>) -> Result<i32, CliError> {
    let document = match name {
        None => workflow_schema(),
        Some(name) => kind(name)
            .ok_or_else(|| {
                let known: Vec<&str> = kinds().iter().map(|k| k.name).collect();
                let problem = crate::workflow::unknown("stage kind", name, &known);
                CliError::new(exit::USAGE, problem.message).with_hint(problem.hint)
            })?
            .schema(),
    };
    super::out::json(&document);
    Ok(exit::OK)
}

/// JSON Schema of a workflow file. A stage's `params` are those of its kind, where the kind is the
/// stage's name; with `kind:` they are checked by `check`.
fn workflow_schema() -> Value {
    let names = json!({"oneOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]});
    let described = |schema: &Value, text: &str| {
        let mut schema = schema.clone();
        schema["description"] = json!(text);
        schema
    };
    let stage = |about: &str, params: Value| {
        json!({
            "description": about,
            "type": ["object", "null"],
            "additionalProperties": false,
            "properties": {
                "kind": {"enum": kinds().iter().map(|k| k.name).collect::<Vec<_>>(),
                    "description": "What it runs, where that is not the stage's name."},
                "per": described(&names, "One node for each value of this axis, or these axes."),
                "keyed_by": {"type": "string", "description": "Axis whose values name what it writes: one artifact for each."},
                "needs": described(&names, "Stages whose artifacts it reads; each goes where its role is asked for."),
                "inputs": {"oneOf": [names, {"type": "object"}], "description": "Inputs of the workflow that it reads."},
                "params": params,
                "join": {"type": "object", "additionalProperties": false, "required": ["min"],
                    "properties": {"min": {"type": "integer", "minimum": 1}},
                    "description": "Run on the axis values that did not fail, if at least so many are left."},
                "resources": {"type": "object", "additionalProperties": false, "properties": {
                    "memory": {"type": ["string", "integer"], "description": "Memory to set aside, for example 20G."},
                    "timeout_secs": {"type": "integer", "minimum": 1, "description": "Ended after so long."},
                    "cores": {"type": "integer", "minimum": 1, "description": "At most so many threads."},
                }},
            },
        })
    };
    let known: Map<String, Value> = kinds()
        .iter()
        .map(|k| {
            (
                k.name.to_string(),
                stage(k.about, json!({"$ref": format!("#/$defs/{}", k.name)})),
            )
        })
        .collect();
    let defs: Map<String, Value> = kinds()
        .iter()
        .map(|k| {
            let mut schema = k.schema();
            // Resolve the definitions of a kind beneath its own name.
            schema["$id"] = json!(k.name);
            (k.name.to_string(), schema)
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
            "name": {"type": "string", "description": "Names the results; default: the file's name."},
            "seed": {"type": "integer", "minimum": 0, "description": "What is random follows it; default 0."},
            "axes": {"type": "object", "additionalProperties": {"type": ["array", "object"]},
                "description": "What stages fan out over: a list of values, or values with the parameters that each sets."},
            "inputs": {"type": "object", "description": "Files and tables that stages read.", "additionalProperties": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "path": {"type": "string", "description": "File or folder, relative to the working directory."},
                    "builtin": {"type": "string", "description": "A table of the program, in place of a path: grch38."},
                    "format": {"type": "string", "description": "How the file is laid out; see docs/inputs.md."},
                    "url": {"type": "string", "description": "Where `run` downloads it from, if it is absent."},
                    "digest": {"type": "string", "description": "sha256: or blake3: of what is downloaded."},
                    "about": {"type": "string", "description": "Said where it is missing: what it is and where to get it."},
                },
            }},
            "stages": {"type": "object", "description": "The work, by name.", "properties": known, "additionalProperties": stage("", json!({"type": "object"}))},
        },
        "$defs": defs,
    })
}

pub(super) fn init(path: &Path) -> Result<i32, CliError> {
    const START: &str = include_str!("../../workflows/demo.yaml");
    // Not of the same name, or its results would take the demo's place; nor the demo's heading.
    let stem = path.file_stem().map(|s| s.to_string_lossy());
    let name: String = stem
        .as_deref()
        .unwrap_or("workflow")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let name = match name.trim_start_matches(['_', '-']) {
        "" => "workflow",
        name => name,
    };
    // `true` and `null` would be no text.
    let name = match serde_yaml::from_str::<Value>(name) {
        Ok(Value::String(_)) => name.to_string(),
        _ => format!("\"{name}\""),
    };
    let body = START
        .split_once("version: 1")
        .map_or(START, |(_, rest)| rest);
    let text = format!(
        "# Simulated tumours of three patients through every stage. For counts of your own put `ingest` in the\n\
         # place of `simulate` (`clcc-flow schema ingest`).\n#\n#   clcc-flow run {}\nversion: 1{}",
        path.display(),
        body.replacen("name: demo", &format!("name: {name}"), 1)
    );
    if path.exists() {
        return Err(CliError::new(
            exit::USAGE,
            format!("`{}` exists already", path.display()),
        ));
    }
    std::fs::write(path, text).map_err(|e| {
        CliError::new(
            exit::DISK,
            format!("cannot write `{}`: {e}", path.display()),
        )
    })?;
    say!(
        "wrote {}; run it with: clcc-flow run {}",
        path.display(),
        path.display()
    );
    Ok(exit::OK)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<i32, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clcc-flow", &mut text);
    super::out::exact(&String::from_utf8_lossy(&text));
    Ok(exit::OK)
}
