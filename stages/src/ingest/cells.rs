//! Which cells belong to which patient, and under which names their columns go on.

use std::collections::{BTreeMap, HashMap};

use super::params::{IngestParams, StandardColumns};
use crate::anndata::list;
use crate::error::{StageError, StageResult};
use crate::frame::{Categorical, Column, Frame};
use crate::stage::Progress;

/// The cells of a matrix that are described.
#[derive(Debug)]
pub(super) struct Cells {
    /// Their columns under the source's names; the index is the cell id.
    pub(super) source: Frame,
    /// Position of each in the matrix, rising.
    pub(super) at: Vec<usize>,
    /// Cells of the matrix that the annotations lack.
    pub(super) unannotated: usize,
    /// Annotated cells that the matrix lacks.
    pub(super) absent: usize,
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
    /// [`StageError::Data`] where no cell of the matrix is annotated.
    pub(super) fn join(
        own: Frame,
        annotations: Option<Frame>,
        progress: &dyn Progress,
    ) -> StageResult<Self> {
        let Some(table) = annotations else {
            let at = (0..own.len()).collect();
            return Ok(Self {
                source: own,
                at,
                unannotated: 0,
                absent: 0,
            });
        };
        let row_of: HashMap<&str, usize> = table
            .index
            .iter()
            .enumerate()
            .map(|(r, id)| (id.as_str(), r))
            .collect();
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
            let example = |f: &Frame| f.index.first().cloned().unwrap_or_default();
            return Err(StageError::data_hint(
                format!(
                    "no cell of the matrix is in the annotations: the matrix has ids such as `{}`, the annotations such as `{}`",
                    example(&own),
                    example(&table)
                ),
                "name the annotation column that holds the matrix's cell ids with `cell_id`",
            ));
        }
        if !without.is_empty() {
            progress.warn(&format!(
                "{} of {} cells of the matrix have no annotation and are left out: {}",
                without.len(),
                own.len(),
                list(&without)
            ));
        }
        let absent = table.len() - rows.len();
        if absent > 0 {
            let there: std::collections::HashSet<&str> =
                own.index.iter().map(String::as_str).collect();
            let ids: Vec<&String> = table
                .index
                .iter()
                .filter(|id| !there.contains(id.as_str()))
                .collect();
            progress.warn(&format!(
                "{absent} annotated cells are not in the matrix: {}",
                list(&ids)
            ));
        }
        let unannotated = without.len();
        let mut source = own.take(&at);
        for (name, column) in table.columns {
            source.set(&name, column.take(&rows));
        }
        Ok(Self {
            source,
            at,
            unannotated,
            absent,
        })
    }
}

/// Assigns cells to `keys`, the patients; without keys there is one, `all`.
///
/// # Errors
/// [`StageError::Param`] where a column or a group is missing, [`StageError::Data`] where a patient
/// has no cell.
pub(super) fn select(
    cells: &Cells,
    params: &IngestParams,
    keys: &[String],
    progress: &dyn Progress,
) -> StageResult<Vec<Patient>> {
    let everything = |name: &str| {
        vec![Patient {
            name: name.to_string(),
            rows: (0..cells.source.len()).collect(),
        }]
    };
    let column = group_column(&cells.source, params)?;
    let (column, keys): (&str, Vec<(String, Vec<String>)>) = match (column, keys) {
        (_, []) if params.groups.is_empty() => return Ok(everything("all")),
        (None, [only]) if params.groups.is_empty() => return Ok(everything(only)),
        (None, _) => {
            return Err(StageError::Param {
                param: "group_by".to_string(),
                message: format!(
                    "the cells have no column that tells the patients apart; the columns are {}",
                    list(&cells.source.columns.keys().collect::<Vec<_>>())
                ),
                hint: Some(
                    "name one with `group_by`, or give `annotations` as an input".to_string(),
                ),
            });
        }
        (Some(column), []) => (
            column,
            vec![(
                "all".to_string(),
                params.groups.values().flatten().cloned().collect(),
            )],
        ),
        (Some(column), keys) => {
            let values = keys
                .iter()
                .map(|key| Ok((key.clone(), group_values(key, params)?)));
            (column, values.collect::<StageResult<_>>()?)
        }
    };
    let texts = cells.source.texts(column)?;
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, text) in texts.iter().enumerate() {
        found.entry(text).or_default().push(row);
    }
    let mut patients = Vec::new();
    for (name, values) in keys {
        let mut rows: Vec<usize> = values
            .iter()
            .filter_map(|v| found.get(v.as_str()))
            .flatten()
            .copied()
            .collect();
        if rows.is_empty() {
            let known: Vec<&str> = found.keys().copied().collect();
            return Err(StageError::data_hint(
                format!(
                    "patient `{name}` has no cell: none has {} in `{column}`, whose values are {}",
                    list(&values),
                    list(&known)
                ),
                "`groups` maps each patient to values of `group_by`",
            ));
        }
        for value in values.iter().filter(|v| !found.contains_key(v.as_str())) {
            progress.warn(&format!(
                "patient `{name}`: no cell has `{value}` in `{column}`"
            ));
        }
        rows.sort_unstable();
        patients.push(Patient { name, rows });
    }
    Ok(patients)
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

