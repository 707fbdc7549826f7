//! What signals do to a run.
//!
//! They are heard on a thread of their own, so that they act also while the run publishes, waits for a lock or
//! cannot write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::error::exit;
use crate::exec::Cancel;

/// How long a run may take to end after the second signal: children are killed at once, its records are written.
const LAST: Duration = Duration::from_secs(3);

/// What has been heard.
pub(super) struct Heard {
    /// 1 after the first signal, 2 after the second.
    pub(super) cancel: Cancel,
    raise: watch::Sender<u8>,
    which: Arc<AtomicI32>,
}

impl Heard {
    /// Nothing, as nobody listens yet: a signal ends the process.
    pub(super) fn nothing() -> Self {
        let (raise, cancel) = watch::channel(0u8);
        Self {
            cancel,
            raise,
            which: Arc::new(AtomicI32::new(0)),
        }
    }

    /// From here on the first SIGINT or SIGTERM asks for a clean end, the second for one at once: the process ends
    /// within [`LAST`], whatever it is doing. A third ends it on the spot.
    ///
    /// # Errors
    /// Where signals cannot be heard.
    pub(super) fn listen(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (int, term) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let (raise, which) = (self.raise.clone(), Arc::clone(&self.which));
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(hear(int, term, raise, which)))?;
        Ok(())
    }

    /// The exit code of the last signal, if there was any.
    pub(super) fn code(&self) -> Option<i32> {
        match self.which.load(Ordering::Relaxed) {
            0 => None,
            which => Some(code_of(which)),
        }
    }
}

fn code_of(which: i32) -> i32 {
    if which == SignalKind::terminate().as_raw_value() {
        exit::TERMINATED
    } else {
        exit::INTERRUPTED
    }
}

/// A terminal that vanishes sends SIGHUP: from here on nothing follows from it.
pub(super) fn ignore_hangup() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        // The handler stays when its listener goes.
        let _inside = runtime.enter();
        let _ = signal(SignalKind::hangup());
    }
}

/// From here on SIGINT and SIGTERM end the process at once, after `undo`, also where it is the first process of a
/// container, which the kernel shields from signals that nobody listens to.
///
/// # Errors
/// Where signals cannot be heard.
pub(super) fn end_after(undo: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut heard = Heard::nothing();
    heard.listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let end = move || {
        let raised = runtime
            .block_on(heard.cancel.wait_for(|level| *level > 0))
            .is_ok();
        if raised {
            undo();
            std::process::exit(heard.code().unwrap_or(exit::INTERRUPTED));
        }
    };
    std::thread::Builder::new().name("undo".into()).spawn(end)?;
    Ok(())
}

async fn hear(mut int: Signal, mut term: Signal, raise: watch::Sender<u8>, which: Arc<AtomicI32>) {
    for level in 1u8.. {
        let kind = tokio::select! {
            _ = int.recv() => SignalKind::interrupt(),
            _ = term.recv() => SignalKind::terminate(),
        };
        let code = code_of(kind.as_raw_value());
        which.store(kind.as_raw_value(), Ordering::Relaxed);
        raise.send_replace(level.min(2));
        match level {
            1 => {}
            2 => {
                tokio::spawn(async move {
                    tokio::time::sleep(LAST).await;
                    std::process::exit(code);
                });
            }
            _ => std::process::exit(code),
        }
    }
}
