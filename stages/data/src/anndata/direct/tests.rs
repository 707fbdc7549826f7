use std::path::Path;

use hdf5_pure::{DatasetBuilder, FileBuilder, MaxExtent};

use super::*;

const N: usize = 1000;

fn floats() -> Vec<f32> {
    (0..N).map(|i| (i * i % 97) as f32 - 3.5).collect()
}

type Layout = (&'static str, fn(&mut DatasetBuilder) -> &mut DatasetBuilder);

/// How HDF5 lays out a list; chunks of 96 leave a last one that is not full.
const LAYOUTS: [Layout; 6] = [
    ("contiguous", |d| d),
    ("chunks", |d| d.with_chunks(&[96])),
    ("one chunk", |d| d.with_chunks(&[N as u64])),
    ("deflate", |d| d.with_chunks(&[96]).with_deflate(4)),
    ("shuffle", |d| {
        d.with_chunks(&[96]).with_shuffle().with_deflate(1)
    }),
    ("growing", |d| {
        d.with_chunks(&[96]).with_maxshape(&[MaxExtent::Unlimited])
    }),
];

fn opened(path: &Path, bytes: &[u8]) -> (hdf5_pure::File, Direct) {
    std::fs::write(path, bytes).unwrap();
    let file = Arc::new(File::open(path).unwrap());
    let direct = Direct::new(file, bytes.len() as u64);
    (hdf5_pure::File::open_streaming(path).unwrap(), direct)
}

#[test]
fn every_layout_and_type_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let f32s = floats();
    let wide: Vec<i64> = (0..N as i64).map(|i| (i - 500) << 33).collect();
    for (name, lay_out) in LAYOUTS {
        let mut file = FileBuilder::new();
        let f64s: Vec<f64> = f32s.iter().map(|&x| f64::from(x) / 3.0).collect();
        let i32s: Vec<i32> = f32s.iter().map(|&x| x as i32).collect();
        let u32s: Vec<u32> = (0..N as u32).map(|i| u32::MAX - i).collect();
        let u64s: Vec<u64> = u32s.iter().map(|&x| u64::from(x) << 32).collect();
        let all = [
            Values::F32(f32s.clone()),
            Values::F64(f64s),
            Values::I32(i32s),
            Values::U32(u32s),
            Values::I64(wide.clone()),
            Values::U64(u64s),
        ];
        for (i, values) in all.iter().enumerate() {
            let dataset = file.create_dataset(&i.to_string());
            lay_out(match values {
                Values::F32(v) => dataset.with_f32_data(v),
                Values::F64(v) => dataset.with_f64_data(v),
                Values::I32(v) => dataset.with_i32_data(v),
                Values::U32(v) => dataset.with_u32_data(v),
                Values::I64(v) => dataset.with_i64_data(v),
                Values::U64(v) => dataset.with_u64_data(v),
                _ => unreachable!("the numbers above"),
            });
        }
        let (file, direct) = opened(&path, &file.finish().unwrap());
        for (i, values) in all.iter().enumerate() {
            let at = i.to_string();
            let dataset = file.dataset(&at).unwrap();
            let read = direct.read(&at, &dataset, None);
            assert_eq!(read.as_ref(), Some(values), "{name}");
            for rows in [0..1, 95..97, 96..192, 100..700, 999..1000, 7..7] {
                let part = direct.read(&at, &dataset, Some(rows.clone())).unwrap();
                let (from, to) = (rows.start as usize, rows.end as usize);
                assert_eq!(part, slice(values, from..to), "{name} {rows:?}");
            }
        }
    }
}

fn slice(values: &Values, rows: Range<usize>) -> Values {
    match values {
        Values::F32(v) => Values::F32(v[rows].to_vec()),
        Values::F64(v) => Values::F64(v[rows].to_vec()),
        Values::I32(v) => Values::I32(v[rows].to_vec()),
        Values::U32(v) => Values::U32(v[rows].to_vec()),
        Values::I64(v) => Values::I64(v[rows].to_vec()),
        Values::U64(v) => Values::U64(v[rows].to_vec()),
        _ => unreachable!("numbers"),
    }
}

#[test]
fn rows_of_a_dense_matrix_are_read_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FileBuilder::new();
    let values = floats();
    file.create_dataset("x")
        .with_f32_data(&values)
        .with_shape(&[100, 10]);
    let (file, direct) = opened(&dir.path().join("a.h5"), &file.finish().unwrap());
    let dataset = file.dataset("x").unwrap();
    let part = direct.read("x", &dataset, Some(20..23));
    assert_eq!(part, Some(Values::F32(values[200..230].to_vec())));
}

#[test]
fn what_lies_otherwise_is_left_to_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let values = floats();
    let mut file = FileBuilder::new();
    let mut list = |name: &str, lay_out: fn(&mut DatasetBuilder) -> &mut DatasetBuilder| {
        lay_out(file.create_dataset(name).with_f32_data(&values));
    };
    list("lzf", |d| d.with_chunks(&[96]).with_lzf());
    list("sum", |d| d.with_chunks(&[96]).with_fletcher32());
    list("plane", |d| d.with_shape(&[100, 10]).with_chunks(&[10, 5]));
    list("packed", |d| d.with_chunks(&[96]).with_deflate(4));
    file.create_dataset("text").with_vlen_strings(&["a", "b"]);
    let bytes = file.finish().unwrap();
    let (file, direct) = opened(&path, &bytes);
    for name in ["lzf", "sum", "plane", "text"] {
        assert_eq!(
            direct.read(name, &file.dataset(name).unwrap(), None),
            None,
            "{name}"
        );
    }
    // A chunk that does not unpack, or that ends past the file.
    let dataset = file.dataset("packed").unwrap();
    let (from, to) = {
        let chunk = &dataset.chunks().unwrap()[5];
        (
            chunk.address as usize,
            (chunk.address + chunk.storage_size) as usize,
        )
    };
    let mut damaged = bytes.clone();
    damaged[from + 9..to].fill(0x55);
    let (file, direct) = opened(&path, &damaged);
    let dataset = file.dataset("packed").unwrap();
    assert_eq!(direct.read("packed", &dataset, None), None);
    assert!(direct.read("packed", &dataset, Some(0..400)).is_some());
    let short = Direct::new(Arc::new(File::open(&path).unwrap()), to as u64 - 1);
    assert_eq!(short.read("packed", &dataset, None), None);
}
