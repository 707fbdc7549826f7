//! Named places where a test stops the program or makes a write fail.
//!
//! `CLCC_FAILPOINT=NAME=ACTION[@N]` acts when the place is reached for the Nth time (default the
//! first; `@all`: each time) in a process. Actions: `kill` (SIGKILL to this process), `hang` (for ever), `panic`,
//! an error of the system by its name in small letters (`enospc`, `eio`, `erofs`, ...: the step fails with it),
//! `skip` (see [`skipped`]). Builds without debug assertions have no such places.
//!
//! `CLCC_FAILPOINT=lookup=late` makes records and files of turns behave as on a network file system that is slow to
//! show what other machines make: a name that was looked up in vain stays away until its directory has been listed
//! twice. `lookup=never`: it stays away.
//!
//! `CLCC_SYNC_LOG=FILE` writes down what is made durable (`sync PATH`) and which records get their names (`commit PATH`),
//! in order, so that a test can count and compare.

#[cfg(debug_assertions)]
mod active {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    static REACHED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    fn action(name: &str) -> Option<String> {
        let spec = std::env::var("CLCC_FAILPOINT").ok()?;
        let (place, action) = spec.split_once('=')?;
        if place != name {
            return None;
        }
        let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
        let mut reached = REACHED.lock().ok()?;
        let count = reached.entry(name.to_string()).or_default();
        *count += 1;
        (nth == "all" || nth.parse().ok() == Some(*count)).then(|| action.to_string())
    }

    pub(super) fn reach(name: &str) -> io::Result<()> {
        use rustix::io::Errno as E;
        let error = match action(name).as_deref() {
            Some("kill") => {
                let me = rustix::process::getpid();
                let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
                loop {
                    std::thread::park();
                }
            }
            Some("hang") => loop {
                std::thread::park();
            },
            Some("panic") => panic!("the test asked for it at `{name}`"),
            Some("enospc") => E::NOSPC,
            Some("edquot") => E::DQUOT,
            Some("erofs") => E::ROFS,
            Some("eacces") => E::ACCESS,
            Some("eio") => E::IO,
            Some("enosys") => E::NOSYS,
            Some("enolck") => E::NOLCK,
            Some("eopnotsupp") => E::OPNOTSUPP,
            _ => return Ok(()),
        };
        Err(error.into())
    }

    pub(super) fn skipped(name: &str) -> bool {
        action(name).as_deref() == Some("skip")
    }

    /// Names that were looked up in vain, and how often their directory was listed since.
    static ABSENT: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());

    /// After how many listings of its directory a name is shown that was absent.
    fn listings_needed() -> Option<u32> {
        match std::env::var("CLCC_FAILPOINT").ok()?.as_str() {
            "lookup=late" => Some(2),
            "lookup=never" => Some(u32::MAX),
            _ => None,
        }
    }

    pub(super) fn is_late(path: &Path) -> bool {
        let Some(needed) = listings_needed() else {
            return false;
        };
        let Ok(mut absent) = ABSENT.lock() else {
            return false;
        };
        let is_shown = absent.get(path).is_none_or(|listings| *listings >= needed);
        if !is_shown {
            return true;
        }
        let is_there = path.exists();
        match is_there {
            true => absent.remove(path),
            false => absent.insert(path.to_path_buf(), 0),
        };
        !is_there
    }

    pub(super) fn listed(dir: &Path) {
        if let Ok(mut absent) = ABSENT.lock() {
            let inside = absent.iter_mut().filter(|(p, _)| p.parent() == Some(dir));
            inside.for_each(|(_, listings)| *listings = listings.saturating_add(1));
        }
    }

    pub(super) fn log(what: &str, path: &Path) {
        use std::io::Write as _;
        let Some(log) = std::env::var_os("CLCC_SYNC_LOG") else {
            return;
        };
        // One write a line: threads and processes share the file.
        let line = format!("{what} {}\n", path.display());
        let file = std::fs::File::options().append(true).create(true).open(log);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("the test's log can be written");
    }

    pub(super) fn made(path: &Path) {
        if let Ok(mut absent) = ABSENT.lock() {
            absent.remove(path);
        }
    }
}

/// Passes the place `name`.
///
/// # Errors
/// The error that a test asked for.
#[inline]
pub fn reach(name: &str) -> std::io::Result<()> {
    #[cfg(debug_assertions)]
    return active::reach(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        Ok(())
    }
}

/// Whether a test asked to leave the step `name` out.
#[inline]
pub fn skipped(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return active::skipped(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

/// Whether a test asked that the file not be seen yet, whether or not it is there.
#[inline]
pub(crate) fn is_late(path: &std::path::Path) -> bool {
    #[cfg(debug_assertions)]
    return active::is_late(path);
    #[cfg(not(debug_assertions))]
    {
        let _ = path;
        false
    }
}

/// The directory was listed, so that files come to be seen that were late.
#[inline]
pub(crate) fn listed(dir: &std::path::Path) {
    #[cfg(debug_assertions)]
    active::listed(dir);
    #[cfg(not(debug_assertions))]
    let _ = dir;
}

/// This process made the file: it sees it.
#[inline]
pub(crate) fn made(path: &std::path::Path) {
    #[cfg(debug_assertions)]
    active::made(path);
    #[cfg(not(debug_assertions))]
    let _ = path;
}

/// The file or directory is durable.
#[inline]
pub(crate) fn synced(path: &std::path::Path) {
    #[cfg(debug_assertions)]
    active::log("sync", path);
    #[cfg(not(debug_assertions))]
    let _ = path;
}

/// A record gets its name.
#[inline]
pub(crate) fn commits(path: &std::path::Path) {
    #[cfg(debug_assertions)]
    active::log("commit", path);
    #[cfg(not(debug_assertions))]
    let _ = path;
}
