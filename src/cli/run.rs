//! `run`, `plan`, `explain`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clcc_cache::ActionRecord;
use serde::Serialize;

use super::args::{Format, RunArgs, WorkflowArgs};
use super::error::{CliError, exit};
use super::estimate::Estimate;
use super::signals::Heard;
use super::terminal::Terminal;
use crate::decide::{Decision, Known, Reason, Status, Verdict, dry_run};
use crate::device::RunDevice;
use crate::events::Stamped;
use crate::exec::FailureClass;
use crate::plan::{NodeId, Plan};
use crate::profile::{ExecutorKind, Profile};
use crate::run::{self, Note, Observer, RunOptions, Session};
use crate::schedule::{Outcome, RunOutcome};

pub(super) fn run(args: &RunArgs) -> Result<i32, CliError> {
    if args.dry_run {
        return plan(args);
    }
    super::signals::ignore_hangup();
    super::fetching::fetch_missing(&args.workflow)?;
    let mut follower = Follower {
        heard: Heard::nothing(),
        format: args.format,
        terminal: None,
    };
    let profile = profile(args)?;
    let options = RunOptions {
        workflow: args.workflow.options_with(&profile)?,
        jobs: args.jobs.map(usize::from),
        memory: args.memory,
        fail_fast: args.fail_fast,
        results: args.results.clone(),
        force_results: args.force_results,
        program: None,
        profile,
        cancel: Some(follower.heard.cancel.clone()),
    };
    let finished = run::run(&args.workflow.workflow, &options, &mut follower)?;
    if args.format == Format::Human {
        Terminal::closing(&finished);
    }
    let signal = follower.heard.code();
    Ok(exit_code(&finished.outcome, args.fail_fast, signal))
}

/// The profile of a run, with the command line's changes.
fn profile(args: &RunArgs) -> Result<Profile, CliError> {
    let mut profile = Profile::find(args.profile.as_deref(), &args.workflow.workflow)?;
    if let Some(executor) = args.executor {
        profile.executor = executor.into();
    }
    if profile.executor == ExecutorKind::Command && profile.command.is_none() {
        let message = "--executor command: the profile has no `command`";
        return Err(CliError::new(exit::USAGE, message)
            .hint("docs/cluster.md has one for PBS, LSF, SGE and HyperQueue"));
    }
    if !args.options.is_empty() && profile.executor != ExecutorKind::Slurm {
        let message = format!(
            "`{}` after `--`: only --executor slurm takes options",
            args.options[0]
        );
        return Err(CliError::new(exit::USAGE, message));
    }
    profile.options.extend(args.options.iter().cloned());
    Ok(profile)
}

/// The command line's follower of a run: lines for people on stderr, or events as JSON on stdout; signals from
/// when it begins.
struct Follower {
    heard: Heard,
    format: Format,
    terminal: Option<Terminal>,
}

impl Observer for Follower {
    fn on_begin(&mut self, plan: &Plan, device: &RunDevice) {
        if let Err(e) = self.heard.listen() {
            tracing::warn!("signals cannot be heard, so they end this run at once: {e}");
        }
        if self.format == Format::Human {
            let terminal = Terminal::new(plan.nodes.len());
            terminal.opening(plan, device);
            self.terminal = Some(terminal);
        }
    }

    fn wants_estimates(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::live)
    }

    fn on_estimates(&mut self, plan: &Plan, seconds: &[Option<f64>]) {
        if let Some(terminal) = &mut self.terminal {
            let ids = plan.nodes.iter().map(|n| n.id.clone());
            terminal.expect(Estimate::new(ids.zip(seconds.iter().copied())));
        }
    }

    fn on_note(&mut self, note: &Note) {
        tell!("{note}");
    }

    fn on_event(&mut self, event: &Stamped<'_>) {
        match &mut self.terminal {
            Some(terminal) => terminal.on_event(event.event),
            None => super::out::json_line(&event.to_json(), event.is_news()),
        }
    }
}

