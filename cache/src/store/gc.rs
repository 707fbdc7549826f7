//! Collection: which records and artifacts go when the cache is to be smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Store, entries, is_real_dir, shard_files};
use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::jobs::KEPT;

/// What a collection may remove.
#[derive(Debug, Clone, Default)]
pub struct GcPolicy {
    /// Bytes of artifacts and checkpoints to stay within; what was used longest ago goes first.
    pub max_bytes: Option<u64>,
    /// Keep the records of these keys only. They count towards `max_bytes` too.
    pub keep: Option<BTreeSet<Digest>>,
    /// Seconds since the epoch at which a key was last used; others count from when they were made.
    pub last_used: BTreeMap<Digest, u64>,
    /// Checkpoints that were written before go, in seconds since the epoch.
    pub checkpoints_before: Option<u64>,
    /// Directories of runs that go.
    pub runs: Vec<PathBuf>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcItem {
    /// Path relative to the cache.
    pub path: PathBuf,
    /// Bytes freed.
    pub bytes: u64,
    /// Why.
    pub why: GcReason,
}

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GcReason {
    /// An artifact that no record names.
    Unnamed,
    /// A checkpoint of an action that is done, or too old.
    Checkpoint,
    /// It was found damaged and set aside.
    Damaged,
    /// What a killed run left half written.
    Leftover,
    /// The lock of a key: no run holds one now.
    Lock,
    /// Logs and events of an old run.
    Run,
    /// A record that was not to be kept, or that cannot be read.
    Record,
    /// What a batch system was told of a node that has ended, or that nobody waits for.
    Job,
}

impl fmt::Display for GcReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unnamed => "no record names it",
            Self::Checkpoint => "checkpoint that no run goes on from",
            Self::Damaged => "damaged",
            Self::Leftover => "left by a killed run",
            Self::Lock => "lock of no run",
            Self::Run => "logs and events of an old run",
            Self::Record => "record",
            Self::Job => "job that has ended",
        })
    }
}

/// What a collection did, or would do.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Records kept and dropped.
    pub records: (usize, usize),
    /// Bytes of artifacts and checkpoints kept.
    pub kept_bytes: u64,
    /// Bytes freed in all.
    pub freed_bytes: u64,
    /// Everything that goes.
    pub items: Vec<GcItem>,
}

/// A record with its outputs, or a checkpoint.
struct Held {
    key: Digest,
    path: PathBuf,
    last_used: u64,
    outputs: BTreeMap<Digest, u64>,
    /// Of a checkpoint.
    own_bytes: Option<u64>,
}

