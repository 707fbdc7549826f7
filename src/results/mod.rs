//! `results/<workflow>/`: published outputs beside one another, `metrics.json` and `run.json`.
//!
//! Files are copies of what lies in the cache (reflinks where the filesystem has them), never
//! links to it, so that editing a result cannot damage the cache. A file that is in place already
//! is left alone: `.published.json` says which content each path holds. What an earlier run published is
//! removed once a run in which every node has its outputs no longer makes it; a run that failed, was
//! stopped or was asked for less leaves it, and says so ([`Publication::kept`]).

mod record;
mod ro_crate;
mod trace;

pub use record::{run_history, run_record};
pub use ro_crate::ro_crate;
pub use trace::Trace;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use clcc_cache::{ActionStore, ArtifactForm, Digest, OutputRecord, failpoint};
use clcc_stages::stage::Publish;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::{Node, Plan};
use crate::schedule::{Outcome, RunOutcome};

const INDEX: &str = ".published.json";
/// Where the report stage leaves room for the run's record.
const PROVENANCE_MARK: &str = "<!--clcc:provenance-->";

/// Results that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The results directory.
    #[error("cannot write results to `{}`", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What is in the cache is not what its digest says; it was not published.
    #[error("an output of `{node}` is damaged in the cache (`{}`)", path.display())]
    Damaged {
        /// The node.
        node: String,
        /// Its digest.
        artifact: Digest,
        /// The damaged file.
        path: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ResultsError {
    let path = path.to_path_buf();
    move |source| ResultsError::Write { path, source }
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Published {
    digest: Digest,
    size: u64,
}

/// What became of the results directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// `root/<workflow>/`.
    pub dir: PathBuf,
    /// Files of an earlier run that stay, as the nodes that would make them did not run.
    pub kept: Vec<String>,
    /// Files that had been changed or removed since they were published, and were written again.
    pub restored: Vec<String>,
}

/// Copies every published output of the run to `root/<workflow>/` and writes the records.
/// What is copied is compared with its digest on the way.
///
/// # Errors
/// [`ResultsError`] with the path.
pub fn publish(
    plan: &Plan,
    outcome: &RunOutcome,
    store: &dyn ActionStore,
    root: &Path,
    run: &dyn Fn() -> Value,
) -> Result<Publication, ResultsError> {
    let dir = root.join(&plan.name);
    std::fs::create_dir_all(&dir).map_err(at(&dir))?;
    let index_file = dir.join(INDEX);
    let old: BTreeMap<String, Published> = std::fs::read(&index_file)
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    let wanted = wanted_files(plan, outcome, store);
    let mut changed = false;
    let mut restored = Vec::new();
    for (rel, Wanted { published, .. }) in &wanted {
        let target = dir.join(rel);
        let in_place = old.get(rel) == Some(published)
            && std::fs::symlink_metadata(&target).is_ok_and(|m| {
                m.is_file() && (m.len() == published.size || rel.ends_with(".html"))
            });
        if !in_place {
            if !std::mem::replace(&mut changed, true) {
                sweep(&dir, &wanted);
            }
            copy(&dir, &wanted[rel], &target)?;
            if old.get(rel) == Some(published) {
                restored.push(rel.clone());
            }
        }
    }
    let (ran, _, failed, skipped) = outcome.counts();
    let mut index: BTreeMap<&String, &Published> =
        wanted.iter().map(|(k, w)| (k, &w.published)).collect();
    let mut kept = Vec::new();
    for (rel, published) in old
        .iter()
        .filter(|e| !wanted.contains_key(e.0) && is_beneath(e.0))
    {
        if failed + skipped > 0 && dir.join(rel).exists() {
            index.insert(rel, published);
            kept.push(rel.clone());
        } else {
            changed = true;
            let _ = std::fs::remove_file(dir.join(rel));
            remove_empty_parents(&dir, rel);
        }
    }
    if changed || ran + failed + skipped > 0 || !dir.join("run.json").exists() {
        let run = &mut run();
        run["files_of_an_earlier_run"] = kept.clone().into();
        write(&dir.join("metrics.json"), &pretty(&metrics(plan, outcome)))?;
        write(&dir.join("run.json"), &pretty(run))?;
        write(
            &dir.join("ro-crate-metadata.json"),
            &pretty(&ro_crate(run, wanted.keys().map(String::as_str))),
        )?;
        embed_provenance(&dir, &wanted, run)?;
        write(
            &index_file,
            &pretty(&serde_json::to_value(&index).expect("plain values serialise")),
        )?;
    }
    Ok(Publication {
        dir,
        kept,
        restored,
    })
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain values serialise");
    text.push('\n');
    text
}

/// A file to be published.
struct Wanted {
    /// In the cache.
    source: PathBuf,
    published: Published,
    /// The artifact that it belongs to, and the node that made it.
    artifact: Digest,
    node: String,
}

/// By relative path.
type WantedFiles = BTreeMap<String, Wanted>;

fn wanted_files(plan: &Plan, outcome: &RunOutcome, store: &dyn ActionStore) -> WantedFiles {
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
                add_output(&mut wanted, node, decl.publish, output, store);
            }
        }
    }
    wanted
}

