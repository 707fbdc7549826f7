//! What the parameters of every stage have in common: their schema, and what may be wrong with them.
//!
//! [`params!`](crate::params!) declares them. A range and a default stand in one place, on the field
//! (`#[schemars(range(min = 1))]`): the JSON Schema states them, and [`faults`] holds values against the schema. [`Stage::check`] has what spans several fields, and
//! [`Stage::ONLY_WITH`] which parameters are read only under certain values of others.

mod only_with;
mod schema;
mod values;

pub use only_with::{OnlyWith, Unread, When, unread};
pub use schema::schema;
pub use values::{Fault, faults, found};

use crate::stage::Stage;

/// Declares the parameters of a stage: each field with its meaning, its range and its default.
///
/// ```
/// use clcc_stage::params;
///
/// params! {
///     /// Parameters of the stage `doublets`.
///     pub struct DoubletsParams {
///         /// Simulated doublets per cell; from .1 to 20, default 2.
///         #[schemars(range(min = 0.1, max = 20.0))]
///         pub sim_doublet_ratio: f64 = 2.0,
///         /// Score above which a cell is called a doublet; null (default): between the two peaks.
///         pub threshold: Option<f64> = None,
///     }
/// }
///
/// let written: DoubletsParams = serde_json::from_str(r#"{"threshold": 0.3}"#).unwrap();
/// assert_eq!(written.threshold, Some(0.3));
/// assert_eq!(written.sim_doublet_ratio, DoubletsParams::default().sim_doublet_ratio);
/// assert!(serde_json::from_str::<DoubletsParams>(r#"{"treshold": 0.3}"#).is_err());
/// ```
///
/// What is not written has its default, and a name that is not declared is refused. The crate that declares
/// parameters needs `serde` and `schemars`.
#[macro_export]
macro_rules! params {
    (
        $(#[$about:meta])+
        $vis:vis struct $name:ident {
            $(
                $(#[$of_field:meta])+
                $field_vis:vis $field:ident : $type:ty = $default:expr
            ),+ $(,)?
        }
    ) => {
        $(#[$about])+
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        $vis struct $name {
            $($(#[$of_field])+ $field_vis $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }
    };
}

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
