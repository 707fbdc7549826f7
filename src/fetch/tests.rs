//! Against a server that cuts, stalls and lies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// A request as it came: its `Range` and `If-Range`.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Answers the n-th connection with the n-th script, the last one again and again.
fn serve(scripts: Vec<Script>) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/file", listener.local_addr().expect("bound"));
    let asked = Asked::default();
    let seen = asked.clone();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let script = scripts[n.min(scripts.len() - 1)].clone();
            let seen = seen.clone();
            std::thread::spawn(move || answer(stream, &script, &seen));
        }
    });
    (url, asked)
}

fn answer(stream: TcpStream, script: &Script, seen: &Asked) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let (mut range, mut if_range) = (String::new(), String::new());
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "range" => range = value.to_string(),
            "if-range" => if_range = value.to_string(),
            _ => {}
        }
    }
    seen.lock().expect("seen").push((range.clone(), if_range));
    let start = range
        .strip_prefix("bytes=")
        .and_then(|r| r.trim_end_matches('-').parse().ok())
        .unwrap_or(0);
    let mut stream = stream;
    let _ = stream.write_all(&(script.answer)(start));
    let _ = stream.flush();
    if script.stalls {
        std::thread::sleep(Duration::from_secs(2));
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = stream.read(&mut [0; 16]);
}

/// What one connection gets.
#[derive(Clone)]
struct Script {
    /// From the start of the range to the bytes on the wire.
    answer: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    /// Whether silence follows instead of the end of the connection.
    stalls: bool,
}

fn script(f: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Script {
        answer: Arc::new(f),
        stalls: false,
    }
}

