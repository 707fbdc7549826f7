//! Dosage sensitivity of genes, and cells that fall short of their dosage.
//!
//! Reads `expr` (raw counts), `cnv` and `clusters` of all patients, and computes
//!
//! - per gene, the slope of expression on local copy number over clones ([`slope`]): 1 is full dosage,
//!   0 is escape. This finds genes that escape in every malignant cell. What is claimed of a gene is the
//!   posterior of its slope given those of all genes ([`posterior`]); the slopes of the patients say in
//!   which of them it escapes ([`patients`]);
//! - per cell, the copy-number-signed residual around the clone's mean ([`residual`]): its sum and its
//!   leading factors ([`factors`]), each compared with profiles permuted along the genome. This finds
//!   cells that hold back a set of genes while the rest of their clone does not. The clone's copy
//!   number is the expression of its genes relative to normal cells, region by region (`copy`).
//!
//! Limits: a cell that compensates cannot be distinguished from a normal cell (or a doublet) that the
//! clustering put among malignant ones, nor from a subclone that lacks the change, since all of them
//! fall short of the clone's dosage. `dosage_loadings.tsv` shows whether a factor rests on one region
//! (a subclone) or on scattered genes.

mod arms;
pub(crate) mod by_counts;
mod clone_genes;
pub mod clones;
pub(crate) mod copy;
pub mod factors;
mod fitted;
mod gene_tables;
mod levels;
pub mod loci;
mod params;
pub mod patients;
pub mod posterior;
pub(crate) mod rates;
pub mod residual;
mod response;
pub mod slope;
pub(crate) mod windows;
mod write;

pub use params::{CopyNumber, DosageParams, Strata, TumourLevel};
pub use windows::{GeneWindows, arm_names};

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::{Parts, SpooledRows};
use clcc_stage::cells::MALIGNANT;
use clcc_stage::cohort::{Cohort, CohortCnv, paired};
use clcc_stage::roles;
use clcc_stage::rows;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use by_counts::ByCounts;
use clones::{CloneId, ClonePseudobulk, calls_of_clones, clone_ids, pseudobulks};
use copy::{Along, altered, copy_ratios, malignant};
use factors::{CellScores, FactorOptions, cell_scores};
use rates::Rates;
use residual::Model;
use slope::{Class, GeneDosage, Slopes, slopes, window_scale};

/// The stage kind `dosage`.
#[derive(Debug)]
pub struct Dosage;

impl Stage for Dosage {
    type Params = DosageParams;
    const KIND: &'static str = "dosage";
    // 12: posterior of the slopes, levels and slopes of the patients, clonal loci left out, pseudobulks
    // of the clones published.
    // 13: malignant clones by the calls of `cluster` or their own counts; neighbours within segments,
    // those of each clone that are informative in it.
    // 14: `dosage_clones.h5ad` says what the classes rest on.
    const CODE_VERSION: u32 = 15;
    const TABLES: &'static [TableSpec] = &[
        rows::DosageGeneRow::SPEC,
        rows::DosagePatientRow::SPEC,
        rows::DosageArmRow::SPEC,
        rows::DosageChromosomeRow::SPEC,
        rows::DosageCellRow::SPEC,
        rows::DosageFactorRow::SPEC,
        rows::DosageLoadingRow::SPEC,
    ];
    const ABOUT: &'static str =
        "dosage sensitivity of every gene, and cells that fall short of their dosage";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;

    fn reads(_: &DosageParams) -> Vec<Read> {
        vec![
            Read::required(roles::EXPR),
            Read::required(roles::CNV),
            Read::required(roles::CLUSTERS),
        ]
    }

    fn outputs(_: &DosageParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::DOSAGE,
                "slopes per gene, shortfall and factors per cell, loadings, arms",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &DosageParams) -> StageResult<Metrics> {
        let mut cohort = Cohort::load(ctx)?;
        let counts = SpooledRows::copy_of(&cohort.test_counts(ctx)?, &ctx.out_dir)?;
        let cnv = load_cnv(ctx, cohort.n_cells())?;
        let groups = cohort.load_groups(ctx, params.group_by)?;
        add_malignant(ctx, &mut cohort)?;
        let chosen = params.restrict.cancer_cells(&cohort.obs)?;
        let ids = clone_ids(&cohort, &groups, &chosen, params.strata)?;
        ctx.check_cancelled()?;
        let map = GeneWindows::new(&cohort.var.index, &cnv.windows, &cnv.genes)?;
        let chromosome = cohort.var.texts("chromosome")?;
        let arm = windows::arm_names(&cohort.var)?;
        let excluded = loci::excluded(
            &cohort.var.index,
            &clcc_data::genome::symbols(&cohort.var),
            params.exclude_clonal_loci,
            &params.exclude_genes,
        );
        let step = |done: usize, total: usize| {
            ctx.progress
                .step(done as u64, total as u64, "permuted profiles");
            ctx.check_cancelled()
        };
        let found = analyse(
            Cells {
                counts: &counts,
                cnv: &cnv.x,
                ids: &ids,
                calls: &malignant_calls(&cohort),
            },
            &map,
            Places {
                chromosome: &chromosome,
                arm: &arm,
                excluded: &excluded,
            },
            params,
            ctx.seed,
            &step,
        )?;
        for warning in found.warnings(params) {
            ctx.progress.warn(&warning);
        }
        let dir = ctx.output(roles::DOSAGE);
        write::all(&dir, &cohort, &found, params)?;
        Ok(metrics(&found, &ids))
    }
}

