//! What sets a patient's samples, tumour and clones apart, apart from copy number: shifts of log
//! expression per gene.

use clcc_numerics::rng::Rng;

use super::params::SimulateParams;
use super::plan::PatientPlan;
use super::world::World;

/// Share of the genes that a clone's programme shifts.
const PROGRAMME_SHARE: f64 = 0.1;

/// Shifts of one patient, each by gene.
#[derive(Debug, Clone)]
pub(super) struct Shifts {
    /// Inherited and technical differences of the patient.
    pub(super) patient: Vec<f64>,
    /// What the patient's tumour expresses.
    pub(super) tumour: Vec<f64>,
    /// The tumour's effect on the cells around it.
    pub(super) surroundings: Vec<f64>,
    /// Programme of each clone; none without programmes.
    pub(super) programmes: Vec<Vec<f64>>,
    /// Batch effect on each sample; none without batches.
    pub(super) batches: Vec<Vec<f64>>,
}

impl Shifts {
    pub(super) fn draw(
        world: &World,
        plan: &PatientPlan,
        params: &SimulateParams,
        seed: u64,
    ) -> Self {
        let stream =
            |what: &str, at: &[u64]| Rng::new(seed, &format!("simulate {what} {}", plan.name), at);
        let mut tumour = world.shift(0.05, 0.6, &mut stream("patient tumour", &[]));
        if params.tumour_level_sd > 0.0 {
            let level = world.shift(
                1.0,
                params.tumour_level_sd,
                &mut stream("tumour level", &[]),
            );
            tumour.iter_mut().zip(level).for_each(|(t, l)| *t += l);
        }
        let each = |what: &str, n: usize, share: f64, sd: f64| -> Vec<Vec<f64>> {
            let n = if sd > 0.0 { n as u64 } else { 0 };
            (0..n)
                .map(|i| world.shift(share, sd, &mut stream(what, &[i])))
                .collect()
        };
        Self {
            patient: world.shift(0.1, 0.4, &mut stream("patient", &[])),
            tumour,
            surroundings: world.shift(0.05, 0.3, &mut stream("patient surroundings", &[])),
            programmes: each(
                "clone programme",
                params.n_clones,
                PROGRAMME_SHARE,
                params.clone_programme_sd,
            ),
            batches: each("batch", plan.samples.len(), 1.0, params.batch_sd),
        }
    }
}
