//! Inferred copy number: heatmaps along the genome and maps of the cells.

use super::{Content, Inputs, SectionKind, categories, other_tables, table_blocks};
use crate::report::figures::distribution::histogram;
use crate::report::figures::heatmap::{Group, SideBar, heatmap, subsample};
use crate::report::figures::palette;
use crate::report::figures::umap::{Colouring, umap};
use crate::report::html::{count, short};
use crate::report::load::{Patient, TableFile, Windows, tables, windows};
use crate::report::page::{Block, Figure, Place};
use clcc_data::error::StageResult;
use clcc_stage::cells::{CLONE, MALIGNANT};
use clcc_stage::roles;
use clcc_stage::rows::MalignancyRow;

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "copy-number",
    title: "Copy number",
    reads: &[
        (roles::CNV.any(), "infercnv"),
        (roles::CLUSTERS.any(), "cluster"),
        (roles::CLUSTER_TABLES.any(), "cluster"),
    ],
    place: Place::Figures,
    instead: None,
    compose,
};

/// Tables of `cluster` that are named here.
const CLUSTERS: &str = "cnv_clusters";
const PROFILES: &str = "cnv_cluster_profiles";

/// Columns that may stand for groups of cells, best first, and what a reader calls them.
const GROUPINGS: [(&str, &str); 3] = [
    ("cnv_leiden", "copy-number cluster"),
    ("cell_type", "cell type"),
    ("cancer_vs_normal", "cancer or normal label"),
];

/// Heatmap and maps per patient.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::CLUSTER_TABLES)?;
    let mut patients = inputs.patients.iter();
    if files.is_empty() && !patients.any(|p| p.cnv.is_some() || p.umap.is_some()) {
        return Ok(None);
    }
    let mut blocks = vec![Block::Text(
        "Expression, averaged over many neighbouring genes and compared with the patient's reference cells, shows which stretches of \
         the genome are gained (red) or lost (blue) in a cell. Normal cells should be nearly blank; clones of a tumour share their \
         stripes. This is inferred from RNA, not measured on DNA."
            .into(),
    )];
    for (i, patient) in inputs.patients.iter().enumerate() {
        inputs.ctx.check_cancelled()?;
        let what = format!("figures of {}", patient.name);
        let of = inputs.patients.len() as u64;
        inputs.ctx.progress.step(i as u64, of, &what);
        let cnv = windows(patient)?;
        let figures = figures(inputs, patient, cnv.as_ref(), &files)?;
        if !figures.is_empty() {
            let cells = count(patient.obs.len());
            blocks.push(Block::Heading(format!("{}: {cells} cells", patient.name)));
            blocks.push(Block::Figures(figures));
        }
    }
    blocks.extend(table_blocks(
        &files,
        CLUSTERS,
        "Copy-number clusters",
        "",
        inputs.params,
    )?);
    if files.iter().any(|f| f.name == PROFILES) {
        blocks.push(Block::Text(format!(
            "The mean profile of each cluster: `tables/{PROFILES}.*.tsv`, beside this page."
        )));
    }
    blocks.extend(other_tables(&files, &[CLUSTERS, PROFILES], inputs.params)?);
    Ok(Some(blocks))
}

/// Everything that is drawn of a patient.
fn figures(
    inputs: &Inputs<'_, '_>,
    patient: &Patient,
    cnv: Option<&Windows>,
    files: &[TableFile],
) -> StageResult<Vec<Figure>> {
    let mut figures = Vec::new();
    if let Some(cnv) = cnv {
        let n = inputs.params.heatmap_cells;
        figures.push(genome(patient, cnv, n, inputs.limit)?);
    }
    figures.extend(maps(patient)?);
    figures.extend(malignancy(patient, threshold(files, patient)?)?);
    Ok(figures)
}

