//! The executor on a cluster: nodes become jobs of a batch system, which share the cache with their coordinator.
//!
//! A job commits its own record ([`super::job`]), so the coordinator only hands in, follows and judges. It takes a
//! turn of a key before it hands a job in; a run that finds a turn taken follows that job instead, whoever's it is.
//! Short nodes run on the coordinator's machine, as children of its own.

mod batch;
mod command;
mod follow;
mod hand_in;
mod judge;
mod pack;
mod slurm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use clcc_cache::{ActionStore as _, CacheError, Digest, Store, fresh_file};
use tokio::sync::mpsc::UnboundedSender;

use super::action::{Failure, FailureClass};
use super::local::{Away, Cancel, Executor, Job, JobEvent, JobOutcome, LocalExecutor, Place};
use crate::profile::{ExecutorKind, Profile};
use batch::Batch;
use follow::Follower;

/// Nodes on a cluster, and short ones here.
#[derive(Debug)]
pub struct ClusterExecutor {
    local: LocalExecutor,
    store: Store,
    profile: Profile,
    submissions: Mutex<mpsc::Sender<Submission>>,
}

/// A job on its way to the batch system.
pub(super) struct Submission {
    pub(super) job: Job,
    pub(super) events: UnboundedSender<JobEvent>,
    pub(super) cancel: Cancel,
}

/// The batch system of a profile; `None`: it has none.
fn batch_system(profile: &Profile) -> Option<Arc<dyn Batch>> {
    match profile.executor {
        ExecutorKind::Local => None,
        ExecutorKind::Slurm => Some(Arc::new(slurm::Slurm::new(
            profile.options.clone(),
            profile.gpu.clone(),
        ))),
        ExecutorKind::Command => Some(Arc::new(profile.command.clone()?)),
    }
}

/// Ends jobs of a batch system by their ids.
///
/// # Errors
/// What it said.
pub fn cancel_jobs(profile: &Profile, ids: &[String]) -> Result<(), String> {
    match batch_system(profile) {
        Some(batch) if !ids.is_empty() => batch.cancel(ids),
        _ => Ok(()),
    }
}

/// Ids of the jobs of a run that the batch system still lists as waiting or running, though no coordinator noted
/// them.
pub fn jobs_of_run(profile: &Profile, run: &str) -> Vec<String> {
    let Some(batch) = batch_system(profile).filter(|b| b.finds_by_batch()) else {
        return Vec::new();
    };
    let lines = batch.poll(&[run.to_string()], &[]).unwrap_or_default();
    let open = lines
        .into_iter()
        .filter(|l| matches!(l.word, batch::Word::Pending | batch::Word::Running));
    open.map(|l| l.id).collect()
}

impl ClusterExecutor {
    /// An executor for the run `run`. Puts the program into the cache, where jobs find it.
    ///
    /// # Errors
    /// [`CacheError`] where the cache cannot take the program.
    pub fn new(
        local: LocalExecutor,
        store: Store,
        profile: Profile,
        run: &str,
    ) -> Result<Self, CacheError> {
        let program = keep_program(&store, local.program.path(), local.build)?;
        let batch = batch_system(&profile).expect("a profile with a batch system");
        let (send, receive) = mpsc::channel();
        let follower = Follower::new(
            store.clone(),
            profile.clone(),
            batch,
            run.to_string(),
            follow::Own {
                program,
                build: local.build,
            },
        );
        let spawned = std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || follower.work(&receive));
        spawned.map_err(|source| CacheError::Io {
            verb: "follow jobs in",
            path: store.root().to_path_buf(),
            source,
        })?;
        Ok(Self {
            local,
            store,
            profile,
            submissions: Mutex::new(send),
        })
    }
}

impl Executor for ClusterExecutor {
    fn submit(&self, job: Job, events: UnboundedSender<JobEvent>, cancel: Cancel) {
        if job.grant.place == Place::Here {
            return self.local.submit(job, events, cancel);
        }
        let node = job.node;
        let submission = Submission {
            job,
            events: events.clone(),
            cancel,
        };
        let sent = self
            .submissions
            .lock()
            .is_ok_and(|queue| queue.send(submission).is_ok());
        if !sent {
            let failure = Failure::new(
                FailureClass::Crash,
                "the thread that follows jobs has ended",
            );
            let outcome = JobOutcome::Failed(failure);
            let _ = events.send(JobEvent::Ended(node, Duration::ZERO, outcome));
        }
    }

    fn away(&self) -> Option<Away> {
        Some(Away {
            nodes: self.profile.jobs,
            cores: self.profile.cores,
        })
    }

    fn place(&self, key: &Digest, seconds: f64) -> Place {
        // A job that somebody handed in is followed, however short it is.
        match self.store.has_job(key) || seconds >= self.profile.local_under.as_secs_f64() {
            true => Place::Away,
            false => Place::Here,
        }
    }
}

/// Copies the program into the cache under its digest, once: jobs need no installation, and a program that is
/// replaced during a run is not theirs.
fn keep_program(
    store: &Store,
    program: &Path,
    build: Option<Digest>,
) -> Result<PathBuf, CacheError> {
    let digest = match build {
        Some(digest) => digest,
        None => clcc_cache::digest_file(program)?,
    };
    store.make_place("bin")?;
    let dir = store.make_place(&format!("bin/{digest}"))?;
    let kept = dir.join("clcc-flow");
    let size = |path: &Path| std::fs::metadata(path).map(|m| m.len()).ok();
    if size(&kept).is_some() && size(&kept) == size(program) {
        return Ok(kept);
    }
    let io = |verb, path: &Path| {
        let path = path.to_path_buf();
        move |source| CacheError::Io { verb, path, source }
    };
    let mut from = std::fs::File::open(program).map_err(io("open", program))?;
    let mut file = fresh_file(&dir, ".tmp.", 0o777).map_err(io("create a file in", &dir))?;
    std::io::copy(&mut from, &mut file)
        .and_then(|_| file.as_file().sync_all())
        .and_then(|()| {
            // A file that is open for writing cannot be run.
            let path = file.into_temp_path();
            path.persist(&kept).map_err(|e| e.error)
        })
        .map_err(io("write", &kept))?;
    Ok(kept)
}
