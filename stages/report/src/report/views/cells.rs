//! Chunk `cells`: what is known of every cell, where it lies on the maps, and counts of chosen genes.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::Extent;
use super::genes::Genes;
use super::genome::Genome;
use super::maps::{Map, fitted, tiled};
use crate::report::held_back::HeldBack;
use crate::report::load::{self, Patient, table_files, tables};
use crate::report::payload::{Chunk, Code, LeftOut};
use crate::report::sections::categories;
use clcc_data::anndata::Reader;
use clcc_data::error::StageResult;
use clcc_data::frame::Column;
use clcc_data::genome::natural_cmp;
use clcc_stage::cells::{CLONE, MALIGNANT};
use clcc_stage::cohort::patient_name;
use clcc_stage::roles;
use clcc_stage::rows::{ConcordanceRow, DosageCellRow, DoubletRow};
use clcc_stage::stage::StageContext;

/// Columns with names, as readers call them; the first ones stand first.
const CATEGORIES: [(&str, &str); 9] = [
    ("patient", "patient"),
    ("cell_type", "cell type"),
    (MALIGNANT, "malignant or normal, by copy number"),
    (CLONE, "clone"),
    ("cancer_vs_normal", "cancer or normal label"),
    ("cnv_leiden", "copy-number cluster"),
    ("sample", "sample"),
    ("phase", "cell-cycle phase"),
    ("predicted_doublet", "called a doublet"),
];
/// Columns with numbers.
const NUMBERS: [(&str, &str); 9] = [
    ("total_counts", "counts"),
    ("n_genes_by_counts", "genes with a count"),
    ("pct_counts_mt", "mitochondrial counts, %"),
    ("cnv_burden", "copy-number burden"),
    ("cnv_malignancy", "malignancy score"),
    ("cnv_score", "CNV score of the cluster"),
    ("S_score", "S score"),
    ("G2M_score", "G2M score"),
    ("doublet_score", "doublet score"),
];
/// Columns whose values mean something within a patient alone.
const WITHIN_PATIENTS: [(&str, &str); 2] = [(CLONE, "clone"), ("cnv_leiden", "cluster")];
/// Columns beside the heatmap.
const SIDES: [&str; 4] = [CLONE, MALIGNANT, "cell_type", "sample"];
/// Most labels of a column that is not in the list.
const MOST_LABELS: usize = 60;
/// Most columns of all.
const MOST_COLUMNS: usize = 30;

/// A column of labels over all cells.
struct Labels {
    key: String,
    title: String,
    codes: Vec<i32>,
    labels: Vec<String>,
}

/// A column of numbers over all cells.
struct Numbers {
    key: String,
    title: String,
    values: Vec<f64>,
}

/// Row of each patient's first cell.
pub(crate) fn offsets(patients: &[Patient]) -> Vec<usize> {
    let mut next = 0;
    let start = |p: &Patient| {
        let start = next;
        next += p.obs.len();
        start
    };
    patients.iter().map(start).collect()
}

/// Row of a cell by patient and id.
struct Rows<'a> {
    of: HashMap<(&'a str, &'a str), usize>,
    n: usize,
    single: Option<&'a str>,
}

impl<'a> Rows<'a> {
    fn new(patients: &'a [Patient]) -> Self {
        let mut of = HashMap::new();
        let mut n = 0;
        for patient in patients {
            for id in &patient.obs.index {
                of.insert((patient.name.as_str(), id.as_str()), n);
                n += 1;
            }
        }
        let single = match patients {
            [one] => Some(one.name.as_str()),
            _ => None,
        };
        Self { of, n, single }
    }

    /// Artifacts of one patient may not name it.
    fn at(&self, patient: &str, cell: &str) -> Option<usize> {
        let known = self.of.get(&(patient, cell)).copied();
        known.or_else(|| self.of.get(&(self.single?, cell)).copied())
    }

