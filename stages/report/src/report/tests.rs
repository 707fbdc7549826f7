//! The stage on small artifacts of every role, as the other stages write them.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ndarray::Array2;

use super::payload::tests::Unpacked;
use super::{PROVENANCE_MARK, Report, ReportParams};
use clcc_data::StageResult;
use clcc_data::anndata::{AnnData, Uns};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::rng::Rng;
use clcc_stage::rows::{
    AnchorHistoryRow, BaselineCellRow, BaselineRetrievalRow, CellScoreRow, CisRow, ComparedGeneRow,
    CompositionRow, ConcordancePatientRow, ConcordanceRow, ContrastRow, CountSplitRow,
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceNullRow,
    DiscordanceRateRow, DosageArmRow, DosageCellRow, DosageChromosomeRow, DosageDiscordanceGeneRow,
    DosageFactorRow, DosageGeneRow, DosageLoadingRow, DosagePatientRow, DoubletRow, FindingGeneRow,
    GeneSetRow, HistoryRow, MalignancyRow, MiningRow, QcCheckRow, QcMetricRow, RetrievalRow,
    SimilarityRow,
};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Metrics, Quiet, Stage, StageContext};
use clcc_stage::tables::{ColumnSpec, Family, Row as _, Table, TableSpec};

pub(super) const CELLS: usize = 120;
/// A cell type that would be markup if it were not escaped.
pub(super) const NASTY: &str = "Epithelial <img src=x onerror=alert(1)> & \"co\"";

fn noise(purpose: &'static str, coordinates: &[u64], n: usize) -> Vec<f64> {
    let mut rng = Rng::new(7, purpose, coordinates);
    (0..n).map(|_| rng.normal()).collect()
}

/// A cell is cancer in the second half, in two clones.
fn clone_of(cell: usize) -> usize {
    match cell {
        c if c < CELLS / 2 => 0,
        c if c < CELLS * 3 / 4 => 1,
        _ => 2,
    }
}

fn obs(patient: &str) -> Frame {
    let mut obs = Frame::new((0..CELLS).map(|i| format!("{patient}_cell{i}")).collect());
    let text = |f: &dyn Fn(usize) -> String| (0..CELLS).map(f).collect::<Vec<String>>();
    obs.set_category("patient", &text(&|_| patient.to_string()));
    obs.set_category("sample", &text(&|i| format!("S{}", i % 2)));
    obs.set_category(
        "cell_type",
        &text(&|i| {
            if clone_of(i) > 0 {
                NASTY.to_string()
            } else {
                "T lymphocytes".to_string()
            }
        }),
    );
    obs.set_category(
        "cancer_vs_normal",
        &text(&|i| {
            if clone_of(i) > 0 {
                "Cancer".into()
            } else {
                "Normal".into()
            }
        }),
    );
    let counts = noise("counts", &[patient.len() as u64], CELLS);
    obs.set(
        "total_counts",
        Column::F64(
            counts
                .iter()
                .map(|z| (8.0 + 0.4 * z).exp().round())
                .collect(),
        ),
    );
    obs.set(
        "n_genes_by_counts",
        Column::I64(
            counts
                .iter()
                .map(|z| (7.0 + 0.3 * z).exp() as i64)
                .collect(),
        ),
    );
    obs.set(
        "pct_counts_mt",
        Column::F64(counts.iter().map(|z| (4.0 + z).max(0.0)).collect()),
    );
    obs
}

pub(super) fn expr(patient: &str) -> AnnData {
    AnnData {
        obs: obs(patient),
        var: Frame::new((0..5).map(|g| format!("G{g}")).collect()),
        ..AnnData::default()
    }
}

pub(super) fn cnv(patient: &str) -> AnnData {
    const WINDOWS: usize = 60;
    let mut windows = Frame::new(
        (0..WINDOWS)
            .map(|w| format!("chr{}:{}", 1 + w / 20, w % 20))
            .collect(),
    );
    let chromosomes: Vec<String> = (0..WINDOWS).map(|w| format!("chr{}", 1 + w / 20)).collect();
    windows.set_category("chromosome", &chromosomes);
    let jitter = noise("cnv", &[patient.len() as u64], CELLS * WINDOWS);
    let dense = Array2::from_shape_fn((CELLS, WINDOWS), |(c, w)| {
        let event = match (clone_of(c), w / 20) {
            (1 | 2, 0) => 0.3,
            (2, 2) => -0.25,
            _ => 0.0,
        };
        (event + 0.05 * jitter[c * WINDOWS + w]) as f32
    });
    let mut cells = Frame::new(obs(patient).index);
    let burden = dense
        .rows()
        .into_iter()
        .map(|r| f64::from(r.iter().map(|v| v.abs()).sum::<f32>()) / WINDOWS as f64);
    cells.set("cnv_burden", Column::F64(burden.collect()));
    cells.set(
        "cnv_reference",
        Column::Bool((0..CELLS).map(|c| clone_of(c) == 0).collect()),
    );
    let mut data = AnnData {
        obs: cells,
        var: Frame::new(vec!["G0".into()]),
        ..AnnData::default()
    };
    data.obsm
        .insert("X_cnv".into(), Matrix::Csr(Csr::from_dense(&dense)));
    data.uns.insert(
        "cnv".into(),
        Uns::Dict([("windows".to_string(), Uns::Frame(windows))].into()),
    );
    data
}

