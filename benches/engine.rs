//! What the engine costs when there is nothing to do, and for each node that it runs.
//!
//! `cargo bench --bench engine`; with `CLCC_PEER_PYTHON=PYTHON`, whose `snakemake` is the peer, on
//! as many chained copies. `CLCC_POPULATE=DIR` only fills DIR with a workflow of 1,000 nodes and its cache, for strace
//! and perf; `CLCC_NODES=N` leaves larger workflows out. Every time is the median of five runs of the whole program.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clcc_cache::{
    ActionRecord, Digest, Journal, OutputRecord, RECORD_FORMAT, StatCache, Store, measure, pack,
};
use clcc_flow::decide::{Decider, Lookahead, digest_inputs};
use clcc_flow::plan::{Overrides, Plan};
use clcc_flow::workflow::Workflow;
use clcc_stages::stage::Publish;
use serde_json::json;

const RUNS: usize = 5;
/// Files in the AnnData store that a synthetic node writes, as in the demo's on average.
const FILES: usize = 72;
/// Tables that it publishes beside it, where it does.
const TABLES: usize = 2;

fn main() {
    if let Some(dir) = std::env::var_os("CLCC_POPULATE") {
        let file = Path::new(&dir).join("w.yaml");
        std::fs::write(&file, workflow(1_000)).expect("written");
        populate(Path::new(&dir), &file, Layout::Archives);
        return;
    }
    // Before the large caches below, whose write-back would weigh on its syncs.
    per_node();
    println!("nodes\tcache of\tverb\tmedian_ms\tpeak_mib\ttarget_ms");
    let sizes = [(100, 30), (1_000, 100), (10_000, 800)];
    let most = std::env::var("CLCC_NODES")
        .ok()
        .and_then(|n| n.parse().ok());
    for (nodes, target) in sizes
        .into_iter()
        .filter(|(n, _)| most.is_none_or(|m| *n <= m))
    {
        nothing_to_do(nodes, target, Layout::Archives);
        if nodes == 1_000 {
            nothing_to_do(nodes, target, Layout::Folders);
        }
    }
    if let Some(python) = std::env::var_os("CLCC_PEER_PYTHON") {
        for nodes in [100, 1_000] {
            snakemake(Path::new(&python), nodes);
        }
    } else {
        println!("peer skipped: CLCC_PEER_PYTHON is not set");
    }
}

/// `nodes` nodes: one `simulate`, then nine for each patient, seven of them `cluster`.
fn workflow(nodes: usize) -> String {
    let patients: Vec<String> = (0..nodes / 9).map(|i| format!("P{i:04}")).collect();
    let variants: Vec<String> = (5..12)
        .map(|i| format!("k{i}: {{cluster: {{n_neighbors: {i}}}}}"))
        .collect();
    format!(
        "version: 1\nname: bench\naxes:\n  patient: [{}]\n  variant: {{{}}}\n\
         inputs:\n  genes: {{builtin: grch38}}\n\
         stages:\n  simulate: {{params: {{n_cells: 40, n_genes: 1500}}}}\n  \
         preprocess: {{per: patient, needs: [simulate], inputs: [genes]}}\n  \
         infercnv: {{per: patient, needs: [preprocess]}}\n  \
         cluster: {{per: [patient, variant], needs: [infercnv]}}\n",
        patients.join(", "),
        variants.join(", ")
    )
}

/// How the cache keeps a directory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// As one file.
    Archives,
    /// File by file, as versions before did.
    Folders,
}