    /// Numbers of cells that are found by name; NaN elsewhere.
    fn numbers<'b>(&self, of: impl Iterator<Item = (&'b str, &'b str, f64)>) -> Vec<f64> {
        let mut out = vec![f64::NAN; self.n];
        for (patient, cell, value) in of {
            if let Some(at) = self.at(patient, cell) {
                out[at] = value;
            }
        }
        out
    }
}

/// The chunk; `None` without cells.
///
/// # Errors
/// What reading an artifact reports.
pub(crate) fn chunk(
    ctx: &StageContext<'_>,
    patients: &[Patient],
    genes: Option<&Genes>,
    genome: Option<&Genome>,
    held_back: &[HeldBack],
    extent: Extent,
) -> StageResult<Option<Chunk>> {
    let rows = Rows::new(patients);
    if rows.n == 0 {
        return Ok(None);
    }
    let mut chunk = Chunk::new("cells");
    chunk.set("n", json!(rows.n));
    chunk.set("synthetic", json!(!ctx.all(roles::TRUTH).is_empty()));
    let made = gathered(ctx, patients, &rows, held_back)?;
    columns(&mut chunk, made, extent.coarse);
    let maps = maps(ctx, patients, &rows)?;
    let about = |m: &Map| {
        let tile = |(label, x, y, side): &(String, f64, f64, f64)| json!({"label": label, "x": x, "y": y, "w": side, "h": side});
        let tiles: Vec<_> = m.tiles.iter().map(tile).collect();
        json!({"key": m.key, "title": m.title, "about": m.about, "tiles": tiles})
    };
    chunk.set("maps", maps.iter().map(about).collect());
    for (i, map) in maps.iter().enumerate() {
        chunk.points(&format!("xy{i}"), &map.points);
    }
    let ids = patients.iter().flat_map(|p| &p.obs.index);
    let line = |id: &String| format!("{}\n", id.replace('\n', " "));
    let ids: String = ids.map(line).collect();
    chunk.u8("ids", &[ids.len()], ids.as_bytes());
    if let Some(genome) = genome {
        chunk.u16("group", &[rows.n], &groups(patients, genome, rows.n));
    }
    chunk.set("genes", json!([]));
    if let Some(genes) = genes {
        counts(&mut chunk, ctx, patients, genes, extent.genes)?;
    }
    Ok(Some(chunk))
}

/// Group of each cell in the chunk `genome`; the largest number where it has none.
fn groups(patients: &[Patient], genome: &Genome, n: usize) -> Vec<u16> {
    let starts = offsets(patients);
    let mut out = vec![u16::MAX; n];
    for (g, group) in genome.groups.iter().enumerate() {
        let number = u16::try_from(g).unwrap_or(u16::MAX);
        for cell in &group.cells {
            out[starts[group.patient] + cell] = number;
        }
    }
    out
}

/// Labels and numbers of the cells.
fn columns(chunk: &mut Chunk, (labels, values): (Vec<Labels>, Vec<Numbers>), coarse: bool) {
    let about = labels
        .iter()
        .map(|l| json!({"key": l.key, "title": l.title, "kind": "category", "labels": l.labels}));
    let numbers = values
        .iter()
        .map(|v| json!({"key": v.key, "title": v.title, "kind": "number"}));
    chunk.set("columns", about.chain(numbers).collect());
    let sides = SIDES.iter().filter(|s| labels.iter().any(|l| l.key == **s));
    chunk.set("sides", sides.map(|s| json!(s)).collect());
    for column in &labels {
        let name = format!("c_{}", column.key);
        chunk.codes(&name, &column.codes, column.labels.len());
    }
    for column in &values {
        chunk.range(&format!("n_{}", column.key), &column.values, coarse);
    }
}

