//! `infercnv` compared with infercnvpy: truth on simulated patients, then speed.
//!
//! cargo bench -p clcc-stages --bench infercnv -- [truth|hmm|speed|memory]
//!
//! The peer runs as a child process of the Python that `CLCC_PEER_PYTHON` names, on the same file.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(missing_docs, reason = "a benchmark has no users")]

mod cnv;

use clcc_stages::anndata::{AnnData, Reader, Uns};
use clcc_stages::cluster::{ClusterParams, cluster_profiles, malignancy};
use clcc_stages::infercnv::hmm::{HmmParams, HmmType, RatioMatrix, viterbi};
use clcc_stages::infercnv::{GenePositions, InfercnvParams, Method, annotate, annotate_hmm};
use clcc_stages::matrix::Csr;
use clcc_stages::simulate::{Patient, SimulateParams};
use clcc_stages::stage::Quiet;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if runs("truth") {
        truth();
    }
    if runs("hmm") {
        hmm();
    }
    if runs("speed") {
        speed();
    }
    if runs("memory") {
        memory();
    }
}

/// Seconds and processor seconds of the fastest of `n` runs, and the last result.
fn fastest_cpu<T>(n: usize, mut f: impl FnMut() -> T) -> (f64, f64, T) {
    let (mut best, mut cpu) = (f64::INFINITY, f64::INFINITY);
    let mut last = None;
    for _ in 0..n {
        let (start, before) = (std::time::Instant::now(), cnv::cpu_seconds());
        last = Some(f());
        best = best.min(start.elapsed().as_secs_f64());
        cpu = cpu.min(cnv::cpu_seconds() - before);
    }
    (best, cpu, last.expect("at least one run"))
}

fn fastest<T>(n: usize, f: impl FnMut() -> T) -> (f64, T) {
    let (seconds, _, last) = fastest_cpu(n, f);
    (seconds, last)
}

/// The patient of the speed figures: 8,000 cells x 29,634 genes.
fn large() -> AnnData {
    let params = SimulateParams {
        n_cells: 8000,
        n_genes: 29_634,
        ..SimulateParams::default()
    };
    cnv::patient(&params, 1).1
}

/// `method: window` compared with infercnvpy with two processes; data in memory on both sides.
fn speed() {
    let expr = large();
    let x = cnv::csr(expr.x.as_ref().expect("expression"));
    println!(
        "\nspeed: {} cells x {} genes, {:.0} genes a cell; window 250 step 10",
        x.n_rows(),
        x.n_cols(),
        x.nnz() as f64 / x.n_rows() as f64
    );
    let params = InfercnvParams {
        window_size: 250,
        ..InfercnvParams::default()
    };
    let run = || annotate(&expr.obs, &expr.var, &x, &params, &Quiet).expect("copy number");
    let (ours, cpu, (cnv, _)) = fastest_cpu(5, run);
    println!(
        "ours: {ours:.3} s ({cpu:.2} s of processor), {} windows",
        cnv::windows(&cnv).len()
    );
    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("expr"), dir.path().join("peer"));
    expr.write_zarr(&input).expect("written");
    let args = [
        input.to_str().expect("a path"),
        output.to_str().expect("a path"),
        "250",
        "10",
        "2",
    ];
    if cnv::peer("infercnv_speed.py", &args) {
        let peer = cnv::numbers(&output);
        println!(
            "infercnvpy: {:.3} s ({:.2} s of processor), {} windows; ratio {:.1} (of processor seconds {:.1})",
            peer["seconds"],
            peer["cpu"],
            peer["windows"],
            peer["seconds"] / ours,
            peer["cpu"] / cpu
        );
    }
}

