//! What a user may point a workflow at: files that are brought, files of other programs, bad files.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::messages::{compare, problems};
use crate::project::{Project, TINY};

const GENES: usize = 240;

/// Patients `A` (40 cells) and `B` (3 cells) in a text matrix, annotations and gene positions.
const WORKFLOW: &str = "\
version: 1
name: inputs
axes:
  patient: [A, B]
inputs:
  counts: {path: data/counts.txt, format: geo_umi}
  annotations: {path: data/cells.tsv}
  genes: {path: data/genes.tsv}
stages:
  ingest:
    inputs: [counts, annotations]
    params: {group_by: Sample}
  preprocess:
    per: patient
    needs: [ingest]
    inputs: [genes]
    params: {cancer_vs_normal: {column: cell_type, cancer: [Tumour]}}
  infercnv:
    per: patient
    needs: [preprocess]
    params: {window_size: 20, step: 5, reference_key: cancer_vs_normal, reference_cat: [Normal]}
  cluster:
    per: patient
    needs: [infercnv]
";

fn count(gene: usize, cell: usize) -> usize {
    (gene * 31 + cell * 17 + gene * cell) % 23 % 5
}

fn cell(c: usize) -> String {
    format!("c{c}_{}", if c < 40 { "A" } else { "B" })
}

fn matrix() -> String {
    let mut text = String::from("Index");
    (0..43).for_each(|c| write!(text, "\t{}", cell(c)).expect("text"));
    text.push('\n');
    for g in 0..GENES {
        write!(text, "G{g}").expect("text");
        (0..43).for_each(|c| write!(text, "\t{}", count(g, c)).expect("text"));
        text.push('\n');
    }
    text
}

