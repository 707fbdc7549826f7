//! The stage on simulated tumours, through every stage before it: raw counts, copy number inferred
//! by `infercnv`, clusters found by `cluster`.
//!
//! `CLCC_LONG=1 cargo test -p clcc-stages --lib dosage::simulated -- --nocapture`: minutes. The
//! figures that came out are in docs/findings.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::discordance::{Discordance, DiscordanceParams};
use clcc_cnv::cluster::{Cluster, ClusterParams};
use clcc_cnv::infercnv::{Infercnv, InfercnvParams};
use clcc_counts::preprocess::{Preprocess, PreprocessParams};
use clcc_data::genome::is_clonal_locus;
use clcc_data::table::TextTable;
use clcc_numerics::stats::auc;
use clcc_simulate::benchmark::{Benchmark, BenchmarkParams};
use clcc_simulate::simulate::{Simulate, SimulateParams};
use clcc_stage::rows::DiscordanceGeneRow;
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet};

const PATIENTS: [&str; 4] = ["A", "B", "C", "D"];

/// The design's strong case: 9,000 UMI, about 1,500 compensating genes in altered regions.
fn strong() -> SimulateParams {
    SimulateParams {
        n_cells: 2500,
        n_genes: 15_000,
        median_counts: 9000.0,
        state_gene_share: 0.3,
        ..SimulateParams::default()
    }
}

fn artifact(role: &str, patient: Option<&str>, path: PathBuf) -> InputArtifact {
    InputArtifact {
        role: role.into(),
        branch: patient.map_or_else(Branch::new, |p| {
            Branch::from([("patient".to_string(), p.to_string())])
        }),
        path,
        format: None,
        builtin: None,
    }
}

fn node<S: Stage>(
    dir: &Path,
    inputs: Vec<InputArtifact>,
    params: &S::Params,
    seed: u64,
) -> Metrics {
    let cancel = AtomicBool::new(false);
    std::fs::create_dir_all(dir).unwrap();
    let ctx = StageContext {
        inputs,
        out_dir: dir.to_path_buf(),
        keys: if S::KIND == "simulate" {
            PATIENTS.map(String::from).to_vec()
        } else {
            Vec::new()
        },
        seed,
        threads: 2,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &cancel,
    };
    S::run(&ctx, params).unwrap()
}

/// Counts of four patients through the stages before `dosage`: its inputs.
fn prepared(dir: &Path, params: &SimulateParams, seed: u64) -> Vec<InputArtifact> {
    node::<Simulate>(dir, Vec::new(), params, seed);
    let mut inputs = Vec::new();
    for p in PATIENTS {
        let at = dir.join(p);
        let mut genes = artifact("genes", None, PathBuf::new());
        genes.builtin = Some("grch38".into());
        let counts = artifact("counts", None, dir.join("counts").join(p));
        node::<Preprocess>(&at, vec![counts, genes], &PreprocessParams::default(), seed);
        let expr = artifact("expr", None, at.join("expr"));
        node::<Infercnv>(&at, vec![expr.clone()], &InfercnvParams::default(), seed);
        let cnv = artifact("cnv", None, at.join("cnv"));
        node::<Cluster>(&at, vec![expr, cnv], &ClusterParams::default(), seed);
        for role in ["expr", "cnv", "clusters"] {
            inputs.push(artifact(role, Some(p), at.join(role)));
        }
    }
    inputs
}

struct Found {
    /// Constitutive escape in altered arms, by the slope shrunk towards 1 (`benchmark`).
    genes: f64,
    /// Discordant among scored malignant cells, by the sum; by each factor above its null.
    sum: f64,
    factors: Vec<f64>,
    n_compensating: usize,
    metrics: Metrics,
}

