//! `export`: all results of one patient in one AnnData that scanpy and infercnvpy work on.
//!
//! `X` is log1p expression, `layers["counts"]` the raw counts. `obs` has all columns of `expr`, and
//! `cnv_burden`, `cnv_leiden`, `cnv_score`, `cnv_malignancy`, `cnv_malignant` (missing where no call was made), `cnv_clone`, `split`, `concordance` (the distance between a cell's
//! two embeddings) and `concordance_class`; with anchors `subcluster` and `h_leiden`. `obsm` has X_umap, the map of expression, which `scanpy.pl.umap` draws,
//! X_cnv, X_cnv_pca and X_cnv_umap, the map of the copy number (`scanpy.pl.embedding(adata, "cnv_umap")`), X_clcc_expr, X_clcc_cnv and
//! X_clcc_joint, the plane of both in which the cells of the model vary most (with anchors X_h, X_z, X_h_umap and X_h_umap_3d); `obsp` the copy-number neighbour graph, `var` chromosome, start and end.
//! `uns["cnv"]["chr_pos"]` is what `infercnvpy.tl.infercnv` writes, so
//! `infercnvpy.pl.chromosome_heatmap(adata)` draws; `uns["cnv_neighbors"]` names the graph as
//! `scanpy.pp.neighbors` does, so `neighbors_key="cnv_neighbors"` works.
//!
//! With `dosage` among its needs, `var` has the slope of each gene (`dosage_slope`, its posterior, probabilities and
//! `dosage_class`, of all patients and of this one) and `obs` how far cells fall short of their dosage
//! (`dosage_shortfall`). With `discordance`, `obs` has the probability that a cell is discordant (`discordance_prob`),
//! `var` that discordant cells hold a gene back (`discordance_prob_held_back`), and `uns["discordance"]` whether the set
//! is established. `var["gene_ids"]` are Ensembl ids, `uns["log1p"]` says for scanpy what `X` is. Arrays of the
//! cells that came in with the counts (`obsm["spatial"]`) are handed on; one whose name is taken becomes
//! `<name>_source`.
//!
//! It computes nothing. What a workflow does not make (clusters, embeddings, concordance) is left
//! out. `gene_values_cnv` is not exported: its genes are a subset of `var`.

mod answer;
mod cellxgene;
mod joined;
mod params;

#[cfg(test)]
mod tests;

pub use params::{Cellxgene, ExportParams, Profile, Term, TermsOf};

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use clcc_data::anndata::{AnnData, Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column};
use clcc_data::matrix::Matrix;
use clcc_stage::cells::CLONE;
use clcc_stage::cells::MALIGNANT;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::rows::{ConcordanceRow, DoubletRow};
use clcc_stage::stage::{Metrics, ObsRead, OutputDecl, Publish, Read, Stage, StageContext};

/// The stage kind `export`.
#[derive(Debug)]
pub struct Export;

impl Stage for Export {
    type Params = ExportParams;

    const KIND: &'static str = "export";
    // 4: column `cnv_malignancy`.
    // 5: X_umap is the map of expression; X_clcc_joint.
    // 6: dosage in `var` and `obs`, `gene_ids`, `uns["log1p"]`, arrays of the cells that came in.
    // 7: `uns["spatial"]`, probabilities of `discordance`.
    // 8: `discordance_prob_misplaced`.
    const CODE_VERSION: u32 = 8;
    const ABOUT: &'static str = "writes one AnnData per patient with everything that was computed";
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = ExportParams::ONLY_WITH;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn obs_reads(params: &Self::Params) -> Vec<ObsRead> {
        params.obs_reads()
    }

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![
            Read::one(roles::EXPR),
            Read::one(roles::CNV),
            Read::optional_one(roles::CLUSTERS),
            Read::optional_one(roles::EMBEDDINGS),
            Read::optional_one(roles::H_CLUSTERS),
            Read::optional_one(roles::CONCORDANCE),
            Read::optional_one(roles::DOUBLETS),
            Read::optional_one(roles::DOSAGE),
            Read::optional_one(roles::DISCORDANCE),
        ]
    }

    fn outputs(params: &Self::Params) -> Vec<OutputDecl> {
        const WHAT: &str = "everything computed for the patient, for scanpy and infercnvpy";
        let mut outputs =
            vec![OutputDecl::new(roles::ANNDATA, WHAT).publish(Publish::At("{branch}.zarr"))];
        if params.h5ad {
            outputs.push(OutputDecl::new(roles::H5AD, WHAT).publish(Publish::At("{branch}.h5ad")));
        }
        outputs
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let mut data = expression(&ctx.one(roles::EXPR)?.path, params)?;
        ctx.check_cancelled()?;
        add_cnv(&mut data, &ctx.one(roles::CNV)?.path)?;
        if let Some(input) = ctx.optional(roles::CLUSTERS) {
            add_clusters(&mut data, &input.path)?;
        }
        let patient = joined::one_patient(&data.obs)?;
        if let Some(input) = ctx.optional(roles::EMBEDDINGS) {
            add_embeddings(&mut data, &patient, &input.path)?;
        }
        if let Some(input) = ctx.optional(roles::H_CLUSTERS) {
            add_h_clusters(&mut data, &patient, &input.path)?;
        }
        if let Some(input) = ctx.optional(roles::CONCORDANCE) {
            add_concordance(&mut data, &patient, &input.rows()?);
        }
        if let Some(input) = ctx.optional(roles::DOUBLETS) {
            add_doublets(&mut data, &input.rows()?)?;
        }
        if let Some(input) = ctx.optional(roles::DOSAGE) {
            answer::add_dosage(&mut data, &patient, &input)?;
        }
        if let Some(input) = ctx.optional(roles::DISCORDANCE) {
            answer::add_discordance(&mut data, &patient, &input)?;
        }
        add_what_came_in(&mut data, &ctx.one(roles::EXPR)?.path)?;
        if params.profile == Profile::Cellxgene {
            for note in cellxgene::apply(&mut data, &params.cellxgene)? {
                ctx.progress.warn(&note);
            }
        }
        ctx.check_cancelled()?;
        data.write_zarr(&ctx.output(roles::ANNDATA))?;
        if params.h5ad {
            data.write_h5ad(&ctx.output(roles::H5AD))?;
        }
        let mut metrics = Metrics::new();
        metrics.insert("cells".into(), json!(data.n_obs()));
        metrics.insert("genes".into(), json!(data.n_vars()));
        Ok(metrics)
    }
}

