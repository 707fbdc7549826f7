//! Hard negatives and the course of the training.

use super::{Content, Inputs, SectionKind, anchors, each_node, other_tables, table_blocks};
use crate::report::figures::bars::bars;
use crate::report::figures::lines::lines;
use crate::report::figures::palette;
use crate::report::html::{percent, short};
use crate::report::load::{TableFile, rows, table_files, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::table_view::{Pick, TableView};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{HistoryRow, MiningRow};
use clcc_stage::tables::Row as _;

pub(crate) const MINING: SectionKind = SectionKind {
    id: "mining",
    title: "Hard negatives",
    reads: &[(roles::MINING.any(), "mine")],
    place: Place::Figures,
    instead: Some(anchors::SECTION.id),
    compose: mining,
};

pub(crate) const TRAINING: SectionKind = SectionKind {
    id: "training",
    title: "Training",
    reads: &[(roles::HISTORY.any(), "train")],
    place: Place::Figures,
    instead: Some(anchors::SECTION.id),
    compose: training,
};

/// Coverage of the hard negatives.
fn mining(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::MINING)?;
    let name = MiningRow::SPEC.name();
    let mut blocks = vec![Block::Text(
        "A hard negative of a cell is another cell whose copy number is alike while its expression is not. The margin part of the \
         loss works on these pairs only: where few cells have one, it does next to nothing."
            .into(),
    )];
    blocks.extend(each_node(&files, |own| {
        let mut blocks = Content::new();
        for (_, rows) in rows::<MiningRow>(own)? {
            blocks.extend(coverage_warning(&rows));
            blocks.extend(coverage_figure(&rows)?.map(|f| Block::Figures(vec![f])));
        }
        blocks.extend(table_blocks(own, name, "Coverage", "", inputs.params)?);
        blocks.extend(other_tables(own, &[name], inputs.params)?);
        Ok(blocks)
    })?);
    Ok(Some(blocks))
}

/// Says in words what a low share means.
fn coverage_warning(rows: &[MiningRow]) -> Option<Block> {
    let low = |row: &&MiningRow| row.patient == "all" && row.share_with_negative < 0.1;
    let text = format!(
        "Only {} of the training cells have a hard negative, so the margin loss has next to no effect on this model.",
        percent(rows.iter().find(low)?.share_with_negative)
    );
    Some(Block::Note(Tone::Warning, text))
}

fn coverage_figure(rows: &[MiningRow]) -> StageResult<Option<Figure>> {
    let items: Vec<(String, f64, [u8; 3])> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            (
                row.patient.clone(),
                row.share_with_negative * 100.0,
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
fn training(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = table_files::<HistoryRow>(inputs.ctx, roles::HISTORY, "model");
    let content = each_node(&files, |own| {
        let of = |file: &TableFile| history(inputs, file);
        let all = own.iter().map(of).collect::<StageResult<Vec<Content>>>()?;
        Ok(all.into_iter().flatten().collect())
    })?;
    Ok((!content.is_empty()).then_some(content))
}

/// The course of one training.
fn history(inputs: &Inputs<'_, '_>, file: &TableFile) -> StageResult<Content> {
    let table = file.read()?;
    let mut content = Content::new();
    // Anchors have a history of their own, which their section draws where they are evaluated.
    if HistoryRow::SPEC.check_header(&table.header).is_ok() {
        let epochs = HistoryRow::parse(&table)?;
        if let Some(best) = epochs.iter().find(|e| e.best) {
            content.push(Block::Text(format!(
                "Two encoders learn to bring the expression and the copy number of the same cell together. Training ran for {} epochs; \
                 the loss on held-out validation cells was lowest, {}, at epoch {}, and the weights of that epoch were kept.",
                epochs.len(),
                short(best.val_loss),
                best.epoch
            )));
        }
        content.push(Block::Figures(curves(&epochs)?));
    }
    content.push(Block::Table(TableView::new(
        "History",
        table,
        &file.published,
        inputs.params.table_rows,
        Pick::First,
    )));
    Ok(content)
}

fn curves(history: &[HistoryRow]) -> StageResult<Vec<Figure>> {
    let of = |value: fn(&HistoryRow) -> f64| history.iter().map(value).collect::<Vec<f64>>();
    let epochs = of(|e| e.epoch as f64);
    let mut out = Vec::new();
    let contrastive = [
        ("training", of(|e| e.nce)),
        ("validation", of(|e| e.val_loss)),
    ];
    if let Some(svg) = lines(&epochs, &contrastive, "epoch", "contrastive loss")? {
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
    let parts = [
        ("whole loss", of(|e| e.train_loss)),
        ("margin part", of(|e| e.margin)),
    ];
    if let Some(svg) = lines(&epochs, &parts, "epoch", "training loss")? {
        let caption = "The whole training loss and the part that comes from hard negatives.";
        out.push(Figure::new(
            &["training parts"],
            "Parts of the training loss",
            caption,
            &["history"],
            svg,
        ));
    }
    let rate = [("learning rate", of(|e| e.lr))];
    let changes = rate.iter().any(|(_, v)| v.windows(2).any(|w| w[0] != w[1]));
    if let Some(svg) = lines(&epochs, &rate, "epoch", "learning rate")?.filter(|_| changes) {
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
