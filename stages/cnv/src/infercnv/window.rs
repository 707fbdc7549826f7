//! infercnvpy's inference: log ratio to the reference, clip, smooth, centre, denoise.

use std::ops::Range;

use ndarray::{Array2, ArrayViewMut2};
use rayon::prelude::*;

use super::gene_values::GeneValues;
use super::layout::Layout;
use super::params::{InfercnvParams, NoiseScope};
use super::reference::Reference;
use super::smooth::{Scratch, Smoother};
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::Csr;
use clcc_stage::stage::Progress;

/// Cells whose dense profiles are held at once where the noise filter does not need more.
const BLOCK: usize = 5000;

/// Result of [`infer`].
#[derive(Debug, Clone)]
pub struct Inferred {
    /// `n_cells x n_windows`, natural-log ratios; denoised entries are not stored.
    pub x_cnv: Csr,
    /// Noise threshold of each chunk; one under `noise_scope: global`; empty without a filter.
    pub thresholds: Vec<f64>,
    /// `n_cells x n_genes included`, NaN for genes in no window; only under `calculate_gene_values`.
    pub gene_values: Option<Array2<f32>>,
}

/// Infer copy number in windows. `x` is log1p expression, `n_cells x n_genes`; `reference` has one
/// entry per gene of `x`.
///
/// Per cell: difference from the reference (0 between the bounds of the groups), clipped to +-
/// `lfc_clip`, pyramid mean in windows, minus the cell's median over all windows; then values below
/// `dynamic_threshold` population standard deviations of the chunk's whole matrix become 0. The result
/// is the same at any number of threads. Memory is one chunk of cells x windows; no dense matrix of
/// cells x genes is built unless per-gene values are requested.
///
/// **Source**: infercnvpy 0.6.1 `tl.infercnv` (0.4.3 with `edges: same`). **Deviations**: f64 sums and
/// means; stored as f32; genes of equal start have a stated order.
///
/// # Errors
/// [`StageError::Data`] where there is no cell or a value is not finite.
pub fn infer(
    x: &Csr,
    layout: &Layout,
    reference: &Reference,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<Inferred> {
    check_expression(x)?;
    let profiler = Profiler::new(x, layout, reference, params.lfc_clip);
    let n_cells = x.n_rows();
    let global = params.noise_scope == NoiseScope::Global;
    let chunk = if global || params.dynamic_threshold.is_none() {
        BLOCK
    } else {
        params.chunksize
    };
    let ranges: Vec<Range<usize>> = (0..n_cells)
        .step_by(chunk)
        .map(|s| s..(s + chunk).min(n_cells))
        .collect();

    let fixed = params
        .dynamic_threshold
        .filter(|_| global)
        .map(|factor| factor * profiler.population_sd(&ranges));
    let mut thresholds: Vec<f64> = fixed.into_iter().collect();
    let mut gene_values = params.calculate_gene_values.then(|| {
        let values = Array2::<f32>::zeros((n_cells, layout.genes.len()));
        (GeneValues::new(layout), values)
    });
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let profiles = profiler.profiles(range.clone());
        let threshold = match params.dynamic_threshold {
            None => 0.0,
            Some(factor) => fixed.unwrap_or_else(|| {
                let own = factor * profiles.moments().population_sd();
                thresholds.push(own);
                own
            }),
        };
        if let Some((values, out)) = &mut gene_values {
            let rows = out.slice_mut(ndarray::s![range.clone(), ..]);
            profiles.fill_gene_values(values, threshold, rows);
        }
        parts.push(profiles.denoise(threshold)?);
        progress.step(range.end as u64, n_cells as u64, "cells");
    }
    Ok(Inferred {
        x_cnv: match parts.len() {
            1 => parts.remove(0),
            _ => Csr::vstack(&parts.iter().collect::<Vec<_>>()),
        },
        thresholds,
        gene_values: gene_values.map(|v| v.1),
    })
}

/// Check that there are cells, and that all values are finite.
fn check_expression(x: &Csr) -> StageResult<()> {
    if x.n_rows() == 0 {
        return Err(StageError::data(
            "there is no cell to infer copy number for",
        ));
    }
    match x.data().iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(StageError::data(format!(
            "expression has the value `{v}`, expected finite numbers"
        ))),
    }
}

