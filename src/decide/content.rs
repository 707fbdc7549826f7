//! What a file input holds: its own content, and that of the files that are read with it.

use std::path::Path;

use clcc_cache::{Digest, digest_bytes, stat_of};
use clcc_stages::ingest::{Sheet, companions};

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

/// Digest of what a table of samples says of a patient, and of the patient's files. What it says of others, and
/// where the files lie, is no part of it.
///
/// # Errors
/// What `digest` reports.
pub fn content_of_patient<E>(
    sheet: &Sheet,
    patient: &str,
    mut digest: impl FnMut(&Path) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let mut files = Vec::new();
    for file in files_of_patient(sheet, patient) {
        files.push(content(file, &mut digest)?.to_string());
    }
    let all = (sheet.facts(patient), files);
    let bytes = serde_json::to_vec(&all).expect("plain values serialise");
    Ok(digest_bytes(&bytes))
}

/// The files that a table of samples names for a patient.
pub fn files_of_patient<'a>(sheet: &'a Sheet, patient: &'a str) -> impl Iterator<Item = &'a Path> {
    let own = sheet.samples.iter().filter(move |s| s.patient == patient);
    own.flat_map(|s| std::iter::once(s.path.as_path()).chain(s.annotations.as_deref()))
}

/// What `stat` says of an input, where that says that nothing has changed: `None` for a folder and for
/// several files.
pub fn content_stat(path: &Path) -> Option<String> {
    stat_of(path).filter(|_| companions(path).is_empty())
}

/// The same of a table of samples and the files of a patient.
pub fn content_stat_of_patient(path: &Path, sheet: &Sheet, patient: &str) -> Option<String> {
    let files = files_of_patient(sheet, patient);
    let all: Option<Vec<String>> = std::iter::once(path)
        .chain(files)
        .map(content_stat)
        .collect();
    all.map(|stats| stats.join(" "))
}
