//! The whole stage on eight cells and twelve genes whose figures can be worked out by hand.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ndarray::Array2;

use super::*;
use clcc_data::anndata::AnnData;
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_data::table::TextTable;
use clcc_stage::rows::{
    CnvSegmentRow, ConcordanceRow, DiscordanceCellRow, DiscordanceGeneRow, DosageCellRow,
    DosageFactorRow, DosageGeneRow, DosageLoadingRow, DosagePatientRow,
};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};
use clcc_stage::tables::{Family, Table};

const N: usize = 8;
const G: usize = 12;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text.replace(' ', "\t")).unwrap();
}

/// Genes 0 to 7 are on 1p, which clone `c1` of patient P7 has doubled; the other tables, of a run on
/// that patient alone, name no patient. A second patient has a cell of its own. 0 and 1 escape in every
/// malignant cell, 2 and 3 in discordant ones. Cells 0 to 5 are malignant, 0 and 1 discordant.
fn truth(dir: &Path) {
    let mut genes =
        "gene chromosome arm start end slope escape_constitutive escape_state\n".to_string();
    for g in 0..G {
        let place = if g < 8 { "chr1" } else { "chr2" };
        let (constitutive, state) = (g < 2, g == 2 || g == 3);
        genes += &format!("g{g} {place} p {g} {g} 1 {constitutive} {state}\n");
    }
    write(&dir.join("truth_genes.tsv"), &genes);
    let mut cells = "cell patient sample cell_type malignant clone discordant phase\n".to_string();
    for c in 0..N {
        let clone = if c < 6 { "c1" } else { "" };
        cells += &format!("c{c} P7 T E {} {clone} {} G1\n", c < 6, c < 2);
    }
    cells += "d0 P8 T E true c1 true G1\n";
    write(&dir.join("truth_cells.tsv"), &cells);
    write(
        &dir.join("truth_events.tsv"),
        "event patient clone chromosome arm start end ratio\ne P7 c1 chr1 p 0 100 2\n",
    );
}

/// Every gene is seen in every cell, but for gene 7, which no malignant cell has.
fn expr(path: &Path) {
    let mut obs = Frame::new((0..N).map(|c| format!("c{c}")).collect());
    obs.set_category("cell_type", &["Epithelial cells"; N]);
    let side: Vec<&str> = (0..N)
        .map(|c| if c < 6 { "Cancer" } else { "Normal" })
        .collect();
    obs.set_category("cancer_vs_normal", &side);
    let rows = (0..N).map(|c| {
        (0..G as u32)
            .filter(|&g| g != 7 || c >= 6)
            .map(|g| (g, 1.0))
            .collect::<Vec<_>>()
    });
    AnnData {
        obs,
        var: Frame::new((0..G).map(|g| format!("g{g}")).collect()),
        x: Some(Matrix::Csr(Csr::from_rows(G, rows))),
        ..AnnData::default()
    }
    .write_zarr(path)
    .unwrap();
}

fn dosage(dir: &Path) {
    let gene =
        |(names, slope, slope_shrunken, class, p): (&str, f64, f64, &str, f64)| DosageGeneRow {
            names: names.into(),
            slope,
            slope_shrunken,
            se: 0.1,
            class: class.into(),
            prob_insensitive: Some(p),
            ..DosageGeneRow::default()
        };
    let genes = [
        ("g0", 0.0, 0.1, "insensitive", 0.9),
        ("g1", 0.5, 0.5, "insensitive", 0.8),
        ("g4", 0.2, 0.3, "insensitive", 0.7),
        ("g5", 1.0, 1.0, "sensitive", 0.1),
    ];
    let table = Table::new(genes.into_iter().map(gene).collect());
    table.write(dir).unwrap();
    // The second factor carries more of the sum.
    let factors = Family::names(["factor_1", "factor_2"]);
    let factor = |(name, coherence): (&String, f64)| DosageFactorRow {
        factor: name.clone(),
        coherence,
        ..DosageFactorRow::default()
    };
    let rows = factors.iter().zip([0.1, 0.9]).map(factor);
    Table::new(rows.collect()).write(dir).unwrap();
    let loading = |(name, of): (&str, [f64; 2])| DosageLoadingRow {
        names: name.into(),
        loadings: Family::new(&factors, of.to_vec()),
        ..DosageLoadingRow::default()
    };
    let genes = [
        ("g2", [0.0, 3.0]),
        ("g3", [0.0, 2.0]),
        ("g4", [1.0, 1.0]),
        ("g5", [1.0, 0.0]),
    ];
    let table = Table::new(genes.into_iter().map(loading).collect());
    table.write(dir).unwrap();
    let cell = |c: usize| DosageCellRow {
        cell: format!("c{c}"),
        patient: "all".into(),
        shortfall: Some(6.0 - c as f64),
        factors: Family::new(&factors, vec![0.0, f64::from(u8::from(c < 2))]),
        ..DosageCellRow::default()
    };
    let table = Table::new((0..6).map(cell).collect());
    table.write(dir).unwrap();
}

