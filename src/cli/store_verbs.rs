//! `status`, `log`, `verify`.

use std::path::{Path, PathBuf};

use clcc_cache::{Store, read_plain, read_plain_linked};
use serde_json::{Value, json};

use super::args::{CacheArgs, Format};
use super::error::{CliError, exit};
use super::terminal::skipped_text;
use crate::decide::Reason;
use crate::events::Event;
use crate::schedule::SkipReason;
use crate::text::{hint_lines, shown};

pub(super) fn open(args: &CacheArgs) -> Result<Store, CliError> {
    if !args.cache.is_dir() {
        return Err(CliError::new(
            exit::USAGE,
            format!("there is no cache at `{}`", args.cache.display()),
        )
        .hint("run a workflow first, or give --cache DIR"));
    }
    super::session::open_cache(&args.cache).map(|(store, _)| store)
}

/// Run directories, newest first.
pub(super) fn runs(store: &Store) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(store.root().join("runs"))
        .map(|entries| {
            entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| std::fs::symlink_metadata(p).is_ok_and(|m| m.is_dir()))
                .collect()
        })
        .unwrap_or_default();
    dirs.sort();
    dirs.reverse();
    dirs
}

pub(super) fn read_run(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&read_plain_linked(&dir.join("run.json")).ok()?).ok()
}

