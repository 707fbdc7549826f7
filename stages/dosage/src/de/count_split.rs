//! Effect of double use of counts: the same comparison on the held-out part of the counts
//! (`preprocess.count_split`) and on the part that the classes were learnt on.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_numerics::stats::spearman;
use clcc_stage::rows::CountSplitRow;
use clcc_stage::tables::Table;

use super::family::Tested;
use super::params::DeParams;
use super::write::who;

/// Numbers of genes found without the split, with it, and by both in the same direction.
fn found_by(with: &Tested, without: &Tested, limit: f64, params: &DeParams) -> [usize; 3] {
    let found = |t: &Tested| -> Vec<i8> {
        (0..t.genes.len())
            .map(|g| t.direction(g, params.fdr, limit))
            .collect()
    };
    let (a, b) = (found(with), found(without));
    let n = |f: &dyn Fn(i8, i8) -> bool| a.iter().zip(&b).filter(|(x, y)| f(**x, **y)).count();
    [
        n(&|_, without| without != 0),
        n(&|with, _| with != 0),
        n(&|with, without| with != 0 && with == without),
    ]
}

/// Write `count_split.tsv`. Returns the numbers of genes found (with, without) the split at the lowest
/// threshold in the last set of cells, which is the pooled one where there are several patients.
pub(super) fn table(
    dir: &Path,
    held_out: &[&Tested],
    learnt: &[&Tested],
    patients: &[String],
    params: &DeParams,
) -> StageResult<Option<(usize, usize)>> {
    let mut rows = Vec::new();
    let mut last = None;
    for (with, without) in held_out.iter().zip(learnt) {
        debug_assert_eq!(with.patient, without.patient, "the same comparisons");
        if !with.made() {
            continue;
        }
        let z = |t: &Tested| t.genes.iter().map(|g| g.z).collect::<Vec<f64>>();
        let agreement = spearman(&z(with), &z(without)).r;
        for &limit in &params.log2fc {
            let found = found_by(with, without, limit, params);
            let [n_genes_without_split, n_genes_with_split, n_genes_both] = found.map(|n| n as i64);
            rows.push(CountSplitRow {
                patient: who(patients, with.patient),
                log2fc_threshold: limit,
                n_genes_without_split,
                n_genes_with_split,
                n_genes_both,
                spearman_scores: agreement,
            });
            if limit == params.log2fc[0] {
                last = Some((found[1], found[0]));
            }
        }
    }
    let note = format!(
        "genes found between discordant and concordant cells at an FDR below {} and a log2 fold change beyond the threshold, on the half of the counts that the classes were learnt on (without_split: the same counts used twice) and on the half that was held out (with_split)",
        params.fdr
    );
    Table::new(rows)
        .note(note)
        .note("counts were thinned binomially, half to each part (Neufeld et al. 2022): given a cell's rates the parts of a Poisson count are independent; both parts have half the depth, so the two columns compare like with like")
        .note("all other tables of this stage test on the held-out part")
        .note(params.test_note())
        .write(dir)?;
    Ok(last)
}