/// The columns of tables of other stages, then those of the stores, known ones first.
fn gathered(
    ctx: &StageContext<'_>,
    patients: &[Patient],
    rows: &Rows<'_>,
    held_back: &[HeldBack],
) -> StageResult<(Vec<Labels>, Vec<Numbers>)> {
    let (mut labels, mut values) = (Vec::new(), Vec::new());
    if patients.len() > 1 {
        let of = patients.iter().zip(0..);
        labels.push(Labels {
            key: "patient".into(),
            title: "patient".into(),
            codes: of.flat_map(|(p, i)| vec![i; p.obs.len()]).collect(),
            labels: patients.iter().map(|p| p.name.clone()).collect(),
        });
    }
    labels.extend(classes(ctx, rows)?);
    values.extend(measured(ctx, rows, held_back)?);
    let mut keys: Vec<&str> = CATEGORIES.iter().chain(&NUMBERS).map(|c| c.0).collect();
    let others: BTreeSet<&str> = patients
        .iter()
        .flat_map(|p| p.obs.columns.keys().map(String::as_str))
        .filter(|k| !keys.contains(k))
        .collect();
    let known = keys.len();
    keys.extend(others);
    for (i, key) in keys.into_iter().enumerate() {
        let taken = labels.iter().any(|l| l.key == key) || values.iter().any(|v| v.key == key);
        if taken || labels.len() + values.len() >= MOST_COLUMNS {
            continue;
        }
        if let Some(column) = labels_of(patients, key, i < known) {
            labels.push(column);
        } else if let Some(column) = numbers_of(patients, key) {
            values.push(column);
        }
    }
    let rank = |key: &str| CATEGORIES.iter().position(|c| c.0 == key);
    labels.sort_by_key(|l| rank(&l.key).unwrap_or(CATEGORIES.len()));
    Ok((labels, values))
}

/// What the nodes of one kind say of each cell, with the node's name. Nodes that looked at different cells, patient by
/// patient, are one column; of those that looked at the same cells each has its own.
fn of_nodes<T: Copy>(
    mut nodes: Vec<(Option<String>, Vec<T>)>,
    is_missing: fn(T) -> bool,
) -> Vec<(Option<String>, Vec<T>)> {
    let n = nodes.first().map_or(0, |node| node.1.len());
    let said = |i: usize| nodes.iter().filter(|node| !is_missing(node.1[i])).count();
    if (0..n).any(|i| said(i) > 1) {
        return nodes;
    }
    for (_, others) in nodes.split_off(nodes.len().min(1)) {
        for (own, other) in nodes[0].1.iter_mut().zip(others) {
            if is_missing(*own) {
                *own = other;
            }
        }
    }
    nodes
        .into_iter()
        .map(|(_, values)| (None, values))
        .collect()
}

/// Key and title of a node's column.
fn named(key: &str, title: &str, node: Option<&str>) -> (String, String) {
    match node {
        Some(node) => (format!("{key}.{node}"), format!("{title}, {node}")),
        None => (key.into(), title.into()),
    }
}

/// The concordance classes.
fn classes(ctx: &StageContext<'_>, rows: &Rows<'_>) -> StageResult<Vec<Labels>> {
    let classes = ["concordant", "intermediate", "discordant"];
    let mut nodes = Vec::new();
    for file in table_files::<ConcordanceRow>(ctx, roles::CONCORDANCE, "tables") {
        let mut codes = vec![-1; rows.n];
        for row in file.rows::<ConcordanceRow>()? {
            let code = classes.iter().position(|c| *c == row.concordance_class);
            if let (Some(at), Some(code)) = (rows.at(&row.patient, &row.cell), code) {
                codes[at] = code as i32;
            }
        }
        nodes.push((file.patient, codes));
    }
    let column = |(node, codes): (Option<String>, Vec<i32>)| {
        let (key, title) = named("concordance_class", "concordance class", node.as_deref());
        let labels = classes.map(String::from).to_vec();
        Labels {
            key,
            title,
            codes,
            labels,
        }
    };
    Ok(of_nodes(nodes, |code| code < 0)
        .into_iter()
        .map(column)
        .collect())
}

