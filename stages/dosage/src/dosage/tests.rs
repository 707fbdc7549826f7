//! Planted truth: genes that escape in every malignant cell, cells that compensate, and nothing.

use super::residual::Residuals;
use super::windows::tests::windows;
use super::*;
use clcc_data::anndata::Reader;
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_numerics::linalg::LinearOperator;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::auc;
use clcc_testing::at_threads;
use clcc_testing::genes;

/// Ten chromosomes of 100 genes.
const SIZES: [(&str, usize); 10] = [
    ("chr1", 100),
    ("chr2", 100),
    ("chr3", 100),
    ("chr4", 100),
    ("chr5", 100),
    ("chr6", 100),
    ("chr7", 100),
    ("chr8", 100),
    ("chr9", 100),
    ("chr10", 100),
];
const N_GENES: usize = 1000;

#[derive(Clone, Copy, Default)]
struct Plant {
    /// Every 10th gene does not follow its copy number in any cell.
    escape: bool,
    /// Every third malignant cell holds back every second gene that is altered in its clone.
    compensate: bool,
    /// A programme of 200 genes, without relation to copy number, in every fourth cell.
    programme: bool,
    /// Every seventh gene is at another level in all malignant cells, for no reason of copies.
    tumour: bool,
}

struct Tumours {
    counts: Csr,
    cnv: Csr,
    ids: Vec<Option<CloneId>>,
    calls: Vec<Option<bool>>,
    compensating: Vec<bool>,
    malignant: Vec<bool>,
    genes: Frame,
    map: GeneWindows,
    /// Genes that are altered in some clone.
    altered: Vec<bool>,
}

/// Copy number of a gene in clone `c` of patient `p`: half of the chromosomes changed, others in
/// each patient; the second clone lacks one of the changes and has another.
fn copy(p: usize, c: usize, gene: usize) -> f64 {
    match (gene / 100 + 3 * p + if c == 2 && gene / 100 >= 8 { 1 } else { 0 }) % 5 {
        0 => 1.5,
        2 => 0.5,
        _ => 1.0,
    }
}

fn is_escape(gene: usize) -> bool {
    gene % 10 == 3
}

