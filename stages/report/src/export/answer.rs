//! What was found, beside the data it was found in: dosage of each gene in `var`, of each cell in `obs`.

use std::collections::{BTreeMap, HashMap};

use super::joined;
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::error::StageResult;
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::{Assembly, Duplicates, GeneTable};
use clcc_stage::roles::{Input, Tables};
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DosageCellRow, DosageGeneRow,
    DosagePatientRow,
};

/// A column made of rows: its name, its value in a row, and whether it is there even where no row has one.
type Made<R> = (&'static str, fn(&R) -> Option<f64>, bool);

/// Columns of `var` made of `dosage_genes.tsv`.
const OF_GENES: [Made<DosageGeneRow>; 8] = [
    ("dosage_slope", |g| Some(g.slope), true),
    ("dosage_slope_se", |g| Some(g.se), true),
    ("dosage_slope_posterior", |g| g.slope_posterior, false),
    ("dosage_prob_insensitive", |g| g.prob_insensitive, false),
    ("dosage_prob_escape", |g| g.prob_escape, false),
    ("dosage_lfsr", |g| g.lfsr, false),
    ("dosage_qval", |g| g.qval, false),
    ("dosage_n_patients", |g| Some(g.n_patients as f64), true),
];
/// Columns of `var` made of `dosage_patients.tsv`, of this patient alone.
const OF_PATIENT: [Made<DosagePatientRow>; 3] = [
    ("dosage_patient_slope", |g| Some(g.slope), true),
    ("dosage_patient_slope_se", |g| Some(g.se), true),
    (
        "dosage_patient_prob_insensitive",
        |g| g.prob_insensitive,
        false,
    ),
];
/// Columns of `obs` made of `dosage_cells.tsv`.
const OF_CELLS: [Made<DosageCellRow>; 2] = [
    ("dosage_shortfall", |c| c.shortfall, false),
    ("dosage_shortfall_z", |c| c.shortfall_z, false),
];

/// Adds slopes, posteriors and classes of the genes to `var`, and how far cells fall short of their dosage to `obs`.
/// Where a table says nothing the value is missing.
///
/// # Errors
/// Where a table cannot be read.
pub(super) fn add_dosage(
    data: &mut AnnData,
    patient: &str,
    dosage: &Input<'_, Tables>,
) -> StageResult<()> {
    let genes: Vec<DosageGeneRow> = dosage.rows()?;
    let rows = rows_by(genes.iter().map(|g| g.names.as_str()), &data.var.index);
    add(&mut data.var, &genes, &OF_GENES, &rows);
    let class = rows.iter().map(|row| row.map_or("", |r| &genes[r].class));
    let class = Categorical::from_values(&class.collect::<Vec<_>>());
    data.var.set("dosage_class", Column::Category(class));

    let slopes: Vec<DosagePatientRow> = dosage.rows()?;
    let (patients, names): (Vec<String>, Vec<String>) = slopes
        .iter()
        .map(|g| (g.patient.clone(), g.names.clone()))
        .unzip();
    let rows = joined::rows_of(&data.var.index, patient, &patients, &names);
    add(&mut data.var, &slopes, &OF_PATIENT, &rows);

    let cells: Vec<DosageCellRow> = dosage.rows()?;
    let (patients, names): (Vec<String>, Vec<String>) = cells
        .iter()
        .map(|c| (c.patient.clone(), c.cell.clone()))
        .unzip();
    let rows = joined::rows_of(&data.obs.index, patient, &patients, &names);
    add(&mut data.obs, &cells, &OF_CELLS, &rows);
    Ok(())
}

/// Columns of `var` made of `discordance_genes.tsv`.
const HELD_BACK: [Made<DiscordanceGeneRow>; 2] = [
    (
        "discordance_prob_held_back",
        |g| Some(g.prob_held_back),
        true,
    ),
    ("discordance_log_odds", |g| Some(g.log_odds), true),
];
/// Columns of `obs` made of `discordance_cells.tsv`.
const DISCORDANT: [Made<DiscordanceCellRow>; 3] = [
    ("discordance_prob", |c| Some(c.prob_discordant), true),
    ("discordance_log_odds", |c| Some(c.log_odds), true),
    (
        "discordance_prob_misplaced",
        |c| Some(c.prob_misplaced),
        true,
    ),
];

/// Adds the probability that discordant cells hold a gene back to `var`, that a cell is one of them to `obs`, and to
/// `uns["discordance"]` whether there is such a set at all: `established` (`yes`, `no`; empty where no clone has an
/// altered gene) and the `evidence` of the reported fit. Without evidence the probabilities are those under the
/// hypothesis that there is a set.
///
/// # Errors
/// Where a table cannot be read.
pub(super) fn add_discordance(
    data: &mut AnnData,
    patient: &str,
    discordance: &Input<'_, Tables>,
) -> StageResult<()> {
    let genes: Vec<DiscordanceGeneRow> = discordance.rows()?;
    let rows = rows_by(genes.iter().map(|g| g.names.as_str()), &data.var.index);
    add(&mut data.var, &genes, &HELD_BACK, &rows);

    let cells: Vec<DiscordanceCellRow> = discordance.rows()?;
    let (patients, names): (Vec<String>, Vec<String>) = cells
        .iter()
        .map(|c| (c.patient.clone(), c.cell.clone()))
        .unzip();
    let rows = joined::rows_of(&data.obs.index, patient, &patients, &names);
    add(&mut data.obs, &cells, &DISCORDANT, &rows);

    let fits: Vec<DiscordanceFitRow> = discordance.rows()?;
    let reported = fits.iter().find_map(|f| Some((f.established.as_ref()?, f)));
    let said = reported.map_or("", |(established, _)| established);
    let evidence = reported.map(|(_, f)| ("evidence".to_string(), Uns::F64(f.evidence)));
    let entries = std::iter::once(("established".to_string(), Uns::Str(said.to_string())));
    let entries: BTreeMap<String, Uns> = entries.chain(evidence).collect();
    data.uns.insert("discordance".into(), Uns::Dict(entries));
    Ok(())
}

/// The row of each of `wanted` among `names`.
fn rows_by<'a>(names: impl Iterator<Item = &'a str>, wanted: &[String]) -> Vec<Option<usize>> {
    let row_of: HashMap<&str, usize> = names.zip(0..).collect();
    let row = |w: &String| row_of.get(w.as_str()).copied();
    wanted.iter().map(row).collect()
}

/// Adds those of the columns that the table has.
fn add<R>(frame: &mut Frame, table: &[R], columns: &[Made<R>], rows: &[Option<usize>]) {
    for (name, value, always) in columns {
        if *always || table.iter().any(|row| value(row).is_some()) {
            let of = |row: &Option<usize>| row.and_then(|r| value(&table[r])).unwrap_or(f64::NAN);
            frame.set(name, Column::F64(rows.iter().map(of).collect()));
        }
    }
}

/// Adds `gene_ids`, the Ensembl id of each gene (empty where it has none), if the data do not have them and are of the
/// genome that the built-in table is of.
pub(super) fn add_gene_ids(var: &mut Frame, genome: Option<&str>) {
    if var.columns.contains_key("gene_ids") || genome != Some(Assembly::GRCh38.name()) {
        return;
    }
    let table = GeneTable::grch38();
    let found = table.resolve(&var.index, Duplicates::First);
    let id = |row: Option<usize>| {
        row.and_then(|r| table.genes[r].id.clone())
            .unwrap_or_default()
    };
    let ids: Vec<String> = found.into_iter().map(id).collect();
    if ids.iter().any(|id| !id.is_empty()) {
        var.set("gene_ids", Column::Str(ids));
    }
}
