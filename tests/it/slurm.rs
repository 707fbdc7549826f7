//! The cluster executor on a real Slurm: with `CLCC_SLURM=1` where its programs are on `PATH`, and jobs may run as this
//! user. Each test waits for real queues: minutes in all. What a false Slurm can show is in `cluster.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::project::{Project, Ran, TINY, command, rounds, with_tables};

/// All nodes are jobs; silence counts early.
const PROFILE: &str = "version: 1\nexecutor: slurm\ncores: 1\nlocal: {under: 0s}\nbeat: 1s\nlost_after: 40s\npoll: 2s\n";

fn is_there() -> bool {
    let is_asked = std::env::var_os("CLCC_SLURM").is_some();
    if !is_asked {
        eprintln!("skipped: CLCC_SLURM=1 runs it on a real Slurm");
    }
    is_asked
}

/// One test at a time with `CLCC_SLURM_ADMIN=1`, as some take the controller or a machine from all jobs; else no test
/// waits for another.
fn one_at_a_time() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    let is_admin = std::env::var_os("CLCC_SLURM_ADMIN").is_some();
    is_admin.then(|| ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn project(workflow: &str) -> Project {
    let project = Project::new(workflow);
    project.write("clcc-flow.yaml", PROFILE);
    project
}

fn fresh(workflow: &str) -> Project {
    let fresh = Project::new(workflow);
    fresh.run_json(&[]).expect(0);
    fresh
}

fn whole(p: &Project, fresh: &Project, what: &str) -> Ran {
    let ran = p.run_json(&[]);
    assert_eq!(ran.code, 0, "{what}: {}\n{}", ran.stderr, ran.stdout);
    assert_eq!(p.artifact_names(), fresh.artifact_names(), "{what}");
    assert_eq!(p.results(), fresh.results(), "{what}");
    p.run(&["verify"]).expect(0);
    ran
}

/// How often a stage was started under each key.
fn starts(p: &Project) -> BTreeMap<PathBuf, usize> {
    let mut starts = BTreeMap::new();
    for key in std::fs::read_dir(p.path().join(".clcc/jobs"))
        .into_iter()
        .flatten()
    {
        let key = key.expect("an entry").path();
        for turn in std::fs::read_dir(&key).expect("turns") {
            let entries = std::fs::read_dir(turn.expect("an entry").path()).expect("a turn");
            let names = entries.map(|e| e.expect("an entry").file_name());
            let n = names.filter(|n| n.to_string_lossy().starts_with("attempt."));
            *starts.entry(key.clone()).or_default() += n.count();
        }
    }
    starts
}

fn start(p: &Project) -> Child {
    let mut command = command(p.path(), &["run", "w.yaml", "--format", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    let _ = kill_process(pid, signal);
}

fn called(program: &str, args: &[&str]) -> String {
    let out = Command::new(program)
        .args(args)
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Ids of the jobs of all runs that have not ended.
fn queued() -> Vec<String> {
    let all = called("squeue", &["-h", "-r", "-o", "%i %j"]);
    let ours = all.lines().filter_map(|l| l.split_once(" clcc-"));
    ours.map(|(id, _)| id.to_string()).collect()
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(180);
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder with a stage at work in it: `beat.json` of a turn.
fn beating(p: &Project) -> Option<PathBuf> {
    let jobs = std::fs::read_dir(p.path().join(".clcc/jobs")).ok()?;
    let turns = jobs.filter_map(|k| Some(k.ok()?.path().join("1")));
    turns
        .into_iter()
        .find(|t| t.join("beat.json").exists() && !t.join("end.json").exists())
}

#[test]
fn the_real_slurm_makes_the_bytes_of_a_local_run() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    let fresh = fresh(TINY);
    let p = project(TINY);
    let ran = whole(&p, &fresh, "slurm");
    assert_eq!(ran.nodes("did_submit").len(), 8);
    assert!(starts(&p).values().all(|n| *n == 1));
    assert!(
        p.run(&["status", "--efficiency"])
            .expect(0)
            .stdout
            .contains("8 jobs used")
    );
}

#[test]
fn the_real_slurm_runs_nothing_twice_however_often_its_coordinator_is_killed() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    let fresh = fresh(&with_tables());
    let n = rounds(4);
    for i in 0..n {
        let p = project(&with_tables());
        let mut child = start(&p);
        std::thread::sleep(Duration::from_secs(12).mul_f64((i as f64 + 0.5) / n as f64));
        signal(&child, Signal::KILL);
        child.wait().expect("ended");
        whole(&p, &fresh, &format!("kill {i} of {n}"));
        let starts = starts(&p);
        assert!(starts.values().all(|n| *n == 1), "kill {i}: {starts:?}");
    }
}

/// One stage that takes long enough for something to happen to it.
const LONG: &str = "\
version: 1
name: long
seed: 7
axes:
  patient: [A]
stages:
  simulate:
    params: {n_cells: 12000, n_genes: 12000}
";

/// Starts the long workflow and waits until its job works.
fn at_work() -> (Project, Child, PathBuf) {
    let p = project(LONG);
    let child = start(&p);
    wait_until("a job works", || beating(&p).is_some());
    let turn = beating(&p).expect("a turn");
    (p, child, turn)
}

fn job_of(turn: &Path) -> String {
    let text = std::fs::read(turn.join("job.json")).expect("an id");
    serde_json::from_slice(&text).expect("text")
}

fn events(child: Child, code: i32) -> Vec<serde_json::Value> {
    Ran::new(child.wait_with_output().expect("ended"))
        .expect(code)
        .events()
}

#[test]
fn the_real_slurm_requeues_a_job_and_the_run_waits() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    let (p, child, turn) = at_work();
    called("scontrol", &["requeue", &job_of(&turn)]);
    let events = events(child, 0);
    assert!(
        events.iter().all(|e| e["event"] != "will_retry"),
        "{events:?}"
    );
    assert!(turn.join("attempt.1").exists(), "it was started twice");
    assert_eq!(p.run(&["verify"]).expect(0).code, 0);
}

#[test]
fn a_job_of_the_real_slurm_that_is_cancelled_by_hand_fails_its_node() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    let (_p, child, turn) = at_work();
    called("scancel", &[&job_of(&turn)]);
    let events = events(child, 6);
    let failed = events
        .iter()
        .find(|e| e["event"] == "did_fail")
        .expect("one");
    assert!(
        failed["message"].to_string().contains("cancelled"),
        "{failed}"
    );
}

#[test]
fn a_stage_of_the_real_slurm_that_is_killed_is_told_apart_from_a_job_that_is() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    // The job's own process: Slurm says FAILED.
    let (_p, child, turn) = at_work();
    let id = job_of(&turn);
    called("scancel", &["--batch", "--signal=KILL", &id]);
    let events = events(child, 6);
    let failed = events
        .iter()
        .find(|e| e["event"] == "did_fail")
        .expect("one");
    assert_eq!(failed["class"], "crash", "{failed}");
}

