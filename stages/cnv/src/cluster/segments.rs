//! Gains and losses of each cluster: its mean profile cut into segments of constant level, and calls
//! per arm.
//!
//! Not in infercnvpy. A cluster's mean profile is cut where its level changes (optimal partition,
//! Jackson et al. 2005, with a penalty that accounts for the overlap of windows). Each segment, and
//! each chromosome arm, is then judged by its genes' raw counts ([`super::evidence`]), where the stage
//! reads them; otherwise by its windows, with three sources of error: how much the cluster's cells
//! differ from each other there, how far profiles of normal cells depart from 0 for reasons other than
//! copy number, and how far the cluster's own windows differ from those next to them, which is what
//! programmes of expression do.

use std::ops::Range;

use clcc_data::frame::Frame;
use clcc_data::genome::{Arm, natural_cmp};
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::two_sided_t;

use super::evidence::{Contrast, Contrasts, MIN_GENES, Shift};
use super::profiles::Profiles;

/// Options of [`segment`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentOptions {
    /// Least confidence of a gain or loss.
    pub confidence: f64,
    /// Least absolute mean of a gain or loss, natural log ratio.
    pub min_amplitude: f64,
    /// Share of an arm's windows that must be in gains (losses) for the arm to be called gained (lost).
    pub arm_share: f64,
}

/// Call of a segment or an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Copy number above that of the reference.
    Gain,
    /// Copy number below that of the reference.
    Loss,
    /// No change, or too uncertain.
    Neutral,
}

impl Call {
    /// Name in the tables: `gain`, `loss` or `neutral`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
            Self::Neutral => "neutral",
        }
    }
}

/// A segment of a cluster's profile with constant level.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Index of the cluster.
    pub cluster: usize,
    /// Windows, all of one arm (of one chromosome, where arms are not known).
    pub windows: Range<usize>,
    /// Mean level and its uncertainty.
    pub level: Level,
    /// Gain, loss or neutral.
    pub call: Call,
}

/// Level of a region with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Mean of `X_cnv` over windows and cells, natural log ratio.
    pub mean: f64,
    /// Standard error of `mean`: of sampling cells, of the stray of normal profiles, and of programmes of
    /// expression.
    pub standard_error: f64,
    /// Departure of the region's typical gene, by raw counts; `None` where they are not read or say
    /// nothing.
    pub shift: Option<Shift>,
    /// Probability that a level of this size is not chance: 1 minus the two-sided p (Student's t) of the
    /// shift over its standard error where the cluster's counts are read, otherwise of the mean over its
    /// own; not corrected for the number of regions. NaN for a region with fewer than 20 genes.
    pub confidence: f64,
}

/// Departure, in standard errors, of a region that makes a cluster altered: chance exceeds it in one of 400
/// clusters of 39 arms.
const SURELY: f64 = 4.0;
/// Least departure, in standard errors, of the other regions of an altered cluster.
const PROBABLY: f64 = 3.0;
/// Least log ratio of the typical gene for the one and for the other. Half of the genes' response to one copy on two
/// is .2.
const LEAST_SHIFT: (f64, f64) = (0.15, 0.1);

impl Level {
    /// Standard errors from 0 of what the confidence rests on, and 0 where that disagrees in sign with the mean.
    fn z(&self) -> f64 {
        let z = match &self.shift {
            Some(shift) if shift.log_ratio * self.mean > 0.0 => shift.z(),
            Some(_) => 0.0,
            None => self.mean / self.standard_error.max(1e-12),
        };
        if self.confidence.is_nan() { 0.0 } else { z }
    }

    /// Whether the region departs by `errors` standard errors and a log ratio of `least` or more.
    fn departs(&self, errors: f64, least: f64) -> bool {
        let enough = self.shift.is_none_or(|s| s.log_ratio.abs() >= least);
        self.z().abs() >= errors && enough
    }
}

/// Call of one chromosome arm in one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmCall {
    /// Index of the cluster.
    pub cluster: usize,
    /// Chromosome, such as `chr1`.
    pub chromosome: String,
    /// The arm; `None` for the whole chromosome, where the genome's arms are not known.
    pub arm: Option<Arm>,
    /// Mean level and its uncertainty.
    pub level: Level,
    /// Windows whose middle is on the arm.
    pub windows: Vec<usize>,
    /// Share of the arm's windows in gains.
    pub share_gain: f64,
    /// Share of the arm's windows in losses.
    pub share_loss: f64,
    /// Gain, loss or neutral.
    pub call: Call,
}

