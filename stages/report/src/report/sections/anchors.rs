//! Method B: loss terms, anchors, how often they are found, and the map of `h`.

use std::collections::HashMap;

use super::{Content, Inputs, SectionKind, categories, picked_blocks, table_blocks};
use crate::report::figures::grid::{Axes, dense};
use crate::report::figures::lines::lines;
use crate::report::figures::umap::{Colouring, umap};
use crate::report::html::{percent, short};
use crate::report::load::{Patient, TableFile, rows, table_files, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::table_view::Pick;
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_stage::roles;
use clcc_stage::rows::{
    AnchorHistoryRow, AnchorRetrievalRow, AnchorRow, AnchorSimilarityRow, CentroidSimilarityRow,
};
use clcc_stage::tables::{Family, Row as _};

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "anchors",
    title: "Anchors",
    reads: &[
        (roles::RETRIEVAL.any(), "eval"),
        (roles::HISTORY.any(), "train"),
        (roles::H_CLUSTERS.any(), "cluster"),
        (roles::H_CLUSTER_TABLES.any(), "cluster"),
    ],
    place: Place::Figures,
    instead: None,
    compose,
};

/// The whole of method B; `None` where the model has no anchors.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::RETRIEVAL)?;
    let found = rows::<AnchorRetrievalRow>(&files)?;
    if found.is_empty() {
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
    for (file, rows) in &found {
        blocks.push(Block::Text(headline(rows, file.patient.as_deref())));
    }
    blocks.extend(picked_blocks(
        &files,
        AnchorRetrievalRow::SPEC.name(),
        "How often anchors are found",
        "Chance stands beside each share. Held-out: validation and test cells together; the training used neither.",
        inputs.params,
        Pick::First,
    )?);
    blocks.push(Block::Figures(figures(inputs, &files)?));
    blocks.extend(picked_blocks(
        &files,
        AnchorRow::SPEC.name(),
        "Anchors",
        "",
        inputs.params,
        Pick::Largest(&["n_cells"]),
    )?);
    blocks.extend(map_of_h(inputs)?);
    Ok(Some(blocks))
}

/// The map of h and its clusters.
fn map_of_h(inputs: &Inputs<'_, '_>) -> StageResult<Vec<Block>> {
    let mut blocks = Vec::new();
    let maps = maps(inputs)?;
    if !maps.is_empty() {
        blocks.push(Block::Heading("Map of h".into()));
        blocks.push(Block::Figures(maps));
    }
    let clusters = tables(inputs.ctx, roles::H_CLUSTER_TABLES)?;
    let title = "Clusters of h";
    blocks.extend(table_blocks(
        &clusters,
        "h_clusters",
        title,
        "",
        inputs.params,
    )?);
    Ok(blocks)
}

/// Loss terms of the training and similarities of the anchors.
fn figures(inputs: &Inputs<'_, '_>, files: &[TableFile]) -> StageResult<Vec<Figure>> {
    let mut figures = Vec::new();
    for file in table_files::<AnchorHistoryRow>(inputs.ctx, roles::HISTORY, "model") {
        figures.extend(terms(&file)?);
    }
    for file in files {
        figures.extend(similarity(file)?);
    }
    Ok(figures)
}

fn of(patient: Option<&str>) -> String {
    patient.map(|p| format!(", {p}")).unwrap_or_default()
}

/// The paper's figure in words.
fn headline(rows: &[AnchorRetrievalRow], patient: Option<&str>) -> String {
    let find = |level: &str, space: &str, cells: &str| {
        let is = |r: &&AnchorRetrievalRow| r.level == level && r.space == space && r.cells == cells;
        rows.iter().find(is).map_or(f64::NAN, |r| r.top5)
    };
    let share = |x: f64| {
        if x.is_finite() {
            percent(x)
        } else {
            "none".to_string()
        }
    };
    let (n, chance) = rows
        .first()
        .map_or((f64::NAN, f64::NAN), |r| (r.anchors as f64, r.chance_top5));
    format!(
        "{} anchors{}. Own anchor among the nearest five, in z: {} of the centroids of training cells, {} of the centroids of held-out \
         cells, {} of held-out cells one by one; by chance {}. In h: {}, {}, {}.",
        short(n),
        of(patient),
        share(find("centroid", "z", "train")),
        share(find("centroid", "z", "heldout")),
        share(find("cell", "z", "heldout")),
        share(chance),
        share(find("centroid", "h", "train")),
        share(find("centroid", "h", "heldout")),
        share(find("cell", "h", "heldout")),
    )
}

