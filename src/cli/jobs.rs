//! `attach`, `cancel`, `status --efficiency`: runs that go on elsewhere, and what jobs of a batch system used.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clcc_cache::{KeyLock, SILENCE, Store, read_plain};
use serde::Serialize;

use super::args::{AttachArgs, CacheArgs, Format};
use super::error::{CliError, exit};
use super::store_verbs::{open, runs};
use super::terminal::Terminal;
use crate::events::Event;
use crate::exec::{Claim, TurnEnd, cancel_jobs, gib, jobs_of_run};
use crate::profile::Profile;
use crate::results::{JobUse, RunRecord};

/// How often a run that is followed is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long `cancel` waits for a coordinator to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run in the cache.
struct Run {
    name: String,
    dir: PathBuf,
}

impl Run {
    /// Whether its coordinator goes on; `None` where that cannot be told.
    fn goes_on(&self) -> Option<bool> {
        match RunRecord::read(&self.dir) {
            Some(_) => Some(false),
            None => KeyLock::is_taken(&self.dir.join("lock")),
        }
    }
}

/// The run that is meant: by its name or the beginning of it, else the last one that has not ended.
fn find(store: &Store, wanted: Option<&str>) -> Result<Run, CliError> {
    let named = |dir: PathBuf| {
        let name = dir.file_name()?.to_string_lossy().into_owned();
        Some(Run { name, dir })
    };
    let all: Vec<Run> = runs(store).into_iter().filter_map(named).collect();
    let Some(wanted) = wanted else {
        let open = all.into_iter().find(|r| RunRecord::read(&r.dir).is_none());
        return open.ok_or_else(|| {
            CliError::new(exit::USAGE, "every run in this cache has ended")
                .hint("`clcc-flow status` lists them")
        });
    };
    let mut meant: Vec<Run> = all
        .into_iter()
        .filter(|r| r.name.starts_with(wanted))
        .collect();
    if let Some(exact) = meant.iter().position(|r| r.name == wanted) {
        return Ok(meant.swap_remove(exact));
    }
    match meant.len() {
        1 => Ok(meant.swap_remove(0)),
        0 => Err(CliError::new(
            exit::USAGE,
            format!("there is no run `{wanted}` in this cache"),
        )
        .hint("`clcc-flow status` lists them")),
        n => Err(CliError::new(
            exit::USAGE,
            format!("`{wanted}` begins the names of {n} runs"),
        )),
    }
}

/// Jobs of a run that have not ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Jobs {
    /// They beat.
    pub(super) running: usize,
    /// They wait, or nothing is heard of them.
    pub(super) waiting: usize,
}

/// Counts the jobs of a run that have not ended.
pub(super) fn jobs_of(store: &Store, run: &str) -> Jobs {
    let mut jobs = Jobs::default();
    let at_work = store.keys_at_work(SILENCE);
    for turn in store.open_turns() {
        let claim: Option<Claim> = turn.read("claim.json");
        if claim.is_some_and(|c| c.run == run) {
            match at_work.contains(&turn.key) {
                true => jobs.running += 1,
                false => jobs.waiting += 1,
            }
        }
    }
    jobs
}

impl Jobs {
    /// In words; nothing where there are none.
    pub(super) fn text(self) -> String {
        match (self.running, self.waiting) {
            (0, 0) => String::new(),
            (running, waiting) => format!("; jobs: {running} run, {waiting} wait"),
        }
    }
}

/// Whole lines of the run's events from `read` on.
fn new_events(dir: &Path, read: &mut usize) -> Vec<Event> {
    let text = read_plain(&dir.join("events.jsonl")).unwrap_or_default();
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let from = (*read).min(whole);
    *read = whole;
    let text = String::from_utf8_lossy(&text[from..whole]);
    let event = |line: &str| serde_json::from_str(line).ok();
    text.lines().filter_map(event).collect()
}

