//! Differential expression, cis effects, escape and compensation.

use std::collections::BTreeSet;

use super::side_by_side::{BY_PATIENT, CNV_SCORES, TABLES, further, labels, side_by_side};
use super::{Content, Inputs, PACKED_ROWS, SectionKind, table_blocks, title_of};
use crate::report::figures::bars::bars;
use crate::report::figures::grid::{Axes, grid};
use crate::report::figures::palette;
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::{count, percent, short};
use crate::report::load::{TableFile, numbers, stack, tables, texts};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::params::Params;
use crate::report::table_view::{BY_P, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_numerics::math;
use clcc_stage::roles;

/// Column of the tables whose rows are genes in clusters.
const H_LEIDEN: &str = "h_leiden";

/// Names of the columns that hold an effect and its p-values, best first.
pub(crate) const EFFECT: [&str; 3] = ["logfoldchanges", "log2fc", "mean_difference"];
pub(crate) const ADJUSTED: [&str; 2] = ["pvals_adj", "qvals"];

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "differential-expression",
    title: "Differential expression and cis effects",
    reads: &[(roles::DE.any(), "de")],
    place: Place::Figures,
    instead: None,
    compose,
};

/// Contrasts, volcano plots, cis effects, escape tables.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::DE)?;
    if files.is_empty() {
        return Ok(None);
    }
    let p = inputs.params;
    let mut blocks = vec![
        Block::Text(
            "Which genes differ between groups of cells. A gene that is higher in discordant than in concordant cells is a candidate \
             for escape from its copy number, no more than that."
                .into(),
        ),
    ];
    blocks.extend(limits(inputs));
    blocks.extend(table_blocks(
        &files,
        BY_PATIENT,
        "Cells and genes of each patient",
        "Cells of each concordance class, and genes higher (escape) and lower (compensation) in discordant than in concordant cells, at each \
         threshold of the log2 fold change.",
        p,
    )?);
    blocks.extend(contrasts(&files, p)?);
    blocks.extend(cnv_scores(&files)?);
    blocks.extend(labels(&files, p)?);
    blocks.extend(side_by_side(&files, p)?);
    let mut found = Found::default();
    for file in ordered(&files) {
        if !TABLES.contains(&file.name.as_str()) {
            found.add(file, p)?;
        }
    }
    found.rest.extend(further(&files, p)?);
    for (heading, part) in [
        ("Genes of each contrast", found.by_contrast),
        (
            "Escape and compensation, by the paper's contrast",
            found.findings,
        ),
        ("Cis effects", found.regions),
        ("Other tables", found.rest),
    ] {
        if !part.is_empty() {
            blocks.push(Block::Heading(heading.into()));
            blocks.extend(part);
        }
    }
    Ok(Some(blocks))
}

/// What is known of the paper's way to find genes, where it was gone.
fn limits(inputs: &Inputs<'_, '_>) -> Option<Block> {
    inputs.ctx.optional(roles::CONCORDANCE)?;
    let instead = match inputs.ctx.optional(roles::DOSAGE) {
        Some(_) => {
            "The dosage section above tests each gene's dependence on copy number itself: believe it first."
        }
        None => "A stage of kind `dosage` would test each gene's dependence on copy number itself.",
    };
    let text = format!(
        "On simulated tumours with planted escape genes, ranking genes by discordant against concordant cells finds them no \
         better than chance. {instead}"
    );
    Some(Block::Note(Tone::Warning, text))
}

/// The tables one by one, sorted by what they are of.
#[derive(Default)]
struct Found {
    by_contrast: Vec<Block>,
    findings: Vec<Block>,
    regions: Vec<Block>,
    rest: Vec<Block>,
}

impl Found {
    fn add(&mut self, file: &TableFile, p: &Params) -> StageResult<()> {
        let table = file.read()?;
        if is_cis(&file.name) {
            self.regions.extend(cis(file, table, p)?);
        } else if FINDINGS.contains(&file.name.as_str()) {
            if file.name == ESCAPE {
                self.findings
                    .extend(recurrence(&table).map(|f| Block::Figures(vec![f])));
            }
            self.findings.extend(found(file, table, p)?);
        } else if table.position("names").is_some()
            && numbers(&table, &EFFECT).is_some()
            && numbers(&table, &ADJUSTED).is_some()
        {
            let open = self.by_contrast.is_empty();
            self.by_contrast.push(contrast(file, table, p, open)?);
        } else {
            let title = titled(file);
            let view = TableView::new(&title, table, &file.published, p.table_rows, BY_P);
            self.rest
                .push(Block::Fold(title, false, vec![Block::Table(view)]));
        }
        Ok(())
    }
}

