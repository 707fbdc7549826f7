//! The clones whose cells are compared with their dosage, made as in `dosage`; `baselines` takes the same for
//! its mixture.

use crate::dosage::by_counts::ByCounts;
use crate::dosage::clones::{ClonePseudobulk, calls_of_clones, clone_ids, pseudobulks};
use crate::dosage::copy::{Along, altered, copy_ratios, malignant};
use crate::dosage::loci::excluded;
use crate::dosage::rates::Rates;
use crate::dosage::slope::window_scale;
use crate::dosage::windows::arm_names;
use crate::dosage::{CopyNumber, DosageParams, GeneWindows, Strata, malignant_calls};
use clcc_data::error::StageResult;
use clcc_data::genome::symbols;
use clcc_data::matrix::Parts;
use clcc_stage::cohort::{Cohort, CohortCnv, GroupBy};
use clcc_stage::stage::StageContext;

/// How clones and their copy number are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloneOptions<'a> {
    /// Grouping of the cells of one patient and cell type.
    pub(crate) group_by: GroupBy,
    /// Cells that share one level per gene in normal cells.
    pub(crate) strata: Strata,
    /// Source of a clone's local copy number.
    pub(crate) copy_number: CopyNumber,
    /// Cells that a clone needs.
    pub(crate) min_cells: usize,
    /// Size of a log copy ratio from which a gene counts as altered.
    pub(crate) altered: f64,
    /// Genes that are no neighbours and count as unaltered, besides clonal loci.
    pub(crate) exclude_genes: &'a [String],
}

/// Clones with their log copy ratios.
#[derive(Debug)]
pub(crate) struct Clones {
    /// Pseudobulks.
    pub(crate) pseudobulks: Vec<ClonePseudobulk>,
    /// Log copy ratio `[clone][gene]`; 0 where not altered.
    pub(crate) copy: Vec<Vec<f64>>,
}

/// Pseudobulks of the clones of raw `counts` and their log copy ratios. `None` without clones, and with a
/// warning that there is no `what` where expression does not follow the copy number.
///
/// # Errors
/// What [`Cohort::load_groups`] and [`clone_ids`] report.
pub(crate) fn clones(
    ctx: &StageContext<'_>,
    cohort: &Cohort,
    counts: &dyn Parts,
    cnv: &CohortCnv,
    chosen: &[bool],
    options: CloneOptions<'_>,
    what: &str,
) -> StageResult<Option<Clones>> {
    let map = GeneWindows::new(&cohort.var.index, &cnv.windows, &cnv.genes)?;
    let groups = cohort.load_groups(ctx, options.group_by)?;
    let ids = clone_ids(cohort, &groups, chosen, options.strata)?;
    let (pseudobulks, n_strata) = pseudobulks(counts, &cnv.x, &ids, options.min_cells)?;
    if pseudobulks.is_empty() {
        return Ok(None);
    }
    let rates = Rates::new(&pseudobulks, n_strata, DosageParams::default().min_count);
    let (scale, _) = window_scale(&rates, &pseudobulks, n_strata, &map);
    if scale.is_nan() {
        ctx.progress.warn(&format!(
            "expression as a whole does not follow the copy number: no {what}"
        ));
        return Ok(None);
    }
    let arm = arm_names(&cohort.var)?;
    let excluded = excluded(
        &cohort.var.index,
        &symbols(&cohort.var),
        true,
        options.exclude_genes,
    );
    let along = Along {
        arm: &arm,
        map: &map,
        scale,
        excluded: &excluded,
    };
    let by_counts = ByCounts::new(&pseudobulks, &rates, along.arm, along.excluded);
    let called = calls_of_clones(&pseudobulks, &malignant_calls(cohort));
    let malignant = malignant(&pseudobulks, &by_counts, along, &called, options.altered);
    let source = options.copy_number;
    let copy = copy_ratios(&pseudobulks, &by_counts, &malignant, along, source)
        .iter()
        .map(|r| altered(r, options.altered))
        .collect();
    Ok(Some(Clones { pseudobulks, copy }))
}
