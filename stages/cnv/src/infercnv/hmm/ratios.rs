//! Expression ratios of single cells to the reference along the genome, gene by gene.

use std::ops::Range;

use rayon::prelude::*;

use super::params::HmmParams;
use crate::infercnv::window::median_of;
use clcc_data::matrix::Csr;
use clcc_numerics::math;

/// Cells whose profiles are summed in sequence. Changing it changes the rounding of results.
const CHUNK: usize = 64;
/// Chunks kept in memory at once.
const HELD: usize = 16;

/// Included genes and cells, and the chromosomes of the genes.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Included columns of the counts, in genome order.
    pub genes: Vec<usize>,
    /// Genes of each chromosome, as positions in `genes`.
    pub chromosomes: Vec<Range<usize>>,
    /// Counts of each cell over the included genes.
    pub totals: Vec<f64>,
    /// Whether each cell is included.
    pub used: Vec<bool>,
    /// Library size that cells are scaled to: the median of `totals` over the included cells.
    pub target: f64,
}

impl Selection {
    /// Select, from `candidates` (columns in genome order, divided into chromosomes by `spans`), the
    /// genes with a mean count of at least `cutoff` that are expressed in at least `min_cells_per_gene`
    /// cells; and the cells with at least `min_counts_per_cell` counts over the candidates.
    pub fn new(
        counts: &Csr,
        candidates: &[usize],
        spans: &[Range<usize>],
        params: &HmmParams,
    ) -> Self {
        let mut is_candidate = vec![false; counts.n_cols()];
        candidates.iter().for_each(|&g| is_candidate[g] = true);
        let all = row_sums(counts, &is_candidate);
        let used: Vec<bool> = all
            .iter()
            .map(|t| *t >= params.min_counts_per_cell && *t > 0.0)
            .collect();
        let n_used = used.iter().filter(|u| **u).count().max(1) as f64;
        let mut sums = vec![0.0; counts.n_cols()];
        let mut seen = vec![0usize; counts.n_cols()];
        for r in (0..counts.n_rows()).filter(|&r| used[r]) {
            let (cols, vals) = counts.row(r);
            for (&c, &v) in cols.iter().zip(vals) {
                sums[c as usize] += f64::from(v);
                seen[c as usize] += usize::from(v > 0.0);
            }
        }
        let kept =
            |g: usize| sums[g] / n_used >= params.cutoff && seen[g] >= params.min_cells_per_gene;
        let mut genes = Vec::new();
        let mut chromosomes = Vec::new();
        for span in spans {
            let first = genes.len();
            genes.extend(
                candidates[span.clone()]
                    .iter()
                    .copied()
                    .filter(|&g| kept(g)),
            );
            chromosomes.push(first..genes.len());
        }
        let mut enters = vec![false; counts.n_cols()];
        genes.iter().for_each(|&g| enters[g] = true);
        let totals = row_sums(counts, &enters);
        let own: Vec<f64> = (0..totals.len())
            .filter(|&c| used[c])
            .map(|c| totals[c])
            .collect();
        Self {
            genes,
            chromosomes,
            target: median_of(&own, &mut Vec::new()),
            totals,
            used,
        }
    }
}

fn row_sums(counts: &Csr, enters: &[bool]) -> Vec<f64> {
    (0..counts.n_rows())
        .into_par_iter()
        .map(|r| {
            let (cols, vals) = counts.row(r);
            cols.iter()
                .zip(vals)
                .filter(|(c, _)| enters[**c as usize])
                .map(|(_, v)| f64::from(*v))
                .sum()
        })
        .collect()
}

/// Lowest and highest of the reference groups' means, per gene.
#[derive(Debug, Clone, PartialEq)]
struct Bounds {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Bounds {
    fn new(means: &[Vec<f64>], use_bounds: bool) -> Self {
        let n = means.first().map_or(0, Vec::len);
        if use_bounds {
            let pick = |f: fn(f64, f64) -> f64, start: f64| {
                (0..n)
                    .map(|g| means.iter().map(|m| m[g]).fold(start, f))
                    .collect()
            };
            Self {
                low: pick(f64::min, f64::INFINITY),
                high: pick(f64::max, f64::NEG_INFINITY),
            }
        } else {
            let mean: Vec<f64> = (0..n)
                .map(|g| means.iter().map(|m| m[g]).sum::<f64>() / means.len() as f64)
                .collect();
            Self {
                low: mean.clone(),
                high: mean,
            }
        }
    }

