//! Draws the split into training, validation and test, which every later stage reads.

use std::path::Path;

use super::params::SplitBy;
use clcc_data::error::{StageError, StageResult};
use clcc_numerics::rng::Rng;
use clcc_stage::rows::SplitRow;
use clcc_stage::tables::{Row as _, Table};

/// The part of the split that a cell belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Cells that weights, moments and negatives are computed from.
    Train,
    /// Cells that early stopping watches.
    Val,
    /// Cells that only `eval` reads.
    Test,
}

impl Part {
    /// The name that tables use: `train`, `val` or `test`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// The part of each cell, in cohort order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// One part per cell.
    pub part: Vec<Part>,
}

impl Split {
    /// Draws a split of cells; `patient_of` is the number of each cell's patient, from 0, and `shares`
    /// those of training, validation and test, which sum to 1.
    ///
    /// A random order of the cells (or patients) is cut at `floor(n * train)` and
    /// `floor(n * (train + val))`, as the usual Python code does. By patient, every part with a share
    /// above 0 gets at least one patient.
    ///
    /// # Errors
    /// [`StageError::Param`] where a part with a share above 0 would stay empty.
    pub fn draw(patient_of: &[u32], shares: [f64; 3], by: SplitBy, seed: u64) -> StageResult<Self> {
        let mut rng = Rng::new(seed, "mine.split", &[]);
        let n_patients = patient_of.iter().max().map_or(0, |&p| p as usize + 1);
        let (unit, n) = match by {
            SplitBy::Cell => ("cell", patient_of.len()),
            SplitBy::Patient => ("patient", n_patients),
        };
        let needed = shares.iter().filter(|&&s| s > 0.0).count();
        let cuts = cuts(n, shares, by);
        let sizes = [cuts.0, cuts.1 - cuts.0, n - cuts.1];
        if sizes
            .iter()
            .zip(shares)
            .any(|(&size, share)| size == 0 && share > 0.0)
        {
            return Err(StageError::Param {
                param: "split".into(),
                message: format!(
                    "{n} {unit}s cannot fill {needed} parts: train, val and test would get {sizes:?}"
                ),
                hint: (by == SplitBy::Patient)
                    .then(|| "use `split_by: cell`, or add patients".into()),
            });
        }
        let mut of_unit = vec![Part::Test; n];
        for (place, unit) in rng.permutation(n).into_iter().enumerate() {
            if place < cuts.0 {
                of_unit[unit] = Part::Train;
            } else if place < cuts.1 {
                of_unit[unit] = Part::Val;
            }
        }
        let part = match by {
            SplitBy::Cell => of_unit,
            SplitBy::Patient => patient_of.iter().map(|&p| of_unit[p as usize]).collect(),
        };
        Ok(Self { part })
    }

    /// Holds out fold `fold` of `k` (1 to `k`) as the test part.
    ///
    /// One seed gives one random order, from which all folds are dealt, so every cell is held out by
    /// exactly one fold. The other cells are divided between training and validation in proportion to
    /// the first two `shares`.
    ///
    /// # Errors
    /// [`StageError::Param`] where there are fewer than `k` cells (or patients), or no unit is left
    /// for a part.
    pub fn hold_out(
        patient_of: &[u32],
        shares: [f64; 3],
        by: SplitBy,
        (fold, k): (usize, usize),
        seed: u64,
    ) -> StageResult<Self> {
        let mut rng = Rng::new(seed, "mine.folds", &[]);
        let n_patients = patient_of.iter().max().map_or(0, |&p| p as usize + 1);
        let (unit, n) = match by {
            SplitBy::Cell => ("cell", patient_of.len()),
            SplitBy::Patient => ("patient", n_patients),
        };
        let order = rng.permutation(n);
        let others: Vec<usize> = (0..n).filter(|place| place % k != fold - 1).collect();
        let cut = ((shares[0] / (shares[0] + shares[1]) * others.len() as f64 + 1e-6).floor()
            as usize)
            .clamp(1, others.len().saturating_sub(1).max(1));
        if n < k || others.len() < 2 {
            return Err(StageError::Param {
                param: "cross_fit".into(),
                message: format!("{n} {unit}s cannot fill {k} folds with training and validation"),
                hint: (by == SplitBy::Patient)
                    .then(|| "use `split_by: cell`, or add patients".into()),
            });
        }
        let mut of_unit = vec![Part::Test; n];
        for (at, &place) in others.iter().enumerate() {
            of_unit[order[place]] = if at < cut { Part::Train } else { Part::Val };
        }
        let part = match by {
            SplitBy::Cell => of_unit,
            SplitBy::Patient => patient_of.iter().map(|&p| of_unit[p as usize]).collect(),
        };
        Ok(Self { part })
    }

