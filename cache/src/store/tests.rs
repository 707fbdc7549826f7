//! Publish, look up, damage, verify, collect.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::archive::pack;
use crate::digest::digest_bytes;
use crate::record::RECORD_FORMAT;
use crate::tree::{measure, measure_synced};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    (dir, store)
}

/// A directory as earlier versions published it.
fn publish_tree(store: &Store) -> (Digest, OutputRecord) {
    let key = digest_bytes(b"key");
    let attempt = store.new_attempt(&key).unwrap();
    let out = attempt.join("expr");
    std::fs::create_dir_all(out.join("x/c")).unwrap();
    std::fs::write(out.join("x/c/0"), b"hello").unwrap();
    std::fs::write(out.join("zarr.json"), b"{}").unwrap();
    let artifact = measure_synced(&out).unwrap();
    store.insert(&out, &artifact).unwrap();
    let output = OutputRecord::new("expr", None, &artifact);
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

/// The same directory as an archive, under another key.
fn publish_packed(store: &Store) -> (Digest, OutputRecord) {
    let key = digest_bytes(b"another key");
    let attempt = store.new_attempt(&key).unwrap();
    let out = attempt.join("expr");
    std::fs::create_dir_all(out.join("x/c")).unwrap();
    std::fs::write(out.join("x/c/0"), b"hello").unwrap();
    std::fs::write(out.join("zarr.json"), b"{}").unwrap();
    let packed = attempt.join("packed");
    let artifact = pack(&out, &packed).unwrap();
    let output = OutputRecord::new("expr", None, &artifact);
    let record = ActionRecord {
        format: RECORD_FORMAT,
        key,
        preimage: serde_json::json!({"kind": "test"}),
        outputs: vec![output.clone(), output.clone()],
        metrics: serde_json::json!({}),
        warnings: vec![],
        measured: serde_json::json!({}),
    };
    let twice = [(packed.clone(), artifact.clone()), (packed, artifact)];
    store.publish(&twice, &record).unwrap();
    (key, output)
}

#[test]
fn a_directory_is_one_file_and_is_found_out_when_it_is_cut_or_gone() {
    let (_dir, store) = store();
    let (key, output) = publish_packed(&store);
    let file = store.artifact_path(&output.digest);
    assert!(hits(&store, &key) && file.is_file());
    let shard = std::fs::read_dir(file.parent().unwrap()).unwrap();
    assert_eq!(shard.count(), 1, "no listing beside it");
    let bytes = std::fs::read(&file).unwrap();
    let write = |bytes: &[u8]| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, bytes).unwrap();
    };
    let is_corrupt = |found| matches!(found, Lookup::Damaged(Damage { corrupt, .. }) if corrupt);
    write(&bytes[..bytes.len() - 1]);
    assert!(is_corrupt(store.lookup(&key)));
    // Of the same size: only a full read can tell.
    let mut rotten = bytes.clone();
    rotten[60] ^= 1;
    write(&rotten);
    assert!(hits(&store, &key));
    assert_eq!(store.verify(false).unwrap().bad.len(), 1);
    let checking = store.clone().checking_content(true);
    assert!(is_corrupt(checking.lookup(&key)));
    assert!(!file.exists());
    assert!(matches!(
        store.lookup(&key),
        Lookup::Damaged(Damage { corrupt: false, .. })
    ));
    publish_packed(&store);
    assert!(hits(&checking, &key));
    assert!(store.verify(false).unwrap().bad.is_empty());
}

#[test]
fn records_do_not_mind_whether_a_directory_is_one_file() {
    // Published as a directory first, then as an archive: the directory stays, and both are hits.
    let (_dir, one) = store();
    let (old, output) = publish_tree(&one);
    let (new, again) = publish_packed(&one);
    assert_eq!(output.digest, again.digest);
    assert!(one.artifact_path(&output.digest).is_dir());
    assert!(hits(&one, &old) && hits(&one, &new));
    let listed = one.listing(&output.digest).unwrap();
    // The other way round.
    let (_dir, other) = store();
    let (new, _) = publish_packed(&other);
    let (old, _) = publish_tree(&other);
    assert!(other.artifact_path(&output.digest).is_file());
    assert!(hits(&other, &old) && hits(&other, &new));
    assert_eq!(other.listing(&output.digest).unwrap(), listed);
    // An archive that is none any more is found out by the old record too.
    let file = other.artifact_path(&output.digest);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0; bytes.len()]).unwrap();
    assert!(!hits(&other, &old));
    for store in [&one, &other] {
        let laid_out = store.laid_out(&output.digest);
        let read = laid_out.map(|dir| std::fs::read(dir.path().join("x/c/0")));
        assert_eq!(read.unwrap().is_ok(), store.root() == one.root());
    }
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

