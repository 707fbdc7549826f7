//! Counts with the marginals of a file have its means, dispersions and library sizes.

use super::hard_tests::context;
use super::tests::counts;
use super::*;
use clcc_data::anndata::AnnData;
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::{median, pearson, quantile};

/// Share of each gene, its dispersion around share x library size, and library sizes.
fn marginals_of(parts: &[Csr]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let refs: Vec<&Csr> = parts.iter().collect();
    let x = Csr::vstack(&refs);
    let totals = x.row_sums();
    let all: f64 = totals.iter().sum();
    let by_gene = x.transpose();
    let (mut share, mut dispersion) = (Vec::new(), Vec::new());
    for g in 0..x.n_cols() {
        let (cells, values) = by_gene.row(g);
        let own: f64 = values.iter().map(|v| f64::from(*v)).sum::<f64>() / all;
        let mut n = vec![0.0; totals.len()];
        cells
            .iter()
            .zip(values)
            .for_each(|(&c, &v)| n[c as usize] = f64::from(v));
        let (mut above, mut squares) = (0.0, 0.0);
        for (n, t) in n.iter().zip(&totals) {
            let mu = own * t;
            above += (n - mu).powi(2) - mu;
            squares += mu * mu;
        }
        share.push(own);
        dispersion.push(above / squares);
    }
    (share, dispersion, totals)
}

/// Counts of four patients that are fitted to `real`, and `real`, both over the genes that they share;
/// mitochondrial and cell-cycle genes vary for reasons of their own.
fn both(real: &AnnData, params: &SimulateParams) -> (Csr, Vec<Csr>) {
    let x = real.x.clone().unwrap().into_csr();
    let world = World::fitted(params, 3, &Marginals::new(&real.var.index, x.clone())).unwrap();
    let place = |g: usize| {
        let gene = &world.genes[g];
        let at = real.var.index.iter().position(|n| *n == gene.name);
        at.filter(|_| gene.chromosome != "chrM" && gene.phase.is_none())
    };
    let (own, of_real): (Vec<usize>, Vec<usize>) = (0..world.genes.len())
        .filter_map(|g| place(g).map(|r| (g, r)))
        .unzip();
    assert!(own.len() > 600, "{}", own.len());
    let simulated = ["A", "B", "C", "D"].map(|name| {
        let plan = PatientPlan::standard(name, params);
        let patient = simulate_patient(&world, &plan, params, 3).unwrap();
        counts(&patient).take_cols(&own)
    });
    (x.take_cols(&of_real), simulated.to_vec())
}

#[allow(
    clippy::print_stderr,
    reason = "docs/stages.md quotes these correlations"
)]
fn assert_fitted(real: &AnnData, params: &SimulateParams) {
    let (real, simulated) = both(real, params);
    let (share, dispersion, totals) = marginals_of(&[real]);
    let (found, spread, sizes) = marginals_of(&simulated);
    let all: f64 = totals.iter().sum();
    let seen: Vec<usize> = (0..share.len())
        .filter(|&g| share[g] * all > 200.0)
        .collect();
    let log = |v: &[f64], least: f64| -> Vec<f64> {
        seen.iter().map(|&g| (v[g].max(0.0) + least).ln()).collect()
    };
    let (a, b) = (log(&share, 1e-9), log(&found, 1e-9));
    let off: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let of_means = pearson(&a, &b).r;
    // The patients' own shifts (sd .4 of one gene in ten, and of tumours) are not fitted.
    assert!(
        of_means > 0.97 && median(&off).abs() < 0.08,
        "means: r {of_means}, {}",
        median(&off)
    );
    let of_dispersions = pearson(&log(&dispersion, 0.1), &log(&spread, 0.1)).r;
    let middle = |v: &[f64]| median(&seen.iter().map(|&g| v[g]).collect::<Vec<f64>>());
    let (p, q) = (middle(&dispersion), middle(&spread));
    assert!(
        of_dispersions > 0.75 && (q / p - 1.0).abs() < 0.2,
        "dispersions: r {of_dispersions}, {q} for {p}"
    );
    eprintln!(
        "{} genes: r {of_means:.3} of log means, {of_dispersions:.3} of log dispersions",
        seen.len()
    );
    for level in [0.1, 0.5, 0.9] {
        let (real, ours) = (quantile(&totals, level), quantile(&sizes, level));
        assert!(
            (ours / real - 1.0).abs() < 0.1,
            "library sizes at {level}: {ours} for {real}"
        );
    }
}

