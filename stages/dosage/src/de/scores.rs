//! Mann-Whitney tests of cell scores between two groups of cells.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_numerics::stats::{
    PValue, RankSumOptions, auc, benjamini_hochberg, mean, median, rank_sum_dense,
};
use clcc_stage::rows::CellScoreRow;
use clcc_stage::tables::{Family, Table};

use super::write::who;

/// Scores to compare between cells of high and of low burden, where the columns exist.
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

/// Mean |X_cnv| of a cell's cluster (`infercnvpy.tl.cnv_score`).
pub(super) const CNV_SCORE: &str = "cnv_score";

/// A comparison of scores between two groups of cells, and its table.
pub(super) struct Question<'a> {
    pub(super) file: &'static str,
    /// Title, the first line of the table.
    pub(super) title: String,
    /// Names of sides 1 and 2 in the columns.
    pub(super) names: [&'static str; 2],
    /// Side of each cell; 0 is neither.
    pub(super) side: &'a [u8],
    pub(super) scores: &'a [(String, Vec<f64>)],
}

impl<'a> Question<'a> {
    /// Compare cells of the highest with cells of the lowest burden, by every score.
    pub(super) fn burden(side: &'a [u8], scores: &'a [(String, Vec<f64>)], quantile: f64) -> Self {
        Self {
            file: "burden_scores.tsv",
            title: format!(
                "scores of cells in the highest against the lowest {quantile} of copy-number burden within their patient"
            ),
            names: ["high", "low"],
            side,
            scores,
        }
    }

    /// Compare cancer with normal cells, by their copy-number signal (CLCC, section 7.2.2).
    pub(super) fn origin(side: &'a [u8], scores: &'a [(String, Vec<f64>)]) -> Self {
        Self {
            file: "cancer_vs_normal_scores.tsv",
            title: "copy-number scores of all cancer cells against all normal cells (cancer_vs_normal); cnv_score: mean |X_cnv| of the cell's cluster, one value a cluster (infercnvpy.tl.cnv_score); cnv_burden: mean |X_cnv| of the cell itself"
                .into(),
            names: ["cancer", "normal"],
            side,
            scores,
        }
    }
}

struct Row<'a> {
    score: &'a str,
    patient: String,
    sizes: [usize; 2],
    means: [f64; 2],
    medians: [f64; 2],
    auc: f64,
    z: f64,
    p: PValue,
    adjusted: f64,
}

impl<'a> Row<'a> {
    /// Test one score; `None` with fewer than two cells on a side.
    fn new(score: &'a str, patient: String, first: &[f64], second: &[f64]) -> Option<Self> {
        if first.len() < 2 || second.len() < 2 {
            return None;
        }
        let (z, p) = rank_sum_dense(first, second, RankSumOptions::SCIPY);
        let all: Vec<f64> = first.iter().chain(second).copied().collect();
        let labels: Vec<bool> = (0..all.len()).map(|i| i < first.len()).collect();
        Some(Self {
            score,
            patient,
            sizes: [first.len(), second.len()],
            means: [mean(first), mean(second)],
            medians: [median(first), median(second)],
            auc: auc(&all, &labels),
            z,
            p,
            adjusted: f64::NAN,
        })
    }
}

/// Write the table of a question: cells on side 1 against side 2 for each score, per patient and
/// pooled.
pub(super) fn table(
    dir: &Path,
    patients: &[String],
    patient_of: &[u32],
    question: &Question<'_>,
) -> StageResult<()> {
    let side = question.side;
    let mut sets: Vec<Option<usize>> = (0..patients.len()).map(Some).collect();
    if patients.len() > 1 {
        sets.push(None);
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    for patient in sets {
        let first = rows.len();
        for (name, values) in question.scores {
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
            rows.extend(Row::new(name, who(patients, patient), &of(1), &of(2)));
        }
        let p: Vec<f64> = rows[first..].iter().map(|r| r.p.p).collect();
        for (row, q) in rows[first..].iter_mut().zip(benjamini_hochberg(&p)) {
            row.adjusted = q;
        }
    }
    write(dir, question, &rows)
}

fn write(dir: &Path, question: &Question<'_>, rows: &[Row<'_>]) -> StageResult<()> {
    let columns = |what: &str| Family::names(question.names.map(|name| format!("{what}_{name}")));
    let [n, mean, median] = ["n", "mean", "median"].map(columns);
    let row = |r: &Row<'_>| CellScoreRow {
        score: r.score.to_string(),
        patient: r.patient.clone(),
        n: Family::new(&n, r.sizes.map(|n| n as i64).to_vec()),
        mean: Family::new(&mean, r.means.to_vec()),
        median: Family::new(&median, r.medians.to_vec()),
        auc: r.auc,
        z: r.z,
        pvals: r.p.p,
        pvals_adj: r.adjusted,
        log10_pvals: r.p.log10,
    };
    let [first, second] = question.names;
    let test = format!(
        "test: Mann-Whitney (scipy's conventions: tie and continuity corrections, normal approximation), two-sided; auc: probability that a {first} cell scores more than a {second} one; pvals_adj: Benjamini-Hochberg over the scores of one patient"
    );
    Table::new(rows.iter().map(row).collect())
        .keep(n.iter().chain(mean.iter()).chain(median.iter()))
        .note(&question.title)
        .note(test)
        .note("cells of one tumour are not independent samples: the p-values are too small")
        .write_as(&dir.join(question.file))
}
