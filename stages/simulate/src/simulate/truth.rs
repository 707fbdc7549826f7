//! Tables of the planted truth.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::Column;
use clcc_stage::stage::Metrics;
use clcc_stage::tables::{Row, Table};

use super::counts::{CellTruth, Patient};
use super::params::SimulateParams;
use super::world::{SimulatedGene, World};

clcc_stage::table! {
    /// Genes of the simulation and how they answer to copy number.
    pub(crate) struct GeneRow = "truth_genes.tsv" {
        /// Symbol.
        gene: String,
        /// Chromosome.
        chromosome: String,
        /// Arm, `p` or `q`.
        arm: String,
        /// First base, 1-based.
        start: i64,
        /// Last base, inclusive.
        end: i64,
        /// Dosage slope in malignant cells.
        slope: f64,
        /// Slope 0 in every malignant cell.
        escape_constitutive: bool,
        /// Leaves its dosage in discordant cells.
        escape_state: bool,
        /// Patients in which a gene of constitutive escape escapes, where it is not all.
        n_patients: Option<i64>,
        /// Part of the immunoglobulins of clones, where they are simulated.
        immunoglobulin: Option<bool>,
    }
}

clcc_stage::table! {
    /// Cells of the simulation.
    pub(crate) struct CellRow = "truth_cells.tsv" {
        /// Name of the cell.
        cell: String,
        /// Patient.
        patient: String,
        /// Sample.
        sample: String,
        /// True cell type.
        cell_type: String,
        /// Whether it carries the events of a clone.
        malignant: bool,
        /// Clone; empty for other cells.
        clone: String,
        /// Whether its genes of cell-state escape have left their dosage by half or more.
        discordant: bool,
        /// Cell-cycle phase.
        phase: String,
        /// How far they have left it, from 0 to 1, where it is graded.
        discordance: Option<f64>,
        /// Clone whose expression a cell without any event has.
        tumour_like: Option<String>,
        /// Cell type of the annotation.
        annotated: Option<String>,
        /// True type of a second cell in the droplet.
        second_type: Option<String>,
        /// Whether the second cell is malignant.
        second_malignant: Option<bool>,
    }
}

clcc_stage::table! {
    /// Events of each clone.
    pub(crate) struct EventRow = "truth_events.tsv" {
        /// Patient, clone and place.
        event: String,
        /// Patient.
        patient: String,
        /// Clone.
        clone: String,
        /// Chromosome.
        chromosome: String,
        /// Arm, `p` or `q`.
        arm: String,
        /// First base, 1-based.
        start: i64,
        /// Last base, inclusive.
        end: i64,
        /// Copies over those of an unaltered place.
        ratio: f64,
        /// `arm`, `sub_arm` or `focal`, where not all are of arms.
        kind: Option<String>,
        /// Whether the clone's genome is doubled, where genomes may be.
        genome_doubled: Option<bool>,
    }
}

clcc_stage::table! {
    /// Planted copy number of each clone as a measured table.
    struct SegmentRow = "segments" {
        /// Patient.
        patient: String,
        /// Clone.
        clone: String,
        /// Chromosome.
        chromosome: String,
        /// First base, 1-based.
        start: i64,
        /// Last base, inclusive.
        end: i64,
        /// Twice the ratio.
        copy_number: f64,
    }
}

clcc_stage::table! {
    /// Genes of constitutive escape in each patient, where they differ.
    pub(crate) struct EscapeRow = "truth_escape_by_patient.tsv" {
        /// Symbol.
        gene: String,
        /// Patient.
        patient: String,
        /// Whether it escapes there.
        escapes: bool,
        /// Its slope there.
        slope: f64,
    }
}

clcc_stage::table! {
    /// Shifts of log expression by gene, a column each.
    struct ShiftRow = "truth_shifts.tsv" {
        /// Symbol.
        gene: String,
    }
}

