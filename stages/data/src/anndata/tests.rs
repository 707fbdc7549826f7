use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::array;

use super::*;
use crate::frame::{Categorical, Column};
use crate::matrix::Csr;
use clcc_testing::{Python, at_threads, reference, shared_data};

/// Three cells, two genes, every encoding that is written.
fn example() -> AnnData {
    let mut obs = Frame::new(vec!["c1".into(), "c2".into(), "ç3".into()]);
    obs.set(
        "z_text",
        Column::Str(vec!["x".into(), String::new(), "naïve".into()]),
    );
    obs.set("a_number", Column::F64(vec![1.5, f64::INFINITY, -0.0]));
    obs.set("count", Column::I64(vec![1, i64::MIN, i64::MAX]));
    obs.set("flag", Column::Bool(vec![true, false, true]));
    obs.set("all_false", Column::Bool(vec![false; 3]));
    obs.set(
        "cell_type",
        Column::Category(Categorical {
            codes: vec![1, -1, 0],
            categories: vec!["b".into(), "a".into(), "unused".into()],
            ordered: true,
        }),
    );
    let mut var = Frame::new(vec!["g1".into(), "g2".into()]);
    var.set_category("chromosome", &["chr1", "chrX"]);
    let counts = Csr::from_dense(&array![[1., 0.], [0., 0.], [3., 4.]]);
    let mut table = Frame::new(vec!["chr1:0".into()]);
    table.set("start", Column::I64(vec![7]));
    let cnv = Uns::Dict(BTreeMap::from([
        (
            "chr_pos".into(),
            Uns::Dict(BTreeMap::from([
                ("chr1".into(), Uns::I64(0)),
                ("chr2".into(), Uns::I64(5)),
            ])),
        ),
        ("windows".into(), Uns::Frame(table)),
        ("nothing".into(), Uns::Dict(BTreeMap::new())),
    ]));
    AnnData {
        x: Some(Matrix::Csr(counts.map(|_, _, v| v.ln_1p()))),
        layers: BTreeMap::from([("counts".into(), Matrix::Csr(counts))]),
        obsm: BTreeMap::from([
            (
                "X_pca".into(),
                Matrix::Dense(array![[1., 2.], [3., 4.], [5., -6.5]]),
            ),
            (
                "X_cnv".into(),
                Matrix::Csr(Csr::from_dense(&array![
                    [0.5, 0., 0.],
                    [0., 0., 0.],
                    [0., -1., 0.]
                ])),
            ),
            (
                "none_wide".into(),
                Matrix::Dense(ndarray::Array2::zeros((3, 0))),
            ),
        ]),
        varm: BTreeMap::from([("PCs".into(), Matrix::Dense(array![[1.], [2.]]))]),
        obsp: BTreeMap::from([(
            "cnv_connectivities".into(),
            Csr::from_rows(3, vec![vec![(2, 0.25)], vec![], vec![]]),
        )]),
        uns: BTreeMap::from([
            ("cnv".into(), cnv),
            ("name".into(), Uns::Str("tumour".into())),
            ("ratio".into(), Uns::F64(0.1)),
            ("seed".into(), Uns::I64(-3)),
            ("yes".into(), Uns::Bool(true)),
            ("texts".into(), Uns::Strings(vec!["p".into(), "q".into()])),
            ("numbers".into(), Uns::Numbers(vec![1.5, 2.5])),
            (
                "picture of bytes".into(),
                Uns::Image(Image::Bytes(ndarray::Array3::from_shape_fn(
                    (2, 3, 4),
                    |(r, c, k)| (255 - r * 20 - c * 5 - k) as u8,
                ))),
            ),
            (
                "picture of reals".into(),
                Uns::Image(Image::Reals(ndarray::Array3::from_shape_fn(
                    (3, 2, 3),
                    |(r, c, k)| (r + c + k) as f32 / 8.0,
                ))),
            ),
            ("whole".into(), Uns::Integers(vec![1, 2])),
            (
                "profiles".into(),
                Uns::Matrix(array![[1., 2., 3.], [4., 5., 6.]]),
            ),
        ]),
        // Counts of more features than `X` has.
        raw: Some(Raw {
            x: Matrix::Csr(Csr::from_dense(&array![
                [1., 0., 2.],
                [0., 0., 0.],
                [3., 4., 0.]
            ])),
            var: Frame::new(vec!["g1".into(), "g2".into(), "g3".into()]),
        }),
        obs,
        var,
    }
}

