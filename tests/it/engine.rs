//! What reruns and what does not, by the event log.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::project::{Project, TINY, command, with_tables};

const ALL: [&str; 8] = [
    "cluster[A]",
    "cluster[B]",
    "dosage",
    "infercnv[A]",
    "infercnv[B]",
    "preprocess[A]",
    "preprocess[B]",
    "simulate",
];

fn finished(event: &Value) -> [u64; 4] {
    ["ran", "cached", "failed", "skipped"].map(|k| event[k].as_u64().expect("a count"))
}

#[test]
fn a_second_run_does_nothing() {
    let p = Project::new(TINY);
    let first = p.run_json(&[]).expect(0);
    assert_eq!(first.nodes("did_execute"), ALL);
    assert_eq!(finished(first.events().last().unwrap()), [8, 0, 0, 0]);
    let second = p.run_json(&[]).expect(0);
    assert_eq!(second.nodes("did_reuse"), ALL);
    assert_eq!(finished(second.events().last().unwrap()), [0, 8, 0, 0]);
    assert!(p.not_cached(&[]).is_empty());
}

#[test]
fn a_parameter_change_reruns_the_stage_and_its_dependents_only() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    let set = ["--set", "cluster.resolution=0.8"];
    assert_eq!(p.not_cached(&set), ["cluster[A]", "cluster[B]", "dosage"]);
    let plan = p.plan(&set);
    let (_, status, reason) = plan.iter().find(|(id, ..)| id == "cluster[A]").unwrap();
    assert_eq!(status, "run");
    assert_eq!(reason["kind"], "param");
    assert_eq!(
        (&reason["path"], &reason["old"], &reason["new"]),
        (&"resolution".into(), &0.5.into(), &0.8.into())
    );
    let (_, status, reason) = plan.iter().find(|(id, ..)| id == "dosage").unwrap();
    assert_eq!(
        (status.as_str(), &reason["kind"]),
        ("maybe", &"upstream".into())
    );
    let run = p.run_json(&set).expect(0);
    assert!(
        run.nodes("did_execute")
            .iter()
            .all(|id| id.starts_with("cluster") || id == "dosage")
    );
    assert_eq!(run.nodes("will_execute")[..2], ["cluster[A]", "cluster[B]"]);
    // Taking the change back hits at once.
    assert!(p.run_json(&[]).expect(0).nodes("did_execute").is_empty());
}

#[test]
fn one_branch_can_have_a_parameter_of_its_own() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    p.write(
        "w.yaml",
        &TINY.replace("[A, B]", "{A: {}, B: {cluster: {resolution: 0.9}}}"),
    );
    assert_eq!(p.not_cached(&[]), ["cluster[B]", "dosage"]);
}

#[test]
fn an_upstream_rerun_with_the_same_bytes_reruns_nothing_below() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    // 60 cells are one chunk either way: the outputs are the same bytes.
    let run = p.run_json(&["--set", "infercnv.chunksize=4000"]).expect(0);
    assert_eq!(run.nodes("did_execute"), ["infercnv[A]", "infercnv[B]"]);
}

#[test]
fn names_places_comments_and_order_do_not_matter() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    let renamed = TINY
        .replace("name: tiny", "name: other # a comment")
        .replace("  cluster:\n", "  communities:\n    kind: cluster\n")
        .replace("infercnv, cluster]", "infercnv, communities]")
        .replace("{window_size: 50, step: 10}", "{step: 10, window_size: 50}");
    std::fs::create_dir(p.path().join("elsewhere")).unwrap();
    p.write("elsewhere/v.yaml", &renamed);
    let run = p
        .run(&[
            "run",
            "elsewhere/v.yaml",
            "--format",
            "json",
            "--results",
            "r2",
        ])
        .expect(0);
    assert!(run.nodes("did_execute").is_empty(), "{}", run.stdout);
    assert!(p.path().join("r2/other/tables").is_dir());
}

#[test]
fn force_runs_a_stage_again_and_the_same_bytes_end_there() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    let run = p.run_json(&["--force", "infercnv"]).expect(0);
    assert_eq!(run.nodes("did_execute"), ["infercnv[A]", "infercnv[B]"]);
    assert!(
        run.events()
            .iter()
            .filter(|e| e["event"] == "will_execute")
            .all(|e| e["reason"]["kind"] == "forced")
    );
}

#[test]
fn until_and_only_limit_what_runs() {
    let p = Project::new(TINY);
    let run = p
        .run_json(&["--until", "infercnv", "--only", "patient=B"])
        .expect(0);
    assert_eq!(
        run.nodes("did_execute"),
        ["infercnv[B]", "preprocess[B]", "simulate"]
    );
    let rest = p.run_json(&[]).expect(0);
    assert_eq!(
        rest.nodes("did_execute"),
        [
            "cluster[A]",
            "cluster[B]",
            "dosage",
            "infercnv[A]",
            "preprocess[A]"
        ]
    );
}

