//! Time, memory, joins: what a stage may take, and what happens when it takes more.

use crate::project::{Project, SMALLEST, TINY};

#[test]
fn a_stage_that_takes_too_long_is_ended_and_says_so() {
    let p = Project::new(&SMALLEST.replace(
        "  simulate:\n",
        "  simulate:\n    resources: {timeout_secs: 1}\n",
    ));
    // It does not listen when it is asked to end, either.
    let run = p
        .run_with(
            &["run", "w.yaml", "--format", "json"],
            &[("CLCC_FAILPOINT", "child.begin=hang")],
        )
        .expect(6);
    let failed = run
        .events()
        .into_iter()
        .find(|e| e["event"] == "did_fail")
        .expect("it fails");
    assert_eq!(failed["class"], "timeout");
    assert!(
        failed["message"]
            .as_str()
            .expect("text")
            .contains("timeout_secs: 1")
    );
}

#[test]
fn a_stage_beyond_the_memory_of_the_run_is_tried_alone_and_then_given_up() {
    let p = Project::new(&SMALLEST.replace(
        "n_cells: 40, n_genes: 1500",
        "n_cells: 20000, n_genes: 12000",
    ));
    let run = p.run_json(&["--memory", "24M"]).expect(6);
    assert_eq!(run.nodes("will_retry"), ["simulate"]);
    let failed = run
        .events()
        .into_iter()
        .find(|e| e["event"] == "did_fail")
        .expect("it fails");
    assert_eq!(failed["class"], "memory");
    assert!(failed["message"].as_str().expect("text").contains("24 MiB"));
}

/// Patient B cannot be processed: no cell has so many counts.
fn one_patient_fails(min: usize) -> String {
    TINY.replace(
        "[A, B]",
        "{A: {}, B: {preprocess: {min_counts: 1000000000}}, C: {}}",
    )
    .replace(
        "  dosage:\n",
        &format!("  dosage:\n    join: {{min: {min}}}\n"),
    )
}

#[test]
fn a_join_with_a_minimum_runs_on_the_survivors() {
    let p = Project::new(&one_patient_fails(2));
    let run = p.run_json(&[]).expect(5);
    assert!(run.nodes("did_execute").contains(&"dosage".to_string()));
    let warned = run
        .events()
        .into_iter()
        .find(|e| e["event"] == "warning" && e["id"] == "dosage");
    assert!(
        warned.expect("a warning")["message"]
            .as_str()
            .expect("text")
            .contains('B')
    );
    // The same again is a hit, and B is tried again.
    let again = p.run_json(&[]).expect(5);
    assert_eq!(again.nodes("did_execute"), Vec::<String>::new());
    assert_eq!(again.nodes("did_fail"), ["preprocess[B]"]);
}

#[test]
fn a_join_with_too_few_survivors_is_skipped_and_says_for_whom() {
    let p = Project::new(&one_patient_fails(3));
    let run = p.run_json(&[]).expect(5);
    let skipped = run
        .events()
        .into_iter()
        .find(|e| e["event"] == "did_skip" && e["id"] == "dosage");
    assert!(
        skipped.expect("skipped")["because"]
            .as_str()
            .expect("text")
            .contains("preprocess[B]")
    );
}

#[test]
fn wrong_resources_are_told_with_their_place() {
    let p = Project::new(&TINY.replace(
        "  dosage:\n",
        "  dosage:\n    join: {mim: 2}\n    resources: {memory: lots, timeout_secs: 0}\n",
    ));
    let text = p.run(&["check", "w.yaml"]).expect(3).stderr;
    for expected in [
        "unknown key `mim`",
        "expected a size such as `20G`",
        "a whole number, 1 or more",
    ] {
        assert!(text.contains(expected), "{expected} not in\n{text}");
    }
}

#[test]
fn more_jobs_than_cores_cost_what_the_cores_do() {
    let p = Project::new(SMALLEST);
    let run = p.run_json(&["-j", "1000"]).expect(0);
    let cores = std::thread::available_parallelism().expect("cores").get() as u64;
    let events = run.events();
    assert_eq!(events[0]["jobs"], cores);
    let threads = events.iter().filter_map(|e| e["threads"].as_u64());
    assert_eq!(threads.max(), Some(cores));
}
