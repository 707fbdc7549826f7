//! Folders of nodes that a batch system runs, seen by every machine that shares the cache.
//!
//! ```text
//! <cache>/jobs/<key>/<turn>/   one turn of a key: 1, 2, ...
//!     claim.json  order.json   who took the turn, and what is to be done
//!     job.json                 its name in the batch system, once that has accepted it
//!     beat.json                written again and again while it runs
//!     messages.jsonl           what the stage says
//!     attempt.<n>/             one start of the job: it may be requeued
//!     end.json                 how the turn ended
//! <cache>/batches/<batch>/     what was handed to the batch system together
//! <cache>/bin/<digest>/        the program that jobs run
//! ```
//!
//! A turn is taken by `mkdir`, which succeeds for one process alone on every file system, with or without locks.
//! A turn that is given up is never removed or reused: the next is taken, and whoever still works in an older one
//! finds that out and stops. So a claim that is judged wrongly costs time and never a result.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::failpoint;
use crate::fresh::{fresh_file, publish};
use crate::plain::read_plain;
use crate::store::Store;

/// A turn without an end is kept so long by a collection: a job may wait in a queue for days.
pub(crate) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// One turn of a key: the folder that its job and its coordinators share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The folder.
    pub dir: PathBuf,
    /// The key.
    pub key: Digest,
    /// Counted from 1.
    pub number: u32,
}

impl Store {
    fn job_dir(&self, key: &Digest) -> PathBuf {
        self.root().join("jobs").join(key.to_string())
    }

    /// The turn of that number, whether or not it was taken.
    pub fn turn(&self, key: &Digest, number: u32) -> Turn {
        Turn {
            dir: self.job_dir(key).join(number.to_string()),
            key: *key,
            number,
        }
    }

    /// The last turn that somebody took. Lists the folder, which makes network file systems look again.
    pub fn last_turn(&self, key: &Digest) -> Option<Turn> {
        let entries = std::fs::read_dir(self.job_dir(key)).ok()?;
        let numbers = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        Some(self.turn(key, numbers.max()?))
    }

    /// Lists the folders in which the turn's files and its record come to be: a network file system goes on saying of a
    /// name that was looked up in vain that it is not there, and looks again when the folder is listed.
    pub fn look_again(&self, turn: &Turn) {
        let record = self.record_path(&turn.key);
        for dir in record.parent().into_iter().chain([turn.dir.as_path()]) {
            let _ = std::fs::read_dir(dir).map(Iterator::count);
            failpoint::listed(dir);
        }
    }

    /// Takes the turn of that number; `None` where somebody else has it.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the folder cannot be made.
    pub fn take_turn(&self, key: &Digest, number: u32) -> CacheResult<Option<Turn>> {
        let turn = self.turn(key, number);
        self.make_place("jobs")?;
        let above = self.job_dir(key);
        std::fs::create_dir_all(&above).map_err(CacheError::io("create", &above))?;
        match std::fs::create_dir(&turn.dir) {
            Ok(()) => Ok(Some(turn)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(CacheError::io("create", &turn.dir)(e)),
        }
    }

    /// Whether a job at work has this key: its last turn has not ended, and it beat less than `silence` ago.
    pub fn is_at_work(&self, key: &Digest, silence: Duration) -> bool {
        self.last_turn(key)
            .is_some_and(|turn| self.beats(&turn, silence))
    }

    /// Keys of jobs that beat less than `silence` ago.
    pub fn keys_at_work(&self, silence: Duration) -> Vec<Digest> {
        let turns = self.open_turns().into_iter();
        turns
            .filter(|t| self.beats(t, silence))
            .map(|t| t.key)
            .collect()
    }

    /// The last turn of every key that has not ended.
    pub fn open_turns(&self) -> Vec<Turn> {
        let listed = std::fs::read_dir(self.root().join("jobs"));
        let keys = listed.into_iter().flatten().filter_map(|e| {
            let name = e.ok()?.file_name();
            name.to_str()?.parse::<Digest>().ok()
        });
        keys.filter_map(|key| self.last_turn(&key))
            .filter(|turn| !turn.has_ended())
            .collect()
    }

    fn beats(&self, turn: &Turn, silence: Duration) -> bool {
        !turn.has_ended()
            && self
                .age(&turn.dir.join("beat.json"))
                .is_some_and(|a| a < silence)
    }

    /// How old a file is by the clock of the file system that it lies on: those of the machines that share a cache
    /// may differ. `None` where there is no file.
    pub fn age(&self, path: &Path) -> Option<Duration> {
        let then = std::fs::metadata(path).ok()?.modified().ok()?;
        let now = fresh_file(&self.root().join("tmp"), ".now.", 0o600)
            .ok()
            .and_then(|f| f.as_file().metadata().ok()?.modified().ok())
            .unwrap_or_else(SystemTime::now);
        Some(now.duration_since(then).unwrap_or_default())
    }

    /// Makes the directory `name` of the cache if need be; a link in its place is refused.
    ///
    /// # Errors
    /// [`CacheError::Io`] and [`CacheError::Link`].
    pub fn make_place(&self, name: &str) -> CacheResult<PathBuf> {
        let dir = self.root().join(name);
        crate::store::make_dir(&dir)?;
        Ok(dir)
    }
}

impl Turn {
    /// Whether it is said how it ended.
    pub fn has_ended(&self) -> bool {
        let end = self.dir.join("end.json");
        !failpoint::is_late(&end) && end.exists()
    }

