//! `export_cohort`: the cells of all patients in one AnnData, `cohort.zarr`.
//!
//! It joins what `export` wrote, patient after patient: a block of rows of one matrix is in memory at a time, beside
//! the tables of cells and genes. The rules are those of `anndata.concat(merge="same", uns_merge="same")`:
//!
//! - **Cells** stand in the order of patients. Where two patients have a cell of the same name, all cells are called
//!   `<cell>-<patient>`. `obs` has every column that any patient has.
//! - **Genes** are those of all patients (`genes: any`: of any). `var` keeps the columns that say the same of a gene in
//!   all patients; what is of one patient (`dosage_patient_slope`) leaves.
//! - **`obsm`** keeps the arrays that all patients have, equally wide; `X_cnv` only if its windows are the same.
//! - Graphs between cells (`obsp`) are within a patient and leave, with the entries of `uns` that name them.
//!
//! It computes nothing: names of clusters and clones, UMAPs and components are of each patient's cells alone, and do
//! not compare between patients.

mod frames;
mod params;

#[cfg(test)]
mod tests;

pub use params::{ExportCohortParams, Genes};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::json;

use clcc_data::anndata::{Reader, RowsWriter, Uns, list};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};

/// Stored values of a matrix that are in memory at a time.
const BLOCK: usize = 1 << 20;

/// The stage kind `export_cohort`.
#[derive(Debug)]
pub struct ExportCohort;

impl Stage for ExportCohort {
    type Params = ExportCohortParams;

    const KIND: &'static str = "export_cohort";
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str = "joins the AnnData of all patients into one";
    const MULTI_THREADED: bool = true;

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![Read::required(roles::ANNDATA)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::COHORT_ANNDATA,
                "the cells of all patients, for scanpy",
            )
            .publish(Publish::At("cohort.zarr")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let inputs = ctx.all(roles::ANNDATA);
        let patients: Vec<Patient> = inputs
            .iter()
            .map(|input| Patient::open(input.open()?))
            .collect::<StageResult<_>>()?;
        let plan = Plan::of(&patients, params)?;
        if !plan.left_out.is_empty() {
            ctx.progress.warn(&format!(
                "left out, as the patients' differ or some have none: {}",
                list(&plan.left_out)
            ));
        }
        let mut store = RowsWriter::create(&ctx.output(roles::COHORT_ANNDATA))?;
        for (done, patient) in patients.iter().enumerate() {
            ctx.progress
                .step(done as u64, patients.len() as u64, "patients");
            for element in &plan.elements {
                ctx.check_cancelled()?;
                append(&mut store, element, patient, &plan.genes)?;
            }
        }
        let mut metrics = Metrics::new();
        metrics.insert("patients".into(), json!(patients.len()));
        metrics.insert("cells".into(), json!(plan.obs.len()));
        metrics.insert("genes".into(), json!(plan.genes.len()));
        store.finish(&plan.obs, &plan.var, plan.raw_var.as_ref(), plan.uns)?;
        Ok(metrics)
    }
}

/// What `export` wrote for a patient, without its matrices.
struct Patient {
    store: Reader,
    obs: Frame,
    var: Frame,
    /// Genes of `raw`, where the patient has it.
    raw_var: Option<Frame>,
    uns: BTreeMap<String, Uns>,
    /// Columns of each array of the cells.
    obsm: BTreeMap<String, usize>,
    layers: Vec<String>,
}

impl Patient {
    fn open(store: Reader) -> StageResult<Self> {
        let obs = store.obs()?;
        let mut obsm = BTreeMap::new();
        for name in store.names("obsm")? {
            let columns = store.columns(&format!("obsm/{name}"))?;
            obsm.insert(name, columns);
        }
        let raw_var = match store.has("raw/X")? {
            true => Some(store.frame_known("raw/var")?.0),
            false => None,
        };
        Ok(Self {
            var: store.var()?,
            uns: store.uns()?,
            layers: store.names("layers")?,
            raw_var,
            obs,
            obsm,
            store,
        })
    }

    fn name(&self) -> StageResult<String> {
        Ok(self
            .obs
            .texts("patient")?
            .into_iter()
            .next()
            .unwrap_or_default())
    }
}

/// What the cohort has.
struct Plan {
    obs: Frame,
    var: Frame,
    raw_var: Option<Frame>,
    genes: Vec<String>,
    uns: BTreeMap<String, Uns>,
    /// Matrices, as in the store.
    elements: Vec<String>,
    left_out: Vec<String>,
}

