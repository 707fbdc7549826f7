//! Counts the training cells that have hard negatives.

use super::hard::Anchor;
use super::split::{Part, Split};
use clcc_data::frame::{Column, Frame};

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

/// The table `mining.tsv`: one row for all patients, one for each.
pub(super) fn table(patients: &[String], rows: &[Coverage], partners: u64) -> Frame {
    let mut frame = Frame::new(
        std::iter::once("all".to_string())
            .chain(patients.iter().cloned())
            .collect(),
    );
    let mut whole = |name: &str, f: &dyn Fn(&Coverage) -> u64| {
        frame.set(
            name,
            Column::I64(rows.iter().map(|c| f(c) as i64).collect()),
        );
    };
    whole("train_cells", &|c| c.cells[0]);
    whole("val_cells", &|c| c.cells[1]);
    whole("test_cells", &|c| c.cells[2]);
    whole("without_cnv_cosine", &|c| c.without_cnv_cosine);
    whole("anchors_with_negative", &|c| c.anchors_with_negative);
    whole("negatives", &|c| c.negatives);
    whole("cnv_pairs", &|c| c.cnv_pairs);
    whole("hard_pairs", &|c| c.hard_pairs);
    let mut number = |name: &str, f: &dyn Fn(&Coverage) -> f64| {
        frame.set(name, Column::F64(rows.iter().map(f).collect()));
    };
    number("share_with_negative", &Coverage::share_with_negative);
    number("mean_negatives", &Coverage::mean_negatives);
    number("share_other_patient", &Coverage::share_other_patient);
    number("share_cnv_pairs", &|c| c.share_cnv_pairs(partners));
    frame
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
        let frame = table(&["A".into(), "B".into()], &rows, 3);
        assert_eq!(frame.index, ["all", "A", "B"]);
        assert_eq!(frame.numbers("negatives").unwrap(), [3.0, 2.0, 1.0]);
    }
}
