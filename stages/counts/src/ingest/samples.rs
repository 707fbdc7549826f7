//! The samples of one patient, each from its own file, below one another.
//!
//! Every file is read as it would be alone, in whatever layout. A cell is then named `<id>_<sample>`, gets the
//! sheet's columns, and the genes are those that all files have.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use indexmap::IndexMap;

use super::annotations::{Annotations, Table};
use super::cells::{Cells, Patient, Selection};
use super::params::IngestParams;
use super::sheet::{Sample, Sheet};
use super::source::{Arrays, Matrices, Sections, Source};
use super::survey::Survey;
use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::genome::Species;
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::stage::{Progress, StageContext};

/// What the files of a patient hold together.
pub(super) struct Joined {
    pub(super) cells: Cells,
    pub(super) selection: Selection,
    pub(super) var: Frame,
    pub(super) matrices: Matrices,
    pub(super) arrays: Arrays,
    pub(super) sections: Sections,
}

/// Parameters that choose cells out of a file of several patients: a sheet has none such.
fn check(params: &IngestParams) -> StageResult<()> {
    let param = match (params.group_by.is_empty(), params.groups.is_empty()) {
        (false, _) => "group_by",
        (_, false) => "groups",
        _ => return Ok(()),
    };
    let message =
        "a sample sheet says whose a file is, and cells are not chosen by a column of them";
    Err(StageError::param(param, message))
}

/// One sample.
struct Part {
    obs: Frame,
    var: Frame,
    x: Csr,
    arrays: Arrays,
    sections: Sections,
    unannotated: usize,
    left_out: Vec<clcc_data::frame::LeftOut>,
}

/// Reads the samples of `patient`.
///
/// # Errors
/// As the readers of the single files; [`StageError::Data`] where their genes are others.
pub(super) fn read(
    ctx: &StageContext<'_>,
    params: &IngestParams,
    sheet: &Sheet,
    annotations: Option<&Path>,
    patient: &str,
) -> StageResult<Joined> {
    check(params)?;
    let samples = sheet.of(patient)?;
    let table = annotations.map(|a| Table::read(a)?.cells(&params.cell_id));
    let table = table.transpose()?;
    let mut parts = Vec::with_capacity(samples.len());
    for sample in &samples {
        ctx.check_cancelled()?;
        parts.push(read_sample(ctx, params, sheet, sample, table.as_ref())?);
    }
    let (var, places) = common_genes(&samples, parts.iter().map(|p| &p.var), ctx.progress)?;
    let matrices: Vec<Csr> = (parts.iter().zip(&places))
        .map(|(part, place)| part.x.take_cols(place))
        .collect();
    let x = Csr::vstack(&matrices.iter().collect::<Vec<_>>());
    let source = below(parts.iter().map(|p| &p.obs));
    if let Some(id) = source.first_duplicate() {
        return Err(StageError::data(format!(
            "patient `{patient}`: cell id `{id}` comes twice"
        )));
    }
    let n = source.len();
    Ok(Joined {
        cells: Cells {
            at: (0..n).collect(),
            source,
            left_out: parts.iter().flat_map(|p| p.left_out.clone()).collect(),
            unannotated: parts.iter().map(|p| p.unannotated).sum(),
            absent: 0,
        },
        selection: Selection {
            patients: vec![Patient {
                name: patient.to_string(),
                rows: (0..n).collect(),
            }],
            without_group: 0,
        },
        var,
        matrices: Box::new(std::iter::once(Ok(x))),
        arrays: common_arrays(&parts.iter().map(|p| &p.arrays).collect::<Vec<_>>()),
        sections: sections_of(&samples, parts),
    })
}

