//! Calls malignant cells from their copy-number profiles, since not every cell of a tumour sample is
//! malignant.
//!
//! A cell's score measures its profile along the mean profile of its cluster: the size of its
//! copy-number signal times its correlation with that profile. Noise in either leaves the score near 0,
//! on either side (scores cut off at 0 would not let normal cells form a normal component). Two normal
//! components are fitted to the scores of all cells; the threshold is where a cell is equally likely
//! under both. Where the two components are not distinct ([`two_components`]), no cell is called.
//!
//! Cell types differ in expression, and a type's own profile gives its cells a score: on real tumours
//! macrophages score as high as weakly altered malignant cells. Reference cells are known to be normal
//! and are called so ([`Malignancy::take_reference`]); the share of them above the threshold shows how
//! far the other calls can be trusted. A user who has seen the scores may set the threshold
//! ([`Malignancy::threshold`]).

use ndarray::ArrayView1;

use clcc_data::matrix::Csr;
use clcc_numerics::math;

use super::profiles::Profiles;

/// Malignancy scores and calls of the cells of one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Malignancy {
    /// Root mean square of the cell's `X_cnv`, zeros included; natural log ratio.
    pub signal: Vec<f64>,
    /// Pearson's correlation of the cell's profile with the mean profile of its cluster's other cells; 0
    /// where either is flat.
    pub correlation: Vec<f64>,
    /// `signal` times `correlation`.
    pub score: Vec<f64>,
    /// The two fitted components; `None` where one fits as well.
    pub fit: Option<TwoComponents>,
    /// Score above which a cell is called malignant: that of `fit`, unless it was set.
    pub threshold: Option<f64>,
    /// Cells that are known to be normal.
    pub reference: Vec<bool>,
}

impl Malignancy {
    /// Whether each cell is called malignant: above the threshold and not a reference cell; `None`
    /// without a threshold.
    pub fn calls(&self) -> Option<Vec<bool>> {
        let threshold = self.threshold?;
        let cells = self.score.iter().zip(&self.reference);
        Some(cells.map(|(s, r)| *s > threshold && !r).collect())
    }

    /// Mark these cells as normal, whatever their score. Returns the share of them that scores above
    /// the threshold; `None` without a threshold or without such cells.
    pub fn take_reference(&mut self, reference: &[bool]) -> Option<f64> {
        self.reference = reference.to_vec();
        let threshold = self.threshold?;
        let n = reference.iter().filter(|r| **r).count();
        let above = self.score.iter().zip(reference);
        let above = above.filter(|(s, r)| **r && **s > threshold).count();
        (n > 0).then(|| above as f64 / n as f64)
    }
}

/// A mixture of two normal components fitted to the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoComponents {
    /// Share of the cells in the lower and in the higher component.
    pub weight: [f64; 2],
    /// Means, in ascending order.
    pub mean: [f64; 2],
    /// Standard deviations.
    pub sd: [f64; 2],
    /// Score between the means at which both components are equally likely.
    pub threshold: f64,
    /// Bayesian information criterion of one component minus that of two; positive where two fit
    /// better.
    pub bic_gain: f64,
}

/// Score the cells of `x` (`n_cells x n_windows`) by the clusters in `membership`.
pub fn malignancy(x: &Csr, membership: &[u32], profiles: &Profiles) -> Malignancy {
    let n = x.n_rows();
    let mut out = Malignancy {
        signal: vec![0.0; n],
        correlation: vec![0.0; n],
        score: vec![0.0; n],
        fit: None,
        threshold: None,
        reference: vec![false; n],
    };
    let moments: Vec<(f64, f64)> = profiles
        .mean
        .rows()
        .into_iter()
        .map(|r| (r.sum(), r.dot(&r)))
        .collect();
    for cell in 0..n {
        let cluster = membership[cell] as usize;
        let cells = profiles.n_cells[cluster] as f64;
        let (signal, correlation) = compare(
            x,
            cell,
            &profiles.mean.row(cluster),
            moments[cluster],
            cells,
        );
        out.signal[cell] = signal;
        out.correlation[cell] = correlation;
        out.score[cell] = signal * correlation;
    }
    out.fit = two_components(&out.score);
    out.threshold = out.fit.map(|f| f.threshold);
    out
}

