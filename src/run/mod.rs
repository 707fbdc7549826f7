//! A run of a workflow in one call, for the command line and for programs that use this crate.
//!
//! ```no_run
//! use clcc_flow::run::{RunOptions, run, run_if_child};
//!
//! // Nodes run in child processes of this program.
//! if let Some(code) = run_if_child() {
//!     std::process::exit(code);
//! }
//! let mut events = |event: &clcc_flow::events::Stamped<'_>| println!("{:?}", event.event);
//! let finished = run("workflows/demo.yaml".as_ref(), &RunOptions::default(), &mut events)?;
//! println!("{} nodes ran", finished.outcome.summary().ran);
//! # Ok::<(), clcc_flow::run::RunError>(())
//! ```

pub(crate) mod cancel;
mod error;
mod place;
#[cfg(feature = "remote")]
mod remote;
mod session;

pub use error::RunError;
pub use session::{RemoteOptions, Session, WorkflowOptions, load_checked, open_cache};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use clcc_cache::remote::Transfer;
use clcc_cache::{Digest, KeyLock};

use crate::device::RunDevice;
use crate::events::{EVENT_SCHEMA, Event, Stamped};
use crate::exec::{Cancel, ClusterExecutor, Executor, LocalExecutor, MemoryWatch, Program};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::results::{self, Destination, Publication, ResultsError, RunRecord};
use crate::schedule::{self, Options, RunOutcome};
use place::{Journal, RunPlace};

/// How to run a workflow. The default is what `clcc-flow run WORKFLOW` does.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What the other verbs take too.
    pub workflow: WorkflowOptions,
    /// Cores to use, at most those of the machine; `None` takes all.
    pub jobs: Option<usize>,
    /// Bytes of memory that the run may hold; `None` takes nine tenths of the machine's or control group's.
    pub memory: Option<u64>,
    /// Start no node after the first failure; default `false`.
    pub fail_fast: bool,
    /// Directory in which `<workflow name>/` with the results is written; default `results`.
    pub results: PathBuf,
    /// Replace the results of another workflow file of the same name; default `false`.
    pub force_results: bool,
    /// The program that is started as `PROGRAM exec-node ACTION` for each node: `clcc-flow`, or one whose `main`
    /// calls [`run_if_child`] first. `None` is the running program.
    pub program: Option<PathBuf>,
    /// Where nodes run; the default is on this machine.
    pub profile: Profile,
    /// Raised to 1 it ends the run cleanly, to 2 at once. `clcc-flow cancel` ends the run too, also where this is `None`.
    pub cancel: Option<Cancel>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            workflow: WorkflowOptions::default(),
            jobs: None,
            memory: None,
            fail_fast: false,
            results: PathBuf::from("results"),
            force_results: false,
            program: None,
            profile: Profile::default(),
            cancel: None,
        }
    }
}

/// Who follows a run. A closure that takes events is one.
pub trait Observer {
    /// The run is about to begin.
    fn on_begin(&mut self, _plan: &Plan, _device: &RunDevice) {}

    /// Something to know before the run begins, or while it waits.
    fn on_note(&mut self, _note: &Note) {}

    /// Whether [`Observer::on_estimates`] is worth looking up: a record is read for each node.
    fn wants_estimates(&self) -> bool {
        false
    }

    /// Seconds that each node of the plan took when it last ran, where it has.
    fn on_estimates(&mut self, _plan: &Plan, _seconds: &[Option<f64>]) {}

    /// An event, as it is written to the run's `events.jsonl`.
    fn on_event(&mut self, event: &Stamped<'_>);
}

impl<F: FnMut(&Stamped<'_>)> Observer for F {
    fn on_event(&mut self, event: &Stamped<'_>) {
        self(event);
    }
}

/// What an observer may want to tell before the run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The results directory was made by a workflow file that has since been renamed or changed, in words.
    MadeBefore(String),
    /// The cache cannot be written: what it has is used, and this run is not kept in it.
    ReadOnlyCache(PathBuf),
    /// A collection of the cache goes on; the run begins when it has ended.
    WaitsForGc,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MadeBefore(before) => write!(f, "note: {before}"),
            Self::ReadOnlyCache(root) => write!(
                f,
                "note: the cache `{}` cannot be written; what it has is used, and this run is not kept in it",
                root.display()
            ),
            Self::WaitsForGc => f.write_str("waiting for `gc` to end"),
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// What was run.
    pub plan: Plan,
    /// Where each node ended, in the order of the plan.
    pub outcome: RunOutcome,
    /// What was written to the results directory.
    pub published: Publication,
    /// The shared cache and what travelled, where there was one.
    pub moved: Option<(String, Transfer)>,
    /// Wall time in seconds, with what was published.
    pub seconds: f64,
}

/// If this process was started to run one node, runs it and returns the exit code; else `None`. Call it first in
/// `main`: the nodes of [`run`] are child processes of the same program.
pub fn run_if_child() -> Option<i32> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == "exec-node").then_some(())?;
    let next = args.next()?;
    match next == "--commit" {
        true => Some(crate::exec::exec_task(Path::new(&args.next()?))),
        false => Some(crate::exec::exec_node(Path::new(&next))),
    }
}

