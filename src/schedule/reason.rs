//! Why a run starts nothing more, and why a node is not run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nodes that a skipped one names as those it needs.
const NAMED: usize = 3;

/// Why a run starts nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A signal asked it to end.
    Cancelled,
    /// `--fail-fast`, and a node failed.
    FailFast {
        /// The node.
        node: String,
    },
}

/// Why a node is not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SkipReason {
    /// The selection leaves it out, and the cache does not have it.
    NotSelected,
    /// Nodes that it reads from have no outputs.
    Needs {
        /// These nodes.
        nodes: Vec<String>,
    },
    /// The run was cancelled before it was its turn.
    Cancelled,
    /// `--fail-fast`, and another node failed.
    FailFast {
        /// That node.
        node: String,
    },
    /// The content of what it reads is not known.
    InputsUnknown,
    /// The run ended before it could be decided.
    NeverReady,
}

impl From<StopReason> for SkipReason {
    fn from(stop: StopReason) -> Self {
        match stop {
            StopReason::Cancelled => Self::Cancelled,
            StopReason::FailFast { node } => Self::FailFast { node },
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSelected => f.write_str("not selected, and not in the cache"),
            Self::Needs { nodes } => {
                let named = &nodes[..nodes.len().min(NAMED)];
                write!(f, "it needs `{}`", named.join("`, `"))?;
                match nodes.len() - named.len() {
                    0 => Ok(()),
                    n => write!(f, " and {n} more"),
                }
            }
            Self::Cancelled => f.write_str("the run was cancelled"),
            Self::FailFast { node } => write!(f, "`{node}` failed (--fail-fast)"),
            Self::InputsUnknown => f.write_str("what it reads is not known"),
            Self::NeverReady => f.write_str("it never became ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reason_has_its_words_and_its_json() {
        let nodes = |n: usize| (1..=n).map(|i| format!("n{i}")).collect();
        for (reason, words, as_json) in [
            (
                SkipReason::NotSelected,
                "not selected, and not in the cache",
                json!({"kind": "not_selected"}),
            ),
            (
                SkipReason::Needs { nodes: nodes(1) },
                "it needs `n1`",
                json!({"kind": "needs", "nodes": ["n1"]}),
            ),
            (
                SkipReason::Needs { nodes: nodes(5) },
                "it needs `n1`, `n2`, `n3` and 2 more",
                json!({"kind": "needs", "nodes": ["n1", "n2", "n3", "n4", "n5"]}),
            ),
            (
                StopReason::Cancelled.into(),
                "the run was cancelled",
                json!({"kind": "cancelled"}),
            ),
            (
                StopReason::FailFast { node: "a".into() }.into(),
                "`a` failed (--fail-fast)",
                json!({"kind": "fail_fast", "node": "a"}),
            ),
            (
                SkipReason::InputsUnknown,
                "what it reads is not known",
                json!({"kind": "inputs_unknown"}),
            ),
            (
                SkipReason::NeverReady,
                "it never became ready",
                json!({"kind": "never_ready"}),
            ),
        ] {
            assert_eq!(reason.to_string(), words);
            assert_eq!(serde_json::to_value(&reason).unwrap(), as_json);
            assert_eq!(
                serde_json::from_value::<SkipReason>(as_json).unwrap(),
                reason
            );
        }
    }
}
