//! Counts of a patient.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use clcc_data::anndata::AnnData;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::math;
use clcc_numerics::rng::Rng;

use super::cell_types::CellType;
use super::cells::{Cell, Kind, depths, draw_cells};
use super::clonotypes;
use super::events::{TumourClone, plant_events};
use super::params::SimulateParams;
use super::plan::{PatientPlan, SamplePlan};
use super::profiles::{ambient, profiles};
use super::shifts::Shifts;
use super::truth_columns;
use super::world::{CyclePhase, N_PROGRAMMES, SimulatedGene, World};

/// A simulated patient.
#[derive(Debug, Clone)]
pub struct Patient {
    /// Name of the patient.
    pub name: String,
    /// Raw counts; `obs` has patient, sample, sample_origin, cell_type and `truth_*`, `var` has
    /// `truth_*`.
    pub counts: AnnData,
    /// Clones and their events; empty without malignant cells.
    pub clones: Vec<TumourClone>,
    /// Names of the samples.
    pub(super) samples: Vec<String>,
    /// Shifts of expression apart from copy number.
    pub(super) shifts: Shifts,
    /// Sets of immunoglobulin genes.
    pub(super) clonotypes: Vec<[usize; 4]>,
    /// Truth of each cell beyond what `obs` has.
    pub(super) truth: Vec<CellTruth>,
    /// `Cell_subtype` of each cell.
    pub(super) subtypes: Vec<&'static str>,
    /// Type of each cell, as annotated.
    pub(super) types: Vec<CellType>,
    /// True cell-cycle phase of each cell.
    pub(super) phases: Vec<&'static str>,
}

/// What was planted in a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellTruth {
    pub(super) kind: Kind,
    /// Kind of the second cell of a doublet.
    pub(super) second: Option<Kind>,
}

impl CellTruth {
    fn of(cell: &Cell, cells: &[Cell]) -> Self {
        Self {
            kind: cell.kind,
            second: cell.partner.map(|p| cells[p].kind),
        }
    }
}

/// Simulate the cells of `plan`. The result depends on `world`, `params`, `seed` and the plan only.
///
/// # Errors
/// [`StageError::Data`] where the plan has no cell.
pub fn simulate_patient(
    world: &World,
    plan: &PatientPlan,
    params: &SimulateParams,
    seed: u64,
) -> StageResult<Patient> {
    simulate_until(world, plan, params, seed, &AtomicBool::new(false))
}

/// Simulate the cells of `plan` until `cancel` is set.
///
/// # Errors
/// [`StageError::Cancelled`] then; else as [`simulate_patient`].
pub(super) fn simulate_until(
    world: &World,
    plan: &PatientPlan,
    params: &SimulateParams,
    seed: u64,
    cancel: &AtomicBool,
) -> StageResult<Patient> {
    if plan.n_cells() == 0 {
        return Err(StageError::data(format!(
            "patient `{}` has no cell",
            plan.name
        )));
    }
    let has_tumour = plan.samples.iter().any(SamplePlan::is_tumour);
    let clones = if has_tumour {
        plant_events(world, &plan.name, params, seed)
    } else {
        Vec::new()
    };
    let cells = draw_cells(plan, params, seed);
    let shifts = Shifts::draw(world, plan, params, seed);
    let profiles = profiles(world, plan, &clones, &cells, &shifts, params, seed);
    let ambient = ambient(&profiles, &cells, plan.samples.len(), world.genes.len());
    let doubled = clones.iter().any(|c| c.doubled);
    let depths = depths(world, plan, &cells, doubled, params, seed);
    let genes = Rates::new(world, params);
    let draw = |c: usize, stream: &str, at: usize| {
        let mut rng = Rng::new(seed, &format!("{stream} {}", plan.name), &[at as u64]);
        let kind = &cells[c].kind;
        let (own, soup) = (&profiles[kind], &ambient[kind.sample]);
        genes.draw_row(own, soup, depths[c], params, &mut rng)
    };
    let rows = (0..cells.len())
        .into_par_iter()
        .map(|c| {
            if cancel.load(Ordering::Relaxed) {
                return Err(StageError::Cancelled);
            }
            let row = draw(c, "simulate cell", c);
            Ok(match cells[c].partner {
                None => row,
                Some(p) => sum(&row, &draw(p, "simulate second cell", c)),
            })
        })
        .collect::<StageResult<Vec<_>>>()?;
    let drawn = Drawn {
        cells: &cells,
        clones,
        shifts,
        rows,
    };
    Ok(assemble(world, plan, params, seed, drawn))
}

