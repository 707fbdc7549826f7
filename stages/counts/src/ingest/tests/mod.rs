mod bad;
mod features;
mod names;
mod sheet;
mod tenx;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use ndarray::array;

use super::*;
use clcc_data::anndata::Reader;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Progress};

/// Keeps the warnings.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, _: u64, _: u64, _: &str) {}
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_string());
    }
}

/// A private directory with inputs, and what a run over them gave.
struct Bench {
    dir: tempfile::TempDir,
    heard: Heard,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            heard: Heard::default(),
        }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(
        &self,
        counts: &Path,
        annotations: Option<&Path>,
        params: &IngestParams,
        keys: &[&str],
    ) -> StageResult<Metrics> {
        self.run_as(counts, None, annotations, params, keys)
    }

    fn run_as(
        &self,
        counts: &Path,
        format: Option<&str>,
        annotations: Option<&Path>,
        params: &IngestParams,
        keys: &[&str],
    ) -> StageResult<Metrics> {
        let input = |role: &str, path: &Path| InputArtifact {
            role: role.into(),
            branch: Branch::new(),
            path: path.to_path_buf(),
            format: format.filter(|_| role == "counts").map(str::to_string),
            builtin: None,
        };
        let out_dir = self.dir.path().join("out");
        let _ = std::fs::remove_dir_all(&out_dir);
        std::fs::create_dir(&out_dir).unwrap();
        let mut inputs = vec![input("counts", counts)];
        inputs.extend(annotations.map(|a| input("annotations", a)));
        Ingest::run(
            &StageContext {
                inputs,
                out_dir,
                keys: keys.iter().map(ToString::to_string).collect(),
                seed: 0,
                threads: 1,
                device: DeviceChoice::Cpu,
                checkpoint_dir: None,
                progress: &self.heard,
                cancel: &AtomicBool::new(false),
            },
            params,
        )
    }

    fn patient(&self, name: &str) -> AnnData {
        Reader::open(&self.dir.path().join("out/counts").join(name))
            .unwrap()
            .read()
            .unwrap()
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

/// Samples interleaved, as in GSE131907; `c5_N7` belongs to nobody.
const MATRIX: &str = "Index\tc1_T6\tc2_T8\tc3_N6\tc4_T6\tc5_N7\n\
                      A1BG\t0\t5\t0\t2\t9\n\
                      TP53\t1\t0\t0\t0\t9\n\
                      ZYX\t0\t0\t0\t300\t9\n";
const TABLE: &str = "Index\tBarcode\tSample\tSample_Origion\tCell_type\n\
                     c5_N7\tc5\tN7\tnLung\tNK cells\n\
                     c4_T6\tc4\tT6\ttLung\tEpithelial cells\n\
                     c3_N6\tc3\tN6\tnLung\tNK cells\n\
                     c1_T6\tc1\tT6\ttLung\tNK cells\n\
                     c2_T8\tc2\tT8\ttLung\tEpithelial cells\n";

fn two_patients() -> IngestParams {
    IngestParams {
        group_by: "Sample".into(),
        groups: BTreeMap::from([
            ("P6".into(), vec!["T6".into(), "N6".into()]),
            ("P8".into(), vec!["T8".into()]),
            ("P9".into(), vec!["T9".into()]),
        ]),
        ..IngestParams::default()
    }
}

#[test]
fn one_pass_gives_each_patient_its_cells_with_joined_annotations() {
    let b = Bench::new();
    let (counts, table) = (b.file("m.txt", MATRIX), b.file("a.txt", TABLE));
    let metrics = b
        .run(&counts, Some(&table), &two_patients(), &["P6", "P8"])
        .unwrap();
    let p6 = b.patient("P6");
    // File order of the columns, whatever the order of the table.
    assert_eq!(p6.obs.index, ["c1_T6", "c3_N6", "c4_T6"]);
    assert_eq!(p6.var.index, ["A1BG", "TP53", "ZYX"]);
    let x = p6.x.unwrap();
    assert!(matches!(x, Matrix::Csr(_)));
    assert_eq!(
        x.into_dense(),
        array![[0., 1., 0.], [0., 0., 0.], [2., 0., 300.]]
    );
    assert_eq!(
        p6.obs.columns.keys().collect::<Vec<_>>(),
        ["patient", "sample", "sample_origin", "cell_type", "Barcode"]
    );
    assert_eq!(p6.obs.texts("patient").unwrap(), ["P6"; 3]);
    assert_eq!(p6.obs.texts("sample").unwrap(), ["T6", "N6", "T6"]);
    assert_eq!(
        p6.obs.texts("sample_origin").unwrap(),
        ["tLung", "nLung", "tLung"]
    );
    assert_eq!(
        p6.obs.texts("cell_type").unwrap(),
        ["NK cells", "NK cells", "Epithelial cells"]
    );
    let p8 = b.patient("P8");
    assert_eq!(p8.obs.index, ["c2_T8"]);
    // Only the categories that its cells have.
    let Column::Category(kind) = &p8.obs.columns["cell_type"] else {
        panic!("a category")
    };
    assert_eq!(kind.categories, ["Epithelial cells"]);
    assert_eq!(metrics["cells"], 4);
    assert_eq!(metrics["nonzero_counts"], 4);
    let summary =
        std::fs::read_to_string(b.dir.path().join("out/ingest_summary/ingest_summary.tsv"))
            .unwrap();
    assert!(
        summary.contains("P6\tN6,T6\t3\t3\t3\t303\t1\t1\n"),
        "{summary}"
    );
    // Nothing but that these patients are small.
    let heard = b.heard.0.lock().unwrap().clone();
    let of_few_cells = |w: &String| w.ends_with("are all of its samples in `groups`?");
    assert!(
        heard.len() == 2 && heard.iter().all(of_few_cells),
        "{heard:?}"
    );
}

#[test]
fn gzip_crlf_bom_and_quotes_change_nothing() {
    let b = Bench::new();
    let table = b.file("a.txt", TABLE);
    let expected = {
        b.run(
            &b.file("m.txt", MATRIX),
            Some(&table),
            &two_patients(),
            &["P6"],
        )
        .unwrap();
        b.patient("P6")
    };
    let (first, second) = MATRIX.as_bytes().split_at(70);
    let quoted = MATRIX
        .replace("A1BG", "\"A1BG\"")
        .replace("c1_T6", "\"c1_T6\"");
    let variants: [(&str, Vec<u8>); 6] = [
        ("gz.txt.gz", gzip(MATRIX.as_bytes())),
        ("members.txt.gz", [gzip(first), gzip(second)].concat()),
        ("crlf.txt", MATRIX.replace('\n', "\r\n").into()),
        ("bom.txt.gz", gzip(format!("\u{feff}{MATRIX}").as_bytes())),
        ("bom.txt", format!("\u{feff}{}", MATRIX.trim_end()).into()),
        ("quoted.tsv", quoted.into()),
    ];
    for (name, bytes) in variants {
        b.run(&b.file(name, bytes), Some(&table), &two_patients(), &["P6"])
            .unwrap();
        assert_eq!(b.patient("P6"), expected, "{name}");
    }
}

#[test]
fn bad_matrices_are_refused_with_their_place() {
    let b = Bench::new();
    let table = b.file("a.txt", TABLE);
    let message = |text: &str| {
        let path = b.file("bad.txt", text);
        let error = b
            .run(&path, Some(&table), &two_patients(), &["P6"])
            .unwrap_err()
            .to_string();
        error.replace(&format!("`{}`", path.display()), "FILE")
    };
    let with = |from: &str, to: &str| MATRIX.replace(from, to);
    assert_eq!(
        message(""),
        "FILE, line 1: expected `Index` and cell ids, found an empty file"
    );
    assert_eq!(
        message("Index\tc1_T6\tc3_N6\n"),
        "FILE, line 2: expected a gene and its counts, found the end of the file"
    );
    assert_eq!(
        message(&with("TP53\t1\t0", "TP53\t1")),
        "FILE, line 3: gene `TP53`: expected 5 counts, found 4"
    );
    assert_eq!(
        message(&with("TP53\t1", "TP53\t1\t0")),
        "FILE, line 3: gene `TP53`: expected 5 counts, found 6"
    );
    assert_eq!(
        message(&with("\t300", "\t-3")),
        "FILE, line 4: gene `ZYX`, cell `c4_T6`: expected a count that is not negative, found `-3`"
    );
    assert_eq!(
        message(&with("\t300", "\t0.5")),
        "FILE, line 4: gene `ZYX`, cell `c4_T6`: expected a whole count, found `0.5`"
    );
    assert_eq!(
        message(&with("\t300", "\tNA")),
        "FILE, line 4: gene `ZYX`, cell `c4_T6`: expected a count, found `NA`"
    );
    assert_eq!(
        message(&with("ZYX", "A1BG")),
        "FILE, line 4: gene `A1BG` is also on line 2"
    );
    assert_eq!(
        message(&with("c4_T6", "c1_T6")),
        "FILE, line 1: cell id `c1_T6` is in column 2 and again in column 5"
    );
    assert_eq!(
        message(&with("TP53", "\nTP53")),
        "FILE, line 3: expected a gene, found a blank line"
    );
    // Cells that nobody keeps are checked too.
    assert!(
        message(&with("ZYX\t0\t0\t0\t300\t9", "ZYX\t0\t0\t0\t300\tx"))
            .contains("cell `c5_N7`: expected a count")
    );
}

#[test]
fn a_cut_off_or_corrupt_gzip_stream_is_refused() {
    let b = Bench::new();
    let table = b.file("a.txt", TABLE);
    // Noise does not shrink, so that the cut leaves whole lines before it.
    let mut rng = clcc_numerics::rng::Rng::new(1, "test", &[]);
    let mut text = MATRIX.to_string();
    for g in 0..20_000 {
        text.push_str(&format!(
            "G{g}\t{}\t{}\t0\t0\t1\n",
            rng.below(1000),
            rng.below(1000)
        ));
    }
    let whole = gzip(text.as_bytes());
    let cut = b.file("cut.txt.gz", &whole[..whole.len() / 2]);
    let error = b
        .run(&cut, Some(&table), &two_patients(), &["P6"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("the gzip stream ends early"), "{error}");
    let mut corrupt = whole;
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 200].fill(0xff);
    let corrupt = b.file("corrupt.txt.gz", corrupt);
    let error = b
        .run(&corrupt, Some(&table), &two_patients(), &["P6"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("the gzip stream is corrupt"), "{error}");
}

#[test]
fn fractions_are_kept_where_any_count_is_allowed() {
    let b = Bench::new();
    let (counts, table) = (
        b.file("m.txt", MATRIX.replace("\t300", "\t0.25")),
        b.file("a.txt", TABLE),
    );
    let params = IngestParams {
        counts: CountKind::Any,
        ..two_patients()
    };
    b.run(&counts, Some(&table), &params, &["P6"]).unwrap();
    assert_eq!(b.patient("P6").x.unwrap().into_csr().get(2, 2), 0.25);
}

#[test]
fn a_patient_without_cells_is_named_with_the_values_there_are() {
    let b = Bench::new();
    let (counts, table) = (b.file("m.txt", MATRIX), b.file("a.txt", TABLE));
    let error = b
        .run(&counts, Some(&table), &two_patients(), &["P6", "P9"])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter `groups.P9`: patient `P9` has no cell: none has `T9` in `Sample`, whose values are `N6`, `N7`, `T6`, `T8`"
    );
    let error = b
        .run(&counts, Some(&table), &two_patients(), &["P7"])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter `groups`: patient `P7` has no entry; those that have one are `P6`, `P8`, `P9`"
    );
    let params = IngestParams {
        group_by: "Donor".into(),
        ..two_patients()
    };
    let error = b.run(&counts, Some(&table), &params, &["P6"]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("parameter `group_by`: the cells have no column `Donor`"),
        "{error}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(&table.display().to_string()), "{hint}");
}

#[test]
fn cells_without_annotation_are_left_out_counted_and_named() {
    let b = Bench::new();
    let counts = b.file("m.txt", MATRIX);
    let table = b.file(
        "a.txt",
        TABLE.replace("c4_T6", "other").replace("c5_N7", "more"),
    );
    let metrics = b
        .run(&counts, Some(&table), &two_patients(), &["P6"])
        .unwrap();
    assert_eq!(b.patient("P6").obs.index, ["c1_T6", "c3_N6"]);
    assert_eq!(metrics["cells_without_annotation"], 2);
    assert_eq!(metrics["annotated_cells_not_in_matrix"], 2);
    let heard = b.heard.0.lock().unwrap();
    assert_eq!(
        heard[0],
        "2 of 5 cells of the matrix have no annotation and are left out: `c4_T6`, `c5_N7`"
    );
    assert_eq!(
        heard[1],
        "2 annotated cells are not in the matrix: `more`, `other`"
    );
    drop(heard);
    let none = b.file("none.txt", "Index\tSample\nx\tT6\n");
    let error = b
        .run(&counts, Some(&none), &two_patients(), &["P6"])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ids such as `c1_T6`, the annotations such as `x`"),
        "{error}"
    );
}

