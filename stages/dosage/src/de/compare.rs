//! Genes and cells by discordance compared with the same by dosage.

use std::collections::HashMap;
use std::path::Path;

use clcc_data::error::StageResult;
use clcc_numerics::stats::{auc, mean, spearman};
use clcc_stage::rows::{
    DosageCellRow, DosageDiscordanceCellsRow, DosageDiscordanceGeneRow, DosageGeneRow, POOLED,
};
use clcc_stage::tables::{Row as _, Table};

use super::by_type::ByType;
use super::family::Tested;
use super::paired::Paired;
use super::params::DeParams;

/// Result of `dosage` per gene; NaN and empty where a gene is not in its table.
#[derive(Debug, Clone)]
pub(super) struct DosageGenes {
    pub(super) slope: Vec<f64>,
    /// Adjusted p-value of slope = 1.
    pub(super) not_one: Vec<f64>,
    pub(super) class: Vec<String>,
}

impl DosageGenes {
    /// Read `dosage_genes.tsv`.
    pub(super) fn read(path: &Path, genes: &[String]) -> StageResult<Self> {
        let rows = DosageGeneRow::read(path)?;
        let of_name: HashMap<&str, &DosageGeneRow> =
            rows.iter().map(|row| (row.names.as_str(), row)).collect();
        let row = |name: &String| of_name.get(name.as_str()).copied();
        let number = |value: fn(&DosageGeneRow) -> f64| -> Vec<f64> {
            let value = |name: &String| row(name).map_or(f64::NAN, value);
            genes.iter().map(value).collect()
        };
        let class = |name: &String| row(name).map_or_else(String::new, |r| r.class.clone());
        Ok(Self {
            slope: number(|row| row.slope),
            not_one: number(|row| row.pvals_one_adj),
            class: genes.iter().map(class).collect(),
        })
    }

    /// Whether the class of gene `g` is insensitive or over-compensated.
    pub(super) fn escapes(&self, g: usize) -> bool {
        matches!(self.class[g].as_str(), "insensitive" | "over-compensated")
    }

    fn tested(&self, g: usize) -> bool {
        !matches!(self.class[g].as_str(), "" | "untested")
    }
}

/// Read `shortfall_z` of every cell of the cohort from `dosage_cells.tsv`; NaN where a cell has none.
pub(super) fn shortfall(
    path: &Path,
    cells: &[String],
    patients: &[String],
    patient_of: &[u32],
) -> StageResult<Vec<f64>> {
    let rows = DosageCellRow::read(path)?;
    let known: HashMap<(&str, &str), f64> = rows
        .iter()
        .filter_map(|row| Some(((row.patient.as_str(), row.cell.as_str()), row.shortfall_z?)))
        .collect();
    let of_cell = |(cell, &patient): (&String, &u32)| {
        let place = (patients[patient as usize].as_str(), cell.as_str());
        known.get(&place).copied().unwrap_or(f64::NAN)
    };
    Ok(cells.iter().zip(patient_of).map(of_cell).collect())
}

/// The discordance tests of all patients together (or of the only one).
pub(super) struct Discordance<'a> {
    pub(super) pooled: Option<&'a Tested>,
    pub(super) by_type: Option<&'a ByType>,
    pub(super) paired: &'a Paired,
    pub(super) pseudobulk: &'a Paired,
    /// Number of patients in which each gene is found higher, and lower.
    pub(super) n_patients: [&'a [usize]; 2],
}

impl Discordance<'_> {
    /// Whether gene `g` is found by the pooled test, in either direction.
    fn finds(&self, g: usize, params: &DeParams) -> bool {
        self.pooled
            .is_some_and(|t| t.direction(g, params.fdr, params.log2fc[0]) != 0)
    }

    /// Numbers of the `n` genes that both methods could test, and of those the ones found by dosage, by
    /// discordance, and by both.
    fn agreement(&self, dosage: &DosageGenes, n: usize, params: &DeParams) -> [usize; 4] {
        let tested: Vec<usize> = (0..n)
            .filter(|&g| dosage.tested(g) && self.pooled.is_some())
            .collect();
        let count = |f: &dyn Fn(usize) -> bool| tested.iter().filter(|&&g| f(g)).count();
        [
            tested.len(),
            count(&|g| dosage.escapes(g)),
            count(&|g| self.finds(g, params)),
            count(&|g| dosage.escapes(g) && self.finds(g, params)),
        ]
    }
}

/// The counts of [`Discordance::agreement`] in words.
fn agreement_note(counts: [usize; 4], params: &DeParams) -> String {
    let chance = counts[1] as f64 * counts[2] as f64 / (counts[0].max(1)) as f64;
    format!(
        "of {} genes that both could test, dosage finds {} (class insensitive or over-compensated) and discordance {} (FDR below {}, log2 fold change beyond {}, all patients together); both find {}, where chance alone gives {chance:.1}",
        counts[0], counts[1], counts[2], params.fdr, params.log2fc[0], counts[3]
    )
}

