//! Rank-sum tests of all comparisons, per patient and pooled, each in one pass over the genes.

use clcc_data::error::StageResult;
use clcc_numerics::stats::{
    Contrast, GeneTest, benjamini_hochberg, benjamini_hochberg_log10, log2_fold_change,
    sparse_wilcoxon,
};
use clcc_stage::cohort::Cohort;

use super::contrasts::{Comparison, Kind, Sides};
use super::params::DeParams;
use crate::by_gene::ByGene;

/// Result of one comparison, or the reason why it could not be made.
#[derive(Debug, Clone)]
pub struct Tested {
    /// The comparison: its cells and, where it could not be made, the reason.
    pub comparison: Comparison,
    /// Patient; `None` for all patients together.
    pub patient: Option<usize>,
    /// Test of each gene; empty where the comparison could not be made.
    pub genes: Vec<GeneTest>,
    /// Benjamini-Hochberg adjusted p-values over the genes that are not set aside; NaN for those that
    /// are.
    pub adjusted: Vec<f64>,
    /// Decimal logarithms of `adjusted`.
    pub adjusted_log10: Vec<f64>,
    /// log2 fold change of each gene.
    pub log2fc: Vec<f64>,
}

impl Tested {
    fn new(
        comparison: Comparison,
        patient: Option<usize>,
        genes: Vec<GeneTest>,
        aside: &[bool],
    ) -> Self {
        let (adjusted, adjusted_log10) =
            adjust(&genes, |g| comparison.kind == Kind::Epithelium && aside[g]);
        let log2fc = genes
            .iter()
            .map(|g| log2_fold_change(g.mean_group, g.mean_reference))
            .collect();
        Self {
            comparison,
            patient,
            genes,
            adjusted,
            adjusted_log10,
            log2fc,
        }
    }

    /// Direction in which gene `g` is found at this false discovery rate and fold change: 1 higher in
    /// the group, -1 lower, 0 not found.
    pub fn direction(&self, g: usize, fdr: f64, log2fc: f64) -> i8 {
        direction(self.adjusted[g], self.log2fc[g], fdr, log2fc)
    }

    /// Number of genes found in the direction `sign`.
    pub fn n_found(&self, sign: i8, fdr: f64, log2fc: f64) -> usize {
        (0..self.genes.len())
            .filter(|&g| self.direction(g, fdr, log2fc) == sign)
            .count()
    }

    /// Whether the comparison was made.
    pub fn made(&self) -> bool {
        self.comparison.obstacle.is_none()
    }
}

/// Adjust by Benjamini-Hochberg over the genes that are not set aside: p-values and their decimal
/// logarithms, NaN for the genes set aside.
pub(super) fn adjust(genes: &[GeneTest], aside: impl Fn(usize) -> bool) -> (Vec<f64>, Vec<f64>) {
    let kept: Vec<usize> = (0..genes.len()).filter(|&g| !aside(g)).collect();
    let of =
        |f: &dyn Fn(&GeneTest) -> f64| -> Vec<f64> { kept.iter().map(|&g| f(&genes[g])).collect() };
    let spread = |values: Vec<f64>| {
        let mut out = vec![f64::NAN; genes.len()];
        kept.iter().zip(values).for_each(|(&g, v)| out[g] = v);
        out
    };
    (
        spread(benjamini_hochberg(&of(&|g| g.p.p))),
        spread(benjamini_hochberg_log10(&of(&|g| g.p.log10))),
    )
}

/// Direction of a change: 1 found higher, -1 found lower, 0 not found.
pub(super) fn direction(adjusted: f64, change: f64, fdr: f64, log2fc: f64) -> i8 {
    if !(adjusted < fdr && change.abs() > log2fc) {
        0
    } else if change > 0.0 {
        1
    } else {
        -1
    }
}

/// Test all comparisons of `kinds`: each patient's, then the pooled ones where there is more than one
/// patient. `x` is the expression to test, `sides[kind][cell]` as in [`super::contrasts::sides`], `aside` one flag per
/// gene.
///
/// # Errors
/// Any error of `cancelled`, which is called between patients, and where `x` cannot be read.
pub fn test_all(
    cohort: &Cohort,
    x: &ByGene,
    kinds: &[Kind],
    sides: &Sides,
    aside: &[bool],
    params: &DeParams,
    cancelled: impl Fn(usize) -> StageResult<()>,
) -> StageResult<Vec<Tested>> {
    let mut out = Vec::new();
    let test = |rows: std::ops::Range<usize>, patient: Option<usize>| -> StageResult<Vec<Tested>> {
        // Cells on no side of any comparison need not be sorted.
        let rows: Vec<usize> = rows
            .filter(|&i| kinds.iter().any(|k| sides[k.place()][i] != 0))
            .collect();
        let comparisons: Vec<Comparison> = kinds
            .iter()
            .map(|&k| Comparison::new(k, rows.iter().map(|&i| sides[k.place()][i]).collect()))
            .collect();
        let contrasts: Vec<Contrast> = comparisons
            .iter()
            .filter(|c| c.obstacle.is_none())
            .map(|c| c.contrast.clone())
            .collect();
        let mut results = rank_sums(x, &rows, &contrasts, params)?.into_iter();
        Ok(comparisons
            .into_iter()
            .map(|c| {
                let genes = if c.obstacle.is_none() {
                    results.next().expect("one result per contrast")
                } else {
                    Vec::new()
                };
                Tested::new(c, patient, genes, aside)
            })
            .collect::<Vec<_>>())
    };
    for p in 0..cohort.patients.len() {
        cancelled(p)?;
        out.extend(test(cohort.cells_of(p), Some(p))?);
    }
    if cohort.patients.len() > 1 {
        cancelled(cohort.patients.len())?;
        out.extend(test(0..cohort.n_cells(), None)?);
    }
    Ok(out)
}

/// The rank-sum test of every gene in the cells `rows`, `[contrast][gene]`.
pub(crate) fn rank_sums(
    x: &ByGene,
    rows: &[usize],
    contrasts: &[Contrast],
    params: &DeParams,
) -> StageResult<Vec<Vec<GeneTest>>> {
    let mut out = vec![Vec::with_capacity(x.n_genes()); contrasts.len()];
    if contrasts.is_empty() {
        return Ok(out);
    }
    x.blocks(rows, &mut |genes| {
        let tests = sparse_wilcoxon(genes, contrasts, params.rank_sum());
        out.iter_mut().zip(tests).for_each(|(of, t)| of.extend(t));
        Ok(())
    })?;
    Ok(out)
}
