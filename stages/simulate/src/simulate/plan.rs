//! Plan of a patient: its samples and their numbers of cells.

use std::collections::BTreeMap;

use super::cell_types::{CellType, TYPES};
use super::mixing::share_of;
use super::params::SimulateParams;

/// Cells of one kind in a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellGroup {
    /// Cell type.
    pub cell_type: CellType,
    /// Whether the cells carry the tumour's events.
    pub malignant: bool,
    /// Number of cells.
    pub n_cells: usize,
}

/// A sample of a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePlan {
    /// Name, such as `LUNG_T06`.
    pub name: String,
    /// Origin, such as `tLung` or `nLung`.
    pub origin: String,
    /// Cells of the sample, by kind.
    pub groups: Vec<CellGroup>,
}

impl SamplePlan {
    /// Whether it has malignant cells.
    pub fn is_tumour(&self) -> bool {
        self.groups.iter().any(|g| g.malignant && g.n_cells > 0)
    }

    /// Number of cells that the annotation calls each type.
    pub(super) fn labels(&self, params: &SimulateParams) -> BTreeMap<CellType, usize> {
        let label = params.malignant_type();
        let mut out = BTreeMap::new();
        for group in self.groups.iter().filter(|g| g.n_cells > 0) {
            let may_err = self.is_tumour() && !group.malignant && group.cell_type != label;
            let share = if may_err {
                params.mislabelled_share
            } else {
                0.0
            };
            let n = share_of(group.n_cells, share);
            *out.entry(label).or_default() += n;
            *out.entry(group.cell_type).or_default() += group.n_cells - n;
        }
        out.retain(|_, n| *n > 0);
        out
    }
}

/// A patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientPlan {
    /// Name, such as `P0006`.
    pub name: String,
    /// Samples of the patient.
    pub samples: Vec<SamplePlan>,
}

impl PatientPlan {
    /// Plan one tumour and one normal sample in the proportions of the parameters; types of
    /// non-malignant cells are as in the lung tumours and normal lung of GSE131907. Samples of `P0006`
    /// are named `LUNG_T06` and `LUNG_N06`, of any other name `<name>_T` and `<name>_N`.
    pub fn standard(name: &str, params: &SimulateParams) -> Self {
        let n_tumour = (params.n_cells as f64 * params.tumour_share).round() as usize;
        let n_malignant = (n_tumour as f64 * params.malignant_share).round() as usize;
        let (tumour, normal) = sample_names(name);
        let shares = |f: fn(&super::cell_types::TypeFacts) -> f64| -> Vec<f64> {
            TYPES.iter().map(|t| f(&t.1)).collect()
        };
        let groups = |n: usize, shares: Vec<f64>| -> Vec<CellGroup> {
            let cells = apportion(n, &shares);
            let group = |(t, n_cells)| CellGroup {
                cell_type: t,
                malignant: false,
                n_cells,
            };
            CellType::all().into_iter().zip(cells).map(group).collect()
        };
        let mut tumour_groups = vec![CellGroup {
            cell_type: params.malignant_type(),
            malignant: true,
            n_cells: n_malignant,
        }];
        tumour_groups.extend(groups(n_tumour - n_malignant, shares(|t| t.tumour_share)));
        let normal_groups = groups(params.n_cells - n_tumour, shares(|t| t.normal_share));
        Self {
            name: name.to_string(),
            samples: vec![
                SamplePlan {
                    name: tumour,
                    origin: "tLung".into(),
                    groups: tumour_groups,
                },
                SamplePlan {
                    name: normal,
                    origin: "nLung".into(),
                    groups: normal_groups,
                },
            ],
        }
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.samples
            .iter()
            .flat_map(|s| &s.groups)
            .map(|g| g.n_cells)
            .sum()
    }
}

pub(super) fn sample_names(patient: &str) -> (String, String) {
    let digits = patient
        .strip_prefix("P00")
        .filter(|d| d.len() == 2 && d.bytes().all(|b| b.is_ascii_digit()));
    match digits {
        Some(d) => (format!("LUNG_T{d}"), format!("LUNG_N{d}")),
        None => (format!("{patient}_T"), format!("{patient}_N")),
    }
}

/// Divide `n` in proportion to `shares`, by largest remainder (ties to the first).
pub(super) fn apportion(n: usize, shares: &[f64]) -> Vec<usize> {
    let total: f64 = shares.iter().sum();
    let exact: Vec<f64> = shares.iter().map(|s| n as f64 * s / total).collect();
    let mut out: Vec<usize> = exact.iter().map(|e| e.floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| {
        (exact[b] - exact[b].floor())
            .total_cmp(&(exact[a] - exact[a].floor()))
            .then(a.cmp(&b))
    });
    let missing = n - out.iter().sum::<usize>();
    order
        .iter()
        .cycle()
        .take(missing)
        .for_each(|&i| out[i] += 1);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_apportioned_without_loss() {
        assert_eq!(apportion(10, &[0.5, 0.3, 0.2]), [5, 3, 2]);
        assert_eq!(apportion(10, &[1.0, 1.0, 1.0]), [4, 3, 3]);
        assert_eq!(apportion(0, &[1.0, 2.0]), [0, 0]);
    }

    #[test]
    fn a_standard_patient_has_the_stated_shares() {
        let plan = PatientPlan::standard("P0006", &SimulateParams::default());
        assert_eq!(plan.n_cells(), 1000);
        assert_eq!(
            (plan.samples[0].name.as_str(), plan.samples[1].name.as_str()),
            ("LUNG_T06", "LUNG_N06")
        );
        // 500 tumour cells, 45 % of them malignant.
        assert_eq!(plan.samples[0].groups[0].n_cells, 225);
        assert_eq!(
            PatientPlan::standard("A", &SimulateParams::default()).samples[1].name,
            "A_N"
        );
    }
}
