//! Where nodes publish, as far as that is known before a run, and which of them would publish over one another.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use clcc_stages::stage::{OutputDecl, Publish};

use super::{Node, NodeId};
use crate::workflow::{Problem, Workflow, join};

/// The axis values that the published paths of an output carry: the node's, and that of a keyed output.
pub(crate) fn branch_in_paths(node: &Node, key: Option<&str>) -> String {
    let own = node.branch_values.iter().map(String::as_str);
    own.chain(key).collect::<Vec<_>>().join(".")
}

/// `tables/x{.branch}.tsv` at branch `P1` is `tables/x.P1.tsv`; so is `tables/x.tsv`, as no two nodes have one place.
pub(crate) fn place(pattern: &str, branch: &str) -> String {
    let dotted = if branch.is_empty() {
        String::new()
    } else {
        format!(".{branch}")
    };
    if !pattern.contains("branch}") {
        return with_branch(pattern, branch);
    }
    let bare = if branch.is_empty() { "all" } else { branch };
    pattern
        .replace("{.branch}", &dotted)
        .replace("{branch}", bare)
}

/// `cnv_clusters.tsv` of node `[P1]` is `cnv_clusters.P1.tsv`.
pub(crate) fn with_branch(file: &str, branch: &str) -> String {
    if branch.is_empty() {
        return file.to_string();
    }
    match file.rsplit_once('.') {
        Some((stem, ext)) if !ext.contains('/') => format!("{stem}.{branch}.{ext}"),
        _ => format!("{file}.{branch}"),
    }
}

/// A file that is published, or files of which only the run knows the names: those of one role are the same in
/// every node that writes it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    File(String),
    FilesOf {
        dir: &'static str,
        role: &'static str,
        branch: String,
    },
}

impl Target {
    fn of(output: &OutputDecl, branch: String) -> Option<Self> {
        match output.publish {
            Publish::No => None,
            Publish::At(pattern) => Some(Self::File(place(pattern, &branch))),
            Publish::Into(dir) => Some(Self::FilesOf {
                dir,
                role: output.role,
                branch,
            }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::File(path) => format!("`{path}`"),
            Self::FilesOf { dir, role, branch } if branch.is_empty() => {
                format!("the same files (`{role}`) into `{dir}/`")
            }
            Self::FilesOf { dir, role, branch } => {
                format!("the same files (`{role}` of `{branch}`) into `{dir}/`")
            }
        }
    }
}

/// Every two stages that would publish over one another; once for each pair.
pub(super) fn clashes(workflow: &Workflow, nodes: &[Node]) -> Vec<Problem> {
    let mut first: BTreeMap<Target, NodeId> = BTreeMap::new();
    let mut found: BTreeMap<(&str, &str), Problem> = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        for output in &node.resolved.outputs {
            let keys: Vec<Option<&str>> = match output.keyed {
                true => node.keys.iter().map(|k| Some(k.as_str())).collect(),
                false => vec![None],
            };
            for key in keys {
                let Some(target) = Target::of(output, branch_in_paths(node, key)) else {
                    continue;
                };
                match first.entry(target) {
                    Entry::Vacant(free) => {
                        free.insert(id);
                    }
                    Entry::Occupied(taken) => {
                        let other = &nodes[*taken.get()];
                        found
                            .entry((&other.stage, &node.stage))
                            .or_insert_with(|| clash(workflow, other, node, taken.key()));
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

fn clash(workflow: &Workflow, first: &Node, second: &Node, target: &Target) -> Problem {
    let place = workflow.positions.key(&join("/stages", &second.stage));
    if first.stage == second.stage {
        return Problem::new(format!(
            "`{}` and `{}` both publish {}",
            first.id,
            second.id,
            target.text()
        ))
        .at(place)
        .hint("rename an axis value: joined by `.` these are the same");
    }
    Problem::new(format!(
        "stages `{}` and `{}` both publish {}",
        first.stage,
        second.stage,
        target.text()
    ))
    .at(place)
    .hint(format!(
        "make one stage of them, `per` an axis whose values set its parameters: \
         `axes: {{variant: {{a: {{}}, b: {{{}: {{...}}}}}}}}`",
        first.stage
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_paths_carry_the_branch() {
        assert_eq!(place("{branch}.zarr", "P1"), "P1.zarr");
        assert_eq!(place("{branch}.zarr", ""), "all.zarr");
        assert_eq!(
            place("model/model{.branch}.safetensors", ""),
            "model/model.safetensors"
        );
        assert_eq!(
            place("model/model{.branch}.safetensors", "full"),
            "model/model.full.safetensors"
        );
        assert_eq!(
            place("tables/concordance.tsv", ""),
            "tables/concordance.tsv"
        );
        assert_eq!(
            place("tables/concordance.tsv", "s1"),
            "tables/concordance.s1.tsv"
        );
        assert_eq!(with_branch("cnv_clusters.tsv", "P1"), "cnv_clusters.P1.tsv");
        assert_eq!(with_branch("cnv_clusters.tsv", ""), "cnv_clusters.tsv");
    }
}
