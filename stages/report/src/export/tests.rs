#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ndarray::array;

use super::*;
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DosageCellRow, DosageGeneRow,
    DosagePatientRow,
};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};
use clcc_stage::tables::Table;
use clcc_testing::{Python, reference};

struct Bench {
    dir: tempfile::TempDir,
}

fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

fn csr(rows: usize, cols: usize, seed: usize) -> Csr {
    Csr::from_dense(&ndarray::Array2::from_shape_fn((rows, cols), |(r, c)| {
        ((r * 3 + c + seed) % 4) as f32
    }))
}

impl Bench {
    /// Patient `P2` with four cells; the joined artifacts also hold `P1`, which has a cell `c1` too.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut obs = Frame::new(names("c", 4));
        obs.set_category("patient", &["P2"; 4]);
        obs.set_category("cell_type", &["a", "b", "a", "b"]);
        let mut var = Frame::new(names("g", 6));
        var.set_category(
            "chromosome",
            &["chr1", "chr1", "chr1", "chr2", "chr2", "chr2"],
        );
        let counts = csr(4, 6, 0);
        let expr = AnnData {
            obs: obs.clone(),
            var: var.clone(),
            x: Some(Matrix::Csr(counts.map(|_, _, v| v.ln_1p()))),
            layers: BTreeMap::from([("counts".into(), Matrix::Csr(counts))]),
            ..AnnData::default()
        };
        expr.write_zarr(&at("expr")).unwrap();
        let mut cnv_obs = Frame::new(names("c", 4));
        cnv_obs.set("cnv_burden", Column::F64(vec![0.1, 0.2, 0.3, 0.4]));
        let chr_pos = Uns::Dict(BTreeMap::from([
            ("chr1".into(), Uns::I64(0)),
            ("chr2".into(), Uns::I64(1)),
        ]));
        let cnv = AnnData {
            obs: cnv_obs.clone(),
            var,
            obsm: BTreeMap::from([("X_cnv".into(), Matrix::Csr(csr(4, 3, 1)))]),
            uns: BTreeMap::from([(
                "cnv".into(),
                Uns::Dict(BTreeMap::from([("chr_pos".into(), chr_pos)])),
            )]),
            ..AnnData::default()
        };
        cnv.write_zarr(&at("cnv")).unwrap();
        let mut cluster_obs = Frame::new(names("c", 4));
        cluster_obs.set_category("cnv_leiden", &["0", "1", "0", "0"]);
        cluster_obs.set("cnv_score", Column::F64(vec![1.0, 2.0, 1.0, 1.0]));
        let clusters = AnnData {
            obs: cluster_obs,
            obsm: BTreeMap::from([
                ("X_cnv_pca".into(), Matrix::Dense(csr(4, 2, 2).to_dense())),
                ("X_cnv_umap".into(), Matrix::Dense(csr(4, 2, 3).to_dense())),
                ("X_umap".into(), Matrix::Dense(csr(4, 2, 5).to_dense())),
            ]),
            obsp: BTreeMap::from([
                ("cnv_neighbors_connectivities".into(), csr(4, 4, 1)),
                ("cnv_neighbors_distances".into(), csr(4, 4, 2)),
            ]),
            ..AnnData::default()
        };
        clusters.write_zarr(&at("clusters")).unwrap();
        // P1's c1 first, then P2's cells out of order.
        let mut joined = Frame::new(["c1", "c3", "c1", "c0", "c2"].map(str::to_string).to_vec());
        joined.set_category("patient", &["P1", "P2", "P2", "P2", "P2"]);
        joined.set_category("split", &["test", "train", "val", "train", "test"]);
        let of_row = array![[9f32, 9.], [3., 0.], [1., 0.], [0., 0.], [2., 0.]];
        let embeddings = AnnData {
            obs: joined,
            obsm: BTreeMap::from([
                ("X_clcc_expr".into(), Matrix::Dense(of_row.clone())),
                ("X_clcc_cnv".into(), Matrix::Dense(&of_row * 2.0)),
                ("X_clcc_joint".into(), Matrix::Dense(of_row * 1.5)),
            ]),
            ..AnnData::default()
        };
        embeddings.write_zarr(&at("embeddings")).unwrap();
        let row = |patient: &str, cell: &str, distance: f64, class: &str| ConcordanceRow {
            cell: cell.into(),
            patient: patient.into(),
            sample: String::new(),
            cell_type: String::new(),
            cancer_vs_normal: String::new(),
            split: String::new(),
            fold: None,
            distance,
            concordance_class: class.into(),
        };
        let rows = vec![
            row("P1", "c1", 9.0, "concordant"),
            row("P2", "c2", 0.25, "concordant"),
            row("P2", "c1", 0.5, "discordant"),
            row("P2", "c0", f64::NAN, ""),
        ];
        let table = Table::new(rows).note("a note");
        table.write_as(&at("concordance")).unwrap();
        Self { dir }
    }

    fn run(&self, roles: &[&str]) -> StageResult<Metrics> {
        self.run_with(roles, &ExportParams::default())
    }

    fn run_with(&self, roles: &[&str], params: &ExportParams) -> StageResult<Metrics> {
        let inputs = roles.iter().map(|role| InputArtifact {
            role: role.to_string(),
            branch: Branch::new(),
            path: self.dir.path().join(role),
            format: None,
            builtin: None,
        });
        Export::run(
            &StageContext {
                inputs: inputs.collect(),
                out_dir: self.dir.path().join("out"),
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

    fn out(&self) -> PathBuf {
        self.dir.path().join("out/anndata")
    }
}

const ALL: [&str; 5] = ["expr", "cnv", "clusters", "embeddings", "concordance"];

#[test]
fn one_store_holds_everything_of_the_patient_in_its_own_cell_order() {
    let b = Bench::new();
    b.run(&ALL).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    assert_eq!(
        d.obs.columns.keys().collect::<Vec<_>>(),
        [
            "patient",
            "cell_type",
            "cnv_burden",
            "cnv_leiden",
            "cnv_score",
            "split",
            "concordance",
            "concordance_class"
        ]
    );
    assert_eq!(d.layers["counts"].clone().into_csr(), csr(4, 6, 0));
    assert_eq!(d.obsm["X_cnv"].clone().into_csr(), csr(4, 3, 1));
    assert_eq!(
        d.obsp.keys().collect::<Vec<_>>(),
        ["cnv_neighbors_connectivities", "cnv_neighbors_distances"]
    );
    // The embedding of cell i starts with i: rows were matched by patient and id.
    assert_eq!(
        d.obsm["X_clcc_expr"],
        Matrix::Dense(array![[0., 0.], [1., 0.], [2., 0.], [3., 0.]])
    );
    assert_eq!(
        d.obsm["X_clcc_cnv"],
        Matrix::Dense(array![[0., 0.], [2., 0.], [4., 0.], [6., 0.]])
    );
    assert_eq!(
        d.obs.texts("split").unwrap(),
        ["train", "val", "test", "train"]
    );
    // The map of expression, and that of the copy number beside it.
    assert_eq!(d.obsm["X_umap"], Matrix::Dense(csr(4, 2, 5).to_dense()));
    assert_eq!(d.obsm["X_cnv_umap"], Matrix::Dense(csr(4, 2, 3).to_dense()));
    assert_eq!(
        d.obsm["X_clcc_joint"],
        Matrix::Dense(array![[0., 0.], [1.5, 0.], [3., 0.], [4.5, 0.]])
    );
    let distance = d.obs.numbers("concordance").unwrap();
    assert!(
        distance[0].is_nan() && distance[3].is_nan(),
        "not classed, and not in the table"
    );
    assert_eq!(distance[1..3], [0.5, 0.25]);
    let Column::Category(class) = &d.obs.columns["concordance_class"] else {
        panic!("a category")
    };
    assert_eq!(class.categories, ["concordant", "discordant"]);
    assert_eq!(class.codes, [-1, 1, 0, -1]);
    let uns = Uns::Dict(d.uns);
    assert_eq!(uns.at(&["cnv", "chr_pos", "chr2"]), Some(&Uns::I64(1)));
    assert_eq!(
        uns.at(&["cnv_neighbors", "connectivities_key"]),
        Some(&Uns::Str("cnv_neighbors_connectivities".into()))
    );
}

#[test]
fn what_a_workflow_does_not_make_is_left_out() {
    let b = Bench::new();
    b.run(&["expr", "cnv"]).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    assert_eq!(d.obsm.keys().collect::<Vec<_>>(), ["X_cnv"]);
    assert!(!d.obs.columns.contains_key("concordance"));
    let error = Bench::new().run(&["expr"]).unwrap_err();
    assert!(matches!(error, StageError::MissingInput { role } if role == "cnv"));
}

#[test]
fn cells_that_do_not_fit_are_refused() {
    let b = Bench::new();
    let path = b.dir.path().join("cnv");
    let mut cnv = Reader::open(&path).unwrap().read().unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    cnv.obs.index.swap(1, 2);
    cnv.write_zarr(&path).unwrap();
    let error = b.run(&ALL).unwrap_err().to_string();
    assert_eq!(
        error,
        "`cnv` has 4 cells, `expr` 4; cell 2 is `c2` in `cnv`, `c1` in `expr`"
    );
    let b = Bench::new();
    let path = b.dir.path().join("embeddings");
    let mut embeddings = Reader::open(&path).unwrap().read().unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    embeddings
        .obs
        .set_category("patient", &["P1", "P2", "P2", "P1", "P2"]);
    embeddings.write_zarr(&path).unwrap();
    let error = b.run(&ALL).unwrap_err().to_string();
    assert_eq!(
        error,
        "`embeddings` lacks 1 of 4 cells of patient `P2`: `c0`"
    );
}

/// infercnvpy draws its heatmap from the store, and scanpy finds the graph. Runs where
/// `CLCC_PYTHON` names an interpreter with infercnvpy.
#[test]
fn infercnvpy_draws_from_the_store() {
    let Some(python) = Python::with("infercnvpy") else {
        return;
    };
    let b = Bench::new();
    let params = ExportParams {
        h5ad: true,
        ..ExportParams::default()
    };
    write_dosage(&b);
    b.run_with(&[&ALL[..], &["dosage"]].concat(), &params)
        .unwrap();
    std::fs::rename(b.dir.path().join("out/h5ad"), b.dir.path().join("p.h5ad")).unwrap();
    let script = reference("export/check.py");
    for store in [b.out(), b.dir.path().join("p.h5ad")] {
        python.run(&[], &[&script, &store]);
    }
}

#[test]
fn the_h5ad_has_what_the_zarr_has() {
    let b = Bench::new();
    b.run(&ALL).unwrap();
    assert!(!b.dir.path().join("out/h5ad").exists());
    let (zarr, b) = (
        Reader::open(&b.out()).unwrap().read().unwrap(),
        Bench::new(),
    );
    let params = ExportParams {
        h5ad: true,
        ..ExportParams::default()
    };
    b.run_with(&ALL, &params).unwrap();
    let h5ad = Reader::open(&b.dir.path().join("out/h5ad")).unwrap();
    let h5ad = h5ad.read().unwrap();
    // NaN is not equal to itself.
    assert_eq!(format!("{h5ad:?}"), format!("{zarr:?}"));
}

/// Method B: `h`, `z`, subclusters, clusters and maps of `h`, for the patient's own cells.
#[test]
fn anchors_come_with_their_clusters_and_maps() {
    let b = Bench::new();
    let joined = || Frame::new(["c1", "c3", "c1", "c0", "c2"].map(str::to_string).to_vec());
    let of_row = array![[9f32, 9.], [3., 0.], [1., 0.], [0., 0.], [2., 0.]];
    let patients = ["P1", "P2", "P2", "P2", "P2"];
    let mut obs = joined();
    obs.set_category("patient", &patients);
    obs.set_category("subcluster", &["x", "s3", "s1", "s0", ""]);
    let embeddings = AnnData {
        obs,
        obsm: BTreeMap::from([
            ("X_h".into(), Matrix::Dense(of_row.clone())),
            ("X_z".into(), Matrix::Dense(&of_row * 2.0)),
        ]),
        ..AnnData::default()
    };
    std::fs::remove_dir_all(b.dir.path().join("embeddings")).unwrap();
    embeddings
        .write_zarr(&b.dir.path().join("embeddings"))
        .unwrap();
    let mut obs = joined();
    obs.set_category("patient", &patients);
    obs.set_category("h_leiden", &["0", "1", "1", "0", "1"]);
    let clusters = AnnData {
        obs,
        obsm: BTreeMap::from([
            ("X_h_umap".into(), Matrix::Dense(&of_row * 3.0)),
            ("X_h_umap_3d".into(), Matrix::Dense(&of_row * 4.0)),
        ]),
        ..AnnData::default()
    };
    clusters
        .write_zarr(&b.dir.path().join("h_clusters"))
        .unwrap();
    b.run(&["expr", "cnv", "embeddings", "h_clusters"]).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    assert_eq!(d.obs.texts("subcluster").unwrap(), ["s0", "s1", "", "s3"]);
    assert_eq!(d.obs.texts("h_leiden").unwrap(), ["0", "1", "1", "1"]);
    for (name, times) in [
        ("X_h", 1f32),
        ("X_z", 2.0),
        ("X_h_umap", 3.0),
        ("X_h_umap_3d", 4.0),
        ("X_umap", 3.0),
    ] {
        let rows = d.obsm[name].clone().into_dense();
        assert_eq!(
            rows.column(0).to_vec(),
            [0.0, times, 2.0 * times, 3.0 * times],
            "{name}"
        );
    }
    assert!(!d.obsm.contains_key("X_clcc_expr"));
}

#[test]
fn doublet_scores_come_under_scanpy_s_names_and_other_cells_are_refused() {
    let p = Bench::new();
    let cells = Reader::open(&p.dir.path().join("expr"))
        .unwrap()
        .obs()
        .unwrap()
        .index;
    let write = |cells: Vec<String>, called: bool| {
        let row = |(i, cell)| DoubletRow {
            cell,
            doublet_score: i as f64 / 10.0,
            predicted_doublet: called.then_some(i == 1),
        };
        let table = Table::new(cells.into_iter().enumerate().map(row).collect());
        table.write_as(&p.dir.path().join("doublets")).unwrap();
    };
    let obs = || {
        Reader::open(&p.dir.path().join("out/anndata"))
            .unwrap()
            .obs()
            .unwrap()
    };
    write(cells.clone(), true);
    p.run(&["expr", "cnv", "doublets"]).unwrap();
    assert_eq!(obs().numbers("doublet_score").unwrap()[1], 0.1);
    let called = Column::Bool((0..cells.len()).map(|i| i == 1).collect());
    assert_eq!(obs().columns["predicted_doublet"], called);
    write(cells.clone(), false);
    std::fs::remove_dir_all(p.dir.path().join("out")).unwrap();
    p.run(&["expr", "cnv", "doublets"]).unwrap();
    assert!(!obs().columns.contains_key("predicted_doublet"));
    write(cells.into_iter().rev().collect(), true);
    std::fs::remove_dir_all(p.dir.path().join("out")).unwrap();
    let error = p.run(&["expr", "cnv", "doublets"]).unwrap_err().to_string();
    assert!(error.contains("same cells"), "{error}");
}

/// Tables of `dosage` of two patients: `g1` is tested, `g9` is no gene of this patient.
fn write_dosage(b: &Bench) {
    let dir = b.dir.path().join("dosage");
    std::fs::create_dir(&dir).unwrap();
    let gene = |name: &str, slope: f64, se: f64, below: Option<f64>, class: &str| DosageGeneRow {
        names: name.into(),
        slope,
        se,
        prob_insensitive: below,
        class: class.into(),
        ..DosageGeneRow::default()
    };
    let genes = vec![
        gene("g9", 9.0, 1.0, Some(0.9), "untested"),
        gene("g1", 0.25, 0.1, Some(0.75), "insensitive"),
        gene("g2", f64::NAN, f64::NAN, None, "untested"),
    ];
    Table::new(genes).note("a note").write(&dir).unwrap();
    let slope = |patient: &str, slope: f64| DosagePatientRow {
        names: "g1".into(),
        patient: patient.into(),
        slope,
        ..DosagePatientRow::default()
    };
    Table::new(vec![slope("P1", 9.0), slope("P2", 0.5)])
        .write(&dir)
        .unwrap();
    let cell = |name: &str, patient: &str, shortfall: f64, z: f64| DosageCellRow {
        cell: name.into(),
        patient: patient.into(),
        shortfall: Some(shortfall),
        shortfall_z: Some(z),
        ..DosageCellRow::default()
    };
    let cells = vec![
        cell("c1", "P1", 9.0, 9.0),
        cell("c1", "P2", 0.5, 1.5),
        cell("c3", "P2", -1.0, -2.0),
    ];
    Table::new(cells).write(&dir).unwrap();
}

#[test]
fn the_answer_stands_beside_genes_and_cells() {
    let b = Bench::new();
    write_dosage(&b);
    b.run(&["expr", "cnv", "dosage"]).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    let of = |frame: &Frame, name: &str| -> Vec<String> {
        let values = frame.numbers(name).unwrap();
        values.iter().map(ToString::to_string).collect()
    };
    let nan = "NaN";
    assert_eq!(
        of(&d.var, "dosage_slope"),
        [nan, "0.25", nan, nan, nan, nan]
    );
    assert_eq!(of(&d.var, "dosage_prob_insensitive")[1], "0.75");
    assert_eq!(of(&d.var, "dosage_patient_slope")[1], "0.5");
    assert_eq!(
        d.var.texts("dosage_class").unwrap(),
        ["", "insensitive", "untested", "", "", ""]
    );
    // A column that the table does not have is none here.
    assert!(!d.var.columns.contains_key("dosage_qval"));
    assert_eq!(of(&d.obs, "dosage_shortfall"), [nan, "0.5", nan, "-1"]);
    assert_eq!(of(&d.obs, "dosage_shortfall_z"), [nan, "1.5", nan, "-2"]);
    assert_eq!(d.uns["log1p"], Uns::Dict(BTreeMap::new()));
}

/// Tables of `discordance` of two patients, with a reported fit where `established` says something.
fn write_discordance(b: &Bench, established: &str) {
    let dir = b.dir.path().join("discordance");
    std::fs::create_dir(&dir).unwrap();
    let gene = |names: &str, prob_held_back: f64, log_odds: f64| DiscordanceGeneRow {
        names: names.into(),
        prob_held_back,
        log_odds,
        ..DiscordanceGeneRow::default()
    };
    let genes = vec![gene("g9", 0.9, 2.0), gene("g1", 0.75, 1.1)];
    Table::new(genes).write(&dir).unwrap();
    let cell =
        |cell: &str, patient: &str, prob_discordant: f64, log_odds: f64| DiscordanceCellRow {
            cell: cell.into(),
            patient: patient.into(),
            prob_discordant,
            log_odds,
            ..DiscordanceCellRow::default()
        };
    let cells = vec![
        cell("c1", "P1", 0.9, 2.0),
        cell("c1", "P2", 0.25, -1.0),
        cell("c3", "P2", 0.5, 0.0),
    ];
    Table::new(cells).write(&dir).unwrap();
    let fit = |profile: &str, evidence: f64, established: Option<&str>| DiscordanceFitRow {
        profile: profile.into(),
        evidence,
        established: established.map(String::from),
        ..DiscordanceFitRow::default()
    };
    let fits = match established {
        "" => Vec::new(),
        said => vec![
            fit("own", 2.0, None),
            fit("own", 8.5, Some(said)),
            fit("relaid_1", -1.0, None),
        ],
    };
    Table::new(fits).write(&dir).unwrap();
}

#[test]
fn probabilities_of_discordance_stand_beside_genes_and_cells_with_their_verdict() {
    for (established, expected) in [("yes", Some(8.5)), ("no", Some(8.5)), ("", None)] {
        let b = Bench::new();
        write_discordance(&b, established);
        b.run(&["expr", "cnv", "discordance"]).unwrap();
        let d = Reader::open(&b.out()).unwrap().read().unwrap();
        let known = |frame: &Frame, name: &str| -> Vec<(usize, f64)> {
            let values = frame.numbers(name).unwrap().into_iter().enumerate();
            values.filter(|(_, v)| !v.is_nan()).collect()
        };
        assert_eq!(known(&d.var, "discordance_prob_held_back"), [(1, 0.75)]);
        assert_eq!(known(&d.var, "discordance_log_odds"), [(1, 1.1)]);
        // Cell `c1` is that of this patient.
        assert_eq!(known(&d.obs, "discordance_prob"), [(1, 0.25), (3, 0.5)]);
        assert_eq!(known(&d.obs, "discordance_log_odds"), [(1, -1.0), (3, 0.0)]);
        let mut verdict =
            BTreeMap::from([("established".to_string(), Uns::Str(established.into()))]);
        if let Some(evidence) = expected {
            verdict.insert("evidence".into(), Uns::F64(evidence));
        }
        assert_eq!(d.uns["discordance"], Uns::Dict(verdict));
    }
}

#[test]
fn arrays_that_came_in_go_on_and_ids_are_those_of_ensembl() {
    let b = Bench::new();
    let path = b.dir.path().join("expr");
    let mut expr = Reader::open(&path).unwrap().read().unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let spatial = Matrix::Dense(array![[0f32, 1.], [2., 3.], [4., 5.], [6., 7.]]);
    for name in ["spatial", "X_cnv"] {
        expr.obsm.insert(name.into(), spatial.clone());
    }
    expr.var.index[0] = "TP53".into();
    expr.uns.insert("genome".into(), Uns::Str("GRCh38".into()));
    expr.write_zarr(&path).unwrap();
    b.run(&["expr", "cnv"]).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    assert_eq!(d.obsm["spatial"], spatial);
    assert_eq!(d.obsm["X_cnv_source"], spatial);
    assert_eq!(d.obsm["X_cnv"].clone().into_csr(), csr(4, 3, 1));
    let ids = d.var.texts("gene_ids").unwrap();
    assert_eq!(ids[..2], ["ENSG00000141510".to_string(), String::new()]);
    // The genome of other genes is not known, and its ids are not.
    let b = Bench::new();
    b.run(&["expr", "cnv"]).unwrap();
    let d = Reader::open(&b.out()).unwrap().read().unwrap();
    assert!(!d.var.columns.contains_key("gene_ids"));
}
