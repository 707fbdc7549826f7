//! What counts as a gene in a store, and entries that stand for one gene and cell twice.

use hdf5_pure::FileBuilder;

use super::*;
use clcc_data::frame::Categorical;

fn names(n: &[&str]) -> Vec<String> {
    n.iter().map(ToString::to_string).collect()
}

/// Two cells; gene `CD4` and an antibody of that name, whose values are none of counts.
fn cite() -> AnnData {
    let mut var = Frame::new(names(&["CD4", "G2", "CD4", "G3"]));
    let types = [
        "Gene Expression",
        "Gene Expression",
        "Antibody Capture",
        "Gene Expression",
    ];
    var.set(
        "feature_types",
        Column::Category(Categorical::from_values(&types)),
    );
    AnnData {
        obs: Frame::new(names(&["c1", "c2"])),
        var,
        x: Some(Matrix::Csr(Csr::from_dense(&array![
            [1f32, 2., 0.5, 0.],
            [0., 3., -7.25, 4.]
        ]))),
        ..AnnData::default()
    }
}

fn run(b: &Bench, data: &AnnData, params: &IngestParams) -> StageResult<Metrics> {
    let path = b.dir.path().join("f.zarr");
    let _ = std::fs::remove_dir_all(&path);
    data.write_zarr(&path).unwrap();
    b.run(&path, None, params, &["p"])
}

fn genes(b: &Bench) -> (Vec<String>, ndarray::Array2<f32>) {
    let data = b.patient("p");
    (data.var.index, data.x.unwrap().into_dense())
}

fn heard(b: &Bench) -> String {
    std::mem::take(&mut *b.heard.0.lock().unwrap()).join("\n")
}

fn with_types(types: [&str; 4]) -> AnnData {
    let mut data = cite();
    data.var.index = names(&["G1", "G2", "G3", "G4"]);
    data.x = Some(Matrix::Csr(Csr::from_dense(&array![
        [1f32, 2., 3., 0.],
        [0., 3., 1., 4.]
    ])));
    data.var.set("feature_types", Column::Str(names(&types)));
    data
}

#[test]
fn other_modalities_of_a_store_are_dropped_and_counted() {
    let b = Bench::new();
    let all = IngestParams::default();
    let (found, x) = {
        run(&b, &cite(), &all).unwrap();
        genes(&b)
    };
    assert_eq!(found, ["CD4", "G2", "G3"]);
    assert_eq!(x, array![[1., 2., 0.], [0., 3., 4.]]);
    assert!(heard(&b).contains("1 features of type `Antibody Capture` are left out"));

    // As other collections write it; a feature without a type is none.
    run(&b, &with_types(["GEX", "ATAC", "NaN", "GEX"]), &all).unwrap();
    assert_eq!(genes(&b).0, ["G1", "G4"]);
    let said = heard(&b);
    assert!(
        said.contains("1 features of type `ATAC`") && said.contains("1 features without a type"),
        "{said}"
    );

    // Other words are biotypes: all are genes, and that is said.
    run(
        &b,
        &with_types(["protein_coding", "lncRNA", "lncRNA", "lncRNA"]),
        &all,
    )
    .unwrap();
    assert_eq!(genes(&b).0.len(), 4);
    assert!(
        heard(&b)
            .contains("all are taken for genes, of the types `lncRNA (3)`, `protein_coding (1)`")
    );

    run(&b, &with_types([""; 4]), &all).unwrap();
    assert_eq!(genes(&b).0.len(), 4);
    assert!(!heard(&b).contains("type"));

    let error = run(
        &b,
        &with_types(["Peaks", "Antibody Capture", "Peaks", "Peaks"]),
        &all,
    )
    .unwrap_err();
    assert!(
        error.to_string().ends_with(
            "var/feature_types: expected features of type `Gene Expression`, found `Antibody Capture (1)`, `Peaks (3)`"
        ),
        "{error}"
    );
}

/// `raw` of scanpy has the genes' names and may lack their columns.
#[test]
fn features_of_raw_have_the_types_of_var() {
    let b = Bench::new();
    let data = with_types(["Gene Expression", "Peaks", "Gene Expression", "Peaks"]);
    let path = b.dir.path().join("r.zarr");
    data.write_zarr(&path).unwrap();
    let mut raw = data.clone();
    raw.var = Frame::new(names(&["G4", "G3", "G2", "G1"]));
    raw.write_zarr(&path.join("raw")).unwrap();
    let params = IngestParams {
        layer: "raw".into(),
        ..IngestParams::default()
    };
    b.run(&path, None, &params, &["p"]).unwrap();
    let (found, x) = genes(&b);
    assert_eq!(found, ["G3", "G1"]);
    assert_eq!(x, array![[2., 0.], [3., 4.]]);
}

