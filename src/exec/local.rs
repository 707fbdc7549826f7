//! The executor on this machine: one child process per node, in its own process group.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clcc_cache::{
    ActionRecord, ActionStore, Artifact, Digest, OutputRecord, RECORD_FORMAT, failpoint, read_plain,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};

use super::action::{
    Action, FAULT, Failure, FailureClass, NodeMessage, NodeResult, io_class, panic_text,
};
use super::memory_watch::MemoryWatch;
use crate::key::Preimage;
use crate::plan::NodeId;

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// An action to be executed.
#[derive(Debug, Clone)]
pub struct Job {
    /// The node it is for.
    pub node: NodeId,
    /// Its key.
    pub key: Digest,
    /// What the key was made of.
    pub preimage: Preimage,
    /// What the child is asked to do.
    pub action: Action,
    /// Where the child's standard error is kept.
    pub log: PathBuf,
    /// What is set aside for it.
    pub grant: Grant,
}

/// What a job may use.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Memory that is expected of it, in bytes.
    pub memory: u64,
    /// Bytes of everything it reads.
    pub input_bytes: u64,
    /// The accelerator it has for itself.
    pub accelerator: Option<String>,
    /// It is ended after this time.
    pub timeout: Option<Duration>,
    /// Where it runs.
    pub place: Place,
    /// Wall time that is expected of it, where something was learned.
    pub seconds: Option<f64>,
    /// How often its time limit was too short: each doubles it.
    pub longer: u32,
}

/// Where a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// On this machine, within its cores and memory.
    #[default]
    Here,
    /// Wherever a batch system has room.
    Away,
}

/// What may be away from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Nodes at once.
    pub nodes: usize,
    /// Cores of a node that can use several.
    pub cores: usize,
}

/// What the executor says about a job.
#[derive(Debug)]
pub enum JobEvent {
    /// A message of the stage.
    Message(NodeId, NodeMessage),
    /// A batch system has it.
    Placed(NodeId, Placed),
    /// Something to know about the executor itself.
    Note(String),
    /// It ended.
    Ended(NodeId, Duration, JobOutcome),
}

/// A node's job in a batch system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its id there; `None` where it is not known yet.
    pub job: Option<String>,
    /// The run that had handed it in, where that was another.
    pub adopted_from: Option<String>,
}

/// How a job ended.
#[derive(Debug)]
pub enum JobOutcome {
    /// Its outputs are published and its record is committed.
    Published(Arc<ActionRecord>, u64),
    /// It failed; nothing was published.
    Failed(Failure),
}

/// Cancels jobs: 0 goes on, 1 asks children to end, 2 ends them at once.
pub type Cancel = watch::Receiver<u8>;

/// Runs actions somewhere. A job's outputs are in the store before [`JobEvent::Ended`] is sent.
pub trait Executor {
    /// Starts a job; events follow on the channel.
    fn submit(&self, job: Job, events: mpsc::UnboundedSender<JobEvent>, cancel: Cancel);

    /// What may be away from this machine; `None`: nothing.
    fn away(&self) -> Option<Away> {
        None
    }

    /// Where the node of that key runs, which is expected to take `seconds`.
    fn place(&self, _key: &Digest, _seconds: f64) -> Place {
        Place::Here
    }
}

/// A program that runs nodes when it is started with `exec-node ACTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// That of this process, whose file is there.
    Own(PathBuf),
    /// Another.
    Other(PathBuf),
}

impl Program {
    /// Its file.
    pub fn path(&self) -> &Path {
        let (Self::Own(path) | Self::Other(path)) = self;
        path
    }

    /// What is executed: of this process its own image where there is one, as the file may be replaced during a
    /// run.
    fn image(&self) -> &Path {
        let image = Path::new("/proc/self/exe");
        match self {
            Self::Own(_) if image.exists() => image,
            _ => self.path(),
        }
    }
}

/// Children of this process.
#[derive(Debug, Clone)]
pub struct LocalExecutor {
    /// The store that outputs are published to.
    pub store: Arc<dyn ActionStore>,
    /// The program that the children run.
    pub program: Program,
    /// Digest of this program, for the records.
    pub build: Option<Digest>,
    /// What the children hold in memory.
    pub memory: MemoryWatch,
    /// What the records say of the batch job that this process is.
    pub job: Option<serde_json::Value>,
}