fn genome(patient: &Patient, cnv: &Windows, n: usize, limit: f64) -> StageResult<Figure> {
    let (grouped, what) = groups(patient);
    let side = side_bar(patient);
    let shown = subsample(&grouped, n);
    let svg = heatmap(&cnv.x, &cnv.chromosomes, &shown, &side, limit)?;
    let cells: usize = shown.iter().map(|g| g.rows.len()).sum();
    let caption = format!(
        "Each row is a cell ({} of {}, taken evenly from every {what}), each column a window of neighbouring genes in genome order. \
         Colour is the smoothed log expression relative to the reference, cut at ±{}. The bars at the left give the {what}{}.",
        count(cells),
        count(patient.obs.len()),
        short(limit),
        if side.entries.is_empty() {
            ""
        } else {
            " and the cancer or normal label"
        },
    );
    let title = format!("Copy number along the genome, {}", patient.name);
    Ok(Figure::new(
        &["cnv heatmap", &patient.name],
        &title,
        &caption,
        &["cnv", "clusters", "expr"],
        svg,
    )
    .of(&patient.name))
}

/// Cells by the best grouping there is; within a group, normal cells first.
fn groups(patient: &Patient) -> (Vec<Group>, &'static str) {
    let label = categories(&patient.obs, "cancer_vs_normal");
    let rank = |cell: usize| {
        label.as_ref().map_or(0, |(codes, names)| {
            usize::try_from(codes[cell]).map_or(2, |c| usize::from(names[c] != "Normal"))
        })
    };
    for (column, what) in GROUPINGS {
        let Some((codes, names)) = categories(&patient.obs, column) else {
            continue;
        };
        let groups = names.iter().enumerate().map(|(code, name)| {
            let mut rows: Vec<usize> = (0..codes.len())
                .filter(|&i| codes[i] == code as i32)
                .collect();
            rows.sort_by_key(|&i| rank(i));
            Group {
                label: name.clone(),
                colour: palette::named(name, code),
                rows,
            }
        });
        return (groups.filter(|g| !g.rows.is_empty()).collect(), what);
    }
    (
        vec![Group {
            label: "all".into(),
            colour: palette::MUTED,
            rows: (0..patient.obs.len()).collect(),
        }],
        "cell group",
    )
}

fn side_bar(patient: &Patient) -> SideBar {
    let Some((codes, names)) = categories(&patient.obs, "cancer_vs_normal") else {
        return SideBar::default();
    };
    let colour =
        |c: i32| usize::try_from(c).map_or(palette::MUTED, |c| palette::named(&names[c], c));
    SideBar {
        colours: codes.iter().map(|&c| colour(c)).collect(),
        entries: names
            .iter()
            .enumerate()
            .map(|(i, n)| (n.clone(), palette::named(n, i)))
            .collect(),
    }
}

/// The score above which cells of the patient are called malignant; `None` where none are.
fn threshold(files: &[TableFile], patient: &Patient) -> StageResult<Option<f64>> {
    let of_patient = |f: &&TableFile| f.patient.as_ref().is_none_or(|p| *p == patient.name);
    let mut files = files.iter().filter(|f| f.is::<MalignancyRow>());
    let Some(file) = files.find(of_patient) else {
        return Ok(None);
    };
    let rows: Vec<MalignancyRow> = file.rows()?;
    Ok(rows.first().map(|row| row.threshold))
}

/// The scores that decide who is malignant: reference cells, other cells, and those that are called.
fn malignancy(patient: &Patient, threshold: Option<f64>) -> StageResult<Option<Figure>> {
    let Ok(scores) = patient.obs.numbers("cnv_malignancy") else {
        return Ok(None);
    };
    let reference = patient.obs.flags("cnv_reference").ok();
    let calls = categories(&patient.obs, MALIGNANT);
    let is_called = |i: usize| {
        calls.as_ref().is_some_and(|(codes, names)| {
            usize::try_from(codes[i]).is_ok_and(|c| names[c] == "Malignant")
        })
    };
    let is_reference = |i: usize| reference.is_some_and(|r| r[i]);
    let of = |wanted: &dyn Fn(usize) -> bool| -> Vec<f64> {
        let cells = (0..scores.len()).filter(|&i| wanted(i));
        cells.map(|i| scores[i]).collect()
    };
    let malignant = of(&is_called);
    let n_reference = (0..scores.len()).filter(|&i| is_reference(i)).count();
    let words = malignancy_words(threshold, !malignant.is_empty(), n_reference, scores.len());
    let parts = [
        (
            "reference",
            palette::LOW,
            of(&|i| is_reference(i) && !is_called(i)),
        ),
        (
            "not called",
            palette::MUTED,
            of(&|i| !is_reference(i) && !is_called(i)),
        ),
        ("malignant", palette::HIGH, malignant),
    ]
    .map(|(name, colour, values)| (name.to_string(), colour, values));
    let Some(svg) = histogram(&parts, "malignancy score of the cell", "cells", threshold)? else {
        return Ok(None);
    };
    let caption = format!(
        "Share of the altered clusters' copy-number profile that each cell of {} has (0: normal, 1: the typical malignant \
         cell), bars stacked. {words}",
        patient.name
    );
    let title = format!("Malignancy score, {}", patient.name);
    Ok(Some(
        Figure::new(
            &["cnv malignancy", &patient.name],
            &title,
            &caption,
            &["clusters", "cluster_tables", "cnv"],
            svg,
        )
        .of(&patient.name),
    ))
}

