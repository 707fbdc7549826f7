//! The tables that the two demos write, against their declarations.

use std::collections::BTreeMap;
use std::path::Path;

use clcc_stages::table::TextTable;
use serde_json::Value;

use crate::golden::runs;
use crate::project::{Project, SMALLEST};

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

/// Checks the tables of a run against their declarations, and returns those without one, each with its kind.
fn undeclared(project: &Project, workflow: &str) -> Vec<String> {
    let dir = format!("results/{workflow}");
    let run = project.json(format!("{dir}/run.json"));
    let nodes = run["nodes"].as_array().expect("nodes").iter();
    let kind_of: BTreeMap<String, String> =
        nodes.map(|n| (text(&n["id"]), text(&n["kind"]))).collect();
    let index = project.json(format!("{dir}/.published.json"));
    let mut found = Vec::new();
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
            found.push(format!("{kind} {name}"));
        } else {
            // The two objectives of `train` have a history each, and a pattern may fit a file of another table.
            let fits = own.iter().any(|table| table.check_header(&header).is_ok());
            assert!(fits, "{path}: {:?}", own[0].check_header(&header));
        }
    }
    found
}

#[test]
fn every_table_is_described_with_exactly_its_columns() {
    for (project, workflow) in [(&runs().demo, "demo"), (&runs().anchors, "demo_anchors")] {
        let new = undeclared(project, workflow);
        assert!(new.is_empty(), "declare with `table!`: {new:#?}");
    }
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