/// Tables of genes that the contrasts have found.
const FINDINGS: [&str; 3] = [ESCAPE, "compensation_genes", "recurrence"];
const ESCAPE: &str = "escape_genes";
/// Table of the contrasts.
const CONTRASTS: &str = "contrasts";

/// The tables but for the list of contrasts: of one kind of contrast all patients together first,
/// then the patients.
pub(crate) fn ordered(files: &[TableFile]) -> Vec<&TableFile> {
    let mut out: Vec<&TableFile> = files.iter().filter(|f| f.name != CONTRASTS).collect();
    let rank = |name: &str| {
        let (kind, who) = name.split_once('.').unwrap_or((name, ""));
        let broad = match who {
            "" | "pooled" => 0,
            "stratified" | "pseudobulk" | "within_cell_types" => 1,
            _ => 2,
        };
        (
            kind != "discordant_vs_concordant",
            kind.to_string(),
            broad,
            name.to_string(),
        )
    };
    out.sort_by_key(|f| rank(&f.name));
    out
}

fn distinct(table: &TextTable, column: &str) -> usize {
    let mut values = texts(table, &[column]).unwrap_or_default();
    values.sort_unstable();
    values.dedup();
    values.len()
}

fn titled(file: &TableFile) -> String {
    let name = title_of(&file.name);
    file.patient
        .as_ref()
        .map_or(name.clone(), |p| format!("{name}, {p}"))
}

fn is_cis(name: &str) -> bool {
    name.starts_with("cis") || name.contains("_cis")
}

/// Genes that were found in most patients, by patient; `None` where no gene was found in two.
fn recurrence(table: &TextTable) -> Option<Figure> {
    const MOST: usize = 30;
    let (names, of) = (texts(table, &["names"])?, texts(table, &["patient"])?);
    let effects = numbers(table, &EFFECT)?;
    let mut patients: Vec<&str> = Vec::new();
    let mut genes: Vec<(&str, Vec<(&str, f64)>)> = Vec::new();
    for ((&name, &patient), effect) in names.iter().zip(&of).zip(effects) {
        if matches!(patient, "pooled" | "all") {
            continue;
        }
        if !patients.contains(&patient) {
            patients.push(patient);
        }
        match genes.iter_mut().find(|g| g.0 == name) {
            Some(gene) => gene.1.push((patient, effect)),
            None => genes.push((name, vec![(patient, effect)])),
        }
    }
    // The order of the table breaks ties.
    genes.sort_by_key(|g| std::cmp::Reverse(g.1.len()));
    genes.retain(|g| g.1.len() > 1);
    genes.truncate(MOST);
    if genes.is_empty() {
        return None;
    }
    let value =
        |gene: &[(&str, f64)], p: &str| gene.iter().find(|v| v.0 == p).map_or(f64::NAN, |v| v.1);
    let values: Vec<Vec<f64>> = genes
        .iter()
        .map(|(_, own)| patients.iter().map(|p| value(own, p)).collect())
        .collect();
    let rows: Vec<String> = genes.iter().map(|g| g.0.to_string()).collect();
    let columns: Vec<String> = patients.iter().map(|p| (*p).to_string()).collect();
    let axes = Axes {
        rows: "gene",
        columns: "patient",
    };
    let caption = format!(
        "Log2 fold change of discordant against concordant cells for genes that were found in two patients or more (at most {MOST}, those of most \
         patients first). Empty: not found there. Recurrence is no evidence of escape: cell types recur in every patient."
    );
    let svg = grid(&rows, &columns, &values, axes)?;
    Some(Figure::new(
        &["recurrence"],
        "Genes by patient",
        &caption,
        &["de"],
        svg,
    ))
}

