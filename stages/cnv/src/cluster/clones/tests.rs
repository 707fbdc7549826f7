use super::*;
use clcc_numerics::rng::Rng;
use clcc_testing::{at_threads, genes};

/// Differences between the clones of a test.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// Clone 1 gains chr2, clone 2 loses chr3 (each 60 cells of 180).
    Arms,
    /// A third of the cells express every tenth gene three times as much.
    Programme,
    /// All have four copies of chr2; a third of the cells hold 30 % of its genes back to two.
    HeldBack,
    /// As `Arms`; all have four copies of chr4 to chr6, and a third of each clone holds 30 % of their genes
    /// back to two.
    ArmsAndHeldBack,
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
                let arms = matches!(planted, Planted::Arms | Planted::ArmsAndHeldBack);
                let holds_back = (cell / 3) % 3 == 0 && g % 10 < 3;
                let factor = match (planted, clone, g / 150) {
                    (_, 1, 1) if arms => 1.5,
                    (_, 2, 2) if arms => 0.5,
                    (Planted::ArmsAndHeldBack, _, 3..) if !holds_back => 2.0,
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

/// Cells of the most frequent label of each planted clone.
fn of_one_label(found: &Clones, truth: &[u32]) -> usize {
    (0..3)
        .map(|clone| {
            let mut n = vec![0usize; found.n_cells.len()];
            (0..180)
                .filter(|&i| truth[i] == clone)
                .for_each(|i| n[found.of_cell[i].unwrap() as usize] += 1);
            n.into_iter().max().unwrap()
        })
        .sum()
}

#[test]
fn a_state_that_clones_share_is_no_clone_and_does_not_mix_them() {
    for seed in [1, 2, 3] {
        let (counts, var, malignant, truth) = tumour(Planted::ArmsAndHeldBack, seed);
        let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
        assert_eq!(found.n_cells.len(), 3, "seed {seed}: {:?}", found.n_cells);
        let same = of_one_label(&found, &truth);
        assert!(same >= 165, "seed {seed}: {same} of 180");
    }
}

/// Cells of two components, shifted by what neither has, go each to its own.
#[test]
fn cells_that_are_shifted_alike_find_their_component() {
    let mut rng = Rng::new(6, "clone test", &[]);
    let labels: Vec<u32> = (0..120).map(|i| (i % 3) as u32).collect();
    let x = Array2::from_shape_fn((120, 8), |(i, j)| {
        let own = match (labels[i], (i / 3) % 2) {
            (2, half) => half,
            (l, _) => l as usize,
        };
        let mean = if j < 4 { [-2.0, 2.0][own] } else { 0.0 };
        let shift = if labels[i] == 2 { 3.0 - j as f64 } else { 0.0 };
        mean + shift + 0.5 * rng.normal()
    });
    for (i, fate) in fates(&x, &labels, 3, 2).into_iter().enumerate() {
        let own = (labels[i] == 2).then_some(((i / 3) % 2) as u32);
        assert_eq!(fate, own, "cell {i}");
    }
    assert!(fates(&x, &[2; 120], 3, 2).iter().all(Option::is_none));
}

#[test]
fn clones_that_differ_by_one_arm_each_are_told_apart() {
    let (counts, var, malignant, truth) = tumour(Planted::Arms, 1);
    let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
    assert_eq!(found.n_cells.len(), 3, "{:?}", found.n_cells);
    assert!((180..200).all(|i| found.of_cell[i].is_none() && found.confidence[i].is_nan()));
    let same = of_one_label(&found, &truth);
    assert!(same >= 170, "{same} of 180");
    // The pieces of the arms that differ show it, by about the planted ratio against the other two
    // clones.
    let label = |clone: u32| found.of_cell[(0..180).find(|&i| truth[i] == clone).unwrap()].unwrap();
    let ratio = |clone: u32, chromosome: &str| {
        let of: Vec<f64> = (0..found.pieces.len())
            .filter(|&p| found.pieces[p].chromosome == chromosome)
            .map(|p| found.log_ratio[[label(clone) as usize, p]])
            .collect();
        clcc_numerics::stats::mean(&of)
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
            let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
            assert_eq!(found.n_cells, [180], "seed {seed}");
            assert!(found.log_ratio.iter().all(|v| v.is_nan()));
        }
    }
}

