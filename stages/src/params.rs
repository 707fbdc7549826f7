//! Range checks shared by the parameter structs.

/// A parameter whose value is out of range, reported before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// Dotted path inside the stage's `params`, for example `split`.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
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

    /// Requires `lo <= value <= hi` (and a number).
    pub fn range<T: PartialOrd + std::fmt::Display>(&mut self, path: &str, value: T, lo: T, hi: T) {
        let ok = value >= lo && value <= hi;
        self.require(ok, path, || {
            format!("expected a value in [{lo}, {hi}], found `{value}`")
        });
    }

    /// Requires `value >= lo` (and a number).
    pub fn at_least<T: PartialOrd + std::fmt::Display>(&mut self, path: &str, value: T, lo: T) {
        let ok = value >= lo;
        self.require(ok, path, || {
            format!("expected at least {lo}, found `{value}`")
        });
    }

    /// The problems found, in the order of the checks.
    pub fn finish(self) -> Vec<ParamProblem> {
        self.problems
    }
}
