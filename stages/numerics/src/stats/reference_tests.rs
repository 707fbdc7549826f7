//! The committed values of scipy, statsmodels and scanpy (`tests/reference/stats/make.py`).

use serde_json::Value;

use super::*;
use clcc_data::matrix::Csr;

fn values() -> Value {
    serde_json::from_str(include_str!(
        "../../../../tests/reference/stats/values.json"
    ))
    .unwrap()
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap_or(f64::NAN))
        .collect()
}

fn close(got: f64, want: f64, relative: f64, what: &str) {
    assert!(
        (got - want).abs() <= relative * want.abs(),
        "{what}: got {got}, want {want}"
    );
}

#[test]
fn normal_tails_equal_scipy() {
    let v = &values()["normal"];
    let (z, sf, ln) = (floats(&v["z"]), floats(&v["sf"]), floats(&v["logsf"]));
    for i in 0..z.len() {
        close(
            normal_ln_sf(z[i]),
            ln[i],
            1e-13,
            &format!("ln sf({})", z[i]),
        );
        let two = two_sided_normal(z[i]);
        close(
            two.log10,
            (ln[i] + 2.0_f64.ln()) / 10.0_f64.ln(),
            1e-12,
            "log10 p",
        );
        if sf[i] > 1e-300 {
            close(two.p, 2.0 * sf[i], 1e-12, &format!("p({})", z[i]));
        }
    }
}

#[test]
fn student_tails_and_quantiles_equal_scipy() {
    for row in values()["t"].as_array().unwrap() {
        let (t, df, p) = (
            row["t"].as_f64().unwrap(),
            row["df"].as_f64().unwrap(),
            row["p"].as_f64().unwrap(),
        );
        close(two_sided_t(t, df).p, p, 1e-10, &format!("t {t}, df {df}"));
        close(two_sided_t(t, df).log10, p.log10(), 1e-10, "log10");
    }
    for row in values()["t_ppf"].as_array().unwrap() {
        let (alpha, df) = (row["alpha"].as_f64().unwrap(), row["df"].as_f64().unwrap());
        close(
            t_quantile(alpha, df),
            row["t"].as_f64().unwrap(),
            1e-9,
            "quantile",
        );
    }
}

#[test]
fn bh_equals_statsmodels() {
    let v = &values()["bh"];
    for (got, want) in benjamini_hochberg(&floats(&v["p"]))
        .iter()
        .zip(floats(&v["q"]))
    {
        close(*got, want, 1e-14, "q");
    }
}

#[test]
fn samples_equal_scipy() {
    let v = &values()["samples"];
    let get = |k: &str| floats(&v[k]);
    let (a, b, x, y) = (get("a"), get("b"), get("x"), get("y"));
    let both = RankSumOptions {
        tie_correct: true,
        continuity: true,
    };
    close(
        rank_sum_dense(&a, &b, both).1.p,
        v["mwu_p"].as_f64().unwrap(),
        1e-12,
        "mwu",
    );
    let plain = RankSumOptions {
        continuity: false,
        ..both
    };
    close(
        rank_sum_dense(&a, &b, plain).1.p,
        v["mwu_p_no_continuity"].as_f64().unwrap(),
        1e-12,
        "mwu",
    );
    let (w, want) = (welch_t(&a, &b), get("welch"));
    close(w.t, want[0], 1e-12, "welch t");
    close(w.df, want[1], 1e-12, "welch df");
    close(w.p.p, want[2], 1e-11, "welch p");
    let (p, want) = (paired_t(&x, &y), get("paired"));
    close(p.t, want[0], 1e-12, "paired t");
    close(p.p.p, want[1], 1e-11, "paired p");
    let (l, want) = (
        weighted_line(&x, &y, &[1.0; 40], &[0; 40], 1).unwrap(),
        get("line"),
    );
    close(l.slope, want[0], 1e-12, "slope");
    close(l.se, want[1], 1e-12, "se");
    close(l.test(0.0).p, want[2], 1e-10, "slope p");
    for (got, want) in [
        (pearson(&x, &y), get("pearson")),
        (spearman(&x, &y), get("spearman")),
    ] {
        close(got.r, want[0], 1e-12, "r");
        close(got.p.p, want[1], 1e-10, "r p");
    }
    assert_eq!(average_ranks(&x), get("ranks_x"));
    for pair in v["quantiles"].as_array().unwrap() {
        let pair = floats(pair);
        close(quantile(&a, pair[0]), pair[1], 1e-15, "quantile");
    }
    let table: Vec<Vec<f64>> = v["table"].as_array().unwrap().iter().map(floats).collect();
    let (got, chi2) = (cramers_v(&table), get("chi2"));
    close(got.v, v["cramer"].as_f64().unwrap(), 1e-12, "V");
    close(got.chi2, chi2[0], 1e-12, "chi2");
    close(got.p, chi2[1], 1e-10, "chi2 p");
}

#[test]
fn wilcoxon_equals_scanpy() {
    let v = &values()["scanpy"];
    let counts: Vec<Vec<f64>> = v["counts"].as_array().unwrap().iter().map(floats).collect();
    let x = ndarray::Array2::from_shape_fn((60, 12), |(i, j)| (counts[i][j].ln_1p()) as f32);
    let genes = Csr::from_dense(&x).transpose();
    let side = (0..60)
        .map(|i| {
            if i < 20 {
                1
            } else if i < 45 {
                2
            } else {
                0
            }
        })
        .collect();
    let contrasts = [Contrast { side }];
    for (name, tie_correct) in [("plain", false), ("tie", true)] {
        let tests = &sparse_wilcoxon(
            &genes,
            &contrasts,
            RankSumOptions {
                tie_correct,
                continuity: false,
            },
        )[0];
        let get = |k: &str| floats(&v[name][k]);
        // scanpy keeps z and the fold change as float32.
        for g in 0..12 {
            let t = &tests[g];
            assert!(
                (t.z - get("scores")[g]).abs() < 1e-6,
                "z of gene {g}: {} {}",
                t.z,
                get("scores")[g]
            );
            close(t.p.p, get("pvals")[g], 1e-9, &format!("p of gene {g}"));
            assert!((t.pct_group - get("pct_nz_group")[g]).abs() < 1e-12);
            assert!((t.pct_reference - get("pct_nz_reference")[g]).abs() < 1e-12);
            assert!(
                (log2_fold_change(t.mean_group, t.mean_reference) - get("logfoldchanges")[g]).abs()
                    < 2e-5,
                "gene {g}"
            );
        }
        let adjusted = benjamini_hochberg(&tests.iter().map(|t| t.p.p).collect::<Vec<_>>());
        for (got, want) in adjusted.iter().zip(get("pvals_adj")) {
            close(*got, want, 1e-9, "pvals_adj");
        }
    }
}