/// Three patients with 100 normal cells and two clones of 120 cells, about `depth` counts a cell.
fn tumours(depth: f64, plant: Plant, seed: u64) -> Tumours {
    let mut rng = Rng::new(seed, "dosage test", &[]);
    let base: Vec<f64> = (0..N_GENES).map(|_| (1.2 * rng.normal()).exp()).collect();
    let total: f64 = base.iter().sum();
    let slope: Vec<f64> = (0..N_GENES)
        .map(|g| {
            if plant.escape && is_escape(g) {
                0.0
            } else {
                0.85 + 0.2 * rng.normal()
            }
        })
        .collect();
    let shift: Vec<f64> = (0..N_GENES)
        .map(|g| match (plant.tumour, g % 14) {
            (true, 0) => 2.0,
            (true, 7) => 0.5,
            _ => 1.0,
        })
        .collect();
    let g = genes(&SIZES);
    let w = windows(&SIZES, 20, 5);
    let spans: Vec<(usize, usize)> = w
        .numbers("first_gene")
        .unwrap()
        .iter()
        .zip(w.numbers("last_gene").unwrap())
        .map(|(a, b)| (*a as usize, b as usize))
        .collect();
    let (mut counts, mut cnv, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut compensating, mut malignant) = (Vec::new(), Vec::new());
    for p in 0..3 {
        for (c, n) in [(0, 100), (1, 120), (2, 120)] {
            for i in 0..n {
                let ratio = |gene: usize| if c == 0 { 1.0 } else { copy(p, c, gene) };
                let holds_back = plant.compensate && c > 0 && i % 3 == 0;
                let runs = plant.programme && i % 4 == 1;
                let library = depth * (0.4 * rng.normal()).exp();
                let mut row = Vec::new();
                for gene in 0..N_GENES {
                    let answer = if holds_back && gene % 2 == 0 {
                        0.0
                    } else {
                        slope[gene]
                    };
                    let programme = if runs && gene % 5 == 4 {
                        if gene % 2 == 0 { 2.5 } else { 0.4 }
                    } else {
                        1.0
                    };
                    let level = if c > 0 { shift[gene] } else { 1.0 };
                    let mu = library * base[gene] / total
                        * f64::powf(ratio(gene), answer)
                        * programme
                        * level;
                    // Overdispersion 0.1.
                    let n = rng.gamma(10.0) * mu / 10.0;
                    let n = rng.poisson(n);
                    if n > 0 {
                        row.push((gene as u32, n as f32));
                    }
                }
                counts.push(row);
                // As infercnv: smoothed, attenuated, noisy.
                let window = |&(a, b): &(usize, usize)| {
                    let m =
                        (a..=b).map(|gene| f64::ln(ratio(gene))).sum::<f64>() / (b - a + 1) as f64;
                    (0.15 * m + 0.02 * rng.normal()) as f32
                };
                cnv.push(
                    spans
                        .iter()
                        .map(window)
                        .enumerate()
                        .map(|(k, v)| (k as u32, v))
                        .collect::<Vec<_>>(),
                );
                ids.push(Some(CloneId {
                    patient: p as u32,
                    cell_type: "Epithelial cells".into(),
                    cancer: c > 0,
                    group: c.to_string(),
                    unplaced: false,
                }));
                compensating.push(holds_back);
                malignant.push(c > 0);
            }
        }
    }
    let map = GeneWindows::new(&g.index, &w, &g).unwrap();
    let altered = (0..N_GENES)
        .map(|gene| (0..3).any(|p| (1..3).any(|c| copy(p, c, gene) != 1.0)))
        .collect();
    Tumours {
        counts: Csr::from_rows(N_GENES, counts),
        cnv: Csr::from_rows(spans.len(), cnv),
        calls: vec![None; ids.len()],
        ids,
        compensating,
        malignant,
        genes: g,
        map,
        altered,
    }
}

/// The cells without calls of `cluster`.
fn cells<'a>(t: &'a Tumours, counts: &'a Csr) -> Cells<'a> {
    Cells {
        counts,
        cnv: &t.cnv,
        ids: &t.ids,
        calls: &t.calls,
    }
}

fn run(t: &Tumours, n_null: usize) -> Analysis {
    let params = DosageParams {
        n_null,
        ..DosageParams::default()
    };
    let chromosome = t.genes.texts("chromosome").unwrap();
    analyse(
        cells(t, &t.counts),
        &t.map,
        Places {
            chromosome: &chromosome,
            arm: &chromosome,
            excluded: &[false; N_GENES],
        },
        &params,
        1,
        &|_, _| Ok(()),
    )
    .unwrap()
}

#[test]
fn constitutive_escape_is_ranked_by_slope() {
    let t = tumours(
        3000.0,
        Plant {
            escape: true,
            ..Plant::default()
        },
        1,
    );
    let found = run(&t, 19);
    let tested: Vec<usize> = (0..N_GENES)
        .filter(|&g| t.altered[g] && found.slopes.genes[g].slope.is_finite())
        .collect();
    assert!(tested.len() > 500, "{} genes tested", tested.len());
    let scores: Vec<f64> = tested
        .iter()
        .map(|&g| -found.slopes.genes[g].slope)
        .collect();
    let labels: Vec<bool> = tested.iter().map(|&g| is_escape(g)).collect();
    let area = auc(&scores, &labels);
    assert!(area >= 0.93, "AUROC {area}");
    // Scale: genes that follow have slope 1 on average, escape genes 0.
    let mean_of = |escape: bool| {
        let s: Vec<f64> = tested
            .iter()
            .filter(|&&g| is_escape(g) == escape)
            .map(|&g| found.slopes.genes[g].slope)
            .collect();
        clcc_numerics::stats::mean(&s)
    };
    assert!(
        (mean_of(false) - 1.1).abs() < 0.15 && mean_of(true).abs() < 0.15,
        "{} {}",
        mean_of(false),
        mean_of(true)
    );
    let class = |escape: bool, class: Class| {
        tested
            .iter()
            .filter(|&&g| is_escape(g) == escape && found.slopes.genes[g].class == class)
            .count()
    };
    assert!(
        class(true, Class::Insensitive) > 2 * class(true, Class::Sensitive),
        "escape genes are called insensitive"
    );
    assert!(
        class(false, Class::Sensitive) > 10 * class(false, Class::Insensitive),
        "the others sensitive"
    );
}

