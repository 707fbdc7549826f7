//! The stage against infercnvpy, and its laws.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use clcc_numerics::rng::Rng;
use clcc_stage::stage::Quiet;
use clcc_testing::at_threads;

struct Small {
    obs: Frame,
    var: Frame,
    x: Csr,
    json: Value,
}

fn strings(v: &Value) -> Vec<String> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap().to_string())
        .collect()
}

/// `tests/reference/infercnv/make.py` wrote the data and what infercnvpy 0.6.1 makes of it.
fn small() -> Small {
    let json: Value = serde_json::from_str(include_str!(
        "../../../../tests/reference/infercnv/small.json"
    ))
    .unwrap();
    let mut var = Frame::new(strings(&json["var"]["names"]));
    var.set_category("chromosome", &strings(&json["var"]["chromosome"]));
    for name in ["start", "end"] {
        let values = json["var"][name]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_i64().unwrap())
            .collect();
        var.set(name, Column::I64(values));
    }
    let rows = json["x"].as_array().unwrap().iter().map(|row| {
        let row = row.as_array().unwrap().iter();
        row.map(|e| (e[0].as_u64().unwrap() as u32, e[1].as_f64().unwrap() as f32))
            .collect()
    });
    let x = Csr::from_rows(var.len(), rows.collect::<Vec<_>>());
    let mut obs = Frame::new((0..x.n_rows()).map(|c| format!("c{c}")).collect());
    obs.set_category("group", &strings(&json["group"]));
    Small { obs, var, x, json }
}

/// The parameters as the script gave them to infercnvpy: the names are the same.
fn params_of(case: &Value) -> InfercnvParams {
    let mut given = case["params"].clone();
    if given["reference_cat"].is_string() {
        given["reference_cat"] = Value::Array(vec![given["reference_cat"].clone()]);
    }
    given["reference_key"] = "group".into();
    given["edges"] = case["edges"].clone();
    serde_json::from_value(given).unwrap()
}

#[test]
fn equals_infercnvpy_on_a_small_matrix() {
    let small = small();
    let cases = small.json["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, case) in cases {
        let params = params_of(case);
        let (cnv, _) = annotate(&small.obs, &small.var, &small.x, &params, &Quiet).unwrap();
        let got = cnv.obsm["X_cnv"].clone().into_dense();
        let expected = case["x_cnv"].as_array().unwrap();
        assert_eq!(
            got.ncols(),
            expected[0].as_array().unwrap().len(),
            "{name}: windows"
        );
        let mut largest = 0f64;
        for (c, row) in expected.iter().enumerate() {
            for (w, e) in row.as_array().unwrap().iter().enumerate() {
                let (e, g) = (e.as_f64().unwrap(), f64::from(got[[c, w]]));
                // Absolute, on values of order 0.3: infercnvpy averages and subtracts in f32.
                assert!(
                    (e - g).abs() < 2e-6,
                    "{name}: cell {c} window {w}: {g}, expected {e}"
                );
                largest = largest.max(e.abs());
            }
        }
        assert!(largest > 0.1, "{name}: the reference has a signal");
        for (chromosome, at) in case["chr_pos"].as_object().unwrap() {
            assert_eq!(
                cnv.uns["cnv"].at(&["chr_pos", chromosome]),
                Some(&Uns::I64(at.as_i64().unwrap())),
                "{name}"
            );
        }
        check_gene_values(name, case, &small.var, &cnv);
    }
}

fn check_gene_values(name: &str, case: &Value, var: &Frame, cnv: &AnnData) {
    let Some(expected) = case["gene_values"].as_array() else {
        return;
    };
    let got = cnv.layers["gene_values_cnv"].clone().into_dense();
    let place = |gene: &String| cnv.var.index.iter().position(|g| g == gene);
    let mut missing = 0;
    for (c, row) in expected.iter().enumerate() {
        for (gene, e) in var.index.iter().zip(row.as_array().unwrap()) {
            match (e.as_f64(), place(gene)) {
                (None, None) => {}
                (None, Some(g)) => {
                    assert!(got[[c, g]].is_nan(), "{name}: {gene} is in no window");
                    missing += 1;
                }
                (Some(e), Some(g)) => {
                    assert!(
                        (e - f64::from(got[[c, g]])).abs() < 2e-6,
                        "{name}: {gene}: {} {e}",
                        got[[c, g]]
                    );
                }
                (Some(e), None) => panic!("{name}: {gene} has {e} but did not enter"),
            }
        }
    }
    assert!(missing > 0, "{name}: some gene at an end is in no window");
}