pub(super) fn attach(args: &AttachArgs) -> Result<i32, CliError> {
    let store = open(&args.cache)?;
    let run = find(&store, args.run.as_deref())?;
    let mut terminal: Option<Terminal> = None;
    let mut read = 0;
    loop {
        // Asked before the events are read: what is written before the end is seen.
        let goes_on = run.goes_on();
        for event in new_events(&run.dir, &mut read) {
            if let Event::Started { nodes, .. } = &event {
                terminal = Some(Terminal::new(*nodes));
            }
            if let Some(terminal) = &mut terminal {
                terminal.on_event(&event);
            }
            if let Event::Finished {
                ran,
                cached,
                failed,
                skipped,
                seconds,
            } = event
            {
                tell!(
                    "{ran} ran, {cached} cached, {failed} failed, {skipped} skipped in {seconds:.1} s"
                );
                return Ok(if failed > 0 {
                    exit::SOME_FAILED
                } else {
                    exit::OK
                });
            }
        }
        if goes_on == Some(false) {
            drop(terminal);
            let jobs = jobs_of(&store, &run.name);
            let left = match jobs {
                Jobs {
                    running: 0,
                    waiting: 0,
                } => String::new(),
                Jobs { running, waiting } => {
                    format!("; of its jobs {running} run and {waiting} wait")
                }
            };
            return Err(CliError::new(
                exit::SOME_FAILED,
                format!(
                    "the coordinator of run {} has ended before its time{left}",
                    run.name
                ),
            )
            .hint("run the same command again: it goes on with the jobs and with what is done"));
        }
        std::thread::sleep(LOOK);
    }
}

pub(super) fn cancel(args: &AttachArgs) -> Result<i32, CliError> {
    let store = open(&args.cache)?;
    let run = find(&store, args.run.as_deref())?;
    if RunRecord::read(&run.dir).is_some() {
        return Err(CliError::new(
            exit::USAGE,
            format!("run {} has ended", run.name),
        ));
    }
    let left = read_plain(&run.dir.join("profile.json")).ok();
    let left: Option<Profile> = left.and_then(|b| serde_json::from_slice(&b).ok());
    let profile = match &args.profile {
        Some(file) => Some(Profile::load(file)?),
        None => left,
    };
    if profile.is_none() && run.goes_on() == Some(false) {
        let message = format!(
            "the coordinator of run {} has ended before its time, and no jobs are left",
            run.name
        );
        return Err(CliError::new(exit::USAGE, message));
    }
    ask_to_end(&run)?;
    if ends_in_time(&run) {
        say!("run {} has ended", run.name);
        return Ok(exit::OK);
    }
    let Some(profile) = profile else {
        let message = format!("the coordinator of run {} does not answer", run.name);
        return Err(CliError::new(exit::INTERNAL, message)
            .hint("end it with Ctrl+C or SIGTERM where it runs"));
    };
    if run.goes_on() != Some(false) {
        tell!("its coordinator does not answer; its jobs are cancelled without it");
    }
    cancel_jobs_of(&store, &run, &profile)
}

/// Leaves the mark that the coordinator of a run looks for.
fn ask_to_end(run: &Run) -> Result<(), CliError> {
    let mark = run.dir.join(crate::run::cancel::MARK);
    std::fs::write(&mark, "").map_err(|e| {
        CliError::new(
            exit::DISK,
            format!("cannot write `{}`: {e}", mark.display()),
        )
    })
}

