//! Local copy number per cell and gene without the gene's own windows, as an operator: no dense matrix
//! of cells x genes is built.
//!
//! Genes between the same two windows have the same local copy number: they share a **slot**. A cell
//! has one value per slot, about as many as there are windows, and every sum over genes splits into one
//! over the cell's stored expression values and one over slots.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::dosage::GeneWindows;
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};

/// Groups of genes with the same adjacent windows.
#[derive(Debug, Clone)]
pub struct Slots {
    /// Slot of each gene; `None` where every window of its chromosome contains it, or it has none.
    pub of_gene: Vec<Option<u32>>,
    /// Windows of each slot with their weights.
    windows: Vec<Vec<(usize, f64)>>,
}

impl Slots {
    /// Group the genes of `map` by their adjacent windows.
    pub fn new(map: &GeneWindows) -> Self {
        let mut number_of: BTreeMap<Vec<(usize, u64)>, u32> = BTreeMap::new();
        let mut windows = Vec::new();
        let of_gene = (0..map.len())
            .map(|g| {
                let adjacent = map.adjacent(g);
                if adjacent.is_empty() {
                    return None;
                }
                let key: Vec<(usize, u64)> =
                    adjacent.iter().map(|b| (b.0, b.1.to_bits())).collect();
                let next = windows.len() as u32;
                Some(*number_of.entry(key).or_insert_with(|| {
                    windows.push(adjacent.to_vec());
                    next
                }))
            })
            .collect();
        Self { of_gene, windows }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether no gene has a slot.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Value of each slot for one profile over windows.
    pub fn values(&self, profile: &[f64]) -> Vec<f64> {
        self.windows
            .iter()
            .map(|w| w.iter().map(|&(at, weight)| weight * profile[at]).sum())
            .collect()
    }

    /// Sum of `f(gene)` over the genes of each slot.
    pub fn sums(&self, f: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut out = vec![0.0; self.len()];
        for (g, slot) in self.of_gene.iter().enumerate() {
            if let Some(k) = slot {
                out[*k as usize] += f(g);
            }
        }
        out
    }
}

/// Source of a cell's copy number.
#[derive(Debug)]
pub enum Profiles<'a> {
    /// The cell's own row of `X_cnv`.
    Cells(&'a dyn Parts),
    /// The mean row of its cluster.
    Clusters {
        /// Cluster of each cell.
        of_cell: Vec<u32>,
        /// Slot values of each cluster.
        values: Vec<Vec<f64>>,
    },
}

/// Copy number of the cells of one part of the cohort.
#[derive(Debug)]
pub enum PartProfiles<'a> {
    /// The number of the first cell, and the cells' own rows of `X_cnv`.
    Cells(usize, Cow<'a, Csr>),
    /// As [`Profiles::Clusters`].
    Clusters(&'a [u32], &'a [Vec<f64>]),
}

impl<'a> Profiles<'a> {
    /// Compute the slot values of each cluster's mean profile; clusters are numbered from 0.
    ///
    /// # Errors
    /// Where a part of `x_cnv` cannot be read.
    pub fn clusters(
        x_cnv: &dyn Parts,
        of_cell: Vec<u32>,
        slots: &Slots,
    ) -> StageResult<Profiles<'a>> {
        let n = of_cell.iter().max().map_or(0, |&c| c as usize + 1);
        let mut sums = vec![vec![0.0; x_cnv.n_cols()]; n];
        let mut cells = vec![0.0f64; n];
        x_cnv.each(&mut |first, part| {
            for (row, &c) in of_cell[first..first + part.n_rows()].iter().enumerate() {
                cells[c as usize] += 1.0;
                let (cols, values) = part.row(row);
                for (&w, &v) in cols.iter().zip(values) {
                    sums[c as usize][w as usize] += f64::from(v);
                }
            }
            Ok(())
        })?;
        let values = sums
            .iter_mut()
            .zip(&cells)
            .map(|(s, n)| {
                s.iter_mut().for_each(|v| *v /= n.max(1.0));
                slots.values(s)
            })
            .collect();
        Ok(Profiles::Clusters { of_cell, values })
    }

    /// Copy number of the cells of a part.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn part(&self, at: usize) -> StageResult<PartProfiles<'_>> {
        Ok(match self {
            Self::Cells(x) => {
                let (first, part) = x.part(at)?;
                PartProfiles::Cells(first, part)
            }
            Self::Clusters { of_cell, values } => PartProfiles::Clusters(of_cell, values),
        })
    }
}

impl PartProfiles<'_> {
    /// Slot values of one cell of the part, by its number in the cohort.
    pub fn of(&self, cell: usize, slots: &Slots) -> Vec<f64> {
        match self {
            Self::Cells(first, x) => {
                let mut profile = vec![0.0; x.n_cols()];
                let (cols, values) = x.row(cell - first);
                for (&w, &v) in cols.iter().zip(values) {
                    profile[w as usize] = f64::from(v);
                }
                slots.values(&profile)
            }
            Self::Clusters(of_cell, values) => values[of_cell[cell] as usize].clone(),
        }
    }
}