fn expression(path: &Path, params: &ExportParams) -> StageResult<AnnData> {
    let reader = Reader::open(path)?;
    let mut data = AnnData {
        obs: reader.obs()?,
        var: reader.var()?,
        x: Some(reader.x()?),
        ..AnnData::default()
    };
    if params.counts || params.profile == Profile::Cellxgene {
        data.layers.insert("counts".into(), reader.layer("counts")?);
    }
    let mut uns = reader.uns()?;
    let genome = match uns.remove("genome") {
        Some(Uns::Str(genome)) => Some(genome),
        _ => None,
    };
    if let Some(sections) = uns.remove("spatial") {
        data.uns.insert("spatial".into(), sections);
    }
    answer::add_gene_ids(&mut data.var, genome.as_deref());
    // Natural logarithms, as `scanpy.pp.log1p` says by saying no base.
    data.uns.insert("log1p".into(), Uns::Dict(BTreeMap::new()));
    Ok(data)
}

/// Arrays of the cells that the counts came with. What was computed here keeps its name.
fn add_what_came_in(data: &mut AnnData, path: &Path) -> StageResult<()> {
    let reader = Reader::open(path)?;
    for name in reader.names("obsm")? {
        let mut free = name.clone();
        while data.obsm.contains_key(&free) {
            free.push_str("_source");
        }
        data.obsm.insert(free, reader.obsm(&name)?);
    }
    Ok(())
}

fn add_cnv(data: &mut AnnData, path: &Path) -> StageResult<()> {
    let reader = Reader::open(path)?;
    let obs = reader.obs()?;
    joined::same_cells("cnv", &obs.index, &data.obs.index)?;
    data.obs
        .set("cnv_burden", obs.column("cnv_burden")?.clone());
    data.obsm.insert("X_cnv".into(), reader.obsm("X_cnv")?);
    if let Some(cnv) = reader.uns()?.remove("cnv") {
        data.uns.insert("cnv".into(), cnv);
    }
    Ok(())
}

fn add_clusters(data: &mut AnnData, path: &Path) -> StageResult<()> {
    let reader = Reader::open(path)?;
    let obs = reader.obs()?;
    joined::same_cells("clusters", &obs.index, &data.obs.index)?;
    for name in ["cnv_leiden", "cnv_score"] {
        data.obs.set(name, obs.column(name)?.clone());
    }
    for name in ["cnv_malignancy", MALIGNANT, CLONE] {
        if let Ok(column) = obs.column(name) {
            data.obs.set(name, column.clone());
        }
    }
    for name in ["X_cnv_pca", "X_cnv_umap", "X_umap"] {
        if reader.has(&format!("obsm/{name}"))? {
            data.obsm.insert(name.into(), reader.obsm(name)?);
        }
    }
    for name in ["cnv_neighbors_connectivities", "cnv_neighbors_distances"] {
        data.obsp.insert(name.into(), reader.obsp(name)?);
    }
    for (name, value) in reader.uns()? {
        data.uns.entry(name).or_insert(value);
    }
    data.uns
        .entry("cnv_neighbors".into())
        .or_insert_with(neighbors_entry);
    Ok(())
}

