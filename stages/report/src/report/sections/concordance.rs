//! How far expression strays from copy number in each cancer cell, by the paper's measure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Content, Inputs, SectionKind, baseline, each_node, other_tables, table_blocks};
use crate::report::figures::bars::shares;
use crate::report::figures::distribution::{Scale, violins};
use crate::report::figures::palette;
use crate::report::html::{count, percent, short};
use crate::report::load::{TableFile, rows, stack, table_files, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{CompositionRow, ConcordancePatientRow, ConcordanceRow};
use clcc_stage::tables::Row as _;

const CLASSES: [&str; 3] = ["concordant", "intermediate", "discordant"];

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "concordance",
    title: "Concordance",
    reads: &[
        (roles::CONCORDANCE.any(), "concordance"),
        (roles::CONCORDANCE_SUMMARY.any(), "concordance"),
    ],
    place: Place::Figures,
    instead: None,
    compose,
};

/// Distances per patient, composition of the classes, tables.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let cells = table_files::<ConcordanceRow>(inputs.ctx, roles::CONCORDANCE, "tables");
    let files = tables(inputs.ctx, roles::CONCORDANCE_SUMMARY)?;
    let mut blocks = vec![Block::Text(
        "The distance between a cancer cell's two embeddings says how badly its expression fits its copy number. Within each patient \
         the nearest cells are called concordant and the farthest discordant; these are quantiles, so there is always a discordant \
         class, whether or not any cell escapes its dosage."
            .into(),
    )];
    let all: Vec<TableFile> = cells.into_iter().chain(files).collect();
    blocks.extend(each_node(&all, |own| of_node(inputs, own))?);
    Ok(Some(blocks))
}

fn of_node(inputs: &Inputs<'_, '_>, files: &[TableFile]) -> StageResult<Content> {
    let mut blocks = Content::new();
    blocks.extend(warnings(files)?);
    for (file, rows) in rows::<ConcordanceRow>(files)? {
        blocks.push(whose_distance(&rows, files)?);
        let discordant = rows.iter().filter(|r| r.concordance_class == CLASSES[2]);
        blocks.push(Block::Text(format!(
            "{} cancer cells are called discordant; this number is a quantile and no finding.",
            count(discordant.count())
        )));
        blocks.extend(mixture(&rows));
        blocks.extend(baseline::of_concordance(inputs, &rows)?);
        blocks.push(Block::Figures(figures(&rows)?));
        blocks.push(Block::Text(format!(
            "The class and distance of every cell: `{}`, beside this page.",
            file.published
        )));
    }
    let shown = [
        (ConcordancePatientRow::SPEC, "Classes per patient"),
        (CompositionRow::SPEC, "What the classes go with"),
    ];
    for (table, title) in shown {
        blocks.extend(table_blocks(files, table.name(), title, "", inputs.params)?);
    }
    let known = shown.map(|(table, _)| table.name());
    let known = [known[0], known[1], ConcordanceRow::SPEC.name()];
    blocks.extend(other_tables(files, &known, inputs.params)?);
    Ok(blocks)
}

/// Whether the model that measured a cell had trained on it: of one model the class goes with that, of
/// held-out distances it cannot.
fn whose_distance(cells: &[ConcordanceRow], files: &[TableFile]) -> StageResult<Block> {
    let folds: BTreeSet<&str> = cells.iter().filter_map(|r| r.fold.as_deref()).collect();
    if !folds.is_empty() {
        let text = format!(
            "Held-out distances: each cell is measured by the one of {} models that did not train on it, on a common scale \
             (`concordance_folds.tsv`). So the class cannot say which cells were trained on.",
            folds.len()
        );
        return Ok(Block::Note(Tone::Info, text));
    }
    let v = composition(files)?
        .iter()
        .find_map(|rows| {
            let of_split = rows.iter().filter(|r| r.variable == "split");
            // Over all patients where there are several.
            let row = of_split.min_by_key(|r| r.patient != "all")?;
            Some(row.cramers_v_corrected)
        })
        .filter(|v| v.is_finite());
    let found = v.map_or_else(String::new, |v| {
        format!(
            " Here class and part of the split go together with a Cramer's V of {} (0: not at all, 1: the same).",
            short(v)
        )
    });
    let text = format!(
        "Distances of a single fit: one model measures every cell, and trained on most of them; it puts those nearer.{found} A class of \
         such distances says first which cells were trained on. Distances from models that held a cell out do not \
         (`concordance: {{cross_fit: K}}`)."
    );
    let tone = if v.is_none_or(|v| v >= 0.3) {
        Tone::Warning
    } else {
        Tone::Info
    };
    Ok(Block::Note(tone, text))
}

/// The rows of the composition, table by table.
fn composition(files: &[TableFile]) -> StageResult<Vec<Vec<CompositionRow>>> {
    let stacks = stack(files, CompositionRow::SPEC.name())?;
    stacks
        .iter()
        .map(|(table, _)| CompositionRow::parse(table))
        .collect()
}

