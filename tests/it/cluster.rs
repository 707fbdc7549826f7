//! Nodes as jobs of a batch system: a false Slurm on `PATH` that fails as real ones do. Real ones: `slurm.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::project::{Project, Ran, SMALLEST, TINY, command, rounds, with_tables};

/// All nodes are jobs; what takes minutes elsewhere takes seconds.
const PROFILE: &str = "version: 1\nexecutor: slurm\ncores: 1\nlocal: {under: 0s}\npack: 0s\nbeat: 300ms\n\
                       lost_after: 10s\npoll: 300ms\n";

/// A project beside a false Slurm.
struct Cluster {
    project: Project,
    state: tempfile::TempDir,
}

impl Cluster {
    fn new(workflow: &str) -> Self {
        let cluster = Self {
            project: Project::new(workflow),
            state: tempfile::tempdir().expect("a temporary directory"),
        };
        cluster.project.write("clcc-flow.yaml", PROFILE);
        cluster
    }

    fn command(&self, args: &[&str]) -> Command {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/false_slurm");
        let path = std::env::var("PATH").expect("a path");
        let mut command = command(self.project.path(), args);
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("FALSE_SLURM", self.state.path());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().expect("the program starts"))
    }

    fn run_json(&self, args: &[&str]) -> Ran {
        let mut all = vec!["run", "w.yaml", "--format", "json"];
        all.extend(args);
        self.run(&all)
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut all = vec!["run", "w.yaml", "--format", "json"];
        all.extend(args);
        let mut command = self.command(&all);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// Writes a file that the false Slurm looks for.
    fn set(&self, name: &str, text: &str) {
        std::fs::write(self.state.path().join(name), text).expect("written");
    }

    fn unset(&self, name: &str) {
        let _ = std::fs::remove_file(self.state.path().join(name));
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.state.path().join(name)).unwrap_or_default()
    }

    /// How often a stage was started under each key.
    fn starts(&self) -> BTreeMap<PathBuf, usize> {
        let mut starts = BTreeMap::new();
        let jobs = self.project.path().join(".clcc/jobs");
        for key in std::fs::read_dir(jobs).into_iter().flatten() {
            let key = key.expect("an entry").path();
            for turn in std::fs::read_dir(&key).expect("turns") {
                let turn = turn.expect("an entry").path();
                let attempts = std::fs::read_dir(turn).expect("a turn").filter(|e| {
                    let name = e.as_ref().expect("an entry").file_name();
                    name.to_string_lossy().starts_with("attempt.")
                });
                *starts.entry(key.clone()).or_default() += attempts.count();
            }
        }
        starts
    }

    /// How many events of the journals of all runs hold all of `words`.
    fn events(&self, words: &[&str]) -> usize {
        let runs = std::fs::read_dir(self.project.path().join(".clcc/runs"));
        runs.into_iter()
            .flatten()
            .filter_map(|run| {
                std::fs::read_to_string(run.expect("an entry").path().join("events.jsonl")).ok()
            })
            .flat_map(|journal| journal.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }

    /// Waits until the first job is handed in and its run knows.
    fn wait_for_a_job(&self) {
        self.wait_until("a job waits", || self.events(&["did_submit"]) == 1);
    }

    fn wait_until(&self, what: &str, is: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(120);
        while !is() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The run ends well now, as one that nothing happened to.
    fn whole(&self, fresh: &Project, what: &str) -> Ran {
        let ran = self.run_json(&[]);
        assert_eq!(ran.code, 0, "{what}: {}\n{}", ran.stderr, ran.stdout);
        assert_eq!(
            self.project.artifact_names(),
            fresh.artifact_names(),
            "{what}"
        );
        assert_eq!(self.project.results(), fresh.results(), "{what}");
        self.run(&["verify"]).expect(0);
        ran
    }
}

/// A local run of the same workflow.
fn fresh(workflow: &str) -> Project {
    let fresh = Project::new(workflow);
    fresh.run_json(&[]).expect(0);
    fresh
}

fn kill(child: &mut Child) {
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    let _ = kill_process(pid, Signal::KILL);
    child.wait().expect("ended");
}

#[test]
fn jobs_make_the_bytes_of_a_local_run_and_each_runs_once() {
    let fresh = fresh(TINY);
    let cluster = Cluster::new(TINY);
    let ran = cluster.whole(&fresh, "first");
    assert_eq!(ran.nodes("did_submit"), ran.nodes("did_execute"));
    assert_eq!(ran.nodes("did_submit").len(), 8);
    assert!(cluster.starts().values().all(|n| *n == 1));
    let handed_in = cluster.said("sbatch.log").lines().count();
    // The end of `simulate` makes both ready at once; later ones may be ready apart.
    let array_of = |id: &str| {
        let events = ran.events();
        let submitted = events
            .iter()
            .find(|e| e["event"] == "did_submit" && e["id"] == id);
        let job = submitted.expect("submitted")["job"].as_str();
        let array = job.and_then(|job| job.split('_').next());
        array.expect("the job of an array").to_string()
    };
    assert_eq!(array_of("preprocess[A]"), array_of("preprocess[B]"));
    assert!(handed_in < 8, "like nodes go together: {handed_in}");
    let again = cluster.whole(&fresh, "again");
    assert_eq!(again.nodes("did_reuse").len(), 8);
    assert_eq!(cluster.said("sbatch.log").lines().count(), handed_in);
    let table = cluster.run(&["status", "--efficiency"]).expect(0).stdout;
    assert!(
        table.contains("infercnv[A]") && table.contains("8 jobs used"),
        "{table}"
    );
    let file = "results/tiny/efficiency.tsv";
    let table = std::fs::read_to_string(cluster.project.path().join(file)).expect("a table");
    let lines: Vec<&str> = table.lines().filter(|l| !l.starts_with('#')).collect();
    assert!(
        lines.len() == 9 && lines[0].starts_with("node\tjob\t"),
        "{table}"
    );
    assert!(
        lines.iter().any(|l| l.starts_with("infercnv[A]\t")),
        "{table}"
    );
    assert!(!fresh.path().join(file).exists(), "no node was a job");
    let log = cluster.run(&["log", "infercnv[B]"]).expect(0).stdout;
    assert!(log.contains("  job ") && log.contains("done in"), "{log}");
    let sbatch = cluster.said("sbatch.log");
    for option in [
        "--signal=B:TERM@60",
        "--requeue",
        "--mem=512M",
        "--cpus-per-task=1",
    ] {
        assert!(sbatch.contains(option), "{option}\n{sbatch}");
    }
}

#[test]
fn short_nodes_run_beside_the_coordinator_and_others_are_packed() {
    let cluster = Cluster::new(TINY);
    cluster
        .project
        .write("clcc-flow.yaml", &PROFILE.replace("under: 0s", "under: 1h"));
    let ran = cluster.run_json(&[]).expect(0);
    assert!(ran.nodes("did_submit").is_empty());
    assert_eq!(ran.nodes("did_execute").len(), 8);
    // What was learned packs the two patients into one task.
    cluster
        .project
        .write("clcc-flow.yaml", &PROFILE.replace("pack: 0s", "pack: 10m"));
    let ran = cluster.run_json(&["--force", "infercnv"]).expect(0);
    assert_eq!(ran.nodes("did_submit"), ["infercnv[A]", "infercnv[B]"]);
    let sbatch = cluster.said("sbatch.log");
    assert_eq!(sbatch.lines().count(), 1);
    assert!(sbatch.contains("--array=0-0"), "{sbatch}");
}

#[test]
fn arrays_are_no_larger_than_the_cluster_takes() {
    let cluster = Cluster::new(TINY);
    let mut command = cluster.command(&["run", "w.yaml"]);
    let ran = Ran::new(command.env("FALSE_ARRAY", "2").output().expect("it starts"));
    ran.expect(0);
    let sbatch = cluster.said("sbatch.log");
    assert!(
        sbatch.lines().all(|l| l.contains("--array=0-0")),
        "{sbatch}"
    );
}

#[test]
fn a_coordinator_killed_at_any_step_leaves_nothing_that_runs_twice() {
    let fresh = fresh(&with_tables());
    for place in ["turn.taken", "batch.before", "batch.handed", "batch.noted"] {
        for nth in 1..=rounds(2).min(4) {
            let cluster = Cluster::new(&with_tables());
            let fault = format!("{place}=kill@{nth}");
            let mut command = cluster.command(&["run", "w.yaml"]);
            let ran = command
                .env("CLCC_FAILPOINT", &fault)
                .output()
                .expect("it starts");
            assert!(!ran.status.success(), "{fault} is passed");
            cluster.whole(&fresh, &fault);
            let starts = cluster.starts();
            assert!(starts.values().all(|n| *n == 1), "{fault}: {starts:?}");
        }
    }
}

#[test]
fn a_coordinator_killed_at_any_moment_leaves_nothing_that_runs_twice() {
    let fresh = fresh(&with_tables());
    let n = rounds(4);
    for i in 0..n {
        let cluster = Cluster::new(&with_tables());
        let mut child = cluster.start(&[]);
        std::thread::sleep(Duration::from_secs(6).mul_f64((i as f64 + 0.5) / n as f64));
        kill(&mut child);
        cluster.whole(&fresh, &format!("kill {i} of {n}"));
        let starts = cluster.starts();
        assert!(starts.values().all(|n| *n == 1), "kill {i}: {starts:?}");
    }
}

#[test]
fn a_rerun_goes_on_with_a_job_that_lives_and_so_does_another_run() {
    let cluster = Cluster::new(SMALLEST);
    cluster.set("hold", "");
    let mut first = cluster.start(&[]);
    cluster.wait_for_a_job();
    cluster.wait_until("status counts the job", || {
        let status = cluster.run(&["status"]).expect(0).stdout;
        status.contains("jobs: 0 run, 1 wait")
    });
    kill(&mut first);
    let second = cluster.start(&["--results", "r2"]);
    let third = cluster.start(&["--results", "r3"]);
    cluster.wait_until("both go on with it", || {
        cluster.events(&["did_submit", "adopted_from"]) >= 2
    });
    cluster.unset("hold");
    let mut adopted = 0;
    for child in [second, third] {
        let ran = Ran::new(child.wait_with_output().expect("ended")).expect(0);
        let of =
            |e: &&serde_json::Value| e["event"] == "did_submit" && e["adopted_from"].is_string();
        adopted += ran.events().iter().filter(of).count();
    }
    assert!(adopted >= 2, "{adopted}");
    assert!(cluster.starts().values().all(|n| *n == 1));
    assert_eq!(cluster.said("sbatch.log").lines().count(), 3);
}

#[test]
fn whatever_squeue_answers_the_jobs_decide() {
    let fresh = fresh(SMALLEST);
    for (what, file, text) in [
        ("no answer", "squeue.says", ""),
        (
            "garbage",
            "squeue.says",
            "Segmentation fault (core dumped)\n",
        ),
        ("foreign jobs", "squeue.says", "9_0|FAILED|b9|node1\n"),
        ("late", "squeue.late", "2"),
        ("forgets all jobs", "forgets", ""),
    ] {
        let cluster = Cluster::new(SMALLEST);
        cluster.set(file, text);
        let ran = cluster.whole(&fresh, what);
        assert!(cluster.starts().values().all(|n| *n == 1), "{what}");
        let notes = ran.events();
        let notes = notes.iter().filter(|e| e["event"] == "note").count();
        let is_outage = matches!(what, "no answer" | "garbage");
        assert_eq!(notes, usize::from(is_outage), "{what}: said once");
    }
}

#[test]
fn a_job_that_sbatch_may_have_accepted_is_looked_for_before_another() {
    let fresh = fresh(SMALLEST);
    for accepts in [true, false] {
        let cluster = Cluster::new(SMALLEST);
        cluster.set(
            "sbatch.fails",
            "sbatch: error: Socket timed out on send/recv operation",
        );
        if accepts {
            cluster.set("sbatch.accepts", "");
        }
        cluster.whole(&fresh, &format!("accepted: {accepts}"));
        assert!(cluster.starts().values().all(|n| *n == 1), "{accepts}");
        let calls = cluster.said("sbatch.log").lines().count();
        assert_eq!(calls, if accepts { 3 } else { 4 });
    }
}

#[test]
fn a_refusal_for_good_is_told_with_its_words() {
    let cluster = Cluster::new(SMALLEST);
    cluster.set(
        "sbatch.fails",
        "sbatch: error: invalid partition specified: shrot",
    );
    let ran = cluster.run(&["run", "w.yaml"]).expect(6);
    assert!(
        ran.stderr.contains("invalid partition specified: shrot"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("the profile is `clcc-flow.yaml`"),
        "{}",
        ran.stderr
    );
    cluster.run(&["run", "w.yaml"]).expect(0);
}

/// Options of the calls of `sbatch` that begin so.
fn options(sbatch: &str, name: &str) -> Vec<String> {
    let option = |line: &str| {
        let mut words = line.split(' ');
        words.find_map(|w| Some(w.strip_prefix(name)?.to_string()))
    };
    sbatch.lines().filter_map(option).collect()
}

#[test]
fn each_end_of_a_job_is_answered_as_it_should_be() {
    for (state, class, option, values) in [
        ("OUT_OF_MEMORY", "memory", "--mem=", vec!["512M", "768M"]),
        ("TIMEOUT", "timeout", "--time=", vec!["240", "480"]),
        ("NODE_FAIL", "transient", "--exclude=", vec!["node7"]),
        ("PREEMPTED", "transient", "--time=", vec!["240", "240"]),
    ] {
        for accounting in [true, false] {
            let cluster = Cluster::new(SMALLEST);
            cluster.set("ends.1", state);
            // Where `squeue` has forgotten it, `sacct` knows.
            if accounting {
                cluster.set("accounting", "");
                cluster.set("forgets", "");
            }
            let ran = cluster.run_json(&["--until", "simulate"]).expect(0);
            let retries: Vec<_> = ran.events();
            let retries: Vec<_> = retries
                .iter()
                .filter(|e| e["event"] == "will_retry")
                .collect();
            assert_eq!(retries.len(), 1, "{state}");
            assert_eq!(retries[0]["class"], class, "{state}");
            let found = options(&cluster.said("sbatch.log"), option);
            assert_eq!(found, values, "{state}");
        }
    }
}

#[test]
fn a_stage_that_is_killed_fails_its_node_and_no_other() {
    let cluster = Cluster::new(TINY);
    cluster.set("ends.2", "FAILED");
    let ran = cluster.run_json(&[]).expect(5);
    // Job 2 is the array of both patients.
    assert_eq!(ran.nodes("did_fail"), ["preprocess[A]", "preprocess[B]"]);
    let failed = ran.events();
    let failed = failed
        .iter()
        .find(|e| e["event"] == "did_fail")
        .expect("one");
    assert_eq!(failed["class"], "crash");
    cluster.whole(&fresh(TINY), "again");
}

#[test]
fn a_job_that_is_requeued_is_waited_for() {
    let fresh = fresh(SMALLEST);
    let cluster = Cluster::new(SMALLEST);
    cluster.set("requeues.1", "0.1");
    cluster.whole(&fresh, "requeued");
    // Its first start may have been too short for the stage.
    assert!(cluster.starts().values().all(|n| (1..=2).contains(n)));
    assert_eq!(cluster.said("sbatch.log").lines().count(), 3);
}

#[test]
fn a_signal_cancels_the_jobs_and_a_rerun_makes_them_again() {
    let cluster = Cluster::new(SMALLEST);
    cluster.set("hold", "");
    let child = cluster.start(&[]);
    cluster.wait_for_a_job();
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::INT).expect("alive");
    Ran::new(child.wait_with_output().expect("ended")).expect(130);
    assert_eq!(cluster.said("scancel.log").trim(), "1_0");
    cluster.unset("hold");
    cluster.whole(&fresh(SMALLEST), "after a signal");
}

#[test]
fn cancel_ends_a_run_and_its_jobs_with_its_coordinator_or_without() {
    for with_coordinator in [true, false] {
        let cluster = Cluster::new(SMALLEST);
        cluster.set("hold", "");
        let child = cluster.start(&[]);
        cluster.wait_for_a_job();
        if !with_coordinator {
            let pid = Pid::from_raw(child.id() as i32).expect("a process");
            kill_process(pid, Signal::KILL).expect("alive");
            let attached = cluster.run(&["attach"]).expect(5);
            assert!(
                attached.stderr.contains("of its jobs 0 run and 1 wait"),
                "{}",
                attached.stderr
            );
        }
        cluster.run(&["cancel"]).expect(0);
        let ran = Ran::new(child.wait_with_output().expect("ended"));
        if with_coordinator {
            ran.expect(130);
        }
        assert!(
            cluster.said("scancel.log").contains("1_0"),
            "{with_coordinator}"
        );
        cluster.unset("hold");
        cluster.whole(&fresh(SMALLEST), "after cancel");
    }
}

#[test]
fn cancel_ends_a_run_without_jobs_as_a_signal_does() {
    let project = Project::new(&SMALLEST.replace(
        "n_cells: 40, n_genes: 1500",
        "n_cells: 100000, n_genes: 12000",
    ));
    let child = project.start_json(&[], &[]);
    let journal = || {
        let runs = std::fs::read_dir(project.path().join(".clcc/runs"));
        let dirs = runs
            .into_iter()
            .flatten()
            .filter_map(|e| Some(e.ok()?.path()));
        let texts = dirs.filter_map(|d| std::fs::read_to_string(d.join("events.jsonl")).ok());
        texts.collect::<String>()
    };
    let until = Instant::now() + Duration::from_secs(120);
    while !journal().contains("will_execute") {
        assert!(Instant::now() < until, "a node runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    let cancelled = project.run(&["cancel"]).expect(0);
    assert!(
        cancelled.stdout.contains(" has ended"),
        "{}",
        cancelled.stdout
    );
    Ran::new(child.wait_with_output().expect("ended")).expect(130);
    let ends: Vec<serde_json::Value> = journal()
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let cancelled =
        |e: &&serde_json::Value| e["event"] == "did_skip" && e["reason"]["kind"] == "cancelled";
    assert_eq!(ends.iter().filter(cancelled).count(), 1, "{ends:?}");
    let executed = |e: &serde_json::Value| e["event"] == "did_execute";
    assert!(!ends.iter().any(executed), "{ends:?}");
    assert_eq!(
        ends.last().map(|e| e["event"].clone()),
        Some("finished".into())
    );
    // It has ended, and so has one whose coordinator was killed: there is nothing to cancel.
    let again = project.run(&["cancel"]).expect(2);
    assert!(
        again.stderr.contains("every run in this cache has ended"),
        "{}",
        again.stderr
    );
    let mut killed = project.start_json(&[], &[]);
    while journal().matches("will_execute").count() < 2 {
        assert!(Instant::now() < until, "a node runs again");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(&mut killed);
    let gone = project.run(&["cancel"]).expect(2);
    assert!(gone.stderr.contains("no jobs are left"), "{}", gone.stderr);
}

#[test]
fn what_a_network_file_system_shows_late_is_waited_for() {
    let fresh = fresh(SMALLEST);
    let run = |fault: &str| {
        let cluster = Cluster::new(SMALLEST);
        let mut command = cluster.command(&["run", "w.yaml", "--format", "json"]);
        command.env("CLCC_FAILPOINT", fault);
        let ran = Ran::new(command.output().expect("the program starts"));
        (cluster, ran)
    };
    let (cluster, ran) = run("lookup=late");
    let ran = ran.expect(0);
    assert_eq!(ran.nodes("did_execute").len(), 3);
    assert_eq!(ran.nodes("will_retry"), Vec::<String>::new());
    assert!(cluster.starts().values().all(|n| *n == 1));
    cluster.whole(&fresh, "late");
    // The layer hides what it says: what never shows is a loss.
    let (_, ran) = run("lookup=never");
    let events = ran.expect(6).events();
    let lost = events
        .iter()
        .find(|e| e["event"] == "did_fail")
        .expect("one");
    assert_eq!(lost["message"], "the job ended without a result");
}

#[test]
fn attach_follows_a_run_to_its_end() {
    let cluster = Cluster::new(SMALLEST);
    cluster.set("hold", "");
    let child = cluster.start(&[]);
    cluster.wait_until("a job waits", || {
        cluster.said("sbatch.log").lines().count() == 1
    });
    let mut attach = cluster.command(&["attach"]);
    attach.stderr(std::process::Stdio::piped());
    let attach = attach.spawn().expect("it starts");
    cluster.unset("hold");
    let attached = Ran::new(attach.wait_with_output().expect("ended")).expect(0);
    assert!(
        attached.stderr.contains("3 ran, 0 cached, 0 failed"),
        "{}",
        attached.stderr
    );
    Ran::new(child.wait_with_output().expect("ended")).expect(0);
}

#[test]
fn a_collection_waits_for_jobs_that_beat_and_keeps_those_that_wait() {
    let cluster = Cluster::new(SMALLEST);
    cluster.set("hold", "");
    let mut child = cluster.start(&[]);
    cluster.wait_for_a_job();
    kill(&mut child);
    cluster.run(&["gc"]).expect(0);
    assert_eq!(cluster.starts().len(), 1, "the job still has its order");
    let turn = cluster
        .starts()
        .into_keys()
        .next()
        .expect("a key")
        .join("1");
    std::fs::write(turn.join("beat.json"), "1").expect("written");
    let ran = cluster.run(&["gc", "--wait", "0"]).expect(7);
    assert!(
        ran.stderr.contains("jobs are using the cache"),
        "{}",
        ran.stderr
    );
    std::fs::remove_file(turn.join("beat.json")).expect("removed");
    cluster.unset("hold");
    cluster.whole(&fresh(SMALLEST), "after gc");
    assert!(cluster.starts().values().all(|n| *n == 1));
    cluster.run(&["gc"]).expect(0);
    assert!(cluster.starts().is_empty(), "what has ended goes");
}

#[test]
fn another_batch_system_is_spoken_to_by_the_commands_of_its_profile() {
    let fresh = fresh(SMALLEST);
    let cluster = Cluster::new(SMALLEST);
    cluster.project.write(
        "clcc-flow.yaml",
        &PROFILE.replace(
            "executor: slurm\n",
            "executor: command\ncommand:\n  submit: sbatch --array=0-0 --job-name=clcc-x --comment={name} {script}\n  \
             poll: \"squeue --name=clcc-x --blanks\"\n  columns: [1, 2]\n  cancel: scancel {jobs}\n  \
             states: {pending: PENDING, running: RUNNING, ended: [COMPLETED, FAILED, CANCELLED]}\n",
        ),
    );
    cluster.whole(&fresh, "by commands");
    assert!(cluster.starts().values().all(|n| *n == 1));
    assert_eq!(cluster.said("sbatch.log").lines().count(), 3);
}

#[test]
fn a_profile_is_checked_before_anything_runs() {
    let cluster = Cluster::new(SMALLEST);
    cluster.project.write(
        "clcc-flow.yaml",
        "version: 1\nexecutor: slrum\npartitoin: short\n",
    );
    let ran = cluster.run(&["run", "w.yaml"]).expect(3);
    for part in [
        "unknown executor `slrum`",
        "clcc-flow.yaml:2:11",
        "did you mean `partition`?",
    ] {
        assert!(ran.stderr.contains(part), "{part}\n{}", ran.stderr);
    }
    let ran = cluster
        .run(&["run", "w.yaml", "--profile", "none.yaml"])
        .expect(3);
    assert!(
        ran.stderr.contains("cannot read profile `none.yaml`"),
        "{}",
        ran.stderr
    );
    cluster.project.write("clcc-flow.yaml", "version: 1\n");
    let ran = cluster
        .run(&["run", "w.yaml", "--", "--partition=x"])
        .expect(2);
    assert!(
        ran.stderr.contains("only --executor slurm takes options"),
        "{}",
        ran.stderr
    );
    cluster
        .run(&["run", "w.yaml", "--executor", "command"])
        .expect(2);
}

#[test]
fn what_jobs_make_is_sent_and_what_they_read_is_fetched() {
    let fresh = fresh(SMALLEST);
    let shared = tempfile::tempdir().expect("a folder");
    let remote = format!("file://{}/lab", shared.path().display());
    let args = ["--remote", remote.as_str()];
    let a = Cluster::new(SMALLEST);
    let made = a.run_json(&args).expect(0);
    let sent = |ran: &Ran| {
        let events = ran.events();
        let moved = events.iter().find(|e| e["event"] == "did_transfer");
        moved.expect("a transfer")["sent"].clone()
    };
    assert_eq!(sent(&made), made.nodes("did_execute").len());
    // Another cluster and another machine have it all, and jobs go on from it.
    let b = Cluster::new(SMALLEST);
    let changed = [&args[..], &["--set", "infercnv.step=5"]].concat();
    let ran = b.run_json(&changed).expect(0);
    assert_eq!(ran.nodes("did_execute"), ["infercnv[A]"]);
    assert_eq!(b.starts().len(), 1);
    let c = Project::new(SMALLEST);
    let ran = c.run_json(&args).expect(0);
    assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
    assert_eq!(c.results(), fresh.results());
}
