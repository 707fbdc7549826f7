//! What somebody may have put where the engine keeps its files: pipes, sockets, links.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::project::{Project, Ran, SMALLEST, command, with_tables};

/// Longer than any of these verbs takes: one that is not done by then waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a verb that must end.
fn ends(p: &Project, args: &[&str]) -> Ran {
    let mut child = command(p.path(), args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let began = Instant::now();
    while child.try_wait().expect("waited for").is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{args:?} waits for ever");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::new(child.wait_with_output().expect("ended"))
}

fn put_pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let _ = std::fs::remove_file(path);
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a pipe");
}

fn put_socket(path: &Path) {
    let _ = std::fs::remove_file(path);
    // The name may be too long for a socket where it is.
    let short = tempfile::tempdir().expect("a directory");
    drop(UnixListener::bind(short.path().join("s")).expect("a socket"));
    if std::fs::rename(short.path().join("s"), path).is_err() {
        put_pipe(path);
    }
}

/// The first file beneath `dir` whose path ends so.
fn file_under(dir: &Path, ending: &str) -> PathBuf {
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.display().to_string().ends_with(ending) {
                return path;
            }
        }
    }
    panic!("nothing beneath {} ends with {ending}", dir.display());
}

#[test]
fn a_pipe_or_a_socket_in_the_place_of_a_file_of_the_engine_holds_nothing_up() {
    let p = Project::new(&with_tables());
    p.run_json(&[]).expect(0);
    let sound = (p.artifact_names(), p.results());
    // Nothing is remembered of a file that has just been written: its journal would not be there.
    p.write(".clcc/stat.jsonl", "");
    for (i, (place, ending)) in [
        (".clcc/ac", ".json"),
        (".clcc/cas", ""),
        (".clcc/last", ".jsonl"),
        (".clcc", "stat.jsonl"),
        (".clcc", "names.jsonl"),
        (".clcc/runs", "run.json"),
        (".clcc/runs", "events.jsonl"),
        (".clcc/runs", "infercnv[A].log"),
        ("results", ".published.json"),
        ("results", ".published.lock"),
        ("results", "smallest/run.json"),
        ("results", ".tsv"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = file_under(&p.path().join(place), ending);
        if i % 2 == 0 {
            put_pipe(&file);
        } else {
            put_socket(&file);
        }
        let log = ends(&p, &["log", "infercnv[A]"]).code;
        assert!([0, 2].contains(&log), "{}", file.display());
        for args in [
            &["plan", "w.yaml"][..],
            &["explain", "w.yaml", "cluster[A]"],
            &["check", "w.yaml"],
            &["status"],
            &["gc", "--dry-run"],
            &["inspect", "results/smallest"],
            &["inspect", "results/smallest/tables/cnv_clusters.A.tsv"],
            &["diff", "results/smallest", "results/smallest"],
            &["verify"],
            &["run", "w.yaml", "--format", "json"],
        ] {
            let ran = ends(&p, args);
            let may_fail = ["inspect", "diff", "verify"].contains(&args[0]);
            assert!(ran.code == 0 || may_fail, "{args:?}: {}", ran.stderr);
            assert_ne!(ran.code, 1, "{args:?}: {}", ran.stderr);
        }
        assert_eq!(p.results(), sound.1, "{}", file.display());
        ends(&p, &["verify", "--repair"]).expect(0);
        ends(&p, &["run", "w.yaml", "--format", "json"]).expect(0);
        assert_eq!(p.artifact_names(), sound.0, "{}", file.display());
    }
}

#[test]
fn a_workflow_or_an_input_that_is_a_pipe_is_refused_at_once() {
    let p = Project::new(SMALLEST);
    put_pipe(&p.path().join("pipe.yaml"));
    for verb in ["run", "check", "plan"] {
        let said = ends(&p, &[verb, "pipe.yaml"]).expect(3).stderr;
        assert!(said.contains("expected a file, found a pipe"), "{said}");
    }
    let text = SMALLEST.replace("{builtin: grch38}", "{path: genes.tsv}");
    p.write("w.yaml", &text);
    put_pipe(&p.path().join("genes.tsv"));
    for verb in ["run", "check"] {
        let said = ends(&p, &[verb, "w.yaml"]).expect(3).stderr;
        assert!(
            said.contains("input `genes`") && said.contains("genes.tsv"),
            "{said}"
        );
    }
}

#[test]
fn a_workflow_may_come_from_an_open_pipe() {
    use std::io::Write as _;
    let p = Project::new(SMALLEST);
    let mut child = command(p.path(), &["check", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(SMALLEST.as_bytes()).expect("written");
    drop(stdin);
    Ran::new(child.wait_with_output().expect("ended")).expect(0);
}

#[test]
fn no_directory_of_the_cache_is_followed_where_it_is_a_link() {
    let p = Project::new(SMALLEST);
    p.run_json(&[]).expect(0);
    let outside = p.path().join("outside");
    for sub in [
        "cas",
        "ac",
        "tmp",
        "last",
        "locks",
        "runs",
        "ckpt",
        "quarantine",
    ] {
        let own = p.path().join(".clcc").join(sub);
        std::fs::rename(&own, &outside).expect("moved");
        std::fs::write(outside.join("thesis.tex"), "precious").expect("written");
        symlink(&outside, &own).expect("linked");
        let before = p.names_in("outside");
        for args in [
            &["run", "w.yaml", "--rehash"][..],
            &["verify", "--repair"],
            &["gc", "--max-size", "1"],
            &["plan", "w.yaml"],
        ] {
            let said = ends(&p, args).expect(7).stderr;
            assert!(said.contains("is a symbolic link"), "{sub}: {said}");
        }
        assert_eq!(p.names_in("outside"), before, "{sub}");
        std::fs::remove_file(&own).expect("removed");
        std::fs::remove_file(outside.join("thesis.tex")).expect("removed");
        std::fs::rename(&outside, &own).expect("moved back");
    }
    let run = p.run_json(&[]).expect(0);
    assert!(run.nodes("did_execute").is_empty());
}

#[test]
fn checkpoints_are_not_written_beyond_a_link() {
    let p = Project::new(SMALLEST);
    let events = p.run_json(&[]).expect(0).events();
    let ran = events.iter().find(|e| e["event"] == "did_execute");
    let key = ran.expect("one ran")["key"].as_str().expect("a key");
    let (outside, own) = (
        p.path().join("outside"),
        p.path().join(".clcc/ckpt").join(key),
    );
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("thesis.tex"), "precious").expect("written");
    symlink(&outside, &own).expect("linked");
    p.run_json(&["--force", "simulate"]).expect(0);
    assert_eq!(p.names_in("outside"), ["thesis.tex"]);
    assert!(std::fs::symlink_metadata(&own).is_err(), "the link is gone");
}