/// Peak memory of both methods on 80,000 cells, the input included.
fn memory() {
    let mut expr = large();
    let (x, counts) = (
        cnv::csr(expr.x.as_ref().expect("expression")),
        cnv::csr(&expr.layers["counts"]),
    );
    let obs = expr
        .obs
        .take(&(0..80_000).map(|i| i % 8000).collect::<Vec<_>>());
    expr.x = None;
    expr.layers.clear();
    let stack = |x: &Csr| Csr::vstack(&[x; 10]);
    let big = stack(&x);
    drop(x);
    let params = InfercnvParams {
        window_size: 250,
        ..InfercnvParams::default()
    };
    let (seconds, _) = fastest(1, || {
        annotate(&obs, &expr.var, &big, &params, &Quiet).expect("copy number")
    });
    println!(
        "\nwindow, {} cells: {seconds:.1} s, peak {:.2} GiB",
        big.n_rows(),
        peak_gib()
    );
    drop(big);
    let big = stack(&counts);
    drop(counts);
    let params = InfercnvParams {
        method: Method::Hmm,
        ..InfercnvParams::default()
    };
    let (seconds, _) = fastest(1, || {
        annotate_hmm(&obs, &expr.var, &big, &params, &Quiet).expect("copy number")
    });
    println!(
        "hmm, {} cells: {seconds:.1} s, peak {:.2} GiB",
        big.n_rows(),
        peak_gib()
    );
}

fn peak_gib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<f64>().ok())
        .map_or(f64::NAN, |kb| kb / 1024.0 / 1024.0)
}

/// `method: hmm` compared with cnvturbo on the same counts: ratios, and states on its subclusters and levels.
fn hmm() {
    let (_, expr) = cnv::patient(&SimulateParams::default(), 1);
    beside_cnvturbo("simulate defaults, seed 1", &expr, 0.1);
    if let Some(path) = cnv::shared("oligodendroglioma/oligodendroglioma.h5ad") {
        use clcc_stages::preprocess::{CancerVsNormal, Counts, PreprocessParams, preprocess};
        let normal = ["Microglia/Macrophage", "Oligodendrocytes (non-malignant)"].map(String::from);
        let rule = CancerVsNormal {
            column: "cell_type".into(),
            normal: normal.to_vec(),
            cancer: vec![],
        };
        let params = PreprocessParams {
            counts: Counts::Any,
            cancer_vs_normal: Some(rule),
            ..PreprocessParams::default()
        };
        let data = Reader::open(&path).expect("the file").read().expect("read");
        let expr = preprocess(data, None, &params, &Quiet)
            .expect("expression")
            .expr;
        beside_cnvturbo("oligodendroglioma", &expr, 1.0);
    }
}

