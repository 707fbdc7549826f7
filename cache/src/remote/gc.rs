//! Collection in a remote: records by age, then artifacts that no record names.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::address::Address;
use super::http::Patience;
use super::objects::{Listed, Objects};
use super::open::open;
use super::trouble::Trouble;
use crate::at_once::at_once;
use crate::digest::Digest;
use crate::record::ActionRecord;

/// An artifact that no record names is kept for so long: its record may be on its way, as artifacts go first.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Records read at once.
const THREADS: usize = 16;

/// What a collection in a remote did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteGcReport {
    /// Records kept and dropped.
    pub records: (usize, usize),
    /// Artifacts kept and dropped.
    pub artifacts: (usize, usize),
    /// Bytes of artifacts kept and dropped.
    pub bytes: (u64, u64),
}

/// Drops the records that were written longer than `older_than` ago, those that cannot be read, and every artifact
/// that no remaining record names and that is older than a day.
///
/// # Errors
/// What the remote said, in words.
pub fn collect_remote(
    address: &Address,
    older_than: Option<Duration>,
    dry_run: bool,
) -> Result<RemoteGcReport, String> {
    let run = || {
        let (store, prefix) = open(address, Patience::default())?;
        let objects = Objects::new(store, &prefix);
        collect(&objects, older_than, GRACE, dry_run)
    };
    run().map_err(|trouble| match trouble {
        Trouble::Refused(why) | Trouble::Failed(why) | Trouble::Lies(why) => why,
        other => format!("{other:?}"),
    })
}

pub(super) fn collect(
    objects: &Objects,
    older_than: Option<Duration>,
    grace: Duration,
    dry_run: bool,
) -> Result<RemoteGcReport, Trouble> {
    let now = SystemTime::now();
    let age = |listed: &Listed| now.duration_since(listed.written).unwrap_or_default();
    // Artifacts first: one that comes later is not in the list, so it stays.
    let artifacts = objects.list("cas")?;
    let mut sizes: HashMap<Digest, u64> = HashMap::new();
    for listed in &artifacts {
        sizes.extend(digest_of(listed).map(|d| (d, listed.bytes)));
    }
    let mut report = RemoteGcReport::default();
    let (old, young): (Vec<Listed>, Vec<Listed>) = objects
        .list("ac")?
        .into_iter()
        .partition(|l| older_than.is_some_and(|limit| age(l) > limit));
    let mut dropped: Vec<Listed> = old;
    let mut named: HashSet<Digest> = HashSet::new();
    for (listed, record) in records(objects, young)? {
        match record {
            Some(record) => {
                named.extend(record.outputs.iter().map(|o| o.digest));
                report.records.0 += 1;
            }
            None => dropped.push(listed),
        }
    }
    report.records.1 = dropped.len();
    // Records go before what they name.
    if !dry_run {
        let random: [u64; 2] = [random(), random()];
        objects.begin_generation(&format!("{:016x}{:016x}", random[0], random[1]))?;
        dropped.iter().try_for_each(|l| objects.delete(&l.path))?;
    }
    for listed in artifacts {
        let is_named = digest_of(&listed).is_some_and(|d| named.contains(&d));
        if is_named || age(&listed) <= grace {
            report.artifacts.0 += 1;
            report.bytes.0 += listed.bytes;
            continue;
        }
        report.artifacts.1 += 1;
        report.bytes.1 += listed.bytes;
        if !dry_run {
            objects.delete(&listed.path)?;
        }
    }
    Ok(report)
}

/// A number that no other process has drawn.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

/// The record of each object that is still there; `None` where it is none.
fn records(
    objects: &Objects,
    listed: Vec<Listed>,
) -> Result<Vec<(Listed, Option<ActionRecord>)>, Trouble> {
    let read = at_once(&listed, THREADS, |listed| match digest_of(listed) {
        None => Ok::<_, Trouble>(Some(None)),
        Some(key) => match objects.record(&key) {
            Err(Trouble::Absent) => Ok(None),
            read => Ok(Some(read?)),
        },
    })?;
    let found = listed.into_iter().zip(read);
    Ok(found
        .filter_map(|(listed, record)| Some((listed, record?)))
        .collect())
}

/// The digest in an object's name.
fn digest_of(listed: &Listed) -> Option<Digest> {
    let name = listed.path.filename()?;
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    stem.parse().ok()
}
