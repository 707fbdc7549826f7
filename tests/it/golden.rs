//! The bytes that every stage kind writes, against those that were written last: a change without
//! a new `CODE_VERSION` would let old results stand for new code.
//!
//! `CLCC_GOLDEN=write cargo test golden` writes the file anew; the reason belongs into the
//! changelog under "Results". Digests are kept by CPU, as the C library and the matrix products pick
//! their instructions by its features and their blocks by its caches; on a CPU that has none yet
//! the test says so and ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::project::Project;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests.tsv")
}

/// CPU class, model and cache sizes.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name"));
    let model = model.map_or("unknown", |m| m.trim_start_matches(['\t', ' ', ':']));
    let caches: Vec<String> = (0..5)
        .filter_map(|i| {
            let file = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size");
            Some(std::fs::read_to_string(file).ok()?.trim().to_string())
        })
        .collect();
    let class = clcc_flow::device::cpu_class();
    format!("{class}, {model}, {}", caches.join(" "))
}

/// Kinds that the demo has not.
const MORE: &str = "  baselines:
    needs: [preprocess, infercnv, cluster, mine]
  benchmark:
    needs: [simulate, preprocess, infercnv, cluster, mine, train, eval, concordance, dosage, de, baselines]
  compare:
    needs: [benchmark]
";

/// The demo made small, the kinds that it has not, and `ingest` reading a table of twelve cells.
fn fixture() -> Project {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo.yaml");
    let text = std::fs::read_to_string(demo)
        .expect("read")
        .replace("[P1, P2, P3]", "[P1, P2]")
        .replace("{n_cells: 500, n_genes: 6000}", "{n_cells: 300, n_genes: 3000}")
        .replace("epochs: 20", "epochs: 2")
        .replace(
            "inputs:\n  genes:",
            "inputs:\n  counts: {path: counts.txt, format: geo_umi}\n  annotations: {path: cells.txt}\n  genes:",
        )
        .replace(
            "stages:\n",
            "stages:\n  ingest:\n    inputs: [counts, annotations]\n    params: {group_by: Sample, groups: {P1: [S1], P2: [S2]}}\n",
        );
    let p = Project::new(&format!("{}\n{MORE}", text.trim_end()));
    let mut counts = String::from("Index");
    let mut cells = String::from("Index\tSample\tSample_Origin\tCell_type\n");
    for cell in 0..12 {
        let sample = 1 + cell % 2;
        let _ = write!(counts, "\tcell{cell}");
        let _ = writeln!(cells, "cell{cell}\tS{sample}\ttLung\tEpithelial cells");
    }
    counts.push('\n');
    for (g, gene) in ["TP53", "EGFR", "MYC", "ACTB", "CD3E"].iter().enumerate() {
        counts.push_str(gene);
        for cell in 0..12 {
            let _ = write!(counts, "\t{}", (g * 5 + cell * 3) % 7);
        }
        counts.push('\n');
    }
    p.write("counts.txt", &counts);
    p.write("cells.txt", &cells);
    p
}

/// Kind to (code version, digest over all its outputs).
fn found(p: &Project) -> BTreeMap<String, (u64, String)> {
    p.run_json(&[]).expect(0);
    let run = p.json("results/demo/run.json");
    let mut lines: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for node in run["nodes"].as_array().expect("nodes") {
        let kind = node["kind"].as_str().expect("a kind").to_string();
        let entry = lines.entry(kind).or_default();
        entry.0 = node["code_version"].as_u64().expect("a version");
        for output in node["outputs"].as_array().expect("outputs") {
            entry.1.push(format!("{} {output}", node["id"]));
        }
    }
    lines
        .into_iter()
        .map(|(kind, (version, lines))| {
            let digest = clcc_cache::digest_bytes(lines.join("\n").as_bytes());
            (kind, (version, digest.to_string()))
        })
        .collect()
}

/// Clones in which genes are tested, cells scored and a mixture fitted, and cells in none of them: bytes
/// say nothing of code that had nothing to do.
fn assert_it_had_work(p: &Project) {
    let metrics = p.json("results/demo/metrics.json");
    let count = |node: &str, name: &str| metrics[node][name].as_u64().unwrap_or(0);
    for name in ["n_sensitive", "n_cells_scored", "n_cells_unplaced"] {
        assert!(count("dosage", name) > 0, "{name}: {}", metrics["dosage"]);
    }
    for patient in ["P1", "P2"] {
        let cluster = format!("cluster[{patient}]");
        assert!(count(&cluster, "n_clones") > 1, "{}", metrics[&cluster]);
    }
    let baselines = &metrics["baselines"];
    assert!(
        baselines["mixture_gain"].as_f64() > Some(0.0),
        "{baselines}"
    );
}

#[test]
fn golden_bytes_change_only_with_the_code_version() {
    let class = &machine();
    let project = fixture();
    let found = found(&project);
    assert_it_had_work(&project);
    assert_eq!(found.len(), clcc_flow::registry::kinds().len());
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    if std::env::var("CLCC_GOLDEN").as_deref() == Ok("write") {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|l| !l.starts_with(class.as_str()))
            .map(str::to_string)
            .collect();
        for (kind, (version, digest)) in &found {
            lines.push(format!("{class}\t{kind}\t{version}\t{digest}"));
        }
        lines.sort();
        std::fs::create_dir_all(file().parent().expect("a directory")).expect("made");
        std::fs::write(file(), lines.join("\n") + "\n").expect("written");
        return;
    }
    let known: Vec<&Vec<&str>> = rows.iter().filter(|r| r[0] == class.as_str()).collect();
    if known.is_empty() {
        eprintln!("skipped: no digests were written for `{class}` yet");
        return;
    }
    let mut wrong = String::new();
    for (kind, (version, digest)) in &found {
        let row = known.iter().find(|r| r[1] == kind);
        match row {
            Some(row) if row[3] == digest && row[2] == version.to_string() => {}
            Some(row) if row[2] == version.to_string() => {
                let _ = writeln!(wrong, "`{kind}` writes other bytes: raise its CODE_VERSION");
            }
            _ => {
                let _ = writeln!(
                    wrong,
                    "`{kind}` has version {version}: write the digests anew"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
