//! The sparse sums against obvious dense ones, peers' values, and planted departures.

use std::path::Path;

use ndarray::Array2;

use super::local::{Profiles, Slots};
use super::projection::{Components, cca, linear};
use super::regression::{Member, Options, fit};
use crate::dosage::GeneWindows;
use crate::dosage::windows::tests::windows;
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::{auc, pearson};
use clcc_testing::at_threads;
use clcc_testing::genes;

const SIZES: [(&str, usize); 4] = [("chr1", 60), ("chr2", 60), ("chr3", 60), ("chr4", 15)];
const N_GENES: usize = 195;

struct Data {
    x: Csr,
    cnv: Csr,
    map: GeneWindows,
    members: Vec<Option<Member>>,
    holds_back: Vec<bool>,
}

/// Two strata of 30 normal and 60 cancer cells. Cancer cells gain chr1 and lose chr2, each with its
/// own strength; every tenth gene ignores it, every third cancer cell ignores it altogether.
fn data(seed: u64) -> Data {
    let mut rng = Rng::new(seed, "baselines test", &[]);
    let g = genes(&SIZES);
    let w = windows(&SIZES, 20, 5);
    let chromosome = w.texts("chromosome").unwrap();
    let map = GeneWindows::new(&g.index, &w, &g).unwrap();
    let (mut x, mut cnv, mut members, mut holds_back) = (vec![], vec![], vec![], vec![]);
    for i in 0..180 {
        let cancer = i % 3 != 0;
        let back = cancer && i % 9 == 1;
        let strength = if cancer { 0.5 + rng.uniform() } else { 0.0 };
        let copy = |c: &str| match c {
            "chr1" => 0.4 * strength,
            "chr2" => -0.5 * strength,
            _ => 0.0,
        };
        let mut row = Vec::new();
        for gene in 0..N_GENES {
            let name = SIZES[gene / 60].0;
            let answer = if back || gene % 10 == 3 {
                0.0
            } else {
                copy(name)
            };
            let level = 0.3 + 0.1 * (gene % 7) as f64 + if i >= 90 { 0.2 } else { 0.0 };
            let v = level + answer * (0.3 + level) + 0.35 * rng.normal();
            // A third of the values is not stored.
            if v > 0.25 {
                row.push((gene as u32, v as f32));
            }
        }
        x.push(row);
        let noisy: Vec<(u32, f32)> = chromosome
            .iter()
            .enumerate()
            .map(|(k, c)| (k as u32, (copy(c) + 0.05 * rng.normal()) as f32))
            .filter(|e| e.1.abs() > 0.03)
            .collect();
        cnv.push(noisy);
        holds_back.push(back);
        members.push((i % 20 != 19).then_some(Member {
            stratum: u32::from(i >= 90),
            cancer,
        }));
    }
    Data {
        x: Csr::from_rows(N_GENES, x),
        cnv: Csr::from_rows(w.len(), cnv),
        map,
        members,
        holds_back,
    }
}

const OPTIONS: Options = Options {
    min_cells: 10,
    genes_per_bin: 25,
};

fn dense_row(m: &Csr, i: usize) -> Vec<f64> {
    (0..m.n_cols()).map(|c| f64::from(m.get(i, c))).collect()
}

