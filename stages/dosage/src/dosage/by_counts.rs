//! Copy number along the genome by the counts of clones: their log rates relative to the normal cells, the
//! segments over which no clone of a stratum changes, and the mean over a gene's neighbours within them.
//!
//! **Segments.** The clones of a stratum share most breakpoints, so an arm is cut for all of them at once, by
//! the mean of its tumour clones and each clone's difference from it, in units of each one's own scatter from
//! gene to gene (which holds counting noise, programmes of expression and the scatter of slopes); a gene
//! beyond [`BOUND`] standard deviations counts as one at them. Levels are normal with a standard deviation of
//! [`LEVEL_SD`] and integrated out, a gene begins a segment with probability [`CUT`], and a sum over all ways
//! to cut an arm gives every segment its probability (Fearnhead 2006, exact), and the most probable cut.
//!
//! **Neighbours.** The 50 informative genes next to a gene on either side, in its segment, without the gene
//! itself. Which genes are informative is each clone's own matter: in a small clone a gene with few counts
//! says nothing, and must not count as unchanged.
//!
//! **Beside a breakpoint** a gene may belong to either side: a gene that does not change next to genes that do
//! would seem to escape. So its copy number is the mean over the segments that it may be in, and where that is
//! not known to [`KNOWN`] the stratum says nothing of the gene.

use std::ops::Range;

use rayon::prelude::*;

use super::clones::ClonePseudobulk;
use super::rates::{LEAST_NEIGHBOURS, NEIGHBOURS, Rates, level};
use clcc_numerics::math;
use clcc_numerics::stats::{interquartile_mean, median, median_deviation};

/// Fewest informative genes of a segment: one and its neighbours.
const LEAST_GENES: usize = LEAST_NEIGHBOURS + 1;
/// Fewest informative genes of a segment that makes a clone altered.
const LEAST_ALTERED: usize = 20;
/// Standard deviation of the log copy ratios of segments.
const LEVEL_SD: f64 = 0.3;
/// Probability that a segment begins at an informative gene.
const CUT: f64 = 0.001;
/// Least probability of a segment that is taken into account.
const POSSIBLE: f64 = 1e-3;
/// Largest standard deviation of a log copy ratio, over the segments that a gene may be in, at which it is
/// known.
pub(super) const KNOWN: f64 = 0.05;
/// Departure from an arm's median, in standard deviations of a gene, beyond which a gene pulls no harder.
const BOUND: f64 = 3.0;
/// Departure of a segment, in standard errors, from which it is surely altered: the largest of a genome's segments,
/// where nothing changes and tumours have levels of their own, is beyond 4 in one of 300 clones, and beyond this in
/// none of 1,080 (`where_no_copy_changes_no_clone_is_malignant`, 20 rounds).
const SURELY: f64 = 5.0;

/// Clones by the counts of their genes, along the genome.
pub(crate) struct ByCounts {
    /// Informative genes of each clone in genome order, with log rate relative to the stratum's normal
    /// cells (to all its clones, where it has none) and weight.
    of_clone: Vec<Informative>,
    stratum: Vec<usize>,
    of_stratum: Vec<Segments>,
}

/// Segments of a stratum; genes of unknown arm are in none.
#[derive(Default)]
struct Segments {
    /// The most probable ones, in genome order.
    best: Vec<Range<usize>>,
    /// Possible segments of each arm with their probabilities, in the order of the arms.
    possible: Vec<(Range<usize>, Vec<(Range<usize>, f64)>)>,
}

struct Informative {
    genes: Vec<usize>,
    values: Vec<(f64, f64)>,
    /// Sums of weights and of weighted values before each gene, and over all.
    sums: Vec<(f64, f64)>,
    /// Whether the values are relative to normal cells.
    to_normal: bool,
}

