//! Planted truth, matched to the cells and genes of `expr`.

use std::collections::{BTreeSet, HashMap};

use clcc_data::anndata::Reader;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_numerics::math;
use clcc_stage::cohort::{patient_name, stack_frames};
use clcc_stage::roles;
use clcc_stage::stage::{StageContext, missing};
use clcc_stage::tables::Row;

use crate::simulate::truth::{CellRow, EscapeRow, EventRow, GeneRow};

/// Planted truth of a gene.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrueGene {
    pub(super) constitutive: bool,
    pub(super) state: bool,
    /// Whether enough malignant cells express the gene.
    pub(super) expressed: bool,
    /// Whether the gene can be found: altered in a clone of a patient, and expressed.
    pub(super) eligible: bool,
}

/// What a cell is, for the calls that are made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CellClass {
    Malignant,
    Normal,
    /// Normal, with the expression of a clone.
    TumourLike,
    /// Normal, annotated as malignant cells are.
    Mislabelled,
    /// Two cells in one droplet, whatever they are.
    Doublet,
}

/// Planted gain or loss of a clone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrueEvent {
    /// `arm`, `sub_arm` or `focal`.
    pub(super) kind: String,
    chromosome: String,
    arm: String,
    start: i64,
    end: i64,
    /// Natural log of the relative copy number.
    pub(super) log_ratio: f64,
}

/// Place of a gene.
struct Place {
    chromosome: String,
    arm: String,
    middle: i64,
}

impl TrueEvent {
    fn covers(&self, place: &Place) -> bool {
        self.chromosome == place.chromosome
            && match self.kind.as_str() {
                "arm" => self.arm == place.arm,
                _ => (self.start..=self.end).contains(&place.middle),
            }
    }
}

/// Truth of the cohort: genes in the order of the first patient's `expr`, cells in cohort order.
pub(super) struct Truth {
    pub(super) gene_names: Vec<String>,
    pub(super) genes: Vec<TrueGene>,
    pub(super) obs: Frame,
    pub(super) patients: Vec<String>,
    /// Names of the patients in the tables of other stages.
    pub(super) joined_as: Vec<String>,
    pub(super) patient_of: Vec<u32>,
    pub(super) malignant: Vec<bool>,
    pub(super) discordant: Vec<bool>,
    /// From 0 to 1, where it is graded.
    pub(super) discordance: Option<Vec<f64>>,
    pub(super) class: Vec<CellClass>,
    pub(super) clone: Vec<String>,
    /// Genes that escape in every malignant cell of a patient, where patients differ.
    pub(super) escape_in: Option<BTreeSet<(String, String)>>,
    /// By patient and clone.
    pub(super) events: HashMap<(String, String), Vec<TrueEvent>>,
    places: HashMap<String, Place>,
}

