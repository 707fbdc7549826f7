//! Expected expression of each kind of cell, and of each sample's ambient RNA.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use clcc_numerics::math;

use super::cells::{Cell, Kind};
use super::clonotypes;
use super::events::TumourClone;
use super::params::SimulateParams;
use super::plan::PatientPlan;
use super::shifts::Shifts;
use super::world::World;

/// How much a cycling cell raises the genes of its phase, natural log.
pub(super) const CYCLING: f64 = 2.5;

/// Expected share of each gene in the counts of each kind of cell; sums to 1.
pub(super) fn profiles(
    world: &World,
    plan: &PatientPlan,
    clones: &[TumourClone],
    cells: &[Cell],
    shifts: &Shifts,
    params: &SimulateParams,
    seed: u64,
) -> BTreeMap<Kind, Vec<f64>> {
    let sets = clonotypes::sets(world, &plan.name, params, seed);
    let slopes = world.slopes(&plan.name);
    let log_ratios: Vec<Vec<f64>> = clones.iter().map(|c| log_ratios(c, world)).collect();
    let kinds: BTreeSet<Kind> = cells.iter().map(|c| c.kind).collect();
    let kinds: Vec<Kind> = kinds.into_iter().collect();
    let made: Vec<Vec<f64>> = kinds
        .par_iter()
        .map(|kind| {
            let mut log = world.log_profile(kind.cell_type, kind.of_tumour());
            let in_tumour = plan.samples[kind.sample].origin == "tLung";
            let z = kind.z();
            for (g, (gene, log)) in world.genes.iter().zip(&mut log).enumerate() {
                *log += shifts.patient[g];
                if in_tumour {
                    *log += shifts.surroundings[g];
                }
                if kind.of_tumour() {
                    *log += shifts.tumour[g];
                }
                if let Some(clone) = kind.clone {
                    let slope = if gene.escape_state {
                        (1.0 - z) * slopes[g] + z * params.state_slope
                    } else {
                        slopes[g]
                    };
                    *log += slope * log_ratios[clone][g];
                }
                if gene.phase.is_some() && gene.phase == kind.phase {
                    *log += CYCLING;
                }
            }
            let programme = kind.programme().and_then(|c| shifts.programmes.get(c));
            for own in [programme, shifts.batches.get(kind.sample)]
                .into_iter()
                .flatten()
            {
                log.iter_mut().zip(own).for_each(|(l, s)| *l += s);
            }
            let mut share = shares(log);
            if let Some(set) = kind.clonotype {
                clonotypes::secrete(&mut share, world, sets[set], params.immunoglobulin_share);
            }
            share
        })
        .collect();
    kinds.into_iter().zip(made).collect()
}

/// Shares that sum to 1, from log expression.
pub(super) fn shares(log: Vec<f64>) -> Vec<f64> {
    let mut share: Vec<f64> = log.into_iter().map(math::exp).collect();
    let total: f64 = share.iter().sum();
    share.iter_mut().for_each(|s| *s /= total);
    share
}

/// Natural log of the relative copy number of each gene in a clone.
fn log_ratios(clone: &TumourClone, world: &World) -> Vec<f64> {
    let ratio = |gene| match clone.ratio(gene) {
        1.0 => 0.0,
        ratio => math::ln(ratio),
    };
    world.genes.iter().map(ratio).collect()
}

/// Mean profile of each sample's cells.
pub(super) fn ambient(
    profiles: &BTreeMap<Kind, Vec<f64>>,
    cells: &[Cell],
    n_samples: usize,
    n_genes: usize,
) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; n_genes]; n_samples];
    let mut of_kind: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut of_sample = vec![0usize; n_samples];
    for cell in cells {
        *of_kind.entry(cell.kind).or_default() += 1;
        of_sample[cell.kind.sample] += 1;
    }
    for (kind, profile) in profiles {
        let n = of_kind.get(kind).copied().unwrap_or(0) as f64;
        let weight = n / of_sample[kind.sample] as f64;
        out[kind.sample]
            .iter_mut()
            .zip(profile)
            .for_each(|(o, p)| *o += weight * p);
    }
    out
}