impl ByCounts {
    pub(crate) fn new(
        clones: &[ClonePseudobulk],
        rates: &Rates,
        arm: &[String],
        excluded: &[bool],
    ) -> Self {
        let stratum: Vec<usize> = clones.iter().map(|u| u.stratum).collect();
        let n_strata = stratum.iter().max().map_or(0, |s| s + 1);
        let members = |s: usize| (0..clones.len()).filter(move |&u| clones[u].stratum == s);
        let of_clone: Vec<Informative> = (0..clones.len())
            .into_par_iter()
            .map(|u| {
                let normal = members(stratum[u]).filter(|&v| !clones[v].id.cancer);
                let mut reference: Vec<usize> = normal.collect();
                let to_normal = !reference.is_empty();
                if !to_normal {
                    reference = members(stratum[u]).collect();
                }
                Informative::new(u, &reference, to_normal, rates, arm, excluded)
            })
            .collect();
        let arms = runs(arm);
        let of_stratum = (0..n_strata)
            .into_par_iter()
            .map(|s| {
                let tumour: Vec<&Informative> = members(s)
                    .filter(|&u| clones[u].id.cancer)
                    .map(|u| &of_clone[u])
                    .collect();
                cut(&tumour, &arms, arm.len())
            })
            .collect();
        Self {
            of_clone,
            stratum,
            of_stratum,
        }
    }

    /// Weighted mean log rate of the neighbours of gene `g` in clone `u`, over the segments that the gene may
    /// be in, and its standard deviation over these; `None` where they have too few neighbours.
    pub(super) fn mean(&self, u: usize, g: usize) -> Option<(f64, f64)> {
        let possible = &self.of_stratum[self.stratum[u]].possible;
        let arm = possible.get(possible.partition_point(|a| a.0.end <= g))?;
        let (mut total, mut none, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0);
        for (segment, p) in arm.1.iter().filter(|s| s.0.contains(&g)) {
            match self.of_clone[u].mean(segment, g) {
                Some(x) => {
                    total += p;
                    sum += p * x;
                    squares += p * x * x;
                }
                None => none += p,
            }
        }
        (total > none).then(|| {
            let mean = sum / total;
            (mean, (squares / total - mean * mean).max(0.0).sqrt())
        })
    }

    /// Interquartile mean of a gene's neighbours in its most probable segment, relative to normal cells;
    /// `None` where they are too few, or the clone's stratum has no normal cells.
    pub(super) fn typical(&self, u: usize, g: usize) -> Option<f64> {
        let best = &self.of_stratum[self.stratum[u]].best;
        let segment = best.get(best.partition_point(|s| s.end <= g))?;
        let own = &self.of_clone[u];
        let [left, right] = own.near(segment, g).filter(|_| own.to_normal)?;
        Some(interquartile_mean(
            &[&own.values[left], &own.values[right]].concat(),
        ))
    }

    /// Whether a share of a clone's informative genes, and any, lies in segments whose typical gene
    /// departs from the normal cells' by `least` or more and by five standard errors. Never without normal
    /// cells.
    pub(super) fn is_altered(&self, u: usize, least: f64, share: f64) -> bool {
        let own = &self.of_clone[u];
        if !own.to_normal {
            return false;
        }
        let place = |g: usize| own.genes.partition_point(|&h| h < g);
        let of_segment: Vec<&[(f64, f64)]> = self.of_stratum[self.stratum[u]]
            .best
            .iter()
            .map(|s| &own.values[place(s.start)..place(s.end)])
            .filter(|values| values.len() >= LEAST_ALTERED)
            .collect();
        let levels: Vec<f64> = of_segment.iter().map(|v| interquartile_mean(v)).collect();
        let residuals: Vec<f64> = of_segment
            .iter()
            .zip(&levels)
            .flat_map(|(values, level)| values.iter().map(move |v| (v.0 - level) * v.1.sqrt()))
            .collect();
        if residuals.is_empty() {
            return false;
        }
        let scatter = median_deviation(&residuals, 0.0);
        let altered = of_segment.iter().zip(&levels).filter(|(values, level)| {
            let precision: f64 = values.iter().map(|v| v.1).sum();
            level.abs() >= least && level.abs() * precision.sqrt() >= SURELY * scatter
        });
        let altered: usize = altered.map(|(values, _)| values.len()).sum();
        altered > 0 && altered as f64 >= share * own.genes.len() as f64
    }
}

