//! The child's side: `clcc-flow exec-node ACTION`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clcc_cache::{
    Artifact, CacheError, Digest, at_once, failpoint, measure, measure_linked, measure_stored,
    pack, read_plain, unpack_unless,
};
use clcc_stages::StageError;
use clcc_stages::ingest::Sheet;
use clcc_stages::stage::{InputArtifact, Progress, StageContext};
use serde_json::{Map, Value};

use super::action::{
    Action, ActionInput, ActionOutput, FAULT, Failure, FailureClass, NodeMessage, NodeResult,
    io_class, panic_text,
};
use super::local::cache_failure;
use crate::decide::{content, content_of_patient, content_stat, content_stat_of_patient};
use crate::registry::kind;

/// Runs one action and writes `result.json` next to the action file. Returns the exit code.
pub fn exec_node(action_file: &Path) -> i32 {
    // A child never outlives its coordinator, however that ends.
    if !failpoint::skipped("child.dies_with_parent") {
        let signal = Some(rustix::process::Signal::KILL);
        let _ = rustix::process::set_parent_process_death_signal(signal);
    }
    let started = Instant::now();
    let attempt = action_file.parent().unwrap_or(Path::new("."));
    let mut action = match read_action(action_file) {
        Ok(action) => action,
        Err(e) => {
            tracing::error!("cannot read action `{}`: {e}", action_file.display());
            return 1;
        }
    };
    let reporter = Reporter::default();
    let mut result = run_action(&mut action, attempt, &reporter);
    result.seconds = started.elapsed().as_secs_f64();
    match write_result(&attempt.join("result.json"), &result) {
        Ok(()) => i32::from(result.failure.is_some()),
        Err(failure) => {
            reporter.send(&NodeMessage::Failed { failure });
            1
        }
    }
}

fn read_action(file: &Path) -> Result<Action, String> {
    let bytes = read_plain(file).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

/// Runs the stage between the checks of its inputs, and digests what it wrote.
fn run_action(action: &mut Action, attempt: &Path, reporter: &Reporter) -> NodeResult {
    let cancel = Arc::new(AtomicBool::new(false));
    watch_for_term(Arc::clone(&cancel));
    let outcome = check_cached_inputs(action)
        .and_then(|()| at("child.begin"))
        .and_then(|()| lay_out(action, attempt))
        .and_then(|()| run_stage(action, attempt, reporter, &cancel))
        .and_then(|metrics| check_file_inputs(action).map(|()| metrics))
        .and_then(|metrics| at("child.ran").map(|()| metrics));
    let warnings = reporter
        .warnings
        .lock()
        .map(|w| w.clone())
        .unwrap_or_default();
    let mut result = NodeResult {
        outputs: Vec::new(),
        metrics: Value::Object(Map::new()),
        warnings,
        peak_rss_bytes: peak_rss_bytes(),
        seconds: 0.0,
        failure: None,
    };
    match outcome.and_then(|metrics| Ok((metrics, collect(action, attempt)?))) {
        Ok((metrics, outputs)) => {
            result.metrics = Value::Object(metrics);
            result.outputs = outputs;
        }
        Err(failure) => {
            reporter.send(&NodeMessage::Failed {
                failure: failure.clone(),
            });
            result.failure = Some(failure);
        }
    }
    result
}

/// Not synced: after a power loss the whole attempt is void.
fn write_result(file: &Path, result: &NodeResult) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(result).expect("plain values serialise");
    failpoint::reach("child.result")
        .and_then(|()| std::fs::File::create(file))
        .and_then(|mut f| f.write_all(&bytes))
        .map_err(|e| {
            let message = format!("cannot write `{}`: {e}", file.display());
            Failure::new(io_class(&e, true), message)
        })
}

/// Passes a failpoint.
fn at(place: &str) -> Result<(), Failure> {
    failpoint::reach(place).map_err(|e| Failure::new(io_class(&e, true), e.to_string()))
}

