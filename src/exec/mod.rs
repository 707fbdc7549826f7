//! One way to execute: an action file, a child process that reads it, a result record.
//!
//! The child works in a private attempt directory and touches nothing else. The local executor
//! spawns it; a cluster executor submits the same command.

mod action;
mod local;
mod memory_watch;
mod node;

pub use action::{
    Action, ActionInput, ActionOutput, Failure, FailureClass, FailureKind, NodeMessage, NodeResult,
    io_class,
};
pub use local::{Cancel, Executor, Grant, Job, JobEvent, JobOutcome, LocalExecutor, Program};
pub(crate) use local::{cache_failure, gib};
pub use memory_watch::MemoryWatch;
pub use node::exec_node;
