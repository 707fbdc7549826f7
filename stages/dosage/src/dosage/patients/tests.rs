//! The mixture over patients against an integral written out, and its claims against simulated slopes.

use super::*;
use crate::dosage::posterior::posterior_q;
use clcc_numerics::rng::Rng;
use clcc_numerics::stats::mean;

const PRIOR: SlopePrior = SlopePrior {
    escape: 0.05,
    mean: 1.0,
    sd: 0.235,
    wild: 0.0,
};

fn density(x: f64, mean: f64, variance: f64) -> f64 {
    (-0.5 * (x - mean).powi(2) / variance).exp() / variance.sqrt()
}

/// Every pattern of patients that escape, by itself, over a fine grid of the gene's slope; normal
/// errors.
fn written_out(slopes: &[(f64, f64)], shares: &Shares, bound: f64) -> Vec<f64> {
    let n = slopes.len();
    let (mut total, mut below) = (0.0, vec![0.0; n]);
    for pattern in 0..1usize << n {
        let escapes = |p: usize| pattern >> p & 1 == 1;
        let k = pattern.count_ones() as i32;
        let mixed = shares[1] * MIXED_SHARE.powi(k) * (1.0 - MIXED_SHARE).powi(n as i32 - k);
        let share = match k {
            0 => mixed + shares[0],
            k if k == n as i32 => mixed + shares[2],
            _ => mixed,
        };
        let step = 0.005;
        for i in 0..400 {
            let slope = (f64::from(i) + 0.5) * step;
            let weight = share * step * density(slope, PRIOR.mean, PRIOR.sd * PRIOR.sd)
                / std::f64::consts::TAU.sqrt();
            let centre = |p: usize| {
                if escapes(p) {
                    (0.0, ESCAPE_SD)
                } else {
                    (slope, BETWEEN)
                }
            };
            let likelihood: f64 = (0..n)
                .map(|p| {
                    let (mean, sd) = centre(p);
                    density(slopes[p].0, mean, sd * sd + slopes[p].1.powi(2))
                })
                .product();
            total += weight * likelihood;
            for (p, below) in below.iter_mut().enumerate() {
                let (mean, sd) = centre(p);
                let (own, noise) = (sd * sd, slopes[p].1.powi(2));
                let middle = (mean * noise + slopes[p].0 * own) / (own + noise);
                let spread = (own * noise / (own + noise)).sqrt();
                *below += weight * likelihood * normal_sf((middle - bound) / spread);
            }
        }
    }
    below.iter().map(|b| b / total).collect()
}

#[test]
fn equals_all_patterns_written_out() {
    for slopes in [
        vec![(0.1, 0.2), (1.0, 0.3), (0.9, 0.25), (1.3, 0.4)],
        vec![(0.0, 0.15), (0.1, 0.2), (-0.1, 0.3)],
        vec![(0.9, 0.2), (1.0, 0.2)],
    ] {
        let gene = PatientEstimates {
            slopes: slopes.clone(),
            df: f64::INFINITY,
        };
        let kinds = Kinds::new(&gene, &PRIOR, 0.5);
        let shares = [0.9, 0.06, 0.04];
        let p = kinds.posterior(&shares);
        let want = written_out(&slopes, &shares, 0.5);
        for (got, want) in kinds.below.iter().zip(want) {
            let got: f64 = (0..3).map(|k| p[k] * got[k]).sum();
            assert!((got - want).abs() < 2e-3, "{slopes:?}: {got} {want}");
        }
    }
}

#[test]
fn a_patient_without_a_slope_changes_nothing() {
    let gene = |slopes: Vec<(f64, f64)>| PatientEstimates { slopes, df: 15.0 };
    let nothing = (f64::NAN, f64::NAN);
    let with = gene(vec![(0.1, 0.2), nothing, (1.0, 0.2)]);
    let without = gene(vec![(0.1, 0.2), (1.0, 0.2)]);
    let (a, _) = posteriors(&[with], &PRIOR, 0.5);
    let (b, _) = posteriors(&[without], &PRIOR, 0.5);
    assert!(a[0][1].is_nan());
    assert_eq!([a[0][0], a[0][2]], [b[0][0], b[0][1]]);
}

