//! Groups the cells of one patient by their copy-number profiles.
//!
//! PCA of `X_cnv` (`linalg::pca`) -> exact nearest neighbours (`neighbors`) -> UMAP's fuzzy graph
//! (`connectivities`) -> Leiden (`leiden`) and a layout in the plane (`umap`); then the score and the
//! mean profile of each cluster (`profiles`), its gains and losses (`segments`, by the raw counts of
//! its genes where they are read: `evidence`), malignancy scores of cells (`malignancy`), and, where
//! expression is read, the clones of the tumour (`clones`) and a layout of the cells by their expression
//! (`expression_map`). Names, defaults and meanings are those of
//! infercnvpy, which calls scanpy.
//!
//! Unlike scanpy, neighbours are exact at any number of cells, and every step gives the same bytes
//! at any number of threads.
//!
//! Edge cases: fewer cells than `n_neighbors` shrink the neighbourhood (`neighborhood_size`), fewer
//! cells or windows than `n_comps` shrink the components. Cells without any copy-number signal are
//! copies of one another, at distance 0; ties are resolved by cell order. Where no cell has a signal, a
//! warning says that the clusters are meaningless. No step produces a NaN.

pub mod clones;
mod evidence;
mod expression_map;
mod malignancy;
mod on_h;
mod params;
mod profiles;
mod segments;
mod tables;

#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod tests;

use expression_map::expression_map;

pub use clones::{CloneOptions, Clones, Evidence};
pub use evidence::{Contrast, Contrasts, Places, Shift};
pub use malignancy::{Malignancy, TwoComponents, ithcna, malignancy, two_components};
pub use params::{ClusterParams, Metric, On};
pub use profiles::{Profiles, profiles};
pub use segments::{ArmCall, Call, Level, Segment, SegmentOptions, Segmented, gene_arms, segment};

use std::collections::{BTreeMap, HashMap, HashSet};

use clcc_numerics::graph::{
    LeidenOptions, Objective, Partition, UmapOptions, connected_parts, connectivities, leiden,
    nearest_neighbors, neighborhood_size, umap,
};
use clcc_stage::cells::CLONE;
use clcc_stage::cohort::paired;
use clcc_stage::roles;

use ndarray::Array2;
use serde_json::json;

use clcc_data::anndata::{AnnData, Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::{is_clonal_locus, symbols};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::linalg::{Pca, PcaOptions, pca};
use clcc_numerics::rng::Rng;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::rows;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext, missing};
use clcc_stage::tables::{Row as _, TableSpec};

/// Largest number of windows (or cells, where they are fewer) at which the components are computed from
/// all eigenvectors.
const EXACT_PCA_UP_TO: usize = 512;
/// Estimated share of false calls without a warning.
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
}

