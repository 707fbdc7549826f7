//! The patients' cells below one another, for the stages that join them.
//!
//! Cohort order is axis order of the patients, and each patient's own cell order. Every joined
//! artifact (`split`, `embeddings`, `concordance`) has its rows in cohort order.
//!
//! The cells of all patients are in memory, their matrices are not: a [`CohortMatrix`] is read patient by patient.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cells::CLONE;
use crate::roles::{self, Input, Role, Store};
use crate::stage::{Branch, InputArtifact, StageContext, missing};
use clcc_data::anndata::{Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix, Parts};

/// Layer of `expr` with the log1p expression of the held-out part of split counts.
pub const HELD_OUT: &str = "held_out";
/// Layer of `expr` with the raw counts of that part.
pub const HELD_OUT_COUNTS: &str = "held_out_counts";

/// What cells share that are taken to have one copy-number profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The clone that `cluster` found (`cnv_clone`); cells without one, by their cluster.
    #[default]
    CnvClone,
    /// The copy-number cluster (`cnv_leiden`).
    CnvLeiden,
}

/// What a cell is counted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `clone 1`, or the name of the copy-number cluster.
    pub name: String,
    /// The cell is in no clone while others of its patient are: by its counts it could not be told, so a
    /// cluster of such cells is of normal and malignant ones, and no one genome is theirs. Never under
    /// [`GroupBy::CnvLeiden`], nor in a patient without clones.
    pub unplaced: bool,
}

/// The cells of all patients.
#[derive(Debug, Clone)]
pub struct Cohort {
    /// Patient names in axis order; one unnamed patient (`all`) where the workflow has no axis.
    pub patients: Vec<String>,
    /// Patient of each cell, an index into `patients`.
    pub patient_of: Vec<u32>,
    /// `obs` of `expr`: the index is `cell id` (as given, which is unique within a patient). The
    /// columns that all patients have, and `patient`.
    pub obs: Frame,
    /// Genes that every patient's `expr` has, in the order of the first.
    pub var: Frame,
}

/// A matrix of all patients' cells, on disk: rows in cohort order, one patient's at a time in memory.
#[derive(Debug)]
pub struct CohortMatrix {
    patients: Vec<OnDisk>,
    n_rows: usize,
    n_cols: usize,
}

/// A patient's part of a matrix.
#[derive(Debug)]
struct OnDisk {
    reader: Reader,
    element: Element,
    /// Number of the first cell.
    first: usize,
    n_cells: usize,
    /// Rows in the order of `expr`; `None` where they are in that order.
    rows: Option<Vec<usize>>,
    /// Columns of the cohort; `None` where they are the patient's.
    columns: Option<Vec<usize>>,
}

/// What is read of a store.
#[derive(Debug, Clone, Copy)]
enum Element {
    X,
    Layer(&'static str),
    Obsm(&'static str),
}

impl OnDisk {
    fn read(&self, n_cols: usize) -> StageResult<Csr> {
        let matrix = match self.element {
            Element::X => self.reader.x()?,
            Element::Layer(name) => self.reader.layer(name)?,
            Element::Obsm(name) => self.reader.obsm(name)?,
        };
        let mut x = matrix.into_csr();
        if let Some(rows) = &self.rows {
            x = x.take_rows(rows);
        }
        if let Some(columns) = &self.columns {
            x = x.take_cols(columns);
        }
        if (x.n_rows(), x.n_cols()) == (self.n_cells, n_cols) {
            return Ok(x);
        }
        let message = format!(
            "expected a matrix of {} x {n_cols}, found {} x {}",
            self.n_cells,
            x.n_rows(),
            x.n_cols()
        );
        Err(StageError::format(&self.reader.path(), "", message))
    }
}

impl CohortMatrix {
    fn new(mut patients: Vec<OnDisk>, n_cols: usize) -> Self {
        let mut n_rows = 0;
        for patient in &mut patients {
            patient.first = n_rows;
            n_rows += patient.n_cells;
        }
        Self {
            patients,
            n_rows,
            n_cols,
        }
    }

    /// Reads the rows of all patients: for a stage whose cells are few, or that says why it needs them together.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn whole(&self) -> StageResult<Csr> {
        let parts = self.patients.iter().map(|p| p.read(self.n_cols));
        let parts = parts.collect::<StageResult<Vec<_>>>()?;
        Ok(Csr::vstack(&parts.iter().collect::<Vec<_>>()))
    }
}

/// A part is a patient.
impl Parts for CohortMatrix {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_cols(&self) -> usize {
        self.n_cols
    }

