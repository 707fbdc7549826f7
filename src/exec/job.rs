//! The side of a batch job: `clcc-flow exec-node --commit TASK`.
//!
//! A job runs the orders of its task in turn, each as the local executor does on the coordinator's machine: a child
//! process in a private directory, then publication and the record. So a job needs nobody: a coordinator that dies
//! loses nothing. Meanwhile it beats, and writes what the stage says into a file that coordinators follow. A job
//! that finds its turn ended or a newer one taken does nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clcc_cache::{
    ActionRecord, ActionStore, Artifact, CacheResult, Digest, KeyLock, Lookup, OutputRecord, Piece,
    Store, TreeEntry, Turn, digest_bytes, read_plain,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::action::{Action, Failure, FailureClass};
use super::local::{Grant, Job, JobEvent, JobOutcome, LocalExecutor, Place, Program};
use super::memory_watch::{MemoryWatch, held_by};
use crate::exec::Executor as _;
use crate::key::Preimage;

/// What one node is to do away from its coordinator: `order.json` of its turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// The node, for people.
    pub(super) node: String,
    /// What the key was made of.
    pub(super) preimage: Preimage,
    /// What the child is asked to do.
    pub(super) action: Action,
    /// Bytes of everything it reads.
    pub(super) input_bytes: u64,
    /// What was asked of the batch system.
    pub(super) asked: Asked,
    /// `timeout_secs` of the stage.
    pub(super) timeout: Option<Duration>,
    /// Fingerprint of a record that is to be made anew.
    pub(super) before: Option<Digest>,
    /// How often to beat.
    pub(super) beat: Duration,
}

/// What is asked of the batch system for a node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Seconds until it is ended.
    pub(super) seconds: u64,
    /// Cores.
    pub(super) cores: usize,
}

/// Who took a turn: `claim.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The run.
    pub(crate) run: String,
    /// The machine of its coordinator.
    pub(crate) host: String,
    /// What it was handed in with; `None` until that is known.
    pub(crate) batch: Option<String>,
    /// Its place in that.
    pub(crate) task: usize,
    /// When it was handed in, in seconds since the epoch.
    pub(crate) at: f64,
}

/// The orders of one job: `<n>.json` of its batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// The cache.
    pub(super) cache: PathBuf,
    /// Key and turn of each order.
    pub(super) orders: Vec<(Digest, u32)>,
    /// Whether a job ends with the process that started it. Where the batch system's own process is killed, it no
    /// longer knows of the job and gives its place to others.
    pub(super) dies_with_parent: bool,
    /// Digest of the program, for the records.
    pub(super) digest: Option<Digest>,
}

/// That a job is alive: `beat.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// Rises with every beat.
    pub(crate) beat: u64,
    /// Which start of the job it is.
    pub(crate) attempt: String,
    /// The machine.
    pub(crate) host: String,
    /// The job's id as the batch system tells it.
    pub(crate) job: Option<String>,
    /// When the attempt began, in seconds since the epoch.
    pub(crate) began: f64,
    /// Memory of its process tree in bytes.
    pub(crate) rss: u64,
}

/// How a turn ended: `end.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub(crate) enum TurnEnd {
    /// Its record is committed.
    Published,
    /// The stage, or what it needed, failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// A coordinator has given it up.
    GivenUp {
        /// Why.
        why: String,
    },
}

/// That an attempt was asked to end before it was done: `interrupted.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interrupted {
    /// The attempt.
    pub(crate) attempt: String,
    /// Seconds since the job began.
    pub(crate) after: f64,
}

/// What tells a record from another under the same key.
pub(super) fn fingerprint(record: &ActionRecord) -> Digest {
    digest_bytes(&serde_json::to_vec(record).expect("plain values serialise"))
}

/// The record of a key that counts: whole, and not the one that was to be made anew.
pub(super) fn made(store: &Store, key: &Digest, before: Option<Digest>) -> Option<ActionRecord> {
    match store.lookup(key) {
        Lookup::Hit(record) if Some(fingerprint(&record)) != before => Some(*record),
        _ => None,
    }
}

/// Seconds since the epoch by this machine.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

/// The name of this machine.
pub(crate) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The id that a batch system gives the job in its environment.
fn job_id() -> Option<String> {
    let of = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if let (Some(array), Some(task)) = (of("SLURM_ARRAY_JOB_ID"), of("SLURM_ARRAY_TASK_ID")) {
        return Some(format!("{array}_{task}"));
    }
    [
        "SLURM_JOB_ID",
        "PBS_JOBID",
        "LSB_JOBID",
        "HQ_JOB_ID",
        "JOB_ID",
    ]
    .into_iter()
    .find_map(of)
}

