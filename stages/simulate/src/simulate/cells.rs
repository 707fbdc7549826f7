//! Cells of a patient: barcode, clone, state, depth.

use std::collections::BTreeSet;

use clcc_numerics::math;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::quantile_sorted;

use super::cell_types::{CellType, DOUBLED_DEPTH, MALIGNANT_DEPTH, MALIGNANT_SUBTYPES};
use super::counts::median;
use super::mixing::{GRADES, mix};
use super::params::SimulateParams;
use super::plan::{PatientPlan, apportion};
use super::world::{CyclePhase, World};

/// Properties that determine a cell's expected profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) sample: usize,
    pub(super) cell_type: CellType,
    pub(super) clone: Option<usize>,
    /// Discordance z in steps of [`GRADES`].
    pub(super) discordance: u8,
    pub(super) phase: Option<CyclePhase>,
    /// Clone whose programme a normal cell has taken on.
    pub(super) near: Option<usize>,
    /// Set of immunoglobulin genes.
    pub(super) clonotype: Option<usize>,
}

impl Kind {
    /// Clone whose programme the cell has.
    pub(super) fn programme(&self) -> Option<usize> {
        self.clone.or(self.near)
    }

    /// Whether the cell has the tumour's expression: malignant cells, and those that look so.
    pub(super) fn of_tumour(&self) -> bool {
        self.programme().is_some()
    }

    /// z from 0 to 1: how far the cell-state genes are from their dosage.
    pub(super) fn z(&self) -> f64 {
        f64::from(self.discordance) / f64::from(GRADES)
    }

    /// Whether they have left it by half or more.
    pub(super) fn is_discordant(&self) -> bool {
        2 * self.discordance >= GRADES
    }
}

/// A cell before its counts.
pub(super) struct Cell {
    pub(super) barcode: String,
    pub(super) kind: Kind,
    pub(super) subtype: &'static str,
    /// Type that the annotation says.
    pub(super) label: CellType,
    /// Index of the cell whose like is in the same droplet.
    pub(super) partner: Option<usize>,
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
                    discordance: if discordant { GRADES } else { 0 },
                    phase: cycling.then_some(phase),
                    near: None,
                    clonotype: None,
                };
                let mut barcode = draw_barcode(&mut rng);
                while !taken.insert((barcode.clone(), sample)) {
                    barcode = draw_barcode(&mut rng);
                }
                cells.push(Cell {
                    barcode,
                    kind,
                    subtype,
                    label: group.cell_type,
                    partner: None,
                });
            }
        }
    }
    cells.sort_by(|a, b| {
        a.barcode
            .cmp(&b.barcode)
            .then(a.kind.sample.cmp(&b.kind.sample))
    });
    mix(&mut cells, plan, params, seed);
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

/// Draw the expected counts of each cell; their median is `median_counts`, or they are the fitted library
/// sizes, given to the cells in the order of what was drawn. Cells of a doubled genome have
/// [`DOUBLED_DEPTH`] times as many.
pub(super) fn depths(
    world: &World,
    plan: &PatientPlan,
    cells: &[Cell],
    doubled: bool,
    params: &SimulateParams,
    seed: u64,
) -> Vec<f64> {
    let mut rng = Rng::new(seed, &format!("simulate depth {}", plan.name), &[]);
    let mut draw = |cell: &Cell| {
        let of_type = if cell.kind.of_tumour() {
            MALIGNANT_DEPTH
        } else {
            cell.kind.cell_type.facts().depth
        };
        let of_genome = if doubled && cell.kind.clone.is_some() {
            DOUBLED_DEPTH
        } else {
            1.0
        };
        of_type * of_genome * math::exp(params.depth_sd * rng.normal())
    };
    let raw: Vec<f64> = cells.iter().map(&mut draw).collect();
    if let Some(totals) = &world.totals {
        return in_order_of(&raw, totals);
    }
    let scale = params.median_counts / median(&raw);
    raw.into_iter().map(|d| d * scale).collect()
}

/// Quantiles of ascending `values` at the ranks of `raw`.
fn in_order_of(raw: &[f64], values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|&a, &b| raw[a].total_cmp(&raw[b]));
    let mut out = vec![0.0; raw.len()];
    for (rank, c) in order.into_iter().enumerate() {
        out[c] = quantile_sorted(values, (rank as f64 + 0.5) / raw.len() as f64);
    }
    out
}
