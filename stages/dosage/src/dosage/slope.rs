//! Dosage slopes: how much of a change of copy number reaches a gene's expression.
//!
//! A negative binomial regression of the clones' counts (`dosage::response`): `x` is the clone's local
//! log copy ratio without the gene's own windows, and each stratum has a level. The variation between
//! clones of equal copy number, excluding counting noise, is one dispersion, chosen so that half of the
//! genes have a Pearson statistic above the median of their chi-squared distribution. What is left of
//! a gene's variance, over all contrasts between its clones and with the levels in their covariance, is
//! moderated over genes (Smyth 2004; the quasi-likelihood of Lund et al. 2012). Counts are offset by library size and
//! a size factor: the median over genes of the clone's log rate minus its stratum's mean.
//!
//! **Strata.** Only strata with a malignant clone (`copy::malignant`) are included: clones of other
//! strata differ between samples, but not by copy number.
//!
//! **Scale.** `X_cnv` is a smoothed, denoised difference of log1p expression: a gain of one copy on two
//! appears as a small part of ln(1.5). So x is `X_cnv` times the one slope that all tested genes share:
//! slope 1 is the response of the typical gene, taken as full dosage. If genes respond with 0.85 of
//! their dosage on average, 1 here is 0.85 of the true copy ratio.
//!
//! **Tumour level.** Tumours express genes more or less for other reasons than copy number. Where three
//! or more patients have malignant clones, each gene has one difference between malignant and other
//! clones of a cell type, shared by the patients (`tumour_level`), and each patient a difference of its
//! own from that: nested random effects, whose two variances are estimated from all genes together
//! (restricted maximum likelihood). Where they are large, the slope rests on copy number that differs
//! between patients and between clones of a patient; where they are small, the difference from normal
//! cells contributes too. The scale is estimated first, without them.
//!
//! **Leaving out the gene itself.** x is the mean of `y` over the nearest 100 genes of the gene's segment,
//! 50 on each side, without the gene (`copy_source` = `neighbours`; `dosage::by_counts`): a clone's counts
//! are more informative about its copy number than the mean of its cells' windows, which inference has
//! smoothed and denoised. A stratum in which the gene lies too near a breakpoint has no part in its slope.
//! Where a segment has too few genes, or with `copy_number: windows`, x is the mean of the
//! nearest windows left and right that do not contain the gene ([`super::GeneWindows`]). Each source
//! has its own scale.
//!
//! **Clonal loci.** Genes of immunoglobulins and T-cell receptors, and those of `exclude_genes`, are
//! neither neighbours nor tested ([`super::loci`]); nor is a gene whose neighbours vary more than
//! fourfold, which no copy number does.
//!
//! **Claims and ranking.** [`super::posterior`]: the distribution of the slopes over genes gives each
//! gene's probability of a slope below `insensitive_below`, by which genes are ranked and called.
//! `shrunken` is the slope shrunk towards 1 by a normal prior (maximum a posteriori), whose variance is
//! the excess of the slopes' variance over their errors; it ranks where too few genes are tested.
//! [`super::patients`] reads the patients' slopes.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::GeneWindows;
use super::by_counts::{ByCounts, KNOWN};
use super::clones::ClonePseudobulk;
use super::copy::Along;
use super::fitted::{Candidate, Fitted};
use super::levels::Arrangement;
use super::params::{CopyNumber, DosageParams};
use super::patients::PatientSlope;
use super::posterior::{SlopePosterior, SlopePrior};
use super::rates::Rates;
use clcc_numerics::stats::{Line, PValue, weighted_line};

/// Source of a gene's local copy number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The nearest windows without the gene.
    Windows,
    /// The expression of the nearest genes, without the gene.
    Neighbours,
    /// No source: the local copy number is unknown.
    None,
    /// Not asked for: a clonal locus, or a gene that the user excluded.
    Excluded,
}

impl Source {
    /// Name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Neighbours => "neighbours",
            Self::None | Self::Excluded => "",
        }
    }
}

