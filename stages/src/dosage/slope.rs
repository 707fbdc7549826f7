//! How much of a change of copy number reaches a gene's expression.
//!
//! For gene g and clone u with counts N, library L: `y = ln(N/L + 0.5/mean L)`, less the clone's
//! size factor (median over genes of y minus its stratum's mean). `x` is the clone's local log copy
//! ratio with the gene's own windows left out. Weighted least squares of y on x with one level per
//! stratum; weights are `1 / (0.2^2 + 1/expected counts)`, from expected counts so that a loss does
//! not weigh less for being one.
//!
//! **Scale.** `X_cnv` is a smoothed, denoised difference of log1p expression: a gain of one copy of
//! two shows as a small part of ln(1.5). So x is `X_cnv` times the one slope that all tested genes
//! share: slope 1 is the response of the typical gene, taken as full dosage. Where genes respond
//! with 0.85 of their dosage on average, 1 here is 0.85 of the true copy ratio.
//!
//! **Tumour level.** Tumours express genes more or less for other reasons than copies. Where three
//! or more patients have malignant clones (a twentieth of the genes altered), each gene has one
//! difference between malignant and other clones of a cell type, shared by the patients, which is
//! taken out of x and y (`tumour_level`). The slope then rests on copy number that differs between
//! patients and between clones of a patient. The scale is found before.
//!
//! **The gene itself out.** x is the mean of `y` over the nearest 100 genes of the gene's arm, 50 on
//! each side, itself left out (`copy_source` = `neighbours`): a clone's counts say more of its copy
//! number than the mean of its cells' windows, which inference has smoothed and denoised. Where an arm
//! has too few genes, or with `copy_number: windows`, x is the mean of the nearest windows left and right
//! that do not contain the gene ([`super::GeneWindows`]). Each source has its own scale.
//!
//! **Ranking.** Slopes of genes with few counts are wide. `shrunken` weighs a slope by what it says:
//! `1 + (slope - 1) t^2 / (t^2 + se^2)`, t^2 the variance of true slopes (DerSimonian and Laird 1986).

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::GeneWindows;
use super::params::{CopyNumber, DosageParams, TumourLevel};
use super::rates::{Rates, neighbours};
use super::units::Unit;
use crate::stats::{
    Line, PValue, VariancePrior, benjamini_hochberg, partial_out, t_quantile, two_sided_t,
    weighted_line,
};

/// Where a gene's local copy number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The nearest windows without the gene.
    Windows,
    /// The expression of the nearest genes.
    Neighbours,
    /// Nowhere.
    None,
}

impl Source {
    /// The word in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Neighbours => "neighbours",
            Self::None => "",
        }
    }
}

/// What a gene does with its dosage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Slope above 0 (at the FDR), and not insensitive.
    Sensitive,
    /// Slope below 1 (at the FDR) and below `insensitive_below`.
    Insensitive,
    /// Slope below 0 (at the FDR): less expression from more copies.
    OverCompensated,
    /// Tested, but neither 0 nor 1 can be told from the slope.
    Unresolved,
    /// See the reason.
    Untested,
}

impl Class {
    /// The word in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sensitive => "sensitive",
            Self::Insensitive => "insensitive",
            Self::OverCompensated => "over-compensated",
            Self::Unresolved => "unresolved",
            Self::Untested => "untested",
        }
    }
}

/// A gene's answer.
#[derive(Debug, Clone)]
pub struct GeneDosage {
    /// Change of log expression per change of log copy ratio; NaN where there is no line. Told, but not
    /// tested, where its standard error is above `max_se`.
    pub slope: f64,
    /// The slope drawn to 1 by its uncertainty.
    pub shrunken: f64,
    /// Standard error, from the moderated variance.
    pub se: f64,
    /// 95 % interval.
    pub interval: (f64, f64),
    /// Degrees of freedom, the prior's share included.
    pub df: f64,
    /// Test of slope = 0, and adjusted over tested genes.
    pub zero: (PValue, f64),
    /// Test of slope = 1, and adjusted over tested genes.
    pub one: (PValue, f64),
    /// Clones with enough counts.
    pub n_units: usize,
    /// Largest difference of log copy ratio between clones of one stratum, the tumour level taken
    /// out.
    pub spread: f64,
    /// Where the local copy number comes from.
    pub source: Source,
    /// The class.
    pub class: Class,
    /// Why it is untested; empty otherwise.
    pub reason: String,
}

