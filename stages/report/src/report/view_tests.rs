//! The packed data and the first screen against the tables that they are made of.

use std::path::Path;

use ndarray::Array2;

use super::ReportParams;
use super::payload::tests::Unpacked;
use super::tests::{CELLS, Fixture, NASTY, clusters, cnv, expr, page};
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};

/// A gene whose name would be markup and the end of a script.
const EVIL: &str = "G</script><img src=x onerror=alert(1)>";
const GENES: [&str; 5] = [EVIL, "G1", "G2", "G3", "G4"];

/// Gene, class, slope, probability, q, patients that agree.
const ROWS: &str = "\
names\tchromosome\tstart\tend\tslope\tslope_posterior\tse\tci_low\tci_high\tprob_insensitive\tqval\tpvals_zero_adj\tpvals_one_adj\tclass\treason\tn_patients\tn_patients_agree\tn_clones\tcopy_spread\tcopy_source
GENE0\tchr1\t1000\t2500\t0.1\t0.12\t0.1\t-0.1\t0.3\t0.99\t0.01\t0.4\t1e-9\tinsensitive\t\t2\t2\t3\t0.5\tneighbours
G1\tchr1\t126000000\t126100000\t1.02\t1\t0.1\t0.82\t1.22\t0.001\t0.5\t1e-8\t0.9\tsensitive\t\t2\t1\t3\t0.5\twindows
G2\tchr2\t7\t8\t\t\t\t\t\t\t\t\t\tuntested\ttoo few counts: 1 clones expect 2 or more\t0\t0\t1\t\tneighbours
G3\tchr2\t100\t200\t0.6\t0.7\t0.9\t-1.2\t2.4\t0.3\t\t\t\tuntested\ttoo uncertain: standard error of the slope 0.90\t2\t2\t3\t0.5\tneighbours
G4\t\t\t\t-0.9\t-0.8\t0.2\t-1.3\t-0.5\t0.9999\t0.001\t0.001\t1e-6\tover-compensated\t\t1\t1\t3\t0.5\tneighbours
";
const PATIENTS: &str = "names\tpatient\tslope\tse\tprob_insensitive\tqval\tinsensitive
G1\tP02\t1.1\t0.2\t0.01\t0.8\tFalse
GENE0\tP1\t0.1\t0.2\t0.97\t0.02\tTrue
GENE0\tP02\t0.2\t0.3\t0.9\t\tFalse
";

fn counts(cell: usize, gene: usize) -> f32 {
    ((cell * 7 + gene * 3) % 5) as f32
}

fn expression(patient: &str) -> AnnData {
    let mut data = expr(patient);
    data.var = Frame::new(GENES.map(String::from).to_vec());
    let dense = Array2::from_shape_fn((CELLS, 5), |(c, g)| counts(c, g));
    let layer = Matrix::Csr(Csr::from_dense(&dense));
    data.layers.insert("counts".into(), layer);
    data
}

fn clones() -> AnnData {
    let mut obs = Frame::new(
        ["P1/normal", "P1/clone 1", "P02/clone 1"]
            .map(String::from)
            .to_vec(),
    );
    obs.set_category("patient", &["P1", "P1", "P02"]);
    obs.set_category("cell_type", &[NASTY, NASTY, NASTY]);
    obs.set(
        "group",
        Column::Str(["0", "clone 1", "clone 1"].map(String::from).to_vec()),
    );
    obs.set("tumour_sample", Column::Bool(vec![false, true, true]));
    obs.set("malignant", Column::Bool(vec![false, true, true]));
    obs.set("n_cells", Column::I64(vec![20, 30, 31]));
    obs.set("library_size", Column::F64(vec![5000.0, 9000.0, 8000.0]));
    obs.set("size_factor", Column::F64(vec![1.0, 1.1, 0.9]));
    let layer = |scale: f32| {
        let value = |(u, g): (usize, usize)| match g {
            2 => f32::NAN,
            _ => scale * (u as f32 - 0.5 * g as f32),
        };
        Matrix::Dense(Array2::from_shape_fn((3, 5), value))
    };
    let numbers = [("fdr", 0.05), ("insensitive_below", 0.5), ("max_se", 0.5)];
    AnnData {
        obs,
        var: Frame::new(GENES.map(String::from).to_vec()),
        x: Some(Matrix::Dense(Array2::from_shape_fn((3, 5), |(u, g)| {
            (1000 * u + g) as f32
        }))),
        layers: [
            ("log_copy_ratio".to_string(), layer(0.2)),
            ("log_ratio".to_string(), layer(0.1)),
            ("log_ratio_se".to_string(), layer(0.0)),
        ]
        .into(),
        uns: [(
            "dosage".to_string(),
            Uns::Dict(numbers.map(|(k, v)| (k.to_string(), Uns::F64(v))).into()),
        )]
        .into(),
        ..AnnData::default()
    }
}

