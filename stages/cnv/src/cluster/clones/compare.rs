//! Tests whether two groups of malignant cells differ by a copy-number change.
//!
//! Some piece or whole arm must meet two conditions. The **median** gene differs, by [`MIN_LOG_RATIO`]
//! beyond two standard errors and by at least [`MIN_ERRORS`] of them. And **most** genes differ: the
//! log likelihood of the genes' log ratios with a share of [`MOST`] changed alike exceeds that with a
//! share of [`SOME`] by [`MIN_SUPPORT`]. A gained or lost copy changes all genes of its region except
//! those that escape; an expression programme, or cells that hold back a set of genes, changes some and
//! leaves the others as they were.

use super::{MIN_GENES, Piece};
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::{median, median_deviation};

/// Expected counts of a gene in both groups from which it is used.
const MIN_EXPECTED: f64 = 5.0;
/// Least difference of the median gene beyond two standard errors, natural log: one copy more or less
/// is .41 or .69 on two copies, .29 or .41 on three. A set of 30 % of the genes that changes by a copy
/// moves the median gene by .15 and does not make a clone.
const MIN_LOG_RATIO: f64 = 0.18;
/// Least difference of the median gene in standard errors.
const MIN_ERRORS: f64 = 4.0;
/// Shares of a region's genes that a copy-number change may change.
const MOST: [f64; 4] = [0.7, 0.8, 0.9, 1.0];
/// Shares of a region's genes that anything else may change.
const SOME: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.5];
/// Least difference of natural-log likelihood between most and some genes changed.
const MIN_SUPPORT: f64 = 3.0;
/// Sizes of a change to try, natural log: first, last, step.
const CHANGES: (f64, f64, f64) = (0.15, 1.3, 0.05);
/// Coefficient of variation of the genes' responses to a copy-number change.
const ANSWERS: f64 = 0.2;

/// Summed counts of each gene and the weighted library size, per label of cells.
pub(super) struct Bulk {
    counts: Vec<f64>,
    pub(super) library: f64,
    /// Mean of the natural log of the cells' weighted library sizes.
    pub(super) depth: f64,
}

/// Why two groups of cells differ in copy number: the region where they do most.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// From 1 on the groups differ.
    pub strength: f64,
    /// The region's pieces, by their indices; empty where no region could be compared.
    pub pieces: std::ops::Range<usize>,
    /// Log ratio (natural) of the region's median gene less that of the median piece.
    pub log_ratio: f64,
    /// Its standard error.
    pub error: f64,
    /// Number of genes with enough counts.
    pub n_genes: usize,
}

pub(super) fn bulks(
    counts: &Csr,
    cells: &[usize],
    labels: &[u32],
    weighted: &[f64],
    k: usize,
) -> Vec<Bulk> {
    let mut out: Vec<Bulk> = (0..k)
        .map(|_| Bulk {
            counts: vec![0.0; counts.n_cols()],
            library: 0.0,
            depth: 0.0,
        })
        .collect();
    let mut n = vec![0.0; k];
    for ((&i, &l), w) in cells.iter().zip(labels).zip(weighted) {
        let bulk = &mut out[l as usize];
        bulk.library += w;
        bulk.depth += math::ln(w.max(1.0));
        n[l as usize] += 1.0;
        let (cols, values) = counts.row(i);
        for (&c, &n) in cols.iter().zip(values) {
            bulk.counts[c as usize] += f64::from(n);
        }
    }
    for (bulk, n) in out.iter_mut().zip(n) {
        bulk.depth /= f64::max(n, 1.0);
    }
    out
}

