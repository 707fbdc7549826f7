//! Fits of all genes under one model, and what follows from all of them for each: moderated errors,
//! posteriors, classes.

use rayon::prelude::*;

use super::levels::Arrangement;
use super::params::DosageParams;
use super::patients::{PatientEstimates, PatientSlope, heterogeneity_p, posteriors};
use super::posterior::{Estimate, SlopePrior, posterior_q};
use super::response::{
    Design, Gene, Model, Response, common_dispersion, excess_variance, fit, level_variances,
};
use super::slope::{Class, ClonePoint, GeneDosage, Heterogeneity, Points, Slopes, Source};
use clcc_numerics::stats::{PValue, VariancePrior, benjamini_hochberg, t_quantile, two_sided_t};

/// Dispersion of the initial fits, from which the common one is estimated.
const FIRST_DISPERSION: f64 = 0.04;
/// Rounds of estimating the levels' variances and the dispersion in turn.
const ROUNDS: usize = 3;
/// Degrees of freedom of the genes' residual variances in the first round.
const FIRST_PRIOR_DF: f64 = 20.0;
/// Most degrees of freedom of that prior: variances that seem equal are known no better than this, since
/// the levels' distribution over genes is not known to be normal.
const MOST_PRIOR_DF: f64 = 50.0;
/// Smallest variance of slopes, so that shrinkage stays defined.
const LEAST_VARIANCE: f64 = 1e-6;
/// Largest spread of log copy ratio that can be one of copy number: fourfold.
const LARGEST_SPREAD: f64 = 2.0 * std::f64::consts::LN_2;

/// A gene before its regression.
pub(super) struct Candidate {
    x: Vec<f64>,
    counts: Vec<f64>,
    included: Vec<bool>,
    /// Result so far; `reason` is empty where the gene can be fitted.
    gene: GeneDosage,
}

impl Candidate {
    /// A candidate with `x` in log copy ratios where `scaled` is fine.
    pub(super) fn new(
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
        let reason = if source == Source::Excluded {
            "excluded: a clonal locus, or in `exclude_genes`".to_string()
        } else if source == Source::None {
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
        } else if spread > LARGEST_SPREAD {
            format!(
                "the neighbours' expression varies more than fourfold (log ratio by {spread:.2}): that is no copy number"
            )
        } else {
            String::new()
        };
        let mut gene = GeneDosage::untested(source, reason);
        gene.n_clones = n_clones;
        if scaled.is_ok() {
            gene.spread = spread;
        }
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

/// Fits of all genes under one model.
pub(super) struct Fitted<'a> {
    arrangement: &'a Arrangement,
    offset: &'a [f64],
    /// Whether each clone is of normal cells.
    normal: &'a [bool],
    candidates: Vec<Candidate>,
    /// Fit of each candidate.
    responses: Vec<Option<Response>>,
    model: Model,
    prior: VariancePrior,
}

impl<'a> Fitted<'a> {
    /// Estimate the dispersion from fits with fixed levels, then the variances of the levels and the
    /// dispersion in turn, and fit the slopes.
    pub(super) fn new(
        candidates: Vec<Candidate>,
        arrangement: &'a Arrangement,
        offset: &'a [f64],
        normal: &'a [bool],
    ) -> Self {
        let design = arrangement.one_slope(offset);
        let all = |model: &Model| -> Vec<Option<Response>> {
            candidates
                .par_iter()
                .map(|c| c.fit(&design, model))
                .collect()
        };
        let dispersion = |responses: &[Option<Response>]| {
            let told: Vec<(&Response, &[f64])> = responses
                .iter()
                .zip(&candidates)
                .filter_map(|(r, c)| Some((r.as_ref()?, c.counts.as_slice())))
                .collect();
            common_dispersion(&told)
        };
        let mut model = Model::fixed(dispersion(&all(&Model::fixed(FIRST_DISPERSION))));
        let mut responses = all(&model);
        let mut prior_df = FIRST_PRIOR_DF;
        let rounds = if design.n_levels == 0 { 0 } else { ROUNDS };
        for _ in 0..rounds {
            let told: Vec<&Response> = responses.iter().flatten().collect();
            let levels = level_variances(&told, &design, prior_df);
            model = Model::random(model.dispersion, levels);
            model.dispersion = dispersion(&all(&model));
            responses = all(&model);
            prior_df = variance_prior(&responses).df.max(4.0);
        }
        let prior = variance_prior(&responses);
        Self {
            arrangement,
            offset,
            normal,
            candidates,
            responses,
            model,
            prior,
        }
    }

