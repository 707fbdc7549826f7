//! What the tests of several crates share.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use clcc_data::frame::{Column, Frame};
use clcc_data::genome::{Assembly, annotate_arms};
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use ndarray::Array2;

/// A file or folder of the shared data next to the repository (`../shared/data`, or further up for a
/// second working tree); `None`, with a line on stderr, where it is absent.
#[allow(clippy::print_stderr, reason = "a skipped test says why")]
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let mut ancestors = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = ancestors
        .find_map(|dir| Some(dir.join("shared/data").join(name)).filter(|path| path.exists()));
    if found.is_none() {
        eprintln!("skipped: no `{name}` in ../shared/data");
    }
    found
}

/// The Python interpreter that `CLCC_PYTHON` names, for tests against the peers' own readers.
#[derive(Debug)]
pub struct Python(OsString);

impl Python {
    /// The interpreter; `None`, with a line on stderr, where `CLCC_PYTHON` names none with `package`.
    #[allow(clippy::print_stderr, reason = "a skipped test says why")]
    pub fn with(package: &str) -> Option<Self> {
        let found = std::env::var_os("CLCC_PYTHON").map(Self);
        if found.is_none() {
            eprintln!("skipped: set CLCC_PYTHON to an interpreter with {package}");
        }
        found
    }

    /// Runs the interpreter with `options`, then the `paths`.
    ///
    /// # Panics
    /// Where it cannot be started or reports failure; its stderr is the message.
    pub fn run(&self, options: &[&str], paths: &[&Path]) {
        let out = Command::new(&self.0)
            .args(options)
            .args(paths)
            .output()
            .expect("CLCC_PYTHON is an interpreter");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
    }
}

/// A file of `tests/reference`.
pub fn reference(name: &str) -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_root.join("../../tests/reference").join(name)
}

/// Runs `f` in a pool of `threads` threads.
///
/// # Panics
/// Where the system gives no threads.
pub fn at_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a thread pool")
        .install(f)
}

/// A `rows x cols` matrix of standard normal entries.
pub fn random(rows: usize, cols: usize, seed: u64) -> Array2<f64> {
    let mut rng = Rng::new(seed, "test matrix", &[]);
    Array2::from_shape_simple_fn((rows, cols), || rng.normal())
}

/// A sparse `rows x cols` matrix; each entry is stored with probability `density` and is then standard normal.
pub fn random_csr(rows: usize, cols: usize, density: f64, seed: u64) -> Csr {
    let mut rng = Rng::new(seed, "test sparse matrix", &[]);
    let mut row = || {
        let mut entries = Vec::new();
        for c in 0..cols as u32 {
            if rng.uniform() < density {
                entries.push((c, rng.normal() as f32));
            }
        }
        entries
    };
    let all: Vec<_> = (0..rows).map(|_| row()).collect();
    Csr::from_rows(cols, all)
}

/// Genes of one megabase each along chromosomes of the given numbers of genes: `chromosome`, `start`, `end`
/// and `arm` of GRCh38.
///
/// # Panics
/// On a chromosome that GRCh38 does not have.
pub fn genes(sizes: &[(&str, usize)]) -> Frame {
    let all: Vec<(&str, usize)> = sizes
        .iter()
        .flat_map(|&(c, n)| (0..n).map(move |i| (c, i)))
        .collect();
    let mut frame = Frame::new(all.iter().map(|(c, i)| format!("{c}g{i}")).collect());
    frame.set_category("chromosome", &all.iter().map(|a| a.0).collect::<Vec<_>>());
    frame.set(
        "start",
        Column::I64(all.iter().map(|a| a.1 as i64 * 1_000_000 + 1).collect()),
    );
    frame.set(
        "end",
        Column::I64(all.iter().map(|a| a.1 as i64 * 1_000_000 + 1000).collect()),
    );
    annotate_arms(&mut frame, Some(Assembly::GRCh38)).expect("chromosomes of GRCh38");
    frame
}
