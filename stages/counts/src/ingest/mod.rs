//! `ingest`: raw counts of many patients out of one file, one AnnData per patient.
//!
//! One pass over the file serves all patients: text matrices with genes in rows (`geo_umi`, `text`,
//! `csv`, `tsv`), 10x folders and files (`10x_mtx`, `10x_h5`), `h5ad` and `zarr`. It keeps the cells of the patients that the workflow lists, joins the annotations by cell
//! id whatever their order, gives the standard columns their names and checks what a count can be.
//! It filters nothing else and changes no number.
//!
//! `source` opens what is given: `text` unpacks lines, `geo` parses them, `compact` holds them until cells
//! are complete; `store` reads AnnData and `tenx` 10x, into `kept`; `features` chooses the genes;
//! `annotations` and `cells` decide which cell belongs to whom. `sheet` reads a table of samples, `samples` the files
//! of one patient of it. `survey` stops before the matrix.

mod annotations;
mod cells;
mod compact;
mod features;
mod geo;
mod kept;
mod params;
mod preview;
mod samples;
mod sheet;
mod source;
mod store;
mod survey;
mod tenx;
mod text;

#[cfg(test)]
mod tests;

pub use params::{CountKind, GeneNames, IngestParams, StandardColumns};
pub use preview::preview;
pub use sheet::{SHEET, Sample, Sheet};
pub use survey::{Survey, Values, survey, survey_sheet};
pub use tenx::companions;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::json;

use cells::{Cells, Selection};
use source::{Arrays, Matrices, Sections, Source};

use clcc_data::anndata::{AnnData, Uns, list};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::params::ParamProblem;
use clcc_stage::roles;
use clcc_stage::stage::{
    self, InputArtifact, Metrics, ObsColumn, OutputDecl, Publish, Read, Stage, StageContext,
};
use clcc_stage::tables::{Row as _, Table, TableSpec};

/// The stage kind `ingest`.
#[derive(Debug)]
pub struct Ingest;

/// What a file holds for the patients.
struct Ingested {
    cells: Cells,
    selection: Selection,
    /// Genes, the same for all patients.
    var: Frame,
    matrices: Matrices,
    /// Arrays of the cells, a row for each of `cells`.
    arrays: Arrays,
    sections: Sections,
}

impl Stage for Ingest {
    type Params = IngestParams;

    const KIND: &'static str = "ingest";
    // 4: pictures of sections (`uns["spatial"]`) go on.
    // 3: arrays of the cells (`obsm`) go on.
    // 2: columns are text as written, missing is missing, other modalities and double entries.
    const CODE_VERSION: u32 = 4;
    const ABOUT: &'static str =
        "reads the patients' raw counts and annotations out of text, 10x, h5ad or zarr";
    const MULTI_THREADED: bool = true;
    const TABLES: &'static [TableSpec] = &[IngestRow::SPEC];

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(_: &Self::Params) -> Vec<Read> {
        Vec::new()
    }