/// Signal of a cell, and its correlation with the mean of its cluster's other cells, `(n m - x) / (n -
/// 1)`, in time linear in the stored entries.
fn compare(
    x: &Csr,
    cell: usize,
    mean: &ArrayView1<'_, f64>,
    (sum_m, mm): (f64, f64),
    n: f64,
) -> (f64, f64) {
    let w = mean.len() as f64;
    let (cols, vals) = x.row(cell);
    let (mut sum, mut xx, mut xm) = (0.0, 0.0, 0.0);
    for (&c, &v) in cols.iter().zip(vals) {
        let v = f64::from(v);
        sum += v;
        xx += v * v;
        xm += v * mean[c as usize];
    }
    let signal = if w > 0.0 { (xx / w).sqrt() } else { 0.0 };
    // Multiplied by n - 1, which does not change a correlation.
    let (sum_o, oo, xo) = (n * sum_m - sum, n * n * mm - 2.0 * n * xm + xx, n * xm - xx);
    let (var_x, var_o) = (xx - sum * sum / w, oo - sum_o * sum_o / w);
    let covariance = xo - sum * sum_o / w;
    // Below this, only rounding is left.
    let flat = n < 2.0 || var_x <= 1e-12 * xx || var_o <= 1e-9 * (n * n * mm + xx) || w < 2.0;
    let correlation = if flat {
        0.0
    } else {
        (covariance / (var_x * var_o).sqrt()).clamp(-1.0, 1.0)
    };
    (signal, correlation)
}

/// Fewest cells for which components are fitted.
const ENOUGH: usize = 20;

/// Fit two normal components by expectation maximisation, starting from the two sides of the best cut
/// (least sum of squares). `None` where there are fewer than 20 values, one component fits as well, or
/// no threshold exists between the means. No standard deviation may fall below a hundredth of that of
/// all values.
pub fn two_components(values: &[f64]) -> Option<TwoComponents> {
    let n = values.len();
    if n < ENOUGH {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / n as f64;
    let variance = sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
    if variance <= 0.0 {
        return None;
    }
    let floor = 1e-4 * variance;
    let mut pair = NormalPair::from_halves(&sorted, floor);
    let mut likelihood = f64::NEG_INFINITY;
    for _ in 0..1000 {
        let next = pair.step(&sorted, floor)?;
        let done = next - likelihood < 1e-9 * next.abs().max(1.0);
        likelihood = next;
        if done {
            break;
        }
    }
    pair.sort();
    let one: f64 = sorted.iter().map(|v| log_density(*v, mean, variance)).sum();
    // Five parameters instead of two.
    let bic_gain = 2.0 * (likelihood - one) - 3.0 * math::ln(n as f64);
    if bic_gain <= 0.0 {
        return None;
    }
    Some(TwoComponents {
        weight: pair.weight,
        mean: pair.mean,
        sd: pair.variance.map(f64::sqrt),
        threshold: pair.threshold()?,
        bic_gain,
    })
}

/// Log density of a normal distribution with mean `m` and variance `s`.
fn log_density(v: f64, m: f64, s: f64) -> f64 {
    -0.5 * ((v - m).powi(2) / s + math::ln(s) + math::ln(std::f64::consts::TAU))
}

/// Two weighted normal distributions during the fit.
struct NormalPair {
    weight: [f64; 2],
    mean: [f64; 2],
    variance: [f64; 2],
}

impl NormalPair {
    /// Components of the two sides of the cut with the least sum of squares, with variances of at least
    /// `floor`.
    fn from_halves(sorted: &[f64], floor: f64) -> Self {
        let n = sorted.len();
        let total: f64 = sorted.iter().sum();
        let mut left = 0.0;
        let mut best = (1, f64::NEG_INFINITY);
        for k in 1..n {
            left += sorted[k - 1];
            let (a, b) = (k as f64, (n - k) as f64);
            let between = left * left / a + (total - left).powi(2) / b;
            if between > best.1 {
                best = (k, between);
            }
        }
        let moments = |part: &[f64]| {
            let m = part.iter().sum::<f64>() / part.len() as f64;
            let v = part.iter().map(|v| (v - m).powi(2)).sum::<f64>() / part.len() as f64;
            (m, v.max(floor))
        };
        let (low, high) = (moments(&sorted[..best.0]), moments(&sorted[best.0..]));
        let share = best.0 as f64 / n as f64;
        Self {
            weight: [share, 1.0 - share],
            mean: [low.0, high.0],
            variance: [low.1, high.1],
        }
    }

    /// Log of weight times density of component `k`.
    fn log_joint(&self, k: usize, v: f64) -> f64 {
        math::ln(self.weight[k]) + log_density(v, self.mean[k], self.variance[k])
    }

    /// One step of expectation maximisation. Returns the log likelihood before it; `None` where a
    /// component is left with less than one value.
    fn step(&mut self, values: &[f64], floor: f64) -> Option<f64> {
        let (mut r, mut rv, mut rvv) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        let mut likelihood = 0.0;
        for &v in values {
            let logs = [0, 1].map(|k| self.log_joint(k, v));
            let top = logs[0].max(logs[1]);
            let sum = math::exp(logs[0] - top) + math::exp(logs[1] - top);
            likelihood += top + math::ln(sum);
            for k in 0..2 {
                let p = math::exp(logs[k] - top) / sum;
                r[k] += p;
                rv[k] += p * v;
                rvv[k] += p * v * v;
            }
        }
        if r[0] < 1.0 || r[1] < 1.0 {
            return None;
        }
        for k in 0..2 {
            self.weight[k] = r[k] / values.len() as f64;
            self.mean[k] = rv[k] / r[k];
            self.variance[k] = (rvv[k] / r[k] - self.mean[k] * self.mean[k]).max(floor);
        }
        Some(likelihood)
    }

    /// Put the component with the lower mean first.
    fn sort(&mut self) {
        if self.mean[0] > self.mean[1] {
            self.weight.swap(0, 1);
            self.mean.swap(0, 1);
            self.variance.swap(0, 1);
        }
    }

    /// Value between the means at which both components are equally likely, by bisection; `None` where
    /// one of them is likelier at both means.
    fn threshold(&self) -> Option<f64> {
        let lean = |v: f64| self.log_joint(1, v) - self.log_joint(0, v);
        let [mut low, mut high] = self.mean;
        if lean(low) >= 0.0 || lean(high) <= 0.0 {
            return None;
        }
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if lean(middle) > 0.0 {
                high = middle
            } else {
                low = middle
            }
        }
        Some(f64::midpoint(low, high))
    }
}

