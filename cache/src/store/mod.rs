//! The store: lookup and publish.

mod gc;
mod verify;

pub use gc::{GcItem, GcPolicy, GcReason, GcReport};
pub use verify::{Defect, VerifyReport};

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::archive::{self, measure_stored};
use crate::at_once::{SYNCS, at_once};
use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::failpoint;
use crate::fresh::{fresh_dir, fresh_file, publish};
use crate::lock::KeyLock;
use crate::piece::Piece;
use crate::plain::read_plain;
use crate::record::{ActionRecord, OutputRecord};
use crate::tree::{Artifact, ArtifactForm, TreeEntry, sync_path, tree_digest};

/// A job that has been silent for so long no longer uses the cache.
pub const SILENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// What is directly in a cache.
const DIRS: [&str; 8] = [
    "cas",
    "ac",
    "tmp",
    "last",
    "locks",
    "runs",
    "ckpt",
    "quarantine",
];

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    check_content: bool,
    writable: bool,
}

/// What the store knows under a key.
#[derive(Debug)]
pub enum Lookup {
    /// A record with every output in place.
    Hit(Box<ActionRecord>),
    /// No usable record.
    Miss,
    /// A record, but an output is gone or has another size.
    Damaged(Damage),
}

/// Which output of a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The output's role.
    pub role: String,
    /// Its digest.
    pub digest: Digest,
    /// `false`: it is not there; `true`: it is there and wrong.
    pub corrupt: bool,
}

impl Store {
    /// Opens the cache at `root`, creating what is missing. One that is there and cannot be written is
    /// read ([`Self::is_writable`]).
    ///
    /// # Errors
    /// [`CacheError::Io`] where a directory cannot be created, [`CacheError::Link`] where one is a link.
    pub fn open(root: &Path) -> CacheResult<Self> {
        for sub in DIRS {
            match make_dir(&root.join(sub)) {
                Err(e) if e.is_read_only() && root.is_dir() => {}
                made => made?,
            }
        }
        // Inputs are handed to child processes by path: make them absolute once.
        let root = std::fs::canonicalize(root).map_err(CacheError::io("open", root))?;
        let writable = DIRS.iter().all(|sub| is_writable(&root.join(sub)));
        Ok(Self {
            root,
            check_content: false,
            writable,
        })
    }

    /// Whether this process may write to the cache. Where it may not, what is cached is used, and whatever must
    /// be written fails with its path.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The same store where every hit also reads and compares the content of its outputs; what is
    /// damaged is set aside.
    #[must_use]
    pub fn checking_content(mut self, check: bool) -> Self {
        self.check_content = check;
        self
    }

