//! The whole stage on two tiny patients.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::anndata::AnnData;
use crate::matrix::{Csr, Matrix};
use crate::stage::{Branch, DeviceChoice, InputArtifact, Progress};

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, _: u64, _: u64, _: &str) {}
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_string());
    }
}

const PATIENTS: [&str; 2] = ["A", "B"];
/// Cells of a patient: 32 cancer cells, 4 normal ones.
const CELLS: usize = 36;

/// The angle between the embeddings of cell `i`, a different one for each cell.
fn angle(i: usize) -> f32 {
    0.01 + 0.02 * ((i * 7) % CELLS) as f32
}

fn write_inputs(dir: &std::path::Path) -> Vec<InputArtifact> {
    let mut inputs = Vec::new();
    let branch = |p: &str| Branch::from([("patient".to_string(), p.to_string())]);
    let add = |role: &str, branch: Branch, path: std::path::PathBuf| InputArtifact {
        role: role.into(),
        branch,
        path,
        format: None,
        builtin: None,
    };
    let mut all = Vec::new();
    for p in PATIENTS {
        let mut obs = Frame::new((0..CELLS).map(|i| format!("{p}{i}")).collect());
        obs.set_category("sample", &vec![format!("S{p}"); CELLS]);
        // Far cells are myeloid: the class is a cell type.
        obs.set_category(
            "cell_type",
            &(0..CELLS)
                .map(|i| {
                    if angle(i) > 0.4 {
                        "Myeloid"
                    } else {
                        "Epithelial cells"
                    }
                })
                .collect::<Vec<_>>(),
        );
        obs.set_category(
            "cancer_vs_normal",
            &(0..CELLS)
                .map(|i| if i < 32 { "Cancer" } else { "Normal" })
                .collect::<Vec<_>>(),
        );
        obs.set(
            "total_counts",
            Column::F64((0..CELLS).map(|i| 1000.0 + (i % 5) as f64).collect()),
        );
        all.push(obs.index.clone());
        let x = Csr::from_rows(2, vec![vec![]; CELLS]);
        let data = AnnData {
            obs,
            var: Frame::new(vec!["g".into(), "h".into()]),
            x: Some(Matrix::Csr(x)),
            ..AnnData::default()
        };
        let path = dir.join(format!("expr.{p}"));
        data.write_zarr(&path).unwrap();
        inputs.push(add("expr", branch(p), path));
    }
    let names: Vec<String> = all.concat();
    let patient: Vec<&str> = PATIENTS.iter().flat_map(|p| vec![*p; CELLS]).collect();
    let mut split = Frame::new(names.clone());
    split.set_category("patient", &patient);
    split.set_category(
        "split",
        &(0..names.len())
            .map(|i| if i % 9 == 0 { "test" } else { "train" })
            .collect::<Vec<_>>(),
    );
    let path = dir.join("split");
    write_tsv(&path, "cell", &split, &[]).unwrap();
    inputs.push(add("split", Branch::new(), path));
    let unit = |turned: bool| {
        let rows = (0..names.len()).map(|i| if turned { angle(i % CELLS) } else { 0.0 });
        let flat: Vec<f32> = rows.flat_map(|t| [t.cos(), t.sin()]).collect();
        Matrix::Dense(Array2::from_shape_vec((names.len(), 2), flat).unwrap())
    };
    let mut data = AnnData {
        obs: split,
        ..AnnData::default()
    };
    data.obsm.insert("X_clcc_expr".into(), unit(false));
    data.obsm.insert("X_clcc_cnv".into(), unit(true));
    let path = dir.join("embeddings");
    data.write_zarr(&path).unwrap();
    inputs.push(add("embeddings", Branch::new(), path));
    inputs
}

fn run(
    inputs: Vec<InputArtifact>,
    out: &std::path::Path,
    params: &ConcordanceParams,
) -> (Metrics, Vec<String>) {
    let heard = Heard::default();
    let cancel = AtomicBool::new(false);
    let ctx = StageContext {
        inputs,
        out_dir: out.to_path_buf(),
        keys: Vec::new(),
        seed: 1,
        threads: 1,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &heard,
        cancel: &cancel,
    };
    let metrics = Concordance::run(&ctx, params).unwrap();
    (metrics, heard.0.into_inner().unwrap())
}

#[test]
fn every_cell_has_a_distance_and_cancer_cells_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("out");
    let (metrics, warnings) = run(inputs, &out, &ConcordanceParams::default());
    let table = TextTable::read(&out.join("concordance")).unwrap();
    assert_eq!(table.rows.len(), 2 * CELLS);
    let (distance, class) = (
        table.numbers("distance").unwrap(),
        table.texts("concordance_class").unwrap(),
    );
    for i in 0..2 * CELLS {
        // A chord: 2 sin(angle / 2).
        let want = 2.0 * (f64::from(angle(i % CELLS)) / 2.0).sin();
        assert!((distance[i] - want).abs() < 1e-6, "{} {want}", distance[i]);
        assert_eq!(class[i].is_empty(), i % CELLS >= 32);
    }
    // 32 cancer cells a patient with distinct distances: 8 and 8.
    assert_eq!(
        (
            metrics["n_concordant"].clone(),
            metrics["n_discordant"].clone()
        ),
        (json!(16), json!(16))
    );
    let by_patient =
        TextTable::read(&out.join("concordance_summary/concordance_by_patient.tsv")).unwrap();
    assert_eq!(by_patient.numbers("n_discordant").unwrap(), [8.0, 8.0]);
    let composition =
        TextTable::read(&out.join("concordance_summary/concordance_composition.tsv")).unwrap();
    assert!(
        composition
            .rows
            .iter()
            .any(|r| r[0] == "all" && r[1] == "cell_type")
    );
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("goes together with cell_type") && w.contains("`Myeloid`")),
        "{warnings:?}"
    );
    assert!(
        !warnings.iter().any(|w| w.contains("total_counts")),
        "{warnings:?}"
    );
}

#[test]
fn restrict_leaves_other_cells_without_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("out");
    run(
        inputs,
        &out,
        &ConcordanceParams {
            restrict: Restrict::Epithelial,
            ..ConcordanceParams::default()
        },
    );
    let table = TextTable::read(&out.join("concordance")).unwrap();
    let (kind, class) = (
        table.texts("cell_type").unwrap(),
        table.texts("concordance_class").unwrap(),
    );
    assert!(
        kind.iter()
            .zip(&class)
            .all(|(k, c)| c.is_empty() || k.contains("pithelial"))
    );
    assert!(class.contains(&"discordant"));
}

#[test]
fn rows_in_another_order_are_an_error() {
    let names = ["a".to_string(), "b".to_string()];
    let error = same_cells(std::path::Path::new("split"), &names, &["a", "c"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`split`, row 1: expected `b` as in `expr`, found `c`"
    );
}
