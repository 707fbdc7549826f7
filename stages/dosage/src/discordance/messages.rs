//! Belief propagation between cells and genes, and the evidence that there is a set at all.
//!
//! Cell i is discordant (`z_i = 1`) with a prior probability of its own, gene g is in the set (`q_g = 1`)
//! with the same one for all; a pair's likelihood ratio is 1 where the gene is not in the set, else `e0` or
//! `e1` by the cell ([`super::likelihood`]). A gene's message to a cell are the odds
//!
//! `M = (1 + q (e1 - 1)) / (1 + q (e0 - 1))`, with q the gene's probability by all other cells,
//!
//! and a cell's message to a gene `N = e0 + z (e1 - e0)`, with z the cell's probability by all other genes.
//! That what the receiver said is left out (the cavity) is what keeps a gene from being found by cells that it
//! helped to find. Both start from 1, so nothing is assumed of which genes or cells; every message is the
//! geometric mean of its new and its previous value.
//!
//! A cell may be neither ([`super::misplaced`]): then no count depends on the set, and all that is known of this
//! third state is one weight of the cell, r relative to a concordant one. The gene says nothing of it, so that only
//! the cell's message changes, to `(e0 + z e1 + r) / (1 + z + r)` with z and r as cavity odds against concordant:
//! where r is large, the cell tells nothing.
//!
//! Messages are kept as inverse odds in single precision, so that a step takes one division and one square
//! root and no exponential; products of them are taken in double precision and their logarithms added up
//! before they could overflow. All sums are in a fixed order.

use clcc_numerics::math;
use rayon::prelude::*;

use super::likelihood::Block;
use super::logistic;

/// Fewest and most rounds.
const ROUNDS: (usize, usize) = (60, 150);
/// Rounds in which no cell is misplaced yet: a set of half of the genes is first found, and then weighed against its
/// cells' being doublets, which lose half of the dosage of all genes; the other way round its cells would say nothing.
pub(super) const NONE_MISPLACED: usize = 30;
/// Largest change of a gene's probability at which messages have settled.
const SETTLED: f64 = 1e-3;
/// Bound of log odds where they become single precision: with the messages' own bounds, of 24 and 12, no
/// product of theirs overflows.
const MOST_LOG_ODDS: f64 = 40.0;
/// Odds of up to exp(24) that are multiplied before their logarithm is taken.
const PER_LOG: usize = 24;
/// Products that run side by side.
const LANES: usize = 16;

/// Prior log odds, and whether messages leave out the receiver's own.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    /// Of each cell: discordant against concordant.
    pub(super) cells: Vec<f64>,
    /// Of each cell: misplaced against in its clone, with what its counts say of that.
    pub(super) misplaced: Vec<f64>,
    /// Of each gene.
    pub(super) genes: f64,
    /// Whether messages leave the receiver's own contribution out.
    pub(super) cavities: bool,
}

/// Beliefs when messages have settled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beliefs {
    /// Log odds of each cell to be discordant.
    pub(super) cells: Vec<f64>,
    /// Log odds of each cell to be misplaced.
    pub(super) misplaced: Vec<f64>,
    /// Log odds of each altered gene, in the order of the blocks.
    pub(super) genes: Vec<f64>,
    /// Logarithm of the evidence against an empty set, by Bethe's free energy.
    pub(super) evidence: f64,
    /// Rounds of messages.
    pub(super) rounds: usize,
    /// Whether messages settled within the most rounds.
    pub(super) settled: bool,
}

/// Pass messages until they settle. The messages of `blocks` are set back first.
pub(super) fn propagate(blocks: &mut [Block], prior: &Prior) -> Beliefs {
    for block in blocks.iter_mut() {
        block.to_cell.fill(1.0);
        block.to_gene.fill(1.0);
    }
    let n_genes: usize = blocks.iter().map(|b| b.genes.len()).sum();
    let mut genes = vec![prior.genes; n_genes];
    let mut cells = Cells::default();
    let (mut rounds, mut settled) = (0, false);
    let none_misplaced = Prior {
        misplaced: vec![f64::NEG_INFINITY; prior.cells.len()],
        ..prior.clone()
    };
    while rounds < ROUNDS.1 && !settled {
        let damped = rounds > 0;
        let prior = if rounds < NONE_MISPLACED {
            &none_misplaced
        } else {
            prior
        };
        cells = to_cells(blocks, &genes, prior, damped);
        let next = to_genes(blocks, &cells, &genes, prior, damped);
        let moves = next
            .iter()
            .zip(&genes)
            .map(|(a, b)| (logistic(*a) - logistic(*b)).abs());
        let moved = moves.fold(0.0, f64::max);
        genes = next;
        rounds += 1;
        settled = rounds >= ROUNDS.0 && moved < SETTLED;
    }
    Beliefs {
        evidence: evidence(blocks, &cells, &genes, prior),
        cells: cells.discordant_log_odds(),
        misplaced: cells.misplaced_log_odds(),
        genes,
        rounds,
        settled,
    }
}

