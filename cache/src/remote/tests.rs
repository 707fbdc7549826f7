//! The layer over a store in memory that fails, lies and dawdles on demand.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path as At;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::gc::collect;
use super::layered::Layered;
use super::objects::Objects;
use super::trouble::Trouble;
use super::*;
use crate::digest::digest_bytes;
use crate::record::{ActionRecord, OutputRecord, RECORD_FORMAT};
use crate::store::{Lookup, Store};
use crate::tree::measure_synced;
use crate::{ActionStore, NotBrought};

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Nothing can be reached.
    Down,
    /// Nothing may be read or written.
    Refuses,
    /// Nothing may be written.
    RefusesWrites,
    /// Artifacts end early.
    Truncates,
    /// A byte of each artifact is another one.
    Flips,
    /// Artifacts are longer than they should be.
    Lengthens,
    /// Every call takes a while.
    Dawdles,
    /// Only so many parts of an upload arrive.
    BreaksUploads,
    /// Another machine ends its upload of the same object in between, and ours is refused.
    Outrun,
}

#[derive(Debug, Clone)]
struct Faulty {
    inner: Arc<InMemory>,
    fault: Arc<Mutex<Fault>>,
    gets: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    fn new() -> Self {
        Self {
            inner: Arc::new(InMemory::new()),
            fault: Arc::new(Mutex::new(Fault::Nothing)),
            gets: Arc::default(),
            puts: Arc::default(),
        }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn check(&self, writes: bool, path: &At) -> object_store::Result<Fault> {
        let fault = self.fault();
        let source = || "no".to_string().into();
        match fault {
            Fault::Down => Err(object_store::Error::Generic {
                store: "faulty",
                source: source(),
            }),
            Fault::RefusesWrites if !writes => Ok(fault),
            Fault::Refuses | Fault::RefusesWrites => Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "status code: 403 Forbidden: <Code>AccessDenied</Code>".into(),
            }),
            Fault::Dawdles => {
                std::thread::sleep(Duration::from_millis(20));
                Ok(fault)
            }
            _ => Ok(fault),
        }
    }

    /// Every object, with its length.
    fn objects(&self) -> Vec<(String, u64)> {
        let objects = Objects::new(Arc::new(self.clone()), "lab/x");
        let mut all = objects.list("ac").unwrap();
        all.extend(objects.list("cas").unwrap());
        all.into_iter()
            .map(|l| (l.path.to_string(), l.bytes))
            .collect()
    }

    fn count(&self, of: &str) -> usize {
        let all = self.objects();
        all.iter().filter(|(path, _)| path.starts_with(of)).count()
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &At,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.check(true, location)?;
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &At,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.check(true, location)?;
        self.puts.fetch_add(1, Ordering::Relaxed);
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        let breaks = self.fault() == Fault::BreaksUploads;
        Ok(Box::new(Breaking {
            inner,
            left: if breaks { 1 } else { usize::MAX },
            outrun: self.fault() == Fault::Outrun,
        }))
    }

    async fn get_opts(
        &self,
        location: &At,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let fault = self.check(false, location)?;
        self.gets.fetch_add(1, Ordering::Relaxed);
        let head = options.head;
        let mut found = self.inner.get_opts(location, options).await?;
        if head || !location.to_string().contains("cas/") {
            return Ok(found);
        }
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let attributes = std::mem::take(&mut found.attributes);
        let mut bytes = found.bytes().await?.to_vec();
        match fault {
            Fault::Truncates => bytes.truncate(bytes.len() - 1),
            Fault::Flips => *bytes.last_mut().unwrap() ^= 1,
            Fault::Lengthens => bytes.push(0),
            _ => {}
        }
        let pieces: Vec<_> = bytes
            .chunks(7)
            .map(|c| Ok(bytes::Bytes::copy_from_slice(c)))
            .collect();
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(pieces).boxed()),
            meta,
            range,
            attributes,
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<At>>,
    ) -> BoxStream<'static, object_store::Result<At>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&At>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&At>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &At, to: &At, o: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, o).await
    }
}

/// An upload that breaks off after a few parts, or is refused at its end.
#[derive(Debug)]
struct Breaking {
    inner: Box<dyn MultipartUpload>,
    left: usize,
    outrun: bool,
}