fn run(params: &SimulateParams, seed: u64) -> Found {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut inputs = prepared(dir, params, seed);
    let metrics = node::<Dosage>(dir, inputs.clone(), &DosageParams::default(), seed);
    inputs.push(artifact("truth", None, dir.join("truth")));
    inputs.push(artifact("dosage", None, dir.join("dosage")));
    node::<Benchmark>(dir, inputs, &BenchmarkParams::default(), seed);
    let table = TextTable::read(&dir.join("benchmark/benchmark.tsv")).unwrap();
    let [target, method, metric] = ["target", "method", "metric"].map(|c| table.texts(c).unwrap());
    let (value, planted) = (
        table.numbers("value").unwrap(),
        table.numbers("n_positive").unwrap(),
    );
    let row = |t: &str, m: &str| {
        (0..value.len())
            .find(|&r| (target[r], method[r], metric[r]) == (t, m, "auroc"))
            .unwrap()
    };
    let genes = value[row("constitutive_genes", "dosage_slope_shrunken")];
    let n_compensating = planted[row("state_genes", "dosage_slope_shrunken")] as usize;

    let cells = TextTable::read(&dir.join("truth/truth_cells.tsv")).unwrap();
    let flags = |t: &TextTable, name: &str| -> Vec<bool> {
        t.texts(name)
            .unwrap()
            .iter()
            .map(|v| v.eq_ignore_ascii_case("true"))
            .collect()
    };
    let (malignant, discordant) = (flags(&cells, "malignant"), flags(&cells, "discordant"));
    let at: std::collections::HashMap<(&str, &str), usize> = cells
        .texts("patient")
        .unwrap()
        .into_iter()
        .zip(cells.texts("cell").unwrap())
        .enumerate()
        .map(|(i, key)| (key, i))
        .collect();
    let table = TextTable::read(&dir.join("dosage/dosage_cells.tsv")).unwrap();
    let rows: Vec<(usize, usize)> = table
        .texts("patient")
        .unwrap()
        .into_iter()
        .zip(table.texts("cell").unwrap())
        .enumerate()
        .map(|(r, key)| (r, at[&key]))
        .filter(|&(_, i)| malignant[i])
        .collect();
    let labels: Vec<bool> = rows.iter().map(|&(_, i)| discordant[i]).collect();
    let area = |column: &str| {
        let values = table.numbers(column).unwrap();
        auc(
            &rows.iter().map(|&(r, _)| values[r]).collect::<Vec<_>>(),
            &labels,
        )
    };
    let factors = TextTable::read(&dir.join("dosage/dosage_factors.tsv")).unwrap();
    let above = flags(&factors, "above_null");
    let factors = factors
        .texts("factor")
        .unwrap()
        .into_iter()
        .zip(above)
        .filter(|(_, above)| *above)
        .map(|(name, _)| area(name))
        .collect();
    Found {
        genes,
        sum: area("shortfall"),
        factors,
        n_compensating,
        metrics,
    }
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "the figures of a long run are read by a person"
)]
fn planted_escape_and_compensation_are_found_from_raw_counts() {
    if std::env::var("CLCC_LONG").is_ok_and(|v| v == "1") {
        for seed in [11, 12, 13] {
            let found = run(&strong(), seed);
            let best = found.factors.iter().copied().fold(0.0, f64::max);
            eprintln!(
                "strong, seed {seed}: genes {:.3}, sum {:.3}, factors above the null {:.3?}, {} compensating genes in altered regions, {:?}",
                found.genes, found.sum, found.factors, found.n_compensating, found.metrics
            );
            assert!(found.genes >= 0.93 && found.sum >= 0.85 && best >= 0.95);
        }
        let mut above = Vec::new();
        for seed in 21..25 {
            let nothing = SimulateParams {
                discordant_share: 0.0,
                n_cells: 1000,
                ..strong()
            };
            let found = run(&nothing, seed);
            eprintln!("nothing planted, seed {seed}: {:?}", found.metrics);
            above.push(found.factors.len());
        }
        assert_eq!(above, [0; 4]);
    }
}

/// Myelomas: what their immunoglobulins do is no copy number of the genes around them.
#[test]
fn immunoglobulins_of_a_clone_are_no_copy_number_of_the_genes_around_them() {
    let temp = tempfile::tempdir().unwrap();
    let params = SimulateParams {
        n_cells: 400,
        n_genes: 3000,
        immunoglobulin: clcc_simulate::simulate::Immunoglobulin::Malignant,
        ..SimulateParams::default()
    };
    let inputs = prepared(temp.path(), &params, 3);
    let spread = |name: &str, params: &DosageParams| -> BTreeMap<String, (String, String)> {
        let dir = temp.path().join(name);
        node::<Dosage>(&dir, inputs.clone(), params, 3);
        let table = TextTable::read(&dir.join("dosage/dosage_genes.tsv")).unwrap();
        let [names, chromosome, spread] =
            ["names", "chromosome", "copy_spread"].map(|c| table.texts(c).unwrap());
        let others = (0..names.len()).filter(|&r| !is_clonal_locus(names[r]));
        others
            .map(|r| {
                let place = (chromosome[r].to_string(), spread[r].to_string());
                (names[r].to_string(), place)
            })
            .collect()
    };
    let by_default = spread("default", &DosageParams::default());
    let used = DosageParams {
        exclude_clonal_loci: false,
        ..DosageParams::default()
    };
    // The same where they are named.
    let table = clcc_data::genome::GeneTable::grch38();
    let clonal = table.genes.iter().filter(|g| is_clonal_locus(&g.name));
    let named = DosageParams {
        exclude_genes: clonal.map(|g| g.name.clone()).collect(),
        ..used.clone()
    };
    assert!(spread("named", &named) == by_default);
    let used = spread("used", &used);
    let value = |v: &str| v.parse::<f64>().unwrap_or(f64::NAN);
    let moved: Vec<&str> = used
        .iter()
        .filter(|(name, (_, s))| (value(s) - value(&by_default[*name].1)).abs() > 0.1)
        .map(|(_, (chromosome, _))| chromosome.as_str())
        .collect();
    assert!(moved.len() > 50, "{}", moved.len());
    let loci = ["chr2", "chr14", "chr22"];
    assert!(moved.iter().all(|c| loci.contains(c)), "{moved:?}");
}

/// What `exclude_genes` names is in no set.
#[test]
fn genes_that_are_left_out_are_in_no_set() {
    let temp = tempfile::tempdir().unwrap();
    let params = SimulateParams {
        n_cells: 300,
        n_genes: 1500,
        ..SimulateParams::default()
    };
    let inputs = prepared(temp.path(), &params, 5);
    let altered = |exclude: &[&str]| -> Vec<String> {
        let dir = temp.path().join(exclude.concat());
        let params = DiscordanceParams {
            exclude_genes: exclude.iter().map(|e| (*e).to_string()).collect(),
            gene_shares: vec![0.1],
            losses: vec![1.0],
            n_null: 0,
            ..DiscordanceParams::default()
        };
        node::<Discordance>(&dir, inputs.clone(), &params, 5);
        let rows =
            DiscordanceGeneRow::read(&dir.join("discordance").join(DiscordanceGeneRow::FILE));
        rows.unwrap().into_iter().map(|row| row.names).collect()
    };
    let (all, without) = (altered(&[]), altered(&["A*"]));
    let named = |genes: &[String]| genes.iter().filter(|g| g.starts_with('A')).count();
    assert!(named(&all) > 10 && named(&without) == 0);
    assert!(without.len() > all.len() / 2);
}
