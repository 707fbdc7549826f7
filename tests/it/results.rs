//! The results directory: what a run leaves there of itself and of others, and what a kill leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::project::{Project, Ran, SMALLEST, TINY, command, with_tables};

fn names(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&PathBuf> {
    files.keys().collect()
}

#[test]
fn the_records_are_those_of_the_last_run() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    let first = p.results();
    // Fails for both patients; the tables of the first run stay.
    p.run_json(&["--set", "preprocess.min_counts=1000000000"])
        .expect(5);
    let failed = p.json("results/tiny/run.json");
    assert!(failed["summary"]["failed"].as_u64() > Some(0));
    let files = failed["files_of_an_earlier_run"].as_array();
    assert!(files.is_some_and(|f| !f.is_empty()));
    let again = p.run_json(&[]).expect(0);
    assert_eq!(again.nodes("did_reuse").len(), 8);
    let record = p.json("results/tiny/run.json");
    assert_eq!(record["summary"]["failed"], 0);
    assert_eq!(record["files_of_an_earlier_run"], Value::Array(Vec::new()));
    assert_eq!(p.results(), first);
    // A parameter that changes no byte changes the record all the same, and back.
    let resolution = || {
        let record = p.json("results/tiny/run.json");
        let nodes = record["nodes"].as_array().expect("nodes").clone();
        let cluster = nodes.iter().find(|n| n["id"] == "cluster[A]");
        cluster.expect("it is there")["params"]["resolution"].clone()
    };
    p.run_json(&["--set", "cluster.resolution=0.5000001"])
        .expect(0);
    assert_eq!(resolution(), 0.500_000_1);
    p.run_json(&[]).expect(0);
    assert_eq!(resolution(), 0.5);
    // Nothing to do and nothing to say: the records are not touched.
    let stamp = || {
        let file = p.path().join("results/tiny/run.json");
        std::fs::metadata(file)
            .expect("it is there")
            .modified()
            .ok()
    };
    let before = stamp();
    p.run_json(&[]).expect(0);
    assert_eq!(stamp(), before);
}

#[test]
fn what_one_node_makes_is_never_of_two_runs() {
    let with = |needs: &str| {
        format!("{TINY}  export:\n    per: patient\n    needs: [preprocess, infercnv{needs}]\n")
    };
    let p = Project::new(&with(""));
    p.run_json(&[]).expect(0);
    let alone = p.results();
    let p = Project::new(&with(", cluster"));
    p.run_json(&[]).expect(0);
    let both = p.results();
    assert!(both.len() > alone.len());
    p.write("w.yaml", &with(""));
    let run = p.run_json(&["--until", "export"]).expect(0);
    assert!(run.nodes("did_execute").contains(&"export[A]".to_string()));
    let now = p.results();
    assert_eq!(names(&now), names(&alone));
}

#[test]
fn a_kill_while_publishing_is_made_good_by_a_run_of_other_parameters() {
    let clean = Project::new(&with_tables());
    clean.run_json(&[]).expect(0);
    let other = ["--set", "cluster.resolution=8"];
    for place in [
        "publish.copy=kill@2",
        "publish.write=kill@2",
        "publish.write=kill@3",
    ] {
        let p = Project::new(&with_tables());
        p.run_json(&other).expect(0);
        p.run_json(&[]).expect(0);
        let all = [&["run", "w.yaml"][..], &other].concat();
        let killed = p.run_with(&all, &[("CLCC_FAILPOINT", place)]);
        assert_ne!(killed.code, 0, "{place} is passed");
        let said = p.run(&["run", "w.yaml"]).expect(0).stderr;
        assert!(!said.contains("written again"), "{place}: {said}");
        assert_eq!(p.results(), clean.results(), "{place}");
    }
}

#[test]
fn an_edited_result_is_put_back_and_named_whatever_its_size() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let first = p.results();
    let file = "results/smallest/tables/cnv_clusters.A.tsv";
    let edit = || {
        let mut bytes = std::fs::read(p.path().join(file)).expect("read");
        bytes[3] ^= 1;
        std::fs::write(p.path().join(file), bytes).expect("written");
    };
    let restored = |run: &Ran| {
        let events = run.events();
        let event = events.iter().find(|e| e["event"] == "did_publish");
        event.expect("it is said")["restored"].clone()
    };
    edit();
    let run = p.run_json(&[]).expect(0);
    assert_eq!(
        restored(&run),
        serde_json::json!(["tables/cnv_clusters.A.tsv"])
    );
    assert_eq!(p.results(), first);
    // Also where this run has other content for it.
    edit();
    let run = p.run_json(&["--set", "cluster.ithcna_cells=10"]).expect(0);
    assert_eq!(
        restored(&run),
        serde_json::json!(["tables/cnv_clusters.A.tsv"])
    );
    // A copy of the directory is as good: its content is the same.
    let run = p.run_json(&[]).expect(0);
    assert_eq!(restored(&run), serde_json::json!([]));
    let copied = std::process::Command::new("cp")
        .args(["-r", "results", "elsewhere"])
        .current_dir(p.path())
        .status();
    assert!(copied.expect("cp").success());
    let run = p.run_json(&["--results", "elsewhere"]).expect(0);
    assert_eq!(restored(&run), serde_json::json!([]));
}

