//! Calls malignant cells from their copy-number profiles, since not every cell of a tumour sample is
//! malignant.
//!
//! 1. Only a cluster with a region that is surely altered ([`super::Segmented::altered`]) can hold malignant
//!    cells. Cell types have profiles too, but those are made by single genes anywhere.
//! 2. A cell's score is its profile along such a cluster's altered regions, as a share of the profile of the
//!    cluster's other cells: 0 is normal, 1 the cluster's typical malignant cell. A cell that holds back a share of
//!    its genes' dosage scores as much less. Where several clusters are altered, the largest of its shares counts.
//! 3. The scores of the altered clusters' cells are a mixture: the normal component is that of the reference cells,
//!    known beforehand, the malignant one is free. The threshold is where a cell is as likely of the one as of the
//!    other. So a cell is malignant where it is not explained as a normal one, however far it falls short of 1.
//! 4. Reference cells are known to be normal. If they score above the threshold of an altered cluster as often as
//!    other cells do, so do normal cells among the latter: the ratio of the two shares estimates the share of the
//!    calls that is false ([`Malignancy::false_share`]). Above one half no call is made, in a cluster or at all.
//!
//! Without named reference cells (or with fewer than 20) both components are fitted to the scores of all cells. A
//! user who has seen the scores may set the threshold ([`Malignancy::threshold`]).

use ndarray::ArrayView1;

use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::{mean, median, median_deviation, variance};

use super::profiles::Profiles;

/// Estimated share of false calls above which no call is made.
pub(super) const MOST_FALSE: f64 = 0.5;
/// Rounds in which the profiles of the altered regions are taken from the cells that are called.
const ROUNDS: usize = 3;
/// Fewest cells whose mean is such a profile.
const FEWEST: usize = 5;
/// A profile is left out in favour of another that it correlates with by more than the first of these, and that is larger
/// by more than one over the second: it is the other's, mixed with normal cells.
const ECHO: (f64, f64) = (0.7, 0.7);
/// Range of the malignant share of an altered cluster's cells.
const SHARE: (f64, f64) = (0.05, 0.95);

/// Malignancy scores and calls of the cells of one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Malignancy {
    /// Root mean square of the cell's `X_cnv`, zeros included; natural log ratio.
    pub signal: Vec<f64>,
    /// Pearson's correlation of the cell's profile with the mean profile of its cluster's other cells; 0
    /// where either is flat.
    pub correlation: Vec<f64>,
    /// Share of the altered clusters' profile that the cell has; `signal` times `correlation` where no
    /// cluster is altered.
    pub score: Vec<f64>,
    /// The two components; `None` where they cannot be told apart.
    pub fit: Option<TwoComponents>,
    /// Score above which a cell is called malignant: that of `fit`, unless it was set.
    pub threshold: Option<f64>,
    /// Whether the threshold was set by the user. Then cells of every cluster are called.
    pub by_hand: bool,
    /// Cells that are known to be normal.
    pub reference: Vec<bool>,
    /// Whether a cell's cluster can hold malignant cells.
    pub altered: Vec<bool>,
    /// Estimated share of false calls: share of reference cells above the threshold in such
    /// clusters, over that of other cells. `None` without a threshold, a reference or a cell above.
    pub false_share: Option<f64>,
}

impl Malignancy {
    /// Whether each cell is called malignant: above the threshold, in a cluster that can hold malignant cells
    /// (in any, where the threshold was set), and not a reference cell. `None` without a threshold, and where
    /// more than half of the calls would be false.
    pub fn calls(&self) -> Option<Vec<bool>> {
        let calls = self.above()?;
        if self.refused() {
            return None;
        }
        let cells = calls.iter().zip(&self.reference);
        Some(cells.map(|(above, r)| *above && !r).collect())
    }

    /// Whether there is a threshold, and too many of the calls would be false. Never for a threshold that the
    /// user set.
    pub fn refused(&self) -> bool {
        !self.by_hand && self.false_share.is_some_and(|share| share > MOST_FALSE)
    }

    /// Set the threshold by hand.
    pub fn set_threshold(&mut self, threshold: f64) {
        self.threshold = Some(threshold);
        self.by_hand = true;
        self.false_share = self.estimate(&|_| true);
    }