/// A file artifact of `bytes` under a key of its own.
fn publish_file(store: &Store, name: &str, bytes: &[u8]) -> Digest {
    let key = digest_bytes(name.as_bytes());
    let attempt = store.new_attempt(&key).unwrap();
    let out = attempt.join("table");
    std::fs::write(&out, bytes).unwrap();
    let artifact = measure_synced(&out).unwrap();
    store.insert(&out, &artifact).unwrap();
    let record = ActionRecord {
        format: RECORD_FORMAT,
        key,
        preimage: serde_json::json!({"kind": name}),
        outputs: vec![OutputRecord::new("table", None, &artifact)],
        metrics: serde_json::json!({}),
        warnings: vec![],
        measured: serde_json::json!({}),
    };
    store.commit(&record).unwrap();
    std::fs::remove_dir_all(&attempt).unwrap();
    key
}

fn hits(store: &Store, key: &Digest) -> bool {
    matches!(store.lookup(key), Lookup::Hit(_))
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_a_miss() {
    let (_dir, store) = store();
    let key = publish_file(&store, "a", b"aaaa");
    let path = store.record_path(&key);
    let bytes = std::fs::read(&path).unwrap();
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1 << (i % 8);
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(store.lookup(&key), Lookup::Miss), "byte {i}");
    }
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(matches!(store.lookup(&key), Lookup::Miss), "cut at {cut}");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert!(hits(&store, &key));
}

#[test]
fn making_the_same_content_again_replaces_a_rotten_copy() {
    let (_dir, store) = store();
    let (key, output) = publish_tree(&store);
    let file = store.artifact_path(&output.digest).join("x/c/0");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, b"hellO").unwrap();
    let checking = store.clone().checking_content(true);
    assert!(matches!(
        checking.lookup(&key),
        Lookup::Damaged(Damage { corrupt: true, .. })
    ));
    publish_tree(&store);
    assert!(hits(&checking, &key));
}

#[test]
fn collection_drops_what_was_used_longest_ago_and_keeps_shared_artifacts() {
    let (_dir, store) = store();
    let old = publish_file(&store, "old", b"shared");
    let mid = publish_file(&store, "mid", b"middle-sized");
    let new = publish_file(&store, "new", b"shared");
    let last_used = BTreeMap::from([(old, 1), (mid, 2), (new, 3)]);
    let policy = |max_bytes, dry_run| GcPolicy {
        max_bytes: Some(max_bytes),
        last_used: last_used.clone(),
        dry_run,
        ..GcPolicy::default()
    };
    // 6 + 12 bytes are there. Dropping `old` frees nothing, as `new` has the same artifact.
    let said = store.collect(&policy(17, true)).unwrap();
    assert_eq!((said.records, said.kept_bytes), ((1, 2), 6));
    assert!(
        hits(&store, &old) && hits(&store, &mid),
        "a dry run removes nothing"
    );
    let done = store.collect(&policy(17, false)).unwrap();
    assert_eq!(done.records, said.records);
    assert_eq!(done.freed_bytes, said.freed_bytes);
    assert!(!hits(&store, &old) && !hits(&store, &mid) && hits(&store, &new));
    assert!(store.verify(false).unwrap().bad.is_empty());
}

#[test]
fn collection_removes_orphans_and_leftovers_and_nothing_else() {
    let (_dir, store) = store();
    let kept = publish_file(&store, "kept", b"kept");
    let gone = publish_file(&store, "gone", b"gone");
    store.new_attempt(&kept).unwrap();
    let policy = GcPolicy {
        keep: Some(BTreeSet::from([kept])),
        ..GcPolicy::default()
    };
    let report = store.collect(&policy).unwrap();
    assert_eq!(report.records, (1, 1));
    assert!(hits(&store, &kept) && matches!(store.lookup(&gone), Lookup::Miss));
    assert_eq!(
        std::fs::read_dir(store.root().join("tmp")).unwrap().count(),
        0
    );
    assert!(store.collect(&policy).unwrap().items.is_empty());
}

#[test]
fn runs_share_the_store_and_a_collection_has_it_alone() {
    let (_dir, store) = store();
    let a = store.try_share().unwrap().unwrap();
    let _b = store.try_share().unwrap().unwrap();
    assert!(store.try_own().unwrap().is_none());
    drop((a, _b));
    let own = store.try_own().unwrap().unwrap();
    assert!(store.try_share().unwrap().is_none());
    drop(own);
    assert!(store.try_share().unwrap().is_some());
}