#[test]
fn findings_of_an_earlier_run_are_not_compared() {
    let p = Project::new(TINY);
    p.run_json(&["--results", "a"]).expect(0);
    let other = ["--set", "infercnv.window_size=60", "--results", "b"];
    p.run_json(&other).expect(0);
    let whole = p.run(&["diff", "a/tiny", "b/tiny"]).expect(0).stdout;
    assert!(whole.contains("dosage_genes.tsv"), "{whole}");
    // The second directory gets clusters of the first's parameters and keeps genes of its own.
    p.run_json(&[
        "--results",
        "b",
        "--force",
        "dosage",
        "--until",
        "cluster",
        "--set",
        "infercnv.step=20",
    ])
    .expect(0);
    let parted = p
        .run(&["diff", "a/tiny/run.json", "b/tiny"])
        .expect(0)
        .stdout;
    assert!(!parted.contains("dosage_genes.tsv"), "{parted}");
    let file = "b/tiny/tables/dosage_genes.tsv";
    let from = p.run(&["inspect", file]).expect(0).stdout;
    assert!(from.contains("one before that of run.json"), "{from}");
}

#[test]
fn runs_that_publish_to_one_directory_wait_for_one_another() {
    let p = Project::new(&with_tables());
    let sets = ["cluster.min_amplitude=0.5", "cluster.min_amplitude=0.01"];
    sets.iter()
        .for_each(|set| drop(p.run_json(&["--set", set]).expect(0)));
    for _ in 0..3 {
        let children: Vec<_> = (0..6)
            .map(|i| p.start_json(&["--set", sets[i % 2]], &[]))
            .collect();
        for child in children {
            Ran::new(child.wait_with_output().expect("ended")).expect(0);
        }
        // Whoever came last, the directory is of one run.
        let record = p.json("results/smallest/run.json").to_string();
        let last = sets[usize::from(!record.contains("\"min_amplitude\":0.5"))];
        let now = p.results();
        let run = p.run_json(&["--set", last]).expect(0);
        assert!(run.nodes("did_execute").is_empty());
        assert_eq!(p.results(), now);
    }
}

#[test]
fn results_of_another_workflow_of_the_same_name_are_not_replaced_unasked() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let first = p.results();
    // Another file of the same name, which makes no tables.
    p.write("other.yaml", SMALLEST);
    let run =
        |more: &[&str]| p.run(&[&["run", "other.yaml", "--format", "json"][..], more].concat());
    let refused = run(&["--set", "infercnv.step=11"]).expect(2);
    assert!(
        refused.stderr.contains("another workflow of this name"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("w.yaml") && refused.stderr.contains("--force-results"));
    assert!(
        refused.stdout.is_empty(),
        "before anything runs: {}",
        refused.stdout
    );
    assert_eq!(p.results(), first);
    // The same file may be edited, linked and moved.
    let w = p.path().join("w.yaml");
    p.write("w.yaml", &format!("# edited\n{}", with_tables()));
    std::os::unix::fs::symlink(&w, p.path().join("link.yaml")).expect("linked");
    p.run(&["run", "link.yaml"]).expect(0);
    std::fs::rename(&w, p.path().join("renamed.yaml")).expect("renamed");
    let renamed = p.run(&["run", "renamed.yaml"]).expect(0).stderr;
    assert!(!renamed.contains("replaces"), "{renamed}");
    std::fs::remove_file(p.path().join("renamed.yaml")).expect("removed");
    p.write("third.yaml", &with_tables());
    let moved = p.run(&["run", "third.yaml"]).expect(0).stderr;
    assert!(moved.contains("no longer there"), "{moved}");
    assert_eq!(p.results(), first);
    // Asked for, it is done and said, before and after.
    let forced = p
        .run(&["run", "other.yaml", "--force-results"])
        .expect(0)
        .stderr;
    assert!(
        forced.contains("third.yaml`; this run replaces them"),
        "{forced}"
    );
    assert!(
        forced.contains("removed from") && forced.contains("tables/"),
        "{forced}"
    );
    assert!(p.results().len() < first.len());
    let again = run(&[]).expect(0);
    let events = again.events();
    let published = events
        .iter()
        .find(|e| e["event"] == "did_publish")
        .expect("it is said");
    assert_eq!(published["removed"], serde_json::json!([]));
}

