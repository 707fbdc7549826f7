//! Groups the cells of one patient by their copy-number profiles.
//!
//! PCA of `X_cnv` (`linalg::pca`) -> exact nearest neighbours (`neighbors`) -> UMAP's fuzzy graph
//! (`connectivities`) -> Leiden (`leiden`) and a layout in the plane (`umap`); then the score and the
//! mean profile of each cluster (`profiles`), its gains and losses (`segments`), malignancy scores of
//! cells (`malignancy`), and, where raw counts are read, the clones of the tumour (`clones`). Names,
//! defaults and meanings are those of infercnvpy, which calls scanpy.
//!
//! Unlike scanpy, neighbours are exact at any number of cells, and every step gives the same bytes
//! at any number of threads.
//!
//! Edge cases: fewer cells than `n_neighbors` shrink the neighbourhood (`neighborhood_size`), fewer
//! cells or windows than `n_comps` shrink the components. Cells without any copy-number signal are
//! copies of one another, at distance 0; ties are resolved by cell order. Where no cell has a signal, a
//! warning says that the clusters are meaningless. No step produces a NaN.

pub mod clones;
mod malignancy;
mod on_h;
mod params;
mod profiles;
mod segments;
mod tables;

#[cfg(test)]
mod tests;

pub use clones::{CloneOptions, Clones};
pub use malignancy::{Malignancy, TwoComponents, ithcna, malignancy, two_components};
pub use params::{ClusterParams, Metric, On};
pub use profiles::{Profiles, profiles};
pub use segments::{ArmCall, Call, Level, Segment, SegmentOptions, Segmented, segment};

use std::collections::BTreeMap;

use clcc_numerics::graph::{
    LeidenOptions, Objective, Partition, UmapOptions, connected_parts, connectivities, leiden,
    nearest_neighbors, neighborhood_size, umap,
};
use clcc_stage::cells::CLONE;
use clcc_stage::roles;

use ndarray::Array2;
use serde_json::json;

use clcc_data::anndata::{AnnData, Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::linalg::{Pca, PcaOptions, pca};
use clcc_numerics::rng::Rng;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};

/// Largest number of windows (or cells, where they are fewer) at which the components are computed from
/// all eigenvectors.
const EXACT_PCA_UP_TO: usize = 512;
/// Share of the reference cells that may score above the malignancy threshold without a warning.
const TRUSTED: f64 = 0.05;
/// Column of `expr` with `Cancer`, `Normal` or nothing.
const CANCER_VS_NORMAL: &str = "cancer_vs_normal";

/// The stage kind `cluster`.
#[derive(Debug)]
pub struct Cluster;

/// Everything computed from `X_cnv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustered {
    /// Principal components.
    pub pca: Pca,
    /// Distances to the neighbours, `n x n`.
    pub distances: Csr,
    /// Connectivities, `n x n`, symmetric.
    pub connectivities: Csr,
    /// Leiden clusters.
    pub partition: Partition,
    /// UMAP layout, `n x 2`.
    pub umap: Array2<f32>,
    /// Score and mean profile of each cluster.
    pub profiles: Profiles,
    /// Malignancy of the cells.
    pub malignancy: Malignancy,
}

/// Cluster the rows of `x_cnv` (`n_cells x n_windows`). `after_step` is called between the steps with
/// the number of steps done and the next one's name, and may stop the work with an error.
///
/// # Errors
/// [`StageError::Data`] where `x_cnv` has a value that is not finite, and any error of `after_step`.
pub fn cluster_profiles(
    x_cnv: &Csr,
    params: &ClusterParams,
    seed: u64,
    after_step: &dyn Fn(u64, &str) -> StageResult<()>,
) -> StageResult<Clustered> {
    let n = x_cnv.n_rows();
    if let Some(at) = x_cnv.data().iter().position(|v| !v.is_finite()) {
        let row = x_cnv.indptr().partition_point(|&p| p as usize <= at) - 1;
        return Err(StageError::data(format!(
            "`X_cnv`: expected finite values, found `{}` in row {row}",
            x_cnv.data()[at]
        )));
    }
    after_step(0, "principal components")?;
    let options = PcaOptions {
        n_comps: params.n_comps,
        zero_center: params.zero_center,
        exact_up_to: EXACT_PCA_UP_TO,
        seed,
    };
    let pca = pca(x_cnv, &options)?;
    after_step(1, "nearest neighbours")?;
    let neighbors = nearest_neighbors(&pca.scores, neighborhood_size(n, params.n_neighbors));
    let connectivities = connectivities(&neighbors);
    after_step(2, "Leiden")?;
    let partition = leiden(&connectivities, &leiden_options(params, seed));
    after_step(3, "UMAP")?;
    let umap = umap(&connectivities, &pca.scores, &umap_options(params, seed))?;
    let profiles = profiles(x_cnv, &partition.membership, partition.n_clusters);
    let malignancy = malignancy(x_cnv, &partition.membership, &profiles);
    Ok(Clustered {
        pca,
        distances: neighbors.distance_graph(),
        connectivities,
        partition,
        umap,
        profiles,
        malignancy,
    })
}

