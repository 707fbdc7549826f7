//! Retrieval both ways among the test cells of the paper's cohort, compared with numpy.
//!
//!     CLCC_PEER_PYTHON=python cargo bench -p clcc-stages --bench eval
//!
//! `CLCC_BENCH_CELLS` test cells (8,057), pooled and per patient (ten), width 128.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod method;

use std::time::Instant;

use clcc_stages::eval::{Ranked, Summary};
use ndarray::{Array2, Axis};

use method::{Draws, median, no_peer, peer, setting};

const WIDTH: usize = 128;
const PATIENTS: usize = 10;

fn unit_rows(n: usize, draws: &mut Draws) -> Array2<f32> {
    let mut a = Array2::from_shape_fn((n, WIDTH), |_| draws.normal());
    for mut row in a.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row.mapv_inplace(|v| v / norm);
    }
    a
}

fn main() {
    let n = setting("CLCC_BENCH_CELLS", 8057);
    let mut draws = Draws::new(3);
    let e = unit_rows(n, &mut draws);
    let mut c = &e + &(unit_rows(n, &mut draws) * 4.0);
    for mut row in c.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row.mapv_inplace(|v| v / norm);
    }
    let mut ours = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let (forward, backward) = Ranked::both_ways(e.view(), c.view());
        let mrr = [&forward, &backward].map(|r| Summary::of(r, n).mrr);
        for patient in 0..PATIENTS {
            let rows: Vec<usize> = (0..n).filter(|i| i * PATIENTS / n == patient).collect();
            let (e, c) = (e.select(Axis(0), &rows), c.select(Axis(0), &rows));
            let (f, b) = Ranked::both_ways(e.view(), c.view());
            assert!(Summary::of(&f, rows.len()).mrr > 0.0 && Summary::of(&b, rows.len()).mrr > 0.0);
        }
        ours.push(started.elapsed().as_secs_f64());
        assert!(mrr.iter().all(|m| *m > 0.0 && *m <= 1.0), "{mrr:?}");
    }
    let ours = median(&mut ours);
    println!("{n} test cells, both ways, pooled and per patient: {ours:.3} s");
    match peer("eval.py", &[n, WIDTH, PATIENTS].map(|v| v.to_string())) {
        Some(theirs) => println!("numpy: {theirs:.3} s; ratio {:.3}", ours / theirs),
        None => no_peer(),
    }
}