#[test]
fn without_groups_a_patient_is_the_value_of_its_name() {
    let b = Bench::new();
    let (counts, table) = (b.file("m.txt", MATRIX), b.file("a.txt", TABLE));
    b.run(
        &counts,
        Some(&table),
        &IngestParams::default(),
        &["T8", "T6"],
    )
    .unwrap();
    assert_eq!(b.patient("T6").obs.index, ["c1_T6", "c4_T6"]);
    // Without annotations there is one patient, or none can be told apart.
    b.run(&counts, None, &IngestParams::default(), &["only"])
        .unwrap();
    assert_eq!(b.patient("only").n_obs(), 5);
    let error = b
        .run(&counts, None, &IngestParams::default(), &["a", "b"])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no column that tells the patients apart"),
        "{error}"
    );
}

#[test]
fn a_source_column_named_patient_is_kept_beside_ours() {
    let b = Bench::new();
    let counts = b.file("m.txt", MATRIX);
    let table = b.file("a.txt", TABLE.replace("Barcode", "patient"));
    b.run(&counts, Some(&table), &two_patients(), &["P8"])
        .unwrap();
    let obs = b.patient("P8").obs;
    assert_eq!(obs.texts("patient").unwrap(), ["P8"]);
    assert_eq!(obs.texts("patient_source").unwrap(), ["c2"]);
}