#[async_trait::async_trait]
impl MultipartUpload for Breaking {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        if self.left == 0 {
            let e = object_store::Error::Generic {
                store: "faulty",
                source: "broken".into(),
            };
            return Box::pin(async { Err(e) });
        }
        self.left -= 1;
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let done = self.inner.complete().await;
        match self.outrun {
            false => done,
            true => Err(object_store::Error::Generic {
                store: "faulty",
                source: "status code: 400 Bad Request: <Code>InvalidBlockList</Code>".into(),
            }),
        }
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.inner.abort().await
    }
}

/// A cache with what an action of `name` makes: a file and a directory.
struct Machine {
    dir: tempfile::TempDir,
    store: Store,
    layered: Layered,
}

fn machine(bucket: &Faulty, mode: RemoteMode) -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let objects = Objects::new(Arc::new(bucket.clone()), "lab/x");
    let how = RemoteUse {
        mode,
        keeps_records: true,
    };
    let layered = Layered::over(
        store.clone(),
        Some(objects),
        Scheme::S3,
        "s3://lab/x".to_string(),
        how,
    );
    Machine {
        dir,
        store,
        layered,
    }
}

impl Machine {
    fn make_sized(&self, name: &str, bytes: usize) -> ActionRecord {
        let key = digest_bytes(name.as_bytes());
        let out = self.store.new_attempt(&key).unwrap();
        std::fs::create_dir_all(out.join("expr/c")).unwrap();
        for i in 0..20 {
            std::fs::write(out.join(format!("expr/c/{i}")), format!("{name}{i}")).unwrap();
        }
        std::fs::write(out.join("table"), name.repeat(bytes / name.len())).unwrap();
        let mut outputs = Vec::new();
        for role in ["expr", "table"] {
            let artifact = measure_synced(&out.join(role)).unwrap();
            self.store.insert(&out.join(role), &artifact).unwrap();
            outputs.push(OutputRecord {
                role: role.to_string(),
                key: None,
                form: artifact.form,
                digest: artifact.digest,
                bytes: artifact.bytes,
            });
        }
        let record = ActionRecord {
            format: RECORD_FORMAT,
            key,
            preimage: serde_json::json!({"kind": "test"}),
            outputs,
            metrics: serde_json::json!({}),
            warnings: vec![],
            measured: serde_json::json!({}),
        };
        self.store.commit(&record).unwrap();
        record
    }

    fn make(&self, name: &str) -> ActionRecord {
        self.make_sized(name, 100)
    }

    /// Makes and sends.
    fn share(&self, name: &str) -> ActionRecord {
        let record = self.make(name);
        self.layered.share(&record);
        self.sent();
        record
    }

    fn sent(&self) {
        assert!(self.layered.wait_sent(Duration::from_secs(60)));
    }

    fn bring(&self, record: &ActionRecord) -> Result<(), NotBrought> {
        let digests: Vec<_> = record.outputs.iter().map(|o| o.digest).collect();
        self.layered.bring(&digests, &|| false)
    }

    fn hits(&self, record: &ActionRecord) -> bool {
        matches!(self.layered.lookup(&record.key), Lookup::Hit(_))
    }

    fn troubles(&self) -> Vec<String> {
        let news = self.layered.news().into_iter();
        news.filter_map(|n| match n {
            RemoteNews::Trouble(text) => Some(text),
            _ => None,
        })
        .collect()
    }

