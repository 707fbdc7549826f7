//! Reading everything: what a hit cannot see.

use std::path::PathBuf;

use super::{Store, shard_files};
use crate::archive::measure_stored;
use crate::digest::Digest;
use crate::error::{CacheError, CacheResult};
use crate::tree::ArtifactForm;

/// What [`Store::verify`] found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Artifacts read and compared.
    pub artifacts: usize,
    /// Records read.
    pub records: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Paths of damaged artifacts and records, relative to the cache, each with what is wrong.
    pub bad: Vec<(PathBuf, Defect)>,
}

/// What is wrong with an artifact or a record.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// Other content than its name says.
    #[error("content has digest {}", found.short())]
    Content {
        /// Of what is there.
        found: Digest,
    },
    /// A directory without a whole listing.
    #[error("its listing is missing or damaged")]
    Listing,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(CacheError),
    /// A record that is none, or of another version.
    #[error("not a readable action record")]
    Record,
}

impl Store {
    /// Reads every artifact and record and compares digests. With `repair`, what is damaged is set
    /// aside, so that the next run makes it again.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the cache cannot be listed.
    pub fn verify(&self, repair: bool) -> CacheResult<VerifyReport> {
        let mut report = VerifyReport::default();
        for path in shard_files(&self.root.join("cas"))? {
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let Ok(digest) = name.parse::<Digest>() else {
                continue;
            };
            report.artifacts += 1;
            let problem = match measure_stored(&path) {
                Ok(found) => {
                    report.bytes += found.bytes;
                    if found.digest != digest {
                        Some(Defect::Content {
                            found: found.digest,
                        })
                    } else if found.form == ArtifactForm::Tree && self.listing(&digest).is_none() {
                        Some(Defect::Listing)
                    } else {
                        None
                    }
                }
                Err(e) => Some(Defect::Unreadable(e)),
            };
            if let Some(problem) = problem {
                report.bad.push((self.relative(&path), problem));
                if repair {
                    self.quarantine(&digest)?;
                }
            }
        }
        for path in shard_files(&self.root.join("ac"))? {
            report.records += 1;
            let key = path
                .file_stem()
                .and_then(|s| s.to_str())
                .and_then(|s| s.parse::<Digest>().ok());
            if key.is_none_or(|k| self.record(&k).is_none()) {
                report.bad.push((self.relative(&path), Defect::Record));
                if repair {
                    std::fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
                }
            }
        }
        Ok(report)
    }
}
