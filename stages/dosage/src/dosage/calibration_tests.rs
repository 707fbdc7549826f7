//! What is claimed of genes against truth, from counts of clones: level of the tests, share of false
//! calls, power.
//!
//! `CLCC_ROUNDS=20 cargo test -p clcc-dosage --lib dosage::calibration -- --nocapture` prints the figures of
//! docs/findings.md; without it the same with three data sets each.

use super::by_counts::ByCounts;
use super::clones::{CloneId, ClonePseudobulk};
use super::copy::{Along, malignant};
use super::rates::Rates;
use super::slope::{Class, Slopes, slopes, window_scale};
use super::windows::tests::windows;
use super::*;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::mean;
use clcc_testing::genes;

const N_GENES: usize = 1800;

/// A cohort: how slopes and levels are distributed.
#[derive(Clone, Copy)]
struct World {
    patients: usize,
    clones: usize,
    /// Chromosomes of one arm, and the parts of each that change alone.
    chromosomes: usize,
    parts: usize,
    /// Parts changed in all clones of a patient, and in each alone.
    changed: (usize, usize),
    /// Genes of a window.
    window: usize,
    /// Mean and standard deviation of the slopes of genes that follow.
    slopes: (f64, f64),
    /// Share of genes with a slope of 0, and with a slope of 0 in two of the patients alone.
    escape: f64,
    mixed: f64,
    /// Standard deviations of the shared tumour level and of the patients' own.
    levels: (f64, f64),
    /// Share of genes that have a level, of a standard deviation so much larger.
    level_share: f64,
}

const BASE: World = World {
    patients: 6,
    clones: 3,
    chromosomes: 20,
    parts: 1,
    changed: (6, 3),
    window: 20,
    slopes: (1.0, 0.0),
    escape: 0.0,
    mixed: 0.0,
    levels: (0.23, 0.0),
    level_share: 1.0,
};

struct Simulated {
    slopes: Slopes,
    /// True slope relative to the mean of all, `[gene][patient]`.
    truth: Vec<Vec<f64>>,
    /// Clones taken for malignant; clones with a twentieth of their genes altered by their own counts.
    malignant: usize,
    altered: usize,
}

/// Changes shorter than a window: thirds of arms of 150 genes.
const THIRDS: World = World {
    chromosomes: 12,
    parts: 3,
    changed: (8, 3),
    window: 60,
    ..BASE
};

/// Log copy ratio of every part of a chromosome in every clone of a patient.
fn copies(world: World, rng: &mut Rng) -> Vec<Vec<f64>> {
    let n = world.chromosomes * world.parts;
    let change = |rng: &mut Rng| if rng.uniform() < 0.5 { 0.5f64 } else { 1.5 }.ln();
    let pick = |rng: &mut Rng| (rng.uniform() * n as f64) as usize;
    let mut trunk = vec![0.0; n];
    (0..world.changed.0).for_each(|_| trunk[pick(rng)] = change(rng));
    (0..world.clones)
        .map(|_| {
            let mut out = trunk.clone();
            (0..world.changed.1).for_each(|_| out[pick(rng)] = change(rng));
            out
        })
        .collect()
}