impl Plan {
    fn of(patients: &[Patient], params: &ExportCohortParams) -> StageResult<Self> {
        let Some(first) = patients.first() else {
            return Err(clcc_stage::stage::missing(roles::ANNDATA));
        };
        let genes = genes(patients, params.genes);
        if genes.is_empty() {
            return Err(StageError::data_hint(
                "no gene is in the data of all patients",
                "`genes: any` takes those that any patient has",
            ));
        }
        let vars: Vec<&Frame> = patients.iter().map(|p| &p.var).collect();
        let mut var = frames::same_of_rows(&vars, &genes);
        if params.genes == Genes::Any {
            var.set("n_patients", Column::I64(frames::owners(&vars, &genes)));
        }
        let raws: Option<Vec<&Frame>> = patients.iter().map(|p| p.raw_var.as_ref()).collect();
        // `raw` goes along if its genes are those of `X`, as `export` writes it.
        let raws = raws.filter(|raws| raws.iter().zip(&vars).all(|(r, v)| r.index == v.index));
        let uns = uns_of_all(patients);
        let mut elements = vec!["X".to_string()];
        let layers = |p: &Patient| p.layers.iter().cloned().collect::<BTreeSet<_>>();
        let of_all = patients
            .iter()
            .map(layers)
            .reduce(|a, b| &a & &b)
            .unwrap_or_default();
        let wanted = of_all.iter().filter(|l| params.counts || *l != "counts");
        elements.extend(wanted.map(|l| format!("layers/{l}")));
        if raws.is_some() {
            elements.push("raw/X".into());
        }
        let of_all = |name: &String, columns: &usize| {
            patients.iter().all(|p| p.obsm.get(name) == Some(columns))
                && (name != "X_cnv" || uns.contains_key("cnv") || patients.len() == 1)
        };
        let arrays = first.obsm.iter().filter(|(n, c)| of_all(n, c));
        elements.extend(arrays.map(|(name, _)| format!("obsm/{name}")));
        let any: BTreeSet<String> = patients
            .iter()
            .flat_map(|p| p.obsm.keys())
            .map(|name| format!("obsm/{name}"))
            .collect();
        Ok(Self {
            obs: obs(patients)?,
            raw_var: raws.map(|raws| frames::same_of_rows(&raws, &genes)),
            var,
            left_out: any.into_iter().filter(|a| !elements.contains(a)).collect(),
            genes,
            uns,
            elements,
        })
    }
}

/// The cohort's genes: in the order of the first patient, those that it lacks behind.
fn genes(patients: &[Patient], which: Genes) -> Vec<String> {
    match which {
        Genes::Common => {
            let sets: Vec<HashSet<&String>> = patients
                .iter()
                .skip(1)
                .map(|p| p.var.index.iter().collect())
                .collect();
            let in_all = |gene: &&String| sets.iter().all(|set| set.contains(gene));
            patients[0]
                .var
                .index
                .iter()
                .filter(in_all)
                .cloned()
                .collect()
        }
        Genes::Any => {
            let mut seen = HashSet::new();
            let all = patients.iter().flat_map(|p| &p.var.index);
            all.filter(|gene| seen.insert(*gene)).cloned().collect()
        }
    }
}

/// All cells, under names that no two have.
fn obs(patients: &[Patient]) -> StageResult<Frame> {
    let frames: Vec<&Frame> = patients.iter().map(|p| &p.obs).collect();
    let mut obs = frames::stacked(&frames);
    if obs.first_duplicate().is_some() {
        let mut index = Vec::with_capacity(obs.len());
        for patient in patients {
            let name = patient.name()?;
            index.extend(
                patient
                    .obs
                    .index
                    .iter()
                    .map(|cell| format!("{cell}-{name}")),
            );
        }
        obs.index = index;
    }
    match obs.first_duplicate() {
        None => Ok(obs),
        Some(cell) => Err(StageError::data(format!(
            "two cells are called `{cell}`, which names cell and patient"
        ))),
    }
}

/// Entries that all patients have alike, without those that name a graph.
fn uns_of_all(patients: &[Patient]) -> BTreeMap<String, Uns> {
    let names_a_graph = |value: &Uns| value.at(&["connectivities_key"]).is_some();
    let same = |(name, value): &(&String, &Uns)| {
        patients.iter().all(|p| p.uns.get(*name) == Some(value)) && !names_a_graph(value)
    };
    let all = patients[0].uns.iter().filter(same);
    all.map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Adds a patient's rows of a matrix.
fn append(
    store: &mut RowsWriter,
    element: &str,
    patient: &Patient,
    genes: &[String],
) -> StageResult<()> {
    if let Some(name) = element.strip_prefix("obsm/") {
        return store.append(element, &patient.store.obsm(name)?);
    }
    let shape = (patient.obs.len(), patient.var.len());
    let rows = patient.store.rows(element, shape)?;
    let new_column = new_columns(&patient.var.index, genes);
    let mut any = false;
    for block in rows.blocks(BLOCK) {
        any = true;
        let block = rows.read(block)?;
        let block = match &new_column {
            None => block,
            Some(new) => with_columns(&block, new, genes.len()),
        };
        store.append(element, &Matrix::Csr(block))?;
    }
    if any {
        return Ok(());
    }
    // A patient without cells still says what the matrix is.
    store.append(
        element,
        &Matrix::Csr(Csr::from_rows(genes.len(), std::iter::empty())),
    )
}

/// Where each of a patient's genes is in the cohort; nothing where all are where they were.
fn new_columns(own: &[String], genes: &[String]) -> Option<Vec<Option<u32>>> {
    if own == genes {
        return None;
    }
    let at: HashMap<&String, u32> = genes.iter().zip(0..).collect();
    Some(own.iter().map(|gene| at.get(gene).copied()).collect())
}

/// The matrix with its columns at new places.
fn with_columns(m: &Csr, new: &[Option<u32>], n_cols: usize) -> Csr {
    let rows = (0..m.n_rows()).map(|r| {
        let (columns, values) = m.row(r);
        let mut row: Vec<(u32, f32)> = columns
            .iter()
            .zip(values)
            .filter_map(|(&c, &v)| Some((new[c as usize]?, v)))
            .collect();
        row.sort_unstable_by_key(|(c, _)| *c);
        row
    });
    Csr::from_rows(n_cols, rows)
}
