//! A private directory with a workflow, and the binary run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Two simulated patients through four stages, small enough for a second.
pub(crate) const TINY: &str = "\
version: 1
name: tiny
seed: 7
axes:
  patient: [A, B]
inputs:
  genes: {builtin: grch38}
stages:
  simulate:
    params: {n_cells: 60, n_genes: 1500}
  preprocess:
    per: patient
    needs: [simulate]
    inputs: [genes]
  infercnv:
    per: patient
    needs: [preprocess]
    params: {window_size: 50, step: 10}
  cluster:
    per: patient
    needs: [infercnv]
    params: {resolution: 0.5}
  dosage:
    needs: [preprocess, infercnv, cluster]
";

/// One simulated patient through three stages: for tests that run it many times.
pub(crate) const SMALLEST: &str = "\
version: 1
name: smallest
seed: 7
axes:
  patient: [A]
inputs:
  genes: {builtin: grch38}
stages:
  simulate:
    params: {n_cells: 40, n_genes: 1500}
  preprocess:
    per: patient
    needs: [simulate]
    inputs: [genes]
  infercnv:
    per: patient
    needs: [preprocess]
    params: {window_size: 50, step: 10}
";

/// The same with `cluster`, which publishes tables.
pub(crate) fn with_tables() -> String {
    format!("{SMALLEST}  cluster:\n    per: patient\n    needs: [infercnv]\n")
}

/// How often a repeated test repeats: `CLCC_ROUNDS` times, or `default`.
pub(crate) fn rounds(default: usize) -> usize {
    std::env::var("CLCC_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

pub(crate) struct Project {
    dir: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The events of `--format json`.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
            .collect()
    }

    /// Ids of the nodes with this event, sorted.
    pub(crate) fn nodes(&self, event: &str) -> Vec<String> {
        let mut ids: Vec<String> = self
            .events()
            .iter()
            .filter(|e| e["event"] == event)
            .map(|e| e["id"].as_str().expect("an id").to_string())
            .collect();
        ids.sort();
        ids
    }
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clcc-flow"));
    command
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .env("NO_COLOR", "1")
        .env_remove("CLCC_LOG")
        .env_remove("RUST_BACKTRACE");
    command
}

impl Project {
    pub(crate) fn new(workflow: &str) -> Self {
        let project = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        project.write("w.yaml", workflow);
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::new(
            command(self.path(), args)
                .output()
                .expect("the program starts"),
        )
    }

    /// A file beneath the project that holds one JSON document.
    pub(crate) fn json(&self, file: impl AsRef<Path>) -> Value {
        let bytes = std::fs::read(self.path().join(file)).expect("read");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Names of what is in a folder of the project, sorted.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join(folder)).expect("a folder");
        let name = |e: std::fs::DirEntry| e.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|e| name(e.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// The same as [`Self::run`], with environment variables.
    pub(crate) fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = command(self.path(), args);
        command.envs(env.iter().copied());
        Ran::new(command.output().expect("the program starts"))
    }

    /// `run w.yaml --format json` with more arguments, not waited for.
    pub(crate) fn start_json(&self, args: &[&str], env: &[(&str, &str)]) -> Child {
        let mut all = vec!["run", "w.yaml", "--format", "json"];
        all.extend(args);
        command(self.path(), &all)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Content of every file beneath `results/`, but for what names the run itself.
    pub(crate) fn results(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut out = BTreeMap::new();
        let mut dirs = vec![self.path().join("results")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let of_the_run = [
                    "run.json",
                    "ro-crate-metadata.json",
                    "report.html",
                    "efficiency.tsv",
                ];
                let hidden = path
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(".published"));
                if !hidden && !of_the_run.iter().any(|n| path.ends_with(n)) {
                    let bytes = std::fs::read(&path).expect("read");
                    let relative = path.strip_prefix(self.path()).expect("beneath");
                    out.insert(relative.to_path_buf(), bytes);
                }
            }
        }
        out
    }

    /// Names of all artifacts: digests, so that equal names are equal content.
    pub(crate) fn artifact_names(&self) -> Vec<String> {
        self.artifacts()
            .iter()
            .map(|p| {
                p.file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    /// `run w.yaml --format json` with more arguments.
    pub(crate) fn run_json(&self, args: &[&str]) -> Ran {
        let mut all = vec!["run", "w.yaml", "--format", "json"];
        all.extend(args);
        self.run(&all)
    }

    /// `(id, status, reason)` of every node, as `plan` says.
    pub(crate) fn plan(&self, args: &[&str]) -> Vec<(String, String, Value)> {
        let mut all = vec!["plan", "w.yaml", "--format", "json"];
        all.extend(args);
        let document: Value =
            serde_json::from_str(&self.run(&all).expect(0).stdout).expect("one JSON document");
        document["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(|n| {
                let text = |k: &str| n[k].as_str().expect("text").to_string();
                (text("id"), text("status"), n["reason"].clone())
            })
            .collect()
    }

    /// Ids of the nodes that `plan` does not call cached.
    pub(crate) fn not_cached(&self, args: &[&str]) -> Vec<String> {
        self.plan(args)
            .into_iter()
            .filter(|(_, status, _)| status != "cached")
            .map(|(id, ..)| id)
            .collect()
    }

    /// Every artifact in the cache.
    pub(crate) fn artifacts(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for shard in std::fs::read_dir(self.path().join(".clcc/cas")).expect("a cache") {
            for entry in std::fs::read_dir(shard.expect("an entry").path()).expect("a shard") {
                out.push(entry.expect("an entry").path());
            }
        }
        // A killed process may leave a temporary file next to them.
        out.retain(|p| {
            !p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'))
        });
        out.sort();
        out
    }
}
