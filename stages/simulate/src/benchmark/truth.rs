//! Planted truth, matched to the cells and genes of `expr`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use clcc_data::anndata::Reader;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::table::TextTable;
use clcc_numerics::math;
use clcc_stage::cohort::{patient_name, stack_frames};
use clcc_stage::roles;
use clcc_stage::stage::{StageContext, missing};

/// Planted truth of a gene.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrueGene {
    pub(super) constitutive: bool,
    pub(super) state: bool,
    /// Whether the gene can be found: altered in a clone of a patient, and expressed in enough
    /// malignant cells.
    pub(super) eligible: bool,
}

/// Truth of the cohort: genes in the order of the first patient's `expr`, cells in cohort order.
pub(super) struct Truth {
    pub(super) gene_names: Vec<String>,
    pub(super) genes: Vec<TrueGene>,
    pub(super) obs: Frame,
    pub(super) patients: Vec<String>,
    /// Names of the patients in the tables of other stages.
    joined_as: Vec<String>,
    pub(super) patient_of: Vec<u32>,
    pub(super) malignant: Vec<bool>,
    pub(super) discordant: Vec<bool>,
    pub(super) clone: Vec<String>,
    /// Natural log of the relative copy number by (patient, clone, chromosome, arm).
    events: HashMap<(String, String, String, String), f64>,
    /// Chromosome and arm of each simulated gene.
    places: HashMap<String, (String, String)>,
}

/// `true` and `false` as [`clcc_data::table::write_tsv`] prints them.
fn flags(table: &TextTable, name: &str) -> StageResult<Vec<bool>> {
    Ok(table
        .texts(name)?
        .iter()
        .map(|t| t.eq_ignore_ascii_case("true"))
        .collect())
}

impl Truth {
    pub(super) fn load(ctx: &StageContext<'_>, min_expressed: f64) -> StageResult<Self> {
        let dir = &ctx.one(roles::TRUTH)?.path;
        let genes = TextTable::read(&dir.join("truth_genes.tsv"))?;
        let cells = TextTable::read(&dir.join("truth_cells.tsv"))?;
        let (events, places) = (events(&dir.join("truth_events.tsv"))?, places(&genes)?);
        let inputs = ctx.all(roles::EXPR);
        let readers = inputs
            .iter()
            .map(|input| input.open())
            .collect::<StageResult<Vec<_>>>()?;
        let first = readers.first().ok_or_else(|| missing(roles::EXPR))?;
        let gene_names = first.var()?.index;
        let frames = readers
            .iter()
            .map(Reader::obs)
            .collect::<StageResult<Vec<_>>>()?;
        let joined_as: Vec<String> = inputs.iter().map(|i| patient_name(i)).collect();
        // Where the stage runs once per patient, its inputs do not name the patient; its cells do.
        let patients = inputs
            .iter()
            .zip(&frames)
            .map(|(input, frame)| match frame.index.first() {
                Some(cell) if input.branch.is_empty() => patient_of_cell(&cells, cell),
                _ => Ok(patient_name(input)),
            })
            .collect::<StageResult<Vec<_>>>()?;
        let patient_of: Vec<u32> = frames
            .iter()
            .enumerate()
            .flat_map(|(p, f)| vec![p as u32; f.len()])
            .collect();
        let obs = stack_frames(&frames);
        let rows = truth_rows(&cells, &obs, &patients, &patient_of)?;
        let pick = |v: &[bool]| rows.iter().map(|&r| v[r]).collect::<Vec<bool>>();
        let names = cells.texts("clone")?;
        let mut truth = Self {
            genes: Vec::new(),
            gene_names,
            malignant: pick(&flags(&cells, "malignant")?),
            discordant: pick(&flags(&cells, "discordant")?),
            clone: rows.iter().map(|&r| names[r].to_string()).collect(),
            obs,
            patients,
            joined_as,
            patient_of,
            events,
            places,
        };
        let expressed = truth.expressed(&readers)?;
        truth.genes = truth.eligible_genes(&genes, &expressed, min_expressed)?;
        Ok(truth)
    }

    /// Share of the malignant cells that express each gene.
    fn expressed(&self, readers: &[Reader]) -> StageResult<Vec<f64>> {
        let at: HashMap<&str, usize> = self
            .gene_names
            .iter()
            .enumerate()
            .map(|(g, n)| (n.as_str(), g))
            .collect();
        let mut n = vec![0.0; self.gene_names.len()];
        let mut start = 0;
        for reader in readers {
            let column: Vec<Option<usize>> = reader
                .var()?
                .index
                .iter()
                .map(|g| at.get(g.as_str()).copied())
                .collect();
            let x = reader.x()?.into_csr();
            for i in (0..x.n_rows()).filter(|i| self.malignant[start + i]) {
                let (cols, values) = x.row(i);
                for (&c, _) in cols.iter().zip(values).filter(|(_, v)| **v > 0.0) {
                    if let Some(g) = column[c as usize] {
                        n[g] += 1.0;
                    }
                }
            }
            start += x.n_rows();
        }
        let cells = self.malignant.iter().filter(|m| **m).count() as f64;
        n.iter_mut().for_each(|v| *v /= cells.max(1.0));
        Ok(n)
    }