/// What the scores and the threshold mean.
fn malignancy_words(
    threshold: Option<f64>,
    any_malignant: bool,
    n_reference: usize,
    n_cells: usize,
) -> String {
    let line = match threshold {
        Some(t) if !any_malignant => {
            format!("No cell that is no reference lies above the threshold ({})", short(t))
        }
        Some(t) => format!(
            "Cells right of the dashed line ({}) that are no reference are called malignant",
            short(t)
        ),
        None => "No cell is called: no cluster is surely altered, no two components of the scores could be told apart, or \
                 reference cells score as high (the run's warnings say which); the parameter malignancy_threshold of cluster \
                 sets a threshold by hand"
            .into(),
    };
    let beside = match n_reference {
        0 => String::new(),
        n if n == n_cells => " All are reference cells.".into(),
        _ => " Reference cells far to the right have a profile of their own, as cell types do: other normal cells like them would \
              be called too."
            .into(),
    };
    format!("{line}.{beside}")
}

/// Columns of the cells that colour their map: column, title, what it shows, whether names stand on the map.
const MAPPED: [(&str, &str, &str, bool); 5] = [
    (
        "cancer_vs_normal",
        "By label",
        "cancer or normal, as the sample's origin or the workflow says",
        false,
    ),
    (
        "cnv_leiden",
        "By copy-number cluster",
        "Leiden cluster of the copy-number profile; 0 is the largest",
        true,
    ),
    (
        CLONE,
        "By clone",
        "clone of the malignant cells, told apart by the counts of pieces of chromosome arms; 1 is the largest, other cells have none",
        true,
    ),
    (
        MALIGNANT,
        "By malignancy",
        "called malignant or normal by the malignancy score, drawn below",
        false,
    ),
    ("cell_type", "By cell type", "annotated cell type", false),
];

fn maps(patient: &Patient) -> StageResult<Vec<Figure>> {
    let Some(points) = &patient.umap else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    let mut add = |column: &str,
                   title: &str,
                   shows: &str,
                   colouring: Colouring|
     -> StageResult<()> {
        let svg = umap(points.view(), &colouring)?;
        let caption = format!(
            "UMAP of the principal components of the copy-number windows; each dot is a cell of {}. Colour: {shows}.",
            patient.name
        );
        let title = format!("{title}, {}", patient.name);
        let id = ["cnv umap", column, &patient.name];
        let from = ["clusters", "cnv", "expr"];
        out.push(Figure::new(&id, &title, &caption, &from, svg).of(&patient.name));
        Ok(())
    };
    for (column, title, shows, on_map) in MAPPED {
        let known =
            categories(&patient.obs, column).filter(|(codes, _)| codes.iter().any(|c| *c >= 0));
        if let Some((codes, names)) = known {
            add(column, title, shows, Colouring::named(codes, names, on_map))?;
        }
    }
    if let Ok(values) = patient.obs.numbers("cnv_burden") {
        let shows = "copy-number burden, the mean size of the cell's values over all windows";
        add(
            "cnv_burden",
            "By burden",
            shows,
            Colouring::Value {
                values,
                label: "copy-number burden".into(),
            },
        )?;
    }
    Ok(out)
}
