//! Method B: loss terms, anchors, how often they are found, and the map of `h`.

use std::collections::HashMap;

use super::{Inputs, Part, categories, picked_blocks, table_blocks};
use crate::report::figures::grid::{Axes, dense};
use crate::report::figures::lines::lines;
use crate::report::figures::palette;
use crate::report::figures::umap::{Colouring, umap};
use crate::report::html::{percent, short};
use crate::report::load::{TableFile, numbers, tables, texts};
use crate::report::page::{Block, Figure, Section, Tone};
use crate::report::table_view::Pick;
use clcc_data::anndata::Reader;
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;

const ID: &str = "anchors";
const TITLE: &str = "Anchors";

/// The whole of method B; `None` where the model has no anchors.
///
/// # Errors
/// Where an artifact cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Option<Part>> {
    let files = tables(inputs.ctx, roles::RETRIEVAL.any(), "tables/retrieval.tsv")?;
    if !files.iter().any(|f| f.name == "anchor_retrieval") {
        return Ok(None);
    }
    let mut blocks = vec![
        Block::Text(
            "An anchor is the copy number of a subcluster: the states that inferCNV's hidden Markov model gave its genes, placed once \
             by a random map that is never trained. The expression encoder learns to put each cell at its own anchor. Below: how often \
             an anchor is the nearest, or among the nearest five, for single cells and for the centroids (means) of an anchor's cells."
                .into(),
        ),
        Block::Note(
            Tone::Warning,
            "A subcluster's states come from the expression of the very cells that are then to find it, held-out cells included. A high \
             number says that the encoder tells subclusters apart, not that expression predicts an independently measured copy number."
                .into(),
        ),
    ];
    let mut tiles = Vec::new();
    for file in files.iter().filter(|f| f.name == "anchor_retrieval") {
        let table = file.read()?;
        let (text, tile) = headline(&table, file.patient.as_deref());
        blocks.extend(text.map(Block::Text));
        if tiles.is_empty() {
            tiles.extend(tile);
        }
    }
    blocks.extend(picked_blocks(
        &files,
        "anchor_retrieval",
        "How often anchors are found",
        "Chance stands beside each share. Held-out: validation and test cells together; the training used neither.",
        inputs.params,
        Pick::First,
    )?);
    let mut figures = Vec::new();
    for file in tables(inputs.ctx, roles::HISTORY.any(), "model/history.tsv")? {
        figures.extend(terms(&file)?);
    }
    for file in &files {
        figures.extend(similarity(file)?);
    }
    blocks.push(Block::Figures(figures));
    blocks.extend(picked_blocks(
        &files,
        "anchors",
        "Anchors",
        "",
        inputs.params,
        Pick::Largest(&["n_cells"]),
    )?);
    let maps = maps(inputs)?;
    if !maps.is_empty() {
        blocks.push(Block::Heading("Map of h".into()));
        blocks.push(Block::Figures(maps));
    }
    let clusters = tables(
        inputs.ctx,
        roles::H_CLUSTER_TABLES.any(),
        "tables/h_clusters.tsv",
    )?;
    blocks.extend(table_blocks(
        &clusters,
        "h_clusters",
        "Clusters of h",
        "",
        inputs.params,
    )?);
    Ok(Some(Part {
        section: Section {
            id: ID,
            title: TITLE,
            blocks,
        },
        tiles,
    }))
}

fn of(patient: Option<&str>) -> String {
    patient.map(|p| format!(", {p}")).unwrap_or_default()
}

/// The paper's figure in words, and as a tile.
fn headline(table: &TextTable, patient: Option<&str>) -> (Option<String>, Vec<(String, String)>) {
    let (Some(level), Some(space), Some(cells), Some(top5), Some(chance)) = (
        texts(table, &["level"]),
        texts(table, &["space"]),
        texts(table, &["cells"]),
        numbers(table, &["top5"]),
        numbers(table, &["chance_top5"]),
    ) else {
        return (None, Vec::new());
    };
    let find = |l: &str, s: &str, c: &str| {
        (0..level.len())
            .find(|&i| level[i] == l && space[i] == s && cells[i] == c)
            .map_or(f64::NAN, |i| top5[i])
    };
    let share = |x: f64| {
        if x.is_finite() {
            percent(x)
        } else {
            "none".to_string()
        }
    };
    let n = numbers(table, &["anchors"]).map_or(f64::NAN, |a| a[0]);
    let text = format!(
        "{} anchors{}. Own anchor among the nearest five, in z: {} of the centroids of training cells, {} of the centroids of held-out \
         cells, {} of held-out cells one by one; by chance {}. In h: {}, {}, {}.",
        short(n),
        of(patient),
        share(find("centroid", "z", "train")),
        share(find("centroid", "z", "heldout")),
        share(find("cell", "z", "heldout")),
        share(chance[0]),
        share(find("centroid", "h", "train")),
        share(find("centroid", "h", "heldout")),
        share(find("cell", "h", "heldout")),
    );
    let tiles = vec![
        (short(n), format!("anchors{}", of(patient))),
        (
            share(find("cell", "z", "heldout")),
            format!("top-5 anchor, held-out cells (chance {})", share(chance[0])),
        ),
    ];
    (Some(text), tiles)
}

