//! Names and values as their files have them: what is one, what is missing, what is left out, and what
//! [`survey`] says of them before a run.

use super::*;
use clcc_data::frame::Categorical;
use clcc_data::matrix::Matrix;

fn names(n: &[&str]) -> Vec<String> {
    n.iter().map(ToString::to_string).collect()
}

/// Cells `c1` to `c4` with these columns, genes `G1`, `G2` and `NA`; the counts of a cell are its number.
fn store(b: &Bench, name: &str, columns: &[(&str, Column)]) -> PathBuf {
    let x = array![[1f32, 0., 1.], [2., 0., 2.], [3., 0., 3.], [4., 0., 4.]];
    let mut data = AnnData {
        obs: Frame::new(names(&["c1", "c2", "c3", "c4"])),
        var: Frame::new(names(&["G1", "G2", "NA"])),
        x: Some(Matrix::Csr(Csr::from_dense(&x))),
        ..AnnData::default()
    };
    for (name, column) in columns {
        data.obs.set(name, column.clone());
    }
    let path = b.dir.path().join(name);
    let _ = std::fs::remove_dir_all(&path);
    if name.ends_with(".h5ad") {
        let _ = std::fs::remove_file(&path);
        data.write_h5ad(&path).unwrap();
    } else {
        data.write_zarr(&path).unwrap();
    }
    path
}

fn strings(values: [&str; 4]) -> Column {
    Column::Str(names(&values))
}

fn of_group(group_by: &str) -> IngestParams {
    IngestParams {
        group_by: group_by.into(),
        ..IngestParams::default()
    }
}

fn heard(b: &Bench) -> Vec<String> {
    std::mem::take(&mut b.heard.0.lock().unwrap())
}

fn assert_heard(b: &Bench, expected: &str) {
    let heard = heard(b);
    assert!(
        heard.iter().any(|w| w.contains(expected)),
        "{expected}\n{heard:?}"
    );
}

#[test]
fn samples_that_would_be_one_number_stay_two() {
    let b = Bench::new();
    let counts = b.file("m.txt", "Index\tc1\tc2\tc3\nA\t1\t2\t3\nB\t0\t0\t9\n");
    for [one, other] in [
        ["1.1", "1.10"],
        ["1E2", "10E1"],
        ["12345678901234567890", "12345678901234567891"],
        ["TRUE", "true"],
        ["+1", "1"],
        ["007", "7"],
    ] {
        let table = format!("Index\tsample\nc1\t{one}\nc2\t{other}\nc3\t{one}\n");
        let table = b.file("a.tsv", table);
        b.run(&counts, Some(&table), &of_group("sample"), &[one, other])
            .unwrap();
        assert_eq!(b.patient(one).obs.index, ["c1", "c3"], "{one}");
        assert_eq!(b.patient(other).obs.index, ["c2"], "{other}");
        assert_eq!(b.patient(one).obs.texts("sample").unwrap(), [one, one]);
    }
    // A number that no cell has under this name is asked back for.
    let table = b.file("a.tsv", "Index\tsample\nc1\t1.10\nc2\t2\nc3\t2\n");
    let error = b
        .run(&counts, Some(&table), &of_group("sample"), &["1.1"])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("none has `1.1` in `sample`, whose values are `1.10`, `2`")
    );
    assert_eq!(error.hint(), Some("did you mean `1.10`?"));
}

#[test]
fn numbers_of_a_store_name_groups_as_they_are_printed() {
    let b = Bench::new();
    for name in ["n.zarr", "n.h5ad"] {
        let path = store(
            &b,
            name,
            &[
                ("float", Column::F64(vec![11.0, 12.5, 11.0, f64::NAN])),
                ("int", Column::I64(vec![7, 8, 7, i64::MIN])),
                ("flag", Column::Bool(vec![true, false, true, true])),
            ],
        );
        for (column, key, cells) in [
            ("float", "11", vec!["c1", "c3"]),
            ("float", "12.5", vec!["c2"]),
            ("int", "7", vec!["c1", "c3"]),
            ("int", "-9223372036854775808", vec!["c4"]),
            ("flag", "False", vec!["c2"]),
        ] {
            b.run(&path, None, &of_group(column), &[key]).unwrap();
            assert_eq!(b.patient(key).obs.index, cells, "{name} {column} {key}");
        }
        // pandas prints 11.0.
        let error = b
            .run(&path, None, &of_group("float"), &["11.0"])
            .unwrap_err();
        assert!(
            error.to_string().contains("whose values are `11`, `12.5`"),
            "{error}"
        );
        assert_eq!(error.hint(), Some("did you mean `11`?"));
        assert_heard(&b, "1 of 4 cells have no value in `float`");
    }
}

