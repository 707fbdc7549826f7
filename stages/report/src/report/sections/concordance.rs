//! How far expression strays from copy number in each cancer cell, by the paper's measure.

use clcc_stage::roles;
use std::collections::{BTreeMap, BTreeSet};

use super::{Inputs, Part, other_tables, table_blocks};
use crate::report::figures::bars::shares;
use crate::report::figures::distribution::{Scale, violins};
use crate::report::figures::palette;
use crate::report::html::{count, percent, short};
use crate::report::load::{TableFile, numbers, stack, tables, texts};
use crate::report::page::{Block, Figure, Section, Tone};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;

const ID: &str = "concordance";
const TITLE: &str = "Concordance";
const CLASSES: [&str; 3] = ["concordant", "intermediate", "discordant"];

/// Distances per patient, composition of the classes, tables.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    let cells = tables(
        inputs.ctx,
        roles::CONCORDANCE.any(),
        "tables/concordance.tsv",
    )?;
    let files = tables(
        inputs.ctx,
        roles::CONCORDANCE_SUMMARY.any(),
        "tables/concordance_summary.tsv",
    )?;
    if cells.is_empty() && files.is_empty() {
        return Ok(Section::absent(ID, TITLE, "concordance").into());
    }
    let mut blocks = vec![Block::Text(
        "The distance between a cancer cell's two embeddings says how badly its expression fits its copy number. Within each patient \
         the nearest cells are called concordant and the farthest discordant; these are quantiles, so there is always a discordant \
         class, whether or not any cell escapes its dosage."
            .into(),
    )];
    blocks.extend(warnings(&files)?);
    let mut tiles = Vec::new();
    for file in &cells {
        let table = file.read()?;
        blocks.push(whose_distance(&table, &files)?);
        if let Some(classes) = texts(&table, &["concordance_class"]) {
            let n = classes.iter().filter(|c| **c == "discordant").count();
            tiles.push((count(n), "discordant cancer cells (a quantile)".to_string()));
            blocks.extend(mixture(&table, &classes));
        }
        blocks.push(Block::Figures(figures(&table)?));
        blocks.push(Block::Text(format!(
            "The class and distance of every cell: `{}`, beside this page.",
            file.published
        )));
    }
    for (name, title) in [
        ("concordance_by_patient", "Classes per patient"),
        ("concordance_composition", "What the classes go with"),
    ] {
        blocks.extend(table_blocks(&files, name, title, "", inputs.params)?);
    }
    blocks.extend(other_tables(
        &files,
        &["concordance_by_patient", "concordance_composition"],
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

/// Whether the model that measured a cell had trained on it: of one model the class goes with that, of
/// held-out distances it cannot.
fn whose_distance(cells: &TextTable, files: &[TableFile]) -> StageResult<Block> {
    if let Some(folds) = texts(cells, &["fold"]) {
        let models = folds.iter().collect::<BTreeSet<_>>().len();
        let text = format!(
            "Held-out distances: each cell is measured by the one of {models} models that did not train on it, on a common scale \
             (`concordance_folds.tsv`). So the class cannot say which cells were trained on."
        );
        return Ok(Block::Note(Tone::Info, text));
    }
    let v = stack(files, "concordance_composition")?
        .iter()
        .find_map(|(table, _)| {
            let (variables, scope) = (texts(table, &["variable"])?, texts(table, &["patient"])?);
            let v = numbers(table, &["cramers_v_corrected", "cramers_v"])?;
            let rows = (0..v.len()).filter(|&i| variables[i] == "split");
            // Over all patients where there are several.
            rows.min_by_key(|&i| scope[i] != "all").map(|i| v[i])
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

/// What the stage itself warns of.
fn warnings(files: &[TableFile]) -> StageResult<Vec<Block>> {
    let mut out: Vec<String> = Vec::new();
    for (table, _) in stack(files, "concordance_composition")? {
        let Some(warnings) = texts(&table, &["warning"]) else {
            continue;
        };
        // Rows over all patients say it once; without them every patient's row does.
        let scope = texts(&table, &["patient"]).unwrap_or_default();
        let broad = |s: &str| s == "all" || s == "pooled";
        let any_broad = scope.iter().any(|s| broad(s));
        let said = (0..warnings.len())
            .filter(|&i| !any_broad || broad(scope[i]))
            .map(|i| warnings[i]);
        out.extend(
            said.filter(|t| !matches!(*t, "" | "NA"))
                .map(str::to_string),
        );
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

/// Counts of a column's values within each class.
fn counts<'a>(classes: &[&'a str], values: &[&'a str]) -> BTreeMap<&'a str, [f64; 3]> {
    let mut out: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for (class, value) in classes.iter().zip(values) {
        if let Some(c) = CLASSES.iter().position(|k| k == class) {
            out.entry(if value.is_empty() {
                "not stated"
            } else {
                value
            })
            .or_default()[c] += 1.0;
        }
    }
    out
}

/// Says in words which cell type the discordant class is mostly made of.
fn mixture(table: &TextTable, classes: &[&str]) -> Option<Block> {
    let types = counts(classes, &texts(table, &["cell_type"])?);
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

fn figures(table: &TextTable) -> StageResult<Vec<Figure>> {
    let mut out = Vec::new();
    if let (Some(patients), Some(distances)) =
        (texts(table, &["patient"]), numbers(table, &["distance"]))
    {
        let mut groups: Vec<(String, Vec<f64>)> = Vec::new();
        let label = texts(table, &["cancer_vs_normal"]);
        for (i, (patient, distance)) in patients.iter().zip(distances).enumerate() {
            if label.as_ref().is_some_and(|l| l[i] != "Cancer") {
                continue;
            }
            match groups.iter_mut().find(|g| g.0 == *patient) {
                Some(group) => group.1.push(distance),
                None => groups.push((patient.to_string(), vec![distance])),
            }
        }
        if let Some(svg) = violins(&groups, "distance", Scale::Linear)? {
            let caption = "Distance between the expression and the copy-number embedding of each cancer cell, by patient. Box: middle \
                           half of the cells and median.";
            out.push(Figure::new(
                &["concordance distance"],
                "Distance per patient",
                caption,
                &["concordance"],
                svg,
            ));
        }
    }
    let Some(classes) = texts(table, &["concordance_class"]) else {
        return Ok(out);
    };
    // Where every cell is held out, by which fold is what is left to ask.
    let membership = if texts(table, &["fold"]).is_some() {
        ("fold", "Classes by fold")
    } else {
        ("split", "Classes by split membership")
    };
    for (column, title) in [("cell_type", "Classes by cell type"), membership] {
        let Some(values) = texts(table, &[column]) else {
            continue;
        };
        let mut bars: Vec<(String, Vec<f64>)> = counts(&classes, &values)
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
        if let Some(svg) = shares(&bars, &parts, "share of cells")? {
            let caption = format!(
                "Share of each class among the classed cells, by {}. Equal bars mean that the class has nothing to do with it.",
                column.replace('_', " ")
            );
            out.push(Figure::new(
                &["concordance", column],
                title,
                &caption,
                &["concordance"],
                svg,
            ));
        }
    }
    Ok(out)
}