/// Write `dosage_vs_discordance.tsv`, one row per gene. Returns the number of genes that both methods
/// could test, and of those the numbers found by dosage, by discordance, and by both.
pub(super) fn genes(
    dir: &Path,
    names: &[String],
    dosage: &DosageGenes,
    found: &Discordance<'_>,
    params: &DeParams,
) -> StageResult<[usize; 4]> {
    let n = names.len();
    let pooled =
        |g: usize, f: fn(&Tested, usize) -> f64| found.pooled.map_or(f64::NAN, |t| f(t, g));
    let over_patients = |paired: &Paired, g: usize| {
        let genes = paired.genes.as_ref();
        genes.map_or(f64::NAN, |p| p[g].adjusted)
    };
    let word = |g: usize| match (dosage.escapes(g), found.finds(g, params)) {
        (true, true) => "both",
        (true, false) => "dosage",
        (false, true) => "discordance",
        (false, false) => "neither",
    };
    let row = |g: usize| DosageDiscordanceGeneRow {
        names: names[g].clone(),
        dosage_slope: dosage.slope[g],
        dosage_class: dosage.class[g].clone(),
        dosage_pvals_one_adj: dosage.not_one[g],
        discordance_scores: pooled(g, |t, g| t.genes[g].z),
        discordance_logfoldchanges: pooled(g, |t, g| t.log2fc[g]),
        discordance_pvals_adj: pooled(g, |t, g| t.adjusted[g]),
        within_cell_types_pvals_adj: found.by_type.map_or(f64::NAN, |t| t.adjusted[g]),
        stratified_pvals_adj: over_patients(found.paired, g),
        pseudobulk_pvals_adj: over_patients(found.pseudobulk, g),
        n_patients_higher: found.n_patients[0][g] as i64,
        n_patients_lower: found.n_patients[1][g] as i64,
        found_by: word(g).to_string(),
    };
    let counts = found.agreement(dosage, n, params);
    Table::new((0..n).map(row).collect())
        .note("each gene by the two ways: its dosage slope over clones (stage dosage), and discordant against concordant cells (this stage)")
        .note(agreement_note(counts, params))
        .note("discordance_*: Wilcoxon of all patients together; within_cell_types: van Elteren; stratified: paired t over patients; pseudobulk: moderated paired t over patients; n_patients_*: patients in which the gene is found higher or lower in discordant cells")
        .note("on simulated tumours dosage ranks planted escape genes well above chance, the more so the deeper the data (docs/what-the-method-finds.md); discordance at chance")
        .write(dir)?;
    Ok(counts)
}

/// Compare distance and shortfall over the cells `rows`.
fn cells_row(
    patient: String,
    rows: &[usize],
    class: &[String],
    distance: &[f64],
    shortfall: &[f64],
) -> DosageDiscordanceCellsRow {
    let of = |v: &[f64]| rows.iter().map(|&i| v[i]).collect::<Vec<f64>>();
    let rho = spearman(&of(distance), &of(shortfall));
    let of_class = |name: &str| -> Vec<f64> {
        rows.iter()
            .filter(|&&i| class[i] == name)
            .map(|&i| shortfall[i])
            .collect()
    };
    let (d, c) = (of_class("discordant"), of_class("concordant"));
    let all: Vec<f64> = d.iter().chain(&c).copied().collect();
    let labels: Vec<bool> = (0..all.len()).map(|i| i < d.len()).collect();
    DosageDiscordanceCellsRow {
        patient,
        n_cells: rows.len() as i64,
        spearman: rho.r,
        pvals: rho.p.p,
        log10_pvals: rho.p.log10,
        shortfall_z_discordant: mean(&d),
        shortfall_z_concordant: mean(&c),
        auc: auc(&all, &labels),
    }
}

/// Write `dosage_vs_discordance_cells.tsv`: each patient's cells by distance and by shortfall.
pub(super) fn cells(
    dir: &Path,
    patients: &[String],
    patient_of: &[u32],
    class: &[String],
    distance: &[f64],
    shortfall: &[f64],
) -> StageResult<()> {
    let mut sets: Vec<(String, Option<usize>)> = patients
        .iter()
        .enumerate()
        .map(|(p, n)| (n.clone(), Some(p)))
        .collect();
    if patients.len() > 1 {
        sets.push((POOLED.into(), None));
    }
    let row = |(name, patient): (String, Option<usize>)| {
        let rows: Vec<usize> = (0..class.len())
            .filter(|&i| {
                patient.is_none_or(|p| p == patient_of[i] as usize)
                    && !class[i].is_empty()
                    && shortfall[i].is_finite()
                    && distance[i].is_finite()
            })
            .collect();
        cells_row(name, &rows, class, distance, shortfall)
    };
    Table::new(sets.into_iter().map(row).collect())
        .note("classed cells that both ways score: Spearman correlation of the distance between a cell's embeddings (concordance) with its shortfall_z (dosage), test by t with n - 2 degrees of freedom; mean shortfall_z of each class; auc: probability that a discordant cell falls short more")
        .note("cells of one tumour are not independent samples: the p-values are too small")
        .write(dir)
}
