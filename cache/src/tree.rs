//! Artifacts: a file, or a directory as a sorted list of its files (a Merkle tree of depth one).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::at_once::{SYNCS, at_once};
use crate::digest::{Digest, digest_file};
use crate::error::{CacheError, CacheResult};

/// Whether an artifact is a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactForm {
    /// One file.
    File,
    /// A directory; empty directories inside it do not count.
    Tree,
}

/// A file of a directory artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative path with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Digest of its content.
    pub digest: Digest,
}

/// What an artifact is, by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// File or directory.
    pub form: ArtifactForm,
    /// Digest of the file, or of the sorted listing.
    pub digest: Digest,
    /// Bytes of all files.
    pub bytes: u64,
    /// The listing of a directory; empty for a file, and for an archive that was just made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<TreeEntry>,
    /// Bytes of the archive of a directory that is one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<u64>,
}

/// Reads and digests the file or directory at `path`.
///
/// # Errors
/// [`CacheError::NotPlain`] on links, devices and pipes; [`CacheError::Io`].
pub fn measure(path: &Path) -> CacheResult<Artifact> {
    measure_with(path, Mode::Plain)
}

/// As [`measure`], with links followed: what is outside the cache is read and never written.
///
/// # Errors
/// [`CacheError::NotPlain`] on devices, pipes and links to a directory that they are in;
/// [`CacheError::Io`].
pub fn measure_linked(path: &Path) -> CacheResult<Artifact> {
    measure_with(path, Mode::Linked)
}

/// As [`measure`], and makes the content durable: see [`sync_all`].
///
/// # Errors
/// As [`measure`].
pub fn measure_synced(path: &Path) -> CacheResult<Artifact> {
    sync_all(&[path.to_path_buf()])?;
    measure(path)
}

/// Makes these files and directories durable, with all that is in them: fsync of every file, then of every
/// directory.
///
/// # Errors
/// [`CacheError::NotPlain`] on links, devices and pipes; [`CacheError::Io`].
pub fn sync_all(paths: &[PathBuf]) -> CacheResult<()> {
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    for path in paths {
        if Mode::Plain.stat(path)?.is_dir() {
            let mut found = Vec::new();
            list(
                path,
                String::new(),
                Mode::Plain,
                &mut Vec::new(),
                &mut found,
                &mut dirs,
            )?;
            files.extend(found.into_iter().map(|(rel, _)| path.join(rel)));
        } else {
            files.push(path.clone());
        }
    }
    at_once(&files, SYNCS, |file| sync_path(file))?;
    at_once(&dirs, SYNCS, |dir| sync_path(dir))?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    /// Links are followed.
    Linked,
}

impl Mode {
    fn stat(self, path: &Path) -> CacheResult<std::fs::Metadata> {
        match self {
            Self::Plain => std::fs::symlink_metadata(path),
            Self::Linked => std::fs::metadata(path),
        }
        .map_err(CacheError::io("stat", path))
    }
}

fn measure_with(path: &Path, mode: Mode) -> CacheResult<Artifact> {
    let meta = mode.stat(path)?;
    if meta.is_file() {
        return Ok(Artifact {
            form: ArtifactForm::File,
            digest: digest_file(path)?,
            bytes: meta.len(),
            entries: vec![],
            packed: None,
        });
    }
    if !meta.is_dir() {
        return Err(CacheError::NotPlain {
            path: path.to_path_buf(),
        });
    }
    let entries = files_of(path, mode)?
        .into_iter()
        .map(|(rel, size)| {
            let file = path.join(&rel);
            Ok(TreeEntry {
                digest: digest_file(&file)?,
                path: rel,
                size,
            })
        })
        .collect::<CacheResult<Vec<_>>>()?;
    Ok(Artifact {
        form: ArtifactForm::Tree,
        digest: tree_digest(&entries),
        bytes: entries.iter().map(|e| e.size).sum(),
        entries,
        packed: None,
    })
}

/// Paths and sizes of the files of a directory, sorted by path. Links are refused.
pub(crate) fn files_below(dir: &Path) -> CacheResult<Vec<(String, u64)>> {
    files_of(dir, Mode::Plain)
}

fn files_of(dir: &Path, mode: Mode) -> CacheResult<Vec<(String, u64)>> {
    let mut files = Vec::new();
    let (above, dirs) = (&mut Vec::new(), &mut Vec::new());
    list(dir, String::new(), mode, above, &mut files, dirs)?;
    files.sort();
    Ok(files)
}

/// Digest of a directory's listing: paths are length-prefixed, sizes and digests fixed width.
pub(crate) fn tree_digest<'a>(entries: impl IntoIterator<Item = &'a TreeEntry>) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("clcc-flow tree v1");
    for e in entries {
        hasher.update(&(e.path.len() as u64).to_le_bytes());
        hasher.update(e.path.as_bytes());
        hasher.update(&e.size.to_le_bytes());
        hasher.update(e.digest.as_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// `above`: device and number of the directories on the way, so that a link back ends. `dirs` gets the directories,
/// each after those in it.
fn list(
    dir: &Path,
    prefix: String,
    mode: Mode,
    above: &mut Vec<(u64, u64)>,
    out: &mut Vec<(String, u64)>,
    dirs: &mut Vec<PathBuf>,
) -> CacheResult<()> {
    let own = mode.stat(dir)?;
    let own = (own.dev(), own.ino());
    if above.contains(&own) {
        return Err(CacheError::NotPlain {
            path: dir.to_path_buf(),
        });
    }
    above.push(own);

    for entry in std::fs::read_dir(dir).map_err(CacheError::io("list", dir))? {
        let entry = entry.map_err(CacheError::io("list", dir))?;
        let path: PathBuf = entry.path();
        let meta = mode.stat(&path)?;
        let Some(name) = entry.file_name().to_str().map(str::to_string) else {
            return Err(CacheError::NotPlain { path });
        };
        let rel = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        if meta.is_dir() {
            list(&path, rel, mode, above, out, dirs)?;
        } else if meta.is_file() {
            out.push((rel, meta.len()));
        } else {
            return Err(CacheError::NotPlain { path });
        }
    }
    above.pop();
    dirs.push(dir.to_path_buf());
    Ok(())
}

/// fsync of a file or directory.
pub(crate) fn sync_path(path: &Path) -> CacheResult<()> {
    std::fs::File::open(path)
        .and_then(|f| f.sync_all())
        .map_err(CacheError::io("sync", path))?;
    crate::failpoint::synced(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_of_links_is_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["raw/deep", "plain/deep", "links"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["matrix.mtx", "deep/genes.tsv"] {
            std::fs::write(at("raw").join(file), file).unwrap();
            std::fs::write(at("plain").join(file), file).unwrap();
        }
        symlink(at("raw/matrix.mtx"), at("links/matrix.mtx")).unwrap();
        symlink(at("raw/deep"), at("links/deep")).unwrap();
        let plain = measure(&at("plain")).unwrap();
        assert_eq!(measure_linked(&at("links")).unwrap(), plain);
        assert_eq!(measure_linked(&at("plain")).unwrap(), plain);
        // In the cache nothing is linked.
        assert!(matches!(
            measure(&at("links")),
            Err(CacheError::NotPlain { .. })
        ));
        symlink(at("links"), at("raw/deep/back")).unwrap();
        assert!(matches!(
            measure_linked(&at("links")),
            Err(CacheError::NotPlain { .. })
        ));
    }
}