fn group_column<'a>(source: &'a Frame, params: &'a IngestParams) -> StageResult<Option<&'a str>> {
    let standard = standard_columns(source, &params.columns)?;
    if params.group_by.is_empty() {
        return Ok(standard[0].1);
    }
    if source.columns.contains_key(&params.group_by) {
        return Ok(Some(&params.group_by));
    }
    // The name it will have is understood too.
    let renamed = standard
        .iter()
        .find(|(name, _)| *name == params.group_by)
        .and_then(|(_, column)| *column);
    match renamed {
        Some(column) => Ok(Some(column)),
        None => Err(no_column("group_by", &params.group_by, source)),
    }
}

fn no_column(param: &str, name: &str, source: &Frame) -> StageError {
    let known: Vec<&String> = source.columns.keys().collect();
    StageError::param(
        param,
        format!(
            "the cells have no column `{name}`; the columns are {}",
            list(&known)
        ),
    )
}

/// The standard names and the source column of each.
fn standard_columns<'a>(
    source: &'a Frame,
    columns: &'a StandardColumns,
) -> StageResult<[(&'static str, Option<&'a str>); 3]> {
    let find = |name: &'static str, asked: &'a str, usual: &[&'static str]| {
        if asked.is_empty() {
            return Ok((
                name,
                usual
                    .iter()
                    .copied()
                    .find(|u| source.columns.contains_key(*u)),
            ));
        }
        match source.columns.contains_key(asked) {
            true => Ok((name, Some(asked))),
            false => Err(no_column(&format!("columns.{name}"), asked, source)),
        }
    };
    Ok([
        find(
            "sample",
            &columns.sample,
            &["sample", "Sample", "sample_id", "Sample_ID"],
        )?,
        find(
            "sample_origin",
            &columns.sample_origin,
            &["sample_origin", "Sample_Origin", "Sample_Origion"],
        )?,
        find(
            "cell_type",
            &columns.cell_type,
            &["cell_type", "Cell_type", "celltype", "CellType"],
        )?,
    ])
}

/// The `obs` that goes on: `patient` first, then the standard columns as categories, then all
/// others. A source column whose name is taken becomes `<name>_source`. Categories that none of
/// these cells has are dropped.
///
/// # Errors
/// As [`select`].
pub(super) fn obs_of(
    cells: &Cells,
    patient: &Patient,
    columns: &StandardColumns,
) -> StageResult<Frame> {
    let source = cells.source.take(&patient.rows);
    let standard = standard_columns(&cells.source, columns)?;
    let mut obs = Frame::new(source.index.clone());
    obs.set_category("patient", &vec![patient.name.as_str(); obs.len()]);
    for (name, from) in standard {
        if let Some(from) = from {
            obs.set(name, category(&source, from)?);
        }
    }
    for (name, column) in &source.columns {
        if standard
            .iter()
            .any(|(_, from)| *from == Some(name.as_str()))
        {
            continue;
        }
        let mut free = name.clone();
        while obs.columns.contains_key(&free) {
            free.push_str("_source");
        }
        obs.set(&free, used_categories(column));
    }
    Ok(obs)
}

fn category(source: &Frame, name: &str) -> StageResult<Column> {
    Ok(match source.column(name)? {
        column @ Column::Category(_) => used_categories(column),
        _ => Column::Category(Categorical::from_values(&source.texts(name)?)),
    })
}

fn used_categories(column: &Column) -> Column {
    let Column::Category(c) = column else {
        return column.clone();
    };
    let mut used = vec![false; c.categories.len()];
    c.codes
        .iter()
        .filter_map(|&code| usize::try_from(code).ok())
        .for_each(|code| used[code] = true);
    let mut new_code = vec![-1; used.len()];
    let mut categories = Vec::new();
    for (code, name) in c
        .categories
        .iter()
        .enumerate()
        .filter(|(code, _)| used[*code])
    {
        new_code[code] = categories.len() as i32;
        categories.push(name.clone());
    }
    let codes = c
        .codes
        .iter()
        .map(|&code| usize::try_from(code).map_or(-1, |code| new_code[code]))
        .collect();
    Column::Category(Categorical {
        codes,
        categories,
        ordered: c.ordered,
    })
}
