//! Append-only JSON lines where a later line replaces an earlier one of the same name.
//!
//! A journal is an index that may be lost. Each line `[name, value, check]` carries a check of its
//! own; a torn, foreign or damaged line is skipped.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::digest_bytes;
use crate::error::{CacheError, CacheResult};
use crate::plain::{append_plain, is_not_plain, read_plain};

/// Names to values, kept in a file.
#[derive(Debug)]
pub struct Journal<V> {
    path: PathBuf,
    values: BTreeMap<String, V>,
    lines: usize,
}

impl<V: Serialize + DeserializeOwned + PartialEq + Clone> Journal<V> {
    /// Reads the journal; a missing or unreadable one is empty.
    pub fn open(path: &Path) -> Self {
        let text = read_plain(path).unwrap_or_default();
        let mut values = BTreeMap::new();
        let mut lines = 0;
        for line in text.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            lines += 1;
            if let Some((name, value)) = parse(line) {
                values.insert(name, value);
            }
        }
        Self {
            path: path.to_path_buf(),
            values,
            lines,
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.values.get(name)
    }

    /// Sets values and appends those that changed. Rewrites the file once most of it is stale.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the file cannot be written.
    pub fn set_all(&mut self, items: impl IntoIterator<Item = (String, V)>) -> CacheResult<()> {
        let mut text = String::new();
        for (name, value) in items {
            if self.values.get(&name) != Some(&value) {
                text.push_str(&line(&name, &value));
                self.lines += 1;
                self.values.insert(name, value);
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent).map_err(CacheError::io("create", parent))?;
        }
        if self.lines > 64 && self.lines > 4 * self.values.len() {
            return self.rewrite();
        }
        // A leading newline closes a torn last line of an earlier process.
        let mut file = match append_plain(&self.path) {
            Ok(file) => file,
            // Of another user of a shared cache, or no file: what may not be written may be replaced.
            Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied) || is_not_plain(&e) => {
                return self.rewrite();
            }
            Err(e) => return Err(CacheError::io("open", &self.path)(e)),
        };
        file.write_all(format!("\n{text}").as_bytes())
            .map_err(CacheError::io("write", &self.path))
    }

    fn rewrite(&mut self) -> CacheResult<()> {
        let mut text = String::new();
        for (name, value) in &self.values {
            text.push_str(&line(name, value));
        }
        self.lines = self.values.len();
        let dir = self.path.parent().unwrap_or(Path::new("."));
        crate::store::write_atomic(dir, &self.path, text.as_bytes())
    }
}

fn line<V: Serialize>(name: &str, value: &V) -> String {
    let check = check(name, value);
    let mut text = serde_json::to_string(&(name, value, check)).expect("plain values serialise");
    text.push('\n');
    text
}

fn parse<V: Serialize + DeserializeOwned>(line: &[u8]) -> Option<(String, V)> {
    let (name, value, said) = serde_json::from_slice::<(String, V, String)>(line).ok()?;
    (said == check(&name, &value)).then_some((name, value))
}

fn check<V: Serialize>(name: &str, value: &V) -> String {
    let text = serde_json::to_vec(&(name, value)).expect("plain values serialise");
    digest_bytes(&text).short()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_win_and_torn_lines_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        let mut j = Journal::<u32>::open(&path);
        j.set_all([("a".into(), 1), ("b".into(), 2)]).unwrap();
        j.set_all([("a".into(), 3)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}[\"b\", 9")).unwrap();
        let mut again = Journal::<u32>::open(&path);
        assert_eq!((again.get("a"), again.get("b")), (Some(&3), Some(&2)));
        again.set_all([("c".into(), 4)]).unwrap();
        let last = Journal::<u32>::open(&path);
        assert_eq!(
            (last.get("a"), last.get("b"), last.get("c")),
            (Some(&3), Some(&2), Some(&4))
        );
    }

    #[test]
    fn a_flipped_bit_anywhere_loses_a_line_and_never_changes_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        Journal::<u32>::open(&path)
            .set_all([("a1".into(), 11), ("a2".into(), 22)])
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for i in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[i / 8] ^= 1 << (i % 8);
            std::fs::write(&path, bad).unwrap();
            let j = Journal::<u32>::open(&path);
            assert!(j.get("a1").is_none_or(|v| *v == 11), "bit {i}");
            assert!(j.get("a2").is_none_or(|v| *v == 22), "bit {i}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_what_it_leads_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("j.jsonl"), dir.path().join("other"));
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        let mut j = Journal::<u32>::open(&path);
        j.set_all([("a".into(), 1)]).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(Journal::<u32>::open(&path).get("a"), Some(&1));
    }

    #[test]
    fn a_pipe_in_its_place_is_replaced_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, mode, 0).unwrap();
        let mut j = Journal::<u32>::open(&path);
        j.set_all([("a".into(), 1)]).unwrap();
        assert_eq!(Journal::<u32>::open(&path).get("a"), Some(&1));
    }

    #[test]
    fn a_stale_journal_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        let mut j = Journal::<u32>::open(&path);
        for i in 0..200 {
            j.set_all([("a".into(), i)]).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap().lines().count() < 100);
        assert_eq!(Journal::<u32>::open(&path).get("a"), Some(&199));
    }
}
