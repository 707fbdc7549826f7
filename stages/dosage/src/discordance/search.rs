//! Fits of every hypothesis, the choice among them, and profiles laid elsewhere on the genome to compare
//! with.

use super::likelihood::{Block, Hypothesis, fill, layout};
use super::messages::{Beliefs, Prior, propagate};
use super::misplaced::Misplaced;
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

/// Share of the evidence that a profile laid elsewhere may reach. A programme of expression that the sparse factors leave
/// makes a set of its own genes wherever the profile lies: in the ovarian set, of ribosomal proteins, with 405 of an
/// evidence of 515. Simulated sets have at most a third of theirs elsewhere (10.2 of 30.1, on hard tumours).
const LAID_ELSEWHERE: f64 = 0.5;

/// Cells' worth of the expected share with which a patient's own share is learnt, and steps at most.
const EXPECTED_CELLS: f64 = 20.0;
const STEPS: usize = 5;

/// One hypothesis and what it finds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// Share of the dosage response that discordant cells lose.
    pub(super) loss: f64,
    /// Share of the altered genes that the set may be.
    pub(super) gene_share: f64,
    pub(super) beliefs: Beliefs,
}

/// The reported hypothesis with a share of discordant cells of each patient's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Learnt {
    /// Share of discordant cells of each patient.
    pub(super) cell_share: Vec<f64>,
    pub(super) beliefs: Beliefs,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Fits of all hypotheses.
    pub(super) fits: Vec<Fit>,
    /// The fit that is reported.
    pub(super) chosen: usize,
    /// The hypothesis of that fit on profiles that were laid elsewhere on the genome: none without evidence, and none
    /// after one with as much.
    pub(super) relaid: Vec<Fit>,
    /// That fit with the patients' own shares, where a set is established and they add evidence.
    pub(super) learnt: Option<Learnt>,
    /// What is known of misplaced cells, whatever the set.
    pub(super) misplaced: Misplaced,
    /// Gene of each of the fits' log odds.
    pub(super) genes: Vec<usize>,
    /// Mean probability of each patient's cells that are in clones; NaN without such cells.
    pub(super) rates: Vec<f64>,
}

impl Found {
    pub(super) fn fit(&self) -> &Fit {
        &self.fits[self.chosen]
    }

    /// What is reported of cells and genes.
    pub(super) fn beliefs(&self) -> &Beliefs {
        match &self.learnt {
            Some(learnt) => &learnt.beliefs,
            None => &self.fit().beliefs,
        }
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

    /// Whether the evidence is for a set: above [`LEAST_EVIDENCE`], and in the reported fit more than twice that of every
    /// profile laid elsewhere. Where programmes of expression remain in the counts, as in every real tumour, the latter
    /// decides.
    pub(super) fn established(&self) -> bool {
        self.evidence() > LEAST_EVIDENCE && self.relaid.iter().all(|f| !rivals(f, self.fit()))
    }
}

/// Whether what was found on a profile laid elsewhere explains too much of the evidence for `own`.
fn rivals(elsewhere: &Fit, own: &Fit) -> bool {
    elsewhere.beliefs.evidence >= LAID_ELSEWHERE * own.beliefs.evidence
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
    let misplaced = Misplaced::weigh(panel, &params.misplaced, params.misplaced_share);
    let search = Search {
        programmes: &programmes,
        misplaced: &misplaced,
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
    let mut found = Found {
        misplaced: misplaced.clone(),
        rates: Vec::new(),
        genes: panel.altered(),
        chosen: choose(&fits),
        fits,
        relaid: Vec::new(),
        learnt: None,
    };
    if found.established() {
        let done = |k: usize| step(found.fits.len() + k, total);
        found.relaid = search.relaid(panel, chromosome, found.fit(), seed, &done)?;
    }
    // Whether there is a set does not depend on what is learnt of it.
    if found.established() {
        found.learnt = search.learn(panel, found.fit());
    }
    found.rates = rates(panel, found.beliefs(), n_patients);
    Ok(Some(found))
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
    misplaced: &'a Misplaced,
    params: &'a DiscordanceParams,
    /// Share of discordant cells that is expected in each patient.
    cell_share: Vec<f64>,
}

impl Search<'_> {
    /// Fit the hypothesis of `fit` to profiles laid elsewhere on the genome, up to the first that [`rivals`] it.
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
            if rivals(&out[k], fit) {
                break;
            }
        }
        Ok(out)
    }

    /// Learn each patient's share of discordant cells (EM), as long as evidence grows.
    fn learn(&self, panel: &Panel, fit: &Fit) -> Option<Learnt> {
        let mut own = Search {
            programmes: self.programmes,
            misplaced: self.misplaced,
            params: self.params,
            cell_share: self.cell_share.clone(),
        };
        let mut blocks = layout(panel);
        let mut learnt: Option<Learnt> = None;
        for _ in 0..STEPS {
            let beliefs = learnt.as_ref().map_or(&fit.beliefs, |l| &l.beliefs);
            own.cell_share = shares(panel, beliefs, &self.cell_share);
            own.fill(&mut blocks, panel, fit.loss);
            let next = own.fit(&mut blocks, panel, fit.loss, fit.gene_share);
            if next.beliefs.evidence <= beliefs.evidence {
                break;
            }
            learnt = Some(Learnt {
                cell_share: own.cell_share.clone(),
                beliefs: next.beliefs,
            });
        }
        learnt
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
            misplaced: self.misplaced.log_odds.clone(),
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

/// Sum of the probabilities of each patient's cells that are in clones, and their number.
fn discordant(panel: &Panel, beliefs: &Beliefs, n_patients: usize) -> Vec<(f64, f64)> {
    let mut out = vec![(0.0, 0.0); n_patients];
    for clone in panel.clones.iter().filter(|u| u.informs) {
        let (sum, n) = &mut out[clone.patient as usize];
        for i in clone.cells.clone() {
            *sum += logistic(beliefs.cells[i]);
            *n += 1.0;
        }
    }
    out
}

/// Mean probability of each patient's cells that are in clones.
fn rates(panel: &Panel, beliefs: &Beliefs, n_patients: usize) -> Vec<f64> {
    let sums = discordant(panel, beliefs, n_patients);
    sums.into_iter().map(|(sum, n)| sum / n).collect()
}

/// The same with some cells more that are discordant at the expected share.
fn shares(panel: &Panel, beliefs: &Beliefs, expected: &[f64]) -> Vec<f64> {
    let sums = discordant(panel, beliefs, expected.len());
    sums.into_iter()
        .zip(expected)
        .map(|((sum, n), p)| (sum + EXPECTED_CELLS * p) / (n + EXPECTED_CELLS))
        .collect()
}