/// Writes a record and a synthetic output for every node, as if all had run.
fn populate(dir: &Path, file: &Path, layout: Layout) -> usize {
    let workflow = Workflow::load(file).expect("a workflow");
    let plan = Plan::new(&workflow, &Overrides::default()).expect("a plan");
    let store = Store::open(&dir.join(".clcc")).expect("a cache");
    let mut stat = StatCache::open(&store.root().join("stat.jsonl"), true);
    let inputs = digest_inputs(&plan, &mut stat).expect("inputs");
    let last: Journal<Digest> = Journal::open(&store.root().join("last/bench.jsonl"));
    let force = BTreeSet::new();
    let decider = Decider {
        plan: &plan,
        store: &store,
        inputs: &inputs,
        last: &last,
        force: &force,
        numerics: "cpu",
        ahead: Lookahead::default(),
    };
    let mut known = vec![None; plan.nodes.len()];
    for id in 0..plan.nodes.len() {
        let preimage = decider
            .preimage(id, &known, &BTreeSet::new())
            .expect("producers are known");
        let key = preimage.key();
        let attempt = store.new_attempt(&key).expect("an attempt");
        let mut outputs = Vec::new();
        for decl in &plan.nodes[id].resolved.outputs {
            let keys: Vec<Option<String>> = if decl.keyed {
                plan.nodes[id].keys.iter().cloned().map(Some).collect()
            } else {
                vec![None]
            };
            for output in keys {
                let path = attempt.join(decl.role);
                std::fs::create_dir_all(&path).expect("made");
                let files = match decl.publish {
                    Publish::No => FILES,
                    _ => TABLES,
                };
                for f in 0..files {
                    let text = format!("{key} {output:?} {f}");
                    std::fs::write(path.join(f.to_string()), text).expect("written");
                }
                let (at, artifact) = match layout {
                    Layout::Archives => {
                        let packed = attempt.join("packed");
                        let artifact = pack(&path, &packed).expect("packed");
                        (packed, artifact)
                    }
                    Layout::Folders => {
                        let artifact = measure(&path).expect("measured");
                        (path, artifact)
                    }
                };
                store.insert(&at, &artifact).expect("inserted");
                outputs.push(OutputRecord::new(decl.role, output, &artifact));
            }
        }
        std::fs::remove_dir_all(&attempt).expect("removed");
        let record = ActionRecord {
            format: RECORD_FORMAT,
            key,
            preimage: serde_json::to_value(&preimage).expect("JSON"),
            outputs,
            metrics: json!({"n_clusters": 7}),
            warnings: vec![],
            measured: json!({"seconds": 1.0, "peak_rss_bytes": 1 << 26, "input_bytes": 1 << 20}),
        };
        store.commit(&record).expect("committed");
        known[id] = Some(Arc::new(record));
    }
    plan.nodes.len()
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clcc-flow"));
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Median wall time in ms and peak resident memory in MiB.
fn timed(dir: &Path, args: &[&str]) -> (f64, f64) {
    let mut times = Vec::new();
    let mut peak = 0.0f64;
    for _ in 0..RUNS {
        let began = Instant::now();
        let mut child = command(dir, args).spawn().expect("it starts");
        let status = format!("/proc/{}/status", child.id());
        // The high-water mark only rises: the last reading before the end counts.
        let end = loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let kib = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            let kib = kib.and_then(|v| v.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
            if let Some(end) = child.try_wait().expect("waited") {
                break end;
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        assert!(end.success(), "{args:?}");
        times.push(began.elapsed());
    }
    (median(times), peak)
}

fn nothing_to_do(nodes: usize, target_ms: u64, layout: Layout) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("w.yaml"), workflow(nodes)).expect("written");
    let n = populate(dir.path(), &dir.path().join("w.yaml"), layout);
    let one = "cluster[P0005,k5]";
    for (verb, args, target) in [
        ("run", vec!["run", "w.yaml"], target_ms),
        (
            "plan",
            vec!["plan", "w.yaml"],
            if nodes == 1_000 { 100 } else { 0 },
        ),
        (
            "check",
            vec!["check", "w.yaml"],
            if nodes == 1_000 { 50 } else { 0 },
        ),
        (
            "explain",
            vec!["explain", "w.yaml", one],
            if nodes == 1_000 { 20 } else { 0 },
        ),
    ] {
        // The first run writes the results' index.
        assert!(
            command(dir.path(), &args)
                .status()
                .expect("it starts")
                .success()
        );
        let (ms, mib) = timed(dir.path(), &args);
        println!("{n}\t{layout:?}\t{verb}\t{ms:.1}\t{mib:.1}\t{target}");
    }
}

/// Wall time of a run with one job, less what the stages took themselves, less bare syncs.
fn per_node() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("w.yaml"), workflow(36)).expect("written");
    let began = Instant::now();
    let status = command(dir.path(), &["run", "w.yaml", "-j", "1"]).status();
    let wall = began.elapsed().as_secs_f64();
    assert!(status.expect("it starts").success());
    let run = std::fs::read(dir.path().join("results/bench/run.json")).expect("a record");
    let run: serde_json::Value = serde_json::from_slice(&run).expect("JSON");
    let nodes = run["nodes"].as_array().expect("nodes");
    let inside: f64 = nodes
        .iter()
        .filter_map(|n| n["measured"]["seconds"].as_f64())
        .sum();
    let artifacts: usize = nodes
        .iter()
        .filter_map(|n| n["outputs"].as_array())
        .map(Vec::len)
        .sum();
    // An artifact and its shard; the record and its own.
    let syncs = 2 * artifacts + 2 * nodes.len();
    let bare = bare_syncs(dir.path(), syncs);
    let per = |seconds: f64| seconds * 1e3 / nodes.len() as f64;
    println!(
        "executed node: {:.1} ms beyond its stage, of which {syncs} bare syncs take {:.1} ms: engine {:.1} ms (target 5)",
        per(wall - inside),
        per(bare),
        per(wall - inside - bare)
    );
}

fn bare_syncs(dir: &Path, n: usize) -> f64 {
    let began = Instant::now();
    for i in 0..n {
        let mut file = std::fs::File::create(dir.join(format!("sync{}", i % 7))).expect("made");
        file.write_all(b"x")
            .and_then(|()| file.sync_all())
            .expect("synced");
    }
    began.elapsed().as_secs_f64()
}

/// As many chained copies in Snakemake: ten rules for each sample.
fn snakemake(python: &Path, nodes: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let samples = nodes / 10;
    let mut text = format!("S = range({samples})\nrule all:\n    input: expand('o9/{{s}}', s=S)\n");
    for i in 0..10 {
        let input = if i == 0 {
            "in/{s}".to_string()
        } else {
            format!("o{}/{{s}}", i - 1)
        };
        let _ = writeln!(
            text,
            "rule r{i}:\n    input: '{input}'\n    output: 'o{i}/{{s}}'\n    shell: 'cp {{input}} {{output}}'"
        );
    }
    std::fs::write(dir.path().join("Snakefile"), text).expect("written");
    std::fs::create_dir(dir.path().join("in")).expect("made");
    for s in 0..samples {
        std::fs::write(dir.path().join("in").join(s.to_string()), s.to_string()).expect("written");
    }
    let run = || {
        let status = Command::new(python)
            .args(["-m", "snakemake", "-j2", "--quiet"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("snakemake starts").success());
    };
    run();
    let times = (0..RUNS).map(|_| {
        let began = Instant::now();
        run();
        began.elapsed()
    });
    println!(
        "{nodes}\tsnakemake, nothing to do\t{:.0}\t\t",
        median(times.collect())
    );
}