/// Segments and arm calls of all clusters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segmented {
    /// Segments in the order of clusters and windows; each window of each cluster is in exactly one.
    pub segments: Vec<Segment>,
    /// Arm calls in the order of clusters and the genome, for arms with windows. Whole chromosomes
    /// where the windows have no column `arm`.
    pub arms: Vec<ArmCall>,
    /// Stray: standard deviation of a window of a normal profile around 0.
    pub stray: f64,
}

impl Segmented {
    /// Windows of the altered regions of a cluster: its arms, and the segments outside of these. Empty unless one
    /// region departs from 0 surely.
    pub fn altered(&self, cluster: usize, least_mean: f64) -> Vec<Vec<usize>> {
        let all = |errors: f64, least: f64| -> Vec<Vec<usize>> {
            let departs = |l: &Level| l.departs(errors, least) && l.mean.abs() >= least_mean;
            let arms = self.arms.iter().filter(|a| a.cluster == cluster);
            let mut out: Vec<Vec<usize>> = arms
                .filter(|a| departs(&a.level))
                .map(|a| a.windows.clone())
                .collect();
            let arms = out.concat();
            let segments = self.segments.iter().filter(|s| s.cluster == cluster);
            for segment in segments.filter(|s| departs(&s.level)) {
                let left: Vec<usize> = segment
                    .windows
                    .clone()
                    .filter(|w| !arms.contains(w))
                    .collect();
                if !left.is_empty() {
                    out.push(left);
                }
            }
            out
        };
        if all(SURELY, LEAST_SHIFT.0).is_empty() {
            return Vec::new();
        }
        all(PROBABLY, LEAST_SHIFT.1)
    }

    /// Number of arms of a cluster that are called.
    pub fn n_called(&self, cluster: usize) -> usize {
        let own = self.arms.iter().filter(|a| a.cluster == cluster);
        own.filter(|a| a.call != Call::Neutral).count()
    }
}

/// An arm of the genome.
struct GenomeArm {
    chromosome: String,
    /// `None` for a whole chromosome.
    arm: Option<Arm>,
    windows: Vec<usize>,
    /// Places of its genes; `None` where they are not known.
    genes: Option<Range<usize>>,
}

/// Chromosomes and arms of the windows.
struct Genome {
    /// Windows of each chromosome.
    chromosomes: Vec<Range<usize>>,
    /// Windows of each run of one arm: no segment spans a centromere.
    spans: Vec<Range<usize>>,
    arms: Vec<GenomeArm>,
    /// Approximate number of windows that overlap with one window.
    reach: f64,
    /// First and last gene of each window; `None` where the windows do not list them.
    genes: Option<(Vec<f64>, Vec<f64>)>,
}

/// Genes of each arm (of each chromosome, where arms are not known), as runs of the genes in genome order. `genes` has
/// `chromosome` and, where arms are known, `arm`.
pub fn gene_arms(genes: &Frame) -> Vec<(String, Option<Arm>, Range<usize>)> {
    let Ok(chromosome) = genes.texts("chromosome") else {
        return Vec::new();
    };
    let known = Arm::of_frame(genes);
    let arm = |g: usize| known.as_ref().and_then(|arms| arms[g]);
    let mut out: Vec<(String, Option<Arm>, Range<usize>)> = Vec::new();
    for (g, name) in chromosome.iter().enumerate() {
        match out.last_mut() {
            Some(last) if last.0 == *name && last.1 == arm(g) => last.2.end = g + 1,
            _ => out.push((name.clone(), arm(g), g..g + 1)),
        }
    }
    out.retain(|a| known.is_none() || a.1.is_some());
    out
}

