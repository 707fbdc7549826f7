//! What a run publishes, and where.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use clcc_cache::{
    ActionRecord, ActionStore, ArtifactForm, Digest, OutputRecord, Piece, digest_file,
};
use clcc_stages::stage::Publish;

use super::ResultsError;
use super::index::Published;
use crate::plan::{Node, Plan, branch_in_paths, place, with_branch};
use crate::schedule::RunOutcome;

/// A file to be published.
pub(super) struct Wanted {
    /// In the cache.
    pub(super) source: Piece,
    pub(super) content: Digest,
    /// The artifact that it belongs to, and the node that made it.
    pub(super) artifact: Digest,
    pub(super) node: String,
}

impl Wanted {
    /// Its entry in the index: written to `target`, or about to be.
    pub(super) fn published(&self, target: Option<&Path>) -> Published {
        let page = target.filter(|t| is_page(t));
        Published {
            digest: target.map(|_| self.content),
            node: self.node.clone(),
            written: page.and_then(|t| digest_file(t).ok()),
            stat: None,
        }
    }
}

/// By relative path.
pub(super) type WantedFiles = BTreeMap<String, Wanted>;

/// Every file that the nodes of the run publish.
///
/// # Errors
/// [`ResultsError::Clash`] where two of them publish other content at one path, which the plan could not foresee;
/// [`ResultsError::Damaged`] where it cannot be told which files an output has.
pub(super) fn wanted_files(
    plan: &Plan,
    outcome: &RunOutcome,
    store: &dyn ActionStore,
) -> Result<WantedFiles, ResultsError> {
    let mut wanted = BTreeMap::new();
    for (node, end) in plan.nodes.iter().zip(&outcome.nodes) {
        let Some(record) = end.record() else { continue };
        for decl in node
            .resolved
            .outputs
            .iter()
            .filter(|d| d.publish != Publish::No)
        {
            for output in record.outputs.iter().filter(|o| o.role == decl.role) {
                for (rel, file) in files_of(node, decl.publish, output, store)? {
                    add(&mut wanted, rel, file)?;
                }
            }
        }
    }
    Ok(wanted)
}

fn add(wanted: &mut WantedFiles, rel: String, file: Wanted) -> Result<(), ResultsError> {
    match wanted.get(&rel) {
        Some(other) if other.content != file.content => Err(ResultsError::Clash {
            path: rel,
            nodes: [other.node.clone(), file.node],
        }),
        _ => {
            wanted.insert(rel, file);
            Ok(())
        }
    }
}

/// The files of one output, by relative path.
fn files_of(
    node: &Node,
    publish: Publish,
    output: &OutputRecord,
    store: &dyn ActionStore,
) -> Result<Vec<(String, Wanted)>, ResultsError> {
    let mut files = Vec::new();
    let branch = branch_in_paths(node, output.key.as_deref());
    let mut add = |rel: String, source: Piece, content: Digest| {
        if is_beneath(&rel) {
            let (artifact, node) = (output.digest, node.id.clone());
            files.push((
                rel,
                Wanted {
                    source,
                    content,
                    artifact,
                    node,
                },
            ));
        }
    };
    let entries = match output.form {
        _ if publish == Publish::No => return Ok(files),
        ArtifactForm::File => None,
        ArtifactForm::Tree => {
            Some(
                store
                    .files(&output.digest)
                    .ok_or_else(|| ResultsError::Damaged {
                        node: node.id.clone(),
                        artifact: output.digest,
                        path: store.artifact_path(&output.digest),
                    })?,
            )
        }
    };
    match (publish, entries) {
        (Publish::No, _) => {}
        (Publish::At(pattern), None) => {
            let source = Piece::whole(store.artifact_path(&output.digest));
            add(place(pattern, &branch), source, output.digest);
        }
        (Publish::At(pattern), Some(entries)) => {
            let base = place(pattern, &branch);
            for (e, source) in entries {
                add(format!("{base}/{}", e.path), source, e.digest);
            }
        }
        (Publish::Into(dir), entries) => {
            for (e, source) in entries.unwrap_or_default() {
                let rel = format!("{dir}/{}", with_branch(&e.path, &branch));
                add(rel, source, e.digest);
            }
        }
    }
    Ok(files)
}

/// Where each published output of a node goes: its digest, and a path or a directory with what its files' names get.
pub(super) fn places(node: &Node, record: &ActionRecord) -> Vec<(Digest, String, String)> {
    let decls = node.resolved.outputs.iter();
    let mut places = Vec::new();
    for decl in decls.filter(|d| d.publish != Publish::No) {
        for output in record.outputs.iter().filter(|o| o.role == decl.role) {
            let branch = branch_in_paths(node, output.key.as_deref());
            let (to, branch) = match decl.publish {
                Publish::No => continue,
                Publish::At(pattern) => (place(pattern, &branch), String::new()),
                Publish::Into(dir) => (dir.to_string(), branch),
            };
            places.push((output.digest, to, branch));
        }
    }
    places
}

/// Only plain relative paths are written or removed.
pub(super) fn is_beneath(rel: &str) -> bool {
    !rel.is_empty()
        && Path::new(rel)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
}

/// Pages get the run's record, so they differ from what is in the cache.
pub(super) fn is_page(path: impl AsRef<Path>) -> bool {
    path.as_ref().extension().is_some_and(|e| e == "html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_directory_are_refused() {
        assert!(is_beneath("tables/a.tsv"));
        for bad in ["../a", "/etc/passwd", "a/../../b", ""] {
            assert!(!is_beneath(bad), "{bad}");
        }
    }
}
