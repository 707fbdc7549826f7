//! Which cells belong to which patient, and under which names their columns go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::annotations::{Annotations, shown};
use super::params::{IngestParams, StandardColumns};
use super::source::Source;
use clcc_data::anndata::{list, name_problem};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame, LeftOut, is_missing};
use clcc_data::genome::{Duplicates, GeneTable};
use clcc_stage::stage::Progress;

/// The cells of a matrix that are described.
#[derive(Debug)]
pub(super) struct Cells {
    /// Their columns under the source's names; the index is the cell id.
    pub(super) source: Frame,
    /// Columns that neither the matrix nor the annotations could give.
    pub(super) left_out: Vec<LeftOut>,
    /// Position of each in the matrix, rising.
    pub(super) at: Vec<usize>,
    /// Cells of the matrix that the annotations lack.
    pub(super) unannotated: usize,
    /// Annotated cells that the matrix lacks.
    pub(super) absent: usize,
}

/// Who is read.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// In the order of the axis.
    pub(super) patients: Vec<Patient>,
    /// Cells without a value in the column that tells the patients apart.
    pub(super) without_group: usize,
}

/// The cells of one patient.
#[derive(Debug)]
pub(super) struct Patient {
    /// The axis value.
    pub(super) name: String,
    /// Rows of [`Cells::source`], rising.
    pub(super) rows: Vec<usize>,
}

impl Cells {
    /// The cells as the matrix describes them, joined with the annotations by cell id. A column of
    /// the annotations replaces one of that name. Cells without annotation are left out, counted
    /// and named in a warning.
    ///
    /// # Errors
    /// [`StageError::Format`] where a cell has no id, [`StageError::Data`] where no cell of the matrix is
    /// annotated.
    pub(super) fn join(
        counts: &Source,
        path: &Path,
        annotations: Option<Annotations>,
        progress: &dyn Progress,
    ) -> StageResult<Self> {
        let own = counts.cells();
        if let Some(at) = own.index.iter().position(|id| is_missing(id)) {
            let message = format!("expected a cell id, found {}", shown(&own.index[at]));
            return Err(StageError::format(
                path,
                format!("cell {}", at + 1),
                message,
            ));
        }
        match annotations {
            Some(annotations) => Self::annotated(counts, path, annotations, progress),
            None => Self::bare(counts, path),
        }
    }

    /// The cells as the matrix describes them.
    fn bare(counts: &Source, path: &Path) -> StageResult<Self> {
        let own = counts.cells();
        if let Some(because) = genes_for_cells(own) {
            return Err(transposed(path, &because, counts));
        }
        // With annotations such a column has no row there, and is left out.
        let first = own.index.first();
        if let (Source::Text(_), Some(name)) = (counts, first)
            && super::geo::is_about_genes(name)
        {
            return Err(StageError::format(
                path,
                "line 1",
                format!("expected a cell id in the second column, found `{name}`, which is a column about genes"),
            )
            .or_hint("remove the columns between the genes and the first cell"));
        }
        Ok(Self {
            source: own.clone(),
            left_out: counts.left_out().to_vec(),
            at: (0..own.len()).collect(),
            unannotated: 0,
            absent: 0,
        })
    }

