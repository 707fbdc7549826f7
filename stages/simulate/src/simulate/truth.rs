//! Tables of the planted truth.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;
use clcc_stage::stage::Metrics;

use super::counts::Patient;
use super::world::World;

/// Collects the truth of the patients of a simulation.
#[derive(Debug, Clone)]
pub struct Truth {
    genes: Frame,
    cells: Cells,
    events: Events,
}

#[derive(Debug, Clone, Default)]
struct Cells {
    id: Vec<String>,
    text: [Vec<String>; 5],
    malignant: Vec<bool>,
    discordant: Vec<bool>,
}

#[derive(Debug, Clone, Default)]
struct Events {
    text: [Vec<String>; 4],
    start: Vec<i64>,
    end: Vec<i64>,
    ratio: Vec<f64>,
}

const GENE_NOTES: [&str; 3] = [
    "planted truth of the simulation: expression in a malignant cell is multiplied by ratio^slope, ratio = relative copy number of the gene's arm in the cell's clone",
    "escape_constitutive: slope 0 in every malignant cell; escape_state: the gene leaves its dosage in discordant cells only",
    "positions are GRCh38, 1-based, inclusive",
];
const CELL_NOTES: [&str; 1] = [
    "planted truth of the simulation: clone is empty for cells that are not malignant; discordant cells decouple the genes of cell-state escape",
];
const SEGMENT_NOTES: [&str; 1] = [
    "copy number of each clone as single-cell DNA sequencing would measure it without error; what has no row has two copies; positions are GRCh38, 1-based, inclusive",
];
const EVENT_NOTES: [&str; 1] = [
    "planted truth of the simulation: one row per clone and altered chromosome arm; ratio = copies over two; positions are GRCh38, 1-based, inclusive",
];

impl Truth {
    /// Start with the genes of `world`, and no patient yet.
    pub fn new(world: &World) -> Self {
        let mut genes = Frame::new(world.genes.iter().map(|g| g.name.clone()).collect());
        genes.set(
            "chromosome",
            Column::Str(world.genes.iter().map(|g| g.chromosome.clone()).collect()),
        );
        let arm = |g: &super::world::SimulatedGene| {
            g.arm.map_or(String::new(), |a| a.letter().to_string())
        };
        genes.set("arm", Column::Str(world.genes.iter().map(arm).collect()));
        genes.set(
            "start",
            Column::I64(world.genes.iter().map(|g| g.start).collect()),
        );
        genes.set(
            "end",
            Column::I64(world.genes.iter().map(|g| g.end).collect()),
        );
        genes.set(
            "slope",
            Column::F64(world.genes.iter().map(|g| g.slope).collect()),
        );
        genes.set(
            "escape_constitutive",
            Column::Bool(world.genes.iter().map(|g| g.escape_constitutive).collect()),
        );
        genes.set(
            "escape_state",
            Column::Bool(world.genes.iter().map(|g| g.escape_state).collect()),
        );
        Self {
            genes,
            cells: Cells::default(),
            events: Events::default(),
        }
    }

    /// Add a patient's cells and events.
    pub fn add(&mut self, patient: &Patient) {
        let obs = &patient.counts.obs;
        self.cells.id.extend(obs.index.iter().cloned());
        let columns = ["patient", "sample", "cell_type", "truth_clone"];
        for (column, out) in columns.iter().zip(&mut self.cells.text) {
            out.extend(
                obs.texts(column)
                    .expect("a simulated patient has this column"),
            );
        }
        self.cells.text[4].extend(patient.phases.iter().map(ToString::to_string));
        let flags = |name: &str| {
            obs.flags(name)
                .expect("a simulated patient has this column")
                .to_vec()
        };
        self.cells.malignant.extend(flags("truth_malignant"));
        self.cells.discordant.extend(flags("truth_discordant"));
        for clone in &patient.clones {
            for event in &clone.events {
                let (start, end) = event.span();
                let texts = [
                    patient.name.clone(),
                    clone.name.clone(),
                    event.chromosome.clone(),
                    event.arm.letter().to_string(),
                ];
                self.events
                    .text
                    .iter_mut()
                    .zip(texts)
                    .for_each(|(out, t)| out.push(t));
                self.events.start.push(start);
                self.events.end.push(end);
                self.events.ratio.push(event.ratio);
            }
        }
    }

    /// Write the planted events as a measured copy-number table, as `infercnv` reads it under `method:
    /// measured`: `patient`, `clone`, `chromosome`, `start`, `end`, `copy_number`; regions without a
    /// row have two copies.
    ///
    /// # Errors
    /// [`clcc_data::StageError::Io`] where the file cannot be written.
    pub fn write_segments(&self, path: &Path) -> StageResult<()> {
        let e = &self.events;
        let mut frame = Frame::new(e.text[0].clone());
        frame.set("clone", Column::Str(e.text[1].clone()));
        frame.set("chromosome", Column::Str(e.text[2].clone()));
        frame.set("start", Column::I64(e.start.clone()));
        frame.set("end", Column::I64(e.end.clone()));
        frame.set(
            "copy_number",
            Column::F64(e.ratio.iter().map(|r| 2.0 * r).collect()),
        );
        write_tsv(path, "patient", &frame, &SEGMENT_NOTES)
    }

    /// Write `truth_genes.tsv`, `truth_cells.tsv` and `truth_events.tsv` into `dir`; returns their
    /// counts as metrics.
    ///
    /// # Errors
    /// [`clcc_data::StageError::Io`] where a file cannot be written.
    pub fn write(self, dir: &Path) -> StageResult<Metrics> {
        let mut metrics = Metrics::new();
        let flagged = |f: &[bool]| f.iter().filter(|x| **x).count();
        metrics.insert("n_malignant".into(), flagged(&self.cells.malignant).into());
        metrics.insert(
            "n_discordant".into(),
            flagged(&self.cells.discordant).into(),
        );
        metrics.insert("n_events".into(), self.events.ratio.len().into());
        for name in ["escape_constitutive", "escape_state"] {
            metrics.insert(
                format!("n_genes_{name}"),
                flagged(self.genes.flags(name)?).into(),
            );
        }
        write_tsv(
            &dir.join("truth_genes.tsv"),
            "gene",
            &self.genes,
            &GENE_NOTES,
        )?;

        let mut cells = Frame::new(self.cells.id);
        let [patient, sample, cell_type, clone, phase] = self.cells.text;
        cells.set("patient", Column::Str(patient));
        cells.set("sample", Column::Str(sample));
        cells.set("cell_type", Column::Str(cell_type));
        cells.set("malignant", Column::Bool(self.cells.malignant));
        cells.set("clone", Column::Str(clone));
        cells.set("discordant", Column::Bool(self.cells.discordant));
        cells.set("phase", Column::Str(phase));
        write_tsv(&dir.join("truth_cells.tsv"), "cell", &cells, &CELL_NOTES)?;

        let [patient, clone, chromosome, arm] = self.events.text;
        let id = |i: usize| format!("{}:{}:{}{}", patient[i], clone[i], chromosome[i], arm[i]);
        let mut events = Frame::new((0..patient.len()).map(id).collect());
        events.set("patient", Column::Str(patient));
        events.set("clone", Column::Str(clone));
        events.set("chromosome", Column::Str(chromosome));
        events.set("arm", Column::Str(arm));
        events.set("start", Column::I64(self.events.start));
        events.set("end", Column::I64(self.events.end));
        events.set("ratio", Column::F64(self.events.ratio));
        write_tsv(
            &dir.join("truth_events.tsv"),
            "event",
            &events,
            &EVENT_NOTES,
        )?;
        Ok(metrics)
    }
}
