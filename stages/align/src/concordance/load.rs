//! Loads the inputs of `concordance`, rows in cohort order.

use std::collections::HashMap;
use std::path::Path;

use ndarray::Array2;

use super::cross_fit::{CrossFit, Fold, cross_fit};
use super::params::{ConcordanceParams, ScoreBy};
use super::row_distances;
use clcc_data::anndata::{Reader, RowReader};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_stage::cells::MALIGNANT;
use clcc_stage::cohort::{paired, patient_name, stack_patients};
use clcc_stage::roles::{self, Input};
use clcc_stage::rows::{DiscordanceCellRow, SplitRow};
use clcc_stage::stage::{Branch, InputArtifact, StageContext, missing};
use clcc_stage::tables::Row as _;

/// Every cell with its annotations and its distance.
pub(super) struct Cells {
    /// Names, in cohort order.
    pub(super) patients: Vec<String>,
    /// Number of each cell's patient.
    pub(super) patient_of: Vec<u32>,
    /// Annotations, with columns `patient`, `split`, and `fold` in a cross-fit.
    pub(super) obs: Frame,
    /// Distance of each cell; scaled between folds in a cross-fit.
    pub(super) distance: Vec<f64>,
    /// Cells that are classed.
    pub(super) chosen: Vec<bool>,
    /// The folds, in a cross-fit.
    pub(super) fit: Option<CrossFit>,
}

impl Cells {
    /// Reads the roles of the stage and measures each cell.
    ///
    /// # Errors
    /// Where an artifact cannot be read, the roles are of different cells, or as [`cross_fit`].
    pub(super) fn load(ctx: &StageContext<'_>, params: &ConcordanceParams) -> StageResult<Self> {
        let inputs = ctx.all(roles::EXPR);
        let mut frames = inputs
            .iter()
            .map(|input| input.open()?.obs())
            .collect::<StageResult<Vec<_>>>()?;
        let clusters = match ctx.optional(roles::CLUSTERS) {
            Some(_) => paired(ctx, roles::CLUSTERS)?,
            None => Vec::new(),
        };
        for (frame, cluster) in frames.iter_mut().zip(&clusters) {
            let cluster = cluster.obs()?;
            frame.set("cnv_leiden", cluster.column("cnv_leiden")?.clone());
            if let Ok(column) = cluster.column(MALIGNANT) {
                frame.set(MALIGNANT, column.clone());
            }
        }
        let patients: Vec<String> = inputs.iter().map(|i| patient_name(i)).collect();
        let (patient_of, mut obs) = stack_patients(&patients, &frames);
        let mut chosen = params.restrict.cancer_cells(&obs)?;
        let (distance, fit) = match params.score {
            ScoreBy::Distance => distances(ctx, &mut obs, &chosen, params.cross_fit)?,
            ScoreBy::Discordance => {
                let patient = |&p: &u32| patients[p as usize].as_str();
                let names: Vec<&str> = patient_of.iter().map(patient).collect();
                (log_odds(ctx, &obs, &names)?, None)
            }
        };
        // A cell of a subcluster without an anchor has no distance, one of no clone no odds.
        chosen
            .iter_mut()
            .zip(&distance)
            .for_each(|(c, d)| *c = *c && d.is_finite());
        Ok(Self {
            patients,
            patient_of,
            obs,
            distance,
            chosen,
            fit,
        })
    }
}

/// Distance of each cell, and the folds of a cross-fit; sets `split`, and `fold` in a cross-fit.
fn distances(
    ctx: &StageContext<'_>,
    obs: &mut Frame,
    chosen: &[bool],
    n_folds: Option<usize>,
) -> StageResult<(Vec<f64>, Option<CrossFit>)> {
    let mut folds = folds(ctx, obs, n_folds)?;
    if n_folds.is_none() {
        let only = folds.swap_remove(0);
        obs.set_category("split", &only.part);
        return Ok((only.distance, None));
    }
    let fit = cross_fit(&folds, chosen)?;
    let name = |f: &u32| folds[*f as usize].name.as_str();
    let of: Vec<&str> = fit.fold.iter().map(name).collect();
    obs.set_category("split", &vec!["test"; obs.len()]);
    obs.set_category("fold", &of);
    Ok((fit.distance.clone(), Some(fit)))
}

/// Log odds of each cell by `discordance`; NaN where it says nothing of the cell.
fn log_odds(ctx: &StageContext<'_>, obs: &Frame, patient: &[&str]) -> StageResult<Vec<f64>> {
    let rows = ctx.one(roles::DISCORDANCE)?.rows::<DiscordanceCellRow>()?;
    let of: HashMap<(&str, &str), f64> = rows
        .iter()
        .map(|row| ((row.patient.as_str(), row.cell.as_str()), row.log_odds))
        .collect();
    let key = |i: usize| (patient[i], obs.index[i].as_str());
    Ok((0..obs.len())
        .map(|i| of.get(&key(i)).copied().unwrap_or(f64::NAN))
        .collect())
}