fn beside_cnvturbo(name: &str, expr: &AnnData, cutoff: f64) {
    let counts = cnv::csr(&expr.layers["counts"]);
    let hmm = HmmParams {
        cutoff,
        ..HmmParams::default()
    };
    let params = InfercnvParams {
        method: Method::Hmm,
        hmm,
        ..InfercnvParams::default()
    };
    let (seconds, (found, _, metrics)) = fastest(1, || {
        annotate_hmm(&expr.obs, &expr.var, &counts, &params, &Quiet).expect("copy number")
    });
    println!(
        "\nhmm, {name}: {seconds:.2} s, {} genes, {} subclusters, {} regions, {} kept",
        found.layout.genes.len(),
        found.subclusters.len(),
        metrics["n_regions_called"],
        metrics["n_regions_kept"]
    );
    println!(
        "levels: means {:.4?}, sds {:.4?}",
        found.levels.means, found.levels.sds
    );
    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("expr"), dir.path().join("peer"));
    expr.write_zarr(&input).expect("written");
    let text = cutoff.to_string();
    if !cnv::peer(
        "cnvturbo_hmm.py",
        &[
            input.to_str().expect("a path"),
            output.to_str().expect("a path"),
            &text,
        ],
    ) {
        return;
    }
    let peer = Reader::open(&output).expect("the peer's file");
    let uns = peer.uns().expect("uns");
    let (
        Uns::Strings(genes),
        Uns::Strings(names),
        Uns::Numbers(means),
        Uns::Matrix(sds),
        Uns::Matrix(states),
        Uns::F64(peer_seconds),
    ) = (
        &uns["genes"],
        &uns["subclusters"],
        &uns["means"],
        &uns["sds"],
        &uns["states"],
        &uns["seconds"],
    )
    else {
        panic!("what cnvturbo_hmm.py writes")
    };
    // One reference group, as cnvturbo pools them.
    let positions = GenePositions::from_var(&expr.var).expect("positions");
    let ratios = RatioMatrix::new(&expr.obs, &positions, &counts, &params).expect("ratios");
    let ours_names: Vec<&String> = ratios.genes.iter().map(|&g| &expr.var.index[g]).collect();
    let theirs = peer.obsm("ratios").expect("ratios").into_dense();
    let place: std::collections::BTreeMap<&String, usize> =
        genes.iter().enumerate().map(|(i, g)| (g, i)).collect();
    let shared: Vec<(usize, usize)> = ours_names
        .iter()
        .enumerate()
        .filter_map(|(i, g)| Some((i, *place.get(g)?)))
        .collect();
    let (mut a, mut b, mut worst) = (Vec::new(), Vec::new(), 0f64);
    for c in 0..counts.n_rows() {
        for &(i, j) in &shared {
            let (x, y) = (f64::from(ratios.values[[c, i]]), f64::from(theirs[[c, j]]));
            worst = worst.max((x - y).abs());
            a.push(x);
            b.push(y);
        }
    }
    println!(
        "cnvturbo: {peer_seconds:.2} s, {} genes ({} shared), {} subclusters; means {means:.4?}",
        genes.len(),
        shared.len(),
        names.len()
    );
    println!(
        "ratios: Pearson {:.7}, max |difference| {worst:.2e}",
        cnv::pearson(&a, &b)
    );
    let labels = peer
        .obs()
        .expect("obs")
        .texts("subcluster")
        .expect("labels");
    let (mut both, mut either) = (0.0f64, 0.0);
    for (s, name) in names.iter().enumerate() {
        let cells: Vec<usize> = (0..labels.len()).filter(|&c| labels[c] == *name).collect();
        let mean: Vec<f64> = (0..ratios.genes.len())
            .map(|g| {
                cells
                    .iter()
                    .map(|&c| f64::from(ratios.values[[c, g]]))
                    .sum::<f64>()
                    / cells.len() as f64
            })
            .collect();
        let mut sd = sds.row(s).to_vec();
        sd.sort_by(f64::total_cmp);
        let sd = f64::midpoint(sd[2], sd[3]);
        let mut ours = vec![2u8; mean.len()];
        for span in &ratios.chromosomes {
            ours[span.clone()].copy_from_slice(&viterbi(
                &mean[span.clone()],
                means,
                sd,
                HmmType::I6,
                1e-6,
            ));
        }
        for &(i, j) in &shared {
            let (x, y) = (ours[i], states[[s, j]] as u8);
            both += f64::from(u8::from(x == y && x != 2));
            either += f64::from(u8::from(x != 2 || y != 2))
                + f64::from(u8::from(x != y && x != 2 && y != 2));
        }
    }
    println!(
        "i6 states on its subclusters and levels: Jaccard {:.4} over {either} gene states",
        both / either
    );
}

/// Patients at `simulate`'s defaults, and ones with more cells: ours and infercnvpy + scanpy's on the same file.
fn truth() {
    let defaults = SimulateParams::default();
    let small = SimulateParams {
        n_cells: 600,
        n_genes: 8000,
        ..SimulateParams::default()
    };
    for (name, params, window_size, seeds) in [
        (
            "defaults (1,000 cells, 20,000 genes)",
            &defaults,
            250,
            vec![1, 2, 3],
        ),
        (
            "defaults (1,000 cells, 20,000 genes)",
            &defaults,
            100,
            vec![1],
        ),
        ("600 cells, 8,000 genes", &small, 100, vec![1]),
    ] {
        for seed in seeds {
            one(name, params, window_size, seed);
        }
    }
}