/// Two patients with five genes; `rows`: the table of genes.
fn fixture(rows: &str) -> Fixture {
    let mut f = Fixture::new();
    for patient in ["P1", "P02"] {
        expression(patient)
            .write_zarr(&f.put("expr", Some(patient)))
            .unwrap();
        cnv(patient)
            .write_zarr(&f.put("cnv", Some(patient)))
            .unwrap();
        let mut own = clusters(patient);
        let map = Array2::from_shape_fn((CELLS, 2), |(c, k)| (c * (k + 1)) as f32);
        own.obsm.insert("X_umap".into(), Matrix::Dense(map));
        own.write_zarr(&f.put("clusters", Some(patient))).unwrap();
    }
    f.table(
        "dosage",
        None,
        &[
            ("dosage_genes.tsv", rows.replace("GENE0", EVIL)),
            ("dosage_patients.tsv", PATIENTS.replace("GENE0", EVIL)),
        ],
    );
    clones()
        .write_h5ad(&f.dir.path().join("dosage-joined/dosage_clones.h5ad"))
        .unwrap();
    f.table(
        "enrichment",
        None,
        &[(
            "enrichment.tsv",
            "# sets\ncollection\tnames\tn_tested\tn_escape\texpected\tfold\tpvals\tpvals_adj\tgenes\nchromosome arms\tchr1p\t2\t1\t1.3\t0.75\t0.9\t0.9\tG4\n".into(),
        )],
    );
    f
}

fn unpack(dir: &Path, chunk: &str) -> Unpacked {
    Unpacked::of(&page(dir), chunk).unwrap_or_else(|| panic!("no chunk `{chunk}`"))
}

/// Values that are equal, or both missing.
fn same(found: &[f64], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (f, e) in found.iter().zip(expected) {
        let is = f.is_nan() && e.is_nan() || (f - e).abs() <= within;
        assert!(is, "found {found:?}, expected {expected:?}");
    }
}

const NONE: f64 = f64::NAN;