/// Slopes of all genes.
#[derive(Debug, Clone)]
pub struct Slopes {
    /// One per gene.
    pub genes: Vec<GeneDosage>,
    /// Natural-log copy ratio per unit of `X_cnv`; NaN where the genes do not follow it.
    pub scale: f64,
    /// Standard deviation of true slopes around 1.
    pub slope_sd: f64,
    /// t value of the shared slope that the scale is.
    pub scale_t: f64,
    /// Whether malignant clones have a level of their own.
    pub tumour_level: bool,
}

/// What a gene's expression may differ by without dosage.
struct Levels<'a> {
    /// Stratum of each unit.
    strata: &'a [usize],
    n_strata: usize,
    /// Per cell type, 1 for its malignant units.
    tumour: &'a [Vec<f64>],
}

/// Share of altered genes from which a unit counts as malignant.
const MALIGNANT_SHARE: f64 = 0.05;
/// Patients with malignant units from which their level can be told from their copy number.
const PATIENTS_FOR_LEVEL: usize = 3;

/// Per cell type, an indicator of its malignant units; none where no level is to be taken out.
fn tumour_levels(
    units: &[Unit],
    map: &GeneWindows,
    scale: f64,
    params: &DosageParams,
) -> Vec<Vec<f64>> {
    let malignant: Vec<bool> = units
        .iter()
        .map(|u| {
            let n = super::altered(u, map, scale, params.altered)
                .iter()
                .filter(|c| **c != 0.0)
                .count();
            n as f64 >= MALIGNANT_SHARE * map.len() as f64
        })
        .collect();
    let patients: BTreeSet<u32> = units
        .iter()
        .zip(&malignant)
        .filter(|(_, m)| **m)
        .map(|(u, _)| u.key.patient)
        .collect();
    let wanted = match params.tumour_level {
        TumourLevel::Auto => patients.len() >= PATIENTS_FOR_LEVEL,
        TumourLevel::Shared => true,
        TumourLevel::None => false,
    };
    let types: BTreeSet<&str> = units.iter().map(|u| u.key.cell_type.as_str()).collect();
    types
        .into_iter()
        .filter(|_| wanted)
        .map(|t| {
            units
                .iter()
                .zip(&malignant)
                .map(|(u, &m)| f64::from(u8::from(m && u.key.cell_type == t)))
                .collect::<Vec<f64>>()
        })
        .filter(|z| z.iter().any(|v| *v > 0.0))
        .collect()
}

/// One gene's points before the fit.
struct Points {
    x: Vec<f64>,
    y: Vec<f64>,
    w: Vec<f64>,
}

impl Points {
    fn new(rates: &Rates, g: usize, x: Vec<f64>) -> Self {
        Self {
            x,
            y: rates.y.iter().map(|r| r[g]).collect(),
            w: rates.w.iter().map(|r| r[g]).collect(),
        }
    }
}

/// Natural-log copy ratio per unit of `X_cnv`; NaN where the genes do not follow it.
pub(crate) fn window_scale(
    units: &[Unit],
    n_strata: usize,
    map: &GeneWindows,
    min_count: f64,
) -> f64 {
    let rates = Rates::new(units, n_strata, min_count);
    match window_slope(&rates, units, n_strata, map) {
        (scale, t) if usable(scale, t) => scale,
        _ => f64::NAN,
    }
}

/// The slope that all genes share on the windows beside them, and its t value.
fn window_slope(rates: &Rates, units: &[Unit], n_strata: usize, map: &GeneWindows) -> (f64, f64) {
    let strata: Vec<usize> = units.iter().map(|u| u.stratum).collect();
    let points: Vec<Points> = (0..map.len())
        .into_par_iter()
        .filter_map(|g| Some(Points::new(rates, g, beside(g, units, map)?)))
        .collect();
    shared_slope(points.iter(), &strata, n_strata)
}

/// Whether a shared slope is a scale: one that cannot be told from 0 is none.
fn usable(slope: f64, t: f64) -> bool {
    slope > 0.0 && t > 3.0
}

/// The windows beside a gene in each unit; `None` where one has none.
fn beside(g: usize, units: &[Unit], map: &GeneWindows) -> Option<Vec<f64>> {
    let x: Vec<f64> = units
        .iter()
        .map(|u| map.without_gene(g, &u.profile))
        .collect();
    x.iter().all(|v| v.is_finite()).then_some(x)
}

/// The local copy number of a gene in each unit, from either source, before any scale.
fn local(
    source: Source,
    g: usize,
    units: &[Unit],
    map: &GeneWindows,
    centred: &[Vec<f64>],
    information: &[f64],
    arm: &[String],
) -> Option<Vec<f64>> {
    match source {
        Source::Windows => beside(g, units, map),
        Source::Neighbours => neighbours(g, centred, information, arm),
        Source::None => None,
    }
}

