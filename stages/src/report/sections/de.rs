//! Differential expression, cis effects, escape and compensation.

use super::{Inputs, Part, table_blocks, title_of};
use crate::error::StageResult;
use crate::report::figures::bars::bars;
use crate::report::figures::palette;
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::{count, short};
use crate::report::load::{TableFile, numbers, stack, tables, texts};
use crate::report::page::{Block, Figure, Section, Tone};
use crate::report::params::Params;
use crate::report::table_view::TableView;
use crate::table::TextTable;

const ID: &str = "differential-expression";
const TITLE: &str = "Differential expression";

/// Names of the columns that hold an effect and its p-values, best first.
const EFFECT: [&str; 3] = ["logfoldchanges", "log2fc", "mean_difference"];
const ADJUSTED: [&str; 2] = ["pvals_adj", "qvals"];

/// Contrasts, volcano plots, cis effects, escape tables.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    let files = tables(inputs.ctx, "de", "tables/de.tsv")?;
    if files.is_empty() {
        return Ok(Section::absent(ID, TITLE, "de").into());
    }
    let p = inputs.params;
    let mut blocks = vec![
        Block::Text(
            "Which genes differ between groups of cells. A gene that is higher in discordant than in concordant cells is a candidate \
             for escape from its copy number, no more than that."
                .into(),
        ),
        Block::Note(
            Tone::Warning,
            "On simulated tumours with planted escape genes, ranking genes by discordant against concordant cells finds them no \
             better than chance. The dosage section below tests each gene's dependence on copy number itself: believe it first."
                .into(),
        ),
    ];
    blocks.extend(contrasts(&files, p)?);
    let mut by_contrast = Vec::new();
    let mut rest = Vec::new();
    for file in files.iter().filter(|f| f.name != "contrasts") {
        let table = file.read()?;
        if is_cis(&file.name) {
            rest.extend(cis(file, table, p)?);
        } else if table.position("names").is_some() && numbers(&table, &EFFECT).is_some() && numbers(&table, &ADJUSTED).is_some() {
            let open = by_contrast.len() < 2;
            by_contrast.push(contrast(file, table, p, open)?);
        } else {
            let title = titled(file);
            let view = TableView::new(&title, table, &file.published, p.table_rows, &["pvals_adj", "pvals"]);
            rest.push(Block::Fold(title, false, vec![Block::Table(view)]));
        }
    }
    if !by_contrast.is_empty() {
        blocks.push(Block::Heading("Genes of each contrast".into()));
        blocks.extend(by_contrast);
    }
    if !rest.is_empty() {
        blocks.push(Block::Heading("Cis effects, escape and compensation".into()));
        blocks.extend(rest);
    }
    Ok(Section { id: ID, title: TITLE, blocks }.into())
}

fn titled(file: &TableFile) -> String {
    let name = title_of(&file.name);
    file.patient.as_ref().map_or(name.clone(), |p| format!("{name}, {p}"))
}

fn is_cis(name: &str) -> bool {
    name.starts_with("cis") || name.contains("_cis")
}

/// The table of contrasts, after a sentence on those that could not be tested.
fn contrasts(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for (table, _) in stack(files, "contrasts")? {
        let (Some(names), Some(status)) = (texts(&table, &["contrast", "names"]), texts(&table, &["status"])) else { continue };
        let reasons = texts(&table, &["reason"]);
        let skipped: Vec<String> = (0..names.len())
            .filter(|&i| status[i].contains("not"))
            .map(|i| {
                let reason = reasons.as_ref().map(|r| r[i]).filter(|r| !r.is_empty()).map(|r| format!(" ({r})")).unwrap_or_default();
                format!("`{}`{reason}", names[i])
            })
            .collect();
        if !skipped.is_empty() {
            let more = skipped.len().saturating_sub(5);
            let rest = if more > 0 { format!("; and {more} more, see the table") } else { String::new() };
            let text = format!("Not applicable: {}{rest}.", skipped[..skipped.len() - more].join("; "));
            out.push(Block::Note(Tone::Info, text));
        }
    }
    out.extend(table_blocks(files, "contrasts", "Contrasts", "What was compared with what, how many cells on each side, and why a contrast could not be made.", p)?);
    Ok(out)
}

