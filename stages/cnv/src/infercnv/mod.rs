//! Infers the copy number of each cell along the genome, from its expression relative to normal cells.
//!
//! Reads `expr` (log1p-normalised expression with gene positions), writes `cnv`: for each cell the
//! smoothed, centred and denoised log ratio to the reference in windows of genes (`obsm["X_cnv"]`),
//! the windows (`uns["cnv"]`), the mean size of the cell's signal (`obs["cnv_burden"]`) and whether it
//! is a reference cell (`obs["cnv_reference"]`).
//!
//! `method: window` is infercnvpy's ([`window::infer`]); `method: hmm` is R inferCNV's ([`hmm::run`]),
//! which also gives copy-number states per subcluster (`uns["cnv"]["hmm"]`, `obs["cnv_subcluster"]`).
//! `method: measured` infers nothing: it puts a measured copy number ([`measured()`]) into the same
//! windows. Inferred values of `X_cnv` are natural-log expression ratios, not copy numbers: 0 is the
//! reference's copy number, and a gain of one copy on two is less than ln(1.5) because smoothing,
//! median centring and dosage compensation shrink it.
//!
//! With [`pool_normals`](crate::pool_normals) among its needs, `method: window` measures against the normal cells of
//! all patients ([`annotate_against`]).
//!
//! This stage does not call malignant cells and does not cluster.

mod gene_values;
pub mod hmm;
mod layout;
mod measured;
mod params;
mod reference;
mod smooth;
mod window;

pub use layout::{GenePositions, Layout, Window};
pub use measured::{Segments, measured};
pub use params::{
    Control, Edges, InfercnvParams, MeasuredParams, Method, NoiseScope, ShortChromosomes,
};
pub use reference::{Reference, check_reference, reference_groups};
pub use smooth::Smoother;
pub use window::{Inferred, infer};

use std::collections::BTreeMap;

use crate::pool_normals::Normals;
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::{Assembly, annotate_arms, symbols};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::rng::Rng;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles::{self, Input};
use clcc_stage::rows::{HmmRegionRow, HmmSubclusterRow};
use clcc_stage::stage::{
    Metrics, ObsRead, OutputDecl, Progress, Publish, Read, Stage, StageContext,
};
use clcc_stage::tables::{Row as _, TableSpec};

/// The stage kind `infercnv`.
#[derive(Debug)]
pub struct Infercnv;

impl Stage for Infercnv {
    type Params = InfercnvParams;

    const KIND: &'static str = "infercnv";
    const TABLES: &'static [TableSpec] = &[HmmRegionRow::SPEC, HmmSubclusterRow::SPEC];
    // 4: column `arm`; elementary functions, products and decompositions of `math`.
    // 5: `exclude_genes` by symbol too.
    const CODE_VERSION: u32 = 5;
    const ABOUT: &'static str =
        "copy number of each cell in windows along the genome, against normal cells";
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = InfercnvParams::ONLY_WITH;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(params: &Self::Params) -> Vec<Read> {
        let mut roles = vec![Read::one(roles::EXPR)];
        if params.method == Method::Window {
            roles.push(Read::optional_one(roles::NORMALS));
        }
        if params.method == Method::Measured {
            roles.push(Read::optional(roles::SEGMENTS));
        }
        roles
    }

    fn file_inputs(params: &Self::Params) -> Vec<Read> {
        match params.method {
            Method::Measured => vec![Read::optional(roles::SEGMENTS)],
            Method::Window | Method::Hmm => Vec::new(),
        }
    }

    fn outputs(params: &Self::Params) -> Vec<OutputDecl> {
        let cnv = OutputDecl::new(
            roles::CNV,
            "copy-number signal per cell and window (AnnData, obsm X_cnv)",
        );
        let tables = OutputDecl::new(roles::CNV_TABLES, "states of subclusters and their regions");
        match params.method {
            Method::Window | Method::Measured => vec![cnv],
            Method::Hmm => vec![cnv, tables.publish(Publish::Into("tables"))],
        }
    }

