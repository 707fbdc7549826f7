//! From raw counts to expression that the other stages can compare: integrity checks, quality
//! metrics, gene positions, cancer or normal, cell-cycle scores, normalisation.
//!
//! Reads `counts` (one patient's raw counts) and the workflow's `genes` (gene positions). Writes
//! `expr`: natural log1p of counts scaled to `target_sum` per cell in `X`, the counts in
//! `layers["counts"]`, genes in genome order, with their arms where the genome is known
//! (`uns["genome"]`); and `qc`: what was checked and summary numbers.
//!
//! Nothing is filtered unless a parameter asks for it, with one exception: genes without a position
//! leave (`require_position`), because no later stage can place them. Quality metrics, totals of the
//! normalisation and cell-cycle scores are taken before that, over all genes.
//!
//! Without labels (`cancer_vs_normal: null`) the cells that are most likely normal are found ([`find_normal_cells`]).
//!
//! With `count_split: true` each count goes to one of two parts at random: `X` and
//! `layers["counts"]`, on which everything is learnt, and `layers["held_out"]` and
//! `layers["held_out_counts"]`, on which `dosage` and `de` test.
//!
//! This stage does not correct ambient RNA, find doublets or remove batch effects.

mod cell_cycle;
mod checks;
mod chromosomes;
mod count_split;
mod labels;
mod normal_cells;
mod normalise;
mod params;
mod positions;
mod qc;

pub use cell_cycle::{CellCycle, G2M_GENES, Phase, S_GENES, score_cell_cycle, score_genes};
pub use checks::{QcCheck, Verdict, check_counts};
pub use count_split::split_counts;
pub use labels::cancer_vs_normal;
pub use normal_cells::{NormalCells, find_normal_cells};
pub use normalise::{log1p_normalize_total, log1p_normalize_total_in_place};
pub use params::{CancerVsNormal, Counts, PreprocessParams};
pub use positions::{PlacedGenes, place_genes};
pub use qc::{QcMetrics, qc_metrics};

use std::collections::{BTreeMap, HashMap};

use clcc_data::anndata::{AnnData, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::genome::{Assembly, GeneTable, symbols};
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::cohort::{HELD_OUT, HELD_OUT_COUNTS};
use clcc_stage::params::ParamProblem;
use clcc_stage::roles;
use clcc_stage::rows::{NormalClusterRow, QcCellRow, QcCheckRow, QcMetricRow};
use clcc_stage::stage::{
    InputArtifact, Metrics, ObsColumn, ObsRead, OutputDecl, Progress, Publish, Read, Stage,
    StageContext,
};
use clcc_stage::tables::{Row as _, TableSpec};

/// The stage kind `preprocess`.
#[derive(Debug)]
pub struct Preprocess;

impl Stage for Preprocess {
    type Params = PreprocessParams;

    const KIND: &'static str = "preprocess";
    // 3: column `arm`, genes without a position counted; elementary functions, products and
    //    decompositions of `math`.
    // 4: cell-cycle and mitochondrial genes are found by symbol where genes are named by Ensembl id.
    // 5: arrays of the cells (`obsm`) go on.
    // 6: pictures of sections (`uns["spatial"]`) go on.
    const CODE_VERSION: u32 = 6;
    const ABOUT: &'static str =
        "checks raw counts, adds quality metrics and gene positions, normalises";
    const TABLES: &'static [TableSpec] = &[
        QcCheckRow::SPEC,
        QcMetricRow::SPEC,
        QcCellRow::SPEC,
        NormalClusterRow::SPEC,
    ];

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![Read::one(roles::COUNTS)]
    }

    fn file_inputs(_: &Self::Params) -> Vec<Read> {
        vec![Read::optional(roles::GENES)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::EXPR,
                "log1p-normalised expression and counts, genes in genome order (AnnData)",
            ),
            OutputDecl::new(roles::QC, "integrity checks and quality summary")
                .publish(Publish::Into("tables")),
        ]
    }

    fn obs_reads(params: &Self::Params) -> Vec<ObsRead> {
        let Some(rule) = &params.cancer_vs_normal else {
            return Vec::new();
        };
        vec![ObsRead {
            param: "cancer_vs_normal.column",
            column: rule.column.clone(),
            required: true,
            values: vec![
                ("cancer_vs_normal.normal", rule.normal.clone()),
                ("cancer_vs_normal.cancer", rule.cancer.clone()),
            ],
        }]
    }

    fn obs_writes(_: &Self::Params) -> Vec<ObsColumn> {
        let numbers = ["total_counts", "n_genes_by_counts", "pct_counts_mt"];
        let scores = ["S_score", "G2M_score"];
        let mut columns: Vec<ObsColumn> = numbers
            .iter()
            .chain(&scores)
            .map(|name| ObsColumn::unknown(name))
            .collect();
        columns.push(ObsColumn::of("phase", &["G1", "G2M", "S"]));
        columns.push(ObsColumn::of("cancer_vs_normal", &["Cancer", "Normal"]));
        columns
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let counts = ctx.one(roles::COUNTS)?.open()?.read()?;
        let genes = ctx
            .optional(roles::GENES)
            .map(|input| gene_table(&input))
            .transpose()?;
        ctx.check_cancelled()?;
        let done = preprocess(counts, genes.as_ref(), params, ctx.progress)?;
        ctx.check_cancelled()?;
        done.expr.write_zarr(&ctx.output(roles::EXPR))?;
        let dir = ctx.output(roles::QC);
        checks::table(&done.checks).write(&dir)?;
        qc::summary_table(&done.metrics).write(&dir)?;
        qc::cell_table(&done.expr.obs)?.write(&dir)?;
        if let Some(found) = &done.normal_cells {
            found.table().write(&dir)?;
        }
        Ok(done.metrics)
    }
}

