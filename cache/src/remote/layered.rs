//! A local store over a remote one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::{Address, Scheme};
use super::http::Patience;
use super::note::Note;
use super::objects::Objects;
use super::open::open;
use super::trouble::Trouble;
use super::{RemoteMode, RemoteNews, RemoteUse, Transfer};
use crate::action_store::{ActionStore, NotBrought};
use crate::at_once::at_once;
use crate::digest::Digest;
use crate::error::CacheResult;
use crate::failpoint;
use crate::lock::KeyLock;
use crate::piece::Piece;
use crate::record::{ActionRecord, OutputRecord};
use crate::store::{Lookup, Store};
use crate::tree::{Artifact, TreeEntry};

/// Threads that send, and that fetch for one node.
const THREADS: usize = 4;
/// A record that was missing is not asked for again within this time: a node is decided twice before it runs.
const MISSED_FOR: Duration = Duration::from_secs(3);
/// Damaged objects after which nothing more is read from the remote.
const MAX_LIES: usize = 3;
/// Tries of an artifact whose connection breaks.
const TRIES: usize = 2;

/// The local store, and behind it a remote one. Clones share the remote.
#[derive(Debug, Clone)]
pub struct Layered {
    local: Store,
    remote: Arc<Remote>,
}

#[derive(Debug)]
struct Remote {
    /// `None` where it could not be opened.
    objects: Option<Objects>,
    scheme: Scheme,
    name: String,
    how: RemoteUse,
    state: Mutex<State>,
    changed: Condvar,
    /// What it is known to hold; opened by the first thread that sends.
    note: Mutex<Option<Note>>,
}

#[derive(Debug, Default)]
struct State {
    /// It is set aside: nothing is asked of it any more.
    aside: bool,
    /// Nothing more is read; what is made replaces what is there.
    distrusted: bool,
    /// It takes nothing.
    refuses_writes: bool,
    news: Vec<RemoteNews>,
    /// Outputs of records that were found there, by digest.
    outputs: HashMap<Digest, OutputRecord>,
    /// Keys whose record was found there.
    found: HashSet<Digest>,
    missed: HashMap<Digest, Instant>,
    /// Artifacts that are damaged or gone there.
    bad_artifacts: HashSet<Digest>,
    /// Keys whose record there is worth nothing.
    bad_records: HashSet<Digest>,
    lies: usize,
    fetching: HashSet<Digest>,
    /// What is to be sent.
    queue: VecDeque<Outgoing>,
    offered: HashSet<Digest>,
    senders: usize,
    busy: usize,
    /// Nothing more is sent.
    closed: bool,
    moved: Transfer,
}

#[derive(Debug)]
struct Outgoing {
    record: ActionRecord,
    /// It was a hit here: it may be there.
    may_be_there: bool,
}

impl Layered {
    /// The store `local` over the remote at `address`. Nothing is asked of the remote yet; one that cannot even be
    /// opened is set aside.
    pub fn open(local: Store, address: &Address, how: RemoteUse) -> Self {
        let opened = open(address, Patience::default());
        let (objects, problem) = match opened {
            Ok((store, prefix)) => (Some(Objects::new(store, &prefix)), None),
            Err(e) => (None, Some(e)),
        };
        let this = Self::over(local, objects, address.scheme(), address.to_string(), how);
        if let Some(problem) = problem {
            this.remote.set_aside(&problem);
        }
        this
    }

    pub(super) fn over(
        local: Store,
        objects: Option<Objects>,
        scheme: Scheme,
        name: String,
        how: RemoteUse,
    ) -> Self {
        let remote = Remote {
            objects,
            scheme,
            name,
            how,
            state: Mutex::default(),
            changed: Condvar::new(),
            note: Mutex::default(),
        };
        Self {
            local,
            remote: Arc::new(remote),
        }
    }

    /// The remote's address.
    pub fn name(&self) -> &str {
        &self.remote.name
    }

    #[cfg(test)]
    pub(super) fn how(&self) -> RemoteUse {
        self.remote.how
    }