    fn obs_reads(params: &Self::Params) -> Vec<ObsRead> {
        let reference = params.reference_key.iter().map(|column| ObsRead {
            param: "reference_key",
            column: column.clone(),
            required: params.method != Method::Measured,
            values: vec![("reference_cat", params.reference_cat.clone())],
        });
        let clone = (params.method == Method::Measured).then(|| ObsRead {
            param: "measured.clone_key",
            column: params.measured.clone_key.clone(),
            required: false,
            values: Vec::new(),
        });
        reference.chain(clone).collect()
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let reader = ctx.one(roles::EXPR)?.open()?;
        let (obs, var) = (reader.obs()?, reader.var()?);
        for entry in params.excluded_in_vain(&var.index, &symbols(&var)) {
            ctx.progress.warn(&format!(
                "`exclude_genes`: no gene of the data is `{entry}`"
            ));
        }
        let chromosomes = var.texts("chromosome").unwrap_or_default();
        for entry in params.chromosomes_excluded_in_vain(&chromosomes) {
            ctx.progress.warn(&format!(
                "`exclude_chromosomes`: no gene of the data is on `{entry}`"
            ));
        }
        let normals = ctx.optional(roles::NORMALS);
        if params.method != Method::Measured && normals.is_none() {
            check_reference(&obs, params, ctx.progress)?;
        }
        let (mut cnv, metrics) = match params.method {
            Method::Window => {
                let x = reader.x()?.into_csr();
                ctx.check_cancelled()?;
                match normals {
                    None => annotate(&obs, &var, &x, params, ctx.progress)?,
                    Some(normals) => {
                        let normals = Normals::read(&normals.open()?)?;
                        annotate_against(&obs, &var, &x, &normals, params, ctx.progress)?
                    }
                }
            }
            Method::Measured => {
                let path = &segments(ctx)?.path;
                annotate_measured(&obs, &var, &Segments::read(path)?, params, ctx.progress)?
            }
            Method::Hmm => {
                let counts = reader.layer("counts")?.into_csr();
                ctx.check_cancelled()?;
                let (found, cnv, metrics) =
                    annotate_hmm(&obs, &var, &counts, params, ctx.progress)?;
                let positions = places(&var, params)?;
                hmm::write_tables(
                    &ctx.output(roles::CNV_TABLES),
                    &found,
                    &positions,
                    params.hmm.hmm_type,
                )?;
                (cnv, metrics)
            }
        };
        ctx.check_cancelled()?;
        let genome = match reader.uns()?.get("genome") {
            Some(Uns::Str(name)) => Assembly::named(name),
            _ => None,
        };
        add_arms(&mut cnv, genome)?;
        cnv.write_zarr(&ctx.output(roles::CNV))?;
        Ok(metrics)
    }
}