/// What a run left in a file of the cache, as far as it is there.
fn read_text(path: &Path) -> String {
    let bytes = read_plain(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_string()
}

/// The workflow that a run was of.
pub(super) fn workflow_of(run: &Value) -> String {
    text(&run["workflow"]["name"])
}

pub(super) fn status(args: &CacheArgs, format: Format) -> Result<i32, CliError> {
    let runs = last_runs(&open(args)?);
    if format == Format::Json {
        super::out::json(&Value::from(runs));
        return Ok(exit::OK);
    }
    for run in &runs {
        let name = text(&run["run"]);
        let ended = format!("{} of {} nodes", run["ended"], run["nodes"]);
        match run["state"].as_str() {
            Some("running") => {
                let now = run["now"].as_array().into_iter().flatten().map(text);
                let now = now.collect::<Vec<_>>().join(", ");
                say!("{name}  runs: {ended}, now {now}");
            }
            Some("killed") => say!("{name}  was killed after {ended}"),
            Some("unknown") => say!("{name}  goes on or was killed: {ended} so far"),
            _ => print_ended(run, &name),
        }
    }
    if runs.iter().all(|r| r["state"] != "ended") {
        say!("no run has ended in this cache");
    }
    Ok(exit::OK)
}

fn print_ended(run: &Value, name: &str) {
    let s = &run["summary"];
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let skipped = skipped_text(count(&s["skipped"]), count(&run["not_selected"]));
    say!(
        "{}  {}  {:.1} s  {} ran, {} cached, {} failed, {skipped}  (run {name})",
        text(&run["workflow"]),
        text(&run["started"]),
        run["seconds"].as_f64().unwrap_or(0.0),
        s["ran"],
        s["cached"],
        s["failed"],
    );
    for node in run["without_result"].as_array().into_iter().flatten() {
        say!(
            "  {:7} {}: {}",
            text(&node["status"]),
            text(&node["id"]),
            text(&node["error"])
        );
    }
}

/// The last run of each workflow that has ended, with the nodes that failed or were skipped though they were
/// selected, and the runs that have not ended; newest first.
fn last_runs(store: &Store) -> Vec<Value> {
    let mut seen: Vec<String> = Vec::new();
    let mut out = Vec::new();
    for dir in runs(store) {
        let name = dir
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some(run) = read_run(&dir) else {
            out.push(unfinished(&dir, &name));
            continue;
        };
        let workflow = workflow_of(&run);
        if seen.contains(&workflow) {
            continue;
        }
        let nodes = run["nodes"].as_array().into_iter().flatten();
        let (not_selected, without): (Vec<&Value>, Vec<&Value>) = nodes
            .filter(|n| matches!(n["status"].as_str(), Some("failed" | "skipped")))
            .partition(|n| skip_reason(n) == Some(SkipReason::NotSelected));
        let without = without
            .iter()
            .map(|n| json!({"id": n["id"], "status": n["status"], "error": n["error"]}))
            .collect::<Vec<_>>();
        out.push(json!({
            "run": name,
            "workflow": workflow,
            "state": "ended",
            "started": run["started"],
            "seconds": run["seconds"],
            "summary": run["summary"],
            "not_selected": not_selected.len(),
            "without_result": without,
        }));
        seen.push(workflow);
    }
    out
}

/// Why a node of a run's record was skipped.
fn skip_reason(node: &Value) -> Option<SkipReason> {
    serde_json::from_value(node["skipped_as"].clone()).ok()
}

/// A run without a record: still going, or killed.
fn unfinished(dir: &Path, name: &str) -> Value {
    let going = clcc_cache::KeyLock::is_taken(&dir.join("lock"));
    let events = read_text(&dir.join("events.jsonl"));
    let mut workflow = Value::Null;
    let mut nodes = 0;
    let mut ended = 0;
    let mut running: Vec<String> = Vec::new();
    for event in events
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
    {
        let id = event["id"].as_str().unwrap_or_default().to_string();
        match event["event"].as_str() {
            Some("started") => {
                nodes = event["nodes"].as_u64().unwrap_or(0);
                workflow = event["workflow"].clone();
            }
            Some("will_execute") => running.push(id),
            Some("did_execute" | "did_fail" | "did_skip" | "did_reuse") => {
                ended += 1;
                running.retain(|r| *r != id);
            }
            _ => {}
        }
    }
    // Where the file system has no locks, a killed run looks like one that goes on.
    let state = match going {
        Some(true) => "running",
        Some(false) => "killed",
        None => "unknown",
    };
    json!({"run": name, "workflow": workflow, "state": state, "ended": ended, "nodes": nodes, "now": running})
}

pub(super) fn log(args: &CacheArgs, workflow: Option<&str>, node: &str) -> Result<i32, CliError> {
    let store = open(args)?;
    let mut others: Vec<String> = Vec::new();
    for dir in runs(&store) {
        let file = dir.join("logs").join(format!("{node}.log"));
        if node.contains('/') || !file.is_file() {
            continue;
        }
        let text = read_text(&dir.join("events.jsonl"));
        let events: Vec<Event> = text
            .lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect();
        let of = events.iter().find_map(|e| match e {
            Event::Started { workflow, run, .. } => Some((workflow.clone(), run.clone())),
            _ => None,
        });
        let (name, run) = of.unwrap_or_default();
        if workflow.is_some_and(|w| w != name) {
            others.push(name);
            continue;
        }
        say!("{node} of {name}, run {run}");
        events
            .iter()
            .filter_map(|e| happened(e, node))
            .for_each(|line| super::out::say_text(&format!("  {line}\n")));
        super::out::say_text(&read_text(&file));
        return Ok(exit::OK);
    }
    let error = CliError::new(
        exit::USAGE,
        format!("node `{node}` has not run in this cache"),
    );
    others.sort();
    others.dedup();
    Err(match others.is_empty() {
        true => error,
        false => error.hint(format!("it has in {}", others.join(", "))),
    })
}

/// What an event says of this node, but for its progress.
fn happened(event: &Event, node: &str) -> Option<String> {
    match event {
        Event::WillExecute {
            id,
            reason,
            threads,
            ..
        } if id == node => {
            let why = reason.as_ref().map(Reason::text).unwrap_or_default();
            Some(format!("began, threads: {threads}, as: {}", shown(&why)))
        }
        Event::Warning { id, message } if id == node => {
            Some(format!("warning: {}", shown(message)))
        }
        Event::DidExecute {
            id,
            key,
            seconds,
            peak_rss_bytes,
            ..
        } if id == node => {
            let peak = *peak_rss_bytes as f64 / (1 << 20) as f64;
            Some(format!(
                "done in {seconds:.3} s, peak memory {peak:.0} MiB, key {key}"
            ))
        }
        Event::WillRetry {
            id, because, how, ..
        } if id == node => Some(format!("again {how}: {}", shown(because))),
        Event::DidFail {
            id,
            message,
            hint,
            seconds,
            ..
        } if id == node => {
            let hint = hint
                .as_ref()
                .map_or(String::new(), |h| format!("\n  hint: {}", hint_lines(h)));
            Some(format!(
                "failed after {seconds:.3} s: {}{hint}",
                shown(message)
            ))
        }
        Event::DidSkip { id, because, .. } if id == node => {
            Some(format!("skipped: {}", shown(because)))
        }
        Event::DidFindDamage { id, role, .. } if id == node => {
            Some(format!("output {role} was damaged in the cache"))
        }
        _ => None,
    }
}

pub(super) fn verify(args: &CacheArgs, repair: bool) -> Result<i32, CliError> {
    let store = open(args)?;
    let report = store.verify(repair)?;
    say!(
        "{} artifacts ({} bytes) and {} records read",
        report.artifacts,
        report.bytes,
        report.records
    );
    for (path, why) in &report.bad {
        say!("  damaged: {}: {why}", path.display());
    }
    match (report.bad.len(), repair) {
        (0, _) => {
            say!("all sound");
            Ok(exit::OK)
        }
        (n, true) => {
            say!("{n} set aside; the next run makes them again");
            Ok(exit::OK)
        }
        (n, false) => Err(CliError::new(exit::CACHE, format!("{n} damaged"))
            .hint("`clcc-flow verify --repair` sets them aside")),
    }
}