    /// What there is to tell since the last call.
    pub fn news(&self) -> Vec<RemoteNews> {
        std::mem::take(&mut self.remote.state().news)
    }

    /// What has travelled so far.
    pub fn moved(&self) -> Transfer {
        self.remote.state().moved
    }

    /// Sends a record that was committed here, and what it names; returns at once.
    pub fn share(&self, record: &ActionRecord) {
        self.offer(record, false);
    }

    /// Whether any of these was found there and is not here.
    pub fn has_absent(&self, digests: &[Digest]) -> bool {
        let state = self.remote.state();
        let mut known = digests.iter().filter_map(|d| state.outputs.get(d));
        known.any(|output| !self.local.has(output))
    }

    /// Reads nothing more from the remote in this run.
    pub fn give_up(&self) {
        self.remote.state().distrusted = true;
    }

    /// How many records are still to be sent.
    pub fn to_send(&self) -> usize {
        let state = self.remote.state();
        state.queue.len() + state.busy
    }

    /// Waits until everything is sent, at most for `time`; whether it is.
    pub fn wait_sent(&self, time: Duration) -> bool {
        let state = self.remote.state();
        let is_busy = |s: &mut State| !s.queue.is_empty() || s.busy > 0;
        let waited = self.remote.changed.wait_timeout_while(state, time, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Sends nothing more; what is on its way is broken off.
    pub fn close(&self) {
        let mut state = self.remote.state();
        state.closed = true;
        state.moved.unsent += state.queue.len();
        state.queue.clear();
        self.remote.changed.notify_all();
        drop(state);
        if let Some(note) = &mut *self.remote.note() {
            note.save();
        }
    }

    fn offer(&self, record: &ActionRecord, may_be_there: bool) {
        if self.remote.how.mode != RemoteMode::Write {
            return;
        }
        let mut state = self.remote.state();
        if state.aside || state.refuses_writes || state.closed {
            state.moved.unsent += usize::from(!may_be_there);
            return;
        }
        // What was found there need not be sent; what was made after all, as it was no good, is.
        let is_new = state.offered.insert(record.key);
        if may_be_there && (!is_new || state.found.contains(&record.key)) {
            return;
        }
        state.queue.push_back(Outgoing {
            record: record.clone(),
            may_be_there,
        });
        if state.senders < THREADS && state.senders < state.queue.len() + state.busy {
            state.senders += 1;
            let (remote, local) = (Arc::clone(&self.remote), self.local.clone());
            let sender = std::thread::Builder::new().name("remote".to_string());
            if sender.spawn(move || remote.send_all(&local)).is_err() {
                state.senders -= 1;
            }
        }
        drop(state);
        self.remote.changed.notify_all();
    }

    /// The record of a key that the remote has and that can be used.
    fn find(&self, key: &Digest) -> Option<ActionRecord> {
        let objects = self.remote.objects.as_ref()?;
        {
            let state = self.remote.state();
            let missed = state.missed.get(key);
            let is_bad = state.bad_records.contains(key);
            let is_off = state.aside || state.distrusted;
            if is_off || is_bad || missed.is_some_and(|at| at.elapsed() < MISSED_FOR) {
                return None;
            }
        }
        let found = objects.record(key);
        let mut state = self.remote.state();
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => {
                state.bad_records.insert(*key);
                let what = format!("the record of {} is damaged", key.short());
                self.remote.lied(&mut state, &what);
                return None;
            }
            Err(Trouble::Absent) => {
                state.missed.insert(*key, Instant::now());
                return None;
            }
            Err(e) => {
                drop(state);
                self.remote.set_aside(&e);
                return None;
            }
        };
        if record
            .outputs
            .iter()
            .any(|o| state.bad_artifacts.contains(&o.digest) && !self.local.has(o))
        {
            state.bad_records.insert(*key);
            return None;
        }
        let absent = record.outputs.iter().filter(|o| !self.local.has(o));
        state.outputs.extend(absent.map(|o| (o.digest, o.clone())));
        if state.found.insert(*key) {
            state.moved.found += 1;
        }
        drop(state);
        // Without it `log`, `diff` and reasons would know nothing of the node. A record whose outputs are not all here
        // is no hit.
        if self.remote.how.keeps_records && self.local.record(key).is_none() {
            let _ = self.local.commit(&record);
        }
        Some(record)
    }

    /// Fetches one artifact, once however many ask for it.
    fn bring_one(&self, output: &OutputRecord, is_over: &(dyn Fn() -> bool + Sync)) -> Brought {
        let digest = output.digest;
        {
            let state = self.remote.state();
            let other = |s: &mut State| s.fetching.contains(&digest);
            let mut state = self
                .remote
                .changed
                .wait_while(state, other)
                .unwrap_or_else(PoisonError::into_inner);
            if self.local.has(output) {
                return Ok(());
            }
            let is_off = state.aside || state.distrusted;
            if is_off || state.bad_artifacts.contains(&digest) {
                return Err(NotBrought::Gone(vec![digest]));
            }
            state.fetching.insert(digest);
        }
        let done = self.fetch(output, is_over);
        self.remote.state().fetching.remove(&digest);
        self.remote.changed.notify_all();
        done
    }

    fn fetch(&self, output: &OutputRecord, is_over: &(dyn Fn() -> bool + Sync)) -> Brought {
        let (digest, began) = (output.digest, Instant::now());
        let gone = || Err(NotBrought::Gone(vec![digest]));
        let Some(objects) = &self.remote.objects else {
            return gone();
        };
        let mut tries = 0;
        let fetched = loop {
            tries += 1;
            match objects.fetch(&self.local, output, is_over) {
                Err(Trouble::Failed(_)) if tries < TRIES && !is_over() => {}
                fetched => break fetched,
            }
        };
        let mut state = self.remote.state();
        let name = format!("`{}` ({})", output.role, digest.short());
        let what = match fetched {
            Ok(bytes) => {
                state.moved.fetched_artifacts += 1;
                state.moved.fetched_bytes += bytes;
                state.news.push(RemoteNews::Fetched {
                    digest,
                    bytes,
                    seconds: began.elapsed().as_secs_f64(),
                });
                return Ok(());
            }
            Err(Trouble::Here(e)) => return Err(NotBrought::Disk(e)),
            Err(Trouble::Stopped) => return Err(NotBrought::Stopped),
            Err(Trouble::Absent) => format!("output {name} is gone"),
            Err(Trouble::Lies(why)) => format!("output {name} is damaged: {why}"),
            Err(e) => {
                drop(state);
                self.remote.set_aside(&e);
                return gone();
            }
        };
        state.bad_artifacts.insert(digest);
        self.remote.lied(&mut state, &what);
        gone()
    }
}

type Brought = Result<(), NotBrought>;

impl Remote {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is not what it should be: named; after a few nothing more is read.
    fn lied(&self, state: &mut State, what: &str) {
        if state.aside || state.distrusted {
            return;
        }
        state.lies += 1;
        state.distrusted = state.lies >= MAX_LIES;
        let then = match state.distrusted {
            true => "too much is, so nothing more is read from there in this run",
            false => "it is made here",
        };
        let text = format!("{}: {what}; {then}", self.name);
        state.news.push(RemoteNews::Trouble(text));
    }