#[test]
fn windows_name_their_genes() {
    let small = small();
    let params = InfercnvParams {
        reference_key: None,
        window_size: 12,
        step: 4,
        short_chromosomes: ShortChromosomes::Drop,
        ..Default::default()
    };
    let (cnv, metrics) = annotate(&small.obs, &small.var, &small.x, &params, &Quiet).unwrap();
    // chr1: (60-12)/4+1 = 13 windows, chr2: (25-12)/4 -> 3, +1 = 4; chr10 with 9 genes is dropped.
    assert_eq!(metrics["n_windows"], 17);
    assert_eq!(cnv.n_vars(), 85);
    let Some(Uns::Frame(windows)) = cnv.uns["cnv"].at(&["windows"]) else {
        panic!("a frame")
    };
    assert_eq!(windows.index[..2], ["chr1:0", "chr1:1"]);
    assert_eq!(windows.index[13], "chr2:0");
    // The 14th window holds genes 60..=71; chr2 starts at 1000 with genes 500 long every 1000.
    let numbers = |c: &str| windows.numbers(c).unwrap()[13];
    assert_eq!(
        ["start", "end", "first_gene", "last_gene"].map(numbers),
        [1000., 12_500., 60., 71.]
    );
    assert_eq!(cnv.var.index[60], "g060");
}

#[test]
fn same_edges_clip_the_genes_of_end_windows() {
    let small = small();
    let params = InfercnvParams {
        reference_key: None,
        window_size: 12,
        step: 4,
        edges: Edges::Same,
        ..Default::default()
    };
    let (cnv, _) = annotate(&small.obs, &small.var, &small.x, &params, &Quiet).unwrap();
    let Some(Uns::Frame(windows)) = cnv.uns["cnv"].at(&["windows"]) else {
        panic!("a frame")
    };
    let genes = |w: usize| {
        (
            windows.numbers("first_gene").unwrap()[w],
            windows.numbers("last_gene").unwrap()[w],
        )
    };
    // numpy's `same` with 12 weights: entry 0 covers genes -6..=5, entry 56 genes 50..=61, of 60.
    assert_eq!(genes(0), (0., 5.));
    assert_eq!(genes(14), (50., 59.));
}

#[test]
fn wrong_references_and_chromosomes_say_what_there_is() {
    let small = small();
    let run = |params: InfercnvParams| {
        annotate(&small.obs, &small.var, &small.x, &params, &Quiet)
            .unwrap_err()
            .to_string()
    };
    let named = InfercnvParams {
        reference_key: Some("group".into()),
        ..Default::default()
    };
    assert_eq!(
        run(named.clone()),
        "no cell has `Normal` in `group`, so there is no reference; the values are `B cell`, `T cell`, `tumour`"
    );
    let all = ["1", "chr2", "10", "X"].map(String::from).to_vec();
    let message = run(InfercnvParams {
        reference_key: None,
        exclude_chromosomes: all,
        ..Default::default()
    });
    assert!(
        message
            .contains("the chromosomes are `chr1`, `chr2`, `chr10`, `chrM`, `chrX`, `KI270711.1`"),
        "{message}"
    );
}

/// As if the data had never had them.
#[test]
fn excluded_genes_are_as_if_they_were_not_there() {
    let s = small();
    let params = InfercnvParams {
        reference_key: Some("group".into()),
        reference_cat: vec!["T cell".into()],
        window_size: 10,
        step: 3,
        ..Default::default()
    };
    let names = &s.var.index;
    let (one, start) = (
        names[7].clone(),
        names[20][..names[20].len() - 1].to_string(),
    );
    let gone = |name: &String| *name == one || name.starts_with(&start);
    let kept: Vec<usize> = (0..names.len()).filter(|&g| !gone(&names[g])).collect();
    assert!(kept.len() + 2 < names.len());
    let left_out = InfercnvParams {
        exclude_genes: vec![one.clone(), format!("{start}*"), "NO-SUCH*".into()],
        ..params.clone()
    };
    assert_eq!(left_out.excluded_in_vain(names, &[]), ["NO-SUCH*"]);
    let run = |var: &Frame, x: &Csr, params: &InfercnvParams| {
        let (found, _) = annotate(&s.obs, var, x, params, &Quiet).unwrap();
        found.obsm["X_cnv"].clone().into_dense()
    };
    let whole = run(&s.var, &s.x, &params);
    let found = run(&s.var, &s.x, &left_out);
    let without = run(&s.var.take(&kept), &s.x.take_cols(&kept), &params);
    assert_eq!(found, without);
    assert_ne!(found.dim(), whole.dim());
}