fn exit_code(outcome: &RunOutcome, fail_fast: bool, signal: Option<i32>) -> i32 {
    if outcome.cancelled {
        return signal.unwrap_or(exit::INTERRUPTED);
    }
    let count = outcome.summary();
    let disk = outcome
        .nodes
        .iter()
        .any(|n| matches!(n, Outcome::Failed(f) if f.class == FailureClass::Disk));
    match count.failed {
        0 => exit::OK,
        _ if disk => exit::DISK,
        _ if fail_fast || count.ran + count.cached == 0 => exit::ALL_FAILED,
        _ => exit::SOME_FAILED,
    }
}

/// What `plan --format json` prints.
#[derive(Debug, Serialize)]
struct PlanDocument<'a> {
    workflow: &'a str,
    nodes: Vec<PlannedNode<'a>>,
    summary: PlanSummary,
}

#[derive(Debug, Serialize)]
struct PlannedNode<'a> {
    id: &'a str,
    stage: &'a str,
    axes: &'a clcc_stages::stage::Branch,
    status: Status,
    reason: Option<&'a Reason>,
    /// Its outputs are in the shared cache, and not all of them here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    remote: bool,
}

/// How many nodes are to do what.
#[derive(Debug, Serialize)]
struct PlanSummary {
    cached: usize,
    run: usize,
    maybe: usize,
    skip: usize,
}

impl PlanSummary {
    fn of(verdicts: &[(usize, &Verdict)]) -> Self {
        let count = |s: Status| verdicts.iter().filter(|(_, v)| v.status == s).count();
        Self {
            cached: count(Status::Cached),
            run: count(Status::Run),
            maybe: count(Status::Maybe),
            skip: count(Status::Skip),
        }
    }
}

pub(super) fn plan(args: &RunArgs) -> Result<i32, CliError> {
    let session = open(&args.workflow, args.profile.as_deref())?;
    let verdicts = dry_run(&session.decider(0..session.plan.nodes.len()))?;
    tell_trouble(&session);
    let plan = &session.plan;
    let selected: Vec<(usize, &Verdict)> = verdicts
        .iter()
        .enumerate()
        .filter(|(i, _)| !plan.nodes[*i].cached_only)
        .collect();
    let summary = PlanSummary::of(&selected);
    let has_work = summary.run + summary.maybe > 0;
    match args.format {
        Format::Json => {
            let nodes = selected.iter().map(|(i, v)| {
                let node = &plan.nodes[*i];
                PlannedNode {
                    id: &node.id,
                    stage: &node.stage,
                    axes: &node.branch,
                    status: v.status,
                    reason: v.reasons.first(),
                    remote: v.remote,
                }
            });
            let document = PlanDocument {
                workflow: &plan.name,
                nodes: nodes.collect(),
                summary,
            };
            super::out::json(&serde_json::to_value(document).expect("plain values serialise"));
        }
        Format::Human => print_plan(plan, &selected, &summary),
    }
    Ok(if args.exit_code && has_work {
        exit::HAS_WORK
    } else {
        exit::OK
    })
}

/// Opens a workflow to look at it.
fn open(args: &WorkflowArgs, profile: Option<&Path>) -> Result<Session, CliError> {
    let profile = Profile::find(profile, &args.workflow)?;
    Ok(Session::open(
        &args.workflow,
        &args.options_to_look(&profile)?,
    )?)
}

/// What is wrong with the shared cache.
fn tell_trouble(session: &Session) {
    #[cfg(feature = "remote")]
    for news in session.remote.iter().flat_map(|remote| remote.news()) {
        if let clcc_cache::remote::RemoteNews::Trouble(message) = news {
            tell!("   WARN {message}");
        }
    }
    #[cfg(not(feature = "remote"))]
    let _ = session;
}

