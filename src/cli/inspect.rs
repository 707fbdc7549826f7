//! `inspect` and `simulate`.

use std::path::Path;

use super::args::{Format, SimulateArgs};
use super::error::{CliError, exit};

pub(super) fn inspect(_path: &Path, _format: Format) -> Result<i32, CliError> {
    Err(CliError::new(exit::INTERNAL, "x"))
}

pub(super) fn simulate(_args: &SimulateArgs) -> Result<i32, CliError> {
    Err(CliError::new(exit::INTERNAL, "x"))
}