fn annotations() -> String {
    let mut text = String::from("Index\tSample\tCell_type\n");
    // Another order than the matrix has.
    for c in (0..43).rev() {
        let (sample, kind) = (
            if c < 40 { "A" } else { "B" },
            if c % 2 == 0 { "Tumour" } else { "T cell" },
        );
        writeln!(text, "{}\t{sample}\t{kind}", cell(c)).expect("text");
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

fn project(workflow: &str) -> Project {
    let p = Project::new(workflow);
    std::fs::create_dir(p.path().join("data")).expect("a folder");
    p.write("data/counts.txt", &matrix());
    p.write("data/cells.tsv", &annotations());
    p.write("data/genes.tsv", &positions());
    p
}

/// What `run` says where `edit` has changed the project.
fn refused(workflow: &str, edit: impl FnOnce(&Project)) -> String {
    let p = project(workflow);
    edit(&p);
    let ran = p.run(&["run", "w.yaml", "-j", "1"]);
    assert!(
        matches!(ran.code, 3 | 5 | 6),
        "{}: {}",
        ran.code,
        ran.stderr
    );
    ran.stderr
}

#[test]
fn a_patient_of_three_cells_hinders_no_other() {
    let p = project(WORKFLOW);
    let ran = p.run_json(&[]);
    let done = ran.nodes("did_execute");
    for node in [
        "cluster[A]",
        "infercnv[A]",
        "ingest",
        "preprocess[A]",
        "preprocess[B]",
    ] {
        assert!(
            done.iter().any(|n| n == node),
            "{node} not in {done:?}\n{}",
            ran.stderr
        );
    }
    for event in ran.events().iter().filter(|e| e["event"] == "did_fail") {
        let id = event["id"].as_str().expect("a node");
        assert!(id.ends_with("[B]"), "{event}");
    }
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let with = |from: &str, to: &str| WORKFLOW.replace(from, to);
    let counts = |edit: &dyn Fn(String) -> String| {
        let edited = edit(matrix());
        refused(WORKFLOW, |p| p.write("data/counts.txt", &edited))
    };
    let said = [
        counts(&|m| m.replacen("G3\t", "G3\t1\t", 1)),
        counts(&|m| m.replacen("G7\t", "G6\t", 1)),
        counts(&|m| m.replacen("\tc1_A", "\tc0_A", 1)),
        refused(&with("group_by: Sample", "group_by: Donor"), |_| {}),
        refused(&with("column: cell_type", "column: origin"), |_| {}),
        refused(
            &with("reference_cat: [Normal]", "reference_cat: [Healthy]"),
            |_| {},
        ),
        refused(WORKFLOW, |p| {
            p.write("data/genes.tsv", &positions().replace('G', "X"));
        }),
        refused(WORKFLOW, |p| p.write("data/counts.txt", "")),
        refused(WORKFLOW, |p| {
            p.write("data/counts.txt", "Salted__\u{1}\u{2}")
        }),
    ];
    compare(
        &Project::new(WORKFLOW),
        "inputs_refused",
        &problems(&said.concat()),
    );
}

/// The project after `edit`, run as far as `preprocess`; what it said.
fn ingested(workflow: &str, edit: impl FnOnce(&Project)) -> (Project, String) {
    let p = project(workflow);
    edit(&p);
    let ran = p.run(&["run", "w.yaml", "-j", "1", "--until", "preprocess"]);
    (p, ran.expect(0).stderr)
}

/// The lines of a published table.
fn table(p: &Project, name: &str) -> String {
    let path = p.path().join("results/inputs/tables").join(name);
    std::fs::read_to_string(path).expect("the table")
}

#[test]
fn samples_are_texts_as_they_are_written() {
    for [one, other] in [
        ["1.1", "1.10"],
        ["1E2", "10E1"],
        ["007", "7"],
        ["TRUE", "True"],
    ] {
        let workflow = WORKFLOW.replace("[A, B]", &format!("[\"{one}\"]"));
        let cells = annotations()
            .replace("\tA\t", &format!("\t{one}\t"))
            .replace("\tB\t", &format!("\t{other}\t"));
        let (p, _) = ingested(&workflow, |p| p.write("data/cells.tsv", &cells));
        let summary = table(&p, "ingest_summary.tsv");
        let row = summary.lines().last().expect("a row");
        assert_eq!(
            row.split('\t').take(3).collect::<Vec<_>>(),
            [one, one, "40"]
        );
    }
    let said = refused(&WORKFLOW.replace("[A, B]", "[\"100\"]"), |p| {
        p.write("data/cells.tsv", &annotations().replace("\tA\t", "\t1E2\t"));
    });
    compare(&Project::new(WORKFLOW), "inputs_samples_are_texts", &said);
}

#[test]
fn columns_that_nobody_uses_stop_no_run() {
    let cells: String = annotations()
        .lines()
        .enumerate()
        .map(|(row, line)| match row {
            0 => format!("\t{line}\tsex/gender\t__x\tSample2\tSample2\n"),
            row => format!("{row}\t{line}\tm\t1\t2\t{row}\n"),
        })
        .collect();
    let (p, said) = ingested(WORKFLOW, |p| p.write("data/cells.tsv", &cells));
    compare(&p, "inputs_columns_left_out", &problems(&said));
}

#[test]
fn words_for_missing_are_neither_a_sample_nor_a_label() {
    let (p, said) = ingested(WORKFLOW, |p| {
        let cells = annotations();
        let cells = cells
            .replace("c0_A\tA\tTumour", "c0_A\tA\tNone")
            .replace("c1_A\tA\tT cell", "c1_A\tA\t<NA>")
            .replace("c2_A\tA\tTumour", "c2_A\tnan\tTumour")
            .replace("c3_A\tA\tT cell", "c3_A\tN/A\tT cell");
        p.write("data/cells.tsv", &cells);
    });
    compare(&p, "inputs_missing_values", &problems(&said));
    let checks = table(&p, "qc_checks.A.tsv");
    // Of 38 cells two have no label.
    let rows: Vec<&str> = checks
        .lines()
        .filter(|line| {
            line.split('\t')
                .next()
                .is_some_and(|c| c.ends_with("_cells"))
        })
        .filter_map(|line| line.rsplit_once('\t'))
        .map(|(row, _)| row)
        .collect();
    assert_eq!(
        rows,
        [
            "empty_cells\tpass\t0",
            "cancer_cells\tpass\t18",
            "normal_cells\tpass\t18",
            "unlabelled_cells\twarn\t2"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_table_of_counts_is_named() {
    let transposed = {
        let rows: Vec<Vec<String>> = matrix()
            .lines()
            .map(|l| l.split('\t').map(str::to_string).collect())
            .collect();
        let line = |c: usize| {
            let fields: Vec<&str> = rows.iter().map(|r| r[c].as_str()).collect();
            fields.join("\t") + "\n"
        };
        (0..44).map(line).collect::<String>()
    };
    let utf16: Vec<u8> = matrix().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all = String::new();
    for bytes in [
        format!("# Program:featureCounts v2\n{}", matrix()).into_bytes(),
        transposed.into_bytes(),
        matrix().replace('\n', "\r").into_bytes(),
        format!("\n{}", matrix()).into_bytes(),
        utf16,
    ] {
        let said = refused(WORKFLOW, |p| {
            std::fs::write(p.path().join("data/counts.txt"), &bytes).expect("written");
        });
        all += &said;
    }
    compare(&Project::new(WORKFLOW), "tables_of_counts", &all);
}

#[test]
fn a_10x_folder_takes_the_place_of_a_text() {
    let p = project(WORKFLOW);
    let text = p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    drop(text);
    let store = |dir: &str| {
        let run = ["run", "w.yaml", "--until", "preprocess", "--results", dir];
        let all = [
            &run[..],
            &[
                "--input",
                "counts=data/tenx",
                "--set",
                "ingest.cell_id=Index",
            ],
        ]
        .concat();
        p.run(&all)
    };
    std::fs::create_dir(p.path().join("data/tenx")).expect("a folder");
    let cells: String = (0..43).map(|c| cell(c) + "\n").collect();
    let genes: String = (0..GENES)
        .map(|g| format!("G{g}\tG{g}\tGene Expression\n"))
        .collect();
    let mut entries = String::new();
    let mut n = 0;
    for c in 0..43 {
        for g in (0..GENES).filter(|&g| count(g, c) > 0) {
            writeln!(entries, "{} {} {}", g + 1, c + 1, count(g, c)).expect("text");
            n += 1;
        }
    }
    p.write("data/tenx/barcodes.tsv", &cells);
    p.write("data/tenx/features.tsv", &genes);
    p.write(
        "data/tenx/matrix.mtx",
        &format!("%%MatrixMarket matrix coordinate integer general\n{GENES} 43 {n}\n{entries}"),
    );
    // The format stands in the workflow and is the text's.
    let wrong = store("r1");
    assert_ne!(wrong.code, 0);
    p.write("w.yaml", &WORKFLOW.replace(", format: geo_umi", ""));
    store("r2").expect(0);
    // A folder of links to the same files is the same input.
    std::fs::create_dir(p.path().join("data/linked")).expect("a folder");
    for file in ["barcodes.tsv", "features.tsv", "matrix.mtx"] {
        let (from, to) = (p.path().join("data/tenx"), p.path().join("data/linked"));
        std::os::unix::fs::symlink(from.join(file), to.join(file)).expect("a link");
    }
    let linked = ["--input", "counts=data/linked", "--until", "preprocess"];
    let linked = p.run_json(&[&linked[..], &["--set", "ingest.cell_id=Index"]].concat());
    assert_eq!(linked.expect(0).nodes("did_execute"), Vec::<String>::new());
    // The matrix by itself stands for the files that are read with it.
    let matrix = || {
        let args = [
            "--input",
            "counts=data/tenx/matrix.mtx",
            "--until",
            "ingest",
        ];
        let run = p.run_json(&[&args[..], &["--set", "ingest.cell_id=Index"]].concat());
        run.expect(0).nodes("did_execute")
    };
    assert_eq!(matrix(), ["ingest"]);
    assert_eq!(matrix(), Vec::<String>::new());
    // The same by its bare name, from its own folder, where the matrix of another library is not whole.
    for file in ["barcodes.tsv", "features.tsv", "matrix.mtx"] {
        let from = p.path().join("data/tenx").join(file);
        std::fs::copy(from, p.path().join(file)).expect("copied");
    }
    p.write("other_matrix.mtx", "");
    let bare = ["--input", "counts=matrix.mtx", "--until", "ingest"];
    let bare = p.run_json(&[&bare[..], &["--set", "ingest.cell_id=Index"]].concat());
    assert_eq!(bare.expect(0).nodes("did_execute"), Vec::<String>::new());
    p.write("data/tenx/features.tsv", &genes.replace("G0\tG0", "G0\tH0"));
    assert_eq!(matrix(), ["ingest"]);
}

#[test]
fn a_stage_that_cannot_join_is_refused_by_check() {
    let p = Project::new(&TINY.replace("  preprocess:\n    per: patient\n", "  preprocess:\n"));
    let mut said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    // Roles that may be absent are taken once all the same.
    let text = TINY
        .replace(
            "  patient: [A, B]\n",
            "  patient: [A, B]\n  res: {lo: {}, hi: {cluster: {resolution: 2}}}\n",
        )
        .replace(
            "  cluster:\n    per: patient\n",
            "  cluster:\n    per: [patient, res]\n",
        )
        .replace("  dosage:\n", "  dosage:\n    per: res\n");
    let export = "  export:\n    per: patient\n    needs: [preprocess, infercnv, cluster]\n";
    p.write("w.yaml", &text);
    p.run(&["check", "w.yaml"]).expect(0);
    p.write("w.yaml", &format!("{text}{export}"));
    said += &p.run(&["check", "w.yaml"]).expect(3).stderr;
    compare(&p, "inputs_stages_that_cannot_join", &said);
}

#[test]
fn luad10_runs_on_the_simulated_files_unchanged() {
    let luad = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/luad10.yaml");
    let p = Project::new(WORKFLOW);
    let out = ["--out", "data/GSE131907"];
    p.run(
        &[
            &["simulate", "--like", "gse131907", "--scale", "0.002"][..],
            &out,
        ]
        .concat(),
    )
    .expect(0);
    for file in [
        "truth/truth_genes.tsv",
        "truth/truth_cells.tsv",
        "truth/truth_events.tsv",
    ] {
        assert!(
            p.path().join("data/GSE131907").join(file).is_file(),
            "{file}"
        );
    }
    let ran = p
        .run(&["run", luad, "--until", "infercnv", "--format", "json"])
        .expect(0);
    let patients = [
        "P0006", "P0008", "P0009", "P0018", "P0019", "P0020", "P0028", "P0030", "P0031", "P0034",
    ];
    let expected: Vec<String> = patients.iter().map(|p| format!("infercnv[{p}]")).collect();
    let done = ran.nodes("did_execute");
    assert!(expected.iter().all(|n| done.contains(n)), "{done:?}");
    let summary = p.path().join("results/luad10/tables/ingest_summary.tsv");
    let text = std::fs::read_to_string(summary).expect("the summary");
    let samples = text.lines().filter_map(|line| line.split('\t').nth(1));
    assert_eq!(samples.filter(|s| *s == "LUNG_N06,LUNG_T06").count(), 1);
}

/// Serves one body; remembers what was asked.
pub(crate) fn serve(body: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/counts.txt",
        listener.local_addr().expect("bound")
    );
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            seen.lock().expect("seen").push(first);
            let mut stream = stream;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
    (url, asked)
}

#[test]
fn an_input_with_a_url_is_brought_once() {
    let (url, asked) = serve(matrix());
    let digest = format!("blake3:{}", blake3::hash(matrix().as_bytes()).to_hex());
    let with = |more: &str| {
        WORKFLOW.replace(
            "format: geo_umi",
            &format!("format: geo_umi, url: \"{url}\"{more}"),
        )
    };
    let p = project(&with(&format!(", digest: \"{digest}\"")));
    std::fs::remove_file(p.path().join("data/counts.txt")).expect("removed");
    // What only looks does not bring anything.
    let mut said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(asked.lock().expect("asked").is_empty());
    let until = ["run", "w.yaml", "-j", "1", "--until", "ingest"];
    said += &p.run(&until).expect(0).stderr;
    let there = std::fs::read_to_string(p.path().join("data/counts.txt")).expect("brought");
    assert_eq!(there, matrix());
    p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    assert_eq!(asked.lock().expect("asked").len(), 1);

    // Another path on the command line is another file: it is not brought from this url.
    let other = p
        .run(&["run", "w.yaml", "--input", "counts=data/typo.txt"])
        .expect(3);
    said += &other.stderr;

    std::fs::remove_file(p.path().join("data/counts.txt")).expect("removed");
    p.write(
        "w.yaml",
        &with(&format!(", digest: \"blake3:{}\"", "0".repeat(64))),
    );
    let wrong = p.run(&["run", "w.yaml"]).expect(3).stderr;
    assert_eq!(wrong.matches(&digest).count(), 1, "{wrong}");
    said += &wrong;
    assert!(!p.path().join("data/counts.txt").exists());

    p.write(
        "w.yaml",
        &with(", digest: \"md5:1\"").replace("http:", "ftp:"),
    );
    said += &p.run(&["check", "w.yaml"]).expect(3).stderr;
    let address = url.trim_start_matches("http:");
    compare(
        &p,
        "inputs_with_a_url",
        &problems(&said.replace(address, "//<host>")),
    );
}

#[test]
fn check_opens_the_inputs() {
    let p = project(&WORKFLOW.replace("data/counts.txt", "data/counts.h5ad"));
    let file = p.path().join("data/counts.h5ad");
    std::fs::write(&file, b"\x89HDF\r\n\x1a\n").expect("written");
    let mut said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    // What the workflow says of the format decides, not the name.
    let text = WORKFLOW.replace("data/counts.txt", "data/counts.dat");
    p.write("w.yaml", &text);
    let text = p.path().join("data/counts.txt");
    std::fs::copy(&text, p.path().join("data/counts.dat")).expect("copied");
    p.run(&["check", "w.yaml"]).expect(0);
    let fifo = std::process::Command::new("mkfifo")
        .arg(p.path().join("data/fifo"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    let fifo = p.run(&["check", "w.yaml", "--input", "counts=data/fifo"]);
    said += &fifo.expect(3).stderr;
    // Gene positions are read as a run reads them.
    let genes = positions();
    p.write("data/genes.tsv", &genes.replace('\n', "\r"));
    p.run(&["check", "w.yaml"]).expect(0);
    p.write("data/genes.tsv", "name\tplace\nTP53\tshort arm\n");
    said += &p.run(&["check", "w.yaml"]).expect(3).stderr;
    compare(&p, "inputs_opened_by_check", &said);
    p.write("data/genes.tsv", &genes);
    // Only where something that was asked for reads it.
    p.run(&["check", "w.yaml", "--input", "counts=data/counts.txt"])
        .expect(0);
}

#[test]
fn inspect_shows_what_a_run_left() {
    let p = project(&WORKFLOW.replace("patient: [A, B]", "patient: [A]"));
    p.run(&["run", "w.yaml"]).expect(0);
    let mut shown = String::new();
    for artifact in p.artifacts() {
        let path = artifact.to_str().expect("a path");
        shown += &p.run(&["inspect", path]).expect(0).stdout;
    }
    for expected in [
        "cancer_vs_normal",
        "X_cnv",
        "csr",
        "cnv_leiden",
        "qc_checks.tsv",
        "head",
        "stage_kind",
        "window_size",
    ] {
        assert!(shown.contains(expected), "{expected}\nnot in\n{shown}");
    }
    std::fs::write(p.path().join("page.html"), "<p>").expect("written");
    let mut shown = String::new();
    for file in [
        "data/counts.txt",
        "results/inputs/tables/qc_summary.A.tsv",
        "page.html",
    ] {
        shown += &p.run(&["inspect", file]).expect(0).stdout;
    }
    shown += &p.run(&["inspect", "data/nothing"]).expect(2).stderr;
    compare(&p, "inputs_inspected", &shown);
    p.run(&["inspect", "results/inputs/run.json"]).expect(0);
}

/// Files of a few kilobytes that say they hold 10^12 values and more.
#[test]
fn sizes_that_a_file_states_are_not_believed() {
    let hostile = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let p = Project::new("version: 1\n");
    let mut said = String::new();
    for file in ["obs_index_huge.h5ad", "tx_barcodes_huge.h5"] {
        let path = hostile.join(file).display().to_string();
        let ran = p.run(&["inspect", &path]).expect(3);
        said += &ran.stderr;
    }
    let counts = hostile.join("data_huge.h5ad").display().to_string();
    p.write(
        "w.yaml",
        &format!(
            "version: 1\nname: huge\naxes: {{patient: [A]}}\ninputs:\n  counts: {{path: {counts}}}\n\
             stages:\n  ingest:\n    inputs: [counts]\n    params: {{group_by: sample}}\n"
        ),
    );
    let ran = p.run(&["run", "w.yaml", "-j", "1"]);
    assert!(matches!(ran.code, 3 | 6), "{}: {}", ran.code, ran.stderr);
    said += &ran.stderr;
    compare(&p, "inputs_sizes_not_believed", &problems(&said));
}

#[test]
fn rows_that_count_reads_of_no_gene_are_left_out() {
    let p = project(WORKFLOW);
    let summary = |name: &str| format!("{name}{}\n", "\t5000".repeat(43));
    let text = matrix() + &summary("__no_feature") + &summary("N_unmapped");
    p.write("data/counts.txt", &text);
    let ran = p.run(&["run", "w.yaml", "-j", "1", "--until", "ingest"]);
    compare(
        &p,
        "inputs_reads_of_no_gene",
        &problems(&ran.expect(0).stderr),
    );
    let with = std::fs::read_to_string(p.path().join("results/inputs/tables/ingest_summary.tsv"));
    p.write("data/counts.txt", &matrix());
    p.run(&["run", "w.yaml", "--until", "ingest"]).expect(0);
    let without =
        std::fs::read_to_string(p.path().join("results/inputs/tables/ingest_summary.tsv"));
    assert_eq!(with.expect("published"), without.expect("published"));
}
