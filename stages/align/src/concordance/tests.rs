//! The whole stage on two tiny patients.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::load::same_cells;
use super::*;
use ndarray::Array2;

use clcc_data::anndata::AnnData;
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_data::table::{TextTable, write_tsv};
use clcc_stage::rows::DiscordanceCellRow;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Progress};
use clcc_stage::tables::Table;

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
    // Within a cell type a permutation changes nothing of its share, so that association is all
    // null; far cells are no deeper, so depth is within it.
    let at = |name: &str| composition.position(name).unwrap();
    for r in &composition.rows {
        let p: f64 = r[at("null_pvals")].parse().unwrap();
        assert!(
            if r[1] == "cell_type" {
                p == 1.0
            } else {
                p > 0.025
            },
            "{r:?}"
        );
    }
    let null = TextTable::read(&out.join("concordance_null")).unwrap();
    assert_eq!(null.rows.len(), 2 * CELLS);
    assert_eq!(null.rows[0][1].len(), 39);
    assert_eq!(null.rows[35][1], "-".repeat(39));
}

/// Cells at `angle`, matched with the first or second of two anchors, at angles 0 and 1.5; every eleventh with
/// none. The bank lists the anchors in another order than the cells' categories.
#[test]
fn with_anchors_a_cell_is_measured_from_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut inputs = write_inputs(dir.path());
    let at = inputs.iter().position(|i| i.role == "embeddings").unwrap();
    let reader = clcc_data::anndata::Reader::open(&inputs[at].path).unwrap();
    let mut obs = reader.obs().unwrap();
    let own = |i: usize| (!i.is_multiple_of(11)).then_some(i % 2);
    let codes = (0..2 * CELLS).map(|i| own(i).map_or(-1, |a| a as i32));
    let anchors = ["first", "second"].map(String::from).to_vec();
    obs.set(
        "anchor",
        Column::Category(clcc_data::frame::Categorical {
            codes: codes.collect(),
            categories: anchors,
            ordered: false,
        }),
    );
    let place = |angles: &[f32]| {
        let flat: Vec<f32> = angles.iter().flat_map(|t| [t.cos(), t.sin()]).collect();
        Matrix::Dense(Array2::from_shape_vec((angles.len(), 2), flat).unwrap())
    };
    let write = |name: &str, obs: Frame, z: Matrix| {
        let path = dir.path().join(name);
        let data = AnnData {
            obs,
            obsm: std::collections::BTreeMap::from([("X_z".to_string(), z)]),
            ..AnnData::default()
        };
        data.write_zarr(&path).unwrap();
        path
    };
    let angles: Vec<f32> = (0..2 * CELLS).map(|i| angle(i % CELLS)).collect();
    inputs[at].path = write("embedded", obs, place(&angles));
    let bank = Frame::new(vec!["second".into(), "first".into()]);
    inputs.push(InputArtifact {
        role: "anchors".into(),
        path: write("bank", bank, place(&[1.5, 0.0])),
        ..inputs[at].clone()
    });
    let out = dir.path().join("out");
    run(inputs, &out, &ConcordanceParams::default());
    let table = TextTable::read(&out.join("concordance")).unwrap();
    let (distance, class) = (
        table.numbers("distance").unwrap(),
        table.texts("concordance_class").unwrap(),
    );
    for i in 0..2 * CELLS {
        match own(i) {
            None => assert!(distance[i].is_nan() && class[i].is_empty(), "cell {i}"),
            Some(a) => {
                let between = f64::from(angles[i]) - [0.0, 1.5][a];
                let want = 2.0 * (between / 2.0).sin().abs();
                assert!((distance[i] - want).abs() < 1e-6, "{} {want}", distance[i]);
                assert_eq!(class[i].is_empty(), i % CELLS >= 32, "cell {i}");
            }
        }
    }
}

