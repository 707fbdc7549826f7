//! What every workflow verb needs: the plan, the store, the content of the inputs.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clcc_cache::remote::{Address, RemoteMode};
#[cfg(feature = "remote")]
use clcc_cache::remote::{Layered, RemoteUse};
use clcc_cache::{ActionStore, Digest, Journal, StatCache, Store};
use clcc_stages::stage::DeviceChoice;
use rustix::fs::Mode;

use super::RunError;
use crate::decide::{Decider, InputDigests, Lookahead, digest_inputs};
use crate::device::RunDevice;
use crate::names;
use crate::plan::{NodeId, Overrides, Plan, base_name, path_pointer};
use crate::schedule::RunOutcome;
use crate::workflow::{InputSpec, InvalidWorkflow, Problem, Workflow, join, unknown};

/// How to open a workflow, for every verb that needs its plan. The default is that of the command line.
#[derive(Debug, Clone)]
pub struct WorkflowOptions {
    /// Changes to what the file says; default none.
    pub overrides: Overrides,
    /// Stages that run even where they are cached; default none.
    pub force: Vec<String>,
    /// Where training runs; default the best device that this build and machine have.
    pub device: DeviceChoice,
    /// The cache directory; default `.clcc`.
    pub cache: PathBuf,
    /// Read every input file again instead of trusting its size and times; default `false`.
    pub rehash: bool,
    /// A shared cache behind the directory; default none. Nothing of it enters a key.
    pub remote: Option<RemoteOptions>,
}

/// A shared cache behind the local one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Where.
    pub address: Address,
    /// What may be done with it.
    pub mode: RemoteMode,
    /// Keep the records that are found there in the local cache at once; `false` for a dry run.
    pub keeps_records: bool,
}

impl RemoteOptions {
    /// A shared cache that is read, and written where it can be.
    pub fn new(address: Address) -> Self {
        let mode = match address.can_be_written() {
            true => RemoteMode::Write,
            false => RemoteMode::Read,
        };
        Self {
            address,
            mode,
            keeps_records: true,
        }
    }
}

impl Default for WorkflowOptions {
    fn default() -> Self {
        Self {
            overrides: Overrides::default(),
            force: Vec::new(),
            device: DeviceChoice::Auto,
            cache: PathBuf::from(".clcc"),
            rehash: false,
            remote: None,
        }
    }
}

/// An opened workflow: the plan, the cache, the content of the inputs.
pub struct Session {
    workflow: Workflow,
    /// Nodes, parameters, wiring.
    pub plan: Plan,
    /// The cache.
    pub store: Store,
    /// The cache with the shared one behind it, where there is one.
    #[cfg(feature = "remote")]
    pub remote: Option<Layered>,
    /// Content of the file inputs.
    pub inputs: InputDigests,
    /// The key that each node had last.
    pub last: Journal<Digest>,
    /// Stages that run even where they are cached.
    pub force: BTreeSet<String>,
    /// Where training runs, and why.
    pub device: RunDevice,
    umask: Umask,
}

/// Opens a cache. While the second value lives, new files of this process have the cache's umask.
///
/// # Errors
/// [`RunError::Cache`], and [`RunError::CachePath`] where its path is no UTF-8 text.
pub fn open_cache(path: &Path) -> Result<(Store, Umask), RunError> {
    let umask = Umask::of_cache(path);
    let store = Store::open(path)?;
    if store.root().to_str().is_none() {
        return Err(RunError::CachePath(store.root().to_path_buf()));
    }
    Ok((store, umask))
}

/// What the modes of new files leave out; the user's own is set again when this goes.
#[derive(Debug)]
pub struct Umask {
    /// As the user set it.
    own: Mode,
    /// In the cache: a directory that the group may write and hands its group on (`chmod g+ws`) is shared, so
    /// what is in it is the group's too, whatever each of its users has set.
    cache: Mode,
}

impl Umask {
    /// Takes effect at once.
    fn of_cache(root: &Path) -> Self {
        let shared = std::fs::metadata(root).is_ok_and(|m| m.mode() & 0o2020 == 0o2020);
        let own = own_umask();
        let cache = if shared { own - Mode::RWXG } else { own };
        if cache != own {
            rustix::process::umask(cache);
        }
        Self { own, cache }
    }

