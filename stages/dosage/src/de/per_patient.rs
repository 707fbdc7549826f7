//! The paper's Table 2: cells of each class and genes that differ between the classes, per patient.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;

use super::family::Tested;
use super::params::DeParams;
use super::write::who;

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
    let mut frame = Frame::new(tested.iter().map(|t| who(patients, t.patient)).collect());
    let cells = |t: &Tested, counts: &dyn Fn(&str) -> bool| {
        let here = |i: &usize| t.patient.is_none_or(|p| p == patient_of[*i] as usize);
        let n = (0..class.len()).filter(here).filter(|&i| counts(&class[i]));
        n.count() as i64
    };
    let mut count = |name: &str, counts: &dyn Fn(&str) -> bool| {
        let column = tested.iter().map(|t| cells(t, counts)).collect();
        frame.set(name, Column::I64(column));
    };
    count("n_cancer", &|c| !c.is_empty());
    for name in ["concordant", "intermediate", "discordant"] {
        count(&format!("n_{name}"), &|c| c == name);
    }
    for &least in &params.log2fc {
        let found = |sign: i8| -> Vec<f64> {
            let n = |t: &&Tested| {
                if t.made() {
                    t.n_found(sign, params.fdr, least) as f64
                } else {
                    f64::NAN
                }
            };
            tested.iter().map(n).collect()
        };
        let (escape, compensation) = (found(1), found(-1));
        let both = escape.iter().zip(&compensation).map(|(a, b)| a + b);
        frame.set(&format!("n_genes_{least}"), Column::F64(both.collect()));
        frame.set(&format!("n_escape_{least}"), Column::F64(escape));
        frame.set(
            &format!("n_compensation_{least}"),
            Column::F64(compensation),
        );
    }
    let genes = format!(
        "n_escape_T, n_compensation_T: genes higher, lower in discordant than in concordant cells at an FDR below {} and a log2 fold change beyond T; n_genes_T: both; missing where the classes could not be compared",
        params.fdr
    );
    let notes = [
        "cells in each concordance class and genes that tell the outer classes apart, per patient (Table 2 of the CLCC paper); n_cancer counts the cells that have a class",
        &genes,
        &params.test_note(),
        "a gene that is counted differs between classes, of which there are always as many cells: it need not lie in a gained or lost region, nor escape anything (escape_genes.tsv says where it lies)",
    ];
    write_tsv(
        &dir.join("discordance_by_patient.tsv"),
        "patient",
        &frame,
        &notes,
    )
}
