//! How much of a change of copy number reaches a gene's expression.
//!
//! A negative binomial regression of the clones' counts ([`super::response`]): `x` is the clone's local log
//! copy ratio with the gene's own windows left out, each stratum has a level, and what clones of one copy
//! number differ by beside counting noise is one dispersion, at which half of the genes have more than the
//! median of their chi-squared distribution. Pearson's statistic of each gene over its degrees of freedom is
//! its variance beside that, moderated over genes (Smyth 2004; the quasi-likelihood of Lund et al. 2012).
//! Counts are offset by library size and a size factor: the median over genes of the clone's log rate less
//! its stratum's mean.
//!
//! **Strata.** Only strata with a malignant clone (a twentieth of the genes altered) take part: the others'
//! clones differ by what samples differ by, and not by copy number.
//!
//! **Scale.** `X_cnv` is a smoothed, denoised difference of log1p expression: a gain of one copy of
//! two shows as a small part of ln(1.5). So x is `X_cnv` times the one slope that all tested genes
//! share: slope 1 is the response of the typical gene, taken as full dosage. Where genes respond
//! with 0.85 of their dosage on average, 1 here is 0.85 of the true copy ratio.
//!
//! **Tumour level.** Tumours express genes more or less for other reasons than copies. Where three
//! or more patients have malignant clones, each gene has one difference between malignant and other clones of
//! a cell type, shared by the patients (`tumour_level`): a random effect, whose variance is what the genes'
//! differences as fixed effects have beyond their errors. Where tumours are nothing like normal cells, the
//! slope then rests on copy number that differs between patients and between clones of a patient; where they
//! are, normal cells speak as well. The scale is found before.
//!
//! **The gene itself out.** x is the mean of `y` over the nearest 100 genes of the gene's arm, 50 on
//! each side, itself left out (`copy_source` = `neighbours`): a clone's counts say more of its copy
//! number than the mean of its cells' windows, which inference has smoothed and denoised. Where an arm
//! has too few genes, or with `copy_number: windows`, x is the mean of the nearest windows left and right
//! that do not contain the gene ([`super::GeneWindows`]). Each source has its own scale.
//!
//! **Ranking.** Slopes of genes with few counts are wide. `shrunken` is the slope where it is drawn to 1 by a
//! normal prior (maximum a posteriori), whose variance is that of the slopes beyond their errors.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::GeneWindows;
use super::clones::ClonePseudobulk;
use super::copy::{Along, from_windows, is_malignant};
use super::params::{CopyNumber, DosageParams, TumourLevel};
use super::rates::{Rates, neighbours};
use super::response::{Design, Gene, Model, Response, common_dispersion, excess_variance, fit};
use clcc_numerics::math;
use clcc_numerics::stats::{
    Line, PValue, VariancePrior, benjamini_hochberg, t_quantile, two_sided_t, weighted_line,
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
    pub n_clones: usize,
    /// Largest difference of log copy ratio between clones of one stratum.
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
    /// Standard deviation of true slopes around 1.
    pub slope_sd: f64,
    /// Standard deviation of the tumour level over genes; `None` where malignant clones have none.
    pub tumour_level_sd: Option<f64>,
    /// Variance between clones of one copy number over the squared mean, beside counting noise.
    pub dispersion: f64,
    /// Clones of the strata with a malignant one: those that the slopes rest on. 0: nothing is tested.
    pub n_clones: usize,
}

/// Patients with malignant clones from which their level can be told from their copy number.
const PATIENTS_FOR_LEVEL: usize = 3;

/// The clones of the strata that have a malignant one, strata numbered anew, and which are malignant.
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

/// Per cell type, an indicator of its malignant clones; none where no level is to be taken out.
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

/// Natural-log copy ratio per unit of `X_cnv` (NaN where the genes do not follow it): the slope that all
/// genes share on the windows beside them. And its t value.
pub(crate) fn window_scale(
    rates: &Rates,
    clones: &[ClonePseudobulk],
    n_strata: usize,
    map: &GeneWindows,
) -> (f64, f64) {
    let strata: Vec<usize> = clones.iter().map(|u| u.stratum).collect();
    let points: Vec<Points> = (0..map.len())
        .into_par_iter()
        .filter_map(|g| Some(Points::new(rates, g, beside(g, clones, map)?)))
        .collect();
    let (slope, t) = shared_slope(points.iter(), &strata, n_strata);
    (if usable(slope, t) { slope } else { f64::NAN }, t)
}

/// Whether a shared slope is a scale: one that cannot be told from 0 is none.
fn usable(slope: f64, t: f64) -> bool {
    slope > 0.0 && t > 3.0
}