    /// Does what is no matter of the cache.
    fn outside_cache<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.cache == self.own {
            return work();
        }
        rustix::process::umask(self.own);
        let done = work();
        rustix::process::umask(self.cache);
        done
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        if self.cache != self.own {
            rustix::process::umask(self.own);
        }
    }
}

/// The umask of this process. Where the kernel does not say it (Linux before 4.7, other systems), it is read by
/// setting another for a moment.
fn own_umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let said = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    if let Some(said) = said.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()) {
        return Mode::from_raw_mode(said);
    }
    let own = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(own);
    own
}

/// Loads and checks a workflow, whether its input files are there, and what `more` finds.
///
/// # Errors
/// [`RunError::Load`] and [`RunError::Invalid`].
pub fn load_checked(
    file: &Path,
    options: &WorkflowOptions,
    more: impl Fn(&Workflow, &Plan) -> Vec<Problem>,
) -> Result<(Workflow, Plan), RunError> {
    let workflow = Workflow::load(file)?;
    let plan = Plan::new(&workflow, &options.overrides)?;
    let mut problems = missing_inputs(&workflow, &plan);
    problems.extend(more(&workflow, &plan));
    let stages: Vec<&str> = workflow.stages.keys().map(String::as_str).collect();
    for stage in options
        .force
        .iter()
        .filter(|s| !stages.contains(&s.as_str()))
    {
        let mut problem = unknown("stage", stage, &stages);
        problem.message = format!("--force {stage}: {}", problem.message);
        problems.push(problem);
    }
    if problems.is_empty() {
        Ok((workflow, plan))
    } else {
        Err(InvalidWorkflow::new(&workflow.file, problems).into())
    }
}