/// A table of findings, after a word on where its genes lie.
fn found(file: &TableFile, table: TextTable, p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    let title = titled(file);
    if let Some(states) = texts(&table, &["locus_state"]).filter(|s| !s.is_empty()) {
        let n = |state: &str| states.iter().filter(|s| **s == state).count();
        let text = format!(
            "{title}: {} genes. Of {} rows (a gene in a patient), {} lie in a gained region, {} in a lost one, and {} at a locus without a change, \
             where there is nothing to escape from.",
            count(distinct(&table, "names")),
            count(states.len()),
            count(n("gain")),
            count(n("loss")),
            count(n("neutral"))
        );
        out.push(Block::Text(text));
    }
    let n = table.rows.len();
    let summary = format!(
        "{title}: {} {}",
        count(n),
        if n == 1 { "row" } else { "rows" }
    );
    let view = TableView::new(&title, table, &file.published, p.table_rows, BY_P);
    out.push(Block::Fold(summary, false, vec![Block::Table(view)]));
    Ok(out)
}

/// The table of contrasts, after a sentence on those that could not be tested.
fn contrasts(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for (table, _) in stack(files, CONTRASTS)? {
        let (Some(names), Some(status)) = (
            texts(&table, &["contrast", "names"]),
            texts(&table, &["status"]),
        ) else {
            continue;
        };
        let reasons = texts(&table, &["reason"]);
        let patients = texts(&table, &["patient"]);
        // One reason is said once, with the patients that it holds for.
        let mut skipped: Vec<(String, Vec<&str>)> = Vec::new();
        for i in (0..names.len()).filter(|&i| status[i].contains("not")) {
            let reason = reasons
                .as_ref()
                .map(|r| r[i])
                .filter(|r| !r.is_empty())
                .map(|r| format!(": {r}"))
                .unwrap_or_default();
            let what = format!("`{}`{reason}", names[i]);
            let who = patients.as_ref().map(|p| p[i]);
            match skipped.iter_mut().find(|s| s.0 == what) {
                Some(same) => same.1.extend(who),
                None => skipped.push((what, who.into_iter().collect())),
            }
        }
        let skipped: Vec<String> = skipped
            .into_iter()
            .map(|(what, who)| {
                if who.is_empty() {
                    what
                } else {
                    format!("{what} ({})", who.join(", "))
                }
            })
            .collect();
        if !skipped.is_empty() {
            let more = skipped.len().saturating_sub(5);
            let rest = if more > 0 {
                format!("; and {more} more, see the table")
            } else {
                String::new()
            };
            let text = format!(
                "Not applicable. {}{rest}.",
                skipped[..skipped.len() - more].join("; ")
            );
            out.push(Block::Note(Tone::Info, text));
        }
    }
    out.extend(table_blocks(files, CONTRASTS, "Contrasts", "What was compared with what, how many cells on each side, and why a contrast could not be made.", p)?);
    Ok(out)
}

/// The CNV score of cancer cells beside that of normal cells, in words; the table stands
/// with the further ones.
fn cnv_scores(files: &[TableFile]) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for (table, _) in stack(files, CNV_SCORES)? {
        let (Some(scores), Some(patients)) =
            (texts(&table, &["score"]), texts(&table, &["patient"]))
        else {
            continue;
        };
        // All patients together stand last.
        let Some(row) = scores.iter().rposition(|s| *s == "cnv_score") else {
            continue;
        };
        let number = |name: &str| numbers(&table, &[name]).map_or(f64::NAN, |v| v[row]);
        let whose = match patients[row] {
            "pooled" => "all patients together",
            patient => patient,
        };
        out.push(Block::Text(format!(
            "Cancer cells have a mean CNV score of {}, normal cells of {} ({whose}; Mann-Whitney p {}, {} and {} cells): the mean size of \
             the copy-number signal of a cell's cluster. A cancer cell scores more than a normal one in {} of the pairs.",
            short(number("mean_cancer")),
            short(number("mean_normal")),
            p_words(number("log10_pvals")),
            count(number("n_cancer") as usize),
            count(number("n_normal") as usize),
            percent(number("auc")),
        )));
    }
    Ok(out)
}

/// A p-value in words, from its decimal logarithm.
fn p_words(log10: f64) -> String {
    if log10 < -300.0 {
        format!("1e{log10:.0}")
    } else {
        short(math::pow(10f64, log10))
    }
}