fn written(data: &AnnData) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zarr");
    data.write_zarr(&path).unwrap();
    (dir, path)
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(
                    path.strip_prefix(dir).unwrap().to_path_buf(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

#[test]
fn what_is_written_reads_back_the_same() {
    let data = example();
    let (_dir, path) = written(&data);
    assert_eq!(Reader::open(&path).unwrap().read().unwrap(), data);
}

#[test]
fn an_empty_store_reads_back_the_same() {
    let data = AnnData::default();
    let (_dir, path) = written(&data);
    assert_eq!(Reader::open(&path).unwrap().read().unwrap(), data);
}

#[test]
fn each_element_reads_alone() {
    let data = example();
    let (_dir, path) = written(&data);
    // With everything else gone, what is asked for still reads.
    std::fs::remove_dir_all(path.join("X")).unwrap();
    std::fs::remove_dir_all(path.join("uns")).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.obsm("X_pca").unwrap(), data.obsm["X_pca"]);
    assert_eq!(reader.layer("counts").unwrap(), data.layers["counts"]);
    assert_eq!(
        reader.obsp("cnv_connectivities").unwrap(),
        data.obsp["cnv_connectivities"]
    );
    assert_eq!(reader.obs().unwrap(), data.obs);
    assert_eq!(reader.var().unwrap(), data.var);
    assert_eq!(
        reader.names("obsm").unwrap(),
        ["X_cnv", "X_pca", "none_wide"]
    );
    assert!(reader.names("varp").unwrap().is_empty());
    assert!(reader.uns().unwrap().is_empty());
    assert!(!reader.has("X").unwrap());
}

#[test]
fn same_data_same_bytes_at_any_number_of_threads() {
    let (_a, first) = written(&example());
    let (_b, second) = at_threads(1, || written(&example()));
    assert_eq!(files(&first), files(&second));
    assert!(files(&first).contains_key(Path::new("zarr.json")));
}

/// More values than one chunk holds, so that the padded last chunk and partial reads are met.
#[test]
fn a_matrix_of_many_chunks_reads_back_whole_and_in_blocks() {
    let (rows, cols) = (1100, 2000);
    let m = Csr::from_rows(
        cols,
        (0..rows).map(|r| {
            (0..cols as u32)
                .map(|c| (c, (r * 7 + c as usize) as f32))
                .collect()
        }),
    );
    let mut data = AnnData {
        obs: Frame::new((0..rows).map(|r| r.to_string()).collect()),
        var: Frame::new((0..cols).map(|c| c.to_string()).collect()),
        x: Some(Matrix::Csr(m.clone())),
        ..AnnData::default()
    };
    data.layers
        .insert("dense".into(), Matrix::Dense(m.to_dense()));
    let (_dir, path) = written(&data);
    assert!(path.join("X/data/c/1").is_file() && !path.join("X/data/c/2").exists());
    assert!(path.join("layers/dense/c/1/0").is_file());
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.read().unwrap(), data);
    for element in ["X", "layers/dense"] {
        let by_rows = reader.rows(element, (rows, cols)).unwrap();
        assert_eq!(by_rows.shape(), (rows, cols));
        let blocks = by_rows.blocks(300_000);
        assert_eq!(
            blocks.len(),
            8,
            "150 rows of 2,000 values reach 300,000: 7 blocks and 50 rows"
        );
        let parts: Vec<Csr> = blocks
            .into_iter()
            .map(|b| by_rows.read(b).unwrap())
            .collect();
        // The dense block drops the one stored zero.
        assert_eq!(
            Csr::vstack(&parts.iter().collect::<Vec<_>>()).to_dense(),
            m.to_dense()
        );
    }
}

#[test]
fn the_root_repeats_the_metadata_of_every_node() {
    let (_dir, path) = written(&example());
    let json = |p: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(p).unwrap()).unwrap()
    };
    let root = json(&path.join("zarr.json"));
    let copies = root["consolidated_metadata"]["metadata"]
        .as_object()
        .unwrap();
    let mut nodes = files(&path)
        .into_keys()
        .filter(|f| f.ends_with("zarr.json"))
        .collect::<Vec<_>>();
    nodes.retain(|f| f != Path::new("zarr.json"));
    assert_eq!(copies.len(), nodes.len());
    for node in nodes {
        let at = node.parent().unwrap().to_str().unwrap();
        let mut copy = copies[at].clone();
        copy.as_object_mut()
            .unwrap()
            .remove("consolidated_metadata");
        assert_eq!(copy, json(&path.join(&node)), "{at}");
    }
}

