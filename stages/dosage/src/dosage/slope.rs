//! Dosage slopes: how much of a change of copy number reaches a gene's expression.
//!
//! A negative binomial regression of the clones' counts (`dosage::response`): `x` is the clone's local
//! log copy ratio without the gene's own windows, and each stratum has a level. The variation between
//! clones of equal copy number, excluding counting noise, is one dispersion, chosen so that half of the
//! genes have a Pearson statistic above the median of their chi-squared distribution. Pearson's
//! statistic of each gene over its degrees of freedom is the gene's remaining variance, moderated over
//! genes (Smyth 2004; the quasi-likelihood of Lund et al. 2012). Counts are offset by library size and
//! a size factor: the median over genes of the clone's log rate minus its stratum's mean.
//!
//! **Strata.** Only strata with a malignant clone (a twentieth of the genes altered) are included:
//! clones of other strata differ between samples, but not by copy number.
//!
//! **Scale.** `X_cnv` is a smoothed, denoised difference of log1p expression: a gain of one copy on two
//! appears as a small part of ln(1.5). So x is `X_cnv` times the one slope that all tested genes share:
//! slope 1 is the response of the typical gene, taken as full dosage. If genes respond with 0.85 of
//! their dosage on average, 1 here is 0.85 of the true copy ratio.
//!
//! **Tumour level.** Tumours express genes more or less for other reasons than copy number. Where three
//! or more patients have malignant clones, each gene has one difference between malignant and other
//! clones of a cell type, shared by the patients (`tumour_level`): a random effect, whose variance is
//! the excess of the genes' differences, fitted as fixed effects, over their errors. Where this
//! variance is large, the slope rests on copy number that differs between patients and between clones
//! of a patient; where it is small, the difference from normal cells contributes too. The scale is
//! estimated first, without it.
//!
//! **Leaving out the gene itself.** x is the mean of `y` over the nearest 100 genes of the gene's arm,
//! 50 on each side, without the gene (`copy_source` = `neighbours`): a clone's counts are more
//! informative about its copy number than the mean of its cells' windows, which inference has smoothed
//! and denoised. Where an arm has too few genes, or with `copy_number: windows`, x is the mean of the
//! nearest windows left and right that do not contain the gene ([`super::GeneWindows`]). Each source
//! has its own scale.
//!
//! **Ranking.** Slopes of genes with few counts are uncertain. `shrunken` is the slope shrunk towards 1
//! by a normal prior (maximum a posteriori), whose variance is the excess of the slopes' variance over
//! their errors.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::GeneWindows;
use super::clones::ClonePseudobulk;
use super::copy::{Along, from_windows, is_malignant};
use super::params::{CopyNumber, DosageParams, TumourLevel};
use super::rates::{Rates, neighbours};
use super::response::{Design, Gene, Model, Response, common_dispersion, excess_variance, fit};
use clcc_numerics::stats::{
    Line, PValue, VariancePrior, benjamini_hochberg, t_quantile, two_sided_t, weighted_line,
};

/// Source of a gene's local copy number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The nearest windows without the gene.
    Windows,
    /// The expression of the nearest genes, without the gene.
    Neighbours,
    /// No source: the local copy number is unknown.
    None,
}

impl Source {
    /// Name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Neighbours => "neighbours",
            Self::None => "",
        }
    }
}

/// Dosage class of a gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Slope above 0 (at the FDR), and not insensitive.
    Sensitive,
    /// Slope below 1 (at the FDR) and below `insensitive_below`.
    Insensitive,
    /// Slope below 0 (at the FDR): less expression from more copies.
    OverCompensated,
    /// Tested, but the slope differs from neither 0 nor 1.
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
    /// Source of the local copy number.
    pub source: Source,
    /// Dosage class.
    pub class: Class,
    /// Why the gene is untested; empty otherwise.
    pub reason: String,
}

