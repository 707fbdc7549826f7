//! Evidence that a region's copy number is altered in a cluster: how far its genes depart from the cluster's other
//! genes, by raw counts.
//!
//! Cell types differ in many genes, so their mean profile is never flat. A change of copy number moves most genes of
//! a region alike; an expression programme moves some genes, anywhere. So a region's **typical** gene is compared
//! with what the scatter of all genes makes likely: a location that single genes hardly move (Huber 1964), and its
//! standard error from the scatter of the genes around their own arm. Genes in random order give such locations by
//! chance alone, whatever the cluster expresses.
//!
//! Genes of one region are also regulated together now and then (zinc fingers on 19q). How far that goes is seen on
//! normal cells: each cluster's reference cells are compared with the other reference cells, and the mean squared
//! departure of their arms, where it is above 1, widens every standard error ([`Contrasts::inflation`]).

use std::ops::Range;

use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::{median, median_deviation};

/// Expected counts of a gene in the smaller group from which it is used.
const MIN_EXPECTED: f64 = 5.0;
/// Fewest genes of a region whose departure is judged.
pub(super) const MIN_GENES: usize = 20;
/// Fewest cells of a cluster that are no reference for them to stand for it.
const MIN_CELLS: usize = 10;
/// Fewest reference cells on either side of a comparison.
const MIN_REFERENCE: usize = 20;
/// Departure, in standard deviations of a gene, beyond which a gene pulls no harder.
const BOUND: f64 = 1.0;
/// Least variance of a gene's log ratio in excess of counting noise.
const MIN_SCATTER: f64 = 0.01;

/// Departure of a region's typical gene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Natural log ratio of the region's typical gene to the reference, relative to the cluster's typical gene.
    pub log_ratio: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Number of genes with enough counts.
    pub n_genes: usize,
}

impl Shift {
    /// `log_ratio` over its standard error.
    pub fn z(&self) -> f64 {
        self.log_ratio / self.standard_error
    }
}

/// Genes of one group of cells against those of another.
#[derive(Debug, Clone)]
pub struct Contrast {
    /// Places of the used genes in the genome, ascending.
    place: Vec<usize>,
    /// Log ratio of each, relative to the typical gene.
    ratio: Vec<f64>,
    /// Standard deviation of each: counting noise and the scatter of genes.
    sd: Vec<f64>,
    /// Factor from the inverse of the summed precisions to the variance of a location.
    unit: f64,
}

impl Contrast {
    /// Compare summed counts per gene, both in genome order, with their library sizes. `arms` are the genes of each
    /// arm. `None` where fewer than [`MIN_GENES`] genes have enough counts.
    fn new(a: &Bulk, b: &Bulk, arms: &[Range<usize>]) -> Option<Self> {
        let smaller = a.library.min(b.library) / (a.library + b.library);
        let place: Vec<usize> = (0..a.counts.len())
            .filter(|&g| (a.counts[g] + b.counts[g]) * smaller >= MIN_EXPECTED)
            .collect();
        if place.len() < MIN_GENES {
            return None;
        }
        let (mut ratio, variance): (Vec<f64>, Vec<f64>) = place
            .iter()
            .map(|&g| {
                let (n, m) = (a.counts[g] + 0.5, b.counts[g] + 0.5);
                let ratio = math::ln(n / a.library) - math::ln(m / b.library);
                (ratio, 1.0 / n + 1.0 / m)
            })
            .unzip();
        let middle = median(&ratio);
        let scatter = median_deviation(&ratio, middle).powi(2) - median(&variance);
        let sd: Vec<f64> = variance
            .iter()
            .map(|v| (v + scatter.max(MIN_SCATTER)).sqrt())
            .collect();
        let centre = location(&ratio, &sd);
        ratio.iter_mut().for_each(|r| *r -= centre);
        let mut out = Self {
            place,
            ratio,
            sd,
            unit: 1.0,
        };
        out.unit = out.variance_unit(arms);
        Some(out)
    }

    /// Positions, among the used genes, of a range of the genome.
    fn within(&self, genes: &Range<usize>) -> Range<usize> {
        let at = |g: usize| self.place.partition_point(|&p| p < g);
        at(genes.start)..at(genes.end)
    }

