//! What `dosage` and what discordance say of the same genes and cells, and what the class labels are
//! worth.

use super::{other_tables, picked_blocks, table_blocks};
use crate::report::figures::palette;
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::{count, percent};
use crate::report::load::{TableFile, rows};
use crate::report::page::{Block, Figure, Tone};
use crate::report::params::Params;
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_stage::rows::{CountSplitRow, DiscordanceNullRow, DosageDiscordanceGeneRow};
use clcc_stage::tables::Row as _;

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
    for (_, found) in rows::<DiscordanceNullRow>(files)? {
        out.extend(last_of(&found, |r| r.log2fc_threshold).map(null_sentence));
    }
    out.extend(table_blocks(
        files,
        NULL,
        "Genes found with permuted labels",
        "Class labels permuted within patient and cell type: what is found then are differences between cell types.",
        p,
    )?);
    for (_, found) in rows::<CountSplitRow>(files)? {
        out.extend(last_of(&found, |r| r.log2fc_threshold).map(split_sentence));
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
fn last_of<R>(found: &[R], threshold: fn(&R) -> f64) -> Option<&R> {
    let least = found.iter().map(threshold).fold(f64::INFINITY, f64::min);
    found.iter().rfind(|row| threshold(row) == least)
}

fn null_sentence(row: &DiscordanceNullRow) -> Block {
    let text = format!(
        "Between discordant and concordant cells {} genes are found. With the labels permuted within patient and cell type, which leaves \
         nothing but the mixture of cell types, the median is {} (95 %: {}).{}",
        count(row.n_genes as usize),
        count(row.null_median.round() as usize),
        count(row.null_95.round() as usize),
        if row.share_explained.is_finite() {
            format!(
                " So {} of them tell cell types apart.",
                percent(row.share_explained)
            )
        } else {
            String::new()
        }
    );
    let tone = if row.share_explained >= 0.5 {
        Tone::Warning
    } else {
        Tone::Info
    };
    Block::Note(tone, text)
}

fn split_sentence(row: &CountSplitRow) -> Block {
    let [without, with, both] = [
        row.n_genes_without_split,
        row.n_genes_with_split,
        row.n_genes_both,
    ]
    .map(|n| count(n as usize));
    Block::Note(
        Tone::Info,
        format!(
            "The counts were split in two halves. On the half that the classes were learnt on, {without} genes are found; on the half that \
             was held out, {with}; on both, {both}. The tables below test on the held-out half."
        ),
    )
}

/// The two ways side by side.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn side_by_side(files: &[TableFile], p: &Params) -> StageResult<Vec<Block>> {
    let mut out = Vec::new();
    for file in files.iter().filter(|f| f.is::<DosageDiscordanceGeneRow>()) {
        let table = file.read()?;
        // The stage counts the agreement in the table's notes.
        if let Some(counts) = table.notes.iter().find(|n| n.starts_with("of ")) {
            let mut letters = counts.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string());
            let text = format!("{}{}.", first.unwrap_or_default(), letters.as_str());
            out.push(Block::Text(text));
        }
        let genes = DosageDiscordanceGeneRow::parse(&table)?;
        out.extend(figure(&genes, p)?.map(|f| Block::Figures(vec![f])));
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
fn figure(genes: &[DosageDiscordanceGeneRow], p: &Params) -> StageResult<Option<Figure>> {
    let names: Vec<&str> = genes.iter().map(|g| g.names.as_str()).collect();
    // A slope too wide to be tested is told in the table and is no dot.
    let slope = |g: &DosageDiscordanceGeneRow| match g.dosage_class.as_str() {
        "untested" => f64::NAN,
        _ => g.dosage_slope,
    };
    let slopes: Vec<f64> = genes.iter().map(slope).collect();
    let classes = [
        ("discordance only".to_string(), palette::LOW),
        ("dosage only".to_string(), palette::HIGH),
        ("both".to_string(), BOTH),
    ];
    let finders = ["discordance", "dosage", "both"];
    let finder = |g: &DosageDiscordanceGeneRow| finders.iter().position(|who| *who == g.found_by);
    let class: Vec<usize> = genes
        .iter()
        .map(|g| finder(g).map_or(0, |c| c + 1))
        .collect();
    let size: Vec<f64> = genes.iter().map(|g| g.discordance_scores.abs()).collect();
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
