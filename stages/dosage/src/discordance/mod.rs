//! Cells that hold back a set of genes while the rest of their clone follows its copy number, and that set.
//!
//! The answer for cells. A two-way model of the raw counts of all malignant cells: a cell is discordant or
//! not, a gene is in the set or not, and where both are, the gene's dosage response is lost by a known share.
//! Programmes of expression that have nothing to do with copy number are taken out first ([`programmes`]),
//! counts are negative binomial ([`likelihood`]), cells and genes are found together by belief propagation
//! ([`messages`]), and Bethe's free energy says whether there is a set at all. Equations, priors, figures and
//! limits: `docs/model.md`.
//!
//! Reads `expr` (raw counts), `cnv` and `clusters` of all patients. A cell that loses its dosage cannot be told
//! from a normal cell or a doublet that lies among malignant ones, or from a subclone without the alteration.

pub(crate) mod clones;
mod likelihood;
mod messages;
mod panel;
mod params;
mod programmes;
mod write;

pub use params::{DiscordanceParams, Part};

use serde_json::json;

use crate::dosage::windows::arm_names;
use crate::dosage::{add_malignant, load_cnv};
use clcc_data::error::StageResult;
use clcc_numerics::math;
use clcc_stage::cells::Restrict;
use clcc_stage::cohort::Cohort;
use clcc_stage::roles;
use clcc_stage::rows::{DiscordanceCellRow, DiscordanceGeneRow};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use clones::{CloneOptions, clones};
use likelihood::Hypothesis;
use messages::{Beliefs, Prior, propagate};
use panel::Panel;
use programmes::Programmes;

/// The stage kind `discordance`.
#[derive(Debug)]
pub struct Discordance;

impl Stage for Discordance {
    type Params = DiscordanceParams;
    const KIND: &'static str = "discordance";
    const TABLES: &'static [TableSpec] = &[
        DiscordanceCellRow::SPEC,
        DiscordanceGeneRow::SPEC,
        write::PatientRow::SPEC,
        write::FitRow::SPEC,
    ];
    // 1: the first.
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str =
        "finds the cells that hold back a set of genes, that set, and the evidence for both";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;

    fn reads(_: &DiscordanceParams) -> Vec<Read> {
        vec![
            Read::required(roles::EXPR),
            Read::required(roles::CNV),
            Read::required(roles::CLUSTERS),
        ]
    }

    fn outputs(_: &DiscordanceParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::DISCORDANCE,
                "posterior of each malignant cell and altered gene, rates of the patients, evidence",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &DiscordanceParams) -> StageResult<Metrics> {
        let mut cohort = Cohort::load_test_counts(ctx)?;
        let cnv = load_cnv(ctx, cohort.n_cells())?;
        if params.restrict == Restrict::Malignant {
            add_malignant(ctx, &mut cohort)?;
        }
        let chosen = params.restrict.cancer_cells(&cohort.obs)?;
        let options = CloneOptions {
            group_by: params.group_by,
            strata: params.strata,
            copy_number: params.copy_number,
            min_cells: params.min_cells,
            altered: params.altered,
        };
        let made = clones(
            ctx,
            &cohort,
            &cohort.x,
            &cnv,
            &chosen,
            options,
            "set can be looked for",
        )?;
        drop(cnv);
        ctx.check_cancelled()?;
        let panel = made.map(|c| {
            (
                Panel::new(&cohort.x, &c.pseudobulks, &c.copy),
                c.pseudobulks,
            )
        });
        let arms = arm_names(&cohort.var)?;
        let step = |done: usize, total: usize| {
            ctx.progress.step(done as u64, total as u64, "fits");
            ctx.check_cancelled()
        };
        let found = match &panel {
            Some((panel, _)) => find(panel, &arms, cohort.patients.len(), params, ctx.seed, &step)?,
            None => None,
        };
        let dir = ctx.output(roles::DISCORDANCE);
        write::all(&dir, &cohort, panel.as_ref(), found.as_ref(), params)?;
        if found.is_none() {
            ctx.progress
                .warn("no clone has an altered gene: no cell could be compared with its dosage");
        }
        Ok(metrics(found.as_ref()))
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + math::exp(-x.clamp(-500.0, 500.0)))
}

fn logit(p: f64) -> f64 {
    math::ln(p / (1.0 - p))
}

/// One hypothesis and what it finds.
#[derive(Debug, Clone, PartialEq)]
struct Fit {
    /// Share of the dosage response that discordant cells lose.
    loss: f64,
    /// Share of the altered genes that the set may be.
    gene_share: f64,
    beliefs: Beliefs,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    /// Fits of all hypotheses.
    fits: Vec<Fit>,
    /// The fit that is reported.
    chosen: usize,
    /// Gene of each of its log odds.
    genes: Vec<usize>,
    t: Vec<f64>,
    /// Mean probability of each patient's cells that are in clones; NaN without such cells.
    rates: Vec<f64>,
}

