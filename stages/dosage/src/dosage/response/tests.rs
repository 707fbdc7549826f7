//! Compares the fit with statsmodels, and with the same model with every coefficient written out.

use ndarray::{Array1, Array2};

use super::*;
use clcc_numerics::rng::Rng;

struct Case {
    x: Vec<f64>,
    counts: Vec<f64>,
    offset: Vec<f64>,
    strata: Vec<usize>,
    tumour: Vec<Vec<f64>>,
    n_strata: usize,
}

impl Case {
    fn design(&self) -> Design<'_> {
        Design {
            offset: &self.offset,
            strata: &self.strata,
            n_strata: self.n_strata,
            tumour: &self.tumour,
        }
    }

    fn fit(&self, model: &Model) -> Option<Response> {
        let gene = Gene {
            x: &self.x,
            counts: &self.counts,
            included: &vec![true; self.x.len()],
        };
        fit(gene, &self.design(), model)
    }

    /// Six strata of five clones, the first of each normal; two cell types.
    fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "response test", &[]);
        let (mut x, mut counts, mut offset, mut strata) = (vec![], vec![], vec![], vec![]);
        let mut tumour = vec![vec![0.0; 30]; 2];
        for s in 0..6 {
            let rate = (rng.normal() - 4.0).exp();
            for c in 0..5 {
                let copy = if c == 0 { 0.0 } else { 0.4 * rng.normal() };
                if c > 0 {
                    tumour[s % 2][x.len()] = 1.0;
                }
                let library = (5.5 + 0.8 * rng.normal()).exp();
                let mean = library * rate * (0.5 * copy).exp();
                let mean = mean * rng.gamma(8.0) / 8.0;
                counts.push(f64::from(rng.poisson(mean) as u32));
                x.push(copy);
                offset.push(library.ln());
                strata.push(s);
            }
        }
        Self {
            x,
            counts,
            offset,
            strata,
            tumour,
            n_strata: 6,
        }
    }

    /// Every coefficient: slope, strata, levels. Newton's method on the penalised likelihood by expected
    /// information, the dense matrix solved at each step; slope and its precision.
    fn written_out(&self, model: &Model) -> (f64, f64) {
        let k = 1 + self.n_strata + self.tumour.len();
        let n = self.x.len();
        let mut d = Array2::<f64>::zeros((n, k));
        let mut precision = Array1::<f64>::zeros(k);
        precision[0] = 1.0 / model.prior.1;
        for u in 0..n {
            d[[u, 0]] = self.x[u];
            d[[u, 1 + self.strata[u]]] = 1.0;
            for (j, z) in self.tumour.iter().enumerate() {
                d[[u, 1 + self.n_strata + j]] = z[u];
                precision[1 + self.n_strata + j] = 1.0 / model.level_variance;
            }
        }
        let mut mean = Array1::<f64>::zeros(k);
        mean[0] = model.prior.0;
        let mut b = mean.clone();
        (0..self.n_strata).for_each(|s| b[1 + s] = -4.0);
        let mut inverse = Array2::<f64>::zeros((k, k));
        for _ in 0..200 {
            let eta = d.dot(&b);
            let mut h = Array2::<f64>::from_diag(&precision);
            let mut g = -(&precision * &(&b - &mean));
            for u in 0..n {
                let mu = (eta[u] + self.offset[u]).exp();
                let w = 1.0 / (1.0 / mu + model.dispersion);
                let row = d.row(u);
                for i in 0..k {
                    g[i] += w * row[i] * (self.counts[u] - mu) / mu;
                    for j in 0..k {
                        h[[i, j]] += w * row[i] * row[j];
                    }
                }
            }
            inverse = invert(h);
            let step = inverse.dot(&g);
            b += &step.mapv(|v| v.clamp(-1.0, 1.0));
        }
        // Information of the likelihood alone: less the prior's precision.
        (b[0], 1.0 / inverse[[0, 0]] - precision[0])
    }
}

/// Gauss and Jordan, with pivots.
fn invert(mut m: Array2<f64>) -> Array2<f64> {
    let k = m.nrows();
    let mut out = Array2::<f64>::eye(k);
    for c in 0..k {
        let p = (c..k)
            .max_by(|&a, &b| m[[a, c]].abs().total_cmp(&m[[b, c]].abs()))
            .unwrap();
        for j in 0..k {
            m.swap([c, j], [p, j]);
            out.swap([c, j], [p, j]);
        }
        let pivot = m[[c, c]];
        for j in 0..k {
            m[[c, j]] /= pivot;
            out[[c, j]] /= pivot;
        }
        for r in (0..k).filter(|&r| r != c) {
            let f = m[[r, c]];
            for j in 0..k {
                m[[r, j]] -= f * m[[c, j]];
                out[[r, j]] -= f * out[[c, j]];
            }
        }
    }
    out
}

fn close(got: f64, want: f64, within: f64, what: &str) {
    assert!(
        (got - want).abs() <= within * want.abs().max(1.0),
        "{what}: {got} {want}"
    );
}

