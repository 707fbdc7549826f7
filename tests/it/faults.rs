//! Kills, full disks, rot: after each, a plain rerun gives the same bytes as if nothing had been.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::messages::compare;
use crate::project::{Project, Ran, SMALLEST, TINY, command, rounds, with_tables};

/// Every place between two steps of publishing, in the coordinator and in the child.
const PLACES: [&str; 18] = [
    "attempt.create",
    "attempt.action",
    "child.begin",
    "child.ran",
    "pack.create",
    "pack.written",
    "child.result",
    "insert.begin",
    "insert.rename",
    "insert.renamed",
    "commit.begin",
    "write.create",
    "write.rename",
    "write.renamed",
    "commit.done",
    "publish.copy",
    "publish.rename",
    "publish.write",
];

fn whole(p: &Project, fresh: &Project, what: &str) {
    p.run_json(&[]).expect(0);
    assert_eq!(p.artifact_names(), fresh.artifact_names(), "{what}");
    assert_eq!(p.results(), fresh.results(), "{what}");
    p.run(&["verify"]).expect(0);
}

fn fresh() -> Project {
    let fresh = Project::new(&with_tables());
    fresh.run_json(&[]).expect(0);
    assert!(!fresh.results().is_empty());
    fresh
}

#[test]
fn a_kill_at_any_step_of_publishing_is_made_good_by_a_plain_rerun() {
    let fresh = fresh();
    for place in PLACES {
        for nth in 1..=rounds(1) {
            let p = Project::new(&with_tables());
            let fault = format!("{place}=kill@{nth}");
            let ran = p.run_with(&["run", "w.yaml"], &[("CLCC_FAILPOINT", &fault)]);
            if nth == 1 {
                assert_ne!(ran.code, 0, "{place} is passed: {}", ran.stderr);
            }
            whole(&p, &fresh, &fault);
        }
    }
}

#[test]
fn a_full_disk_at_any_step_is_told_with_its_path_and_made_good_by_a_plain_rerun() {
    let fresh = fresh();
    for place in PLACES {
        let p = Project::new(&with_tables());
        let fault = format!("{place}=enospc");
        let ran = p.run_with(&["run", "w.yaml"], &[("CLCC_FAILPOINT", &fault)]);
        // The child's steps have no path of their own: a stage names the file that it writes.
        if place == "child.result" {
            assert_ne!(ran.code, 0, "{place}");
        } else {
            assert_eq!(ran.code, 9, "{place}: {}", ran.stderr);
            let path = p.path().display().to_string();
            assert!(
                place.starts_with("child")
                    || (ran.stderr.contains(&path) || ran.stderr.contains("results/")),
                "{}",
                ran.stderr
            );
            assert!(ran.stderr.contains(" free"), "{place}: {}", ran.stderr);
        }
        whole(&p, &fresh, &fault);
    }
}

