//! Gene-level dosage sensitivity and per-cell compensation.

use std::collections::HashMap;

use super::{
    Content, Inputs, PACKED_ROWS, SectionKind, baseline, each_node, other_tables, picked_blocks,
    table_blocks,
};
use crate::report::figures::bars::bars;
use crate::report::figures::distribution::histogram;
use crate::report::figures::palette;
use crate::report::figures::svg::Svg;
use crate::report::figures::umap::{Colouring, umap};
use crate::report::figures::volcano::{Volcano, volcano};
use crate::report::html::count;
use crate::report::load::{Patient, TableFile, rows, tables};
use crate::report::page::{Block, Figure, Place};
use crate::report::params::Params;
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_numerics::math;
use clcc_stage::roles;
use clcc_stage::rows::{
    DosageArmRow, DosageCellRow, DosageChromosomeRow, DosageFactorRow, DosageGeneRow,
    DosageLoadingRow,
};
use clcc_stage::tables::{Row as _, TableSpec};

const TABLES: [TableSpec; 6] = [
    DosageArmRow::SPEC,
    DosageChromosomeRow::SPEC,
    DosageGeneRow::SPEC,
    DosageCellRow::SPEC,
    DosageFactorRow::SPEC,
    DosageLoadingRow::SPEC,
];

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "dosage",
    title: "Dosage sensitivity",
    reads: &[(roles::DOSAGE.any(), "dosage")],
    place: Place::Figures,
    instead: None,
    compose,
};

/// Slopes, cell scores, factors.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::DOSAGE)?;
    let mut content: Content = vec![Block::Text(
        "For each gene: how much does its expression follow the local copy number, over clones and patients, when the windows that \
         contain the gene itself are left out? A slope of one is full dosage, zero is none (the gene escapes), below zero the cell \
         over-compensates."
            .into(),
    )];
    content.extend(each_node(&files, |own| {
        let mut content = Content::new();
        genes(&mut content, own, inputs.params)?;
        cells(&mut content, own, inputs)?;
        let known = TABLES.map(|t| t.name());
        content.extend(other_tables(own, &known, inputs.params)?);
        Ok(content)
    })?);
    Ok(Some(content))
}

/// Slopes of the genes, and of arms and chromosomes.
fn genes(content: &mut Content, files: &[TableFile], p: &Params) -> StageResult<()> {
    let blocks = content;
    for (_, found) in rows::<DosageGeneRow>(files)? {
        blocks.push(Block::Figures(gene_figures(&found, p)?));
    }
    for (_, arms) in rows::<DosageArmRow>(files)? {
        blocks.extend(arm_figure(&arms)?.map(|f| Block::Figures(vec![f])));
    }
    let lead = "These are the genes that most probably escape; all stand under Tables.";
    let packed = Params {
        table_rows: p.table_rows.min(PACKED_ROWS),
        ..p.clone()
    };
    blocks.extend(picked_blocks(
        files,
        DosageGeneRow::SPEC.name(),
        "Genes",
        lead,
        &packed,
        Pick::Smallest(&["qval", "pvals_one_adj"]),
    )?);
    for (table, title) in [
        (DosageArmRow::SPEC, "Chromosome arms"),
        (DosageChromosomeRow::SPEC, "Chromosomes"),
    ] {
        blocks.extend(table_blocks(files, table.name(), title, "", p)?);
    }
    Ok(())
}

/// Scores of the cells, factors and their loadings.
fn cells(content: &mut Content, files: &[TableFile], inputs: &Inputs<'_, '_>) -> StageResult<()> {
    let blocks = content;
    blocks.push(Block::Heading("Cells that compensate".into()));
    blocks.push(Block::Text(
        "The sum score of a cell adds up, over genes in altered regions, how far the cell falls short of what its copy number \
         predicts. The factors are the leading patterns of the same residual; a factor counts only where it stands above its null, \
         which is made by permuting the copy-number profile along the genome."
            .into(),
    ));
    let of_cells = rows::<DosageCellRow>(files)?;
    let mut figures = Vec::new();
    for (_, found) in &of_cells {
        figures.extend(cell_figures(inputs, found)?);
        blocks.extend(baseline::of_shortfall(inputs, found)?);
    }
    for (_, factors) in rows::<DosageFactorRow>(files)? {
        figures.extend(factor_figure(&factors)?);
        let above = factors.iter().filter(|f| f.above_null).count();
        blocks.push(Block::Text(format!(
            "{} of {} factors stand above their null.",
            count(above),
            count(factors.len())
        )));
    }
    for (_, loadings) in rows::<DosageLoadingRow>(files)? {
        figures.extend(loading_figure(&loadings, inputs.params)?);
    }
    blocks.push(Block::Figures(figures));
    for (file, _) in of_cells {
        blocks.push(Block::Text(format!(
            "The scores of every cell: `{}`, beside this page.",
            file.published
        )));
    }
    let name = DosageFactorRow::SPEC.name();
    blocks.extend(table_blocks(files, name, "Factors", "", inputs.params)?);
    let lead = "Genes with a large positive loading are those held back in cells with a high factor score.";
    blocks.extend(picked_blocks(
        files,
        DosageLoadingRow::SPEC.name(),
        "Gene loadings of the factors",
        lead,
        inputs.params,
        Pick::Largest(&["factor_1"]),
    )?);
    Ok(())
}