/// Cells in another order than in `expr`: the report joins them by name.
pub(super) fn clusters(patient: &str) -> AnnData {
    let order: Vec<usize> = (0..CELLS).rev().collect();
    let mut cells = Frame::new(obs(patient).index).take(&order);
    cells.set_category(
        "cnv_leiden",
        &order
            .iter()
            .map(|&c| clone_of(c).to_string())
            .collect::<Vec<_>>(),
    );
    let jitter = noise("malignancy", &[patient.len() as u64], CELLS);
    let score = |(r, &c): (usize, &usize)| 0.02 * clone_of(c) as f64 + 0.003 * jitter[r];
    let scores: Vec<f64> = order.iter().enumerate().map(score).collect();
    // One component explains the scores of the second patient.
    let call = |s: &f64| match (patient, *s > 0.01) {
        ("P1", true) => "Malignant",
        ("P1", false) => "Normal",
        _ => "",
    };
    let calls: Vec<String> = scores.iter().map(|s| call(s).to_string()).collect();
    cells.set_category("cnv_malignant", &calls);
    cells.set("cnv_malignancy", Column::F64(scores));
    let jitter = noise("umap", &[patient.len() as u64], CELLS * 2);
    let umap = Array2::from_shape_fn((CELLS, 2), |(r, d)| {
        (clone_of(order[r]) as f64 * 4.0 + jitter[r * 2 + d]) as f32
    });
    let mut data = AnnData {
        obs: cells,
        ..AnnData::default()
    };
    data.obsm.insert("X_cnv_umap".into(), Matrix::Dense(umap));
    data
}

/// Tables that tests write with the columns that they are about.
const TABLES: [TableSpec; 18] = [
    DosageGeneRow::SPEC,
    DosagePatientRow::SPEC,
    DosageCellRow::SPEC,
    DosageFactorRow::SPEC,
    DosageLoadingRow::SPEC,
    DosageArmRow::SPEC,
    DosageChromosomeRow::SPEC,
    GeneSetRow::SPEC,
    MalignancyRow::SPEC,
    ContrastRow::SPEC,
    CellScoreRow::SPEC,
    FindingGeneRow::SPEC,
    CisRow::SPEC,
    DiscordanceNullRow::SPEC,
    CountSplitRow::SPEC,
    DosageDiscordanceGeneRow::SPEC,
    ComparedGeneRow::SPEC,
    DiscordanceGeneRow::SPEC,
];

/// The table with the columns that it lacks: no number, 0, no text.
fn completed(name: &str, text: &str) -> String {
    let Some(spec) = TABLES.iter().find(|spec| spec.is_file(name)) else {
        return text.to_string();
    };
    let header = text.lines().find(|line| !line.starts_with('#'));
    let known: Vec<&str> = header.unwrap_or_default().split('\t').collect();
    let lacks = |c: &&ColumnSpec| !c.optional && !c.is_family() && !known.contains(&c.name);
    let absent: Vec<&ColumnSpec> = spec.columns.iter().filter(lacks).collect();
    let mut is_head = true;
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(line);
        if !line.starts_with('#') {
            for column in &absent {
                out.push('\t');
                out.push_str(match (is_head, column.kind) {
                    (true, _) => column.name,
                    (_, "number") => "NA",
                    (_, "integer") => "0",
                    (_, "flag") => "False",
                    _ => "",
                });
            }
            is_head = false;
        }
        out.push('\n');
    }
    out
}

pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    inputs: Vec<InputArtifact>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            inputs: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, role: &str, patient: Option<&str>) -> PathBuf {
        let branch: Branch = patient
            .map(|p| ("patient".to_string(), p.to_string()))
            .into_iter()
            .collect();
        let path = self
            .dir
            .path()
            .join(format!("{role}-{}", patient.unwrap_or("joined")));
        self.inputs.push(InputArtifact {
            role: role.into(),
            branch,
            path: path.clone(),
            format: None,
            builtin: None,
        });
        path
    }

    pub(super) fn table(&mut self, role: &str, patient: Option<&str>, files: &[(&str, String)]) {
        let dir = self.put(role, patient);
        std::fs::create_dir_all(&dir).unwrap();
        files.iter().for_each(|(name, text)| {
            std::fs::write(dir.join(name), completed(name, text)).unwrap()
        });
    }

    /// Every role for two patients.
    pub(super) fn full() -> Self {
        let mut f = Self::new();
        for patient in ["P1", "P02"] {
            expr(patient)
                .write_zarr(&f.put("expr", Some(patient)))
                .unwrap();
            cnv(patient)
                .write_zarr(&f.put("cnv", Some(patient)))
                .unwrap();
            clusters(patient)
                .write_zarr(&f.put("clusters", Some(patient)))
                .unwrap();
            f.qc(patient);
            f.doublets(patient);
            f.table(
                "cluster_tables",
                Some(patient),
                &[
                    (
                        "cnv_clusters.tsv",
                        "cluster\tn_cells\tcnv_score\n0\t60\t0.02\n1\t30\t0.1\n".into(),
                    ),
                    (
                        "cnv_malignancy.tsv",
                        match patient {
                            "P1" => "component\tthreshold\nnormal\t0.01\nmalignant\t0.01\n".into(),
                            _ => "component\n".into(),
                        },
                    ),
                ],
            );
        }
        f.alignment();
        f.concordance();
        f.de();
        f.dosage();
        f
    }

    fn qc(&mut self, patient: &str) {
        let check = |check: &str, verdict: &str, value: f64, detail: &str| QcCheckRow {
            check: check.into(),
            verdict: verdict.into(),
            value,
            detail: detail.into(),
        };
        let checks = vec![
            check("unique cells", "pass", 0.0, "duplicates"),
            check("empty cells", "warn", 3.0, "cells"),
        ];
        let metric = |(metric, value): (&str, f64)| QcMetricRow {
            metric: metric.into(),
            value,
        };
        let summary = [("n_cells", 120.0), ("median_counts", 2980.5)].map(metric);
        let dir = self.put("qc", Some(patient));
        Table::new(checks)
            .note("verdict: pass or warn")
            .write(&dir)
            .unwrap();
        Table::new(summary.to_vec()).write(&dir).unwrap();
    }

    /// Scores without a threshold of the second patient.
    fn doublets(&mut self, patient: &str) {
        let scores = noise("doublets", &[patient.len() as u64], CELLS);
        let cells = obs(patient).index.into_iter().zip(scores);
        let row = |(cell, z): (String, f64)| DoubletRow {
            cell,
            doublet_score: 0.1 + 0.02 * z,
            predicted_doublet: (patient == "P1").then_some(z > 1.5),
        };
        let path = self.put("doublets", Some(patient));
        Table::new(cells.map(row).collect())
            .write_as(&path)
            .unwrap();
    }

    /// What `mine`, `train` and `eval` write.
    fn alignment(&mut self) {
        let mining = |(patient, train_cells, share): (&str, i64, f64)| MiningRow {
            patient: patient.into(),
            train_cells,
            val_cells: 20,
            test_cells: 24,
            without_cnv_cosine: 0,
            anchors_with_negative: (share * train_cells as f64) as i64,
            negatives: 9,
            cnv_pairs: 100,
            hard_pairs: 9,
            share_with_negative: share,
            mean_negatives: 0.05,
            share_other_patient: 0.5,
            share_cnv_pairs: 0.1,
        };
        let rows = [("all", 190, 0.04), ("P1", 95, 0.05), ("P02", 95, 0.03)].map(mining);
        let dir = self.put("mining", None);
        Table::new(rows.to_vec()).write(&dir).unwrap();
        let epoch = |epoch: i64| {
            let x = 5.0 / epoch as f64;
            HistoryRow {
                epoch,
                lr: 0.001,
                train_loss: x + 0.2,
                nce: x,
                margin: 0.4,
                val_loss: x + 0.5,
                temperature: 0.07,
                best: epoch == 9,
            }
        };
        let table = Table::new((1..=12).map(epoch).collect()).note("losses");
        table.write_as(&self.put("history", None)).unwrap();
        let retrieval = |(direction, top1, top10, mrr): (&str, f64, f64, f64)| RetrievalRow {
            scope: "pooled".into(),
            group: "all".into(),
            direction: direction.into(),
            queries: 24,
            gallery: 24,
            top1,
            top5: (top1 + top10) / 2.0,
            top10,
            mrr,
            mean_rank: 3.0,
            median_rank: 1.5,
            mean_positive: 0.6,
            mean_negative: 0.1,
            alignment_gap: 0.1,
            positive_gap_fraction: top1,
            mean_negative_gap: 0.5,
            mean_negative_gap_fraction: 0.9,
        };
        let rows = [
            ("expr_to_cnv", 0.5, 0.9, 0.6),
            ("cnv_to_expr", 0.45, 0.9, 0.55),
            ("chance", 0.04, 0.4, 0.15),
        ];
        let dir = self.put("retrieval", None);
        Table::new(rows.map(retrieval).to_vec())
            .write(&dir)
            .unwrap();
        let cells = Family::names(["P1:a", "P02:b"]);
        let similarity = |(cell, values): (&str, [f64; 2])| SimilarityRow {
            cell: cell.into(),
            cosine: Family::new(&cells, values.to_vec()),
        };
        let rows = [("P1:a", [0.5, -0.25]), ("P02:b", [-0.1, 0.6])];
        Table::new(rows.map(similarity).to_vec())
            .write(&dir)
            .unwrap();
    }

    fn concordance(&mut self) {
        let mut rows = Vec::new();
        for patient in ["P1", "P02"] {
            let distance = noise("distance", &[patient.len() as u64], CELLS);
            for (i, cell) in obs(patient).index.iter().enumerate() {
                let is_cancer = clone_of(i) > 0;
                let class = ["concordant", "intermediate", "intermediate", "discordant"][i % 4];
                rows.push(ConcordanceRow {
                    cell: cell.clone(),
                    patient: patient.into(),
                    sample: "S".into(),
                    cell_type: if i % 3 == 0 { NASTY } else { "T lymphocytes" }.into(),
                    cancer_vs_normal: if is_cancer { "Cancer" } else { "Normal" }.into(),
                    split: "train".into(),
                    fold: None,
                    distance: 0.8 + 0.1 * distance[i],
                    concordance_class: if is_cancer { class } else { "" }.into(),
                });
            }
        }
        let path = self.put("concordance", None);
        Table::new(rows).write_as(&path).unwrap();
        let composition =
            |(patient, variable, v, warning): (&str, &str, f64, &str)| CompositionRow {
                patient: patient.into(),
                variable: variable.into(),
                kind: "categorical".into(),
                n_cells: 60,
                cramers_v: v,
                cramers_v_corrected: v,
                cohens_d: f64::NAN,
                auc: f64::NAN,
                pvals: 0.01,
                null_median: None,
                null_95: None,
                null_pvals: None,
                top_value: "Myeloid".into(),
                discordant: 0.7,
                concordant: 0.2,
                warning: warning.into(),
            };
        let strong =
            "the class goes together with cell_type: `Myeloid` is 70 % of the discordant cells";
        let rows = [
            ("all", "cell_type", 0.6, strong),
            ("P1", "cell_type", 0.7, "said once is enough"),
            ("P1", "split", 0.2, ""),
            ("all", "split", 0.67, ""),
        ];
        let dir = self.put("concordance_summary", None);
        Table::new(rows.map(composition).to_vec())
            .write(&dir)
            .unwrap();
        let of_patient = |patient: &str| ConcordancePatientRow {
            patient: patient.into(),
            n_cancer: 60,
            n_discordant: 15,
            n_intermediate: 30,
            n_concordant: 15,
            lower_cut: 0.7,
            upper_cut: 0.9,
            mean_distance: 0.8,
            mean_distance_concordant: 0.6,
            mean_distance_intermediate: 0.8,
            mean_distance_discordant: 1.0,
        };
        let rows = ["P1", "P02"].map(of_patient);
        Table::new(rows.to_vec()).write(&dir).unwrap();
    }

    fn de(&mut self) {
        let effects = noise("de", &[], 900);
        let mut genes =
            "# Wilcoxon rank-sum test\nnames\tscores\tlogfoldchanges\tpvals\tpvals_adj\n"
                .to_string();
        for (g, e) in effects.iter().enumerate() {
            let p = if g == 0 {
                0.0
            } else {
                10f64.powf(-6.0 * e * e)
            };
            genes.push_str(&format!(
                "GENE{g}\t{e}\t{e}\t{p:e}\t{:e}\n",
                (p * 3.0).min(1.0)
            ));
        }
        let contrasts = "contrast\tpatient\tstatus\treason\tn_group\tn_reference\ndiscordant_vs_concordant\tpooled\ttested\t\t30\t30\ncancer_vs_normal_epithelial\tP1\tnot applicable\tno normal <epithelial> cell\t60\t0\ncancer_vs_normal_epithelial\tP02\tnot applicable\tno normal <epithelial> cell\t60\t0\n";
        let mut cis = "region\tlevel\tpatient\tspearman\tpvals_adj\ttrans_mean\n".to_string();
        for patient in ["P1", "P02", "pooled"] {
            for (region, level, rho, q) in [
                ("chr1", "chromosome", 0.5, 0.001),
                ("chr2", "chromosome", -0.1, 0.5),
                ("chr1p", "arm", 0.4, 0.01),
            ] {
                cis.push_str(&format!("{region}\t{level}\t{patient}\t{rho}\t{q}\t0.02\n"));
            }
        }
        let escape = "names\tpatient\tlogfoldchanges\tpvals_adj\tlocus_state\nGENE0\tP1\t1.5\t1e-9\tgain\nGENE0\tP02\t1.2\t1e-5\tneutral\nGENE3\tP02\t1.2\t1e-4\tneutral\n";
        self.table(
            "de",
            None,
            &[
                ("contrasts.tsv", contrasts.into()),
                (
                    "discordance_by_patient.tsv",
                    "patient\tn_cancer\tn_escape_0.5\tn_compensation_0.5\nP1\t60\t3\t4\npooled\t120\t5\t6\n".into(),
                ),
                (
                    "cancer_vs_normal_scores.tsv",
                    "score\tpatient\tn_cancer\tn_normal\tmean_cancer\tmean_normal\tauc\tlog10_pvals\ncnv_score\tP1\t60\t30\t0.0071\t0.0053\t0.74\t-733.2\ncnv_burden\tP1\t60\t30\t0.008\t0.007\t0.6\t-5\n".into(),
                ),
                ("discordant_vs_concordant.P1.tsv", genes.clone()),
                ("discordant_vs_concordant.pooled.tsv", genes),
                ("cis_effects.tsv", cis),
                ("escape_genes.tsv", escape.into()),
                ("recurrence.tsv", "names\tn_patients\nGENE0\t2\n".into()),
            ],
        );
    }

    fn dosage(&mut self) {
        let slopes = noise("slope", &[], 300);
        let mut genes =
            "names\tslope\tci_low\tci_high\tpvals_zero_adj\tpvals_one_adj\tclass\n".to_string();
        for (g, z) in slopes.iter().enumerate() {
            let slope = 0.8 + 0.4 * z;
            let class =
                ["sensitive", "insensitive", "over-compensated", "unresolved"][if slope > 0.5 {
                    0
                } else if slope > 0.0 {
                    1
                } else {
                    2 + g % 2
                }];
            genes.push_str(&format!(
                "GENE{g}\t{slope}\t{}\t{}\t{p:e}\t{p:e}\t{class}\n",
                slope - 0.2,
                slope + 0.2,
                p = 10f64.powf(-slope.abs() * 5.0)
            ));
        }
        let mut cells = "cell\tpatient\tshortfall_z\tfactor_1\n".to_string();
        for patient in ["P1", "P02"] {
            for (cell, z) in
                obs(patient)
                    .index
                    .iter()
                    .zip(noise("score", &[patient.len() as u64], CELLS))
            {
                cells.push_str(&format!("{cell}\t{patient}\t{z}\t{z}\n"));
            }
        }
        self.table("dosage", None, &[
            ("dosage_genes.tsv", genes),
            ("dosage_cells.tsv", cells),
            ("dosage_factors.tsv", "factor\tsingular_value\tcoherence\tnull_95\tabove_null\nfactor_1\t12\t0.8\t0.3\tTrue\nfactor_2\t7\t0.1\t0.3\tFalse\n".into()),
            ("dosage_arms.tsv", "arm\tn_genes\tmedian_slope\nchr1p\t30\t0.8\nchr1q\t20\tNA\n".into()),
            ("dosage_loadings.tsv", "names\tfactor_1\nGENE1\t0.2\n".into()),
        ]);
    }

    /// What `discordance` writes: its first malignant cells are discordant, and one of two altered genes is in the set.
    fn discordance(&mut self, node: Option<&str>, established: &str) {
        self.discordance_beside(node, established, 2.1);
    }

    /// The same with this evidence where there is no set to be found.
    fn discordance_beside(&mut self, node: Option<&str>, established: &str, elsewhere: f64) {
        let dir = self.put("discordance", node);
        let mut cells = Vec::new();
        for patient in ["P1", "P02"] {
            for (i, cell) in obs(patient).index.into_iter().enumerate() {
                if clone_of(i) > 0 {
                    cells.push(DiscordanceCellRow {
                        cell,
                        patient: patient.into(),
                        clone: format!("clone {}", clone_of(i)),
                        informs: true,
                        prob_discordant: if i % 4 == 0 { 0.95 } else { 0.05 },
                        log_odds: if i % 4 == 0 { 2.9 } else { -2.9 },
                        ..DiscordanceCellRow::default()
                    });
                }
            }
        }
        Table::new(cells).write(&dir).unwrap();
        let gene = |names: &str, prob_held_back: f64| DiscordanceGeneRow {
            names: names.into(),
            prob_held_back,
            n_clones: 2,
            ..DiscordanceGeneRow::default()
        };
        Table::new(vec![gene("GENE1", 0.97), gene("GENE2", 0.01)])
            .write(&dir)
            .unwrap();
        let rate = |patient: &str| DiscordanceRateRow {
            patient: patient.into(),
            n_cells: 60,
            rate: 0.28,
            ..DiscordanceRateRow::default()
        };
        Table::new(["P1", "P02"].map(rate).to_vec())
            .write(&dir)
            .unwrap();
        let fit = |profile: &str, evidence: f64, chosen: bool| DiscordanceFitRow {
            profile: profile.into(),
            loss: 0.5,
            gene_share: 0.05,
            evidence,
            rounds: 60,
            settled: true,
            chosen,
            established: chosen.then(|| established.to_string()),
        };
        let fits = vec![
            fit("own", 19.2, true),
            fit("own", 3.0, false),
            fit("relaid_1", -0.4, false),
            fit("relaid_2", elsewhere, false),
        ];
        Table::new(fits).write(&dir).unwrap();
    }

    /// What `baselines` writes: `cca` puts the discordant cells farthest, `linear` the concordant ones.
    fn baselines(&mut self) {
        let dir = self.put("baselines", None);
        let row = |method: &str, metric: &str, value: f64| BaselineRetrievalRow {
            method: method.into(),
            metric: metric.into(),
            value,
            chance: 0.04,
            se: 0.01,
            n: 24,
        };
        let rows = vec![
            row("cca", "top1", 0.2),
            row("cca", "top10", 0.7),
            row("linear", "top1", 0.1),
            row("linear", "top10", 0.6),
        ];
        Table::new(rows).write(&dir).unwrap();
        let mut cells = Vec::new();
        for patient in ["P1", "P02"] {
            let shortfall = noise("score", &[patient.len() as u64], CELLS);
            for (i, cell) in obs(patient).index.into_iter().enumerate() {
                let farthest = if i % 4 == 3 { 1.0 } else { 0.0 };
                let of = [
                    ("cca", farthest),
                    ("linear", -farthest),
                    ("mixture", 2.0 * shortfall[i]),
                ];
                cells.extend(of.map(|(method, score)| BaselineCellRow {
                    cell: cell.clone(),
                    patient: patient.into(),
                    method: method.into(),
                    score,
                }));
            }
        }
        Table::new(cells).write(&dir).unwrap();
    }

    pub(super) fn run_in(&self, name: &str, params: &ReportParams) -> (PathBuf, Metrics) {
        let out_dir = self.dir.path().join(name);
        let metrics = self.result(&out_dir, params).unwrap();
        (out_dir, metrics)
    }

    fn error(&self) -> String {
        let out_dir = self.dir.path().join("out");
        let result = self.result(&out_dir, &ReportParams::default());
        result.unwrap_err().to_string()
    }

    fn result(&self, out_dir: &Path, params: &ReportParams) -> StageResult<Metrics> {
        std::fs::create_dir_all(out_dir).unwrap();
        let ctx = StageContext {
            inputs: self.inputs.clone(),
            out_dir: out_dir.to_path_buf(),
            keys: Vec::new(),
            seed: 1,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &Quiet,
            cancel: &AtomicBool::new(false),
        };
        Report::run(&ctx, params)
    }
}

