//! Counts of a patient.

use std::collections::{BTreeMap, BTreeSet};
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
use super::events::{TumourClone, plant_events};
use super::params::SimulateParams;
use super::plan::PatientPlan;
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
    /// `Cell_subtype` of each cell.
    pub(super) subtypes: Vec<&'static str>,
    /// Type of each cell.
    pub(super) types: Vec<CellType>,
    /// True cell-cycle phase of each cell.
    pub(super) phases: Vec<&'static str>,
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
    let has_tumour = plan
        .samples
        .iter()
        .flat_map(|s| &s.groups)
        .any(|g| g.malignant && g.n_cells > 0);
    let clones = if has_tumour {
        plant_events(&plan.name, params, seed)
    } else {
        Vec::new()
    };
    let cells = draw_cells(plan, params, seed);
    let profiles = profiles(world, plan, &clones, &cells, params, seed);
    let ambient = ambient(&profiles, &cells, plan.samples.len(), world.genes.len());
    let depths = depths(plan, &cells, params, seed);
    let is_mt: Vec<bool> = (0..world.genes.len()).map(|g| world.is_mt(g)).collect();
    let stream = format!("simulate cell {}", plan.name);
    let rows = cells
        .par_iter()
        .enumerate()
        .map(|(c, cell)| {
            if cancel.load(Ordering::Relaxed) {
                return Err(StageError::Cancelled);
            }
            let mut rng = Rng::new(seed, &stream, &[c as u64]);
            let (own, soup) = (&profiles[&cell.kind], &ambient[cell.kind.sample]);
            Ok(draw_row(
                world, &is_mt, own, soup, depths[c], params, &mut rng,
            ))
        })
        .collect::<StageResult<Vec<_>>>()?;
    Ok(assemble(world, plan, clones, &cells, rows))
}

/// Draw the counts of a cell of this depth: its `own` profile varied by its programmes and its
/// mitochondrial share, mixed with the ambient profile `soup`.
fn draw_row(
    world: &World,
    is_mt: &[bool],
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
    for (g, gene) in world.genes.iter().enumerate() {
        let state = if is_mt[g] {
            mt
        } else {
            gene.programme.map_or(1.0, |p| programmes[p])
        };
        let mean = depth * ((1.0 - share) * own[g] * state + share * soup[g]);
        let count = negative_binomial(mean, params.dispersion, rng);
        if count > 0 {
            row.push((g as u32, count as f32));
        }
    }
    row
}

/// Expected share of each gene in the counts of each kind of cell; sums to 1.
fn profiles(
    world: &World,
    plan: &PatientPlan,
    clones: &[TumourClone],
    cells: &[Cell],
    params: &SimulateParams,
    seed: u64,
) -> BTreeMap<Kind, Vec<f64>> {
    let stream = |what: &str| Rng::new(seed, &format!("simulate {what} {}", plan.name), &[]);
    // Inherited and technical differences of the patient; the programme of the patient's tumour; the
    // tumour's effect on the cells around it.
    let patient = world.shift(0.1, 0.4, &mut stream("patient"));
    let tumour = world.shift(0.05, 0.6, &mut stream("patient tumour"));
    let surroundings = world.shift(0.05, 0.3, &mut stream("patient surroundings"));
    let kinds: BTreeSet<Kind> = cells.iter().map(|c| c.kind).collect();
    let kinds: Vec<Kind> = kinds.into_iter().collect();
    let made: Vec<Vec<f64>> = kinds
        .par_iter()
        .map(|kind| {
            let mut log = world.log_profile(kind.cell_type, kind.clone.is_some());
            let in_tumour = plan.samples[kind.sample].origin == "tLung";
            for (g, (gene, log)) in world.genes.iter().zip(&mut log).enumerate() {
                *log += patient[g];
                if in_tumour {
                    *log += surroundings[g];
                }
                if let Some(clone) = kind.clone {
                    *log += tumour[g];
                    let slope = if gene.escape_state && kind.discordant {
                        params.state_slope
                    } else {
                        gene.slope
                    };
                    *log += slope * log_ratio(&clones[clone], gene);
                }
                if gene.phase.is_some() && gene.phase == kind.phase {
                    *log += 2.5;
                }
            }
            let mut share: Vec<f64> = log.into_iter().map(math::exp).collect();
            let total: f64 = share.iter().sum();
            share.iter_mut().for_each(|s| *s /= total);
            share
        })
        .collect();
    kinds.into_iter().zip(made).collect()
}