/// Runs the orders of a task. Returns the exit code: 0 where all are done, 143 where it was asked to end.
pub fn exec_task(file: &Path) -> i32 {
    let task: Task = match read_plain(file)
        .map_err(|e| e.to_string())
        .and_then(|b| serde_json::from_slice(&b).map_err(|e| e.to_string()))
    {
        Ok(task) => task,
        Err(e) => {
            tracing::error!("cannot read task `{}`: {e}", file.display());
            return 1;
        }
    };
    if task.dies_with_parent {
        let signal = Some(rustix::process::Signal::KILL);
        let _ = rustix::process::set_parent_process_death_signal(signal);
    }
    let (store, _umask) = match crate::run::open_cache(&task.cache) {
        Ok(opened) => opened,
        Err(e) => {
            tracing::error!("cannot open the cache `{}`: {e}", task.cache.display());
            return 1;
        }
    };
    // Where a lock reaches other machines, it keeps a collection away.
    let _shared = store.try_share();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("cannot start: {e}");
            return 1;
        }
    };
    let (raise, cancel) = watch::channel(0u8);
    let raise = Arc::new(raise);
    runtime.block_on(async {
        tokio::spawn(hear_term(Arc::clone(&raise)));
        let began = Instant::now();
        let mut code = 0;
        for (key, number) in &task.orders {
            let turn = store.turn(key, *number);
            let worker = Worker {
                store: &store,
                turn: &turn,
                build: task.digest,
                began,
            };
            match worker.run(Arc::clone(&raise), cancel.clone()).await {
                Step::Done => {}
                Step::Failed => code = 1,
                Step::Interrupted => return 143,
            }
        }
        code
    })
}

/// `SIGTERM` asks for an end: the time is up soon, or the place is needed.
async fn hear_term(raise: Arc<watch::Sender<u8>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return;
    };
    while term.recv().await.is_some() {
        raise.send_replace(1);
    }
}

enum Step {
    Done,
    Failed,
    Interrupted,
}

/// The work on one order.
struct Worker<'a> {
    store: &'a Store,
    turn: &'a Turn,
    build: Option<Digest>,
    began: Instant,
}

impl Worker<'_> {
    async fn run(&self, raise: Arc<watch::Sender<u8>>, cancel: watch::Receiver<u8>) -> Step {
        let Some(order) = self.turn.read::<Order>("order.json") else {
            tracing::error!("there is no order in `{}`", self.turn.dir.display());
            return Step::Failed;
        };
        if self.turn.has_ended() || is_superseded(self.store, self.turn) {
            return Step::Done;
        }
        if *cancel.borrow() > 0 {
            return self.interrupted("");
        }
        if made(self.store, &self.turn.key, order.before).is_some() {
            return self.end(&TurnEnd::Published);
        }
        let attempt = match self.turn.new_attempt() {
            Ok(attempt) => attempt,
            Err(e) => return self.end(&failed(super::cache_failure(&e))),
        };
        // A job that was asked to end and starts again is one that works.
        let _ = std::fs::remove_file(self.turn.dir.join("interrupted.json"));
        let heart = Heart::start(
            self.store,
            self.turn,
            &attempt,
            order.beat,
            Arc::clone(&raise),
        );
        let outcome = self.execute(order, &attempt, cancel.clone(), &heart).await;
        drop(heart);
        match outcome {
            JobOutcome::Published(..) => self.end(&TurnEnd::Published),
            JobOutcome::Failed(failure) if failure.class == FailureClass::Cancelled => {
                let name = attempt.file_name().unwrap_or_default().to_string_lossy();
                self.interrupted(&name)
            }
            JobOutcome::Failed(failure) => self.end(&failed(failure)),
        }
    }

    async fn execute(
        &self,
        order: Order,
        attempt: &Path,
        cancel: watch::Receiver<u8>,
        heart: &Heart,
    ) -> JobOutcome {
        let program = match std::env::current_exe() {
            Ok(program) => Program::Own(program),
            Err(e) => {
                let message = format!("cannot find the program: {e}");
                return JobOutcome::Failed(Failure::new(FailureClass::Transient, message));
            }
        };
        let executor = LocalExecutor {
            store: Arc::new(JobStore {
                store: self.store.clone(),
                attempt: attempt.to_path_buf(),
            }),
            program,
            build: self.build,
            memory: MemoryWatch::new(order.asked.memory),
            job: Some(self.told(&order, heart)),
        };
        let job = Job {
            node: 0,
            key: self.turn.key,
            preimage: order.preimage,
            action: order.action,
            log: attempt.join("log"),
            grant: Grant {
                memory: order.asked.memory,
                input_bytes: order.input_bytes,
                accelerator: None,
                timeout: order.timeout,
                place: Place::Here,
                seconds: None,
                longer: 0,
            },
        };
        let (sender, mut events) = mpsc::unbounded_channel();
        executor.submit(job, sender, cancel);
        let messages = self.turn.dir.join("messages.jsonl");
        while let Some(event) = events.recv().await {
            match event {
                JobEvent::Message(_, message) => {
                    let line = serde_json::to_string(&message).expect("plain values serialise");
                    // What cannot be told is lost, and the work goes on.
                    let _ = clcc_cache::append_plain(&messages)
                        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
                }
                JobEvent::Ended(_, _, outcome) => return outcome,
                JobEvent::Placed(..) | JobEvent::Note(_) => {}
            }
        }
        let message = "the engine ended before the stage";
        JobOutcome::Failed(Failure::new(FailureClass::Crash, message))
    }

    /// What the record says of the job: what was asked and how long it waited.
    fn told(&self, order: &Order, heart: &Heart) -> serde_json::Value {
        let claim = self.turn.read::<Claim>("claim.json");
        json!({
            "id": job_id(),
            "host": host(),
            "run": claim.as_ref().map(|c| c.run.clone()),
            "asked_memory": order.asked.memory,
            "asked_seconds": order.asked.seconds,
            "asked_cores": order.asked.cores,
            "waited_seconds": claim.map(|c| (heart.began - c.at).max(0.0)),
        })
    }

    fn end(&self, end: &TurnEnd) -> Step {
        if let Err(e) = self.turn.write("end.json", end) {
            tracing::error!("{e}");
        }
        match end {
            TurnEnd::Published => Step::Done,
            TurnEnd::Failed { .. } | TurnEnd::GivenUp { .. } => Step::Failed,
        }
    }

    fn interrupted(&self, attempt: &str) -> Step {
        let mark = Interrupted {
            attempt: attempt.to_string(),
            after: self.began.elapsed().as_secs_f64(),
        };
        let _ = self.turn.write("interrupted.json", &mark);
        Step::Interrupted
    }
}