    /// Writes `value` as the file `name`, whole or not at all.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn write(&self, name: &str, value: &impl Serialize) -> CacheResult<()> {
        let path = self.dir.join(name);
        let bytes = serde_json::to_vec(value).expect("plain values serialise");
        fresh_file(&self.dir, ".tmp.", 0o666)
            .and_then(|mut file| {
                io::Write::write_all(&mut file, &bytes)?;
                publish(file, &path)
            })
            .map_err(CacheError::io("write", &path))?;
        failpoint::made(&path);
        Ok(())
    }

    /// Reads the file `name`; `None` where it is not there or not as it was written.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        if failpoint::is_late(&path) {
            return None;
        }
        serde_json::from_slice(&read_plain(&path).ok()?).ok()
    }

    /// Makes the folder of the next start of the job, `attempt.<n>`.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn new_attempt(&self) -> CacheResult<PathBuf> {
        for n in 0u32.. {
            let dir = self.dir.join(format!("attempt.{n}"));
            match std::fs::create_dir(&dir) {
                Ok(()) => return Ok(dir),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(CacheError::io("create", &dir)(e)),
            }
        }
        unreachable!("a job is started fewer than 2^32 times")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_bytes;

    #[test]
    fn a_turn_is_one_process_s_and_the_next_comes_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = digest_bytes(b"k");
        assert_eq!(store.last_turn(&key), None);
        let taken: Vec<bool> = std::thread::scope(|s| {
            let take = || store.take_turn(&key, 1).unwrap().is_some();
            let threads: Vec<_> = (0..8).map(|_| s.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|t| **t).count(), 1);
        let first = store.last_turn(&key).unwrap();
        assert_eq!(first.number, 1);
        assert_eq!(store.open_turns(), vec![first.clone()]);
        first.write("end.json", &"done").unwrap();
        assert!(first.has_ended() && store.open_turns().is_empty());
        let second = store.take_turn(&key, 2).unwrap().unwrap();
        assert_eq!(store.last_turn(&key), Some(second.clone()));
        assert!(second.new_attempt().unwrap().ends_with("attempt.0"));
        assert!(second.new_attempt().unwrap().ends_with("attempt.1"));
    }

    #[test]
    fn a_job_is_at_work_while_it_beats_and_has_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = digest_bytes(b"k");
        let turn = store.take_turn(&key, 1).unwrap().unwrap();
        let minute = Duration::from_secs(60);
        assert!(!store.is_at_work(&key, minute), "it waits");
        turn.write("beat.json", &1).unwrap();
        assert!(store.is_at_work(&key, minute));
        assert_eq!(store.keys_at_work(minute), vec![key]);
        assert!(!store.is_at_work(&key, Duration::ZERO), "silent");
        turn.write("end.json", &"done").unwrap();
        assert!(!store.is_at_work(&key, minute));
    }
}