/// Numbers as other programs store them: of 32 bits, and whole ones of 64 without a sign.
#[test]
fn narrow_and_wide_numbers_are_named_as_they_are_printed() {
    let b = Bench::new();
    let path = store(
        &b,
        "n.zarr",
        &[("narrow", strings([""; 4])), ("wide", strings([""; 4]))],
    );
    let narrow: Vec<u8> = [1.1f32, 1.2, 1.1, f32::NAN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    super::features::replace(&path.join("obs/narrow"), "float32", &narrow, 4);
    let odd = 1u64 << 63 | 1;
    let wide: Vec<u8> = [odd, odd + 2, 7, odd]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    super::features::replace(&path.join("obs/wide"), "uint64", &wide, 4);
    for (column, key, cells) in [
        ("narrow", "1.1", vec!["c1", "c3"]),
        ("wide", "9223372036854775809", vec!["c1", "c4"]),
        ("wide", "9223372036854775811", vec!["c2"]),
        ("wide", "7", vec!["c3"]),
    ] {
        b.run(&path, None, &of_group(column), &[key]).unwrap();
        assert_eq!(b.patient(key).obs.index, cells, "{column} {key}");
    }
}

#[test]
fn words_for_missing_are_missing_from_every_source() {
    let words = ["None", "<NA>", "N/A", "null"];
    let b = Bench::new();
    let annotations = {
        let mut text = String::from("Index\tsample\tcell_type\n");
        for (c, word) in words.iter().enumerate() {
            text.push_str(&format!("c{}\tS\t{word}\n", c + 1));
        }
        b.file("a.tsv", text)
    };
    let sample = || {
        (
            "sample",
            Column::Category(Categorical::from_values(&["S"; 4])),
        )
    };
    let category = Column::Category(Categorical::from_values(&words));
    for (name, columns, table) in [
        ("t.zarr", vec![], Some(annotations.as_path())),
        (
            "s.zarr",
            vec![sample(), ("cell_type", strings(words))],
            None,
        ),
        (
            "s.h5ad",
            vec![sample(), ("cell_type", strings(words))],
            None,
        ),
        (
            "c.zarr",
            vec![sample(), ("cell_type", category.clone())],
            None,
        ),
        ("c.h5ad", vec![sample(), ("cell_type", category)], None),
    ] {
        let path = store(&b, name, &columns);
        b.run(&path, table, &of_group("sample"), &["S"]).unwrap();
        let data = b.patient("S");
        assert_eq!(data.obs.texts("cell_type").unwrap(), [""; 4], "{name}");
        // A gene of that name is a gene.
        assert_eq!(data.var.index, ["G1", "G2", "NA"]);
    }
}

#[test]
fn cells_without_a_group_are_counted_and_warned_of() {
    let b = Bench::new();
    let path = store(
        &b,
        "g.h5ad",
        &[("donor", strings(["A", "NaN", "A", "nan"]))],
    );
    let metrics = b.run(&path, None, &of_group("donor"), &["A"]).unwrap();
    assert_eq!(b.patient("A").obs.index, ["c1", "c3"]);
    assert_eq!(metrics["cells_without_group"], 2);
    assert_heard(&b, "2 of 4 cells have no value in `donor`");
    let error = b
        .run(&path, None, &of_group("donor"), &["nan"])
        .unwrap_err();
    assert!(
        error.to_string().contains("whose values are `A`"),
        "{error}"
    );
}

#[test]
fn a_cell_without_an_id_is_refused() {
    let b = Bench::new();
    let error = b
        .run(
            &b.file("m.txt", "Index\tc1\tNA\nA\t1\t2\n"),
            None,
            &of_group(""),
            &["p"],
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("line 1: expected a cell id in column 3, found `NA`")
    );
    let mut data = AnnData {
        obs: Frame::new(names(&["c1", "nan"])),
        var: Frame::new(names(&["G"])),
        x: Some(Matrix::Csr(Csr::from_dense(&array![[1f32], [2.]]))),
        ..AnnData::default()
    };
    let path = b.dir.path().join("n.zarr");
    data.write_zarr(&path).unwrap();
    let error = b.run(&path, None, &of_group(""), &["p"]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("cell 2: expected a cell id, found `nan`"),
        "{error}"
    );
    data.obs.index[1] = "c2".into();
    std::fs::remove_dir_all(&path).unwrap();
    data.write_zarr(&path).unwrap();
    b.run(&path, None, &of_group(""), &["p"]).unwrap();
}

#[test]
fn columns_that_nobody_uses_are_left_out_and_named() {
    let b = Bench::new();
    let long = "x".repeat(300);
    let counts = b.file("m.txt", "Index\tc1\tc2\nA\t1\t2\n");
    let header = format!(",Index,sample,sex/gender,__x,_index,a,a,{long},zarr.json,.,tab\there");
    let row = |c: &str, other: &str| format!("0,{c},S,m,1,2,3,{other},4,5,6,7");
    let table = format!(
        "\"{}\"\n{}\n{}\n",
        header.replace(',', "\",\""),
        row("c1", "3"),
        row("c2", "4")
    );
    // A blank, for a tab would separate the columns.
    let table = b.file("a.csv", table.replace('\t', " "));
    b.run(&counts, Some(&table), &of_group("sample"), &["S"])
        .unwrap();
    let columns: Vec<String> = b.patient("S").obs.columns.keys().cloned().collect();
    assert_eq!(columns, ["patient", "sample", "tab here"]);
    let heard = heard(&b);
    for expected in [
        "column `` of the cells (column 1 of the annotations) has no name: it is left out",
        "column `a` of the cells comes 2 times, with different values: it is left out",
        "column `sex/gender` of the cells has a slash in its name: it is left out",
        "column `__x` of the cells has a name that starts with `__`: it is left out",
        "column `_index` of the cells has a name that the file needs for itself",
        "column `zarr.json` of the cells has a name that the file needs for itself",
        "column `.` of the cells has a name of dots alone",
        "of the cells has a name of more than 255 bytes",
    ] {
        assert_eq!(
            heard.iter().filter(|w| w.contains(expected)).count(),
            1,
            "{expected}\n{heard:?}"
        );
    }
    // They may be used all the same where ingest gives them a name, and are refused where none can be meant.
    let mut params = of_group("sex/gender");
    params.columns.cell_type = "sex/gender".into();
    b.run(&counts, Some(&table), &params, &["m"]).unwrap();
    assert_eq!(b.patient("m").obs.texts("cell_type").unwrap(), ["m", "m"]);
    let error = b
        .run(&counts, Some(&table), &of_group("a"), &["3"])
        .unwrap_err();
    assert!(
        error.to_string().starts_with(
            "parameter `group_by`: column `a` comes 2 times, with different values; the columns are"
        ),
        "{error}"
    );
}

/// What a store of another program holds under a name or in an encoding that we would not write.
#[test]
fn columns_of_a_store_that_cannot_be_read_stop_nothing() {
    let b = Bench::new();
    let path = store(
        &b,
        "o.zarr",
        &[
            ("sample", strings(["S"; 4])),
            ("dates", strings(["x"; 4])),
            ("short", strings(["x"; 4])),
        ],
    );
    let edit = |at: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let place = path.join(at).join("zarr.json");
        let mut json = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(&place, json.to_string()).unwrap();
    };
    edit("obs/dates", &|j| j["data_type"] = json!("float16"));
    edit("obs/short", &|j| j["shape"] = json!([3]));
    edit("obs", &|j| {
        j["attributes"]["column-order"] = json!(["sample", "sample", "dates", "short", "gone", ""]);
    });
    edit("", &|j| {
        j.as_object_mut().unwrap().remove("consolidated_metadata");
    });
    b.run(&path, None, &of_group("sample"), &["S"]).unwrap();
    let columns: Vec<String> = b.patient("S").obs.columns.keys().cloned().collect();
    assert_eq!(columns, ["patient", "sample"]);
    let heard = heard(&b);
    for expected in [
        "column `dates` of the cells has an encoding that is not read: it is left out",
        "column `short` of the cells cannot be read: expected 4 values, found 3",
        "column `gone` of the cells cannot be read: no such element",
        "column `` of the cells cannot be read: it has no name",
    ] {
        assert!(
            heard.iter().any(|w| w.contains(expected)),
            "{expected}\n{heard:?}"
        );
    }
}

