//! Whose results a directory holds: results go by the workflow's name, and two files may have one name.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use clcc_cache::{Digest, digest_file};
use serde::{Deserialize, Serialize};

/// The workflow file that results were made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Its path, with links resolved.
    file: PathBuf,
    /// The same from the results directory: both may be moved together.
    from_here: PathBuf,
    /// Digest of its text.
    text: Digest,
}

/// How a workflow file stands to that which the results were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kin {
    /// The same file, also edited, linked, renamed, or moved with the results.
    Same,
    /// That file is no longer where it was, and has another text: this may be it under another name.
    Gone(PathBuf),
    /// Another file, and that one is still there. What stands in them does not matter: of two copies either may be
    /// edited next.
    Other(PathBuf),
}

impl Origin {
    /// Of a workflow file, for results in `dir`. `None` where it is no file (a pipe): that has no identity.
    pub(super) fn of(workflow: &Path, dir: &Path) -> Option<Self> {
        let file = std::fs::canonicalize(workflow)
            .ok()
            .filter(|f| f.is_file())?;
        file.to_str()?;
        let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        Some(Self {
            text: digest_file(&file).ok()?,
            from_here: relative(&file, &dir),
            file,
        })
    }

    /// How `now` stands to this one.
    pub(super) fn kin(&self, now: Option<&Self>) -> Kin {
        let Some(now) = now else {
            return match self.file.exists() {
                true => Kin::Other(self.file.clone()),
                false => Kin::Gone(self.file.clone()),
            };
        };
        if now.file == self.file || now.from_here == self.from_here {
            return Kin::Same;
        }
        match std::fs::metadata(&self.file) {
            // Mounted at two places, or of two names.
            Ok(made) if is_file(&made, &now.file) => Kin::Same,
            Ok(_) => Kin::Other(self.file.clone()),
            Err(_) if now.text == self.text => Kin::Same,
            Err(_) => Kin::Gone(self.file.clone()),
        }
    }
}

/// Whether that is the file at `path`.
fn is_file(found: &Metadata, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (found.dev(), found.ino()))
}

/// The way from a directory to a file, both absolute.
fn relative(file: &Path, dir: &Path) -> PathBuf {
    let (file, dir): (Vec<Component<'_>>, Vec<_>) =
        (file.components().collect(), dir.components().collect());
    let shared = file.iter().zip(&dir).take_while(|(a, b)| a == b).count();
    let up = dir[shared..].iter().map(|_| Component::ParentDir);
    up.chain(file[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_known_by_its_place_its_way_and_its_text() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().canonicalize().unwrap();
        let (project, results) = (root.join("p"), root.join("p/results/tiny"));
        std::fs::create_dir_all(&results).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        let (w, v) = (project.join("w.yaml"), project.join("v.yaml"));
        write(&w, "one");
        write(&v, "two");
        let made = Origin::of(&w, &results).unwrap();
        assert_eq!(made.from_here, Path::new("../../w.yaml"));
        let kin = |file: &Path, dir: &Path| made.kin(Origin::of(file, dir).as_ref());
        assert_eq!(kin(&v, &results), Kin::Other(w.clone()));
        write(&w, "one, edited");
        assert_eq!(kin(&w, &results), Kin::Same);
        let link = root.join("link.yaml");
        std::os::unix::fs::symlink(&w, &link).unwrap();
        assert_eq!(kin(&link, &results), Kin::Same);
        let second_name = root.join("second-name.yaml");
        std::fs::hard_link(&w, &second_name).unwrap();
        assert_eq!(kin(&second_name, &results), Kin::Same);
        // A copy of the file is another file.
        write(&v, "one");
        assert_eq!(kin(&v, &results), Kin::Other(w.clone()));
        // The project copied, and edited there.
        let copy = root.join("copy/results/tiny");
        std::fs::create_dir_all(&copy).unwrap();
        write(&root.join("copy/w.yaml"), "three");
        assert_eq!(kin(&root.join("copy/w.yaml"), &copy), Kin::Same);
        assert_eq!(made.kin(None), Kin::Other(w.clone()));
        // The project moved, its results elsewhere; then edited there.
        let moved = root.join("moved.yaml");
        write(&w, "one");
        std::fs::rename(&w, &moved).unwrap();
        assert_eq!(kin(&moved, &results), Kin::Same);
        write(&moved, "one, edited");
        assert_eq!(kin(&moved, &results), Kin::Gone(w));
        assert_eq!(Origin::of(&project, &results), None);
    }
}
