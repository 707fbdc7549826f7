//! What two runs found: genes that entered or left each table, and how alike the rankings are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clcc_cache::{ArtifactForm, Digest, Store, read_plain_linked};
use clcc_stages::stats::spearman;
use clcc_stages::table::TextTable;
use serde::Serialize;

use crate::results::RunRecord;

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

/// A table of genes that is not the same in both runs.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct TableChange {
    table: String,
    #[serde(flatten)]
    change: Change,
    /// The node that wrote it, where it was found in the cache.
    #[serde(flatten)]
    place: Option<Place>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Change {
    /// One run alone has it.
    OnlyIn { only_in: Side },
    /// Both have it.
    Both {
        /// Genes found in the new run alone.
        entered: Vec<String>,
        /// Genes found in the old run alone.
        left: Vec<String>,
        /// How many genes both found.
        stayed: usize,
        /// Rows with a rank in both.
        n_ranked: usize,
        /// Spearman's correlation of the ranks; `null` where it is not defined.
        spearman: Option<f64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    Old,
    New,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Place {
    node: String,
    role: String,
}

/// Tables of both runs that differ, by node and file. Nodes are hydrated: their outputs are known.
pub(super) fn changes(
    store: &Store,
    old: &RunRecord,
    new: &RunRecord,
    fdr: f64,
) -> Vec<TableChange> {
    let (a, b) = (tables(old), tables(new));
    let mut out = Vec::new();
    for (place, digest) in &b {
        let Some(before) = a.get(place).filter(|d| *d != digest) else {
            continue;
        };
        let dirs = [before, digest].map(|d| store.laid_out(d));
        let [Ok(was), Ok(is)] = &dirs else { continue };
        let found = between([was.path(), is.path()], fdr, &[]);
        out.extend(found.into_iter().map(|change| TableChange {
            place: Some(place.clone()),
            ..change
        }));
    }
    out
}

/// Tables of two directories, old and new, that differ, but for those `left_out`; files that hold no genes are
/// not looked at.
pub(super) fn between(
    [old_dir, new_dir]: [&Path; 2],
    fdr: f64,
    left_out: &[String],
) -> Vec<TableChange> {
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
        let change = match (was, is) {
            (Some(was), Some(is)) => compare(&was, &is),
            (Some(_), None) => Change::OnlyIn { only_in: Side::Old },
            (None, Some(_)) => Change::OnlyIn { only_in: Side::New },
            (None, None) => continue,
        };
        out.push(TableChange {
            table: file.clone(),
            change,
            place: None,
        });
    }
    out
}

fn compare(was: &Genes, is: &Genes) -> Change {
    let both: Vec<&String> = was
        .rank
        .keys()
        .filter(|g| is.rank.contains_key(*g))
        .collect();
    let of = |m: &BTreeMap<String, f64>| both.iter().map(|g| m[*g]).collect::<Vec<_>>();
    let rho = spearman(&of(&was.rank), &of(&is.rank)).r;
    Change::Both {
        entered: is.found.difference(&was.found).cloned().collect(),
        left: was.found.difference(&is.found).cloned().collect(),
        stayed: was.found.intersection(&is.found).count(),
        n_ranked: both.len(),
        spearman: rho.is_finite().then_some(rho),
    }
}

/// Directories of every node, by node and role.
fn tables(run: &RunRecord) -> BTreeMap<Place, Digest> {
    let outputs = run.nodes.iter().flat_map(|node| {
        let trees = node.outputs().iter();
        trees.filter(|o| o.form == ArtifactForm::Tree).map(|o| {
            let place = Place {
                node: node.id.clone(),
                role: o.role.clone(),
            };
            (place, o.digest)
        })
    });
    outputs.collect()
}

/// Tables directly in a directory; none where it is no longer there.
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
pub(super) fn print(changes: &[TableChange]) {
    if changes.is_empty() {
        return;
    }
    say!("findings");
    for TableChange { table, change, .. } in changes {
        match change {
            Change::OnlyIn { only_in } => say!("  {table}: only in the {} run", only_in.word()),
            Change::Both {
                entered,
                left,
                stayed,
                n_ranked,
                spearman,
            } => {
                let rho = spearman.map_or_else(String::new, |r| {
                    format!("; ranks correlate at {r:.3} over {n_ranked} rows")
                });
                say!(
                    "  {table}: {} entered, {} left, {stayed} stayed{rho}",
                    entered.len(),
                    left.len(),
                );
                print_genes("entered", entered);
                print_genes("left", left);
            }
        }
    }
}

fn print_genes(list: &str, genes: &[String]) {
    if genes.is_empty() {
        return;
    }
    let more = match genes.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown = genes[..genes.len().min(SHOWN)].join(", ");
    say!("    {list}: {shown}{more}");
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_cache::measure;
    use serde_json::json;

    fn run(store: &Store, name: &str, tables: &[(&str, &str)]) -> RunRecord {
        let dir = store.root().join("tmp").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in tables {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let artifact = measure(&dir).unwrap();
        store.insert(&dir, &artifact).unwrap();
        let record = json!({
            "run": name, "started": "", "seconds": 0.0, "inputs": [],
            "workflow": {"name": "w", "file": "w.yaml", "seed": 1},
            "program": {"name": "clcc-flow", "version": "0", "key_format": 1},
            "machine": {"os": "", "arch": "", "jobs": 1, "memory": 1, "device": "cpu"},
            "summary": {"ran": 1, "cached": 0, "failed": 0, "skipped": 0},
            "nodes": [{
                "id": "de", "stage": "de", "status": "ran", "error": null, "skipped_as": null, "key": null,
                "kind": "de", "code_version": 1, "axes": {}, "params": {}, "measured": null, "warnings": null,
                "needs": [],
                "outputs": [{"role": "de", "form": "tree", "digest": artifact.digest, "bytes": 1}],
            }],
        });
        serde_json::from_value(record).unwrap()
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
        let names: Vec<&str> = found.iter().map(|c| c.table.as_str()).collect();
        assert_eq!(names, ["dosage_genes.tsv", "escape_genes.tsv"]);
        let json = serde_json::to_value(&found).unwrap();
        // A, B, C are 3, 2, 1 and then 1, 2, 3.
        assert_eq!(
            json[1],
            json!({
                "table": "escape_genes.tsv", "entered": ["C (P1)"], "left": ["A (P1)"], "stayed": 1, "n_ranked": 3,
                "spearman": json[1]["spearman"], "node": "de", "role": "de",
            })
        );
        assert!((json[1]["spearman"].as_f64().unwrap() + 1.0).abs() < 1e-12);
        // Two rows have no correlation.
        assert!(json[0]["spearman"].is_null());
        assert_eq!(changes(&store, &a, &a, 0.05), []);
        // Another rate, other findings.
        let json = serde_json::to_value(changes(&store, &a, &b, 0.015)).unwrap();
        assert_eq!(json[1]["stayed"], 0);
    }
}