    /// Nothing half written is in the cache.
    fn is_clean(&self) {
        assert!(self.store.verify(false).unwrap().bad.is_empty());
        let tmp = self.dir.path().join("cache/tmp");
        let left: Vec<_> = std::fs::read_dir(tmp)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.join("arriving").exists())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_second_machine_has_what_the_first_made_and_only_what_it_reads_travels() {
    let bucket = Faulty::new();
    let (a, b) = (
        machine(&bucket, RemoteMode::Write),
        machine(&bucket, RemoteMode::Write),
    );
    let record = a.share("one");
    assert_eq!(a.layered.moved().sent, 1);
    assert_eq!(a.layered.moved().sent_artifacts, 2);
    // One object for the record, one for the file, one for the directory of twenty files.
    assert_eq!(
        (bucket.count("lab/x/ac"), bucket.count("lab/x/cas")),
        (1, 2)
    );
    assert!(b.hits(&record));
    assert!(b.layered.is_elsewhere(&record));
    assert!(!b.store.has(&record.outputs[0]), "fetched when it is read");
    assert!(matches!(b.store.lookup(&record.key), Lookup::Damaged(_)));
    let table = record.outputs[1].digest;
    b.layered.bring(&[table], &|| false).unwrap();
    assert!(b.store.has(&record.outputs[1]) && !b.store.has(&record.outputs[0]));
    b.bring(&record).unwrap();
    assert!(!b.layered.is_elsewhere(&record));
    let Lookup::Hit(found) = b.store.lookup(&record.key) else {
        panic!("a hit without the remote");
    };
    assert_eq!(*found, record);
    for output in &record.outputs {
        let of = |m: &Machine| crate::measure(&m.store.artifact_path(&output.digest)).unwrap();
        assert_eq!(of(&a), of(&b));
    }
    let moved = b.layered.moved();
    assert_eq!(
        (moved.found, moved.fetched_artifacts, moved.sent),
        (1, 2, 0)
    );
    assert_eq!(moved.fetched_bytes, a.layered.moved().sent_bytes);
    b.is_clean();
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let objects = Objects::new(Arc::new(bucket.clone()), "lab/x");
    let how = RemoteUse {
        mode: RemoteMode::Read,
        keeps_records: false,
    };
    let layered = Layered::over(store.clone(), Some(objects), Scheme::S3, "x".into(), how);
    assert!(matches!(layered.lookup(&record.key), Lookup::Hit(_)));
    assert!(store.record(&record.key).is_none());
}

#[test]
fn what_was_here_before_is_sent_and_what_is_there_is_not_sent_again() {
    let bucket = Faulty::new();
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.make("one");
    assert!(a.hits(&record));
    a.sent();
    assert_eq!(a.layered.moved().sent, 1);
    let again = machine(&bucket, RemoteMode::Write);
    let same = again.make("one");
    assert!(again.hits(&same) && again.hits(&same));
    again.sent();
    assert_eq!(again.layered.moved(), Transfer::default());
    // A reader sends nothing.
    let reader = machine(&bucket, RemoteMode::Read);
    let other = reader.make("two");
    assert!(reader.hits(&other));
    reader.layered.share(&other);
    reader.sent();
    assert_eq!(bucket.count("lab/x/ac"), 1);
}

#[test]
fn of_two_writers_the_first_counts_and_both_go_on() {
    let bucket = Faulty::new();
    let machines: Vec<Machine> = (0..4)
        .map(|_| machine(&bucket, RemoteMode::Write))
        .collect();
    let records: Vec<ActionRecord> = machines
        .iter()
        .enumerate()
        .map(|(i, m)| {
            let mut record = m.make("one");
            record.metrics = serde_json::json!({"writer": i});
            record
        })
        .collect();
    std::thread::scope(|scope| {
        for (m, r) in machines.iter().zip(&records) {
            scope.spawn(move || m.layered.share(r));
        }
    });
    machines.iter().for_each(Machine::sent);
    assert!(machines.iter().all(|m| m.troubles().is_empty()));
    assert_eq!(
        (bucket.count("lab/x/ac"), bucket.count("lab/x/cas")),
        (1, 2)
    );
    let reader = machine(&bucket, RemoteMode::Read);
    let Lookup::Hit(found) = reader.layered.lookup(&records[0].key) else {
        panic!("a hit");
    };
    assert!(records.contains(&found));
    // Whoever comes later leaves it as it is.
    let mut late = records[0].clone();
    late.metrics = serde_json::json!({"writer": "late"});
    machines[0].layered.share(&late);
    machines[0].sent();
    let Lookup::Hit(kept) = machine(&bucket, RemoteMode::Read).layered.lookup(&late.key) else {
        panic!("a hit");
    };
    assert_eq!(kept, found);
}

#[test]
fn a_damaged_object_is_not_believed_and_is_replaced_by_whoever_makes_it_again() {
    for fault in [Fault::Truncates, Fault::Flips, Fault::Lengthens] {
        let bucket = Faulty::new();
        let record = machine(&bucket, RemoteMode::Write).share("one");
        let b = machine(&bucket, RemoteMode::Write);
        assert!(b.hits(&record));
        bucket.set(fault);
        let Err(NotBrought::Gone(gone)) = b.bring(&record) else {
            panic!("{fault:?}: not believed");
        };
        assert_eq!(gone.len(), 2);
        b.is_clean();
        assert!(record.outputs.iter().all(|o| !b.store.has(o)));
        let troubles = b.troubles();
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles[0].contains("is damaged"), "{troubles:?}");
        // It is not asked for again, and made here.
        assert!(!b.hits(&record));
        bucket.set(Fault::Nothing);
        let puts = bucket.puts.load(Ordering::Relaxed);
        b.share("one");
        assert_eq!(
            bucket.puts.load(Ordering::Relaxed) - puts,
            3,
            "all replaced"
        );
        let c = machine(&bucket, RemoteMode::Read);
        assert!(c.hits(&record));
        c.bring(&record).unwrap();
    }
}