impl Truth {
    pub(super) fn load(ctx: &StageContext<'_>, min_expressed: f64) -> StageResult<Self> {
        let dir = &ctx.one(roles::TRUTH)?.path;
        let genes = GeneRow::read(&dir.join(GeneRow::FILE))?;
        let cells = CellRow::read(&dir.join(CellRow::FILE))?;
        let events = events(EventRow::read(&dir.join(EventRow::FILE))?);
        let by_patient = dir.join(EscapeRow::FILE);
        let escape_in = by_patient
            .exists()
            .then(|| EscapeRow::read(&by_patient))
            .transpose()?
            .map(escape_in);
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
        let of = |f: fn(&CellRow) -> bool| rows.iter().map(|&r| f(&cells[r])).collect();
        let mut truth = Self {
            genes: Vec::new(),
            gene_names,
            malignant: of(|c| c.malignant),
            discordant: of(|c| c.discordant),
            discordance: rows.iter().map(|&r| cells[r].discordance).collect(),
            class: rows.iter().map(|&r| class(&cells[r])).collect(),
            clone: rows.iter().map(|&r| cells[r].clone.clone()).collect(),
            obs,
            patients,
            joined_as,
            patient_of,
            escape_in,
            events,
            places: genes.iter().map(place).collect(),
        };
        let expressed = truth.expressed(&readers)?;
        truth.genes = truth.true_genes(&genes, &expressed, min_expressed);
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

    fn true_genes(&self, table: &[GeneRow], expressed: &[f64], least: f64) -> Vec<TrueGene> {
        let row: HashMap<&str, &GeneRow> = table.iter().map(|g| (g.gene.as_str(), g)).collect();
        let all: Vec<&TrueEvent> = self.events.values().flatten().collect();
        self.gene_names
            .iter()
            .zip(expressed)
            .map(|(name, &share)| {
                let planted = row.get(name.as_str());
                let expressed = share >= least;
                TrueGene {
                    constitutive: planted.is_some_and(|g| g.escape_constitutive),
                    state: planted.is_some_and(|g| g.escape_state),
                    expressed,
                    eligible: expressed && self.is_in(&all, name),
                }
            })
            .collect()
    }

    fn is_in(&self, events: &[&TrueEvent], gene: &str) -> bool {
        let place = self.places.get(gene);
        place.is_some_and(|p| events.iter().any(|e| e.covers(p)))
    }

    /// Whether each gene is expressed, and altered in a clone of this patient.
    pub(super) fn eligible_in(&self, patient: &str) -> Vec<bool> {
        let own = self.events.iter().filter(|(key, _)| key.0 == patient);
        let own: Vec<&TrueEvent> = own.flat_map(|(_, events)| events).collect();
        let genes = self.gene_names.iter().zip(&self.genes);
        genes
            .map(|(name, g)| g.expressed && self.is_in(&own, name))
            .collect()
    }

    /// Whether an event covers a gene.
    pub(super) fn is_covered(&self, gene: usize, event: &TrueEvent) -> bool {
        let place = self.places.get(&self.gene_names[gene]);
        place.is_some_and(|p| event.covers(p))
    }

    /// Whether the middle of a gene is in a region.
    pub(super) fn is_within(&self, gene: usize, chromosome: &str, start: f64, end: f64) -> bool {
        let place = self.places.get(&self.gene_names[gene]);
        place.is_some_and(|p| {
            p.chromosome == chromosome && (start..=end).contains(&(p.middle as f64))
        })
    }

    /// Natural log of the relative copy number of a gene in a clone of a patient: that of the shortest
    /// event that covers it.
    pub(super) fn log_ratio(&self, patient: &str, clone: &str, gene: &str) -> f64 {
        let key = (patient.to_string(), clone.to_string());
        let (Some(place), Some(events)) = (self.places.get(gene), self.events.get(&key)) else {
            return 0.0;
        };
        let over = events.iter().filter(|e| e.covers(place));
        over.min_by_key(|e| e.end - e.start)
            .map_or(0.0, |e| e.log_ratio)
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

fn class(cell: &CellRow) -> CellClass {
    let has = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    if has(&cell.second_type) {
        CellClass::Doublet
    } else if cell.malignant {
        CellClass::Malignant
    } else if has(&cell.tumour_like) {
        CellClass::TumourLike
    } else if has(&cell.annotated) && cell.annotated.as_ref() != Some(&cell.cell_type) {
        CellClass::Mislabelled
    } else {
        CellClass::Normal
    }
}

fn place(gene: &GeneRow) -> (String, Place) {
    let place = Place {
        chromosome: gene.chromosome.clone(),
        arm: gene.arm.clone(),
        middle: (gene.start + gene.end) / 2,
    };
    (gene.gene.clone(), place)
}

fn escape_in(rows: Vec<EscapeRow>) -> BTreeSet<(String, String)> {
    let escaping = rows.into_iter().filter(|r| r.escapes);
    escaping.map(|r| (r.patient, r.gene)).collect()
}

fn events(rows: Vec<EventRow>) -> HashMap<(String, String), Vec<TrueEvent>> {
    let mut out: HashMap<(String, String), Vec<TrueEvent>> = HashMap::new();
    for row in rows {
        let event = TrueEvent {
            kind: row.kind.unwrap_or_else(|| "arm".to_string()),
            chromosome: row.chromosome,
            arm: row.arm,
            start: row.start,
            end: row.end,
            log_ratio: math::ln(row.ratio),
        };
        out.entry((row.patient, row.clone)).or_default().push(event);
    }
    out
}

/// Row of each cell of the cohort in the table of planted cells.
///
/// # Errors
/// [`StageError::Data`] where a cell is not in it.
fn truth_rows(
    cells: &[CellRow],
    obs: &Frame,
    patients: &[String],
    patient_of: &[u32],
) -> StageResult<Vec<usize>> {
    let planted: HashMap<(&str, &str), usize> = cells
        .iter()
        .enumerate()
        .map(|(row, c)| ((c.patient.as_str(), c.cell.as_str()), row))
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
fn patient_of_cell(cells: &[CellRow], cell: &str) -> StageResult<String> {
    let named = cells.iter().filter(|c| c.cell == cell);
    let found: BTreeSet<&str> = named.map(|c| c.patient.as_str()).collect();
    match (found.first(), found.len()) {
        (Some(patient), 1) => Ok((*patient).to_string()),
        (_, n) => Err(StageError::data_hint(
            format!("cell `{cell}` is in the truth of {n} patients"),
            "`truth` and `expr` must come from one simulation",
        )),
    }
}