    fn n_parts(&self) -> usize {
        self.patients.len()
    }

    fn part(&self, at: usize) -> StageResult<(usize, Cow<'_, Csr>)> {
        let patient = &self.patients[at];
        Ok((patient.first, Cow::Owned(patient.read(self.n_cols)?)))
    }
}

/// The windows of all patients.
#[derive(Debug)]
pub struct CohortCnv {
    /// `X_cnv`, `n_cells x n_windows`, rows in cohort order.
    pub x: CohortMatrix,
    /// `uns["cnv"]["windows"]`: `chromosome`, `start`, `end`, `first_gene`, `last_gene` (inclusive
    /// positions in `genes`), one row per window.
    pub windows: Frame,
    /// Genes that entered the inference, in genome order.
    pub genes: Frame,
}

/// The name of the patient that an input artifact belongs to.
pub fn patient_name(input: &InputArtifact) -> String {
    let values: Vec<&str> = input.branch.values().map(String::as_str).collect();
    if values.is_empty() {
        "all".to_string()
    } else {
        values.join(".")
    }
}

impl Cohort {
    /// Reads the cells of role `expr` of every patient, and the genes.
    ///
    /// # Errors
    /// [`StageError::MissingInput`] without `expr`, [`StageError::Data`] where the patients share
    /// no gene, and what the reader reports.
    pub fn load(ctx: &StageContext<'_>) -> StageResult<Self> {
        let inputs = ctx.all(roles::EXPR);
        let first = inputs.first().ok_or_else(|| missing(roles::EXPR))?;
        let (mut frames, mut var) = (Vec::new(), None::<Frame>);
        // Genes of the patients that have others than the first, or the same in another order.
        let mut others: Vec<Vec<String>> = Vec::new();
        for input in &inputs {
            let reader = input.open()?;
            frames.push(reader.obs()?);
            let own = reader.var()?;
            match &var {
                None => var = Some(own),
                Some(var) if var.index == own.index => {}
                Some(_) => others.push(own.index),
            }
        }
        let mut var = var.ok_or_else(|| missing(roles::EXPR))?;
        if !others.is_empty() {
            var = var.take(&in_all(&var.index, &others));
        }
        if var.index.is_empty() {
            return Err(StageError::data(format!(
                "the patients share no gene (first: `{}`)",
                patient_name(first)
            )));
        }
        let patients: Vec<String> = inputs.iter().map(|i| patient_name(i)).collect();
        let (patient_of, obs) = stack_patients(&patients, &frames);
        Ok(Self {
            patients,
            patient_of,
            obs,
            var,
        })
    }

    /// log1p expression of the cells.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn expression(&self, ctx: &StageContext<'_>) -> StageResult<CohortMatrix> {
        self.matrix(ctx, Element::X)
    }

