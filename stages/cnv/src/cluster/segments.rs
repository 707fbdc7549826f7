//! Gains and losses of each cluster: its mean profile cut into segments of constant level, and calls
//! per arm.
//!
//! Not in infercnvpy. A cluster's mean profile is cut where its level changes (optimal partition,
//! Jackson et al. 2005, with a penalty that accounts for the overlap of windows). Each segment, and
//! each chromosome arm, then gets a z-score from two sources of error: how much the cluster's cells
//! differ from each other there, and how far profiles of normal cells depart from 0 for reasons other
//! than copy number.

use std::ops::Range;

use clcc_data::frame::Frame;
use clcc_data::genome::{Arm, natural_cmp};
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::two_sided_t;

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
    /// Windows, all of one chromosome.
    pub windows: Range<usize>,
    /// Mean level and its uncertainty.
    pub level: Level,
    /// Gain, loss or neutral.
    pub call: Call,
}

/// Mean over windows with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Mean of `X_cnv` over windows and cells, natural log ratio.
    pub mean: f64,
    /// Standard error, of sampling cells and of the stray of normal profiles.
    pub standard_error: f64,
    /// Probability that a level of this size is not chance: 1 minus the two-sided p of mean over
    /// standard error (Student's t with the number of cells minus one), not corrected for the number of
    /// segments.
    pub confidence: f64,
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
    /// Number of windows whose middle is on the arm.
    pub n_windows: usize,
    /// Mean level and its uncertainty.
    pub level: Level,
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

/// An arm of the genome: chromosome, arm (`None` for a whole chromosome), windows.
type GenomeArm = (String, Option<Arm>, Vec<usize>);

/// Chromosomes and arms of the windows.
struct Genome {
    /// Windows of each chromosome.
    chromosomes: Vec<Range<usize>>,
    arms: Vec<GenomeArm>,
    /// Approximate number of windows that overlap with one window.
    reach: f64,
}

impl Genome {
    fn new(windows: &Frame) -> Option<Self> {
        let chromosome = windows.texts("chromosome").ok()?;
        windows.column("start").and(windows.column("end")).ok()?;
        let mut chromosomes = Vec::new();
        let mut first = 0;
        for run in chromosome.chunk_by(|a, b| a == b) {
            chromosomes.push(first..first + run.len());
            first += run.len();
        }
        let known = Arm::of_frame(windows);
        let mut arms: Vec<GenomeArm> = Vec::new();
        for w in 0..windows.len() {
            let arm = known.as_ref().and_then(|arms| arms[w]);
            if known.is_some() && arm.is_none() {
                continue;
            }
            match arms.iter_mut().find(|a| a.0 == chromosome[w] && a.1 == arm) {
                Some(found) => found.2.push(w),
                None => arms.push((chromosome[w].clone(), arm, vec![w])),
            }
        }
        arms.sort_by(|a, b| natural_cmp(&a.0, &b.0).then(a.1.cmp(&b.1)));
        Some(Self {
            reach: reach(windows, &chromosomes),
            chromosomes,
            arms,
        })
    }

    /// Cut a cluster's profile, whose windows have the variance `noise`, chromosome by chromosome.
    fn pieces(&self, profile: &[f64], noise: f64) -> Vec<Range<usize>> {
        let windows = (profile.len() as f64 / self.reach).max(2.0);
        let penalty = noise * self.reach * 2.0 * math::ln(windows);
        self.chromosomes
            .iter()
            .flat_map(|span| {
                cut(&profile[span.clone()], penalty)
                    .into_iter()
                    .map(move |r| r.start + span.start..r.end + span.start)
            })
            .collect()
    }
}

/// Number of windows that share information with one window: two thirds of its genes (the pyramid's
/// effective width) divided by the genes between windows. 1 where the windows do not list their genes.
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
        (2.0 / 3.0 * width / apart).max(1.0)
    } else {
        1.0
    }
}

