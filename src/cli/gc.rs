//! `gc`: what goes from the cache, and how many bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clcc_cache::remote::Address;
use clcc_cache::{Digest, GcPolicy, GcReason, SILENCE, Store};

use super::args::GcArgs;
use super::error::{CliError, exit};
use super::store_verbs::{open, runs};
use crate::exec::gib;
use crate::results::RunRecord;

pub(super) fn gc(args: &GcArgs) -> Result<i32, CliError> {
    if let Some(address) = &args.remote {
        return remote_gc(address, args);
    }
    let store = open(&args.cache)?;
    let _own = own(&store, args.wait, args.without_lock)?;
    let history = History::read(&store, args.keep_last);
    let policy = GcPolicy {
        max_bytes: args.max_size,
        keep: args.keep_last.map(|_| history.keep),
        last_used: history.last_used,
        checkpoints_before: history.kept_since,
        runs: history.old_runs.clone(),
        dry_run: args.dry_run,
    };
    let report = store.collect(&policy)?;
    let mut by_reason: BTreeMap<GcReason, (usize, u64)> = BTreeMap::new();
    for item in &report.items {
        let entry = by_reason.entry(item.why).or_default();
        entry.0 += 1;
        entry.1 += item.bytes;
    }
    for (why, (count, bytes)) in by_reason {
        say!("{count:>8} {:>12}  {why}", size(bytes));
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    say!(
        "{verb} {} ({} bytes); kept {} (records: {}), dropped records: {}, runs: {}",
        size(report.freed_bytes),
        report.freed_bytes,
        size(report.kept_bytes),
        report.records.0,
        report.records.1,
        history.old_runs.len(),
    );
    Ok(exit::OK)
}

/// The same of a shared cache.
#[cfg(feature = "remote")]
fn remote_gc(address: &Address, args: &GcArgs) -> Result<i32, CliError> {
    if !address.can_be_written() {
        let message = format!("gc --remote: `{address}` can only be read");
        return Err(CliError::new(exit::USAGE, message));
    }
    let report = clcc_cache::remote::collect_remote(address, args.older_than, args.dry_run)
        .map_err(|why| CliError::new(exit::CACHE, format!("`{address}`: {why}")))?;
    let verb = if args.dry_run { "would free" } else { "freed" };
    say!(
        "{verb} {} ({} bytes) in {address}; kept {} (records: {}), dropped records: {}, artifacts: {}",
        size(report.bytes.1),
        report.bytes.1,
        size(report.bytes.0),
        report.records.0,
        report.records.1,
        report.artifacts.1,
    );
    Ok(exit::OK)
}

#[cfg(not(feature = "remote"))]
fn remote_gc(_: &Address, _: &GcArgs) -> Result<i32, CliError> {
    Err(crate::run::RunError::NoRemote.into())
}

pub(super) fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        gib(bytes)
    }
}

/// The cache for oneself; runs that use it are waited for.
fn own(store: &Store, wait: u64, without_lock: bool) -> Result<clcc_cache::KeyLock, CliError> {
    let until = Instant::now() + Duration::from_secs(wait);
    let mut said = false;
    loop {
        let at_work = store.keys_at_work(SILENCE);
        match store.try_own()? {
            // A lock may not reach the machines that jobs run on: their beats do.
            Some(_) if !at_work.is_empty() => {}
            Some(lock) if lock.is_held() || without_lock => return Ok(lock),
            Some(_) => {
                let message = "the file system of the cache has no locks, so whether a run uses it cannot be told; nothing was removed";
                return Err(CliError::new(exit::CACHE, message)
                    .hint("once no run goes on anywhere, give --without-lock"));
            }
            None => {}
        }
        if Instant::now() >= until {
            return Err(CliError::new(
                exit::CACHE,
                "runs or their jobs are using the cache; nothing was removed",
            )
            .hint("wait for them, or give --wait SECONDS"));
        }
        if !std::mem::replace(&mut said, true) {
            tell!("waiting for runs that use the cache");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the runs on record used.
#[derive(Default)]
struct History {
    last_used: BTreeMap<Digest, u64>,
    /// Keys of the last runs of each workflow.
    keep: BTreeSet<Digest>,
    /// Directories of the runs before those.
    old_runs: Vec<PathBuf>,
    /// When the first of the kept runs began, in seconds since the epoch: no later one went on from a checkpoint
    /// that is older.
    kept_since: Option<u64>,
}

impl History {
    fn read(store: &Store, keep_last: Option<usize>) -> Self {
        let mut history = Self::default();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for dir in runs(store) {
            let Some(run) = RunRecord::read(&dir) else {
                // Killed: nothing goes on while this process has the cache for itself.
                if keep_last.is_some() {
                    history.old_runs.push(dir);
                }
                continue;
            };
            let began = humantime::parse_rfc3339(&run.started)
                .ok()
                .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
                .map_or(0, |d| d.as_secs());
            let nth = seen.entry(run.workflow.name).or_default();
            *nth += 1;
            for key in run.nodes.iter().filter_map(|n| n.key) {
                let last = history.last_used.entry(key).or_default();
                *last = (*last).max(began);
                if keep_last.is_some_and(|keep| *nth <= keep) {
                    history.keep.insert(key);
                }
            }
            match keep_last {
                Some(keep) if *nth > keep => history.old_runs.push(dir),
                Some(_) => {
                    let first = history.kept_since.unwrap_or(began);
                    history.kept_since = Some(first.min(began));
                }
                None => {}
            }
        }
        history
    }
}
