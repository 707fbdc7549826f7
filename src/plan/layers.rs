//! The places that set parameters of a stage at a branch: its own `params`, axis values, `--set`.
//!
//! A later place stands above an earlier one. What none of a stage's branches reads is refused
//! ([`Unused`]), unless a place above the one that wrote it chose another method: then it was inherited.

use clcc_stages::params::Unread;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::Overrides;
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

/// The places of a stage at a branch, the least specific first.
pub(super) fn layers(
    workflow: &Workflow,
    name: &str,
    spec: &StageSpec,
    branch: &[(String, String)],
    overrides: &Overrides,
) -> Vec<Layer> {
    let of_file = |at: String, params: &Map<String, Value>| Layer {
        at: Some(at),
        path: Vec::new(),
        params: Value::Object(params.clone()),
    };
    let own = join(&join("/stages", name), "params");
    let mut out = vec![of_file(own, &spec.params)];
    for (axis, value) in branch {
        if let Some(params) = workflow.axes[axis].values[value].params.get(name) {
            let at = join(&join(&join("/axes", axis), value), name);
            out.push(of_file(at, params));
        }
    }
    for (_, path, value) in overrides.set.iter().filter(|(stage, ..)| stage == name) {
        let mut params = Map::new();
        set_path(&mut params, path, value);
        out.push(Layer {
            at: None,
            path: path.clone(),
            params: Value::Object(params),
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

/// Parameters that were written and that no branch reads, by place.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// None where a branch reads it after all, or inherited it.
    by_place: IndexMap<(String, String), Option<Problem>>,
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
            let mut leaves = Vec::new();
            leaves_of(&layer.params, "", &mut leaves);
            for leaf in leaves {
                let of_leaf = |u: &&Unread| covers(&u.pointer, &leaf);
                let place = layer.at.clone().unwrap_or_else(|| format!("--set {stage}"));
                let Some(unread) = unread.iter().find(of_leaf) else {
                    self.by_place.insert((place, leaf), None);
                    continue;
                };
                let above = &layers[i + 1..];
                let inherited = |tag: &String| above.iter().any(|l| l.sets(tag));
                let problem = if unread.tags.iter().any(inherited) {
                    None
                } else {
                    Some(self::unused(stage, layer, unread, positions))
                };
                let noted = self
                    .by_place
                    .entry((place, leaf))
                    .or_insert(problem.clone());
                if problem.is_none() {
                    *noted = None;
                }
            }
        }
    }

    /// One problem for each parameter that is of no use anywhere.
    pub(super) fn problems(self) -> Vec<Problem> {
        let mut out: Vec<Problem> = Vec::new();
        for problem in self.by_place.into_values().flatten() {
            if !out.contains(&problem) {
                out.push(problem);
            }
        }
        out
    }
}

fn unused(stage: &str, layer: &Layer, unread: &Unread, positions: &Positions) -> Problem {
    let label = unread.pointer.trim_start_matches('/').replace('/', ".");
    let message = format!("stage `{stage}`: parameter `{label}` is {}", unread.message);
    let place = layer.at.as_ref();
    let place = place.and_then(|at| positions.key(&format!("{at}{}", unread.pointer)));
    Problem::new(message).at(place).hint(unread.hint.clone())
}

/// Whether `pointer` is `above` or beneath it.
fn covers(above: &str, pointer: &str) -> bool {
    let rest = pointer.strip_prefix(above);
    rest.is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

/// Pointers of everything that is no mapping, or an empty one.
fn leaves_of(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves_of(value, &join(at, key), out);
            }
        }
        _ if at.is_empty() => {}
        _ => out.push(at.to_string()),
    }
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