fn small() -> SimulateParams {
    SimulateParams {
        n_cells: 800,
        n_genes: 1000,
        ..SimulateParams::default()
    }
}

/// 1,500 cells of about 3,000 counts; 800 genes with dispersions from .3 to 5 (the types of the simulation
/// alone have about .2).
fn drawn() -> AnnData {
    let more = SimulateParams {
        n_genes: 1600,
        ..small()
    };
    let world = World::new(&more, 9).unwrap();
    let every_second = world.genes.iter().step_by(2);
    let names: Vec<String> = every_second.map(|g| g.name.clone()).collect();
    let mut rng = Rng::new(1, "fitted test", &[]);
    let genes: Vec<(f64, f64)> = (0..names.len())
        .map(|_| ((1.5 * rng.normal()).exp(), 0.3 * 17f64.powf(rng.uniform())))
        .collect();
    let total: f64 = genes.iter().map(|g| g.0).sum();
    let mut row = |_| {
        let depth = 3000.0 * (0.5 * rng.normal()).exp();
        let mut draw = |(mean, phi): &(f64, f64)| {
            let rate = depth * mean / total * phi * rng.gamma(1.0 / phi);
            rng.poisson(rate) as f32
        };
        let counts: Vec<f32> = genes.iter().map(&mut draw).collect();
        (0..).zip(counts).filter(|(_, n)| *n > 0.0).collect()
    };
    let rows: Vec<Vec<(u32, f32)>> = (0..1500).map(&mut row).collect();
    AnnData {
        obs: Frame::new((0..1500).map(|c| c.to_string()).collect()),
        var: Frame::new(names),
        x: Some(Matrix::Csr(Csr::from_rows(800, rows))),
        ..AnnData::default()
    }
}

#[test]
fn fitted_marginals_are_those_of_the_counts() {
    assert_fitted(&drawn(), &small());
}

#[test]
fn fitted_marginals_are_those_of_ovarian_tumours() {
    let Some(path) = clcc_testing::shared_data("qian2020_ovarian/Qian2020_Ovarian.h5ad") else {
        return;
    };
    let reader = clcc_data::anndata::Reader::open(&path).unwrap();
    let params = SimulateParams {
        n_genes: 4000,
        ..small()
    };
    assert_fitted(&reader.read().unwrap(), &params);
}

#[test]
fn marginals_are_a_file_input_of_whole_counts() {
    let real = drawn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("real.h5ad");
    real.write_h5ad(&path).unwrap();
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let mut ctx = context(dir.path(), &["A"], &cancel);
    let median_counts = |ctx: &StageContext<'_>| {
        let metrics = Simulate::run(ctx, &small()).unwrap();
        metrics["median_total_counts"].as_f64().unwrap()
    };
    let free = median_counts(&ctx);
    assert!((free / 4000.0 - 1.0).abs() < 0.2, "{free}");
    assert_eq!(Simulate::file_inputs(&small())[0].role, "marginals");
    ctx.out_dir = dir.path().join("fitted");
    ctx.inputs.push(InputArtifact {
        role: "marginals".into(),
        branch: clcc_stage::stage::Branch::new(),
        path,
        format: Some("h5ad".into()),
        builtin: None,
    });
    let fitted = median_counts(&ctx);
    // 3,000 of the file's genes, and what a fifth of the genes that it lacks have.
    assert!((2500.0..4000.0).contains(&fitted), "{fitted}");
    let halves = dir.path().join("halves.h5ad");
    AnnData {
        x: real
            .x
            .map(|x| Matrix::Csr(x.into_csr().map(|_, _, v| v / 2.0))),
        ..real
    }
    .write_h5ad(&halves)
    .unwrap();
    let refused = Marginals::fit(&halves).unwrap_err().to_string();
    assert!(refused.contains("whole counts"), "{refused}");
}
