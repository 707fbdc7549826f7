//! The stage behind those before it, on a simulated myeloma: malignant lymphocytes of one clone of
//! immunoglobulins, genes named by symbol or by Ensembl id, cells in one order or another.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::infercnv::{Infercnv, InfercnvParams};
use clcc_counts::preprocess::{Preprocess, PreprocessParams};
use clcc_data::genome::{GeneTable, is_immunoglobulin_segment};
use clcc_data::table::TextTable;
use clcc_simulate::simulate::{
    Immunoglobulin, PatientPlan, SimulateParams, World, simulate_patient,
};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};

fn artifact(role: &str, path: PathBuf) -> InputArtifact {
    InputArtifact {
        role: role.into(),
        branch: Branch::new(),
        path,
        format: None,
        builtin: (role == "genes").then(|| "grch38".to_string()),
    }
}

fn node<S: Stage>(dir: &Path, inputs: Vec<InputArtifact>, params: &S::Params) -> Metrics {
    std::fs::create_dir_all(dir).unwrap();
    let ctx = StageContext {
        inputs,
        out_dir: dir.to_path_buf(),
        keys: Vec::new(),
        seed: 1,
        threads: 2,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &AtomicBool::new(false),
    };
    S::run(&ctx, params).unwrap()
}

/// Counts of a myeloma.
fn myeloma() -> AnnData {
    myeloma_with(SimulateParams::default())
}

fn myeloma_with(params: SimulateParams) -> AnnData {
    let params = SimulateParams {
        n_cells: 400,
        n_genes: 3000,
        immunoglobulin: Immunoglobulin::Malignant,
        ..params
    };
    let world = World::new(&params, 3).unwrap();
    let plan = PatientPlan::standard("A", &params);
    simulate_patient(&world, &plan, &params, 3).unwrap().counts
}

/// The same with Ensembl ids as names, for the genes that have one.
fn by_id(mut counts: AnnData) -> AnnData {
    let table = GeneTable::grch38();
    let id: HashMap<&str, &str> = (table.genes.iter())
        .filter_map(|g| Some((g.name.as_str(), g.id.as_deref()?)))
        .collect();
    for name in &mut counts.var.index {
        if let Some(id) = id.get(name.as_str()) {
            *name = (*id).to_string();
        }
    }
    counts.var.columns.clear();
    counts
}

/// Run the stages up to `cluster`; `order` puts the cells of `cnv` in another order.
fn run(dir: &Path, counts: &AnnData, order: Option<&[usize]>) -> Metrics {
    std::fs::create_dir_all(dir).unwrap();
    counts.write_zarr(&dir.join("counts")).unwrap();
    let inputs = ["counts", "genes"].map(|role| artifact(role, dir.join(role)));
    node::<Preprocess>(dir, inputs.to_vec(), &PreprocessParams::default());
    let expr = artifact("expr", dir.join("expr"));
    let params = InfercnvParams {
        window_size: 50,
        exclude_genes: vec!["HLA-*".into()],
        dynamic_threshold: None,
        ..InfercnvParams::default()
    };
    node::<Infercnv>(dir, vec![expr.clone()], &params);
    let mut cnv = artifact("cnv", dir.join("cnv"));
    if let Some(order) = order {
        let mut data = Reader::open(&cnv.path).unwrap().read().unwrap();
        data.obs = data.obs.take(order);
        let x = data.obsm["X_cnv"].clone().into_csr().take_rows(order);
        data.obsm = BTreeMap::from([("X_cnv".into(), Matrix::Csr(x))]);
        (data.x, data.layers) = (None, BTreeMap::new());
        cnv.path = dir.join("moved");
        data.write_zarr(&cnv.path).unwrap();
    }
    node::<Cluster>(dir, vec![expr, cnv], &ClusterParams::default())
}

fn tables(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir.join("cluster_tables")).unwrap();
    files
        .map(|f| f.unwrap().path())
        .map(|p| {
            (
                p.file_name().unwrap().to_string_lossy().into(),
                std::fs::read(p).unwrap(),
            )
        })
        .collect()
}

/// With ids, the HLA genes and the segments of immunoglobulins are left out as with symbols: every table is
/// the same. Were they used, a hundredfold expression would be a gain of 2p, 14q and 22q.
#[test]
fn a_myeloma_with_ensembl_ids_is_that_with_symbols() {
    let dir = tempfile::tempdir().unwrap();
    let (symbols, ids) = (dir.path().join("symbols"), dir.path().join("ids"));
    let counts = myeloma();
    let segments = |v: &[String]| v.iter().filter(|g| is_immunoglobulin_segment(g)).count();
    assert!(segments(&counts.var.index) > 5);
    let with_ids = by_id(counts.clone());
    assert_eq!(segments(&with_ids.var.index), 0);
    let metrics = run(&symbols, &counts, None);
    assert!(metrics["n_malignant"].as_u64().unwrap() > 50, "{metrics:?}");
    assert_eq!(metrics, run(&ids, &with_ids, None));
    assert!(tables(&symbols) == tables(&ids));
    let used = |dir: &Path| {
        let genes = Reader::open(&dir.join("cnv")).unwrap().var().unwrap();
        (genes.len(), clcc_data::genome::symbols(&genes))
    };
    let (found, want) = (used(&ids), used(&symbols));
    assert_eq!(found, want);
    assert!(found.1.iter().all(|g| !g.starts_with("HLA-")));
}

/// A clone of lymphocytes without a gained or lost arm: its immunoglobulins, thirty of the genes and a third of the
/// counts, are no change of copy number, and its cells are not malignant by them.
#[test]
fn immunoglobulins_of_a_clone_are_no_gain() {
    let dir = tempfile::tempdir().unwrap();
    let counts = myeloma_with(SimulateParams {
        trunk_events: 0,
        clone_events: 0,
        ..SimulateParams::default()
    });
    let metrics = run(dir.path(), &counts, None);
    let arms = TextTable::read(&dir.path().join("cluster_tables/cnv_arms.tsv")).unwrap();
    let (arm, call) = (arms.texts("arm").unwrap(), arms.texts("call").unwrap());
    // Where the segments of IGK, IGH and IGL lie.
    let loci = ["chr2p", "chr14q", "chr22q"];
    assert!(loci.iter().all(|l| arm.contains(l)));
    let called: Vec<&str> = (0..arm.len())
        .filter(|&r| call[r] != "neutral" && loci.contains(&arm[r]))
        .map(|r| arm[r])
        .collect();
    assert_eq!(called, [""; 0]);
    // No cluster is altered: no call is made.
    assert!(metrics["n_malignant"].is_null(), "{metrics:?}");
}

/// The cells of `cnv` are put in the order of `expr`.
#[test]
fn cells_of_cnv_may_have_another_order_than_those_of_expr() {
    let dir = tempfile::tempdir().unwrap();
    let counts = myeloma();
    let order = Rng::new(5, "test order", &[]).permutation(counts.obs.len());
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    assert_eq!(run(&one, &counts, None), run(&other, &counts, Some(&order)));
    assert!(tables(&one) == tables(&other));
    let cells = |dir: &Path| {
        let clusters = Reader::open(&dir.join("clusters")).unwrap().obs().unwrap();
        (clusters.index.clone(), clusters.texts(CLONE).unwrap())
    };
    assert_eq!(cells(&one), cells(&other));
    let table = TextTable::read(&other.join("cluster_tables/cnv_cells.tsv")).unwrap();
    assert_eq!(table.rows.len(), counts.obs.len());
}