fn discordance(dir: &Path) {
    let cell = |(c, log_odds): (usize, f64)| DiscordanceCellRow {
        cell: format!("c{c}"),
        patient: "all".into(),
        log_odds,
        ..DiscordanceCellRow::default()
    };
    let odds = [3.0, 0.5, 1.0, 0.0, -1.0, -1.0];
    let cells = odds.into_iter().enumerate().map(cell);
    Table::new(cells.collect()).write(dir).unwrap();
    let gene = |(names, log_odds): (&str, f64)| DiscordanceGeneRow {
        names: names.into(),
        log_odds,
        ..DiscordanceGeneRow::default()
    };
    let genes = [("g2", 2.0), ("g3", -1.0), ("g4", 0.0), ("g5", -3.0)];
    let genes = genes.into_iter().map(gene);
    Table::new(genes.collect()).write(dir).unwrap();
}

fn run(dir: &Path, roles: &[(&str, PathBuf)]) -> TextTable {
    let inputs = roles
        .iter()
        .map(|(role, path)| InputArtifact {
            role: (*role).into(),
            branch: Branch::new(),
            path: path.clone(),
            format: None,
            builtin: None,
        })
        .collect();
    let cancel = AtomicBool::new(false);
    let ctx = StageContext {
        inputs,
        out_dir: dir.join("out"),
        keys: Vec::new(),
        seed: 1,
        threads: 1,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &cancel,
    };
    Benchmark::run(&ctx, &BenchmarkParams::default()).unwrap();
    TextTable::read(&dir.join("out/benchmark/benchmark.tsv")).unwrap()
}

fn value(table: &TextTable, target: &str, method: &str, metric: &str, column: &str) -> f64 {
    let at = |name: &str| table.position(name).unwrap();
    let row = table.rows.iter().find(|r| {
        r[at("target")] == target && r[at("method")] == method && r[at("metric")] == metric
    });
    let row = row.unwrap_or_else(|| panic!("no row {target} {method} {metric}"));
    row[at(column)].parse().unwrap_or(f64::NAN)
}

