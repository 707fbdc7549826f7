//! 10x folders and files, and where they are compared with what scanpy reads.

use super::*;

const BARCODES: &str = "AAA-1\nCCC-1\nGGG-1\n";
const FEATURES: &str = "E1\tA\tGene Expression\nE2\tB\tGene Expression\nCD3\tCD3\tAntibody Capture\nE3\tA\tGene Expression\n";
/// Cells: A 1; nothing; B 2 and the second A 7.
const MATRIX: &str = "%%MatrixMarket matrix coordinate integer general\n%metadata_json: {}\n4 3 5\n\
                      1 1 1\n3 1 40\n3 2 50\n2 3 2\n4 3 7\n";

fn write(b: &Bench, at: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let dir = b.dir.path().join(at);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    dir
}

fn counts(b: &Bench) -> (Vec<String>, Vec<String>, ndarray::Array2<f32>) {
    let data = b.patient("p");
    (
        data.obs.index.clone(),
        data.var.index.clone(),
        data.x.unwrap().into_dense(),
    )
}

#[test]
fn folders_of_every_kind_give_the_same_cells() {
    let b = Bench::new();
    let sorted_by_gene = "%%MatrixMarket matrix coordinate real general\n4 3 5\n\
                          1 1 1\n2 3 2.0\n3 1 40\n3 2 50\n4 3 7e0\n\n";
    let v2: String = FEATURES
        .lines()
        .map(|l| l.rsplit_once('\t').unwrap().0.to_string() + "\n")
        .collect();
    let gz = |t: &str| gzip(t.as_bytes());
    let expected = (
        vec!["AAA-1", "CCC-1", "GGG-1"],
        vec!["A", "B", "A-1"],
        array![[1., 0., 0.], [0., 0., 0.], [0., 2., 7.]],
    );
    for (name, files) in [
        (
            "plain",
            vec![
                ("barcodes.tsv", BARCODES.into()),
                ("features.tsv", FEATURES.into()),
                ("matrix.mtx", Vec::from(MATRIX)),
            ],
        ),
        (
            "gz",
            vec![
                ("barcodes.tsv.gz", gz(BARCODES)),
                ("features.tsv.gz", gz(FEATURES)),
                ("matrix.mtx.gz", gz(MATRIX)),
            ],
        ),
        (
            "prefix",
            vec![
                ("GSM1_x_barcodes.tsv.gz", gz(BARCODES)),
                ("GSM1_x_features.tsv", FEATURES.into()),
                ("GSM1_x_matrix.mtx", sorted_by_gene.into()),
            ],
        ),
    ] {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(n, f): &(&str, Vec<u8>)| (*n, f.as_slice()))
            .collect();
        let dir = write(&b, name, &files);
        let metrics = b.run(&dir, None, &IngestParams::default(), &["p"]).unwrap();
        let (cells, genes, x) = counts(&b);
        assert_eq!(
            (cells, genes, x),
            (
                expected.0.iter().map(|c| c.to_string()).collect(),
                expected.1.iter().map(|c| c.to_string()).collect(),
                expected.2.clone()
            ),
            "{name}"
        );
        assert_eq!(metrics["nonzero_counts"], 3);
        assert_eq!(
            b.patient("p").var.texts("gene_ids").unwrap(),
            ["E1", "E2", "E3"]
        );
    }
    assert_eq!(
        b.heard.0.lock().unwrap()[..2],
        [
            "1 features of type `Antibody Capture` are left out",
            "1 gene symbols come more than once and got numbers (`A-1`): `A`"
        ]
    );
    // Without types every feature is a gene.
    let dir = write(
        &b,
        "v2/hg19",
        &[
            ("barcodes.tsv", BARCODES.as_bytes()),
            ("genes.tsv", v2.as_bytes()),
            ("matrix.mtx", MATRIX.as_bytes()),
        ],
    );
    b.run(
        &dir.join("matrix.mtx"),
        None,
        &IngestParams::default(),
        &["p"],
    )
    .unwrap();
    assert_eq!(
        counts(&b).2,
        array![[1., 0., 40., 0.], [0., 0., 50., 0.], [0., 2., 0., 7.]]
    );
}

