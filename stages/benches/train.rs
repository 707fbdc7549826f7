//! The training step at the paper's size, compared with PyTorch on the same cores; and the memory of a
//! full-size run, artifacts read from disk included.
//!
//!     CLCC_PEER_PYTHON=python cargo bench -p clcc-stages --bench train
//!
//! `CLCC_BENCH_CELLS` cells in all (8,192; the paper's cohort has 80,576, of which 64,460 train),
//! `CLCC_BENCH_STEPS` steps (24), `CLCC_BENCH_REPEATS` times ours and theirs in turn (3).
//!
//! Whole runs to their early stop instead, and the retrieval of their test cells, one line of JSON each:
//!
//!     CLCC_BENCH_WHOLE=1 CLCC_BENCH_CELLS=80576 cargo bench -p clcc-stages --bench train
//!
//! `CLCC_BENCH_DEVICE` (cpu), `CLCC_BENCH_PRECISION` (full) and `CLCC_BENCH_SEEDS` (1), each several by commas;
//! `CLCC_BENCH_EPOCHS` (the stage's default).

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
use clcc_stages::eval::{Eval, EvalParams};
use clcc_stages::frame::{Column, Frame};
use clcc_stages::matrix::Matrix;
use clcc_stages::mine::{Mine, MineParams};
use clcc_stages::stage::{
    Branch, DeviceChoice, InputArtifact, Progress, Quiet, Stage, StageContext,
};
use clcc_stages::train::{BnScope, Precision, Train, TrainParams};
use serde_json::{Value, json};

use method::{Cohort, GENES, WINDOWS, median, no_peer, peak_mib, peer, setting, text};

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
    let quiet = Run::default();
    context(dir.path(), &["expr", "cnv"], &quiet, |ctx| {
        Mine::run(ctx, &mine).expect("mining runs");
    });
    if std::env::var("CLCC_BENCH_WHOLE").is_ok() {
        return whole(dir.path());
    }
    let mut ours = Vec::new();
    let mut theirs = [("eager", Vec::new()), ("fair", Vec::new())];
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
        for (how, theirs) in &mut theirs {
            let size = [2000, GENES, WINDOWS].map(|v| v.to_string());
            let args = [&size[..], &[(*how).to_string()]].concat();
            if let Some(ms) = peer("train.py", &args) {
                let ratio = ours[repeat] / ms;
                println!("PyTorch {how} {repeat}: {ms:.1} ms a step; ratio {ratio:.3}");
                theirs.push(ms);
            }
        }
    }
    let ours = median(&mut ours);
    println!("step, {GENES} genes, {WINDOWS} windows, batch 256, 5 negatives: {ours:.1} ms");
    for (how, theirs) in &mut theirs {
        if theirs.is_empty() {
            return no_peer();
        }
        let theirs = median(theirs);
        let ratio = ours / theirs;
        println!("PyTorch {how}: {theirs:.1} ms; ratio of the medians {ratio:.3}");
    }
}

/// Trains with every device, precision and seed that was asked for.
fn whole(dir: &Path) {
    let precisions = text("CLCC_BENCH_PRECISION", "full");
    for device in text("CLCC_BENCH_DEVICE", "cpu").split(',') {
        let device = match device {
            "cpu" => DeviceChoice::Cpu,
            "cuda" => DeviceChoice::Cuda,
            "metal" => DeviceChoice::Metal,
            other => panic!("CLCC_BENCH_DEVICE: expected cpu, cuda or metal, found `{other}`"),
        };
        for precision in precisions.split(',') {
            for seed in text("CLCC_BENCH_SEEDS", "1").split(',') {
                whole_run(dir, device, precision, seed.parse().expect("a seed"));
            }
        }
    }
}

