//! The places that set parameters of a stage at a branch: its own `params`, axis values, `--set`.
//!
//! A later place stands above an earlier one. A parameter that no branch of a stage reads is refused
//! ([`Unused`]), unless wherever it is not read a place above the one that wrote it chose another method:
//! then it was inherited.

use clcc_stages::params::Unread;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::Overrides;
use super::as_written::as_written;
use crate::workflow::{Place, Positions, Problem, StageSpec, Workflow, join};

/// What one place sets.
#[derive(Debug)]
pub(super) struct Layer {
    /// JSON pointer of the place in the workflow file; none for the command line.
    at: Option<String>,
    /// Path beneath the stage's parameters at which `value` replaces what was there; empty: merged.
    path: Vec<String>,
    /// What it sets, as a whole mapping of parameters.
    params: Value,
}

impl Layer {
    fn sets(&self, pointer: &str) -> bool {
        self.params.pointer(pointer).is_some()
    }
}

/// The places of a stage at a branch, the least specific first. Where `schema`, that of the kind, has text, a
/// number or a flag is the text that the place has.
pub(super) fn layers(
    workflow: &Workflow,
    schema: &Value,
    name: &str,
    spec: &StageSpec,
    branch: &[(String, String)],
    overrides: &Overrides,
) -> Vec<Layer> {
    let of_file = |at: String, params: &Map<String, Value>| {
        let text = |pointer: &str| workflow.positions.text(&format!("{at}{pointer}"));
        Layer {
            path: Vec::new(),
            params: Value::Object(as_written(schema, params, &text)),
            at: Some(at),
        }
    };
    let own = join(&join("/stages", name), "params");
    let mut out = vec![of_file(own, &spec.params)];
    for (axis, value) in branch {
        if let Some(params) = workflow.axes[axis].values[value].params.get(name) {
            let at = join(&join(&join("/axes", axis), value), name);
            out.push(of_file(at, params));
        }
    }
    for setting in overrides
        .set
        .iter()
        .filter(|s| s.stage == name && !s.path.is_empty())
    {
        let mut params = Map::new();
        set_path(&mut params, &setting.path, &setting.value);
        let at: String = setting.path.iter().map(|key| join("", key)).collect();
        let text = |pointer: &str| setting.texts.text(pointer.strip_prefix(&at)?);
        out.push(Layer {
            at: None,
            path: setting.path.clone(),
            params: Value::Object(as_written(schema, &params, &text)),
        });
    }
    out
}

/// What all places together set.
pub(super) fn merged(layers: &[Layer]) -> Map<String, Value> {
    let mut out = Map::new();
    for layer in layers {
        if layer.path.is_empty() {
            for (key, value) in layer.params.as_object().into_iter().flatten() {
                merge(&mut out, key, value);
            }
        } else {
            let at: String = layer.path.iter().map(|key| join("", key)).collect();
            let value = layer.params.pointer(&at).unwrap_or(&Value::Null);
            set_path(&mut out, &layer.path, value);
        }
    }
    out
}

/// Where in the file the parameter at `pointer` was set: its key, or its value. None where it was the
/// command line.
pub(super) fn place(
    layers: &[Layer],
    pointer: &str,
    key: bool,
    positions: &Positions,
) -> Option<Place> {
    // What is missing stands where what encloses it was set.
    let mut set = pointer;
    let layer = loop {
        match layers.iter().rev().find(|l| l.sets(set)) {
            Some(layer) if !set.is_empty() => break layer,
            _ => set = set.rsplit_once('/').map_or("", |(parent, _)| parent),
        }
        if set.is_empty() {
            break layers.first()?;
        }
    };
    let at = format!("{}{pointer}", layer.at.as_ref()?);
    match key {
        true => positions.key(&at),
        false => positions.value(&at),
    }
}

/// Parameters that were written and that no branch reads.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// By the place that wrote a parameter, and its pointer.
    written: IndexMap<(String, String), Use>,
}

