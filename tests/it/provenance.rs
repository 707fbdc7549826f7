//! What a run leaves behind: records, events, the trace, the crate; and the verbs on the cache.

use serde_json::Value;

use crate::project::{Project, SMALLEST, TINY};

fn runs(p: &Project) -> Vec<String> {
    p.names_in(".clcc/runs")
}

#[test]
fn events_are_numbered_and_timed_and_kept() {
    let p = Project::new(SMALLEST);
    let run = p.run_json(&[]).expect(0);
    let events = run.events();
    assert_eq!(events[0]["event"], "started");
    assert_eq!(events.last().expect("events")["event"], "finished");
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["seq"].as_u64(), Some(i as u64));
        assert!(event["time"].as_str().is_some_and(|t| t.ends_with('Z')));
    }
    let elapsed: Vec<f64> = events
        .iter()
        .filter_map(|e| e["elapsed"].as_f64())
        .collect();
    assert!(elapsed.len() == events.len() && elapsed.is_sorted());
    let kept = p
        .path()
        .join(".clcc/runs")
        .join(&runs(&p)[0])
        .join("events.jsonl");
    assert_eq!(std::fs::read_to_string(kept).expect("read"), run.stdout);
}

#[test]
fn a_run_leaves_its_record_a_crate_and_a_trace() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    let record = p.json("results/tiny/run.json");
    for node in record["nodes"].as_array().expect("nodes") {
        assert!(node["key"].as_str().is_some_and(|k| k.len() == 64));
        assert!(node["measured"]["peak_rss_bytes"].as_u64() > Some(0));
        assert!(
            node["measured"]["build"]
                .as_str()
                .is_some_and(|b| b.len() == 64)
        );
    }
    let document = p.json("results/tiny/ro-crate-metadata.json");
    let graph = document["@graph"].as_array().expect("a graph");
    let actions = graph
        .iter()
        .filter(|e| e["@type"] == "CreateAction")
        .count();
    assert_eq!(actions, 1 + 8, "the run and its nodes");
    // Whatever the crate calls a file is there.
    for file in graph[1]["hasPart"].as_array().expect("parts") {
        let id = file["@id"].as_str().expect("an id");
        assert!(p.path().join("results/tiny").join(id).exists(), "{id}");
    }
    let trace = p.json(format!(".clcc/runs/{}/trace.json", runs(&p)[0]));
    let spans = trace["traceEvents"].as_array().expect("events").iter();
    assert_eq!(spans.filter(|e| e["ph"] == "X").count(), 8);
}