    /// Variance of a location times the summed precision of its genes (Huber 1964, equation 25, over all genes around
    /// the location of their arm).
    fn variance_unit(&self, arms: &[Range<usize>]) -> f64 {
        let (mut squares, mut inside, mut n) = (0.0, 0.0, 0.0);
        for arm in arms {
            let own = self.within(arm);
            if own.len() < MIN_GENES {
                continue;
            }
            let (ratio, sd) = (&self.ratio[own.clone()], &self.sd[own]);
            let middle = location(ratio, sd);
            for (r, s) in ratio.iter().zip(sd) {
                let u = (r - middle) / s;
                squares += u.clamp(-BOUND, BOUND).powi(2);
                inside += f64::from(u8::from(u.abs() < BOUND));
                n += 1.0;
            }
        }
        if inside > 0.0 {
            (squares / n) / (inside / n).powi(2)
        } else {
            1.0
        }
    }

    /// Departure of the genes in a range of the genome; `None` with fewer than [`MIN_GENES`] of them.
    pub fn shift(&self, genes: &Range<usize>) -> Option<Shift> {
        let own = self.within(genes);
        if own.len() < MIN_GENES {
            return None;
        }
        let (ratio, sd) = (&self.ratio[own.clone()], &self.sd[own.clone()]);
        let precision: f64 = sd.iter().map(|s| 1.0 / (s * s)).sum();
        Some(Shift {
            log_ratio: location(ratio, sd),
            standard_error: (self.unit / precision).sqrt(),
            n_genes: own.len(),
        })
    }
}

/// Location of values with standard deviations `sd`: weighted by precision, a value beyond [`BOUND`] of its standard
/// deviations pulling as one at it (Huber 1964). The pull of all values is linear between the places where a value
/// meets its bound, so its zero is found exactly; where it is zero over an interval, the middle of that.
fn location(values: &[f64], sd: &[f64]) -> f64 {
    let pull = |m: f64| -> f64 {
        let pairs = values.iter().zip(sd);
        pairs
            .map(|(v, s)| ((v - m) / s).clamp(-BOUND, BOUND) / s)
            .sum()
    };
    let mut bounds: Vec<f64> = (values.iter().zip(sd))
        .flat_map(|(v, s)| [v - BOUND * s, v + BOUND * s])
        .collect();
    bounds.sort_by(f64::total_cmp);
    let rounding = 1e-12 * sd.iter().map(|s| 1.0 / s).sum::<f64>();
    let right = bounds.partition_point(|m| pull(*m) > rounding);
    let left = bounds.partition_point(|m| pull(*m) >= -rounding);
    if right < left {
        return 0.5 * (bounds[right] + bounds[left - 1]);
    }
    let (low, high) = (bounds[right - 1], bounds[right]);
    let (to_right, to_left) = (pull(low), -pull(high));
    low + (high - low) * to_right / (to_right + to_left)
}

/// Summed counts of some cells per gene in genome order, and over all genes.
struct Bulk {
    counts: Vec<f64>,
    library: f64,
}

/// Each cluster of a patient against normal cells.
#[derive(Debug, Clone)]
pub struct Contrasts {
    of_cluster: Vec<Option<Contrast>>,
    /// Mean squared departure of arms between groups of reference cells, in squared standard errors; at least 1. It
    /// is in every standard error already.
    pub inflation: f64,
}

/// Genes of the data by their place in the genome.
#[derive(Debug, Clone)]
pub struct Places {
    /// Column of the counts of each gene, in genome order; `None` for genes that are not used.
    pub column: Vec<Option<usize>>,
    /// Genes of each arm.
    pub arms: Vec<Range<usize>>,
}

