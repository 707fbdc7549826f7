//! The stage against scanpy, its errors, and its laws.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use clcc_data::genome::{Duplicates, Gene, Position};
use clcc_stage::stage::Quiet;
use clcc_testing::shared_data;

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap_or(f64::NAN))
        .collect()
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        // Absolute 1e-5 on values of order 1 to 10: scanpy computes in f32.
        assert!(
            (g - e).abs() < 1e-5 * e.abs().max(1.0) || (g.is_nan() && e.is_nan()),
            "{what} {i}: {g}, expected {e}"
        );
    }
}

/// A table that puts the genes on chr2 and chr1 in alternation, in falling order.
fn table(names: &[String]) -> GeneTable {
    let gene = |(i, name): (usize, &String)| Gene {
        name: name.clone(),
        id: None,
        chromosome: if name.starts_with("MT-") {
            "chrM".into()
        } else {
            format!("chr{}", 1 + i % 2)
        },
        start: Position::from_one(10 * (names.len() - i) as i64),
        end: Position::from_one(10 * (names.len() - i) as i64 + 5),
        class: None,
    };
    GeneTable {
        genes: names.iter().enumerate().map(gene).collect(),
        ..GeneTable::default()
    }
}

fn data(names: &[String], rows: Vec<Vec<(u32, f32)>>) -> AnnData {
    let mut obs = Frame::new((0..rows.len()).map(|c| format!("c{c}")).collect());
    let origin: Vec<&str> = (0..rows.len())
        .map(|c| if c % 3 == 0 { "nLung" } else { "tLung" })
        .collect();
    obs.set_category("sample_origin", &origin);
    let x = Csr::from_rows(names.len(), rows);
    AnnData {
        obs,
        var: Frame::new(names.to_vec()),
        x: Some(Matrix::Csr(x)),
        ..AnnData::default()
    }
}

