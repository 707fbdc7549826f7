//! What this machine knows a remote to hold, so that it need not ask every time.
//!
//! One journal in the cache for each address: a key, the remote's generation when it was seen there, and when. A
//! collection in the remote sets a new generation before it removes anything, and what was seen long ago is asked for
//! again: objects may be removed by rules of the bucket too. A key that is noted and gone is only not sent again until
//! then; nothing else rests on it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use super::objects::Objects;
use super::trouble::Trouble;
use crate::digest::{Digest, digest_bytes};
use crate::journal::Journal;
use crate::store::Store;

/// How long a remote is believed to hold what it held.
const BELIEVED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// A key's generation, and seconds since the epoch.
type Seen = (String, u64);

/// What is noted of one remote.
#[derive(Debug)]
pub(super) struct Note {
    journal: Journal<Seen>,
    generation: String,
    now: u64,
    /// Keys seen there since it was opened.
    fresh: HashMap<Digest, Seen>,
}

impl Note {
    /// Opens the note of the remote called `name`, and asks the remote for its generation.
    ///
    /// # Errors
    /// What the remote said.
    pub(super) fn open(store: &Store, name: &str, objects: &Objects) -> Result<Self, Trouble> {
        let file = format!("sent.{}.jsonl", digest_bytes(name.as_bytes()).short());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            journal: Journal::open(&store.root().join(file)),
            generation: objects.generation()?,
            now: since.unwrap_or_default().as_secs(),
            fresh: HashMap::new(),
        })
    }

    /// Whether the remote held the record of a key not long ago, and nothing was collected since.
    pub(super) fn has(&self, key: &Digest) -> bool {
        let Some((generation, at)) = self.journal.get(&key.to_string()) else {
            return false;
        };
        let age = self.now.saturating_sub(*at);
        *generation == self.generation && age < BELIEVED_FOR.as_secs() && *at <= self.now
    }

    /// Notes that it holds the record of a key.
    pub(super) fn saw(&mut self, key: Digest) {
        self.fresh.insert(key, (self.generation.clone(), self.now));
    }

    /// Keeps what is new.
    pub(super) fn save(&mut self) {
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let sorted: BTreeMap<String, Seen> = fresh.map(|(k, seen)| (k.to_string(), seen)).collect();
        // It is asked again next time.
        let _ = self.journal.set_all(sorted);
    }
}