#[test]
fn a_value_of_a_group_that_no_cell_has_is_an_error() {
    let b = Bench::new();
    let (counts, table) = (b.file("m.txt", MATRIX), b.file("a.txt", TABLE));
    let mut params = two_patients();
    params
        .groups
        .insert("P6".into(), vec!["T6".into(), "n6".into()]);
    let error = b.run(&counts, Some(&table), &params, &["P6"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter `groups.P6`: patient `P6`: no cell has `n6` in `Sample`, whose values are `N6`, `N7`, `T6`, `T8`"
    );
    assert_eq!(error.hint(), Some("did you mean `N6`?"));
}

/// The same matrix as text and as an AnnData store gives the same artifacts.
#[test]
fn a_store_and_a_text_of_the_same_counts_agree() {
    let b = Bench::new();
    let x = array![
        [0f32, 1., 0.],
        [5., 0., 0.],
        [0., 0., 0.],
        [2., 0., 300.],
        [9., 9., 9.]
    ];
    let ids = ["c1_T6", "c2_T8", "c3_N6", "c4_T6", "c5_N7"];
    let mut data = AnnData {
        obs: Frame::new(ids.map(str::to_string).to_vec()),
        var: Frame::new(["A1BG", "TP53", "ZYX"].map(str::to_string).to_vec()),
        x: Some(Matrix::Csr(Csr::from_dense(&x))),
        ..AnnData::default()
    };
    let table = b.file("a.txt", TABLE);
    b.run(
        &b.file("m.txt", MATRIX),
        Some(&table),
        &two_patients(),
        &["P6", "P8"],
    )
    .unwrap();
    let expected = (b.patient("P6"), b.patient("P8"));
    for (name, x) in [
        ("csr.zarr", data.x.clone()),
        ("dense.zarr", Some(Matrix::Dense(x))),
    ] {
        data.x = x;
        let path = b.dir.path().join(name);
        data.write_zarr(&path).unwrap();
        b.run(&path, Some(&table), &two_patients(), &["P6", "P8"])
            .unwrap();
        assert_eq!((b.patient("P6"), b.patient("P8")), expected, "{name}");
    }
    data.x = Some(Matrix::Csr(
        Csr::from_dense(&array![[0.1f32, 1., 0.]]).take_rows(&[0, 0, 0, 0, 0]),
    ));
    let path = b.dir.path().join("bad.zarr");
    data.write_zarr(&path).unwrap();
    let error = b
        .run(&path, Some(&table), &two_patients(), &["P6"])
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("X, cell `c1_T6`, gene `A1BG`: expected a whole count, found `0.1`"),
        "{error}"
    );
    data.var.index[2] = "TP53".into();
    let path = b.dir.path().join("twice.zarr");
    data.write_zarr(&path).unwrap();
    let error = b
        .run(&path, Some(&table), &two_patients(), &["P6"])
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("var: gene `TP53` comes twice"), "{error}");
}

