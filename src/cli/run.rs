//! `run`, `plan`, `explain`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clcc_cache::{KeyLock, Store, fresh_dir};
use serde_json::{Value, json};

use super::args::{Format, RunArgs, WorkflowArgs};
use super::error::{CliError, exit};
use super::session::Session;
use super::terminal::Terminal;
use crate::decide::{Decision, Known, Reason, Status, Verdict, dry_run};
use crate::events::{EVENT_SCHEMA, Event, Stamped};
use crate::exec::{FailureClass, LocalExecutor, MemoryWatch};
use crate::plan::Plan;
use crate::results::{self, Destination, Publication, ResultsError, Trace};
use crate::schedule::{self, Options, Outcome, RunOutcome};

pub(super) fn run(args: &RunArgs) -> Result<i32, CliError> {
    if args.dry_run {
        return plan(args);
    }
    super::signals::ignore_hangup();
    super::fetching::fetch_missing(&args.workflow)?;
    let mut session = Session::open(&args.workflow)?;
    if session.plan.nodes.iter().all(|n| n.cached_only) {
        return Err(CliError::new(exit::NOTHING, "the selection holds no node"));
    }
    session.check_names()?;
    // Said before hours of work, and asked again when the results are written.
    if let Some(before) = results::made_before(&session.plan, &destination(args))? {
        tell!("note: {before}");
    }
    let _shared = share(&session)?;
    let started = SystemTime::now();
    let place = RunPlace::new(&session.store, started)?;
    let options = Options {
        jobs: jobs(args.jobs),
        memory: args.memory.unwrap_or_else(schedule::default_budget),
        accelerators: crate::device::accelerators(session.device.choice),
        fail_fast: args.fail_fast,
        device: session.device.choice,
        run: place.name.clone(),
        logs: place.dir.join("logs"),
    };
    let mut reporter = Reporter::new(&session, args.format, &place)?;
    let finished = drive(&mut session, args, &options, &mut reporter, started)?;
    reporter.write_trace(&place, &session.plan.name);
    let Finished {
        outcome,
        published,
        seconds,
        signal,
    } = finished;
    if args.format == Format::Human {
        Terminal::closing(&session.plan, &outcome, seconds, &published);
    }
    Ok(exit_code(&outcome, args.fail_fast, signal))
}

fn destination(args: &RunArgs) -> Destination<'_> {
    Destination {
        root: &args.results,
        force: args.force_results,
    }
}

/// Where the cache keeps what a run leaves of itself.
struct RunPlace {
    name: String,
    dir: PathBuf,
    /// `false` in a cache that cannot be written: then nothing is kept.
    is_kept: bool,
    /// Held while the run goes on: `status` can tell a running one from a killed one.
    _running: Option<KeyLock>,
}

impl RunPlace {
    /// Names sort by time; the random end keeps those of one moment apart.
    fn new(store: &Store, started: SystemTime) -> Result<Self, CliError> {
        let time: String = humantime::format_rfc3339_millis(started)
            .to_string()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let runs = store.root().join("runs");
        if !store.is_writable() {
            let root = store.root().display();
            tell!(
                "note: the cache `{root}` cannot be written; what it has is used, and this run is not kept in it"
            );
            return Ok(Self {
                dir: runs.join(&time),
                name: time,
                is_kept: false,
                _running: None,
            });
        }
        let dir = fresh_dir(&runs, &format!("{time}-")).map_err(|e| cannot_create(&runs, &e))?;
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(Self {
            name: name.unwrap_or(time),
            _running: KeyLock::try_acquire(&dir.join("lock"))?,
            dir,
            is_kept: true,
        })
    }
}

fn cannot_create(path: &Path, e: &std::io::Error) -> CliError {
    let message = format!("cannot create `{}`: {e}", path.display());
    CliError::new(exit::DISK, message).with_hint(crate::disk::hint(path, e))
}

