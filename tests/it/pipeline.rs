//! The whole pipeline on small simulated data, and on real data where it is at hand.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::project::Project;

/// The demo, made smaller.
fn small_demo() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    text.replace("[P1, P2, P3]", "[P1, P2]")
        .replace(
            "{n_cells: 500, n_genes: 6000}",
            "{n_cells: 200, n_genes: 2500}",
        )
        .replace("epochs: 20", "epochs: 4")
}

fn real(relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(relative);
    if path.exists() {
        Some(path)
    } else {
        eprintln!("skipped: `{}` is not here", path.display());
        None
    }
}

fn assert_results(dir: &Path, patients: &[&str]) {
    for file in [
        "report.html",
        "metrics.json",
        "run.json",
        "model/model.safetensors",
        "model/history.tsv",
    ] {
        assert!(
            dir.join(file).metadata().is_ok_and(|m| m.len() > 0),
            "{file} is missing in {}",
            dir.display()
        );
    }
    for patient in patients {
        let store = dir.join(format!("{patient}.zarr"));
        for element in [
            "obsm/X_cnv",
            "obsm/X_cnv_pca",
            "obsm/X_cnv_umap",
            "obsm/X_clcc_expr",
            "obsm/X_clcc_cnv",
            "obs/cnv_leiden",
            "obs/cnv_score",
            "obs/cnv_burden",
            "obs/concordance",
            "obs/concordance_class",
            "uns/cnv/chr_pos",
        ] {
            assert!(
                store.join(element).is_dir(),
                "{element} is missing in {}",
                store.display()
            );
        }
    }
    for table in [
        "retrieval.tsv",
        "concordance.tsv",
        "dosage_genes.tsv",
        "contrasts.tsv",
    ] {
        assert!(
            dir.join("tables").join(table).exists(),
            "{table} is missing"
        );
    }
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(
        page.contains("id=\"run-provenance\""),
        "the report carries the run's record"
    );
}

#[test]
fn every_stage_runs_and_the_results_are_complete() {
    let p = Project::new(&small_demo());
    p.run(&["run", "w.yaml"]).expect(0);
    let dir = p.path().join("results/demo");
    assert_results(&dir, &["P1", "P2"]);
    crate::page::check(&dir.join("report.html"), 15);
    let run: Value = serde_json::from_slice(&std::fs::read(dir.join("run.json")).unwrap()).unwrap();
    assert_eq!(
        run["summary"]["ran"].as_u64(),
        Some(run["nodes"].as_array().unwrap().len() as u64)
    );
    let metrics: Value =
        serde_json::from_slice(&std::fs::read(dir.join("metrics.json")).unwrap()).unwrap();
    assert!(metrics["eval"].as_object().is_some_and(|m| !m.is_empty()));
    // Classes rest on held-out distances, retrieval on the one model; the report says so.
    assert_eq!(metrics["concordance"]["n_folds"], 3);
    assert_eq!(
        metrics["eval"]["expr_to_cnv_positive_gap_fraction"],
        metrics["eval"]["expr_to_cnv_top1"]
    );
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("Held-out distances: each cell is measured by the one of 3 models"));
    // Nothing to do, and nothing rewritten.
    let before = std::fs::metadata(dir.join("report.html"))
        .unwrap()
        .modified()
        .unwrap();
    let again = p.run_json(&[]).expect(0);
    assert!(again.nodes("did_execute").is_empty());
    assert_eq!(
        std::fs::metadata(dir.join("report.html"))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

#[test]
fn a_result_that_was_edited_or_lost_comes_back_without_running_anything() {
    let p = Project::new(crate::project::TINY);
    p.run_json(&[]).expect(0);
    let tables = p.path().join("results/tiny/tables");
    let file = tables.join("dosage_genes.tsv");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(p.run_json(&[]).expect(0).nodes("did_execute").is_empty());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn the_real_ovarian_counts_run_from_counts_to_report() {
    let Some(counts) = real("qian2020_ovarian/Qian2020_Ovarian.h5ad") else {
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/ovarian4.yaml");
    let p = Project::new(&std::fs::read_to_string(file).unwrap());
    let input = format!("counts={}", counts.display());
    // Two epochs: the test is about the path, not about the model.
    let args = [
        "--input",
        &input,
        "--set",
        "train.epochs=2",
        "--set",
        "train_folds.epochs=2",
    ];
    let run = p.run_json(&args).expect(0);
    assert!(run.nodes("did_fail").is_empty());
    let dir = p.path().join("results/ovarian4");
    assert_results(&dir, &["S11", "S12", "S13", "S14"]);
    let contrasts = std::fs::read_to_string(dir.join("tables/contrasts.tsv")).unwrap();
    assert!(
        contrasts
            .lines()
            .any(|l| l.contains("not applicable") && l.contains("normal")),
        "{contrasts}"
    );
    let mut edited = args.to_vec();
    edited.extend(["--set", "cluster.resolution=0.8"]);
    let mut stages: Vec<String> = p
        .not_cached(&edited)
        .into_iter()
        .map(|id| id.split('[').next().unwrap().to_string())
        .collect();
    stages.dedup();
    stages.sort();
    assert_eq!(
        stages,
        [
            "cluster",
            "concordance",
            "de",
            "dosage",
            "enrichment",
            "export",
            "report"
        ]
    );
}