/// What the branches of a stage make of a parameter.
#[derive(Debug, Default)]
struct Use {
    read: bool,
    /// Where it is not read and nothing above switched to another method: the innermost parameter that is
    /// not read, and the problem.
    idle: Option<(String, Problem)>,
}

impl Unused {
    /// Notes the parameters of a stage at a branch.
    pub(super) fn note(
        &mut self,
        stage: &str,
        layers: &[Layer],
        unread: &[Unread],
        positions: &Positions,
    ) {
        for (i, layer) in layers.iter().enumerate() {
            let place = layer.at.clone();
            let place = place.unwrap_or_else(|| format!("--set {stage}"));
            let above = &layers[i + 1..];
            for leaf in leaves(&layer.params) {
                let used = self.written.entry((place.clone(), leaf.clone()));
                let used = used.or_default();
                let Some(unread) = unread.iter().find(|u| covers(&u.pointer, &leaf)) else {
                    used.read = true;
                    continue;
                };
                let switched = |tag: &String| above.iter().any(|l| l.sets(tag));
                let inner = match &used.idle {
                    Some((before, _)) => before.len() < unread.pointer.len(),
                    None => true,
                };
                if inner && !unread.tags.iter().any(switched) {
                    let problem = unused(stage, layer, unread, positions);
                    used.idle = Some((unread.pointer.clone(), problem));
                }
            }
        }
    }

    /// One problem for each parameter that is of no use anywhere.
    pub(super) fn problems(self) -> Vec<Problem> {
        let mut out: Vec<Problem> = Vec::new();
        for used in self.written.into_values().filter(|u| !u.read) {
            if let Some((_, problem)) = used.idle.filter(|(_, p)| !out.contains(p)) {
                out.push(problem);
            }
        }
        out
    }
}

fn unused(stage: &str, layer: &Layer, unread: &Unread, positions: &Positions) -> Problem {
    let label = label(&unread.pointer);
    let message = format!("stage `{stage}`: parameter `{label}` is {}", unread.message);
    let place = layer.at.as_ref();
    let place = place.and_then(|at| positions.key(&format!("{at}{}", unread.pointer)));
    Problem::new(message).at(place).hint(unread.hint.clone())
}

/// `/hmm/k_nn` as messages have it: `hmm.k_nn`.
pub(super) fn label(pointer: &str) -> String {
    let dotted = pointer.trim_start_matches('/').replace('/', ".");
    dotted.replace("~1", "/").replace("~0", "~")
}