#[test]
fn a_wrong_shape_or_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let message = |data: &AnnData| {
        data.write_zarr(&dir.path().join("x"))
            .unwrap_err()
            .to_string()
    };
    let mut data = example();
    data.layers.insert(
        "counts".into(),
        Matrix::Dense(ndarray::Array2::zeros((2, 2))),
    );
    assert_eq!(
        message(&data),
        "`layers/counts`: expected 3 x 2, found 2 x 2"
    );
    let mut data = example();
    data.uns.insert("a/b".into(), Uns::I64(1));
    assert!(
        message(&data).starts_with("`a/b` in `uns` cannot name an element"),
        "{}",
        message(&data)
    );
}

#[test]
fn an_h5ad_reads_back_the_same_and_has_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut large = example();
    let n = 40_000;
    large.obs = Frame::new((0..n).map(|i| format!("c{i}")).collect());
    large.obs.set("n", Column::I64((0..n as i64).collect()));
    let names: Vec<String> = (0..n).map(|i| format!("k{}", i % 300)).collect();
    large.obs.set_category("k", &names);
    (large.obsm, large.obsp, large.raw) = Default::default();
    let rows = (0..n).map(|r| vec![(r as u32 % 2, r as f32)]);
    large.x = Some(Matrix::Csr(Csr::from_rows(2, rows)));
    large.layers = BTreeMap::from([(
        "dense".to_string(),
        Matrix::Dense(large.x.clone().unwrap().into_dense()),
    )]);
    for (name, data) in [("small", example()), ("large", large)] {
        let path = dir.path().join(format!("{name}.h5ad"));
        data.write_h5ad(&path).unwrap();
        assert_eq!(Reader::open(&path).unwrap().read().unwrap(), data, "{name}");
        let again = dir.path().join(format!("{name}2.h5ad"));
        data.write_h5ad(&again).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&again).unwrap()
        );
        assert!(data.write_h5ad(&path).is_err(), "it is there already");
    }
}

#[test]
fn an_existing_path_is_not_overwritten() {
    let (_dir, path) = written(&example());
    assert!(matches!(
        example().write_zarr(&path),
        Err(crate::StageError::Io {
            access: crate::error::Access::Create,
            ..
        })
    ));
}

#[test]
fn a_missing_element_is_named_with_its_siblings() {
    let (_dir, path) = written(&example());
    let reader = Reader::open(&path).unwrap();
    let message = reader.obsm("X_umap").unwrap_err().to_string();
    assert!(
        message
            .ends_with("obsm/X_umap: no such element; its group has `X_cnv`, `X_pca`, `none_wide`"),
        "{message}"
    );
}

#[test]
fn what_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let message = |p: &Path| Reader::open(p).unwrap_err().to_string();
    assert!(message(&dir.path().join("absent")).starts_with("cannot read `"));
    assert!(message(dir.path()).contains("expected a zarr store"));
    std::fs::write(dir.path().join("x.h5ad"), "no").unwrap();
    assert!(
        message(&dir.path().join("x.h5ad")).contains("found other data: the file is encrypted")
    );
    std::fs::write(dir.path().join(".zgroup"), "{\"zarr_format\": 2}").unwrap();
    assert!(message(dir.path()).contains("with `obs` and `var`, found nothing"));
}

#[test]
fn a_broken_sparse_matrix_is_refused() {
    let (_dir, path) = written(&example());
    std::fs::remove_dir_all(path.join("X/indptr")).unwrap();
    let message = Reader::open(&path).unwrap().x().unwrap_err().to_string();
    assert!(
        message.contains("X/indptr: no such element") || message.contains("cannot open the array"),
        "{message}"
    );
    // A truncated chunk is an error and no zeros.
    let chunk = path.join("layers/counts/data/c/0");
    let bytes = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, &bytes[..bytes.len() - 4]).unwrap();
    assert!(Reader::open(&path).unwrap().layer("counts").is_err());
}

#[test]
fn a_size_that_its_chunks_cannot_hold_is_refused_before_anything_is_reserved() {
    let (_dir, path) = written(&example());
    for at in ["X/indptr", "obs/_index"] {
        let file = path.join(at).join("zarr.json");
        let before = std::fs::read_to_string(&file).unwrap();
        let mut array: serde_json::Value = serde_json::from_str(&before).unwrap();
        array["shape"] = serde_json::json!([10_000_000_000_000u64]);
        std::fs::write(&file, array.to_string()).unwrap();
        let error = Reader::open(&path).unwrap().read().unwrap_err().to_string();
        assert!(
            error.contains(at) && error.contains("more than the"),
            "{error}"
        );
        std::fs::write(&file, before).unwrap();
    }
}