    fn apply(&self, gene: usize, value: f64) -> f64 {
        if value > self.high[gene] {
            value - self.high[gene]
        } else if value < self.low[gene] {
            value - self.low[gene]
        } else {
            0.0
        }
    }
}

/// Computes the ratio profile of any cell from its counts; no matrix of cells x genes is kept.
///
/// Per cell: counts scaled to the median cell, log2(x + 1), minus the reference (0 between the bounds
/// of the groups' means), clipped, pyramid mean over 101 genes around each gene, minus the cell's
/// median, minus the reference once more, 2^x: 1 is the reference's copy number.
///
/// **Source**: R inferCNV 1.23 `run`, steps 2 to 14. **Deviation**: f64 throughout.
#[derive(Debug)]
pub struct Ratios<'a> {
    counts: &'a Csr,
    selection: &'a Selection,
    place: Vec<u32>,
    tail: usize,
    clip: f64,
    first: Bounds,
    zero: Vec<f64>,
    second: Bounds,
}

impl<'a> Ratios<'a> {
    /// Compute the reference's means. `groups` are rows of `counts`; cells that are not included are
    /// skipped.
    pub fn new(
        counts: &'a Csr,
        selection: &'a Selection,
        groups: &[Vec<usize>],
        params: &HmmParams,
    ) -> Self {
        let n = selection.genes.len();
        let mut place = vec![u32::MAX; counts.n_cols()];
        selection
            .genes
            .iter()
            .enumerate()
            .for_each(|(i, &g)| place[g] = i as u32);
        let nothing = Bounds {
            low: vec![0.0; n],
            high: vec![0.0; n],
        };
        let mut this = Self {
            counts,
            selection,
            place,
            tail: (params.window_length - 1) / 2,
            clip: params.max_centered_threshold,
            first: nothing.clone(),
            zero: vec![0.0; n],
            second: nothing,
        };
        let groups: Vec<Vec<usize>> = groups
            .iter()
            .map(|g| g.iter().copied().filter(|&c| selection.used[c]).collect())
            .filter(|g: &Vec<usize>| !g.is_empty())
            .collect();
        let logs = this.group_means(&groups, &|this, cell, sum| {
            this.logs(cell, |gene, value| sum[gene] += value);
        });
        this.first = Bounds::new(&logs, params.ref_subtract_use_mean_bounds);
        this.zero = (0..n)
            .map(|g| this.first.apply(g, 0.0).clamp(-this.clip, this.clip))
            .collect();
        let smooth = this.group_means(&groups, &|this, cell, sum| {
            let mut row = vec![0.0; n];
            this.centred(cell, &mut row);
            sum.iter_mut().zip(&row).for_each(|(s, r)| *s += r);
        });
        this.second = Bounds::new(&smooth, params.ref_subtract_use_mean_bounds);
        this
    }

    /// Mean over the cells of each group of what `add` adds per gene, `[group][gene]`.
    fn group_means(
        &self,
        groups: &[Vec<usize>],
        add: &(dyn Fn(&Self, usize, &mut [f64]) + Sync),
    ) -> Vec<Vec<f64>> {
        groups
            .iter()
            .map(|rows| {
                let mut mean = self.sum(rows, add);
                mean.iter_mut().for_each(|m| *m /= rows.len() as f64);
                mean
            })
            .collect()
    }

    /// Number of genes of a profile.
    pub fn n_genes(&self) -> usize {
        self.selection.genes.len()
    }

    /// Pass log2(scaled count + 1) of each gene with counts in the cell to `take`.
    fn logs(&self, cell: usize, mut take: impl FnMut(usize, f64)) {
        let scale = self.selection.target / self.selection.totals[cell].max(1.0);
        let (cols, vals) = self.counts.row(cell);
        for (&c, &v) in cols.iter().zip(vals) {
            let place = self.place[c as usize];
            if place != u32::MAX {
                take(place as usize, math::log2(f64::from(v) * scale + 1.0));
            }
        }
    }

    /// Compute the smoothed log2 ratios minus their median.
    fn centred(&self, cell: usize, row: &mut [f64]) {
        row.copy_from_slice(&self.zero);
        self.logs(cell, |gene, value| {
            row[gene] = self.first.apply(gene, value).clamp(-self.clip, self.clip);
        });
        let mut sums = Vec::new();
        for span in &self.selection.chromosomes {
            smooth(&mut row[span.clone()], self.tail, &mut sums);
        }
        let median = median_of(row, &mut Vec::new());
        row.iter_mut().for_each(|v| *v -= median);
    }

    /// Compute the ratios of an included cell, one per gene.
    pub fn fill(&self, cell: usize, row: &mut [f64]) {
        self.centred(cell, row);
        for (g, v) in row.iter_mut().enumerate() {
            *v = math::exp2(self.second.apply(g, *v));
        }
    }

