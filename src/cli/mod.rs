//! The command line: arguments in, exit code out. The one place that prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module owns the terminal"
)]

mod args;
mod check;
mod diff;
mod error;
mod fetching;
mod findings;
mod gc;
mod graph;
mod inspect;
mod provenance;
mod run;
mod session;
mod simulate;
mod store_verbs;
mod terminal;

pub use error::{CliError, exit};

use clap::Parser as _;

use args::{Cli, Command};

/// Runs the program; returns its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
        }
    };
    // A run goes on when nobody reads any more what it prints; what only prints ends.
    if !matches!(cli.command, Command::Run(_) | Command::ExecNode { .. }) {
        sigpipe::reset();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("CLCC_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    let outcome = match cli.command {
        Command::ExecNode { action } => return crate::exec::exec_node(&action),
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => run::plan(&args),
        Command::Explain { workflow, node } => run::explain(&workflow, &node),
        Command::Check(args) => check::check(&args),
        Command::Schema { kind } => check::schema(kind.as_deref()),
        Command::Graph { workflow, format } => graph::graph(&workflow, format),
        Command::Verify { cache, repair } => store_verbs::verify(&cache, repair),
        Command::Status { cache, format } => store_verbs::status(&cache, format),
        Command::Log {
            cache,
            workflow,
            node,
        } => store_verbs::log(&cache, workflow.as_deref(), &node),
        Command::Diff(args) => diff::diff(&args),
        Command::Gc(args) => gc::gc(&args),
        Command::Inspect { path, format } => inspect::inspect(&path, format),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Init { path } => check::init(&path),
        Command::Completions { shell } => check::completions(shell),
    };
    match outcome {
        Ok(code) => code,
        Err(e) => {
            eprint!("{}", e.render());
            e.code
        }
    }
}