    /// Lists the cells of one part, in cohort order.
    pub fn cells(&self, part: Part) -> Vec<usize> {
        (0..self.part.len())
            .filter(|&c| self.part[c] == part)
            .collect()
    }

    /// The name of each cell's part.
    pub fn names(&self) -> Vec<&'static str> {
        self.part.iter().map(|p| p.name()).collect()
    }

    /// Writes the table `cell, patient, split`, rows in cohort order.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write(&self, path: &Path, cells: &[String], patients: &[String]) -> StageResult<()> {
        let rows = self.part.iter().zip(cells).zip(patients);
        let row = |((part, cell), patient): ((&Part, &String), &String)| SplitRow {
            cell: cell.clone(),
            patient: patient.clone(),
            split: part.name().to_string(),
        };
        let note = "split of the cells into training, validation and test; moments, negatives and weights see training cells only";
        Table::new(rows.map(row).collect())
            .note(note)
            .write_as(path)
    }

    /// Reads the table of [`Split::write`] and checks that its rows are `cells`.
    ///
    /// # Errors
    /// [`StageError::Format`] where the rows are not `cells` in this order, or a part is unknown.
    pub fn read(path: &Path, cells: &[String]) -> StageResult<Self> {
        let rows = SplitRow::read(path)?;
        if rows.len() != cells.len() {
            let message = format!(
                "expected {} cells in cohort order, found {}",
                cells.len(),
                rows.len()
            );
            return Err(StageError::format(path, "", message));
        }
        if let Some(row) = (0..cells.len()).find(|&r| rows[r].cell != cells[r]) {
            let message = format!("expected cell `{}`, found `{}`", cells[row], rows[row].cell);
            return Err(StageError::format(
                path,
                format!("row {}", row + 1),
                message,
            ));
        }
        let part = |row: &SplitRow| {
            let parts = [Part::Train, Part::Val, Part::Test];
            let part = parts.into_iter().find(|part| part.name() == row.split);
            part.ok_or_else(|| {
                let message = format!("unknown part `{}`", row.split);
                StageError::format(path, "column `split`", message)
            })
        };
        Ok(Self {
            part: rows.iter().map(part).collect::<StageResult<_>>()?,
        })
    }
}

