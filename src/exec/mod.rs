//! One way to execute: an action file, a child process that reads it, a result record.
//!
//! The child works in a private attempt directory and touches nothing else. The local executor
//! spawns it. The cluster executor hands jobs to a batch system, each of which is a local executor of
//! its own and commits what it makes.

mod action;
mod cluster;
mod job;
mod local;
mod memory_watch;
mod node;
#[cfg(feature = "remote")]
mod remote;

pub use action::{
    Action, ActionInput, ActionOutput, Failure, FailureClass, FailureKind, NodeMessage, NodeResult,
    io_class,
};
pub use cluster::{ClusterExecutor, cancel_jobs, jobs_of_run};
pub use job::exec_task;
pub(crate) use job::{Claim, TurnEnd};
pub use local::{
    Away, Cancel, Executor, Grant, Job, JobEvent, JobOutcome, LocalExecutor, Place, Placed, Program,
};
pub(crate) use local::{cache_failure, gib};
pub use memory_watch::MemoryWatch;
pub use node::exec_node;
#[cfg(feature = "remote")]
pub(crate) use remote::LOOK;
#[cfg(feature = "remote")]
pub use remote::RemoteExecutor;
