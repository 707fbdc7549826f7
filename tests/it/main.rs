//! The program as its users run it: the binary on small workflows, judged by its events, exit
//! codes, messages and files.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod anchors;
mod benchmark;
mod cli;
mod cluster;
mod engine;
mod faults;
mod genomes;
mod golden;
mod hostile;
mod inputs;
mod invariants;
mod library;
mod messages;
mod names;
mod page;
mod pipeline;
mod project;
mod provenance;
mod remote;
mod resources;
mod results;
mod s3;
mod sheets;
mod slurm;
mod tables;
