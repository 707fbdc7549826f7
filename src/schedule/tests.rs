//! The run loop on synthetic graphs: against an oracle without a cache, and case by case.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clcc_cache::{
    ActionRecord, Digest, Journal, OutputRecord, RECORD_FORMAT, Store, digest_bytes, measure,
    measure_synced,
};
use clcc_stages::rng::Rng;
use clcc_stages::stage::{Branch, DeviceChoice, OutputDecl, Publish};
use petgraph::graph::DiGraph;
use serde_json::json;

use super::{Options, Outcome, RunOutcome, SkipReason, run};
use crate::decide::{Decider, InputDigests, Lookahead};
use crate::events::Event;
use crate::exec::{
    Cancel, Executor, Failure, FailureClass, FailureKind, Job, JobEvent, JobOutcome,
};
use crate::plan::{Node, NodeInput, Plan};
use crate::registry::{Kind, Resolved};
use crate::workflow::{InputSpec, Resources};

static KIND: Kind = Kind::synthetic("synthetic", false);
static ON_DEVICE: Kind = Kind::synthetic("on_device", true);

/// A graph: what each node computes, and what it reads.
#[derive(Debug, Clone)]
struct World {
    nodes: Vec<Spec>,
    files: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Spec {
    x: u64,
    reads: Vec<usize>,
    file: Option<usize>,
    join_min: Option<usize>,
    kind: &'static Kind,
    resources: Resources,
}

fn spec(x: u64, reads: &[usize]) -> Spec {
    Spec {
        x,
        reads: reads.to_vec(),
        file: None,
        join_min: None,
        kind: &KIND,
        resources: Resources::default(),
    }
}

fn world(nodes: Vec<Spec>) -> World {
    World {
        nodes,
        files: vec![],
    }
}

impl World {
    fn plan(&self) -> Plan {
        let mut graph = DiGraph::new();
        let indices: Vec<_> = (0..self.nodes.len()).map(|i| graph.add_node(i)).collect();
        let nodes = self.nodes.iter().enumerate().map(|(i, spec)| {
            let mut inputs: Vec<NodeInput> = spec
                .file
                .iter()
                .map(|f| NodeInput::File {
                    role: "file",
                    input: format!("f{f}"),
                })
                .collect();
            for (position, &producer) in spec.reads.iter().enumerate() {
                if !spec.reads[..position].contains(&producer) {
                    graph.add_edge(indices[producer], indices[i], ());
                }
                inputs.push(NodeInput::Artifact {
                    role: "value",
                    branch: Branch::from([("position".into(), position.to_string())]),
                    producer,
                    key: None,
                });
            }
            Node {
                id: format!("n{i}"),
                stage: format!("n{i}"),
                kind: spec.kind,
                branch: Branch::new(),
                branch_values: vec![],
                keys: vec![],
                key_axis: None,
                written: serde_json::Map::new(),
                resolved: Resolved {
                    params: json!({ "x": spec.x }),
                    reads: vec![],
                    file_inputs: vec![],
                    outputs: vec![OutputDecl {
                        role: "value",
                        keyed: false,
                        publish: Publish::No,
                        about: "",
                    }],
                    obs_reads: vec![],
                    obs_writes: vec![],
                },
                seed: 0,
                inputs,
                join_min: spec.join_min,
                resources: spec.resources.clone(),
                cached_only: false,
            }
        });
        let nodes = nodes.collect();
        let input = |_: &u64| InputSpec {
            path: Some("/nonexistent/input".into()),
            ..InputSpec::default()
        };
        Plan {
            name: "synthetic".into(),
            file: "synthetic.yaml".into(),
            seed: 0,
            nodes,
            inputs: (0..)
                .map(|i| format!("f{i}"))
                .zip(self.files.iter().map(input))
                .collect(),
            graph,
        }
    }

    fn inputs(&self) -> InputDigests {
        let digest = |content: &u64| (digest_bytes(&content.to_le_bytes()), None);
        (0..)
            .map(|i| format!("f{i}"))
            .zip(self.files.iter().map(digest))
            .collect()
    }

