//! The whole stage on two small patients with planted differences.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::dosage::windows::tests::windows;
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_data::table::TextTable;
use clcc_numerics::rng::Rng;
use clcc_stage::rows::{ConcordanceNullRow, ConcordanceRow, DosageCellRow, DosageGeneRow};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};
use clcc_stage::tables::Table;
use clcc_testing::at_threads;
use clcc_testing::genes;

const SIZES: [(&str, usize); 2] = [("chr4", 60), ("chr5", 40)];
/// Cancer cells of a patient; patient A has 30 normal cells more, patient B none.
const CANCER: usize = 120;
/// Higher in discordant cells; on the gained chromosome 4.
const UP: usize = 7;
/// Lower in discordant cells; on chromosome 5, which is neutral.
const DOWN: usize = 80;

fn add(
    inputs: &mut Vec<InputArtifact>,
    role: &str,
    patient: Option<&str>,
    path: std::path::PathBuf,
) {
    let branch = patient.map_or_else(Branch::new, |p| {
        Branch::from([("patient".to_string(), p.to_string())])
    });
    inputs.push(InputArtifact {
        role: role.into(),
        branch,
        path,
        format: None,
        builtin: None,
    });
}

fn class(i: usize) -> &'static str {
    ["concordant", "intermediate", "discordant", "intermediate"][i % 4]
}

