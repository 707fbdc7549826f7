//! Permutation null of the discordance comparison: numbers of genes found with class labels permuted
//! within patient and cell type, so that each class keeps its share of every cell type.

use std::path::Path;

use clcc_data::error::{StageError, StageResult};
use clcc_numerics::stats::{
    Contrast, GeneTest, benjamini_hochberg, log2_fold_change, quantile, sparse_wilcoxon,
};
use clcc_stage::cohort::Cohort;
use clcc_stage::rows::{ConcordanceNullRow, DiscordanceNullRow};
use clcc_stage::tables::{Row as _, Table};

use super::contrasts::Kind;
use super::family::{Tested, direction};
use super::params::DeParams;
use super::write::who;
use crate::by_gene::ByGene;

/// Read the side of every cell under each permutation, from the role `concordance_null`: one letter per
/// permutation, `d` discordant, `c` concordant, else neither.
///
/// # Errors
/// [`StageError::Data`] where the rows are not the cells of `expr`.
pub(super) fn read(path: &Path, cells: &[String]) -> StageResult<Vec<Vec<u8>>> {
    let rows = ConcordanceNullRow::read(path)?;
    if !rows.iter().map(|row| &row.cell).eq(cells) {
        return Err(StageError::format(
            path,
            "",
            "expected the cells of `expr`, in their order",
        ));
    }
    let n = rows.first().map_or(0, |row| row.labels.len());
    Ok((0..n)
        .map(|k| {
            rows.iter()
                .map(|row| match row.labels.as_bytes().get(k) {
                    Some(b'd') => 1,
                    Some(b'c') => 2,
                    _ => 0,
                })
                .collect()
        })
        .collect())
}

/// Numbers of genes found under each permutation, `[threshold][permutation]`, in one set of cells.
fn counts(
    cohort: &Cohort,
    x: &ByGene,
    patient: Option<usize>,
    sides: &[Vec<u8>],
    params: &DeParams,
) -> StageResult<Vec<Vec<f64>>> {
    let rows: Vec<usize> = (0..cohort.n_cells())
        .filter(|&i| {
            patient.is_none_or(|p| p == cohort.patient_of[i] as usize)
                && sides.iter().any(|s| s[i] != 0)
        })
        .collect();
    let contrasts: Vec<Contrast> = sides
        .iter()
        .map(|s| Contrast {
            side: rows.iter().map(|&i| s[i]).collect(),
        })
        .collect();
    // p-value and fold change, `[permutation][gene]`.
    let mut found = vec![Vec::with_capacity(x.n_genes()); contrasts.len()];
    x.blocks(&rows, &mut |genes| {
        // A few permutations at a time, to bound the memory of their tests.
        for (part, found) in contrasts.chunks(8).zip(found.chunks_mut(8)) {
            let tests = sparse_wilcoxon(genes, part, params.rank_sum());
            for (tests, found) in tests.iter().zip(found) {
                let change = |t: &GeneTest| log2_fold_change(t.mean_group, t.mean_reference);
                found.extend(tests.iter().map(|t| (t.p.p, change(t))));
            }
        }
        Ok(())
    })?;
    let mut out = vec![Vec::new(); params.log2fc.len()];
    for tests in found {
        let q = benjamini_hochberg(&tests.iter().map(|t| t.0).collect::<Vec<_>>());
        for (found, &limit) in out.iter_mut().zip(&params.log2fc) {
            let is = |(t, q): &(&(f64, f64), &f64)| direction(**q, t.1, params.fdr, limit) != 0;
            found.push(tests.iter().zip(&q).filter(is).count() as f64);
        }
    }
    Ok(out)
}

/// Compare the `n` genes found at a threshold with those found under permuted labels.
fn null_row(patient: String, limit: f64, n: f64, null: &[f64]) -> DiscordanceNullRow {
    let at_least = null.iter().filter(|&&v| v >= n).count() as f64;
    let median = clcc_numerics::stats::median(null);
    DiscordanceNullRow {
        patient,
        log2fc_threshold: limit,
        n_genes: n,
        null_median: median,
        null_95: quantile(null, 0.95),
        null_max: quantile(null, 1.0),
        pvals: (1.0 + at_least) / (1.0 + null.len() as f64),
        share_explained: if n > 0.0 {
            (median / n).min(1.0)
        } else {
            f64::NAN
        },
    }
}

/// Write `discordance_null.tsv`. Returns the pooled (or only) share of findings that the null explains
/// at the lowest threshold.
pub(super) fn table(
    dir: &Path,
    cohort: &Cohort,
    x: &ByGene,
    tested: &[Tested],
    sides: &[Vec<u8>],
    params: &DeParams,
) -> StageResult<Option<f64>> {
    if sides.is_empty() {
        return Ok(None);
    }
    let mut rows = Vec::new();
    let mut explained = None;
    for t in tested
        .iter()
        .filter(|t| t.comparison.kind == Kind::Discordance && t.made())
    {
        let null = counts(cohort, x, t.patient, sides, params)?;
        for (&limit, null) in params.log2fc.iter().zip(&null) {
            let n = t.n_found(1, params.fdr, limit) + t.n_found(-1, params.fdr, limit);
            let row = null_row(who(&cohort.patients, t.patient), limit, n as f64, null);
            if limit == params.log2fc[0] {
                explained = Some(row.share_explained).filter(|v| v.is_finite());
            }
            rows.push(row);
        }
    }
    let note = format!(
        "genes found between discordant and concordant cells (n_genes: FDR below {}, log2 fold change beyond the threshold), and how many are found under {} permutations of the labels within patient and cell type",
        params.fdr,
        sides.len()
    );
    Table::new(rows)
        .note(note)
        .note("the permuted classes keep their share of every cell type of every patient: what is found there are differences between cell types, not between classes; share_explained is null_median / n_genes")
        .note("pvals: share of permutations with at least as many genes, counting the observed labels among them")
        .note(params.test_note())
        .write(dir)?;
    Ok(explained)
}