    /// Raw counts of the cells.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn counts(&self, ctx: &StageContext<'_>) -> StageResult<CohortMatrix> {
        self.matrix(ctx, Element::Layer("counts"))
    }

    /// log1p expression to test on: the held-out part of split counts, else [`Cohort::expression`].
    ///
    /// # Errors
    /// As [`Cohort::is_split`].
    pub fn test_expression(&self, ctx: &StageContext<'_>) -> StageResult<CohortMatrix> {
        match Self::is_split(ctx)? {
            true => self.matrix(ctx, Element::Layer(HELD_OUT)),
            false => self.expression(ctx),
        }
    }

    /// Raw counts to test on: the held-out part of split counts, else [`Cohort::counts`].
    ///
    /// # Errors
    /// As [`Cohort::is_split`].
    pub fn test_counts(&self, ctx: &StageContext<'_>) -> StageResult<CohortMatrix> {
        match Self::is_split(ctx)? {
            true => self.matrix(ctx, Element::Layer(HELD_OUT_COUNTS)),
            false => self.counts(ctx),
        }
    }

    fn matrix(&self, ctx: &StageContext<'_>, element: Element) -> StageResult<CohortMatrix> {
        let inputs = ctx.all(roles::EXPR);
        let patients = inputs.iter().enumerate().map(|(p, input)| {
            let reader = input.open()?;
            let own = reader.var()?.index;
            Ok(OnDisk {
                columns: (own != self.var.index).then(|| positions(&own, &self.var.index)),
                reader,
                element,
                first: 0,
                n_cells: self.cells_of(p).len(),
                rows: None,
            })
        });
        let patients = patients.collect::<StageResult<Vec<_>>>()?;
        Ok(CohortMatrix::new(patients, self.var.len()))
    }

    /// Whether the counts were split (`preprocess.count_split`): `expr` then holds a part of the
    /// counts that nothing was learnt on.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn is_split(ctx: &StageContext<'_>) -> StageResult<bool> {
        let inputs = ctx.all(roles::EXPR);
        let split = inputs
            .iter()
            .map(|i| Reader::open(&i.path)?.has(&format!("layers/{HELD_OUT}")))
            .collect::<StageResult<Vec<_>>>()?;
        match split.iter().filter(|s| **s).count() {
            0 => Ok(false),
            n if n == split.len() => Ok(true),
            n => Err(StageError::data(format!(
                "{n} of {} patients have split counts: `count_split` holds for all or for none",
                split.len()
            ))),
        }
    }

    /// A number for each cell's CNV cluster, from role `clusters`; clusters of two patients are never
    /// one.
    ///
    /// # Errors
    /// As [`Cohort::load_groups`].
    pub fn load_clusters(&self, ctx: &StageContext<'_>) -> StageResult<Vec<u32>> {
        let mut number_of: BTreeMap<(u32, String), u32> = BTreeMap::new();
        let groups = self.load_groups(ctx, GroupBy::CnvLeiden)?;
        Ok(groups
            .into_iter()
            .zip(&self.patient_of)
            .map(|(group, patient)| {
                let next = number_of.len() as u32;
                *number_of.entry((*patient, group.name)).or_insert(next)
            })
            .collect())
    }

    /// The group of each cell, from role `clusters`.
    ///
    /// # Errors
    /// As [`paired`], and what the reader reports.
    pub fn load_groups(&self, ctx: &StageContext<'_>, by: GroupBy) -> StageResult<Vec<Group>> {
        let mut out: Vec<Group> = Vec::with_capacity(self.n_cells());
        for clusters in paired(ctx, roles::CLUSTERS)? {
            let obs = clusters.obs()?;
            let clones = match by {
                GroupBy::CnvClone => obs.texts(CLONE).ok(),
                GroupBy::CnvLeiden => None,
            };
            out.extend(groups(obs.texts("cnv_leiden")?, clones));
        }
        Ok(out)
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.patient_of.len()
    }

    /// The cells of one patient, as row numbers.
    pub fn cells_of(&self, patient: usize) -> std::ops::Range<usize> {
        let start = self.patient_of.partition_point(|&p| (p as usize) < patient);
        let end = self
            .patient_of
            .partition_point(|&p| (p as usize) <= patient);
        start..end
    }
}

impl CohortCnv {
    /// Opens role `cnv` of every patient, the cells in the order of `expr`.
    ///
    /// # Errors
    /// As [`paired`]; [`StageError::Data`] where the patients' windows differ (their gene sets differ).
    pub fn load(ctx: &StageContext<'_>) -> StageResult<Self> {
        let mut parts = Vec::new();
        let mut layout: Option<(Frame, Frame)> = None;
        for cnv in paired(ctx, roles::CNV)? {
            let (windows, genes) = (windows(&cnv)?, cnv.reader.var()?);
            match &layout {
                None => layout = Some((windows, genes)),
                Some((w, g)) if w.index == windows.index && g.index == genes.index => {}
                Some(_) => {
                    return Err(StageError::data_hint(
                        format!(
                            "patient `{}` has other copy-number windows than the first",
                            patient_name(&cnv.input)
                        ),
                        "use the same gene filters for every patient",
                    ));
                }
            }
            parts.push(OnDisk {
                n_cells: cnv.n_cells,
                rows: cnv.rows,
                reader: cnv.reader,
                element: Element::Obsm("X_cnv"),
                first: 0,
                columns: None,
            });
        }
        let (windows, genes) = layout.ok_or_else(|| missing(roles::CNV))?;
        Ok(Self {
            x: CohortMatrix::new(parts, windows.len()),
            windows,
            genes,
        })
    }
}

