//! Clones: the cells of one clone or copy-number cluster, one cell type and one patient, as one sample.

use std::collections::BTreeMap;

use super::params::Strata;
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;
use clcc_stage::cells::is_cancer;
use clcc_stage::cohort::{Cohort, Group};

/// What makes two cells the same clone, in the order in which clones are numbered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CloneId {
    /// Patient, by number.
    pub patient: u32,
    /// Cell type; empty where there is none, or where strata are patients.
    pub cell_type: String,
    /// `true`: cells of a tumour sample. Normal cells of a cluster are a clone of their own.
    pub cancer: bool,
    /// Clone, or copy-number cluster ([`clcc_stage::cohort::GroupBy`]).
    pub group: String,
    /// A cluster of cells that are in no clone, normal and malignant ones ([`Group::unplaced`]).
    pub unplaced: bool,
}

/// Cell type of each cell, which with its patient is its stratum; empty where there is none, or where strata
/// are patients.
pub(crate) fn cell_types(cohort: &Cohort, strata: Strata) -> Vec<String> {
    let none = vec![String::new(); cohort.n_cells()];
    match strata {
        Strata::Patient => none,
        Strata::PatientCellType => cohort.obs.texts("cell_type").unwrap_or(none),
    }
}

/// The clone of each cell of the cohort: cells of normal samples and those that are `chosen`, which have a
/// group. One stratum a patient, or a patient and cell type.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where `obs` does not tell tumour from normal samples.
pub(crate) fn clone_ids(
    cohort: &Cohort,
    groups: &[Group],
    chosen: &[bool],
    strata: Strata,
) -> StageResult<Vec<Option<CloneId>>> {
    let cancer = is_cancer(&cohort.obs)?;
    let cell_type = cell_types(cohort, strata);
    Ok((0..cohort.n_cells())
        .map(|i| {
            let is_included = (chosen[i] || !cancer[i]) && !groups[i].name.is_empty();
            is_included.then(|| CloneId {
                patient: cohort.patient_of[i],
                cell_type: cell_type[i].clone(),
                cancer: cancer[i],
                group: groups[i].name.clone(),
                unplaced: groups[i].unplaced,
            })
        })
        .collect())
}

/// A clone's sums.
#[derive(Debug, Clone)]
pub struct ClonePseudobulk {
    /// What its cells share.
    pub id: CloneId,
    /// Its stratum: clones of one stratum share a level of expression.
    pub stratum: usize,
    /// Rows.
    pub cells: Vec<usize>,
    /// Counts of each gene.
    pub counts: Vec<f64>,
    /// Sum of the counts.
    pub library: f64,
    /// Mean of `X_cnv`, one value a window.
    pub profile: Vec<f64>,
}

/// The clones of at least `min_cells` cells, and the number of strata. `ids[cell]` is `None` for
/// cells that do not take part; cells without counts do not either.
pub fn pseudobulks(
    counts: &Csr,
    cnv: &Csr,
    ids: &[Option<CloneId>],
    min_cells: usize,
) -> (Vec<ClonePseudobulk>, usize) {
    let mut cells: BTreeMap<&CloneId, Vec<usize>> = BTreeMap::new();
    for (i, id) in ids.iter().enumerate() {
        if let Some(id) = id
            .as_ref()
            .filter(|_| counts.row(i).1.iter().any(|v| *v > 0.0))
        {
            cells.entry(id).or_default().push(i);
        }
    }
    cells.retain(|_, c| c.len() >= min_cells);
    let mut strata: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    for id in cells.keys() {
        let next = strata.len();
        strata
            .entry((id.patient, id.cell_type.as_str()))
            .or_insert(next);
    }
    let n_strata = strata.len();
    let out = cells
        .iter()
        .map(|(id, cells)| {
            let sum = |m: &Csr| {
                let mut out = vec![0.0; m.n_cols()];
                for &i in cells {
                    let (cols, values) = m.row(i);
                    cols.iter()
                        .zip(values)
                        .for_each(|(&c, &v)| out[c as usize] += f64::from(v));
                }
                out
            };
            let counts = sum(counts);
            let mut profile = sum(cnv);
            profile.iter_mut().for_each(|v| *v /= cells.len() as f64);
            ClonePseudobulk {
                id: (*id).clone(),
                stratum: strata[&(id.patient, id.cell_type.as_str())],
                cells: cells.clone(),
                library: counts.iter().sum(),
                counts,
                profile,
            }
        })
        .collect();
    (out, n_strata)
}
