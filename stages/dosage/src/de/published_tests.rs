//! Recomputes, from the authors' published tables of P0006 and P0018, the figures of sections 7.2.1 to
//! 7.2.3.
//!
//! `tests/reference/paper/values.json` has the figures, made by the script next to it. The tables are
//! not part of the repository: without `../shared/data/paper` these tests report that they skip.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use clcc_numerics::stats::{
    Correlation, RankSumOptions, auc, benjamini_hochberg, mean, rank_sum_dense, two_sided_normal,
};
use clcc_testing::shared_data;

const PATIENTS: [&str; 2] = ["P0006", "P0018"];

/// A published table: its header, and its rows.
struct Published {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Published {
    fn read(folder: &Path, name: &str) -> Self {
        let file = std::fs::File::open(folder.join(format!("{name}.csv.gz"))).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        let mut lines = text
            .lines()
            .map(|l| l.split(',').map(String::from).collect());
        Self {
            header: lines.next().unwrap(),
            rows: lines.collect(),
        }
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        let at = self.header.iter().position(|h| h == name).unwrap();
        self.rows.iter().map(|r| r[at].as_str()).collect()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let texts = self.texts(name).into_iter();
        texts.map(|t| t.parse().unwrap()).collect()
    }
}

/// Each patient's folder and figures; none where the tables are not there.
fn published() -> Vec<(std::path::PathBuf, Value)> {
    let values = include_str!("../../../../tests/reference/paper/values.json");
    let values: Value = serde_json::from_str(values).unwrap();
    let of = |p: &str| Some((shared_data(&format!("paper/{p}"))?, values[p].clone()));
    PATIENTS.into_iter().filter_map(of).collect()
}

/// Largest relative difference; a p-value below 1e-308 is published as 0 and compared with that.
fn largest_relative(found: &[f64], published: &[f64]) -> f64 {
    assert_eq!(found.len(), published.len());
    let off = |(f, p): (&f64, &f64)| {
        if *p > 0.0 {
            (f - p).abs() / p
        } else if *f < 1e-300 {
            0.0
        } else {
            f64::INFINITY
        }
    };
    found.iter().zip(published).map(off).fold(0.0, f64::max)
}

fn cells_with(cells: &Published, label: &str) -> usize {
    let labels = cells.texts("cancer_vs_normal");
    labels.iter().filter(|l| **l == label).count()
}

/// 7.2.1: the group is all cells of the tumour sample, no gene is set aside, Benjamini-Hochberg and the
/// counts at FDR < .05 and |log2FC| > .5 are ours.
#[test]
fn cancer_vs_normal_is_of_all_cells_and_genes() {
    for (folder, values) in published() {
        let cells = Published::read(&folder, "cell_subclusters");
        let n_cancer = cells_with(&cells, "Cancer");
        assert_eq!(values["cells"], cells.rows.len());
        assert_eq!(values["cancer"], n_cancer);
        let table = Published::read(&folder, "de_cancer_vs_normal");
        let expected = &values["cancer_vs_normal"];
        assert_eq!(expected["genes"], table.rows.len());
        let (names, z, change) = (
            table.texts("names"),
            table.numbers("scores"),
            table.numbers("logfoldchanges"),
        );
        let (p, q) = (table.numbers("pvals"), table.numbers("pvals_adj"));
        // Ribosomal and immunoglobulin genes are included.
        assert!(names.contains(&"RPL41") && names.contains(&"IGKC"));
        // The shares of the group are whole numbers of its 3,426 cells (P0006), which no subset gives.
        for share in table.numbers("pct_nz_group") {
            let of_cells = share * n_cancer as f64;
            assert!((of_cells - of_cells.round()).abs() < 1e-9, "{share}");
        }
        let adjusted = benjamini_hochberg(&p);
        assert!(largest_relative(&adjusted, &q) < 1e-9);
        // z is published as float32, so p of 1e-300 is known to 1e-4.
        let from_z: Vec<f64> = z.iter().map(|&z| two_sided_normal(z).p).collect();
        assert!(largest_relative(&from_z, &p) < 2e-4);
        let found = |sign: f64| {
            let is = |g: &usize| adjusted[*g] < 0.05 && sign * change[*g] > 0.5;
            (0..names.len()).filter(is).count()
        };
        assert_eq!(expected["higher"], found(1.0));
        assert_eq!(expected["lower"], found(-1.0));
        assert_eq!(expected["found"], found(1.0) + found(-1.0));
        let at = |name: &str| names.iter().position(|n| *n == name).unwrap();
        let junb = at("JUNB");
        assert_eq!(expected["junb"]["z"], z[junb]);
        assert_eq!(expected["junb"]["log2fc"], change[junb]);
        let farthest = at(expected["largest_z"]["gene"].as_str().unwrap());
        assert_eq!(expected["largest_z"]["z"], z[farthest]);
        assert!(
            z.iter()
                .all(|z| z.abs() <= z_abs(&expected["largest_z"]["z"]))
        );
    }
}

fn z_abs(value: &Value) -> f64 {
    value.as_f64().unwrap().abs()
}

/// 7.2.2: the tables have each cluster's mean profile, whose mean size is at most the cluster's score: so the
/// direction and a lower bound are reproduced, by the same test as `cancer_vs_normal_scores.tsv`.
#[test]
fn cancer_cells_lie_in_clusters_of_higher_copy_number_score() {
    for (folder, values) in published() {
        let cells = Published::read(&folder, "cell_subclusters");
        let profiles = Published::read(&folder, "cnv_profiles");
        let expected = &values["cnv_score"];
        assert_eq!(expected["windows"], profiles.header.len() - 1);
        let score: HashMap<&str, f64> = profiles
            .rows
            .iter()
            .map(|r| {
                let sizes: Vec<f64> = r[1..]
                    .iter()
                    .map(|v| v.parse::<f64>().unwrap().abs())
                    .collect();
                (r[0].trim_start_matches("subcluster_"), mean(&sizes))
            })
            .collect();
        let (cluster, label) = (cells.texts("cnv_leiden"), cells.texts("cancer_vs_normal"));
        let of = |name: &str| -> Vec<f64> {
            let here = (0..cells.rows.len()).filter(|&i| label[i] == name);
            here.map(|i| score[cluster[i]]).collect()
        };
        let (cancer, normal) = (of("Cancer"), of("Normal"));
        let number = |name: &str| expected[name].as_f64().unwrap();
        assert!((mean(&cancer) - number("mean_cancer")).abs() < 1e-12);
        assert!((mean(&normal) - number("mean_normal")).abs() < 1e-12);
        let (z, p) = rank_sum_dense(&cancer, &normal, RankSumOptions::SCIPY);
        assert!(
            z > 0.0 && (p.p - number("p")).abs() < 1e-9 * number("p"),
            "{p:?}"
        );
        let all: Vec<f64> = cancer.iter().chain(&normal).copied().collect();
        let labels: Vec<bool> = (0..all.len()).map(|i| i < cancer.len()).collect();
        assert!((auc(&all, &labels) - number("auc")).abs() < 1e-12);
    }
    let values = include_str!("../../../../tests/reference/paper/values.json");
    let values: Value = serde_json::from_str(values).unwrap();
    let of = |part: &str, name: &str| values[part][name].as_f64().unwrap();
    // The figures that the text gives for P0006 are above the bounds, and in their order.
    let bound = |name: &str| values["P0006"]["cnv_score"][name].as_f64().unwrap();
    assert!(of("stated", "cnv_score_cancer") > bound("mean_cancer"));
    assert!(of("stated", "cnv_score_normal") > bound("mean_normal"));
    assert!(of("stated", "cnv_score_cancer") > of("stated", "cnv_score_normal"));
}

/// 7.2.3: the published p-values are those of the correlations over all cells of the patient, tumour and
/// normal; no other number of cells gives them.
#[test]
fn cis_effects_are_over_tumour_and_normal_cells() {
    for (folder, values) in published() {
        let cells = Published::read(&folder, "cell_subclusters");
        let table = Published::read(&folder, "chromosome_cis_effects");
        let expected = &values["cis"];
        assert_eq!(expected["chromosomes"], table.rows.len());
        for kind in ["cis", "trans"] {
            let r = table.numbers(&format!("{kind}_correlation"));
            let p = table.numbers(&format!("{kind}_pval"));
            let of =
                |n: usize| -> Vec<f64> { r.iter().map(|&r| Correlation::of_r(r, n).p.p).collect() };
            let off = largest_relative(&of(cells.rows.len()), &p);
            assert!(off < 1e-11, "{kind}: {off}");
            for other in [cells_with(&cells, "Cancer"), cells.rows.len() - 1] {
                assert!(largest_relative(&of(other), &p) > 1e-3, "{kind}: {other}");
            }
        }
        let (r, p, q) = (
            table.numbers("cis_correlation"),
            table.numbers("cis_pval"),
            table.numbers("cis_pval_adj"),
        );
        let adjusted = benjamini_hochberg(&p);
        assert!(largest_relative(&adjusted, &q) < 1e-12);
        let found = adjusted.iter().filter(|q| **q < 0.05).count();
        assert_eq!(expected["found"], found);
        assert_eq!(expected["positive"], r.iter().filter(|r| **r > 0.0).count());
    }
}