    fn annotated(
        counts: &Source,
        path: &Path,
        annotations: Annotations,
        progress: &dyn Progress,
    ) -> StageResult<Self> {
        let (own, frame) = (counts.cells(), annotations.frame);
        let row_of: HashMap<&str, usize> =
            (frame.index.iter().map(String::as_str).zip(0..)).collect();
        let (mut at, mut rows, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for (position, id) in own.index.iter().enumerate() {
            match row_of.get(id.as_str()) {
                Some(&row) => {
                    at.push(position);
                    rows.push(row);
                }
                None => without.push(id.as_str()),
            }
        }
        if rows.is_empty() {
            return Err(no_cell_in_common(counts, path, &frame, &row_of));
        }
        let absent = frame.len() - rows.len();
        warn_of_others(own, &frame, &without, absent, progress);
        let unannotated = without.len();
        let mut source = own.take(&at);
        // What the annotations have holds, also where it is no use.
        for column in &annotations.left_out {
            source.columns.shift_remove(&column.name);
        }
        let mut left_out = counts.left_out().to_vec();
        left_out.retain(|c| !frame.columns.contains_key(&c.name));
        left_out.extend(annotations.left_out);
        for (name, column) in frame.columns {
            source.set(&name, column.take(&rows));
        }
        Ok(Self {
            source,
            left_out,
            at,
            unannotated,
            absent,
        })
    }
}

/// Says which cells have no annotation, and which of those that are annotated are not in the matrix.
fn warn_of_others(
    own: &Frame,
    annotations: &Frame,
    without: &[&str],
    absent: usize,
    progress: &dyn Progress,
) {
    if !without.is_empty() {
        progress.warn(&format!(
            "{} of {} cells of the matrix have no annotation and are left out: {}",
            without.len(),
            own.len(),
            list(without)
        ));
    }
    if absent > 0 {
        let there: HashSet<&str> = own.index.iter().map(String::as_str).collect();
        let ids: Vec<&String> = annotations
            .index
            .iter()
            .filter(|id| !there.contains(id.as_str()))
            .collect();
        progress.warn(&format!(
            "{absent} annotated cells are not in the matrix: {}",
            list(&ids)
        ));
    }
}

/// Why annotations and matrix have no cell in common: the matrix is transposed, or the ids are others.
fn no_cell_in_common(
    counts: &Source,
    path: &Path,
    annotations: &Frame,
    row_of: &HashMap<&str, usize>,
) -> StageError {
    let genes = counts.gene_names();
    let cells = counts.cells();
    if let Some(cell) = genes.iter().find(|name| row_of.contains_key(*name)) {
        return transposed(
            path,
            &format!("`{cell}` of the annotations is where a gene is expected"),
            counts,
        );
    }
    let example = |f: &Frame| f.index.first().cloned().unwrap_or_default();
    StageError::data_hint(
        format!(
            "no cell of the matrix is in the annotations: the matrix has ids such as `{}`, the annotations such as `{}`",
            example(cells),
            example(annotations)
        ),
        "name the annotation column that holds the matrix's cell ids with `cell_id`",
    )
}

/// Whether half or more of the cells are called what genes of man are (or of mouse, in capitals), as where rows
/// and columns are swapped.
fn genes_for_cells(cells: &Frame) -> Option<String> {
    const LOOKED_AT: usize = 500;
    const FEWEST: usize = 10;
    let step = cells.len().div_ceil(LOOKED_AT).max(1);
    let names: Vec<String> = (cells.index.iter().step_by(step))
        .map(|name| name.to_uppercase())
        .collect();
    // Barcodes are the usual case, and no gene is called like one.
    let is_barcode = |name: &&String| name.len() >= 14 && name.starts_with(|c| "ACGT".contains(c));
    if names.len() < FEWEST || names.iter().filter(is_barcode).count() * 2 > names.len() {
        return None;
    }
    // Some families of genes are named as people number cells: `C2`, `F11`.
    let stem = |name: &str| {
        name.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_string()
    };
    if names.iter().all(|name| stem(name) == stem(&names[0])) {
        return None;
    }
    let found = GeneTable::grch38().resolve(&names, Duplicates::First);
    let n_genes = found.iter().flatten().count();
    (n_genes * 2 >= names.len()).then(|| {
        let examples: Vec<&String> = cells.index.iter().take(3).collect();
        format!(
            "most names of cells are those of genes, as {}",
            list(&examples)
        )
    })
}

/// The error for counts whose rows and columns are swapped.
pub(super) fn transposed(path: &Path, because: &str, counts: &Source) -> StageError {
    let (expected, hint) = match counts {
        Source::Text(_) => (
            "genes in rows and cells in columns, found cells in rows",
            "transpose it, for example with pandas: `pd.read_csv(path, sep=None, index_col=0).T.to_csv(\"counts.csv\")`",
        ),
        Source::Store(_) => (
            "cells in `obs` and genes in `var`, found genes in `obs`",
            "transpose it with anndata: `adata.T.write_h5ad(\"counts.h5ad\")`",
        ),
        Source::Tenx(_) => (
            "features in rows and cells in columns, found cells in rows",
            "give the folder as Cell Ranger writes it",
        ),
    };
    StageError::format(
        path,
        "",
        format!("the matrix is transposed: expected {expected} ({because})"),
    )
    .or_hint(hint)
}

/// The cells of the patients `keys`: of the values of `group_by` that `groups` lists for each, or
/// of the value that is the patient's name. Without `keys` and groups all cells are the patient
/// `all`; without a column to group by they may be the one patient there is. Cells without a value are
/// nobody's, and counted in a warning.
///
/// # Errors
/// All there are: [`StageError::Param`] where a column or group is missing, or no cell has a value of a
/// group; [`StageError::Data`] where a patient has no cell.
pub(super) fn select(
    cells: &Cells,
    params: &IngestParams,
    keys: &[String],
    progress: &dyn Progress,
) -> Result<Selection, Vec<StageError>> {
    let everything = |name: &str| Selection {
        patients: vec![Patient {
            name: name.to_string(),
            rows: (0..cells.source.len()).collect(),
        }],
        without_group: 0,
    };
    let column = group_column(cells, params).map_err(|e| vec![e])?;
    let column = match (column, keys) {
        (_, []) if params.groups.is_empty() => return Ok(everything("all")),
        (None, [only]) if params.groups.is_empty() => return Ok(everything(only)),
        (Some(column), _) => column,
        (None, _) => {
            return Err(vec![StageError::Param {
                param: "group_by".to_string(),
                message: format!(
                    "the cells have no column that tells the patients apart; {}",
                    columns_there(cells)
                ),
                hint: Some(
                    "name one with `group_by`, or give `annotations` as an input".to_string(),
                ),
            }]);
        }
    };
    let texts = cells.source.texts(column).map_err(|e| vec![e])?;
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, text) in texts.iter().enumerate() {
        found.entry(text).or_default().push(row);
    }
    let without_group = found.remove("").map_or(0, |rows| rows.len());
    if without_group > 0 {
        progress.warn(&format!(
            "{without_group} of {} cells have no value in `{column}` (empty, or a word for it such as `NA` or `None`) and \
             belong to no patient",
            texts.len()
        ));
    }
    let patients = patients(params, keys, column, &found)?;
    Ok(Selection {
        patients,
        without_group,
    })
}

