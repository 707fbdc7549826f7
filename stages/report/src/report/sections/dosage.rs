//! Gene-level dosage sensitivity and per-cell compensation.

use super::de::evidence;
use super::{Inputs, Part, other_tables, picked_blocks, table_blocks};
use crate::report::figures::bars::bars;
use crate::report::figures::distribution::histogram;
use crate::report::figures::palette;
use crate::report::figures::umap::{Colouring, umap};
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::count;
use crate::report::load::{numbers, stack, tables, texts};
use crate::report::page::{Block, Figure, Section};
use crate::report::params::Params;
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_numerics::math;
use clcc_stage::roles;

const ID: &str = "dosage";
const TITLE: &str = "Dosage sensitivity";
const TABLES: [&str; 6] = [
    "dosage_arms",
    "dosage_chromosomes",
    "dosage_genes",
    "dosage_cells",
    "dosage_factors",
    "dosage_loadings",
];

/// Slopes, cell scores, factors.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    let files = tables(inputs.ctx, roles::DOSAGE.any(), "tables/dosage.tsv")?;
    if files.is_empty() {
        return Ok(Section::absent(ID, TITLE, "dosage").into());
    }
    let p = inputs.params;
    let mut blocks = vec![Block::Text(
        "For each gene: how much does its expression follow the local copy number, over clones and patients, when the windows that \
         contain the gene itself are left out? A slope of one is full dosage, zero is none (the gene escapes), below zero the cell \
         over-compensates."
            .into(),
    )];
    let mut tiles = Vec::new();
    for (table, _) in stack(&files, "dosage_genes")? {
        tiles.extend(class_tiles(&table));
        blocks.push(Block::Figures(gene_figures(&table, p)?));
    }
    for (table, _) in stack(&files, "dosage_arms")? {
        blocks.extend(arm_figure(&table)?.map(|f| Block::Figures(vec![f])));
    }
    let lead = "Where a long table is cut, these are the genes that most probably escape.";
    blocks.extend(picked_blocks(
        &files,
        "dosage_genes",
        "Genes",
        lead,
        p,
        Pick::Smallest(&["qval", "pvals_one_adj", "pvals_adj", "pvals"]),
    )?);
    blocks.extend(table_blocks(
        &files,
        "dosage_arms",
        "Chromosome arms",
        "",
        p,
    )?);
    blocks.extend(table_blocks(
        &files,
        "dosage_chromosomes",
        "Chromosomes",
        "",
        p,
    )?);
    blocks.push(Block::Heading("Cells that compensate".into()));
    blocks.push(Block::Text(
        "The sum score of a cell adds up, over genes in altered regions, how far the cell falls short of what its copy number \
         predicts. The factors are the leading patterns of the same residual; a factor counts only where it stands above its null, \
         which is made by permuting the copy-number profile along the genome."
            .into(),
    ));
    let cells = match files.iter().find(|f| f.name == "dosage_cells") {
        Some(file) => Some((file, file.read()?)),
        None => None,
    };
    let mut figures = Vec::new();
    if let Some((_, table)) = &cells {
        figures.extend(cell_figures(inputs, table)?);
    }
    for (table, _) in stack(&files, "dosage_factors")? {
        figures.extend(factor_figure(&table)?);
        if let Some(above) = texts(&table, &["above_null"]) {
            let n = above
                .iter()
                .filter(|a| a.eq_ignore_ascii_case("true") || **a == "1")
                .count();
            tiles.push((count(n), "dosage factors above their null".to_string()));
        }
    }
    for (table, _) in stack(&files, "dosage_loadings")? {
        figures.extend(loading_figure(&table, p)?);
    }
    blocks.push(Block::Figures(figures));
    if let Some((file, _)) = &cells {
        blocks.push(Block::Text(format!(
            "The scores of every cell: `{}`, beside this page.",
            file.published
        )));
    }
    blocks.extend(table_blocks(&files, "dosage_factors", "Factors", "", p)?);
    let lead = "Genes with a large positive loading are those held back in cells with a high factor score.";
    blocks.extend(picked_blocks(
        &files,
        "dosage_loadings",
        "Gene loadings of the factors",
        lead,
        p,
        Pick::Largest(&["factor_1"]),
    )?);
    blocks.extend(other_tables(&files, &TABLES, p)?);
    Ok(Part {
        section: Section {
            id: ID,
            title: TITLE,
            blocks,
        },
        tiles,
    })
}