/// Dosage class of a gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Slope above 0 (t test, at the FDR), and not called insensitive.
    Sensitive,
    /// Slope below `insensitive_below`, by its posterior (`q` below the FDR).
    Insensitive,
    /// Slope below 0, by its posterior: less expression from more copies.
    OverCompensated,
    /// Tested, but none of these can be told.
    Unresolved,
    /// Not tested; [`GeneDosage::reason`] says why.
    Untested,
}

impl Class {
    /// Name in the tables.
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

/// Dosage slope of one gene, with its tests and class.
#[derive(Debug, Clone)]
pub struct GeneDosage {
    /// Change of log expression per change of log copy ratio; NaN where it could not be fitted.
    /// Reported, but not tested, where its standard error is above `max_se`.
    pub slope: f64,
    /// Slope shrunk towards 1 by its uncertainty, for ranking.
    pub shrunken: f64,
    /// Standard error, from the moderated variance.
    pub se: f64,
    /// 95 % confidence interval.
    pub interval: (f64, f64),
    /// Degrees of freedom, including the prior's.
    pub df: f64,
    /// Test of slope = 0, and its p-value adjusted over tested genes.
    pub zero: (PValue, f64),
    /// Test of slope = 1, and its p-value adjusted over tested genes.
    pub one: (PValue, f64),
    /// Number of clones with enough counts.
    pub n_clones: usize,
    /// Largest difference of log copy ratio between clones of one stratum.
    pub spread: f64,
    /// Posterior of the slope; `None` where it has none, or too few genes are tested.
    pub posterior: Option<SlopePosterior>,
    /// Cumulative posterior error, over tested genes, of the claim that the slope is below
    /// `insensitive_below`; NaN where not tested.
    pub q: f64,
    /// The same of the claim that it is below 0.
    pub q_negative: f64,
    /// Slope of each patient ([`Slopes::patients`]); empty with one patient, or without a fit.
    pub patients: Vec<PatientSlope>,
    /// Test of equal slopes of the patients.
    pub heterogeneity: Heterogeneity,
    /// Log level of malignant clones that patients share, per type of [`Slopes::level_types`].
    pub levels: Vec<f64>,
    /// Each clone of [`Slopes::used`] in the regression, `None` where its counts are too few; empty
    /// without a fit.
    pub points: Vec<Option<ClonePoint>>,
    /// Source of the local copy number.
    pub source: Source,
    /// Dosage class.
    pub class: Class,
    /// Why the gene is untested; empty otherwise.
    pub reason: String,
}

impl GeneDosage {
    /// A gene without a slope, and why.
    pub(super) fn untested(source: Source, reason: String) -> Self {
        let nothing = (PValue::UNDEFINED, f64::NAN);
        Self {
            slope: f64::NAN,
            shrunken: f64::NAN,
            se: f64::NAN,
            interval: (f64::NAN, f64::NAN),
            df: f64::NAN,
            zero: nothing,
            one: nothing,
            n_clones: 0,
            spread: f64::NAN,
            posterior: None,
            q: f64::NAN,
            q_negative: f64::NAN,
            patients: Vec::new(),
            heterogeneity: Heterogeneity::UNKNOWN,
            levels: Vec::new(),
            points: Vec::new(),
            source,
            class: Class::Untested,
            reason,
        }
    }
}

/// Whether patients share a slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heterogeneity {
    /// Cochran's Q, in units of the gene's variance; NaN with fewer than two patients' slopes.
    pub q: f64,
    /// Slopes less one.
    pub df: f64,
    /// P-value (an F test, with the degrees of freedom of the variance).
    pub p: f64,
    /// The same adjusted over tested genes.
    pub p_adj: f64,
    /// Degrees of freedom of the variance.
    pub variance_df: f64,
}

