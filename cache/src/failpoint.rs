//! Named places where a test stops the program or makes a write fail.
//!
//! `CLCC_FAILPOINT=NAME=ACTION[@N]` acts when the place is reached for the Nth time (default the
//! first; `@all`: each time) in a process. Actions: `kill` (SIGKILL to this process), `hang` (for ever), `panic`,
//! an error of the system by its name in small letters (`enospc`, `eio`, `erofs`, ...: the step fails with it),
//! `skip` (see [`skipped`]). Builds without debug assertions have no such places.

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
