//! Differential expression, cis effects, escape and compensation.

use std::collections::BTreeSet;

use super::side_by_side::{BY_PATIENT, CNV_SCORES, TABLES, further, labels, side_by_side};
use super::{Content, Inputs, PACKED_ROWS, SectionKind, each_node, table_blocks, title_of};
use crate::report::figures::bars::bars;
use crate::report::figures::grid::{Axes, grid};
use crate::report::figures::palette;
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::{count, percent, short};
use crate::report::load::{TableFile, rows, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::params::Params;
use crate::report::table_view::{BY_P, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_numerics::math;
use clcc_stage::roles;
use clcc_stage::rows::{
    COMPENSATION_GENES, CellScoreRow, CisLeftOutRow, CisRow, ClusterGeneRow, ComparedGeneRow,
    ContrastRow, ESCAPE_GENES, FindingGeneRow, POOLED, PairedGeneRow, RecurrentGeneRow,
};
use clcc_stage::tables::{Row as _, TableSpec};

/// A gene of a comparison, whichever test it is of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gene {
    /// Name.
    pub(crate) name: String,
    /// log2 fold change.
    pub(crate) lfc: f64,
    /// Adjusted p-value.
    pub(crate) q: f64,
    /// Minus its decimal logarithm: the smallest p-values are below what a number holds.
    pub(crate) evidence: f64,
}

impl Gene {
    fn new(name: String, lfc: f64, q: f64, log10_q: Option<f64>) -> Self {
        Self {
            name,
            lfc,
            q,
            evidence: log10_q.map_or_else(|| -math::log10(q), |l| -l),
        }
    }
}

/// Whether the table is one of genes in clusters.
pub(crate) fn is_by_cluster(table: &TextTable) -> bool {
    ClusterGeneRow::SPEC.check_header(&table.header).is_ok()
}

/// The genes of a comparison; `None` where the table is of something else.
///
/// # Errors
/// What parsing the table reports.
pub(crate) fn genes_of(table: &TextTable) -> StageResult<Option<Vec<Gene>>> {
    let is = |spec: TableSpec| spec.check_header(&table.header).is_ok();
    let genes = if is(ComparedGeneRow::SPEC) {
        let of = |r: ComparedGeneRow| {
            Gene::new(r.names, r.logfoldchanges, r.pvals_adj, r.log10_pvals_adj)
        };
        ComparedGeneRow::parse(table)?.into_iter().map(of).collect()
    } else if is(PairedGeneRow::SPEC) {
        let of = |r: PairedGeneRow| {
            let logged = Some(r.log10_pvals_adj);
            Gene::new(r.names, r.logfoldchanges, r.pvals_adj, logged)
        };
        PairedGeneRow::parse(table)?.into_iter().map(of).collect()
    } else if is_by_cluster(table) {
        let of = |r: ClusterGeneRow| Gene::new(r.names, r.logfoldchanges, r.pvals_adj, None);
        ClusterGeneRow::parse(table)?.into_iter().map(of).collect()
    } else {
        return Ok(None);
    };
    Ok(Some(genes))
}

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
    blocks.extend(each_node(&files, |own| of_node(own, p))?);
    Ok(Some(blocks))
}