impl Heterogeneity {
    const UNKNOWN: Self = Self {
        q: f64::NAN,
        df: 0.0,
        p: f64::NAN,
        p_adj: f64::NAN,
        variance_df: f64::NAN,
    };
}

/// A clone in the regression of one gene: what the slope is drawn through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClonePoint {
    /// Local log copy ratio, relative to the normal cells of the stratum.
    pub log_copy_ratio: f64,
    /// Log expression relative to the stratum's level at a log copy ratio of 0, less the tumour levels: the
    /// fitted line is `slope * log_copy_ratio`.
    pub log_ratio: f64,
    /// Its standard error, from counting noise and the dispersion.
    pub se: f64,
}

/// Dosage slopes of all genes.
#[derive(Debug, Clone)]
pub struct Slopes {
    /// Slope of each gene.
    pub genes: Vec<GeneDosage>,
    /// Standard deviation of true slopes around 1.
    pub slope_sd: f64,
    /// Distribution of the slopes; `None` where too few genes are tested.
    pub prior: Option<SlopePrior>,
    /// Standard deviation of the tumour level over genes; `None` where malignant clones have no level
    /// of their own.
    pub tumour_level_sd: Option<f64>,
    /// Standard deviation of the patients' own differences from it.
    pub patient_level_sd: Option<f64>,
    /// Squared coefficient of variation between clones of equal copy number, excluding counting noise.
    pub dispersion: f64,
    /// Number of clones in strata with a malignant one, on which the slopes rest. 0: nothing is tested.
    pub n_clones: usize,
    /// These clones, as indices into all.
    pub used: Vec<usize>,
    /// Whether each of them is malignant.
    pub malignant: Vec<bool>,
    /// ln(library size x size factor) of each of them.
    pub offset: Vec<f64>,
    /// Cell types with a tumour level.
    pub level_types: Vec<String>,
    /// Patients of the clones, in ascending order.
    pub patients: Vec<u32>,
}

/// Clones of the strata that have a malignant one, with strata renumbered from 0; as indices into all
/// clones too.
struct Informative {
    clones: Vec<ClonePseudobulk>,
    used: Vec<usize>,
    n_strata: usize,
    malignant: Vec<bool>,
}

impl Informative {
    fn new(clones: &[ClonePseudobulk], malignant: &[bool]) -> Self {
        let strata: BTreeSet<usize> = clones
            .iter()
            .zip(malignant)
            .filter(|(_, m)| **m)
            .map(|(u, _)| u.stratum)
            .collect();
        let mut out = Self {
            clones: Vec::new(),
            used: Vec::new(),
            n_strata: strata.len(),
            malignant: Vec::new(),
        };
        for (at, (u, &m)) in clones.iter().zip(malignant).enumerate() {
            if let Some(number) = strata.iter().position(|&t| t == u.stratum) {
                let mut kept = u.clone();
                kept.stratum = number;
                out.clones.push(kept);
                out.used.push(at);
                out.malignant.push(m);
            }
        }
        out
    }
}

/// Data of one gene before the fit.
pub(super) struct Points {
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    pub(super) w: Vec<f64>,
}

impl Points {
    fn new(rates: &Rates, g: usize, x: Vec<f64>) -> Self {
        Self {
            x,
            y: rates.y.iter().map(|r| r[g]).collect(),
            w: rates.w.iter().map(|r| r[g]).collect(),
        }
    }

    /// The same at the copy numbers `x`; a clone where that is not known (NaN) has weight 0.
    fn at(mut self, x: Vec<f64>) -> Self {
        for (u, x) in x.into_iter().enumerate() {
            if x.is_nan() {
                self.w[u] = 0.0;
            } else {
                self.x[u] = x;
            }
        }
        self
    }
}