/// Patient B cannot be processed: no cell has so many counts.
fn with_a_failing_patient() -> String {
    TINY.replace(
        "[A, B]",
        "{A: {}, B: {preprocess: {min_counts: 1000000000}}}",
    )
}

#[test]
fn a_failed_patient_leaves_the_others_finished_and_names_the_joins() {
    let p = Project::new(&with_a_failing_patient());
    let run = p.run_json(&[]).expect(5);
    assert_eq!(run.nodes("did_fail"), ["preprocess[B]"]);
    assert_eq!(
        run.nodes("did_execute"),
        ["cluster[A]", "infercnv[A]", "preprocess[A]", "simulate"]
    );
    assert_eq!(
        run.nodes("did_skip"),
        ["cluster[B]", "dosage", "infercnv[B]"]
    );
    let because = run.events().iter().find(|e| e["id"] == "dosage").unwrap()["because"].to_string();
    assert!(because.contains("preprocess[B]"), "{because}");
    // What went well is cached; a mended workflow runs the rest only.
    p.write("w.yaml", TINY);
    let mended = p.run_json(&[]).expect(0);
    assert_eq!(
        mended.nodes("did_execute"),
        ["cluster[B]", "dosage", "infercnv[B]", "preprocess[B]"]
    );
}

fn corrupt(p: &Project, id: &str, damage: impl Fn(&std::path::Path)) {
    let explain = p.run(&["explain", "w.yaml", id]).expect(0).stdout;
    let digest = explain
        .split_whitespace()
        .filter(|w| w.len() == 64)
        .nth(1)
        .expect("an output digest")
        .to_string();
    damage(&p.path().join(".clcc/cas").join(&digest[..2]).join(&digest));
}

/// The largest file of an artifact: the archive itself, as versions before had directories.
fn first_chunk(dir: &std::path::Path) -> std::path::PathBuf {
    if dir.is_file() {
        return dir.to_path_buf();
    }
    let mut dirs = vec![dir.to_path_buf()];
    let mut files = Vec::new();
    while let Some(d) = dirs.pop() {
        for entry in std::fs::read_dir(d).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .max_by_key(|f| std::fs::metadata(f).unwrap().len())
        .unwrap()
}

#[test]
fn a_missing_or_truncated_output_is_made_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    corrupt(&p, "infercnv[A]", |path| {
        std::fs::remove_file(path).unwrap()
    });
    corrupt(&p, "infercnv[B]", |path| {
        let file = first_chunk(path);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    });
    let run = p.run_json(&[]).expect(0);
    assert_eq!(run.nodes("did_execute"), ["infercnv[A]", "infercnv[B]"]);
    let reason = |id: &str| {
        run.events()
            .into_iter()
            .find(|e| e["event"] == "will_execute" && e["id"] == id)
            .unwrap()["reason"]["kind"]
            .clone()
    };
    assert_eq!(
        (reason("infercnv[A]"), reason("infercnv[B]")),
        ("output_missing".into(), "output_corrupt".into())
    );
    assert!(p.run(&["verify"]).expect(0).stdout.contains("all sound"));
}

#[test]
fn verify_finds_a_flipped_bit_and_repair_lets_the_next_run_heal_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    corrupt(&p, "infercnv[A]", |path| {
        let file = first_chunk(path);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[0] ^= 1;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, bytes).unwrap();
    });
    p.run(&["verify"]).expect(7);
    p.run(&["verify", "--repair"]).expect(0);
    assert_eq!(
        p.run_json(&[]).expect(0).nodes("did_execute"),
        ["infercnv[A]"]
    );
    p.run(&["verify"]).expect(0);
}

#[test]
fn two_runs_at_once_compute_each_key_once() {
    let p = Project::new(TINY);
    let start = |results: &str| {
        command(
            p.path(),
            &["run", "w.yaml", "--format", "json", "--results", results],
        )
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
    };
    let (a, b) = (start("r1"), start("r2"));
    let executed: usize = [a, b]
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout)
                .matches("\"did_execute\"")
                .count()
        })
        .sum();
    assert_eq!(executed, ALL.len());
}

