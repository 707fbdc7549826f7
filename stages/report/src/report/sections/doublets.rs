//! Barcodes that may hold two cells.

use super::{Content, Inputs, SectionKind};
use crate::report::figures::distribution::histogram;
use crate::report::figures::palette;
use crate::report::html::count;
use crate::report::load::{TableFile, table_files};
use crate::report::page::{Block, Figure, Place};
use crate::report::table_view::{Pick, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::{TextTable, number};
use clcc_numerics::stats::median;
use clcc_stage::roles;
use clcc_stage::rows::DoubletRow;

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "doublets",
    title: "Doublets",
    reads: &[(roles::DOUBLETS.any(), "doublets")],
    place: Place::Quality,
    instead: None,
    compose,
};

/// Histograms of the scores and a row per patient.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let mut of_patients = Vec::new();
    for file in table_files::<DoubletRow>(inputs.ctx, roles::DOUBLETS, "tables") {
        let rows = file.rows()?;
        of_patients.push((file, Scores::of(rows)));
    }
    let mut figures = Vec::new();
    for (file, scores) in &of_patients {
        figures.extend(scores.figure(file.patient.as_deref())?);
    }
    let blocks = vec![
        Block::Text(
            "A barcode may hold two cells. Doublets are simulated by adding the counts of two cells drawn at random; a cell's score, from 0 \
             to 1, grows with the share of simulated doublets among its nearest neighbours (Scrublet). Doublets of two cells of one type \
             look like one cell and are not found. No cell is removed: look for clusters that are made of called cells."
                .into(),
        ),
        Block::Figures(figures),
        Block::Table(summary(&of_patients, inputs.params.table_rows)),
    ];
    Ok(Some(blocks))
}

/// Scores of one patient's cells.
struct Scores {
    n_cells: usize,
    /// Scores of cells that are called doublets; `None` where there is no threshold.
    called: Option<Vec<f64>>,
    /// Scores of the others.
    others: Vec<f64>,
}

impl Scores {
    /// Cells without a score are counted only.
    fn of(rows: Vec<DoubletRow>) -> Self {
        let n_cells = rows.len();
        let any_call = rows.iter().any(|row| row.predicted_doublet.is_some());
        let scored = rows.into_iter().filter(|row| !row.doublet_score.is_nan());
        let (called, others): (Vec<_>, Vec<_>) =
            scored.partition(|row| row.predicted_doublet == Some(true));
        let scores = |rows: Vec<DoubletRow>| rows.iter().map(|row| row.doublet_score).collect();
        Self {
            n_cells,
            called: any_call.then(|| scores(called)),
            others: scores(others),
        }
    }

    fn n_called(&self) -> Option<usize> {
        self.called.as_ref().map(Vec::len)
    }

    fn all(&self) -> Vec<f64> {
        let called = self.called.iter().flatten();
        called.chain(&self.others).copied().collect()
    }

    fn figure(&self, patient: Option<&str>) -> StageResult<Option<Figure>> {
        let parts = [
            ("not called", palette::LOW, self.others.clone()),
            (
                "called a doublet",
                palette::HIGH,
                self.called.clone().unwrap_or_default(),
            ),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|part| !part.2.is_empty())
            .map(|(name, colour, scores)| (name.to_string(), colour, scores))
            .collect();
        let (title, whose) = match patient {
            Some(patient) => (format!("Doublet score, {patient}"), patient),
            None => ("Doublet score".to_string(), "all patients"),
        };
        let calls = match self.n_called() {
            Some(n) => format!("{} of them are called doublets.", count(n)),
            None => "The scores of the simulated doublets have no two peaks, so that no threshold follows from them and no cell is \
                     called; the parameter threshold of doublets sets one."
                .to_string(),
        };
        let cells = count(self.n_cells);
        let caption = format!("The {cells} cells of {whose} by their doublet score. {calls}");
        let svg = histogram(&parts, "doublet score of the cell", "cells", None)?;
        Ok(svg.map(|svg| {
            let id = ["doublet score", patient.unwrap_or("")];
            let figure = Figure::new(&id, &title, &caption, &["doublets"], svg);
            match patient {
                Some(patient) => figure.of(patient),
                None => figure,
            }
        }))
    }

    /// Patient, cells, cells with a score, median score, called cells, their share; empty where there is none.
    fn row(&self, patient: Option<&String>) -> Vec<String> {
        let all = self.all();
        let median_score = match all.is_empty() {
            true => String::new(),
            false => number(median(&all)),
        };
        let called = self.n_called().filter(|_| !all.is_empty());
        vec![
            patient.cloned().unwrap_or_else(|| "all".into()),
            self.n_cells.to_string(),
            all.len().to_string(),
            median_score,
            called.map_or(String::new(), |n| n.to_string()),
            called.map_or(String::new(), |n| number(n as f64 / all.len() as f64)),
        ]
    }
}

fn summary(of_patients: &[(TableFile, Scores)], rows: usize) -> TableView {
    let header = [
        "patient",
        "cells",
        "scored",
        "median_score",
        "doublets",
        "share",
    ];
    let table = TextTable {
        notes: Vec::new(),
        header: header.map(String::from).to_vec(),
        rows: of_patients
            .iter()
            .map(|(file, scores)| scores.row(file.patient.as_ref()))
            .collect(),
    };
    let place = match of_patients {
        [(file, _)] => file.published.clone(),
        _ => format!("tables/{}.*.tsv", roles::DOUBLETS.name()),
    };
    TableView::new("Doublets per patient", table, &place, rows, Pick::First)
        .caption("The score and call of every cell are in the tables beside this page.")
}