    fn moderated(&self, r: &Response) -> (f64, f64) {
        if r.variance_df > 0.0 {
            self.prior.moderate(r.variance, r.variance_df)
        } else {
            (self.prior.variance, self.prior.df)
        }
    }

    /// Moderate the variances over genes, test, adjust and classify. The clones are the caller's to name.
    pub(super) fn tell(&self, params: &DosageParams) -> Slopes {
        let told = || self.responses.iter().flatten();
        let slope_variance =
            excess_variance(told().map(|r| (r.slope, self.moderated(r).0 / r.sxx)), 1.0)
                .max(LEAST_VARIANCE);
        let mut genes: Vec<GeneDosage> = self
            .candidates
            .par_iter()
            .zip(&self.responses)
            .map(|(candidate, response)| self.gene(candidate, response, slope_variance, params))
            .collect();
        adjust(&mut genes);
        let prior = read_together(&mut genes, params);
        self.patients(&mut genes, prior.as_ref(), params);
        classify(&mut genes, params);
        let has_levels = !self.arrangement.types.is_empty();
        Slopes {
            genes,
            slope_sd: slope_variance.sqrt(),
            prior,
            tumour_level_sd: has_levels.then(|| self.model.level_variance.sqrt()),
            patient_level_sd: has_levels.then(|| self.model.patient_variance.sqrt()),
            dispersion: self.model.dispersion,
            n_clones: 0,
            used: Vec::new(),
            malignant: Vec::new(),
            offset: Vec::new(),
            level_types: self.arrangement.types.clone(),
            patients: self.arrangement.patients.clone(),
        }
    }

    /// Slope, error and tests of one gene.
    fn gene(
        &self,
        candidate: &Candidate,
        response: &Option<Response>,
        slope_variance: f64,
        params: &DosageParams,
    ) -> GeneDosage {
        let mut gene = candidate.gene.clone();
        let Some(response) = response else {
            if gene.reason.is_empty() {
                gene.reason = "too few clones for the number of strata".to_string();
            }
            return gene;
        };
        let (variance, df) = self.moderated(response);
        let se = (variance / response.sxx).sqrt();
        gene.slope = response.slope;
        gene.se = se;
        gene.df = df;
        let half = t_quantile(0.05, df) * se;
        gene.interval = (gene.slope - half, gene.slope + half);
        gene.levels = response
            .levels
            .iter()
            .map(|l| l.unwrap_or(f64::NAN))
            .collect();
        gene.points = self.points(candidate, response);
        let drawn = Model {
            // In units of the gene's own variance.
            prior: (1.0, slope_variance / variance),
            ..self.model
        };
        let design = self.arrangement.one_slope(self.offset);
        gene.shrunken = candidate.fit(&design, &drawn).map_or(f64::NAN, |r| r.slope);
        if se > params.max_se {
            gene.reason = format!("too uncertain: standard error of the slope {se:.2}");
            return gene;
        }
        gene.zero.0 = two_sided_t(gene.slope / se, df);
        gene.one.0 = two_sided_t((gene.slope - 1.0) / se, df);
        gene
    }