impl Executor for LocalExecutor {
    fn submit(&self, job: Job, events: mpsc::UnboundedSender<JobEvent>, cancel: Cancel) {
        let this = self.clone();
        let (started, node) = (Instant::now(), job.node);
        let messages = events.clone();
        let work = tokio::spawn(async move {
            let mut attempt = RemoveOnDrop(None);
            let ended = this.execute(job, &mut attempt, &messages, cancel).await;
            (attempt, ended.unwrap_or_else(JobOutcome::Failed))
        });
        tokio::spawn(async move {
            // A panic has dropped the child, which ends it, and the attempt.
            let (attempt, outcome) = work
                .await
                .unwrap_or_else(|e| (RemoveOnDrop(None), JobOutcome::Failed(panicked(e))));
            let _ = events.send(JobEvent::Ended(node, started.elapsed(), outcome));
            // Removing what was not moved takes time that no other node has to wait for.
            tokio::task::spawn_blocking(move || drop(attempt));
        });
    }
}

pub(super) fn crash(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Crash, message)
}

/// The executor itself has a fault: its node fails, and the run goes on.
fn panicked(e: tokio::task::JoinError) -> Failure {
    let text = match e.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()).to_string(),
        Err(e) => e.to_string(),
    };
    Failure {
        hint: Some(FAULT.to_string()),
        ..crash(format!("the engine panicked: {text}"))
    }
}

pub(crate) fn cache_failure(e: &clcc_cache::CacheError) -> Failure {
    match e {
        clcc_cache::CacheError::Io { source, path, .. } => Failure {
            hint: crate::disk::hint(path, source),
            ..Failure::new(io_class(source, true), format!("{e}: {source}"))
        },
        other => crash(other.to_string()),
    }
}

/// What a child needs before it starts.
struct Prepared {
    attempt: PathBuf,
    action_file: PathBuf,
    log: std::fs::File,
}

impl LocalExecutor {
    async fn execute(
        &self,
        job: Job,
        remove: &mut RemoveOnDrop,
        events: &mpsc::UnboundedSender<JobEvent>,
        cancel: Cancel,
    ) -> Result<JobOutcome, Failure> {
        let attempt = self
            .store
            .new_attempt(&job.key)
            .map_err(|e| cache_failure(&e))?;
        remove.0 = Some(attempt.clone());
        let prepared = prepare(&job, attempt)?;
        let attempt = prepared.attempt.clone();
        let oom_kills = oom_kills();
        let mut child = self.spawn(&job, prepared)?;
        let pid = child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id as i32));
        let messages = child
            .stdout
            .take()
            .map(|out| tokio::spawn(forward(out, job.node, events.clone())));
        let end = tokio::select! {
            end = wait(&mut child, cancel, job.grant.timeout) => end,
            () = self.watch_memory(pid, job.grant.memory) => unreachable!("watches for ever"),
        };
        let over_budget = pid.and_then(|pid| self.memory.ended(pid));
        let end = end.map_err(|e| crash(format!("cannot wait for the stage: {e}")))?;
        // The pipe has closed with the child: its last warning is told before its end.
        let said = match messages {
            Some(messages) => messages.await.ok().flatten(),
            None => None,
        };
        let result: Option<NodeResult> = read_plain(&attempt.join("result.json"))
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok());
        match result {
            // A stage that is asked to end says that it was cancelled: the clock's word counts.
            Some(NodeResult {
                failure: Some(failure),
                ..
            }) if !matches!(end.by, EndedBy::Timeout) => Err(failure),
            Some(result) if end.status.success() => self.publish(job, attempt, result).await,
            _ => match said {
                Some(failure) if matches!(end.by, EndedBy::Itself) => Err(failure),
                _ => Err(self.why_it_ended(&end, over_budget, oom_kills, &job)),
            },
        }
    }

    fn spawn(&self, job: &Job, prepared: Prepared) -> Result<tokio::process::Child, Failure> {
        let mut command = tokio::process::Command::new(self.program.image());
        command.arg0("clcc-flow");
        if let Some(id) = &job.grant.accelerator {
            command.env("CUDA_VISIBLE_DEVICES", id);
        }
        command
            .arg("exec-node")
            .arg(&prepared.action_file)
            .env("RAYON_NUM_THREADS", job.action.threads.to_string())
            // candle's own pool waits by spinning, in addition to the threads granted above; what is large
            // runs in our operations, on those.
            .env("CANDLE_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(prepared.log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| {
                let program = self.program.path().display();
                crash(format!("cannot start `{program}`: {e}"))
            })
    }

    async fn publish(
        &self,
        job: Job,
        attempt: PathBuf,
        result: NodeResult,
    ) -> Result<JobOutcome, Failure> {
        let store = Arc::clone(&self.store);
        let (build, of) = (self.build, self.job.clone());
        let publish = move || publish(store.as_ref(), &job, &attempt, result, build, of);
        let published = tokio::task::spawn_blocking(publish).await;
        published.map_err(|e| crash(format!("publishing failed: {e}")))?
    }
}

