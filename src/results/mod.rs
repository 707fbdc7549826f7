//! `results/<workflow>/`: published outputs next to one another, `metrics.json`, `run.json`, and of a run with jobs in a
//! batch system `efficiency.tsv`.
//!
//! Files are copies of what is in the cache (reflinks where the filesystem has them), never
//! links to it, so that editing a result cannot damage the cache. A file that is in place already
//! is left alone: `.published.json` says which content each path holds. What an earlier run published stays
//! while its node is in the workflow and has no outputs in this run (it failed, was stopped or was not asked
//! for), and is named ([`Publication::kept`]); else it is removed once no node makes it. One run at a time
//! publishes to a directory. Before anything is written the index stops vouching for it, so that a run that is
//! killed on the way leaves nothing that the next takes for its own. Results of another workflow file of the same
//! name are not touched unless that is asked for ([`made_before`]).

mod efficiency;
mod index;
mod origin;
mod record;
mod ro_crate;
mod tables_readme;
mod trace;
mod wanted;

pub use efficiency::JobUse;
pub use record::{
    InputRecord, MachineRecord, NodeDetails, NodeRecord, NodeStatus, ProgramRecord, RunRecord,
    WorkflowRecord,
};
pub use ro_crate::ro_crate;
pub use trace::Trace;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clcc_cache::{
    ActionStore, Digest, KeyLock, OutputRecord, digest_bytes, failpoint, fresh_file, read_plain,
};
use clcc_stages::report::with_record;
use serde_json::{Map, Value, json};

use clcc_stages::stage::Publish;

use crate::plan::{NodeId, Plan};
use crate::schedule::RunOutcome;
use index::{Found, Index, Published};
use origin::{Kin, Origin};
use tables_readme::tables_readme;
use wanted::{Wanted, WantedFiles, is_beneath, is_page, places, wanted_files};

/// What each table holds.
const TABLES_README: &str = "tables/README.md";
const INDEX: &str = ".published.json";
const LOCK: &str = ".published.lock";
/// How the name of a file begins that is not whole yet.
const TEMPORARY: &str = ".tmp.";

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
    /// Two nodes would publish other content at one path.
    #[error("`{}` and `{}` both publish `{path}`, with other content; nothing was published", nodes[0], nodes[1])]
    Clash {
        /// The path.
        path: String,
        /// The nodes.
        nodes: [String; 2],
    },
    /// The directory holds the results of another workflow.
    #[error("`{}` holds the results of another workflow of this name, `{}`", dir.display(), file.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The workflow file that they were made from.
        file: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ResultsError {
    let path = path.to_path_buf();
    move |source| ResultsError::Write { path, source }
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
    /// Files that were removed, as nothing makes them any more.
    pub removed: Vec<String>,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// `<root>/<workflow>/` holds them.
    pub root: &'a Path,
    /// Also over the results of another workflow file of the same name.
    pub force: bool,
}

/// What is to be said, before a run, of the results that it will replace: those of another file of the same name,
/// where that file is gone or where replacing was asked for.
///
/// # Errors
/// [`ResultsError::Foreign`] where another file made them and is there.
pub fn made_before(plan: &Plan, to: &Destination<'_>) -> Result<Option<String>, ResultsError> {
    let dir = to.root.join(&plan.name);
    let old = Index::read(&dir.join(INDEX));
    check_origin(plan, &dir, &old, to.force)
}

fn check_origin(
    plan: &Plan,
    dir: &Path,
    old: &Index,
    force: bool,
) -> Result<Option<String>, ResultsError> {
    // A run that failed and left no file has nothing to lose.
    let Some(origin) = old.workflow.as_ref().filter(|_| !old.files.is_empty()) else {
        return Ok(None);
    };
    let replaced = |file: &Path, what: &str| {
        let (n, dir, file) = (old.files.len(), dir.display(), file.display());
        format!("the {n} files in `{dir}` were made from `{file}`{what}; this run replaces them")
    };
    match origin.kin(Origin::of(&plan.file, dir).as_ref()) {
        Kin::Same => Ok(None),
        Kin::Gone(file) => Ok(Some(replaced(&file, ", which is no longer there"))),
        Kin::Other(file) if force => Ok(Some(replaced(&file, ""))),
        Kin::Other(file) => Err(ResultsError::Foreign {
            dir: dir.to_path_buf(),
            file,
        }),
    }
}

