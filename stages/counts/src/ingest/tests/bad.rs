//! Input that is refused, or understood although it is unusual: each with its message.

use std::collections::BTreeMap;

use super::*;

fn refused(b: &Bench, path: &Path, params: &IngestParams) -> String {
    b.run(path, None, params, &["p"]).unwrap_err().to_string()
}

#[test]
fn what_is_no_text_is_named() {
    let b = Bench::new();
    let all = IngestParams::default();
    let noise: Vec<u8> = (0..4096u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for (name, bytes, expected) in [
        (
            "empty.txt",
            Vec::new(),
            "line 1: expected `Index` and cell ids, found an empty file",
        ),
        (
            "empty.txt.gz",
            gzip(b""),
            "line 1: expected `Index` and cell ids, found an empty file",
        ),
        (
            "openssl.txt",
            [b"Salted__".as_slice(), &noise].concat(),
            "found a file that is encrypted (openssl)",
        ),
        (
            "gpg.txt",
            noise.clone(),
            "expected text, found binary data: the file is encrypted, or of another format",
        ),
        (
            "gpg.txt.gz",
            gzip(&noise),
            "expected text, found binary data: the file is encrypted, or of another format",
        ),
        (
            "zip.txt",
            b"PK\x03\x04rest".to_vec(),
            "found a file that is a zip archive: unpack it first",
        ),
        (
            "twice.txt.gz",
            gzip(&gzip(b"Index\tc\n")),
            "found a file that is packed with gzip twice: unpack it once",
        ),
        (
            "endless_line.txt",
            [b"Index".as_slice(), &b"\tc".repeat((1 << 24) + 1)].concat(),
            "expected at most 16777216 fields, found 16777218",
        ),
    ] {
        let found = refused(&b, &b.file(name, bytes), &all);
        assert!(found.ends_with(expected), "{name}: {found}");
    }
}

#[test]
fn a_header_without_its_first_field_is_understood_and_said() {
    let b = Bench::new();
    // R's write.table: names quoted, no field above the row names.
    let text = "\"c1_T6\"\t\"c2_T8\"\n\"A1BG\"\t0\t5\n\"TP53\"\t1\t0\n";
    let path = b.file("r.txt", text);
    b.run(&path, None, &IngestParams::default(), &["p"])
        .unwrap();
    let data = b.patient("p");
    assert_eq!(data.obs.index, ["c1_T6", "c2_T8"]);
    assert_eq!(data.x.unwrap().into_dense(), array![[0., 1.], [5., 0.]]);
    let heard = b.heard.0.lock().unwrap().clone();
    assert!(
        heard[0].ends_with(
            "has no name for the genes' column, as R writes it: its first field, `c1_T6`, is a cell"
        ),
        "{heard:?}"
    );
    // Where the first field is a usual name, a longer row is a wrong row.
    let found = refused(
        &b,
        &b.file("long.txt", "Index\tc1\nA\t0\t5\n"),
        &IngestParams::default(),
    );
    assert!(
        found.ends_with("line 2: gene `A`: expected 1 counts, found 2"),
        "{found}"
    );
}

#[test]
fn commas_semicolons_and_blanks_separate_too() {
    let b = Bench::new();
    let text = "gene,\"c,1\",c2,c3,c4,c5\n\"A,1\",0,0,0,0,0\nB,1,0,0,0,12\nC,0,0,0,0,3\n";
    for (name, text) in [
        ("m.csv", text.to_string()),
        (
            "m.txt",
            text.replace("c,1", "c 1")
                .replace("A,1", "A 1")
                .replace(',', ";"),
        ),
        (
            "b.txt",
            text.replace("c,1", "c1")
                .replace("A,1", "A1")
                .replace(',', " "),
        ),
    ] {
        b.run(&b.file(name, text), None, &IngestParams::default(), &["p"])
            .unwrap();
        let x = b.patient("p").x.unwrap().into_dense();
        assert_eq!(
            x.column(1),
            ndarray::aview1(&[1., 0., 0., 0., 12.]),
            "{name}"
        );
        assert_eq!(
            x.column(2),
            ndarray::aview1(&[0., 0., 0., 0., 3.]),
            "{name}"
        );
    }
}

#[test]
fn names_that_are_missing_are_refused() {
    let b = Bench::new();
    for (text, expected) in [
        (
            "Index\tc1\t\nA\t0\t0\n",
            "line 1: expected a cell id in column 3, found nothing",
        ),
        (
            "Index\tc1\n\t0\n",
            "line 2: expected the name of a gene, found nothing",
        ),
        (
            "Index\n",
            "line 1: expected `Index` and cell ids between tabs or commas, found one field",
        ),
    ] {
        let found = refused(&b, &b.file("m.txt", text), &IngestParams::default());
        assert!(found.ends_with(expected), "{found}");
    }
}

fn store() -> AnnData {
    let names = |n: &[&str]| Frame::new(n.iter().map(ToString::to_string).collect());
    let x = Csr::from_dense(&array![
        [1f32, 0., 2.],
        [0., 0., 3.],
        [4., 0., 0.],
        [0., 5., 0.]
    ]);
    AnnData {
        obs: names(&["a", "b", "c", "d"]),
        var: names(&["G1", "G2", "G3"]),
        x: Some(Matrix::Csr(x)),
        ..AnnData::default()
    }
}

#[test]
fn a_csc_matrix_that_is_named_csr_is_refused() {
    let b = Bench::new();
    let path = b.dir.path().join("m.zarr");
    let mut data = store();
    // The transpose has the arrays of the CSC form; the shape stays that of the matrix.
    let Some(Matrix::Csr(x)) = data.x.take() else {
        unreachable!()
    };
    data.x = Some(Matrix::Csr(x.transpose()));
    std::mem::swap(&mut data.obs, &mut data.var);
    data.write_zarr(&path).unwrap();
    let swapped = b.dir.path().join("obs");
    std::fs::rename(path.join("obs"), &swapped).unwrap();
    std::fs::rename(path.join("var"), path.join("obs")).unwrap();
    std::fs::rename(&swapped, path.join("var")).unwrap();
    let place = path.join("X/zarr.json");
    let text = std::fs::read_to_string(&place).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["attributes"]["shape"], json!([3, 4]));
    json["attributes"]["shape"] = json!([4, 3]);
    std::fs::write(&place, json.to_string()).unwrap();
    let found = refused(&b, &path, &IngestParams::default());
    assert!(
        found.ends_with("X/indptr: expected 5 pointers of a csr matrix of 4 x 3, found 4: this is a csc matrix named csr"),
        "{found}"
    );
    // Under its own name it is the matrix.
    json["attributes"]["encoding-type"] = json!("csc_matrix");
    std::fs::write(&place, json.to_string()).unwrap();
    b.run(&path, None, &IngestParams::default(), &["p"])
        .unwrap();
    assert_eq!(b.patient("p").x, store().x);
}