/// Writes down what the child is to do, and opens its log.
fn prepare(job: &Job, attempt: PathBuf) -> Result<Prepared, Failure> {
    let io = |e: std::io::Error| {
        let message = format!("cannot prepare `{}`: {e}", attempt.display());
        Failure {
            hint: crate::disk::hint(&attempt, &e),
            ..Failure::new(io_class(&e, true), message)
        }
    };
    let checkpoints = &job.action.checkpoint_dir;
    if std::fs::symlink_metadata(checkpoints).is_ok_and(|m| m.is_symlink()) {
        // A stage would write beyond it.
        std::fs::remove_file(checkpoints).map_err(io)?;
    }
    let action_file = attempt.join("action.json");
    let text = serde_json::to_vec_pretty(&job.action)
        .map_err(|e| crash(format!("cannot write down what the stage is to do: {e}")))?;
    failpoint::reach("attempt.action")
        .and_then(|()| std::fs::write(&action_file, text))
        .map_err(io)?;
    if let Some(dir) = job.log.parent() {
        std::fs::create_dir_all(dir).map_err(io)?;
    }
    let log = std::fs::File::create(&job.log).map_err(io)?;
    Ok(Prepared {
        attempt,
        action_file,
        log,
    })
}

impl LocalExecutor {
    async fn watch_memory(&self, pid: Option<rustix::process::Pid>, expected: u64) {
        match pid {
            Some(pid) => self.memory.watch(pid, expected).await,
            None => std::future::pending().await,
        }
    }

    /// A child that ended without a result.
    fn why_it_ended(
        &self,
        end: &End,
        over_budget: Option<u64>,
        oom_kills_before: Option<u64>,
        job: &Job,
    ) -> Failure {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(bytes) = over_budget {
            let message = format!(
                "the stage was ended at {}: the run may hold {} in memory",
                gib(bytes),
                gib(self.memory.budget())
            );
            return Failure {
                hint: Some("give it more with --memory, or fewer jobs with -j".to_string()),
                ..Failure::new(FailureClass::Memory, message)
            };
        }
        match end.by {
            EndedBy::Cancel => {
                return Failure::new(FailureClass::Cancelled, "the run was cancelled");
            }
            EndedBy::Timeout => {
                let limit = job.grant.timeout.unwrap_or_default().as_secs();
                let message = format!("longer than its `timeout_secs: {limit}`");
                return Failure::new(FailureClass::Timeout, message);
            }
            EndedBy::Itself => {}
        }
        match end.status.signal() {
            // Whoever sent it: where the system counts its kills for memory, it must have been one.
            Some(9) if oom_kills_before.is_none_or(|before| oom_kills() > Some(before)) => {
                let message = "the system ended the stage: memory ran out (signal 9)";
                Failure {
                    hint: Some("give the run less to do at once with -j or --memory".to_string()),
                    ..Failure::new(FailureClass::Memory, message)
                }
            }
            Some(signal) => crash(format!("the stage's process ended by signal {signal}")),
            None => crash(format!(
                "the stage's process ended with code {} and no result",
                end.status.code().unwrap_or(-1)
            )),
        }
    }
}