    /// The cache directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where what is not whole yet is kept: swept, and never looked at by a hit or by `verify`.
    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where an artifact is.
    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("cas").join(&name[..2]).join(name)
    }

    fn listing_path(&self, digest: &Digest) -> PathBuf {
        self.artifact_path(digest).with_extension("tree")
    }

    pub(crate) fn record_path(&self, key: &Digest) -> PathBuf {
        let name = key.to_string();
        self.root
            .join("ac")
            .join(&name[..2])
            .join(format!("{name}.json"))
    }

    /// Checkpoints of an action that was interrupted.
    pub fn checkpoint_dir(&self, key: &Digest) -> PathBuf {
        self.root.join("ckpt").join(key.to_string())
    }

    /// The record of a key, parsed and of this version, whether or not its outputs are there.
    pub fn record(&self, key: &Digest) -> Option<ActionRecord> {
        let path = self.record_path(key);
        if failpoint::is_late(&path) {
            return None;
        }
        let bytes = read_plain(&path).ok()?;
        ActionRecord::from_file(&bytes).filter(|record| record.key == *key)
    }

    /// Looks a key up: a hit needs a record and every output with its size, and its content where
    /// the store checks that.
    pub fn lookup(&self, key: &Digest) -> Lookup {
        let Some(record) = self.record(key) else {
            return Lookup::Miss;
        };
        for output in &record.outputs {
            match self.state_of(output) {
                State::Sound if self.check_content && !self.is_intact(&output.digest) => {
                    // A failure to set it aside shows when it is made again.
                    let _ = self.quarantine(&output.digest);
                    return Lookup::Damaged(damage(output, true));
                }
                State::Sound => {}
                State::Missing => return Lookup::Damaged(damage(output, false)),
                State::Wrong => return Lookup::Damaged(damage(output, true)),
            }
        }
        Lookup::Hit(Box::new(record))
    }

    fn state_of(&self, output: &OutputRecord) -> State {
        let path = self.artifact_path(&output.digest);
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            return State::Missing;
        };
        match output.form {
            ArtifactForm::File if meta.is_file() && meta.len() == output.bytes => State::Sound,
            ArtifactForm::File => State::Wrong,
            ArtifactForm::Tree if meta.is_file() => match output.packed {
                Some(bytes) if bytes == meta.len() => State::Sound,
                Some(_) => State::Wrong,
                // A record of a time when it was a directory.
                None if self.listing(&output.digest).is_some() => State::Sound,
                None => State::Wrong,
            },
            ArtifactForm::Tree => {
                let Some(entries) = self.listing(&output.digest) else {
                    return State::Wrong;
                };
                if meta.is_dir() && has_sizes(&path, &entries) {
                    State::Sound
                } else {
                    State::Wrong
                }
            }
        }
    }

    /// Whether an output is here with its size.
    pub fn has(&self, output: &OutputRecord) -> bool {
        matches!(self.state_of(output), State::Sound)
    }

    /// Reads an artifact and compares its digest.
    pub fn is_intact(&self, digest: &Digest) -> bool {
        measure_stored(&self.artifact_path(digest)).is_ok_and(|found| found.digest == *digest)
    }

    /// The files of a directory artifact, if its listing is whole.
    pub fn listing(&self, digest: &Digest) -> Option<Vec<TreeEntry>> {
        let files = self.files(digest)?.into_iter();
        Some(files.map(|(entry, _)| entry).collect())
    }

    /// The files of a directory artifact and where their bytes are, if its listing is whole.
    pub fn files(&self, digest: &Digest) -> Option<Vec<(TreeEntry, Piece)>> {
        let path = self.artifact_path(digest);
        let files = match archive::files(&path) {
            Some(files) => files,
            None => {
                let bytes = read_plain(&self.listing_path(digest)).ok()?;
                let entries: Vec<TreeEntry> = serde_json::from_slice(&bytes).ok()?;
                let piece = |e: TreeEntry| (Piece::whole(path.join(&e.path)), e);
                let files = entries.into_iter().map(piece);
                files.map(|(piece, entry)| (entry, piece)).collect()
            }
        };
        (tree_digest(files.iter().map(|(entry, _)| entry)) == *digest).then_some(files)
    }

    /// A directory artifact as a directory, for as long as the value lives: an archive is unpacked to a temporary one.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn laid_out(&self, digest: &Digest) -> CacheResult<LaidOut> {
        let path = self.artifact_path(digest);
        let made = tempfile::tempdir().map_err(CacheError::io("create a directory for", &path))?;
        Ok(match archive::unpack_unless(&path, "", made.path())? {
            true => LaidOut::Unpacked(made),
            false => LaidOut::AsIs(path),
        })
    }

    /// A new private directory on the cache's filesystem.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn new_attempt(&self, key: &Digest) -> CacheResult<PathBuf> {
        let tmp = self.tmp();
        failpoint::reach("attempt.create")
            .and_then(|()| fresh_dir(&tmp, &format!("{}.", key.short())))
            .map_err(CacheError::io("create a directory in", &tmp))
    }

    /// Says that a run uses the store, so that nothing is collected meanwhile. `None` while a
    /// collection is at work.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn try_share(&self) -> CacheResult<Option<KeyLock>> {
        match KeyLock::try_acquire_shared(&self.root.join("gc.lock")) {
            // Nothing can be locked where nothing can be written, and there is nothing to lose.
            Err(e) if !self.writable && e.is_read_only() => Ok(Some(KeyLock::without_kernel())),
            lock => lock,
        }
    }

    /// Takes the store for oneself. `None` while a run uses it. Whether one does cannot be told where the lock
    /// is not [held](KeyLock::is_held) by the kernel.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn try_own(&self) -> CacheResult<Option<KeyLock>> {
        KeyLock::try_acquire(&self.root.join("gc.lock"))
    }

    /// Removes the private directories and half-written files that killed runs left behind, unless
    /// a run is at work or may be.
    pub fn sweep_attempts(&self) {
        if !self.writable {
            return;
        }
        // A lock may not reach the machines that jobs run on: their beats do.
        if let Ok(Some(own)) = self.try_own()
            && own.is_held()
            && self.keys_at_work(SILENCE).is_empty()
        {
            for path in entries(&self.tmp()).unwrap_or_default() {
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
    }

    /// Takes the lock of a key, if it is free.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>> {
        KeyLock::try_acquire(&self.root.join("locks").join(key.to_string()))
    }

    /// Moves a measured and synced artifact into the store. An artifact that is there already, with
    /// the same content, stays; a damaged one is set aside first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn insert(&self, source: &Path, artifact: &Artifact) -> CacheResult<()> {
        sync_path(shard_of(&self.place(source, artifact)?))
    }

    /// As [`Self::insert`], without a sync of what is one file and of the shard; where the artifact is.
    fn place(&self, source: &Path, artifact: &Artifact) -> CacheResult<PathBuf> {
        let output = OutputRecord::new("", None, artifact);
        let io = |e| CacheError::io("rename into the cache", source)(e);
        let target = self.artifact_path(&artifact.digest);
        match self.state_of(&output) {
            State::Sound if self.is_intact(&artifact.digest) => return Ok(target),
            State::Sound | State::Wrong => self.quarantine(&artifact.digest)?,
            State::Missing => {}
        }
        failpoint::reach("insert.begin").map_err(io)?;
        make_read_only(source, artifact)?;
        make_dir(shard_of(&target))?;
        if artifact.form == ArtifactForm::Tree && artifact.packed.is_none() {
            let listing = serde_json::to_vec(&artifact.entries).expect("plain values serialise");
            write_atomic(&self.tmp(), &self.listing_path(&artifact.digest), &listing)?;
        }
        match failpoint::reach("insert.rename").and_then(|()| std::fs::rename(source, &target)) {
            Ok(()) => failpoint::reach("insert.renamed").map_err(io)?,
            // Another process published the same content in between.
            Err(_) if matches!(self.state_of(&output), State::Sound) => {}
            Err(e) => return Err(io(e)),
        }
        Ok(target)
    }

    /// Moves the measured outputs of an action, files and archives, into the store and writes its record: the commit
    /// point. All that the record needs is made durable in one go, then the record is. Outputs that are there already,
    /// with the same content, stay; damaged ones are set aside first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn publish(
        &self,
        outputs: &[(PathBuf, Artifact)],
        record: &ActionRecord,
    ) -> CacheResult<()> {
        // Two outputs of the same content are one artifact.
        let mut placed = BTreeSet::new();
        for (source, artifact) in outputs {
            if !placed.contains(&self.artifact_path(&artifact.digest)) {
                placed.insert(self.place(source, artifact)?);
            }
        }
        let path = self.record_path(&record.key);
        failpoint::reach("commit.begin").map_err(CacheError::io("write", &path))?;
        make_dir(shard_of(&path))?;
        let file = write_fresh(&self.tmp(), &path, &record.to_file())?;
        // An artifact that was there may be another process's, which has not synced it yet.
        let shards: BTreeSet<PathBuf> = placed.iter().map(|p| shard_of(p).into()).collect();
        let needed: Vec<PathBuf> = placed
            .into_iter()
            .chain(shards)
            .chain([file.path().to_path_buf()])
            .collect();
        at_once(&needed, SYNCS, |path| sync_path(path))?;
        failpoint::commits(&path);
        name_fresh(file, &path)?;
        sync_path(shard_of(&path))?;
        failpoint::made(&path);
        failpoint::reach("commit.done").map_err(CacheError::io("write", &path))
    }

    /// Writes the record of a key whose outputs are in the store, or are to be fetched.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn commit(&self, record: &ActionRecord) -> CacheResult<()> {
        self.publish(&[], record)
    }

    /// Sets an artifact aside, so that it is never used again.
    ///
    /// # Errors
    /// [`CacheError::Io`]; [`CacheError::Link`] where its shard is a link: what is beyond it is not ours to move.
    pub fn quarantine(&self, digest: &Digest) -> CacheResult<()> {
        let dir = self.root.join("quarantine");
        make_dir(&dir)?;
        let artifact = self.artifact_path(digest);
        refuse_link(artifact.parent().unwrap_or(&self.root))?;
        for path in [artifact, self.listing_path(digest)] {
            let Some(name) = path.file_name() else {
                continue;
            };
            if std::fs::symlink_metadata(&path).is_err() {
                continue;
            }
            let prefix = format!("{}.", name.to_string_lossy());
            let place =
                fresh_dir(&dir, &prefix).map_err(CacheError::io("create a directory in", &dir))?;
            if let Err(e) = std::fs::rename(&path, place.join(name)) {
                let _ = std::fs::remove_dir(&place);
                // Another process has set it aside.
                if e.kind() != std::io::ErrorKind::NotFound {
                    return Err(CacheError::io("set aside", &path)(e));
                }
            }
        }
        Ok(())
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }
}

