//! Method B from simulated counts to the report.

use std::path::Path;

use serde_json::Value;

use crate::project::Project;

/// The demo of method B, made smaller.
fn small_demo() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/demo_anchors.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let small = text
        .replace(
            "{n_cells: 1500, n_genes: 6000}",
            "{n_cells: 300, n_genes: 3000}",
        )
        .replace("epochs: 40", "epochs: 6")
        .replace("batch_size: 128", "batch_size: 64");
    assert_ne!(small, text);
    small
}

#[test]
fn anchors_run_from_counts_to_report_and_edits_rerun_what_depends_on_them() {
    let p = Project::new(&small_demo());
    p.run(&["run", "w.yaml"]).expect(0);
    let dir = p.path().join("results/demo_anchors");
    for file in [
        "report.html",
        "model/model.safetensors",
        "model/history.tsv",
        "tables/anchor_retrieval.tsv",
        "tables/anchor_similarity.tsv",
        "tables/centroid_similarity.tsv",
        "tables/anchors.tsv",
        "tables/h_clusters.tsv",
        "tables/h_contrasts.tsv",
        "tables/h_leiden_genes.tsv",
        "tables/cancer_vs_normal_epithelial.pooled.tsv",
        "tables/hmm_subclusters.P1.tsv",
    ] {
        let there = dir.join(file).metadata().is_ok_and(|m| m.len() > 0);
        assert!(there, "{file} is missing");
    }
    for element in [
        "obsm/X_h",
        "obsm/X_z",
        "obsm/X_h_umap",
        "obsm/X_h_umap_3d",
        "obs/subcluster",
        "obs/h_leiden",
    ] {
        let there = dir.join("P1.zarr").join(element).is_dir();
        assert!(there, "{element} is missing");
    }
    let metrics = std::fs::read(dir.join("metrics.json")).unwrap();
    let metrics: Value = serde_json::from_slice(&metrics).unwrap();
    let number = |name: &str| metrics["eval"][name].as_f64().unwrap();
    assert!(number("anchors") >= 2.0);
    assert!((number("chance_top1") - 1.0 / number("anchors")).abs() < 1e-12);
    assert!(number("cell_top1_z_train") > number("chance_top1"));
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(
        page.contains("id=\"anchors\""),
        "the report shows the anchors"
    );

    let stages = |edit: &str| {
        let rerun = p.not_cached(&["--set", edit]).into_iter();
        let mut stages: Vec<String> = rerun
            .map(|id| id.split('[').next().unwrap().into())
            .collect();
        stages.dedup();
        stages.sort();
        stages
    };
    // `train` learns from the states, not from the map of h; the map does not touch the model.
    assert_eq!(
        stages("clusters_h.resolution=0.8"),
        ["clusters_h", "de", "export", "report"]
    );
    assert_eq!(
        stages("train.anchors.centroid_space=h"),
        ["clusters_h", "de", "eval", "export", "report", "train"]
    );
}
