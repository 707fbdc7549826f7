//! The patients' matrices below one another, for the stages that join them.
//!
//! Cohort order is axis order of the patients, and each patient's own cell order. Every joined
//! artifact (`split`, `embeddings`, `concordance`) has its rows in cohort order.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cells::CLONE;
use crate::roles;
use crate::stage::{InputArtifact, StageContext, missing};
use clcc_data::anndata::{Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::Csr;

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
    /// log1p expression, `n_cells x n_genes`.
    pub x: Csr,
}

/// The windows of all patients.
#[derive(Debug, Clone)]
pub struct CohortCnv {
    /// `X_cnv`, `n_cells x n_windows`, rows in cohort order.
    pub x: Csr,
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
    /// Reads role `expr` of every patient.
    ///
    /// # Errors
    /// [`StageError::MissingInput`] without `expr`, [`StageError::Data`] where the patients share
    /// no gene, and what the reader reports.
    pub fn load(ctx: &StageContext<'_>) -> StageResult<Self> {
        Self::load_matrix(ctx, |reader| Ok(reader.x()?.into_csr()))
    }

    /// The same cells and genes with the raw counts in place of log1p expression.
    ///
    /// # Errors
    /// As [`Cohort::load`].
    pub fn load_counts(ctx: &StageContext<'_>) -> StageResult<Self> {
        Self::load_matrix(ctx, |reader| Ok(reader.layer("counts")?.into_csr()))
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
    /// [`StageError::Format`] where its cells are not those of `expr` in their order,
    /// [`StageError::Data`] where some are missing, and what the reader reports.
    pub fn load_groups(&self, ctx: &StageContext<'_>, by: GroupBy) -> StageResult<Vec<Group>> {
        let mut out: Vec<Group> = Vec::with_capacity(self.n_cells());
        for input in ctx.all(roles::CLUSTERS) {
            let obs = Reader::open(&input.path)?.obs()?;
            let known = self.obs.index.get(out.len()..out.len() + obs.len());
            if known.is_none_or(|k| k != obs.index) {
                return Err(StageError::format(
                    &input.path,
                    "obs",
                    "expected the cells of `expr`, in their order",
                ));
            }
            let clones = match by {
                GroupBy::CnvClone => obs.texts(CLONE).ok(),
                GroupBy::CnvLeiden => None,
            };
            out.extend(groups(obs.texts("cnv_leiden")?, clones));
        }
        if out.len() == self.n_cells() {
            Ok(out)
        } else {
            Err(StageError::data(format!(
                "`clusters` has {} cells, `expr` has {}",
                out.len(),
                self.n_cells()
            )))
        }
    }

    /// log1p expression to test on: the held-out part of split counts, else the same as
    /// [`Cohort::load`].
    ///
    /// # Errors
    /// As [`Cohort::load`].
    pub fn load_test(ctx: &StageContext<'_>) -> StageResult<Self> {
        if Self::is_split(ctx)? {
            Self::load_matrix(ctx, |reader| Ok(reader.layer(HELD_OUT)?.into_csr()))
        } else {
            Self::load(ctx)
        }
    }

    /// Raw counts to test on: the held-out part of split counts, else the same as
    /// [`Cohort::load_counts`].
    ///
    /// # Errors
    /// As [`Cohort::load`].
    pub fn load_test_counts(ctx: &StageContext<'_>) -> StageResult<Self> {
        if Self::is_split(ctx)? {
            Self::load_matrix(ctx, |reader| Ok(reader.layer(HELD_OUT_COUNTS)?.into_csr()))
        } else {
            Self::load_counts(ctx)
        }
    }

    fn load_matrix(
        ctx: &StageContext<'_>,
        matrix: impl Fn(&Reader) -> StageResult<Csr>,
    ) -> StageResult<Self> {
        let inputs = ctx.all(roles::EXPR);
        let first = inputs.first().ok_or_else(|| missing(roles::EXPR))?;
        let readers = inputs
            .iter()
            .map(|input| input.open())
            .collect::<StageResult<Vec<_>>>()?;
        let vars = readers
            .iter()
            .map(Reader::var)
            .collect::<StageResult<Vec<_>>>()?;
        // The common case: every patient has the same genes in the same order.
        let same = vars.iter().all(|v| v.index == vars[0].index);
        let genes = if same {
            vars[0].index.clone()
        } else {
            shared_genes(&vars)
        };
        if genes.is_empty() {
            return Err(StageError::data(format!(
                "the patients share no gene (first: `{}`)",
                patient_name(first)
            )));
        }
        let mut parts = Vec::new();
        let mut obs_parts = Vec::new();
        for (reader, var) in readers.iter().zip(&vars) {
            let x = matrix(reader)?;
            parts.push(if same {
                x
            } else {
                x.take_cols(&positions(&var.index, &genes))
            });
            obs_parts.push(reader.obs()?);
        }
        let patients: Vec<String> = inputs.iter().map(|i| patient_name(i)).collect();
        let patient_of = obs_parts
            .iter()
            .enumerate()
            .flat_map(|(p, o)| vec![p as u32; o.len()])
            .collect::<Vec<u32>>();
        let mut obs = stack_frames(&obs_parts);
        let names: Vec<&str> = patient_of
            .iter()
            .map(|&p| patients[p as usize].as_str())
            .collect();
        obs.set_category("patient", &names);
        Ok(Self {
            patients,
            patient_of,
            obs,
            var: vars[0].take(&positions(&vars[0].index, &genes)),
            x: Csr::vstack(&parts.iter().collect::<Vec<_>>()),
        })
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
    /// Reads role `cnv` of every patient.
    ///
    /// # Errors
    /// [`StageError::MissingInput`] without `cnv`; [`StageError::Data`] where the patients' windows
    /// differ (their gene sets differ).
    pub fn load(ctx: &StageContext<'_>) -> StageResult<Self> {
        let inputs = ctx.all(roles::CNV);
        let mut parts = Vec::new();
        let mut layout: Option<(Frame, Frame)> = None;
        for input in &inputs {
            let reader = Reader::open(&input.path)?;
            let windows = match reader.uns()?.remove("cnv") {
                Some(Uns::Dict(mut d)) => match d.remove("windows") {
                    Some(Uns::Frame(f)) => f,
                    _ => {
                        return Err(StageError::format(
                            &input.path,
                            "uns/cnv/windows",
                            "expected a data frame",
                        ));
                    }
                },
                _ => {
                    return Err(StageError::format(
                        &input.path,
                        "uns/cnv",
                        "expected a group",
                    ));
                }
            };
            let genes = reader.var()?;
            match &layout {
                None => layout = Some((windows, genes)),
                Some((w, g)) if w.index == windows.index && g.index == genes.index => {}
                Some(_) => {
                    return Err(StageError::data_hint(
                        format!(
                            "patient `{}` has other copy-number windows than the first",
                            patient_name(input)
                        ),
                        "use the same gene filters for every patient",
                    ));
                }
            }
            parts.push(reader.obsm("X_cnv")?.into_csr());
        }
        let (windows, genes) = layout.ok_or_else(|| missing(roles::CNV))?;
        Ok(Self {
            x: Csr::vstack(&parts.iter().collect::<Vec<_>>()),
            windows,
            genes,
        })
    }
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

fn shared_genes(vars: &[Frame]) -> Vec<String> {
    let others: Vec<std::collections::HashSet<&str>> = vars[1..]
        .iter()
        .map(|v| v.index.iter().map(String::as_str).collect())
        .collect();
    vars[0]
        .index
        .iter()
        .filter(|g| others.iter().all(|o| o.contains(g.as_str())))
        .cloned()
        .collect()
}

fn positions(names: &[String], wanted: &[String]) -> Vec<usize> {
    let at: std::collections::HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(i, n)| (n.as_str(), i))
        .collect();
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
    use super::*;

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