#[test]
fn a_survey_says_what_names_may_stand_for() {
    let b = Bench::new();
    let path = store(
        &b,
        "s.zarr",
        &[
            ("sample", strings(["1.1", "1.10", "1.1", "nan"])),
            ("celltype", strings(["T", "B", "None", "B"])),
            ("sex/gender", strings(["m"; 4])),
        ][..2],
    );
    let found = survey(&path, None, None, &of_group(""), &["1.1".into()]).unwrap();
    assert_eq!(found.problems.len(), 0, "{:?}", found.problems);
    assert_eq!((found.n_cells, found.n_features), (4, Some(3)));
    assert_eq!(found.group_column.as_deref(), Some("sample"));
    let values = |pairs: &[(&str, usize)], missing| Values {
        counts: pairs.iter().map(|(v, n)| (v.to_string(), *n)).collect(),
        missing,
    };
    assert_eq!(
        found.columns["sample"],
        values(&[("1.1", 2), ("1.10", 1)], 1)
    );
    assert_eq!(found.columns["celltype"], values(&[("T", 1), ("B", 2)], 1));
    // Only the patient's cells, under the names that go on.
    let names: Vec<&String> = found.obs.keys().collect();
    assert_eq!(names, ["patient", "sample", "cell_type"]);
    assert_eq!(found.obs["cell_type"], values(&[("T", 1)], 1));
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
}