/// Bytes in words.
pub(crate) fn gib(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// How many processes the kernel has ended for memory so far; `None` where it does not say.
fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|l| l.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
}

/// How a child ended, and who ended it.
struct End {
    status: std::process::ExitStatus,
    by: EndedBy,
}

enum EndedBy {
    Itself,
    Cancel,
    Timeout,
}

/// Sends each line of the child's standard output on as an event.
/// Returns the failure that it said last.
async fn forward(
    out: tokio::process::ChildStdout,
    node: NodeId,
    events: mpsc::UnboundedSender<JobEvent>,
) -> Option<Failure> {
    let mut lines = BufReader::new(out).lines();
    let mut failed = None;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<NodeMessage>(&line) {
            Ok(NodeMessage::Failed { failure }) => failed = Some(failure),
            Ok(message) => {
                let _ = events.send(JobEvent::Message(node, message));
            }
            Err(_) => {}
        }
    }
    failed
}

/// Waits for the child; asks it to end, then ends it, when the run is cancelled or its time is up.
async fn wait(
    child: &mut tokio::process::Child,
    mut cancel: Cancel,
    timeout: Option<Duration>,
) -> std::io::Result<End> {
    let group = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id as i32));
    let kill = |signal| {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    };
    let time_up = async {
        match timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let by = tokio::select! {
        status = child.wait() => return Ok(End { status: status?, by: EndedBy::Itself }),
        () = cancelled(&mut cancel, 1) => EndedBy::Cancel,
        () = time_up => EndedBy::Timeout,
    };
    if *cancel.borrow() < 2 {
        kill(rustix::process::Signal::TERM);
        tokio::select! {
            status = child.wait() => return Ok(End { status: status?, by }),
            () = tokio::time::sleep(GRACE) => {}
            () = cancelled(&mut cancel, 2) => {}
        }
    }
    kill(rustix::process::Signal::KILL);
    let status = child.wait().await?;
    Ok(End { status, by })
}

async fn cancelled(cancel: &mut Cancel, level: u8) {
    // A closed channel means that nobody can cancel any more.
    if cancel.wait_for(|l| *l >= level).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Moves the outputs into the store and commits the record.
fn publish(
    store: &dyn ActionStore,
    job: &Job,
    attempt: &std::path::Path,
    result: NodeResult,
    build: Option<Digest>,
    of: Option<serde_json::Value>,
) -> Result<JobOutcome, Failure> {
    let outputs = result.outputs.iter();
    let records = outputs.map(|(o, artifact)| OutputRecord::new(&o.role, o.key.clone(), artifact));
    let outputs: Vec<OutputRecord> = records.collect();
    let placed = result.outputs.into_iter();
    let placed: Vec<(PathBuf, Artifact)> = placed
        .map(|(output, artifact)| (output.measured_at(attempt, &artifact), artifact))
        .collect();
    let mut record = ActionRecord {
        format: RECORD_FORMAT,
        key: job.key,
        preimage: serde_json::to_value(&job.preimage).expect("plain values serialise"),
        outputs,
        metrics: result.metrics,
        warnings: result.warnings,
        measured: json!({
            "seconds": result.seconds,
            "peak_rss_bytes": result.peak_rss_bytes,
            "input_bytes": job.grant.input_bytes,
            "threads": job.action.threads,
            "device": job.action.device,
            "version": env!("CARGO_PKG_VERSION"),
            "build": build,
        }),
    };
    if let Some(of) = of {
        record.measured["job"] = of;
    }
    store
        .publish(&placed, &record)
        .map_err(|e| cache_failure(&e))?;
    let _ = std::fs::remove_dir_all(&job.action.checkpoint_dir);
    Ok(JobOutcome::Published(
        Arc::new(record),
        result.peak_rss_bytes,
    ))
}

/// The attempt directory goes whatever happens.
struct RemoveOnDrop(Option<PathBuf>);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(dir) = &self.0 {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
