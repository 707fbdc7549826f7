//! From YAML values to a [`Workflow`]: names, types and shapes, every problem with its place.

use std::path::{Path, PathBuf};

use clcc_stages::ingest::SHEET;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};

use super::positions::{Positions, join};
use super::problem::{Place, Problem, unknown};
use super::{Axis, AxisValue, InputSpec, Resources, StageSpec, Workflow, parse_bytes};

const TOP: &[&str] = &["version", "name", "seed", "axes", "inputs", "stages"];
const INPUT: &[&str] = &[
    "path", "sheet", "builtin", "format", "url", "digest", "about",
];
const STAGE: &[&str] = &[
    "kind",
    "per",
    "keyed_by",
    "needs",
    "inputs",
    "params",
    "join",
    "resources",
];
const JOIN: &[&str] = &["min"];
const RESOURCES: &[&str] = &["memory", "timeout_secs", "cores"];

/// Values of an axis; a node is made for each.
const MAX_AXIS_VALUES: usize = 50_000;

/// The format version this program reads.
const VERSION: u64 = 1;

pub(super) fn workflow(
    file: &Path,
    value: &Value,
    positions: Positions,
) -> Result<Workflow, Vec<Problem>> {
    let mut c = Checker {
        positions: &positions,
        problems: Vec::new(),
    };
    let empty = Map::new();
    let top = match value {
        Value::Object(m) => m,
        Value::Null => {
            let message = "expected a workflow (`version`, `stages`, ...), found an empty file";
            let start = Place { line: 1, column: 1 };
            return Err(vec![Problem::new(message).at(start)]);
        }
        other => {
            c.expected("", "a mapping", other);
            &empty
        }
    };
    c.known_keys("", top, TOP, "key");
    c.version(top);
    let stem = file.file_stem().map_or_else(
        || "workflow".to_string(),
        |s| s.to_string_lossy().into_owned(),
    );
    let name = c.string(top, "", "name").unwrap_or(stem);
    if !is_name(&name) {
        c.problem_at("/name", Problem::new(name_message("workflow name", &name)));
    }
    let seed = c.seed(top, "").unwrap_or(0);
    let axes = c.axes(top);
    let inputs = c.inputs(top);
    let stages = c.stages(top);
    if stages.is_empty() && c.problems.is_empty() {
        c.problem_at("", Problem::new("`stages` is missing or empty"));
    }
    let problems = c.problems;
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Workflow {
        file: file.to_path_buf(),
        name,
        seed,
        axes,
        inputs,
        stages,
        positions,
    })
}

/// Names become parts of paths: `^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn name_message(what: &str, name: &str) -> String {
    format!(
        "{what} `{name}`: expected a letter or digit, then at most 63 letters, digits, `_`, `.` or `-`"
    )
}

