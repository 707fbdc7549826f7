use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use ndarray::array;

use super::*;
use clcc_data::anndata::{AnnData, Raw};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Progress};

/// Keeps warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn step(&self, _: u64, _: u64, _: &str) {}
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_string());
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

/// A patient as `export` writes it: counts are 1, 2, 3, ... row by row, `X` their half.
fn patient(name: &str, cells: &[&str], genes: &[&str], windows: i64) -> AnnData {
    let mut obs = Frame::new(texts(cells));
    obs.set_category("patient", &vec![name; cells.len()]);
    obs.set("burden", Column::F64(vec![0.5; cells.len()]));
    let mut var = Frame::new(texts(genes));
    let start = |g: &&str| i64::from(g.as_bytes()[1]);
    var.set("start", Column::I64(genes.iter().map(start).collect()));
    var.set(
        "dosage_patient_slope",
        Column::F64(vec![cells.len() as f64; genes.len()]),
    );
    let shape = (cells.len(), genes.len());
    let counts = ndarray::Array2::from_shape_fn(shape, |(r, c)| (1 + r * shape.1 + c) as f32);
    let counts = Csr::from_dense(&counts);
    let chr_pos = Uns::Dict(BTreeMap::from([("chr2".into(), Uns::I64(windows))]));
    let graph = Uns::Dict(BTreeMap::from([(
        "connectivities_key".into(),
        Uns::Str("cnv_neighbors_connectivities".into()),
    )]));
    AnnData {
        x: Some(Matrix::Csr(counts.map(|_, _, v| v / 2.0))),
        raw: Some(Raw {
            x: Matrix::Csr(counts.clone()),
            var: var.clone(),
        }),
        layers: BTreeMap::from([("counts".into(), Matrix::Csr(counts))]),
        obsm: BTreeMap::from([
            (
                "X_cnv".into(),
                Matrix::Csr(Csr::from_rows(3, vec![vec![(1, 1.0)]; shape.0])),
            ),
            (
                "X_umap".into(),
                Matrix::Dense(ndarray::Array2::ones((shape.0, 2))),
            ),
        ]),
        obsp: BTreeMap::from([(
            "cnv_neighbors_connectivities".into(),
            Csr::from_rows(shape.0, vec![vec![]; shape.0]),
        )]),
        uns: BTreeMap::from([
            (
                "cnv".into(),
                Uns::Dict(BTreeMap::from([("chr_pos".into(), chr_pos)])),
            ),
            ("cnv_neighbors".into(), graph),
            ("genome".into(), Uns::Str("GRCh38".into())),
        ]),
        obs,
        var,
        ..AnnData::default()
    }
}

struct Run {
    _dir: tempfile::TempDir,
    out: PathBuf,
    warnings: Vec<String>,
    metrics: Metrics,
}

impl Run {
    fn data(&self) -> AnnData {
        Reader::open(&self.out).unwrap().read().unwrap()
    }
}

fn run(patients: &[AnnData], params: &ExportCohortParams) -> StageResult<Run> {
    let dir = tempfile::tempdir().unwrap();
    let inputs = patients.iter().enumerate().map(|(i, data)| {
        let path = dir.path().join(format!("{i}.zarr"));
        data.write_zarr(&path).unwrap();
        InputArtifact {
            role: roles::ANNDATA.name().into(),
            branch: Branch::from([("patient".into(), format!("P{i}"))]),
            path,
            format: None,
            builtin: None,
        }
    });
    let warnings = Warnings::default();
    let metrics = ExportCohort::run(
        &StageContext {
            inputs: inputs.collect(),
            out_dir: dir.path().join("out"),
            keys: vec![],
            seed: 0,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &warnings,
            cancel: &AtomicBool::new(false),
        },
        params,
    )?;
    Ok(Run {
        out: dir.path().join("out").join(roles::COHORT_ANNDATA.name()),
        _dir: dir,
        warnings: warnings.0.into_inner().unwrap(),
        metrics,
    })
}

