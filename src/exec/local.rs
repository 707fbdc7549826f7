//! The executor on this machine: one child process per node, in its own process group.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clcc_cache::{ActionRecord, Digest, OutputRecord, RECORD_FORMAT, Store};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};

use super::action::{Action, Failure, NodeMessage, NodeResult};
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
}

/// What the executor says about a job.
#[derive(Debug)]
pub enum JobEvent {
    /// A message of the stage.
    Message(NodeId, NodeMessage),
    /// It ended.
    Ended(NodeId, Duration, JobOutcome),
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
}

/// Children of this process.
#[derive(Debug, Clone)]
pub struct LocalExecutor {
    /// The store that outputs are published to.
    pub store: Store,
    /// This program.
    pub program: PathBuf,
}

impl Executor for LocalExecutor {
    fn submit(&self, job: Job, events: mpsc::UnboundedSender<JobEvent>, cancel: Cancel) {
        let this = self.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let node = job.node;
            let outcome = this
                .execute(job, &events, cancel)
                .await
                .unwrap_or_else(JobOutcome::Failed);
            let _ = events.send(JobEvent::Ended(node, started.elapsed(), outcome));
        });
    }
}

fn plain(message: impl Into<String>) -> Failure {
    Failure {
        message: message.into(),
        hint: None,
        cancelled: false,
        disk: false,
    }
}

fn cache_failure(e: &clcc_cache::CacheError) -> Failure {
    let cause = std::error::Error::source(e)
        .map(|s| format!(": {s}"))
        .unwrap_or_default();
    Failure {
        disk: e.is_disk_or_permission(),
        ..plain(format!("{e}{cause}"))
    }
}

impl LocalExecutor {
    async fn execute(
        &self,
        job: Job,
        events: &mpsc::UnboundedSender<JobEvent>,
        cancel: Cancel,
    ) -> Result<JobOutcome, Failure> {
        let attempt = self
            .store
            .new_attempt(&job.key)
            .map_err(|e| cache_failure(&e))?;
        let guard = RemoveOnDrop(attempt.clone());
        let io = |e: std::io::Error| Failure {
            disk: matches!(
                e.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::PermissionDenied
            ),
            ..plain(format!("cannot prepare `{}`: {e}", attempt.display()))
        };
        let action_file = attempt.join("action.json");
        let text = serde_json::to_vec_pretty(&job.action).expect("plain values serialise");
        std::fs::write(&action_file, text).map_err(io)?;
        if let Some(dir) = job.log.parent() {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        let log = std::fs::File::create(&job.log).map_err(io)?;
        let mut child = tokio::process::Command::new(&self.program)
            .arg("exec-node")
            .arg(&action_file)
            .env("RAYON_NUM_THREADS", job.action.threads.to_string())
            // candle's own pool waits by spinning, beside the threads granted above; what is large
            // runs in our operations, on those.
            .env("CANDLE_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| plain(format!("cannot start `{}`: {e}", self.program.display())))?;
        let messages = child
            .stdout
            .take()
            .map(|out| tokio::spawn(forward(out, job.node, events.clone())));
        let status = wait(&mut child, cancel)
            .await
            .map_err(|e| plain(format!("cannot wait for the stage: {e}")))?;
        // The pipe has closed with the child: its last warning is told before its end.
        if let Some(messages) = messages {
            let _ = messages.await;
        }
        let result: Option<NodeResult> = std::fs::read(attempt.join("result.json"))
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok());
        let store = self.store.clone();
        let outcome = match result {
            Some(NodeResult {
                failure: Some(failure),
                ..
            }) => Err(failure),
            Some(result) if status.success() => {
                let published =
                    tokio::task::spawn_blocking(move || publish(&store, &job, &attempt, result))
                        .await;
                published.map_err(|e| plain(format!("publishing failed: {e}")))?
            }
            _ => Err(crashed(status)),
        };
        drop(guard);
        outcome
    }
}

/// Sends each line of the child's standard output on as an event.
async fn forward(
    out: tokio::process::ChildStdout,
    node: NodeId,
    events: mpsc::UnboundedSender<JobEvent>,
) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(message) = serde_json::from_str::<NodeMessage>(&line) {
            let _ = events.send(JobEvent::Message(node, message));
        }
    }
}

/// Waits for the child; asks it to end, then ends it, when the run is cancelled.
async fn wait(
    child: &mut tokio::process::Child,
    mut cancel: Cancel,
) -> std::io::Result<std::process::ExitStatus> {
    let group = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id as i32));
    let kill = |signal| {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    };
    tokio::select! {
        status = child.wait() => return status,
        () = cancelled(&mut cancel, 1) => {}
    }
    if *cancel.borrow() == 1 {
        kill(rustix::process::Signal::TERM);
        tokio::select! {
            status = child.wait() => return status,
            () = tokio::time::sleep(GRACE) => {}
            () = cancelled(&mut cancel, 2) => {}
        }
    }
    kill(rustix::process::Signal::KILL);
    child.wait().await
}

async fn cancelled(cancel: &mut Cancel, level: u8) {
    // A closed channel means that nobody can cancel any more.
    if cancel.wait_for(|l| *l >= level).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn crashed(status: std::process::ExitStatus) -> Failure {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(9) => Failure {
            hint: Some("the system ends processes this way when memory runs out".to_string()),
            ..plain("the stage's process was killed (signal 9)")
        },
        Some(signal) => plain(format!("the stage's process ended by signal {signal}")),
        None => plain(format!(
            "the stage's process ended with code {} and no result",
            status.code().unwrap_or(-1)
        )),
    }
}

/// Moves the outputs into the store and commits the record.
fn publish(
    store: &Store,
    job: &Job,
    attempt: &std::path::Path,
    result: NodeResult,
) -> Result<JobOutcome, Failure> {
    let mut outputs = Vec::new();
    for (output, artifact) in &result.outputs {
        store
            .insert(&attempt.join("out").join(output.relative()), artifact)
            .map_err(|e| cache_failure(&e))?;
        outputs.push(OutputRecord {
            role: output.role.clone(),
            key: output.key.clone(),
            form: artifact.form,
            digest: artifact.digest,
            bytes: artifact.bytes,
        });
    }
    let record = ActionRecord {
        format: RECORD_FORMAT,
        key: job.key,
        preimage: serde_json::to_value(&job.preimage).expect("plain values serialise"),
        outputs,
        metrics: result.metrics,
        warnings: result.warnings,
        measured: json!({
            "seconds": result.seconds,
            "peak_rss_bytes": result.peak_rss_bytes,
            "threads": job.action.threads,
            "device": job.action.device,
            "version": env!("CARGO_PKG_VERSION"),
        }),
    };
    store.commit(&record).map_err(|e| cache_failure(&e))?;
    let _ = std::fs::remove_dir_all(&job.action.checkpoint_dir);
    Ok(JobOutcome::Published(
        Arc::new(record),
        result.peak_rss_bytes,
    ))
}

/// The attempt directory goes whatever happens.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
