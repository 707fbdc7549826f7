//! A cache that is shared: over a folder, a web server and a false S3 in this process. A real S3: `s3.rs`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::project::{Project, Ran, SMALLEST, TINY, with_tables};

/// A folder that machines share.
struct Shared(tempfile::TempDir);

impl Shared {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("lab")
    }

    fn address(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Every file, by its path in the folder.
    fn files(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        list(&self.path(), &self.path(), &mut files);
        files
    }

    fn of(&self, begin: &str) -> Vec<String> {
        let files = self.files().into_keys();
        files.filter(|path| path.starts_with(begin)).collect()
    }
}

fn list(root: &Path, dir: &Path, files: &mut BTreeMap<String, u64>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            let name = path
                .strip_prefix(root)
                .expect("beneath")
                .display()
                .to_string();
            files.insert(name, path.metadata().expect("a file").len());
        }
    }
}

/// `run` with the shared cache at `address`.
pub(crate) fn run(p: &Project, address: &str, env: &[(&str, &str)]) -> Ran {
    let args = ["run", "w.yaml", "--format", "json", "--remote", address];
    p.run_with(&args, env)
}

/// What travelled, as the last event but one says.
pub(crate) fn moved(ran: &Ran) -> Value {
    let events = ran.events();
    let moved = events.iter().find(|e| e["event"] == "did_transfer");
    moved.expect("a transfer").clone()
}

pub(crate) fn notes(ran: &Ran) -> Vec<String> {
    let events = ran.events().into_iter();
    let notes = events.filter(|e| e["event"] == "note");
    notes
        .map(|e| e["message"].as_str().expect("a text").to_string())
        .collect()
}

fn keys(ran: &Ran) -> Vec<(String, String)> {
    let mut keys: Vec<(String, String)> = ran
        .events()
        .iter()
        .filter(|e| ["did_execute", "did_reuse"].contains(&e["event"].as_str().unwrap_or("")))
        .map(|e| (e["id"].to_string(), e["key"].to_string()))
        .collect();
    keys.sort();
    keys
}

/// What every machine must end with: the results of one that shares nothing, and a clean cache.
fn is_as_alone(p: &Project, alone: &Project) {
    assert_eq!(p.results(), alone.results());
    p.run(&["verify"]).expect(0);
}

fn alone(workflow: &str) -> (Project, Ran) {
    let p = Project::new(workflow);
    let ran = p.run_json(&[]).expect(0);
    (p, ran)
}