/// Genes that over-compensate.
const OVER: [u8; 3] = [0xb0, 0x3a, 0x8c];

/// The classes of the genes in the order that they are drawn, with their colours.
fn classes(table: &TextTable) -> Vec<(String, [u8; 3])> {
    let mut names: Vec<&str> = texts(table, &["class"]).unwrap_or_default();
    names.sort_unstable();
    names.dedup();
    // Drawn in this order, so that what matters lies on top.
    const KNOWN: [(&str, [u8; 3]); 4] = [
        ("unresolved", palette::MUTED),
        ("sensitive", palette::LOW),
        ("insensitive", palette::HIGH),
        ("over-compensated", OVER),
    ];
    let place = |name: &str| KNOWN.iter().position(|k| k.0 == name.replace('_', "-"));
    names.sort_by_key(|n| place(n).map_or(0, |p| p + 1));
    let colour = |name: &str| place(name).map_or(palette::MUTED, |p| KNOWN[p].1);
    names
        .into_iter()
        .map(|n| {
            (
                if n.is_empty() {
                    "not classed".to_string()
                } else {
                    n.to_string()
                },
                colour(n),
            )
        })
        .collect()
}

fn class_tiles(table: &TextTable) -> Vec<(String, String)> {
    let Some(values) = texts(table, &["class"]) else {
        return Vec::new();
    };
    let n = |class: &str| {
        count(
            values
                .iter()
                .filter(|v| v.replace('_', "-") == class)
                .count(),
        )
    };
    vec![
        (n("insensitive"), "dosage-insensitive genes".to_string()),
        (n("over-compensated"), "over-compensated genes".to_string()),
    ]
}

fn gene_figures(table: &TextTable, p: &Params) -> StageResult<Vec<Figure>> {
    let mut out = Vec::new();
    let (Some(names), Some(slopes)) = (texts(table, &["names"]), numbers(table, &["slope"])) else {
        return Ok(out);
    };
    let classes = classes(table);
    let class_of: Vec<usize> = match texts(table, &["class"]) {
        Some(values) => values
            .iter()
            .map(|v| {
                classes
                    .iter()
                    .position(|(n, _)| n == v || (v.is_empty() && n == "not classed"))
                    .unwrap_or(0)
            })
            .collect(),
        None => vec![0; names.len()],
    };
    let parts: Vec<(String, [u8; 3], Vec<f64>)> = if classes.is_empty() {
        vec![("genes".into(), palette::LOW, slopes.clone())]
    } else {
        let of = |c: usize| {
            (0..slopes.len())
                .filter(|&i| class_of[i] == c)
                .map(|i| slopes[i])
                .collect()
        };
        classes
            .iter()
            .enumerate()
            .map(|(c, (name, colour))| (name.replace('_', " "), *colour, of(c)))
            .collect()
    };
    if let Some(svg) = histogram(&parts, "slope on local copy number", "genes", None)? {
        let caption = "Genes by their dosage slope; the outer bars also hold what lies beyond. The classes weigh the slope's \
                       interval, not only its value.";
        out.push(Figure::new(
            &["dosage slopes"],
            "Dosage slopes",
            caption,
            &["dosage"],
            svg,
        ));
    }
    for (column, id, title, shows) in [
        (
            "pvals_one_adj",
            "dosage volcano one",
            "Against full dosage",
            "that the slope is not one, so that the gene does not follow its dosage in full",
        ),
        (
            "pvals_zero_adj",
            "dosage volcano zero",
            "For any dosage",
            "that the slope is not zero, so that the gene follows its dosage at all",
        ),
        (
            "pvals_adj",
            "dosage volcano",
            "Slope and evidence",
            "that the slope is not zero",
        ),
    ] {
        let Some(adjusted) = numbers(table, &[column]) else {
            continue;
        };
        let evidence = evidence(table, &adjusted);
        // Genes that are not classed are muted; the legend counts the others.
        let shown: Vec<usize> = (0..classes.len())
            .filter(|&c| classes[c].1 != palette::MUTED)
            .collect();
        let place = |c: usize| shown.iter().position(|&k| k == c).map_or(0, |at| at + 1);
        let marked: Vec<usize> = class_of.iter().map(|&c| place(c)).collect();
        let legend: Vec<(String, [u8; 3])> = shown
            .iter()
            .map(|&c| (classes[c].0.replace('_', " "), classes[c].1))
            .collect();
        let named: Vec<usize> = (0..classes.len())
            .filter(|&c| matches!(classes[c].1, palette::HIGH | OVER))
            .map(place)
            .collect();
        let v = Volcano {
            names: &names,
            effects: &slopes,
            evidence: &evidence,
            class: &marked,
            classes: &legend,
            labels: p.label_genes,
            named: &named,
            effect_guides: &[0.0, 1.0],
            evidence_guide: Some(-math::log10(p.fdr)),
        };
        if let Some(svg) = volcano(&v, "slope on local copy number", "−log10 adjusted p")? {
            let caption = format!(
                "One dot a gene: its dosage slope and the evidence {shows}. Dashed: no dosage (0), full dosage (1), and the false discovery rate."
            );
            out.push(Figure::new(&[id], title, &caption, &["dosage"], svg));
        }
    }
    Ok(out)
}

