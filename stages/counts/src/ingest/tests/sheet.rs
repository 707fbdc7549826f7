//! Several files of one patient.

use super::*;

const FEATURES: &str = "E1\tA\tGene Expression\nE2\tB\tGene Expression\nE3\tC\tGene Expression\n";
const MATRIX: &str =
    "%%MatrixMarket matrix coordinate integer general\n3 2 3\n1 1 1\n3 1 4\n2 2 5\n";

/// A 10x folder `t`, a text `n.tsv` whose genes stand in another order, and what `sheet` says of them.
fn bench(sheet: &str) -> (Bench, PathBuf) {
    let b = Bench::new();
    let folder = b.dir.path().join("t");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in [
        ("barcodes.tsv", "AAA-1\nCCC-1\n"),
        ("features.tsv", FEATURES),
        ("matrix.mtx", MATRIX),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    b.file(
        "n.tsv",
        "gene\tAAA-1\tGGG-1\tTTT-1\nC\t7\t0\t2\nX\t1\t1\t1\nA\t0\t3\t0\n",
    );
    let sheet = b.file("samples.csv", sheet);
    (b, sheet)
}

const SHEET_TEXT: &str =
    "patient,sample,path,condition,age\nP,T,t,tumour,61\nP,N,n.tsv,normal,\nQ,T,t2,tumour,5\n";

impl Bench {
    fn run_sheet(&self, sheet: &Path, annotations: Option<&Path>) -> StageResult<Metrics> {
        self.run_as(
            sheet,
            Some(SHEET),
            annotations,
            &IngestParams::default(),
            &["P"],
        )
    }
}

#[test]
fn samples_of_any_layout_stand_below_one_another_with_the_genes_of_all() {
    let (b, sheet) = bench(SHEET_TEXT);
    let metrics = b.run_sheet(&sheet, None).unwrap();
    assert_eq!(
        (&metrics["cells"], &metrics["genes"]),
        (&json!(5), &json!(2))
    );
    let data = b.patient("P");
    assert_eq!(
        data.obs.index,
        ["AAA-1_T", "CCC-1_T", "AAA-1_N", "GGG-1_N", "TTT-1_N"]
    );
    assert_eq!(data.obs.texts("sample").unwrap(), ["T", "T", "N", "N", "N"]);
    assert_eq!(
        data.obs.texts("condition").unwrap(),
        ["tumour", "tumour", "normal", "normal", "normal"]
    );
    assert_eq!(data.obs.texts("age").unwrap(), ["61", "61", "", "", ""]);
    // `B` is not in the text, `X` not in the folder.
    assert_eq!(data.var.index, ["A", "C"]);
    assert_eq!(
        data.x.unwrap().into_dense(),
        array![[1., 4.], [0., 0.], [0., 7.], [3., 0.], [0., 2.]]
    );
    let heard = b.heard.0.lock().unwrap().join("\n");
    assert!(
        heard.contains("have 2 genes in common, the largest has 3"),
        "{heard}"
    );
}

#[test]
fn a_table_of_all_samples_finds_its_cells_by_any_usual_name() {
    for (table, expected) in [
        (
            "Index,cell_type\nAAA-1_T,x\nCCC-1_T,y\nAAA-1_N,z\nGGG-1_N,z\n",
            ["x", "y", "z", "z"],
        ),
        (
            "Index,cell_type\nT_AAA-1,x\nT_CCC-1,y\nN_AAA-1,z\nN_GGG-1,z\n",
            ["x", "y", "z", "z"],
        ),
        // Bare ids, of which two of three are there.
        (
            "Index,cell_type\nAAA-1,x\nCCC-1,y\nGGG-1,z\n",
            ["x", "y", "x", "z"],
        ),
    ] {
        let (b, sheet) = bench(SHEET_TEXT);
        let table = b.file("cells.csv", table);
        b.run_sheet(&sheet, Some(&table)).unwrap();
        let data = b.patient("P");
        assert_eq!(data.obs.index.len(), 4);
        assert_eq!(data.obs.texts("cell_type").unwrap(), expected);
    }
    // One barcode in common is chance.
    let (b, sheet) = bench(SHEET_TEXT);
    let table = b.file("cells.csv", "Index,cell_type\nAAA-1_T,x\nAAA-1,y\n");
    let error = b.run_sheet(&sheet, Some(&table)).unwrap_err().to_string();
    assert!(
        error.contains("no cell of sample `N`")
            && error.contains("`AAA-1_N`, `N_AAA-1` or `AAA-1`"),
        "{error}"
    );
    // A table of one sample has the ids of its file.
    let own = SHEET_TEXT
        .replace(",age", ",annotations")
        .replace(",61", ",t.csv")
        .replace("normal,\n", "normal,n.csv\n");
    let (b, sheet) = bench(&own);
    b.file("t.csv", "Index,cell_type\nAAA-1,x\nCCC-1,y\n");
    b.file("n.csv", "Index,cell_type\nAAA-1,z\nTTT-1,z\n");
    b.run_sheet(&sheet, None).unwrap();
    assert_eq!(
        b.patient("P").obs.index,
        ["AAA-1_T", "CCC-1_T", "AAA-1_N", "TTT-1_N"]
    );
}

#[test]
fn genes_of_another_annotation_and_other_parameters_are_refused() {
    let (b, sheet) = bench(SHEET_TEXT);
    b.file(
        "n.tsv",
        "gene\tAAA-1\tGGG-1\nENSG1\t7\t0\nENSG2\t1\t1\nENSG3\t1\t1\n",
    );
    let error = b.run_sheet(&sheet, None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected samples with the same genes, found 0 in common"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("gene_names"));
    let params = IngestParams {
        group_by: "sample".into(),
        ..IngestParams::default()
    };
    let (b, sheet) = bench(SHEET_TEXT);
    let error = b
        .run_as(&sheet, Some(SHEET), None, &params, &["P"])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("parameter `group_by`: a sample sheet says whose"),
        "{error}"
    );
    let error = b
        .run_as(
            &sheet,
            Some(SHEET),
            None,
            &IngestParams::default(),
            &["P", "Q"],
        )
        .unwrap_err();
    assert_eq!(error.hint(), Some("add `per: patient` to the stage"));
}

#[test]
fn a_survey_sees_the_columns_of_the_sheet_and_of_the_files() {
    let (_b, path) = bench(SHEET_TEXT);
    let sheet = Sheet::read(&path).unwrap();
    let found = survey_sheet(&sheet, None, &IngestParams::default(), &["P".into()]).unwrap();
    assert_eq!((found.n_cells, found.n_features), (5, Some(3)));
    assert_eq!(found.obs["condition"].counts["normal"], 3);
    assert_eq!(found.obs["sample"].counts["T"], 2);
    assert_eq!(found.obs["patient"].counts["P"], 5);
    assert!(found.problems.is_empty());
    let error = survey_sheet(&sheet, None, &IngestParams::default(), &[]).unwrap_err();
    assert!(
        error.to_string().contains("line 4, column `path`"),
        "{error}"
    );
}

#[test]
fn arrays_of_the_cells_go_on_with_their_cells() {
    let b = Bench::new();
    let store = |name: &str, first: f32| {
        let mut obs = Frame::new(vec!["a".into(), "b".into(), "c".into()]);
        obs.set_category("sample", &["P", "Q", "P"]);
        let spatial = array![[first, 1.0], [2.0, 3.0], [4.0, 5.0]];
        let mut data = AnnData {
            obs,
            var: Frame::new(vec!["G".into()]),
            x: Some(Matrix::Dense(array![[1f32], [2.0], [3.0]])),
            ..AnnData::default()
        };
        data.obsm.insert("spatial".into(), Matrix::Dense(spatial));
        if first == 0.0 {
            data.obsm
                .insert("X_pca".into(), Matrix::Dense(array![[1f32], [2.0], [3.0]]));
        }
        let path = b.dir.path().join(name);
        data.write_zarr(&path).unwrap();
        path
    };
    let path = store("one.zarr", 0.0);
    b.run(&path, None, &IngestParams::default(), &["P", "Q"])
        .unwrap();
    let spatial = |patient: &str| b.patient(patient).obsm["spatial"].clone().into_dense();
    assert_eq!(spatial("P"), array![[0f32, 1.0], [4.0, 5.0]]);
    assert_eq!(spatial("Q"), array![[2f32, 3.0]]);
    // Of several samples those that all have.
    store("two.zarr", 9.0);
    let sheet = b.file("s.csv", "patient,sample,path\nP,x,one.zarr\nP,y,two.zarr\n");
    b.run_sheet(&sheet, None).unwrap();
    let names: Vec<String> = b.patient("P").obsm.into_keys().collect();
    assert_eq!(names, ["spatial"]);
    assert_eq!(
        spatial("P").column(0).to_vec(),
        [0.0, 2.0, 4.0, 9.0, 2.0, 4.0]
    );
}