#[test]
fn a_second_machine_computes_nothing_and_the_address_is_in_no_key() {
    let (alone, ran) = alone(TINY);
    let shared = Shared::new();
    let (a, b) = (Project::new(TINY), Project::new(TINY));
    let first = run(&a, &shared.address(), &[]).expect(0);
    let nodes = first.nodes("did_execute").len();
    assert_eq!(moved(&first)["sent"], nodes);
    assert_eq!(shared.of("ac/").len(), nodes);
    assert_eq!(keys(&first), keys(&ran));

    // What only looks finds the same and leaves no trace.
    let looked = ["plan", "w.yaml", "--remote", &shared.address()];
    let said = b.run(&looked).expect(0).stdout;
    assert_eq!(said.matches("CACHED").count(), nodes, "{said}");
    assert_eq!(said.matches("  remote").count(), nodes, "{said}");
    let json = b
        .run(&[&looked[..], &["--format", "json"]].concat())
        .expect(0);
    let plan: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(
        plan["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .all(|n| n["remote"] == true)
    );
    let explained = ["explain", "w.yaml", "dosage", "--remote", &shared.address()];
    let said = b.run(&explained).expect(0).stdout;
    assert!(
        said.starts_with("dosage is in the shared cache\n"),
        "{said}"
    );
    assert!(b.run(&["plan", "w.yaml"]).expect(0).stdout.contains("new"));

    let second = run(&b, &shared.address(), &[]).expect(0);
    assert_eq!(second.nodes("did_execute"), Vec::<String>::new());
    assert_eq!(second.nodes("did_reuse").len(), nodes);
    assert_eq!(keys(&second), keys(&ran));
    is_as_alone(&b, &alone);
    let moved = moved(&second);
    assert_eq!(
        (&moved["found"], &moved["sent"]),
        (&nodes.into(), &0.into())
    );
    let fetched = second
        .events()
        .iter()
        .filter(|e| e["event"] == "did_fetch")
        .count();
    assert_eq!(moved["fetched_artifacts"], fetched);
    // What stands between two hits stays where it is.
    assert!(
        fetched < shared.of("cas/").len(),
        "{fetched} of {}",
        shared.files().len()
    );

    // The third run of the second machine needs nothing of the first: all that is published is here.
    let third = run(&b, &shared.address(), &[]).expect(0);
    assert_eq!(third.nodes("did_execute"), Vec::<String>::new());
    let of_third = self::moved(&third);
    assert_eq!(
        (&of_third["fetched_artifacts"], &of_third["sent"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_change_computes_its_node_from_what_is_fetched_and_people_are_told() {
    let shared = Shared::new();
    let (a, b) = (Project::new(TINY), Project::new(TINY));
    run(&a, &shared.address(), &[]).expect(0);
    let changed = [
        "run",
        "w.yaml",
        "--set",
        "cluster.resolution=0.8",
        "--remote",
    ];
    let address = shared.address();
    let said = b
        .run(&[&changed[..], &[&address]].concat())
        .expect(0)
        .stderr;
    for line in [
        " CACHED             (1/8) simulate  ",
        "infercnv[A]",
        "  remote\n",
        " remote: found 5 nodes; fetched ",
        "; sent ",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let alone = Project::new(TINY);
    alone.run(&changed[..4]).expect(0);
    is_as_alone(&b, &alone);
}

#[test]
fn what_was_made_without_it_is_sent_by_the_first_run_with_it() {
    let (p, ran) = alone(SMALLEST);
    let shared = Shared::new();
    p.write(
        "clcc-flow.yaml",
        &format!("version: 1\nremote: \"{}\"\n", shared.address()),
    );
    let none = p.run_json(&["--remote", "none"]).expect(0);
    assert!(none.events().iter().all(|e| e["event"] != "did_transfer"));
    let sent = p.run_json(&[]).expect(0);
    assert_eq!(sent.nodes("did_execute"), Vec::<String>::new());
    assert_eq!(moved(&sent)["sent"], ran.nodes("did_execute").len());
    // Read only: nothing goes there.
    let other = Shared::new();
    let args = ["--remote", &other.address(), "--remote-mode", "read"];
    let read = p.run_json(&args).expect(0);
    assert_eq!(moved(&read)["sent"], 0);
    assert!(other.files().is_empty());
}

#[test]
fn damaged_objects_are_named_made_again_and_replaced() {
    let (alone, _) = alone(&with_tables());
    for damage in ["truncated", "flipped", "gone"] {
        let shared = Shared::new();
        run(&Project::new(&with_tables()), &shared.address(), &[]).expect(0);
        let whole = shared.files();
        for name in shared.of("cas/") {
            let path = shared.path().join(&name);
            let mut bytes = std::fs::read(&path).expect("read");
            match damage {
                "truncated" => bytes.truncate(bytes.len() / 2),
                "flipped" => *bytes.last_mut().expect("a byte") ^= 4,
                _ => {
                    std::fs::remove_file(&path).expect("removed");
                    continue;
                }
            }
            std::fs::write(&path, bytes).expect("written");
        }
        let b = Project::new(&with_tables());
        let ran = run(&b, &shared.address(), &[]).expect(0);
        is_as_alone(&b, &alone);
        let said = notes(&ran).join("\n");
        let word = if damage == "gone" {
            "is gone"
        } else {
            "is damaged"
        };
        assert!(said.contains(word), "{damage}: {said}");
        let damaged = ran.events().into_iter();
        let remote: Vec<bool> = damaged
            .filter(|e| e["event"] == "did_find_damage")
            .map(|e| e["remote"] == true)
            .collect();
        assert!(!remote.is_empty() && remote.iter().all(|r| *r), "{damage}");
        // One damaged object after the other is found and replaced by runs that have nothing.
        for _ in 0..8 {
            let c = Project::new(&with_tables());
            let ran = run(&c, &shared.address(), &[]).expect(0);
            is_as_alone(&c, &alone);
            if ran.nodes("did_execute").is_empty() && notes(&ran).is_empty() {
                break;
            }
        }
        let c = Project::new(&with_tables());
        let last = run(&c, &shared.address(), &[]).expect(0);
        assert_eq!(last.nodes("did_execute"), Vec::<String>::new(), "{damage}");
        assert!(
            whole.keys().all(|name| shared.files().contains_key(name)),
            "{damage}"
        );
    }
}

#[test]
fn a_kill_while_something_is_sent_or_fetched_leaves_nothing_half() {
    let (alone, _) = alone(&with_tables());
    for nth in 1..=4 {
        let shared = Shared::new();
        let a = Project::new(&with_tables());
        let killed = format!("remote.sent=kill@{nth}");
        let ran = run(&a, &shared.address(), &[("CLCC_FAILPOINT", &killed)]);
        assert_eq!(ran.code, -1, "{}", ran.stderr);
        // Whatever is there can be used.
        let b = Project::new(&with_tables());
        run(&b, &shared.address(), &[]).expect(0);
        is_as_alone(&b, &alone);
        let ran = run(&a, &shared.address(), &[]).expect(0);
        is_as_alone(&a, &alone);
        assert_eq!(notes(&ran), Vec::<String>::new());
        for step in [
            "remote.write",
            "insert.begin",
            "insert.rename",
            "insert.renamed",
        ] {
            let c = Project::new(&with_tables());
            let killed = format!("{step}=kill@{nth}");
            run(&c, &shared.address(), &[("CLCC_FAILPOINT", &killed)]);
            c.run(&["verify"]).expect(0);
            let ran = run(&c, &shared.address(), &[]).expect(0);
            assert_eq!(ran.nodes("did_execute"), Vec::<String>::new(), "{killed}");
            is_as_alone(&c, &alone);
            assert_eq!(c.names_in(".clcc/tmp"), Vec::<String>::new(), "{killed}");
        }
    }
}

#[test]
fn a_full_disk_while_something_is_fetched_is_an_error_of_the_disk() {
    let (alone, _) = alone(&with_tables());
    let shared = Shared::new();
    run(&Project::new(&with_tables()), &shared.address(), &[]).expect(0);
    for changed in [false, true] {
        let b = Project::new(&with_tables());
        let mut args = vec!["run", "w.yaml", "--remote"];
        let address = shared.address();
        args.push(&address);
        if changed {
            // A node reads what is fetched.
            args.extend(["--set", "cluster.resolution=0.7"]);
        }
        let full = [("CLCC_FAILPOINT", "remote.write=enospc@all")];
        let said = b.run_with(&args, &full).expect(9).stderr;
        assert!(said.contains("cannot write `"), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
        assert!(
            !said.contains("not used any more"),
            "not the remote's fault: {said}"
        );
        let ran = run(&b, &shared.address(), &[]).expect(0);
        assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
        is_as_alone(&b, &alone);
    }
}

/// A web server over a folder.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Serves the files of `root` as long as `answers` says so, by how many requests came before; then it breaks off.
fn serve(root: PathBuf, answers: impl Fn(usize) -> bool + Send + 'static) -> Server {
    respond(move |nth, request, stream| {
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let file = root.join(path.trim_start_matches('/'));
        let _ = match std::fs::read(&file) {
            Ok(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                let whole = if answers(nth) {
                    bytes.len()
                } else {
                    bytes.len() / 2
                };
                stream.write_all(&[head.as_bytes(), &bytes[..whole]].concat())
            }
            Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
    })
}

/// One request a connection: `answer` has how many came before, the head of the request, and where to write.
fn respond(answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(n) = lower.strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
                head.push_str(&line);
            }
            let _ = reader.take(length).read_to_end(&mut Vec::new());
            let nth = {
                let mut seen = seen.lock().expect("seen");
                seen.push(head.lines().next().unwrap_or_default().to_string());
                seen.len() - 1
            };
            answer(nth, &head, &mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    });
    Server { url, asked }
}

#[test]
fn a_web_server_is_read_and_an_outage_at_any_moment_costs_time_only() {
    let (alone, _) = alone(&with_tables());
    let shared = Shared::new();
    run(&Project::new(&with_tables()), &shared.address(), &[]).expect(0);
    let server = serve(shared.path(), |_| true);
    let b = Project::new(&with_tables());
    let ran = run(&b, &server.url, &[]).expect(0);
    assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
    is_as_alone(&b, &alone);
    let whole = server.asked.lock().expect("asked").len();
    let nodes = ran.nodes("did_reuse").len();
    assert!(whole > nodes, "records and artifacts: {whole}");
    for up in 0..whole {
        let server = serve(shared.path(), move |nth| nth < up);
        let c = Project::new(&with_tables());
        let ran = run(&c, &server.url, &[]).expect(0);
        is_as_alone(&c, &alone);
        let said = notes(&ran);
        assert_eq!(said.len(), 1, "after {up}: {said:?}");
        assert!(said[0].starts_with(&server.url), "{said:?}");
        assert!(
            said[0].contains("not used any more in this run"),
            "{said:?}"
        );
    }
}

#[test]
fn refused_credentials_are_named_once_and_written_nowhere() {
    const KEYS: [&str; 3] = [
        "AKIACANARY000000",
        "canarysecretcanarysecret",
        "canarytokencanarytoken",
    ];
    let (alone, _) = alone(SMALLEST);
    let server = respond(|_, _, stream| {
        let body = format!(
            "<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>{}</AWSAccessKeyId><X>{}</X></Error>",
            KEYS[0], KEYS[1]
        );
        let head = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    });
    let b = Project::new(SMALLEST);
    let env = [
        ("AWS_ACCESS_KEY_ID", KEYS[0]),
        ("AWS_SECRET_ACCESS_KEY", KEYS[1]),
        ("AWS_SESSION_TOKEN", KEYS[2]),
        ("AWS_ENDPOINT_URL", &server.url),
        ("AWS_ALLOW_HTTP", "true"),
        ("CLCC_LOG", "debug"),
    ];
    let ran = run(&b, "s3://lab/x", &env).expect(0);
    is_as_alone(&b, &alone);
    let said = notes(&ran);
    assert_eq!(said.len(), 1, "{said:?}");
    let refused = "s3://lab/x: the server answered 403 Forbidden (InvalidAccessKeyId); it is not used any more in this run";
    assert!(said[0].starts_with(refused), "{said:?}");
    assert!(said[0].contains("AWS_ACCESS_KEY_ID"), "{said:?}");
    let people = b.run_with(
        &[
            "run",
            "w.yaml",
            "--remote",
            "s3://lab/x",
            "--force",
            "infercnv",
        ],
        &env,
    );
    let mut all = vec![ran.stdout, ran.stderr, people.stdout, people.stderr];
    let mut files = BTreeMap::new();
    list(b.path(), b.path(), &mut files);
    for name in files.keys() {
        let bytes = std::fs::read(b.path().join(name)).expect("read");
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for key in KEYS {
        assert!(all.iter().all(|text| !text.contains(key)), "{key}");
    }
}

#[test]
fn an_address_that_is_none_is_a_wrong_command_line() {
    let p = Project::new(SMALLEST);
    for (args, words) in [
        (
            &["--remote", "ftp://host/x"][..],
            "expected `s3://BUCKET/PREFIX`",
        ),
        (&["--remote", "s3://"], "names no bucket or host"),
        (&["--remote", "/mnt/cache"], "expected `s3://BUCKET/PREFIX`"),
        (
            &["--remote", "https://me:hunter2@host/x"],
            "a user, password or query",
        ),
        (
            &["--remote", "https://host/x", "--remote-mode", "write"],
            "can only be read",
        ),
        (&["--remote-mode", "read"], "there is no --remote"),
    ] {
        for verb in ["run", "plan"] {
            let said = p.run(&[&[verb, "w.yaml"], args].concat()).expect(2).stderr;
            assert!(said.contains(words), "{args:?}: {said}");
        }
    }
    p.write("clcc-flow.yaml", "version: 1\nremote: s4://lab\n");
    let said = p.run(&["run", "w.yaml"]).expect(3).stderr;
    assert!(said.contains("clcc-flow.yaml:2:9"), "{said}");
    assert!(!p.path().join(".clcc").exists());
}

#[test]
fn a_collection_says_what_goes_and_a_rerun_sends_it_again() {
    let p = Project::new(SMALLEST);
    let shared = Shared::new();
    let nodes = run(&p, &shared.address(), &[])
        .expect(0)
        .nodes("did_execute")
        .len();
    // But for the object that says how often something was removed.
    let files = || {
        let mut files = shared.files();
        files.remove("generation");
        files
    };
    let before = files();
    let gc = |more: &[&str]| {
        let address = shared.address();
        p.run(&[&["gc", "--remote", &address], more].concat())
            .expect(0)
            .stdout
    };
    let said = gc(&["--dry-run", "--older-than", "0s"]);
    assert!(said.starts_with("would free "), "{said}");
    assert!(
        said.contains(&format!("dropped records: {nodes}")),
        "{said}"
    );
    assert!(gc(&[]).contains(&format!("(records: {nodes})")));
    assert!(gc(&["--older-than", "90d"]).contains("dropped records: 0"));
    assert_eq!(files(), before);
    // Artifacts stay for a day, as a record may be on its way.
    gc(&["--older-than", "0s"]);
    assert_eq!(shared.of("ac/"), Vec::<String>::new());
    run(&p, &shared.address(), &[]).expect(0);
    assert_eq!(files(), before);
    p.run(&["gc", "--remote", "https://host/x"]).expect(2);
    p.run(&["gc", "--older-than", "1d"]).expect(2);
}

#[test]
fn an_input_in_a_bucket_is_brought_and_goes_on_after_a_break() {
    const TEXT: &str = "gene\tchr\tstart\tend\nG0\t1\t1\t2\n";
    // The first answer breaks off; the next is asked for the rest, of the same version.
    let server = respond(|nth, request, stream| {
        let lower = request.to_ascii_lowercase();
        let whole = "ETag: \"v1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
        let _ = match lower.contains("range: bytes=10-") && lower.contains("if-match: \"v1\"") {
            true => write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\n{whole}Content-Range: bytes 10-{}/{}\r\nContent-Length: {}\r\n\r\n{}",
                TEXT.len() - 1,
                TEXT.len(),
                TEXT.len() - 10,
                &TEXT[10..]
            ),
            false => write!(
                stream,
                "HTTP/1.1 200 OK\r\n{whole}Content-Length: {}\r\n\r\n{}",
                TEXT.len(),
                if nth == 0 { &TEXT[..10] } else { TEXT }
            ),
        };
    });
    let p = Project::new(&SMALLEST.replace(
        "genes: {builtin: grch38}",
        "genes: {path: data/genes.tsv, url: \"s3://lab/ref/genes.tsv\"}",
    ));
    let env = [
        ("AWS_ENDPOINT_URL", server.url.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ];
    p.run_with(&["run", "w.yaml", "--until", "simulate"], &env)
        .expect(0);
    // Nothing that was selected reads it.
    assert!(server.asked.lock().expect("asked").is_empty());
    let said = p.run_with(&["run", "w.yaml"], &env).stderr;
    assert!(said.contains("FETCHED genes: data/genes.tsv"), "{said}");
    let there = std::fs::read_to_string(p.path().join("data/genes.tsv")).expect("brought");
    assert_eq!(there, TEXT);
    assert!(
        server
            .asked
            .lock()
            .expect("asked")
            .iter()
            .all(|l| l.contains("/lab/ref/genes.tsv"))
    );
    let as_path = SMALLEST.replace("{builtin: grch38}", "{path: \"s3://lab/ref/genes.tsv\"}");
    p.write("w.yaml", &as_path);
    let said = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(
        said.contains("url: s3://lab/ref/genes.tsv}` downloads it"),
        "{said}"
    );
}