    /// What every node writes, computed without any cache, and what it is computed from.
    fn oracle(&self) -> (Vec<String>, Vec<String>) {
        let mut contents: Vec<String> = Vec::new();
        let mut causes = Vec::new();
        for spec in &self.nodes {
            let file = spec
                .file
                .map(|f| digest_bytes(&self.files[f].to_le_bytes()));
            let reads: Vec<&str> = spec.reads.iter().map(|&r| contents[r].as_str()).collect();
            causes.push(format!("{} {file:?} {reads:?}", spec.x));
            contents.push(content(spec.x, file, &reads));
        }
        (contents, causes)
    }
}

/// Half of all changes of `x` change nothing in the output: early cutoff has work to do.
fn content(x: u64, file: Option<Digest>, reads: &[&str]) -> String {
    digest_bytes(format!("{} {file:?} {reads:?}", x / 2).as_bytes()).to_string()
}

/// What the fake executor does with a job, by node and attempt (from 0).
type Behaviour = dyn Fn(usize, usize) -> Option<FailureClass> + Send + Sync;

/// Computes [`content`] in place of a child process, and keeps the books.
struct Fake {
    store: Store,
    behaviour: Box<Behaviour>,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    attempts: BTreeMap<usize, usize>,
    /// Memory and accelerator of what runs now.
    running: BTreeMap<usize, (u64, Option<String>)>,
    /// Largest sums seen while more than one ran.
    most_memory: u64,
    most_at_once: usize,
    shared_accelerator: bool,
    alone: BTreeSet<usize>,
}

impl Fake {
    fn new(store: &Store) -> Self {
        Self::with(store, |_, _| None)
    }

    fn with(
        store: &Store,
        behaviour: impl Fn(usize, usize) -> Option<FailureClass> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store: store.clone(),
            behaviour: Box::new(behaviour),
            books: Arc::default(),
        }
    }

    fn compute(store: &Store, job: &Job) -> Result<Arc<ActionRecord>, Failure> {
        let mut file = None;
        let mut reads = Vec::new();
        for input in &job.action.inputs {
            if !input.in_cache {
                file = input.digest;
                continue;
            }
            let digest = input.digest.unwrap();
            if !measure(&input.path).is_ok_and(|a| a.digest == digest) {
                return Err(Failure::new(
                    FailureClass::DamagedInput { digest },
                    "damaged",
                ));
            }
            reads.push(std::fs::read_to_string(&input.path).unwrap());
        }
        let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
        let attempt = store.new_attempt(&job.key).unwrap();
        let path = attempt.join("value");
        let x = job.action.params["x"].as_u64().unwrap();
        std::fs::write(&path, content(x, file, &reads)).unwrap();
        let artifact = measure_synced(&path).unwrap();
        store.insert(&path, &artifact).unwrap();
        let record = ActionRecord {
            format: RECORD_FORMAT,
            key: job.key,
            preimage: serde_json::to_value(&job.preimage).unwrap(),
            outputs: vec![OutputRecord::new("value", None, &artifact)],
            metrics: json!({}),
            warnings: vec![],
            measured: json!({}),
        };
        store.commit(&record).unwrap();
        std::fs::remove_dir_all(&attempt).unwrap();
        Ok(Arc::new(record))
    }
}

impl Executor for Fake {
    fn submit(&self, job: Job, events: tokio::sync::mpsc::UnboundedSender<JobEvent>, _: Cancel) {
        let node = job.node;
        let books = Arc::clone(&self.books);
        let attempt = {
            let mut b = books.lock().unwrap();
            let grant = (job.grant.memory, job.grant.accelerator.clone());
            b.shared_accelerator |= grant.1.is_some() && b.running.values().any(|r| r.1 == grant.1);
            if b.running.is_empty() && job.grant.memory == u64::from(u32::MAX) {
                b.alone.insert(node);
            }
            b.running.insert(node, grant);
            b.most_at_once = b.most_at_once.max(b.running.len());
            if b.running.len() > 1 {
                b.most_memory = b.most_memory.max(b.running.values().map(|r| r.0).sum());
            }
            let count = b.attempts.entry(node).or_default();
            *count += 1;
            *count - 1
        };
        let fails = (self.behaviour)(node, attempt);
        let store = self.store.clone();
        tokio::spawn(async move {
            // Ends come in another order than starts.
            for _ in 0..(node * 7 + attempt) % 5 {
                tokio::task::yield_now().await;
            }
            let outcome = match fails {
                Some(class) => JobOutcome::Failed(Failure::new(class, "made to fail")),
                None => match Self::compute(&store, &job) {
                    Ok(record) => JobOutcome::Published(record, 0),
                    Err(failure) => JobOutcome::Failed(failure),
                },
            };
            books.lock().unwrap().running.remove(&node);
            let _ = events.send(JobEvent::Ended(node, Duration::ZERO, outcome));
        });
    }
}