impl Found {
    fn fit(&self) -> &Fit {
        &self.fits[self.chosen]
    }

    /// Whether the evidence is for a set.
    fn established(&self) -> bool {
        self.fit().beliefs.evidence > 0.0
    }
}

/// Fit every hypothesis and choose the one with most evidence; the first of each list where none has any.
/// `None` where no clone has an altered gene. The same bits at any number of threads.
///
/// # Errors
/// What `step` reports, which is called between fits, and the decomposition of the residuals.
fn find(
    panel: &Panel,
    arms: &[String],
    n_patients: usize,
    params: &DiscordanceParams,
    seed: u64,
    step: &dyn Fn(usize, usize) -> StageResult<()>,
) -> StageResult<Option<Found>> {
    let mut blocks = likelihood::layout(panel);
    if blocks.is_empty() {
        return Ok(None);
    }
    let mut programmes =
        Programmes::fit(&panel.residuals, panel.n_genes(), params.n_programmes, seed)?;
    let mut t = Vec::new();
    if params.experiment & 4 == 4 {
        (programmes, t) = programmes.without_dosage(panel, arms, 3.0);
    }
    let cell_share = vec![params.cell_share; n_patients];
    let total = params.losses.len() * params.gene_shares.len();
    let mut fits = Vec::new();
    for &loss in &params.losses {
        let hypothesis = Hypothesis {
            loss,
            cell_share: &cell_share,
            without: &params.without,
            experiment: params.experiment,
        };
        likelihood::fill(&mut blocks, panel, &programmes, &hypothesis);
        for &gene_share in &params.gene_shares {
            step(fits.len(), total)?;
            let prior = Prior {
                cells: vec![logit(params.cell_share); panel.n_cells()],
                genes: logit(gene_share),
                cavities: params.has(Part::Cavities),
            };
            fits.push(Fit {
                loss,
                gene_share,
                beliefs: propagate(&mut blocks, &prior),
            });
        }
    }
    let mut chosen = 0;
    for (k, fit) in fits.iter().enumerate() {
        let best = fits[chosen].beliefs.evidence;
        if fit.beliefs.evidence > best.max(0.0) {
            chosen = k;
        }
    }
    if params.experiment & 2 == 2 {
        for _ in 0..4 {
            let best = fits[chosen].clone();
            let found = rates(panel, &best.beliefs, n_patients);
            let share: Vec<f64> = found
                .iter()
                .map(|r| {
                    if r.is_finite() {
                        r.clamp(0.02, 0.6)
                    } else {
                        params.cell_share
                    }
                })
                .collect();
            let hypothesis = Hypothesis {
                loss: best.loss,
                cell_share: &share,
                without: &params.without,
                experiment: params.experiment,
            };
            likelihood::fill(&mut blocks, panel, &programmes, &hypothesis);
            let of = |c: &panel::CloneCells| vec![logit(share[c.patient as usize]); c.cells.len()];
            let prior = Prior {
                cells: panel.clones.iter().flat_map(of).collect(),
                genes: logit(best.gene_share),
                cavities: params.has(Part::Cavities),
            };
            let beliefs = propagate(&mut blocks, &prior);
            let better = beliefs.evidence > best.beliefs.evidence.max(0.0);
            fits.push(Fit { beliefs, ..best });
            if !better {
                break;
            }
            chosen = fits.len() - 1;
        }
    }
    Ok(Some(Found {
        t,
        rates: rates(panel, &fits[chosen].beliefs, n_patients),
        chosen,
        fits,
        genes: panel.altered(),
    }))
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

fn metrics(found: Option<&Found>) -> Metrics {
    let mut out = Metrics::new();
    out.insert(
        "established".into(),
        json!(found.is_some_and(Found::established)),
    );
    let Some(found) = found else {
        out.insert("n_cells_scored".into(), json!(0));
        return out;
    };
    let fit = found.fit();
    let expected = |odds: &[f64]| odds.iter().map(|&l| logistic(l)).sum::<f64>();
    out.insert("evidence".into(), json!(fit.beliefs.evidence));
    out.insert("t".into(), json!(found.t));
    out.insert("loss".into(), json!(fit.loss));
    out.insert("gene_share".into(), json!(fit.gene_share));
    out.insert("n_cells_scored".into(), json!(fit.beliefs.cells.len()));
    out.insert("n_genes_altered".into(), json!(fit.beliefs.genes.len()));
    out.insert(
        "n_cells_expected".into(),
        json!(expected(&fit.beliefs.cells)),
    );
    out.insert(
        "n_genes_expected".into(),
        json!(expected(&fit.beliefs.genes)),
    );
    let settled = found.fits.iter().all(|f| f.beliefs.settled);
    out.insert("settled".into(), json!(settled));
    out
}

#[cfg(test)]
mod tests;
