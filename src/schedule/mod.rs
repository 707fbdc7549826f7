//! The run loop: one dispatcher owns the state of every node, admits ready ones while cores are
//! free, and turns what executors report into events. Executors do the work; reporters only read
//! events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clcc_cache::{ActionRecord, Digest, KeyLock, Store};
use clcc_stages::stage::DeviceChoice;
use tokio::sync::mpsc;

use crate::decide::{Decider, Decision, Known, Reason};
use crate::events::{EVENT_SCHEMA, Event};
use crate::exec::{
    Action, ActionInput, ActionOutput, Cancel, Executor, Failure, Job, JobEvent, JobOutcome,
    NodeMessage,
};
use crate::key::{Preimage, stage_seed};
use crate::plan::{NodeId, NodeInput, Plan};

/// How often a key that another process computes is looked up again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cores in use.
    pub jobs: usize,
    /// Stop admitting after the first failure.
    pub fail_fast: bool,
    /// Device asked for.
    pub device: DeviceChoice,
    /// Name of the run.
    pub run: String,
    /// Directory of this run's logs.
    pub logs: PathBuf,
}

/// Where a node ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Found in the cache.
    Cached(Arc<ActionRecord>),
    /// Ran.
    Ran(Arc<ActionRecord>, f64),
    /// Failed.
    Failed(Failure),
    /// Not run, and why.
    Skipped(String),
}

impl Outcome {
    /// The record, where there is one.
    pub fn record(&self) -> Option<&Arc<ActionRecord>> {
        match self {
            Self::Cached(r) | Self::Ran(r, _) => Some(r),
            Self::Failed(_) | Self::Skipped(_) => None,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// One per node.
    pub nodes: Vec<Outcome>,
    /// Wall time.
    pub seconds: f64,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

impl RunOutcome {
    /// (ran, cached, failed, skipped)
    pub fn counts(&self) -> (usize, usize, usize, usize) {
        let count = |f: fn(&Outcome) -> bool| self.nodes.iter().filter(|n| f(n)).count();
        (
            count(|n| matches!(n, Outcome::Ran(..))),
            count(|n| matches!(n, Outcome::Cached(_))),
            count(|n| matches!(n, Outcome::Failed(_))),
            count(|n| matches!(n, Outcome::Skipped(_))),
        )
    }
}

/// Runs a plan. `cancel` rises to 1 to finish cleanly and to 2 to stop at once.
pub async fn run(
    decider: &Decider<'_>,
    executor: &dyn Executor,
    options: &Options,
    cancel: Cancel,
    sink: &mut dyn FnMut(&Event),
) -> RunOutcome {
    let started = Instant::now();
    let plan = decider.plan;
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut dispatcher = Dispatcher {
        decider,
        plan,
        store: decider.store,
        executor,
        options,
        sink,
        sender,
        cancel: cancel.clone(),
        outcomes: vec![None; plan.nodes.len()],
        known: vec![None; plan.nodes.len()],
        missing: (0..plan.nodes.len())
            .map(|i| plan.producers(i).len())
            .collect(),
        ready: BTreeMap::new(),
        running: BTreeMap::new(),
        free: options.jobs.max(1),
        stopped: None,
    };
    dispatcher.emit(&Event::Started {
        schema: EVENT_SCHEMA,
        run: options.run.clone(),
        workflow: plan.name.clone(),
        nodes: plan.nodes.len(),
        jobs: options.jobs,
    });
    dispatcher.work(receiver, cancel).await;
    let cancelled = dispatcher.stopped.as_deref() == Some(CANCELLED);
    let nodes = dispatcher
        .outcomes
        .into_iter()
        .map(|o| o.expect("every node ended"))
        .collect();
    let outcome = RunOutcome {
        nodes,
        seconds: started.elapsed().as_secs_f64(),
        cancelled,
    };
    let (ran, cached, failed, skipped) = outcome.counts();
    sink(&Event::Finished {
        ran,
        cached,
        failed,
        skipped,
        seconds: outcome.seconds,
    });
    outcome
}

const CANCELLED: &str = "the run was cancelled";

struct Ready {
    key: Digest,
    preimage: Box<Preimage>,
    reasons: Vec<Reason>,
}

struct Running {
    key: Digest,
    reasons: Vec<Reason>,
    threads: usize,
    log: PathBuf,
    _lock: KeyLock,
}

struct Dispatcher<'a> {
    decider: &'a Decider<'a>,
    plan: &'a Plan,
    store: &'a Store,
    executor: &'a dyn Executor,
    options: &'a Options,
    sink: &'a mut dyn FnMut(&Event),
    sender: mpsc::UnboundedSender<JobEvent>,
    cancel: Cancel,
    outcomes: Vec<Option<Outcome>>,
    known: Known,
    missing: Vec<usize>,
    ready: BTreeMap<NodeId, Ready>,
    running: BTreeMap<NodeId, Running>,
    free: usize,
    /// Why nothing is admitted any more.
    stopped: Option<String>,
}

impl Dispatcher<'_> {
    fn emit(&mut self, event: &Event) {
        (self.sink)(event);
    }

    fn id(&self, node: NodeId) -> String {
        self.plan.nodes[node].id.clone()
    }

    async fn work(&mut self, mut receiver: mpsc::UnboundedReceiver<JobEvent>, mut cancel: Cancel) {
        for node in 0..self.plan.nodes.len() {
            if self.missing[node] == 0 && self.outcomes[node].is_none() {
                self.resolve(node);
            }
        }
        loop {
            if *cancel.borrow_and_update() > 0 && self.stopped.is_none() {
                self.stopped = Some(CANCELLED.to_string());
            }
            let blocked = self.admit();
            if let Some(why) = self.stopped.clone() {
                for node in std::mem::take(&mut self.ready).into_keys() {
                    self.skip(node, why.clone());
                }
            }
            if self.running.is_empty() && self.ready.is_empty() {
                break;
            }
            tokio::select! {
                event = receiver.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => break,
                },
                Ok(()) = cancel.changed(), if self.stopped.is_none() => {}
                () = tokio::time::sleep(LOCK_POLL), if blocked => {}
            }
        }
        for node in 0..self.plan.nodes.len() {
            if self.outcomes[node].is_none() {
                let why = self
                    .stopped
                    .clone()
                    .unwrap_or_else(|| "it never became ready".to_string());
                self.skip(node, why);
            }
        }
    }

