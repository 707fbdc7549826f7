//! What every workflow verb needs: the plan, the store, the content of the inputs.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clcc_cache::{Digest, Journal, StatCache, Store};
use rustix::fs::Mode;

use super::args::WorkflowArgs;
use super::error::{CliError, cache_hint, exit};
use crate::decide::{Decider, InputDigests, Lookahead, digest_inputs};
use crate::device::RunDevice;
use crate::names;
use crate::plan::{NodeId, Plan};
use crate::workflow::{InvalidWorkflow, Problem, Workflow, join, unknown};

/// An opened workflow.
pub(super) struct Session {
    workflow: Workflow,
    pub(super) plan: Plan,
    pub(super) store: Store,
    pub(super) inputs: InputDigests,
    pub(super) last: Journal<Digest>,
    pub(super) force: BTreeSet<String>,
    pub(super) device: RunDevice,
    umask: Umask,
}

/// Opens the cache for whatever verb. Its path is handed to child processes as JSON, so it must be text.
pub(super) fn open_cache(path: &Path) -> Result<(Store, Umask), CliError> {
    let umask = Umask::of_cache(path);
    let store = Store::open(path)?;
    if store.root().to_str().is_none() {
        let message = format!(
            "the cache lies at `{}`: expected a path that is UTF-8 text",
            store.root().display()
        );
        return Err(CliError::new(exit::USAGE, message).hint("give another place with --cache"));
    }
    Ok((store, umask))
}

/// What the modes of new files leave out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Umask {
    /// As the user set it.
    own: Mode,
    /// In the cache: a directory that the group may write and hands its group on (`chmod g+ws`) is shared, so
    /// what lies in it is the group's too, whatever each of its users has set.
    cache: Mode,
}

impl Umask {
    /// Takes effect at once.
    fn of_cache(root: &Path) -> Self {
        let shared = std::fs::metadata(root).is_ok_and(|m| m.mode() & 0o2020 == 0o2020);
        let own = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let cache = if shared { own - Mode::RWXG } else { own };
        rustix::process::umask(cache);
        Self { own, cache }
    }

    /// Does what is no matter of the cache.
    fn outside_cache<T>(self, work: impl FnOnce() -> T) -> T {
        rustix::process::umask(self.own);
        let done = work();
        rustix::process::umask(self.cache);
        done
    }
}

/// Loads and checks a workflow, whether its input files are there, and what `more` finds.
pub(super) fn load_checked(
    args: &WorkflowArgs,
    more: impl Fn(&Workflow, &Plan) -> Vec<Problem>,
) -> Result<(Workflow, Plan), CliError> {
    let workflow = Workflow::load(&args.workflow)?;
    let plan = Plan::new(&workflow, &args.overrides())?;
    let mut problems = missing_inputs(&workflow, &plan);
    problems.extend(more(&workflow, &plan));
    let stages: Vec<&str> = workflow.stages.keys().map(String::as_str).collect();
    for stage in args.force.iter().filter(|s| !stages.contains(&s.as_str())) {
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
        let at = join("/inputs", name);
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
            problems.push(Problem::new(message).at(workflow.positions.value(&join(&at, "path"))));
            continue;
        }
        if path.exists() {
            continue;
        }
        let mut problem = Problem::new(format!(
            "input `{name}`: there is no file `{}`",
            path.display()
        ))
        .at(workflow.positions.value(&join(&at, "path")));
        let mut hint = spec
            .about
            .clone()
            .unwrap_or_else(|| format!("give its place with --input {name}=PATH"));
        if let Some(url) = &spec.url {
            hint.push_str(&format!("\n      `clcc-flow run` downloads it from {url}"));
        }
        problem = problem.hint(hint.trim_end().to_string());
        problems.push(problem);
    }
    problems
}

impl Session {
    pub(super) fn open(args: &WorkflowArgs) -> Result<Self, CliError> {
        let (workflow, plan) = load_checked(args, |_, _| Vec::new())?;
        let device = crate::device::resolve(args.device.into()).map_err(|e| {
            let hint = format!(
                "build with `--features {}`, or use `--device cpu`",
                e.device
            );
            CliError::from_error(exit::USAGE, &e).hint(hint)
        })?;
        let (store, umask) = open_cache(&args.cache)?;
        let store = store.checking_content(args.rehash);
        let mut stat = StatCache::open(&store.root().join("stat.jsonl"), !args.rehash);
        let inputs = digest_inputs(&plan, &mut stat).map_err(|(name, e)| {
            let mut error = CliError::from_error(exit::INVALID, &e);
            error.message = format!("input `{name}`: {}", error.message);
            error.with_hint(cache_hint(&e))
        })?;
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
        Ok(Self {
            workflow,
            plan,
            store,
            inputs,
            last,
            force: args.force.iter().cloned().collect(),
            device,
            umask,
        })
    }

    /// Looks up in the data what the parameters name, unless the same names were found in the same data
    /// before.
    ///
    /// # Errors
    /// Every name that the data lack.
    pub(super) fn check_names(&self) -> Result<(), CliError> {
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
    pub(super) fn outside_cache<T>(&self, work: impl FnOnce() -> T) -> T {
        self.umask.outside_cache(work)
    }

    /// Digest of the program file, for the records; not part of any key.
    pub(super) fn build_digest(&self, program: &std::path::Path) -> Option<Digest> {
        let mut stat = StatCache::open(&self.store.root().join("stat.jsonl"), true);
        let digest = stat.digest(program).ok();
        let _ = stat.save();
        digest
    }

    /// A decider that will be asked for these nodes.
    pub(super) fn decider(&self, nodes: impl IntoIterator<Item = NodeId>) -> Decider<'_> {
        Decider {
            ahead: Lookahead::new(&self.store, &self.plan, &self.last, nodes),
            plan: &self.plan,
            store: &self.store,
            inputs: &self.inputs,
            last: &self.last,
            force: &self.force,
            numerics: self.device.class,
        }
    }
}