    fn eligible_genes(
        &self,
        table: &TextTable,
        expressed: &[f64],
        least: f64,
    ) -> StageResult<Vec<TrueGene>> {
        let row: HashMap<&str, usize> = table
            .texts("gene")?
            .into_iter()
            .enumerate()
            .map(|(r, g)| (g, r))
            .collect();
        let (constitutive, state) = (
            flags(table, "escape_constitutive")?,
            flags(table, "escape_state")?,
        );
        let altered: std::collections::HashSet<(&str, &str)> = self
            .events
            .keys()
            .map(|k| (k.2.as_str(), k.3.as_str()))
            .collect();
        Ok(self
            .gene_names
            .iter()
            .zip(expressed)
            .map(|(name, &share)| {
                let r = row.get(name.as_str());
                let place = self.places.get(name);
                TrueGene {
                    constitutive: r.is_some_and(|&r| constitutive[r]),
                    state: r.is_some_and(|&r| state[r]),
                    eligible: share >= least
                        && place.is_some_and(|p| altered.contains(&(p.0.as_str(), p.1.as_str()))),
                }
            })
            .collect())
    }

    /// Natural log of the relative copy number of a gene in a clone of a patient.
    pub(super) fn log_ratio(&self, patient: &str, clone: &str, gene: &str) -> f64 {
        let Some((chromosome, arm)) = self.places.get(gene) else {
            return 0.0;
        };
        let key = (
            patient.to_string(),
            clone.to_string(),
            chromosome.clone(),
            arm.clone(),
        );
        self.events.get(&key).copied().unwrap_or(0.0)
    }

    /// Index of each cell, by patient (as named in the tables of other stages) and cell name.
    pub(super) fn cells_at(&self) -> HashMap<(&str, &str), usize> {
        (0..self.obs.len())
            .map(|i| {
                let patient = self.joined_as[self.patient_of[i] as usize].as_str();
                ((patient, self.obs.index[i].as_str()), i)
            })
            .collect()
    }
}

/// Row of each cell of the cohort in the table of planted cells.
///
/// # Errors
/// [`StageError::Data`] where a cell is not in it.
fn truth_rows(
    cells: &TextTable,
    obs: &Frame,
    patients: &[String],
    patient_of: &[u32],
) -> StageResult<Vec<usize>> {
    let planted: HashMap<(&str, &str), usize> = cells
        .texts("patient")?
        .into_iter()
        .zip(cells.texts("cell")?)
        .enumerate()
        .map(|(row, cell)| (cell, row))
        .collect();
    (0..obs.len())
        .map(|i| {
            let patient = patients[patient_of[i] as usize].as_str();
            let cell = obs.index[i].as_str();
            planted.get(&(patient, cell)).copied().ok_or_else(|| {
                StageError::data_hint(
                    format!("cell `{cell}` of patient `{patient}` is not in the truth"),
                    "`truth` and `expr` must come from one simulation",
                )
            })
        })
        .collect()
}

/// Planted patient that has a cell of this name; more than one is an error.
fn patient_of_cell(cells: &TextTable, cell: &str) -> StageResult<String> {
    let (names, patients) = (cells.texts("cell")?, cells.texts("patient")?);
    let found: BTreeSet<&str> = names
        .iter()
        .zip(patients)
        .filter(|(name, _)| **name == cell)
        .map(|(_, patient)| patient)
        .collect();
    match (found.first(), found.len()) {
        (Some(patient), 1) => Ok((*patient).to_string()),
        (_, n) => Err(StageError::data_hint(
            format!("cell `{cell}` is in the truth of {n} patients"),
            "`truth` and `expr` must come from one simulation",
        )),
    }
}

type Events = HashMap<(String, String, String, String), f64>;

fn events(path: &Path) -> StageResult<Events> {
    let table = TextTable::read(path)?;
    let text = |name: &str| table.texts(name);
    let (patient, clone) = (text("patient")?, text("clone")?);
    let (chromosome, arm) = (text("chromosome")?, text("arm")?);
    let ratio = table.numbers("ratio")?;
    Ok((0..ratio.len())
        .map(|i| {
            let key = [patient[i], clone[i], chromosome[i], arm[i]].map(str::to_string);
            (key.into(), math::ln(ratio[i]))
        })
        .collect())
}

fn places(genes: &TextTable) -> StageResult<HashMap<String, (String, String)>> {
    let (name, chromosome, arm) = (
        genes.texts("gene")?,
        genes.texts("chromosome")?,
        genes.texts("arm")?,
    );
    Ok((0..name.len())
        .map(|i| {
            (
                name[i].to_string(),
                (chromosome[i].to_string(), arm[i].to_string()),
            )
        })
        .collect())
}