/// Waits for the coordinator of a run that was asked to end; `false` where it had gone before, or gives no answer.
fn ends_in_time(run: &Run) -> bool {
    if run.goes_on() == Some(false) {
        return false;
    }
    let until = Instant::now() + PATIENCE;
    while run.goes_on() != Some(false) {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Ends the jobs of a run without its coordinator.
fn cancel_jobs_of(store: &Store, run: &Run, profile: &Profile) -> Result<i32, CliError> {
    let mut ids = jobs_of_run(profile, &run.name);
    let mut turns = 0;
    for turn in store.open_turns() {
        let claim: Option<Claim> = turn.read("claim.json");
        if claim.is_none_or(|c| c.run != run.name) {
            continue;
        }
        ids.extend(turn.read::<String>("job.json"));
        let why = "the run was cancelled".to_string();
        turn.write("end.json", &TurnEnd::GivenUp { why })?;
        turns += 1;
    }
    ids.sort();
    ids.dedup();
    cancel_jobs(profile, &ids).map_err(|why| {
        CliError::new(
            exit::INTERNAL,
            format!("jobs could not be cancelled: {why}"),
        )
        .hint("those that have not begun do nothing when they do")
    })?;
    say!(
        "run {}: {} jobs cancelled, {turns} nodes given up",
        run.name,
        ids.len()
    );
    Ok(exit::OK)
}

/// The last run of a workflow with what its jobs used.
#[derive(Debug, Serialize)]
struct RunUse {
    run: String,
    workflow: String,
    jobs: Vec<JobUse>,
}

pub(super) fn efficiency(args: &CacheArgs, format: Format) -> Result<i32, CliError> {
    let store = open(args)?;
    let mut all: Vec<RunUse> = Vec::new();
    for dir in runs(&store) {
        let Some(record) = RunRecord::read(&dir) else {
            continue;
        };
        if all.iter().any(|r| r.workflow == record.workflow.name) {
            continue;
        }
        let jobs = record.nodes.iter().filter_map(|n| {
            let record = store.record(n.key.as_ref()?)?;
            JobUse::of(&n.id, &record.measured)
        });
        all.push(RunUse {
            jobs: jobs.collect(),
            run: record.run,
            workflow: record.workflow.name,
        });
    }
    if format == Format::Json {
        super::out::json(&serde_json::to_value(&all).expect("plain values serialise"));
        return Ok(exit::OK);
    }
    for run in &all {
        say!("{}  (run {})", run.workflow, run.run);
        print_use(&run.jobs);
    }
    if all.iter().all(|r| r.jobs.is_empty()) {
        say!("no node was made by a job of a batch system");
    }
    Ok(exit::OK)
}

fn print_use(jobs: &[JobUse]) {
    if jobs.is_empty() {
        return;
    }
    let width = jobs.iter().map(|j| j.node.len()).max().unwrap_or(0).max(4);
    say!(
        "  {:width$}  {:>9} {:>9} {:>4}  {:>8} {:>9} {:>4}  {:>9}  job",
        "node",
        "memory",
        "used",
        "",
        "time",
        "used",
        "",
        "waited"
    );
    for j in jobs {
        say!(
            "  {:width$}  {:>9} {:>9} {:>4}  {:>6.0} s {:>7.1} s {:>4}  {:>7.1} s  {}",
            j.node,
            gib(j.asked_memory_bytes as u64),
            gib(j.peak_memory_bytes as u64),
            percent(j.memory_used),
            j.asked_seconds as f64,
            j.seconds,
            percent(j.time_used),
            j.waited_seconds,
            j.job.as_deref().unwrap_or("?"),
        );
    }
    let sum = |f: fn(&JobUse) -> f64| jobs.iter().map(f).sum::<f64>();
    let used =
        |used: fn(&JobUse) -> f64, asked: fn(&JobUse) -> f64| sum(used) / sum(asked).max(1.0);
    say!(
        "  {} jobs used {} of the memory and {} of the time that they had asked for; {:.1} s were waited on average",
        jobs.len(),
        percent(used(
            |j| j.peak_memory_bytes as f64,
            |j| j.asked_memory_bytes as f64
        )),
        percent(used(|j| j.seconds, |j| j.asked_seconds as f64)),
        sum(|j| j.waited_seconds) / jobs.len() as f64,
    );
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
