//! The program as its users run it: the binary on small workflows, judged by its events, exit
//! codes, messages and files.

mod cli;
mod engine;
mod pipeline;
mod project;