/// The gene table that a workflow's `genes` input names.
fn gene_table(input: &InputArtifact) -> StageResult<GeneTable> {
    match &input.builtin {
        None => GeneTable::read(&input.path),
        Some(name) => GeneTable::builtin(name).ok_or_else(|| {
            StageError::data(format!(
                "no built-in gene table `{name}`; there is `{}`",
                clcc_data::genome::builtin_names().join("`, `")
            ))
        }),
    }
}

/// What [`preprocess`] makes of one patient.
#[derive(Debug, Clone)]
pub struct Preprocessed {
    /// The artifact `expr`.
    pub expr: AnnData,
    /// Every check, in the order made.
    pub checks: Vec<QcCheck>,
    /// Headline numbers.
    pub metrics: Metrics,
    /// Where no labels were given: what was taken as normal.
    pub normal_cells: Option<NormalCells>,
}

/// The stage between reading and writing. `counts.x` is `n_cells x n_genes`; `genes` gives positions,
/// `None` takes them from the columns `chromosome`, `start` and `end` of `counts.var`.
///
/// # Errors
/// [`StageError::Data`] where the counts are broken (see [`check_counts`]), where the column of
/// `cancer_vs_normal` is missing or normal cells are not found without it, where the filters leave no cell, or where no gene has a position.
pub fn preprocess(
    counts: AnnData,
    genes: Option<&GeneTable>,
    params: &PreprocessParams,
    progress: &dyn Progress,
) -> StageResult<Preprocessed> {
    let (obs, var, mut uns) = (counts.obs, counts.var, counts.uns);
    let x = counts.x.map(Matrix::into_csr);
    let x = x.ok_or_else(|| StageError::data("the counts have no matrix `X`"))?;
    let mut checks = check_counts(&obs, &var, &x, params.counts)?;
    warn_of_own_columns(&obs, params, progress);

    // Filters look at all genes; the rest of the stage at what they leave.
    let placed = place_genes(&var, genes, params)?;
    let before = [obs.len(), var.len()];
    let ids = obs.index.clone();
    let (mut obs, x, metrics) = kept_cells(obs, x, &placed.mt, params)?;
    let obsm = of_kept_cells(counts.obsm, &ids, &obs.index);
    let n_cells_of = qc::cells_per_gene(&x);
    let is_kept = |g: &usize| n_cells_of[*g] >= params.min_cells as i64;
    let kept: Vec<usize> = (0..var.len()).filter(is_kept).collect();
    let placed = placed.take(&kept).in_genome_order(params)?;
    checks.extend(placed.checks());

    let (x, held_out) = held_out(x, &obs, params, &mut checks);
    let own_totals = held_out.as_ref().map(|_| row_sums(&x));
    let totals = own_totals.as_ref().unwrap_or(&metrics.total_counts);
    let all = log1p_normalize_total(&x, totals, params.target_sum);
    let cycle = score_cell_cycle(&symbols(&var), &all, &kept, params.random_state);
    checks.push(cycle.check());

    let (columns, var) = genes_in_order(&placed, &var, &n_cells_of)?;
    let on_genome = || normalise::select_columns(&all, &columns);
    let normal_cells = label_cells(&mut obs, &var, on_genome, params, &mut checks)?;
    metrics.annotate(&mut obs);
    cycle.annotate(&mut obs);
    warn_of_checks(&checks, progress);

    let counts = normalise::select_columns(&x, &columns);
    let mut metrics = headline(&obs, &var, &counts, &metrics, before);
    metrics.insert("n_genes_without_position".into(), placed.n_unplaced.into());
    metrics.extend(normal_cells.as_ref().map(NormalCells::metric));
    let layers = Layers {
        log1p: &all,
        counts,
        held_out: held_out.as_ref(),
    };
    let mut expr = expression(obs, var, layers, &columns, params.target_sum);
    expr.obsm = obsm;
    expr.uns.extend(uns.remove_entry("spatial"));
    let named = |g: Assembly| ("genome".into(), Uns::Str(g.name().into()));
    expr.uns.extend(placed.genome.map(named));
    Ok(Preprocessed {
        expr,
        checks,
        metrics,
        normal_cells,
    })
}

