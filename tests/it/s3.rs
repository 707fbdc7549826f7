//! A shared cache on a real S3: with `CLCC_S3=1` and a place to write in `CLCC_S3_REMOTE` (`s3://bucket/prefix`). The
//! endpoint and credentials are those of the environment: `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`. In-process servers: `remote.rs`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::project::{Project, TINY};
use crate::remote::{moved, notes, run};

/// A prefix of its own for each test; `None` where no S3 was named.
fn place(test: &str) -> Option<String> {
    let remote = std::env::var("CLCC_S3_REMOTE").ok();
    let remote = remote.filter(|_| std::env::var_os("CLCC_S3").is_some());
    if remote.is_none() {
        eprintln!("skipped: CLCC_S3=1 and CLCC_S3_REMOTE=s3://BUCKET/PREFIX run it on a real S3");
    }
    let own = tempfile::tempdir().expect("a random name");
    let own = own
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    Some(format!("{}/{test}{}", remote?, own.replace('.', "")))
}

fn alone() -> Project {
    let p = Project::new(TINY);
    p.run_json(&[]).expect(0);
    p
}

fn is_as_alone(p: &Project, alone: &Project) {
    assert_eq!(p.results(), alone.results());
    p.run(&["verify"]).expect(0);
}

#[test]
fn on_a_real_s3_the_second_machine_computes_nothing() {
    let Some(address) = place("two") else { return };
    let (alone, a, b) = (alone(), Project::new(TINY), Project::new(TINY));
    let first = run(&a, &address, &[]).expect(0);
    let nodes = first.nodes("did_execute").len();
    let second = run(&b, &address, &[]).expect(0);
    assert_eq!(second.nodes("did_execute"), Vec::<String>::new());
    assert_eq!(second.nodes("did_reuse").len(), nodes);
    is_as_alone(&b, &alone);
    eprintln!("first: {}", moved(&first));
    eprintln!("second: {}", moved(&second));
    let looked = [
        "gc",
        "--remote",
        &address,
        "--older-than",
        "1h",
        "--dry-run",
    ];
    let said = a.run(&looked).expect(0).stdout;
    assert!(said.contains(&format!("(records: {nodes})")), "{said}");
    a.run(&["gc", "--remote", &address, "--older-than", "0s"])
        .expect(0);
    let again = run(&a, &address, &[]).expect(0);
    assert_eq!(moved(&again)["sent"], nodes);
}

#[test]
fn on_a_real_s3_two_writers_at_once_agree() {
    let Some(address) = place("writers") else {
        return;
    };
    let alone = alone();
    let machines: Vec<Project> = (0..3).map(|_| Project::new(TINY)).collect();
    std::thread::scope(|scope| {
        for m in &machines {
            scope.spawn(|| {
                let ran = run(m, &address, &[]).expect(0);
                assert_eq!(notes(&ran), Vec::<String>::new());
            });
        }
    });
    machines.iter().for_each(|m| is_as_alone(m, &alone));
    let reader = Project::new(TINY);
    let ran = run(&reader, &address, &[]).expect(0);
    assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
    is_as_alone(&reader, &alone);
}

#[test]
fn on_a_real_s3_wrong_credentials_and_no_bucket_cost_nothing() {
    let Some(address) = place("refused") else {
        return;
    };
    let alone = alone();
    for env in [
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
    ] {
        let p = Project::new(TINY);
        let ran = run(&p, &address, &[env]).expect(0);
        is_as_alone(&p, &alone);
        let said = notes(&ran);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("403 Forbidden"), "{said:?}");
        assert!(said[0].contains("AWS_ACCESS_KEY_ID"), "{said:?}");
        eprintln!("{}", said[0]);
    }
    let p = Project::new(TINY);
    let ran = run(&p, "s3://there-is-no-such-bucket/x", &[]).expect(0);
    is_as_alone(&p, &alone);
    let said = notes(&ran);
    match said.as_slice() {
        // SeaweedFS makes the bucket for a key that may: then everything is in it.
        [] => assert_eq!(moved(&ran)["sent"], ran.nodes("did_execute").len()),
        [note] => eprintln!("{note}"),
        more => panic!("{more:?}"),
    }
}

/// Puts `bytes` in place of an object, as somebody with other tools would.
fn put(address: &str, path: &str, bytes: &str) {
    let env = |name: &str| std::env::var(name).expect(name);
    let endpoint = env("AWS_ENDPOINT_URL");
    let place = address.trim_start_matches("s3://");
    let keys = format!(
        "{}:{}",
        env("AWS_ACCESS_KEY_ID"),
        env("AWS_SECRET_ACCESS_KEY")
    );
    let url = format!("{}/{place}/{path}", endpoint.trim_end_matches('/'));
    let put = std::process::Command::new("curl")
        .args([
            "-sf",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            &keys,
        ])
        .args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
        .args(["-X", "PUT", "--data-binary", bytes, &url])
        .status();
    assert!(put.expect("curl starts").success(), "{url}");
}