impl Store {
    /// Drops records, checkpoints and runs by `policy`, then every artifact that no record names, and what killed
    /// runs and repairs left behind. The caller holds [`Store::try_own`]. A collection that is killed
    /// leaves artifacts without a record, which the next one removes. No link is followed.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the cache cannot be listed or a file cannot be removed.
    pub fn collect(&self, policy: &GcPolicy) -> CacheResult<GcReport> {
        let mut held = self.held(policy)?;
        let before = held.len();
        if let Some(keep) = &policy.keep {
            held.retain(|h| keep.contains(&h.key));
        }
        held.extend(self.checkpoints(policy)?);
        shrink(&mut held, policy.max_bytes);
        let (checkpoints, records): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|h| h.own_bytes.is_some());
        let kept: BTreeSet<Digest> = records.iter().map(|h| h.key).collect();
        let live: BTreeMap<Digest, u64> = records.iter().flat_map(|h| h.outputs.clone()).collect();
        let own = checkpoints.iter().filter_map(|h| h.own_bytes);
        let mut report = GcReport {
            records: (kept.len(), before - kept.len()),
            kept_bytes: live.values().sum::<u64>() + own.sum::<u64>(),
            ..GcReport::default()
        };
        let named = |path: &Path| stem(path).and_then(|s| s.parse::<Digest>().ok());
        let mut drop = |path: &Path, why| self.drop_path(path, why, policy.dry_run, &mut report);
        // Records go before what they name.
        for path in shard_files(&self.root.join("ac"))? {
            if !named(&path).is_some_and(|k| kept.contains(&k)) {
                drop(&path, GcReason::Record)?;
            }
        }
        for path in shard_files(&self.root.join("cas"))? {
            if !named(&path).is_some_and(|d| live.contains_key(&d)) {
                drop(&path, GcReason::Unnamed)?;
            }
        }
        let resumable: BTreeSet<&PathBuf> = checkpoints.iter().map(|h| &h.path).collect();
        for path in entries(&self.root.join("ckpt"))? {
            if !resumable.contains(&path) {
                drop(&path, GcReason::Checkpoint)?;
            }
        }
        for path in &policy.runs {
            drop(path, GcReason::Run)?;
        }
        for path in self.leftovers()? {
            drop(&path, GcReason::Leftover)?;
        }
        for path in self.old_jobs()? {
            drop(&path, GcReason::Job)?;
        }
        for (dir, why) in [("quarantine", GcReason::Damaged), ("locks", GcReason::Lock)] {
            for path in entries(&self.root.join(dir))? {
                drop(&path, why)?;
            }
        }
        Ok(report)
    }

    /// Jobs that have ended or were handed in too long ago to wait for; and, once there is no other, what they were
    /// handed in with and the programs that they run.
    fn old_jobs(&self) -> CacheResult<Vec<PathBuf>> {
        let waits = |turn: &crate::Turn| self.age(&turn.dir).is_some_and(|age| age < KEPT);
        let open: BTreeSet<String> = self
            .open_turns()
            .iter()
            .filter(|turn| waits(turn))
            .map(|turn| turn.key.to_string())
            .collect();
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut old = entries(&self.root.join("jobs"))?;
        old.retain(|path| !name(path).is_some_and(|n| open.contains(&n)));
        if open.is_empty() {
            old.extend(entries(&self.root.join("batches"))?);
            old.extend(entries(&self.root.join("bin"))?);
        }
        Ok(old)
    }

    /// What killed runs left half written: all of `tmp/`, and temporary files next to the journals.
    fn leftovers(&self) -> CacheResult<Vec<PathBuf>> {
        let mut found = entries(&self.tmp())?;
        for dir in [self.root.clone(), self.root.join("last")] {
            let name = |p: &Path| {
                p.file_name()
                    .map(|n| n.to_string_lossy().starts_with(".tmp."))
            };
            found.extend(entries(&dir)?.into_iter().filter(|p| name(p) == Some(true)));
        }
        Ok(found)
    }

    fn held(&self, policy: &GcPolicy) -> CacheResult<Vec<Held>> {
        let mut held = Vec::new();
        for path in shard_files(&self.root.join("ac"))? {
            let Some(key) = stem(&path).and_then(|s| s.parse::<Digest>().ok()) else {
                continue;
            };
            let Some(record) = self.record(&key) else {
                continue;
            };
            let made = modified(&path);
            // What a shared cache has and this one has not takes no room here.
            let here = |digest: &Digest| self.artifact_path(digest).exists();
            let outputs = record.outputs.iter().filter(|o| here(&o.digest));
            held.push(Held {
                key,
                path,
                last_used: policy.last_used.get(&key).copied().unwrap_or(made),
                outputs: outputs.map(|o| (o.digest, o.bytes)).collect(),
                own_bytes: None,
            });
        }
        Ok(held)
    }

    /// Checkpoints that a run may go on from: not of a key that has a record, and not too old.
    fn checkpoints(&self, policy: &GcPolicy) -> CacheResult<Vec<Held>> {
        let mut held = Vec::new();
        for path in entries(&self.root.join("ckpt"))? {
            let Some(key) = stem(&path).and_then(|s| s.parse::<Digest>().ok()) else {
                continue;
            };
            let written = entries(&path).unwrap_or_default();
            let last_used = written.iter().map(|p| modified(p)).max().unwrap_or(0);
            let is_old = policy.checkpoints_before.is_some_and(|t| last_used < t);
            if is_old || !is_real_dir(&path) || self.record(&key).is_some() {
                continue;
            }
            held.push(Held {
                key,
                last_used,
                outputs: BTreeMap::new(),
                own_bytes: Some(bytes_of(&path)),
                path,
            });
        }
        Ok(held)
    }

    fn drop_path(
        &self,
        path: &Path,
        why: GcReason,
        dry_run: bool,
        report: &mut GcReport,
    ) -> CacheResult<()> {
        let bytes = bytes_of(path);
        report.freed_bytes += bytes;
        report.items.push(GcItem {
            path: self.relative(path),
            bytes,
            why,
        });
        if dry_run {
            return Ok(());
        }
        let removed = if std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(CacheError::io("remove", path)(e))
            }
            _ => Ok(()),
        }
    }
}

/// Drops the records and checkpoints used longest ago until the artifacts of the rest fit.
fn shrink(held: &mut Vec<Held>, max_bytes: Option<u64>) {
    let Some(max_bytes) = max_bytes else { return };
    // Newest last; equal times by path, so that the choice is a function of the cache.
    held.sort_by(|a, b| (a.last_used, &a.path).cmp(&(b.last_used, &b.path)));
    let mut users: BTreeMap<Digest, (usize, u64)> = BTreeMap::new();
    for (digest, bytes) in held.iter().flat_map(|h| &h.outputs) {
        users.entry(*digest).or_insert((0, *bytes)).0 += 1;
    }
    let own: u64 = held.iter().filter_map(|h| h.own_bytes).sum();
    let mut total: u64 = users.values().map(|(_, bytes)| bytes).sum::<u64>() + own;
    let mut dropped = 0;
    while total > max_bytes && dropped < held.len() {
        total -= held[dropped].own_bytes.unwrap_or(0);
        for digest in held[dropped].outputs.keys() {
            let entry = users.get_mut(digest).expect("counted above");
            entry.0 -= 1;
            if entry.0 == 0 {
                total -= entry.1;
            }
        }
        dropped += 1;
    }
    held.drain(..dropped);
}

/// Seconds since the epoch; 0 where it cannot be told.
fn modified(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |m| m.mtime().max(0) as u64)
}

fn stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()
}

/// Bytes of a file, or of all files beneath a directory.
fn bytes_of(path: &Path) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok().map(|e| bytes_of(&e.path())))
            .sum(),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}