/// Every formula of `regression`, on filled-in matrices, one gene and one cell at a time.
#[test]
fn the_sparse_sums_are_those_of_filled_in_matrices() {
    let d = data(1);
    let slots = Slots::new(&d.map);
    assert!(slots.len() < 40, "{}", slots.len());
    let found = fit(&d.x, &Profiles::Cells(&d.cnv), &slots, &d.members, OPTIONS).unwrap();
    let rows: Vec<usize> = (0..180).filter(|&i| d.members[i].is_some()).collect();
    let stratum = |i: usize| d.members[i].unwrap().stratum;
    let copy = |i: usize, g: usize| d.map.without_gene(g, &dense_row(&d.cnv, i));
    let centred = |v: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let mean = |s: u32| {
            let own: Vec<f64> = rows
                .iter()
                .filter(|&&i| stratum(i) == s)
                .map(|&i| v(i))
                .collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        let means = [mean(0), mean(1)];
        rows.iter()
            .map(|&i| v(i) - means[stratum(i) as usize])
            .collect()
    };
    let close = |a: f64, b: f64, what: &str| {
        assert!(
            (a - b).abs() <= 1e-6 * (1.0 + b.abs()),
            "{what}: {a}, expected {b}"
        );
    };
    for g in (0..N_GENES).step_by(4) {
        if slots.of_gene[g].is_none() {
            // chr4 has 15 genes, which its one window holds.
            assert!(g >= 180 && found.genes[g].slope.is_nan());
            continue;
        }
        let x = centred(&|i| f64::from(d.x.get(i, g)));
        let c = centred(&|i| copy(i, g));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let slope = dot(&x, &c) / dot(&c, &c);
        let rest: f64 = x.iter().zip(&c).map(|(x, c)| (x - slope * c).powi(2)).sum();
        let se = (rest / (rows.len() as f64 - 3.0) / dot(&c, &c)).sqrt();
        close(found.genes[g].slope, slope, "slope");
        close(found.genes[g].se, se, "se");
        close(found.genes[g].r, pearson(&x, &c).r, "r");
    }
    let fits: Vec<usize> = (0..N_GENES)
        .filter(|&g| found.genes[g].slope.is_finite())
        .collect();
    let all: Vec<Vec<f64>> = (0..N_GENES)
        .map(|g| centred(&|i| f64::from(d.x.get(i, g))))
        .collect();
    let freedom = rows.len() as f64 - 2.0;
    let variance = |g: usize| all[g].iter().map(|v| v * v).sum::<f64>() / freedom;
    let mean_of = |g: usize, s: u32, only_normal: bool, v: &dyn Fn(usize, usize) -> f64| {
        let own: Vec<f64> = rows
            .iter()
            .filter(|&&i| stratum(i) == s && !(only_normal && d.members[i].unwrap().cancer))
            .map(|&i| v(i, g))
            .collect();
        own.iter().sum::<f64>() / own.len() as f64
    };
    let expr = |i: usize, g: usize| f64::from(d.x.get(i, g));
    for k in (0..found.cells.len()).step_by(23) {
        let i = found.cells[k];
        let s = stratum(i);
        let (mut fall, mut power) = (0.0, 0.0);
        let (mut z, mut c) = (Vec::new(), Vec::new());
        for &g in &fits {
            let f = &found.genes[g];
            let level = mean_of(g, s, false, &expr) - f.slope * mean_of(g, s, false, &copy);
            let residual = expr(i, g) - level - f.slope * copy(i, g);
            fall += residual * copy(i, g) * f.expected / variance(g);
            power += copy(i, g).powi(2) * f.expected * f.expected / variance(g);
            z.push((expr(i, g) - mean_of(g, s, true, &expr)) / variance(g).sqrt());
            c.push(copy(i, g));
        }
        close(found.residual[k], -fall / power.sqrt(), "cell residual");
        close(found.correlation[k], -pearson(&z, &c).r, "cell correlation");
    }
}

