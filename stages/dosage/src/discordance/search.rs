//! Fits of every hypothesis, the choice among them, and profiles laid elsewhere on the genome to compare
//! with.

use super::likelihood::{Block, Hypothesis, fill, layout};
use super::messages::{Beliefs, Prior, propagate};
use super::panel::{CloneCells, Panel};
use super::params::{DiscordanceParams, Part};
use super::programmes::Programmes;
use super::{logistic, logit};
use crate::dosage::factors::permute_genome;
use clcc_data::error::StageResult;
use clcc_numerics::math;

/// Log evidence from which a set is established: "very strong" on the scale of Kass and Raftery (1995). Where clones
/// are found and not known, their errors alone can bring it to 3.
const LEAST_EVIDENCE: f64 = 5.0;

/// One hypothesis and what it finds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// Share of the dosage response that discordant cells lose.
    pub(super) loss: f64,
    /// Share of the altered genes that the set may be.
    pub(super) gene_share: f64,
    pub(super) beliefs: Beliefs,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Fits of all hypotheses.
    pub(super) fits: Vec<Fit>,
    /// The fit that is reported.
    pub(super) chosen: usize,
    /// The hypothesis of that fit on profiles that were laid elsewhere on the genome.
    pub(super) relaid: Vec<Fit>,
    /// Gene of each of the fits' log odds.
    pub(super) genes: Vec<usize>,
    /// Mean probability of each patient's cells that are in clones; NaN without such cells.
    pub(super) rates: Vec<f64>,
}

impl Found {
    pub(super) fn fit(&self) -> &Fit {
        &self.fits[self.chosen]
    }

    /// Logarithm of the evidence for a set of any of the sizes and losses, each as probable beforehand, against no
    /// set. The largest of several would be above 0 too often.
    pub(super) fn evidence(&self) -> f64 {
        let most = self
            .fits
            .iter()
            .map(|f| f.beliefs.evidence)
            .fold(f64::NEG_INFINITY, f64::max);
        let share = |f: &Fit| math::exp(f.beliefs.evidence - most);
        let mean = self.fits.iter().map(share).sum::<f64>() / self.fits.len() as f64;
        most + math::ln(mean)
    }

    /// Whether the evidence is for a set: above [`LEAST_EVIDENCE`], and in the reported fit above that of every profile laid
    /// elsewhere.
    pub(super) fn established(&self) -> bool {
        let own = self.fit().beliefs.evidence;
        self.evidence() > LEAST_EVIDENCE && self.relaid.iter().all(|f| f.beliefs.evidence < own)
    }
}

/// Fit every hypothesis and choose the one with most evidence; the first of each list where none has any.
/// `None` where no clone has an altered gene. `chromosome` of each gene, empty where unknown. The same bits at any
/// number of threads.
///
/// # Errors
/// What `step` reports, which is called between fits, and the decomposition of the residuals.
pub(super) fn find(
    panel: &Panel,
    chromosome: &[String],
    n_patients: usize,
    params: &DiscordanceParams,
    seed: u64,
    step: &dyn Fn(usize, usize) -> StageResult<()>,
) -> StageResult<Option<Found>> {
    let mut blocks = layout(panel);
    if blocks.is_empty() {
        return Ok(None);
    }
    let total = params.losses.len() * params.gene_shares.len() + params.n_null;
    step(0, total)?;
    let programmes = Programmes::fit(&panel.residuals, panel.n_genes(), params.n_programmes, seed)?;
    let search = Search {
        programmes: &programmes,
        params,
        cell_share: vec![params.cell_share; n_patients],
    };
    let mut fits = Vec::new();
    for &loss in &params.losses {
        search.fill(&mut blocks, panel, loss);
        for &gene_share in &params.gene_shares {
            step(fits.len(), total)?;
            fits.push(search.fit(&mut blocks, panel, loss, gene_share));
        }
    }
    drop(blocks);
    let chosen = choose(&fits);
    let done = |k: usize| step(fits.len() + k, total);
    let relaid = search.relaid(panel, chromosome, &fits[chosen], seed, &done)?;
    Ok(Some(Found {
        rates: rates(panel, &fits[chosen].beliefs, n_patients),
        genes: panel.altered(),
        chosen,
        fits,
        relaid,
    }))
}

/// The fit with most evidence, the first where none has any.
fn choose(fits: &[Fit]) -> usize {
    let mut chosen = 0;
    for (k, fit) in fits.iter().enumerate() {
        if fit.beliefs.evidence > fits[chosen].beliefs.evidence.max(0.0) {
            chosen = k;
        }
    }
    chosen
}

struct Search<'a> {
    programmes: &'a Programmes,
    params: &'a DiscordanceParams,
    /// Share of discordant cells that is expected in each patient.
    cell_share: Vec<f64>,
}

impl Search<'_> {
    /// Fit the hypothesis of `fit` to profiles laid elsewhere on the genome.
    fn relaid(
        &self,
        panel: &Panel,
        chromosome: &[String],
        fit: &Fit,
        seed: u64,
        step: &dyn Fn(usize) -> StageResult<()>,
    ) -> StageResult<Vec<Fit>> {
        let mut out = Vec::new();
        if self.params.n_null == 0 {
            return Ok(out);
        }
        let mut other = panel.clone();
        for k in 0..self.params.n_null {
            step(k)?;
            other.relay(panel, &permute_genome(chromosome, seed, k));
            let mut blocks = layout(&other);
            self.fill(&mut blocks, &other, fit.loss);
            out.push(self.fit(&mut blocks, &other, fit.loss, fit.gene_share));
        }
        Ok(out)
    }

    fn fill(&self, blocks: &mut [Block], panel: &Panel, loss: f64) {
        let hypothesis = Hypothesis {
            loss,
            cell_share: &self.cell_share,
            without: &self.params.without,
        };
        fill(blocks, panel, self.programmes, &hypothesis);
    }

    fn fit(&self, blocks: &mut [Block], panel: &Panel, loss: f64, gene_share: f64) -> Fit {
        let of = |c: &CloneCells| vec![logit(self.cell_share[c.patient as usize]); c.cells.len()];
        let prior = Prior {
            cells: panel.clones.iter().flat_map(of).collect(),
            genes: logit(gene_share),
            cavities: self.params.has(Part::Cavities),
        };
        Fit {
            loss,
            gene_share,
            beliefs: propagate(blocks, &prior),
        }
    }
}

/// Mean probability of each patient's cells that are in clones.
fn rates(panel: &Panel, beliefs: &Beliefs, n_patients: usize) -> Vec<f64> {
    let (mut sum, mut n) = (vec![0.0; n_patients], vec![0.0; n_patients]);
    for clone in panel.clones.iter().filter(|u| u.informs) {
        for i in clone.cells.clone() {
            sum[clone.patient as usize] += logistic(beliefs.cells[i]);
            n[clone.patient as usize] += 1.0;
        }
    }
    sum.iter().zip(&n).map(|(s, n)| s / n).collect()
}
