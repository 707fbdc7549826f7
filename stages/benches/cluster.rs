//! PCA, neighbours, Leiden and UMAP compared with infercnvpy (scanpy), warm, on 8,000 cells.
//!
//! cargo bench -p clcc-stages --bench cluster
//!
//! The peer runs as a child process of the Python that `CLCC_PEER_PYTHON` names, on the same `X_cnv`, and
//! compares neighbours, cluster quality and layout.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(missing_docs, reason = "a benchmark has no users")]

mod cnv;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use clcc_stages::anndata::AnnData;
use clcc_stages::cluster::{ClusterParams, cluster_profiles};
use clcc_stages::frame::{Categorical, Column, Frame};
use clcc_stages::infercnv::{InfercnvParams, annotate};
use clcc_stages::matrix::Matrix;
use clcc_stages::simulate::SimulateParams;
use clcc_stages::stage::Quiet;

const RESOLUTION: f64 = 0.5;

fn main() {
    let params = SimulateParams {
        n_cells: 8000,
        n_genes: 29_634,
        ..SimulateParams::default()
    };
    let expr = cnv::patient(&params, 1).1;
    let x = cnv::csr(expr.x.as_ref().expect("expression"));
    let params = InfercnvParams {
        window_size: 250,
        ..InfercnvParams::default()
    };
    let (cnv, _) = annotate(&expr.obs, &expr.var, &x, &params, &Quiet).expect("copy number");
    let x_cnv = cnv::csr(&cnv.obsm["X_cnv"]);
    let share = x_cnv.nnz() as f64 / (x_cnv.n_rows() * x_cnv.n_cols()) as f64;
    println!(
        "{} cells x {} windows, {:.1} % stored; Leiden at {RESOLUTION}",
        x_cnv.n_rows(),
        x_cnv.n_cols(),
        100.0 * share
    );

    let params = ClusterParams {
        resolution: RESOLUTION,
        ..ClusterParams::default()
    };
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    let mut found = None;
    let mut cpu = f64::INFINITY;
    for _ in 0..2 {
        let last: RefCell<(String, Instant)> = RefCell::new((String::new(), Instant::now()));
        let spent: RefCell<BTreeMap<String, f64>> = RefCell::default();
        let next = |name: &str| {
            let mut last = last.borrow_mut();
            let seconds = last.1.elapsed().as_secs_f64();
            spent.borrow_mut().insert(last.0.clone(), seconds);
            *last = (name.to_string(), Instant::now());
        };
        let before = cnv::cpu_seconds();
        found = Some(cluster_profiles(&x_cnv, &params, 1, &|_, name| {
            next(name);
            Ok(())
        }));
        next("");
        cpu = cpu.min(cnv::cpu_seconds() - before);
        for (name, seconds) in spent.into_inner() {
            let entry = best.entry(name).or_insert(f64::INFINITY);
            *entry = entry.min(seconds);
        }
    }
    best.remove("");
    let found = found.expect("a run").expect("clusters");
    let total: f64 = best.values().sum();
    println!(
        "ours: {best:.3?}, in all {total:.3} s, {cpu:.2} s of processor (profiles and malignancy included); {} clusters",
        found.partition.n_clusters
    );

    let mut obs = Frame::new(expr.obs.index.clone());
    let names: Vec<String> = (0..found.partition.n_clusters)
        .map(|c| c.to_string())
        .collect();
    let codes = found
        .partition
        .membership
        .iter()
        .map(|&c| c as i32)
        .collect();
    obs.set(
        "cnv_leiden",
        Column::Category(Categorical {
            codes,
            categories: names,
            ordered: false,
        }),
    );
    let data = AnnData {
        obs,
        obsm: BTreeMap::from([
            ("X_cnv".into(), cnv.obsm["X_cnv"].clone()),
            (
                "X_cnv_pca".into(),
                Matrix::Dense(found.pca.scores.mapv(|v| v as f32)),
            ),
            ("X_cnv_umap".into(), Matrix::Dense(found.umap.clone())),
        ]),
        obsp: BTreeMap::from([(
            "cnv_neighbors_connectivities".into(),
            found.connectivities.clone(),
        )]),
        ..AnnData::default()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (input, output) = (dir.path().join("clusters"), dir.path().join("peer"));
    data.write_zarr(&input).expect("written");
    let resolution = RESOLUTION.to_string();
    if cnv::peer(
        "cluster_speed.py",
        &[
            input.to_str().expect("a path"),
            output.to_str().expect("a path"),
            &resolution,
        ],
    ) {
        let peer = cnv::numbers(&output);
        let theirs: f64 = ["pca", "neighbors", "leiden", "umap"]
            .iter()
            .map(|n| peer[*n])
            .sum();
        for (name, value) in &peer {
            println!("  {name:<32} {value:.6}");
        }
        println!(
            "scanpy (igraph's Leiden): {theirs:.3} s; ratio {:.2} (of processor seconds {:.2})",
            theirs / total,
            ["cpu_pca", "cpu_neighbors", "cpu_leiden", "cpu_umap"]
                .iter()
                .map(|n| peer[*n])
                .sum::<f64>()
                / cpu
        );
    }
}
