//! The store: lookup, publish, verify.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::lock::KeyLock;
use crate::record::{ActionRecord, OutputRecord, RECORD_FORMAT};
use crate::tree::{Artifact, ArtifactForm, TreeEntry, measure, sync_path, tree_digest};

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
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

/// What [`Store::verify`] found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Artifacts read and compared.
    pub artifacts: usize,
    /// Records read.
    pub records: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Paths of damaged artifacts and records, relative to the cache, each with the reason.
    pub bad: Vec<(PathBuf, String)>,
}

impl Store {
    /// Opens the cache at `root`, creating what is missing.
    ///
    /// # Errors
    /// [`CacheError::Io`] where a directory cannot be created.
    pub fn open(root: &Path) -> CacheResult<Self> {
        for sub in ["cas", "ac", "tmp", "last", "locks", "runs", "ckpt"] {
            let dir = root.join(sub);
            std::fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
        }
        // Inputs are handed to child processes by path: make them absolute once.
        let root = std::fs::canonicalize(root).map_err(CacheError::io("open", root))?;
        Ok(Self { root })
    }

    /// The cache directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an artifact lies.
    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("cas").join(&name[..2]).join(name)
    }

    fn listing_path(&self, digest: &Digest) -> PathBuf {
        self.artifact_path(digest).with_extension("tree")
    }

    fn record_path(&self, key: &Digest) -> PathBuf {
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
        let bytes = std::fs::read(self.record_path(key)).ok()?;
        let record: ActionRecord = serde_json::from_slice(&bytes).ok()?;
        (record.format == RECORD_FORMAT && record.key == *key).then_some(record)
    }

    /// Looks a key up: a hit needs a record and every output with its size.
    pub fn lookup(&self, key: &Digest) -> Lookup {
        let Some(record) = self.record(key) else {
            return Lookup::Miss;
        };
        for output in &record.outputs {
            match self.state_of(output) {
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
            ArtifactForm::Tree => {
                let Some(entries) = self.listing(&output.digest) else {
                    return State::Wrong;
                };
                let sound = entries.iter().all(|e| {
                    std::fs::symlink_metadata(path.join(&e.path))
                        .is_ok_and(|m| m.is_file() && m.len() == e.size)
                });
                if meta.is_dir() && sound {
                    State::Sound
                } else {
                    State::Wrong
                }
            }
        }
    }

    /// The files of a directory artifact, if its listing is whole.
    pub fn listing(&self, digest: &Digest) -> Option<Vec<TreeEntry>> {
        let bytes = std::fs::read(self.listing_path(digest)).ok()?;
        let entries: Vec<TreeEntry> = serde_json::from_slice(&bytes).ok()?;
        (tree_digest(&entries) == *digest).then_some(entries)
    }

    /// A new private directory on the cache's filesystem.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn new_attempt(&self, key: &Digest) -> CacheResult<PathBuf> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let dir = self.root.join("tmp").join(format!(
            "{}.{}.{nanos:x}.{n}",
            key.short(),
            std::process::id()
        ));
        std::fs::create_dir(&dir).map_err(CacheError::io("create", &dir))?;
        Ok(dir)
    }

    /// Takes the lock of a key, if it is free.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn try_lock(&self, key: &Digest) -> CacheResult<Option<KeyLock>> {
        KeyLock::try_acquire(&self.root.join("locks").join(key.to_string()))
    }

    /// Moves a measured and synced artifact into the store. An artifact that is there already, and
    /// sound, stays; a damaged one is set aside first.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn insert(&self, source: &Path, artifact: &Artifact) -> CacheResult<()> {
        let output = OutputRecord {
            role: String::new(),
            key: None,
            form: artifact.form,
            digest: artifact.digest,
            bytes: artifact.bytes,
        };
        match self.state_of(&output) {
            State::Sound => return Ok(()),
            State::Wrong => self.quarantine(&artifact.digest)?,
            State::Missing => {}
        }
        make_read_only(source, artifact)?;
        let target = self.artifact_path(&artifact.digest);
        let parent = target
            .parent()
            .expect("an artifact lies in a shard directory");
        std::fs::create_dir_all(parent).map_err(CacheError::io("create", parent))?;
        if artifact.form == ArtifactForm::Tree {
            let listing = serde_json::to_vec(&artifact.entries).expect("plain values serialise");
            write_atomic(&self.listing_path(&artifact.digest), &listing)?;
        }
        match std::fs::rename(source, &target) {
            Ok(()) => sync_path(parent),
            // Another process published the same content in between.
            Err(_) if matches!(self.state_of(&output), State::Sound) => Ok(()),
            Err(e) => Err(CacheError::Io {
                verb: "rename into the cache",
                path: source.to_path_buf(),
                source: e,
            }),
        }
    }

    /// Writes the record of a key: the commit point.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn commit(&self, record: &ActionRecord) -> CacheResult<()> {
        let path = self.record_path(&record.key);
        let bytes = serde_json::to_vec_pretty(record).expect("plain values serialise");
        write_atomic(&path, &bytes)
    }

    /// Sets an artifact aside, so that it is never used again.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn quarantine(&self, digest: &Digest) -> CacheResult<()> {
        let dir = self.root.join("quarantine");
        std::fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
        for path in [self.artifact_path(digest), self.listing_path(digest)] {
            let Some(name) = path.file_name() else {
                continue;
            };
            let mut n = 0;
            let target = loop {
                let candidate = dir.join(format!("{}.{n}", name.to_string_lossy()));
                if !candidate.exists() {
                    break candidate;
                }
                n += 1;
            };
            match std::fs::rename(&path, &target) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CacheError::Io {
                        verb: "set aside",
                        path,
                        source: e,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads every artifact and record and compares digests. With `repair`, what is damaged is set
    /// aside, so that the next run makes it again.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the cache cannot be listed.
    pub fn verify(&self, repair: bool) -> CacheResult<VerifyReport> {
        let mut report = VerifyReport::default();
        for path in shard_files(&self.root.join("cas"))? {
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let Ok(digest) = name.parse::<Digest>() else {
                continue;
            };
            report.artifacts += 1;
            let problem = match measure(&path) {
                Ok(found) => {
                    report.bytes += found.bytes;
                    if found.digest != digest {
                        Some(format!("content has digest {}", found.digest.short()))
                    } else if found.form == ArtifactForm::Tree && self.listing(&digest).is_none() {
                        Some("its listing is missing or damaged".to_string())
                    } else {
                        None
                    }
                }
                Err(e) => Some(e.to_string()),
            };
            if let Some(problem) = problem {
                report.bad.push((self.relative(&path), problem));
                if repair {
                    self.quarantine(&digest)?;
                }
            }
        }
        for path in shard_files(&self.root.join("ac"))? {
            report.records += 1;
            let key = path
                .file_stem()
                .and_then(|s| s.to_str())
                .and_then(|s| s.parse::<Digest>().ok());
            if key.is_none_or(|k| self.record(&k).is_none()) {
                report.bad.push((
                    self.relative(&path),
                    "not a readable action record".to_string(),
                ));
                if repair {
                    std::fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
                }
            }
        }
        Ok(report)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
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
        ArtifactForm::Tree => artifact
            .entries
            .iter()
            .try_for_each(|e| read_only(&source.join(&e.path))),
    }
}

fn shard_files(dir: &Path) -> CacheResult<Vec<PathBuf>> {
    let mut files = Vec::new();
    for shard in std::fs::read_dir(dir).map_err(CacheError::io("list", dir))? {
        let shard = shard.map_err(CacheError::io("list", dir))?.path();
        if shard.is_dir() {
            for entry in std::fs::read_dir(&shard).map_err(CacheError::io("list", &shard))? {
                files.push(entry.map_err(CacheError::io("list", &shard))?.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes a file so that it is there whole or not at all, also after a power loss:
/// temporary file, fsync, rename, fsync of the directory.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> CacheResult<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let parent = path
        .parent()
        .expect("a file of the cache lies in a directory");
    std::fs::create_dir_all(parent).map_err(CacheError::io("create", parent))?;
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let tmp = parent.join(format!(".tmp.{}.{n}", std::process::id()));
    let written = std::fs::File::create(&tmp)
        .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&tmp, path));
    if let Err(source) = written {
        let _ = std::fs::remove_file(&tmp);
        return Err(CacheError::Io {
            verb: "write",
            path: path.to_path_buf(),
            source,
        });
    }
    sync_path(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_bytes;
    use crate::tree::measure_synced;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        (dir, store)
    }

    fn publish_tree(store: &Store) -> (Digest, OutputRecord) {
        let key = digest_bytes(b"key");
        let attempt = store.new_attempt(&key).unwrap();
        let out = attempt.join("expr");
        std::fs::create_dir_all(out.join("x/c")).unwrap();
        std::fs::write(out.join("x/c/0"), b"hello").unwrap();
        std::fs::write(out.join("zarr.json"), b"{}").unwrap();
        let artifact = measure_synced(&out).unwrap();
        store.insert(&out, &artifact).unwrap();
        let output = OutputRecord {
            role: "expr".into(),
            key: None,
            form: artifact.form,
            digest: artifact.digest,
            bytes: artifact.bytes,
        };
        let record = ActionRecord {
            format: RECORD_FORMAT,
            key,
            preimage: serde_json::json!({"kind": "test"}),
            outputs: vec![output.clone()],
            metrics: serde_json::json!({}),
            warnings: vec![],
            measured: serde_json::json!({}),
        };
        store.commit(&record).unwrap();
        (key, output)
    }

    #[test]
    fn a_published_action_is_a_hit() {
        let (_dir, store) = store();
        let (key, output) = publish_tree(&store);
        let Lookup::Hit(record) = store.lookup(&key) else {
            panic!("expected a hit")
        };
        assert_eq!(record.outputs, vec![output.clone()]);
        assert_eq!(
            std::fs::read(store.artifact_path(&output.digest).join("x/c/0")).unwrap(),
            b"hello"
        );
        assert!(matches!(
            store.lookup(&digest_bytes(b"other")),
            Lookup::Miss
        ));
    }

    #[test]
    fn a_truncated_or_missing_file_is_damage_and_insert_heals_it() {
        let (_dir, store) = store();
        let (key, output) = publish_tree(&store);
        let file = store.artifact_path(&output.digest).join("x/c/0");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, b"hell").unwrap();
        assert!(matches!(
            store.lookup(&key),
            Lookup::Damaged(Damage { corrupt: true, .. })
        ));
        std::fs::remove_dir_all(store.artifact_path(&output.digest)).unwrap();
        assert!(matches!(
            store.lookup(&key),
            Lookup::Damaged(Damage { corrupt: false, .. })
        ));
        publish_tree(&store);
        assert!(matches!(store.lookup(&key), Lookup::Hit(_)));
    }

    #[test]
    fn verify_finds_a_flipped_bit_and_repair_sets_it_aside() {
        let (_dir, store) = store();
        let (key, output) = publish_tree(&store);
        assert!(store.verify(false).unwrap().bad.is_empty());
        let file = store.artifact_path(&output.digest).join("x/c/0");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, b"hellO").unwrap();
        assert!(
            matches!(store.lookup(&key), Lookup::Hit(_)),
            "same size: only a full read can tell"
        );
        assert_eq!(store.verify(true).unwrap().bad.len(), 1);
        assert!(matches!(
            store.lookup(&key),
            Lookup::Damaged(Damage { corrupt: false, .. })
        ));
    }

    #[test]
    fn links_in_outputs_are_refused() {
        let (dir, store) = store();
        let out = store.new_attempt(&digest_bytes(b"k")).unwrap().join("out");
        std::fs::create_dir(&out).unwrap();
        std::os::unix::fs::symlink(dir.path(), out.join("link")).unwrap();
        assert!(matches!(
            measure_synced(&out),
            Err(CacheError::NotPlain { .. })
        ));
    }

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let (_dir, store) = store();
        let key = digest_bytes(b"k");
        let held = store.try_lock(&key).unwrap().unwrap();
        assert!(store.try_lock(&key).unwrap().is_none());
        drop(held);
        assert!(store.try_lock(&key).unwrap().is_some());
    }

    #[test]
    fn the_digest_of_a_directory_depends_on_paths_and_content_alone() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let root = dir.path().join(name);
            for (path, text) in files {
                let file = root.join(path);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            measure(&root).unwrap().digest
        };
        let a = make("a", &[("x/1", "one"), ("y", "two")]);
        assert_eq!(a, make("b", &[("y", "two"), ("x/1", "one")]));
        assert_ne!(a, make("c", &[("x/2", "one"), ("y", "two")]));
        assert_ne!(a, make("d", &[("x/1", "one"), ("y", "twO")]));
    }
}