/// Dosage slopes of all genes.
#[derive(Debug, Clone)]
pub struct Slopes {
    /// Slope of each gene.
    pub genes: Vec<GeneDosage>,
    /// Standard deviation of true slopes around 1.
    pub slope_sd: f64,
    /// Standard deviation of the tumour level over genes; `None` where malignant clones have no level
    /// of their own.
    pub tumour_level_sd: Option<f64>,
    /// Squared coefficient of variation between clones of equal copy number, excluding counting noise.
    pub dispersion: f64,
    /// Number of clones in strata with a malignant one, on which the slopes rest. 0: nothing is tested.
    pub n_clones: usize,
}

/// Patients with malignant clones from which the tumour level can be separated from copy number.
const PATIENTS_FOR_LEVEL: usize = 3;

/// Clones of the strata that have a malignant one, with strata renumbered from 0, the number of strata,
/// and which clones are malignant.
fn informative(
    clones: &[ClonePseudobulk],
    malignant: &[bool],
) -> (Vec<ClonePseudobulk>, usize, Vec<bool>) {
    let strata: BTreeSet<usize> = clones
        .iter()
        .zip(malignant)
        .filter(|(_, m)| **m)
        .map(|(u, _)| u.stratum)
        .collect();
    let number = |s: usize| strata.iter().position(|&t| t == s);
    let (kept, flags) = clones
        .iter()
        .zip(malignant)
        .filter_map(|(u, &m)| {
            let mut kept = u.clone();
            kept.stratum = number(u.stratum)?;
            Some((kept, m))
        })
        .unzip();
    (kept, strata.len(), flags)
}

/// Indicator of the malignant clones, per cell type; empty where the model has no tumour level.
fn tumour_levels(
    clones: &[ClonePseudobulk],
    malignant: &[bool],
    params: &DosageParams,
) -> Vec<Vec<f64>> {
    let patients: BTreeSet<u32> = clones
        .iter()
        .zip(malignant)
        .filter(|(_, m)| **m)
        .map(|(u, _)| u.id.patient)
        .collect();
    let wanted = match params.tumour_level {
        TumourLevel::Auto => patients.len() >= PATIENTS_FOR_LEVEL,
        TumourLevel::Shared => true,
        TumourLevel::None => false,
    };
    let types: BTreeSet<&str> = clones.iter().map(|u| u.id.cell_type.as_str()).collect();
    types
        .into_iter()
        .filter(|_| wanted)
        .map(|t| {
            clones
                .iter()
                .zip(malignant)
                .map(|(u, &m)| f64::from(u8::from(m && u.id.cell_type == t)))
                .collect::<Vec<f64>>()
        })
        .filter(|z| z.iter().any(|v| *v > 0.0))
        .collect()
}

/// Data of one gene before the fit.
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

/// Local copy number of a gene in each clone, from either source, before scaling.
fn local(
    source: Source,
    g: usize,
    clones: &[ClonePseudobulk],
    map: &GeneWindows,
    centred: &[Vec<f64>],
    information: &[f64],
    arm: &[String],
) -> Option<Vec<f64>> {
    match source {
        Source::Windows => adjacent_windows(g, clones, map),
        Source::Neighbours => neighbours(g, centred, information, arm),
        Source::None => None,
    }
}

