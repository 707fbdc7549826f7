//! What a stage kind is: typed parameters, the roles it reads, the roles it writes, and `run`.
//!
//! A **role** names one kind of artifact across the whole program (`counts`, `expr`, `cnv`,
//! `clusters`, `split`, `model`, ...). A stage declares the roles it reads; the engine finds the
//! one stage among its `needs` that writes each. So a stage does not know which kind stands before
//! it: `preprocess` reads `counts` from `ingest` and from `simulate` alike.
//!
//! A stage that joins an axis gets one artifact of a role per axis value, in axis order, each with
//! its **residual branch** (the axis values that the reading node does not share): a per-patient
//! stage sees `{}`, a stage that joins the patients sees `{patient: P0006}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::params::{OnlyWith, ParamProblem};
use crate::roles::{Input, Role};
use crate::tables::TableSpec;
use clcc_data::error::{StageError, StageResult};

/// Axis name to axis value.
pub type Branch = BTreeMap<String, String>;

/// A role that a stage reads from the stages it needs, or from the workflow's file inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The role.
    pub role: &'static str,
    /// Whether the stage cannot run without it.
    pub required: bool,
    /// Whether a node takes one artifact of it and no join of several axis values.
    pub single: bool,
}

impl Read {
    /// A role that must be there.
    pub const fn required<T>(role: Role<T>) -> Self {
        Self {
            role: role.name(),
            required: true,
            single: false,
        }
    }

    /// A role that must be there, once.
    pub const fn one<T>(role: Role<T>) -> Self {
        Self {
            role: role.name(),
            required: true,
            single: true,
        }
    }

    /// A role that is read where a needed stage writes it.
    pub const fn optional<T>(role: Role<T>) -> Self {
        Self {
            role: role.name(),
            required: false,
            single: false,
        }
    }

    /// A role that is read where a needed stage writes it, once.
    pub const fn optional_one<T>(role: Role<T>) -> Self {
        Self {
            role: role.name(),
            required: false,
            single: true,
        }
    }
}

/// Where an output appears under `results/<workflow>/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Nowhere: an intermediate, kept in the cache.
    No,
    /// At this path; `{branch}` is replaced by the node's axis values joined by `.`
    /// and `{.branch}` by the same with a leading dot, or by nothing without axes. A path with
    /// neither gets `.<branch>` before its extension where the stage is fanned out.
    At(&'static str),
    /// Each file of the directory, into this directory; a fanned-out node's files get
    /// `.<branch>` before their extension.
    Into(&'static str),
}

/// An output of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputDecl {
    /// The role.
    pub role: &'static str,
    /// `true`: one artifact per value of the axis that the workflow keys it by
    /// (`ingest` and `simulate` write one `counts` per patient).
    pub keyed: bool,
    /// Where it is published.
    pub publish: Publish,
    /// One line for `inspect`, the schema and the docs.
    pub about: &'static str,
}

impl OutputDecl {
    /// An intermediate.
    pub const fn new<T>(role: Role<T>, about: &'static str) -> Self {
        Self {
            role: role.name(),
            keyed: false,
            publish: Publish::No,
            about,
        }
    }

    /// The same, published.
    pub const fn publish(mut self, publish: Publish) -> Self {
        self.publish = publish;
        self
    }

    /// The same, one artifact per axis value.
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }
}

/// One input artifact as the engine hands it over.
#[derive(Debug, Clone, PartialEq)]
pub struct InputArtifact {
    /// The role.
    pub role: String,
    /// The axis values that the reading node does not share, in the artifact's node.
    pub branch: Branch,
    /// File or directory, read only. Empty for a built-in input.
    pub path: PathBuf,
    /// The `format` that the workflow states for a file input.
    pub format: Option<String>,
    /// The `builtin` name of an input that is part of the program (`grch38`).
    pub builtin: Option<String>,
}

/// How a stage reports progress and asks whether to stop. It never prints.
pub trait Progress: Send + Sync {
    /// `done` of `total` units of work; `message` is short (`epoch 12  val 3.21`).
    fn step(&self, done: u64, total: u64, message: &str);
    /// Something the user should know; shown once and kept in the record.
    fn warn(&self, message: &str);
}