impl Genome {
    fn new(windows: &Frame, genes: Option<&Frame>) -> Option<Self> {
        let chromosome = windows.texts("chromosome").ok()?;
        windows.column("start").and(windows.column("end")).ok()?;
        let mut chromosomes = Vec::new();
        let mut first = 0;
        for run in chromosome.chunk_by(|a, b| a == b) {
            chromosomes.push(first..first + run.len());
            first += run.len();
        }
        let known = Arm::of_frame(windows);
        let arm_of = |w: usize| known.as_ref().and_then(|arms| arms[w]);
        let mut spans: Vec<Range<usize>> = Vec::new();
        for w in chromosomes.iter().cloned().flatten() {
            match spans.last_mut() {
                Some(last)
                    if arm_of(last.start) == arm_of(w)
                        && chromosome[last.start] == chromosome[w] =>
                {
                    last.end = w + 1;
                }
                _ => spans.push(w..w + 1),
            }
        }
        let of_genes = genes.map(gene_arms).unwrap_or_default();
        let mut arms: Vec<GenomeArm> = Vec::new();
        for w in 0..windows.len() {
            let arm = arm_of(w);
            if known.is_some() && arm.is_none() {
                continue;
            }
            let same = |a: &&mut GenomeArm| a.chromosome == chromosome[w] && a.arm == arm;
            match arms.iter_mut().find(same) {
                Some(found) => found.windows.push(w),
                None => {
                    // The longest run, where genes of unknown arm cut one.
                    let runs = of_genes
                        .iter()
                        .filter(|r| r.0 == chromosome[w] && r.1 == arm);
                    arms.push(GenomeArm {
                        chromosome: chromosome[w].clone(),
                        arm,
                        windows: vec![w],
                        genes: runs.map(|r| r.2.clone()).max_by_key(Range::len),
                    });
                }
            }
        }
        arms.sort_by(|a, b| natural_cmp(&a.chromosome, &b.chromosome).then(a.arm.cmp(&b.arm)));
        let listed = windows.numbers("first_gene").and_then(|first| {
            let last = windows.numbers("last_gene")?;
            Ok((first, last))
        });
        Some(Self {
            reach: reach(windows, &chromosomes),
            chromosomes,
            spans,
            arms,
            genes: listed.ok(),
        })
    }

    /// Genes of neighbouring windows of one chromosome: to halfway between the middles of the outer windows and of
    /// those next to them, or to the end of the windows.
    fn genes_of(&self, windows: &Range<usize>) -> Option<Range<usize>> {
        let (first, last) = self.genes.as_ref()?;
        let chromosome = self
            .chromosomes
            .iter()
            .find(|c| c.contains(&windows.start))?;
        let middle = |w: usize| f64::midpoint(first[w], last[w] + 1.0);
        let between = |w: usize| f64::midpoint(middle(w - 1), middle(w)).round() as usize;
        let start = if windows.start == chromosome.start {
            first[windows.start] as usize
        } else {
            between(windows.start)
        };
        let end = if windows.end == chromosome.end {
            last[windows.end - 1] as usize + 1
        } else {
            between(windows.end)
        };
        Some(start..end.max(start))
    }

