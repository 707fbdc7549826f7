//! What counts and annotations hold, without the matrix: for whoever checks names before a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;

use super::annotations::{Annotations, Table};
use super::cells::{self, Cells, Patient};
use super::params::IngestParams;
use super::samples;
use super::sheet::Sheet;
use super::source::Source;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, LeftOut};
use clcc_data::genome::Species;
use clcc_stage::stage::{Progress, Quiet};

/// What [`survey`] found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Cells of the matrix.
    pub n_cells: usize,
    /// Features of the matrix; `None` for a text, whose genes come with their counts.
    pub n_features: Option<usize>,
    /// Whose genes these are, by their names; `None` for a text, and where they do not tell.
    pub species: Option<Species>,
    /// Every column of the cells under its name in the source: those of the matrix, and those of the
    /// annotations over them. Cells that the annotations lack are not counted.
    pub columns: IndexMap<String, Values>,
    /// The columns of the cells of the patients that are asked for, under the names that later stages see:
    /// `patient`, `sample`, `sample_origin`, `cell_type`, then the others. Of all cells, and without
    /// `patient`, where the patients cannot be told apart (then `problems` says why).
    pub obs: IndexMap<String, Values>,
    /// The same of all cells, also of patients that are not asked for; without `patient`.
    pub all_obs: IndexMap<String, Values>,
    /// The source column whose values make up the patients: `group_by`, or else the one for `sample`. `None`
    /// where there is none.
    pub group_column: Option<String>,
    /// Columns of the cells that do not go on, and why.
    pub left_out: Vec<LeftOut>,
    /// Layers of an h5ad or zarr, sorted.
    pub layers: Vec<String>,
    /// Whether an h5ad or zarr has `raw`.
    pub raw: bool,
    /// Genomes of the genes (10x files; the column `genome` of an h5ad or zarr), sorted; none where nothing tells.
    pub genomes: Vec<String>,
    /// Columns of the genes, where ids and positions may stand.
    pub gene_columns: Vec<String>,
    /// Everything that `ingest` would refuse before it reads the matrix, in the order of the parameters: no
    /// such column, group, layer or genome, a patient without cells, annotations that cannot be joined (their
    /// columns are then looked at without). [`StageError::Param`] says which parameter it is.
    pub problems: Vec<StageError>,
    /// What `ingest` would warn of.
    pub warnings: Vec<String>,
}

/// The values of a column as text, exactly as a parameter must write them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// How many cells have each value.
    pub counts: BTreeMap<String, usize>,
    /// Cells without one.
    pub missing: usize,
}

/// Looks at the counts at `counts` (laid out as `format` states, or else as the file's name says) and at the
/// table `annotations` for what `params` and the axis values `keys` name, through the code that `ingest` runs
/// on. Of a text the first two lines are read, of a 10x input the barcodes and features, of h5ad and zarr
/// `obs` and `var`; never the matrix. An h5ad of 4,000 cells takes some hundredths of a second.
///
/// ```no_run
/// # use clcc_counts::ingest::{IngestParams, survey};
/// let params = IngestParams { group_by: "donor".into(), ..IngestParams::default() };
/// let found = survey("counts.h5ad".as_ref(), None, None, &params, &["11".to_string()])?;
/// for problem in &found.problems {
///     println!("{problem}"); // parameter `group_by`: the cells have no column `donor`; the columns are ...
/// }
/// if let Some(labels) = found.obs.get("cell_type") {
///     println!("{:?}, {} cells have none", labels.counts, labels.missing);
/// }
/// # Ok::<(), clcc_data::StageError>(())
/// ```
///
/// # Errors
/// Where a file cannot be read as what it is said to be: then there is nothing to resolve names against. The
/// error names the file.
pub fn survey(
    counts: &Path,
    format: Option<&str>,
    annotations: Option<&Path>,
    params: &IngestParams,
    keys: &[String],
) -> StageResult<Survey> {
    let heard = Heard::default();
    let mut problems = Vec::new();
    let source = open(counts, format, params, &heard, &mut problems)?;
    let species = match source.genes(params, &heard) {
        Ok(genes) => genes.and_then(|genes| Species::of(&genes.var)),
        Err(error) => {
            // The genome is chosen at two places of a file that has several.
            if problems.is_empty() {
                problems.push(error);
            }
            None
        }
    };
    let table = annotations.map(Table::read).transpose()?;
    let cells = join(
        &source,
        counts,
        table.as_ref(),
        params,
        &heard,
        &mut problems,
    )?;
    let holds = source.holds()?;
    let mut survey = Survey {
        n_cells: source.cells().len(),
        n_features: holds.features,
        species,
        columns: columns(&cells.source),
        left_out: cells::not_taken_over(&cells, &params.columns),
        layers: holds.layers,
        raw: holds.raw,
        genomes: holds.genomes,
        gene_columns: holds.gene_columns,
        ..Survey::default()
    };
    survey.resolve(&cells, params, keys, &heard, &mut problems);
    survey.problems = problems;
    survey.warnings = heard.said();
    Ok(survey)
}

/// As [`survey`], of the files that `sheet` names for `patients`; of all patients if none is asked for.
///
/// # Errors
/// As [`survey`].
pub fn survey_sheet(
    sheet: &Sheet,
    annotations: Option<&Path>,
    params: &IngestParams,
    patients: &[String],
) -> StageResult<Survey> {
    if patients.is_empty() {
        let all: Vec<String> = sheet.patients().into_iter().map(str::to_string).collect();
        return samples::survey(sheet, annotations, params, &all);
    }
    samples::survey(sheet, annotations, params, patients)
}

