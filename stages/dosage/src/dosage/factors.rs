//! Cells that fall short of their dosage together: the sum of S, its leading factors, and the null of
//! both under copy-number profiles permuted along the genome.
//!
//! A gene programme unrelated to copy number is a factor of S as well, often the largest: multiplying
//! by c only changes signs. But its genes depart from their dosage in both directions. So a factor is
//! judged by its coherence, the share of the sum over genes that it carries: `T = s |sum of v| /
//! (sqrt(n altered genes) |S|)`, with s its singular value and v its loadings, against the largest T of
//! any factor of the same residuals when chromosomes are reordered, reversed and rotated.

use ndarray::{Array2, Axis};

use super::residual::{Model, Residuals, SignedResiduals};
use clcc_data::error::StageResult;
use clcc_data::matrix::Parts;
use clcc_numerics::linalg::{LinearOperator, SvdOptions, randomized_svd};
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::{mean, variance};

/// One factor of the copy-number-signed residuals: gene loadings, cell scores, p-value.
#[derive(Debug, Clone)]
pub struct Factor {
    /// Singular value, in the cells that the factors were computed from.
    pub singular_value: f64,
    /// Share of the squared norm of S, in [0, 1].
    pub share: f64,
    /// Coherence T: the share of the sum over genes that the factor carries.
    pub coherence: f64,
    /// p-value: probability of a coherence this large in any factor of a permuted profile.
    pub p: f64,
    /// Loading of each gene; genes with positive loadings fall short of their dosage in cells with a
    /// high score. Unit length; 0 for genes that are not altered.
    pub loadings: Vec<f64>,
    /// Score of each cell of the residuals; positive cells fall short.
    pub scores: Vec<f64>,
}

/// Dosage shortfall of cells, and the factors behind it.
#[derive(Debug, Clone)]
pub struct CellScores {
    /// Shortfall of each cell: minus the sum of S over |c|; standard deviation near 1 where cells
    /// follow their clone.
    pub shortfall: Vec<f64>,
    /// z-score of the shortfall against the cell's own values under permuted profiles.
    pub shortfall_z: Vec<f64>,
    /// Standard deviation of the shortfall over cells, and the probability of one as large under
    /// permuted profiles.
    pub shortfall_sd: (f64, f64),
    /// Factors by descending singular value.
    pub factors: Vec<Factor>,
    /// 95th percentile of the largest coherence under permuted profiles.
    pub null_coherence: f64,
}

/// Options of [`cell_scores`].
#[derive(Debug, Clone, Copy)]
pub struct FactorOptions {
    /// Number of factors.
    pub n_factors: usize,
    /// Number of permuted profiles.
    pub n_null: usize,
    /// Number of cells that the factors are computed from.
    pub max_cells: usize,
    /// Seed of the permutations and of the choice of cells.
    pub seed: u64,
}

/// Score cells and find factors for copy ratios `[clone][gene]` (0: not altered), from the raw counts that `model` was
/// fitted to. `chromosome[gene]` is empty where a gene has no position; `step(done, total)` is called between permuted
/// profiles and may stop the work.
///
/// Factors are found in some of the cells; the others are read part by part and scored.
///
/// # Errors
/// Any error of `step`, and where a part of the counts cannot be read.
pub fn cell_scores(
    model: &Model<'_>,
    counts: &dyn Parts,
    copy: &[Vec<f64>],
    chromosome: &[String],
    options: FactorOptions,
    step: &dyn Fn(usize, usize) -> StageResult<()>,
) -> StageResult<CellScores> {
    let subset = model.take(counts, &choose(model, options))?;
    let found = Found::new(&subset.signed(copy), options)?;
    let orders: Vec<Vec<(usize, usize)>> = (0..options.n_null)
        .map(|k| permute_genome(chromosome, options.seed, k))
        .collect();
    let coherence = null_coherence(&subset, copy, &orders, options, step)?;
    drop(subset);
    let mut all = OfCells::new(options.n_null, found.values.len());
    counts.each(&mut |first, part| {
        step(options.n_null, options.n_null)?;
        all.add(&model.of_part(first, part), copy, &orders, &found);
        Ok(())
    })?;
    let factors = all
        .scores
        .iter_mut()
        .enumerate()
        .map(|(j, scores)| Factor {
            singular_value: found.values[j],
            share: found.values[j] * found.values[j] / found.squared_norm,
            coherence: found.coherence[j],
            p: tail(found.coherence[j], &coherence),
            loadings: found.loadings.column(j).to_vec(),
            scores: std::mem::take(scores),
        })
        .collect();
    let null_spread: Vec<f64> = all.null.iter().map(|s| spread(s)).collect();
    let sd = spread(&all.shortfall);
    Ok(CellScores {
        shortfall_sd: (sd, tail(sd, &null_spread)),
        shortfall_z: all.z_scores(),
        shortfall: all.shortfall,
        factors,
        null_coherence: clcc_numerics::stats::quantile(&coherence, 0.95),
    })
}