#[test]
fn a_copy_of_a_workflow_file_is_another_workflow() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let first = (p.results(), p.json("results/smallest/run.json"));
    p.write("copy.yaml", &with_tables());
    for verb in [&["run", "copy.yaml"][..], &["run", "copy.yaml", "-j", "1"]] {
        let said = p.run(verb).expect(2).stderr;
        assert!(said.contains("another workflow of this name"), "{said}");
        assert!(said.contains("--force-results"), "{said}");
    }
    let now = (p.results(), p.json("results/smallest/run.json"));
    assert_eq!(now, first);
    let forced = p.run(&["run", "copy.yaml", "--force-results"]).expect(0);
    assert!(forced.stderr.contains("w.yaml`; this run replaces them"));
    // From now on they are the copy's.
    p.run(&["run", "copy.yaml"]).expect(0);
    p.run(&["run", "w.yaml"]).expect(2);
}

#[test]
fn a_project_that_is_moved_or_copied_whole_keeps_its_results() {
    let p = Project::new(SMALLEST);
    let here = p.path().join("here");
    std::fs::create_dir(&here).expect("made");
    std::fs::rename(p.path().join("w.yaml"), here.join("w.yaml")).expect("moved");
    let run = |dir: &str| {
        let dir = p.path().join(dir);
        let output = command(&dir, &["run", "w.yaml"]).output();
        let ran = Ran::new(output.expect("the program starts")).expect(0);
        assert!(!ran.stderr.contains("replaces"), "{}", ran.stderr);
    };
    run("here");
    let copied = std::process::Command::new("cp")
        .args(["-r", "here", "copy"])
        .current_dir(p.path())
        .status();
    assert!(copied.expect("cp").success());
    // Edited in the copy, while the first is there.
    p.write("copy/w.yaml", &format!("# of the copy\n{SMALLEST}"));
    run("copy");
    std::fs::rename(&here, p.path().join("there")).expect("moved");
    p.write("there/w.yaml", &format!("# moved\n{SMALLEST}"));
    run("there");
}

#[test]
fn nothing_beyond_a_link_in_the_results_is_removed() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let outside = p.path().join("outside");
    let tables = p.path().join("results/smallest/tables");
    std::fs::rename(&tables, &outside).expect("moved");
    std::os::unix::fs::symlink(&outside, &tables).expect("linked");
    std::fs::write(outside.join(".tmp.1"), "precious").expect("written");
    let before = p.names_in("outside");
    // The tables go with their stage; what the link leads to stays.
    p.write("w.yaml", SMALLEST);
    p.run_json(&[]).expect(0);
    assert_eq!(p.names_in("outside"), before);
}

#[test]
fn stages_that_would_publish_over_one_another_are_refused() {
    let second = "  finer:\n    kind: cluster\n    per: patient\n    needs: [infercnv]\n    params: {resolution: 2}\n";
    let p = Project::new(&format!("{}{second}", with_tables()));
    for verb in ["check", "plan", "run"] {
        let said = p.run(&[verb, "w.yaml"]).expect(3).stderr;
        assert!(
            said.contains(
                "stages `cluster` and `finer` both publish the same files (`cluster_tables` of `A`) into `tables/`"
            ),
            "{said}"
        );
        assert!(said.contains("--> w.yaml:22:3"), "{said}");
    }
    assert!(!p.path().join(".clcc").exists());
    // An axis is the way to have both.
    let axis =
        format!("{SMALLEST}  cluster:\n    per: [patient, variant]\n    needs: [infercnv]\n")
            .replace(
                "  patient: [A]\n",
                "  patient: [A]\n  variant: {a: {}, b: {cluster: {resolution: 2}}}\n",
            );
    p.write("w.yaml", &axis);
    p.run(&["run", "w.yaml"]).expect(0);
    assert!(
        p.path()
            .join("results/smallest/tables/cnv_clusters.A.b.tsv")
            .is_file()
    );
    // Values that are the same once they are joined; one named path.
    let joined = axis
        .replace("patient: [A]", "patient: [A, A.b]")
        .replace("{a: {}, b: ", "{b.c: {}, c: ");
    p.write("w.yaml", &joined);
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(
        said.contains("`cluster[A,b.c]` and `cluster[A.b,c]` both publish"),
        "{said}"
    );
    let export = "  e1: {kind: export, per: patient, needs: [preprocess, infercnv]}\n  e2: {kind: export, per: patient, needs: [preprocess, infercnv]}\n";
    p.write("w.yaml", &format!("{SMALLEST}{export}"));
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(
        said.contains("stages `e1` and `e2` both publish `A.zarr`"),
        "{said}"
    );
}