/// Log odds of each cell against its being concordant.
#[derive(Debug, Default)]
struct Cells {
    discordant: Vec<f64>,
    misplaced: Vec<f64>,
}

impl Cells {
    /// From the sums of genes' messages: of a discordant against a concordant cell, and of a concordant one.
    fn new(prior: &Prior, discordant: Vec<f64>, concordant: &[f64]) -> Self {
        let of = |i: usize| prior.misplaced[i] - log_shares(prior.cells[i]).1 - concordant[i];
        Self {
            misplaced: (0..concordant.len()).map(of).collect(),
            discordant,
        }
    }

    fn discordant_log_odds(&self) -> Vec<f64> {
        let pairs = self.discordant.iter().zip(&self.misplaced);
        pairs.map(|(d, m)| d - log_sum(0.0, *m)).collect()
    }

    fn misplaced_log_odds(&self) -> Vec<f64> {
        let pairs = self.discordant.iter().zip(&self.misplaced);
        pairs.map(|(d, m)| m - log_sum(0.0, *d)).collect()
    }
}

/// First gene of each block.
fn starts(blocks: &[Block]) -> Vec<usize> {
    let mut at = 0;
    let next = |b: &Block| {
        at += b.genes.len();
        at - b.genes.len()
    };
    blocks.iter().map(next).collect()
}

fn odds(log: f64) -> f32 {
    math::exp(log.clamp(-MOST_LOG_ODDS, MOST_LOG_ODDS)) as f32
}

/// Add the blocks' sums, block by block.
fn total<'a>(start: &[f64], parts: impl Iterator<Item = &'a Vec<f64>>, sign: f64) -> Vec<f64> {
    let mut out = start.to_vec();
    for part in parts {
        out.iter_mut().zip(part).for_each(|(o, p)| *o += sign * p);
    }
    out
}

/// Send every gene's messages; returns the cells' log odds.
fn to_cells(blocks: &mut [Block], genes: &[f64], prior: &Prior, damped: bool) -> Cells {
    let starts = starts(blocks);
    let n_cells = prior.cells.len();
    let arch = math::vectors();
    let parts: Vec<[Vec<f64>; 2]> = blocks
        .par_iter_mut()
        .zip(starts)
        .map(|(block, start)| {
            let mut sums = [Products::new(n_cells), Products::new(n_cells)];
            let Block {
                genes: of,
                concordant,
                discordant,
                to_cell,
                to_gene,
            } = block;
            for (k, gene) in of.iter().enumerate() {
                sums.iter_mut().for_each(Products::next);
                let [product, of_concordant] = &mut sums;
                for run in &gene.runs {
                    let n = run.at.len();
                    arch.dispatch(ToCells {
                        odds: odds(genes[start + k]),
                        cavities: prior.cavities,
                        damped,
                        concordant: &concordant[run.at.clone()],
                        discordant: &discordant[run.at.clone()],
                        to_gene: &to_gene[run.at.clone()],
                        to_cell: &mut to_cell[run.at.clone()],
                        product: &mut product.products[run.first..run.first + n],
                        of_concordant: &mut of_concordant.products[run.first..run.first + n],
                    });
                }
            }
            sums.map(Products::logs)
        })
        .collect();
    let discordant = total(&prior.cells, parts.iter().map(|p| &p[0]), -1.0);
    let concordant = total(&vec![0.0; n_cells], parts.iter().map(|p| &p[1]), 1.0);
    Cells::new(prior, discordant, &concordant)
}