#[test]
fn several_libraries_are_samples() {
    let b = Bench::new();
    let files: [(&str, &[u8]); 3] = [
        ("barcodes.tsv", BARCODES.as_bytes()),
        ("features.tsv", FEATURES.as_bytes()),
        ("matrix.mtx", MATRIX.as_bytes()),
    ];
    write(&b, "runs/T1/outs/filtered_feature_bc_matrix", &files);
    write(&b, "runs/T1/outs/raw_feature_bc_matrix", &files);
    write(&b, "runs/N1", &files);
    let params = IngestParams {
        groups: BTreeMap::from([("p".into(), vec!["T1".into(), "N1".into()])]),
        ..IngestParams::default()
    };
    b.run(&b.dir.path().join("runs"), None, &params, &["p"])
        .unwrap();
    let data = b.patient("p");
    assert_eq!(
        data.obs.index,
        [
            "AAA-1_N1", "CCC-1_N1", "GGG-1_N1", "AAA-1_T1", "CCC-1_T1", "GGG-1_T1"
        ]
    );
    assert_eq!(
        data.obs.texts("sample").unwrap(),
        ["N1", "N1", "N1", "T1", "T1", "T1"]
    );
    let x = data.x.unwrap().into_dense();
    assert_eq!(x.row(2), x.row(5));
    assert_eq!(x.row(5), ndarray::aview1(&[0., 2., 7.]));

    let other = FEATURES.replace("E2", "E9");
    write(&b, "runs/N1", &[("features.tsv", other.as_bytes())]);
    let error = b
        .run(&b.dir.path().join("runs"), None, &params, &["p"])
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(
            "the samples `N1` and `T1` have different features: feature 2 is `E9` and `E2`"
        ),
        "{error}"
    );
}