/// Inputs that selected nodes read and that are not there; one problem names them all where they
/// belong together.
fn missing_inputs(workflow: &Workflow, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in plan.used_inputs() {
        let spec = &plan.inputs[name];
        let at = join("/inputs", base_name(name));
        let place = workflow.positions.value(&path_pointer(workflow, name));
        if let Some(builtin) = &spec.builtin
            && clcc_stages::genome::builtin(builtin).is_none()
        {
            let place = workflow.positions.value(&join(&at, "builtin"));
            problems.push(unknown("built-in table", builtin, &["grch38"]).at(place));
        }
        let Some(path) = &spec.path else { continue };
        if std::path::absolute(path).is_ok_and(|p| p.to_str().is_none()) {
            let message = format!(
                "input `{name}`: expected a path that is UTF-8 text, found `{}`",
                std::path::absolute(path).unwrap_or_default().display()
            );
            problems.push(Problem::new(message).at(place));
            continue;
        }
        if path.exists() {
            problems.extend(missing_samples(spec, name).map(|p| p.at(place)));
            continue;
        }
        let mut problem = Problem::new(format!(
            "input `{name}`: there is no file `{}`",
            path.display()
        ))
        .at(place);
        let mut hint = spec
            .about
            .clone()
            .unwrap_or_else(|| format!("give its place with --input {}=PATH", base_name(name)));
        if let Some(url) = &spec.url {
            hint.push_str(&format!("\n      `clcc-flow run` downloads it from {url}"));
        }
        problem = problem.hint(hint.trim_end().to_string());
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// Files that a table of samples names and that are not there.
fn missing_samples(spec: &InputSpec, name: &str) -> impl Iterator<Item = Problem> {
    let missing = match (&spec.samples, &spec.of) {
        (Some(sheet), Some(patient)) => sheet.missing_files(patient),
        _ => Vec::new(),
    };
    let input = base_name(name).to_string();
    missing.into_iter().map(move |error| {
        let problem = Problem::new(format!("input `{input}`: {error}"));
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    })
}

impl Session {
    /// Opens a workflow and its cache, and reads what of its inputs was not read before.
    ///
    /// # Errors
    /// Where the workflow, an input, the device or the cache cannot be used.
    pub fn open(file: &Path, options: &WorkflowOptions) -> Result<Self, RunError> {
        let (workflow, plan) = load_checked(file, options, |_, _| Vec::new())?;
        let device = crate::device::resolve(options.device)?;
        let (store, umask) = open_cache(&options.cache)?;
        let store = store.checking_content(options.rehash);
        let mut stat = StatCache::open(&store.root().join("stat.jsonl"), !options.rehash);
        let inputs = digest_inputs(&plan, &mut stat)
            .map_err(|(name, source)| RunError::Input { name, source })?;
        if store.is_writable()
            && let Err(e) = stat.save()
        {
            tracing::warn!("digests of input files could not be remembered: {e}");
        }
        let last = Journal::open(
            &store
                .root()
                .join("last")
                .join(format!("{}.jsonl", plan.name)),
        );
        #[cfg(not(feature = "remote"))]
        if options.remote.is_some() {
            return Err(RunError::NoRemote);
        }
        Ok(Self {
            workflow,
            plan,
            #[cfg(feature = "remote")]
            remote: layered(&store, options.remote.as_ref()),
            store,
            inputs,
            last,
            force: options.force.iter().cloned().collect(),
            device,
            umask,
        })
    }

    /// Looks up in the data what the parameters name, unless the same names were found in the same data
    /// before.
    ///
    /// # Errors
    /// Every name that the data lack.
    pub fn check_names(&self) -> Result<(), RunError> {
        let now = names::digest(&self.plan, &self.inputs);
        let path = self.store.root().join("names.jsonl");
        let mut known: Journal<Digest> = Journal::open(&path);
        if known.get(&self.plan.name) == Some(&now) {
            return Ok(());
        }
        let problems = names::problems(&self.workflow, &self.plan);
        if !problems.is_empty() {
            return Err(InvalidWorkflow::new(&self.workflow.file, problems).into());
        }
        if let Err(e) = known.set_all([(self.plan.name.clone(), now)]) {
            tracing::warn!("that all names are in the data could not be remembered: {e}");
        }
        Ok(())
    }

    /// Writes outside the cache, with the user's own umask.
    pub fn outside_cache<T>(&self, work: impl FnOnce() -> T) -> T {
        self.umask.outside_cache(work)
    }

    /// Digest of the program file, for the records; not part of any key.
    pub fn build_digest(&self, program: &std::path::Path) -> Option<Digest> {
        let mut stat = StatCache::open(&self.store.root().join("stat.jsonl"), true);
        let digest = stat.digest(program).ok();
        let _ = stat.save();
        digest
    }

    /// Points every node that has a record at it, for the reasons of the next run.
    pub fn remember(&mut self, outcome: &RunOutcome) {
        if !self.store.is_writable() {
            return;
        }
        let nodes = self.plan.nodes.iter().zip(&outcome.nodes);
        let keys = nodes.filter_map(|(node, end)| Some((node.id.clone(), end.record()?.key)));
        if let Err(e) = self.last.set_all(keys.collect::<Vec<_>>()) {
            tracing::warn!("the keys of this run could not be remembered: {e}");
        }
    }

    /// Seconds that each node took when it last ran, with early stopping and all; `None` where it never has.
    pub fn last_seconds(&self) -> Vec<Option<f64>> {
        let decider = self.decider([]);
        let nodes = 0..self.plan.nodes.len();
        nodes
            .map(|id| decider.last_record(id)?.measured["seconds"].as_f64())
            .collect()
    }

    /// What nodes are looked up in.
    pub fn actions(&self) -> &dyn ActionStore {
        #[cfg(feature = "remote")]
        if let Some(remote) = &self.remote {
            return remote;
        }
        &self.store
    }

    /// The plan, when all else is done.
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// A decider that will be asked for these nodes.
    pub fn decider(&self, nodes: impl IntoIterator<Item = NodeId>) -> Decider<'_> {
        Decider {
            ahead: Lookahead::new(self.actions(), &self.plan, &self.last, nodes),
            plan: &self.plan,
            store: self.actions(),
            inputs: &self.inputs,
            last: &self.last,
            force: &self.force,
            numerics: self.device.class,
        }
    }
}

/// The cache with the shared one behind it. What comes from there needs a place, so a cache that cannot be written
/// has none.
#[cfg(feature = "remote")]
fn layered(store: &Store, options: Option<&RemoteOptions>) -> Option<Layered> {
    let options = options.filter(|_| store.is_writable())?;
    let how = RemoteUse {
        mode: options.mode,
        keeps_records: options.keeps_records,
    };
    Some(Layered::open(store.clone(), &options.address, how))
}