impl Informative {
    fn new(
        u: usize,
        reference: &[usize],
        to_normal: bool,
        rates: &Rates,
        arm: &[String],
        excluded: &[bool],
    ) -> Self {
        let difference = |g: usize| {
            let (level, weight) = level(g, reference, &rates.y, &rates.w)?;
            let own = rates.w[u][g];
            (own > 0.0).then(|| (rates.y[u][g] - level, 1.0 / (1.0 / own + 1.0 / weight)))
        };
        let (genes, values): (Vec<usize>, Vec<(f64, f64)>) = (0..arm.len())
            .filter(|&g| !excluded[g] && !arm[g].is_empty())
            .filter_map(|g| Some((g, difference(g)?)))
            .unzip();
        Self {
            genes,
            sums: running(&values),
            values,
            to_normal,
        }
    }

    /// Places of the neighbours of gene `g` in a segment, left and right of it, without it; `None` where they
    /// are too few, or the gene is not in the segment.
    fn near(&self, segment: &Range<usize>, g: usize) -> Option<[Range<usize>; 2]> {
        if !segment.contains(&g) {
            return None;
        }
        let place = |g: usize| self.genes.partition_point(|&h| h < g);
        let (start, end, at) = (place(segment.start), place(segment.end), place(g));
        let after = at + usize::from(self.genes.get(at) == Some(&g));
        let left = start.max(at.saturating_sub(NEIGHBOURS))..at;
        let right = after..end.min(after + NEIGHBOURS);
        (left.len() + right.len() >= LEAST_NEIGHBOURS).then_some([left, right])
    }

    /// Weighted mean over them.
    fn mean(&self, segment: &Range<usize>, g: usize) -> Option<f64> {
        let near = self.near(segment, g)?;
        let sum = |of: fn(&(f64, f64)) -> f64| -> f64 {
            let over = |r: &Range<usize>| of(&self.sums[r.end]) - of(&self.sums[r.start]);
            near.iter().map(over).sum()
        };
        Some(sum(|s| s.1) / sum(|s| s.0))
    }
}

/// Runs of consecutive genes on one known arm.
fn runs(arm: &[String]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for g in (0..arm.len()).filter(|&g| !arm[g].is_empty()) {
        match out.last_mut() {
            Some(run) if run.end == g && arm[run.start] == arm[g] => run.end = g + 1,
            _ => out.push(g..g + 1),
        }
    }
    out
}

/// What an arm is cut by: the value of each gene that is informative in some clone, and its weight (0 where
/// it says nothing).
struct Track {
    values: Vec<(f64, f64)>,
    /// Variance of a level, in units of the scatter.
    level: f64,
    /// Share of an independent track.
    weight: f64,
}

/// Sums of weights and weighted values before each of some values, and over all.
fn running(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    let mut out = vec![sum];
    for (value, weight) in values {
        sum = (sum.0 + weight, sum.1 + value * weight);
        out.push(sum);
    }
    out
}

/// Cut the arms where a tumour clone changes.
fn cut(tumour: &[&Informative], arms: &[Range<usize>], n_genes: usize) -> Segments {
    let mut informative = vec![false; n_genes];
    for clone in tumour {
        clone.genes.iter().for_each(|&g| informative[g] = true);
    }
    let genes: Vec<usize> = (0..n_genes).filter(|&g| informative[g]).collect();
    let tracks = tracks(tumour, &genes, n_genes, arms);
    let mut out = Segments::default();
    for arm in arms {
        let place = |g: usize| genes.partition_point(|&h| h < g);
        let own = place(arm.start)..place(arm.end);
        let found = Cuts::new(&tracks, &own);
        // A segment reaches to the first informative gene of the next.
        let gene = |at: usize| match at {
            0 => arm.start,
            at if at == own.len() => arm.end,
            at => genes[own.start + at],
        };
        let named = |r: &Range<usize>| gene(r.start)..gene(r.end);
        out.best.extend(found.best.iter().map(named));
        let possible = found.possible.iter().map(|(r, p)| (named(r), *p));
        out.possible.push((arm.clone(), possible.collect()));
    }
    out
}