/// Computes the smoothed profile of a cell from its sparse row.
struct Profiler<'a> {
    x: &'a Csr,
    reference: &'a Reference,
    clip: f64,
    /// Position of each column of `x` among the included genes, or `u32::MAX`.
    place: Vec<u32>,
    /// Whether `place` ascends along the columns, so that rows need no sorting.
    in_order: bool,
    /// Log ratio of a zero, per column of `x`.
    zero: Vec<f64>,
    /// Smoothed profile of a cell without any count.
    empty: Vec<f64>,
    smoother: Smoother,
}

impl<'a> Profiler<'a> {
    fn new(x: &'a Csr, layout: &Layout, reference: &'a Reference, clip: f64) -> Self {
        let mut place = vec![u32::MAX; x.n_cols()];
        layout
            .genes
            .iter()
            .enumerate()
            .for_each(|(i, &g)| place[g] = i as u32);
        let zero: Vec<f64> = (0..x.n_cols())
            .map(|g| reference.ratio(g, 0.0, clip))
            .collect();
        let base: Vec<(u32, f64)> = layout
            .genes
            .iter()
            .enumerate()
            .map(|(i, &g)| (i as u32, zero[g]))
            .collect();
        let smoother = Smoother::new(layout);
        let mut empty = vec![0.0; smoother.n_windows()];
        smoother.apply(&base, &mut Scratch::default(), &mut empty);
        let in_order = layout.genes.windows(2).all(|w| w[0] < w[1]);
        Self {
            x,
            reference,
            clip,
            place,
            in_order,
            zero,
            empty,
            smoother,
        }
    }

    /// Population standard deviation of the centred profiles of all cells, range by range: profiles are
    /// cheap to compute twice and expensive to keep.
    fn population_sd(&self, ranges: &[Range<usize>]) -> f64 {
        let mut all = Moments::default();
        for range in ranges {
            all.join(&self.profiles(range.clone()).moments());
        }
        all.population_sd()
    }

    /// Compute the profiles of a range of cells, before centring. Each depends on its own row only.
    fn profiles(&self, cells: Range<usize>) -> Profiles {
        let n_windows = self.empty.len();
        let mut smoothed = vec![0.0; cells.len() * n_windows];
        let mut medians = vec![0.0; cells.len()];
        let first = cells.start;
        smoothed
            .par_chunks_mut(n_windows)
            .zip(&mut medians)
            .enumerate()
            .for_each_init(
                || (Vec::new(), Scratch::default(), Vec::new()),
                |(row, scratch, sorted), (r, (out, median))| {
                    self.profile(first + r, row, scratch, out);
                    *median = median_of(out, sorted);
                },
            );
        Profiles {
            n_windows,
            smoothed,
            medians,
        }
    }

    /// Compute the profile of an empty cell plus the smoothed change due to the cell's counts.
    fn profile(
        &self,
        cell: usize,
        row: &mut Vec<(u32, f64)>,
        scratch: &mut Scratch,
        out: &mut [f64],
    ) {
        row.clear();
        let (cols, vals) = self.x.row(cell);
        row.extend(cols.iter().zip(vals).filter_map(|(&c, &v)| {
            let place = self.place[c as usize];
            (place != u32::MAX).then(|| {
                (
                    place,
                    self.reference.ratio(c as usize, f64::from(v), self.clip)
                        - self.zero[c as usize],
                )
            })
        }));
        if !self.in_order {
            row.sort_unstable_by_key(|e| e.0);
        }
        self.smoother.apply(row, scratch, out);
        out.iter_mut().zip(&self.empty).for_each(|(o, e)| *o += e);
    }
}

/// Smoothed profiles of some cells and their medians.
struct Profiles {
    n_windows: usize,
    smoothed: Vec<f64>,
    medians: Vec<f64>,
}

impl Profiles {
    fn smoothed(&self, row: usize) -> &[f64] {
        &self.smoothed[row * self.n_windows..(row + 1) * self.n_windows]
    }

    fn centred(&self, row: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        let median = self.medians[row];
        self.smoothed(row).iter().map(move |v| v - median)
    }

    /// Write the per-gene values of these cells into `rows`.
    fn fill_gene_values(
        &self,
        values: &GeneValues,
        threshold: f64,
        mut rows: ArrayViewMut2<'_, f32>,
    ) {
        rows.outer_iter_mut()
            .into_par_iter()
            .enumerate()
            .for_each(|(r, mut row)| {
                let slice = row.as_slice_mut().expect("rows of a row-major matrix");
                values.fill(self.smoothed(r), threshold, slice);
            });
    }

