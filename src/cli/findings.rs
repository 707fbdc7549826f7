//! What two runs found: genes that entered or left each table, and how alike the rankings are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_cache::{Digest, Store, read_plain_linked};
use clcc_stages::stats::spearman;
use clcc_stages::table::TextTable;
use serde_json::{Value, json};

/// Genes shown by name in the terminal; JSON has all.
const SHOWN: usize = 10;
/// Classes of `dosage_genes.tsv` that are findings: the gene does not follow its copy number.
const ESCAPES: [&str; 2] = ["insensitive", "over-compensated"];

/// A table of genes: rank value and whether it is a finding, by row.
struct Genes {
    rank: BTreeMap<String, f64>,
    found: BTreeSet<String>,
}

impl Genes {
    /// `None` where the table has no genes, or nothing says which of them are findings: those with
    /// an escape `class`, or with `pvals_adj` below `fdr`.
    fn read(path: &Path, fdr: f64) -> Option<Self> {
        let table = TextTable::read(path).ok()?;
        if table.header.first().map(String::as_str) != Some("names") {
            return None;
        }
        let names = table.texts("names").ok()?;
        let patients = table.texts("patient").ok();
        let row = |i: usize| match &patients {
            Some(p) => format!("{} ({})", names[i], p[i]),
            None => names[i].to_string(),
        };
        let is_found: Vec<bool> = match (table.texts("class"), table.numbers("pvals_adj")) {
            (Ok(class), _) => class.iter().map(|c| ESCAPES.contains(c)).collect(),
            (_, Ok(p)) => p.iter().map(|p| *p < fdr).collect(),
            _ => return None,
        };
        let rank = ["scores", "slope", "t", "logfoldchanges"]
            .into_iter()
            .find_map(|c| table.numbers(c).ok())?;
        Some(Self {
            rank: (0..names.len())
                .filter(|&i| rank[i].is_finite())
                .map(|i| (row(i), rank[i]))
                .collect(),
            found: (0..names.len()).filter(|&i| is_found[i]).map(row).collect(),
        })
    }
}

/// Tables of both runs that differ, by node and file. Nodes are hydrated: their outputs are known.
pub(super) fn changes(store: &Store, old: &Value, new: &Value, fdr: f64) -> Vec<Value> {
    let (a, b) = (tables(old), tables(new));
    let mut out = Vec::new();
    for (place, digest) in &b {
        let Some(before) = a.get(place).filter(|d| *d != digest) else {
            continue;
        };
        let dirs = [before, digest].map(|d| store.artifact_path(d));
        for mut change in between([&dirs[0], &dirs[1]], fdr, &[]) {
            change["node"] = json!(place.0);
            change["role"] = json!(place.1);
            out.push(change);
        }
    }
    out
}

/// Tables of two directories, old and new, that differ, but for those `left_out`; files that hold no genes are
/// not looked at.
pub(super) fn between([old_dir, new_dir]: [&Path; 2], fdr: f64, left_out: &[String]) -> Vec<Value> {
    let mut out = Vec::new();
    for file in names(old_dir).union(&names(new_dir)) {
        if left_out.contains(file) {
            continue;
        }
        let paths = [old_dir, new_dir].map(|d| d.join(file));
        let [was, is] = [&paths[0], &paths[1]].map(|p| read_plain_linked(p).ok());
        if was == is {
            continue;
        }
        let [was, is] = [&paths[0], &paths[1]].map(|p| Genes::read(p, fdr));
        let (was, is) = match (was, is) {
            (Some(was), Some(is)) => (was, is),
            (None, None) => continue,
            (was, _) => {
                let run = if was.is_some() { "old" } else { "new" };
                out.push(json!({"table": file, "only_in": run}));
                continue;
            }
        };
        let both: Vec<&String> = was
            .rank
            .keys()
            .filter(|g| is.rank.contains_key(*g))
            .collect();
        let of = |m: &BTreeMap<String, f64>| both.iter().map(|g| m[*g]).collect::<Vec<_>>();
        let rho = spearman(&of(&was.rank), &of(&is.rank)).r;
        out.push(json!({
            "table": file,
            "entered": is.found.difference(&was.found).collect::<Vec<_>>(),
            "left": was.found.difference(&is.found).collect::<Vec<_>>(),
            "stayed": was.found.intersection(&is.found).count(),
            "n_ranked": both.len(),
            "spearman": if rho.is_finite() { json!(rho) } else { Value::Null },
        }));
    }
    out
}