#[test]
fn an_io_error_that_passes_is_tried_again_in_the_same_run() {
    for place in [
        "attempt.create",
        "insert.rename",
        "commit.begin",
        "child.ran",
    ] {
        let p = Project::new(SMALLEST);
        // A child counts from one in every process: its fault would not pass.
        if place.starts_with("child") {
            continue;
        }
        let fault = format!("{place}=eio");
        let ran = p.run_with(
            &["run", "w.yaml", "--format", "json"],
            &[("CLCC_FAILPOINT", &fault)],
        );
        let ran = ran.expect(0);
        assert_eq!(ran.nodes("will_retry").len(), 1, "{place}");
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a process")
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_a_plain_rerun() {
    let fresh = fresh();
    let began = Instant::now();
    Project::new(&with_tables()).run_json(&[]).expect(0);
    let whole_run = began.elapsed();
    let n = rounds(6);
    for i in 0..n {
        let p = Project::new(&with_tables());
        let mut child = p.start_json(&[], &[]);
        std::thread::sleep(whole_run.mul_f64((i as f64 + 0.5) / n as f64));
        let _ = kill_process(pid(&child), Signal::KILL);
        child.wait().expect("ended");
        whole(&p, &fresh, &format!("kill {i} of {n}"));
    }
}

/// Reads events until `until` is seen.
fn wait_for(child: &mut Child, until: impl Fn(&serde_json::Value) -> bool) {
    let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    for line in lines {
        let event = serde_json::from_str(&line.expect("a line")).expect("an event");
        if until(&event) {
            return;
        }
    }
    panic!("the run ended before");
}

#[test]
fn a_child_that_outlives_its_coordinator_writes_to_its_own_dead_directory_only() {
    let fresh = fresh();
    for round in 0..rounds(2) {
        let p = Project::new(&with_tables());
        let orphan = [("CLCC_FAILPOINT", "child.dies_with_parent=skip")];
        let mut child = p.start_json(&[], &orphan);
        let stage = ["simulate", "infercnv[A]"][round % 2];
        wait_for(&mut child, |e| {
            e["event"] == "will_execute" && e["id"] == stage
        });
        kill_process(pid(&child), Signal::KILL).expect("alive");
        child.wait().expect("ended");
        // The orphan still writes while the rerun runs.
        whole(&p, &fresh, &format!("round {round}"));
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(d) = dirs.pop() {
        for entry in std::fs::read_dir(d).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn rot_anywhere_in_the_cache_never_reaches_a_result_and_is_healed() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let sound = (p.artifact_names(), p.results());
    let cache = p.path().join(".clcc");
    let mut files: Vec<PathBuf> = ["cas", "ac", "last"]
        .iter()
        .flat_map(|d| files_of(&cache.join(d)))
        .collect();
    files.push(cache.join("stat.jsonl"));
    let step = if std::env::var_os("CLCC_ROUNDS").is_some() {
        1
    } else {
        files.len() / 6
    };
    for (i, file) in files.iter().enumerate().filter(|(i, _)| i % step == 0) {
        let Ok(bytes) = std::fs::read(file) else {
            continue;
        };
        for how in 0..3 {
            if step > 1 && (i / step) % 3 != how {
                continue;
            }
            let damaged = match how {
                0 => {
                    let mut bytes = bytes.clone();
                    let at = i % bytes.len().max(1);
                    if let Some(b) = bytes.get_mut(at) {
                        *b ^= 1;
                    }
                    bytes
                }
                1 => bytes[..bytes.len() / 2].to_vec(),
                _ => vec![0; bytes.len()],
            };
            if damaged == bytes {
                continue;
            }
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
            std::fs::write(file, damaged).expect("written");
            std::fs::remove_dir_all(p.path().join("results")).expect("removed");
            let what = format!("{} damaged in way {how}", file.display());
            p.run_json(&[]).expect(0);
            assert_eq!(p.results(), sound.1, "{what}");
            p.run_json(&["--rehash"]).expect(0);
            assert_eq!(p.artifact_names(), sound.0, "{what}");
            p.run(&["verify"]).expect(0);
        }
    }
}

#[test]
fn rehash_finds_rot_of_the_same_size_that_a_plain_hit_cannot_see() {
    let p = Project::new(SMALLEST);
    p.run_json(&[]).expect(0);
    let largest = files_of(&p.path().join(".clcc/cas"))
        .into_iter()
        .max_by_key(|f| f.metadata().expect("there").len())
        .expect("a file");
    let mut bytes = std::fs::read(&largest).expect("read");
    bytes[7] ^= 4;
    std::fs::set_permissions(&largest, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    std::fs::write(&largest, bytes).expect("written");
    assert!(p.run_json(&[]).expect(0).nodes("did_execute").is_empty());
    let ran = p.run_json(&["--rehash"]).expect(0);
    assert_eq!(ran.nodes("did_execute").len(), 1);
    let why = ran
        .events()
        .into_iter()
        .find(|e| e["event"] == "will_execute");
    assert_eq!(why.expect("it ran")["reason"]["kind"], "output_corrupt");
    p.run(&["verify"]).expect(0);
}

/// A directory on a filesystem of its own, unmounted in the end. `None` where mounting is refused.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|o| o.status.success());
        if !done {
            eprintln!("skipped: mounting is not allowed here");
        }
        done.then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_really_full_disk_ends_with_9_and_leaves_nothing_half_written() {
    let p = Project::new(SMALLEST);
    let Some(_mount) = Mount::tmpfs(&p.path().join("small"), "size=600k") else {
        return;
    };
    let ran = p
        .run(&["run", "w.yaml", "--cache", "small/cache"])
        .expect(9);
    assert!(
        ran.stderr.contains("small") && ran.stderr.contains(" free"),
        "{}",
        ran.stderr
    );
    p.run(&["verify", "--cache", "small/cache"]).expect(0);
    let more = std::process::Command::new("mount")
        .args(["-o", "remount,size=200m"])
        .arg(p.path().join("small"))
        .output()
        .expect("mount starts");
    assert!(more.status.success());
    p.run(&["run", "w.yaml", "--cache", "small/cache"])
        .expect(0);
}

#[test]
fn read_only_directories_end_with_9_and_their_path() {
    let p = Project::new(SMALLEST);
    p.run_json(&[]).expect(0);
    let Some(_mount) = Mount::tmpfs(&p.path().join("fixed"), "ro") else {
        return;
    };
    let mut said = String::new();
    for flag in ["--cache", "--results"] {
        let ran = p.run(&["run", "w.yaml", "-j", "1", flag, "fixed/x"]);
        said += &ran.expect(9).stderr;
    }
    compare(&p, "faults_read_only", &said);
}

#[test]
fn eight_runs_at_once_compute_each_key_once() {
    let p = Project::new(TINY);
    let results: Vec<String> = (0..8).map(|i| format!("r{i}")).collect();
    let children: Vec<Child> = results
        .iter()
        .map(|r| p.start_json(&["-j", "1", "--results", r], &[]))
        .collect();
    let ran: Vec<Ran> = children
        .into_iter()
        .map(|c| Ran::new(c.wait_with_output().expect("ended")).expect(0))
        .collect();
    let executed: usize = ran.iter().map(|r| r.nodes("did_execute").len()).sum();
    assert_eq!(executed, 8);
    assert!(p.run_json(&[]).expect(0).nodes("did_execute").is_empty());
}

#[test]
fn collections_during_runs_lose_nothing() {
    let p = Project::new(SMALLEST);
    p.run_json(&[]).expect(0);
    for window in [60, 70, 80] {
        let set = format!("infercnv.window_size={window}");
        let run = p.start_json(&["--set", &set], &[]);
        let gc: Vec<Child> = (0..3)
            .map(|_| {
                command(p.path(), &["gc", "--keep-last", "1"])
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .expect("the program starts")
            })
            .collect();
        Ran::new(run.wait_with_output().expect("ended")).expect(0);
        for mut gc in gc {
            assert!(gc.wait().expect("ended").success());
        }
        let again = p.run_json(&["--set", &set]).expect(0);
        let kept = again.nodes("did_reuse").len() + again.nodes("did_execute").len();
        assert_eq!(kept, 3);
        p.run(&["verify"]).expect(0);
    }
}

/// Enough epochs that the signal finds it at work.
fn long_training() -> Project {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo.yaml");
    let text = std::fs::read_to_string(file)
        .expect("read")
        .replace("[P1, P2, P3]", "[P1]")
        .replace(
            "{n_cells: 500, n_genes: 6000}",
            "{n_cells: 300, n_genes: 2500}",
        )
        .replace("epochs: 20", "epochs: 100000");
    assert!(text.contains("100000"));
    Project::new(&text)
}

#[test]
fn a_signal_ends_the_run_cleanly_with_a_checkpoint_and_no_child_left() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let p = long_training();
        let args = ["--until", "train", "--set", "train.patience=100000"];
        let mut child = p.start_json(&args, &[]);
        wait_for(&mut child, |e| {
            e["event"] == "progress" && e["id"] == "train" && e["done"].as_u64() > Some(1)
        });
        let asked = Instant::now();
        kill_process(pid(&child), signal).expect("alive");
        let output = child.wait_with_output().expect("ended");
        assert!(asked.elapsed() < Duration::from_secs(11));
        assert_eq!(output.status.code(), Some(code));
        let checkpoints = files_of(&p.path().join(".clcc/ckpt"));
        assert!(!checkpoints.is_empty(), "training left a checkpoint");
        let here = p.path().display().to_string();
        let left = std::fs::read_dir("/proc")
            .expect("proc")
            .flatten()
            .filter(|e| {
                std::fs::read(e.path().join("cmdline"))
                    .is_ok_and(|c| String::from_utf8_lossy(&c).contains(&here))
            });
        assert_eq!(left.count(), 0, "no child is left");
        assert!(files_of(&p.path().join(".clcc/tmp")).is_empty());
    }
}

#[test]
fn coordinators_that_are_all_process_1_share_a_cache() {
    let p = Project::new(&with_tables());
    let inside = |results: &str, seed: &str| {
        let mut command = std::process::Command::new("unshare");
        command
            .args([
                "-pf",
                "--mount-proc",
                "--kill-child",
                env!("CARGO_BIN_EXE_clcc-flow"),
            ])
            .args([
                "run",
                "w.yaml",
                "--format",
                "json",
                "--results",
                results,
                "--set",
                seed,
            ])
            .current_dir(p.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command
    };
    let allowed = std::process::Command::new("unshare")
        .args(["-pf", "--mount-proc", "true"])
        .output();
    if !allowed.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: process namespaces are not allowed here");
        return;
    }
    for round in 0..rounds(1) {
        let children: Vec<Child> = (0..12)
            .map(|i| {
                let set = format!("simulate.n_cells={}", 40 + 12 * round + i);
                inside(&format!("r{i}"), &set)
                    .spawn()
                    .expect("unshare starts")
            })
            .collect();
        for child in children {
            Ran::new(child.wait_with_output().expect("ended")).expect(0);
        }
        p.run(&["verify"]).expect(0);
    }
    assert_eq!(p.names_in(".clcc/runs").len(), 12 * rounds(1));
}

#[test]
fn a_panic_of_the_engine_ends_its_node_and_the_run_goes_on() {
    // Two patients: the first one's action panics, the second is finished.
    let p = Project::new(TINY);
    let fault = [("CLCC_FAILPOINT", "attempt.action=panic@2")];
    let ran = p
        .run_with(&["run", "w.yaml", "-j", "1", "--format", "json"], &fault)
        .expect(5);
    let events = ran.events();
    let failed = events
        .iter()
        .find(|e| e["event"] == "did_fail")
        .expect("it fails");
    assert_eq!(
        (&failed["class"], &failed["id"]),
        (&"crash".into(), &"preprocess[A]".into())
    );
    assert!(failed["message"].to_string().contains("attempt.action"));
    assert!(ran.nodes("did_execute").contains(&"cluster[B]".to_string()));
    assert_eq!(events.last().expect("events")["event"], "finished");
    // Elsewhere it is an error inside the program, with its place and without 101.
    let fault = [("CLCC_FAILPOINT", "publish.copy=panic")];
    let ran = p
        .run_with(&["run", "w.yaml", "--results", "other"], &fault)
        .expect(1);
    assert!(
        ran.stderr
            .contains("error: a fault of the program, at cache/src/"),
        "{}",
        ran.stderr
    );
    p.run_json(&[]).expect(0);
}

#[test]
fn a_second_signal_ends_a_run_that_hangs() {
    let p = Project::new(&with_tables());
    let hang = [("CLCC_FAILPOINT", "publish.copy=hang")];
    let mut child = p.start_json(&[], &hang);
    wait_for(&mut child, |e| {
        e["event"] == "did_execute" && e["id"] == "cluster[A]"
    });
    std::thread::sleep(Duration::from_millis(500));
    kill_process(pid(&child), Signal::INT).expect("alive");
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        child.try_wait().expect("asked").is_none(),
        "the first signal waits"
    );
    let asked = Instant::now();
    kill_process(pid(&child), Signal::TERM).expect("alive");
    assert_eq!(child.wait().expect("ended").code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(6));
    p.run_json(&[]).expect(0);
}

#[test]
fn file_systems_without_locks_serve_runs_and_keep_collections_away() {
    let fresh = fresh();
    for error in ["enolck", "enosys", "eopnotsupp"] {
        let p = Project::new(&with_tables());
        let all = format!("lock={error}@all");
        let env = [("CLCC_FAILPOINT", all.as_str())];
        let two: Vec<Child> = (0..2).map(|_| p.start_json(&[], &env)).collect();
        for child in two {
            Ran::new(child.wait_with_output().expect("ended")).expect(0);
        }
        assert_eq!(p.artifact_names(), fresh.artifact_names());
        assert_eq!(p.results(), fresh.results());
        let refused = p.run_with(&["gc", "--max-size", "1"], &env).expect(7);
        compare(&p, "faults_without_locks", &refused.stderr);
        assert_eq!(p.artifact_names(), fresh.artifact_names());
        p.run_with(&["gc", "--max-size", "1", "--without-lock"], &env)
            .expect(0);
        assert!(p.artifact_names().is_empty());
    }
}

#[test]
fn a_cache_that_can_only_be_read_serves_what_it_has() {
    let p = Project::new(&with_tables());
    let place = p.path().join("fixed");
    let Some(_mount) = Mount::tmpfs(&place, "size=64m") else {
        return;
    };
    let cache = ["--cache", "fixed/cache"];
    let run = |more: &[&str]| p.run(&[&["run", "w.yaml", "-j", "1"][..], &cache, more].concat());
    run(&["--results", "r1"]).expect(0);
    let only_read = std::process::Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&place)
        .status();
    assert!(only_read.expect("mount starts").success());
    let served = run(&["--results", "r2"]).expect(0);
    let mut said = served.stderr;
    let table = "smallest/tables/cnv_clusters.A.tsv";
    let bytes = |r: &str| std::fs::read(p.path().join(r).join(table)).expect("a table");
    assert_eq!(bytes("r1"), bytes("r2"));
    for verb in [
        &["plan", "w.yaml"][..],
        &["verify"],
        &["status"],
        &["log", "simulate"],
    ] {
        p.run(&[verb, &cache].concat()).expect(0);
    }
    // What must be made cannot be.
    let refused = run(&["--results", "r3", "--set", "cluster.resolution=9"]).expect(9);
    said += &refused.stderr;
    let gc = p
        .run(&["gc", "--max-size", "1", "--cache", "fixed/cache"])
        .expect(9);
    said += &gc.stderr;
    compare(&p, "faults_cache_only_read", &said);
}

#[test]
fn each_refusal_of_the_system_has_its_own_hint() {
    for error in ["edquot", "erofs", "eacces"] {
        let p = Project::new(SMALLEST);
        let fault = format!("commit.begin={error}");
        let args = ["run", "w.yaml", "-j", "1"];
        let ran = p.run_with(&args, &[("CLCC_FAILPOINT", &fault)]).expect(9);
        compare(&p, &format!("faults_{error}"), &ran.stderr);
    }
    let p = Project::new(SMALLEST);
    let Some(_mount) = Mount::tmpfs(&p.path().join("small"), "nr_inodes=60") else {
        return;
    };
    let ran = p
        .run(&["run", "w.yaml", "--cache", "small/cache"])
        .expect(9);
    assert!(
        ran.stderr.contains(" inodes ") && ran.stderr.contains(" free"),
        "{}",
        ran.stderr
    );
}

/// The program as one of two users of a group, with the tightest umask.
fn as_user(dir: &Path, program: &Path, user: u32, args: &[&str]) -> Ran {
    let mut command = std::process::Command::new("setpriv");
    let user = user.to_string();
    command
        .args(["--reuid", &user, "--regid", "4242", "--clear-groups"])
        .args(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .arg(program)
        .args(args)
        .current_dir(dir);
    Ran::new(command.output().expect("setpriv starts"))
}

#[test]
fn a_cache_of_a_group_serves_all_its_users_whatever_their_umask() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be several users");
        return;
    }
    let p = Project::new(SMALLEST);
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode(p.path(), 0o755);
    let program = p.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_clcc-flow"), &program).expect("copied");
    mode(&program, 0o755);
    let shared = p.path().join("shared");
    std::fs::create_dir(&shared).expect("made");
    std::os::unix::fs::chown(&shared, None, Some(4242)).expect("chown");
    mode(&shared, 0o2770);
    let home = |user: u32| {
        let home = p.path().join(user.to_string());
        std::fs::create_dir(&home).expect("made");
        std::fs::copy(p.path().join("w.yaml"), home.join("w.yaml")).expect("copied");
        std::os::unix::fs::chown(&home, Some(user), Some(4242)).expect("chown");
        home
    };
    let (one, two) = (home(70_001), home(70_002));
    let run = ["run", "w.yaml", "--cache", "../shared", "--format", "json"];
    let first = as_user(&one, &program, 70_001, &run);
    if first.code == 127 || first.stderr.contains("setpriv:") {
        eprintln!(
            "skipped: setpriv is not there or not allowed: {}",
            first.stderr
        );
        return;
    }
    assert_eq!(first.expect(0).nodes("did_execute").len(), 3);
    let second = as_user(&two, &program, 70_002, &run).expect(0);
    assert_eq!(second.nodes("did_reuse").len(), 3);
    let other = [&run[..], &["--set", "infercnv.step=11"]].concat();
    as_user(&two, &program, 70_002, &other).expect(0);
    as_user(
        &one,
        &program,
        70_001,
        &[&other[..], &["--rehash"]].concat(),
    )
    .expect(0);
    as_user(&one, &program, 70_001, &["verify", "--cache", "../shared"]).expect(0);
    let gc = [
        "gc",
        "--max-size",
        "1",
        "--keep-last",
        "0",
        "--cache",
        "../shared",
    ];
    as_user(&one, &program, 70_001, &gc).expect(0);
    // Outside the cache the user's own umask holds.
    let record = std::fs::metadata(two.join("results/smallest/run.json")).expect("a record");
    assert_eq!(record.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_signal_reaches_a_patient_that_is_being_simulated() {
    let p = Project::new(&SMALLEST.replace(
        "n_cells: 40, n_genes: 1500",
        "n_cells: 100000, n_genes: 12000",
    ));
    let mut child = p.start_json(&[], &[]);
    wait_for(&mut child, |e| e["event"] == "will_execute");
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    kill_process(pid(&child), Signal::TERM).expect("alive");
    assert_eq!(child.wait().expect("ended").code(), Some(143));
    // Sooner than the children are killed.
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
}
