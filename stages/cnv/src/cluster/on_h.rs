//! Clusters and maps the cells of one model by their rows of `X_h`.
//!
//! The steps are those of [`super::cluster_profiles`] without the components, since `h` is narrow
//! already.

use std::collections::BTreeMap;

use ndarray::Array2;
use serde_json::json;

use super::{ClusterParams, cluster_column, leiden_options, umap_options};
use clcc_data::anndata::AnnData;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::graph::{
    Partition, connected_parts, connectivities, leiden, nearest_neighbors, neighborhood_size, umap,
    umap_3d,
};
use clcc_stage::roles;
use clcc_stage::rows::HClusterRow;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, StageContext};
use clcc_stage::tables::Table;

/// Outputs of `on: h`.
pub(super) fn outputs() -> Vec<OutputDecl> {
    vec![
        OutputDecl::new(
            roles::H_CLUSTERS,
            "AnnData: obs h_leiden, obsm X_h_umap (plane) and X_h_umap_3d (space), neighbour graph",
        ),
        OutputDecl::new(
            roles::H_CLUSTER_TABLES,
            "size and subclusters of each cluster",
        )
        .publish(Publish::Into("tables")),
    ]
}

/// Everything computed from `h`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HClustered {
    pub(super) distances: Csr,
    pub(super) connectivities: Csr,
    pub(super) partition: Partition,
    pub(super) plane: Array2<f32>,
    pub(super) space: Array2<f32>,
}

/// Compute neighbours, Leiden clusters and both maps from the rows of `h` (`n_cells x width`).
///
/// # Errors
/// [`StageError::Data`] where `h` has a value that is not finite, and any error of `after_step`.
pub(super) fn cluster_h(
    h: &Array2<f64>,
    params: &ClusterParams,
    seed: u64,
    after_step: &dyn Fn(u64, &str) -> StageResult<()>,
) -> StageResult<HClustered> {
    if let Some((at, v)) = h.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(StageError::data(format!(
            "`X_h`: expected finite values, found `{v}` in row {}",
            at.0
        )));
    }
    after_step(0, "nearest neighbours")?;
    let neighbors = nearest_neighbors(h, neighborhood_size(h.nrows(), params.n_neighbors));
    let connectivities = connectivities(&neighbors);
    after_step(1, "Leiden")?;
    let partition = leiden(&connectivities, &leiden_options(params, seed));
    after_step(2, "UMAP in the plane")?;
    let options = umap_options(params, seed);
    let plane = umap(&connectivities, h, &options)?;
    after_step(3, "UMAP in space")?;
    let space = umap_3d(&connectivities, h, &options)?;
    Ok(HClustered {
        distances: neighbors.distance_graph(),
        connectivities,
        partition,
        plane,
        space,
    })
}

/// Run the stage with `on: h`.
///
/// # Errors
/// As [`cluster_h`], and where `embeddings` has no `X_h`.
pub(super) fn run(ctx: &StageContext<'_>, params: &ClusterParams) -> StageResult<Metrics> {
    let reader = ctx.one(roles::EMBEDDINGS)?.open()?;
    if !reader.has("obsm/X_h")? {
        return Err(StageError::data_hint(
            "`embeddings` has no `X_h`",
            "set `objective: anchors` in `train`, or `on: cnv` here",
        ));
    }
    let obs = reader.obs()?;
    let h = reader.obsm("X_h")?.into_dense().mapv(f64::from);
    if h.nrows() == 0 {
        return Err(StageError::data("`X_h` has no cells"));
    }
    let found = cluster_h(&h, params, ctx.seed, &|done, next| {
        ctx.check_cancelled()?;
        ctx.progress.step(done, 4, next);
        Ok(())
    })?;
    ctx.progress.step(4, 4, "writing");
    write_table(&ctx.output(roles::H_CLUSTER_TABLES), &obs, &found.partition)?;
    let mut metrics = Metrics::new();
    metrics.insert("n_cells".into(), json!(h.nrows()));
    metrics.insert("n_clusters".into(), json!(found.partition.n_clusters));
    metrics.insert("quality".into(), json!(found.partition.quality));
    let parts = connected_parts(&found.connectivities).len();
    metrics.insert("n_connected_parts".into(), json!(parts));

    let mut out = Frame::new(obs.index.clone());
    if let Some(patient) = obs.columns.get("patient") {
        out.set("patient", patient.clone());
    }
    out.set("h_leiden", cluster_column(&found.partition));
    AnnData {
        obs: out,
        obsm: BTreeMap::from([
            ("X_h_umap".to_string(), Matrix::Dense(found.plane)),
            ("X_h_umap_3d".to_string(), Matrix::Dense(found.space)),
        ]),
        obsp: BTreeMap::from([
            (
                "h_neighbors_connectivities".to_string(),
                found.connectivities,
            ),
            ("h_neighbors_distances".to_string(), found.distances),
        ]),
        ..AnnData::default()
    }
    .write_zarr(&ctx.output(roles::H_CLUSTERS))?;
    Ok(metrics)
}