#[test]
fn packed_genes_are_those_of_the_table() {
    let f = fixture(ROWS);
    let (dir, _) = f.run_in("out", &ReportParams::default());
    let genes = unpack(&dir, "genes");
    assert_eq!(genes.texts("names"), GENES);
    assert_eq!(genes.texts("chroms"), ["chr1", "chr2"]);
    // All lie on GRCh38.
    assert_eq!(
        genes.header["lengths"],
        serde_json::json!([248_956_422, 242_193_529])
    );
    same(&genes.values("cls"), &[3.0, 2.0, 0.0, 0.0, 4.0], 0.0);
    same(&genes.values("slope"), &[0.1, 1.02, NONE, 0.6, -0.9], 1e-6);
    same(&genes.values("q"), &[0.01, 0.5, NONE, NONE, 0.001], 1e-6);
    same(&genes.values("q1"), &[1e-9, 0.9, NONE, NONE, 1e-6], 1e-7);
    same(
        &genes.values("start"),
        &[1000.0, 126e6, 7.0, 100.0, 0.0],
        0.0,
    );
    same(&genes.values("chrom"), &[0.0, 0.0, 1.0, 1.0, NONE], 0.0);
    same(&genes.values("n_agree"), &[2.0, 1.0, 0.0, 2.0, 1.0], 0.0);
    same(&genes.values("source"), &[1.0, 2.0, 1.0, 1.0, 1.0], 0.0);
    // Called genes by q, then tested ones, then the others.
    same(&genes.values("order"), &[4.0, 0.0, 1.0, 3.0, 2.0], 0.0);
    let reasons = genes.texts("reasons");
    let reason = |g: usize| reasons[genes.values("reason")[g] as usize].as_str();
    assert_eq!(
        [reason(0), reason(2)],
        ["", "too few counts: 1 clones expect 2 or more"]
    );
    assert_eq!(
        (
            genes.header["tested"].as_u64(),
            genes.header["escape"].as_u64()
        ),
        (Some(3), Some(2))
    );
    assert_eq!(genes.header["fdr"], 0.05);
    assert_eq!(
        genes.header["groups"][0]["clone"],
        "normal cells, cluster 0"
    );
    assert_eq!(genes.header["groups"][2]["patient"], "P02");
    same(
        &genes.values("counts")[5..8],
        &[1000.0, 1001.0, 1002.0],
        0.0,
    );
    same(
        &genes.values("copy")[5..10],
        &[0.2, 0.1, NONE, -0.1, -0.2],
        1e-3,
    );
    same(
        &genes.values("y")[10..15],
        &[0.2, 0.15, NONE, 0.05, 0.0],
        1e-3,
    );
    // Slopes of patients by gene, the patients in the order of the clones.
    assert_eq!(genes.texts("patients"), ["P1", "P02"]);
    same(&genes.values("pat_gene"), &[0.0, 0.0, 1.0], 0.0);
    same(&genes.values("pat_patient"), &[0.0, 1.0, 1.0], 0.0);
    same(&genes.values("pat_slope"), &[0.1, 0.2, 1.1], 1e-6);
    same(&genes.values("pat_q"), &[0.02, NONE, 0.8], 1e-6);
}

