//! `infercnv` beside infercnvpy: truth on simulated patients, then speed.
//!
//! cargo bench -p clcc-stages --bench infercnv -- [truth|speed|memory]
//!
//! The peer runs as a child process of the Python that `CLCC_PEER_PYTHON` names, on the same file.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(missing_docs, reason = "a benchmark has no users")]

mod cnv;

use clcc_stages::anndata::Reader;
use clcc_stages::cluster::{ClusterParams, cluster_profiles};
use clcc_stages::infercnv::{InfercnvParams, annotate};
use clcc_stages::simulate::SimulateParams;
use clcc_stages::stage::Quiet;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if runs("truth") {
        truth();
    }
}

/// Patients at `simulate`'s defaults, and ones with more cells: ours and infercnvpy + scanpy's on the same file.
fn truth() {
    let defaults = SimulateParams::default();
    let small = SimulateParams { n_cells: 600, n_genes: 8000, ..SimulateParams::default() };
    for (name, params, window_size, seeds) in [
        ("defaults (1,000 cells, 20,000 genes)", &defaults, 250, vec![1, 2, 3]),
        ("defaults (1,000 cells, 20,000 genes)", &defaults, 100, vec![1]),
        ("600 cells, 8,000 genes", &small, 100, vec![1]),
    ] {
        for seed in seeds {
            one(name, params, window_size, seed);
        }
    }
}

fn one(name: &str, simulate: &SimulateParams, window_size: usize, seed: u64) {
    const RESOLUTION: f64 = 0.5;
    println!("\nsimulate {name}, seed {seed}; window {window_size} step 10; Leiden at {RESOLUTION}");
    let (patient, expr) = cnv::patient(simulate, seed);
    let params = InfercnvParams { window_size, ..InfercnvParams::default() };
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
    let clusters = ClusterParams { resolution: RESOLUTION, ..ClusterParams::default() };
    let found = cluster_profiles(&x_cnv, &clusters, 0, &|_, _| Ok(())).expect("clusters");
    let labels: Vec<String> = found.partition.membership.iter().map(ToString::to_string).collect();
    print("ours", &x_cnv, &labels);

    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("expr"), dir.path().join("peer"));
    expr.write_zarr(&input).expect("written");
    let (window, resolution) = (window_size.to_string(), RESOLUTION.to_string());
    let args = [input.to_str().expect("a path"), output.to_str().expect("a path"), &window, "10", &resolution];
    if cnv::peer("infercnv_truth.py", &args) {
        let peer = Reader::open(&output).expect("the peer's file");
        let x = peer.obsm("X_cnv").expect("X_cnv").into_csr();
        let labels = peer.obs().expect("obs").texts("cnv_leiden").expect("labels");
        print("infercnvpy + scanpy", &x, &labels);
    }
}
