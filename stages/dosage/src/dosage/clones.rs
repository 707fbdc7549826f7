//! Clones as samples: the cells of one clone or copy-number cluster, of one cell type and one patient.

use std::collections::BTreeMap;

use super::params::Strata;
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};
use clcc_stage::cells::is_cancer;
use clcc_stage::cohort::{Cohort, Group};

/// Identity of a clone: patient, cell type, tumour or normal, group. Ordered as clones are numbered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CloneId {
    /// Index of the patient.
    pub patient: u32,
    /// Cell type; empty where there is none, or where strata are patients.
    pub cell_type: String,
    /// Whether the cells are of a tumour sample. Normal cells of a cluster are a clone of their own.
    pub cancer: bool,
    /// Name of the clone, or of the copy-number cluster ([`clcc_stage::cohort::GroupBy`]).
    pub group: String,
    /// Whether this is a cluster of cells that are in no clone, normal and malignant ones
    /// ([`Group::unplaced`]).
    pub unplaced: bool,
}

/// Cell type of each cell, which with its patient defines its stratum; empty where there is none, or
/// where strata are patients.
pub(crate) fn cell_types(cohort: &Cohort, strata: Strata) -> Vec<String> {
    let none = vec![String::new(); cohort.n_cells()];
    match strata {
        Strata::Patient => none,
        Strata::PatientCellType => cohort.obs.texts("cell_type").unwrap_or(none),
    }
}

/// Assign each cell of the cohort its clone: cells of normal samples, and the `chosen` cells of tumour
/// samples, where they have a group. Other cells get `None`. A stratum is a patient, or a patient and
/// cell type.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where `obs` does not say which samples are tumour and which
/// are normal.
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

/// Pseudobulk of one clone: cells, summed counts, library size, mean profile.
#[derive(Debug, Clone)]
pub struct ClonePseudobulk {
    /// Identity of the clone.
    pub id: CloneId,
    /// Stratum, from 0: clones of one stratum share an expression level per gene.
    pub stratum: usize,
    /// Rows of its cells in the cohort.
    pub cells: Vec<usize>,
    /// Summed raw counts of each gene.
    pub counts: Vec<f64>,
    /// Library size: sum of the counts.
    pub library: f64,
    /// Mean `X_cnv` of its cells, one value per window.
    pub profile: Vec<f64>,
}

/// Sum the counts of each clone of at least `min_cells` cells; also returns the number of strata.
/// `ids[cell]` is `None` for cells that are not included; cells without counts are not included either.
/// The cells of a clone must be in one part of each matrix, as those of a patient are.
///
/// # Errors
/// Where a part cannot be read.
///
/// ```
/// use clcc_data::matrix::Csr;
/// use clcc_dosage::dosage::clones::{CloneId, pseudobulks};
/// use ndarray::array;
///
/// let clone = |group: &str| CloneId {
///     patient: 0,
///     cell_type: "Epithelial cells".into(),
///     cancer: true,
///     group: group.into(),
///     unplaced: false,
/// };
/// let ids = ["clone 1", "clone 2", "clone 1"].map(|group| Some(clone(group)));
/// let counts = Csr::from_dense(&array![[1.0, 0.0], [0.0, 5.0], [2.0, 3.0]]);
/// let x_cnv = Csr::from_dense(&array![[0.1], [0.0], [0.3]]);
/// // Two cells or more: `clone 2` has one.
/// let (clones, n_strata) = pseudobulks(&counts, &x_cnv, &ids, 2).expect("a matrix in memory");
/// assert_eq!((clones.len(), n_strata), (1, 1));
/// assert_eq!(clones[0].counts, [3.0, 3.0]);
/// assert!((clones[0].profile[0] - 0.2).abs() < 1e-6);
/// ```
pub fn pseudobulks(
    counts: &dyn Parts,
    cnv: &dyn Parts,
    ids: &[Option<CloneId>],
    min_cells: usize,
) -> StageResult<(Vec<ClonePseudobulk>, usize)> {
    let mut clones: Vec<ClonePseudobulk> = Vec::new();
    counts.each(&mut |first, part| {
        clones.extend(summed(part, first, ids, min_cells));
        Ok(())
    })?;
    debug_assert!(
        clones.is_sorted_by(|a, b| a.id < b.id),
        "a clone is in one part"
    );
    let mut strata: BTreeMap<(u32, String), usize> = BTreeMap::new();
    for clone in &mut clones {
        let next = strata.len();
        let stratum = (clone.id.patient, clone.id.cell_type.clone());
        clone.stratum = *strata.entry(stratum).or_insert(next);
    }
    cnv.each(&mut |first, part| {
        let here = first..first + part.n_rows();
        for clone in clones.iter_mut().filter(|c| here.contains(&c.cells[0])) {
            let rows = clone.cells.iter().map(|i| i - first);
            clone.profile = part.sum_rows(rows);
            let n = clone.cells.len() as f64;
            clone.profile.iter_mut().for_each(|v| *v /= n);
        }
        Ok(())
    })?;
    Ok((clones, strata.len()))
}

/// The clones of a part, whose first cell is `first`: without stratum and profile.
fn summed(
    part: &Csr,
    first: usize,
    ids: &[Option<CloneId>],
    min_cells: usize,
) -> Vec<ClonePseudobulk> {
    let mut cells: BTreeMap<&CloneId, Vec<usize>> = BTreeMap::new();
    for (row, id) in ids[first..first + part.n_rows()].iter().enumerate() {
        let has_counts = || part.row(row).1.iter().any(|v| *v > 0.0);
        if let Some(id) = id.as_ref().filter(|_| has_counts()) {
            cells.entry(id).or_default().push(first + row);
        }
    }
    cells.retain(|_, c| c.len() >= min_cells.max(1));
    let clone = |(id, cells): (&CloneId, Vec<usize>)| {
        let counts = part.sum_rows(cells.iter().map(|i| i - first));
        ClonePseudobulk {
            id: id.clone(),
            stratum: 0,
            library: counts.iter().sum(),
            counts,
            profile: Vec::new(),
            cells,
        }
    };
    cells.into_iter().map(clone).collect()
}

/// Whether most cells of each clone that `cluster` called are called malignant; `None` where it called none.
pub(crate) fn calls_of_clones(
    clones: &[ClonePseudobulk],
    calls: &[Option<bool>],
) -> Vec<Option<bool>> {
    clones
        .iter()
        .map(|clone| {
            let own: Vec<bool> = clone.cells.iter().filter_map(|&i| calls[i]).collect();
            let malignant = own.iter().filter(|m| **m).count();
            (!own.is_empty()).then_some(2 * malignant > own.len())
        })
        .collect()
}
