//! The workflow file, as written: axes, inputs, stages. First step of the flow.
//!
//! [`Workflow::load`] reports every structural problem with its place. Nothing here knows which
//! stage kinds exist; [`crate::plan`] checks kinds, parameters and wiring.

#[cfg(test)]
mod fuzz;
mod parse;
mod positions;
mod problem;
mod sheets;

pub use positions::{Positions, join, scan};
pub use problem::{InvalidWorkflow, Place, Problem, did_you_mean, unknown};
pub(crate) use sheets::{PATIENT, absent, sheet};

use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clcc_stages::ingest::{SHEET, Sheet};
use indexmap::IndexMap;
use serde_json::{Map, Value};

/// A workflow file that is well formed.
#[derive(Debug)]
pub struct Workflow {
    /// Where it was read from.
    pub file: PathBuf,
    /// `name`, or the file's stem. Not part of any key.
    pub name: String,
    /// `seed`, default 0.
    pub seed: u64,
    /// Axes in order.
    pub axes: IndexMap<String, Axis>,
    /// File inputs by name.
    pub inputs: IndexMap<String, InputSpec>,
    /// Stages in order.
    pub stages: IndexMap<String, StageSpec>,
    /// Places, for later messages.
    pub positions: Positions,
}

/// An ordered list of values, each with parameter overrides.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    /// Value to `stage -> params`; the key `seed` replaces the workflow's seed.
    pub values: IndexMap<String, AxisValue>,
}

/// What one axis value changes.
#[derive(Debug, Clone, Default)]
pub struct AxisValue {
    /// Parameters by stage.
    pub params: IndexMap<String, Map<String, Value>>,
    /// Another seed.
    pub seed: Option<u64>,
}

/// A file that the workflow reads, or a table built into the program.
#[derive(Debug, Clone, Default)]
pub struct InputSpec {
    /// Relative to where the program is run, or absolute.
    pub path: Option<PathBuf>,
    /// Name of a built-in table.
    pub builtin: Option<String>,
    /// `h5ad`, `geo_umi`, ...; guessed from the name where absent.
    pub format: Option<String>,
    /// Where a run downloads the file from, where it is absent: `http` or `https`.
    pub url: Option<String>,
    /// `sha256:...` or `blake3:...` of the downloaded file.
    pub digest: Option<String>,
    /// What to tell the user where it is missing.
    pub about: Option<String>,
    /// The table of samples that `path` is: each patient's files are an input of their own.
    pub samples: Option<Arc<Sheet>>,
    /// The patient whose samples these are, of an input that a plan makes of a table of samples.
    pub of: Option<String>,
}

impl InputSpec {
    /// Whether `path` is a table of samples.
    pub fn is_sheet(&self) -> bool {
        self.format.as_deref() == Some(SHEET)
    }
}

/// A stage as written.
#[derive(Debug, Clone, Default)]
pub struct StageSpec {
    /// `kind`, or the stage's own name.
    pub kind: String,
    /// Axes it fans out over.
    pub per: Vec<String>,
    /// The axis its keyed outputs are written for.
    pub keyed_by: Option<String>,
    /// Stages it reads from.
    pub needs: Vec<String>,
    /// Role to workflow input.
    pub inputs: IndexMap<String, String>,
    /// Parameters as written.
    pub params: Map<String, Value>,
    /// `join: {min: N}`: it runs on the axis values that are there, if they are so many.
    pub join_min: Option<usize>,
    /// `resources`.
    pub resources: Resources,
}

/// What a stage may take; never part of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// `memory`: bytes to set aside, in place of what is learned from earlier runs.
    pub memory: Option<u64>,
    /// `timeout_secs`: it is ended after so long.
    pub timeout_secs: Option<u64>,
    /// `cores`: at most so many threads.
    pub cores: Option<usize>,
}

/// Reads `20G`, `512 MiB`, `1.5GB` or plain bytes; all multiples are of 1,024.
///
/// # Errors
/// What was expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as `20G` or `512M`, found `{text}`");
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = compact.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = compact.split_at(digits.unwrap_or(compact.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}

impl Workflow {
    /// Reads and checks the file, and the tables of samples that it names.
    ///
    /// # Errors
    /// [`LoadError`]: unreadable, or [`InvalidWorkflow`] with every problem.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        // More than is accepted is not read: a pipe may have no end.
        let mut bytes = Vec::new();
        open(file)
            .and_then(|f| {
                f.take(positions::MAX_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
            })
            .map_err(|source| LoadError::Read {
                file: file.to_path_buf(),
                source,
            })?;
        let mut workflow = Self::parse(file, &bytes)?;
        let problems = sheets::read(&mut workflow);
        if problems.is_empty() {
            Ok(workflow)
        } else {
            Err(InvalidWorkflow::new(file, problems).into())
        }
    }

    /// Checks the text of a workflow file.
    ///
    /// # Errors
    /// [`InvalidWorkflow`] with every problem.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, InvalidWorkflow> {
        let invalid = |problems| InvalidWorkflow::new(file, problems);
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
            let message = format!(
                "expected UTF-8 text, found another byte at offset {}",
                e.valid_up_to()
            );
            let place = positions::place_of(&before, before.len());
            invalid(vec![Problem::new(message).at(place)])
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (value, positions) = positions::scan(text).map_err(invalid)?;
        parse::workflow(file, &value, positions).map_err(invalid)
    }
}

/// Opens a workflow file. What a shell makes of `<(...)` and of `/dev/stdin` is read too: that has been opened
/// already, so there is somebody at its other end.
fn open(file: &Path) -> std::io::Result<std::fs::File> {
    let is_open_pipe = std::fs::metadata(file).is_ok_and(|m| m.file_type().is_fifo())
        && std::fs::canonicalize(file).is_err();
    if is_open_pipe {
        std::fs::File::open(file)
    } else {
        clcc_cache::open_plain_linked(file)
    }
}

/// Why a workflow could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read workflow `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The profile cannot be read.
    #[error("cannot read profile `{}`", file.display())]
    Profile {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidWorkflow),
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_read_with_their_units() {
        assert_eq!(parse_bytes("20G"), Ok(20 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5kB"), Ok(1536));
        assert_eq!(parse_bytes("17"), Ok(17));
        for bad in ["", "G", "-1G", "1X", "0", "1e400"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