/// Sum of two sparse rows.
fn sum(a: &[(u32, f32)], b: &[(u32, f32)]) -> Vec<(u32, f32)> {
    let mut of: BTreeMap<u32, f32> = a.iter().copied().collect();
    for &(gene, n) in b {
        *of.entry(gene).or_default() += n;
    }
    of.into_iter().collect()
}

/// What the counts of a gene vary with within a kind of cell.
struct Rates<'a> {
    world: &'a World,
    is_mt: Vec<bool>,
    dispersion: Vec<f64>,
}

impl<'a> Rates<'a> {
    fn new(world: &'a World, params: &SimulateParams) -> Self {
        Self {
            world,
            is_mt: (0..world.genes.len()).map(|g| world.is_mt(g)).collect(),
            dispersion: world.dispersions(params),
        }
    }

    /// Draw the counts of a cell of this depth: its `own` profile varied by its programmes and its
    /// mitochondrial share, mixed with the ambient profile `soup`.
    fn draw_row(
        &self,
        own: &[f64],
        soup: &[f64],
        depth: f64,
        params: &SimulateParams,
        rng: &mut Rng,
    ) -> Vec<(u32, f32)> {
        // Half as variable as its mean: some droplets are much dirtier than others.
        let share = (params.ambient * rng.gamma(4.0) / 4.0).min(0.9);
        let mt = math::exp(params.mt_sd * rng.normal());
        let programmes: [f64; N_PROGRAMMES] =
            std::array::from_fn(|_| math::exp(params.programme_sd * rng.normal()));
        let mut row = Vec::new();
        for (g, gene) in self.world.genes.iter().enumerate() {
            let state = if self.is_mt[g] {
                mt
            } else {
                gene.programme.map_or(1.0, |p| programmes[p])
            };
            let mean = depth * ((1.0 - share) * own[g] * state + share * soup[g]);
            let count = negative_binomial(mean, self.dispersion[g], rng);
            if count > 0 {
                row.push((g as u32, count as f32));
            }
        }
        row
    }
}

/// Draw a negative binomial number of this mean and dispersion (variance = mean + dispersion * mean^2),
/// by inversion below a mean of 30 and as a Poisson number around a gamma number above.
fn negative_binomial(mean: f64, dispersion: f64, rng: &mut Rng) -> u64 {
    if mean > 30.0 || dispersion < 1e-9 {
        let rate = if dispersion < 1e-9 {
            mean
        } else {
            mean * dispersion * rng.gamma(1.0 / dispersion)
        };
        return rng.poisson(rate);
    }
    let u = rng.uniform();
    // P(X >= 1) <= mean, so most draws end here without a power.
    if u < 1.0 - mean {
        return 0;
    }
    let (size, odds) = (
        1.0 / dispersion,
        dispersion * mean / (1.0 + dispersion * mean),
    );
    let mut p = math::pow(1.0 + dispersion * mean, -size);
    let mut cumulative = p;
    let mut k = 0;
    // The tail beyond f64's resolution is cut.
    while u >= cumulative && p > 1e-18 {
        p *= odds * (k as f64 + size) / (k as f64 + 1.0);
        cumulative += p;
        k += 1;
    }
    k
}

/// Median: the mean of the two middle values of an even number; 0 for none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => 0.0,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

/// Cells of a patient, drawn.
struct Drawn<'a> {
    cells: &'a [Cell],
    clones: Vec<TumourClone>,
    shifts: Shifts,
    rows: Vec<Vec<(u32, f32)>>,
}

