//! One distance per cell from models of which each held out other cells.
//!
//! Different models have different scales of distance. A fold's held-out cells are a random part of
//! every patient (`mine.split_by: cell`), so their distances differ between folds by the model
//! alone: each fold is shifted and scaled to the mean median and the mean interquartile range of
//! all folds, taken over the held-out cells that are classed. With `split_by: patient` a fold holds
//! out whole patients, and the same map levels patients as well; classes are quantiles within a
//! patient, which a rising straight line does not change.

use clcc_data::error::{StageError, StageResult};
use clcc_numerics::stats::{median, quantile, spearman};

/// The distances that one model gives to all cells, and the part of each cell in its split.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Axis value.
    pub name: String,
    /// Part of each cell: `train`, `val` or `test` (held out).
    pub part: Vec<String>,
    /// Distance of each cell.
    pub distance: Vec<f64>,
}

/// How one fold was scaled, and how its distances compare with those of the other folds.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldSummary {
    /// Axis value.
    pub name: String,
    /// Held-out cells, and how many of them are classed.
    pub n_cells: (usize, usize),
    /// Median distance of the held-out classed cells, before scaling.
    pub median: f64,
    /// Their interquartile range.
    pub iqr: f64,
    /// Median distance of the classed cells that the model trained on.
    pub median_train: f64,
    /// Spearman correlation, over the classed cells that this fold held out, of their distance with
    /// the mean of the other folds' distances, which mostly trained on them.
    pub agreement: f64,
}

/// The cross-fitted distances.
#[derive(Debug, Clone)]
pub struct CrossFit {
    /// Scaled distance of each cell, from the fold that held it out.
    pub distance: Vec<f64>,
    /// Index of that fold in `folds`.
    pub fold: Vec<u32>,
    /// One summary per fold.
    pub folds: Vec<FoldSummary>,
}

/// Takes each cell's distance from the fold that held it out, on a common scale.
///
/// `folds` have one entry per cell each; `chosen` marks the cells that are classed.
///
/// # Errors
/// [`StageError::Data`] where a cell is held out by no fold or by several, or where a fold's
/// distances do not vary.
pub fn cross_fit(folds: &[Fold], chosen: &[bool]) -> StageResult<CrossFit> {
    let fold = held_out_by(folds, chosen.len())?;
    let summaries: Vec<FoldSummary> = (0..folds.len())
        .map(|f| summarise(folds, f, &fold, chosen))
        .collect();
    let used: Vec<&FoldSummary> = summaries.iter().filter(|s| s.n_cells.1 > 0).collect();
    if let Some(flat) = used.iter().find(|s| s.iqr <= 0.0) {
        return Err(StageError::data(format!(
            "fold `{}`: the distances of its {} held-out cells do not vary",
            flat.name, flat.n_cells.1
        )));
    }
    let middle = used.iter().map(|s| s.median).sum::<f64>() / used.len() as f64;
    let spread = used.iter().map(|s| s.iqr).sum::<f64>() / used.len() as f64;
    let scaled = |(i, &f): (usize, &u32)| {
        let (d, s) = (folds[f as usize].distance[i], &summaries[f as usize]);
        if s.n_cells.1 == 0 {
            d
        } else {
            middle + (d - s.median) / s.iqr * spread
        }
    };
    Ok(CrossFit {
        distance: fold.iter().enumerate().map(scaled).collect(),
        fold,
        folds: summaries,
    })
}

/// The fold that holds out each of `n` cells.
fn held_out_by(folds: &[Fold], n: usize) -> StageResult<Vec<u32>> {
    let mut fold = vec![u32::MAX; n];
    for (f, it) in folds.iter().enumerate() {
        for i in (0..n).filter(|&i| it.part[i] == "test") {
            if fold[i] != u32::MAX {
                return Err(StageError::data_hint(
                    format!(
                        "cell {i} is held out by fold `{}` and by fold `{}`",
                        folds[fold[i] as usize].name, it.name
                    ),
                    "give each value of the axis its own `mine.fold`",
                ));
            }
            fold[i] = f as u32;
        }
    }
    match fold.iter().position(|&f| f == u32::MAX) {
        None => Ok(fold),
        Some(i) => Err(StageError::data_hint(
            format!("cell {i} is held out by none of {} folds", folds.len()),
            "set `cross_fit` of `mine` to the number of folds, and `fold` to 1, 2, ... along the axis",
        )),
    }
}

