//! What is wrong with a workflow file: message, place, hint; all of them in one pass.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use strsim::damerau_levenshtein;

use crate::text::{hint_lines, shown};

/// A position in the workflow file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was expected and what was found.
    pub message: String,
    /// Where, unless it is the command line.
    pub place: Option<Place>,
    /// What the user can do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without place or hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            hint: None,
        }
    }

    /// A value of another type than `what`.
    pub fn expected(what: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "nothing".to_string(),
            Value::String(text) => format!("the text `{text}`"),
            Value::Array(_) => "a list".to_string(),
            Value::Object(_) => "a mapping".to_string(),
            scalar => format!("`{scalar}`"),
        };
        Self::new(format!("expected {what}, found {found}"))
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = place.into();
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An invalid workflow.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} in `{file}`", count(problems.len()))]
pub struct InvalidWorkflow {
    /// The file as given.
    pub file: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

fn count(n: usize) -> String {
    if n == 1 {
        "1 problem".to_string()
    } else {
        format!("{n} problems")
    }
}

impl InvalidWorkflow {
    /// Sorted by place.
    pub fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.place);
        Self {
            file: file.display().to_string(),
            problems,
        }
    }

    /// The text shown on the terminal.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let file = shown(&self.file);
        for p in &self.problems {
            let _ = writeln!(out, "error: {}", shown(&p.message));
            match p.place {
                Some(at) => {
                    let _ = writeln!(out, "  --> {file}:{}:{}", at.line, at.column);
                }
                None => {
                    let _ = writeln!(out, "  --> {file}");
                }
            }
            if let Some(hint) = &p.hint {
                let _ = writeln!(out, "hint: {}", hint_lines(hint));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "{} in `{file}`", count(self.problems.len()));
        out
    }
}

/// Letters from which on the beginning of a name is taken for it.
const BEGINNING: usize = 3;

/// The known name nearest to `name`, if it is near enough to be a slip: by the letters that differ whatever their
/// case; of equally near ones that which differs in case alone, then that which begins or ends where the other does.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .filter_map(|k| {
            let other = k.to_lowercase();
            let distance = damerau_levenshtein(&lower, &other);
            let begins = other.starts_with(&lower) || lower.starts_with(&other);
            let longer = k.len().max(name.len());
            let is_slip = distance <= 1 + longer / 4 && distance < longer;
            let is_beginning = other.starts_with(&lower) && lower.len() >= BEGINNING;
            let rank = (distance, damerau_levenshtein(name, k), !begins, k);
            (is_slip || is_beginning).then_some(rank)
        })
        .min()
        .map(|(.., k)| k)
}

/// `unknown <what> \`name\``, with the nearest known name or all of them as the hint.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> Problem {
    let problem = Problem::new(format!("unknown {what} `{name}`"));
    match did_you_mean(name, known.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => problem,
        None => problem.hint(format!("known: `{}`", known.join("`, `"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        assert_eq!(
            did_you_mean("resolutoin", ["resolution", "n_comps"]),
            Some("resolution")
        );
        assert_eq!(
            did_you_mean("preprocces", ["preprocess", "cluster"]),
            Some("preprocess")
        );
        assert_eq!(did_you_mean("banana", ["resolution", "n_comps"]), None);
    }

    #[test]
    fn of_equally_near_names_the_one_that_fits_better_is_meant() {
        for (name, known, meant) in [
            // Case alone is no letter.
            ("p0006", &["P0008", "P0006", "p0008"][..], "P0006"),
            // Both are one letter away in any case; of one the letters are those of the name.
            ("NORMAL", &["Normal", "NORMAL_"], "Normal"),
            ("LUNG_t06", &["lung_t06", "LUNG_T06"], "LUNG_T06"),
            // Both are one letter away; one goes on where the name ends.
            ("epoch", &["epoca", "epochs"], "epochs"),
            ("epochs", &["epocha", "epoch"], "epoch"),
            ("P1", &["P2", "P10"], "P10"),
            // Far by letters, and its beginning.
            (
                "resol",
                &["n_comps", "resolution", "resolve_ties_by"],
                "resolution",
            ),
        ] {
            assert_eq!(
                did_you_mean(name, known.iter().copied()),
                Some(meant),
                "{name}"
            );
            let back = known.iter().rev().copied();
            assert_eq!(did_you_mean(name, back), Some(meant), "{name}");
        }
        // Two letters begin too many names.
        assert_eq!(did_you_mean("re", ["resolution"]), None);
        assert_eq!(did_you_mean("percentile", ["per", "needs"]), None);
    }
}
