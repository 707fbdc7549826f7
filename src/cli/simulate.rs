//! `simulate`.

use std::path::Path;

use clcc_stages::simulate::geo;
use clcc_stages::stage::Progress;
use serde_json::Value;

use super::args::SimulateArgs;
use super::error::{CliError, exit};
use super::inspect::{print_value, stage_error};

pub(super) fn simulate(args: &SimulateArgs) -> Result<i32, CliError> {
    if args.like != "gse131907" {
        let message = format!("--like {}: expected `gse131907`", args.like);
        return Err(CliError::new(exit::USAGE, message));
    }
    if !(args.scale > 0.0 && args.scale <= 1.0) {
        let message = format!("--scale {}: expected above 0 and at most 1", args.scale);
        return Err(CliError::new(exit::USAGE, message));
    }
    let taken = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        let message = format!("`{}` is not empty; nothing was written", args.out.display());
        return Err(CliError::new(exit::USAGE, message));
    }
    let out = args.out.clone();
    super::signals::end_after(move || remove_content(&out))
        .map_err(|e| CliError::new(exit::INTERNAL, format!("cannot listen to signals: {e}")))?;
    let mut params = geo::default_params();
    if let Some(genes) = args.genes {
        params.n_genes = genes;
    }
    let said = geo::write_file_set(&args.out, &params, args.seed, args.scale, &Lines)
        .map_err(|e| stage_error(&e))?;
    print_value(&Value::Object(said), 0);
    say!("wrote {}", args.out.display());
    Ok(exit::OK)
}

/// Half a data set looks like a whole one. Everything in the directory is of this process: it was empty.
fn remove_content(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
}

/// One line a patient.
struct Lines;

impl Progress for Lines {
    fn step(&self, done: u64, total: u64, message: &str) {
        tell!("({done:>2}/{total}) {message}");
    }

    fn warn(&self, message: &str) {
        tell!("warning: {message}");
    }
}