/// Interquartile range of Pearson's correlations of all pairs of the rows `cells` of `x`, each row with
/// itself included: the heterogeneity score of Wu et al. 2021 as `infercnvpy.tl.ithcna` computes it
/// (numpy's linear quantiles). NaN with fewer than two cells, or where a row is constant.
pub fn ithcna(x: &Csr, cells: &[usize]) -> f64 {
    let (n, w) = (cells.len(), x.n_cols());
    if n < 2 {
        return f64::NAN;
    }
    let mut z = ndarray::Array2::<f64>::zeros((n, w));
    for (mut row, &cell) in z.rows_mut().into_iter().zip(cells) {
        let (cols, vals) = x.row(cell);
        cols.iter()
            .zip(vals)
            .for_each(|(&c, &v)| row[c as usize] = f64::from(v));
        let mean = row.sum() / w as f64;
        row -= mean;
        let length = row.dot(&row).sqrt();
        if length <= 1e-12 {
            return f64::NAN;
        }
        row /= length;
    }
    let products = clcc_numerics::linalg::matmul_nt(&z.view(), &z.view());
    let mut all: Vec<f64> = products.iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    all.sort_by(f64::total_cmp);
    clcc_numerics::stats::quantile_sorted(&all, 0.75)
        - clcc_numerics::stats::quantile_sorted(&all, 0.25)
}

#[cfg(test)]
mod tests {
    use super::super::profiles::profiles;
    use super::*;
    use clcc_numerics::rng::Rng;

    #[test]
    fn correlation_leaves_the_cell_out() {
        let x = Csr::from_rows(
            4,
            vec![
                vec![(0, 1.0), (2, -1.0)],
                vec![(0, 2.0), (1, 0.5)],
                vec![(0, 0.5), (3, 1.0)],
            ],
        );
        let m = malignancy(&x, &[0, 0, 0], &profiles(&x, &[0, 0, 0], 1));
        // By the definition, on dense rows.
        let dense = x.to_dense().mapv(f64::from);
        for i in 0..3 {
            let others: Vec<f64> = (0..4)
                .map(|w| {
                    (0..3)
                        .filter(|&j| j != i)
                        .map(|j| dense[[j, w]])
                        .sum::<f64>()
                        / 2.0
                })
                .collect();
            let own: Vec<f64> = dense.row(i).to_vec();
            let r = clcc_numerics::stats::pearson(&own, &others).r;
            assert!(
                (m.correlation[i] - r).abs() < 1e-12,
                "{} {r}",
                m.correlation[i]
            );
            assert!(
                (m.signal[i] - (own.iter().map(|v| v * v).sum::<f64>() / 4.0).sqrt()).abs() < 1e-12
            );
        }
        assert_eq!(m.fit, None);
    }

    #[test]
    fn a_cell_without_signal_and_a_cluster_of_one_have_score_0() {
        let x = Csr::from_rows(3, vec![vec![], vec![(0, 1.0)], vec![(1, 2.0)]]);
        let m = malignancy(&x, &[0, 0, 1], &profiles(&x, &[0, 0, 1], 2));
        assert_eq!((m.score[0], m.score[2]), (0.0, 0.0));
        assert!(m.correlation.iter().all(|c| c.is_finite()));
    }