    /// Copy ratio and expression of every clone relative to the normal cells of its stratum (to the
    /// stratum's mean, where it has none).
    fn points(&self, candidate: &Candidate, response: &Response) -> Vec<Option<ClonePoint>> {
        let strata = &self.arrangement.strata;
        let mut origin = vec![(0.0, 0.0); self.arrangement.n_strata];
        for (u, point) in response.points.iter().enumerate() {
            if let Some(p) = point.filter(|_| self.normal[u]) {
                let o = &mut origin[strata[u]];
                o.0 += p.weight;
                o.1 += p.weight * candidate.x[u];
            }
        }
        response
            .points
            .iter()
            .enumerate()
            .map(|(u, point)| {
                let (weight, sum) = origin[strata[u]];
                let x = if weight > 0.0 { sum / weight } else { 0.0 };
                point.map(|p| ClonePoint {
                    log_copy_ratio: candidate.x[u] - x,
                    log_ratio: p.log_ratio - response.slope * x,
                    se: 1.0 / p.weight.sqrt(),
                })
            })
            .collect()
    }

    /// Slopes of the patients, their heterogeneity and posteriors, where there are two patients or more.
    fn patients(
        &self,
        genes: &mut [GeneDosage],
        prior: Option<&SlopePrior>,
        params: &DosageParams,
    ) {
        if self.arrangement.patients.len() < 2 {
            return;
        }
        let design = self.arrangement.slope_per_patient(self.offset);
        let fits: Vec<Option<Response>> = self
            .candidates
            .par_iter()
            .zip(&self.responses)
            .map(|(c, r)| r.as_ref().and_then(|_| c.fit(&design, &self.model)))
            .collect();
        for (gene, fit) in genes.iter_mut().zip(&fits) {
            let Some(fit) = fit else { continue };
            let (variance, df) = self.moderated(fit);
            gene.patients = fit
                .slopes
                .iter()
                .map(|(slope, own)| PatientSlope {
                    slope: *slope,
                    se: (own * variance).sqrt(),
                    below: f64::NAN,
                    q: f64::NAN,
                })
                .collect();
            let (q, q_df) = fit.q;
            gene.heterogeneity = Heterogeneity {
                q: q / variance,
                df: q_df,
                p: heterogeneity_p(q / variance, q_df, df),
                p_adj: f64::NAN,
                variance_df: df,
            };
        }
        let tested = tested(genes);
        let p: Vec<f64> = tested.iter().map(|&g| genes[g].heterogeneity.p).collect();
        for (&g, p) in tested.iter().zip(benjamini_hochberg(&p)) {
            genes[g].heterogeneity.p_adj = p;
        }
        if let Some(prior) = prior {
            name_patients(genes, &tested, prior, params);
        }
    }
}

/// Posteriors of the patients' slopes of the tested genes, and their cumulative error over the slopes
/// that are as certain as `max_se` asks.
fn name_patients(
    genes: &mut [GeneDosage],
    tested: &[usize],
    prior: &SlopePrior,
    params: &DosageParams,
) {
    let with: Vec<usize> = tested
        .iter()
        .copied()
        .filter(|&g| !genes[g].patients.is_empty())
        .collect();
    let estimates: Vec<PatientEstimates> = with
        .iter()
        .map(|&g| PatientEstimates {
            slopes: genes[g].patients.iter().map(|p| (p.slope, p.se)).collect(),
            df: genes[g].heterogeneity.variance_df,
        })
        .collect();
    let (below, _) = posteriors(&estimates, prior, params.insensitive_below);
    let certain = |g: usize, p: usize| genes[g].patients[p].se <= params.max_se;
    let claims: Vec<(usize, usize, f64)> = with
        .iter()
        .zip(&below)
        .flat_map(|(&g, below)| below.iter().enumerate().map(move |(p, b)| (g, p, *b)))
        .filter(|&(g, p, _)| certain(g, p))
        .collect();
    let q = posterior_q(&claims.iter().map(|c| c.2).collect::<Vec<_>>());
    for (&g, below) in with.iter().zip(&below) {
        for (patient, below) in genes[g].patients.iter_mut().zip(below) {
            patient.below = *below;
        }
    }
    for ((g, p, _), q) in claims.into_iter().zip(q) {
        genes[g].patients[p].q = q;
    }
}

/// Prior of the residual variances, of limited weight.
fn variance_prior(responses: &[Option<Response>]) -> VariancePrior {
    let told = || responses.iter().flatten();
    let prior = VariancePrior::fit(
        &told().map(|r| r.variance).collect::<Vec<_>>(),
        &told().map(|r| r.variance_df).collect::<Vec<_>>(),
    );
    VariancePrior {
        df: prior.df.min(MOST_PRIOR_DF),
        ..prior
    }
}

fn tested(genes: &[GeneDosage]) -> Vec<usize> {
    (0..genes.len())
        .filter(|&g| genes[g].reason.is_empty())
        .collect()
}

/// Adjust the p-values over tested genes.
fn adjust(genes: &mut [GeneDosage]) {
    let tested = tested(genes);
    let adjusted = |genes: &[GeneDosage], f: fn(&GeneDosage) -> PValue| {
        benjamini_hochberg(&tested.iter().map(|&g| f(&genes[g]).p).collect::<Vec<_>>())
    };
    let (zero, one) = (adjusted(genes, |g| g.zero.0), adjusted(genes, |g| g.one.0));
    for (at, &g) in tested.iter().enumerate() {
        (genes[g].zero.1, genes[g].one.1) = (zero[at], one[at]);
    }
}

/// Fit the distribution of slopes to the tested genes; the posterior of every gene with a slope, and the
/// cumulative error of claims over tested ones. `None`, and no posterior, where too few are tested.
fn read_together(genes: &mut [GeneDosage], params: &DosageParams) -> Option<SlopePrior> {
    let estimate = |g: &GeneDosage| Estimate {
        slope: g.slope,
        se: g.se,
        df: g.df,
    };
    let tested = tested(genes);
    let prior = SlopePrior::fit(
        &tested
            .iter()
            .map(|&g| estimate(&genes[g]))
            .collect::<Vec<_>>(),
    )?;
    genes
        .par_iter_mut()
        .filter(|g| g.slope.is_finite() && g.se > 0.0 && g.se.is_finite())
        .for_each(|g| g.posterior = Some(prior.posterior(estimate(g), params.insensitive_below)));
    let of = |genes: &[GeneDosage], f: fn(&super::posterior::SlopePosterior) -> f64| {
        let p: Vec<f64> = tested
            .iter()
            .map(|&g| genes[g].posterior.as_ref().map_or(f64::NAN, f))
            .collect();
        posterior_q(&p)
    };
    let (below, negative) = (of(genes, |p| p.below), of(genes, |p| p.negative));
    for (at, &g) in tested.iter().enumerate() {
        (genes[g].q, genes[g].q_negative) = (below[at], negative[at]);
    }
    Some(prior)
}

/// Set the classes.
fn classify(genes: &mut [GeneDosage], params: &DosageParams) {
    for gene in genes.iter_mut().filter(|g| g.reason.is_empty()) {
        gene.class = if gene.q_negative < params.fdr {
            Class::OverCompensated
        } else if gene.q < params.fdr {
            Class::Insensitive
        } else if gene.zero.1 < params.fdr && gene.slope > 0.0 {
            Class::Sensitive
        } else {
            Class::Unresolved
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_beyond_fourfold_is_refused_and_shown() {
        let design = Design {
            offset: &[0.0; 4],
            strata: &[0, 0, 1, 1],
            n_strata: 2,
            tumour: &[0.0; 4],
            level_of: &[None, None],
            n_levels: 0,
            slope_of: &[0, 0],
            n_slopes: 1,
        };
        let of = |spread: f64| {
            let points = Points {
                x: vec![0.0, spread, 0.0, 0.3],
                y: vec![0.0; 4],
                w: vec![1.0; 4],
            };
            let params = DosageParams::default();
            let counts = vec![10.0; 4];
            Candidate::new(points, counts, Source::Neighbours, Ok(()), &design, &params).gene
        };
        assert!(of(1.38).reason.is_empty());
        let refused = of(1.39);
        assert!(
            refused.reason.contains("no copy number"),
            "{}",
            refused.reason
        );
        assert!((refused.spread - 1.39).abs() < 1e-12);
        assert!(of(-0.05).reason.is_empty() && of(-1.5).reason.contains("no copy number"));
    }
}