/// Mean of the clones (where they are relative to normal cells), and the difference of each from it, in units
/// of their scatter and without outliers.
fn tracks(
    tumour: &[&Informative],
    genes: &[usize],
    n_genes: usize,
    arms: &[Range<usize>],
) -> Vec<Track> {
    let of_clone: Vec<Vec<(f64, f64)>> = tumour
        .iter()
        .map(|clone| {
            let mut out = vec![(0.0, 0.0); n_genes];
            for (&g, &v) in clone.genes.iter().zip(&clone.values) {
                out[g] = v;
            }
            genes.iter().map(|&g| out[g]).collect()
        })
        .collect();
    let k = of_clone.len() as f64;
    let mean: Vec<(f64, f64)> = (0..genes.len())
        .map(|i| {
            let weight: f64 = of_clone.iter().map(|c| c[i].1).sum();
            let sum: f64 = of_clone.iter().map(|c| c[i].0 * c[i].1).sum();
            (sum / weight, weight / k)
        })
        .collect();
    let mut out = Vec::new();
    if of_clone.len() > 1 {
        for clone in &of_clone {
            let of = |(v, m): (&(f64, f64), &(f64, f64))| (v.0 - m.0, v.1);
            out.push((clone.iter().zip(&mean).map(of).collect(), (k - 1.0) / k));
        }
    }
    if tumour.iter().any(|c| c.to_normal) {
        out.push((mean, 1.0));
    }
    out.into_iter()
        .map(|(mut values, weight)| {
            let scatter = standardise(&mut values, genes, arms);
            Track {
                values,
                level: (LEVEL_SD / scatter).powi(2),
                weight,
            }
        })
        .collect()
}

/// Divide values by the scatter of a gene of weight 1, from differences of neighbours; bound them around their
/// arm's median. Returns the scatter.
fn standardise(values: &mut [(f64, f64)], genes: &[usize], arms: &[Range<usize>]) -> f64 {
    let told: Vec<(f64, f64)> = values.iter().copied().filter(|v| v.1 > 0.0).collect();
    let differences: Vec<f64> = told
        .windows(2)
        .map(|w| (w[1].0 - w[0].0) / (1.0 / w[0].1 + 1.0 / w[1].1).sqrt())
        .collect();
    if differences.is_empty() {
        return 1.0;
    }
    let scatter = median_deviation(&differences, 0.0).max(1e-6);
    for arm in arms {
        let place = |g: usize| genes.partition_point(|&h| h < g);
        let own = &mut values[place(arm.start)..place(arm.end)];
        let told: Vec<f64> = own.iter().filter(|v| v.1 > 0.0).map(|v| v.0).collect();
        if told.is_empty() {
            continue;
        }
        let middle = median(&told);
        for v in own.iter_mut().filter(|v| v.1 > 0.0) {
            let bound = BOUND * scatter / v.1.sqrt();
            v.0 = (middle + (v.0 - middle).clamp(-bound, bound)) / scatter;
        }
    }
    scatter
}

/// Ways to cut an arm, by the places of its informative genes.
struct Cuts {
    best: Vec<Range<usize>>,
    possible: Vec<(Range<usize>, f64)>,
}

impl Cuts {
    fn new(tracks: &[Track], own: &Range<usize>) -> Self {
        let n = own.len();
        if n < 2 * LEAST_GENES || tracks.is_empty() {
            return Self {
                best: std::iter::once(0..n).collect(),
                possible: vec![(0..n, 1.0)],
            };
        }
        let evidence = Evidence::new(tracks, own);
        let (before, best) = evidence.before(n);
        let behind = evidence.behind(n);
        let mut possible = Vec::new();
        for i in (0..n).filter(|&i| before[i].is_finite()) {
            for j in (i + LEAST_GENES..=n).filter(|&j| behind[j].is_finite()) {
                let p = math::exp(before[i] + evidence.of(i, j) + behind[j] - before[n]);
                if p > POSSIBLE {
                    possible.push((i..j, p));
                }
            }
        }
        let mut cuts = Vec::new();
        let mut end = n;
        while end > 0 {
            cuts.push(best[end]..end);
            end = best[end];
        }
        cuts.reverse();
        Self {
            best: cuts,
            possible,
        }
    }
}