/// What `scanpy.pp.neighbors(adata, use_rep="X_cnv_pca", key_added="cnv_neighbors")` leaves in `uns`
/// for those who look the graph up.
fn neighbors_entry() -> Uns {
    let text = |t: &str| Uns::Str(t.to_string());
    Uns::Dict(BTreeMap::from([
        (
            "connectivities_key".to_string(),
            text("cnv_neighbors_connectivities"),
        ),
        ("distances_key".to_string(), text("cnv_neighbors_distances")),
        (
            "params".to_string(),
            Uns::Dict(BTreeMap::from([
                ("method".to_string(), text("umap")),
                ("use_rep".to_string(), text("X_cnv_pca")),
            ])),
        ),
    ]))
}

fn add_embeddings(data: &mut AnnData, patient: &str, path: &Path) -> StageResult<()> {
    let reader = Reader::open(path)?;
    let obs = reader.obs()?;
    let rows = joined::all_rows_of(
        "embeddings",
        &data.obs.index,
        patient,
        &obs.texts("patient")?,
        &obs.index,
    )?;
    for name in reader.names("obsm")? {
        let own = reader.dense_rows(&format!("obsm/{name}"), &rows)?;
        data.obsm.insert(name, Matrix::Dense(own));
    }
    for name in ["split", "subcluster"] {
        if let Some(column) = obs.columns.get(name) {
            data.obs.set(name, column.take(&rows));
        }
    }
    Ok(())
}

/// Clusters and maps of `h`. Its neighbour graph is of all cells of the model and stays out.
fn add_h_clusters(data: &mut AnnData, patient: &str, path: &Path) -> StageResult<()> {
    let reader = Reader::open(path)?;
    let obs = reader.obs()?;
    let rows = joined::all_rows_of(
        "h_clusters",
        &data.obs.index,
        patient,
        &obs.texts("patient")?,
        &obs.index,
    )?;
    data.obs
        .set("h_leiden", obs.column("h_leiden")?.take(&rows));
    for name in ["X_h_umap", "X_h_umap_3d"] {
        let own = reader.dense_rows(&format!("obsm/{name}"), &rows)?;
        data.obsm.insert(name.into(), Matrix::Dense(own));
    }
    // Without a map of expression this is the one that `scanpy.pl.umap` draws.
    if let Some(map) = data.obsm.get("X_h_umap").cloned() {
        data.obsm.entry("X_umap".into()).or_insert(map);
    }
    Ok(())
}

/// `doublet_score` and, where doublets were called, `predicted_doublet`, as `scanpy.pp.scrublet` names them.
fn add_doublets(data: &mut AnnData, rows: &[DoubletRow]) -> StageResult<()> {
    if !rows.iter().map(|row| &row.cell).eq(&data.obs.index) {
        return Err(StageError::data(
            "`doublets` and `expr` do not have the same cells in the same order",
        ));
    }
    let scores = rows.iter().map(|row| row.doublet_score).collect();
    data.obs.set("doublet_score", Column::F64(scores));
    let called: Option<Vec<bool>> = rows.iter().map(|row| row.predicted_doublet).collect();
    if let Some(called) = called.filter(|called| !called.is_empty()) {
        data.obs.set("predicted_doublet", Column::Bool(called));
    }
    Ok(())
}

fn add_concordance(data: &mut AnnData, patient: &str, table: &[ConcordanceRow]) {
    let patients: Vec<String> = table.iter().map(|row| row.patient.clone()).collect();
    let cells: Vec<String> = table.iter().map(|row| row.cell.clone()).collect();
    let rows = joined::rows_of(&data.obs.index, patient, &patients, &cells);
    // A cell that the table lacks has no distance: only cancer cells need one.
    let distance = rows
        .iter()
        .map(|row| row.map_or(f64::NAN, |r| table[r].distance))
        .collect();
    let class: Vec<&str> = rows
        .iter()
        .map(|row| row.map_or("", |r| &table[r].concordance_class))
        .collect();
    data.obs.set("concordance", Column::F64(distance));
    data.obs.set(
        "concordance_class",
        Column::Category(class_category(&class)),
    );
}

/// Concordant first, whatever classes this patient has.
fn class_category(values: &[&str]) -> Categorical {
    let order = ["concordant", "intermediate", "discordant"];
    let mut category = Categorical::from_values(values);
    let rank = |name: &String| order.iter().position(|o| o == name).unwrap_or(order.len());
    let mut by_rank: Vec<usize> = (0..category.categories.len()).collect();
    by_rank.sort_by_key(|&c| {
        (
            rank(&category.categories[c]),
            category.categories[c].clone(),
        )
    });
    let mut new_code = vec![0; by_rank.len()];
    for (new, &old) in by_rank.iter().enumerate() {
        new_code[old] = new as i32;
    }
    category
        .codes
        .iter_mut()
        .for_each(|c| *c = usize::try_from(*c).map_or(-1, |c| new_code[c]));
    category.categories = by_rank
        .iter()
        .map(|&c| category.categories[c].clone())
        .collect();
    category
}
