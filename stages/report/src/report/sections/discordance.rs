//! Cells that hold back a set of genes, by the model of `discordance`.

use super::{Content, Inputs, SectionKind, baseline, other_tables, picked_blocks, table_blocks};
use crate::report::figures::bars::bars;
use crate::report::figures::distribution::histogram;
use crate::report::figures::palette;
use crate::report::held_back::{ENOUGH, HeldBack};
use crate::report::html::{count, percent, short};
use crate::report::load::{TableFile, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
use clcc_stage::tables::Row as _;

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "discordance",
    title: "Cells that hold back a set of genes",
    reads: &[(roles::DISCORDANCE.any(), "discordance")],
    place: Place::Figures,
    instead: None,
    compose,
};

/// Verdict, posteriors, what it cannot see.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::DISCORDANCE)?;
    let mut content: Content = vec![Block::Text(
        "Does a cell hold back a set of genes while the rest of its clone follows its copy number, and which genes? Cells and genes are found \
         together from the raw counts, after programmes of expression that have nothing to do with copy number were taken out. Only cells in \
         clones with an altered gene, and only altered genes, can be told."
            .into(),
    )];
    let nodes = inputs.held_back;
    for (at, found) in nodes.iter().enumerate() {
        let blocks = of_node(inputs, &files, found)?;
        match &found.node {
            Some(name) if nodes.len() > 1 => {
                content.push(Block::Fold(name.clone(), at == 0, blocks));
            }
            _ => content.extend(blocks),
        }
    }
    content.push(Block::Text(
        "What it cannot see: a normal cell or a doublet among malignant ones, and a subclone without the alteration, lose their dosage too (genes of \
         the set that lie on one arm point to the latter); a programme whose genes follow the copy number all over the genome looks like a set; \
         and a cell is discordant or not, so that graded discordance comes out as a probability that rises with it."
            .into(),
    ));
    Ok(Some(content))
}

fn of_node(
    inputs: &Inputs<'_, '_>,
    files: &[TableFile],
    found: &HeldBack,
) -> StageResult<Vec<Block>> {
    let (said, evidence) = found.verdict();
    let established = found.is_established();
    let word = if established { "yes" } else { "no" };
    let tone = if found.is_sure() {
        Tone::Info
    } else {
        Tone::Warning
    };
    let verdict = format!("Established: {word}. {said}. {evidence}");
    let mut out = vec![Block::Note(tone, verdict)];
    let Some(fit) = found.chosen() else {
        return Ok(out);
    };
    out.extend(found.doubt().map(|text| Block::Note(Tone::Warning, text)));
    if !established {
        out.push(Block::Text(
            "So no cell and no gene is called. The probabilities below are those under the hypothesis that there is a set; ranks may be of use, \
             calls are not."
                .into(),
        ));
    }
    out.push(Block::Text(format!(
        "{} A discordant cell loses {} of its response to copy number in these genes.",
        found.extent(),
        percent(fit.loss)
    )));
    if !fit.settled {
        out.push(Block::Note(
            Tone::Warning,
            "The messages between cells and genes did not settle, so the probabilities are rough."
                .into(),
        ));
    }
    out.extend(baseline::of_discordance(inputs, &found.cells)?);
    out.push(Block::Figures(figures(found)?));
    let own: Vec<TableFile> = files
        .iter()
        .filter(|f| f.patient == found.node)
        .cloned()
        .collect();
    out.extend(tables_of(inputs, &own)?);
    Ok(out)
}

fn tables_of(inputs: &Inputs<'_, '_>, own: &[TableFile]) -> StageResult<Vec<Block>> {
    let p = inputs.params;
    let mut out = picked_blocks(
        own,
        DiscordanceGeneRow::SPEC.name(),
        "Genes of the set",
        "Altered genes, those most probably held back first.",
        p,
        Pick::Largest(&["prob_held_back"]),
    )?;
    for (table, title, lead) in [
        (
            DiscordanceRateRow::SPEC,
            "Discordant cells per patient",
            "Mean probability of the cells of malignant clones with an altered gene.",
        ),
        (
            DiscordanceFitRow::SPEC,
            "Hypotheses and their evidence",
            "Each loss and share of genes that was tried on the clones' own copy number, and on copy number laid elsewhere.",
        ),
    ] {
        out.extend(table_blocks(own, table.name(), title, lead, p)?);
    }
    let cells = own.iter().find(|f| f.is::<DiscordanceCellRow>());
    out.extend(cells.map(|file| {
        Block::Text(format!(
            "The probability of every cell: `{}`, beside this page; the cells view can be coloured by it.",
            file.published
        ))
    }));
    let known = [
        DiscordanceCellRow::SPEC,
        DiscordanceGeneRow::SPEC,
        DiscordanceRateRow::SPEC,
        DiscordanceFitRow::SPEC,
    ];
    out.extend(other_tables(own, &known.map(|t| t.name()), p)?);
    Ok(out)
}

fn figures(found: &HeldBack) -> StageResult<Vec<Figure>> {
    let id = |what: &str| format!("{what} {}", found.node.as_deref().unwrap_or(""));
    let mut out = Vec::new();
    let of_cells: Vec<f64> = found.cells.iter().map(|c| c.prob_discordant).collect();
    let of_genes: Vec<f64> = found.genes.iter().map(|g| g.prob_held_back).collect();
    for (what, title, values, x, y, caption) in [
        (
            "discordance cells",
            "Probability of the cells",
            of_cells,
            "probability to be discordant",
            "cells",
            "cancer cells with an altered gene by their probability to hold the set back. Heaps at the ends: cells can be told. One heap in between: \
             they cannot, and keep the probability that was expected beforehand.",
        ),
        (
            "discordance genes",
            "Probability of the genes",
            of_genes,
            "probability to be held back",
            "altered genes",
            "altered genes by their probability to be in the set.",
        ),
    ] {
        let n = count(values.len());
        let part = [(y.to_string(), palette::HIGH, values)];
        let svg = histogram(&part, x, y, None)?;
        let caption = format!("The {n} {caption}");
        out.extend(
            svg.map(|svg| Figure::new(&[&id(what)], title, &caption, &["discordance"], svg)),
        );
    }
    out.extend(evidence(found, &id("discordance evidence"))?);
    Ok(out)
}

/// Evidence of every fit beside that of relaid profiles.
fn evidence(found: &HeldBack, id: &str) -> StageResult<Option<Figure>> {
    let bar = |fit: &DiscordanceFitRow| {
        let (label, colour) = match fit.profile.strip_prefix("relaid_") {
            Some(n) => (format!("elsewhere {n}"), palette::MUTED),
            None if fit.chosen => (label(fit), palette::HIGH),
            None => (label(fit), palette::LOW),
        };
        (label, fit.evidence, colour)
    };
    let items: Vec<(String, f64, [u8; 3])> = found.fits.iter().map(bar).collect();
    let caption = format!(
        "Logarithm of the evidence of each hypothesis (share of the response that is lost, share of the genes) against there being no set; 0 is no set, \
         dashed {ENOUGH}. Orange: the reported fit; grey: the same hypothesis with the clones' copy number laid elsewhere on the genome, where there \
         is no set to be found."
    );
    let svg = bars(&items, "", "log evidence", Some(ENOUGH))?;
    Ok(svg.map(|svg| Figure::new(&[id], "Evidence for a set", &caption, &["discordance"], svg)))
}

fn label(fit: &DiscordanceFitRow) -> String {
    format!("{}, {}", short(fit.loss), short(fit.gene_share))
}