/// What is in the cache is compared with its digest before it is read.
fn check_cached_inputs(action: &Action) -> Result<(), Failure> {
    for input in action.inputs.iter().filter(|i| i.in_cache) {
        let Some(digest) = input.digest else { continue };
        let found = measure_stored(&input.path);
        if !found.as_ref().is_ok_and(|f| f.digest == digest) {
            let what = match found {
                Ok(found) => format!("its content has digest {}", found.digest.short()),
                Err(e) => e.to_string(),
            };
            return Err(Failure::new(
                FailureClass::DamagedInput { digest },
                format!(
                    "input `{}` is damaged in the cache (`{}`): {what}",
                    input.role,
                    input.path.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Lays the directories among the inputs out as files, where the cache holds them as archives. An AnnData store is
/// read as it is.
fn lay_out(action: &mut Action, attempt: &Path) -> Result<(), Failure> {
    let inputs = action.inputs.iter_mut().enumerate();
    for (i, input) in inputs.filter(|(_, input)| input.in_cache) {
        let to = attempt.join("in").join(i.to_string());
        if unpack_unless(&input.path, "zarr.json", &to).map_err(|e| cache_failure(&e))? {
            input.path = to;
        }
    }
    Ok(())
}

/// A file input must be at the end what it was when it was digested.
fn check_file_inputs(action: &Action) -> Result<(), Failure> {
    for input in action.inputs.iter().filter(|i| !i.in_cache) {
        let Some(digest) = input.digest.filter(|_| input.builtin.is_none()) else {
            continue;
        };
        if input.stat.is_some() && stat_of_input(input) == input.stat {
            continue;
        }
        if content_of_input(input) != Some(digest) {
            let message = format!(
                "input `{}` (`{}`) was changed while it was read",
                input.role,
                input.path.display()
            );
            return Err(Failure {
                hint: Some("run again once the file is complete".to_string()),
                ..Failure::new(FailureClass::ChangedInput, message)
            });
        }
    }
    Ok(())
}

/// What `stat` says of the files of an input.
fn stat_of_input(input: &ActionInput) -> Option<String> {
    match &input.of {
        Some(patient) => {
            let sheet = Sheet::read(&input.path).ok()?;
            content_stat_of_patient(&input.path, &sheet, patient)
        }
        None => content_stat(&input.path),
    }
}

/// What an input holds now; `None` where it cannot be read.
fn content_of_input(input: &ActionInput) -> Option<Digest> {
    let digest = |file: &Path| measure_linked(file).map(|m| m.digest);
    match &input.of {
        Some(patient) => {
            let sheet = Sheet::read(&input.path).ok()?;
            content_of_patient(&sheet, patient, digest).ok()
        }
        None => content(&input.path, digest).ok(),
    }
}

fn run_stage(
    action: &Action,
    attempt: &Path,
    reporter: &Reporter,
    cancel: &AtomicBool,
) -> Result<clcc_stages::stage::Metrics, Failure> {
    let kind = kind(&action.kind).ok_or_else(|| {
        let message = format!("unknown stage kind `{}` in the action file", action.kind);
        Failure::new(FailureClass::Stage, message)
    })?;
    let out_dir = attempt.join("out");
    std::fs::create_dir_all(&out_dir)
        .map_err(StageError::creating(&out_dir))
        .map_err(|e| failure(&e))?;
    let ctx = StageContext {
        inputs: action
            .inputs
            .iter()
            .map(|i| InputArtifact {
                role: i.role.clone(),
                branch: i.branch.clone(),
                path: i.path.clone(),
                format: i.format.clone(),
                builtin: i.builtin.clone(),
            })
            .collect(),
        out_dir,
        keys: action.keys.clone(),
        seed: action.seed,
        threads: action.threads,
        device: action.device,
        checkpoint_dir: Some(action.checkpoint_dir.clone()),
        progress: reporter,
        cancel,
    };
    let run = || kind.run(&ctx, &action.params);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(|e| failure(&e)),
        Err(panic) => Err(Failure {
            hint: Some(FAULT.to_string()),
            ..Failure::new(
                FailureClass::Crash,
                format!("the stage panicked: {}", panic_text(panic.as_ref())),
            )
        }),
    }
}

fn failure(e: &StageError) -> Failure {
    let mut message = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    let class = match e {
        StageError::Cancelled => FailureClass::Cancelled,
        StageError::Io { access, source, .. } => io_class(source, access.is_write()),
        _ => FailureClass::Stage,
    };
    let of_the_system = match e {
        StageError::Io { path, source, .. } => crate::disk::hint(path, source),
        _ => None,
    };
    Failure {
        message,
        hint: e.hint().map(str::to_string).or(of_the_system),
        class,
    }
}

/// Digests every declared output, and packs those that are directories; a missing one is a failure.
fn collect(action: &Action, attempt: &Path) -> Result<Vec<(ActionOutput, Artifact)>, Failure> {
    let wrong = |message: String| Failure::new(FailureClass::Stage, message);
    let is_missing = |o: &&ActionOutput| !o.written_at(attempt).exists();
    if let Some(output) = action.outputs.iter().find(is_missing) {
        return Err(wrong(format!(
            "stage `{}` did not write its output `{}`",
            action.kind,
            output.relative().display()
        )));
    }
    at_once(&action.outputs, action.threads, |output| {
        let artifact = measured(output, attempt).map_err(|e| match &e {
            CacheError::Io { .. } => cache_failure(&e),
            _ => wrong(format!("output `{}`: {e}", output.role)),
        });
        Ok((output.clone(), artifact?))
    })
}

fn measured(output: &ActionOutput, attempt: &Path) -> Result<Artifact, CacheError> {
    let written = output.written_at(attempt);
    if !std::fs::symlink_metadata(&written).is_ok_and(|m| m.is_dir()) {
        return measure(&written);
    }
    let archive = output.packed_at(attempt);
    if let Some(parent) = archive.parent() {
        std::fs::create_dir_all(parent).map_err(|source| CacheError::Io {
            verb: "create",
            path: parent.to_path_buf(),
            source,
        })?;
    }
    pack(&written, &archive)
}

/// SIGTERM asks the stage to stop; training then writes a checkpoint. SIGINT is left to the
/// coordinator, which the terminal tells too; SIGHUP ends nothing.
fn watch_for_term(cancel: Arc<AtomicBool>) {
    let watch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
                signal(SignalKind::terminate()),
                signal(SignalKind::interrupt()),
                signal(SignalKind::hangup()),
            ) else {
                return;
            };
            loop {
                tokio::select! {
                    _ = term.recv() => cancel.store(true, Ordering::Relaxed),
                    _ = int.recv() => {}
                    _ = hup.recv() => {}
                }
            }
        });
    };
    let _ = std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch);
}

/// Peak resident memory of this process, from the kernel; 0 where it cannot be read.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|v| v.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// Writes messages to standard output, at most ten progress lines a second.
#[derive(Default)]
struct Reporter {
    last: Mutex<Option<Instant>>,
    warnings: Mutex<Vec<String>>,
}

impl Reporter {
    fn send(&self, message: &NodeMessage) {
        let line = serde_json::to_string(message).expect("plain values serialise");
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl Progress for Reporter {
    fn step(&self, done: u64, total: u64, message: &str) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        if done < total && last.is_some_and(|t| t.elapsed() < Duration::from_millis(100)) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.send(&NodeMessage::Progress {
            done,
            total,
            text: message.to_string(),
        });
    }

    fn warn(&self, message: &str) {
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(message.to_string());
        }
        self.send(&NodeMessage::Warning {
            text: message.to_string(),
        });
    }
}