#[test]
fn equals_scanpy_on_a_small_matrix() {
    // `tests/reference/preprocess/make.py` wrote the data and what scanpy 1.11.5 makes of it.
    let json: Value = serde_json::from_str(include_str!(
        "../../../../tests/reference/preprocess/small.json"
    ))
    .unwrap();
    let names: Vec<String> = json["genes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_string())
        .collect();
    let rows = json["counts"].as_array().unwrap().iter().map(|row| {
        let entries = row.as_array().unwrap().iter();
        entries
            .map(|e| (e[0].as_u64().unwrap() as u32, e[1].as_f64().unwrap() as f32))
            .collect()
    });
    let rows: Vec<Vec<(u32, f32)>> = rows.collect();
    let done = preprocess(
        data(&names, rows.clone()),
        Some(&table(&names)),
        &PreprocessParams::default(),
        &Quiet,
    )
    .unwrap();
    let obs = &done.expr.obs;
    for column in [
        "total_counts",
        "n_genes_by_counts",
        "pct_counts_mt",
        "S_score",
        "G2M_score",
    ] {
        assert_close(
            &obs.numbers(column).unwrap(),
            &numbers(&json[column]),
            column,
        );
    }
    let phase: Vec<&str> = json["phase"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert_eq!(obs.texts("phase").unwrap(), phase);
    assert!(
        ["G1", "S", "G2M"].iter().all(|p| phase.contains(p)),
        "every phase occurs"
    );

    // Genes moved; look each value up by name.
    let x = done.expr.x.clone().unwrap().into_csr();
    let at = |name: &String| done.expr.var.index.iter().position(|g| g == name).unwrap();
    for (c, (row, expected)) in rows.iter().zip(json["x"].as_array().unwrap()).enumerate() {
        let got: Vec<f64> = row
            .iter()
            .map(|e| f64::from(x.get(c, at(&names[e.0 as usize]))))
            .collect();
        assert_close(&got, &numbers(expected), "x");
        assert_eq!(x.row(c).0.len(), row.len());
        let counts = done.expr.layers["counts"].clone().into_csr();
        assert!(
            row.iter()
                .all(|e| counts.get(c, at(&names[e.0 as usize])) == e.1)
        );
    }
    let n_cells: Vec<f64> = names
        .iter()
        .map(|n| done.expr.var.numbers("n_cells").unwrap()[at(n)])
        .collect();
    assert_close(&n_cells, &numbers(&json["n_cells"]), "n_cells");
    assert_eq!(
        done.expr
            .var
            .flags("mt")
            .unwrap()
            .iter()
            .filter(|m| **m)
            .count(),
        3
    );
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("G{i}")).collect()
}

/// Four cells by five genes: cell 3 is empty, gene G4 unseen.
fn tiny() -> AnnData {
    data(
        &names(5),
        vec![
            vec![(0, 3.), (1, 1.)],
            vec![(2, 2.)],
            vec![(0, 1.), (3, 5.)],
            vec![],
        ],
    )
}

fn run(data: AnnData, params: &PreprocessParams) -> StageResult<Preprocessed> {
    let table = table(&data.var.index);
    preprocess(data, Some(&table), params, &Quiet)
}

#[test]
fn genes_come_in_genome_order_with_their_places() {
    let done = run(tiny(), &PreprocessParams::default()).unwrap();
    // Even genes are on chr1, odd ones on chr2, later genes first.
    assert_eq!(done.expr.var.index, ["G4", "G2", "G0", "G3", "G1"]);
    assert_eq!(
        done.expr.var.texts("chromosome").unwrap(),
        ["chr1", "chr1", "chr1", "chr2", "chr2"]
    );
    assert_eq!(
        done.expr.var.numbers("start").unwrap(),
        [10., 30., 50., 20., 40.]
    );
    assert_eq!(
        done.expr.obs.texts("cancer_vs_normal").unwrap(),
        ["Normal", "Cancer", "Cancer", "Normal"]
    );
    let check = |name: &str| done.checks.iter().find(|c| c.check == name).unwrap();
    assert_eq!(
        (check("empty_cells").verdict, check("empty_cells").value),
        (Verdict::Warn, 1.0)
    );
    assert_eq!(
        (check("empty_genes").verdict, check("empty_genes").value),
        (Verdict::Pass, 1.0)
    );
    assert_eq!(done.metrics["n_cancer"], 2);
}

#[test]
fn genes_without_a_place_leave_or_go_last() {
    let mut short = table(&names(5));
    short.genes.retain(|g| g.name != "G2" && g.name != "G3");
    let done = preprocess(tiny(), Some(&short), &PreprocessParams::default(), &Quiet).unwrap();
    assert_eq!(done.expr.var.index, ["G4", "G0", "G1"]);
    // Totals still count the genes that left: cell 2 has 1 of 6 counts in G0.
    let x = done.expr.x.unwrap().into_csr();
    assert!((f64::from(x.get(2, 1)) - (1e4f64 / 6.0).ln_1p()).abs() < 1e-6);
    let keep = PreprocessParams {
        require_position: false,
        ..Default::default()
    };
    let done = preprocess(tiny(), Some(&short), &keep, &Quiet).unwrap();
    assert_eq!(done.expr.var.index, ["G4", "G0", "G1", "G2", "G3"]);
    assert_eq!(done.expr.var.texts("chromosome").unwrap()[3], "");
    // chr1 has 2 placed genes, chr2 has 1.
    let large = PreprocessParams {
        min_genes_per_chromosome: 2,
        ..Default::default()
    };
    assert_eq!(
        preprocess(tiny(), Some(&short), &large, &Quiet)
            .unwrap()
            .expr
            .var
            .index,
        ["G4", "G0"]
    );
}

#[test]
fn filters_remove_cells_and_genes() {
    let cells = |params: PreprocessParams| run(tiny(), &params).unwrap().expr.obs.index;
    assert_eq!(
        cells(PreprocessParams {
            min_counts: 3.0,
            ..Default::default()
        }),
        ["c0", "c2"]
    );
    assert_eq!(
        cells(PreprocessParams {
            min_genes: 1,
            ..Default::default()
        }),
        ["c0", "c1", "c2"]
    );
    // A cell without counts has no percentage.
    assert_eq!(
        cells(PreprocessParams {
            max_pct_mt: Some(10.0),
            ..Default::default()
        }),
        ["c0", "c1", "c2"]
    );
    let genes = run(
        tiny(),
        &PreprocessParams {
            min_cells: 2,
            ..Default::default()
        },
    )
    .unwrap()
    .expr
    .var
    .index;
    assert_eq!(genes, ["G0"]);
    let none = run(
        tiny(),
        &PreprocessParams {
            min_counts: 100.0,
            ..Default::default()
        },
    )
    .unwrap_err();
    assert_eq!(
        none.to_string(),
        "none of 4 cells passes `min_counts`, `min_genes` and `max_pct_mt`"
    );
}

#[test]
fn broken_counts_are_errors_that_name_the_cell() {
    let message = |change: &dyn Fn(&mut AnnData), params: &PreprocessParams| {
        let mut data = tiny();
        change(&mut data);
        run(data, params).map(|_| ()).unwrap_err().to_string()
    };
    let value = |v: f32| {
        move |d: &mut AnnData| {
            d.x = Some(Matrix::Csr(Csr::from_rows(
                5,
                [vec![], vec![(2, v)], vec![], vec![]],
            )))
        }
    };
    let integer = PreprocessParams::default();
    let any = PreprocessParams {
        counts: Counts::Any,
        ..Default::default()
    };
    assert_eq!(
        message(&value(1.5), &integer),
        "cell `c1`, gene `G2`: expected a whole number, found `1.5`"
    );
    assert_eq!(
        message(&value(-1.0), &any),
        "cell `c1`, gene `G2`: expected a count of at least 0, found `-1`"
    );
    assert_eq!(
        message(&value(f32::NAN), &any),
        "cell `c1`, gene `G2`: expected a count, found `NaN`"
    );
    assert_eq!(
        message(&|d| d.obs.index[3] = "c0".into(), &integer),
        "cell id `c0` occurs more than once"
    );
    assert_eq!(
        message(&|d| d.var.index[3] = "G0".into(), &integer),
        "gene name `G0` occurs more than once"
    );
    let mut fractional = tiny();
    value(1.5)(&mut fractional);
    let done = run(fractional, &any).unwrap();
    let check = done
        .checks
        .iter()
        .find(|c| c.check == "whole_numbers")
        .unwrap();
    assert_eq!(check.verdict, Verdict::Warn);
    assert!(check.detail.contains("look like logarithms"));
}

#[test]
fn missing_positions_and_columns_say_what_to_do() {
    let error = preprocess(tiny(), None, &PreprocessParams::default(), &Quiet).unwrap_err();
    assert!(error.to_string().starts_with("there are no gene positions"));
    assert!(error.hint().unwrap().contains("builtin: grch38"));
    let other = table(&["X".to_string()]);
    let error = preprocess(tiny(), Some(&other), &PreprocessParams::default(), &Quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of 5 genes has a position; the first are `G0`, `G1`, `G2`"
    );
    assert!(error.hint().is_some());
    let rule = CancerVsNormal {
        column: "cell_type".into(),
        normal: vec![],
        cancer: vec!["Epithelial".into()],
    };
    let error = run(
        tiny(),
        &PreprocessParams {
            cancer_vs_normal: Some(rule),
            ..Default::default()
        },
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`cancer_vs_normal` decides by the column `cell_type`: no column `cell_type`; the columns are `sample_origin`"
    );
}

#[test]
fn own_positions_serve_without_a_table() {
    let mut data = tiny();
    data.var
        .set_category("chromosome", &["2", "1", "X", "", "1"]);
    data.var.set("start", Column::I64(vec![5, 9, 1, 1, 2]));
    data.var.set("end", Column::I64(vec![6, 9, 1, 1, 2]));
    let done = preprocess(data, None, &PreprocessParams::default(), &Quiet).unwrap();
    assert_eq!(done.expr.var.index, ["G4", "G1", "G0", "G2"]);
    assert_eq!(
        done.expr.var.texts("chromosome").unwrap(),
        ["chr1", "chr1", "chr2", "chrX"]
    );
}

#[test]
fn both_forms_of_the_label_rule() {
    let mut obs = Frame::new((0..4).map(|i| i.to_string()).collect());
    obs.set_category("cell_type", &["Epithelial", "T", "", "B"]);
    let rule = |json: &str| serde_json::from_str::<CancerVsNormal>(json).unwrap();
    let checks = cancer_vs_normal(
        &mut obs,
        &rule(r#"{"column": "cell_type", "cancer": ["Epithelial"]}"#),
    )
    .unwrap();
    assert_eq!(
        obs.texts("cancer_vs_normal").unwrap(),
        ["Cancer", "Normal", "", "Normal"]
    );
    assert_eq!(
        checks.iter().map(|c| c.value).collect::<Vec<_>>(),
        [1., 2., 1., 0.]
    );
    let checks = cancer_vs_normal(
        &mut obs,
        &rule(r#"{"column": "cell_type", "normal": ["t"]}"#),
    )
    .unwrap();
    assert_eq!(checks[1].verdict, Verdict::Warn);
    assert_eq!(
        checks[1].detail,
        "no cell is Normal: `cell_type` has the values `B`, `Epithelial`, `T`"
    );
    // What differs by capitals alone is asked after; what a patient may lack is counted.
    assert_eq!((checks[3].verdict, checks[3].value), (Verdict::Warn, 1.));
    assert_eq!(
        checks[3].detail,
        "no cell has `t` in `cell_type`: did you mean `T`? The values are `B`, `Epithelial`, `T`"
    );
    let checks = cancer_vs_normal(
        &mut obs,
        &rule(r#"{"column": "cell_type", "normal": ["T", "NK"]}"#),
    )
    .unwrap();
    assert_eq!((checks[3].verdict, checks[3].value), (Verdict::Pass, 1.));
}

#[test]
fn parameters_are_checked_and_typed() {
    let both: PreprocessParams = serde_json::from_str(
        r#"{"cancer_vs_normal": {"column": "x", "normal": ["a"], "cancer": ["b"]}, "max_pct_mt": 120, "target_sum": 0}"#,
    )
    .unwrap();
    let problems = clcc_stage::params::problems::<Preprocess>(&both);
    assert_eq!(
        problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(),
        ["max_pct_mt", "target_sum", "cancer_vs_normal"]
    );
    assert!(PreprocessParams::default().check().is_empty());
    assert!(serde_json::from_str::<PreprocessParams>(r#"{"min_gene": 3}"#).is_err());
    let round: PreprocessParams =
        serde_json::from_str(&serde_json::to_string(&PreprocessParams::default()).unwrap())
            .unwrap();
    assert_eq!(round, PreprocessParams::default());
    assert_eq!(round.duplicates, Duplicates::First);
}

#[test]
fn missing_cell_cycle_genes_leave_the_phase_open() {
    let done = run(tiny(), &PreprocessParams::default()).unwrap();
    assert!(
        done.expr
            .obs
            .numbers("S_score")
            .unwrap()
            .iter()
            .all(|s| s.is_nan())
    );
    assert!(
        done.expr
            .obs
            .texts("phase")
            .unwrap()
            .iter()
            .all(String::is_empty)
    );
    assert_eq!(
        done.checks
            .iter()
            .find(|c| c.check == "cell_cycle_genes")
            .unwrap()
            .verdict,
        Verdict::Warn
    );
}

proptest! {
    #[test]
    fn scaling_a_cell_leaves_its_expression(factor in 1u32..50, seed in any::<u64>()) {
        let mut rng = clcc_numerics::rng::Rng::new(seed, "preprocess test", &[]);
        let row: Vec<(u32, f32)> = (0..5).map(|g| (g, 1.0 + rng.below(20) as f32)).collect();
        let scaled: Vec<(u32, f32)> = row.iter().map(|e| (e.0, e.1 * factor as f32)).collect();
        let x = run(data(&names(5), vec![row, scaled]), &PreprocessParams::default()).unwrap().expr.x.unwrap().into_dense();
        for g in 0..5 {
            prop_assert!((x[[0, g]] - x[[1, g]]).abs() < 1e-5);
        }
        // Every gene has a place, so the scaled counts sum to the target.
        let sum: f64 = x.row(0).iter().map(|v| f64::from(*v).exp_m1()).sum();
        prop_assert!((sum / 1e4 - 1.0).abs() < 1e-5);
    }
}

#[test]
fn ovarian_cells_and_genes_resolve() {
    let Some(path) = shared_data("qian2020_ovarian/Qian2020_Ovarian.h5ad") else {
        return;
    };
    let counts = clcc_data::anndata::Reader::open(&path)
        .unwrap()
        .read()
        .unwrap();
    let rule = CancerVsNormal {
        column: "cell_type".into(),
        normal: vec![],
        cancer: vec!["Epithelial".into()],
    };
    let params = PreprocessParams {
        cancer_vs_normal: Some(rule.clone()),
        ..Default::default()
    };
    let done = preprocess(counts.clone(), Some(&GeneTable::grch38()), &params, &Quiet).unwrap();
    assert_eq!(
        (done.expr.n_obs(), &done.metrics["n_cancer"]),
        (4000, &serde_json::json!(1629))
    );
    assert_eq!(done.expr.n_vars(), 11_855);
    let phase = done.expr.obs.texts("phase").unwrap();
    assert!(
        ["G1", "S", "G2M"]
            .iter()
            .all(|p| phase.iter().filter(|q| q == p).count() > 40)
    );
    // With the published table of another data set, as the data's description counts them.
    let Some(paper) = shared_data("genes/gse131907_paper_gene_positions_hg38.tsv.gz") else {
        return;
    };
    let done = preprocess(
        counts,
        Some(&GeneTable::read(&paper).unwrap()),
        &params,
        &Quiet,
    )
    .unwrap();
    assert_eq!(done.expr.n_vars(), 11_236);
}

#[test]
fn ids_decide_where_the_genes_have_them() {
    // `A-1` is the second gene of the symbol `A`, as 10x data name it.
    let mut genes = table(&["A".to_string(), "B".to_string(), "A".to_string()]);
    for (gene, id) in genes.genes.iter_mut().zip(["ENSG1", "ENSG2", "ENSG3"]) {
        gene.id = Some(id.into());
    }
    let mut var = Frame::new(["A", "A-1", "B"].map(str::to_string).to_vec());
    let start = |placed: PlacedGenes| -> Vec<Option<i64>> {
        placed
            .genes
            .iter()
            .map(|g| g.place.as_ref().map(|p| p.1))
            .collect()
    };
    let params = PreprocessParams::default();
    let by_name = place_genes(&var, Some(&genes), &params).unwrap();
    assert_eq!(by_name.n_ambiguous, 1);
    assert_eq!(start(by_name), [Some(30), None, Some(20)]);
    let ids = ["ENSG1.4", "ENSG3.1", "ENSG9"].map(str::to_string);
    var.set("gene_ids", Column::Str(ids.to_vec()));
    let by_id = place_genes(&var, Some(&genes), &params).unwrap();
    assert_eq!(start(by_id), [Some(30), Some(10), Some(20)]);
}

#[test]
fn one_gene_under_two_names_is_refused_and_mixed_names_are_said() {
    let builtin = GeneTable::grch38();
    let params = PreprocessParams::default();
    let var = |names: &[&str]| Frame::new(names.iter().map(ToString::to_string).collect());
    let both = var(&["EGFR", "TP53", "ENSG00000141510.17"]);
    assert_eq!(
        place_genes(&both, Some(&builtin), &params)
            .unwrap_err()
            .to_string(),
        "`TP53` and `ENSG00000141510.17` are one gene, so its counts are split in two"
    );
    let mixed = var(&["EGFR", "MYC", "ENSG00000141510.17"]);
    let placed = place_genes(&mixed, Some(&builtin), &params).unwrap();
    assert_eq!(placed.n_unplaced, 0);
    let checks = placed.in_genome_order(&params).unwrap().checks();
    assert_eq!(checks[0].verdict, Verdict::Warn);
    assert_eq!(
        checks[0].detail,
        "gene names are mixed: 1 are Ensembl ids (`ENSG00000141510.17`), 2 are not (`EGFR`)"
    );
    let mouse = var(&["ENSMUSG00000059552", "ENSG00000141510"]);
    assert_eq!(
        place_genes(&mouse, Some(&builtin), &params).unwrap().ids.0,
        2
    );
}

#[test]
fn split_counts_have_two_layers_more_and_sum_to_all_counts() {
    let plain = preprocess(
        tiny(),
        Some(&table(&tiny().var.index)),
        &PreprocessParams::default(),
        &Quiet,
    )
    .unwrap();
    let params = PreprocessParams {
        count_split: true,
        ..PreprocessParams::default()
    };
    assert!(params.check().is_empty());
    let split = preprocess(tiny(), Some(&table(&tiny().var.index)), &params, &Quiet).unwrap();
    let layer =
        |done: &Preprocessed, name: &str| done.expr.layers[name].clone().into_csr().to_dense();
    let parts = layer(&split, "counts") + layer(&split, clcc_stage::cohort::HELD_OUT_COUNTS);
    assert_eq!(parts, layer(&plain, "counts"));
    assert!(split.expr.layers.contains_key(clcc_stage::cohort::HELD_OUT));
    assert_eq!(plain.expr.layers.len(), 1);
    // Metrics are those of all counts.
    assert_eq!(
        split.expr.obs.numbers("total_counts").unwrap(),
        plain.expr.obs.numbers("total_counts").unwrap()
    );
    let any = PreprocessParams {
        counts: Counts::Any,
        ..params
    };
    assert_eq!(any.check()[0].path, "count_split");
}

#[test]
fn a_chromosome_23_is_what_the_genome_says() {
    use clcc_data::genome::Assembly;
    let place = |chromosomes: [&str; 2], ids: [&str; 2], genome: Option<Assembly>| {
        let names = ["A", "B"].map(String::from);
        let mut genes = table(&names);
        for ((gene, chromosome), id) in genes.genes.iter_mut().zip(chromosomes).zip(ids) {
            gene.chromosome = chromosome.into();
            gene.id = (!id.is_empty()).then(|| id.into());
        }
        let params = PreprocessParams {
            genome,
            ..Default::default()
        };
        place_genes(&Frame::new(names.to_vec()), Some(&genes), &params).map(|placed| {
            let genes = placed.genes.into_iter();
            genes.map(|g| g.place.unwrap().0).collect::<Vec<_>>()
        })
    };
    let none = ["", ""];
    let human = Some(Assembly::GRCh38);
    assert_eq!(
        place(["chr23", "chr24"], none, human).unwrap(),
        ["chrX", "chrY"]
    );
    // A dog's: its X has a letter. A zebrafish's ids. What the user says.
    assert_eq!(place(["chr23", "chrX"], none, None).unwrap()[0], "chr23");
    let fish = ["ENSDARG00000000001", "ENSDARG00000000002"];
    assert_eq!(place(["chr23", "chr1"], fish, None).unwrap()[0], "chr23");
    let other = Some(Assembly::Other);
    assert_eq!(place(["chr23", "chr1"], none, other).unwrap()[0], "chr23");
    for ids in [none, ["ENSG00000000001", ""]] {
        let error = place(["chr1", "chr24"], ids, None).unwrap_err();
        assert!(error.to_string().contains("`chr24`, which is chrY"));
        assert!(error.hint().unwrap().contains("`GRCh38`"));
    }
    // The wrong genome is told which would fit, its numbers understood.
    let error = place(["chr20", "chr23"], none, Some(Assembly::GRCm39)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`chr20`, which is no chromosome of `GRCm39`")
    );
    assert!(error.hint().unwrap().contains("`GRCh37`, `GRCh38`"));
}