/// Put the drawn cells and counts together.
fn assemble(
    world: &World,
    plan: &PatientPlan,
    params: &SimulateParams,
    seed: u64,
    drawn: Drawn<'_>,
) -> Patient {
    let cells = drawn.cells;
    let phase = |c: &Cell| match c.kind.phase {
        None => "G1",
        Some(CyclePhase::S) => "S",
        Some(CyclePhase::G2M) => "G2M",
    };
    let n_genes = world.genes.len();
    Patient {
        name: plan.name.clone(),
        counts: AnnData {
            obs: cell_frame(plan, &drawn.clones, cells, params),
            var: gene_frame(world),
            x: Some(Matrix::Csr(Csr::from_rows(n_genes, drawn.rows))),
            ..AnnData::default()
        },
        clones: drawn.clones,
        samples: plan.samples.iter().map(|s| s.name.clone()).collect(),
        shifts: drawn.shifts,
        clonotypes: clonotypes::sets(world, &plan.name, params, seed),
        subtypes: cells.iter().map(|c| c.subtype).collect(),
        types: cells.iter().map(|c| c.label).collect(),
        phases: cells.iter().map(phase).collect(),
        truth: cells.iter().map(|c| CellTruth::of(c, cells)).collect(),
    }
}

/// `obs` of the counts.
fn cell_frame(
    plan: &PatientPlan,
    clones: &[TumourClone],
    cells: &[Cell],
    params: &SimulateParams,
) -> Frame {
    let sample = |c: &Cell| &plan.samples[c.kind.sample];
    let name = |c: &Cell| format!("{}_{}", c.barcode, sample(c).name);
    let mut obs = Frame::new(cells.iter().map(name).collect());
    obs.set_category("patient", &vec![plan.name.as_str(); cells.len()]);
    let mut category = |name: &str, values: Vec<&str>| obs.set_category(name, &values);
    let samples = cells.iter().map(|c| sample(c).name.as_str());
    category("sample", samples.collect());
    let origins = cells.iter().map(|c| sample(c).origin.as_str());
    category("sample_origin", origins.collect());
    let types = cells.iter().map(|c| c.label.name());
    category("cell_type", types.collect());
    let flags = |f: fn(&Cell) -> bool| Column::Bool(cells.iter().map(f).collect());
    let clone = |c: &Cell| c.kind.clone.map_or("", |k| clones[k].name.as_str());
    for name in truth_columns(params) {
        let column = match name {
            "truth_malignant" => flags(|c| c.kind.clone.is_some()),
            "truth_discordant" => flags(|c| c.kind.is_discordant()),
            "truth_discordance" => Column::F64(cells.iter().map(|c| c.kind.z()).collect()),
            "truth_tumour_like" => flags(|c| c.kind.near.is_some()),
            "truth_doublet" => flags(|c| c.partner.is_some()),
            _ => {
                let types = cells.iter().map(|c| c.kind.cell_type.name());
                let values: Vec<&str> = if name == "truth_clone" {
                    cells.iter().map(clone).collect()
                } else {
                    types.collect()
                };
                obs.set_category(name, &values);
                continue;
            }
        };
        obs.set(name, column);
    }
    obs
}

/// `var` of the counts.
fn gene_frame(world: &World) -> Frame {
    let genes = &world.genes;
    let mut var = Frame::new(genes.iter().map(|g| g.name.clone()).collect());
    let slopes = genes.iter().map(|g| g.slope).collect();
    var.set("truth_slope", Column::F64(slopes));
    let flags = |f: fn(&SimulatedGene) -> bool| Column::Bool(genes.iter().map(f).collect());
    var.set(
        "truth_escape_constitutive",
        flags(|g| g.escape_constitutive),
    );
    var.set("truth_escape_state", flags(|g| g.escape_state));
    var
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_binomial_has_its_moments() {
        let mut rng = Rng::new(1, "nb test", &[]);
        let n = 200_000;
        for (mean, dispersion) in [
            (0.05, 0.3),
            (0.9, 0.3),
            (5.0, 1.0),
            (29.0, 0.2),
            (80.0, 0.3),
            (3.0, 0.0),
        ] {
            let xs: Vec<f64> = (0..n)
                .map(|_| negative_binomial(mean, dispersion, &mut rng) as f64)
                .collect();
            let m = xs.iter().sum::<f64>() / n as f64;
            let v = xs.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n as f64;
            let variance = mean + dispersion * mean * mean;
            // Five standard errors of the mean; the variance within 4 %.
            assert!(
                (m - mean).abs() < 5.0 * (variance / n as f64).sqrt(),
                "{mean} {dispersion}: {m}"
            );
            assert!(
                (v / variance - 1.0).abs() < 0.04,
                "{mean} {dispersion}: {v}, expected {variance}"
            );
        }
    }
}