/// Computes the two places at which the random order of `n` units is cut.
fn cuts(n: usize, shares: [f64; 3], by: SplitBy) -> (usize, usize) {
    // The small term keeps shares such as .8 + .1 from falling just under a whole number.
    let at = |share: f64| ((share * n as f64 + 1e-6).floor() as usize).min(n);
    let (mut first, mut second) = (at(shares[0]), at(shares[0] + shares[1]));
    if by == SplitBy::Patient {
        let tests = usize::from(shares[2] > 0.0);
        second = second.min(n.saturating_sub(tests)).max(2.min(n));
        first = first.min(second.saturating_sub(1)).max(1.min(n));
    }
    (first, second.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(split: &Split) -> [usize; 3] {
        [Part::Train, Part::Val, Part::Test].map(|p| split.cells(p).len())
    }

    #[test]
    fn cells_are_cut_at_the_stated_shares() {
        let patient_of: Vec<u32> = (0..1000).map(|c| c / 500).collect();
        let split = Split::draw(&patient_of, [0.8, 0.1, 0.1], SplitBy::Cell, 1).unwrap();
        assert_eq!(sizes(&split), [800, 100, 100]);
        // Drawn, not cut off the end: about half of the test cells are of the first patient.
        let first = split.cells(Part::Test).iter().filter(|&&c| c < 500).count();
        assert!((25..75).contains(&first), "{first} of 100");
        assert_eq!(
            split,
            Split::draw(&patient_of, [0.8, 0.1, 0.1], SplitBy::Cell, 1).unwrap()
        );
        assert_ne!(
            split,
            Split::draw(&patient_of, [0.8, 0.1, 0.1], SplitBy::Cell, 2).unwrap()
        );
    }

    #[test]
    fn a_patient_is_never_divided() {
        for n_patients in 3..12u32 {
            let patient_of: Vec<u32> = (0..n_patients).flat_map(|p| vec![p; 7]).collect();
            let split = Split::draw(&patient_of, [0.8, 0.1, 0.1], SplitBy::Patient, 5).unwrap();
            assert!(
                sizes(&split).iter().all(|&s| s > 0),
                "{n_patients} patients: {:?}",
                sizes(&split)
            );
            for p in 0..n_patients {
                let parts = &split.part[p as usize * 7..(p as usize + 1) * 7];
                assert!(parts.iter().all(|x| *x == parts[0]));
            }
        }
    }

    #[test]
    fn every_cell_is_held_out_by_one_fold() {
        let patient_of: Vec<u32> = (0..103).map(|c| c / 20).collect();
        for (by, k) in [(SplitBy::Cell, 5), (SplitBy::Patient, 3)] {
            let folds: Vec<Split> = (1..=k)
                .map(|f| Split::hold_out(&patient_of, [0.8, 0.1, 0.1], by, (f, k), 1).unwrap())
                .collect();
            for i in 0..103 {
                let held = folds.iter().filter(|s| s.part[i] == Part::Test).count();
                assert_eq!(held, 1);
            }
            for fold in &folds {
                assert!(sizes(fold).iter().all(|&s| s > 0), "{:?}", sizes(fold));
            }
        }
        let one = Split::hold_out(&patient_of, [0.8, 0.1, 0.1], SplitBy::Cell, (1, 5), 1).unwrap();
        // 21 held out, 82 * 8 / 9 = 72.9 train.
        assert_eq!(sizes(&one), [72, 10, 21]);
        assert!(Split::hold_out(&[0, 0, 1], [0.8, 0.1, 0.1], SplitBy::Patient, (1, 3), 1).is_err());
    }

    #[test]
    fn parts_that_would_stay_empty_are_refused() {
        assert!(Split::draw(&[0, 0, 1, 1], [0.8, 0.1, 0.1], SplitBy::Patient, 5).is_err());
        assert!(Split::draw(&[0, 0, 0], [0.8, 0.1, 0.1], SplitBy::Cell, 5).is_err());
        assert!(Split::draw(&[0, 1], [0.5, 0.5, 0.0], SplitBy::Patient, 5).is_ok());
    }

    #[test]
    fn the_table_reads_back_and_other_cells_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split");
        let cells: Vec<String> = ["a", "b", "a"].map(String::from).to_vec();
        let split = Split {
            part: vec![Part::Train, Part::Val, Part::Test],
        };
        split
            .write(&path, &cells, &["P1", "P1", "P2"].map(String::from))
            .unwrap();
        assert_eq!(Split::read(&path, &cells).unwrap(), split);
        assert!(Split::read(&path, &cells[..2]).is_err());
        assert!(Split::read(&path, &["a", "c", "a"].map(String::from)).is_err());
    }
}
