//! Cells that do not have their clone's copy number: normal cells, doublets of a malignant and a normal cell, cells of
//! another clone of the patient.
//!
//! Such a cell loses the dosage of every altered gene, where a discordant one loses that of the set alone. It is a
//! third state of a cell beside concordant and discordant, in which no count depends on which genes are in the set; so
//! it is one weight of each cell, computed once: the prior share of misplaced cells times the mean over alternatives of
//! the likelihood of all its counts, against the clone's own copy number.
//!
//! With c the clone's log copy ratio, a gene of a normal cell or a doublet is expected at `f + (1 - f) exp(-c)` times
//! what the clone says, where f is the malignant share of the counts: 0 or, with ambient RNA, up to 1/4 in a normal cell,
//! 1/2 or 3/4 in a doublet. In a cell of another clone, with c', it is `exp(c' - c)`. All genes are scaled so that the sum
//! is what it was: a cell's depth is by its own counts. Programmes are not taken out: they take misplaced cells for one.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::likelihood::{Expected, log_ratios};
use super::logit;
use super::panel::{CloneCells, Panel};
use super::programmes::Programmes;
use clcc_numerics::math;

/// What a cell may be that does not have its clone's copy number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// A cell without any alteration.
    Normal,
    /// A malignant and a normal cell in one droplet.
    Doublet,
    /// A cell of another clone of the same patient.
    OtherClone,
}

/// Malignant shares of the counts of a normal cell, whose ambient RNA is in part of malignant ones, and of a doublet.
const OF_NORMAL: [f64; 2] = [0.0, 0.25];
const OF_DOUBLET: [f64; 2] = [0.5, 0.75];
/// Bound of the log likelihood ratio of one count. Measured: 2 and 12 find the same cells.
const MOST: f64 = 4.0;
/// Genes whose sums are added up together.
const GENES_PER_TASK: usize = 512;

/// What is known of each cell's being misplaced, whatever the set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Misplaced {
    /// Log odds of each cell of the panel, `-inf` where nothing is an alternative.
    pub(super) log_odds: Vec<f64>,
    /// The likeliest alternative of each cell: index into the pseudobulks for another clone.
    pub(super) likeliest: Vec<Option<(Alternative, usize)>>,
}

/// One alternative to a clone's own copy number.
struct Candidate {
    what: (Alternative, usize),
    log_share: f64,
    /// What the alternative expresses of each gene relative to the clone.
    level: Vec<f64>,
}

impl Misplaced {
    /// No cell is.
    pub(super) fn none(n_cells: usize) -> Self {
        Self {
            log_odds: vec![f64::NEG_INFINITY; n_cells],
            likeliest: vec![None; n_cells],
        }
    }

    /// Weigh every alternative for every cell; together they have the `share` of the cells beforehand. The same bits at
    /// any number of threads.
    pub(super) fn weigh(panel: &Panel, alternatives: &[Alternative], share: f64) -> Self {
        let candidates: Vec<Vec<Candidate>> = panel
            .clones
            .iter()
            .map(|clone| candidates(panel, clone, alternatives))
            .collect();
        let n_most = candidates.iter().map(Vec::len).max().unwrap_or(0);
        let n_cells = panel.n_cells();
        let mut out = Self::none(n_cells);
        if n_most == 0 || share == 0.0 {
            return out;
        }
        let genes: Vec<usize> = (0..panel.n_genes()).collect();
        let parts: Vec<Vec<f64>> = genes
            .par_chunks(GENES_PER_TASK)
            .map(|genes| sums(panel, &candidates, genes, n_most))
            .collect();
        let mut total = vec![0.0; n_most * n_cells];
        for part in &parts {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        for (clone, candidates) in panel.clones.iter().zip(&candidates) {
            for i in clone.cells.clone() {
                let logs: Vec<f64> = (0..candidates.len())
                    .map(|k| candidates[k].log_share + total[k * n_cells + i])
                    .collect();
                let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if let Some(k) = logs.iter().position(|l| *l == most) {
                    let sum: f64 = logs.iter().map(|l| math::exp(l - most)).sum();
                    out.log_odds[i] = logit(share) + most + math::ln(sum);
                    out.likeliest[i] = Some(candidates[k].what);
                }
            }
        }
        out
    }
}

/// Alternatives of one clone, each kind as probable as the others.
fn candidates(panel: &Panel, clone: &CloneCells, of: &[Alternative]) -> Vec<Candidate> {
    let own = clone.profile();
    let kinds: Vec<Vec<(usize, Vec<f64>)>> = of
        .iter()
        .map(|kind| match kind {
            Alternative::Normal => diluted(own, &OF_NORMAL),
            Alternative::Doublet => diluted(own, &OF_DOUBLET),
            Alternative::OtherClone => panel
                .clones
                .iter()
                .filter(|o| o.patient == clone.patient && o.index != clone.index && o.informs)
                .map(|other| {
                    let pairs = other.profile().iter().zip(own);
                    (other.index, pairs.map(|(o, c)| math::exp(o - c)).collect())
                })
                .collect(),
        })
        .collect();
    let n_kinds = kinds.iter().filter(|k| !k.is_empty()).count() as f64;
    let mut out = Vec::new();
    for (kind, levels) in of.iter().zip(kinds) {
        let n = levels.len() as f64;
        for (index, level) in levels {
            out.push(Candidate {
                what: (*kind, index),
                log_share: -math::ln(n_kinds * n),
                level: scaled(clone, level),
            });
        }
    }
    out
}

/// What cells with these malignant shares of their counts express, relative to malignant ones.
fn diluted(own: &[f64], shares: &[f64]) -> Vec<(usize, Vec<f64>)> {
    let of = |f: &f64| own.iter().map(|c| f + (1.0 - f) * math::exp(-c)).collect();
    shares.iter().map(|f| (0, of(f))).collect()
}

/// Levels with the same sum of counts as the clone.
fn scaled(clone: &CloneCells, mut level: Vec<f64>) -> Vec<f64> {
    let (mut before, mut after) = (0.0, 0.0);
    for (mean, level) in clone.mean.iter().zip(&level) {
        before += mean;
        after += mean * level;
    }
    level.iter_mut().for_each(|l| *l *= before / after);
    level
}

/// Sums over some genes of the log likelihood ratios, `[candidate][cell]`.
fn sums(panel: &Panel, candidates: &[Vec<Candidate>], genes: &[usize], n_most: usize) -> Vec<f64> {
    let n_cells = panel.n_cells();
    let mut out = vec![0.0; n_most * n_cells];
    let mut expected = Expected::new(n_cells);
    let programmes = Programmes::none(n_cells, panel.n_genes());
    let mut logs = Vec::new();
    for &g in genes {
        if panel.clones.iter().all(|u| u.mean[g] == 0.0) {
            continue;
        }
        expected.compute(g, panel, &programmes);
        let dispersion = expected.dispersion(g, panel);
        for (clone, candidates) in panel.clones.iter().zip(candidates) {
            if clone.mean[g] == 0.0 {
                continue;
            }
            let counts = &expected.counts[clone.cells.clone()];
            let means = &expected.means[clone.cells.clone()];
            for (k, candidate) in candidates.iter().enumerate() {
                log_ratios(
                    counts,
                    means,
                    dispersion,
                    candidate.level[g],
                    MOST,
                    &mut logs,
                );
                let own = &mut out[k * n_cells..][clone.cells.clone()];
                own.iter_mut().zip(&logs).for_each(|(o, l)| *o += l);
            }
        }
    }
    out
}