#[test]
fn a_damaged_record_is_a_miss_and_is_replaced() {
    let bucket = Faulty::new();
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.share("one");
    let name = record.key.to_string();
    let at = At::from(format!("lab/x/ac/{}/{name}.json", &name[..2]));
    let put = |bytes: Vec<u8>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let put = bucket.inner.put(&at, PutPayload::from(bytes));
        runtime.unwrap().block_on(put).unwrap();
    };
    let other = record_file(&a.make("two"));
    for bytes in [
        vec![],
        b"{}".to_vec(),
        record_file(&record)[..50].to_vec(),
        other,
    ] {
        put(bytes);
        let b = machine(&bucket, RemoteMode::Write);
        assert!(!b.hits(&record));
        assert!(b.troubles()[0].contains("the record of"));
        b.share("one");
        assert!(machine(&bucket, RemoteMode::Read).hits(&record));
    }
}

fn record_file(record: &ActionRecord) -> Vec<u8> {
    record.to_file()
}

#[test]
fn an_object_that_is_gone_is_made_again() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    let b = machine(&bucket, RemoteMode::Write);
    assert!(b.hits(&record));
    let objects = Objects::new(Arc::new(bucket.clone()), "lab/x");
    for listed in objects.list("cas").unwrap() {
        objects.delete(&listed.path).unwrap();
    }
    assert!(matches!(b.bring(&record), Err(NotBrought::Gone(_))));
    assert!(b.troubles()[0].contains("is gone"));
    assert!(!b.hits(&record));
    b.share("one");
    let c = machine(&bucket, RemoteMode::Read);
    assert!(c.hits(&record));
    c.bring(&record).unwrap();
}

#[test]
fn an_outage_sets_it_aside_for_the_run_and_is_said_once() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    let b = machine(&bucket, RemoteMode::Write);
    assert!(b.hits(&record));
    bucket.set(Fault::Down);
    assert!(matches!(b.bring(&record), Err(NotBrought::Gone(_))));
    let troubles = b.troubles();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].starts_with("s3://lab/x: "), "{troubles:?}");
    assert!(troubles[0].contains("not used any more in this run"));
    bucket.set(Fault::Nothing);
    let gets = bucket.gets.load(Ordering::Relaxed);
    assert!(!b.hits(&record));
    b.share("one");
    b.share("two");
    assert!(b.troubles().is_empty());
    assert_eq!(
        bucket.gets.load(Ordering::Relaxed),
        gets,
        "nothing is asked of it"
    );
    assert_eq!(b.layered.moved().unsent, 2);
    // The next run uses it again.
    let c = machine(&bucket, RemoteMode::Write);
    assert!(c.hits(&record));
}

#[test]
fn refused_credentials_are_said_with_what_to_do() {
    let bucket = Faulty::new();
    bucket.set(Fault::Refuses);
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.make("one");
    assert!(!a.hits(&ActionRecord {
        key: digest_bytes(b"other"),
        ..record.clone()
    }));
    let troubles = a.troubles();
    assert_eq!(troubles.len(), 1);
    assert!(
        troubles[0].contains("403 Forbidden (AccessDenied)"),
        "{troubles:?}"
    );
    assert!(troubles[0].contains("AWS_ACCESS_KEY_ID"), "{troubles:?}");
}