/// Each patient with the rows of its cells; `found` are the rows of each value of `column`.
fn patients(
    params: &IngestParams,
    keys: &[String],
    column: &str,
    found: &BTreeMap<&str, Vec<usize>>,
) -> Result<Vec<Patient>, Vec<StageError>> {
    let (mut patients, mut errors) = (Vec::new(), Vec::new());
    let wanted: Vec<(String, StageResult<Vec<String>>)> = match keys {
        [] => vec![(
            "all".to_string(),
            Ok(params.groups.values().flatten().cloned().collect()),
        )],
        keys => keys
            .iter()
            .map(|key| (key.clone(), group_values(key, params)))
            .collect(),
    };
    for (name, values) in wanted {
        match values.and_then(|values| rows_of(&name, &values, column, found)) {
            Ok(rows) => patients.push(Patient { name, rows }),
            Err(StageError::Data { message, hint }) if params.groups.contains_key(&name) => {
                errors.push(StageError::Param {
                    param: format!("groups.{name}"),
                    message,
                    hint,
                });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(patients)
    } else {
        Err(errors)
    }
}

/// The cells that have one of `values`, rising.
fn rows_of(
    patient: &str,
    values: &[String],
    column: &str,
    found: &BTreeMap<&str, Vec<usize>>,
) -> StageResult<Vec<usize>> {
    let absent: Vec<&String> = values
        .iter()
        .filter(|v| !found.contains_key(v.as_str()))
        .collect();
    if !absent.is_empty() {
        let known: Vec<&str> = found.keys().copied().collect();
        let none = if absent.len() == values.len() {
            " has no cell: none"
        } else {
            ": no cell"
        };
        let hint = match absent.iter().find_map(|v| alike(v, &known)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`groups` maps each patient to values of `group_by`".to_string(),
        };
        return Err(StageError::data_hint(
            format!(
                "patient `{patient}`{none} has {} in `{column}`, whose values are {}",
                list(&absent),
                list(&known)
            ),
            hint,
        ));
    }
    let mut rows: Vec<usize> = values
        .iter()
        .flat_map(|v| found[v.as_str()].iter().copied())
        .collect();
    rows.sort_unstable();
    Ok(rows)
}

/// The value that differs from `name` in nothing but case, blanks and punctuation, or in how a number is
/// written.
fn alike<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let letters = |text: &str| -> String {
        let kept = text.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    let number = name.parse::<f64>().ok();
    let is_alike = |k: &&&str| {
        letters(k) == letters(name) || (number.is_some() && k.parse::<f64>().ok() == number)
    };
    known.iter().find(is_alike).copied()
}

fn group_values(key: &str, params: &IngestParams) -> StageResult<Vec<String>> {
    if params.groups.is_empty() {
        return Ok(vec![key.to_string()]);
    }
    params.groups.get(key).cloned().ok_or_else(|| {
        let known: Vec<&String> = params.groups.keys().collect();
        StageError::param(
            "groups",
            format!(
                "patient `{key}` has no entry; those that have one are {}",
                list(&known)
            ),
        )
    })
}

pub(super) fn group_column<'a>(
    cells: &'a Cells,
    params: &'a IngestParams,
) -> StageResult<Option<&'a str>> {
    let source = &cells.source;
    if params.group_by.is_empty() {
        return standard_column(cells, STANDARD[0], &params.columns.sample);
    }
    if source.columns.contains_key(&params.group_by) {
        return Ok(Some(&params.group_by));
    }
    // The name it will have is understood too.
    let renamed = standard_columns(cells, &params.columns)
        .ok()
        .and_then(|all| all.into_iter().find(|(name, _)| *name == params.group_by))
        .and_then(|(_, column)| column);
    match renamed {
        Some(column) => Ok(Some(column)),
        None => Err(no_column("group_by", &params.group_by, cells)),
    }
}

