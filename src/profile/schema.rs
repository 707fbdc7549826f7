//! JSON Schema of a profile, for editors.

use serde_json::{Value, json};

use super::EXECUTORS;

/// JSON Schema of a profile.
pub fn profile_schema() -> Value {
    let text = |about: &str| json!({"type": ["string", "number"], "description": about});
    let time = |default: &str, about: &str| json!({"type": ["string", "integer"], "default": default, "description": about});
    let count = |about: &str| json!({"type": "integer", "minimum": 1, "description": about});
    let texts = json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]});
    let mut options = texts.clone();
    options["description"] = "More options of sbatch, one word each.".into();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clcc-flow profile",
        "type": "object",
        "additionalProperties": false,
        "required": ["version"],
        "properties": {
            "version": {"const": 1, "description": "Version of this format."},
            "executor": {
                "enum": EXECUTORS.map(|(name, _)| name),
                "default": "local",
                "description": "Who runs nodes; --executor replaces it.",
            },
            "partition": text("Slurm: the partition."),
            "account": text("Slurm: the account."),
            "qos": text("Slurm: the quality of service."),
            "constraint": text("Slurm: features that the machine must have."),
            "options": options,
            "gpu": {"type": "string", "default": "gpu:1", "description": "Slurm: --gres of nodes that train on an accelerator."},
            "jobs": {"type": "integer", "minimum": 1, "default": 500, "description": "Nodes that the batch system has at once."},
            "cores": {"type": "integer", "minimum": 1, "default": 4, "description": "Cores of a node that can use several."},
            "local": {
                "type": "object",
                "additionalProperties": false,
                "description": "What runs on the machine of the coordinator.",
                "properties": {
                    "under": time("30s", "Nodes that are expected to take less; 0s sends all."),
                    "cores": count("Cores for them; default: all of the machine."),
                },
            },
            "time": time("4h", "Time limit of nodes of which nothing was learned yet."),
            "pack": time("10m", "Short nodes are packed into jobs of about this time; 0s: each is a job."),
            "beat": time("10s", "How often a job says that it is alive."),
            "lost_after": time("2m", "Silence after which a job that the batch system does not know is lost."),
            "poll": time("5s", "How often the batch system is asked at first; less often while nothing changes."),
            "remote": text("A shared cache: s3://, gs://, az://, https:// or file:///; --remote replaces it."),
            "remote_mode": {"enum": ["read", "write"], "description": "Default: write where that is possible."},
            "command": command_schema(&texts),
        },
    })
}

/// The templates of `executor: command`.
fn command_schema(texts: &Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["submit", "poll", "cancel", "states"],
        "description": "How another batch system is spoken to, for `executor: command`. Words are split as by a shell; no shell runs.",
        "properties": {
            "submit": {"type": "string", "description": "Hands in {script}. Also {name}, {cores}, {memory_mb}, {memory_kb}, {minutes}, {hms}, {output}."},
            "submit_id": {"type": "integer", "minimum": 1, "description": "Which word of what it prints is the job's id; default: the first that holds a digit."},
            "poll": {"type": "string", "description": "Prints a line a job; {jobs} stands for their ids."},
            "columns": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2, "default": [1, 2], "description": "Words of a line that are id and state."},
            "states": {
                "type": "object",
                "additionalProperties": false,
                "description": "What the words of the state mean; others are unknown.",
                "properties": {"pending": texts, "running": texts, "ended": texts},
            },
            "cancel": {"type": "string", "description": "Ends {jobs}, or one {job} at a time."},
        },
    })
}
