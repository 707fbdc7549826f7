//! What the copy-number benchmarks share: simulated patients, the peer process, the truth's scorer.

#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(unreachable_pub, reason = "a module of a binary")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::Path;
use std::process::Command;

use clcc_stages::anndata::{AnnData, Uns};
use clcc_stages::frame::Frame;
use clcc_stages::genome::GeneTable;
use clcc_stages::matrix::{Csr, Matrix};
use clcc_stages::preprocess::{PreprocessParams, preprocess};
use clcc_stages::simulate::{Patient, PatientPlan, SimulateParams, World, simulate_patient};
use clcc_stages::stage::Quiet;

/// A simulated patient and its expression as `preprocess` leaves it.
pub fn patient(params: &SimulateParams, seed: u64) -> (Patient, AnnData) {
    let world = World::new(params, seed).expect("a world");
    let plan = PatientPlan::standard("P0006", params);
    let patient = simulate_patient(&world, &plan, params, seed).expect("a patient");
    let expr = preprocess(
        patient.counts.clone(),
        Some(&GeneTable::grch38()),
        &PreprocessParams::default(),
        &Quiet,
    )
    .expect("expression")
    .expr;
    (patient, expr)
}

/// Runs `benches/peers/<script>` with the Python of `CLCC_PEER_PYTHON`, passing its output through.
/// False, with a line, where that is not set.
pub fn peer(script: &str, args: &[&str]) -> bool {
    let Some(python) = std::env::var_os("CLCC_PEER_PYTHON") else {
        println!("peer skipped: set CLCC_PEER_PYTHON to a Python that has it");
        return false;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/peers")
        .join(script);
    let status = Command::new(python).arg(path).args(args).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "the peer {script} failed"
    );
    true
}

/// Numbers `name value`, one a line, that a peer wrote.
pub fn numbers(path: &Path) -> std::collections::BTreeMap<String, f64> {
    std::fs::read_to_string(path)
        .expect("what the peer wrote")
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(k, v)| (k.to_string(), v.trim().parse().expect("a number")))
        .collect()
}

/// The windows of a `cnv` artifact.
pub fn windows(cnv: &AnnData) -> &Frame {
    match cnv.uns["cnv"].at(&["windows"]) {
        Some(Uns::Frame(windows)) => windows,
        _ => panic!("a frame of windows"),
    }
}

/// Probability that a flagged value is larger than one that is not; ties count half.
pub fn auc(values: &[f64], flagged: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let (mut below, mut wins, mut n) = (0.0, 0.0, 0.0);
    for run in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let hits = run.iter().filter(|&&i| flagged[i]).count() as f64;
        let others = run.len() as f64 - hits;
        wins += hits * (below + others / 2.0);
        below += others;
        n += hits;
    }
    wins / (n * below)
}

/// Pearson's correlation.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
    }
    ab / (aa * bb).sqrt()
}

/// Adjusted Rand index.
pub fn ari<A: Ord + Clone, B: Ord + Clone>(a: &[A], b: &[B]) -> f64 {
    use std::collections::BTreeMap;
    let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
    let (mut both, mut rows, mut cols) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (x, y) in a.iter().zip(b) {
        *both.entry((x.clone(), y.clone())).or_insert(0usize) += 1;
        *rows.entry(x.clone()).or_insert(0usize) += 1;
        *cols.entry(y.clone()).or_insert(0usize) += 1;
    }
    let joint: f64 = both.values().map(|&n| pairs(n)).sum();
    let (r, c): (f64, f64) = (
        rows.values().map(|&n| pairs(n)).sum(),
        cols.values().map(|&n| pairs(n)).sum(),
    );
    let expected = r * c / pairs(a.len());
    (joint - expected) / ((r + c) / 2.0 - expected)
}

/// How well inferred copy number shows what was planted.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// AUC of malignant cells by mean |X_cnv|.
    pub malignant: f64,
    /// Share of windows inside events whose mean over the clone's cells has the event's sign.
    pub sign: f64,
    /// Mean over clones of the correlation of the mean profile with the true log ratios.
    pub pearson: f64,
    /// Mean over malignant cells of the AUC of gained windows by X_cnv.
    pub gains: f64,
    /// The same for lost windows by -X_cnv.
    pub losses: f64,
}

