//! Quality of the cells that went in.

use super::{Inputs, Part, other_tables, table_blocks};
use crate::report::figures::distribution::{Scale, violins};
use crate::report::load::{TableFile, stack, tables, texts};
use crate::report::page::{Block, Figure, Section, Tone};
use crate::report::table_view::{Pick, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;

const ID: &str = "qc";
const TITLE: &str = "Quality of the cells";

const MEASURES: [(&str, &str, &str, Scale); 3] = [
    (
        "total_counts",
        "Transcripts per cell",
        "counts per cell (log scale)",
        Scale::Log10,
    ),
    (
        "n_genes_by_counts",
        "Genes per cell",
        "genes with a count (log scale)",
        Scale::Log10,
    ),
    (
        "pct_counts_mt",
        "Mitochondrial share",
        "% of counts",
        Scale::Linear,
    ),
];

/// Violins per patient and the integrity checks.
///
/// # Errors
/// Where a table cannot be read or a figure cannot be drawn.
pub(crate) fn part(inputs: &Inputs<'_, '_>) -> StageResult<Part> {
    let files = tables(inputs.ctx, roles::QC.any(), "tables/qc.tsv")?;
    let with_expr = inputs.patients.iter().any(|p| p.n_genes.is_some());
    if files.is_empty() && !with_expr {
        return Ok(Section::absent(ID, TITLE, "preprocess").into());
    }
    let mut blocks = vec![Block::Text(
        "One violin a patient: its width is the share of cells at that value, the box spans the middle half of the cells, and the \
         line in it is the median. No cell is removed unless the workflow asks for it."
            .into(),
    )];
    blocks.extend(failed_checks(&files)?);
    blocks.push(Block::Figures(figures(inputs)?));
    blocks.extend(table_blocks(
        &files,
        "qc_checks",
        "Integrity checks",
        "What was checked on each patient's matrix, and the verdict.",
        inputs.params,
    )?);
    blocks.extend(summary(&files, inputs)?);
    blocks.extend(other_tables(
        &files,
        &["qc_checks", "qc_summary", "qc_cells"],
        inputs.params,
    )?);
    Ok(Section {
        id: ID,
        title: TITLE,
        blocks,
    }
    .into())
}

fn figures(inputs: &Inputs<'_, '_>) -> StageResult<Vec<Figure>> {
    let mut out = Vec::new();
    for (column, title, label, scale) in MEASURES {
        let groups: Vec<(String, Vec<f64>)> = inputs
            .patients
            .iter()
            .filter_map(|p| Some((p.name.clone(), p.obs.numbers(column).ok()?)))
            .collect();
        if let Some(svg) = violins(&groups, label, scale)? {
            let caption = format!("Distribution of `{column}` over the cells of each patient, before genes without a position were dropped.").replace('`', "");
            out.push(Figure::new(
                &["qc", column],
                title,
                &caption,
                &["expr"],
                svg,
            ));
        }
    }
    Ok(out)
}

/// `metric, value` tables of the patients beside one another: a row a metric, a column a patient.
fn summary(files: &[TableFile], inputs: &Inputs<'_, '_>) -> StageResult<Vec<Block>> {
    let mut stacks = stack(files, "qc_summary")?;
    let [(long, place)] = stacks.as_mut_slice() else {
        return table_blocks(
            files,
            "qc_summary",
            "Summary per patient",
            "",
            inputs.params,
        );
    };
    if long.header != ["patient", "metric", "value"] {
        return table_blocks(
            files,
            "qc_summary",
            "Summary per patient",
            "",
            inputs.params,
        );
    }
    let mut wide = TextTable {
        notes: std::mem::take(&mut long.notes),
        header: vec!["metric".into()],
        rows: Vec::new(),
    };
    for row in &long.rows {
        if !wide.header[1..].contains(&row[0]) {
            wide.header.push(row[0].clone());
        }
    }
    for row in &long.rows {
        let column = wide
            .header
            .iter()
            .skip(1)
            .position(|p| *p == row[0])
            .map_or(0, |c| c + 1);
        let at = wide
            .rows
            .iter()
            .position(|r| r[0] == row[1])
            .unwrap_or_else(|| {
                let mut new = vec![String::new(); wide.header.len()];
                new[0] = row[1].clone();
                wide.rows.push(new);
                wide.rows.len() - 1
            });
        wide.rows[at][column] = row[2].clone();
    }
    Ok(vec![Block::Table(TableView::new(
        "Summary per patient",
        wide,
        place,
        inputs.params.table_rows,
        Pick::First,
    ))])
}

/// A warning that names the checks that did not pass.
fn failed_checks(files: &[TableFile]) -> StageResult<Option<Block>> {
    let mut failed = Vec::new();
    for (table, _) in stack(files, "qc_checks")? {
        let (Some(checks), Some(verdicts)) =
            (texts(&table, &["check"]), texts(&table, &["verdict"]))
        else {
            continue;
        };
        let patients = texts(&table, &["patient"]);
        for (i, verdict) in verdicts.iter().enumerate() {
            if !matches!(
                verdict.to_ascii_lowercase().as_str(),
                "ok" | "pass" | "passed" | "info" | "true" | ""
            ) {
                let patient = patients
                    .as_ref()
                    .map(|p| format!("{}: ", p[i]))
                    .unwrap_or_default();
                failed.push(format!("{patient}`{}` ({verdict})", checks[i]));
            }
        }
    }
    if failed.is_empty() {
        return Ok(None);
    }
    let more = failed.len().saturating_sub(8);
    failed.truncate(8);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Ok(Some(Block::Note(
        Tone::Warning,
        format!(
            "Checks that deserve a look: {}{rest}. The table below has the details.",
            failed.join(", ")
        ),
    )))
}