/// A store of two species, as the 10x readers of scanpy leave it.
#[test]
fn genomes_of_a_store_are_told_apart_as_in_10x_files() {
    let b = Bench::new();
    let mut data = with_types([
        "Gene Expression",
        "Gene Expression",
        "Gene Expression",
        "Peaks",
    ]);
    data.var.set(
        "genome",
        Column::Str(names(&["GRCh38", "mm10", "", "other"])),
    );
    let of = |genome: &str| IngestParams {
        genome: genome.into(),
        ..IngestParams::default()
    };
    let error = run(&b, &data, &of("")).unwrap_err().to_string();
    assert!(
        error.starts_with("parameter `genome`: the counts are of 2 genomes, `GRCh38`, `mm10`"),
        "{error}"
    );
    run(&b, &data, &of("GRCh38")).unwrap();
    assert_eq!(genes(&b).0, ["G1", "G3"]);
    data.var.set(
        "genome",
        Column::Str(names(&["GRCh38", "GRCh38", "", "other"])),
    );
    run(&b, &data, &of("")).unwrap();
    assert_eq!(genes(&b).0, ["G1", "G2", "G3"]);
}

/// Replaces an array of a zarr store by plain bytes.
pub(super) fn replace(array: &Path, dtype: &str, values: &[u8], n: usize) {
    std::fs::remove_dir_all(array).unwrap();
    std::fs::create_dir_all(array.join("c")).unwrap();
    let metadata = json!({
        "shape": [n], "data_type": dtype, "zarr_format": 3, "node_type": "array", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [n]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}], "attributes": {},
    });
    std::fs::write(array.join("zarr.json"), metadata.to_string()).unwrap();
    std::fs::write(array.join("c/0"), values).unwrap();
}