/// Cut the mean profile of each cluster and call gains and losses. `x` is `n_cells x n_windows`,
/// `membership` has the cluster of each row, `windows` the position of each column (`chromosome`,
/// `start`, `end`; `arm`, `first_gene` and `last_gene` where known); `reference` flags normal cells
/// where they are known. `None` where the windows have no positions.
///
/// Stray is the root mean square of the mean profiles of the reference cells of each cluster that has
/// ten of them (weighted by cells), minus what their own sampling explains. Without a reference it is
/// the median absolute value of all clusters' profiles times 1.4826, which assumes that most of the
/// genome is normal.
pub fn segment(
    x: &Csr,
    membership: &[u32],
    profiles: &Profiles,
    windows: &Frame,
    reference: Option<&[bool]>,
    options: &SegmentOptions,
) -> Option<Segmented> {
    let genome = Genome::new(windows)?;
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
        let noise = (sampling_variance(x, cells, &profile) + stray * stray).max(1e-12);
        let pieces = genome.pieces(&profile, noise);
        let arms = genome.arms.iter().map(|a| a.2.clone());
        let groups: Vec<Vec<usize>> = pieces
            .iter()
            .map(|p| p.clone().collect())
            .chain(arms)
            .collect();
        let levels = levels(x, cells, &groups, stray, genome.reach);
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
    /// Call of a segment with this level.
    fn call(&self, level: &Level) -> Call {
        let sure = level.confidence >= self.confidence && level.mean.abs() >= self.min_amplitude;
        match (sure, level.mean > 0.0) {
            (false, _) => Call::Neutral,
            (true, true) => Call::Gain,
            (true, false) => Call::Loss,
        }
    }

    /// Call of an arm, from the calls of all windows.
    fn call_arm(
        &self,
        cluster: usize,
        (chromosome, arm, windows): &GenomeArm,
        level: Level,
        calls: &[Call],
    ) -> ArmCall {
        let share = |wanted: Call| {
            windows.iter().filter(|&&w| calls[w] == wanted).count() as f64 / windows.len() as f64
        };
        let (share_gain, share_loss) = (share(Call::Gain), share(Call::Loss));
        let call = if share_gain >= self.arm_share && share_gain > share_loss {
            Call::Gain
        } else if share_loss >= self.arm_share && share_loss > share_gain {
            Call::Loss
        } else {
            Call::Neutral
        };
        ArmCall {
            cluster,
            chromosome: chromosome.clone(),
            arm: *arm,
            n_windows: windows.len(),
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
    let all: Vec<f64> = profiles.mean.iter().map(|v| v.abs()).collect();
    if all.is_empty() {
        0.0
    } else {
        1.4826 * clcc_numerics::stats::median(&all)
    }
}

fn mean_profile(x: &Csr, cells: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; x.n_cols()];
    for &c in cells {
        let (cols, vals) = x.row(c);
        cols.iter()
            .zip(vals)
            .for_each(|(&w, &v)| mean[w as usize] += f64::from(v));
    }
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

/// Level of each group of windows. A cell's mean over the group is one observation.
fn levels(x: &Csr, cells: &[usize], groups: &[Vec<usize>], stray: f64, reach: f64) -> Vec<Level> {
    let mut row = vec![0.0; x.n_cols()];
    let (mut sum, mut squares) = (vec![0.0; groups.len()], vec![0.0; groups.len()]);
    for &c in cells {
        row.fill(0.0);
        let (cols, vals) = x.row(c);
        cols.iter()
            .zip(vals)
            .for_each(|(&w, &v)| row[w as usize] = f64::from(v));
        for (g, windows) in groups.iter().enumerate() {
            let mean = windows.iter().map(|&w| row[w]).sum::<f64>() / windows.len() as f64;
            sum[g] += mean;
            squares[g] += mean * mean;
        }
    }
    let n = cells.len() as f64;
    (0..groups.len())
        .map(|g| {
            let mean = sum[g] / n;
            let variance = if n > 1.0 {
                ((squares[g] - n * mean * mean) / (n - 1.0)).max(0.0)
            } else {
                mean * mean
            };
            // Windows further apart than the overlap stray independently.
            let independent = (groups[g].len() as f64 / reach).max(1.0);
            let standard_error = (variance / n + stray * stray / independent).sqrt();
            let confidence = if standard_error > 0.0 {
                1.0 - two_sided_t(mean / standard_error, (n - 1.0).max(1.0)).p
            } else {
                f64::from(u8::from(mean != 0.0))
            };
            Level {
                mean,
                standard_error,
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
            let found = segment(&x, &membership, &p, &windows, reference, &OPTIONS).unwrap();
            let of = |cluster: usize| -> Vec<(Range<usize>, Call)> {
                found
                    .segments
                    .iter()
                    .filter(|s| s.cluster == cluster && s.call != Call::Neutral)
                    .map(|s| (s.windows.clone(), s.call))
                    .collect()
            };
            if reference.is_some() {
                assert_eq!(of(0), [(30..60, Call::Gain), (60..100, Call::Loss)]);
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
            let found = segment(&x, &groups, &p, &windows, Some(&[true; 40]), &options).unwrap();
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

    #[test]
    fn windows_without_places_have_no_segments() {
        let (x, membership, _, _) = tumour(20, 2);
        let p = profiles(&x, &membership, 2);
        assert_eq!(
            segment(
                &x,
                &membership,
                &p,
                &Frame::new(vec![String::new(); 100]),
                None,
                &OPTIONS
            ),
            None
        );
    }
}