fn print_plan(plan: &Plan, selected: &[(usize, &Verdict)], summary: &PlanSummary) {
    let widths = selected.iter().map(|(i, _)| plan.nodes[*i].id.len());
    let width = widths.max().unwrap_or(0);
    for (i, v) in selected {
        let word = match v.status {
            Status::Cached => "CACHED",
            Status::Run => "RUN",
            Status::Maybe => "MAYBE",
            Status::Skip => "SKIP",
        };
        let of_remote = || {
            if v.remote {
                "remote".to_string()
            } else {
                String::new()
            }
        };
        let reason = v.reasons.first().map_or_else(of_remote, Reason::text);
        say!(
            "{}",
            format!("{word:>8} {:width$}  {reason}", plan.nodes[*i].id).trim_end()
        );
    }
    let PlanSummary {
        cached,
        run,
        maybe,
        skip,
    } = summary;
    let skip = match skip {
        0 => String::new(),
        n => format!(", {n} to skip"),
    };
    say!(
        "{:>8} {cached} cached, {run} to run, {maybe} maybe{skip}",
        ""
    );
}

pub(super) fn explain(args: &WorkflowArgs, node: &str) -> Result<i32, CliError> {
    let session = open(args, None)?;
    let nodes = &session.plan.nodes;
    let ids: Vec<NodeId> = match session.plan.find(node) {
        Some(id) => vec![id],
        None => (0..nodes.len())
            .filter(|&id| nodes[id].stage == node)
            .collect(),
    };
    if ids.is_empty() {
        let ids = nodes.iter().map(|n| n.id.as_str());
        let stages = nodes.iter().map(|n| n.stage.as_str());
        let mut known: Vec<&str> = stages.chain(ids).collect();
        let mut seen = BTreeSet::new();
        known.retain(|name| seen.insert(*name));
        let problem = crate::workflow::unknown("node", node, &known);
        return Err(CliError::new(exit::USAGE, problem.message).with_hint(problem.hint));
    }
    ids.into_iter().for_each(|id| explain_node(&session, id));
    tell_trouble(&session);
    Ok(exit::OK)
}

fn explain_node(session: &Session, id: NodeId) {
    let node = &session.plan.nodes[id].id;
    let needed = session.plan.ancestors(id);
    let decider = session.decider(needed.iter().copied().chain([id]));
    let mut known: Known = vec![None; session.plan.nodes.len()];
    for &before in &needed {
        known[before] = match decider.decide(before, &known) {
            Decision::Hit(record) => Some(record),
            Decision::Run {
                preimage, reasons, ..
            } => decider.kept(before, &preimage, &reasons).map(Arc::new),
            Decision::Unknown => None,
        };
    }
    match decider.decide(id, &known) {
        Decision::Hit(record) => {
            match session.actions().is_elsewhere(&record) {
                true => say!("{node} is in the shared cache"),
                false => say!("{node} is cached"),
            }
            print_record(&record);
            let preimage = decider.preimage(id, &known, &BTreeSet::new());
            let changes = preimage.map(|p| decider.changes(id, &p));
            for reason in changes.unwrap_or_default() {
                if reason != Reason::New {
                    say!("  {}", apart_from_last(&reason));
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
            print_waits(session, id, &known);
            if let Some(reasons) = decider.changes_before_inputs(id) {
                print_reasons(&reasons);
            }
        }
    }
}

/// How a cached node differs from the one of the last run. Nothing has changed to be run again, so a value does not
/// read as a step from one to the other.
fn apart_from_last(reason: &Reason) -> String {
    match reason {
        Reason::Param { path, old, new } if !old.is_null() && !new.is_null() => {
            format!("the last run of this node had {path} {old}, this one has {new}")
        }
        other => format!("since the last run of this node: {}", other.text()),
    }
}

fn print_record(record: &ActionRecord) {
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
}

/// What a node reads that is not known.
fn print_waits(session: &Session, id: NodeId, known: &Known) {
    let plan = &session.plan;
    for p in plan
        .producers(id)
        .into_iter()
        .filter(|p| known[*p].is_none())
    {
        say!("  {}", plan.nodes[p].id);
    }
    for name in plan.file_inputs(id) {
        if !session.inputs.contains_key(name) {
            say!("  the input `{name}`, which nothing that was asked for reads");
        }
    }
}

fn print_reasons(reasons: &[Reason]) {
    for reason in reasons {
        match reason {
            Reason::Param { path, old, new } if path != "seed" => {
                say!("  changed {path}");
                say!("    old {old}");
                say!("    new {new}");
            }
            other => say!("  because {}", other.text()),
        }
    }
}
