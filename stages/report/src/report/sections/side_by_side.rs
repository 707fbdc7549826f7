//! What `dosage` and what discordance say of the same genes and cells, and what the class labels are
//! worth.

use super::{other_tables, picked_blocks, table_blocks};
use crate::report::figures::palette;
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::{count, percent};
use crate::report::load::{TableFile, numbers, stack, texts};
use crate::report::page::{Block, Figure, Tone};
use crate::report::params::Params;
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;

/// Tables of stage `de` that are shown here.
pub(crate) const TABLES: [&str; 8] = [
    GENES,
    CELLS,
    NULL,
    SPLIT,
    "burden_scores",
    CNV_SCORES,
    "set_aside",
    BY_PATIENT,
];

/// Cells of each class and genes found, patient by patient.
pub(crate) const BY_PATIENT: &str = "discordance_by_patient";
const GENES: &str = "dosage_vs_discordance";
const CELLS: &str = "dosage_vs_discordance_cells";
const NULL: &str = "discordance_null";
const SPLIT: &str = "count_split";

/// Scores of cells of tumour samples beside normal cells.
pub(crate) const CNV_SCORES: &str = "cancer_vs_normal_scores";

/// How many genes are found because of cell types, or because the counts were used twice.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn labels(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for (table, _) in stack(files, NULL)? {
        out.extend(null_sentence(&table));
    }
    out.extend(table_blocks(
        files,
        NULL,
        "Genes found with permuted labels",
        "Class labels permuted within patient and cell type: what is found then are differences between cell types.",
        p,
    )?);
    for (table, _) in stack(files, SPLIT)? {
        out.extend(split_sentence(&table));
    }
    out.extend(table_blocks(
        files,
        SPLIT,
        "Genes found with and without split counts",
        "The same comparison on the half of the counts that the classes were learnt on, and on the half that was held out.",
        p,
    )?);
    if !out.is_empty() {
        out.insert(0, Block::Heading("What the labels are worth".into()));
    }
    Ok(out)
}

/// The last row of the lowest threshold: all patients together where there are several.
fn last_row(table: &TextTable, wanted: &[&str]) -> Option<Vec<f64>> {
    let limits = numbers(table, &["log2fc_threshold"])?;
    let least = limits.iter().copied().fold(f64::INFINITY, f64::min);
    let row = limits.iter().rposition(|l| *l == least)?;
    wanted
        .iter()
        .map(|name| numbers(table, &[name]).map(|v| v[row]))
        .collect()
}

fn null_sentence(table: &TextTable) -> Option<Block> {
    let row = last_row(
        table,
        &["n_genes", "null_median", "null_95", "share_explained"],
    )?;
    let text = format!(
        "Between discordant and concordant cells {} genes are found. With the labels permuted within patient and cell type, which leaves \
         nothing but the mixture of cell types, the median is {} (95 %: {}).{}",
        count(row[0] as usize),
        count(row[1].round() as usize),
        count(row[2].round() as usize),
        if row[3].is_finite() {
            format!(" So {} of them tell cell types apart.", percent(row[3]))
        } else {
            String::new()
        }
    );
    let tone = if row[3] >= 0.5 {
        Tone::Warning
    } else {
        Tone::Info
    };
    Some(Block::Note(tone, text))
}

fn split_sentence(table: &TextTable) -> Option<Block> {
    let row = last_row(
        table,
        &[
            "n_genes_without_split",
            "n_genes_with_split",
            "n_genes_both",
        ],
    )?;
    let [without, with, both] = [row[0], row[1], row[2]].map(|v| count(v as usize));
    Some(Block::Note(
        Tone::Info,
        format!(
            "The counts were split in two halves. On the half that the classes were learnt on, {without} genes are found; on the half that \
             was held out, {with}; on both, {both}. The tables below test on the held-out half."
        ),
    ))
}

/// The two ways side by side.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn side_by_side(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for (table, _) in stack(files, GENES)? {
        // The stage counts the agreement in the table's notes.
        if let Some(counts) = table.notes.iter().find(|n| n.starts_with("of ")) {
            let mut letters = counts.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string());
            let text = format!("{}{}.", first.unwrap_or_default(), letters.as_str());
            out.push(Block::Text(text));
        }
        out.extend(figure(&table, p)?.map(|f| Block::Figures(vec![f])));
    }
    if out.is_empty() {
        return Ok(out);
    }
    out.insert(
        0,
        Block::Heading("Dosage and discordance side by side".into()),
    );
    out.extend(picked_blocks(
        files,
        GENES,
        "Genes by both ways",
        "Where a long table is cut, these are the genes whose dosage slope is most surely not one.",
        p,
        Pick::Smallest(&["dosage_pvals_one_adj"]),
    )?);
    out.extend(table_blocks(
        files,
        CELLS,
        "Cells by both ways",
        "Whether cells that lie far apart in the two embeddings are those that fall short of their dosage.",
        p,
    )?);
    Ok(out)
}

const BOTH: [u8; 3] = [0xb0, 0x3a, 0x8c];

/// Slope against the size of the discordance score, coloured by who finds the gene.
fn figure(table: &TextTable, p: &Params) -> StageResult<Option<Figure>> {
    let (Some(names), Some(mut slopes), Some(scores), Some(found), Some(of_dosage)) = (
        texts(table, &["names"]),
        numbers(table, &["dosage_slope"]),
        numbers(table, &["discordance_scores"]),
        texts(table, &["found_by"]),
        texts(table, &["dosage_class"]),
    ) else {
        return Ok(None);
    };
    // A slope too wide to be tested is told in the table and is no dot.
    for (slope, _) in slopes
        .iter_mut()
        .zip(&of_dosage)
        .filter(|(_, class)| **class == "untested")
    {
        *slope = f64::NAN;
    }
    let classes = [
        ("discordance only".to_string(), palette::LOW),
        ("dosage only".to_string(), palette::HIGH),
        ("both".to_string(), BOTH),
    ];
    let finders = ["discordance", "dosage", "both"];
    let class = |f: &&str| finders.iter().position(|who| who == f).map_or(0, |c| c + 1);
    let class: Vec<usize> = found.iter().map(class).collect();
    let size: Vec<f64> = scores.iter().map(|z| z.abs()).collect();
    let svg = volcano(
        &Volcano {
            names: &names,
            effects: &slopes,
            evidence: &size,
            class: &class,
            classes: &classes,
            labels: p.label_genes,
            named: &[2, 3],
            effect_guides: &[0.0, 1.0],
            evidence_guide: None,
        },
        "dosage slope",
        "|z|, discordant against concordant",
    )?;
    let caption = "One dot a gene that both could test: its dosage slope over clones (dashed: 0, no dosage; 1, full dosage), and how far its \
                   expression differs between discordant and concordant cells. If discordance found escape from dosage, the genes high up \
                   would lie at slope 0.";
    Ok(svg.map(|svg| {
        Figure::new(
            &["dosage vs discordance"],
            "Two answers for each gene",
            caption,
            &["de", "dosage"],
            svg,
        )
    }))
}

/// Scores by burden and genes set aside, folded away.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn further(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let here: Vec<TableFile> = files
        .iter()
        .filter(|f| matches!(f.name.as_str(), "burden_scores" | CNV_SCORES | "set_aside"))
        .cloned()
        .collect();
    other_tables(&here, &[], p)
}
