//! h5ad and zarr: cells in rows already; blocks of rows, so memory is what is kept.

use std::path::Path;

use super::cells::{self, Cells, Patient};
use super::features::Genes;
use super::kept::Kept;
use super::params::{CountKind, IngestParams};
use super::{Ingested, count_problem};
use crate::anndata::{Reader, RowReader, list};
use crate::error::{StageError, StageResult};
use crate::frame::Frame;
use crate::stage::StageContext;

/// Stored values read at a time.
const BLOCK_ENTRIES: usize = 4 << 20;

/// Where the counts of a matrix go.
pub(super) struct Place<'a> {
    /// Patient of each cell of the matrix.
    pub(super) owner: &'a [Option<usize>],
    /// Cell ids, for messages.
    pub(super) cells: &'a [String],
    /// Genes that are kept.
    pub(super) genes: &'a Genes,
}

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
    let (element, var_element) = elements(&reader, params)?;
    let (obs, skipped_obs) = reader.obs_known()?;
    let (var, skipped_var) = reader.frame_known(&var_element)?;
    for (frame, skipped) in [("obs", &skipped_obs), (&var_element, &skipped_var)] {
        for name in skipped {
            ctx.progress.warn(&format!(
                "column `{frame}/{name}` has an encoding that is not read; it is left out"
            ));
        }
    }
    for (frame, what, place) in [(&obs, "cell id", "obs"), (&var, "gene", &var_element)] {
        if let Some(name) = frame.first_duplicate() {
            return Err(StageError::format(
                path,
                place,
                format!("{what} `{name}` comes twice"),
            ));
        }
    }
    let rows = reader.rows(&element, (obs.len(), var.len()))?;
    let names = obs.index.clone();
    let cells = Cells::join(obs, annotations, ctx.progress)?;
    let patients = cells::select(&cells, params, &ctx.keys, ctx.progress)?;
    let genes = Genes {
        place: (0..var.len() as u32).map(Some).collect(),
        var,
    };
    let place = Place {
        owner: &owners(&cells, &patients, names.len()),
        cells: &names,
        genes: &genes,
    };
    let mut kept: Vec<Kept> = patients.iter().map(|_| Kept::default()).collect();
    collect(ctx, path, &element, &rows, &place, params, &mut kept)
        .map_err(|e| with_other_matrices(e, &reader, &element))?;
    let n_genes = genes.var.len();
    let mut kept = kept.into_iter();
    let matrices = Box::new(std::iter::from_fn(move || {
        kept.next().map(|k| k.into_csr(n_genes))
    }));
    Ok(Ingested {
        cells,
        patients,
        var: genes.var,
        matrices,
    })
}

/// The elements that hold the counts and their genes.
fn elements(reader: &Reader, params: &IngestParams) -> StageResult<(String, String)> {
    let layers = reader.names("layers")?;
    match params.layer.as_str() {
        "" => Ok(("X".into(), "var".into())),
        // `raw` has genes of its own; a layer of that name goes first.
        "raw" if !layers.iter().any(|l| l == "raw") => {
            if reader.has("raw/X")? {
                Ok(("raw/X".into(), "raw/var".into()))
            } else {
                Err(StageError::param(
                    "layer",
                    format!("there is no `raw` in `{}`", reader.path().display()),
                ))
            }
        }
        layer => Ok((format!("layers/{layer}"), "var".into())),
    }
}

/// Says where counts may lie, where `element` holds none.
fn with_other_matrices(error: StageError, reader: &Reader, element: &str) -> StageError {
    let StageError::Format { message, .. } = &error else {
        return error;
    };
    if !message.contains("expected a whole count") {
        return error;
    }
    let mut others: Vec<String> = reader.names("layers").unwrap_or_default();
    if reader.has("raw/X").unwrap_or(false) {
        others.push("raw".into());
    }
    others.retain(|name| !element.contains(name.as_str()));
    if others.is_empty() {
        return error;
    }
    let StageError::Format {
        path,
        place,
        message,
        hint,
    } = error
    else {
        return error;
    };
    StageError::Format {
        path,
        place,
        message: format!(
            "{message}; if it is normalised, name the counts with `layer`: there is {}",
            list(&others)
        ),
        hint,
    }
}

/// The patient of each cell of the matrix.
pub(super) fn owners(cells: &Cells, patients: &[Patient], n: usize) -> Vec<Option<usize>> {
    let mut owner = vec![None; n];
    for (p, patient) in patients.iter().enumerate() {
        patient
            .rows
            .iter()
            .for_each(|&r| owner[cells.at[r]] = Some(p));
    }
    owner
}

/// Reads `rows` in blocks and hands each cell to its patient.
///
/// # Errors
/// [`StageError::Format`] where the file breaks its format or a count is none.
pub(super) fn collect(
    ctx: &StageContext<'_>,
    path: &Path,
    element: &str,
    rows: &RowReader<'_>,
    place: &Place<'_>,
    params: &IngestParams,
    kept: &mut [Kept],
) -> StageResult<()> {
    let n = place.owner.len();
    if rows.shape() != (n, place.genes.place.len()) {
        let message = format!(
            "expected {n} cells x {} features, found {:?}",
            place.genes.place.len(),
            rows.shape()
        );
        return Err(StageError::format(path, element, message));
    }
    for block in rows.blocks(BLOCK_ENTRIES) {
        ctx.check_cancelled()?;
        ctx.progress.step(block.start as u64, n as u64, "cells");
        if !block.clone().any(|cell| place.owner[cell].is_some()) {
            continue;
        }
        let part = rows.read(block.clone())?;
        for (r, cell) in block.enumerate() {
            let Some(p) = place.owner[cell] else { continue };
            let (genes, values) = part.row(r);
            if let Some((feature, problem)) = bad_count(genes, values, params.counts) {
                let gene = place.genes.place[feature as usize]
                    .map_or("a feature that is left out", |g| {
                        &place.genes.var.index[g as usize]
                    });
                let place = format!("{element}, cell `{}`, gene `{gene}`", place.cells[cell]);
                return Err(StageError::format(path, place, problem));
            }
            kept[p].push_placed(genes, values, &place.genes.place);
        }
    }
    Ok(())
}

fn bad_count(genes: &[u32], values: &[f32], kind: CountKind) -> Option<(u32, String)> {
    genes
        .iter()
        .zip(values)
        .find_map(|(&g, &v)| count_problem(f64::from(v), kind).map(|p| (g, p)))
}