/// Natural log of the relative copy number of a gene in a clone.
fn log_ratio(clone: &TumourClone, gene: &SimulatedGene) -> f64 {
    let event = clone
        .events
        .iter()
        .find(|e| Some(e.arm) == gene.arm && e.chromosome == gene.chromosome);
    event.map_or(0.0, |e| math::ln(e.ratio))
}

/// Mean profile of each sample's cells.
fn ambient(
    profiles: &BTreeMap<Kind, Vec<f64>>,
    cells: &[Cell],
    n_samples: usize,
    n_genes: usize,
) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; n_genes]; n_samples];
    for (kind, profile) in profiles {
        let in_sample = cells
            .iter()
            .filter(|c| c.kind.sample == kind.sample)
            .count();
        let weight = cells.iter().filter(|c| c.kind == *kind).count() as f64 / in_sample as f64;
        out[kind.sample]
            .iter_mut()
            .zip(profile)
            .for_each(|(o, p)| *o += weight * p);
    }
    out
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

/// Put the drawn cells and counts together.
fn assemble(
    world: &World,
    plan: &PatientPlan,
    clones: Vec<TumourClone>,
    cells: &[Cell],
    rows: Vec<Vec<(u32, f32)>>,
) -> Patient {
    let phase = |c: &Cell| match c.kind.phase {
        None => "G1",
        Some(CyclePhase::S) => "S",
        Some(CyclePhase::G2M) => "G2M",
    };
    Patient {
        name: plan.name.clone(),
        counts: AnnData {
            obs: cell_frame(plan, &clones, cells),
            var: gene_frame(world),
            x: Some(Matrix::Csr(Csr::from_rows(world.genes.len(), rows))),
            ..AnnData::default()
        },
        clones,
        subtypes: cells.iter().map(|c| c.subtype).collect(),
        types: cells.iter().map(|c| c.kind.cell_type).collect(),
        phases: cells.iter().map(phase).collect(),
    }
}

/// `obs` of the counts.
fn cell_frame(plan: &PatientPlan, clones: &[TumourClone], cells: &[Cell]) -> Frame {
    let sample = |c: &Cell| &plan.samples[c.kind.sample];
    let name = |c: &Cell| format!("{}_{}", c.barcode, sample(c).name);
    let mut obs = Frame::new(cells.iter().map(name).collect());
    obs.set_category("patient", &vec![plan.name.as_str(); cells.len()]);
    let mut category = |name: &str, values: Vec<&str>| obs.set_category(name, &values);
    let samples = cells.iter().map(|c| sample(c).name.as_str());
    category("sample", samples.collect());
    let origins = cells.iter().map(|c| sample(c).origin.as_str());
    category("sample_origin", origins.collect());
    let types = cells.iter().map(|c| c.kind.cell_type.name());
    category("cell_type", types.collect());
    let flags = |f: fn(&Cell) -> bool| Column::Bool(cells.iter().map(f).collect());
    obs.set("truth_malignant", flags(|c| c.kind.clone.is_some()));
    let clone = |c: &Cell| c.kind.clone.map_or("", |k| clones[k].name.as_str());
    let of_cell: Vec<&str> = cells.iter().map(clone).collect();
    obs.set_category("truth_clone", &of_cell);
    obs.set("truth_discordant", flags(|c| c.kind.discordant));
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