/// The table of the windows of a patient's `cnv`.
fn windows(cnv: &Paired<'_>) -> StageResult<Frame> {
    let expected = |place: &str, what: &str| {
        StageError::format(&cnv.input.path, place, format!("expected a {what}"))
    };
    match cnv.reader.uns()?.remove("cnv") {
        Some(Uns::Dict(mut entries)) => match entries.remove("windows") {
            Some(Uns::Frame(windows)) => Ok(windows),
            _ => Err(expected("uns/cnv/windows", "data frame")),
        },
        _ => Err(expected("uns/cnv", "group")),
    }
}

/// A patient's artifact whose cells are read in the order of the patient's `expr`.
#[derive(Debug)]
pub struct Paired<'a> {
    /// The artifact.
    pub input: Input<'a, Store>,
    /// Its reader. [`Paired::obs`] and [`Paired::obsm`] put the cells in order, which this does not.
    pub reader: Reader,
    /// Rows in the order of `expr`; `None` where they are in that order.
    rows: Option<Vec<usize>>,
    n_cells: usize,
}

impl Paired<'_> {
    /// Annotations of the cells, in the order of `expr`.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn obs(&self) -> StageResult<Frame> {
        let obs = self.reader.obs()?;
        Ok(self
            .rows
            .as_ref()
            .map_or(obs.clone(), |rows| obs.take(rows)))
    }

    /// A matrix with a row per cell, in the order of `expr`.
    ///
    /// # Errors
    /// What the reader reports.
    pub fn obsm(&self, name: &str) -> StageResult<Matrix> {
        let matrix = self.reader.obsm(name)?;
        Ok(match &self.rows {
            Some(rows) => matrix.take_rows(rows),
            None => matrix,
        })
    }
}

/// The artifacts of `role` in the order of the patients of `expr`, each paired with it by cell id. Without `expr`
/// they are as they are.
///
/// # Errors
/// [`StageError::MissingInput`] without any; [`StageError::Data`] where a patient has none or several, or where a
/// cell is in only one of the two; and what the reader reports.
pub fn paired<'a>(ctx: &'a StageContext<'_>, role: Role<Store>) -> StageResult<Vec<Paired<'a>>> {
    let found = ctx.all(role);
    if found.is_empty() {
        return Err(missing(role));
    }
    let patients = ctx.all(roles::EXPR);
    if patients.is_empty() {
        let alone = |input: Input<'a, Store>| {
            let reader = input.open()?;
            Ok(Paired {
                input,
                n_cells: reader.obs()?.len(),
                reader,
                rows: None,
            })
        };
        return found.into_iter().map(alone).collect();
    }
    patients
        .iter()
        .map(|expr| {
            let own = found
                .iter()
                .filter(|input| agree(&input.branch, &expr.branch));
            let own: Vec<_> = own.copied().collect();
            let [input] = own[..] else {
                return Err(StageError::data(format!(
                    "patient `{}`: expected one artifact `{}`, found {}",
                    patient_name(expr),
                    role.name(),
                    own.len()
                )));
            };
            let (reader, cells) = (input.open()?, expr.open()?.obs()?.index);
            let rows = pair_cells(&reader.obs()?.index, &cells).map_err(|cell| {
                StageError::data(format!(
                    "patient `{}`: cell `{cell}` is in only one of `{}` and `expr`",
                    patient_name(expr),
                    role.name()
                ))
            })?;
            Ok(Paired {
                input,
                reader,
                rows,
                n_cells: cells.len(),
            })
        })
        .collect()
}

/// Whether two branches have the same value on each axis that both have.
fn agree(a: &Branch, b: &Branch) -> bool {
    a.iter()
        .all(|(axis, value)| b.get(axis).is_none_or(|other| other == value))
}

