//! What the command line changes: parameters, input paths, the selection of nodes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::workflow::{Positions, did_you_mean, scan};

/// `--set STAGE.PARAM=V`, or `--set seed=N`.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The stage; `seed` with an empty path for the workflow's seed.
    pub stage: String,
    /// Where it stands inside the stage's parameters.
    pub path: Vec<String>,
    /// The value.
    pub value: Value,
    /// How the scalars of the value are written.
    pub texts: Positions,
}

/// Changes to a workflow.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--set STAGE.PARAM=V`.
    pub set: Vec<Setting>,
    /// `--input NAME=PATH`.
    pub input: Vec<(String, PathBuf)>,
    /// `--only AXIS=A,B`: nodes of other values are not run.
    pub only: Vec<(String, BTreeSet<String>)>,
    /// `--until STAGE`: nothing after these stages is run.
    pub until: Vec<String>,
}

/// Reads `cluster.resolution=0.8`; the value is YAML. A key with a dot stands in quotes:
/// `ingest.groups."1.10"=[a, b]`.
///
/// # Errors
/// What was expected.
pub fn parse_set(text: &str) -> Result<Setting, String> {
    let expected = || format!("expected STAGE.PARAM=VALUE or seed=NUMBER, found `{text}`");
    let (mut path, value) = split_path(text).ok_or_else(expected)?;
    if let [name] = path.as_slice()
        && name != SEED
        && did_you_mean(name, [SEED]).is_some()
    {
        return Err(format!("{}; did you mean `{SEED}={value}`?", expected()));
    }
    if path == [SEED] && value.trim().parse::<u64>().is_err() {
        return Err(format!(
            "expected a whole number, 0 or more, as the seed, found `{value}`"
        ));
    }
    if path != [SEED] && path.len() < 2 || path.iter().any(String::is_empty) {
        return Err(expected());
    }
    let (value, texts) = scan(value).map_err(|problems| {
        let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        format!("`{text}`: {}", messages.join("; "))
    })?;
    Ok(Setting {
        stage: path.remove(0),
        path,
        value,
        texts,
    })
}

/// The setting that is about no stage.
const SEED: &str = "seed";

impl Setting {
    /// The workflow's seed, where it is that which is set.
    pub fn seed(&self) -> Option<u64> {
        (self.stage == SEED && self.path.is_empty())
            .then(|| self.value.as_u64())
            .flatten()
    }
}

impl Overrides {
    /// The seed in place of the workflow's.
    pub fn seed(&self) -> Option<u64> {
        self.set.iter().rev().find_map(Setting::seed)
    }
}

/// The parts of `a.b."c.d"=value` and the value.
fn split_path(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut parts, mut part, mut in_quotes) = (Vec::new(), String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(std::mem::take(&mut part)),
            '=' if !in_quotes => {
                parts.push(part);
                return Some((parts, &text[at + 1..]));
            }
            c => part.push(c),
        }
    }
    None
}

/// Reads `counts=PATH`.
///
/// # Errors
/// What was expected.
pub fn parse_input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_string(), PathBuf::from(path)))
        }
        _ => Err(format!("expected NAME=PATH, found `{text}`")),
    }
}

/// Reads `patient=P0006,P0008`.
///
/// # Errors
/// What was expected.
pub fn parse_only(text: &str) -> Result<(String, BTreeSet<String>), String> {
    match text.split_once('=') {
        Some((axis, values)) if !axis.is_empty() && !values.is_empty() => Ok((
            axis.to_string(),
            values.split(',').map(|v| v.trim().to_string()).collect(),
        )),
        _ => Err(format!("expected AXIS=VALUE,VALUE, found `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_yaml_and_paths_may_be_nested() {
        let set = |text: &str| {
            let s = parse_set(text).unwrap();
            (s.stage, s.path.join("/"), s.value)
        };
        let named = |stage: &str, path: &str, value| (stage.to_string(), path.to_string(), value);
        assert_eq!(
            set("cluster.resolution=0.8"),
            named("cluster", "resolution", json!(0.8))
        );
        assert_eq!(
            set("ingest.groups.P1=[a, b]"),
            named("ingest", "groups/P1", json!(["a", "b"]))
        );
        assert_eq!(
            set("ingest.groups.\"1.10\"=x"),
            named("ingest", "groups/1.10", json!("x"))
        );
        assert_eq!(set("ingest.layer="), named("ingest", "layer", Value::Null));
        let written = parse_set("infercnv.reference_cat=[1.10]").unwrap();
        assert_eq!(written.texts.text("/0"), Some("1.10"));
        assert!(parse_set("cluster.resolution=[1").is_err());
        assert_eq!(set("seed=7"), named("seed", "", json!(7)));
        assert_eq!(parse_set("seed=7").unwrap().seed(), Some(7));
        assert_eq!(parse_set("seed.x=7").unwrap().seed(), None);
        assert!(parse_set("seed=-1").unwrap_err().contains("found `-1`"));
        assert!(!parse_set("cluster=1").unwrap_err().contains("mean"));
        let slip = parse_set("sed=7").unwrap_err();
        assert!(slip.ends_with("did you mean `seed=7`?"), "{slip}");
        assert!(parse_set("cluster.resolution").is_err());
    }
}
