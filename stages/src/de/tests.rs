//! The whole stage on two small patients with planted differences.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::anndata::{AnnData, Uns};
use crate::dosage::windows::tests::{genes, windows};
use crate::frame::{Column, Frame};
use crate::linalg::tests::at_threads;
use crate::matrix::{Csr, Matrix};
use crate::rng::Rng;
use crate::stage::{Branch, DeviceChoice, InputArtifact, Quiet};
use crate::table::{TextTable, write_tsv};

const SIZES: [(&str, usize); 2] = [("chr4", 60), ("chr5", 40)];
/// Cancer cells of a patient; patient A has 30 normal epithelial cells more, patient B none.
const CANCER: usize = 120;
/// More in discordant cells; lies on the gained chromosome 4.
const UP: usize = 7;
/// Less in discordant cells; lies on chromosome 5, which is neutral.
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
        obs.set_category("cell_type", &vec!["Epithelial cells"; n]);
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
    }
    let mut table = Frame::new(cells);
    table.set(
        "concordance_class",
        Column::Str(classes.iter().map(|c| c.to_string()).collect()),
    );
    let distance = |c: &&str| match *c {
        "discordant" => 1.4,
        "concordant" => 0.6,
        _ => 1.0,
    };
    table.set(
        "distance",
        Column::F64(classes.iter().map(distance).collect()),
    );
    let path = dir.join("concordance");
    write_tsv(&path, "cell", &table, &[]).unwrap();
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
    let mut null = Frame::new(table.index.clone());
    null.set(
        "labels",
        Column::Str((0..classes.len()).map(labels).collect()),
    );
    let path = dir.join("concordance_null");
    write_tsv(&path, "cell", &null, &[]).unwrap();
    add(&mut inputs, "concordance_null", None, path);
    let dosage = dir.join("dosage");
    let mut table = Frame::new(vec![var.index[UP].clone()]);
    table.set("slope", Column::F64(vec![0.25]));
    table.set("pvals_one_adj", Column::F64(vec![0.001]));
    table.set("class", Column::Str(vec!["insensitive".into()]));
    write_tsv(&dosage.join("dosage_genes.tsv"), "names", &table, &[]).unwrap();
    // Discordant cells of patient A fall short; patient B was not scored.
    let mut table = Frame::new((0..CANCER).map(|i| format!("A{i}")).collect());
    table.set("patient", Column::Str(vec!["A".into(); CANCER]));
    let z = |i: usize| i as f64 * 1e-3 + if class(i) == "discordant" { 2.0 } else { 0.0 };
    table.set("shortfall_z", Column::F64((0..CANCER).map(z).collect()));
    write_tsv(&dosage.join("dosage_cells.tsv"), "cell", &table, &[]).unwrap();
    add(&mut inputs, "dosage", None, dosage);
    inputs
}

fn run(inputs: Vec<InputArtifact>, out: &Path, threads: usize) -> Metrics {
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
    at_threads(threads, || De::run(&ctx, &DeParams::default())).unwrap()
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

    let beside = read("dosage_vs_discordance.tsv");
    assert_eq!(value(&beside, &[&var.index[UP]], "found_by"), "both");
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
        let mut expr = crate::anndata::Reader::open(&input.path)
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
    run(inputs, &out, 1);
    let read = |name: &str| TextTable::read(&out.join("de").join(name)).unwrap();
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
    assert_eq!(params.rank_sum(), crate::stats::RankSumOptions::SCIPY);
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

/// The authors' published table of P0006: BH from its own p-values, and the number of genes at
/// FDR < .05 and |log2FC| > .5 (2,663), P0018 likewise (3,408).
#[test]
fn the_published_tables_are_reproduced_from_their_p_values() {
    use std::io::Read as _;
    for (patient, expected) in [("P0006", 2663), ("P0018", 3408)] {
        let name = format!("paper/{patient}/de_cancer_vs_normal.csv.gz");
        let Some(path) = crate::genome::shared(&name) else {
            return;
        };
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        let at = |name: &str| header.iter().position(|h| *h == name).unwrap();
        let (p_at, q_at, fc_at, group_at) = (
            at("pvals"),
            at("pvals_adj"),
            at("logfoldchanges"),
            at("group"),
        );
        let rows: Vec<Vec<&str>> = lines
            .map(|l| l.split(',').collect::<Vec<_>>())
            .filter(|r| r[group_at] == "Cancer")
            .collect();
        let number = |r: &[&str], at: usize| r[at].parse::<f64>().unwrap();
        let p: Vec<f64> = rows.iter().map(|r| number(r, p_at)).collect();
        let adjusted = crate::stats::benjamini_hochberg(&p);
        for (row, q) in rows.iter().zip(&adjusted) {
            let published = number(row, q_at);
            assert!(
                (q - published).abs() <= 1e-9 * published,
                "{}: {q} {published}",
                row[0]
            );
        }
        let found = rows
            .iter()
            .zip(&adjusted)
            .filter(|(r, q)| **q < 0.05 && number(r, fc_at).abs() > 0.5)
            .count();
        assert_eq!(found, expected, "{patient}, {} genes", rows.len());
    }
}
