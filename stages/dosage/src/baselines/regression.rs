//! Two baselines from one pass: the regression of expression on local copy number, and their
//! correlation.
//!
//! For gene g and cell i of stratum s, x is log1p expression and c the local copy number without the
//! gene's own windows. One slope per gene, one level per stratum: `x_ig = a_sg + b_g c_ig + e_ig`, by
//! least squares over the cells of the strata that have a cancer cell. The slope expected without
//! escape depends on how highly the gene is expressed (the derivative of log1p), so each is compared
//! with the mean slope of genes of similar mean expression.
//!
//! - `dosage_residual`, gene: how many standard errors the slope falls short of the expected one. Cell:
//!   minus the sum over genes of the residual e times the change expected from the copy number, each
//!   gene weighted by its precision, in standard deviations.
//! - `correlation`, gene: minus Pearson's r of x and c around the stratum's means. Cell: minus
//!   Pearson's r over genes of its standardised deviation from the normal cells of its stratum with
//!   its local copy number.
//!
//! Time is linear in the stored values and in cells x slots; no matrix of cells x genes is built.

use rayon::prelude::*;

use super::local::{PartProfiles, Profiles, Slots};
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};

/// Role of an included cell in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Stratum, from 0.
    pub stratum: u32,
    /// Whether it is a cancer cell, which is scored; other cells set the reference level.
    pub cancer: bool,
}

/// Options of [`fit`].
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Normal cells that a stratum needs to set the reference level in `correlation`.
    pub min_cells: usize,
    /// Genes of similar mean expression whose slopes are averaged.
    pub genes_per_bin: usize,
}

/// Fit of one gene; NaN where the gene has no slot, does not vary or no degree of freedom is left.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneFit {
    /// Slope b: change of log1p expression per unit of local copy number.
    pub slope: f64,
    /// Standard error of the slope.
    pub se: f64,
    /// Mean slope of genes of similar mean expression, weighted by precision.
    pub expected: f64,
    /// Pearson's r of expression and local copy number.
    pub r: f64,
    /// Mean log1p expression over the included cells.
    pub mean: f64,
}

impl GeneFit {
    /// Shortfall of the slope in standard errors, `(expected - slope) / se`: large for genes that
    /// respond too little.
    pub fn shortfall(&self) -> f64 {
        (self.expected - self.slope) / self.se
    }
}

/// Results of both baselines.
#[derive(Debug, Clone)]
pub struct Found {
    /// Fit of each gene.
    pub genes: Vec<GeneFit>,
    /// Rows of the scored cells.
    pub cells: Vec<usize>,
    /// `dosage_residual` of each; NaN where the cell has no copy-number change.
    pub residual: Vec<f64>,
    /// `correlation` of each; NaN where either side is constant.
    pub correlation: Vec<f64>,
}

/// Sums over the cells of one stratum.
struct Sums {
    n: f64,
    /// Over genes: sums of x, of x c, and of x^2.
    x: Vec<f64>,
    xc: Vec<f64>,
    xx: Vec<f64>,
    /// Over slots: sums of c and of c^2.
    c: Vec<f64>,
    cc: Vec<f64>,
    /// Normal cells, and their sums of x.
    n_normal: f64,
    normal: Vec<f64>,
}

impl Sums {
    /// Over slots: sum of `weight x level`, the level being the mean of x without what the slope explains.
    fn weighted_levels(&self, weight: &[f64], slope: &[f64], slots: &Slots) -> Vec<f64> {
        slots.sums(|g| {
            if self.n == 0.0 || weight[g] == 0.0 {
                return 0.0;
            }
            let k = slots.of_gene[g].expect("a gene with a weight has a slot") as usize;
            weight[g] * (self.x[g] - slope[g] * self.c[k]) / self.n
        })
    }