fn write_inputs(dir: &Path) -> Vec<InputArtifact> {
    let var = genes(&SIZES);
    let mut w = windows(&SIZES, 20, 10);
    let first = w.numbers("first_gene").unwrap();
    w.set(
        "start",
        Column::I64(first.iter().map(|&f| f as i64 * 1_000_000).collect()),
    );
    w.set(
        "end",
        Column::I64(first.iter().map(|&f| (f as i64 + 20) * 1_000_000).collect()),
    );
    let n_windows = w.len();
    let chr4: Vec<bool> = w
        .texts("chromosome")
        .unwrap()
        .iter()
        .map(|c| c == "chr4")
        .collect();
    let mut inputs = Vec::new();
    let (mut cells, mut classes) = (Vec::new(), Vec::new());
    for (p, n) in [("A", CANCER + 30), ("B", CANCER)] {
        let mut rng = Rng::new(11, "de test", &[n as u64]);
        let mut obs = Frame::new((0..n).map(|i| format!("{p}{i}")).collect());
        // The last ten normal cells of patient A are no epithelium.
        let cell_type =
            |i: usize| ["Epithelial cells", "T lymphocytes"][usize::from(i >= CANCER + 20)];
        obs.set_category("cell_type", &(0..n).map(cell_type).collect::<Vec<_>>());
        obs.set_category(
            "cancer_vs_normal",
            &(0..n)
                .map(|i| if i < CANCER { "Cancer" } else { "Normal" })
                .collect::<Vec<_>>(),
        );
        let mut counts = ndarray::Array2::<f32>::zeros((n, 100));
        let mut c = ndarray::Array2::<f32>::zeros((n, n_windows));
        for i in 0..n {
            let gain = if i < CANCER {
                0.1 + 0.2 * rng.uniform()
            } else {
                0.0
            };
            for g in 0..100 {
                let planted = match (g, if i < CANCER { class(i) } else { "" }) {
                    (UP, "discordant") | (DOWN, "concordant") => 3.0,
                    _ => 0.0,
                };
                let dosage = if g < 60 { 2.0 * gain } else { 0.0 };
                counts[[i, g]] = rng.poisson(0.5 + planted + dosage) as f32;
            }
            for k in 0..n_windows {
                c[[i, k]] = if chr4[k] {
                    gain as f32
                } else {
                    0.01 * rng.normal() as f32
                };
            }
        }
        cells.extend(obs.index.iter().cloned());
        classes.extend((0..n).map(|i| if i < CANCER { class(i) } else { "" }));
        let mut expr = AnnData {
            obs: obs.clone(),
            var: var.clone(),
            x: Some(Matrix::Csr(Csr::from_dense(&counts.mapv(f32::ln_1p)))),
            ..AnnData::default()
        };
        expr.layers
            .insert("counts".into(), Matrix::Csr(Csr::from_dense(&counts)));
        let path = dir.join(format!("expr.{p}"));
        expr.write_zarr(&path).unwrap();
        add(&mut inputs, "expr", Some(p), path);
        let mut cnv = AnnData {
            obs,
            var: var.clone(),
            ..AnnData::default()
        };
        cnv.obsm
            .insert("X_cnv".into(), Matrix::Csr(Csr::from_dense(&c)));
        cnv.uns.insert(
            "cnv".into(),
            Uns::Dict([("windows".to_string(), Uns::Frame(w.clone()))].into()),
        );
        let path = dir.join(format!("cnv.{p}"));
        cnv.write_zarr(&path).unwrap();
        add(&mut inputs, "cnv", Some(p), path);
        let mut clusters = AnnData {
            obs: Frame::new(cells[cells.len() - n..].to_vec()),
            ..AnnData::default()
        };
        let score = |i: usize| if i < CANCER { 0.0071 } else { 0.0053 };
        clusters
            .obs
            .set("cnv_score", Column::F64((0..n).map(score).collect()));
        let path = dir.join(format!("clusters.{p}"));
        clusters.write_zarr(&path).unwrap();
        add(&mut inputs, "clusters", Some(p), path);
    }
    let distance = |class: &str| match class {
        "discordant" => 1.4,
        "concordant" => 0.6,
        _ => 1.0,
    };
    let row = |(cell, class): (&String, &&str)| ConcordanceRow {
        cell: cell.clone(),
        concordance_class: class.to_string(),
        distance: distance(class),
        ..ConcordanceRow::default()
    };
    let rows = cells.iter().zip(&classes).map(row);
    let path = dir.join("concordance");
    Table::new(rows.collect()).write_as(&path).unwrap();
    add(&mut inputs, "concordance", None, path);
    // Three permutations: turned by one, by two, and the labels themselves.
    let labels = |i: usize| -> String {
        if classes[i].is_empty() {
            return "---".into();
        }
        let of = |c: &str| match c {
            "discordant" => 'd',
            "concordant" => 'c',
            _ => 'i',
        };
        let own = if i < CANCER + 30 { i } else { i - CANCER - 30 };
        [1, 2, 0].iter().map(|k| of(class(own + k))).collect()
    };
    let row = |(i, cell): (usize, &String)| ConcordanceNullRow {
        cell: cell.clone(),
        labels: labels(i),
    };
    let path = dir.join("concordance_null");
    Table::new(cells.iter().enumerate().map(row).collect())
        .write_as(&path)
        .unwrap();
    add(&mut inputs, "concordance_null", None, path);
    let dosage = dir.join("dosage");
    let gene = DosageGeneRow {
        names: var.index[UP].clone(),
        slope: 0.25,
        pvals_one_adj: 0.001,
        class: "insensitive".into(),
        ..DosageGeneRow::default()
    };
    Table::new(vec![gene]).write(&dosage).unwrap();
    // Discordant cells of patient A fall short; patient B was not scored.
    let z = |i: usize| i as f64 * 1e-3 + if class(i) == "discordant" { 2.0 } else { 0.0 };
    let cell = |i: usize| DosageCellRow {
        cell: format!("A{i}"),
        patient: "A".into(),
        shortfall_z: Some(z(i)),
        ..DosageCellRow::default()
    };
    Table::new((0..CANCER).map(cell).collect())
        .write(&dosage)
        .unwrap();
    add(&mut inputs, "dosage", None, dosage);
    inputs
}

fn run(inputs: Vec<InputArtifact>, out: &Path, threads: usize) -> Metrics {
    run_with(&DeParams::default(), inputs, out, threads)
}