pub(super) fn page(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("report")).unwrap()
}

/// The SVG of all figures.
fn drawings(html: &str) -> String {
    let bytes = Unpacked::of(html, "figures").unwrap().values("svg");
    let bytes: Vec<u8> = bytes.into_iter().map(|b| b as u8).collect();
    String::from_utf8(bytes).unwrap()
}

/// The text of a step's fold.
fn step<'a>(html: &'a str, id: &str) -> &'a str {
    let open = format!("<details class=\"fold step\" id=\"{id}\">");
    let (_, rest) = html.split_once(&open).unwrap();
    let end = rest.find("<details class=\"fold step\"");
    &rest[..end.unwrap_or(rest.len())]
}

#[test]
fn cells_that_hold_back_a_set_are_said_with_evidence_and_denominators() {
    let mut fixture = Fixture::full();
    fixture.discordance(None, "yes");
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    let said = step(&html, "discordance");
    // 60 malignant cells of each patient, of which a quarter has .95 and the others .05: 2 x (15 x .95 + 45 x .05) = 33.
    for text in [
        "Established: yes. Some cells hold back a set of genes",
        "Evidence of the reported fit 19.2 (5 is asked for of all fits together); with the copy number laid elsewhere on the genome at most 2.1 in 2 tries",
        "Of 120 cancer cells with an altered gene (120 of them in malignant clones, which tell the genes), 33 are expected to be discordant; of 2 altered \
         genes, 1 are expected in the set. 30 of 120 cells and 1 of 2 altered genes are told with a probability of 0.9 or more.",
        "loses 50.0 % of its response",
        "What it cannot see",
    ] {
        assert!(said.contains(text), "`{text}` is not in {said}");
    }
    assert!(html.find("id=\"dosage\">") < html.find("id=\"discordance\">"));
    assert!(html.find("id=\"discordance\">") < html.find("id=\"copy-number\">"));
    assert!(html.contains("<a href=\"#discordance\">Some cells hold back"));
    let cells = Unpacked::of(&html, "cells").unwrap();
    let values = cells.values("n_prob_discordant");
    assert_eq!(values.iter().filter(|v| v.is_finite()).count(), 120);
    assert!((values[60] - 0.95).abs() < 1e-4 && (values[61] - 0.05).abs() < 1e-4);
    let genes = Unpacked::of(&html, "genes").unwrap();
    assert_eq!(genes.header["set_established"], true);
    let held = genes.values("held");
    assert!((held[1] - 0.97).abs() < 1e-3 && held[0].is_nan());
}

