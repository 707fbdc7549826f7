//! The one place that writes to stdout and stderr.
//!
//! What is for people is made harmless for their terminal ([`crate::text::shown`]); documents are written as they
//! are. Nothing here panics or ends the program: a reader that has gone, a full device and a terminal that has
//! vanished are remembered, and where it was stdout the exit code says so ([`is_lost`]).

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use serde_json::Value;

use crate::text::{shown, shown_lines};

/// Whether something meant for stdout could not be written there.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether stdout was closed when the program began, or cannot be written to. The standard library puts `/dev/null`
/// in the place of a closed stdout before `main`, and takes a write to one that is open for reading alone for done:
/// then nothing fails that could be noticed later.
static ABSENT: AtomicBool = AtomicBool::new(false);

extern "C" fn look_at_stdout() {
    let mode = rustix::fs::fcntl_getfl(io::stdout().as_fd());
    let can_write = mode.is_ok_and(|m| m & OFlags::RWMODE != OFlags::RDONLY);
    ABSENT.store(!can_write, Ordering::Relaxed);
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
#[allow(
    unsafe_code,
    reason = "runs before main: it only asks the kernel for the mode of a descriptor"
)]
#[used]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

/// A line on stdout, for people.
macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::out::say_line(&format!($($arg)*)) };
}

/// A line on stderr, for people.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::cli::out::tell_line(&format!($($arg)*)) };
}

pub(super) fn say_line(text: &str) {
    exact(&format!("{}\n", shown(text)));
}

pub(super) fn tell_line(text: &str) {
    tell_drawn(&shown(text));
}

/// Text of several lines on stdout, for people.
pub(super) fn say_text(text: &str) {
    exact(&shown_lines(text));
}

/// Text of several lines on stderr, for people: composed of parts that are harmless.
pub(super) fn tell_text(text: &str) {
    let _ = io::stderr().write_all(shown_lines(text).as_bytes());
}

/// A line on stderr with colours in it; whatever comes from data in it has been made harmless.
pub(super) fn tell_drawn(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A document on stdout, to the byte.
pub(super) fn exact(text: &str) {
    if is_absent() {
        LOST.store(true, Ordering::Relaxed);
    } else {
        written(io::stdout().write_all(text.as_bytes()));
    }
}

/// One JSON document on stdout.
pub(super) fn json(document: &Value) {
    exact(&format!("{document:#}\n"));
}

/// One JSON event on stdout, kept back where nobody needs it at once.
pub(super) fn json_line(line: &str, flush: bool) {
    if is_absent() {
        LOST.store(true, Ordering::Relaxed);
    }
    // What nobody reads need not be tried again for each event.
    if !is_lost() {
        let mut out = io::stdout().lock();
        written(writeln!(out, "{line}").and_then(|()| if flush { out.flush() } else { Ok(()) }));
    }
}

fn written(result: io::Result<()>) {
    if result.is_err() {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether something meant for stdout was lost, also what is still kept back.
pub(super) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Whether there is no stdout to write to.
pub(super) fn is_absent() -> bool {
    ABSENT.load(Ordering::Relaxed)
}

/// Writes what is kept back.
pub(super) fn flush() {
    written(io::stdout().flush());
}

/// stderr for diagnostics: harmless, and a failure to write is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        tell_text(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
