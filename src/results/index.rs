//! `.published.json`: which content each path of the results holds, who made it, and which records stand
//! beside it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

use clcc_cache::{Digest, digest_file, read_plain, stat_name, stat_of};
use serde::{Deserialize, Serialize};

use super::origin::Origin;

/// The index of a results directory.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Digest of what the records next to it are about; nothing while they are being written.
    pub(super) state: Option<Digest>,
    /// Digest of what was to be published and where; nothing while it is being written, and where a node had no outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Digest>,
    /// The workflow file; nothing where an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workflow: Option<Origin>,
    /// By relative path.
    pub(super) files: BTreeMap<String, Published>,
}

impl Index {
    /// The index at `path`; empty where there is no file that can be read.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = read_plain(path).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Self {
            state: None,
            published: None,
            workflow: None,
            // Earlier versions wrote the files alone.
            files: serde_json::from_slice(&bytes).unwrap_or_default(),
        })
    }
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Published {
    /// Content in the cache; nothing while the file is being written.
    pub(super) digest: Option<Digest>,
    /// The node that made it.
    #[serde(default)]
    pub(super) node: String,
    /// Content of the file: a page has the run's record in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) written: Option<Digest>,
    /// What `stat` said of the file once it was written.
    #[serde(default)]
    pub(super) stat: Option<String>,
}

impl Published {
    /// How the file stands to what was left there: by its stat, else by its content.
    pub(super) fn look(&self, file: &Path) -> Found {
        let Some(meta) = std::fs::symlink_metadata(file)
            .ok()
            .filter(Metadata::is_file)
        else {
            return Found::Touched;
        };
        if self
            .stat
            .as_ref()
            .is_some_and(|s| *s == stat_name(file, &meta))
        {
            return Found::AsLeft;
        }
        match self.written.or(self.digest) {
            Some(left) if digest_file(file).is_ok_and(|is| is == left) => Found::Moved,
            _ => Found::Touched,
        }
    }

    /// Whether anything is known of how the file was left: earlier versions did not say it of pages.
    pub(super) fn is_known(&self, is_page: bool) -> bool {
        self.digest.is_some() && (self.written.is_some() || !is_page)
    }

    /// The same, stamped with what `stat` says of the file now.
    pub(super) fn stamped(mut self, file: &Path) -> Self {
        self.stat = stat_of(file);
        self
    }
}

/// How a published file is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing has happened to it.
    AsLeft,
    /// It has the content that it was left with, and is another file: the directory was copied.
    Moved,
    /// It was edited, removed or never whole.
    Touched,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_judged_by_its_stat_and_then_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tsv");
        std::fs::write(&file, "one").unwrap();
        let entry = Published {
            digest: Some(clcc_cache::digest_bytes(b"one")),
            node: "de".into(),
            written: None,
            stat: None,
        };
        let stamped = entry.clone().stamped(&file);
        assert_eq!(stamped.look(&file), Found::AsLeft);
        assert_eq!(entry.look(&file), Found::Moved);
        // As many bytes, other ones.
        std::fs::write(&file, "two").unwrap();
        assert_eq!(stamped.look(&file), Found::Touched);
        assert_eq!(entry.look(&file), Found::Touched);
        let page = Published {
            written: Some(clcc_cache::digest_bytes(b"two")),
            ..stamped
        };
        assert_eq!(page.look(&file), Found::Moved);
        let writing = Published {
            digest: None,
            written: None,
            stat: None,
            ..page.clone()
        };
        assert_eq!(writing.look(&file), Found::Touched);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert_eq!(page.look(&file), Found::Touched);
    }

    #[test]
    fn an_index_of_an_earlier_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index");
        let digest = clcc_cache::digest_bytes(b"x");
        let text = format!("{{\"tables/a.tsv\": {{\"digest\": \"{digest}\", \"size\": 1}}}}");
        std::fs::write(&file, text).unwrap();
        let index = Index::read(&file);
        assert_eq!(index.files["tables/a.tsv"].digest, Some(digest));
        assert_eq!(index.state, None);
        std::fs::write(&file, "{").unwrap();
        assert_eq!(Index::read(&file), Index::default());
    }
}