/// A random matrix of `n` cells on two chromosomes, half of the cells Normal.
fn random(n: usize, seed: u64) -> (Frame, Frame, Csr) {
    let mut rng = Rng::new(seed, "infercnv test", &[]);
    let g = 80;
    let x = Csr::from_rows(
        g,
        (0..n)
            .map(|_| {
                let cells = (0..g as u32).map(|c| (c, (rng.poisson(0.5) as f32).ln_1p()));
                cells.filter(|e| e.1 > 0.0).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>(),
    );
    let mut var = Frame::new((0..g).map(|i| format!("g{i}")).collect());
    var.set_category(
        "chromosome",
        &(0..g)
            .map(|i| if i < 50 { "chr1" } else { "chr2" })
            .collect::<Vec<_>>(),
    );
    var.set("start", Column::I64((0..g as i64).collect()));
    var.set("end", Column::I64((0..g as i64).collect()));
    let mut obs = Frame::new((0..n).map(|i| format!("c{i}")).collect());
    obs.set_category(
        "cancer_vs_normal",
        &(0..n)
            .map(|i| if i % 2 == 0 { "Normal" } else { "Cancer" })
            .collect::<Vec<_>>(),
    );
    (obs, var, x)
}

fn x_cnv(obs: &Frame, var: &Frame, x: &Csr, params: &InfercnvParams) -> Csr {
    annotate(obs, var, x, params, &Quiet).unwrap().0.obsm["X_cnv"]
        .clone()
        .into_csr()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn permuted_cells_give_permuted_rows_under_the_global_scope(seed in any::<u64>()) {
        let (obs, var, x) = random(20, seed);
        let params = InfercnvParams {
            window_size: 10, step: 3, noise_scope: NoiseScope::Global, chunksize: 6, ..Default::default()
        };
        let order = Rng::new(seed, "order", &[]).permutation(20);
        let straight = x_cnv(&obs, &var, &x, &params).to_dense();
        let permuted = x_cnv(&obs.take(&order), &var, &x.take_rows(&order), &params).to_dense();
        for (new, &old) in order.iter().enumerate() {
            for w in 0..straight.ncols() {
                // Absolute; the reference is summed in another order.
                prop_assert!((straight[[old, w]] - permuted[[new, w]]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn gene_order_does_not_matter(seed in any::<u64>()) {
        let (obs, var, x) = random(12, seed);
        let params = InfercnvParams { window_size: 10, step: 3, ..Default::default() };
        let order = Rng::new(seed, "genes", &[]).permutation(80);
        prop_assert_eq!(x_cnv(&obs, &var, &x, &params), x_cnv(&obs, &var.take(&order), &x.take_cols(&order), &params));
    }
}

#[test]
fn cells_equal_to_the_reference_have_no_signal() {
    let (obs, var, _) = random(6, 1);
    let x = Csr::from_rows(
        80,
        vec![
            (0..80)
                .map(|g| (g, 1.0 + g as f32 / 80.0))
                .collect::<Vec<_>>();
            6
        ],
    );
    let params = InfercnvParams {
        window_size: 10,
        dynamic_threshold: None,
        ..Default::default()
    };
    assert!(
        x_cnv(&obs, &var, &x, &params)
            .data()
            .iter()
            .all(|v| v.abs() < 1e-6)
    );
}

#[test]
fn threads_do_not_change_a_byte() {
    let (obs, var, x) = random(300, 9);
    let params = InfercnvParams {
        window_size: 12,
        step: 2,
        chunksize: 100,
        calculate_gene_values: true,
        ..Default::default()
    };
    let run = |threads| {
        at_threads(threads, || {
            annotate(&obs, &var, &x, &params, &Quiet).unwrap()
        })
    };
    let ((one, m1), (four, m4)) = (run(1), run(4));
    assert_eq!(one.obsm, four.obsm);
    assert_eq!(m1, m4);
    let bits = |a: &AnnData| {
        a.layers["gene_values_cnv"]
            .clone()
            .into_dense()
            .mapv(f32::to_bits)
    };
    assert_eq!(bits(&one), bits(&four));
}

#[test]
fn chunk_scope_has_one_threshold_per_chunk() {
    let (obs, var, x) = random(25, 2);
    let count = |params: InfercnvParams| {
        let metrics = annotate(&obs, &var, &x, &params, &Quiet).unwrap().1;
        metrics["noise_thresholds"].as_array().unwrap().len()
    };
    let base = InfercnvParams {
        window_size: 10,
        chunksize: 10,
        ..Default::default()
    };
    assert_eq!(count(base.clone()), 3);
    assert_eq!(
        count(InfercnvParams {
            noise_scope: NoiseScope::Global,
            ..base.clone()
        }),
        1
    );
    assert_eq!(
        count(InfercnvParams {
            dynamic_threshold: None,
            ..base
        }),
        0
    );
}

#[test]
fn parameters_out_of_range_are_all_reported() {
    let problems = clcc_stage::params::problems::<Infercnv>;
    let bad = InfercnvParams {
        step: 0,
        lfc_clip: f64::NAN,
        window_size: 0,
        reference_cat: vec![],
        ..Default::default()
    };
    let paths: Vec<String> = problems(&bad).into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["reference_cat", "lfc_clip", "window_size", "step"]);
    assert!(problems(&InfercnvParams::default()).is_empty());
}