/// Copies every published output of the run to `<root>/<workflow>/` and writes the records.
/// What is copied is compared with its digest on the way.
///
/// # Errors
/// [`ResultsError`] with the path.
pub fn publish(
    plan: &Plan,
    outcome: &RunOutcome,
    store: &dyn ActionStore,
    to: &Destination<'_>,
    run: &dyn Fn() -> RunRecord,
) -> Result<Publication, ResultsError> {
    let dir = to.root.join(&plan.name);
    std::fs::create_dir_all(&dir).map_err(at(&dir))?;
    let (index_file, alone) = (dir.join(INDEX), alone(&dir));
    let old = Index::read(&index_file);
    check_origin(plan, &dir, &old, to.force)?;
    let origin = Origin::of(&plan.file, &dir);
    let published = to_be_published(plan, outcome);
    if old.workflow == origin && is_as_left(&dir, &old, published, outcome) {
        return Ok(Publication {
            dir,
            kept: Vec::new(),
            restored: Vec::new(),
            removed: Vec::new(),
        });
    }
    let wanted = wanted_files(plan, outcome, store)?;
    let Compared {
        stale,
        restored,
        moved,
    } = compare(&dir, &old, &wanted);
    let (kept, gone) = others(&dir, &old, &wanted, plan, outcome);
    let state = state(plan, outcome, &kept);
    let same_files = stale.is_empty() && gone.is_empty();
    let records = !same_files || old.state != Some(state) || is_news(outcome, &dir);
    if !records && !moved && old.workflow == origin {
        return Ok(Publication {
            dir,
            kept,
            restored,
            removed: gone,
        });
    }
    let is_written = |rel: &String| records && (stale.contains(rel) || is_page(rel));
    if records {
        let while_writing = doubtful(&old, origin.as_ref(), &wanted, &is_written);
        write_index(&index_file, &while_writing)?;
        if !stale.is_empty() && alone.as_ref().is_some_and(KeyLock::is_held) {
            sweep(&dir, &wanted);
        }
        replace(&dir, &wanted, &stale, &gone)?;
        let files_of_an_earlier_run = kept.clone();
        let run = RunRecord {
            files_of_an_earlier_run,
            ..run()
        };
        write_records(&dir, &wanted, &metrics(plan, outcome), run)?;
    }
    let index = Index {
        state: Some(state),
        published,
        workflow: origin,
        files: published_files(&dir, &old, &wanted, &kept, &is_written),
    };
    // Without records there are only stamps: where nothing can be written, the files are read again next time.
    write_index(&index_file, &index).or_else(|e| if records { Err(e) } else { Ok(()) })?;
    Ok(Publication {
        dir,
        kept,
        restored,
        removed: gone,
    })
}

/// Digest of what the run publishes and where, if every node has its outputs: then no file of an earlier run stays.
fn to_be_published(plan: &Plan, outcome: &RunOutcome) -> Option<Digest> {
    let mut all = Vec::with_capacity(plan.nodes.len());
    for (node, end) in plan.nodes.iter().zip(&outcome.nodes) {
        let record = end.record()?;
        all.push(json!([node.id, record.key, places(node, record)]));
    }
    Some(digest_bytes(Value::from(all).to_string().as_bytes()))
}

/// Whether the results are what the same run left: the same outputs at the same places, and no file was touched since.
/// No output of the cache is opened for it.
fn is_as_left(dir: &Path, old: &Index, published: Option<Digest>, outcome: &RunOutcome) -> bool {
    published.is_some()
        && old.published == published
        && !is_news(outcome, dir)
        && old
            .files
            .iter()
            .all(|(rel, file)| file.look(&dir.join(rel)) == Found::AsLeft)
}

/// The artifacts that the run publishes, with the nodes that made them.
pub fn published_artifacts(plan: &Plan, outcome: &RunOutcome) -> Vec<(NodeId, OutputRecord)> {
    let mut published = Vec::new();
    for (id, (node, end)) in plan.nodes.iter().zip(&outcome.nodes).enumerate() {
        let Some(record) = end.record() else { continue };
        let decls = node.resolved.outputs.iter();
        for decl in decls.filter(|d| d.publish != Publish::No) {
            let outputs = record.outputs.iter().filter(|o| o.role == decl.role);
            published.extend(outputs.map(|o| (id, o.clone())));
        }
    }
    published
}