/// Largest coherence of a factor of `subset` under each permuted genome.
fn null_coherence(
    subset: &Residuals,
    copy: &[Vec<f64>],
    orders: &[Vec<(usize, usize)>],
    options: FactorOptions,
    step: &dyn Fn(usize, usize) -> StageResult<()>,
) -> StageResult<Vec<f64>> {
    let coherence = |(k, order): (usize, &Vec<(usize, usize)>)| {
        step(k, orders.len())?;
        let profile: Vec<Vec<f64>> = copy.iter().map(|c| moved(c, order)).collect();
        let found = Found::new(&subset.signed(&profile), options)?;
        Ok(found.coherence.into_iter().fold(0.0, f64::max))
    };
    orders.iter().enumerate().map(coherence).collect()
}

/// Copy ratios of one clone along a permuted genome.
fn moved(copy: &[f64], order: &[(usize, usize)]) -> Vec<f64> {
    let mut out = vec![0.0; copy.len()];
    order.iter().for_each(|&(to, from)| out[to] = copy[from]);
    out
}

/// What is known of each cell.
struct OfCells {
    shortfall: Vec<f64>,
    /// Shortfall under each permuted profile, `[permutation][cell]`.
    null: Vec<Vec<f64>>,
    /// Scores of the factors, `[factor][cell]`.
    scores: Vec<Vec<f64>>,
}

impl OfCells {
    fn new(n_null: usize, n_factors: usize) -> Self {
        Self {
            shortfall: Vec::new(),
            null: vec![Vec::new(); n_null],
            scores: vec![Vec::new(); n_factors],
        }
    }

    /// Adds the cells of a part of the cohort.
    fn add(
        &mut self,
        residuals: &Residuals,
        copy: &[Vec<f64>],
        orders: &[Vec<(usize, usize)>],
        found: &Found,
    ) {
        let mut is_here = vec![false; copy.len()];
        residuals.clone_of.iter().for_each(|&u| is_here[u] = true);
        let here = |of: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<Vec<f64>> {
            let profile = |(c, &is): (&Vec<f64>, &bool)| if is { of(c) } else { Vec::new() };
            copy.iter().zip(&is_here).map(profile).collect()
        };
        let own = here(&<[f64]>::to_vec);
        let scores = residuals.signed(&own).apply(&found.loadings);
        for (j, of_factor) in self.scores.iter_mut().enumerate() {
            of_factor.extend(scores.column(j).iter().map(|v| -v / found.values[j]));
        }
        self.shortfall.extend(shortfall(residuals, own));
        for (null, order) in self.null.iter_mut().zip(orders) {
            null.extend(shortfall(residuals, here(&|c| moved(c, order))));
        }
    }

    /// z-score of each cell's shortfall against its own values under permuted profiles.
    fn z_scores(&self) -> Vec<f64> {
        (0..self.shortfall.len())
            .map(|i| {
                let null: Vec<f64> = self.null.iter().map(|s| s[i]).collect();
                (self.shortfall[i] - mean(&null)) / spread(&null)
            })
            .collect()
    }
}

/// Minus the sum of S over |c| of every cell, for one profile set.
fn shortfall(residuals: &Residuals, profile: Vec<Vec<f64>>) -> Vec<f64> {
    negative(residuals.sums(&[profile]).swap_remove(0))
}

/// Share of `value` and the values of the null that are at least `value`.
fn tail(value: f64, null: &[f64]) -> f64 {
    (1 + null.iter().filter(|&&n| n >= value).count()) as f64 / (1 + null.len()) as f64
}

/// Population standard deviation.
fn spread(v: &[f64]) -> f64 {
    variance(v, 0).sqrt()
}

fn negative(mut v: Vec<f64>) -> Vec<f64> {
    v.iter_mut().for_each(|x| *x = -*x);
    v
}

