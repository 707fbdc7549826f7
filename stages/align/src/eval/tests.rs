//! Method A from stored artifacts to the retrieval table: `mine`, `train`, `eval` one after another.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::mine::tensors::TensorFile;
use crate::mine::{Mine, MineParams};
use crate::train::{CnvInput, Precision, Train, TrainParams};
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_data::table::TextTable;
use clcc_numerics::rng::Rng;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Progress, Quiet};
use clcc_testing::at_threads;

const GENES: usize = 120;
const WINDOWS: usize = 20;

/// A patient's cells: clones with their own copy number, which expression follows.
fn write_patient(dir: &Path, name: &str, n: usize, seed: u64) {
    let mut rng = Rng::new(seed, "test.patient", &[]);
    let clones: Vec<Vec<f64>> = (0..4)
        .map(|_| (0..WINDOWS).map(|_| rng.normal()).collect())
        .collect();
    let (mut expr, mut cnv) = (Vec::new(), Vec::new());
    for i in 0..n {
        let state: Vec<f64> = clones[i % 4]
            .iter()
            .map(|c| c + 0.3 * rng.normal())
            .collect();
        let gene = |j: usize, rng: &mut Rng| {
            (1.0 + state[j % WINDOWS]).max(0.0) * f64::from(u8::from(rng.uniform() < 0.5))
        };
        expr.push(
            (0..GENES)
                .map(|j| (j as u32, gene(j, &mut rng) as f32))
                .filter(|e| e.1 != 0.0)
                .collect::<Vec<_>>(),
        );
        cnv.push(
            (0..WINDOWS)
                .map(|j| (j as u32, state[j] as f32))
                .filter(|e| e.1.abs() > 0.1)
                .collect::<Vec<_>>(),
        );
    }
    let names = |prefix: &str, n: usize| {
        (0..n)
            .map(|i| format!("{prefix}{i}"))
            .collect::<Vec<String>>()
    };
    let mut obs = Frame::new(names("cell", n));
    obs.set_category(
        "cell_type",
        &(0..n)
            .map(|i| {
                if i % 2 == 0 {
                    "Epithelial cells"
                } else {
                    "T lymphocytes"
                }
            })
            .collect::<Vec<_>>(),
    );
    let var = Frame::new(names("gene", GENES));
    let x = Some(Matrix::Csr(Csr::from_rows(GENES, expr)));
    let store = AnnData {
        obs: obs.clone(),
        var: var.clone(),
        x,
        ..AnnData::default()
    };
    store.write_zarr(&dir.join(format!("{name}.expr"))).unwrap();

    let mut windows = Frame::new(names("chr1:", WINDOWS));
    windows.set("start", Column::I64((0..WINDOWS as i64).collect()));
    let uns = BTreeMap::from([(
        "cnv".to_string(),
        Uns::Dict(BTreeMap::from([(
            "windows".to_string(),
            Uns::Frame(windows),
        )])),
    )]);
    let obsm = BTreeMap::from([(
        "X_cnv".to_string(),
        Matrix::Csr(Csr::from_rows(WINDOWS, cnv)),
    )]);
    let store = AnnData {
        obs: Frame::new(obs.index.clone()),
        var,
        obsm,
        uns,
        ..AnnData::default()
    };
    store.write_zarr(&dir.join(format!("{name}.cnv"))).unwrap();

    let mut clusters = Frame::new(obs.index);
    clusters.set_category(
        "cnv_leiden",
        &(0..n).map(|i| (i % 4).to_string()).collect::<Vec<_>>(),
    );
    AnnData {
        obs: clusters,
        ..AnnData::default()
    }
    .write_zarr(&dir.join(format!("{name}.clusters")))
    .unwrap();
}

/// Inputs, private directories and switches of a run of the three stages.
struct Bench {
    inputs: Vec<InputArtifact>,
    out: PathBuf,
    cancel: AtomicBool,
    checkpoint_dir: Option<PathBuf>,
}

impl Bench {
    fn new(data: &Path, out: &Path) -> Self {
        let mut inputs = Vec::new();
        for patient in ["P1", "P2"] {
            for role in ["expr", "cnv", "clusters"] {
                inputs.push(InputArtifact {
                    role: role.into(),
                    branch: Branch::from([("patient".to_string(), patient.to_string())]),
                    path: data.join(format!("{patient}.{role}")),
                    format: None,
                    builtin: None,
                });
            }
        }
        Self {
            inputs,
            out: out.to_path_buf(),
            cancel: AtomicBool::new(false),
            checkpoint_dir: None,
        }
    }

