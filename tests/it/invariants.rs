//! What ARCHITECTURE.md says of the sources, where no run can show it.

use std::path::{Path, PathBuf};

/// The crates of the science, each of which may use those before it.
const CRATES: [&str; 9] = [
    "data", "numerics", "stage", "counts", "cnv", "align", "dosage", "simulate", "report",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file without its comments and test module.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
}

impl Source {
    fn has(&self, words: &[&str]) -> Option<String> {
        let line = |line: &&str| words.iter().any(|word| line.contains(word));
        let found = self.text.lines().find(line)?;
        Some(format!("{}: {}", self.path, found.trim()))
    }
}

/// The product code below a folder; test modules are files or come last.
fn product(folder: &str) -> Vec<Source> {
    let mut out = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let lines: Vec<&str> = text.lines().collect();
                let is_of_tests = |two: &[&str]| {
                    two[0] == "#[cfg(test)]" && two[1].contains("mod ") && two[1].ends_with('{')
                };
                let end = lines.windows(2).position(is_of_tests);
                let code = |line: &&str| !line.trim_start().starts_with("//");
                let lines = lines[..end.unwrap_or(lines.len())].iter().copied();
                let lines: Vec<&str> = lines.filter(code).collect();
                let path = path.strip_prefix(root()).expect("below the root");
                out.push(Source {
                    path: path.display().to_string(),
                    text: lines.join("\n"),
                });
            }
        }
    }
    assert!(!out.is_empty(), "{folder}");
    out
}

fn science() -> Vec<Source> {
    let sources = CRATES.iter().map(|name| format!("stages/{name}/src"));
    sources.flat_map(|folder| product(&folder)).collect()
}

/// Lines of these sources with one of the words.
fn offenders(sources: &[Source], words: &[&str]) -> Vec<String> {
    sources.iter().filter_map(|s| s.has(words)).collect()
}

/// Packages of this workspace that a crate's `[dependencies]` name.
fn own_dependencies(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(manifest)).expect("a manifest");
    let (_, after) = text.split_once("[dependencies]").expect("dependencies");
    let section = after.split("\n[").next().unwrap_or_default();
    let name = |line: &str| {
        line.strip_prefix("clcc-")?
            .split(['.', ' ', '='])
            .next()
            .map(String::from)
    };
    section.lines().filter_map(name).collect()
}

#[test]
fn dependencies_point_one_way() {
    for (at, name) in CRATES.iter().enumerate() {
        for used in own_dependencies(&format!("stages/{name}/Cargo.toml")) {
            assert!(CRATES[..at].contains(&used.as_str()), "{name} uses {used}");
        }
    }
    assert_eq!(own_dependencies("cache/Cargo.toml"), [""; 0]);
    let facade = own_dependencies("stages/Cargo.toml");
    assert!(
        facade.iter().all(|used| CRATES.contains(&used.as_str())),
        "{facade:?}"
    );
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("read");
    let place = |name: &&str| {
        architecture
            .find(&format!("\n  {name} "))
            .expect("on the map")
    };
    let places: Vec<usize> = CRATES.iter().map(place).collect();
    assert!(places.is_sorted(), "the map names the crates in this order");
}

#[test]
fn the_science_prints_nothing_and_knows_no_clock_process_or_environment() {
    let mut sources = science();
    // Switches of the environment: narrower vectors, which change no bit, and the device of the tests.
    let switches = [
        "stages/numerics/src/math/width.rs",
        "stages/align/src/train/test_support.rs",
    ];
    sources.retain(|s| !switches.contains(&s.path.as_str()));
    let odd = [
        "println!",
        "print!(",
        "stdout()",
        "stderr()",
        "Instant::",
        "SystemTime",
        "process::id",
        "env::var",
        "thread_rng",
    ];
    assert_eq!(offenders(&sources, &odd), [""; 0]);
}

#[test]
fn numerics_open_no_file() {
    let sources = product("stages/numerics/src");
    assert_eq!(offenders(&sources, &["std::fs", "fs::", "File::"]), [""; 0]);
}

#[test]
fn no_stage_makes_a_sparse_matrix_dense() {
    let mut sources = science();
    // The conversion itself, for embeddings that are stored sparsely, whole or a block of rows.
    let conversion = [
        "stages/data/src/matrix/",
        "stages/data/src/anndata/reader.rs",
    ];
    sources.retain(|s| !conversion.iter().any(|at| s.path.starts_with(at)));
    assert_eq!(offenders(&sources, &[".to_dense("]), [""; 0]);
    // Of what a store holds, embeddings alone are read densely (cells x tens of columns), and clones x genes for
    // the page.
    sources.retain(|s| s.path != "stages/report/src/report/views/genes.rs");
    let odd = [
        "x()?.into_dense(",
        "layer(name)?.into_dense(",
        "x.into_dense(",
    ];
    assert_eq!(offenders(&sources, &odd), [""; 0]);
}

#[test]
fn only_one_module_prints() {
    let mut sources = product("src");
    sources.extend(product("cache/src"));
    // A node's process tells its coordinator through its stdout.
    sources.retain(|s| s.path != "src/cli/out.rs" && s.path != "src/exec/node.rs");
    let writes = [
        "println!",
        "print!(",
        "stdout().write",
        "stderr().write",
        "stdout().lock",
        "stderr().lock",
    ];
    assert_eq!(offenders(&sources, &writes), [""; 0]);
}

#[test]
fn no_name_is_made_of_a_process_id_or_the_time() {
    let mut sources = product("src");
    sources.extend(product("cache/src"));
    // Whether it is the first process of a container, a job's own memory, and a test's request to be killed.
    let asks = [
        "src/cli/mod.rs",
        "src/exec/job.rs",
        "cache/src/failpoint.rs",
    ];
    sources.retain(|s| !asks.contains(&s.path.as_str()));
    assert_eq!(offenders(&sources, &["process::id", "getpid"]), [""; 0]);
}
