//! Retrieval of test cells among all of them, and within groups of the same kind.
//!
//! Among all test cells a hit may come from the patient or the cell type alone. Within one **group**
//! (one patient, one cell type, cancer or normal) both are the same for all cells of the gallery, so
//! only the cell itself can be recognised.

use std::collections::BTreeMap;

use ndarray::{Array2, Axis};

use crate::eval::{Ranked, Summary, TOP};
use clcc_data::frame::Frame;
use clcc_stage::cells::is_cancer;

/// A description of the metrics for the head of a table.
pub const NOTE: &str = "top1 .. mrr: mean of both directions among all test cells; within_top1: share of cells found first among the test cells of their own patient, cell type and side (cancer or normal), both directions, groups of two and more; chance is that of a random order, se the standard deviation of a share at chance";

/// One retrieval metric and its value at chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    /// `top1`, `top5`, `top10`, `mrr` or `within_top1`.
    pub metric: String,
    /// Mean of both directions.
    pub value: f64,
    /// Its expectation for a random order.
    pub chance: f64,
    /// Standard deviation of one direction's share at chance; NaN for `mrr`. The two directions rank
    /// the same cosines and are not independent, so their mean is at most as variable.
    pub se: f64,
    /// Number of queries in one direction.
    pub n: usize,
}

/// Names the group of each test cell: patient, cell type, cancer or normal.
///
/// `patient_of` has one entry per row of `obs`; `test` are rows of `obs`.
pub fn groups(obs: &Frame, patient_of: &[u32], test: &[usize]) -> Vec<String> {
    let types = obs
        .texts("cell_type")
        .unwrap_or_else(|_| vec![String::new(); obs.len()]);
    let cancer = is_cancer(obs).unwrap_or_else(|_| vec![false; obs.len()]);
    test.iter()
        .map(|&i| format!("{}\t{}\t{}", patient_of[i], types[i], cancer[i]))
        .collect()
}

/// Ranks the rows of `expr` among those of `cnv` and back (`n x dim` each, unit rows); row i of both and
/// of `groups` is one test cell. Empty without cells.
pub fn retrieval(expr: &Array2<f32>, cnv: &Array2<f32>, groups: &[String]) -> Vec<Hits> {
    let n = expr.nrows();
    if n == 0 {
        return Vec::new();
    }
    let (forward, backward) = Ranked::both_ways(expr.view(), cnv.view());
    let (f, b) = (Summary::of(&forward, n), Summary::of(&backward, n));
    let chance = Summary::chance(n, n);
    let mut out: Vec<Hits> = TOP
        .iter()
        .enumerate()
        .map(|(at, k)| Hits {
            metric: format!("top{k}"),
            value: (f.top[at] + b.top[at]) / 2.0,
            chance: chance.top[at],
            se: (chance.top[at] * (1.0 - chance.top[at]) / n as f64).sqrt(),
            n,
        })
        .collect();
    out.push(Hits {
        metric: "mrr".into(),
        value: (f.mrr + b.mrr) / 2.0,
        chance: chance.mrr,
        se: f64::NAN,
        n,
    });
    out.extend(within(expr, cnv, groups));
    out
}

/// Computes top-1 within groups; `None` where no group has two cells. At chance each cell of a group of
/// m is found with probability 1 / m.
fn within(expr: &Array2<f32>, cnv: &Array2<f32>, groups: &[String]) -> Option<Hits> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(row);
    }
    let (mut hits, mut expected, mut variance, mut n) = (0usize, 0.0, 0.0, 0usize);
    for rows in members.values().filter(|r| r.len() > 1) {
        let (f, b) = Ranked::both_ways(
            expr.select(Axis(0), rows).view(),
            cnv.select(Axis(0), rows).view(),
        );
        hits += f.rank.iter().chain(&b.rank).filter(|&&r| r == 1).count();
        let p = 1.0 / rows.len() as f64;
        expected += rows.len() as f64 * p;
        variance += rows.len() as f64 * p * (1.0 - p);
        n += rows.len();
    }
    (n > 0).then(|| Hits {
        metric: "within_top1".into(),
        value: hits as f64 / (2 * n) as f64,
        chance: expected / n as f64,
        se: variance.sqrt() / n as f64,
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Two groups of two. Cells 0 and 1 find themselves; 2 and 3 are swapped, but nearest each other.
    #[test]
    fn hits_within_groups_are_counted_by_hand() {
        let e = array![[1.0f32, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]];
        let c = array![[1.0f32, 0.0], [0.8, 0.6], [-1.0, 0.0], [0.0, 1.0]];
        let g: Vec<String> = ["a", "a", "b", "b"].map(String::from).to_vec();
        let found = retrieval(&e, &c, &g);
        let of = |m: &str| found.iter().find(|h| h.metric == m).unwrap();
        assert_eq!((of("top1").value, of("top1").chance), (0.5, 0.25));
        assert_eq!(
            (of("within_top1").value, of("within_top1").chance),
            (0.5, 0.5)
        );
        // Four draws at 1/2: sd of the sum is 1, of the share 1/4.
        assert_eq!((of("within_top1").se, of("within_top1").n), (0.25, 4));
        let alone: Vec<String> = (0..4).map(|i| i.to_string()).collect();
        assert!(
            retrieval(&e, &c, &alone)
                .iter()
                .all(|h| h.metric != "within_top1")
        );
    }
}
