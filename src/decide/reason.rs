//! Why a node is not cached: the difference between two keys' fields, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::{Preimage, stage_seed};

/// Why a node is not cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// This node was never recorded here.
    New,
    /// A parameter (or `seed`) changed.
    Param {
        /// Dotted path.
        path: String,
        /// Value in the last record.
        old: Value,
        /// Value now.
        new: Value,
    },
    /// Values of an axis came or went, or stand in another order.
    Values {
        /// The axis.
        axis: String,
        /// Values of the last record that are gone.
        left: Vec<String>,
        /// Values that it did not have.
        joined: Vec<String>,
    },
    /// A file input changed, or another set of inputs is read.
    Input {
        /// The role.
        role: String,
    },
    /// The stage's code changed.
    Code {
        /// Version in the last record.
        old: u32,
        /// Version now.
        new: u32,
    },
    /// Another device class.
    Numerics {
        /// In the last record.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// The key's format changed.
    Format,
    /// An output is no longer in the cache.
    OutputMissing {
        /// The role.
        role: String,
    },
    /// An output in the cache has the wrong size.
    OutputCorrupt {
        /// The role.
        role: String,
    },
    /// Asked for with `--force`.
    Forced,
    /// It reads what the selection does not make and the cache does not have.
    NotSelected {
        /// The nodes that would make it.
        nodes: Vec<String>,
    },
    /// What it reads from another node changed, or may change.
    Upstream {
        /// The nodes.
        nodes: Vec<String>,
    },
}

impl Reason {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::New => "new".to_string(),
            Self::Param { path, old, new } if path == "seed" => match (old, new) {
                (Value::Null, Value::Null) => "seed changed".to_string(),
                (Value::Null, new) => format!("seed changed to {new}"),
                (old, Value::Null) => format!("seed was {old}"),
                (old, new) => format!("seed {old} -> {new}"),
            },
            Self::Param { path, old, new } => {
                format!("{path} changed: {} -> {}", short(old), short(new))
            }
            Self::Values { axis, left, joined } => values_text(axis, left, joined),
            Self::Input { role } => format!("input `{role}` changed"),
            Self::Code { old, new } => format!("stage code version {old} -> {new}"),
            Self::Numerics { old, new } => {
                format!(
                    "device class {} -> {}",
                    old.as_deref().unwrap_or("any"),
                    new.as_deref().unwrap_or("any")
                )
            }
            Self::Format => "cache format changed".to_string(),
            Self::OutputMissing { role } => format!("output `{role}` is missing from the cache"),
            Self::OutputCorrupt { role } => format!("output `{role}` is damaged in the cache"),
            Self::Forced => "forced".to_string(),
            Self::NotSelected { nodes } => {
                format!(
                    "it needs {}, which this selection does not make",
                    some(nodes)
                )
            }
            Self::Upstream { nodes } => format!("{} changed", some(nodes)),
        }
    }
}

/// `patient P3 left`, `patients P4, P5 joined`.
fn values_text(axis: &str, left: &[String], joined: &[String]) -> String {
    let of = |values: &[String], verb: &str| {
        let s = if values.len() > 1 { "s" } else { "" };
        let shown: Vec<&str> = values.iter().take(SHOWN).map(String::as_str).collect();
        let more = match values.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        (!values.is_empty()).then(|| format!("{axis}{s} {}{more} {verb}", shown.join(", ")))
    };
    let parts = [of(left, "left"), of(joined, "joined")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => format!("the order of {axis}s changed"),
        false => parts.join("; "),
    }
}

/// Values that a text lists.
const SHOWN: usize = 5;

/// What came and went between two lists of values of an axis; `None` where they are the same.
pub(super) fn values_change(axis: &str, old: &[String], now: &[String]) -> Option<Reason> {
    let without = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|v| !b.contains(v)).cloned().collect()
    };
    (old != now).then(|| Reason::Values {
        axis: axis.to_string(),
        left: without(old, now),
        joined: without(now, old),
    })
}

/// The first of these nodes, and how many more there are.
fn some(nodes: &[String]) -> String {
    match nodes {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => "upstream".to_string(),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "unset".to_string(),
        other => other.to_string(),
    };
    if text.chars().count() > 40 {
        format!("{}...", text.chars().take(37).collect::<String>())
    } else {
        text
    }
}

/// Roles whose content differs.
pub(super) fn changed_roles(old: &Preimage, now: &Preimage) -> Vec<String> {
    let roles: BTreeSet<&str> = old
        .inputs
        .iter()
        .chain(&now.inputs)
        .map(|i| i.role.as_str())
        .collect();
    let of = |p: &Preimage, role: &str| {
        p.inputs
            .iter()
            .filter(|i| i.role == role)
            .cloned()
            .collect::<Vec<_>>()
    };
    roles
        .into_iter()
        .filter(|r| of(old, r) != of(now, r))
        .map(str::to_string)
        .collect()
}

