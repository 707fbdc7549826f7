//! What a store holds, without reading its matrices.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::decode::{self, Layout};
use super::reader::Reader;
use super::store::Store;
use super::tenx::TenxFile;
use crate::error::StageResult;
use crate::frame::Column;

/// Rows that are shown.
const HEAD: usize = 5;

/// Describes the AnnData store at `path` (zarr or h5ad) as JSON:
/// `n_obs`, `n_vars`; for `obs` and `var` the columns with their type and, for categories, how many
/// cells have each; for each matrix its shape, layout (`csr`, `csc`, `dense`), type, stored values
/// and their share of all (`density`); the keys of `uns`; the first rows of both frames. Of a 10x file:
/// cells and features of each matrix.
///
/// # Errors
/// [`crate::StageError::Io`] or [`crate::StageError::Format`] where this is no AnnData store.
pub fn describe(path: &Path) -> StageResult<Value> {
    let reader = match Reader::open(path) {
        Ok(reader) => reader,
        // Where it is no 10x file either, the first reason is the better one.
        Err(error) => {
            return if TenxFile::open(path).is_ok() {
                tenx(path)
            } else {
                Err(error)
            };
        }
    };
    let store = reader.store();
    let (obs, obs_frame) = frame(store, "obs")?;
    let (var, var_frame) = frame(store, "var")?;
    let mut out = Map::new();
    out.insert("n_obs".into(), json!(obs_frame));
    out.insert("n_vars".into(), json!(var_frame));
    if reader.has("X")? {
        out.insert("X".into(), matrix(store, "X"));
    }
    out.insert("obs".into(), obs);
    out.insert("var".into(), var);
    for group in ["layers", "obsm", "varm", "obsp", "varp"] {
        let members: Map<String, Value> = reader
            .names(group)?
            .into_iter()
            .map(|n| (n.clone(), matrix(store, &format!("{group}/{n}"))))
            .collect();
        if !members.is_empty() {
            out.insert(group.into(), Value::Object(members));
        }
    }
    let raw = reader.has("raw")? || reader.has("raw.X")?;
    if raw {
        out.insert("raw".into(), json!("present, not read"));
    }
    out.insert("uns".into(), json!(reader.names("uns")?));
    Ok(Value::Object(out))
}

fn frame(store: &dyn Store, at: &str) -> StageResult<(Value, usize)> {
    let (frame, skipped) = decode::frame(store, at)?;
    let mut columns = Map::new();
    for (name, column) in &frame.columns {
        columns.insert(name.clone(), summary(column));
    }
    for column in skipped {
        columns.insert(column.name, json!({"type": "unknown, not read"}));
    }
    let head: Vec<String> = (0..frame.len().min(HEAD))
        .map(|r| {
            let mut row = vec![frame.index[r].clone()];
            row.extend(frame.columns.values().map(|c| c.text(r)));
            row.join("  ")
        })
        .collect();
    Ok((json!({"columns": columns, "head": head}), frame.len()))
}

/// A 10x file: cells, features and counts of each of its matrices.
fn tenx(path: &Path) -> StageResult<Value> {
    let file = TenxFile::open(path)?;
    let mut matrices = Map::new();
    for group in file.groups()? {
        let (barcodes, features) = (file.barcodes(&group)?, file.features(&group)?);
        let (cells, n_features) = file.rows(&group)?.shape();
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for kind in &features.types {
            *types.entry(kind).or_default() += 1;
        }
        let head: Vec<&String> = barcodes.iter().take(HEAD).collect();
        let names: Vec<&String> = features.names.iter().take(HEAD).collect();
        let described = json!({
            "cells": cells, "features": n_features, "feature_types": types,
            "barcodes": head, "names": names,
        });
        matrices.insert(group, described);
    }
    Ok(json!({ "10x": matrices }))
}

fn summary(column: &Column) -> Value {
    match column {
        Column::Str(_) => json!({"type": "text"}),
        Column::Bool(v) => json!({"type": "bool", "true": v.iter().filter(|x| **x).count()}),
        Column::I64(v) => json!({"type": "int", "min": v.iter().min(), "max": v.iter().max()}),
        Column::F64(v) => {
            let known = || v.iter().copied().filter(|x| !x.is_nan());
            json!({
                "type": "float",
                "min": known().reduce(f64::min),
                "max": known().reduce(f64::max),
                "missing": v.len() - known().count(),
            })
        }
        Column::Category(c) => {
            let mut counts = vec![0u64; c.categories.len()];
            c.codes
                .iter()
                .filter_map(|&code| usize::try_from(code).ok())
                .for_each(|code| counts[code] += 1);
            let missing = c.codes.iter().filter(|&&code| code < 0).count();
            let values: Map<String, Value> = c
                .categories
                .iter()
                .zip(counts)
                .map(|(name, n)| (name.clone(), json!(n)))
                .collect();
            json!({"type": "category", "values": values, "missing": missing})
        }
    }
}

fn matrix(store: &dyn Store, at: &str) -> Value {
    let describe = || -> StageResult<Value> {
        let info = decode::matrix_info(store, at)?;
        let all = info.rows as f64 * info.cols as f64;
        let (layout, values) = match info.layout {
            Layout::Dense => ("dense", at.to_string()),
            Layout::Csr => ("csr", format!("{at}/data")),
            Layout::Csc => ("csc", format!("{at}/data")),
        };
        let array = store.require(&values)?.array;
        let (stored, dtype) = array.map_or((0, String::new()), |a| {
            (
                a.shape.iter().fold(1u64, |n, side| n.saturating_mul(*side)),
                a.dtype,
            )
        });
        let density = if all > 0.0 { stored as f64 / all } else { 0.0 };
        Ok(json!({
            "shape": [info.rows, info.cols],
            "layout": layout,
            "dtype": dtype,
            "stored": stored,
            "density": density,
        }))
    };
    // One odd element must not hide the others.
    describe().unwrap_or_else(|e| json!({"unreadable": e.to_string()}))
}
