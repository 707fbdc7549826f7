//! Downloads an input that has a `url` and is not there: resumed after a break, moved into place
//! only when whole.
//!
//! What has arrived is next to the target as `<name>.part`, with `<name>.part.json`, which says of
//! which version of the file it is a part. A part is continued only where the server confirms that
//! version (`If-Range`), and where the range that it sends is the one that was asked for. A file is
//! whole when it has the length that the server stated, or when its digest is the one asked for; a
//! name that promises a format (`.gz`, `.h5`, ...) must begin as that format does, so that an error
//! page never becomes data.
//!
//! Several programs that want the same file take turns: the part is locked while one writes it.
//!
//! An object in a bucket (`s3://`, `gs://`, `az://`) comes by the same steps; its version is its entity tag.
//!
//! Not done: parallel ranges, FTP, credentials for web servers. No system library is used: TLS is rustls with ring,
//! and the certificate authorities are those of Mozilla, built in.

mod attempt;
#[cfg(feature = "remote")]
mod bucket;
mod digest;
mod part;

#[cfg(test)]
mod tests;

pub use digest::{Expected, ParseDigestError};

use std::path::{Path, PathBuf};
use std::time::Duration;

use attempt::Ended;
use part::Part;

/// How a download behaves when the network does not.
#[derive(Debug, Clone)]
pub struct Options {
    /// Without a byte for this long, the connection is given up.
    pub stall: Duration,
    /// Tries in a row that bring no new byte before giving up.
    pub attempts: u32,
    /// Pause before the second try; it doubles with each further one.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_secs(1),
        }
    }
}

/// What happens during a download, for a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes there so far, and in all where the server says so.
    At(u64, Option<u64>),
    /// A try failed; the next one follows.
    Again(String),
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Neither `http`, `https` nor, where this build has them, a bucket.
    #[error("expected a url with {SCHEMES}, found `{url}`")]
    Scheme {
        /// The url.
        url: String,
    },
    /// The server refused, and will again.
    #[error("`{url}` answered {status}")]
    Refused {
        /// The url.
        url: String,
        /// The status code.
        status: u16,
    },
    /// There is no such object.
    #[error("there is no `{url}`")]
    Absent {
        /// The url.
        url: String,
    },
    /// Credentials are missing, wrong or not enough.
    #[error("`{url}`: {why}")]
    Denied {
        /// The url.
        url: String,
        /// What was said.
        why: String,
    },
    /// Every try failed.
    #[error(
        "`{url}` could not be downloaded after {attempts} tries without progress: {last}; {kept} bytes are kept for the next time"
    )]
    GaveUp {
        /// The url.
        url: String,
        /// Tries without progress.
        attempts: u32,
        /// What the last one said.
        last: String,
        /// Bytes of the part.
        kept: u64,
    },
    /// The file came whole and is not the one asked for.
    #[error("`{url}`: expected the digest {expected}, found {found}; the file was dropped")]
    Digest {
        /// The url.
        url: String,
        /// As the workflow states it.
        expected: String,
        /// Of what came.
        found: String,
    },
    /// What came does not begin as its name promises.
    #[error(
        "`{url}`: expected {expected}, found a file that begins with `{found}`; it was dropped"
    )]
    Content {
        /// The url.
        url: String,
        /// The format.
        expected: &'static str,
        /// The first bytes as text.
        found: String,
    },
    /// The end of the file cannot be told.
    #[error(
        "`{url}`: the server does not say how long the file is, so a cut-off one would not be noticed"
    )]
    NoLength {
        /// The url.
        url: String,
    },
    /// The disk.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// `write`, `create`, ...
        verb: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl FetchError {
    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoLength { .. } => {
                Some("state `digest: sha256:...` next to the url, or download the file by hand")
            }
            Self::Denied { .. } => Some(
                "docs/shared-cache.md has the variables that hold credentials; AWS_SKIP_SIGNATURE=true reads a public bucket",
            ),
            Self::GaveUp { .. } => Some("run again to go on where it stopped"),
            Self::Digest { .. } | Self::Content { .. } => {
                Some("open the url in a browser to see what it gives")
            }
            _ => None,
        }
    }

    fn io<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io {
            verb,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// Schemes of addresses that can be downloaded, in words.
pub const SCHEMES: &str = match cfg!(feature = "remote") {
    true => "`http`, `https`, `s3`, `gs` or `az`",
    false => "`http` or `https`",
};

/// Whether `url` is an address that can be downloaded.
pub fn can_be_fetched(url: &str) -> bool {
    let of_web = url.starts_with("http://") || url.starts_with("https://");
    of_web || cfg!(feature = "remote") && is_object(url)
}

/// Whether `url` names an object in a bucket.
fn is_object(url: &str) -> bool {
    let address = url.parse::<clcc_cache::remote::Address>();
    clcc_cache::remote::Address::is_bucket(url) && address.is_ok_and(|a| !a.path().is_empty())
}

/// Downloads `url` to `to`, whose folder is made. Returns at once where `to` is there.
///
/// # Errors
/// [`FetchError`]; after one, `to` does not exist.
pub fn fetch(
    url: &str,
    to: &Path,
    expected: Option<&Expected>,
    options: &Options,
    watch: &dyn Fn(Step),
) -> Result<(), FetchError> {
    if !can_be_fetched(url) {
        return Err(FetchError::Scheme {
            url: url.to_string(),
        });
    }
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(FetchError::io("create", folder))?;
    }
    if to.exists() {
        return Ok(());
    }
    let Some(mut part) = Part::open(to, url)? else {
        return Ok(());
    };
    let (mut failed, mut last, mut most) = (0, String::new(), part.len);
    while failed < options.attempts {
        if failed > 0 {
            std::thread::sleep(options.pause * 2u32.pow(failed - 1));
        }
        let before = part.len;
        match attempt::attempt(url, &mut part, expected.is_some(), options, watch)? {
            Ended::Whole => match finish(url, to, &mut part, expected) {
                // A part of an older try may be what is wrong; one fresh download decides.
                Err(FetchError::Digest { .. }) if before > 0 => {
                    watch(Step::Again(
                        "the digest of the resumed file is wrong".into(),
                    ));
                    part.reset()?;
                    failed += 1;
                }
                done => return done,
            },
            Ended::Broken(why) => {
                // A server that makes every try start anew brings no progress either.
                failed = if part.len > most { 1 } else { failed + 1 };
                most = most.max(part.len);
                watch(Step::Again(why.clone()));
                last = why;
            }
        }
    }
    part.sync()?;
    Err(FetchError::GaveUp {
        url: url.to_string(),
        attempts: options.attempts,
        last,
        kept: part.len,
    })
}

/// Checks the whole part and moves it into place.
fn finish(
    url: &str,
    to: &Path,
    part: &mut Part,
    expected: Option<&Expected>,
) -> Result<(), FetchError> {
    part.sync()?;
    if let Some(expected) = expected {
        let found = expected
            .of_file(&part.path)
            .map_err(FetchError::io("read", &part.path))?;
        if found != expected.to_string() {
            part.reset()?;
            return Err(FetchError::Digest {
                url: url.to_string(),
                expected: expected.to_string(),
                found,
            });
        }
    }
    if let Some((expected, found)) = part.unlike(to)? {
        part.reset()?;
        return Err(FetchError::Content {
            url: url.to_string(),
            expected,
            found,
        });
    }
    part.publish(to)
}