#[test]
fn cells_of_all_patients_with_the_genes_that_all_have() {
    // P1 has g1 to g3, P2 g3 and g2 in the other order and g4.
    let mut one = patient("P1", &["a", "b"], &["g1", "g2", "g3"], 2);
    one.obs.set("only", Column::I64(vec![1, 2]));
    let two = patient("P2", &["a"], &["g3", "g4", "g2"], 2);
    let run = run(&[one, two], &ExportCohortParams::default()).unwrap();
    let data = run.data();
    // A name that two patients have is joined to the patient's, in all cells.
    assert_eq!(data.obs.index, ["a-P1", "b-P1", "a-P2"]);
    assert_eq!(data.obs.texts("patient").unwrap(), ["P1", "P1", "P2"]);
    assert_eq!(data.obs.texts("only").unwrap(), ["1", "2", ""]);
    assert_eq!(data.var.index, ["g2", "g3"]);
    // What says the same of a gene in all patients stays; the patient's slopes (2 and 1) leave.
    assert_eq!(data.var.columns.keys().collect::<Vec<_>>(), ["start"]);
    // P1: 1 2 3 / 4 5 6 of g1 g2 g3; P2: 1 2 3 of g3 g4 g2.
    let counts = array![[2., 3.], [5., 6.], [3., 1.]];
    assert_eq!(data.layers["counts"].clone().into_dense(), counts);
    assert_eq!(data.x.clone().unwrap().into_dense(), &counts / 2.0);
    let raw = data.raw.as_ref().unwrap();
    assert_eq!(raw.x.clone().into_dense(), counts);
    assert_eq!(raw.var.index, ["g2", "g3"]);
    assert_eq!(data.obsm.keys().collect::<Vec<_>>(), ["X_cnv", "X_umap"]);
    assert_eq!(data.obsm["X_cnv"].shape(), (3, 3));
    // Graphs are within a patient, and so is the entry that names one.
    assert!(data.obsp.is_empty());
    assert_eq!(data.uns.keys().collect::<Vec<_>>(), ["cnv", "genome"]);
    assert_eq!(run.metrics["cells"], json!(3));
    assert_eq!(run.warnings, Vec::<String>::new());
}

#[test]
fn genes_of_any_patient_are_zero_where_a_patient_lacks_them() {
    let one = patient("P1", &["a", "b"], &["g1", "g2", "g3"], 2);
    let two = patient("P2", &["c"], &["g3", "g4", "g2"], 2);
    let params = ExportCohortParams {
        genes: Genes::Any,
        counts: false,
    };
    let data = run(&[one, two], &params).unwrap().data();
    assert_eq!(data.obs.index, ["a", "b", "c"]);
    assert_eq!(data.var.index, ["g1", "g2", "g3", "g4"]);
    assert_eq!(
        data.var.columns["n_patients"],
        Column::I64(vec![1, 2, 2, 1])
    );
    assert_eq!(
        data.x.unwrap().into_dense(),
        array![[0.5, 1., 1.5, 0.], [2., 2.5, 3., 0.], [0., 1.5, 0.5, 1.]]
    );
    assert!(data.layers.is_empty());
}

#[test]
fn windows_that_differ_leave_with_a_warning() {
    let one = patient("P1", &["a"], &["g1"], 2);
    let two = patient("P2", &["b"], &["g1"], 1);
    let run = run(&[one, two], &ExportCohortParams::default()).unwrap();
    assert_eq!(run.data().obsm.keys().collect::<Vec<_>>(), ["X_umap"]);
    assert_eq!(
        run.warnings,
        ["left out, as the patients' differ or some have none: `obsm/X_cnv`"]
    );
}

#[test]
fn without_a_common_gene_the_hint_says_how_to_go_on() {
    let one = patient("P1", &["a"], &["g1"], 2);
    let two = patient("P2", &["b"], &["g2"], 2);
    let Err(error) = run(&[one, two], &ExportCohortParams::default()) else {
        panic!("no gene is common");
    };
    assert_eq!(error.to_string(), "no gene is in the data of all patients");
}
