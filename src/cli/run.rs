//! `run`, `plan`, `explain`.

use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::args::{Format, RunArgs, WorkflowArgs};
use super::error::{CliError, exit};
use super::session::Session;
use super::terminal::Terminal;
use crate::decide::{Decision, Known, Reason, Status, Verdict, dry_run};
use crate::events::Event;
use crate::exec::LocalExecutor;
use crate::plan::Plan;
use crate::results;
use crate::schedule::{self, Options, Outcome, RunOutcome};

pub(super) fn run(args: &RunArgs) -> Result<i32, CliError> {
    if args.dry_run {
        return plan(args);
    }
    let mut session = Session::open(&args.workflow)?;
    if session.plan.nodes.iter().all(|n| n.cached_only) {
        return Err(CliError::new(exit::NOTHING, "the selection holds no node"));
    }
    let started = SystemTime::now();
    let name = run_name(started);
    let run_dir = session.store.root().join("runs").join(&name);
    std::fs::create_dir_all(&run_dir).map_err(|e| {
        CliError::new(
            exit::DISK,
            format!("cannot create `{}`: {e}", run_dir.display()),
        )
    })?;
    let options = Options {
        jobs: args.jobs.map_or_else(default_jobs, usize::from),
        fail_fast: args.fail_fast,
        device: session.device.choice,
        run: name,
        logs: run_dir.join("logs"),
    };
    let outcome = drive(&session, &options, args.format, &run_dir)?;
    remember(&mut session, &outcome);
    let started = humantime::format_rfc3339_seconds(started).to_string();
    let record = results::run_record(&session.plan, &outcome, &session.inputs, &options, &started);
    let text = serde_json::to_vec_pretty(&record).expect("plain values serialise");
    let _ = std::fs::write(run_dir.join("run.json"), text);
    let published = results::publish(
        &session.plan,
        &outcome,
        &session.store,
        &args.results,
        &record,
    )
    .map_err(|e| CliError::from_error(exit::DISK, &e))?;
    if args.format == Format::Human {
        Terminal::closing(&session.plan, &outcome, &published);
    }
    Ok(exit_code(&outcome, args.fail_fast))
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

/// Runs the schedule with every consumer of its events.
fn drive(
    session: &Session,
    options: &Options,
    format: Format,
    run_dir: &Path,
) -> Result<RunOutcome, CliError> {
    let internal =
        |e: std::io::Error| CliError::new(exit::INTERNAL, format!("cannot start the run: {e}"));
    let program = std::env::current_exe().map_err(internal)?;
    let executor = LocalExecutor {
        store: session.store.clone(),
        program,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    let mut journal = std::fs::File::create(run_dir.join("events.jsonl")).map_err(internal)?;
    let mut terminal = (format == Format::Human).then(|| Terminal::new(session.plan.nodes.len()));
    if let Some(terminal) = &terminal {
        terminal.opening(&session.plan, &session.device);
    }
    let mut sink = move |event: &Event| {
        let line = serde_json::to_string(event).expect("plain values serialise");
        if format == Format::Json {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        let _ = writeln!(journal, "{line}");
        if let Some(terminal) = &mut terminal {
            terminal.on_event(event);
        }
    };
    Ok(runtime.block_on(async {
        let (raise, cancel) = tokio::sync::watch::channel(0u8);
        let watcher = tokio::spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut int), Ok(mut term)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                raise.send_modify(|level| *level = (*level + 1).min(2));
            }
        });
        let outcome =
            schedule::run(&session.decider(), &executor, options, cancel, &mut sink).await;
        watcher.abort();
        outcome
    }))
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

fn exit_code(outcome: &RunOutcome, fail_fast: bool) -> i32 {
    if outcome.cancelled {
        return exit::INTERRUPTED;
    }
    let (ran, cached, failed, _) = outcome.counts();
    let disk = outcome
        .nodes
        .iter()
        .any(|n| matches!(n, Outcome::Failed(f) if f.disk));
    match failed {
        0 => exit::OK,
        _ if disk => exit::DISK,
        _ if fail_fast || ran + cached == 0 => exit::ALL_FAILED,
        _ => exit::SOME_FAILED,
    }
}

pub(super) fn plan(args: &RunArgs) -> Result<i32, CliError> {
    let session = Session::open(&args.workflow)?;
    let verdicts = dry_run(&session.decider())?;
    let plan = &session.plan;
    let selected: Vec<(usize, &Verdict)> = verdicts
        .iter()
        .enumerate()
        .filter(|(i, _)| !plan.nodes[*i].cached_only)
        .collect();
    let count = |s: Status| selected.iter().filter(|(_, v)| v.status == s).count();
    let (cached, run, maybe) = (
        count(Status::Cached),
        count(Status::Run),
        count(Status::Maybe),
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
                "summary": {"cached": cached, "run": run, "maybe": maybe},
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
                };
                let reason = v.reasons.first().map(Reason::text).unwrap_or_default();
                println!(
                    "{}",
                    format!("{word:>8} {:width$}  {reason}", plan.nodes[*i].id).trim_end()
                );
            }
            println!("{:>8} {cached} cached, {run} to run, {maybe} maybe", "");
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
    let decider = session.decider();
    let Some(id) = session.plan.find(node) else {
        let known: Vec<&str> = session.plan.nodes.iter().map(|n| n.id.as_str()).collect();
        let problem = crate::workflow::unknown("node", node, &known);
        return Err(CliError::new(exit::USAGE, problem.message).with_hint(problem.hint));
    };
    let mut known: Known = vec![None; session.plan.nodes.len()];
    for before in 0..id {
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
            println!(
                "  made by {}",
                serde_json::to_string(&record.measured).unwrap_or_default()
            );
            for reason in decider
                .preimage(id, &known)
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