    /// Variance of a window of this profile, from differences between windows that share half of their genes: what is
    /// constant over a region has no part in it. 0 where the windows do not list their genes, or no chromosome is
    /// long enough.
    fn local_variance(&self, profile: &[f64]) -> f64 {
        let Some((first, last)) = &self.genes else {
            return 0.0;
        };
        let (mut sum, mut n) = (0.0, 0.0);
        for span in &self.chromosomes {
            let width = |w: usize| last[w] - first[w] + 1.0;
            let half = span.clone().map(width).fold(0.0, f64::max) / 2.0;
            let middle = |w: usize| f64::midpoint(first[w], last[w]);
            let mut other = span.start;
            for w in span.clone() {
                while other < span.end && middle(other) - middle(w) < half {
                    other += 1;
                }
                if other == span.end {
                    break;
                }
                let alike = pyramid_correlation((middle(other) - middle(w)) / half);
                sum += (profile[other] - profile[w]).powi(2) / (2.0 * (1.0 - alike));
                n += 1.0;
            }
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }

    /// Cut a cluster's profile, whose windows have the variance `noise`, arm by arm.
    fn pieces(&self, profile: &[f64], noise: f64) -> Vec<Range<usize>> {
        let windows = (profile.len() as f64 / self.reach).max(2.0);
        let penalty = noise * self.reach * 2.0 * math::ln(windows);
        self.spans
            .iter()
            .flat_map(|span| {
                cut(&profile[span.clone()], penalty)
                    .into_iter()
                    .map(move |r| r.start + span.start..r.end + span.start)
            })
            .collect()
    }
}

/// Correlation of two pyramids of equal width over independent genes, whose middles are `u` half widths apart.
fn pyramid_correlation(u: f64) -> f64 {
    match u {
        ..=1.0 => 1.0 - 1.5 * u * u + 0.75 * u * u * u,
        ..=2.0 => 0.25 * (2.0 - u).powi(3),
        _ => 0.0,
    }
}

/// Number of windows that share information with one window: three quarters of its genes (the integral of the
/// pyramid's autocorrelation) divided by the genes between windows. 1 where the windows do not list their genes.
fn reach(windows: &Frame, chromosomes: &[Range<usize>]) -> f64 {
    let (Ok(first), Ok(last)) = (windows.numbers("first_gene"), windows.numbers("last_gene"))
    else {
        return 1.0;
    };
    let mut width = 0.0;
    let mut apart = 0.0;
    let mut n = 0.0;
    for span in chromosomes {
        for w in span.start + 1..span.end {
            width += last[w] - first[w] + 1.0;
            apart += (first[w] + last[w] - first[w - 1] - last[w - 1]) / 2.0;
            n += 1.0;
        }
    }
    if n > 0.0 && apart > 0.0 {
        (0.75 * width / apart).max(1.0)
    } else {
        1.0
    }
}

/// Cut the mean profile of each cluster and call gains and losses. `x` is `n_cells x n_windows`,
/// `membership` has the cluster of each row, `windows` the position of each column (`chromosome`,
/// `start`, `end`; `arm`, `first_gene` and `last_gene` where known), `genes` that of each gene of the
/// windows (`chromosome`; `arm` where known); `reference` flags normal cells where they are known;
/// `contrasts` compares the clusters' counts where they are read. `None` where the windows have no
/// positions.
///
/// Stray is the root mean square of the mean profiles of the reference cells of each cluster that has
/// ten of them (weighted by cells), minus what their own sampling explains. Without a reference it is
/// the median absolute value of all clusters' profiles times 1.4826, which assumes that most of the
/// genome is normal.
pub fn segment(
    x: &Csr,
    membership: &[u32],
    profiles: &Profiles,
    (windows, genes): (&Frame, Option<&Frame>),
    reference: Option<&[bool]>,
    contrasts: Option<&Contrasts>,
    options: &SegmentOptions,
) -> Option<Segmented> {
    let genome = Genome::new(windows, genes)?;
    let mut cells: Vec<Vec<usize>> = vec![Vec::new(); profiles.n_cells.len()];
    membership
        .iter()
        .enumerate()
        .for_each(|(i, &c)| cells[c as usize].push(i));
    let stray = stray(x, &cells, profiles, reference);
    let mut out = Segmented {
        stray,
        ..Segmented::default()
    };
    for (cluster, cells) in cells.iter().enumerate() {
        let profile: Vec<f64> = profiles.mean.row(cluster).to_vec();
        let sampling = sampling_variance(x, cells, &profile);
        let local = genome.local_variance(&profile);
        // What windows of this profile stray by apart from the sampling of cells.
        let beyond = (stray * stray).max(local - sampling);
        let pieces = genome.pieces(&profile, (sampling + beyond).max(1e-12));
        let regions: Vec<Region> = (pieces.iter())
            .map(|p| Region {
                windows: p.clone().collect(),
                genes: genome.genes_of(p),
            })
            .chain(genome.arms.iter().map(|a| Region {
                windows: a.windows.clone(),
                genes: a.genes.clone(),
            }))
            .collect();
        let contrast = contrasts.and_then(|c| c.of(cluster));
        let levels = levels(x, cells, &regions, beyond, genome.reach, contrast);
        let (of_pieces, of_arms) = levels.split_at(pieces.len());
        let mut calls = vec![Call::Neutral; profile.len()];
        for (windows, level) in pieces.into_iter().zip(of_pieces) {
            let call = options.call(level);
            calls[windows.clone()].fill(call);
            out.segments.push(Segment {
                cluster,
                windows,
                level: *level,
                call,
            });
        }
        let arms = genome.arms.iter().zip(of_arms);
        out.arms
            .extend(arms.map(|(arm, level)| options.call_arm(cluster, arm, *level, &calls)));
    }
    Some(out)
}

impl SegmentOptions {
    /// Call of a segment with this level: that of its mean, where the typical gene agrees with it in sign.
    fn call(&self, level: &Level) -> Call {
        let agrees = level.shift.is_none_or(|s| s.log_ratio * level.mean > 0.0);
        let sure =
            level.confidence >= self.confidence && level.mean.abs() >= self.min_amplitude && agrees;
        match (sure, level.mean > 0.0) {
            (false, _) => Call::Neutral,
            (true, true) => Call::Gain,
            (true, false) => Call::Loss,
        }
    }

