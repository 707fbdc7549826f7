//! Hard negatives of a full-size cohort: exact over all pairs, compared with numpy's 5,000 candidates.
//!
//!     CLCC_PEER_PYTHON=python cargo bench -p clcc-stages --bench mine
//!
//! `CLCC_BENCH_CELLS` training cells (64,462), `CLCC_BENCH_PEER_ANCHORS` anchors for numpy (1,024;
//! its time is scaled to all).

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod method;

use std::time::Instant;

use clcc_stages::mine::{FeatureMoments, MineParams, Moments, Space, Vectors, hard_negatives};

use method::{Cohort, GENES, WINDOWS, no_peer, peak_mib, peer, setting};

fn main() {
    let n = setting("CLCC_BENCH_CELLS", 64_462);
    let started = Instant::now();
    let cohort = Cohort::draw(n);
    let entries = |x: &clcc_stages::matrix::Csr| x.nnz() as f64 / n as f64;
    println!(
        "stand-in: {n} cells, {:.0} of {GENES} genes and {:.0} of {WINDOWS} windows stored a cell ({:.0} s to draw)",
        entries(&cohort.expr),
        entries(&cohort.cnv),
        started.elapsed().as_secs_f64()
    );
    let rows: Vec<usize> = (0..n).collect();
    let moments = Moments {
        expr: FeatureMoments::compute(&cohort.expr, &rows),
        cnv: FeatureMoments::compute(&cohort.cnv, &rows),
        genes: None,
    };
    let anchors = setting("CLCC_BENCH_PEER_ANCHORS", 1024);
    let args = [6000, GENES, WINDOWS, anchors].map(|v| v.to_string());
    let theirs = peer("mine.py", &args).map(|seconds| seconds * n as f64 / anchors as f64);
    for space in [Space::Zscore, Space::Log1p] {
        let params = MineParams {
            space,
            ..MineParams::default()
        };
        let started = Instant::now();
        let vectors = Vectors::prepare(&cohort.expr, &cohort.cnv, &rows, &moments, space);
        let prepared = started.elapsed().as_secs_f64();
        let found = hard_negatives(&vectors, &params, 1, &|_, _| false).expect("not cancelled");
        let seconds = started.elapsed().as_secs_f64();
        let pairs = n as f64 * (n as f64 - 1.0);
        let sum =
            |f: fn(&clcc_stages::mine::Anchor) -> u64| found.iter().map(f).sum::<u64>() as f64;
        let survivors = 100.0 * sum(|a| u64::from(a.cnv_pairs)) / pairs;
        let hard = 100.0 * sum(|a| u64::from(a.hard_pairs)) / pairs;
        let with = 100.0 * sum(|a| u64::from(!a.negatives.is_empty())) / n as f64;
        println!(
            "{space:?}: exact over all pairs {seconds:.1} s (vectors {prepared:.1} s); {survivors:.2} % of the pairs survive copy number, {hard:.3} % are hard; {with:.1} % of the anchors have one; peak {:.0} MiB",
            peak_mib()
        );
        if let Some(theirs) = theirs {
            println!(
                "  numpy, {anchors} anchors x 5,000 candidates, scaled to {n}: {theirs:.1} s; ratio {:.3}",
                seconds / theirs
            );
        }
    }
    if theirs.is_none() {
        no_peer();
    }
}