fn slopes_of(t: &Tumours, params: &DosageParams) -> Slopes {
    let (clones, n) = pseudobulks(&t.counts, &t.cnv, &t.ids, params.min_cells).unwrap();
    let rates = Rates::new(&clones, n, params.min_count);
    let along = Along {
        arm: &t.genes.texts("chromosome").unwrap(),
        map: &t.map,
        scale: window_scale(&rates, &clones, n, &t.map).0,
        excluded: &[false; N_GENES],
    };
    let by_counts = ByCounts::new(&clones, &rates, along.arm, along.excluded);
    let called = vec![None; clones.len()];
    let malignant = malignant(&clones, &by_counts, along, &called, params.altered);
    slopes(&clones, n, &by_counts, &malignant, along, params)
}

#[test]
fn without_a_clone_of_enough_cells_nothing_is_said() {
    let t = tumours(150.0, Plant::default(), 3);
    let chromosome = t.genes.texts("chromosome").unwrap();
    let params = DosageParams {
        min_cells: 1000,
        ..DosageParams::default()
    };
    let places = Places {
        chromosome: &chromosome,
        arm: &chromosome,
        excluded: &[false; N_GENES],
    };
    let step = |_: usize, _: usize| Ok(());
    let found = analyse(cells(&t, &t.counts), &t.map, places, &params, 1, &step).unwrap();
    assert!(found.clones.is_empty() && found.scores.is_none() && found.slopes.n_clones == 0);
    assert!(
        found
            .slopes
            .genes
            .iter()
            .all(|g| g.class == Class::Untested)
    );
    let warnings = found.warnings(&params);
    assert!(
        warnings.len() == 1 && warnings[0].contains("no clone has 1000 cells"),
        "{warnings:?}"
    );
}

#[test]
fn cells_of_no_clone_are_scored_and_do_not_make_the_factors() {
    let plant = Plant {
        compensate: true,
        ..Plant::default()
    };
    let mut t = tumours(3000.0, plant, 8);
    // Of each patient 25 normal and 25 malignant cells that no clone took.
    let rest: Vec<usize> = (0..3)
        .flat_map(|p| (340 * p + 75)..(340 * p + 125))
        .collect();
    for &i in &rest {
        let id = t.ids[i].as_mut().unwrap();
        id.cancer = true;
        id.group = "rest".into();
        id.unplaced = true;
    }
    let leading = |t: &Tumours| {
        let found = run(t, 0);
        let loadings = found.scores.as_ref().unwrap().factors[0].loadings.clone();
        (found.cells, loadings)
    };
    let (cells, loadings) = leading(&t);
    assert!(rest.iter().all(|i| cells.contains(i)));
    for &i in &rest {
        t.ids[i].as_mut().unwrap().unplaced = false;
    }
    let (_, as_a_clone) = leading(&t);
    for &i in &rest {
        t.ids[i] = None;
    }
    let (cells, without) = leading(&t);
    assert!(rest.iter().all(|i| !cells.contains(i)));
    let unlike = |a: &[f64]| 1.0 - a.iter().zip(&without).map(|(a, b)| a * b).sum::<f64>();
    let (unplaced, as_a_clone) = (unlike(&loadings), unlike(&as_a_clone));
    assert!(
        unplaced < 0.001 && unplaced < 0.5 * as_a_clone,
        "{unplaced} {as_a_clone}"
    );
}

