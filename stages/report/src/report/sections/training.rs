//! Hard negatives and the course of the training.

use super::{Inputs, Part, other_tables, table_blocks};
use crate::report::figures::bars::bars;
use crate::report::figures::lines::lines;
use crate::report::figures::palette;
use crate::report::html::{percent, short};
use crate::report::load::{numbers, tables, texts};
use crate::report::page::{Block, Figure, Section, Tone};
use crate::report::table_view::{Pick, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;

/// Coverage of the hard negatives.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn mining(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    const ID: &str = "mining";
    const TITLE: &str = "Hard negatives";
    let files = tables(inputs.ctx, roles::MINING.any(), "tables/mining.tsv")?;
    if files.is_empty() {
        return Ok(Section::absent(ID, TITLE, "mine").into());
    }
    let mut blocks = vec![Block::Text(
        "A hard negative of a cell is another cell whose copy number is alike while its expression is not. The margin part of the \
         loss works on these pairs only: where few cells have one, it does next to nothing."
            .into(),
    )];
    for (table, _) in crate::report::load::stack(&files, "mining")? {
        blocks.extend(coverage_warning(&table));
        blocks.extend(coverage_figure(&table)?.map(|f| Block::Figures(vec![f])));
    }
    blocks.extend(table_blocks(
        &files,
        "mining",
        "Coverage",
        "",
        inputs.params,
    )?);
    blocks.extend(other_tables(&files, &["mining"], inputs.params)?);
    Ok(Section {
        id: ID,
        title: TITLE,
        blocks,
    }
    .into())
}

/// Share of the training cells that have a negative: name of the group (`all`, a patient), share.
fn coverage(table: &TextTable) -> Option<Vec<(String, f64)>> {
    let shares = numbers(table, &["share_with_negative"])?;
    Some(
        table
            .rows
            .iter()
            .map(|r| r[0].clone())
            .zip(shares)
            .collect(),
    )
}

/// Says in words what a low share means.
fn coverage_warning(table: &TextTable) -> Option<Block> {
    let (_, share) = coverage(table)?
        .into_iter()
        .find(|(name, share)| name == "all" && *share < 0.1)?;
    let text = format!(
        "Only {} of the training cells have a hard negative, so the margin loss has next to no effect on this model.",
        percent(share)
    );
    Some(Block::Note(Tone::Warning, text))
}

fn coverage_figure(table: &TextTable) -> StageResult<Option<Figure>> {
    let Some(shares) = coverage(table) else {
        return Ok(None);
    };
    let items: Vec<(String, f64, [u8; 3])> = shares
        .into_iter()
        .enumerate()
        .map(|(i, (name, share))| {
            (
                name,
                share * 100.0,
                if i == 0 {
                    palette::MUTED
                } else {
                    palette::category(i - 1)
                },
            )
        })
        .collect();
    let Some(svg) = bars(&items, "", "% of training cells", None)? else {
        return Ok(None);
    };
    let caption = "Share of the training cells that have at least one hard negative, over all patients and by patient.";
    Ok(Some(Figure::new(
        &["mining coverage"],
        "Cells with a hard negative",
        caption,
        &["mining"],
        svg,
    )))
}

/// Loss curves.
///
/// # Errors
/// Where the history cannot be read or a figure cannot be drawn.
pub(crate) fn training(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    const ID: &str = "training";
    const TITLE: &str = "Training";
    let Some(file) = tables(inputs.ctx, roles::HISTORY.any(), "model/history.tsv")?
        .into_iter()
        .next()
    else {
        return Ok(Section::absent(ID, TITLE, "train").into());
    };
    let table = file.read()?;
    let mut blocks = Vec::new();
    let mut tiles = Vec::new();
    if let Some(epochs) = numbers(&table, &["epoch"]) {
        if let Some((epoch, loss)) = best(&table, &epochs) {
            blocks.push(Block::Text(format!(
                "Two encoders learn to bring the expression and the copy number of the same cell together. Training ran for {} epochs; \
                 the loss on held-out validation cells was lowest, {}, at epoch {}, and the weights of that epoch were kept.",
                epochs.len(),
                short(loss),
                short(epoch)
            )));
            tiles.push((epochs.len().to_string(), "training epochs".to_string()));
        }
        blocks.push(Block::Figures(curves(&table, &epochs)?));
    } else {
        blocks.push(Block::Note(
            Tone::Missing,
            "The history has no column `epoch`, so its curves are not drawn.".into(),
        ));
    }
    blocks.push(Block::Table(TableView::new(
        "History",
        table,
        &file.published,
        inputs.params.table_rows,
        Pick::First,
    )));
    Ok(Part {
        section: Section {
            id: ID,
            title: TITLE,
            blocks,
        },
        tiles,
    })
}

fn best(table: &TextTable, epochs: &[f64]) -> Option<(f64, f64)> {
    let loss = numbers(table, &["val_loss"])?;
    let kept = texts(table, &["best"]).and_then(|b| b.iter().position(|v| *v == "True"));
    if let Some(at) = kept {
        return Some((epochs[at], loss[at]));
    }
    let at = (0..loss.len())
        .filter(|&i| loss[i].is_finite())
        .min_by(|&a, &b| loss[a].total_cmp(&loss[b]))?;
    Some((epochs[at], loss[at]))
}

fn curves(table: &TextTable, epochs: &[f64]) -> StageResult<Vec<Figure>> {
    let series = |names: &[(&'static str, &'static str)]| -> Vec<(&'static str, Vec<f64>)> {
        names
            .iter()
            .filter_map(|(column, name)| Some((*name, numbers(table, &[column])?)))
            .collect()
    };
    let mut out = Vec::new();
    let contrastive = series(&[("nce", "training"), ("val_loss", "validation")]);
    if let Some(svg) = lines(epochs, &contrastive, "epoch", "contrastive loss")? {
        let caption = "The contrastive loss of training batches (with dropout) and of the held-out validation cells (without). Rising \
                       validation loss beside falling training loss is overfitting.";
        out.push(Figure::new(
            &["training loss"],
            "Contrastive loss",
            caption,
            &["history"],
            svg,
        ));
    }
    let parts = series(&[("train_loss", "whole loss"), ("margin", "margin part")]);
    if let Some(svg) = lines(epochs, &parts, "epoch", "training loss")? {
        let caption = "The whole training loss and the part that comes from hard negatives.";
        out.push(Figure::new(
            &["training parts"],
            "Parts of the training loss",
            caption,
            &["history"],
            svg,
        ));
    }
    let rate = series(&[("lr", "learning rate")]);
    let changes = rate.iter().any(|(_, v)| v.windows(2).any(|w| w[0] != w[1]));
    if let Some(svg) = lines(epochs, &rate, "epoch", "learning rate")?.filter(|_| changes) {
        out.push(Figure::new(
            &["training rate"],
            "Learning rate",
            "The step size of the optimiser at each epoch.",
            &["history"],
            svg,
        ));
    }
    Ok(out)
}
