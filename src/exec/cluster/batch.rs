//! What is asked of a batch system, and how its programs are called.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::pack::Shape;

/// A batch system, spoken to by its own programs. An answer that fails says nothing about any job.
pub(super) trait Batch: Send + Sync + std::fmt::Debug {
    /// Hands in the tasks of a folder; returns the id of each.
    fn submit(&self, batch: &Handed) -> Result<Vec<String>, Refusal>;

    /// What it says of all jobs of these runs, or of these ids.
    fn poll(&self, runs: &[String], ids: &[String]) -> Result<Vec<Line>, String>;

    /// What it still knows of jobs that it no longer lists.
    fn recall(&self, ids: &[String]) -> Vec<Line>;

    /// Ends jobs.
    fn cancel(&self, ids: &[String]) -> Result<(), String>;

    /// Whether [`Self::poll`] finds jobs whose ids are not known, by what they were handed in with.
    fn finds_by_batch(&self) -> bool;

    /// Most tasks of one batch.
    fn most_tasks(&self) -> usize;

    /// Whether its own process is the parent of a job, and takes it along when it ends.
    fn is_parent(&self) -> bool;
}

/// What is handed in together.
#[derive(Debug)]
pub(super) struct Handed {
    /// A name that nothing else has.
    pub(super) name: String,
    /// The run.
    pub(super) run: String,
    /// Its folder; task `n` is `<n>.json` there, and runs by the script `<n>.sh`.
    pub(super) dir: PathBuf,
    /// How many tasks there are.
    pub(super) tasks: usize,
    /// What each of them asks for.
    pub(super) shape: Shape,
    /// What the tasks run: program and arguments, but for the task.
    pub(super) program: PathBuf,
}

impl Handed {
    /// The script that runs one task.
    pub(super) fn script(&self, task: &str) -> String {
        let program = quoted(&self.program.display().to_string());
        let dir = quoted(&self.dir.display().to_string());
        format!("#!/bin/sh\nexec {program} exec-node --commit {dir}/{task}.json\n")
    }
}

/// A word for `sh` as it is.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Why jobs were not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be told whether they were.
    Unknown(String),
    /// It has no room now.
    Later(String),
    /// It never will.
    No(String),
}

/// What a batch system says of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The id.
    pub(super) id: String,
    /// What it was handed in with, where that is told.
    pub(super) batch: Option<String>,
    /// The state.
    pub(super) word: Word,
    /// The machine, where that is told.
    pub(super) node: String,
}

/// A job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Nobody answered, or not in words that are known.
    Unknown,
    /// There was an answer, and it does not name the job.
    Absent,
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// It has ended.
    Ended(How),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// By itself, whatever it said.
    Itself,
    /// For memory.
    Memory,
    /// For time.
    Time,
    /// With its machine.
    Machine,
    /// For another job.
    Preempted,
    /// Somebody ended it.
    Cancelled,
}

/// Calls a program of the batch system. Its output, or why there is none: what it wrote to standard error.
pub(super) fn call(argv: &[String], limit: Duration) -> Result<String, Failed> {
    let shown = argv.first().cloned().unwrap_or_default();
    let failed = |text: String| Failed {
        text,
        timed_out: false,
    };
    let mut child = Command::new(&shown)
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("cannot start `{shown}`: {e}")))?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    // What a program writes is read while it runs: a pipe holds little. One that leaves a child of its own behind
    // with the pipe is not waited for.
    let (send, receive) = std::sync::mpsc::channel();
    let read = |mut from: Option<Box<dyn std::io::Read + Send>>, which: bool| {
        let send = send.clone();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(from) = &mut from {
                let _ = from.take(MOST).read_to_end(&mut text);
            }
            let _ = send.send((which, String::from_utf8_lossy(&text).into_owned()));
        });
    };
    read(out.take().map(|o| Box::new(o) as _), true);
    read(err.take().map(|e| Box::new(e) as _), false);
    let status = wait_at_most(&mut child, &shown, limit)?;
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for _ in 0..2 {
        match receive.recv_timeout(Duration::from_secs(5)) {
            Ok((true, text)) => stdout = text,
            Ok((false, text)) => stderr = text,
            Err(_) => break,
        }
    }
    match status.success() {
        true => Ok(stdout),
        false => {
            let said = stderr.trim();
            let said = if said.is_empty() { stdout.trim() } else { said };
            Err(failed(format!("`{shown}` ended with {status}: {said}")))
        }
    }
}

/// Waits for a program; one that takes longer than `limit` is ended.
fn wait_at_most(child: &mut Child, shown: &str, limit: Duration) -> Result<ExitStatus, Failed> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() >= until => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failed {
                    text: format!("`{shown}` gave no answer within {} s", limit.as_secs()),
                    timed_out: true,
                });
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => {
                return Err(Failed {
                    text: format!("cannot wait for `{shown}`: {e}"),
                    timed_out: false,
                });
            }
        }
    }
}

/// Most that is read of an answer, in bytes.
const MOST: u64 = 256 << 20;

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What happened.
    pub(super) text: String,
    /// Whether it gave no answer in time.
    pub(super) timed_out: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_string).to_vec()
    }

    #[test]
    fn a_call_ends_with_its_output_its_error_or_its_time() {
        let limit = Duration::from_secs(20);
        assert_eq!(call(&sh("echo a; echo b >&2"), limit).unwrap(), "a\n");
        let error = call(&sh("echo no >&2; exit 3"), limit).unwrap_err();
        assert!(error.text.contains("no") && !error.timed_out, "{error:?}");
        assert!(call(&["/nowhere".to_string()], limit).is_err());
        let error = call(&sh("sleep 20"), Duration::from_millis(50)).unwrap_err();
        assert!(error.timed_out);
        // More than a pipe holds.
        let many = call(&sh("head -c 300000 /dev/zero | tr '\\0' x"), limit).unwrap();
        assert_eq!(many.len(), 300_000);
    }

    #[test]
    fn a_script_takes_any_path() {
        let handed = Handed {
            name: "b".into(),
            run: "r".into(),
            dir: "/a b/it's".into(),
            tasks: 1,
            shape: Shape::default(),
            program: "/bin/echo".into(),
        };
        let script = handed.script("0");
        let said = call(&sh(&script), Duration::from_secs(20)).unwrap();
        assert_eq!(said, "exec-node --commit /a b/it's/0.json\n");
    }
}