fn of_node(files: &[TableFile], p: &Params) -> StageResult<Content> {
    let mut blocks = Content::new();
    blocks.extend(table_blocks(
        files,
        BY_PATIENT,
        "Cells and genes of each patient",
        "Cells of each concordance class, and genes higher (escape) and lower (compensation) in discordant than in concordant cells, at each \
         threshold of the log2 fold change.",
        p,
    )?);
    blocks.extend(contrasts(files, p)?);
    blocks.extend(cnv_scores(files)?);
    blocks.extend(labels(files, p)?);
    blocks.extend(side_by_side(files, p)?);
    let mut found = Found::default();
    for file in ordered(files) {
        if !TABLES.contains(&file.name.as_str()) {
            found.add(file, p)?;
        }
    }
    found.rest.extend(further(files, p)?);
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
    Ok(blocks)
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
        } else if FINDINGS.iter().any(|own| is_file(&file.name, own)) {
            if is_file(&file.name, ESCAPE_GENES) {
                let figure = recurrence(&FindingGeneRow::parse(&table)?);
                self.findings
                    .extend(figure.map(|f| Block::Figures(vec![f])));
            }
            self.findings.extend(found(file, table, p)?);
        } else if let Some(genes) = genes_of(&table)? {
            let open = self.by_contrast.is_empty();
            self.by_contrast
                .push(contrast(file, table, &genes, p, open)?);
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
const FINDINGS: [&str; 3] = [
    ESCAPE_GENES,
    COMPENSATION_GENES,
    RecurrentGeneRow::SPEC.file,
];

/// Whether a table's name is that of this file.
fn is_file(name: &str, file: &str) -> bool {
    file.strip_suffix(".tsv") == Some(name)
}

/// The tables but for the list of contrasts: of one kind of contrast all patients together first,
/// then the patients.
pub(crate) fn ordered(files: &[TableFile]) -> Vec<&TableFile> {
    let mut out: Vec<&TableFile> = {
        let others = files.iter().filter(|f| !f.is::<ContrastRow>());
        others.collect()
    };
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
fn recurrence(found: &[FindingGeneRow]) -> Option<Figure> {
    const MOST: usize = 30;
    let mut patients: Vec<&str> = Vec::new();
    let mut genes: Vec<(&str, Vec<(&str, f64)>)> = Vec::new();
    for row in found.iter().filter(|r| r.patient != POOLED) {
        let (name, patient, effect) = (&*row.names, &*row.patient, row.logfoldchanges);
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
    let genes = match is_file(&file.name, RecurrentGeneRow::SPEC.file) {
        true => Vec::new(),
        false => FindingGeneRow::parse(&table)?,
    };
    if !genes.is_empty() {
        let n = |state: &str| genes.iter().filter(|g| g.locus_state == state).count();
        let distinct: BTreeSet<&str> = genes.iter().map(|g| g.names.as_str()).collect();
        let text = format!(
            "{title}: {} genes. Of {} rows (a gene in a patient), {} lie in a gained region, {} in a lost one, and {} at a locus without a change, \
             where there is nothing to escape from.",
            count(distinct.len()),
            count(genes.len()),
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
    for (_, all) in rows::<ContrastRow>(files)? {
        // One reason is said once, with the patients that it holds for.
        let mut skipped: Vec<(String, Vec<&str>)> = Vec::new();
        for row in all.iter().filter(|r| r.status.contains("not")) {
            let reason = match row.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let what = format!("`{}`{reason}", row.contrast);
            let who = row.patient.as_str();
            match skipped.iter_mut().find(|s| s.0 == what) {
                Some(same) => same.1.push(who),
                None => skipped.push((what, vec![who])),
            }
        }
        let skipped: Vec<String> = skipped
            .into_iter()
            .map(|(what, who)| format!("{what} ({})", who.join(", ")))
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
    out.extend(table_blocks(files, ContrastRow::SPEC.name(), "Contrasts", "What was compared with what, how many cells on each side, and why a contrast could not be made.", p)?);
    Ok(out)
}

/// The CNV score of cancer cells beside that of normal cells, in words; the table stands
/// with the further ones.
fn cnv_scores(files: &[TableFile]) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for file in files.iter().filter(|f| f.name == CNV_SCORES) {
        let all: Vec<CellScoreRow> = file.rows()?;
        // All patients together stand last.
        let Some(row) = all.iter().rfind(|r| r.score == "cnv_score") else {
            continue;
        };
        let whose = match row.patient.as_str() {
            POOLED => "all patients together",
            patient => patient,
        };
        let mean = |name: &str| row.mean.get(name).copied().unwrap_or(f64::NAN);
        let cells = |name: &str| row.n.get(name).map_or(0, |n| *n as usize);
        out.push(Block::Text(format!(
            "Cancer cells have a mean CNV score of {}, normal cells of {} ({whose}; Mann-Whitney p {}, {} and {} cells): the mean size of \
             the copy-number signal of a cell's cluster. A cancer cell scores more than a normal one in {} of the pairs.",
            short(mean("mean_cancer")),
            short(mean("mean_normal")),
            p_words(row.log10_pvals),
            count(cells("n_cancer")),
            count(cells("n_normal")),
            percent(row.auc),
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
fn contrast(
    file: &TableFile,
    table: TextTable,
    genes: &[Gene],
    p: &Params,
    open: bool,
) -> StageResult<Block> {
    let title = titled(file);
    let names: Vec<&str> = genes.iter().map(|g| g.name.as_str()).collect();
    let effects: Vec<f64> = genes.iter().map(|g| g.lfc).collect();
    let class = |g: &Gene| match g.q < p.fdr && g.lfc.abs() > p.log2fc {
        true if g.lfc > 0.0 => 1,
        true => 2,
        false => 0,
    };
    let class: Vec<usize> = genes.iter().map(class).collect();
    let n = class.iter().filter(|c| **c > 0).count();
    let by_cluster = is_by_cluster(&table);
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
        evidence: &genes.iter().map(|g| g.evidence).collect::<Vec<_>>(),
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

/// Bars of the pooled cells and a grid of the patients, for chromosomes and for arms.
fn cis(file: &TableFile, table: TextTable, p: &Params) -> StageResult<Vec<Block>> {
    let mut figures = Vec::new();
    let all = effects(&table)?;
    for level in ["chromosome", "arm"] {
        let effects: Vec<&Cis> = all.iter().filter(|e| e.level == level).collect();
        if effects.is_empty() {
            continue;
        }
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
struct Cis {
    level: String,
    patient: String,
    region: String,
    rho: f64,
    adjusted: f64,
}

/// The effects of a table, with or without the regions' own windows.
fn effects(table: &TextTable) -> StageResult<Vec<Cis>> {
    let cis = |level, patient, region: String, rho, adjusted| Cis {
        level,
        patient,
        region: region.strip_prefix("chr").unwrap_or(&region).to_string(),
        rho,
        adjusted,
    };
    if CisLeftOutRow::SPEC.check_header(&table.header).is_ok() {
        let of = |r: CisLeftOutRow| cis(r.level, r.patient, r.region, r.spearman, r.pvals_adj);
        return Ok(CisLeftOutRow::parse(table)?.into_iter().map(of).collect());
    }
    let of = |r: CisRow| cis(r.level, r.patient, r.region, r.spearman, r.pvals_adj);
    Ok(CisRow::parse(table)?.into_iter().map(of).collect())
}

fn pooled_bars(
    effects: &[&Cis],
    what: &str,
    p: &Params,
) -> StageResult<Option<crate::report::figures::svg::Svg>> {
    let only_one = effects.iter().all(|e| e.patient == effects[0].patient);
    let items: Vec<(String, f64, [u8; 3])> = effects
        .iter()
        .filter(|e| only_one || e.patient == POOLED)
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

fn patient_grid(effects: &[&Cis], what: &str) -> Option<crate::report::figures::svg::Svg> {
    let mut patients: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for e in effects.iter().filter(|e| e.patient != POOLED) {
        if !patients.contains(&e.patient.as_str()) {
            patients.push(&e.patient);
        }
        if !names.contains(&e.region.as_str()) {
            names.push(&e.region);
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