fn failed(failure: Failure) -> TurnEnd {
    TurnEnd::Failed { failure }
}

fn is_superseded(store: &Store, turn: &Turn) -> bool {
    store
        .last_turn(&turn.key)
        .is_some_and(|last| last.number > turn.number)
}

/// Beats until it is dropped; ends the work where somebody took a newer turn.
struct Heart {
    stop: std::sync::mpsc::Sender<()>,
    began: f64,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Heart {
    fn start(
        store: &Store,
        turn: &Turn,
        attempt: &Path,
        period: Duration,
        raise: Arc<watch::Sender<u8>>,
    ) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let (store, turn, began) = (store.clone(), turn.clone(), now());
        let name = attempt.file_name().unwrap_or_default();
        let mut beat = Beat {
            beat: 0,
            attempt: name.to_string_lossy().into_owned(),
            host: host(),
            job: job_id(),
            began,
            rss: 0,
        };
        // The first beat is there before the stage begins.
        let _ = turn.write("beat.json", &beat);
        let work = move || {
            while stopped.recv_timeout(period) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                beat.beat += 1;
                beat.rss = held_by(std::process::id());
                let _ = turn.write("beat.json", &beat);
                if is_superseded(&store, &turn) {
                    raise.send_replace(2);
                }
            }
        };
        let thread = std::thread::Builder::new().name("beat".into()).spawn(work);
        Self {
            stop,
            began,
            thread: thread.ok(),
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The store of a job: it works in the folder of its attempt, which no coordinator sweeps.
#[derive(Debug)]
struct JobStore {
    store: Store,
    attempt: PathBuf,
}

impl ActionStore for JobStore {
    fn lookup(&self, key: &Digest) -> Lookup {
        self.store.lookup(key)
    }

    fn record(&self, key: &Digest) -> Option<ActionRecord> {
        self.store.record(key)
    }

    fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.store.artifact_path(digest)
    }

    fn files(&self, digest: &Digest) -> Option<Vec<(TreeEntry, Piece)>> {
        self.store.files(digest)
    }

    fn checkpoint_dir(&self, key: &Digest) -> PathBuf {
        self.store.checkpoint_dir(key)
    }

    fn root(&self) -> &Path {
        self.store.root()
    }

    fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>> {
        self.store.try_lock(key)
    }

    fn is_at_work(&self, key: &Digest) -> bool {
        ActionStore::is_at_work(&self.store, key)
    }

    fn has_job(&self, key: &Digest) -> bool {
        self.store.has_job(key)
    }

    fn new_attempt(&self, _key: &Digest) -> CacheResult<PathBuf> {
        clcc_cache::fresh_dir(&self.attempt, "work.").map_err(|source| clcc_cache::CacheError::Io {
            verb: "create a directory in",
            path: self.attempt.clone(),
            source,
        })
    }

    fn publish(&self, outputs: &[(PathBuf, Artifact)], record: &ActionRecord) -> CacheResult<()> {
        self.store.publish(outputs, record)
    }

    fn quarantine(&self, digest: &Digest) -> CacheResult<()> {
        self.store.quarantine(digest)
    }

    fn has(&self, output: &OutputRecord) -> bool {
        self.store.has(output)
    }
}