#[test]
fn a_set_that_is_not_established_calls_nothing() {
    let mut fixture = Fixture::full();
    fixture.discordance(None, "no");
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    let said = step(&html, "discordance");
    assert!(
        said.contains("Established: no. No set of genes that some cells hold back is established")
    );
    assert!(said.contains("ranks may be of use, calls are not"));
    let columns = Unpacked::of(&html, "cells").unwrap().header["columns"].to_string();
    assert!(columns.contains("(none is established)"), "{columns}");
    assert!(html.contains("<a href=\"#discordance\">No set of genes"));
}

#[test]
fn a_set_that_is_found_elsewhere_too_is_in_doubt() {
    let mut fixture = Fixture::full();
    fixture.discordance_beside(None, "yes", 14.0);
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    let said = step(&html, "discordance");
    assert!(said.contains("<p class=\"note warning\">Established: yes. That some cells hold back a set of genes is in doubt"));
    assert!(said.contains("has more than 2 such tries happens in 1 of 3 without any set"));
    assert!(
        html.contains(
            "<a href=\"#discordance\">That some cells hold back a set of genes is in doubt"
        )
    );
    let cells = Unpacked::of(&html, "cells").unwrap();
    assert!(cells.header["columns"].to_string().contains("(in doubt)"));
    assert_eq!(
        Unpacked::of(&html, "genes").unwrap().header["set_established"],
        false
    );
}