#[test]
fn rankings_and_calls_against_the_truth_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    truth(&at("truth"));
    expr(&at("expr"));
    dosage(&at("dosage"));
    let distances = [2.0, 1.0, 1.5, 0.0, 0.0, 0.0, 9.0];
    let rows = distances.iter().enumerate();
    let rows = rows.map(|(c, &distance)| ConcordanceRow {
        cell: format!("c{c}"),
        patient: "all".into(),
        distance,
        ..ConcordanceRow::default()
    });
    let table = Table::new(rows.collect());
    table.write_as(&at("concordance")).unwrap();
    discordance(&at("discordance"));
    let table = run(
        dir.path(),
        &["truth", "expr", "dosage", "concordance", "discordance"].map(|r| (r, at(r))),
    );
    let of = |target, method, metric| value(&table, target, method, metric, "value");
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, expected {b}");
    // Genes 0 and 1 against 4, 5 and 6; gene 7 is silent, 8 to 11 are not altered, 6 has no slope and
    // is last: 0 > 4 > 1 > 5 > 6.
    close(of("constitutive_genes", "dosage_slope", "auroc"), 5.0 / 6.0);
    close(
        of("constitutive_genes", "dosage_slope", "ap"),
        (1.0 + 2.0 / 3.0) / 2.0,
    );
    let column = |name| value(&table, "constitutive_genes", "dosage_slope", "ap", name);
    close(column("chance"), 0.4);
    close(column("coverage"), 0.8);
    // Both state genes lead the coherent factor; in the leading one they tie below 4 and 5, above 6.
    close(of("state_genes", "dosage_coherent_factor", "auroc"), 1.0);
    close(of("state_genes", "dosage_factor_1", "auroc"), 1.0 / 3.0);
    // Distances of malignant cells: 0 > 2 > 1 > the rest; the normal cell does not count.
    close(of("discordant_cells", "concordance", "auroc"), 7.0 / 8.0);
    close(of("discordant_cells", "dosage_shortfall", "auroc"), 1.0);
    close(of("discordant_cells", "dosage_coherent_factor", "ap"), 1.0);
    // Cells: 0 is above all, 1 above all but 2. Genes: 2 is above all, 3 above 5 and 6, which has no odds.
    close(of("discordant_cells", "discordance", "auroc"), 7.0 / 8.0);
    close(of("state_genes", "discordance", "auroc"), 5.0 / 6.0);
    // Three genes are called, two of the four planted ones among them.
    close(of("escape_calls", "dosage", "n_called"), 3.0);
    close(of("escape_calls", "dosage", "precision"), 2.0 / 3.0);
    close(of("escape_calls", "dosage", "recall"), 0.5);
}

/// Six windows of two genes; X_cnv is the truth except in the third cell, which has no signal.
#[test]
fn copy_number_against_the_events_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    truth(&at("truth"));
    expr(&at("expr"));
    let mut genes = Frame::new((0..G).map(|g| format!("g{g}")).collect());
    let place: Vec<&str> = (0..G)
        .map(|g| if g < 8 { "chr1" } else { "chr2" })
        .collect();
    genes.set_category("chromosome", &place);
    genes.set("start", Column::I64((0..G as i64).collect()));
    genes.set("end", Column::I64((0..G as i64).collect()));
    let mut windows = Frame::new((0..6).map(|w| format!("w{w}")).collect());
    windows.set_category(
        "chromosome",
        &["chr1", "chr1", "chr1", "chr1", "chr2", "chr2"],
    );
    windows.set("first_gene", Column::I64((0..6).map(|w| 2 * w).collect()));
    windows.set(
        "last_gene",
        Column::I64((0..6).map(|w| 2 * w + 1).collect()),
    );
    let x = Array2::from_shape_fn((N, 6), |(c, w)| {
        f32::from(u8::from(c < 6 && c != 2 && w < 4))
    });
    let mut cnv = AnnData {
        obs: Frame::new((0..N).map(|c| format!("c{c}")).collect()),
        var: genes,
        ..AnnData::default()
    };
    cnv.obsm
        .insert("X_cnv".into(), Matrix::Csr(Csr::from_dense(&x)));
    let inner = [(
        "windows".to_string(),
        clcc_data::anndata::Uns::Frame(windows),
    )];
    cnv.uns
        .insert("cnv".into(), clcc_data::anndata::Uns::Dict(inner.into()));
    cnv.write_zarr(&at("cnv")).unwrap();
    let table = run(dir.path(), &["truth", "expr", "cnv"].map(|r| (r, at(r))));
    let of = |target, method, metric| value(&table, target, method, metric, "value");
    // 20 gains of value 1, 4 gains and 12 neutral pairs tied at 0.
    let auroc = (20.0 * 12.0 + 4.0 * 12.0 / 2.0) / (24.0 * 12.0);
    assert!((of("gains", "cell", "auroc") - auroc).abs() < 1e-12);
    // Five of six malignant cells have a burden, no normal one has: 5 * 2 pairs and 2 half ones of 12.
    assert!((of("malignant_cells", "cnv_burden", "auroc") - 11.0 / 12.0).abs() < 1e-12);
    // No loss was planted, so none is ranked.
    assert!(
        table
            .texts("target")
            .unwrap()
            .iter()
            .all(|t| *t != "losses")
    );
}

