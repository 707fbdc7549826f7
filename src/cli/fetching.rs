//! Brings the inputs that a run reads, that are not there, and that have a `url`.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::WorkflowArgs;
use super::error::{CliError, exit};
use crate::fetch::{self, FetchError, Options, Step};
use crate::plan::Plan;
use crate::workflow::Workflow;

/// Without a terminal, a download says where it is this often.
const PLAIN_PROGRESS: Duration = Duration::from_secs(10);

/// Downloads what is missing. A workflow with other problems is left to who loads it next.
pub(super) fn fetch_missing(args: &WorkflowArgs) -> Result<(), CliError> {
    // A pipe can be read once, and that is for who runs it.
    if !args.workflow.is_file() {
        return Ok(());
    }
    let Ok(workflow) = Workflow::load(&args.workflow) else {
        return Ok(());
    };
    let absent = |path: Option<&std::path::PathBuf>| path.is_some_and(|p| !p.exists());
    let any = workflow.inputs.values();
    if !any
        .into_iter()
        .any(|spec| spec.url.is_some() && absent(spec.path.as_ref()))
    {
        return Ok(());
    }
    let Ok(plan) = Plan::new(&workflow, &args.overrides()) else {
        return Ok(());
    };
    for name in plan.used_inputs() {
        let spec = &plan.inputs[name];
        let (Some(url), Some(path)) = (&spec.url, &spec.path) else {
            continue;
        };
        if path.exists() {
            continue;
        }
        let expected = spec.digest.as_deref().and_then(|d| d.parse().ok());
        tell!("  FETCH {name}: {url}");
        let bar = Bar::new(name);
        let outcome = fetch::fetch(url, path, expected.as_ref(), &Options::default(), &|step| {
            bar.on_step(step);
        });
        bar.bar.finish_and_clear();
        outcome.map_err(|e| failed(name, &e))?;
        tell!("FETCHED {name}: {}", path.display());
    }
    Ok(())
}

fn failed(name: &str, error: &FetchError) -> CliError {
    let code = if matches!(error, FetchError::Io { .. }) {
        exit::DISK
    } else {
        exit::INVALID
    };
    let mut shown = CliError::from_error(code, error);
    shown.message = format!("input `{name}`: {}", shown.message);
    shown.with_hint(error.hint().map(str::to_string))
}

/// A bar on a terminal, lines elsewhere.
struct Bar {
    name: String,
    bar: ProgressBar,
    said: Cell<Instant>,
}

impl Bar {
    fn new(name: &str) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let style = "        {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is a valid one"));
        bar.set_message(crate::text::shown(name).into_owned());
        Self {
            name: name.to_string(),
            bar,
            said: Cell::new(Instant::now()),
        }
    }

    fn on_step(&self, step: Step) {
        match step {
            Step::At(done, total) => {
                if let Some(total) = total {
                    self.bar.set_length(total);
                }
                self.bar.set_position(done);
                if self.bar.is_hidden() && self.said.get().elapsed() >= PLAIN_PROGRESS {
                    self.said.set(Instant::now());
                    let share = total.map_or(String::new(), |t| {
                        format!(" of {} MB ({} %)", t / 1_000_000, done * 100 / t.max(1))
                    });
                    tell!("  FETCH {}: {} MB{share}", self.name, done / 1_000_000);
                }
            }
            Step::Again(why) => self
                .bar
                .suspend(|| tell!("   WARN {}: {why}; trying again", self.name)),
        }
    }
}
