//! `status`, `log`, `verify`.

use std::path::{Path, PathBuf};

use clcc_cache::{Store, read_plain};
use serde::Serialize;

use super::args::{CacheArgs, Format};
use super::error::{CliError, exit};
use super::terminal::skipped_text;
use crate::decide::Reason;
use crate::events::Event;
use crate::results::{NodeStatus, RunRecord};
use crate::schedule::{SkipReason, Summary};
use crate::text::{hint_lines, shown};

pub(super) fn open(args: &CacheArgs) -> Result<Store, CliError> {
    if !args.cache.is_dir() {
        return Err(CliError::new(
            exit::USAGE,
            format!("there is no cache at `{}`", args.cache.display()),
        )
        .hint("run a workflow first, or give --cache DIR"));
    }
    let (store, umask) = crate::run::open_cache(&args.cache)?;
    // What the verb writes is the cache's.
    std::mem::forget(umask);
    Ok(store)
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

/// What a run left in a file of the cache, as far as it is there.
fn read_text(path: &Path) -> String {
    let bytes = read_plain(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What `status --format json` prints of a run.
#[derive(Debug, Serialize)]
struct RunStatus {
    run: String,
    /// `null` for a run that was killed before it began.
    workflow: Option<String>,
    #[serde(flatten)]
    state: State,
}

#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    Ended(Ended),
    Running(Unfinished),
    Killed(Unfinished),
    /// Where the file system has no locks, a killed run looks like one that goes on.
    Unknown(Unfinished),
}

#[derive(Debug, Serialize)]
struct Ended {
    started: String,
    seconds: f64,
    summary: Summary,
    not_selected: usize,
    /// Nodes that failed, or were skipped though they were selected.
    without_result: Vec<WithoutResult>,
}

#[derive(Debug, Serialize)]
struct WithoutResult {
    id: String,
    status: NodeStatus,
    error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Unfinished {
    /// Nodes that have ended.
    ended: usize,
    /// Nodes in all.
    nodes: usize,
    /// Nodes that run.
    now: Vec<String>,
    /// Its jobs in a batch system that have not ended.
    jobs: super::jobs::Jobs,
}

/// How often a run is looked at that is followed.
const FOLLOWED: std::time::Duration = std::time::Duration::from_millis(500);

/// `status --follow`: a line whenever a run that goes on has got on, until none does; then as `status`.
pub(super) fn follow(args: &CacheArgs) -> Result<i32, CliError> {
    let store = open(args)?;
    let mut said: Vec<String> = Vec::new();
    loop {
        let runs = last_runs(&store);
        let going = runs.iter().filter_map(|r| match &r.state {
            State::Running(u) => Some(going_on(&r.run, u)),
            _ => None,
        });
        let going: Vec<String> = going.collect();
        if going.is_empty() {
            return status(args, Format::Human);
        }
        for line in going.iter().filter(|line| !said.contains(line)) {
            say!("{line}");
        }
        said = going;
        std::thread::sleep(FOLLOWED);
    }
}

/// How far a run is, and how many jobs it has in a batch system.
fn so_far(u: &Unfinished) -> String {
    format!("{} of {} nodes{}", u.ended, u.nodes, u.jobs.text())
}

fn going_on(run: &str, u: &Unfinished) -> String {
    format!("{run}  runs: {}, now {}", so_far(u), u.now.join(", "))
}

pub(super) fn status(args: &CacheArgs, format: Format) -> Result<i32, CliError> {
    let runs = last_runs(&open(args)?);
    if format == Format::Json {
        super::out::json(&serde_json::to_value(runs).expect("plain values serialise"));
        return Ok(exit::OK);
    }
    for RunStatus {
        run,
        workflow,
        state,
    } in &runs
    {
        match state {
            State::Running(u) => say!("{}", going_on(run, u)),
            State::Killed(u) => say!("{run}  was killed after {}", so_far(u)),
            State::Unknown(u) => say!("{run}  goes on or was killed: {} so far", so_far(u)),
            State::Ended(end) => print_ended(run, workflow.as_deref().unwrap_or("?"), end),
        }
    }
    if !runs.iter().any(|r| matches!(r.state, State::Ended(_))) {
        say!("no run has ended in this cache");
    }
    Ok(exit::OK)
}

fn print_ended(run: &str, workflow: &str, end: &Ended) {
    let s = &end.summary;
    let skipped = skipped_text(s.skipped as u64, end.not_selected as u64);
    say!(
        "{workflow}  {}  {:.1} s  {} ran, {} cached, {} failed, {skipped}  (run {run})",
        end.started,
        end.seconds,
        s.ran,
        s.cached,
        s.failed,
    );
    for node in &end.without_result {
        let error = node.error.as_deref().unwrap_or("?");
        say!("  {:7} {}: {error}", node.status.word(), node.id);
    }
}

/// The last run of each workflow that has ended, with the nodes that failed or were skipped though they were
/// selected, and the runs that have not ended; newest first.
fn last_runs(store: &Store) -> Vec<RunStatus> {
    let mut seen: Vec<String> = Vec::new();
    let mut out = Vec::new();
    for dir in runs(store) {
        let run = dir.file_name().map(|n| n.to_string_lossy().into_owned());
        let run = run.unwrap_or_default();
        let Some(record) = RunRecord::read(&dir) else {
            out.push(unfinished(store, &dir, run));
            continue;
        };
        let workflow = record.workflow.name.clone();
        if seen.contains(&workflow) {
            continue;
        }
        seen.push(workflow.clone());
        out.push(RunStatus {
            run,
            workflow: Some(workflow),
            state: State::Ended(ended(record)),
        });
    }
    out
}

fn ended(record: RunRecord) -> Ended {
    let without = record
        .nodes
        .into_iter()
        .filter(|n| n.status.is_without_result());
    let (not_selected, without): (Vec<_>, Vec<_>) =
        without.partition(|n| n.skipped_as == Some(SkipReason::NotSelected));
    let without = without.into_iter().map(|n| WithoutResult {
        id: n.id,
        status: n.status,
        error: n.error,
    });
    Ended {
        started: record.started,
        seconds: record.seconds,
        summary: record.summary,
        not_selected: not_selected.len(),
        without_result: without.collect(),
    }
}

/// A run without a record: still going, or killed.
fn unfinished(store: &Store, dir: &Path, run: String) -> RunStatus {
    let going = clcc_cache::KeyLock::is_taken(&dir.join("lock"));
    let mut workflow = None;
    let mut so_far = Unfinished {
        jobs: super::jobs::jobs_of(store, &run),
        ..Unfinished::default()
    };
    for event in events(dir) {
        match event {
            Event::Started {
                nodes,
                workflow: name,
                ..
            } => {
                so_far.nodes = nodes;
                workflow = Some(name);
            }
            Event::WillExecute { id, .. } => so_far.now.push(id),
            Event::DidExecute { id, .. }
            | Event::DidFail { id, .. }
            | Event::DidSkip { id, .. }
            | Event::DidReuse { id, .. } => {
                so_far.ended += 1;
                so_far.now.retain(|r| *r != id);
            }
            _ => {}
        }
    }
    let state = match going {
        Some(true) => State::Running(so_far),
        Some(false) => State::Killed(so_far),
        None => State::Unknown(so_far),
    };
    RunStatus {
        run,
        workflow,
        state,
    }
}

/// The events of a run, as far as they are there and whole.
fn events(dir: &Path) -> Vec<Event> {
    let text = read_text(&dir.join("events.jsonl"));
    let read = |line: &str| serde_json::from_str(line).ok();
    text.lines().filter_map(read).collect()
}

pub(super) fn log(args: &CacheArgs, workflow: Option<&str>, node: &str) -> Result<i32, CliError> {
    let store = open(args)?;
    let mut others: Vec<String> = Vec::new();
    if let Some(nodes) = nodes_of_stage(&store, workflow, node) {
        for node in nodes {
            log(args, workflow, &node)?;
        }
        return Ok(exit::OK);
    }
    for dir in runs(&store) {
        let file = dir.join("logs").join(format!("{node}.log"));
        if node.contains('/') || !file.is_file() {
            continue;
        }
        let events = events(&dir);
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

/// The nodes of a stage that is fanned out, in the order in which its newest run began them; `None` where it is no
/// such stage.
fn nodes_of_stage(store: &Store, workflow: Option<&str>, stage: &str) -> Option<Vec<String>> {
    let of_stage = format!("{stage}[");
    runs(store).into_iter().find_map(|dir| {
        let events = events(&dir);
        let is_other = |e: &Event| match e {
            Event::Started { workflow: name, .. } => workflow.is_some_and(|w| w != name),
            _ => false,
        };
        if events.iter().any(is_other) {
            return None;
        }
        let mut nodes: Vec<String> = Vec::new();
        for event in &events {
            if let Event::WillExecute { id, .. } = event
                && id.starts_with(&of_stage)
                && !nodes.contains(id)
            {
                nodes.push(id.clone());
            }
        }
        (!nodes.is_empty()).then_some(nodes)
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
            let why = reason.as_ref().map_or(String::new(), Reason::text);
            Some(format!("began, threads: {threads}, as: {}", shown(&why)))
        }
        Event::DidSubmit {
            id,
            job,
            adopted_from,
        } if id == node => {
            let job = job.as_deref().unwrap_or("of unknown id");
            let of = adopted_from.as_ref().map(|run| format!(" of run {run}"));
            let of = of.unwrap_or_default();
            Some(format!("job {}{}", shown(job), shown(&of)))
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
            let line = |h: &String| format!("\n  hint: {}", hint_lines(h));
            let (message, hint) = (shown(message), hint.as_ref().map(line).unwrap_or_default());
            Some(format!("failed after {seconds:.3} s: {message}{hint}"))
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
