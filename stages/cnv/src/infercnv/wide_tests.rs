//! The stage against infercnvpy at the windows that people use, 100 and 250 genes.

use serde_json::Value;

use super::*;
use clcc_stage::stage::Quiet;

/// Data, parameters and infercnvpy's results, from `tests/reference/infercnv/make_wide.py`.
fn data() -> (Frame, Frame, Csr, Value) {
    let json: Value = serde_json::from_str(include_str!(
        "../../../../tests/reference/infercnv/wide.json"
    ))
    .unwrap();
    let sizes = json["sizes"].as_object().unwrap();
    let mut chromosome = Vec::new();
    let mut start = Vec::new();
    for (name, n) in sizes {
        for i in 1..=n.as_i64().unwrap() {
            chromosome.push(name.clone());
            start.push(1000 * i);
        }
    }
    let mut var = Frame::new((0..start.len()).map(|g| format!("g{g:03}")).collect());
    var.set_category("chromosome", &chromosome);
    var.set("end", Column::I64(start.iter().map(|s| s + 500).collect()));
    var.set("start", Column::I64(start));
    let rows = json["x"].as_array().unwrap().iter().map(|row| {
        let row = row.as_array().unwrap().iter();
        row.map(|e| (e[0].as_u64().unwrap() as u32, e[1].as_f64().unwrap() as f32))
            .collect::<Vec<_>>()
    });
    let x = Csr::from_rows(var.len(), rows.collect::<Vec<_>>());
    let mut obs = Frame::new((0..x.n_rows()).map(|c| format!("c{c}")).collect());
    let group = json["group"].as_array().unwrap().iter();
    obs.set_category(
        "group",
        &group.map(|g| g.as_str().unwrap()).collect::<Vec<_>>(),
    );
    (obs, var, x, json)
}

fn matrix(v: &Value) -> Vec<Vec<f64>> {
    let rows = v.as_array().unwrap().iter();
    rows.map(|r| {
        r.as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap_or(f64::NAN))
            .collect()
    })
    .collect()
}

#[test]
fn windows_of_100_and_250_are_those_of_infercnvpy() {
    let (obs, var, x, json) = data();
    let cases = json["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, case) in cases {
        let mut given = case["params"].clone();
        given["reference_key"] = "group".into();
        given["reference_cat"] = case["reference"].clone();
        given["step"] = 10.into();
        let params: InfercnvParams = serde_json::from_value(given).unwrap();
        let run = |dynamic_threshold| {
            let params = InfercnvParams {
                dynamic_threshold,
                ..params.clone()
            };
            annotate(&obs, &var, &x, &params, &Quiet).unwrap()
        };
        let (before, (after, metrics)) = (run(None).0, run(Some(1.5)));
        let before = before.obsm["X_cnv"].clone().into_dense();
        let filtered = after.obsm["X_cnv"].clone().into_dense();
        let (unfiltered, expected) = (matrix(&case["unfiltered"]), matrix(&case["x_cnv"]));
        assert_eq!(filtered.ncols(), expected[0].len(), "{name}: windows");
        let thresholds = metrics["noise_thresholds"].as_array().unwrap();
        let chunk = if thresholds.len() == 1 {
            x.n_rows()
        } else {
            params.chunksize
        };
        let (mut zeros, mut largest) = (0, 0f64);
        for c in 0..x.n_rows() {
            let threshold = thresholds[c / chunk].as_f64().unwrap();
            for w in 0..expected[0].len() {
                let (ours, theirs) = (f64::from(before[[c, w]]), unfiltered[c][w]);
                // Absolute, the stated limit is 1e-4; infercnvpy averages and subtracts in f32.
                assert!(
                    (ours - theirs).abs() < 3e-6,
                    "{name}: {c} {w}: {ours} {theirs}"
                );
                let (ours, theirs) = (f64::from(filtered[[c, w]]), expected[c][w]);
                let doubtful = (unfiltered[c][w].abs() - threshold).abs() < 1e-5;
                assert!(
                    doubtful || (ours == 0.0) == (theirs == 0.0),
                    "{name}: {c} {w}: {ours} {theirs}, threshold {threshold}"
                );
                assert!(doubtful || (ours - theirs).abs() < 3e-6);
                zeros += usize::from(ours == 0.0);
                largest = largest.max(ours.abs());
            }
        }
        assert!(
            zeros > 0 && largest > 0.02,
            "{name}: the reference has a signal and a filter: {zeros} zeros, largest {largest}"
        );
        if let Some(values) = case["gene_values"].as_array() {
            let ours = after.layers["gene_values_cnv"].clone().into_dense();
            let theirs = matrix(&Value::Array(values.clone()));
            for (c, row) in theirs.iter().enumerate() {
                for (g, v) in row.iter().enumerate() {
                    let own = f64::from(ours[[c, g]]);
                    assert!(
                        (own.is_nan() && v.is_nan()) || (own - v).abs() < 3e-6,
                        "{name}: {c} {g}: {own} {v}"
                    );
                }
            }
        }
        scores(&obs, &after, case);
    }
}

/// `cnv_score` and `ithcna` by group.
fn scores(obs: &Frame, cnv: &AnnData, case: &Value) {
    let Some(expected) = case["cnv_score"].as_object() else {
        return;
    };
    let x = cnv.obsm["X_cnv"].clone().into_csr();
    let groups = obs.texts("group").unwrap();
    for (name, score) in expected {
        let cells: Vec<usize> = (0..groups.len()).filter(|&c| groups[c] == *name).collect();
        let own = crate::cluster::profiles(&x.take_rows(&cells), &vec![0; cells.len()], 1).score[0];
        assert!(
            (own - score.as_f64().unwrap()).abs() < 1e-6,
            "{name}: {own}"
        );
        let spread = crate::cluster::ithcna(&x, &cells);
        // NaN in both where a cell of the group has no signal.
        match case["ithcna"][name].as_f64() {
            Some(theirs) => assert!((spread - theirs).abs() < 1e-5, "{name}: {spread} {theirs}"),
            None => assert!(spread.is_nan(), "{name}: {spread}"),
        }
    }
}
