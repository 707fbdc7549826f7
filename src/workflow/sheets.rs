//! Tables of samples that a workflow names: read once, and the patients of them are the axis `patient`.

use std::path::Path;
use std::sync::Arc;

use clcc_stages::StageError;
use clcc_stages::ingest::Sheet;

use super::positions::join;
use super::problem::{Problem, did_you_mean};
use super::{Axis, AxisValue, Workflow};

/// The axis that a sheet is about.
pub(crate) const PATIENT: &str = "patient";

/// Reads the sheets of the workflow. Where it lists no patients, they are those of the sheets, in their order; where
/// it does, each must be in every sheet. A sheet that is not there is left to who looks for missing inputs.
pub(super) fn read(workflow: &mut Workflow) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut axis = Axis::default();
    for (name, spec) in &mut workflow.inputs {
        let Some(path) = spec.path.as_deref().filter(|_| spec.is_sheet()) else {
            continue;
        };
        let at = join(&join("/inputs", name), "sheet");
        let place = workflow.positions.value(&at);
        if !path.exists() {
            // Without it there are no patients; with them it is an input that is missing like any other.
            if !workflow.axes.contains_key(PATIENT) {
                let message = format!("input `{name}`: there is no file `{}`", path.display());
                problems.push(Problem::new(message).at(place));
            }
            continue;
        }
        let sheet = match self::sheet(name, path) {
            Ok(sheet) => sheet,
            Err(problem) => {
                problems.push(problem.at(place));
                continue;
            }
        };
        for patient in sheet.patients() {
            let values = &mut axis.values;
            values
                .entry(patient.to_string())
                .or_insert_with(AxisValue::default);
        }
        spec.samples = Some(sheet);
    }
    if axis.values.is_empty() {
        return problems;
    }
    let Some(listed) = workflow.axes.get(PATIENT) else {
        workflow.axes.shift_insert(0, PATIENT.to_string(), axis);
        return problems;
    };
    for (i, patient) in listed.values.keys().enumerate() {
        let at = join("/axes", PATIENT);
        let place = workflow.positions.value(&join(&at, &i.to_string()));
        let place = place.or_else(|| workflow.positions.key(&join(&at, patient)));
        for spec in workflow.inputs.values() {
            if let Some(sheet) = &spec.samples
                && let Some(problem) = absent(sheet, patient)
            {
                problems.push(problem.at(place));
            }
        }
    }
    problems
}

/// Reads one sheet.
pub(crate) fn sheet(input: &str, path: &Path) -> Result<Arc<Sheet>, Problem> {
    let read = Sheet::read(path).and_then(with_addresses);
    read.map(Arc::new).map_err(|error| {
        let mut message = format!("input `{input}`: {error}");
        if let Some(cause) = std::error::Error::source(&error) {
            message.push_str(&format!(": {cause}"));
        }
        let problem = Problem::new(message);
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    })
}

/// The sheet, if each of its addresses is one that can be downloaded.
fn with_addresses(sheet: Sheet) -> Result<Sheet, StageError> {
    for sample in &sheet.samples {
        if let Some(url) = &sample.url
            && !crate::fetch::can_be_fetched(url)
        {
            let schemes = crate::fetch::SCHEMES;
            let message = format!("expected a url with {schemes}, found `{url}`");
            return Err(sheet.error(sample.line, "url", message));
        }
    }
    Ok(sheet)
}

/// That a patient has no row.
pub(crate) fn absent(sheet: &Sheet, patient: &str) -> Option<Problem> {
    let error = sheet.of(patient).err()?;
    let problem = Problem::new(error.to_string());
    Some(match did_you_mean(patient, sheet.patients()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("without `axes: {patient: ...}` the patients are those of the sheet"),
    })
}