impl Survey {
    /// Adds the cells of a patient who has files of their own.
    pub(super) fn add(&mut self, cells: &Cells, patient: &Patient, params: &IngestParams) {
        add(&mut self.columns, &cells.source);
        match cells::obs_of(cells, patient, &params.columns) {
            Ok(obs) => {
                add(&mut self.obs, &obs);
                add(
                    &mut self.all_obs,
                    &cells::without_patient(cells, &params.columns),
                );
            }
            Err(error) => self.problems.push(error),
        }
        let left_out = cells::not_taken_over(cells, &params.columns);
        for column in left_out {
            if !self.left_out.contains(&column) {
                self.left_out.push(column);
            }
        }
        for names in [&mut self.gene_columns, &mut self.genomes] {
            names.sort_unstable();
            names.dedup();
        }
    }

    /// Resolves the columns and the patients.
    fn resolve(
        &mut self,
        cells: &Cells,
        params: &IngestParams,
        keys: &[String],
        progress: &dyn Progress,
        problems: &mut Vec<StageError>,
    ) {
        let group_column = cells::group_column(cells, params);
        self.group_column = group_column.ok().flatten().map(str::to_string);
        let patients = match cells::select(cells, params, keys, progress) {
            Ok(selection) => selection.patients,
            Err(errors) => {
                problems.extend(errors);
                problems.extend(wrong_groups(cells, params, keys));
                Vec::new()
            }
        };
        self.all_obs = columns(&cells::without_patient(cells, &params.columns));
        match cells::standard_columns(cells, &params.columns) {
            Ok(_) if !patients.is_empty() => {
                for patient in &patients {
                    if let Ok(obs) = cells::obs_of(cells, patient, &params.columns) {
                        add(&mut self.obs, &obs);
                    }
                }
            }
            Ok(_) => self.obs = self.all_obs.clone(),
            Err(errors) => {
                // `columns.sample` is what groups, where `group_by` is empty.
                let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
                problems.extend(
                    errors
                        .into_iter()
                        .filter(|e| !said.contains(&e.to_string())),
                );
                self.obs = self.columns.clone();
            }
        }
    }
}

/// Under a `group_by` that is no column, what the groups lack in the column of the samples: one look shows both
/// slips.
fn wrong_groups(cells: &Cells, params: &IngestParams, keys: &[String]) -> Vec<StageError> {
    if params.groups.is_empty() || cells::group_column(cells, params).is_ok() {
        return Vec::new();
    }
    let usual = IngestParams {
        group_by: String::new(),
        ..params.clone()
    };
    let errors = cells::select(cells, &usual, keys, &Quiet).err();
    let is_of_groups = |e: &StageError| matches!(e, StageError::Param { param, .. } if param.starts_with("groups"));
    let mut errors = errors.unwrap_or_default();
    errors.retain(is_of_groups);
    errors
}

/// Opens the counts; where the genome is not told apart, under the first one there is.
fn open(
    counts: &Path,
    format: Option<&str>,
    params: &IngestParams,
    progress: &dyn Progress,
    problems: &mut Vec<StageError>,
) -> StageResult<Source> {
    let error = match Source::open(counts, format, params, progress) {
        Err(error @ StageError::Param { .. }) => error,
        other => return other,
    };
    for genome in super::tenx::genomes(counts)? {
        let params = IngestParams {
            genome,
            ..params.clone()
        };
        if let Ok(source) = Source::open(counts, format, &params, progress) {
            problems.push(error);
            return Ok(source);
        }
    }
    Err(error)
}

/// The cells with their annotations. Where the two cannot be joined, that is a problem, and the columns of the
/// annotations are looked at without: the names may be right all the same.
fn join(
    source: &Source,
    counts: &Path,
    table: Option<&Table>,
    params: &IngestParams,
    progress: &dyn Progress,
    problems: &mut Vec<StageError>,
) -> StageResult<Cells> {
    let joined = table
        .map(|t| t.cells(&params.cell_id))
        .transpose()
        .and_then(|annotations| Cells::join(source, counts, annotations, progress));
    joined.or_else(|error| match table {
        Some(table) => {
            problems.push(error);
            Ok(apart(table))
        }
        None => Err(error),
    })
}

/// The annotations as if every row were a cell.
fn apart(table: &Table) -> Cells {
    let Annotations { frame, left_out } = table.without_ids();
    Cells {
        at: (0..frame.len()).collect(),
        source: frame,
        left_out,
        unannotated: 0,
        absent: 0,
    }
}

fn columns(frame: &Frame) -> IndexMap<String, Values> {
    let mut found = IndexMap::new();
    add(&mut found, frame);
    found
}

fn add(found: &mut IndexMap<String, Values>, frame: &Frame) {
    for (name, column) in &frame.columns {
        let values = found.entry(name.clone()).or_default();
        for row in 0..column.len() {
            match column.text(row) {
                text if text.is_empty() => values.missing += 1,
                text => *values.counts.entry(text).or_default() += 1,
            }
        }
    }
}

/// Keeps the warnings.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(super) fn said(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Heard {
    fn step(&self, _: u64, _: u64, _: &str) {}

    fn warn(&self, message: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(message.to_string());
    }
}
