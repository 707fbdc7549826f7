//! One file per patient or sample: a table of samples, and `{patient}` in paths.

use std::fmt::Write as _;

use serde_json::Value;

use crate::project::{Project, Ran};

const GENES: usize = 240;
const CELLS: usize = 30;

/// Counts of one sample: genes in rows.
fn matrix(shift: usize) -> String {
    let mut text = String::from("gene");
    (0..CELLS).for_each(|c| write!(text, "\tc{c}").expect("text"));
    text.push('\n');
    for g in 0..GENES {
        write!(text, "G{g}").expect("text");
        for c in 0..CELLS {
            write!(text, "\t{}", (g * 31 + (c + shift) * 17 + g * c) % 23 % 5).expect("text");
        }
        text.push('\n');
    }
    text
}

fn positions() -> String {
    let mut text = String::from("gene\tchr\tstart\tend\n");
    for g in 0..GENES {
        let start = 1000 * (g % 80 + 1);
        writeln!(text, "G{g}\t{}\t{start}\t{}", 1 + g / 80, start + 500).expect("text");
    }
    text
}

/// A workflow of which `axes` and `counts` are given.
fn workflow(axes: &str, counts: &str, ingest: &str) -> String {
    format!(
        "version: 1\nname: sheets\n{axes}inputs:\n  counts: {counts}\n  genes: {{path: data/genes.tsv}}\n\
         stages:\n  ingest:\n    {ingest}\n    inputs: [counts]\n  preprocess:\n    per: patient\n    \
         needs: [ingest]\n    inputs: [genes]\n    params:\n      \
         cancer_vs_normal: {{column: condition, normal: [normal]}}\n"
    )
}

const SHEET: &str = "patient,sample,path,condition\nA,T,a_t.tsv,tumour\nA,N,a_n.tsv,normal\nB,T,b_t.tsv,tumour\nB,N,b_n.tsv,normal\n";

fn project(text: &str) -> Project {
    let p = Project::new(text);
    std::fs::create_dir(p.path().join("data")).expect("a folder");
    p.write("data/genes.tsv", &positions());
    for (i, name) in ["a_t", "a_n", "b_t", "b_n", "c_t", "c_n"]
        .iter()
        .enumerate()
    {
        p.write(&format!("data/{name}.tsv"), &matrix(i));
    }
    p.write("data/samples.csv", SHEET);
    p
}

fn sheet_workflow() -> String {
    workflow("", "{sheet: data/samples.csv}", "per: patient")
}

/// Status of each node in `plan`.
fn plan(p: &Project) -> Vec<String> {
    let ran = p.run(&["plan", "w.yaml", "--format", "json"]).expect(0);
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let nodes = document["nodes"].as_array().expect("nodes");
    let of = |n: &Value| {
        let text = |key: &str| n[key].as_str().expect("text").to_string();
        format!("{} {}", text("id"), text("status"))
    };
    nodes.iter().map(of).collect()
}

fn refused(p: &Project) -> String {
    let ran: Ran = p.run(&["check", "w.yaml"]).expect(3);
    ran.stderr
}

#[test]
fn a_patient_comes_and_goes_and_the_others_stay_cached() {
    let p = project(&sheet_workflow());
    let ran = p.run(&["check", "w.yaml"]).expect(0);
    assert!(
        ran.stdout.contains("4 nodes, no problems"),
        "{}",
        ran.stdout
    );
    p.run(&["run", "w.yaml"]).expect(0);
    let summary = p.path().join("results/sheets/tables/ingest_summary.A.tsv");
    let summary = std::fs::read_to_string(summary).expect("a table");
    assert!(
        summary.contains("A\tT,N\t60\t") || summary.contains("A\tN,T\t60\t"),
        "{summary}"
    );
    // Another patient, and the sheet elsewhere with its files.
    std::fs::rename(p.path().join("data"), p.path().join("moved")).expect("moved");
    p.write("w.yaml", &sheet_workflow().replace("data/", "moved/"));
    let more = format!("{SHEET}C,T,c_t.tsv,tumour\nC,N,c_n.tsv,normal\n");
    p.write("moved/samples.csv", &more);
    assert_eq!(
        plan(&p),
        [
            "ingest[A] cached",
            "ingest[B] cached",
            "ingest[C] run",
            "preprocess[A] cached",
            "preprocess[B] cached",
            "preprocess[C] run"
        ]
    );
    let ran = p.run_json(&[]);
    assert_eq!(ran.nodes("did_execute"), ["ingest[C]", "preprocess[C]"]);
    // One leaves, and a value changes for another.
    p.write(
        "moved/samples.csv",
        &more
            .replace("A,T,a_t.tsv,tumour\nA,N,a_n.tsv,normal\n", "")
            .replace("C,N,c_n.tsv,normal", "C,N,c_n.tsv,healthy"),
    );
    p.write(
        "w.yaml",
        &sheet_workflow()
            .replace("data/", "moved/")
            .replace("[normal]", "[normal, healthy]"),
    );
    let ran = p.run_json(&[]);
    assert_eq!(
        ran.nodes("did_execute"),
        ["ingest[C]", "preprocess[B]", "preprocess[C]"]
    );
}