#[test]
fn classes_within_cell_types_do_not_stand_for_cell_type() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("out");
    let params: ConcordanceParams =
        serde_json::from_str(r#"{"strata": "patient_cell_type", "quantile": "tertiles"}"#).unwrap();
    assert!(clcc_stage::params::problems::<Concordance>(&params).is_empty());
    let (_, warnings) = run(inputs, &out, &params);
    assert!(
        !warnings.iter().any(|w| w.contains("cell_type")),
        "{warnings:?}"
    );
    let table = TextTable::read(&out.join("concordance")).unwrap();
    let (kind, class) = (
        table.texts("cell_type").unwrap(),
        table.texts("concordance_class").unwrap(),
    );
    for k in ["Myeloid", "Epithelial cells"] {
        let n = |c: &str| {
            kind.iter()
                .zip(&class)
                .filter(|(a, b)| **a == k && **b == c)
                .count()
        };
        assert!(n("discordant") == n("concordant") && n("discordant") > 0);
    }
}

/// Two folds: each cell is held out by one, at the distance it has in the plain run; the model
/// that trained on it puts it at 0, and the second fold's distances are half as large.
#[test]
fn a_cross_fit_takes_held_out_distances() {
    let dir = tempfile::tempdir().unwrap();
    let mut inputs = write_inputs(dir.path());
    let place = |role: &str| inputs.iter().position(|i| i.role == role).unwrap();
    let (split, embeddings) = (place("split"), place("embeddings"));
    let plain = inputs.clone();
    let whole = clcc_data::anndata::Reader::open(&inputs[embeddings].path)
        .unwrap()
        .read()
        .unwrap();
    inputs.retain(|i| i.role == "expr");
    let n = 2 * CELLS;
    for fold in 0..2_usize {
        let branch = Branch::from([("fold".to_string(), format!("f{fold}"))]);
        let mut frame = Frame::new(whole.obs.index.clone());
        frame.set("patient", whole.obs.column("patient").unwrap().clone());
        let part: Vec<&str> = (0..n)
            .map(|i| if i % 2 == fold { "test" } else { "train" })
            .collect();
        frame.set_category("split", &part);
        let mut copy = plain[split].clone();
        copy.branch = branch.clone();
        copy.path = dir.path().join(format!("split{fold}"));
        write_tsv(&copy.path, "cell", &frame, &[]).unwrap();
        inputs.push(copy);
        let mut data = whole.clone();
        let cnv: Vec<f32> = (0..n)
            .flat_map(|i| {
                let t = if i % 2 == fold {
                    angle(i % CELLS) / (1.0 + fold as f32)
                } else {
                    0.0
                };
                [t.cos(), t.sin()]
            })
            .collect();
        let cnv = Array2::from_shape_vec((n, 2), cnv).unwrap();
        data.obsm.insert("X_clcc_cnv".into(), Matrix::Dense(cnv));
        let mut copy = plain[embeddings].clone();
        copy.branch = branch;
        copy.path = dir.path().join(format!("embeddings{fold}"));
        data.write_zarr(&copy.path).unwrap();
        inputs.push(copy);
    }
    let params = ConcordanceParams {
        cross_fit: Some(2),
        ..ConcordanceParams::default()
    };
    let out = dir.path().join("out");
    let (metrics, warnings) = run(inputs.clone(), &out, &params);
    assert_eq!(metrics["n_folds"], 2);
    let read = |dir: &std::path::Path| TextTable::read(&dir.join("concordance")).unwrap();
    let table = read(&out);
    let distance = table.numbers("distance").unwrap();
    assert_eq!(table.texts("fold").unwrap()[..3], ["f0", "f1", "f0"]);
    // Odd and even cells have nearly the same angles; unscaled, every odd cell would be nearer
    // than most even ones. Scaled, the classes are nearly those of the plain run.
    run(
        plain,
        &dir.path().join("plain"),
        &ConcordanceParams::default(),
    );
    let classes = |t: &TextTable| -> Vec<String> {
        t.texts("concordance_class")
            .unwrap()
            .into_iter()
            .map(String::from)
            .collect()
    };
    let (a, b) = (classes(&table), classes(&read(&dir.path().join("plain"))));
    let same = a.iter().zip(&b).filter(|(x, y)| x == y).count();
    assert!(same >= n - 8, "{same} of {n}");
    assert!(distance.iter().all(|d| *d > -0.2));
    let folds = TextTable::read(&out.join("concordance_summary/concordance_folds.tsv")).unwrap();
    assert_eq!(folds.numbers("median_train").unwrap(), [0.0, 0.0]);
    assert!(folds.numbers("median_held_out").unwrap()[0] > 0.2);
    // The models that trained on a cell say 0 of all: the order hangs on who was trained on.
    assert!(
        warnings.is_empty() || warnings.iter().any(|w| w.contains("cell_type")),
        "{warnings:?}"
    );

    // Without `cross_fit`, or with another number, several models are refused.
    let cancel = AtomicBool::new(false);
    let ctx = StageContext {
        inputs,
        out_dir: dir.path().join("bad"),
        keys: Vec::new(),
        seed: 1,
        threads: 1,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Heard::default(),
        cancel: &cancel,
    };
    let error = Concordance::run(&ctx, &ConcordanceParams::default()).unwrap_err();
    assert!(error.to_string().contains("found 2 and 2"), "{error}");
}

