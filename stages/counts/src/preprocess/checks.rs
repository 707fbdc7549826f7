//! Integrity checks of a count matrix, and the table of what was checked.

use super::params::Counts;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_stage::rows::QcCheckRow;
use clcc_stage::tables::Table;

/// How a check came out. A failed check is an error, so a table never holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// The run goes on, but the user should know.
    Warn,
}

impl Verdict {
    /// The name that tables use: `pass` or `warn`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq)]
pub struct QcCheck {
    /// Name of the check.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// The number it looked at.
    pub value: f64,
    /// What the number is.
    pub detail: String,
}

impl QcCheck {
    pub(super) fn new(
        check: &'static str,
        pass: bool,
        value: f64,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict: if pass { Verdict::Pass } else { Verdict::Warn },
            value,
            detail: detail.into(),
        }
    }
}

pub(super) fn table(checks: &[QcCheck]) -> Table<QcCheckRow> {
    let row = |c: &QcCheck| QcCheckRow {
        check: c.check.to_string(),
        verdict: c.verdict.name().to_string(),
        value: c.value,
        detail: c.detail.clone(),
    };
    Table::new(checks.iter().map(row).collect())
        .note("integrity checks of the raw counts; a broken matrix (repeated ids, negative, missing or fractional counts) stops the run instead")
        .note("verdict: pass or warn; value: the number that was looked at; detail: what it is")
}

/// Checks that cells and genes have unique names and that values are what `counts` says.
///
/// # Errors
/// [`StageError::Data`] without a cell or a gene, on a repeated name, and on the first value (with its
/// cell and gene) that is not finite, is negative, or is no whole number under [`Counts::Integer`].
pub fn check_counts(
    obs: &Frame,
    var: &Frame,
    x: &Csr,
    counts: Counts,
) -> StageResult<Vec<QcCheck>> {
    if obs.is_empty() || var.is_empty() {
        return Err(StageError::data(format!(
            "expected cells and genes, found {} cells and {} genes",
            obs.len(),
            var.len()
        )));
    }
    for (what, frame) in [("cell id", obs), ("gene name", var)] {
        if let Some(name) = frame.first_duplicate() {
            return Err(StageError::data_hint(
                format!("{what} `{name}` occurs more than once"),
                "make the names unique in the input; counts of two rows cannot be told apart by name",
            ));
        }
    }
    let values = Values::survey(obs, var, x, counts)?;
    Ok(values.checks(obs.len(), var.len(), x.nnz()))
}

/// What the values of a matrix are like.
struct Values {
    largest: f32,
    /// Values that are no whole numbers.
    fractional: usize,
    /// Cells without a count.
    empty: usize,
    /// Genes without a count.
    unseen: usize,
}

impl Values {
    fn survey(obs: &Frame, var: &Frame, x: &Csr, counts: Counts) -> StageResult<Self> {
        let (mut largest, mut fractional, mut empty) = (0f32, 0, 0);
        let mut seen = vec![false; x.n_cols()];
        for r in 0..x.n_rows() {
            let (cols, vals) = x.row(r);
            let mut any = false;
            for (&c, &v) in cols.iter().zip(vals) {
                let whole = v.fract() == 0.0;
                if !(v >= 0.0 && v.is_finite() && (whole || counts == Counts::Any)) {
                    return Err(bad_value(&obs.index[r], &var.index[c as usize], v));
                }
                fractional += usize::from(!whole);
                largest = largest.max(v);
                any |= v > 0.0;
                seen[c as usize] |= v > 0.0;
            }
            empty += usize::from(!any);
        }
        Ok(Self {
            largest,
            fractional,
            empty,
            unseen: seen.iter().filter(|s| !**s).count(),
        })
    }

    fn checks(&self, n_cells: usize, n_genes: usize, n_stored: usize) -> Vec<QcCheck> {
        let check = |name, pass, value: usize, detail: String| {
            QcCheck::new(name, pass, value as f64, detail)
        };
        // Raw counts reach far beyond 20, logarithms of counts do not.
        let logged = self.fractional > 0 && self.largest < 20.0;
        let of_fractional = if logged {
            format!(
                "values are no whole numbers and none is above {}: they look like logarithms, and would be normalised and logged again",
                self.largest
            )
        } else {
            "values that are no whole numbers".into()
        };
        let empty = format!("{} of {n_cells} cells have no count", self.empty);
        vec![
            check(
                "unique_cell_ids",
                true,
                n_cells,
                "cells, each with its own id".into(),
            ),
            check(
                "unique_gene_names",
                true,
                n_genes,
                "genes, each with its own name".into(),
            ),
            check(
                "values",
                true,
                n_stored,
                "stored values, none negative or missing".into(),
            ),
            check("whole_numbers", !logged, self.fractional, of_fractional),
            check("empty_cells", self.empty == 0, self.empty, empty),
            check(
                "empty_genes",
                true,
                self.unseen,
                "genes that no cell has".into(),
            ),
        ]
    }
}

fn bad_value(cell: &str, gene: &str, value: f32) -> StageError {
    let place = format!("cell `{cell}`, gene `{gene}`");
    if !value.is_finite() {
        return StageError::data(format!("{place}: expected a count, found `{value}`"));
    }
    if value < 0.0 {
        return StageError::data_hint(
            format!("{place}: expected a count of at least 0, found `{value}`"),
            "this matrix is scaled or batch-corrected; give the raw counts",
        );
    }
    StageError::data_hint(
        format!("{place}: expected a whole number, found `{value}`"),
        "give the raw counts, or set `counts: any` where fractional counts are meant",
    )
}