/// One contrast: volcano plot and table.
fn contrast(file: &TableFile, table: TextTable, p: &Params, open: bool) -> StageResult<Block> {
    let title = titled(file);
    let names = texts(&table, &["names"]).unwrap_or_default();
    let effects = numbers(&table, &EFFECT).unwrap_or_default();
    let adjusted = numbers(&table, &ADJUSTED).unwrap_or_default();
    let evidence = evidence(&table, &adjusted);
    let significant = |i: usize| adjusted[i] <= p.fdr && effects[i].abs() >= p.log2fc;
    let class: Vec<usize> = (0..names.len()).map(|i| if !significant(i) { 0 } else if effects[i] > 0.0 { 1 } else { 2 }).collect();
    let n = class.iter().filter(|c| **c > 0).count();
    let classes = [("higher".to_string(), palette::HIGH), ("lower".to_string(), palette::LOW)];
    let figure = volcano(
        &Volcano {
            names: &names,
            effects: &effects,
            evidence: &evidence,
            class: &class,
            classes: &classes,
            labels: p.label_genes,
            effect_guides: &[-p.log2fc, p.log2fc],
            evidence_guide: Some(-p.fdr.log10()),
        },
        "log2 fold change",
        "−log10 adjusted p",
    )?;
    let summary = format!("{title}: {} of {} genes", count(n), count(names.len()));
    let mut blocks = Vec::new();
    if let Some(svg) = figure {
        let caption = format!(
            "One dot a gene. Coloured: adjusted p at most {} and fold change of at least {} on the log2 scale (dashed lines); the \
             names are those with the smallest p.",
            short(p.fdr),
            short(p.log2fc)
        );
        blocks.push(Block::Figures(vec![Figure::new(&["volcano", &title], &title, &caption, &["de"], svg)]));
    }
    blocks.push(Block::Table(TableView::new(&format!("Genes, {title}"), table, &file.published, p.table_rows, &["pvals_adj", "pvals"])));
    Ok(Block::Fold(summary, open, blocks))
}

/// -log10 of the adjusted p-value: from its logarithm where the table has it, since the smallest
/// p-values are below what a number holds.
pub(super) fn evidence(table: &TextTable, adjusted: &[f64]) -> Vec<f64> {
    match numbers(table, &["log10_pvals_adj"]) {
        Some(logs) => logs.into_iter().map(|l| -l).collect(),
        None => adjusted.iter().map(|q| -q.log10()).collect(),
    }
}

/// Bars of a correlation by chromosome or arm.
fn cis(file: &TableFile, table: TextTable, p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    if let Some((labels, rho, kind)) = regions(&table) {
        let q = numbers(&table, &ADJUSTED);
        let items: Vec<(String, f64, [u8; 3])> = labels
            .into_iter()
            .zip(rho)
            .enumerate()
            .map(|(i, (label, r))| {
                let sure = q.as_ref().is_none_or(|q| q[i] <= p.fdr);
                (label, r, if !sure { palette::MUTED } else if r >= 0.0 { palette::HIGH } else { palette::LOW })
            })
            .collect();
        if items.len() <= 60
            && let Some(svg) = bars(&items, kind, "Spearman correlation")?
        {
            let title = titled(file);
            let caption = format!(
                "Correlation between the copy number of a {kind} and the expression of its genes, over cells. Grey: adjusted p above {}. \
                 Positive is what dosage predicts.",
                short(p.fdr)
            );
            out.push(Block::Figures(vec![Figure::new(&["cis", &title], &title, &caption, &["de"], svg)]));
        }
    }
    let title = titled(file);
    let view = TableView::new(&title, table, &file.published, p.table_rows, &["pvals_adj", "pvals"]);
    out.push(Block::Fold(title, false, vec![Block::Table(view)]));
    Ok(out)
}

/// Region names, correlation and what a region is, of a table with one row a region.
fn regions(table: &TextTable) -> Option<(Vec<String>, Vec<f64>, &'static str)> {
    let rho = numbers(table, &["spearman_rho", "rho", "cis_rho", "spearman", "correlation"])?;
    let (labels, kind) = texts(table, &["arm"]).map(|t| (t, "chromosome arm")).or_else(|| Some((texts(table, &["chromosome"])?, "chromosome")))?;
    let short_names: Vec<String> = labels.iter().map(|l| l.strip_prefix("chr").unwrap_or(l).to_string()).collect();
    Some((short_names, rho, kind))
}