/// Write the size of each cluster, and the subcluster that most of its cells belong to.
fn write_table(dir: &std::path::Path, obs: &Frame, partition: &Partition) -> StageResult<()> {
    let subclusters = obs.texts("subcluster")?;
    let n = partition.n_clusters;
    let mut counts: Vec<BTreeMap<&str, i64>> = vec![BTreeMap::new(); n];
    for (&cluster, name) in partition.membership.iter().zip(&subclusters) {
        *counts[cluster as usize].entry(name.as_str()).or_insert(0) += 1;
    }
    let row = |(cluster, of): (usize, &BTreeMap<&str, i64>)| {
        let n_cells: i64 = of.values().sum();
        // Ties go to the first in the order of names.
        let largest = of.iter().fold(
            ("", 0),
            |best, (name, &n)| if n > best.1 { (*name, n) } else { best },
        );
        HClusterRow {
            h_leiden: cluster.to_string(),
            subclusters: of.len() as i64,
            top_subcluster: largest.0.to_string(),
            top_share: largest.1 as f64 / n_cells as f64,
            n_cells,
        }
    };
    Table::new(counts.iter().enumerate().map(row).collect())
        .note("Leiden clusters of X_h: cells, number of copy-number subclusters among them, the one most of them are of and its share")
        .write(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;
    use clcc_stage::stage::{InputArtifact, Quiet};
    use clcc_stage::tables::Row as _;
    use clcc_testing::at_threads;

    /// Two clouds of cells, 60 and 40, in eight dimensions.
    fn clouds() -> Array2<f64> {
        let mut rng = Rng::new(1, "test.h", &[]);
        Array2::from_shape_fn((100, 8), |(i, _)| {
            rng.normal() + if i < 60 { 0.0 } else { 12.0 }
        })
    }

    fn params() -> ClusterParams {
        ClusterParams {
            on: super::super::On::H,
            n_neighbors: 30,
            resolution: 0.2,
            n_epochs: Some(100),
            ..ClusterParams::default()
        }
    }

    #[test]
    fn clouds_are_clusters_and_lie_apart_in_the_plane_and_in_space() {
        let found = cluster_h(&clouds(), &params(), 3, &|_, _| Ok(())).unwrap();
        assert_eq!(found.partition.n_clusters, 2);
        let expected: Vec<u32> = (0..100).map(|i| u32::from(i >= 60)).collect();
        assert_eq!(found.partition.membership, expected);
        for map in [&found.plane, &found.space] {
            assert!(map.iter().all(|v| v.is_finite()));
            let nearest = |i: usize| {
                let away = |j: &usize| {
                    let d = &map.row(i) - &map.row(*j);
                    d.dot(&d)
                };
                (0..100)
                    .filter(|j| *j != i)
                    .min_by(|a, b| away(a).total_cmp(&away(b)))
            };
            assert!((0..100).all(|i| (nearest(i).unwrap() < 60) == (i < 60)));
        }
        assert_eq!((found.plane.ncols(), found.space.ncols()), (2, 3));
        let mut broken = clouds();
        broken[[7, 1]] = f64::NAN;
        let error = cluster_h(&broken, &params(), 3, &|_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("row 7"), "{error}");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let run = |threads: usize| {
            at_threads(threads, || {
                cluster_h(&clouds(), &params(), 3, &|_, _| Ok(())).unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn the_stage_writes_clusters_maps_and_their_table() {
        let dir = tempfile::tempdir().unwrap();
        let mut obs = Frame::new((0..100).map(|i| format!("c{i}")).collect());
        let names: Vec<&str> = (0..100).map(|i| if i < 70 { "s1" } else { "s2" }).collect();
        obs.set_category("subcluster", &names);
        obs.set_category("patient", &["P1"; 100]);
        let embeddings = AnnData {
            obs,
            obsm: BTreeMap::from([(
                "X_h".to_string(),
                Matrix::Dense(clouds().mapv(|v| v as f32)),
            )]),
            ..AnnData::default()
        };
        embeddings
            .write_zarr(&dir.path().join("embeddings"))
            .unwrap();
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let ctx = StageContext {
            inputs: vec![InputArtifact {
                role: "embeddings".into(),
                branch: BTreeMap::new(),
                path: dir.path().join("embeddings"),
                format: None,
                builtin: None,
            }],
            out_dir: dir.path().join("out"),
            keys: Vec::new(),
            seed: 1,
            threads: 1,
            device: clcc_stage::stage::DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &Quiet,
            cancel: &cancel,
        };
        std::fs::create_dir_all(&ctx.out_dir).unwrap();
        let metrics = run(&ctx, &params()).unwrap();
        assert_eq!(metrics["n_clusters"], json!(2));
        let written = clcc_data::anndata::Reader::open(&ctx.output(roles::H_CLUSTERS)).unwrap();
        assert_eq!(written.obsm("X_h_umap_3d").unwrap().shape(), (100, 3));
        assert_eq!(written.obs().unwrap().texts("h_leiden").unwrap()[99], "1");
        let path = ctx.output(roles::H_CLUSTER_TABLES).join(HClusterRow::FILE);
        let rows = HClusterRow::read(&path).unwrap();
        let top = |row: &HClusterRow| (row.top_subcluster.clone(), row.top_share);
        let top: Vec<_> = rows.iter().map(top).collect();
        assert_eq!(top, [("s1".to_string(), 1.0), ("s2".to_string(), 0.75)]);
    }
}