/// Send every cell's messages; returns the genes' log odds. `genes` as they were when they sent theirs.
fn to_genes(
    blocks: &mut [Block],
    cells: &Cells,
    genes: &[f64],
    prior: &Prior,
    damped: bool,
) -> Vec<f64> {
    let starts = starts(blocks);
    let of_discordant: Vec<f32> = cells.discordant.iter().map(|&l| odds(l)).collect();
    let of_misplaced: Vec<f32> = cells.misplaced.iter().map(|&l| odds(l)).collect();
    let arch = math::vectors();
    let parts: Vec<Vec<f64>> = blocks
        .par_iter_mut()
        .zip(starts)
        .map(|(block, start)| {
            let Block {
                genes: of,
                concordant,
                discordant,
                to_cell,
                to_gene,
            } = block;
            let of_gene = |(k, gene): (usize, &super::likelihood::AlteredGene)| {
                let mut sum = prior.genes;
                for run in gene.runs.iter().filter(|r| r.informs) {
                    let own = run.first..run.first + run.at.len();
                    sum -= arch.dispatch(ToGene {
                        gene: odds(genes[start + k]),
                        odds: &of_discordant[own.clone()],
                        misplaced: &of_misplaced[own],
                        cavities: prior.cavities,
                        damped,
                        concordant: &concordant[run.at.clone()],
                        discordant: &discordant[run.at.clone()],
                        to_cell: &to_cell[run.at.clone()],
                        to_gene: &mut to_gene[run.at.clone()],
                    });
                }
                sum
            };
            of.iter().enumerate().map(of_gene).collect()
        })
        .collect();
    parts.concat()
}

/// Products over genes, one for each cell, whose logarithms are added up in time.
struct Products {
    products: Vec<f64>,
    sums: Vec<f64>,
    taken: usize,
}

impl Products {
    fn new(n: usize) -> Self {
        Self {
            products: vec![1.0; n],
            sums: vec![0.0; n],
            taken: 0,
        }
    }

    /// Make room for another factor.
    fn next(&mut self) {
        self.taken += 1;
        if self.taken > PER_LOG {
            self.flush();
            self.taken = 1;
        }
    }

    fn flush(&mut self) {
        for (s, p) in self.sums.iter_mut().zip(&mut self.products) {
            if *p != 1.0 {
                *s += math::ln(*p);
                *p = 1.0;
            }
        }
    }

    fn logs(mut self) -> Vec<f64> {
        self.flush();
        self.sums
    }
}

/// Messages of one gene to the cells of one clone.
struct ToCells<'a> {
    odds: f32,
    cavities: bool,
    damped: bool,
    concordant: &'a [f32],
    discordant: &'a [f32],
    to_gene: &'a [f32],
    to_cell: &'a mut [f32],
    product: &'a mut [f64],
    of_concordant: &'a mut [f64],
}

/// What a gene in the set with odds `q` says of a concordant cell, against a misplaced one.
#[inline(always)]
fn of_concordant(q: f32, e0: f32) -> f32 {
    (1.0 + q * e0) / (1.0 + q)
}

impl pulp::WithSimd for ToCells<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let n = self.to_cell.len();
        let (e0, e1, from) = (
            &self.concordant[..n],
            &self.discordant[..n],
            &self.to_gene[..n],
        );
        let product = &mut self.product[..n];
        let concordant = &mut self.of_concordant[..n];
        for i in 0..n {
            let q = if self.cavities {
                self.odds * from[i]
            } else {
                self.odds
            };
            let mut inverse = (1.0 + q * e0[i]) / (1.0 + q * e1[i]);
            if self.damped {
                inverse = (self.to_cell[i] * inverse).sqrt();
            }
            self.to_cell[i] = inverse;
            product[i] *= f64::from(inverse);
            concordant[i] *= f64::from(of_concordant(q, e0[i]));
        }
    }
}

/// Messages of one clone's cells to one gene; returns the sum of their logarithms, inverted.
struct ToGene<'a> {
    gene: f32,
    odds: &'a [f32],
    misplaced: &'a [f32],
    cavities: bool,
    damped: bool,
    concordant: &'a [f32],
    discordant: &'a [f32],
    to_cell: &'a [f32],
    to_gene: &'a mut [f32],
}

impl pulp::WithSimd for ToGene<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> f64 {
        let n = self.to_gene.len();
        let (e0, e1, from) = (
            &self.concordant[..n],
            &self.discordant[..n],
            &self.to_cell[..n],
        );
        let (odds, misplaced) = (&self.odds[..n], &self.misplaced[..n]);
        let mut sum = 0.0;
        for start in (0..n).step_by(LANES * PER_LOG) {
            let end = (start + LANES * PER_LOG).min(n);
            let mut products = [1.0f64; LANES];
            let mut at = start;
            while at < end {
                let lanes = LANES.min(end - at);
                for lane in 0..lanes {
                    let i = at + lane;
                    let (mut z, mut r) = (odds[i], misplaced[i]);
                    if self.cavities {
                        z *= from[i];
                        // The gene's message as it was sent: its answer is written only after this.
                        r *= of_concordant(self.gene * self.to_gene[i], e0[i]);
                    }
                    let mut inverse = (1.0 + z + r) / (e0[i] + z * e1[i] + r);
                    if self.damped {
                        inverse = (self.to_gene[i] * inverse).sqrt();
                    }
                    self.to_gene[i] = inverse;
                    products[lane] *= f64::from(inverse);
                }
                at += lanes;
            }
            for p in products {
                sum += math::ln(p);
            }
        }
        sum
    }
}

