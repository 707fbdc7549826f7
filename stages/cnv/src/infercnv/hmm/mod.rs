//! `method: hmm`: R inferCNV's method, from raw counts to copy-number states of subclusters.
//!
//! 1. genes with few counts are left out ([`Selection`]);
//! 2. ratios to the reference, gene by gene ([`Ratios`]);
//! 3. subclusters of each group of cells ([`subclusters::split`]);
//! 4. levels of the states: from simulated cells ([`spike::levels`]) or from the reference's spread;
//! 5. the most likely states of each subcluster's mean profile ([`viterbi()`]);
//! 6. regions that are probably normal over the subcluster's cells are dropped ([`bayes`]);
//! 7. values within the reference's noise become neutral (`X_cnv`; the states do not depend on it).
//!
//! Follows R inferCNV 1.23 `run(cutoff = .1, denoise = TRUE, HMM = TRUE, analysis_mode =
//! "subclusters")`. Deviations, in addition to those of the parts: chromosomes are in natural order,
//! not in the file's; cells with fewer than `min_counts_per_cell` counts stay in the artifact, without
//! signal and without a subcluster; the spread of a mean over n cells is exactly 1/sqrt(n) of one
//! cell's, where R fits a line to resampled means (`sd_trend`). No matrix of cells x genes is kept:
//! profiles are recomputed where they are needed.

pub mod bayes;
pub mod params;
pub mod ratios;
pub mod spike;
mod spline;
pub mod subclusters;
mod tables;
pub mod viterbi;

pub use params::{AnalysisMode, HmmParams, HmmType, LeidenMethod, SdTrend};
pub use ratios::{Ratios, Selection};
pub use subclusters::Subcluster;
pub use tables::write as write_tables;
pub use viterbi::{Levels, viterbi};

use std::ops::Range;

use ndarray::Array2;

use super::layout::{GenePositions, Layout};
use super::params::InfercnvParams;
use super::reference::{few_reference_cells, reference_groups};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_stage::stage::Progress;

/// Region: consecutive genes of one chromosome that a subcluster has in one state other than normal.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Index into [`Hmm::subclusters`].
    pub subcluster: usize,
    /// Genes, as positions in [`Layout::genes`].
    pub genes: Range<usize>,
    /// State called by the hidden Markov model.
    pub called: u8,
    /// Posterior mean share of the subcluster's cells in each state; empty without the filter.
    pub shares: Vec<f64>,
    /// State after the filter: that of the largest share, or normal where the region is dropped.
    pub state: u8,
}

/// Result of [`run`].
#[derive(Debug, Clone)]
pub struct Hmm {
    /// Genes, chromosomes and windows: one window around every `step`-th gene.
    pub layout: Layout,
    /// Subclusters of observation groups, then of reference groups.
    pub subclusters: Vec<Subcluster>,
    /// State of each gene (positions in `layout.genes`) in each subcluster, after the filter.
    pub states: Vec<Vec<u8>>,
    /// Called regions in the order of subclusters and genes.
    pub regions: Vec<Region>,
    /// Levels of the states.
    pub levels: Levels,
    /// Mean ratio of the reference cells.
    pub neutral: f64,
    /// Ratios closer to `neutral` than this are noise.
    pub noise: f64,
    /// `n_cells x n_windows`: natural log of the ratio over `neutral` at the window's middle gene; 0
    /// where it is noise, and for cells that are not included.
    pub x_cnv: Csr,
    /// Natural log of each gene's ratio over `neutral` before the noise filter, NaN for cells that are
    /// not included; only under `calculate_gene_values`.
    pub gene_values: Option<Array2<f32>>,
}

/// A group of cells: a value of `reference_key`.
struct Group {
    name: String,
    cells: Vec<usize>,
    is_reference: bool,
}