#[test]
fn normalised_values_point_to_the_counts() {
    let b = Bench::new();
    let mut data = store();
    let counts = data.x.clone().unwrap();
    data.layers.insert("counts".into(), counts.clone());
    data.x = Some(Matrix::Csr(
        counts.clone().into_csr().map(|_, _, v| v.ln_1p()),
    ));
    let path = b.dir.path().join("m.zarr");
    data.write_zarr(&path).unwrap();
    let found = refused(&b, &path, &IngestParams::default());
    assert!(
        found.contains("gene `G1`: expected a whole count, found `0.6931")
            && found.ends_with("name the counts with `layer`: there is `counts`"),
        "{found}"
    );
    let layer = |name: &str| IngestParams {
        layer: name.into(),
        ..IngestParams::default()
    };
    b.run(&path, None, &layer("counts"), &["p"]).unwrap();
    assert_eq!(b.patient("p").x, Some(counts));
    let found = refused(&b, &path, &layer("raw"));
    assert!(
        found.starts_with("parameter `layer`: there is no `raw` in"),
        "{found}"
    );
    let found = refused(&b, &path, &layer("spliced"));
    assert!(
        found.starts_with("parameter `layer`: there is no `spliced` in")
            && found.ends_with("there is `counts`"),
        "{found}"
    );
}

/// Files of the shared data folder, whole and cut in half; absent elsewhere.
#[test]
fn an_hdf5_file_cut_in_half_says_so() {
    let Some(root) = clcc_testing::shared_data("formats") else {
        return;
    };
    let b = Bench::new();
    for (name, file) in [
        ("half.h5ad", "variants/csr_gzip.h5ad"),
        (
            "half.h5",
            "scanpy/tests/_data/10x_data/3.0.0/filtered_feature_bc_matrix.h5",
        ),
    ] {
        let bytes = std::fs::read(root.join(file)).unwrap();
        let path = b.file(name, &bytes[..bytes.len() / 2]);
        let found = refused(&b, &path, &IngestParams::default());
        let expected = format!(
            "the file is cut off: it says that it has {} bytes, there are {}",
            bytes.len(),
            bytes.len() / 2
        );
        assert!(found.ends_with(&expected), "{found}");
    }
    let found = refused(&b, &b.file("empty.h5ad", ""), &IngestParams::default());
    assert!(
        found.ends_with("expected an HDF5 file (h5ad, 10x h5), found an empty file"),
        "{found}"
    );
    let found = refused(
        &b,
        &b.file("text.h5ad", "Index\tc1\n"),
        &IngestParams::default(),
    );
    assert!(
        found.contains("found other data: the file is encrypted"),
        "{found}"
    );
}

/// Smart-seq2 estimates of the shared data folder; absent elsewhere.
#[test]
fn counts_that_are_not_whole_need_to_be_asked_for() {
    let Some(root) = clcc_testing::shared_data("oligodendroglioma") else {
        return;
    };
    let b = Bench::new();
    for name in [
        "oligodendroglioma_expression_downsampled.counts.matrix.gz",
        "oligodendroglioma.h5ad",
    ] {
        let path = root.join(name);
        let found = refused(&b, &path, &IngestParams::default());
        assert!(found.contains("expected a whole count, found `"), "{found}");
        let error = b
            .run(&path, None, &IngestParams::default(), &["p"])
            .unwrap_err();
        assert!(
            error.hint().is_some_and(|h| h.contains("`counts: any`")),
            "{error}"
        );
        let any = IngestParams {
            counts: CountKind::Any,
            ..IngestParams::default()
        };
        let metrics = b.run(&path, None, &any, &["p"]).unwrap();
        assert_eq!(metrics["cells"], 184, "{name}");
    }
}

/// `raw` of the shared data folder's example; absent elsewhere.
#[test]
fn raw_counts_come_with_their_own_genes() {
    let Some(path) = clcc_testing::shared_data("formats/variants/with_raw.h5ad") else {
        return;
    };
    let b = Bench::new();
    let raw = IngestParams {
        layer: "raw".into(),
        groups: BTreeMap::from([(
            "p".to_string(),
            ["11", "12", "13", "14"].map(str::to_string).to_vec(),
        )]),
        ..IngestParams::default()
    };
    b.run(&path, None, &raw, &["p"]).unwrap();
    let data = b.patient("p");
    assert_eq!((data.n_obs(), data.n_vars()), (200, 12_000));
    assert_eq!(data.x.unwrap().into_csr().nnz(), 405_559);
}
