//! Runs `mixture` on the clones of the cohort, made as in `dosage`.

use serde_json::json;

use super::mixture::{mixture, p_value};
use super::params::BaselinesParams;
use super::{Method, Ranked};
use crate::discordance::clones::{CloneOptions, clones};
use crate::dosage::residual::Residuals;
use clcc_data::error::StageResult;
use clcc_numerics::math;
use clcc_stage::cohort::{Cohort, CohortCnv};
use clcc_stage::stage::{Metrics, StageContext};

/// Score cells of malignant clones, and genes, by the mixture; also returns its metrics. `None`, with a
/// warning, where expression does not follow the copy number, so that no scale can be found.
pub(super) fn compensation(
    ctx: &StageContext<'_>,
    params: &BaselinesParams,
    cohort: &Cohort,
    cnv: &CohortCnv,
    chosen: &[bool],
) -> StageResult<Option<(Method, Metrics)>> {
    let chromosome = cohort.var.texts("chromosome")?;
    let Some((residuals, copy)) = clone_residuals(ctx, params, cohort, cnv, chosen)? else {
        return Ok(None);
    };
    ctx.check_cancelled()?;
    let Some(found) = mixture(&residuals, &copy) else {
        return Ok(None);
    };
    let step = |k: usize| {
        let n = params.n_null as u64;
        ctx.progress.step(k as u64, n, "permuted profiles");
        ctx.check_cancelled()
    };
    let mut metrics = Metrics::new();
    if params.n_null > 0 {
        let p = p_value(
            &residuals,
            &copy,
            &chromosome,
            found.gain,
            params.n_null,
            ctx.seed,
            &step,
        )?;
        metrics.insert("mixture_p".into(), json!(p));
    }
    metrics.insert("mixture_share_of_cells".into(), json!(found.p));
    metrics.insert("mixture_share_of_genes".into(), json!(found.pi));
    metrics.insert("mixture_gain".into(), json!(found.gain));
    let gene = |&l: &f64| Ranked {
        score: l,
        effect: 1.0 / (1.0 + math::exp(-l)),
    };
    let method = Method {
        name: "mixture",
        cells: residuals.cells,
        scores: found.cells,
        genes: found.genes.iter().map(gene).collect(),
    };
    Ok(Some((method, metrics)))
}

/// Residuals of the clones' cells and the clones' log copy ratios `[clone][gene]` (0: not altered).
/// `None` without clones, and with a warning where expression does not follow the copy number.
fn clone_residuals(
    ctx: &StageContext<'_>,
    params: &BaselinesParams,
    cohort: &Cohort,
    cnv: &CohortCnv,
    chosen: &[bool],
) -> StageResult<Option<(Residuals, Vec<Vec<f64>>)>> {
    let counts = cohort.counts(ctx)?;
    let options = CloneOptions {
        group_by: params.group_by,
        strata: params.strata,
        copy_number: params.clone_copy_number,
        min_cells: params.min_cells.max(2),
        altered: params.altered,
        exclude_genes: &[],
    };
    let made = clones(ctx, cohort, &counts, cnv, chosen, options, "`mixture`")?;
    made.map(|c| Ok((Residuals::new(&counts, &c.pseudobulks, &c.copy)?, c.copy)))
        .transpose()
}
