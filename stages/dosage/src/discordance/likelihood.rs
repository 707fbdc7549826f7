//! What each count says: likelihood ratios of a discordant and of a concordant cell, for a gene of the set,
//! against a gene that follows its dosage.
//!
//! A clone's mean count `mu` of a gene of the set already holds the share p of its discordant cells, who
//! express the gene at `rho = exp(-s c)` of what concordant cells do (c the log copy ratio, s the share of the
//! response that is lost). So concordant cells are expected at `mu / (1 + p (rho - 1))`, and discordant ones at
//! `rho` times that. Counts are negative binomial, around the cell's depth times the mean times what its
//! programmes do to the gene.

use clcc_numerics::math;
use rayon::prelude::*;

use super::panel::{CloneCells, Panel};
use super::params::Part;
use super::programmes::Programmes;

/// Bounds of the log of what programmes do to a gene in a cell.
const OFFSET: (f64, f64) = (-1.5, 2.0);
/// Bounds of a gene's overdispersion.
const DISPERSION: (f64, f64) = (0.01, 10.0);
/// Bound of the log likelihood ratio of one count: an outlier decides nothing alone.
const MOST: f64 = 12.0;
/// Pairs of gene and cell that are one task; whole genes, so it may be more.
const PAIRS_PER_TASK: usize = 1 << 17;

/// The hypothesis that the likelihood ratios are of.
#[derive(Debug, Clone)]
pub(super) struct Hypothesis<'a> {
    /// Share of the dosage response that discordant cells lose.
    pub(super) loss: f64,
    /// Share of discordant cells in each patient.
    pub(super) cell_share: &'a [f64],
    /// Parts of the model that are left out.
    pub(super) without: &'a [Part],
}

/// A clone's cells for one gene.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// First cell.
    pub(super) first: usize,
    /// Whether these cells tell whether the gene is in the set.
    pub(super) informs: bool,
    /// Places in the arrays of the block.
    pub(super) at: std::ops::Range<usize>,
}

/// An altered gene, and the clones that have it altered.
#[derive(Debug, Clone)]
pub(super) struct AlteredGene {
    /// Gene, as a column of the counts.
    pub(super) gene: usize,
    /// Its clones.
    pub(super) runs: Vec<Run>,
}

/// Likelihood ratios and messages of some genes, in single precision.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The genes.
    pub(super) genes: Vec<AlteredGene>,
    /// Likelihood ratio of each pair where the cell is concordant.
    pub(super) concordant: Vec<f32>,
    /// The same where it is discordant.
    pub(super) discordant: Vec<f32>,
    /// Inverse of the odds that the gene sends to the cell.
    pub(super) to_cell: Vec<f32>,
    /// Inverse of the odds that the cell sends to the gene.
    pub(super) to_gene: Vec<f32>,
}

/// Genes of each block: those that follow one another until there are enough pairs. The same at any number of
/// threads.
pub(super) fn layout(panel: &Panel) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut pairs = PAIRS_PER_TASK;
    for gene in panel.altered() {
        if pairs >= PAIRS_PER_TASK {
            out.push(Block {
                genes: Vec::new(),
                concordant: Vec::new(),
                discordant: Vec::new(),
                to_cell: Vec::new(),
                to_gene: Vec::new(),
            });
            pairs = 0;
        }
        let mut runs = Vec::new();
        for u in panel.clones.iter().filter(|u| u.copy[gene] != 0.0) {
            runs.push(Run {
                first: u.cells.start,
                informs: u.informs,
                at: pairs..pairs + u.cells.len(),
            });
            pairs += u.cells.len();
        }
        let block = out.last_mut().expect("one was pushed");
        block.genes.push(AlteredGene { gene, runs });
    }
    for block in &mut out {
        let last = block.genes.last().and_then(|g| g.runs.last());
        let n = last.map_or(0, |r| r.at.end);
        block.concordant = vec![1.0; n];
        block.discordant = vec![1.0; n];
        block.to_cell = vec![1.0; n];
        block.to_gene = vec![1.0; n];
    }
    out
}