/// Results of the stage.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Pseudobulks of the clones.
    pub clones: Vec<ClonePseudobulk>,
    /// Natural-log copy ratio per unit of `X_cnv`; NaN where the genes do not follow it.
    pub scale: f64,
    /// t statistic of `scale`, the slope on window copy number shared by all genes.
    pub scale_t: f64,
    /// Dosage slopes of the genes.
    pub slopes: Slopes,
    /// Local log copy ratio of each clone and gene, `[clone][gene]`; NaN where unknown, 0 in normal cells.
    pub ratios: Vec<Vec<f64>>,
    /// The same, 0 where the gene is not altered.
    pub copy: Vec<Vec<f64>>,
    /// Row of each scored cell in the cohort.
    pub cells: Vec<usize>,
    /// Clone of each scored cell, as an index into `clones`.
    pub clone_of: Vec<usize>,
    /// Scores of these cells; `None` where no clone has an altered gene.
    pub scores: Option<CellScores>,
}

impl Analysis {
    fn warnings(&self, params: &DosageParams) -> Vec<String> {
        let mut out = Vec::new();
        if self.clones.is_empty() {
            out.push(format!(
                "no clone has {} cells with counts: nothing could be tested",
                params.min_cells
            ));
        } else if self.scale.is_nan() && !self.scale_t.is_finite() {
            out.push(
                "no gene has an inferred copy number that differs between the clones of a patient, so expression cannot be compared with it: no gene was tested and no cell scored"
                    .to_string(),
            );
        } else if self.scale.is_nan() {
            out.push(format!(
                "expression as a whole does not follow the inferred copy number (t = {:.1}): no gene was tested and no cell scored",
                self.scale_t
            ));
        } else {
            if self.slopes.n_clones == 0 {
                out.push(format!(
                    "no clone is malignant (called so by `cluster`; where it made no call, a twentieth of the genes with a log copy ratio of {} or more in size): no gene was tested",
                    params.altered
                ));
            } else {
                out.extend(self.abstains());
            }
            if self.scores.is_none() {
                out.push(format!(
                    "no clone has a log copy ratio of {} or more: no cell was scored",
                    params.altered
                ));
            }
        }
        out
    }