    /// All producers of the node have ended: reuse, skip, or make ready.
    fn resolve(&mut self, node: NodeId) {
        let blocked_by: Vec<String> = self
            .plan
            .producers(node)
            .into_iter()
            .filter(|&p| self.known[p].is_none())
            .map(|p| self.plan.nodes[p].id.clone())
            .collect();
        if !blocked_by.is_empty() {
            self.skip(node, format!("it needs `{}`", blocked_by.join("`, `")));
            return;
        }
        match self.decider.decide(node, &self.known) {
            Decision::Hit(record) => self.reuse(node, record),
            _ if self.plan.nodes[node].cached_only => {
                self.skip(node, "not selected, and not in the cache".to_string());
            }
            Decision::Run {
                key,
                preimage,
                reasons,
            } => {
                self.ready.insert(
                    node,
                    Ready {
                        key,
                        preimage,
                        reasons,
                    },
                );
            }
            Decision::Unknown => self.skip(node, "what it reads is not known".to_string()),
        }
    }

    fn reuse(&mut self, node: NodeId, record: Arc<ActionRecord>) {
        let event = Event::DidReuse {
            id: self.id(node),
            key: record.key.to_string(),
        };
        self.emit(&event);
        self.end(node, Outcome::Cached(record));
    }

    fn skip(&mut self, node: NodeId, because: String) {
        let event = Event::DidSkip {
            id: self.id(node),
            because: because.clone(),
        };
        self.emit(&event);
        self.end(node, Outcome::Skipped(because));
    }

    fn end(&mut self, node: NodeId, outcome: Outcome) {
        self.known[node] = outcome.record().cloned();
        self.outcomes[node] = Some(outcome);
        let consumers: BTreeSet<NodeId> = self.plan.consumers(node).collect();
        for consumer in consumers {
            self.missing[consumer] -= 1;
            if self.missing[consumer] == 0 && self.outcomes[consumer].is_none() {
                self.resolve(consumer);
            }
        }
    }

    /// Starts what fits. Returns whether something waits for a key that another process computes.
    fn admit(&mut self) -> bool {
        let mut blocked = false;
        let candidates: Vec<NodeId> = self.ready.keys().copied().collect();
        for node in candidates {
            if self.stopped.is_some() || self.free == 0 {
                break;
            }
            let Some(Ready { key, .. }) = self.ready.get(&node) else {
                continue;
            };
            let key = *key;
            let lock = match self.store.try_lock(&key) {
                Ok(Some(lock)) => lock,
                Ok(None) => {
                    blocked = true;
                    continue;
                }
                Err(e) => {
                    self.ready.remove(&node);
                    self.fail(
                        node,
                        Failure {
                            message: e.to_string(),
                            hint: None,
                            cancelled: false,
                            disk: e.is_disk_or_permission(),
                        },
                        0.0,
                        None,
                    );
                    continue;
                }
            };
            let waiting = self.ready.len();
            let ready = self.ready.remove(&node).expect("looked up above");
            // Whoever held the lock before may have made it.
            match self.decider.decide(node, &self.known) {
                Decision::Hit(record) => {
                    self.reuse(node, record);
                    // Its consumers may have become ready after the candidates were listed.
                    blocked = true;
                }
                _ => self.start(node, ready, lock, waiting),
            }
        }
        blocked
    }