/// Cluster the rows of `x_cnv` (`n_cells x n_windows`). `after_step` is called between the steps with
/// the number of steps done and the next one's name, and may stop the work with an error.
///
/// ```
/// use clcc_cnv::cluster::{ClusterParams, cluster_profiles};
/// use clcc_data::matrix::Csr;
/// use ndarray::Array2;
///
/// # fn main() -> clcc_data::StageResult<()> {
/// // 60 cells and 30 windows; the first 30 cells have a gain in ten of the windows.
/// let x = Array2::from_shape_fn((60, 30), |(cell, window)| {
///     let gain = if cell < 30 && window < 10 { 0.3 } else { 0.0 };
///     gain + 0.01 * ((7 * cell + 11 * window) % 5) as f32
/// });
/// let params = ClusterParams::default();
/// let found = cluster_profiles(&Csr::from_dense(&x), &params, 1, &|_, _| Ok(()))?;
/// let cluster = &found.partition.membership;
/// assert!(cluster[..30].iter().all(|c| !cluster[30..].contains(c)));
/// let gained = cluster[0] as usize;
/// assert!(found.profiles.mean[[gained, 0]] > 0.29);
/// # Ok(())
/// # }
/// ```
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
    Ok(Clustered {
        pca,
        distances: neighbors.distance_graph(),
        connectivities,
        partition,
        umap,
        profiles,
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
    const TABLES: &'static [TableSpec] = &[
        rows::CnvClusterRow::SPEC,
        rows::CnvCellRow::SPEC,
        rows::MalignancyRow::SPEC,
        rows::MalignancyBinRow::SPEC,
        rows::ClusterProfileRow::SPEC,
        rows::CnvSegmentRow::SPEC,
        rows::CnvArmRow::SPEC,
        rows::CnvCloneRow::SPEC,
        rows::ClonePieceRow::SPEC,
        rows::HClusterRow::SPEC,
    ];
    // 9: arms and segments judged by their genes' counts; malignant cells in altered clusters alone.
    // 10: pseudogene segments of the receptors' loci (`IGHVII-1-1`, `TRBVA`) take no part, as the other segments.
    // 12: those of genes that are named by Ensembl id too; `expr` in another order of cells.
    // 13: `X_umap`, the map of expression.
    const CODE_VERSION: u32 = 13;
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
            On::Cnv => vec![Read::one(roles::CNV), Read::optional_one(roles::EXPR)],
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
                "AnnData: obs cnv_leiden, cnv_score, cnv_signal, cnv_correlation, cnv_malignancy, cnv_malignant and cnv_clone, obsm X_cnv_pca, X_cnv_umap and (where `expr` is read) X_umap of the expression, neighbour graph",
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
        let input = CnvInput::read(ctx)?;
        let x_cnv = &input.x_cnv;
        let without_signal = count_without_signal(ctx, x_cnv, input.obs.len())?;
        let found = cluster_profiles(x_cnv, params, ctx.seed, &|done, next| {
            ctx.check_cancelled()?;
            ctx.progress.step(done, 5, next);
            Ok(())
        })?;
        ctx.progress.step(4, 5, "gains, losses and clones");
        let expr = match ctx.optional(roles::EXPR) {
            Some(expr) => Some(Expr::read(&expr.path)?),
            None => None,
        };
        let mut judged = Judged::new(&input, &found, expr.as_ref(), params);
        if let Some(threshold) = params.malignancy_threshold {
            judged.malignancy.set_threshold(threshold);
        }
        judged.warn(ctx);
        ctx.check_cancelled()?;
        let clones = match &expr {
            Some(expr) if params.max_clones > 1 => {
                let calls = judged.malignancy.calls();
                Some(expr.clones(&input.genes, calls, params, ctx.seed)?)
            }
            _ => None,
        };
        ctx.check_cancelled()?;
        let map = map_of_expression(ctx, expr.as_ref(), params)?;
        ctx.check_cancelled()?;
        ctx.progress.step(5, 5, "writing");
        let mut obs = input.obs;
        if let Some(types) = expr.and_then(|e| e.obs.columns.get(CANCER_VS_NORMAL).cloned()) {
            obs.set(CANCER_VS_NORMAL, types);
        }
        let ithcna = ithcna_of_clusters(&input.x_cnv, &found.partition, params, ctx.seed);
        let tables = tables::Results {
            obs: &obs,
            windows: input.windows.as_ref(),
            found: &found,
            judged: &judged,
            ithcna: &ithcna,
            clones: clones.as_ref(),
        };
        tables.write(&ctx.output(roles::CLUSTER_TABLES))?;
        let metrics = metrics(&found, &judged, clones.as_ref(), without_signal);
        let mut data = annotated(obs, found, judged.malignancy, clones.as_ref());
        if let Some(map) = map {
            data.obsm.insert("X_umap".into(), Matrix::Dense(map));
        }
        data.write_zarr(&ctx.output(roles::CLUSTERS))?;
        Ok(metrics)
    }
}

/// The artifact `cnv`, its cells in the order of `expr` where that is read.
struct CnvInput {
    obs: Frame,
    /// Genes of the windows, in genome order.
    genes: Frame,
    x_cnv: Csr,
    windows: Option<Frame>,
}

impl CnvInput {
    fn read(ctx: &StageContext<'_>) -> StageResult<Self> {
        let cnv = paired(ctx, roles::CNV)?
            .pop()
            .ok_or_else(|| missing(roles::CNV))?;
        let x_cnv = cnv.obsm("X_cnv")?.into_csr();
        let uns = cnv.reader.uns()?;
        let windows = match uns.get("cnv").and_then(|cnv| cnv.at(&["windows"])) {
            Some(Uns::Frame(windows)) if windows.len() == x_cnv.n_cols() => Some(windows.clone()),
            _ => None,
        };
        Ok(Self {
            obs: cnv.obs()?,
            genes: cnv.reader.var()?,
            x_cnv,
            windows,
        })
    }

    /// Which cells are reference; `None` where none was named.
    fn reference(&self) -> Option<&[bool]> {
        let flags = self.obs.flags("cnv_reference").ok()?;
        flags.iter().any(|f| *f).then_some(flags)
    }
}