fn leiden_options(params: &ClusterParams, seed: u64) -> LeidenOptions {
    LeidenOptions {
        resolution: params.resolution,
        n_iterations: usize::try_from(params.n_iterations).ok(),
        theta: params.theta,
        seed,
        objective: Objective::RbConfiguration,
    }
}

fn umap_options(params: &ClusterParams, seed: u64) -> UmapOptions {
    UmapOptions {
        min_dist: params.min_dist,
        spread: params.spread,
        n_epochs: params.n_epochs,
        negative_sample_rate: params.negative_sample_rate,
        seed,
    }
}

/// Build a column of cluster numbers.
fn cluster_column(partition: &Partition) -> Column {
    Column::Category(Categorical {
        codes: partition.membership.iter().map(|&c| c as i32).collect(),
        categories: (0..partition.n_clusters).map(|c| c.to_string()).collect(),
        ordered: false,
    })
}

/// Build a column of clone numbers; `1` is the largest.
fn clone_column(clones: &Clones) -> Column {
    Column::Category(Categorical {
        codes: clones
            .of_cell
            .iter()
            .map(|c| c.map_or(-1, |c| c as i32))
            .collect(),
        categories: (1..=clones.n_cells.len()).map(|c| c.to_string()).collect(),
        ordered: false,
    })
}

impl Stage for Cluster {
    type Params = ClusterParams;

    const KIND: &'static str = "cluster";
    // 8: arms of the declared genome; elementary functions, products and decompositions of `math`.
    const CODE_VERSION: u32 = 8;
    const ABOUT: &'static str =
        "groups the cells of a patient by copy-number profile: PCA, exact neighbours, Leiden, UMAP";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = ClusterParams::ONLY_WITH;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(params: &Self::Params) -> Vec<Read> {
        match params.on {
            On::Cnv if params.max_clones > 1 => {
                vec![Read::one(roles::CNV), Read::optional_one(roles::EXPR)]
            }
            On::Cnv => vec![Read::one(roles::CNV)],
            On::H => vec![Read::one(roles::EMBEDDINGS)],
        }
    }