/// Trains to the early stop, evaluates, and prints what came of it.
fn whole_run(dir: &Path, device: DeviceChoice, precision: &str, seed: u64) {
    let defaults = TrainParams::default();
    let params = TrainParams {
        precision: match precision {
            "full" => Precision::Full,
            "mixed" => Precision::Mixed,
            other => panic!("CLCC_BENCH_PRECISION: expected full or mixed, found `{other}`"),
        },
        epochs: setting("CLCC_BENCH_EPOCHS", defaults.epochs),
        ..defaults
    };
    for left in ["model", "history", "embeddings", "retrieval"].map(|role| dir.join(role)) {
        if left.is_dir() {
            std::fs::remove_dir_all(&left).expect("the run before's outputs go");
        } else if left.exists() {
            std::fs::remove_file(&left).expect("the run before's outputs go");
        }
    }
    let steps = Steps {
        wanted: usize::MAX,
        at: Mutex::default(),
        cancel: AtomicBool::new(false),
    };
    let mut out = serde_json::Map::new();
    let run = Run {
        progress: &steps,
        cancel: &steps.cancel,
        device,
        seed,
    };
    let started = Instant::now();
    let roles = ["expr", "cnv", "split", "moments", "negatives"];
    context(dir, &roles, &run, |ctx| {
        out.extend(Train::run(ctx, &params).expect("training runs"));
    });
    let seconds = started.elapsed().as_secs_f64();
    let at = steps.at.lock().expect("no step panicked");
    let training = (at[at.len() - 1] - at[0]).as_secs_f64();
    context(dir, &["expr", "split", "embeddings"], &run, |ctx| {
        out.extend(Eval::run(ctx, &EvalParams::default()).expect("evaluation runs"));
    });
    out.insert("seed".into(), json!(seed));
    out.insert("precision".into(), json!(precision));
    out.insert("seconds".into(), json!(seconds));
    out.insert("training_seconds".into(), json!(training));
    out.insert(
        "steps_per_second".into(),
        json!((at.len() - 1) as f64 / training),
    );
    out.insert("peak_mib".into(), json!(peak_mib()));
    out.insert("val_loss".into(), json!(val_losses(dir)));
    println!("{}", Value::Object(out));
}

/// The validation losses of the epochs, from the table that training wrote.
fn val_losses(dir: &Path) -> Vec<f64> {
    let table = std::fs::read_to_string(dir.join("history")).expect("the table of epochs");
    let mut lines = table.lines().filter(|l| !l.starts_with('#'));
    let header = lines.next().expect("a header");
    let at = header.split('\t').position(|c| c == "val_loss");
    let at = at.expect("a column `val_loss`");
    lines
        .map(|l| {
            let cell = l.split('\t').nth(at).expect("a cell");
            cell.parse().expect("a number")
        })
        .collect()
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
    let run = Run {
        progress: &progress,
        cancel: &progress.cancel,
        ..Run::default()
    };
    context(dir, &roles, &run, |ctx| {
        let stopped = Train::run(ctx, &params);
        assert!(matches!(stopped, Err(StageError::Cancelled)), "{stopped:?}");
    });
    let at = progress.at.lock().expect("no step panicked");
    let mut steps: Vec<f64> = at
        .windows(2)
        .skip(2)
        .map(|w| (w[1] - w[0]).as_secs_f64() * 1e3)
        .collect();
    let middle = median(&mut steps);
    println!(
        "first step after {:.1} s; peak {:.0} MiB; fastest tenth of {} steps within {:.2} ms, median {middle:.2} ms",
        (at[0] - started).as_secs_f64(),
        peak_mib(),
        steps.len(),
        steps[steps.len() / 10],
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

/// How a stage runs.
struct Run<'a> {
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    device: DeviceChoice,
    seed: u64,
}

impl Default for Run<'_> {
    fn default() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self {
            progress: &Quiet,
            cancel: &NEVER,
            device: DeviceChoice::Cpu,
            seed: 1,
        }
    }
}

fn context(dir: &Path, roles: &[&str], how: &Run<'_>, run: impl FnOnce(&StageContext<'_>)) {
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
        seed: how.seed,
        threads: rayon::current_num_threads(),
        device: how.device,
        checkpoint_dir: None,
        progress: how.progress,
        cancel: how.cancel,
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
