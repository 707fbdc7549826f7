//! The copy-number-signed residual of each cell and gene, as a sparse operator: no dense matrix of
//! cells x genes is built.
//!
//! For cell i of clone u with n counts of gene g: let l be the cell's library, m the clone's mean
//! library, t = l/m, and mu = m times the clone's rate of the gene. The Pearson residual is
//! `r = (n - t mu) / sqrt(t (mu + phi mu^2))`, with phi the gene's overdispersion by moments; and
//! `S = r c`, with c the clone's local log copy ratio, over altered genes alone.
//!
//! Deviation: the negative-binomial variance is taken at the clone's mean library and scaled by depth,
//! `t (mu + phi mu^2)` instead of `t mu + phi t^2 mu^2`. The two are equal at the clone's mean depth
//! and differ only for genes with phi mu near 1 and more. In exchange, the zeros of a cell are its
//! depth times one vector of its clone, and S is sparse plus rank one per clone.

use std::ops::Range;
use std::sync::Arc;

use ndarray::Array2;
use rayon::prelude::*;

#[cfg(doc)]
use super::clones::CloneId;
use super::clones::ClonePseudobulk;
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};
use clcc_numerics::linalg::{LinearOperator, csr_dot};

/// Smallest overdispersion: that of technical replicates (Lause et al. 2021 use theta = 100).
const LEAST_PHI: f64 = 0.01;
const MOST_PHI: f64 = 10.0;
/// Genes with a mean below this in a clone are excluded: their residuals are dominated by rare counts.
const LEAST_MEAN: f64 = 0.01;

/// What the residuals of all cells of the included clones share. The residuals are made for some cells at a time:
/// those of a whole cohort are as large as its counts.
#[derive(Debug)]
pub struct Model<'a> {
    clones: &'a [ClonePseudobulk],
    /// Row of each cell in the cohort, and its clone; ascending.
    of_cell: Vec<(usize, usize)>,
    /// `sqrt(t)` of each of these cells: relative depth.
    depth: Vec<f64>,
    /// Overdispersion of each gene.
    phi: Vec<f64>,
    /// `mu / sd`, `[clone][gene]`; 0 for excluded genes.
    base: Arc<Vec<Vec<f64>>>,
    placed: Arc<Vec<bool>>,
}

impl<'a> Model<'a> {
    /// Fit to raw counts (`n_cells x n_genes`), for the cells of the clones that have an altered gene. `copy` are log
    /// copy ratios `[clone][gene]`, 0 where not altered.
    ///
    /// # Errors
    /// Where a part of the counts cannot be read.
    pub fn new(
        counts: &dyn Parts,
        clones: &'a [ClonePseudobulk],
        copy: &[Vec<f64>],
    ) -> StageResult<Self> {
        let is_included: Vec<bool> = copy.iter().map(|c| c.iter().any(|v| *v != 0.0)).collect();
        let mut of_cell: Vec<(usize, usize)> = (0..clones.len())
            .filter(|&u| is_included[u])
            .flat_map(|u| clones[u].cells.iter().map(move |&i| (i, u)))
            .collect();
        of_cell.sort_unstable();
        let (phi, libraries) = overdispersion(counts, clones, &of_cell)?;
        let relative = |(&(_, u), l): (&(usize, usize), &f64)| {
            (l * clones[u].cells.len() as f64 / clones[u].library).sqrt()
        };
        let depth = of_cell.iter().zip(&libraries).map(relative).collect();
        let mut out = Self {
            clones,
            of_cell,
            depth,
            phi,
            base: Arc::default(),
            placed: Arc::new(clones.iter().map(|u| !u.id.unplaced).collect()),
        };
        let base = (0..clones.len()).map(|u| {
            let of = |g: usize| match out.mean(u, g) {
                mu if is_included[u] && mu >= LEAST_MEAN => mu / out.deviation(mu, g),
                _ => 0.0,
            };
            (0..counts.n_cols()).map(of).collect()
        });
        out.base = Arc::new(base.collect());
        Ok(out)
    }

    fn mean(&self, u: usize, g: usize) -> f64 {
        self.clones[u].counts[g] / self.clones[u].cells.len() as f64
    }

    fn deviation(&self, mu: f64, g: usize) -> f64 {
        (mu + self.phi[g] * mu * mu).sqrt()
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.of_cell.len()
    }

    /// Row of each cell in the cohort, and its clone.
    pub fn cells(&self) -> &[(usize, usize)] {
        &self.of_cell
    }