/// Raw counts of the same cells.
struct Expr {
    obs: Frame,
    var: Frame,
    /// Whether each gene is a segment of an immunoglobulin or a T-cell receptor, which are not used.
    clonal: Vec<bool>,
    counts: Csr,
}

impl Expr {
    fn read(path: &std::path::Path) -> StageResult<Self> {
        let reader = Reader::open(path)?;
        let var = reader.var()?;
        Ok(Self {
            obs: reader.obs()?,
            clonal: symbols(&var).iter().map(|s| is_clonal_locus(s)).collect(),
            var,
            counts: reader.layer("counts")?.into_csr(),
        })
    }

    /// Columns of the counts of the genes of `cnv`, and their arms.
    fn places(&self, genes: &Frame) -> Places {
        let columns: HashMap<&str, usize> = (self.var.index.iter().enumerate())
            .map(|(c, name)| (name.as_str(), c))
            .collect();
        let column = |name: &String| {
            columns
                .get(name.as_str())
                .copied()
                .filter(|c| !self.clonal[*c])
        };
        Places {
            column: genes.index.iter().map(column).collect(),
            arms: gene_arms(genes).into_iter().map(|a| a.2).collect(),
        }
    }

    /// Clones among the cells that are called malignant; none where no cell is called. Genes that `infercnv` left out
    /// of a chromosome take no part.
    fn clones(
        &self,
        genes: &Frame,
        calls: Option<Vec<bool>>,
        params: &ClusterParams,
        seed: u64,
    ) -> StageResult<Clones> {
        let malignant = calls.unwrap_or_else(|| vec![false; self.obs.len()]);
        let kept: HashSet<&str> = genes.index.iter().map(String::as_str).collect();
        let inferred: HashSet<String> = genes.texts("chromosome")?.into_iter().collect();
        let chromosome = self.var.texts("chromosome")?;
        let is_used = |g: usize| {
            let name = self.var.index[g].as_str();
            let left_out = inferred.contains(&chromosome[g]) && !kept.contains(name);
            !left_out && !self.clonal[g]
        };
        let used: Vec<bool> = (0..self.var.len()).map(is_used).collect();
        let options = CloneOptions {
            max_clones: params.max_clones,
            min_cells: params.min_clone_cells,
            seed,
        };
        clones::clones(&self.counts, (&self.var, &used), &malignant, options)
    }
}

/// Gains and losses of the clusters, and the malignant cells.
struct Judged {
    /// Gains and losses, where the windows have positions.
    segmented: Option<Segmented>,
    /// Windows of the altered regions of each cluster.
    altered: Vec<Vec<Vec<usize>>>,
    malignancy: Malignancy,
    /// [`Contrasts::inflation`], where counts are read.
    inflation: Option<f64>,
}

impl Judged {
    fn new(
        input: &CnvInput,
        found: &Clustered,
        expr: Option<&Expr>,
        params: &ClusterParams,
    ) -> Self {
        let options = SegmentOptions {
            confidence: params.segment_confidence,
            min_amplitude: params.min_amplitude,
            arm_share: params.arm_share,
        };
        let (membership, n) = (&found.partition.membership, found.partition.n_clusters);
        let reference = input.reference();
        let contrasts = expr.map(|e| {
            let places = e.places(&input.genes);
            Contrasts::new(&e.counts, &places, membership, n, reference)
        });
        let segmented = input.windows.as_ref().and_then(|windows| {
            segment(
                &input.x_cnv,
                membership,
                &found.profiles,
                (windows, Some(&input.genes)),
                reference,
                contrasts.as_ref(),
                &options,
            )
        });
        let altered: Vec<Vec<Vec<usize>>> = (0..n)
            .map(|c| {
                segmented
                    .as_ref()
                    .map_or(Vec::new(), |s| s.altered(c, params.min_amplitude))
            })
            .collect();
        let malignancy = malignancy(
            &input.x_cnv,
            membership,
            &found.profiles,
            &altered,
            reference,
        );
        Self {
            segmented,
            altered,
            malignancy,
            inflation: contrasts.map(|c| c.inflation),
        }
    }