/// Ignores everything; for tests and library use.
#[derive(Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: u64, _: u64, _: &str) {}
    fn warn(&self, _: &str) {}
}

/// Which accelerator a device-sensitive stage may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The best one that this build and machine have.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA, with the `cuda` feature.
    Cuda,
    /// Apple, with the `metal` feature.
    Metal,
}

/// A column of the cells' table (`obs`), as it is known before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObsColumn {
    /// Its name.
    pub name: String,
    /// The values that cells have, as a parameter must write them, and of how many cells; `None`
    /// where they are known only once the stage has run.
    pub values: Option<BTreeMap<String, usize>>,
}

impl ObsColumn {
    /// A column whose values are not known before the stage has run.
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_string(),
            values: None,
        }
    }

    /// A column that can have these values and no other.
    pub fn of(name: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|v| (v.to_string(), 0));
        Self {
            name: name.to_string(),
            values: Some(values.collect()),
        }
    }
}

/// A column of the cells' table that a parameter names, and the values of it that parameters name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObsRead {
    /// Dotted path of the parameter that names the column, for example `cancer_vs_normal.column`.
    pub param: &'static str,
    /// The column.
    pub column: String,
    /// Whether the stage cannot run without the column. A column that a workflow names must be
    /// there in any case; this is about the parameter's default.
    pub required: bool,
    /// Dotted path of a list of values of the column, and the values.
    pub values: Vec<(&'static str, Vec<String>)>,
}

/// The cells that a stage takes out of its file inputs, seen without reading their counts.
#[derive(Debug, Default)]
pub struct Survey {
    /// The columns of all cells of the files, under the names that later stages see.
    pub obs: Vec<ObsColumn>,
    /// What the stage would refuse; [`StageError::Param`] says which parameter it is.
    pub problems: Vec<StageError>,
}

/// Everything `run` gets besides its parameters.
pub struct StageContext<'a> {
    /// Input artifacts, by role in axis order.
    pub inputs: Vec<InputArtifact>,
    /// Private directory; output `role` goes to [`StageContext::output`].
    pub out_dir: PathBuf,
    /// The values of the axis that keyed outputs are written for; empty for other stages.
    pub keys: Vec<String>,
    /// Seed derived from the workflow seed and the stage kind.
    pub seed: u64,
    /// Threads granted; rayon's global pool has been sized to it.
    pub threads: usize,
    /// The device asked for.
    pub device: DeviceChoice,
    /// A directory that survives a killed attempt of the same action, for checkpoints.
    pub checkpoint_dir: Option<PathBuf>,
    /// Progress and warnings.
    pub progress: &'a dyn Progress,
    /// Set when the run is being cancelled.
    pub cancel: &'a AtomicBool,
}