#[test]
fn without_a_malignant_clone_no_gene_is_tested() {
    let t = tumours(3000.0, Plant::default(), 8);
    let params = DosageParams {
        altered: 9.0,
        ..DosageParams::default()
    };
    let found = slopes_of(&t, &params);
    let untested = |g: &slope::GeneDosage| g.class == Class::Untested && g.slope.is_nan();
    assert!(found.genes.iter().all(untested));
    let why = |g: &&slope::GeneDosage| g.reason.contains("no malignant clone");
    assert!(found.genes.iter().filter(why).count() > N_GENES / 2);
}

#[test]
fn what_all_tumours_share_is_no_dosage() {
    let plant = Plant {
        escape: true,
        tumour: true,
        ..Plant::default()
    };
    let t = tumours(3000.0, plant, 8);
    // Distance of the shifted genes from the others, and the ranking of escape.
    let measure = |tumour_level: TumourLevel| {
        let params = DosageParams {
            tumour_level,
            // Without the level the shifted genes are too uncertain to be tested at all.
            max_se: 100.0,
            ..DosageParams::default()
        };
        let found = slopes_of(&t, &params);
        assert_eq!(
            found.tumour_level_sd.is_some(),
            tumour_level != TumourLevel::None
        );
        let tested: Vec<usize> = (0..N_GENES)
            .filter(|&g| t.altered[g] && found.genes[g].slope.is_finite())
            .collect();
        let follow = |shifted: bool| -> Vec<f64> {
            tested
                .iter()
                .filter(|&&g| !is_escape(g) && g.is_multiple_of(7) == shifted)
                .map(|&g| found.genes[g].slope)
                .collect()
        };
        let middle = clcc_numerics::stats::median(&follow(false));
        let off: Vec<f64> = follow(true).iter().map(|s| (s - middle).abs()).collect();
        let scores: Vec<f64> = tested.iter().map(|&g| -found.genes[g].slope).collect();
        let labels: Vec<bool> = tested.iter().map(|&g| is_escape(g)).collect();
        (clcc_numerics::stats::mean(&off), auc(&scores, &labels))
    };
    let (with, area) = measure(TumourLevel::Auto);
    let (without, _) = measure(TumourLevel::None);
    assert!(
        area >= 0.93 && with < 0.8 * without,
        "AUROC {area}; off by {with} with the level, {without} without"
    );
}

#[test]
fn slopes_that_tell_nothing_are_told_but_not_tested() {
    let t = tumours(150.0, Plant::default(), 3);
    let found = run(&t, 19).slopes;
    let uncertain = |g: &&slope::GeneDosage| g.reason.contains("too uncertain");
    assert!(found.genes.iter().filter(uncertain).count() > 20);
    for gene in &found.genes {
        let tested = gene.class != Class::Untested;
        assert!(gene.reason.is_empty() == tested);
        assert!(tested == gene.zero.0.p.is_finite() && tested == gene.one.1.is_finite());
        assert!(!tested || gene.se <= 0.5, "{gene:?}");
        if uncertain(&gene) {
            assert!(gene.slope.is_finite() && gene.se > 0.5, "{gene:?}");
        }
        // Drawn to 1, never past it.
        assert_eq!(gene.slope.is_nan(), gene.shrunken.is_nan());
        let (told, drawn) = (gene.slope - 1.0, gene.shrunken - 1.0);
        assert!(
            told.is_nan() || (drawn.abs() <= told.abs() && drawn * told >= 0.0),
            "{gene:?}"
        );
    }
}

#[test]
fn intervals_hold_the_slope_of_genes_that_do_not_answer() {
    let t = tumours(
        3000.0,
        Plant {
            escape: true,
            ..Plant::default()
        },
        4,
    );
    let found = run(&t, 19);
    let escape: Vec<&slope::GeneDosage> = (0..N_GENES)
        .filter(|&g| is_escape(g))
        .map(|g| &found.slopes.genes[g])
        .filter(|g| g.slope.is_finite())
        .collect();
    let held = escape
        .iter()
        .filter(|g| g.interval.0 <= 0.0 && g.interval.1 >= 0.0)
        .count() as f64
        / escape.len() as f64;
    assert!(held > 0.88, "{held} of {}", escape.len());
}