/// Genes that over-compensate.
const OVER: [u8; 3] = [0xb0, 0x3a, 0x8c];

/// The classes of the genes in the order that they are drawn, with their colours.
fn classes(genes: &[DosageGeneRow]) -> Vec<(String, [u8; 3])> {
    let mut names: Vec<&str> = genes.iter().map(|g| g.class.as_str()).collect();
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

/// Adjusted p-value of a gene.
type Adjusted = fn(&DosageGeneRow) -> f64;

/// The volcano plots: p-values, id, title, what the evidence is for.
const VOLCANOES: [(Adjusted, &str, &str, &str); 2] = [
    (
        |g| g.pvals_one_adj,
        "dosage volcano one",
        "Against full dosage",
        "that the slope is not one, so that the gene does not follow its dosage in full",
    ),
    (
        |g| g.pvals_zero_adj,
        "dosage volcano zero",
        "For any dosage",
        "that the slope is not zero, so that the gene follows its dosage at all",
    ),
];

/// Genes with their slopes and classes.
struct Slopes<'a> {
    names: Vec<&'a str>,
    slopes: Vec<f64>,
    /// Names and colours of the classes.
    classes: Vec<(String, [u8; 3])>,
    /// Class of each gene.
    class_of: Vec<usize>,
}

fn gene_figures(found: &[DosageGeneRow], p: &Params) -> StageResult<Vec<Figure>> {
    let classes = classes(found);
    let class = |gene: &DosageGeneRow| {
        let is =
            |name: &String| *name == gene.class || (gene.class.is_empty() && name == "not classed");
        classes.iter().position(|(name, _)| is(name)).unwrap_or(0)
    };
    let class_of = found.iter().map(class).collect();
    let genes = Slopes {
        names: found.iter().map(|g| g.names.as_str()).collect(),
        slopes: found.iter().map(|g| g.slope).collect(),
        classes,
        class_of,
    };
    let mut out: Vec<Figure> = slope_histogram(&genes)?.into_iter().collect();
    for (adjusted, id, title, shows) in VOLCANOES {
        let evidence = found.iter().map(|g| -math::log10(adjusted(g)));
        let evidence: Vec<f64> = evidence.collect();
        if let Some(svg) = slope_volcano(&genes, &evidence, p)? {
            let caption = format!(
                "One dot a gene: its dosage slope and the evidence {shows}. Dashed: no dosage (0), full dosage (1), and the false discovery rate."
            );
            out.push(Figure::new(&[id], title, &caption, &["dosage"], svg));
        }
    }
    Ok(out)
}

fn slope_histogram(genes: &Slopes<'_>) -> StageResult<Option<Figure>> {
    let of = |c: usize| {
        let own = (0..genes.slopes.len()).filter(|&i| genes.class_of[i] == c);
        own.map(|i| genes.slopes[i]).collect()
    };
    let classes = genes.classes.iter().enumerate();
    let mut parts: Vec<(String, [u8; 3], Vec<f64>)> = classes
        .map(|(c, (name, colour))| (name.replace('_', " "), *colour, of(c)))
        .collect();
    if parts.is_empty() {
        parts.push(("genes".into(), palette::LOW, genes.slopes.clone()));
    }
    let caption = "Genes by their dosage slope; the outer bars also hold what lies beyond. The classes weigh the slope's \
                   interval, not only its value.";
    let svg = histogram(&parts, "slope on local copy number", "genes", None)?;
    Ok(svg.map(|svg| {
        Figure::new(
            &["dosage slopes"],
            "Dosage slopes",
            caption,
            &["dosage"],
            svg,
        )
    }))
}

/// Slopes against the evidence. Genes that are not classed are muted; the legend counts the others.
fn slope_volcano(genes: &Slopes<'_>, evidence: &[f64], p: &Params) -> StageResult<Option<Svg>> {
    let classes = &genes.classes;
    let shown: Vec<usize> = (0..classes.len())
        .filter(|&c| classes[c].1 != palette::MUTED)
        .collect();
    let place = |c: usize| shown.iter().position(|&k| k == c).map_or(0, |at| at + 1);
    let marked: Vec<usize> = genes.class_of.iter().map(|&c| place(c)).collect();
    let legend: Vec<(String, [u8; 3])> = shown
        .iter()
        .map(|&c| (classes[c].0.replace('_', " "), classes[c].1))
        .collect();
    let named: Vec<usize> = (0..classes.len())
        .filter(|&c| matches!(classes[c].1, palette::HIGH | OVER))
        .map(place)
        .collect();
    let v = Volcano {
        names: &genes.names,
        effects: &genes.slopes,
        evidence,
        class: &marked,
        classes: &legend,
        labels: p.label_genes,
        named: &named,
        effect_guides: &[0.0, 1.0],
        evidence_guide: Some(-math::log10(p.fdr)),
    };
    volcano(&v, "slope on local copy number", "−log10 adjusted p")
}