/// Whether there is something to record though no file changes.
fn is_news(outcome: &RunOutcome, dir: &Path) -> bool {
    let count = outcome.summary();
    count.ran + count.failed + count.skipped > 0 || !dir.join("run.json").exists()
}

/// The index while files are being written: it does not vouch for those.
fn doubtful(
    old: &Index,
    origin: Option<&Origin>,
    wanted: &WantedFiles,
    is_written: &dyn Fn(&String) -> bool,
) -> Index {
    let mut files = old.files.clone();
    for (rel, file) in wanted.iter().filter(|(rel, _)| is_written(rel)) {
        files.insert(rel.clone(), file.published(None));
    }
    Index {
        state: None,
        published: None,
        workflow: origin.cloned(),
        files,
    }
}

/// Copies the files that are not in place, and removes those that nobody makes any more.
fn replace(
    dir: &Path,
    wanted: &WantedFiles,
    stale: &BTreeSet<String>,
    gone: &[String],
) -> Result<(), ResultsError> {
    for rel in stale {
        copy(dir, &wanted[rel], &dir.join(rel))?;
    }
    // What is beyond a link is not ours to remove.
    for rel in gone
        .iter()
        .filter(|rel| link_on_the_way(dir, &dir.join(rel)).is_none())
    {
        let _ = std::fs::remove_file(dir.join(rel));
        remove_empty_parents(dir, rel);
    }
    Ok(())
}

/// Writes what is said of the run next to its files, and into the page.
fn write_records(
    dir: &Path,
    wanted: &WantedFiles,
    metrics: &Value,
    run: RunRecord,
) -> Result<(), ResultsError> {
    let efficiency = efficiency::table(&run);
    let run = serde_json::to_value(run).expect("plain values serialise");
    let files = wanted.keys().map(String::as_str);
    let ro_crate = ro_crate(
        &run,
        files.chain(efficiency.as_ref().map(|_| efficiency::FILE)),
    );
    write(&dir.join("metrics.json"), &pretty(metrics))?;
    write(&dir.join("run.json"), &pretty(&run))?;
    write(&dir.join("ro-crate-metadata.json"), &pretty(&ro_crate))?;
    write_efficiency(dir, efficiency.as_deref())?;
    write_tables_readme(dir, wanted, &run)?;
    embed_provenance(dir, wanted, &run)
}

/// Writes what jobs used; of a run without jobs, removes what an earlier one left.
fn write_efficiency(dir: &Path, table: Option<&str>) -> Result<(), ResultsError> {
    let path = dir.join(efficiency::FILE);
    match table {
        Some(table) => write(&path, table),
        None => {
            if read_plain(&path).is_ok_and(|text| efficiency::is_ours(&text)) {
                let _ = std::fs::remove_file(&path);
            }
            Ok(())
        }
    }
}

/// Writes `tables/README.md` for the tables of this run and those kept from earlier ones; removes it where there are none.
fn write_tables_readme(dir: &Path, wanted: &WantedFiles, run: &Value) -> Result<(), ResultsError> {
    let readme = dir.join(TABLES_README);
    // What is beyond a link is not ours to write.
    if link_on_the_way(dir, &readme).is_some() {
        return Ok(());
    }
    let kept = run["files_of_an_earlier_run"].as_array();
    let kept = kept.into_iter().flatten().filter_map(Value::as_str);
    let files = wanted.keys().map(String::as_str).chain(kept);
    match tables_readme(dir, files) {
        Some(text) => write(&readme, &text),
        None => {
            if read_plain(&readme).is_ok_and(|text| tables_readme::is_ours(&text)) {
                let _ = std::fs::remove_file(&readme);
                remove_empty_parents(dir, TABLES_README);
            }
            Ok(())
        }
    }
}

/// The index of the files as they are now: those that are wanted, and those kept from earlier runs.
fn published_files(
    dir: &Path,
    old: &Index,
    wanted: &WantedFiles,
    kept: &[String],
    is_written: &dyn Fn(&String) -> bool,
) -> BTreeMap<String, Published> {
    let of_others = kept.iter().map(|rel| (rel.clone(), old.files[rel].clone()));
    let mut files: BTreeMap<String, Published> = of_others.collect();
    for (rel, file) in wanted {
        let target = dir.join(rel);
        let entry = match old.files.get(rel) {
            Some(before) if !is_written(rel) => Published {
                node: file.node.clone(),
                ..before.clone()
            },
            _ => file.published(Some(&target)),
        };
        files.insert(rel.clone(), entry.stamped(&target));
    }
    files
}