/// A cache on a filesystem without a disk, where there is one: the tests sync a lot.
fn cache() -> (tempfile::TempDir, Store) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let store = Store::open(&dir.path().join("cache")).unwrap();
    (dir, store)
}

fn options() -> Options {
    Options {
        jobs: 4,
        memory: u64::from(u32::MAX),
        accelerators: vec![],
        fail_fast: false,
        device: DeviceChoice::Cpu,
        run: "test".into(),
        logs: PathBuf::from("/nonexistent"),
    }
}

fn run_world(world: &World, fake: &Fake, options: &Options) -> (RunOutcome, Vec<Event>) {
    let plan = world.plan();
    let inputs = world.inputs();
    let last = Journal::open(Path::new("/nonexistent"));
    let force = BTreeSet::new();
    let decider = Decider {
        plan: &plan,
        store: &fake.store,
        inputs: &inputs,
        last: &last,
        force: &force,
        numerics: "cpu",
        ahead: Lookahead::default(),
    };
    let mut events = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_raise, cancel) = tokio::sync::watch::channel(0u8);
    let mut sink = |e: &Event| events.push(e.clone());
    let outcome = runtime.block_on(run(&decider, fake, options, cancel, &mut sink));
    (outcome, events)
}

fn output(outcome: &Outcome) -> Digest {
    outcome.record().expect("the node has a record").outputs[0].digest
}

fn artifacts(store: &Store) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for shard in std::fs::read_dir(store.root().join("cas")).unwrap() {
        for entry in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            out.push(entry.unwrap().path());
        }
    }
    out.sort();
    out
}

fn random_world(rng: &mut Rng) -> World {
    let n = 2 + rng.below(9) as usize;
    let files = (0..1 + rng.below(2))
        .map(|_| rng.below(3))
        .collect::<Vec<_>>();
    let nodes = (0..n).map(|i| {
        let mut s = spec(rng.below(6), &[]);
        for _ in 0..rng.below(4).min(i as u64) {
            s.reads.push(rng.below(i as u64) as usize);
        }
        if i == 0 || rng.below(4) == 0 {
            s.file = Some(rng.below(files.len() as u64) as usize);
        }
        s
    });
    let nodes = nodes.collect();
    World { nodes, files }
}

/// Changes the world, or the cache; returns whether the cache was damaged.
fn edit(world: &mut World, past: &[World], store: &Store, rng: &mut Rng) -> bool {
    let node = rng.below(world.nodes.len() as u64) as usize;
    match rng.below(8) {
        0 | 1 => world.nodes[node].x = rng.below(6),
        2 => {
            let file = rng.below(world.files.len() as u64) as usize;
            world.files[file] = rng.below(3);
        }
        3 if node > 0 => world.nodes[node]
            .reads
            .push(rng.below(node as u64) as usize),
        3 | 4 => {
            world.nodes[node].reads.pop();
        }
        5 => *world = past[rng.below(past.len() as u64) as usize].clone(),
        how => {
            let all = artifacts(store);
            if all.is_empty() {
                return false;
            }
            let path = &all[rng.below(all.len() as u64) as usize];
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let mut bytes = std::fs::read(path).unwrap();
            match (how, rng.below(2)) {
                (6, 0) => std::fs::remove_file(path).unwrap(),
                (6, _) => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1;
                    std::fs::write(path, bytes).unwrap();
                }
            }
            return true;
        }
    }
    false
}