/// A third of the cells is four times as deep, and the share of chr4 in a cell's counts grows with its depth to the
/// power .3: that is no clone. Beside true clones, depth hides none.
#[test]
fn clones_do_not_split_by_depth() {
    for (planted, n) in [(Planted::Nothing, 1), (Planted::Arms, 3)] {
        for seed in [21, 22] {
            let (counts, var, malignant, truth) = tumour(planted, seed);
            let mut rng = Rng::new(seed, "clone test depth", &[]);
            let total = counts.row_sums();
            let rows = (0..200).map(|i| {
                let (cols, values) = counts.row(i);
                let depth = if (i / 3) % 3 == 0 { 4.0 } else { 1.0 };
                let more = (depth * total[i] / 1000.0).powf(0.3);
                let factor = |c: u32| {
                    if (450..600).contains(&c) {
                        depth * more
                    } else {
                        depth
                    }
                };
                let entries = cols.iter().zip(values);
                entries
                    .map(|(&c, &v)| (c, rng.poisson(factor(c) * f64::from(v)) as f32))
                    .filter(|e| e.1 > 0.0)
                    .collect::<Vec<_>>()
            });
            let counts = Csr::from_rows(900, rows);
            let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
            assert_eq!(found.n_cells.len(), n, "seed {seed}: {:?}", found.n_cells);
            assert!(of_one_label(&found, &truth) >= 160, "seed {seed}");
        }
    }
}

/// Each clone says what it differs by from the one most like it.
#[test]
fn a_split_says_what_it_rests_on() {
    let (counts, var, malignant, truth) = tumour(Planted::Arms, 1);
    let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
    let label = |clone: u32| {
        found.of_cell[(0..180).find(|&i| truth[i] == clone).unwrap()].unwrap() as usize
    };
    let place = |e: &Evidence| found.pieces[e.pieces.start].chromosome.clone();
    let (nearest, gained) = found.evidence[label(1)].as_ref().unwrap();
    assert_eq!((*nearest, place(gained).as_str()), (label(0), "chr2"));
    assert!(
        gained.strength >= 1.0 && (gained.log_ratio - 1.5f64.ln()).abs() < 0.2,
        "{gained:?}"
    );
    let (nearest, lost) = found.evidence[label(2)].as_ref().unwrap();
    assert!(*nearest != label(2));
    assert_eq!(place(lost), "chr3");
    assert!(
        lost.log_ratio < -0.4 && lost.error > 0.0 && lost.n_genes >= 50,
        "{lost:?}"
    );
    let one = clones(&counts, (&var, &[true; 900]), &[false; 200], OPTIONS).unwrap();
    assert!(one.evidence.is_empty());
}

/// Genes that take no part are in no piece.
#[test]
fn unused_genes_are_in_no_piece() {
    let (counts, var, malignant, _) = tumour(Planted::Nothing, 1);
    let used: Vec<bool> = (0..900).map(|g| !(150..300).contains(&g)).collect();
    let found = clones(&counts, (&var, &used), &malignant, OPTIONS).unwrap();
    assert!(!found.pieces.is_empty());
    assert!(found.pieces.iter().all(|p| p.chromosome != "chr2"));
}

#[test]
fn too_few_cells_are_one_clone_and_none_are_none() {
    let (counts, var, _, _) = tumour(Planted::Arms, 5);
    let few: Vec<bool> = (0..200).map(|i| i < 12).collect();
    let found = clones(&counts, (&var, &[true; 900]), &few, OPTIONS).unwrap();
    assert_eq!(found.n_cells, [12]);
    let found = clones(&counts, (&var, &[true; 900]), &[false; 200], OPTIONS).unwrap();
    assert!(found.n_cells.is_empty() && found.of_cell.iter().all(Option::is_none));
}

#[test]
fn any_number_of_threads_gives_the_same_clones() {
    let (counts, var, malignant, _) = tumour(Planted::Arms, 6);
    let go = || {
        let found = clones(&counts, (&var, &[true; 900]), &malignant, OPTIONS).unwrap();
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
    let found = clones(&counts, (&var, &[true; 900]), &malignant, options).unwrap();
    assert_eq!(found.n_cells.len(), 3, "{:?}", found.n_cells);
    for clone in 0..3 {
        let mut n = [0usize; 3];
        (12..180)
            .filter(|&i| truth[i] == clone)
            .for_each(|i| n[found.of_cell[i].unwrap() as usize] += 1);
        assert!(n.iter().max() >= Some(&50), "{n:?}");
    }
}
