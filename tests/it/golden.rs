//! The bytes that every stage kind writes, against those that were written last: a change without
//! a new `CODE_VERSION` would let old results stand for new code.
//!
//! `CLCC_GOLDEN=write cargo test golden` writes the file anew; the reason belongs into the
//! changelog under "Results". There is one set of digests for every processor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use crate::project::Project;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests.tsv")
}

/// Kinds that the demo has not.
const MORE: &str = "  discordance:
    needs: [preprocess, infercnv, cluster]
  baselines:
    needs: [preprocess, infercnv, cluster, mine]
  benchmark:
    needs: [simulate, preprocess, infercnv, cluster, mine, train, eval, concordance, dosage, discordance, de, baselines]
  compare:
    needs: [benchmark]
  export_cohort:
    needs: [export]
  pool_normals:
    needs: [preprocess]
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

/// What the demo leaves at its defaults: method B with its hidden Markov model, clusters of the embedding, and
/// `dosage` with a tumour level and the copy number of windows.
fn anchors_fixture() -> Project {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo_anchors.yaml");
    let text = std::fs::read_to_string(demo)
        .expect("read")
        .replace(
            "{n_cells: 1500, n_genes: 6000}",
            "{n_cells: 500, n_genes: 3000}",
        )
        .replace("epochs: 40", "epochs: 3");
    let more = "  clusters:
    kind: cluster
    per: patient
    needs: [preprocess, infercnv]
  dosage:
    needs: [preprocess, infercnv, clusters]
    params: {tumour_level: shared, copy_number: windows}
";
    Project::new(&format!("{}\n{more}", text.trim_end()))
}

/// Kind to (code version, digest over all its outputs).
type Digests = BTreeMap<String, (u64, String)>;

/// Both fixtures after a run: `train` is the demo's, `train/anchors` the other's.
pub(crate) struct Runs {
    pub(crate) demo: Project,
    pub(crate) anchors: Project,
    digests: Digests,
}

/// One run for all tests.
pub(crate) fn runs() -> &'static Runs {
    static RUNS: OnceLock<Runs> = OnceLock::new();
    RUNS.get_or_init(|| run(&[]))
}

fn run(env: &[(&str, &str)]) -> Runs {
    let demo = fixture();
    let mut digests = outputs(&demo, "demo", env);
    assert_it_had_work(&demo);
    assert_eq!(digests.len(), clcc_flow::registry::kinds().len());
    let anchors = anchors_fixture();
    let more = outputs(&anchors, "demo_anchors", env);
    assert_anchors_had_work(&anchors);
    digests.extend(
        more.into_iter()
            .map(|(kind, value)| (format!("{kind}/anchors"), value)),
    );
    Runs {
        demo,
        anchors,
        digests,
    }
}

fn outputs(p: &Project, workflow: &str, env: &[(&str, &str)]) -> Digests {
    p.run_with(&["run", "w.yaml", "--format", "json"], env)
        .expect(0);
    let run = p.json(format!("results/{workflow}/run.json"));
    let mut lines: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for node in run["nodes"].as_array().expect("nodes") {
        let kind = node["kind"].as_str().expect("a kind").to_string();
        let entry = lines.entry(kind).or_default();
        entry.0 = node["code_version"].as_u64().expect("a version");
        for output in node["outputs"].as_array().expect("outputs") {
            // What the record leaves out of an output is null here.
            let [role, key, form, digest, bytes] =
                ["role", "key", "form", "digest", "bytes"].map(|name| &output[name]);
            let output =
                json!({"role": role, "key": key, "form": form, "digest": digest, "bytes": bytes});
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
    assert!(
        count("discordance", "n_cells_scored") > 0,
        "{}",
        metrics["discordance"]
    );
    let baselines = &metrics["baselines"];
    assert!(
        baselines["mixture_gain"].as_f64() > Some(0.0),
        "{baselines}"
    );
}

/// States, anchors and slopes that are there to be changed.
fn assert_anchors_had_work(p: &Project) {
    let metrics = p.json("results/demo_anchors/metrics.json");
    for (node, name, least) in [
        ("infercnv[P1]", "n_regions_kept", 10),
        ("train", "anchors", 5),
        ("clusters_h", "n_clusters", 2),
        ("clusters[P1]", "n_clones", 2),
        ("dosage", "n_sensitive", 1),
    ] {
        let value = metrics[node][name].as_u64();
        assert!(value >= Some(least), "{node} {name}: {value:?}");
    }
    assert_eq!(metrics["dosage"]["tumour_level"], true);
}

/// Kind, code version and digest of each line of the file.
fn written() -> Digests {
    let text = std::fs::read_to_string(file()).expect("digests that were written before");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let version = fields[1].parse().expect("a version");
        (fields[0].to_string(), (version, fields[2].to_string()))
    };
    text.lines().map(row).collect()
}

#[test]
fn golden_bytes_change_only_with_the_code_version() {
    let found = &runs().digests;
    if std::env::var("CLCC_GOLDEN").as_deref() == Ok("write") {
        let lines = found
            .iter()
            .map(|(kind, (version, digest))| format!("{kind}\t{version}\t{digest}\n"));
        std::fs::create_dir_all(file().parent().expect("a directory")).expect("made");
        std::fs::write(file(), lines.collect::<String>()).expect("written");
        return;
    }
    let known = written();
    let mut wrong = String::new();
    for (kind, (version, digest)) in found {
        match known.get(kind) {
            Some((before, same)) if same == digest && before == version => {}
            Some((before, _)) if before == version => {
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

fn assert_same_bytes(env: &[(&str, &str)]) {
    let found = run(env).digests;
    for (kind, known) in written() {
        assert_eq!(found[&kind].1, known.1, "{kind}");
    }
}

/// The C library has several of each function and takes one by the processor; kernels take the widest vectors. With
/// neither AVX nor fused multiply-add, as on an old processor, nothing changes.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
fn bytes_do_not_follow_the_processor_s_instructions() {
    let old = "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4";
    assert_same_bytes(&[("GLIBC_TUNABLES", old), ("CLCC_VECTORS", "scalar")]);
}

/// AVX2's, where the processor has wider ones.
#[test]
#[cfg(target_arch = "x86_64")]
fn bytes_do_not_follow_the_width_of_vectors() {
    assert_same_bytes(&[("CLCC_VECTORS", "v3")]);
}