    /// Whether cell `i` is placed in a clone, and so used to find which genes vary together.
    pub(crate) fn is_placed(&self, i: usize) -> bool {
        self.placed[self.of_cell[i].1]
    }

    /// Residuals of the cells with these numbers, which are in `part` of the counts, `first` its first row.
    fn of(&self, first: usize, part: &Csr, cells: &[usize]) -> Residuals {
        let clip = (self.of_cell.len() as f64).sqrt();
        let rows: Vec<Vec<(u32, f32)>> = cells
            .par_iter()
            .map(|&at| {
                let ((i, u), t) = (self.of_cell[at], self.depth[at]);
                let (cols, values) = part.row(i - first);
                let entry = |(&c, &n): (&u32, &f32)| {
                    let g = c as usize;
                    let b = self.base[u][g];
                    (b > 0.0 && n > 0.0).then(|| {
                        let stored = f64::from(n) / (t * self.deviation(self.mean(u, g), g));
                        (c, stored.min(clip + t * b) as f32)
                    })
                };
                cols.iter().zip(values).filter_map(entry).collect()
            })
            .collect();
        Residuals {
            cells: cells.iter().map(|&at| self.of_cell[at].0).collect(),
            clone_of: cells.iter().map(|&at| self.of_cell[at].1).collect(),
            placed: self.placed.clone(),
            depth: cells.iter().map(|&at| self.depth[at]).collect(),
            stored: Csr::from_rows(part.n_cols(), rows),
            base: self.base.clone(),
        }
    }

    /// Residuals of all cells of a part of the cohort, `first` its first row, which know their own clones only: copy
    /// ratios of others need not be there.
    pub(crate) fn of_part(&self, first: usize, part: &Csr) -> Residuals {
        let cells: Vec<usize> = of_part(&self.of_cell, first, part).collect();
        let mut out = self.of(first, part, &cells);
        let mut base = vec![Vec::new(); self.base.len()];
        for &u in &out.clone_of {
            if base[u].is_empty() {
                base[u].clone_from(&self.base[u]);
            }
        }
        out.base = Arc::new(base);
        out
    }

    /// Residuals of the cells with these numbers, ascending, from all parts of the counts.
    ///
    /// # Errors
    /// Where a part cannot be read.
    pub fn take(&self, counts: &dyn Parts, cells: &[usize]) -> StageResult<Residuals> {
        let mut parts = Vec::new();
        counts.each(&mut |first, part| {
            let here = of_part(&self.of_cell, first, part);
            let from = cells.partition_point(|&at| at < here.start);
            let to = cells.partition_point(|&at| at < here.end);
            parts.push(self.of(first, part, &cells[from..to]));
            Ok(())
        })?;
        Ok(Residuals::join(parts, self, counts.n_cols()))
    }
}

/// Where the cells of a part of the cohort are among `of_cell`.
fn of_part(of_cell: &[(usize, usize)], first: usize, part: &Csr) -> Range<usize> {
    let place = |row: usize| of_cell.partition_point(|c| c.0 < row);
    place(first)..place(first + part.n_rows())
}

/// Pearson residuals of cells of the included clones.
#[derive(Debug, Clone)]
pub struct Residuals {
    /// Row of each cell in the cohort.
    pub cells: Vec<usize>,
    /// Clone of each cell, as an index into the clones passed to [`Model::new`].
    pub clone_of: Vec<usize>,
    /// Whether each clone's cells show which genes vary together, as the cells of one clone do
    /// ([`CloneId::unplaced`]).
    placed: Arc<Vec<bool>>,
    /// `sqrt(t)` of each cell: relative depth.
    depth: Vec<f64>,
    /// `n / (sqrt(t) sd)`, clipped so that `r <= sqrt(n_cells)`.
    stored: Csr,
    /// `mu / sd`, `[clone][gene]`; 0 for excluded genes.
    base: Arc<Vec<Vec<f64>>>,
}

impl Residuals {
    /// Compute the residuals of all cells of the clones that have an altered gene ([`Model::new`]).
    ///
    /// # Errors
    /// Where a part of the counts cannot be read.
    pub fn new(
        counts: &dyn Parts,
        clones: &[ClonePseudobulk],
        copy: &[Vec<f64>],
    ) -> StageResult<Self> {
        let model = Model::new(counts, clones, copy)?;
        let all: Vec<usize> = (0..model.n_cells()).collect();
        model.take(counts, &all)
    }