/// Summarises fold number `f`; `fold` is the fold that holds out each cell.
fn summarise(folds: &[Fold], f: usize, fold: &[u32], chosen: &[bool]) -> FoldSummary {
    let it = &folds[f];
    let is_held_out = |i: usize| fold[i] as usize == f;
    let n = chosen.len();
    let rows: Vec<usize> = (0..n).filter(|&i| is_held_out(i) && chosen[i]).collect();
    let own: Vec<f64> = rows.iter().map(|&i| it.distance[i]).collect();
    let trained: Vec<f64> = (0..n)
        .filter(|&i| it.part[i] == "train" && chosen[i])
        .map(|i| it.distance[i])
        .collect();
    let mean_of_others = |&i: &usize| {
        let sum: f64 = folds.iter().map(|o| o.distance[i]).sum();
        (sum - it.distance[i]) / (folds.len() - 1) as f64
    };
    let others: Vec<f64> = rows.iter().map(mean_of_others).collect();
    FoldSummary {
        name: it.name.clone(),
        n_cells: ((0..n).filter(|&i| is_held_out(i)).count(), rows.len()),
        median: median(&own),
        iqr: quantile(&own, 0.75) - quantile(&own, 0.25),
        median_train: median(&trained),
        agreement: spearman(&own, &others).r,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three folds of 12 cells; model f measures a * x + b of a cell's x, and training cells less.
    fn folds() -> (Vec<f64>, Vec<Fold>) {
        let x: Vec<f64> = (0..12).map(|i| f64::from((i * 5) % 12)).collect();
        let folds = (0..3_usize)
            .map(|f| Fold {
                name: format!("f{f}"),
                part: (0..12)
                    .map(|i| if i % 3 == f { "test" } else { "train" }.to_string())
                    .collect(),
                distance: (0..12)
                    .map(|i| {
                        let d = (1.0 + f as f64) * x[i] + 10.0 * f as f64;
                        if i % 3 == f { d } else { d - 50.0 }
                    })
                    .collect(),
            })
            .collect();
        (x, folds)
    }

    #[test]
    fn each_cell_is_measured_by_the_model_that_did_not_see_it() {
        let (x, folds) = folds();
        let chosen = [true; 12];
        let found = cross_fit(&folds, &chosen).unwrap();
        assert_eq!(found.fold, (0..12).map(|i| i % 3).collect::<Vec<u32>>());
        // Fold f holds the x of f, f + 3, ..: medians and ranges of a straight line, so within a
        // fold the order is that of x and all folds have the same median and range.
        for f in 0..3 {
            let rows: Vec<usize> = (0..12).filter(|i| i % 3 == f).collect();
            let of = |v: &[f64]| rows.iter().map(|&i| v[i]).collect::<Vec<f64>>();
            let (d, x) = (of(&found.distance), of(&x));
            assert!((spearman(&d, &x).r - 1.0).abs() < 1e-12);
            let middle =
                (found.folds[0].median + found.folds[1].median + found.folds[2].median) / 3.0;
            assert!((median(&d) - middle).abs() < 1e-12);
            assert!(found.folds[f].median_train < found.folds[f].median);
            assert_eq!(found.folds[f].n_cells, (4, 4));
        }
    }

    #[test]
    fn cells_held_out_twice_or_never_are_refused() {
        let (_, mut all) = folds();
        assert!(
            cross_fit(&all[..2], &[true; 12])
                .unwrap_err()
                .to_string()
                .contains("none of 2")
        );
        all[1].part[0] = "test".into();
        let error = cross_fit(&all, &[true; 12]).unwrap_err().to_string();
        assert!(error.contains("`f0` and by fold `f1`"), "{error}");
    }
}
