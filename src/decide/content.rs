//! What a file input holds: its own content, and that of the files that are read with it.

use std::path::Path;

use clcc_cache::{Digest, digest_bytes, stat_of};
use clcc_stages::ingest::companions;

/// Digest of the input at `path`, from those of its files: itself alone, or with its
/// [`companions`](clcc_stages::ingest::companions).
///
/// # Errors
/// What `digest` reports.
pub fn content<E>(
    path: &Path,
    mut digest: impl FnMut(&Path) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let own = digest(path)?;
    let beside = companions(path);
    if beside.is_empty() {
        return Ok(own);
    }
    let mut all = own.to_string();
    for file in &beside {
        all.push_str(&digest(file)?.to_string());
    }
    Ok(digest_bytes(all.as_bytes()))
}

/// What `stat` says of an input, where that says that nothing has changed: `None` for a folder and for
/// several files.
pub fn content_stat(path: &Path) -> Option<String> {
    stat_of(path).filter(|_| companions(path).is_empty())
}
