//! Cells of a patient: barcode, clone, state, depth.

use std::collections::BTreeSet;

use clcc_numerics::math;
use clcc_numerics::rng::Rng;

use super::cell_types::{CellType, MALIGNANT_DEPTH, MALIGNANT_SUBTYPES};
use super::counts::median;
use super::params::SimulateParams;
use super::plan::{PatientPlan, apportion};
use super::world::CyclePhase;

/// Properties that determine a cell's expected profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) sample: usize,
    pub(super) cell_type: CellType,
    pub(super) clone: Option<usize>,
    pub(super) discordant: bool,
    pub(super) phase: Option<CyclePhase>,
}

/// A cell before its counts.
pub(super) struct Cell {
    pub(super) barcode: String,
    pub(super) kind: Kind,
    pub(super) subtype: &'static str,
}

/// Draw the cells in barcode order, so that samples are interleaved.
pub(super) fn draw_cells(plan: &PatientPlan, params: &SimulateParams, seed: u64) -> Vec<Cell> {
    let mut rng = Rng::new(seed, &format!("simulate cells {}", plan.name), &[]);
    let mut taken = BTreeSet::new();
    let mut cells = Vec::with_capacity(plan.n_cells());
    for (sample, sample_plan) in plan.samples.iter().enumerate() {
        for group in &sample_plan.groups {
            let labels = if group.malignant {
                clone_labels(group.n_cells, params, &mut rng)
            } else {
                Vec::new()
            };
            for i in 0..group.n_cells {
                let (clone, discordant) = labels.get(i).map_or((None, false), |l| (Some(l.0), l.1));
                let subtypes: &[&'static str] = if group.malignant {
                    &MALIGNANT_SUBTYPES
                } else {
                    group.cell_type.facts().subtypes
                };
                let subtype = subtypes[rng.below(subtypes.len() as u64) as usize];
                let share = if group.malignant { 1.0 } else { 0.2 };
                let cycling = rng.uniform() < share * params.cycling_share;
                let phase = if rng.uniform() < 0.5 {
                    CyclePhase::S
                } else {
                    CyclePhase::G2M
                };
                let kind = Kind {
                    sample,
                    cell_type: group.cell_type,
                    clone,
                    discordant,
                    phase: cycling.then_some(phase),
                };
                let mut barcode = draw_barcode(&mut rng);
                while !taken.insert((barcode.clone(), sample)) {
                    barcode = draw_barcode(&mut rng);
                }
                cells.push(Cell {
                    barcode,
                    kind,
                    subtype,
                });
            }
        }
    }
    cells.sort_by(|a, b| {
        a.barcode
            .cmp(&b.barcode)
            .then(a.kind.sample.cmp(&b.kind.sample))
    });
    cells
}

/// Draw (clone, discordant) of each malignant cell. Clone sizes are Dirichlet (4); of each clone the
/// given share is discordant, rounded.
fn clone_labels(n: usize, params: &SimulateParams, rng: &mut Rng) -> Vec<(usize, bool)> {
    let weights: Vec<f64> = (0..params.n_clones).map(|_| rng.gamma(4.0)).collect();
    let sizes = apportion(n, &weights);
    let label = |(clone, &size): (usize, &usize)| {
        let n_discordant = (size as f64 * params.discordant_share).round() as usize;
        (0..size)
            .map(move |i| (clone, i < n_discordant))
            .collect::<Vec<_>>()
    };
    sizes.iter().enumerate().flat_map(label).collect()
}

fn draw_barcode(rng: &mut Rng) -> String {
    let bits = rng.next_u32();
    (0..16)
        .map(|i| char::from(b"ACGT"[(bits >> (2 * i)) as usize & 3]))
        .collect()
}

/// Draw the expected counts of each cell; their median is `median_counts`.
pub(super) fn depths(
    plan: &PatientPlan,
    cells: &[Cell],
    params: &SimulateParams,
    seed: u64,
) -> Vec<f64> {
    let mut rng = Rng::new(seed, &format!("simulate depth {}", plan.name), &[]);
    let mut draw = |cell: &Cell| {
        let of_type = if cell.kind.clone.is_some() {
            MALIGNANT_DEPTH
        } else {
            cell.kind.cell_type.facts().depth
        };
        of_type * math::exp(params.depth_sd * rng.normal())
    };
    let raw: Vec<f64> = cells.iter().map(&mut draw).collect();
    let scale = params.median_counts / median(&raw);
    raw.into_iter().map(|d| d * scale).collect()
}