#[test]
fn compensating_cells_are_found_despite_an_unrelated_programme() {
    for (programme, sum_least, factor_least) in [(false, 0.85, 0.95), (true, 0.8, 0.95)] {
        let t = tumours(
            5000.0,
            Plant {
                compensate: true,
                programme,
                ..Plant::default()
            },
            2,
        );
        let found = run(&t, 39);
        let scores = found.scores.as_ref().unwrap();
        let labels: Vec<bool> = found.cells.iter().map(|&i| t.compensating[i]).collect();
        assert!(found.cells.iter().all(|&i| t.malignant[i]));
        let sum = auc(&scores.shortfall, &labels);
        assert!(sum >= sum_least, "sum, programme {programme}: {sum}");
        let above: Vec<&factors::Factor> = scores
            .factors
            .iter()
            .filter(|f| f.p <= write::ABOVE_NULL)
            .collect();
        let best = above
            .iter()
            .map(|f| auc(&f.scores, &labels))
            .fold(0.0, f64::max);
        assert!(
            best >= factor_least,
            "factor above the null, programme {programme}: {best} of {}",
            above.len()
        );
        // Its loadings name the genes.
        let factor = above
            .iter()
            .max_by(|a, b| auc(&a.scores, &labels).total_cmp(&auc(&b.scores, &labels)))
            .unwrap();
        let altered: Vec<usize> = (0..N_GENES)
            .filter(|&g| factor.loadings[g] != 0.0)
            .collect();
        let loadings: Vec<f64> = altered.iter().map(|&g| factor.loadings[g]).collect();
        let genes = auc(
            &loadings,
            &altered.iter().map(|g| g % 2 == 0).collect::<Vec<_>>(),
        );
        assert!(genes > 0.7, "genes, programme {programme}: {genes}");
    }
}

#[test]
fn nothing_planted_gives_no_factor_above_the_null() {
    // 6 data sets, each above its null with probability 0.025: two or more have probability 0.009.
    let mut above = Vec::new();
    for seed in 0..6 {
        let programme = seed % 2 == 1;
        let t = tumours(
            1500.0,
            Plant {
                programme,
                ..Plant::default()
            },
            100 + seed,
        );
        let scores = run(&t, 39).scores.unwrap();
        let least = scores.factors.iter().map(|f| f.p).fold(1.0, f64::min);
        if least <= write::ABOVE_NULL {
            above.push((seed, least));
        }
        assert!(
            (scores.shortfall_sd.0 - 1.0).abs() < 0.25,
            "{}",
            scores.shortfall_sd.0
        );
    }
    assert!(above.len() <= 1, "{above:?}");
}