/// Runs a workflow file: what is in the cache is not computed again, and the results are published. Nodes that fail
/// or are skipped do not make it fail; they are in the outcome. While it runs, new files of this process have the
/// cache's umask.
///
/// # Errors
/// Everything that keeps the run from beginning or from publishing.
pub fn run(
    workflow: &Path,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Finished, RunError> {
    let mut session = Session::open(workflow, &options.workflow)?;
    if session.plan.nodes.iter().all(|n| n.cached_only) {
        return Err(RunError::NothingSelected);
    }
    session.check_names()?;
    // Said before hours of work, and asked again when the results are written.
    if let Some(before) = results::made_before(&session.plan, &options.destination())? {
        observer.on_note(&Note::MadeBefore(before));
    }
    let _shared = share(&session, observer)?;
    let started = SystemTime::now();
    let place = RunPlace::new(&session.store, started)?;
    if !place.is_kept {
        let root = session.store.root().to_path_buf();
        observer.on_note(&Note::ReadOnlyCache(root));
    }
    let schedule = Options {
        jobs: jobs(options.jobs.or(options.profile.local_cores)),
        memory: options.memory.unwrap_or_else(schedule::default_budget),
        accelerators: crate::device::accelerators(session.device.choice),
        fail_fast: options.fail_fast,
        device: session.device.choice,
        run: place.name.clone(),
        logs: place.dir.join("logs"),
    };
    let mut reporter = Reporter {
        journal: Journal::open(&place)?,
        observer,
        began: Instant::now(),
        seq: 0,
    };
    reporter.observer.on_begin(&session.plan, &session.device);
    if reporter.observer.wants_estimates() {
        let seconds = session.last_seconds();
        reporter.observer.on_estimates(&session.plan, &seconds);
    }
    let (outcome, published) = drive(&mut session, options, &schedule, &mut reporter, started)?;
    reporter.published(&published);
    let moved = finish_remote(&session, options, &outcome, &mut reporter);
    let seconds = reporter.finish(&outcome);
    reporter.journal.write_trace(&place, &session.plan.name);
    Ok(Finished {
        plan: session.into_plan(),
        outcome,
        published,
        moved,
        seconds,
    })
}

impl RunOptions {
    fn destination(&self) -> Destination<'_> {
        Destination {
            root: &self.results,
            force: self.force_results,
        }
    }
}

/// Waits for a collection to end, then keeps the next one away until the run has ended.
fn share(session: &Session, observer: &mut dyn Observer) -> Result<KeyLock, RunError> {
    session.store.sweep_attempts();
    let mut said = false;
    loop {
        if let Some(lock) = session.store.try_share()? {
            return Ok(lock);
        }
        if !std::mem::replace(&mut said, true) {
            observer.on_note(&Note::WaitsForGc);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Cores to use: no more than there are, as each is a thread and the memory that it works in.
fn jobs(asked: Option<usize>) -> usize {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or(there, |n| n.clamp(1, there))
}

/// Numbers and times the events, and hands them to the journal and the observer.
struct Reporter<'a> {
    journal: Journal,
    observer: &'a mut dyn Observer,
    began: Instant,
    seq: u64,
}

impl Reporter<'_> {
    fn on_event(&mut self, event: &Event) {
        let stamped = Stamped {
            event,
            seq: self.seq,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            elapsed: self.began.elapsed().as_secs_f64(),
        };
        self.seq += 1;
        self.journal.on_event(&stamped);
        self.observer.on_event(&stamped);
    }

    fn published(&mut self, published: &Publication) {
        self.on_event(&Event::DidPublish {
            dir: published.dir.display().to_string(),
            restored: published.restored.clone(),
            files_of_an_earlier_run: published.kept.clone(),
            removed: published.removed.clone(),
        });
    }

    /// The last event; returns the wall time.
    fn finish(&mut self, outcome: &RunOutcome) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        let schedule::Summary {
            ran,
            cached,
            failed,
            skipped,
        } = outcome.summary();
        self.on_event(&Event::Finished {
            ran,
            cached,
            failed,
            skipped,
            seconds,
        });
        seconds
    }
}

/// How often a run starts over because what it was to publish is damaged in the cache.
const MAX_PASSES: usize = 3;

/// Sets aside what was found damaged while it was published, so that the next pass makes it again.
fn damaged(
    session: &mut Session,
    node: String,
    artifact: &Digest,
    path: &Path,
) -> Result<Event, RunError> {
    session.store.quarantine(artifact)?;
    session.force.clear();
    Ok(Event::DidFindDamage {
        id: node,
        role: path.display().to_string(),
        digest: artifact.to_string(),
        remote: false,
    })
}

