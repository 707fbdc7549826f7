//! What the cache keeps of a run besides its artifacts: a directory with its events, logs, record and trace.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use clcc_cache::{KeyLock, Store, fresh_dir};

use super::RunError;
use crate::events::Stamped;
use crate::results::Trace;

/// Where the cache keeps what a run leaves of itself.
pub(super) struct RunPlace {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    /// `false` in a cache that cannot be written: then nothing is kept.
    pub(super) is_kept: bool,
    /// Held while the run goes on: `status` can tell a running one from a killed one.
    _running: Option<KeyLock>,
}

impl RunPlace {
    /// Names sort by time; the random end keeps those of one moment apart.
    pub(super) fn new(store: &Store, started: SystemTime) -> Result<Self, RunError> {
        let time: String = humantime::format_rfc3339_millis(started)
            .to_string()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let runs = store.root().join("runs");
        if !store.is_writable() {
            return Ok(Self {
                dir: runs.join(&time),
                name: time,
                is_kept: false,
                _running: None,
            });
        }
        let dir = fresh_dir(&runs, &format!("{time}-"))
            .map_err(|source| RunError::Create { path: runs, source })?;
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(Self {
            name: name.unwrap_or(time),
            _running: KeyLock::try_acquire(&dir.join("lock"))?,
            dir,
            is_kept: true,
        })
    }
}

/// The run's `events.jsonl` and, at its end, `trace.json`.
pub(super) struct Journal {
    file: Option<std::io::BufWriter<std::fs::File>>,
    trace: Trace,
}

impl Journal {
    /// Begins the journal of a run; of one that is not kept, nothing is written.
    pub(super) fn open(place: &RunPlace) -> Result<Self, RunError> {
        let path = place.dir.join("events.jsonl");
        let file = match place.is_kept {
            true => match std::fs::File::create(&path) {
                Ok(file) => Some(std::io::BufWriter::new(file)),
                Err(source) => return Err(RunError::Create { path, source }),
            },
            false => None,
        };
        Ok(Self {
            file,
            trace: Trace::default(),
        })
    }

    pub(super) fn on_event(&mut self, event: &Stamped<'_>) {
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{}", event.to_json());
            if event.is_news() {
                let _ = file.flush();
            }
        }
        self.trace.on_event(event.event, event.elapsed);
    }

    pub(super) fn write_trace(self, place: &RunPlace, workflow: &str) {
        if !place.is_kept {
            return;
        }
        let text = self.trace.into_json(workflow).to_string();
        if let Err(e) = std::fs::write(place.dir.join("trace.json"), text) {
            tracing::warn!("the trace of this run could not be written: {e}");
        }
    }
}