/// Whether every listed file is a file of its size. Paths are looked up from the open directory:
/// half of the time of a run with nothing to do goes here.
fn has_sizes(dir: &Path, entries: &[TreeEntry]) -> bool {
    use rustix::fs::{AtFlags, FileType, OFlags};
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(dir) = rustix::fs::open(dir, flags, rustix::fs::Mode::empty()) else {
        return false;
    };
    entries.iter().all(|e| {
        rustix::fs::statat(&dir, &*e.path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|m| {
            FileType::from_raw_mode(m.st_mode) == FileType::RegularFile
                && u64::try_from(m.st_size) == Ok(e.size)
        })
    })
}

/// A directory artifact as a directory.
#[derive(Debug)]
pub enum LaidOut {
    /// In the cache.
    AsIs(PathBuf),
    /// Elsewhere, until this goes.
    Unpacked(tempfile::TempDir),
}

impl LaidOut {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::AsIs(path) => path,
            Self::Unpacked(made) => made.path(),
        }
    }
}

enum State {
    Sound,
    Missing,
    Wrong,
}

fn damage(output: &OutputRecord, corrupt: bool) -> Damage {
    Damage {
        role: output.role.clone(),
        digest: output.digest,
        corrupt,
    }
}

fn make_read_only(source: &Path, artifact: &Artifact) -> CacheResult<()> {
    let read_only = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444))
            .map_err(CacheError::io("chmod", path))
    };
    match artifact.form {
        ArtifactForm::File => read_only(source),
        ArtifactForm::Tree if artifact.packed.is_some() => read_only(source),
        ArtifactForm::Tree => artifact
            .entries
            .iter()
            .try_for_each(|e| read_only(&source.join(&e.path))),
    }
}