#[test]
fn a_path_may_name_the_patient() {
    let p = project(
        &workflow(
            "axes: {patient: [A, B]}\n",
            "{path: \"data/{patient}/counts.tsv\"}",
            "per: patient",
        )
        .replace(
            "cancer_vs_normal: {column: condition, normal: [normal]}",
            "cancer_vs_normal: {column: patient, normal: [A]}",
        ),
    );
    for (i, patient) in ["A", "B"].iter().enumerate() {
        std::fs::create_dir(p.path().join("data").join(patient)).expect("a folder");
        p.write(&format!("data/{patient}/counts.tsv"), &matrix(i));
    }
    p.run(&["run", "w.yaml"]).expect(0);
    p.write("data/B/counts.tsv", &matrix(7));
    let ran = p.run_json(&[]);
    assert_eq!(ran.nodes("did_execute"), ["ingest[B]", "preprocess[B]"]);
    std::fs::remove_file(p.path().join("data/A/counts.tsv")).expect("removed");
    let said = refused(&p);
    assert!(
        said.contains("input `counts[A]`: there is no file `data/A/counts.tsv`"),
        "{said}"
    );
    assert!(said.contains("w.yaml:5:"), "{said}");
    assert!(said.contains("--input counts=PATH"), "{said}");
}

#[test]
fn what_is_wrong_with_a_sheet_is_said_by_check() {
    let p = project(&sheet_workflow());
    for (sheet, expected) in [
        (
            SHEET.replace("b_n", "nowhere"),
            "`data/samples.csv`, line 5, column `path`: expected a file or folder, found nothing at `data/nowhere.tsv`",
        ),
        (
            SHEET.replace("B,N", "B,T"),
            "line 5, column `sample`: patient `B` has the sample `T` on line 4 too",
        ),
        (
            SHEET.replace("patient", "donor"),
            "line 1: expected a column `patient`, found the columns `donor`",
        ),
        (
            SHEET.replace("condition", "state"),
            "the cells have no column `condition`",
        ),
        (
            SHEET.replace("normal", "healthy"),
            "no cell has `normal` in `condition`, whose values are `healthy` (60), `tumour` (60)",
        ),
    ] {
        p.write("data/samples.csv", &sheet);
        let said = refused(&p);
        assert!(said.contains(expected), "{expected}\nnot in\n{said}");
    }
    p.write("data/samples.csv", SHEET);
    for (axes, counts, ingest, expected) in [
        (
            "",
            "{sheet: data/samples.csv}",
            "per: []",
            "add `per: patient` to the stage",
        ),
        (
            "axes: {patient: [A, b]}\n",
            "{sheet: data/samples.csv}",
            "per: patient",
            "patient `b` has no row in `data/samples.csv`, whose patients are `A`, `B`",
        ),
        (
            "",
            "{sheet: data/sample.csv}",
            "per: patient",
            "input `counts`: there is no file `data/sample.csv`",
        ),
        (
            "",
            "{sheet: data/samples.csv, path: x}",
            "per: patient",
            "expected one of `path`, `sheet` and `builtin`",
        ),
        (
            "",
            "{sheet: data/samples.csv, format: h5ad}",
            "per: patient",
            "`format` is not read together with `sheet`",
        ),
    ] {
        p.write("w.yaml", &workflow(axes, counts, ingest));
        let said = refused(&p);
        assert!(said.contains(expected), "{expected}\nnot in\n{said}");
    }
    // A patient of the sheet may be left out.
    p.write(
        "w.yaml",
        &workflow(
            "axes: {patient: [B]}\n",
            "{sheet: data/samples.csv}",
            "per: patient",
        ),
    );
    let ran = p.run(&["check", "w.yaml"]).expect(0);
    assert!(ran.stdout.contains("2 nodes"), "{}", ran.stdout);
    // Another sheet may be named for a run.
    std::fs::create_dir(p.path().join("other")).expect("a folder");
    p.write(
        "other/s.csv",
        &SHEET
            .replace(",a_", ",../data/a_")
            .replace(",b_", ",../data/b_"),
    );
    p.run(&["check", "w.yaml", "--input", "counts=other/s.csv"])
        .expect(0);
    p.write("other/s.csv", "patient,path\nA,../data/a_t.tsv\n");
    let said = p
        .run(&["check", "w.yaml", "--input", "counts=other/s.csv"])
        .expect(3)
        .stderr;
    assert!(
        said.contains("patient `B` has no row in `other/s.csv`"),
        "{said}"
    );
}

