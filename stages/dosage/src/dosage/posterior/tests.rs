//! The posterior against integrals over a grid, and what it claims against simulated slopes.
//!
//! `CLCC_ROUNDS=200 cargo test -p clcc-dosage --lib posterior -- --nocapture` for more data sets.

use super::*;
use clcc_numerics::math::ln_gamma;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::mean;

fn t_density(t: f64, df: f64) -> f64 {
    let a = 0.5 * df;
    (ln_gamma(a + 0.5)
        - ln_gamma(a)
        - 0.5 * (df * std::f64::consts::PI).ln()
        - (a + 0.5) * (1.0 + t * t / df).ln())
    .exp()
}

fn normal_density(x: f64, mean: f64, sd: f64) -> f64 {
    (-0.5 * ((x - mean) / sd).powi(2)).exp() / (sd * std::f64::consts::TAU.sqrt())
}

#[test]
fn scales_make_the_t_distribution() {
    for df in [2.0, 3.0, 4.5, 10.0, 60.0, 1000.0] {
        let scales = Scales::new(df);
        for t in [0.0, 0.7, 2.0, 5.0, 9.0] {
            let sum: f64 = scales
                .iter()
                .map(|(s, w)| w * normal_density(t, 0.0, s))
                .sum();
            let want = t_density(t, df);
            assert!((sum / want - 1.0).abs() < 2e-3, "{df} {t}: {sum} {want}");
        }
    }
}

#[test]
fn equals_the_integral_over_a_grid() {
    let prior = SlopePrior {
        escape: 0.07,
        mean: 0.97,
        sd: 0.24,
        wild: 0.06,
    };
    for (slope, se, df) in [
        (0.1, 0.2, 5.0),
        (0.6, 0.3, 12.0),
        (-0.8, 0.3, 4.0),
        (1.4, 0.1, f64::INFINITY),
        (0.45, 0.5, 30.0),
    ] {
        let step = 1e-3;
        let (mut all, mut sum, mut below, mut negative, mut escape) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for i in -6000..8000 {
            let at = (f64::from(i) + 0.5) * step;
            let z = (slope - at) / se;
            let density = |z: f64| {
                if df.is_finite() {
                    t_density(z, df)
                } else {
                    normal_density(z, 0.0, 1.0)
                }
            };
            let likelihood =
                (1.0 - prior.wild) * density(z) + prior.wild * density(z / WILD) / WILD;
            let zero = prior.escape * normal_density(at, 0.0, ESCAPE_SD) * likelihood;
            let p =
                zero + (1.0 - prior.escape) * normal_density(at, prior.mean, prior.sd) * likelihood;
            all += p;
            sum += p * at;
            escape += zero;
            if at < 0.5 {
                below += p;
            }
            if at < 0.0 {
                negative += p;
            }
        }
        let got = prior.posterior(Estimate { slope, se, df }, 0.5);
        for (got, want) in [
            (got.mean, sum / all),
            (got.below, below / all),
            (got.negative, negative / all),
            (got.escape, escape / all),
            (got.false_sign, (negative / all).min(1.0 - negative / all)),
        ] {
            assert!((got - want).abs() < 1e-3, "{slope} {se} {df}: {got} {want}");
        }
    }
}

#[test]
fn q_is_the_mean_error_of_what_is_called_with_it() {
    let q = posterior_q(&[0.9, f64::NAN, 1.0, 0.5, 0.9]);
    let want = [0.2 / 3.0, f64::NAN, 0.0, 0.7 / 4.0, 0.2 / 3.0];
    for (q, want) in q.iter().zip(want) {
        assert!(
            (q.is_nan() && want.is_nan()) || (q - want).abs() < 1e-12,
            "{q} {want}"
        );
    }
    assert!(posterior_q(&[]).is_empty());
}

/// How true slopes are distributed.
#[derive(Clone, Copy)]
struct World {
    genes: usize,
    /// Mean and standard deviation.
    slopes: (f64, f64),
    /// Share whose slope is 0.
    escape: f64,
    /// Share whose slope is 0.7 of what it would be (cells of which 30 % escape).
    part: f64,
    /// Share whose estimate errs by four times its standard error.
    wild: f64,
    df: f64,
}

/// Calls at q < .05, the false ones, and the true slopes below .5.
fn claims(world: World, seed: u64) -> (usize, usize, usize) {
    let mut rng = Rng::new(seed, "posterior test", &[]);
    let (mut truth, mut told) = (Vec::new(), Vec::new());
    for _ in 0..world.genes {
        let u = rng.uniform();
        let drawn = world.slopes.0 + world.slopes.1 * rng.normal();
        let slope = if u < world.escape {
            0.0
        } else if u < world.escape + world.part {
            0.7 * drawn
        } else {
            drawn
        };
        let se = (0.28 * (0.35 * rng.normal()).exp()).clamp(0.08, 0.5);
        // The estimated standard error, moderated to df degrees of freedom.
        let estimated = se * (2.0 * rng.gamma(0.5 * world.df) / world.df).sqrt();
        let error = if rng.uniform() < world.wild {
            4.0 * se
        } else {
            se
        };
        truth.push(slope);
        told.push(Estimate {
            slope: slope + error * rng.normal(),
            se: estimated,
            df: world.df,
        });
    }
    let prior = SlopePrior::fit(&told).unwrap();
    let below: Vec<f64> = told
        .iter()
        .map(|e| prior.posterior(*e, 0.5).below)
        .collect();
    let called: Vec<usize> = posterior_q(&below)
        .iter()
        .enumerate()
        .filter(|(_, q)| **q < 0.05)
        .map(|(g, _)| g)
        .collect();
    let wrong = called.iter().filter(|&&g| truth[g] >= 0.5).count();
    (
        called.len(),
        wrong,
        truth.iter().filter(|s| **s < 0.5).count(),
    )
}

