//! Values of scipy, and of limma's formulas in scipy (`tests/reference/de/make.py`).

use serde_json::Value;

use super::*;
use clcc_data::matrix::Csr;
use clcc_numerics::stats::{Contrast, Strata, van_elteren};

fn floats(v: &Value) -> Vec<f64> {
    let number = |x: &Value| x.as_f64().unwrap_or(f64::NAN);
    v.as_array().unwrap().iter().map(number).collect()
}

fn rows(v: &Value) -> Vec<Vec<f64>> {
    v.as_array().unwrap().iter().map(floats).collect()
}

fn values(part: &str) -> Value {
    let all = include_str!("../../../../tests/reference/de/values.json");
    serde_json::from_str::<Value>(all).unwrap()[part].clone()
}

fn close(got: f64, want: f64, relative: f64, what: &str) {
    let off = (got - want).abs();
    assert!(
        off <= relative * want.abs(),
        "{what}: got {got}, want {want}"
    );
}

#[test]
fn van_elteren_equals_scipys_ranks() {
    let v = values("van_elteren");
    let x = rows(&v["x"]);
    let dense = ndarray::Array2::from_shape_fn((x[0].len(), x.len()), |(g, i)| x[i][g] as f32);
    let contrast = Contrast {
        side: floats(&v["side"]).iter().map(|s| *s as u8).collect(),
    };
    let strata = Strata {
        of: floats(&v["strata"]).iter().map(|s| *s as u32).collect(),
        n: 4,
    };
    let (used, found) = van_elteren(&Csr::from_dense(&dense), &contrast, &strata).unwrap();
    assert_eq!(used.strata, 3);
    for (g, (z, p)) in floats(&v["z"]).iter().zip(floats(&v["p"])).enumerate() {
        close(found[g].z, *z, 1e-11, "z");
        close(found[g].p.p, p, 1e-9, "p");
    }
}

#[test]
fn pseudobulk_equals_ebayes() {
    let v = values("pseudobulk");
    let pairs: Vec<Option<Pair>> = rows(&v["group"])
        .into_iter()
        .zip(rows(&v["reference"]))
        .map(|(group, reference)| Some(Pair { group, reference }))
        .collect();
    let n_genes = pairs[0].as_ref().unwrap().group.len();
    let found = pseudobulk(Kind::Discordance, &pairs, 10.0, &vec![false; n_genes]);
    let variance = floats(&v["prior_variance"]);
    assert_eq!(found.prior.len(), variance.len());
    for (prior, wanted) in found.prior.iter().zip(variance) {
        close(prior.variance, wanted, 1e-7, "variance");
        close(prior.df, v["prior_df"].as_f64().unwrap(), 1e-7, "df");
    }
    let (t, p, q) = (floats(&v["t"]), floats(&v["p"]), floats(&v["q"]));
    for (g, gene) in found.genes.unwrap().iter().enumerate() {
        if t[g].is_nan() {
            assert!(gene.test.t.is_nan() && gene.adjusted.is_nan(), "gene {g}");
        } else {
            close(gene.test.t, t[g], 1e-8, "t");
            close(gene.test.p.p, p[g], 1e-7, "p");
            close(gene.adjusted, q[g], 1e-7, "q");
        }
    }
}