fn terms(file: &TableFile) -> StageResult<Vec<Figure>> {
    let table = file.read()?;
    let Some(epochs) = numbers(&table, &["epoch"]) else {
        return Ok(Vec::new());
    };
    let series = |names: &[(&'static str, &'static str)]| -> Vec<(&'static str, Vec<f64>)> {
        let column = |(name, label): &(&'static str, &'static str)| {
            Some((*label, numbers(&table, &[name])?))
        };
        names.iter().filter_map(column).collect()
    };
    let patient = file.patient.as_deref();
    let id = patient.unwrap_or("");
    let mut out = Vec::new();
    let mut add =
        |key: &str, title: &str, label: &str, caption: &str, lines_of: Vec<(&str, Vec<f64>)>| {
            let svg = lines(&epochs, &lines_of, "epoch", label)?;
            let title = format!("{title}{}", of(patient));
            out.extend(
                svg.map(|svg| {
                    Figure::new(&["anchors", key, id], &title, caption, &["history"], svg)
                }),
            );
            StageResult::Ok(())
        };
    add(
        "nce",
        "Contrastive term",
        "InfoNCE",
        "InfoNCE of each cell's own anchor against its hardest others: of training batches, and of the validation cells, which decide \
         nothing here. Anchors that lie close together keep it from reaching 0.",
        series(&[("nce", "training"), ("val_loss", "validation")]),
    )?;
    add(
        "centroid",
        "Centroid term",
        "squared distance",
        "Mean squared distance of a training cell to the centroid of its anchor's cells, before its weight; it begins in the second epoch.",
        series(&[("centroid", "centroid")]),
    )?;
    add(
        "h",
        "Term of h",
        "squared distance",
        "Mean squared distance of a training cell's h to its anchor's h, before its weight.",
        series(&[("h", "h")]),
    )?;
    Ok(out)
}

fn similarity(file: &TableFile) -> StageResult<Option<Figure>> {
    let (title, rows_of, caption) = match file.name.as_str() {
        "anchor_similarity" => (
            "Anchors with one another",
            "anchor",
            "Cosine similarity in z of the anchors with one another, where the frozen map puts them. Red: alike; anchors that are alike in \
             copy number are alike here, and hard to tell apart.",
        ),
        "centroid_similarity" => (
            "Centroids with anchors",
            "centroid",
            "Cosine similarity in z of the centroids of training cells (rows) with the anchors (columns). A model that works is reddest on \
             the diagonal.",
        ),
        _ => return Ok(None),
    };
    let table = file.read()?;
    let columns: Vec<Vec<f64>> = table.header[1..]
        .iter()
        .map(|c| table.numbers(c))
        .collect::<StageResult<_>>()?;
    let rows: Vec<Vec<f64>> = (0..table.rows.len())
        .map(|r| columns.iter().map(|c| c[r]).collect())
        .collect();
    let patient = file.patient.as_deref();
    let title = format!("{title}{}", of(patient));
    let axes = Axes {
        rows: rows_of,
        columns: "anchor",
    };
    Ok(dense(&rows, &[], axes)?.map(|svg| {
        let id = [file.name.as_str(), patient.unwrap_or("")];
        Figure::new(&id, &title, caption, &["retrieval"], svg)
    }))
}

/// The map of each model's cells, by cluster, type and label.
fn maps(inputs: &Inputs<'_, '_>) -> StageResult<Vec<Figure>> {
    let mut place: HashMap<(&str, &str), (usize, usize)> = HashMap::new();
    for (p, patient) in inputs.patients.iter().enumerate() {
        for (row, cell) in patient.obs.index.iter().enumerate() {
            place.insert((patient.name.as_str(), cell.as_str()), (p, row));
        }
    }
    let mut out = Vec::new();
    for input in inputs.ctx.all(roles::H_CLUSTERS) {
        let reader = Reader::open(&input.path)?;
        let obs = reader.obs()?;
        let points = reader.obsm("X_h_umap")?.into_dense();
        let mut frames = vec![obs.clone()];
        let name = (!input.branch.is_empty()).then(|| clcc_stage::cohort::patient_name(&input));
        // The cells of a model of one patient do not say whose they are.
        let patients = match &name {
            Some(name) => vec![name.clone(); obs.len()],
            None => obs.texts("patient")?,
        };
        // What is known of these cells from the other stages.
        let mut known = clcc_data::frame::Frame::new(obs.index.clone());
        for column in ["cell_type", "cancer_vs_normal"] {
            let texts: Vec<Option<Vec<String>>> = inputs
                .patients
                .iter()
                .map(|p| p.obs.texts(column).ok())
                .collect();
            let value = |(patient, cell): (&String, &String)| {
                let (p, row) = place.get(&(patient.as_str(), cell.as_str()))?;
                Some(texts[*p].as_ref()?[*row].clone())
            };
            let values: Vec<String> = patients
                .iter()
                .zip(&obs.index)
                .map(|c| value(c).unwrap_or_default())
                .collect();
            if values.iter().any(|v| !v.is_empty()) {
                known.set_category(column, &values);
            }
        }
        frames.push(known);
        for (column, title, on_map) in [
            ("h_leiden", "By cluster of h", true),
            ("cell_type", "By cell type", false),
            ("cancer_vs_normal", "By label", false),
        ] {
            let Some((codes, names)) = frames.iter().find_map(|f| categories(f, column)) else {
                continue;
            };
            let colours = names
                .iter()
                .enumerate()
                .map(|(i, n)| palette::named(n, i))
                .collect();
            let colouring = Colouring::Category {
                codes,
                names,
                colours,
                on_map,
            };
            let title = format!("{title}{}", of(name.as_deref()));
            out.push(Figure::new(
                &["h umap", column, name.as_deref().unwrap_or("")],
                &title,
                "UMAP of h, the layer before the projection to z; each dot is a cell.",
                &["h_clusters", "expr"],
                umap(points.view(), &colouring)?,
            ));
        }
    }
    Ok(out)
}
