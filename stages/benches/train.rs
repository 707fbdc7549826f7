//! The training step at the paper's size, compared with PyTorch on the same cores; and the memory of a
//! full-size run, artifacts read from disk included.
//!
//!     CLCC_PEER_PYTHON=python cargo bench -p clcc-stages --bench train
//!
//! `CLCC_BENCH_CELLS` cells in all (8,192; the paper's cohort has 80,576, of which 64,460 train),
//! `CLCC_BENCH_STEPS` steps (24), `CLCC_BENCH_REPEATS` times ours and theirs in turn (3).

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod method;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clcc_stages::StageError;
use clcc_stages::anndata::{AnnData, Uns};
use clcc_stages::frame::{Column, Frame};
use clcc_stages::matrix::Matrix;
use clcc_stages::mine::{Mine, MineParams};
use clcc_stages::stage::{
    Branch, DeviceChoice, InputArtifact, Progress, Quiet, Stage, StageContext,
};
use clcc_stages::train::{BnScope, Train, TrainParams};

use method::{Cohort, GENES, WINDOWS, median, no_peer, peak_mib, peer, setting};

const PATIENTS: usize = 10;

fn main() {
    if let Ok(dir) = std::env::var("CLCC_BENCH_CHILD") {
        child(Path::new(&dir));
        return;
    }
    let n = setting("CLCC_BENCH_CELLS", 8192);
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_artifacts(&Cohort::draw(n), n, dir.path());
    // Negatives at random: nearly every drawn cell is another, the most work that a step can have.
    let mine = MineParams {
        cnv_cosine_min: -1.0,
        expr_cosine_max: 1.0,
        candidates: Some(64),
        ..MineParams::default()
    };
    context(
        dir.path(),
        &["expr", "cnv"],
        &Quiet,
        &AtomicBool::new(false),
        |ctx| {
            Mine::run(ctx, &mine).expect("mining runs");
        },
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for repeat in 0..setting("CLCC_BENCH_REPEATS", 3) {
        let me = std::env::current_exe().expect("this program");
        let out = Command::new(me)
            .env("CLCC_BENCH_CHILD", dir.path())
            .output();
        let out = out.expect("the child starts");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        print!("ours {repeat}: {text}");
        let last = text
            .lines()
            .last()
            .and_then(|l| l.rsplit(' ').nth(1)?.parse::<f64>().ok());
        ours.push(last.expect("the child's last line ends with `<milliseconds> ms`"));
        let args = [2000, GENES, WINDOWS].map(|v| v.to_string());
        if let Some(ms) = peer("train.py", &args) {
            println!(
                "PyTorch {repeat}: {ms:.1} ms a step; ratio {:.3}",
                ours[repeat] / ms
            );
            theirs.push(ms);
        }
    }
    let ours = median(&mut ours);
    println!("step, {GENES} genes, {WINDOWS} windows, batch 256, 5 negatives: {ours:.1} ms");
    if theirs.is_empty() {
        no_peer();
    } else {
        let theirs = median(&mut theirs);
        println!(
            "PyTorch: {theirs:.1} ms; ratio of the medians {:.3}",
            ours / theirs
        );
    }
}

/// Times some steps of the stage as the engine runs it, then stops it.
fn child(dir: &Path) {
    let progress = Steps {
        wanted: setting("CLCC_BENCH_STEPS", 24),
        at: Mutex::default(),
        cancel: AtomicBool::new(false),
    };
    let started = Instant::now();
    let roles = ["expr", "cnv", "split", "moments", "negatives"];
    let params = TrainParams {
        bn_scope: if std::env::var("CLCC_BENCH_SEPARATE").is_ok() {
            BnScope::Separate
        } else {
            BnScope::Joint
        },
        ..TrainParams::default()
    };
    context(dir, &roles, &progress, &progress.cancel, |ctx| {
        let stopped = Train::run(ctx, &params);
        assert!(matches!(stopped, Err(StageError::Cancelled)), "{stopped:?}");
    });
    let at = progress.at.lock().expect("no step panicked");
    let mut steps: Vec<f64> = at
        .windows(2)
        .skip(2)
        .map(|w| (w[1] - w[0]).as_secs_f64() * 1e3)
        .collect();
    println!(
        "first step after {:.1} s; peak {:.0} MiB; median of {} steps {:.2} ms",
        (at[0] - started).as_secs_f64(),
        peak_mib(),
        steps.len(),
        median(&mut steps)
    );
}

struct Steps {
    wanted: usize,
    at: Mutex<Vec<Instant>>,
    cancel: AtomicBool,
}

impl Progress for Steps {
    fn step(&self, _: u64, _: u64, _: &str) {
        let mut at = self.at.lock().expect("no step panicked");
        at.push(Instant::now());
        if at.len() == self.wanted {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }
    fn warn(&self, _: &str) {}
}

fn context(
    dir: &Path,
    roles: &[&str],
    progress: &dyn Progress,
    cancel: &AtomicBool,
    run: impl FnOnce(&StageContext<'_>),
) {
    let artifact = |role: &str, patient: Option<usize>| InputArtifact {
        role: role.into(),
        branch: patient.map_or_else(Branch::new, |p| {
            Branch::from([("patient".to_string(), format!("P{p}"))])
        }),
        path: dir.join(patient.map_or(role.to_string(), |p| format!("P{p}.{role}"))),
        format: None,
        builtin: None,
    };
    let inputs = roles.iter().flat_map(|role| match *role {
        "expr" | "cnv" => (0..PATIENTS)
            .map(|p| artifact(role, Some(p)))
            .collect::<Vec<_>>(),
        _ => vec![artifact(role, None)],
    });
    run(&StageContext {
        inputs: inputs.collect(),
        out_dir: dir.to_path_buf(),
        keys: vec![],
        seed: 1,
        threads: rayon::current_num_threads(),
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress,
        cancel,
    });
}

fn write_artifacts(cohort: &Cohort, n: usize, dir: &Path) {
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let mut windows = Frame::new(names("chr1:", WINDOWS));
    windows.set("start", Column::I64((0..WINDOWS as i64).collect()));
    let var = Frame::new(names("gene", GENES));
    for p in 0..PATIENTS {
        let rows: Vec<usize> = (p * n / PATIENTS..(p + 1) * n / PATIENTS).collect();
        let obs = Frame::new(names("cell", rows.len()));
        let expr = AnnData {
            obs: obs.clone(),
            var: var.clone(),
            x: Some(Matrix::Csr(cohort.expr.take_rows(&rows))),
            ..AnnData::default()
        };
        expr.write_zarr(&dir.join(format!("P{p}.expr")))
            .expect("writable");
        let of_cnv = BTreeMap::from([("windows".to_string(), Uns::Frame(windows.clone()))]);
        let cnv = AnnData {
            obs,
            var: var.clone(),
            obsm: BTreeMap::from([(
                "X_cnv".to_string(),
                Matrix::Csr(cohort.cnv.take_rows(&rows)),
            )]),
            uns: BTreeMap::from([("cnv".to_string(), Uns::Dict(of_cnv))]),
            ..AnnData::default()
        };
        cnv.write_zarr(&dir.join(format!("P{p}.cnv")))
            .expect("writable");
    }
}