fn read_sample(
    ctx: &StageContext<'_>,
    params: &IngestParams,
    sheet: &Sheet,
    sample: &Sample,
    table: Option<&Annotations>,
) -> StageResult<Part> {
    let (source, cells) = open(sheet, sample, params, table, ctx.progress)?;
    let arrays = source.arrays(ctx.progress)?.into_iter();
    let arrays = arrays
        .map(|(name, a)| (name, a.take_rows(&cells.at)))
        .collect();
    let own = [Patient {
        name: sample.patient.clone(),
        rows: (0..cells.source.len()).collect(),
    }];
    let sections = source.sections(ctx.progress)?;
    let (var, mut matrices) = source.read(ctx, params, &cells, &own)?;
    Ok(Part {
        x: matrices.next().expect("one patient was asked for")?,
        obs: described(sheet, sample, &cells.source),
        var,
        arrays,
        sections,
        unannotated: cells.unannotated,
        left_out: cells.left_out,
    })
}

/// The pictured sections of all samples; where two files call their library alike, the later one gets its sample's
/// name.
fn sections_of(samples: &[&Sample], parts: Vec<Part>) -> Sections {
    let mut out = Sections::new();
    for (sample, part) in samples.iter().zip(parts) {
        for (library, section) in part.sections {
            let name = match out.contains_key(&library) {
                true => format!("{library}_{}", sample.name),
                false => library,
            };
            out.insert(name, section);
        }
    }
    out
}

/// The arrays that all samples have with as many columns, below one another.
fn common_arrays(arrays: &[&Arrays]) -> Arrays {
    let mut out = Arrays::new();
    for (name, first) in arrays[0] {
        let columns = first.shape().1;
        let of_all = arrays.iter().map(|a| a.get(name));
        let of_all = of_all.map(|a| a.filter(|a| a.shape().1 == columns).cloned());
        let Some(parts) = of_all.collect::<Option<Vec<Matrix>>>() else {
            continue;
        };
        let parts: Vec<Csr> = parts.into_iter().map(Matrix::into_csr).collect();
        let stacked = Csr::vstack(&parts.iter().collect::<Vec<_>>());
        out.insert(
            name.clone(),
            Matrix::Dense(Matrix::Csr(stacked).into_dense()),
        );
    }
    out
}

/// What the samples of `patients` hold, without their matrices.
///
/// # Errors
/// Where a file cannot be read as what it is said to be.
pub(super) fn survey(
    sheet: &Sheet,
    annotations: Option<&Path>,
    params: &IngestParams,
    patients: &[String],
) -> StageResult<Survey> {
    let mut found = Survey::default();
    if let Err(error) = check(params) {
        found.problems.push(error);
    }
    let table = annotations.map(|a| Table::read(a)?.cells(&params.cell_id));
    let table = table.transpose()?;
    let heard = super::survey::Heard::default();
    for patient in patients {
        let mut frames = Vec::new();
        for sample in sheet.of(patient)? {
            let (source, cells) = open(sheet, sample, params, table.as_ref(), &heard)?;
            let genes = source.genes(params, &heard)?;
            if let Some(genes) = genes {
                found.n_features = found.n_features.max(Some(genes.var.len()));
                if found.species.is_none() {
                    found.species = Species::of(&genes.var);
                }
            }
            found.n_cells += source.cells().len();
            let holds = source.holds()?;
            found.gene_columns.extend(holds.gene_columns);
            found.genomes.extend(holds.genomes);
            frames.push(described(sheet, sample, &cells.source));
        }
        let source = below(frames.iter());
        let n = source.len();
        let cells = Cells {
            at: (0..n).collect(),
            source,
            left_out: Vec::new(),
            unannotated: 0,
            absent: 0,
        };
        let all = Patient {
            name: patient.clone(),
            rows: (0..n).collect(),
        };
        found.add(&cells, &all, params);
    }
    found.warnings = heard.said();
    Ok(found)
}

/// The file of a sample with its cells, under the ids that they have there.
fn open(
    sheet: &Sheet,
    sample: &Sample,
    params: &IngestParams,
    table: Option<&Annotations>,
    progress: &dyn Progress,
) -> StageResult<(Source, Cells)> {
    let missing = sheet.missing_files(&sample.patient);
    if let Some(error) = missing.into_iter().next() {
        return Err(error);
    }
    let source = Source::open(&sample.path, sample.format.as_deref(), params, progress)?;
    let own = sample.annotations.as_deref();
    let annotations = match (own, table) {
        (Some(own), _) => Some(Table::read(own)?.cells(&params.cell_id)?),
        (None, Some(table)) => Some(of_sample(table, sample, source.cells())?),
        (None, None) => None,
    };
    let cells = Cells::join(&source, &sample.path, annotations, progress)?;
    Ok((source, cells))
}

