//! `status`, `log`, `verify`.

use std::path::{Path, PathBuf};

use clcc_cache::Store;
use serde_json::Value;

use super::args::CacheArgs;
use super::error::{CliError, exit};

fn open(args: &CacheArgs) -> Result<Store, CliError> {
    if !args.cache.is_dir() {
        return Err(CliError::new(
            exit::USAGE,
            format!("there is no cache at `{}`", args.cache.display()),
        )
        .hint("run a workflow first, or give --cache DIR"));
    }
    Ok(Store::open(&args.cache)?)
}

/// Run directories, newest first.
fn runs(store: &Store) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(store.root().join("runs"))
        .map(|entries| {
            entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| p.is_dir())
                .collect()
        })
        .unwrap_or_default();
    dirs.sort();
    dirs.reverse();
    dirs
}

fn read_run(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(dir.join("run.json")).ok()?).ok()
}

pub(super) fn status(args: &CacheArgs) -> Result<i32, CliError> {
    let store = open(args)?;
    let mut seen: Vec<String> = Vec::new();
    for dir in runs(&store) {
        let name = dir
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some(run) = read_run(&dir) else {
            println!("{name}  has not ended, or was killed");
            continue;
        };
        let workflow = run["workflow"]["name"].as_str().unwrap_or("?").to_string();
        if seen.contains(&workflow) {
            continue;
        }
        let s = &run["summary"];
        println!(
            "{workflow}  {}  {:.1} s  {} ran, {} cached, {} failed, {} skipped  (run {name})",
            run["started"].as_str().unwrap_or("?"),
            run["seconds"].as_f64().unwrap_or(0.0),
            s["ran"],
            s["cached"],
            s["failed"],
            s["skipped"],
        );
        for node in run["nodes"].as_array().into_iter().flatten() {
            if matches!(node["status"].as_str(), Some("failed" | "skipped")) {
                println!(
                    "  {:7} {}: {}",
                    node["status"].as_str().unwrap_or(""),
                    node["id"].as_str().unwrap_or(""),
                    node["error"].as_str().unwrap_or("")
                );
            }
        }
        seen.push(workflow);
    }
    if seen.is_empty() {
        println!("no run has ended in this cache");
    }
    Ok(exit::OK)
}

pub(super) fn log(args: &CacheArgs, node: &str) -> Result<i32, CliError> {
    let store = open(args)?;
    for dir in runs(&store) {
        let file = dir.join("logs").join(format!("{node}.log"));
        if !node.contains('/') && file.is_file() {
            let events = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
            for event in events
                .lines()
                .filter_map(|l| serde_json::from_str::<Value>(l).ok())
            {
                if event["id"] == node && event["event"] != "progress" {
                    println!("{event}");
                }
            }
            print!("{}", std::fs::read_to_string(&file).unwrap_or_default());
            return Ok(exit::OK);
        }
    }
    Err(CliError::new(
        exit::USAGE,
        format!("node `{node}` has not run in this cache"),
    ))
}

pub(super) fn verify(args: &CacheArgs, repair: bool) -> Result<i32, CliError> {
    let store = open(args)?;
    let report = store.verify(repair)?;
    println!(
        "{} artifacts ({} bytes) and {} records read",
        report.artifacts, report.bytes, report.records
    );
    for (path, why) in &report.bad {
        println!("  damaged: {}: {why}", path.display());
    }
    match (report.bad.len(), repair) {
        (0, _) => {
            println!("all sound");
            Ok(exit::OK)
        }
        (n, true) => {
            println!("{n} set aside; the next run makes them again");
            Ok(exit::OK)
        }
        (n, false) => Err(CliError::new(exit::CACHE, format!("{n} damaged"))
            .hint("`clcc-flow verify --repair` sets them aside")),
    }
}