#[test]
fn baselines_stand_beside_what_they_are_compared_with_and_nowhere_without_them() {
    let mut fixture = Fixture::full();
    fixture.discordance(None, "yes");
    let (dir, _) = fixture.run_in("without", &ReportParams::default());
    assert!(!page(&dir).contains("Baselines"));
    fixture.baselines();
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    let retrieval = step(&html, "retrieval");
    assert!(
        retrieval.contains(
            "canonical correlation (<code>cca</code>) 20.0 % and 70.0 %, a linear projection (<code>linear</code>) 10.0 % and 60.0 %; this model 47.5 % and \
             90.0 %; a guess 4.0 % first"
        ),
        "{retrieval}"
    );
    // 15 of each patient's 60 classed cells are discordant: a random 15 would hold a quarter of them.
    let concordance = step(&html, "concordance");
    assert!(
        concordance.contains(
            "(<code>cca</code>) 100.0 %, a linear projection (<code>linear</code>) 0.0 %; cells drawn at random would share 25.0 %"
        ),
        "{concordance}"
    );
    assert!(
        step(&html, "dosage")
            .contains("a mixture of residuals (<code>mixture</code>) 1.00 (240 cells)")
    );
    assert!(step(&html, "discordance").contains("(<code>mixture</code>) "));
}

#[test]
fn each_of_several_nodes_is_named_and_shown() {
    let mut fixture = Fixture::full();
    fixture.inputs.retain(|i| i.role != "dosage");
    for node in ["narrow", "wide"] {
        let genes = format!(
            "names\tslope\tprob_insensitive\tclass\nGENE1\t0.1\t0.99\tinsensitive\nGENE2\t1\t0.01\t{}\n",
            if node == "wide" {
                "insensitive"
            } else {
                "sensitive"
            }
        );
        let cells = "cell\tpatient\tshortfall_z\nP1_cell70\tP1\t1.5\n";
        let files = [
            ("dosage_genes.tsv", genes),
            ("dosage_cells.tsv", cells.to_string()),
        ];
        fixture.table("dosage", Some(node), &files);
        fixture.discordance(Some(node), if node == "wide" { "yes" } else { "no" });
    }
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("Dosage was measured 2 times"));
    assert!(
        html.contains("narrow: 1 of 2 testable genes escapes its copy number"),
        "{html}"
    );
    assert!(html.contains("wide: 2 of 2 testable genes escape their copy number"));
    for id in ["dosage", "discordance"] {
        let said = step(&html, id);
        assert!(
            said.contains("<summary>narrow</summary>") && said.contains("<summary>wide</summary>"),
            "{said}"
        );
    }
    assert!(
        html.contains("id=\"dosage-slopes-narrow\"") && html.contains("id=\"dosage-slopes-wide\"")
    );
    assert!(
        html.contains("narrow: No set of genes") && html.contains("wide: Some cells hold back")
    );
    let columns = Unpacked::of(&html, "cells").unwrap().header["columns"].to_string();
    for key in [
        "shortfall_z.narrow",
        "shortfall_z.wide",
        "prob_discordant.wide",
    ] {
        assert!(columns.contains(key), "{columns}");
    }
    // Nodes of single patients looked at other cells: one column holds them all.
    let mut fixture = Fixture::full();
    fixture.inputs.retain(|i| i.role != "dosage");
    for patient in ["P1", "P02"] {
        let cells = format!("cell\tpatient\tshortfall_z\n{patient}_cell70\t{patient}\t1.5\n");
        fixture.table("dosage", Some(patient), &[("dosage_cells.tsv", cells)]);
    }
    let (dir, _) = fixture.run_in("patients", &ReportParams::default());
    let cells = Unpacked::of(&page(&dir), "cells").unwrap();
    let values = cells.values("n_shortfall_z");
    let known: Vec<usize> = (0..values.len())
        .filter(|&i| values[i].is_finite())
        .collect();
    assert_eq!(known, [70, 190]);
}

