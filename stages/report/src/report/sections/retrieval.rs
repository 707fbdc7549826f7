//! Can a cell's copy number be found from its expression, and the other way round?

use super::{
    Content, Inputs, SectionKind, anchors, baseline, each_node, other_tables, table_blocks,
};
use crate::report::figures::bars::bars;
use crate::report::figures::grid::{Axes, dense};
use crate::report::figures::palette;
use crate::report::html::{count, percent};
use crate::report::load::{TableFile, rows, tables};
use crate::report::page::{Block, Figure, Place};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{CNV_TO_EXPR, EXPR_TO_CNV, RetrievalRow, SimilarityRow};
use clcc_stage::tables::Row as _;

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "retrieval",
    title: "Cross-modal retrieval",
    reads: &[(roles::RETRIEVAL.any(), "eval")],
    place: Place::Figures,
    instead: Some(anchors::SECTION.id),
    compose,
};

/// Table, bars and similarity matrix.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::RETRIEVAL)?;
    let mut blocks = vec![Block::Text(
        "Among the held-out test cells: rank all copy-number embeddings by their similarity to one cell's expression embedding, and \
         see where the cell's own stands; then the other way round. Top-1 is the share of cells whose own partner comes first. A \
         guess finds it once in as many tries as the gallery has cells, so read each number beside its gallery size. Ties count \
         against the model. The alignment gap is the similarity to the own partner less that to the most similar other cell; above 0 \
         it is the same as being first."
            .into(),
    )];
    blocks.extend(each_node(&files, |own| of_node(inputs, own))?);
    Ok(Some(blocks))
}

fn of_node(inputs: &Inputs<'_, '_>, files: &[TableFile]) -> StageResult<Content> {
    let mut blocks = Content::new();
    let mut figures = Vec::new();
    for (_, rows) in rows::<RetrievalRow>(files)? {
        blocks.extend(pooled(&rows).map(|row| {
            Block::Text(format!(
                "From {}: {} of {} test cells find their partner first; a guess would {} of the time.",
                direction(&row.direction),
                percent(row.top1),
                count(row.queries.max(0) as usize),
                percent(1.0 / row.gallery.max(1) as f64)
            ))
        }));
        let both: Vec<&RetrievalRow> = pooled(&rows).collect();
        blocks.extend(baseline::of_retrieval(inputs, &both)?);
        figures.extend(rates(&rows)?);
    }
    let matrices = rows::<SimilarityRow>(files)?;
    for (_, rows) in &matrices {
        figures.extend(similarity(rows)?);
    }
    blocks.push(Block::Figures(figures));
    let name = RetrievalRow::SPEC.name();
    blocks.extend(table_blocks(files, name, "Retrieval", "", inputs.params)?);
    for (file, _) in &matrices {
        blocks.push(Block::Text(format!(
            "The similarity matrix in numbers: `{}`, beside this page.",
            file.published
        )));
    }
    let known = [name, SimilarityRow::SPEC.name()];
    blocks.extend(other_tables(files, &known, inputs.params)?);
    Ok(blocks)
}

fn direction(name: &str) -> &str {
    match name {
        EXPR_TO_CNV => "expression to copy number",
        CNV_TO_EXPR => "copy number to expression",
        other => other,
    }
}

/// The two directions over all test cells.
fn pooled(rows: &[RetrievalRow]) -> impl Iterator<Item = &RetrievalRow> {
    let is_model = |row: &&RetrievalRow| [EXPR_TO_CNV, CNV_TO_EXPR].contains(&&*row.direction);
    rows.iter()
        .filter(|row| row.scope == "pooled")
        .filter(is_model)
}

fn rates(rows: &[RetrievalRow]) -> StageResult<Option<Figure>> {
    let mut items = Vec::new();
    for (d, row) in pooled(rows).enumerate() {
        let side = if row.direction == EXPR_TO_CNV {
            "→ CNV"
        } else {
            "→ expr"
        };
        for (value, name) in [
            (row.top1, "top-1"),
            (row.top5, "top-5"),
            (row.top10, "top-10"),
            (row.mrr, "MRR"),
        ] {
            items.push((format!("{name} {side}"), value, palette::category(d)));
        }
    }
    let chance = rows
        .iter()
        .find(|row| row.scope == "pooled" && row.direction == "chance");
    if let Some(row) = chance {
        for (value, name) in [
            (row.top1, "top-1"),
            (row.top5, "top-5"),
            (row.top10, "top-10"),
            (row.mrr, "MRR"),
        ] {
            items.push((format!("{name} chance"), value, palette::MUTED));
        }
    }
    let Some(svg) = bars(&items, "", "share of cells, or reciprocal rank", None)? else {
        return Ok(None);
    };
    let caption = "All test cells pooled. Top-k: share of cells whose own partner is among the first k; MRR: mean of one over its rank. \
                   Blue: from expression to copy number; orange: from copy number to expression; grey: a random order.";
    Ok(Some(Figure::new(
        &["retrieval rates"],
        "Retrieval, pooled",
        caption,
        &["retrieval"],
        svg,
    )))
}

/// The matrix as an image, the cells of a patient together.
fn similarity(rows: &[SimilarityRow]) -> StageResult<Option<Figure>> {
    let values: Vec<Vec<f64>> = rows.iter().map(|r| r.cosine.values().to_vec()).collect();
    let patient = |row: &SimilarityRow| row.cell.split(':').next().unwrap_or_default().to_string();
    let groups: Vec<String> = rows.iter().map(patient).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let axes = Axes {
        rows: "expression embeddings",
        columns: "copy-number embeddings",
    };
    let caption = "Cosine similarity between expression embeddings (rows) and copy-number embeddings (columns) of single test cells, sorted \
                   by patient. Red: alike; blue: opposed; the strongest colour is the largest value. A model that works is red on the \
                   diagonal; blocks along it mean that it tells the groups apart but not their cells.";
    Ok(dense(&values, &groups, axes)?.map(|svg| {
        Figure::new(
            &["similarity matrix"],
            "Similarity of the two embeddings",
            caption,
            &["retrieval"],
            svg,
        )
    }))
}