    fn moments(&self) -> Moments {
        let n_groups = self.medians.len().div_ceil(TOGETHER);
        let groups: Vec<[Moments; TOGETHER]> = (0..n_groups)
            .into_par_iter()
            .map(|group| self.moments_of(group * TOGETHER))
            .collect();
        let mut all = Moments::default();
        // Those beyond the last row are of nothing.
        let rows = groups.iter().flatten().filter(|m| m.n > 0.0);
        rows.for_each(|m| all.join(m));
        all
    }

    /// Moments of the rows from `first` on. Each sum runs along its row; those of several rows do not wait for one
    /// another.
    fn moments_of(&self, first: usize) -> [Moments; TOGETHER] {
        let n_rows = TOGETHER.min(self.medians.len() - first);
        // Rows that are wanting repeat the first, and are dropped.
        let row = |l: usize| if l < n_rows { first + l } else { first };
        let rows: [&[f64]; TOGETHER] = std::array::from_fn(|l| self.smoothed(row(l)));
        let medians: [f64; TOGETHER] = std::array::from_fn(|l| self.medians[row(l)]);
        let n = self.n_windows as f64;
        let mut sums = [0.0; TOGETHER];
        for w in 0..self.n_windows {
            for l in 0..TOGETHER {
                sums[l] += rows[l][w] - medians[l];
            }
        }
        let means = sums.map(|sum| if n > 0.0 { sum / n } else { 0.0 });
        let mut m2 = [0.0; TOGETHER];
        for w in 0..self.n_windows {
            for l in 0..TOGETHER {
                let beyond = rows[l][w] - medians[l] - means[l];
                m2[l] += beyond * beyond;
            }
        }
        std::array::from_fn(|l| {
            if l < n_rows {
                Moments {
                    n,
                    mean: means[l],
                    m2: m2[l],
                }
            } else {
                Moments::default()
            }
        })
    }

    fn denoise(&self, threshold: f64) -> StageResult<Csr> {
        let n_rows = self.medians.len();
        let parts: Vec<Vec<(u32, f32)>> = (0..n_rows.div_ceil(ROWS))
            .into_par_iter()
            .map(|part| {
                let mut out = Vec::new();
                for r in part * ROWS..(part * ROWS + ROWS).min(n_rows) {
                    let kept = self
                        .centred(r)
                        .enumerate()
                        .filter(|(_, v)| v.abs() >= threshold);
                    let kept = kept.map(|(w, v)| (w as u32, v as f32));
                    out.extend(kept.filter(|e| e.1 != 0.0));
                    // Ends the row.
                    out.push((u32::MAX, 0.0));
                }
                out
            })
            .collect();
        let nnz = parts.iter().map(Vec::len).sum::<usize>() - n_rows;
        let mut indptr = Vec::with_capacity(n_rows + 1);
        indptr.push(0);
        let (mut indices, mut data) = (Vec::with_capacity(nnz), Vec::with_capacity(nnz));
        for (w, v) in parts.into_iter().flatten() {
            if w == u32::MAX {
                indptr.push(indices.len() as u64);
            } else {
                indices.push(w);
                data.push(v);
            }
        }
        Csr::new(self.n_windows, indptr, indices, data)
    }
}

/// Rows whose moments are computed together.
const TOGETHER: usize = 4;
/// Rows that are denoised by one task.
const ROWS: usize = 64;

/// Count, mean and sum of squared deviations; combined in a fixed order (Chan et al. 1983).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn join(&mut self, other: &Self) {
        let n = self.n + other.n;
        if n == 0.0 {
            return;
        }
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * self.n * other.n / n;
        self.mean += delta * other.n / n;
        self.n = n;
    }

    fn population_sd(&self) -> f64 {
        if self.n > 0.0 {
            (self.m2 / self.n).sqrt()
        } else {
            0.0
        }
    }
}

/// Median as numpy's: the mean of the two middle values of an even number. `keys` is working memory.
pub(super) fn median_of(values: &[f64], keys: &mut Vec<i64>) -> f64 {
    keys.clear();
    keys.extend(values.iter().map(|v| in_order(v.to_bits() as i64)));
    let n = keys.len();
    if n == 0 {
        return 0.0;
    }
    // Whole numbers are compared faster than floating-point numbers.
    let (below, upper, _) = keys.select_nth_unstable(n / 2);
    let value = |key: i64| f64::from_bits(in_order(key) as u64);
    let upper = value(*upper);
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().max();
    (value(*lower.expect("an even number of values has a lower half")) + upper) / 2.0
}

/// The bits of a floating-point number as a whole number that orders as `f64::total_cmp` does; and back.
fn in_order(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}