/// Why there is no column `name`, and which ones there are.
fn no_column(param: &str, name: &str, cells: &Cells) -> StageError {
    let message = match cells.left_out.iter().find(|c| c.name == name) {
        Some(LeftOut { why, .. }) => format!("column `{name}` {why}; {}", columns_there(cells)),
        None => format!(
            "the cells have no column `{name}`; {}",
            columns_there(cells)
        ),
    };
    StageError::param(param, message)
}

fn columns_there(cells: &Cells) -> String {
    let known: Vec<&String> = cells.source.columns.keys().collect();
    format!("the columns are {}", list(&known))
}

/// A standard column: its name and its usual names in sources.
type Standard = (&'static str, &'static [&'static str]);

const STANDARD: [Standard; 3] = [
    ("sample", &["sample", "Sample", "sample_id", "Sample_ID"]),
    (
        "sample_origin",
        &["sample_origin", "Sample_Origin", "Sample_Origion"],
    ),
    (
        "cell_type",
        &["cell_type", "Cell_type", "celltype", "CellType"],
    ),
];

/// The standard names and the source column of each.
///
/// # Errors
/// [`StageError::Param`] where a parameter names a column that is not there.
pub(super) fn standard_columns<'a>(
    cells: &'a Cells,
    columns: &'a StandardColumns,
) -> Result<Vec<(&'static str, Option<&'a str>)>, Vec<StageError>> {
    let asked = [&columns.sample, &columns.sample_origin, &columns.cell_type];
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for (standard, asked) in STANDARD.into_iter().zip(asked) {
        match standard_column(cells, standard, asked) {
            Ok(column) => found.push((standard.0, column)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(errors)
    }
}

fn standard_column<'a>(
    cells: &'a Cells,
    (name, usual): Standard,
    asked: &'a str,
) -> StageResult<Option<&'a str>> {
    let there = |column: &str| cells.source.columns.contains_key(column);
    if asked.is_empty() {
        return Ok(usual.iter().copied().find(|u| there(u)));
    }
    if there(asked) {
        return Ok(Some(asked));
    }
    Err(no_column(&format!("columns.{name}"), asked, cells))
}

/// Takes away the columns whose names cannot be written, telling of each with why.
pub(super) fn drop_unwritable(frame: &mut Frame, mut tell: impl FnMut(&str, &str)) {
    frame.columns.retain(|name, _| match name_problem(name) {
        Some(why) => {
            tell(name, why);
            false
        }
        None => true,
    });
}

/// The `obs` that goes on: `patient` first, then the standard columns as categories, then all
/// others. A source column whose name is taken becomes `<name>_source`. Categories that none of
/// these cells has are dropped, and so are columns whose names cannot be written.
///
/// # Errors
/// As [`standard_columns`].
pub(super) fn obs_of(
    cells: &Cells,
    patient: &Patient,
    columns: &StandardColumns,
) -> StageResult<Frame> {
    let source = cells.source.take(&patient.rows);
    let mut obs = Frame::new(source.index.clone());
    obs.set_category("patient", &vec![patient.name.as_str(); obs.len()]);
    add_columns(
        &mut obs,
        &source,
        &standard_columns(cells, columns).map_err(first)?,
    )?;
    Ok(obs)
}

/// As [`obs_of`] of all cells, whose patients are not known.
pub(super) fn without_patient(cells: &Cells, columns: &StandardColumns) -> Frame {
    let mut obs = Frame::new(cells.source.index.clone());
    let standard = standard_columns(cells, columns).unwrap_or_default();
    // The columns were just found.
    let _ = add_columns(&mut obs, &cells.source, &standard);
    obs
}

fn add_columns(
    obs: &mut Frame,
    source: &Frame,
    standard: &[(&'static str, Option<&str>)],
) -> StageResult<()> {
    for &(name, from) in standard {
        if let Some(from) = from {
            obs.set(name, category(source, from)?);
        }
    }
    for (name, column) in &source.columns {
        if standard.iter().any(|(_, from)| *from == Some(name)) {
            continue;
        }
        let mut free = name.clone();
        while obs.columns.contains_key(&free) {
            free.push_str("_source");
        }
        obs.set(&free, used_categories(column));
    }
    drop_unwritable(obs, |_, _| ());
    Ok(())
}

/// Columns of the cells that do not go on: that could not be read, or whose names cannot be written and that
/// no parameter gives another name.
pub(super) fn not_taken_over(cells: &Cells, columns: &StandardColumns) -> Vec<LeftOut> {
    let standard = standard_columns(cells, columns).unwrap_or_default();
    let renamed = |name: &str| standard.iter().any(|(_, from)| *from == Some(name));
    let unwritable = cells.source.columns.keys().filter(|name| !renamed(name));
    let unwritable = unwritable.filter_map(|name| {
        Some(LeftOut {
            name: name.clone(),
            why: name_problem(name)?.to_string(),
        })
    });
    cells.left_out.iter().cloned().chain(unwritable).collect()
}

/// The first of the errors, of which there is one.
pub(super) fn first(errors: Vec<StageError>) -> StageError {
    let mut errors = errors.into_iter();
    errors.next().expect("an error where something failed")
}

fn category(source: &Frame, name: &str) -> StageResult<Column> {
    Ok(match source.column(name)? {
        column @ Column::Category(_) => used_categories(column),
        _ => Column::Category(Categorical::from_values(&source.texts(name)?)),
    })
}

fn used_categories(column: &Column) -> Column {
    let mut column = column.clone();
    if let Column::Category(c) = &mut column {
        let used: HashSet<String> = (0..c.codes.len())
            .filter_map(|r| c.get(r).map(str::to_string))
            .collect();
        c.drop_categories(|name| !used.contains(name));
    }
    column
}