/// Directories of every node, by (node, role).
fn tables(run: &Value) -> BTreeMap<(String, String), Digest> {
    let mut out = BTreeMap::new();
    for node in run["nodes"].as_array().into_iter().flatten() {
        for output in node["outputs"].as_array().into_iter().flatten() {
            if output["form"] == "tree"
                && let (Some(id), Some(role)) = (node["id"].as_str(), output["role"].as_str())
                && let Some(digest) = output["digest"].as_str().and_then(|d| d.parse().ok())
            {
                out.insert((id.to_string(), role.to_string()), digest);
            }
        }
    }
    out
}

/// Tables that lie directly in a directory; none where it is no longer there.
fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|e| e.path().is_file())
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.ends_with(".tsv"))
        .collect()
}

/// For people.
pub(super) fn print(changes: &[Value]) {
    if changes.is_empty() {
        return;
    }
    say!("findings");
    for c in changes {
        let table = c["table"].as_str().unwrap_or("-");
        if let Some(run) = c["only_in"].as_str() {
            say!("  {table}: only in the {run} run");
            continue;
        }
        let rho = c["spearman"].as_f64().map_or_else(String::new, |r| {
            format!("; ranks correlate at {r:.3} over {} rows", c["n_ranked"])
        });
        let count = |list: &str| c[list].as_array().map_or(0, Vec::len);
        say!(
            "  {table}: {} entered, {} left, {} stayed{rho}",
            count("entered"),
            count("left"),
            c["stayed"]
        );
        for list in ["entered", "left"] {
            let genes: Vec<&str> = c[list]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if !genes.is_empty() {
                let more = match genes.len().saturating_sub(SHOWN) {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                say!(
                    "    {list}: {}{more}",
                    genes[..genes.len().min(SHOWN)].join(", ")
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_cache::measure;

    fn run(store: &Store, name: &str, tables: &[(&str, &str)]) -> Value {
        let dir = store.root().join("tmp").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in tables {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let artifact = measure(&dir).unwrap();
        store.insert(&dir, &artifact).unwrap();
        json!({"nodes": [{"id": "de", "outputs": [
            {"role": "de", "form": "tree", "digest": artifact.digest.to_string()}
        ]}]})
    }

    #[test]
    fn genes_that_entered_and_left_are_named_and_the_ranks_compared() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let old = "# a note\nnames\tpatient\tscores\tpvals_adj\nA\tP1\t3\t0.01\nB\tP1\t2\t0.02\nC\tP1\t1\t0.9\nD\tP1\t0\tNA\n";
        let new = "names\tpatient\tscores\tpvals_adj\nC\tP1\t3\t0.01\nB\tP1\t2\t0.02\nA\tP1\t1\t0.9\nE\tP1\t0\t1\n";
        let classes = "names\tslope\tclass\nA\t0.1\tinsensitive\nB\t1\tsensitive\n";
        let a = run(
            &store,
            "a",
            &[
                ("escape_genes.tsv", old),
                ("dosage_genes.tsv", classes),
                ("cells.tsv", "cell\tx\nc\t1\n"),
            ],
        );
        let b = run(
            &store,
            "b",
            &[
                ("escape_genes.tsv", new),
                (
                    "dosage_genes.tsv",
                    &classes.replace("sensitive", "over-compensated"),
                ),
            ],
        );
        let found = changes(&store, &a, &b, 0.05);
        let names: Vec<&str> = found.iter().filter_map(|c| c["table"].as_str()).collect();
        assert_eq!(names, ["dosage_genes.tsv", "escape_genes.tsv"]);
        let escape = &found[1];
        assert_eq!(escape["entered"], json!(["C (P1)"]));
        assert_eq!(escape["left"], json!(["A (P1)"]));
        assert_eq!(escape["stayed"], json!(1));
        // A, B, C are 3, 2, 1 and then 1, 2, 3.
        assert_eq!(escape["n_ranked"], json!(3));
        assert!((escape["spearman"].as_f64().unwrap() + 1.0).abs() < 1e-12);
        // Two rows have no correlation.
        assert_eq!(found[0]["spearman"], Value::Null);
        assert_eq!(changes(&store, &a, &a, 0.05), Vec::<Value>::new());
        // Another rate, other findings.
        assert_eq!(changes(&store, &a, &b, 0.015)[1]["stayed"], json!(0));
    }
}
