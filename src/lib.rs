//! The engine of clcc-flow, in flow order: [`workflow`] (the file as written) -> [`plan`] (nodes,
//! parameters, wiring) -> [`key`] and [`decide`] (cached, run or maybe, and why) -> [`schedule`]
//! (the run loop) -> [`exec`] (child processes) -> [`results`] (what the user gets). [`registry`]
//! is the one place that knows every stage kind; [`run`] does all of it in one call; [`fetch`] brings input files that are not there;
//! [`names`] looks up in the data what parameters name; [`text`] makes what comes from data harmless
//! for a terminal; [`cli`] is the one place that prints.

pub mod cli;
pub mod decide;
pub mod device;
pub mod disk;
pub mod events;
pub mod exec;
pub mod fetch;
pub mod key;
pub mod names;
pub mod plan;
pub mod profile;
pub mod registry;
pub mod results;
pub mod run;
pub mod schedule;
pub mod text;
pub mod workflow;