/// Numbers that stand in tables of other stages.
fn measured(
    ctx: &StageContext<'_>,
    rows: &Rows<'_>,
    held_back: &[HeldBack],
) -> StageResult<Vec<Numbers>> {
    let mut out: Vec<(&str, String, Vec<(Option<String>, Vec<f64>)>)> = Vec::new();
    let mut distances = Vec::new();
    for file in table_files::<ConcordanceRow>(ctx, roles::CONCORDANCE, "tables") {
        let found: Vec<ConcordanceRow> = file.rows()?;
        let distance = found
            .iter()
            .map(|r| (r.patient.as_str(), r.cell.as_str(), r.distance));
        distances.push((file.patient, rows.numbers(distance)));
    }
    out.push((
        "concordance",
        "distance of the two embeddings".into(),
        distances,
    ));
    let mut doublets = vec![f64::NAN; rows.n];
    for file in table_files::<DoubletRow>(ctx, roles::DOUBLETS, "tables") {
        let patient = file.patient.clone().unwrap_or_default();
        for row in file.rows::<DoubletRow>()? {
            if let Some(at) = rows.at(&patient, &row.cell) {
                doublets[at] = row.doublet_score;
            }
        }
    }
    out.push((
        "doublet_score",
        "doublet score".into(),
        vec![(None, doublets)],
    ));
    out.push((
        "shortfall_z",
        "shortfall of dosage, z".into(),
        shortfall(ctx, rows)?,
    ));
    out.push(discordant(rows, held_back));
    let mut columns = Vec::new();
    for (key, title, mut nodes) in out {
        nodes.retain(|(_, values)| values.iter().any(|v| v.is_finite()));
        for (node, values) in of_nodes(nodes, f64::is_nan) {
            let (key, title) = named(key, &title, node.as_deref());
            columns.push(Numbers { key, title, values });
        }
    }
    Ok(columns)
}

/// Each cell's probability to hold a set of genes back; the title says where no set is established.
fn discordant(
    rows: &Rows<'_>,
    held_back: &[HeldBack],
) -> (&'static str, String, Vec<(Option<String>, Vec<f64>)>) {
    let of = |found: &HeldBack| {
        let cells = found.cells.iter();
        let cells = cells.map(|c| (c.patient.as_str(), c.cell.as_str(), c.prob_discordant));
        (found.node.clone(), rows.numbers(cells))
    };
    let title = if held_back.iter().any(HeldBack::is_sure) {
        "probability to hold the set of genes back"
    } else if held_back.iter().any(HeldBack::is_established) {
        "probability to hold a set of genes back (in doubt)"
    } else {
        "probability to hold a set of genes back (none is established)"
    };
    (
        "prob_discordant",
        title.into(),
        held_back.iter().map(of).collect(),
    )
}

/// How far each cell falls short of its clone's dosage, by each node of `dosage`.
fn shortfall(
    ctx: &StageContext<'_>,
    rows: &Rows<'_>,
) -> StageResult<Vec<(Option<String>, Vec<f64>)>> {
    let files = tables(ctx, roles::DOSAGE)?;
    let mut out = Vec::new();
    for (file, found) in load::rows::<DosageCellRow>(&files)? {
        let of = |r: &DosageCellRow| r.shortfall_z.unwrap_or(f64::NAN);
        let found = found
            .iter()
            .map(|r| (r.patient.as_str(), r.cell.as_str(), of(r)));
        out.push((file.patient.clone(), rows.numbers(found)));
    }
    Ok(out)
}

