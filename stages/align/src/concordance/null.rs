//! The null of the classes: labels permuted within patient and cell type, so that each class keeps
//! its share of every cell type of every patient.

use std::collections::BTreeMap;
use std::path::Path;

use super::Class;
use clcc_data::error::StageResult;
use clcc_numerics::rng::Rng;
use clcc_stage::rows::ConcordanceNullRow;
use clcc_stage::tables::Table;

/// Permutes the labels of the classed cells within their groups, `n` times.
///
/// `groups[i]` is the patient and cell type of cell `i`. Cells without a class stay without one.
pub fn permuted(
    classes: &[Option<Class>],
    groups: &[(u32, &str)],
    n: usize,
    seed: u64,
) -> Vec<Vec<Option<Class>>> {
    let mut members: BTreeMap<(u32, &str), Vec<usize>> = BTreeMap::new();
    for i in (0..classes.len()).filter(|&i| classes[i].is_some()) {
        members.entry(groups[i]).or_default().push(i);
    }
    (0..n as u64)
        .map(|k| {
            let mut rng = Rng::new(seed, "concordance.null", &[k]);
            let mut out = vec![None; classes.len()];
            for rows in members.values() {
                for (&to, from) in rows.iter().zip(rng.permutation(rows.len())) {
                    out[to] = classes[rows[from]];
                }
            }
            out
        })
        .collect()
}

/// Writes the labels of every cell, one letter per permutation: `c`, `i`, `d`, or `-`.
pub(super) fn write(
    path: &Path,
    cells: &[String],
    permuted: &[Vec<Option<Class>>],
) -> StageResult<()> {
    let letter = |c: Option<Class>| match c {
        Some(Class::Concordant) => 'c',
        Some(Class::Intermediate) => 'i',
        Some(Class::Discordant) => 'd',
        None => '-',
    };
    let rows = cells
        .iter()
        .enumerate()
        .map(|(i, cell)| ConcordanceNullRow {
            cell: cell.clone(),
            labels: permuted.iter().map(|p| letter(p[i])).collect(),
        });
    let note = "concordance classes permuted within patient and cell type, one letter per permutation: c concordant, i intermediate, d discordant, - none; cells in cohort order";
    Table::new(rows.collect()).note(note).write_as(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_keeps_its_labels() {
        let class = |i: usize| [Class::Concordant, Class::Intermediate, Class::Discordant][i % 3];
        let classes: Vec<Option<Class>> = (0..60).map(|i| (i % 5 != 0).then(|| class(i))).collect();
        let groups: Vec<(u32, &str)> = (0..60)
            .map(|i| ((i / 30) as u32, if i % 4 == 0 { "T" } else { "B" }))
            .collect();
        let found = permuted(&classes, &groups, 20, 1);
        let count = |c: &[Option<Class>], group: (u32, &str), class: Option<Class>| {
            (0..60)
                .filter(|&i| groups[i] == group && c[i] == class)
                .count()
        };
        for p in &found {
            for group in [(0, "T"), (0, "B"), (1, "T"), (1, "B")] {
                for k in 0..3 {
                    let c = Some(class(k));
                    assert_eq!(count(p, group, c), count(&classes, group, c));
                }
            }
            assert!((0..60).all(|i| p[i].is_none() == classes[i].is_none()));
        }
        assert!(found.iter().any(|p| *p != classes) && found[0] != found[1]);
    }
}
