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
    /// Whether any clone has a level, and the level of each stratum.
    fn levels(&self) -> (Vec<f64>, Vec<Option<usize>>) {
        let of = |u: usize| self.tumour.iter().position(|z| z[u] > 0.0);
        let mut level_of = vec![None; self.n_strata];
        for u in 0..self.x.len() {
            level_of[self.strata[u]] = level_of[self.strata[u]].or(of(u));
        }
        let any = (0..self.x.len()).map(|u| f64::from(u8::from(of(u).is_some())));
        (any.collect(), level_of)
    }

    fn fit(&self, model: &Model) -> Option<Response> {
        self.fit_slopes(model, &vec![0; self.n_strata])
    }

    /// One slope for all strata of the same number.
    fn fit_slopes(&self, model: &Model, slope_of: &[usize]) -> Option<Response> {
        let (tumour, level_of) = self.levels();
        let design = Design {
            offset: &self.offset,
            strata: &self.strata,
            n_strata: self.n_strata,
            tumour: &tumour,
            level_of: &level_of,
            n_levels: self.tumour.len(),
            slope_of,
            n_slopes: slope_of.iter().max().unwrap() + 1,
        };
        let gene = Gene {
            x: &self.x,
            counts: &self.counts,
            included: &vec![true; self.x.len()],
        };
        fit(gene, &design, model)
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

    /// Every coefficient: slopes, strata, levels, the strata's own levels. Newton's method on the
    /// penalised likelihood by expected information, the dense matrix solved at each step; the slopes and
    /// their covariance.
    fn written_out(&self, model: &Model, slope_of: &[usize]) -> (Vec<f64>, Array2<f64>) {
        let slopes = slope_of.iter().max().unwrap() + 1;
        let own = slopes + self.n_strata + self.tumour.len();
        let k = own + self.n_strata;
        let n = self.x.len();
        let mut d = Array2::<f64>::zeros((n, k));
        let mut precision = Array1::<f64>::zeros(k);
        (0..slopes).for_each(|s| precision[s] = 1.0 / model.prior.1);
        (0..self.n_strata).for_each(|s| precision[own + s] = 1.0 / model.patient_variance);
        for u in 0..n {
            let s = self.strata[u];
            d[[u, slope_of[s]]] = self.x[u];
            d[[u, slopes + s]] = 1.0;
            for (j, z) in self.tumour.iter().enumerate() {
                d[[u, slopes + self.n_strata + j]] = z[u];
                d[[u, own + s]] += z[u];
                precision[slopes + self.n_strata + j] = 1.0 / model.level_variance;
            }
        }
        let mut mean = Array1::<f64>::zeros(k);
        (0..slopes).for_each(|s| mean[s] = model.prior.0);
        let mut b = mean.clone();
        (0..self.n_strata).for_each(|s| b[slopes + s] = -4.0);
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
        (b.iter().take(slopes).copied().collect(), inverse)
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
        patient_variance: 0.0,
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
            got.variance * got.variance_df,
            number("pearson"),
            1e-7,
            "chi",
        );
        for (got, want) in got.fitted.iter().zip(of(&want["fitted"])) {
            close(*got, want, 1e-6, "fitted");
        }
        if name == "level" {
            let level = got.levels[0].unwrap();
            close(level, of(&want["level"])[0], 1e-7, "level");
        }
    }
}

#[test]
fn equals_the_model_written_out() {
    for seed in 0..20 {
        let case = Case::random(seed);
        for (model, slope_of) in [
            (Model::fixed(0.1), [0; 6]),
            (
                Model {
                    level_variance: 0.05,
                    patient_variance: 0.02,
                    ..Model::fixed(0.1)
                },
                [0; 6],
            ),
            (
                Model {
                    level_variance: 0.3,
                    patient_variance: 0.4,
                    prior: (1.0, 0.1),
                    dispersion: 0.01,
                },
                [0; 6],
            ),
            (
                Model {
                    level_variance: 0.1,
                    patient_variance: 0.05,
                    ..Model::fixed(0.05)
                },
                [0, 0, 1, 1, 2, 2],
            ),
        ] {
            let written = Model {
                patient_variance: model.patient_variance.max(1e-12),
                ..model
            };
            let got = case.fit_slopes(&model, &slope_of).unwrap();
            let (slopes, covariance) = case.written_out(&written, &slope_of);
            for (p, (slope, variance)) in got.slopes.iter().enumerate() {
                close(*slope, slopes[p], 1e-6, "slope");
                close(*variance, covariance[[p, p]], 1e-5, "variance");
            }
            let precision = 1.0 / covariance[[0, 0]] - 1.0 / model.prior.1;
            close(got.sxx, precision, 1e-5, "precision");
            if slopes.len() > 1 {
                // Q: squared contrasts of the slopes in the metric of their covariance.
                let n = slopes.len();
                let mut a = covariance.slice(ndarray::s![..n, ..n]).to_owned();
                a = invert(a) - Array2::<f64>::eye(n) / model.prior.1;
                let (b, one) = (Array1::from(slopes), Array1::<f64>::ones(n));
                let common = one.dot(&a.dot(&b)) / one.dot(&a.dot(&one));
                let off = &b - common;
                close(got.q.0, off.dot(&a.dot(&off)), 1e-4, "Q");
                assert_eq!(got.q.1, 2.0);
            }
        }
    }
}