    /// Estimated share of false calls in each cluster; NaN where it holds no such cell.
    pub fn false_share_of_clusters(&self, membership: &[u32], n_clusters: usize) -> Vec<f64> {
        (0..n_clusters as u32)
            .map(|c| self.estimate(&|i| membership[i] == c).unwrap_or(f64::NAN))
            .collect()
    }

    /// Share of the reference cells above the threshold.
    pub fn reference_above(&self) -> Option<f64> {
        let (above, n) = (self.above()?, count(&self.reference));
        let own = above.iter().zip(&self.reference);
        (n > 0).then(|| own.filter(|(a, r)| **a && **r).count() as f64 / n as f64)
    }

    /// Cells above the threshold in clusters that can hold malignant cells.
    fn above(&self) -> Option<Vec<bool>> {
        let threshold = self.threshold?;
        let cells = self.score.iter().zip(&self.altered);
        Some(
            cells
                .map(|(s, altered)| *s > threshold && (self.by_hand || *altered))
                .collect(),
        )
    }

    /// Estimated share of false calls among the cells that `wanted` selects.
    fn estimate(&self, wanted: &dyn Fn(usize) -> bool) -> Option<f64> {
        let above = self.above()?;
        let n = count(&self.reference);
        let of = |reference: bool, total: usize| {
            let cells = (0..above.len()).filter(|&i| above[i] && self.reference[i] == reference);
            cells.filter(|&i| wanted(i)).count() as f64 / total as f64
        };
        let called = of(false, above.len() - n);
        (n > 0 && called > 0.0).then(|| (of(true, n) / called).min(1.0))
    }
}

fn count(flags: &[bool]) -> usize {
    flags.iter().filter(|f| **f).count()
}

/// A mixture of two normal components.
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
}

/// Score and call the cells of `x` (`n_cells x n_windows`) by the clusters in `membership`. `altered` has the windows
/// of each altered region of each cluster; a cluster without any holds no malignant cell. `reference` flags cells that
/// are known to be normal.
pub fn malignancy(
    x: &Csr,
    membership: &[u32],
    profiles: &Profiles,
    altered: &[Vec<Vec<usize>>],
    reference: Option<&[bool]>,
) -> Malignancy {
    let n = x.n_rows();
    let mut out = against_clusters(x, membership, profiles);
    out.reference = reference.map_or(vec![false; n], <[bool]>::to_vec);
    out.altered = (0..n)
        .map(|i| !altered[membership[i] as usize].is_empty())
        .collect();
    let is_candidate: Vec<bool> = (0..n)
        .map(|i| out.altered[i] && !out.reference[i])
        .collect();
    let mut members = is_candidate.clone();
    for _ in 0..ROUNDS {
        let directions: Vec<Direction> = (0..altered.len())
            .filter_map(|c| Direction::new(x, &altered[c], &of_cluster(membership, c, &members)))
            .collect();
        let directions = without_echoes(directions, x.n_cols());
        if directions.is_empty() {
            break;
        }
        for i in 0..n {
            let shares = directions.iter().map(|d| d.share(i));
            out.score[i] = shares.fold(f64::NEG_INFINITY, f64::max);
        }
        out.fit = components(&out.score, &is_candidate, &out.reference);
        out.threshold = out.fit.map(|f| f.threshold);
        let Some(above) = out.above() else { break };
        members = (0..n).map(|i| above[i] && is_candidate[i]).collect();
    }
    out.drop_false_clusters(membership, altered.len());
    out.false_share = out.estimate(&|_| true);
    out
}

impl Malignancy {
    /// Let no cluster hold malignant cells where more than half of its calls would be false.
    fn drop_false_clusters(&mut self, membership: &[u32], n_clusters: usize) {
        let shares = self.false_share_of_clusters(membership, n_clusters);
        for (altered, &cluster) in self.altered.iter_mut().zip(membership) {
            *altered &= shares[cluster as usize].is_nan() || shares[cluster as usize] <= MOST_FALSE;
        }
    }
}

/// Members of a cluster.
fn of_cluster(membership: &[u32], cluster: usize, members: &[bool]) -> Vec<usize> {
    (0..members.len())
        .filter(|&i| members[i] && membership[i] as usize == cluster)
        .collect()
}

