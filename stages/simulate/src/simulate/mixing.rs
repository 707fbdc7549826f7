//! What makes cells of a real tumour hard to tell: graded discordance, normal cells that look or are
//! labelled like the tumour, and droplets with two cells. Every draw has a stream of its own, so that the
//! cells are otherwise the same.

use std::collections::BTreeMap;

use clcc_numerics::rng::Rng;

use super::cell_types::CellType;
use super::cells::{Cell, Kind};
use super::clonotypes;
use super::params::SimulateParams;
use super::plan::PatientPlan;

/// Steps of a cell's discordance from 0 to 1.
pub(super) const GRADES: u8 = 20;

/// Apply all of it to the cells of a patient.
pub(super) fn mix(cells: &mut [Cell], plan: &PatientPlan, params: &SimulateParams, seed: u64) {
    let stream = |what: &str| Rng::new(seed, &format!("simulate {what} {}", plan.name), &[]);
    grade(cells, params, &mut stream("discordance"));
    surround(cells, params, &mut stream("tumour-like"));
    let is_tumour: Vec<bool> = plan
        .samples
        .iter()
        .map(super::plan::SamplePlan::is_tumour)
        .collect();
    mislabel(cells, &is_tumour, params, &mut stream("labels"));
    clonotypes::assign(cells, &is_tumour, &plan.name, params, seed);
    pair(cells, plan.samples.len(), params, &mut stream("doublets"));
}

/// Replace discordance of 0 or 1 by beta numbers in steps of .05.
fn grade(cells: &mut [Cell], params: &SimulateParams, rng: &mut Rng) {
    let Some(n) = params.discordance_concentration else {
        return;
    };
    let (a, b) = (
        n * params.discordant_share,
        n * (1.0 - params.discordant_share),
    );
    for cell in cells.iter_mut().filter(|c| c.kind.clone.is_some()) {
        let z = match (a > 0.0, b > 0.0) {
            (true, true) => {
                let (x, y) = (rng.gamma(a), rng.gamma(b));
                x / (x + y)
            }
            (_, b) => f64::from(u8::from(!b)),
        };
        cell.kind.discordance = (z * f64::from(GRADES)).round() as u8;
    }
}

/// Take the events from a share of the malignant cells, and leave them the programme of their clone.
fn surround(cells: &mut [Cell], params: &SimulateParams, rng: &mut Rng) {
    let malignant = (0..cells.len()).filter(|&c| cells[c].kind.clone.is_some());
    for c in chosen(malignant.collect(), params.tumour_like_share, rng) {
        let kind = &mut cells[c].kind;
        *kind = Kind {
            near: kind.clone,
            clone: None,
            discordance: 0,
            ..*kind
        };
    }
}

/// Annotate a share of each other type's cells in tumour samples as the malignant type.
fn mislabel(cells: &mut [Cell], is_tumour: &[bool], params: &SimulateParams, rng: &mut Rng) {
    let label = params.malignant_type();
    let mut groups: BTreeMap<(usize, CellType), Vec<usize>> = BTreeMap::new();
    for (c, cell) in cells.iter().enumerate() {
        let kind = &cell.kind;
        if is_tumour[kind.sample] && !kind.of_tumour() && kind.cell_type != label {
            let group = groups.entry((kind.sample, kind.cell_type)).or_default();
            group.push(c);
        }
    }
    for group in groups.into_values() {
        for c in chosen(group, params.mislabelled_share, rng) {
            cells[c].label = label;
        }
    }
}

/// Put a second cell of the same sample into a share of the droplets.
fn pair(cells: &mut [Cell], n_samples: usize, params: &SimulateParams, rng: &mut Rng) {
    for sample in 0..n_samples {
        let own: Vec<usize> = (0..cells.len())
            .filter(|&c| cells[c].kind.sample == sample)
            .collect();
        for c in chosen(own.clone(), params.doublet_share, rng) {
            cells[c].partner = Some(own[rng.below(own.len() as u64) as usize]);
        }
    }
}

/// A `share` of the items, rounded, at random.
fn chosen(mut items: Vec<usize>, share: f64, rng: &mut Rng) -> Vec<usize> {
    let n = share_of(items.len(), share);
    if n > 0 {
        rng.shuffle(&mut items);
    }
    items.truncate(n);
    items
}

/// Number of cells in a share of `n`.
pub(super) fn share_of(n: usize, share: f64) -> usize {
    (n as f64 * share).round() as usize
}