    /// Most normal cells agree with their cluster's profile by chance alone, as often against it as with it:
    /// those must not become a component of their own.
    #[test]
    fn normal_cells_without_a_profile_are_not_called() {
        for seed in 1..4 {
            let mut rng = Rng::new(seed, "malignancy test", &[]);
            let rows: Vec<Vec<(u32, f32)>> = (0..400)
                .map(|i| {
                    let gain = |w: u32| if i < 100 && w < 60 { 0.1 } else { 0.0 };
                    (0..200)
                        .map(|w| (w, gain(w) + 0.04 * rng.normal()))
                        .filter(|(_, v)| v.abs() >= 0.06)
                        .map(|(w, v)| (w, v as f32))
                        .collect()
                })
                .collect();
            let x = Csr::from_rows(200, rows);
            let membership: Vec<u32> = (0..400).map(|i| u32::from(i < 100)).collect();
            let found = malignancy(&x, &membership, &profiles(&x, &membership, 2));
            let calls = found.calls().unwrap();
            let called = |cells: std::ops::Range<usize>| cells.filter(|&i| calls[i]).count();
            let (malignant, normal) = (called(0..100), called(100..400));
            assert!(
                malignant >= 97 && normal <= 3,
                "seed {seed}: {malignant} {normal}"
            );
            assert!(found.score.iter().any(|s| *s < 0.0));
        }
    }

    #[test]
    fn reference_cells_are_normal_whatever_they_score() {
        let rows = |i: usize| {
            let v = if i < 40 { 0.1 } else { 0.001 * (i % 7) as f32 };
            vec![(0, v), (1, -v)]
        };
        let x = Csr::from_rows(4, (0..100).map(rows));
        let membership: Vec<u32> = (0..100).map(|i| u32::from(i < 40)).collect();
        let mut m = malignancy(&x, &membership, &profiles(&x, &membership, 2));
        let called = |m: &Malignancy| m.calls().unwrap().iter().filter(|c| **c).count();
        assert_eq!(called(&m), 40);
        // A quarter of the reference has the profile of the forty.
        let reference: Vec<bool> = (0..100).map(|i| i < 10 || (50..80).contains(&i)).collect();
        assert_eq!(m.take_reference(&reference), Some(0.25));
        assert_eq!(called(&m), 30);
        assert_eq!(m.take_reference(&[false; 100]), None);
        assert_eq!(called(&m), 40);
        // A threshold of one's own, above every score and below all of them.
        m.threshold = Some(1.0);
        assert_eq!((called(&m), m.take_reference(&reference)), (0, Some(0.0)));
        m.threshold = Some(-1.0);
        assert_eq!((called(&m), m.take_reference(&reference)), (60, Some(1.0)));
    }

    #[test]
    fn two_normal_clouds_are_told_apart_at_the_crossing() {
        let mut rng = Rng::new(5, "mixture test", &[]);
        let values: Vec<f64> = (0..4000)
            .map(|i| {
                if i % 4 == 0 {
                    6.0 + rng.normal()
                } else {
                    1.0 + rng.normal()
                }
            })
            .collect();
        let fit = two_components(&values).unwrap();
        assert!(
            (fit.weight[1] - 0.25).abs() < 0.02
                && (fit.mean[0] - 1.0).abs() < 0.1
                && (fit.mean[1] - 6.0).abs() < 0.1,
            "{fit:?}"
        );
        // Equal sds: the crossing is at the middle plus ln(3) / 5.
        assert!(
            (fit.threshold - (3.5 + 3f64.ln() / 5.0)).abs() < 0.1,
            "{}",
            fit.threshold
        );
        assert!(fit.bic_gain > 100.0);
    }

    #[test]
    fn one_cloud_has_no_threshold() {
        let mut rng = Rng::new(6, "mixture test", &[]);
        let values: Vec<f64> = (0..2000).map(|_| rng.normal()).collect();
        assert_eq!(two_components(&values), None);
        assert_eq!(two_components(&[1.0; 50]), None);
        assert_eq!(two_components(&[0.0, 5.0]), None);
    }

    #[test]
    fn ithcna_is_the_quartile_range_of_all_correlations() {
        // numpy: corrcoef([[1, 2, 4], [2, 1, 0], [0, 1, 1]]), percentile 75 - 25 over its nine entries.
        let x = Csr::from_dense(&ndarray::array![[1., 2., 4.], [2., 1., 0.], [0., 1., 1.]]);
        assert!(
            (ithcna(&x, &[0, 1, 2]) - 1.866_025_403_784_438_4).abs() < 1e-9,
            "{}",
            ithcna(&x, &[0, 1, 2])
        );
        assert!(ithcna(&x, &[0]).is_nan());
    }
}