    /// Why no gene is called, where genes are tested or might be.
    fn abstains(&self) -> Option<String> {
        let is_tested = |g: &&GeneDosage| g.class != Class::Untested;
        let n = self.slopes.genes.iter().filter(is_tested).count();
        self.slopes.prior.is_none().then(|| {
            format!(
                "{n} genes could be tested; how slopes are distributed can be told from {} or more, so no gene is called insensitive or over-compensated (more clones or patients make slopes more certain)",
                posterior::LEAST_GENES
            )
        })
    }
}

/// The cells of the cohort.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    /// Raw counts, `n_cells x n_genes`; a patient's cells are in one part.
    pub counts: &'a dyn Parts,
    /// `X_cnv`, `n_cells x n_windows`, likewise.
    pub cnv: &'a dyn Parts,
    /// Clone of each cell; `None`: not included.
    pub ids: &'a [Option<CloneId>],
    /// Whether `cluster` called each cell malignant; `None` where it made no call.
    pub calls: &'a [Option<bool>],
}

/// Position of each gene; empty where unknown.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Chromosome of each gene.
    pub chromosome: &'a [String],
    /// Chromosome and arm of each gene.
    pub arm: &'a [String],
    /// Genes that take no part in local copy number, slopes and scores ([`loci`]).
    pub excluded: &'a [bool],
}

/// Compute slopes and scores from the cells, and windows and positions of the genes, which are in genome
/// order. The result does not depend on the number of threads.
///
/// `examples/dosage_slopes.rs` makes all of these from one matrix of counts.
///
/// # Errors
/// Any error of `step`, which is called between permuted profiles, and where a matrix cannot be read.
pub fn analyse(
    cells: Cells<'_>,
    map: &GeneWindows,
    places: Places<'_>,
    params: &DosageParams,
    seed: u64,
    step: &dyn Fn(usize, usize) -> StageResult<()>,
) -> StageResult<Analysis> {
    let (clones, n_strata) = pseudobulks(cells.counts, cells.cnv, cells.ids, params.min_cells)?;
    let rates = Rates::new(&clones, n_strata, params.min_count);
    let (scale, scale_t) = window_scale(&rates, &clones, n_strata, map);
    let along = Along {
        arm: places.arm,
        map,
        scale,
        excluded: places.excluded,
    };
    let by_counts = ByCounts::new(&clones, &rates, along.arm, along.excluded);
    let called = calls_of_clones(&clones, cells.calls);
    let malignant = malignant(&clones, &by_counts, along, &called, params.altered);
    let slopes = slopes(&clones, n_strata, &by_counts, &malignant, along, params);
    let ratios = copy_ratios(&clones, &by_counts, &malignant, along, params.copy_number);
    let copy: Vec<Vec<f64>> = ratios.iter().map(|r| altered(r, params.altered)).collect();
    let model = Model::new(cells.counts, &clones, &copy)?;
    let options = FactorOptions {
        n_factors: params.n_factors,
        n_null: params.n_null,
        max_cells: params.max_cells,
        seed,
    };
    let scores = if model.n_cells() > 0 {
        Some(cell_scores(
            &model,
            cells.counts,
            &copy,
            places.chromosome,
            options,
            step,
        )?)
    } else {
        None
    };
    let (rows, clone_of) = model.cells().iter().copied().unzip();
    Ok(Analysis {
        clones,
        scale,
        scale_t,
        slopes,
        ratios,
        copy,
        cells: rows,
        clone_of,
        scores,
    })
}

/// Load `cnv` of all patients.
///
/// # Errors
/// [`StageError::Data`] where it does not have the `n_cells` cells of `expr`.
pub(crate) fn load_cnv(ctx: &StageContext<'_>, n_cells: usize) -> StageResult<CohortCnv> {
    let cnv = CohortCnv::load(ctx)?;
    if Parts::n_rows(&cnv.x) != n_cells {
        return Err(StageError::data(format!(
            "`cnv` has {} cells, `expr` has {n_cells}",
            Parts::n_rows(&cnv.x),
        )));
    }
    Ok(cnv)
}