/// The rows of a table of all samples that are of this one, under the ids that its file has. Cells are found as
/// `<id>_<sample>` (as they are called here), `<sample>_<id>` (as Seurat calls them), or by their bare ids if most of
/// them are there: two samples share some barcodes by chance.
fn of_sample(table: &Annotations, sample: &Sample, cells: &Frame) -> StageResult<Annotations> {
    let row_of: HashMap<&str, usize> =
        (table.frame.index.iter().map(String::as_str).zip(0..)).collect();
    let name = &sample.name;
    let names: [(&str, &dyn Fn(&str) -> String, usize); 3] = [
        ("<id>_<sample>", &|id| format!("{id}_{name}"), 1),
        ("<sample>_<id>", &|id| format!("{name}_{id}"), 1),
        ("<id>", &|id| id.to_string(), cells.len().div_ceil(2)),
    ];
    for (_, named, least) in names {
        let found: Vec<(usize, &String)> = (cells.index.iter())
            .filter_map(|id| Some((*row_of.get(named(id).as_str())?, id)))
            .collect();
        if found.len() < least.max(1) {
            continue;
        }
        let rows: Vec<usize> = found.iter().map(|f| f.0).collect();
        let mut frame = table.frame.take(&rows);
        frame.index = found.iter().map(|f| f.1.clone()).collect();
        return Ok(Annotations {
            frame,
            left_out: table.left_out.clone(),
        });
    }
    let example = cells.index.first().cloned().unwrap_or_default();
    let there = table.frame.index.first().cloned().unwrap_or_default();
    Err(StageError::data_hint(
        format!(
            "no cell of sample `{name}` (`{}`) is in the annotations: expected ids such as `{example}_{name}`, \
             `{name}_{example}` or `{example}`, found such as `{there}`",
            sample.path.display()
        ),
        "name the column of cell ids with `cell_id`, or give each sample its own table in the column `annotations` of the sheet",
    ))
}

/// The cells of a sample under the ids that they go on with, and with the sheet's columns.
fn described(sheet: &Sheet, sample: &Sample, cells: &Frame) -> Frame {
    let mut frame = cells.clone();
    if sheet.has_samples {
        for id in &mut frame.index {
            *id = format!("{id}_{}", sample.name);
        }
        frame.set_category("sample", &vec![sample.name.as_str(); frame.len()]);
    } else if !frame.columns.contains_key("sample") {
        frame.set_category("sample", &vec![sample.patient.as_str(); frame.len()]);
    }
    for (column, value) in sheet.others.iter().zip(&sample.values) {
        frame.set_category(column, &vec![value.as_str(); frame.len()]);
    }
    frame
}

