//! Names that a workflow states, looked up in the data before anything runs.

use std::fmt::Write as _;
use std::path::Path;

use crate::messages::compare;
use crate::project::{Project, Ran, TINY};

/// 30 genes of 40 cells of the samples `1.1` and `1.10`, tumour and normal.
fn write_data(p: &Project) {
    let mut counts = String::from("Index");
    let mut cells = String::from("Index\tSample\tCell_type\n");
    for cell in 0..40 {
        let (sample, kind) = (["1.1", "1.10"][cell % 2], ["Tumour", "T cell"][cell / 20]);
        let _ = write!(counts, "\tcell{cell}");
        let _ = writeln!(cells, "cell{cell}\t{sample}\t{kind}");
    }
    counts.push('\n');
    for gene in 0..30 {
        let _ = write!(counts, "G{gene}");
        for cell in 0..40 {
            let _ = write!(counts, "\t{}", (gene * 5 + cell * 3) % 7);
        }
        counts.push('\n');
    }
    p.write("counts.txt", &counts);
    p.write("cells.tsv", &cells);
}

/// `ingest` and `preprocess` with these parameters, and `infercnv`.
fn workflow(axis: &str, ingest: &str, labels: &str, infercnv: &str) -> String {
    format!(
        "version: 1\nname: names\naxes:\n  patient: {axis}\ninputs:\n  counts: {{path: counts.txt}}\n  \
         annotations: {{path: cells.tsv}}\nstages:\n  ingest:\n    inputs: [counts, annotations]\n    \
         params: {{{ingest}}}\n  preprocess:\n    per: patient\n    needs: [ingest]\n    \
         params: {{cancer_vs_normal: {{{labels}}}}}\n  infercnv:\n    per: patient\n    \
         needs: [preprocess]\n    params: {{{infercnv}}}\n"
    )
}

fn check(text: &str) -> Ran {
    let p = Project::new(text);
    write_data(&p);
    p.run(&["check", "w.yaml"])
}

const LABELS: &str = "column: cell_type, cancer: [Tumour]";

#[test]
fn every_name_that_the_data_lack_is_said_at_once_with_its_place() {
    let text = workflow(
        "[A]",
        "group_by: Smaple, groups: {A: ['1.2']}, columns: {cell_type: Cell_typ}",
        "column: Cell_type, cancer: [tumour]",
        "reference_key: cancer_vs_norml, reference_cat: [normal]",
    );
    let p = Project::new(&text);
    write_data(&p);
    for verb in ["check", "run"] {
        let said = p.run(&[verb, "w.yaml"]).expect(3).stderr;
        compare(&p, "names_that_the_data_lack", &said);
    }
    assert!(!p.path().join("results").exists());
}

#[test]
fn samples_are_the_text_that_is_written_on_the_axis_in_groups_and_on_the_command_line() {
    check(&workflow("[1.1, 1.10]", "group_by: Sample", LABELS, "")).expect(0);
    let wrong = check(&workflow("[1.100]", "group_by: Sample", LABELS, "")).expect(3);
    let mut said = wrong.stderr;
    let p = Project::new(&workflow(
        "[A]",
        "group_by: Sample, groups: {A: [1.10]}",
        LABELS,
        "",
    ));
    write_data(&p);
    p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    let summary = std::fs::read_to_string(p.path().join("results/names/tables/ingest_summary.tsv"));
    let summary = summary.expect("published");
    let row = summary.lines().last().expect("a row");
    assert_eq!(
        row.split('\t').take(3).collect::<Vec<_>>(),
        ["A", "1.10", "20"]
    );
    p.run(&["check", "w.yaml", "--set", "ingest.groups={A: [1.1]}"])
        .expect(0);
    let wrong = p
        .run(&["check", "w.yaml", "--set", "ingest.groups.A=[1.0]"])
        .expect(3);
    said += &wrong.stderr;
    compare(&p, "names_of_samples", &said);
}

