//! The counts of malignant cells as the model wants them: cells of one clone next to each other, genes as
//! rows.

use std::ops::Range;

use crate::dosage::clones::ClonePseudobulk;
use crate::dosage::residual::Residuals;
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};

/// Cells of the clones with an altered gene, in the order of the clones.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Row of each cell in the cohort.
    pub(super) cells: Vec<usize>,
    /// The clones that have cells here.
    pub(super) clones: Vec<CloneCells>,
    /// Depth of each cell relative to its clone's mean.
    pub(super) depth: Vec<f64>,
    /// `n_genes x n_cells`.
    pub(super) counts: Csr,
    /// Residuals in this order of the cells.
    pub(super) residuals: Residuals,
}

/// A clone's place in the panel, and what is known of its genes.
#[derive(Debug, Clone)]
pub(super) struct CloneCells {
    /// Index into the pseudobulks.
    pub(super) index: usize,
    /// Patient.
    pub(super) patient: u32,
    /// Its cells.
    pub(super) cells: Range<usize>,
    /// Whether its cells tell which genes are in the set: not where they are in no clone.
    pub(super) informs: bool,
    /// Mean count of each gene; 0 where it is too low for the gene to take part.
    pub(super) mean: Vec<f64>,
    /// Mean count over its standard deviation, 0 likewise.
    pub(super) base: Vec<f64>,
    /// Log copy ratio of each gene; 0 where it is not altered or does not take part.
    pub(super) copy: Vec<f64>,
    /// The same for every gene, whether it takes part or not.
    profile: Vec<f64>,
}

impl Panel {
    /// From raw counts (`n_cells x n_genes`), the clones, and their log copy ratios `[clone][gene]`, 0 where not
    /// altered.
    ///
    /// # Errors
    /// Where the counts cannot be read.
    pub(super) fn new(
        counts: &dyn Parts,
        clones: &[ClonePseudobulk],
        copy: &[Vec<f64>],
    ) -> StageResult<Self> {
        let residuals = Residuals::new(counts, clones, copy)?;
        let mut order: Vec<usize> = (0..residuals.n_cells()).collect();
        order.sort_by_key(|&i| (residuals.clone_of[i], residuals.cells[i]));
        let residuals = residuals.take(&order);
        let depth: Vec<f64> = residuals.depths().iter().map(|d| d * d).collect();
        let places = runs(&residuals.clone_of).into_iter().map(|cells| {
            let u = residuals.clone_of[cells.start];
            let has = |g: usize| residuals.has(u, g);
            let n = clones[u].cells.len() as f64;
            let of = |value: &dyn Fn(usize) -> f64| -> Vec<f64> {
                let genes = 0..counts.n_cols();
                genes.map(|g| if has(g) { value(g) } else { 0.0 }).collect()
            };
            CloneCells {
                index: u,
                patient: clones[u].id.patient,
                cells,
                informs: !clones[u].id.unplaced,
                mean: of(&|g| clones[u].counts[g] / n),
                base: of(&|g| residuals.base(u, g)),
                copy: of(&|g| copy[u][g]),
                profile: copy[u].clone(),
            }
        });
        let mut own = vec![Csr::from_rows(counts.n_cols(), Vec::new())];
        // Clones are in the order of patients, so the cells of a part stand together.
        counts.each(&mut |first, part| {
            let here = first..first + part.n_rows();
            let cells = residuals.cells.iter().filter(|i| here.contains(i));
            own.push(part.take_rows(&cells.map(|i| i - first).collect::<Vec<_>>()));
            Ok(())
        })?;
        Ok(Self {
            clones: places.collect(),
            depth,
            counts: Csr::vstack(&own.iter().collect::<Vec<_>>()).transpose(),
            cells: residuals.cells.clone(),
            residuals,
        })
    }

    /// Give genes the log copy ratios that other genes have in `own`, as pairs of gene and source; 0 to genes
    /// that are not named.
    pub(super) fn relay(&mut self, own: &Self, order: &[(usize, usize)]) {
        for (clone, own) in self.clones.iter_mut().zip(&own.clones) {
            clone.copy.fill(0.0);
            for &(to, from) in order.iter().filter(|o| own.base[o.0] > 0.0) {
                clone.copy[to] = own.profile[from];
            }
        }
    }

    /// Number of cells.
    pub(super) fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// Number of genes, altered or not.
    pub(super) fn n_genes(&self) -> usize {
        self.counts.n_rows()
    }

    /// Genes that some clone has altered and that take part there.
    pub(super) fn altered(&self) -> Vec<usize> {
        let is = |g: &usize| self.clones.iter().any(|u| u.copy[*g] != 0.0);
        (0..self.n_genes()).filter(is).collect()
    }

    /// Clone of each cell, an index into `clones`.
    pub(super) fn clone_of(&self) -> Vec<usize> {
        let of = |(u, c): (usize, &CloneCells)| vec![u; c.cells.len()];
        self.clones.iter().enumerate().flat_map(of).collect()
    }
}

impl CloneCells {
    /// Log copy ratio of each gene, 0 where not altered, whether the gene takes part or not.
    pub(super) fn profile(&self) -> &[f64] {
        &self.profile
    }
}

/// Runs of equal values.
fn runs(values: &[usize]) -> Vec<Range<usize>> {
    let mut at = 0;
    values
        .chunk_by(|a, b| a == b)
        .map(|run| {
            at += run.len();
            at - run.len()..at
        })
        .collect()
}