/// Choose at most `max_cells` cells at random among those placed in a clone (among all, where none is),
/// in ascending order.
fn choose(model: &Model<'_>, options: FactorOptions) -> Vec<usize> {
    let all = 0..model.n_cells();
    let mut rows: Vec<usize> = all.clone().filter(|&i| model.is_placed(i)).collect();
    if rows.is_empty() {
        rows = all.collect();
    }
    if rows.len() > options.max_cells {
        Rng::new(options.seed, "dosage cells", &[]).shuffle(&mut rows);
        rows.truncate(options.max_cells);
        rows.sort_unstable();
    }
    rows
}

/// Factors of one S, signed so that the sum of loadings is not negative.
struct Found {
    values: Vec<f64>,
    loadings: Array2<f64>,
    coherence: Vec<f64>,
    squared_norm: f64,
}

impl Found {
    fn new(signed: &SignedResiduals, options: FactorOptions) -> StageResult<Self> {
        let squared_norm = signed.squared_norm();
        let altered = signed.n_altered() as f64;
        if altered == 0.0 || squared_norm == 0.0 {
            let loadings = Array2::zeros((signed.n_cols(), 0));
            return Ok(Self {
                values: Vec::new(),
                loadings,
                coherence: Vec::new(),
                squared_norm,
            });
        }
        let svd = randomized_svd(
            signed,
            &SvdOptions {
                n_comps: options.n_factors,
                oversample: 10,
                n_power_iterations: 4,
                seed: options.seed,
            },
        )?;
        // No factors beyond the numerical rank.
        let kept = svd.s.iter().take_while(|s| **s > 1e-9 * svd.s[0]).count();
        let mut loadings = svd.v.slice(ndarray::s![.., ..kept]).to_owned();
        let mut coherence = Vec::new();
        for (j, mut column) in loadings.axis_iter_mut(Axis(1)).enumerate() {
            let sum = column.sum();
            if sum < 0.0 {
                column.mapv_inplace(|v| -v);
            }
            coherence.push(svd.s[j] * sum.abs() / (altered * squared_norm).sqrt());
        }
        Ok(Self {
            values: svd.s.iter().take(kept).copied().collect(),
            loadings,
            coherence,
            squared_norm,
        })
    }
}

/// Permute the genome: for permutation `k`, map each placed gene to the gene whose copy ratio it
/// receives, as pairs (gene, source). Chromosomes are put in random order, each reversed or not, and
/// the whole is rotated by a random length.
pub(crate) fn permute_genome(chromosome: &[String], seed: u64, k: usize) -> Vec<(usize, usize)> {
    let mut rng = Rng::new(seed, "dosage null", &[k as u64]);
    let placed: Vec<usize> = (0..chromosome.len())
        .filter(|&g| !chromosome[g].is_empty())
        .collect();
    let mut blocks: Vec<Vec<usize>> = placed
        .chunk_by(|a, b| chromosome[*a] == chromosome[*b])
        .map(<[usize]>::to_vec)
        .collect();
    rng.shuffle(&mut blocks);
    for block in &mut blocks {
        if rng.below(2) == 1 {
            block.reverse();
        }
    }
    let mut from: Vec<usize> = blocks.concat();
    if !from.is_empty() {
        let by = rng.below(from.len() as u64) as usize;
        from.rotate_left(by);
    }
    placed.into_iter().zip(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permuted_profile_keeps_every_gene_and_its_neighbours() {
        let chromosome: Vec<String> = (0..60)
            .map(|g| {
                if g == 30 {
                    String::new()
                } else {
                    format!("chr{}", g / 20)
                }
            })
            .collect();
        let order = permute_genome(&chromosome, 1, 0);
        let mut from: Vec<usize> = order.iter().map(|o| o.1).collect();
        let steps = from.windows(2).filter(|w| w[0].abs_diff(w[1]) <= 2).count();
        // 59 genes in a row have 58 steps; two joints of chromosomes and the rotation break three.
        assert!(steps >= 55, "{steps}");
        assert_ne!(from, order.iter().map(|o| o.0).collect::<Vec<_>>());
        from.sort_unstable();
        assert_eq!(from, (0..60).filter(|g| *g != 30).collect::<Vec<_>>());
        assert_ne!(permute_genome(&chromosome, 1, 1), order);
    }
}
