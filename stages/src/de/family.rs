//! Every comparison, for each patient and for all of them together, in one pass over the genes
//! each.

use crate::cohort::Cohort;
use crate::error::StageResult;
use crate::stats::{
    Contrast, GeneTest, TTest, benjamini_hochberg, log2_fold_change, paired_t, sparse_wilcoxon,
};

use super::contrasts::{Comparison, Kind};
use super::params::DeParams;

/// A comparison that was made or could not be made.
#[derive(Debug, Clone)]
pub struct Tested {
    /// Sizes, and why not.
    pub comparison: Comparison,
    /// `None`: all patients together.
    pub patient: Option<usize>,
    /// One per gene; empty where it could not be made.
    pub genes: Vec<GeneTest>,
    /// Benjamini-Hochberg over the genes.
    pub adjusted: Vec<f64>,
    /// log2 fold change of each gene.
    pub log2fc: Vec<f64>,
}

impl Tested {
    fn new(comparison: Comparison, patient: Option<usize>, genes: Vec<GeneTest>) -> Self {
        let adjusted = benjamini_hochberg(&genes.iter().map(|g| g.p.p).collect::<Vec<_>>());
        let log2fc = genes
            .iter()
            .map(|g| log2_fold_change(g.mean_group, g.mean_reference))
            .collect();
        Self {
            comparison,
            patient,
            genes,
            adjusted,
            log2fc,
        }
    }

    /// Whether gene `g` is found at this false discovery rate and fold change: 1 higher in the
    /// group, -1 lower, 0 not found.
    pub fn direction(&self, g: usize, fdr: f64, log2fc: f64) -> i8 {
        if !(self.adjusted[g] < fdr && self.log2fc[g].abs() > log2fc) {
            0
        } else if self.log2fc[g] > 0.0 {
            1
        } else {
            -1
        }
    }
}

/// All comparisons: first each patient's, then the pooled ones where there is more than one
/// patient. `sides[kind][cell]` as [`super::contrasts::sides`].
///
/// # Errors
/// Whatever `cancelled` reports between patients.
pub fn test_all(
    cohort: &Cohort,
    sides: &[Vec<u8>; 3],
    params: &DeParams,
    cancelled: impl Fn(usize) -> StageResult<()>,
) -> StageResult<Vec<Tested>> {
    let mut out = Vec::new();
    for p in 0..cohort.patients.len() {
        cancelled(p)?;
        let rows: Vec<usize> = cohort.cells_of(p).collect();
        out.extend(test_cells(cohort, &rows, sides, Some(p), params));
    }
    if cohort.patients.len() > 1 {
        cancelled(cohort.patients.len())?;
        let rows: Vec<usize> = (0..cohort.n_cells()).collect();
        out.extend(test_cells(cohort, &rows, sides, None, params));
    }
    Ok(out)
}

fn test_cells(
    cohort: &Cohort,
    rows: &[usize],
    sides: &[Vec<u8>; 3],
    patient: Option<usize>,
    params: &DeParams,
) -> Vec<Tested> {
    // Cells on no side of anything need not be sorted.
    let rows: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|&i| sides.iter().any(|s| s[i] != 0))
        .collect();
    let comparisons: Vec<Comparison> = Kind::ALL
        .iter()
        .zip(sides)
        .map(|(&kind, s)| Comparison::new(kind, rows.iter().map(|&i| s[i]).collect()))
        .collect();
    let contrasts: Vec<Contrast> = comparisons
        .iter()
        .filter(|c| c.obstacle.is_none())
        .map(|c| c.contrast.clone())
        .collect();
    let genes = cohort.x.take_rows(&rows).transpose();
    let mut results = sparse_wilcoxon(&genes, &contrasts, params.rank_sum()).into_iter();
    comparisons
        .into_iter()
        .map(|c| {
            let genes = if c.obstacle.is_none() {
                results.next().expect("one result per contrast")
            } else {
                Vec::new()
            };
            Tested::new(c, patient, genes)
        })
        .collect()
}

/// The patient-stratified paired t test of one gene.
#[derive(Debug, Clone, Copy)]
pub struct Stratified {
    /// Over the patients' differences of mean log1p expression.
    pub test: TTest,
    /// Benjamini-Hochberg over all genes.
    pub adjusted: f64,
    /// Mean over patients of the log2 fold change.
    pub log2fc: f64,
}

/// Per gene, the paired t test over the patients in which discordant and concordant cells could be
/// compared: one pair of means a patient, degrees of freedom = patients - 1.
/// `None` with fewer than two such patients.
pub fn stratified(tested: &[Tested]) -> Option<Vec<Stratified>> {
    let patients: Vec<&Tested> = tested
        .iter()
        .filter(|t| {
            t.patient.is_some() && t.comparison.kind == Kind::Discordance && !t.genes.is_empty()
        })
        .collect();
    if patients.len() < 2 {
        return None;
    }
    let n_genes = patients[0].genes.len();
    let tests: Vec<TTest> = (0..n_genes)
        .map(|g| {
            let of = |f: fn(&GeneTest) -> f64| {
                patients
                    .iter()
                    .map(|t| f(&t.genes[g]))
                    .collect::<Vec<f64>>()
            };
            paired_t(&of(|t| t.mean_group), &of(|t| t.mean_reference))
        })
        .collect();
    let adjusted = benjamini_hochberg(&tests.iter().map(|t| t.p.p).collect::<Vec<_>>());
    let log2fc =
        |g: usize| patients.iter().map(|t| t.log2fc[g]).sum::<f64>() / patients.len() as f64;
    Some(
        (0..n_genes)
            .map(|g| Stratified {
                test: tests[g],
                adjusted: adjusted[g],
                log2fc: log2fc(g),
            })
            .collect(),
    )
}