/// `CLCC_CASES` graphs (default 150), six edits each.
#[test]
fn random_graphs_with_random_edits_equal_the_oracle_and_rerun_the_least() {
    let cases = std::env::var("CLCC_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150);
    for case in 0..cases {
        let mut rng = Rng::new(case, "random graphs", &[]);
        let (_dir, store) = cache();
        let mut world = random_world(&mut rng);
        let mut past = vec![world.clone()];
        let mut computed: BTreeSet<String> = BTreeSet::new();
        let mut damaged = false;
        for step in 0..6 {
            let (contents, causes) = world.oracle();
            let fresh: BTreeSet<&String> =
                causes.iter().filter(|c| !computed.contains(*c)).collect();
            let fake = Fake::new(&store);
            let mut executed = Vec::new();
            // As the program does: what is damaged when it is copied out is made again.
            for pass in 0.. {
                assert!(pass < 12, "case {case} step {step}: no end");
                let (outcome, events) = run_world(&world, &fake, &options());
                executed.extend(events.iter().filter_map(|e| match e {
                    Event::DidExecute { id, .. } => id[1..].parse::<usize>().ok(),
                    _ => None,
                }));
                let outputs: Vec<Digest> = outcome.nodes.iter().map(output).collect();
                if let Some(bad) = outputs.iter().find(|d| !store.is_intact(d)) {
                    store.quarantine(bad).unwrap();
                    continue;
                }
                let found: Vec<String> = outputs
                    .iter()
                    .map(|d| std::fs::read_to_string(store.artifact_path(d)).unwrap())
                    .collect();
                assert_eq!(found, contents, "case {case} step {step}: {world:?}");
                break;
            }
            let ran: BTreeSet<&String> = executed.iter().map(|&n| &causes[n]).collect();
            if damaged {
                assert!(
                    ran.is_superset(&fresh),
                    "case {case} step {step}: {world:?}"
                );
            } else {
                assert_eq!(ran, fresh, "case {case} step {step}: {world:?}");
                assert_eq!(
                    executed.len(),
                    fresh.len(),
                    "case {case} step {step}: each key once"
                );
            }
            computed.extend(causes);
            // What is damaged now may be read only after a later edit.
            damaged |= edit(&mut world, &past, &store, &mut rng);
            past.push(world.clone());
        }
    }
}

#[test]
fn an_input_that_rotted_is_made_again_in_the_same_run() {
    let (_dir, store) = cache();
    let fake = Fake::new(&store);
    let (first, _) = run_world(&world(vec![spec(0, &[]), spec(2, &[0])]), &fake, &options());
    let path = store.artifact_path(&output(&first.nodes[0]));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    // n1 is new and reads it; n2 reads it too and is cached after the first of them.
    let changed = world(vec![spec(0, &[]), spec(4, &[0]), spec(4, &[0])]);
    let (outcome, events) = run_world(&changed, &fake, &options());
    assert!(
        outcome.nodes.iter().all(|n| n.record().is_some()),
        "{events:?}"
    );
    let (contents, _) = changed.oracle();
    for (node, expected) in outcome.nodes.iter().zip(contents) {
        let path = store.artifact_path(&output(node));
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::DidFindDamage { id, .. } if id == "n0"))
    );
    assert!(matches!(outcome.nodes[0], Outcome::Ran(..)));
}

fn fails(nodes: &'static [usize]) -> impl Fn(usize, usize) -> Option<FailureClass> {
    move |node, _| nodes.contains(&node).then_some(FailureClass::Stage)
}

#[test]
fn a_join_goes_on_with_enough_survivors_and_their_set_is_in_the_key() {
    let (_dir, store) = cache();
    let mut w = world(vec![
        spec(0, &[]),
        spec(2, &[]),
        spec(4, &[]),
        spec(6, &[0, 1, 2]),
    ]);
    w.nodes[3].join_min = Some(2);
    let (outcome, events) = run_world(&w, &Fake::with(&store, fails(&[1])), &options());
    let partial = output(&outcome.nodes[3]);
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::Warning { id, .. } if id == "n3"))
    );
    // With two lost there are too few, and both are named.
    w.nodes[0].x = 10;
    let (outcome, _) = run_world(&w, &Fake::with(&store, fails(&[0, 1])), &options());
    let Outcome::Skipped(why) = &outcome.nodes[3] else {
        panic!("{:?}", outcome.nodes[3])
    };
    let both = vec!["n0".to_string(), "n1".to_string()];
    assert_eq!(*why, SkipReason::Needs { nodes: both });
    // Whole again: another key.
    w.nodes[0].x = 0;
    let (outcome, _) = run_world(&w, &Fake::new(&store), &options());
    assert_ne!(output(&outcome.nodes[3]), partial);
}

/// Nodes that ran, were cached, failed and were skipped.
fn counts(outcome: &RunOutcome) -> [usize; 4] {
    let s = outcome.summary();
    [s.ran, s.cached, s.failed, s.skipped]
}

#[test]
fn without_a_minimum_a_join_needs_everything() {
    let (_dir, store) = cache();
    let w = world(vec![
        spec(0, &[]),
        spec(2, &[]),
        spec(6, &[0, 1]),
        spec(8, &[2]),
    ]);
    let (outcome, _) = run_world(&w, &Fake::with(&store, fails(&[1])), &options());
    let Outcome::Skipped(why) = &outcome.nodes[2] else {
        panic!("{:?}", outcome.nodes[2])
    };
    assert_eq!(why.to_string(), "it needs `n1`");
    assert!(matches!(&outcome.nodes[3], Outcome::Skipped(_)));
    assert_eq!(counts(&outcome), [1, 0, 1, 2]);
}