fn warn_of_checks(checks: &[QcCheck], progress: &dyn Progress) {
    let warned = checks.iter().filter(|c| c.verdict == Verdict::Warn);
    warned.for_each(|check| progress.warn(&check.detail));
}

/// Columns of the genes in genome order, and what is known of each.
fn genes_in_order(
    placed: &PlacedGenes,
    var: &Frame,
    n_cells_of: &[i64],
) -> StageResult<(Vec<usize>, Frame)> {
    let columns: Vec<usize> = placed.genes.iter().map(|g| g.column).collect();
    let mut var = placed.annotate(var.take(&columns))?;
    let n_cells = columns.iter().map(|&g| n_cells_of[g]).collect();
    var.set("n_cells", Column::I64(n_cells));
    Ok((columns, var))
}

/// Sets `cancer_vs_normal`: by the user's rule, else by normal cells that are found in the expression of genes in
/// genome order.
fn label_cells(
    obs: &mut Frame,
    var: &Frame,
    on_genome: impl FnOnce() -> Csr,
    params: &PreprocessParams,
    checks: &mut Vec<QcCheck>,
) -> StageResult<Option<NormalCells>> {
    if let Some(rule) = &params.cancer_vs_normal {
        checks.extend(cancer_vs_normal(obs, rule)?);
        return Ok(None);
    }
    let found = find_normal_cells(&on_genome(), var, params.random_state)?;
    found.annotate(obs);
    checks.push(found.check());
    Ok(Some(found))
}

/// Matrices of the artifact `expr`.
struct Layers<'a> {
    /// Of all genes.
    log1p: &'a Csr,
    /// Of the genes that stay.
    counts: Csr,
    /// Of all genes.
    held_out: Option<&'a Csr>,
}

/// The artifact `expr`; `columns` are the genes that stay.
fn expression(
    obs: Frame,
    var: Frame,
    layers: Layers<'_>,
    columns: &[usize],
    target_sum: f64,
) -> AnnData {
    let Layers {
        log1p,
        counts,
        held_out,
    } = layers;
    let mut expr = AnnData {
        obs,
        var,
        x: Some(Matrix::Csr(normalise::select_columns(log1p, columns))),
        ..AnnData::default()
    };
    expr.layers.insert("counts".into(), Matrix::Csr(counts));
    if let Some(test) = held_out {
        let scaled = log1p_normalize_total(test, &row_sums(test), target_sum);
        let mut add = |name: &str, matrix| {
            let placed = normalise::select_columns(matrix, columns);
            expr.layers.insert(name.into(), Matrix::Csr(placed));
        };
        add(HELD_OUT, &scaled);
        add(HELD_OUT_COUNTS, test);
    }
    expr
}