clcc_stage::table! {
    /// Sets of immunoglobulin genes.
    pub(crate) struct ClonotypeRow = "truth_clonotypes.tsv" {
        /// Patient.
        patient: String,
        /// `tumour`, `plasma` (the clone of the tumour sample), or a number for others.
        owner: String,
        /// Constant gene of the heavy chain.
        heavy: String,
        /// Constant gene of the light chain.
        light: String,
        /// Variable gene of the heavy chain.
        heavy_variable: String,
        /// Variable gene of the light chain.
        light_variable: String,
    }
}

/// Collects the truth of the patients of a simulation.
#[derive(Debug, Clone)]
pub struct Truth<'a> {
    world: &'a World,
    params: &'a SimulateParams,
    cells: Vec<CellRow>,
    events: Vec<EventRow>,
    segments: Vec<SegmentRow>,
    escape: Vec<EscapeRow>,
    shifts: Vec<(String, Vec<f64>)>,
    clonotypes: Vec<ClonotypeRow>,
}

const GENE_NOTES: [&str; 3] = [
    "planted truth of the simulation: expression in a malignant cell is multiplied by ratio^slope, ratio = relative copy number of the gene's arm in the cell's clone",
    "escape_constitutive: slope 0 in every malignant cell; escape_state: the gene leaves its dosage in discordant cells only",
    "positions are GRCh38, 1-based, inclusive",
];
const CELL_NOTE: &str = "planted truth of the simulation: clone is empty for cells that are not malignant; discordant cells decouple the genes of cell-state escape";
const SEGMENT_NOTE: &str = "copy number of each clone as single-cell DNA sequencing would measure it without error; what has no row has two copies; positions are GRCh38, 1-based, inclusive";
const EVENT_NOTE: &str = "planted truth of the simulation: one row per clone and altered chromosome arm; ratio = copies over two; positions are GRCh38, 1-based, inclusive";
const SMALL_EVENTS_NOTE: &str = "kind: sub_arm and focal events cover a part of the arm; where events overlap, the ratio of the smallest holds";
const DOUBLED_NOTE: &str = "genome_doubled: ratio = copies over four";
const CELL_MORE_NOTE: &str = "tumour_like: the clone whose expression a cell has that carries no event; annotated: cell type in obs; second_type, second_malignant: the other cell of a doublet, whose row is that of the first";
const SHIFT_NOTE: &str = "planted differences of log expression (natural) that are not of copy number; level: a patient's tumour; programme: a clone; batch: a sample";

impl<'a> Truth<'a> {
    /// Start with the genes of `world`, and no patient yet.
    pub fn new(world: &'a World, params: &'a SimulateParams) -> Self {
        Self {
            world,
            params,
            cells: Vec::new(),
            events: Vec::new(),
            segments: Vec::new(),
            escape: Vec::new(),
            shifts: Vec::new(),
            clonotypes: Vec::new(),
        }
    }

    /// Add a patient's cells and events.
    pub fn add(&mut self, patient: &Patient) {
        let cells = patient.truth.iter().enumerate();
        self.cells
            .extend(cells.map(|(c, truth)| cell_row(patient, c, truth, self.params)));
        for clone in &patient.clones {
            let doubled = (self.params.genome_doubling > 0.0).then_some(clone.doubled);
            self.events.extend(
                clone
                    .events
                    .iter()
                    .map(|e| event_row(&patient.name, &clone.name, e, doubled, self.params)),
            );
            self.segments
                .extend(clone.segments().into_iter().map(|e| SegmentRow {
                    patient: patient.name.clone(),
                    clone: clone.name.clone(),
                    chromosome: e.chromosome,
                    start: e.start,
                    end: e.end,
                    copy_number: 2.0 * e.ratio,
                }));
        }
        if self.params.escape_patients.is_some() {
            self.escape.extend(escape_rows(self.world, &patient.name));
        }
        self.add_shifts(patient);
        self.clonotypes.extend(clonotype_rows(self.world, patient));
    }