fn arm_figure(table: &TextTable) -> StageResult<Option<Figure>> {
    let (Some(arms), Some(slopes)) = (texts(table, &["arm"]), numbers(table, &["median_slope"]))
    else {
        return Ok(None);
    };
    let items: Vec<(String, f64, [u8; 3])> = arms
        .iter()
        .zip(slopes)
        .map(|(a, s)| {
            (
                a.strip_prefix("chr").unwrap_or(a).to_string(),
                s,
                palette::LOW,
            )
        })
        .collect();
    let Some(svg) = bars(&items, "chromosome arm", "median slope", Some(1.0))? else {
        return Ok(None);
    };
    let caption = "Median dosage slope of the tested genes of each arm; arms without a copy-number change have none. Dashed: full dosage.";
    Ok(Some(Figure::new(
        &["dosage arms"],
        "Slopes by chromosome arm",
        caption,
        &["dosage"],
        svg,
    )))
}

/// Score by label, and on each patient's map.
fn cell_figures(inputs: &Inputs<'_, '_>, table: &TextTable) -> StageResult<Vec<Figure>> {
    let mut out = Vec::new();
    let Some(scores) = numbers(table, &["shortfall_z", "shortfall", "dosage_score"]) else {
        return Ok(out);
    };
    let (Some(cells), patients) = (texts(table, &["cell"]), texts(table, &["patient"])) else {
        return Ok(out);
    };
    let score_of: std::collections::HashMap<(&str, &str), f64> = (0..cells.len())
        .map(|i| {
            (
                (patients.as_ref().map_or("", |p| p[i]), cells[i]),
                scores[i],
            )
        })
        .collect();
    let score = |patient: &str, cell: &str| {
        score_of
            .get(&(if patients.is_some() { patient } else { "" }, cell))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let mut parts = [
        ("Normal", palette::LOW),
        ("Cancer", palette::HIGH),
        ("other", palette::MUTED),
    ]
    .map(|(n, c)| (n.to_string(), c, Vec::new()));
    for patient in inputs.patients {
        let labels = patient.obs.texts("cancer_vs_normal").unwrap_or_default();
        for (i, cell) in patient.obs.index.iter().enumerate() {
            let part = match labels.get(i).map(String::as_str) {
                Some("Normal") => 0,
                Some("Cancer") => 1,
                _ => 2,
            };
            parts[part].2.push(score(&patient.name, cell));
        }
    }
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|p| p.2.iter().any(|v| v.is_finite()))
        .collect();
    if let Some(svg) = histogram(&parts, "dosage score of the cell", "cells", None)? {
        let caption = "Cells by their sum score; to the right, expression falls short of what copy number predicts.";
        out.push(Figure::new(
            &["dosage score"],
            "Score of the cells",
            caption,
            &["dosage", "expr"],
            svg,
        ));
    }
    for patient in inputs.patients {
        let Some(points) = &patient.umap else {
            continue;
        };
        let values: Vec<f64> = patient
            .obs
            .index
            .iter()
            .map(|c| score(&patient.name, c))
            .collect();
        if values.iter().all(|v| v.is_nan()) {
            continue;
        }
        let svg = umap(
            points.view(),
            &Colouring::Value {
                values,
                label: "dosage score".into(),
            },
        )?;
        let caption = format!(
            "The sum score on the copy-number map of {}; grey cells have none.",
            patient.name
        );
        let title = format!("Score, {}", patient.name);
        out.push(Figure::new(
            &["dosage umap", &patient.name],
            &title,
            &caption,
            &["dosage", "clusters"],
            svg,
        ));
    }
    Ok(out)
}

