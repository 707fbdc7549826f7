//! The run loop: one dispatcher owns the state of every node, admits ready ones while cores are
//! free, and turns what executors report into events. Executors do the work; reporters only read
//! events.

mod action;
mod dispatcher;
mod memory;
mod reason;
#[cfg(test)]
mod tests;

pub use memory::{MemoryModel, Observation, TimeModel, default_budget, unseen_seconds};
pub use reason::{SkipReason, StopReason};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clcc_cache::ActionRecord;
use clcc_stages::stage::DeviceChoice;
use serde::{Deserialize, Serialize};

use crate::decide::Decider;
use crate::events::Event;
use crate::exec::{Cancel, Executor, Failure};
use dispatcher::Dispatcher;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cores in use.
    pub jobs: usize,
    /// Bytes of memory that the running nodes together are expected to stay within.
    pub memory: u64,
    /// Accelerators, one of which a device-sensitive node has for itself.
    pub accelerators: Vec<String>,
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
    Skipped(SkipReason),
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

/// How many nodes ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Ran.
    pub ran: usize,
    /// Found in the cache.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Not run.
    pub skipped: usize,
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
    /// This pass as the continuation of an earlier one: what ran then, ran.
    #[must_use]
    pub fn after(mut self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        self.seconds += earlier.seconds;
        for (now, before) in self.nodes.iter_mut().zip(earlier.nodes) {
            if let (Outcome::Cached(record), Outcome::Ran(_, seconds)) = (&*now, before) {
                *now = Outcome::Ran(Arc::clone(record), seconds);
            }
        }
        self
    }

    /// How many nodes ended how.
    pub fn summary(&self) -> Summary {
        let count = |f: fn(&Outcome) -> bool| self.nodes.iter().filter(|n| f(n)).count();
        Summary {
            ran: count(|n| matches!(n, Outcome::Ran(..))),
            cached: count(|n| matches!(n, Outcome::Cached(_))),
            failed: count(|n| matches!(n, Outcome::Failed(_))),
            skipped: count(|n| matches!(n, Outcome::Skipped(_))),
        }
    }
}

/// Runs a plan. `cancel` rises to 1 to finish cleanly and to 2 to stop at once. The caller emits
/// [`Event::Started`] and [`Event::Finished`], as it has work of its own before and after.
pub async fn run(
    decider: &Decider<'_>,
    executor: &dyn Executor,
    options: &Options,
    cancel: Cancel,
    sink: &mut dyn FnMut(&Event),
) -> RunOutcome {
    let started = Instant::now();
    let mut dispatcher = Dispatcher::new(decider, executor, options, cancel, sink);
    dispatcher.work().await;
    let cancelled = dispatcher.was_cancelled();
    RunOutcome {
        nodes: dispatcher.into_outcomes(),
        seconds: started.elapsed().as_secs_f64(),
        cancelled,
    }
}