/// Fit the slopes of all genes, given the scale of [`window_scale`].
pub(super) fn slopes(
    clones: &[ClonePseudobulk],
    n_strata: usize,
    along: Along<'_>,
    params: &DosageParams,
) -> Slopes {
    let malignant: Vec<bool> = clones
        .iter()
        .map(|u| u.id.cancer && is_malignant(&from_windows(u, along), params.altered))
        .collect();
    let (chosen, n_chosen, flags) = informative(clones, &malignant);
    let levels = tumour_levels(&chosen, &flags, params);
    let n_informative = chosen.len();
    // Without a malignant clone nothing is tested, and the reasons are given over all clones.
    let (clones, n_strata) = if chosen.is_empty() {
        (clones, n_strata)
    } else {
        (chosen.as_slice(), n_chosen)
    };
    let strata: Vec<usize> = clones.iter().map(|u| u.stratum).collect();
    let rates = Rates::new(clones, n_strata, params.min_count);
    let mut points = gene_points(clones, &rates, &strata, n_strata, along, params.copy_number);
    let scales = Scales {
        obstacle: match (along.scale.is_finite(), n_informative) {
            (false, _) => "expression as a whole does not follow the inferred copy number",
            (true, 0) => "no malignant clone: none has a twentieth of the genes altered",
            (true, _) => "",
        },
        windows: along.scale,
        neighbours: neighbour_scale(&points, &strata, n_strata),
    };
    for (p, source) in &mut points {
        let scale = scales.of(*source).unwrap_or(1.0);
        p.x.iter_mut().for_each(|x| *x *= scale);
    }
    let design = Design {
        offset: &rates.offsets(clones),
        strata: &strata,
        n_strata,
        tumour: &levels,
    };
    let candidates: Vec<Candidate> = points
        .into_par_iter()
        .enumerate()
        .map(|(g, (p, source))| {
            let counts = clones.iter().map(|u| u.counts[g]).collect();
            let scaled = scales.of(source).map(|_| ());
            Candidate::new(p, counts, source, scaled, &design, params)
        })
        .collect();
    let fitted = Fitted::new(candidates, &design);
    let (genes, slope_sd) = fitted.tell(&design, params);
    Slopes {
        genes,
        slope_sd,
        tumour_level_sd: (!levels.is_empty()).then(|| fitted.model.level_variance.sqrt()),
        dispersion: fitted.model.dispersion,
        n_clones: n_informative,
    }
}