    /// Call of an arm: that of its own level, where enough of its windows (by the calls of all) have it too.
    fn call_arm(&self, cluster: usize, arm: &GenomeArm, level: Level, calls: &[Call]) -> ArmCall {
        let windows = &arm.windows;
        let share = |wanted: Call| {
            windows.iter().filter(|&&w| calls[w] == wanted).count() as f64 / windows.len() as f64
        };
        let (share_gain, share_loss) = (share(Call::Gain), share(Call::Loss));
        let own = self.call(&level);
        let call = match own {
            Call::Gain if share_gain >= self.arm_share => own,
            Call::Loss if share_loss >= self.arm_share => own,
            _ => Call::Neutral,
        };
        ArmCall {
            cluster,
            chromosome: arm.chromosome.clone(),
            arm: arm.arm,
            windows: windows.clone(),
            level,
            share_gain,
            share_loss,
            call,
        }
    }
}

fn stray(x: &Csr, cells: &[Vec<usize>], profiles: &Profiles, reference: Option<&[bool]>) -> f64 {
    const ENOUGH: usize = 10;
    let (mut squares, mut weight) = (0.0, 0.0);
    for own in cells {
        let Some(flags) = reference else { break };
        let own: Vec<usize> = own.iter().copied().filter(|&c| flags[c]).collect();
        if own.len() < ENOUGH {
            continue;
        }
        let profile = mean_profile(x, &own);
        let square = profile.iter().map(|v| v * v).sum::<f64>() / profile.len().max(1) as f64;
        let n = own.len() as f64;
        squares += n * (square - sampling_variance(x, &own, &profile)).max(0.0);
        weight += n;
    }
    if weight > 0.0 {
        return (squares / weight).sqrt();
    }
    let all: Vec<f64> = profiles.mean.iter().copied().collect();
    if all.is_empty() {
        0.0
    } else {
        clcc_numerics::stats::median_deviation(&all, 0.0)
    }
}

fn mean_profile(x: &Csr, cells: &[usize]) -> Vec<f64> {
    let mut mean = x.sum_rows(cells.iter().copied());
    mean.iter_mut()
        .for_each(|m| *m /= cells.len().max(1) as f64);
    mean
}

/// Sampling variance of a window's mean over these cells, averaged over windows.
fn sampling_variance(x: &Csr, cells: &[usize], mean: &[f64]) -> f64 {
    let n = cells.len() as f64;
    if n < 2.0 || mean.is_empty() {
        // The spread of one cell cannot be estimated; its values are used instead.
        return mean.iter().map(|m| m * m).sum::<f64>() / mean.len().max(1) as f64;
    }
    let squares: f64 = cells
        .iter()
        .flat_map(|&c| x.row(c).1)
        .map(|&v| f64::from(v).powi(2))
        .sum();
    let centred = squares - n * mean.iter().map(|m| m * m).sum::<f64>();
    (centred / (n - 1.0) / n / mean.len() as f64).max(0.0)
}

/// Cut `y` into the segments with the least sum of squares around their means plus `penalty` per
/// segment; the fewest segments on ties. Quadratic in the length.
fn cut(y: &[f64], penalty: f64) -> Vec<Range<usize>> {
    let n = y.len();
    let (mut sum, mut squares) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for (i, v) in y.iter().enumerate() {
        sum[i + 1] = sum[i] + v;
        squares[i + 1] = squares[i] + v * v;
    }
    let cost = |a: usize, b: usize| {
        let s: f64 = sum[b] - sum[a];
        (squares[b] - squares[a] - s * s / (b - a) as f64).max(0.0)
    };
    let mut best = vec![0.0; n + 1];
    let mut from = vec![0; n + 1];
    for b in 1..=n {
        (from[b], best[b]) = (0..b).map(|a| (a, best[a] + cost(a, b) + penalty)).fold(
            (0, f64::INFINITY),
            |least, next| {
                if next.1 < least.1 { next } else { least }
            },
        );
    }
    let mut pieces = Vec::new();
    let mut end = n;
    while end > 0 {
        pieces.push(from[end]..end);
        end = from[end];
    }
    pieces.reverse();
    pieces
}

/// Windows and genes that are judged together.
struct Region {
    windows: Vec<usize>,
    /// Places of the genes; `None` where they are not known.
    genes: Option<Range<usize>>,
}

/// Mean of each region over cells and windows, and the variance over cells of a cell's mean.
fn means(x: &Csr, cells: &[usize], regions: &[Region]) -> Vec<(f64, f64)> {
    let mut row = vec![0.0; x.n_cols()];
    let (mut sum, mut squares) = (vec![0.0; regions.len()], vec![0.0; regions.len()]);
    for &c in cells {
        row.fill(0.0);
        let (cols, vals) = x.row(c);
        cols.iter()
            .zip(vals)
            .for_each(|(&w, &v)| row[w as usize] = f64::from(v));
        for (g, region) in regions.iter().enumerate() {
            let own = region.windows.iter().map(|&w| row[w]).sum::<f64>();
            let mean = own / region.windows.len() as f64;
            sum[g] += mean;
            squares[g] += mean * mean;
        }
    }
    let n = cells.len() as f64;
    let of_region = |(sum, squares): (f64, f64)| {
        let mean = sum / n;
        let variance = if n > 1.0 {
            ((squares - n * mean * mean) / (n - 1.0)).max(0.0)
        } else {
            mean * mean
        };
        (mean, variance)
    };
    sum.into_iter().zip(squares).map(of_region).collect()
}

/// Level of each region. A window strays by the variance `beyond` apart from the sampling of cells.
fn levels(
    x: &Csr,
    cells: &[usize],
    regions: &[Region],
    beyond: f64,
    reach: f64,
    contrast: Option<&Contrast>,
) -> Vec<Level> {
    let n = cells.len() as f64;
    means(x, cells, regions)
        .into_iter()
        .zip(regions)
        .map(|((mean, variance), region)| {
            // Windows further apart than the overlap stray independently.
            let independent = (region.windows.len() as f64 / reach).max(1.0);
            let standard_error = (variance / n + beyond / independent).sqrt();
            let few = region.genes.as_ref().is_some_and(|g| g.len() < MIN_GENES);
            let shift = contrast
                .zip(region.genes.as_ref())
                .and_then(|(contrast, genes)| contrast.shift(genes));
            let judged = contrast.is_some() && region.genes.is_some();
            let confidence = match shift {
                Some(shift) => 1.0 - two_sided_t(shift.z(), shift.n_genes as f64 - 1.0).p,
                None if judged || few => f64::NAN,
                None if standard_error > 0.0 => {
                    1.0 - two_sided_t(mean / standard_error, (n - 1.0).max(1.0)).p
                }
                None => f64::from(u8::from(mean != 0.0)),
            };
            Level {
                mean,
                standard_error,
                shift,
                confidence,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::profiles::profiles;
    use super::*;
    use clcc_data::frame::Column;
    use clcc_data::genome::{Assembly, annotate_arms};
    use clcc_numerics::rng::Rng;
    use proptest::prelude::*;

    const OPTIONS: SegmentOptions = SegmentOptions {
        confidence: 0.95,
        min_amplitude: 0.01,
        arm_share: 0.5,
    };

    /// Least cost over every way to cut, by definition.
    fn slow_cost(y: &[f64], penalty: f64) -> f64 {
        let n = y.len();
        (0..1u32 << (n - 1))
            .map(|cuts| {
                let mut total = 0.0;
                let mut first = 0;
                for end in 1..=n {
                    if end == n || cuts >> (end - 1) & 1 == 1 {
                        total += cost(&y[first..end]) + penalty;
                        first = end;
                    }
                }
                total
            })
            .fold(f64::INFINITY, f64::min)
    }

    fn cost(y: &[f64]) -> f64 {
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        y.iter().map(|v| (v - mean).powi(2)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn cuts_are_the_best_of_all(seed in any::<u64>(), n in 1usize..11, penalty in 0.01f64..2.0) {
            let mut rng = Rng::new(seed, "segments test", &[]);
            let y: Vec<f64> = (0..n).map(|i| rng.normal() * 0.3 + if i > n / 2 { 1.0 } else { 0.0 }).collect();
            let pieces = cut(&y, penalty);
            let total: f64 = pieces.iter().map(|p| cost(&y[p.clone()]) + penalty).sum();
            prop_assert!((total - slow_cost(&y, penalty)).abs() < 1e-9);
            prop_assert_eq!(pieces.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
        }
    }

    /// 60 windows on chr1 (two arms of 30) and 40 on chr2 (20 and 20); cluster 0 has chr1q up and chr2 down.
    fn tumour(n: usize, seed: u64) -> (Csr, Vec<u32>, Vec<bool>, Frame) {
        let mut rng = Rng::new(seed, "segments test cells", &[]);
        let mut rows = Vec::new();
        let mut membership = Vec::new();
        for c in 0..n {
            let malignant = c % 2 == 0;
            membership.push(u32::from(!malignant));
            let level = |w: usize| match w {
                _ if !malignant => 0.0,
                30..60 => 0.08,
                60.. => -0.06,
                _ => 0.0,
            };
            rows.push(
                (0..100)
                    .map(|w| (w as u32, (level(w) + 0.1 * rng.normal()) as f32))
                    .collect::<Vec<_>>(),
            );
        }
        let mut windows = Frame::new((0..100).map(|w| format!("w{w}")).collect());
        windows.set_category(
            "chromosome",
            &(0..100)
                .map(|w| if w < 60 { "chr1" } else { "chr2" })
                .collect::<Vec<_>>(),
        );
        let place = |w: i64| match w {
            0..30 => w * 4_000_000,
            30..60 => 126_000_000 + (w - 30) * 4_000_000,
            60..80 => (w - 60) * 4_500_000,
            _ => 97_000_000 + (w - 80) * 7_000_000,
        };
        windows.set("start", Column::I64((0..100).map(place).collect()));
        windows.set(
            "end",
            Column::I64((0..100).map(|w| place(w) + 1_000_000).collect()),
        );
        let reference = membership.iter().map(|c| *c == 1).collect();
        annotate_arms(&mut windows, Some(Assembly::GRCh38)).unwrap();
        (Csr::from_rows(100, rows), membership, reference, windows)
    }

    #[test]
    fn planted_arms_are_called_and_the_normal_cluster_has_none() {
        let (x, membership, reference, windows) = tumour(200, 1);
        let p = profiles(&x, &membership, 2);
        for reference in [Some(&reference[..]), None] {
            let found = segment(
                &x,
                &membership,
                &p,
                (&windows, None),
                reference,
                None,
                &OPTIONS,
            )
            .unwrap();
            let of = |cluster: usize| -> Vec<(Range<usize>, Call)> {
                found
                    .segments
                    .iter()
                    .filter(|s| s.cluster == cluster && s.call != Call::Neutral)
                    .map(|s| (s.windows.clone(), s.call))
                    .collect()
            };
            if reference.is_some() {
                let loss = Call::Loss;
                let all = [(30..60, Call::Gain), (60..80, loss), (80..100, loss)];
                assert_eq!(of(0), all);
                assert_eq!(of(1), []);
                let calls: Vec<Call> = found.arms.iter().map(|a| a.call).collect();
                assert_eq!(
                    calls[..4],
                    [Call::Neutral, Call::Gain, Call::Loss, Call::Loss]
                );
                assert_eq!(calls[4..], [Call::Neutral; 4]);
                assert!(
                    found.arms[1].level.confidence > 0.999
                        && (found.arms[1].level.mean - 0.08).abs() < 0.01
                );
            }
            // Every window of every cluster is in one segment.
            assert_eq!(
                found
                    .segments
                    .iter()
                    .map(|s| s.windows.len())
                    .sum::<usize>(),
                200
            );
        }
    }

    /// Among clusters without any event, few segments are called: 5 % by the confidence, and some more since
    /// pieces are cut where the profile is far from 0.
    #[test]
    fn confidence_holds_what_it_says_under_noise() {
        let (mut called, mut all) = (0, 0);
        for seed in 0..20 {
            let (x, membership, _, windows) = tumour(80, 100 + seed);
            let normal: Vec<usize> = (0..80).filter(|c| membership[*c] == 1).collect();
            let x = x.take_rows(&normal);
            let groups: Vec<u32> = (0..40).map(|c| u32::from(c >= 20)).collect();
            let p = profiles(&x, &groups, 2);
            let options = SegmentOptions {
                min_amplitude: 0.0,
                ..OPTIONS
            };
            let found = segment(
                &x,
                &groups,
                &p,
                (&windows, None),
                Some(&[true; 40]),
                None,
                &options,
            )
            .unwrap();
            called += found
                .segments
                .iter()
                .filter(|s| s.call != Call::Neutral)
                .count();
            all += found.segments.len();
        }
        assert!(
            all >= 80 && (called as f64) < 0.15 * all as f64,
            "{called} of {all}"
        );
    }

    /// Windows of 20 genes every 5 over two arms of 100 genes each; the profile of a cell is the pyramid mean of its
    /// genes.
    fn smoothed(genes: &[f64]) -> (Vec<(u32, f32)>, Frame, Frame) {
        let mut row = Vec::new();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for at in (0..=180).step_by(5) {
            let weight = |i: usize| (i + 1).min(20 - i) as f64;
            let total: f64 = (0..20).map(weight).sum();
            let mean = (0..20).map(|i| weight(i) * genes[at + i]).sum::<f64>() / total;
            row.push((row.len() as u32, mean as f32));
            first.push(at as i64);
            last.push(at as i64 + 19);
        }
        let n = row.len();
        let mut windows = Frame::new((0..n).map(|w| w.to_string()).collect());
        windows.set_category("chromosome", &vec!["chr1"; n]);
        let arm = |middle: i64| if middle < 100 { "p" } else { "q" };
        windows.set_category(
            "arm",
            &first.iter().map(|f| arm(f + 10)).collect::<Vec<_>>(),
        );
        windows.set("start", Column::I64(first.clone()));
        windows.set("end", Column::I64(last.clone()));
        windows.set("first_gene", Column::I64(first));
        windows.set("last_gene", Column::I64(last));
        let mut of_genes = Frame::new((0..200).map(|g| g.to_string()).collect());
        of_genes.set_category("chromosome", &vec!["chr1"; 200]);
        of_genes.set_category("arm", &(0..200).map(arm).collect::<Vec<_>>());
        (row, windows, of_genes)
    }

    /// Genes of random levels have windows of the variance that the local differences say, and a step between the
    /// arms does not add to it much.
    #[test]
    fn local_variance_is_that_of_random_genes() {
        let weight = |i: usize| (i + 1).min(20 - i) as f64;
        let total: f64 = (0..20).map(weight).sum();
        let expected = (0..20).map(|i| (weight(i) / total).powi(2)).sum::<f64>();
        let (mut flat, mut step) = (0.0, 0.0);
        for seed in 0..60 {
            let mut rng = Rng::new(seed, "segments test genes", &[]);
            let genes: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
            let profile = |genes: &[f64]| -> (f64, usize) {
                let (row, windows, of_genes) = smoothed(genes);
                let genome = Genome::new(&windows, Some(&of_genes)).unwrap();
                let row: Vec<f64> = row.iter().map(|e| f64::from(e.1)).collect();
                (genome.local_variance(&row), genome.spans.len())
            };
            let (variance, spans) = profile(&genes);
            assert_eq!(spans, 2);
            flat += variance / 60.0;
            let moved: Vec<f64> = (0..200)
                .map(|g| genes[g] + if g < 100 { 0.0 } else { 0.5 })
                .collect();
            step += profile(&moved).0 / 60.0;
        }
        // The correlation is that of wide windows; pyramids of 20 genes have .29 where it says .25.
        assert!((flat / expected - 0.95).abs() < 0.12, "{flat} {expected}");
        assert!((1.0..1.3).contains(&(step / flat)), "{step} {flat}");
    }

    /// Genes of pieces tile the chromosome, and each arm has its own.
    #[test]
    fn every_gene_belongs_to_one_piece() {
        let (_, windows, of_genes) = smoothed(&[0.0; 200]);
        let genome = Genome::new(&windows, Some(&of_genes)).unwrap();
        let genes = |w: Range<usize>| genome.genes_of(&w).unwrap();
        let (a, b, c) = (genes(0..10), genes(10..25), genes(25..37));
        assert_eq!((a.start, a.end, b.end, c.end), (0, b.start, c.start, 200));
        assert_eq!(genome.arms[0].genes, Some(0..100));
        assert_eq!(genome.arms[1].genes, Some(100..200));
    }

    /// A call needs the typical gene to agree with the mean in sign, and enough genes.
    #[test]
    fn calls_agree_in_sign_with_the_mean_and_the_genes() {
        let level = |mean: f64, log_ratio: f64, confidence: f64| Level {
            mean,
            standard_error: 0.01,
            shift: Some(Shift {
                log_ratio,
                standard_error: 0.05,
                n_genes: 100,
            }),
            confidence,
        };
        assert_eq!(OPTIONS.call(&level(-0.05, -0.3, 0.999)), Call::Loss);
        assert_eq!(OPTIONS.call(&level(0.05, -0.3, 0.999)), Call::Neutral);
        assert_eq!(OPTIONS.call(&level(0.05, 0.3, 0.9)), Call::Neutral);
        assert_eq!(OPTIONS.call(&level(0.05, 0.3, f64::NAN)), Call::Neutral);
        assert!(level(-0.05, -0.3, 0.999).departs(4.0, 0.15));
        assert!(!level(0.05, -0.3, 0.999).departs(4.0, 0.15));
        assert!(!level(0.05, 0.12, 0.999).departs(2.0, 0.15));
        // An arm is not called against its own mean, whatever its windows.
        let arm = GenomeArm {
            chromosome: "chr5".into(),
            arm: Some(Arm::Q),
            windows: vec![0, 1],
            genes: None,
        };
        let gains = [Call::Gain; 2];
        let found = OPTIONS.call_arm(0, &arm, level(-0.01, -0.2, 0.997), &gains);
        assert_eq!((found.call, found.share_gain), (Call::Neutral, 1.0));
        let found = OPTIONS.call_arm(0, &arm, level(0.05, 0.2, 0.997), &gains);
        assert_eq!(found.call, Call::Gain);
    }

    #[test]
    fn windows_without_places_have_no_segments() {
        let (x, membership, _, _) = tumour(20, 2);
        let p = profiles(&x, &membership, 2);
        assert_eq!(
            segment(
                &x,
                &membership,
                &p,
                (&Frame::new(vec![String::new(); 100]), None),
                None,
                None,
                &OPTIONS
            ),
            None
        );
    }
}
