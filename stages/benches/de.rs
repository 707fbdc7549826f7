//! The rank-sum test compared with scanpy, illico and scipy on the same matrix, and permuted labels.
//!
//!     CLCC_PEER_PYTHON=python cargo bench -p clcc-stages --bench de
//!
//! 2,000 against 2,000 cells x 29,634 genes (GSE131907's), 6 % of the values above 0. Both sides
//! have the matrix in memory (scanpy its CSR of cells, we our CSR of cells: turning it is in our
//! time), the same number of threads, and scanpy has run once before.

#![allow(
    clippy::disallowed_methods,
    reason = "draws of a benchmark need not be portable"
)]
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod method;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clcc_stages::matrix::Csr;
use clcc_stages::stats::{
    Contrast, GeneTest, RankSumOptions, benjamini_hochberg, found_by_normal, log2_fold_change,
    rank_scores, sparse_wilcoxon,
};

use method::{Draws, cpu_seconds, median, no_peer, setting};

const SHARE: f32 = 0.06;

/// log1p expression of counts: genes of very different rates, a tenth of them higher in the group.
fn expression(cells: usize, genes: usize) -> Csr {
    let mut draws = Draws::new(11);
    let mut rate: Vec<f32> = (0..genes).map(|_| (1.8 * draws.normal()).exp()).collect();
    let stored = |scale: f32, rate: &[f32]| {
        rate.iter().map(|r| 1.0 - (-scale * r).exp()).sum::<f32>() / rate.len() as f32
    };
    let (mut low, mut high) = (1e-6_f32, 10.0_f32);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if stored(middle, &rate) < SHARE {
            low = middle;
        } else {
            high = middle;
        }
    }
    rate.iter_mut().for_each(|r| *r *= low);
    let rows = (0..2 * cells).map(|i| {
        let depth = (0.35 * draws.normal()).exp();
        let mut row = Vec::new();
        for (g, r) in rate.iter().enumerate() {
            let more = if i < cells && g % 10 == 0 { 1.8 } else { 1.0 };
            // Poisson by inversion: the rates are small.
            let mean = r * depth * more;
            let (mut left, mut count) = (draws.uniform(), 0);
            let mut p = (-mean).exp();
            while left > p && count < 200 {
                left -= p;
                count += 1;
                p *= mean / count as f32;
            }
            if count > 0 {
                row.push((g as u32, (2.5 * count as f32 / depth).ln_1p()));
            }
        }
        row
    });
    Csr::from_rows(genes, rows.collect::<Vec<_>>())
}

fn write<T: Copy>(path: &Path, values: &[T], bytes: impl Fn(T) -> Vec<u8>) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    for &v in values {
        file.write_all(&bytes(v)).expect("written");
    }
}

fn read(path: &Path) -> Vec<f64> {
    std::fs::read(path)
        .expect("the peer's values")
        .chunks_exact(8)
        .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")))
        .collect()
}

/// Largest of `f` over genes.
fn worst(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(f).fold(0.0, f64::max)
}

/// Numbers of genes found under 39 permutations of the labels: each gene is ranked once, compared with a test of
/// its own for each permutation. Both find the same genes.
fn permuted(genes: &Csr) {
    const FDR: f64 = 0.05;
    let mut draws = Draws::new(3);
    let mut side = || match draws.uniform() {
        u if u < 0.3 => 1,
        u if u < 0.6 => 2,
        _ => 0,
    };
    let contrasts: Vec<Contrast> = (0..39)
        .map(|_| Contrast {
            side: (0..genes.n_cols()).map(|_| side()).collect(),
        })
        .collect();
    let clock = |f: &dyn Fn() -> Vec<usize>| {
        let (started, before) = (Instant::now(), cpu_seconds());
        let found = f();
        (
            started.elapsed().as_secs_f64(),
            cpu_seconds() - before,
            found,
        )
    };
    let together = clock(&|| {
        let scores = rank_scores(genes, &contrasts, RankSumOptions::SCANPY);
        let z = scores.iter().map(|s| s.iter().map(|g| g.z).collect());
        z.map(|z: Vec<f64>| found_by_normal(&z, FDR).len())
            .collect()
    });
    let apart = clock(&|| {
        let tests = contrasts.iter().map(|c| {
            sparse_wilcoxon(genes, std::slice::from_ref(c), RankSumOptions::SCANPY).remove(0)
        });
        let p = tests.map(|tests| tests.iter().map(|t| t.p.p).collect());
        let q = p.map(|p: Vec<f64>| benjamini_hochberg(&p));
        q.map(|q| q.iter().filter(|q| **q < FDR).count()).collect()
    });
    assert_eq!(together.2, apart.2, "the same genes");
    println!(
        "39 permutations: {:.3} s, {:.2} s of processor; one after the other {:.3} s, {:.2} s; {:.1} x of processor",
        together.0,
        together.1,
        apart.0,
        apart.1,
        apart.1 / together.1
    );
}

