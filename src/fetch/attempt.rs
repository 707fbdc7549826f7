//! One connection.

use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Response};

use super::part::Part;
use super::{FetchError, Options, Step};

/// Bytes taken from the connection at a time.
const BLOCK: usize = 1 << 16;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Every byte is there.
    Whole,
    /// Worth another try, for this reason.
    Broken(String),
}

/// Asks for what is missing of the part.
pub(super) fn attempt(
    url: &str,
    part: &mut Part,
    digest_given: bool,
    options: &Options,
    watch: &dyn Fn(Step),
) -> Result<Ended, FetchError> {
    if part.len > 0 && part.about.total == Some(part.len) {
        return Ok(Ended::Whole);
    }
    #[cfg(feature = "remote")]
    if clcc_cache::remote::Address::is_bucket(url) {
        return super::bucket::attempt(url, part, watch);
    }
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(options.stall))
        .timeout_recv_response(Some(options.stall))
        .user_agent(concat!("clcc-flow/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut request = agent.get(url).header("accept-encoding", "identity");
    if part.len > 0 && part.about.version.is_empty() {
        part.reset()?;
    }
    if part.len > 0 {
        request = request
            .header("range", format!("bytes={}-", part.len))
            .header("if-range", &part.about.version);
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(e) => return Ok(Ended::Broken(e.to_string())),
    };
    match accept(url, &response, part, digest_given)? {
        Some(ended) => Ok(ended),
        None => receive(response, part, options.stall, watch),
    }
}

/// What the head of the answer says: `None` where what follows belongs to the part.
fn accept(
    url: &str,
    response: &Response<ureq::Body>,
    part: &mut Part,
    digest_given: bool,
) -> Result<Option<Ended>, FetchError> {
    let headers = response.headers();
    match response.status().as_u16() {
        200 => {
            let total = number(headers, "content-length");
            if total.is_none() && !digest_given && !is_chunked(headers) {
                return Err(FetchError::NoLength {
                    url: url.to_string(),
                });
            }
            part.begin(version(headers), total)?;
            Ok(None)
        }
        206 => {
            let Some((start, total)) = content_range(headers) else {
                return restart(part, "the server sent a range without saying which").map(Some);
            };
            if start != part.len || total.is_some_and(|t| part.about.total.is_some_and(|p| p != t))
            {
                let why = "the server sent another range than the one asked for";
                return restart(part, why).map(Some);
            }
            part.about.total = part.about.total.or(total);
            Ok(None)
        }
        // What is there is longer than the file, or of another version.
        416 => restart(part, "the server has no such range").map(Some),
        status @ (408 | 425 | 429 | 500..=599) => {
            Ok(Some(Ended::Broken(format!("the server answered {status}"))))
        }
        status => Err(FetchError::Refused {
            url: url.to_string(),
            status,
        }),
    }
}

pub(super) fn restart(part: &mut Part, why: &str) -> Result<Ended, FetchError> {
    part.reset()?;
    Ok(Ended::Broken(why.to_string()))
}

/// Appends what comes until the end, or until nothing comes for `stall`.
fn receive(
    response: Response<ureq::Body>,
    part: &mut Part,
    stall: Duration,
    watch: &dyn Fn(Step),
) -> Result<Ended, FetchError> {
    let (send, blocks) = sync_channel::<std::io::Result<Vec<u8>>>(4);
    // A read cannot be timed out from outside, so it happens on a thread of its own, which ends with
    // its connection; a stalled one is left to itself.
    std::thread::spawn(move || {
        let mut body = response.into_body().into_reader();
        loop {
            let mut block = vec![0; BLOCK];
            let read = body.read(&mut block);
            let last = !matches!(read, Ok(n) if n > 0);
            let message = read.map(|n| {
                block.truncate(n);
                block
            });
            if send.send(message).is_err() || last {
                return;
            }
        }
    });
    loop {
        match blocks.recv_timeout(stall) {
            Ok(Ok(block)) if block.is_empty() => break,
            Ok(Ok(block)) => {
                part.append(&block)?;
                watch(Step::At(part.len, part.about.total));
            }
            Ok(Err(e)) => return Ok(Ended::Broken(e.to_string())),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = stall.as_secs_f64();
                return Ok(Ended::Broken(format!("no byte came for {seconds} s")));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match part.about.total {
        Some(total) if part.len < total => Ok(Ended::Broken(format!(
            "the connection ended after {} of {total} bytes",
            part.len
        ))),
        Some(total) if part.len > total => restart(part, "the server sent more bytes than it said"),
        _ => Ok(Ended::Whole),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
        .trim()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).parse().ok()
}

fn is_chunked(headers: &HeaderMap) -> bool {
    text(headers, "transfer-encoding")
        .to_ascii_lowercase()
        .contains("chunked")
}

/// What `If-Range` takes: a weak tag does not promise equal bytes.
fn version(headers: &HeaderMap) -> String {
    match text(headers, "etag") {
        "" => text(headers, "last-modified").to_string(),
        weak if weak.starts_with("W/") => String::new(),
        strong => strong.to_string(),
    }
}

/// Start and whole length out of `bytes 10-19/20`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let rest = text(headers, "content-range").strip_prefix("bytes ")?;
    let (range, total) = rest.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