/// As the CLCC paper compares.
fn as_the_paper() -> DeParams {
    DeParams {
        cancer_vs_normal: vec![CancerNormal::AllCells, CancerNormal::Epithelial],
        cis_cells: CisCells::All,
        ..DeParams::default()
    }
}

fn run_with(params: &DeParams, inputs: Vec<InputArtifact>, out: &Path, threads: usize) -> Metrics {
    let cancel = AtomicBool::new(false);
    let ctx = StageContext {
        inputs,
        out_dir: out.to_path_buf(),
        keys: Vec::new(),
        seed: 1,
        threads,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &cancel,
    };
    at_threads(threads, || De::run(&ctx, params)).unwrap()
}

fn row<'a>(table: &'a TextTable, keys: &[&str]) -> Vec<&'a str> {
    let found = table
        .rows
        .iter()
        .find(|r| keys.iter().zip(r.iter()).all(|(k, v)| k == v));
    found
        .unwrap_or_else(|| panic!("no row {keys:?}"))
        .iter()
        .map(String::as_str)
        .collect()
}

#[test]
fn planted_genes_are_found_with_their_locus() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("one");
    let metrics = run(inputs.clone(), &out, 1);
    let var = genes(&SIZES);
    let read = |name: &str| TextTable::read(&out.join("de").join(name)).unwrap();

    let up = read("discordant_vs_concordant.pooled.tsv");
    assert_eq!(up.rows[0][0], var.index[UP]);
    assert_eq!(up.rows[99][0], var.index[DOWN]);
    assert!(
        up.numbers("scores")
            .unwrap()
            .windows(2)
            .all(|w| w[0] >= w[1])
    );

    let escape = read("escape_genes.tsv");
    let at = |name: &str| escape.position(name).unwrap();
    let pooled = row(&escape, &[&var.index[UP], "pooled"]);
    assert_eq!(
        (pooled[at("locus_state")], pooled[at("n_patients")]),
        ("gain", "2")
    );
    assert_eq!(
        (pooled[at("dosage_slope")], pooled[at("dosage_class")]),
        ("0.25", "insensitive")
    );
    let local: f64 = pooled[at("cnv_discordant")].parse().unwrap();
    assert!((local - 0.2).abs() < 0.03, "{local}");
    let compensation = read("compensation_genes.tsv");
    let lost = row(&compensation, &[&var.index[DOWN], "A"]);
    assert_eq!(
        lost[compensation.position("locus_state").unwrap()],
        "neutral"
    );
    assert!(
        compensation
            .notes
            .iter()
            .any(|n| n.contains("no copy-number change to escape from"))
    );
    assert!(
        metrics["n_compensation_rows_at_neutral_loci"]
            .as_u64()
            .unwrap()
            >= 3
    );

    let recurrence = read("recurrence.tsv");
    assert!(row(&recurrence, &[&var.index[UP], "escape", "0.5", "2"]).contains(&"A,B"));

    // Two patients: one degree of freedom, tested and written.
    let stratified = read("discordant_vs_concordant.stratified.tsv");
    assert!(stratified.notes[0].contains("df = 1"));

    // Chromosome 4 varies with its gain, chromosome 5 does not.
    let cis = read("cis_effects.tsv");
    let rho: f64 = row(&cis, &["chr4", "chromosome", "pooled"])[cis.position("spearman").unwrap()]
        .parse()
        .unwrap();
    let trans: f64 = row(&cis, &["chr4", "chromosome", "pooled"])
        [cis.position("trans_mean").unwrap()]
    .parse()
    .unwrap();
    assert!(rho > 0.3 && trans.abs() < 0.2, "{rho} {trans}");
}

