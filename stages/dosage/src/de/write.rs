//! Tables of `de`.

use std::path::Path;
use std::sync::Arc;

use clcc_data::error::StageResult;
use clcc_numerics::stats::GeneTest;
use clcc_stage::rows::{
    CisLeftOutRow, CisRow, ComparedGeneRow, POOLED, PairedGeneRow, SetAsideRow,
};
use clcc_stage::tables::{Family, Table};

use super::by_type::ByType;
use super::cis::{CisEffect, Region};
use super::cis_left_out::{LeftOut, MIN_CELLS};
use super::compare::DosageGenes;
use super::contrasts::Kind;
use super::family::Tested;
use super::paired::{Paired, PairedGene, Sample};
use super::params::{CisCells, DeParams};
use super::set_aside::GeneFamily;

/// Per-gene results that the tables of tests repeat.
pub(super) struct GeneNotes<'a> {
    pub(super) names: &'a [String],
    /// Results of `dosage`, where it was read.
    pub(super) dosage: Option<&'a DosageGenes>,
    pub(super) stratified: Option<&'a Paired>,
    pub(super) pseudobulk: Option<&'a Paired>,
    /// Whether each gene is set aside from cancer against normal epithelium.
    pub(super) aside: &'a [bool],
}

/// Name of the patient, or `pooled` for all.
pub(super) fn who(patients: &[String], patient: Option<usize>) -> String {
    patient.map_or_else(|| POOLED.to_string(), |p| patients[p].clone())
}

/// Names of columns that count genes found beyond each fold-change threshold: `n_up_0.5`, `n_down_0.5`, ...
pub(super) fn found_columns(words: &[&str], params: &DeParams) -> Arc<[String]> {
    let of_limit = |limit: &f64| {
        let names = words.iter().map(move |word| format!("n_{word}_{limit}"));
        names.collect::<Vec<_>>()
    };
    Family::names(params.log2fc.iter().flat_map(of_limit))
}

/// The row of a gene compared between all cells of two groups, without the logarithm of its adjusted p-value.
pub(super) fn gene_row(name: &str, gene: &GeneTest, log2fc: f64, adjusted: f64) -> ComparedGeneRow {
    ComparedGeneRow {
        names: name.to_string(),
        scores: gene.z,
        logfoldchanges: log2fc,
        pvals: gene.p.p,
        pvals_adj: adjusted,
        log10_pvals: gene.p.log10,
        log10_pvals_adj: None,
        pct_nz_group: gene.pct_group,
        pct_nz_reference: gene.pct_reference,
        mean_group: Some(gene.mean_group),
        mean_reference: Some(gene.mean_reference),
    }
}

