//! What was found, beside the data it was found in: dosage of each gene in `var`, of each cell in `obs`; probabilities
//! of `discordance` likewise.

use std::collections::{BTreeMap, HashMap};

use super::joined;
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::error::StageResult;
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::{Assembly, Duplicates, GeneTable};
use clcc_data::table::TextTable;
use clcc_stage::roles::{Input, Tables};

/// Columns of `dosage_genes.tsv` and what they are called in `var`.
const OF_GENES: [(&str, &str); 8] = [
    ("slope", "dosage_slope"),
    ("se", "dosage_slope_se"),
    ("slope_posterior", "dosage_slope_posterior"),
    ("prob_insensitive", "dosage_prob_insensitive"),
    ("prob_escape", "dosage_prob_escape"),
    ("lfsr", "dosage_lfsr"),
    ("qval", "dosage_qval"),
    ("n_patients", "dosage_n_patients"),
];
/// Columns of `dosage_patients.tsv`, of this patient alone.
const OF_PATIENT: [(&str, &str); 3] = [
    ("slope", "dosage_patient_slope"),
    ("se", "dosage_patient_slope_se"),
    ("prob_insensitive", "dosage_patient_prob_insensitive"),
];
/// Columns of `dosage_cells.tsv`.
const OF_CELLS: [(&str, &str); 2] = [
    ("shortfall", "dosage_shortfall"),
    ("shortfall_z", "dosage_shortfall_z"),
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
    let genes = dosage.read("dosage_genes.tsv")?;
    let rows = rows_by(&genes.texts("names")?, &data.var.index);
    add(&mut data.var, &genes, &OF_GENES, &rows)?;
    let classes = genes.texts("class")?;
    let class = rows.iter().map(|row| row.map_or("", |r| classes[r]));
    let class = Categorical::from_values(&class.collect::<Vec<_>>());
    data.var.set("dosage_class", Column::Category(class));

    let of_patient = dosage.read("dosage_patients.tsv")?;
    let rows = joined::rows_of(
        &data.var.index,
        patient,
        &owned(&of_patient.texts("patient")?),
        &owned(&of_patient.texts("names")?),
    );
    add(&mut data.var, &of_patient, &OF_PATIENT, &rows)?;

    let cells = dosage.read("dosage_cells.tsv")?;
    let rows = joined::rows_of(
        &data.obs.index,
        patient,
        &owned(&cells.texts("patient")?),
        &owned(&cells.texts("cell")?),
    );
    add(&mut data.obs, &cells, &OF_CELLS, &rows)
}

/// Columns of `discordance_genes.tsv` and what they are called in `var`.
const HELD_BACK: [(&str, &str); 2] = [
    ("prob_held_back", "discordance_prob_held_back"),
    ("log_odds", "discordance_log_odds"),
];
/// Columns of `discordance_cells.tsv` and what they are called in `obs`.
const DISCORDANT: [(&str, &str); 2] = [
    ("prob_discordant", "discordance_prob"),
    ("log_odds", "discordance_log_odds"),
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
    let genes = discordance.read("discordance_genes.tsv")?;
    let rows = rows_by(&genes.texts("names")?, &data.var.index);
    add(&mut data.var, &genes, &HELD_BACK, &rows)?;
    let cells = discordance.read("discordance_cells.tsv")?;
    let rows = joined::rows_of(
        &data.obs.index,
        patient,
        &owned(&cells.texts("patient")?),
        &owned(&cells.texts("cell")?),
    );
    add(&mut data.obs, &cells, &DISCORDANT, &rows)?;

    let fits = discordance.read("discordance_fits.tsv")?;
    let established = fits.texts("established")?;
    let reported = established.iter().position(|e| !e.is_empty());
    let evidence = fits.numbers("evidence")?;
    let said = reported.map_or("", |r| established[r]);
    let of = |r: usize| ("evidence".to_string(), Uns::F64(evidence[r]));
    let entries = std::iter::once(("established".to_string(), Uns::Str(said.to_string())));
    let entries: BTreeMap<String, Uns> = entries.chain(reported.map(of)).collect();
    data.uns.insert("discordance".into(), Uns::Dict(entries));
    Ok(())
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_string()).collect()
}

/// The row of each of `wanted` among `names`.
fn rows_by(names: &[&str], wanted: &[String]) -> Vec<Option<usize>> {
    let row_of: HashMap<&str, usize> = names.iter().copied().zip(0..).collect();
    wanted
        .iter()
        .map(|w| row_of.get(w.as_str()).copied())
        .collect()
}

/// Adds those of the columns that the table has.
fn add(
    frame: &mut Frame,
    table: &TextTable,
    columns: &[(&str, &str)],
    rows: &[Option<usize>],
) -> StageResult<()> {
    for (column, name) in columns {
        if table.position(column).is_none() {
            continue;
        }
        let values = table.numbers(column)?;
        let of_rows = rows.iter().map(|row| row.map_or(f64::NAN, |r| values[r]));
        frame.set(name, Column::F64(of_rows.collect()));
    }
    Ok(())
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