#[test]
fn heterogeneity_is_tested_at_its_level() {
    // Q of five patients, with a variance of eight degrees of freedom: F(4, 8).
    let mut rng = Rng::new(3, "heterogeneity", &[]);
    let p: Vec<f64> = (0..4000)
        .map(|_| {
            let q: f64 = (0..4).map(|_| rng.normal().powi(2)).sum();
            heterogeneity_p(q / (2.0 * rng.gamma(4.0) / 8.0), 4.0, 8.0)
        })
        .collect();
    let share = |level: f64| p.iter().filter(|p| **p < level).count() as f64 / p.len() as f64;
    assert!((share(0.05) - 0.05).abs() < 0.012, "{}", share(0.05));
    assert!((share(0.5) - 0.5).abs() < 0.03, "{}", share(0.5));
    assert!(heterogeneity_p(f64::NAN, 0.0, 8.0).is_nan());
}

/// Genes of `n` patients: a twentieth escapes in all, `mixed` in about a fifth of the patients.
/// Returns true slopes and posteriors.
fn simulated(n: usize, mixed: f64, seed: u64) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut rng = Rng::new(seed, "patients test", &[]);
    let (mut truth, mut genes) = (Vec::new(), Vec::new());
    for _ in 0..800 {
        let (kind, slope) = (rng.uniform(), 1.0 + 0.235 * rng.normal());
        let se = 0.25 * (0.3 * rng.normal()).exp();
        let of: Vec<f64> = (0..n)
            .map(|_| {
                let escapes = kind < 0.05 || (kind < 0.05 + mixed && rng.uniform() < 0.2);
                if escapes { 0.0 } else { slope }
            })
            .collect();
        let slopes = of
            .iter()
            .map(|t| {
                let se = se * (0.3 * rng.normal()).exp();
                (t + se * rng.normal(), se)
            })
            .collect();
        truth.push(of);
        genes.push(PatientEstimates {
            slopes,
            df: f64::INFINITY,
        });
    }
    let (below, _) = posteriors(&genes, &PRIOR, 0.5);
    let slopes = genes
        .iter()
        .map(|g| g.slopes.iter().map(|s| s.0).collect())
        .collect();
    (truth, below, slopes)
}

#[test]
fn a_gene_that_escapes_in_two_of_ten_is_found_with_its_patients() {
    let rounds = std::env::var("CLCC_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok());
    let mut shares = Vec::new();
    let (mut found, mut planted) = (0, 0);
    for seed in 0..rounds.unwrap_or(10) {
        let (truth, below, _) = simulated(10, 0.05, seed);
        let truth: Vec<f64> = truth.concat();
        let q = posterior_q(&below.concat());
        let called: Vec<usize> = (0..q.len()).filter(|&i| q[i] < 0.05).collect();
        let wrong = called.iter().filter(|&&i| truth[i] >= 0.5).count();
        shares.push(wrong as f64 / called.len().max(1) as f64);
        // In mixed genes alone.
        for (g, gene) in below.iter().enumerate() {
            let of = &truth[10 * g..10 * (g + 1)];
            let escapes = of.iter().filter(|t| **t == 0.0).count();
            if (1..=3).contains(&escapes) {
                planted += escapes;
                found += (0..gene.len())
                    .filter(|&p| of[p] == 0.0 && q[10 * g + p] < 0.05)
                    .count();
            }
        }
    }
    let power = found as f64 / planted as f64;
    assert!(mean(&shares) < 0.06, "false {}", mean(&shares));
    assert!(power > 0.4, "found {power} of {planted}");
}

#[test]
fn where_all_patients_share_a_slope_none_is_named_apart() {
    let (_, below, _) = simulated(6, 0.0, 1);
    let mixed = below
        .iter()
        .filter(|b| {
            let called = b.iter().filter(|p| **p > 0.9).count();
            called > 0 && called < b.len()
        })
        .count();
    assert!(mixed <= 8, "{mixed} of {} genes", below.len());
}
