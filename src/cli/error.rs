//! Errors as the user sees them, and the exit codes.

use std::fmt::Write as _;

use crate::results::ResultsError;
use crate::run::RunError;
use crate::text::{hint_lines, shown};
use crate::workflow::{LoadError, did_you_mean};

/// Exit codes; documented in docs/cli.md.
pub mod exit {
    /// Everything is there.
    pub const OK: i32 = 0;
    /// An error inside the program.
    pub const INTERNAL: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = 2;
    /// The workflow is invalid, or an input file is missing.
    pub const INVALID: i32 = 3;
    /// The selection is empty.
    pub const NOTHING: i32 = 4;
    /// Some branches failed; the others are done.
    pub const SOME_FAILED: i32 = 5;
    /// Everything failed, or `--fail-fast` stopped the run.
    pub const ALL_FAILED: i32 = 6;
    /// The cache cannot be used.
    pub const CACHE: i32 = 7;
    /// `plan --exit-code`: there is work to do.
    pub const HAS_WORK: i32 = 8;
    /// Disk full, quota, permission.
    pub const DISK: i32 = 9;
    /// What was to be printed on stdout could not be; all else is as with 0.
    pub const OUTPUT: i32 = 10;
    /// Ctrl+C.
    pub const INTERRUPTED: i32 = 130;
    /// SIGTERM.
    pub const TERMINATED: i32 = 143;
}

/// An error with its exit code.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub code: i32,
    /// What failed; several problems in one text are complete as they are.
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
    rendered: bool,
}

impl CliError {
    /// An error with a code and a text.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            rendered: false,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, where there is one.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// An error of this type, with the causes below it.
    pub fn from_error(code: i32, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(message, ": {cause}");
            source = cause.source();
        }
        Self::new(code, message)
    }

    /// The text for the terminal.
    pub fn render(&self) -> String {
        if self.rendered {
            return self.message.clone();
        }
        let mut text = format!("error: {}\n", shown(&self.message));
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {}", hint_lines(hint));
        }
        text
    }
}

impl From<crate::workflow::InvalidWorkflow> for CliError {
    fn from(e: crate::workflow::InvalidWorkflow) -> Self {
        Self {
            rendered: true,
            ..Self::new(exit::INVALID, e.render())
        }
    }
}

impl From<LoadError> for CliError {
    fn from(e: LoadError) -> Self {
        match e {
            LoadError::Invalid(e) => e.into(),
            LoadError::Read {
                ref file,
                ref source,
            }
            | LoadError::Profile {
                ref file,
                ref source,
            } => {
                let near = (source.kind() == std::io::ErrorKind::NotFound)
                    .then(|| near(file))
                    .flatten();
                let hint = near.or_else(|| crate::disk::hint(file, source));
                Self::from_error(exit::INVALID, &e).with_hint(hint)
            }
        }
    }
}

/// A workflow file in the same folder that may have been meant: another ending, a slip, or the only one.
fn near(file: &std::path::Path) -> Option<String> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    let wanted = file.file_name()?.to_str()?;
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    there.sort();
    let stem = |name: &str| {
        name.trim_end_matches(".yaml")
            .trim_end_matches(".yml")
            .to_string()
    };
    let same_stem = there.iter().find(|name| stem(name) == stem(wanted));
    let slip = || did_you_mean(wanted, there.iter().map(String::as_str));
    let found = same_stem.map(String::as_str).or_else(slip)?;
    Some(format!(
        "did you mean `{}`?",
        file.with_file_name(found).display()
    ))
}

impl From<clcc_cache::CacheError> for CliError {
    fn from(e: clcc_cache::CacheError) -> Self {
        let code = if e.is_disk_or_permission() {
            exit::DISK
        } else {
            exit::CACHE
        };
        Self::from_error(code, &e).with_hint(cache_hint(&e))
    }
}

/// What the user can do about an error of the cache.
fn cache_hint(e: &clcc_cache::CacheError) -> Option<String> {
    match e {
        clcc_cache::CacheError::Io { path, source, .. } => crate::disk::hint(path, source),
        clcc_cache::CacheError::Link { .. } => {
            Some("put a directory in its place, or give another --cache".to_string())
        }
        _ => None,
    }
}

impl From<RunError> for CliError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Load(e) => e.into(),
            RunError::Invalid(e) => e.into(),
            RunError::Cache(e) => e.into(),
            RunError::Results(e) => e.into(),
            RunError::Device(ref no) => {
                let device = no.device;
                Self::from_error(exit::USAGE, &e).hint(format!(
                    "build with `--features {device}`, or use `--device cpu`"
                ))
            }
            RunError::CachePath(_) => {
                Self::from_error(exit::USAGE, &e).hint("give another place with --cache")
            }
            RunError::NoRemote => Self::from_error(exit::USAGE, &e)
                .hint("build with the feature `remote`, which is on by default"),
            RunError::Input { ref source, .. } => {
                Self::from_error(exit::INVALID, &e).with_hint(cache_hint(source))
            }
            RunError::NothingSelected => Self::from_error(exit::NOTHING, &e),
            RunError::Create {
                ref path,
                ref source,
            } => Self::from_error(exit::DISK, &e).with_hint(crate::disk::hint(path, source)),
            RunError::Start(_) => Self::from_error(exit::INTERNAL, &e),
        }
    }
}

impl From<ResultsError> for CliError {
    fn from(e: ResultsError) -> Self {
        match &e {
            ResultsError::Write { path, source } => {
                Self::from_error(exit::DISK, &e).with_hint(crate::disk::hint(path, source))
            }
            ResultsError::Damaged { .. } => Self::from_error(exit::CACHE, &e),
            ResultsError::Clash { .. } => Self::from_error(exit::INVALID, &e)
                .hint("all of it is in the cache; leave one of the two out of the workflow, or rename an axis value"),
            ResultsError::Foreign { .. } => Self::from_error(exit::USAGE, &e).hint(
                "give the workflow a `name:` of its own or another --results; --force-results replaces them",
            ),
        }
    }
}