#[test]
fn packed_cells_are_those_of_the_stores() {
    let f = fixture(ROWS);
    let (dir, _) = f.run_in("out", &ReportParams::default());
    let cells = unpack(&dir, "cells");
    let n = 2 * CELLS;
    assert_eq!(cells.header["n"], n);
    let ids: Vec<u8> = cells.values("ids").iter().map(|b| *b as u8).collect();
    let ids = String::from_utf8(ids).unwrap();
    assert_eq!(ids.lines().count(), n);
    assert_eq!(ids.lines().nth(CELLS), Some("P02_cell0"));
    same(
        &cells.values("c_patient")[CELLS - 1..=CELLS],
        &[0.0, 1.0],
        0.0,
    );
    let obs = expr("P02").obs.numbers("total_counts").unwrap();
    let all = expr("P1").obs.numbers("total_counts").unwrap();
    let range = all
        .iter()
        .chain(&obs)
        .fold((f64::INFINITY, 0.0f64), |r, v| (r.0.min(*v), r.1.max(*v)));
    same(
        &cells.values("n_total_counts")[CELLS..],
        &obs,
        (range.1 - range.0) / 65_534.0,
    );
    // Maps of two patients stand in two tiles.
    let maps = cells.header["maps"].as_array().unwrap();
    let keys: Vec<_> = maps.iter().map(|m| m["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["cnv", "expr"]);
    assert_eq!(maps[1]["tiles"].as_array().unwrap().len(), 2);
    let xy = cells.values("xy1");
    assert!(xy[0] < 0.5 && xy[2 * CELLS] > 0.5, "{:?}", &xy[..2]);
    // Counts of the tested genes, best first, in the strata with a malignant clone.
    assert_eq!(cells.header["genes"], serde_json::json!([4, 0, 1]));
    let seen = cells.values("gseen");
    let types = expr("P1").obs.texts("cell_type").unwrap();
    assert!((0..CELLS).all(|c| (seen[c] == 1.0) == (types[c] == NASTY)));
    let (ends, gaps, packed) = (
        cells.values("gptr"),
        cells.values("ggap"),
        cells.values("gcount"),
    );
    let mut found = vec![0.0; n];
    let mut at = 0;
    for e in ends[0] as usize..ends[1] as usize {
        at += gaps[e] as usize;
        found[at] += packed[e];
    }
    let expected: Vec<f64> = (0..n)
        .map(|i| f64::from(counts(i % CELLS, 4)) * seen[i])
        .collect();
    same(&found, &expected, 0.0);
}

#[test]
fn packed_copy_number_is_that_of_the_stores() {
    let f = fixture(ROWS);
    let params = ReportParams {
        heatmap_cells: 40,
        ..ReportParams::default()
    };
    let (dir, _) = f.run_in("out", &params);
    let (genome, cells) = (unpack(&dir, "genome"), unpack(&dir, "cells"));
    let x = cnv("P02").obsm["X_cnv"].clone().into_dense();
    let (shape, heat, rows) = (
        genome.shape("heat"),
        genome.values("heat"),
        genome.values("cells"),
    );
    assert_eq!((shape[0], shape[1]), (rows.len(), 60));
    assert!((80..=90).contains(&shape[0]), "{shape:?}");
    let limit = genome.header["limit"].as_f64().unwrap();
    let row = rows.iter().position(|c| *c >= CELLS as f64).unwrap();
    let cell = rows[row] as usize - CELLS;
    let expected: Vec<f64> = x
        .row(cell)
        .iter()
        .map(|v| f64::from(*v).clamp(-limit, limit))
        .collect();
    same(
        &heat[row * 60..(row + 1) * 60],
        &expected,
        limit / 254.0 + 1e-9,
    );
    let groups = genome.header["groups"].as_array().unwrap();
    let n: u64 = groups.iter().map(|g| g["rows"].as_u64().unwrap()).sum();
    assert_eq!(n as usize, shape[0]);
    // A group's profile is the mean over its cells, and each cell knows its group.
    let of = cells.values("group");
    let last = groups.len() - 1;
    let own: Vec<usize> = (CELLS..2 * CELLS)
        .filter(|i| of[*i] == last as f64)
        .collect();
    assert_eq!(own.len() as u64, groups[last]["n"].as_u64().unwrap());
    let mean = own
        .iter()
        .map(|i| f64::from(x[[i - CELLS, 0]]))
        .sum::<f64>()
        / own.len() as f64;
    let profile = genome.values("profiles")[last * 60];
    assert!(
        (profile - mean).abs() < 1e-3 * mean.abs().max(0.01),
        "{profile} {mean}"
    );
}

#[test]
fn the_answer_has_denominators_and_its_names_are_text() {
    let f = fixture(ROWS);
    let (dir, _) = f.run_in("out", &ReportParams::default());
    let html = page(&dir);
    for said in [
        "<strong>2 of 3 testable genes escape their copy number</strong>",
        "(1 insensitive, 1 over-compensated; at most 5 % of the called ones wrong), told from 1 malignant clone of 30 cells in 1 patient. \
         1 follow it, 0 cannot be told; 2 of 5 genes were not tested (1 of them: too few counts).",
        "2 patients · 240 cells · 5 genes · 60 windows",
        "2 of 5 genes were not tested</b>",
        "<td class=\"wide\">chr1:1,000-2,500</td>",
        "−1.30 to −0.50",
        "2 of 2</td>",
        "Next in evidence, not called",
        ">P(slope &lt; 0.5)</th>",
        "<td>chr1:126,000,000-126,100,000</td>",
    ] {
        assert!(html.contains(said), "the page says `{said}`");
    }
    assert!(!html.contains("<img"));
    assert!(html.contains("G&lt;/script&gt;&lt;img src=x"));
    assert!(html.contains("#gene=G%3C%2Fscript%3E"));
    // The best one comes first.
    assert!(html.find("#gene=G4").unwrap() < html.find("#gene=G%3C").unwrap());
    let sets = unpack(&dir, "enrichment");
    assert_eq!(sets.header["sets"][0]["genes"], serde_json::json!([4]));
}

#[test]
fn what_was_not_tested_is_never_a_zero() {
    let untested = |line: &str| {
        let mut cells: Vec<&str> = line.split('\t').collect();
        cells[13] = "untested";
        cells[14] = "too uncertain: much";
        cells.join("\t")
    };
    let (head, rows) = ROWS.split_once('\n').unwrap();
    let none: String = rows.lines().map(|l| untested(l) + "\n").collect();
    let f = fixture(&format!("{head}\n{none}"));
    let (dir, _) = f.run_in("none tested", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("<strong>None of 5 genes could be tested for escape</strong>"));
    assert!(!html.contains("0 insensitive") && html.contains("No gene could be tested."));
    // Tested, and none escapes.
    let called = rows.replace("\tinsensitive\t", "\tunresolved\t");
    let called = called.replace("\tover-compensated\t", "\tunresolved\t");
    let f = fixture(&format!("{head}\n{called}"));
    let (dir, _) = f.run_in("none escapes", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("None of 3 testable genes is found to escape its copy number"));
    assert!(
        html.contains("Nearest to escape, none called") && html.contains("More clones or patients")
    );
}

/// A slope above 1 is no escape, however sure it is that it is not 1.
#[test]
fn without_a_posterior_genes_below_full_dosage_come_first() {
    let rows = "names\tslope\tse\tci_low\tci_high\tpvals_one_adj\tclass\nup\t2.9\t0.2\t2\t3\t1e-6\tsensitive\nlow\t0.4\t0.4\t0\t0.8\t0.2\tunresolved\nlower\t0.5\t0.1\t0\t0.6\t0.2\tunresolved\n";
    let f = fixture(rows);
    let (dir, _) = f.run_in("out", &ReportParams::default());
    same(
        &unpack(&dir, "genes").values("order"),
        &[2.0, 1.0, 0.0],
        0.0,
    );
    let html = page(&dir);
    assert!(html.contains("No gene can be called: 3 of 3 could be tested"));
    assert!(html.contains(">q (slope = 1)</th>") && !html.contains("P(slope &lt;"));
    let at = |name: &str| html.find(&format!("#gene={name}\"")).unwrap();
    assert!(at("lower") < at("low") && at("low") < at("up"));
}

#[test]
fn a_page_that_is_too_large_gives_way() {
    let f = Fixture::full();
    let whole = page(&f.run_in("whole", &ReportParams::default()).0);
    let tight = ReportParams {
        max_megabytes: 1e-6,
        ..ReportParams::default()
    };
    let (dir, metrics) = f.run_in("tight", &tight);
    let small = page(&dir);
    assert!(small.len() < whole.len());
    assert_eq!(metrics["n_left_out"], 4);
    for said in [
        "Parts were left out of this page",
        "figures of single patients: the page would be too large; figures/",
    ] {
        assert!(small.contains(said) && !whole.contains(said), "{said}");
    }
    let figures = |html: &str| Unpacked::of(html, "figures").unwrap().values("ptr").len();
    assert!(figures(&small) < figures(&whole));
    let coarse = Unpacked::of(&small, "cells").unwrap();
    assert_eq!(coarse.header["arrays"]["n_total_counts"]["t"], "u8");
    assert!(coarse.has("n_total_counts"));
    assert_eq!(
        coarse.header["left_out"][0]["what"],
        "counts in single cells of more than 100 genes"
    );
}
