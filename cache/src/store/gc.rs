//! Collection: which records and artifacts go when the cache is to be smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Store, shard_files};
use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};

/// What a collection may remove.
#[derive(Debug, Clone, Default)]
pub struct GcPolicy {
    /// Bytes of artifacts to stay within; the records used longest ago go first.
    pub max_bytes: Option<u64>,
    /// Keep the records of these keys only. They count towards `max_bytes` too.
    pub keep: Option<BTreeSet<Digest>>,
    /// Seconds since the epoch at which a key was last used; others count from when they were made.
    pub last_used: BTreeMap<Digest, u64>,
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
    /// Why, in a few words.
    pub why: &'static str,
}

/// What a collection did, or would do.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Records kept and dropped.
    pub records: (usize, usize),
    /// Bytes of artifacts kept.
    pub kept_bytes: u64,
    /// Bytes freed in all.
    pub freed_bytes: u64,
    /// Every artifact and leftover that goes.
    pub items: Vec<GcItem>,
}

struct Held {
    key: Digest,
    path: PathBuf,
    last_used: u64,
    outputs: BTreeMap<Digest, u64>,
}

impl Store {
    /// Drops records by `policy`, then every artifact that no record names, and what killed runs
    /// and repairs left behind. The caller holds [`Store::try_own`]. A collection that is killed
    /// leaves artifacts without a record, which the next one removes.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the cache cannot be listed or a file cannot be removed.
    pub fn collect(&self, policy: &GcPolicy) -> CacheResult<GcReport> {
        let mut held = self.held(policy)?;
        let before = held.len();
        if let Some(keep) = &policy.keep {
            held.retain(|h| keep.contains(&h.key));
        }
        shrink(&mut held, policy.max_bytes);
        let kept: BTreeSet<Digest> = held.iter().map(|h| h.key).collect();
        let live: BTreeMap<Digest, u64> = held.iter().flat_map(|h| h.outputs.clone()).collect();
        let mut report = GcReport {
            records: (kept.len(), before - kept.len()),
            kept_bytes: live.values().sum(),
            ..GcReport::default()
        };
        // Records go before what they name.
        for path in shard_files(&self.root.join("ac"))? {
            let key = stem(&path).and_then(|s| s.parse::<Digest>().ok());
            if !key.is_some_and(|k| kept.contains(&k)) {
                self.drop_path(&path, "record", policy.dry_run, &mut report)?;
            }
        }
        for path in shard_files(&self.root.join("cas"))? {
            let digest = stem(&path).and_then(|s| s.parse::<Digest>().ok());
            if !digest.is_some_and(|d| live.contains_key(&d)) {
                self.drop_path(&path, "no record names it", policy.dry_run, &mut report)?;
            }
        }
        for (dir, why) in [
            ("tmp", "left by a killed run"),
            ("quarantine", "damaged"),
            ("locks", "lock of no run"),
        ] {
            let dir = self.root.join(dir);
            for entry in std::fs::read_dir(&dir).into_iter().flatten() {
                let path = entry.map_err(CacheError::io("list", &dir))?.path();
                self.drop_path(&path, why, policy.dry_run, &mut report)?;
            }
        }
        Ok(report)
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
            let made = std::fs::metadata(&path).map_or(0, |m| m.mtime().max(0) as u64);
            held.push(Held {
                key,
                path,
                last_used: policy.last_used.get(&key).copied().unwrap_or(made),
                outputs: record.outputs.iter().map(|o| (o.digest, o.bytes)).collect(),
            });
        }
        Ok(held)
    }

    fn drop_path(
        &self,
        path: &Path,
        why: &'static str,
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

/// Drops the records used longest ago until the artifacts of the rest fit.
fn shrink(held: &mut Vec<Held>, max_bytes: Option<u64>) {
    let Some(max_bytes) = max_bytes else { return };
    // Newest last; equal times by path, so that the choice is a function of the cache.
    held.sort_by(|a, b| (a.last_used, &a.path).cmp(&(b.last_used, &b.path)));
    let mut users: BTreeMap<Digest, (usize, u64)> = BTreeMap::new();
    for (digest, bytes) in held.iter().flat_map(|h| &h.outputs) {
        users.entry(*digest).or_insert((0, *bytes)).0 += 1;
    }
    let mut total: u64 = users.values().map(|(_, bytes)| bytes).sum();
    let mut dropped = 0;
    while total > max_bytes && dropped < held.len() {
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