/// Signal, and correlation with the own cluster's mean profile, of every cell.
fn against_clusters(x: &Csr, membership: &[u32], profiles: &Profiles) -> Malignancy {
    let n = x.n_rows();
    let moments: Vec<(f64, f64)> = profiles
        .mean
        .rows()
        .into_iter()
        .map(|r| (r.sum(), r.dot(&r)))
        .collect();
    let of_cell = |cell: usize| {
        let cluster = membership[cell] as usize;
        let cells = profiles.n_cells[cluster] as f64;
        let mean = profiles.mean.row(cluster);
        compare(x, cell, &mean, moments[cluster], cells)
    };
    let (signal, correlation): (Vec<f64>, Vec<f64>) = (0..n).map(of_cell).unzip();
    Malignancy {
        score: signal
            .iter()
            .zip(&correlation)
            .map(|(s, c)| s * c)
            .collect(),
        signal,
        correlation,
        fit: None,
        threshold: None,
        by_hand: false,
        reference: vec![false; n],
        altered: vec![false; n],
        false_share: None,
    }
}

/// Mean profile of a cluster's malignant cells over its altered regions, which are taken as level.
struct Direction {
    /// Windows of each region.
    regions: Vec<Vec<usize>>,
    /// Mean of each cell in each region.
    of_cell: Vec<Vec<f64>>,
    /// Mean of the members in each region.
    mean: Vec<f64>,
    is_member: Vec<bool>,
    n_members: f64,
}

impl Direction {
    /// `None` without regions or with fewer than five members.
    fn new(x: &Csr, regions: &[Vec<usize>], members: &[usize]) -> Option<Self> {
        if regions.is_empty() || members.len() < FEWEST {
            return None;
        }
        let mut region_of: Vec<Option<usize>> = vec![None; x.n_cols()];
        for (r, windows) in regions.iter().enumerate() {
            windows.iter().for_each(|&w| region_of[w] = Some(r));
        }
        let of_cell: Vec<Vec<f64>> = (0..x.n_rows())
            .map(|i| {
                let mut sums = vec![0.0; regions.len()];
                let (cols, values) = x.row(i);
                for (&c, &v) in cols.iter().zip(values) {
                    if let Some(r) = region_of[c as usize] {
                        sums[r] += f64::from(v);
                    }
                }
                let sums = sums.into_iter().zip(regions);
                sums.map(|(s, windows)| s / windows.len() as f64).collect()
            })
            .collect();
        let mean = (0..regions.len()).map(|r| {
            let values = members.iter().map(|&i| of_cell[i][r]);
            values.sum::<f64>() / members.len() as f64
        });
        let mut is_member = vec![false; x.n_rows()];
        members.iter().for_each(|&i| is_member[i] = true);
        Some(Self {
            mean: mean.collect(),
            regions: regions.to_vec(),
            of_cell,
            is_member,
            n_members: members.len() as f64,
        })
    }

    /// Share of the profile that a cell has: projection on the mean of the other members.
    fn share(&self, cell: usize) -> f64 {
        let (mut product, mut square) = (0.0, 0.0);
        for (r, windows) in self.regions.iter().enumerate() {
            let own = self.of_cell[cell][r];
            let mean = if self.is_member[cell] {
                (self.n_members * self.mean[r] - own) / (self.n_members - 1.0)
            } else {
                self.mean[r]
            };
            product += windows.len() as f64 * own * mean;
            square += windows.len() as f64 * mean * mean;
        }
        if square > 0.0 { product / square } else { 0.0 }
    }

    /// The profile over all windows, 0 outside of the regions.
    fn profile(&self, n_windows: usize) -> Vec<f64> {
        let mut out = vec![0.0; n_windows];
        for (windows, mean) in self.regions.iter().zip(&self.mean) {
            windows.iter().for_each(|&w| out[w] = *mean);
        }
        out
    }
}

/// Leave out profiles that are a larger one's, weakened.
fn without_echoes(directions: Vec<Direction>, n_windows: usize) -> Vec<Direction> {
    let profiles: Vec<Vec<f64>> = directions.iter().map(|d| d.profile(n_windows)).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let size: Vec<f64> = profiles.iter().map(|p| dot(p, p).sqrt()).collect();
    let is_echo = |k: usize| {
        (0..size.len()).any(|j| {
            size[k] < ECHO.1 * size[j]
                && dot(&profiles[j], &profiles[k]) > ECHO.0 * size[j] * size[k]
        })
    };
    let kept: Vec<bool> = (0..size.len()).map(|k| !is_echo(k)).collect();
    let directions = directions.into_iter().zip(kept);
    directions
        .filter_map(|(d, keep)| keep.then_some(d))
        .collect()
}

