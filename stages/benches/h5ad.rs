//! Reading and normalising an h5ad compared with anndata and scanpy:
//! `CLCC_PEER_PYTHON=... cargo bench -p clcc-stages --bench h5ad`.
//!
//! 8,000 simulated cells x 29,634 genes, 6 % of the values above 0. The file is written by anndata where the peer is there, once
//! with its defaults and once with gzip, and by this program where it is not. Both sides read the whole
//! file and run warm: the best of five, after one that is not counted. Whether the values agree is
//! for the tests to say.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clcc_stages::anndata::Reader;
use clcc_stages::preprocess::log1p_normalize_total_in_place;
use clcc_stages::simulate::{PatientPlan, SimulateParams, World, geo, simulate_patient};

const ROUNDS: usize = 5;
/// Makes 6 % of the values be above 0.
const MEDIAN_COUNTS: f64 = 6_000.0;

fn main() {
    let folder = std::env::temp_dir().join("clcc-bench-h5ad-6");
    std::fs::create_dir_all(&folder).expect("a folder");
    let own = folder.join("own.h5ad");
    if !own.is_file() {
        println!("simulating 8,000 cells");
        let params = SimulateParams {
            n_cells: 8000,
            median_counts: MEDIAN_COUNTS,
            ..geo::default_params()
        };
        let world = World::new(&params, 0).expect("a world");
        let plan = PatientPlan::standard("P0006", &params);
        let patient = simulate_patient(&world, &plan, &params, 0).expect("simulated");
        patient.counts.write_h5ad(&own).expect("written");
    }
    let Some(python) = std::env::var_os("CLCC_PEER_PYTHON") else {
        println!(
            "skipped the peer: set CLCC_PEER_PYTHON to an interpreter with anndata and scanpy"
        );
        report("own, gzip 1", &own, None);
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/h5ad.py");
    let (plain, gzip) = (folder.join("plain.h5ad"), folder.join("gzip.h5ad"));
    let peer = |args: &[&PathBuf]| {
        let out = Command::new(&python)
            .arg(&script)
            .args(args)
            .output()
            .expect("the peer starts");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{errors}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    if !gzip.is_file() {
        peer(&[&own, &plain, &gzip]);
    }
    for (name, file) in [
        ("anndata's default", &plain),
        ("anndata, gzip", &gzip),
        ("own, gzip 1", &own),
    ] {
        let theirs: Vec<f64> = peer(&[file])
            .split_whitespace()
            .map(|t| t.parse().expect("seconds"))
            .collect();
        report(name, file, Some((theirs[0], theirs[1])));
    }
}

fn report(name: &str, file: &Path, theirs: Option<(f64, f64)>) {
    let (mut read, mut normalise) = (f64::INFINITY, f64::INFINITY);
    let mut stored = 0.0;
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let data = Reader::open(file).expect("opened").read().expect("read");
        let mut x = data.x.expect("X").into_csr();
        let first = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let totals = x.row_sums();
        log1p_normalize_total_in_place(&mut x, &totals, 1e4);
        stored = x.nnz() as f64 / (x.n_rows() * x.n_cols()) as f64;
        let second = start.elapsed().as_secs_f64();
        if round > 0 {
            (read, normalise) = (read.min(first), normalise.min(second));
        }
    }
    let stored = 100.0 * stored;
    println!(
        "{name}: {stored:.1} % stored, read {read:.3} s, normalise and log1p {normalise:.3} s"
    );
    if let Some((r, n)) = theirs {
        println!(
            "  anndata {r:.3} s, scanpy {n:.3} s: {:.1} x faster (goal: 2)",
            (r + n) / (read + normalise)
        );
    }
}
