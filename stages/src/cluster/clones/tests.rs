use super::*;
use crate::dosage::windows::tests::genes;
use crate::linalg::tests::at_threads;
use crate::rng::Rng;

/// What tells clones apart in a test.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// Clone 1 gains chr2, clone 2 loses chr3 (each 60 cells of 180).
    Arms,
    /// A third of the cells express every tenth gene three times as much.
    Programme,
    /// All have four copies of chr2; a third of the cells hold 30 % of its genes back to two.
    HeldBack,
}

const OPTIONS: CloneOptions = CloneOptions {
    max_clones: 6,
    min_cells: 10,
    seed: 3,
};

/// 180 malignant cells and 20 others, six chromosomes of 150 genes (their q arms), with rates and depths
/// that differ; and the clone of each cell.
fn tumour(planted: Planted, seed: u64) -> (Csr, Frame, Vec<bool>, Vec<u32>) {
    let sizes = [
        ("chr1", 150),
        ("chr2", 150),
        ("chr3", 150),
        ("chr4", 150),
        ("chr5", 150),
        ("chr6", 150),
    ];
    let var = genes(&sizes);
    let mut rng = Rng::new(seed, "clone test", &[]);
    let rate: Vec<f64> = (0..900).map(|_| (0.6 * rng.normal()).exp()).collect();
    let mut rows = Vec::new();
    let mut truth = Vec::new();
    for cell in 0..200 {
        let clone = (cell % 3) as u32;
        truth.push(clone);
        let depth = (0.3 * rng.normal()).exp();
        let row = (0..900)
            .map(|g| {
                let factor = match (planted, clone, g / 150) {
                    (Planted::Arms, 1, 1) => 1.5,
                    (Planted::Arms, 2, 2) => 0.5,
                    (Planted::Programme, 1, _) if g % 10 == 0 => 3.0,
                    (Planted::HeldBack, 1, 1) if g % 10 < 3 => 1.0,
                    (Planted::HeldBack, _, 1) => 2.0,
                    _ => 1.0,
                };
                let noise = rng.gamma(4.0) / 4.0;
                let n = rng.poisson(depth * rate[g] * factor * noise);
                (g as u32, n as f32)
            })
            .filter(|e| e.1 > 0.0)
            .collect::<Vec<_>>();
        rows.push(row);
    }
    let malignant = (0..200).map(|i| i < 180).collect();
    (Csr::from_rows(900, rows), var, malignant, truth)
}

#[test]
fn clones_that_differ_by_one_arm_each_are_told_apart() {
    let (counts, var, malignant, truth) = tumour(Planted::Arms, 1);
    let found = clones(&counts, &var, &malignant, OPTIONS).unwrap();
    assert_eq!(found.n_cells.len(), 3, "{:?}", found.n_cells);
    assert!((180..200).all(|i| found.of_cell[i].is_none() && found.confidence[i].is_nan()));
    // Each clone's cells carry one label but for a few.
    let mut same = 0;
    for clone in 0..3 {
        let mut n = [0usize; 3];
        (0..180)
            .filter(|&i| truth[i] == clone)
            .for_each(|i| n[found.of_cell[i].unwrap() as usize] += 1);
        same += n.iter().max().unwrap();
    }
    assert!(same >= 170, "{same} of 180");
    // The pieces of the arms that differ say so, by about the planted ratio against the other two clones.
    let label = |clone: u32| found.of_cell[(0..180).find(|&i| truth[i] == clone).unwrap()].unwrap();
    let ratio = |clone: u32, chromosome: &str| {
        let of: Vec<f64> = (0..found.pieces.len())
            .filter(|&p| found.pieces[p].chromosome == chromosome)
            .map(|p| found.log_ratio[[label(clone) as usize, p]])
            .collect();
        crate::stats::mean(&of)
    };
    assert!(
        (ratio(1, "chr2") - 1.5f64.ln()).abs() < 0.15,
        "{}",
        ratio(1, "chr2")
    );
    assert!(
        (ratio(2, "chr3") - 0.5f64.ln()).abs() < 0.2,
        "{}",
        ratio(2, "chr3")
    );
    assert!(ratio(1, "chr5").abs() < 0.12 && ratio(2, "chr6").abs() < 0.12);
    let sizes: Vec<usize> = found.n_cells.clone();
    assert!(sizes.windows(2).all(|w| w[0] >= w[1]), "largest first");
}

