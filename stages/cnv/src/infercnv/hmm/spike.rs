//! Levels of the six states, from simulated cells of known copy number ("hidden spike").

use std::ops::Range;

use super::params::HmmParams;
use super::ratios::{Ratios, Selection};
use super::spline::Spline;
use super::viterbi::Levels;
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::rng::Rng;

/// Simulated cells per reference group, normal ones and as many with altered chromosomes.
const CELLS: usize = 100;
/// Genes of each simulated chromosome but the last.
const GENES: usize = 400;
/// Relative copy number of the simulated chromosomes; the last takes the rest of the genes.
const CHROMOSOMES: [f64; 11] = [1.0, 0.01, 1.0, 0.5, 1.0, 1.5, 1.0, 2.0, 1.0, 3.0, 1.0];
/// Relative copy number of each state.
const LEVELS: [f64; 6] = [0.01, 0.5, 1.0, 1.5, 2.0, 3.0];

/// Moments of genes over the cells of one group, on scaled counts: mean, variance, share of zeros.
struct GeneMoments {
    mean: Vec<f64>,
    variance: Vec<f64>,
    zeros: Vec<f64>,
}

fn moments(counts: &Csr, selection: &Selection, rows: &[usize]) -> GeneMoments {
    let n = selection.genes.len();
    let mut place = vec![u32::MAX; counts.n_cols()];
    selection
        .genes
        .iter()
        .enumerate()
        .for_each(|(i, &g)| place[g] = i as u32);
    let (mut sum, mut squares, mut seen) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for &r in rows {
        let scale = selection.target / selection.totals[r].max(1.0);
        let (cols, vals) = counts.row(r);
        for (&c, &v) in cols.iter().zip(vals) {
            let p = place[c as usize];
            if p != u32::MAX && v != 0.0 {
                let v = f64::from(v) * scale;
                sum[p as usize] += v;
                squares[p as usize] += v * v;
                seen[p as usize] += 1.0;
            }
        }
    }
    let cells = rows.len() as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / cells).collect();
    let freedom = (cells - 1.0).max(1.0);
    let variance = squares
        .iter()
        .zip(&mean)
        .map(|(q, m)| ((q - cells * m * m) / freedom).max(0.0))
        .collect();
    GeneMoments {
        mean,
        variance,
        zeros: seen.iter().map(|s| 1.0 - s / cells).collect(),
    }
}

/// Estimate the mean and standard deviation of the ratios of simulated cells at each copy number.
///
/// For each reference group, 100 cells are drawn around that group's gene means (drawn with replacement
/// into simulated chromosomes) and 100 more with the means of five chromosomes multiplied by .01, .5,
/// 1.5, 2 and 3. Counts are normal with the variance that genes of that mean have, rounded, at least 0,
/// with zeros added up to the share that genes of that mean have. The cells then go through the same
/// steps as the real ones, the first hundred of each group as reference. `groups` are all groups of
/// cells, from which the variances and zeros are estimated; `references` those among them that are
/// reference.
///
/// **Source**: R inferCNV 1.23 `.build_and_add_hspike`, `.get_simulated_cell_matrix_using_meanvar_trend`,
/// `get_spike_dists`. **Deviations**: the two trends are P-splines; draws are seeded.
pub fn levels(
    counts: &Csr,
    selection: &Selection,
    groups: &[Vec<usize>],
    references: &[Vec<usize>],
    params: &HmmParams,
) -> Levels {
    let own = |rows: &Vec<usize>| -> Option<Vec<usize>> {
        let used = rows.iter().copied().filter(|&c| selection.used[c]);
        Some(used.collect::<Vec<_>>()).filter(|cells| !cells.is_empty())
    };
    let of_groups = groups
        .iter()
        .filter_map(own)
        .map(|cells| moments(counts, selection, &cells));
    let trends = Trends::fit(of_groups);
    let means: Vec<Vec<f64>> = references
        .iter()
        .filter_map(own)
        .map(|cells| moments(counts, selection, &cells).mean)
        .collect();
    let spans = simulated_chromosomes(selection.genes.len());
    let cells = SimulatedCells::draw(&means, &spans, &trends, params.random_state);
    let totals: Vec<f64> = (0..cells.counts.n_rows())
        .map(|r| cells.counts.row(r).1.iter().map(|v| f64::from(*v)).sum())
        .collect();
    let simulated = Selection {
        genes: (0..cells.counts.n_cols()).collect(),
        chromosomes: spans.clone(),
        used: totals.iter().map(|t| *t > 0.0).collect(),
        totals,
        target: selection.target,
    };
    let ratios = Ratios::new(&cells.counts, &simulated, &cells.normal, params);
    let spiked = cells.spiked.into_iter().filter(|&c| simulated.used[c]);
    summarise(&ratios, &spiked.collect::<Vec<_>>(), &spans)
}

/// Genes of each simulated chromosome: [`GENES`] each, the last with the rest of `n_genes`.
fn simulated_chromosomes(n_genes: usize) -> Vec<Range<usize>> {
    let last = n_genes.saturating_sub(10 * GENES).max(GENES);
    let mut spans: Vec<Range<usize>> = (0..10).map(|c| c * GENES..(c + 1) * GENES).collect();
    spans.push(10 * GENES..10 * GENES + last);
    spans
}