#[test]
fn shares_have_names() {
    let share = |text: &str| serde_json::from_str::<Share>(text).map(Share::value);
    assert_eq!(share("\"tertiles\"").unwrap(), 1.0 / 3.0);
    assert_eq!(share("0.1").unwrap(), 0.1);
    let error = share("\"fifths\"").unwrap_err().to_string();
    assert!(
        error.contains("`quartiles`, `tertiles` or a number"),
        "{error}"
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

/// Classes by the log odds of `discordance`: no embeddings are read, and a cell that it leaves out has no class.
#[test]
fn cells_are_classed_by_the_odds_of_discordance() {
    let dir = tempfile::tempdir().unwrap();
    let mut inputs = write_inputs(dir.path());
    inputs.retain(|input| input.role == "expr");
    let path = dir.path().join("discordance");
    std::fs::create_dir(&path).unwrap();
    let odds = |i: usize| 3.0 - ((i * 5) % CELLS) as f64 / 4.0;
    // Cells 0 to 23 of each patient, in another order than theirs.
    let cell = |p: &str, i: usize| DiscordanceCellRow {
        cell: format!("{p}{i}"),
        patient: p.to_string(),
        clone: "1".into(),
        informs: true,
        prob_discordant: 0.5,
        log_odds: odds(i),
        ..DiscordanceCellRow::default()
    };
    let of = |p: &'static str| (0..24).rev().map(move |i| cell(p, i));
    Table::new(PATIENTS.into_iter().flat_map(of).collect())
        .write(&path)
        .unwrap();
    inputs.push(InputArtifact {
        role: "discordance".into(),
        branch: Branch::new(),
        path,
        format: None,
        builtin: None,
    });
    let out = dir.path().join("out");
    let params = ConcordanceParams {
        score: ScoreBy::Discordance,
        ..ConcordanceParams::default()
    };
    let (metrics, _) = run(inputs, &out, &params);
    assert_eq!(metrics["n_classed"], json!(48));
    assert_eq!(metrics["n_discordant"], json!(12));
    let table = TextTable::read(&out.join("concordance")).unwrap();
    let (distance, class) = (
        table.numbers("distance").unwrap(),
        table.texts("concordance_class").unwrap(),
    );
    let mut ranked: Vec<usize> = (0..24).collect();
    ranked.sort_by(|&a, &b| odds(b).total_cmp(&odds(a)));
    for i in 0..2 * CELLS {
        let expected = match ranked.iter().position(|&c| c == i % CELLS) {
            None => "",
            Some(0..6) => "discordant",
            Some(18..) => "concordant",
            Some(_) => "intermediate",
        };
        assert_eq!(class[i], expected, "cell {i}");
        assert_eq!(distance[i].is_nan(), i % CELLS >= 24);
    }
}