/// Truth of what is hard: cell 2 is a doublet, 3 a normal cell with the expression of `c1`, 6 is annotated as
/// epithelial; z falls from 1 over the malignant cells. Genes 0 to 3 are a part of 1p (a gain), 4 and 5 a focal
/// loss, 8 and 9 an arm that is lost. Gene 0 escapes in P7, gene 1 in another patient alone.
fn hard_truth(dir: &Path) {
    truth(dir);
    let mut cells = "cell patient sample cell_type malignant clone discordant phase discordance tumour_like annotated second_type second_malignant\n".to_string();
    for c in 0..N {
        let malignant = c < 6 && c != 3;
        let clone = if malignant { "c1" } else { "" };
        let like = if c == 3 { "c1" } else { "" };
        let label = if c <= 6 { "E" } else { "T" };
        let kind = if c < 6 { "E" } else { "T" };
        let (second, is_malignant) = if c == 2 { ("T", "False") } else { ("", "") };
        let z = if malignant { 1.0 - 0.1 * c as f64 } else { 0.0 };
        cells += &format!(
            "c{c} P7 S {kind} {malignant} {clone} {} G1 {z} {like} {label} {second} {is_malignant}\n",
            c < 2
        );
    }
    write(&dir.join("truth_cells.tsv"), &cells);
    write(
        &dir.join("truth_events.tsv"),
        "event patient clone chromosome arm start end ratio kind\na P7 c1 chr1 p 0 3 2 sub_arm\nb P7 c1 chr1 p 4 5 0.5 focal\nc P7 c1 chr2 p 0 100 0.5 arm\n",
    );
    write(
        &dir.join("truth_escape_by_patient.tsv"),
        "gene patient escapes slope\ng0 P7 True 0\ng1 P7 False 1\ng0 P8 False 1\ng1 P8 True 0\n",
    );
}

/// Calls of one cluster: a gain of genes 0 to 4 of chr1, a loss of gene 9.
fn clusters(dir: &Path) {
    let mut obs = Frame::new((0..N).map(|c| format!("c{c}")).collect());
    obs.set_category("cnv_leiden", &["0"; N]);
    let called = [
        "Malignant",
        "Malignant",
        "Malignant",
        "Malignant",
        "Malignant",
        "Normal",
        "Malignant",
        "Normal",
    ];
    obs.set_category("cnv_malignant", &called);
    obs.set_category("cnv_clone", &["1", "1", "", "1", "1", "", "", ""]);
    AnnData {
        obs,
        ..AnnData::default()
    }
    .write_zarr(&dir.join("clusters"))
    .unwrap();
    let segment = |(chromosome, start, end, call): (&str, i64, i64, &str)| CnvSegmentRow {
        cluster: "0".into(),
        chromosome: chromosome.into(),
        start,
        end,
        call: call.into(),
        ..CnvSegmentRow::default()
    };
    let segments = [("chr1", 0, 4, "gain"), ("chr2", 9, 9, "loss")];
    let table = Table::new(segments.map(segment).into());
    table.write(&dir.join("cluster_tables")).unwrap();
}

fn flat_cnv(path: &Path) {
    let mut genes = Frame::new((0..G).map(|g| format!("g{g}")).collect());
    genes.set_category("chromosome", &["chr1"; G]);
    let mut windows = Frame::new(vec!["w0".into()]);
    windows.set_category("chromosome", &["chr1"]);
    windows.set("first_gene", Column::I64(vec![0]));
    windows.set("last_gene", Column::I64(vec![1]));
    let mut cnv = AnnData {
        obs: Frame::new((0..N).map(|c| format!("c{c}")).collect()),
        var: genes,
        ..AnnData::default()
    };
    let x = Array2::from_elem((N, 1), 1.0);
    cnv.obsm
        .insert("X_cnv".into(), Matrix::Csr(Csr::from_dense(&x)));
    let inner = [(
        "windows".to_string(),
        clcc_data::anndata::Uns::Frame(windows),
    )];
    cnv.uns
        .insert("cnv".into(), clcc_data::anndata::Uns::Dict(inner.into()));
    cnv.write_zarr(path).unwrap();
}

