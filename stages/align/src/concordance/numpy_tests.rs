//! Values of numpy and scipy (`tests/reference/concordance/make.py`).

use serde_json::Value;

use super::*;
use clcc_numerics::stats::cramers_v;

fn floats(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

#[test]
fn classes_and_effect_sizes_equal_numpy_and_scipy() {
    let all = include_str!("../../../../tests/reference/concordance/values.json");
    let v: Value = serde_json::from_str(all).unwrap();
    let distance = floats(&v["classes"]["distance"]);
    for by in v["classes"]["by"].as_array().unwrap() {
        let (classes, summary) = classify(&distance, by["quantile"].as_f64().unwrap());
        assert!((summary.lower - by["lower"].as_f64().unwrap()).abs() < 1e-14);
        assert!((summary.upper - by["upper"].as_f64().unwrap()).abs() < 1e-14);
        for (class, label) in classes.iter().zip(by["label"].as_array().unwrap()) {
            assert_eq!(class.name(), label.as_str().unwrap());
        }
    }
    let c = &v["composition"];
    let table: Vec<Vec<f64>> = c["table"].as_array().unwrap().iter().map(floats).collect();
    let found = cramers_v(&table);
    assert!((found.v - c["v"].as_f64().unwrap()).abs() < 1e-13);
    assert!((found.v_corrected - c["v_corrected"].as_f64().unwrap()).abs() < 1e-13);

    let n = &v["number"];
    let (d, c) = (floats(&n["discordant"]), floats(&n["concordant"]));
    let classes: Vec<Option<Class>> = d
        .iter()
        .map(|_| Some(Class::Discordant))
        .chain(c.iter().map(|_| Some(Class::Concordant)))
        .collect();
    let values: Vec<f64> = d.iter().chain(&c).copied().collect();
    let limits = Limits {
        cramers_v: 1.0,
        cohens_d: 9.0,
    };
    let found = composition::number("all", "x", &classes, &values, limits).unwrap();
    for (got, want) in [
        (found.cohens_d, "cohens_d"),
        (found.auc, "auc"),
        (found.pval, "p"),
    ] {
        let want = n[want].as_f64().unwrap();
        assert!((got / want - 1.0).abs() < 1e-10, "{got} {want}");
    }
}