#[test]
fn a_survey_reports_everything_that_is_wrong() {
    let b = Bench::new();
    let path = store(&b, "w.zarr", &[("sample", strings(["A", "A", "B", "B"]))]);
    let mut params = of_group("donor");
    params.layer = "spliced".into();
    params.columns.cell_type = "kind".into();
    params.columns.sample_origin = "organ".into();
    let found = survey(&path, None, None, &params, &["A".into()]).unwrap();
    let said = |found: &Survey| -> Vec<String> {
        let texts = found.problems.iter().map(ToString::to_string);
        texts
            .map(|t| t.split(';').next().unwrap_or_default().to_string())
            .collect()
    };
    let columns = "the cells have no column";
    assert_eq!(
        said(&found),
        [
            format!(
                "parameter `layer`: there is no `spliced` in `{}`",
                path.display()
            ),
            format!("parameter `group_by`: {columns} `donor`"),
            format!("parameter `columns.sample_origin`: {columns} `organ`"),
            format!("parameter `columns.cell_type`: {columns} `kind`"),
        ]
    );
    assert_eq!(found.obs["sample"].counts.len(), 2);
    // Every patient, not the first alone.
    let keys = ["A", "C", "D"].map(String::from);
    let found = survey(&path, None, None, &of_group(""), &keys).unwrap();
    assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
    // The wrong column of ids hides no other name.
    let table = b.file("a.tsv", "cell\tdonor\nc1\tA\nc2\tB\n");
    let found = survey(&path, None, Some(&table), &of_group("doner"), &["A".into()]).unwrap();
    let said = said(&found);
    assert!(said[0].contains("parameter `cell_id`"), "{said:?}");
    assert!(
        said[1].contains("`group_by`: the cells have no column `doner`"),
        "{said:?}"
    );
    assert_eq!(found.columns["donor"].counts.len(), 2);
    // What is no file of counts at all is an error.
    assert!(survey(&b.file("x.h5ad", "text"), None, None, &of_group(""), &[]).is_err());
}

/// The real ovarian file of the shared data folder; absent elsewhere.
#[test]
fn the_ovarian_h5ad_is_surveyed() {
    let Some(path) = clcc_testing::shared_data("qian2020_ovarian/Qian2020_Ovarian.h5ad") else {
        return;
    };
    let keys = ["11", "12", "13", "14"].map(String::from);
    let start = std::time::Instant::now();
    let found = survey(&path, None, None, &IngestParams::default(), &keys).unwrap();
    // A hundredth of it in a release build; the matrix would take several.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!((found.n_cells, found.n_features), (4000, Some(12_000)));
    assert_eq!(found.obs["patient"].counts.values().sum::<usize>(), 4000);
    let labels = &found.obs["cell_type"];
    let epithelial = labels
        .counts
        .iter()
        .filter(|(name, _)| name.to_lowercase().contains("epithel"));
    assert_eq!(epithelial.map(|(_, n)| n).sum::<usize>(), 1629);
    let wrong = IngestParams {
        group_by: "donor".into(),
        layer: "counts_".into(),
        ..IngestParams::default()
    };
    let found = survey(&path, None, None, &wrong, &keys).unwrap();
    assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
}