/// Waits for a collection to end, then keeps the next one away until the run has ended.
fn share(session: &Session) -> Result<KeyLock, CliError> {
    session.store.sweep_attempts();
    let mut said = false;
    loop {
        if let Some(lock) = session.store.try_share()? {
            return Ok(lock);
        }
        if !std::mem::replace(&mut said, true) {
            tell!("waiting for `gc` to end");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Cores to use: no more than there are, as each is a thread and the memory that it works in.
fn jobs(asked: Option<u16>) -> usize {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or(there, |n| usize::from(n).min(there))
}

/// Everything that reads the events of a run.
struct Reporter {
    format: Format,
    journal: Option<std::io::BufWriter<std::fs::File>>,
    terminal: Option<Terminal>,
    trace: Trace,
    began: Instant,
    seq: u64,
}

impl Reporter {
    fn new(session: &Session, format: Format, place: &RunPlace) -> Result<Self, CliError> {
        let events = place.dir.join("events.jsonl");
        let create = || std::fs::File::create(&events).map_err(|e| cannot_create(&events, &e));
        let file = place.is_kept.then(create).transpose()?;
        Ok(Self {
            format,
            journal: file.map(std::io::BufWriter::new),
            terminal: (format == Format::Human).then(|| {
                let terminal = Terminal::new(session.plan.nodes.len());
                terminal.opening(&session.plan, &session.device);
                terminal
            }),
            trace: Trace::default(),
            began: Instant::now(),
            seq: 0,
        })
    }

    fn on_event(&mut self, event: &Event) {
        let elapsed = self.began.elapsed().as_secs_f64();
        let stamped = Stamped {
            event,
            seq: self.seq,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            elapsed,
        };
        self.seq += 1;
        let line = serde_json::to_string(&stamped).expect("plain values serialise");
        // What is found in the cache comes in thousands and tells nobody anything at once.
        let flush = !matches!(event, Event::DidReuse { .. });
        if self.format == Format::Json {
            super::out::json_line(&line, flush);
        }
        if let Some(journal) = &mut self.journal {
            let _ = writeln!(journal, "{line}");
            if flush {
                let _ = journal.flush();
            }
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.on_event(event);
        }
        self.trace.on_event(event, elapsed);
    }

    fn write_trace(self, place: &RunPlace, workflow: &str) {
        if !place.is_kept {
            return;
        }
        let text = self.trace.into_json(workflow).to_string();
        if let Err(e) = std::fs::write(place.dir.join("trace.json"), text) {
            tracing::warn!("the trace of this run could not be written: {e}");
        }
    }
}

struct Finished {
    outcome: RunOutcome,
    published: Publication,
    /// With what was published.
    seconds: f64,
    /// The exit code of the signal that cancelled the run.
    signal: Option<i32>,
}

/// How often a run starts over because what it was to publish is damaged in the cache.
const MAX_PASSES: usize = 3;

/// Runs the schedule and publishes. An artifact that turns out to be damaged when it is copied is
/// set aside, and what made it runs again.
fn drive(
    session: &mut Session,
    args: &RunArgs,
    options: &Options,
    reporter: &mut Reporter,
    started: SystemTime,
) -> Result<Finished, CliError> {
    let internal =
        |e: std::io::Error| CliError::new(exit::INTERNAL, format!("cannot start the run: {e}"));
    let program = std::env::current_exe().map_err(internal)?;
    let executor = LocalExecutor {
        store: Arc::new(session.store.clone()),
        build: session.build_digest(&program),
        program,
        memory: MemoryWatch::new(options.memory),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    let heard = super::signals::listen().map_err(internal)?;
    reporter.on_event(&Event::Started {
        schema: EVENT_SCHEMA,
        run: options.run.clone(),
        workflow: session.plan.name.clone(),
        nodes: session.plan.nodes.len(),
        jobs: options.jobs,
        memory: options.memory,
    });
    let mut outcome: Option<RunOutcome> = None;
    let mut passes = 0;
    let published = loop {
        passes += 1;
        let mut sink = |event: &Event| reporter.on_event(event);
        let decider = session.decider(0..session.plan.nodes.len());
        let pass = schedule::run(
            &decider,
            &executor,
            options,
            heard.cancel.clone(),
            &mut sink,
        );
        let now = runtime.block_on(pass).after(outcome.take());
        remember(session, &now);
        let published = publish(session, args, options, &now, started);
        outcome = Some(now);
        match published {
            Ok(published) => break published,
            Err(ResultsError::Damaged {
                node,
                artifact,
                path,
            }) if passes < MAX_PASSES => {
                session.store.quarantine(&artifact)?;
                session.force.clear();
                reporter.on_event(&Event::DidFindDamage {
                    id: node,
                    role: path.display().to_string(),
                    digest: artifact.to_string(),
                });
            }
            Err(e) => return Err(e.into()),
        }
    };
    reporter.on_event(&Event::DidPublish {
        dir: published.dir.display().to_string(),
        restored: published.restored.clone(),
        files_of_an_earlier_run: published.kept.clone(),
        removed: published.removed.clone(),
    });
    let outcome = outcome.expect("one pass at least");
    let (ran, cached, failed, skipped) = outcome.counts();
    let seconds = reporter.began.elapsed().as_secs_f64();
    reporter.on_event(&Event::Finished {
        ran,
        cached,
        failed,
        skipped,
        seconds,
    });
    let signal = heard.code();
    Ok(Finished {
        outcome,
        published,
        seconds,
        signal,
    })
}

/// Writes the run's record and the results.
fn publish(
    session: &Session,
    args: &RunArgs,
    options: &Options,
    outcome: &RunOutcome,
    started: SystemTime,
) -> Result<Publication, ResultsError> {
    let started = humantime::format_rfc3339_seconds(started).to_string();
    let (plan, inputs) = (&session.plan, &session.inputs);
    let history = results::run_history(plan, outcome, inputs, options, &started);
    let run_dir = session.store.root().join("runs").join(&options.run);
    let text = serde_json::to_vec(&history).expect("plain values serialise");
    if session.store.is_writable()
        && let Err(e) = std::fs::write(run_dir.join("run.json"), text)
    {
        tracing::warn!("the record of this run could not be kept in the cache: {e}");
    }
    let record = || results::run_record(plan, outcome, inputs, options, &started);
    let to = destination(args);
    session.outside_cache(|| results::publish(plan, outcome, &session.store, &to, &record))
}

/// Points every node that has a record at it, for the reasons of the next run.
fn remember(session: &mut Session, outcome: &RunOutcome) {
    let items = session
        .plan
        .nodes
        .iter()
        .zip(&outcome.nodes)
        .filter_map(|(node, end)| end.record().map(|r| (node.id.clone(), r.key)));
    if !session.store.is_writable() {
        return;
    }
    if let Err(e) = session.last.set_all(items.collect::<Vec<_>>()) {
        tracing::warn!("the keys of this run could not be remembered: {e}");
    }
}

fn exit_code(outcome: &RunOutcome, fail_fast: bool, signal: Option<i32>) -> i32 {
    if outcome.cancelled {
        return signal.unwrap_or(exit::INTERRUPTED);
    }
    let (ran, cached, failed, _) = outcome.counts();
    let disk = outcome
        .nodes
        .iter()
        .any(|n| matches!(n, Outcome::Failed(f) if f.class == FailureClass::Disk));
    match failed {
        0 => exit::OK,
        _ if disk => exit::DISK,
        _ if fail_fast || ran + cached == 0 => exit::ALL_FAILED,
        _ => exit::SOME_FAILED,
    }
}

pub(super) fn plan(args: &RunArgs) -> Result<i32, CliError> {
    let session = Session::open(&args.workflow)?;
    let verdicts = dry_run(&session.decider(0..session.plan.nodes.len()))?;
    let plan = &session.plan;
    let selected: Vec<(usize, &Verdict)> = verdicts
        .iter()
        .enumerate()
        .filter(|(i, _)| !plan.nodes[*i].cached_only)
        .collect();
    let count = |s: Status| selected.iter().filter(|(_, v)| v.status == s).count();
    let (cached, run, maybe, skip) = (
        count(Status::Cached),
        count(Status::Run),
        count(Status::Maybe),
        count(Status::Skip),
    );
    match args.format {
        Format::Json => {
            let nodes: Vec<Value> = selected
                .iter()
                .map(|(i, v)| node_json(plan, *i, v))
                .collect();
            let document = json!({
                "workflow": plan.name,
                "nodes": nodes,
                "summary": {"cached": cached, "run": run, "maybe": maybe, "skip": skip},
            });
            super::out::json(&document);
        }
        Format::Human => {
            let width = selected
                .iter()
                .map(|(i, _)| plan.nodes[*i].id.len())
                .max()
                .unwrap_or(0);
            for (i, v) in &selected {
                let word = match v.status {
                    Status::Cached => "CACHED",
                    Status::Run => "RUN",
                    Status::Maybe => "MAYBE",
                    Status::Skip => "SKIP",
                };
                let reason = v.reasons.first().map(Reason::text).unwrap_or_default();
                say!(
                    "{}",
                    format!("{word:>8} {:width$}  {reason}", plan.nodes[*i].id).trim_end()
                );
            }
            let skip = match skip {
                0 => String::new(),
                n => format!(", {n} to skip"),
            };
            say!(
                "{:>8} {cached} cached, {run} to run, {maybe} maybe{skip}",
                ""
            );
        }
    }
    Ok(if args.exit_code && run + maybe > 0 {
        exit::HAS_WORK
    } else {
        exit::OK
    })
}

fn node_json(plan: &Plan, id: usize, verdict: &Verdict) -> Value {
    let node = &plan.nodes[id];
    json!({
        "id": node.id,
        "stage": node.stage,
        "axes": node.branch,
        "status": verdict.status,
        "reason": verdict.reasons.first(),
    })
}

pub(super) fn explain(args: &WorkflowArgs, node: &str) -> Result<i32, CliError> {
    let session = Session::open(args)?;
    let Some(id) = session.plan.find(node) else {
        let known: Vec<&str> = session.plan.nodes.iter().map(|n| n.id.as_str()).collect();
        let problem = crate::workflow::unknown("node", node, &known);
        return Err(CliError::new(exit::USAGE, problem.message).with_hint(problem.hint));
    };
    let needed = session.plan.ancestors(id);
    let decider = session.decider(needed.iter().copied().chain([id]));
    let mut known: Known = vec![None; session.plan.nodes.len()];
    for &before in &needed {
        if let Decision::Hit(record) = decider.decide(before, &known) {
            known[before] = Some(record);
        }
    }
    match decider.decide(id, &known) {
        Decision::Hit(record) => {
            say!("{node} is cached");
            say!("  key     {}", record.key);
            for o in &record.outputs {
                let key = o.key.as_ref().map(|k| format!("[{k}]")).unwrap_or_default();
                say!("  output  {}{key}  {}  {} bytes", o.role, o.digest, o.bytes);
            }
            let made = &record.measured;
            say!(
                "  made in {:.3} s on {} ({} threads) with {:.0} MiB at the most, by version {}",
                made["seconds"].as_f64().unwrap_or(0.0),
                made["device"].as_str().unwrap_or("?"),
                made["threads"],
                made["peak_rss_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20),
                made["version"].as_str().unwrap_or("?"),
            );
            for reason in decider
                .preimage(id, &known, &BTreeSet::new())
                .map(|p| decider.changes(id, &p))
                .unwrap_or_default()
            {
                if reason != Reason::New {
                    say!("  since the last run of this node: {}", reason.text());
                }
            }
        }
        Decision::Run { key, reasons, .. } => {
            say!("{node} would run");
            say!("  key     {key}");
            print_reasons(&reasons);
        }
        Decision::Unknown => {
            say!("{node} waits for what it reads:");
            for p in session
                .plan
                .producers(id)
                .into_iter()
                .filter(|p| known[*p].is_none())
            {
                say!("  {}", session.plan.nodes[p].id);
            }
            for name in session.plan.file_inputs(id) {
                if !session.inputs.contains_key(name) {
                    say!("  the input `{name}`, which nothing that was asked for reads");
                }
            }
            if let Some(reasons) = decider.changes_before_inputs(id) {
                print_reasons(&reasons);
            }
        }
    }
    Ok(exit::OK)
}

fn print_reasons(reasons: &[Reason]) {
    for reason in reasons {
        match reason {
            Reason::Param { path, old, new } => {
                say!("  changed {path}");
                say!("    old {old}");
                say!("    new {new}");
            }
            other => say!("  because {}", other.text()),
        }
    }
}