/// Says which columns of the cells give way to those of this stage.
fn warn_of_own_columns(obs: &Frame, params: &PreprocessParams, progress: &dyn Progress) {
    for column in Preprocess::obs_writes(params) {
        if obs.columns.contains_key(&column.name) {
            progress.warn(&format!(
                "the cells have a column `{}` already: this stage's takes its place",
                column.name
            ));
        }
    }
}

/// The cells that pass the filters, their counts and their metrics.
fn kept_cells(
    obs: Frame,
    x: Csr,
    mt: &[bool],
    params: &PreprocessParams,
) -> StageResult<(Frame, Csr, QcMetrics)> {
    let metrics = qc_metrics(&x, mt);
    let cells: Vec<usize> = (0..obs.len())
        .filter(|&c| params.keeps_cell(&metrics, c))
        .collect();
    if cells.is_empty() {
        return Err(StageError::data_hint(
            format!(
                "none of {} cells passes `min_counts`, `min_genes` and `max_pct_mt`",
                obs.len()
            ),
            "lower the filters of `preprocess`",
        ));
    }
    let metrics = metrics.take(&cells);
    Ok(if cells.len() < obs.len() {
        (obs.take(&cells), x.take_rows(&cells), metrics)
    } else {
        (obs, x, metrics)
    })
}

/// The arrays of the cells, of those that stayed.
fn of_kept_cells(
    arrays: BTreeMap<String, Matrix>,
    before: &[String],
    kept: &[String],
) -> BTreeMap<String, Matrix> {
    if arrays.is_empty() || before.len() == kept.len() {
        return arrays;
    }
    let row_of: HashMap<&str, usize> = before.iter().map(String::as_str).zip(0..).collect();
    let rows: Vec<usize> = kept.iter().map(|id| row_of[id.as_str()]).collect();
    let arrays = arrays.into_iter();
    arrays
        .map(|(name, array)| (name, array.take_rows(&rows)))
        .collect()
}

/// The counts to learn on, and those held out of that where they are split.
fn held_out(
    x: Csr,
    obs: &Frame,
    params: &PreprocessParams,
    checks: &mut Vec<QcCheck>,
) -> (Csr, Option<Csr>) {
    if !params.count_split {
        return (x, None);
    }
    let (learn, test) = split_counts(&x, &obs.index, params.random_state);
    checks.push(QcCheck::new(
        "count_split",
        true,
        sum(&test) / (sum(&learn) + sum(&test)),
        "share of the counts held out of everything that is learnt (binomial thinning)",
    ));
    (learn, Some(test))
}

fn row_sums(x: &Csr) -> Vec<f64> {
    (0..x.n_rows())
        .map(|r| x.row(r).1.iter().map(|&v| f64::from(v)).sum())
        .collect()
}

fn sum(x: &Csr) -> f64 {
    row_sums(x).iter().sum()
}

fn headline(
    obs: &Frame,
    var: &Frame,
    counts: &Csr,
    qc: &QcMetrics,
    [cells, genes]: [usize; 2],
) -> Metrics {
    let mut metrics = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| {
        metrics.insert(name.to_string(), value);
    };
    put("n_cells", obs.len().into());
    put("n_cells_filtered_out", (cells - obs.len()).into());
    put("n_genes", var.len().into());
    put("n_genes_left_out", (genes - var.len()).into());
    put("nnz", counts.nnz().into());
    put(
        "share_zero",
        (1.0 - counts.nnz() as f64 / (obs.len() * var.len()) as f64).into(),
    );
    put("median_total_counts", qc::median(&qc.total_counts).into());
    put(
        "median_n_genes_by_counts",
        qc::median(
            &qc.n_genes_by_counts
                .iter()
                .map(|&n| n as f64)
                .collect::<Vec<_>>(),
        )
        .into(),
    );
    put("median_pct_counts_mt", qc::median(&qc.pct_counts_mt).into());
    for (name, value) in [("n_cancer", "Cancer"), ("n_normal", "Normal")] {
        let n = obs
            .texts("cancer_vs_normal")
            .map_or(0, |v| v.iter().filter(|v| *v == value).count());
        put(name, n.into());
    }
    let unlabelled = obs.texts("cancer_vs_normal").unwrap_or_default();
    let unlabelled = unlabelled.iter().filter(|v| v.is_empty()).count();
    put("n_unlabelled", unlabelled.into());
    metrics
}

#[cfg(test)]
mod tests;