fn body() -> Vec<u8> {
    let mut bytes = b"\x1f\x8b".to_vec();
    bytes.extend((0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// An honest answer of which only the first `sent` bytes of the body come.
fn honest(etag: &'static str, sent: usize) -> Script {
    script(move |start| {
        let all = body();
        let rest = &all[start..];
        let sent = &rest[..sent.min(rest.len())];
        let length = format!("Content-Length: {}\r\nETag: {etag}\r\n", rest.len());
        if start == 0 {
            reply("200 OK", &length, sent)
        } else {
            let range = format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                all.len() - 1,
                all.len()
            );
            reply("206 Partial Content", &(length + &range), sent)
        }
    })
}

fn quick() -> Options {
    Options {
        stall: Duration::from_millis(300),
        attempts: 3,
        pause: Duration::from_millis(5),
    }
}

struct Got {
    outcome: Result<(), FetchError>,
    said: Vec<String>,
    dir: tempfile::TempDir,
}

impl Got {
    fn new(url: &str, digest: Option<&str>) -> Self {
        Self::into_dir(url, digest, tempfile::tempdir().expect("a folder"))
    }

    fn into_dir(url: &str, digest: Option<&str>, dir: tempfile::TempDir) -> Self {
        let said = Mutex::new(Vec::new());
        let expected = digest.map(|d| d.parse().expect("a digest"));
        let watch = |step: Step| {
            if let Step::Again(why) = step {
                said.lock().expect("said").push(why);
            }
        };
        let to = dir.path().join("data/file.gz");
        let outcome = fetch(url, &to, expected.as_ref(), &quick(), &watch);
        let said = said.into_inner().expect("said");
        assert_eq!(to.exists(), outcome.is_ok(), "{outcome:?}");
        if outcome.is_ok() {
            let files = std::fs::read_dir(to.parent().expect("a folder"))
                .expect("read")
                .count();
            assert_eq!(files, 1, "only the file is left");
        }
        Self { outcome, said, dir }
    }

    fn bytes(&self) -> Vec<u8> {
        assert!(self.outcome.is_ok(), "{:?}", self.outcome);
        std::fs::read(self.dir.path().join("data/file.gz")).expect("the file")
    }

    fn error(&self) -> String {
        self.outcome.as_ref().expect_err("an error").to_string()
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

#[test]
fn a_whole_file_comes_into_place() {
    let (url, asked) = serve(vec![honest("\"a\"", usize::MAX)]);
    let got = Got::new(&url, Some(&digest_of(&body())));
    assert_eq!(got.bytes(), body());
    assert!(got.said.is_empty());
    // What is there is not asked for again.
    let to = got.dir.path().join("data/file.gz");
    fetch(&url, &to, None, &quick(), &|_| {}).expect("there");
    assert_eq!(asked.lock().expect("asked").len(), 1);
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let (url, asked) = serve(vec![
        honest("\"a\"", 70_000),
        honest("\"a\"", 50_000),
        honest("\"a\"", usize::MAX),
    ]);
    let got = Got::new(&url, None);
    assert_eq!(got.bytes(), body());
    assert_eq!(
        *asked.lock().expect("asked"),
        [
            (String::new(), String::new()),
            ("bytes=70000-".into(), "\"a\"".into()),
            ("bytes=120000-".into(), "\"a\"".into())
        ]
    );
    assert_eq!(got.said.len(), 2);
}

#[test]
fn a_stalled_connection_is_given_up_and_resumed() {
    let stalled = Script {
        stalls: true,
        ..honest("\"a\"", 60_000)
    };
    let (url, asked) = serve(vec![stalled, honest("\"a\"", usize::MAX)]);
    let got = Got::new(&url, None);
    assert_eq!(got.bytes(), body());
    assert_eq!(got.said, ["no byte came for 0.3 s"]);
    assert_eq!(asked.lock().expect("asked")[1].0, "bytes=60000-");
}

#[test]
fn a_part_is_kept_for_the_next_run_and_only_of_its_version() {
    let (url, _) = serve(vec![honest("\"a\"", 90_000), script(|_| Vec::new())]);
    let got = Got::new(&url, None);
    let error = got.error();
    assert!(
        error.contains("after 3 tries without progress")
            && error.ends_with("90000 bytes are kept for the next time"),
        "{error}"
    );
    // The same address again: the part is continued where its version is confirmed.
    let part = got.dir.path().join("data/file.gz.part");
    let about = got.dir.path().join("data/file.gz.part.json");
    let (next, asked) = serve(vec![honest("\"a\"", usize::MAX)]);
    let text = std::fs::read_to_string(&about)
        .expect("about")
        .replace(&url, &next);
    std::fs::write(&about, text).expect("written");
    assert_eq!(std::fs::metadata(&part).expect("a part").len(), 90_000);
    let got = Got::into_dir(&next, None, got.dir);
    assert_eq!(got.bytes(), body());
    assert_eq!(asked.lock().expect("asked")[0].0, "bytes=90000-");

    // Another version: the server answers the whole file.
    let (url, _) = serve(vec![honest("\"old\"", 90_000), honest("\"old\"", 0)]);
    let got = Got::new(&url, None);
    let (next, asked) = serve(vec![script(|_| (honest("\"new\"", usize::MAX).answer)(0))]);
    let about = got.dir.path().join("data/file.gz.part.json");
    let text = std::fs::read_to_string(&about)
        .expect("about")
        .replace(&url, &next);
    std::fs::write(&about, text).expect("written");
    let got = Got::into_dir(&next, None, got.dir);
    assert_eq!(got.bytes(), body());
    assert_eq!(asked.lock().expect("asked")[0].1, "\"old\"");

    // Another url: nothing of it is used.
    let (url, _) = serve(vec![honest("\"a\"", 90_000), honest("\"a\"", 0)]);
    let got = Got::new(&url, None);
    let (other, asked) = serve(vec![honest("\"a\"", usize::MAX)]);
    let got = Got::into_dir(&other, None, got.dir);
    assert_eq!(got.bytes(), body());
    assert_eq!(asked.lock().expect("asked")[0].0, "");
}

#[test]
fn a_server_that_lies_about_ranges_is_asked_anew() {
    let from_zero = script(|start| {
        let all = body();
        let range = format!(
            "ETag: \"a\"\r\nContent-Length: {}\r\nContent-Range: bytes 0-{}/{}\r\n",
            all.len(),
            all.len() - 1,
            all.len()
        );
        assert!(start > 0, "this one answers a range");
        reply("206 Partial Content", &range, &all)
    });
    let other_length = script(|start| {
        let range = format!(
            "ETag: \"a\"\r\nContent-Length: 10\r\nContent-Range: bytes {start}-{}/{}\r\n",
            start + 9,
            start + 10
        );
        reply("206 Partial Content", &range, &[0; 10])
    });
    let no_such = script(|_| reply("416 Range Not Satisfiable", "Content-Length: 0\r\n", b""));
    for (lie, said) in [
        (
            from_zero,
            "the server sent another range than the one asked for",
        ),
        (
            other_length,
            "the server sent another range than the one asked for",
        ),
        (no_such, "the server has no such range"),
    ] {
        let (url, asked) = serve(vec![
            honest("\"a\"", 70_000),
            lie,
            honest("\"a\"", usize::MAX),
        ]);
        let got = Got::new(&url, None);
        assert_eq!(got.bytes(), body());
        assert_eq!(got.said[1], said);
        assert_eq!(
            asked.lock().expect("asked")[2].0,
            "",
            "nothing of the lie is kept"
        );
    }
}

#[test]
fn without_a_version_nothing_is_resumed() {
    let unversioned = script(|_| {
        let all = body();
        reply(
            "200 OK",
            &format!("Content-Length: {}\r\n", all.len()),
            &all[..100],
        )
    });
    let (url, asked) = serve(vec![unversioned, honest("W/\"weak\"", usize::MAX)]);
    let got = Got::new(&url, None);
    assert_eq!(got.bytes(), body());
    let asked = asked.lock().expect("asked");
    // The part of the first try has no version, so `If-Range` cannot be sent.
    assert_eq!(asked[1], (String::new(), String::new()));
}

#[test]
fn what_is_not_the_file_is_dropped() {
    let page = b"<!DOCTYPE html><title>Log in</title>";
    let html = script(move |_| {
        reply(
            "200 OK",
            &format!("Content-Length: {}\r\nETag: \"p\"\r\n", page.len()),
            page,
        )
    });
    let (url, _) = serve(vec![html.clone()]);
    let got = Got::new(&url, None);
    assert!(
        got.error().contains(
            "expected a gzip file, found a file that begins with `<!DOCTYPE html><title>Log in</ti`"
        ),
        "{}",
        got.error()
    );
    let got = Got::new(&url, Some(&digest_of(b"other")));
    let error = got.error();
    assert!(
        error.contains(&digest_of(b"other")) && error.contains(&digest_of(page)),
        "{error}"
    );
    assert_eq!(
        std::fs::metadata(got.dir.path().join("data/file.gz.part"))
            .expect("a part")
            .len(),
        0
    );

    for (status, code) in [("404 Not Found", 404), ("403 Forbidden", 403)] {
        let (url, asked) = serve(vec![script(move |_| {
            reply(status, "Content-Length: 0\r\n", b"")
        })]);
        let got = Got::new(&url, None);
        assert!(
            got.error().ends_with(&format!("answered {code}")),
            "{}",
            got.error()
        );
        assert_eq!(
            asked.lock().expect("asked").len(),
            1,
            "a refusal is not asked again"
        );
    }
    assert!(matches!(
        Got::new("ftp://host/file", None).outcome,
        Err(FetchError::Scheme { .. })
    ));
}

#[test]
fn a_wrong_part_is_dropped_once_its_digest_tells() {
    let (url, _) = serve(vec![honest("\"a\"", 70_000), honest("\"a\"", 0)]);
    let got = Got::new(&url, None);
    let part = got.dir.path().join("data/file.gz.part");
    let mut bytes = std::fs::read(&part).expect("a part");
    bytes[500] ^= 1;
    std::fs::write(&part, bytes).expect("written");
    let (next, _) = serve(vec![honest("\"a\"", usize::MAX)]);
    let about = got.dir.path().join("data/file.gz.part.json");
    let text = std::fs::read_to_string(&about)
        .expect("about")
        .replace(&url, &next);
    std::fs::write(&about, text).expect("written");
    let got = Got::into_dir(&next, Some(&digest_of(&body())), got.dir);
    assert_eq!(got.bytes(), body());
    assert_eq!(got.said, ["the digest of the resumed file is wrong"]);
}

#[test]
fn trouble_that_passes_is_waited_out_and_other_is_not() {
    let busy = script(|_| reply("503 Service Unavailable", "Content-Length: 0\r\n", b""));
    let (url, _) = serve(vec![
        busy.clone(),
        busy.clone(),
        honest("\"a\"", usize::MAX),
    ]);
    assert_eq!(Got::new(&url, None).bytes(), body());
    let (url, asked) = serve(vec![busy]);
    let got = Got::new(&url, None);
    assert!(
        got.error().contains("the server answered 503"),
        "{}",
        got.error()
    );
    assert_eq!(asked.lock().expect("asked").len(), 3);
    // Nobody listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    assert!(matches!(
        Got::new(&format!("http://{port}/file"), None).outcome,
        Err(FetchError::GaveUp { .. })
    ));
}

#[test]
fn a_file_of_unknown_length_needs_a_digest_or_an_end_mark() {
    let no_length = script(|_| reply("200 OK", "", &body()));
    let (url, _) = serve(vec![no_length.clone()]);
    assert!(matches!(
        Got::new(&url, None).outcome,
        Err(FetchError::NoLength { .. })
    ));
    assert_eq!(Got::new(&url, Some(&digest_of(&body()))).bytes(), body());
    let chunked = |whole: bool| {
        script(move |_| {
            let all = body();
            let mut wire = format!("{:x}\r\n", all.len()).into_bytes();
            wire.extend_from_slice(&all);
            wire.extend_from_slice(if whole { b"\r\n0\r\n\r\n" } else { b"\r\n" });
            reply("200 OK", "Transfer-Encoding: chunked\r\n", &wire)
        })
    };
    let (url, _) = serve(vec![chunked(false), chunked(true)]);
    let got = Got::new(&url, None);
    assert_eq!(got.bytes(), body());
    assert_eq!(got.said.len(), 1, "the cut one was noticed");
}

#[test]
fn two_programs_bring_a_file_once() {
    let (url, asked) = serve(vec![honest("\"a\"", usize::MAX)]);
    let dir = tempfile::tempdir().expect("a folder");
    let to = dir.path().join("file.gz");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch(&url, &to, None, &quick(), &|_| {}).expect("there"));
        }
    });
    assert_eq!(std::fs::read(&to).expect("the file"), body());
    assert_eq!(asked.lock().expect("asked").len(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 1);
}
