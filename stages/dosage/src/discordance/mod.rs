//! Cells that hold back a set of genes while the rest of their clone follows its copy number, and that set.
//!
//! The answer for cells. A two-way model of the raw counts of all malignant cells: a cell is discordant or
//! not, a gene is in the set or not, and where both are, the gene's dosage response is lost by a known share.
//! Programmes of expression that have nothing to do with copy number are taken out first ([`programmes`]),
//! counts are negative binomial ([`likelihood`]), cells and genes are found together by belief propagation
//! ([`messages`]), and Bethe's free energy, compared with that of profiles laid elsewhere on the genome, says
//! whether there is a set at all. Equations, priors, figures and
//! limits: `docs/model.md`.
//!
//! Reads `expr` (raw counts), `cnv` and `clusters` of all patients. A cell that loses the dosage of all altered genes
//! is a normal cell, a doublet or a cell of another clone ([`misplaced`]). One that loses that of one arm cannot be told
//! from a subclone without the alteration.

pub(crate) mod clones;
mod likelihood;
mod messages;
mod misplaced;
mod panel;
mod params;
mod programmes;
mod search;
mod write;

pub use misplaced::Alternative;
pub use params::{DiscordanceParams, Part};

use serde_json::json;

use crate::dosage::{add_malignant, load_cnv};
use clcc_data::error::StageResult;
use clcc_numerics::math;
use clcc_stage::cells::Restrict;
use clcc_stage::cohort::Cohort;
use clcc_stage::roles;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use clones::{CloneOptions, clones};
use panel::Panel;
use search::{Found, find};

/// The stage kind `discordance`.
#[derive(Debug)]
pub struct Discordance;

impl Stage for Discordance {
    type Params = DiscordanceParams;
    const KIND: &'static str = "discordance";
    const TABLES: &'static [TableSpec] = &[
        DiscordanceCellRow::SPEC,
        DiscordanceGeneRow::SPEC,
        DiscordanceRateRow::SPEC,
        DiscordanceFitRow::SPEC,
    ];
    // 1: the first.
    // 2: shares of discordant cells are the patients' own where a set is established; which takes
    // more than twice the evidence of 19 relaid profiles.
    // 3: misplaced cells, a third state.
    const CODE_VERSION: u32 = 3;
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
        let mut cohort = Cohort::load(ctx)?;
        let counts = cohort.test_counts(ctx)?;
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
            exclude_genes: &params.exclude_genes,
        };
        let made = clones(
            ctx,
            &cohort,
            &counts,
            &cnv,
            &chosen,
            options,
            "set can be looked for",
        )?;
        drop(cnv);
        ctx.check_cancelled()?;
        let panel = match made {
            Some(c) => {
                let panel = Panel::new(&counts, &c.pseudobulks, &c.copy)?;
                Some((panel, c.pseudobulks))
            }
            None => None,
        };
        let chromosome = cohort.var.texts("chromosome")?;
        let step = |done: usize, total: usize| {
            ctx.progress.step(done as u64, total as u64, "fits");
            ctx.check_cancelled()
        };
        let found = match &panel {
            Some((panel, _)) => find(
                panel,
                &chromosome,
                cohort.patients.len(),
                params,
                ctx.seed,
                &step,
            )?,
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
    out.insert("evidence".into(), json!(found.evidence()));
    out.insert("evidence_chosen".into(), json!(fit.beliefs.evidence));
    let relaid = found.relaid.iter().map(|f| f.beliefs.evidence);
    if let Some(most) = relaid.reduce(f64::max) {
        out.insert("evidence_relaid".into(), json!(most));
    }
    out.insert("loss".into(), json!(fit.loss));
    out.insert("gene_share".into(), json!(fit.gene_share));
    out.insert("n_cells_scored".into(), json!(found.beliefs().cells.len()));
    out.insert("n_genes_altered".into(), json!(found.beliefs().genes.len()));
    out.insert(
        "n_cells_expected".into(),
        json!(expected(&found.beliefs().cells)),
    );
    out.insert(
        "n_genes_expected".into(),
        json!(expected(&found.beliefs().genes)),
    );
    out.insert(
        "n_cells_misplaced".into(),
        json!(expected(&found.beliefs().misplaced)),
    );
    let settled = found
        .fits
        .iter()
        .chain(&found.relaid)
        .all(|f| f.beliefs.settled);
    out.insert("settled".into(), json!(settled));
    out
}

#[cfg(test)]
mod tests;