#[test]
fn planted_departures_are_found_and_shuffled_copy_number_finds_nothing() {
    let d = data(2);
    let slots = Slots::new(&d.map);
    let judge = |cnv: &Csr| {
        let found = fit(&d.x, &Profiles::Cells(cnv), &slots, &d.members, OPTIONS).unwrap();
        let cells: Vec<bool> = found.cells.iter().map(|&i| d.holds_back[i]).collect();
        // Genes of the two altered chromosomes.
        let genes: Vec<usize> = (0..120)
            .filter(|&g| found.genes[g].slope.is_finite())
            .collect();
        let planted: Vec<bool> = genes.iter().map(|g| g % 10 == 3).collect();
        let of = |f: &dyn Fn(usize) -> f64| {
            auc(&genes.iter().map(|&g| f(g)).collect::<Vec<_>>(), &planted)
        };
        [
            of(&|g| found.genes[g].shortfall()),
            of(&|g| -found.genes[g].r),
            auc(&found.residual, &cells),
            auc(&found.correlation, &cells),
        ]
    };
    let real = judge(&d.cnv);
    assert!(real.iter().all(|a| *a > 0.9), "{real:?}");
    let order = Rng::new(3, "baselines shuffle", &[]).permutation(180);
    let shuffled = judge(&d.cnv.take_rows(&order));
    // Genes only: where no slope is left, the cells' weights have random signs.
    assert!(
        shuffled[..2].iter().all(|a| (0.2..0.8).contains(a)),
        "{shuffled:?}"
    );
    // The mean of the cells of one kind as their copy number does as well for genes.
    let of_cell = (0..180).map(|i| u32::from(i % 3 != 0)).collect();
    let clustered = Profiles::clusters(&d.cnv, of_cell, &slots).unwrap();
    let found = fit(&d.x, &clustered, &slots, &d.members, OPTIONS).unwrap();
    let part = clustered.part(0).unwrap();
    assert_eq!(part.of(1, &slots), part.of(2, &slots));
    let planted: Vec<bool> = (0..120).map(|g| g % 10 == 3).collect();
    let scores: Vec<f64> = found.genes[..120].iter().map(|g| g.shortfall()).collect();
    assert!(auc(&scores, &planted) > 0.9);
}

#[test]
fn the_same_bytes_at_any_number_of_threads() {
    let d = data(4);
    let slots = Slots::new(&d.map);
    let run = |threads| {
        at_threads(threads, || {
            let f = fit(&d.x, &Profiles::Cells(&d.cnv), &slots, &d.members, OPTIONS).unwrap();
            let train: Vec<usize> = (0..120).collect();
            let e = Components::new(&d.x, &train, 8, 1, Path::new(".")).unwrap();
            let c = Components::new(&d.cnv, &train, 8, 1, Path::new(".")).unwrap();
            let found = cca(&e, &c, 1).unwrap();
            (
                f.residual,
                f.correlation,
                found.expr,
                linear(&e, &c, 0.1).cnv,
            )
        })
    };
    assert!(run(1) == run(3));
}

/// As `tests/reference/baselines/make.py`.
fn formula(n: usize, p: usize, a: f64, b: f64) -> Csr {
    Csr::from_dense(&Array2::from_shape_fn((n, p), |(i, g)| {
        let v = 10.0 * (a * i as f64 + b * (g * g) as f64).sin();
        if v > 0.0 { v.round() as f32 } else { 0.0 }
    }))
}

/// scipy's principal angles are the canonical correlations; numpy's normal equations are the ridge.
#[test]
fn projections_agree_with_scipy() {
    let values: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../tests/reference/baselines/values.json"
    ))
    .unwrap();
    let list = |name: &str| -> Vec<f64> {
        values[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    };
    let all: Vec<usize> = (0..24).collect();
    let e = Components::new(&formula(24, 5, 1.3, 0.5), &all, 5, 1, Path::new(".")).unwrap();
    let c = Components::new(&formula(24, 4, 1.1, 0.4), &all, 4, 1, Path::new(".")).unwrap();
    for (found, expected) in cca(&e, &c, 1)
        .unwrap()
        .agreement
        .iter()
        .zip(list("canonical_correlations"))
    {
        assert!(
            (found - expected).abs() < 1e-6,
            "{found}, expected {expected}"
        );
    }
    let ridge = linear(&e, &c, 0.5);
    // Principal axes turn both sides alike, so distances are those of the features.
    let distances = clcc_align::concordance::row_distances(&ridge.expr, &ridge.cnv);
    for (found, expected) in distances.iter().zip(list("ridge_distances")) {
        assert!(
            (found - expected).abs() < 1e-4,
            "{found}, expected {expected}"
        );
    }
}