#[test]
fn equals_statsmodels() {
    // `tests/reference/dosage/make.py`: GLM with a dummy per stratum.
    let all = include_str!("../../../../../tests/reference/dosage/values.json");
    let v: serde_json::Value = serde_json::from_str(all).unwrap();
    let v = &v["response"];
    let of = |v: &serde_json::Value| -> Vec<f64> {
        let list = v.as_array().unwrap();
        list.iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let mut case = Case {
        x: of(&v["copy"]),
        counts: of(&v["counts"]),
        offset: of(&v["offset"]),
        strata: of(&v["strata"]).iter().map(|s| *s as usize).collect(),
        tumour: vec![],
        n_strata: 3,
    };
    let model = Model {
        dispersion: v["dispersion"].as_f64().unwrap(),
        level_variance: f64::INFINITY,
        prior: (1.0, 1e12),
    };
    for name in ["plain", "level"] {
        if name == "level" {
            case.tumour = vec![of(&v["tumour"])];
        }
        let (got, want) = (case.fit(&model).unwrap(), &v[name]);
        let number = |key: &str| want[key].as_f64().unwrap();
        close(got.slope, number("slope"), 1e-7, "slope");
        close(1.0 / got.sxx.sqrt(), number("se"), 1e-7, "se");
        close(got.df, number("df"), 1e-12, "df");
        close(
            got.residual_variance * got.df,
            number("pearson"),
            1e-7,
            "chi",
        );
        for (got, want) in got.fitted.iter().zip(of(&want["fitted"])) {
            close(*got, want, 1e-6, "fitted");
        }
        if name == "level" {
            let (level, variance) = got.levels[0].unwrap();
            let want = of(&want["level"]);
            close(level, want[0], 1e-7, "level");
            close(variance.sqrt(), want[1], 1e-7, "se of the level");
        }
    }
}

#[test]
fn equals_the_model_written_out() {
    for seed in 0..20 {
        let case = Case::random(seed);
        for model in [
            Model::fixed(0.1),
            Model {
                level_variance: 0.05,
                ..Model::fixed(0.1)
            },
            Model {
                level_variance: 0.3,
                prior: (1.0, 0.1),
                dispersion: 0.01,
            },
        ] {
            let got = case.fit(&model).unwrap();
            let (slope, precision) = case.written_out(&model);
            close(got.slope, slope, 1e-6, "slope");
            close(got.sxx, precision, 1e-5, "precision");
        }
    }
}

#[test]
fn a_prior_draws_towards_its_mean_and_not_past_it() {
    for seed in 0..20 {
        let case = Case::random(seed);
        let mut last = case.fit(&Model::fixed(0.05)).unwrap().slope - 1.0;
        for variance in [1.0, 0.1, 0.01, 1e-6] {
            let model = Model {
                prior: (1.0, variance),
                ..Model::fixed(0.05)
            };
            let now = case.fit(&model).unwrap().slope - 1.0;
            assert!(
                now.abs() <= last.abs() + 1e-9 && now * last >= 0.0,
                "{now} {last}"
            );
            last = now;
        }
        assert!(last.abs() < 1e-3, "{last}");
    }
}

#[test]
fn counts_on_one_side_keep_the_slope_finite() {
    let mut case = Case::random(3);
    for u in 0..30 {
        (case.x[u], case.counts[u]) = if case.x[u] > 0.0 {
            (0.4, 9.0)
        } else {
            (0.0, 0.0)
        };
    }
    case.tumour = vec![];
    let got = case.fit(&Model::fixed(0.05)).unwrap();
    assert!(
        got.slope > 5.0 && got.slope.is_finite() && got.sxx > 0.0,
        "{}",
        got.slope
    );
    // Normal clones without a count: the levels run away, as far as their prior lets them.
    let mut normal = Case::random(3);
    (0..30).step_by(5).for_each(|u| normal.counts[u] = 0.0);
    let level = normal.fit(&Model::fixed(0.05)).unwrap().levels[0];
    let level = level.map_or(0.0, |l| l.0);
    assert!(level > 2.0 && level < 15.0, "{level}");
    case.counts = vec![0.0; 30];
    assert!(case.fit(&Model::fixed(0.05)).is_none());
    case = Case::random(3);
    case.x = vec![0.3; 30];
    assert!(case.fit(&Model::fixed(0.05)).is_none());
}

/// Counts made with a dispersion of .1 give it back, and levels of standard deviation .5 theirs.
#[test]
fn variances_are_found_again() {
    let mut rng = Rng::new(9, "response test", &[]);
    let base = Case::random(1);
    let genes: Vec<Case> = (0..2000)
        .map(|_| {
            let level = [0.5 * rng.normal(), 0.5 * rng.normal()];
            let rate = (rng.normal() - 2.0).exp();
            let counts = (0..30)
                .map(|u| {
                    let z: f64 = (0..2).map(|k| level[k] * base.tumour[k][u]).sum();
                    let mean = rate * (base.offset[u] + 0.9 * base.x[u] + z).exp();
                    let mean = mean * rng.gamma(10.0) / 10.0;
                    f64::from(rng.poisson(mean) as u32)
                })
                .collect();
            Case {
                counts,
                x: base.x.clone(),
                offset: base.offset.clone(),
                strata: base.strata.clone(),
                tumour: base.tumour.clone(),
                n_strata: 6,
            }
        })
        .collect();
    let fits: Vec<Option<Response>> = genes.iter().map(|g| g.fit(&Model::fixed(0.04))).collect();
    let told: Vec<(&Response, &[f64])> = fits
        .iter()
        .zip(&genes)
        .filter_map(|(f, g)| Some((f.as_ref()?, g.counts.as_slice())))
        .collect();
    let dispersion = common_dispersion(&told);
    assert!((dispersion / 0.1 - 1.0).abs() < 0.2, "{dispersion}");
    let fits: Vec<Response> = genes
        .iter()
        .filter_map(|g| g.fit(&Model::fixed(dispersion)))
        .collect();
    let levels = fits.iter().flat_map(|f| f.levels.iter().flatten().copied());
    let sd = excess_variance(levels, 0.0).sqrt();
    assert!((sd / 0.5 - 1.0).abs() < 0.1, "{sd}");
    let slopes = fits
        .iter()
        .map(|f| (f.slope, f.residual_variance.max(1.0) / f.sxx));
    assert!(excess_variance(slopes, 0.9) < 0.02);
}
