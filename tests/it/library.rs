//! The engine as a library: a run in one call.

use clcc_flow::events::{Event, Stamped};
use clcc_flow::results::{NodeStatus, RunRecord};
use clcc_flow::run::{RunError, RunOptions, WorkflowOptions, run};
use clcc_flow::schedule::{SkipReason, Summary};

use crate::project::{Project, SMALLEST, with_tables};

fn options(p: &Project) -> RunOptions {
    RunOptions {
        workflow: WorkflowOptions {
            cache: p.path().join(".clcc"),
            ..WorkflowOptions::default()
        },
        results: p.path().join("results"),
        program: Some(env!("CARGO_BIN_EXE_clcc-flow").into()),
        ..RunOptions::default()
    }
}

#[test]
fn a_run_in_one_call_gives_events_outcome_and_the_record_that_others_read() {
    let p = Project::new(&with_tables());
    let mut events = Vec::new();
    let mut keep = |e: &Stamped<'_>| events.push((e.seq, e.event.clone()));
    let finished = run(&p.path().join("w.yaml"), &options(&p), &mut keep).unwrap();
    let ran = Summary {
        ran: 4,
        ..Summary::default()
    };
    assert_eq!(finished.outcome.summary(), ran, "{events:?}");
    assert!(finished.published.dir.ends_with("results/smallest"));
    assert!(
        events
            .iter()
            .map(|(seq, _)| *seq)
            .eq(0..events.len() as u64)
    );
    assert!(matches!(events[0].1, Event::Started { nodes: 4, .. }));
    assert!(matches!(
        events.last().unwrap().1,
        Event::Finished { ran: 4, .. }
    ));
    // The command line finds all of it, and its record is the library's.
    assert_eq!(p.run_json(&[]).expect(0).nodes("did_reuse").len(), 4);
    let record = RunRecord::read(&finished.published.dir).unwrap();
    assert_eq!(record.workflow.name, "smallest");
    assert!(
        record
            .nodes
            .iter()
            .all(|n| n.key.is_some() && !n.outputs().is_empty())
    );
    let status = |n: &clcc_flow::results::NodeRecord| n.status == NodeStatus::Ran;
    assert!(record.nodes.iter().all(status));
}

#[test]
fn a_cancelled_run_starts_nothing_and_says_why() {
    let p = Project::new(SMALLEST);
    let (raise, cancel) = tokio::sync::watch::channel(0u8);
    let options = RunOptions {
        cancel: Some(cancel),
        ..options(&p)
    };
    let mut at_once = |e: &Stamped<'_>| {
        if matches!(e.event, Event::Started { .. }) {
            raise.send_replace(1);
        }
    };
    let finished = run(&p.path().join("w.yaml"), &options, &mut at_once).unwrap();
    assert!(finished.outcome.cancelled);
    let why = finished.outcome.nodes.iter().filter_map(|n| match n {
        clcc_flow::schedule::Outcome::Skipped(why) => Some(why),
        _ => None,
    });
    assert!(why.clone().count() > 0 && why.clone().any(|w| *w == SkipReason::Cancelled));
}

#[test]
fn what_keeps_a_run_from_beginning_is_an_error_of_its_kind() {
    let p = Project::new(&SMALLEST.replace("window_size", "windw_size"));
    let mut nobody = |_: &Stamped<'_>| {};
    let workflow = p.path().join("w.yaml");
    let error = run(&workflow, &options(&p), &mut nobody).unwrap_err();
    assert!(
        matches!(error, RunError::Load(_) | RunError::Invalid(_)),
        "{error:?}"
    );
    assert!(error.to_string().contains("windw_size"), "{error}");
    let absent = run(&p.path().join("no.yaml"), &options(&p), &mut nobody).unwrap_err();
    assert!(matches!(absent, RunError::Load(_)), "{absent:?}");
    // Nothing was written.
    assert!(!p.path().join("results").exists());
}
