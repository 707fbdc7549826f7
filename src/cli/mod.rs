//! The command line: arguments in, exit code out.

#[macro_use]
mod out;

mod args;
mod check;
mod diff;
mod error;
mod estimate;
mod fetching;
mod findings;
mod gc;
mod graph;
mod init;
mod inspect;
mod jobs;
mod provenance;
mod run;
mod signals;
mod simulate;
mod store_verbs;
mod terminal;

pub use error::{CliError, exit};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser as _};

use crate::text::shown;
use crate::workflow::did_you_mean;
use args::{Cli, Command};

/// Runs the program; returns its exit code. A panic is an error inside the program like any other.
pub fn main() -> i32 {
    std::panic::set_hook(Box::new(say_panic));
    let code = std::panic::catch_unwind(begin).unwrap_or(exit::INTERNAL);
    out::flush();
    if code == exit::OK && out::is_lost() {
        tell!("error: not everything could be written to stdout");
        return exit::OUTPUT;
    }
    code
}

fn say_panic(info: &std::panic::PanicHookInfo<'_>) {
    // A decoder that fails on damaged data: whoever catches it says so.
    if clcc_stages::error::is_catching() {
        return;
    }
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    tell!("error: a fault of the program, at {place}: {message}");
    tell!("hint: please report it with this line; RUST_BACKTRACE=1 adds the calls that led there");
    let calls = std::backtrace::Backtrace::capture();
    if calls.status() == std::backtrace::BacktraceStatus::Captured {
        out::tell_text(&format!("{calls}\n"));
    }
}

fn begin() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return not_parsed(e),
    };
    // What only prints ends with its reader; what does more goes on.
    let only_prints = cli.command.only_prints();
    if only_prints {
        sigpipe::reset();
    }
    write_diagnostics();
    // The kernel shields the first process of a container from signals that nobody listens to; `run` and
    // `simulate` listen themselves.
    if std::process::id() == 1 && only_prints {
        let _ = signals::end_after(|| {});
    }
    match execute(cli.command) {
        Ok(code) => code,
        Err(e) => {
            out::tell_text(&e.render());
            e.code
        }
    }
}

/// What to print of a command line that asks for help, or says nothing known, and the exit code.
fn not_parsed(e: clap::Error) -> i32 {
    if e.use_stderr() {
        // It quotes arguments, so it is made once more of harmless ones.
        let harmless = |a: std::ffi::OsString| shown(&a.to_string_lossy()).into_owned();
        let again = Cli::try_parse_from(std::env::args_os().map(harmless));
        let error = with_near_verb(again.err().unwrap_or(e));
        out::tell_text(&error.render().to_string());
        return exit::USAGE;
    }
    sigpipe::reset();
    match e.print() {
        Ok(()) if !out::is_absent() => exit::OK,
        _ => exit::OUTPUT,
    }
}

/// With the verb that was meant, also where two letters changed places (`rnu`), which clap does not see.
fn with_near_verb(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let command = Cli::command();
    let verbs = command.get_subcommands().filter(|c| !c.is_hide_set());
    if error.get(ContextKind::SuggestedSubcommand).is_none()
        && let Some(near) = did_you_mean(verb, verbs.map(clap::Command::get_name))
    {
        let near = ContextValue::Strings(vec![near.to_string()]);
        error.insert(ContextKind::SuggestedSubcommand, near);
    }
    error
}

/// Write what `CLCC_LOG` asks for to stderr.
fn write_diagnostics() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CLCC_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| out::Diagnostics)
        .with_ansi(false)
        .log_internal_errors(false)
        .without_time()
        .init();
}

fn execute(command: Command) -> Result<i32, CliError> {
    match command {
        Command::ExecNode {
            commit: true,
            action,
        } => Ok(crate::exec::exec_task(&action)),
        Command::ExecNode { action, .. } => Ok(crate::exec::exec_node(&action)),
        Command::Attach(args) => jobs::attach(&args),
        Command::Cancel(args) => jobs::cancel(&args),
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => run::plan(&args),
        Command::Explain { workflow, node } => run::explain(&workflow, &node),
        Command::Check(args) => check::check(&args),
        Command::Schema { profile: true, .. } => check::profile_schema(),
        Command::Schema {
            kind,
            tables: false,
            ..
        } => check::schema(kind.as_deref()),
        Command::Schema { kind, format, .. } => check::tables(kind.as_deref(), format),
        Command::Graph { workflow, format } => graph::graph(&workflow, format),
        Command::Verify { cache, repair } => store_verbs::verify(&cache, repair),
        Command::Status {
            cache,
            efficiency: true,
            format,
            ..
        } => jobs::efficiency(&cache, format),
        Command::Status {
            cache,
            follow: true,
            ..
        } => store_verbs::follow(&cache),
        Command::Status { cache, format, .. } => store_verbs::status(&cache, format),
        Command::Log {
            cache,
            workflow,
            node,
        } => store_verbs::log(&cache, workflow.as_deref(), &node),
        Command::Diff(args) => diff::diff(&args),
        Command::Gc(args) => gc::gc(&args),
        Command::Inspect { path, format } => inspect::inspect(&path, format),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Init(args) => init::init(&args),
        Command::Completions { shell } => check::completions(shell),
        Command::ManPages { dir } => check::man_pages(&dir),
    }
}