fn sparse(path: &Path, encoding: &str, indptr: &[i32], indices: &[i32], data: &[f32]) {
    let x = path.join("X");
    let bytes = |v: &[i32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    replace(&x.join("indptr"), "int32", &bytes(indptr), indptr.len());
    replace(&x.join("indices"), "int32", &bytes(indices), indices.len());
    let values: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    replace(&x.join("data"), "float32", &values, data.len());
    let place = x.join("zarr.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
    json["attributes"]["encoding-type"] = json!(encoding);
    std::fs::write(&place, json.to_string()).unwrap();
}

#[test]
fn an_index_that_comes_twice_is_summed_and_said() {
    let b = Bench::new();
    let all = IngestParams::default();
    let path = b.dir.path().join("d.zarr");
    with_types(["Gene Expression"; 4])
        .write_zarr(&path)
        .unwrap();
    // scipy: csr_matrix((data, indices, indptr), (2, 4)).toarray()
    let expected = array![[3., 0., 1., 0.], [0., 5., 0., 0.]];
    for (encoding, indptr, indices, data) in [
        (
            "csr_matrix",
            vec![0, 3, 5],
            vec![0, 2, 0, 1, 1],
            [1f32, 1., 2., 2.5, 2.5],
        ),
        (
            "csc_matrix",
            vec![0, 2, 4, 5, 5],
            vec![0, 0, 1, 1, 0],
            [1., 2., 2.5, 2.5, 1.],
        ),
    ] {
        sparse(&path, encoding, &indptr, &indices, &data);
        b.run(&path, None, &all, &["p"]).unwrap();
        assert_eq!(genes(&b).1, expected, "{encoding}");
        let said = heard(&b);
        assert!(
            said.contains("2 entries of `X` of") && said.contains("added up"),
            "{said}"
        );
    }
    // Whole numbers that add up to none are refused by their sum.
    sparse(&path, "csr_matrix", &[0, 2, 2], &[1, 1], &[1., 0.25]);
    let error = b.run(&path, None, &all, &["p"]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("gene `G2`: expected a whole count, found `1.25`"),
        "{error}"
    );
}

#[test]
fn numbered_cells_are_no_genes_and_a_column_about_genes_is_no_cell() {
    let b = Bench::new();
    let all = IngestParams::default();
    for letter in ["c", "F"] {
        let cells: Vec<String> = (0..12).map(|i| format!("{letter}{i}")).collect();
        let text = format!("gene\t{}\nTP53{}\n", cells.join("\t"), "\t1".repeat(12));
        b.run(&b.file("n.txt", &text), None, &all, &["S"]).unwrap();
    }
    for column in ["Length", "gene_name", "Unnamed: 0"] {
        let text = format!("Geneid\t{column}\tx1\tx2\nTP53\t2512\t1\t0\n");
        let error = b.run(&b.file("l.txt", &text), None, &all, &["S"]);
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains(&format!("found `{column}`, which is a column about genes")),
            "{message}"
        );
    }
}

#[test]
fn a_transposed_matrix_is_named() {
    let b = Bench::new();
    let all = IngestParams::default();
    // Cells in rows, as scanpy has them.
    let text = "cell\tTP53\tMYC\nc1\t1\t2\nc2\t3\t4\n";
    let table = b.file("a.tsv", "Index\tsample\nc1\tS\nc2\tS\n");
    let error = b
        .run(&b.file("t.txt", text), Some(&table), &all, &["S"])
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("the matrix is transposed: expected genes in rows and cells in columns")
            && message.contains("`c1` of the annotations is where a gene is expected"),
        "{message}"
    );
    assert!(error.hint().unwrap_or_default().contains(".T.to_csv"));

    // Without annotations by what genes are called, in man and mouse.
    let symbols = [
        "TP53", "MYC", "ACTB", "EGFR", "PTEN", "RB1", "CDKN2A", "KRAS", "BRAF", "TERT",
    ];
    let mouse: Vec<String> = symbols
        .iter()
        .map(|s| s[..1].to_string() + &s[1..].to_lowercase())
        .collect();
    for header in [symbols.join("\t"), mouse.join("\t")] {
        let text = format!("cell\t{header}\nc1{0}\nc2{0}\n", "\t1".repeat(10));
        let error = b
            .run(&b.file("t.txt", text), None, &all, &["S"])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("most names of cells are those of genes"),
            "{error}"
        );
    }
    let mut store = with_types(["Gene Expression"; 4]);
    store.obs = Frame::new(names(&symbols));
    store.x = Some(Matrix::Dense(ndarray::Array2::ones((10, 4))));
    let error = run(&b, &store, &all).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected cells in `obs` and genes in `var`"),
        "{error}"
    );
    store.obs = Frame::new((0..10).map(|c| format!("CELL{c}")).collect());
    run(&b, &store, &all).unwrap();
}

#[test]
fn tables_of_feature_counts_say_what_to_remove() {
    let b = Bench::new();
    let error = |text: &str| {
        let error = b
            .run(
                &b.file("f.txt", text),
                None,
                &IngestParams::default(),
                &["p"],
            )
            .unwrap_err();
        (
            error.to_string(),
            error.hint().unwrap_or_default().to_string(),
        )
    };
    let program = "# Program:featureCounts v2.0.1; Command:\"featureCounts\" \"-a\" \"x.gtf\"";
    let places =
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\tc1\tc2\nA\tchr1;chr1\t1;5\t2;9\t+;+\t7\t0\t3\n";
    let (message, hint) = error(&format!("{program}\n{places}"));
    assert!(
        message.contains(
            "line 1: expected `Index` and cell ids, found the comment `# Program:featureCounts"
        ),
        "{message}"
    );
    assert!(hint.contains("cut -f 1,7-"), "{hint}");
    let (message, hint) = error(places);
    assert!(
        message.contains(
            "found the columns `Chr`, `Start`, `End`, `Strand` and `Length` of featureCounts"
        ),
        "{message}"
    );
    assert!(hint.contains("cut -f 1,7-"), "{hint}");
    // Without those columns they are not to be cut.
    let (_, hint) = error(&format!("{program}\nGeneid\tc1\tc2\nA\t0\t3\n"));
    assert!(hint.contains("grep") && !hint.contains("cut"), "{hint}");
    let (message, hint) = error("\nGeneid\tc1\tc2\nA\t0\t3\n");
    assert!(
        message.ends_with("line 1: expected `Index` and cell ids, found a blank line"),
        "{message}"
    );
    assert!(hint.contains("before the header"), "{hint}");
    let (message, _) = error("Geneid\tc1\tc2\rA\t0\t3\r");
    assert!(message.contains("found `\\r` alone"), "{message}");
    // A header that begins with the sign is one.
    b.run(
        &b.file("h.txt", "#gene\tc1\tc2\nA\t0\t3\n"),
        None,
        &IngestParams::default(),
        &["p"],
    )
    .unwrap();
}

