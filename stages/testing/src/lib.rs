//! What the tests of several crates share.

use std::path::{Path, PathBuf};

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