/// Fits every gene. `arm[gene]` (chromosome and arm) is empty where unknown; genes are in genome order.
pub fn slopes(
    units: &[Unit],
    n_strata: usize,
    map: &GeneWindows,
    arm: &[String],
    params: &DosageParams,
) -> Slopes {
    let n_genes = map.len();
    let strata: Vec<usize> = units.iter().map(|u| u.stratum).collect();
    let rates = Rates::new(units, n_strata, params.min_count);
    let centred = rates.centred(&strata, n_strata);
    let order = match params.copy_number {
        CopyNumber::Neighbours => [Source::Neighbours, Source::Windows],
        CopyNumber::Windows => [Source::Windows, Source::Neighbours],
    };
    let from =
        |source: Source, g: usize| local(source, g, units, map, &centred, &rates.information, arm);
    let points: Vec<(Points, Source)> = (0..n_genes)
        .into_par_iter()
        .map(|g| {
            order
                .iter()
                .find_map(|&source| Some((Points::new(&rates, g, from(source, g)?), source)))
                .unwrap_or_else(|| {
                    let nothing = vec![0.0; units.len()];
                    (Points::new(&rates, g, nothing), Source::None)
                })
        })
        .collect();
    // The windows have a scale of their own, also where no slope rests on them: cells are scored by it.
    let (scale, scale_t) = window_slope(&rates, units, n_strata, map);
    let (near, near_t) = shared_slope(
        points
            .iter()
            .filter(|p| p.1 == Source::Neighbours)
            .map(|p| &p.0),
        &strata,
        n_strata,
    );
    let scale_of = |source: Source| match source {
        Source::Windows if usable(scale, scale_t) => Some(scale),
        // Genes agree with their neighbours for other reasons as well; without copy number in the
        // windows they say nothing of it.
        Source::Neighbours if usable(near, near_t) && usable(scale, scale_t) => Some(near),
        _ => None,
    };
    let levels = if usable(scale, scale_t) {
        tumour_levels(units, map, scale, params)
    } else {
        Vec::new()
    };
    let strata = Levels {
        strata: &strata,
        n_strata,
        tumour: &levels,
    };
    let fits: Vec<(Option<Line>, GeneDosage)> = points
        .into_par_iter()
        .map(|(p, source)| fit(p, source, scale_of(source), &strata, params))
        .collect();
    let (genes, slope_sd) = finish(fits, params);
    Slopes {
        genes,
        slope_sd,
        tumour_level: !levels.is_empty(),
        scale: if usable(scale, scale_t) {
            scale
        } else {
            f64::NAN
        },
        scale_t,
    }
}

/// The slope that all genes share, each with its own levels, and its t value.
fn shared_slope<'a>(
    genes: impl Iterator<Item = &'a Points>,
    strata: &[usize],
    n_strata: usize,
) -> (f64, f64) {
    let lines: Vec<Line> = genes
        .filter_map(|p| weighted_line(&p.x, &p.y, &p.w, strata, n_strata))
        .collect();
    let sxx: f64 = lines.iter().map(|l| l.sxx).sum();
    let slope = lines.iter().map(|l| l.sxx * l.slope).sum::<f64>() / sxx;
    // Between genes: their slopes scatter around the shared one by more than counting noise.
    let scatter: f64 = lines
        .iter()
        .map(|l| (l.sxx * (l.slope - slope)).powi(2))
        .sum();
    (slope, slope / (scatter.sqrt() / sxx))
}

fn fit(
    mut p: Points,
    source: Source,
    scale: Option<f64>,
    levels: &Levels<'_>,
    params: &DosageParams,
) -> (Option<Line>, GeneDosage) {
    let (strata, n_strata) = (levels.strata, levels.n_strata);
    let n_units = p.w.iter().filter(|w| **w > 0.0).count();
    if let Some(scale) = scale {
        p.x.iter_mut().for_each(|x| *x *= scale);
    }
    let mut spent = 0.0;
    for z in levels.tumour {
        if partial_out(&mut p.x, z, &p.w, strata, n_strata) {
            partial_out(&mut p.y, z, &p.w, strata, n_strata);
            spent += 1.0;
        }
    }
    let spread = (0..n_strata)
        .map(|s| {
            let here = (0..p.x.len())
                .filter(|&u| strata[u] == s && p.w[u] > 0.0)
                .map(|u| p.x[u]);
            let (lo, hi) = here.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), x| {
                (lo.min(x), hi.max(x))
            });
            if hi > lo { hi - lo } else { 0.0 }
        })
        .fold(0.0, f64::max);
    let line =
        weighted_line(&p.x, &p.y, &p.w, strata, n_strata).and_then(|l| l.with_less_df(spent));
    let reason = match (source, scale, &line) {
        (Source::None, _, _) => "no copy-number window or too few genes near it".to_string(),
        _ if n_units < 3 => format!(
            "too few counts: {n_units} clones expect {} or more",
            params.min_count
        ),
        (_, None, _) => {
            "expression as a whole does not follow the inferred copy number".to_string()
        }
        _ if spread < params.min_spread => {
            let beside = if spent > 0.0 {
                " beside what all tumours share"
            } else {
                ""
            };
            format!("copy number hardly varies{beside}: log ratio by {spread:.3}")
        }
        (_, _, None) => "too few clones for the number of strata".to_string(),
        _ => String::new(),
    };
    let nothing = (PValue::UNDEFINED, f64::NAN);
    let gene = GeneDosage {
        slope: f64::NAN,
        shrunken: f64::NAN,
        se: f64::NAN,
        interval: (f64::NAN, f64::NAN),
        df: f64::NAN,
        zero: nothing,
        one: nothing,
        n_units,
        spread: if scale.is_some() { spread } else { f64::NAN },
        source,
        class: Class::Untested,
        reason,
    };
    (line.filter(|_| gene.reason.is_empty()), gene)
}