/// A column of labels; `None` where no patient has it as text, or too many values. Known ones may have any number.
fn labels_of(patients: &[Patient], key: &str, known: bool) -> Option<Labels> {
    let within = WITHIN_PATIENTS.iter().find(|w| w.0 == key);
    let parts: Vec<_> = patients.iter().map(|p| categories(&p.obs, key)).collect();
    let mut names: Vec<String> = Vec::new();
    let mut at: HashMap<String, i32> = HashMap::new();
    let mut codes = Vec::new();
    for (patient, part) in patients.iter().zip(parts) {
        let Some((own, labels)) = part else {
            codes.extend(vec![-1; patient.obs.len()]);
            continue;
        };
        let number: Vec<i32> = labels
            .into_iter()
            .map(|label| {
                let label = match within {
                    Some((_, word)) => format!("{} {word} {label}", patient.name),
                    None => label,
                };
                *at.entry(label.clone()).or_insert_with(|| {
                    names.push(label);
                    names.len() as i32 - 1
                })
            })
            .collect();
        codes.extend(
            own.iter()
                .map(|&c| usize::try_from(c).map_or(-1, |c| number[c])),
        );
    }
    let used: BTreeSet<i32> = codes.iter().copied().filter(|c| *c >= 0).collect();
    if used.is_empty() || (!known && (names.len() > MOST_LABELS || used.len() < 2)) {
        return None;
    }
    // Names that follow the patients are in order already.
    let mut order: Vec<usize> = used.iter().map(|&c| c as usize).collect();
    if within.is_none() {
        order.sort_by(|&a, &b| natural_cmp(&names[a], &names[b]));
    }
    let new: HashMap<i32, i32> = order
        .iter()
        .zip(0..)
        .map(|(&old, new)| (old as i32, new))
        .collect();
    Some(Labels {
        key: key.to_string(),
        title: title(key, &CATEGORIES),
        codes: codes
            .iter()
            .map(|c| new.get(c).copied().unwrap_or(-1))
            .collect(),
        labels: order.into_iter().map(|i| names[i].clone()).collect(),
    })
}

fn title(key: &str, known: &[(&str, &str)]) -> String {
    let own = known.iter().find(|c| c.0 == key);
    own.map_or_else(|| key.replace('_', " "), |c| c.1.to_string())
}

/// A column of numbers; `None` where no patient has it.
fn numbers_of(patients: &[Patient], key: &str) -> Option<Numbers> {
    let is_number = |p: &Patient| {
        matches!(
            p.obs.columns.get(key),
            Some(Column::F64(_) | Column::I64(_))
        )
    };
    if !patients.iter().any(is_number) {
        return None;
    }
    let of = |p: &Patient| {
        let none = || vec![f64::NAN; p.obs.len()];
        if is_number(p) {
            p.obs.numbers(key).unwrap_or_else(|_| none())
        } else {
            none()
        }
    };
    let values: Vec<f64> = patients.iter().flat_map(of).collect();
    values.iter().any(|v| v.is_finite()).then(|| Numbers {
        key: key.to_string(),
        title: title(key, &NUMBERS),
        values,
    })
}

/// All maps there are.
fn maps(ctx: &StageContext<'_>, patients: &[Patient], rows: &Rows<'_>) -> StageResult<Vec<Map>> {
    let mut out: Vec<Map> = Vec::new();
    let umap = "UMAP of the principal components of";
    out.extend(tiled(
        "cnv",
        "copy-number UMAP",
        &format!("{umap} the copy-number windows"),
        patients,
        |p| p.umap.as_ref(),
    ));
    out.extend(tiled(
        "expr",
        "expression UMAP",
        &format!("{umap} log1p expression"),
        patients,
        |p| p.expression_umap.as_ref(),
    ));
    let models = ctx.all(roles::EMBEDDINGS);
    for input in &models {
        let reader = input.open()?;
        if reader.has("obsm/X_clcc_joint")? {
            let map = reader.obsm("X_clcc_joint")?.into_dense();
            let about = "the plane in which the mean of a cell's two embeddings varies most, all patients together";
            let name = (models.len() > 1).then(|| patient_name(input));
            let title = with_node("joint embedding", name.as_deref());
            let of = patient_name(input);
            out.extend(placed("joint", title, about, &reader, &map, &of, rows)?);
        }
    }
    let found = ctx.all(roles::H_CLUSTERS);
    for input in &found {
        let reader = input.open()?;
        let map = reader.obsm("X_h_umap")?.into_dense();
        let about = "UMAP of h, the layer of the expression encoder before its projection";
        let name = (found.len() > 1).then(|| patient_name(input));
        let title = with_node("map of h", name.as_deref());
        let of = patient_name(input);
        out.extend(placed("h", title, about, &reader, &map, &of, rows)?);
    }
    Ok(out)
}