    fn file_inputs(_: &Self::Params) -> Vec<Read> {
        vec![Read::one(roles::COUNTS), Read::optional(roles::ANNOTATIONS)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::COUNTS,
                "raw counts of a patient: AnnData, X = CSR counts",
            )
            .keyed(),
            OutputDecl::new(
                roles::INGEST_SUMMARY,
                "cells, genes and counts of each patient",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn survey(
        params: &Self::Params,
        inputs: &[InputArtifact],
        keys: &[String],
    ) -> StageResult<Option<stage::Survey>> {
        let input = |role: &str| inputs.iter().find(|i| i.role == role);
        let Some(counts) = input("counts") else {
            return Ok(None);
        };
        let annotations = input("annotations").map(|a| a.path.as_path());
        let found = if counts.format.as_deref() == Some(SHEET) {
            survey_sheet(&Sheet::read(&counts.path)?, annotations, params, keys)?
        } else {
            survey(
                &counts.path,
                counts.format.as_deref(),
                annotations,
                params,
                keys,
            )?
        };
        // A label that only patients have that are not selected is no slip.
        let obs = found.obs.iter().map(|(name, selected)| {
            // The cells' `patient` is the axis value, whatever the data call so.
            let everywhere = found.all_obs.get(name).filter(|_| name != "patient");
            ObsColumn {
                name: name.clone(),
                values: Some(everywhere.unwrap_or(selected).counts.clone()),
            }
        });
        Ok(Some(stage::Survey {
            obs: obs.collect(),
            problems: found.problems,
        }))
    }

    /// A patient's counts follow from the files and the patient's own groups.
    fn of_key(params: &Self::Params, key: &str) -> Option<Self::Params> {
        let mut own = params.clone();
        // A patient without a group is refused by what the others have.
        if own.groups.contains_key(key) {
            own.groups.retain(|patient, _| patient == key);
        }
        Some(own)
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        read_and_save(ctx, params).map_err(|e| with_hint(e, ctx))
    }
}

fn read_and_save(ctx: &StageContext<'_>, params: &IngestParams) -> StageResult<Metrics> {
    let input = ctx.one(roles::COUNTS)?;
    if input.format.as_deref() == Some(SHEET) {
        return read_sheet_and_save(ctx, params, &input.path);
    }
    let counts = Source::open(&input.path, input.format.as_deref(), params, ctx.progress)?;
    let annotations = ctx.optional(roles::ANNOTATIONS);
    let annotations = annotations
        .map(|a| annotations::Table::read(&a.path)?.cells(&params.cell_id))
        .transpose()?;
    let cells = Cells::join(&counts, &input.path, annotations, ctx.progress)?;
    cells::standard_columns(&cells, &params.columns).map_err(cells::first)?;
    let selection = cells::select(&cells, params, &ctx.keys, ctx.progress).map_err(cells::first)?;
    for column in cells::not_taken_over(&cells, &params.columns) {
        let message = format!(
            "column `{}` of the cells {}: it is left out",
            column.name, column.why
        );
        ctx.progress.warn(&message);
    }
    let arrays = counts.arrays(ctx.progress)?.into_iter();
    let arrays = arrays.map(|(name, array)| (name, array.take_rows(&cells.at)));
    let arrays = arrays.collect();
    let sections = counts.sections(ctx.progress)?;
    let (var, matrices) = counts.read(ctx, params, &cells, &selection.patients)?;
    let ingested = Ingested {
        cells,
        selection,
        var,
        matrices,
        arrays,
        sections,
    };
    save(ctx, params, ingested)
}

/// Reads the samples of the one patient that this node is of.
fn read_sheet_and_save(
    ctx: &StageContext<'_>,
    params: &IngestParams,
    path: &Path,
) -> StageResult<Metrics> {
    let sheet = Sheet::read(path)?;
    let [patient] = ctx.keys.as_slice() else {
        return Err(StageError::data_hint(
            "a sample sheet is read one patient at a time",
            "add `per: patient` to the stage",
        ));
    };
    let annotations = ctx.optional(roles::ANNOTATIONS);
    let annotations = annotations.as_ref().map(|a| a.path.as_path());
    let joined = samples::read(ctx, params, &sheet, annotations, patient)?;
    cells::standard_columns(&joined.cells, &params.columns).map_err(cells::first)?;
    save(
        ctx,
        params,
        Ingested {
            cells: joined.cells,
            selection: joined.selection,
            var: joined.var,
            matrices: joined.matrices,
            arrays: joined.arrays,
            sections: joined.sections,
        },
    )
}

/// Says what helps against counts that are not whole, and where the cells' columns come from.
fn with_hint(error: StageError, ctx: &StageContext<'_>) -> StageError {
    match &error {
        StageError::Format { message, .. } if message.contains(NOT_WHOLE) => error.or_hint(
            "give raw counts; estimates (Smart-seq2) and counts corrected for ambient RNA are taken with \
             `counts: any`, in `ingest` and in `preprocess`",
        ),
        StageError::Param { param, .. } if param == "group_by" || param.starts_with("columns.") => {
            let files = ctx.inputs.iter().map(|i| i.path.display().to_string());
            let files: Vec<String> = files.collect();
            error.or_hint(&format!("the columns of the cells are those of {}", list(&files)))
        }
        _ => error,
    }
}

const NOT_WHOLE: &str = "expected a whole count";

/// Why `value` cannot be a count.
fn count_problem(value: f64, kind: CountKind) -> Option<String> {
    const LARGEST: f64 = 16_777_216.0;
    let is_whole = value.fract() == 0.0 && value <= LARGEST;
    if value >= 0.0 && (is_whole || kind == CountKind::Any) && (value as f32).is_finite() {
        return None;
    }
    // As it is stored: the shortest text of 2.74 as f32 is 2.74, as f64 2.740000009536743.
    let found = match value as f32 {
        stored if f64::from(stored) == value => stored.to_string(),
        _ => value.to_string(),
    };
    Some(if !(value as f32).is_finite() {
        // What f32 cannot hold is no count either.
        format!("expected a count, found `{found}`")
    } else if value < 0.0 {
        format!("expected a count that is not negative, found `{found}`")
    } else if value.fract() != 0.0 {
        format!("{NOT_WHOLE}, found `{found}`")
    } else {
        format!("expected a count of at most 16777216, found `{found}`")
    })
}

/// A patient with fewer cells is warned of: no more than the neighbours of one cell in `cluster`.
const FEW_CELLS: usize = 20;

fn save(ctx: &StageContext<'_>, params: &IngestParams, ingested: Ingested) -> StageResult<Metrics> {
    let Ingested {
        cells,
        selection,
        var,
        matrices,
        arrays,
        sections,
    } = ingested;
    let patients = &selection.patients;
    let mut summary: Vec<IngestRow> = Vec::new();
    for (patient, x) in patients.iter().zip(matrices) {
        ctx.check_cancelled()?;
        let x = x?;
        let obs = cells::obs_of(&cells, patient, &params.columns)?;
        if x.n_rows() < FEW_CELLS {
            ctx.progress.warn(&format!(
                "`{}` has {} cells: its clusters and tests will say little; are all of its samples in `groups`?",
                patient.name,
                x.n_rows()
            ));
        }
        summary.push(IngestRow::of(&patient.name, &obs, &x));
        let own = sections_of(&sections, &obs);
        let uns = match own.is_empty() {
            true => BTreeMap::new(),
            false => BTreeMap::from([("spatial".to_string(), Uns::Dict(own))]),
        };
        let data = AnnData {
            obs,
            uns,
            var: var.clone(),
            x: Some(Matrix::Csr(x)),
            obsm: arrays
                .iter()
                .map(|(name, array)| (name.clone(), array.take_rows(&patient.rows)))
                .collect(),
            ..AnnData::default()
        };
        data.write_zarr(&ctx.keyed_output(roles::COUNTS, &patient.name)?)?;
    }
    let total = |of: fn(&IngestRow) -> i64| summary.iter().map(of).sum::<i64>();
    let mut metrics = Metrics::new();
    metrics.insert("patients".into(), json!(patients.len()));
    metrics.insert("cells".into(), json!(total(|row| row.n_cells)));
    metrics.insert("genes".into(), json!(var.len()));
    metrics.insert(
        "nonzero_counts".into(),
        json!(total(|row| row.nonzero_counts)),
    );
    metrics.insert("cells_without_group".into(), json!(selection.without_group));
    metrics.insert("cells_without_annotation".into(), json!(cells.unannotated));
    metrics.insert("annotated_cells_not_in_matrix".into(), json!(cells.absent));
    Table::new(summary)
        .note("raw counts as read, before any filter; medians are over cells")
        .write(&ctx.output(roles::INGEST_SUMMARY))?;
    Ok(metrics)
}

/// The sections of a patient: those whose library a column of its cells names, or all where none is named.
fn sections_of(sections: &Sections, obs: &Frame) -> Sections {
    if sections.is_empty() {
        return Sections::new();
    }
    let named: HashSet<String> = obs
        .columns
        .values()
        .filter(|column| matches!(column, Column::Str(_) | Column::Category(_)))
        .flat_map(|column| (0..column.len()).map(|row| column.text(row)))
        .collect();
    let own = sections
        .iter()
        .filter(|(library, _)| named.contains(*library));
    let own: Sections = own.map(|(l, s)| (l.clone(), s.clone())).collect();
    match own.is_empty() {
        true => sections.clone(),
        false => own,
    }
}

clcc_stage::table! {
    /// Raw counts of one patient as they were read.
    pub struct IngestRow = "ingest_summary.tsv" {
        /// Patient.
        patient: String,
        /// Samples, separated by commas.
        samples: String,
        /// Cells.
        n_cells: i64,
        /// Genes with a count in some cell.
        genes_detected: i64,
        /// Counts above 0.
        nonzero_counts: i64,
        /// Sum of all counts.
        #[unit = "UMI"]
        total_counts: f64,
        /// Median over cells of the sum of their counts.
        #[unit = "UMI"]
        median_counts: f64,
        /// Median over cells of the genes with a count.
        median_genes: f64,
    }
}

impl IngestRow {
    fn of(patient: &str, obs: &Frame, x: &Csr) -> Self {
        let sums = (0..x.n_rows()).map(|r| x.row(r).1.iter().map(|&v| f64::from(v)).sum::<f64>());
        let sums: Vec<f64> = sums.collect();
        let genes = (0..x.n_rows()).map(|r| x.row(r).0.len() as f64).collect();
        let mut detected = vec![false; x.n_cols()];
        x.indices()
            .iter()
            .for_each(|&g| detected[g as usize] = true);
        let samples = match obs.columns.get("sample") {
            Some(Column::Category(c)) => c.categories.join(","),
            _ => String::new(),
        };
        Self {
            patient: patient.to_string(),
            samples,
            n_cells: x.n_rows() as i64,
            genes_detected: detected.iter().filter(|d| **d).count() as i64,
            nonzero_counts: x.nnz() as i64,
            total_counts: sums.iter().sum(),
            median_counts: median(sums),
            median_genes: median(genes),
        }
    }
}

/// The median, the mean of the middle two where there are two; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}