/// Group the cells by the values of `reference_key`. Observation groups come first, by name.
fn groups(obs: &Frame, params: &InfercnvParams) -> StageResult<Vec<Group>> {
    let references = reference_groups(obs, params)?;
    let Some(key) = params.reference_key.as_ref() else {
        // Without a reference all cells take its place.
        return Ok(vec![Group {
            name: "all".into(),
            cells: (0..obs.len()).collect(),
            is_reference: false,
        }]);
    };
    let values = obs.texts(key)?;
    let mut names: Vec<&String> = values
        .iter()
        .filter(|v| !references.iter().any(|(r, _)| r == *v))
        .collect();
    names.sort();
    names.dedup();
    let observed = |name: &String| Group {
        name: if name.is_empty() {
            "unlabelled".to_string()
        } else {
            name.clone()
        },
        cells: (0..values.len()).filter(|&r| values[r] == *name).collect(),
        is_reference: false,
    };
    let reference = |(name, cells)| Group {
        name,
        cells,
        is_reference: true,
    };
    let names = names.into_iter().map(observed);
    Ok(names.chain(references.into_iter().map(reference)).collect())
}

/// Run the method on raw `counts` (`n_cells x n_genes`, columns placed by `positions`).
///
/// # Errors
/// [`StageError::Data`] where counts are not finite or negative, or no gene or no reference cell is
/// included, and as [`reference_groups`].
pub fn run(
    obs: &Frame,
    positions: &GenePositions,
    counts: &Csr,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<Hmm> {
    let hmm = &params.hmm;
    check_counts(counts)?;
    let groups = groups(obs, params)?;
    let candidates = Layout::genes_in_order(positions, params)?;
    let selection = Selection::new(counts, &candidates.genes, &candidates.spans(), hmm);
    check_genes(&selection, candidates.genes.len(), hmm)?;
    let references: Vec<Vec<usize>> = groups
        .iter()
        .filter(|g| g.is_reference || params.reference_is_all())
        .map(|g| g.cells.clone())
        .collect();
    let reference = included(&selection, references.iter().flatten().copied());
    check_reference_cells(&groups, &reference, &selection, hmm, progress)?;
    let spans = &selection.chromosomes;
    let layout = candidates.centred(&selection.genes, spans, hmm.window_length, params.step);
    let ratios = Ratios::new(counts, &selection, &references, hmm);
    progress.step(1, 6, "noise of the reference");
    let noise = Noise::of(&ratios, &reference);

    progress.step(2, 6, "subclusters");
    let shaping = shaping_genes(&ratios, &layout, &noise, &reference, hmm);
    let subclusters = all_subclusters(&groups, &ratios, &selection, &shaping, hmm)?;

    progress.step(3, 6, "levels of the states");
    let all: Vec<Vec<usize>> = groups.iter().map(|g| g.cells.clone()).collect();
    let levels = match hmm.hmm_type {
        HmmType::I6 => spike::levels(counts, &selection, &all, &references, hmm),
        HmmType::I3 => i3_levels(noise.mean, noise.sd, hmm.i3_p_val),
    };

    progress.step(4, 6, "states");
    let (states, regions) = all_states(&subclusters, &ratios, &selection, &levels, hmm);

    progress.step(5, 6, "profiles");
    let half = hmm.sd_amplifier * noise.cell_sd;
    let keep_genes = params.calculate_gene_values;
    let used = &selection.used;
    let (x_cnv, gene_values) = profiles(&ratios, &layout, used, noise.mean, half, keep_genes);
    progress.step(6, 6, "done");
    Ok(Hmm {
        layout,
        subclusters,
        states,
        regions,
        levels,
        neutral: noise.mean,
        noise: half,
        x_cnv,
        gene_values,
    })
}

/// Keep the included cells.
fn included(selection: &Selection, cells: impl Iterator<Item = usize>) -> Vec<usize> {
    cells.filter(|&c| selection.used[c]).collect()
}

/// Check that the counts are finite and not negative.
fn check_counts(counts: &Csr) -> StageResult<()> {
    let bad = |v: &&f32| !(v.is_finite() && **v >= 0.0);
    match counts.data().iter().find(bad) {
        None => Ok(()),
        Some(v) => Err(StageError::data(format!(
            "counts have the value `{v}`, expected finite numbers of at least 0"
        ))),
    }
}

/// Check that genes are left of `n_candidates`.
fn check_genes(selection: &Selection, n_candidates: usize, params: &HmmParams) -> StageResult<()> {
    if selection.genes.len() >= 2 {
        return Ok(());
    }
    Err(StageError::data_hint(
        format!(
            "{} of {n_candidates} genes have a mean count of at least `{}` in at least {} cells, expected more",
            selection.genes.len(),
            params.cutoff,
            params.min_cells_per_gene
        ),
        "lower `hmm.cutoff`",
    ))
}

/// Check that there are reference cells, and warn of groups that are left with few.
fn check_reference_cells(
    groups: &[Group],
    reference: &[usize],
    selection: &Selection,
    params: &HmmParams,
    progress: &dyn Progress,
) -> StageResult<()> {
    if reference.is_empty() {
        return Err(StageError::data_hint(
            format!(
                "no reference cell has {} counts",
                params.min_counts_per_cell
            ),
            "lower `hmm.min_counts_per_cell`",
        ));
    }
    for group in groups.iter().filter(|g| g.is_reference) {
        let used = included(selection, group.cells.iter().copied()).len();
        if used < group.cells.len() {
            let counts = format!(" with {} counts", params.min_counts_per_cell);
            few_reference_cells(&group.name, used, &counts, progress)?;
        }
    }
    Ok(())
}

/// Split every group of cells into subclusters, by the `shaping` genes.
fn all_subclusters(
    groups: &[Group],
    ratios: &Ratios<'_>,
    selection: &Selection,
    shaping: &[usize],
    params: &HmmParams,
) -> StageResult<Vec<Subcluster>> {
    let features = |cells: &[usize]| {
        let rows = ratios.map(cells, |_, row| {
            shaping.iter().map(|&g| row[g] as f32).collect::<Vec<_>>()
        });
        Array2::from_shape_fn((cells.len(), shaping.len()), |(c, g)| rows[c][g])
    };
    let mut out = Vec::new();
    for group in groups {
        let cells = included(selection, group.cells.iter().copied());
        out.extend(subclusters::split(
            &group.name,
            group.is_reference,
            &cells,
            params,
            &features,
        )?);
    }
    Ok(out)
}

/// States of each subcluster after the filter, and all called regions.
fn all_states(
    subclusters: &[Subcluster],
    ratios: &Ratios<'_>,
    selection: &Selection,
    levels: &Levels,
    params: &HmmParams,
) -> (Vec<Vec<u8>>, Vec<Region>) {
    let (mut states, mut regions) = (Vec::with_capacity(subclusters.len()), Vec::new());
    for (s, subcluster) in subclusters.iter().enumerate() {
        let mean = ratios.mean_of(&subcluster.cells, |v| v);
        let n_cells = subcluster.cells.len();
        let mut called = call(&mean, &selection.chromosomes, levels, n_cells, params);
        let neutral = params.hmm_type.neutral();
        let mut own = regions_of(s, &called, &selection.chromosomes, neutral);
        if params.bayes_max_p_normal > 0.0 {
            filter(&mut own, ratios, &subcluster.cells, levels, params);
            for region in &own {
                called[region.genes.clone()].fill(region.state);
            }
        }
        states.push(called);
        regions.extend(own);
    }
    (states, regions)
}

/// Ratios of all cells to the reference as one dense matrix, for comparison with other programs.
#[derive(Debug, Clone)]
pub struct RatioMatrix {
    /// Columns of the counts, in genome order.
    pub genes: Vec<usize>,
    /// Genes of each chromosome, as positions in `genes`.
    pub chromosomes: Vec<Range<usize>>,
    /// `n_cells x n_genes`, 1 is the reference's copy number; NaN for cells that are not included.
    pub values: Array2<f32>,
}

impl RatioMatrix {
    /// Run steps 1 and 2 of [`run`] and keep all ratios.
    ///
    /// # Errors
    /// As [`run`].
    pub fn new(
        obs: &Frame,
        positions: &GenePositions,
        counts: &Csr,
        params: &InfercnvParams,
    ) -> StageResult<Self> {
        let candidates = Layout::genes_in_order(positions, params)?;
        let selection = Selection::new(counts, &candidates.genes, &candidates.spans(), &params.hmm);
        let references: Vec<Vec<usize>> = reference_groups(obs, params)?
            .into_iter()
            .map(|g| g.1)
            .collect();
        let ratios = Ratios::new(counts, &selection, &references, &params.hmm);
        let used: Vec<usize> = (0..counts.n_rows())
            .filter(|&c| selection.used[c])
            .collect();
        let mut values = Array2::from_elem((counts.n_rows(), selection.genes.len()), f32::NAN);
        let rows = ratios.map(&used, |_, row| {
            row.iter()
                .map(|v| *v as f32)
                .collect::<ndarray::Array1<_>>()
        });
        for (&cell, row) in used.iter().zip(&rows) {
            values.row_mut(cell).assign(row);
        }
        Ok(Self {
            genes: selection.genes.clone(),
            chromosomes: selection.chromosomes.clone(),
            values,
        })
    }
}

/// Spread of the reference's ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Mean of all values.
    pub mean: f64,
    /// Standard deviation of all values (n - 1).
    pub sd: f64,
    /// Mean over cells of a cell's own standard deviation (n - 1).
    pub cell_sd: f64,
}