/// The windows beside a gene in each clone; `None` where one has none.
fn beside(g: usize, clones: &[ClonePseudobulk], map: &GeneWindows) -> Option<Vec<f64>> {
    let x: Vec<f64> = clones
        .iter()
        .map(|u| map.without_gene(g, &u.profile))
        .collect();
    x.iter().all(|v| v.is_finite()).then_some(x)
}

/// The local copy number of a gene in each clone, from either source, before any scale.
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
        Source::Windows => beside(g, clones, map),
        Source::Neighbours => neighbours(g, centred, information, arm),
        Source::None => None,
    }
}

/// Fits every gene. The scale is that of [`window_scale`].
pub(super) fn slopes(
    clones: &[ClonePseudobulk],
    n_strata: usize,
    along: Along<'_>,
    params: &DosageParams,
) -> Slopes {
    let Along { arm, map, scale } = along;
    let malignant: Vec<bool> = clones
        .iter()
        .map(|u| u.id.cancer && is_malignant(&from_windows(u, along), params.altered))
        .collect();
    let (chosen, n_chosen, flags) = informative(clones, &malignant);
    let levels = tumour_levels(&chosen, &flags, params);
    let n_informative = chosen.len();
    // Without a malignant clone nothing is tested; the reasons are those of all clones.
    let no_scale = match (scale.is_finite(), chosen.is_empty()) {
        (false, _) => "expression as a whole does not follow the inferred copy number",
        (true, true) => "no malignant clone: none has a twentieth of the genes altered",
        (true, false) => "",
    };
    let (clones, n_strata) = if chosen.is_empty() {
        (clones, n_strata)
    } else {
        (chosen.as_slice(), n_chosen)
    };
    let strata: Vec<usize> = clones.iter().map(|u| u.stratum).collect();
    let rates = Rates::new(clones, n_strata, params.min_count);
    let centred = rates.centred(&strata, n_strata);
    let order = match params.copy_number {
        CopyNumber::Neighbours => [Source::Neighbours, Source::Windows],
        CopyNumber::Windows => [Source::Windows, Source::Neighbours],
    };
    let from =
        |source: Source, g: usize| local(source, g, clones, map, &centred, &rates.information, arm);
    let mut points: Vec<(Points, Source)> = (0..map.len())
        .into_par_iter()
        .map(|g| {
            order
                .iter()
                .find_map(|&source| Some((Points::new(&rates, g, from(source, g)?), source)))
                .unwrap_or_else(|| {
                    let nothing = vec![0.0; clones.len()];
                    (Points::new(&rates, g, nothing), Source::None)
                })
        })
        .collect();
    let (near, near_t) = shared_slope(
        points
            .iter()
            .filter(|p| p.1 == Source::Neighbours)
            .map(|p| &p.0),
        &strata,
        n_strata,
    );
    let scale_of = |source: Source| match source {
        // Genes agree with their neighbours for other reasons as well; without copy number in the
        // windows they say nothing of it.
        _ if !no_scale.is_empty() => Err(no_scale),
        Source::Windows => Ok(scale),
        Source::Neighbours if usable(near, near_t) => Ok(near),
        _ => Err("expression as a whole does not follow the neighbours' copy number"),
    };
    for (p, source) in &mut points {
        let scale = scale_of(*source).unwrap_or(1.0);
        p.x.iter_mut().for_each(|x| *x *= scale);
    }
    let offset: Vec<f64> = clones
        .iter()
        .zip(&rates.size)
        .map(|(u, size)| math::ln(u.library) + size)
        .collect();
    let design = Design {
        offset: &offset,
        strata: &strata,
        n_strata,
        tumour: &levels,
    };
    let candidates: Vec<Candidate> = points
        .into_par_iter()
        .enumerate()
        .map(|(g, (p, source))| {
            let counts = clones.iter().map(|u| u.counts[g]).collect();
            let scaled = scale_of(source).map(|_| ());
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

/// A gene before its regression.
struct Candidate {
    x: Vec<f64>,
    counts: Vec<f64>,
    included: Vec<bool>,
    /// What is known of it; `reason` is empty where it can be fitted.
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

/// Dispersion of the first fits, from which the common one is found.
const FIRST_DISPERSION: f64 = 0.04;

/// All genes under one model.
struct Fitted {
    candidates: Vec<Candidate>,
    /// One per candidate.
    responses: Vec<Option<Response>>,
    model: Model,
}

impl Fitted {
    /// Finds the dispersion from fits with fixed levels, then the variance of the levels, then the slopes.
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

    /// Moderates the variances over genes, tests, adjusts and classes; with the standard deviation of true
    /// slopes.
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

/// Least variance of levels and of slopes, so that what is drawn to a mean stays defined.
const LEAST_VARIANCE: f64 = 1e-6;

/// Adjusts the p-values over tested genes and sets the classes.
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