#[test]
fn cells_of_one_clone_and_cells_in_two_states_stay_one_clone() {
    for planted in [Planted::Nothing, Planted::Programme, Planted::HeldBack] {
        for seed in [2, 3, 4] {
            let (counts, var, malignant, _) = tumour(planted, seed);
            let found = clones(&counts, &var, &malignant, OPTIONS).unwrap();
            assert_eq!(found.n_cells, [180], "seed {seed}");
            assert!(found.log_ratio.iter().all(|v| v.is_nan()));
        }
    }
}

#[test]
fn too_few_cells_are_one_clone_and_none_are_none() {
    let (counts, var, _, _) = tumour(Planted::Arms, 5);
    let few: Vec<bool> = (0..200).map(|i| i < 12).collect();
    let found = clones(&counts, &var, &few, OPTIONS).unwrap();
    assert_eq!(found.n_cells, [12]);
    let found = clones(&counts, &var, &[false; 200], OPTIONS).unwrap();
    assert!(found.n_cells.is_empty() && found.of_cell.iter().all(Option::is_none));
}

#[test]
fn any_number_of_threads_gives_the_same_clones() {
    let (counts, var, malignant, _) = tumour(Planted::Arms, 6);
    let go = || {
        let found = clones(&counts, &var, &malignant, OPTIONS).unwrap();
        let bits: Vec<u64> = found.confidence.iter().map(|c| c.to_bits()).collect();
        (found.of_cell, found.n_cells, bits)
    };
    assert_eq!(at_threads(1, go), at_threads(3, go));
}

/// One component against the closed form, and the likelihood of two against a sum by hand.
#[test]
fn the_criterion_of_one_component_is_the_normal_one() {
    let mut rng = Rng::new(7, "clone test", &[]);
    let x = Array2::from_shape_fn((50, 3), |_| rng.normal());
    let found = mixture::fit(&x.view(), 1, 1).unwrap();
    let likelihood: f64 = (0..3)
        .map(|j| {
            let column = x.column(j);
            let variance = column.var(0.0);
            -25.0 * (1.0 + variance.ln() + std::f64::consts::TAU.ln())
        })
        .sum();
    let wanted = 6.0 * 50f64.ln() - 2.0 * likelihood;
    assert!((found.bic - wanted).abs() < 1e-8, "{} {wanted}", found.bic);
    assert!(mixture::fit(&x.view(), 26, 1).is_none());
}

/// Twelve normal cells among the malignant ones keep no clone of their own, and cost none of the others.
#[test]
fn a_few_strays_do_not_undo_the_clones() {
    let (counts, var, malignant, truth) = tumour(Planted::Arms, 8);
    // Strays: cells with every gene of chr4 to chr6 three times as high.
    let rows = (0..200).map(|i| {
        let (cols, values) = counts.row(i);
        cols.iter()
            .zip(values)
            .map(|(&c, &v)| (c, if i < 12 && c >= 450 { 3.0 * v } else { v }))
            .collect::<Vec<_>>()
    });
    let counts = Csr::from_rows(900, rows);
    let options = CloneOptions {
        min_cells: 20,
        ..OPTIONS
    };
    let found = clones(&counts, &var, &malignant, options).unwrap();
    assert_eq!(found.n_cells.len(), 3, "{:?}", found.n_cells);
    for clone in 0..3 {
        let mut n = [0usize; 3];
        (12..180)
            .filter(|&i| truth[i] == clone)
            .for_each(|i| n[found.of_cell[i].unwrap() as usize] += 1);
        assert!(n.iter().max() >= Some(&50), "{n:?}");
    }
}
