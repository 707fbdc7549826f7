//! Counts the training cells that have hard negatives.

use super::hard::Anchor;
use super::split::{Part, Split};
use clcc_stage::rows::MiningRow;

/// Counts over the cells of one patient, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Cells in training, validation and test.
    pub cells: [u64; 3],
    /// Training cells whose copy-number vector is zero and so has no cosine.
    pub without_cnv_cosine: u64,
    /// Training cells with at least one negative.
    pub anchors_with_negative: u64,
    /// Negatives kept.
    pub negatives: u64,
    /// Negatives kept that are cells of another patient.
    pub negatives_other_patient: u64,
    /// Ordered pairs that pass the copy-number bound.
    pub cnv_pairs: u64,
    /// Ordered pairs that pass both bounds.
    pub hard_pairs: u64,
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 {
        f64::NAN
    } else {
        a as f64 / b as f64
    }
}

impl Coverage {
    /// Counts over all cells, then over each patient's.
    ///
    /// `patient_of` has one entry per cell; `has_cnv` and `anchors` have one per training cell.
    pub fn count(
        patient_of: &[u32],
        n_patients: usize,
        split: &Split,
        has_cnv: &[bool],
        anchors: &[Anchor],
    ) -> Vec<Self> {
        let mut rows = vec![Self::default(); n_patients + 1];
        for (cell, part) in split.part.iter().enumerate() {
            for row in [0, patient_of[cell] as usize + 1] {
                rows[row].cells[*part as usize] += 1;
            }
        }
        let train = split.cells(Part::Train);
        for (i, anchor) in anchors.iter().enumerate() {
            let patient = patient_of[train[i]];
            let other = anchor
                .negatives
                .iter()
                .filter(|n| patient_of[train[n.1 as usize]] != patient)
                .count();
            for row in [0, patient as usize + 1] {
                let c = &mut rows[row];
                c.without_cnv_cosine += u64::from(!has_cnv[i]);
                c.anchors_with_negative += u64::from(!anchor.negatives.is_empty());
                c.negatives += anchor.negatives.len() as u64;
                c.negatives_other_patient += other as u64;
                c.cnv_pairs += u64::from(anchor.cnv_pairs);
                c.hard_pairs += u64::from(anchor.hard_pairs);
            }
        }
        rows
    }

    /// Number of training cells.
    pub fn anchors(&self) -> u64 {
        self.cells[Part::Train as usize]
    }

    /// Share of the training cells that have a negative.
    pub fn share_with_negative(&self) -> f64 {
        ratio(self.anchors_with_negative, self.anchors())
    }

    /// Negatives per training cell.
    pub fn mean_negatives(&self) -> f64 {
        ratio(self.negatives, self.anchors())
    }

    /// Share of the negatives that are cells of another patient.
    pub fn share_other_patient(&self) -> f64 {
        ratio(self.negatives_other_patient, self.negatives)
    }

    /// Share of the compared pairs (`partners` per anchor) that pass the copy-number bound.
    pub fn share_cnv_pairs(&self, partners: u64) -> f64 {
        ratio(self.cnv_pairs, self.anchors() * partners)
    }
}

/// The rows of `mining.tsv`: one for all patients, one for each.
pub(super) fn table(patients: &[String], rows: &[Coverage], partners: u64) -> Vec<MiningRow> {
    let names = std::iter::once("all".to_string()).chain(patients.iter().cloned());
    let row = |(patient, c): (String, &Coverage)| MiningRow {
        patient,
        train_cells: c.cells[0] as i64,
        val_cells: c.cells[1] as i64,
        test_cells: c.cells[2] as i64,
        without_cnv_cosine: c.without_cnv_cosine as i64,
        anchors_with_negative: c.anchors_with_negative as i64,
        negatives: c.negatives as i64,
        cnv_pairs: c.cnv_pairs as i64,
        hard_pairs: c.hard_pairs as i64,
        share_with_negative: c.share_with_negative(),
        mean_negatives: c.mean_negatives(),
        share_other_patient: c.share_other_patient(),
        share_cnv_pairs: c.share_cnv_pairs(partners),
    };
    names.zip(rows).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_split_by_the_anchor_s_patient() {
        use Part::{Test, Train, Val};
        // Cells 0, 1, 3, 4 train; patients 0 0 0 1 1 1.
        let split = Split {
            part: vec![Train, Train, Val, Train, Train, Test],
        };
        let anchor = |cells: &[u32]| Anchor {
            negatives: cells.iter().map(|&c| (0.1, c)).collect(),
            cnv_pairs: 3,
            hard_pairs: cells.len() as u32,
        };
        // Training numbers: 0 -> {1, 2}, 3 -> {0}.
        let anchors = [anchor(&[1, 2]), anchor(&[]), anchor(&[]), anchor(&[0])];
        let rows = Coverage::count(
            &[0, 0, 0, 1, 1, 1],
            2,
            &split,
            &[true, false, true, true],
            &anchors,
        );
        assert_eq!(rows[0].cells, [4, 1, 1]);
        assert_eq!(
            (rows[0].share_with_negative(), rows[0].mean_negatives()),
            (0.5, 0.75)
        );
        assert_eq!(
            (rows[0].share_other_patient(), rows[1].share_other_patient()),
            (2.0 / 3.0, 0.5)
        );
        assert_eq!(
            (rows[0].without_cnv_cosine, rows[2].without_cnv_cosine),
            (1, 0)
        );
        assert_eq!(rows[0].share_cnv_pairs(3), 1.0);
        let table = table(&["A".into(), "B".into()], &rows, 3);
        let negatives = |row: &MiningRow| (row.patient.clone(), row.negatives);
        let expected = [("all", 3), ("A", 2), ("B", 1)].map(|(p, n)| (p.to_string(), n));
        assert_eq!(table.iter().map(negatives).collect::<Vec<_>>(), expected);
    }
}
