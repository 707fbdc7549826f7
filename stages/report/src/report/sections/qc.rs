//! Quality of the cells that went in.

use super::{Content, Inputs, SectionKind, other_tables, table_blocks};
use crate::report::figures::distribution::{Scale, violins};
use crate::report::load::{TableFile, rows, stack, tables};
use crate::report::page::{Block, Figure, Place, Tone};
use crate::report::table_view::{Pick, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::{TextTable, number};
use clcc_stage::roles;
use clcc_stage::rows::{QcCellRow, QcCheckRow, QcMetricRow};
use clcc_stage::tables::Row as _;

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

pub(crate) const SECTION: SectionKind = SectionKind {
    id: "qc",
    title: "Quality of the cells",
    reads: &[
        (roles::EXPR.any(), "preprocess"),
        (roles::QC.any(), "preprocess"),
    ],
    place: Place::Quality,
    instead: None,
    compose,
};

/// Violins per patient and the integrity checks.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Option<Content>> {
    let files = tables(inputs.ctx, roles::QC)?;
    let mut blocks = vec![Block::Text(
        "One violin a patient: its width is the share of cells at that value, the box spans the middle half of the cells, and the \
         line in it is the median. No cell is removed unless the workflow asks for it."
            .into(),
    )];
    blocks.extend(failed_checks(&files)?);
    blocks.push(Block::Figures(figures(inputs)?));
    blocks.extend(table_blocks(
        &files,
        QcCheckRow::SPEC.name(),
        "Integrity checks",
        "What was checked on each patient's matrix, and the verdict.",
        inputs.params,
    )?);
    blocks.extend(summary(&files, inputs)?);
    let known = [QcCheckRow::SPEC, QcMetricRow::SPEC, QcCellRow::SPEC];
    blocks.extend(other_tables(
        &files,
        &known.map(|t| t.name()),
        inputs.params,
    )?);
    Ok(Some(blocks))
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

/// The summaries of the patients beside one another: a row a metric, a column a patient.
fn summary(files: &[TableFile], inputs: &Inputs<'_, '_>) -> StageResult<Vec<Block>> {
    const TITLE: &str = "Summary per patient";
    let name = QcMetricRow::SPEC.name();
    let (long, place) = match <[_; 1]>::try_from(stack(files, name)?) {
        Ok([one]) if one.0.position("patient").is_some() => one,
        _ => return table_blocks(files, name, TITLE, "", inputs.params),
    };
    let patients = long.texts("patient")?;
    let mut header = vec!["metric".to_string()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (patient, row) in patients.into_iter().zip(QcMetricRow::parse(&long)?) {
        let column = header.iter().position(|p| p == patient);
        let column = column.unwrap_or_else(|| {
            header.push(patient.to_string());
            header.len() - 1
        });
        let known = rows.iter().position(|r| r[0] == row.metric);
        let at = known.unwrap_or_else(|| {
            rows.push(vec![row.metric.clone()]);
            rows.len() - 1
        });
        rows[at].resize(column, String::new());
        rows[at].push(value_text(row.value));
    }
    rows.iter_mut()
        .for_each(|row| row.resize(header.len(), String::new()));
    let notes = long.notes.clone();
    let wide = TextTable {
        notes,
        header,
        rows,
    };
    let view = TableView::new(TITLE, wide, &place, inputs.params.table_rows, Pick::First);
    Ok(vec![Block::Table(view)])
}

fn value_text(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        number(value)
    }
}

/// A warning that names the checks that did not pass.
fn failed_checks(files: &[TableFile]) -> StageResult<Option<Block>> {
    let mut failed = Vec::new();
    for (file, checks) in rows::<QcCheckRow>(files)? {
        let patient = file.patient.as_ref().map(|p| format!("{p}: "));
        let patient = patient.unwrap_or_default();
        for check in checks.iter().filter(|check| check.verdict != "pass") {
            failed.push(format!("{patient}`{}` ({})", check.check, check.verdict));
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