#[test]
fn every_test_of_the_comparison_has_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("one");
    let metrics = run(inputs, &out, 2);
    let var = genes(&SIZES);
    let read = |name: &str| TextTable::read(&out.join("de").join(name)).unwrap();
    let value = |t: &TextTable, keys: &[&str], column: &str| -> String {
        row(t, keys)[t.position(column).unwrap()].to_string()
    };
    let number = |t: &TextTable, keys: &[&str], column: &str| -> f64 {
        value(t, keys, column).parse().unwrap()
    };

    // Every table states its test.
    for file in std::fs::read_dir(out.join("de")).unwrap() {
        let path = file.unwrap().path();
        let notes = TextTable::read(&path).unwrap().notes;
        let says = notes.iter().any(|n| n.contains("test"));
        assert!(says, "{}: {notes:?}", path.display());
    }
    // One cell type a patient: the strata are the patients.
    let within = read("discordant_vs_concordant.within_cell_types.tsv");
    assert!(
        within.notes[0].contains("in 2 strata"),
        "{}",
        within.notes[0]
    );
    assert_eq!(within.rows[0][0], var.index[UP]);
    let bulk = read("discordant_vs_concordant.pseudobulk.tsv");
    assert!(bulk.rows[..2].iter().any(|r| r[0] == var.index[UP]));
    assert!(number(&bulk, &[&var.index[UP]], "logfoldchanges") > 1.5);
    let contrasts = read("contrasts.tsv");
    let tests: std::collections::BTreeSet<&str> =
        contrasts.rows.iter().map(|r| r[2].as_str()).collect();
    assert_eq!(
        tests.into_iter().collect::<Vec<_>>(),
        [
            "paired t over patients",
            "pseudobulk, moderated paired t",
            "van Elteren within cell types",
            "wilcoxon (scanpy)"
        ]
    );

    let escape = read("escape_genes.tsv");
    let up = [var.index[UP].as_str(), "pooled"];
    assert_eq!(number(&escape, &up, "share_gained"), 1.0);
    assert_eq!(
        value(&escape, &up, "escapes_from"),
        "nothing: goes with the gain"
    );

    // The third permutation is the identity, so it finds what the labels find.
    let null = read("discordance_null.tsv");
    let pooled = |column: &str| number(&null, &["pooled", "0.3"], column);
    assert_eq!(pooled("null_max"), pooled("n_genes"));
    assert!(pooled("n_genes") >= 2.0 && pooled("pvals") >= 0.5);

    let compared = read("dosage_vs_discordance.tsv");
    assert_eq!(value(&compared, &[&var.index[UP]], "found_by"), "both");
    assert_eq!(metrics["n_genes_by_both"], 1);
    let cells = read("dosage_vs_discordance_cells.tsv");
    assert!(number(&cells, &["A"], "spearman") > 0.5 && number(&cells, &["A"], "auc") > 0.99);
    assert_eq!(value(&cells, &["B"], "n_cells"), "0");

    let scores = read("burden_scores.tsv");
    assert_eq!(value(&scores, &["distance", "A"], "n_high"), "30");
    let left_out = read("cis_effects_left_out.tsv");
    assert!(number(&left_out, &["chr4", "chromosome", "pooled"], "spearman") > 0.05);
}

#[test]
fn genes_set_aside_take_no_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut inputs = write_inputs(dir.path());
    // The planted gene takes a ribosomal name; it is made high in cancer cells of patient A.
    for input in inputs.iter_mut().filter(|i| i.role == "expr") {
        let mut expr = clcc_data::anndata::Reader::open(&input.path)
            .unwrap()
            .read()
            .unwrap();
        expr.var.index[UP] = "RPS7".into();
        input.path = dir
            .path()
            .join(format!("renamed.{}", input.branch["patient"]));
        expr.write_zarr(&input.path).unwrap();
    }
    let out = dir.path().join("one");
    run_with(&as_the_paper(), inputs, &out, 1);
    let read = |name: &str| TextTable::read(&out.join("de").join(name)).unwrap();
    // All cells are compared by every gene.
    let all = read("cancer_vs_normal.A.tsv");
    assert!(all.rows.len() == 100 && all.rows.iter().any(|r| r[0] == "RPS7"));
    let table = read("cancer_vs_normal_epithelial.A.tsv");
    assert_eq!(table.rows.len(), 99);
    assert!(table.rows.iter().all(|r| r[0] != "RPS7"));
    let aside = read("set_aside.tsv");
    assert_eq!(row(&aside, &["RPS7"])[1..3], ["ribosomal", "A"]);
    assert!(read("discordant_vs_concordant.A.tsv").rows.len() == 100);
}