fn branches<T>(inputs: &[Input<'_, T>]) -> Vec<Branch> {
    inputs.iter().map(|input| input.branch.clone()).collect()
}

/// Loads the split and the distances of each model: one, or `expected` many along an axis.
fn folds(ctx: &StageContext<'_>, obs: &Frame, expected: Option<usize>) -> StageResult<Vec<Fold>> {
    let (splits, embeddings) = (ctx.all(roles::SPLIT), ctx.all(roles::EMBEDDINGS));
    let k = expected.unwrap_or(1);
    if splits.is_empty() || embeddings.is_empty() {
        return Err(if splits.is_empty() {
            missing(roles::SPLIT)
        } else {
            missing(roles::EMBEDDINGS)
        });
    }
    if embeddings.len() != k || branches(&splits) != branches(&embeddings) {
        let message = format!(
            "expected {k} split{0} and {k} embedding{0} of the same models, found {1} and {2}",
            if k == 1 { "" } else { "s" },
            splits.len(),
            embeddings.len()
        );
        return Err(StageError::data_hint(
            message,
            "give `mine` and `train` an axis with one value per fold, and set `cross_fit` here and in `mine` to their number",
        ));
    }
    let anchors = ctx.all(roles::ANCHORS);
    splits
        .iter()
        .zip(embeddings)
        .map(|(split, embedding)| {
            let anchors = anchors.iter().find(|a| a.branch == embedding.branch);
            fold(split, &embedding, anchors.map(|a| a.path.as_path()), obs)
        })
        .collect()
}

/// Stored values of an embedding that are in memory at a time.
const BLOCK: usize = 1 << 22;

/// The distance between the two embeddings of each cell. With anchors the second is that of the cell's own anchor; a
/// cell without one has no distance, NaN.
fn measured(reader: &Reader, embedded: &Frame, anchors: Option<&Path>) -> StageResult<Vec<f64>> {
    let open = |element: &str| -> StageResult<RowReader<'_>> {
        reader.rows(element, (embedded.len(), reader.columns(element)?))
    };
    let bad = |message: String| Err(StageError::format(&reader.path(), "obsm", message));
    let (first, second) = match anchors {
        None => (
            open("obsm/X_clcc_expr")?,
            Second::OfCells(open("obsm/X_clcc_cnv")?),
        ),
        Some(path) => (open("obsm/X_z")?, Second::anchors(path, embedded)?),
    };
    let dims = (first.shape().1, second.dim());
    if dims.0 != dims.1 {
        return bad(format!(
            "expected two embeddings of one length, found {} and {}",
            dims.0, dims.1
        ));
    }
    let without = |v: &f32| anchors.is_some() && v.is_nan();
    let mut out = Vec::with_capacity(embedded.len());
    for rows in first.blocks(BLOCK) {
        let (expr, cnv) = (first.read_dense(rows.clone())?, second.rows(rows)?);
        if expr.iter().any(|v| !v.is_finite()) || cnv.iter().any(|v| !v.is_finite() && !without(v))
        {
            return bad("expected finite embeddings, found NaN or infinity".into());
        }
        out.extend(row_distances(&expr, &cnv));
    }
    Ok(out)
}

/// The second embedding of each cell.
enum Second<'a> {
    OfCells(RowReader<'a>),
    /// Places of the anchors, and the anchor of each cell.
    OfAnchors(Array2<f32>, Vec<Option<usize>>),
}

impl Second<'_> {
    fn anchors(path: &Path, embedded: &Frame) -> StageResult<Self> {
        let bank = Reader::open(path)?;
        let (names, places) = (bank.obs()?.index, bank.obsm("X_z")?.into_dense());
        let row: HashMap<&str, usize> = names
            .iter()
            .zip(0..)
            .map(|(n, i)| (n.as_str(), i))
            .collect();
        let own = embedded.texts("anchor")?;
        let of = own.iter().map(|a| row.get(a.as_str()).copied()).collect();
        Ok(Self::OfAnchors(places, of))
    }

    fn dim(&self) -> usize {
        match self {
            Self::OfCells(rows) => rows.shape().1,
            Self::OfAnchors(places, _) => places.ncols(),
        }
    }

    /// That of these cells; NaN for a cell without an anchor.
    fn rows(&self, cells: std::ops::Range<usize>) -> StageResult<Array2<f32>> {
        match self {
            Self::OfCells(rows) => rows.read_dense(cells),
            Self::OfAnchors(places, of) => {
                let mut out = Array2::from_elem((cells.len(), places.ncols()), f32::NAN);
                for (mut row, anchor) in out.rows_mut().into_iter().zip(&of[cells]) {
                    if let Some(a) = anchor {
                        row.assign(&places.row(*a));
                    }
                }
                Ok(out)
            }
        }
    }
}

fn fold(
    split: &InputArtifact,
    embedding: &InputArtifact,
    anchors: Option<&Path>,
    obs: &Frame,
) -> StageResult<Fold> {
    let parts = SplitRow::read(&split.path)?;
    let cells: Vec<&str> = parts.iter().map(|row| row.cell.as_str()).collect();
    same_cells(&split.path, &obs.index, &cells)?;
    let path = &embedding.path;
    let reader = Reader::open(path)?;
    let embedded = reader.obs()?;
    same_cells(path, &obs.index, &embedded.index)?;
    same_cells(path, &obs.texts("patient")?, &embedded.texts("patient")?)?;
    Ok(Fold {
        name: patient_name(embedding),
        part: parts.into_iter().map(|row| row.split).collect(),
        distance: measured(&reader, &embedded, anchors)?,
    })
}

/// Checks that rows are the expected cells, in their order.
///
/// # Errors
/// [`StageError::Format`], naming the first row that differs.
pub(super) fn same_cells<S: AsRef<str>>(
    path: &Path,
    expected: &[String],
    found: &[S],
) -> StageResult<()> {
    if expected.len() != found.len() {
        return Err(StageError::format(
            path,
            "",
            format!("expected {} cells, found {}", expected.len(), found.len()),
        ));
    }
    match expected
        .iter()
        .zip(found)
        .position(|(a, b)| a != b.as_ref())
    {
        None => Ok(()),
        Some(i) => Err(StageError::format(
            path,
            format!("row {i}"),
            format!(
                "expected `{}` as in `expr`, found `{}`",
                expected[i],
                found[i].as_ref()
            ),
        )),
    }
}
