//! Seeds and ablations as axes: scored on every branch, joined into one table, one figure and findings.

use crate::project::Project;

/// Two patients, two seeds and two ablations, each stage at its smallest.
const SMALL: &str = "\
version: 1
name: small
axes:
  seed: {s1: {seed: 1}, s2: {seed: 2}}
  ablation: {full: {}, no_negatives: {train: {lambda: 0}}}
  patient: [A, B]
inputs:
  genes: {builtin: grch38}
stages:
  simulate:
    per: seed
    params: {n_cells: 160, n_genes: 1500, median_counts: 3000}
  preprocess:
    per: [seed, patient]
    needs: [simulate]
    inputs: [genes]
  infercnv:
    per: [seed, patient]
    needs: [preprocess]
    params: {window_size: 40, step: 10}
  cluster:
    per: [seed, patient]
    needs: [infercnv]
  mine:
    per: [seed, ablation]
    needs: [preprocess, infercnv]
    params: {split: [0.6, 0.1, 0.3]}
  train:
    per: [seed, ablation]
    needs: [preprocess, infercnv, mine]
    params: {epochs: 2, batch_size: 64, expr_hidden: [32], cnv_hidden: [32], embedding_dim: 16}
  concordance:
    per: [seed, ablation]
    needs: [preprocess, cluster, mine, train]
  baselines:
    per: [seed, ablation]
    needs: [preprocess, infercnv, cluster, mine]
    params: {n_comps: 10, n_null: 2}
  benchmark:
    per: [seed, ablation]
    needs: [simulate, preprocess, infercnv, cluster, mine, train, concordance, baselines]
  compare:
    needs: [benchmark]
    params: {against: {ablation: full}}
";

#[test]
fn seeds_and_ablations_become_one_table_and_one_figure() {
    let p = Project::new(SMALL);
    let first = p.run_json(&[]).expect(0);
    // Mining does not depend on the ablation of training: the second is the first's, from the cache.
    let mined = first.nodes("did_execute");
    let mined = mined.iter().filter(|n| n.starts_with("mine[")).count();
    assert_eq!(mined, 2, "one mining per seed");
    let dir = p.path().join("results/small");
    let text = std::fs::read_to_string(dir.join("tables/comparison.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.split('\t').collect())
        .collect();
    let column = |name: &str| rows[0].iter().position(|h| *h == name).unwrap();
    let find = |ablation: &str, method: &str, metric: &str| {
        rows.iter()
            .find(|r| {
                r[column("ablation")] == ablation
                    && r[column("method")] == method
                    && r[column("metric")] == metric
            })
            .unwrap_or_else(|| panic!("no row of {ablation} {method} {metric}"))
            .clone()
    };
    for ablation in ["full", "no_negatives"] {
        for (method, metric) in [
            ("concordance", "auroc"),
            ("trained", "top1"),
            ("cca", "top1"),
            ("dosage_residual", "ap"),
            ("cell", "pearson"),
        ] {
            let row = find(ablation, method, metric);
            assert_eq!(row[column("n")], "2", "two seeds: {row:?}");
            let number = |name: &str| row[column(name)].parse::<f64>().unwrap();
            assert!(number("ci_low") <= number("mean") && number("mean") <= number("ci_high"));
        }
    }
    // A baseline does not know of the ablation: no difference; the trained model does.
    let of = |method, name: &str| find("no_negatives", method, "top1")[column(name)].to_string();
    assert_eq!(
        (
            of("cca", "difference").as_str(),
            !of("trained", "difference").is_empty()
        ),
        ("0", true)
    );
    assert!(find("full", "trained", "top1")[column("difference")].is_empty());
    let figure = std::fs::read_to_string(dir.join("figures/comparison.svg")).unwrap();
    assert!(figure.starts_with("<svg") && figure.contains("discordant cells, auroc"));
    let findings = std::fs::read_to_string(dir.join("tables/comparison_findings.tsv")).unwrap();
    assert!(findings.contains("at chance") || findings.contains("above chance"));
    assert!(p.run_json(&[]).expect(0).nodes("did_execute").is_empty());
    // Baselines of the cells that are called malignant alone: some of those that count as cancer.
    let scored = || {
        let metrics = p.json("results/small/metrics.json");
        metrics["baselines[s1,full]"]["n_cells_scored"]
            .as_u64()
            .unwrap()
    };
    let all = scored();
    let malignant = [
        "baselines.restrict=malignant",
        "cluster.malignancy_threshold=0.005",
    ];
    p.run_json(&[
        "--until",
        "baselines",
        "--set",
        malignant[0],
        "--set",
        malignant[1],
    ])
    .expect(0);
    assert!((1..all).contains(&scored()), "{} of {all}", scored());
}

/// The planted copy number in place of the inferred one: the same windows, nearly without error.
#[test]
fn measured_copy_number_takes_the_place_of_inferred() {
    let p = Project::new(
        &SMALL
            .replace("    needs: [preprocess]\n    params: {window_size: 40, step: 10}",
                     "    needs: [preprocess, simulate]\n    params: {window_size: 40, step: 10, method: measured}")
            .replace("seed: {s1: {seed: 1}, s2: {seed: 2}}", "seed: {s1: {seed: 1}}")
            .replace("  ablation: {full: {}, no_negatives: {train: {lambda: 0}}}\n", "  ablation: {full: {}}\n"),
    );
    p.run_json(&["--until", "benchmark"]).expect(0);
    let path = p.path().join("results/small/tables/benchmark.s1.full.tsv");
    let text = std::fs::read_to_string(path).unwrap();
    let row = text
        .lines()
        .find(|l| l.starts_with("copy_number\tcell\tpearson"))
        .expect("copy number is scored");
    let r: f64 = row.split('\t').nth(3).unwrap().parse().unwrap();
    assert!(r > 0.95, "{row}");
}

#[test]
fn the_study_workflows_are_valid() {
    for name in [
        "truth",
        "truth_easy",
        "truth_settings",
        "truth_fitted",
        "truth_full",
        "truth_full_easy",
        "controls",
        "ablations",
    ] {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("workflows/{name}.yaml"));
        let p = Project::new(&std::fs::read_to_string(file).unwrap());
        // The counts that `truth_fitted` takes its marginals from; a plan looks no further.
        std::fs::create_dir_all(p.path().join("data")).unwrap();
        p.write("data/Qian2020_Ovarian.h5ad", "counts");
        p.run(&["plan", "w.yaml"]).expect(0);
    }
}