/// Make a name safe for use in a file name.
fn file_part(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

pub(super) const COLUMN_NOTE: &str = "columns as scanpy's rank_genes_groups: scores is z, logfoldchanges is log2((expm1(mean log1p of the group) + 1e-9) / (the same of the reference)), pct_nz the share of cells above 0, mean_* the mean log1p expression";
const CELL_NOTE: &str = "cells of one tumour are not independent samples: these p-values are too small; see the patient-stratified test";

/// Write one comparison, genes by descending score.
pub(super) fn comparison(
    dir: &Path,
    t: &Tested,
    patients: &[String],
    genes: &GeneNotes<'_>,
    params: &DeParams,
) -> StageResult<()> {
    let kind = t.comparison.kind;
    let mut order: Vec<usize> = (0..t.genes.len())
        .filter(|&g| kind != Kind::Epithelium || !genes.aside[g])
        .collect();
    order.sort_by(|&a, &b| t.genes[b].z.total_cmp(&t.genes[a].z));
    let row = |g: usize| ComparedGeneRow {
        log10_pvals_adj: Some(t.adjusted_log10[g]),
        ..gene_row(&genes.names[g], &t.genes[g], t.log2fc[g], t.adjusted[g])
    };
    let name = who(patients, t.patient);
    let (group, reference) = kind.groups();
    let title = format!(
        "{}: {group} (group, n = {}) against {reference} (reference, n = {}), {}",
        kind.name(),
        t.comparison.n_group,
        t.comparison.n_reference,
        if t.patient.is_some() {
            format!("patient {name}")
        } else {
            "all patients together".to_string()
        }
    );
    let mut notes = vec![
        title,
        params.test_note(),
        COLUMN_NOTE.into(),
        CELL_NOTE.into(),
    ];
    if kind == Kind::Epithelium {
        let n = genes.aside.iter().filter(|a| **a).count();
        notes.push(format!("{n} genes are set aside: see set_aside.tsv"));
    }
    Table::new(order.into_iter().map(row).collect())
        .keep(["log10_pvals_adj", "mean_group", "mean_reference"])
        .notes(notes)
        .write_as(&dir.join(format!("{}.{}.tsv", kind.name(), file_part(&name))))
}

/// Title of a paired test, and what its fold change is.
fn paired_notes(p: &Paired, params: &DeParams) -> (String, String) {
    let (group, reference) = p.kind.groups();
    let (n, df) = (p.n_pairs, p.n_pairs - 1);
    match p.sample {
        Sample::MeanOfCells => (
            format!(
                "{}, patient-stratified: paired t test over {n} patients (df = {df}) of the mean log1p expression of {group} and of {reference}; two-sided",
                p.kind.name()
            ),
            "logfoldchanges: mean over patients of log2((expm1(mean of the group) + 1e-9) / (expm1(mean of the reference) + 1e-9))".to_string(),
        ),
        Sample::Pseudobulk => {
            let variances = || p.prior.iter().map(|v| v.variance);
            let range = (
                variances().fold(f64::NAN, f64::min),
                variances().fold(f64::NAN, f64::max),
            );
            let prior_df = p.prior.first().map_or(f64::NAN, |v| v.df);
            (
                format!(
                    "{}, pseudobulk: moderated paired t test over {n} patients of log2 counts per million of the summed raw counts of {group} and of {reference}; two-sided",
                    p.kind.name()
                ),
                format!(
                    "log2((count + 0.5) / (library + 1) 1e6); each gene's variance ({df} df) is drawn towards that of genes of like mean expression, {} to {}, with {} df (limma's eBayes with a trend, Smyth 2004); genes with fewer than {} counts in all samples are not tested; logfoldchanges: mean difference over patients",
                    clcc_data::table::number(range.0),
                    clcc_data::table::number(range.1),
                    clcc_data::table::number(prior_df),
                    params.pseudobulk_min_count
                ),
            )
        }
    }
}

/// Write a paired test over patients.
pub(super) fn paired(
    dir: &Path,
    p: &Paired,
    names: &[String],
    aside: &[bool],
    params: &DeParams,
) -> StageResult<()> {
    let Some(found) = &p.genes else {
        return Ok(());
    };
    let mut order: Vec<usize> = (0..found.len())
        .filter(|&g| p.kind != Kind::Epithelium || !aside[g])
        .collect();
    let rank = |g: usize| {
        if found[g].test.p.p.is_nan() {
            1.0
        } else {
            found[g].test.p.log10
        }
    };
    order.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
    let row = |g: usize| {
        let PairedGene { test, log2fc, .. } = &found[g];
        PairedGeneRow {
            names: names[g].clone(),
            t: test.t,
            df: test.df,
            mean_difference: test.difference,
            se: test.se,
            logfoldchanges: *log2fc,
            pvals: test.p.p,
            pvals_adj: found[g].adjusted,
            log10_pvals: test.p.log10,
            log10_pvals_adj: found[g].adjusted_log10,
        }
    };
    let (title, change) = paired_notes(p, params);
    Table::new(order.into_iter().map(row).collect())
        .notes([title, change])
        .note("a patient is one observation here: this test holds where patients differ at random")
        .note("pvals_adj: Benjamini-Hochberg over the genes of the table, a gene without a test counting as p = 1 (pseudobulk: over the tested ones)")
        .write_as(&dir.join(format!("{}.{}.tsv", p.kind.name(), p.sample.name())))
}

/// Write van Elteren's test of one set of cells.
pub(super) fn by_type(
    dir: &Path,
    t: &ByType,
    patients: &[String],
    names: &[String],
) -> StageResult<()> {
    let Ok(used) = &t.used else {
        return Ok(());
    };
    let mut order: Vec<usize> = (0..t.genes.len()).collect();
    order.sort_by(|&a, &b| t.genes[b].z.total_cmp(&t.genes[a].z));
    let row = |g: usize| {
        let gene = &t.genes[g];
        ComparedGeneRow {
            names: names[g].clone(),
            scores: gene.z,
            logfoldchanges: t.log2fc[g],
            pvals: gene.p.p,
            pvals_adj: t.adjusted[g],
            log10_pvals: gene.p.log10,
            log10_pvals_adj: Some(t.adjusted_log10[g]),
            pct_nz_group: gene.pct_group,
            pct_nz_reference: gene.pct_reference,
            mean_group: None,
            mean_reference: None,
        }
    };
    let title = format!(
        "discordant_vs_concordant within cell types, {}: {} discordant against {} concordant cells in {} strata (a cell type of a patient) that have both",
        t.patient.map_or_else(
            || "all patients".to_string(),
            |p| format!("patient {}", patients[p])
        ),
        used.group,
        used.reference,
        used.strata
    );
    let file = t.patient.map_or_else(
        || "discordant_vs_concordant.within_cell_types.tsv".to_string(),
        |p| {
            format!(
                "discordant_vs_concordant.within_cell_types.{}.tsv",
                file_part(&patients[p])
            )
        },
    );
    Table::new(order.into_iter().map(row).collect())
        .note(title)
        .note("test: van Elteren (rank sums within strata, weights 1 / (N + 1), ties corrected, no continuity correction), normal approximation, two-sided: a difference between cell types is none between classes; pvals_adj: Benjamini-Hochberg over all genes of the table")
        .note("logfoldchanges and pct_nz_* from means over strata with the same weights in both groups")
        .note(CELL_NOTE)
        .write_as(&dir.join(file))
}

/// Write `set_aside.tsv`: the genes that cancer against normal epithelium leaves out, with the results
/// they would have had.
pub(super) fn set_aside(
    dir: &Path,
    tested: &[Tested],
    patients: &[String],
    (names, symbols): (&[String], &[String]),
    aside: &[bool],
    params: &DeParams,
) -> StageResult<()> {
    let genes: Vec<usize> = (0..names.len()).filter(|&g| aside[g]).collect();
    let sets: Vec<&Tested> = tested
        .iter()
        .filter(|t| t.comparison.kind == Kind::Epithelium && t.made())
        .collect();
    if sets.is_empty() {
        return Ok(());
    }
    let row = |t: &Tested, g: usize| SetAsideRow {
        names: names[g].clone(),
        family: GeneFamily::of(&symbols[g])
            .map_or("", GeneFamily::name)
            .to_string(),
        patient: who(patients, t.patient),
        scores: t.genes[g].z,
        logfoldchanges: t.log2fc[g],
        pvals: t.genes[g].p.p,
        log10_pvals: t.genes[g].p.log10,
    };
    let rows = sets.iter().flat_map(|t| genes.iter().map(|&g| row(t, g)));
    let families: Vec<&str> = params.set_aside.iter().map(|f| f.name()).collect();
    let title = format!(
        "genes set aside from cancer against normal epithelium ({}): they tell depth, damage and ambient RNA; no part of that table or of its false discovery rate",
        families.join(", ")
    );
    Table::new(rows.collect())
        .note(title)
        .note(params.test_note())
        .write(dir)
}

/// Write the cis effects of each set of cells.
pub(super) fn cis(
    dir: &Path,
    regions: &[Region],
    found: &[(String, usize, Vec<CisEffect>)],
    of: CisCells,
) -> StageResult<()> {
    let mut rows = Vec::new();
    for (patient, n_cells, effects) in found {
        rows.extend(effects.iter().map(|e| {
            let region = &regions[e.region];
            CisRow {
                region: region.name.clone(),
                level: region.level.to_string(),
                patient: patient.clone(),
                n_cells: *n_cells as i64,
                n_genes: region.genes.len() as i64,
                n_windows: region.windows.len() as i64,
                mean_cnv: e.mean_cnv,
                spearman: e.cis.r,
                pvals: e.cis.p.p,
                pvals_adj: e.p_adjusted,
                log10_pvals: e.cis.p.log10,
                trans_mean: e.trans_mean,
                trans_max: e.trans_max,
            }
        }));
    }
    let what = format!(
        "cis effects: Spearman correlation over {} of a region's mean log1p expression with its mean X_cnv; test: t with n - 2 degrees of freedom, two-sided; pvals_adj: Benjamini-Hochberg over the regions of one level within one patient",
        of.words()
    );
    Table::new(rows)
        .note(what)
        .note("trans control: the same expression against the X_cnv of regions of the same level on other chromosomes (their mean Spearman, and the largest in size)")
        .note("the copy number of a region is inferred from the expression of the same genes, so a positive cis value is expected by construction: compare it with the trans control")
        .write(dir)
}

/// Adjust the p-values of one set of cells, over the regions of one level.
fn adjust_levels(rows: &mut [CisLeftOutRow]) {
    for name in ["chromosome", "arm"] {
        let mut tested: Vec<&mut CisLeftOutRow> = rows
            .iter_mut()
            .filter(|r| r.level == name && r.pvals.is_finite())
            .collect();
        let p: Vec<f64> = tested.iter().map(|r| r.pvals).collect();
        for (row, q) in tested
            .iter_mut()
            .zip(clcc_numerics::stats::benjamini_hochberg(&p))
        {
            row.pvals_adj = q;
        }
    }
}

/// Write the left-out cis effects of each patient, and over the patients.
pub(super) fn cis_left_out(
    dir: &Path,
    regions: &[Region],
    found: &[(String, usize, Vec<LeftOut>)],
    of: CisCells,
) -> StageResult<()> {
    let mut rows: Vec<CisLeftOutRow> = Vec::new();
    for (who, n_cells, effects) in found {
        let first = rows.len();
        rows.extend(effects.iter().map(|e| CisLeftOutRow {
            region: regions[e.region].name.clone(),
            level: regions[e.region].level.to_string(),
            patient: who.clone(),
            n_cells: *n_cells as i64,
            n_genes: e.n_genes as i64,
            spearman: e.adjacent,
            spearman_own_windows: e.own,
            trans_mean: e.trans,
            t: e.test.t,
            pvals: e.test.p.p,
            pvals_adj: f64::NAN,
            log10_pvals: e.test.p.log10,
        }));
        adjust_levels(&mut rows[first..]);
    }
    let which = format!(
        "cis effects with the gene's own region left out: spearman is the mean over a region's genes (seen in {MIN_CELLS} cells or more) of the Spearman correlation over {} of the gene's log1p expression with the X_cnv of the nearest windows that do not contain it; spearman_own_windows the same with the windows that do",
        of.words()
    );
    Table::new(rows)
        .note(which)
        .note("trans_mean: the same genes' correlation with the X_cnv of the other chromosomes; test: paired t over genes of spearman against the trans correlation (neighbouring genes share windows, so p is too small); pooled: paired t over patients of the region's two means; pvals_adj: Benjamini-Hochberg over the regions of one level within one patient")
        .note("spearman_own_windows minus spearman is what a gene contributes to its own copy number; spearman beside trans_mean is the dosage effect that is left")
        .write(dir)
}