#[test]
fn labels_of_patients_that_are_not_selected_and_default_lists_are_no_slips() {
    // `T cell` is nowhere in the sample that is selected.
    let p = Project::new(&workflow(
        "[A]",
        "group_by: Sample, groups: {A: [X]}",
        "column: cell_type, cancer: [Tumour, 'T cell']",
        "",
    ));
    write_data(&p);
    let cells = "Index\tSample\tCell_type\n";
    let rows = (0..40).map(|c| {
        format!(
            "cell{c}\t{}\t{}\n",
            ["X", "Y"][c / 20],
            ["Tumour", "T cell"][c / 20]
        )
    });
    p.write(
        "cells.tsv",
        &(cells.to_string() + &rows.collect::<String>()),
    );
    p.run(&["check", "w.yaml"]).expect(0);
    // Simulated cells have `nLung` of the default list `[nLung, nLN]`, and columns of their own.
    Project::new(TINY).run(&["check", "w.yaml"]).expect(0);
    let p = Project::new(&TINY.replace(
        "    params: {window_size: 50, step: 10}",
        "    params: {window_size: 50, step: 10, reference_key: sample_origin, reference_cat: [nLN]}",
    ));
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    compare(&p, "names_of_labels", &said);
}

#[test]
fn the_patient_of_a_cell_is_the_axis_value_whatever_the_data_call_so() {
    let p = Project::new(&workflow(
        "[A]",
        "group_by: patient, groups: {A: [d1, d2]}",
        "column: patient, cancer: [d1]",
        "",
    ));
    write_data(&p);
    let rows = (0..40).map(|c| format!("cell{c}\t{}\tT cell\n", ["d1", "d2"][c / 20]));
    let rows: String = rows.collect();
    p.write("cells.tsv", &format!("Index\tpatient\tCell_type\n{rows}"));
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    compare(&p, "names_of_patients", &said);
}

#[test]
fn a_column_that_a_stage_adds_takes_the_place_of_one_of_the_data() {
    let p = Project::new(&workflow(
        "[A]",
        "group_by: Sample, groups: {A: [1.10]}",
        LABELS,
        "reference_key: phase, reference_cat: [I0]",
    ));
    write_data(&p);
    let rows = (0..40).map(|c| format!("cell{c}\t1.10\t{}\tI0\n", ["Tumour", "T cell"][c / 20]));
    let rows: String = rows.collect();
    p.write(
        "cells.tsv",
        &format!("Index\tSample\tCell_type\tphase\n{rows}"),
    );
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    compare(&p, "names_in_columns_of_a_stage", &said);
}

#[test]
fn what_was_found_once_is_not_looked_up_again_until_names_or_inputs_change() {
    let p = Project::new(&workflow(
        "[A]",
        "group_by: Sample, groups: {A: [1.10]}",
        LABELS,
        "",
    ));
    write_data(&p);
    p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    assert!(p.path().join(".clcc/names.jsonl").exists());
    p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    let text = workflow(
        "[A]",
        "group_by: Sample, groups: {A: [1.10]}",
        "column: cell_type, cancer: [Tumor]",
        "",
    );
    p.write("w.yaml", &text);
    let said = p.run(&["run", "w.yaml"]).expect(3).stderr;
    compare(&p, "names_looked_up_again", &said);
}

#[test]
fn the_real_ovarian_set_is_checked_whole() {
    let counts = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/qian2020_ovarian/Qian2020_Ovarian.h5ad");
    if !counts.exists() {
        eprintln!("skipped: the ovarian counts are not here");
        return;
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/ovarian4.yaml");
    let shipped = std::fs::read_to_string(shipped).expect("read");
    let place = counts.display().to_string();
    let right = shipped.replace("data/Qian2020_Ovarian.h5ad", &place);
    Project::new(&right).run(&["check", "w.yaml"]).expect(0);
    let wrong = right
        .replace("group_by: sample", "group_by: smaple\n      layer: countz")
        .replace("S11: [\"11\"]", "S11: [\"111\"]")
        .replace("cell_type: cell_type}", "cell_type: cell_tipe}")
        .replace("cancer: [Epithelial]", "cancer: [epithelial]")
        .replace(
            "window_size: 250",
            "reference_key: cancer_vs_norml, reference_cat: [normal], window_size: 250",
        );
    let said = Project::new(&wrong)
        .run(&["check", "w.yaml"])
        .expect(3)
        .stderr;
    let said = said.replace(&place, "<counts>");
    compare(
        &Project::new("version: 1\n"),
        "names_of_the_ovarian_set",
        &said,
    );
}