    /// Runs one stage and makes its outputs inputs of the next.
    fn run<S: Stage>(
        &mut self,
        params: &S::Params,
        progress: &dyn Progress,
    ) -> StageResult<Metrics> {
        let reads: Vec<&str> = S::reads(params).iter().map(|r| r.role).collect();
        let ctx = StageContext {
            // Only what is declared is handed over, as the engine does.
            inputs: self
                .inputs
                .iter()
                .filter(|i| reads.contains(&i.role.as_str()))
                .cloned()
                .collect(),
            out_dir: self.out.clone(),
            keys: vec![],
            seed: 42,
            threads: 1,
            device: DeviceChoice::Auto,
            checkpoint_dir: self.checkpoint_dir.clone(),
            progress,
            cancel: &self.cancel,
        };
        let metrics = S::run(&ctx, params)?;
        for output in S::outputs(params) {
            let path = self.out.join(output.role);
            assert!(path.exists(), "{} is written", output.role);
            self.inputs.push(InputArtifact {
                role: output.role.into(),
                branch: Branch::new(),
                path,
                format: None,
                builtin: None,
            });
        }
        Ok(metrics)
    }

    fn all(&mut self, train: &TrainParams) -> Metrics {
        self.run::<Mine>(
            &MineParams {
                expr_cosine_max: 0.5,
                ..MineParams::default()
            },
            &Quiet,
        )
        .unwrap();
        self.run::<Train>(train, &Quiet).unwrap();
        self.run::<Eval>(
            &EvalParams {
                matrix_cells: 7,
                ..EvalParams::default()
            },
            &Quiet,
        )
        .unwrap()
    }
}

fn quick() -> TrainParams {
    TrainParams {
        epochs: 12,
        batch_size: 32,
        expr_hidden: vec![32, 16],
        cnv_hidden: vec![16, 16],
        embedding_dim: 8,
        ..TrainParams::default()
    }
}

fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_patient(dir.path(), "P1", 90, 1);
    write_patient(dir.path(), "P2", 110, 2);
    dir
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    out.into_iter()
        .map(|(p, b)| (p.strip_prefix(dir).unwrap().to_path_buf(), b))
        .collect()
}

#[test]
fn test_cells_find_their_other_half_far_above_chance() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(data.path(), out.path());
    let metrics = bench.all(&TrainParams {
        epochs: 40,
        ..quick()
    });
    let number = |name: &str| metrics[name].as_f64().unwrap();
    assert_eq!(metrics["test_cells"], 20);
    assert_eq!(
        number("mrr"),
        (number("expr_to_cnv_mrr") + number("cnv_to_expr_mrr")) / 2.0
    );
    assert!(
        number("expr_to_cnv_mrr") > 2.0 * number("chance_mrr"),
        "{metrics:?}"
    );
    assert!(
        number("mean_negative_gap") > 0.2
            && number("alignment_gap") < number("mean_negative_gap") - 0.1,
        "{metrics:?}"
    );
    for way in ["expr_to_cnv", "cnv_to_expr"] {
        assert_eq!(
            number(&format!("{way}_positive_gap_fraction")),
            number(&format!("{way}_top1"))
        );
    }

    let table = TextTable::read(&out.path().join("retrieval/retrieval.tsv")).unwrap();
    assert_eq!(
        table
            .texts("scope")
            .unwrap()
            .iter()
            .filter(|s| **s == "patient")
            .count(),
        6
    );
    assert_eq!(
        table
            .texts("scope")
            .unwrap()
            .iter()
            .filter(|s| **s == "cell_type")
            .count(),
        6
    );
    let queries = table.numbers("queries").unwrap();
    // Both patients' and both types' test cells add up to all of them.
    for scope in ["patient", "cell_type"] {
        let rows = (0..table.rows.len()).filter(|&r| {
            table.rows[r][0] == scope && table.texts("direction").unwrap()[r] == "chance"
        });
        assert_eq!(rows.map(|r| queries[r]).sum::<f64>(), 20.0, "{scope}");
    }
    let matrix = TextTable::read(&out.path().join("retrieval/similarity_matrix.tsv")).unwrap();
    assert_eq!((matrix.header.len(), matrix.rows.len()), (8, 7));
    assert_eq!(matrix.header[1], matrix.rows[0][0]);

    let embeddings = clcc_data::anndata::Reader::open(&out.path().join("embeddings")).unwrap();
    let e = embeddings.obsm("X_clcc_expr").unwrap().into_dense();
    assert_eq!(e.dim(), (200, 8));
    assert!(e.rows().into_iter().all(|r| (r.dot(&r) - 1.0).abs() < 1e-5));
    let history = TextTable::read(&out.path().join("history")).unwrap();
    assert_eq!(
        history.header,
        [
            "epoch",
            "lr",
            "train_loss",
            "nce",
            "margin",
            "val_loss",
            "temperature",
            "best"
        ]
    );
    assert_eq!(
        history
            .texts("best")
            .unwrap()
            .iter()
            .filter(|b| **b == "True")
            .count(),
        1
    );
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let data = data();
    let run = |threads: usize| {
        let out = tempfile::tempdir().unwrap();
        at_threads(threads, || {
            Bench::new(data.path(), out.path()).all(&quick())
        });
        files(out.path())
    };
    let one = run(1);
    assert!(one.len() > 8);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

/// Sets the cancel flag after some training steps.
struct CancelAfter<'a> {
    steps: u64,
    seen: AtomicU64,
    cancel: &'a AtomicBool,
    warnings: Mutex<Vec<String>>,
}

impl Progress for CancelAfter<'_> {
    fn step(&self, _: u64, _: u64, _: &str) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }
    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.into());
    }
}