fn simulate(world: World, seed: u64) -> Simulated {
    let mut rng = Rng::new(seed, "calibration", &[]);
    let rate: Vec<f64> = (0..N_GENES).map(|_| (1.3 * rng.normal()).exp()).collect();
    let total: f64 = rate.iter().sum();
    let mut truth = Vec::new();
    let mut shared = Vec::new();
    let level = |sd: f64, rng: &mut Rng| {
        let has = rng.uniform() < world.level_share;
        let size = sd / world.level_share.sqrt() * rng.normal();
        if has { size } else { 0.0 }
    };
    for _ in 0..N_GENES {
        let slope = world.slopes.0 + world.slopes.1 * rng.normal();
        let kind = rng.uniform();
        let mut of = vec![slope; world.patients];
        if kind < world.escape {
            of.fill(0.0);
        } else if kind < world.escape + world.mixed {
            for _ in 0..2 {
                let p = (rng.uniform() * world.patients as f64) as usize;
                of[p] = 0.0;
            }
        }
        truth.push(of);
        shared.push(level(world.levels.0, &mut rng));
    }
    let sizes: Vec<(String, usize)> = (1..=world.chromosomes)
        .map(|c| (format!("chr{c}"), N_GENES / world.chromosomes))
        .collect();
    let sizes: Vec<(&str, usize)> = sizes.iter().map(|(c, n)| (c.as_str(), *n)).collect();
    let windows = windows(&sizes, world.window, 5);
    let spans = ["first_gene", "last_gene"].map(|c| windows.numbers(c).unwrap());
    let mut clones = Vec::new();
    for patient in 0..world.patients {
        let copies = copies(world, &mut rng);
        let own: Vec<f64> = (0..N_GENES)
            .map(|_| level(world.levels.1, &mut rng))
            .collect();
        let base: Vec<f64> = rate
            .iter()
            .map(|r| r * (0.2 * rng.normal()).exp())
            .collect();
        for c in 0..=world.clones {
            let library = 4e5 * (0.4 * rng.normal()).exp();
            let of = |g: usize| {
                if c == 0 {
                    0.0
                } else {
                    copies[c - 1][g * world.chromosomes * world.parts / N_GENES]
                }
            };
            let over = |(first, last): (&f64, &f64)| {
                let inside: Vec<f64> = (*first as usize..=*last as usize).map(of).collect();
                0.15 * mean(&inside)
            };
            let counts: Vec<f64> = (0..N_GENES)
                .map(|g| {
                    let tumour = if c == 0 { 0.0 } else { shared[g] + own[g] };
                    let mu = library * base[g] / total * (truth[g][patient] * of(g) + tumour).exp();
                    let rate = mu * rng.gamma(60.0) / 60.0;
                    rng.poisson(rate) as f64
                })
                .collect();
            clones.push(ClonePseudobulk {
                id: CloneId {
                    patient: patient as u32,
                    cell_type: "Epithelial cells".into(),
                    cancer: c > 0,
                    group: c.to_string(),
                    unplaced: false,
                },
                stratum: patient,
                cells: vec![0; 100],
                library: counts.iter().sum(),
                counts,
                profile: spans[0]
                    .iter()
                    .zip(&spans[1])
                    .map(|span| over(span) + 0.002 * rng.normal())
                    .collect(),
            });
        }
    }
    let frame = genes(&sizes);
    let map = GeneWindows::new(&frame.index, &windows, &frame).unwrap();
    let arm = frame.texts("chromosome").unwrap();
    let params = DosageParams::default();
    let rates = Rates::new(&clones, world.patients, params.min_count);
    let along = Along {
        arm: &arm,
        map: &map,
        scale: window_scale(&rates, &clones, world.patients, &map).0,
        excluded: &[false; N_GENES],
    };
    let by_counts = ByCounts::new(&clones, &rates, along.arm, along.excluded);
    let called = vec![None; clones.len()];
    let malignant = malignant(&clones, &by_counts, along, &called, params.altered);
    let altered = (0..clones.len())
        .filter(|&u| by_counts.is_altered(u, params.altered, 0.05))
        .count();
    let n = world.patients;
    let slopes = slopes(&clones, n, &by_counts, &malignant, along, &params);
    let typical = mean(&truth.concat());
    truth.iter_mut().flatten().for_each(|t| *t /= typical);
    Simulated {
        slopes,
        truth,
        malignant: malignant.iter().filter(|m| **m).count(),
        altered,
    }
}

fn rounds() -> u64 {
    let asked = std::env::var("CLCC_ROUNDS").ok();
    asked.and_then(|v| v.parse().ok()).unwrap_or(3)
}

/// What came out of several data sets.
struct Figures {
    /// Share of p-values of slope = 1 (the truth) below .05 and below .001.
    p: (f64, f64),
    /// Genes tested and called, per data set.
    tested: f64,
    called: f64,
    /// Mean share of the called genes whose slope is not below .5, and its standard error.
    wrong: (f64, f64),
    /// Share of tested genes with a slope below .5 that are called.
    power: f64,
    /// The same for patients: called per data set, share of false ones, found of those where a gene
    /// escapes in some patients alone.
    patients: (f64, f64, f64),
}

#[allow(clippy::print_stderr, reason = "figures for the documentation")]
fn figures(name: &str, world: World) -> Figures {
    let all: Vec<Simulated> = (0..rounds()).map(|s| simulate(world, s)).collect();
    let n = all.len() as f64;
    let (mut p, mut shares, mut power) = (Vec::new(), Vec::new(), (0, 0));
    let (mut n_tested, mut n_called, mut patients) = (0, 0, (0, 0, 0, 0));
    for data in &all {
        let (mut called, mut wrong) = (0, 0);
        for (gene, truth) in data.slopes.genes.iter().zip(&data.truth) {
            if gene.class == Class::Untested {
                continue;
            }
            n_tested += 1;
            p.push(gene.one.0.p);
            let is_called = matches!(gene.class, Class::Insensitive | Class::OverCompensated);
            let escapes = mean(truth) < 0.5;
            called += usize::from(is_called);
            wrong += usize::from(is_called && !escapes);
            power.0 += usize::from(is_called && escapes);
            power.1 += usize::from(escapes);
            let mixed = truth.iter().any(|t| *t != truth[0]);
            for (patient, truth) in gene.patients.iter().zip(truth) {
                let is_called = patient.q < 0.05;
                patients.0 += usize::from(is_called);
                patients.1 += usize::from(is_called && *truth >= 0.5);
                patients.2 += usize::from(is_called && mixed && *truth < 0.5);
                patients.3 += usize::from(mixed && *truth < 0.5 && patient.se <= 0.5);
            }
        }
        n_called += called;
        shares.push(wrong as f64 / called.max(1) as f64);
    }
    let below = |level: f64| p.iter().filter(|p| **p < level).count() as f64 / p.len() as f64;
    let out = Figures {
        p: (below(0.05), below(0.001)),
        tested: n_tested as f64 / n,
        called: n_called as f64 / n,
        wrong: (
            mean(&shares),
            (clcc_numerics::stats::variance(&shares, 1) / n).sqrt(),
        ),
        power: power.0 as f64 / power.1.max(1) as f64,
        patients: (
            patients.0 as f64 / n,
            patients.1 as f64 / patients.0.max(1) as f64,
            patients.2 as f64 / patients.3.max(1) as f64,
        ),
    };
    let slopes = &all[0].slopes;
    eprintln!(
        "{name}: p < .05 {:.3}, < .001 {:.4}; {:.0} tested, {:.1} called, false {:.3} +- {:.3}, power {:.3}; patients: {:.1} called, false {:.3}, found {:.3}; levels {:.3?} {:.3?}, dispersion {:.4}, {:.3?}",
        out.p.0,
        out.p.1,
        out.tested,
        out.called,
        out.wrong.0,
        out.wrong.1,
        out.power,
        out.patients.0,
        out.patients.1,
        out.patients.2,
        slopes.tumour_level_sd,
        slopes.patient_level_sd,
        slopes.dispersion,
        slopes.prior,
    );
    out
}