    fn outputs(params: &Self::Params) -> Vec<OutputDecl> {
        if params.on == On::H {
            return on_h::outputs();
        }
        vec![
            OutputDecl::new(
                roles::CLUSTERS,
                "AnnData: obs cnv_leiden, cnv_score, cnv_signal, cnv_correlation, cnv_malignancy, cnv_malignant and cnv_clone, obsm X_cnv_pca and X_cnv_umap, neighbour graph",
            ),
            OutputDecl::new(
                roles::CLUSTER_TABLES,
                "score, mean profile, gains and losses of each cluster; scores of each cell",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        if params.on == On::H {
            return on_h::run(ctx, params);
        }
        let reader = ctx.one(roles::CNV)?.open()?;
        let mut obs = reader.obs()?;
        let x_cnv = reader.obsm("X_cnv")?.into_csr();
        let without_signal = count_without_signal(ctx, &x_cnv, obs.len())?;
        let mut found = cluster_profiles(&x_cnv, params, ctx.seed, &|done, next| {
            ctx.check_cancelled()?;
            ctx.progress.step(done, 5, next);
            Ok(())
        })?;
        let above = set_threshold(ctx, params, &obs, &mut found.malignancy);
        ctx.progress.step(4, 5, "clones");
        let clones = match ctx.optional(roles::EXPR) {
            Some(expr) => {
                let (clones, types) = clones_of(&expr.path, &obs, &found, params, ctx.seed)?;
                if let Some(types) = types {
                    obs.set(CANCER_VS_NORMAL, types);
                }
                Some(clones)
            }
            None => None,
        };
        ctx.check_cancelled()?;
        ctx.progress.step(5, 5, "writing");
        let windows = match reader
            .uns()?
            .get("cnv")
            .and_then(|cnv| cnv.at(&["windows"]))
        {
            Some(Uns::Frame(windows)) if windows.len() == x_cnv.n_cols() => Some(windows.clone()),
            _ => None,
        };
        let details = Details::of(&x_cnv, &obs, &found, windows.as_ref(), params, ctx.seed);
        if found.malignancy.threshold.is_none() {
            ctx.progress.warn("no two components could be told apart in the malignancy scores: no cell is called malignant or normal; `malignancy_threshold` sets a threshold by hand");
        }
        tables::write(
            &ctx.output(roles::CLUSTER_TABLES),
            &obs,
            windows.as_ref(),
            &found,
            &details,
            clones.as_ref(),
        )?;
        let mut metrics = metrics(&found, &details, without_signal);
        if let Some(share) = above {
            metrics.insert("reference_above_threshold".into(), json!(share));
        }
        if let Some(clones) = &clones {
            metrics.insert("n_clones".into(), json!(clones.n_cells.len()));
        }
        annotated(obs, found, clones.as_ref()).write_zarr(&ctx.output(roles::CLUSTERS))?;
        Ok(metrics)
    }
}

/// Find the clones among the cells that are called malignant, from the raw counts of `expr` (none where
/// no cell is called); also returns its column [`CANCER_VS_NORMAL`].
fn clones_of(
    expr: &std::path::Path,
    obs: &Frame,
    found: &Clustered,
    params: &ClusterParams,
    seed: u64,
) -> StageResult<(Clones, Option<Column>)> {
    let reader = Reader::open(expr)?;
    let expr_obs = reader.obs()?;
    if expr_obs.index != obs.index {
        return Err(StageError::format(
            expr,
            "obs",
            "expected the cells of `cnv`, in their order",
        ));
    }
    let malignant = found
        .malignancy
        .calls()
        .unwrap_or_else(|| vec![false; obs.len()]);
    let counts = reader.layer("counts")?.into_csr();
    let options = CloneOptions {
        max_clones: params.max_clones,
        min_cells: params.min_clone_cells,
        seed,
    };
    let clones = clones::clones(&counts, &reader.var()?, &malignant, options)?;
    Ok((clones, expr_obs.columns.get(CANCER_VS_NORMAL).cloned()))
}

/// Number of cells without any copy-number signal; warns where that is all of them.
///
/// # Errors
/// [`StageError::Data`] where there are no cells or no windows.
fn count_without_signal(ctx: &StageContext<'_>, x_cnv: &Csr, n_cells: usize) -> StageResult<usize> {
    if n_cells == 0 || x_cnv.n_cols() == 0 {
        return Err(StageError::data(format!(
            "`X_cnv`: expected cells and windows, found {n_cells} cells and {} windows",
            x_cnv.n_cols()
        )));
    }
    let count = (0..x_cnv.n_rows())
        .filter(|&r| x_cnv.row(r).1.iter().all(|&v| v == 0.0))
        .count();
    if count == n_cells {
        ctx.progress
            .warn("no cell has any copy-number signal: its clusters mean nothing");
    }
    Ok(count)
}

/// Set the threshold of the parameters, if any, and mark the reference cells as normal. Returns the share
/// of them above the threshold, and warns where it is large.
fn set_threshold(
    ctx: &StageContext<'_>,
    params: &ClusterParams,
    obs: &Frame,
    malignancy: &mut Malignancy,
) -> Option<f64> {
    malignancy.threshold = params.malignancy_threshold.or(malignancy.threshold);
    let reference = obs.flags("cnv_reference").ok()?;
    let above = malignancy.take_reference(reference);
    if let Some(share) = above.filter(|share| *share > TRUSTED) {
        ctx.progress.warn(&format!(
            "{:.0} % of the reference cells score above the malignancy threshold: they are called normal, but other normal cells like them are not",
            100.0 * share
        ));
    }
    above
}

/// Results for the tables in addition to [`Clustered`].
struct Details {
    /// Gains and losses, where the windows have positions.
    segmented: Option<Segmented>,
    /// `ithcna` of each cluster.
    ithcna: Vec<f64>,
}

impl Details {
    fn of(
        x_cnv: &Csr,
        obs: &Frame,
        found: &Clustered,
        windows: Option<&Frame>,
        params: &ClusterParams,
        seed: u64,
    ) -> Self {
        let options = SegmentOptions {
            confidence: params.segment_confidence,
            min_amplitude: params.min_amplitude,
            arm_share: params.arm_share,
        };
        let membership = &found.partition.membership;
        let reference = obs.flags("cnv_reference").ok();
        let segmented = windows
            .and_then(|w| segment(x_cnv, membership, &found.profiles, w, reference, &options));
        let of_cluster = |cluster: usize| {
            let cells: Vec<usize> = (0..membership.len())
                .filter(|&c| membership[c] as usize == cluster)
                .collect();
            let drawn = Rng::new(seed, "ithcna cells", &[cluster as u64]).permutation(cells.len());
            let mut own: Vec<usize> = drawn
                .into_iter()
                .take(params.ithcna_cells)
                .map(|i| cells[i])
                .collect();
            own.sort_unstable();
            ithcna(x_cnv, &own)
        };
        let ithcna = (0..found.partition.n_clusters).map(of_cluster).collect();
        Self { segmented, ithcna }
    }
}

fn metrics(found: &Clustered, details: &Details, without_signal: usize) -> Metrics {
    let mut metrics = Metrics::new();
    metrics.insert("n_cells".into(), json!(found.umap.nrows()));
    metrics.insert("n_cells_without_signal".into(), json!(without_signal));
    metrics.insert("n_comps".into(), json!(found.pca.scores.ncols()));
    metrics.insert(
        "variance_ratio".into(),
        json!(found.pca.variance_ratio.sum()),
    );
    metrics.insert("n_clusters".into(), json!(found.partition.n_clusters));
    metrics.insert("quality".into(), json!(found.partition.quality));
    metrics.insert(
        "n_connected_parts".into(),
        json!(connected_parts(&found.connectivities).len()),
    );
    metrics.insert(
        "largest_cluster".into(),
        json!(found.profiles.n_cells.first().copied().unwrap_or(0)),
    );
    let calls = found.malignancy.calls();
    let n_malignant = calls.map(|c| c.into_iter().filter(|m| *m).count());
    metrics.insert("n_malignant".into(), json!(n_malignant));
    metrics.insert(
        "malignancy_threshold".into(),
        json!(found.malignancy.threshold),
    );
    if let Some(found) = &details.segmented {
        let called = |c: Call| found.segments.iter().filter(|s| s.call == c).count();
        metrics.insert("n_gains".into(), json!(called(Call::Gain)));
        metrics.insert("n_losses".into(), json!(called(Call::Loss)));
    }
    metrics
}

/// Build the `clusters` artifact.
fn annotated(obs: Frame, found: Clustered, clones: Option<&Clones>) -> AnnData {
    let membership = &found.partition.membership;
    let names: Vec<String> = (0..found.partition.n_clusters)
        .map(|c| c.to_string())
        .collect();
    let mut out = Frame::new(obs.index);
    out.set("cnv_leiden", cluster_column(&found.partition));
    out.set(
        "cnv_score",
        Column::F64(
            membership
                .iter()
                .map(|&c| found.profiles.score[c as usize])
                .collect(),
        ),
    );
    let calls = found.malignancy.calls();
    let call = |i: usize| match calls.as_ref().map(|c| c[i]) {
        None => -1,
        Some(false) => 1,
        Some(true) => 0,
    };
    out.set("cnv_signal", Column::F64(found.malignancy.signal));
    out.set("cnv_correlation", Column::F64(found.malignancy.correlation));
    out.set("cnv_malignancy", Column::F64(found.malignancy.score));
    out.set(
        "cnv_malignant",
        Column::Category(Categorical {
            codes: (0..membership.len()).map(call).collect(),
            categories: vec!["Malignant".into(), "Normal".into()],
            ordered: false,
        }),
    );
    if let Some(clones) = clones {
        out.set(CLONE, clone_column(clones));
    }
    AnnData {
        obs: out,
        obsm: BTreeMap::from([
            (
                "X_cnv_pca".into(),
                Matrix::Dense(found.pca.scores.mapv(|v| v as f32)),
            ),
            ("X_cnv_umap".into(), Matrix::Dense(found.umap)),
        ]),
        obsp: BTreeMap::from([
            ("cnv_neighbors_connectivities".into(), found.connectivities),
            ("cnv_neighbors_distances".into(), found.distances),
        ]),
        uns: BTreeMap::from([
            (
                "cnv_cluster_profiles".into(),
                Uns::Matrix(found.profiles.mean),
            ),
            ("cnv_cluster_names".into(), Uns::Strings(names)),
        ]),
        ..AnnData::default()
    }
}
