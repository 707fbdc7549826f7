//! `cargo bench -p clcc-stages --bench math`: accuracy and speed of the portable functions, products and
//! decompositions compared with the standard library's (the C library's) and faer's, which follow the processor.
//!
//! One thread. `ulp` is the largest distance to the standard library's value, itself within 1 ulp.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(
    clippy::disallowed_methods,
    reason = "the standard library is the peer"
)]

use std::hint::black_box;
use std::time::Instant;

use clcc_stages::math::{self, View};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par, Side};

const POINTS: usize = 200_000;
const ROUNDS: usize = 7;

fn main() {
    functions();
    products::<f64>("f64");
    products::<f32>("f32");
    decompositions();
}

/// The best of some rounds in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS)
        .map(|_| time(&mut work))
        .fold(f64::INFINITY, f64::min)
}

fn functions() {
    type Function = fn(f64) -> f64;
    let rows: [(&str, Function, Function); 9] = [
        ("exp", math::exp, f64::exp),
        ("exp2", math::exp2, f64::exp2),
        ("exp_m1", math::exp_m1, f64::exp_m1),
        ("ln", math::ln, f64::ln),
        ("ln_1p", math::ln_1p, f64::ln_1p),
        ("log2", math::log2, f64::log2),
        ("log10", math::log10, f64::log10),
        ("sin", math::sin, f64::sin),
        ("cos", math::cos, f64::cos),
    ];
    let xs: Vec<f64> = (1..=POINTS).map(|i| i as f64 * 1.3e-4).collect();
    let nanos = |f: Function| {
        let seconds = best(|| {
            for &x in &xs {
                black_box(f(black_box(x)));
            }
        });
        seconds * 1e9 / POINTS as f64
    };
    let ulps = |a: f64, b: f64| (a.to_bits() as i64).abs_diff(b.to_bits() as i64);
    println!("function        ours ns   std ns   ulp");
    for (name, ours, std) in rows {
        let apart = xs.iter().map(|&x| ulps(ours(x), std(x))).max();
        println!(
            "{name:<14} {:8.2} {:8.2} {:5}",
            nanos(ours),
            nanos(std),
            apart.unwrap_or(0)
        );
    }
    let mut values = xs.clone();
    let seconds = best(|| {
        values.copy_from_slice(&xs);
        math::exp_in_place(black_box(&mut values));
    });
    let apart = xs.iter().zip(&values).map(|(x, y)| ulps(*y, x.exp())).max();
    println!(
        "{:<14} {:8.2} {:8.2} {:5}",
        "exp_in_place",
        seconds * 1e9 / POINTS as f64,
        nanos(f64::exp),
        apart.unwrap_or(0)
    );
}

fn products<T: math::Element + faer::traits::ComplexField + From<f32>>(name: &str) {
    println!("{name} product               ours  faer GFLOP/s");
    for (m, k, n) in [
        (512, 512, 512),
        (1500, 512, 256),
        (256, 128, 256),
        (2294, 64, 16),
        (256, 2294, 16),
    ] {
        let number = |i: usize| T::from((i % 97) as f32 * 0.01);
        let a: Vec<T> = (0..m * k).map(number).collect();
        let b: Vec<T> = (0..k * n).map(number).collect();
        let mut out = vec![T::from(0.0); m * n];
        let ours = best(|| {
            out.fill(T::from(0.0));
            math::add_product_in_task(
                View::row_major(&a, m, k),
                View::row_major(&b, k, n),
                &mut out,
            );
        });
        let theirs = best(|| {
            matmul(
                MatMut::from_row_major_slice_mut(&mut out, m, n),
                Accum::Replace,
                MatRef::from_row_major_slice(&a, m, k),
                MatRef::from_row_major_slice(&b, k, n),
                T::from(1.0),
                Par::Seq,
            );
        });
        let work = 2e-9 * (m * n * k) as f64;
        let shape = format!("{m} x {k} x {n}");
        println!("{shape:<22} {:8.1} {:8.1}", work / ours, work / theirs);
    }
}

fn decompositions() {
    println!("decomposition            ours     faer ms");
    let number = |i: usize| math::sin(i as f64 * 0.7);
    for n in [100, 200, 400] {
        let factor: Vec<f64> = (0..n * n).map(number).collect();
        let view = View::row_major(&factor, n, n);
        let mut gram = vec![0.0; n * n];
        math::product_into(view.t(), view, &mut gram);
        let ours = best(|| {
            let mut a = gram.clone();
            black_box(math::symmetric_eigen_in_place(&mut a, n));
        });
        let theirs = best(|| {
            let a = MatRef::from_row_major_slice(&gram, n, n);
            black_box(a.self_adjoint_eigen(Side::Lower).is_ok());
        });
        println!("eigen {n:<16} {:8.2} {:8.2}", ours * 1e3, theirs * 1e3);
    }
    for (n, k) in [(2294, 16), (8000, 60)] {
        let columns: Vec<f64> = (0..n * k).map(number).collect();
        let ours = best(|| {
            black_box(math::orthonormal_columns(columns.clone(), n, k));
        });
        let theirs = best(|| {
            let a = MatRef::from_column_major_slice(&columns, n, k);
            black_box(a.qr().compute_thin_Q());
        });
        let shape = format!("{n} x {k}");
        println!("QR {shape:<19} {:8.2} {:8.2}", ours * 1e3, theirs * 1e3);
    }
}