/// Files and directories of every shard of `cas/` or `ac/`, sorted. A shard that is a link is none: what it
/// leads to is not ours. A cache that cannot be written may lack the directory.
fn shard_files(dir: &Path) -> CacheResult<Vec<PathBuf>> {
    let mut files = Vec::new();
    for shard in entries(dir)? {
        if is_real_dir(&shard) {
            files.extend(entries(&shard)?);
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a directory; nothing where there is none. A link is refused.
fn entries(dir: &Path) -> CacheResult<Vec<PathBuf>> {
    refuse_link(dir)?;
    match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed
            .and_then(|entries| entries.map(|e| Ok(e?.path())).collect())
            .map_err(CacheError::io("list", dir)),
    }
}

fn refuse_link(path: &Path) -> CacheResult<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(CacheError::Link {
            path: path.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

/// Whether there is a directory that is no link to one.
fn is_real_dir(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

/// Makes a directory of the cache, with those above it.
pub(crate) fn make_dir(path: &Path) -> CacheResult<()> {
    std::fs::create_dir_all(path).map_err(CacheError::io("create", path))?;
    if is_real_dir(path) {
        return Ok(());
    }
    Err(CacheError::Link {
        path: path.to_path_buf(),
    })
}

fn is_writable(dir: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Writes a file so that it is there whole or not at all, also after a power loss:
/// temporary file in `tmp` (on the same file system), fsync, rename, fsync of the directory.
pub(crate) fn write_atomic(tmp: &Path, path: &Path, bytes: &[u8]) -> CacheResult<()> {
    make_dir(shard_of(path))?;
    let file = write_fresh(tmp, path, bytes)?;
    sync_path(file.path())?;
    name_fresh(file, path)?;
    sync_path(shard_of(path))
}

/// Writes the file that will be `path`.
fn write_fresh(tmp: &Path, path: &Path, bytes: &[u8]) -> CacheResult<NamedTempFile> {
    failpoint::reach("write.create")
        .and_then(|()| fresh_file(tmp, ".tmp.", 0o666))
        .and_then(|mut file| file.write_all(bytes).map(|()| file))
        .map_err(CacheError::io("write", path))
}

/// Gives such a file its name.
fn name_fresh(file: NamedTempFile, path: &Path) -> CacheResult<()> {
    failpoint::reach("write.rename")
        .and_then(|()| publish(file, path))
        .and_then(|()| failpoint::reach("write.renamed"))
        .map_err(CacheError::io("write", path))
}

/// The directory of an artifact or a record.
fn shard_of(path: &Path) -> &Path {
    path.parent()
        .expect("a file of the cache is in a directory")
}

#[cfg(test)]
mod tests;