/// ln(exp(a) + exp(b)).
fn log_sum(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        return high;
    }
    high + math::ln_1p(math::exp(low - high))
}

/// ln p and ln(1 - p) by the log odds.
fn log_shares(log_odds: f64) -> (f64, f64) {
    (-log_sum(0.0, -log_odds), -log_sum(0.0, log_odds))
}

/// Bethe's approximation of the log evidence, 0 for a model without a set:
///
/// `sum_i ln[(1-p) prod_g (1 + q (e0-1)) + p prod_g (1 + q (e1-1))] + sum_g ln[1-pi + pi prod_i (e0 + z (e1-e0))]
/// - sum_ig ln[1 - q + q (e0 + z (e1-e0))]`
///
/// with the cavity probabilities of cells and genes, and misplaced cells in the first sum and in `e0 + z (e1-e0)`; less
/// what they have without a set, `sum_i ln(1 + o)` with o their prior odds. Exact on a tree (Yedidia, Freeman and Weiss
/// 2005).
fn evidence(blocks: &[Block], cells: &Cells, genes: &[f64], prior: &Prior) -> f64 {
    let n_cells = prior.cells.len();
    let of = |odds_of: &[f64]| odds_of.iter().map(|&l| f64::from(odds(l))).collect();
    let cell_odds: [Vec<f64>; 2] = [of(&cells.discordant), of(&cells.misplaced)];
    let starts = starts(blocks);
    let parts: Vec<Evidence> = blocks
        .par_iter()
        .zip(starts)
        .map(|(block, start)| Evidence::of(block, &genes[start..], &cell_odds, prior))
        .collect();
    let mut sums = [vec![0.0; n_cells], vec![0.0; n_cells], vec![0.0; n_cells]];
    let mut of_genes = 0.0;
    for part in &parts {
        for (sum, part) in sums.iter_mut().zip(&part.cells) {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        }
        of_genes += part.genes;
    }
    let [concordant, discordant, pairs] = &sums;
    let of_cells: f64 = (0..n_cells)
        .map(|i| {
            let (p, rest) = log_shares(prior.cells[i]);
            let in_clone = log_sum(rest + concordant[i], p + discordant[i]);
            let misplaced = prior.misplaced[i];
            log_sum(in_clone, misplaced) - log_sum(0.0, misplaced) - pairs[i]
        })
        .sum();
    of_cells + of_genes
}

/// Terms of the evidence from one block.
struct Evidence {
    /// Sums over genes for each cell: concordant, discordant, pairs.
    cells: [Vec<f64>; 3],
    genes: f64,
}

impl Evidence {
    fn of(block: &Block, genes: &[f64], cell_odds: &[Vec<f64>; 2], prior: &Prior) -> Self {
        let [discordant, misplaced] = cell_odds;
        let n = discordant.len();
        let mut sums = [Products::new(n), Products::new(n), Products::new(n)];
        let (of_share, of_rest) = log_shares(prior.genes);
        let mut of_genes = 0.0;
        for (gene, &log_odds) in block.genes.iter().zip(genes) {
            sums.iter_mut().for_each(Products::next);
            let own = f64::from(odds(log_odds));
            let mut product = 0.0;
            for run in gene.runs.iter().filter(|r| r.informs) {
                for (at, i) in run.at.clone().zip(run.first..) {
                    let (e0, e1) = (
                        f64::from(block.concordant[at]),
                        f64::from(block.discordant[at]),
                    );
                    let (mut q, mut z, mut r) = (own, discordant[i], misplaced[i]);
                    if prior.cavities {
                        q *= f64::from(block.to_gene[at]);
                        z *= f64::from(block.to_cell[at]);
                        r *= (1.0 + q * e0) / (1.0 + q);
                    }
                    let expected = (e0 + z * e1 + r) / (1.0 + z + r);
                    product += math::ln(expected);
                    for (sum, value) in sums.iter_mut().zip([e0, e1, expected]) {
                        sum.products[i] *= (1.0 + q * value) / (1.0 + q);
                    }
                }
            }
            of_genes += log_sum(of_rest, of_share + product);
        }
        Self {
            cells: sums.map(Products::logs),
            genes: of_genes,
        }
    }
}
