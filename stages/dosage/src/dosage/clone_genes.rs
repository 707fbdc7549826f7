//! `dosage_clones.h5ad`: genes by clones, the points behind every slope.
//!
//! An AnnData with a row per clone of a stratum with a malignant one: the clones of the regressions. `X` has the
//! summed raw counts. `layers`: `log_copy_ratio`, the local log copy ratio of the regression relative to the
//! stratum's normal cells; `log_ratio`, log expression relative to the stratum's level at a log copy ratio of 0,
//! less the tumour levels, so that a gene's fitted line is `slope * log_copy_ratio`; `log_ratio_se`, its standard
//! error. They are NaN where the gene was not fitted or the clone has too few counts. `var["tumour_level"]` is the
//! log level of malignant clones that the patients share (`tumour_level TYPE` where several cell types have one).
//! `uns["dosage"]` has the numbers that the classes rest on: `fdr`, `insensitive_below`, `max_se`, `altered`.

use std::path::Path;

use ndarray::Array2;

use clcc_data::anndata::{AnnData, Uns};
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::math;
use clcc_stage::cohort::Cohort;

use super::Analysis;
use super::clones::{CloneId, ClonePseudobulk};
use super::params::DosageParams;
use super::slope::{ClonePoint, GeneDosage};

/// File in the stage's directory of tables.
pub(super) const FILE: &str = "dosage_clones.h5ad";

/// Write the pseudobulks of the clones with their places in the regressions; nothing without any.
pub(super) fn write(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let clones: Vec<&ClonePseudobulk> = found
        .slopes
        .used
        .iter()
        .map(|&u| &found.clones[u])
        .collect();
    if clones.is_empty() {
        return Ok(());
    }
    let n_genes = cohort.var.len();
    let counts = clones.iter().map(|u| {
        let seen = u.counts.iter().enumerate().filter(|(_, n)| **n > 0.0);
        seen.map(|(g, n)| (g as u32, *n as f32)).collect()
    });
    let layer = |of: fn(&ClonePoint) -> f64| {
        let mut out = Array2::from_elem((clones.len(), n_genes), f32::NAN);
        for (g, gene) in found.slopes.genes.iter().enumerate() {
            for (u, point) in gene.points.iter().enumerate() {
                if let Some(point) = point {
                    out[[u, g]] = of(point) as f32;
                }
            }
        }
        Matrix::Dense(out)
    };
    let layers = [
        ("log_copy_ratio", layer(|p| p.log_copy_ratio)),
        ("log_ratio", layer(|p| p.log_ratio)),
        ("log_ratio_se", layer(|p| p.se)),
    ];
    AnnData {
        obs: clone_frame(cohort, &clones, found),
        var: gene_frame(cohort, found),
        x: Some(Matrix::Csr(Csr::from_rows(
            n_genes,
            counts.collect::<Vec<_>>(),
        ))),
        layers: layers.map(|(k, v)| (k.to_string(), v)).into(),
        uns: [("dosage".to_string(), classes_rest_on(params))].into(),
        ..AnnData::default()
    }
    .write_h5ad(&dir.join(FILE))
}

/// The parameters that decide the classes of genes.
fn classes_rest_on(params: &DosageParams) -> Uns {
    let numbers = [
        ("fdr", params.fdr),
        ("insensitive_below", params.insensitive_below),
        ("max_se", params.max_se),
        ("altered", params.altered),
    ];
    Uns::Dict(numbers.map(|(k, v)| (k.to_string(), Uns::F64(v))).into())
}

fn clone_frame(cohort: &Cohort, clones: &[&ClonePseudobulk], found: &Analysis) -> Frame {
    let patient = |p: u32| cohort.patients[p as usize].clone();
    let index = clones.iter().map(|u| {
        let side = if u.id.cancer { "tumour" } else { "normal" };
        let parts = [&patient(u.id.patient), &u.id.cell_type, side, &u.id.group];
        let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        parts.join("/")
    });
    let mut obs = Frame::new(index.collect());
    let text = |f: &dyn Fn(&CloneId) -> String| -> Vec<String> {
        clones.iter().map(|u| f(&u.id)).collect()
    };
    let flag = |f: &dyn Fn(&CloneId) -> bool| -> Column {
        Column::Bool(clones.iter().map(|u| f(&u.id)).collect())
    };
    let number = |f: &dyn Fn(usize) -> f64| Column::F64((0..clones.len()).map(f).collect());
    obs.set_category("patient", &text(&|id| patient(id.patient)));
    obs.set_category("cell_type", &text(&|id| id.cell_type.clone()));
    obs.set("group", Column::Str(text(&|id| id.group.clone())));
    obs.set("tumour_sample", flag(&|id| id.cancer));
    obs.set("unplaced", flag(&|id| id.unplaced));
    obs.set("malignant", Column::Bool(found.slopes.malignant.clone()));
    let cells = clones.iter().map(|u| u.cells.len() as i64);
    obs.set("n_cells", Column::I64(cells.collect()));
    obs.set("library_size", number(&|u| clones[u].library));
    let size = |u: usize| math::exp(found.slopes.offset[u]) / clones[u].library;
    obs.set("size_factor", number(&size));
    obs
}

fn gene_frame(cohort: &Cohort, found: &Analysis) -> Frame {
    let mut var = Frame::new(cohort.var.index.clone());
    for name in ["chromosome", "start", "end"] {
        if let Some(column) = cohort.var.columns.get(name) {
            var.set(name, column.clone());
        }
    }
    let slopes = &found.slopes;
    let slope = slopes.genes.iter().map(|g| g.slope);
    var.set("slope", Column::F64(slope.collect()));
    for (k, name) in slopes.level_types.iter().enumerate() {
        let level = |g: &GeneDosage| g.levels.get(k).copied().unwrap_or(f64::NAN);
        // The only type needs no name.
        let column = if slopes.level_types.len() == 1 {
            "tumour_level".to_string()
        } else {
            format!("tumour_level {name}")
        };
        let values = slopes.genes.iter().map(level);
        var.set(&column, Column::F64(values.collect()));
    }
    var
}
