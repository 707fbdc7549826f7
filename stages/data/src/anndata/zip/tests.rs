//! Archives of any maker, and damaged ones.

use std::io::Write as _;

use ndarray::Array2;

use super::*;
use crate::anndata::{AnnData, Reader};
use crate::frame::Frame;
use crate::matrix::{Csr, Matrix};

/// How an archive is written.
#[derive(Clone, Copy)]
struct How {
    /// Sizes and places as numbers of 64 bits, and the records that go with them.
    wide: bool,
    /// Bytes of a further field in each local header, of a comment at the end.
    extra: usize,
    comment: usize,
}

/// An archive of these files, none of them compressed.
fn zip(files: &[(String, Vec<u8>)], how: How) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    let u16s = |to: &mut Vec<u8>, v: &[u16]| v.iter().for_each(|v| to.extend(v.to_le_bytes()));
    let u32s = |to: &mut Vec<u8>, v: &[u32]| v.iter().for_each(|v| to.extend(v.to_le_bytes()));
    let u64s = |to: &mut Vec<u8>, v: &[u64]| v.iter().for_each(|v| to.extend(v.to_le_bytes()));
    for (name, content) in files {
        let (at, size) = (bytes.len() as u64, content.len() as u64);
        bytes.extend(b"PK\x03\x04");
        u16s(&mut bytes, &[20, 0, 0, 0, 0x21]);
        u32s(&mut bytes, &[0, size as u32, size as u32]);
        u16s(&mut bytes, &[name.len() as u16, how.extra as u16]);
        bytes.extend(name.as_bytes());
        bytes.extend(vec![7; how.extra]);
        bytes.extend(content);
        list.extend(b"PK\x01\x02");
        u16s(&mut list, &[20, 20, 0, 0, 0, 0x21]);
        let narrow = |n: u64| if how.wide { u32::MAX } else { n as u32 };
        u32s(&mut list, &[0, narrow(size), narrow(size)]);
        let wide = if how.wide { 28 } else { 0 };
        u16s(&mut list, &[name.len() as u16, 5 + wide, 0, 0, 0]);
        u32s(&mut list, &[0, narrow(at)]);
        list.extend(name.as_bytes());
        u16s(&mut list, &[0x5455, 1]);
        list.push(1);
        if how.wide {
            u16s(&mut list, &[1, 24]);
            u64s(&mut list, &[size, size, at]);
        }
    }
    let (at, n) = (bytes.len() as u64, files.len() as u64);
    let size = list.len() as u64;
    bytes.extend(list);
    if how.wide {
        bytes.extend(b"PK\x06\x06");
        u64s(&mut bytes, &[44]);
        u16s(&mut bytes, &[45, 45]);
        u32s(&mut bytes, &[0, 0]);
        u64s(&mut bytes, &[n, n, size, at]);
        bytes.extend(b"PK\x06\x07");
        u32s(&mut bytes, &[0]);
        u64s(&mut bytes, &[at + size]);
        u32s(&mut bytes, &[1]);
    }
    bytes.extend(b"PK\x05\x06");
    u16s(&mut bytes, &[0, 0, n as u16, n as u16]);
    u32s(&mut bytes, &[size as u32, at as u32]);
    u16s(&mut bytes, &[how.comment as u16]);
    bytes.extend(vec![b'c'; how.comment]);
    bytes
}

fn data() -> AnnData {
    let names = |p: &str, n: usize| (0..n).map(|i| format!("{p}{i}")).collect::<Vec<_>>();
    let dense = Array2::from_shape_fn((30, 20), |(r, c)| ((r * 7 + c) % 5) as f32);
    AnnData {
        obs: Frame::new(names("c", 30)),
        var: Frame::new(names("g", 20)),
        x: Some(Matrix::Csr(Csr::from_dense(&dense))),
        obsm: [("X_pca".to_string(), Matrix::Dense(dense))].into(),
        ..AnnData::default()
    }
}

fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push((name.to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_archive_reads_as_its_directory_does() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a.zarr");
    let data = data();
    data.write_zarr(&folder).unwrap();
    let archive = dir.path().join("a.zarr.zip");
    for wide in [false, true] {
        for (extra, comment) in [(0, 0), (9, 300)] {
            let how = How {
                wide,
                extra,
                comment,
            };
            std::fs::write(&archive, zip(&files(&folder), how)).unwrap();
            let reader = Reader::open(&archive).unwrap();
            assert_eq!(reader.read().unwrap(), data);
            assert_eq!(reader.names("obsm").unwrap(), ["X_pca"]);
            let rows = reader.rows("X", (30, 20)).unwrap();
            let whole = data.x.clone().unwrap().into_csr();
            let expected = whole.take_rows(&(4..9).collect::<Vec<_>>());
            assert_eq!(rows.read(4..9).unwrap(), expected);
        }
    }
}

#[test]
fn what_is_no_whole_archive_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a.zarr");
    data().write_zarr(&folder).unwrap();
    let path = dir.path().join("a.zarr.zip");
    for wide in [false, true] {
        let how = How {
            wide,
            extra: 0,
            comment: 0,
        };
        let bytes = zip(&files(&folder), how);
        for cut in (4..bytes.len()).step_by(97) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(Reader::open(&path).is_err(), "cut at {cut}");
        }
        // Any byte may be wrong: never a panic, whatever is read.
        for i in (0..bytes.len()).step_by(11) {
            let mut bad = bytes.clone();
            bad[i] ^= 0x80;
            std::fs::write(&path, bad).unwrap();
            if let Ok(reader) = Reader::open(&path) {
                let _ = reader.read();
            }
        }
    }
    // An archive of something else.
    let other = zip(
        &[("a.txt".to_string(), b"x".to_vec())],
        How {
            wide: false,
            extra: 0,
            comment: 0,
        },
    );
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&other)
        .unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(error.contains("an archive without `zarr.json`"), "{error}");
}