/// The variance with random levels is the quadratic form of the contrasts in their covariance.
#[test]
fn the_variance_is_that_of_all_contrasts() {
    let case = Case::random(4);
    let model = Model {
        level_variance: 0.2,
        patient_variance: 0.1,
        ..Model::fixed(0.1)
    };
    let got = case.fit(&model).unwrap();
    // Working responses and weights at the fit; strata and slope projected out by least squares in the
    // metric of the covariance.
    let (w, y): (Vec<f64>, Vec<f64>) = (0..30)
        .map(|u| {
            let mu = got.fitted[u];
            let eta = mu.ln() - case.offset[u];
            (1.0 / (1.0 / mu + 0.1), eta + (case.counts[u] - mu) / mu)
        })
        .unzip();
    let (tumour, level_of) = case.levels();
    let mut v = Array2::<f64>::zeros((30, 30));
    let mut x = Array2::<f64>::zeros((30, 7));
    for u in 0..30 {
        v[[u, u]] += 1.0 / w[u];
        x[[u, 0]] = case.x[u];
        x[[u, 1 + case.strata[u]]] = 1.0;
        for h in 0..30 {
            let both = tumour[u] * tumour[h];
            if level_of[case.strata[u]] == level_of[case.strata[h]] {
                v[[u, h]] += 0.2 * both;
            }
            if case.strata[u] == case.strata[h] {
                v[[u, h]] += 0.1 * both;
            }
        }
    }
    let inverse = invert(v);
    let y = Array1::from(y);
    let b = invert(x.t().dot(&inverse.dot(&x))).dot(&x.t().dot(&inverse.dot(&y)));
    let off = &y - &x.dot(&b);
    assert_eq!(got.variance_df, 30.0 - 6.0 - 1.0);
    let form = off.dot(&inverse.dot(&off));
    close(got.variance * got.variance_df, form, 1e-3, "form");
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
    let level = level.unwrap_or(0.0);
    assert!(level > 2.0 && level < 15.0, "{level}");
    case.counts = vec![0.0; 30];
    assert!(case.fit(&Model::fixed(0.05)).is_none());
    case = Case::random(3);
    case.x = vec![0.3; 30];
    assert!(case.fit(&Model::fixed(0.05)).is_none());
}

/// Counts made with a dispersion of .1 give it back, and shared and own levels of standard deviations .5
/// and .3 theirs.
#[test]
fn variances_are_found_again() {
    let mut rng = Rng::new(9, "response test", &[]);
    let base = Case::random(1);
    let genes: Vec<Case> = (0..2000)
        .map(|_| {
            let level = [0.5 * rng.normal(), 0.5 * rng.normal()];
            let own: Vec<f64> = (0..6).map(|_| 0.3 * rng.normal()).collect();
            let rate = (rng.normal() - 2.0).exp();
            let counts = (0..30)
                .map(|u| {
                    let z: f64 = (0..2)
                        .map(|k| (level[k] + own[base.strata[u]]) * base.tumour[k][u])
                        .sum();
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
    let told = |model: &Model| -> Vec<(Response, Vec<f64>)> {
        let fits = genes
            .iter()
            .filter_map(|g| Some((g.fit(model)?, g.counts.clone())));
        fits.collect()
    };
    let dispersion = |fits: &[(Response, Vec<f64>)]| {
        common_dispersion(
            &fits
                .iter()
                .map(|(f, c)| (f, c.as_slice()))
                .collect::<Vec<_>>(),
        )
    };
    let (tumour, level_of) = base.levels();
    let design = Design {
        offset: &base.offset,
        strata: &base.strata,
        n_strata: 6,
        tumour: &tumour,
        level_of: &level_of,
        n_levels: 2,
        slope_of: &[0; 6],
        n_slopes: 1,
    };
    let mut model = Model::fixed(0.04);
    for _ in 0..4 {
        let fits = told(&model);
        model.dispersion = dispersion(&fits);
        let levels = level_variances(
            &fits.iter().map(|f| &f.0).collect::<Vec<_>>(),
            &design,
            20.0,
        );
        model = Model::random(model.dispersion, levels);
    }
    let found = (
        model.dispersion,
        model.level_variance.sqrt(),
        model.patient_variance.sqrt(),
    );
    assert!((found.0 / 0.1 - 1.0).abs() < 0.2, "{found:?}");
    assert!((found.1 / 0.5 - 1.0).abs() < 0.15, "{found:?}");
    assert!((found.2 / 0.3 - 1.0).abs() < 0.15, "{found:?}");
    let fits = told(&model);
    let slopes = fits
        .iter()
        .map(|(f, _)| (f.slope, f.variance.max(1.0) / f.sxx));
    assert!(excess_variance(slopes, 0.9) < 0.02);
}