    fn add_shifts(&mut self, patient: &Patient) {
        let name = &patient.name;
        if self.params.tumour_level_sd > 0.0 {
            let column = (format!("level:{name}"), patient.shifts.tumour.clone());
            self.shifts.push(column);
        }
        for (clone, programme) in patient.clones.iter().zip(&patient.shifts.programmes) {
            let column = format!("programme:{name}:{}", clone.name);
            self.shifts.push((column, programme.clone()));
        }
        for (sample, batch) in patient.samples.iter().zip(&patient.shifts.batches) {
            self.shifts.push((format!("batch:{sample}"), batch.clone()));
        }
    }

    /// Write the planted events as a measured copy-number table, as `infercnv` reads it under `method:
    /// measured`: `patient`, `clone`, `chromosome`, `start`, `end`, `copy_number`; regions without a
    /// row have two copies. In a doubled genome four copies are written as two.
    ///
    /// # Errors
    /// [`clcc_data::StageError::Io`] where the file cannot be written.
    pub fn write_segments(&self, path: &Path) -> StageResult<()> {
        Table::new(self.segments.clone())
            .note(SEGMENT_NOTE)
            .write_as(path)
    }

    /// Write `truth_genes.tsv`, `truth_cells.tsv` and `truth_events.tsv` into `dir`, and, where they
    /// are planted, `truth_escape_by_patient.tsv`, `truth_shifts.tsv` and `truth_clonotypes.tsv`; returns
    /// counts as metrics.
    ///
    /// # Errors
    /// [`clcc_data::StageError::Io`] where a file cannot be written.
    pub fn write(self, dir: &Path) -> StageResult<Metrics> {
        let metrics = self.metrics();
        let genes = self.world.genes.iter().map(|g| gene_row(g, self.params));
        let genes = GENE_NOTES
            .into_iter()
            .fold(Table::new(genes.collect()), Table::note);
        genes.write(dir)?;
        let mut cells = Table::new(self.cells).note(CELL_NOTE);
        let p = self.params;
        if p.tumour_like_share > 0.0 || p.mislabelled_share > 0.0 || p.doublet_share > 0.0 {
            cells = cells.note(CELL_MORE_NOTE);
        }
        cells.write(dir)?;
        let mut events = Table::new(self.events).note(EVENT_NOTE);
        if has_small_events(p) {
            events = events.note(SMALL_EVENTS_NOTE);
        }
        if p.genome_doubling > 0.0 {
            events = events.note(DOUBLED_NOTE);
        }
        events.write(dir)?;
        write_some(self.escape, dir)?;
        write_some(self.clonotypes, dir)?;
        if self.shifts.is_empty() {
            return Ok(metrics);
        }
        let row = |g: &SimulatedGene| ShiftRow {
            gene: g.name.clone(),
        };
        let table = Table::new(self.world.genes.iter().map(row).collect()).note(SHIFT_NOTE);
        let add = |t: Table<ShiftRow>, (name, values)| t.column(name, Column::F64(values));
        self.shifts.into_iter().fold(table, add).write(dir)?;
        Ok(metrics)
    }

    fn metrics(&self) -> Metrics {
        let cells = |f: fn(&CellRow) -> bool| self.cells.iter().filter(|c| f(c)).count();
        let genes =
            |f: fn(&SimulatedGene) -> bool| self.world.genes.iter().filter(|g| f(g)).count();
        let mut counts = vec![
            ("n_malignant", cells(|c| c.malignant)),
            ("n_discordant", cells(|c| c.discordant)),
            ("n_events", self.events.len()),
            (
                "n_genes_escape_constitutive",
                genes(|g| g.escape_constitutive),
            ),
            ("n_genes_escape_state", genes(|g| g.escape_state)),
        ];
        for (name, n) in [
            ("n_doublets", cells(|c| c.second_type.is_some())),
            (
                "n_tumour_like",
                cells(|c| c.tumour_like.as_ref().is_some_and(|t| !t.is_empty())),
            ),
            (
                "n_mislabelled",
                cells(|c| c.annotated.as_ref().is_some_and(|a| *a != c.cell_type)),
            ),
        ] {
            if n > 0 {
                counts.push((name, n));
            }
        }
        counts
            .into_iter()
            .map(|(name, n)| (name.to_string(), n.into()))
            .collect()
    }
}