    /// Apply `f` to the ratios of each of `cells`, in their order.
    pub fn map<T: Send>(&self, cells: &[usize], f: impl Fn(usize, &[f64]) -> T + Sync) -> Vec<T> {
        cells
            .par_iter()
            .map_init(
                || vec![0.0; self.n_genes()],
                |row, &cell| {
                    self.fill(cell, row);
                    f(cell, row)
                },
            )
            .collect()
    }

    /// Sum over `cells` the values that `add` adds per gene, in a fixed order at any number of threads.
    fn sum(&self, cells: &[usize], add: &(dyn Fn(&Self, usize, &mut [f64]) + Sync)) -> Vec<f64> {
        let mut total = vec![0.0; self.n_genes()];
        for held in cells.chunks(CHUNK * HELD) {
            let parts: Vec<Vec<f64>> = held
                .par_chunks(CHUNK)
                .map(|chunk| {
                    let mut part = vec![0.0; self.n_genes()];
                    chunk.iter().for_each(|&cell| add(self, cell, &mut part));
                    part
                })
                .collect();
            for part in parts {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        total
    }

    /// Mean over `cells` of `f` of each ratio, per gene.
    pub fn mean_of(&self, cells: &[usize], f: impl Fn(f64) -> f64 + Sync) -> Vec<f64> {
        let mut mean = self.sum(cells, &|this, cell, sum| {
            let mut row = vec![0.0; this.n_genes()];
            this.fill(cell, &mut row);
            sum.iter_mut().zip(&row).for_each(|(s, v)| *s += f(*v));
        });
        mean.iter_mut()
            .for_each(|m| *m /= cells.len().max(1) as f64);
        mean
    }
}

/// Replace each value by the pyramid mean around it, over `tail` values on either side. At an end the
/// pyramid is truncated and its remaining weights are divided by their sum, so every value is kept.
/// Time is linear in the values: the pyramid is the second difference of twice-summed values. `sums` is
/// working memory.
pub(super) fn smooth(values: &mut [f64], tail: usize, sums: &mut Vec<f64>) {
    let n = values.len();
    if n < 2 || tail == 0 {
        return;
    }
    // sums[p] = sum over k < p of (p - k) x_k for 0 <= p <= n; beyond n it continues as a straight
    // line.
    sums.clear();
    sums.push(0.0);
    let (mut once, mut twice) = (0.0, 0.0);
    for v in values.iter() {
        once += v;
        twice += once;
        sums.push(twice);
    }
    let at = |p: i64| {
        if p <= 0 {
            0.0
        } else if p as usize <= n {
            sums[p as usize]
        } else {
            sums[n] + (p - n as i64) as f64 * once
        }
    };
    let half = tail as i64 + 1;
    for (i, value) in values.iter_mut().enumerate() {
        let i = i as i64;
        let missing = |available: i64| {
            let r = (tail as i64 - available).max(0) as f64;
            r * (r + 1.0) / 2.0
        };
        let weight = (half * half) as f64 - missing(i) - missing(n as i64 - 1 - i);
        *value = (at(i + half) - 2.0 * at(i) + at(i - half)) / weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;
    use proptest::prelude::*;

    /// The weighted mean around each value, from its definition.
    fn slow(values: &[f64], tail: usize) -> Vec<f64> {
        (0..values.len())
            .map(|i| {
                let (mut sum, mut weights) = (0.0, 0.0);
                for (j, v) in values
                    .iter()
                    .enumerate()
                    .filter(|(j, _)| j.abs_diff(i) <= tail)
                {
                    let w = (tail + 1 - j.abs_diff(i)) as f64;
                    sum += w * v;
                    weights += w;
                }
                sum / weights
            })
            .collect()
    }

    #[test]
    fn ends_keep_their_place_by_hand() {
        // tail 1: weights 1 2 1; ends (2 * 1 + 3) / 3 and (3 + 2 * 8) / 3, middle (1 + 6 + 8) / 4.
        let mut x = [1.0, 3.0, 8.0];
        smooth(&mut x, 1, &mut Vec::new());
        assert_eq!(x, [5.0 / 3.0, 15.0 / 4.0, 19.0 / 3.0]);
    }

    proptest! {
        #[test]
        fn equals_the_weighted_mean(n in 1usize..300, tail in 1usize..60, seed in any::<u64>()) {
            let mut rng = Rng::new(seed, "pyramid test", &[]);
            let mut x: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
            let expected = slow(&x, tail);
            smooth(&mut x, tail, &mut Vec::new());
            for (a, b) in x.iter().zip(&expected) {
                prop_assert!((a - b).abs() < 1e-10);
            }
        }
    }
}
