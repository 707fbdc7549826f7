//! Clonal immunoglobulins: the heavy and the light chain that a clone of plasma cells secretes.

use clcc_numerics::rng::Rng;

use super::cell_types::CellType;
use super::cells::Cell;
use super::params::{Immunoglobulin, SimulateParams};
use super::world::World;

/// Constant genes of heavy chains.
const HEAVY: [&str; 4] = ["IGHG1", "IGHG3", "IGHA1", "IGHM"];
/// Variable genes of heavy chains.
const HEAVY_VARIABLE: [&str; 10] = [
    "IGHV1-2", "IGHV1-18", "IGHV1-69", "IGHV3-7", "IGHV3-21", "IGHV3-23", "IGHV3-30", "IGHV4-34",
    "IGHV4-39", "IGHV5-51",
];
/// Variable genes of kappa chains, whose constant gene is IGKC.
const KAPPA_VARIABLE: [&str; 7] = [
    "IGKV1-5", "IGKV1-39", "IGKV2-30", "IGKV3-11", "IGKV3-15", "IGKV3-20", "IGKV4-1",
];
/// Constant genes of lambda chains.
const LAMBDA: [&str; 2] = ["IGLC2", "IGLC3"];
/// Variable genes of lambda chains.
const LAMBDA_VARIABLE: [&str; 6] = [
    "IGLV1-40", "IGLV1-44", "IGLV2-8", "IGLV2-14", "IGLV3-1", "IGLV3-21",
];
/// Shares of the two constant and the two variable genes in what a set is expressed.
const PARTS: [f64; 4] = [0.35, 0.35, 0.15, 0.15];
/// Sets of the malignant cells and of the plasma clone; the other plasma cells of a patient have one of
/// the further ones.
const OF_TUMOUR: usize = 0;
const OF_PLASMA_CLONE: usize = 1;
const N_SETS: usize = 22;

/// All genes of the sets, where clones are simulated; else none.
pub(super) fn genes(params: &SimulateParams) -> impl Iterator<Item = &'static str> {
    let all = HEAVY
        .into_iter()
        .chain(HEAVY_VARIABLE)
        .chain(["IGKC"])
        .chain(KAPPA_VARIABLE)
        .chain(LAMBDA)
        .chain(LAMBDA_VARIABLE);
    let any = params.immunoglobulin != Immunoglobulin::None;
    all.filter(move |_| any)
}

/// The sets of a patient, each of four genes: constant and variable ones of the heavy and the light chain.
/// None where clones are not simulated.
pub(super) fn sets(
    world: &World,
    patient: &str,
    params: &SimulateParams,
    seed: u64,
) -> Vec<[usize; 4]> {
    if params.immunoglobulin == Immunoglobulin::None {
        return Vec::new();
    }
    let mut rng = Rng::new(seed, &format!("simulate clonotypes {patient}"), &[]);
    let mut one = |names: &[&str]| {
        let name = names[rng.below(names.len() as u64) as usize];
        world
            .genes
            .iter()
            .position(|g| g.name == name)
            .expect("genes of the sets are always drawn")
    };
    let mut set = |_| {
        let (heavy, variable) = (one(&HEAVY), one(&HEAVY_VARIABLE));
        // Two of three human light chains are kappa.
        let (light, of_light) = match one(&["IGKC", "IGKC", "IGLC2"]) {
            k if world.genes[k].name == "IGKC" => (k, one(&KAPPA_VARIABLE)),
            _ => (one(&LAMBDA), one(&LAMBDA_VARIABLE)),
        };
        [heavy, light, variable, of_light]
    };
    (0..N_SETS).map(&mut set).collect()
}

/// Give plasma cells (every second B cell that carries no event), and under `malignant` the malignant
/// cells, their sets.
pub(super) fn assign(
    cells: &mut [Cell],
    is_tumour: &[bool],
    patient: &str,
    params: &SimulateParams,
    seed: u64,
) {
    if params.immunoglobulin == Immunoglobulin::None {
        return;
    }
    let mut rng = Rng::new(seed, &format!("simulate plasma cells {patient}"), &[]);
    for cell in cells {
        let (plasma, other) = (
            rng.uniform() < 0.5,
            rng.below((N_SETS - OF_PLASMA_CLONE - 1) as u64) as usize,
        );
        let kind = &mut cell.kind;
        kind.clonotype = if kind.clone.is_some() {
            (params.immunoglobulin == Immunoglobulin::Malignant).then_some(OF_TUMOUR)
        } else if kind.cell_type != CellType::B || !plasma {
            None
        } else if is_tumour[kind.sample] && kind.near.is_none() {
            Some(OF_PLASMA_CLONE)
        } else {
            Some(OF_PLASMA_CLONE + 1 + other)
        };
    }
}

/// Make a `share` of a profile that sums to 1 that of the set; other immunoglobulins leave.
pub(super) fn secrete(profile: &mut [f64], world: &World, set: [usize; 4], share: f64) {
    for (p, gene) in profile.iter_mut().zip(&world.genes) {
        *p = if gene.immunoglobulin { 0.0 } else { *p };
    }
    let rest: f64 = profile.iter().sum();
    profile.iter_mut().for_each(|p| *p *= (1.0 - share) / rest);
    for (gene, part) in set.into_iter().zip(PARTS) {
        profile[gene] = share * part;
    }
}
