//! The paper's Table 2: cells of each class and genes that differ between the classes, per patient.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_stage::rows::DiscordancePatientRow;
use clcc_stage::tables::{Family, Table};

use super::family::Tested;
use super::params::DeParams;
use super::write::{found_columns, who};

/// Write `discordance_by_patient.tsv`: one row per patient, then all of them together where there are
/// several. `tested` are the comparisons of discordant with concordant cells; where one could not be
/// made, its numbers of genes are missing.
pub(super) fn table(
    dir: &Path,
    tested: &[&Tested],
    patients: &[String],
    patient_of: &[u32],
    class: &[String],
    params: &DeParams,
) -> StageResult<()> {
    let columns = found_columns(&["genes", "escape", "compensation"], params);
    let row = |t: &&Tested| {
        let here = |i: &usize| t.patient.is_none_or(|p| p == patient_of[*i] as usize);
        let classes: Vec<&str> = (0..class.len())
            .filter(here)
            .map(|i| class[i].as_str())
            .collect();
        let cells = |name: &str| classes.iter().filter(|c| **c == name).count() as i64;
        let found = |&least: &f64| {
            let n = |sign: i8| t.n_found(sign, params.fdr, least) as f64;
            let [escape, compensation] = if t.made() {
                [n(1), n(-1)]
            } else {
                [f64::NAN; 2]
            };
            [escape + compensation, escape, compensation]
        };
        DiscordancePatientRow {
            patient: who(patients, t.patient),
            n_cancer: classes.len() as i64 - cells(""),
            n_concordant: cells("concordant"),
            n_intermediate: cells("intermediate"),
            n_discordant: cells("discordant"),
            n_found: Family::new(&columns, params.log2fc.iter().flat_map(found).collect()),
        }
    };
    let genes = format!(
        "n_escape_T, n_compensation_T: genes higher, lower in discordant than in concordant cells at an FDR below {} and a log2 fold change beyond T; n_genes_T: both; missing where the classes could not be compared",
        params.fdr
    );
    Table::new(tested.iter().map(row).collect())
        .keep(columns.iter())
        .note("cells in each concordance class and genes that tell the outer classes apart, per patient (Table 2 of the CLCC paper); n_cancer counts the cells that have a class")
        .note(genes)
        .note(params.test_note())
        .note("a gene that is counted differs between classes, of which there are always as many cells: it need not lie in a gained or lost region, nor escape anything (escape_genes.tsv says where it lies)")
        .write(dir)
}