impl Noise {
    /// Compute from the ratios of the reference cells.
    pub fn of(ratios: &Ratios<'_>, reference: &[usize]) -> Self {
        let g = ratios.n_genes() as f64;
        let cells = ratios.map(reference, |_, row| {
            let mean = row.iter().sum::<f64>() / g;
            (mean, row.iter().map(|v| (v - mean).powi(2)).sum::<f64>())
        });
        let n = cells.len() as f64;
        let mean = cells.iter().map(|c| c.0).sum::<f64>() / n;
        let squares: f64 = cells.iter().map(|c| c.1 + g * (c.0 - mean).powi(2)).sum();
        Self {
            mean,
            sd: (squares / (n * g - 1.0).max(1.0)).sqrt(),
            cell_sd: cells.iter().map(|c| (c.1 / (g - 1.0)).sqrt()).sum::<f64>() / n,
        }
    }
}

/// Levels with means at the normal level and at the points that a reference value exceeds with
/// probability `p`.
///
/// **Source**: R inferCNV 1.23 `.i3HMM_get_sd_trend_by_num_cells_fit`, `determine_mean_delta_via_Z`.
pub fn i3_levels(mean: f64, sd: f64, p: f64) -> Levels {
    let delta = sd * math::normal_quantile(p).abs();
    Levels {
        means: vec![mean - delta, mean, mean + delta],
        sds: vec![sd; 3],
    }
}

