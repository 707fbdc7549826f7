//! Reading a GEO text matrix compared with `gzip -dc` of the same file: `cargo bench -p clcc-stages --bench geo_text`.
//!
//! The file is a simulated stand-in of GSE131907 (29,634 genes, 2 % of its cells), made once in the
//! folder for temporary files; `CLCC_BENCH_GEO` names a folder with the series' two files instead.
//! What is timed is the whole stage: unpacking, parsing, selecting the ten patients' cells, writing
//! one store each. With `CLCC_BENCH_GZIP_ONCE` set there is one round (a full-size file takes minutes).

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clcc_stages::ingest::{Ingest, IngestParams};
use clcc_stages::simulate::geo;
use clcc_stages::stage::{Branch, DeviceChoice, InputArtifact, Quiet, Stage as _, StageContext};

const PATIENTS: [&str; 10] = ["06", "08", "09", "18", "19", "20", "28", "30", "31", "34"];

fn main() {
    let folder = std::env::var_os("CLCC_BENCH_GEO").map_or_else(stand_in, PathBuf::from);
    let matrix = folder.join(geo::MATRIX_FILE);
    let size = std::fs::metadata(&matrix).expect("the matrix").len();
    println!("{} ({:.1} MB)", matrix.display(), size as f64 / 1e6);
    let once = std::env::var_os("CLCC_BENCH_GZIP_ONCE").is_some();
    let (mut gzip, mut ours) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..if once { 1 } else { 5 } {
        gzip = gzip.min(unpack(&matrix));
        ours = ours.min(ingest(&folder));
    }
    println!("gzip -dc > /dev/null   {gzip:8.3} s");
    println!("ingest, ten patients   {ours:8.3} s");
    println!(
        "ratio                  {:8.2}   (goal: at most 1.5)",
        ours / gzip
    );
    if let Some(peak) = peak_memory() {
        println!(
            "peak memory            {:8.2} GiB (goal at 208,506 cells: at most 2)",
            peak
        );
    }
}

fn stand_in() -> PathBuf {
    let folder = std::env::temp_dir().join("clcc-bench-geo");
    if !folder.join(geo::ANNOTATION_FILE).is_file() {
        println!("simulating a stand-in in {}", folder.display());
        geo::write_file_set(&folder, &geo::default_params(), 0, 0.02, &Quiet).expect("written");
    }
    folder
}

fn unpack(matrix: &Path) -> f64 {
    let start = Instant::now();
    let status = Command::new("gzip")
        .arg("-dc")
        .arg(matrix)
        .stdout(Stdio::null())
        .status()
        .expect("gzip starts");
    assert!(status.success());
    start.elapsed().as_secs_f64()
}

fn ingest(folder: &Path) -> f64 {
    let out = tempfile::tempdir().expect("a folder");
    let input = |role: &str, name: &str| InputArtifact {
        role: role.into(),
        branch: Branch::new(),
        path: folder.join(name),
        format: None,
        builtin: None,
    };
    let params = IngestParams {
        group_by: "Sample".into(),
        groups: PATIENTS
            .iter()
            .map(|p| {
                (
                    format!("P00{p}"),
                    vec![format!("LUNG_T{p}"), format!("LUNG_N{p}")],
                )
            })
            .collect(),
        ..IngestParams::default()
    };
    let ctx = StageContext {
        inputs: vec![
            input("counts", geo::MATRIX_FILE),
            input("annotations", geo::ANNOTATION_FILE),
        ],
        out_dir: out.path().to_path_buf(),
        keys: PATIENTS.iter().map(|p| format!("P00{p}")).collect(),
        seed: 0,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &AtomicBool::new(false),
    };
    let start = Instant::now();
    Ingest::run(&ctx, &params).expect("ingested");
    start.elapsed().as_secs_f64()
}

/// The largest resident set of this process in GiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / (1 << 20) as f64)
}
