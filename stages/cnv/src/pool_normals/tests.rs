//! The pool against one data set of all cells, and its rules.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use ndarray::Array2;

use super::*;
use crate::infercnv::{InfercnvParams, annotate, annotate_against};
use clcc_data::frame::Column;
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::rng::Rng;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};

const GENES: usize = 240;

/// Cells of a patient: the first `normal` of them Normal, the others with chr2 (genes 120 on) at one and a half times.
fn patient(seed: u64, cells: usize, normal: usize) -> AnnData {
    let mut rng = Rng::new(seed, "pool tests", &[]);
    let x = Array2::from_shape_fn((cells, GENES), |(cell, gene)| {
        let level = 1.0 + (gene % 7) as f64 + rng.uniform();
        let copies = if cell >= normal && gene >= 120 {
            1.5
        } else {
            1.0
        };
        (copies * level).ln_1p() as f32
    });
    let mut obs = Frame::new((0..cells).map(|c| format!("p{seed}c{c}")).collect());
    let side: Vec<&str> = (0..cells)
        .map(|c| if c < normal { "Normal" } else { "Cancer" })
        .collect();
    obs.set_category("cancer_vs_normal", &side);
    let mut var = Frame::new((0..GENES).map(|g| format!("g{g}")).collect());
    let chromosome: Vec<&str> = (0..GENES).map(|g| ["chr1", "chr2"][g / 120]).collect();
    var.set_category("chromosome", &chromosome);
    let place = |end: i64| Column::I64((0..GENES as i64).map(|g| 1_000 * g + end).collect());
    var.set("start", place(1));
    var.set("end", place(500));
    AnnData {
        x: Some(Matrix::Csr(Csr::from_dense(&x))),
        obs,
        var,
        ..AnnData::default()
    }
}

fn run(dir: &Path, patients: &[AnnData], params: &PoolNormalsParams) -> StageResult<Metrics> {
    let inputs = patients.iter().enumerate().map(|(i, data)| {
        let path = dir.join(format!("{i}.zarr"));
        if !path.exists() {
            data.write_zarr(&path).unwrap();
        }
        InputArtifact {
            role: roles::EXPR.name().into(),
            branch: Branch::from([("patient".into(), format!("P{i}"))]),
            path,
            format: None,
            builtin: None,
        }
    });
    PoolNormals::run(
        &StageContext {
            inputs: inputs.collect(),
            out_dir: dir.join("out"),
            keys: vec![],
            seed: 0,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &Quiet,
            cancel: &AtomicBool::new(false),
        },
        params,
    )
}

fn pooled(dir: &Path) -> Normals {
    Normals::read(&Reader::open(&dir.join("out/normals")).unwrap()).unwrap()
}

fn x_cnv(data: &AnnData) -> Array2<f32> {
    data.obsm["X_cnv"].clone().into_dense()
}

/// Without the noise filter, which looks at all cells of a run, a cell's windows depend on the cell and the reference
/// alone: cells measured patient by patient against the pool are those of one data set of all patients.
#[test]
fn equals_one_data_set_of_all_patients() {
    let patients = [patient(1, 30, 10), patient(2, 25, 0), patient(3, 40, 25)];
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &patients, &PoolNormalsParams::default()).unwrap();
    let normals = pooled(dir.path());
    assert_eq!(normals.n_cells, 35);
    let params = InfercnvParams {
        window_size: 20,
        step: 3,
        dynamic_threshold: None,
        ..InfercnvParams::default()
    };
    let matrices: Vec<Csr> = patients
        .iter()
        .map(|p| p.x.clone().unwrap().into_csr())
        .collect();
    let all = Csr::vstack(&matrices.iter().collect::<Vec<_>>());
    let mut obs = Frame::new(patients.iter().flat_map(|p| p.obs.index.clone()).collect());
    let sides: Vec<String> = patients
        .iter()
        .flat_map(|p| p.obs.texts("cancer_vs_normal").unwrap())
        .collect();
    obs.set_category("cancer_vs_normal", &sides);
    let (whole, _) = annotate(&obs, &patients[0].var, &all, &params, &Quiet).unwrap();
    let whole = x_cnv(&whole);
    let mut row = 0;
    for (p, x) in patients.iter().zip(&matrices) {
        let (own, metrics) =
            annotate_against(&p.obs, &p.var, x, &normals, &params, &Quiet).unwrap();
        for cell in x_cnv(&own).rows() {
            for (a, b) in cell.iter().zip(whole.row(row)) {
                // Sums of 35 cells in another order; values are up to .3.
                assert!((a - b).abs() < 1e-6, "row {row}: {a}, expected {b}");
            }
            row += 1;
        }
        assert_eq!(metrics["n_reference_cells"], 35);
    }
    assert_eq!(row, 95);
    let gain = whole.row(54)[whole.ncols() - 1];
    assert!(
        gain > 0.1,
        "the second patient, without normal cells, shows its gain: {gain}"
    );
}

