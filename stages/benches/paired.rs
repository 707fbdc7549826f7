//! Retrieval on the ovarian set compared with PyTorch: same cells, features and parts, five seeds, paired.
//!
//!     CLCC_BENCH_CACHE=DIR cargo bench -p clcc-stages --bench paired
//!
//! DIR is the cache in which `tests/reference/train/ovarian_export.py` found what PyTorch was given
//! (the script says how it is made); PyTorch's figures are next to that script. Settings are
//! PyTorch's: 60 epochs, separate batch-norm statistics, the paper's defaults otherwise.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clcc_stages::eval::{Eval, EvalParams};
use clcc_stages::stage::{Branch, DeviceChoice, InputArtifact, Quiet, Stage, StageContext};
use clcc_stages::train::{BnScope, Train, TrainParams};
use serde_json::Value;

/// 97.5 % quantile of Student's t with 4 degrees of freedom.
const T4: f64 = 2.776;

fn main() {
    let Ok(cache) = std::env::var("CLCC_BENCH_CACHE") else {
        println!("skipped: CLCC_BENCH_CACHE names no cache");
        return;
    };
    let peer = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/reference/train/ovarian_pytorch.jsonl"
    );
    let peer = std::fs::read_to_string(peer).expect("PyTorch's figures");
    let peer = peer
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("a JSON line"));
    let theirs: Vec<Value> = peer.filter(|v| v["seed"].is_u64()).collect();
    for bn_scope in [BnScope::Separate, BnScope::Joint] {
        let differences: Vec<f64> = theirs
            .iter()
            .map(|their| {
                let seed = their["seed"].as_u64().expect("a seed");
                let started = Instant::now();
                let ours = run(Path::new(&cache), seed, bn_scope);
                let figure = |name: &str| ours[name].as_f64().expect("a metric");
                let their_mrr = their["mrr"].as_f64().expect("a figure");
                println!(
                    "{bn_scope:?} seed {seed}: MRR {:.4} (PyTorch {their_mrr:.4}), top-1 {:.3}/{:.3}, top-10 {:.3}/{:.3}, best epoch {}, {:.1} s (PyTorch {} s on busy cores)",
                    figure("mrr"),
                    figure("expr_to_cnv_top1"),
                    figure("cnv_to_expr_top1"),
                    figure("expr_to_cnv_top10"),
                    figure("cnv_to_expr_top10"),
                    ours["best_epoch"],
                    started.elapsed().as_secs_f64(),
                    their["seconds"],
                );
                their_mrr - figure("mrr")
            })
            .collect();
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = T4 * (variance / n).sqrt();
        println!(
            "{bn_scope:?}: PyTorch - ours in MRR {mean:.4}, 95 % interval [{:.4}, {:.4}]",
            mean - half,
            mean + half
        );
    }
}

/// The outputs of a node of a cached workflow.
fn outputs(cache: &Path, workflow: &str, node: &str) -> Vec<(String, PathBuf)> {
    let last = cache.join(format!("last/{workflow}.jsonl"));
    let last = std::fs::read_to_string(&last).expect("the keys of the last run");
    let keys = last.lines().filter(|l| !l.is_empty());
    let mut keys =
        keys.map(|l| serde_json::from_str::<[String; 3]>(l).expect("a node, its key, a checksum"));
    let key = keys.find(|k| k[0] == node).expect("the node has run")[1].clone();
    let record = cache.join(format!("ac/{}/{key}.json", &key[..2]));
    let record = std::fs::read_to_string(record).expect("its record");
    let record = record.lines().next().expect("a record, then its checksum");
    let record: Value = serde_json::from_str(record).expect("JSON");
    let outputs = record["outputs"]
        .as_array()
        .expect("outputs")
        .iter()
        .map(|o| {
            let digest = o["digest"].as_str().expect("a digest");
            let role = o["role"].as_str().expect("a role").to_string();
            (role, cache.join(format!("cas/{}/{digest}", &digest[..2])))
        });
    outputs.collect()
}

fn run(cache: &Path, seed: u64, bn_scope: BnScope) -> serde_json::Map<String, Value> {
    let workflow = format!("seed{seed}");
    let mut inputs = Vec::new();
    let mut add = |role: &str, patient: Option<&str>, path: PathBuf| {
        inputs.push(InputArtifact {
            role: role.to_string(),
            branch: patient.map_or_else(Branch::new, |p| {
                Branch::from([("patient".to_string(), p.to_string())])
            }),
            path,
            format: None,
            builtin: None,
        });
    };
    for patient in ["S11", "S12", "S13", "S14"] {
        for (stage, wanted) in [("preprocess", "expr"), ("infercnv", "cnv")] {
            for (role, path) in outputs(cache, &workflow, &format!("{stage}[{patient}]")) {
                if role == wanted {
                    add(wanted, Some(patient), path);
                }
            }
        }
    }
    for (role, path) in outputs(cache, &workflow, "mine") {
        if role != "mining" {
            add(&role, None, path);
        }
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    add("embeddings", None, dir.path().join("embeddings"));
    let cancel = AtomicBool::new(false);
    let context = |roles: &[&str]| StageContext {
        inputs: inputs
            .iter()
            .filter(|i| roles.contains(&i.role.as_str()))
            .cloned()
            .collect(),
        out_dir: dir.path().to_path_buf(),
        keys: vec![],
        seed,
        threads: rayon::current_num_threads(),
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &cancel,
    };
    let params = TrainParams {
        epochs: 60,
        bn_scope,
        ..TrainParams::default()
    };
    let roles = ["expr", "cnv", "split", "moments", "negatives"];
    let mut metrics = Train::run(&context(&roles), &params).expect("training runs");
    let found = Eval::run(
        &context(&["expr", "split", "embeddings"]),
        &EvalParams::default(),
    );
    metrics.extend(found.expect("evaluation runs"));
    metrics
}