/// Call the states of one subcluster's mean profile, chromosome by chromosome.
pub fn call(
    mean: &[f64],
    chromosomes: &[Range<usize>],
    levels: &Levels,
    n_cells: usize,
    params: &HmmParams,
) -> Vec<u8> {
    let one = viterbi::median(&levels.sds);
    let sd = match (params.hmm_type, params.sd_trend) {
        (HmmType::I3, _) => one,
        (HmmType::I6, SdTrend::Cells) => one / (n_cells.max(1) as f64).sqrt(),
        (HmmType::I6, SdTrend::Rounds) => one / 10.0,
    };
    let mut states = vec![params.hmm_type.neutral(); mean.len()];
    for span in chromosomes {
        let own = viterbi(
            &mean[span.clone()],
            &levels.means,
            sd,
            params.hmm_type,
            params.hmm_transition_prob,
        );
        states[span.clone()].copy_from_slice(&own);
    }
    states
}

/// List the runs of one state other than `neutral`, within chromosomes of at least two genes.
fn regions_of(
    subcluster: usize,
    states: &[u8],
    chromosomes: &[Range<usize>],
    neutral: u8,
) -> Vec<Region> {
    let mut out = Vec::new();
    for span in chromosomes {
        let mut at = span.start;
        for run in states[span.clone()].chunk_by(|a, b| a == b) {
            let genes = at..at + run.len();
            at = genes.end;
            if run[0] != neutral {
                out.push(Region {
                    subcluster,
                    genes,
                    called: run[0],
                    shares: Vec::new(),
                    state: run[0],
                });
            }
        }
    }
    out
}