impl StageContext<'_> {
    /// The artifacts of `role`, in axis order; empty where there is none.
    pub fn all<T>(&self, role: Role<T>) -> Vec<Input<'_, T>> {
        let of_role = self.inputs.iter().filter(|i| i.role == role.name());
        of_role.map(Input::new).collect()
    }

    /// The one artifact of `role`.
    ///
    /// # Errors
    /// [`StageError::MissingInput`] where there is none or more than one.
    pub fn one<T>(&self, role: Role<T>) -> StageResult<Input<'_, T>> {
        match self.all(role).as_slice() {
            [one] => Ok(*one),
            _ => Err(missing(role)),
        }
    }

    /// The first artifact of `role`, if there is one.
    pub fn optional<T>(&self, role: Role<T>) -> Option<Input<'_, T>> {
        self.all(role).first().copied()
    }

    /// Where output `role` is written (a file or a directory of that name, without extension).
    pub fn output<T>(&self, role: Role<T>) -> PathBuf {
        self.out_dir.join(role.name())
    }

    /// Where the artifact of keyed output `role` for axis value `key` is written.
    /// Its parent directory exists afterwards.
    ///
    /// # Errors
    /// [`StageError::Io`] where the parent cannot be created.
    pub fn keyed_output<T>(&self, role: Role<T>, key: &str) -> StageResult<PathBuf> {
        let parent: PathBuf = Path::join(&self.out_dir, role.name());
        std::fs::create_dir_all(&parent).map_err(StageError::creating(&parent))?;
        Ok(parent.join(key))
    }

    /// # Errors
    /// [`StageError::Cancelled`] once the run is being cancelled.
    pub fn check_cancelled(&self) -> StageResult<()> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(StageError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// An input of `role` that the stage needs was not handed to it.
pub fn missing<T>(role: Role<T>) -> StageError {
    StageError::MissingInput {
        role: role.name().to_string(),
    }
}

/// What a stage says about itself when it is done. Numbers go to `metrics.json` and `run.json`.
pub type Metrics = serde_json::Map<String, serde_json::Value>;

/// A stage kind.
pub trait Stage {
    /// Typed parameters: serde defaults are the stated defaults, `deny_unknown_fields`; the doc comment
    /// of each field is its documentation, and its range stands on it (`#[schemars(range(min = 1))]`).
    type Params: DeserializeOwned + Serialize + JsonSchema + Default;

    /// The name in the workflow file.
    const KIND: &'static str;
    /// Raised whenever the bytes of an output change for the same inputs. A line above it says what changed at
    /// each rise.
    const CODE_VERSION: u32;
    /// One line for `schema` and the docs.
    const ABOUT: &'static str;
    /// Whether the seed reaches the outputs (otherwise it stays out of the key).
    const USES_SEED: bool = false;
    /// Whether the device reaches the outputs' bytes.
    const DEVICE_SENSITIVE: bool = false;
    /// Whether one node of this kind profits from all cores.
    const MULTI_THREADED: bool = false;

    /// The tables that the stage publishes: one entry of the data dictionary each.
    const TABLES: &'static [TableSpec] = &[];

    /// Parameters that are read only under certain values of others: elsewhere they are refused, and no
    /// part of the key.
    const ONLY_WITH: &'static [OnlyWith] = &[];

    /// What does not go together, all at once. The range of a single value stands on its field.
    fn check(_params: &Self::Params) -> Vec<ParamProblem> {
        Vec::new()
    }

    /// Roles read from needed stages under these parameters. What is not listed is not in the key.
    fn reads(params: &Self::Params) -> Vec<Read>;

    /// Roles read from the workflow's file inputs under these parameters.
    fn file_inputs(_params: &Self::Params) -> Vec<Read> {
        Vec::new()
    }

    /// Roles written under these parameters.
    fn outputs(params: &Self::Params) -> Vec<OutputDecl>;

    /// What the stage will find in its file inputs: for a stage that brings cells into the workflow, so
    /// that the names in the parameters of all stages can be looked up before anything runs. `inputs`
    /// are the file inputs, `keys` the values of the axis that keyed outputs are written for. `None`
    /// (default) for a stage that brings none.
    ///
    /// # Errors
    /// Where a file cannot be read as what it is said to be.
    fn survey(
        _params: &Self::Params,
        _inputs: &[InputArtifact],
        _keys: &[String],
    ) -> StageResult<Option<Survey>> {
        Ok(None)
    }

    /// Columns of the cells' table that the parameters name, and values of them.
    fn obs_reads(_params: &Self::Params) -> Vec<ObsRead> {
        Vec::new()
    }

    /// Columns that the stage adds to the cells' table that it passes on.
    fn obs_writes(_params: &Self::Params) -> Vec<ObsColumn> {
        Vec::new()
    }

    /// The part of the parameters that a keyed output of `key` depends on, where it depends on nothing else but the
    /// file inputs: then adding or removing other axis values leaves it as it is, and the stage may be fanned out over
    /// the axis that it is keyed by. `None` (default) where the outputs of several values are made together.
    fn of_key(_params: &Self::Params, _key: &str) -> Option<Self::Params> {
        None
    }

    /// Reads the inputs, computes, writes every declared output.
    ///
    /// # Errors
    /// A [`StageError`] that says what failed; outputs of a failed run are discarded.
    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics>;
}
