//! Finds one patient's cells in the tables that all patients share.

use std::collections::HashMap;

use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;

/// The patient of a table that is of one patient alone (see [`clcc_stage::cohort::patient_name`]).
const UNNAMED: &str = "all";

/// For each of `cells`, its row in a joined table with these patients and cell ids (ids are unique
/// within a patient only); `None` where the table lacks it.
pub(super) fn rows_of(
    cells: &[String],
    patient: &str,
    patients: &[String],
    ids: &[String],
) -> Vec<Option<usize>> {
    // A node of one patient among others reads artifacts without a patient's name.
    let unnamed = patients.iter().all(|p| p == UNNAMED);
    let own = patients
        .iter()
        .zip(ids)
        .enumerate()
        .filter(|(_, (p, _))| unnamed || *p == patient);
    let row_of: HashMap<&str, usize> = own.map(|(row, (_, id))| (id.as_str(), row)).collect();
    cells
        .iter()
        .map(|id| row_of.get(id.as_str()).copied())
        .collect()
}

/// The same where every cell must be there.
///
/// # Errors
/// [`StageError::Data`] that names the patient, the artifact and the first missing cells.
pub(super) fn all_rows_of(
    what: &str,
    cells: &[String],
    patient: &str,
    patients: &[String],
    ids: &[String],
) -> StageResult<Vec<usize>> {
    let rows = rows_of(cells, patient, patients, ids);
    let missing: Vec<&String> = cells
        .iter()
        .zip(&rows)
        .filter(|(_, r)| r.is_none())
        .map(|(c, _)| c)
        .collect();
    if missing.is_empty() {
        return Ok(rows.into_iter().flatten().collect());
    }
    Err(StageError::data(format!(
        "`{what}` lacks {} of {} cells of patient `{patient}`: {}",
        missing.len(),
        cells.len(),
        list(&missing)
    )))
}

/// The patient that every cell of `obs` belongs to.
///
/// # Errors
/// [`StageError::Data`] without a column `patient`, and where it has several values.
pub(super) fn one_patient(obs: &Frame) -> StageResult<String> {
    let mut patients = obs.texts("patient")?;
    patients.dedup();
    match patients.as_slice() {
        [one] => Ok(one.clone()),
        [] => Ok(String::new()),
        _ => {
            patients.sort();
            patients.dedup();
            Err(StageError::data_hint(
                format!(
                    "expected the cells of one patient, found {}",
                    list(&patients)
                ),
                "run `export` with `per: patient`",
            ))
        }
    }
}

/// Checks that two artifacts of a patient have the same cells in the same order.
///
/// # Errors
/// [`StageError::Data`] at the first difference.
pub(super) fn same_cells(what: &str, found: &[String], expected: &[String]) -> StageResult<()> {
    if found == expected {
        return Ok(());
    }
    let at = found
        .iter()
        .zip(expected)
        .position(|(a, b)| a != b)
        .unwrap_or(found.len().min(expected.len()));
    let name = |v: &[String]| {
        v.get(at)
            .map_or("nothing".to_string(), |id| format!("`{id}`"))
    };
    Err(StageError::data(format!(
        "`{what}` has {} cells, `expr` {}; cell {} is {} in `{what}`, {} in `expr`",
        found.len(),
        expected.len(),
        at + 1,
        name(found),
        name(expected)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_one_unnamed_patient_is_the_patient_s_own() {
        let s = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let (cells, ids) = (s(&["b", "a", "x"]), s(&["a", "b"]));
        let rows = |patients: &[&str]| rows_of(&cells, "P1", &s(patients), &ids);
        assert_eq!(rows(&["all", "all"]), [Some(1), Some(0), None]);
        assert_eq!(rows(&["P1", "P2"]), [None, Some(0), None]);
        assert_eq!(rows(&["all", "P2"]), [None, None, None]);
    }
}