/// Moderates the variances over genes, tests, adjusts and classes; with the standard deviation of true
/// slopes.
fn finish(fits: Vec<(Option<Line>, GeneDosage)>, params: &DosageParams) -> (Vec<GeneDosage>, f64) {
    let lines: Vec<&Line> = fits.iter().filter_map(|f| f.0.as_ref()).collect();
    let prior = VariancePrior::fit(
        &lines
            .iter()
            .map(|l| l.residual_variance)
            .collect::<Vec<_>>(),
        &lines.iter().map(|l| l.df).collect::<Vec<_>>(),
    );
    let mut genes: Vec<GeneDosage> = fits
        .into_par_iter()
        .map(|(line, mut gene)| {
            let Some(line) = line else { return gene };
            let (variance, df) = prior.moderate(line.residual_variance, line.df);
            let se = (variance / line.sxx).sqrt();
            gene.slope = line.slope;
            gene.se = se;
            gene.df = df;
            let half = t_quantile(0.05, df) * se;
            gene.interval = (line.slope - half, line.slope + half);
            if se > params.max_se {
                gene.reason = format!("too uncertain: standard error of the slope {se:.2}");
                return gene;
            }
            gene.zero.0 = two_sided_t(line.slope / se, df);
            gene.one.0 = two_sided_t((line.slope - 1.0) / se, df);
            gene
        })
        .collect();
    let variance = slope_variance(&genes);
    for gene in &mut genes {
        let kept = variance / (variance + gene.se * gene.se);
        gene.shrunken = 1.0 + (gene.slope - 1.0) * if variance > 0.0 { kept } else { 0.0 };
        if gene.slope.is_nan() {
            gene.shrunken = f64::NAN;
        }
    }
    let tested: Vec<usize> = (0..genes.len())
        .filter(|&g| genes[g].reason.is_empty())
        .collect();
    let adjust = |f: fn(&GeneDosage) -> f64| {
        benjamini_hochberg(&tested.iter().map(|&g| f(&genes[g])).collect::<Vec<_>>())
    };
    let (zero, one) = (adjust(|g| g.zero.0.p), adjust(|g| g.one.0.p));
    for (at, &g) in tested.iter().enumerate() {
        let gene = &mut genes[g];
        (gene.zero.1, gene.one.1) = (zero[at], one[at]);
        let (from_zero, from_one) = (zero[at] < params.fdr, one[at] < params.fdr);
        gene.class = if from_zero && gene.slope < 0.0 {
            Class::OverCompensated
        } else if from_one && gene.slope < params.insensitive_below {
            Class::Insensitive
        } else if from_zero {
            Class::Sensitive
        } else {
            Class::Unresolved
        };
    }
    (genes, variance.sqrt())
}

/// Variance of the true slopes around 1, beyond what their standard errors explain (DerSimonian and Laird
/// 1986, with the mean known); 0 where nothing is beyond.
fn slope_variance(genes: &[GeneDosage]) -> f64 {
    let told: Vec<(f64, f64)> = genes
        .iter()
        .filter(|g| g.slope.is_finite() && g.se > 0.0)
        .map(|g| (g.slope, 1.0 / (g.se * g.se)))
        .collect();
    let excess: f64 = told.iter().map(|(b, w)| w * (b - 1.0).powi(2) - 1.0).sum();
    let weight: f64 = told.iter().map(|t| t.1).sum();
    if weight > 0.0 {
        (excess / weight).max(0.0)
    } else {
        0.0
    }
}
