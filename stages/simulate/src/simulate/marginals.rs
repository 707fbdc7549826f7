//! Means, dispersions and library sizes of real counts, and how a simulation takes them on.
//!
//! **Source**: the negative binomial marginals of scDesign3 (Song et al. 2024, Nat Biotechnol 42:247).
//! **Deviations**: marginals are of all cells of the file together, by moments, and without a copula; cell
//! types and programmes are those of the simulation. [`calibrate`] shifts each gene so that its mean over
//! the simulated types is the file's, and leaves to the counts what dispersion the types and programmes
//! have not used up. Differences between patients, events and batches come on top, and cells of a type
//! that the file lacks have the file's mean.

use std::collections::BTreeMap;
use std::path::Path;

use clcc_data::anndata::Reader;
use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::symbols;
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::median;

use super::cell_types::{CellType, MALIGNANT_DEPTH, TYPES};
use super::params::SimulateParams;
use super::profiles::{CYCLING, shares};
use super::world::{CyclePhase, MT_SHARE, World};

/// Counts of a gene below which its dispersion says nothing; it takes the median of the others.
const FEWEST: f64 = 20.0;
/// Largest dispersion.
const LARGEST: f64 = 50.0;
/// Rounds in which the genes' shifts settle; the shares of one gene change those of the others.
const ROUNDS: usize = 30;

/// Real counts, cells x genes.
#[derive(Debug, Clone)]
pub struct Marginals {
    column: BTreeMap<String, usize>,
    x: Csr,
}

/// What the genes of a simulation have in the counts.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    /// Share of each gene in the counts; sums to 1.
    pub(super) share: Vec<f64>,
    /// Dispersion of each gene around share x library size.
    pub(super) dispersion: Vec<f64>,
    /// Library sizes over these genes, ascending.
    pub(super) totals: Vec<f64>,
}

impl Marginals {
    /// Read `X` of an h5ad or zarr file; its genes count by symbol.
    ///
    /// # Errors
    /// [`StageError::Io`], and [`StageError::Format`] where the file is no AnnData or has no whole
    /// counts.
    pub fn fit(path: &Path) -> StageResult<Self> {
        let reader = Reader::open(path)?;
        let (var, _) = reader.var_known()?;
        let x = reader.x()?.into_csr();
        if let Some(v) = x.data().iter().find(|v| v.fract() != 0.0 || **v < 0.0) {
            let message = format!("expected whole counts, found `{v}`");
            return Err(StageError::format(path, "X", message));
        }
        Ok(Self::new(&symbols(&var), x))
    }

    /// Counts `x` (cells x genes) of genes of these names; of a name that occurs twice the first counts.
    pub fn new(names: &[String], x: Csr) -> Self {
        let mut column = BTreeMap::new();
        for (c, name) in names.iter().enumerate() {
            column.entry(name.clone()).or_insert(c);
        }
        Self { column, x }
    }

    /// Whether the counts have this gene.
    pub(super) fn has(&self, gene: &str) -> bool {
        self.column.contains_key(gene)
    }

    /// Targets of these genes. A gene that the counts lack takes those of another at random; if it is
    /// mitochondrial, its share is that of a simulation without counts.
    ///
    /// # Errors
    /// [`StageError::Data`] where the counts have none of the genes.
    pub(super) fn of_genes(&self, names: &[&str], seed: u64) -> StageResult<Targets> {
        let at: Vec<Option<usize>> = names.iter().map(|n| self.column.get(*n).copied()).collect();
        let columns: Vec<usize> = at.iter().flatten().copied().collect();
        let x = self.x.take_cols(&columns);
        let mut totals = x.row_sums();
        totals.retain(|t| *t > 0.0);
        if totals.is_empty() {
            return Err(StageError::data_hint(
                "`marginals` has no count of any gene of the simulation",
                "its genes must be named by symbols of GRCh38 or Ensembl ids",
            ));
        }
        let fits = moments(&x);
        let mut rng = Rng::new(seed, "simulate marginals", &[]);
        let mut own = fits.iter();
        let mut fit = |found: &Option<usize>| {
            let lent = fits[rng.below(fits.len() as u64) as usize];
            found.and_then(|_| own.next().copied()).unwrap_or(lent)
        };
        let (mut share, dispersion): (Vec<f64>, Vec<f64>) = at.iter().map(&mut fit).unzip();
        let is_mt = |n: &str| n.starts_with("MT-");
        let n_mt = names.iter().filter(|n| is_mt(n)).count() as f64;
        for ((share, name), found) in share.iter_mut().zip(names).zip(&at) {
            if found.is_none() && is_mt(name) {
                *share = MT_SHARE / n_mt;
            }
        }
        let total: f64 = share.iter().sum();
        share.iter_mut().for_each(|s| *s /= total);
        // The counts' own genes keep their counts; those of the others come on top.
        totals.iter_mut().for_each(|t| *t *= total);
        totals.sort_by(f64::total_cmp);
        Ok(Targets {
            share,
            dispersion,
            totals,
        })
    }
}