/// Data of every gene, with the unscaled local copy number of the first source that has one.
fn gene_points(
    clones: &[ClonePseudobulk],
    rates: &Rates,
    strata: &[usize],
    n_strata: usize,
    along: Along<'_>,
    preferred: CopyNumber,
) -> Vec<(Points, Source)> {
    let centred = rates.centred(strata, n_strata);
    let order = match preferred {
        CopyNumber::Neighbours => [Source::Neighbours, Source::Windows],
        CopyNumber::Windows => [Source::Windows, Source::Neighbours],
    };
    let Along { arm, map, .. } = along;
    let from =
        |source: Source, g: usize| local(source, g, clones, map, &centred, &rates.information, arm);
    (0..map.len())
        .into_par_iter()
        .map(|g| {
            order
                .iter()
                .find_map(|&source| Some((Points::new(rates, g, from(source, g)?), source)))
                .unwrap_or_else(|| {
                    let nothing = vec![0.0; clones.len()];
                    (Points::new(rates, g, nothing), Source::None)
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
            Source::None => None,
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

/// A gene before its regression.
struct Candidate {
    x: Vec<f64>,
    counts: Vec<f64>,
    included: Vec<bool>,
    /// Result so far; `reason` is empty where the gene can be fitted.
    gene: GeneDosage,
}

impl Candidate {
    fn new(
        p: Points,
        counts: Vec<f64>,
        source: Source,
        scaled: Result<(), &str>,
        design: &Design<'_>,
        params: &DosageParams,
    ) -> Self {
        let included: Vec<bool> = p.w.iter().map(|w| *w > 0.0).collect();
        let n_clones = included.iter().filter(|s| **s).count();
        let spread = (0..design.n_strata)
            .map(|s| {
                let here = (0..p.x.len())
                    .filter(|&u| design.strata[u] == s && included[u])
                    .map(|u| p.x[u]);
                let (lo, hi) = here.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), x| {
                    (lo.min(x), hi.max(x))
                });
                if hi > lo { hi - lo } else { 0.0 }
            })
            .fold(0.0, f64::max);
        let reason = if source == Source::None {
            "no copy-number window or too few genes near it".to_string()
        } else if n_clones < 3 {
            format!(
                "too few counts: {n_clones} clones expect {} or more",
                params.min_count
            )
        } else if let Err(why) = scaled {
            why.to_string()
        } else if spread < params.min_spread {
            format!("copy number hardly varies: log ratio by {spread:.3}")
        } else {
            String::new()
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
            n_clones,
            spread: if scaled.is_ok() { spread } else { f64::NAN },
            source,
            class: Class::Untested,
            reason,
        };
        Self {
            x: p.x,
            counts,
            included,
            gene,
        }
    }

    fn fit(&self, design: &Design<'_>, model: &Model) -> Option<Response> {
        if !self.gene.reason.is_empty() {
            return None;
        }
        let gene = Gene {
            x: &self.x,
            counts: &self.counts,
            included: &self.included,
        };
        fit(gene, design, model)
    }
}

/// Dispersion of the initial fits, from which the common one is estimated.
const FIRST_DISPERSION: f64 = 0.04;

/// Fits of all genes under one model.
struct Fitted {
    candidates: Vec<Candidate>,
    /// Fit of each candidate.
    responses: Vec<Option<Response>>,
    model: Model,
}

impl Fitted {
    /// Estimate the dispersion from fits with fixed levels, then the variance of the levels, then fit
    /// the slopes.
    fn new(candidates: Vec<Candidate>, design: &Design<'_>) -> Self {
        let all = |model: &Model| -> Vec<Option<Response>> {
            candidates
                .par_iter()
                .map(|c| c.fit(design, model))
                .collect()
        };
        let first = all(&Model::fixed(FIRST_DISPERSION));
        let told: Vec<(&Response, &[f64])> = first
            .iter()
            .zip(&candidates)
            .filter_map(|(r, c)| Some((r.as_ref()?, c.counts.as_slice())))
            .collect();
        let mut model = Model::fixed(common_dispersion(&told));
        let mut responses = all(&model);
        if !design.tumour.is_empty() {
            let levels = responses
                .iter()
                .flatten()
                .flat_map(|r| r.levels.iter().flatten().copied());
            model.level_variance = excess_variance(levels, 0.0).max(LEAST_VARIANCE);
            responses = all(&model);
        }
        Self {
            candidates,
            responses,
            model,
        }
    }

    /// Moderate the variances over genes, test, adjust and classify; also returns the standard
    /// deviation of true slopes.
    fn tell(&self, design: &Design<'_>, params: &DosageParams) -> (Vec<GeneDosage>, f64) {
        let told: Vec<&Response> = self.responses.iter().flatten().collect();
        let prior = VariancePrior::fit(
            &told.iter().map(|r| r.residual_variance).collect::<Vec<_>>(),
            &told.iter().map(|r| r.df).collect::<Vec<_>>(),
        );
        let moderated = |r: &Response| prior.moderate(r.residual_variance, r.df);
        let slope_variance =
            excess_variance(told.iter().map(|r| (r.slope, moderated(r).0 / r.sxx)), 1.0)
                .max(LEAST_VARIANCE);
        let mut genes: Vec<GeneDosage> = self
            .candidates
            .par_iter()
            .zip(&self.responses)
            .map(|(candidate, response)| {
                let mut gene = candidate.gene.clone();
                let Some(response) = response else {
                    if gene.reason.is_empty() {
                        gene.reason = "too few clones for the number of strata".to_string();
                    }
                    return gene;
                };
                let (variance, df) = moderated(response);
                let se = (variance / response.sxx).sqrt();
                gene.slope = response.slope;
                gene.se = se;
                gene.df = df;
                let half = t_quantile(0.05, df) * se;
                gene.interval = (gene.slope - half, gene.slope + half);
                let drawn = Model {
                    // In units of the gene's own variance.
                    prior: (1.0, slope_variance / variance),
                    ..self.model
                };
                gene.shrunken = candidate.fit(design, &drawn).map_or(f64::NAN, |r| r.slope);
                if se > params.max_se {
                    gene.reason = format!("too uncertain: standard error of the slope {se:.2}");
                    return gene;
                }
                gene.zero.0 = two_sided_t(gene.slope / se, df);
                gene.one.0 = two_sided_t((gene.slope - 1.0) / se, df);
                gene
            })
            .collect();
        classify(&mut genes, params);
        (genes, slope_variance.sqrt())
    }
}

/// Smallest variance of levels and of slopes, so that shrinkage stays defined.
const LEAST_VARIANCE: f64 = 1e-6;

/// Adjust the p-values over tested genes and set the classes.
fn classify(genes: &mut [GeneDosage], params: &DosageParams) {
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
}
