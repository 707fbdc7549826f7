use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use clcc_data::table::TextTable;
use clcc_numerics::rng::Rng;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};
use clcc_testing::at_threads;

/// Cells of three clones with a gain or a loss of their own (or none) and noise below 0.05 removed.
fn clones(n: usize, windows: usize, seed: u64) -> (Csr, Vec<usize>) {
    let mut rng = Rng::new(seed, "test clones", &[]);
    let mut truth = Vec::new();
    let mut rows = Vec::new();
    for _ in 0..n {
        let clone = rng.below(3) as usize;
        truth.push(clone);
        let mut row = Vec::new();
        for w in 0..windows {
            let event = match (clone, 4 * w / windows) {
                (1, 0) | (2, 2) => 0.15,
                (1, 3) => -0.15,
                _ => 0.0,
            };
            let value = event + 0.05 * rng.normal();
            if value.abs() >= 0.05 {
                row.push((w as u32, value as f32));
            }
        }
        rows.push(row);
    }
    (Csr::from_rows(windows, rows), truth)
}

fn go(x: &Csr, params: &ClusterParams) -> Clustered {
    cluster_profiles(x, params, 7, &|_, _| Ok(())).unwrap()
}

#[test]
fn planted_clones_are_found() {
    let (x, truth) = clones(300, 120, 1);
    let found = go(
        &x,
        &ClusterParams {
            resolution: 0.2,
            ..ClusterParams::default()
        },
    );
    for cluster in 0..found.partition.n_clusters as u32 {
        let members: Vec<usize> = (0..300)
            .filter(|&i| found.partition.membership[i] == cluster)
            .map(|i| truth[i])
            .collect();
        assert!(
            members.iter().all(|&t| t == members[0]),
            "cluster {cluster} mixes clones"
        );
    }
    assert!(found.partition.n_clusters >= 3);
}

#[test]
fn permuting_the_cells_permutes_the_neighbourhoods() {
    let (x, _) = clones(120, 60, 2);
    let order = Rng::new(3, "test order", &[]).permutation(120);
    let (a, b) = (
        go(&x, &ClusterParams::default()),
        go(&x.take_rows(&order), &ClusterParams::default()),
    );
    for i in 0..120 {
        for j in 0..120 {
            let (p, q) = (
                a.connectivities.get(order[i], order[j]),
                b.connectivities.get(i, j),
            );
            assert!((p - q).abs() < 1e-4, "{i} {j}: {p} {q}");
        }
    }
}