#[test]
fn hard_truth_is_scored_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    hard_truth(&at("truth"));
    expr(&at("expr"));
    flat_cnv(&at("cnv"));
    clusters(dir.path());
    dosage(&at("dosage"));
    // Slopes of the patients: only those of P7, whom the tables of a run on it alone call `all`, count.
    let slope = |(name, slope, insensitive): (&str, f64, bool)| DosagePatientRow {
        names: name.into(),
        patient: "all".into(),
        slope,
        se: 0.1,
        insensitive,
        ..DosagePatientRow::default()
    };
    let slopes = [
        ("g0", 0.1, true),
        ("g1", 0.9, false),
        ("g4", 0.05, true),
        ("g2", 0.0, true),
    ];
    let table = Table::new(slopes.map(slope).into());
    table.write(&at("dosage")).unwrap();
    let table = run(
        dir.path(),
        &[
            "truth",
            "expr",
            "cnv",
            "clusters",
            "cluster_tables",
            "dosage",
        ]
        .map(|r| (r, at(r))),
    );
    let of = |target, method, metric| value(&table, target, method, metric, "value");
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, expected {b}");
    // The part: 4 of 4 genes in the gain. The focal loss is in a gain and is missed. The arm: genes 8 to 11
    // lost, 1 of them called.
    close(of("sub_arm_events", "cnv_segments", "recall"), 1.0);
    close(of("focal_events", "cnv_segments", "recall"), 0.0);
    close(of("arm_events", "cnv_segments", "recall"), 0.0);
    // Five of twelve genes are called gained, one lost.
    let chance = |target| value(&table, target, "cnv_segments", "recall", "chance");
    close(chance("sub_arm_events"), 5.0 / 12.0);
    close(chance("focal_events"), 1.0 / 12.0);
    // Malignant and no doublet: 0, 1, 4, 5, of which 5 is missed; called besides them: 2, 3 and 6.
    let called = |metric| of("malignant_calls", "cnv_malignant", metric);
    close(called("of_malignant"), 0.75);
    close(called("of_normal"), 0.0);
    close(called("of_tumour_like"), 1.0);
    close(called("of_mislabelled"), 1.0);
    close(called("of_doublets"), 1.0);
    close(called("false_share"), 0.5);
    close(
        value(
            &table,
            "malignant_calls",
            "cnv_malignant",
            "false_share",
            "chance",
        ),
        0.5,
    );
    close(of("clone_members", "cnv_clone", "false_share"), 0.25);
    // Shortfall 6, 5, 4, 2 and 1 of cells 0, 1, 2, 4 and 5, whose z is 1, .9, .8, .6 and .5.
    close(of("discordant_cells", "dosage_shortfall", "spearman"), 1.0);
    // In P7 gene 0 escapes; 1, 4, 5, 8 to 11 do not (2 and 3 are of cell states, 6 is not altered, 7 silent).
    close(of("patient_escape", "dosage_slope", "auroc"), 1.0);
    close(
        value(&table, "patient_escape", "dosage_slope", "auroc", "n"),
        8.0,
    );
    // By its slopes there 4 goes before 0; called are 0 and 4, and a gene of cell states that is left out.
    let own = |metric| of("patient_escape", "dosage_patient_slope", metric);
    close(own("auroc"), 6.0 / 7.0);
    let calls = |metric| of("patient_escape", "dosage", metric);
    close(calls("n_called"), 2.0);
    close(calls("precision"), 0.5);
    close(calls("recall"), 1.0);
    // Over both patients 1 counts too: 0 beats all six, 1 all but 4.
    close(
        of("constitutive_genes", "dosage_slope", "auroc"),
        11.0 / 12.0,
    );
}
