//! What the command line changes: parameters, input paths, the selection of nodes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

/// Changes to a workflow.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--set STAGE.PARAM=V`: stage, path inside its parameters, value.
    pub set: Vec<(String, Vec<String>, Value)>,
    /// `--input NAME=PATH`.
    pub input: Vec<(String, PathBuf)>,
    /// `--only AXIS=A,B`: nodes of other values are not run.
    pub only: Vec<(String, BTreeSet<String>)>,
    /// `--until STAGE`: nothing after these stages is run.
    pub until: Vec<String>,
}

/// Reads `cluster.resolution=0.8`; the value is YAML.
///
/// # Errors
/// What was expected.
pub fn parse_set(text: &str) -> Result<(String, Vec<String>, Value), String> {
    let expected = || format!("expected STAGE.PARAM=VALUE, found `{text}`");
    let (path, value) = text.split_once('=').ok_or_else(expected)?;
    let mut parts = path.split('.').map(str::to_string);
    let stage = parts
        .next()
        .filter(|s| !s.is_empty())
        .ok_or_else(expected)?;
    let rest: Vec<String> = parts.collect();
    if rest.is_empty() || rest.iter().any(String::is_empty) {
        return Err(expected());
    }
    let value = serde_yaml::from_str(value).map_err(|e| format!("`{text}`: {e}"))?;
    Ok((stage, rest, value))
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
        assert_eq!(
            parse_set("cluster.resolution=0.8").unwrap(),
            ("cluster".into(), vec!["resolution".into()], json!(0.8))
        );
        assert_eq!(
            parse_set("ingest.groups.P1=[a, b]").unwrap().2,
            json!(["a", "b"])
        );
        assert!(parse_set("cluster=1").is_err());
        assert!(parse_set("cluster.resolution").is_err());
    }
}