impl Contrasts {
    /// Compare the cells of each cluster with the reference cells outside of it, from raw counts (`n_cells x
    /// n_genes`). The cells that stand for a cluster are those that are no reference, where they are at least 10;
    /// otherwise all. Without a named reference, all other cells take its place. A cluster with fewer than 20
    /// reference cells outside of it is not compared.
    pub fn new(
        counts: &Csr,
        places: &Places,
        membership: &[u32],
        n_clusters: usize,
        reference: Option<&[bool]>,
    ) -> Self {
        let libraries = counts.row_sums();
        let bulk = |wanted: &dyn Fn(usize) -> bool| -> (Bulk, usize) {
            let cells: Vec<usize> = (0..membership.len()).filter(|&i| wanted(i)).collect();
            (bulk(counts, &libraries, places, &cells), cells.len())
        };
        let is_reference = |i: usize| reference.is_some_and(|r| r[i]);
        let (mut squares, mut weight) = (0.0, 0.0);
        let mut of_cluster = Vec::with_capacity(n_clusters);
        for cluster in 0..n_clusters as u32 {
            let inside = |i: usize| membership[i] == cluster;
            let own = (0..membership.len())
                .filter(|&i| inside(i) && !is_reference(i))
                .count();
            let stands = |i: usize| inside(i) && (own < MIN_CELLS || !is_reference(i));
            let (a, n) = bulk(&stands);
            let (b, m) = bulk(&|i| !stands(i) && (reference.is_none() || is_reference(i)));
            let found = (n > 0 && m >= MIN_REFERENCE)
                .then(|| Contrast::new(&a, &b, &places.arms))
                .flatten();
            of_cluster.push(found);
            let (a, n) = bulk(&|i| inside(i) && is_reference(i));
            let (b, m) = bulk(&|i| !inside(i) && is_reference(i));
            if n.min(m) >= MIN_REFERENCE
                && let Some(normal) = Contrast::new(&a, &b, &places.arms)
            {
                let z = places.arms.iter().filter_map(|arm| normal.shift(arm));
                let z: Vec<f64> = z.map(|s| s.z().powi(2)).collect();
                if !z.is_empty() {
                    squares += n as f64 * clcc_numerics::stats::mean(&z);
                    weight += n as f64;
                }
            }
        }
        let inflation = if weight > 0.0 {
            f64::max(squares / weight, 1.0)
        } else {
            1.0
        };
        of_cluster
            .iter_mut()
            .flatten()
            .for_each(|c: &mut Contrast| c.unit *= inflation);
        Self {
            of_cluster,
            inflation,
        }
    }

    /// The contrast of a cluster; `None` where it was not compared.
    pub fn of(&self, cluster: usize) -> Option<&Contrast> {
        self.of_cluster[cluster].as_ref()
    }
}