    /// Warn where no cell is called, and of false calls.
    fn warn(&self, ctx: &StageContext<'_>) {
        let m = &self.malignancy;
        let by_hand = "`malignancy_threshold` sets a threshold by hand";
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        if m.by_hand {
            return;
        }
        if self.altered.iter().all(Vec::is_empty) {
            ctx.progress.warn(&format!(
                "no cluster has an arm or a segment that is surely gained or lost: no cell is called malignant or normal; {by_hand}"
            ));
        } else if m.threshold.is_none() {
            ctx.progress.warn(&format!(
                "no two components could be told apart in the malignancy scores: no cell is called malignant or normal; {by_hand}"
            ));
        } else if let Some(share) = m.false_share.filter(|_| m.refused()) {
            ctx.progress.warn(&format!(
                "reference cells lie above the malignancy threshold as often as {} of the other cells that do: no cell is called malignant or normal; {by_hand}",
                percent(share)
            ));
        } else if let Some(share) = m.false_share.filter(|share| *share > TRUSTED) {
            ctx.progress.warn(&format!(
                "{} of the cells called malignant are probably normal: so often reference cells lie above the threshold, beside other cells",
                percent(share)
            ));
        }
    }
}

/// The map of expression, where it is read.
fn map_of_expression(
    ctx: &StageContext<'_>,
    expr: Option<&Expr>,
    params: &ClusterParams,
) -> StageResult<Option<Array2<f32>>> {
    let (Some(expr), Some(input)) = (expr, ctx.optional(roles::EXPR)) else {
        return Ok(None);
    };
    ctx.progress.step(5, 5, "map of expression");
    let shape = (expr.obs.len(), expr.var.len());
    expression_map(&input.open()?, shape, params, ctx.seed).map(Some)
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

/// `ithcna` of each cluster, over a draw of its cells where it has more than the parameter says.
fn ithcna_of_clusters(
    x_cnv: &Csr,
    partition: &Partition,
    params: &ClusterParams,
    seed: u64,
) -> Vec<f64> {
    let membership = &partition.membership;
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
    (0..partition.n_clusters).map(of_cluster).collect()
}

fn metrics(
    found: &Clustered,
    judged: &Judged,
    clones: Option<&Clones>,
    without_signal: usize,
) -> Metrics {
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
    let m = &judged.malignancy;
    let n_malignant = m.calls().map(|c| c.into_iter().filter(|m| *m).count());
    metrics.insert("n_malignant".into(), json!(n_malignant));
    metrics.insert("malignancy_threshold".into(), json!(m.threshold));
    if let Some(share) = m.reference_above() {
        metrics.insert("reference_above_threshold".into(), json!(share));
    }
    if let Some(share) = m.false_share {
        metrics.insert("false_share".into(), json!(share));
    }
    let altered = judged.altered.iter().filter(|a| !a.is_empty()).count();
    metrics.insert("n_altered_clusters".into(), json!(altered));
    if let Some(inflation) = judged.inflation {
        metrics.insert("arm_inflation".into(), json!(inflation));
    }
    if let Some(found) = &judged.segmented {
        let called = |c: Call| found.segments.iter().filter(|s| s.call == c).count();
        metrics.insert("n_gains".into(), json!(called(Call::Gain)));
        metrics.insert("n_losses".into(), json!(called(Call::Loss)));
    }
    if let Some(clones) = clones {
        metrics.insert("n_clones".into(), json!(clones.n_cells.len()));
    }
    metrics
}

/// Build the `clusters` artifact.
fn annotated(
    obs: Frame,
    found: Clustered,
    malignancy: Malignancy,
    clones: Option<&Clones>,
) -> AnnData {
    let membership = &found.partition.membership;
    let names: Vec<String> = (0..found.partition.n_clusters)
        .map(|c| c.to_string())
        .collect();
    let mut out = Frame::new(obs.index);
    out.set("cnv_leiden", cluster_column(&found.partition));
    let score = membership.iter().map(|&c| found.profiles.score[c as usize]);
    out.set("cnv_score", Column::F64(score.collect()));
    let calls = malignancy.calls();
    let call = |i: usize| match calls.as_ref().map(|c| c[i]) {
        None => -1,
        Some(false) => 1,
        Some(true) => 0,
    };
    out.set("cnv_signal", Column::F64(malignancy.signal));
    out.set("cnv_correlation", Column::F64(malignancy.correlation));
    out.set("cnv_malignancy", Column::F64(malignancy.score));
    let called = Categorical {
        codes: (0..membership.len()).map(call).collect(),
        categories: vec!["Malignant".into(), "Normal".into()],
        ordered: false,
    };
    out.set("cnv_malignant", Column::Category(called));
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