/// Add the column `cnv_malignant` of `clusters` to the cohort where every patient has it.
///
/// # Errors
/// As [`paired`].
pub(crate) fn add_malignant(ctx: &StageContext<'_>, cohort: &mut Cohort) -> StageResult<()> {
    let mut calls = Vec::with_capacity(cohort.n_cells());
    for clusters in paired(ctx, roles::CLUSTERS)? {
        calls.extend(clusters.obs()?.texts(MALIGNANT).unwrap_or_default());
    }
    if calls.len() == cohort.n_cells() {
        cohort.obs.set_category(MALIGNANT, &calls);
    }
    Ok(())
}

/// Calls of `cluster`, per cell ([`add_malignant`]).
pub(crate) fn malignant_calls(cohort: &Cohort) -> Vec<Option<bool>> {
    let call = |text: &String| match text.as_str() {
        "Malignant" => Some(true),
        "Normal" => Some(false),
        _ => None,
    };
    match cohort.obs.texts(MALIGNANT) {
        Ok(texts) => texts.iter().map(call).collect(),
        Err(_) => vec![None; cohort.n_cells()],
    }
}

/// Numbers of genes per class, and the variances of the model.
fn slope_metrics(slopes: &Slopes) -> Metrics {
    let mut out = Metrics::new();
    for class in [
        Class::Sensitive,
        Class::Insensitive,
        Class::OverCompensated,
        Class::Unresolved,
        Class::Untested,
    ] {
        let name = format!("n_{}", class.name().replace('-', "_"));
        let n = slopes.genes.iter().filter(|g| g.class == class).count();
        out.insert(name, json!(n));
    }
    // Where nothing could be fitted, no number of the model.
    let is_fitted = slopes.genes.iter().any(|g| g.slope.is_finite());
    let level = slopes.tumour_level_sd.filter(|_| is_fitted);
    if is_fitted {
        out.insert("slope_sd".into(), json!(slopes.slope_sd));
        out.insert("dispersion".into(), json!(slopes.dispersion));
    }
    out.insert("tumour_level".into(), json!(level.is_some()));
    if let Some(sd) = level {
        out.insert("tumour_level_sd".into(), json!(sd));
    }
    if let Some(sd) = slopes.patient_level_sd.filter(|_| is_fitted) {
        out.insert("patient_level_sd".into(), json!(sd));
    }
    if let Some(prior) = &slopes.prior {
        out.insert("slope_mean".into(), json!(prior.mean));
        out.insert("slope_spread".into(), json!(prior.sd));
        out.insert("escape_share".into(), json!(prior.escape));
        out.insert("wild_share".into(), json!(prior.wild));
    }
    out
}

/// Metrics of the stage.
fn metrics(found: &Analysis, ids: &[Option<CloneId>]) -> Metrics {
    let mut out = Metrics::new();
    out.insert("n_clones".into(), json!(found.clones.len()));
    out.extend(slope_metrics(&found.slopes));
    if found.scale.is_finite() {
        out.insert("copy_ratio_scale".into(), json!(found.scale));
        let tested: Vec<f64> = found
            .slopes
            .genes
            .iter()
            .filter(|g| g.class != Class::Untested)
            .map(|g| g.slope)
            .collect();
        if !tested.is_empty() {
            let median = clcc_numerics::stats::median(&tested);
            out.insert("median_slope".into(), json!(median));
        }
    }
    out.insert("n_cells_scored".into(), json!(found.cells.len()));
    let unplaced = ids.iter().flatten().filter(|k| k.cancer && k.unplaced);
    out.insert("n_cells_unplaced".into(), json!(unplaced.count()));
    if let Some(scores) = &found.scores {
        out.insert("shortfall_sd".into(), json!(scores.shortfall_sd.0));
        out.insert("shortfall_p".into(), json!(scores.shortfall_sd.1));
        let above = scores.factors.iter().filter(|f| f.p <= write::ABOVE_NULL);
        out.insert("n_factors_above_null".into(), json!(above.count()));
    }
    out
}

#[cfg(test)]
mod calibration_tests;
#[cfg(test)]
mod simulated_tests;
#[cfg(test)]
mod tests;