#[test]
fn who_may_only_read_goes_on_reading() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    bucket.set(Fault::RefusesWrites);
    let b = machine(&bucket, RemoteMode::Write);
    b.share("two");
    b.share("three");
    let troubles = b.troubles();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].contains("nothing more is sent"), "{troubles:?}");
    assert!(b.hits(&record));
    b.bring(&record).unwrap();
    assert_eq!(b.layered.moved().unsent, 2);
}

#[test]
fn a_slow_remote_is_waited_for_and_many_ask_once() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    bucket.set(Fault::Dawdles);
    let b = machine(&bucket, RemoteMode::Read);
    assert!(b.hits(&record));
    let gets = bucket.gets.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| b.bring(&record).unwrap());
        }
    });
    assert_eq!(bucket.gets.load(Ordering::Relaxed) - gets, 2);
    assert_eq!(b.layered.moved().fetched_artifacts, 2);
}

#[test]
fn a_fetch_that_is_broken_off_leaves_nothing() {
    let bucket = Faulty::new();
    let record = machine(&bucket, RemoteMode::Write).share("one");
    let b = machine(&bucket, RemoteMode::Read);
    assert!(b.hits(&record));
    let digests: Vec<_> = record.outputs.iter().map(|o| o.digest).collect();
    let asked = AtomicUsize::new(0);
    let is_over = || asked.fetch_add(1, Ordering::Relaxed) > 3;
    let brought = b.layered.bring(&digests, &is_over);
    assert!(matches!(brought, Err(NotBrought::Stopped)));
    b.is_clean();
    assert!(b.troubles().is_empty());
    b.bring(&record).unwrap();
}

#[test]
fn an_upload_that_another_machine_outruns_is_no_trouble() {
    let bucket = Faulty::new();
    bucket.set(Fault::Outrun);
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.make_sized("long", 40 << 20);
    a.layered.share(&record);
    a.sent();
    assert!(a.troubles().is_empty());
    assert_eq!(a.layered.moved().unsent, 0);
    let b = machine(&bucket, RemoteMode::Read);
    assert!(b.hits(&record));
    b.bring(&record).unwrap();
    b.is_clean();
}

#[test]
fn a_broken_upload_is_seen_by_nobody() {
    let bucket = Faulty::new();
    bucket.set(Fault::BreaksUploads);
    let a = machine(&bucket, RemoteMode::Write);
    // Three parts.
    let record = a.make_sized("long", 40 << 20);
    a.layered.share(&record);
    a.sent();
    assert_eq!(a.troubles().len(), 1);
    assert_eq!(bucket.count("lab/x/ac"), 0);
    let parts = bucket.objects();
    assert!(parts.iter().all(|(_, bytes)| *bytes < 1 << 20), "{parts:?}");
    bucket.set(Fault::Nothing);
    let b = machine(&bucket, RemoteMode::Write);
    assert!(!b.hits(&record));
    let same = b.make_sized("long", 40 << 20);
    b.layered.share(&same);
    b.sent();
    let c = machine(&bucket, RemoteMode::Read);
    assert!(c.hits(&record));
    c.bring(&record).unwrap();
    c.is_clean();
}

#[test]
fn what_has_rotted_here_is_not_sent() {
    let bucket = Faulty::new();
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.make("one");
    let path = a.store.artifact_path(&record.outputs[1].digest);
    let rotten = "x".repeat(std::fs::read(&path).unwrap().len());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, rotten).unwrap();
    assert!(a.hits(&record), "the size is right");
    a.sent();
    assert_eq!(bucket.count("lab/x/ac"), 0);
    assert_eq!(a.layered.moved().sent, 0);
}

#[test]
fn a_damaged_artifact_here_comes_from_there() {
    let bucket = Faulty::new();
    let a = machine(&bucket, RemoteMode::Write);
    let record = a.share("one");
    a.layered.quarantine(&record.outputs[0].digest).unwrap();
    assert!(a.hits(&record));
    a.bring(&record).unwrap();
    assert!(matches!(a.store.lookup(&record.key), Lookup::Hit(_)));
    a.is_clean();
}