    /// It is not asked for anything any more in this run; said once, with what to do.
    fn set_aside(&self, trouble: &Trouble) {
        let mut state = self.state();
        if std::mem::replace(&mut state.aside, true) {
            return;
        }
        state.moved.unsent += state.queue.len();
        state.queue.clear();
        let text = self.text(trouble, "it is not used any more in this run");
        state.news.push(RemoteNews::Trouble(text));
        self.changed.notify_all();
    }

    fn text(&self, trouble: &Trouble, then: &str) -> String {
        let (why, hint) = match trouble {
            Trouble::Refused(why) => (why.as_str(), credentials(self.scheme)),
            Trouble::Failed(why) | Trouble::Lies(why) => {
                (why.as_str(), "see that it can be reached, and run again")
            }
            Trouble::Absent => ("there is no such bucket", "see that the address is right"),
            Trouble::Exists | Trouble::Changed | Trouble::Here(_) | Trouble::Stopped => {
                ("it failed", "run again")
            }
        };
        format!("{}: {why}; {then} ({hint})", self.name)
    }

    /// Sends what is queued until nothing is. Runs on a thread of its own.
    fn send_all(&self, local: &Store) {
        loop {
            let next = {
                let mut state = self.state();
                match state.queue.pop_front() {
                    Some(next) => {
                        state.busy += 1;
                        next
                    }
                    None => {
                        state.senders -= 1;
                        return;
                    }
                }
            };
            let began = Instant::now();
            let sent = self.send(local, &next);
            let mut state = self.state();
            state.busy -= 1;
            match sent {
                Ok(None) => {}
                Ok(Some((artifacts, bytes))) => {
                    state.moved.sent += 1;
                    state.moved.sent_artifacts += artifacts;
                    state.moved.sent_bytes += bytes;
                    state.news.push(RemoteNews::Sent {
                        key: next.record.key,
                        artifacts,
                        bytes,
                        seconds: began.elapsed().as_secs_f64(),
                    });
                }
                Err(trouble) => {
                    state.moved.unsent += 1;
                    self.not_sent(state, &trouble);
                }
            }
            self.changed.notify_all();
        }
    }

