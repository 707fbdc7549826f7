//! Tables of `discordance`.

use std::path::Path;

use super::Alternative;
use super::logistic;
use super::panel::Panel;
use super::params::DiscordanceParams;
use super::search::{Fit, Found};
use crate::dosage::clones::ClonePseudobulk;
use clcc_data::error::StageResult;
use clcc_stage::cohort::Cohort;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
use clcc_stage::tables::Table;

/// Write all tables; without `found` they have no rows.
pub(super) fn all(
    dir: &Path,
    cohort: &Cohort,
    panel: Option<&(Panel, Vec<ClonePseudobulk>)>,
    found: Option<&Found>,
    params: &DiscordanceParams,
) -> StageResult<()> {
    let both = panel.zip(found);
    let cells = both.map(|((panel, clones), found)| cell_rows(cohort, panel, clones, found));
    let genes = both.map(|((panel, _), found)| gene_rows(cohort, panel, found));
    let patients = both.map(|((panel, _), found)| patient_rows(cohort, panel, found, params));
    let verdict = verdict(found);
    Table::new(cells.unwrap_or_default())
        .note("malignant cells: does the cell hold back the genes of discordance_genes.tsv while its clone follows its copy number")
        .note(&verdict)
        .note(format!("a share of {} of a clone's cells is expected to be discordant; where a set is established, of each patient its own (discordance_patients.tsv)", params.cell_share))
        .write(dir)?;
    Table::new(genes.unwrap_or_default())
        .note("altered genes: is the gene one that discordant cells hold back")
        .note(&verdict)
        .write(dir)?;
    Table::new(patients.unwrap_or_default())
        .note(&verdict)
        .write(dir)?;
    Table::new(found.map(fit_rows).unwrap_or_default())
        .note("every loss and share of genes that was tried; where no fit has evidence, cells and genes are ranked by the first")
        .note(&verdict)
        .keep(["established"])
        .write(dir)
}

fn verdict(found: Option<&Found>) -> String {
    let Some(found) = found else {
        return "no clone has an altered gene: nothing could be compared".to_string();
    };
    let of = |fit: &Fit| format!("{:.1}", fit.beliefs.evidence);
    let mut evidence = format!(
        "{:.1}, of the reported fit {}",
        found.evidence(),
        of(found.fit())
    );
    if !found.relaid.is_empty() {
        let relaid: Vec<String> = found.relaid.iter().map(of).collect();
        evidence = format!("{evidence}, on relaid profiles {}", relaid.join(", "));
    }
    if found.established() {
        format!("established: yes (evidence {evidence})")
    } else {
        format!(
            "established: no (evidence {evidence}): probabilities are those under the hypothesis that there is a set; ranks may be of use, calls are not"
        )
    }
}

/// In the order of the cohort.
fn cell_rows(
    cohort: &Cohort,
    panel: &Panel,
    clones: &[ClonePseudobulk],
    found: &Found,
) -> Vec<DiscordanceCellRow> {
    let clone_of = panel.clone_of();
    let mut order: Vec<usize> = (0..panel.n_cells()).collect();
    order.sort_by_key(|&i| panel.cells[i]);
    let row = |i: usize| {
        let cell = panel.cells[i];
        let log_odds = found.beliefs().cells[i];
        let prob_misplaced = logistic(found.beliefs().misplaced[i]);
        let clone = &panel.clones[clone_of[i]];
        DiscordanceCellRow {
            cell: cohort.obs.index[cell].clone(),
            patient: cohort.patients[cohort.patient_of[cell] as usize].clone(),
            clone: clones[clone.index].id.group.clone(),
            informs: clone.informs,
            prob_discordant: logistic(log_odds),
            log_odds,
            prob_misplaced,
            misplaced_as: (prob_misplaced >= 0.5).then(|| misplaced_as(found, clones, i)),
        }
    };
    order.into_iter().map(row).collect()
}

/// What a misplaced cell is.
fn misplaced_as(found: &Found, clones: &[ClonePseudobulk], i: usize) -> String {
    match found.misplaced.likeliest[i] {
        Some((Alternative::Normal, _)) | None => "normal".to_string(),
        Some((Alternative::Doublet, _)) => "doublet".to_string(),
        Some((Alternative::OtherClone, u)) => clones[u].id.group.clone(),
    }
}

/// Altered genes in genome order.
fn gene_rows(cohort: &Cohort, panel: &Panel, found: &Found) -> Vec<DiscordanceGeneRow> {
    let row = |(&g, &log_odds): (&usize, &f64)| {
        let of = || panel.clones.iter().filter(|u| u.copy[g] != 0.0);
        let n_cells: usize = of().map(|u| u.cells.len()).sum();
        let sum: f64 = of().map(|u| u.copy[g] * u.cells.len() as f64).sum();
        DiscordanceGeneRow {
            names: cohort.var.index[g].clone(),
            prob_held_back: logistic(log_odds),
            log_odds,
            n_clones: of().count() as i64,
            n_cells: n_cells as i64,
            log_copy_ratio: sum / n_cells as f64,
        }
    };
    found
        .genes
        .iter()
        .zip(&found.beliefs().genes)
        .map(row)
        .collect()
}

fn patient_rows(
    cohort: &Cohort,
    panel: &Panel,
    found: &Found,
    params: &DiscordanceParams,
) -> Vec<DiscordanceRateRow> {
    let learnt = |p: usize| Some(found.learnt.as_ref()?.cell_share[p]);
    let n_cells = |p: usize| -> usize {
        let own = panel
            .clones
            .iter()
            .filter(|u| u.informs && u.patient as usize == p);
        own.map(|u| u.cells.len()).sum()
    };
    let row = |(p, rate): (usize, &f64)| DiscordanceRateRow {
        patient: cohort.patients[p].clone(),
        n_cells: n_cells(p) as i64,
        rate: *rate,
        expected_share: learnt(p).unwrap_or(params.cell_share),
    };
    found.rates.iter().enumerate().map(row).collect()
}

fn fit_rows(found: &Found) -> Vec<DiscordanceFitRow> {
    let yes = if found.established() { "yes" } else { "no" };
    let row = |profile: String, fit: &Fit, chosen: bool| DiscordanceFitRow {
        profile,
        loss: fit.loss,
        gene_share: fit.gene_share,
        evidence: fit.beliefs.evidence,
        rounds: fit.beliefs.rounds as i64,
        settled: fit.beliefs.settled,
        chosen,
        established: chosen.then(|| yes.to_string()),
    };
    let own = found.fits.iter().enumerate();
    let relaid = found.relaid.iter().zip(1..);
    own.map(|(k, fit)| row("own".to_string(), fit, k == found.chosen))
        .chain(relaid.map(|(fit, k)| row(format!("relaid_{k}"), fit, false)))
        .collect()
}