/// Genes that all samples have, in the order of the first, and where each sample has them. Genes are known by
/// their ids if every sample has ids, and else by their names.
fn common_genes<'a>(
    samples: &[&Sample],
    vars: impl Iterator<Item = &'a Frame> + Clone,
    progress: &dyn Progress,
) -> StageResult<(Frame, Vec<Vec<usize>>)> {
    let ids = |var: &Frame| -> Option<Vec<String>> {
        let ids = var.texts("gene_ids").ok()?;
        let distinct: BTreeSet<&String> = ids.iter().collect();
        (distinct.len() == ids.len() && !ids.iter().any(String::is_empty)).then_some(ids)
    };
    let by_id: Option<Vec<Vec<String>>> = vars.clone().map(ids).collect();
    let names = by_id.unwrap_or_else(|| vars.clone().map(|v| v.index.clone()).collect());
    let places: Vec<HashMap<&str, usize>> = (names.iter())
        .map(|n| n.iter().map(String::as_str).zip(0..).collect())
        .collect();
    let common: Vec<&String> = (names[0].iter())
        .filter(|name| places.iter().all(|p| p.contains_key(name.as_str())))
        .collect();
    let fewest = names.iter().map(Vec::len).min().unwrap_or(0);
    if common.len() * 2 < fewest || common.is_empty() {
        let of = |i: usize| {
            let first = names[i].first().cloned().unwrap_or_default();
            format!(
                "`{}` ({} genes such as `{first}`)",
                samples[i].path.display(),
                names[i].len()
            )
        };
        let all: Vec<String> = (0..samples.len()).map(of).collect();
        return Err(StageError::data_hint(
            format!(
                "patient `{}`: expected samples with the same genes, found {} in common of {}",
                samples[0].patient,
                common.len(),
                all.join(", ")
            ),
            "count all samples against one annotation of genes; `gene_names` chooses between symbols and ids of 10x files",
        ));
    }
    let most = names.iter().map(Vec::len).max().unwrap_or(0);
    if common.len() < most {
        let left: Vec<&String> = names
            .iter()
            .flatten()
            .filter(|n| !common.contains(n))
            .take(5)
            .collect();
        progress.warn(&format!(
            "the samples of `{}` have {} genes in common, the largest has {most}: the others are left out, such as {}",
            samples[0].patient,
            common.len(),
            list(&left)
        ));
    }
    let take: Vec<Vec<usize>> = (places.iter())
        .map(|p| common.iter().map(|name| p[name.as_str()]).collect())
        .collect();
    let first = vars.clone().next().expect("a patient has a sample");
    Ok((first.take(&take[0]), take))
}

/// The frames below one another, with the columns of all; where one lacks a column its cells have no value there.
fn below<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> Frame {
    let index = frames.clone().flat_map(|f| f.index.iter().cloned());
    let mut out = Frame::new(index.collect());
    let mut names: IndexMap<&String, ()> = IndexMap::new();
    for frame in frames.clone() {
        names.extend(frame.columns.keys().map(|name| (name, ())));
    }
    for name in names.into_keys() {
        let columns: Vec<(usize, Option<&Column>)> = (frames.clone())
            .map(|f| (f.len(), f.columns.get(name)))
            .collect();
        out.set(name, stacked(&columns));
    }
    out
}

/// One type if all have the same, numbers if all have some or none, else text.
fn stacked(columns: &[(usize, Option<&Column>)]) -> Column {
    let all = |is: fn(&Column) -> bool| columns.iter().all(|(_, c)| c.is_some_and(is));
    let numbers = columns
        .iter()
        .all(|(_, c)| c.is_none_or(|c| matches!(c, Column::F64(_) | Column::I64(_))));
    if all(|c| matches!(c, Column::I64(_))) {
        return Column::I64(
            columns
                .iter()
                .flat_map(|(_, c)| match c {
                    Some(Column::I64(v)) => v.clone(),
                    _ => Vec::new(),
                })
                .collect(),
        );
    }
    if all(|c| matches!(c, Column::Bool(_))) {
        return Column::Bool(
            columns
                .iter()
                .flat_map(|(_, c)| match c {
                    Some(Column::Bool(v)) => v.clone(),
                    _ => Vec::new(),
                })
                .collect(),
        );
    }
    if numbers {
        return Column::F64(
            columns
                .iter()
                .flat_map(|(n, c)| match c {
                    Some(Column::F64(v)) => v.clone(),
                    Some(Column::I64(v)) => v.iter().map(|&x| x as f64).collect(),
                    _ => vec![f64::NAN; *n],
                })
                .collect(),
        );
    }
    let texts = columns
        .iter()
        .flat_map(|(n, c)| (0..*n).map(move |row| c.map_or(String::new(), |c| c.text(row))));
    let texts: Vec<String> = texts.collect();
    if all(|c| matches!(c, Column::Str(_))) {
        return Column::Str(texts);
    }
    Column::Category(clcc_data::frame::Categorical::from_values(&texts))
}
