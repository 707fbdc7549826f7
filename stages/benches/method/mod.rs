//! What the benchmarks of `mine`, `train` and `eval` share: a stand-in of the paper's cohort, the
//! peers' processes, and memory.

#![allow(
    clippy::disallowed_methods,
    reason = "draws of a benchmark need not be portable"
)]
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::process::Command;

use rayon::prelude::*;

use clcc_stages::matrix::Csr;

/// Genes and windows of the paper's cohort.
pub(crate) const GENES: usize = 18_965;
pub(crate) const WINDOWS: usize = 1_305;
/// Stored share of the expression matrix.
pub(crate) const DENSITY: f64 = 0.06;

/// A text from the environment.
pub(crate) fn text(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_string())
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |v| v.parse().expect("a whole number"))
}

/// splitmix64: fast, and good enough for data that only has to be of the right kind.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66)
    }

    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

/// The cohort: ten patients' cells one after another; eight cell types, of which the last is
/// malignant in about 45 % of the cells, in four clones a patient.
pub(crate) struct Cohort {
    /// log1p expression, 6 % stored.
    pub(crate) expr: Csr,
    /// Copy number, an eighth stored, as a noise threshold of 1.5 sd leaves it.
    pub(crate) cnv: Csr,
}

/// Cells drawn at once, on all threads.
const DRAWN_TOGETHER: usize = 4096;
const TYPES: usize = 8;
const CLONES: usize = 40;

impl Cohort {
    /// So many cells of `GENES` and `WINDOWS`.
    pub(crate) fn draw(n: usize) -> Self {
        let mut draws = Draws::new(7);
        // Detection rates of genes: few are in most cells, most are in few.
        let mut rate: Vec<f32> = (0..GENES).map(|_| (1.6 * draws.normal()).exp()).collect();
        let share = |scale: f32, rate: &[f32]| {
            let all: f64 = rate
                .iter()
                .map(|r| f64::from(1.0 - (-scale * r).exp()))
                .sum();
            all / GENES as f64
        };
        let (mut low, mut high) = (1e-6f32, 10.0f32);
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if share(middle, &rate) < DENSITY {
                low = middle;
            } else {
                high = middle;
            }
        }
        rate.iter_mut().for_each(|r| *r *= low);
        // Each type has its own genes, a fifth of all, at other rates.
        let types: Vec<Vec<f32>> = (0..TYPES)
            .map(|_| {
                let other = |r: &f32, d: &mut Draws| {
                    if d.uniform() < 0.2 {
                        r * (1.2 * d.normal()).exp()
                    } else {
                        *r
                    }
                };
                rate.iter().map(|r| other(r, &mut draws)).collect()
            })
            .collect();
        let clones: Vec<Vec<f32>> = (0..CLONES)
            .map(|_| {
                let mut level = 0.0;
                (0..WINDOWS)
                    .map(|w| {
                        if w % 33 == 0 {
                            level = if draws.uniform() < 0.35 {
                                0.15 * draws.normal()
                            } else {
                                0.0
                            };
                        }
                        level
                    })
                    .collect()
            })
            .collect();
        let row = |cell: usize| {
            let mut d = Draws::new(1000 + cell as u64);
            let patient = cell * 10 / n;
            let malignant = d.uniform() < 0.45;
            let kind = if malignant {
                TYPES - 1
            } else {
                (d.uniform() * 7.0) as usize
            };
            let depth = (0.35 * d.normal()).exp();
            let mut expr = Vec::with_capacity(1400);
            let clone = &clones[patient * 4 + (d.uniform() * 4.0) as usize];
            // Malignant cells express what their clone has more of more.
            let dosage: Vec<f32> = clone.iter().map(|level| (2.0 * level).exp()).collect();
            for (gene, rate) in types[kind].iter().enumerate() {
                let mut mean = rate * depth;
                if malignant {
                    mean *= dosage[gene * WINDOWS / GENES];
                }
                if d.uniform() < 1.0 - (-mean).exp() {
                    let count = 1.0 + (mean * 1.5 * d.uniform()).floor();
                    expr.push((gene as u32, (2.5 * count / depth).ln_1p()));
                }
            }
            let (mut noise, mut cnv) = (0.0, Vec::with_capacity(WINDOWS / 4));
            for (w, level) in clone.iter().enumerate() {
                noise = 0.96 * noise + 0.28 * d.normal();
                let value = 0.05 * noise + if malignant { *level } else { 0.0 };
                if value.abs() > 0.075 {
                    cnv.push((w as u32, value));
                }
            }
            (expr, cnv)
        };
        let (mut expr, mut cnv) = (Parts::new(GENES), Parts::new(WINDOWS));
        for first in (0..n).step_by(DRAWN_TOGETHER) {
            let cells = first..n.min(first + DRAWN_TOGETHER);
            let rows: Vec<_> = cells.into_par_iter().map(row).collect();
            for (e, c) in rows {
                expr.push(&e);
                cnv.push(&c);
            }
        }
        Self {
            expr: expr.finish(),
            cnv: cnv.finish(),
        }
    }
}

struct Parts {
    n_cols: usize,
    indptr: Vec<u64>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl Parts {
    fn new(n_cols: usize) -> Self {
        Self {
            n_cols,
            indptr: vec![0],
            indices: Vec::new(),
            data: Vec::new(),
        }
    }

    fn push(&mut self, row: &[(u32, f32)]) {
        self.indices.extend(row.iter().map(|e| e.0));
        self.data.extend(row.iter().map(|e| e.1));
        self.indptr.push(self.indices.len() as u64);
    }

    fn finish(self) -> Csr {
        Csr::new(self.n_cols, self.indptr, self.indices, self.data).expect("rows as drawn")
    }
}

/// Runs a script of `benches/peers` with the Python that `CLCC_PEER_PYTHON` names, and reads the
/// number that it prints alone on its last line; `None` where none is named.
pub(crate) fn peer(script: &str, args: &[String]) -> Option<f64> {
    let python = std::env::var("CLCC_PEER_PYTHON").ok()?;
    let path = format!("{}/benches/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let out = Command::new(python)
        .arg(path)
        .args(args)
        .output()
        .expect("the peer starts");
    let text = String::from_utf8_lossy(&out.stdout);
    let last = text.lines().last().and_then(|l| l.trim().parse().ok());
    assert!(
        last.is_some(),
        "the peer failed: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    last
}

/// Says that there is no peer.
pub(crate) fn no_peer() {
    println!("peer skipped: CLCC_PEER_PYTHON names no Python");
}

/// Most memory that this process has held, in MiB.
pub(crate) fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |k| k / 1024.0)
}

/// The middle value.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor seconds of this process so far, all threads: what a busy machine does not blur.
pub(crate) fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    // Nanoseconds on a processor are the first number; a thread that has ended is missed.
    let spent = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1e9
}
