//! Variances of the tumour levels: of the one that patients share, and of each patient's own.

use rayon::prelude::*;

use super::effects::Sums;
use super::{Design, LevelVariances, Response};
use clcc_numerics::math;

/// Ratio between neighbouring variances of the coarsest search.
const COARSE: f64 = 4.0;
/// Smallest and largest variance; the smallest is as good as none.
const RANGE: (f64, f64) = (1e-6, 4.0);

/// Estimate both variances by restricted maximum likelihood over all genes, at the weights of their
/// fits: each gene has its own slope and strata (fixed effects), its own shared levels and its own
/// level in each stratum (random effects), and its own residual variance, drawn from a scaled inverse
/// chi-squared distribution of mean near 1 with `prior_df` degrees of freedom. The latter keeps a few
/// genes of unusual spread from setting the variances of all (the marginal is a multivariate t; Lange,
/// Little and Taylor 1989).
pub(in crate::dosage) fn level_variances(
    fits: &[&Response],
    design: &Design<'_>,
    prior_df: f64,
) -> LevelVariances {
    let likelihood = |shared: f64, own: f64| -> f64 {
        let parts: Vec<f64> = fits
            .par_chunks(256)
            .map(|genes| {
                genes
                    .iter()
                    .map(|g| restricted(g, design, shared, own, prior_df))
                    .sum()
            })
            .collect();
        parts.iter().sum()
    };
    let mut best = (f64::NEG_INFINITY, RANGE.0, RANGE.0);
    let mut consider = |shared: f64, own: f64| {
        let (shared, own) = (shared.clamp(RANGE.0, RANGE.1), own.clamp(RANGE.0, RANGE.1));
        let value = likelihood(shared, own);
        if value > best.0 {
            best = (value, shared, own);
        }
        best
    };
    let mut coarse = vec![RANGE.0];
    while let Some(v) = coarse.last().map(|v| v * COARSE).filter(|v| *v < RANGE.1) {
        coarse.push(v);
    }
    for &shared in &coarse {
        for &own in &coarse {
            consider(shared, own);
        }
    }
    // Ever finer crosses around the best point; the likelihood has one maximum in practice.
    let mut ratio = COARSE.sqrt();
    while ratio > 1.01 {
        let (before, shared, own) = consider(RANGE.0, RANGE.0);
        for (a, b) in [
            (ratio, 1.0),
            (1.0 / ratio, 1.0),
            (1.0, ratio),
            (1.0, 1.0 / ratio),
        ] {
            consider(shared * a, own * b);
        }
        let (after, ..) = consider(shared * ratio, own / ratio);
        if after <= before {
            ratio = ratio.sqrt();
        }
    }
    LevelVariances {
        shared: best.1,
        own: best.2,
    }
}

/// Restricted log likelihood of a gene up to a constant.
fn restricted(gene: &Response, design: &Design<'_>, shared: f64, own: f64, prior_df: f64) -> f64 {
    let mut slope = Sums::default();
    let mut levels = vec![(0.0, 0.0, 0.0); design.n_levels];
    let mut log_determinant = 0.0;
    for (s, sums) in &gene.sums {
        log_determinant += math::ln_1p(own * sums.zz);
        let m = sums.without_own_level(own);
        slope.xx += m.xx;
        slope.xy += m.xy;
        slope.yy += m.yy;
        if let Some(k) = design.level_of[*s] {
            levels[k].0 += m.zz;
            levels[k].1 += m.xz;
            levels[k].2 += m.zy;
        }
    }
    for (zz, xz, zy) in levels {
        log_determinant += math::ln_1p(shared * zz);
        let f = shared / (1.0 + shared * zz);
        slope.xx -= xz * xz * f;
        slope.xy -= xz * zy * f;
        slope.yy -= zy * zy * f;
    }
    if slope.xx <= 0.0 {
        return 0.0;
    }
    log_determinant += math::ln(slope.xx);
    let form = (slope.yy - slope.xy * slope.xy / slope.xx).max(0.0);
    -0.5 * (log_determinant + (prior_df + gene.contrasts) * math::ln_1p(form / prior_df))
}