#[test]
fn conventions_have_names() {
    let named = |convention, tie_correct| {
        DeParams {
            convention,
            tie_correct,
            ..DeParams::default()
        }
        .test_name()
    };
    assert_eq!(named(Convention::Scanpy, None), "wilcoxon (scanpy)");
    assert_eq!(named(Convention::Scipy, None), "wilcoxon (scipy)");
    assert_eq!(
        named(Convention::Scanpy, Some(true)),
        "wilcoxon (scanpy, tie_correct)"
    );
    let params: DeParams = serde_json::from_str(r#"{"convention": "scipy"}"#).unwrap();
    assert_eq!(
        params.rank_sum(),
        clcc_numerics::stats::RankSumOptions::SCIPY
    );
    assert!(serde_json::from_str::<DeParams>(r#"{"convention": "R"}"#).is_err());
}

#[test]
fn an_empty_group_is_not_applicable_and_not_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("one");
    run(inputs, &out, 1);
    let table = TextTable::read(&out.join("de/contrasts.tsv")).unwrap();
    let missing = row(&table, &["cancer_vs_normal_epithelial", "B"]);
    assert_eq!(missing[3], "not applicable");
    assert_eq!(
        missing[4],
        "expected at least 2 epithelial cells of normal samples, found 0"
    );
    assert!(!out.join("de/cancer_vs_normal_epithelial.B.tsv").exists());
    assert_eq!(
        row(&table, &["cancer_vs_normal_epithelial", "A"])[3],
        "tested"
    );
    assert_eq!(
        row(&table, &["discordant_vs_concordant", "stratified"])[3],
        "tested"
    );
}

#[test]
fn threads_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    run(inputs.clone(), &dir.path().join("one"), 1);
    run(inputs, &dir.path().join("four"), 4);
    let mut seen = 0;
    for file in std::fs::read_dir(dir.path().join("one/de")).unwrap() {
        let path = file.unwrap().path();
        let other = dir.path().join("four/de").join(path.file_name().unwrap());
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(other).unwrap(),
            "{}",
            path.display()
        );
        seen += 1;
    }
    assert!(seen >= 12, "{seen} tables");
}

#[test]
fn cancer_is_compared_with_all_normal_cells_where_the_workflow_asks() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let (out, plain) = (dir.path().join("paper"), dir.path().join("plain"));
    run_with(&as_the_paper(), inputs.clone(), &out, 2);
    run(inputs, &plain, 2);
    let read = |dir: &Path, name: &str| TextTable::read(&dir.join("de").join(name)).unwrap();
    let sizes = |dir: &Path, contrast: &str| -> Option<(String, String)> {
        let table = read(dir, "contrasts.tsv");
        let [group, reference] = ["n_group", "n_reference"].map(|n| table.position(n).unwrap());
        let here = |r: &&Vec<String>| r[0] == contrast && r[1] == "A";
        let found = table.rows.iter().find(here)?;
        Some((found[group].clone(), found[reference].clone()))
    };
    let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
    assert_eq!(sizes(&out, "cancer_vs_normal"), pair("120", "30"));
    for dir in [&out, &plain] {
        assert_eq!(sizes(dir, "cancer_vs_normal_epithelial"), pair("120", "20"));
    }
    assert_eq!(sizes(&plain, "cancer_vs_normal"), None);
    assert!(!plain.join("de/cancer_vs_normal.A.tsv").exists());
    assert!(
        read(&out, "cancer_vs_normal.A.tsv").notes[0]
            .contains("all normal cells (reference, n = 30)")
    );

    // Cis effects over every cell, by the same tables.
    let cells = |dir: &Path, file: &str| {
        let table = read(dir, file);
        row(&table, &["chr4", "chromosome", "A"])[table.position("n_cells").unwrap()].to_string()
    };
    for file in ["cis_effects.tsv", "cis_effects_left_out.tsv"] {
        assert_eq!(
            (cells(&out, file), cells(&plain, file)),
            ("150".into(), "120".into())
        );
        assert!(read(&out, file).notes[0].contains("all cells, cancer and normal together"));
    }
    let twice = DeParams {
        cancer_vs_normal: vec![CancerNormal::Epithelial; 2],
        ..DeParams::default()
    };
    assert_eq!(twice.problems()[0].path, "cancer_vs_normal");
}

