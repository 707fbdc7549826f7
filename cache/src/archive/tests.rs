//! Packed, read, damaged.

use super::*;
use crate::tree::measure;

/// A directory of a few files, one of them empty, one larger than a block.
fn folder(root: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let files = vec![
        ("zarr.json", b"{}".to_vec()),
        ("obs/zarr.json", b"{\"a\": 1}".to_vec()),
        (
            "obs/c/0",
            (0..BLOCK + 12_345).map(|i| (i % 251) as u8).collect(),
        ),
        ("obs-/c", Vec::new()),
        ("\u{e4}/x", b"umlaut".to_vec()),
    ];
    for (path, bytes) in &files {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    files
}

#[test]
fn an_archive_stands_for_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("in");
    let files = folder(&root);
    let expected = measure(&root).unwrap();
    let to = dir.path().join("packed");
    let packed = pack(&root, &to).unwrap();
    assert_eq!(
        (packed.form, packed.digest),
        (expected.form, expected.digest)
    );
    assert_eq!(packed.packed, Some(std::fs::metadata(&to).unwrap().len()));
    let stored = measure_stored(&to).unwrap();
    assert_eq!(stored.entries, expected.entries);
    assert_eq!(
        (stored.bytes, stored.packed),
        (expected.bytes, packed.packed)
    );
    // Part by part.
    for (entry, piece) in super::files(&to).unwrap() {
        let mut bytes = Vec::new();
        piece.open().unwrap().read_to_end(&mut bytes).unwrap();
        let (_, written) = files.iter().find(|(path, _)| *path == entry.path).unwrap();
        assert!(bytes == *written, "{}", entry.path);
    }
    // Laid out again, unless it has a file that says otherwise.
    assert!(!unpack_unless(&to, "zarr.json", &dir.path().join("no")).unwrap());
    assert!(!dir.path().join("no").exists());
    assert!(unpack_unless(&to, "other", &dir.path().join("out")).unwrap());
    assert_eq!(measure(&dir.path().join("out")).unwrap(), expected);
    // Of other files, and of directories, an archive is told.
    for other in [dir.path().join("out/zarr.json"), dir.path().join("out")] {
        assert!(super::files(&other).is_none());
        assert!(!unpack_unless(&other, "", &dir.path().join("no")).unwrap());
    }
}

#[test]
fn the_same_files_make_the_same_archive() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for name in ["a", "b"] {
        folder(&dir.path().join(name));
        let to = dir.path().join(format!("{name}.zip"));
        pack(&dir.path().join(name), &to).unwrap();
        made.push(std::fs::read(to).unwrap());
    }
    assert!(made[0] == made[1]);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let to = dir.path().join("empty.zip");
    let packed = pack(&empty, &to).unwrap();
    assert_eq!(packed.packed, Some(ENDS as u64));
    assert_eq!(measure_stored(&to).unwrap().digest, packed.digest);
    assert!(
        matches!(pack(&empty, &to), Err(CacheError::Io { .. })),
        "never over another"
    );
}

#[test]
fn a_change_of_any_byte_shows() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("in");
    for (path, text) in [("zarr.json", "{}"), ("c/0", "12345"), ("c/1", "")] {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let to = dir.path().join("packed");
    let digest = pack(&root, &to).unwrap().digest;
    let bytes = std::fs::read(&to).unwrap();
    let is_found = |bytes: &[u8], what: &str| {
        std::fs::write(&to, bytes).unwrap();
        assert_ne!(measure_stored(&to).unwrap().digest, digest, "{what}");
    };
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1 << (i % 8);
        is_found(&bad, &format!("byte {i}"));
        is_found(&bytes[..i], &format!("cut at {i}"));
    }
    is_found(&[&bytes[..], b"x"].concat(), "longer");
    is_found(&vec![0; bytes.len()], "zeros");
    std::fs::write(&to, &bytes).unwrap();
    assert_eq!(measure_stored(&to).unwrap().digest, digest);
}

#[test]
fn no_archive_leads_outside() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("packed");
    for path in ["../evil", "/tmp/evil", "a/../../evil", "a\0b", ""] {
        let at = LOCAL + path.len() as u64 + LOCAL_EXTRA;
        let member = Member {
            entry: TreeEntry {
                path: path.to_string(),
                size: 1,
                digest: crate::digest_bytes(b"x"),
            },
            crc: 0,
            at,
        };
        let mut bytes = member.local_header();
        bytes.push(b'x');
        bytes.extend(directory(&[member], at + 1));
        std::fs::write(&to, bytes).unwrap();
        assert!(super::files(&to).is_none(), "{path:?}");
        assert!(
            !unpack_unless(&to, "", &dir.path().join("out")).unwrap(),
            "{path:?}"
        );
    }
    assert!(!dir.path().join("evil").exists());
    // A link among the files, or in the archive's place.
    let root = dir.path().join("in");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(dir.path(), root.join("link")).unwrap();
    let refused = pack(&root, &dir.path().join("new"));
    assert!(matches!(refused, Err(CacheError::NotPlain { .. })));
    std::os::unix::fs::symlink(&to, dir.path().join("link")).unwrap();
    assert!(matches!(
        measure_stored(&dir.path().join("link")),
        Err(CacheError::NotPlain { .. })
    ));
}