/// One contrast: volcano plot and table.
fn contrast(file: &TableFile, table: TextTable, p: &Params, open: bool) -> StageResult<Block> {
    let title = titled(file);
    let names = texts(&table, &["names"]).unwrap_or_default();
    let effects = numbers(&table, &EFFECT).unwrap_or_default();
    let adjusted = numbers(&table, &ADJUSTED).unwrap_or_default();
    let class = |i: usize| match adjusted[i] < p.fdr && effects[i].abs() > p.log2fc {
        true if effects[i] > 0.0 => 1,
        true => 2,
        false => 0,
    };
    let class: Vec<usize> = (0..names.len()).map(class).collect();
    let n = class.iter().filter(|c| **c > 0).count();
    let by_cluster = table.header.iter().any(|c| c == H_LEIDEN);
    let summary = if by_cluster {
        // A row is a gene in a cluster, and only those beyond the thresholds are listed.
        let beyond = (0..names.len()).filter(|&i| class[i] > 0);
        let genes: BTreeSet<&str> = beyond.map(|i| names[i]).collect();
        format!(
            "{title}: {} genes beyond the thresholds in one cluster or more",
            count(genes.len())
        )
    } else {
        format!(
            "{title}: {} of {} genes beyond the thresholds",
            count(n),
            count(names.len())
        )
    };
    let dot = if by_cluster {
        "gene and cluster"
    } else {
        "gene"
    };
    let points = Points {
        names: &names,
        effects: &effects,
        evidence: &evidence(&table, &adjusted),
        class: &class,
    };
    let mut blocks = Vec::new();
    if let Some(figure) = contrast_figure(&points, &title, dot, p)? {
        blocks.push(Block::Figures(vec![figure]));
    }
    blocks.push(Block::Table(TableView::new(
        &format!("Genes, {title}"),
        table,
        &file.published,
        p.table_rows.min(PACKED_ROWS),
        BY_P,
    )));
    Ok(Block::Fold(summary, open, blocks))
}

/// Genes of a contrast: effect, evidence, and class (1 higher, 2 lower, 0 neither).
struct Points<'a> {
    names: &'a [&'a str],
    effects: &'a [f64],
    evidence: &'a [f64],
    class: &'a [usize],
}

fn contrast_figure(
    points: &Points<'_>,
    title: &str,
    dot: &str,
    p: &Params,
) -> StageResult<Option<Figure>> {
    let classes = [
        ("higher".to_string(), palette::HIGH),
        ("lower".to_string(), palette::LOW),
    ];
    let svg = volcano(
        &Volcano {
            names: points.names,
            effects: points.effects,
            evidence: points.evidence,
            class: points.class,
            classes: &classes,
            labels: p.label_genes,
            named: &[1, 2],
            effect_guides: &[-p.log2fc, p.log2fc],
            evidence_guide: Some(-math::log10(p.fdr)),
        },
        "log2 fold change",
        "−log10 adjusted p",
    )?;
    let caption = format!(
        "One dot a {dot}. Coloured: adjusted p below {} and a change beyond {} on the log2 scale (dashed lines); the \
         names are those with the smallest p.",
        short(p.fdr),
        short(p.log2fc)
    );
    Ok(svg.map(|svg| Figure::new(&["volcano", title], title, &caption, &["de"], svg)))
}

/// -log10 of the adjusted p-value: from its logarithm where the table has it, since the smallest
/// p-values are below what a number holds.
pub(crate) fn evidence(table: &TextTable, adjusted: &[f64]) -> Vec<f64> {
    match numbers(table, &["log10_pvals_adj"]) {
        Some(logs) => logs.into_iter().map(|l| -l).collect(),
        None => adjusted.iter().map(|q| -math::log10(*q)).collect(),
    }
}

/// Bars of the pooled cells and a grid of the patients, for chromosomes and for arms.
fn cis(file: &TableFile, table: TextTable, p: &Params) -> StageResult<Vec<Block>> {
    let mut figures = Vec::new();
    for level in ["chromosome", "arm"] {
        let Some(effects) = regions(&table, level) else {
            continue;
        };
        let what = if level == "arm" {
            "chromosome arm"
        } else {
            "chromosome"
        };
        let left_out = file.name.contains("left_out");
        let which = if left_out {
            "Cis effects, own windows left out, by"
        } else {
            "Cis effects by"
        };
        if let Some(svg) = pooled_bars(&effects, what, p)? {
            let caption = pooled_caption(what, left_out, p);
            figures.push(Figure::new(
                &["cis bars", &file.name, level],
                &format!("{which} {what}"),
                &caption,
                &["de"],
                svg,
            ));
        }
        if let Some(svg) = patient_grid(&effects, what) {
            let caption = format!(
                "The same correlation by patient (rows) and {what} (columns). Red: positive; blue: negative."
            );
            figures.push(Figure::new(
                &["cis grid", &file.name, level],
                &format!("{which} patient and {what}"),
                &caption,
                &["de"],
                svg,
            ));
        }
    }
    let mut out = if figures.is_empty() {
        Vec::new()
    } else {
        vec![Block::Figures(figures)]
    };
    let title = titled(file);
    let view = TableView::new(&title, table, &file.published, p.table_rows, BY_P);
    out.push(Block::Fold(title, false, vec![Block::Table(view)]));
    Ok(out)
}