/// Variance and share of zeros of a gene, as functions of its mean.
struct Trends {
    /// ln(1 + variance) over ln(1 + mean).
    variance: Spline,
    /// Share of zeros over ln(mean).
    dropout: Spline,
}

impl Trends {
    fn fit(groups: impl Iterator<Item = GeneMoments>) -> Self {
        let (mut log_mean, mut log_variance) = (vec![], vec![]);
        let (mut log_seen, mut zeros) = (vec![], vec![]);
        for m in groups {
            log_mean.extend(m.mean.iter().map(|m| math::ln_1p(*m)));
            log_variance.extend(m.variance.iter().map(|v| math::ln_1p(*v)));
            for (mean, zero) in m.mean.iter().zip(&m.zeros).filter(|(m, _)| **m > 0.0) {
                log_seen.push(math::ln(*mean));
                zeros.push(*zero);
            }
        }
        Self {
            variance: Spline::fit(&log_mean, &log_variance),
            dropout: Spline::fit(&log_seen, &zeros),
        }
    }
}

/// Simulated cells: [`CELLS`] normal and as many altered ones per reference group.
struct SimulatedCells {
    /// Simulated cells x simulated genes.
    counts: Csr,
    /// Rows of the normal cells, per reference group.
    normal: Vec<Vec<usize>>,
    /// Rows of the altered cells.
    spiked: Vec<usize>,
}

impl SimulatedCells {
    /// Draw the cells around the gene means of each reference group.
    fn draw(means: &[Vec<f64>], spans: &[Range<usize>], trends: &Trends, seed: u64) -> Self {
        let total = spans.last().map_or(0, |s| s.end);
        let mut rng = Rng::new(seed, "hspike genes", &[]);
        let n_genes = means.first().map_or(0, Vec::len) as u64;
        let drawn: Vec<usize> = if n_genes == 0 {
            Vec::new()
        } else {
            (0..total).map(|_| rng.below(n_genes) as usize).collect()
        };
        let mut rows: Vec<Vec<(u32, f32)>> = Vec::new();
        let (mut normal, mut spiked) = (Vec::new(), Vec::new());
        for (group, means) in means.iter().enumerate() {
            for altered in [false, true] {
                let first = rows.len();
                rows.resize(first + CELLS, Vec::new());
                for (span, copies) in spans.iter().zip(CHROMOSOMES) {
                    let ratio = if altered { copies } else { 1.0 };
                    for gene in span.clone() {
                        let mean = means[drawn[gene]];
                        let mean = ratio * if mean == 0.0 { 1e-3 } else { mean };
                        let coordinates = [group as u64, u64::from(altered), gene as u64];
                        let mut rng = Rng::new(seed, "hspike counts", &coordinates);
                        let values = gene_counts(mean, &trends.variance, &trends.dropout, &mut rng);
                        for (row, value) in rows[first..].iter_mut().zip(values) {
                            if value > 0.0 {
                                row.push((gene as u32, value as f32));
                            }
                        }
                    }
                }
                let cells = first..first + CELLS;
                if altered {
                    spiked.extend(cells);
                } else {
                    normal.push(cells.collect());
                }
            }
        }
        Self {
            counts: Csr::from_rows(total, rows),
            normal,
            spiked,
        }
    }
}

/// Mean and standard deviation of the altered cells' ratios at each level.
fn summarise(ratios: &Ratios<'_>, spiked: &[usize], spans: &[Range<usize>]) -> Levels {
    // Per cell and level: count, sum and sum of squares around 1.
    let parts = ratios.map(spiked, |_, row| {
        LEVELS.map(|level| {
            let mut sums = [0.0; 3];
            for (span, _) in spans.iter().zip(CHROMOSOMES).filter(|(_, c)| *c == level) {
                for v in &row[span.clone()] {
                    let d = v - 1.0;
                    sums = [sums[0] + 1.0, sums[1] + d, sums[2] + d * d];
                }
            }
            sums
        })
    });
    let (mut means, mut sds) = (Vec::new(), Vec::new());
    for level in 0..LEVELS.len() {
        let [n, sum, squares] = parts.iter().fold([0.0; 3], |a, p| {
            let p = p[level];
            [a[0] + p[0], a[1] + p[1], a[2] + p[2]]
        });
        let mean = sum / n;
        means.push(1.0 + mean);
        sds.push(((squares - n * mean * mean) / (n - 1.0)).max(1e-12).sqrt());
    }
    Levels { means, sds }
}

/// Draw the counts of one gene in [`CELLS`] cells.
fn gene_counts(mean: f64, variance: &Spline, dropout: &Spline, rng: &mut Rng) -> Vec<f64> {
    let sd = (math::exp(variance.at(math::ln_1p(mean))) - 1.0)
        .max(0.0)
        .sqrt();
    let mut values: Vec<f64> = (0..CELLS)
        .map(|_| (mean + sd * rng.normal()).max(0.0).round())
        .collect();
    let found = values.iter().sum::<f64>() / CELLS as f64;
    let zeros = values.iter().filter(|v| **v == 0.0).count() as f64;
    if found > 0.0 {
        let wanted = dropout.at(math::ln(found)).clamp(0.0, 1.0) * CELLS as f64;
        let more = ((wanted - zeros) / (CELLS as f64 - zeros)).max(0.0);
        values.iter_mut().for_each(|v| {
            if rng.uniform() <= more {
                *v = 0.0;
            }
        });
    }
    values
}
