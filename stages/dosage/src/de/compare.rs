//! Genes and cells by discordance compared with the same by dosage.

use std::collections::HashMap;
use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::{TextTable, write_tsv};
use clcc_numerics::stats::{auc, mean, spearman};
use clcc_stage::tables::Table;

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
        let table = TextTable::read(path)?;
        let names = table.texts("names")?;
        let at: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        let row = |g: &String| at.get(g.as_str()).copied();
        let number = |values: Vec<f64>| -> Vec<f64> {
            genes
                .iter()
                .map(|g| row(g).map_or(f64::NAN, |r| values[r]))
                .collect()
        };
        let class = table.texts("class")?;
        Ok(Self {
            slope: number(table.numbers("slope")?),
            not_one: number(table.numbers("pvals_one_adj")?),
            class: genes
                .iter()
                .map(|g| row(g).map_or_else(String::new, |r| class[r].to_string()))
                .collect(),
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
    let table = TextTable::read(path)?;
    if table.position("shortfall_z").is_none() {
        return Ok(vec![f64::NAN; cells.len()]);
    }
    let (names, of, z) = (
        table.texts("cell")?,
        table.texts("patient")?,
        table.numbers("shortfall_z")?,
    );
    let known: HashMap<(&str, &str), f64> =
        (0..z.len()).map(|i| ((of[i], names[i]), z[i])).collect();
    Ok((0..cells.len())
        .map(|i| {
            known
                .get(&(patients[patient_of[i] as usize].as_str(), cells[i].as_str()))
                .copied()
                .unwrap_or(f64::NAN)
        })
        .collect())
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
    let mut frame = Frame::new(names.to_vec());
    frame.set("dosage_slope", Column::F64(dosage.slope.clone()));
    frame.set("dosage_class", Column::Str(dosage.class.clone()));
    frame.set("dosage_pvals_one_adj", Column::F64(dosage.not_one.clone()));
    let num = |f: &dyn Fn(usize) -> f64| Column::F64((0..n).map(f).collect());
    let pooled =
        |f: &dyn Fn(&Tested, usize) -> f64| num(&|g| found.pooled.map_or(f64::NAN, |t| f(t, g)));
    frame.set("discordance_scores", pooled(&|t, g| t.genes[g].z));
    frame.set("discordance_logfoldchanges", pooled(&|t, g| t.log2fc[g]));
    frame.set("discordance_pvals_adj", pooled(&|t, g| t.adjusted[g]));
    frame.set(
        "within_cell_types_pvals_adj",
        num(&|g| found.by_type.map_or(f64::NAN, |t| t.adjusted[g])),
    );
    for (name, paired) in [
        ("stratified_pvals_adj", found.paired),
        ("pseudobulk_pvals_adj", found.pseudobulk),
    ] {
        frame.set(
            name,
            num(&|g| paired.genes.as_ref().map_or(f64::NAN, |p| p[g].adjusted)),
        );
    }
    for (name, counts) in ["n_patients_higher", "n_patients_lower"]
        .into_iter()
        .zip(found.n_patients)
    {
        frame.set(
            name,
            Column::I64(counts.iter().map(|&v| v as i64).collect()),
        );
    }
    let word = |g: usize| match (dosage.escapes(g), found.finds(g, params)) {
        (true, true) => "both",
        (true, false) => "dosage",
        (false, true) => "discordance",
        (false, false) => "neither",
    };
    frame.set_category("found_by", &(0..n).map(word).collect::<Vec<_>>());
    let counts = found.agreement(dosage, n, params);
    let agreement = agreement_note(counts, params);
    let notes = [
        "each gene by the two ways: its dosage slope over clones (stage dosage), and discordant against concordant cells (this stage)",
        &agreement,
        "discordance_*: Wilcoxon of all patients together; within_cell_types: van Elteren; stratified: paired t over patients; pseudobulk: moderated paired t over patients; n_patients_*: patients in which the gene is found higher or lower in discordant cells",
        "on simulated tumours dosage ranks planted escape genes well above chance, the more so the deeper the data (docs/what-the-method-finds.md); discordance at chance",
    ];
    write_tsv(
        &dir.join("dosage_vs_discordance.tsv"),
        "names",
        &frame,
        &notes,
    )?;
    Ok(counts)
}

clcc_stage::table! {
    /// Agreement of discordance and dosage over the classed cells of a patient, or of all.
    pub(super) struct CellsRow = "dosage_vs_discordance_cells.tsv" {
        /// Patient, or `pooled`.
        patient: String,
        /// Classed cells with a shortfall.
        n_cells: i64,
        /// Spearman correlation of distance and shortfall.
        spearman: f64,
        /// Its p-value.
        pvals: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Mean shortfall of discordant cells.
        shortfall_z_discordant: f64,
        /// Mean shortfall of concordant cells.
        shortfall_z_concordant: f64,
        /// Probability that a discordant cell falls short more than a concordant one.
        auc: f64,
    }
}

impl CellsRow {
    /// Compare distance and shortfall over the cells `rows`.
    fn new(
        patient: String,
        rows: &[usize],
        class: &[String],
        distance: &[f64],
        shortfall: &[f64],
    ) -> Self {
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
        Self {
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
        sets.push(("pooled".into(), None));
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
        CellsRow::new(name, &rows, class, distance, shortfall)
    };
    Table::new(sets.into_iter().map(row).collect())
        .note("classed cells that both ways score: Spearman correlation of the distance between a cell's embeddings (concordance) with its shortfall_z (dosage), test by t with n - 2 degrees of freedom; mean shortfall_z of each class; auc: probability that a discordant cell falls short more")
        .note("cells of one tumour are not independent samples: the p-values are too small")
        .write(dir)
}
