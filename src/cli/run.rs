//! `run`, `plan`, `explain`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clcc_cache::KeyLock;
use serde_json::{Value, json};

use super::args::{Format, RunArgs, WorkflowArgs};
use super::error::{CliError, exit};
use super::session::Session;
use super::terminal::Terminal;
use crate::decide::{Decision, Known, Reason, Status, Verdict, dry_run};
use crate::events::{EVENT_SCHEMA, Event, Stamped};
use crate::exec::{FailureClass, LocalExecutor, MemoryWatch};
use crate::plan::Plan;
use crate::results::{self, Publication, ResultsError, Trace};
use crate::schedule::{self, Options, Outcome, RunOutcome};

pub(super) fn run(args: &RunArgs) -> Result<i32, CliError> {
    if args.dry_run {
        return plan(args);
    }
    super::fetching::fetch_missing(&args.workflow)?;
    let mut session = Session::open(&args.workflow)?;
    if session.plan.nodes.iter().all(|n| n.cached_only) {
        return Err(CliError::new(exit::NOTHING, "the selection holds no node"));
    }
    session.check_names()?;
    let _shared = share(&session)?;
    let started = SystemTime::now();
    let name = run_name(started);
    let run_dir = session.store.root().join("runs").join(&name);
    let disk = |e: std::io::Error| {
        let message = format!("cannot create `{}`: {e}", run_dir.display());
        CliError::new(exit::DISK, message)
    };
    std::fs::create_dir_all(&run_dir).map_err(disk)?;
    // Held while the run goes on: `status` can tell a running one from a killed one.
    let _running = KeyLock::try_acquire(&run_dir.join("lock"))?;
    let options = Options {
        jobs: args.jobs.map_or_else(default_jobs, usize::from),
        memory: args.memory.unwrap_or_else(schedule::default_budget),
        accelerators: crate::device::accelerators(session.device.choice),
        fail_fast: args.fail_fast,
        device: session.device.choice,
        run: name,
        logs: run_dir.join("logs"),
    };
    let mut reporter = Reporter::new(&session, args.format, &run_dir).map_err(disk)?;
    let finished = drive(&mut session, args, &options, &mut reporter, started)?;
    reporter.write_trace(&run_dir, &session.plan.name);
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

/// Waits for a collection to end, then keeps the next one away until the run has ended.
fn share(session: &Session) -> Result<KeyLock, CliError> {
    session.store.sweep_attempts();
    let mut said = false;
    loop {
        if let Some(lock) = session.store.try_share()? {
            return Ok(lock);
        }
        if !std::mem::replace(&mut said, true) {
            eprintln!("waiting for `gc` to end");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Sortable, and different for runs that start in the same second.
fn run_name(started: SystemTime) -> String {
    let time: String = humantime::format_rfc3339_seconds(started)
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("{time}-{}", std::process::id())
}

/// Everything that reads the events of a run.
struct Reporter {
    format: Format,
    journal: std::io::BufWriter<std::fs::File>,
    terminal: Option<Terminal>,
    trace: Trace,
    began: Instant,
    seq: u64,
}

impl Reporter {
    fn new(session: &Session, format: Format, run_dir: &Path) -> std::io::Result<Self> {
        Ok(Self {
            format,
            journal: std::io::BufWriter::new(std::fs::File::create(run_dir.join("events.jsonl"))?),
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
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| if flush { out.flush() } else { Ok(()) });
        }
        let _ = writeln!(self.journal, "{line}");
        if flush {
            let _ = self.journal.flush();
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.on_event(event);
        }
        self.trace.on_event(event, elapsed);
    }

    fn write_trace(self, run_dir: &Path, workflow: &str) {
        let text = self.trace.into_json(workflow).to_string();
        if let Err(e) = std::fs::write(run_dir.join("trace.json"), text) {
            tracing::warn!("the trace of this run could not be written: {e}");
        }
    }
}

struct Finished {
    outcome: RunOutcome,
    published: Publication,
    /// With what was published.
    seconds: f64,
    /// The signal that cancelled the run.
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
    let (raise, cancel) = tokio::sync::watch::channel(0u8);
    let signal = Arc::new(AtomicI32::new(0));
    let watcher = runtime.spawn(watch_signals(raise, Arc::clone(&signal)));
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
        let pass = schedule::run(&decider, &executor, options, cancel.clone(), &mut sink);
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
            Err(e @ ResultsError::Damaged { .. }) => {
                return Err(CliError::from_error(exit::CACHE, &e));
            }
            Err(e @ ResultsError::Write { .. }) => {
                use std::io::ErrorKind::{QuotaExceeded, StorageFull};
                let room = match &e {
                    ResultsError::Write { path, source }
                        if matches!(source.kind(), StorageFull | QuotaExceeded) =>
                    {
                        crate::disk::room(path)
                    }
                    _ => None,
                };
                return Err(CliError::from_error(exit::DISK, &e).with_hint(room));
            }
        }
    };
    watcher.abort();
    reporter.on_event(&Event::DidPublish {
        dir: published.dir.display().to_string(),
        restored: published.restored.clone(),
        files_of_an_earlier_run: published.kept.clone(),
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
    let signal = Some(signal.load(Ordering::Relaxed)).filter(|s| *s != 0);
    Ok(Finished {
        outcome,
        published,
        seconds,
        signal,
    })
}

/// The first signal asks for a clean end, the second for an end at once.
async fn watch_signals(raise: tokio::sync::watch::Sender<u8>, which: Arc<AtomicI32>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    loop {
        let kind = tokio::select! {
            _ = int.recv() => SignalKind::interrupt(),
            _ = term.recv() => SignalKind::terminate(),
        };
        which.store(kind.as_raw_value(), Ordering::Relaxed);
        raise.send_modify(|level| *level = (*level + 1).min(2));
    }
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
    if let Err(e) = std::fs::write(run_dir.join("run.json"), text) {
        tracing::warn!("the record of this run could not be kept in the cache: {e}");
    }
    let record = || results::run_record(plan, outcome, inputs, options, &started);
    results::publish(plan, outcome, &session.store, &args.results, &record)
}

/// Points every node that has a record at it, for the reasons of the next run.
fn remember(session: &mut Session, outcome: &RunOutcome) {
    let items = session
        .plan
        .nodes
        .iter()
        .zip(&outcome.nodes)
        .filter_map(|(node, end)| end.record().map(|r| (node.id.clone(), r.key)));
    if let Err(e) = session.last.set_all(items.collect::<Vec<_>>()) {
        tracing::warn!("the keys of this run could not be remembered: {e}");
    }
}

fn exit_code(outcome: &RunOutcome, fail_fast: bool, signal: Option<i32>) -> i32 {
    if outcome.cancelled {
        let terminated = signal == Some(rustix::process::Signal::TERM.as_raw());
        return if terminated {
            exit::TERMINATED
        } else {
            exit::INTERRUPTED
        };
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
            println!(
                "{}",
                serde_json::to_string_pretty(&document).expect("plain values serialise")
            );
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
                println!(
                    "{}",
                    format!("{word:>8} {:width$}  {reason}", plan.nodes[*i].id).trim_end()
                );
            }
            let skip = match skip {
                0 => String::new(),
                n => format!(", {n} to skip"),
            };
            println!(
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
            println!("{node} is cached");
            println!("  key     {}", record.key);
            for o in &record.outputs {
                let key = o.key.as_ref().map(|k| format!("[{k}]")).unwrap_or_default();
                println!("  output  {}{key}  {}  {} bytes", o.role, o.digest, o.bytes);
            }
            let made = &record.measured;
            println!(
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
                    println!("  since the last run of this node: {}", reason.text());
                }
            }
        }
        Decision::Run { key, reasons, .. } => {
            println!("{node} would run");
            println!("  key     {key}");
            print_reasons(&reasons);
        }
        Decision::Unknown => {
            println!("{node} waits for what it reads:");
            for p in session
                .plan
                .producers(id)
                .into_iter()
                .filter(|p| known[*p].is_none())
            {
                println!("  {}", session.plan.nodes[p].id);
            }
            for name in session.plan.file_inputs(id) {
                if !session.inputs.contains_key(name) {
                    println!("  the input `{name}`, which nothing that was asked for reads");
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
                println!("  changed {path}\n    old {old}\n    new {new}")
            }
            other => println!("  because {}", other.text()),
        }
    }
}