/// Share and dispersion of each gene (column) around share x library size, by moments: the sum of
/// (n - mu)^2 - mu over that of mu^2. A gene without any count has the share of half a count.
fn moments(x: &Csr) -> Vec<(f64, f64)> {
    let totals = x.row_sums();
    let (all, squares) = (
        totals.iter().sum::<f64>(),
        totals.iter().map(|t| t * t).sum::<f64>(),
    );
    // Sums of n, n^2 and n x library size.
    let mut sums = vec![[0.0f64; 3]; x.n_cols()];
    for (r, total) in totals.iter().enumerate() {
        let (cols, values) = x.row(r);
        for (&c, &v) in cols.iter().zip(values) {
            let v = f64::from(v);
            let sum = &mut sums[c as usize];
            sum[0] += v;
            sum[1] += v * v;
            sum[2] += v * total;
        }
    }
    let fit = |[n, nn, nt]: &[f64; 3]| {
        let share = n.max(0.5) / all;
        let spread = nn - 2.0 * share * nt + share * share * squares - n;
        let phi = (spread / (share * share * squares)).clamp(0.0, LARGEST);
        (share, if *n < FEWEST { f64::NAN } else { phi })
    };
    let mut fits: Vec<(f64, f64)> = sums.iter().map(fit).collect();
    let known: Vec<f64> = fits.iter().map(|f| f.1).filter(|p| !p.is_nan()).collect();
    let typical = if known.is_empty() {
        SimulateParams::default().dispersion
    } else {
        median(&known)
    };
    fits.iter_mut()
        .filter(|f| f.1.is_nan())
        .for_each(|f| f.1 = typical);
    fits
}

/// What makes the genes of a world meet their targets.
pub(super) struct Calibration {
    /// Shift of each gene's log profiles.
    pub(super) shift: Vec<f64>,
    /// Dispersion of each gene within a kind of cell.
    pub(super) dispersion: Vec<f64>,
}

/// A kind of cell: its log profile, and the share of the cells times depth, and times squared depth.
struct Group {
    log: Vec<f64>,
    weight: f64,
    squared: f64,
}

/// Find the shifts and dispersions under which the cells of a standard patient, without shifts of its
/// own, have the targets.
pub(super) fn calibrate(world: &World, targets: &Targets, params: &SimulateParams) -> Calibration {
    let groups = groups(world, params);
    let varies = |g: usize| {
        let sd = if world.is_mt(g) {
            params.mt_sd
        } else {
            f64::from(u8::from(world.genes[g].programme.is_some())) * params.programme_sd
        };
        math::exp(sd * sd)
    };
    let n = world.genes.len();
    let own = 1.0 - params.ambient;
    // A log-normal factor of variance `varies` - 1 over its squared mean has the mean `varies`^(1/2).
    let mut wanted: Vec<f64> = (0..n)
        .map(|g| targets.share[g] / (own * varies(g).sqrt() + params.ambient))
        .collect();
    let total: f64 = wanted.iter().sum();
    wanted.iter_mut().for_each(|w| *w /= total);
    let mut shift = vec![0.0; n];
    let mut profiles = Vec::new();
    let mut mean = vec![0.0; n];
    for round in 0..=ROUNDS {
        profiles = groups.iter().map(|k| shifted(&k.log, &shift)).collect();
        mean = weighted_mean(&groups, &profiles);
        if round < ROUNDS {
            let step = |g: usize| math::ln(wanted[g] / mean[g]);
            (0..n).for_each(|g| shift[g] += step(g));
        }
    }
    let dispersion = (0..n).map(|g| {
        let away = |p: &Vec<f64>| own * (p[g] / mean[g] - 1.0);
        let between = groups.iter().zip(&profiles);
        let between: f64 = between.map(|(k, p)| k.squared * away(p).powi(2)).sum();
        let used = (1.0 + between) * varies(g);
        ((1.0 + targets.dispersion[g]) / used - 1.0).max(0.0)
    });
    Calibration {
        dispersion: dispersion.collect(),
        shift,
    }
}