const USUAL: World = World {
    genes: 1500,
    slopes: (1.0, 0.235),
    escape: 0.05,
    part: 0.0,
    wild: 0.0,
    df: 20.0,
};

fn rounds() -> u64 {
    std::env::var("CLCC_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(20)
}

/// Mean share of false calls over data sets, its standard error, and calls per data set.
#[allow(clippy::print_stderr, reason = "figures for the documentation")]
fn false_share(name: &str, world: World) -> (f64, f64, f64, usize) {
    let all: Vec<(usize, usize, usize)> = (0..rounds()).map(|s| claims(world, s)).collect();
    let shares: Vec<f64> = all
        .iter()
        .map(|(n, wrong, _)| *wrong as f64 / (*n).max(1) as f64)
        .collect();
    let share = mean(&shares);
    let se = (clcc_numerics::stats::variance(&shares, 1) / shares.len() as f64).sqrt();
    let n = all.iter().map(|a| a.0).sum::<usize>() as f64 / all.len() as f64;
    let found: usize = all.iter().map(|a| a.0 - a.1).sum();
    let planted: usize = all.iter().map(|a| a.2).sum();
    let power = found as f64 / planted.max(1) as f64;
    let most = all.iter().map(|a| a.1).max().unwrap_or(0);
    eprintln!(
        "{name}: false {share:.3} +- {se:.3}, {n:.1} called, power {power:.3}, at most {most} false"
    );
    (share, se, n, most)
}

#[test]
fn the_share_of_false_claims_is_the_nominal_one() {
    for (name, world) in [
        ("escape among varying slopes", USUAL),
        (
            "and partial escape",
            World {
                part: 0.095,
                ..USUAL
            },
        ),
        (
            "few genes",
            World {
                genes: 300,
                ..USUAL
            },
        ),
        ("few degrees of freedom", World { df: 6.0, ..USUAL }),
        (
            "wild estimates",
            World {
                wild: 0.02,
                ..USUAL
            },
        ),
        (
            "equal slopes",
            World {
                slopes: (1.0, 0.0),
                ..USUAL
            },
        ),
    ] {
        let (share, se, n, _) = false_share(name, world);
        assert!(share < 0.05 + 2.0 * se + 0.005, "{name}: {share} +- {se}");
        assert!(n > 3.0, "{name}: {n} called");
    }
}

#[test]
fn where_nothing_escapes_hardly_anything_is_claimed() {
    for (name, slopes) in [("varying", (0.85, 0.2)), ("equal", (1.0, 0.0))] {
        let world = World {
            slopes,
            escape: 0.0,
            ..USUAL
        };
        let (_, _, n, most) = false_share(name, world);
        assert!(n < 2.5 && most <= 2, "{name}: {n} called, {most} false");
    }
}

/// An estimate far below 0 is nearer to escape than to the genome, but like neither.
#[test]
fn an_estimate_that_is_like_nothing_is_no_escape() {
    let at = |slope: f64, wild: f64| {
        let prior = SlopePrior {
            escape: 0.05,
            mean: 1.0,
            sd: 0.2,
            wild,
        };
        let e = Estimate {
            slope,
            se: 0.35,
            df: 60.0,
        };
        prior.posterior(e, 0.5).below
    };
    assert!(
        at(-1.3, 0.0) > 0.99 && at(-1.3, 0.01) < 0.5,
        "{}",
        at(-1.3, 0.01)
    );
    assert!(at(-0.1, 0.01) > at(-0.1, 0.0) - 0.1, "{}", at(-0.1, 0.01));
}

#[test]
fn few_genes_give_no_prior() {
    let one = Estimate {
        slope: 0.0,
        se: 0.1,
        df: 20.0,
    };
    assert_eq!(SlopePrior::fit(&vec![one; LEAST_GENES - 1]), None);
    assert!(SlopePrior::fit(&vec![one; LEAST_GENES]).is_some());
}

/// More evidence for escape, never less, as the estimate falls towards 0 (with normal errors).
#[test]
fn a_lower_slope_is_more_probably_below() {
    let prior = SlopePrior {
        escape: 0.05,
        mean: 1.0,
        sd: 0.2,
        wild: 0.0,
    };
    let at = |slope: f64| {
        let e = Estimate {
            slope,
            se: 0.25,
            df: f64::INFINITY,
        };
        prior.posterior(e, 0.5).below
    };
    for i in 0..60 {
        let slope = -1.0 + 0.05 * f64::from(i);
        assert!(at(slope) >= at(slope + 0.05) - 1e-12, "{slope}");
    }
    let certain = Estimate {
        slope: 0.02,
        se: 0.02,
        df: f64::INFINITY,
    };
    assert!(prior.posterior(certain, 0.5).below > 0.999_999);
    let nothing = Estimate {
        slope: 0.0,
        se: 50.0,
        df: f64::INFINITY,
    };
    assert!((prior.posterior(nothing, 0.5).escape - 0.05).abs() < 0.01);
}