#[test]
fn texts_that_are_damaged_are_an_error_and_no_panic() {
    let (_dir, path) = written(&example());
    let chunk = path.join("obs/_index/c/0");
    assert!(chunk.is_file(), "one chunk of texts");
    let before = std::fs::read(&chunk).unwrap();
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        &b""[..],
        &before[..before.len() / 2],
    ] {
        std::fs::write(&chunk, bytes).unwrap();
        let error = Reader::open(&path).unwrap().read().unwrap_err().to_string();
        assert!(error.contains("obs/_index"), "{error}");
    }
}

/// `tests/reference/fuzz`: what they did is in the folder's README.
#[test]
fn inputs_that_fuzzing_found_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("found.h5");
    for (packed, expected) in [
        (
            &include_bytes!("../../../../tests/reference/fuzz/chunk_beyond_the_file.h5.gz")[..],
            "goes beyond the 18864 bytes of the file",
        ),
        (
            &include_bytes!("../../../../tests/reference/fuzz/wide_integer.h5.gz")[..],
            "",
        ),
        (
            &include_bytes!("../../../../tests/reference/fuzz/no_names.h5.gz")[..],
            "9 feature ids, but 0 names",
        ),
    ] {
        let mut bytes = Vec::new();
        let mut packed = crate::gzip::Gunzip::new(packed);
        std::io::Read::read_to_end(&mut packed, &mut bytes).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = describe(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Found by fuzzing: the product of the sides overflowed.
#[test]
fn a_shape_beyond_64_bits_is_described() {
    let (_dir, path) = written(&example());
    let file = path.join("X/data/zarr.json");
    let mut array: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    array["shape"] = serde_json::json!([u64::MAX, 2]);
    std::fs::write(&file, array.to_string()).unwrap();
    assert!(describe(&path).is_ok());
}

#[cfg(unix)]
#[test]
fn a_group_that_contains_itself_is_refused() {
    let (_dir, path) = written(&example());
    std::os::unix::fs::symlink(".", path.join("uns/loop")).unwrap();
    let error = Reader::open(&path).unwrap().uns().unwrap_err().to_string();
    assert!(error.contains("or one contains itself"), "{error}");
}

/// The header of a zstd frame may state any size; it was reserved.
#[test]
fn a_frame_that_states_a_huge_size_is_refused_before_it_is_reserved() {
    let (_dir, path) = written(&example());
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    frame.extend((1u64 << 57).to_le_bytes());
    frame.extend([0x0b, 0, 0, b'x']);
    for at in ["obs/_index", "X/data"] {
        let chunk = path.join(at).join("c/0");
        let before = std::fs::read(&chunk).unwrap();
        std::fs::write(&chunk, &frame).unwrap();
        let error = Reader::open(&path).unwrap().read().unwrap_err().to_string();
        assert!(error.contains(at), "{error}");
        std::fs::write(&chunk, before).unwrap();
    }
    // A shape of chunks that no file can fill reserves nothing either.
    let file = path.join("X/data/zarr.json");
    let mut array: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    array["chunk_grid"]["configuration"]["chunk_shape"] = serde_json::json!([1u64 << 50]);
    std::fs::write(&file, array.to_string()).unwrap();
    let error = Reader::open(&path).unwrap().x().unwrap_err().to_string();
    assert!(error.contains("X/data"), "{error}");
}

#[test]
fn describe_counts_without_reading_matrices() {
    let (_dir, path) = written(&example());
    std::fs::remove_file(path.join("X/data/c/0")).unwrap();
    let d = describe(&path).unwrap();
    assert_eq!(d["n_obs"], 3);
    assert_eq!(d["n_vars"], 2);
    assert_eq!(d["X"]["shape"], serde_json::json!([3, 2]));
    assert_eq!(d["X"]["stored"], 3);
    assert_eq!(d["X"]["density"], 0.5);
    assert_eq!(d["obsm"]["X_pca"]["layout"], "dense");
    assert_eq!(
        d["obs"]["columns"]["cell_type"]["values"],
        serde_json::json!({"b": 1, "a": 1, "unused": 0})
    );
    assert_eq!(d["obs"]["columns"]["cell_type"]["missing"], 1);
    assert_eq!(d["uns"][0], "cnv");
}

/// A square CSR matrix relabelled CSC is its transpose.
#[test]
fn a_matrix_stored_by_columns_is_turned() {
    let m = Csr::from_dense(&array![[0., 1., 2.], [0., 0., 3.], [4., 0., 0.]]);
    let mut data = AnnData {
        obs: example().obs,
        ..AnnData::default()
    };
    data.var = Frame::new(vec!["a".into(), "b".into(), "c".into()]);
    data.x = Some(Matrix::Csr(m.clone()));
    let (_dir, path) = written(&data);
    let metadata = path.join("X/zarr.json");
    let text = std::fs::read_to_string(&metadata).unwrap();
    std::fs::write(&metadata, text.replace("csr_matrix", "csc_matrix")).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.x().unwrap().into_csr(), m.transpose());
    assert_eq!(
        reader
            .rows("X", reader.x().unwrap().shape())
            .unwrap()
            .read(1..3)
            .unwrap(),
        m.transpose().take_rows(&[1, 2])
    );
}

/// What anndata writes and we do not: nullable columns, CSC, categories of numbers, dates. Runs
/// where `CLCC_PYTHON` names an interpreter with anndata 0.12.
#[test]
fn the_encodings_of_anndata_are_read() {
    let Some(python) = Python::with("anndata") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    python.run(&[], &[&reference("anndata/write.py"), dir.path()]);
    for name in ["a.h5ad", "v2.zarr", "v3.zarr"] {
        let reader = Reader::open(&dir.path().join(name)).unwrap();
        let (obs, skipped) = reader.obs_known().unwrap();
        assert_eq!(skipped.len(), 1, "{name}: {skipped:?}");
        assert_eq!(skipped[0].name, "date", "{name}");
        assert!(
            reader
                .obs()
                .unwrap_err()
                .to_string()
                .contains("column `date` has an encoding that is not read")
        );
        assert_eq!(obs.index, ["c0", "c1", "c2"], "{name}");
        let Column::F64(ints) = &obs.columns["nullable_int"] else {
            panic!("{name}: numbers with NaN")
        };
        assert!(ints[0] == 1.0 && ints[1].is_nan());
        assert_eq!(
            obs.columns["whole_int"],
            Column::I64(vec![1, 2, 3]),
            "{name}"
        );
        assert_eq!(
            obs.texts("nullable_bool").unwrap(),
            ["True", "", "False"],
            "{name}"
        );
        assert_eq!(
            obs.texts("number_category").unwrap(),
            ["11", "12", "11"],
            "{name}"
        );
        assert_eq!(
            obs.columns["byte"],
            Column::I64(vec![0, 128, 255]),
            "{name}"
        );
        assert_eq!(
            obs.columns["half"],
            Column::F64(vec![0.5, 1.5, 2.5]),
            "{name}"
        );
        let csc = array![[0., 1.], [2., 0.], [0., 3.]];
        assert_eq!(reader.x().unwrap().into_dense(), csc, "{name}");
        assert_eq!(reader.layer("int64").unwrap().into_dense(), csc, "{name}");
        let uns = Uns::Dict(reader.uns().unwrap());
        assert_eq!(uns.at(&["d", "x"]), Some(&Uns::I64(1)), "{name}");
        assert_eq!(uns.at(&["none"]), None);
    }
}

/// Files of anndata 0.7 to 0.12 in the shared data folder; absent elsewhere.
#[test]
fn files_of_other_anndata_versions_open_or_say_why_not() {
    let Some(root) = shared_data("formats") else {
        return;
    };
    let open = |name: &str| Reader::open(&root.join(name));
    for name in [
        "csr_gzip.h5ad",
        "dense.h5ad",
        "dense_lzf.h5ad",
        "csr_zarr_v2.zarr",
        "csr_zarr_v3.zarr",
    ] {
        let reader = open(&format!("variants/{name}")).unwrap();
        let data = reader.read().unwrap();
        assert_eq!((data.n_obs(), data.n_vars()), (200, 12000), "{name}");
        let counts = data.layers["counts"].clone().into_csr();
        assert_eq!(counts.nnz(), 405_559, "{name}");
        // X is the same matrix as layers/counts in all variants, or its dense form.
        let x = data.x.unwrap().into_csr();
        assert_eq!(x.n_rows(), 200);
        let types = data.obs.texts("cell_type").unwrap();
        assert!(types.iter().all(|t| !t.is_empty()), "{name}");
    }
    for version in ["v0.7.0", "v0.7.8"] {
        let reader = open(&format!("anndata/tests/data/archives/{version}/adata.h5ad")).unwrap();
        let obs = reader.obs().unwrap();
        assert_eq!(obs.len(), 30);
        let Column::Category(c) = obs.column("cat_ordered").unwrap() else {
            panic!("a category")
        };
        assert!(c.ordered && c.categories.len() > 20);
        assert_eq!(reader.x().unwrap().shape(), (30, 20));
        assert_eq!(reader.layer("array").unwrap().shape(), (30, 20));
    }
    let reader = open("anndata/tests/data/archives/v0.11.4/adata.h5ad").unwrap();
    assert_eq!(reader.obs().unwrap().len(), 10);
    let old = open("anndata/tests/data/archives/v0.5.0/adata.h5ad")
        .unwrap()
        .obs()
        .unwrap_err()
        .to_string();
    assert!(old.contains("anndata 0.6 or older"), "{old}");
}

/// Every example in the shared data folder is described, or refused with the reason.
#[test]
fn every_example_file_opens_or_says_why_not() {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_string_lossy().into_owned();
            if name.ends_with(".zarr") || name.ends_with(".h5ad") || name.ends_with(".h5") {
                found.push(path);
            } else if path.is_dir() {
                walk(&path, found);
            }
        }
    }
    let Some(root) = shared_data("formats") else {
        return;
    };
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() >= 14, "{files:?}");
    let mut refused = Vec::new();
    for file in files {
        let rel = file.strip_prefix(&root).unwrap().display().to_string();
        match crate::anndata::describe(&file) {
            Ok(described) => assert!(
                described.get("10x").is_some() || described["n_obs"].as_u64() > Some(0),
                "{rel}: {described}"
            ),
            Err(e) => refused.push((rel, e.to_string())),
        }
    }
    refused.sort();
    let reasons = [
        (
            "anndata/tests/data/archives/v0.5.0/adata.h5ad",
            "a file of anndata 0.6 or older",
        ),
        (
            "scanpy/tests/_data/10x-10k-subset.zarr",
            "a file of anndata 0.6 or older",
        ),
        (
            "scanpy/tests/_data/visium_data/2.1.0/raw_probe_bc_matrix.h5",
            "expected counts of genes, found counts of probes",
        ),
    ];
    assert_eq!(refused.len(), reasons.len(), "{refused:?}");
    for ((file, message), (expected, reason)) in refused.iter().zip(reasons) {
        assert!(
            file == expected && message.contains(reason),
            "{file}: {message}"
        );
    }
}

