//! The tables that the two demos write, against their declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_stages::table::TextTable;
use serde_json::Value;

use crate::golden::runs;
use crate::project::{Project, SMALLEST};

/// Tables that no type describes yet, each with its kind; `*` stands for what the data name.
const NOT_DESCRIBED: [&str; 26] = [
    "baselines baselines_cells.tsv",
    "baselines baselines_genes.tsv",
    "cluster cnv_clone_pieces.tsv",
    "cluster cnv_cluster_profiles.tsv",
    "cluster h_clusters.tsv",
    "de burden_scores.tsv",
    "de cancer_vs_normal_epithelial.*.tsv",
    "de cancer_vs_normal_scores.tsv",
    "de cis_effects.tsv",
    "de compensation_genes.tsv",
    "de contrasts.tsv",
    "de discordance_by_patient.tsv",
    "de discordant_vs_concordant.*.tsv",
    "de dosage_vs_discordance.tsv",
    "de escape_genes.tsv",
    "de h_contrasts.tsv",
    "de h_leiden_genes.tsv",
    "de high_vs_low_burden.*.tsv",
    "de recurrence.tsv",
    "de set_aside.tsv",
    "dosage dosage_arms.tsv",
    "dosage dosage_cells.tsv",
    "dosage dosage_chromosomes.tsv",
    "dosage dosage_factors.tsv",
    "dosage dosage_loadings.tsv",
    "infercnv hmm_regions.tsv",
];

/// Whether a line of the list is about this table.
fn is_listed(line: &str, table: &str) -> bool {
    match line.split_once('*') {
        None => line == table,
        Some((before, after)) => table.starts_with(before) && table.ends_with(after),
    }
}

/// What a kind publishes under this name, without the branch of the node.
fn without_branch(path: &str, node: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match node.split_once('[') {
        None => name.to_string(),
        Some((_, branch)) => {
            let branch = branch.trim_end_matches(']').replace(',', ".");
            name.replace(&format!(".{branch}.tsv"), ".tsv")
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}

/// Checks the tables of a run that are declared, and lists the others with their kinds.
fn undeclared(project: &Project, workflow: &str) -> BTreeSet<String> {
    let dir = format!("results/{workflow}");
    let run = project.json(format!("{dir}/run.json"));
    let nodes = run["nodes"].as_array().expect("nodes").iter();
    let kind_of: BTreeMap<String, String> =
        nodes.map(|n| (text(&n["id"]), text(&n["kind"]))).collect();
    let index = project.json(format!("{dir}/.published.json"));
    let mut found = BTreeSet::new();
    for (path, file) in index["files"].as_object().expect("files") {
        if !path.ends_with(".tsv") {
            continue;
        }
        let node = text(&file["node"]);
        let (kind, name) = (&kind_of[&node], without_branch(path, &node));
        let read = TextTable::read(&project.path().join(&dir).join(path));
        let header = read.expect("a table").header;
        let declared = clcc_flow::registry::kind(kind).expect("a kind").tables;
        let own: Vec<_> = declared
            .iter()
            .filter(|table| table.is_file(&name))
            .collect();
        if own.is_empty() {
            found.insert(format!("{kind} {name}"));
        } else {
            // The two objectives of `train` have a history each.
            let fits = own.iter().any(|table| table.check_header(&header).is_ok());
            assert!(fits, "{path}: {:?}", own[0].check_header(&header));
        }
    }
    found
}

#[test]
fn every_table_is_described_with_exactly_its_columns() {
    let mut found = undeclared(&runs().demo, "demo");
    found.append(&mut undeclared(&runs().anchors, "demo_anchors"));
    let is_new = |table: &&String| !NOT_DESCRIBED.iter().any(|line| is_listed(line, table));
    let new: Vec<_> = found.iter().filter(is_new).collect();
    assert!(new.is_empty(), "declare with `table!`: {new:#?}");
    let is_done = |line: &&&str| !found.iter().any(|table| is_listed(line, table));
    let done: Vec<_> = NOT_DESCRIBED.iter().filter(is_done).collect();
    assert!(done.is_empty(), "described, take off the list: {done:#?}");
}

#[test]
fn the_documented_tables_are_those_of_the_program() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tables.md");
    let written = std::fs::read_to_string(file).expect("read");
    let said = Project::new(SMALLEST)
        .run(&["schema", "--tables"])
        .expect(0)
        .stdout;
    assert!(
        said == written,
        "docs/tables.md is out of date: clcc-flow schema --tables > docs/tables.md"
    );
}