fn arm_figure(arms: &[DosageArmRow]) -> StageResult<Option<Figure>> {
    let bar = |row: &DosageArmRow| {
        let name = row.arm.strip_prefix("chr").unwrap_or(&row.arm);
        (name.to_string(), row.median_slope, palette::LOW)
    };
    let items: Vec<(String, f64, [u8; 3])> = arms.iter().map(bar).collect();
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
fn cell_figures(inputs: &Inputs<'_, '_>, found: &[DosageCellRow]) -> StageResult<Vec<Figure>> {
    let Some(scores) = cell_scores(inputs.patients, found) else {
        return Ok(Vec::new());
    };
    let mut out: Vec<Figure> = score_histogram(inputs.patients, &scores)?
        .into_iter()
        .collect();
    for (patient, values) in inputs.patients.iter().zip(scores) {
        let Some(points) = &patient.umap else {
            continue;
        };
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
        let id = ["dosage umap", &patient.name];
        let from = ["dosage", "clusters"];
        out.push(Figure::new(&id, &title, &caption, &from, svg).of(&patient.name));
    }
    Ok(out)
}

/// Scores of the cells of each patient, by patient and cell id; NaN for a cell without one. `None` where no cell has a
/// score.
fn cell_scores(patients: &[Patient], found: &[DosageCellRow]) -> Option<Vec<Vec<f64>>> {
    // In standard deviations, where there are any.
    let in_sd = found.iter().any(|c| c.shortfall_z.is_some());
    let score = |c: &DosageCellRow| if in_sd { c.shortfall_z } else { c.shortfall };
    let score_of: HashMap<(&str, &str), f64> = found
        .iter()
        .filter_map(|c| Some(((c.patient.as_str(), c.cell.as_str()), score(c)?)))
        .collect();
    let scores = patients.iter().map(|patient| {
        let score = |cell: &String| {
            score_of
                .get(&(patient.name.as_str(), cell.as_str()))
                .copied()
        };
        let cells = patient.obs.index.iter();
        cells.map(|c| score(c).unwrap_or(f64::NAN)).collect()
    });
    (!score_of.is_empty()).then(|| scores.collect())
}

fn score_histogram(patients: &[Patient], scores: &[Vec<f64>]) -> StageResult<Option<Figure>> {
    let mut parts = [
        ("Normal", palette::LOW),
        ("Cancer", palette::HIGH),
        ("other", palette::MUTED),
    ]
    .map(|(n, c)| (n.to_string(), c, Vec::new()));
    for (patient, scores) in patients.iter().zip(scores) {
        let labels = patient.obs.texts("cancer_vs_normal").unwrap_or_default();
        for (i, score) in scores.iter().enumerate() {
            let part = match labels.get(i).map(String::as_str) {
                Some("Normal") => 0,
                Some("Cancer") => 1,
                _ => 2,
            };
            parts[part].2.push(*score);
        }
    }
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|p| p.2.iter().any(|v| v.is_finite()))
        .collect();
    let caption = "Cells by their sum score; to the right, expression falls short of what copy number predicts.";
    let svg = histogram(&parts, "dosage score of the cell", "cells", None)?;
    Ok(svg.map(|svg| {
        Figure::new(
            &["dosage score"],
            "Score of the cells",
            caption,
            &["dosage", "expr"],
            svg,
        )
    }))
}

/// Bars of the factors, those above their null in colour, with the null as a line.
fn factor_figure(factors: &[DosageFactorRow]) -> StageResult<Option<Figure>> {
    let label = "coherence";
    let null = factors.first().map(|f| f.null_95);
    let bar = |(i, factor): (usize, &DosageFactorRow)| {
        let colour = if factor.above_null {
            palette::HIGH
        } else {
            palette::MUTED
        };
        ((i + 1).to_string(), factor.coherence, colour)
    };
    let items: Vec<(String, f64, [u8; 3])> = factors.iter().enumerate().map(bar).collect();
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
fn loading_figure(genes: &[DosageLoadingRow], p: &Params) -> StageResult<Option<Figure>> {
    let names: Vec<&str> = genes.iter().map(|g| g.names.as_str()).collect();
    let chromosome = |g: &DosageLoadingRow| g.chromosome.clone().unwrap_or_default();
    let chromosomes: Vec<String> = genes.iter().map(chromosome).collect();
    let loading = |g: &DosageLoadingRow| g.loadings.get("factor_1").copied();
    let Some(loadings) = genes.iter().map(loading).collect::<Option<Vec<f64>>>() else {
        return Ok(None);
    };
    if genes.iter().all(|g| g.chromosome.is_none()) {
        return Ok(None);
    }
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