/// Whether `pointer` is `above` or beneath it.
fn covers(above: &str, pointer: &str) -> bool {
    let rest = pointer.strip_prefix(above);
    rest.is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

/// Pointers of everything that is no mapping, or an empty one.
fn leaves(params: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![(String::new(), params)];
    while let Some((at, value)) = open.pop() {
        match value {
            Value::Object(map) if !map.is_empty() => {
                open.extend(map.iter().rev().map(|(key, value)| (join(&at, key), value)));
            }
            _ if at.is_empty() => {}
            _ => out.push(at),
        }
    }
    out
}

/// Mappings are merged key by key, everything else is replaced.
fn merge(into: &mut Map<String, Value>, key: &str, value: &Value) {
    match (into.get_mut(key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (k, v) in new {
                merge(old, k, v);
            }
        }
        _ => {
            into.insert(key.to_string(), value.clone());
        }
    }
}

fn set_path(map: &mut Map<String, Value>, path: &[String], value: &Value) {
    match path {
        [] => {}
        [last] => {
            map.insert(last.clone(), value.clone());
        }
        [first, rest @ ..] => {
            let slot = map
                .entry(first.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            set_path(
                slot.as_object_mut().expect("made an object above"),
                rest,
                value,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Plan;
    use super::*;

    /// A workflow of one stage `train` and one axis; the problems of it, with line and message.
    fn problems(axis: &str, params: &str, set: &[(&str, Value)]) -> Vec<String> {
        let text = format!(
            "version: 1\naxes:\n  method: {axis}\nstages:\n  train:\n    per: method\n    params: {params}\n"
        );
        let workflow = Workflow::parse(Path::new("w.yaml"), text.as_bytes()).unwrap();
        let set = set.iter().map(|(path, value)| {
            super::super::parse_set(&format!("train.{path}={value}")).unwrap()
        });
        let overrides = Overrides {
            set: set.collect(),
            ..Overrides::default()
        };
        let invalid = Plan::new(&workflow, &overrides).unwrap_err();
        let of_params = |p: &&Problem| p.message.contains("parameter");
        let said = |p: &Problem| format!("{} {}", p.place.map_or(0, |p| p.line), p.message);
        invalid
            .problems
            .iter()
            .filter(of_params)
            .map(said)
            .collect()
    }

    const ONE: &str = "{a: {}}";
    const TWO: &str = "{a: {}, b: {train: {objective: anchors}}}";

    #[test]
    fn what_is_written_beside_another_method_is_refused() {
        assert_eq!(
            problems(ONE, "{objective: anchors, lambda: 2}", &[]),
            ["7 stage `train`: parameter `lambda` is not read with `objective: anchors`"]
        );
        assert_eq!(
            problems("{a: {train: {objective: anchors, lambda: 2}}}", "{}", &[]),
            ["3 stage `train`: parameter `lambda` is not read with `objective: anchors`"]
        );
        // And where the method is a default, and where it stands beneath.
        assert_eq!(
            problems(ONE, "{anchors: {top_k: 3}}", &[]),
            [
                "7 stage `train`: parameter `anchors` is not read with `objective: clcc` (the default)"
            ]
        );
        assert_eq!(
            problems(ONE, "{objective: anchors}", &[("lambda", 2.into())]),
            ["0 stage `train`: parameter `lambda` is not read with `objective: anchors`"]
        );
    }

    #[test]
    fn what_is_inherited_from_beneath_the_switch_is_left_out() {
        let none: [&str; 0] = [];
        assert_eq!(
            problems("{b: {train: {objective: anchors}}}", "{lambda: 2}", &[]),
            none
        );
        assert_eq!(
            problems(ONE, "{lambda: 2}", &[("objective", "anchors".into())]),
            none
        );
    }

    #[test]
    fn what_one_branch_reads_may_stand_in_the_stage() {
        let none: [&str; 0] = [];
        assert_eq!(problems(TWO, "{lambda: 2, anchors: {top_k: 3}}", &[]), none);
        // What none of them reads may not, and is told by what keeps it from being read at the last.
        assert_eq!(
            problems(
                TWO,
                "{anchors: {centroid_weight: 0, centroid_space: h}}",
                &[]
            ),
            [
                "7 stage `train`: parameter `anchors.centroid_space` is not read with `anchors.centroid_weight: 0`"
            ]
        );
        assert_eq!(
            problems(
                "{a: {}, b: {train: {lambda: 0}}}",
                "{anchors: {top_k: 3}}",
                &[]
            ),
            [
                "7 stage `train`: parameter `anchors` is not read with `objective: clcc` (the default)"
            ]
        );
    }

    #[test]
    fn a_problem_stands_where_the_value_was_set() {
        assert_eq!(
            problems(
                "{a: {train: {anchors: {top_k: 0}}}}",
                "{objective: anchors, anchors: {z_dim: x}}",
                &[]
            ),
            [
                "3 stage `train`: parameter `anchors.top_k`: expected at least 1, found `0`",
                "7 stage `train`: parameter `anchors.z_dim`: expected a whole number, found the text `x`",
            ]
        );
        // A mapping is merged, and with `--set` replaced.
        assert_eq!(
            problems(
                "{a: {train: {anchors: {top_k: 0}}}}",
                "{objective: anchors}",
                &[("anchors", serde_json::json!({"z_dim": 0}))]
            ),
            ["0 stage `train`: parameter `anchors.z_dim`: expected at least 2, found `0`"]
        );
    }
}