/// Run `method: window` between reading and writing: returns the artifact `cnv` and its metrics, from
/// `obs`, `var` and log1p expression (`n_cells x n_genes`).
///
/// ```
/// use clcc_cnv::infercnv::{InfercnvParams, annotate};
/// use clcc_data::frame::{Column, Frame};
/// use clcc_data::matrix::Csr;
/// use clcc_stage::stage::Quiet;
/// use ndarray::Array2;
///
/// # fn main() -> clcc_data::StageResult<()> {
/// // 60 genes on each of three chromosomes; the last ten of twenty cells express those of chr3 half as much again.
/// let x = Array2::from_shape_fn((20, 180), |(cell, gene)| {
///     let level = 1.0 + 0.2 * ((7 * cell + 13 * gene) % 5) as f32;
///     let copies = if cell >= 10 && gene >= 120 { 1.5 } else { 1.0 };
///     (copies * level).ln_1p()
/// });
/// let mut obs = Frame::new((0..20).map(|c| format!("cell {c}")).collect());
/// let side: Vec<&str> = (0..20).map(|c| if c < 10 { "Normal" } else { "Cancer" }).collect();
/// obs.set_category("cancer_vs_normal", &side);
/// let mut var = Frame::new((0..180).map(|g| format!("gene {g}")).collect());
/// let chromosome: Vec<&str> = (0..180).map(|g| ["chr1", "chr2", "chr3"][g / 60]).collect();
/// var.set_category("chromosome", &chromosome);
/// var.set("start", Column::I64((0..180).map(|g| 1000 * g + 1).collect()));
/// var.set("end", Column::I64((0..180).map(|g| 1000 * g + 500).collect()));
///
/// let params = InfercnvParams { window_size: 20, ..InfercnvParams::default() };
/// let (cnv, _) = annotate(&obs, &var, &Csr::from_dense(&x), &params, &Quiet)?;
/// let x_cnv = cnv.obsm["X_cnv"].clone().into_dense();
/// let (normal, gained) = (x_cnv.row(0), x_cnv.row(19));
/// let last = x_cnv.ncols() - 1;
/// assert!(gained[last] > 0.15 && gained[0].abs() < 0.05 && normal[last].abs() < 0.05);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`StageError::Data`] where `var` has no positions, where `reference_key` or a value of
/// `reference_cat` is not in `obs`, and as [`infer`].
pub fn annotate(
    obs: &Frame,
    var: &Frame,
    x: &Csr,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(AnnData, Metrics)> {
    let groups = reference_groups(obs, params)?;
    if params.reference_is_all() {
        progress.warn("no reference cells are named: the mean of all cells is the reference, which hides what most cells share");
    }
    let reference = Reference::new(x, &groups);
    let own = groups.iter().flat_map(|g| g.1.iter().copied()).collect();
    annotate_by((obs, var, x), &reference, own, params, progress)
}

/// As [`annotate`], against the normal cells of all patients in place of the patient's own, of which there may be
/// none. Genes that the pool lacks take no part. The patient's own normal cells are still marked as such.
///
/// # Errors
/// As [`annotate`], and where no gene of the patient is in the pool.
pub fn annotate_against(
    obs: &Frame,
    var: &Frame,
    x: &Csr,
    normals: &Normals,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(AnnData, Metrics)> {
    // A patient may have none of them.
    let own: Vec<usize> = match &params.reference_key {
        None => Vec::new(),
        Some(key) => {
            let values = obs.texts(key)?;
            let is_reference = |&row: &usize| params.reference_cat.contains(&values[row]);
            (0..values.len()).filter(is_reference).collect()
        }
    };
    let n_own = own.len();
    let (reference, genes) = normals.of(&var.index);
    let (cnv, mut metrics) = match genes {
        None => annotate_by((obs, var, x), &reference, own, params, progress)?,
        Some(genes) => {
            progress.warn(&format!(
                "{} of {} genes take no part: the pooled normal cells lack them",
                var.len() - genes.len(),
                var.len()
            ));
            let (var, x) = (var.take(&genes), x.take_cols(&genes));
            annotate_by((obs, &var, &x), &reference, own, params, progress)?
        }
    };
    metrics.insert("n_reference_cells".into(), normals.n_cells.into());
    metrics.insert("n_own_reference_cells".into(), n_own.into());
    Ok((cnv, metrics))
}

/// Infers against a reference; `own` are the cells to mark as reference.
fn annotate_by(
    (obs, var, x): (&Frame, &Frame, &Csr),
    reference: &Reference,
    own: Vec<usize>,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(AnnData, Metrics)> {
    let positions = places(var, params)?;
    let layout = Layout::new(&positions, params)?;
    let inferred = infer(x, &layout, reference, params, progress)?;

    let mut metrics = Metrics::new();
    metrics.insert(
        "noise_thresholds".into(),
        inferred.thresholds.clone().into(),
    );
    let artifact = Artifact {
        obs,
        var,
        positions: &positions,
        layout: &layout,
        reference: own,
        named: !params.reference_is_all(),
        shuffle: params.cell_shuffle(),
    };
    Ok(artifact.make(inferred.x_cnv, inferred.gene_values, metrics))
}

/// Add the column `arm` to the genes and the windows, where the genome is known: the arm of a window is
/// that of the middle of its bases.
///
/// # Errors
/// As [`annotate_arms`].
fn add_arms(cnv: &mut AnnData, genome: Option<Assembly>) -> StageResult<()> {
    annotate_arms(&mut cnv.var, genome)?;
    if let Some(Uns::Dict(cnv)) = cnv.uns.get_mut("cnv")
        && let Some(Uns::Frame(windows)) = cnv.get_mut("windows")
    {
        annotate_arms(windows, genome)?;
    }
    Ok(())
}

/// Read the gene positions; shuffle them under `control: gene_order`.
fn places(var: &Frame, params: &InfercnvParams) -> StageResult<GenePositions> {
    let positions = GenePositions::from_var(var)?;
    Ok(match params.control {
        Control::GeneOrder => positions.shuffled(params),
        Control::None | Control::Cells => positions,
    })
}

/// Input table of `method: measured`.
fn segments<'a>(ctx: &'a StageContext<'_>) -> StageResult<Input<'a, roles::File>> {
    match ctx.all(roles::SEGMENTS).as_slice() {
        [one] => Ok(*one),
        [] => Err(StageError::data_hint(
            "`method: measured` found no table of segments",
            "give the stage a file input `segments`, or a needed stage that writes it (`simulate`)",
        )),
        _ => Err(StageError::data(
            "expected one table of segments, found a file input and one of a needed stage",
        )),
    }
}

/// Run `method: measured`, from a table of segments; otherwise as [`annotate`].
///
/// # Errors
/// As [`measured()`].
pub fn annotate_measured(
    obs: &Frame,
    var: &Frame,
    segments: &Segments,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(AnnData, Metrics)> {
    let positions = places(var, params)?;
    let layout = Layout::new(&positions, params)?;
    let (x_cnv, without) = measured(obs, &positions, &layout, segments, params)?;
    let mut metrics = Metrics::new();
    metrics.insert("n_cells_without_segments".into(), without.into());
    let elsewhere = segments.chromosomes_without_genes(&positions);
    if !elsewhere.is_empty() {
        progress.warn(&format!(
            "segments on {} count for nothing: no gene of the data is there",
            clcc_data::anndata::list(&elsewhere)
        ));
    }
    if without == obs.len() {
        progress.warn("no cell has a measured copy number: every cell counts as unchanged");
    }
    let artifact = Artifact {
        obs,
        var,
        positions: &positions,
        layout: &layout,
        reference: reference_groups(obs, params)
            .map(|groups| groups.iter().flat_map(|g| g.1.iter().copied()).collect())
            .unwrap_or_default(),
        named: !params.reference_is_all(),
        shuffle: params.cell_shuffle(),
    };
    Ok(artifact.make(x_cnv, None, metrics))
}

/// Run `method: hmm`, from raw counts (`n_cells x n_genes`); otherwise as [`annotate`]. Also returns the
/// full result, for its tables.
///
/// # Errors
/// As [`hmm::run`].
pub fn annotate_hmm(
    obs: &Frame,
    var: &Frame,
    counts: &Csr,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(hmm::Hmm, AnnData, Metrics)> {
    let positions = places(var, params)?;
    let found = hmm::run(obs, &positions, counts, params, progress)?;
    if params.reference_is_all() {
        progress.warn("no reference cells are named: the mean of all cells is the reference, which hides what most cells share");
    }
    let groups = reference_groups(obs, params)?;
    let kind = params.hmm.hmm_type;
    let mut metrics = Metrics::new();
    metrics.insert("n_subclusters".into(), found.subclusters.len().into());
    metrics.insert("n_regions_called".into(), found.regions.len().into());
    let kept = found.regions.iter().filter(|r| r.state != kind.neutral());
    metrics.insert("n_regions_kept".into(), kept.count().into());
    metrics.insert("state_means".into(), found.levels.means.clone().into());
    metrics.insert("state_sds".into(), found.levels.sds.clone().into());
    metrics.insert("noise_half_width".into(), found.noise.into());
    let artifact = Artifact {
        obs,
        var,
        positions: &positions,
        layout: &found.layout,
        reference: groups.iter().flat_map(|g| g.1.iter().copied()).collect(),
        named: !params.reference_is_all(),
        shuffle: params.cell_shuffle(),
    };
    let (mut cnv, metrics) = artifact.make(found.x_cnv.clone(), found.gene_values.clone(), metrics);
    add_states(&mut cnv, &found, kind);
    Ok((found, cnv, metrics))
}

/// Add the subcluster of each cell, and the states of the subclusters (`uns["cnv"]["hmm"]`).
fn add_states(cnv: &mut AnnData, found: &hmm::Hmm, kind: hmm::HmmType) {
    let mut codes = vec![-1; cnv.obs.len()];
    for (s, subcluster) in found.subclusters.iter().enumerate() {
        subcluster.cells.iter().for_each(|&c| codes[c] = s as i32);
    }
    let names: Vec<String> = found.subclusters.iter().map(|s| s.name.clone()).collect();
    cnv.obs.set(
        "cnv_subcluster",
        Column::Category(Categorical {
            codes,
            categories: names.clone(),
            ordered: false,
        }),
    );
    let ratios = kind.ratios();
    let states =
        ndarray::Array2::from_shape_fn((found.states.len(), found.layout.genes.len()), |(s, g)| {
            ratios[found.states[s][g] as usize]
        });
    let n_cells = found.subclusters.iter().map(|s| s.cells.len() as i64);
    let numbers = |v: &[f64]| Uns::Numbers(v.to_vec());
    let hmm = [
        ("states", Uns::Matrix(states)),
        ("subclusters", Uns::Strings(names)),
        ("n_cells", Uns::Integers(n_cells.collect())),
        ("state_ratios", numbers(ratios)),
        ("state_means", numbers(&found.levels.means)),
        ("state_sds", numbers(&found.levels.sds)),
    ];
    let hmm = BTreeMap::from(hmm.map(|(name, value)| (name.to_string(), value)));
    if let Some(Uns::Dict(cnv)) = cnv.uns.get_mut("cnv") {
        cnv.insert("hmm".into(), Uns::Dict(hmm));
    }
}

/// Parts of the artifact `cnv` that all methods share.
struct Artifact<'a> {
    obs: &'a Frame,
    var: &'a Frame,
    positions: &'a GenePositions,
    layout: &'a Layout,
    reference: Vec<usize>,
    /// Whether the reference was named; otherwise all cells are the reference.
    named: bool,
    /// Seed of `control: cells`, where that is set.
    shuffle: Option<u64>,
}

impl Artifact<'_> {
    /// Build the artifact and its metrics, `own` being those of the method.
    fn make(
        &self,
        x_cnv: Csr,
        gene_values: Option<ndarray::Array2<f32>>,
        own: Metrics,
    ) -> (AnnData, Metrics) {
        let n_cells = self.obs.len();
        let (x_cnv, gene_values) = match self.shuffle {
            None => (x_cnv, gene_values),
            Some(seed) => {
                let order = Rng::new(seed, "infercnv cells", &[]).permutation(n_cells);
                let values = gene_values.map(|v| v.select(ndarray::Axis(0), &order));
                (x_cnv.take_rows(&order), values)
            }
        };
        let burden = burden(&x_cnv);
        let mut is_reference = vec![false; n_cells];
        self.reference.iter().for_each(|&c| is_reference[c] = true);
        let metrics = self.metrics(&x_cnv, &burden, &is_reference, own);
        let mut cnv = AnnData {
            obs: Frame::new(self.obs.index.clone()),
            ..AnnData::default()
        };
        cnv.obs.set("cnv_burden", Column::F64(burden));
        let flags = is_reference.iter().map(|r| *r && self.named).collect();
        cnv.obs.set("cnv_reference", Column::Bool(flags));
        cnv.var = self.layout.gene_frame(self.var, self.positions);
        if let Some(values) = gene_values {
            cnv.layers
                .insert("gene_values_cnv".into(), Matrix::Dense(values));
        }
        let spans = self.layout.chromosomes.iter();
        let chr_pos = spans.map(|c| (c.name.clone(), Uns::I64(c.first_window as i64)));
        let windows = Uns::Frame(self.layout.window_frame(self.positions));
        let uns = BTreeMap::from([
            ("chr_pos".to_string(), Uns::Dict(chr_pos.collect())),
            ("windows".to_string(), windows),
        ]);
        cnv.uns.insert("cnv".into(), Uns::Dict(uns));
        cnv.obsm.insert("X_cnv".into(), Matrix::Csr(x_cnv));
        (cnv, metrics)
    }

    /// Metrics of the artifact.
    fn metrics(&self, x_cnv: &Csr, burden: &[f64], is_reference: &[bool], own: Metrics) -> Metrics {
        let (n_cells, n_windows) = (self.obs.len(), self.layout.windows.len());
        let mut metrics = Metrics::new();
        metrics.insert("n_cells".into(), n_cells.into());
        metrics.insert("n_genes".into(), self.layout.genes.len().into());
        metrics.insert("n_windows".into(), n_windows.into());
        metrics.insert("n_chromosomes".into(), self.layout.chromosomes.len().into());
        metrics.insert("n_reference_cells".into(), self.reference.len().into());
        let share = x_cnv.nnz() as f64 / (n_cells * n_windows).max(1) as f64;
        metrics.insert("share_nonzero".into(), share.into());
        metrics.extend(own);
        for (name, wanted) in [
            ("mean_burden_reference", true),
            ("mean_burden_other", false),
        ] {
            let values: Vec<f64> = burden
                .iter()
                .zip(is_reference)
                .filter(|(_, r)| **r == wanted)
                .map(|(b, _)| *b)
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let value = if values.is_empty() {
                serde_json::Value::Null
            } else {
                mean.into()
            };
            metrics.insert(name.into(), value);
        }
        metrics
    }
}

/// Burden: mean |X_cnv| of each cell, zeros included.
fn burden(x_cnv: &Csr) -> Vec<f64> {
    let n_windows = x_cnv.n_cols().max(1) as f64;
    (0..x_cnv.n_rows())
        .map(|c| {
            // Starts from 0, since the sum of no values is -0.
            let sizes = x_cnv.row(c).1.iter().map(|v| f64::from(v.abs()));
            sizes.fold(0.0, |sum, v| sum + v) / n_windows
        })
        .collect()
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wide_tests;