fn write_some<R: Row>(rows: Vec<R>, dir: &Path) -> StageResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    Table::new(rows)
        .note("planted truth of the simulation")
        .write(dir)
}

fn has_small_events(p: &SimulateParams) -> bool {
    p.sub_arm_share > 0.0 || p.focal_events + p.clone_focal_events > 0
}

fn gene_row(g: &SimulatedGene, params: &SimulateParams) -> GeneRow {
    let any = params.immunoglobulin != super::Immunoglobulin::None;
    GeneRow {
        gene: g.name.clone(),
        chromosome: g.chromosome.clone(),
        arm: g.arm.map_or(String::new(), |a| a.letter().to_string()),
        start: g.start,
        end: g.end,
        slope: g.slope,
        escape_constitutive: g.escape_constitutive,
        escape_state: g.escape_state,
        n_patients: params
            .escape_patients
            .filter(|_| g.escape_constitutive)
            .map(|k| k as i64),
        immunoglobulin: any.then_some(g.immunoglobulin),
    }
}

fn cell_row(patient: &Patient, c: usize, truth: &CellTruth, params: &SimulateParams) -> CellRow {
    let kind = &truth.kind;
    let clone = |k: Option<usize>| k.map_or(String::new(), |k| patient.clones[k].name.clone());
    let graded = params.discordance_concentration.is_some();
    CellRow {
        cell: patient.counts.obs.index[c].clone(),
        patient: patient.name.clone(),
        sample: patient.samples[kind.sample].clone(),
        cell_type: kind.cell_type.name().to_string(),
        malignant: kind.clone.is_some(),
        clone: clone(kind.clone),
        discordant: kind.is_discordant(),
        phase: patient.phases[c].to_string(),
        discordance: graded.then(|| kind.z()),
        tumour_like: (params.tumour_like_share > 0.0).then(|| clone(kind.near)),
        annotated: (params.mislabelled_share > 0.0).then(|| patient.types[c].name().to_string()),
        second_type: truth.second.map(|k| k.cell_type.name().to_string()),
        second_malignant: truth.second.map(|k| k.clone.is_some()),
    }
}

fn event_row(
    patient: &str,
    clone: &str,
    e: &super::Event,
    genome_doubled: Option<bool>,
    params: &SimulateParams,
) -> EventRow {
    let arm = e.arm.letter().to_string();
    let place = match e.kind {
        super::EventKind::Focal => format!("{}{arm}:{}", e.chromosome, e.start),
        _ => format!("{}{arm}", e.chromosome),
    };
    EventRow {
        event: format!("{patient}:{clone}:{place}"),
        patient: patient.to_string(),
        clone: clone.to_string(),
        chromosome: e.chromosome.clone(),
        arm,
        start: e.start,
        end: e.end,
        ratio: e.ratio,
        kind: has_small_events(params).then(|| e.kind.name().to_string()),
        genome_doubled,
    }
}

fn escape_rows(world: &World, patient: &str) -> Vec<EscapeRow> {
    let slopes = world.slopes(patient);
    let escaping = (0..world.genes.len()).filter(|&g| world.genes[g].escape_constitutive);
    escaping
        .map(|g| EscapeRow {
            gene: world.genes[g].name.clone(),
            patient: patient.to_string(),
            escapes: world.escapes_in(g, patient),
            slope: slopes[g],
        })
        .collect()
}

fn clonotype_rows(world: &World, patient: &Patient) -> Vec<ClonotypeRow> {
    let row = |(i, set): (usize, &[usize; 4])| {
        let [heavy, light, heavy_variable, light_variable] =
            set.map(|g| world.genes[g].name.clone());
        ClonotypeRow {
            patient: patient.name.clone(),
            owner: match i {
                0 => "tumour".to_string(),
                1 => "plasma".to_string(),
                other => other.to_string(),
            },
            heavy,
            light,
            heavy_variable,
            light_variable,
        }
    };
    patient.clonotypes.iter().enumerate().map(row).collect()
}
