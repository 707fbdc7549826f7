//! The arguments, as written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clcc_cache::remote::{Address, ParseAddressError, RemoteMode};
use clcc_stages::stage::DeviceChoice;

use super::error::{CliError, exit};
use crate::plan::{Overrides, Setting, parse_input, parse_only, parse_set};
use crate::profile::{ExecutorKind, Profile};
use crate::run::{RemoteOptions, WorkflowOptions};
use crate::workflow::parse_bytes;

/// From raw single-cell RNA counts of tumours to the genes that escape copy-number dosage.
#[derive(Debug, Parser)]
#[command(name = "clcc-flow", version, about, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a workflow; what is known already is not computed again.
    Run(RunArgs),
    /// Say what a run would do: cached, run, maybe or skip, and why.
    Plan(RunArgs),
    /// Every field of a node's key that differs from its last record.
    Explain {
        #[command(flatten)]
        workflow: WorkflowArgs,
        /// The node, for example `cluster[P0006]`, or a stage: `cluster` for all of its nodes.
        node: String,
    },
    /// Check a workflow file and its input files without running anything.
    Check(WorkflowArgs),
    /// The graph of a workflow.
    Graph {
        #[command(flatten)]
        workflow: WorkflowArgs,
        /// Language of the output.
        #[arg(long, value_enum, default_value = "dot")]
        format: GraphFormat,
    },
    /// JSON Schema of the workflow file, or of one stage kind's parameters; or the result tables.
    Schema {
        /// A stage kind.
        kind: Option<String>,
        /// The result tables instead: what a row is, and every column with its type, unit and meaning.
        #[arg(long)]
        tables: bool,
        /// That of a profile instead, which says where nodes run.
        #[arg(long, conflicts_with_all = ["tables", "kind"])]
        profile: bool,
        /// Language of the tables.
        #[arg(long, value_enum, default_value = "human", requires = "tables")]
        format: Format,
    },
    /// Write a workflow to start from: for data of your own, or from a shipped one.
    Init(InitArgs),
    /// The last run of each workflow in the cache.
    Status {
        #[command(flatten)]
        cache: CacheArgs,
        /// What jobs had asked for and what they used, of the last run of each workflow.
        #[arg(long)]
        efficiency: bool,
        /// Follow the runs that go on until they end.
        #[arg(long, short, conflicts_with = "format")]
        follow: bool,
        /// Language of the output.
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
    /// How a node's last run went: why, how long, its warnings and what it printed.
    Log {
        #[command(flatten)]
        cache: CacheArgs,
        /// Of this workflow [default: of whichever ran last].
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// The node, for example `cluster[P0006]`, or a stage: `cluster` for all of its nodes.
        node: String,
    },
    /// Read every artifact in the cache and compare digests.
    Verify {
        #[command(flatten)]
        cache: CacheArgs,
        /// Set damaged artifacts aside, so that the next run makes them again.
        #[arg(long)]
        repair: bool,
    },
    /// What differs between two runs: parameters, inputs, outputs, headline numbers, findings.
    Diff(DiffArgs),
    /// Remove what is not needed from the cache; says what and how much.
    Gc(GcArgs),
    /// Show what is in an artifact: shapes, columns, sparsity, first rows.
    Inspect {
        /// A `.zarr` directory, `.h5ad`, `.tsv` or `.safetensors` file.
        path: PathBuf,
        /// Language of the output.
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
    /// Write simulated data in the layout of a public data set.
    Simulate(SimulateArgs),
    /// Completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Follow a run that goes on elsewhere, until it ends.
    Attach(AttachArgs),
    /// End a run and its jobs in the batch system.
    Cancel(AttachArgs),
    /// Write the man pages of all commands; used by packages.
    #[command(hide = true)]
    ManPages {
        /// Directory to write them to; made where it is absent.
        dir: PathBuf,
    },
    /// Run one action file; used by the engine itself.
    #[command(hide = true)]
    ExecNode {
        /// The file is the task of a batch job: it commits what it makes.
        #[arg(long)]
        commit: bool,
        /// The action file.
        action: PathBuf,
    },
}

impl Command {
    /// Whether it does nothing but print.
    pub(super) fn only_prints(&self) -> bool {
        match self {
            Self::Run(args) => args.dry_run,
            Self::Verify { repair, .. } => !repair,
            Self::Gc(args) => args.dry_run,
            Self::Simulate(_)
            | Self::Init(_)
            | Self::ManPages { .. }
            | Self::ExecNode { .. }
            | Self::Cancel(_) => false,
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// The cache directory.
    #[arg(long, default_value = ".clcc", value_name = "DIR")]
    pub(super) cache: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    #[command(flatten)]
    pub(super) cache: CacheArgs,
    /// The run: its name (see `status`), or its beginning [default: the last one that goes on].
    pub(super) run: Option<String>,
    /// The profile of its batch system, where the run did not leave it in the cache.
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    pub(super) cache: CacheArgs,
    /// The earlier run: its name (see `status`), or a results directory.
    pub(super) old: String,
    /// The later run.
    pub(super) new: String,
    /// False discovery rate below which a gene of a table counts as found.
    #[arg(long, default_value_t = 0.05, value_name = "RATE")]
    pub(super) fdr: f64,
    /// Language of the output.
    #[arg(long, value_enum, default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct GcArgs {
    #[command(flatten)]
    pub(super) cache: CacheArgs,
    /// Keep artifacts and checkpoints of at most this size; what was used longest ago goes first.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(super) max_size: Option<u64>,
    /// Keep only what the last N runs of each workflow used.
    #[arg(long, value_name = "N")]
    pub(super) keep_last: Option<usize>,
    /// Collect this shared cache instead: `s3://BUCKET/PREFIX`, `gs://...`, `az://...` or `file:///FOLDER`.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["max_size", "keep_last"])]
    pub(super) remote: Option<Address>,
    /// With --remote: also drop what was sent longer ago, for example `90d`.
    #[arg(long, value_name = "TIME", requires = "remote", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<std::time::Duration>,
    /// Only say what would go.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How long to wait for runs that use the cache, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(super) wait: u64,
    /// Also where the file system has no locks and cannot say whether a run uses the cache.
    #[arg(long)]
    pub(super) without_lock: bool,
}

/// A workflow with the command line's changes to it.
#[derive(Debug, Args)]
pub(super) struct WorkflowArgs {
    /// The workflow file.
    pub(super) workflow: PathBuf,
    /// Set a parameter; the value is YAML. May be given several times.
    #[arg(long, value_name = "STAGE.PARAM=V|seed=N", value_parser = parse_set)]
    pub(super) set: Vec<Setting>,
    /// Read an input from another path. May be given several times.
    #[arg(long, value_name = "NAME=PATH", value_parser = parse_input)]
    pub(super) input: Vec<(String, PathBuf)>,
    /// Run only these values of an axis; other values are used where they are cached.
    #[arg(long, value_name = "AXIS=A,B", value_parser = parse_only)]
    pub(super) only: Vec<(String, BTreeSet<String>)>,
    /// Run this stage and what it needs, nothing after it.
    #[arg(long, value_name = "STAGE")]
    pub(super) until: Vec<String>,
    /// Run this stage even where it is cached.
    #[arg(long, value_name = "STAGE")]
    pub(super) force: Vec<String>,
    /// Where training runs.
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) device: DeviceArg,
    /// The cache directory.
    #[arg(long, default_value = ".clcc", value_name = "DIR")]
    pub(super) cache: PathBuf,
    /// Read every input file again instead of trusting its size and times.
    #[arg(long)]
    pub(super) rehash: bool,
    /// A shared cache: `s3://BUCKET/PREFIX`, `gs://...`, `az://...`, `https://...` or `file:///FOLDER`; `none` for none
    /// [default: that of the profile].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_remote)]
    pub(super) remote: Option<RemoteArg>,
    /// What may be done with it [default: write where that is possible].
    #[arg(long, value_enum, value_name = "MODE")]
    pub(super) remote_mode: Option<RemoteModeArg>,
}

impl WorkflowArgs {
    /// A workflow file as it is.
    pub(super) fn of(workflow: &Path) -> Self {
        Self {
            workflow: workflow.to_path_buf(),
            set: Vec::new(),
            input: Vec::new(),
            only: Vec::new(),
            until: Vec::new(),
            force: Vec::new(),
            device: DeviceArg::Auto,
            cache: PathBuf::from(".clcc"),
            rehash: false,
            remote: None,
            remote_mode: None,
        }
    }

    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            set: self.set.clone(),
            input: self.input.clone(),
            only: self.only.clone(),
            until: self.until.clone(),
        }
    }

    pub(super) fn options(&self) -> WorkflowOptions {
        WorkflowOptions {
            overrides: self.overrides(),
            force: self.force.clone(),
            device: self.device.into(),
            cache: self.cache.clone(),
            rehash: self.rehash,
            remote: None,
        }
    }

    /// The same with the shared cache that the command line or else the profile names.
    pub(super) fn options_with(&self, profile: &Profile) -> Result<WorkflowOptions, CliError> {
        let given = self.remote.as_ref();
        let address = match given {
            Some(RemoteArg::None) => None,
            Some(RemoteArg::At(address)) => Some(address),
            None => profile.remote.as_ref(),
        };
        let mode = self.remote_mode.map(RemoteMode::from);
        let Some(address) = address else {
            return match mode {
                Some(_) if given.is_none() => {
                    let message = "--remote-mode: there is no --remote, and none in a profile";
                    Err(CliError::new(exit::USAGE, message))
                }
                _ => Ok(self.options()),
            };
        };
        if mode == Some(RemoteMode::Write) && !address.can_be_written() {
            let message = format!("--remote-mode write: `{address}` can only be read");
            return Err(CliError::new(exit::USAGE, message));
        }
        let mut remote = RemoteOptions::new(address.clone());
        // The profile's mode belongs to the profile's address.
        let of_profile = profile.remote_mode.filter(|_| given.is_none());
        remote.mode = mode.or(of_profile).unwrap_or(remote.mode);
        Ok(WorkflowOptions {
            remote: Some(remote),
            ..self.options()
        })
    }

    /// The same for a verb that changes nothing anywhere.
    pub(super) fn options_to_look(&self, profile: &Profile) -> Result<WorkflowOptions, CliError> {
        let mut options = self.options_with(profile)?;
        if let Some(remote) = &mut options.remote {
            remote.mode = RemoteMode::Read;
            remote.keeps_records = false;
        }
        Ok(options)
    }
}