#[test]
fn the_operator_is_the_filled_in_matrix() {
    let t = tumours(400.0, Plant::default(), 5);
    let found = run(&t, 19);
    let residuals = Residuals::new(&t.counts, &found.clones, &found.copy).unwrap();
    let rows: Vec<usize> = (0..residuals.n_cells()).step_by(23).collect();
    let few = residuals.take(&rows);
    let signed = few.signed(&found.copy);
    // S filled in: what a one at gene g gives.
    let filled = signed.apply(&ndarray::Array2::eye(N_GENES));
    let mut rng = Rng::new(1, "y", &[]);
    let y = ndarray::Array2::from_shape_simple_fn((rows.len(), 2), || rng.normal());
    let difference = (signed.apply_t(&y) - filled.t().dot(&y))
        .iter()
        .fold(0.0_f64, |m, v| m.max(v.abs()));
    assert!(difference < 1e-9, "{difference}");
    assert!((signed.squared_norm() / filled.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-9);
    // The sum over genes, and one entry from its definition.
    let sums = few.sums(std::slice::from_ref(&found.copy));
    for i in [0, 3, 7] {
        let u = few.clone_of[i];
        let norm = (0..N_GENES)
            .filter(|&g| few.has(u, g))
            .map(|g| found.copy[u][g].powi(2))
            .sum::<f64>()
            .sqrt();
        assert!((sums[0][i] - filled.row(i).sum() / norm).abs() < 1e-6);
    }
    let (i, u) = (3, few.clone_of[3]);
    let clone = &found.clones[u];
    let library = |c: usize| t.counts.row(c).1.iter().sum::<f32>();
    let depth = f64::from(library(few.cells[i])) * clone.cells.len() as f64 / clone.library;
    let zero = (0..N_GENES)
        .find(|&g| t.counts.get(few.cells[i], g) == 0.0 && filled[[i, g]] != 0.0)
        .unwrap();
    let mu = clone.counts[zero] / clone.cells.len() as f64;
    // Between the Poisson residual of a zero and the one with the largest overdispersion allowed.
    let r = -filled[[i, zero]] / found.copy[u][zero];
    let bounds = (
        (depth * mu / (1.0 + 10.0 * mu)).sqrt(),
        (depth * mu / (1.0 + 0.01 * mu)).sqrt(),
    );
    assert!(
        r >= bounds.0 - 1e-9 && r <= bounds.1 + 1e-9,
        "{r} {bounds:?}"
    );
}

#[test]
fn without_copy_number_changes_nothing_is_claimed() {
    let mut t = tumours(800.0, Plant::default(), 6);
    // Copy number without relation to the counts.
    let mut rng = Rng::new(9, "noise", &[]);
    let rows = (0..t.cnv.n_rows())
        .map(|_| {
            (0..t.cnv.n_cols() as u32)
                .map(|w| (w, 0.02 * rng.normal() as f32))
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    t.cnv = Csr::from_rows(t.cnv.n_cols(), rows);
    let found = run(&t, 19);
    assert!(
        found.scale.is_nan()
            || found
                .slopes
                .genes
                .iter()
                .all(|g| g.spread.is_nan() || g.spread < 1.0)
    );
    let tested = found
        .slopes
        .genes
        .iter()
        .filter(|g| g.class != Class::Untested)
        .count();
    assert_eq!(tested, 0, "scale {}, t {}", found.scale, found.scale_t);
    assert!(found.scores.is_none());
    assert_eq!(found.warnings(&DosageParams::default()).len(), 1);
    assert!(
        found.slopes.genes[0].reason.contains("does not follow"),
        "{}",
        found.slopes.genes[0].reason
    );
}

#[test]
fn threads_do_not_change_a_bit() {
    let t = tumours(
        600.0,
        Plant {
            compensate: true,
            ..Plant::default()
        },
        7,
    );
    let at = |threads| at_threads(threads, || run(&t, 19));
    let (one, three) = (at(1), at(3));
    let bits = |a: &Analysis| -> Vec<u64> {
        let s = a.scores.as_ref().unwrap();
        let slopes = a.slopes.genes.iter().map(|g| g.slope.to_bits());
        slopes
            .chain(s.shortfall_z.iter().map(|v| v.to_bits()))
            .chain(
                s.factors
                    .iter()
                    .flat_map(|f| f.scores.iter().map(|v| v.to_bits())),
            )
            .collect()
    };
    assert_eq!(bits(&one), bits(&three));
}

/// `dosage_clones.h5ad` has the counts, and the points around the line that was fitted: weighted by
/// their precision, a stratum's residuals sum to 0.
#[test]
fn the_published_points_lie_around_the_fitted_line() {
    let plant = Plant {
        escape: true,
        ..Plant::default()
    };
    let t = tumours(2000.0, plant, 12);
    let found = run(&t, 0);
    let patients = ["A", "B", "C"].map(String::from).to_vec();
    let cohort = Cohort {
        patients: patients.clone(),
        patient_of: t.ids.iter().flatten().map(|id| id.patient).collect(),
        obs: Frame::new((0..t.ids.len()).map(|i| i.to_string()).collect()),
        var: t.genes.clone(),
    };
    let dir = tempfile::tempdir().unwrap();
    clone_genes::write(dir.path(), &cohort, &found, &DosageParams::default()).unwrap();
    let reader = Reader::open(&dir.path().join(clone_genes::FILE)).unwrap();
    let obs = reader.obs().unwrap();
    assert_eq!(obs.len(), 9);
    let patient = obs.texts("patient").unwrap();
    let counts = reader.x().unwrap().into_csr();
    let layer = |name: &str| match reader.layer(name).unwrap() {
        clcc_data::matrix::Matrix::Dense(m) => m,
        clcc_data::matrix::Matrix::Csr(_) => panic!("{name} is sparse"),
    };
    let [x, y, se] = ["log_copy_ratio", "log_ratio", "log_ratio_se"].map(layer);
    let mut fitted = 0;
    for (g, gene) in found.slopes.genes.iter().enumerate() {
        for (u, clone) in found.clones.iter().enumerate() {
            assert_eq!(f64::from(counts.get(u, g)), clone.counts[g]);
        }
        for name in &patients {
            let rows = || (0..9).filter(|&u| patient[u] == *name && y[[u, g]].is_finite());
            let residual = |u: usize| f64::from(y[[u, g]]) - gene.slope * f64::from(x[[u, g]]);
            let weight = |u: usize| f64::from(se[[u, g]]).powi(-2);
            let sum: f64 = rows().map(|u| weight(u) * residual(u)).sum();
            let total: f64 = rows().map(weight).sum();
            if gene.slope.is_finite() && total > 0.0 {
                assert!((sum / total).abs() < 1e-4, "gene {g}: {}", sum / total);
                fitted += 1;
            } else {
                assert_eq!(rows().count(), 0);
            }
        }
    }
    assert!(fitted > 1500, "{fitted}");
}

#[test]
fn excluded_genes_are_neither_tested_nor_neighbours_nor_altered() {
    let t = tumours(2000.0, Plant::default(), 13);
    let chromosome = t.genes.texts("chromosome").unwrap();
    // Thirty neighbours of chr3 that one tumour expresses twenty times as much.
    let rows = (0..t.counts.n_rows()).map(|i| {
        let (columns, values) = t.counts.row(i);
        let cells = columns.iter().zip(values).map(|(&g, &v)| {
            let many = t.malignant[i] && i < 340 && (220..250).contains(&g);
            (g, if many { 20.0 * v } else { v })
        });
        cells.collect::<Vec<_>>()
    });
    let counts = Csr::from_rows(N_GENES, rows.collect::<Vec<_>>());
    let at = |excluded: &[bool]| {
        let places = Places {
            chromosome: &chromosome,
            arm: &chromosome,
            excluded,
        };
        let params = DosageParams::default();
        let step = |_: usize, _: usize| Ok(());
        analyse(cells(&t, &counts), &t.map, places, &params, 1, &step).unwrap()
    };
    let locus: Vec<bool> = (0..N_GENES).map(|g| (220..250).contains(&g)).collect();
    let (with, without) = (at(&[false; N_GENES]), at(&locus));
    let spread = |found: &Analysis, genes: std::ops::Range<usize>| {
        let of = |g: usize| found.slopes.genes[g].spread;
        genes.map(of).fold(0.0, f64::max)
    };
    // The locus is a segment of its own, whose neighbours say what no copy number does.
    assert!(spread(&with, 220..250) > 1.5, "{}", spread(&with, 220..250));
    for found in [&with, &without] {
        assert!(spread(found, 205..220) < 0.8, "{}", spread(found, 205..220));
    }
    for g in 220..250 {
        let gene = &without.slopes.genes[g];
        assert!(
            gene.class == Class::Untested && gene.reason.contains("excluded"),
            "{gene:?}"
        );
        assert!(without.copy.iter().all(|c| c[g] == 0.0));
    }
}
