//! Can a cell's copy number be found from its expression, and the other way round?

use super::{Inputs, Part, other_tables, table_blocks};
use crate::report::figures::bars::bars;
use crate::report::figures::grid::{Axes, dense, grid};
use crate::report::figures::palette;
use crate::report::html::percent;
use crate::report::load::{numbers, stack, tables, texts};
use crate::report::page::{Block, Figure, Section};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;

const ID: &str = "retrieval";
const TITLE: &str = "Cross-modal retrieval";

/// Table, bars and similarity matrix.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    let files = tables(inputs.ctx, roles::RETRIEVAL.any(), "tables/retrieval.tsv")?;
    if files.is_empty() {
        return Ok(Section::absent(ID, TITLE, "eval").into());
    }
    let mut blocks = vec![Block::Text(
        "Among the held-out test cells: rank all copy-number embeddings by their similarity to one cell's expression embedding, and \
         see where the cell's own stands; then the other way round. Top-1 is the share of cells whose own partner comes first. A \
         guess finds it once in as many tries as the gallery has cells, so read each number beside its gallery size. Ties count \
         against the model. The alignment gap is the similarity to the own partner less that to the most similar other cell; above 0 \
         it is the same as being first."
            .into(),
    )];
    let mut tiles = Vec::new();
    let mut figures = Vec::new();
    if let Some((table, _)) = stack(&files, "retrieval")?.into_iter().next() {
        tiles.extend(pooled_top1(&table));
        figures.extend(rates(&table)?);
    }
    if let Some((table, _)) = stack(&files, "similarity_matrix")?.into_iter().next() {
        figures.extend(similarity(&table)?);
    }
    blocks.push(Block::Figures(figures));
    blocks.extend(table_blocks(
        &files,
        "retrieval",
        "Retrieval",
        "",
        inputs.params,
    )?);
    if let Some(file) = files.iter().find(|f| f.name == "similarity_matrix") {
        blocks.push(Block::Text(format!(
            "The similarity matrix in numbers: `{}`, beside this page.",
            file.published
        )));
    }
    blocks.extend(other_tables(
        &files,
        &["retrieval", "similarity_matrix"],
        inputs.params,
    )?);
    Ok(Part {
        section: Section {
            id: ID,
            title: TITLE,
            blocks,
        },
        tiles,
    })
}

fn direction(name: &str) -> &str {
    match name {
        "expr_to_cnv" => "expression to copy number",
        "cnv_to_expr" => "copy number to expression",
        other => other,
    }
}

/// Rows of the pooled scope that are the model's (not chance).
fn pooled(table: &TextTable) -> Vec<usize> {
    let Some(scope) = texts(table, &["scope"]) else {
        return (0..table.rows.len()).collect();
    };
    (0..scope.len())
        .filter(|&i| scope[i] == "pooled" || scope[i] == "all")
        .collect()
}

fn pooled_top1(table: &TextTable) -> Vec<(String, String)> {
    let (Some(top1), Some(directions)) = (numbers(table, &["top1"]), texts(table, &["direction"]))
    else {
        return Vec::new();
    };
    let tile = |i: usize| {
        (
            percent(top1[i]),
            format!("top-1, {}", direction(directions[i])),
        )
    };
    pooled(table)
        .into_iter()
        .filter(|&i| directions[i].contains("_to_"))
        .take(2)
        .map(tile)
        .collect()
}

fn rates(table: &TextTable) -> StageResult<Option<Figure>> {
    let Some(directions) = texts(table, &["direction"]) else {
        return Ok(None);
    };
    let mut items = Vec::new();
    for (d, i) in pooled(table)
        .into_iter()
        .filter(|&i| directions[i].contains("_to_"))
        .take(2)
        .enumerate()
    {
        let side = if directions[i] == "expr_to_cnv" {
            "→ CNV"
        } else {
            "→ expr"
        };
        for (column, name) in [
            ("top1", "top-1"),
            ("top5", "top-5"),
            ("top10", "top-10"),
            ("mrr", "MRR"),
        ] {
            if let Some(values) = numbers(table, &[column]) {
                items.push((format!("{name} {side}"), values[i], palette::category(d)));
            }
        }
    }
    let Some(svg) = bars(&items, "", "share of cells, or reciprocal rank", None)? else {
        return Ok(None);
    };
    let caption = "All test cells pooled. Top-k: share of cells whose own partner is among the first k; MRR: mean of one over its rank. \
                   Blue: from expression to copy number; orange: from copy number to expression.";
    Ok(Some(Figure::new(
        &["retrieval rates"],
        "Retrieval, pooled",
        caption,
        &["retrieval"],
        svg,
    )))
}

/// The matrix with its numbers where it is small (cell types), as an image where it is cell by cell.
fn similarity(table: &TextTable) -> StageResult<Option<Figure>> {
    let columns: Vec<String> = table
        .header
        .iter()
        .skip(1)
        .filter(|h| table.numbers(h).is_ok())
        .cloned()
        .collect();
    let values: Vec<Vec<f64>> = columns
        .iter()
        .map(|c| table.numbers(c).unwrap_or_default())
        .collect();
    let rows: Vec<String> = table.rows.iter().map(|r| r[0].clone()).collect();
    let by_row: Vec<Vec<f64>> = (0..rows.len())
        .map(|r| values.iter().map(|c| c[r]).collect())
        .collect();
    if by_row.is_empty() || columns.is_empty() {
        return Ok(None);
    }
    let axes = Axes {
        rows: "expression embeddings",
        columns: "copy-number embeddings",
    };
    let cells = rows == columns && rows.iter().all(|r| r.contains(':'));
    let svg = if cells || rows.len().max(columns.len()) > 40 {
        let patient = |name: &String| name.split(':').next().unwrap_or_default().to_string();
        let groups: Vec<String> = if cells {
            rows.iter().map(patient).collect()
        } else {
            Vec::new()
        };
        dense(&by_row, &groups, axes)?
    } else {
        grid(&rows, &columns, &by_row, axes)
    };
    let of = if cells {
        "of single test cells, sorted by patient"
    } else {
        ""
    };
    let caption = format!(
        "Cosine similarity between expression embeddings (rows) and copy-number embeddings (columns) {of}. Red: alike; blue: opposed; \
         the strongest colour is the largest value. A model that works is red on the diagonal; blocks along it mean that it tells the \
         groups apart but not their cells."
    );
    Ok(svg.map(|svg| {
        Figure::new(
            &["similarity matrix"],
            "Similarity of the two embeddings",
            &caption,
            &["retrieval"],
            svg,
        )
    }))
}