    /// Mean expression of each gene over the normal cells, or over all cells with fewer than `min_cells` normal
    /// ones.
    fn reference_level(&self, min_cells: usize) -> Vec<f64> {
        let (sums, n) = if self.n_normal >= min_cells as f64 {
            (&self.normal, self.n_normal)
        } else {
            (&self.x, self.n.max(1.0))
        };
        sums.iter().map(|x| x / n).collect()
    }

    /// Sums of no cells.
    fn none(n_genes: usize, n_slots: usize) -> Self {
        let genes = || vec![0.0; n_genes];
        Self {
            n: 0.0,
            x: genes(),
            xc: genes(),
            xx: genes(),
            c: vec![0.0; n_slots],
            cc: vec![0.0; n_slots],
            n_normal: 0.0,
            normal: genes(),
        }
    }

    /// Sums over cells of a part, of which `first` is the first.
    fn of(
        (first, x): (usize, &Csr),
        cells: &[(usize, bool)],
        copy: &PartProfiles<'_>,
        slots: &Slots,
    ) -> Self {
        let mut s = Self::none(x.n_cols(), slots.len());
        s.n = cells.len() as f64;
        s.n_normal = cells.iter().filter(|c| !c.1).count() as f64;
        for &(i, cancer) in cells {
            let c = copy.of(i, slots);
            for (k, v) in c.iter().enumerate() {
                s.c[k] += v;
                s.cc[k] += v * v;
            }
            let (cols, values) = x.row(i - first);
            for (&g, &v) in cols.iter().zip(values) {
                let (g, v) = (g as usize, f64::from(v));
                s.x[g] += v;
                s.xx[g] += v * v;
                if let Some(k) = slots.of_gene[g] {
                    s.xc[g] += v * c[k as usize];
                }
                if !cancer {
                    s.normal[g] += v;
                }
            }
        }
        s
    }
}

/// Fit all genes and score the cancer cells. `x` is log1p expression (`n_cells x n_genes`), in the same parts as the
/// copy number; `members[cell]` is `None` for cells that are not included. The cells of a stratum must be in one part,
/// as those of a patient are.
///
/// # Errors
/// Where a part cannot be read.
pub fn fit(
    x: &dyn Parts,
    copy: &Profiles<'_>,
    slots: &Slots,
    members: &[Option<Member>],
    options: Options,
) -> StageResult<Found> {
    let n_strata = members.iter().flatten().map(|m| m.stratum).max();
    let n_strata = n_strata.map_or(0, |s| s as usize + 1);
    let mut cells: Vec<Vec<(usize, bool)>> = vec![Vec::new(); n_strata];
    for (i, member) in members.iter().enumerate() {
        if let Some(m) = member {
            cells[m.stratum as usize].push((i, m.cancer));
        }
    }
    // A stratum without a cancer cell carries no information on copy number.
    cells
        .iter_mut()
        .filter(|c| c.iter().all(|c| !c.1))
        .for_each(Vec::clear);
    let mut sums: Vec<Sums> = (0..n_strata).map(|_| Sums::none(0, 0)).collect();
    for at in 0..x.n_parts() {
        let ((first, part), copy) = (x.part(at)?, copy.part(at)?);
        let here = first..first + part.n_rows();
        cells.par_iter().zip(&mut sums).for_each(|(c, sums)| {
            if c.first().is_some_and(|c| here.contains(&c.0)) {
                *sums = Sums::of((first, &part), c, &copy, slots);
            }
        });
    }
    for sums in sums.iter_mut().filter(|s| s.n == 0.0) {
        *sums = Sums::none(x.n_cols(), slots.len());
    }
    let (mut genes, deviation) = fit_genes(x.n_cols(), &sums, slots);
    expect(&mut genes, options.genes_per_bin);
    let scorer = Scorer::new(&genes, &deviation, &sums, slots, options.min_cells);
    let mut scored: Vec<(usize, usize)> = cells
        .iter()
        .enumerate()
        .flat_map(|(s, c)| c.iter().filter(|c| c.1).map(move |c| (c.0, s)))
        .collect();
    scored.sort_unstable();
    let mut scores: Vec<(f64, f64)> = Vec::with_capacity(scored.len());
    for at in 0..x.n_parts() {
        let ((first, part), copy) = (x.part(at)?, copy.part(at)?);
        let place = |row: usize| scored.partition_point(|c| c.0 < row);
        let score =
            |&(i, s): &(usize, usize)| scorer.cell(part.row(i - first), &copy.of(i, slots), s);
        let own = &scored[place(first)..place(first + part.n_rows())];
        scores.par_extend(own.par_iter().map(score));
    }
    Ok(Found {
        genes,
        cells: scored.iter().map(|c| c.0).collect(),
        residual: scores.iter().map(|s| s.0).collect(),
        correlation: scores.iter().map(|s| s.1).collect(),
    })
}