/// Bars of the factors, those above their null in colour, with the null as a line.
fn factor_figure(table: &TextTable) -> StageResult<Option<Figure>> {
    let Some((values, label)) = numbers(table, &["coherence"])
        .map(|v| (v, "coherence"))
        .or_else(|| Some((numbers(table, &["singular_value"])?, "singular value")))
    else {
        return Ok(None);
    };
    let null = table
        .header
        .iter()
        .find(|h| h.starts_with("null"))
        .and_then(|h| table.numbers(h).ok()?.first().copied());
    let above = texts(table, &["above_null"]);
    let items: Vec<(String, f64, [u8; 3])> = values
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let real = above.as_ref().map_or(null.is_none_or(|n| *v > n), |a| {
                a[i].eq_ignore_ascii_case("true")
            });
            (
                (i + 1).to_string(),
                *v,
                if real { palette::HIGH } else { palette::MUTED },
            )
        })
        .collect();
    let Some(svg) = bars(&items, "factor", label, null)? else {
        return Ok(None);
    };
    let caption = format!(
        "The {label} of each leading factor of the residual. Dashed: the quantile of its null, from profiles permuted along the genome. \
         Coloured factors stand above it; grey ones are no more than noise or unrelated to copy number."
    );
    Ok(Some(Figure::new(
        &["dosage factors"],
        "Factors and their null",
        &caption,
        &["dosage"],
        svg,
    )))
}

/// Loadings of the first factor along the genome.
fn loading_figure(table: &TextTable, p: &Params) -> StageResult<Option<Figure>> {
    let (Some(names), Some(chromosomes), Some(loadings)) = (
        texts(table, &["names"]),
        texts(table, &["chromosome"]),
        numbers(table, &["factor_1"]),
    ) else {
        return Ok(None);
    };
    // Chromosomes in two colours by turns; genes lie in genome order.
    let mut class = Vec::with_capacity(names.len());
    for i in 0..names.len() {
        let turn = match class.last() {
            None => 1,
            Some(&last) if chromosomes[i] == chromosomes[i - 1] => last,
            Some(&last) => 3 - last,
        };
        class.push(turn);
    }
    let at: Vec<f64> = (0..names.len()).map(|i| i as f64).collect();
    let height: Vec<f64> = loadings.iter().map(|l| 100.0 * l.max(0.0)).collect();
    let odd = chromosomes.first().map_or("", |c| c);
    let classes = [
        (format!("{odd} and every second one"), palette::LOW),
        ("the chromosomes between".to_string(), palette::HIGH),
    ];
    let svg = volcano(
        &Volcano {
            names: &names,
            effects: &at,
            evidence: &height,
            class: &class,
            classes: &classes,
            labels: p.label_genes,
            named: &[1, 2],
            effect_guides: &[],
            evidence_guide: None,
        },
        "altered genes in genome order",
        "loading on factor 1, in hundredths",
    )?;
    let caption = "Genes that are altered in some clone, along the genome, by how much they carry the first factor. High genes are those held \
                   back in cells with a high score. All in one place: a subclone without that change. Here and there: compensation.";
    Ok(svg.map(|svg| {
        Figure::new(
            &["dosage loadings"],
            "Loadings along the genome",
            caption,
            &["dosage"],
            svg,
        )
    }))
}
