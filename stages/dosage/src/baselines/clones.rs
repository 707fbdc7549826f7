//! Runs `mixture` on the clones of the cohort, made as in `dosage`.

use serde_json::json;

use super::mixture::{mixture, p_value};
use super::params::BaselinesParams;
use super::{Method, Ranked};
use crate::dosage::by_counts::ByCounts;
use crate::dosage::clones::{calls_of_clones, clone_ids, pseudobulks};
use crate::dosage::copy::{Along, altered, copy_ratios, malignant};
use crate::dosage::loci::excluded;
use crate::dosage::rates::Rates;
use crate::dosage::residual::Residuals;
use crate::dosage::slope::window_scale;
use crate::dosage::windows::arm_names;
use crate::dosage::{DosageParams, GeneWindows, malignant_calls};
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
    map: &GeneWindows,
    chosen: &[bool],
) -> StageResult<Option<(Method, Metrics)>> {
    let chromosome = cohort.var.texts("chromosome")?;
    let Some((residuals, copy)) = clone_residuals(ctx, params, cohort, cnv, map, chosen)? else {
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
    map: &GeneWindows,
    chosen: &[bool],
) -> StageResult<Option<(Residuals, Vec<Vec<f64>>)>> {
    let counts = Cohort::load_counts(ctx)?.x;
    let groups = cohort.load_groups(ctx, params.group_by)?;
    let ids = clone_ids(cohort, &groups, chosen, params.strata)?;
    let (clones, n_strata) = pseudobulks(&counts, &cnv.x, &ids, params.min_cells.max(2));
    if clones.is_empty() {
        return Ok(None);
    }
    let rates = Rates::new(&clones, n_strata, DosageParams::default().min_count);
    let (scale, _) = window_scale(&rates, &clones, n_strata, map);
    if scale.is_nan() {
        ctx.progress
            .warn("expression as a whole does not follow the copy number: no `mixture`");
        return Ok(None);
    }
    let arm = arm_names(&cohort.var)?;
    let symbols = clcc_data::genome::symbols(&cohort.var);
    let excluded = excluded(&cohort.var.index, &symbols, true, &[]);
    let along = Along {
        arm: &arm,
        map,
        scale,
        excluded: &excluded,
    };
    let by_counts = ByCounts::new(&clones, &rates, along.arm, along.excluded);
    let called = calls_of_clones(&clones, &malignant_calls(cohort));
    let malignant = malignant(&clones, &by_counts, along, &called, params.altered);
    let source = params.clone_copy_number;
    let copy: Vec<Vec<f64>> = copy_ratios(&clones, &by_counts, &malignant, along, source)
        .iter()
        .map(|r| altered(r, params.altered))
        .collect();
    Ok(Some((Residuals::new(&counts, &clones, &copy), copy)))
}
