//! Which clones share levels and slopes: strata, cell types, patients.

use std::collections::BTreeSet;

use super::clones::ClonePseudobulk;
use super::params::{DosageParams, TumourLevel};
use super::response::Design;

/// Patients with malignant clones from which the tumour level can be separated from copy number.
const PATIENTS_FOR_LEVEL: usize = 3;

/// Clones of a regression by stratum, cell type and patient.
pub(super) struct Arrangement {
    pub(super) strata: Vec<usize>,
    pub(super) n_strata: usize,
    /// Cell types with a level; empty where malignant clones have none.
    pub(super) types: Vec<String>,
    /// Patients, in ascending order.
    pub(super) patients: Vec<u32>,
    tumour: Vec<f64>,
    level_of: Vec<Option<usize>>,
    patient_of: Vec<usize>,
    all_one: Vec<usize>,
}

impl Arrangement {
    pub(super) fn new(
        clones: &[ClonePseudobulk],
        n_strata: usize,
        malignant: &[bool],
        params: &DosageParams,
    ) -> Self {
        let of_malignant = || clones.iter().zip(malignant).filter(|(_, m)| **m);
        let n_patients = of_malignant()
            .map(|(u, _)| u.id.patient)
            .collect::<BTreeSet<_>>()
            .len();
        let wanted = match params.tumour_level {
            TumourLevel::Auto => n_patients >= PATIENTS_FOR_LEVEL,
            TumourLevel::Shared => true,
            TumourLevel::None => false,
        };
        let types: BTreeSet<&str> = of_malignant()
            .filter(|_| wanted)
            .map(|(u, _)| u.id.cell_type.as_str())
            .collect();
        let types: Vec<String> = types.into_iter().map(String::from).collect();
        let patients: BTreeSet<u32> = clones.iter().map(|u| u.id.patient).collect();
        let patients: Vec<u32> = patients.into_iter().collect();
        let mut out = Self {
            strata: clones.iter().map(|u| u.stratum).collect(),
            n_strata,
            tumour: malignant
                .iter()
                .map(|&m| f64::from(u8::from(m && wanted)))
                .collect(),
            level_of: vec![None; n_strata],
            patient_of: vec![0; n_strata],
            all_one: vec![0; n_strata],
            types,
            patients,
        };
        for u in clones {
            out.level_of[u.stratum] = out.types.iter().position(|t| *t == u.id.cell_type);
            let at = out.patients.iter().position(|p| *p == u.id.patient);
            out.patient_of[u.stratum] = at.unwrap_or(0);
        }
        out
    }

    /// Design with one slope for all patients.
    pub(super) fn one_slope<'a>(&'a self, offset: &'a [f64]) -> Design<'a> {
        Design {
            offset,
            strata: &self.strata,
            n_strata: self.n_strata,
            tumour: &self.tumour,
            level_of: &self.level_of,
            n_levels: self.types.len(),
            slope_of: &self.all_one,
            n_slopes: 1,
        }
    }

    /// Design with a slope for each patient.
    pub(super) fn slope_per_patient<'a>(&'a self, offset: &'a [f64]) -> Design<'a> {
        Design {
            slope_of: &self.patient_of,
            n_slopes: self.patients.len(),
            ..self.one_slope(offset)
        }
    }
}