/// How the directory stands to what a run wants there.
#[derive(Default)]
struct Compared {
    /// Files that are not in place.
    stale: BTreeSet<String>,
    /// Those of them that somebody changed or removed.
    restored: Vec<String>,
    /// Files are in place and are other ones: the directory was copied.
    moved: bool,
}

fn compare(dir: &Path, old: &Index, wanted: &WantedFiles) -> Compared {
    let mut out = Compared::default();
    for (rel, file) in wanted {
        let target = dir.join(rel);
        let before = old.files.get(rel);
        let same = before.is_some_and(|b| b.digest == Some(file.content));
        let found = before.map_or(Found::Touched, |b| b.look(&target));
        if same && found != Found::Touched {
            out.moved |= found == Found::Moved;
            continue;
        }
        let was_known = before.is_some_and(|b| b.is_known(is_page(rel)));
        if was_known && found == Found::Touched && (same || target.exists()) {
            out.restored.push(rel.clone());
        }
        out.stale.insert(rel.clone());
    }
    out
}

/// Files of earlier runs: those that stay, as the node that made them has no outputs in this run, and those
/// that nobody makes any more.
fn others(
    dir: &Path,
    old: &Index,
    wanted: &WantedFiles,
    plan: &Plan,
    outcome: &RunOutcome,
) -> (Vec<String>, Vec<String>) {
    let ends = plan.nodes.iter().zip(&outcome.nodes);
    let without_outputs: BTreeSet<&str> = ends
        .filter(|(_, end)| end.record().is_none())
        .map(|(node, _)| node.id.as_str())
        .collect();
    let stays = |rel: &str, node: &str| {
        // Earlier versions did not write whose a file is.
        let open = without_outputs.contains(node) || node.is_empty() && !without_outputs.is_empty();
        open && dir.join(rel).exists()
    };
    let others = old.files.iter();
    let others = others.filter(|(rel, _)| !wanted.contains_key(*rel) && is_beneath(rel));
    let (kept, gone): (Vec<_>, Vec<_>) = others.partition(|(rel, p)| stays(rel, &p.node));
    let name = |(rel, _): (&String, &Published)| rel.clone();
    (
        kept.into_iter().map(name).collect(),
        gone.into_iter().map(name).collect(),
    )
}

/// Waits until no other run publishes to the directory. Where no lock can be made nothing can be written
/// either, and what writes says why.
fn alone(dir: &Path) -> Option<KeyLock> {
    loop {
        match KeyLock::try_acquire(&dir.join(LOCK)) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(_) => return None,
        }
    }
}

/// What the records of a run are about: the key of each node, and what is left of earlier runs.
fn state(plan: &Plan, outcome: &RunOutcome, kept: &[String]) -> Digest {
    let keys: Vec<_> = plan
        .nodes
        .iter()
        .zip(&outcome.nodes)
        .map(|(node, end)| (&node.id, end.record().map(|r| r.key)))
        .collect();
    digest_bytes(json!([keys, kept]).to_string().as_bytes())
}

fn write_index(path: &Path, index: &Index) -> Result<(), ResultsError> {
    let value = serde_json::to_value(index).expect("plain values serialise");
    write(path, &pretty(&value))
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain values serialise");
    text.push('\n');
    text
}

/// The first directory on the way from `root` to a file beneath it that is a link.
fn link_on_the_way(root: &Path, file: &Path) -> Option<PathBuf> {
    let steps = file.ancestors().skip(1).take_while(|step| *step != root);
    let is_link = |p: &&Path| std::fs::symlink_metadata(p).is_ok_and(|m| m.is_symlink());
    steps.filter(is_link).last().map(Path::to_path_buf)
}