#[test]
fn a_job_of_the_real_slurm_that_lost_its_slurmstepd_is_made_again() {
    if !is_there() || std::env::var_os("CLCC_SLURM_ADMIN").is_none() {
        return;
    }
    let _alone = one_at_a_time();
    let (p, child, turn) = at_work();
    // The stage dies with it, and Slurm takes the job for running for a while.
    called("pkill", &["-KILL", "-x", "slurmstepd"]);
    let events = events(child, 0);
    let again = events.iter().find(|e| e["event"] == "will_retry");
    let again = again.unwrap_or_else(|| panic!("no retry: {events:#?}"));
    assert_eq!(again["class"], "transient", "{again}");
    assert!(turn.exists() && p.run(&["verify"]).expect(0).code == 0);
}

#[test]
fn an_outage_of_the_real_controller_is_waited_out() {
    if !is_there() || std::env::var_os("CLCC_SLURM_ADMIN").is_none() {
        return;
    }
    let _alone = one_at_a_time();
    let (p, child, _) = at_work();
    let pid = called("pgrep", &["-x", "slurmctld"]);
    let stop = |s: &str| called("kill", &[s, pid.trim()]);
    stop("-STOP");
    std::thread::sleep(Duration::from_secs(25));
    stop("-CONT");
    let events = events(child, 0);
    let retries = events.iter().filter(|e| e["event"] == "will_retry").count();
    assert_eq!(retries, 0);
    assert!(starts(&p).values().all(|n| *n == 1));
}

#[test]
fn a_node_of_the_real_slurm_that_is_set_down_makes_its_jobs_run_again() {
    if !is_there() || std::env::var_os("CLCC_SLURM_ADMIN").is_none() {
        return;
    }
    let _alone = one_at_a_time();
    let (p, child, _) = at_work();
    let node = called("sinfo", &["-h", "-o", "%n"]);
    let update = |state: &str| {
        let name = format!("NodeName={}", node.trim());
        called(
            "scontrol",
            &["update", &name, &format!("State={state}"), "Reason=test"],
        )
    };
    update("DOWN");
    std::thread::sleep(Duration::from_secs(5));
    update("RESUME");
    events(child, 0);
    p.run(&["verify"]).expect(0);
}

#[test]
fn a_signal_ends_the_jobs_of_the_real_slurm() {
    if !is_there() {
        return;
    }
    let _alone = one_at_a_time();
    let (p, child, turn) = at_work();
    let id = job_of(&turn);
    signal(&child, Signal::INT);
    Ran::new(child.wait_with_output().expect("ended")).expect(130);
    wait_until("the job has gone", || !queued().contains(&id));
    p.run_json(&[]).expect(0);
}