    fn start(&mut self, node: NodeId, ready: Ready, lock: KeyLock, waiting: usize) {
        let threads = if self.plan.nodes[node].kind.multi_threaded {
            (self.free / waiting).max(1)
        } else {
            1
        };
        self.free -= threads;
        let log = self
            .options
            .logs
            .join(format!("{}.log", self.plan.nodes[node].id));
        let job = Job {
            node,
            key: ready.key,
            action: self.action(node, &ready, threads),
            preimage: *ready.preimage,
            log: log.clone(),
        };
        let event = Event::WillExecute {
            id: self.id(node),
            key: ready.key.to_string(),
            reason: ready.reasons.first().cloned(),
            reasons: ready.reasons.clone(),
            threads,
        };
        self.emit(&event);
        self.running.insert(
            node,
            Running {
                key: ready.key,
                reasons: ready.reasons,
                threads,
                log,
                _lock: lock,
            },
        );
        self.executor
            .submit(job, self.sender.clone(), self.cancel.clone());
    }

    fn action(&self, node: NodeId, ready: &Ready, threads: usize) -> Action {
        let n = &self.plan.nodes[node];
        let inputs = n
            .inputs
            .iter()
            .zip(&ready.preimage.inputs)
            .map(|(input, key)| match input {
                NodeInput::Artifact { role, branch, .. } => ActionInput {
                    role: (*role).to_string(),
                    branch: branch.clone(),
                    path: self.store.artifact_path(&key.digest),
                    format: None,
                    builtin: None,
                },
                NodeInput::File { role, input } => {
                    let spec = &self.plan.inputs[input];
                    let path = spec
                        .path
                        .as_ref()
                        .map(|p| std::path::absolute(p).unwrap_or_else(|_| p.clone()));
                    ActionInput {
                        role: (*role).to_string(),
                        branch: Default::default(),
                        path: path.unwrap_or_default(),
                        format: spec.format.clone(),
                        builtin: spec.builtin.clone(),
                    }
                }
            })
            .collect();
        let outputs = n
            .resolved
            .outputs
            .iter()
            .flat_map(|o| {
                let keys: Vec<Option<String>> = if o.keyed {
                    n.keys.iter().cloned().map(Some).collect()
                } else {
                    vec![None]
                };
                keys.into_iter().map(|key| ActionOutput {
                    role: o.role.to_string(),
                    key,
                })
            })
            .collect();
        Action {
            kind: n.kind.name.to_string(),
            params: n.resolved.params.clone(),
            seed: stage_seed(n.seed, n.kind.name),
            inputs,
            outputs,
            keys: n.keys.clone(),
            threads,
            device: self.options.device,
            checkpoint_dir: self.store.checkpoint_dir(&ready.key),
        }
    }

    fn on_event(&mut self, event: JobEvent) {
        match event {
            JobEvent::Message(node, NodeMessage::Progress { done, total, text }) => {
                let event = Event::Progress {
                    id: self.id(node),
                    done,
                    total,
                    message: text,
                };
                self.emit(&event);
            }
            JobEvent::Message(node, NodeMessage::Warning { text }) => {
                let event = Event::Warning {
                    id: self.id(node),
                    message: text,
                };
                self.emit(&event);
            }
            JobEvent::Ended(node, took, outcome) => {
                let Some(running) = self.running.remove(&node) else {
                    return;
                };
                self.free += running.threads;
                let seconds = took.as_secs_f64();
                match outcome {
                    JobOutcome::Published(record, peak_rss_bytes) => {
                        let event = Event::DidExecute {
                            id: self.id(node),
                            key: running.key.to_string(),
                            reason: running.reasons.first().cloned(),
                            seconds,
                            peak_rss_bytes,
                        };
                        self.emit(&event);
                        self.end(node, Outcome::Ran(record, seconds));
                    }
                    JobOutcome::Failed(failure) => {
                        self.fail(node, failure, seconds, Some(running.log))
                    }
                }
            }
        }
    }

    fn fail(&mut self, node: NodeId, failure: Failure, seconds: f64, log: Option<PathBuf>) {
        if failure.cancelled || *self.cancel.borrow() > 0 {
            self.stopped.get_or_insert_with(|| CANCELLED.to_string());
            self.skip(node, CANCELLED.to_string());
            return;
        }
        let tail = log
            .as_deref()
            .and_then(|l| std::fs::read_to_string(l).ok())
            .unwrap_or_default();
        let lines: Vec<String> = tail.lines().map(str::to_string).collect();
        let event = Event::DidFail {
            id: self.id(node),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            seconds,
            log: log.map(|l| l.display().to_string()).unwrap_or_default(),
            log_tail: lines[lines.len().saturating_sub(20)..].to_vec(),
        };
        self.emit(&event);
        if self.options.fail_fast {
            self.stopped.get_or_insert_with(|| {
                format!("`{}` failed (--fail-fast)", self.plan.nodes[node].id)
            });
        }
        self.end(node, Outcome::Failed(failure));
    }
}