/// anndata itself opens the store without a warning and sees the same values. Runs where
/// `CLCC_PYTHON` names an interpreter with anndata 0.12.
#[test]
fn anndata_opens_what_is_written() {
    let Some(python) = Python::with("anndata") else {
        return;
    };
    let (dir, path) = written(&example());
    let h5ad = dir.path().join("a.h5ad");
    example().write_h5ad(&h5ad).unwrap();
    let script = reference("anndata/check.py");
    for path in [path, h5ad] {
        python.run(&["-W", "error"], &[&script, &path]);
    }
}

/// libhdf5 reads packed arrays of several chunks. Runs where `CLCC_PYTHON` names an interpreter with
/// anndata 0.12.
#[test]
fn anndata_opens_a_packed_h5ad() {
    let Some(python) = Python::with("anndata") else {
        return;
    };
    let n = 150_000;
    let mut obs = Frame::new((0..n).map(|i| format!("c{i}")).collect());
    obs.set("n", Column::I64((0..n as i64).collect()));
    let x = Csr::from_rows(3, (0..n).map(|r| vec![(r as u32 % 3, 2.0)]));
    let data = AnnData {
        obs,
        var: Frame::new(["a", "b", "c"].map(str::to_string).to_vec()),
        layers: BTreeMap::from([("dense".to_string(), Matrix::Dense(x.to_dense()))]),
        x: Some(Matrix::Csr(x)),
        ..AnnData::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5ad");
    data.write_h5ad(&path).unwrap();
    const CHECK: &str = "
import sys, anndata
a = anndata.read_h5ad(sys.argv[1])
n = 150_000
assert a.shape == (n, 3) and a.X.sum() == 2 * n and a.X.nnz == n
assert (a.X.toarray() == a.layers['dense']).all() and a.layers['dense'][4, 1] == 2
assert list(a.obs['n']) == list(range(n)) and a.obs_names[n - 1] == f'c{n - 1}'
";
    python.run(&["-W", "error", "-c", CHECK], &[&path]);
}
