//! Chunks of numcodecs (`tests/reference/blosc`), damaged ones, and stores.

use serde_json::json;

use super::container::{Error, unpack};
use crate::anndata::{AnnData, Reader, Uns};
use crate::frame::Frame;

struct Chunk {
    label: String,
    packed: Vec<u8>,
    expected: Vec<u8>,
}

fn chunks() -> Vec<Chunk> {
    let text = include_str!("../../../../../tests/reference/blosc/chunks.tsv");
    let chunk = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| fields[at].parse::<usize>().unwrap();
        let (size, n, step) = (number(2), number(4), number(5));
        let element = |i: usize| {
            let i = i / step;
            (i * 37 % 251 + 256 * (i % 5) + 65536 * (i % 3)).to_le_bytes()
        };
        let hex = fields[6].as_bytes().chunks(2);
        Chunk {
            label: fields[..6].join(" "),
            packed: hex
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                .collect(),
            expected: (0..n).flat_map(|i| element(i)[..size].to_vec()).collect(),
        }
    };
    text.lines().map(chunk).collect()
}

#[test]
fn chunks_of_numcodecs_are_unpacked() {
    let all = chunks();
    assert_eq!(all.len(), 90);
    for chunk in all {
        let size = chunk.expected.len() as u64;
        for expected in [Some(size), None] {
            let found = unpack(&chunk.packed, expected);
            assert!(found.as_ref() == Ok(&chunk.expected), "{}", chunk.label);
        }
        assert_eq!(
            unpack(&chunk.packed, Some(size + 1)),
            Err(Error::Size {
                expected: size + 1,
                found: size
            })
        );
    }
}

/// Every byte of the header and of the first streams, with every other value; and every cut.
#[test]
fn damaged_chunks_are_errors_or_other_bytes() {
    for chunk in chunks() {
        if chunk.packed.len() > 700 {
            continue;
        }
        let size = Some(chunk.expected.len() as u64);
        for end in 0..chunk.packed.len() {
            assert!(
                unpack(&chunk.packed[..end], size).is_err(),
                "{} cut at {end}",
                chunk.label
            );
        }
        let mut damaged = chunk.packed.clone();
        for at in 0..damaged.len().min(64) {
            let was = damaged[at];
            for value in [0, 1, 2, 0x7f, 0x80, 0xff, was ^ 1, was ^ 0x20, was ^ 0x80] {
                damaged[at] = value;
                for expected in [size, None] {
                    if let Ok(bytes) = unpack(&damaged, expected) {
                        assert!(expected.is_none_or(|size| size == bytes.len() as u64));
                    }
                }
            }
            damaged[at] = was;
        }
    }
}

#[test]
fn what_a_header_states_is_not_believed() {
    let mut chunk = chunks().remove(0).packed;
    let refused = |chunk: &[u8]| unpack(chunk, None).unwrap_err().to_string();
    chunk[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    assert_eq!(
        refused(&chunk),
        "the header is damaged: `number of bytes` cannot be"
    );
    chunk[4..8].copy_from_slice(&(-1i32).to_le_bytes());
    assert_eq!(
        refused(&chunk),
        "the header is damaged: `number of bytes` cannot be"
    );
    chunk[0] = 5;
    assert_eq!(refused(&chunk), "expected format version 2, found `5`");
    assert_eq!(refused(&chunk[..15]), "the chunk is cut off");
    let mut snappy = chunks().remove(0).packed;
    snappy[2] = snappy[2] & 0x1f | 2 << 5;
    assert_eq!(
        refused(&snappy),
        "the compressor `snappy` is not read; `lz4`, `lz4hc`, `zstd`, `zlib` and `blosclz` are"
    );
}

#[test]
fn stores_of_both_versions_are_read_and_snappy_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zarr");
    let data = AnnData {
        obs: Frame::new(vec!["c".into()]),
        var: Frame::new(vec!["g".into()]),
        ..AnnData::default()
    };
    data.write_zarr(&path).unwrap();
    let label = "lz4 2 4 5 512 9";
    let chunk = chunks().into_iter().find(|c| c.label == label).unwrap();
    let expected = chunk.expected.as_chunks::<4>().0;
    let expected = expected.iter().map(|b| i64::from(u32::from_le_bytes(*b)));
    let expected = Uns::Integers(expected.collect());
    let write = |name: &str, metadata: &str, key: &str, cname: &str| {
        let dir = path.join("uns").join(name);
        let chunk_file = dir.join(key);
        std::fs::create_dir_all(chunk_file.parent().unwrap()).unwrap();
        std::fs::write(chunk_file, &chunk.packed).unwrap();
        let codec = json!({"cname": cname, "clevel": 5, "shuffle": 2, "blocksize": 0});
        let text = if metadata == ".zarray" {
            let mut compressor = codec;
            compressor["id"] = json!("blosc");
            json!({
                "zarr_format": 2, "shape": [512], "chunks": [512], "dtype": "<u4", "order": "C",
                "fill_value": 0, "filters": null, "compressor": compressor,
            })
        } else {
            let mut configuration = codec;
            configuration["shuffle"] = json!("bitshuffle");
            configuration["typesize"] = json!(4);
            json!({
                "zarr_format": 3, "node_type": "array", "shape": [512], "data_type": "uint32",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [512]}},
                "chunk_key_encoding": {"name": "default"}, "fill_value": 0, "attributes": {},
                "codecs": [
                    {"name": "bytes", "configuration": {"endian": "little"}},
                    {"name": "blosc", "configuration": configuration},
                ],
            })
        };
        std::fs::write(dir.join(metadata), text.to_string()).unwrap();
    };
    write("two", ".zarray", "0", "lz4");
    write("three", "zarr.json", "c/0", "lz4");
    let uns = || Reader::open(&path).unwrap().uns();
    let found = uns().unwrap();
    assert_eq!((&found["two"], &found["three"]), (&expected, &expected));
    for (name, metadata, key) in [("two", ".zarray", "0"), ("three", "zarr.json", "c/0")] {
        write(name, metadata, key, "snappy");
        let error = uns().unwrap_err().to_string();
        assert!(
            error.contains("the compressor `snappy` is not read"),
            "{error}"
        );
        write(name, metadata, key, "lz4");
    }
}