#[test]
fn every_role_has_its_figures_and_tables() {
    let fixture = Fixture::full();
    let (dir, metrics) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    if let Ok(copy) = std::env::var("CLCC_KEEP_REPORT") {
        std::fs::write(copy, &html).unwrap();
    }
    for id in [
        "answer", "gene", "genome", "cells", "figures", "tables", "quality", "run",
    ] {
        assert_eq!(
            html.matches(&format!("<section id=\"{id}\"")).count(),
            1,
            "section `{id}`"
        );
    }
    for id in [
        "qc",
        "doublets",
        "copy-number",
        "mining",
        "training",
        "retrieval",
        "concordance",
        "differential-expression",
        "dosage",
    ] {
        assert_eq!(
            html.matches(&format!("<details class=\"fold step\" id=\"{id}\">"))
                .count(),
            1,
            "step `{id}`"
        );
    }
    // Dosage stands before what discordance says.
    assert!(html.find("id=\"dosage\">") < html.find("id=\"differential-expression\">"));
    assert!(!html.contains("cnv-umap-cnv-malignant-p02"));
    for figure in [
        "qc-total-counts",
        "qc-n-genes-by-counts",
        "qc-pct-counts-mt",
        "doublet-score-p1",
        "doublet-score-p02",
        "cnv-heatmap-p1",
        "cnv-heatmap-p02",
        "cnv-umap-cancer-vs-normal-p1",
        "cnv-umap-cnv-leiden-p02",
        "cnv-umap-cell-type-p1",
        "cnv-umap-cnv-burden-p1",
        "cnv-umap-cnv-malignant-p1",
        "cnv-malignancy-p1",
        "cnv-malignancy-p02",
        "mining-coverage",
        "training-loss",
        "training-parts",
        "retrieval-rates",
        "similarity-matrix",
        "concordance-distance",
        "concordance-cell-type",
        "volcano-discordant-vs-concordant-pooled",
        "volcano-discordant-vs-concordant-p1",
        "recurrence",
        "cis-bars-cis-effects-chromosome",
        "cis-grid-cis-effects-chromosome",
        "dosage-slopes",
        "dosage-volcano-one",
        "dosage-volcano-zero",
        "dosage-arms",
        "dosage-score",
        "dosage-umap-p1",
        "dosage-factors",
    ] {
        assert!(
            html.contains(&format!("id=\"{figure}\"")),
            "figure `{figure}` is in the page"
        );
        let file =
            std::fs::read_to_string(dir.join("figures").join(format!("{figure}.svg"))).unwrap();
        assert!(
            file.starts_with("<svg xmlns=") && !file.contains("var(") && !file.contains("NaN"),
            "file of `{figure}`"
        );
    }
    assert_eq!(
        metrics["n_figures"],
        std::fs::read_dir(dir.join("figures")).unwrap().count()
    );
    assert_eq!(
        html.matches("<figure").count(),
        html.matches("<figcaption>").count()
    );
    for said in [
        "Only 4.0 % of the training cells have a hard negative",
        "lowest, 1.056, at epoch 9",
        "no normal &lt;epithelial&gt; cell (P1, P02)",
        "right of the dashed line (0.01) that are no reference are called malignant",
        "sets a threshold by hand",
        "No gene can be called: 300 of 300 could be tested",
        "2 genes. Of 3 rows (a gene in a patient), 1 lie in a gained region, 0 in a lost one, and 2 at a locus without a change",
        "The class goes together with cell_type",
        "empty cells",
        "Distances of a single fit",
        "a Cramer&#39;s V of 0.67",
        "Cells and genes of each patient",
        "Cancer cells have a mean CNV score of 0.0071, normal cells of 0.0053 (P1; Mann-Whitney p 1e-733, 60 and 30 cells)",
        "2 patients · 240 cells · 5 genes · 60 windows",
        "1 of 2 factors stand above their null",
        "From expression to copy number: 50.0 % of 24 test cells find their partner first; a guess would 4.2 % of the time.",
    ] {
        assert!(html.contains(said), "the page says `{said}`");
    }
    let drawings = drawings(&html);
    for drawn in [">expression embeddings</text>", ">UMAP 1</text>"] {
        assert!(drawings.contains(drawn), "a figure holds `{drawn}`");
    }
    assert!(
        !html.contains("<p class=\"note warning\">said once"),
        "a patient's row repeats what the row of all says"
    );
}

#[test]
fn text_from_the_data_is_escaped_and_nothing_is_fetched() {
    let fixture = Fixture::full();
    let (dir, _) = fixture.run_in(
        "out",
        &ReportParams {
            title: "<b>T</b>".into(),
            ..ReportParams::default()
        },
    );
    let html = page(&dir);
    assert!(!html.contains("<img") && !html.contains("<b>T"));
    let drawings = drawings(&html);
    assert!(drawings.contains("Epithelial &lt;img src=x") && !drawings.contains("<img"));
    assert_eq!(html.matches(PROVENANCE_MARK).count(), 1);
    // One script of the page; data lie in chunks.
    let chunks = html
        .matches("<script type=\"text/plain\" id=\"chunk-")
        .count();
    assert_eq!(html.matches("<script>").count(), 1);
    assert_eq!(html.matches("<script").count(), chunks + 1);
    assert_eq!(html.matches("</script>").count(), chunks + 1);
    for bad in [
        "http://", "https://", "//cdn", " src=\"", "@import", "xlink", "NaN\"",
    ] {
        assert!(!html.contains(bad), "the page holds `{bad}`");
    }
}