    fn join(parts: Vec<Self>, model: &Model<'_>, n_genes: usize) -> Self {
        let mut stored: Vec<&Csr> = parts.iter().map(|p| &p.stored).collect();
        let none = Csr::from_rows(n_genes, Vec::new());
        if stored.is_empty() {
            stored.push(&none);
        }
        let stored = Csr::vstack(&stored);
        Self {
            cells: parts.iter().flat_map(|p| p.cells.iter().copied()).collect(),
            clone_of: parts
                .iter()
                .flat_map(|p| p.clone_of.iter().copied())
                .collect(),
            placed: model.placed.clone(),
            depth: parts.iter().flat_map(|p| p.depth.iter().copied()).collect(),
            stored,
            base: model.base.clone(),
        }
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// Whether cell `i` is placed in a clone, and so used to find which genes vary together.
    pub(crate) fn is_placed(&self, i: usize) -> bool {
        self.placed[self.clone_of[i]]
    }

    /// Keep the cells at `rows`.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            cells: rows.iter().map(|&r| self.cells[r]).collect(),
            clone_of: rows.iter().map(|&r| self.clone_of[r]).collect(),
            placed: self.placed.clone(),
            depth: rows.iter().map(|&r| self.depth[r]).collect(),
            stored: self.stored.take_rows(rows),
            base: self.base.clone(),
        }
    }

    /// `mu / sd` of gene `g` in clone `u`: minus the residual of a zero at the clone's mean depth.
    pub(crate) fn base(&self, u: usize, g: usize) -> f64 {
        self.base[u][g]
    }

    /// `sqrt(t)` of each cell.
    pub(crate) fn depths(&self) -> &[f64] {
        &self.depth
    }

    /// Whether gene `g` has residuals in clone `u`.
    pub fn has(&self, u: usize, g: usize) -> bool {
        self.base[u][g] > 0.0
    }

    /// Multiply the residuals by copy ratios `[clone][gene]` (0 where a gene is not altered), which
    /// gives `S`.
    pub fn signed(&self, copy: &[Vec<f64>]) -> SignedResiduals {
        let rows: Vec<Vec<(u32, f32)>> = (0..self.n_cells())
            .into_par_iter()
            .map(|i| {
                let c = &copy[self.clone_of[i]];
                let (cols, values) = self.stored.row(i);
                cols.iter()
                    .zip(values)
                    .filter(|(g, _)| c[**g as usize] != 0.0)
                    .map(|(&g, &v)| (g, (f64::from(v) * c[g as usize]) as f32))
                    .collect()
            })
            .collect();
        let stored = Csr::from_rows(self.stored.n_cols(), rows);
        let base: Vec<Vec<(u32, f64)>> = self
            .base
            .iter()
            .zip(copy)
            .map(|(b, c)| {
                (0..b.len())
                    .filter(|&g| b[g] * c[g] != 0.0)
                    .map(|g| (g as u32, b[g] * c[g]))
                    .collect()
            })
            .collect();
        SignedResiduals {
            transposed: stored.transpose(),
            stored,
            base,
            clone_of: self.clone_of.clone(),
            depth: self.depth.clone(),
        }
    }

    /// Sum of S over genes divided by |c|, for each profile set `copies[k][clone][gene]` and cell:
    /// `[k][cell]`, 0 where nothing is altered. |c| is taken over the genes that have residuals, so
    /// that a sum of independent residuals has variance near 1.
    pub fn sums(&self, copies: &[Vec<Vec<f64>>]) -> Vec<Vec<f64>> {
        copies
            .iter()
            .map(|copy| {
                let shared: Vec<(f64, f64)> = copy
                    .iter()
                    .zip(&*self.base)
                    .map(|(c, b)| {
                        let norm = c
                            .iter()
                            .zip(b)
                            .filter(|(_, b)| **b > 0.0)
                            .map(|(c, _)| c * c)
                            .sum::<f64>()
                            .sqrt();
                        (c.iter().zip(b).map(|(c, b)| c * b).sum(), norm)
                    })
                    .collect();
                (0..self.n_cells())
                    .into_par_iter()
                    .map(|i| {
                        let (zeros, norm) = shared[self.clone_of[i]];
                        let c = &copy[self.clone_of[i]];
                        let (cols, values) = self.stored.row(i);
                        let sum: f64 = cols
                            .iter()
                            .zip(values)
                            .map(|(&g, &v)| f64::from(v) * c[g as usize])
                            .sum();
                        if norm > 0.0 {
                            (sum - self.depth[i] * zeros) / norm
                        } else {
                            0.0
                        }
                    })
                    .collect()
            })
            .collect()
    }
}