#[test]
fn the_matrix_may_lie_elsewhere() {
    let b = Bench::new();
    let mut data = with_types(["Gene Expression"; 4]);
    let counts = data.x.take().unwrap();
    let all = IngestParams::default();
    let message = |data: &AnnData| run(&b, data, &all).unwrap_err().to_string();
    assert!(message(&data).ends_with(
        "X: expected a matrix, found none; it has neither layers nor `raw`, so there are no counts to read"
    ));
    data.layers.insert("counts".into(), counts);
    assert!(message(&data).ends_with(
        "X: expected a matrix, found none; name the counts with `layer`: there is `counts`"
    ));
}

/// A file of the layout of Cell Ranger 3 with two genes and two cells.
fn tenx_h5(path: &Path, barcodes: [&str; 2], genomes: [&str; 2]) {
    let mut file = FileBuilder::new();
    let mut matrix = file.create_group("matrix");
    matrix
        .create_dataset("barcodes")
        .with_vlen_strings(&barcodes)
        .with_shape(&[2]);
    matrix
        .create_dataset("data")
        .with_i32_data(&[1, 2, 3])
        .with_shape(&[3]);
    matrix
        .create_dataset("indices")
        .with_i64_data(&[0, 0, 1])
        .with_shape(&[3]);
    matrix
        .create_dataset("indptr")
        .with_i64_data(&[0, 1, 3])
        .with_shape(&[3]);
    matrix
        .create_dataset("shape")
        .with_i32_data(&[2, 2])
        .with_shape(&[2]);
    let mut features = matrix.create_group("features");
    for (name, values) in [
        ("id", ["E1", "E2"]),
        ("name", ["A", "B"]),
        ("feature_type", ["Gene Expression"; 2]),
        ("genome", genomes),
    ] {
        features
            .create_dataset(name)
            .with_vlen_strings(&values)
            .with_shape(&[2]);
    }
    matrix.add_group(features.finish());
    file.add_group(matrix.finish());
    file.write(path).unwrap();
}

/// What `run` reads, the survey reads, with the format that is stated and without.
#[test]
fn a_folder_of_10x_files_is_surveyed_as_it_is_read() {
    let b = Bench::new();
    let folder = b.dir.path().join("h5s");
    std::fs::create_dir(&folder).unwrap();
    tenx_h5(&folder.join("11.h5"), ["AAA-1", "CCC-1"], ["GRCh38"; 2]);
    tenx_h5(&folder.join("12.h5"), ["AAA-1", "GGG-1"], ["GRCh38"; 2]);
    let table = b.file(
        "cells.csv",
        "cell,sample,cell_type\nAAA-1_11,11,T\nCCC-1_11,11,B\nAAA-1_12,12,T\nGGG-1_12,12,NA\n",
    );
    let mut params = IngestParams {
        cell_id: "cell".into(),
        ..IngestParams::default()
    };
    params.columns.sample = "sample".into();
    let keys = ["11".to_string(), "12".to_string()];
    for format in [Some("10x_h5"), None] {
        let found = survey(&folder, format, Some(&table), &params, &keys).unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(
            (found.n_cells, found.genomes.clone()),
            (4, names(&["GRCh38"]))
        );
        assert_eq!(found.obs["cell_type"].missing, 1);
    }
    b.run(&folder, Some(&table), &params, &["11", "12"])
        .unwrap();
    assert_eq!(b.patient("12").obs.index, ["AAA-1_12", "GGG-1_12"]);
    assert_eq!(b.patient("12").obs.texts("cell_type").unwrap(), ["T", ""]);

    // Genomes are named where they must be told apart, and the columns are looked at all the same.
    let mixed = b.dir.path().join("mixed.h5");
    tenx_h5(&mixed, ["AAA-1", "CCC-1"], ["GRCh38", "mm10"]);
    let found = survey(
        &mixed,
        None,
        None,
        &IngestParams::default(),
        &["x".to_string()],
    )
    .unwrap();
    assert_eq!(found.genomes, ["GRCh38", "mm10"]);
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(
        found.problems[0]
            .to_string()
            .starts_with("parameter `genome`: the counts are of 2 genomes")
    );
}
