//! h5ad and zarr: cells in rows already; blocks of rows, so memory is what is kept.

use std::path::Path;

use super::cells::{self, Cells};
use super::params::IngestParams;
use super::{Ingested, count_problem};
use crate::anndata::Reader;
use crate::error::{StageError, StageResult};
use crate::frame::Frame;
use crate::matrix::Csr;
use crate::stage::StageContext;

/// Stored values read at a time.
const BLOCK_ENTRIES: usize = 4 << 20;

/// Reads the patients' cells out of the AnnData store at `path`.
///
/// # Errors
/// [`StageError::Format`] where the store breaks its format, names come twice, or a count is none.
pub(super) fn ingest(
    ctx: &StageContext<'_>,
    path: &Path,
    annotations: Option<Frame>,
    params: &IngestParams,
) -> StageResult<Ingested> {
    let reader = Reader::open(path)?;
    let (obs, skipped_obs) = reader.obs_known()?;
    let (var, skipped_var) = reader.var_known()?;
    for (frame, skipped) in [("obs", &skipped_obs), ("var", &skipped_var)] {
        for name in skipped {
            ctx.progress.warn(&format!(
                "column `{frame}/{name}` has an encoding that is not read; it is left out"
            ));
        }
    }
    for (frame, what, place) in [(&obs, "cell id", "obs"), (&var, "gene", "var")] {
        if let Some(name) = frame.first_duplicate() {
            return Err(StageError::format(
                path,
                place,
                format!("{what} `{name}` comes twice"),
            ));
        }
    }
    let element = if params.layer.is_empty() {
        "X".to_string()
    } else {
        format!("layers/{}", params.layer)
    };
    let rows = reader.rows(&element)?;
    if rows.shape() != (obs.len(), var.len()) {
        let message = format!(
            "expected {} x {}, found {:?}",
            obs.len(),
            var.len(),
            rows.shape()
        );
        return Err(StageError::format(path, element, message));
    }
    let names = obs.index.clone();
    let cells = Cells::join(obs, annotations, ctx.progress)?;
    let patients = cells::select(&cells, params, &ctx.keys, ctx.progress)?;
    let mut patient_of = vec![None; names.len()];
    for (p, patient) in patients.iter().enumerate() {
        patient
            .rows
            .iter()
            .for_each(|&r| patient_of[cells.at[r]] = Some(p));
    }
    let mut kept: Vec<Kept> = patients.iter().map(|_| Kept::default()).collect();
    for block in rows.blocks(BLOCK_ENTRIES) {
        ctx.check_cancelled()?;
        ctx.progress
            .step(block.start as u64, names.len() as u64, "cells");
        if !block.clone().any(|cell| patient_of[cell].is_some()) {
            continue;
        }
        let part = rows.read(block.clone())?;
        for (r, cell) in block.enumerate() {
            let Some(p) = patient_of[cell] else { continue };
            let (genes, values) = part.row(r);
            if let Some((gene, problem)) = bad_count(genes, values, params) {
                let place = format!(
                    "{element}, cell `{}`, gene `{}`",
                    names[cell], var.index[gene as usize]
                );
                return Err(StageError::format(path, place, problem));
            }
            kept[p].push(genes, values);
        }
    }
    let n_genes = var.len();
    let mut kept = kept.into_iter();
    let matrices = Box::new(std::iter::from_fn(move || {
        kept.next().map(|k| k.into_csr(n_genes))
    }));
    Ok(Ingested {
        cells,
        patients,
        var,
        matrices,
    })
}

fn bad_count(genes: &[u32], values: &[f32], params: &IngestParams) -> Option<(u32, String)> {
    genes
        .iter()
        .zip(values)
        .find_map(|(&g, &v)| count_problem(f64::from(v), params.counts).map(|p| (g, p)))
}

/// Rows of one patient as they arrive.
#[derive(Debug, Default)]
struct Kept {
    ends: Vec<u64>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl Kept {
    /// Adds a cell; stored zeros are dropped.
    fn push(&mut self, genes: &[u32], values: &[f32]) {
        for (&gene, &value) in genes.iter().zip(values).filter(|(_, v)| **v != 0.0) {
            self.indices.push(gene);
            self.data.push(value);
        }
        self.ends.push(self.indices.len() as u64);
    }

    fn into_csr(self, n_genes: usize) -> StageResult<Csr> {
        let indptr = std::iter::once(0).chain(self.ends).collect();
        Csr::new(n_genes, indptr, self.indices, self.data)
    }
}
