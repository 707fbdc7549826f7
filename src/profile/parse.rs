//! From the values of a profile to a [`Profile`]: every problem with its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clcc_cache::remote::{Address, RemoteMode};
use serde_json::{Map, Value};

use super::{CommandState, Commands, EXECUTORS, ExecutorKind, Profile, words};
use crate::workflow::{Place, Positions, Problem, join, unknown};

pub(super) const TOP: [&str; 19] = [
    "version",
    "executor",
    "partition",
    "account",
    "qos",
    "constraint",
    "options",
    "gpu",
    "jobs",
    "cores",
    "local",
    "time",
    "pack",
    "beat",
    "lost_after",
    "poll",
    "remote",
    "remote_mode",
    "command",
];
const MODES: [(&str, RemoteMode); 2] = [("read", RemoteMode::Read), ("write", RemoteMode::Write)];
pub(super) const LOCAL: [&str; 2] = ["under", "cores"];
pub(super) const COMMAND: [&str; 6] =
    ["submit", "submit_id", "poll", "columns", "states", "cancel"];
const STATES: [(&str, CommandState); 3] = [
    ("pending", CommandState::Pending),
    ("running", CommandState::Running),
    ("ended", CommandState::Ended),
];
/// Keys whose value is an option of `sbatch`.
const SLURM: [&str; 4] = ["partition", "account", "qos", "constraint"];