/// Overdispersion of each gene by moments over all cells: `sum((n - mu)^2 - mu) / sum(mu^2)`, mu at the
/// cell's own depth; and the library of each cell.
fn overdispersion(
    counts: &dyn Parts,
    clones: &[ClonePseudobulk],
    of_cell: &[(usize, usize)],
) -> StageResult<(Vec<f64>, Vec<f64>)> {
    let n_genes = counts.n_cols();
    let rate = |u: usize, g: usize| clones[u].counts[g] / clones[u].library;
    let mut squares = vec![0.0; clones.len()];
    let mut sums = vec![0.0; clones.len()];
    let (mut excess, mut scale) = (vec![0.0; n_genes], vec![0.0; n_genes]);
    let mut libraries = Vec::with_capacity(of_cell.len());
    counts.each(&mut |first, part| {
        for &(i, u) in &of_cell[of_part(of_cell, first, part)] {
            let (cols, values) = part.row(i - first);
            let l = values.iter().map(|v| f64::from(*v)).sum::<f64>();
            libraries.push(l);
            squares[u] += l * l;
            sums[u] += l;
            for (&c, &n) in cols.iter().zip(values) {
                let (g, n) = (c as usize, f64::from(n));
                excess[g] += n * n - 2.0 * n * l * rate(u, g);
            }
        }
        Ok(())
    })?;
    for u in (0..clones.len()).filter(|&u| squares[u] > 0.0) {
        for g in 0..n_genes {
            let r = rate(u, g);
            excess[g] += r * r * squares[u] - r * sums[u];
            scale[g] += r * r * squares[u];
        }
    }
    let phi = excess.iter().zip(&scale).map(|(e, s)| {
        if *s > 0.0 {
            (e / s).clamp(LEAST_PHI, MOST_PHI)
        } else {
            LEAST_PHI
        }
    });
    Ok((phi.collect(), libraries))
}

/// `S` as an operator, `n_cells x n_genes`.
#[derive(Debug, Clone)]
pub struct SignedResiduals {
    stored: Csr,
    transposed: Csr,
    base: Vec<Vec<(u32, f64)>>,
    clone_of: Vec<usize>,
    depth: Vec<f64>,
}

impl LinearOperator for SignedResiduals {
    fn n_rows(&self) -> usize {
        self.stored.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.stored.n_cols()
    }

    fn apply(&self, x: &Array2<f64>) -> Array2<f64> {
        let mut out = csr_dot(&self.stored, x);
        let mut shared = Array2::<f64>::zeros((self.base.len(), x.ncols()));
        for (u, base) in self.base.iter().enumerate() {
            for &(g, b) in base {
                shared.row_mut(u).scaled_add(b, &x.row(g as usize));
            }
        }
        for (i, mut row) in out.rows_mut().into_iter().enumerate() {
            row.scaled_add(-self.depth[i], &shared.row(self.clone_of[i]));
        }
        out
    }

    fn apply_t(&self, y: &Array2<f64>) -> Array2<f64> {
        let mut out = csr_dot(&self.transposed, y);
        let mut shared = Array2::<f64>::zeros((self.base.len(), y.ncols()));
        for (i, row) in y.rows().into_iter().enumerate() {
            shared
                .row_mut(self.clone_of[i])
                .scaled_add(self.depth[i], &row);
        }
        for (u, base) in self.base.iter().enumerate() {
            for &(g, b) in base {
                out.row_mut(g as usize).scaled_add(-b, &shared.row(u));
            }
        }
        out
    }
}

impl SignedResiduals {
    /// Squared Frobenius norm, exact: stored entries directly, the others from the rank-one part.
    pub fn squared_norm(&self) -> f64 {
        let all: Vec<f64> = self
            .base
            .iter()
            .map(|b| b.iter().map(|e| e.1 * e.1).sum())
            .collect();
        (0..self.n_rows())
            .map(|i| {
                let (u, t) = (self.clone_of[i], self.depth[i]);
                let (cols, values) = self.stored.row(i);
                let mut sum = t * t * all[u];
                let base = &self.base[u];
                let mut at = 0;
                for (&g, &v) in cols.iter().zip(values) {
                    while base[at].0 < g {
                        at += 1;
                    }
                    let (zero, v) = (t * base[at].1, f64::from(v));
                    sum += (v - zero) * (v - zero) - zero * zero;
                }
                sum
            })
            .sum()
    }

    /// Number of genes with a value in some cell.
    pub fn n_altered(&self) -> usize {
        let mut seen = vec![false; self.n_cols()];
        self.base
            .iter()
            .flatten()
            .for_each(|e| seen[e.0 as usize] = true);
        seen.iter().filter(|s| **s).count()
    }
}