    fn not_sent(&self, mut state: MutexGuard<'_, State>, trouble: &Trouble) {
        match trouble {
            Trouble::Stopped => {}
            // What may be read still is.
            Trouble::Refused(_) if !std::mem::replace(&mut state.refuses_writes, true) => {
                state.moved.unsent += state.queue.len();
                state.queue.clear();
                let text = self.text(trouble, "nothing more is sent in this run");
                state.news.push(RemoteNews::Trouble(text));
            }
            Trouble::Refused(_) => {}
            Trouble::Here(e) => {
                let text = format!("{}: not sent: {e}", self.name);
                state.news.push(RemoteNews::Trouble(text));
            }
            _ => {
                drop(state);
                self.set_aside(trouble);
            }
        }
    }

    /// Sends what a record names and is not there, then the record. `None` where it was there.
    fn send(&self, local: &Store, next: &Outgoing) -> Result<Option<(usize, u64)>, Trouble> {
        let Some(objects) = &self.objects else {
            return Ok(None);
        };
        let record = &next.record;
        let replace = self.state().bad_records.contains(&record.key);
        if next.may_be_there && !replace && self.holds(objects, local, &record.key)? {
            return Ok(None);
        }
        let is_over = || {
            let state = self.state();
            state.closed || state.aside
        };
        let (mut artifacts, mut bytes) = (0, 0);
        for output in &record.outputs {
            let is_bad = {
                let state = self.state();
                state.distrusted || state.bad_artifacts.contains(&output.digest)
            };
            if is_over() {
                return Err(Trouble::Stopped);
            }
            if !is_bad && objects.has_artifact(output)? {
                continue;
            }
            // Whoever reads it would find out; it is better never sent.
            if !local.is_intact(&output.digest) {
                return Ok(None);
            }
            artifacts += 1;
            bytes += objects.put_artifact(local, output, &is_over)?;
            let reached = failpoint::reach("remote.sent");
            reached.map_err(|e| Trouble::Failed(e.to_string()))?;
        }
        objects.put_record(record, replace)?;
        if let Ok(mut note) = self.opened_note(objects, local) {
            note.iter_mut().for_each(|note| note.saw(record.key));
        }
        Ok(Some((artifacts, bytes)))
    }

    fn note(&self) -> MutexGuard<'_, Option<Note>> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it holds the record of a key: what is noted is not asked for.
    fn holds(&self, objects: &Objects, local: &Store, key: &Digest) -> Result<bool, Trouble> {
        let is_noted = |note: &Note| note.has(key);
        if self
            .opened_note(objects, local)?
            .as_ref()
            .is_some_and(is_noted)
        {
            return Ok(true);
        }
        let is_there = objects.has_record(key)?;
        if let Some(note) = self.note().as_mut().filter(|_| is_there) {
            note.saw(*key);
        }
        Ok(is_there)
    }