#[test]
fn a_killed_run_is_taken_up_by_a_plain_rerun() {
    let p = Project::new(TINY);
    for millis in [80, 250, 600] {
        let mut child = command(p.path(), &["run", "w.yaml", "--format", "json"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
    }
    p.run_json(&[]).expect(0);
    assert!(p.run(&["verify"]).expect(0).stdout.contains("all sound"));
    let fresh = Project::new(TINY);
    fresh.run_json(&[]).expect(0);
    let names = |p: &Project| -> Vec<String> {
        p.artifacts()
            .iter()
            .map(|a| a.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(
        names(&p),
        names(&fresh),
        "the same artifacts as an uninterrupted run"
    );
}

#[test]
fn threads_and_jobs_do_not_change_a_byte() {
    let (one, many) = (Project::new(TINY), Project::new(TINY));
    one.run_json(&["-j", "1"]).expect(0);
    many.run_json(&["-j", "4"]).expect(0);
    let names = |p: &Project| -> Vec<String> {
        p.artifacts()
            .iter()
            .map(|a| a.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(&one), names(&many));
}

#[test]
fn a_new_patient_leaves_the_others_cached() {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    p.write("w.yaml", &TINY.replace("[A, B]", "[A, B, C]"));
    let plan = p.plan(&[]);
    let status = |id: &str| plan.iter().find(|(i, ..)| i == id).unwrap().1.clone();
    assert_eq!(
        (
            status("simulate"),
            status("preprocess[A]"),
            status("preprocess[C]")
        ),
        ("run".into(), "maybe".into(), "run".into())
    );
    let run = p.run_json(&[]).expect(0);
    assert_eq!(
        run.nodes("did_execute"),
        [
            "cluster[C]",
            "dosage",
            "infercnv[C]",
            "preprocess[C]",
            "simulate"
        ]
    );
}

/// The outputs that a record names.
fn outputs(record: &str) -> Vec<String> {
    let text = std::fs::read_to_string(record).expect("a record");
    let record: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let outputs = record["outputs"].as_array().expect("outputs").iter();
    let digest = |o: &Value| o["digest"].as_str().expect("a digest").to_string();
    outputs.map(digest).collect()
}

#[test]
fn what_a_record_names_is_durable_before_it_and_a_node_takes_few_syncs() {
    let p = Project::new(&with_tables());
    let log = p.path().join("syncs");
    let env = [("CLCC_SYNC_LOG", log.to_str().expect("text"))];
    p.run_with(&["run", "w.yaml", "-j", "1"], &env).expect(0);
    let text = std::fs::read_to_string(&log).expect("a log");
    let (mut durable, mut syncs, mut nodes) = (BTreeSet::new(), 0, 0);
    for line in text.lines() {
        let (what, path) = line.split_once(' ').expect("what and where");
        if what == "sync" {
            durable.insert(path.to_string());
            syncs += 1;
            continue;
        }
        let (cache, _) = path.split_once("/ac/").expect("a record of the cache");
        let named = outputs(path);
        for digest in &named {
            let shard = format!("{cache}/cas/{}", &digest[..2]);
            let artifact = format!("{shard}/{digest}");
            assert!(std::path::Path::new(&artifact).is_file(), "{artifact}");
            assert!(
                durable.contains(&artifact) && durable.contains(&shard),
                "{artifact}"
            );
        }
        // Each output and its shard, the record and its own; the last belongs to the record before.
        assert!(syncs <= 2 * named.len() + 2, "{syncs} for {named:?}");
        assert!(named.len() > 3 || syncs <= 8, "{syncs} for {named:?}");
        (syncs, nodes) = (0, nodes + 1);
    }
    assert_eq!((nodes, syncs), (4, 1), "{text}");
}

#[test]
fn a_run_with_nothing_to_do_opens_no_output() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let results = p.results();
    for artifact in p.artifacts() {
        let n = std::fs::metadata(&artifact).expect("there").len();
        std::fs::set_permissions(&artifact, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        std::fs::write(&artifact, vec![0; n as usize]).expect("written");
    }
    let again = p.run_json(&[]).expect(0);
    assert!(again.nodes("did_execute").is_empty());
    let published = again
        .events()
        .into_iter()
        .find(|e| e["event"] == "did_publish");
    assert_eq!(
        published.expect("it is said")["restored"],
        serde_json::json!([])
    );
    assert_eq!(p.results(), results);
    // Who edits a result learns it, and what is damaged then is made again: by this run, or where so much is damaged by
    // the next ones.
    let table = results
        .keys()
        .find(|path| path.extension().is_some_and(|e| e == "tsv"));
    std::fs::write(p.path().join(table.expect("a table")), "mine").expect("written");
    let first = p.run_json(&[]);
    assert!(!first.nodes("did_execute").is_empty());
    let mut code = first.code;
    for _ in 0..3 {
        if code != 0 {
            assert_eq!(code, 7);
            code = p.run_json(&[]).code;
        }
    }
    assert_eq!(code, 0);
    assert_eq!(p.results(), results);
}
