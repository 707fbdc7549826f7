//! What the parameters of every stage have in common: their schema, and what may be wrong with them.
//!
//! A range stands in one place, on the field (`#[schemars(range(min = 1))]`): the JSON Schema states it,
//! and [`faults`] holds values against the schema. [`Stage::check`] has what spans several fields, and
//! [`Stage::ONLY_WITH`] which parameters are read only under certain values of others.

mod only_with;
mod schema;
mod values;

pub use only_with::{OnlyWith, Unread, When, unread};
pub use schema::schema;
pub use values::{Fault, faults, found};

use crate::stage::Stage;

/// A parameter whose value is out of range, reported before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// Dotted path inside the stage's `params`, for example `split`.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

/// Everything that is wrong with the parameters of a stage: values outside their own ranges, then what
/// [`Stage::check`] says of several together.
pub fn problems<S: Stage>(params: &S::Params) -> Vec<ParamProblem> {
    let value = serde_json::to_value(params).expect("parameters are plain values");
    let mut out: Vec<ParamProblem> = faults(&schema::<S>(), &value)
        .into_iter()
        .map(|fault| ParamProblem {
            path: dotted(&fault.pointer),
            message: fault.message,
        })
        .collect();
    for problem in S::check(params) {
        if !out.iter().any(|p| p.path == problem.path) {
            out.push(problem);
        }
    }
    out
}

/// `/hmm/k_nn` as `hmm.k_nn`.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// `hmm.k_nn` as `/hmm/k_nn`.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// Collects the problems of one parameter struct.
#[derive(Debug, Default)]
pub struct Checks {
    problems: Vec<ParamProblem>,
}

impl Checks {
    /// Records a problem at `path` unless `ok`.
    pub fn require(&mut self, ok: bool, path: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.problems.push(ParamProblem {
                path: path.to_string(),
                message: message(),
            });
        }
    }

    /// The problems found, in the order of the checks.
    pub fn finish(self) -> Vec<ParamProblem> {
        self.problems
    }
}
