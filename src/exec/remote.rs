//! An executor before which what a node reads is fetched from a shared cache, and after which what it made is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clcc_cache::remote::Layered;
use clcc_cache::{ActionStore as _, Digest, NotBrought};
use tokio::sync::mpsc;

use super::action::{Failure, FailureClass};
use super::local::{Away, Cancel, Executor, Job, JobEvent, JobOutcome, Place, cache_failure};

/// Another executor, whose nodes may read what is still elsewhere. What any node made goes through here, whoever ran
/// it: a batch job commits to the cache of the cluster, and the coordinator sends it from there.
pub struct RemoteExecutor {
    /// Runs the nodes.
    pub inner: Arc<dyn Executor + Send + Sync>,
    /// The cache with its remote.
    pub store: Layered,
}

impl Executor for RemoteExecutor {
    fn submit(&self, job: Job, events: mpsc::UnboundedSender<JobEvent>, cancel: Cancel) {
        let (inner, store) = (Arc::clone(&self.inner), self.store.clone());
        let began = Instant::now();
        tokio::spawn(async move {
            if let Err(failure) = bring(&store, &job, cancel.clone()).await {
                let ended = JobOutcome::Failed(failure);
                let _ = events.send(JobEvent::Ended(job.node, began.elapsed(), ended));
                return;
            }
            let (sender, mut receiver) = mpsc::unbounded_channel();
            inner.submit(job, sender, cancel);
            while let Some(event) = receiver.recv().await {
                if let JobEvent::Ended(_, _, JobOutcome::Published(record, _)) = &event {
                    store.share(record);
                }
                let _ = events.send(event);
            }
        });
    }

    fn away(&self) -> Option<Away> {
        self.inner.away()
    }

    fn place(&self, key: &Digest, seconds: f64) -> Place {
        self.inner.place(key, seconds)
    }
}

/// Raises a flag when it goes.
struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Fetches what the job reads; a run that is cancelled does not wait for it.
async fn bring(store: &Layered, job: &Job, mut cancel: Cancel) -> Result<(), Failure> {
    let read = job.action.inputs.iter().filter(|input| input.in_cache);
    let digests: Vec<Digest> = read.filter_map(|input| input.digest).collect();
    if !store.has_absent(&digests) {
        return Ok(());
    }
    let over = Arc::new(AtomicBool::new(false));
    let _over = RaiseOnDrop(Arc::clone(&over));
    let (store, (send, mut receive)) = (store.clone(), tokio::sync::mpsc::channel(1));
    // Not a thread of the runtime, which would wait for it at its end.
    let spawned = std::thread::Builder::new().spawn(move || {
        let brought = store.bring(&digests, &|| over.load(Ordering::Relaxed));
        let _ = send.blocking_send(brought);
    });
    if let Err(e) = spawned {
        let message = format!("cannot start a thread that fetches: {e}");
        return Err(Failure::new(FailureClass::Transient, message));
    }
    let cancelled = || Failure::new(FailureClass::Cancelled, "the run was cancelled");
    let is_cancelled = async {
        // A closed channel means that nobody can cancel any more.
        if cancel.wait_for(|level| *level >= 1).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let brought = tokio::select! {
        brought = receive.recv() => brought,
        () = is_cancelled => return Err(cancelled()),
    };
    match brought {
        Some(Ok(())) => Ok(()),
        Some(Err(NotBrought::Gone(_))) => Err(Failure::new(
            FailureClass::NotFetched,
            "what it reads cannot be fetched",
        )),
        Some(Err(NotBrought::Disk(e))) => Err(cache_failure(&e)),
        Some(Err(NotBrought::Stopped)) => Err(cancelled()),
        None => {
            let message = "the thread that fetches has ended";
            Err(Failure::new(FailureClass::Crash, message))
        }
    }
}

/// How often the end of a run looks whether everything is sent.
pub(crate) const LOOK: Duration = Duration::from_millis(200);
