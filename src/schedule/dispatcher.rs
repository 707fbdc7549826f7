//! The state of every node of a run, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clcc_cache::{ActionRecord, Digest, KeyLock, read_plain};
use clcc_stages::stage::{Branch, DeviceChoice};
use tokio::sync::mpsc;

use super::action::action;
use super::{
    MemoryModel, Observation, Options, Outcome, SkipReason, StopReason, TimeModel, unseen_seconds,
};
use crate::decide::{Decider, Decision, Known, Reason, files_of_patient};
use crate::events::Event;
use crate::exec::{
    Away, Cancel, Executor, Failure, FailureClass, Grant, Job, JobEvent, JobOutcome, NodeMessage,
    Place, cache_failure, gib,
};
use crate::key::Preimage;
use crate::plan::{NodeId, NodeInput, Plan};

/// How often what cannot be waited for is looked at again: a key that another process computes, a
/// pause before another try.
const POLL: Duration = Duration::from_millis(100);
/// Pauses before a transient fault is tried again; as many tries as pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// How often the inputs of a node may be found damaged in one run before it is given up.
const MAX_DAMAGE: u32 = 3;
/// How many nodes that do not fit into memory are passed over in search of one that does.
const MAX_MISFITS: usize = 64;

/// A node whose inputs are known and which is not cached.
pub(super) struct Ready {
    pub(super) key: Digest,
    pub(super) preimage: Box<Preimage>,
    reasons: Vec<Reason>,
    /// Residual branches that failed and are left out.
    pub(super) without: BTreeSet<Branch>,
    input_bytes: u64,
    /// Memory that its last run took.
    own: Option<Observation>,
    /// Time that it is expected to take, where something was learned.
    seconds: Option<f64>,
    place: Place,
    not_before: Option<Instant>,
}

struct Running {
    key: Digest,
    reasons: Vec<Reason>,
    threads: usize,
    memory: u64,
    accelerator: Option<String>,
    log: PathBuf,
    place: Place,
    _lock: KeyLock,
}

/// What went wrong with a node so far.
#[derive(Default)]
struct Tried {
    transient: usize,
    memory: usize,
    time: u32,
    damage: u32,
    not_before: Option<Instant>,
}