/// Log ratio of each gene with enough counts, and its variance from counting noise.
fn log_ratios(a: &Bulk, b: &Bulk, genes: &[usize]) -> Vec<(f64, f64)> {
    let smaller = a.library.min(b.library) / (a.library + b.library);
    genes
        .iter()
        .filter(|&&g| (a.counts[g] + b.counts[g]) * smaller >= MIN_EXPECTED)
        .map(|&g| {
            let (n, m) = (a.counts[g] + 0.5, b.counts[g] + 0.5);
            let ratio = math::ln(n / a.library) - math::ln(m / b.library);
            (ratio, 1.0 / n + 1.0 / m)
        })
        .collect()
}

/// Median of log ratios and its standard error; `None` with too few genes.
fn middle(ratios: &[(f64, f64)]) -> Option<(f64, f64)> {
    if ratios.len() < MIN_GENES / 2 {
        return None;
    }
    let middle = median(&ratios.iter().map(|r| r.0).collect::<Vec<_>>());
    let away: Vec<f64> = ratios.iter().map(|r| (r.0 - middle).abs()).collect();
    // Standard deviation from the median deviation, and from it the standard error of a median, under
    // normal scatter.
    let error = 1.4826 * 1.2533 * median(&away) / (ratios.len() as f64).sqrt();
    Some((middle, error))
}

/// Median log ratio of neighbouring genes; NaN with too few counts.
pub(super) fn median_ratio(a: &Bulk, b: &Bulk, genes: &[usize]) -> f64 {
    middle(&log_ratios(a, b, genes)).map_or(f64::NAN, |m| m.0)
}

/// Strongest evidence, over pieces and whole arms, that two groups differ in copy number. Log ratios are taken
/// relative to the median piece, so that depth and changes of other pieces have no effect; and what a piece's share
/// of the counts changes by with a cell's depth (`per_depth`, per unit of its natural log) is not evidence.
pub(super) fn difference(a: &Bulk, b: &Bulk, pieces: &[Piece], per_depth: &[f64]) -> Evidence {
    let expected = |p: usize| per_depth[p] * (a.depth - b.depth);
    let region = |pieces_of: std::ops::Range<usize>| -> Option<Region> {
        let mut ratios = Vec::new();
        for p in pieces_of.clone() {
            let own = log_ratios(a, b, &pieces[p].genes);
            ratios.extend(own.into_iter().map(|(r, v)| (r - expected(p), v)));
        }
        let middle = middle(&ratios)?;
        Some(Region {
            pieces: pieces_of,
            ratios,
            middle,
        })
    };
    let mut regions: Vec<Region> = (0..pieces.len()).filter_map(|p| region(p..p + 1)).collect();
    if regions.is_empty() {
        return Evidence::default();
    }
    let level = median(&regions.iter().map(|r| r.middle.0).collect::<Vec<_>>());
    let scatter = scatter(regions.iter().flat_map(|r| &r.ratios), level);
    let mut first = 0;
    for arm in pieces.chunk_by(|p, q| (&p.chromosome, p.arm) == (&q.chromosome, q.arm)) {
        if arm.len() > 1 {
            regions.extend(region(first..first + arm.len()));
        }
        first += arm.len();
    }
    let mut most = Evidence::default();
    for region in &mut regions {
        let (middle, error) = region.middle;
        let size = (middle - level).abs();
        let beyond = (size - 2.0 * error) / MIN_LOG_RATIO;
        let surely = beyond.min(size / (MIN_ERRORS * error.max(1e-9)));
        // The likelihoods are computed only where they can change the result.
        if surely > most.strength && (surely < 1.0 || region.is_supported(level, scatter)) {
            most = Evidence {
                strength: surely,
                pieces: region.pieces.clone(),
                log_ratio: middle - level,
                error,
                n_genes: region.ratios.len(),
            };
        }
    }
    most
}

/// Log ratios of a region's genes with their variances, and their median with its error.
struct Region {
    pieces: std::ops::Range<usize>,
    ratios: Vec<(f64, f64)>,
    middle: (f64, f64),
}