#[test]
fn a_patient_left_out_or_with_few_cells_gives_none() {
    let patients = [patient(1, 30, 10), patient(2, 25, 2), patient(3, 40, 25)];
    let dir = tempfile::tempdir().unwrap();
    let params = PoolNormalsParams {
        exclude_patients: vec!["P2".into()],
        min_cells: 5,
        ..PoolNormalsParams::default()
    };
    let metrics = run(dir.path(), &patients, &params).unwrap();
    assert_eq!(
        (&metrics["n_cells"], &metrics["n_patients"]),
        (&10.into(), &1.into())
    );
    let rows = PooledNormalsRow::read(&dir.path().join("out/normals_summary/pooled_normals.tsv"));
    let rows: Vec<(String, i64, bool, bool)> = rows
        .unwrap()
        .into_iter()
        .map(|r| (r.patient, r.n_cells, r.pooled, r.correlation.is_some()))
        .collect();
    assert_eq!(
        rows,
        [
            // Nobody else is in the pool to compare with.
            ("P0".into(), 10, true, false),
            ("P1".into(), 2, false, true),
            ("P2".into(), 25, false, true),
        ]
    );
    let error =
        |params: PoolNormalsParams| run(dir.path(), &patients, &params).unwrap_err().to_string();
    assert_eq!(
        error(PoolNormalsParams {
            min_cells: 26,
            ..PoolNormalsParams::default()
        }),
        "no patient gives cells to the reference `Normal`"
    );
    assert_eq!(
        error(PoolNormalsParams {
            exclude_patients: vec!["P9".into()],
            ..PoolNormalsParams::default()
        }),
        "`exclude_patients`: there is no patient `P9`, there are `P0`, `P1`, `P2`"
    );
}

#[test]
fn genes_that_the_pool_lacks_take_no_part() {
    let (one, mut two) = (patient(1, 12, 6), patient(2, 12, 6));
    // The second patient lacks g3 and has the others in the opposite order.
    let rows: Vec<usize> = (0..GENES).rev().filter(|&g| g != 3).collect();
    two.var = two.var.take(&rows);
    two.x = two.x.map(|x| Matrix::Csr(x.into_csr().take_cols(&rows)));
    let dir = tempfile::tempdir().unwrap();
    let patients = [one, two];
    run(dir.path(), &patients, &PoolNormalsParams::default()).unwrap();
    let normals = pooled(dir.path());
    assert_eq!(normals.genes.len(), GENES - 1);
    let params = InfercnvParams {
        window_size: 20,
        dynamic_threshold: None,
        ..InfercnvParams::default()
    };
    for p in &patients {
        let x = p.x.clone().unwrap().into_csr();
        let (cnv, _) = annotate_against(&p.obs, &p.var, &x, &normals, &params, &Quiet).unwrap();
        assert_eq!(cnv.var.len(), GENES - 1);
        let x_cnv = x_cnv(&cnv);
        // Of two chromosomes the median is on either: the gain is the distance between them.
        let gain = x_cnv[[11, x_cnv.ncols() - 1]] - x_cnv[[11, 0]];
        assert!(gain > 0.1, "the gain of chr2 is seen: {gain}");
    }
}