pub(super) struct Dispatcher<'a> {
    decider: &'a Decider<'a>,
    plan: &'a Plan,
    executor: &'a dyn Executor,
    options: &'a Options,
    sink: &'a mut dyn FnMut(&Event),
    sender: mpsc::UnboundedSender<JobEvent>,
    receiver: mpsc::UnboundedReceiver<JobEvent>,
    cancel: Cancel,
    outcomes: Vec<Option<Outcome>>,
    known: Known,
    /// Producers of each node that have not ended.
    missing: Vec<usize>,
    ready: BTreeMap<NodeId, Ready>,
    running: BTreeMap<NodeId, Running>,
    tried: BTreeMap<NodeId, Tried>,
    /// Outputs found damaged, for the reason of the rerun.
    damaged: BTreeMap<NodeId, Reason>,
    memory: MemoryModel,
    time: TimeModel,
    /// What may be away from this machine.
    away: Option<Away>,
    free_cores: usize,
    free_accelerators: Vec<String>,
    /// Why nothing is admitted any more.
    stopped: Option<StopReason>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        decider: &'a Decider<'a>,
        executor: &'a dyn Executor,
        options: &'a Options,
        cancel: Cancel,
        sink: &'a mut dyn FnMut(&Event),
    ) -> Self {
        let plan = decider.plan;
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut free_accelerators = options.accelerators.clone();
        free_accelerators.reverse();
        Self {
            decider,
            plan,
            executor,
            options,
            sink,
            sender,
            receiver,
            cancel,
            outcomes: vec![None; plan.nodes.len()],
            known: vec![None; plan.nodes.len()],
            missing: (0..plan.nodes.len())
                .map(|i| plan.producers(i).len())
                .collect(),
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
            tried: BTreeMap::new(),
            damaged: BTreeMap::new(),
            memory: MemoryModel::default(),
            time: TimeModel::default(),
            away: executor.away(),
            free_cores: options.jobs.max(1),
            free_accelerators,
            stopped: None,
        }
    }

    pub(super) fn was_cancelled(&self) -> bool {
        self.stopped == Some(StopReason::Cancelled)
    }

    pub(super) fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
            .into_iter()
            .map(|o| o.expect("every node ended"))
            .collect()
    }

    fn emit(&mut self, event: &Event) {
        (self.sink)(event);
    }

    fn id(&self, node: NodeId) -> String {
        self.plan.nodes[node].id.clone()
    }

    /// Runs until every node has ended.
    pub(super) async fn work(&mut self) {
        for node in 0..self.plan.nodes.len() {
            // What a hit before it has made ready was resolved then.
            let is_open = self.outcomes[node].is_none() && !self.ready.contains_key(&node);
            if self.missing[node] == 0 && is_open {
                self.resolve(node);
            }
        }
        loop {
            if *self.cancel.borrow_and_update() > 0 && self.stopped.is_none() {
                self.stopped = Some(StopReason::Cancelled);
            }
            let look_again = self.admit();
            if let Some(why) = self.stopped.clone() {
                for node in std::mem::take(&mut self.ready).into_keys() {
                    self.skip(node, why.clone().into());
                }
            }
            if self.running.is_empty() && self.ready.is_empty() {
                break;
            }
            tokio::select! {
                Some(event) = self.receiver.recv() => self.on_event(event),
                Ok(()) = self.cancel.changed(), if self.stopped.is_none() => {}
                () = tokio::time::sleep(POLL), if look_again => {}
            }
        }
        for node in 0..self.plan.nodes.len() {
            if self.outcomes[node].is_none() {
                let stopped = self.stopped.clone().map(SkipReason::from);
                self.skip(node, stopped.unwrap_or(SkipReason::NeverReady));
            }
        }
    }

    /// All producers of the node have ended: reuse, skip, or make ready.
    fn resolve(&mut self, node: NodeId) {
        let without = match self.plan.left_out(node, |p| self.known[p].is_some()) {
            Ok(without) => without,
            Err(_) if self.plan.nodes[node].cached_only => {
                self.skip(node, SkipReason::NotSelected);
                return;
            }
            Err(blocked_by) => {
                let nodes = blocked_by.into_iter().map(|p| self.id(p)).collect();
                self.skip(node, SkipReason::Needs { nodes });
                return;
            }
        };
        match self.decider.decide_without(node, &self.known, &without) {
            Decision::Hit(record) => self.reuse(node, record),
            _ if self.plan.nodes[node].cached_only => {
                self.skip(node, SkipReason::NotSelected);
            }
            Decision::Run {
                key,
                preimage,
                mut reasons,
            } => {
                if let Some(reason) = self.damaged.remove(&node) {
                    reasons = vec![reason];
                }
                let own = self.decider.last_record(node);
                let input_bytes = self.input_bytes(node, &without);
                let kind = self.plan.nodes[node].kind;
                let own_time = own.as_ref().and_then(|r| Observation::of_time(&r.measured));
                let seconds = self.time.expect(kind.name, input_bytes, own_time);
                let is_heavy = kind.multi_threaded || kind.device_sensitive;
                let thought = seconds.unwrap_or_else(|| unseen_seconds(input_bytes, is_heavy));
                self.ready.insert(
                    node,
                    Ready {
                        key,
                        preimage,
                        reasons,
                        input_bytes,
                        seconds,
                        place: self.executor.place(&key, thought),
                        own: own.and_then(|r| Observation::of(&r.measured)),
                        without,
                        not_before: self.tried.get(&node).and_then(|t| t.not_before),
                    },
                );
            }
            Decision::Unknown => self.skip(node, SkipReason::InputsUnknown),
        }
    }

    fn reuse(&mut self, node: NodeId, record: Arc<ActionRecord>) {
        let event = Event::DidReuse {
            id: self.id(node),
            key: record.key.to_string(),
            remote: self.decider.store.is_elsewhere(&record),
        };
        self.emit(&event);
        self.learn(node, &record);
        self.end(node, Outcome::Cached(record));
    }

    fn learn(&mut self, node: NodeId, record: &ActionRecord) {
        if let Some(seen) = Observation::of(&record.measured) {
            self.memory.observe(self.plan.nodes[node].kind.name, seen);
        }
        if let Some(seen) = Observation::of_time(&record.measured) {
            self.time.observe(self.plan.nodes[node].kind.name, seen);
        }
    }

    fn skip(&mut self, node: NodeId, why: SkipReason) {
        let event = Event::DidSkip {
            id: self.id(node),
            because: why.to_string(),
            reason: Some(why.clone()),
        };
        self.emit(&event);
        self.end(node, Outcome::Skipped(why));
    }

    fn end(&mut self, node: NodeId, outcome: Outcome) {
        self.known[node] = outcome.record().cloned();
        self.outcomes[node] = Some(outcome);
        let plan = self.plan;
        for consumer in plan.consumers(node) {
            if self.outcomes[consumer].is_some() {
                continue;
            }
            self.missing[consumer] -= 1;
            if self.missing[consumer] == 0 && !self.running.contains_key(&consumer) {
                self.resolve(consumer);
            }
        }
    }

    /// Starts what fits. Returns whether something waits for what sends no event.
    fn admit(&mut self) -> bool {
        let mut look_again = false;
        let mut misfits = 0;
        let mut next = 0;
        while let Some((&node, ready)) = self.ready.range(next..).next() {
            if self.stopped.is_some() || (self.free_cores == 0 && self.free_away() == 0) {
                break;
            }
            next = node + 1;
            if ready.not_before.is_some_and(|t| t > Instant::now()) {
                look_again = true;
                continue;
            }
            let grant = match ready.place {
                Place::Here if self.free_cores > 0 => self.grant(node, ready),
                Place::Away if self.free_away() > 0 => Some(self.grant_away(node, ready)),
                Place::Here | Place::Away => None,
            };
            let Some(grant) = grant else {
                misfits += 1;
                if misfits == MAX_MISFITS && self.free_away() == 0 {
                    break;
                }
                continue;
            };
            let lock = match self.lock(ready) {
                Ok(Some(lock)) => lock,
                Ok(None) => {
                    look_again = true;
                    continue;
                }
                Err(e) => {
                    self.ready.remove(&node);
                    self.fail(node, cache_failure(&e), 0.0, None);
                    continue;
                }
            };
            let waiting = self.ready.len();
            let ready = self.ready.remove(&node).expect("looked up above");
            // Whoever held the lock before may have made it.
            match self
                .decider
                .decide_without(node, &self.known, &ready.without)
            {
                Decision::Hit(record) => {
                    self.reuse(node, record);
                    // Consumers that stand before it may have become ready.
                    look_again = true;
                }
                _ => self.start(node, ready, lock, grant, waiting),
            }
        }
        look_again
    }

    /// How many nodes more may be away.
    fn free_away(&self) -> usize {
        let most = self.away.map_or(0, |a| a.nodes);
        match most {
            0 => 0,
            most => most.saturating_sub(
                self.running
                    .values()
                    .filter(|r| r.place == Place::Away)
                    .count(),
            ),
        }
    }

    /// The lock of a key, if nobody works on it. Where a job does, it is followed, with or without the lock: a lock
    /// may not reach the machines that jobs run on, and whoever handed it in may hold the lock here.
    fn lock(&self, ready: &Ready) -> clcc_cache::CacheResult<Option<KeyLock>> {
        let store = self.decider.store;
        match ready.place {
            Place::Here if store.is_at_work(&ready.key) => Ok(None),
            Place::Here => store.try_lock(&ready.key),
            Place::Away => Ok(match store.try_lock(&ready.key)? {
                None if store.has_job(&ready.key) => Some(KeyLock::without_kernel()),
                lock => lock,
            }),
        }
    }

    /// What a node asks for that runs elsewhere: nothing here limits it.
    fn grant_away(&self, node: NodeId, ready: &Ready) -> Grant {
        let n = &self.plan.nodes[node];
        let tried = self.tried.get(&node);
        let memory = self.expected_memory(node, ready);
        Grant {
            // It had too little once: twice as much.
            memory: memory << tried.map_or(0, |t| t.memory.min(8)),
            input_bytes: ready.input_bytes,
            accelerator: None,
            timeout: n.resources.timeout_secs.map(Duration::from_secs),
            place: Place::Away,
            seconds: ready.seconds,
            longer: tried.map_or(0, |t| t.time),
        }
    }

    fn expected_memory(&self, node: NodeId, ready: &Ready) -> u64 {
        let n = &self.plan.nodes[node];
        n.resources.memory.unwrap_or_else(|| {
            let kind = n.kind.name;
            self.memory.expect(kind, ready.input_bytes, ready.own)
        })
    }

    /// What the node may use, if that is free now. Something always runs: a node that is expected
    /// to take more than there is runs alone.
    fn grant(&self, node: NodeId, ready: &Ready) -> Option<Grant> {
        let n = &self.plan.nodes[node];
        let memory = self.expected_memory(node, ready);
        let here = || self.running.values().filter(|r| r.place == Place::Here);
        let held: u64 = here().map(|r| r.memory).sum();
        let alone = self.tried.get(&node).is_some_and(|t| t.memory > 0);
        let fits = !alone && held.saturating_add(memory) <= self.options.memory;
        if !fits && here().next().is_some() {
            return None;
        }
        let accelerator = if self.wants_accelerator(node) {
            Some(self.free_accelerators.last()?.clone())
        } else {
            None
        };
        Some(Grant {
            // One that must be alone leaves no room for others.
            memory: if alone { self.options.memory } else { memory },
            input_bytes: ready.input_bytes,
            accelerator,
            timeout: n.resources.timeout_secs.map(Duration::from_secs),
            place: Place::Here,
            seconds: ready.seconds,
            longer: 0,
        })
    }

    fn wants_accelerator(&self, node: NodeId) -> bool {
        self.plan.nodes[node].kind.device_sensitive
            && matches!(
                self.options.device,
                DeviceChoice::Cuda | DeviceChoice::Metal
            )
    }

    fn input_bytes(&self, node: NodeId, without: &BTreeSet<Branch>) -> u64 {
        let bytes = |input: &NodeInput| match input {
            NodeInput::Artifact {
                role,
                producer,
                key,
                ..
            } => self.known[*producer]
                .iter()
                .flat_map(|record| &record.outputs)
                .filter(|o| o.role == *role && o.key == *key)
                .map(|o| o.bytes)
                .sum(),
            NodeInput::File { input, .. } => {
                let spec = &self.plan.inputs[input];
                let size = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
                match (&spec.samples, &spec.of) {
                    (Some(sheet), Some(patient)) => {
                        files_of_patient(sheet, patient).map(size).sum()
                    }
                    _ => spec.path.as_deref().map_or(0, size),
                }
            }
        };
        let inputs = self.plan.nodes[node].inputs_without(without);
        inputs.map(bytes).sum()
    }

    /// Threads of a node that starts now, while `waiting` nodes share the free cores.
    fn threads(&self, node: NodeId, place: Place, waiting: usize) -> usize {
        let n = &self.plan.nodes[node];
        let most = n.resources.cores.unwrap_or(usize::MAX);
        match (n.kind.multi_threaded, place) {
            (false, _) => 1,
            (true, Place::Here) => (self.free_cores / waiting).max(1).min(most),
            (true, Place::Away) => match n.resources.cores {
                Some(cores) => cores,
                None => self.away.map_or(1, |a| a.cores),
            },
        }
    }

    fn start(&mut self, node: NodeId, ready: Ready, lock: KeyLock, grant: Grant, waiting: usize) {
        let n = &self.plan.nodes[node];
        let threads = self.threads(node, grant.place, waiting);
        if grant.place == Place::Here {
            self.free_cores -= threads;
        }
        self.free_accelerators
            .retain(|a| Some(a) != grant.accelerator.as_ref());
        let log = self.options.logs.join(format!("{}.log", n.id));
        let job = Job {
            node,
            key: ready.key,
            action: action(self.decider, self.options, node, &ready, threads),
            preimage: *ready.preimage,
            log: log.clone(),
            grant: grant.clone(),
        };
        let event = Event::WillExecute {
            id: self.id(node),
            key: ready.key.to_string(),
            reason: ready.reasons.first().cloned(),
            reasons: ready.reasons.clone(),
            threads,
            memory: grant.memory,
            accelerator: grant.accelerator.clone(),
        };
        self.emit(&event);
        if !ready.without.is_empty() {
            let values: Vec<String> = ready
                .without
                .iter()
                .map(|b| b.values().cloned().collect::<Vec<_>>().join(","))
                .collect();
            let event = Event::Warning {
                id: self.id(node),
                message: format!("goes on without {}, which failed", values.join(" and ")),
            };
            self.emit(&event);
        }
        self.running.insert(
            node,
            Running {
                key: ready.key,
                reasons: ready.reasons,
                threads,
                memory: grant.memory,
                accelerator: grant.accelerator,
                log,
                place: grant.place,
                _lock: lock,
            },
        );
        self.executor
            .submit(job, self.sender.clone(), self.cancel.clone());
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
            // The end of the job brings it.
            JobEvent::Message(_, NodeMessage::Failed { .. }) => {}
            JobEvent::Placed(node, placed) => {
                let event = Event::DidSubmit {
                    id: self.id(node),
                    job: placed.job,
                    adopted_from: placed.adopted_from,
                };
                self.emit(&event);
            }
            JobEvent::Note(message) => self.emit(&Event::Note { message }),
            JobEvent::Ended(node, took, outcome) => {
                let Some(running) = self.running.remove(&node) else {
                    return;
                };
                if running.place == Place::Here {
                    self.free_cores += running.threads;
                }
                self.free_accelerators.extend(running.accelerator.clone());
                self.ended(node, running, took.as_secs_f64(), outcome);
            }
        }
    }

    fn ended(&mut self, node: NodeId, running: Running, seconds: f64, outcome: JobOutcome) {
        let place = running.place;
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
                self.learn(node, &record);
                self.end(node, Outcome::Ran(record, seconds));
            }
            JobOutcome::Failed(failure) => {
                if !self.try_again(node, &failure, place) {
                    self.fail(node, failure, seconds, Some(running.log));
                }
            }
        }
    }

    /// Sends the nodes that make these inputs of `node` on their way; where none has to run, `node` goes on.
    fn make_inputs_anew(&mut self, node: NodeId, digests: &[Digest]) {
        for digest in digests {
            self.make_anew(node, digest);
        }
        let waits = self.missing[node] > 0 || self.outcomes[node].is_some();
        if !waits && !self.ready.contains_key(&node) {
            self.resolve(node);
        }
    }

    /// Whether the failure is one that passes; then the node is on its way again.
    fn try_again(&mut self, node: NodeId, failure: &Failure, place: Place) -> bool {
        if *self.cancel.borrow() > 0 || self.stopped.is_some() {
            return false;
        }
        let tried = self.tried.entry(node).or_default();
        let how = match failure.class {
            FailureClass::Transient if tried.transient < PAUSES.len() => {
                let pause = PAUSES[tried.transient];
                tried.transient += 1;
                tried.not_before = Some(Instant::now() + pause);
                format!("again in {:.1} s", pause.as_secs_f64())
            }
            FailureClass::Memory if tried.memory == 0 => {
                tried.memory += 1;
                match place {
                    Place::Here => format!("alone, with {}", gib(self.options.memory)),
                    Place::Away => "with twice the memory".to_string(),
                }
            }
            // A limit that the user set is kept.
            FailureClass::Timeout
                if place == Place::Away
                    && tried.time == 0
                    && self.plan.nodes[node].resources.timeout_secs.is_none() =>
            {
                tried.time += 1;
                "with twice the time".to_string()
            }
            FailureClass::DamagedInput { digest } if tried.damage < MAX_DAMAGE => {
                tried.damage += 1;
                self.make_inputs_anew(node, &[digest]);
                return true;
            }
            // Each ends at the latest when all of it is made here.
            FailureClass::NotFetched => {
                let absent = self.absent_inputs(node);
                self.make_inputs_anew(node, &absent);
                return true;
            }
            _ => return false,
        };
        let event = Event::WillRetry {
            id: self.id(node),
            class: failure.class.into(),
            because: failure.message.clone(),
            how,
        };
        self.emit(&event);
        self.resolve(node);
        true
    }

    /// Artifacts that the node reads and that are not here.
    fn absent_inputs(&self, node: NodeId) -> Vec<Digest> {
        let inputs = self.plan.nodes[node].inputs.iter();
        let outputs = inputs.filter_map(|input| match input {
            NodeInput::Artifact {
                role,
                producer,
                key,
                ..
            } => {
                let record = self.known[*producer].as_ref()?;
                let mut outputs = record.outputs.iter();
                outputs.find(|o| o.role == *role && o.key == *key)
            }
            NodeInput::File { .. } => None,
        });
        let store = self.decider.store;
        let absent = outputs.filter(|output| !store.has(output));
        absent.map(|output| output.digest).collect()
    }

    /// Sets a damaged artifact aside and sends the nodes that made it on their way again.
    fn make_anew(&mut self, reader: NodeId, digest: &Digest) {
        // Where it cannot be set aside, the reader finds it again and is given up in the end.
        let _ = self.decider.store.quarantine(digest);
        for producer in self.plan.producers(reader) {
            let role = self.known[producer].as_ref().and_then(|record| {
                let output = record.outputs.iter().find(|o| o.digest == *digest)?;
                Some(output.role.clone())
            });
            let Some(role) = role else { continue };
            let was_elsewhere = self.known[producer]
                .as_ref()
                .is_some_and(|record| self.decider.store.is_elsewhere(record));
            let event = Event::DidFindDamage {
                id: self.id(producer),
                role: role.clone(),
                digest: digest.to_string(),
                remote: was_elsewhere,
            };
            self.emit(&event);
            self.known[producer] = None;
            self.outcomes[producer] = None;
            let reason = match was_elsewhere {
                true => Reason::OutputMissing { role },
                false => Reason::OutputCorrupt { role },
            };
            self.damaged.insert(producer, reason);
            self.missing[producer] = 0;
            for p in self.plan.producers(producer) {
                self.missing[producer] += usize::from(self.outcomes[p].is_none());
            }
            let plan = self.plan;
            for consumer in plan.consumers(producer) {
                if self.outcomes[consumer].is_none() {
                    self.missing[consumer] += 1;
                    self.ready.remove(&consumer);
                }
            }
            if self.missing[producer] == 0 {
                self.resolve(producer);
            }
        }
    }

    fn fail(&mut self, node: NodeId, mut failure: Failure, seconds: f64, log: Option<PathBuf>) {
        if failure.class == FailureClass::Disk && failure.hint.is_none() {
            failure.hint = crate::disk::room(self.decider.store.root());
        }
        if failure.class == FailureClass::Cancelled || *self.cancel.borrow() > 0 {
            self.stopped.get_or_insert(StopReason::Cancelled);
            self.skip(node, SkipReason::Cancelled);
            return;
        }
        let tail = log
            .as_deref()
            .and_then(|l| read_plain(l).ok())
            .unwrap_or_default();
        let tail = String::from_utf8_lossy(&tail);
        let lines: Vec<String> = tail.lines().map(str::to_string).collect();
        let event = Event::DidFail {
            id: self.id(node),
            message: failure.message.clone(),
            class: failure.class.into(),
            hint: failure.hint.clone(),
            seconds,
            log: log.map(|l| l.display().to_string()).unwrap_or_default(),
            log_tail: lines[lines.len().saturating_sub(20)..].to_vec(),
        };
        self.emit(&event);
        if self.options.fail_fast {
            let node = self.id(node);
            self.stopped.get_or_insert(StopReason::FailFast { node });
        }
        self.end(node, Outcome::Failed(failure));
    }
}