#[test]
fn an_unknown_format_is_refused() {
    let b = Bench::new();
    let error = b
        .run(
            &b.file("m.loom", ""),
            None,
            &IngestParams::default(),
            &["a"],
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the formats are `geo_umi` (also `text`, `tsv`, `csv`), `10x_mtx`, `10x_h5`, `h5ad` and `zarr`"),
        "{error}"
    );
}

#[test]
fn parameters_out_of_range_are_reported_together() {
    let mut params = two_patients();
    params.groups.insert("PA".into(), vec![]);
    params.groups.insert("PB".into(), vec!["T6".into()]);
    params.cell_id.clear();
    let found: Vec<String> = clcc_stage::params::problems::<Ingest>(&params)
        .into_iter()
        .map(|p| format!("{}: {}", p.path, p.message))
        .collect();
    assert_eq!(
        found,
        [
            "cell_id: expected text, found an empty one",
            "groups.PA: expected at least one value, found none",
            "groups.PB: `T6` is listed twice (also under `P6`)",
        ]
    );
}

/// The real ovarian file of the shared data folder; absent elsewhere.
#[test]
fn the_ovarian_h5ad_gives_four_patients() {
    let Some(path) = clcc_testing::shared_data("qian2020_ovarian/Qian2020_Ovarian.h5ad") else {
        return;
    };
    let b = Bench::new();
    let metrics = b
        .run(
            &path,
            None,
            &IngestParams::default(),
            &["11", "12", "13", "14"],
        )
        .unwrap();
    assert_eq!(metrics["cells"], 4000);
    assert_eq!(metrics["nonzero_counts"], 8_781_635);
    let whole = Reader::open(&path).unwrap();
    let (obs, x) = (whole.obs().unwrap(), whole.x().unwrap().into_csr());
    let samples = obs.texts("sample").unwrap();
    let mut epithelial = 0;
    for patient in ["11", "12", "13", "14"] {
        let data = b.patient(patient);
        let rows: Vec<usize> = (0..obs.len()).filter(|&r| samples[r] == patient).collect();
        assert_eq!(data.x.unwrap().into_csr(), x.take_rows(&rows));
        assert_eq!(data.obs.index, obs.take(&rows).index);
        epithelial += data
            .obs
            .texts("cell_type")
            .unwrap()
            .iter()
            .filter(|t| t.to_lowercase().contains("epithel"))
            .count();
    }
    assert_eq!(epithelial, 1629);
}