fn bulk(counts: &Csr, libraries: &[f64], places: &Places, cells: &[usize]) -> Bulk {
    let sum = counts.sum_rows(cells.iter().copied());
    let of_gene = |column: &Option<usize>| column.map_or(0.0, |c| sum[c]);
    Bulk {
        counts: places.column.iter().map(of_gene).collect(),
        library: cells.iter().map(|&i| libraries[i]).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;
    use proptest::prelude::*;

    /// Sum of Huber's losses of values about `middle`.
    fn loss(values: &[f64], sd: &[f64], middle: f64) -> f64 {
        let pairs = values.iter().zip(sd);
        pairs
            .map(|(v, s)| {
                let u = ((v - middle) / s).abs();
                if u <= BOUND {
                    0.5 * u * u
                } else {
                    BOUND * u - 0.5 * BOUND * BOUND
                }
            })
            .sum()
    }

    proptest! {
        /// Against a fine grid. The losses are compared and not the places: with few values the least loss may be
        /// that of a whole interval, when as much pulls to the left as to the right.
        #[test]
        fn location_has_the_least_loss(seed in any::<u64>(), n in 3usize..30) {
            let mut rng = Rng::new(seed, "evidence test", &[]);
            let values: Vec<f64> = (0..n).map(|i| rng.normal() + if i % 7 == 0 { 2.0 } else { 0.0 }).collect();
            let sd: Vec<f64> = (0..n).map(|_| 0.3 + rng.uniform()).collect();
            let found = location(&values, &sd);
            let least = (-4000..=4000)
                .map(|i| loss(&values, &sd, f64::from(i) * 1e-3))
                .fold(f64::INFINITY, f64::min);
            prop_assert!(loss(&values, &sd, found) <= least + 1e-9, "{found}");
            // A shift of all values shifts it.
            let moved: Vec<f64> = values.iter().map(|v| v + 0.7).collect();
            prop_assert!((location(&moved, &sd) - found - 0.7).abs() < 1e-6);
        }
    }

    const ARMS: usize = 30;
    const GENES: usize = 80;

    fn places() -> Places {
        Places {
            column: (0..ARMS * GENES).map(Some).collect(),
            arms: (0..ARMS).map(|a| a * GENES..(a + 1) * GENES).collect(),
        }
    }

    /// 60 cells in two clusters and 60 reference cells of the second cluster. The first cluster has a programme: two
    /// of five genes at another level (standard deviation 1 of the log); arm 0 times `change`.
    fn cells(change: f64, seed: u64) -> (Csr, Vec<u32>, Vec<bool>) {
        let mut rng = Rng::new(seed, "evidence cells", &[]);
        let n = ARMS * GENES;
        let level: Vec<f64> = (0..n).map(|_| 0.7 * (0.8 * rng.normal()).exp()).collect();
        let other: Vec<f64> = (0..n)
            .map(|g| {
                let programme = if rng.uniform() < 0.4 {
                    rng.normal()
                } else {
                    0.0
                };
                let copies = if g < GENES { change } else { 1.0 };
                programme.exp() * copies
            })
            .collect();
        let rows = (0..120).map(|i| {
            (0..n)
                .map(|g| {
                    let factor = if i < 30 { other[g] } else { 1.0 };
                    (g as u32, rng.poisson(level[g] * factor) as f32)
                })
                .filter(|e| e.1 > 0.0)
                .collect::<Vec<_>>()
        });
        let membership = (0..120).map(|i| u32::from(i >= 30)).collect();
        (
            Csr::from_rows(n, rows),
            membership,
            (0..120).map(|i| i >= 60).collect(),
        )
    }

    /// z of every arm of the first cluster, over seeds.
    fn z_of_arms(change: f64, seeds: std::ops::Range<u64>) -> Vec<Vec<f64>> {
        let places = places();
        seeds
            .map(|seed| {
                let (counts, membership, reference) = cells(change, seed);
                let all = Contrasts::new(&counts, &places, &membership, 2, Some(&reference));
                let found = all.of(0).unwrap();
                places
                    .arms
                    .iter()
                    .map(|arm| found.shift(arm).unwrap().z())
                    .collect()
            })
            .collect()
    }

    /// Level: a programme of expression moves no arm; 5 % of arms are beyond 1.96 standard errors.
    #[test]
    fn a_programme_of_expression_alters_no_arm() {
        let z: Vec<f64> = z_of_arms(1.0, 0..10).concat();
        let beyond = z.iter().filter(|z| z.abs() > 1.96).count();
        // 300 arms: 15 expected, standard deviation 3.8.
        assert!((4..=27).contains(&beyond), "{beyond} of {}", z.len());
        assert!(z.iter().all(|z| z.abs() < 4.5));
    }

    /// Power: half as much again in one arm is found beside the same programme.
    #[test]
    fn a_gained_arm_is_found_beside_a_programme() {
        for z in z_of_arms(1.5, 20..30) {
            assert!(z[0] > 4.0, "{}", z[0]);
            assert!(z[1..].iter().all(|z| z.abs() < 4.5));
        }
    }

    #[test]
    fn a_handful_of_genes_says_nothing() {
        let places = places();
        let (counts, membership, reference) = cells(1.0, 1);
        let all = Contrasts::new(&counts, &places, &membership, 2, Some(&reference));
        assert_eq!(all.of(0).unwrap().shift(&(0..15)), None);
        assert!(all.of(0).unwrap().shift(&(0..60)).is_some());
        // No reference cell is left outside of a cluster that has them all.
        let one = Contrasts::new(&counts, &places, &[0; 120], 1, Some(&[true; 120]));
        assert!(one.of(0).is_none() && one.inflation == 1.0);
    }
}
