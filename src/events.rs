//! What happens in a run, as one JSON object a line: on stdout with `--format json`, and always in
//! the run's `events.jsonl`. Consumers of the schedule (terminal, JSON, journal) see only these.

use serde::{Deserialize, Serialize};

use crate::decide::Reason;

/// Raised when a field changes its meaning.
pub const EVENT_SCHEMA: u32 = 1;

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
    },
    /// A node was found in the cache.
    DidReuse {
        /// The node.
        id: String,
        /// Its key.
        key: String,
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
    /// A node failed.
    DidFail {
        /// The node.
        id: String,
        /// What failed, the cause after it.
        message: String,
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
        /// Why.
        because: String,
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
