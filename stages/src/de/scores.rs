//! Do cells of high copy-number burden score differently? Mann-Whitney on every score of a cell.

use std::path::Path;

use crate::error::StageResult;
use crate::frame::{Column, Frame};
use crate::stats::{PValue, RankSumOptions, auc, benjamini_hochberg, median, rank_sum_dense};
use crate::table::write_tsv;

use super::write::who;

/// Scores of `obs` that are compared, where there are such columns.
pub(super) const SCORES: [&str; 9] = [
    "distance",
    "S_score",
    "G2M_score",
    "cnv_malignancy",
    "cnv_correlation",
    "shortfall_z",
    "total_counts",
    "n_genes_by_counts",
    "pct_counts_mt",
];

struct Row<'a> {
    score: &'a str,
    patient: String,
    sizes: [usize; 2],
    medians: [f64; 2],
    auc: f64,
    z: f64,
    p: PValue,
    adjusted: f64,
}

/// Writes `burden_scores.tsv`: cells on side 1 (high burden) against side 2 (low) for each score,
/// per patient and pooled.
pub(super) fn table(
    dir: &Path,
    patients: &[String],
    patient_of: &[u32],
    side: &[u8],
    scores: &[(String, Vec<f64>)],
    burden_quantile: f64,
) -> StageResult<()> {
    let mut sets: Vec<Option<usize>> = (0..patients.len()).map(Some).collect();
    if patients.len() > 1 {
        sets.push(None);
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    for patient in sets {
        let first = rows.len();
        for (name, values) in scores {
            let of = |s: u8| -> Vec<f64> {
                (0..side.len())
                    .filter(|&i| {
                        side[i] == s
                            && values[i].is_finite()
                            && patient.is_none_or(|p| p == patient_of[i] as usize)
                    })
                    .map(|i| values[i])
                    .collect()
            };
            let (high, low) = (of(1), of(2));
            if high.len() < 2 || low.len() < 2 {
                continue;
            }
            let (z, p) = rank_sum_dense(&high, &low, RankSumOptions::SCIPY);
            let all: Vec<f64> = high.iter().chain(&low).copied().collect();
            let labels: Vec<bool> = (0..all.len()).map(|i| i < high.len()).collect();
            rows.push(Row {
                score: name,
                patient: who(patients, patient),
                sizes: [high.len(), low.len()],
                medians: [median(&high), median(&low)],
                auc: auc(&all, &labels),
                z,
                p,
                adjusted: f64::NAN,
            });
        }
        let p: Vec<f64> = rows[first..].iter().map(|r| r.p.p).collect();
        for (row, q) in rows[first..].iter_mut().zip(benjamini_hochberg(&p)) {
            row.adjusted = q;
        }
    }
    let mut frame = Frame::new(rows.iter().map(|r| r.score.to_string()).collect());
    frame.set(
        "patient",
        Column::Str(rows.iter().map(|r| r.patient.clone()).collect()),
    );
    let int = |k: usize| Column::I64(rows.iter().map(|r| r.sizes[k] as i64).collect());
    let num = |f: &dyn Fn(&Row<'_>) -> f64| Column::F64(rows.iter().map(f).collect());
    frame.set("n_high", int(0));
    frame.set("n_low", int(1));
    frame.set("median_high", num(&|r| r.medians[0]));
    frame.set("median_low", num(&|r| r.medians[1]));
    frame.set("auc", num(&|r| r.auc));
    frame.set("z", num(&|r| r.z));
    frame.set("pvals", num(&|r| r.p.p));
    frame.set("pvals_adj", num(&|r| r.adjusted));
    frame.set("log10_pvals", num(&|r| r.p.log10));
    let title = format!(
        "scores of cells in the highest against the lowest {burden_quantile} of copy-number burden within their patient"
    );
    let notes = [
        title.as_str(),
        "test: Mann-Whitney (scipy's conventions: tie and continuity corrections, normal approximation), two-sided; auc: probability that a high-burden cell scores more; pvals_adj: Benjamini-Hochberg over the scores of one patient",
        "cells of one tumour are not independent samples: the p-values are too small",
    ];
    write_tsv(&dir.join("burden_scores.tsv"), "score", &frame, &notes)
}
