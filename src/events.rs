//! What happens in a run, as one JSON object a line: on stdout with `--format json`, and always in
//! the run's `events.jsonl`. Consumers of the schedule (terminal, JSON, journal) see only these.

use clcc_cache::remote::Transfer;
use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::exec::FailureKind;
use crate::schedule::SkipReason;

fn is_false(value: &bool) -> bool {
    !value
}

/// Raised when a field changes its meaning.
pub const EVENT_SCHEMA: u32 = 1;

/// An event as it is written: with its number in the run and its times.
#[derive(Debug, Serialize)]
pub struct Stamped<'a> {
    /// What happened.
    #[serde(flatten)]
    pub event: &'a Event,
    /// Number in the run, from 0.
    pub seq: u64,
    /// Wall clock, RFC 3339 with milliseconds.
    pub time: String,
    /// Seconds since the run began, by a clock that never steps.
    pub elapsed: f64,
}

impl Stamped<'_> {
    /// The line that it is in `events.jsonl` and on stdout.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain values serialise")
    }

    /// Whether somebody may wait for it. What is found in the cache comes in thousands and tells nobody anything
    /// at once.
    pub fn is_news(&self) -> bool {
        !matches!(self.event, Event::DidReuse { .. } | Event::DidFetch { .. })
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    Started {
        /// [`EVENT_SCHEMA`].
        schema: u32,
        /// The run's name.
        run: String,
        /// The workflow's name.
        workflow: String,
        /// Number of nodes.
        nodes: usize,
        /// Cores in use.
        jobs: usize,
        /// Memory that the run may hold, in bytes.
        memory: u64,
    },
    /// A node was found in the cache.
    DidReuse {
        /// The node.
        id: String,
        /// Its key.
        key: String,
        /// Its outputs are in the shared cache, and not all of them here.
        #[serde(default, skip_serializing_if = "is_false")]
        remote: bool,
    },
    /// A node begins to run.
    WillExecute {
        /// The node.
        id: String,
        /// Its key.
        key: String,
        /// Why it is not cached.
        reason: Option<Reason>,
        /// Every difference to its last record.
        reasons: Vec<Reason>,
        /// Threads granted.
        threads: usize,
        /// Memory set aside, in bytes.
        memory: u64,
        /// The accelerator it has for itself.
        accelerator: Option<String>,
    },
    /// A batch system has the node.
    DidSubmit {
        /// The node.
        id: String,
        /// The job's id there, where it is known.
        job: Option<String>,
        /// The run that had handed it in, where that was another: this one goes on with its job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adopted_from: Option<String>,
    },
    /// Something to know about the executor, of no node in particular.
    Note {
        /// The text.
        message: String,
    },
    /// A running node reports progress.
    Progress {
        /// The node.
        id: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// Short text.
        message: String,
    },
    /// A running node warns.
    Warning {
        /// The node.
        id: String,
        /// The text.
        message: String,
    },
    /// A node has run and its outputs are published.
    DidExecute {
        /// The node.
        id: String,
        /// Its key.
        key: String,
        /// Why it ran.
        reason: Option<Reason>,
        /// Wall time.
        seconds: f64,
        /// Peak memory of its process.
        peak_rss_bytes: u64,
    },
    /// A node failed in a way that may pass, and will run again.
    WillRetry {
        /// The node.
        id: String,
        /// What kind of failure it was.
        class: FailureKind,
        /// What failed.
        because: String,
        /// How it is tried now.
        how: String,
    },
    /// An artifact in the cache is not what its digest says. It is set aside, and the node that
    /// made it runs again.
    DidFindDamage {
        /// The node that made it.
        id: String,
        /// The role.
        role: String,
        /// The artifact.
        digest: String,
        /// It was to come from the shared cache, and could not be fetched.
        #[serde(default, skip_serializing_if = "is_false")]
        remote: bool,
    },
    /// An artifact came from the shared cache.
    DidFetch {
        /// The artifact.
        digest: String,
        /// Bytes that travelled.
        bytes: u64,
        /// Wall time.
        seconds: f64,
    },
    /// What a node made went to the shared cache.
    DidSend {
        /// The node's key.
        key: String,
        /// Artifacts that were not there.
        artifacts: usize,
        /// Their bytes.
        bytes: u64,
        /// Wall time.
        seconds: f64,
    },
    /// All else is done; the run ends when the rest is sent.
    WillWaitForSending {
        /// What so many nodes made is on its way.
        nodes: usize,
    },
    /// What travelled between this cache and the shared one.
    DidTransfer {
        /// Where that is.
        remote: String,
        /// What.
        #[serde(flatten)]
        moved: Transfer,
    },
    /// A node failed.
    DidFail {
        /// The node.
        id: String,
        /// What failed, the cause after it.
        message: String,
        /// What kind of failure it is.
        class: FailureKind,
        /// What the user can do.
        hint: Option<String>,
        /// Wall time.
        seconds: f64,
        /// Where its output was kept.
        log: String,
        /// Its last lines.
        log_tail: Vec<String>,
    },
    /// A node was not run.
    DidSkip {
        /// The node.
        id: String,
        /// Why, in words.
        because: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<SkipReason>,
    },
    /// The results are in place.
    DidPublish {
        /// Their directory.
        dir: String,
        /// Files that had been changed or removed there, and were written again.
        restored: Vec<String>,
        /// Files of an earlier run that stay, as what makes them did not run.
        files_of_an_earlier_run: Vec<String>,
        /// Files that were removed, as nothing makes them any more.
        #[serde(default)]
        removed: Vec<String>,
    },
    /// The run ended. The last event.
    Finished {
        /// Nodes that ran.
        ran: usize,
        /// Nodes found in the cache.
        cached: usize,
        /// Nodes that failed.
        failed: usize,
        /// Nodes not run.
        skipped: usize,
        /// Wall time of the run.
        seconds: f64,
    },
}