impl Region {
    /// Whether most of the genes have changed rather than some.
    fn is_supported(&mut self, level: f64, scatter: f64) -> bool {
        let sign = (self.middle.0 - level).signum();
        for (ratio, variance) in &mut self.ratios {
            *ratio = sign * (*ratio - level);
            *variance += scatter;
        }
        support(&self.ratios) >= MIN_SUPPORT
    }
}

/// Variance of the genes' ratios around `level` in excess of counting noise, from the median deviation,
/// so that a changed region does not inflate it.
fn scatter<'a>(ratios: impl Iterator<Item = &'a (f64, f64)>, level: f64) -> f64 {
    let (deviations, variances): (Vec<f64>, Vec<f64>) =
        ratios.map(|(r, v)| ((r - level) / v.sqrt(), *v)).unzip();
    let sd = median_deviation(&deviations, 0.0);
    (sd * sd - 1.0).max(0.0) * median(&variances)
}

/// Difference of log likelihood between most and some genes having changed alike. Ratios are signed by
/// the region's median; each gene is a mixture of unchanged and changed.
fn support(ratios: &[(f64, f64)]) -> f64 {
    let likeliest = |shares: &[f64]| {
        let (from, to, by) = CHANGES;
        let n = ((to - from) / by).round() as usize;
        let mut best = f64::NEG_INFINITY;
        for change in (0..=n).map(|i| from + by * i as f64) {
            // Densities under both hypotheses, computed once for all shares.
            let both: Vec<(f64, f64)> = ratios
                .iter()
                .map(|&(r, v)| {
                    let wide = v + (ANSWERS * change).powi(2);
                    let density = |x: f64, v: f64| math::exp(-x * x / (2.0 * v)) / v.sqrt();
                    (density(r, v), density(r - change, wide))
                })
                .collect();
            for &share in shares {
                let sum: f64 = both
                    .iter()
                    .map(|(same, other)| {
                        math::ln(((1.0 - share) * same + share * other).max(1e-300))
                    })
                    .sum();
                best = best.max(sum);
            }
        }
        best
    };
    likeliest(&MOST) - likeliest(&SOME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;

    /// 75 genes of which a share has changed by `change`, with the scatter of counts.
    fn region(share: f64, change: f64, sd: f64, rng: &mut Rng) -> Vec<(f64, f64)> {
        (0..75)
            .map(|_| {
                let changed = rng.uniform() < share;
                let mean = if changed { change } else { 0.0 };
                (mean + sd * rng.normal(), sd * sd)
            })
            .collect()
    }

    #[test]
    fn a_copy_changes_most_genes_and_a_programme_some() {
        let mut rng = Rng::new(1, "clone comparison test", &[]);
        for (sd, change) in [(0.2, 0.4), (0.3, 0.6), (0.15, 0.3)] {
            let supported = |share: f64, rng: &mut Rng| {
                let n = (0..200)
                    .filter(|_| support(&region(share, change, sd, rng)) >= MIN_SUPPORT)
                    .count();
                n as f64 / 200.0
            };
            let (copy, escapes) = (supported(1.0, &mut rng), supported(0.9, &mut rng));
            assert!(
                copy > 0.95 && escapes > 0.85,
                "{sd} {change}: {copy} {escapes}"
            );
            let (third, half) = (supported(0.3, &mut rng), supported(0.5, &mut rng));
            assert!(third == 0.0 && half < 0.05, "{sd} {change}: {third} {half}");
        }
    }

    #[test]
    fn scatter_is_what_counts_do_not_explain() {
        let mut rng = Rng::new(2, "clone comparison test", &[]);
        let ratios: Vec<(f64, f64)> = (0..20_000)
            .map(|_| (0.1 + 0.5 * rng.normal(), 0.16))
            .collect();
        let found = scatter(ratios.iter(), 0.1);
        assert!((found - 0.09).abs() < 0.01, "{found}");
        assert_eq!(scatter([(0.1, 1.0), (0.0, 1.0)].iter(), 0.0), 0.0);
    }
}