/// A shared cache, as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RemoteArg {
    /// None, whatever the profile says.
    None,
    /// This one.
    At(Address),
}

fn parse_remote(text: &str) -> Result<RemoteArg, ParseAddressError> {
    match text {
        "none" => Ok(RemoteArg::None),
        text => text.parse().map(RemoteArg::At),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RemoteModeArg {
    /// Only use what is there.
    Read,
    /// Send what is made too.
    Write,
}

impl From<RemoteModeArg> for RemoteMode {
    fn from(mode: RemoteModeArg) -> Self {
        match mode {
            RemoteModeArg::Read => Self::Read,
            RemoteModeArg::Write => Self::Write,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) workflow: WorkflowArgs,
    /// Cores to use, at most those of the machine [default: all].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Memory that the run may hold [default: nine tenths of the machine's or control group's].
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(super) memory: Option<u64>,
    /// Stop starting nodes after the first failure.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Where `<workflow name>/` with the results is written.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(super) results: PathBuf,
    /// Replace the results of another workflow file of the same name.
    #[arg(long)]
    pub(super) force_results: bool,
    /// Who runs nodes [default: what the profile says, else this machine].
    #[arg(long, value_enum)]
    pub(super) executor: Option<ExecutorArg>,
    /// Where nodes run [default: `clcc-flow.yaml` next to the workflow, else in ~/.config/clcc-flow].
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// More options of `sbatch`, after `--`.
    #[arg(last = true, value_name = "SBATCH OPTION")]
    pub(super) options: Vec<String>,
    /// Language of the output on stdout.
    #[arg(long, value_enum, default_value = "human")]
    pub(super) format: Format,
    /// With `plan`: exit with 8 where there is work to do.
    #[arg(long)]
    pub(super) exit_code: bool,
}

#[derive(Debug, Default, Args)]
pub(super) struct InitArgs {
    /// The file to write [default: named after the data or the template].
    pub(super) path: Option<PathBuf>,
    /// Counts to look at: h5ad, zarr, a 10x folder or h5, a text, a table of samples, or several files of one sample each.
    #[arg(long, value_name = "DATA", num_args = 1..)]
    pub(super) from: Vec<PathBuf>,
    /// A shipped workflow to start from [default: demo].
    #[arg(long, value_name = "NAME")]
    pub(super) template: Option<String>,
    /// The layout of the data, where its name does not say it.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// A table with one row per cell.
    #[arg(long, value_name = "FILE")]
    pub(super) annotations: Option<PathBuf>,
    /// The column of cell ids in the annotations [default: Index].
    #[arg(long, value_name = "COLUMN")]
    pub(super) cell_id: Option<String>,
    /// Positions of genes, for example a GTF [default: human, GRCh38].
    #[arg(long, value_name = "FILE")]
    pub(super) genes: Option<PathBuf>,
    /// The layer of an h5ad or zarr that holds the counts, or `raw`.
    #[arg(long, value_name = "LAYER")]
    pub(super) layer: Option<String>,
    /// The column that tells patients apart.
    #[arg(long, value_name = "COLUMN")]
    pub(super) patient: Option<String>,
    /// The column of samples.
    #[arg(long, value_name = "COLUMN")]
    pub(super) sample: Option<String>,
    /// The column of cell types.
    #[arg(long, value_name = "COLUMN")]
    pub(super) cell_type: Option<String>,
    /// The column that tells cancer from normal cells [default: the one that has the values].
    #[arg(long, value_name = "COLUMN")]
    pub(super) by: Option<String>,
    /// A value of cancer cells; all others are normal. May be given several times. Without any, and where no column
    /// says it, normal cells are found by their expression along the genome.
    #[arg(long, value_name = "VALUE", conflicts_with = "normal")]
    pub(super) cancer: Vec<String>,
    /// A value of normal cells; all others are cancer. May be given several times.
    #[arg(long, value_name = "VALUE")]
    pub(super) normal: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The data set whose files and proportions are imitated.
    #[arg(long, value_name = "NAME", default_value = "gse131907")]
    pub(super) like: String,
    /// Share of the data set's cells, above 0 and at most 1.
    #[arg(long, default_value_t = 0.02)]
    pub(super) scale: f64,
    /// Number of genes.
    #[arg(long, value_name = "N")]
    pub(super) genes: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Directory to write; must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Human,
    /// One JSON document, or one JSON event a line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExecutorArg {
    /// Child processes on this machine.
    Local,
    /// Jobs of Slurm.
    Slurm,
    /// Jobs of another batch system, by the commands of the profile.
    Command,
}

impl From<ExecutorArg> for ExecutorKind {
    fn from(e: ExecutorArg) -> Self {
        match e {
            ExecutorArg::Local => Self::Local,
            ExecutorArg::Slurm => Self::Slurm,
            ExecutorArg::Command => Self::Command,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
    /// A picture.
    Svg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DeviceArg {
    /// The best one this build and machine have.
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA.
    Cuda,
    /// Apple.
    Metal,
}

impl From<DeviceArg> for DeviceChoice {
    fn from(d: DeviceArg) -> Self {
        match d {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Cuda => Self::Cuda,
            DeviceArg::Metal => Self::Metal,
        }
    }
}