#[test]
fn no_link_leads_a_sweep_a_collection_or_a_publication_out_of_the_cache() {
    use std::os::unix::fs::symlink;
    let (dir, store) = store();
    let (_, output) = publish_tree(&store);
    let outside = dir.path().join("home");
    std::fs::create_dir_all(outside.join("folder")).unwrap();
    std::fs::write(outside.join("folder/thesis"), "years").unwrap();
    let root = store.root().to_path_buf();
    // Links below the cache's own directories.
    for place in [
        "cas/zz",
        "ac/zz",
        "tmp/link",
        "quarantine/link",
        "ckpt/link",
        "runs/link",
        "locks/link",
    ] {
        let at = root.join(place);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(&outside, at).unwrap();
    }
    let policy = GcPolicy {
        max_bytes: Some(0),
        runs: vec![root.join("runs/link")],
        ..GcPolicy::default()
    };
    store.collect(&policy).unwrap();
    store.sweep_attempts();
    assert!(outside.join("folder/thesis").is_file());
    assert!(!store.artifact_path(&output.digest).exists());
    // The cache's own directories as links.
    for sub in super::DIRS {
        let own = root.join(sub);
        let _ = std::fs::remove_dir_all(&own);
        symlink(&outside, &own).unwrap();
        store.sweep_attempts();
        assert!(
            matches!(Store::open(&root), Err(CacheError::Link { .. })),
            "{sub}"
        );
        std::fs::remove_file(&own).unwrap();
        Store::open(&root).unwrap();
    }
    // A shard that is a link: nothing is published through it.
    let (key, _) = publish_tree(&store);
    let shard = store
        .artifact_path(&output.digest)
        .parent()
        .unwrap()
        .to_path_buf();
    std::fs::rename(&shard, dir.path().join("moved")).unwrap();
    symlink(&outside, &shard).unwrap();
    let attempt = store.new_attempt(&key).unwrap();
    std::fs::write(attempt.join("x"), "x").unwrap();
    let mut artifact = measure_synced(&attempt.join("x")).unwrap();
    artifact.digest = output.digest;
    assert!(store.insert(&attempt.join("x"), &artifact).is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    // Nor set aside through it, whatever is there under the artifact's name.
    let namesake = outside.join(output.digest.to_string());
    std::fs::write(&namesake, "precious").unwrap();
    let refused = store.quarantine(&output.digest).unwrap_err();
    assert!(matches!(refused, CacheError::Link { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&namesake).unwrap(), "precious");
}

#[test]
fn a_collection_counts_and_removes_old_checkpoints_and_runs() {
    let (_dir, store) = store();
    let (done, _) = publish_tree(&store);
    let (old, new) = (digest_bytes(b"old"), digest_bytes(b"new"));
    for key in [&done, &old, &new] {
        let dir = store.checkpoint_dir(key);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("state"), vec![0; 1000]).unwrap();
    }
    let day = std::time::Duration::from_secs(86_400);
    let yesterday = std::time::SystemTime::now() - day;
    let state = std::fs::File::options()
        .write(true)
        .open(store.checkpoint_dir(&old).join("state"));
    state.unwrap().set_modified(yesterday).unwrap();
    let run = store.root().join("runs/r1");
    std::fs::create_dir_all(run.join("logs")).unwrap();
    std::fs::write(run.join("logs/a.log"), vec![0; 500]).unwrap();
    // Without a rule, only what no run can go on from.
    let report = store.collect(&GcPolicy::default()).unwrap();
    assert_eq!((report.freed_bytes, report.records), (1000, (1, 0)));
    assert!(!store.checkpoint_dir(&done).exists() && store.checkpoint_dir(&old).exists());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let policy = GcPolicy {
        checkpoints_before: Some(now.as_secs() - 3600),
        runs: vec![run.clone()],
        ..GcPolicy::default()
    };
    let report = store.collect(&policy).unwrap();
    assert_eq!(report.freed_bytes, 1500);
    assert!(!run.exists() && !store.checkpoint_dir(&old).exists());
    assert!(store.checkpoint_dir(&new).exists());
    // It counts towards the size that is allowed.
    let policy = GcPolicy {
        max_bytes: Some(900),
        ..GcPolicy::default()
    };
    let report = store.collect(&policy).unwrap();
    assert!(report.kept_bytes <= 900, "{report:?}");
}

#[test]
fn attempts_and_records_of_processes_with_one_number_do_not_meet() {
    let (_dir, store) = store();
    let key = digest_bytes(b"key");
    let mut names: Vec<_> = (0..50).map(|_| store.new_attempt(&key).unwrap()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
    // What another process is writing under a temporary name is never moved into place.
    let foreign = store
        .root()
        .join(format!("tmp/.tmp.{}.0", std::process::id()));
    std::fs::write(&foreign, "half").unwrap();
    publish_tree(&store);
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "half");
}

#[test]
fn every_reason_to_go_and_every_defect_has_its_words() {
    let words = [
        (GcReason::Unnamed, "no record names it"),
        (GcReason::Checkpoint, "checkpoint that no run goes on from"),
        (GcReason::Damaged, "damaged"),
        (GcReason::Leftover, "left by a killed run"),
        (GcReason::Lock, "lock of no run"),
        (GcReason::Run, "logs and events of an old run"),
        (GcReason::Record, "record"),
    ];
    for (reason, said) in words {
        assert_eq!(reason.to_string(), said);
    }
    let found = digest_bytes(b"x");
    let not_plain = CacheError::NotPlain { path: "a".into() };
    for (defect, said) in [
        (
            Defect::Content { found },
            format!("content has digest {}", found.short()),
        ),
        (Defect::Listing, "its listing is missing or damaged".into()),
        (
            Defect::Unreadable(not_plain),
            "`a` is neither a regular file nor a directory".into(),
        ),
        (Defect::Record, "not a readable action record".into()),
    ] {
        assert_eq!(defect.to_string(), said);
    }
}
