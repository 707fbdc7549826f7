//! Named places where a test stops the program or makes a write fail.
//!
//! `CLCC_FAILPOINT=NAME=ACTION[@N]` acts when the place is reached for the Nth time (default the
//! first) in a process. Actions: `kill` (SIGKILL to this process), `hang` (for ever), `enospc`, `eio`, `erofs` (the
//! step fails with that error), `skip` (see [`skipped`]). Builds without debug assertions have no
//! such places.

#[cfg(debug_assertions)]
mod active {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::Mutex;

    static REACHED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    fn action(name: &str) -> Option<String> {
        let spec = std::env::var("CLCC_FAILPOINT").ok()?;
        let (place, action) = spec.split_once('=')?;
        if place != name {
            return None;
        }
        let (action, nth) = match action.split_once('@') {
            Some((action, n)) => (action, n.parse().unwrap_or(1)),
            None => (action, 1),
        };
        let mut reached = REACHED.lock().ok()?;
        let count = reached.entry(name.to_string()).or_default();
        *count += 1;
        (*count == nth).then(|| action.to_string())
    }

    pub(super) fn reach(name: &str) -> io::Result<()> {
        use io::ErrorKind as K;
        match action(name).as_deref() {
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
            Some("enospc") => Err(K::StorageFull.into()),
            Some("erofs") => Err(K::ReadOnlyFilesystem.into()),
            Some("eio") => Err(io::Error::from_raw_os_error(
                rustix::io::Errno::IO.raw_os_error(),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn skipped(name: &str) -> bool {
        action(name).as_deref() == Some("skip")
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