fn with_node(title: &str, node: Option<&str>) -> String {
    node.map_or_else(|| title.to_string(), |node| format!("{title}, {node}"))
}

/// A map of the cells of one model.
fn placed(
    key: &'static str,
    title: String,
    about: &str,
    reader: &Reader,
    map: &ndarray::Array2<f32>,
    name: &str,
    rows: &Rows<'_>,
) -> StageResult<Option<Map>> {
    let obs = reader.obs()?;
    let patients = obs
        .texts("patient")
        .unwrap_or_else(|_| vec![name.to_string(); obs.len()]);
    let mut points = vec![[f64::NAN; 2]; rows.n];
    let mut any = false;
    for ((patient, cell), point) in patients
        .iter()
        .zip(&obs.index)
        .zip(fitted(map, 0.0, 0.0, 1.0))
    {
        if let Some(at) = rows.at(patient, cell) {
            points[at] = point;
            any = true;
        }
    }
    Ok(any.then(|| Map {
        key,
        title,
        about: about.to_string(),
        points,
        tiles: Vec::new(),
    }))
}

/// Counts of the `most` genes with the strongest evidence, in the cells of strata with a malignant clone.
fn counts(
    chunk: &mut Chunk,
    ctx: &StageContext<'_>,
    patients: &[Patient],
    genes: &Genes,
    most: usize,
) -> StageResult<()> {
    let Some(clones) = &genes.clones else {
        return Ok(());
    };
    let tested = |g: &usize| genes.class[*g] > 0;
    let candidates: Vec<usize> = genes.order().into_iter().filter(tested).collect();
    if candidates.len() > most {
        chunk.left_out.push(LeftOut {
            what: format!(
                "counts of {} tested genes in single cells",
                candidates.len() - most
            ),
            why: format!("the page holds those of the {most} with the strongest evidence"),
            file: "the AnnData of `export`".into(),
        });
    }
    let chosen = &candidates[..candidates.len().min(most)];
    let names: Vec<&str> = chosen.iter().map(|&g| genes.names[g].as_str()).collect();
    let strata = clones.strata();
    let mut seen: Vec<u8> = Vec::new();
    let mut found: Vec<Vec<(usize, f32)>> = vec![Vec::new(); chosen.len()];
    for patient in patients {
        ctx.check_cancelled()?;
        let n = patient.obs.len();
        let none = || vec![String::new(); n];
        let types = patient.obs.texts("cell_type").unwrap_or_else(|_| none());
        let is_in = |t: &String| {
            let of = |t: &str| strata.contains(&(patient.name.clone(), t.to_string()));
            of(t) || of("")
        };
        let wanted: Vec<bool> = types.iter().map(is_in).collect();
        let start = seen.len();
        if gather(patient, &names, &wanted, start, &mut found)? {
            seen.extend(wanted.iter().map(|w| u8::from(*w)));
        } else {
            seen.extend(vec![0; n]);
        }
    }
    let packed = pack(&found);
    chunk.set("genes", json!(chosen));
    chunk.u8("gseen", &[seen.len()], &seen);
    chunk.u32("gptr", &[packed.ends.len()], &packed.ends, Code::Planes);
    chunk.u8("ggap", &[packed.gaps.len()], &packed.gaps);
    chunk.u8("gcount", &[packed.counts.len()], &packed.counts);
    Ok(())
}