/// The seed of the workflow or branch that a kind's own seed was made of, if it is a small number: what people write.
/// A key has only the kind's, which says nothing to anybody.
fn workflow_seed(kind: &str, stage: u64) -> Option<u64> {
    const SMALL: u64 = 10_000;
    static FOUND: Mutex<BTreeMap<(String, u64), Option<u64>>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let search = || (0..SMALL).find(|&seed| stage_seed(seed, kind) == stage);
    *found
        .entry((kind.to_string(), stage))
        .or_insert_with(search)
}

/// Differences in every field but the inputs.
pub(super) fn fixed_changes(old: &Preimage, now: &Preimage, key_axis: &str) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if old.key_format != now.key_format {
        reasons.push(Reason::Format);
    }
    if old.kind != now.kind {
        reasons.push(Reason::Param {
            path: "kind".into(),
            old: old.kind.clone().into(),
            new: now.kind.clone().into(),
        });
    }
    param_changes("", &old.params, &now.params, &mut reasons);
    if old.seed != now.seed {
        let seed = |p: &Preimage| p.seed.and_then(|seed| workflow_seed(&p.kind, seed));
        reasons.push(Reason::Param {
            path: "seed".into(),
            old: seed(old).into(),
            new: seed(now).into(),
        });
    }
    reasons.extend(values_change(key_axis, &old.keys, &now.keys));
    if old.code_version != now.code_version {
        reasons.push(Reason::Code {
            old: old.code_version,
            new: now.code_version,
        });
    }
    if old.numerics != now.numerics {
        reasons.push(Reason::Numerics {
            old: old.numerics.clone(),
            new: now.numerics.clone(),
        });
    }
    reasons
}

/// Every difference between two sets of parameters.
pub fn value_changes(old: &Value, new: &Value) -> Vec<Reason> {
    let mut reasons = Vec::new();
    param_changes("", old, new, &mut reasons);
    reasons
}

fn param_changes(path: &str, old: &Value, new: &Value, out: &mut Vec<Reason>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                param_changes(
                    &path,
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    out,
                );
            }
        }
        (a, b) if a != b => {
            out.push(Reason::Param {
                path: path.to_string(),
                old: a.clone(),
                new: b.clone(),
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reason_has_its_words_and_its_json() {
        let nodes = |n: usize| (1..=n).map(|i| format!("n{i}")).collect();
        let role = || "cnv".to_string();
        for (reason, words, kind) in [
            (Reason::New, "new", "new"),
            (
                Reason::Param {
                    path: "hmm.states".into(),
                    old: Value::Null,
                    new: json!(6),
                },
                "hmm.states changed: unset -> 6",
                "param",
            ),
            (
                Reason::Param {
                    path: "seed".into(),
                    old: json!(0),
                    new: json!(43),
                },
                "seed 0 -> 43",
                "param",
            ),
            (
                Reason::Values {
                    axis: "patient".into(),
                    left: vec!["P3".into()],
                    joined: nodes(7),
                },
                "patient P3 left; patients n1, n2, n3, n4, n5 and 2 more joined",
                "values",
            ),
            (
                Reason::Values {
                    axis: "patient".into(),
                    left: vec![],
                    joined: vec![],
                },
                "the order of patients changed",
                "values",
            ),
            (
                Reason::Input { role: role() },
                "input `cnv` changed",
                "input",
            ),
            (
                Reason::Code { old: 1, new: 2 },
                "stage code version 1 -> 2",
                "code",
            ),
            (
                Reason::Numerics {
                    old: None,
                    new: Some("cuda".into()),
                },
                "device class any -> cuda",
                "numerics",
            ),
            (Reason::Format, "cache format changed", "format"),
            (
                Reason::OutputMissing { role: role() },
                "output `cnv` is missing from the cache",
                "output_missing",
            ),
            (
                Reason::OutputCorrupt { role: role() },
                "output `cnv` is damaged in the cache",
                "output_corrupt",
            ),
            (Reason::Forced, "forced", "forced"),
            (
                Reason::NotSelected { nodes: nodes(3) },
                "it needs n1 and 2 more, which this selection does not make",
                "not_selected",
            ),
            (
                Reason::Upstream { nodes: nodes(1) },
                "n1 changed",
                "upstream",
            ),
            (
                Reason::Upstream { nodes: nodes(0) },
                "upstream changed",
                "upstream",
            ),
        ] {
            assert_eq!(reason.text(), words);
            let as_json = serde_json::to_value(&reason).unwrap();
            assert_eq!(as_json["kind"], kind);
            assert_eq!(serde_json::from_value::<Reason>(as_json).unwrap(), reason);
        }
    }

    #[test]
    fn a_seed_is_the_one_of_the_workflow() {
        assert_eq!(workflow_seed("train", stage_seed(43, "train")), Some(43));
        assert_eq!(workflow_seed("train", stage_seed(43, "eval")), None);
        assert_eq!(workflow_seed("train", stage_seed(u64::MAX, "train")), None);
    }

    #[test]
    fn a_long_value_is_cut_in_words_and_whole_in_json() {
        let reason = Reason::Param {
            path: "list".into(),
            old: json!([]),
            new: json!("x".repeat(60)),
        };
        assert_eq!(
            reason.text(),
            format!("list changed: [] -> \"{}...", "x".repeat(36))
        );
    }
}
