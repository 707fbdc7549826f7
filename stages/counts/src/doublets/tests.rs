//! The stage on planted doublets, its laws, and its edges.

use super::*;
use clcc_numerics::rng::Rng;
use clcc_testing::at_threads;
use proptest::prelude::*;

/// Counts of `n` cells of `types` types over `genes` genes, then of `n_doublets` sums of two cells of different types.
fn planted(n: usize, types: usize, genes: usize, n_doublets: usize, seed: u64) -> Csr {
    let mut rng = Rng::new(seed, "planted doublets", &[]);
    let mut cell = |kind: usize| {
        let mut row = Vec::new();
        for gene in 0..genes {
            let mean = if gene % types == kind { 3.0 } else { 0.3 };
            row.push(rng.poisson(mean) as f32);
        }
        row
    };
    let mut rows: Vec<Vec<f32>> = (0..n).map(|i| cell(i % types)).collect();
    for i in 0..n_doublets {
        let (a, b) = (cell(i % types), cell((i + 1) % types));
        rows.push(a.iter().zip(&b).map(|(a, b)| a + b).collect());
    }
    Csr::from_rows(
        genes,
        rows.into_iter().map(|row| {
            let entries = (0u32..).zip(row);
            entries.filter(|(_, v)| *v > 0.0).collect()
        }),
    )
}

/// On counts drawn in this way Scrublet 0.2.3 finds its threshold between .059 and .080, and calls all 24 doublets and
/// 6 to 35 of the 400 cells (eight seeds).
#[test]
fn planted_doublets_score_above_single_cells() {
    let counts = planted(400, 4, 400, 24, 7);
    let params = DoubletsParams {
        threshold: Some(0.08),
        ..DoubletsParams::default()
    };
    let found = doublets(&counts, &params, 3).unwrap();
    let pairs = found.scores[400..]
        .iter()
        .flat_map(|d| found.scores[..400].iter().map(move |s| (d, s)));
    let wins: f64 = pairs
        .map(|(d, s)| f64::from(u8::from(d > s)) + 0.5 * f64::from(u8::from(d == s)))
        .sum();
    let auroc = wins / (24.0 * 400.0);
    assert!(auroc > 0.99, "{auroc}");
    let calls = found.calls().unwrap();
    let of = |range: std::ops::Range<usize>| calls[range].iter().filter(|c| **c).count();
    assert_eq!(of(400..424), 24);
    assert!(of(0..400) <= 16, "{} of 400 singlets", of(0..400));
}

/// The projection of a cell's own counts is its own score: cells and doublets are placed by one rule.
#[test]
fn cells_projected_as_doublets_fall_on_themselves() {
    let counts = planted(60, 3, 30, 0, 5);
    let coords = embed(&counts, &counts, 10, 1).unwrap();
    for cell in 0..60 {
        for (a, b) in coords.row(cell).iter().zip(coords.row(60 + cell)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn a_simulated_doublet_is_the_sum_of_two_cells() {
    let counts = planted(20, 2, 12, 0, 1);
    let simulated = simulate_doublets(&counts, 50, 9).unwrap().to_dense();
    let cells = counts.to_dense();
    for doublet in simulated.rows() {
        let is_sum = (0..20).any(|a| {
            (0..20).any(|b| {
                let sum = &cells.row(a) + &cells.row(b);
                sum == doublet
            })
        });
        assert!(is_sum);
    }
}

#[test]
fn too_few_cells_or_genes_have_no_score() {
    for counts in [
        planted(9, 3, 30, 0, 1),
        Csr::from_rows(5, vec![Vec::new(); 40]),
    ] {
        let found = doublets(&counts, &DoubletsParams::default(), 1).unwrap();
        assert_eq!(found.scores.len(), counts.n_rows());
        assert!(found.scores.iter().all(|s| s.is_nan()));
        assert_eq!(found.calls(), None);
    }
}

#[test]
fn a_threshold_that_is_given_is_used() {
    let counts = planted(60, 3, 60, 6, 2);
    let params = DoubletsParams {
        threshold: Some(0.0),
        ..DoubletsParams::default()
    };
    let found = doublets(&counts, &params, 1).unwrap();
    assert_eq!(found.calls(), Some(vec![true; 66]));
}

#[test]
fn threads_change_nothing() {
    let counts = planted(300, 4, 200, 10, 4);
    let run = || doublets(&counts, &DoubletsParams::default(), 2).unwrap();
    assert_eq!(at_threads(1, run), at_threads(4, run));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Scores are likelihoods, whatever the counts.
    #[test]
    fn scores_are_between_0_and_1(
        seed in 0u64..1000,
        n in 10usize..60,
        rate in 0.001f64..0.499,
        ratio in 0.1f64..5.0,
    ) {
        let counts = planted(n, 3, 20, 3, seed);
        let params = DoubletsParams {
            expected_doublet_rate: rate,
            sim_doublet_ratio: ratio,
            ..DoubletsParams::default()
        };
        let found = doublets(&counts, &params, seed).unwrap();
        prop_assert!(found.scores.iter().chain(&found.simulated).all(|s| (0.0..=1.0).contains(s)));
    }
}
