//! No stage holds a cohort's matrix.
//!
//! The stand-in has 100 patients, whose artifacts are those of one: a stage that joins patients reads them a hundred
//! times. Each stage runs with the patient's cells, and with all of them twice. Patients, clones and genes are the same,
//! so what the second run takes more is what a cell takes: labels, scores, an embedding; no row of a matrix. An
//! allocator counts, so the figures are the same every time.
//!
//!     cargo test -p clcc-stages --test memory -- --nocapture

#![cfg(all(feature = "train", feature = "report"))]
#![allow(
    unsafe_code,
    clippy::print_stdout,
    reason = "an allocator cannot be counted otherwise, and the figures are worth reading"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clcc_stages::anndata::Reader;
use clcc_stages::baselines::{Baselines, BaselinesParams};
use clcc_stages::cluster::{Cluster, ClusterParams};
use clcc_stages::concordance::{Concordance, ConcordanceParams};
use clcc_stages::de::{De, DeParams};
use clcc_stages::dosage::{Dosage, DosageParams};
use clcc_stages::eval::{Eval, EvalParams};
use clcc_stages::export::{Export, ExportParams};
use clcc_stages::infercnv::{Infercnv, InfercnvParams};
use clcc_stages::matrix::hold_at_most;
use clcc_stages::mine::{Mine, MineParams};
use clcc_stages::preprocess::{Preprocess, PreprocessParams};
use clcc_stages::simulate::{Simulate, SimulateParams};
use clcc_stages::stage::{DeviceChoice, InputArtifact, Metrics, Quiet, Stage, StageContext};
use clcc_stages::train::{Train, TrainParams};

/// Counts the bytes that are held.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    // Both pieces count while one is copied to the other.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

const PATIENTS: usize = 100;
/// Cells of a patient. Enough in all that samples of a fixed size, as those of `mine`, are full.
const CELLS: usize = 60;
/// The patient whose artifacts all patients have.
const PATIENT: &str = "P1";

/// The stages that join patients or read what these wrote, and the bytes that each may take for a cell.
const MOST_OF_A_CELL: [(&str, f64); 8] = [
    ("mine", 2000.0),
    ("train", 2000.0),
    ("eval", 2000.0),
    ("concordance", 2000.0),
    ("dosage", 2000.0),
    ("de", 2000.0),
    ("baselines", 2000.0),
    ("export", 2000.0),
];

fn artifact(role: &str, patient: Option<&str>, path: PathBuf) -> InputArtifact {
    let named = |p: &str| ("patient".to_string(), p.to_string());
    InputArtifact {
        role: role.into(),
        branch: patient.map(named).into_iter().collect(),
        path,
        format: None,
        builtin: None,
    }
}

/// Runs a stage; returns the most that it held, and its metrics.
fn run<S: Stage>(dir: &Path, inputs: Vec<InputArtifact>, params: &S::Params) -> (usize, Metrics) {
    let cancel = AtomicBool::new(false);
    let ctx = StageContext {
        inputs,
        out_dir: dir.to_path_buf(),
        keys: vec![PATIENT.to_string()],
        seed: 1,
        threads: 1,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &cancel,
    };
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let metrics = S::run(&ctx, params).unwrap_or_else(|e| panic!("{}: {e}", S::KIND));
    (MOST.load(Ordering::Relaxed) - before, metrics)
}

/// Makes `expr`, `cnv` and `clusters` of the patient.
fn patient(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let params = SimulateParams {
        n_cells: CELLS,
        n_genes: 6000,
        malignant_share: 0.8,
        n_clones: 1,
        ..SimulateParams::default()
    };
    run::<Simulate>(dir, Vec::new(), &params);
    let mut genes = artifact("genes", None, PathBuf::new());
    genes.builtin = Some("grch38".into());
    let counts = artifact("counts", None, dir.join("counts").join(PATIENT));
    run::<Preprocess>(dir, vec![counts, genes], &PreprocessParams::default());
    let infercnv = InfercnvParams {
        dynamic_threshold: None,
        ..InfercnvParams::default()
    };
    let expr = artifact("expr", None, dir.join("expr"));
    run::<Infercnv>(dir, vec![expr.clone()], &infercnv);
    let cnv = artifact("cnv", None, dir.join("cnv"));
    run::<Cluster>(dir, vec![expr, cnv], &ClusterParams::default());
}

/// The artifacts of the patient with all cells twice.
fn twice(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for role in ["expr", "cnv", "clusters"] {
        let mut data = Reader::open(&from.join(role)).unwrap().read().unwrap();
        let rows: Vec<usize> = (0..CELLS).chain(0..CELLS).collect();
        data.obs = data.obs.take(&rows);
        for name in &mut data.obs.index[CELLS..] {
            name.push_str("-again");
        }
        data.x = data.x.map(|x| x.take_rows(&rows));
        for matrix in data.layers.values_mut().chain(data.obsm.values_mut()) {
            *matrix = matrix.take_rows(&rows);
        }
        data.obsp.clear();
        data.write_zarr(&to.join(role)).unwrap();
    }
}