impl Score {
    /// One line.
    pub fn line(&self) -> String {
        format!(
            "malignant AUC {:.4}  event sign {:.4}  clone Pearson {:.4}  gain AUC {:.4}  loss AUC {:.4}",
            self.malignant, self.sign, self.pearson, self.gains, self.losses
        )
    }
}

/// Scores `x_cnv` (`n_cells x n_windows`) of `patient`, whose windows are the rows of `windows`.
/// A window's true ratio is that of the event that holds it whole; windows across an event's end
/// take no part in `sign`, and count with the ratio at their middle elsewhere.
pub fn score(
    patient: &Patient,
    obs: &Frame,
    windows: &Frame,
    x_cnv: &Csr,
    burden: &[f64],
) -> Score {
    let chromosome = windows.texts("chromosome").expect("windows");
    let (start, end) = (
        windows.numbers("start").expect("windows"),
        windows.numbers("end").expect("windows"),
    );
    let clone_of = obs.texts("truth_clone").expect("truth");
    let malignant = obs.flags("truth_malignant").expect("truth");
    let mut out = Score {
        malignant: auc(burden, malignant),
        ..Score::default()
    };
    let (mut right, mut inside, mut n_cells) = (0.0, 0.0, 0.0);
    let n = windows.len();
    for clone in &patient.clones {
        let mut truth = vec![0.0; n];
        let mut whole = vec![false; n];
        for event in &clone.events {
            let (from, to) = event.span();
            for w in 0..n {
                let middle = (start[w] + end[w]) / 2.0;
                if chromosome[w] == event.chromosome && middle >= from as f64 && middle <= to as f64
                {
                    truth[w] = clcc_stages::math::ln(event.ratio);
                    whole[w] = start[w] >= from as f64 && end[w] <= to as f64;
                }
            }
        }
        let (gained, lost): (Vec<bool>, Vec<bool>) =
            truth.iter().map(|t| (*t > 0.0, *t < 0.0)).unzip();
        let mut mean = vec![0.0; n];
        for c in (0..clone_of.len()).filter(|&c| clone_of[c] == clone.name) {
            let mut row = vec![0.0; n];
            let (cols, vals) = x_cnv.row(c);
            for (&w, &v) in cols.iter().zip(vals) {
                row[w as usize] = f64::from(v);
                mean[w as usize] += f64::from(v);
            }
            out.gains += auc(&row, &gained);
            out.losses += auc(&row.iter().map(|v| -v).collect::<Vec<_>>(), &lost);
            n_cells += 1.0;
        }
        for w in (0..n).filter(|&w| whole[w]) {
            inside += 1.0;
            right += f64::from(u8::from(mean[w] * truth[w] > 0.0));
        }
        out.pearson += pearson(&mean, &truth) / patient.clones.len() as f64;
    }
    out.sign = right / inside;
    out.gains /= n_cells;
    out.losses /= n_cells;
    out
}

/// Mean |value| of each row, zeros included.
pub fn burden(x: &Csr) -> Vec<f64> {
    (0..x.n_rows())
        .map(|c| x.row(c).1.iter().map(|v| f64::from(v.abs())).sum::<f64>() / x.n_cols() as f64)
        .collect()
}

/// The CSR matrix of an `obsm` entry.
pub fn csr(matrix: &Matrix) -> Csr {
    matrix.clone().into_csr()
}

/// A file of the shared data next to the checkout or further up, where it is present.
pub fn shared(name: &str) -> Option<std::path::PathBuf> {
    let ancestors = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    ancestors
        .map(|a| a.join("shared/data").join(name))
        .find(|p| p.exists())
}

/// Processor seconds of this process so far, all threads: what a busy machine does not blur.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    // Fields 14 and 15 of the line, in hundredths; the name in brackets ends the second.
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    (ticks(11) + ticks(12)) / 100.0
}
