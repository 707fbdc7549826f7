//! The tables.

use std::path::Path;

use crate::error::StageResult;
use crate::frame::{Column, Frame};
use crate::stats::GeneTest;
use crate::table::write_tsv;

use super::cis::{CisEffect, Region};
use super::family::{Stratified, Tested};
use super::params::DeParams;

/// What the stage knows about genes beside the tests.
pub(super) struct GeneNotes<'a> {
    pub(super) names: &'a [String],
    /// Dosage slope and class, where `dosage` was read.
    pub(super) dosage: Option<(Vec<f64>, Vec<String>)>,
    pub(super) stratified: Option<&'a [Stratified]>,
}

/// `patients[p]`, or `pooled`.
pub(super) fn who(patients: &[String], patient: Option<usize>) -> String {
    patient.map_or_else(|| "pooled".to_string(), |p| patients[p].clone())
}

/// A name that is safe inside a file name.
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

fn gene_columns(frame: &mut Frame, t: &Tested, order: &[usize]) {
    let num =
        |f: &dyn Fn(&GeneTest) -> f64| Column::F64(order.iter().map(|&g| f(&t.genes[g])).collect());
    frame.set("scores", num(&|g| g.z));
    frame.set(
        "logfoldchanges",
        Column::F64(order.iter().map(|&g| t.log2fc[g]).collect()),
    );
    frame.set("pvals", num(&|g| g.p.p));
    frame.set(
        "pvals_adj",
        Column::F64(order.iter().map(|&g| t.adjusted[g]).collect()),
    );
    frame.set("log10_pvals", num(&|g| g.p.log10));
    frame.set("pct_nz_group", num(&|g| g.pct_group));
    frame.set("pct_nz_reference", num(&|g| g.pct_reference));
    frame.set("mean_group", num(&|g| g.mean_group));
    frame.set("mean_reference", num(&|g| g.mean_reference));
}

const COLUMN_NOTE: &str = "columns as scanpy's rank_genes_groups: scores is z, logfoldchanges is log2((expm1(mean log1p of the group) + 1e-9) / (the same of the reference)), pct_nz the share of cells above 0, mean_* the mean log1p expression";
const CELL_NOTE: &str = "cells of one tumour are not independent samples: these p-values are too small; see the patient-stratified test";

/// One comparison, genes by falling score.
pub(super) fn comparison(
    dir: &Path,
    t: &Tested,
    patients: &[String],
    genes: &GeneNotes<'_>,
    params: &DeParams,
) -> StageResult<()> {
    let mut order: Vec<usize> = (0..t.genes.len()).collect();
    order.sort_by(|&a, &b| t.genes[b].z.total_cmp(&t.genes[a].z));
    let mut frame = Frame::new(order.iter().map(|&g| genes.names[g].clone()).collect());
    gene_columns(&mut frame, t, &order);
    let kind = t.comparison.kind;
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
    write_tsv(
        &dir.join(format!("{}.{}.tsv", kind.name(), file_part(&name))),
        "names",
        &frame,
        &[&title, &params.test_note(), COLUMN_NOTE, CELL_NOTE],
    )
}

/// Which comparisons were made, and why the others were not.
pub(super) fn contrasts(
    dir: &Path,
    tested: &[Tested],
    patients: &[String],
    paired: (usize, Option<&[Stratified]>),
    params: &DeParams,
) -> StageResult<()> {
    let (n_pairs, stratified) = paired;
    let mut frame = Frame::new(
        tested
            .iter()
            .map(|t| t.comparison.kind.name().to_string())
            .collect(),
    );
    frame.index.push("discordant_vs_concordant".into());
    let text = |f: &dyn Fn(&Tested) -> String, last: String| {
        Column::Str(tested.iter().map(f).chain(std::iter::once(last)).collect())
    };
    let int = |f: &dyn Fn(&Tested) -> i64, last: i64| {
        Column::I64(tested.iter().map(f).chain(std::iter::once(last)).collect())
    };
    frame.set(
        "patient",
        text(&|t| who(patients, t.patient), "stratified".into()),
    );
    frame.set(
        "test",
        text(&|_| "wilcoxon".into(), "paired t over patients".into()),
    );
    let status = |ok: bool| if ok { "tested" } else { "not applicable" }.to_string();
    frame.set(
        "status",
        text(
            &|t| status(t.comparison.obstacle.is_none()),
            status(stratified.is_some()),
        ),
    );
    let few = format!("expected at least 2 patients with both classes, found {n_pairs}");
    frame.set(
        "reason",
        text(
            &|t| t.comparison.obstacle.clone().unwrap_or_default(),
            if stratified.is_some() {
                String::new()
            } else {
                few
            },
        ),
    );
    frame.set(
        "n_group",
        int(&|t| t.comparison.n_group as i64, n_pairs as i64),
    );
    frame.set(
        "n_reference",
        int(&|t| t.comparison.n_reference as i64, n_pairs as i64),
    );
    for &limit in &params.log2fc {
        for (word, sign) in [("up", 1), ("down", -1)] {
            let count = |t: &Tested| {
                (0..t.genes.len())
                    .filter(|&g| t.direction(g, params.fdr, limit) == sign)
                    .count() as i64
            };
            let last = stratified.map_or(0, |s| {
                s.iter()
                    .filter(|g| g.adjusted < params.fdr && f64::from(sign) * g.log2fc > limit)
                    .count() as i64
            });
            frame.set(&format!("n_{word}_{limit}"), int(&count, last));
        }
    }
    let counts = format!(
        "n_up_T and n_down_T: genes at an FDR below {} and a log2 fold change beyond T; n_* of the stratified test are patients",
        params.fdr
    );
    write_tsv(
        &dir.join("contrasts.tsv"),
        "contrast",
        &frame,
        &[
            "the comparisons of stage de, and why one could not be made",
            &counts,
            &params.test_note(),
        ],
    )
}

