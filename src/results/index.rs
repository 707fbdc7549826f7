//! `.published.json`: which content each path of the results holds, who made it, and which records stand
//! beside it.

use std::collections::BTreeMap;
use std::path::Path;

use clcc_cache::{Digest, digest_file, stat_of};
use serde::{Deserialize, Serialize};

/// The index of a results directory.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Digest of what the records beside it are about; nothing while they are being written.
    pub(super) state: Option<Digest>,
    /// By relative path.
    pub(super) files: BTreeMap<String, Published>,
}

impl Index {
    /// The index at `path`; empty where there is none that can be read.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Self {
            state: None,
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
    /// Bytes of that content.
    pub(super) size: u64,
    /// The node that made it.
    #[serde(default)]
    pub(super) node: String,
    /// Content of the file: a page has the run's record in it.
    #[serde(default)]
    pub(super) written: Option<Digest>,
    /// What `stat` said of the file once it was written.
    #[serde(default)]
    pub(super) stat: Option<String>,
}

impl Published {
    /// Whether the file is as it was left: by its stat, else by its content.
    pub(super) fn is_untouched(&self, file: &Path) -> bool {
        if !std::fs::symlink_metadata(file).is_ok_and(|m| m.is_file()) {
            return false;
        }
        if self.stat.is_some() && self.stat == stat_of(file) {
            return true;
        }
        let left = self.written.or(self.digest);
        left.is_some_and(|left| digest_file(file).is_ok_and(|is| is == left))
    }

    /// The same, stamped with what `stat` says of the file now.
    pub(super) fn stamped(mut self, file: &Path) -> Self {
        self.stat = stat_of(file);
        self
    }
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
            size: 3,
            node: "de".into(),
            written: None,
            stat: None,
        };
        let stamped = entry.clone().stamped(&file);
        assert!(stamped.is_untouched(&file) && entry.is_untouched(&file));
        // As many bytes, other ones.
        std::fs::write(&file, "two").unwrap();
        assert!(!stamped.is_untouched(&file) && !entry.is_untouched(&file));
        let page = Published {
            written: Some(clcc_cache::digest_bytes(b"two")),
            ..stamped
        };
        assert!(page.is_untouched(&file));
        let writing = Published {
            digest: None,
            written: None,
            stat: None,
            ..page.clone()
        };
        assert!(!writing.is_untouched(&file));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(!page.is_untouched(&file));
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
