//! Records and artifacts as objects: `ac/aa/<key>.json`, `cas/aa/<digest>` for a file and
//! `cas/aa/<digest>.pack` for a directory.
//!
//! Every call blocks. Each runs on a thread with a small runtime of its own, so what blocks in it blocks nothing else.

use std::future::Future;
use std::io::Read;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};

use super::pack::{Arriving, Packing};
use super::read::Reading;
use super::trouble::Trouble;
use crate::digest::Digest;
use crate::record::{ActionRecord, OutputRecord};
use crate::store::Store;
use crate::tree::{ArtifactForm, measure_synced};

/// Bytes of an object that are held in memory when it is sent; S3 takes 10,000 such parts.
const PART: usize = 16 << 20;
/// Longest record that is read.
const LONGEST_RECORD: u64 = 64 << 20;

/// The objects beneath a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// An object of the listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    pub(crate) written: SystemTime,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self {
            store,
            prefix: Path::from(prefix),
        }
    }

    fn record_at(&self, key: &Digest) -> Path {
        let name = key.to_string();
        let shard = self.prefix.clone().join("ac").join(&name[..2]);
        shard.join(format!("{name}.json"))
    }

    fn artifact_at(&self, digest: &Digest, form: ArtifactForm) -> Path {
        let name = digest.to_string();
        let shard = self.prefix.clone().join("cas").join(&name[..2]);
        match form {
            ArtifactForm::File => shard.join(name),
            ArtifactForm::Tree => shard.join(format!("{name}.pack")),
        }
    }

    /// The record of a key as it is there; `None` where its bytes are no record of that key.
    pub(crate) fn record(&self, key: &Digest) -> Result<Option<ActionRecord>, Trouble> {
        let at = self.record_at(key);
        let bytes = block(async {
            let found = self.store.get(&at).await?;
            if found.meta.size > LONGEST_RECORD {
                return Ok(None);
            }
            Ok::<_, Trouble>(Some(found.bytes().await?))
        })?;
        let record = bytes.and_then(|bytes| ActionRecord::from_file(&bytes));
        Ok(record.filter(|record| record.key == *key))
    }

    /// Whether a record is there.
    pub(crate) fn has_record(&self, key: &Digest) -> Result<bool, Trouble> {
        self.has(&self.record_at(key), |_| true)
    }

    /// Whether an artifact is there, of a plausible length.
    pub(crate) fn has_artifact(&self, output: &OutputRecord) -> Result<bool, Trouble> {
        let at = self.artifact_at(&output.digest, output.form);
        self.has(&at, |meta| match output.form {
            ArtifactForm::File => meta.size == output.bytes,
            ArtifactForm::Tree => meta.size > output.bytes,
        })
    }

    fn has(&self, at: &Path, is_right: impl Fn(&ObjectMeta) -> bool) -> Result<bool, Trouble> {
        match block(async { Ok(self.store.head(at).await?) }) {
            Ok(meta) => Ok(is_right(&meta)),
            Err(Trouble::Absent) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes a record, if there is none or where `replace` says that what is there is worth nothing. Whoever wrote
    /// first counts.
    pub(crate) fn put_record(&self, record: &ActionRecord, replace: bool) -> Result<(), Trouble> {
        let mode = match replace {
            true => PutMode::Overwrite,
            false => PutMode::Create,
        };
        let payload = PutPayload::from(record.to_file());
        let put = block(async {
            let at = self.record_at(&record.key);
            Ok(self
                .store
                .put_opts(&at, payload, PutOptions::from(mode))
                .await?)
        });
        match put {
            Ok(_) | Err(Trouble::Exists | Trouble::Changed) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sends an artifact of the cache; how many bytes that took. It appears whole or not at all.
    pub(crate) fn put_artifact(
        &self,
        store: &Store,
        output: &OutputRecord,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Trouble> {
        let path = store.artifact_path(&output.digest);
        let at = self.artifact_at(&output.digest, output.form);
        let (mut from, bytes): (Box<dyn Read + Send>, u64) = match output.form {
            ArtifactForm::File => {
                let file = crate::plain::open_plain(&path);
                let file = file.map_err(crate::CacheError::io("open", &path));
                (Box::new(file.map_err(Trouble::Here)?), output.bytes)
            }
            ArtifactForm::Tree => {
                let entries = store.listing(&output.digest).unwrap_or_default();
                let (packing, bytes) = Packing::new(&path, entries);
                (Box::new(packing), bytes)
            }
        };
        match block(self.put(&at, from.as_mut(), bytes, &path, is_over)) {
            // Azure drops the parts of an upload when another machine's of the same object ends.
            Err(Trouble::Failed(_)) if bytes > PART as u64 && self.has_artifact(output)? => {
                Ok(bytes)
            }
            put => put.map(|()| bytes),
        }
    }

    async fn put(
        &self,
        at: &Path,
        from: &mut (dyn Read + Send),
        bytes: u64,
        path: &FilePath,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Trouble> {
        let mut next = || -> Result<Vec<u8>, Trouble> {
            let mut part = Vec::with_capacity(PART.min(bytes as usize));
            let read = (&mut *from).take(PART as u64).read_to_end(&mut part);
            read.map_err(crate::CacheError::io("read", path))
                .map_err(Trouble::Here)?;
            Ok(part)
        };
        if bytes <= PART as u64 {
            self.store.put(at, PutPayload::from(next()?)).await?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(at).await?;
        let sent = async {
            loop {
                let part = next()?;
                if part.is_empty() {
                    break;
                }
                if is_over() {
                    return Err(Trouble::Stopped);
                }
                upload.put_part(PutPayload::from(part)).await?;
            }
            upload.complete().await?;
            Ok(())
        }
        .await;
        if sent.is_err() {
            // Best effort: parts that are never completed are seen by nobody.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Fetches an artifact into the cache, compared with its digest; how many bytes came.
    pub(crate) fn fetch(
        &self,
        store: &Store,
        output: &OutputRecord,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Trouble> {
        let attempt = store.new_attempt(&output.digest).map_err(Trouble::Here)?;
        let _removed = RemoveOnDrop(&attempt);
        let to = attempt.join("arriving");
        let arriving = match output.form {
            ArtifactForm::File => Arriving::file(&to, output.bytes),
            ArtifactForm::Tree => Arriving::tree(&to, output.digest, output.bytes),
        }?;
        let at = self.artifact_at(&output.digest, output.form);
        let bytes = block(self.receive(&at, arriving, is_over))?;
        let artifact = measure_synced(&to).map_err(Trouble::Here)?;
        if artifact.digest != output.digest {
            let found = artifact.digest.short();
            return Err(Trouble::Lies(format!("its content has the digest {found}")));
        }
        store.insert(&to, &artifact).map_err(Trouble::Here)?;
        Ok(bytes)
    }

    async fn receive(
        &self,
        at: &Path,
        mut to: Arriving,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Trouble> {
        let mut blocks = self.store.get(at).await?.into_stream();
        let mut bytes = 0;
        while let Some(piece) = blocks.next().await {
            let piece = piece?;
            if is_over() {
                return Err(Trouble::Stopped);
            }
            bytes += piece.len() as u64;
            to.take(&piece)?;
        }
        to.end()?;
        Ok(bytes)
    }

    /// Everything beneath `ac/` or `cas/`.
    pub(crate) fn list(&self, of: &str) -> Result<Vec<Listed>, Trouble> {
        let prefix = self.prefix.clone().join(of);
        block(async {
            let mut found = Vec::new();
            let mut listing = self.store.list(Some(&prefix));
            while let Some(meta) = listing.next().await {
                let meta = meta?;
                let since = meta.last_modified.timestamp().max(0) as u64;
                found.push(Listed {
                    path: meta.location,
                    bytes: meta.size,
                    written: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since),
                });
            }
            Ok(found)
        })
    }

    /// Removes an object; one that is gone already is no error.
    pub(crate) fn delete(&self, at: &Path) -> Result<(), Trouble> {
        match block(async { Ok(self.store.delete(at).await?) }) {
            Err(Trouble::Absent) => Ok(()),
            done => done,
        }
    }

    /// Reads an object whose path is the prefix itself, from byte `from` on and only in the version given.
    pub(crate) fn read_from(
        &self,
        from: u64,
        version: Option<&str>,
        each: &mut (dyn FnMut(Reading) -> bool + Send),
    ) -> Result<(), Trouble> {
        let mut options = GetOptions::new().with_if_match(version.map(str::to_string));
        if from > 0 {
            options.range = Some(object_store::GetRange::Offset(from));
        }
        block(async {
            let found = self.store.get_opts(&self.prefix, options).await?;
            let head = Reading::Head {
                total: found.meta.size,
                version: found.meta.e_tag.clone(),
            };
            if !each(head) {
                return Err(Trouble::Stopped);
            }
            let mut blocks = found.into_stream();
            while let Some(piece) = blocks.next().await {
                if !each(Reading::Block(piece?.into())) {
                    return Err(Trouble::Stopped);
                }
            }
            Ok(())
        })
    }
}

struct RemoveOnDrop<'a>(&'a FilePath);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

/// Waits for `work` on a runtime of its own; on a thread of its own too where this one belongs to a runtime.
fn block<T: Send>(work: impl Future<Output = Result<T, Trouble>> + Send) -> Result<T, Trouble> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| Trouble::Failed(format!("no runtime: {e}")))?;
        runtime.block_on(work)
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    std::thread::scope(|scope| {
        let ended = scope.spawn(run).join();
        ended.unwrap_or_else(|_| Err(Trouble::Failed("the client panicked".to_string())))
    })
}