/// Log likelihood of segments, up to what all ways to cut share.
struct Evidence<'a> {
    tracks: &'a [Track],
    sums: Vec<Vec<(f64, f64)>>,
}

impl<'a> Evidence<'a> {
    fn new(tracks: &'a [Track], own: &Range<usize>) -> Self {
        let of = |t: &Track| running(&t.values[own.clone()]);
        Self {
            tracks,
            sums: tracks.iter().map(of).collect(),
        }
    }

    /// Of a segment from `i` to `j`: the levels' integral over their normal prior, and what it costs to begin
    /// where another ends.
    fn of(&self, i: usize, j: usize) -> f64 {
        let levels: f64 = self
            .tracks
            .iter()
            .zip(&self.sums)
            .map(|(track, s)| {
                let (w, x) = (s[j].0 - s[i].0, s[j].1 - s[i].1);
                let explained = x * x / (w + 1.0 / track.level);
                0.5 * track.weight * (explained - math::ln_1p(track.level * w))
            })
            .sum();
        levels + if i == 0 { 0.0 } else { math::ln(CUT) }
    }

    /// Over all ways to cut what lies before each place, and where the last segment of the best one begins.
    fn before(&self, n: usize) -> (Vec<f64>, Vec<usize>) {
        let mut all = vec![f64::NEG_INFINITY; n + 1];
        let mut best = vec![(f64::NEG_INFINITY, 0); n + 1];
        (all[0], best[0].0) = (0.0, 0.0);
        for j in LEAST_GENES..=n {
            let mut ways = Vec::with_capacity(j);
            for i in 0..=j - LEAST_GENES {
                let of = self.of(i, j);
                ways.push(all[i] + of);
                if best[i].0 + of > best[j].0 {
                    best[j] = (best[i].0 + of, i);
                }
            }
            all[j] = log_sum(&ways);
        }
        (all, best.into_iter().map(|b| b.1).collect())
    }

    /// Over all ways to cut what lies behind each place.
    fn behind(&self, n: usize) -> Vec<f64> {
        let mut all = vec![f64::NEG_INFINITY; n + 1];
        all[n] = 0.0;
        for i in (0..=n - LEAST_GENES).rev() {
            let ways = (i + LEAST_GENES..=n).map(|j| all[j] + self.of(i, j));
            all[i] = log_sum(&ways.collect::<Vec<_>>());
        }
        all
    }
}

/// Logarithm of a sum of exponentials.
fn log_sum(terms: &[f64]) -> f64 {
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    let sum: f64 = terms.iter().map(|t| math::exp(t - top)).sum();
    top + math::ln(sum)
}

#[cfg(test)]
mod tests {
    use super::super::clones::CloneId;
    use super::*;
    use clcc_numerics::rng::Rng;

    const GENES: usize = 300;

    /// A normal clone and tumour clones of one stratum on two arms of 150 genes; `ratio[clone]` is the copy
    /// ratio of a gene.
    fn stratum(ratios: &[&dyn Fn(usize) -> f64], rng: &mut Rng) -> Vec<ClonePseudobulk> {
        let rate: Vec<f64> = (0..GENES).map(|_| 60.0 * rng.normal().exp()).collect();
        let level: Vec<f64> = (0..GENES).map(|_| (0.25 * rng.normal()).exp()).collect();
        let mut clone = |cancer: bool, ratio: &dyn Fn(usize) -> f64| {
            let counts: Vec<f64> = (0..GENES)
                .map(|g| {
                    let tumour = if cancer { level[g] } else { 1.0 };
                    rng.poisson(rate[g] * tumour * ratio(g)) as f64
                })
                .collect();
            ClonePseudobulk {
                id: CloneId {
                    patient: 0,
                    cell_type: String::new(),
                    cancer,
                    group: String::new(),
                    unplaced: false,
                },
                stratum: 0,
                cells: vec![0],
                library: counts.iter().sum(),
                counts,
                profile: Vec::new(),
            }
        };
        let mut out = vec![clone(false, &|_| 1.0)];
        out.extend(ratios.iter().map(|r| clone(true, r)));
        out
    }