/// What the bars of the pooled cells show.
fn pooled_caption(what: &str, left_out: bool, p: &Params) -> String {
    if left_out {
        format!(
            "Mean over the genes of a {what} of the correlation, over cells, of a gene's expression with the copy number of the nearest                  windows that do not contain it; mean over patients. Grey: adjusted p of the difference from other chromosomes not below {}.",
            short(p.fdr)
        )
    } else {
        format!(
            "Correlation over cells, all patients together, between the inferred copy number of a {what} and the mean expression of its \
                 genes. Grey: adjusted p not below {}. Copy number is inferred from these same genes, so positive values are expected by \
                 construction; compare with the trans control in the table.",
            short(p.fdr)
        )
    }
}

/// One cis effect.
struct Cis<'a> {
    patient: &'a str,
    region: &'a str,
    rho: f64,
    adjusted: f64,
}

/// The effects of one level; a table without levels holds chromosomes.
fn regions<'a>(table: &'a TextTable, level: &str) -> Option<Vec<Cis<'a>>> {
    let rho = numbers(table, &["spearman", "spearman_rho", "rho"])?;
    let names = texts(table, &["region", level])?;
    let levels = texts(table, &["level"]);
    let patients = texts(table, &["patient"]);
    let adjusted = numbers(table, &ADJUSTED);
    let keep = |i: &usize| {
        levels
            .as_ref()
            .map_or(level == "chromosome", |l| l[*i] == level)
    };
    let effect = |i: usize| Cis {
        patient: patients.as_ref().map_or("pooled", |p| p[i]),
        region: names[i].strip_prefix("chr").unwrap_or(names[i]),
        rho: rho[i],
        adjusted: adjusted.as_ref().map_or(0.0, |q| q[i]),
    };
    let found: Vec<Cis<'a>> = (0..names.len()).filter(keep).map(effect).collect();
    (!found.is_empty()).then_some(found)
}

fn pooled_bars(
    effects: &[Cis<'_>],
    what: &str,
    p: &Params,
) -> StageResult<Option<crate::report::figures::svg::Svg>> {
    let only_one = effects.iter().all(|e| e.patient == effects[0].patient);
    let items: Vec<(String, f64, [u8; 3])> = effects
        .iter()
        .filter(|e| only_one || matches!(e.patient, "pooled" | "all"))
        .map(|e| {
            let colour = if e.adjusted >= p.fdr {
                palette::MUTED
            } else if e.rho >= 0.0 {
                palette::HIGH
            } else {
                palette::LOW
            };
            (e.region.to_string(), e.rho, colour)
        })
        .collect();
    bars(&items, what, "Spearman correlation", None)
}

fn patient_grid(effects: &[Cis<'_>], what: &str) -> Option<crate::report::figures::svg::Svg> {
    let mut patients: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for e in effects
        .iter()
        .filter(|e| !matches!(e.patient, "pooled" | "all"))
    {
        if !patients.contains(&e.patient) {
            patients.push(e.patient);
        }
        if !names.contains(&e.region) {
            names.push(e.region);
        }
    }
    if patients.len() < 2 {
        return None;
    }
    let mut values = vec![vec![f64::NAN; names.len()]; patients.len()];
    for e in effects {
        if let (Some(r), Some(c)) = (
            patients.iter().position(|p| *p == e.patient),
            names.iter().position(|n| *n == e.region),
        ) {
            values[r][c] = e.rho;
        }
    }
    let owned = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let axes = Axes {
        rows: "patient",
        columns: what,
    };
    grid(&owned(&patients), &owned(&names), &values, axes)
}
