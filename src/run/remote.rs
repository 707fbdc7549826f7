//! What a run has to do with a shared cache: fetch what it publishes, send what it made, and tell of both.

use std::time::{Duration, Instant};

use clcc_cache::remote::{RemoteNews, Transfer};
use clcc_cache::{ActionStore as _, Digest, NotBrought};

use super::{Reporter, RunError, RunOptions, Session};
use crate::events::Event;
use crate::exec::{Cancel, LOOK};
use crate::results::published_artifacts;
use crate::schedule::{Outcome, RunOutcome, SkipReason};

/// Passes in which what cannot be fetched is made again; in the last, nothing is asked of the shared cache.
const MAX_PASSES: usize = 3;

impl Reporter<'_> {
    /// Tells what has happened with the shared cache since the last time.
    pub(super) fn tell_news(&mut self, session: &Session) {
        let news = session.remote.as_ref().map(|remote| remote.news());
        for one in news.into_iter().flatten() {
            let event = match one {
                RemoteNews::Fetched {
                    digest,
                    bytes,
                    seconds,
                } => Event::DidFetch {
                    digest: digest.to_string(),
                    bytes,
                    seconds,
                },
                RemoteNews::Sent {
                    key,
                    artifacts,
                    bytes,
                    seconds,
                } => Event::DidSend {
                    key: key.to_string(),
                    artifacts,
                    bytes,
                    seconds,
                },
                RemoteNews::Trouble(message) => Event::Note { message },
            };
            self.on_event(&event);
        }
    }
}

/// Fetches what the run publishes. `Err` with the outcome where something cannot be had: then another pass makes it.
/// A run that is cancelled publishes what is here.
pub(super) fn bring_results(
    session: &Session,
    mut outcome: RunOutcome,
    cancel: &Cancel,
    pass: usize,
    reporter: &mut Reporter<'_>,
) -> Result<Result<RunOutcome, RunOutcome>, RunError> {
    let Some(remote) = &session.remote else {
        return Ok(Ok(outcome));
    };
    let published = published_artifacts(&session.plan, &outcome);
    let digests: Vec<Digest> = published.iter().map(|(_, output)| output.digest).collect();
    let is_over = || *cancel.borrow() > 0;
    let brought = remote.bring(&digests, &is_over);
    reporter.tell_news(session);
    let may_be_made = match brought {
        Ok(()) => return Ok(Ok(outcome)),
        Err(NotBrought::Disk(e)) => return Err(e.into()),
        Err(NotBrought::Stopped) => false,
        Err(NotBrought::Gone(_)) => pass <= MAX_PASSES && !is_over(),
    };
    let absent = published.iter().filter(|(_, output)| !remote.has(output));
    for (node, output) in absent {
        match may_be_made {
            true => reporter.on_event(&Event::DidFindDamage {
                id: session.plan.nodes[*node].id.clone(),
                role: output.role.clone(),
                digest: output.digest.to_string(),
                remote: true,
            }),
            false => outcome.nodes[*node] = Outcome::Skipped(SkipReason::Cancelled),
        }
    }
    if pass == MAX_PASSES {
        remote.give_up();
    }
    Ok(match may_be_made {
        true => Err(outcome),
        false => Ok(outcome),
    })
}

/// Waits until everything is sent, unless the run is cancelled.
pub(super) fn finish_remote(
    session: &Session,
    options: &RunOptions,
    outcome: &RunOutcome,
    reporter: &mut Reporter<'_>,
) -> Option<(String, Transfer)> {
    let remote = session.remote.as_ref()?;
    let is_cancelled = || {
        let cancel = options.cancel.as_ref();
        outcome.cancelled || cancel.is_some_and(|c| *c.borrow() > 0)
    };
    let (began, mut said) = (Instant::now(), false);
    while !remote.wait_sent(LOOK) {
        reporter.tell_news(session);
        if is_cancelled() {
            break;
        }
        if began.elapsed() > Duration::from_secs(1) && !std::mem::replace(&mut said, true) {
            let nodes = remote.to_send();
            reporter.on_event(&Event::WillWaitForSending { nodes });
        }
    }
    remote.close();
    reporter.tell_news(session);
    let moved = remote.moved();
    reporter.on_event(&Event::DidTransfer {
        remote: remote.name().to_string(),
        moved,
    });
    Some((remote.name().to_string(), moved))
}