fn one(name: &str, simulate: &SimulateParams, window_size: usize, seed: u64) {
    const RESOLUTION: f64 = 0.5;
    println!(
        "\nsimulate {name}, seed {seed}; window {window_size} step 10; Leiden at {RESOLUTION}"
    );
    let (patient, expr) = cnv::patient(simulate, seed);
    let params = InfercnvParams {
        window_size,
        ..InfercnvParams::default()
    };
    let x = cnv::csr(expr.x.as_ref().expect("expression"));
    let (ours, _) = annotate(&expr.obs, &expr.var, &x, &params, &Quiet).expect("copy number");
    let x_cnv = cnv::csr(&ours.obsm["X_cnv"]);
    let windows = cnv::windows(&ours);
    let clones = expr.obs.texts("truth_clone").expect("truth");
    let malignant = expr.obs.flags("truth_malignant").expect("truth");
    let print = |who: &str, x: &_, labels: &[String]| {
        let score = cnv::score(&patient, &expr.obs, windows, x, &cnv::burden(x));
        let own: Vec<usize> = (0..malignant.len()).filter(|&c| malignant[c]).collect();
        let of = |v: &[String]| own.iter().map(|&c| v[c].clone()).collect::<Vec<_>>();
        println!(
            "{who:<20} {}  clone ARI {:.4} (all cells {:.4})",
            score.line(),
            cnv::ari(&of(&clones), &of(labels)),
            cnv::ari(&clones, labels),
        );
    };
    let clusters = ClusterParams {
        resolution: RESOLUTION,
        ..ClusterParams::default()
    };
    let found = cluster_profiles(&x_cnv, &clusters, 0, &|_, _| Ok(())).expect("clusters");
    let labels: Vec<String> = found
        .partition
        .membership
        .iter()
        .map(ToString::to_string)
        .collect();
    print("ours", &x_cnv, &labels);
    beyond(&patient, &expr, window_size);

    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("expr"), dir.path().join("peer"));
    expr.write_zarr(&input).expect("written");
    let (window, resolution) = (window_size.to_string(), RESOLUTION.to_string());
    let args = [
        input.to_str().expect("a path"),
        output.to_str().expect("a path"),
        &window,
        "10",
        &resolution,
    ];
    if cnv::peer("infercnv_truth.py", &args) {
        let peer = Reader::open(&output).expect("the peer's file");
        let x = peer.obsm("X_cnv").expect("X_cnv").into_csr();
        let labels = peer
            .obs()
            .expect("obs")
            .texts("cnv_leiden")
            .expect("labels");
        print("infercnvpy + scanpy", &x, &labels);
    }
}

/// The options that no peer has, on the same patient.
fn beyond(patient: &Patient, expr: &AnnData, window_size: usize) {
    let x = cnv::csr(expr.x.as_ref().expect("expression"));
    let clones = expr.obs.texts("truth_clone").expect("truth");
    let malignant = expr.obs.flags("truth_malignant").expect("truth");
    let own: Vec<usize> = (0..malignant.len()).filter(|&c| malignant[c]).collect();
    for (name, dynamic_threshold, zero_center, resolution) in [
        ("no noise filter", None, false, 0.5),
        ("no filter, centred", None, true, 0.5),
        ("no filter, res 1", None, true, 1.0),
    ] {
        let params = InfercnvParams {
            window_size,
            dynamic_threshold,
            ..InfercnvParams::default()
        };
        let (cnv, _) = annotate(&expr.obs, &expr.var, &x, &params, &Quiet).expect("copy number");
        let x_cnv = cnv::csr(&cnv.obsm["X_cnv"]);
        let clusters = ClusterParams {
            resolution,
            zero_center,
            ..ClusterParams::default()
        };
        let found = cluster_profiles(&x_cnv, &clusters, 0, &|_, _| Ok(())).expect("clusters");
        let labels: Vec<u32> = found.partition.membership.clone();
        // Signal times correlation alone, as no arm is called here.
        let unaltered = vec![Vec::new(); found.partition.n_clusters];
        let score = cnv::score(
            patient,
            &expr.obs,
            cnv::windows(&cnv),
            &x_cnv,
            &malignancy(&x_cnv, &labels, &found.profiles, &unaltered, None).score,
        );
        let of = |c: &usize| labels[*c];
        let truth: Vec<&String> = own.iter().map(|&c| &clones[c]).collect();
        println!(
            "{name:<20} {}  clone ARI {:.4} (all cells {:.4})",
            score.line(),
            cnv::ari(&truth, &own.iter().map(of).collect::<Vec<_>>()),
            cnv::ari(&clones, &labels),
        );
    }
}