/// One file of all patients: the patients that stay are decided by what the last run wrote for them.
#[test]
fn a_patient_of_a_common_file_comes_and_goes_and_the_others_stay_cached() {
    let text = |patients: &str, groups: &str| {
        workflow(
            &format!("axes: {{patient: [{patients}]}}\n"),
            "{path: data/all.tsv}",
            &format!("params: {{group_by: who, groups: {{{groups}}}}}"),
        )
        .replace(
            "inputs: [counts]",
            "inputs: {counts: counts, annotations: cells}",
        )
        .replace(
            "inputs:\n  counts",
            "inputs:\n  cells: {path: data/cells.tsv}\n  counts",
        )
    };
    let p = project(&text("A, B", "A: [a], B: [b]"));
    p.write("data/all.tsv", &matrix(0));
    let mut cells = String::from("Index\twho\tcondition\n");
    for c in 0..CELLS {
        let who = ["a", "b", "c"][c % 3];
        let condition = ["tumour", "normal"][c % 2];
        writeln!(cells, "c{c}\t{who}\t{condition}").expect("text");
    }
    p.write("data/cells.tsv", &cells);
    p.run(&["run", "w.yaml"]).expect(0);
    p.write("w.yaml", &text("A, B, C", "A: [a], B: [b], C: [c]"));
    let after = [
        "preprocess[A] cached",
        "preprocess[B] cached",
        "preprocess[C] run",
    ];
    assert_eq!(plan(&p), [&["ingest run"], &after[..]].concat());
    let ran = p.run_json(&[]);
    assert_eq!(ran.nodes("did_execute"), ["ingest", "preprocess[C]"]);
    // One leaves, another is of other cells: only that one is uncertain.
    p.write("w.yaml", &text("B, C", "B: [b], C: [c, a]"));
    assert_eq!(
        plan(&p),
        ["ingest run", "preprocess[B] cached", "preprocess[C] maybe"]
    );
    // A change that concerns all leaves nothing certain.
    p.write(
        "w.yaml",
        &text("B, C", "B: [b], C: [c]").replace("group_by: who", "group_by: who, counts: any"),
    );
    assert_eq!(
        plan(&p),
        ["ingest run", "preprocess[B] maybe", "preprocess[C] maybe"]
    );
}

#[test]
fn a_sample_with_a_url_is_brought_for_its_patient_alone() {
    let (url, asked) = crate::inputs::serve(matrix(1));
    let p = project(&sheet_workflow());
    let with = |of: &str, url: &str| {
        let mut sheet = String::from("patient,sample,path,condition,url\n");
        for row in SHEET.lines().skip(1) {
            let url = if row.starts_with(of) { url } else { "" };
            writeln!(sheet, "{row},{url}").expect("text");
        }
        sheet
    };
    p.write("data/samples.csv", &with("A,N", &url));
    std::fs::remove_file(p.path().join("data/a_n.tsv")).expect("removed");
    // What only looks brings nothing, and another patient does not need it.
    let said = refused(&p);
    assert!(
        said.contains("line 3, column `path`")
            && said.contains(&format!("downloads it from {url}")),
        "{said}"
    );
    p.run(&["run", "w.yaml", "--only", "patient=B"]).expect(0);
    assert!(asked.lock().expect("asked").is_empty());
    let said = p.run(&["run", "w.yaml"]).expect(0).stderr;
    assert!(said.contains("FETCHED counts[A], N: "), "{said}");
    let there = std::fs::read_to_string(p.path().join("data/a_n.tsv")).expect("brought");
    assert_eq!(there, matrix(1));
    p.run(&["run", "w.yaml"]).expect(0);
    assert_eq!(asked.lock().expect("asked").len(), 1);

    p.write("data/samples.csv", &with("B,T", "ftp://host/x.tsv"));
    let said = refused(&p);
    assert!(
        said.contains("line 4, column `url`: expected a url with"),
        "{said}"
    );
    p.write(
        "data/samples.csv",
        &SHEET.replace("a_t.tsv", "s3://lab/a_t.tsv"),
    );
    let said = refused(&p);
    assert!(
        said.contains(
            "line 2, column `path`: expected a path on this machine, found `s3://lab/a_t.tsv`"
        ),
        "{said}"
    );
}