fn add_output(
    wanted: &mut WantedFiles,
    node: &Node,
    publish: Publish,
    output: &OutputRecord,
    store: &dyn ActionStore,
) {
    let source = store.artifact_path(&output.digest);
    let mut branch = node.branch_values.clone();
    branch.extend(output.key.clone());
    let branch = branch.join(".");
    let mut add = |rel: String, source: PathBuf, published: Published| {
        if is_beneath(&rel) {
            let (artifact, node) = (output.digest, node.id.clone());
            wanted.insert(
                rel,
                Wanted {
                    source,
                    published,
                    artifact,
                    node,
                },
            );
        }
    };
    let entries = match output.form {
        ArtifactForm::File => None,
        ArtifactForm::Tree => Some(store.listing(&output.digest).unwrap_or_default()),
    };
    match (publish, entries) {
        (Publish::No, _) => {}
        (Publish::At(pattern), None) => add(
            place(pattern, &branch),
            source,
            Published {
                digest: output.digest,
                size: output.bytes,
            },
        ),
        (Publish::At(pattern), Some(entries)) => {
            let base = place(pattern, &branch);
            for e in entries {
                add(
                    format!("{base}/{}", e.path),
                    source.join(&e.path),
                    Published {
                        digest: e.digest,
                        size: e.size,
                    },
                );
            }
        }
        (Publish::Into(dir), entries) => {
            for e in entries.unwrap_or_default() {
                let rel = format!("{dir}/{}", with_branch(&e.path, &branch));
                add(
                    rel,
                    source.join(&e.path),
                    Published {
                        digest: e.digest,
                        size: e.size,
                    },
                );
            }
        }
    }
}

/// `tables/x{.branch}.tsv` at branch `P1` is `tables/x.P1.tsv`.
fn place(pattern: &str, branch: &str) -> String {
    let dotted = if branch.is_empty() {
        String::new()
    } else {
        format!(".{branch}")
    };
    let bare = if branch.is_empty() { "all" } else { branch };
    pattern
        .replace("{.branch}", &dotted)
        .replace("{branch}", bare)
}

/// `cnv_clusters.tsv` of node `[P1]` is `cnv_clusters.P1.tsv`.
fn with_branch(file: &str, branch: &str) -> String {
    if branch.is_empty() {
        return file.to_string();
    }
    match file.rsplit_once('.') {
        Some((stem, ext)) if !ext.contains('/') => format!("{stem}.{branch}.{ext}"),
        _ => format!("{file}.{branch}"),
    }
}

/// Only plain relative paths are written or removed.
fn is_beneath(rel: &str) -> bool {
    !rel.is_empty()
        && Path::new(rel)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
}