fn main() {
    let cells = setting("CLCC_BENCH_CELLS", 2000);
    let genes = setting("CLCC_BENCH_GENES", 29_634);
    let x = expression(cells, genes);
    println!(
        "{cells} against {cells} cells x {genes} genes, {:.1} % above 0, {} threads",
        100.0 * x.nnz() as f64 / (2 * cells * genes) as f64,
        rayon::current_num_threads()
    );
    let contrast = [Contrast {
        side: (0..2 * cells)
            .map(|i| if i < cells { 1 } else { 2 })
            .collect(),
    }];
    let run = |options: RankSumOptions| -> Vec<GeneTest> {
        sparse_wilcoxon(&x.transpose(), &contrast, options).remove(0)
    };
    let (mut seconds, mut spent) = (Vec::new(), Vec::new());
    let mut tests = Vec::new();
    for _ in 0..5 {
        let (started, before) = (Instant::now(), cpu_seconds());
        tests = run(RankSumOptions::SCANPY);
        let p: Vec<f64> = tests.iter().map(|t| t.p.p).collect();
        let q = benjamini_hochberg(&p);
        let change: Vec<f64> = tests
            .iter()
            .map(|t| log2_fold_change(t.mean_group, t.mean_reference))
            .collect();
        seconds.push(started.elapsed().as_secs_f64());
        spent.push(cpu_seconds() - before);
        assert!(q.len() == genes && change.iter().all(|c| c.is_finite()));
    }
    let (ours, own_cpu) = (median(&mut seconds), median(&mut spent));
    println!(
        "ours: {ours:.3} s, {own_cpu:.2} s of processor (z, p, adjusted p, fold change, percent expressed)"
    );
    permuted(&x.transpose());

    let Ok(python) = std::env::var("CLCC_PEER_PYTHON") else {
        return no_peer();
    };
    let dir = std::env::temp_dir().join(format!("clcc-bench-de-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    write(&dir.join("indptr"), x.indptr(), |v: u64| {
        v.to_le_bytes().to_vec()
    });
    write(&dir.join("indices"), x.indices(), |v: u32| {
        v.to_le_bytes().to_vec()
    });
    write(&dir.join("data"), x.data(), |v: f32| {
        v.to_le_bytes().to_vec()
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/de.py");
    let status = Command::new(python)
        .args([
            script,
            &dir.to_string_lossy(),
            &cells.to_string(),
            &genes.to_string(),
        ])
        .status()
        .expect("the peer starts");
    assert!(status.success(), "the peer failed");
    let theirs = read(&dir.join("seconds"));
    for (name, theirs) in [("scanpy", &theirs[..2]), ("illico", &theirs[2..])] {
        println!(
            "{name}, warm: {:.3} s, {:.2} s of processor; {:.1} x, {:.1} x",
            theirs[0],
            theirs[1],
            theirs[0] / ours,
            theirs[1] / own_cpu
        );
    }
    // scanpy keeps float32, so a z of 50 has steps of 4e-6: relative from 1 on.
    for (name, tie_correct) in [("scanpy", false), ("scanpy_tie", true)] {
        let ours = run(RankSumOptions {
            tie_correct,
            continuity: false,
        });
        let z = read(&dir.join(format!("{name}_z")));
        let z = worst(genes, |g| {
            (ours[g].z - z[g]).abs() / ours[g].z.abs().max(1.0)
        });
        let p = read(&dir.join(format!("{name}_p")));
        let p = worst(genes, |g| {
            if p[g] > 1e-300 {
                (ours[g].p.p / p[g] - 1.0).abs()
            } else {
                0.0
            }
        });
        println!("{name}: z within {z:.1e} (float32), p within {p:.1e} relative where p > 1e-300");
    }
    let ours = run(RankSumOptions::SCIPY);
    let (z, p) = (read(&dir.join("scipy_z")), read(&dir.join("scipy_p")));
    let at_z = worst(genes, |g| (ours[g].z - z[g]).abs());
    let at_p = worst(genes, |g| {
        if p[g] > 1e-300 {
            (ours[g].p.p / p[g] - 1.0).abs()
        } else {
            0.0
        }
    });
    println!("scipy: z within {at_z:.1e}, p within {at_p:.1e} relative where p > 1e-300");
    let smallest = tests.iter().map(|t| t.p.log10).fold(0.0, f64::min);
    println!("smallest log10 p: {smallest:.1}");
    std::fs::remove_dir_all(&dir).expect("removed");
}