fn terms(file: &TableFile) -> StageResult<Vec<Figure>> {
    let history = file.rows::<AnchorHistoryRow>()?;
    let term = |value: fn(&AnchorHistoryRow) -> f64| history.iter().map(value).collect();
    let epochs: Vec<f64> = term(|e| e.epoch as f64);
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
        vec![
            ("training", term(|e| e.nce)),
            ("validation", term(|e| e.val_loss)),
        ],
    )?;
    add(
        "centroid",
        "Centroid term",
        "squared distance",
        "Mean squared distance of a training cell to the centroid of its anchor's cells, before its weight; it begins in the second epoch.",
        vec![("centroid", term(|e| e.centroid))],
    )?;
    add(
        "h",
        "Term of h",
        "squared distance",
        "Mean squared distance of a training cell's h to its anchor's h, before its weight.",
        vec![("h", term(|e| e.h))],
    )?;
    Ok(out)
}

fn similarity(file: &TableFile) -> StageResult<Option<Figure>> {
    let values = |family: &Family<f64>| family.values().to_vec();
    let (title, rows_of, caption, rows) = if file.is::<AnchorSimilarityRow>() {
        let rows = file.rows::<AnchorSimilarityRow>()?;
        (
            "Anchors with one another",
            "anchor",
            "Cosine similarity in z of the anchors with one another, where the frozen map puts them. Red: alike; anchors that are alike in \
             copy number are alike here, and hard to tell apart.",
            rows.iter().map(|r| values(&r.cosine)).collect::<Vec<_>>(),
        )
    } else if file.is::<CentroidSimilarityRow>() {
        let rows = file.rows::<CentroidSimilarityRow>()?;
        (
            "Centroids with anchors",
            "centroid",
            "Cosine similarity in z of the centroids of training cells (rows) with the anchors (columns). A model that works is reddest on \
             the diagonal.",
            rows.iter().map(|r| values(&r.cosine)).collect(),
        )
    } else {
        return Ok(None);
    };
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
    let known = Known::new(inputs);
    let mut out = Vec::new();
    for input in inputs.ctx.all(roles::H_CLUSTERS) {
        let reader = input.open()?;
        let obs = reader.obs()?;
        let points = reader.obsm("X_h_umap")?.into_dense();
        let name = (!input.branch.is_empty()).then(|| clcc_stage::cohort::patient_name(&input));
        // The cells of a model of one patient do not say whose they are.
        let patients = match &name {
            Some(name) => vec![name.clone(); obs.len()],
            None => obs.texts("patient")?,
        };
        let frames = [obs.clone(), known.of(&patients, &obs.index)];
        for (column, title, on_map) in [
            ("h_leiden", "By cluster of h", true),
            ("cell_type", "By cell type", false),
            ("cancer_vs_normal", "By label", false),
        ] {
            let Some((codes, names)) = frames.iter().find_map(|f| categories(f, column)) else {
                continue;
            };
            let title = format!("{title}{}", of(name.as_deref()));
            out.push(Figure::new(
                &["h umap", column, name.as_deref().unwrap_or("")],
                &title,
                "UMAP of h, the layer before the projection to z; each dot is a cell.",
                &["h_clusters", "expr"],
                umap(points.view(), &Colouring::named(codes, names, on_map))?,
            ));
        }
    }
    Ok(out)
}

/// What the other stages say of cells, by patient and cell id.
struct Known<'a> {
    patients: &'a [Patient],
    /// Patient and row of each cell.
    place: HashMap<(&'a str, &'a str), (usize, usize)>,
}

impl<'a> Known<'a> {
    fn new(inputs: &Inputs<'a, '_>) -> Self {
        let mut place = HashMap::new();
        for (p, patient) in inputs.patients.iter().enumerate() {
            for (row, cell) in patient.obs.index.iter().enumerate() {
                place.insert((patient.name.as_str(), cell.as_str()), (p, row));
            }
        }
        Self {
            patients: inputs.patients,
            place,
        }
    }

    /// Types and labels of these cells, as far as they are known.
    fn of(&self, patients: &[String], cells: &[String]) -> Frame {
        let mut known = Frame::new(cells.to_vec());
        for column in ["cell_type", "cancer_vs_normal"] {
            let texts: Vec<Option<Vec<String>>> = self
                .patients
                .iter()
                .map(|p| p.obs.texts(column).ok())
                .collect();
            let value = |(patient, cell): (&String, &String)| {
                let (p, row) = self.place.get(&(patient.as_str(), cell.as_str()))?;
                Some(texts[*p].as_ref()?[*row].clone())
            };
            let values: Vec<String> = patients
                .iter()
                .zip(cells)
                .map(|c| value(c).unwrap_or_default())
                .collect();
            if values.iter().any(|v| !v.is_empty()) {
                known.set_category(column, &values);
            }
        }
        known
    }
}