/// Estimate the natural-log copy ratio per unit of `X_cnv` (NaN where the genes do not follow it), and
/// its t statistic: the slope shared by all genes on their adjacent windows.
pub(crate) fn window_scale(
    rates: &Rates,
    clones: &[ClonePseudobulk],
    n_strata: usize,
    map: &GeneWindows,
) -> (f64, f64) {
    let strata: Vec<usize> = clones.iter().map(|u| u.stratum).collect();
    let points: Vec<Points> = (0..map.len())
        .into_par_iter()
        .filter_map(|g| Some(Points::new(rates, g, adjacent_windows(g, clones, map)?)))
        .collect();
    let (slope, t) = shared_slope(points.iter(), &strata, n_strata);
    (if usable(slope, t) { slope } else { f64::NAN }, t)
}

/// Whether a shared slope is a usable scale: it differs from 0.
fn usable(slope: f64, t: f64) -> bool {
    slope > 0.0 && t > 3.0
}

/// Mean copy number of the windows next to a gene, per clone; `None` where a clone has none.
fn adjacent_windows(g: usize, clones: &[ClonePseudobulk], map: &GeneWindows) -> Option<Vec<f64>> {
    let x: Vec<f64> = clones
        .iter()
        .map(|u| map.without_gene(g, &u.profile))
        .collect();
    x.iter().all(|v| v.is_finite()).then_some(x)
}

/// Mean log rate of a gene's neighbours in each clone (`used`: their indices in `by_counts`), NaN in strata
/// where it is not known on which side of a breakpoint the gene lies; `None` where fewer than half of the
/// clones in which the gene is informative (`weights`) have enough neighbours.
fn neighbours(
    g: usize,
    clones: &[ClonePseudobulk],
    (by_counts, used): (&ByCounts, &[usize]),
    weights: &[f64],
) -> Option<Vec<f64>> {
    let found: Vec<Option<(f64, f64)>> = used.iter().map(|&u| by_counts.mean(u, g)).collect();
    let informative = weights.iter().filter(|w| **w > 0.0).count();
    let known = found
        .iter()
        .zip(weights)
        .filter(|(x, w)| x.is_some() && **w > 0.0);
    if 2 * known.count() < informative.max(1) {
        return None;
    }
    let unsure: BTreeSet<usize> = found
        .iter()
        .zip(clones)
        .filter(|(x, _)| x.is_some_and(|x| x.1 > KNOWN))
        .map(|(_, clone)| clone.stratum)
        .collect();
    let of = |(x, clone): (&Option<(f64, f64)>, &ClonePseudobulk)| {
        let x = x.filter(|_| !unsure.contains(&clone.stratum));
        x.map_or(f64::NAN, |x| x.0)
    };
    Some(found.iter().zip(clones).map(of).collect())
}

/// Fit the slopes of all genes, given the scale of [`window_scale`] and which clones are malignant.
pub(super) fn slopes(
    clones: &[ClonePseudobulk],
    n_strata: usize,
    by_counts: &ByCounts,
    malignant: &[bool],
    along: Along<'_>,
    params: &DosageParams,
) -> Slopes {
    let chosen = Informative::new(clones, malignant);
    // Without a malignant clone nothing is tested, and the reasons are given over all clones.
    let all: Vec<usize> = (0..clones.len()).collect();
    let (clones, used, n_strata, flags) = if chosen.clones.is_empty() {
        (clones, &all, n_strata, malignant)
    } else {
        let flags = chosen.malignant.as_slice();
        (
            chosen.clones.as_slice(),
            &chosen.used,
            chosen.n_strata,
            flags,
        )
    };
    let arrangement = Arrangement::new(clones, n_strata, flags, params);
    let strata = &arrangement.strata;
    let rates = Rates::new(clones, n_strata, params.min_count);
    let mut points = gene_points(clones, &rates, (by_counts, used), along, params.copy_number);
    let scales = Scales {
        obstacle: match (along.scale.is_finite(), chosen.used.len()) {
            (false, _) => "expression as a whole does not follow the inferred copy number",
            (true, 0) => "no malignant clone",
            (true, _) => "",
        },
        windows: along.scale,
        neighbours: neighbour_scale(&points, strata, n_strata),
    };
    for (p, source) in &mut points {
        let scale = scales.of(*source).unwrap_or(1.0);
        p.x.iter_mut().for_each(|x| *x *= scale);
    }
    let offset = rates.offsets(clones);
    let design = arrangement.one_slope(&offset);
    let candidates: Vec<Candidate> = points
        .into_par_iter()
        .enumerate()
        .map(|(g, (p, source))| {
            let counts = clones.iter().map(|u| u.counts[g]).collect();
            let scaled = scales.of(source).map(|_| ());
            Candidate::new(p, counts, source, scaled, &design, params)
        })
        .collect();
    let normal: Vec<bool> = clones.iter().map(|u| !u.id.cancer).collect();
    let mut out = Fitted::new(candidates, &arrangement, &offset, &normal).tell(params);
    if !chosen.used.is_empty() {
        out.n_clones = chosen.used.len();
        out.used = chosen.used;
        out.malignant = chosen.malignant;
        out.offset = offset;
    }
    out
}