/// Runs the schedule and publishes. An artifact that turns out to be damaged when it is copied is
/// set aside, and what made it runs again.
fn drive(
    session: &mut Session,
    options: &RunOptions,
    schedule: &Options,
    reporter: &mut Reporter<'_>,
    started: SystemTime,
) -> Result<(RunOutcome, Publication), RunError> {
    let executor = executor(session, options, schedule)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    let run_dir = session.store.root().join("runs").join(&schedule.run);
    let cancel = cancel::with_mark(options.cancel.clone(), run_dir).map_err(RunError::Start)?;
    reporter.on_event(&Event::Started {
        schema: EVENT_SCHEMA,
        run: schedule.run.clone(),
        workflow: session.plan.name.clone(),
        nodes: session.plan.nodes.len(),
        jobs: schedule.jobs,
        memory: schedule.memory,
    });
    let mut before: Option<RunOutcome> = None;
    let mut pass = 0;
    loop {
        pass += 1;
        let mut sink = |event: &Event| {
            reporter.tell_news(session);
            reporter.on_event(event);
        };
        let decider = session.decider(0..session.plan.nodes.len());
        let (by, asked) = (executor.as_ref(), cancel.clone());
        let run = schedule::run(&decider, by, schedule, asked, &mut sink);
        let outcome = runtime.block_on(run).after(before.take());
        session.remember(&outcome);
        reporter.tell_news(session);
        #[cfg(feature = "remote")]
        let outcome = match remote::bring_results(session, outcome, &cancel, pass, reporter)? {
            Ok(outcome) => outcome,
            Err(to_be_made) => {
                before = Some(to_be_made);
                continue;
            }
        };
        match publish(session, options, schedule, &outcome, started) {
            Ok(published) => return Ok((outcome, published)),
            Err(ResultsError::Damaged {
                node,
                artifact,
                path,
            }) if pass < MAX_PASSES => {
                let damage = damaged(session, node, &artifact, &path)?;
                reporter.on_event(&damage);
            }
            Err(e) => return Err(e.into()),
        }
        before = Some(outcome);
    }
}

fn executor(
    session: &Session,
    options: &RunOptions,
    schedule: &Options,
) -> Result<Box<dyn Executor>, RunError> {
    let program = match &options.program {
        Some(program) => Program::Other(program.clone()),
        None => Program::Own(std::env::current_exe().map_err(RunError::Start)?),
    };
    let local = LocalExecutor {
        store: Arc::new(session.store.clone()),
        build: session.build_digest(program.path()),
        program,
        memory: MemoryWatch::new(schedule.memory),
        job: None,
    };
    let profile = &options.profile;
    if !profile.has_batch_system() || !session.store.is_writable() {
        return Ok(with_remote(session, local));
    }
    // `cancel` finds it there, also where this process is gone.
    let path = session
        .store
        .root()
        .join("runs")
        .join(&schedule.run)
        .join("profile.json");
    let text = serde_json::to_vec(profile).expect("plain values serialise");
    std::fs::write(&path, text).map_err(|source| RunError::Create { path, source })?;
    let store = session.store.clone();
    let executor = ClusterExecutor::new(local, store, profile.clone(), &schedule.run)?;
    Ok(with_remote(session, executor))
}

/// The executor, with the shared cache around it where there is one.
fn with_remote(
    session: &Session,
    executor: impl Executor + Send + Sync + 'static,
) -> Box<dyn Executor> {
    #[cfg(feature = "remote")]
    if let Some(store) = &session.remote {
        return Box::new(crate::exec::RemoteExecutor {
            inner: Arc::new(executor),
            store: store.clone(),
        });
    }
    let _ = session;
    Box::new(executor)
}

#[cfg(feature = "remote")]
use remote::finish_remote;

#[cfg(not(feature = "remote"))]
impl Reporter<'_> {
    fn tell_news(&mut self, _: &Session) {}
}

#[cfg(not(feature = "remote"))]
fn finish_remote(
    _: &Session,
    _: &RunOptions,
    _: &RunOutcome,
    _: &mut Reporter<'_>,
) -> Option<(String, Transfer)> {
    None
}

/// Writes the run's record and the results.
fn publish(
    session: &Session,
    options: &RunOptions,
    schedule: &Options,
    outcome: &RunOutcome,
    started: SystemTime,
) -> Result<Publication, ResultsError> {
    let started = humantime::format_rfc3339_seconds(started).to_string();
    let (plan, inputs) = (&session.plan, &session.inputs);
    let history = RunRecord::history(plan, outcome, inputs, schedule, &started);
    let run_dir = session.store.root().join("runs").join(&schedule.run);
    let text = serde_json::to_vec(&history).expect("plain values serialise");
    if session.store.is_writable()
        && let Err(e) = std::fs::write(run_dir.join("run.json"), text)
    {
        tracing::warn!("the record of this run could not be kept in the cache: {e}");
    }
    let record = || RunRecord::whole(plan, outcome, inputs, schedule, &started);
    let to = options.destination();
    session.outside_cache(|| results::publish(plan, outcome, &session.store, &to, &record))
}
