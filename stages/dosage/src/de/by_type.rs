//! Discordant against concordant cells within cell types (van Elteren's test).

use std::collections::BTreeMap;

use clcc_data::error::StageResult;
use clcc_numerics::stats::{
    Contrast, Strata, StratifiedRank, Used, benjamini_hochberg, benjamini_hochberg_log10,
    log2_fold_change, van_elteren,
};
use clcc_stage::cohort::Cohort;

use super::family::direction;
use crate::by_gene::ByGene;

/// Result of van Elteren's test in one set of cells.
#[derive(Debug, Clone)]
pub struct ByType {
    /// Patient; `None` for all patients together, where each cell type of each patient is a stratum.
    pub patient: Option<usize>,
    /// Strata and cells that the test used, or why it could not be made.
    pub used: Result<Used, String>,
    /// Test of each gene; empty where the test could not be made.
    pub genes: Vec<StratifiedRank>,
    /// Benjamini-Hochberg adjusted p-values over the genes.
    pub adjusted: Vec<f64>,
    /// Decimal logarithms of `adjusted`.
    pub adjusted_log10: Vec<f64>,
    /// log2 fold change of each gene, of the means over strata.
    pub log2fc: Vec<f64>,
}

impl ByType {
    /// Direction in which gene `g` is found, as [`super::Tested::direction`].
    pub fn direction(&self, g: usize, fdr: f64, log2fc: f64) -> i8 {
        direction(self.adjusted[g], self.log2fc[g], fdr, log2fc)
    }

    /// Number of genes found in the direction `sign`.
    pub fn n_found(&self, sign: i8, fdr: f64, log2fc: f64) -> usize {
        (0..self.genes.len())
            .filter(|&g| self.direction(g, fdr, log2fc) == sign)
            .count()
    }
}

/// Test each patient, then all patients together where there are several. `side[cell]` is 1 for
/// discordant, 2 for concordant cells, else 0; `cell_type` is empty where the data has none.
///
/// # Errors
/// Where `x` cannot be read.
pub fn by_type(
    cohort: &Cohort,
    x: &ByGene,
    side: &[u8],
    cell_type: &[String],
) -> StageResult<Vec<ByType>> {
    let mut sets: Vec<(Option<usize>, Vec<usize>)> = (0..cohort.patients.len())
        .map(|p| (Some(p), cohort.cells_of(p).collect()))
        .collect();
    if cohort.patients.len() > 1 {
        sets.push((None, (0..cohort.n_cells()).collect()));
    }
    sets.into_iter()
        .map(|(patient, rows)| {
            let rows: Vec<usize> = rows
                .into_iter()
                .filter(|&i| side[i] != 0 && !cell_type.is_empty())
                .collect();
            let mut places: BTreeMap<(u32, &str), u32> = BTreeMap::new();
            let of = rows
                .iter()
                .map(|&i| {
                    let next = places.len() as u32;
                    *places
                        .entry((cohort.patient_of[i], cell_type[i].as_str()))
                        .or_insert(next)
                })
                .collect();
            let strata = Strata {
                of,
                n: places.len(),
            };
            let contrast = Contrast {
                side: rows.iter().map(|&i| side[i]).collect(),
            };
            let mut found: Option<(Used, Vec<StratifiedRank>)> = None;
            if !rows.is_empty() {
                x.blocks(&rows, &mut |genes| {
                    match (&mut found, van_elteren(genes, &contrast, &strata)) {
                        (Some((_, tests)), Some((_, more))) => tests.extend(more),
                        (found, first) => *found = first,
                    }
                    Ok(())
                })?;
            }
            let why = if cell_type.is_empty() {
                "the cells have no `cell_type`"
            } else {
                "expected a cell type with both discordant and concordant cells, found none"
            };
            let (used, genes) = match found {
                Some((used, genes)) => (Ok(used), genes),
                None => (Err(why.to_string()), Vec::new()),
            };
            Ok(ByType {
                patient,
                used,
                adjusted: benjamini_hochberg(&genes.iter().map(|g| g.p.p).collect::<Vec<_>>()),
                adjusted_log10: benjamini_hochberg_log10(
                    &genes.iter().map(|g| g.p.log10).collect::<Vec<_>>(),
                ),
                log2fc: genes
                    .iter()
                    .map(|g| log2_fold_change(g.mean_group, g.mean_reference))
                    .collect(),
                genes,
            })
        })
        .collect()
}