/// What the stage itself warns of.
fn warnings(files: &[TableFile]) -> StageResult<Vec<Block>> {
    let mut out: Vec<String> = Vec::new();
    for rows in composition(files)? {
        // Rows over all patients say it once; without them every patient's row does.
        let any_broad = rows.iter().any(|r| r.patient == "all");
        let said = rows
            .into_iter()
            .filter(|r| !any_broad || r.patient == "all")
            .map(|r| r.warning);
        out.extend(said.filter(|text| !text.is_empty()));
    }
    out.dedup();
    let sentence = |t: String| {
        let mut letters = t.chars();
        let first = letters
            .next()
            .map(|c| c.to_uppercase().to_string())
            .unwrap_or_default();
        format!(
            "{first}{}{}",
            letters.as_str(),
            if t.ends_with('.') { "" } else { "." }
        )
    };
    Ok(out
        .into_iter()
        .take(8)
        .map(|t| Block::Note(Tone::Warning, sentence(t)))
        .collect())
}

/// Counts of the cells' values within each class.
fn counts(
    cells: &[ConcordanceRow],
    value: fn(&ConcordanceRow) -> &str,
) -> BTreeMap<&str, [f64; 3]> {
    let mut out: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for cell in cells {
        if let Some(c) = CLASSES.iter().position(|k| *k == cell.concordance_class) {
            let name = match value(cell) {
                "" => "not stated",
                value => value,
            };
            out.entry(name).or_default()[c] += 1.0;
        }
    }
    out
}

/// Says in words which cell type the discordant class is mostly made of.
fn mixture(cells: &[ConcordanceRow]) -> Option<Block> {
    let types = counts(cells, |cell| &cell.cell_type);
    if types.len() < 2 {
        return None;
    }
    let total = |c: usize| types.values().map(|n| n[c]).sum::<f64>();
    let (name, n) = types
        .iter()
        .max_by(|a, b| a.1[2].total_cmp(&b.1[2]).then(b.0.cmp(a.0)))?;
    let text = format!(
        "The cancer label goes by sample, so it covers every cell type of the tumour. Of the discordant cells {} are `{name}`, of the \
         concordant ones {}. Where these differ, genes that tell the classes apart may only be markers of a cell type.",
        percent(n[2] / total(2)),
        percent(n[0] / total(0)),
    );
    Some(Block::Note(Tone::Info, text))
}

fn figures(cells: &[ConcordanceRow]) -> StageResult<Vec<Figure>> {
    let by_type = class_shares(cells, ("cell_type", "Classes by cell type"), |c| {
        &c.cell_type
    })?;
    // Where every cell is held out, by which fold is what is left to ask.
    let by_membership = if cells.iter().any(|cell| cell.fold.is_some()) {
        class_shares(cells, ("fold", "Classes by fold"), |cell| {
            cell.fold.as_deref().unwrap_or("")
        })?
    } else {
        let title = "Classes by split membership";
        class_shares(cells, ("split", title), |cell| &cell.split)?
    };
    let figures = [distances(cells)?, by_type, by_membership];
    Ok(figures.into_iter().flatten().collect())
}

/// The distances of the cancer cells of each patient.
fn distances(cells: &[ConcordanceRow]) -> StageResult<Option<Figure>> {
    let mut groups: Vec<(String, Vec<f64>)> = Vec::new();
    for cell in cells.iter().filter(|c| c.cancer_vs_normal == "Cancer") {
        match groups.iter_mut().find(|g| g.0 == cell.patient) {
            Some(group) => group.1.push(cell.distance),
            None => groups.push((cell.patient.clone(), vec![cell.distance])),
        }
    }
    let caption = "Distance between the expression and the copy-number embedding of each cancer cell, by patient. Box: middle \
                   half of the cells and median.";
    Ok(violins(&groups, "distance", Scale::Linear)?.map(|svg| {
        Figure::new(
            &["concordance distance"],
            "Distance per patient",
            caption,
            &["concordance"],
            svg,
        )
    }))
}

/// The share of each class among the cells of one value.
fn class_shares(
    cells: &[ConcordanceRow],
    (column, title): (&str, &str),
    value: fn(&ConcordanceRow) -> &str,
) -> StageResult<Option<Figure>> {
    let mut bars: Vec<(String, Vec<f64>)> = counts(cells, value)
        .into_iter()
        .map(|(name, n)| (name.to_string(), n.to_vec()))
        .collect();
    // Parts of the split in the order of their use.
    bars.sort_by_key(|b| {
        ["train", "val", "test"]
            .iter()
            .position(|s| *s == b.0)
            .unwrap_or(3)
    });
    let parts = CLASSES.map(|c| (c.to_string(), palette::named(c, 0)));
    let caption = format!(
        "Share of each class among the classed cells, by {}. Equal bars mean that the class has nothing to do with it.",
        column.replace('_', " ")
    );
    Ok(shares(&bars, &parts, "share of cells")?.map(|svg| {
        Figure::new(
            &["concordance", column],
            title,
            &caption,
            &["concordance"],
            svg,
        )
    }))
}