/// The stratified test.
pub(super) fn stratified(dir: &Path, genes: &GeneNotes<'_>, n_pairs: usize) -> StageResult<()> {
    let Some(found) = genes.stratified else {
        return Ok(());
    };
    let mut order: Vec<usize> = (0..found.len()).collect();
    let p = |g: usize| {
        if found[g].test.p.p.is_nan() {
            2.0
        } else {
            found[g].test.p.p
        }
    };
    order.sort_by(|&a, &b| p(a).total_cmp(&p(b)));
    let mut frame = Frame::new(order.iter().map(|&g| genes.names[g].clone()).collect());
    let num =
        |f: &dyn Fn(&Stratified) -> f64| Column::F64(order.iter().map(|&g| f(&found[g])).collect());
    frame.set("t", num(&|s| s.test.t));
    frame.set("mean_difference", num(&|s| s.test.difference));
    frame.set("se", num(&|s| s.test.se));
    frame.set("logfoldchanges", num(&|s| s.log2fc));
    frame.set("pvals", num(&|s| s.test.p.p));
    frame.set("pvals_adj", num(&|s| s.adjusted));
    frame.set("log10_pvals", num(&|s| s.test.p.log10));
    let title = format!(
        "discordant_vs_concordant, patient-stratified: paired t test over {n_pairs} patients (df = {}) of the mean log1p expression of discordant and concordant cells; two-sided",
        n_pairs - 1
    );
    let notes = [
        &title,
        "logfoldchanges: mean over patients of log2((expm1(mean discordant) + 1e-9) / (expm1(mean concordant) + 1e-9))",
        "pvals_adj: Benjamini-Hochberg over all genes, a gene without a test counting as p = 1",
    ];
    write_tsv(
        &dir.join("discordant_vs_concordant.stratified.tsv"),
        "names",
        &frame,
        &notes,
    )
}

/// Cis effects of all patients and of all cells together.
pub(super) fn cis(
    dir: &Path,
    regions: &[Region],
    found: &[(String, usize, Vec<CisEffect>)],
) -> StageResult<()> {
    let rows: Vec<(&str, usize, &CisEffect)> = found
        .iter()
        .flat_map(|(who, n, effects)| effects.iter().map(move |e| (who.as_str(), *n, e)))
        .collect();
    let mut frame = Frame::new(
        rows.iter()
            .map(|r| regions[r.2.region].name.clone())
            .collect(),
    );
    let num = |f: &dyn Fn(&CisEffect) -> f64| Column::F64(rows.iter().map(|r| f(r.2)).collect());
    let int = |f: &dyn Fn(&Region) -> usize| {
        Column::I64(
            rows.iter()
                .map(|r| f(&regions[r.2.region]) as i64)
                .collect(),
        )
    };
    frame.set(
        "level",
        Column::Str(
            rows.iter()
                .map(|r| regions[r.2.region].level.to_string())
                .collect(),
        ),
    );
    frame.set(
        "patient",
        Column::Str(rows.iter().map(|r| r.0.to_string()).collect()),
    );
    frame.set(
        "n_cells",
        Column::I64(rows.iter().map(|r| r.1 as i64).collect()),
    );
    frame.set("n_genes", int(&|r| r.genes.len()));
    frame.set("n_windows", int(&|r| r.windows.len()));
    frame.set("mean_cnv", num(&|e| e.mean_cnv));
    frame.set("spearman", num(&|e| e.cis.r));
    frame.set("pvals", num(&|e| e.cis.p.p));
    frame.set("pvals_adj", num(&|e| e.p_adjusted));
    frame.set("log10_pvals", num(&|e| e.cis.p.log10));
    frame.set("trans_mean", num(&|e| e.trans_mean));
    frame.set("trans_max", num(&|e| e.trans_max));
    let notes = [
        "cis effects: Spearman correlation over classed cancer cells of a region's mean log1p expression with its mean X_cnv; p from t with n - 2 degrees of freedom; pvals_adj: Benjamini-Hochberg over the regions of one level within one patient",
        "trans control: the same expression against the X_cnv of regions of the same level on other chromosomes (their mean Spearman, and the largest in size)",
        "the copy number of a region is inferred from the expression of the same genes, so a positive cis value is expected by construction: compare it with the trans control",
    ];
    write_tsv(&dir.join("cis_effects.tsv"), "region", &frame, &notes)
}