#[test]
fn bad_folders_are_refused_with_their_place() {
    let b = Bench::new();
    let run = |name: &str, edit: (&str, &str, &str)| {
        let pick = |file: &str, text: &str| {
            if edit.0 == file {
                text.replacen(edit.1, edit.2, 1)
            } else {
                text.to_string()
            }
        };
        let (barcodes, features, matrix) = (
            pick("barcodes.tsv", BARCODES),
            pick("features.tsv", FEATURES),
            pick("matrix.mtx", MATRIX),
        );
        let dir = write(
            &b,
            name,
            &[
                ("barcodes.tsv", barcodes.as_bytes()),
                ("features.tsv", features.as_bytes()),
                ("matrix.mtx", matrix.as_bytes()),
            ],
        );
        b.run(&dir, None, &IngestParams::default(), &["p"])
            .unwrap_err()
            .to_string()
    };
    for (i, (file, from, to, expected)) in [
        ("matrix.mtx", "2 3 2", "2 3 -2", "matrix.mtx`, line 7: gene `B`, cell `GGG-1`: expected a count that is not negative, found `-2`"),
        ("matrix.mtx", "2 3 2", "2 3 0.5", "line 7: gene `B`, cell `GGG-1`: expected a whole count, found `0.5`"),
        ("matrix.mtx", "2 3 2", "2 3 NA", "expected a count, found `NA`"),
        // Found by fuzzing: a word of many bytes must not overflow.
        ("matrix.mtx", "2 3 2", "99999999999999999999999 3 2", "line 7: expected a feature from 1 to 4, found `99999999999999999999999`"),
        ("matrix.mtx", "2 3 2", "2 4 2", "line 7: expected a cell from 1 to 3, found `4`"),
        ("matrix.mtx", "2 3 2", "0 3 2", "line 7: expected a feature from 1 to 4, found `0`"),
        ("matrix.mtx", "2 3 2", "2 3", "line 7: expected a feature, a cell and a count, found `2 3`"),
        ("matrix.mtx", "2 3 2\n", "", "expected 5 entries, found 4: the file is cut off"),
        ("matrix.mtx", "2 3 2\n", "2 3 2\n2 2 1\n", "expected 5 entries, found 6: the file is longer than it says"),
        ("matrix.mtx", "2 3 2", "1 1 0.25", "line 7: gene `A`, cell `AAA-1`: expected a whole count, found `1.25`"),
        ("matrix.mtx", "4 3 5", "5 3 5", "expected 4 features x 3 cells as `features` and `barcodes` have, found 5 x 3"),
        ("matrix.mtx", "4 3 5", "3 4 5", "found 3 x 4: the matrix is transposed, its rows are the cells"),
        ("barcodes.tsv", "CCC-1", "NA", "barcodes.tsv`, line 2: expected a barcode, found `NA`"),
        ("matrix.mtx", "integer general", "pattern symmetric", "line 1: expected `coordinate`, `integer` or `real`, `general`, found `matrix coordinate pattern symmetric`"),
        ("matrix.mtx", "%%MatrixMarket", "A\tB", "line 1: expected `%%MatrixMarket`, found `a\tb matrix coordinate integer general`"),
        ("matrix.mtx", MATRIX, "", "line 1: expected a matrix-market header, found an empty file"),
        ("barcodes.tsv", "CCC-1", "AAA-1", "barcodes: cell id `AAA-1` comes twice"),
        ("barcodes.tsv", "CCC-1", "", "barcodes.tsv`, line 2: expected a barcode, found nothing"),
        ("features.tsv", "E2\tB", "E1\tB", "features: gene id `E1` comes twice"),
    ]
    .into_iter()
    .enumerate()
    {
        let found = run(&format!("b{i}"), (file, from, to));
        assert!(found.ends_with(expected), "{found}");
    }
    let dir = write(
        &b,
        "half",
        &[
            ("matrix.mtx", MATRIX.as_bytes()),
            ("barcodes.tsv", BARCODES.as_bytes()),
        ],
    );
    let error = b
        .run(&dir, None, &IngestParams::default(), &["p"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be read") || error.ends_with("expected `features.tsv.gz`, `features.tsv`, `genes.tsv.gz`, `genes.tsv` next to `matrix.mtx`, found none"), "{error}");
}

/// Entries of one gene and cell are one count, as scipy reads them; each by itself need be none.
#[test]
fn entries_that_come_twice_are_added_up_and_said() {
    let b = Bench::new();
    let matrix = MATRIX
        .replace("4 3 5", "4 3 7")
        .replace("1 1 1\n", "1 1 0.5\n2 3 -1\n1 1 2.5\n");
    let dir = write(
        &b,
        "twice",
        &[
            ("barcodes.tsv", BARCODES.as_bytes()),
            ("features.tsv", FEATURES.as_bytes()),
            ("matrix.mtx", matrix.as_bytes()),
        ],
    );
    b.run(&dir, None, &IngestParams::default(), &["p"]).unwrap();
    assert_eq!(
        counts(&b).2,
        array![[3., 0., 0.], [0., 0., 0.], [0., 1., 7.]]
    );
    let heard = b.heard.0.lock().unwrap().clone();
    let said = |w: &String| w.starts_with("2 entries of") && w.ends_with("they are added up");
    assert!(heard.iter().any(said), "{heard:?}");
}

/// Files of scanpy's tests in the shared data folder; absent elsewhere. Sums are those of
/// `scanpy.read_10x_h5` and `read_10x_mtx` 1.11.
#[test]
fn files_of_scanpys_tests_are_read() {
    let Some(root) = clcc_testing::shared_data("formats/scanpy/tests/_data") else {
        return;
    };
    let b = Bench::new();
    let run = |path: &str, genome: &str| {
        let params = IngestParams {
            genome: genome.into(),
            ..IngestParams::default()
        };
        b.run(&root.join(path), None, &params, &["p"])
    };
    let v3 = "10x_data/3.0.0/filtered_feature_bc_matrix";
    run(v3, "").unwrap();
    let folder = b.patient("p");
    let x = folder.x.clone().unwrap().into_csr();
    assert_eq!((x.n_rows(), x.n_cols(), x.nnz()), (1107, 507, 23_866));
    assert_eq!(x.data().iter().sum::<f32>(), V3_SUM);
    run(&format!("{v3}.h5"), "").unwrap();
    assert_eq!(b.patient("p"), folder);

    let v2 = "10x_data/1.2.0/filtered_gene_bc_matrices";
    run(v2, "").unwrap();
    let folder = b.patient("p");
    assert_eq!(folder.x.clone().unwrap().into_csr().nnz(), 12);
    run("10x_data/1.2.0/filtered_gene_bc_matrices_h5.h5", "").unwrap();
    assert_eq!(b.patient("p"), folder);
    let error = run("10x_data/1.2.0/multiple_genomes.h5", "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("2 genomes, `another_genome`, `hg19_chr21`"),
        "{error}"
    );
    run("10x_data/1.2.0/multiple_genomes.h5", "hg19_chr21").unwrap();
    assert_eq!(b.patient("p"), folder);

    run("10x_data/int-ids", "").unwrap();
    assert_eq!(b.patient("p").var.texts("gene_ids").unwrap()[0], "574405");
    let error = run("visium_data/2.1.0/raw_probe_bc_matrix.h5", "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected counts of genes, found counts of probes"),
        "{error}"
    );
}

const V3_SUM: f32 = 41_549.0;