/// Copies through a temporary file, so that a result is there whole or not at all, and right.
/// Directories on the way that turn out to be links are refused.
fn copy(root: &Path, wanted: &Wanted, target: &Path) -> Result<(), ResultsError> {
    let parent = target.parent().unwrap_or(root);
    std::fs::create_dir_all(parent).map_err(at(parent))?;
    let mut step = parent;
    while step != root {
        if std::fs::symlink_metadata(step).is_ok_and(|m| m.is_symlink()) {
            return Err(ResultsError::Write {
                path: step.to_path_buf(),
                source: io::Error::other("expected a directory, found a symbolic link"),
            });
        }
        step = step.parent().unwrap_or(root);
    }
    let tmp = parent.join(format!(".tmp.{}", std::process::id()));
    let copied = failpoint::reach("publish.copy")
        .and_then(|()| std::fs::copy(&wanted.source, &tmp))
        .and_then(|_| std::fs::metadata(&tmp))
        .and_then(|meta| {
            let mut permissions = meta.permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
            std::fs::set_permissions(&tmp, permissions)
        });
    if let Err(e) = copied {
        let _ = std::fs::remove_file(&tmp);
        return Err(at(target)(e));
    }
    // The copy is in the page cache: reading it back costs next to nothing.
    if !clcc_cache::digest_file(&tmp).is_ok_and(|d| d == wanted.published.digest) {
        let _ = std::fs::remove_file(&tmp);
        return Err(ResultsError::Damaged {
            node: wanted.node.clone(),
            artifact: wanted.artifact,
            path: wanted.source.clone(),
        });
    }
    failpoint::reach("publish.rename")
        .and_then(|()| std::fs::rename(&tmp, target))
        .map_err(at(target))
}

/// Removes the temporary files that a killed run left where this one writes.
fn sweep(dir: &Path, wanted: &WantedFiles) {
    let parents: BTreeSet<PathBuf> = wanted
        .keys()
        .filter_map(|rel| dir.join(rel).parent().map(Path::to_path_buf))
        .collect();
    for entry in parents
        .iter()
        .flat_map(|p| std::fs::read_dir(p).into_iter().flatten().flatten())
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(".tmp.") else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), ResultsError> {
    let tmp = path.with_extension("tmp");
    failpoint::reach("publish.write")
        .and_then(|()| std::fs::write(&tmp, text))
        .map_err(at(path))?;
    std::fs::rename(&tmp, path).map_err(at(path))
}

fn remove_empty_parents(dir: &Path, rel: &str) {
    let mut path = dir.join(rel);
    while path.pop() && path != *dir && std::fs::remove_dir(&path).is_ok() {}
}

/// Headline numbers of every node that has any.
fn metrics(plan: &Plan, outcome: &RunOutcome) -> Value {
    let mut out = Map::new();
    for (node, end) in plan.nodes.iter().zip(&outcome.nodes) {
        if let Some(record) = end
            .record()
            .filter(|r| r.metrics.as_object().is_some_and(|m| !m.is_empty()))
        {
            out.insert(node.id.clone(), record.metrics.clone());
        }
    }
    Value::Object(out)
}

/// The report is made before its run has ended; the run's record is put into the copy.
fn embed_provenance(dir: &Path, wanted: &WantedFiles, run: &Value) -> Result<(), ResultsError> {
    for (rel, Wanted { source, .. }) in wanted.iter().filter(|(rel, _)| rel.ends_with(".html")) {
        let target = dir.join(rel);
        let page = std::fs::read_to_string(source).map_err(at(source))?;
        // `</` would end the script element early.
        let json = serde_json::to_string(run)
            .expect("plain values serialise")
            .replace("</", "<\\/");
        let script =
            format!("<script type=\"application/json\" id=\"run-provenance\">{json}</script>");
        write(&target, &page.replacen(PROVENANCE_MARK, &script, 1))?;
    }
    Ok(())
}

/// Whether the node's outcome is worth a line in the run's record.
fn status_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Cached(_) => "cached",
        Outcome::Ran(..) => "ran",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
    }
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
        assert_eq!(with_branch("cnv_clusters.tsv", "P1"), "cnv_clusters.P1.tsv");
        assert_eq!(with_branch("cnv_clusters.tsv", ""), "cnv_clusters.tsv");
    }

    #[test]
    fn paths_that_leave_the_directory_are_refused() {
        assert!(is_beneath("tables/a.tsv"));
        for bad in ["../a", "/etc/passwd", "a/../../b", ""] {
            assert!(!is_beneath(bad), "{bad}");
        }
    }
}