#[test]
fn a_node_killed_for_memory_is_tried_once_more_and_alone() {
    let (_dir, store) = cache();
    let w = world((0..6).map(|x| spec(2 * x, &[])).collect());
    let once = |node, attempt| (node == 2 && attempt == 0).then_some(FailureClass::Memory);
    let fake = Fake::with(&store, once);
    let (outcome, events) = run_world(&w, &fake, &options());
    assert_eq!(counts(&outcome), [6, 0, 0, 0]);
    assert!(events.iter().any(
        |e| matches!(e, Event::WillRetry { id, class, .. } if id == "n2" && *class == FailureKind::Memory)
    ));
    assert_eq!(fake.books.lock().unwrap().alone, BTreeSet::from([2]));
    let always = |node, _| (node == 2).then_some(FailureClass::Memory);
    let fake = Fake::with(&store, always);
    let mut again = w.clone();
    again.nodes[2].x = 40;
    let (outcome, _) = run_world(&again, &fake, &options());
    assert!(matches!(&outcome.nodes[2], Outcome::Failed(f) if f.class == FailureClass::Memory));
    assert_eq!(fake.books.lock().unwrap().attempts[&2], 2);
}

#[test]
fn a_passing_fault_is_tried_again_and_a_lasting_one_is_not() {
    let (_dir, store) = cache();
    let w = world(vec![spec(0, &[]), spec(2, &[])]);
    let fake = Fake::with(&store, |node, attempt| match (node, attempt) {
        (0, 0) => Some(FailureClass::Transient),
        (1, _) => Some(FailureClass::Stage),
        _ => None,
    });
    let (outcome, _) = run_world(&w, &fake, &options());
    assert_eq!(counts(&outcome), [1, 0, 1, 0]);
    assert_eq!(
        fake.books.lock().unwrap().attempts,
        BTreeMap::from([(0, 2), (1, 1)])
    );
}

#[test]
fn memory_set_aside_never_exceeds_the_budget() {
    let (_dir, store) = cache();
    let mut w = world((0..12).map(|x| spec(2 * x, &[])).collect());
    for (i, s) in w.nodes.iter_mut().enumerate() {
        s.resources.memory = Some([30, 45, 20, 60][i % 4]);
    }
    let fake = Fake::new(&store);
    let options = Options {
        memory: 100,
        jobs: 8,
        ..options()
    };
    let (outcome, _) = run_world(&w, &fake, &options);
    assert_eq!(outcome.summary().ran, 12);
    let books = fake.books.lock().unwrap();
    assert!(
        books.most_at_once > 1 && books.most_memory <= 100,
        "{}",
        books.most_memory
    );
}

#[test]
fn a_node_larger_than_the_budget_runs_alone() {
    let (_dir, store) = cache();
    let mut w = world((0..4).map(|x| spec(2 * x, &[])).collect());
    w.nodes[1].resources.memory = Some(1000);
    let fake = Fake::new(&store);
    let options = Options {
        memory: 100,
        ..options()
    };
    let (outcome, _) = run_world(&w, &fake, &options);
    assert_eq!(outcome.summary().ran, 4);
    assert!(fake.books.lock().unwrap().most_memory <= 1000);
}

#[test]
fn an_accelerator_is_leased_to_one_node_at_a_time() {
    let (_dir, store) = cache();
    let mut w = world((0..6).map(|x| spec(2 * x, &[])).collect());
    w.nodes.iter_mut().for_each(|s| {
        s.kind = &ON_DEVICE;
        s.resources.memory = Some(1);
    });
    for accelerators in [1, 2] {
        let fake = Fake::new(&store);
        let options = Options {
            device: DeviceChoice::Cuda,
            accelerators: (0..accelerators).map(|i| i.to_string()).collect(),
            ..options()
        };
        w.nodes.iter_mut().for_each(|s| s.x += 100);
        let (outcome, _) = run_world(&w, &fake, &options);
        assert_eq!(outcome.summary().ran, 6);
        let books = fake.books.lock().unwrap();
        assert!(!books.shared_accelerator);
        assert_eq!(books.most_at_once, accelerators);
    }
}

#[test]
fn fail_fast_starts_nothing_more() {
    let (_dir, store) = cache();
    let w = world((0..6).map(|x| spec(2 * x, &[])).collect());
    let options = Options {
        jobs: 1,
        fail_fast: true,
        ..options()
    };
    let (outcome, _) = run_world(&w, &Fake::with(&store, fails(&[1])), &options);
    assert_eq!(counts(&outcome), [1, 0, 1, 4]);
}