#[test]
fn few_cells_and_cells_without_signal_have_finite_results() {
    let empty = |n| Csr::from_rows(30, vec![vec![]; n]);
    let (three, _) = clones(3, 30, 3);
    let (twenty, _) = clones(20, 30, 4);
    let mixed = Csr::vstack(&[&empty(10), &twenty]);
    for x in [
        empty(1),
        empty(2),
        empty(40),
        clones(1, 30, 5).0,
        three,
        mixed,
    ] {
        for zero_center in [false, true] {
            let found = go(
                &x,
                &ClusterParams {
                    zero_center,
                    ..ClusterParams::default()
                },
            );
            let n = x.n_rows();
            assert_eq!(
                (found.umap.dim(), found.partition.membership.len()),
                ((n, 2), n)
            );
            assert!(
                found.umap.iter().all(|v| v.is_finite())
                    && found.pca.scores.iter().all(|v| v.is_finite())
            );
            assert!(found.connectivities.data().iter().all(|v| v.is_finite()));
            assert!(
                found
                    .profiles
                    .mean
                    .iter()
                    .chain(&found.profiles.score)
                    .all(|v| v.is_finite())
            );
            assert_eq!(found.profiles.n_cells.iter().sum::<usize>(), n);
        }
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let x = Csr::from_rows(4, vec![vec![(0, 1.0)], vec![], vec![(2, f32::NAN)]]);
    let error = cluster_profiles(&x, &ClusterParams::default(), 0, &|_, _| Ok(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`X_cnv`: expected finite values, found `NaN` in row 2"
    );
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (x, _) = clones(400, 300, 6);
    let one = at_threads(1, || go(&x, &ClusterParams::default()));
    assert!(at_threads(2, || go(&x, &ClusterParams::default())) == one);
}

/// Writes a `cnv` store of 60 cells next to `dir/out`, and runs the stage on it.
fn run_stage(dir: &Path, out: &str) -> Metrics {
    let (x, truth) = clones(60, 40, 8);
    let mut obs = Frame::new((0..60).map(|i| format!("cell{i}")).collect());
    let burden = (0..60)
        .map(|r| x.row(r).1.iter().map(|v| f64::from(v.abs())).sum::<f64>() / 40.0)
        .collect();
    obs.set("cnv_burden", Column::F64(burden));
    let class = |t: &usize| if *t == 0 { "Normal" } else { "Cancer" };
    obs.set_category(
        "cancer_vs_normal",
        &truth.iter().map(class).collect::<Vec<_>>(),
    );
    let mut windows = Frame::new((0..40).map(|w| format!("chr1:{w}")).collect());
    windows.set_category("chromosome", &vec!["chr1"; 40]);
    windows.set("start", Column::I64((0..40).map(|w| 1000 * w).collect()));
    windows.set(
        "end",
        Column::I64((0..40).map(|w| 1000 * w + 5000).collect()),
    );
    let path = dir.join("cnv");
    if !path.exists() {
        let cnv = AnnData {
            obs,
            obsm: BTreeMap::from([("X_cnv".into(), Matrix::Csr(x))]),
            uns: BTreeMap::from([(
                "cnv".into(),
                Uns::Dict(BTreeMap::from([("windows".into(), Uns::Frame(windows))])),
            )]),
            ..AnnData::default()
        };
        cnv.write_zarr(&path).unwrap();
    }
    let out_dir = dir.join(out);
    std::fs::create_dir_all(&out_dir).unwrap();
    let ctx = StageContext {
        inputs: vec![InputArtifact {
            role: "cnv".into(),
            branch: Branch::new(),
            path,
            format: None,
            builtin: None,
        }],
        out_dir,
        keys: Vec::new(),
        seed: 5,
        threads: 2,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &AtomicBool::new(false),
    };
    Cluster::run(
        &ctx,
        &ClusterParams {
            resolution: 0.3,
            ..ClusterParams::default()
        },
    )
    .unwrap()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.insert(
                    path.strip_prefix(dir).unwrap().display().to_string(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    out
}

#[test]
fn stage_writes_the_artifact_and_tables_with_the_same_bytes_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = run_stage(dir.path(), "a");
    at_threads(1, || run_stage(dir.path(), "b"));
    assert!(files(&dir.path().join("a")) == files(&dir.path().join("b")));

    let data = Reader::open(&dir.path().join("a/clusters"))
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(
        (data.obs.len(), data.obs.index[59].as_str()),
        (60, "cell59")
    );
    let n_clusters = metrics["n_clusters"].as_u64().unwrap() as usize;
    let Column::Category(leiden) = data.obs.column("cnv_leiden").unwrap() else {
        panic!("a category")
    };
    assert_eq!(
        leiden.categories,
        (0..n_clusters).map(|c| c.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(data.obsm["X_cnv_pca"].shape(), (60, 40));
    assert_eq!(data.obsm["X_cnv_umap"].shape(), (60, 2));
    let w = &data.obsp["cnv_neighbors_connectivities"];
    assert_eq!(*w, w.transpose());
    assert_eq!(data.obsp["cnv_neighbors_distances"].nnz(), 60 * 14);
    let Uns::Matrix(profiles) = &data.uns["cnv_cluster_profiles"] else {
        panic!("a matrix")
    };
    assert_eq!(profiles.dim(), (n_clusters, 40));

    let table = TextTable::read(&dir.path().join("a/cluster_tables/cnv_clusters.tsv")).unwrap();
    assert_eq!(
        table.header,
        [
            "cluster",
            "n_cells",
            "share_cancer",
            "cnv_score",
            "mean_burden",
            "n_arms_called",
            "altered",
            "share_malignant",
            "ithcna"
        ]
    );
    assert_eq!(table.numbers("n_cells").unwrap().iter().sum::<f64>(), 60.0);
    // The mean of the cells' burden is the mean over all entries.
    let (score, burden) = (
        table.numbers("cnv_score").unwrap(),
        table.numbers("mean_burden").unwrap(),
    );
    assert!(
        score
            .iter()
            .zip(&burden)
            .all(|(s, b)| (s - b).abs() < 1e-12)
    );
    let of_cells = data.obs.numbers("cnv_score").unwrap();
    assert!((0..60).all(|i| (of_cells[i] - score[leiden.codes[i] as usize]).abs() < 1e-12));
    let profile_table =
        TextTable::read(&dir.path().join("a/cluster_tables/cnv_cluster_profiles.tsv")).unwrap();
    assert_eq!(profile_table.rows.len(), 40);
    assert_eq!(
        profile_table.header[..5],
        ["window", "chromosome", "start", "end", "cluster_0"]
    );

    let table =
        |name: &str| TextTable::read(&dir.path().join("a/cluster_tables").join(name)).unwrap();
    let cells = table("cnv_cells.tsv");
    let scores = data.obs.numbers("cnv_malignancy").unwrap();
    assert_eq!(cells.numbers("cnv_malignancy").unwrap(), scores);
    // Without a reference both components are fitted; the cells of unaltered clusters are normal.
    let fit = table("cnv_malignancy.tsv");
    let threshold = fit.numbers("threshold").unwrap()[0];
    let altered = table("cnv_clusters.tsv")
        .texts("altered")
        .unwrap()
        .iter()
        .map(|a| *a == "True")
        .collect::<Vec<_>>();
    let called = data.obs.texts("cnv_malignant").unwrap();
    assert!(altered.contains(&true));
    assert!((0..60).all(|i| {
        let can_be = altered[leiden.codes[i] as usize];
        (called[i] == "Malignant") == (can_be && scores[i] > threshold)
    }));
    let histogram = table("cnv_malignancy_histogram.tsv");
    assert_eq!(
        histogram.numbers("n_cells").unwrap().iter().sum::<f64>(),
        60.0
    );
    let segments = table("cnv_segments.tsv");
    let windows: f64 = segments.numbers("n_windows").unwrap().iter().sum();
    assert_eq!(windows, 40.0 * n_clusters as f64);
    assert!(!table("cnv_arms.tsv").rows.is_empty());
}