/// Fit of each gene, and its standard deviation around the strata's means.
fn fit_genes(n_genes: usize, sums: &[Sums], slots: &Slots) -> (Vec<GeneFit>, Vec<f64>) {
    let used: Vec<&Sums> = sums.iter().filter(|s| s.n > 0.0).collect();
    let n: f64 = used.iter().map(|s| s.n).sum();
    let freedom = n - used.len() as f64;
    let of_gene = |g: usize| {
        let (mut sxc, mut scc, mut sxx, mut total) = (0.0, 0.0, 0.0, 0.0);
        for s in &used {
            total += s.x[g];
            sxx += s.xx[g] - s.x[g] * s.x[g] / s.n;
            if let Some(k) = slots.of_gene[g].map(|k| k as usize) {
                sxc += s.xc[g] - s.x[g] * s.c[k] / s.n;
                scc += s.cc[k] - s.c[k] * s.c[k] / s.n;
            }
        }
        let mut fit = GeneFit {
            slope: f64::NAN,
            se: f64::NAN,
            expected: f64::NAN,
            r: f64::NAN,
            mean: total / n,
        };
        let varies = sxx > 1e-12 * total.abs() && scc > 1e-12 && freedom > 1.0;
        if varies && slots.of_gene[g].is_some() {
            fit.slope = sxc / scc;
            fit.r = sxc / (scc * sxx).sqrt();
            let rest = (sxx - fit.slope * sxc).max(0.0) / (freedom - 1.0);
            fit.se = (rest / scc).sqrt();
            if fit.se == 0.0 {
                (fit.slope, fit.r, fit.se) = (f64::NAN, f64::NAN, f64::NAN);
            }
        }
        (fit, (sxx.max(0.0) / freedom.max(1.0)).sqrt())
    };
    (0..n_genes).into_par_iter().map(of_gene).unzip()
}

/// Set `expected` to the precision-weighted mean slope of the gene's bin by mean expression.
fn expect(genes: &mut [GeneFit], per_bin: usize) {
    let mut order: Vec<usize> = (0..genes.len())
        .filter(|&g| genes[g].slope.is_finite())
        .collect();
    order.sort_by(|&a, &b| genes[a].mean.total_cmp(&genes[b].mean).then(a.cmp(&b)));
    let n_bins = (order.len() / per_bin).max(1);
    for b in 0..n_bins {
        let bin = &order[b * order.len() / n_bins..(b + 1) * order.len() / n_bins];
        let weight = |g: usize| 1.0 / (genes[g].se * genes[g].se);
        let total: f64 = bin.iter().map(|&g| weight(g)).sum();
        let mean = bin.iter().map(|&g| weight(g) * genes[g].slope).sum::<f64>() / total;
        for &g in bin {
            genes[g].expected = mean;
        }
    }
}

/// Terms of the two cell scores that do not depend on the cell.
struct Scorer<'a> {
    slots: &'a Slots,
    /// `expected / variance` of each gene, 0 where it is not included.
    weight: Vec<f64>,
    /// Over slots: sum of `weight x level`, per stratum.
    level: Vec<Vec<f64>>,
    /// Over slots: sums of `weight x slope` and of `weight x expected`.
    slope: Vec<f64>,
    power: Vec<f64>,
    /// For `correlation`: 1 / standard deviation of each gene, 0 where it is not included.
    inverse: Vec<f64>,
    /// For `correlation`: reference level of each gene, per stratum.
    normal: Vec<Vec<f64>>,
    /// Per stratum: the sum of standardised levels of each slot, and their sum and sum of squares over
    /// all genes.
    normal_slots: Vec<Vec<f64>>,
    normal_sums: Vec<(f64, f64)>,
    /// Number of included genes of each slot.
    n_genes: Vec<f64>,
}