/// Components of the training cells are orthonormal, and the same as those of all cells; other cells do not
/// move what is learnt.
#[test]
fn projections_learn_from_training_cells_alone() {
    let d = data(5);
    let train: Vec<usize> = (0..120).collect();
    let e = Components::new(&d.x, &train, 6, 1, Path::new(".")).unwrap();
    let gram = e.u.t().dot(&e.u);
    assert!(
        gram.indexed_iter()
            .all(|((i, j), v)| (v - f64::from(u8::from(i == j))).abs() < 1e-6)
    );
    assert!(
        (&e.all.slice(ndarray::s![..120, ..]) - &e.u)
            .iter()
            .all(|v| v.abs() < 1e-8)
    );
    let mut rows: Vec<usize> = (0..180).collect();
    rows[150..].reverse();
    let other = Components::new(&d.x.take_rows(&rows), &train, 6, 1, Path::new(".")).unwrap();
    assert!(e.s == other.s && e.u == other.u);
}

mod of_mixture {
    use super::super::mixture::{mixture, p_value};
    use crate::dosage::clones::{CloneId, pseudobulks};
    use crate::dosage::residual::Residuals;
    use clcc_data::matrix::Csr;
    use clcc_numerics::rng::Rng;
    use clcc_numerics::stats::auc;

    const GENES: usize = 1200;
    const PROGRAMME: f64 = 0.8;

    struct Tumour {
        residuals: Residuals,
        /// Log copy ratio of each clone and gene.
        copy: Vec<Vec<f64>>,
    }

    /// The cell holds its dosage back, the gene is of the set.
    fn discordant(cell: usize) -> bool {
        (cell % 150).is_multiple_of(4)
    }

    fn of_set(gene: usize) -> bool {
        gene.is_multiple_of(8)
    }

    /// Two clones of 150 cells, 600 altered genes each of 1,200 on twelve chromosomes; in every fourth cell
    /// every eighth gene keeps this share of its response to copy number. The programme runs in every third
    /// cell: a tenth of the genes `1 + programme` times as high, another tenth `1 - programme / 2` (0: there is none).
    fn tumour(response: f64, programme: f64, seed: u64) -> Tumour {
        let mut rng = Rng::new(seed, "mixture test", &[]);
        let mean: Vec<f64> = (0..GENES).map(|_| 0.6 * rng.normal().exp()).collect();
        let ratio = |u: usize, g: usize| -> f64 {
            match (g / 100 + u) % 4 {
                0 => 1.5,
                1 => 0.5,
                _ => 1.0,
            }
        };
        let mut rows = Vec::new();
        for u in 0..2 {
            for i in 0..150 {
                let depth = (0.3 * rng.normal()).exp();
                let row = (0..GENES).filter_map(|g| {
                    let held = discordant(i) && of_set(g);
                    let answer = ratio(u, g).powf(if held { response } else { 1.0 });
                    let runs = match (i % 3, g % 10) {
                        (0, 3) => 1.0 + programme,
                        (0, 7) => 1.0 - programme / 2.0,
                        _ => 1.0,
                    };
                    let rate = depth * mean[g] * answer * runs;
                    let n = rng.gamma(4.0) * rate / 4.0;
                    let n = rng.poisson(n);
                    (n > 0).then_some((g as u32, n as f32))
                });
                rows.push(row.collect::<Vec<_>>());
            }
        }
        let counts = Csr::from_rows(GENES, rows);
        let cnv = Csr::from_rows(1, vec![vec![]; 300]);
        let id = |i: usize| CloneId {
            patient: 0,
            cell_type: String::new(),
            cancer: true,
            group: (i / 150).to_string(),
            unplaced: false,
        };
        let ids: Vec<_> = (0..300).map(|i| Some(id(i))).collect();
        let (clones, _) = pseudobulks(&counts, &cnv, &ids, 2).unwrap();
        let copy: Vec<Vec<f64>> = (0..2)
            .map(|u| (0..GENES).map(|g| f64::ln(ratio(u, g))).collect())
            .collect();
        Tumour {
            residuals: Residuals::new(&counts, &clones, &copy).unwrap(),
            copy,
        }
    }