#[test]
fn a_workflow_without_any_of_it_has_an_answer_and_no_empty_section() {
    let fixture = Fixture::new();
    let (dir, metrics) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("No gene was tested for escape from its copy number"));
    let sections = html.matches("<section id=").count();
    assert_eq!(sections, 2, "the answer and the run");
    assert_eq!(metrics["n_figures"], 0);
    assert!(!html.contains("<script type=\"text/plain\""));
}

#[test]
fn unfamiliar_tables_are_shown_without_figures() {
    let mut fixture = Fixture::new();
    fixture.table("retrieval", None, &[("new_table.tsv", "x\n1\n".into())]);
    fixture.table("de", None, &[("odd.tsv", "a\tb\n1\t2\n".into())]);
    fixture.table(
        "dosage",
        None,
        &[("dosage_genes.tsv", "names\nG1\n".into())],
    );
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("New table") && html.contains("<h4>Odd</h4>"));
    assert!(!html.contains("<figure"));
}

#[test]
fn a_table_that_is_not_what_it_was_declared_to_be_is_an_error() {
    let mut fixture = Fixture::new();
    fixture.table(
        "retrieval",
        None,
        &[("retrieval.tsv", "scope\telse\npooled\tb\n".into())],
    );
    let error = fixture.error();
    assert!(
        error.contains("retrieval.tsv") && error.contains("no column `group`"),
        "{error}"
    );
}

/// A model of anchors that was not evaluated: its history is another table of the same name.
#[test]
fn a_history_of_anchors_without_their_evaluation_is_a_table() {
    let mut fixture = Fixture::new();
    let epoch = AnchorHistoryRow {
        epoch: 1,
        train_loss: 1.0,
        nce: 0.5,
        centroid: f64::NAN,
        h: 0.25,
        gradient: 2.0,
        val_loss: 0.75,
    };
    let path = fixture.put("history", None);
    Table::new(vec![epoch]).write_as(&path).unwrap();
    let (dir, metrics) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("<h4>History</h4>") && html.contains("centroid"));
    assert_eq!(metrics["n_figures"], 0);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let fixture = Fixture::full();
    let (a, _) = fixture.run_in("a", &ReportParams::default());
    let (b, _) = fixture.run_in("b", &ReportParams::default());
    assert!(page(&a) == page(&b));
    let figure = "figures/cnv-heatmap-p1.svg";
    assert!(std::fs::read(a.join(figure)).unwrap() == std::fs::read(b.join(figure)).unwrap());
}

#[test]
fn cells_that_only_one_role_has_are_an_error() {
    let mut fixture = Fixture::new();
    expr("P1")
        .write_zarr(&fixture.put("expr", Some("P1")))
        .unwrap();
    let mut other = clusters("P1");
    other.obs.index[0] = "stranger".into();
    other
        .write_zarr(&fixture.put("clusters", Some("P1")))
        .unwrap();
    let error = fixture.error();
    assert!(
        error.contains("patient `P1`") && error.contains("only one of"),
        "{error}"
    );
}

/// Ten patients of the size of the lung atlas must stay under 15 MB. Noise without any zero is the
/// worst case for the compression of the heatmap.
#[test]
fn the_figures_of_a_large_patient_are_small() {
    use super::figures::heatmap::{Group, SideBar, heatmap, subsample};
    use super::figures::umap::{Colouring, umap};
    const N: usize = 8_000;
    const WINDOWS: usize = 1_305;
    let shown = 400;
    let groups = [Group {
        label: "0".into(),
        colour: [0; 3],
        rows: (0..N).collect(),
    }];
    let noise_row = noise("large", &[], shown * WINDOWS);
    let groups = subsample(&groups, shown);
    // Only the shown cells need values.
    let mut rows: Vec<Vec<(u32, f32)>> = vec![Vec::new(); N];
    for (k, &cell) in groups[0].rows.iter().enumerate() {
        rows[cell] = (0..WINDOWS)
            .map(|w| (w as u32, noise_row[k * WINDOWS + w] as f32))
            .collect();
    }
    let x = Csr::from_rows(WINDOWS, rows);
    let chromosomes: Vec<String> = (0..WINDOWS).map(|w| format!("chr{}", 1 + w / 60)).collect();
    let svg = heatmap(&x, &chromosomes, &groups, &SideBar::default(), 0.2).unwrap();
    let map = Array2::from_shape_vec(
        (N, 2),
        noise("map", &[], 2 * N).iter().map(|&v| v as f32).collect(),
    )
    .unwrap();
    let values = Colouring::Value {
        values: noise("values", &[], N),
        label: "burden".into(),
    };
    let one_map = umap(map.view(), &values).unwrap().body.len();
    let patient = svg.body.len() + 5 * one_map;
    assert!(
        patient < 1_200_000,
        "{} + 5 x {one_map} bytes",
        svg.body.len()
    );
}

#[test]
fn held_out_distances_are_named_as_such() {
    let mut fixture = Fixture::new();
    let row = |(cell, fold, distance, class): (&str, &str, f64, &str)| ConcordanceRow {
        cell: cell.into(),
        patient: "P1".into(),
        sample: String::new(),
        cell_type: String::new(),
        cancer_vs_normal: "Cancer".into(),
        split: "test".into(),
        fold: Some(fold.into()),
        distance,
        concordance_class: class.into(),
    };
    let rows = [
        ("a", "f1", 1.0, "concordant"),
        ("b", "f2", 2.0, "discordant"),
    ];
    let path = fixture.put("concordance", None);
    Table::new(rows.map(row).to_vec()).write_as(&path).unwrap();
    let (dir, _) = fixture.run_in("out", &ReportParams::default());
    let html = page(&dir);
    assert!(html.contains("by the one of 2 models that did not train on it"));
    assert!(!html.contains("single fit"));
    // All cells are held out, so their fold is drawn in place of their part of the split.
    assert!(html.contains("Classes by fold") && !html.contains("Classes by split"));
}