#[test]
fn patients_that_differ_in_level_give_the_nominal_level_and_no_call() {
    for (name, world) in [
        ("levels shared", BASE),
        (
            "levels of each patient",
            World {
                levels: (0.23, 0.3),
                ..BASE
            },
        ),
        (
            "one clone each",
            World {
                clones: 1,
                levels: (0.23, 0.3),
                ..BASE
            },
        ),
        (
            "three patients",
            World {
                patients: 3,
                levels: (0.23, 0.2),
                ..BASE
            },
        ),
        (
            "levels of some genes",
            World {
                levels: (0.23, 0.23),
                level_share: 0.15,
                ..BASE
            },
        ),
    ] {
        let f = figures(name, world);
        assert!((0.03..0.062).contains(&f.p.0), "{name}: {}", f.p.0);
        assert!(f.called <= 0.5, "{name}: {} called", f.called);
    }
}

#[test]
fn where_slopes_vary_and_nothing_escapes_hardly_anything_is_called() {
    let world = World {
        slopes: (0.85, 0.2),
        levels: (0.23, 0.15),
        ..BASE
    };
    let f = figures("slopes vary", world);
    assert!(
        f.called <= 2.0 && f.tested > 500.0,
        "{} called of {}",
        f.called,
        f.tested
    );
}

#[test]
fn the_share_of_false_calls_is_the_nominal_one() {
    for (name, world) in [
        (
            "escape",
            World {
                slopes: (0.85, 0.2),
                escape: 0.05,
                levels: (0.23, 0.15),
                ..BASE
            },
        ),
        (
            "escape, equal slopes",
            World {
                escape: 0.05,
                levels: (0.23, 0.15),
                ..BASE
            },
        ),
    ] {
        let f = figures(name, world);
        assert!(
            f.wrong.0 < 0.05 + 2.0 * f.wrong.1 + 0.02,
            "{name}: {:?}",
            f.wrong
        );
        assert!(f.power > 0.3, "{name}: {}", f.power);
        assert!(f.patients.1 < 0.08, "{name}: patients {:?}", f.patients);
    }
}

#[test]
fn a_gene_that_escapes_in_two_of_ten_patients_is_named_with_them() {
    let world = World {
        patients: 10,
        slopes: (0.85, 0.2),
        escape: 0.03,
        mixed: 0.05,
        levels: (0.15, 0.1),
        ..BASE
    };
    let f = figures("two of ten", world);
    assert!(f.patients.1 < 0.08, "{:?}", f.patients);
    assert!(f.patients.2 > 0.12, "{:?}", f.patients);
}

/// The windows next to a gene say nothing of a change that is shorter than they are; the clones' own counts
/// do.
#[test]
fn changes_of_a_third_of_an_arm_are_tested_and_called_as_those_of_arms() {
    let world = World {
        slopes: (0.85, 0.2),
        escape: 0.05,
        levels: (0.23, 0.15),
        ..THIRDS
    };
    let f = figures("thirds of arms", world);
    assert!(f.tested > 500.0, "{} tested", f.tested);
    assert!(f.wrong.0 < 0.05 + 2.0 * f.wrong.1 + 0.02, "{:?}", f.wrong);
    assert!(f.power > 0.2, "{}", f.power);
}

/// Levels of tumours, and of patients, are no segment.
#[test]
fn where_no_copy_changes_no_clone_is_malignant() {
    for seed in 0..rounds().max(5) {
        for levels in [(0.23, 0.0), (0.23, 0.3), (0.5, 0.5)] {
            let world = World {
                levels,
                changed: (0, 0),
                ..THIRDS
            };
            let found = simulate(world, seed);
            assert_eq!(
                (found.malignant, found.altered),
                (0, 0),
                "seed {seed}, {levels:?}"
            );
        }
    }
}