/// Compute the posterior shares of each region, and apply the filter to the states.
fn filter(
    regions: &mut [Region],
    ratios: &Ratios<'_>,
    cells: &[usize],
    levels: &Levels,
    params: &HmmParams,
) {
    if regions.is_empty() {
        return;
    }
    let k = levels.means.len();
    let likelihood: Vec<Vec<Vec<f64>>> = ratios.map(cells, |_, row| {
        regions
            .iter()
            .map(|region| {
                let values = &row[region.genes.clone()];
                let density = |s: usize| {
                    let (mean, sd) = (levels.means[s], levels.sds[s]);
                    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
                    -0.5 * squares / (sd * sd) - values.len() as f64 * math::ln(sd)
                };
                (0..k).map(density).collect()
            })
            .collect()
    });
    let neutral = params.hmm_type.neutral();
    for (r, region) in regions.iter_mut().enumerate() {
        let own: Vec<Vec<f64>> = likelihood.iter().map(|cell| cell[r].clone()).collect();
        region.shares = bayes::state_shares(&own, k);
        let mut best = 0;
        for s in 1..k {
            if region.shares[s] > region.shares[best] {
                best = s;
            }
        }
        let dropped = region.shares[neutral as usize] > params.bayes_max_p_normal;
        region.state = if dropped { neutral } else { best as u8 };
    }
}

/// Genes used to find subclusters: those with little variation in the reference, and with
/// `leiden_method: pca` only the middle genes of the windows.
fn shaping_genes(
    ratios: &Ratios<'_>,
    layout: &Layout,
    noise: &Noise,
    reference: &[usize],
    params: &HmmParams,
) -> Vec<usize> {
    let n = ratios.n_genes();
    let quiet: Vec<bool> = if params.z_score_filter > 0.0 && noise.sd > 0.0 {
        let z = ratios.mean_of(reference, |v| ((v - noise.mean) / noise.sd).abs());
        z.iter().map(|z| *z < params.z_score_filter).collect()
    } else {
        vec![true; n]
    };
    let candidates: Vec<usize> = match params.leiden_method {
        LeidenMethod::Pca => layout.middle_genes().collect(),
        LeidenMethod::Simple => (0..n).collect(),
    };
    let kept: Vec<usize> = candidates.iter().copied().filter(|&g| quiet[g]).collect();
    // If no genes with little variation are left, all are used.
    if kept.len() < 2 { candidates } else { kept }
}

fn profiles(
    ratios: &Ratios<'_>,
    layout: &Layout,
    used: &[bool],
    neutral: f64,
    half: f64,
    keep_genes: bool,
) -> (Csr, Option<Array2<f32>>) {
    let middles: Vec<usize> = layout.middle_genes().collect();
    let cells: Vec<usize> = (0..used.len()).filter(|&c| used[c]).collect();
    let rows = ratios.map(&cells, |_, row| {
        let windows: Vec<(u32, f32)> = middles
            .iter()
            .enumerate()
            .filter(|(_, g)| (row[**g] - neutral).abs() >= half)
            .map(|(w, g)| (w as u32, math::ln(row[*g] / neutral) as f32))
            .filter(|e| e.1 != 0.0)
            .collect();
        let genes: Option<Vec<f32>> =
            keep_genes.then(|| row.iter().map(|v| math::ln(v / neutral) as f32).collect());
        (windows, genes)
    });
    let mut windows: Vec<Vec<(u32, f32)>> = vec![Vec::new(); used.len()];
    let mut genes = keep_genes.then(|| Array2::from_elem((used.len(), ratios.n_genes()), f32::NAN));
    for (&cell, (own, values)) in cells.iter().zip(rows) {
        windows[cell] = own;
        if let (Some(out), Some(values)) = (&mut genes, values) {
            out.row_mut(cell).assign(&ndarray::Array1::from(values));
        }
    }
    (Csr::from_rows(middles.len(), windows), genes)
}

#[cfg(test)]
mod tests;