#[test]
fn copy_number_scores_of_cancer_and_normal_cells_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("one");
    run(inputs, &out, 1);
    let table = TextTable::read(&out.join("de/cancer_vs_normal_scores.tsv")).unwrap();
    let of = |patient: &str, column: &str| -> f64 {
        row(&table, &["cnv_score", patient])[table.position(column).unwrap()]
            .parse()
            .unwrap()
    };
    assert_eq!((of("A", "n_cancer"), of("A", "n_normal")), (120.0, 30.0));
    assert_eq!(
        (of("pooled", "n_cancer"), of("pooled", "n_normal")),
        (240.0, 30.0)
    );
    for (column, score) in [("mean_cancer", 0.0071), ("mean_normal", 0.0053)] {
        assert!((of("A", column) - score).abs() < 1e-15, "{column}");
    }
    assert_eq!(of("A", "auc"), 1.0);
    // scipy.stats.mannwhitneyu([.0071] * 120, [.0053] * 30, method="asymptotic"): U = 3600 and this p.
    assert!((of("A", "z") - 12.2031649).abs() < 1e-6);
    assert!((of("A", "pvals") / 2.98973167e-34 - 1.0).abs() < 1e-6);
    // Patient B has no normal cell.
    assert!(!table.rows.iter().any(|r| r[1] == "B"));
    assert!(
        table
            .rows
            .iter()
            .any(|r| r[0] == "cnv_burden" && r[1] == "A")
    );
}

#[test]
fn the_table_of_patients_has_cells_and_genes() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = write_inputs(dir.path());
    let out = dir.path().join("one");
    run(inputs, &out, 1);
    let table = TextTable::read(&out.join("de/discordance_by_patient.tsv")).unwrap();
    assert_eq!(table.texts("patient").unwrap(), ["A", "B", "pooled"]);
    // One cell in four is concordant, one discordant.
    for (column, cells) in [
        ("n_cancer", [120.0, 120.0, 240.0]),
        ("n_concordant", [30.0, 30.0, 60.0]),
        ("n_intermediate", [60.0, 60.0, 120.0]),
        ("n_discordant", [30.0, 30.0, 60.0]),
    ] {
        assert_eq!(table.numbers(column).unwrap(), cells, "{column}");
    }
    // Genes as the tables of the comparisons have them.
    for (at, patient) in ["A", "B", "pooled"].into_iter().enumerate() {
        let file = out.join(format!("de/discordant_vs_concordant.{patient}.tsv"));
        let genes = TextTable::read(&file).unwrap();
        let (q, change) = (
            genes.numbers("pvals_adj").unwrap(),
            genes.numbers("logfoldchanges").unwrap(),
        );
        for limit in [0.3, 0.5] {
            let found = |sign: f64| {
                let is = |i: &usize| q[*i] < 0.05 && sign * change[*i] > limit;
                (0..q.len()).filter(is).count() as f64
            };
            let of = |name: &str| table.numbers(&format!("{name}_{limit}")).unwrap()[at];
            assert_eq!(of("n_escape"), found(1.0));
            assert_eq!(of("n_compensation"), found(-1.0));
            assert_eq!(of("n_genes"), found(1.0) + found(-1.0));
            assert!(
                found(1.0) >= 1.0 && found(-1.0) >= 1.0,
                "one gene each is planted"
            );
        }
    }
}