/// The two components: the normal one from the reference cells, where there are 20; otherwise both from all cells.
fn components(score: &[f64], is_candidate: &[bool], reference: &[bool]) -> Option<TwoComponents> {
    let of = |wanted: &[bool]| -> Vec<f64> {
        let cells = score.iter().zip(wanted);
        cells.filter_map(|(s, w)| w.then_some(*s)).collect()
    };
    let normal = of(reference);
    if normal.len() < ENOUGH {
        return two_components(score);
    }
    let centre = median(&normal);
    let sd = median_deviation(&normal, centre);
    beside_normal(&of(is_candidate), centre, sd.max(1e-6))
}

/// Fit a normal component next to a known one of `mean` and `sd` by expectation maximisation, starting from the values
/// more than two of its standard deviations above it. The share of the new component stays within [`SHARE`], its
/// standard deviation is at least half of the known one's. `None` where there are no such values, or the component
/// does not come to be above the known one.
fn beside_normal(values: &[f64], mean: f64, sd: f64) -> Option<TwoComponents> {
    let above: Vec<f64> = values
        .iter()
        .copied()
        .filter(|v| *v > mean + 2.0 * sd)
        .collect();
    if above.is_empty() {
        return None;
    }
    let floor = 0.25 * sd * sd;
    let share = (above.len() as f64 / values.len() as f64).clamp(SHARE.0, SHARE.1);
    let (centre, variance) = mean_and_variance(&above);
    let mut pair = NormalPair {
        weight: [1.0 - share, share],
        mean: [mean, centre],
        variance: [sd * sd, variance.max(floor)],
    };
    let mut likelihood = f64::NEG_INFINITY;
    for _ in 0..1000 {
        let known = (pair.mean[0], pair.variance[0]);
        let next = pair.step(values, floor)?;
        (pair.mean[0], pair.variance[0]) = known;
        let share = pair.weight[1].clamp(SHARE.0, SHARE.1);
        pair.weight = [1.0 - share, share];
        let done = next - likelihood < 1e-9 * next.abs().max(1.0);
        likelihood = next;
        if done {
            break;
        }
    }
    if pair.mean[1] <= mean + sd {
        return None;
    }
    let threshold = pair.threshold().unwrap_or(mean);
    Some(pair.named(threshold))
}

fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    (mean(values), variance(values, 0))
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
        if pair.weight[0] * (n as f64) < 1.0 {
            return None;
        }
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
    let threshold = pair.threshold()?;
    Some(pair.named(threshold))
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
        let (low, high) = (
            mean_and_variance(&sorted[..best.0]),
            mean_and_variance(&sorted[best.0..]),
        );
        let share = best.0 as f64 / n as f64;
        Self {
            weight: [share, 1.0 - share],
            mean: [low.0, high.0],
            variance: [low.1.max(floor), high.1.max(floor)],
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
        if r[1] < 1.0 {
            return None;
        }
        for k in (0..2).filter(|&k| r[k] > 0.0) {
            self.weight[k] = r[k] / values.len() as f64;
            self.mean[k] = rv[k] / r[k];
            self.variance[k] = (rvv[k] / r[k] - self.mean[k] * self.mean[k]).max(floor);
        }
        Some(likelihood)
    }

    /// The components with their threshold.
    fn named(&self, threshold: f64) -> TwoComponents {
        TwoComponents {
            weight: self.weight,
            mean: self.mean,
            sd: self.variance.map(f64::sqrt),
            threshold,
        }
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

    /// Without an altered cluster.
    fn unaltered(x: &Csr, membership: &[u32]) -> Malignancy {
        let n = membership.iter().max().map_or(0, |m| *m as usize + 1);
        let profiles = profiles(x, membership, n);
        malignancy(x, membership, &profiles, &vec![Vec::new(); n], None)
    }

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
        let m = unaltered(&x, &[0, 0, 0]);
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
            let signal = (own.iter().map(|v| v * v).sum::<f64>() / 4.0).sqrt();
            assert!((m.signal[i] - signal).abs() < 1e-12);
            assert_eq!(m.score[i], m.signal[i] * m.correlation[i]);
        }
        assert_eq!((m.fit, m.calls()), (None, None));
    }

    #[test]
    fn a_cell_without_signal_and_a_cluster_of_one_have_score_0() {
        let x = Csr::from_rows(3, vec![vec![], vec![(0, 1.0)], vec![(1, 2.0)]]);
        let m = unaltered(&x, &[0, 0, 1]);
        assert_eq!((m.score[0], m.score[2]), (0.0, 0.0));
        assert!(m.correlation.iter().all(|c| c.is_finite()));
    }

    #[test]
    fn a_share_is_the_projection_on_the_other_members() {
        let x = Csr::from_dense(&ndarray::array![
            [1., 3., 0.5, 2.],
            [2., 2., 1., 0.],
            [0., 1., -1., 3.],
            [0.5, 0., 4., 1.]
        ]);
        let regions = [vec![0, 1], vec![3]];
        let found = Direction::new(&x, &regions, &[0, 1, 2]);
        assert!(found.is_none(), "three are too few");
        let x = Csr::vstack(&[&x, &x]);
        let members = [0, 1, 2, 4, 5, 6];
        let found = Direction::new(&x, &regions, &members).unwrap();
        let dense = x.to_dense().mapv(f64::from);
        for cell in 0..8 {
            let others: Vec<usize> = members.into_iter().filter(|&m| m != cell).collect();
            let level = |windows: &[usize]| -> f64 {
                let cells = others
                    .iter()
                    .flat_map(|&m| windows.iter().map(move |&w| (m, w)));
                cells.map(|(m, w)| dense[[m, w]]).sum::<f64>()
                    / (others.len() * windows.len()) as f64
            };
            let profile = [level(&[0, 1]), level(&[0, 1]), 0.0, level(&[3])];
            let product: f64 = (0..4).map(|w| dense[[cell, w]] * profile[w]).sum();
            let square: f64 = profile.iter().map(|p| p * p).sum();
            assert!(
                (found.share(cell) - product / square).abs() < 1e-6,
                "cell {cell}"
            );
        }
    }

    /// 400 cells over 200 windows, of which the first 60 are an altered region. Cells 0 to 99 have it, a third of
    /// them the share `held` of it; cells 100 to 129 are normal cells of the same cluster; the others are two
    /// normal clusters with profiles of their own. Every second normal cell is reference.
    fn tumour(held: f64, seed: u64) -> (Csr, Vec<u32>, Vec<bool>) {
        let mut rng = Rng::new(seed, "malignancy test", &[]);
        let cluster = |i: usize| match i {
            ..130 => 0,
            130..270 => 1,
            _ => 2,
        };
        let types: Vec<Vec<f64>> = (0..3)
            .map(|_| (0..20).map(|_| 0.015 * rng.normal()).collect())
            .collect();
        let rows = (0..400usize).map(|i| {
            let share = match i {
                ..100 if i % 3 == 0 => held,
                ..100 => 1.0,
                _ => 0.0,
            };
            (0..200)
                .map(|w| {
                    let copies = if w < 60 { 0.1 * share } else { 0.0 };
                    let own = types[cluster(i)][w / 10];
                    (w as u32, (copies + own + 0.1 * rng.normal()) as f32)
                })
                .collect::<Vec<_>>()
        });
        let membership = (0..400).map(|i| cluster(i) as u32).collect();
        (
            Csr::from_rows(200, rows),
            membership,
            (0..400).map(|i| i >= 100 && i % 2 == 0).collect(),
        )
    }

    fn judge(x: &Csr, membership: &[u32], altered: &[bool], reference: &[bool]) -> Malignancy {
        let regions: Vec<Vec<Vec<usize>>> = altered
            .iter()
            .map(|a| {
                if *a {
                    vec![(0..60).collect()]
                } else {
                    Vec::new()
                }
            })
            .collect();
        let profiles = profiles(x, membership, 3);
        malignancy(x, membership, &profiles, &regions, Some(reference))
    }

    fn called(m: &Malignancy, cells: impl Iterator<Item = usize>) -> usize {
        let calls = m.calls().unwrap();
        cells.filter(|&i| calls[i]).count()
    }

    /// Cells that hold back half of their dosage are called as others are, and the normal cells of their cluster
    /// are not.
    #[test]
    fn cells_that_hold_their_dosage_back_are_malignant() {
        let mut false_calls = 0;
        for seed in 1..6 {
            let (x, membership, reference) = tumour(0.5, seed);
            let m = judge(&x, &membership, &[true, false, false], &reference);
            let held = called(&m, (0..100).filter(|i| i % 3 == 0));
            let other = called(&m, (0..100).filter(|i| i % 3 > 0));
            false_calls += called(&m, 100..130);
            assert!(held >= 32 && other == 66, "{held} of 34, {other} of 66");
            assert_eq!(called(&m, 130..400), 0);
            assert!(m.false_share.unwrap() < 0.1, "{:?}", m.false_share);
            // A share of the typical malignant cell.
            let mean: f64 = (0..100)
                .filter(|i| i % 3 > 0)
                .map(|i| m.score[i])
                .sum::<f64>()
                / 66.0;
            assert!((1.0..1.35).contains(&mean), "{mean}");
        }
        assert!(false_calls <= 10, "{false_calls} of 75");
    }

    #[test]
    fn no_cluster_is_altered_and_no_cell_is_called() {
        let (x, membership, reference) = tumour(1.0, 7);
        let m = judge(&x, &membership, &[false; 3], &reference);
        assert_eq!((m.calls(), m.threshold, m.false_share), (None, None, None));
        assert!(m.score.iter().all(|s| s.is_finite()));
    }

    /// Half of the "tumour" is reference: so many of the calls are false.
    #[test]
    fn calls_that_reference_cells_share_are_not_made() {
        let (x, membership, _) = tumour(1.0, 8);
        let split: Vec<bool> = (0..400).map(|i| i % 2 == 0).collect();
        let m = judge(&x, &membership, &[true, false, false], &split);
        assert!(m.false_share_of_clusters(&membership, 3)[1].is_nan());
        assert_eq!(m.calls().map(|c| count(&c)).unwrap_or(0), 0);
        // A threshold of one's own is obeyed, in every cluster, and reference cells stay normal.
        let mut m = m;
        m.set_threshold(0.5);
        let calls = m.calls().unwrap();
        assert!((0..100).filter(|&i| calls[i]).count() >= 45);
        assert!(calls.iter().zip(&split).all(|(c, r)| !(*c && *r)));
        assert!(m.false_share.unwrap() > 0.8);
    }

    #[test]
    fn the_known_component_keeps_its_place() {
        let mut rng = Rng::new(9, "malignancy test", &[]);
        let values: Vec<f64> = (0..2000)
            .map(|i| {
                if i % 5 == 0 {
                    0.2 * rng.normal()
                } else {
                    1.0 + 0.25 * rng.normal()
                }
            })
            .collect();
        let fit = beside_normal(&values, 0.0, 0.2).unwrap();
        assert_eq!((fit.mean[0], fit.sd[0]), (0.0, 0.2));
        assert!(
            (fit.mean[1] - 1.0).abs() < 0.03 && (fit.sd[1] - 0.25).abs() < 0.02,
            "{fit:?}"
        );
        assert!((fit.weight[1] - 0.8).abs() < 0.02, "{fit:?}");
        // Normal cells alone.
        let normal: Vec<f64> = (0..500).map(|_| 0.2 * rng.normal()).collect();
        let share = beside_normal(&normal, 0.0, 0.2)
            .map_or(0, |f| normal.iter().filter(|v| **v > f.threshold).count());
        assert!(share <= 60, "{share} of 500");
        assert_eq!(beside_normal(&[0.1, -0.1], 0.0, 0.2), None);
    }

    #[test]
    fn a_weakened_copy_of_a_profile_is_left_out() {
        let x = Csr::from_rows(
            4,
            (0..20).map(|i| match i {
                ..10 => vec![(0, 1.0), (1, -1.0)],
                10..15 => vec![(0, 0.4), (1, -0.4)],
                _ => vec![(2, 0.3)],
            }),
        );
        let direction = |regions: &[Vec<usize>], cells: std::ops::Range<usize>| {
            Direction::new(&x, regions, &cells.collect::<Vec<_>>()).unwrap()
        };
        let arms = [vec![0], vec![1]];
        let all = vec![
            direction(&arms, 0..10),
            direction(&arms, 10..15),
            direction(&[vec![2]], 15..20),
        ];
        let kept = without_echoes(all, 4);
        assert_eq!(kept.len(), 2);
        assert!((kept[1].mean[0] - 0.3).abs() < 1e-6);
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