/// Copies through a temporary file, so that a result is there whole or not at all, and right.
/// Directories on the way that turn out to be links are refused.
fn copy(root: &Path, wanted: &Wanted, target: &Path) -> Result<(), ResultsError> {
    if let Some(path) = link_on_the_way(root, target) {
        return Err(ResultsError::Write {
            path,
            source: io::Error::other("expected a directory, found a symbolic link"),
        });
    }
    let parent = target.parent().unwrap_or(root);
    std::fs::create_dir_all(parent).map_err(at(parent))?;
    let copied = failpoint::reach("publish.copy")
        .and_then(|()| fresh_file(parent, TEMPORARY, 0o666))
        .and_then(|mut tmp| {
            io::copy(&mut wanted.source.open()?, tmp.as_file_mut())?;
            Ok(tmp)
        });
    let tmp = copied.map_err(at(target))?;
    // The copy is in the page cache: reading it back costs next to nothing.
    if !clcc_cache::digest_file(tmp.path()).is_ok_and(|d| d == wanted.content) {
        return Err(ResultsError::Damaged {
            node: wanted.node.clone(),
            artifact: wanted.artifact,
            path: wanted.source.path().to_path_buf(),
        });
    }
    failpoint::reach("publish.rename")
        .and_then(|()| clcc_cache::publish(tmp, target))
        .map_err(at(target))
}

/// Removes the temporary files that a killed run left where this one writes. The caller has the directory for
/// itself.
fn sweep(dir: &Path, wanted: &WantedFiles) {
    let parents: BTreeSet<PathBuf> = wanted
        .keys()
        .map(|rel| dir.join(rel))
        .filter(|file| link_on_the_way(dir, file).is_none())
        .filter_map(|file| file.parent().map(Path::to_path_buf))
        .collect();
    for entry in parents
        .iter()
        .flat_map(|p| std::fs::read_dir(p).into_iter().flatten().flatten())
    {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), ResultsError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    failpoint::reach("publish.write")
        .and_then(|()| fresh_file(parent, TEMPORARY, 0o666))
        .and_then(|mut tmp| {
            tmp.write_all(text.as_bytes())?;
            clcc_cache::publish(tmp, path)
        })
        .map_err(at(path))
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
    for (rel, Wanted { source, .. }) in wanted.iter().filter(|(rel, _)| is_page(rel)) {
        let target = dir.join(rel);
        let mut page = Vec::new();
        let read = source.open().and_then(|mut f| f.read_to_end(&mut page));
        read.map_err(at(source.path()))?;
        let page = String::from_utf8_lossy(&page);
        write(&target, &with_record(&page, run))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_cache::Piece;
    use clcc_stages::report::PROVENANCE_MARK;

    #[test]
    fn what_jobs_used_goes_with_the_last_job_and_a_file_of_another_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(efficiency::FILE);
        let measured = json!({"seconds": 1.0, "peak_rss_bytes": 1, "job": {"asked_memory": 2, "asked_seconds": 2}});
        let nodes = |measured: Value| {
            let node = json!({
                "id": "a", "stage": "a", "status": "ran", "kind": "a", "code_version": 1, "axes": {}, "params": {},
                "measured": measured, "needs": []
            });
            let run =
                json!({"run": "r", "started": "", "seconds": 0.0, "workflow": {}, "nodes": [node]});
            serde_json::from_value::<RunRecord>(run).unwrap()
        };
        let with_jobs = efficiency::table(&nodes(measured)).unwrap();
        write_efficiency(dir.path(), Some(&with_jobs)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), with_jobs);
        assert_eq!(efficiency::table(&nodes(json!({"seconds": 1.0}))), None);
        write_efficiency(dir.path(), None).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "mine").unwrap();
        write_efficiency(dir.path(), None).unwrap();
        assert!(file.exists());
    }

    #[test]
    fn no_name_in_the_record_ends_its_script_or_begins_a_comment_there() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::write(&source, format!("<p>{PROVENANCE_MARK}</p>")).unwrap();
        let wanted = Wanted {
            content: digest_bytes(b""),
            artifact: digest_bytes(b""),
            node: "report".into(),
            source: Piece::whole(source),
        };
        let run = json!({"workflow": {"file": "a</script><b>.yaml"}, "normal": "n<!--<script>\u{2028}\""});
        let files = WantedFiles::from([("report.html".to_string(), wanted)]);
        embed_provenance(dir.path(), &files, &run).unwrap();
        let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
        let (_, script) = page.split_once("run-provenance\">").unwrap();
        let (json, rest) = script.split_once("</script>").unwrap();
        assert_eq!(rest, "</p>");
        assert!(!json.contains(['<', '\u{2028}']), "{json}");
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), run);
    }
}