/// Fill the likelihood ratios of all blocks.
pub(super) fn fill(
    blocks: &mut [Block],
    panel: &Panel,
    programmes: &Programmes,
    h: &Hypothesis<'_>,
) {
    blocks.par_iter_mut().for_each(|block| {
        let mut expected = Expected::new(panel.n_cells());
        for gene in &block.genes {
            expected.compute(gene.gene, panel, programmes);
            let dispersion = if h.without.contains(&Part::Overdispersion) {
                0.0
            } else {
                expected.dispersion(gene.gene, panel)
            };
            let altered = panel.clones.iter().filter(|u| u.copy[gene.gene] != 0.0);
            for (run, clone) in gene.runs.iter().zip(altered) {
                let share = h.cell_share[clone.patient as usize];
                let [concordant, discordant] = levels(clone.copy[gene.gene], share, h);
                let counts = &expected.counts[clone.cells.clone()];
                let means = &expected.means[clone.cells.clone()];
                for (level, out) in [
                    (concordant, &mut block.concordant[run.at.clone()]),
                    (discordant, &mut block.discordant[run.at.clone()]),
                ] {
                    ratios(counts, means, dispersion, level, &mut expected.logs);
                    out.iter_mut()
                        .zip(&expected.logs)
                        .for_each(|(o, l)| *o = *l as f32);
                }
            }
        }
    });
}

/// Level of a gene of the set in concordant and in discordant cells, relative to the mean of all.
fn levels(copy: f64, share: f64, h: &Hypothesis<'_>) -> [f64; 2] {
    let rho = math::exp(-h.loss * copy);
    let concordant = if h.without.contains(&Part::Shift) {
        1.0
    } else {
        1.0 / (1.0 + share * (rho - 1.0))
    };
    [concordant, concordant * rho]
}

/// Likelihood ratio of each count at `level` times its mean against its mean.
fn ratios(counts: &[f64], means: &[f64], dispersion: f64, level: f64, out: &mut Vec<f64>) {
    log_ratios(counts, means, dispersion, level, MOST, out);
    math::exp_in_place(out);
}

/// Its logarithm, up to `most` in size.
pub(super) fn log_ratios(
    counts: &[f64],
    means: &[f64],
    dispersion: f64,
    level: f64,
    most: f64,
    out: &mut Vec<f64>,
) {
    let log_level = math::ln(level);
    out.clear();
    out.extend(counts.iter().zip(means).map(|(n, m)| {
        let log = if dispersion == 0.0 {
            n * log_level - m * (level - 1.0)
        } else {
            let spread = (1.0 + dispersion * level * m) / (1.0 + dispersion * m);
            n * log_level - (n + 1.0 / dispersion) * math::ln(spread)
        };
        log.clamp(-most, most)
    }));
}

/// Counts and expected counts of one gene in every cell.
pub(super) struct Expected {
    pub(super) counts: Vec<f64>,
    pub(super) means: Vec<f64>,
    logs: Vec<f64>,
}

impl Expected {
    pub(super) fn new(n_cells: usize) -> Self {
        Self {
            counts: vec![0.0; n_cells],
            means: vec![0.0; n_cells],
            logs: Vec::new(),
        }
    }

    pub(super) fn compute(&mut self, gene: usize, panel: &Panel, programmes: &Programmes) {
        self.counts.fill(0.0);
        let (cells, values) = panel.counts.row(gene);
        for (&i, &n) in cells.iter().zip(values) {
            self.counts[i as usize] = f64::from(n);
        }
        for clone in &panel.clones {
            let means = &mut self.means[clone.cells.clone()];
            programmes.offsets(gene, clone.cells.clone(), means);
            expect(clone, gene, &panel.depth[clone.cells.clone()], means);
        }
    }

    /// Overdispersion by moments around the expected counts.
    pub(super) fn dispersion(&self, gene: usize, panel: &Panel) -> f64 {
        let (mut excess, mut square) = (0.0, 0.0);
        for clone in panel.clones.iter().filter(|u| u.mean[gene] > 0.0) {
            for i in clone.cells.clone() {
                let (n, m) = (self.counts[i], self.means[i]);
                excess += (n - m) * (n - m) - m;
                square += m * m;
            }
        }
        if square > 0.0 {
            (excess / square).clamp(DISPERSION.0, DISPERSION.1)
        } else {
            DISPERSION.0
        }
    }
}

/// Turn the programmes' residuals of one gene in one clone's cells into expected counts, whose sum is the
/// clone's.
fn expect(clone: &CloneCells, gene: usize, depth: &[f64], values: &mut [f64]) {
    let (mean, base) = (clone.mean[gene], clone.base[gene]);
    if mean == 0.0 {
        values.fill(0.0);
        return;
    }
    for v in values.iter_mut() {
        *v = (*v / base).clamp(OFFSET.0, OFFSET.1);
    }
    math::exp_in_place(values);
    let total: f64 = values.iter().zip(depth).map(|(m, t)| m * t).sum();
    let sum: f64 = depth.iter().sum();
    for (v, t) in values.iter_mut().zip(depth) {
        *v *= t * mean * sum / total;
    }
}