#[test]
fn a_collection_drops_by_age_and_what_no_record_names() {
    let bucket = Faulty::new();
    let a = machine(&bucket, RemoteMode::Write);
    let (one, _) = (a.share("one"), a.share("two"));
    let objects = Objects::new(Arc::new(bucket.clone()), "lab/x");
    let zero = Duration::ZERO;
    let none = collect(&objects, None, zero, false).unwrap();
    assert_eq!((none.records, none.artifacts), ((2, 0), (4, 0)));
    // A record that is none goes, and then what only it named.
    let at = objects.list("ac").unwrap();
    let at = at
        .iter()
        .find(|l| l.path.to_string().contains(&one.key.to_string()));
    let put = bucket
        .inner
        .put(&at.unwrap().path, PutPayload::from_static(b"no"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(put).unwrap();
    let dry = collect(&objects, None, zero, true).unwrap();
    assert_eq!((dry.records, dry.artifacts), ((1, 1), (2, 2)));
    assert_eq!(bucket.count("lab/x/cas"), 4, "a dry run removes nothing");
    // What is young may belong to a record that is on its way.
    let young = collect(&objects, None, Duration::from_secs(3600), false).unwrap();
    assert_eq!((young.records, young.artifacts), ((1, 1), (4, 0)));
    let done = collect(&objects, None, zero, false).unwrap();
    assert_eq!((done.records, done.artifacts), ((1, 0), (2, 2)));
    let all = collect(&objects, Some(zero), zero, false).unwrap();
    assert_eq!((all.records, all.artifacts), ((0, 1), (0, 2)));
    assert!(bucket.objects().is_empty());
}

#[test]
fn a_folder_is_a_remote_too() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared lab");
    let address: Address = format!("file://{}", shared.display()).parse().unwrap();
    let how = RemoteUse {
        mode: RemoteMode::Write,
        keeps_records: true,
    };
    let over = |name: &str| {
        let store = Store::open(&dir.path().join(name)).unwrap();
        (store.clone(), Layered::open(store, &address, how))
    };
    let bucket = Faulty::new();
    let made = machine(&bucket, RemoteMode::Read);
    let record = made.make_sized("one", 40 << 20);
    let first = Layered::open(made.store.clone(), &address, how);
    first.share(&record);
    assert!(first.wait_sent(Duration::from_secs(60)));
    assert!(
        first
            .news()
            .iter()
            .all(|n| matches!(n, RemoteNews::Sent { .. }))
    );
    let (store, second) = over("second");
    assert!(matches!(second.lookup(&record.key), Lookup::Hit(_)));
    let digests: Vec<_> = record.outputs.iter().map(|o| o.digest).collect();
    second.bring(&digests, &|| false).unwrap();
    assert!(matches!(store.lookup(&record.key), Lookup::Hit(_)));
    assert!(store.verify(false).unwrap().bad.is_empty());
    let report = collect_remote(&address, Some(Duration::from_secs(3600)), true).unwrap();
    assert_eq!((report.records, report.artifacts), ((1, 0), (2, 0)));
}

#[test]
fn an_object_is_read_from_a_byte_on_and_only_in_its_version() {
    let bucket = Faulty::new();
    let objects = Objects::new(Arc::new(bucket.clone()), "counts.tsv");
    let put = |text: &'static str| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let at = At::from("counts.tsv");
        let payload = PutPayload::from_static(text.as_bytes());
        runtime.block_on(bucket.inner.put(&at, payload)).unwrap();
    };
    put("0123456789");
    let read = |from, version: Option<&str>| {
        let (mut all, mut tag) = (Vec::new(), None);
        let read = objects.read_from(from, version, &mut |piece| {
            match piece {
                Reading::Head { total, version } => {
                    assert_eq!(total, 10);
                    tag = version;
                }
                Reading::Block(bytes) => all.extend(bytes),
            }
            true
        });
        read.map(|()| (String::from_utf8(all).unwrap(), tag.unwrap()))
    };
    let (all, version) = read(0, None).unwrap();
    assert_eq!(all, "0123456789");
    assert_eq!(read(7, Some(&version)).unwrap().0, "789");
    put("abcdefghij");
    assert!(matches!(read(7, Some(&version)), Err(Trouble::Changed)));
}