    fn arms() -> Vec<String> {
        let arm = |g: usize| if g < 150 { "chr1p" } else { "chr1q" }.to_string();
        (0..GENES).map(arm).collect()
    }

    fn by_counts(clones: &[ClonePseudobulk], excluded: &[bool]) -> ByCounts {
        ByCounts::new(clones, &Rates::new(clones, 1, 2.0), &arms(), excluded)
    }

    #[test]
    fn an_arm_is_cut_where_a_clone_changes_and_not_elsewhere() {
        let mut rng = Rng::new(1, "segments test", &[]);
        let (mut whole, mut off) = (0, Vec::new());
        for _ in 0..40 {
            // A third of q gained in both clones; the second has a third of p lost alone.
            let one = |g: usize| if (200..250).contains(&g) { 1.5 } else { 1.0 };
            let two = |g: usize| if g < 50 { 0.5 } else { one(g) };
            let found = by_counts(&stratum(&[&one, &two], &mut rng), &[false; GENES]);
            let best = &found.of_stratum[0].best;
            let starts: Vec<usize> = best.iter().map(|s| s.start).collect();
            for true_start in [0, 50, 150, 200, 250] {
                let near = starts.iter().map(|s| s.abs_diff(true_start)).min();
                off.push(near.unwrap_or(GENES));
            }
            assert!(starts.len() <= 6, "{starts:?}");
            let level = by_counts(&stratum(&[&|_| 1.0, &|_| 1.0], &mut rng), &[false; GENES]);
            whole += usize::from(level.of_stratum[0].best == [0..150, 150..300]);
        }
        off.sort_unstable();
        // Genes between the true end of a segment and the one found: typically none, seldom ten.
        assert!(off[100] <= 1 && off[185] <= 15, "{off:?}");
        assert!(whole >= 36, "{whole} of 40 whole arms");
    }

    #[test]
    fn neighbours_are_of_the_gene_s_own_segment_and_informative_in_the_clone() {
        let mut rng = Rng::new(2, "segments test", &[]);
        let lost = |g: usize| if g < 60 { 0.5 } else { 1.0 };
        let mut clones = stratum(&[&lost, &lost], &mut rng);
        // The second tumour clone saw a twentieth of the counts: many genes say nothing in it.
        clones[2]
            .counts
            .iter_mut()
            .for_each(|n| *n = (*n / 20.0).floor());
        clones[2].library = clones[2].counts.iter().sum();
        let mut excluded = [false; GENES];
        excluded[10] = true;
        let found = by_counts(&clones, &excluded);
        let informative = |u: usize| found.of_clone[u].genes.len();
        let informative = (informative(1), informative(2));
        assert!(
            informative.0 > 290 && (80..250).contains(&informative.1),
            "{informative:?}"
        );
        assert!(!found.of_clone[1].genes.contains(&10));
        let loss = 0.5f64.ln();
        // The first gene of what is not lost has no neighbour on its left.
        let best = &found.of_stratum[0].best;
        let start = best[1].start;
        assert!(start.abs_diff(60) <= 10, "{best:?}");
        let near = found.of_clone[1].near(&best[1], start).unwrap();
        assert_eq!(near.map(|r| r.len()), [0, 50]);
        // Beside the breakpoint the copy number is not known; away from it, it is.
        let of = |g: usize| found.mean(1, g).unwrap();
        assert!(
            of(30).1 < KNOWN && of(100).1 < KNOWN,
            "{:?} {:?}",
            of(30),
            of(100)
        );
        let beside = (start - 8..start + 8).map(|g| of(g).1).fold(0.0, f64::max);
        assert!(beside > KNOWN, "{beside}");
        assert!((of(30).0 - of(100).0 - loss).abs() < 0.15);
        // In the small clone the loss is as large, if less certain.
        let small = found.mean(2, 30).unwrap().0 - found.mean(2, 120).unwrap().0;
        assert!((small - loss).abs() < 0.25, "{small}");
        // Of nothing but normal cells nothing is altered; of the clones a fifth is.
        assert!(!found.is_altered(0, 0.15, 0.0));
        assert!(found.is_altered(1, 0.15, 0.15) && !found.is_altered(1, 0.15, 0.3));
    }
}
