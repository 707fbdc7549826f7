//! Cells that are called malignant, or put into a clone, by what they are.

use super::Score;
use super::truth::{CellClass, Truth};
use clcc_data::frame::Frame;
use clcc_stage::cells::{CLONE, MALIGNANT};

/// Called cells of the patients, in cohort order; a patient without calls has none.
#[derive(Default)]
pub(super) struct Calls {
    malignant: Vec<bool>,
    in_clone: Vec<bool>,
    any: [bool; 2],
}

impl Calls {
    /// Add the cells of a patient.
    pub(super) fn add(&mut self, obs: &Frame) {
        let called = |column: &str, is: fn(&str) -> bool| {
            let values = obs.texts(column).ok();
            let flags = values.as_ref().map_or_else(
                || vec![false; obs.len()],
                |v| v.iter().map(|v| is(v)).collect(),
            );
            (values.is_some(), flags)
        };
        let (has_calls, malignant) = called(MALIGNANT, |v| v == "Malignant");
        let (has_clones, in_clone) = called(CLONE, |v| !v.is_empty());
        self.malignant.extend(malignant);
        self.in_clone.extend(in_clone);
        self.any = [self.any[0] || has_calls, self.any[1] || has_clones];
    }
}

pub(super) fn scores(truth: &Truth, calls: &Calls) -> Vec<Score> {
    let mut out = Vec::new();
    if calls.any[0] {
        out.extend(of(truth, "malignant_calls", MALIGNANT, &calls.malignant));
    }
    if calls.any[1] {
        out.extend(of(truth, "clone_members", CLONE, &calls.in_clone));
    }
    out
}

fn of(truth: &Truth, target: &'static str, method: &str, called: &[bool]) -> Vec<Score> {
    let share = |cells: &[usize]| {
        let n = cells.iter().filter(|&&i| called[i]).count();
        n as f64 / cells.len() as f64
    };
    let mut out = Vec::new();
    for (class, metric) in [
        (CellClass::Malignant, "of_malignant"),
        (CellClass::Normal, "of_normal"),
        (CellClass::TumourLike, "of_tumour_like"),
        (CellClass::Mislabelled, "of_mislabelled"),
        (CellClass::Doublet, "of_doublets"),
    ] {
        let cells: Vec<usize> = (0..called.len())
            .filter(|&i| truth.class[i] == class)
            .collect();
        if !cells.is_empty() {
            out.push(Score::single(
                target,
                method,
                metric,
                share(&cells),
                cells.len(),
            ));
        }
    }
    let is_false = |i: usize| truth.class[i] != CellClass::Malignant;
    let all: Vec<usize> = (0..called.len()).filter(|&i| called[i]).collect();
    if !all.is_empty() {
        let n_false = all.iter().filter(|&&i| is_false(i)).count();
        let by_chance = (0..called.len()).filter(|&i| is_false(i)).count();
        out.push(Score {
            chance: by_chance as f64 / called.len() as f64,
            n_positive: n_false,
            ..Score::single(
                target,
                method,
                "false_share",
                n_false as f64 / all.len() as f64,
                all.len(),
            )
        });
    }
    out
}