/// Data of every gene, with the unscaled local copy number of the first source that has one.
fn gene_points(
    clones: &[ClonePseudobulk],
    rates: &Rates,
    counts: (&ByCounts, &[usize]),
    along: Along<'_>,
    preferred: CopyNumber,
) -> Vec<(Points, Source)> {
    let Along { map, excluded, .. } = along;
    let order = match preferred {
        CopyNumber::Neighbours => [Source::Neighbours, Source::Windows],
        CopyNumber::Windows => [Source::Windows, Source::Neighbours],
    };
    let from = |source: Source, g: usize| -> Option<Points> {
        let nothing = Points::new(rates, g, vec![0.0; clones.len()]);
        let x = match source {
            Source::Neighbours => neighbours(g, clones, counts, &nothing.w)?,
            _ => adjacent_windows(g, clones, map)?,
        };
        Some(nothing.at(x))
    };
    (0..map.len())
        .into_par_iter()
        .map(|g| {
            let order: &[Source] = if excluded[g] { &[] } else { &order };
            order
                .iter()
                .find_map(|&source| Some((from(source, g)?, source)))
                .unwrap_or_else(|| {
                    let why = if excluded[g] {
                        Source::Excluded
                    } else {
                        Source::None
                    };
                    (Points::new(rates, g, vec![0.0; clones.len()]), why)
                })
        })
        .collect()
}

/// Scale of copy number from neighbouring genes; `None` where expression does not follow it.
fn neighbour_scale(points: &[(Points, Source)], strata: &[usize], n_strata: usize) -> Option<f64> {
    let near = points
        .iter()
        .filter(|p| p.1 == Source::Neighbours)
        .map(|p| &p.0);
    let (slope, t) = shared_slope(near, strata, n_strata);
    usable(slope, t).then_some(slope)
}

/// Factors from the values of each source to log copy ratios.
struct Scales {
    /// Why no source has a scale; empty where they may have.
    obstacle: &'static str,
    windows: f64,
    neighbours: Option<f64>,
}

impl Scales {
    /// Scale of a source, or the reason why it has none.
    fn of(&self, source: Source) -> Result<f64, &'static str> {
        // Genes correlate with their neighbours for other reasons too; where the windows carry no copy
        // number, neighbours carry no information on it.
        if !self.obstacle.is_empty() {
            return Err(self.obstacle);
        }
        let scale = match source {
            Source::Windows => Some(self.windows),
            Source::Neighbours => self.neighbours,
            Source::None | Source::Excluded => None,
        };
        scale.ok_or("expression as a whole does not follow the neighbours' copy number")
    }
}

/// Slope shared by all genes, each with its own levels, and its t statistic.
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
    // Variance between genes: their slopes scatter around the shared one by more than counting noise.
    let scatter: f64 = lines
        .iter()
        .map(|l| (l.sxx * (l.slope - slope)).powi(2))
        .sum();
    (slope, slope / (scatter.sqrt() / sxx))
}
