//! The score of a cell, and the threshold between singlets and doublets.

use ndarray::Array2;

use clcc_numerics::graph::nearest_neighbors;

/// Bins of the histogram of scores, scikit-image's default.
const BINS: usize = 256;
/// Smoothing steps after which the search for two peaks is given up, as in scikit-image.
const MAX_SMOOTHING: usize = 10_000;

/// Score each row of `coords`, of which the first `n_cells` are cells and the rest simulated doublets: the likelihood
/// of being a doublet, given the share of simulated doublets among the row's neighbours (Wolock et al. 2019;
/// `Scrublet._nearest_neighbor_classifier` of scrublet 0.2.3). The row itself is no neighbour of its own, as there;
/// scanpy's port counts it. `k` neighbours are meant for the cells alone; with
/// the simulated doublets their number is larger in proportion. Scores are from 0 to 1.
pub(super) fn doublet_scores(
    coords: &Array2<f64>,
    n_cells: usize,
    k: usize,
    expected_doublet_rate: f64,
) -> Vec<f64> {
    let n = coords.nrows();
    let n_sim = n - n_cells;
    let ratio = n_sim as f64 / n_cells as f64;
    let wanted = (k as f64 * (1.0 + ratio)).round_ties_even() as usize;
    // `nearest_neighbors` counts a row as its own first neighbour.
    let k = wanted.min(n - 1);
    let neighbors = nearest_neighbors(coords, k + 1);
    let rho = expected_doublet_rate;
    let score = |n_doublets: usize| {
        let q = (n_doublets as f64 + 1.0) / (k as f64 + 2.0);
        q * rho / ratio / (1.0 - rho - q * (1.0 - rho - rho / ratio))
    };
    (0..n)
        .map(|row| {
            let others = neighbors.indices.row(row);
            let others = others.iter().filter(|&&i| i as usize != row).take(k);
            score(others.filter(|&&i| i as usize >= n_cells).count())
        })
        .collect()
}

/// The minimum between the two peaks of the histogram of `scores`, smoothed until it has no more than two
/// (`skimage.filters.threshold_minimum`); `None` where two peaks are never left.
pub(super) fn threshold_minimum(scores: &[f64]) -> Option<f64> {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) {
        return None;
    }
    let width = (high - low) / BINS as f64;
    let mut counts = vec![0f32; BINS];
    for s in scores {
        let bin = ((s - low) / (high - low) * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1.0;
    }
    for _ in 0..MAX_SMOOTHING {
        counts = smoothed(&counts);
        let peaks = peaks(&counts);
        if peaks.len() < 3 {
            let &[first, second] = peaks.as_slice() else {
                return None;
            };
            let between = &counts[first..=second];
            let lowest = (0..between.len())
                .reduce(|best, i| if between[i] < between[best] { i } else { best })?;
            return Some(low + (first + lowest) as f64 * width + width / 2.0);
        }
    }
    None
}

/// Mean of three bins, the outermost counted twice at the edges.
fn smoothed(counts: &[f32]) -> Vec<f32> {
    let last = counts.len() - 1;
    (0..counts.len())
        .map(|i| {
            let sum = f64::from(counts[i.saturating_sub(1)])
                + f64::from(counts[i])
                + f64::from(counts[(i + 1).min(last)]);
            (sum / 3.0) as f32
        })
        .collect()
}

/// Bins after which the counts fall, having risen (or been level) before.
fn peaks(counts: &[f32]) -> Vec<usize> {
    let mut rising = true;
    let mut found = Vec::new();
    for (i, pair) in counts.windows(2).enumerate() {
        if rising && pair[1] < pair[0] {
            rising = false;
            found.push(i);
        } else if !rising && pair[1] > pair[0] {
            rising = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn reference() -> Value {
        serde_json::from_str(include_str!(
            "../../../../tests/reference/doublets/values.json"
        ))
        .unwrap()
    }

    fn numbers(v: &Value) -> Vec<f64> {
        let values = v.as_array().unwrap().iter();
        values.map(|v| v.as_f64().unwrap()).collect()
    }

    /// The formula of `tests/reference/doublets/make.py`.
    fn coords(n: usize) -> Array2<f64> {
        Array2::from_shape_fn((n, 3), |(i, j)| {
            (1.7 * i as f64 + 0.9 * j as f64).sin() + 0.01 * ((i * (j + 2)) % 17) as f64
        })
    }

    #[test]
    fn scores_are_those_of_scrublet() {
        let values = reference();
        for case in values["scores"].as_array().unwrap() {
            let size = |name: &str| case[name].as_u64().unwrap() as usize;
            let (n_cells, n_sim, k) = (size("n_cells"), size("n_sim"), size("k"));
            let rate = case["rate"].as_f64().unwrap();
            let found = doublet_scores(&coords(n_cells + n_sim), n_cells, k, rate);
            let expected = [numbers(&case["observed"]), numbers(&case["simulated"])].concat();
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(&expected) {
                assert!((f - e).abs() < 1e-12, "{f} {e}");
            }
        }
    }

    #[test]
    fn thresholds_are_those_of_scikit_image() {
        let values = reference();
        for case in values["thresholds"].as_array().unwrap() {
            let found = threshold_minimum(&numbers(&case["scores"]));
            match case["threshold"].as_f64() {
                Some(t) => assert!((found.unwrap() - t).abs() < 1e-9, "{found:?} {t}"),
                None => assert_eq!(found, None),
            }
        }
    }

    #[test]
    fn scores_without_spread_have_no_threshold() {
        assert_eq!(threshold_minimum(&[0.2; 50]), None);
        assert_eq!(threshold_minimum(&[]), None);
    }
}