    #[test]
    fn planted_cells_and_genes_are_found_together() {
        for seed in [2, 3] {
            let t = tumour(0.0, PROGRAMME, seed);
            let found = mixture(&t.residuals, &t.copy).unwrap();
            let cells: Vec<bool> = t.residuals.cells.iter().map(|&i| discordant(i)).collect();
            let altered: Vec<usize> = (0..GENES).filter(|&g| found.genes[g].is_finite()).collect();
            let scores: Vec<f64> = altered.iter().map(|&g| found.genes[g]).collect();
            let set: Vec<bool> = altered.iter().map(|&g| of_set(g)).collect();
            let (cells, genes) = (auc(&found.cells, &cells), auc(&scores, &set));
            assert!(cells > 0.9 && genes > 0.85, "seed {seed}: {cells} {genes}");
            assert!((found.p - 0.25).abs() < 0.1 && (found.pi - 0.125).abs() < 0.06);
            let gain = |programme: f64| {
                let t = tumour(1.0, programme, seed);
                mixture(&t.residuals, &t.copy).unwrap().gain
            };
            // Without the set it fits the programme, some of whose genes go against copy number;
            // without either, nothing.
            let (other, nothing) = (gain(PROGRAMME), gain(0.0));
            assert!(
                found.gain > 1.2 * other && found.gain > 1.4 * nothing,
                "seed {seed}: {} {other} {nothing}",
                found.gain
            );
        }
    }

    #[test]
    fn profiles_laid_elsewhere_fit_as_well_where_nothing_is_planted() {
        let chromosome: Vec<String> = (0..GENES).map(|g| format!("chr{}", g / 100 + 1)).collect();
        let p = |response: f64, programme: f64, seed: u64| {
            let t = tumour(response, programme, seed);
            let gain = mixture(&t.residuals, &t.copy).unwrap().gain;
            p_value(&t.residuals, &t.copy, &chromosome, gain, 9, 5, &|_| Ok(())).unwrap()
        };
        let of = |response: f64, programme: f64, seeds: std::ops::Range<u64>| -> Vec<f64> {
            seeds.map(|s| p(response, programme, s)).collect()
        };
        // The least of nine and the real one is .1.
        let planted = of(0.0, PROGRAMME, 4..7);
        assert!(planted.iter().all(|p| *p <= 0.1), "{planted:?}");
        // Uniform values have a mean of .55; with copy ratios laid elsewhere in place of shifts it is .34 with a
        // programme and .14 to .2 without.
        let (programme, nothing) = (of(1.0, PROGRAMME, 4..10), of(1.0, 0.0, 4..20));
        assert!(
            clcc_numerics::stats::mean(&programme) > 0.4,
            "{programme:?}"
        );
        assert!(clcc_numerics::stats::mean(&nothing) > 0.3, "{nothing:?}");
    }

    #[test]
    fn cells_that_keep_a_third_of_their_response_are_found() {
        for seed in [4, 5, 6] {
            let t = tumour(0.3, PROGRAMME, seed);
            let found = mixture(&t.residuals, &t.copy).unwrap();
            let cells: Vec<bool> = t.residuals.cells.iter().map(|&i| discordant(i)).collect();
            let area = auc(&found.cells, &cells);
            // Where half-known cells count as if they were known: .71, .69 and .64.
            assert!(area > 0.8, "seed {seed}: {area}");
        }
    }

    #[test]
    fn without_an_altered_gene_there_is_no_mixture() {
        let t = tumour(0.0, PROGRAMME, 2);
        assert!(mixture(&t.residuals, &vec![vec![0.0; GENES]; 2]).is_none());
    }
}
