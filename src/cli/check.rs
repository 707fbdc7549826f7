//! `check`, `schema`, `completions`, `man-pages`.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::{Cli, Format, WorkflowArgs};
use super::error::{CliError, exit};
use super::inspect;
use crate::names;
use crate::plan::{NodeInput, Plan, path_pointer};
use crate::registry::{Kind, kind, kinds, tables_as_json, tables_as_text, workflow_schema};
use crate::run::load_checked;
use crate::workflow::{Problem, Workflow};

pub(super) fn check(args: &WorkflowArgs) -> Result<i32, CliError> {
    let (_, plan) = load_checked(&args.workflow, &args.options(), |workflow, plan| {
        let mut problems = unreadable_inputs(workflow, plan);
        problems.extend(names::problems(workflow, plan));
        problems
    })?;
    say!(
        "{}: {} nodes, no problems",
        plan.file.display(),
        plan.nodes.len()
    );
    Ok(exit::OK)
}

/// Inputs that are there and cannot be opened. Those that a survey reads are left to it: it opens them as
/// the stage does.
fn unreadable_inputs(workflow: &Workflow, plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let surveyed = names::surveyed_inputs(plan);
    for name in plan.used_inputs() {
        let spec = &plan.inputs[name];
        let Some(path) = spec.path.as_ref().filter(|p| p.exists()) else {
            continue;
        };
        let opened = if surveyed.contains(name) {
            inspect::is_file_or_folder(path)
        } else if is_gene_table(plan, name) {
            inspect::reads_genes(path)
        } else {
            inspect::opens(path, spec.format.as_deref())
        };
        if let Err(error) = opened {
            let place = path_pointer(workflow, name);
            let mut problem = Problem::new(format!("input `{name}`: {}", error.message))
                .at(workflow.positions.value(&place));
            if let Some(hint) = error.hint {
                problem = problem.hint(hint);
            }
            problems.push(problem);
        }
    }
    problems
}

/// Whether a stage reads the input as gene positions.
fn is_gene_table(plan: &Plan, name: &str) -> bool {
    let inputs = plan.nodes.iter().flat_map(|n| &n.inputs);
    inputs
        .into_iter()
        .any(|i| matches!(i, NodeInput::File { role: "genes", input } if input == name))
}

pub(super) fn schema(name: Option<&str>) -> Result<i32, CliError> {
    let document = match name {
        None => workflow_schema(),
        Some(name) => known_kind(name)?.schema(),
    };
    super::out::json(&document);
    Ok(exit::OK)
}

/// JSON Schema of a profile.
pub(super) fn profile_schema() -> Result<i32, CliError> {
    super::out::json(&crate::profile::profile_schema());
    Ok(exit::OK)
}

/// The data dictionary, of one kind or of all.
pub(super) fn tables(name: Option<&str>, format: Format) -> Result<i32, CliError> {
    if let Some(name) = name {
        known_kind(name)?;
    }
    match format {
        Format::Human => super::out::exact(&tables_as_text(kinds(), name)),
        Format::Json => super::out::json(&tables_as_json(kinds(), name)),
    }
    Ok(exit::OK)
}

fn known_kind(name: &str) -> Result<&'static Kind, CliError> {
    kind(name).ok_or_else(|| {
        let known: Vec<&str> = kinds().iter().map(|k| k.name).collect();
        let problem = crate::workflow::unknown("stage kind", name, &known);
        CliError::new(exit::USAGE, problem.message).with_hint(problem.hint)
    })
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<i32, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clcc-flow", &mut text);
    super::out::exact(&String::from_utf8_lossy(&text));
    Ok(exit::OK)
}

/// Writes `clcc-flow.1` and a page for each command, `clcc-flow-run.1`.
pub(super) fn man_pages(dir: &Path) -> Result<i32, CliError> {
    let failed = |e: std::io::Error| {
        CliError::new(
            exit::DISK,
            format!("man pages cannot be written to `{}`: {e}", dir.display()),
        )
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    Ok(exit::OK)
}