impl<'a> Scorer<'a> {
    fn new(
        genes: &[GeneFit],
        deviation: &[f64],
        sums: &[Sums],
        slots: &'a Slots,
        min_cells: usize,
    ) -> Self {
        let included = |g: usize| slots.of_gene[g].is_some() && genes[g].slope.is_finite();
        // A value of the included genes, 0 for the others.
        let of = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let value = |g| if included(g) { f(g) } else { 0.0 };
            (0..genes.len()).map(value).collect()
        };
        let weight = of(&|g| genes[g].expected / (deviation[g] * deviation[g]));
        let inverse = of(&|g| 1.0 / deviation[g]);
        let slope = of(&|g| genes[g].slope);
        let expected = of(&|g| genes[g].expected);
        let level = sums
            .iter()
            .map(|s| s.weighted_levels(&weight, &slope, slots))
            .collect();
        let normal: Vec<Vec<f64>> = sums.iter().map(|s| s.reference_level(min_cells)).collect();
        let normal_slots = normal
            .iter()
            .map(|m| slots.sums(|g| m[g] * inverse[g]))
            .collect();
        let normal_sums = normal
            .iter()
            .map(|m| {
                let z = m.iter().zip(&inverse).map(|(m, i)| m * i);
                z.fold((0.0, 0.0), |(a, b), z| (a + z, b + z * z))
            })
            .collect();
        Self {
            slope: slots.sums(|g| weight[g] * slope[g]),
            power: slots.sums(|g| weight[g] * expected[g]),
            n_genes: slots.sums(|g| f64::from(u8::from(included(g)))),
            slots,
            weight,
            level,
            inverse,
            normal,
            normal_slots,
            normal_sums,
        }
    }

    /// `dosage_residual` and `correlation` of a cell.
    fn cell(&self, (cols, values): (&[u32], &[f32]), c: &[f64], s: usize) -> (f64, f64) {
        let over = |v: &[f64]| c.iter().zip(v).map(|(c, v)| c * v).sum::<f64>();
        let squares = |v: &[f64]| c.iter().zip(v).map(|(c, v)| c * c * v).sum::<f64>();
        // Residuals times expected change: stored values, minus levels, minus what the slope explains.
        let mut fall = -over(&self.level[s]) - squares(&self.slope);
        let (m, (sum, square)) = (&self.normal[s], self.normal_sums[s]);
        let (mut dot, mut total, mut size) = (-over(&self.normal_slots[s]), -sum, square);
        for (&g, &v) in cols.iter().zip(values) {
            let (g, v) = (g as usize, f64::from(v));
            let Some(k) = self.slots.of_gene[g] else {
                continue;
            };
            let (c, z) = (c[k as usize], self.inverse[g]);
            fall += v * self.weight[g] * c;
            dot += v * z * c;
            total += v * z;
            size += (v * v - 2.0 * v * m[g]) * z * z;
        }
        let power = squares(&self.power);
        let residual = if power > 0.0 {
            -fall / power.sqrt()
        } else {
            f64::NAN
        };
        let n: f64 = self.n_genes.iter().sum();
        let (mean_c, square_c) = (over(&self.n_genes) / n, squares(&self.n_genes));
        let covariance = dot - total * mean_c;
        let spread = (size - total * total / n) * (square_c - n * mean_c * mean_c);
        let correlation = if spread > 0.0 && square_c > 0.0 {
            -covariance / spread.sqrt()
        } else {
            f64::NAN
        };
        (residual, correlation)
    }
}
