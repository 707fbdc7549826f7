//! Brings the inputs that a run reads, that are not there, and that have a `url`.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::WorkflowArgs;
use super::error::{CliError, exit};
use crate::fetch::{self, FetchError, Options, Step};
use crate::plan::Plan;
use crate::workflow::{InputSpec, Workflow};

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
    // Most workflows name no address: then there is no need of a plan.
    if !workflow
        .inputs
        .values()
        .any(|spec| !absent(spec, "").is_empty())
    {
        return Ok(());
    }
    let Ok(plan) = Plan::new(&workflow, &args.overrides()) else {
        return Ok(());
    };
    for name in plan.used_inputs() {
        for wanted in absent(&plan.inputs[name], name) {
            // Of several inputs that name one file the first brings it.
            if !wanted.path.exists() {
                wanted.fetch()?;
            }
        }
    }
    Ok(())
}

/// A file that is not there and can be had.
struct Wanted<'a> {
    name: String,
    url: &'a str,
    path: &'a Path,
    digest: Option<&'a str>,
}

/// The files of an input that are not there and can be had: its own, or of a table of samples those of its patient.
fn absent<'a>(spec: &'a InputSpec, name: &str) -> Vec<Wanted<'a>> {
    let own = spec.path.as_deref().zip(spec.url.as_deref());
    let own = own.map(|(path, url)| Wanted {
        name: name.to_string(),
        url,
        path,
        digest: spec.digest.as_deref(),
    });
    let samples = spec.samples.iter().flat_map(|sheet| &sheet.samples);
    let samples = samples.filter(|s| spec.of.as_ref().is_none_or(|of| *of == s.patient));
    let samples = samples.filter_map(|sample| {
        Some(Wanted {
            name: format!("{name}, {}", sample.name),
            url: sample.url.as_deref()?,
            path: &sample.path,
            digest: None,
        })
    });
    let all = own.into_iter().chain(samples);
    all.filter(|wanted| !wanted.path.exists()).collect()
}

impl Wanted<'_> {
    fn fetch(&self) -> Result<(), CliError> {
        let Self {
            name, url, path, ..
        } = self;
        let expected = self.digest.and_then(|d| d.parse().ok());
        tell!("  FETCH {name}: {url}");
        let bar = Bar::new(name);
        let outcome = fetch::fetch(url, path, expected.as_ref(), &Options::default(), &|step| {
            bar.on_step(step);
        });
        bar.bar.finish_and_clear();
        outcome.map_err(|e| failed(name, &e))?;
        tell!("FETCHED {name}: {}", path.display());
        Ok(())
    }
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
