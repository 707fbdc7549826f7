//! Inputs with a file for each patient: a table of samples, or a path such as `data/{patient}.h5`.
//!
//! Each value has an input of its own, `counts[P1]`, with a digest of its own: a node reads that of its branch, and
//! another patient's file is no part of its key.

use std::path::{Path, PathBuf};

use clcc_stages::stage::Branch;
use indexmap::IndexMap;

use crate::workflow::{InputSpec, PATIENT, Problem, Workflow, absent, join, sheet};

/// The axes that an input has a file for each value of, in axis order; none for most inputs.
pub(super) fn axes_of<'a>(workflow: &'a Workflow, spec: &InputSpec) -> Vec<&'a str> {
    let path = spec.path.as_ref().map(|p| p.to_string_lossy());
    let named = |axis: &str| match spec.is_sheet() {
        true => axis == PATIENT,
        false => path
            .as_ref()
            .is_some_and(|p| p.contains(&format!("{{{axis}}}"))),
    };
    let axes = workflow.axes.keys().map(String::as_str);
    axes.filter(|axis| named(axis)).collect()
}

/// What the input of a branch is called; `None` where the branch lacks one of `axes`.
pub(super) fn name_at(input: &str, axes: &[&str], branch: &Branch) -> Option<String> {
    if axes.is_empty() {
        return Some(input.to_string());
    }
    let values = axes
        .iter()
        .map(|axis| branch.get(*axis).map(String::as_str));
    let values: Option<Vec<&str>> = values.collect();
    Some(format!("{input}[{}]", values?.join(",")))
}

/// What the workflow calls the input: `counts` of `counts[P1]`.
pub(crate) fn base_name(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// Place of an input's path in the workflow file.
pub(crate) fn path_pointer(workflow: &Workflow, name: &str) -> String {
    let name = base_name(name);
    let is_sheet = workflow.inputs.get(name).is_some_and(InputSpec::is_sheet);
    let key = if is_sheet { "sheet" } else { "path" };
    join(&join("/inputs", name), key)
}

/// Every input by the name that nodes know it by. Tables of samples that the command line names are read.
pub(super) fn instances(
    workflow: &Workflow,
    inputs: &IndexMap<String, InputSpec>,
    problems: &mut Vec<Problem>,
) -> IndexMap<String, InputSpec> {
    let mut out = IndexMap::new();
    for (name, spec) in inputs {
        let axes = axes_of(workflow, spec);
        let mut spec = spec.clone();
        if let Some(path) = spec.path.as_ref().filter(|p| spec.is_sheet() && p.exists())
            && spec.samples.is_none()
        {
            match sheet(name, path) {
                Ok(sheet) => spec.samples = Some(sheet),
                Err(problem) => problems.push(problem),
            }
        }
        for branch in branches(workflow, &axes) {
            let mut own = spec.clone();
            if spec.is_sheet() {
                own.of = branch.get(PATIENT).cloned();
                if let (Some(sheet), Some(patient)) = (&spec.samples, &own.of) {
                    problems.extend(absent(sheet, patient));
                }
            } else if let Some(path) = &spec.path {
                own.path = Some(filled(&path.to_string_lossy(), &branch, path));
            }
            out.extend(name_at(name, &axes, &branch).map(|name| (name, own)));
        }
    }
    out
}

/// The path at a branch; one that is no text has no placeholders.
fn filled(text: &str, branch: &Branch, path: &Path) -> PathBuf {
    if branch.is_empty() {
        return path.to_path_buf();
    }
    let mut text = text.to_string();
    for (axis, value) in branch {
        text = text.replace(&format!("{{{axis}}}"), value);
    }
    PathBuf::from(text)
}

fn branches(workflow: &Workflow, axes: &[&str]) -> Vec<Branch> {
    let mut out = vec![Branch::new()];
    for axis in axes {
        let values = workflow.axes[*axis].values.keys();
        let with = |branch: &Branch, value: &String| {
            let mut branch = branch.clone();
            branch.insert((*axis).to_string(), value.clone());
            branch
        };
        out = values
            .flat_map(|value| out.iter().map(move |branch| with(branch, value)))
            .collect();
    }
    out
}

/// The error for a node that is not of one of these axes.
pub(super) fn not_fanned_out(
    workflow: &Workflow,
    stage: &str,
    input: &str,
    axes: &[&str],
) -> Problem {
    let at = join("/stages", stage);
    Problem::new(format!(
        "input `{input}` has files for each `{}`, and stage `{stage}` is not fanned out over it",
        axes.join("`, `")
    ))
    .at(workflow.positions.key(&at))
    .hint(format!(
        "add `per: {}` to the stage",
        match axes {
            [one] => (*one).to_string(),
            several => format!("[{}]", several.join(", ")),
        }
    ))
}