    fn opened_note(
        &self,
        objects: &Objects,
        local: &Store,
    ) -> Result<MutexGuard<'_, Option<Note>>, Trouble> {
        let mut note = self.note();
        if note.is_none() {
            *note = Some(Note::open(local, &self.name, objects)?);
        }
        Ok(note)
    }
}

/// What to do about refused credentials.
fn credentials(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => {
            "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL, or AWS_PROFILE and ~/.aws; reading needs s3:GetObject and s3:ListBucket, writing s3:PutObject"
        }
        Scheme::Gcs => {
            "see GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
        }
        Scheme::Azure => {
            "see AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"
        }
        Scheme::Http | Scheme::Https => "see that the server lets everybody read",
        Scheme::File => "see who owns the folder and who may write there",
    }
}

impl ActionStore for Layered {
    fn lookup(&self, key: &Digest) -> Lookup {
        match self.local.lookup(key) {
            Lookup::Hit(record) => {
                self.offer(&record, true);
                Lookup::Hit(record)
            }
            here => match self.find(key) {
                Some(record) => Lookup::Hit(Box::new(record)),
                None => here,
            },
        }
    }

    fn record(&self, key: &Digest) -> Option<ActionRecord> {
        self.local.record(key)
    }

    fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.local.artifact_path(digest)
    }

    fn files(&self, digest: &Digest) -> Option<Vec<(TreeEntry, Piece)>> {
        self.local.files(digest)
    }

    fn checkpoint_dir(&self, key: &Digest) -> PathBuf {
        self.local.checkpoint_dir(key)
    }

    fn root(&self) -> &Path {
        self.local.root()
    }

    fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>> {
        self.local.try_lock(key)
    }

    fn is_at_work(&self, key: &Digest) -> bool {
        ActionStore::is_at_work(&self.local, key)
    }

    fn has_job(&self, key: &Digest) -> bool {
        self.local.has_job(key)
    }

    fn new_attempt(&self, key: &Digest) -> CacheResult<PathBuf> {
        self.local.new_attempt(key)
    }

    fn publish(&self, outputs: &[(PathBuf, Artifact)], record: &ActionRecord) -> CacheResult<()> {
        self.local.publish(outputs, record)
    }

    fn quarantine(&self, digest: &Digest) -> CacheResult<()> {
        self.local.quarantine(digest)
    }

    fn has(&self, output: &OutputRecord) -> bool {
        self.local.has(output)
    }

    fn is_elsewhere(&self, record: &ActionRecord) -> bool {
        let state = self.remote.state();
        state.found.contains(&record.key) && record.outputs.iter().any(|o| !self.local.has(o))
    }

    fn bring(
        &self,
        digests: &[Digest],
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), NotBrought> {
        let absent: Vec<OutputRecord> = {
            let state = self.remote.state();
            let known = digests.iter().filter_map(|d| state.outputs.get(d));
            known.filter(|o| !self.local.has(o)).cloned().collect()
        };
        // What cannot be had keeps no other from being fetched.
        let bring = |output: &OutputRecord| Ok::<_, Infallible>(self.bring_one(output, is_over));
        let Ok(all) = at_once(&absent, THREADS, bring);
        NotBrought::of(all)
    }
}

impl NotBrought {
    /// All of them as one: what the disk says counts most.
    fn of(all: Vec<Brought>) -> Brought {
        let (mut gone, mut stopped) = (Vec::new(), false);
        for one in all {
            match one {
                Ok(()) => {}
                Err(Self::Disk(e)) => return Err(Self::Disk(e)),
                Err(Self::Stopped) => stopped = true,
                Err(Self::Gone(digests)) => gone.extend(digests),
            }
        }
        match (gone.is_empty(), stopped) {
            (_, true) => Err(Self::Stopped),
            (false, false) => Err(Self::Gone(gone)),
            (true, false) => Ok(()),
        }
    }
}