/// Rows of the cells `found` in the order of `cells`, paired by id; `None` where they are in that order already.
/// Ids are unique within a patient.
///
/// # Errors
/// The first cell that only one of the two has.
pub fn pair_cells(found: &[String], cells: &[String]) -> Result<Option<Vec<usize>>, String> {
    if found == cells {
        return Ok(None);
    }
    let at: HashMap<&str, usize> = found.iter().map(String::as_str).zip(0..).collect();
    let rows = cells
        .iter()
        .map(|cell| at.get(cell.as_str()).copied().ok_or_else(|| cell.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    if found.len() == cells.len() {
        return Ok(Some(rows));
    }
    let known: HashSet<&str> = cells.iter().map(String::as_str).collect();
    let stranger = found.iter().find(|cell| !known.contains(cell.as_str()));
    Err(stranger.cloned().unwrap_or_default())
}

/// The cells of patients as one frame with the column `patient`, and the patient of each; a frame for each name.
pub fn stack_patients(patients: &[String], frames: &[Frame]) -> (Vec<u32>, Frame) {
    let patient_of = (0..).zip(frames).flat_map(|(p, o)| vec![p; o.len()]);
    let patient_of: Vec<u32> = patient_of.collect();
    let names: Vec<&str> = patient_of
        .iter()
        .map(|&p| patients[p as usize].as_str())
        .collect();
    let mut obs = stack_frames(frames);
    obs.set_category("patient", &names);
    (patient_of, obs)
}

/// Row names and shared columns of frames below one another. A column stays where every part has
/// it with one type; categories are united and sorted.
pub fn stack_frames(parts: &[Frame]) -> Frame {
    let mut out = Frame::new(parts.iter().flat_map(|p| p.index.iter().cloned()).collect());
    let Some(first) = parts.first() else {
        return out;
    };
    for name in first.columns.keys() {
        let columns: Option<Vec<&Column>> = parts.iter().map(|p| p.columns.get(name)).collect();
        if let Some(stacked) = columns.and_then(|c| stack_columns(&c)) {
            out.set(name, stacked);
        }
    }
    out
}

fn stack_columns(parts: &[&Column]) -> Option<Column> {
    macro_rules! join {
        ($variant:ident) => {
            parts
                .iter()
                .map(|c| {
                    if let Column::$variant(v) = c {
                        Some(v.clone())
                    } else {
                        None
                    }
                })
                .collect::<Option<Vec<_>>>()
                .map(|v| Column::$variant(v.concat()))
        };
    }
    match parts[0] {
        Column::Str(_) => join!(Str),
        Column::F64(_) => join!(F64),
        Column::I64(_) => join!(I64),
        Column::Bool(_) => join!(Bool),
        Column::Category(_) => {
            let texts: Vec<String> = parts
                .iter()
                .map(|c| match c {
                    Column::Category(c) => Some(
                        (0..c.codes.len())
                            .map(|r| c.get(r).unwrap_or("").to_string())
                            .collect(),
                    ),
                    _ => None,
                })
                .collect::<Option<Vec<Vec<String>>>>()?
                .concat();
            Some(Column::Category(
                clcc_data::frame::Categorical::from_values(&texts),
            ))
        }
    }
}

/// Places in `first` of the names that all others have too.
fn in_all(first: &[String], others: &[Vec<String>]) -> Vec<usize> {
    let others: Vec<HashSet<&str>> = others
        .iter()
        .map(|names| names.iter().map(String::as_str).collect())
        .collect();
    let is = |g: &usize| others.iter().all(|o| o.contains(first[*g].as_str()));
    (0..first.len()).filter(is).collect()
}

fn positions(names: &[String], wanted: &[String]) -> Vec<usize> {
    let at: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    wanted.iter().map(|w| at[w.as_str()]).collect()
}

/// The groups of a patient's cells by cluster and, where asked for and found, clone (empty: in none).
fn groups(clusters: Vec<String>, clones: Option<Vec<String>>) -> Vec<Group> {
    let cluster = |unplaced: bool| move |name: String| Group { name, unplaced };
    let Some(clones) = clones.filter(|c| c.iter().any(|c| !c.is_empty())) else {
        return clusters.into_iter().map(cluster(false)).collect();
    };
    clusters
        .into_iter()
        .zip(clones)
        .map(|(name, clone)| match clone.as_str() {
            "" => cluster(true)(name),
            clone => cluster(false)(format!("clone {clone}")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::stage::{DeviceChoice, Quiet};
    use clcc_data::anndata::AnnData;

    #[test]
    fn cells_in_another_order_are_found_and_other_cells_are_named() {
        let s = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let pair = |found: &[&str], cells: &[&str]| pair_cells(&s(found), &s(cells));
        assert_eq!(pair(&["a", "b"], &["a", "b"]), Ok(None));
        assert_eq!(pair(&["b", "a"], &["a", "b"]), Ok(Some(vec![1, 0])));
        assert_eq!(pair(&["b", "c"], &["a", "b"]), Err("a".to_string()));
        assert_eq!(pair(&["a", "b", "c"], &["a", "b"]), Err("c".to_string()));
    }

    /// A store with these cells, each of which has its own number in `X_cnv`.
    fn store(dir: &Path, role: &str, patient: &str, cells: &[&str]) -> InputArtifact {
        let path = dir.join(format!("{role}-{patient}-{}", cells.concat()));
        let mut windows = Frame::new(vec!["chr1:0".into()]);
        windows.set_category("chromosome", &["chr1"]);
        let cnv = Uns::Dict([("windows".to_string(), Uns::Frame(windows))].into());
        let numbers = cells
            .iter()
            .map(|cell| vec![(0, cell[1..].parse().unwrap())]);
        let x = Matrix::Csr(Csr::from_rows(1, numbers));
        AnnData {
            obs: Frame::new(cells.iter().map(|cell| cell.to_string()).collect()),
            var: Frame::new(vec!["g".into()]),
            obsm: [("X_cnv".to_string(), x)].into(),
            uns: [("cnv".to_string(), cnv)].into(),
            ..AnnData::default()
        }
        .write_zarr(&path)
        .unwrap();
        InputArtifact {
            role: role.into(),
            branch: [("patient".to_string(), patient.to_string())].into(),
            path,
            format: None,
            builtin: None,
        }
    }

    /// Both patients have a cell `c1`; one lists its cells in another order, and the patients are in another order.
    #[test]
    fn copy_number_follows_the_cells_and_patients_of_expression() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let mut ctx = StageContext {
            inputs: vec![
                store(at, "expr", "P1", &["c1", "c2"]),
                store(at, "expr", "P2", &["c1", "c4"]),
                store(at, "cnv", "P2", &["c4", "c1"]),
                store(at, "cnv", "P1", &["c1", "c2"]),
            ],
            out_dir: at.to_path_buf(),
            keys: Vec::new(),
            seed: 1,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &Quiet,
            cancel: &AtomicBool::new(false),
        };
        let cnv = CohortCnv::load(&ctx).unwrap();
        assert_eq!(cnv.x.whole().unwrap().data(), [1.0, 2.0, 1.0, 4.0]);
        ctx.inputs[2] = store(at, "cnv", "P2", &["c3", "c1"]);
        let message = CohortCnv::load(&ctx).unwrap_err().to_string();
        assert!(
            message.contains("patient `P2`: cell `c4` is in only one of `cnv` and `expr`"),
            "{message}"
        );
        ctx.inputs.remove(2);
        let message = CohortCnv::load(&ctx).unwrap_err().to_string();
        assert!(message.contains("patient `P2`: expected one artifact `cnv`, found 0"));
    }

    fn names(clones: Option<[&str; 3]>) -> Vec<(String, bool)> {
        let clusters = ["0", "1", "0"].map(String::from).to_vec();
        groups(clusters, clones.map(|c| c.map(String::from).to_vec()))
            .into_iter()
            .map(|g| (g.name, g.unplaced))
            .collect()
    }

    #[test]
    fn cells_beside_clones_are_unplaced_and_cells_without_any_are_not() {
        let of = |name: &str, unplaced: bool| (name.to_string(), unplaced);
        assert_eq!(
            names(Some(["", "2", ""])),
            [of("0", true), of("clone 2", false), of("0", true)]
        );
        let clusters = [of("0", false), of("1", false), of("0", false)];
        assert_eq!(names(Some(["", "", ""])), clusters);
        assert_eq!(names(None), clusters);
    }
}