/// Adds the counts of the genes in the `wanted` cells of a patient, whose first cell has the row `start`; `false` where the
/// counts are not at hand.
fn gather(
    patient: &Patient,
    names: &[&str],
    wanted: &[bool],
    start: usize,
    found: &mut [Vec<(usize, f32)>],
) -> StageResult<bool> {
    let Some(path) = &patient.expr else {
        return Ok(false);
    };
    let reader = Reader::open(path)?;
    if !reader.has("layers/counts")? {
        return Ok(false);
    }
    let var = reader.var()?.index;
    let column: HashMap<&str, usize> = var.iter().map(String::as_str).zip(0..).collect();
    let mut of_column: HashMap<usize, usize> = HashMap::new();
    for (k, name) in names.iter().enumerate() {
        if let Some(&c) = column.get(name) {
            of_column.insert(c, k);
        }
    }
    let x = reader.rows("layers/counts", (wanted.len(), var.len()))?;
    for block in x.blocks(8_000_000) {
        let part = x.read(block.clone())?;
        for (r, cell) in block.enumerate().filter(|(_, cell)| wanted[*cell]) {
            let (at, values) = part.row(r);
            for (&c, &v) in at.iter().zip(values) {
                if let Some(&k) = of_column.get(&(c as usize)) {
                    found[k].push((start + cell, v));
                }
            }
        }
    }
    Ok(true)
}

/// Counts as steps from cell to cell.
struct Packed {
    ends: Vec<u32>,
    gaps: Vec<u8>,
    counts: Vec<u8>,
}

/// Of each gene, the cells with a count in ascending order. A step of more than 255 is cut into steps with a count of 0.
fn pack(found: &[Vec<(usize, f32)>]) -> Packed {
    let mut out = Packed {
        ends: vec![0],
        gaps: Vec::new(),
        counts: Vec::new(),
    };
    for gene in found {
        let mut at = 0;
        for &(cell, count) in gene.iter().filter(|c| c.1 >= 0.5) {
            let mut gap = cell - at;
            while gap > 255 {
                out.gaps.push(255);
                out.counts.push(0);
                gap -= 255;
            }
            out.gaps.push(gap as u8);
            out.counts.push(count.round().clamp(1.0, 255.0) as u8);
            at = cell;
        }
        out.ends.push(out.gaps.len() as u32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_data::frame::Frame;

    /// As the page's script reads them.
    fn read(packed: &Packed, gene: usize) -> Vec<(usize, u8)> {
        let (start, end) = (packed.ends[gene] as usize, packed.ends[gene + 1] as usize);
        let mut at = 0;
        let mut out = Vec::new();
        for e in start..end {
            at += usize::from(packed.gaps[e]);
            if packed.counts[e] > 0 {
                out.push((at, packed.counts[e]));
            }
        }
        out
    }

    #[test]
    fn counts_come_back_over_wide_gaps() {
        let found = vec![
            vec![(0, 1.0), (255, 3.0), (256, 0.0), (1000, 999.0)],
            vec![],
            vec![(300, 2.0), (555, 1.0), (811, 7.0)],
        ];
        let packed = pack(&found);
        assert_eq!(read(&packed, 0), [(0, 1), (255, 3), (1000, 255)]);
        assert_eq!(read(&packed, 1), []);
        assert_eq!(read(&packed, 2), [(300, 2), (555, 1), (811, 7)]);
    }

    #[test]
    fn clones_are_named_with_their_patient_and_other_labels_are_shared() {
        let patient = |name: &str, types: [&str; 2], clones: [&str; 2]| {
            let mut obs = Frame::new(vec!["a".into(), "b".into()]);
            obs.set_category("cell_type", &types);
            obs.set_category(CLONE, &clones);
            Patient {
                name: name.into(),
                obs,
                ..Patient::default()
            }
        };
        let patients = [
            patient("P1", ["T", "B"], ["1", ""]),
            patient("P2", ["B", "A"], ["2", "1"]),
        ];
        let clones = labels_of(&patients, CLONE, true).unwrap();
        assert_eq!(clones.labels, ["P1 clone 1", "P2 clone 1", "P2 clone 2"]);
        assert_eq!(clones.codes, [0, -1, 2, 1]);
        let types = labels_of(&patients, "cell_type", true).unwrap();
        assert_eq!(
            (types.labels, types.codes),
            (vec!["A".into(), "B".into(), "T".into()], vec![2, 1, 1, 0])
        );
        assert!(labels_of(&patients, "nothing", true).is_none());
        assert!(numbers_of(&patients, "cell_type").is_none());
    }
}