#[test]
fn a_cancelled_training_goes_on_where_it_was() {
    let data = data();
    let (whole, parts, kept) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    Bench::new(data.path(), whole.path()).all(&quick());
    let mut bench = Bench::new(data.path(), parts.path());
    bench.checkpoint_dir = Some(kept.path().join("checkpoints"));
    bench
        .run::<Mine>(
            &MineParams {
                expr_cosine_max: 0.5,
                ..MineParams::default()
            },
            &Quiet,
        )
        .unwrap();
    for steps in [13, 8] {
        let cancel = AtomicBool::new(false);
        let progress = CancelAfter {
            steps,
            seen: AtomicU64::new(0),
            cancel: &cancel,
            warnings: Mutex::default(),
        };
        let ctx = StageContext {
            inputs: bench.inputs.clone(),
            out_dir: bench.out.clone(),
            keys: vec![],
            seed: 42,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: bench.checkpoint_dir.clone(),
            progress: &progress,
            cancel: &cancel,
        };
        assert!(matches!(
            Train::run(&ctx, &quick()),
            Err(StageError::Cancelled)
        ));
        assert_eq!(progress.seen.load(Ordering::Relaxed), steps);
        assert!(progress.warnings.lock().unwrap().is_empty());
    }
    bench.run::<Train>(&quick(), &Quiet).unwrap();
    let same = |role: &str| {
        let (a, b) = (whole.path().join(role), parts.path().join(role));
        if a.is_dir() {
            files(&a) == files(&b)
        } else {
            std::fs::read(a).unwrap() == std::fs::read(b).unwrap()
        }
    };
    for role in ["model", "history", "embeddings"] {
        assert!(same(role), "{role}");
    }
}

#[test]
fn cluster_means_give_one_copy_number_embedding_per_cluster() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(data.path(), out.path());
    let metrics = bench.all(&TrainParams {
        cnv_input: CnvInput::ClusterMean,
        mask_same_cluster: true,
        ..quick()
    });
    let c = clcc_data::anndata::Reader::open(&out.path().join("embeddings"))
        .unwrap()
        .obsm("X_clcc_cnv")
        .unwrap()
        .into_dense();
    assert_eq!(c.row(0), c.row(4));
    // The same label in two patients is two clusters.
    assert_ne!(c.row(0), c.row(92));
    assert_ne!(c.row(0), c.row(1));
    // With ties against us no cell that shares its cluster can be first.
    assert!(
        metrics["expr_to_cnv_top1"].as_f64().unwrap() < 0.2,
        "{metrics:?}"
    );
}

/// `mine` chooses genes, `train` builds its encoder on them and names them in the model.
#[test]
fn highly_variable_genes_reach_the_model() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(data.path(), out.path());
    let mine = MineParams {
        n_top_genes: Some(40),
        ..MineParams::default()
    };
    let metrics = bench.run::<Mine>(&mine, &Quiet).unwrap();
    assert_eq!(metrics["genes"], 40);
    let train = TrainParams {
        epochs: 2,
        ..quick()
    };
    let metrics = bench.run::<Train>(&train, &Quiet).unwrap();
    // Inputs of the first layers: 40 genes, 20 windows; widths and biases as `quick` says.
    let layers =
        |inputs: usize, a: usize, b: usize| (inputs * a + 3 * a) + (a * b + 3 * b) + (b * 8 + 8);
    assert_eq!(
        metrics["parameters"],
        layers(40, 32, 16) + layers(WINDOWS, 16, 16)
    );
    let model = TensorFile::read(&out.path().join("model")).unwrap();
    assert_eq!(model.shape("expr.0.weight"), Some(&[32usize, 40][..]));
    assert_eq!(model.shape("cnv.0.weight"), Some(&[16, WINDOWS][..]));
    let about: serde_json::Value = serde_json::from_str(model.about.as_deref().unwrap()).unwrap();
    let genes = about["genes"].as_array().unwrap();
    assert!(
        genes.len() == 40
            && genes
                .iter()
                .all(|g| g.as_str().unwrap().starts_with("gene"))
    );
}

#[test]
fn mixed_precision_is_refused_on_the_cpu() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(data.path(), out.path());
    bench.run::<Mine>(&MineParams::default(), &Quiet).unwrap();
    let params = TrainParams {
        precision: Precision::Mixed,
        ..quick()
    };
    let error = bench.run::<Train>(&params, &Quiet).unwrap_err();
    assert!(
        error.to_string().contains("`precision`") && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn a_split_without_test_cells_is_refused() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(data.path(), out.path());
    bench
        .run::<Mine>(
            &MineParams {
                split: [0.9, 0.1, 0.0],
                ..MineParams::default()
            },
            &Quiet,
        )
        .unwrap();
    bench
        .run::<Train>(
            &TrainParams {
                epochs: 1,
                ..quick()
            },
            &Quiet,
        )
        .unwrap();
    let error = bench
        .run::<Eval>(&EvalParams::default(), &Quiet)
        .unwrap_err();
    assert!(error.to_string().contains("no test cell") && error.hint().is_some());
}