fn shifted(log: &[f64], shift: &[f64]) -> Vec<f64> {
    shares(log.iter().zip(shift).map(|(l, s)| l + s).collect())
}

fn weighted_mean(groups: &[Group], profiles: &[Vec<f64>]) -> Vec<f64> {
    let mut mean = vec![0.0; profiles[0].len()];
    for (group, profile) in groups.iter().zip(profiles) {
        mean.iter_mut()
            .zip(profile)
            .for_each(|(m, p)| *m += group.weight * p);
    }
    mean
}

/// Kinds of cells of a standard patient, in their shares.
fn groups(world: &World, params: &SimulateParams) -> Vec<Group> {
    let (tumour, purity) = (params.tumour_share, params.malignant_share);
    let of_all = |f: fn(&super::cell_types::TypeFacts) -> f64| -> f64 {
        TYPES.iter().map(|t| f(&t.1)).sum()
    };
    let (all_tumour, all_normal) = (of_all(|t| t.tumour_share), of_all(|t| t.normal_share));
    let mut kinds: Vec<(CellType, bool, f64, f64)> = vec![(
        params.malignant_type(),
        true,
        tumour * purity,
        MALIGNANT_DEPTH,
    )];
    for (cell_type, facts) in &TYPES {
        let share = tumour * (1.0 - purity) * facts.tumour_share / all_tumour
            + (1.0 - tumour) * facts.normal_share / all_normal;
        kinds.push((*cell_type, false, share, facts.depth));
    }
    let mut out = Vec::new();
    for (cell_type, malignant, share, depth) in kinds.into_iter().filter(|k| k.2 > 0.0) {
        let cycling = params.cycling_share * if malignant { 1.0 } else { 0.2 };
        for (phase, of_phase) in [
            (None, 1.0 - cycling),
            (Some(CyclePhase::S), cycling / 2.0),
            (Some(CyclePhase::G2M), cycling / 2.0),
        ] {
            let mut log = world.log_profile(cell_type, malignant);
            let genes = log.iter_mut().zip(&world.genes);
            genes
                .filter(|(_, g)| g.phase.is_some() && g.phase == phase)
                .for_each(|(l, _)| *l += CYCLING);
            out.push(Group {
                log,
                weight: share * of_phase * depth,
                squared: share * of_phase * depth * depth,
            });
        }
    }
    let (w, s): (f64, f64) = (
        out.iter().map(|k| k.weight).sum(),
        out.iter().map(|k| k.squared).sum(),
    );
    for group in &mut out {
        group.weight /= w;
        group.squared /= s;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two genes in four cells of 10 counts: gene 0 has 1, 3, 1, 3: mean 2, share .2, variance 1 below
    /// Poisson's 2, so no dispersion. Gene 1 has the rest.
    #[test]
    fn moments_by_hand() {
        let rows = [1.0, 3.0, 1.0, 3.0].map(|n| vec![(0, n), (1, 10.0 - n)]);
        let fits = moments(&Csr::from_rows(3, rows));
        assert!((fits[0].0 - 0.2).abs() < 1e-12 && (fits[1].0 - 0.8).abs() < 1e-12);
        // Gene 0 has 8 counts and takes gene 1's: (4 x 1 - 32) / (4 x 64) is below 0.
        assert_eq!((fits[0].1, fits[1].1), (0.0, 0.0));
        assert!((fits[2].0 - 0.5 / 40.0).abs() < 1e-12);
        // 0, 100, 0, 100 of 200 each, and a gene of few counts: (4 x 50^2 - 200) / (4 x 50^2) = .98.
        let rows = [0.0, 100.0, 0.0, 100.0].map(|n| vec![(0, n), (1, 200.0 - n)]);
        let fits = moments(&Csr::from_rows(2, rows));
        assert!((fits[0].1 - 0.98).abs() < 1e-9, "{:?}", fits[0]);
    }
}