pub(super) fn profile(
    file: &Path,
    value: &Value,
    positions: &Positions,
) -> Result<Profile, Vec<Problem>> {
    let mut c = Checker {
        positions,
        problems: Vec::new(),
    };
    let empty = Map::new();
    let top = match value {
        Value::Object(map) => map,
        other => {
            c.expected("", "a mapping (`version`, `executor`, ...)", other);
            &empty
        }
    };
    c.known_keys("", top, &TOP);
    if top.get("version").and_then(Value::as_u64) != Some(1) {
        let problem = Problem::new("expected `version: 1`");
        c.problem("/version", problem);
    }
    let mut p = Profile {
        file: Some(file.to_path_buf()),
        ..Profile::default()
    };
    set(&mut p.executor, c.executor(top));
    p.options = c.options(top);
    set(&mut p.gpu, c.text(top, "", "gpu"));
    set(&mut p.jobs, c.count(top, "", "jobs"));
    set(&mut p.cores, c.count(top, "", "cores"));
    for (key, to) in [
        ("time", &mut p.time),
        ("pack", &mut p.pack),
        ("beat", &mut p.beat),
        ("lost_after", &mut p.lost_after),
        ("poll", &mut p.poll),
    ] {
        set(to, c.time(top, "", key));
    }
    if let Some(local) = c.mapping(top, "", "local") {
        c.known_keys("/local", local, &LOCAL);
        set(&mut p.local_under, c.time(local, "/local", "under"));
        p.local_cores = c.count(local, "/local", "cores");
    }
    p.remote = c.remote(top);
    p.remote_mode = c.remote_mode(top, p.remote.as_ref());
    p.command = c.commands(top);
    if p.executor == ExecutorKind::Command && !top.contains_key("command") {
        let problem = Problem::new("`command` is missing, which `executor: command` needs")
            .hint("docs/cluster.md has one for PBS, LSF, SGE and HyperQueue");
        c.problem("/executor", problem);
    }
    match c.problems.is_empty() {
        true => Ok(p),
        false => Err(c.problems),
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

struct Checker<'a> {
    positions: &'a Positions,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Options of sbatch: those with a key of their own, and `options`.
    fn options(&mut self, top: &Map<String, Value>) -> Vec<String> {
        let named = SLURM.map(|key| Some(format!("--{key}={}", self.text(top, "", key)?)));
        let mut out: Vec<String> = named.into_iter().flatten().collect();
        out.extend(self.texts(top, "", "options"));
        out
    }

    fn problem(&mut self, pointer: &str, problem: Problem) {
        let start = Place { line: 1, column: 1 };
        let place = self.positions.value(pointer).unwrap_or(start);
        self.problems.push(problem.at(place));
    }

    fn expected(&mut self, pointer: &str, what: &str, found: &Value) {
        self.problem(pointer, Problem::expected(what, found));
    }

    fn executor(&mut self, top: &Map<String, Value>) -> Option<ExecutorKind> {
        let name = self.text(top, "", "executor")?;
        let kind = EXECUTORS.iter().find(|(known, _)| *known == name);
        if kind.is_none() {
            let known = EXECUTORS.map(|(name, _)| name);
            self.problem("/executor", unknown("executor", &name, &known));
        }
        kind.map(|(_, kind)| *kind)
    }

    fn remote(&mut self, top: &Map<String, Value>) -> Option<Address> {
        let text = self.text(top, "", "remote")?;
        match text.parse::<Address>() {
            Ok(address) => Some(address),
            Err(e) => {
                self.problem("/remote", Problem::new(e.to_string()));
                None
            }
        }
    }

    fn remote_mode(
        &mut self,
        top: &Map<String, Value>,
        remote: Option<&Address>,
    ) -> Option<RemoteMode> {
        let name = self.text(top, "", "remote_mode")?;
        let Some((_, mode)) = MODES.iter().find(|(known, _)| *known == name) else {
            let known = MODES.map(|(name, _)| name);
            self.problem("/remote_mode", unknown("mode", &name, &known));
            return None;
        };
        if let Some(remote) = remote
            && *mode == RemoteMode::Write
            && !remote.can_be_written()
        {
            let message = format!("`{remote}` can only be read");
            self.problem("/remote_mode", Problem::new(message));
        }
        Some(*mode)
    }

    fn known_keys(&mut self, pointer: &str, map: &Map<String, Value>, known: &[&str]) {
        for key in map.keys().filter(|k| !known.contains(&k.as_str())) {
            let place = self.positions.key(&join(pointer, key));
            self.problems.push(unknown("key", key, known).at(place));
        }
    }

    /// A scalar as it is written.
    fn scalar(&self, pointer: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            _ => self.positions.text(pointer).map(str::to_string),
        }
    }

    fn text(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Option<String> {
        let (at, value) = (join(pointer, key), map.get(key)?);
        let text = self.scalar(&at, value);
        if text.is_none() {
            self.expected(&at, "text", value);
        }
        text
    }

    /// A list of texts; one stands for a list of one.
    fn texts(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Vec<String> {
        let at = join(pointer, key);
        match map.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let mut texts = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    let at = join(&at, &i.to_string());
                    match self.scalar(&at, item) {
                        Some(text) => texts.push(text),
                        None => self.expected(&at, "text", item),
                    }
                }
                texts
            }
            Some(Value::String(text)) => vec![text.clone()],
            Some(other) => {
                self.expected(&at, "a list of texts", other);
                Vec::new()
            }
        }
    }

    fn count(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Option<usize> {
        let value = map.get(key)?;
        let count = value
            .as_u64()
            .filter(|n| *n > 0)
            .and_then(|n| n.try_into().ok());
        if count.is_none() {
            self.expected(&join(pointer, key), "a whole number, 1 or more", value);
        }
        count
    }

    fn time(&mut self, map: &Map<String, Value>, pointer: &str, key: &str) -> Option<Duration> {
        let (at, value) = (join(pointer, key), map.get(key)?);
        let text = self.scalar(&at, value);
        let time = text.and_then(|text| match text.parse::<u64>() {
            Ok(secs) => Some(Duration::from_secs(secs)),
            Err(_) => humantime::parse_duration(&text).ok(),
        });
        if time.is_none() {
            self.expected(&at, "a time such as `30s` or `4h`", value);
        }
        time
    }

    fn mapping<'v>(
        &mut self,
        map: &'v Map<String, Value>,
        pointer: &str,
        key: &str,
    ) -> Option<&'v Map<String, Value>> {
        match map.get(key)? {
            Value::Object(map) => Some(map),
            other => {
                self.expected(&join(pointer, key), "a mapping", other);
                None
            }
        }
    }

    fn commands(&mut self, top: &Map<String, Value>) -> Option<Commands> {
        let map = self.mapping(top, "", "command")?;
        self.known_keys("/command", map, &COMMAND);
        let submit = self.template(map, "submit", "{script}");
        let poll = self.template(map, "poll", "");
        let cancel = self.template(map, "cancel", "{job");
        let states = self.states(map);
        Some(Commands {
            submit,
            submit_id: self.count(map, "/command", "submit_id"),
            poll,
            columns: self.columns(map),
            states,
            cancel,
        })
    }

    fn missing(&mut self, key: &str) {
        self.problem("/command", Problem::new(format!("`{key}` is missing")));
    }

    /// The words of a command, one of which holds `must`.
    fn template(&mut self, map: &Map<String, Value>, key: &str, must: &str) -> Vec<String> {
        if !map.contains_key(key) {
            self.missing(key);
            return Vec::new();
        }
        let at = join("/command", key);
        let Some(text) = self.text(map, "/command", key) else {
            return Vec::new();
        };
        if !text.contains(must) {
            let must = format!("{}}}", must.trim_end_matches('}'));
            let message = format!("expected `{must}` in `{text}`");
            self.problem(&at, Problem::new(message));
        }
        match words(&text) {
            Some(words) if !words.is_empty() => words,
            Some(_) => {
                self.problem(&at, Problem::new("expected a command, found nothing"));
                Vec::new()
            }
            None => {
                let message =
                    format!("expected a command, found a quote that is not closed in `{text}`");
                self.problem(&at, Problem::new(message));
                Vec::new()
            }
        }
    }

    fn columns(&mut self, map: &Map<String, Value>) -> (usize, usize) {
        let Some(value) = map.get("columns") else {
            return (1, 2);
        };
        let column = |i: usize| value.get(i)?.as_u64().filter(|n| *n > 0)?.try_into().ok();
        match (column(0), column(1), value.as_array().map(Vec::len)) {
            (Some(id), Some(state), Some(2)) => (id, state),
            _ => {
                let what = "the columns of id and state, counted from 1, as `[1, 5]`";
                self.expected("/command/columns", what, value);
                (1, 2)
            }
        }
    }

    fn states(&mut self, map: &Map<String, Value>) -> BTreeMap<String, CommandState> {
        let mut states = BTreeMap::new();
        if !map.contains_key("states") {
            self.missing("states");
            return states;
        }
        let at = "/command/states";
        let Some(map) = self.mapping(map, "/command", "states") else {
            return states;
        };
        let known: Vec<&str> = STATES.iter().map(|(name, _)| *name).collect();
        self.known_keys(at, map, &known);
        for (key, state) in STATES {
            let words = self.texts(map, at, key);
            states.extend(words.into_iter().map(|word| (word, state)));
        }
        states
    }
}