struct Checker<'a> {
    positions: &'a Positions,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn version(&mut self, top: &Map<String, Value>) {
        match top.get("version").map(|v| v.as_u64()) {
            Some(Some(VERSION)) => {}
            Some(_) => self.problem_at(
                "/version",
                Problem::new(format!(
                    "expected `version: {VERSION}`, found `{}`",
                    top["version"]
                )),
            ),
            None => self.problem_at(
                "",
                Problem::new("`version` is missing")
                    .hint(format!("add `version: {VERSION}` at the top")),
            ),
        }
    }

    fn problem_at(&mut self, pointer: &str, problem: Problem) {
        let start = Place { line: 1, column: 1 };
        let place = self.positions.value(pointer).unwrap_or(start);
        self.problems.push(problem.at(place));
    }

    fn expected(&mut self, pointer: &str, what: &str, found: &Value) {
        self.problem_at(pointer, Problem::expected(what, found));
    }

    fn known_keys(&mut self, pointer: &str, map: &Map<String, Value>, known: &[&str], what: &str) {
        for key in map.keys().filter(|k| !known.contains(&k.as_str())) {
            let place = self.positions.key(&join(pointer, key));
            self.problems.push(unknown(what, key, known).at(place));
        }
    }

    fn name_ok(&mut self, pointer: &str, what: &str, name: &str) {
        if !is_name(name) {
            let place = self.positions.key(pointer);
            self.problems
                .push(Problem::new(name_message(what, name)).at(place));
        }
    }

    fn string(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Option<String> {
        let at = join(pointer, key);
        match map.get(key)? {
            Value::Null => None,
            value => {
                let text = self.text(&at, value);
                if text.is_none() {
                    self.expected(&at, "text", value);
                }
                text
            }
        }
    }

    /// A scalar where text is expected, as it is written: `name: 10`, an axis value `1.10`.
    fn text(&self, pointer: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(s) => Some(s.clone()),
            _ => self.positions.text(pointer).map(str::to_string),
        }
    }

    fn seed(&mut self, map: &Map<String, Value>, pointer: &str) -> Option<u64> {
        let value = map.get("seed")?;
        if value.as_u64().is_none() {
            self.expected(&join(pointer, "seed"), "a whole number, 0 or more", value);
        }
        value.as_u64()
    }

    fn mapping<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        pointer: &str,
        key: &str,
    ) -> Option<&'v Map<String, Value>> {
        match map.get(key)? {
            Value::Object(m) => Some(m),
            Value::Null => None,
            other => {
                self.expected(&join(pointer, key), "a mapping", other);
                None
            }
        }
    }

    /// A list of names; a single name stands for a list of one.
    fn names(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Vec<String> {
        let at = join(pointer, key);
        let Some(value) = map.get(key) else {
            return Vec::new();
        };
        let items: Vec<&Value> = match value {
            Value::Null => Vec::new(),
            Value::Array(a) => a.iter().collect(),
            scalar => vec![scalar],
        };
        let mut out: IndexSet<String> = IndexSet::new();
        for (i, item) in items.iter().enumerate() {
            let at = if value.is_array() {
                join(&at, &i.to_string())
            } else {
                at.clone()
            };
            match self.text(&at, item) {
                Some(name) if out.contains(&name) => {
                    self.problem_at(&at, Problem::new(format!("`{name}` is listed twice")))
                }
                Some(name) => {
                    out.insert(name);
                }
                None => self.expected(&at, "a name", item),
            }
        }
        out.into_iter().collect()
    }

    fn axes(&mut self, top: &Map<String, Value>) -> IndexMap<String, Axis> {
        let mut axes = IndexMap::new();
        let Some(map) = self.mapping(top, "", "axes") else {
            return axes;
        };
        for (name, value) in map {
            let at = join("/axes", name);
            self.name_ok(&at, "axis", name);
            let n = value
                .as_array()
                .map_or(0, Vec::len)
                .max(value.as_object().map_or(0, Map::len));
            if n > MAX_AXIS_VALUES {
                let message =
                    format!("axis `{name}`: expected at most {MAX_AXIS_VALUES} values, found {n}");
                self.problem_at(&at, Problem::new(message));
                continue;
            }
            let axis = match value {
                Value::Object(values) => self.axis_with_overrides(&at, values),
                _ => Axis {
                    values: self
                        .names(map, "/axes", name)
                        .into_iter()
                        .map(|v| (v, AxisValue::default()))
                        .collect(),
                },
            };
            for value in axis.values.keys() {
                if !is_name(value) {
                    self.problem_at(&at, Problem::new(name_message("axis value", value)));
                }
            }
            if axis.values.is_empty() {
                self.problem_at(&at, Problem::new(format!("axis `{name}` has no values")));
            }
            axes.insert(name.clone(), axis);
        }
        axes
    }

    fn axis_with_overrides(&mut self, at: &str, values: &Map<String, Value>) -> Axis {
        let mut axis = Axis::default();
        for (value, overrides) in values {
            let at = join(at, value);
            let mut out = AxisValue::default();
            match overrides {
                Value::Null => {}
                Value::Object(stages) => {
                    out.seed = self.seed(stages, &at);
                    for (stage, params) in stages.iter().filter(|(s, _)| s.as_str() != "seed") {
                        match params {
                            Value::Object(p) => {
                                out.params.insert(stage.clone(), p.clone());
                            }
                            other => {
                                self.expected(&join(&at, stage), "a mapping of parameters", other)
                            }
                        }
                    }
                }
                other => self.expected(&at, "a mapping of stages to parameters", other),
            }
            axis.values.insert(value.clone(), out);
        }
        axis
    }

    fn inputs(&mut self, top: &Map<String, Value>) -> IndexMap<String, InputSpec> {
        let mut inputs = IndexMap::new();
        let Some(map) = self.mapping(top, "", "inputs") else {
            return inputs;
        };
        for (name, value) in map {
            let at = join("/inputs", name);
            self.name_ok(&at, "input", name);
            let Value::Object(m) = value else {
                self.expected(&at, "a mapping such as `{path: data/counts.h5ad}`", value);
                continue;
            };
            self.known_keys(&at, m, INPUT, "key");
            let mut spec = InputSpec {
                path: self.string(m, &at, "path").map(PathBuf::from),
                builtin: self.string(m, &at, "builtin"),
                format: self.string(m, &at, "format"),
                url: self.string(m, &at, "url"),
                digest: self.string(m, &at, "digest"),
                about: self.string(m, &at, "about"),
                ..InputSpec::default()
            };
            let sheet = self.string(m, &at, "sheet").map(PathBuf::from);
            let given = [spec.path.is_some(), spec.builtin.is_some(), sheet.is_some()];
            if given.into_iter().filter(|g| *g).count() != 1 {
                self.problem_at(
                    &at,
                    Problem::new(format!(
                        "input `{name}`: expected one of `path`, `sheet` and `builtin`"
                    )),
                );
            }
            if sheet.is_some() {
                let unused = ["format", "url", "digest"];
                for key in unused.into_iter().filter(|k| m.contains_key(*k)) {
                    let problem =
                        Problem::new(format!("`{key}` is not read together with `sheet`"));
                    self.problem_at(
                        &join(&at, key),
                        problem
                            .hint("the column `format` of the sheet states how a file is laid out"),
                    );
                }
                spec.path = sheet;
                spec.format = Some(SHEET.to_string());
            }
            self.source_ok(&at, &spec);
            inputs.insert(name.clone(), spec);
        }
        inputs
    }

    /// Where an input is downloaded from must be a place that can be asked, and its digest one.
    fn source_ok(&mut self, at: &str, spec: &InputSpec) {
        let named = spec.path.as_deref().and_then(std::path::Path::to_str);
        if let Some(path) = named.filter(|p| crate::fetch::can_be_fetched(p)) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let message = format!("expected a path on this machine, found the address `{path}`");
            let hint = format!("`{{path: data/{name}, url: {path}}}` downloads it");
            self.problem_at(&join(at, "path"), Problem::new(message).hint(hint));
        }
        if let Some(url) = &spec.url
            && !crate::fetch::can_be_fetched(url)
        {
            let schemes = crate::fetch::SCHEMES;
            let message = format!("expected a url with {schemes}, found `{url}`");
            self.problem_at(&join(at, "url"), Problem::new(message));
        }
        let Some(digest) = &spec.digest else { return };
        if let Err(e) = digest.parse::<crate::fetch::Expected>() {
            self.problem_at(&join(at, "digest"), Problem::new(e.to_string()));
        }
        if spec.url.is_none() {
            let message = "a `digest` is checked on download: expected a `url` next to it";
            self.problem_at(&join(at, "digest"), Problem::new(message));
        }
    }

    fn stages(&mut self, top: &Map<String, Value>) -> IndexMap<String, StageSpec> {
        let mut stages = IndexMap::new();
        let Some(map) = self.mapping(top, "", "stages") else {
            return stages;
        };
        for (name, value) in map {
            let at = join("/stages", name);
            self.name_ok(&at, "stage", name);
            let empty = Map::new();
            let m = match value {
                Value::Object(m) => m,
                Value::Null => &empty,
                other => {
                    self.expected(&at, "a mapping", other);
                    continue;
                }
            };
            self.known_keys(&at, m, STAGE, "key");
            let spec = StageSpec {
                kind: self.string(m, &at, "kind").unwrap_or_else(|| name.clone()),
                per: self.names(m, &at, "per"),
                keyed_by: self.string(m, &at, "keyed_by"),
                needs: self.names(m, &at, "needs"),
                inputs: self.stage_inputs(m, &at),
                params: self.mapping(m, &at, "params").cloned().unwrap_or_default(),
                join_min: self.join_min(m, &at),
                resources: self.resources(m, &at),
            };
            stages.insert(name.clone(), spec);
        }
        stages
    }

    fn join_min(&mut self, stage: &Map<String, Value>, pointer: &str) -> Option<usize> {
        let at = join(pointer, "join");
        let map = self.mapping(stage, pointer, "join")?;
        self.known_keys(&at, map, JOIN, "key");
        if !map.contains_key("min") {
            self.problem_at(
                &at,
                Problem::new("`join` says nothing").hint("write `join: {min: N}`"),
            );
        }
        self.count(map, &at, "min")
    }

    fn resources(&mut self, stage: &Map<String, Value>, pointer: &str) -> Resources {
        let at = join(pointer, "resources");
        let Some(map) = self.mapping(stage, pointer, "resources") else {
            return Resources::default();
        };
        self.known_keys(&at, map, RESOURCES, "key");
        let memory = self.string(map, &at, "memory");
        let memory = memory.and_then(|text| match parse_bytes(&text) {
            Ok(bytes) => Some(bytes),
            Err(message) => {
                self.problem_at(&join(&at, "memory"), Problem::new(message));
                None
            }
        });
        Resources {
            memory,
            timeout_secs: self.count(map, &at, "timeout_secs").map(|n| n as u64),
            cores: self.count(map, &at, "cores"),
        }
    }

    /// A whole number, 1 or more.
    fn count(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Option<usize> {
        let value = map.get(key)?;
        let count = value.as_u64().filter(|n| *n > 0).map(|n| n as usize);
        if count.is_none() {
            self.expected(&join(pointer, key), "a whole number, 1 or more", value);
        }
        count
    }

    /// `[counts, genes]`, or `{counts: my_counts}` where the role's name is not the input's.
    fn stage_inputs(
        &mut self,
        map: &Map<String, Value>,
        pointer: &str,
    ) -> IndexMap<String, String> {
        match map.get("inputs") {
            Some(Value::Object(m)) => m
                .iter()
                .filter_map(|(role, input)| {
                    let at = join(&join(pointer, "inputs"), role);
                    let name = self.text(&at, input);
                    if name.is_none() {
                        self.expected(&at, "the name of an input", input);
                    }
                    Some((role.clone(), name?))
                })
                .collect(),
            _ => self
                .names(map, pointer, "inputs")
                .into_iter()
                .map(|n| (n.clone(), n))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Workflow, Vec<String>> {
        Workflow::parse(Path::new("w.yaml"), text.as_bytes()).map_err(|e| {
            e.problems
                .iter()
                .map(|p| {
                    format!(
                        "{}:{} {}",
                        p.place.map_or(0, |p| p.line),
                        p.place.map_or(0, |p| p.column),
                        p.message
                    )
                })
                .collect()
        })
    }

    #[test]
    fn a_workflow_reads_with_its_axes_inputs_and_overrides() {
        let w = parse(
            "version: 1\nseed: 7\naxes:\n  patient: [P1, 11]\n  ablation: {full: {}, none: {seed: 3, train: {lambda: 0}}}\n\
             inputs:\n  counts: {path: a.h5ad}\nstages:\n  ingest: {inputs: [counts]}\n  t: {kind: train, per: patient, needs: ingest}\n",
        )
        .unwrap();
        assert_eq!(w.name, "w");
        assert_eq!(
            w.axes["patient"].values.keys().collect::<Vec<_>>(),
            ["P1", "11"]
        );
        assert_eq!(
            w.axes["ablation"].values["none"].params["train"]["lambda"],
            0
        );
        assert_eq!(w.axes["ablation"].values["none"].seed, Some(3));
        assert_eq!(w.stages["t"].kind, "train");
        assert_eq!(w.stages["t"].needs, ["ingest"]);
        assert_eq!(w.stages["ingest"].inputs["counts"], "counts");
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let problems = parse(
            "version: 2\nsede: 1\naxes: {patient: [P1, ../x]}\ninputs:\n  counts: {pth: a}\nstages:\n  a: {neds: [b]}\n  b: 3\n",
        )
        .unwrap_err();
        let text = problems.join("\n");
        for expected in [
            "1:10 expected `version: 1`, found `2`",
            "2:1 unknown key `sede`",
            "axis value `../x`",
            "5:12 unknown key `pth`",
            "expected one of `path`, `sheet` and `builtin`",
            "7:7 unknown key `neds`",
            "8:6 expected a mapping, found `3`",
        ] {
            assert!(text.contains(expected), "{expected}\nnot in\n{text}");
        }
    }
}