#[test]
fn on_a_real_s3_damaged_objects_are_made_again_and_replaced() {
    let Some(address) = place("damaged") else {
        return;
    };
    let (alone, a) = (alone(), Project::new(TINY));
    let nodes = run(&a, &address, &[]).expect(0).nodes("did_execute").len();
    for name in a.artifact_names() {
        let of = a.path().join(".clcc/cas").join(&name[..2]).join(&name);
        let is_archive = std::fs::read(&of).is_ok_and(|bytes| bytes.starts_with(b"PK"));
        let ending = if is_archive { ".pack" } else { "" };
        put(
            &address,
            &format!("cas/{}/{name}{ending}", &name[..2]),
            "clcc-flow pack 1",
        );
    }
    let b = Project::new(TINY);
    let ran = run(&b, &address, &[]).expect(0);
    is_as_alone(&b, &alone);
    assert!(
        notes(&ran).iter().any(|n| n.contains("is damaged")),
        "{:?}",
        notes(&ran)
    );
    for _ in 0..nodes {
        let c = Project::new(TINY);
        let ran = run(&c, &address, &[]).expect(0);
        is_as_alone(&c, &alone);
        if notes(&ran).is_empty() {
            assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
            return;
        }
    }
    panic!("still damaged after {nodes} runs");
}

/// Hands connections on to `to`, and after `bytes` of answers breaks all of them and refuses more.
fn proxy(to: String, bytes: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let passed = Arc::new(AtomicUsize::new(0));
    let count = passed.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if count.load(Ordering::Relaxed) >= bytes {
                continue;
            }
            let Ok(server) = TcpStream::connect(&to) else {
                continue;
            };
            let (mut up, mut down) = (
                (
                    client.try_clone().expect("a socket"),
                    server.try_clone().expect("a socket"),
                ),
                (server, client),
            );
            std::thread::spawn(move || std::io::copy(&mut up.0, &mut up.1));
            let count = count.clone();
            std::thread::spawn(move || {
                let mut block = [0; 4096];
                while let Ok(n) = down.0.read(&mut block) {
                    let before = count.fetch_add(n, Ordering::Relaxed);
                    if n == 0 || before + n >= bytes || down.1.write_all(&block[..n]).is_err() {
                        break;
                    }
                }
                let _ = down.0.shutdown(std::net::Shutdown::Both);
                let _ = down.1.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (url, passed)
}

#[test]
fn on_a_real_s3_an_outage_in_mid_run_costs_time_only() {
    let Some(address) = place("outage") else {
        return;
    };
    let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("an endpoint");
    let to = endpoint
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_string();
    let alone = alone();
    run(&Project::new(TINY), &address, &[]).expect(0);
    let (url, passed) = proxy(to.clone(), usize::MAX);
    // Signatures are of a host; the proxy's is another, which S3 takes as it is named in the request.
    let through = Project::new(TINY);
    let ran = run(&through, &address, &[("AWS_ENDPOINT_URL", &url)]).expect(0);
    assert_eq!(
        ran.nodes("did_execute"),
        Vec::<String>::new(),
        "{:?}",
        notes(&ran)
    );
    let whole = passed.load(Ordering::Relaxed);
    for part in 1..5 {
        // Reading breaks off.
        let (url, _) = proxy(to.clone(), whole * part / 5);
        let b = Project::new(TINY);
        let ran = run(&b, &address, &[("AWS_ENDPOINT_URL", &url)]).expect(0);
        is_as_alone(&b, &alone);
        assert_eq!(notes(&ran).len(), 1, "{:?}", notes(&ran));
        // Sending breaks off, and the next run sends the rest.
        let other = format!("{address}/{part}");
        let (url, _) = proxy(to.clone(), 3000 * part);
        let c = Project::new(TINY);
        let ran = run(&c, &other, &[("AWS_ENDPOINT_URL", &url)]).expect(0);
        is_as_alone(&c, &alone);
        assert!(moved(&ran)["unsent"].as_u64() > Some(0), "{}", moved(&ran));
        run(&c, &other, &[]).expect(0);
        let d = Project::new(TINY);
        let ran = run(&d, &other, &[]).expect(0);
        assert_eq!(ran.nodes("did_execute"), Vec::<String>::new());
        is_as_alone(&d, &alone);
    }
}