/// Artifacts of a hundred patients: all are those in a directory.
struct Artifacts<'a>(&'a Path);

impl Artifacts<'_> {
    /// One of each patient for each role.
    fn all(&self, roles: &[&str]) -> Vec<InputArtifact> {
        let patients = (1..=PATIENTS).map(|p| format!("P{p}"));
        let of = |p: String| {
            roles
                .iter()
                .map(move |r| artifact(r, Some(&p), self.0.join(r)))
        };
        patients.flat_map(of).collect()
    }

    /// One for each role.
    fn joined(&self, roles: &[&str]) -> Vec<InputArtifact> {
        let one = |role: &&str| artifact(role, None, self.0.join(role));
        roles.iter().map(one).collect()
    }

    fn both(&self, all: &[&str], joined: &[&str]) -> Vec<InputArtifact> {
        [self.all(all), self.joined(joined)].concat()
    }
}

/// Bytes that each stage takes for a hundred patients with the artifacts in `dir`.
fn cohort(dir: &Path) -> BTreeMap<&'static str, usize> {
    let of = Artifacts(dir);
    let mut out = BTreeMap::new();
    let mine = run::<Mine>(dir, of.all(&["expr", "cnv"]), &MineParams::default());
    assert!(mine.1["hard_pairs"].as_u64() > Some(0), "{:?}", mine.1);
    out.insert("mine", mine.0);
    let inputs = of.both(&["expr", "cnv"], &["split", "moments", "negatives"]);
    let params = TrainParams {
        epochs: 1,
        batch_size: 64,
        expr_hidden: vec![16],
        cnv_hidden: vec![16],
        embedding_dim: 8,
        ..TrainParams::default()
    };
    out.insert("train", run::<Train>(dir, inputs, &params).0);
    let inputs = of.both(&["expr"], &["split", "embeddings"]);
    let eval = run::<Eval>(dir, inputs, &EvalParams::default());
    out.insert("eval", eval.0);
    let inputs = of.both(&["expr", "clusters"], &["split", "embeddings"]);
    let concordance = run::<Concordance>(dir, inputs, &ConcordanceParams::default());
    out.insert("concordance", concordance.0);
    let params = DosageParams {
        min_cells: 5,
        n_null: 1,
        max_cells: 100,
        ..DosageParams::default()
    };
    let dosage = run::<Dosage>(dir, of.all(&["expr", "cnv", "clusters"]), &params);
    assert!(
        dosage.1["n_cells_scored"].as_u64() > Some(1000),
        "{:?}",
        dosage.1
    );
    out.insert("dosage", dosage.0);
    let inputs = of.both(&["expr", "cnv", "clusters"], &["concordance", "dosage"]);
    out.insert("de", run::<De>(dir, inputs, &DeParams::default()).0);
    // Without `clusters`: the mixture works on the residuals of all malignant cells.
    let params = BaselinesParams {
        n_comps: 3,
        ..BaselinesParams::default()
    };
    let inputs = of.both(&["expr", "cnv"], &["split"]);
    out.insert("baselines", run::<Baselines>(dir, inputs, &params).0);
    let own = of.joined(&["expr", "cnv", "clusters", "embeddings", "concordance"]);
    out.insert(
        "export",
        run::<Export>(dir, own, &ExportParams::default()).0,
    );
    out
}

#[test]
fn a_cell_of_a_hundred_patients_takes_no_row_of_a_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let (once, again) = (dir.path().join("once"), dir.path().join("twice"));
    // With one thread the same is held at the same time in every run.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let (small, large) = one.unwrap().install(|| {
        patient(&once);
        twice(&once, &again);
        hold_at_most(1 << 20);
        (cohort(&once), cohort(&again))
    });
    let x = Reader::open(&once.join("expr")).unwrap().x().unwrap();
    let row = (8 * x.into_csr().nnz() / CELLS) as f64;
    println!("a row of expression: {row:.0} bytes");
    for (kind, most) in MOST_OF_A_CELL {
        let cells = (PATIENTS * CELLS) as f64;
        let bytes = (large[kind] as f64 - small[kind] as f64) / cells;
        println!(
            "{kind}: {bytes:.0} bytes a cell; {} of 100 patients",
            small[kind]
        );
        assert!(2.0 * most < row, "{kind}: a matrix would pass this bound");
        assert!(
            bytes < most,
            "{kind}: {bytes:.0} bytes a cell, expected at most {most}"
        );
    }
}