#[test]
fn a_secret_of_the_environment_stands_in_no_file() {
    let canary = "canary-5f0c1d7e9b";
    let failing = TINY.replace(
        "[A, B]",
        "{A: {}, B: {preprocess: {min_counts: 1000000000}}}",
    );
    let p = Project::new(&failing);
    let env = [
        ("CLCC_SECRET_TOKEN", canary),
        ("AWS_SECRET_ACCESS_KEY", canary),
    ];
    let ran = p
        .run_with(&["run", "w.yaml", "--format", "json"], &env)
        .expect(5);
    assert!(!ran.stdout.contains(canary) && !ran.stderr.contains(canary));
    let mut dirs = vec![p.path().to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("read");
                let found = bytes.windows(canary.len()).any(|w| w == canary.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[test]
fn diff_names_the_parameter_and_what_it_changed() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    p.run_json(&["--set", "cluster.resolution=3.0"]).expect(0);
    let names = runs(&p);
    let text = p.run(&["diff", &names[0], &names[1]]).expect(0).stdout;
    for expected in ["cluster[A]: other ", "resolution: 0.5 -> 3.0"] {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
    assert!(!text.contains("preprocess"), "{text}");
    // Other clones give other slopes.
    for expected in ["findings", "dosage_genes.tsv: "] {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
    // Two results directories are compared without their cache.
    p.run(&["run", "w.yaml", "--results", "other"]).expect(0);
    std::fs::rename(p.path().join(".clcc"), p.path().join("away")).expect("renamed");
    let dirs = ["results/tiny", "other/tiny"];
    let text = p.run(&["diff", dirs[0], dirs[1]]).expect(0).stdout;
    for expected in ["resolution: 3.0 -> 0.5", "findings", "dosage_genes.tsv: "] {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
    std::fs::rename(p.path().join("away"), p.path().join(".clcc")).expect("renamed");
    let same = p.run(&["diff", &names[0], &names[0]]).expect(0).stdout;
    assert!(same.contains("the same keys and outputs"), "{same}");
    let none = p.run(&["diff", &names[0], "nothing"]).expect(2).stderr;
    assert!(
        none.contains("there is no run `nothing`") && none.contains(&names[1]),
        "{none}"
    );
}

#[test]
fn a_run_that_is_not_whole_leaves_earlier_results_and_says_so() {
    let p = Project::new(TINY);
    let tables = |p: &Project| p.names_in("results/tiny/tables");
    p.run_json(&[]).expect(0);
    let whole = tables(&p);
    assert!(whole.contains(&"dosage_genes.tsv".to_string()));
    let record = || p.json("results/tiny/run.json");
    let earlier = |record: &Value| {
        record["files_of_an_earlier_run"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(earlier(&record()), 0);
    // Another resolution, and an end before `dosage`.
    let args = [
        "run",
        "w.yaml",
        "--until",
        "cluster",
        "--set",
        "cluster.resolution=3.0",
    ];
    let said = p.run(&args).expect(0).stderr;
    assert_eq!(tables(&p), whole);
    assert!(
        said.contains("of an earlier run in") && said.contains("tables/"),
        "{said}"
    );
    assert!(
        said.contains("0 skipped, 1 not selected") && !said.contains("SKIP"),
        "{said}"
    );
    let kept = record();
    let kept = kept["files_of_an_earlier_run"].as_array().expect("files");
    assert!(
        kept.iter()
            .all(|f| f.as_str().is_some_and(|f| f.starts_with("tables/dosage_")))
    );
    // Nodes after the selection are found in the cache, also where they read an input that it does not.
    let until = p.run_json(&["--until", "simulate"]).expect(0);
    assert_eq!(until.nodes("did_reuse").len(), 8);
    assert_eq!(earlier(&record()), 0);
    // A result that somebody changed is put back, and named.
    let table = whole.iter().find(|n| n.ends_with(".tsv")).expect("a table");
    std::fs::write(p.path().join("results/tiny/tables").join(table), "mine").expect("written");
    let said = p.run(&["run", "w.yaml"]).expect(0).stderr;
    assert!(said.contains("written again in"), "{said}");
    // A whole run removes what it no longer makes.
    p.write(
        "w.yaml",
        &TINY.replace(
            "  dosage:\n    needs: [preprocess, infercnv, cluster]\n",
            "",
        ),
    );
    p.run_json(&[]).expect(0);
    assert!(!tables(&p).iter().any(|t| t.starts_with("dosage_")));
}

#[test]
fn gc_says_what_would_go_and_takes_only_that() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    p.run_json(&["--set", "cluster.resolution=3.0"]).expect(0);
    let before = p.artifact_names();
    let said = p
        .run(&["gc", "--keep-last", "1", "--dry-run"])
        .expect(0)
        .stdout;
    assert!(
        said.contains("would free") && said.contains(" bytes)"),
        "{said}"
    );
    assert_eq!(p.artifact_names(), before);
    p.run(&["gc", "--keep-last", "1"]).expect(0);
    assert!(p.artifact_names().len() < before.len());
    let last = p.run_json(&["--set", "cluster.resolution=3.0"]).expect(0);
    assert!(
        last.nodes("did_execute").is_empty(),
        "the last run is kept whole"
    );
    let first = p.run_json(&[]).expect(0);
    assert_eq!(
        first.nodes("did_execute")[..2],
        ["cluster[A]", "cluster[B]"]
    );
    p.run(&["gc", "--max-size", "1"]).expect(0);
    assert!(p.artifact_names().is_empty());
    assert_eq!(p.run_json(&[]).expect(0).nodes("did_execute").len(), 8);
}

#[test]
fn status_tells_a_killed_run_from_one_that_ended() {
    let p = Project::new(SMALLEST);
    p.run_with(
        &["run", "w.yaml"],
        &[("CLCC_FAILPOINT", "commit.begin=kill@2")],
    );
    let text = p.run(&["status"]).expect(0).stdout;
    assert!(text.contains("was killed after 1 of 3 nodes"), "{text}");
    let states = || {
        let text = p.run(&["status", "--format", "json"]).expect(0).stdout;
        let runs: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let state = |r: &Value| (r["workflow"].clone(), r["state"].clone());
        runs.iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states(), [("smallest".into(), "killed".into())]);
    p.run_json(&[]).expect(0);
    let text = p.run(&["status"]).expect(0).stdout;
    assert!(text.contains("2 ran, 1 cached"), "{text}");
    assert_eq!(states()[0], ("smallest".into(), "ended".into()));
    let log = p.run(&["log", "infercnv[A]"]).expect(0).stdout;
    assert!(
        log.contains("done in ") && log.contains("peak memory"),
        "{log}"
    );
    let of = |workflow: &str| p.run(&["log", "infercnv[A]", "--workflow", workflow]);
    assert_eq!(of("smallest").expect(0).stdout, log);
    assert!(of("other").expect(2).stderr.contains("it has in smallest"));
}
