//! Sorts the cells of one patient into classes by their distance.

use ndarray::Array2;

use clcc_numerics::stats::{mean, quantile};

/// Which end of its patient's distances a cell is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Distance at or below the lower cut.
    Concordant,
    /// Between the cuts.
    Intermediate,
    /// Distance at or above the upper cut.
    Discordant,
}

impl Class {
    /// The name that tables use: `concordant`, `intermediate` or `discordant`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concordant => "concordant",
            Self::Intermediate => "intermediate",
            Self::Discordant => "discordant",
        }
    }
}

/// Computes the Euclidean distance between the matching rows of two matrices (`n x dim` each).
///
/// Distances of unit rows are in [0, 2].
///
/// # Panics
/// Where the shapes differ.
pub fn row_distances(a: &Array2<f32>, b: &Array2<f32>) -> Vec<f64> {
    assert_eq!(
        a.dim(),
        b.dim(),
        "both embeddings have one row per cell and the same width"
    );
    let square = |x: &f32, y: &f32| (f64::from(*x) - f64::from(*y)).powi(2);
    a.rows()
        .into_iter()
        .zip(b.rows())
        .map(|(x, y)| {
            x.iter()
                .zip(y)
                .map(|(x, y)| square(x, y))
                .sum::<f64>()
                .sqrt()
        })
        .collect()
}

/// Counts, cuts and mean distances of one patient's classes.
#[derive(Debug, Clone, PartialEq)]
pub struct PatientClasses {
    /// Cells with a class.
    pub n_cells: usize,
    /// Largest distance of a concordant cell; NaN without cells, and where the cells have several cuts.
    pub lower: f64,
    /// Smallest distance of a discordant cell; NaN as for `lower`.
    pub upper: f64,
    /// Mean distance of all cells with a class, then of each class in the order of `counts`; NaN where
    /// there are no cells.
    pub mean_distance: [f64; 4],
    /// Cells in each class: concordant, intermediate, discordant.
    pub counts: [usize; 3],
}

/// Classes cells by the quantiles `q` and `1 - q` of their `distances`, with `q` in (0, 0.5].
///
/// Cells at or below the first quantile are concordant, cells at or above the second discordant.
/// Quantiles are interpolated linearly, as numpy does.
///
/// Where the two cuts meet (all distances equal, or `q` = 0.5 with an odd number of cells) a cell
/// that satisfies both is intermediate: it is evidence for neither.
pub fn classify(distances: &[f64], q: f64) -> (Vec<Class>, PatientClasses) {
    let (lower, upper) = (quantile(distances, q), quantile(distances, 1.0 - q));
    let classes: Vec<Class> = distances
        .iter()
        .map(|&d| match (d <= lower, d >= upper) {
            (true, false) => Class::Concordant,
            (false, true) => Class::Discordant,
            _ => Class::Intermediate,
        })
        .collect();
    let both: Vec<(f64, Class)> = distances.iter().copied().zip(classes.clone()).collect();
    (classes, PatientClasses::of(&both, (lower, upper)))
}

impl PatientClasses {
    /// Summarises cells given as (distance, class), with the cuts (lower, upper) that classed them.
    pub(super) fn of(cells: &[(f64, Class)], (lower, upper): (f64, f64)) -> Self {
        let of = |class: Class| -> Vec<f64> {
            cells
                .iter()
                .filter(|(_, c)| *c == class)
                .map(|(d, _)| *d)
                .collect()
        };
        let parts = [Class::Concordant, Class::Intermediate, Class::Discordant].map(of);
        let all: Vec<f64> = cells.iter().map(|c| c.0).collect();
        Self {
            n_cells: cells.len(),
            lower,
            upper,
            mean_distance: [
                mean(&all),
                mean(&parts[0]),
                mean(&parts[1]),
                mean(&parts[2]),
            ],
            counts: [parts[0].len(), parts[1].len(), parts[2].len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn distances_by_hand() {
        let d = row_distances(
            &array![[1.0, 0.0], [0.6, 0.8]],
            &array![[0.0, 1.0], [0.6, 0.8]],
        );
        assert!((d[0] - 2.0_f64.sqrt()).abs() < 1e-15 && d[1] == 0.0);
    }

    #[test]
    fn the_papers_counts_are_quartiles() {
        // Its Table 2: 3,426 cells give 857 and 857. Cuts at 856.25 and 2568.75 of 0..=3425.
        let distances: Vec<f64> = (0..3426).map(|i| f64::from((i * 1_237) % 3426)).collect();
        let (_, summary) = classify(&distances, 0.25);
        assert_eq!(summary.counts, [857, 1712, 857]);
        assert_eq!((summary.lower, summary.upper), (856.25, 2568.75));
    }

    #[test]
    fn cuts_are_inclusive_and_equal_distances_have_no_class() {
        // Five cells: the cuts at .25 fall on the second and fourth value.
        let (classes, _) = classify(&[0.1, 0.2, 0.3, 0.4, 0.5], 0.25);
        use Class::{Concordant, Discordant, Intermediate};
        assert_eq!(
            classes,
            [Concordant, Concordant, Intermediate, Discordant, Discordant]
        );
        assert_eq!(classify(&[1.0; 4], 0.25).1.counts, [0, 4, 0]);
        assert!(classify(&[], 0.25).1.lower.is_nan());
    }
}
